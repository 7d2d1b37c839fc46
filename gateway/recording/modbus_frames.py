"""Whether bytes are Modbus, and who would say such a thing: for captures of which nobody said what is in them. Pure.

As little as is needed for that; nothing here is ever used to read a value.
"""

from __future__ import annotations

from collections.abc import Callable

# Which side a frame is of, where that can be told: FC 5 and 6 are answered with what was asked.
REQUEST, ANSWER, EITHER, NEITHER = "request", "answer", "either", ""

_MOST_PDU = 253  # Modbus Application Protocol V1.1b3, 4.1


def body_of(protocol: str, data: bytes) -> bytes | None:
    """Unit id and PDU of the whole frame that the data begins with (MBAP) or is (serial line); None if it is none."""
    return _BODY[protocol](data)


def begins(protocol: str, data: bytes) -> bool:
    """Whether a frame may begin here, of which this may be the first part only."""
    if protocol in ("modbus-tcp", "modbus-udp"):
        return len(data) >= 6 and data[2:4] == b"\0\0" and 2 <= int.from_bytes(data[4:6], "big") <= _MOST_PDU + 1
    return data[:1] == b":" if protocol == "modbus-ascii" else body_of(protocol, data) is not None


def side_of(body: bytes) -> str:
    """REQUEST, ANSWER or EITHER by function code and length (V1.1b3, 6); empty for what is neither."""
    code, pdu = body[1], body[1:]
    if code & 0x80:
        return ANSWER if len(pdu) == 2 else NEITHER
    asked = _ASKED.get(code)
    if asked is None:
        return EITHER if code else NEITHER  # of the manufacturer, or too rare to tell anything
    request, answer = asked[0](pdu), asked[1](pdu)
    return EITHER if request and answer else REQUEST if request else ANSWER if answer else NEITHER


def _long(size: int) -> Callable[[bytes], bool]:
    return lambda pdu: len(pdu) == size


def _counted(at: int) -> Callable[[bytes], bool]:
    """A byte tells how many follow it."""
    return lambda pdu: len(pdu) > at and len(pdu) == at + 1 + pdu[at]


_ASKED = {
    **dict.fromkeys((1, 2, 3, 4), (_long(5), _counted(1))),
    **dict.fromkeys((5, 6), (_long(5), _long(5))),
    **dict.fromkeys((15, 16), (_counted(5), _long(5))),
    17: (_long(1), _counted(1)),
    22: (_long(7), _long(7)),
    23: (_counted(9), _counted(1)),
}


def _mbap(data: bytes) -> bytes | None:
    """Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3."""
    if not begins("modbus-tcp", data):
        return None
    end = 6 + int.from_bytes(data[4:6], "big")
    return data[6:end] if len(data) >= end else None


def _rtu(data: bytes) -> bytes | None:
    """Modbus over Serial Line V1.02, 2.5.1.2."""
    return data[:-2] if 4 <= len(data) <= _MOST_PDU + 3 and crc(data) == 0 else None


def _ascii(data: bytes) -> bytes | None:
    """The same, 2.5.2.2."""
    if not (data.startswith(b":") and data.endswith(b"\r\n")):
        return None
    try:
        frame = bytes.fromhex(data[1:-2].decode())
    except ValueError:
        return None
    return frame[:-1] if len(frame) >= 3 and sum(frame) & 0xFF == 0 else None


_BODY = {"modbus-tcp": _mbap, "modbus-udp": _mbap, "modbus-rtu-over-tcp": _rtu, "modbus-ascii": _ascii}
PROTOCOLS = tuple(_BODY)


def crc(data: bytes) -> int:
    """Modbus over Serial Line V1.02, 6.2.2; 0 for a frame that ends with its own, low byte first."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_CRC = [_crc_of_byte(byte) for byte in range(256)]
