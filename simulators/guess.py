"""A likely wave for a signal that no scenario mentions, from its definition: kind, type, states, unit and range."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import SignalSettings
from simulators import waves
from simulators.waves import Number, Wave

# Unit -> middle, how far it goes to either side. What is not listed is somewhere between 40 and 60.
_USUAL: Mapping[str, tuple[float, float]] = {
    "V": (230, 3), "kV": (10, 0.1), "A": (12, 4), "mA": (12, 4),
    "W": (5200, 1500), "kW": (5.2, 1.5), "VA": (5600, 1500), "kVA": (5.6, 1.5), "var": (1900, 400), "kvar": (1.9, 0.4),
    "Hz": (50, 0.04), "deg": (21, 4), "Cel": (60, 6), "K": (333, 6), "%": (45, 10), "bar": (6, 0.4), "kPa": (600, 40),
    "1/min": (1500, 40), "{rpm}": (1500, 40), "m/s": (2, 0.3), "mm": (120, 30), "L/min": (24, 5), "m3/h": (8, 2),
    "s": (12, 0.3), "min": (12, 0.3), "h": (1200, 1),
}  # fmt: skip
_ENERGIES = ("W.h", "kW.h", "MW.h", "VA.h", "kVA.h", "var.h", "kvar.h", "J", "kJ", "MJ")


def guess(settings: SignalSettings, value_type: str, cycle: float, seed: int) -> Wave:
    """`value_type` as in scenario.value_type. The same seed gives the same wave."""
    phase = seed % 1000 / 1000
    if settings.enum:
        states = [*settings.enum.values()]
        return waves.steps([(i / len(states), state) for i, state in enumerate(states)], cycle * len(states))
    if value_type == "bool":
        return waves.toggle(cycle * 5, 0.7, phase)
    if value_type == "string":
        return waves.constant(f"TEXT-{seed % 1000:03}")
    if settings.kind == "counter" and settings.unit not in _ENERGIES:
        return waves.counter(cycle, seed % 1000)
    wave = _number(settings, phase, seed)
    return (lambda t: round(wave(t))) if value_type == "int" and not settings.scale else wave


def _number(settings: SignalSettings, phase: float, seed: int) -> Number:
    if settings.unit in _ENERGIES:
        return waves.energy(lambda _: 5200.0, 600.0, first=seed % 10_000)
    middle, swing = _USUAL.get(settings.unit, (50.0, 10.0))
    if settings.range:
        low, high = settings.range
        # A usual value is kept where the range has room for it.
        if not low <= middle - 1.2 * swing < middle + 1.2 * swing <= high:
            middle, swing = (low + high) / 2, (high - low) / 4
    return waves.total([waves.sine(middle, swing, 60 + seed % 240, phase), waves.noise(swing / 10, 1.0, seed)])
