"""Whether the gateway ran all the time: a pause is a time of which nothing is known, as if it had been switched off.

    ticks    · · · · · · ·                         · · · · ·
    wall     ────────────┼───── nobody saw ────────┼────────▶
                  the last time                 this time

Two clocks tell what it was. Where the one that only runs went on, the process stood still: stopped, a box that swapped, a virtual
machine that was held. Where it did not, but the wall went on, somebody set the clock forward, or the box slept: whether the hours in between
ever were cannot be told from here, and what stands in the calendar there was seen by nobody. For states, times and energy both are
the same: unknown from the last time to this one; conditions and integrals do not take it for time that passed. What differs is what is said
about it. Pure.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_NS = 1_000_000_000
# Seconds. Ticks come twice a second, for all machines of a gateway at once. What holds them up while it runs takes a second at the most
# (a reload of a large plant: 0.9 s, tests/bench/reload.py); a box that is ten times as slow stays below. What is held up for longer has read
# no machine meanwhile either, so that nothing is known of that time is true whatever the cause was.
BOUND = 10.0
_KEPT = 100


class Pause(NamedTuple):
    """A time that nobody saw, by the wall."""

    begin_ns: int
    end_ns: int
    passed: float  # seconds, by the clock that only runs

    @property
    def clock_was_set(self) -> bool:
        """It is the wall that moved (or the box slept), not the gateway that stood still."""
        return self.passed <= BOUND

    def __str__(self) -> str:
        length = f"{(self.end_ns - self.begin_ns) / _NS:.1f} s"
        if self.clock_was_set:
            return f"the clock was set forward by {length}, or the box slept: what is worked out takes that time for unknown"
        return f"the gateway stood still for {self.passed:.1f} s: what is worked out takes that time for unknown"


class Pulse:
    """One for all machines of a gateway: each looks at times of its own, and none of them at all."""

    def __init__(self) -> None:
        self.count = 0  # pauses so far
        self._pauses: deque[Pause] = deque(maxlen=_KEPT)
        self._last: tuple[float, int] | None = None

    def note(self, now: float, now_ns: int) -> None:
        """The gateway runs: to be called about twice a second, and before whatever has to know of a pause."""
        last, self._last = self._last, (now, now_ns)
        if last is None:
            return
        passed, moved = now - last[0], (now_ns - last[1]) / _NS
        if passed > BOUND or moved - max(passed, 0.0) > BOUND:
            self._pauses.append(Pause(last[1], now_ns, passed))
            self.count += 1

    def since(self, count: int) -> list[Pause]:
        """The pauses behind the first `count` ones, the newest of them."""
        new = min(self.count - count, len(self._pauses))
        return list(self._pauses)[len(self._pauses) - new :]
