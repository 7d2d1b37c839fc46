"""What can be written, and how each mistake is explained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.modbus import PROTOCOLS
from adapters.modbus.config import ModbusMachine, ModbusSignal
from gateway.config import Configuration, load
from gateway.errors import ConfigErrors

HEAD = "connections: {c: {protocol: modbus-tcp, host: 10.0.0.1}}\nmachines:\n  m:\n    connection: c\n"


def loaded(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    return load(file, {protocol.name: protocol for protocol in PROTOCOLS})


def machine(tmp_path: Path, body: str) -> ModbusMachine:
    found = loaded(tmp_path, HEAD + "".join(f"    {line}\n" for line in body.splitlines())).machines["m"]
    assert isinstance(found, ModbusMachine)
    return found


def signal(**keys: Any) -> ModbusSignal:
    return ModbusSignal.model_validate(keys)


MISTAKES = [
    # a signal, the place of the mistake, what is said, what to do
    ("{type: int16}", "x", "no address", "holding: 0"),
    ("{holding: 1, input: 1, type: int16}", "x.holding", "not at `input` and `holding`", ""),
    ("{holding: 0}", "x", "'type' is missing", "type: int16"),
    ("{holding: 0, type: int23}", "x.type", "'int23' is not known", "did you mean"),
    ("{holding: 0, type: float}", "x.type", "'float' is not known", "did you mean 'float"),
    ("{holding: 400001, type: int16}", "x.holding", "400001 style", "did you mean 'holding: 0'?"),
    ("{holding: 465536, type: int16}", "x.holding", "400001 style", "did you mean 'holding: 65535'?"),
    ("{holding: 300011, type: int16}", "x.holding", "300001 style", "did you mean 'input: 10'?"),
    ("{coil: 100001}", "x.coil", "100001 style", "did you mean 'discrete: 0'?"),
    ("{holding: 400011, type: int16, numbering: one-based}", "x.holding", "style", "did you mean 'holding: 11'?"),
    ("{holding: 70000, type: int16}", "x.holding", "addresses end at 65535", "the first one is 0"),
    ("{holding: 465537, type: int16}", "x.holding", "addresses end at 65535", ""),
    ("{holding: -1, type: int16}", "x.holding", "too small", ""),
    ("{holding: abc, type: int16}", "x.holding", "not a whole number", "Address of a holding register"),
    ("{holding: 65535, type: int32}", "x.holding", "addresses end at 65535", "it takes 2 from 65535 on"),
    ("{coil: 65535, count: 2}", "x.coil", "addresses end at 65535", "`count`"),
    (
        "{holding: 0, type: int16, numbering: one-based}",
        "x.holding",
        "the first holding register is 1",
        "did you mean 1?",
    ),
    ("{coil: 0, type: int16}", "x.type", "a coil is a bool", "remove `type`"),
    ("{discrete: 0, bit: 1}", "x.bit", "a discrete input is a single bit", "remove `bit`"),
    ("{holding: 0, type: uint16, bit: 1}", "x.type", "one bit is a bool", "remove `type` or `bit`"),
    ("{holding: 0, bit: 16}", "x.bit", "too large: at most 15", ""),
    ("{holding: 0, type: float32, invalid: 1e300}", "x.invalid", "does not fit into float32", ""),
    ("{holding: 0, type: float16, invalid: 70000}", "x.invalid", "does not fit into float16", ""),
    ("{holding: 0, type: string, length: 8, encoding: raw_unicode_escape}", "x.encoding", "cannot be used", "utf-8"),
    ("{holding: 0, type: string, length: 8, encoding: idna}", "x.encoding", "cannot be used", "utf-8"),
    ("{holding: 0, type: datetime}", "x.type", "needs its `format`", "cp56"),
    ("{holding: 0, type: uint16, format: cp56}", "x.format", "for datetime", "remove `format`"),
    ("{holding: 0, type: uint16, scale_from: y}", "x.scale_from", "no signal 'y'", "read as well"),
    ("{holding: 0, type: int16, byte: high}", "x.byte", "for int8 and uint8", "type: uint8"),
    ("{holding: 0, type: int16, order: ABDC}", "x.order", "'ABDC' is not known", "did you mean"),
    ("{holding: 0, type: int32, order: BA}", "x.order", "says too little about int32", "ABCD, BADC, CDAB, DCBA"),
    ("{holding: 0, type: string}", "x.type", "needs its length", "length: 16"),
    ("{holding: 0, type: string, length: 126, location: low}", "x.length", "at most 125", ""),
    ("{holding: 0, type: string, length: 4, encoding: utf-88}", "x.encoding", "cannot be used", "utf-8"),
    ("{holding: 0, type: string, length: 4, encoding: utf-16}", "x.encoding", "cannot be used", "utf-8"),
    ("{holding: 0, type: int16, length: 4}", "x.length", "for strings", "type: string"),
    ("{holding: 0, type: string, length: 4, scale: 2}", "x.scale", "a string has no scale", "remove"),
    ("{coil: 0, range: [0, 1]}", "x.range", "a bool has no range", "remove"),
    ("{coil: 0, invalid: 1}", "x.invalid", "a bool has no invalid", "remove"),
    ("{coil: 0, kind: counter}", "x.kind", "cannot be a counter", "remove"),
    ("{holding: 0, type: float32, enum: {0: a}}", "x.enum", "names whole numbers", "remove"),
    ("{holding: 0, type: int16, invalid: 65536}", "x.invalid", "does not fit into int16", "16 bits"),
    ("{holding: 0, type: int16, invalid: 1.5}", "x.invalid", "1.5 is not a value of int16", "whole"),
    ("{holding: 0, type: int16, invalid: ffff}", "x.invalid", "'ffff' is not a raw value", "0x8000"),
    ("{holding: 0, type: int16, count: 0}", "x.count", "too small", ""),
    ("{holding: 0, type: int16, reg: 1}", "x.reg", "'reg' is not a key here", ""),
]


@pytest.mark.parametrize(("text", "place", "said", "hint"), MISTAKES)
def test_a_mistake_in_a_signal(tmp_path: Path, text: str, place: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        machine(tmp_path, f"signals:\n  x: {text}")
    [error] = caught.value.errors
    assert error.field == f"machines.m.signals.{place}"
    assert said in error.message
    assert hint in error.hint
    assert error.line == 6
    assert error.source[error.column - 1 :].startswith(place.rpartition(".")[2]) or error.column > 5


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("host: 10.0.0.1:502", "the port has a key of its own", "did you mean 'host: 10.0.0.1' and 'port: 502'?"),
        ("host: tcp://10.0.0.1", "not a host but a URL", "did you mean '10.0.0.1'?"),
        ("host: a b", "'a b' is not a host", "for example"),
        ("host: ''", "'' is not a host", "for example"),
        ("port: 0", "too small", ""),
        ("host: h, quirks: {max_registers: 126}", "too large: at most 125", ""),
        ("host: h, quirks: {pause_between_requests: 20}", "'20' has no unit", "did you mean"),
        ("host: h, quirks: {pause: 20ms}", "'pause' is not a key here", "pause_after_connect"),
    ],
)
def test_a_mistake_in_a_connection(tmp_path: Path, text: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, f"connections: {{c: {{protocol: modbus-tcp, {text}}}}}\n")
    assert any(said in error.message and hint in error.hint for error in caught.value.errors)


def test_a_five_digit_number_is_an_address(tmp_path: Path) -> None:
    assert machine(tmp_path, "signals: {x: {holding: 40001, type: int16}}").signals["x"].address == 40001


def test_one_based_numbers_become_addresses(tmp_path: Path) -> None:
    found = machine(tmp_path, "numbering: one-based\nsignals: {x: {holding: 1, type: int16}, y: {coil: 65536}}")
    assert [s.address for s in found.signals.values()] == [0, 65535]


def test_the_order_of_the_machine_suits_signals_of_any_size(tmp_path: Path) -> None:
    text = "order: CDAB\nsignals: {a: {holding: 0, type: int16}, b: {holding: 1, type: int32}, c: {coil: 0}, d: {holding: 3, bit: 0}, e: {holding: 4, type: int64}, f: {holding: 8, type: int32, order: ABCD}}"
    orders = [s.wire_order for s in machine(tmp_path, text).signals.values()]
    assert orders == ["AB", "CDAB", "AB", "AB", "GHEFCDAB", "ABCD"]


def test_an_array_becomes_signals(tmp_path: Path) -> None:
    text = "signals:\n  t: {input: 10, type: float32, count: 3, unit: Cel}\n  on: {coil: 4, count: 2}\n  flag: {holding: 0, bit: 3, count: 2}"
    found = machine(tmp_path, text).signals
    assert {name: (s.table, s.address, s.unit) for name, s in found.items()} == {
        "t_0": ("input", 10, "Cel"),
        "t_1": ("input", 12, "Cel"),
        "t_2": ("input", 14, "Cel"),
        "on_0": ("coil", 4, ""),
        "on_1": ("coil", 5, ""),
        "flag_0": ("holding", 0, ""),
        "flag_1": ("holding", 1, ""),
    }


@pytest.mark.parametrize(
    "order", ["x: {coil: 4, count: 2}\n  x_1: {coil: 0}", "x_1: {coil: 0}\n  x: {coil: 4, count: 2}"]
)
def test_names_made_by_count_may_not_be_taken(tmp_path: Path, order: str) -> None:
    with pytest.raises(ConfigErrors, match="two signals are named 'x_1'") as caught:
        machine(tmp_path, f"signals:\n  {order}")
    [error] = caught.value.errors
    assert "x: {coil: 4" in error.source


def test_what_a_raw_value_is_to_the_gateway() -> None:
    types = {"int16": "int", "bcd32": "int", "modulo10k_u48": "int", "float16": "float", "bool": "bool"}
    for name, value_type in types.items():
        assert signal(holding=0, type=name).value_type == value_type
    assert signal(coil=0).value_type == signal(holding=0, bit=1).value_type == "bool"
    assert signal(holding=0, type="string", length=3).value_type == "string"


def test_sizes() -> None:
    assert [signal(holding=0, type=t).size for t in ("int8", "float16", "bcd32", "modulo10k_u48", "uint64")] == [1, 1, 2, 3, 4]  # fmt: skip
    assert signal(holding=0, type="string", length=5).size == 3
    assert signal(holding=0, type="string", length=5, location="low").size == 5
    assert signal(coil=0).size == 1


def test_importing_the_adapter_does_not_import_its_library() -> None:
    code = "import adapters.modbus, sys; sys.exit('pymodbus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
