"""The swinging door: of a line of readings, those that are needed to draw it again.

A straight line between two readings that were sent passes every good reading between them at no more than the deadband:

                ·  held, then sent: no line to ● keeps all of them within
          ·  ·     · ●
     ● ·    ↕ deadband

The slopes at which a line from the last one sent passes all readings since form a door that closes with each reading. The
newest is held back; it is sent when the one after it can no longer be reached through the door. (The swinging door as it is
usually told, Bristol 1987, sends the held reading without asking whether the line to *it* passes the others, and may be
twice the deadband off.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[int, Any]
"""Time in ns, and a number."""


@dataclass(slots=True)
class Door:
    """Of one signal. `width` is the deadband."""

    width: float
    pivot: Point | None = None  # the last one sent
    held: Point | None = None  # the newest, not sent yet
    low: float = float("-inf")  # the slopes between which the line may go, per ns
    high: float = float("inf")

    def offer(self, time: int, value: Any) -> Sequence[Point]:
        """Take a reading; what has to be sent now: as a rule nothing, or the reading before."""
        newest = self.held or self.pivot
        if newest is None or time <= newest[0]:  # no line has two values at one moment, or leads back
            return self.restart(time, value)
        began, first = self.pivot or newest
        rise, elapsed, width = value - first, time - began, self.width
        sent: Sequence[Point] = ()
        if not self.low <= rise / elapsed <= self.high:
            sent = (newest,)
            self._begin(newest)
            rise, elapsed = value - newest[1], time - newest[0]
        if (low := (rise - width) / elapsed) > self.low:
            self.low = low
        if (high := (rise + width) / elapsed) < self.high:
            self.high = high
        self.held = (time, value)
        return sent

    def restart(self, time: int, value: Any) -> Sequence[Point]:
        """This reading is sent now, whatever the door says; and before it the one that is held, if the line needs it."""
        before = self.held
        if before is not None and self.pivot is not None and time > before[0]:
            slope = (value - self.pivot[1]) / (time - self.pivot[0])
            before = None if self.low <= slope <= self.high else before
        self._begin((time, value))
        return ((time, value),) if before is None else (before, (time, value))

    def end(self) -> Point | None:
        """Nothing follows: the one that is held. The next reading begins anew."""
        held = self.held
        self.pivot = self.held = None
        return held

    def _begin(self, pivot: Point) -> None:
        self.pivot, self.held = pivot, None
        self.low, self.high = float("-inf"), float("inf")
