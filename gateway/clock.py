"""Time is handed in: a `Clock` where the wall is asked, plain numbers everywhere else.

A small box has no battery for its clock: it starts in 1970, or where it was switched off, and learns the time from the
network minutes or days later; people and servers set it. `SystemClock` makes stamps of that which can be relied on:

    not trusted ── the wall can be right ──▶ trusted, for good                       now() shows
      ERA + time since boot                    wall, small moves, forward steps      the wall
      (artificial, known by its year;          back by up to a day                   its own time, 10 % slower, until met
       shift() makes real time of it)          further than a day                    its own time, until that is confirmed

Its own time is a clock that nobody can set (it runs on while the box is suspended) plus an offset; as long as the offset
of the wall stays where it was, nothing has to be decided, which is what makes now() cheap.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND

# Stamps made while the time is not known begin here (1990-01-01T00:00:00Z): no device of today dates its readings so.
ERA = 631_152_000 * _SECOND
_ERA_END = ERA + 5 * 365 * _DAY

_NOT_BEFORE = 1_767_225_600 * _SECOND  # before this software existed (2026-01-01T00:00:00Z): cannot be right
_NOT_AFTER = 4_102_444_800 * _SECOND  # nor can this (2100-01-01T00:00:00Z)

_SLACK = _SECOND // 1000  # of the offset: what a clock that is being slewed drifts between two looks
_STEP = _SECOND // 2  # more than this is recorded; NTP itself slews less and steps more (RFC 5905 names 0.128 s)
_FAR = _DAY + _SLACK  # more than this is not believed at once
_SLOWER = 10  # what is ahead of the wall loses one second in so many
_CONFIRMED = 600 * _SECOND  # so long a wall must stand by a jump that nobody vouches for
_TIGHT = _SECOND // 10_000  # two clocks read within this belong to one moment
_KEPT = 1000  # steps nobody asks for

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Policy = Literal["plausible", "synchronized"]


class Clock(Protocol):
    """Two clocks that must not be confused: the wall can jump, the other only runs."""

    def now(self) -> int:
        """Wall time in ns since 1970, UTC. May jump when somebody sets the clock."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never jumps. For pauses, ages and rates."""

    def trusted(self) -> bool:
        """False as long as the wall cannot be right: a box without a clock battery starts in the past."""


@dataclass(frozen=True, slots=True)
class Step:
    """The wall moved, and not by the passing of time. In ns since 1970."""

    before: int  # what our clock would have shown
    after: int  # what the wall shows
    cause: str  # what became of it, for people


@runtime_checkable
class TrackedClock(Clock, Protocol):
    """A clock that tells what happened to it, and what its stamps were worth."""

    def shift(self) -> int | None:
        """What to add to an artificial stamp of this boot to get real time; None until the clock is trusted."""

    def steps(self) -> list[Step]:
        """What has happened since this was last asked, oldest first; each is told once."""


def artificial(ns: int) -> bool:
    """Whether a stamp was made while the time was not known: it wants shift() added to it."""
    return ERA <= ns < _ERA_END


def boot_id() -> str:
    """What tells this boot from all others: artificial stamps of one boot are of one scale. "" where there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeError):
        return ""


def kernel_synchronized() -> bool:
    """Whether something on this box (chrony, ntpd, timesyncd, PTP) answers for the time.

    Setting the clock by hand takes the kernel's word back, so it speaks for the time that is shown now.
    """
    return bool(synchronization())


def synchronization() -> bool | None:
    """The same, to tell somebody: None where the kernel may not be asked, and nobody else says it."""
    said = _adjtimex()()
    if 0 <= said <= 4:  # 1 to 4: a leap second is near; 5, TIME_ERROR: STA_UNSYNC is set; -1: not allowed here
        return True
    # systemd-timesyncd keeps STA_UNSYNC where the RTC runs in local time. It touches this file at each synchronization,
    # which must have been one of the wall as it stands: the file outlives somebody setting the clock.
    try:
        if abs(time.time_ns() - _TIMESYNCD.stat().st_mtime_ns) < _DAY:
            return True
    except OSError:
        pass
    return None if said < 0 else False


@cache
def _adjtimex() -> Callable[[], int]:
    """What adjtimex(2) says when it is only asked (modes = 0); 5 where there is none."""
    import ctypes  # only a box that does not know the time pays for it

    try:
        ask = ctypes.CDLL(None).adjtimex
    except (OSError, TypeError, AttributeError):
        return lambda: 5
    timex = ctypes.c_char * 512  # zeros; the struct has 208 bytes at most
    return lambda: int(ask(timex()))


def _since_boot() -> Callable[[], int]:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns if boottime is None else partial(time.clock_gettime_ns, boottime)


class SystemClock:
    """The clock of the machine we run on, as a `TrackedClock`. May be asked from any thread.

    It is trusted from the moment the wall can be right: after this software was made, not a day before what was recorded
    last (`last_known`, `remember`), or in the word of the kernel; with the policy "synchronized" only the latter.
    It stays trusted. Until then now() is artificial, and strictly of the same scale for all processes of one boot.

    Then now() never goes back, with one exception: a wall that jumped by more than a day is followed, backward too,
    once the kernel vouches for it or it has stood for ten minutes, because then what we showed was wrong by days or
    years. A wall that cannot be right at all is never followed.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        running: Callable[[], int] | None = None,
        synchronized: Callable[[], bool] = kernel_synchronized,
        last_known: int = 0,
        policy: Policy = "plausible",
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`running`: ns since boot, which nobody can set. `last_known`: see remember()."""
        self._wall, self._running = wall, running or _since_boot()
        self._synchronized, self._policy, self._monotonic = synchronized, policy, monotonic
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque(maxlen=_KEPT)
        self._trusted = False
        self._shift = 0
        self._last = 0  # what now() has shown
        self._offset = 0  # of the wall to the running clock, as we believe it
        self._low, self._high = 1, 0  # offsets at which there is nothing to decide: none as yet
        self._lead, self._lead_at = 0, 0  # how far we were ahead of the wall, and when on the running clock
        self._jump: Step | None = None  # the wall is further off than a day: when we saw it
        self._jump_at = 0  # the same on the running clock
        self._stands_at, self._stands_since = 0, 0  # the offset it has now, and since when on the running clock
        self._warned = False
        self._known = -_NOT_AFTER  # offset below which the wall would lie before what was recorded
        self.remember(last_known)

    def remember(self, ns: int) -> None:
        """The newest stamp of our own that an earlier process recorded: now lies behind it.

        To be called before the clock is asked for the first time; once it is trusted this changes nothing.
        """
        if _NOT_BEFORE <= ns < _NOT_AFTER:
            with self._lock:
                self._known = max(self._known, ns - self._running())

    def monotonic(self) -> float:
        return self._monotonic()

    def now(self) -> int:
        with self._lock:
            # In this order, being interrupted in between looks like a wall that is ahead, which is looked at again.
            running = self._running()
            now = self._wall()
            if not self._low <= now - running <= self._high:
                return self._look()
            if self._lead:
                now += self._ahead(running)
            if now > self._last:
                self._last = now
            return self._last

    def trusted(self) -> bool:
        if not self._trusted:
            self.now()
        return self._trusted

    def shift(self) -> int | None:
        """See TrackedClock. Settled when the clock becomes trusted, so that what is re-based stays in its order; it is
        replaced only where a jump of more than a day is followed."""
        return self._shift if self.trusted() else None

    def steps(self) -> list[Step]:
        self.now()  # what has happened and nobody has noticed yet
        with self._lock:
            told = list(self._steps)
            self._steps.clear()
            return told

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _look(self) -> int:
        """What to show where the wall is not where it was believed to be."""
        running, offset = self._measure()
        if not self._trusted:
            if not self._can_be_right(running + offset, offset):
                return ERA + running
            self._begin(running, offset)
        elif abs(offset - self._offset) > _FAR:
            if not self._confirmed(running, offset):
                return self._show(running + self._offset + self._ahead(running))
            self._follow(running, offset)
        else:
            self._accept(running, offset)
        return self._show(running + offset + self._ahead(running))

    def _measure(self) -> tuple[int, int]:
        """The running clock, and the offset of the wall at that moment: a thread may be stopped in between."""
        best, running, offset = sys.maxsize, 0, 0
        for _ in range(5):
            at = self._running()
            wall = self._wall()
            if (took := self._running() - at) < best:
                best, running, offset = took, at, wall - at
            if took <= _TIGHT:
                break
        return running, offset

    def _can_be_right(self, wall: int, offset: int) -> bool:
        if not _NOT_BEFORE <= wall < _NOT_AFTER:
            return False
        if self._policy == "plausible" and offset >= self._known - _DAY:
            return True
        # What was recorded may have been wrong, by years: then only the kernel can say so.
        return self._synchronized()

    def _begin(self, running: int, offset: int) -> None:
        """From here on the clock is trusted."""
        behind = self._known - offset
        lead = behind if 0 < behind <= _DAY else 0
        if lead > _STEP:  # a restart while we were ahead, or a box that took the hour of its last shutdown for now
            cause = (
                f"at the start the clock was {_span(lead)} behind what had been recorded: going on from there, slower"
            )
            self._note(running + self._known, running + offset, cause)
        self._settle(running, offset, lead)
        self._shift = offset + lead - ERA
        self._trusted = True

    def _accept(self, running: int, offset: int) -> None:
        """A wall within a day of ours: forward at once, backward by running slower until it has caught up."""
        if self._jump is not None:
            self._end_of_doubt(running)
        moved = offset - self._offset
        ours = max(self._last, running + self._offset + self._ahead(running))
        lead = max(0, ours - running - offset)
        if abs(moved) > _STEP:
            way = "set forward" if moved > 0 else "set back"
            became = f"still {_span(lead)} ahead of it, running slower" if lead else "followed"
            self._note(ours, running + offset, f"the clock was {way} by {_span(abs(moved))}: {became}")
        # Within the slack the old middle stays: else every look would let a jitter of the two clocks in.
        if abs(moved) > _SLACK or self._low > self._high:
            self._settle(running, offset, lead)

    def _confirmed(self, running: int, offset: int) -> bool:
        """Whether a jump of more than a day has to be believed."""
        wall, ours = running + offset, running + self._offset + self._ahead(running)
        if self._jump is None:
            self._jump, self._jump_at = Step(ours, wall, ""), running
            self._low, self._high = 1, 0  # its return is something to be decided, too
            self._stands_at, self._stands_since = offset, running
        elif abs(offset - self._stands_at) > _FAR:
            self._stands_at, self._stands_since = offset, running
        lasted = running - self._stands_since >= _CONFIRMED
        if _NOT_BEFORE <= wall < _NOT_AFTER:
            return lasted or self._synchronized()
        if lasted and not self._warned:
            self._warned = True
            self._note(ours, wall, f"the clock {_jumped(ours, wall)}, which cannot be right: not believed. Set it")
        return False

    def _follow(self, running: int, offset: int) -> None:
        assert self._jump is not None
        ours, wall = running + self._offset + self._ahead(running), running + offset
        stood = running - self._stands_since
        vouched = "the system says that it is synchronized"
        why = f"it has stood there for {_span(stood)}" if stood >= _CONFIRMED else vouched
        self._note(ours, wall, f"the clock {_jumped(ours, wall)}: followed, {why}")
        self._jump, self._warned, self._last = None, False, 0
        self._settle(running, offset, 0)
        self._shift = offset - ERA

    def _end_of_doubt(self, running: int) -> None:
        jump, self._jump, self._warned = self._jump, None, False
        assert jump is not None
        back = f"came back after {_span(running - self._jump_at)}"
        self._note(jump.before, jump.after, f"the clock {_jumped(jump.before, jump.after)} and {back}: not believed")

    def _settle(self, running: int, offset: int, lead: int) -> None:
        self._offset, self._lead, self._lead_at = offset, lead, running
        self._low, self._high = offset - _SLACK, offset + _SLACK

    def _ahead(self, running: int) -> int:
        """By how much we are ahead of the wall now."""
        left = self._lead - (running - self._lead_at) // _SLOWER
        if left <= 0:
            self._lead = left = 0
        return left

    def _show(self, now: int) -> int:
        self._last = max(self._last, now)
        return self._last

    def _note(self, before: int, after: int, cause: str) -> None:
        self._steps.append(Step(before, after, cause))


def _jumped(before: int, after: int) -> str:
    return f"jumped {'forward' if after > before else 'back'} by {_span(abs(after - before))}"


def _span(ns: int) -> str:
    return f"{ns / _DAY:.1f} days" if ns >= _DAY else f"{ns / _SECOND:.1f} s"
