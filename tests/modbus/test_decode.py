"""Bytes to values, against what other projects and the standards say."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.modbus.config import ModbusMachine, ModbusSignal
from adapters.modbus.decode import Columns, Layout
from adapters.modbus.plan import Limits, make_blocks, polls
from gateway.model import GOOD, INVALID_DATA, NOT_AVAILABLE

# One fact a line, `from` the project whose tests state it. `value` = raw * scale + offset; `truncated`: that project
# cuts the fraction off.
VECTORS = [json.loads(line) for line in Path(__file__).with_name("vectors.jsonl").read_text().splitlines()]
TOLERANCE = {"float32": 2e-7, "float16": 1e-3}


def decode(words: str, **signals: dict[str, Any]) -> Columns:
    """Signals of a device whose holding registers hold `words` from address 0 on."""
    machine = ModbusMachine.model_validate({"connection": "c", "signals": signals})
    [poll] = polls(machine, Limits(125, 2000, 125, 0.0))
    [block] = poll.blocks
    payload = bytes.fromhex(words)
    assert block.address == 0
    return Layout(block).decode(payload[: 2 * block.count])


def of(words: str, **keys: Any) -> tuple[Any, int]:
    """One signal at holding 0: its value and quality."""
    (value,), quality = decode(words, it={"holding": 0, **keys})
    return value, quality[0] if quality else GOOD


def values(vector: dict[str, Any]) -> list[Any]:
    """Raw values of a vector, through configuration, plan and layout."""
    if "coils" in vector:
        signals = {f"s_{i:03}": ModbusSignal(coil=i) for i in range(vector["count"])}
        [block] = make_blocks(signals.items(), 2000, 0)
        return list(Layout(block).decode(bytes.fromhex(vector["coils"]))[0])
    if "bits" in vector:
        signs = [{"holding": i // 16, "bit": i % 16, "order": vector["order"]} for i in range(vector["bits"])]
        return list(decode(vector["words"], **{f"s_{i:03}": sign for i, sign in enumerate(signs)})[0])
    keys = ("type", "order", "bit", "byte", "count", "length", "location", "encoding", "invalid")
    return list(decode(vector["words"], it={"holding": 0, **{k: vector[k] for k in keys if k in vector}})[0])


def ids(vector: dict[str, Any]) -> str:
    return f"{vector.get('type', 'bit')}-{vector.get('words', 'coils').replace(' ', '')}-{vector['from']}"


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_vector(vector: dict[str, Any]) -> None:
    raw = values(vector)
    if set(vector) & {"coils", "bits"}:
        assert "".join("01"[value] for value in raw) == vector["value"]
        return
    expected = vector["value"] if "count" in vector else [vector["value"]]
    assert len(raw) == len(expected)
    for got, want in zip(raw, expected, strict=True):
        if isinstance(got, (int, float)) and ("scale" in vector or "offset" in vector):
            got = got * vector.get("scale", 1) + vector.get("offset", 0)
        if vector.get("truncated"):
            got = math.trunc(got)
        if isinstance(want, str) and want in ("NaN", "Infinity", "-Infinity"):
            assert str(got) == str(float(want))
        elif isinstance(got, float) or isinstance(want, float):
            assert got == pytest.approx(want, rel=TOLERANCE.get(vector["type"], 1e-12), abs=0)
        else:
            assert got == want
            assert type(got) is type(want)


def test_there_are_enough_vectors() -> None:
    assert len(VECTORS) == 266


# --- what the vectors do not reach -----------------------------------------------------------------------------------

CODES = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float64": "d"}
FORMS = {1: ["AB", "BA"], 2: ["ABCD", "BADC", "CDAB", "DCBA"]}
FORMS[4] = ["ABCDEFGH", "BADCFEHG", "GHEFCDAB", "HGFEDCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC"]


@settings(deadline=None)
@given(st.sampled_from(sorted(CODES)), st.binary(min_size=8, max_size=8), st.data())
def test_any_number_in_any_order(name: str, noise: bytes, data: st.DataObject) -> None:
    size = struct.calcsize(CODES[name])
    [value] = struct.unpack(">" + CODES[name], noise[:size])
    order = data.draw(st.sampled_from(FORMS[size // 2]))
    wire = bytes(noise["ABCDEFGH".index(letter)] for letter in order)
    got, quality = of(wire.hex(), type=name, order=order)
    assert quality == GOOD
    assert got == value or (got != got and value != value)
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("order", "name", "words", "value"),
    [
        # An order for 32 bits means the same habit for values of other lengths.
        ("CDAB", "uint16", "0102", 0x0102),
        ("DCBA", "uint16", "0102", 0x0201),
        ("CDAB", "uint64", "0708 0506 0304 0102", 0x0102030405060708),
        ("BADC", "uint64", "0201 0403 0605 0807", 0x0102030405060708),
        ("DCBA", "uint64", "0807 0605 0403 0201", 0x0102030405060708),
        ("GHEFCDAB", "uint32", "0304 0102", 0x01020304),
        ("CDAB", "modulo10k_u48", "0003 0002 0001", 100020003),
        ("CDAB", "modulo10k_u64", "0004 0003 0002 0001", 1000200030004),
        ("CDAB", "int8", "0102", 2),
        ("CDAB", "bool", "0100", True),
        (None, "bool", "0000", False),
    ],
)
def test_orders_reach_other_lengths(order: str | None, name: str, words: str, value: object) -> None:
    assert of(words, type=name, order=order) == (value, GOOD)


@pytest.mark.parametrize(
    ("words", "keys", "quality"),
    [
        ("123A", {"type": "bcd16"}, INVALID_DATA),
        ("1234 5F78", {"type": "bcd32"}, INVALID_DATA),
        ("2710 0000", {"type": "modulo10k_u32"}, INVALID_DATA),
        ("FFFE 0000", {"type": "string", "length": 4}, INVALID_DATA),
        ("8000", {"type": "int16", "invalid": -32768}, NOT_AVAILABLE),
        ("8000", {"type": "int16", "invalid": 0x8000}, NOT_AVAILABLE),
        ("0080", {"type": "int16", "order": "BA", "invalid": [1, 0x8000]}, NOT_AVAILABLE),
        ("00FF", {"type": "int8", "invalid": -1}, NOT_AVAILABLE),
        ("C61C 3C00", {"type": "float32", "invalid": -9999}, NOT_AVAILABLE),
        ("C61C 3C00", {"type": "float32", "invalid": -9999.0}, NOT_AVAILABLE),
        ("7FC0 0000", {"type": "float32", "invalid": 0x7FC00000}, NOT_AVAILABLE),
        ("FFFF", {"type": "bcd16", "invalid": 0xFFFF}, NOT_AVAILABLE),
        ("FFFF FFFF FFFF FFFF", {"type": "uint64", "invalid": 2**64 - 1}, NOT_AVAILABLE),
    ],
)
def test_no_value_is_bad_and_none(words: str, keys: dict[str, Any], quality: int) -> None:
    assert of(words, **keys) == (None, quality)


def test_a_bad_value_leaves_its_neighbours_alone() -> None:
    signals = {"a": {"holding": 0, "type": "uint16"}, "b": {"holding": 1, "type": "bcd16"}}
    columns = decode("0007 00FF 8000", **signals, c={"holding": 2, "type": "int16", "invalid": 0x8000})
    assert columns == ((7, None, None), (GOOD, INVALID_DATA, NOT_AVAILABLE))


def test_nan_stays_a_float() -> None:
    value, quality = of("7FC0 0000", type="float32")
    assert math.isnan(value)
    assert quality == GOOD


@pytest.mark.parametrize(
    ("words", "keys", "text"),
    [
        ("4142 4344", {"length": 3}, "ABC"),
        ("4142 2020", {"length": 4}, "AB"),
        ("4142 0043", {"length": 4}, "AB"),
        ("4142 00FF", {"length": 4}, "AB"),  # what follows the NUL is nobody's business
        ("0000 4142", {"length": 4}, ""),
        ("B044", {"length": 2, "encoding": "latin-1"}, "°D"),
        ("0041 0042", {"length": 2, "location": "low"}, "AB"),
        ("4142 4344", {"length": 2, "location": "high"}, "AC"),
        ("4241 4443", {"length": 4, "order": "DCBA"}, "ABCD"),
        ("4142 4344", {"length": 4, "order": "CDAB"}, "ABCD"),
    ],
)
def test_text(words: str, keys: dict[str, Any], text: str) -> None:
    assert of(words, type="string", **keys) == (text, GOOD)


def test_overlapping_signals_each_see_the_same_bytes() -> None:
    columns = decode(
        "0001 0203",
        whole={"holding": 0, "type": "uint32"},
        half={"holding": 1, "type": "uint16"},
        part={"holding": 1, "type": "uint8", "byte": "high"},
        flag={"holding": 1, "bit": 9},
    )
    assert sorted(map(int, columns[0])) == [1, 2, 0x0203, 0x00010203]  # type: ignore[arg-type]


def test_the_same_bytes_give_the_same_columns() -> None:
    [block] = make_blocks([("a", ModbusSignal(holding=0, type="uint16"))], 125, 0)
    layout = Layout(block)
    first = layout.decode(b"\0\1")
    assert layout.decode(bytes([0, 1])) is first
    second = layout.decode(b"\0\2")
    assert second[0] == (2,)
    assert layout.decode(b"\0\1") == first


def test_a_whole_block_of_125_registers() -> None:
    signals = {f"s_{i:03}": {"holding": i, "type": "uint16"} for i in range(125)}
    words = "".join(f"{i:04X}" for i in range(125))
    assert decode(words, **signals) == (tuple(range(125)), None)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1999), min_size=1, max_size=40, unique=True), st.binary(min_size=250, max_size=250))
def test_bits_anywhere(places: list[int], noise: bytes) -> None:
    blocks = make_blocks([(f"s{at}", ModbusSignal(discrete=at)) for at in places], 2000, 2000)
    for block in blocks:
        number = int.from_bytes(noise, "little") >> block.address
        payload = (number & (1 << block.count) - 1).to_bytes(block.payload, "little")
        flags, quality = Layout(block).decode(payload)
        assert quality is None
        assert flags == tuple(bool(noise[s.address // 8] >> s.address % 8 & 1) for s in block.signals)
        assert all(type(flag) is bool for flag in flags)
