"""One plan per header: everything that depends on the configuration alone is worked out before the first poll.

    Batch ─▶ scale, offset ─▶ no NaN ─▶ range ─▶ enum ─▶ what is news ─▶ Batch, or None when there is nothing to say

A plan is made of rules, one per signal. Batches of the same shape (the same tuple of signal numbers) share a `_Shape`:
the positions in the columns at which each kind of rule has something to do, so that a column without rules costs nothing.
Bad readings are sent once, when they begin; everything else as `report` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from operator import itemgetter
from typing import Any

from gateway.config import SignalSettings
from gateway.model import (
    GOOD,
    NOT_A_NUMBER,
    OUT_OF_RANGE,
    STALE,
    UNKNOWN_STATE,
    Batch,
    Header,
    Signal,
    Value,
    is_bad,
    is_good,
)

_MAX_SHAPES = 64  # a machine has one per combination of poll rates; an adapter that makes more gets no more cached
_MISSED_POLLS = 3  # a signal polled once a minute is not stale after ten seconds: it has missed nothing yet


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is done to the readings of one signal."""

    signal: Signal  # as it leaves
    is_float: bool  # NaN and infinity are possible
    scale: Callable[[Any], float] | None
    low: float | None
    high: float | None
    states: Mapping[int, str] | None
    deadband: float | None  # None: every reading is sent
    heartbeat: float
    stale_after: float


_Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(slots=True)
class _Shape:
    """The positions in a batch's columns at which there is something to do."""

    signal: Sequence[int]  # kept, so that its identity stays taken
    floats: list[int] = field(default_factory=list)
    scaled: list[tuple[int, Callable[[Any], float]]] = field(default_factory=list)
    ranged: list[tuple[int, float, float]] = field(default_factory=list)
    states: list[tuple[int, Mapping[int, str]]] = field(default_factory=list)
    changes: bool = False  # some are sent only when they change
    pick: _Pick | None = None  # the floats of a column
    # What came last, so that a signal that stays bad costs its neighbours nothing:
    version: int = -1  # of the plan's bad signals
    quality: list[int] | None = None
    good: _Pick | None = None  # what is left of a column without the bad ones; None: all of it


class Plan:
    """Normalizes the batches of one machine. `header` is the one that leaves; keeps what was sent last."""

    def __init__(self, raw: Header, settings: Mapping[str, SignalSettings]) -> None:
        """`raw`: as the adapter made it, with the types before scaling. `settings`: by the name of the signal."""
        self._rules = [_rule(signal, settings[signal.name]) for signal in raw.signals]
        self._raw = raw
        self.header = Header(raw.path, tuple(rule.signal for rule in self._rules))
        self._shortest = min((rule.stale_after for rule in self._rules), default=0.0)
        self._shapes: dict[int, _Shape] = {}
        n = len(self._rules)
        self._bad: dict[int, int] = {}  # signals whose last reading sent was bad, and its quality
        self._version = 0  # counts the changes of _bad
        self._marked: dict[int, int] = {}  # signals that we declared bad ourselves, and the time of that
        self._sent_value: list[Value] = [None] * n  # with `report: change`
        self._sent_quality: list[int] = [-1] * n  # -1: nothing sent yet
        self._sent_at = [0.0] * n
        self._alive = 0.0
        self.seen: Batch | None = None  # the last batch, normalized, before what was said already was taken out

    def apply(self, batch: Batch, now: float, now_ns: int) -> Batch | None:
        """The readings to send. `now` is Clock.monotonic(), `now_ns` Clock.now()."""
        self._alive = now
        shape = self._shape_of(batch.signal)
        values = list(batch.value)
        quality = None if batch.quality is None else list(batch.quality)
        time = self._after_marks(batch, now_ns) if self._marked else batch.time
        for at, scale in shape.scaled:
            if (value := values[at]) is not None:
                values[at] = scale(value)
        if shape.pick is not None and not _all_finite(shape.pick(values)):
            quality = self._drop_nan(shape, values, quality)
        for at, low, high in shape.ranged:
            value = values[at]
            if value is not None and not low <= value <= high:  # type: ignore[operator]
                quality = _worse(quality, len(values), at, OUT_OF_RANGE)
        for at, states in shape.states:
            if (value := values[at]) is None:
                continue
            text = states.get(value)  # type: ignore[arg-type]
            if text is None:
                quality = _worse(quality, len(values), at, UNKNOWN_STATE)
            values[at] = str(value) if text is None else text
        return self._to_send(shape, time, values, quality, now)

    def lost(self, quality: int, now: float, now_ns: int) -> Batch | None:
        """The link is gone: every signal is bad from now on, until a reading arrives."""
        return self._mark([i for i in self.header.order if self._bad.get(i) != quality], quality, now, now_ns)

    def alive(self, now: float) -> None:
        """The link gave a sign of life, without readings."""
        self._alive = now

    def stale(self, now: float, now_ns: int) -> Batch | None:
        """What has gone stale since it was last asked: bad from now on, until a reading arrives."""
        silent = now - self._alive
        if not self._alive or silent <= self._shortest:
            return None
        gone = [i for i, rule in enumerate(self._rules) if silent > rule.stale_after and i not in self._bad]
        return self._mark(gone, STALE, now, now_ns)

    def _mark(self, signals: list[int], quality: int, now: float, now_ns: int) -> Batch | None:
        if not signals:
            return None
        self._version += 1
        for i in signals:
            self._bad[i] = self._sent_quality[i] = quality
            self._sent_value[i], self._sent_at[i] = None, now
            self._marked[i] = now_ns
        n = len(signals)
        whole = n == len(self._rules)
        self.seen = Batch(self.header, self.header.order if whole else signals, [now_ns] * n, [None] * n, [quality] * n)
        return self.seen

    def _after_marks(self, batch: Batch, now_ns: int) -> Sequence[int]:
        """The times of a batch, of which the first after a mark of ours must not lie before it.

        A server repeats an unchanged value with its old stamp, and clocks of machines are behind: the store would then
        have the mark as the newest reading, and the signal would stay bad there. It was confirmed when it arrived.
        """
        time, marks = list(batch.time), self._marked
        for at, i in enumerate(batch.signal):
            if time[at] <= marks.get(i, -1):
                time[at] = now_ns
        for i in set(batch.signal):
            marks.pop(i, None)
        return time

    def forget(self) -> None:
        """After a reconnect: everything is sent again, changed or not."""
        self._sent_quality = [-1] * len(self._rules)

    def follow(self, raw: Header) -> bool:
        """Go on with a header that an adapter made anew. False if it is another one, which needs another plan."""
        if raw.signals != self._raw.signals or raw.path != self._raw.path:
            return False
        self._raw = raw
        self._shapes.clear()
        return True

    @property
    def bad(self) -> Mapping[int, int]:
        """The signals that are bad now, by their index, with their quality."""
        return self._bad

    # --- steps -------------------------------------------------------------------------------------------------------

    def _shape_of(self, signal: Sequence[int]) -> _Shape:
        shape = self._shapes.get(id(signal))
        if shape is None:
            shape = self._make_shape(signal)
            if isinstance(signal, tuple) and len(self._shapes) < _MAX_SHAPES:
                self._shapes[id(signal)] = shape
        return shape

    def _make_shape(self, signal: Sequence[int]) -> _Shape:
        shape = _Shape(signal)
        for at, i in enumerate(signal):
            rule = self._rules[i]
            if rule.is_float:
                shape.floats.append(at)
            if rule.scale is not None:
                shape.scaled.append((at, rule.scale))
            if rule.low is not None and rule.high is not None:
                shape.ranged.append((at, rule.low, rule.high))
            if rule.states is not None:
                shape.states.append((at, rule.states))
            shape.changes = shape.changes or rule.deadband is not None
        if shape.floats:
            shape.pick = tuple if len(shape.floats) == len(signal) else _picker(shape.floats)
        return shape

    def _drop_nan(self, shape: _Shape, values: list[Value], quality: list[int] | None) -> list[int] | None:
        for at in shape.floats:
            value = values[at]
            if isinstance(value, float) and not isfinite(value):
                values[at] = None
                quality = _worse(quality, len(values), at, NOT_A_NUMBER)
        return quality

    def _to_send(
        self, shape: _Shape, time: Sequence[int], values: list[Value], quality: list[int] | None, now: float
    ) -> Batch | None:
        """Without what was said before."""
        signal: Sequence[int] = self.header.order if shape.signal is self._raw.order else shape.signal
        self.seen = everything = Batch(self.header, signal, time, values, quality)
        if not shape.changes:
            if quality is None and not self._bad:
                return everything if values else None
            if shape.version == self._version and shape.quality == quality:
                return everything if shape.good is None else self._without_bad(shape, everything)
        column = quality or [GOOD] * len(values)
        keep = [at for at, i in enumerate(signal) if self._is_news(i, values[at], column[at], now)]
        good = [at for at, q in enumerate(column) if not is_bad(q)]
        shape.version, shape.quality = self._version, quality
        shape.good = None if len(good) == len(values) else _picker(good)
        if not keep:
            return None
        if len(keep) == len(values):
            return everything
        return Batch(
            self.header,
            [signal[at] for at in keep],
            [time[at] for at in keep],
            [values[at] for at in keep],
            [column[at] for at in keep] if quality else None,
        )

    def _without_bad(self, shape: _Shape, batch: Batch) -> Batch | None:
        """What is bad was said before."""
        pick = shape.good
        assert pick is not None
        if not (signal := pick(batch.signal)):
            return None
        quality = pick(batch.quality) if batch.quality is not None else None
        return Batch(self.header, signal, pick(batch.time), pick(batch.value), quality)

    def _is_news(self, i: int, value: Value, quality: int, now: float) -> bool:
        """Whether this reading of signal i says something new; if so, it counts as sent."""
        rule = self._rules[i]
        if is_bad(quality):
            again = self._bad.get(i) == quality
            if again and (rule.deadband is None or now - self._sent_at[i] < rule.heartbeat):
                return False
            if not again:
                self._bad[i] = quality
                self._version += 1
        elif self._bad.pop(i, None) is not None:
            self._version += 1
        if rule.deadband is None:
            return True
        if quality == self._sent_quality[i] and now - self._sent_at[i] < rule.heartbeat:
            last = self._sent_value[i]
            if value == last or (rule.deadband and abs(value - last) <= rule.deadband):  # type: ignore[operator]
                return False
        self._sent_value[i], self._sent_quality[i], self._sent_at[i] = value, quality, now
        return True


def _rule(raw: Signal, s: SignalSettings) -> _Rule:
    signal = replace(
        raw,
        unit=raw.unit if s.unit == "from-server" else s.unit,
        description=s.description or raw.description,
        kind=s.kind,
        low=s.range[0] if s.range else raw.low,
        high=s.range[1] if s.range else raw.high,
        states=s.enum or raw.states,
    )
    numeric = raw.type in ("float", "int")
    scale = _scale(s.scale, s.offset) if numeric else None
    if s.enum:
        signal = replace(signal, type="string")
    elif scale is not None:
        signal = replace(signal, type="float")
    is_number = signal.type in ("float", "int")
    return _Rule(
        signal=signal,
        is_float=signal.type == "float",
        scale=scale,
        low=s.range[0] if s.range and is_number else None,
        high=s.range[1] if s.range and is_number else None,
        states=s.enum if raw.type != "string" else None,
        deadband=None if s.report == "all" else (s.deadband or 0.0) if is_number else 0.0,
        heartbeat=s.heartbeat,
        stale_after=max(s.stale_after, _MISSED_POLLS * s.poll),
    )


def _scale(scale: float | None, offset: float | None) -> Callable[[Any], float] | None:
    """value = raw * scale + offset. A scale of one tenth divides by ten: 213 becomes 21.3, not 21.300000000000001."""
    if scale is None and offset is None:
        return None
    factor, shift = 1.0 if scale is None else float(scale), float(offset or 0.0)
    divisor = float(round(1 / factor)) if abs(factor) < 1 else 0.0
    if divisor and 1 / divisor == factor:
        return (lambda raw: raw / divisor + shift) if shift else (lambda raw: raw / divisor)
    return (lambda raw: raw * factor + shift) if shift else (lambda raw: raw * factor)


def _picker(positions: Sequence[int]) -> _Pick:
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
