"""What expressions remember: windows over the last minutes, edges, integrals.

Each evaluation is a step: the value that was in force until now, and the one that is from now on. A value is in force until the next step
that brings another one. While there is none (bad), that time does not count.

    steps    5 ──────── 7 ──── (bad) ──── 7 ───▶ now
    mean     5·8 s      7·4 s             7·3 s        of those that lie in the window

A window holds a bounded number of stretches, whatever is put in: neighbours are merged while together they take less than 1/490 of the
window, so its oldest end is blurred by that much and nothing is dropped. Sums are never subtracted from: they are kept for the
newer and the older half of a window, and made anew when the older one is used up, so no rounding piles up over the years.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.expressions.flaws import MAX_INT, MIN_INT, NO_NUMBER, Flaw, with_quality
from gateway.expressions.tree import NS
from gateway.model import GOOD, UNCERTAIN, WAITING_FOR_DATA, Value

NEVER = -(2**62)  # before any time; fits into 64 bits
_GRAINS = 490  # in a window: at most twice as many stretches and a few more, so fewer than 1000
_MAX_POINTS = 1000


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


# --- windows ---------------------------------------------------------------------------------------------------------


class Window:
    """The common part: how long, what is in force, and whether anything was known or doubtful in it."""

    def __init__(self, room: Room, length: int) -> None:
        self._room = room
        self._length = length
        self._grain = length // _GRAINS
        self._value: Any = None  # in force; None: there is none
        self._quality = GOOD  # of it
        self._known_until = self._doubt_until = NEVER  # the last times with any value, and with an uncertain one
        self._doubt = UNCERTAIN  # the last uncertain quality

    def step(self, value: Any, quality: int) -> Any:
        now = self._room.now
        begin = now - self._length
        if self._value is not None:
            self._known_until = now
            if self._quality:
                self._doubt_until, self._doubt = now, self._quality
        self._take(now, value)
        self._value, self._quality = value, quality
        self._forget(begin)
        if value is None and self._known_until <= begin:
            return Flaw(None, quality)
        result = self._result(now, begin)
        if result is None or result.__class__ is Flaw:
            return result or Flaw(None, quality)
        if quality and value is not None:
            return Flaw(result, quality)
        return Flaw(result, self._doubt) if self._doubt_until > begin else result

    def pause(self) -> None:
        self.step(None, WAITING_FOR_DATA)

    def _take(self, now: int, value: Any) -> None:
        """`value` is in force from now on, self._value was until now."""
        raise NotImplementedError

    def _forget(self, begin: int) -> None:
        """What was before `begin` is not needed any more."""
        raise NotImplementedError

    def _result(self, now: int, begin: int) -> Any:
        """None: nothing is known."""
        raise NotImplementedError

    def dump(self) -> list[Any]:
        return [_told(self._value), self._quality, self._known_until, self._doubt_until, self._doubt, *self._dump()]

    def load(self, state: Sequence[Any]) -> None:
        value, quality, known_until, doubt_until, doubt, *rest = state
        self._value = None if value is None else self._input(value)
        self._quality, self._doubt = _integer(quality), _integer(doubt)
        self._known_until, self._doubt_until = _time(known_until, self._room), _time(doubt_until, self._room)
        self._load(rest)

    def _input(self, value: Any) -> Any:
        return _number(value)

    def _dump(self) -> list[Any]:
        raise NotImplementedError

    def _load(self, state: Sequence[Any]) -> None:
        raise NotImplementedError


_Stretch = tuple[int, int, float, float, float, float]
"""start, end, seconds with a value, integral over them, lowest, highest."""
_Sum = tuple[float, float, float, float]
"""The last four of them."""
_NOTHING: _Sum = (0.0, 0.0, math.inf, -math.inf)


def _joined(a: _Sum, b: _Sum) -> _Sum:
    return a[0] + b[0], a[1] + b[1], min(a[2], b[2]), max(a[3], b[3])


class Stretches(Window):
    """Which values were in force for how long."""

    def __init__(self, room: Room, length: int) -> None:
        super().__init__(room, length)
        self._since = NEVER  # the value in force
        self._older: list[tuple[_Stretch, _Sum]] = []  # newest first, each with the sum of those before it in this list
        self._newer: list[_Stretch] = []  # oldest first
        self._sum = _NOTHING  # of the newer ones

    def _take(self, now: int, value: Any) -> None:
        if value == self._value:
            return  # it goes on
        if self._value is not None and now > self._since:
            self._close(now)
        self._since = now

    def _close(self, now: int) -> None:
        value, seconds = self._value, (now - self._since) / NS
        integral = value * seconds
        if not math.isfinite(integral):
            return  # beyond what can be added up
        start, of_it = self._since, (seconds, integral, value, value)
        self._sum = _joined(self._sum, of_it)
        if self._newer and now - self._newer[-1][0] <= self._grain:
            last = self._newer.pop()
            start, of_it = last[0], _joined(last[2:], of_it)
        self._newer.append((start, now, *of_it))

    def _forget(self, begin: int) -> None:
        older = self._older
        while True:
            while older and older[-1][0][1] <= begin:
                older.pop()
            if older or not self._newer or self._newer[0][0] >= begin:
                return
            together = _NOTHING
            for stretch in reversed(self._newer):
                older.append((stretch, together))
                together = _joined(together, stretch[2:])
            self._newer, self._sum = [], _NOTHING

    def _all(self, now: int, begin: int) -> _Sum:
        """What was in force since `begin`. Of a merged stretch that began before, its part of the time counts."""
        together = self._sum
        if self._older:
            (start, end, seconds, integral, low, high), rest = self._older[-1]
            part = 1.0 if start >= begin else (end - begin) / (end - start)
            together = _joined(together, _joined(rest, (seconds * part, integral * part, low, high)))
        value = self._value
        if value is not None:
            seconds = (now - max(self._since, begin)) / NS
            together = _joined(together, (seconds, value * seconds, value, value))
        return together

    def _dump(self) -> list[Any]:
        stretches = [stretch for stretch, _ in reversed(self._older)] + self._newer
        return [self._since, *([*s[:4], _told(s[4]), _told(s[5])] for s in stretches)]

    def _load(self, state: Sequence[Any]) -> None:
        since, *stretches = state
        self._since = _time(since, self._room)
        end = NEVER
        for start, until, *numbers in stretches[-_MAX_POINTS:]:
            seconds, integral, low, high = map(_number, numbers)
            if not end <= _integer(start) < _time(until, self._room) or seconds < 0:
                raise ValueError("stretches of time that are in no order")
            self._newer.append((start, until, seconds, integral, low, high))
            self._sum = _joined(self._sum, (seconds, integral, low, high))
            end = until


class Mean(Stretches):
    """Weighted by time. Never outside of the lowest and the highest, so the mean of a constant is that constant."""

    def _result(self, now: int, begin: int) -> Any:
        seconds, integral, low, high = self._all(now, begin)
        if not seconds:
            return self._value if self._value is None else float(self._value)
        mean = integral / seconds
        return min(max(mean, low), high) if math.isfinite(mean) else NO_NUMBER


class Share(Mean):
    """The mean of 0 for false and 1 for true."""

    def step(self, value: Any, quality: int) -> Any:
        return super().step(None if value is None else float(value), quality)


class Lowest(Stretches):
    def _result(self, now: int, begin: int) -> Any:
        lowest = self._all(now, begin)[2]
        return lowest if lowest != math.inf else None


class Highest(Stretches):
    def _result(self, now: int, begin: int) -> Any:
        highest = self._all(now, begin)[3]
        return highest if highest != -math.inf else None


class Delta(Window):
    """The value now, or the last known one, less the one in force at the beginning of the window, or the first known in it."""

    def __init__(self, room: Room, length: int) -> None:
        super().__init__(room, length)
        self._points: deque[tuple[int, Any]] = deque()  # since when, what (None: nothing); the first may lie before

    def _take(self, now: int, value: Any) -> None:
        points = self._points
        if points and points[-1][0] == now:
            points.pop()
        if points and points[-1][1] == value:
            return
        if len(points) > 1 and now - points[-2][0] <= self._grain:
            points.pop()
        points.append((now, value))

    def _forget(self, begin: int) -> None:
        points = self._points
        while len(points) > 1 and points[1][0] <= begin:
            points.popleft()

    def _ends(self, now: int, begin: int) -> tuple[int, Any, int, Any] | None:
        """When and what at the beginning, when and what at the end."""
        first = next((point for point in self._points if point[1] is not None), None)
        if first is None:
            return None
        if self._value is not None:
            return max(first[0], begin), first[1], now, self._value
        last = next(value for _, value in reversed(self._points) if value is not None)
        return max(first[0], begin), first[1], self._known_until, last

    def _result(self, now: int, begin: int) -> Any:
        ends = self._ends(now, begin)
        return None if ends is None else _finite(ends[3] - ends[1])

    def _dump(self) -> list[Any]:
        return [[at, _told(value)] for at, value in self._points]

    def _load(self, state: Sequence[Any]) -> None:
        last = NEVER
        for at, value in state[-_MAX_POINTS:]:
            if _time(at, self._room) < last:
                raise ValueError("points of time that are in no order")
            self._points.append((at, None if value is None else _number(value)))
            last = at


class Rate(Delta):
    """The same for each second. There is none before some time has passed."""

    def _result(self, now: int, begin: int) -> Any:
        ends = self._ends(now, begin)
        if ends is None:
            return None
        start, first, end, last = ends
        return _finite((last - first) / ((end - start) / NS)) if end > start else Flaw(None, WAITING_FOR_DATA)


class Count(Window):
    """How often a condition became true."""

    def __init__(self, room: Room, length: int) -> None:
        super().__init__(room, length)
        self._last: bool | None = None  # the last known
        self._rises: deque[tuple[int, int, int]] = deque()  # from, to, how many
        self._number = 0

    def _take(self, now: int, value: Any) -> None:
        if value is None:
            return
        if value and self._last is False:
            self._number += 1
            if self._rises and now - self._rises[-1][0] <= self._grain:
                start, _, number = self._rises.pop()
                self._rises.append((start, now, number + 1))
            else:
                self._rises.append((now, now, 1))
        self._last = value

    def _forget(self, begin: int) -> None:
        while self._rises and self._rises[0][1] <= begin:
            self._number -= self._rises.popleft()[2]

    def _result(self, now: int, begin: int) -> Any:  # noqa: ARG002
        return self._number

    def _input(self, value: Any) -> Any:
        return _boolean(value)

    def _dump(self) -> list[Any]:
        return [self._last, *map(list, self._rises)]

    def _load(self, state: Sequence[Any]) -> None:
        last, *rises = state
        self._last = None if last is None else _boolean(last)
        end = NEVER
        for start, until, number in rises[-_MAX_POINTS:]:
            if not end <= _integer(start) <= _time(until, self._room) or _integer(number) < 1:
                raise ValueError("points of time that are in no order")
            self._rises.append((start, until, number))
            self._number += number
            end = until


# --- without a window ------------------------------------------------------------------------------------------------


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
        self._last = None if last is None else _boolean(last)


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
        return [_told(self._last)]

    def load(self, state: Sequence[Any]) -> None:
        (self._last,) = map(_any, state)


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
        return [_told(self._last), _told(self._before)]

    def load(self, state: Sequence[Any]) -> None:
        self._last, self._before = map(_any, state)


class _Clocked(_Lasting):
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

    def step(self, value: Any, quality: int) -> Any:
        raise NotImplementedError

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
        self._value = None if value is None else _boolean(value)
        self._since, self._ns = _time(since, self._room), _integer(ns)


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
        return [_told(self._value), self._since, self._sum, self._lost]

    def load(self, state: Sequence[Any]) -> None:
        value, since, together, lost = state
        self._value = None if value is None else _number(value)
        self._since = _time(since, self._room)
        self._sum, self._lost = float(_number(together)), float(_number(lost))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _finite(number: Any) -> Any:
    return number if math.isfinite(number) else NO_NUMBER


def _told(value: Any) -> Any:
    """An integer beyond 64 bits is a float to JSON."""
    return float(value) if value.__class__ is int and not MIN_INT <= value <= MAX_INT else value


def _checked(allowed: tuple[type, ...], what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value.__class__ not in allowed or (value.__class__ is float and not math.isfinite(value)):
            raise ValueError(f"{value!r:.40} is not {what}")
        return value

    return check


def _time(value: Any, room: Room) -> int:
    """Nothing that is remembered lies in the future."""
    if _integer(value) > room.now:
        raise ValueError(f"{value} lies in the future")
    return int(value)


_integer = _checked((int,), "an integer")
_number = _checked((int, float), "a number")
_boolean = _checked((bool,), "true or false")
_any = _checked((int, float, bool, str, type(None)), "a value")
