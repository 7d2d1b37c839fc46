"""The figures of one machine for one time, by ISO 22400-2:2014, with everything they were calculated from.

    OEE  =   A          ×   E              ×   Q               =   PRI × GQ
             APT / PBT      PRI × PQ / APT     GQ / PQ             ────────
                                                                     PBT

A figure that cannot be calculated is None, never 0 or 1: whatever would be divided by zero, whatever lacks a count. OEE is
calculated by its right side, which is the same number, and still is one when a machine did not run at all (0), or when
only good parts are counted. Nothing is cut off: a performance of 110 % is shown, and `uncertain` says why to doubt it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.config.production import KpiSettings
from gateway.production.calendar import NS, WorkCalendar
from gateway.production.history import History
from gateway.production.times import Times, times_of
from gateway.production.totals import Amount

DOUBTFUL = 0.05  # of the time, or of the parts: with more that is not known, figures are uncertain
TOP_REASONS = 10
OTHERS = "(others)"  # all reasons behind them

_ISO = "ISO 22400-2:2014, clause 6: "


class Formula(NamedTuple):
    """How a figure is calculated. `inputs`: names of INPUTS."""

    unit: str  # UCUM
    text: str
    inputs: tuple[str, ...]
    reference: str


FORMULAS: Mapping[str, Formula] = {
    "availability": Formula("1", "APT / PBT", ("production_time", "planned_busy_time"), _ISO + "Availability"),
    "performance": Formula(
        "1", "PRI × PQ / APT", ("ideal_cycle", "produced", "production_time"), _ISO + "Effectiveness"
    ),
    "quality": Formula("1", "GQ / PQ", ("good", "produced"), _ISO + "Quality ratio"),
    "oee": Formula(
        "1",
        "availability × performance × quality = PRI × GQ / PBT",
        ("ideal_cycle", "good", "planned_busy_time"),
        _ISO + "Overall equipment effectiveness index",
    ),
    "nee": Formula(
        "1",
        "AUPT / PBT × performance × quality = AUPT × PRI × GQ / (PBT × APT)",
        ("processing_time", "ideal_cycle", "good", "planned_busy_time", "production_time"),
        _ISO + "Net equipment effectiveness index",
    ),
    "allocation_efficiency": Formula(
        "1", "AUBT / PBT", ("busy_time", "planned_busy_time"), _ISO + "Allocation efficiency"
    ),
    "utilization_efficiency": Formula(
        "1", "APT / AUBT", ("production_time", "busy_time"), _ISO + "Utilization efficiency"
    ),
    "technical_efficiency": Formula(
        "1", "APT / (APT + ADET)", ("production_time", "delay_time"), _ISO + "Technical efficiency"
    ),
    "setup_rate": Formula("1", "AUST / AUPT", ("setup_time", "processing_time"), _ISO + "Setup rate"),
    "scrap_ratio": Formula("1", "SQ / PQ", ("reject", "produced"), _ISO + "Scrap ratio"),
    "throughput": Formula(
        "/h",
        "PQ / PBT",
        ("produced", "planned_busy_time"),
        "parts for each planned hour; not the Throughput rate of ISO 22400-2, which is for each hour of an order (AOET)",
    ),
    "mtbf": Formula(
        "s",
        "AUPT / FE",
        ("processing_time", "failures"),
        _ISO
        + "Mean operating time between failures; its time between failures is production and setup, without delays",
    ),
    "mttr": Formula("s", "sum(TTR) / FE", ("failure_time", "failures"), _ISO + "Mean time to restoration"),
}

INPUTS: Mapping[str, tuple[str, str]] = {  # unit (UCUM), meaning
    "calendar_time": ("s", "the whole window"),
    "off_shift_time": ("s", "without a shift"),
    "break_time": ("s", "breaks within shifts"),
    "planned_operation_time": ("s", "POT: shifts without their breaks"),
    "planned_downtime": ("s", "PDOT: states that are `planned` within POT"),
    "planned_busy_time": ("s", "PBT: POT - PDOT"),
    "production_time": ("s", "APT: running within PBT, and micro-stops"),
    "micro_stop_time": ("s", "part of APT: standstills not longer than `micro_stop`"),
    "micro_stops": ("1", "how many of them began"),
    "setup_time": ("s", "AUST: setup within PBT"),
    "processing_time": ("s", "AUPT: APT + AUST"),
    "delay_time": ("s", "ADET: waiting, held, stopped and fault within PBT"),
    "busy_time": ("s", "AUBT: AUPT + ADET"),
    "down_time": ("s", "ADOT: idle, off and maintenance within PBT"),
    "unknown_time": ("s", "part of PBT of which no state is known"),
    "failures": ("1", "FE: how many times `fault` began, micro-stops left out"),
    "failure_time": ("s", "TTR: `fault` within PBT, micro-stops left out"),
    "running_outside_time": ("s", "running in breaks and off shift: in no figure"),
    "time_by_state": ("s", "the whole window by state"),
    "downtime_by_state": ("s", "AUST, ADET and ADOT by state"),
    "downtime_by_reason": ("s", f"the same by state and reason: the longest {TOP_REASONS}, and the rest as {OTHERS}"),
    "produced": ("1", "PQ: all parts within POT"),
    "good": ("1", "GQ: good parts within POT"),
    "reject": ("1", "SQ: rejected parts within POT"),
    "produced_outside": ("1", "all parts counted in breaks and off shift: in no figure"),
    "estimated_share": (
        "1",
        "of the parts, those spread evenly over a time without readings; the counter with the most",
    ),
    "ideal_cycle": ("s", "PRI: planned run time for one part"),
}


@dataclass(slots=True)
class Figures:
    """The figures of one window. `uncertain`: why they are to be doubted, or nothing; `doubtful`: counts that are."""

    start_ns: int
    end_ns: int
    kpis: dict[str, float | None]
    inputs: dict[str, Any]
    uncertain: str
    doubtful: tuple[str, ...] = ()


def figures(history: History, start_ns: int, end_ns: int, calendar: WorkCalendar, settings: KpiSettings) -> Figures:
    """The figures of [start, end); of what still runs, `end` is now.

    The state at the end is taken to last until then. A standstill that is not over yet is downtime, and may become a
    micro-stop: figures are final `micro_stop` after the end, when all readings up to there have come.
    """
    times = times_of(
        history, start_ns, end_ns, calendar, planned=settings.planned, micro_ns=round(settings.micro_stop * NS)
    )
    parts = _parts(history, start_ns, end_ns, calendar, settings)
    inputs = {**_times_in_seconds(times), **parts.inputs, "ideal_cycle": settings.ideal_cycle}
    kpis = _kpis(inputs)
    return Figures(start_ns, end_ns, kpis, inputs, "; ".join(_doubts(inputs, kpis, parts.doubts)), parts.doubtful)


def _kpis(i: Mapping[str, Any]) -> dict[str, float | None]:
    pri, produced, good, reject = i["ideal_cycle"], i["produced"], i["good"], i["reject"]
    apt, pbt, aupt, aubt = i["production_time"], i["planned_busy_time"], i["processing_time"], i["busy_time"]
    return {
        "availability": ratio((apt,), (pbt,)),
        "performance": ratio((pri, produced), (apt,)),
        "quality": ratio((good,), (produced,)),
        "oee": ratio((pri, good), (pbt,)),
        "nee": ratio((aupt, pri, good), (pbt, apt)),
        "allocation_efficiency": ratio((aubt,), (pbt,)),
        "utilization_efficiency": ratio((apt,), (aubt,)),
        "technical_efficiency": ratio((apt,), (apt + i["delay_time"],)),
        "setup_rate": ratio((i["setup_time"],), (aupt,)),
        "scrap_ratio": ratio((reject,), (produced,)),
        "throughput": ratio((produced, 3600), (pbt,)),
        "mtbf": ratio((aupt,), (i["failures"],)),
        "mttr": ratio((i["failure_time"],), (i["failures"],)),
    }


def ratio(above: Iterable[float | None], below: Iterable[float]) -> float | None:
    """The product of the first by that of the second; None where a factor is missing or would divide by zero."""
    result = 1.0
    for factor in above:
        if factor is None:
            return None
        result *= factor
    for divisor in below:
        if not divisor:
            return None
        result /= divisor
    return result


def _times_in_seconds(times: Times) -> dict[str, Any]:
    by_reason = [
        (f"{word}: {reason}" if reason else word, length / NS)
        for (word, reason), length in sorted(times.lost_by_reason.items(), key=lambda item: -item[1])
    ]
    top, rest = by_reason[:TOP_REASONS], by_reason[TOP_REASONS:]
    return {
        "calendar_time": times.window / NS,
        "off_shift_time": times.off_shift / NS,
        "break_time": times.breaks / NS,
        "planned_operation_time": times.operation / NS,
        "planned_downtime": times.planned_down / NS,
        "planned_busy_time": times.busy / NS,
        "production_time": times.production / NS,
        "micro_stop_time": times.micro / NS,
        "micro_stops": times.micro_stops,
        "setup_time": times.setup / NS,
        "processing_time": (times.production + times.setup) / NS,
        "delay_time": times.delay / NS,
        "busy_time": (times.production + times.setup + times.delay) / NS,
        "down_time": times.down / NS,
        "unknown_time": times.unknown / NS,
        "failures": times.failures,
        "failure_time": times.failure / NS,
        "running_outside_time": times.outside / NS,
        "time_by_state": {word: length / NS for word, length in times.by_state.items()},
        "downtime_by_state": {word: length / NS for word, length in times.lost_by_state.items()},
        "downtime_by_reason": dict(top) | ({OTHERS: sum(length for _, length in rest)} if rest else {}),
    }


# --- parts -----------------------------------------------------------------------------------------------------------

_Stretches = Sequence[tuple[int, int]]


class _Parts(NamedTuple):
    inputs: dict[str, Any]
    doubts: list[str]
    doubtful: tuple[str, ...]  # of the inputs


def _parts(history: History, start_ns: int, end_ns: int, calendar: WorkCalendar, settings: KpiSettings) -> _Parts:
    """What was counted in the planned operation time: production in a break is no part of it, and neither are its parts."""
    spans = calendar.spans(start_ns, end_ns)
    inside = joined((s.start_ns, s.end_ns) for s in spans if s.kind == "work")
    outside = joined((s.start_ns, s.end_ns) for s in spans if s.kind != "work")
    counters = [name for name in ("good", "reject", "total") if getattr(settings, name) is not None]
    amounts = {name: history.amount(name, inside, whole=True) for name in counters}
    produced, good, reject = quantities(amounts)
    beside, _, _ = quantities({name: history.amount(name, outside, whole=True) for name in counters})
    planned = sum(end - start for start, end in inside)
    doubts, shares, doubtful = list[str](), [0.0], set[str]()
    for name, amount in amounts.items():
        before = len(doubts)
        if amount is None:
            doubts += [f"no readings of '{name}'"] if planned else []
            continue
        share = amount.estimated / amount.value if amount.value else 0.0
        shares.append(share)
        if share > DOUBTFUL:
            doubts.append(f"{share:.0%} of '{name}' are spread evenly over a time without readings")
        if amount.missing_ns > max(DOUBTFUL * planned, history.gap_ns):
            doubts.append(f"'{name}' was not read for {amount.missing_ns / planned:.0%} of the planned time")
        if amount.doubtful:
            doubts.append(f"readings of '{name}' that came late do not fit: it may have been more")
        if len(doubts) > before:
            doubtful |= _made_of(name, counters)
    if good is not None and produced is not None and good > produced:
        doubts.append("more good parts than parts")
    known = [amounts[name] for name in counters]
    if len(counters) == 3 and all(known):
        total, sum_of_both = produced or 0.0, (good or 0.0) + (reject or 0.0)
        if abs(total - sum_of_both) > max(1.0, DOUBTFUL * total):
            doubts.append(f"'good' and 'reject' are {sum_of_both:g}, 'total' is {total:g}")
    return _Parts(
        {
            "produced": produced,
            "good": good,
            "reject": reject,
            "produced_outside": beside,
            "estimated_share": max(shares),
        },
        doubts,
        tuple(sorted(doubtful)),
    )


def _made_of(name: str, counters: Sequence[str]) -> set[str]:
    """The inputs that follow from one of the counters there are."""
    if name == "total":
        return {"produced"} | ({"good", "reject"} - {*counters})
    return {name} | ({"good", "reject"} - {*counters} if "total" in counters else {"produced"})


def joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches of time in their order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in stretches:
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return found


def quantities(amounts: Mapping[str, Amount | None]) -> tuple[float | None, float | None, float | None]:
    """PQ, GQ and SQ from two or three counters: what is counted as it is, and the third from the other two."""
    good, reject, total = (
        (a.value if (a := amounts.get(n)) is not None else None) for n in ("good", "reject", "total")
    )
    if total is None:
        return (None if good is None or reject is None else good + reject), good, reject
    if good is None and reject is not None and reject <= total:
        good = total - reject
    elif reject is None and good is not None and good <= total:
        reject = total - good
    return total, good, reject


def _doubts(inputs: Mapping[str, Any], kpis: Mapping[str, float | None], of_parts: Sequence[str]) -> list[str]:
    found = []
    unknown, busy = inputs["unknown_time"], inputs["planned_busy_time"]
    if unknown > DOUBTFUL * busy:
        found.append(f"the state is unknown for {unknown / busy:.0%} of the planned busy time")
    found += of_parts
    if (performance := kpis["performance"]) is not None and performance > 1:
        found.append(f"performance is {performance:.1%}: `ideal_cycle` may be too long")
    if inputs["produced"] and not inputs["production_time"]:
        found.append("parts were counted, but the machine was never running")
    return found
