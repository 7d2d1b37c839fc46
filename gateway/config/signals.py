"""What can be said of a signal, whatever protocol it comes over: what it means, and when it is sent.

    raw ─▶ kind: counter ─▶ scale_from ─▶ scale, offset or raw_range ─▶ store_as ─▶ clamp, range, max_rate, flat_after
                                                                              └─▶ precision ─▶ enum ─▶ report

`range`, `deadband` and `max_rate` are written in `unit`, as in the manual of the machine; `store_as` converts them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor, isfinite
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.fields import (
    Deadband,
    Duration,
    Name,
    Percent,
    Period,
    Range,
    RawNumber,
    Section,
    mistake,
    with_unit,
)
from gateway.units import UnitError, conversion, doubt, parse

Report = Literal["all", "change", "swinging-door"]

FROM_SERVER = "from-server"
USABLE = 1e280
"""The largest number that is calculated with, and one by the smallest: raw values have 19 digits, and floats end at 308."""
_LATE = 1.1  # a heartbeat that comes later than this many times its length is not the one that was meant
_MISSED = 2  # polls after which a value counts as one that the machine does not repeat, see the normalizer
_SLACK = 1e-9  # of a ratio: 0.3 s are three times 0.1 s


class Reporting(Section):
    """How often a signal is read and sent. Stands in `defaults`, a machine or a signal; the nearest one counts."""

    poll: Period = Field(1.0, description="Time between two readings of a polled signal.", examples=["500ms"])
    stale_after: Duration = Field(
        10.0, description="Without a sign of life for this long a signal is bad: stale.", examples=["10s"]
    )
    report: Report = Field(
        "all",
        description="`all`: every reading is sent. `change`: what changed beyond the deadband, and all at every heartbeat. "
        "`swinging-door`: what is needed to draw the line again, straight between two readings, within the deadband.",
    )
    heartbeat: Period = Field(
        60.0,
        description="The longest silence with `report: change` or `swinging-door`; where it is written, a value that a "
        "server does not repeat is sent again, too.",
        examples=["60s"],
    )


def _unit(code: str) -> str:
    """Checked against UCUM. Raises a mistake that names the likely code."""
    if code == FROM_SERVER:
        return code
    try:
        parse(code)
    except UnitError as exc:
        raise mistake(exc.message, exc.hint) from exc
    return code


UnitCode = Annotated[str, AfterValidator(_unit)]
"""A UCUM code."""


class SignalSettings(Reporting):
    """One signal of a machine, without where to find it: the adapter's model adds that."""

    unit: UnitCode = Field(
        "", max_length=64, description="UCUM code of the unit, after scaling.", examples=["Cel", "kW.h", "bar", "A"]
    )
    store_as: UnitCode | None = Field(
        None,
        max_length=64,
        description="UCUM code of another unit for the same quantity: values leave in it.",
        examples=["Cel", "kW.h"],
    )
    description: str = Field("", max_length=500, description="What the signal means, for people.")
    semantic: str | None = Field(
        None,
        max_length=300,
        description="What it is in a companion model or dictionary, for programs: passed on in `meta`.",
        examples=["nsu=http://opcfoundation.org/UA/PackML/;CurMachSpeed", "0112/2///61987#ABA123"],
    )
    kind: Literal["gauge", "counter"] = Field(
        "gauge", description="`counter`: a total that only rises; what leaves never falls, whatever the machine does."
    )
    rollover: float | None = Field(
        None,
        gt=0,
        description="counter: the raw value after which it begins at 0 again, plus one; that of its type where left out.",
        examples=[1000000],
    )
    delta: bool = Field(
        False, description="counter: what was added since the reading before leaves beside it, as NAME_delta."
    )
    scale: float | None = Field(None, description="value = raw * scale + offset", examples=[0.1])
    offset: float | None = Field(None, description="value = raw * scale + offset", examples=[-40])
    scale_from: Name | None = Field(
        None,
        description="Signal of the same machine that holds the power of ten: value = raw * 10^factor, before `scale`.",
        examples=["A_SF"],
    )
    raw_range: Range | None = Field(
        None,
        description="With `scaled_range`, instead of scale and offset: the raw values at its two ends.",
        examples=[[0, 27648], [4, 20]],
    )
    scaled_range: Annotated[tuple[float, float] | None, Field(examples=[[0, 250], [100, 0]])] = Field(
        None, description="What the two ends of `raw_range` stand for, in `unit`."
    )
    clamp: bool = Field(
        False, description="With `raw_range`: beyond its ends the value stays at the end, as uncertain: out-of-range."
    )
    range: Range | None = Field(
        None, description="Plausible values; others are sent as uncertain: out-of-range.", examples=[[0, 400]]
    )
    precision: int | None = Field(
        None, ge=-9, le=12, description="Decimals that mean something; values are rounded to them.", examples=[1]
    )
    flat_after: Duration | None = Field(
        None,
        gt=0,
        description="A value that has not moved at all for so long is uncertain: flat-line, as of a sensor that is stuck.",
        examples=["30min"],
    )
    max_rate: float | None = Field(
        None,
        gt=0,
        description="The fastest change that is possible, in `unit` per second: a reading beyond is uncertain: "
        "implausible-rate. Of a counter, what it can count in a second: tells a rollover from a reset or another meter.",
        examples=[5],
    )
    enum: dict[RawNumber, str] | None = Field(
        None,
        description="The text of each raw number; others are uncertain: unknown-state.",
        examples=[{0: "off", 1: "auto"}],
    )
    deadband: Deadband | None = Field(
        None,
        description="With `report: change`: smaller changes are not sent. With `swinging-door`: how far a reading may lie "
        "from the line through those that are sent. In `unit`, or in % of the range.",
        examples=[0.5, "1%"],
    )

    @property
    def address_text(self) -> str:
        """Where its value is found, for people: `holding 10 int16 CDAB`, a node id; "" where there is nothing to say."""
        return ""

    @property
    def doubts(self) -> Iterator[tuple[str, str]]:
        """What may be meant but should be thought about: a key, and what follows it in a warning."""
        if self.deadband is not None and self.report == "all":
            yield "deadband", "works with `report: change` or `swinging-door`, and `report` is `all`"
        elif self.deadband is not None and (error := self._rounding) > self._band:
            text = f"is finer than `precision: {self.precision}`: rounded values are off by up to {error:g}"
            yield "deadband", f"{text}, {self._band:g} cannot be kept"
        if self.report != "all" and self.polled and (late := self._late_heartbeat):
            yield late
        for key in ("unit", "store_as"):
            if (code := getattr(self, key)) and code != FROM_SERVER and (why := doubt(code)):
                yield key, f"is doubtful: {why}"

    @property
    def polled(self) -> bool:
        """Whether it is read every `poll`; else it comes by itself, when it has changed."""
        return True

    @property
    def max_silence(self) -> float:
        """Seconds between two readings that are sent while all is well, at the most: with a heartbeat."""
        if not self.polled:
            return self.heartbeat + _MISSED * self.poll
        # The poll that comes just before the heartbeat is due says nothing yet.
        return round((floor(self.heartbeat / self.poll + _SLACK) + 1) * self.poll, 6)

    @property
    def _late_heartbeat(self) -> tuple[str, str] | None:
        key = "heartbeat" if "heartbeat" in self.model_fields_set else "poll"
        beat, poll = (with_unit(seconds, "duration") for seconds in (self.heartbeat, self.poll))
        if self.heartbeat < self.poll:
            text = f"leaves `report: {self.report}` without effect: the heartbeat is {beat} and `poll` is {poll}"
            return key, f"{text}, so every reading is sent, each {poll}"
        real = round(ceil(self.heartbeat / self.poll - _SLACK) * self.poll, 6)
        if real <= _LATE * self.heartbeat:
            return None
        what = "is not met" if key == "heartbeat" else f"does not meet the heartbeat of {beat}"
        return key, f"{what}: with `poll: {poll}` the longest silence is {with_unit(real, 'duration')}"

    @property
    def _band(self) -> float:
        """The deadband in the unit in which the value leaves; 0 where that is not known yet."""
        if not isinstance(self.deadband, Percent):
            return (self.deadband or 0.0) * abs(self.conversion[0])
        width = 0.0 if self.range is None else self.range[1] - self.range[0]
        return width * self.deadband / 100 * abs(self.conversion[0])

    @property
    def _rounding(self) -> float:
        """By how much `precision` moves a value that is not a whole number anyway; 0 where it does not, or no deadband is to be kept."""
        whole = self.kind == "counter" or (getattr(self, "value_type", None) == "int" and not self.is_scaled)
        if self.precision is None or not self._band or (whole and self.precision >= 0):
            return 0.0
        return 0.5 * 10.0**-self.precision

    @property
    def is_scaled(self) -> bool:
        """Whether a whole number becomes a float."""
        return (self.scale, self.offset, self.scale_from, self.raw_range, self.store_as) != (None,) * 5

    @property
    def linear(self) -> tuple[float | None, float | None]:
        """value = raw * scale + offset, in `unit`, however that is written; None where nothing is. After a `scale_from`."""
        if self.raw_range is None or self.scaled_range is None:
            return self.scale, self.offset
        slope, offset = self._line
        return float(slope), float(offset)

    @property
    def _line(self) -> tuple[Fraction, Fraction]:
        """Slope and offset of the line through the two points of `raw_range` and `scaled_range`."""
        assert self.raw_range is not None
        assert self.scaled_range is not None
        (first, last), (low, high) = (map(exact, ends) for ends in (self.raw_range, self.scaled_range))
        slope = (high - low) / (last - first)
        return slope, low - first * slope

    @property
    def slope(self) -> float:
        """How far the value moves with a raw number, whatever the direction, in `unit`; without a `scale_from`."""
        return abs(self.linear[0] or 1.0)

    @property
    def conversion(self) -> tuple[float, float]:
        """From `unit` to `store_as`: factor, and what is added then."""
        return (1.0, 0.0) if self.store_as is None else conversion(parse(self.unit), parse(self.store_as))

    @property
    def wraps_at(self) -> float | None:
        """Where a counter begins at 0 again; None where that is not known."""
        return self.width if self.rollover is None else self.rollover

    @property
    def width(self) -> float | None:
        """Where a counter of its type begins at 0 again, half way if it has a sign; None where that is not known yet."""
        return None

    @field_validator("scale", "offset", "max_rate", "rollover")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not isfinite(value):
            raise mistake("has to be a finite number")
        return value

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, value: float | None) -> float | None:
        if value == 0:
            raise mistake("a scale of 0 makes every value 0", "leave it out for a scale of 1")
        if value is not None and abs(value) < 1 / USABLE:
            raise mistake(f"{value:g} is too small to calculate with: {1 / USABLE:g} at least", "check its exponent")
        return value

    @field_validator("scale", "offset")
    @classmethod
    def _usable(cls, value: float | None) -> float | None:
        if value is not None and isfinite(value) and abs(value) > USABLE:
            raise mistake(f"{value:g} is too large to calculate with: {USABLE:g} at most", "check its exponent")
        return value

    @field_validator("scaled_range")
    @classmethod
    def _two_ends(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and (not all(map(isfinite, value)) or value[0] == value[1]):
            raise mistake("`scaled_range` is two numbers that differ", "for example [0, 250]")
        return value

    @model_validator(mode="after")
    def _fits(self) -> SignalSettings:
        self._check_report()
        self._check_scaling()
        self._check_units()
        self._check_counter()
        if self.enum is not None:
            for key in NUMBERS_ONLY:
                if getattr(self, key) is not None:
                    raise mistake(f"a signal with `enum` is text and has no {key}", f"remove `{key}` or `enum`", key)
            if self.kind == "counter":
                raise mistake("a signal with `enum` cannot be a counter", "remove `kind` or `enum`", "kind")
        return self

    def _check_report(self) -> None:
        if isinstance(self.deadband, Percent) and self.range is None and self.unit != FROM_SERVER:
            raise mistake(
                "a deadband in % is a part of the range, and there is none", "add `range: [low, high]`", "deadband"
            )

    def _check_scaling(self) -> None:
        if (self.raw_range is None) != (self.scaled_range is None):
            given = "raw_range" if self.raw_range else "scaled_range"
            other = "scaled_range" if self.raw_range else "raw_range"
            raise mistake(f"`{given}` needs `{other}`", f"for example {other}: [0, 250]", given)
        if self.raw_range is not None:
            for key in ("scale", "offset", "scale_from"):
                if getattr(self, key) is not None:
                    raise mistake(f"`raw_range` says already what `{key}` says", f"remove `{key}`", key)
            if not all(1 / USABLE <= abs(number) <= USABLE for number in self._line if number):
                text = "`raw_range` and `scaled_range` make a factor that cannot be calculated with"
                hint = f"it has to be between {1 / USABLE:g} and {USABLE:g}: check the exponents"
                raise mistake(text, hint, "scaled_range")
        elif self.clamp:
            raise mistake("`clamp` holds a value within `raw_range`", "add `raw_range` and `scaled_range`", "clamp")

    def _check_units(self) -> None:
        if self.store_as is None:
            return
        if not self.unit:
            raise mistake("`store_as` converts from `unit`, and there is none", "add `unit:`", "store_as")
        if FROM_SERVER in (self.unit, self.store_as):
            raise mistake("what a server names cannot be converted", "write the unit: unit: Cel", "store_as")
        try:
            conversion(parse(self.unit), parse(self.store_as))
        except UnitError as exc:
            raise mistake(exc.message, exc.hint, "store_as") from exc

    def _check_counter(self) -> None:
        if self.kind == "counter":
            for key in ("clamp", "raw_range", "flat_after"):
                if getattr(self, key):
                    raise mistake(f"a counter has no {key}", f"remove `{key}`, or `kind: counter`", key)
            if (self.scale or 1) < 0:
                raise mistake("a counter that rises has a scale above 0", "", "scale")
            return
        for key in ("rollover", "delta"):
            if getattr(self, key):
                raise mistake(f"`{key}` is for counters", f"remove `{key}`, or add `kind: counter`", key)


def exact(number: float) -> Fraction:
    """As it was written: 0.1 is a tenth."""
    return Fraction(repr(number))


NUMBERS_ONLY = (
    "scale", "scale_from", "offset", "raw_range", "range", "deadband", "precision", "flat_after", "max_rate", "store_as",
)  # fmt: skip
