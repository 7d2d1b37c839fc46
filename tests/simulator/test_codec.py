"""Registers against ones written by hand, against recorded vectors, and against pymodbus' own converters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from gateway.model import Value
from simulators.modbus.codec import number_codec
from simulators.modbus.image import Image

MakeImage = Callable[[Mapping[str, Any], Mapping[str, Any]], Image]


def words(*values: int) -> bytes:
    """Registers as they are on the wire."""
    return b"".join(value.to_bytes(2, "big") for value in values)


# --- written by hand -------------------------------------------------------------------------------------------------

MOMENT = {"type": "datetime"}
BY_HAND: list[tuple[dict[str, Any], Value, tuple[int, ...], Value]] = [
    # 230.4 is 0x43666666 as a float32, which is 230.39999389648438.
    ({"type": "float32"}, 230.4, (0x4366, 0x6666), 230.39999389648438),
    ({"type": "float32", "order": "CDAB"}, 230.4, (0x6666, 0x4366), 230.39999389648438),
    ({"type": "float32", "order": "BADC"}, 230.4, (0x6643, 0x6666), 230.39999389648438),
    ({"type": "float32", "order": "DCBA"}, 1.0, (0x0000, 0x803F), 1.0),
    ({"type": "float32"}, 1e39, (0x7F80, 0), math.inf),
    ({"type": "float16"}, 1.5, (0x3E00,), 1.5),
    ({"type": "float64", "order": "GHEFCDAB"}, 1.5, (0, 0, 0, 0x3FF8), 1.5),
    ({"type": "int16", "scale": 0.1}, 21.34, (213,), 21.3),
    ({"type": "int16", "scale": 0.1}, -21.36, (0xFF2A,), -21.4),
    ({"type": "int16", "scale": 0.5, "offset": -40}, 10, (100,), 10.0),
    ({"type": "int16", "scale": 10}, 1234, (123,), 1230.0),
    ({"type": "uint16", "order": "BA"}, 1, (0x0100,), 1),
    ({"type": "int16"}, 40_000, (0x7FFF,), 32767),
    ({"type": "uint16"}, -3, (0,), 0),
    ({"type": "uint16", "kind": "counter"}, 65_537, (1,), 1),
    ({"type": "uint32", "order": "CDAB"}, 0x00012345, (0x2345, 0x0001), 0x12345),
    ({"type": "uint32", "order": "DCBA"}, 0x01020304, (0x0403, 0x0201), 0x01020304),
    ({"type": "uint64"}, 2**64 - 2, (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE), 2**64 - 2),
    ({"type": "uint64", "order": "CDABGHEF"}, 0x0001000200030004, (2, 1, 4, 3), 0x0001000200030004),
    ({"type": "int64", "order": "HGFEDCBA"}, -2, (0xFEFF, 0xFFFF, 0xFFFF, 0xFFFF), -2),
    ({"type": "int8"}, -2, (0x00FE,), -2),
    ({"type": "int8", "byte": "high"}, -2, (0xFE00,), -2),
    ({"type": "uint8", "byte": "high", "order": "BA"}, 7, (0x0007,), 7),
    ({"type": "bcd16"}, 1234, (0x1234,), 1234),
    ({"type": "bcd16", "kind": "counter"}, 10_001, (1,), 1),
    ({"type": "bcd32", "order": "CDAB"}, 12345678, (0x5678, 0x1234), 12345678),
    ({"type": "modulo10k_u48"}, 1_2345_6789, (1, 2345, 6789), 123456789),
    ({"type": "bool"}, True, (1,), True),
    ({"bit": 3}, True, (8,), True),
    ({"bit": 3, "order": "BA"}, True, (0x0800,), True),
    ({"type": "uint16", "enum": {0: "off", 3: "auto"}}, "auto", (3,), "auto"),
    ({"type": "uint16", "enum": {0: "off", 3: "auto"}}, 9, (9,), 9),
    ({"type": "string", "length": 5}, "Form", (0x466F, 0x726D, 0), "Form"),
    ({"type": "string", "length": 4, "order": "BA"}, "Form", (0x6F46, 0x6D72), "Form"),
    ({"type": "string", "length": 2, "location": "low"}, "Fo", (0x46, 0x6F), "Fo"),
    ({"type": "string", "length": 2, "location": "high"}, "For", (0x4600, 0x6F00), "Fo"),
    ({"type": "string", "length": 2, "encoding": "latin-1"}, "Ä", (0xC400,), "Ä"),
    # 4 March 2026 is a Wednesday; 05:06:07 UTC is second 1772600767 since 1970.
    (MOMENT | {"format": "unix32"}, "2026-03-04T05:06:07Z", (0x69A7, 0xBDBF), "2026-03-04T05:06:07Z"),
    (MOMENT | {"format": "unix32"}, "2026-03-04T12:06:07+07:00", (0x69A7, 0xBDBF), "2026-03-04T05:06:07Z"),
    (MOMENT | {"format": "unix32"}, "2026-03-04T05:06:07", (0x69A7, 0xBDBF), "2026-03-04T05:06:07Z"),
    (MOMENT | {"format": "unix32"}, 1772600767.5, (0x69A7, 0xBDBF), "2026-03-04T05:06:07Z"),
    (MOMENT | {"format": "unix32"}, "1960-01-01", (0, 0), "1970-01-01T00:00:00Z"),
    (MOMENT | {"format": "unix32", "order": "CDAB"}, "2026-03-04T05:06:07Z", (0xBDBF, 0x69A7), "2026-03-04T05:06:07Z"),
    (MOMENT | {"format": "unix64ms"}, "2026-03-04T05:06:07.089Z", (0, 0x019C, 0xB73D, 0x3271), "2026-03-04T05:06:07.089Z"),
    (MOMENT | {"format": "cp56"}, "2026-03-04T05:06:07.089", (0x001A, 0x0364, 0x0506, 7089), "2026-03-04T05:06:07.089"),
    (MOMENT | {"format": "cp56", "order": "BA"}, "2026-03-04T05:06:00", (0x1A00, 0x6403, 0x0605, 0), "2026-03-04T05:06:00"),
    (MOMENT | {"format": "words"}, "2026-03-04T05:06:07", (2026, 3, 4, 5, 6, 7), "2026-03-04T05:06:07"),
    (MOMENT | {"format": "bytes"}, "2026-03-04T15:16:17", (0x1A03, 0x040F, 0x1011), "2026-03-04T15:16:17"),
    (MOMENT | {"format": "bcd"}, "2026-03-04T15:16:17", (0x2603, 0x0415, 0x1617), "2026-03-04T15:16:17"),
]  # fmt: skip


@pytest.mark.parametrize(("signal", "value", "registers", "carried"), BY_HAND)
def test_registers_written_by_hand(
    image: MakeImage, signal: dict[str, Any], value: Value, registers: tuple[int, ...], carried: Value
) -> None:
    found = image({"x": {"holding": 7} | signal}, {"x": value}).read(3, 7, len(registers), 0.0)
    assert found == (words(*registers), [("m", {"x": carried})])


def test_signals_that_share_a_register(image: MakeImage) -> None:
    signals = {
        "word": {"holding": 0, "type": "uint16"},
        "bit_0": {"holding": 0, "bit": 0},
        "bit_15": {"holding": 1, "bit": 15},
        "low": {"holding": 1, "type": "uint8"},
    }
    unit = image(signals, {"word": 6, "bit_0": True, "bit_15": True, "low": 5})
    # The word is written first in the configuration and counts; the bit in it is what the word says.
    assert unit.read(3, 0, 2, 0.0) == (words(6, 0x8005), [("m", {"word": 6, "bit_0": False, "bit_15": True, "low": 5})])


def test_a_moment_below_another_signal_is_none(image: MakeImage) -> None:
    signals = {"other": {"holding": 0, "type": "uint64"}, "moment": {"holding": 0, "type": "datetime"}}
    for form, registers in (("unix64ms", 4), ("cp56", 4), ("bytes", 3), ("bcd", 3)):
        signals["moment"] = MOMENT | {"holding": 0, "format": form}
        found = image(signals, {"other": 2**64 - 1, "moment": "2026-03-04T05:06:07"}).read(3, 0, 4, 0.0)
        assert found == (words(*[0xFFFF] * 4), [("m", {"other": 2**64 - 1, "moment": None})]), registers


# --- scale factors in other signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "keys", "value", "registers", "carried"),
    [
        (-1, {"type": "uint16"}, 230.44, (2304, 0xFFFF), 230.4),
        (-2, {"type": "int16"}, -12.3, (0xFB32, 0xFFFE), -12.3),
        (0, {"type": "uint16"}, 2840, (2840, 0), 2840.0),
        (3, {"type": "int16"}, -51_600, (0xFFCC, 3), -52_000.0),
        (-2, {"type": "int16"}, 5000, (0x7FFF, 0xFFFE), 327.67),
        (1, {"type": "int16", "scale": 0.5, "offset": -40}, 10, (10, 1), 10.0),  # 10 x 10^1 x 0.5 - 40
        (-1, {"type": "uint16", "kind": "counter"}, 6553.8, (2, 0xFFFF), 0.2),
        (-32768, {"type": "uint16"}, 0.0, (0, 0x8000), 0.0),  # it has no such factor
    ],
)
def test_values_with_a_scale_factor(
    image: MakeImage, power: int, keys: dict[str, Any], value: float, registers: tuple[int, ...], carried: float
) -> None:
    signals = {"x": {"holding": 0, "scale_from": "x_sf"} | keys, "x_sf": {"holding": 1, "type": "int16"}}
    found = image(signals, {"x": value, "x_sf": power}).read(3, 0, 2, 0.0)
    assert found == (words(*registers), [("m", {"x": carried, "x_sf": power})])


def test_a_scale_factor_that_changes_holds_for_the_values_of_its_time(image: MakeImage) -> None:
    signals = {"x": {"input": 0, "type": "uint16", "scale_from": "x_sf"}, "x_sf": {"holding": 0, "type": "int16"}}
    unit = image(signals, {"x": 230.0, "x_sf": lambda t: -1 if t < 10 else 0})
    assert unit.read(4, 0, 1, 9.0) == (words(2300), [("m", {"x": 230.0})])
    assert unit.read(4, 0, 1, 10.0) == (words(230), [("m", {"x": 230.0})])


# --- vectors of other projects ---------------------------------------------------------------------------------------

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "modbus_decode.jsonl"
ORDERS = {"AB", "BA", "ABCD", "CDAB", "BADC", "DCBA", "ABCDEF", "ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA"}


def vectors() -> list[dict[str, Any]]:
    """Those that tell which registers a value makes: not the ones whose value was cut or is no value."""
    if not VECTORS.exists():
        return []
    found = [json.loads(line) for line in VECTORS.read_text().splitlines()]
    return [v for v in found if _is_reversible(v)]


def _is_reversible(vector: dict[str, Any]) -> bool:
    if vector["type"] in ("bits", "coils") or vector["expected"] in (None, "NaN", []):
        return False
    exact = not vector.get("scale") or abs(float(vector["expected"]) / vector["scale"]) < 2**50
    whole_types = ("float64",) if vector["type"].startswith("float") else (vector["type"],)
    return exact and vector.get("out") in (None, *whole_types) and isinstance(vector["registers"], list)


def _signal(vector: dict[str, Any]) -> dict[str, Any]:
    kind = vector["type"]
    signal: dict[str, Any] = {"holding": 0, "type": kind, "order": vector["byte_order"]}
    if kind == "bit":
        signal |= {"type": "bool", "bit": vector["bit"]}
    elif kind[:-1] in ("int8", "uint8"):
        signal |= {"type": kind[:-1], "byte": "high" if kind.endswith("h") else "low"}
    elif kind == "string":
        location = {"lower": "low", "upper": "high"}.get(vector.get("location", ""), "both")
        signal |= {"length": len(vector["registers"]) * (2 if location == "both" else 1), "location": location}
        signal |= {"encoding": vector.get("encoding", "utf-8")}
    return signal | {key: vector[key] for key in ("scale", "offset", "count") if key in vector}


@pytest.mark.shared
@pytest.mark.parametrize("vector", vectors(), ids=lambda v: v["id"])
def test_vectors_of_other_projects(image: MakeImage, vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    if isinstance(expected, str) and vector["type"] != "string":
        expected = float(expected.replace("Infinity", "inf"))
    values = {f"x_{i}": each for i, each in enumerate(expected)} if "count" in vector else {"x": expected}
    registers = [int(word, 16) for word in vector["registers"]]
    if vector["type"] == "bit":  # the other bits are not told
        registers = [(1 << vector["bit"]) * expected]
    elif vector["type"][:-1] in ("int8", "uint8"):
        high = vector["type"].endswith("h") != (vector["byte_order"] == "BA")
        registers = [registers[0] & (0xFF00 if high else 0xFF)]
    found = image({"x": _signal(vector)}, values).read(3, 0, len(registers), 0.0)
    assert found is not None
    assert found[0].hex() == words(*registers).hex()
    for name, value in found[1][0][1].items():
        assert value == (values[name] if isinstance(value, str) else pytest.approx(values[name], rel=1e-6))


# --- pymodbus ----------------------------------------------------------------------------------------------------------

DATATYPE = ModbusClientMixin.DATATYPE
NUMBERS = {
    "int16": st.integers(-(2**15), 2**15 - 1), "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1), "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1), "uint64": st.integers(0, 2**64 - 1),
    "float32": st.floats(width=32), "float64": st.floats(),
}  # fmt: skip
WORD_ORDERS = {
    "big": {1: "AB", 2: "ABCD", 4: "ABCDEFGH"},
    "little": {1: "AB", 2: "CDAB", 4: "GHEFCDAB"},
}


@given(st.data())
def test_numbers_as_pymodbus_converts_them(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(NUMBERS)))
    value = data.draw(NUMBERS[name])
    word_order = data.draw(st.sampled_from(sorted(WORD_ORDERS)))
    kind = DATATYPE[name.upper()]
    codec = number_codec(name, WORD_ORDERS[word_order][kind.value[1]])
    registers = ModbusClientMixin.convert_to_registers(value, kind, word_order)
    assert codec.pack(value) == words(*registers)
    back = ModbusClientMixin.convert_from_registers(registers, kind, word_order)
    carried = codec.unpack(words(*registers))
    assert type(carried) is type(back)
    assert repr(carried) == repr(back)  # NaN is not equal to itself
