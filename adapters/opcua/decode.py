"""From what a server sent to readings: quality, time and type as the gateway means them. Pure, and column by column.

status  kept whole, sub codes and flags too; bad: no value        time  the source's stamp, else the server's,
type    what the signal has had since start-up, else WRONG_TYPE         else the moment the answer arrived
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from adapters.opcua.wire import ARRAY, KINDS, Stamped, Tagged, Unreadable, Values
from gateway.model import (
    BAD,
    CONFIG_ERROR,
    EARLIEST,
    GOOD,
    INVALID_DATA,
    LATEST,
    NOT_AVAILABLE,
    UNCERTAIN,
    WRONG_TYPE,
    Batch,
    Header,
    Value,
    ValueType,
)

_1970 = 116_444_736_000_000_000  # in 100 ns since 1601, as are
_EARLIEST, _LATEST = EARLIEST // 100 + _1970, LATEST // 100 + _1970
_OVERFLOW = 0x0480  # info type data value, overflow: Part 4, 7.39
_EXACT = 2**53  # beyond it not every whole number is a float


def nanoseconds(ticks: int, otherwise: int) -> int:
    """A time stamp of a server in ns since 1970; where it stands for none, the other."""
    return (ticks - _1970) * 100 if _EARLIEST <= ticks < _LATEST else otherwise


def batch(header: Header, types: Sequence[ValueType], values: Values, arrival: int) -> Batch:
    """Readings of one machine. `types`: what each signal of the header has to be; `arrival` in ns since 1970."""
    time = _times(values.time, arrival)
    kinds = list(map(KINDS.__getitem__, values.type))
    wanted = list(map(types.__getitem__, values.signal))
    if not any(values.status) and kinds == wanted and None not in values.value:
        whole = len(values.signal) == len(header.order) and tuple(values.signal) == header.order
        return Batch(header, header.order if whole else values.signal, time, values.value, None)
    column, quality = [], []
    for i, kind, code, value, status in zip(
        values.signal, kinds, values.type, values.value, values.status, strict=True
    ):
        value, status = _reading(kind, types[i], code, value, status)
        column.append(value)
        quality.append(status)
    return Batch(header, values.signal, time, column, quality if any(quality) else None)


def _times(stamps: Sequence[int], arrival: int) -> list[int]:
    """Many servers give one stamp to all that changed in a cycle."""
    if stamps and stamps[0] == stamps[-1] and stamps.count(stamps[0]) == len(stamps):
        return [nanoseconds(stamps[0], arrival)] * len(stamps)
    return [(t - _1970) * 100 if _EARLIEST <= t < _LATEST else arrival for t in stamps]


def overflowed(values: Values) -> list[int]:
    """The handles of those at which the server dropped values because its queue was full."""
    return [h for h, status in zip(values.signal, values.status, strict=True) if status & _OVERFLOW == _OVERFLOW]


def _reading(kind: ValueType | None, wanted: ValueType, code: int, value: Any, status: int) -> tuple[Value, int]:
    if status >= BAD:
        return None, status
    while isinstance(value, (Tagged, Stamped)):  # a Variant of a DataValue: what is in it
        if isinstance(value, Stamped) and value.status >= UNCERTAIN > status:
            status = value.status
        code, value = value.type, value.value
        kind = KINDS[code]
        if status >= BAD:
            return None, status
    if isinstance(value, Unreadable):
        return None, INVALID_DATA
    if kind is None and code:
        return None, CONFIG_ERROR  # an array or a structure, of which nothing was picked
    if value is None:
        return None, NOT_AVAILABLE
    if kind == wanted:
        return value, status
    convert = _CONVERSIONS.get((kind, wanted))
    value = convert(value) if convert else None
    return (None, WRONG_TYPE) if value is None else (value, status)


def unsupported(code: int) -> str:
    """What a type is that gives CONFIG_ERROR, and what to write."""
    if code & ARRAY:
        return "an array: write `index:` for one of its elements, or `count:` for several"
    return "a structure: write `field:` for one of its fields"


class Stamps:
    """No two readings of a signal with the same microsecond, which is all that a payload keeps: later ones move on.

    Many servers have clocks of milliseconds, some of seconds, and some give a value the stamp it has had for ever. The
    same reading once more, as it is read when a session is taken over, is the same reading, with its time.
    """

    def __init__(self) -> None:
        self._newest = 0  # µs
        self._last: dict[int, tuple[int, int, Value, int]] = {}  # signal -> stamp, time it was given, value, quality

    def apart(self, batch: Batch) -> Batch:
        """The same readings, each at a time of its own."""
        signal, time, quality = batch.signal, batch.time, batch.quality or repeat(GOOD)
        if not time:
            return batch
        once = signal is batch.header.order or len(set(signal)) == len(signal)
        if not once or min(time) // 1000 <= self._newest:
            time = list(map(self._given, signal, time, batch.value, quality))
            batch = replace(batch, time=time) if time != batch.time else batch
        else:
            self._last.update(zip(signal, zip(time, time, batch.value, quality, strict=False), strict=False))
        self._newest = max(self._newest, max(time) // 1000)
        return batch

    def _given(self, signal: int, stamp: int, value: Value, quality: int) -> int:
        before, given, *reading = self._last.get(signal, (0, 0, None, GOOD))
        if stamp // 1000 != before // 1000:
            given = stamp
        elif reading != [value, quality]:
            given += 1000
        self._last[signal] = stamp, given, value, quality
        return given


# Only what loses nothing: None where it would.
_CONVERSIONS: Mapping[tuple[ValueType | None, ValueType], Callable[[Value], Value]] = {
    ("int", "float"): lambda v: float(v) if isinstance(v, int) and abs(v) <= _EXACT else None,
    ("float", "int"): lambda v: int(v) if isinstance(v, float) and v.is_integer() else None,
    ("bool", "int"): lambda v: int(v) if isinstance(v, bool) else None,
    ("int", "bool"): lambda v: bool(v) if v in (0, 1) else None,
}
