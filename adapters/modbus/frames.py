"""How requests and answers are framed on each transport, and which frame is the answer to a request. Pure.

    MBAP   transaction id, protocol id 0, length │ unit id, PDU           Modbus TCP, UDP, TLS
    RTU                                            unit id, PDU │ CRC-16   serial lines, and through TCP
    ASCII                              ':' │ hex of unit id, PDU, LRC │ CR LF

A read's answer is known before it comes, but for its data: unit id, function code, byte count. Those three are its
*shape*. Where a transaction id stands before it, the answer is told by that; elsewhere by nothing but its shape.

Sources: MODBUS Application Protocol V1.1b3; MODBUS Messaging on TCP/IP V1.0b, 3.1.3; MODBUS over Serial Line V1.02, 2.5.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Callable
from typing import NamedTuple

from adapters.modbus.link import Request
from adapters.modbus.signals import BIT_TABLES, Table

FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
REFUSAL = 0x80  # added to the function code of an exception
_READS = frozenset(FUNCTIONS.values())
_MBAP = struct.Struct(">HHH")
_LONGEST = 254  # unit id and a PDU of 253 bytes


class Shape(NamedTuple):
    """What is known of an answer before it comes."""

    unit: int
    function: int
    size: int  # bytes of data

    @classmethod
    def of(cls, request: Request) -> Shape:
        """Of the answer to a request."""
        bits = request.table in BIT_TABLES
        size = (request.size + 7) // 8 if bits else 2 * request.size
        return cls(request.unit, FUNCTIONS[request.table], size)

    @property
    def refusal(self) -> Shape:
        """Of the exception that may come instead."""
        return Shape(self.unit, self.function | REFUSAL, 0)

    @property
    def head(self) -> bytes:
        """How the answer begins, after what the transport puts before it."""
        return bytes(self)

    @property
    def mbap_head(self) -> bytes:
        """How it begins after the transaction id: protocol id, length, head."""
        return b"\0\0" + (3 + self.size).to_bytes(2, "big") + self.head


class Frame(NamedTuple):
    """One whole frame."""

    length: int  # bytes it took on the wire
    transaction: int  # 0 where there is none
    body: bytes  # unit id and PDU


class Wrong(Exception):
    """These bytes are no answer. `kind` is for counting, the text for people."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


Split = Callable[[bytes], Frame | None]
"""The first frame of what has arrived; None while it is not complete. Raises Wrong for what can be none."""


def split_mbap(data: bytes) -> Frame | None:
    """Modbus TCP, UDP and TLS."""
    if data[2:4] not in (b"\0\0", b"\0", b""):
        raise Wrong("not Modbus", f"its answer is not Modbus: it begins with {data[:12].hex(' ')}")
    if len(data) < _MBAP.size:
        return None
    transaction, _, length = _MBAP.unpack_from(data)
    if not 3 <= length <= _LONGEST:
        raise Wrong("not Modbus", f"its answer is not Modbus: length {length}")
    end = _MBAP.size + length
    return Frame(end, transaction, data[_MBAP.size : end]) if len(data) >= end else None


def split_rtu(data: bytes) -> Frame | None:
    """Serial lines. Where a frame ends is told by its function code and byte count."""
    if len(data) < 3:
        return None
    function = data[1]
    if function & REFUSAL:
        end = 5
    elif function in _READS:
        end = 5 + data[2]
    else:
        raise Wrong("wrong function", f"its answer is not for our request: function code {function}")
    if len(data) < end:
        return None
    if crc(data[: end - 2]) != data[end - 2 : end]:
        raise Wrong("bad checksum", "the checksum of its answer is wrong; check cable, termination, speed and parity")
    return Frame(end, 0, data[: end - 2])


def split_ascii(data: bytes) -> Frame | None:
    """Serial lines in plain text."""
    if data[:1] not in (b":", b""):
        raise Wrong("not Modbus", f"its answer is not Modbus ASCII: it begins with {data[:12].hex(' ')}")
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) > 2 * _LONGEST + 5:
            raise Wrong("not Modbus", "its answer is not Modbus ASCII: a line without an end")
        return None
    try:
        body = unhexlify(data[1:end])
    except ValueError as exc:
        raise Wrong("bad checksum", "its answer has characters that are no hexadecimal digits") from exc
    if len(body) < 4 or sum(body) & 0xFF:
        raise Wrong("bad checksum", "the checksum of its answer is wrong; check cable, termination, speed and parity")
    return Frame(end + 2, 0, body[:-1])


def mismatch(shape: Shape, body: bytes) -> Wrong | None:
    """What is wrong with a frame as the answer of that shape: None if it is the answer, or a refusal."""
    unit, function = body[0], body[1]
    refused = function == shape.function | REFUSAL
    size = len(body) - 3  # as many bytes as there are
    found = (
        ("wrong unit", "unit id", unit, shape.unit),
        ("wrong function", "function code", function, function if refused else shape.function),
        ("wrong size", "byte count", body[2], body[2] if refused else shape.size),
        ("wrong size", "length", size, 0 if refused else shape.size),
    )
    for kind, name, got, expected in found:
        if got != expected:
            return Wrong(kind, f"its answer is not for our request: {name} {got} instead of {expected}")
    if refused and not body[2]:
        return Wrong("not Modbus", "its answer is not Modbus: a refusal without a reason")
    return None


def wrong_transaction(found: int) -> str:
    """For people: the frame has another transaction id than the request."""
    if found == 0:
        return "its answer has transaction id 0; if it never has another, set quirks: {transaction_ids: ignored}"
    return "its answer has the transaction id of another request, or comes twice"


def crc(data: bytes) -> bytes:
    """CRC-16 of an RTU frame, as it stands on the wire: MODBUS over Serial Line V1.02, 6.2.2."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC = tuple(map(_crc_of, range(256)))
