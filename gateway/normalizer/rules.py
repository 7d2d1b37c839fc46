"""What the configuration says of each signal, worked out once: numbers to work with, and the signal as it leaves. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, nextafter, ulp

from gateway.config import SignalSettings
from gateway.config.fields import Percent
from gateway.config.signals import FROM_SERVER, exact
from gateway.model import Signal, ValueType

_MISSED_POLLS = 3  # a signal polled once a minute is not stale after ten seconds: it has missed nothing yet
_NOISE = 1e-9  # of a range: arithmetic in floats must not push a value over its end
# Where types of 8, 16, 32 and 64 bits with a sign have their first number below 0; those without one end elsewhere.
_HALVES = frozenset((1 << 7, 1 << 15, 1 << 31, 1 << 63))


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done to the readings of one signal."""

    signal: Signal  # as it leaves
    is_float: bool  # NaN and infinity are possible
    factor_from: int | None  # index of the signal that holds the power of ten
    divisor: float | None  # value = raw / divisor, or
    factor: float | None  # value = raw * factor, then
    shift: float  # + shift
    ends: tuple[float, float] | None  # where the value is held back (`clamp`)
    low: float | None
    high: float | None
    counts: bool  # it is a counter, to be corrected
    wraps_at: float | None  # in raw numbers, as
    sign: float | None  # how many numbers its type has, if they have a sign, and
    max_count: float | None  # per second: of a counter
    max_rate: float | None  # per second, of anything else
    flat_after: float | None  # seconds
    precision: int | None
    states: Mapping[int, str] | None
    held_to: ValueType | None  # the type it has had, where it is another one now
    deadband: float | None  # None: every reading is sent
    door: bool  # the deadband is that of a swinging door
    heartbeat: float
    beats: bool  # is sent again at the heartbeat, though every reading is sent
    poll: float
    stale_after: float


def rule_of(raw: Signal, s: SignalSettings, places: Mapping[str, int]) -> Rule:
    """`raw`: as the adapter made it. `places`: the index of each signal by name."""
    # An empty `enum` means the texts that the adapter has learnt; numbers stay numbers where it has learnt none.
    states = None if s.enum is None else (s.enum or raw.states or None)
    numeric = raw.type in ("float", "int")
    divisor, factor, shift, scaled = _linear(s) if numeric else (None, None, 0.0, False)
    multiply, add = s.conversion
    ends = None if s.range is None else _turned(s.range, multiply, add)
    signal = replace(
        raw,
        unit=s.store_as or (raw.unit if s.unit == FROM_SERVER else s.unit),
        description=s.description or raw.description,
        semantic=s.semantic or raw.semantic,
        kind="event" if raw.kind == "event" else s.kind,
        low=ends[0] if ends else raw.low,
        high=ends[1] if ends else raw.high,
        precision=s.precision,
        states=states or raw.states,
        wraps_at=None,
    )
    if states:
        signal = replace(signal, type="string")
    elif scaled:
        signal = replace(signal, type="float")
        if s.range is None and raw.low is not None and raw.high is not None:
            # The range that a machine tells is that of its raw values; with a factor that changes there is none.
            low, high = (end / divisor if divisor else end * (factor or 1.0) for end in (raw.low, raw.high))
            ends = None if s.scale_from else (min(low, high) + shift, max(low, high) + shift)
            signal = replace(signal, low=ends and ends[0], high=ends and ends[1])
    is_number = signal.type in ("float", "int")
    counts = s.kind == "counter" and is_number
    margin = 0.0 if s.range is None else (ends[1] - ends[0] if ends else 0.0) * (_NOISE if scaled else 0.0)
    width = _whole(s.width or raw.wraps_at)
    return Rule(
        signal=raw if signal == raw else signal,  # of a hundred thousand, one object each is enough
        is_float=signal.type == "float",
        factor_from=places.get(s.scale_from or "") if numeric else None,
        divisor=divisor,
        factor=factor,
        shift=shift,
        ends=_turned(s.scaled_range, multiply, add) if s.clamp and s.scaled_range and is_number else None,
        low=ends[0] - margin if s.range and ends and is_number else None,
        high=ends[1] + margin if s.range and ends and is_number else None,
        counts=counts,
        wraps_at=_whole(s.rollover) or width if counts else None,
        sign=2 * width if counts and width in _HALVES else None,
        max_count=s.max_rate / (s.scale or 1.0) if counts and s.max_rate else None,
        max_rate=s.max_rate * abs(multiply) if s.max_rate and is_number and not counts else None,
        flat_after=s.flat_after if is_number else None,
        precision=s.precision if is_number and (signal.type == "float" or (s.precision or 0) < 0) else None,
        states=states if raw.type != "string" else None,
        held_to=None,
        deadband=None if s.report == "all" else _deadband(signal, s.deadband, multiply) if is_number else 0.0,
        door=s.report == "swinging-door" and is_number,
        heartbeat=s.heartbeat,
        beats=s.report == "all" and "heartbeat" in s.model_fields_set,
        poll=s.poll,
        stale_after=max(s.stale_after, _MISSED_POLLS * s.poll),
    )


def _whole(number: float | None) -> float | None:
    """A counter of whole numbers stays one when it goes round."""
    return int(number) if number is not None and number == int(number) else number


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a counter's total leaves, and the way back. `precision`: how it is rounded then; `unit`: in which it leaves."""

    divisor: float | None
    factor: float | None
    shift: float
    precision: int | None
    unit: str = ""

    def leaving(self, total: float) -> float:
        """As it leaves, before it is rounded."""
        scaled = total / self.divisor if self.divisor else total * self.factor if self.factor else total
        return scaled + self.shift if self.shift else scaled

    def raw(self, left: float) -> float:
        """The total in raw numbers."""
        raw = left - self.shift if self.shift else left
        return raw * self.divisor if self.divisor else raw / self.factor if self.factor else raw

    def raw_of_at_least(self, left: float) -> float:
        """The total in raw numbers that does not leave as less. It is a whole number where that is one."""
        raw = self.raw(left)
        whole = round(raw)
        if abs(raw - whole) <= min(_NOISE * max(1.0, abs(raw)), 1e-3) and self.leaving(whole) >= left:
            return whole
        digit = ulp(left) * (self.divisor or 1 / (self.factor or 1.0))
        while self.leaving(raw) < left:  # by its last digits, which with a shift are not those of the raw number
            raw = max(nextafter(raw, inf), raw + digit)
        return raw if self.divisor or self.factor or isinstance(left, float) else ceil(raw)


def scaling_of(rule: Rule) -> Scaling:
    """Of a counter."""
    return Scaling(rule.divisor, rule.factor, rule.shift, rule.precision, rule.signal.unit)


def held_to(rule: Rule, type_: ValueType | None) -> Rule:
    """The same rule for a signal that has had this type when it left, and keeps it.

    A whole number can be the float it was; a type that was only guessed so far was the other one all the time.
    """
    if type_ is None or type_ == rule.signal.type:
        return rule
    signal = replace(rule.signal, type=type_)
    return replace(rule, signal=signal, held_to=None if signal.guessed else type_)


def _linear(s: SignalSettings) -> tuple[float | None, float | None, float, bool]:
    """Divisor or factor, shift, and whether a whole number becomes a float by them."""
    scale, offset = s.linear
    multiply, add = s.conversion
    if multiply != 1.0 or add:
        offset = float(exact(offset or 0.0) * exact(multiply) + exact(add))
        scale = float(exact(1.0 if scale is None else scale) * exact(multiply))
    scaled = scale is not None or offset is not None or s.scale_from is not None
    divisor, factor = _scaling(scale) if scaled else (None, None)
    if scaled and s.scale_from is None and divisor is None and factor is None:
        factor = 1.0  # an offset makes a whole number a float
    return divisor, factor, offset or 0.0, scaled


def _turned(ends: tuple[float, float], factor: float, shift: float) -> tuple[float, float]:
    """A range in another unit, the lower end first."""
    low, high = sorted(end if factor == 1.0 and not shift else end * factor + shift for end in ends)
    return low, high


def _deadband(signal: Signal, deadband: float | None, multiply: float) -> float:
    """In the unit in which it leaves."""
    if not isinstance(deadband, Percent):
        return (deadband or 0.0) * abs(multiply)
    return (signal.high - signal.low) * deadband / 100 if signal.low is not None and signal.high is not None else 0.0


def _scaling(scale: float | None) -> tuple[float | None, float | None]:
    """Divisor or factor. A scale of one tenth divides by ten: 213 becomes 21.3, not 21.300000000000001."""
    if scale is None:
        return None, None
    divisor = float(round(1 / scale)) if abs(scale) < 1 else 0.0
    return (divisor, None) if divisor and 1 / divisor == scale else (None, float(scale))


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
        deadbands=any(rule.deadband is not None or rule.beats for rule in rules),
    )


def _needs_more(rule: Rule) -> bool:
    numbers = (
        rule.factor_from, rule.divisor, rule.factor, rule.ends, rule.low, rule.states, rule.precision, rule.max_rate,
        rule.flat_after, rule.held_to,
    )  # fmt: skip
    return bool(rule.shift) or rule.counts or any(number is not None for number in numbers)
