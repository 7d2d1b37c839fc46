"""Items of one shape one after the other are read at once; what is read is the same as item by item.

The bytes are written by hand (Part 4, 7.25.2; Part 6, 5.2.2.17), with the picoseconds where the standard has them.
"""

import math
import struct
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.opcua import wire

FORMATS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
TEXT = 12


class Item(NamedTuple):
    handle: int
    mask: int
    type: int
    value: Any
    status: int
    source: int
    server: int

    @property
    def encoded(self) -> bytes:
        found = struct.pack("<IB", self.handle, self.mask)
        if self.mask & 1:
            found += bytes((self.type,))
            found += self._text() if self.type == TEXT else struct.pack("<" + FORMATS[self.type], self.value)
        found += struct.pack("<I", self.status) if self.mask & 2 else b""
        found += struct.pack("<q", self.source) if self.mask & 4 else b""
        found += struct.pack("<H", 0x0D0B) if self.mask & 16 else b""
        found += struct.pack("<q", self.server) if self.mask & 8 else b""
        found += struct.pack("<H", 0x0B0D) if self.mask & 32 else b""
        return found

    def _text(self) -> bytes:
        return struct.pack("<i", len(self.value)) + bytes(self.value, "ascii")

    @property
    def expected(self) -> tuple[Any, ...]:
        return (
            self.handle,
            self.type if self.mask & 1 else 0,
            self.value if self.mask & 1 else None,
            self.status if self.mask & 2 else 0,
            self.source if self.mask & 4 else self.server if self.mask & 8 else 0,
        )


def value_of(type: int, seed: int) -> Any:
    """Any bytes, those that look like masks and types too."""
    if type == TEXT:
        return "x" * (seed % 50)
    if type == 1:
        return bool(seed & 1)
    size = struct.calcsize(FORMATS[type])
    drawn = struct.pack("<QQ", seed * 2654435761 % 2**64, seed)[:size] if seed % 3 else b"\x0d\x0b" * 4
    (value,) = struct.unpack_from("<" + FORMATS[type], drawn)
    return 0.0 if isinstance(value, float) and math.isnan(value) else value


@st.composite
def stretches(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = []
    for _ in range(draw(st.integers(0, 5))):
        mask, type = draw(st.integers(0, 63)), draw(st.sampled_from([*FORMATS, TEXT]))
        length = draw(st.sampled_from([1, 2, 16, 31, 32, 33, 64, 65, 100]))
        for _ in range(length):
            seed = len(items) + 1
            source, server = (13 * 10**16 + seed, 13 * 10**16 - seed) if seed % 7 else (0x0B0D, -1)
            items.append(Item(seed * 77, mask, type, value_of(type, seed), seed << 20, source, server))
    return items


def read(body: bytes) -> tuple[wire.Values, int]:
    reader, values = wire.Reader(body), wire.Values()
    reader.monitored_items(values)
    return values, reader.at


@given(stretches())
def test_every_item_is_what_was_written(items: list[Item]) -> None:
    body = struct.pack("<i", len(items)) + b"".join(item.encoded for item in items)
    values, end = read(body + b"\x0d\x0b" * 500)
    assert end == len(body), "and what follows is not taken for items"
    found = list(zip(values.signal, values.type, values.value, values.status, values.time, strict=True))
    assert found == [item.expected for item in items]
    assert [type(value) for _, _, value, _, _ in found] == [type(item.expected[2]) for item in items]


@pytest.mark.parametrize("mask", [13, 29, 63])
def test_what_ends_too_early_is_no_answer(mask: int) -> None:
    items = [Item(i, mask, 11, i / 7, 0, 13 * 10**16, 13 * 10**16) for i in range(40)]
    body = struct.pack("<i", len(items)) + b"".join(item.encoded for item in items)
    for cut in range(len(body)):
        with pytest.raises((struct.error, IndexError)):
            read(body[:cut])
