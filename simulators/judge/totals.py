"""The totals that belong to a count: what leaves of a counter never falls, whatever its machine says. Pure.

    served    997  998    3    4    5        the device went round, was reset, or is another one
    stored    997  998  998 1004 1005        a reading may be held back before it is believed

Where a count goes on, its total does too, by as much. Where it falls or leaps, the total may have been given what was counted
since, or nothing: which of them is seen from what is stored, and has to be one of the few numbers that are possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeGuard

from gateway.model import Value
from simulators.judge.rules import ROUNDING, Rule

SECOND = 1_000_000_000
_LEAP = 4.0  # times the fastest pace so far: beyond it, a rise may be taken for another count
_ENOUGH = 100  # readings
_HELD = 2  # readings for which a count that began anew may be held back


@dataclass(slots=True)
class Totals:
    """What each serving has to be stored as, and what it may be stored as instead."""

    expected: Sequence[Value]
    also: dict[int, Value] = field(default_factory=dict)
    note: str = ""


def totals(rule: Rule, time: Sequence[int], counts: Sequence[Value], pairs: Iterable[tuple[int, Value]]) -> Totals:
    """`pairs`: a serving and the total stored after it. Counts that are None stay so."""
    places = [i for i, value in enumerate(counts) if _is_number(value)]
    numbers = [value for value in counts if _is_number(value)]
    cuts = _cuts(rule, [time[i] for i in places], numbers)
    # A count that only rose has one offset, which a few readings tell.
    offsets = _offsets(counts, pairs if len(cuts) > 1 else islice(pairs, _ENOUGH))
    begin = next(iter(_usual(offsets, 0, places[cuts[1]] if len(cuts) > 1 else len(counts))), 0.0)
    if len(cuts) == 1 and not begin:
        return Totals(counts)
    expected, also = list(counts), dict[int, Value]()
    offset, before = begin, 0.0
    earlier = [begin]
    for k, first in enumerate(cuts):
        last = cuts[k + 1] if k + 1 < len(cuts) else len(places)
        if k:
            until = places[last] if last < len(places) else len(counts)
            seen = _usual(offsets, places[min(first + _HELD, last - 1)], until)
            added = _possible(rule, numbers[first - 1], numbers[first : first + _HELD])
            known = _known(offsets, counts, places[first], before)
            offset = _likely(rule, seen, (before, known), numbers[first], added, earlier)
            earlier.append(offset)
        for n in range(first, last):
            expected[places[n]] = numbers[n] + offset
            if k and n < first + _HELD:
                also[places[n]] = known
        before = max(before, numbers[last - 1] + offset) if k else numbers[last - 1] + offset
    notes = [f"totals are {begin:g} above the count"] if begin else []
    if len(cuts) > 1:
        times = f"{len(cuts) - 1} times" if len(cuts) > 2 else "once"
        notes.append(f"the count fell or leapt {times}: judged by what it can have added")
    return Totals(expected, also, "; ".join(notes))


def _cuts(rule: Rule, time: Sequence[int], numbers: Sequence[float]) -> list[int]:
    """Where another count may begin."""
    found, pace = [0], 0.0
    for i in range(1, len(numbers)):
        step = numbers[i] - numbers[i - 1]
        if step < 0:
            found.append(i)
        elif step:
            now = step / max((time[i] - time[i - 1]) / SECOND, 1.0)
            if now > (rule.max_rate or (_LEAP * pace or float("inf"))):
                found.append(i)
            pace = max(pace, now)
    return found


def _offsets(counts: Sequence[Value], pairs: Iterable[tuple[int, Value]]) -> list[tuple[int, float]]:
    """How far each total lies above its count, by the place of the serving."""
    return [
        (i, total - count)
        for i, total in pairs
        if i < len(counts) and _is_number(count := counts[i]) and _is_number(total)
    ]


def _usual(offsets: Sequence[tuple[int, float]], first: int, end: int) -> list[float]:
    """The offsets in a stretch, the one of most readings first; none at all before any other."""
    seen = Counter(offset if abs(offset) > ROUNDING else 0.0 for i, offset in offsets if first <= i < end)
    return sorted(seen, key=lambda offset: (-seen[offset], abs(offset)))


def _known(offsets: Sequence[tuple[int, float]], counts: Sequence[Value], end: int, before: float) -> float:
    """The total of the last serving before a cut that arrived: the machine may have ended with others unread."""
    for i, offset in reversed(offsets):
        if i < end:
            count = counts[i]
            return min(before, count + offset) if _is_number(count) else before
    return before


def _possible(rule: Rule, last: float, counts: Sequence[float]) -> set[float]:
    """What a count can have added where another one seems to begin: nothing, what it shows, or its way around."""
    now = counts[0]
    added = {0.0, *counts, *(now - count for count in counts)}
    if now >= last:
        added.add(now - last)
    elif rule.wraps_at:
        added.add(rule.wraps_at - last + now)
    return added


def _likely(
    rule: Rule, seen: Sequence[float], ends: Sequence[float], now: float, added: set[float], earlier: Sequence[float]
) -> float:
    """The offset of most readings that is possible, that of an earlier count among them: it had not ended after all.

    `ends`: the totals with which the count before may have ended.
    """
    near = rule.near + ROUNDING * 10 * max(*map(abs, ends), abs(now), abs(rule.wraps_at or 0.0))
    for offset in seen:
        if any(abs(offset + now - end - each) <= near for each in added for end in ends):
            return offset
        if offset + now >= min(ends) - near and any(abs(offset - each) <= near for each in earlier):
            return offset
    return ends[0] - now


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
