"""The waves of a scenario as they are written in YAML: one model for each, which makes the wave."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path as File
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gateway.config.explain import did_you_mean
from gateway.config.fields import Name, Period, Section, mistake
from gateway.model import Value
from gateway.units import UnitError, conversion, parse
from simulators.behaviour import waves
from simulators.behaviour.programme import STOP, Doings
from simulators.behaviour.series import NoColumnError, Series, read_table, series
from simulators.behaviour.waves import Number, Wave


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        raise mistake(f"{value} is no number that a machine can have", "a number, or a text")
    return value


Scalar = Annotated[bool | int | float | str, BeforeValidator(_finite)]
Share = Annotated[float, Field(ge=0, le=1)]
Path = tuple[str | int, ...]  # of a key in the settings of a wave


class UnusableError(Exception):
    """A wave that cannot be made; the scenario tells where that stands."""

    def __init__(self, path: Path, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path, self.message, self.hint = path, message, hint


@dataclass(frozen=True, slots=True)
class Making:
    """What a wave is made with: what the machine says for all its signals, and the waves of the others."""

    cycle: float
    seed: int  # of this signal
    unit: str
    doings: Doings  # what the machine does
    number: Callable[[str, Path], Number]  # the wave of another signal. Raises UnusableError
    wave: Callable[[Path], Wave]  # the one that is written at this place of the settings
    wrong: Callable[[Value], tuple[str, str] | None]  # what is wrong with a value of this signal, and what to do
    folder: File  # where the scenario stands
    note: Callable[[str], None]  # something to be told, which is no mistake
    reaches: Callable[[float, float], None]  # the lowest and the highest number there will be


class WaveSettings(Section):
    """One wave."""

    model_config = ConfigDict(allow_inf_nan=False)  # no register holds one

    wave: str = Field(description="Its form.")

    @abstractmethod
    def make(self, making: Making) -> Wave:
        """The wave itself. Raises UnusableError."""

    def written(self) -> Iterator[tuple[Path, Value]]:
        """The values that are written out, and where: those of a signal with `enum` have to be states of it."""
        yield from ()

    def reach(self) -> tuple[float, float] | None:
        """Its lowest and highest number, where its settings tell them; without the noise on it."""
        return None

    def inside(self) -> Sequence[Path]:
        """Where other waves or values are written in this one."""
        return ()


class _Periodic(WaveSettings):
    """A wave that repeats."""

    period: Period | None = Field(None, description="The machine's cycle where it is left out.", examples=["90s"])
    phase: float = Field(0.0, description="Share of the period it is ahead.", examples=[0.25])

    def _make(self, making: Making, form: Callable[[float], Wave]) -> Wave:
        """A wave with a period of its own runs on; one with the machine's cycle stands still with the machine."""
        if self.period is not None:
            return form(self.period)
        wave, running = form(making.cycle), making.doings.running
        return waves.on_time(wave, running) if running else wave


class _Noisy(_Periodic):
    noise: float = Field(0.0, ge=0, description="How far it strays from its form.", examples=[0.3])
    hold: Period = Field(1.0, description="Time until it strays elsewhere.")

    def _make(self, making: Making, form: Callable[[float], Wave]) -> Wave:
        wave = _Periodic._make(self, making, form)
        if not self.noise:
            return wave
        return waves.total([cast("Number", wave), waves.noise(self.noise, self.hold, making.seed)])


class Constant(WaveSettings):
    """Always the same value."""

    value: Scalar = Field(description="The value.", examples=["auto", 21.5])

    def make(self, _: Making) -> Wave:
        return waves.constant(self.value)

    def written(self) -> Iterator[tuple[Path, Value]]:
        yield ("value",), self.value


class Sine(_Noisy):
    """Up and down."""

    mean: float = Field(description="Its middle.", examples=[210])
    amplitude: float = Field(description="How far it goes to either side.", examples=[4])

    def reach(self) -> tuple[float, float]:
        return self.mean - abs(self.amplitude), self.mean + abs(self.amplitude)

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.sine(self.mean, self.amplitude, period, self.phase))


class Noise(WaveSettings):
    """Anything between mean - spread and mean + spread."""

    mean: float = Field(0.0, description="Its middle.")
    spread: float = Field(ge=0, description="How far it goes to either side.", examples=[0.5])
    hold: Period = Field(1.0, description="Time until the next value.")

    def reach(self) -> tuple[float, float]:
        return self.mean - self.spread, self.mean + self.spread

    def make(self, making: Making) -> Wave:
        return waves.total([lambda _: self.mean, waves.noise(self.spread, self.hold, making.seed)])


class Ramp(_Noisy):
    """From the first to the second value, and from the first again."""

    between: tuple[float, float] = Field(description="Where it starts and where it ends.", examples=[[0, 100]])

    def reach(self) -> tuple[float, float]:
        return min(self.between), max(self.between)

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.ramp(*self.between, period))


class Cycle(_Noisy):
    """Straight lines between points [phase, value] of a period."""

    points: list[tuple[Share, float]] = Field(min_length=1, examples=[[[0, 450], [0.12, 0], [0.85, 0]]])

    def reach(self) -> tuple[float, float]:
        values = [value for _, value in self.points]
        return min(values), max(values)

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.cycle(waves.by_phase(self.points), period, self.phase))


class Steps(_Periodic):
    """One value after the other, each from its phase on: points [phase, value] of a period."""

    points: list[tuple[Share, Scalar]] = Field(min_length=1, examples=[[[0, "closing"], [0.12, "injecting"]]])

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.steps(waves.by_phase(self.points), period, self.phase))

    def written(self) -> Iterator[tuple[Path, Value]]:
        for i, (_, value) in enumerate(self.points):
            yield ("points", i, 1), value


class Toggle(_Periodic):
    """On, then off."""

    share: Share = Field(0.5, description="Share of the period it is on.")

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.toggle(period, self.share, self.phase))


class Counter(_Periodic):
    """One more each period."""

    first: int = Field(0, description="Where it starts.", examples=[18250])
    every: int = Field(1, ge=1, description="Counts each n-th period only.", examples=[25])
    but: int = Field(0, ge=0, description="Leaves each n-th of these out.", examples=[25])

    def make(self, making: Making) -> Wave:
        return self._make(making, lambda period: waves.counter(period, self.first, self.every, self.but))

    def written(self) -> Iterator[tuple[Path, Value]]:
        yield ("first",), self.first


# Watt seconds in the units a meter counts in, and watts in those of a power.
_ENERGY = {"J": 1.0, "kJ": 1e3, "MJ": 1e6, "W.h": 3.6e3, "kW.h": 3.6e6, "MW.h": 3.6e9}
_POWER = {"W": 1.0, "kW": 1e3, "MW": 1e6}


class Energy(WaveSettings):
    """What a power has added up to. Only rises."""

    of: Name | None = Field(None, description="The signal that is the power.", examples=["active_power_total"])
    power: float | None = Field(None, ge=0, description="Instead of it, a constant power.", examples=[5.5])
    power_unit: Literal["W", "kW", "MW"] = Field("W", description="Its unit.")
    first: float = Field(0.0, ge=0, description="Where it starts.", examples=[18250.4])
    period: Period = Field(600.0, description="The power of this time is added up and repeated.", examples=["10min"])

    @model_validator(mode="after")
    def _fits(self) -> Energy:
        if (self.of is None) == (self.power is None):
            raise mistake("an energy needs either `of` or `power`", "for example of: active_power_total")
        return self

    def make(self, making: Making) -> Wave:
        power = making.number(self.of, ("of",)) if self.of else cast("Number", waves.constant(self.power))
        per = _ENERGY.get(making.unit, 3.6e6) / _POWER[self.power_unit]
        programme = making.doings.programme
        if programme is None:
            return waves.energy(power, self.period, self.first, per)
        # Of each thing it does by itself, over the time it does it: a break adds what the machine draws in a break.
        parts: list[Number] = [lambda _: self.first]
        for word in programme.words:
            drawn = waves.on_time(power, programme.moment(word))
            in_all = programme.in_all(word)
            period = min(self.period, in_all) if isfinite(in_all) else self.period
            added = waves.energy(cast("Number", drawn), period, 0.0, per)
            parts.append(cast("Number", waves.on_time(added, programme.spent(word))))
        return waves.total(parts)


class Spindle(_Periodic):
    """Accelerates, holds its speed with a ripple, brakes, stands."""

    speed: float = Field(description="The speed it holds.", examples=[2400])
    ripple: float = Field(0.0, ge=0, description="How far it strays from that.", examples=[6])
    stop: Share = Field(0.2, description="Share of the period it stands.")
    accelerate: Share = Field(0.08, description="Share of the period it takes to get up to speed, and down again.")

    @model_validator(mode="after")
    def _fits(self) -> Spindle:
        if self.stop + 2 * self.accelerate > 1:
            raise mistake(
                "`stop` and twice `accelerate` are more than the whole period", "for example stop: 0.2", "stop"
            )
        return self

    def reach(self) -> tuple[float, float]:
        return min(0.0, self.speed), max(0.0, self.speed)

    def make(self, making: Making) -> Wave:
        return self._make(
            making, lambda period: waves.spindle(self.speed, period, self.stop, self.accelerate, self.ripple)
        )


class Stop(WaveSettings):
    """One value while the machine runs, another while it stands: in one of its `stops`, or not in production."""

    running: Scalar = Field(False, description="The value while it runs.", examples=["auto"])
    stopped: Scalar = Field(True, description="The value while it stops.", examples=["manual"])

    def make(self, making: Making) -> Wave:
        running, stopped, is_stopped = self.running, self.stopped, making.doings.stopped
        return lambda t: stopped if is_stopped(t) else running

    def written(self) -> Iterator[tuple[Path, Value]]:
        yield ("running",), self.running
        yield ("stopped",), self.stopped


class Activity(WaveSettings):
    """What the machine does gives the value, or the wave that is followed meanwhile."""

    values: dict[str, Any] = Field(
        min_length=1,
        description="Values or waves by what the machine does; `stop` is one of its `stops`, else as while it runs.",
        examples=[{"production": "auto", "break": "manual"}],
    )
    otherwise: Any = Field(None, description="The value, or the wave, while it does anything else.", examples=["off"])

    def inside(self) -> Sequence[Path]:
        return [*(("values", word) for word in self.values), *([("otherwise",)] if self.otherwise is not None else [])]

    def make(self, making: Making) -> Wave:
        does = making.doings
        for word in self.values:
            if word not in (*does.words, STOP):
                raise UnusableError(
                    ("values", word), f"the machine never does '{word}'", did_you_mean(word, [*does.words, STOP])
                )
        by_word = {word: making.wave(("values", word)) for word in self.values}
        if does.runs_in in by_word:
            by_word.setdefault(STOP, by_word[does.runs_in])
        missing = [word for word in does.words if word not in by_word]
        if missing and self.otherwise is None:
            raise UnusableError((), f"there is no value for '{missing[0]}'", "add it to `values`, or say `otherwise`")
        otherwise = making.wave(("otherwise",)) if self.otherwise is not None else waves.constant(None)
        activity = does.activity
        return lambda t: by_word.get(activity(t), otherwise)(t)


class Recorded(WaveSettings):
    """Values from a CSV file."""

    file: str = Field(min_length=1, description="Beside the scenario, or an absolute path.", examples=["oven.csv"])
    column: str = Field(description="The column with the values.", examples=["temperature"])
    time: str | None = Field(None, description="The column with the times; else the first that has some.")
    every: Period | None = Field(None, description="Time from row to row, instead of a column.", examples=["15min"])
    unit: str = Field("", description="Of the values, where the signal has another one (UCUM).", examples=["[degF]"])
    repeat: bool = Field(False, description="It begins anew after its end; else the last value stands.")

    def make(self, making: Making) -> Wave:
        read = self._series(making)
        for value in dict.fromkeys(read.values):
            if wrong := making.wrong(value):
                raise UnusableError(("column",), *wrong)
        numbers = [value for value in read.values if isinstance(value, int | float)]
        if numbers and not (self.unit and making.unit):
            making.reaches(min(numbers), max(numbers))
        if self.unit and making.unit:
            wave = self._converted(cast("Number", read.wave(self.repeat)), making)
        else:
            wave = read.wave(self.repeat)
        if read.evened:
            one = read.evened == 1
            fate = (
                "stamp does not rise, and is put between its"
                if one
                else "stamps do not rise, and are put between their"
            )
            making.note(f"{self.file}: {read.evened} time {fate} neighbours")
        return wave

    def _series(self, making: Making) -> Series:
        if not (making.folder / self.file).is_file():
            raise UnusableError(("file",), f"there is no file '{self.file}' beside this one")
        try:
            return series(read_table(making.folder / self.file), self.column, self.time, self.every)
        except NoColumnError as exc:
            raise UnusableError((exc.key,), exc.message, exc.hint) from exc

    def _converted(self, wave: Number, making: Making) -> Wave:
        try:
            factor, offset = conversion(parse(self.unit), parse(making.unit))
        except UnitError as exc:
            raise UnusableError(("unit",), str(exc)) from exc
        if isinstance(wave(0.0), str):
            raise UnusableError(("unit",), f"column '{self.column}' has texts, and no unit")
        return lambda t: wave(t) * factor + offset


class _Derived(WaveSettings):
    """Made from other signals of the machine."""

    of: list[Name] = Field(min_length=1, description="Those signals.", examples=[["voltage_l1", "current_l1"]])
    times: float = Field(1.0, description="A factor.")

    def _numbers(self, making: Making) -> list[Number]:
        return [making.number(name, ("of", i)) for i, name in enumerate(self.of)]


class Sum(_Derived):
    """Several signals added."""

    def make(self, making: Making) -> Wave:
        return waves.total(self._numbers(making), self.times)


class Product(_Derived):
    """Several signals multiplied."""

    def make(self, making: Making) -> Wave:
        return waves.product(self._numbers(making), self.times)


WAVES: Mapping[str, type[WaveSettings]] = {
    model.__name__.lower(): model
    for model in (
        Constant, Sine, Noise, Ramp, Cycle, Steps, Toggle, Counter, Energy, Spindle, Stop, Activity, Sum, Product,
    )
} | {"series": Recorded}  # fmt: skip
"""By the name in `wave:`."""
