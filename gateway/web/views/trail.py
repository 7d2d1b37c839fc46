"""How far the buffer has come, and when: what turns a mark into a lag. Pure, and O(1) for each note.

note(now, last, records)     about twice a second
since(now, position)         how long ago that position came: the lag of a stage whose mark stands before it
growth(now)                  records per second that come and do not go, and that come at all
"""

from __future__ import annotations

from bisect import bisect_left

KEPT = 1500  # notes, before those are left out that are closer together than needed
CLOSE = 0.02  # of how long ago they were made
EVERY = 0.4  # seconds between two of them at least
WINDOW = 60.0  # seconds over which growth is measured
LEAST = 5.0  # seconds of it without which nothing is known


class Trail:
    """Of one buffer, since this process began."""

    def __init__(self) -> None:
        self._at: list[float] = []  # monotonic
        self._last: list[int] = []  # position of the newest record then, ascending
        self._records: list[int] = []  # how many waited then

    def note(self, now: float, last: int, records: int) -> None:
        """How it stands now."""
        if self._at and now - self._at[-1] < EVERY:
            return
        if self._last and last < self._last[-1]:  # another buffer: nothing of before is true
            self._at, self._last, self._records = [], [], []
        self._at.append(now)
        self._last.append(last)
        self._records.append(records)
        if len(self._at) > KEPT:
            self._thin(now)

    def _thin(self, now: float) -> None:
        """What happened long ago need not be known to the second: a week is left with some 700 notes."""
        at, kept = self._at, [0]
        for i in range(1, len(at) - 1):
            if at[i + 1] - at[kept[-1]] > CLOSE * (now - at[i]):
                kept.append(i)
        kept.append(len(at) - 1)
        self._at = [at[i] for i in kept]
        self._last, self._records = [self._last[i] for i in kept], [self._records[i] for i in kept]

    def since(self, now: float, position: int) -> float | None:
        """Seconds since the record at this position came; 0 for one that has not; None for one of before this start."""
        if not self._last or position > self._last[-1]:
            return 0.0
        if position <= self._last[0]:
            return None
        return max(0.0, now - self._at[bisect_left(self._last, position)])

    def growth(self, now: float) -> tuple[float, float] | None:
        """Records per second over the last minute: by how many there are more, below 0 less; and how many came.

        None as long as that is not known.
        """
        if not self._at:
            return None
        first = bisect_left(self._at, now - WINDOW)
        if first >= len(self._at) or (span := self._at[-1] - self._at[first]) < LEAST:
            return None
        return (self._records[-1] - self._records[first]) / span, (self._last[-1] - self._last[first]) / span
