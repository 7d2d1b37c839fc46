"""Frames written from the standards, not with the code under test."""

from __future__ import annotations


def crc_by_bits(data: bytes) -> bytes:
    """MODBUS over Serial Line V1.02, 6.2.2: the steps as they stand there."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            carry = register & 1
            register >>= 1
            if carry:
                register ^= 0xA001
    return bytes((register & 0xFF, register >> 8))


def framed(framing: str, body: bytes, transaction: int = 0) -> bytes:
    """`body`: unit id and PDU."""
    if framing == "mbap":
        return transaction.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body
    if framing == "rtu":
        return body + crc_by_bits(body)
    lrc = (0x100 - sum(body) % 0x100) % 0x100
    return b":" + (body + bytes((lrc,))).hex().upper().encode() + b"\r\n"
