"""What can be configured of production: calendars with shifts, and how the figures of a machine are calculated.

calendars:                                            kpi:                                   # of a machine
  plant:                                                good: parts_good
    shifts:                                             reject: parts_reject
      early: {from: "06:00", to: "14:00"}               ideal_cycle: 12s
      night: {from: "22:00", to: "06:00"}               micro_stop: 2min
    holidays: ["2026-09-02"]                            energy: {counter: energy_import, co2e: 0.6766}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import InitErrorDetails

from gateway.config.fields import NAME_PATTERN, Duration, Name, Period, Section, mistake

StateWord = Literal[
    "running",  # it produces
    "idle",  # ready, and nothing to do
    "waiting",  # for material before it, or for room behind it
    "held",  # by a person, or by a process that waits
    "stopped",  # ended by a person, a limit, an emergency stop
    "fault",  # it cannot
    "setup",  # it is made ready for another order
    "maintenance",
    "off",
    "unknown",  # nobody was told
]
"""What a machine is doing."""
WORDS: tuple[StateWord, ...] = get_args(StateWord)

DAY = 24 * 60  # minutes
WEEK = 7 * DAY

# --- times and days --------------------------------------------------------------------------------------------------


def clock_text(minutes: int) -> str:
    """Minutes since midnight as a clock shows them; the day after begins at 00:00 again."""
    return f"{minutes // 60 % 24 if minutes != DAY else 24:02}:{minutes % 60:02}"


def _time_of_day(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= DAY:
        return value  # a model that is built in a program
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise mistake(f"{value!r} is not a time of day", 'hours and minutes, for example "06:00"')
    hours, minutes = int(match[1]), int(match[2])
    if minutes > 59 or hours * 60 + minutes > DAY:
        raise mistake(f"there is no {value} in a day", 'from "00:00" to "24:00"')
    return hours * 60 + minutes


TimeOfDay = Annotated[
    int,
    BeforeValidator(_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^([01]?[0-9]|2[0-4]):[0-5][0-9]$", "examples": ["06:00"]}),
]
"""Minutes since local midnight; 24:00 is the end of the day."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _days(value: Any) -> Any:
    parts = re.split(r"\s*,\s*", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not parts:
        raise mistake("days are a list, or text", "for example mon-fri, [mon, wed, fri] or daily")
    found: set[int] = set()
    for part in parts:
        found |= {part} if isinstance(part, int) and part in range(7) else _days_of(part)
    return tuple(sorted(found))


def _days_of(part: Any) -> set[int]:
    """`daily`, `sat`, or `fri-mon`."""
    if part == "daily":
        return set(range(7))
    first, dash, last = part.partition("-") if isinstance(part, str) else (part, "", "")
    for day in (first, last) if dash else (first,):
        if day not in WEEKDAYS:
            raise mistake(f"{day!r} is not a day of the week", f"days: {', '.join(WEEKDAYS)}, or daily")
    begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last if dash else first)
    return {(begin + i) % 7 for i in range((end - begin) % 7 + 1)}


_DAYS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "enum": [*WEEKDAYS]}}]}
Days = Annotated[tuple[int, ...], BeforeValidator(_days), WithJsonSchema(_DAYS_SCHEMA)]
"""Days of the week; 0 is Monday."""


def _date(value: Any) -> Any:
    if isinstance(value, date):
        return value
    try:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()):
            raise ValueError
        return date.fromisoformat(value.strip())
    except ValueError:
        raise mistake(f"{value!r} is not a date", "year-month-day, for example 2026-09-02") from None


_DATE_SCHEMA = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
Day = Annotated[date, BeforeValidator(_date), WithJsonSchema(_DATE_SCHEMA)]
"""A date of the plant."""


def _day_range(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    first, dots, last = value.partition("..") if isinstance(value, str) else (value, "", "")
    begin = _date(first)
    end = _date(last) if dots else begin
    if end < begin:
        raise mistake(f"{value!r} ends before it begins", f"the earlier date first: {last}..{first}")
    return begin, end


DayRange = Annotated[
    tuple[date, date],
    BeforeValidator(_day_range),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(\.\.[0-9]{4}-[0-9]{2}-[0-9]{2})?$"}),
]
"""First and last day."""

# --- calendars -------------------------------------------------------------------------------------------------------


class _Stretch(Section):
    """From one time of day to another one, which may be on the day after."""

    begin: TimeOfDay = Field(alias="from", description="Local time at which it begins.", examples=["06:00"])
    to: TimeOfDay = Field(description="Local time at which it ends; not later than `from`: on the day after.")

    @field_validator("begin")
    @classmethod
    def _in_a_day(cls, value: int) -> int:
        if value == DAY:
            raise mistake("24:00 is the end of a day", 'what begins at midnight begins at "00:00"')
        return value

    @property
    def end(self) -> int:
        """Minutes since midnight of the day it begins."""
        return self.to if self.to > self.begin else self.to + DAY

    @property
    def text(self) -> str:
        return f"{clock_text(self.begin)} to {clock_text(self.to)}"


class Break(_Stretch):
    """A pause within a shift, in which nothing is planned."""


class Shift(_Stretch):
    """A time in which the plant works. It belongs to the day on which it begins."""

    days: Days = Field(
        default_factory=lambda: tuple(range(7)),
        description="The days on which it begins; every day where they are left out.",
        examples=["mon-fri", "[mon, wed]", "daily"],
    )
    breaks: tuple[Break, ...] = Field((), description="Pauses: no planned time.")

    @property
    def pauses(self) -> list[tuple[int, int]]:
        """The breaks in order: minutes since midnight of the day the shift begins."""
        return sorted(map(self._at, self.breaks))

    def _at(self, pause: Break) -> tuple[int, int]:
        later = DAY if pause.begin < self.begin else 0
        return pause.begin + later, pause.end + later

    @model_validator(mode="after")
    def _breaks_fit(self) -> Shift:
        for pause in self.breaks:
            if self._at(pause)[1] > self.end:
                raise mistake(
                    f"the break {pause.text} is not within {self.text}", "a break is a part of its shift", "breaks"
                )
        for (_, end), (begin, _) in pairwise(self.pauses):
            if begin < end:
                raise mistake(f"a break begins at {clock_text(begin)}, when another one is not over", "", "breaks")
        return self


class ExtraShift(Section):
    """A shift on a day on which it is not worked as a rule; also on a holiday."""

    day: Day = Field(alias="date", description="The day on which it begins.", examples=["2026-10-03"])
    shift: Name = Field(description="Which of the shifts.")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as exc:
        raise mistake(f"'{value[:60]}' is not a time zone", "an IANA name such as Asia/Ho_Chi_Minh or UTC") from exc
    return value


class Calendar(Section):
    """When a plant works. Without shifts the whole day is one, named `day`."""

    timezone: str | None = Field(
        None,
        description="IANA time zone of the shifts; that of `site` where it is left out.",
        examples=["Europe/Berlin"],
    )
    shifts: dict[Name, Shift] = Field(default_factory=dict, description="Shifts by name. They may not overlap.")
    holidays: tuple[DayRange, ...] = Field(
        (),
        description="Days, or ranges of days, on which no shift begins.",
        examples=["2026-09-02", "2027-01-01..2027-01-03"],
    )
    extra: tuple[ExtraShift, ...] = Field((), description="Overtime: shifts on other days than theirs.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return None if value is None else _zone(value)

    @property
    def worked(self) -> dict[str, Shift]:
        """The shifts there are: those that are written, or the whole day."""
        return self.shifts or {"day": Shift.model_validate({"from": 0, "to": DAY})}

    def shifts_of(self, day: date) -> Iterator[tuple[str, Shift]]:
        """The shifts that begin on a day, in their order."""
        extra = {each.shift for each in self.extra if each.day == day}
        free = any(first <= day <= last for first, last in self.holidays)
        for name, shift in sorted(self.worked.items(), key=lambda item: item[1].begin):
            if name in extra or (day.weekday() in shift.days and not free):
                yield name, shift

    @model_validator(mode="after")
    def _no_overlap(self) -> Calendar:
        week = [(day * DAY + s.begin, day * DAY + s.end, name) for name, s in self.shifts.items() for day in s.days]
        week += [(begin + WEEK, end + WEEK, name) for begin, end, name in week]  # Sunday night, Monday morning
        if clash := _clash(week):
            (_, end, first), (begin, _, second) = clash
            raise mistake(
                f"'{second}' begins on {WEEKDAYS[begin // DAY % 7]} at {clock_text(begin % DAY)}, "
                f"when '{first}' is not over ({clock_text(end % DAY)})",
                "the shifts of a calendar follow one another; what works beside them has a calendar of its own",
                "shifts",
            )
        errors = [
            InitErrorDetails(type=why, loc=("extra", i, "shift"), input=extra.shift)
            for i, extra in enumerate(self.extra)
            if (why := self._why_not(extra)) is not None
        ]
        if errors:
            raise ValidationError.from_exception_data("extra", errors)
        return self

    def _why_not(self, extra: ExtraShift) -> Any:
        if extra.shift not in self.worked:
            known = ", ".join(sorted(self.worked))
            return mistake(f"this calendar has no shift '{extra.shift}'", f"shifts: {known}")
        days = [extra.day + timedelta(days=i) for i in (-1, 0, 1)]
        around = [
            (i * DAY + s.begin, i * DAY + s.end, name) for i, day in enumerate(days) for name, s in self.shifts_of(day)
        ]
        if clash := _clash(around):
            (_, _, first), (_, _, second) = clash
            return mistake(f"on {extra.day} '{second}' begins when '{first}' is not over", "shifts follow one another")
        return None


_Times = tuple[int, int, str]


def _clash(shifts: Iterable[_Times]) -> tuple[_Times, _Times] | None:
    """Two of them that overlap, if any do."""
    return next(((a, b) for a, b in pairwise(sorted(shifts)) if b[0] < a[1]), None)


# --- figures ---------------------------------------------------------------------------------------------------------

_REFERENCE = re.compile(rf"({NAME_PATTERN[1:-1]}/)?{NAME_PATTERN[1:-1]}")


def _reference(value: Any) -> Any:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise mistake(
            f"{value!r} is not the name of a signal",
            "of this machine: energy_import; of another: meter-01/energy_import",
        )
    return value


SignalReference = Annotated[
    str, BeforeValidator(_reference), WithJsonSchema({"type": "string", "pattern": f"^{_REFERENCE.pattern}$"})
]
"""A signal of this machine, or `machine/signal`."""

IntervalKind = Literal["shift", "hour", "day"]
NEVER_PLANNED = ("running", "fault", "unknown")
NOT_PRODUCING: tuple[StateWord, ...] = tuple(word for word in WORDS if word not in ("running", "unknown"))


def _not_in(words: Iterable[str], refused: Iterable[str], why: str) -> None:
    if wrong := next((word for word in words if word in refused), None):
        raise mistake(
            f"'{wrong}' {why}", f"states that can stand here: {', '.join(w for w in WORDS if w not in refused)}"
        )


class EnergySettings(Section):
    """Where the energy of a machine is measured, and what follows from it."""

    counter: SignalReference | None = Field(
        None,
        description="The total of its energy, in any unit of energy.",
        examples=["energy_import", "meter-01/energy_import"],
    )
    power: SignalReference | None = Field(
        None, description="Its power, where no meter counts its energy.", examples=["power_total"]
    )
    interval: Duration = Field(
        900.0, description="Time over which demand is averaged: as the utility does it.", examples=["15min", "30min"]
    )
    co2e: float | None = Field(
        None,
        ge=0,
        description="kg of CO2 equivalents for each kWh: that of the grid or of the contract.",
        examples=[0.6766],
    )
    idle: tuple[StateWord, ...] = Field(
        NOT_PRODUCING, description="States whose energy is consumed for nothing: it counts as idle energy."
    )

    @field_validator("interval")
    @classmethod
    def _divides_the_hour(cls, value: float) -> float:
        if value < 60 or 3600 % value:
            raise mistake("an interval of demand divides the hour", "1, 5, 10, 15, 30 or 60min")
        return value

    @field_validator("co2e")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not value < float("inf"):
            raise mistake("has to be a finite number")
        return value

    @field_validator("idle")
    @classmethod
    def _idles(cls, value: tuple[StateWord, ...]) -> tuple[StateWord, ...]:
        _not_in(value, ("running", "unknown"), "is not idle")
        return value

    @model_validator(mode="after")
    def _measured(self) -> EnergySettings:
        if self.counter is None and self.power is None:
            raise mistake("energy needs a `counter` or a `power`", "for example counter: energy_import", "counter")
        if self.counter is not None and self.power is not None:
            raise mistake("the energy is known twice", "keep `counter`: a power has to be added up by us", "power")
        return self


class KpiSettings(Section):
    """How the figures of a machine are calculated: definitions of ISO 22400-2."""

    good: Name | None = Field(None, description="Counter of good parts: GQ.", examples=["parts_good"])
    reject: Name | None = Field(None, description="Counter of rejected parts: SQ.", examples=["parts_reject"])
    total: Name | None = Field(
        None,
        description="Counter of all parts: PQ. Two of the three counters give the third.",
        examples=["parts_total"],
    )
    ideal_cycle: Duration | None = Field(
        None, description="Planned run time for one part: PRI. Without it there is no performance.", examples=["12s"]
    )
    micro_stop: Duration = Field(
        0.0,
        description="A standstill that is not longer is a loss of speed, not downtime. 0s: every standstill is downtime.",
        examples=["2min"],
    )
    planned: tuple[StateWord, ...] = Field(
        ("maintenance",),
        description="States that are planned downtime within a shift: they are no part of the planned busy time.",
        examples=["[maintenance, setup]"],
    )
    intervals: tuple[IntervalKind, ...] = Field(
        ("shift",), description="What figures are calculated for.", examples=["[shift, hour, day]"]
    )
    energy: EnergySettings | None = Field(None, description="Figures of energy; none where it is left out.")
    update: Period = Field(
        60.0, description="How often the figures of what still runs are calculated.", examples=["1min"]
    )

    @field_validator("planned")
    @classmethod
    def _can_be_planned(cls, value: tuple[StateWord, ...]) -> tuple[StateWord, ...]:
        _not_in(value, NEVER_PLANNED, "is never planned downtime")
        return value

    @field_validator("intervals")
    @classmethod
    def _at_least_one(cls, value: tuple[IntervalKind, ...]) -> tuple[IntervalKind, ...]:
        if not value:
            raise mistake("figures are calculated for intervals", "shift, hour or day, one at least")
        return value

    @model_validator(mode="after")
    def _fits(self) -> KpiSettings:
        if self.ideal_cycle == 0:
            raise mistake("no part takes 0 s", "the time for one part at full speed, for example 12s", "ideal_cycle")
        counters = [name for name in (self.good, self.reject, self.total) if name is not None]
        if len(set(counters)) < len(counters):
            raise mistake(
                "one signal cannot be two of good, reject and total", "leave one out: two of them give the third"
            )
        if self.reject is not None and self.good is None and self.total is None:
            raise mistake("a count of rejects says nothing alone", "add `good:` or `total:`", "reject")
        if self.ideal_cycle is not None and self.good is None and self.total is None:
            raise mistake("`ideal_cycle` needs a count of parts", "add `good:` or `total:`", "ideal_cycle")
        return self
