"""From the bytes of an answer to columns: as much of the binary encoding (Part 6, 5.2) as values need.

    PublishResponse ─▶ Published: Values          A value whose bytes have a known shape (encoding mask and type of a
    ReadResponse ────────────────▶ Values         number) is one `unpack`; the rest is read field by field.

What the gateway has no use for yet, arrays and structures, is stepped over. Raises GarbledError for what is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from struct import Struct, error
from typing import Any
from uuid import UUID

from gateway.model import Value, ValueType

# --- types -----------------------------------------------------------------------------------------------------------

ARRAY = 0x80  # set in the type of an array
_NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
_KINDS: dict[int, ValueType] = {
    1: "bool",
    **dict.fromkeys(range(2, 10), "int"),
    **dict.fromkeys((10, 11), "float"),
    **dict.fromkeys((12, 13, 14, 15, 16, 17, 18, 20, 21), "string"),
    19: "int",
}
KINDS: tuple[ValueType | None, ...] = tuple(_KINDS.get(code) for code in range(256))
"""What the values of each built-in type are here (Part 6, table 1); None: nothing we can carry."""


class GarbledError(ValueError):
    """Bytes that are not what they should be."""


@dataclass(slots=True)
class Values:
    """Values in columns, as the server sent them. All are equally long."""

    signal: list[int] = field(default_factory=list)  # client handle, or position in the request
    type: list[int] = field(default_factory=list)  # built-in type, with ARRAY; 0: null
    value: list[Value] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)  # source or else server time stamp; 100 ns since 1601, 0: none

    def only(self, rows: Sequence[int]) -> Values:
        """Some of them."""
        return Values(*([column[row] for row in rows] for column in self._columns()))

    def extend(self, more: Values) -> None:
        for column, other in zip(self._columns(), more._columns(), strict=True):
            column.extend(other)

    def _columns(self) -> tuple[list[Any], ...]:
        return self.signal, self.type, self.value, self.status, self.time

    def add(self, signal: int, type: int, value: Value, status: int, time: int) -> None:
        self.signal.append(signal)
        self.type.append(type)
        self.value.append(value)
        self.status.append(status)
        self.time.append(time)


@dataclass(slots=True)
class Published:
    """What a publish response brought; without values it only kept the subscription alive."""

    result: int  # of the service
    subscription: int
    sequence: int
    values: Values | None = None
    ended: int | None = None  # the status with which the server gave up the subscription


# --- answers ---------------------------------------------------------------------------------------------------------

_DATA_CHANGE, _STATUS_CHANGE = "i=811", "i=820"  # encodings in binary


def publish_response(data: bytes) -> Published:
    """Read a PublishResponse (Part 4, 5.14.5)."""
    try:
        reader = Reader(data)
        result = reader.response_header()
        subscription = reader.number("I")
        reader.skip_array(4)  # sequence numbers that could be sent again
        reader.number("?")  # more notifications
        published = Published(result, subscription, 0)
        reader.notification_message(published)
        return published
    except (error, IndexError) as exc:
        raise GarbledError(f"a publish response that ends too early: {exc}") from exc


def republish_response(subscription: int, data: bytes) -> Published:
    """Read a RepublishResponse (Part 4, 5.14.6)."""
    try:
        reader = Reader(data)
        published = Published(reader.response_header(), subscription, 0)
        reader.notification_message(published)
        return published
    except (error, IndexError) as exc:
        raise GarbledError(f"a republish response that ends too early: {exc}") from exc


def read_response(data: bytes) -> tuple[int, Values]:
    """Read a ReadResponse (Part 4, 5.11.2): the result of the service, and the values in the order of the request."""
    try:
        reader = Reader(data)
        result = reader.response_header()
        values = Values()
        for i in range(reader.number("i")):
            values.add(i, *reader.data_value())
        return result, values
    except (error, IndexError) as exc:
        raise GarbledError(f"a read response that ends too early: {exc}") from exc


# --- known shapes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """A monitored item with one encoding mask and one numeric type."""

    unpack: Callable[[bytes, int], tuple[int, ...]]
    size: int
    type: int
    status: int  # where the status stands in what unpack returns; 0: nowhere
    time: int  # the same for the time stamp


def _shape(mask: int, code: int) -> _Shape:
    fields = ["I2x", _NUMBERS[code]]
    at = {}
    # In this order: Part 6, 5.2.2.17. Picoseconds are stepped over.
    for bit, name, format in (
        (2, "status", "I"),
        (4, "source", "q"),
        (16, "", "2x"),
        (8, "server", "q"),
        (32, "", "2x"),
    ):
        if mask & bit:
            at[name] = len([f for f in fields if "x" not in f]) + 1
            fields.append(format)
    layout = Struct("<" + "".join(fields))
    return _Shape(layout.unpack_from, layout.size, code, at.get("status", 0), at.get("source", at.get("server", 0)))


_SHAPES = {mask << 8 | code: _shape(mask, code) for mask, code in product(range(1, 64, 2), _NUMBERS)}

# --- field by field --------------------------------------------------------------------------------------------------

_STRUCTS = {code: Struct("<" + code) for code in "?bBhHiIqQfd"}
_1601 = datetime(1601, 1, 1)
_9999 = 2_650_467_743_999_999_999  # 9999-12-31T23:59:59.9999999Z


class Reader:
    """Goes through the bytes of an answer."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def number(self, code: str) -> int:
        layout = _STRUCTS[code]
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value  # type: ignore[no-any-return]  # a float or bool as well, for the codes that say so

    def bytes(self) -> bytes | None:
        length = self.number("i")
        if length < 0:
            return None
        self.at += length
        if self.at > len(self.data):
            raise IndexError(f"{length} bytes announced")
        return self.data[self.at - length : self.at]

    def text(self) -> str | None:
        data = self.bytes()
        return None if data is None else data.decode(errors="replace")

    def skip_array(self, size: int) -> None:
        count = self.number("i")
        self.at += max(0, count) * size

    def node_id(self) -> str:
        """A node id or expanded node id, as text."""
        form = self.number("B")
        match form & 0x3F:
            case 0:
                text = f"i={self.number('B')}"
            case 1:
                index, identifier = self.number("B"), self.number("H")
                text = f"ns={index};i={identifier}" if index else f"i={identifier}"
            case 2:
                text = f"ns={self.number('H')};i={self.number('I')}"
            case 3:
                text = f"ns={self.number('H')};s={self.text()}"
            case 4:
                text = f"ns={self.number('H')};g={self.guid()}"
            case 5:
                text = f"ns={self.number('H')};b={(self.bytes() or b'').hex()}"
            case _:
                raise GarbledError(f"a node id of the unknown form {form}")
        if form & 0x80:
            text = f"nsu={self.text()};{text.removeprefix('ns=0;')}"
        if form & 0x40:
            text = f"svr={self.number('I')};{text}"
        return text.removeprefix("ns=0;")

    def guid(self) -> str:
        self.at += 16
        return str(UUID(bytes_le=self.data[self.at - 16 : self.at]))

    def structure(self) -> tuple[str, int]:
        """The type of an extension object, and where it ends."""
        kind = self.node_id()
        length = self.number("i") if self.number("B") else 0
        return kind, self.at + max(0, length)

    def diagnostic_info(self) -> None:
        mask = self.number("B")
        for bit in (1, 2, 4, 8):
            if mask & bit:
                self.number("i")
        if mask & 16:
            self.bytes()
        if mask & 32:
            self.number("I")
        if mask & 64:
            self.diagnostic_info()

    def response_header(self) -> int:
        """Up to the parameters of any response (Part 4, 7.34). The result of the service."""
        self.node_id()
        self.number("q")
        self.number("I")
        result = self.number("I")
        self.diagnostic_info()
        for _ in range(self.number("i")):
            self.bytes()
        _, self.at = self.structure()
        return result

    def scalar(self, code: int) -> Value:
        """A value of a built-in type; None for null and for what we cannot carry."""
        if code in _NUMBERS:
            return self.number(_NUMBERS[code])
        match code:
            case 0:
                return None
            case 12 | 16:
                return self.text()
            case 13:
                return date_time(self.number("q"))
            case 14:
                return self.guid()
            case 15:
                data = self.bytes()
                return None if data is None else data.hex()
            case 17 | 18:
                return self.node_id()
            case 19:
                return self.number("I")
            case 20:
                self.number("H")
                return self.text()
            case 21:
                mask = self.number("B")
                if mask & 1:
                    self.text()
                return self.text() if mask & 2 else None
            case 22:
                _, self.at = self.structure()
            case 23:
                self.data_value()
            case 24:
                self.variant()
            case 25:
                self.diagnostic_info()
            case _:
                raise GarbledError(f"a value of the unknown type {code}")
        return None

    def variant(self) -> tuple[int, Value]:
        """Type and value; an array is stepped over."""
        form = self.number("B")
        code = form & 0x3F
        if not form & ARRAY:
            return code, self.scalar(code)
        if code in _NUMBERS:
            self.skip_array(_STRUCTS[_NUMBERS[code]].size)
        else:
            for _ in range(self.number("i") if code else 0):
                self.scalar(code)
        if form & 0x40:
            self.skip_array(4)  # dimensions
        return code | ARRAY, None

    def data_value(self) -> tuple[int, Value, int, int]:
        """Type, value, status, time stamp."""
        mask = self.number("B")
        code, value = self.variant() if mask & 1 else (0, None)
        status = self.number("I") if mask & 2 else 0
        source = self.number("q") if mask & 4 else 0
        self.at += 2 if mask & 16 else 0
        server = self.number("q") if mask & 8 else 0
        self.at += 2 if mask & 32 else 0
        return code, value, status, source if mask & 4 else server

    def notification_message(self, published: Published) -> None:
        """What a server has to say (Part 4, 7.21)."""
        published.sequence = self.number("I")
        self.number("q")  # publish time
        for _ in range(self.number("i")):
            kind, end = self.structure()
            if kind == _DATA_CHANGE:
                published.values = published.values or Values()
                self.monitored_items(published.values)
            elif kind == _STATUS_CHANGE:
                published.ended = self.number("I")
            self.at = end

    def monitored_items(self, values: Values) -> None:
        """The items of a data change notification: the hot path."""
        count = self.number("i")
        data, at = self.data, self.at
        signals, types, column = values.signal.append, values.type.append, values.value.append
        statuses, times = values.status.append, values.time.append
        shapes = _SHAPES.get
        for _ in range(count):
            shape = shapes(data[at + 4] << 8 | data[at + 5])
            if shape is None:
                self.at = at
                values.add(self.number("I"), *self.data_value())
                at = self.at
                continue
            fields = shape.unpack(data, at)
            at += shape.size
            signals(fields[0])
            types(shape.type)
            column(fields[1])
            statuses(fields[shape.status] if shape.status else 0)
            times(fields[shape.time] if shape.time else 0)
        self.at = at


def date_time(ticks: int) -> str | None:
    """ISO 8601, UTC, to the microsecond; None for the values that mean no date."""
    if not 0 < ticks < _9999:
        return None
    return (_1601 + timedelta(microseconds=ticks // 10)).isoformat() + "Z"
