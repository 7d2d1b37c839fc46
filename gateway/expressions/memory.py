"""What expressions remember without a window: edges, the value before, how long, integrals.

Each evaluation is a step: the value that was in force until now, and the one that is from now on. A value is in force until the next step
that brings another one. While there is none (bad), that time does not count.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.expressions.flaws import MAX_INT, MIN_INT, Flaw, with_quality
from gateway.expressions.tree import NS
from gateway.model import WAITING_FOR_DATA, Value

NEVER = -(2**62)  # ns: before any time, and within 64 bits


class Room:
    """What one program remembers, and the time it is there."""

    __slots__ = ("memories", "now")

    def __init__(self) -> None:
        self.now = NEVER  # ns
        self.memories: list[Memory] = []


class Memory(Protocol):
    """What one function over time remembers."""

    def step(self, value: Any, quality: int) -> Any:
        """The result, with this input from now on; None: it is bad."""

    def pause(self) -> None:
        """There is no input from now on: the gateway was not running until the next step."""

    def dump(self) -> list[Any]:
        """As JSON can have it."""

    def load(self, state: Sequence[Any]) -> None:
        """What `dump` gave. Raises ValueError for anything else, and must not be used then."""


class _Lasting:
    """What stays as it is while there is no value."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def pause(self) -> None:
        """What was known last is compared with what comes next."""


class Edge(_Lasting):
    """True at the step at which a condition becomes `to`."""

    def __init__(self, room: Room, to: bool) -> None:
        super().__init__(room)
        self._to = to
        self._last: bool | None = None

    def step(self, value: Any, quality: int) -> Any:
        if value is None:
            return Flaw(None, quality)
        last, self._last = self._last, value
        return with_quality(value is self._to and last is not None and last is not value, quality)

    def dump(self) -> list[Any]:
        return [self._last]

    def load(self, state: Sequence[Any]) -> None:
        (last,) = state
        self._last = None if last is None else boolean(last)


class Changed(_Lasting):
    """True at the step at which the value is another one than before."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._last: Value = None

    def step(self, value: Any, quality: int) -> Any:
        if value is None:
            return Flaw(None, quality)
        last, self._last = self._last, value
        return with_quality(last is not None and last != value, quality)

    def dump(self) -> list[Any]:
        return [as_json(self._last)]

    def load(self, state: Sequence[Any]) -> None:
        (self._last,) = map(anything, state)


class Previous(_Lasting):
    """The value before the last change."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._last: Value = None
        self._before: Value = None

    def step(self, value: Any, quality: int) -> Any:
        if value is None:
            return Flaw(None, quality)
        if value != self._last:
            self._before, self._last = self._last, value
        return Flaw(None, WAITING_FOR_DATA) if self._before is None else with_quality(self._before, quality)

    def dump(self) -> list[Any]:
        return [as_json(self._last), as_json(self._before)]

    def load(self, state: Sequence[Any]) -> None:
        self._last, self._before = map(anything, state)


class _Clocked(_Lasting, ABC):
    """What adds up over time, while the value is known."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._value: Any = None  # in force
        self._since = NEVER

    def _passed(self, value: Any) -> int:
        """ns since the last step, in which the value of before was in force; now it is this one."""
        now = self._room.now
        since, self._since, self._value = self._since, now, value
        return now - since

    @abstractmethod
    def step(self, value: Any, quality: int) -> Any: ...

    def pause(self) -> None:
        self.step(None, WAITING_FOR_DATA)


class Duration(_Clocked):
    """Seconds for which a condition has been true. Time without a value neither counts nor ends it."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._ns = 0

    def step(self, value: Any, quality: int) -> Any:
        was = self._value
        passed = self._passed(value)
        if was:
            self._ns += passed
        if value is None:
            return Flaw(None, quality)
        if not value:
            self._ns = 0
        return with_quality(self._ns / NS, quality)

    def dump(self) -> list[Any]:
        return [self._value, self._since, self._ns]

    def load(self, state: Sequence[Any]) -> None:
        value, since, ns = state
        self._value = None if value is None else boolean(value)
        self._since, self._ns = time_of(since, self._room), integer(ns)


class Total(_Clocked):
    """The integral over time, in seconds. Time without a value does not count."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self._sum = 0.0
        self._lost = 0.0  # what rounding took from the sum (Kahan): small steps onto a large total are not lost

    def step(self, value: Any, quality: int) -> Any:
        was = self._value
        passed = self._passed(value)
        if was is not None:
            more = was * (passed / NS) - self._lost
            together = self._sum + more
            if math.isfinite(together):
                self._lost = (together - self._sum) - more
                self._sum = together
        return Flaw(None, quality) if value is None else with_quality(self._sum, quality)

    def dump(self) -> list[Any]:
        return [as_json(self._value), self._since, self._sum, self._lost]

    def load(self, state: Sequence[Any]) -> None:
        value, since, together, lost = state
        self._value = None if value is None else number(value)
        self._since = time_of(since, self._room)
        self._sum, self._lost = float(number(together)), float(number(lost))


# --- JSON ------------------------------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """An integer beyond 64 bits is a float to JSON."""
    return float(value) if value.__class__ is int and not MIN_INT <= value <= MAX_INT else value


def _of_types(allowed: tuple[type, ...], what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value.__class__ not in allowed or (value.__class__ is float and not math.isfinite(value)):
            raise ValueError(f"{value!r:.40} is not {what}")
        return value

    return check


def time_of(value: Any, room: Room) -> int:
    """Nothing that is remembered lies in the future."""
    if integer(value) > room.now:
        raise ValueError(f"{value} lies in the future")
    return int(value)


integer = _of_types((int,), "an integer")
number = _of_types((int, float), "a number")
boolean = _of_types((bool,), "true or false")
anything = _of_types((int, float, bool, str, type(None)), "a value")
