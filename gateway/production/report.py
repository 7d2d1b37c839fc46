"""Figures as signals: what `kpi` adds to a machine, and the readings of one interval. Pure.

shift.oee, shift.availability …       what was calculated
shift.production_time, shift.good …   what it was calculated from: named in `made_of` of the figure
shift.name, .day, .start, .complete   which interval it is, and whether it is over
demand.energy, demand.power           one reading for each interval of demand: the load profile
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import orjson

from gateway.config.production import WORDS, KpiSettings
from gateway.model import GOOD, INCOMPLETE, NOT_AVAILABLE, Signal, Value, ValueType
from gateway.production.calendar import Interval
from gateway.production.energy import ENERGY_FORMULAS, ENERGY_INPUTS, Energy, Load
from gateway.production.kpi import FORMULAS, INPUTS, Figures, Formula

DEMAND = "demand"
_INTERVAL: Mapping[str, tuple[ValueType, str]] = {
    "name": ("string", "Which interval it is"),
    "day": ("string", "The day on which it began"),
    "start": ("int", "When it began: milliseconds since 1970"),
    "end": ("int", "When it ends: milliseconds since 1970"),
    "complete": ("bool", "Whether it is over"),
    "uncertain": ("string", "Why its figures are to be doubted; empty as a rule"),
}
_BY_STATE = {"time_by_state": "s", "energy_by_state": "kW.h"}
_AS_TEXT = ("downtime_by_reason",)
_LEFT_OUT = ("downtime_by_state",)  # follows from the times by state
_WHOLE = ("micro_stops", "failures")
_SAID = {"peak_start_ns": "peak_start"}


def figure_signals(kpi: KpiSettings) -> Sequence[Signal]:
    """All signals that `kpi` adds, in the order in which `interval_values` fills them, kind by kind; demand last.

    Those that are counted say from which signal of the machine, or of another one.
    """
    energy = kpi.energy
    parts = (kpi.good, kpi.reject, kpi.total)
    counted = dict(zip(("good", "reject", "produced"), parts, strict=True))
    counted["produced"] = kpi.total or kpi.good
    if energy is not None:
        counted |= dict.fromkeys(("energy", "demand.energy", "demand.power"), energy.counter or energy.power)
    signals = _figure_signals(kpi.intervals, None if energy is None else energy.interval)
    return [
        replace(signal, made_of=(source,))
        if (source := counted.get(signal.name) or counted.get(signal.name.partition(".")[2]))
        else signal
        for signal in signals
    ]


@cache  # machines have the same ones, as a rule
def _figure_signals(kinds: tuple[str, ...], demand: float | None) -> Sequence[Signal]:
    signals: list[Signal] = []
    for kind in kinds:
        signals += [Signal(f"{kind}.{name}", type_, description=text) for name, (type_, text) in _INTERVAL.items()]
        signals += _of(kind, FORMULAS, INPUTS, _plain)
        if demand is not None:
            signals += _of(kind, ENERGY_FORMULAS, ENERGY_INPUTS, _of_energy)
    if demand is not None:
        text = f"in the {demand / 60:g} minutes that end with its time"
        signals.append(Signal(f"{DEMAND}.energy", "float", "kW.h", f"Consumption {text}"))
        signals.append(Signal(f"{DEMAND}.power", "float", "kW", f"Mean power {text}"))
    return tuple(signals)


def interval_values(
    interval: Interval, figures: Figures, energy: Energy | None, complete: bool, late: str = ""
) -> list[tuple[Value, int]]:
    """Value and quality of each signal of one interval, in the order of `figure_signals`. `late`: why its beginning is missing."""
    doubts = "; ".join(filter(None, (late, figures.uncertain, energy.uncertain if energy else "")))
    values: list[tuple[Value, int]] = [
        (interval.name, GOOD), (interval.day, GOOD), (interval.start_ns // 1_000_000, GOOD),
        (interval.end_ns // 1_000_000, GOOD), (complete, GOOD), (doubts, GOOD),
    ]  # fmt: skip
    values += _values(FORMULAS, INPUTS, figures, {*FORMULAS} if late or figures.uncertain else set())
    if energy is not None:
        values += _values(ENERGY_FORMULAS, ENERGY_INPUTS, energy, {*ENERGY_FORMULAS} if late else set())
    return values


def demand_values(load: Load) -> list[tuple[Value, int]]:
    """Of the two signals of the load profile."""
    quality = GOOD if load.certain else INCOMPLETE
    return [(load.kwh, quality), (load.kw, quality)]


def _plain(name: str) -> str:
    return name


def _of_energy(name: str) -> str:
    """What energy was calculated from beside other figures: `energy_produced` is no other `produced`."""
    return name if name.startswith(("energy", "co2e", "peak")) else f"energy_{name}"


def _of(
    kind: str, formulas: Mapping[str, Formula], inputs: Mapping[str, tuple[str, str]], named: Callable[[str], str]
) -> list[Signal]:
    signals = []
    for name, formula in formulas.items():
        made_of = tuple(
            f"{kind}.{_SAID.get(each, named(each))}" for each in formula.inputs if each in inputs and each != name
        )
        signals.append(
            Signal(
                f"{kind}.{name}",
                "float",
                formula.unit,
                semantic=formula.reference,
                made_of=made_of,
                formula=formula.text,
            )
        )
    for name, (unit, text) in inputs.items():
        if name in _LEFT_OUT or name in formulas:
            continue
        if name in _BY_STATE:
            signals += [Signal(f"{kind}.{name}.{word}", "float", unit, f"{text}: {word}") for word in WORDS]
        elif name in _AS_TEXT:
            signals.append(Signal(f"{kind}.{name}", "string", "", f"{text}, in seconds, as JSON"))
        elif name in _SAID:
            signals.append(Signal(f"{kind}.{_SAID[name]}", "int", "", "When the peak began: milliseconds since 1970"))
        else:
            type_: ValueType = "int" if name in _WHOLE else "float"
            signals.append(Signal(f"{kind}.{named(name)}", type_, unit, text))
    return signals


def _values(
    formulas: Mapping[str, Formula], inputs: Mapping[str, tuple[str, str]], of: Figures | Energy, uncertain: set[str]
) -> Iterator[tuple[Value, int]]:
    doubtful = uncertain.union(of.doubtful)
    for name in formulas:
        yield _known(of.kpis[name], INCOMPLETE if name in doubtful else GOOD)
    for name in inputs:
        given, quality = of.inputs.get(name), INCOMPLETE if name in doubtful else GOOD
        if name in _LEFT_OUT or name in formulas:
            continue
        if name in _BY_STATE:
            yield from (_known(None if given is None else float(given.get(word, 0.0)), quality) for word in WORDS)
        elif name in _AS_TEXT:
            yield orjson.dumps(given or {}).decode(), quality
        elif name in _SAID:
            yield _known(None if given is None else given // 1_000_000, quality)
        elif name in _WHOLE:
            yield _known(given, quality)
        else:
            yield _known(None if given is None else float(given), quality)


def _known(value: Value, quality: int) -> tuple[Value, int]:
    """What cannot be calculated has no value: neither 0 nor 1 is true."""
    return (None, NOT_AVAILABLE) if value is None else (value, quality)
