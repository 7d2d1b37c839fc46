"""The values of a server that says once more what a machine said: the bytes that were recorded, with times of now.

Told ─ Times ─▶ Cell ─┬─ listeners: a DataValue, byte for byte but for its time stamps (monitoring.py)
                      └─ read: a DataValue of asyncua's, made when somebody asks for it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

import asyncua.ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, variant_from_binary

from simulators.opcua.replay.wire import DATE_TIME, BrokenError, Reader, Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_1601 = datetime(1601, 1, 1, tzinfo=UTC)
_TO_1970 = 116_444_736_000_000_000  # in 100 ns
_LAST = 2_650_467_743_990_000_000  # 9999-12-31T23:59:59 and later stand for no time: Part 6, 5.2.2.5
_EXTENSION_OBJECT, _ARRAY = ua.VariantType.ExtensionObject.value, 0x80
_RANGE = ua.NodeId(ua.ObjectIds.Range_Encoding_DefaultBinary)
_MOST_PARTS = 1_000_000  # of a value that is decoded: a second of work

Listener = Callable[[int, Any], Awaitable[None]]


class Times(NamedTuple):
    """From times of the recording to times of the replay, both in ns since 1970.

    What was stamped before the recording began keeps its distance, whatever the speed; so a part that was made in 2004
    was not made in 2014 at twice the speed.
    """

    recorded: int  # the beginning of the recording
    replayed: int  # the same in the replay
    speed: float = 1.0
    kept: bool = False  # stamps are left as they are
    again: bool = False  # it was played before: what is older than the recording is as old as this round

    def of(self, time: int) -> int:
        passed = time - self.recorded
        passed = max(0, passed) if self.again else passed
        return self.replayed + (passed if passed < 0 or self.speed == 1.0 else round(passed / self.speed))

    def ticks(self, ticks: int | None) -> int | None:
        """The same for a DateTime; what stands for no time stays."""
        if ticks is None or self.kept or not 0 < ticks < _LAST:
            return ticks
        return self.of((ticks - _TO_1970) * 100) // 100 + _TO_1970

    def told(self, told: Told) -> Told:
        """The same value at another time."""
        return told._replace(source=self.ticks(told.source), server=self.ticks(told.server))


def nanoseconds(ticks: int | None) -> int | None:
    """A DateTime in ns since 1970; None for no time."""
    return None if ticks is None or not _TO_1970 < ticks < _LAST else (ticks - _TO_1970) * 100


# --- as asyncua has them ---------------------------------------------------------------------------------------------


class _Ticks(int):
    """What asyncua divides by a microsecond and multiplies by ten."""

    def __floordiv__(self, _: object) -> Self:
        return self

    def __rmul__(self, _: object) -> int:
        return int(self)


class Stamp(datetime):
    """A DateTime to its 100 ns, of which asyncua has ten in one."""

    ticks: int

    @classmethod
    def of(cls, ticks: int) -> Stamp:
        """Raises OverflowError."""
        time = _1601 + timedelta(microseconds=ticks // 10)
        stamp = cls.combine(time.date(), time.timetz())
        stamp.ticks = ticks
        return stamp

    def __sub__(self, _: object) -> _Ticks:  # type: ignore[override]  # what asyncua does to encode it
        return _Ticks(self.ticks)


def _time(ticks: int | None) -> Any:
    if ticks is None:
        return None
    try:
        return Stamp.of(ticks) if 0 < ticks < _LAST else _1601
    except OverflowError:
        return _1601


class _Careful(Buffer):
    """asyncua's, which goes backwards for lengths below zero, and makes objects of single bytes as long as there are any."""

    def __init__(self, data: bytes, start_pos: int = 0, size: int = -1, parts: list[int] | None = None) -> None:
        super().__init__(data, start_pos, size)
        self._parts = [0] if parts is None else parts  # shared with its copies

    def read(self, size: int) -> bytes:
        self._parts[0] += 1
        if size < 0 or self._parts[0] > _MOST_PARTS:
            raise BrokenError(f"{size} bytes announced, or too many parts")
        return super().read(size)

    def skip(self, size: int) -> None:
        if size < 0:
            raise BrokenError(f"{size} bytes announced")
        super().skip(size)

    def copy(self, size: int = -1) -> Buffer:
        copied = super().copy(size)
        return _Careful(copied._data, copied._cur_pos, len(copied), self._parts)


def variant_of(data: bytes | None) -> Any:
    """A Variant of asyncua's. Raises BrokenError where it cannot have it."""
    if not data:
        return ua.Variant(None, ua.VariantType.Null)
    kind = data[0] & 0x3F
    try:
        if kind == DATE_TIME and data[0] == kind:
            return ua.Variant(_time(Reader(data, 1).i64()), ua.VariantType.DateTime)
        if kind == _EXTENSION_OBJECT and not data[0] & 0x40:
            reader = Reader(data, 1)
            value = reader.array(lambda: _object(reader)) if data[0] & _ARRAY else _object(reader)
            return ua.Variant(value, ua.VariantType.ExtensionObject)
        if not kind and data[0] & _ARRAY:
            raise BrokenError("an array of nothing")
        return variant_from_binary(_Careful(data))
    except BrokenError:
        raise
    except Exception as exc:  # whatever asyncua raises over it
        raise BrokenError(f"{type(exc).__name__}: {exc}") from exc


def _object(reader: Reader) -> Any:
    """As it came; but a Range, which asyncua's server needs for deadbands."""
    type, body = reader.extension_object()
    return struct_from_binary(ua.Range, _Careful(body)) if type == _RANGE and body else ua.ExtensionObject(type, body)


def data_value(told: Told) -> Any:
    """A DataValue of asyncua's; what it cannot have is Bad_DecodingError."""
    try:
        variant = variant_of(told.variant)
    except BrokenError:
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadDecodingError))
    status = None if told.status is None else ua.StatusCode(told.status)
    # asyncua has these two in another order than Part 6, 5.2.2.17, so both together cannot be.
    picoseconds = told.source_picoseconds if told.server is None else None
    return ua.DataValue(variant, status, _time(told.source), _time(told.server), picoseconds, told.server_picoseconds)


# --- what is served --------------------------------------------------------------------------------------------------


class Cell:
    """The value of one variable, as `monitoring.Change` and as asyncua reads it."""

    __slots__ = ("_is_clock", "_listeners", "_read", "encoded", "shown", "told")

    def __init__(self, attribute: Any, told: Told, times: Times, *, is_clock: bool = False) -> None:
        """`attribute`: asyncua's AttributeValue, which from now on asks here, and in which nobody else can write.

        `is_clock`: the value is a time that goes along with the time stamps.
        """
        self._is_clock = is_clock
        self.told = told  # as it was recorded
        self.encoded = b""  # a DataValue
        self._listeners: Mapping[int, Any] = attribute.datachange_callbacks
        self._read: Any = None
        self._show(told, times)
        attribute.value_callback = self.read
        attribute.value_setter = lambda *_: None

    @property
    def status(self) -> int:
        return self.told.code

    @property
    def value(self) -> Any:
        """As in its Variant; None where it has none that can be read."""
        try:
            return variant_of(self.shown.variant).Value
        except BrokenError:
            return None

    def read(self, *_: object) -> Any:
        """A DataValue."""
        if self._read is None:
            self._read = data_value(self.shown)
        return self._read

    async def put(self, told: Told, times: Times, reported: bool) -> bool:
        """Another value, status or time from now on; whether it was another one.

        Who listens is told where the recorded client was told by itself, and where value or status are others.
        """
        before = self.told
        if told[:3] == before[:3]:
            return False
        self._show(told, times)
        if self._listeners and (reported or told[:2] != before[:2]):
            for handle, listener in list(self._listeners.items()):
                if (take := getattr(listener, "take", None)) is None:
                    await listener(handle, self.read())  # asyncua's own
                elif take(self):
                    await listener.publish()
        return True

    def begin(self, times: Times, now: int) -> None:
        """The same value at another time, and not from later than now (ns since 1970)."""
        told = self._moved(times)
        if not times.kept:
            latest = now // 100 + _TO_1970
            source = None if told.source is None else min(told.source, latest)
            server = None if told.server is None else min(told.server, latest)
            told = told._replace(source=source, server=server)
        self.shown, self.encoded, self._read = told, told.encoded(), None

    def _show(self, told: Told, times: Times) -> None:
        self.told = told
        self.shown = self._moved(times)
        self.encoded, self._read = self.shown.encoded(), None

    def _moved(self, times: Times) -> Told:
        told = times.told(self.told)
        if self._is_clock and told.variant and told.variant[0] == DATE_TIME:
            ticks = times.ticks(Reader(told.variant, 1).i64()) or 0
            told = told._replace(variant=told.variant[:1] + ticks.to_bytes(8, "little", signed=True))
        return told
