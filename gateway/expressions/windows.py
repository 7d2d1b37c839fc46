"""What expressions remember of the last minutes: means, extremes, differences, how often, how long.

    steps    5 ──────── 7 ──── (bad) ──── 7 ───▶ now
    mean     5·8 s      7·4 s             7·3 s        of those that lie in the window

A window holds a bounded number of stretches, whatever is put in: neighbours are merged while together they take less than 1/490 of the
window, so its oldest end is blurred by that much and nothing is dropped. Sums are never subtracted from: they are kept for the
newer and the older half of a window, and made anew when the older one is used up, so no rounding piles up over the years.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

from gateway.expressions.flaws import NO_NUMBER, Flaw, can_be_told
from gateway.expressions.memory import NEVER, Room, as_json, boolean, integer, number, time_of
from gateway.expressions.tree import NS
from gateway.model import GOOD, UNCERTAIN, WAITING_FOR_DATA

_GRAINS = 490  # in a window: at most twice as many stretches and a few more, so fewer than 1000
_MAX_POINTS = 1000


class Window(ABC):
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

    @abstractmethod
    def _take(self, now: int, value: Any) -> None:
        """`value` is in force from now on, self._value was until now."""

    @abstractmethod
    def _forget(self, begin: int) -> None:
        """What was before `begin` is not needed any more."""

    @abstractmethod
    def _result(self, now: int, begin: int) -> Any:
        """None: nothing is known."""

    def dump(self) -> list[Any]:
        return [as_json(self._value), self._quality, self._known_until, self._doubt_until, self._doubt, *self._dump()]

    def load(self, state: Sequence[Any]) -> None:
        value, quality, known_until, doubt_until, doubt, *rest = state
        self._value = None if value is None else self._input(value)
        self._quality, self._doubt = integer(quality), integer(doubt)
        self._known_until, self._doubt_until = time_of(known_until, self._room), time_of(doubt_until, self._room)
        self._load(rest)

    def _input(self, value: Any) -> Any:
        return number(value)

    @abstractmethod
    def _dump(self) -> list[Any]: ...

    @abstractmethod
    def _load(self, state: Sequence[Any]) -> None: ...


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
        return [self._since, *([*s[:4], as_json(s[4]), as_json(s[5])] for s in stretches)]

    def _load(self, state: Sequence[Any]) -> None:
        since, *stretches = state
        self._since = time_of(since, self._room)
        end = NEVER
        for start, until, *numbers in stretches[-_MAX_POINTS:]:
            seconds, integral, low, high = map(number, numbers)
            if not end <= integer(start) < time_of(until, self._room) or seconds < 0:
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
        return None if ends is None else _told(ends[3] - ends[1])

    def _dump(self) -> list[Any]:
        return [[at, as_json(value)] for at, value in self._points]

    def _load(self, state: Sequence[Any]) -> None:
        last = NEVER
        for at, value in state[-_MAX_POINTS:]:
            if time_of(at, self._room) < last:
                raise ValueError("points of time that are in no order")
            self._points.append((at, None if value is None else number(value)))
            last = at


class Rate(Delta):
    """The same for each second. There is none before some time has passed."""

    def _result(self, now: int, begin: int) -> Any:
        ends = self._ends(now, begin)
        if ends is None:
            return None
        start, first, end, last = ends
        return _told((last - first) / ((end - start) / NS)) if end > start else Flaw(None, WAITING_FOR_DATA)


class Count(Window):
    """How often a condition became true."""

    def __init__(self, room: Room, length: int) -> None:
        super().__init__(room, length)
        self._last: bool | None = None  # the last known
        self._rises: deque[tuple[int, int, int]] = deque()  # from, to, how many
        self._count = 0

    def _take(self, now: int, value: Any) -> None:
        if value is None:
            return
        if value and self._last is False:
            self._count += 1
            if self._rises and now - self._rises[-1][0] <= self._grain:
                start, _, before = self._rises.pop()
                self._rises.append((start, now, before + 1))
            else:
                self._rises.append((now, now, 1))
        self._last = value

    def _forget(self, begin: int) -> None:
        while self._rises and self._rises[0][1] <= begin:
            self._count -= self._rises.popleft()[2]

    def _result(self, now: int, begin: int) -> Any:  # noqa: ARG002
        return self._count

    def _input(self, value: Any) -> Any:
        return boolean(value)

    def _dump(self) -> list[Any]:
        return [self._last, *map(list, self._rises)]

    def _load(self, state: Sequence[Any]) -> None:
        last, *rises = state
        self._last = None if last is None else boolean(last)
        end = NEVER
        for start, until, times in rises[-_MAX_POINTS:]:
            if not end <= integer(start) <= time_of(until, self._room) or not 1 <= integer(times) < 2**53:
                raise ValueError("points of time that are in no order")
            self._rises.append((start, until, times))
            self._count += times
            end = until


def _told(value: Any) -> Any:
    return value if can_be_told(value) else NO_NUMBER
