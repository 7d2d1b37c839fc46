"""From the bytes of an answer to columns: as much of the binary encoding (Part 6, 5.2) as values need.

    PublishResponse ─▶ Published: Values          A value whose bytes have a known shape (encoding mask and type of a
    ReadResponse ────────────────▶ Values         number) is one `unpack`; the rest is read field by field.

    scalar     a Value; a DateTime, Guid, NodeId … as text        array   a list of them, of lists for dimensions
    structure  a Body, for `structures` to read                   Variant in an array, DataValue: Tagged, Stamped

Nothing is believed that is not there: before an array is made its bytes are counted, nesting has an end, and so has what
one message may cost: values of one byte become objects of a hundred. Raises GarbledError for what is no answer, and
nothing else.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import product, repeat
from struct import Struct, error, unpack_from
from typing import Any, NamedTuple
from uuid import UUID

from adapters.opcua.nodes import NodeId
from gateway.model import ValueType

# --- types -----------------------------------------------------------------------------------------------------------

ARRAY = 0x80  # set in the type of an array
NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
_KINDS: dict[int, ValueType] = {
    1: "bool",
    **dict.fromkeys(range(2, 10), "int"),
    **dict.fromkeys((10, 11), "float"),
    **dict.fromkeys((12, 13, 14, 15, 16, 17, 18, 20, 21, 25), "string"),
    19: "int",
    **dict.fromkeys(range(26, 32), "string"),  # unassigned: byte strings, as far as anybody knows (Part 6, 5.2.2.16)
}
KINDS: tuple[ValueType | None, ...] = tuple(_KINDS.get(code) for code in range(256))
"""What the values of each built-in type are here (Part 6, table 1); None: nothing we can carry."""


BODY, DATA_VALUE, VARIANT = 22, 23, 24


class GarbledError(ValueError):
    """Bytes that are not what they should be."""


class Body(NamedTuple):
    """An extension object as it came (Part 6, 5.2.2.15). Without data: a null."""

    encoding: NodeId
    data: bytes | None
    xml: bool = False


class Tagged(NamedTuple):
    """A Variant in an array or structure."""

    type: int
    value: Any


class Stamped(NamedTuple):
    """A DataValue as a value."""

    type: int
    value: Any
    status: int
    time: int


class Unreadable(NamedTuple):
    """Stands for a value that contradicts itself, where what comes behind it can be read."""

    why: str


@dataclass(slots=True)
class Values:
    """Values in columns, as the server sent them. All are equally long."""

    signal: list[int] = field(default_factory=list)  # client handle, or position in the request
    type: list[int] = field(default_factory=list)  # built-in type, with ARRAY; 0: null
    value: list[Any] = field(default_factory=list)  # a Value, or what the top of this file says
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

    def add(self, signal: int, type: int, value: Any, status: int, time: int) -> None:
        self.signal.append(signal)
        self.type.append(type)
        self.value.append(value)
        self.status.append(status)
        self.time.append(time)


class Event(NamedTuple):
    """One event: the fields that were selected, in their order."""

    signal: int  # client handle
    fields: list[tuple[int, Any]]  # built-in type and value; a DateTime in 100 ns since 1601


@dataclass(slots=True)
class Published:
    """What a publish response brought; without values and events it only kept the subscription alive."""

    result: int  # of the service
    subscription: int
    sequence: int
    time: int = 0  # when it was published, by the server's clock; 100 ns since 1601
    values: Values | None = None
    ended: int | None = None  # the status with which the server gave up the subscription
    events: list[Event] | None = None


# --- answers ---------------------------------------------------------------------------------------------------------

_DATA_CHANGE, _STATUS_CHANGE, _EVENTS = "i=811", "i=820", "i=916"  # encodings in binary


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
    except (error, IndexError, RecursionError) as exc:
        raise GarbledError(f"a publish response that ends too early: {exc}") from exc


def republish_response(subscription: int, data: bytes) -> Published:
    """Read a RepublishResponse (Part 4, 5.14.6)."""
    try:
        reader = Reader(data)
        published = Published(reader.response_header(), subscription, 0)
        reader.notification_message(published)
        return published
    except (error, IndexError, RecursionError) as exc:
        raise GarbledError(f"a republish response that ends too early: {exc}") from exc


def read_response(data: bytes) -> tuple[int, Values]:
    """Read a ReadResponse (Part 4, 5.11.2): the result of the service, and the values in the order of the request."""
    try:
        reader = Reader(data)
        result = reader.response_header()
        values = Values()
        for i in range(reader.count(1, _ITEM)):
            values.add(i, *reader.data_value())
        return result, values
    except (error, IndexError, RecursionError) as exc:
        raise GarbledError(f"a read response that ends too early: {exc}") from exc


@dataclass(slots=True)
class History:
    """What a server remembers of one node, or a part of it."""

    status: int
    point: bytes | None  # continuation point: there is more
    values: Values


_HISTORY = ("i=658", "i=11227")  # HistoryData, and HistoryModifiedData, which begins the same way


def history_response(data: bytes) -> tuple[int, list[History]]:
    """Read a HistoryReadResponse (Part 4, 5.11.3): the result of the service, and one history for each node."""
    try:
        reader = Reader(data)
        result = reader.response_header()
        return result, [reader.history(i) for i in range(reader.count(11))]
    except (error, IndexError, RecursionError) as exc:
        raise GarbledError(f"a history read response that ends too early: {exc}") from exc


# --- known shapes ----------------------------------------------------------------------------------------------------


_ROW = 32  # items of one shape that are read at once
_ALONE = 16  # items that are read one by one before the next look for a row


@dataclass(frozen=True, slots=True)
class _Shape:
    """A monitored item with one encoding mask and one numeric type."""

    unpack: Callable[[bytes, int], tuple[Any, ...]]
    format: str
    size: int
    type: int
    width: int  # how many fields are unpacked
    status: int  # where the status stands in them; 0: nowhere
    time: int  # the same for the time stamp
    masks: bytes  # of a row
    types: bytes

    def row(self, data: bytes, at: int) -> bool:
        """Whether a whole row of this shape stands here: where one item ends, the next one begins."""
        end = at + _ROW * self.size
        return data[at + 4 : end : self.size] == self.masks and data[at + 5 : end : self.size] == self.types


def _shape(mask: int, code: int) -> _Shape:
    fields, at, width = ["I2x", NUMBERS[code]], {}, 2
    # In this order: Part 6, 5.2.2.17. Picoseconds are stepped over, and the server's time where the source has one.
    for bit, name, format in (
        (2, "status", "I"),
        (4, "time", "q"),
        (16, "", "2x"),
        (8, "time", "8x" if mask & 4 else "q"),
        (32, "", "2x"),
    ):
        if mask & bit:
            fields.append(format)
            if "x" not in format:
                at[name] = width
                width += 1
    format = "".join(fields)
    layout = Struct("<" + format)
    return _Shape(
        layout.unpack_from, format, layout.size, code, width, at.get("status", 0), at.get("time", 0),
        bytes((mask,)) * _ROW, bytes((code,)) * _ROW,
    )  # fmt: skip


@cache
def _row(format: str) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Reads a row at once; made for the few shapes that a server sends."""
    return Struct("<" + format * _ROW).unpack_from


_SHAPES = {mask << 8 | code: _shape(mask, code) for mask, code in product(range(1, 64, 2), NUMBERS)}

# --- field by field --------------------------------------------------------------------------------------------------

_STRUCTS = {code: Struct("<" + code) for code in "?bBhHiIqQfd"}
_1601 = datetime(1601, 1, 1)
_9999 = 2_650_467_743_990_000_000  # 9999-12-31T23:59:59Z: from here on it means no end (Part 6, 5.2.2.5)


# At least 100 levels have to be read: Part 6, 5.2.2.16. More is nobody's value, but an attack on our stack.
_DEPTH = 100
_DIMENSIONS = 16

# What the values of one message may cost: 4,000,000 numbers in arrays, 2,000,000 items or 1,000,000 of anything else.
# That is a second of work, and 100 MB.
_MOST = 2**22
_NUMBER, _ITEM, _OTHER = 1, 2, 4

# The fewest bytes that one value takes.
LEAST = {
    **{code: _STRUCTS[format].size for code, format in NUMBERS.items()},
    **dict.fromkeys((12, 15, 16, 19), 4), 13: 8, 14: 16, 17: 2, 18: 2, 20: 6, 21: 1, 22: 3, 23: 1, 24: 1, 25: 1,
    **dict.fromkeys(range(26, 32), 4),
}  # fmt: skip
_Bytes = bytes  # which is also a name in there


class Reader:
    """Goes through the bytes of an answer."""

    __slots__ = ("at", "data", "depth", "left")

    def __init__(self, data: bytes, at: int = 0, depth: int = 0) -> None:
        self.data = data
        self.at = at
        self.depth = depth
        self.left = _MOST

    # --- parts -----------------------------------------------------------------------------------------------------

    def number(self, code: str) -> int:
        layout = _STRUCTS[code]
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value  # type: ignore[no-any-return]  # a float or bool as well, for the codes that say so

    def bytes(self) -> bytes | None:
        length = self.number("i")
        return None if length < 0 else self.take(length)

    def take(self, length: int) -> _Bytes:
        """So many bytes."""
        self.at += length
        if self.at > len(self.data):
            raise IndexError(f"{length} bytes announced")
        return self.data[self.at - length : self.at]

    def text(self) -> str | None:
        data = self.bytes()
        return None if data is None else data.decode(errors="replace")

    def count(self, least: int, cost: int = _OTHER) -> int:
        """The length of an array whose elements take `least` bytes each; below 0: null."""
        count = self.number("i")
        if count > 0:
            if count * least > len(self.data) - self.at:
                raise IndexError(f"{count} elements announced")
            self.pay(count * cost)
        return count

    def pay(self, cost: int = _OTHER) -> None:
        """For what is made of the bytes. Raises GarbledError where that is too much for one message."""
        self.left -= cost
        if self.left < 0:
            raise GarbledError("more values than there can be in one message")

    def skip_array(self, size: int) -> None:
        count = self.count(size, 0)
        self.at += max(0, count) * size

    def deeper(self) -> None:
        """One more level. Raises GarbledError where there are too many; `depth` is counted down by the caller."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise GarbledError(f"values within values, more than {_DEPTH} deep: unknown to any server")

    # --- node ids --------------------------------------------------------------------------------------------------

    def node(self) -> NodeId:
        """A node id. One of another server or with a namespace URI has no index here: -1."""
        form = self.number("B")
        node = self._node(form & 0x3F)
        if form & 0xC0:
            if form & 0x80:
                self.bytes()
            if form & 0x40:
                self.number("I")
            return NodeId(-1, node.kind, node.identifier)
        return node

    def node_id(self) -> str:
        """A node id or expanded node id, as text (Part 6, 5.1.12 and 5.1.13)."""
        form = self.number("B")
        text = node_text(self._node(form & 0x3F))
        if form & 0x80:
            uri = (self.text() or "").replace("%", "%25").replace(";", "%3B")
            text = f"nsu={uri};{text[text.index(';') + 1 :] if text.startswith('ns=') else text}"
        if form & 0x40:
            text = f"svr={self.number('I')};{text}"
        return text

    def _node(self, form: int) -> NodeId:
        match form:
            case 0:
                return NodeId(0, "i", self.number("B"))
            case 1:
                return NodeId(self.number("B"), "i", self.number("H"))
            case 2:
                return NodeId(self.number("H"), "i", self.number("I"))
            case 3:
                return NodeId(self.number("H"), "s", self.text() or "")
            case 4:
                return NodeId(self.number("H"), "g", UUID(bytes_le=self.take(16)))
            case 5:
                return NodeId(self.number("H"), "b", self.bytes() or b"")
            case _:
                raise GarbledError(f"a node id of the unknown form {form}")

    def guid(self) -> str:
        return str(UUID(bytes_le=self.take(16)))

    # --- structures ------------------------------------------------------------------------------------------------

    def structure(self) -> tuple[str, int]:
        """The type of an extension object, and where it ends."""
        kind = self.node_id()
        length = self.number("i") if self.number("B") else 0
        end = self.at + max(0, length)
        if end > len(self.data):
            raise IndexError(f"{length} bytes announced")
        return kind, end

    def body(self) -> Body:
        """An extension object."""
        encoding, form = self.node(), self.number("B")
        if form not in (0, 1, 2):
            raise GarbledError(f"a structure in the unknown form {form}")
        return Body(encoding, self.bytes() if form else None, form == 2)

    def diagnostic_info(self) -> str | None:
        """What it adds to the codes, as text (Part 6, 5.2.2.12)."""
        found, mask = None, 64
        while mask & 64:
            self.deeper()
            mask = self.number("B")
            for bit in (1, 2, 4, 8):
                if mask & bit:
                    self.number("i")
            if mask & 16:
                text = self.text()
                found = text if found is None else found
            if mask & 32:
                self.number("I")
        return found

    def response_header(self) -> int:
        """Up to the parameters of any response (Part 4, 7.34). The result of the service."""
        self.node_id()
        self.number("q")
        self.number("I")
        result = self.number("I")
        self.diagnostic_info()
        self.depth = 0
        for _ in range(self.count(4)):
            self.bytes()
        _, self.at = self.structure()
        return result

    # --- values ----------------------------------------------------------------------------------------------------

    def scalar(self, code: int) -> Any:
        """A value of a built-in type; None for null."""
        if code in NUMBERS:
            return self.number(NUMBERS[code])
        read = _READ.get(code)
        if read is None:
            raise GarbledError(f"a value of the unknown type {code}")
        return read(self)

    def array(self, code: int) -> list[Any] | None:
        """One dimension of them; None for null."""
        if code not in LEAST:
            raise GarbledError(f"an array of the unknown type {code}")
        count = self.count(LEAST[code], _NUMBER if code in NUMBERS else _OTHER)
        return None if count < 0 else self.elements(code, count)

    def elements(self, code: int, count: int) -> list[Any]:
        """So many values one after another; there have to be bytes enough for them."""
        if code in NUMBERS:
            numbers = unpack_from(f"<{count}{NUMBERS[code]}", self.data, self.at)
            self.at += count * LEAST[code]
            return list(numbers)
        read = _READ[code]
        return [read(self) for _ in range(count)]

    def variant(self) -> tuple[int, Any]:
        """Type and value."""
        form = self.number("B")
        code = form & 0x3F
        if not form & ARRAY:
            return code, self.scalar(code)
        values = self.array(code) if code else None
        if form & 0x40:
            values = shaped(values, self.array(6))
        return code | ARRAY, values

    def tagged(self) -> Tagged:
        """A Variant in something else."""
        self.deeper()
        value = Tagged(*self.variant())
        self.depth -= 1
        return value

    def stamped(self) -> Stamped:
        """A DataValue in something else."""
        self.deeper()
        value = Stamped(*self.data_value())
        self.depth -= 1
        return value

    def data_value(self) -> tuple[int, Any, int, int]:
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
        published.time = self.number("q")
        for _ in range(self.count(3)):
            kind, end = self.structure()
            start = self.at
            if kind == _DATA_CHANGE:
                published.values = published.values or Values()
                self.monitored_items(published.values, end if end > start else None)
            elif kind == _STATUS_CHANGE:
                published.ended = self.number("I")
            elif kind == _EVENTS:
                published.events = published.events or []
                for _ in range(self.count(8)):
                    published.events.append(self.event())
            self.leave(start, end)

    def event(self) -> Event:
        """One of an event notification list (Part 4, 7.25.3)."""
        return Event(self.number("I"), [self.event_field() for _ in range(self.count(1))])

    def event_field(self) -> tuple[int, Any]:
        """A Variant; a time not as text, because it becomes the time of readings."""
        if self.data[self.at] != 13:
            return self.variant()
        self.at += 1
        return 13, self.number("q")

    def history(self, signal: int) -> History:
        """One result of a HistoryRead. Its values have `signal` in their column."""
        history = History(self.number("I"), self.bytes() or None, Values())
        kind, end = self.structure()
        start = self.at
        if kind in _HISTORY and end > start:
            for _ in range(self.count(1, _ITEM)):
                history.values.add(signal, *self.data_value())
        self.leave(start, end)
        return history

    def leave(self, start: int, end: int) -> None:
        """Go on behind a structure, never back: its bytes are read once. Without a length it ends where it was read to."""
        if self.at > end > start:
            raise IndexError(f"{end - start} bytes announced")
        self.at = max(self.at, end)

    def monitored_items(self, values: Values, end: int | None = None) -> None:
        """The items of a data change notification, which ends there: the hot path.

        Most servers send many of one shape one after the other; with others it changes from item to item.
        """
        left = self.count(5, _ITEM)
        data, at = self.data, self.at
        if end is not None and left * 5 > end - at:
            raise IndexError(f"{left} items announced")
        signals, types, column, statuses, times = values._columns()
        alone = 0  # items to be read one by one before the next look for a row
        while left > 0:
            shape = _SHAPES.get(data[at + 4] << 8 | data[at + 5])
            if shape is None:
                self.at = at
                values.add(self.number("I"), *self.data_value())
                at = self.at
                left -= 1
            elif not alone and left >= _ROW and shape.row(data, at):
                fields, width = _row(shape.format)(data, at), shape.width
                signals += fields[::width]
                types += repeat(shape.type, _ROW)
                column += fields[1::width]
                statuses += fields[shape.status :: width] if shape.status else repeat(0, _ROW)
                times += fields[shape.time :: width] if shape.time else repeat(0, _ROW)
                at += _ROW * shape.size
                left -= _ROW
            else:
                alone = (alone or _ALONE) - 1
                fields = shape.unpack(data, at)
                signals.append(fields[0])
                types.append(shape.type)
                column.append(fields[1])
                statuses.append(fields[shape.status] if shape.status else 0)
                times.append(fields[shape.time] if shape.time else 0)
                at += shape.size
                left -= 1
        self.at = at


def date_time(ticks: int) -> str | None:
    """ISO 8601, UTC, to the microsecond; None for the values that mean no date."""
    if not 0 < ticks < _9999:
        return None
    return (_1601 + timedelta(microseconds=ticks // 10)).isoformat() + "Z"


def node_text(node: NodeId) -> str:
    """As it is written in a configuration."""
    identifier = b64encode(node.identifier).decode() if isinstance(node.identifier, bytes) else node.identifier
    return f"ns={node.namespace};{node.kind}={identifier}" if node.namespace else f"{node.kind}={identifier}"


def node_of(text: str) -> NodeId | None:
    """The way back; None for a node of another server or one with a namespace URI."""
    index, _, rest = text[3:].partition(";") if text.startswith("ns=") else ("0", "", text)
    match rest.partition("="):
        case ("i", _, number):
            return NodeId(int(index), "i", int(number))
        case ("s", _, name):
            return NodeId(int(index), "s", name)
        case ("g", _, guid):
            return NodeId(int(index), "g", UUID(guid))
        case ("b", _, data):
            return NodeId(int(index), "b", b64decode(data))
    return None


def shaped(values: list[Any] | None, dimensions: list[int] | None) -> Any:
    """A list of lists from one after another, the last dimension changing fastest (Part 6, 5.2.2.16)."""
    if values is None or not dimensions or len(dimensions) == 1:
        return values
    size = 1
    for length in dimensions[:_DIMENSIONS]:
        size = size * length if 0 <= size * length <= len(values) else -1
    if size != len(values) or len(dimensions) > _DIMENSIONS or (0 not in dimensions and min(dimensions) < 0):
        return Unreadable(f"{len(values)} values in an array of {'x'.join(map(str, dimensions[:_DIMENSIONS]))}")
    if size:
        for length in reversed(dimensions[1:]):
            values = [values[at : at + length] for at in range(0, len(values), length)]
    return values


def _localized_text(reader: Reader) -> str | None:
    mask = reader.number("B")
    if mask & 1:
        reader.bytes()
    return reader.text() if mask & 2 else None


def _qualified_name(reader: Reader) -> str | None:
    reader.number("H")
    return reader.text()


def _hexadecimal(reader: Reader) -> str | None:
    data = reader.bytes()
    return None if data is None else data.hex()


def _diagnostic_info(reader: Reader) -> str | None:
    depth = reader.depth
    found = reader.diagnostic_info()
    reader.depth = depth
    return found


_READ: dict[int, Callable[[Reader], Any]] = {
    0: lambda _: None,
    12: Reader.text,
    13: lambda reader: date_time(reader.number("q")),
    14: Reader.guid,
    15: _hexadecimal,
    16: Reader.text,
    17: Reader.node_id,
    18: Reader.node_id,
    19: lambda reader: reader.number("I"),
    20: _qualified_name,
    21: _localized_text,
    BODY: Reader.body,
    DATA_VALUE: Reader.stamped,
    VARIANT: Reader.tagged,
    25: _diagnostic_info,
    **dict.fromkeys(range(26, 32), _hexadecimal),
}
