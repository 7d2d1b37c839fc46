"""The energy of one machine for one time: how much, for what, when, and what it comes to for each part.

kWh   ▆ ▆ ▇ █ ▂ ▆ ▆ ▁ ▁       load profile: one bar for each interval of demand; its mean power is kWh / h
      producing   idle  off shift      by what the machine did meanwhile, to the reading at each change of state
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.config.production import EnergySettings
from gateway.production.calendar import NS, WorkCalendar
from gateway.production.history import History
from gateway.production.kpi import DOUBTFUL, Formula, quantities, ratio
from gateway.production.times import sweep
from gateway.production.totals import Total

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
    "missing_time": ("s", "part of the window before the first and after the last reading"),
    "produced": ("1", "PQ of the whole window, outside of the plan too"),
    "good": ("1", "GQ of the whole window, outside of the plan too"),
    "co2e_factor": ("kg/(kW.h)", "as configured"),
    "peak_start_ns": ("ns", "when the interval with the peak demand began; ns since 1970"),
}


_USE = {"running": "energy_producing", "unknown": "energy_unknown"}


class Load(NamedTuple):
    """One bar of a load profile; shorter at the ends of the window, and where readings begin or end."""

    start_ns: int
    end_ns: int
    kwh: float
    kw: float  # mean


@dataclass(slots=True)
class Energy:
    """The energy of one window. `uncertain`: why it is to be doubted, or nothing."""

    start_ns: int
    end_ns: int
    kpis: dict[str, float | None]
    inputs: dict[str, Any]
    profile: list[Load]
    uncertain: str


def energy(history: History, start_ns: int, end_ns: int, calendar: WorkCalendar, settings: EnergySettings) -> Energy:
    """The energy of [start, end) from the total `energy` of the history, in kWh; all None where it has no readings there."""
    window = [(start_ns, end_ns)]
    amount, meter = history.amount("energy", window), history.readings("energy")
    produced, good, _ = quantities(
        {name: history.amount(name, window, whole=True) for name in ("good", "reject", "total")}
    )
    inputs: dict[str, Any] = dict.fromkeys(ENERGY_INPUTS)
    inputs |= {"produced": produced, "good": good, "co2e_factor": settings.co2e}
    profile: list[Load] = []
    uncertain, peak = [], None
    if amount is None or meter is None:
        uncertain = ["no readings of 'energy'"]
    else:
        inputs |= _by_state(meter, history, start_ns, end_ns, calendar, settings)
        share = amount.estimated / amount.value if amount.value else 0.0
        inputs |= {"energy": amount.value, "estimated_share": share, "missing_time": amount.missing_ns / NS}
        profile = load_profile(meter, start_ns, end_ns, calendar, settings.interval)
        whole = [load for load in profile if load.end_ns - load.start_ns == round(settings.interval * NS)]
        peak = max(whole, key=lambda load: load.kw, default=None)
        inputs["peak_start_ns"] = peak.start_ns if peak else None
        if share > DOUBTFUL:
            uncertain.append(f"{share:.0%} of the energy are spread evenly over a time without readings")
        if amount.missing_ns > max(DOUBTFUL * (end_ns - start_ns), history.gap_ns):
            uncertain.append(f"'energy' was not read for {amount.missing_ns / (end_ns - start_ns):.0%} of the time")
    used = inputs["energy"]
    kpis = {
        "energy": used,
        "energy_per_part": ratio((used,), (produced or 0.0,)),
        "energy_per_good_part": ratio((used,), (good or 0.0,)),
        "idle_energy_share": ratio((inputs["energy_idle"],), (used or 0.0,)),
        "peak_demand": peak.kw if peak else None,
        "co2e": ratio((used, settings.co2e), ()),
    }
    return Energy(start_ns, end_ns, kpis, inputs, profile, "; ".join(uncertain))


def _by_state(
    meter: Total, history: History, start_ns: int, end_ns: int, calendar: WorkCalendar, settings: EnergySettings
) -> dict[str, Any]:
    """Every kWh once: by what the machine did within a shift, or as off shift; and by state."""
    found = dict.fromkeys(
        ("energy_producing", "energy_idle", "energy_other", "energy_unknown", "energy_off_shift"), 0.0
    )
    by_state = defaultdict[str, float](float)
    before = meter.at(start_ns)
    for _, end, piece, kind in sweep(history.pieces(start_ns, end_ns), calendar.spans(start_ns, end_ns)):
        now = meter.at(end)
        use = _USE.get(piece.word) or ("energy_idle" if piece.word in settings.idle else "energy_other")
        found["energy_off_shift" if kind == "off" else use] += now - before
        by_state[piece.word] += now - before
        before = now
    return {**found, "energy_by_state": dict(by_state)}


def load_profile(meter: Total, start_ns: int, end_ns: int, calendar: WorkCalendar, interval: float) -> list[Load]:
    """The energy of each local interval (seconds, a divisor of the hour), as far as there are readings."""
    start, end = max(start_ns, meter.time[0]), min(end_ns, meter.time[-1])
    profile = []
    for begin, over in calendar.steps(round(interval), start, end):
        begin, over = max(begin, start), min(over, end)
        kwh = meter.at(over) - meter.at(begin)
        profile.append(Load(begin, over, kwh, kwh * 3600 * NS / (over - begin)))
    return profile
