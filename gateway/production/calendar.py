"""When a plant works, as instants: what a calendar with local times comes to on a given day.

    local   06:00      09:00  09:15           14:00                  22:00              06:00
              │ work     │break │ work          │ off                  │ work ─────────── │
    span      ├──────────┼──────┼───────────────┼──────────────────────┼── midnight ──────┤
    shift     early, of this day                                       night, of this day too

Clocks that are put forward and back, after the IANA data base:

- a time that does not exist (02:30, when 02:00 becomes 03:00) is the moment at which the clock is put forward;
- a time that comes twice is the first of the two.

So local times keep their order, shifts that follow one another still do, and a shift over such a night is really an hour
shorter or longer. A day is that of the local date, from midnight to midnight: a night shift is cut in two by it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from gateway.config import Configuration
from gateway.config.production import Calendar as CalendarSettings

NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_DAY = timedelta(days=1)
_MAX_DAYS = 500  # remembered

SpanKind = Literal["work", "break", "off"]
Kind = Literal["shift", "hour", "day", "quarter"]
_STEPS: dict[Kind, int] = {"hour": 3600, "quarter": 900}  # seconds


@dataclass(frozen=True, slots=True)
class ShiftTime:
    """One shift of one day."""

    name: str
    day: str  # YYYY-MM-DD, on which it begins
    start_ns: int
    end_ns: int
    breaks: tuple[tuple[int, int], ...]  # ns


class Span(NamedTuple):
    """A stretch of time in which the plan does not change."""

    start_ns: int
    end_ns: int
    kind: SpanKind


class Interval(NamedTuple):
    """A time for which figures are calculated."""

    kind: Kind
    name: str  # of a shift: its name; of an hour or a quarter: 06:00 (02:00+01:00 where it comes twice); of a day: day
    start_ns: int
    end_ns: int
    day: str  # YYYY-MM-DD, on which it begins


class WorkCalendar:
    """A calendar in its time zone. `timezone`: that of the site, for a calendar without one of its own."""

    def __init__(self, calendar: CalendarSettings | None = None, timezone: str = "UTC") -> None:
        self._calendar = calendar or CalendarSettings()
        self.zone = ZoneInfo(self._calendar.timezone or timezone)
        self._shifts: dict[date, tuple[ShiftTime, ...]] = {}
        self._boundaries: dict[date, tuple[int, ...]] = {}

    def midnight(self, day: date) -> int:
        """The instant at which a local day begins."""
        return instant(self.zone, day, 0)

    def day_of(self, t_ns: int) -> date:
        """The local day of an instant."""
        day = _local(self.zone, t_ns).date()
        # Where the clock is put back just after midnight, the date comes back, too; the day does not.
        return day + _ONE_DAY if self.midnight(day + _ONE_DAY) <= t_ns else day

    def shifts_of(self, day: date) -> tuple[ShiftTime, ...]:
        """The shifts that begin on a day, in their order."""
        if (known := self._shifts.get(day)) is None:
            if len(self._shifts) >= _MAX_DAYS:
                self._shifts.clear()
            known = self._shifts[day] = tuple(self._resolve(day))
        return known

    def _resolve(self, day: date) -> Iterator[ShiftTime]:
        for name, shift in self._calendar.shifts_of(day):
            start, end = instant(self.zone, day, shift.begin), instant(self.zone, day, shift.end)
            pauses = [(instant(self.zone, day, a), instant(self.zone, day, b)) for a, b in shift.pauses]
            if start < end:  # a shift may fall into the hour that is left out
                yield ShiftTime(name, day.isoformat(), start, end, tuple(p for p in pauses if p[0] < p[1]))

    def shifts(self, start_ns: int, end_ns: int) -> list[ShiftTime]:
        """The shifts that have a part in [start, end), whole and in their order."""
        found = []
        day = self.day_of(start_ns) - _ONE_DAY  # a shift lasts a day at most
        while self.midnight(day) < end_ns:
            found += [s for s in self.shifts_of(day) if s.start_ns < end_ns and s.end_ns > start_ns]
            day += _ONE_DAY
        return found

    def spans(self, start_ns: int, end_ns: int) -> list[Span]:
        """[start, end) without a gap, in pieces of one kind."""
        found: list[Span] = []

        def until(t_ns: int, kind: SpanKind) -> None:
            at = found[-1].end_ns if found else start_ns
            if (t_ns := min(t_ns, end_ns)) > at:
                found.append(Span(at, t_ns, kind))

        for shift in self.shifts(start_ns, end_ns):
            until(shift.start_ns, "off")
            for begin, end in shift.breaks:
                until(begin, "work")
                until(end, "break")
            until(shift.end_ns, "work")
        until(end_ns, "off")
        return found

    def works_within(self, start_ns: int, end_ns: int) -> bool:
        """Whether any of [start, end) is time to work."""
        return any(span.kind == "work" for span in self.spans(start_ns, end_ns))

    def next_boundary(self, t_ns: int) -> int:
        """The first instant after t at which a shift, a break or a day begins or ends."""
        day = self.day_of(t_ns)
        if (known := self._boundaries.get(day)) is None:
            if len(self._boundaries) >= _MAX_DAYS:
                self._boundaries.clear()
            begin, end = self.midnight(day), self.midnight(day + _ONE_DAY)
            inside = {t for span in self.spans(begin, end) for t in (span.start_ns, span.end_ns)}
            known = self._boundaries[day] = tuple(sorted(inside | {end}))
        return known[bisect_right(known, t_ns)]

    def steps(self, step_s: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
        """Local intervals of one length (a divisor of the hour, or an hour) that have a part in [start, end), whole."""
        step = step_s * NS
        at = start_ns - (start_ns + self._offset(start_ns)) % step
        if at < start_ns and (before := self._offset(at)) != self._offset(start_ns):  # the clock was put meanwhile
            at = start_ns - (start_ns + before) % step
        while at < end_ns:
            after = at + step - (at + self._offset(at)) % step
            yield at, after
            at = after

    def _offset(self, t_ns: int) -> int:
        offset = _local(self.zone, t_ns).utcoffset()
        assert offset is not None
        return round(offset.total_seconds()) * NS

    def name_of(self, t_ns: int) -> str:
        """The time of day; with its offset from UTC when it comes for the second time."""
        local = _local(self.zone, t_ns)
        return f"{local:%H:%M}{local.isoformat()[-6:] if local.fold else ''}"


def calendar_of(configuration: Configuration, machine: str) -> WorkCalendar:
    """The calendar of a machine: its own, that of the site, or whole days."""
    settings = configuration.settings
    name = configuration.machines[machine].calendar or settings.site.calendar
    return WorkCalendar(None if name is None else settings.calendars[name], settings.site.timezone)


def intervals_of(kind: Kind, calendar: WorkCalendar, start_ns: int, end_ns: int) -> list[Interval]:
    """All intervals of a kind that have a part in [start, end): whole, not cut at its ends."""
    if kind == "shift":
        return [Interval(kind, s.name, s.start_ns, s.end_ns, s.day) for s in calendar.shifts(start_ns, end_ns)]
    if kind == "day":
        found, day = [], calendar.day_of(start_ns)
        while (begin := calendar.midnight(day)) < end_ns:
            if (end := calendar.midnight(day + _ONE_DAY)) > begin:  # Samoa had no 30 December 2011
                found.append(Interval(kind, "day", begin, end, day.isoformat()))
            day += _ONE_DAY
        return found
    return [
        Interval(kind, calendar.name_of(begin), begin, end, calendar.day_of(begin).isoformat())
        for begin, end in calendar.steps(_STEPS[kind], start_ns, end_ns)
    ]


def _local(zone: ZoneInfo, t_ns: int) -> datetime:
    return (_EPOCH + timedelta(seconds=t_ns // NS)).astimezone(zone)


@lru_cache(maxsize=4096)
def instant(zone: ZoneInfo, day: date, minutes: int) -> int:
    """A local time, as minutes since midnight of `day` on the clock on the wall, in ns since 1970."""
    wall = datetime.combine(day, time.min) + timedelta(minutes=minutes)
    at = _seconds(wall.replace(tzinfo=zone))
    if _local(zone, at * NS).replace(tzinfo=None, fold=0) != wall:  # PEP 495: in a gap, fold says which side is meant
        at = _put_forward(zone, _seconds(wall.replace(tzinfo=zone, fold=1)), at)
    return at * NS


def _put_forward(zone: ZoneInfo, before: int, after: int) -> int:
    """The second at which the clock is put, between the two."""
    old = _local(zone, before * NS).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if _local(zone, middle * NS).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _seconds(local: datetime) -> int:
    since = local.astimezone(UTC) - _EPOCH
    return since.days * 86400 + since.seconds
