"""When to do the next thing: drift-free ticks, and pauses that grow. Pure: time is an argument."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


class Ticks:
    """Several rates on one clock, free of drift: tick k of a rate is at `start + k * rate`, never "now + rate".

    A tick that comes too late to be kept is skipped and counted; ticks are never queued up.
    """

    def __init__(self, rates: Sequence[float], start: float) -> None:
        """`rates` in seconds, one per thing to do. `start` is `Clock.monotonic()`."""
        self._rates = tuple(rates)
        self._start = start
        self._count = [0] * len(self._rates)  # of the next tick, per rate
        self._next = [start] * len(self._rates)
        self.missed = [0] * len(self._rates)  # ticks skipped, per rate

    def next(self) -> float:
        """When something is due."""
        return min(self._next, default=math.inf)

    def due(self, now: float) -> list[int]:
        """The indexes of what is due, each moved on to its first tick after `now`."""
        due = [i for i, at in enumerate(self._next) if at <= now]
        for i in due:
            before = self._count[i]
            while self._next[i] <= now:
                # A long sleep in one step, and rounding in another one.
                self._count[i] += max(1, int((now - self._next[i]) / self._rates[i]))
                self._next[i] = self._start + self._count[i] * self._rates[i]
            self.missed[i] += self._count[i] - before - 1
        return due


class Backoff:
    """Pauses between attempts: doubled each time, capped, and jittered so that many boxes do not come back at once."""

    def __init__(self, first: float = 0.5, cap: float = 30.0, rng: random.Random | None = None) -> None:
        self._first, self._cap = first, cap
        self._rng = rng or random.Random()
        self.attempts = 0

    def pause(self) -> float:
        """How long to wait before the next attempt, in seconds: between half and all of the current step."""
        step = min(self._cap, self._first * 2.0 ** min(self.attempts, 30))
        self.attempts += 1
        return step * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """After a success: the next failure starts small again."""
        self.attempts = 0
