"""Whether the clock of this box can be right, and stays so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.clock import SystemClock, kernel_synchronized
from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

NAME = "clock"
_RTC = Path("/sys/class/rtc")


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to know about a clock."""

    now_ns: int
    plausible: bool  # not before this software was made, nor before what was recorded last
    synchronized: bool  # something answers for it: chrony, timesyncd, ntpd
    battery: bool  # a clock that goes on while the box is off
    steps: Sequence[str] = ()  # how it moved lately, in the words of the running gateway


def look(case: Case) -> Iterator[Finding]:
    clock = SystemClock()
    if case.configuration is not None:
        from gateway.runtime.app import system_clock

        with suppress(PermissionError):  # what is known from before is in the folder of another user
            clock = system_clock(case.configuration)
    losses = (case.status or {}).get("losses", ())
    steps = [loss["cause"] for loss in losses if loss["cause"].startswith("clock:")]
    battery = any(_RTC.glob("rtc*")) if _RTC.is_dir() else False
    yield from judge(Seen(case.now_ns, clock.trusted(), kernel_synchronized(), battery, steps))


def judge(seen: Seen) -> Iterator[Finding]:
    """A clock without a battery is a matter only where nothing sets it."""
    shown = datetime.fromtimestamp(seen.now_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not seen.plausible:
        text = f"it shows {shown}, which cannot be right: before this program was made, or before what it has recorded"
        yield Finding(NAME, "wrong", text, "clock-wrong")
    if not seen.synchronized:
        battery = "" if seen.battery else "; and no clock with a battery is in this box"
        yield Finding(NAME, "warning", f"nothing answers for the time of this box{battery}", "clock-not-synchronized")
    if seen.steps:
        yield Finding(NAME, "warning", f"it was set while the gateway ran: {seen.steps[0]}", "clock-stepped")
    if seen.plausible and seen.synchronized:
        yield Finding(NAME, "ok", f"{shown}, synchronized")
