"""What waited and is to be sent beside what is new: which stretches, and how fast. Pure.

It takes no more than the store can swallow. Messages that are sent faster wait in the broker, in front of what is new,
and brokers drop what waits too long. So the time from sending to the store's acknowledgement is watched: as long as it
stays near the shortest that was seen, more may be under way; when it grows, less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

AHEAD = 256  # messages that are sent and not stored, at first
MOST_AHEAD = 16384
LEAST_AHEAD = 32
QUEUED = 0.5  # seconds that a message may wait on its way for others
GROWTH, DECLINE = 1.5, 0.7


class History:
    """Stretches of positions, in order."""

    def __init__(self, rate: float | None, *, limited: bool) -> None:
        """`rate`: bytes per second. `limited`: somebody acknowledges what is stored."""
        self._stretches: deque[tuple[int, int]] = deque()
        self._rate, self._limited = rate, limited
        self._allowance, self._filled = rate or 0.0, 0.0  # bytes, and when they were counted
        self._ahead = float(AHEAD)
        self._probe: tuple[int, float] | None = None  # a position, and when it was sent
        self._shortest = float("inf")  # seconds from sending to stored
        self._held_up = False  # more could have been sent, but for `ahead`

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._stretches)

    @property
    def count(self) -> int:
        """Positions that are to be sent."""
        return sum(last - first + 1 for first, last in self._stretches)

    @property
    def next(self) -> tuple[int, int]:
        """The first stretch."""
        return self._stretches[0]

    def add(self, first: int, last: int) -> None:
        """These, too: they lie behind all others."""
        if first <= last:
            self._stretches.append((first, last))

    def restart(self, first: int, last: int) -> None:
        """These, and nothing else."""
        self._stretches.clear()
        self._probe = None
        self.add(first, last)

    @property
    def probe(self) -> int | None:
        """The position whose acknowledgement is waited for, to see how long it takes."""
        return self._probe[0] if self._probe else None

    def allowed(self, room: int, window: int, unanswered: int, now: float) -> int:
        """How many messages may go now, with so much room in a window; `unanswered`: sent, and not stored yet."""
        room -= max(1, window // 5) if window > 1 else 0  # places that are left to what is new
        if self._limited:
            ahead = int(self._ahead) - unanswered
            self._held_up = self._held_up or ahead < room
            room = min(room, ahead)
        if self._rate is not None:
            self._allowance = min(self._rate, self._allowance + (now - self._filled) * self._rate)
            self._filled = now
            room = min(room, 1) if self._allowance > 0 else 0
        return room

    def sent(self, position: int, size: int, now: float) -> None:
        """This one is on its way; those before it are, or are stored."""
        _, last = self._stretches.popleft()
        if position < last:
            self._stretches.appendleft((position + 1, last))
        self._allowance -= size
        if self._probe is None:
            self._probe = (position, now)

    def skip(self) -> None:
        """Nothing of the first stretch is left to be sent."""
        self._stretches.popleft()

    def stored(self, now: float) -> None:
        """The store has what the probe asks for."""
        if self._probe is None:
            return
        took = now - self._probe[1]
        self._probe = None
        self._shortest = min(self._shortest, took)
        if took - self._shortest > QUEUED:
            self._ahead = max(LEAST_AHEAD, self._ahead * DECLINE)
        elif self._held_up:
            self._ahead = min(MOST_AHEAD, self._ahead * GROWTH)
        self._held_up = False

    def slow_down(self) -> None:
        """What was sent did not arrive."""
        self._ahead = max(LEAST_AHEAD, self._ahead / 2)
