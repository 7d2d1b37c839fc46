"""A likely wave for a signal that no scenario mentions, from its definition: kind, type, states, unit and range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from gateway.config import SignalSettings
from gateway.model import Value
from simulators.behaviour import waves
from simulators.behaviour.waves import Number, Wave
from simulators.machine import NOTHING_TOLD, Told

# Unit -> middle, how far it goes to either side. What is not listed is somewhere between 40 and 60.
_USUAL: Mapping[str, tuple[float, float]] = {
    "V": (230, 3), "kV": (10, 0.1), "A": (12, 4), "mA": (12, 4),
    "W": (5200, 1500), "kW": (5.2, 1.5), "V.A": (5600, 1500), "kV.A": (5.6, 1.5), "var": (1900, 400), "kvar": (1.9, 0.4),
    "Hz": (50, 0.04), "deg": (21, 4), "Cel": (60, 6), "K": (333, 6), "%": (45, 10), "bar": (6, 0.4), "kPa": (600, 40),
    "1/min": (1500, 40), "/min": (1500, 40), "{rpm}": (1500, 40), "m/s": (2, 0.3), "mm": (120, 30), "L/min": (24, 5), "m3/h": (8, 2),
    "s": (12, 0.3), "min": (12, 0.3), "h": (1200, 1),
}  # fmt: skip
ENERGIES = ("W.h", "kW.h", "MW.h", "V.A.h", "kV.A.h", "var.h", "kvar.h", "J", "kJ", "MJ")
_ENERGY_AT_FIRST = 10_000  # at most
_MOMENT = "2026-03-04T05:06:07"

# For what the configuration leaves to the machine (`from-server`). Part of a name -> unit, range.
_NAMED: Sequence[tuple[str, str, tuple[float, float]]] = (
    ("temp", "Cel", (0, 150)), ("speed|rpm", "/min", (0, 6000)), ("feed", "mm/min", (0, 2000)), ("press", "bar", (0, 10)),
    ("current|amp", "A", (0, 25)), ("volt", "V", (0, 400)), ("energy", "kW.h", (0, 1e6)), ("power", "kW", (0, 12)),
    ("freq", "Hz", (0, 100)), ("torque", "N.m", (0, 100)), ("flow", "L/min", (0, 50)), ("time", "s", (0, 60)),
    ("pos|length|axis|height|dist", "mm", (0, 250)),
)  # fmt: skip
_STATES = ("stopped", "setup", "running", "fault")
_EVENTS: Sequence[Mapping[str, Value]] = (
    {"severity": 100, "message": "Program started"},
    {"severity": 400, "message": "Coolant level is low"},
    {"severity": 200, "message": "Door was opened"},
    {"severity": 700, "message": "Axis is overloaded"},
)


def guess(settings: SignalSettings, value_type: str, cycle: float, seed: int, told: Told = NOTHING_TOLD) -> Wave:
    """`value_type` as in scenario.value_type. The same seed gives the same wave."""
    if told.unit:
        settings = settings.model_copy(update={"unit": told.unit, "range": told.range})
    phase = seed % 1000 / 1000
    if settings.enum or told.states:
        states = [*(settings.enum or {}).values()] or told.states
        return waves.steps([(i / len(states), state) for i, state in enumerate(states)], cycle * len(states))
    if value_type == "bool":
        return waves.toggle(cycle * 5, 0.7, phase)
    if getattr(settings, "type", None) == "datetime":
        return waves.constant(_MOMENT)
    if value_type == "string":
        return waves.constant(f"TEXT-{seed % 1000:03}")
    if settings.kind == "counter" and settings.unit not in ENERGIES:
        return waves.counter(cycle, seed % 1000)
    wave = _number(settings, phase, seed)
    whole = value_type == "int" and settings.linear == (None, None) and not settings.scale_from
    return (lambda t: round(wave(t))) if whole else wave


def guess_event(part: str, machine: str, cycle: float) -> Wave:
    """A part of the events of a machine: another event every half cycle."""
    if part not in _EVENTS[0]:
        return waves.constant(machine if part == "source" else "event")
    points = [(i / len(_EVENTS), event[part]) for i, event in enumerate(_EVENTS)]
    return waves.steps(points, cycle / 2 * len(_EVENTS))


def told_of(name: str, settings: SignalSettings, value_type: str, texts: Sequence[str]) -> Told:
    """What a machine says of a signal that leaves it to the machine; `texts`: the states that a scenario gives it."""
    if getattr(settings, "texts_from_server", False):
        states = tuple(dict.fromkeys(texts)) or _STATES[: 2 if value_type == "bool" else None]
        return Told(states=states)
    if settings.unit != "from-server" or value_type in ("bool", "string"):
        return NOTHING_TOLD
    unit, span = next(((unit, span) for part, unit, span in _NAMED if re.search(part, name.lower())), ("%", (0, 100)))
    return Told(unit, settings.range or span)


def power_of_ten(scaled: Iterable[SignalSettings]) -> int:
    """For signals with a common scale factor: tenths, or what is coarser where their usual values need it."""
    needed = [(_highest(settings), _room(settings)) for settings in scaled]
    return next((power for power in range(-1, 6) if all(high <= room * 10.0**power for high, room in needed)), 6)


def _number(settings: SignalSettings, phase: float, seed: int) -> Number:
    if settings.unit in ENERGIES:
        return waves.energy(lambda _: 5200.0, 600.0, first=seed % _ENERGY_AT_FIRST)
    middle, swing = _usual(settings)
    room = _room(settings)
    if not settings.scale_from and middle + 1.2 * swing > room:  # with a scale factor it is that which makes room
        middle, swing = room / 2, room / 10
    return waves.total([waves.sine(middle, swing, 60 + seed % 240, phase), waves.noise(swing / 10, 1.0, seed)])


def _usual(settings: SignalSettings) -> tuple[float, float]:
    """Middle, and how far it goes to either side."""
    middle, swing = _USUAL.get(settings.unit, (50.0, 10.0))
    if span := settings.range or settings.scaled_range:
        low, high = sorted(span)
        # A usual value is kept where the range has room for it.
        if not low <= middle - 1.2 * swing < middle + 1.2 * swing <= high:
            return (low + high) / 2, (high - low) / 4
    return middle, swing


def _highest(settings: SignalSettings) -> float:
    """How large its values become, in a day or so."""
    if settings.unit in ENERGIES:
        return 2.0 * _ENERGY_AT_FIRST
    middle, swing = _usual(settings)
    return abs(middle) + 1.2 * swing


def _room(settings: SignalSettings) -> float:
    """The largest value that its type can carry, as far as its name tells."""
    match = re.fullmatch(r"(int|uint|bcd)([0-9]+)", str(getattr(settings, "type", None)))
    if match is None:
        return float("inf")
    bits = int(match[2])
    largest = {"int": 2.0 ** (bits - 1), "uint": 2.0**bits, "bcd": 10.0 ** (bits // 4)}[match[1]] - 1
    return largest * settings.slope
