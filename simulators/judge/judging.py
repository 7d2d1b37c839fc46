"""The judge: what the machines served, against what the store has, signal by signal. Pure, and on columns.

ledger ─ columns ─ expected by the rules ─┐
                                          ├─ matching.py: wrong, duplicated, late
store ── columns ─────────────────────────┘     │ servings that are not stored
losses, how far the store has come ─────────────┴─ unstored.py: missing, or why not
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import le

from gateway.model import BAD, REASONS, SEVERITY, UNCERTAIN
from simulators.judge.matching import MS, SAME, SECOND, Bounds, Matching, Readings
from simulators.judge.rules import Rule, Signal
from simulators.judge.unstored import Unstored
from simulators.judge.verdict import Declared, SignalVerdict, Verdict
from simulators.ledger import Column

__all__ = ["MS", "SECOND", "Bounds", "Readings", "judge"]


def judge(
    served: Mapping[Signal, Column],
    stored: Mapping[Signal, Readings],
    rules: Mapping[Signal, Rule] | None = None,
    losses: Iterable[Declared] = (),
    bounds: Bounds | None = None,
) -> Verdict:
    """Signal by signal. Without `rules` every reading has to be stored as it was served, stamped by whoever fits."""
    bounds, gaps = bounds or Bounds(), sorted(losses)
    span = _span(served)
    ended = max((column.time[-1] for column in served.values() if column.time), default=0)
    newest = max((_newest(column.time, ended + bounds.late) for column in stored.values()), default=0)
    settled = newest - bounds.settle if bounds.settled is None else bounds.settled
    if not newest:
        settled = ended  # a store that has nothing at all is no store to which anything is on its way
    rule_of = {
        signal: rules.get(signal) if rules is not None else _guessed(said, stored.get(signal))
        for signal, said in served.items()
    }
    begun = _begun(served, stored, rule_of, bounds.late)
    oldest = min((column.time[0] for column in stored.values() if column.time), default=0)
    there = {machine for (machine, _), column in stored.items() if column.time}
    found = []
    for signal in sorted(served.keys() | stored.keys()):
        verdict = SignalVerdict(*signal)
        found.append(verdict)
        said, has = served.get(signal), stored.get(signal)
        rule = rule_of[signal] if signal in rule_of else rules.get(signal) if rules is not None else _UNKNOWN
        verdict.not_judged = _why_not(rule, said)
        if verdict.not_judged or rule is None or said is None:
            verdict.served, verdict.stored = len(said.time) if said else 0, len(has.time) if has else 0
            continue
        said, sequence = _in_order(said)
        if not isinstance(sequence, range) and rule.counter:
            rule, verdict.note = replace(rule, counter=False), "its clock was set: judged as if it had not begun anew"
        matching = Matching(verdict, rule, said, has or Column(), bounds, span)
        matching.run()
        mine = [gap for gap in gaps if gap.machine in ("", signal[0]) and gap.signal in ("", signal[1])]
        # A machine of which nothing at all is stored, not even that it is away, has no beginning of its own.
        listened = begun.get(signal[0]) if signal[0] in there else oldest
        Unstored(matching, sequence, mine, settled, listened).count()
    found.sort(key=lambda each: (-each.wrong, -each.missing, -each.duplicated, -each.late, bool(each.not_judged)))
    return Verdict(found, max(0, ended - settled) if bounds.settled is None else 0)


def _span(served: Mapping[Signal, Column]) -> tuple[int, int]:
    """From when to when the ledger tells."""
    times = [column.time for column in served.values() if column.time]
    return min(map(min, times), default=0), max(map(max, times), default=0)


def _begun(
    served: Mapping[Signal, Column], stored: Mapping[Signal, Readings], rules: Mapping[Signal, Rule | None], late: int
) -> dict[str, int]:
    """By when each machine was listened to, as its signals show; without those that show nothing.

    The first reading that is stored of a signal held when it was asked for, which was before the one served next.
    """
    found: dict[str, int] = {}
    for signal, said in served.items():
        rule, has = rules[signal], stored.get(signal)
        if rule is None or rule.every or has is None or not has.time:  # an event may be the first in hours
            continue
        moment = _first_seen(said, has, rule, late)
        if moment is not None:
            found[signal[0]] = min(moment, found.get(signal[0], moment))
    return found


def _first_seen(said: Column, has: Readings, rule: Rule, late: int) -> int | None:
    """When, at the latest, a signal was asked for. None: nothing is stored of it until the clock of its machine was set."""
    before = said.time[0] if said.time else 0
    last = len(said.time) - 1
    for i, t in enumerate(said.time):
        if t < before:
            return None  # no time after it can be compared with one before it
        before = t
        if rule.stamps == "source":
            if _is_stored(has, t - SAME, t + SAME):
                return said.time[i + 1] - 1 if i < last and said.time[i + 1] >= t else None
        elif _is_stored(has, t, t + late):
            return t
    return None


def _is_stored(has: Readings, begin: int, end: int) -> bool:
    """Whether a reading with a value is stored then."""
    at = bisect_left(has.time, begin)
    return any(quality < BAD for quality in has.quality[at : bisect_right(has.time, end, at)])


def _newest(time: Sequence[int], ended: int) -> int:
    """The newest stamp that is no stamp of a clock that was ahead: the ledger had not come so far."""
    at = bisect_right(time, ended)
    return time[at - 1] if at else 0


def _in_order(said: Column) -> tuple[Column, Sequence[int]]:
    """By time, as clocks of servers are set back at times; and the places in the order in which it was served."""
    if all(map(le, said.time, islice(said.time, 1, None))):
        return said, range(len(said.time))
    order = sorted(range(len(said.time)), key=said.time.__getitem__)
    column = Column(
        array("q", [said.time[i] for i in order]),
        [said.value[i] for i in order],
        array("I", [said.quality[i] for i in order]),
        {at: said.took[i] for at, i in enumerate(order) if i in said.took},
    )
    return column, sorted(range(len(order)), key=order.__getitem__)


def _why_not(rule: Rule | None, said: Column | None) -> str:
    if rule is not None and rule.not_judged:
        return rule.not_judged
    if said is None or not said.time:
        return "nothing of it was served"
    return "" if rule is not None else "the configuration has no such signal"


def _guessed(said: Column | None, has: Readings | None) -> Rule:
    """Where no configuration tells: it is a server's own time if most of the stored stamps are those of servings.

    Ranges and the like are not known, so any doubt of the gateway's may be right.
    """
    if said is None or has is None:
        return _UNKNOWN
    stamps = {t // 1000 for t in said.time}
    some = has.time[:: max(1, len(has.time) // 200)]
    return replace(_UNKNOWN, stamps="source") if 2 * sum(t // 1000 in stamps for t in some) > len(some) else _UNKNOWN


_UNKNOWN = Rule(doubts=frozenset(code for code in REASONS if code & SEVERITY == UNCERTAIN))
