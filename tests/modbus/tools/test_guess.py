"""Guessing what registers hold: how often it is right, and what it says about single cases."""

from __future__ import annotations

import struct

import pytest

from adapters.modbus.config import ModbusSignal
from adapters.modbus.decode import Layout
from adapters.modbus.plan import Block
from adapters.modbus.tools.guess import Displayed, Reading, layout, readings
from modbus.tools.guess_score import ORDERS, map_cases, own_cases, rewritten, score


def words_of(text: str, start: int = 0) -> dict[int, int]:
    return {start + i: int(word, 16) for i, word in enumerate(text.split())}


def best(words: str, value: str | None = None, **more) -> Reading:
    return readings([words_of(words)], Displayed.of(value) if value else None, **more)[0]


# --- how often it is right -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [3, 4, None])
def test_the_right_type_and_order_come_first(digits):
    share, _, wrong = score(own_cases(), digits)
    assert share >= 0.98, wrong


def test_without_the_value_most_are_right_too():
    share, _, wrong = score(own_cases(), value=False)
    assert share >= 0.93, wrong


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_is_favoured_against_the_facts(order):
    share, _, wrong = score(rewritten(own_cases(), order))
    assert share >= 0.95, wrong


@pytest.mark.shared
@pytest.mark.parametrize("digits", [3, 4, None])
def test_register_maps(digits):
    share, tally, wrong = score(map_cases(), digits)
    assert tally.total() > 250
    assert share >= 0.95, wrong


# --- single cases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "value", "type_", "order", "scale"),
    [
        ("4366 6666", "230.4", "float32", "ABCD", 1),
        ("6666 4366", "230.4", "float32", "CDAB", 1),
        ("6643 6666", "230.4", "float32", "BADC", 1),
        ("6666 6643", "230.4", "float32", "DCBA", 1),
        ("0900", "230.4", "uint16", "AB", 0.1),
        ("FF38", "-20.0", "int16", "AB", 0.1),
        ("FFFF FF38", "-200", "int32", "ABCD", 1),
        ("2304", "2304", "bcd16", "AB", 1),
        ("0001 86A1", "100001", "uint32", "ABCD", 1),
        ("0000 0000 0001 86A1", "100.001", "uint64", "ABCDEFGH", 0.001),
        ("406C CCCC CCCC CCCD", "230.4", "float64", "ABCDEFGH", 1),
        ("4010 3333", "2250", "float32", "ABCD", 1000),  # a meter in kW, a display in W
    ],
)
def test_single_values(words, value, type_, order, scale):
    first = best(words, value)
    assert (first.type, first.order, first.scale) == (type_, order, scale)


def test_a_decimal_comma_is_a_point():
    assert Displayed.of("230,4") == Displayed.of("230.4")


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1.2.3"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        Displayed.of(text)


def test_a_block_of_floats_supports_each_of_them():
    """1.0 and 0.0 say little on their own."""
    floats = struct.pack(">6f", 230.41, 229.87, 1.0, 0.0, 231.02, 49.98)
    words = dict(enumerate(struct.unpack(">12H", floats)))
    found = [(r.address, r.type, r.order) for r in layout([words]) if isinstance(r, Reading)]
    assert found == [(at, "float32", "ABCD") for at in range(0, 12, 2)]


def test_a_displayed_value_is_found_anywhere():
    first = best("0001 0002 0903 4248 0000 0007", "50.0")
    assert (first.address, first.type) == (3, "float32")


@pytest.mark.parametrize(("words", "type_"), [("8000", "int16"), ("7FC0 0000", "float32"), ("FFFF", "uint16")])
def test_sentinels_are_no_value(words, type_):
    none = [r for r in readings([words_of(words)], at=0) if r.type == type_]
    assert none[0].value is None
    assert str(none[0].raw).startswith("0x")
    assert type_ not in {r.type for r in readings([words_of(words)], Displayed.of("-32768"))} - {"int16"}


def test_signed_and_unsigned_are_told_apart_by_the_sign_bit_only():
    assert best("0005", at=0).sign_is_open
    assert not best("FFF6", "65526").sign_is_open
    assert best("FFF6", "-10").type == "int16"
    assert best("FFF6", at=0).type == "int16"


def test_registers_that_cannot_be_read_end_a_value():
    words = words_of("4366 6666")
    del words[1]
    words[2] = 7
    assert {r.type for r in readings([words])} <= {"uint16", "int16", "bcd16", "float16"}


def test_texts_are_found():
    found = layout([words_of("5345 5249 414C 2D31 0000 0000")])
    assert (0, "SERIAL-1") in found


def test_samples_tell_orders_apart():
    """The high word of a counter stands still, its low word runs; whichever comes first."""
    samples = [words_of(f"{low:04X} 0003") for low in (0x1004, 0x213B, 0x3277, 0x43AE, 0x54E9)]
    first = readings(samples, at=0)[0]
    assert (first.type, first.order, first.rising) == ("uint32", "CDAB", True)
    falling = [words_of(f"{low:04X} 0003") for low in (0x54E9, 0x43AE, 0x3277, 0x213B)]
    assert not readings(falling, at=0)[0].rising


def test_tolerance_is_taken_at_its_word():
    assert readings([words_of("0900")], Displayed.of("231", tolerance=1.0))
    assert not readings([words_of("0900")], Displayed.of("240", tolerance=1.0))


@pytest.mark.parametrize(
    "words",
    [
        "0000",
        "FFFF",
        "0000 0000 0000 0000",
        "FFFF FFFF FFFF FFFF",
        "7F80 0001",
        "8000 0000",
        "7F7F FFFF",
        "7FEF FFFF FFFF FFFF",
    ],
)
def test_no_words_break_it(words):
    assert readings([words_of(words)], at=0)
    for value in ("0", "1e30", "1e-30"):
        readings([words_of(words)], Displayed.of(value))
    layout([words_of(words)])


def test_what_it_says_is_what_the_adapter_reads():
    """Each reading, pasted as it is, decodes to the value it was given for."""
    words = words_of("4366 6666 0912 0034 FF38 9999 0001 2345")
    data = b"".join(word.to_bytes(2, "big") for word in words.values())
    checked = 0
    for reading in readings([words], limit=500):
        if reading.value is None:
            continue
        signal = ModbusSignal.model_validate(
            {"holding": reading.address, "type": reading.type, "order": reading.order, "scale": reading.scale}
        )
        values, _ = Layout(Block("holding", 0, len(words), ("x",), (signal,))).decode(data)
        assert values[0] == pytest.approx(reading.raw, nan_ok=True), reading
        checked += 1
    assert checked > 40
