"""Frames against those printed in the standards, and against pymodbus' framers, both ways."""

from __future__ import annotations

from random import Random

import pytest
from pymodbus.framer import FramerAscii, FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from simulators.modbus.framing import ASCII, MBAP, RTU, Frame, Framing, NotModbusError, crc, lrc

FRAMERS: dict[str, tuple[Framing, type[FramerBase]]] = {
    "mbap": (MBAP, FramerSocket),
    "rtu": (RTU, FramerRTU),
    "ascii": (ASCII, FramerAscii),
}
each_framing = pytest.mark.parametrize(("ours", "theirs"), FRAMERS.values(), ids=FRAMERS)

READ = Frame(0, 17, bytes.fromhex("03 006b 0003"))
REQUESTS = [
    READ,
    Frame(0, 1, bytes.fromhex("01 0000 07d0")),
    Frame(0, 247, bytes.fromhex("02 ffff 0001")),
    Frame(0, 0, bytes.fromhex("04 0000 007d")),
    Frame(0, 1, bytes.fromhex("05 00ac ff00")),
    Frame(0, 1, bytes.fromhex("06 0001 0003")),
    Frame(0, 1, bytes.fromhex("0f 0013 000a 02 cd01")),
    Frame(0, 1, bytes.fromhex("10 0001 0002 04 000a 0102")),
    Frame(0, 1, bytes.fromhex("16 0004 00f2 0025")),
    Frame(0, 1, bytes.fromhex("17 0003 0006 000e 0003 06 00ff 00ff 00ff")),
    Frame(0, 1, bytes.fromhex("2b 0e 01 00")),
    Frame(0, 1, bytes.fromhex("08 0000 a537")),
    Frame(0, 1, bytes.fromhex("11")),
]


# --- known frames ------------------------------------------------------------------------------------------------------


def test_frames_of_the_standards() -> None:
    assert crc(bytes.fromhex("0207")) == 0x1241  # MODBUS over Serial Line V1.02, 6.2.2
    assert RTU.encode(READ).hex(" ") == "11 03 00 6b 00 03 76 87"
    assert ASCII.encode(READ) == b":1103006B00037E\r\n"
    assert MBAP.encode(Frame(0x1501, 255, bytes.fromhex("03 0004 0001"))).hex() == "150100000006ff0300040001"
    assert lrc(bytes.fromhex("1103006b0003")) == 0x7E


@each_framing
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"function {r.pdu[0]}")
def test_what_is_encoded_is_read(ours: Framing, theirs: type[FramerBase], request_: Frame) -> None:
    frame = request_ if ours is not MBAP else request_._replace(transaction=0xABCD)
    data = ours.encode(frame)
    assert ours.request(data, 0) == (frame, len(data))
    assert ours.request(b"?" + data, 1) == (frame, len(data) + 1)


# --- pymodbus ----------------------------------------------------------------------------------------------------------


@each_framing
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"function {r.pdu[0]}")
def test_pymodbus_has_the_same_frames(ours: Framing, theirs: type[FramerBase], request_: Frame) -> None:
    framer = theirs(DecodePDU(True))
    frame = request_ if ours is not MBAP else request_._replace(transaction=0xABCD)
    data = framer.encode(frame.pdu, frame.unit, frame.transaction)
    assert ours.encode(frame) == data
    used, unit, transaction, pdu = framer.decode(ours.encode(frame))
    assert (used, transaction, unit, pdu) == (len(data), *frame)


# --- streams -----------------------------------------------------------------------------------------------------------


def found(framing: Framing, stream: bytes, cut: int) -> list[Frame]:
    """The requests in a stream that arrives in pieces of `cut` bytes."""
    frames, rest = [], b""
    for start in range(0, len(stream), cut):
        data, at = rest + stream[start : start + cut], 0
        while True:
            frame, at = framing.request(data, at)
            if frame is None:
                break
            frames.append(frame)
        rest = data[at:]
    return frames


@each_framing
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 8, 50, 10_000])
def test_a_stream_in_pieces(ours: Framing, theirs: type[FramerBase], cut: int) -> None:
    # Function 17 has no length to go by: in a stream of others only its own end tells.
    stream = b"".join(map(ours.encode, REQUESTS))
    assert found(ours, stream, cut) == REQUESTS


@pytest.mark.parametrize("framing", [RTU, ASCII], ids=["rtu", "ascii"])
@pytest.mark.parametrize("cut", [1, 5, 10_000])
def test_noise_between_requests_costs_none_of_them(framing: Framing, cut: int) -> None:
    random = Random(1)
    stream, sent = b"", []
    for _ in range(200):
        frame = Frame(0, random.randrange(1, 248), bytes([3, *random.randbytes(2), 0, random.randint(1, 125)]))
        stream += random.randbytes(random.randrange(20)) + framing.encode(frame)
        sent.append(frame)
    assert found(framing, stream, cut) == sent


@pytest.mark.parametrize("framing", [RTU, ASCII], ids=["rtu", "ascii"])
def test_a_damaged_request_is_none(framing: Framing) -> None:
    good = framing.encode(READ)
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        if bytes(data).upper() == good:  # a digit in lower case
            continue
        assert framing.request(bytes(data), 0)[0] is None
        assert found(framing, bytes(data) + good, 1000) in ([READ], [])  # its end may be what is damaged
        assert found(framing, bytes(data) + good + good, 1000)[-1] == READ


@pytest.mark.parametrize("framing", [RTU, ASCII], ids=["rtu", "ascii"])
def test_endless_noise_is_forgotten(framing: Framing) -> None:
    frame, at = framing.request(b":" + b"7" * 100_000, 0)
    assert frame is None
    assert at > 99_000


@pytest.mark.parametrize("head", ["0001 0001 0006", "0001 0000 0001", "0001 0000 00ff", "4854 5450 2f31"])
def test_what_is_not_modbus_tcp(head: str) -> None:
    with pytest.raises(NotModbusError):
        MBAP.request(bytes.fromhex(head) + bytes(300), 0)
