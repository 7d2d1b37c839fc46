"""What is done to the columns of a batch before anything is sent.

    values ─▶ scale_from ─▶ counters ─▶ scale, offset ─▶ no NaN ─▶ clamp ─▶ range ─▶ movement ─▶ precision ─▶ enum

`Steps` are the rules (rules.py) of all signals of a batch, put together once for all batches of the same shape: for each
kind of rule the positions in the columns at which it has something to do, so that a column without rules costs nothing.
`Needs` say which signals have rules at all: a subscription brings other signals each time, and most of them need nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from operator import itemgetter, mul, truediv
from typing import Any

from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    INVALID_DATA,
    NOT_A_NUMBER,
    NOT_AVAILABLE,
    OUT_OF_RANGE,
    UNKNOWN_STATE,
    WAITING_FOR_DATA,
    Value,
    ValueType,
    is_bad,
    is_good,
)
from gateway.normalizer.memory import Memory
from gateway.normalizer.rules import Needs, Rule

_CLASSES: Mapping[ValueType, str] = {"float": "float", "int": "int", "bool": "bool", "string": "str"}
_NOISE = 1e-9  # of a range
_TOO_LARGE = 2**64
_LARGEST_POWER = 24  # of ten, in a scale factor: beyond it is no factor but noise

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]
Factors = Mapping[int, int | None]  # power of ten by the index of the signal it came from; None: it has none now


@dataclass(frozen=True, slots=True)
class _Linear:
    """The same arithmetic for several positions."""

    operation: Callable[[Any, float], float]
    positions: tuple[int, ...]
    pick: Pick
    numbers: tuple[float, ...]

    def run(self, values: list[Value]) -> None:
        try:
            done = list(map(self.operation, self.pick(values), self.numbers))
        except TypeError:  # some have no value
            for at, number in zip(self.positions, self.numbers, strict=True):
                if (value := values[at]) is not None:
                    values[at] = self.operation(value, number)
            return
        for at, value in zip(self.positions, done, strict=True):
            values[at] = value


class Steps:
    """The rules of the signals of one shape of batch."""

    def __init__(self, rules: Sequence[Rule], needs: Needs, signal: Sequence[int]) -> None:
        more, sources, floats = needs.more, needs.sources, needs.floats
        mine = [(at, rules[i]) for at, i in enumerate(signal) if i in more] if more else []
        # Positions of powers of ten:
        self.factors = tuple((at, i) for at, i in enumerate(signal) if i in sources) if sources else ()
        self._by_factor = [(at, rule.factor_from) for at, rule in mine if rule.factor_from is not None]
        self._counters = [(at, i, rules[i].factor_from) for at, i in enumerate(signal) if i in more and rules[i].counts]
        self._linear = [
            *_linear(truediv, [(at, rule.divisor) for at, rule in mine]),
            *_linear(mul, [(at, rule.factor) for at, rule in mine]),
        ]
        self._shifted = [(at, rule.shift) for at, rule in mine if rule.shift]
        self._floats: Sequence[int] = (
            range(len(signal)) if floats is None else [at for at, i in enumerate(signal) if i in floats]
        )
        self._pick_floats = tuple if len(self._floats) == len(signal) else picker(self._floats)
        self._ends = [(at, *rule.ends) for at, rule in mine if rule.ends is not None]
        self._moving = [
            (at, i)
            for at, i in enumerate(signal)
            if i in more and (rules[i].max_rate is not None or rules[i].flat_after is not None)
        ]
        self._rounded = [(at, rule.precision) for at, rule in mine if rule.precision is not None]
        self._ranged = [(at, r.low, r.high) for at, r in mine if r.low is not None and r.high is not None]
        self._held = [(at, rule.held_to) for at, rule in mine if rule.held_to is not None]
        self._states = [(at, rule.states) for at, rule in mine if rule.states is not None]

    @property
    def timed(self) -> bool:
        """Whether the very same values can come to something else."""
        return bool(self._counters or self._moving)

    def run(
        self, values: list[Value], quality: list[int] | None, factors: Factors, memory: Memory,
        time: Sequence[int], *, past: bool = False,
    ) -> list[int] | None:  # fmt: skip
        """Change both columns in place; the quality column that counts, None while all are good.

        Readings of the `past` are taken as they would have been, and change nothing in the memory.
        """
        for at, i in self._by_factor:
            quality = _by_power(values, quality, at, factors.get(i, _UNREAD))
        counters = memory.counters
        for at, i, source in self._counters:
            if (raw := values[at]) is None:
                continue
            counter = counters[i]
            if source is not None:
                counter.scale(factors.get(source))
            total, found = (counter.at if past else counter.step)(raw, time[at])  # type: ignore[arg-type]
            values[at] = total
            if found:
                quality = _worse(quality, len(values), at, found)
            if type(total) is int and total >= _TOO_LARGE:  # no message can carry it
                values[at] = None
                quality = _worse(quality, len(values), at, INVALID_DATA)
        for linear in self._linear:
            linear.run(values)
        for at, shift in self._shifted:
            if (value := values[at]) is not None:
                values[at] = value + shift  # type: ignore[operator]
        if self._floats and not _all_finite(self._pick_floats(values)):
            quality = self._drop_nan(values, quality)
        for at, low, high in self._ends:
            if (value := values[at]) is not None and not low <= value <= high:  # type: ignore[operator]
                quality = _held_back(values, quality, at, low, high)
        for at, low, high in self._ranged:
            value = values[at]
            if value is not None and not low <= value <= high:  # type: ignore[operator]
                quality = _worse(quality, len(values), at, OUT_OF_RANGE)
        if not past:
            for at, i in self._moving:
                if (value := values[at]) is not None and (found := memory.movements[i].look(value, time[at])):
                    quality = _worse(quality, len(values), at, found)
        for at, digits in self._rounded:
            if (value := values[at]) is not None:
                values[at] = round(value, digits)  # type: ignore[arg-type]
        for at, states in self._states:
            if (value := values[at]) is None:
                continue
            text = states.get(value)  # type: ignore[arg-type]
            if text is None:
                quality = _worse(quality, len(values), at, UNKNOWN_STATE)
            values[at] = str(value) if text is None else text
        for at, type_ in self._held:
            if (value := values[at]) is None or type(value).__name__ == _CLASSES[type_]:
                continue
            if type_ == "float" and type(value) is int:
                values[at] = float(value)
            else:  # a store that has numbers here cannot take text
                values[at] = None
                quality = _worse(quality, len(values), at, CONFIG_ERROR)
        return quality

    def _drop_nan(self, values: list[Value], quality: list[int] | None) -> list[int] | None:
        for at in self._floats:
            value = values[at]
            if isinstance(value, float) and not isfinite(value):
                values[at] = None
                quality = _worse(quality, len(values), at, NOT_A_NUMBER)
        return quality


_UNREAD = 1000  # stands for a power of ten that has not been read yet


def power_of_ten(value: Value) -> int | None:
    """What a signal holds as a scale factor; None where that can be none."""
    return value if isinstance(value, int) and abs(value) <= _LARGEST_POWER else None


def _by_power(values: list[Value], quality: list[int] | None, at: int, power: int | None) -> list[int] | None:
    """value = raw * 10^power. Without the power there is no value."""
    value = values[at]
    if value is None:
        return quality
    if power is None or power == _UNREAD:
        values[at] = None
        return _worse(quality, len(values), at, WAITING_FOR_DATA if power == _UNREAD else NOT_AVAILABLE)
    values[at] = value / 10**-power if power < 0 else float(value * 10**power)
    return quality


def _held_back(values: list[Value], quality: list[int] | None, at: int, low: float, high: float) -> list[int] | None:
    """At the end of its range, and uncertain; not for what arithmetic in floats has pushed over it."""
    value: float = values[at]  # type: ignore[assignment]
    end = low if value < low else high
    values[at] = end
    if abs(value - end) <= _NOISE * (high - low):
        return quality
    return _worse(quality, len(values), at, OUT_OF_RANGE)


def _linear(operation: Callable[[Any, float], float], numbers: list[tuple[int, float | None]]) -> list[_Linear]:
    mine = [(at, number) for at, number in numbers if number is not None]
    if not mine:
        return []
    positions, operands = zip(*mine, strict=True)
    return [_Linear(operation, positions, picker(positions), operands)]


def picker(positions: Sequence[int]) -> Pick:
    """Takes these out of a column."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda column: tuple(column[at] for at in positions)


def _all_finite(numbers: tuple[Any, ...]) -> bool:
    """One sum instead of many checks: NaN and infinity survive every addition. A None (bad already) is no number."""
    try:
        return isfinite(sum(numbers))
    except (TypeError, OverflowError):
        return False


def _worse(quality: list[int] | None, length: int, at: int, found: int) -> list[int]:
    """A quality column in which position `at` is `found`, unless the machine itself said something worse."""
    column = quality if quality is not None else [GOOD] * length
    if is_good(column[at]) or is_bad(found):
        column[at] = found
    return column
