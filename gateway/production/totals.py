"""A total that never falls, remembered by a few of its readings.

    readings   · · · · · · · · · · · · · · · · · · · ·       ·  · · · ·
    cuts             │               │          ▲ nothing came ▲       newest
    kept       ·    ··      ·       ··         ·               ·  · · · ·

Of all readings those stay that are needed to say what was counted between two cuts (a boundary of the calendar or of the
grid, a change of state): the last one before and the first one at or after each cut, and between them so many that no two
neighbours are further apart than `gap`. Neighbours that are further apart show that nothing came. Between two kept
readings the total is taken to rise in a straight line: an amount is exact where its ends are readings, off by a part of
what came between two readings where they are cuts, and off by a part of what came within `gap` anywhere else.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf
from typing import Any

# The newest readings are all kept for a while: a change of state may be found out a little later than it happened.
TAIL = 128

Cuts = Callable[[int, int], bool]
"""Whether there is a cut between two instants, both outside."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What was counted in some stretches of time."""

    value: float
    estimated: float  # the part of it that is only spread evenly over a time in which nothing came
    missing_ns: int  # time of the stretches before the first reading and after the newest one


class Total:
    """One total. `gap_ns`: readings further apart than this have a gap between them."""

    __slots__ = ("_steps", "gap_ns", "time", "value")

    def __init__(self, gap_ns: int) -> None:
        self.gap_ns = gap_ns
        self.time = array("q")
        self.value = array("d")
        self._steps: list[tuple[int, float]] = []  # from when on how much is added to a reading

    # --- taking ------------------------------------------------------------------------------------------------------

    def add(self, t_ns: int, reading: float, cuts: Cuts) -> bool:
        """Take the next reading; False where it is older than the newest one, and left out.

        A reading below the newest one begins anew, as after a restart without a memory: nothing is counted between the two.
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
        time.append(t_ns)
        value.append(at)
        if (i := len(time) - 1 - TAIL) > 0 and not self._needed(time[i - 1], time[i + 1], cuts):
            del time[i], value[i]
        return True

    def _needed(self, before: int, after: int, cuts: Cuts) -> bool:
        """Whether a reading between these two neighbours says more than they do."""
        return after - before > self.gap_ns or cuts(before, after)

    def insert(self, readings: Iterable[tuple[int, float]], cuts: Cuts) -> tuple[int, int] | None:
        """Put late readings between those that are there.

        What does not fit between its neighbours is left out: a total never falls. Returns the time in which amounts may
        be others now: to the neighbours on both sides.
        """
        late = sorted((t, reading + self._added_at(t)) for t, reading in readings)
        if not late:
            return None
        time, value = self.time, self.value
        first, last = bisect_left(time, late[0][0]), bisect_right(time, late[-1][0])
        merged = dict(zip(time[first:last], value[first:last], strict=True))
        known, i, low = len(merged), first, value[first - 1] if first else -inf
        for t, at in late:
            while i < last and time[i] <= t:
                low, i = max(low, value[i]), i + 1
            if t not in merged and low <= at <= (value[i] if i < len(time) else inf):
                merged[t] = low = at
        if len(merged) == known:
            return None
        before, after = time[first - 1] if first else None, time[last] if last < len(time) else None
        kept = self._thinned(sorted(merged.items()), before, after, cuts)
        time[first:last] = array("q", [t for t, _ in kept])
        value[first:last] = array("d", [at for _, at in kept])
        return late[0][0] if before is None else before, late[-1][0] if after is None else after

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
        for start, end in stretches:
            inside = min(end, time[-1]) - max(start, time[0])
            missing += end - start - max(inside, 0)
            if inside > 0:
                covered += inside
                value += self.at(end, whole) - self.at(start, whole)
                estimated += self._estimated(start, end)
        return Amount(value, estimated, missing) if covered else None

    def _estimated(self, start: int, end: int) -> float:
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
        return {"t": differences(self.time), "v": list(self.value), "steps": self._steps}

    def newer(self, than_ns: int) -> dict[str, Any]:
        """The readings after an instant, as JSON."""
        i = bisect_right(self.time, than_ns)
        return {"t": differences(self.time[i:]), "v": list(self.value[i:]), "steps": self._steps}

    def append(self, newer: Total) -> None:
        """Readings that came behind those that are here; what does not fit behind them is left out."""
        i = bisect_right(newer.time, self.time[-1]) if self.time else 0
        while self.value and i < len(newer.time) and newer.value[i] < self.value[-1]:
            i += 1
        self.time.extend(newer.time[i:])
        self.value.extend(newer.value[i:])
        self._steps = newer._steps

    def cut(self, after_ns: int) -> None:
        """Readings after an instant are taken away."""
        i = bisect_right(self.time, after_ns)
        del self.time[i:], self.value[i:]

    @classmethod
    def loaded(cls, data: Mapping[str, Any], gap_ns: int) -> Total:
        """From `dump`. Raises ValueError, TypeError or KeyError for what is none."""
        total = cls(gap_ns)
        total.time, total.value = array("q", accumulate(data["t"])), array("d", data["v"])
        total._steps = [(int(t), float(added)) for t, added in data["steps"]]
        if len(total.time) != len(total.value):
            raise ValueError("as many times as values")
        for column in (total.time, total.value):
            if any(b < a for a, b in pairwise(column)):
                raise ValueError("a total and its time never fall")
        return total


def differences(column: Iterable[int]) -> list[int]:
    """The first number, then what is added each time: `accumulate` is the way back."""
    found, last = [], 0
    for each in column:
        found.append(each - last)
        last = each
    return found
