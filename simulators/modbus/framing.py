"""How Modbus travels: a PDU in its frame, and the requests in a stream of bytes. Pure, and written from the standards.

TCP, UDP, TLS   transaction | protocol 0 | length | unit | PDU                Messaging on TCP/IP V1.0b, 3.1.3
RTU             unit | PDU | CRC, low byte first                              over Serial Line V1.02, 2.5.1
ASCII           ':' | unit, PDU and LRC in hexadecimal digits | CR LF         over Serial Line V1.02, 2.5.2
"""

from __future__ import annotations

import struct
from binascii import a2b_hex
from typing import NamedTuple, Protocol


class NotModbusError(Exception):
    """There is no telling where the next frame would start."""


class Frame(NamedTuple):
    """What a frame carries, whatever it looks like."""

    transaction: int  # 0 on a serial line, which has none
    unit: int
    pdu: bytes


class Framing(Protocol):
    """One way to put a PDU on the wire."""

    serial: bool  # of a serial line, where a unit that is not there keeps silent
    bits: int  # that a byte takes on that line

    def encode(self, frame: Frame) -> bytes:
        """The frame as it stands on the wire."""

    def request(self, data: bytes, at: int) -> tuple[Frame | None, int]:
        """The first request from `at` on, None if it is not complete; and where the rest begins.

        Raises NotModbusError where the stream cannot be made sense of any more.
        """


class _Mbap:
    serial = False
    bits = 10
    _head = struct.Struct(">HHH")
    _whole_head = struct.Struct(">HHHB")
    _longest = 254  # unit id and a PDU of 253 bytes

    def encode(self, frame: Frame) -> bytes:
        return self._whole_head.pack(frame.transaction, 0, len(frame.pdu) + 1, frame.unit) + frame.pdu

    def request(self, data: bytes, at: int) -> tuple[Frame | None, int]:
        if len(data) - at < self._head.size:
            return None, at
        transaction, protocol, length = self._head.unpack_from(data, at)
        if protocol != 0 or not 2 <= length <= self._longest:
            raise NotModbusError
        end = at + self._head.size + length
        return (Frame(transaction, data[at + 6], data[at + 7 : end]), end) if end <= len(data) else (None, at)


class _Rtu:
    """A frame ends with silence, which no stream of bytes shows: requests are found by their length and CRC."""

    serial = True
    bits = 11
    _longest = 256

    def encode(self, frame: Frame) -> bytes:
        body = bytes((frame.unit,)) + frame.pdu
        return body + crc(body).to_bytes(2, "little")

    def request(self, data: bytes, at: int) -> tuple[Frame | None, int]:
        for start in range(at, len(data) - 3):
            size = request_size(data, start)
            if not size and start == at:
                size = min(len(data) - at, self._longest)
            end = start + size
            if size and end <= len(data) and not crc(data[start:end]):  # of a frame with its CRC, the CRC is 0
                return Frame(0, data[start], data[start + 1 : end - 2]), end
        return None, max(at, len(data) - self._longest + 1)


class _Ascii:
    serial = True
    bits = 10
    _longest = 513

    def encode(self, frame: Frame) -> bytes:
        body = bytes((frame.unit,)) + frame.pdu
        return b":%s%02X\r\n" % (body.hex().upper().encode(), lrc(body))

    def request(self, data: bytes, at: int) -> tuple[Frame | None, int]:
        while (end := data.find(b"\r\n", at)) >= 0:
            start, at = data.rfind(b":", at, end), end + 2
            try:
                body = a2b_hex(data[start + 1 : end]) if start >= 0 else b""
            except ValueError:
                continue
            if len(body) >= 3 and not sum(body) & 0xFF:  # the LRC makes the sum 0
                return Frame(0, body[0], body[1:-1]), at
        return None, max(at, len(data) - self._longest + 1)


MBAP: Framing = _Mbap()
RTU: Framing = _Rtu()
ASCII: Framing = _Ascii()


def crc(data: bytes | bytearray, rest: int = 0xFFFF) -> int:
    """CRC-16 with the polynomial A001, begun with FFFF (over Serial Line V1.02, 6.2.2); `rest`: of what stood before."""
    for byte in data:
        rest = rest >> 8 ^ _TABLE[(rest ^ byte) & 0xFF]
    return rest


def lrc(data: bytes) -> int:
    """What makes the sum of all bytes 0 (over Serial Line V1.02, 6.2.1)."""
    return -sum(data) & 0xFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_remainder, range(256)))

# Unit, request and CRC by function code (Application Protocol V1.1b3, 6), or where its byte count stands and the bytes
# without those it counts.
_SIZES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
_COUNTED = {15: (6, 9), 16: (6, 9), 20: (2, 5), 21: (2, 5), 23: (10, 13)}


def request_size(data: bytes | bytearray, start: int) -> int:
    """Of the RTU request that begins here, at least; 0 where its function code does not tell."""
    function = data[start + 1]
    if function in _COUNTED:
        at, others = _COUNTED[function]
        return others + data[start + at] if start + at < len(data) else others
    return _SIZES.get(function, 0)
