"""A total that never falls, remembered by a few of its readings.

    readings   · · · · · · · · · · · · · · · · · · · ·       ·  · · · ·
    cuts             │               │          ▲ nothing came ▲       newest
    kept       ·    ··      ·       ··         ·               ·  · · · ·

Of all readings those stay that are needed to say what was counted between two cuts (a boundary of the calendar or of the
grid, a change of state): the last one before and the first one at or after each cut, and between them so many that no two
neighbours are further apart than `gap`. Neighbours that are further apart show that nothing came. Between two kept
readings the total is taken to rise in a straight line: an amount is exact where its ends are readings, off by a part of
what came between two readings where they are cuts, and off by a part of what came within `gap` anywhere else.

Two kinds of time are remembered beside the readings. `unknown`: nothing was counted there because nobody knew what it was (a
power that was bad), which is not the same as nothing. `doubtful`: readings that came late contradict what is known, so more may
have been counted there than the total says.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf
from typing import Any

from gateway.production.stretches import Stretches, differences

# The newest readings are all kept for a while: a change of state may be found out a little later than it happened.
TAIL = 128
# Of either kind: where there are more, what is older is not remembered.
MAX_STRETCHES = 20_000

_FIRST, _LAST = -(2**63), 2**63 - 1

Cuts = Callable[[int, int], bool]
"""Whether there is a cut between two instants, both outside."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What was counted in some stretches of time."""

    value: float
    estimated: float  # the part of it that is only spread evenly over a time in which nothing came
    missing_ns: int  # time of the stretches before the first reading, after the newest one, and where it was unknown
    doubtful: bool = False  # whether it may have been more: what came late does not fit


class Total:
    """One total. `gap_ns`: readings further apart than this have a gap between them."""

    __slots__ = ("_steps", "doubtful", "finest", "gap_ns", "time", "unknown", "value")

    def __init__(self, gap_ns: int) -> None:
        self.gap_ns = gap_ns
        self.time = array("q")
        self.value = array("d")
        self.finest = inf  # the least it has risen by from one reading to the next
        self.unknown = Stretches()
        self.doubtful = Stretches()
        self._steps: list[tuple[int, float]] = []  # from when on how much is added to a reading

    # --- taking ------------------------------------------------------------------------------------------------------

    def add(self, t_ns: int, reading: float, cuts: Cuts, unknown: bool = False) -> bool:
        """Take the next reading; False where it is older than the newest one, and left out.

        A reading below the newest one begins anew, as after a restart without a memory: nothing is counted between the two.
        `unknown`: what there was since the newest one nobody knows.
        """
        time, value = self.time, self.value
        at = reading + (self._steps[-1][1] if self._steps else 0.0)
        if time:
            if t_ns < time[-1]:
                return False
            if at < value[-1]:
                self._steps.append((t_ns, value[-1] - reading))
                at = value[-1]
            if t_ns == time[-1]:
                value[-1] = at
                return True
            if unknown:
                self.unknown.add(time[-1], t_ns)
            if 0.0 < at - value[-1] < self.finest:
                self.finest = at - value[-1]
        time.append(t_ns)
        value.append(at)
        if (i := len(time) - 1 - TAIL) > 0 and not self._needed(time[i - 1], time[i + 1], cuts):
            del time[i], value[i]
        return True

    def _needed(self, before: int, after: int, cuts: Cuts) -> bool:
        """Whether a reading between these two neighbours says more than they do."""
        return after - before > self.gap_ns or cuts(before, after)

    def insert(
        self, readings: Iterable[tuple[int, float]], cuts: Cuts, unsure: Collection[int] = ()
    ) -> tuple[int, int] | None:
        """Put late readings between those that are there. `unsure`: times of those that are uncertain themselves.

        What does not fit between its neighbours is left out: a total never falls. What that may have cost is `doubtful` from then on,
        unless readings are so close there that it would have said nothing new. Returns the time in which amounts may be others now: to
        the neighbours on both sides.
        """
        late = sorted((t, reading + self._added_at(t)) for t, reading in readings)
        if not late:
            return None
        time, value = self.time, self.value
        first, last = bisect_left(time, late[0][0]), bisect_right(time, late[-1][0])
        merged = dict(zip(time[first:last], value[first:last], strict=True))
        known, i, low = len(merged), first, value[first - 1] if first else -inf
        doubted = []
        for t, at in late:
            while i < last and time[i] <= t:
                low, i = max(low, value[i]), i + 1
            if t in merged:
                continue
            fits = low <= at <= (value[i] if i < len(time) else inf)
            if fits:
                merged[t] = low = at
            if (not fits or t in unsure) and self._in_gap(i):
                doubted.append(t)
        if len(merged) == known and not doubted:
            return None
        before, after = time[first - 1] if first else None, time[last] if last < len(time) else None
        readings = sorted(merged.items())
        self._doubt(doubted, [t for t in (before, *(t for t, _ in readings), after) if t is not None])
        kept = self._thinned(readings, before, after, cuts)
        time[first:last] = array("q", [t for t, _ in kept])
        value[first:last] = array("d", [at for _, at in kept])
        return late[0][0] if before is None else before, late[-1][0] if after is None else after

    def _in_gap(self, i: int) -> bool:
        """Whether nothing was known just before the reading i."""
        return not 0 < i < len(self.time) or self.time[i] - self.time[i - 1] > self.gap_ns

    def _doubt(self, doubted: Iterable[int], known: Sequence[int]) -> None:
        """What was counted around these instants, to the readings on both sides."""
        for t in doubted:
            i, k = bisect_left(known, t), bisect_right(known, t)
            self.doubtful.add(known[i - 1] if i else t, known[k] if k < len(known) else t + 1)

    def reshape(
        self, begin: int, end: int, counted: Sequence[tuple[int, float]], unknown: Iterable[tuple[int, int]], cuts: Cuts
    ) -> None:
        """What was counted in [begin, end] is another amount than was thought, and so is all that is shown after it.

        `counted`: when, and how much since `begin`, up to `end`. `unknown`: where nobody knows. There has to be a reading.
        """
        low = self.at(begin)
        more = counted[-1][1] - (self.at(end) - low)
        time, value = self.time, self.value
        i, k = bisect_left(time, begin), bisect_right(time, end)
        readings = [(begin, low), *((t, low + kwh) for t, kwh in counted)]
        before, after = time[i - 1] if i else None, time[k] if k < len(time) else None
        kept = self._thinned(readings, before, after, cuts)
        time[i:k] = array("q", [t for t, _ in kept])
        value[i:] = array("d", [*(at for _, at in kept), *(at + more for at in value[k:])])
        self._steps.append((time[-1], (self._steps[-1][1] if self._steps else 0.0) + more))
        self.unknown.remove(begin, end)
        for stretch in unknown:
            self.unknown.add(*stretch)

    def _thinned(
        self, readings: list[tuple[int, float]], before: int | None, after: int | None, cuts: Cuts
    ) -> list[tuple[int, float]]:
        kept: list[tuple[int, float]] = []
        for i, (t, at) in enumerate(readings):
            left = kept[-1][0] if kept else before
            right = readings[i + 1][0] if i + 1 < len(readings) else after
            if left is None or right is None or self._needed(left, right, cuts):
                kept.append((t, at))
        return kept

    def _added_at(self, t_ns: int) -> float:
        i = bisect_right(self._steps, t_ns, key=lambda step: step[0])
        return self._steps[i - 1][1] if i else 0.0

    def forget(self, before_ns: int) -> None:
        """Drop what is not needed for amounts from `before_ns` on."""
        if (n := bisect_right(self.time, before_ns) - 1) > 0:
            del self.time[:n], self.value[:n]
        if (n := bisect_right(self._steps, before_ns, key=lambda step: step[0]) - 1) > 0:
            del self._steps[:n]
        for stretches in (self.unknown, self.doubtful):
            stretches.remove(_FIRST, before_ns)

    @property
    def remembers_too_much(self) -> int | None:
        """Before when it should be forgotten, for the sake of memory."""
        for stretches in (self.unknown, self.doubtful):
            if len(stretches) > MAX_STRETCHES:
                return list(stretches)[len(stretches) - MAX_STRETCHES * 9 // 10][1]
        return None

    # --- asking ------------------------------------------------------------------------------------------------------

    def at(self, t_ns: int, whole: bool = False) -> float:
        """The total at an instant: between two readings in a straight line, outside the nearest reading.

        `whole`: between two whole numbers it is a whole number, too: parts are counted when they are complete.
        There has to be a reading.
        """
        time, value = self.time, self.value
        i = bisect_right(time, t_ns)
        if i == 0:
            return value[0]
        begin, low = time[i - 1], value[i - 1]
        if i == len(time) or begin == t_ns:
            return low
        end, high = time[i], value[i]
        if low == high:
            return low
        if whole and low.is_integer() and high.is_integer():
            return low + (int(high - low) * (t_ns - begin)) // (end - begin)
        return low + (high - low) * ((t_ns - begin) / (end - begin))

    def amount(self, stretches: Iterable[tuple[int, int]], whole: bool = False) -> Amount | None:
        """What was counted in stretches of time; None where no part of them lies between two readings."""
        time = self.time
        if not time:
            return None
        value = estimated = 0.0
        covered = missing = 0
        doubtful = False
        for start, end in stretches:
            inside = min(end, time[-1]) - max(start, time[0])
            missing += end - start - max(inside, 0) + self.unknown.length(start, end)
            if inside > 0:
                covered += inside
                value += self.at(end, whole) - self.at(start, whole)
                estimated += self.estimated(start, end)
                doubtful = doubtful or bool(self.doubtful.within(start, end))
        return Amount(value, estimated, missing, doubtful) if covered else None

    def most(self, start: int, end: int) -> float:
        """What can have been counted in [start, end) at the most: all of the gaps that reach beyond it."""
        return self._beyond(end, after=True) - self._beyond(start, after=False)

    def _beyond(self, edge: int, *, after: bool) -> float:
        i = bisect_left(self.time, edge)
        if i in (0, len(self.time)) or self.time[i] == edge or self.time[i] - self.time[i - 1] <= self.gap_ns:
            return self.at(edge)
        return self.value[i if after else i - 1]

    def rises(self, start: int, end: int) -> Iterator[tuple[int, int, int, float]]:
        """Where it rises in [start, end): (since when it had stood still, from, to, how much), cut at both ends."""
        i, k = bisect_right(self.time, start), bisect_left(self.time, end)
        edges = [max(start, min(self.time[0], end)), *self.time[i:k], min(end, max(self.time[-1], start))]
        still, (before, low) = edges[0], (edges[0], self.at(edges[0]))
        for t in edges[1:]:
            if (at := self.at(t)) > low:
                yield still, before, t, at - low
                still = t
            elif self.unknown.length(before, t):
                still = t  # it stood still because nobody counted
            before, low = t, at

    def estimated(self, start: int, end: int) -> float:
        """How much of what was counted in [start, end) lies in gaps that reach beyond it."""
        time, found, done = self.time, 0.0, -1
        for edge in (start, end):
            i = bisect_left(time, edge)
            if i in (0, len(time), done) or time[i] == edge or time[i] - time[i - 1] <= self.gap_ns:
                continue
            found += self.at(min(end, time[i])) - self.at(max(start, time[i - 1]))
            done = i
        return found

    # --- keeping -----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """As JSON: times as the first one and what is added to it each time."""
        return self._as_json(0, _FIRST)

    def newer(self, than_ns: int) -> dict[str, Any]:
        """The readings after an instant, as JSON."""
        return self._as_json(bisect_right(self.time, than_ns), than_ns)

    def _as_json(self, first: int, than_ns: int) -> dict[str, Any]:
        kept: dict[str, Any] = {
            "t": differences(self.time[first:]), "v": list(self.value[first:]), "steps": self._steps,
        }  # fmt: skip
        for name, stretches in (("unknown", self.unknown), ("doubtful", self.doubtful)):
            if found := stretches.within(than_ns, _LAST):
                kept[name] = differences(edge for stretch in found for edge in stretch)
        return kept

    def append(self, newer: Total) -> None:
        """Readings that came behind those that are here; what does not fit behind them is left out."""
        i = bisect_right(newer.time, self.time[-1]) if self.time else 0
        while self.value and i < len(newer.time) and newer.value[i] < self.value[-1]:
            i += 1
        self.time.extend(newer.time[i:])
        self.value.extend(newer.value[i:])
        self._steps = newer._steps
        for mine, theirs in ((self.unknown, newer.unknown), (self.doubtful, newer.doubtful)):
            for stretch in theirs:
                mine.add(*stretch)

    def cut(self, after_ns: int) -> None:
        """Readings after an instant are taken away."""
        i = bisect_right(self.time, after_ns)
        del self.time[i:], self.value[i:]
        for stretches in (self.unknown, self.doubtful):
            stretches.remove(after_ns, _LAST)

    @classmethod
    def loaded(cls, data: Mapping[str, Any], gap_ns: int) -> Total:
        """From `dump`. Raises ValueError, TypeError or KeyError for what is none."""
        total = cls(gap_ns)
        total.time, total.value = array("q", accumulate(data["t"])), array("d", data["v"])
        total._steps = [(int(t), float(added)) for t, added in data["steps"]]
        total.unknown.load(data.get("unknown", ()))
        total.doubtful.load(data.get("doubtful", ()))
        if len(total.time) != len(total.value):
            raise ValueError("as many times as values")
        for column in (total.time, total.value):
            if any(b < a for a, b in pairwise(column)):
                raise ValueError("a total and its time never fall")
        return total
