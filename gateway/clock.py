"""Time is handed in: a `Clock` where the wall is asked, plain numbers everywhere else."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks that must not be confused: the wall can jump, the other only runs."""

    def now(self) -> int:
        """Wall time in ns since 1970, UTC. May jump when somebody sets the clock."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never jumps. For pauses, ages and rates."""

    def trusted(self) -> bool:
        """False as long as the wall cannot be right: a box without a clock battery starts in the past."""


# Before this software existed: what a clock shows before its first synchronisation (2026-01-01T00:00:00Z).
_NOT_BEFORE = 1_767_225_600_000_000_000


class SystemClock:
    """The clock of the machine we run on."""

    def now(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def trusted(self) -> bool:
        return time.time_ns() >= _NOT_BEFORE
