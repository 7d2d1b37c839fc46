"""Records that were made before the clock of this box was set: when they may go, and what their times really are.

They show the artificial time of gateway/clock.py, which runs from the start of the box. Once the clock is set, the
distance to the real time is known for all of them, and remembered: sent twice, a record has to say the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from gateway.buffer.marks import Timeless
from gateway.clock import ERA, Clock, TrackedClock, artificial, boot_id


class TimelessStretches:
    """Where they begin. What lies behind the last of them may have a time already; each record says so itself."""

    def __init__(self, clock: Clock, stretches: Sequence[Timeless] = ()) -> None:
        self._clock = clock
        self.stretches = list(stretches)

    def note(self, position: int, known: int) -> bool:
        """A record without time is appended there. True if that was not known yet."""
        newest = self.stretches[-1] if self.stretches else None
        if newest is not None and newest.boot == _this_boot():
            return False
        self.stretches.append(Timeless(position, _this_boot(), None, known))
        return True

    def learn(self) -> bool:
        """Ask the clock; True if it has learnt the time since."""
        newest = self.stretches[-1] if self.stretches else None
        if newest is None or newest.shift is not None or newest.boot != _this_boot():
            return False
        shift = self._clock.shift() if isinstance(self._clock, TrackedClock) else None
        if shift is None:
            return False
        self.stretches[-1] = replace(newest, shift=shift)
        return True

    @property
    def held_from(self) -> int | None:
        """The first position that waits for the time; None where nothing does."""
        newest = self.stretches[-1] if self.stretches else None
        return newest.first if newest and newest.shift is None and newest.boot == _this_boot() else None

    def shift(self, position: int) -> tuple[int, bool]:
        """ns from the time a record shows to the real one, and whether that is sure."""
        i = bisect_right(self.stretches, position, key=lambda each: each.first) - 1
        if i < 0:
            return 0, False
        found = self.stretches[i]
        if found.shift is not None:
            return found.shift, True
        return max(0, found.known - ERA), False  # that boot never learnt the time: it was not before what was known

    def real(self, position: int, ns: int) -> int:
        """A time of that record."""
        return ns + self.shift(position)[0] if artificial(ns) else ns

    def forget(self, stored: int) -> None:
        """Those of which nothing is kept."""
        while len(self.stretches) > 1 and self.stretches[1].first - 1 <= stored:
            del self.stretches[0]


@cache
def _this_boot() -> str:
    return boot_id()
