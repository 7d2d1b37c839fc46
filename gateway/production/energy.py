"""The energy of one machine for one time: how much, for what, when, and what it comes to for each part.

kWh   ▆ ▆ ▇ █ ▂ ▆ ▆ ▁ ▁       load profile: one bar for each interval of demand; its mean power is kWh / h
      producing   idle  off shift      by what the machine did meanwhile, to the reading at each change of state
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from gateway.config.production import EnergySettings
from gateway.production.calendar import NS, WorkCalendar
from gateway.production.history import History
from gateway.production.kpi import DOUBTFUL, Formula, quantities, ratio
from gateway.production.times import sweep
from gateway.production.totals import Amount, Total

_ROUNDING = 1e-9
_ENPI = "energy performance indicator, ratio (ISO 50006)"

ENERGY_FORMULAS: Mapping[str, Formula] = {
    "energy": Formula("kW.h", "meter at the end - meter at the start", ("energy",), "energy consumption (ISO 50001)"),
    "energy_per_part": Formula("kW.h", "energy / PQ", ("energy", "produced"), _ENPI),
    "energy_per_good_part": Formula("kW.h", "energy / GQ", ("energy", "good"), _ENPI),
    "idle_energy_share": Formula("1", "idle energy / energy", ("energy_idle", "energy"), _ENPI),
    "peak_demand": Formula(
        "kW", "the highest mean power of a whole interval", ("energy", "peak_start_ns"), "demand, by fixed intervals"
    ),
    "co2e": Formula(
        "kg", "energy × factor", ("energy", "co2e_factor"), "GHG Protocol, scope 2: activity × emission factor"
    ),
}

ENERGY_INPUTS: Mapping[str, tuple[str, str]] = {
    "energy": ("kW.h", "consumption of the whole window, as far as there are readings"),
    "energy_producing": ("kW.h", "running within a shift, breaks included"),
    "energy_idle": ("kW.h", "in a state of `idle` within a shift"),
    "energy_other": ("kW.h", "in the other states within a shift"),
    "energy_unknown": ("kW.h", "within a shift while no state is known"),
    "energy_off_shift": ("kW.h", "without a shift, whatever the machine did"),
    "energy_by_state": ("kW.h", "the whole window by state"),
    "estimated_share": ("1", "of the energy, what is spread evenly over a time without readings"),
    "missing_time": (
        "s",
        "part of the window before the first reading, after the last one, and in which the power was unknown",
    ),
    "produced": ("1", "PQ of the whole window, outside of the plan too"),
    "good": ("1", "GQ of the whole window, outside of the plan too"),
    "co2e_factor": ("kg/(kW.h)", "as configured"),
    "peak_start_ns": ("ns", "when the interval with the peak demand began; ns since 1970"),
}


_USE = {"running": "energy_producing", "unknown": "energy_unknown"}
_SPLIT = ("energy_producing", "energy_idle", "energy_other", "energy_unknown", "energy_off_shift")
_OF_STATES = (*_SPLIT, "energy_by_state", "idle_energy_share")


class Load(NamedTuple):
    """One bar of a load profile; shorter at the ends of the window, and where readings begin or end."""

    start_ns: int
    end_ns: int
    kwh: float
    kw: float  # mean
    most: float  # kWh there can have been, as far as it was counted: where a gap cuts it, all of the gap
    unknown_ns: int = 0  # of it nobody knows

    @property
    def certain(self) -> bool:
        """Whether all of it was counted, and in it."""
        return self.unknown_ns == 0 and self.most <= self.kwh


@dataclass(slots=True)
class Energy:
    """The energy of one window. `uncertain`: why it is to be doubted, or nothing; `doubtful`: which figures and inputs are."""

    start_ns: int
    end_ns: int
    kpis: dict[str, float | None]
    inputs: dict[str, Any]
    profile: list[Load]
    uncertain: str
    doubtful: tuple[str, ...] = ()


def energy(
    history: History,
    start_ns: int,
    end_ns: int,
    calendar: WorkCalendar,
    settings: EnergySettings,
    resolution: float = inf,
) -> Energy:
    """The energy of [start, end) from the total `energy` of the history, in kWh; all None where it has no readings there.

    `resolution`: the least the meter can rise by, in kWh, where that is known; else what it rose by at the least is taken for it.
    """
    window = [(start_ns, end_ns)]
    amount, meter = history.amount("energy", window), history.readings("energy")
    produced, good, _ = quantities(
        {name: history.amount(name, window, whole=True) for name in ("good", "reject", "total")}
    )
    inputs: dict[str, Any] = dict.fromkeys(ENERGY_INPUTS)
    inputs |= {"produced": produced, "good": good, "co2e_factor": settings.co2e}
    profile: list[Load] = []
    uncertain, peak = list[str](), None
    doubtful: set[str] = set()
    if amount is None or meter is None:
        uncertain = ["no readings of 'energy'"]
    else:
        share = amount.estimated / amount.value if amount.value else 0.0
        inputs |= {"energy": amount.value, "estimated_share": share, "missing_time": amount.missing_ns / NS}
        profile = load_profile(meter, start_ns, end_ns, calendar, settings.interval)
        whole = [load for load in profile if load.end_ns - load.start_ns == round(settings.interval * NS)]
        peak = max(whole, key=lambda load: load.kw, default=None)
        inputs["peak_start_ns"] = peak.start_ns if peak else None
        uncertain = _missing(amount, meter, start_ns, end_ns, share)
        if uncertain:
            doubtful |= {*ENERGY_FORMULAS, *_OF_STATES}
        if peak is not None and any(_may_be_above(load, peak) for load in whole):
            uncertain.append("the peak may have been in a time without readings")
            doubtful |= {"peak_demand", "peak_start_ns"}
        split, elsewhere = _by_state(meter, history, start_ns, end_ns, calendar, settings, resolution)
        inputs |= split
        if elsewhere > DOUBTFUL:
            uncertain.append(
                f"for {elsewhere:.0%} of the energy it is not known in which state it was: the meter counts in steps that are too large"
            )
            doubtful |= {*_OF_STATES}
    used = inputs["energy"]
    kpis = {
        "energy": used,
        "energy_per_part": ratio((used,), (produced or 0.0,)),
        "energy_per_good_part": ratio((used,), (good or 0.0,)),
        "idle_energy_share": ratio((inputs["energy_idle"],), (used or 0.0,)),
        "peak_demand": peak.kw if peak else None,
        "co2e": ratio((used, settings.co2e), ()),
    }
    return Energy(start_ns, end_ns, kpis, inputs, profile, "; ".join(uncertain), tuple(sorted(doubtful)))


def _missing(amount: Amount, meter: Total, start_ns: int, end_ns: int, share: float) -> list[str]:
    """Why it may be another amount. `share`: of it, what is estimated."""
    found, window = [], end_ns - start_ns
    unknown = meter.unknown.length(start_ns, end_ns)
    if share > DOUBTFUL:
        found.append(f"{share:.0%} of the energy are spread evenly over a time without readings")
    if unknown > DOUBTFUL * window or amount.missing_ns > max(DOUBTFUL * window, meter.gap_ns):
        found.append(f"'energy' was not read for {amount.missing_ns / window:.0%} of the time")
    if amount.doubtful:
        found.append("readings of 'energy' that came late do not fit: it may have been more")
    return found


def _may_be_above(load: Load, peak: Load) -> bool:
    """Whether a bar that is not certain may really have been the peak, or the peak itself may be another one."""
    length = load.end_ns - load.start_ns
    return load.unknown_ns > DOUBTFUL * length or load.most > max(load.kwh, peak.kwh) * (1 + _ROUNDING)


def _by_state(
    meter: Total,
    history: History,
    start_ns: int,
    end_ns: int,
    calendar: WorkCalendar,
    settings: EnergySettings,
    resolution: float,
) -> tuple[dict[str, Any], float]:
    """Every kWh once: by what the machine did within a shift, or as off shift; and by state. And which part may belong elsewhere.

    What the meter rose by between two readings is divided by the time of each state. A meter of coarse steps shows in one of them what was
    consumed since the step before: where steps span several states, and that is more than a little, each is spread over all of its time.
    """
    uses: list[tuple[int, str, str]] = []  # until when, for what, in which state
    for _, end, piece, kind in sweep(history.pieces(start_ns, end_ns), calendar.spans(start_ns, end_ns)):
        use = _USE.get(piece.word) or ("energy_idle" if piece.word in settings.idle else "energy_other")
        uses.append((end, "energy_off_shift" if kind == "off" else use, piece.word))
    rises = list(meter.rises(start_ns, end_ns))
    step = min([resolution, meter.finest, *(kwh for still, begin, _, kwh in rises if still < begin)])
    exact, spread = defaultdict[_Use, float](float), defaultdict[_Use, float](float)
    elsewhere = total = 0.0
    at = 0
    for still, begin, end, kwh in rises:
        while uses[at][0] <= still:
            at += 1
        shares = _shares(uses, at, begin, end)
        of_step = _shares(uses, at, still, end) if still < begin else shares
        late = min(kwh, step) if still < begin else 0.0  # what may have been consumed while it stood still
        total += kwh
        elsewhere += (kwh - late) * (1 - max(shares.values())) + (late if len(of_step) > 1 else 0.0)
        for key, share in shares.items():
            exact[key] += kwh * share
            spread[key] += (kwh - late) * share
        for key, share in of_step.items():
            spread[key] += late * share
    unsure = elsewhere / total if total else 0.0
    found, by_state = dict.fromkeys(_SPLIT, 0.0), {word: 0.0 for _, _, word in uses}
    for (use, word), kwh in (spread if unsure > DOUBTFUL else exact).items():
        found[use] += kwh
        by_state[word] += kwh
    return {**found, "energy_by_state": by_state}, unsure


_Use = tuple[str, str]


def _shares(uses: list[tuple[int, str, str]], at: int, begin: int, end: int) -> dict[_Use, float]:
    """Which part of [begin, end) is which use. `at`: a use that ends after some time before `begin`."""
    found: dict[_Use, float] = {}
    while uses[at][0] <= begin:
        at += 1
    while begin < end:
        until, use, word = uses[at]
        until = min(until, end)
        found[use, word] = found.get((use, word), 0.0) + (until - begin)
        begin, at = until, at + 1
    whole = sum(found.values())
    return {use: length / whole for use, length in found.items()}


def load_profile(meter: Total, start_ns: int, end_ns: int, calendar: WorkCalendar, interval: float) -> list[Load]:
    """The energy of each local interval (seconds, a divisor of the hour), as far as there are readings."""
    start, end = max(start_ns, meter.time[0]), min(end_ns, meter.time[-1])
    profile = []
    for begin, over in calendar.steps(round(interval), start, end):
        begin, over = max(begin, start), min(over, end)
        kwh = meter.at(over) - meter.at(begin)
        mean, unknown = kwh * 3600 * NS / (over - begin), meter.unknown.length(begin, over)
        profile.append(Load(begin, over, kwh, mean, meter.most(begin, over), unknown))
    return profile
