"""Frames of the standards, and what can be none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.modbus.frames import (
    FUNCTIONS,
    Frame,
    Shape,
    Split,
    Wrong,
    crc,
    mismatch,
    split_ascii,
    split_mbap,
    split_rtu,
    wrong_transaction,
)
from adapters.modbus.link import Request
from modbus.standard import crc_by_bits, framed

SPLITS: dict[str, Split] = {"mbap": split_mbap, "rtu": split_rtu, "ascii": split_ascii}
each_framing = pytest.mark.parametrize("framing", SPLITS)


# --- frames of the standards ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("0207", "4112"),  # MODBUS over Serial Line V1.02, 6.2.2: the CRC of 02 07 is 1241
        ("01030000000a", "c5cd"),
        ("1103006b0003", "7687"),
        ("110306ae4156524340", "49ad"),
        ("", "ffff"),
    ],
)
def test_crc(data: str, expected: str) -> None:
    assert crc(bytes.fromhex(data)).hex() == expected


@given(st.binary(max_size=300))
def test_crc_is_that_of_the_standard(data: bytes) -> None:
    assert crc(data) == crc_by_bits(data)
    assert crc(data + crc(data)) == b"\0\0"


@pytest.mark.parametrize(
    ("framing", "data", "transaction", "body"),
    [
        # MODBUS Messaging on TCP/IP V1.0b, 4.3.1: register 5 of a device is read
        ("mbap", bytes.fromhex("1501 0000 0005 ff 03 02 0005"), 0x1501, "ff03020005"),
        # MODBUS Application Protocol V1.1b3, 6.1 to 6.4, unit 17
        ("rtu", bytes.fromhex("11 01 05 cd6bb20e1b 45e6"), 0, "110105cd6bb20e1b"),
        ("rtu", bytes.fromhex("11 03 06 ae4156524340 49ad"), 0, "110306ae4156524340"),
        ("rtu", bytes.fromhex("0a 81 02 b053"), 0, "0a8102"),
        ("ascii", b":110306AE4156524340CC\r\n", 0, "110306ae4156524340"),
        ("ascii", b":110306ae4156524340cc\r\n", 0, "110306ae4156524340"),
        ("ascii", b":0A810273\r\n", 0, "0a8102"),
    ],
)
def test_known_frames(framing: str, data: bytes, transaction: int, body: str) -> None:
    frame = SPLITS[framing](data)
    assert frame == Frame(len(data), transaction, bytes.fromhex(body))
    for cut in range(len(data)):
        assert SPLITS[framing](data[:cut]) is None
        with_more = SPLITS[framing](data + data[:cut])
        assert with_more == frame


@pytest.mark.parametrize(
    ("framing", "data", "kind"),
    [
        ("mbap", "0001 0001 0005 07 03 02 0005", "not Modbus"),  # protocol id
        ("mbap", "0001 0000 0002 07 03", "not Modbus"),  # a body has unit id, function code and something
        ("mbap", "0001 0000 00ff 07 03 02 0005", "not Modbus"),  # 255: more than unit id and a PDU of 253 bytes
        ("mbap", "48545450", "not Modbus"),
        ("rtu", "11 03 06 ae4156524340 49ac", "bad checksum"),
        ("rtu", "11 06 006b0003 0000", "wrong function"),
        ("rtu", "00 00 00", "wrong function"),
        ("ascii", b"110306AE4156524340CC\r\n".hex(), "not Modbus"),
        ("ascii", b":110306AE4156524340CD\r\n".hex(), "bad checksum"),
        ("ascii", b":110306AE415652434OCC\r\n".hex(), "bad checksum"),
        ("ascii", b":110306AE415652434CC\r\n".hex(), "bad checksum"),  # half a byte
        ("ascii", b":\r\n".hex(), "bad checksum"),
        ("ascii", b":1100EF\r\n".hex(), "bad checksum"),  # no room for anything behind the function code
        ("ascii", (b":" + b"0" * 600).hex(), "not Modbus"),
    ],
)
def test_what_can_be_no_answer(framing: str, data: str, kind: str) -> None:
    with pytest.raises(Wrong) as caught:
        SPLITS[framing](bytes.fromhex(data))
    assert caught.value.kind == kind
    assert str(caught.value).startswith(("its answer", "the checksum"))


# --- any bytes --------------------------------------------------------------------------------------------------------

unit, size = st.integers(0, 255), st.integers(1, 250)
read_bodies = st.builds(
    lambda unit, function, data: bytes((unit, function, len(data))) + data,
    unit, st.sampled_from(sorted(FUNCTIONS.values())), st.binary(min_size=1, max_size=250),
)  # fmt: skip
refusals = st.builds(lambda unit, function, code: bytes((unit, function | 0x80, code)), unit, st.integers(1, 4), unit)
bodies = read_bodies | refusals
noise = st.binary(max_size=600) | st.builds(
    lambda head, rest: head + rest,
    st.sampled_from([b"\0\1\0\0\0\5", b"\7\3\4", b"\7\x83\2", b":", b":070304", b"\0\1\0\0"]),
    st.binary(max_size=40),
)


@each_framing
@given(data=noise)
@example(data=b"")
def test_no_bytes_raise_anything_else_or_become_an_unsound_frame(framing: str, data: bytes) -> None:
    try:
        frame = SPLITS[framing](data)
    except Wrong as exc:
        assert exc.kind
        return
    if frame is not None:
        assert len(frame.body) >= 3
        whole = framed(framing, frame.body, frame.transaction)
        found = data[: frame.length]
        assert (found.upper() if framing == "ascii" else found) == whole


@each_framing
@given(body=bodies, transaction=st.integers(0, 65535), rest=st.binary(max_size=20))
def test_a_frame_is_found_wherever_it_was_cut(framing: str, body: bytes, transaction: int, rest: bytes) -> None:
    transaction = transaction if framing == "mbap" else 0
    data = framed(framing, body, transaction)
    for cut in range(len(data)):
        assert SPLITS[framing](data[:cut]) is None
    assert SPLITS[framing](data + rest) == Frame(len(data), transaction, body)


@each_framing
@given(body=bodies, flip=st.data())
def test_no_single_flipped_bit_goes_unnoticed(framing: str, body: bytes, flip: st.DataObject) -> None:
    """But for the data of frames without a checksum, and for the case of hexadecimal digits."""
    data = bytearray(framed(framing, body, 7))
    at = flip.draw(st.integers(0, 7 + 1 if framing == "mbap" else len(data) - 1))
    data[at] ^= 1 << flip.draw(st.integers(0, 7))
    if framing == "ascii" and bytes(data).upper() == framed(framing, body):
        return
    refused = body[1] & 0x80
    function = body[1] & 0x7F
    shape = Shape(body[0], function, 2 if refused else body[2])
    try:
        frame = SPLITS[framing](bytes(data))
    except Wrong:
        return
    if frame is None or frame.transaction != (7 if framing == "mbap" else 0):
        return
    if refused and framing == "mbap" and at == 8:
        return  # another exception code: nobody can tell
    assert mismatch(shape, frame.body) is not None


# --- which frame is the answer ----------------------------------------------------------------------------------------


def test_the_shape_of_an_answer() -> None:
    assert Shape.of(Request(17, "coil", 19, 19)) == Shape(17, 1, 3)
    assert Shape.of(Request(17, "discrete", 196, 22)) == Shape(17, 2, 3)
    assert Shape.of(Request(17, "discrete", 0, 2000)) == Shape(17, 2, 250)
    assert Shape.of(Request(17, "holding", 107, 3)) == Shape(17, 3, 6)
    assert Shape.of(Request(17, "input", 8, 125)) == Shape(17, 4, 250)
    assert Shape(17, 3, 6).head == bytes.fromhex("110306")
    assert Shape(17, 3, 6).mbap_head == bytes.fromhex("0000 0009 110306")


@given(body=st.binary(min_size=3, max_size=12) | bodies, shape=st.builds(Shape, unit, st.integers(1, 4), size))
@example(body=b"\7\3\2\0\1", shape=Shape(7, 3, 2))
@example(body=b"\7\x83\2\0\1", shape=Shape(7, 3, 4))  # a refusal with data
@example(body=b"\7\3\4\0\1", shape=Shape(7, 3, 4))  # fewer bytes than it says
def test_only_the_answer_or_a_refusal_matches(body: bytes, shape: Shape) -> None:
    answer = body[:3] == shape.head and len(body) == 3 + shape.size
    refusal = body[:2] == bytes((shape.unit, shape.function | 0x80)) and len(body) == 3 and body[2]
    assert (mismatch(shape, body) is None) == bool(answer or refusal)


@given(body=bodies)
def test_a_right_answer_matches(body: bytes) -> None:
    size = 6 if body[1] & 0x80 else body[2]
    wrong = mismatch(Shape(body[0], body[1] & 0x7F, size), body)
    assert (wrong is None) == (not body[1] & 0x80 or body[2] > 0)  # a refusal has a reason


def test_says_what_does_not_fit() -> None:
    shape = Shape(7, 3, 4)
    for body, text in (
        (b"\x08\3\4\0\0\0\0", "unit id 8 instead of 7"),
        (b"\7\4\4\0\0\0\0", "function code 4 instead of 3"),
        (b"\7\3\2\0\0", "byte count 2 instead of 4"),
        (b"\7\3\4\0\0\0", "length 3 instead of 4"),
        (b"\7\x83\2\0", "length 1 instead of 0"),
        (b"\7\x84\2", "function code 132 instead of 3"),
    ):
        wrong = mismatch(shape, body)
        assert wrong is not None
        assert text in str(wrong)
    assert "transaction_ids: ignored" in wrong_transaction(0)
    assert "another request" in wrong_transaction(9)
