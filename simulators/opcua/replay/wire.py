"""OPC UA Binary as far as a recording needs it: where things begin and end, and who they are about. Pure.

Values are not decoded but cut out: what is played back are the bytes that the machine sent. Part 6, 5.2. A recording may
come from anybody, so nothing is believed: whatever does not fit raises BrokenError.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncua.ua

ua: Any = asyncua.ua  # the types it declares are not those it takes

T = TypeVar("T")

_MOST_DEEP = 50  # Variants in DataValues in Variants …
_BYTE, _U16, _I32, _U32, _I64 = Struct("<B"), Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q")
_GUID = Struct("<16s")
# Bytes of a single value of each built-in type that always has as many: Part 6, 5.1.2.
_SIZES = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4}
_LEAST = {0: 0, **_SIZES, 12: 4, 15: 4, 16: 4, 17: 2, 18: 2, 20: 6, 21: 1, 22: 3, 23: 1, 24: 1, 25: 1}
DATE_TIME = 13


class BrokenError(ValueError):
    """Bytes that are not what they should be."""


class Name(NamedTuple):
    """A QualifiedName that can be a key."""

    namespace: int
    text: str


class Told(NamedTuple):
    """A DataValue as it came: Part 6, 5.2.2.17. None: it has no such part; times in 100 ns since 1601."""

    variant: bytes | None = None  # type, then value
    status: int | None = None
    source: int | None = None
    source_picoseconds: int | None = None
    server: int | None = None
    server_picoseconds: int | None = None

    @property
    def code(self) -> int:
        """The status; good where it has none."""
        return self.status or 0

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        parts, mask = [], 0
        for bit, pack, part in zip(_BITS, _PACKS, self, strict=True):
            if part is not None:
                mask |= bit
                parts.append(pack(part))
        return bytes((mask,)) + b"".join(parts)


# In the order of a DataValue, whose bits are in another one.
_BITS = (0x01, 0x02, 0x04, 0x10, 0x08, 0x20)
_PACKS: tuple[Callable[[Any], bytes], ...] = (bytes, _U32.pack, _I64.pack, _U16.pack, _I64.pack, _U16.pack)


class Reader:
    """Goes through a message. Raises BrokenError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at
        self._depth = 0

    # --- parts of one size -------------------------------------------------------------------------------------------

    def number(self, kind: Struct) -> Any:
        try:
            (value,) = kind.unpack_from(self.data, self.at)
        except StructError as exc:
            raise BrokenError(f"it ends at byte {len(self.data)}") from exc
        self.at += kind.size
        return value

    def byte(self) -> int:
        return int(self.number(_BYTE))

    def u16(self) -> int:
        return int(self.number(_U16))

    def i32(self) -> int:
        return int(self.number(_I32))

    def u32(self) -> int:
        return int(self.number(_U32))

    def i64(self) -> int:
        return int(self.number(_I64))

    def skip(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.data):
            raise BrokenError(f"{size} bytes announced at byte {self.at} of {len(self.data)}")
        self.at += size

    # --- parts that say how long they are ------------------------------------------------------------------------------

    def octets(self) -> bytes | None:
        size = self.i32()
        if size < 0:
            return None
        self.skip(size)
        return self.data[self.at - size : self.at]

    def text(self) -> str | None:
        data = self.octets()
        return None if data is None else data.decode("utf-8", "replace")

    def count(self, least: int = 1) -> int:
        """Of an array whose elements have so many bytes at least."""
        count = self.i32()
        if count * least > len(self.data) - self.at:
            raise BrokenError(f"{count} elements announced at byte {self.at} of {len(self.data)}")
        return max(0, count)

    def array(self, element: Callable[[], T], least: int = 1) -> list[T]:
        return [element() for _ in range(self.count(least))]

    # --- names and ids -------------------------------------------------------------------------------------------------

    def node_id(self) -> Any:
        """A NodeId: Part 6, 5.2.2.9."""
        return self._node_id(self.byte())

    def expanded(self, uris: list[str]) -> Any:
        """An ExpandedNodeId as a NodeId; None for one of another server or of a namespace that there is not, or for none."""
        kind = self.byte()
        id = self._node_id(kind & 0x3F)
        uri = self.text() if kind & 0x80 else None
        server = self.u32() if kind & 0x40 else 0
        if server or (uri and uri not in uris) or (not uri and id.is_null()):
            return None
        return ua.NodeId(id.Identifier, uris.index(uri), id.NodeIdType) if uri else id

    def _node_id(self, kind: int) -> Any:
        if kind == 0:
            return ua.NodeId(self.byte(), 0)
        namespace = self.byte() if kind == 1 else self.u16()
        if kind == 1:
            return ua.NodeId(self.u16(), namespace)
        if kind == 2:
            return ua.NodeId(self.u32(), namespace)
        if kind == 3:
            return ua.NodeId(self.text() or "", namespace)
        if kind == 4:
            return ua.NodeId(UUID(bytes_le=self.number(_GUID)), namespace)
        if kind == 5:
            return ua.NodeId(self.octets() or b"", namespace)
        raise BrokenError(f"a node id of kind {kind} at byte {self.at}")

    def qualified_name(self) -> Name:
        return Name(self.u16(), self.text() or "")

    def localized_text(self) -> Any:
        mask = self.byte()
        locale = self.text() if mask & 1 else None
        return ua.LocalizedText(self.text() if mask & 2 else None, locale)

    def extension_object(self) -> tuple[Any, bytes | None]:
        """Its type and its bytes."""
        id, encoding = self.node_id(), self.byte()
        return id, self.octets() if encoding & 3 else None

    # --- values --------------------------------------------------------------------------------------------------------

    def variant(self) -> bytes:
        """A Variant, as it stands there: Part 6, 5.2.2.16."""
        begins, mask = self.at, self.byte()
        kind = mask & 0x3F
        if mask & 0x80:
            for _ in range(self._elements(kind)):
                self._value(kind)
        else:
            self._value(kind)
        if mask & 0x40:
            self.skip(4 * self.count(4))
        return self.data[begins : self.at]

    def _elements(self, kind: int) -> int:
        """Of an array that are still to be gone through."""
        count = self.count(_LEAST.get(kind, 4))
        if kind and kind not in _SIZES:
            return count
        self.skip(count * _SIZES.get(kind, 0))
        return 0

    def _value(self, kind: int) -> None:
        if not kind:
            return
        if kind in _SIZES:
            self.skip(_SIZES[kind])
            return
        self._depth += 1
        if self._depth > _MOST_DEEP:
            raise BrokenError(f"values in values in values at byte {self.at}")
        _OTHERS.get(kind, Reader.octets)(self)  # types that are not assigned yet are ByteStrings
        self._depth -= 1

    def data_value(self) -> Told:
        """A DataValue."""
        mask = self.byte()
        variant = self.variant() if mask & 0x01 else None
        status = self.u32() if mask & 0x02 else None
        source = self.i64() if mask & 0x04 else None
        source_picoseconds = self.u16() if mask & 0x10 else None
        server = self.i64() if mask & 0x08 else None
        server_picoseconds = self.u16() if mask & 0x20 else None
        return Told(variant, status, source, source_picoseconds, server, server_picoseconds)

    def diagnostic(self) -> None:
        """A DiagnosticInfo, which nobody wants: Part 6, 5.2.2.12."""
        mask = self.byte()
        self.skip(4 * (mask & 0x0F).bit_count())
        if mask & 0x10:
            self.octets()
        if mask & 0x20:
            self.skip(4)
        if mask & 0x40:
            self._value(25)

    def response(self) -> tuple[Any, int]:
        """Type id and result of a response, up to where its own parts begin: Part 4, 7.34."""
        kind = self.node_id()
        self.skip(12)  # timestamp, handle
        result = self.u32()
        self._value(25)
        self.array(self.text, 4)
        self.extension_object()
        return kind, result


_OTHERS: dict[int, Callable[[Reader], object]] = {
    17: Reader.node_id,
    18: lambda reader: reader.expanded([]),
    20: Reader.qualified_name,
    21: Reader.localized_text,
    22: Reader.extension_object,
    23: Reader.data_value,
    24: Reader.variant,
    25: Reader.diagnostic,
}
