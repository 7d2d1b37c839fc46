"""The totals that belong to a count: what leaves of a counter never falls, whatever its machine says. Pure.

    served    997  998    3    4    5        the device went round, was reset, or is another one
    stored    997  998  998 1004 1005        a reading may be held back before it is believed

Where a count goes on, its total does too, by as much. Where it falls, the total may have been given what was counted since, or
nothing: which of them is seen from what is stored, and has to be one of the few numbers that are possible. Where it leaps,
that holds only if the store says so: a count that rose has counted, unless there is a doubt beside it. So what is stored as
good is what was served, and what is stored as uncertain lies between what was there and what can have been added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeGuard

from gateway.model import Value
from simulators.judge.rules import COUNTS_IN_DOUBT, ROUNDING, Rule

SECOND = 1_000_000_000
CODE = 0xFFFF0000  # of a quality: without flags
_LEAP = 4.0  # times the fastest pace so far: beyond it, a rise may be taken for another count
_ENOUGH = 100  # readings
_HELD = 2  # readings for which a count that began anew may be held back
_WHOLE = 0.4  # between two whole numbers there is more
_EARLIER = 16  # counts that may come back


class Pair(NamedTuple):
    """A total that is stored."""

    place: int  # of the serving before it
    total: Value
    quality: int


@dataclass(slots=True)
class Totals:
    """What each serving has to be stored as, and what it may be stored as instead."""

    expected: Sequence[Value]
    between: dict[int, tuple[float, float]] = field(default_factory=dict)  # where there is a doubt about it
    held: set[int] = field(
        default_factory=set
    )  # these have to have one: the total waits until the count has reached it
    anew: list[int] = field(default_factory=list)  # where another count may have begun
    note: str = ""


def totals(rule: Rule, time: Sequence[int], counts: Sequence[Value], pairs: Iterable[Pair]) -> Totals:
    """Counts that are None stay so."""
    places = [i for i, value in enumerate(counts) if _is_number(value)]
    numbers = [value for value in counts if _is_number(value)]
    stored: list[Pair] = []
    begins: list[_Begin] = []
    if steps := _steps(rule, [time[i] for i in places], numbers):
        pairs = stored = list(pairs)
        told = _Told(rule, stored)
        begins = _real(steps, numbers, [told.near(places[n], numbers[n] < numbers[n - 1]) for n in steps])
    # A count that only rose has one offset, which a few readings tell.
    seen = _offsets(counts, islice(pairs, _ENOUGH), places[begins[0].first] if begins else len(counts))
    begin = seen.most_common(1)[0][0] if seen else 0.0
    if not begins and not begin:
        return Totals(counts)
    found = Totals(list(counts), anew=[places[each.first] for each in begins])
    _Stretches(rule, places, numbers, counts, stored, found).follow(begins, begin)
    notes = [f"totals are {begin:g} above the count"] if begin else []
    if begins:
        times = f"{len(begins)} times" if len(begins) > 1 else "once"
        notes.append(f"the count fell or leapt {times}: judged by what it can have added")
    found.note = "; ".join(notes)
    return found


# --- where another count may begin -----------------------------------------------------------------------------------


class _Begin(NamedTuple):
    """Of a stretch."""

    first: int  # of its numbers
    told: bool  # the store says that there is a doubt


def _steps(rule: Rule, time: Sequence[int], numbers: Sequence[float]) -> list[int]:
    """Where a count falls, or rises faster than ever."""
    found, pace, ended = [], 0.0, float("inf")
    for i in range(1, len(numbers)):
        step = numbers[i] - numbers[i - 1]
        if step < 0:
            found.append(i)
            ended = numbers[i - 1]
        elif step:
            now = step / max((time[i] - time[i - 1]) / SECOND, 1.0)
            leaps = now > (rule.max_rate or _LEAP * pace)
            if leaps:
                found.append(i)
            if not leaps or (not pace and numbers[i] < ended):  # what leaps or comes back tells no pace
                pace = max(pace, now)
    return found


def _real(steps: Sequence[int], numbers: Sequence[float], told: Sequence[bool]) -> list[_Begin]:
    """Without leaps that nobody doubts: but a count that seemed to have ended may go on where it was."""
    found: list[_Begin] = []
    ended: list[float] = []  # counts that seem to have, each where it was then
    for i, doubted in zip(steps, told, strict=True):
        falls = numbers[i] < numbers[i - 1]
        if falls or doubted or (ended and numbers[i] >= min(ended)):
            found.append(_Begin(i, doubted))
            if falls:
                ended = [*ended[1 - _EARLIER :], numbers[i - 1]]
    return found


class _Told:
    """Where the store has a doubt about a count."""

    def __init__(self, rule: Rule, pairs: Sequence[Pair]) -> None:
        self._all = rule.report == "all"
        self._places = [pair.place for pair in pairs]
        self._doubts = [pair.quality & CODE in COUNTS_IN_DOUBT for pair in pairs]

    def near(self, place: int, falls: bool) -> bool:
        """Whether the reading is doubtful, or missing where all are stored; where a count falls, one of those after it."""
        k = bisect_left(self._places, place)
        unread = self._all and (k == len(self._places) or self._places[k] != place)
        return unread or any(self._doubts[k : k + (_HELD if falls else 0) + 1])


# --- what its totals are ---------------------------------------------------------------------------------------------


class _Stretches:
    """From one beginning to the next one the total lies above the count by the same number."""

    def __init__(
        self,
        rule: Rule,
        places: Sequence[int],
        numbers: Sequence[float],
        counts: Sequence[Value],
        pairs: Sequence[Pair],
        found: Totals,
    ) -> None:
        self._rule, self._places, self._numbers, self._counts = rule, places, numbers, counts
        self._pairs, self._found = pairs, found
        self._at = [pair.place for pair in pairs]
        self._expected: list[Value] = list(found.expected)
        found.expected = self._expected

    def follow(self, begins: Sequence[_Begin], offset: float) -> None:
        """Fill in what is expected."""
        ends = [each.first for each in begins] + [len(self._numbers)]
        for n in range(ends[0]):
            self._expected[self._places[n]] = self._numbers[n] + offset
        earlier = [offset]
        for begin, end in zip(begins, ends[1:], strict=True):
            before = self._reached(begin.first)
            known = self._known(begin.first, before)
            offset = self._likely(begin, end, (before, known), earlier)
            self._fill(begin, end, known, offset)
            if offset not in earlier:
                earlier = [*earlier[1 - _EARLIER :], offset]
            else:
                earlier = [*(each for each in earlier if each != offset), offset]

    def _reached(self, first: int) -> float:
        """The total of the serving before."""
        total = self._expected[self._places[first - 1]]
        assert _is_number(total)
        return total

    def _known(self, first: int, before: float) -> float:
        """The total of the last serving before that arrived: the machine may have ended with others unread."""
        for pair in reversed(self._pairs[: bisect_left(self._at, self._places[first])]):
            if _is_number(pair.total):
                expected = self._expected[pair.place] if pair.place < len(self._expected) else None
                return min(before, expected) if _is_number(expected) else before
        return before

    def _fill(self, begin: _Begin, end: int, floor: float, offset: float) -> None:
        """A total never falls: it waits until the count has reached it."""
        near, most = self._near(floor), floor + max(self._possible(begin))
        for n in range(begin.first, end):
            place, total = self._places[n], self._numbers[n] + offset
            self._expected[place] = max(floor, total)
            if begin.told and n <= begin.first + _HELD:
                self._found.between[place] = floor, max(most, total)
            elif total < floor - near:
                self._found.held.add(place)

    def _likely(self, begin: _Begin, end: int, ends: tuple[float, float], earlier: Sequence[float]) -> float:
        """What the total lies above the count: of all that is possible, what fits most of what is stored."""
        now, last = self._numbers[begin.first], self._numbers[begin.first - 1]
        rule, before = self._rule, earlier[-1]
        possible = []
        if begin.told:
            possible += [total + each - now for each in self._possible(begin) for total in ends]
        if rule.wraps_at and now < last:
            # One with a sign ends at half of its numbers, and goes on with the lowest.
            possible.append(before + rule.wraps_at * (2 if now < 0 else 1))
        possible += reversed(earlier)
        until = self._places[end] if end < len(self._places) else len(self._counts)
        after = self._places[min(begin.first + _HELD, end - 1)]
        pairs = self._pairs[bisect_left(self._at, after) : bisect_left(self._at, until)][:_ENOUGH]
        floor, near = ends[1], self._near(*ends, now)

        def fitting(offset: float) -> int:
            return sum(
                _is_number(pair.total)
                and _is_number(count := self._counts[pair.place])
                and abs(max(floor, count + offset) - pair.total) <= near
                for pair in pairs
            )

        return max(possible, key=fitting)

    def _possible(self, begin: _Begin) -> list[float]:
        """What a count can have added where another one seems to begin: nothing, what it shows, or its way around."""
        counts = self._numbers[begin.first : begin.first + _HELD]
        now, last = counts[0], self._numbers[begin.first - 1]
        added = [0.0, *(each for each in counts if each >= 0), *(now - each for each in counts)]
        if now >= last:
            added.append(now - last)
        elif self._rule.wraps_at:
            added.append(self._rule.wraps_at * (2 if now < 0 else 1) - last + now)
        return added

    def _near(self, *numbers: float) -> float:
        rounding = ROUNDING * 10 * max(*map(abs, numbers), 1.0)
        return self._rule.near + (
            min(rounding, _WHOLE) if all(float(each).is_integer() for each in numbers) else rounding
        )


def _offsets(counts: Sequence[Value], pairs: Iterable[Pair], end: int) -> Counter[float]:
    """How far totals lie above their counts, with how many do."""
    return Counter(
        offset if abs(offset := pair.total - count) > ROUNDING else 0.0
        for pair in pairs
        if pair.place < end and _is_number(count := counts[pair.place]) and _is_number(pair.total)
    )


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
