"""What is done to the columns of a batch before anything is sent: scaling, no NaN, range, states. Pure.

    values ─▶ scale_from ─▶ scale, offset ─▶ no NaN ─▶ range ─▶ enum

`Rule` is what the configuration says of one signal. `Steps` are the rules of all signals of a batch, put together once
for all batches of the same shape: for each kind of rule the positions in the columns at which it has something to do, so
that a column without rules costs nothing. `Needs` say which signals have rules at all: a subscription brings other signals
each time, and most of them need nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from operator import itemgetter, mul, truediv
from typing import Any

from gateway.config import SignalSettings
from gateway.config.fields import Percent
from gateway.model import (
    GOOD,
    NOT_A_NUMBER,
    NOT_AVAILABLE,
    OUT_OF_RANGE,
    UNKNOWN_STATE,
    WAITING_FOR_DATA,
    Signal,
    Value,
    is_bad,
    is_good,
)

_MISSED_POLLS = 3  # a signal polled once a minute is not stale after ten seconds: it has missed nothing yet
_LARGEST_POWER = 24  # of ten, in a scale factor: beyond it is no factor but noise

Pick = Callable[[Sequence[Any]], tuple[Any, ...]]
Factors = Mapping[int, int | None]  # power of ten by the index of the signal it came from; None: it has none now


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done to the readings of one signal."""

    signal: Signal  # as it leaves
    is_float: bool  # NaN and infinity are possible
    factor_from: int | None  # index of the signal that holds the power of ten
    divisor: float | None  # value = raw / divisor, or
    factor: float | None  # value = raw * factor, then
    shift: float  # + shift
    low: float | None
    high: float | None
    states: Mapping[int, str] | None
    deadband: float | None  # None: every reading is sent
    heartbeat: float
    stale_after: float


def rule_of(raw: Signal, s: SignalSettings, places: Mapping[str, int]) -> Rule:
    """`raw`: as the adapter made it. `places`: the index of each signal by name."""
    # An empty `enum` means the texts that the adapter has learnt; numbers stay numbers where it has learnt none.
    states = None if s.enum is None else (s.enum or raw.states or None)
    signal = replace(
        raw,
        unit=raw.unit if s.unit == "from-server" else s.unit,
        description=s.description or raw.description,
        kind="event" if raw.kind == "event" else s.kind,
        low=s.range[0] if s.range else raw.low,
        high=s.range[1] if s.range else raw.high,
        states=states or raw.states,
    )
    numeric = raw.type in ("float", "int")
    scaled = numeric and not (s.scale is None and s.offset is None and s.scale_from is None)
    divisor, factor = _scaling(s.scale) if scaled else (None, None)
    if scaled and s.scale_from is None and divisor is None and factor is None:
        factor = 1.0  # an offset makes a whole number a float
    if states:
        signal = replace(signal, type="string")
    elif scaled:
        signal = replace(signal, type="float")
        if s.range is None and raw.low is not None and raw.high is not None:
            signal = _with_range(signal, s, raw.low, raw.high)
    is_number = signal.type in ("float", "int")
    return Rule(
        signal=raw if signal == raw else signal,  # of a hundred thousand, one object each is enough
        is_float=signal.type == "float",
        factor_from=places.get(s.scale_from or "") if numeric else None,
        divisor=divisor,
        factor=factor,
        shift=float(s.offset or 0.0) if scaled else 0.0,
        low=s.range[0] if s.range and is_number else None,
        high=s.range[1] if s.range and is_number else None,
        states=states if raw.type != "string" else None,
        deadband=None if s.report == "all" else _deadband(signal, s.deadband) if is_number else 0.0,
        heartbeat=s.heartbeat,
        stale_after=max(s.stale_after, _MISSED_POLLS * s.poll),
    )


def _with_range(signal: Signal, s: SignalSettings, low: float, high: float) -> Signal:
    """The range that the machine tells is that of its raw values; with a factor that changes there is none."""
    if s.scale_from:
        return replace(signal, low=None, high=None)
    divisor, factor = _scaling(s.scale)
    ends = [(end / divisor if divisor else end * (factor or 1.0)) + (s.offset or 0.0) for end in (low, high)]
    return replace(signal, low=min(ends), high=max(ends))


def _deadband(signal: Signal, deadband: float | None) -> float:
    """In the unit of the signal."""
    if not isinstance(deadband, Percent):
        return deadband or 0.0
    return (signal.high - signal.low) * deadband / 100 if signal.low is not None and signal.high is not None else 0.0


def _scaling(scale: float | None) -> tuple[float | None, float | None]:
    """Divisor or factor. A scale of one tenth divides by ten: 213 becomes 21.3, not 21.300000000000001."""
    if scale is None:
        return None, None
    divisor = float(round(1 / scale)) if abs(scale) < 1 else 0.0
    return (divisor, None) if divisor and 1 / divisor == scale else (None, float(scale))


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


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Which signals of a machine there is something to do for."""

    sources: frozenset[int | None]  # they hold powers of ten
    more: frozenset[int]  # they have a rule beyond NaN
    floats: frozenset[int] | None  # NaN is possible; None: in all of them
    deadbands: bool  # some are only sent when they change


def needs_of(rules: Sequence[Rule]) -> Needs:
    """Worked out once for all batches of a machine."""
    floats = frozenset(i for i, rule in enumerate(rules) if rule.is_float)
    return Needs(
        sources=frozenset(rule.factor_from for rule in rules) - {None},
        more=frozenset(i for i, rule in enumerate(rules) if _needs_more(rule)),
        floats=None if len(floats) == len(rules) else floats,
        deadbands=any(rule.deadband is not None for rule in rules),
    )


def _needs_more(rule: Rule) -> bool:
    numbers = (rule.factor_from, rule.divisor, rule.factor, rule.low, rule.states)
    return bool(rule.shift) or any(number is not None for number in numbers)


class Steps:
    """The rules of the signals of one shape of batch."""

    def __init__(self, rules: Sequence[Rule], needs: Needs, signal: Sequence[int]) -> None:
        more, sources, floats = needs.more, needs.sources, needs.floats
        mine = [(at, rules[i]) for at, i in enumerate(signal) if i in more] if more else []
        # Positions of powers of ten:
        self.factors = tuple((at, i) for at, i in enumerate(signal) if i in sources) if sources else ()
        self._by_factor = [(at, rule.factor_from) for at, rule in mine if rule.factor_from is not None]
        self._linear = [
            *_linear(truediv, [(at, rule.divisor) for at, rule in mine]),
            *_linear(mul, [(at, rule.factor) for at, rule in mine]),
        ]
        self._shifted = [(at, rule.shift) for at, rule in mine if rule.shift]
        self._floats: Sequence[int] = (
            range(len(signal)) if floats is None else [at for at, i in enumerate(signal) if i in floats]
        )
        self._pick_floats = tuple if len(self._floats) == len(signal) else picker(self._floats)
        self._ranged = [(at, r.low, r.high) for at, r in mine if r.low is not None and r.high is not None]
        self._states = [(at, rule.states) for at, rule in mine if rule.states is not None]

    def run(self, values: list[Value], quality: list[int] | None, factors: Factors) -> list[int] | None:
        """Change both columns in place; the quality column that counts, None while all are good."""
        for at, i in self._by_factor:
            quality = _by_power(values, quality, at, factors.get(i, _UNREAD))
        for linear in self._linear:
            linear.run(values)
        for at, shift in self._shifted:
            if (value := values[at]) is not None:
                values[at] = value + shift  # type: ignore[operator]
        if self._floats and not _all_finite(self._pick_floats(values)):
            quality = self._drop_nan(values, quality)
        for at, low, high in self._ranged:
            value = values[at]
            if value is not None and not low <= value <= high:  # type: ignore[operator]
                quality = _worse(quality, len(values), at, OUT_OF_RANGE)
        for at, states in self._states:
            if (value := values[at]) is None:
                continue
            text = states.get(value)  # type: ignore[arg-type]
            if text is None:
                quality = _worse(quality, len(values), at, UNKNOWN_STATE)
            values[at] = str(value) if text is None else text
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
