"""Times without readings, of which a server may tell later: what it tells is counted as it would have been then.

    total  1029 ┆ 1031  1089  1089 ┆ 1089  1093
    raw    1029 ┆ 1031  1089     0 ┆   59    63
           live ┆ told afterwards  ┆ live again

A page of the past runs through a copy of the counter as it was before the gap. It ends where live readings have begun again:
that total has left, and what would lie above it stays at it, as uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import COUNTER_AMBIGUOUS

if TYPE_CHECKING:
    from gateway.normalizer.counter import Count, Counter


@dataclass(slots=True)
class Gap:
    """Of one counter."""

    then: Counter  # as it was before
    now: Counter  # the same, after what was told so far
    until: int | None = None  # when live readings began again, ns; None: not yet
    most: Count = 0  # the total they began with

    @property
    def is_told(self) -> bool:
        """Whether something of it has been told."""
        return self.now.time > self.then.time

    def holds(self, time: int) -> bool:
        """Whether it was then."""
        return time > self.then.time and (self.until is None or time <= self.until)

    def place(self, raw: Count, time: int) -> tuple[Count | None, int]:
        """The total of a reading in it, and its quality. Readings come in their order; a page may come again."""
        if time < self.now.time:
            self.now = self.then.twin()
        total, quality = self.now.step(raw, time)
        if total is not None and self.until is not None and total > self.most:
            return self.most, COUNTER_AMBIGUOUS
        return total, quality
