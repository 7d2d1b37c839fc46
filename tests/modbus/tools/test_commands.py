"""gateway modbus scan | dump | guess | import as a person types them, against real servers."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.config import load
from gateway.runtime.registry import protocols
from parts.gateway import COMMAND, Simulated, gateway
from parts.jsmodbus import Jsmodbus
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll
from parts.ports import free_port

METER = struct.unpack(">8H", struct.pack(">4f", 230.41, 229.87, 231.02, 49.98))
QUICK = ("--pause", "0s")


@pytest.fixture(scope="module")
def device() -> Iterator[Libmodbus]:
    """Unit 1 has holding 0–3 and 6, and input 10–17; unit 7 has coils."""
    image = {
        (1, "holding", 0): [2135, 3, 0, 4],
        (1, "holding", 6): [7],
        (1, "input", 10): METER,
        (7, "coil", 0): [1, 0, 1],
    }
    with Libmodbus(image) as server:
        yield server


def modbus(*arguments: str, cwd: Path | None = None):
    return gateway("modbus", *arguments, cwd=cwd)


def rows(done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def loaded(text: str, folder: Path, more: str = ""):
    (folder / "gateway.yaml").write_text(more + text)
    return load(folder / "gateway.yaml", protocols(), env={})


# --- scan ------------------------------------------------------------------------------------------------------------


def test_scan_finds_the_units_and_writes_yaml_that_reads_them(device, tmp_path):
    done = modbus("scan", f"127.0.0.1:{device.port}", "--units", "1-9", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "9 requests, 9 s if nothing answers" in done.stderr
    assert re.findall(r"^unit +(\d+)", done.stdout, re.MULTILINE) == ["1", "7"]
    assert "holding: data" in done.stdout
    found = loaded(done.stdout.partition("\n\n")[2], tmp_path)
    assert list(found.machines) == ["unit-01", "unit-07"]
    done = gateway("read", "unit-01", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["value"] == 2135


def test_an_exception_is_an_answer_and_that_of_a_bridge_is_none(device):
    found = rows(modbus("scan", f"tcp://127.0.0.1:{device.port}", "--units", "7,8", "--json", *QUICK))
    assert [row["unit"] for row in found] == [7]
    assert found[0]["tables"] == {
        "coil": "data",
        "discrete": "exception 2 (illegal address)",
        "input": "exception 2 (illegal address)",
        "holding": "exception 2 (illegal address)",
    }


def test_a_device_that_answers_to_every_unit_is_one():
    with Jsmodbus({"holding": [1, 2, 3], "input": [4], "coil": [1], "discrete": [0]}) as device:
        done = modbus("scan", f"127.0.0.1:{device.port}", "--units", "1-6", *QUICK)
    assert "one device, most likely" in done.stdout
    assert list(yaml.safe_load(done.stdout.partition("\n\n")[2])["machines"]) == ["unit-01"]


def test_nobody_there(device):
    done = modbus("scan", f"127.0.0.1:{device.port}", "--units", "20-22", *QUICK)
    assert (done.returncode, "no unit answers" in done.stderr) == (4, True)
    done = modbus("scan", f"127.0.0.1:{free_port()}")
    assert (done.returncode, "refuses the connection" in done.stderr) == (4, True)


def test_scan_of_a_connection_of_the_configuration(device, tmp_path):
    (tmp_path / "gateway.yaml").write_text(
        f"connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {device.port}}}}}\n"
        "machines: {m: {connection: panel, unit_id: 1, signals: {a: {holding: 0, type: uint16}}}}\n"
    )
    done = modbus("scan", "panel", "--units", "1", *QUICK, cwd=tmp_path)
    assert "connection: panel" in done.stdout
    assert "connections:" not in done.stdout
    assert rows(modbus("dump", "m", "holding:0", "--json", cwd=tmp_path))[0]["uint16"] == 2135
    done = modbus("scan", "panl", cwd=tmp_path)
    assert (done.returncode, "did you mean 'panel'?" in done.stderr) == (2, True)


SERIAL = """\
connections: {{bus: {{protocol: modbus-rtu, port: "{port}", baud: 9600, parity: none}}}}
machines:
  a: {{connection: bus, unit_id: 3, signals: {{x: {{holding: 0, type: uint16}}}}}}
  b: {{connection: bus, unit_id: 5, signals: {{y: {{input: 10, type: float32, order: CDAB}}}}}}
"""


class SerialLine(Simulated):
    def ready(self) -> bool:
        return "bus: " in self.log


def test_scan_of_a_serial_line(tmp_path):
    port = str(tmp_path / "line")
    with SerialLine(SERIAL.format(port=port)):
        (tmp_path / "gateway.yaml").write_text(SERIAL.format(port=port))
        known = rows(modbus("scan", "bus", "--units", "3", "--json", *QUICK, cwd=tmp_path))
        options = ("--units", "2-5", "--baud", "9600", "--parity", "none", "--timeout", "200ms", *QUICK)
        done = modbus("scan", port, *options)
    assert done.returncode == 0, done.stderr
    assert [(row["unit"], row["baud"], row["parity"]) for row in known] == [(3, 9600, "none")]
    assert re.findall(r"^unit +(\d+)  9600  none", done.stdout, re.MULTILINE) == ["3", "5"]
    stanza = yaml.safe_load(done.stdout.partition("\n\n")[2])["connections"]["line"]
    assert stanza == {"protocol": "modbus-rtu", "port": port, "baud": 9600, "parity": "none"}


def test_ctrl_c_shows_what_was_found(device):
    """In the middle of a scan that would take minutes."""
    command = [COMMAND, "modbus", "scan", f"127.0.0.1:{device.port}", "--units", "1,20-247", "--pause", "1s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert first.startswith("unit   1")
    assert "unit-01:" in out
    assert "incomplete" in err
    assert process.returncode == 130


# --- dump ------------------------------------------------------------------------------------------------------------


def test_dump_shows_each_register_and_finds_what_cannot_be_read(device):
    done = modbus("dump", f"127.0.0.1:{device.port}", "holding:0-8", "input:10-17", *QUICK)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["0", "0x0000", "0857", "2135", "2135", "·W"]
    assert "4–5               exception 2 (illegal address)" in lines
    assert "7–8               exception 2 (illegal address)" in lines
    assert any("230.41" in line for line in lines)


def test_dump_agrees_with_another_client(device):
    found = rows(modbus("dump", f"127.0.0.1:{device.port}", "input:10-17", "--json"))
    assert {row["address"]: row["uint16"] for row in found} == mbpoll(device.port, "input", 10, 8)


def test_dump_in_small_blocks_and_as_csv(device, tmp_path):
    file = tmp_path / "dump.csv"
    done = modbus("dump", f"127.0.0.1:{device.port}", "input:10-17", "--max-registers", "2", "--csv", str(file), *QUICK)
    assert "4 requests" in done.stderr
    with file.open(newline="") as lines:
        read = list(csv.DictReader(lines))
    assert [int(row["uint16"]) for row in read] == list(METER)
    assert float(read[0]["float32_abcd"]) == pytest.approx(230.41)


def test_dump_of_bits_and_of_a_unit_that_is_not_there(device):
    found = rows(modbus("dump", f"127.0.0.1:{device.port}", "coil:0-3", "-u", "7", "--json"))
    assert [row.get("value") for row in found] == [1, 0, 1, None]
    done = modbus("dump", f"127.0.0.1:{device.port}", "coil:0-3", "-u", "9")
    assert (done.returncode, "exception 11" in done.stderr) == (4, True)


def test_dump_of_a_device_that_answers_wrongly_past_its_end():
    """Its answers are too short there, and never taken for data."""
    with Jsmodbus({"holding": [11, 12, 13]}) as device:
        found = rows(modbus("dump", f"127.0.0.1:{device.port}", "holding:0-5", "--json", *QUICK))
    assert [row.get("uint16") for row in found] == [11, 12, 13, None, None, None]


def test_dump_of_a_unit_that_keeps_silent(tmp_path):
    port = str(tmp_path / "line")
    line = ("--baud", "9600", "--parity", "none", "--timeout", "50ms", *QUICK)
    with SerialLine(SERIAL.format(port=port)):
        found = rows(modbus("dump", port, "input:10-11", "-u", "5", "--json", *line))
        done = modbus("dump", port, "input:10-11", "-u", "9", *line)
    assert found[0]["float32_cdab"] > 0
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("unit 9") == 1


def test_progress_is_for_terminals(device):
    main, other = pty.openpty()
    try:
        command = [COMMAND, "modbus", "dump", f"127.0.0.1:{device.port}", "input:10-17"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=other, timeout=30, check=False)
        shown = os.read(main, 65536) if select.select([main], [], [], 0)[0] else b""
    finally:
        os.close(main)
        os.close(other)
    assert done.returncode == 0
    assert b"1 of 1 requests" in shown


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("dump", "127.0.0.1", "40001-40010"), "did you mean 'holding:0'?"),
        (("dump", "127.0.0.1", "holdng:0"), "did you mean 'holding'?"),
        (("dump", "127.0.0.1", "holding:9-0"), "did you mean 'holding:0-9'?"),
        (("dump", "127.0.0.1", "holding:70000"), "addresses end at 65535"),
        (("dump", "tpc://127.0.0.1", "holding:0"), "did you mean 'tcp'?"),
        (("dump", "http://127.0.0.1", "holding:0"), "'http://' is not known"),
        (("dump", "127.0.0.1:x", "holding:0"), "is no address"),
        (("dump", "127.0.0.1", "holding:0", "--baud", "9600"), "for serial ports"),
        (("dump", "/dev/none", "holding:0", "--parity", "many"), "is no parity"),
        (("scan", "127.0.0.1", "--units", "0-300"), "unit ids go from 0 to 255"),
        (("scan", "127.0.0.1", "--timeout", "5"), "did you mean '5s'?"),
        (("guess", "127.0.0.1"), "a TARGET and a range"),
        (("guess", "--words", "hello"), "four hexadecimal digits"),
        (("guess", "--words", "4366 6666", "--value", "much"), "is no number"),
        (("guess", "--words", "0001", "--value", "5000"), "nothing in holding:0 shows 5000"),
        (("import", "none.csv", "--table", "holdings"), "one of coil, discrete, input, holding"),
        (("import", "none.csv", "--machine", "m"), "both --machine and --connection"),
    ],
)
def test_what_is_typed_wrong_is_explained(arguments, what, tmp_path):
    done = modbus(*arguments, cwd=tmp_path)
    assert what in done.stderr
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# --- guess -----------------------------------------------------------------------------------------------------------


def test_guess_finds_a_displayed_value_and_writes_yaml(device, tmp_path):
    done = modbus("guess", f"127.0.0.1:{device.port}", "input:10-17", "--value", "229.87")
    assert done.returncode == 0, done.stderr
    text = done.stdout.partition("\n\n")[2]
    assert yaml.safe_load(text) == {"signals": {"input_12": {"input": 12, "type": "float32", "order": "ABCD"}}}


def test_guess_without_a_value_lays_out_the_range(device):
    done = modbus("guess", f"127.0.0.1:{device.port}", "input:10-17", "--samples", "2", "--every", "10ms")
    found = yaml.safe_load(done.stdout)["signals"]
    assert found == {f"input_{at}": {"input": at, "type": "float32", "order": "ABCD"} for at in (10, 12, 14, 16)}


def test_guess_without_a_device():
    (first, *_) = rows(
        modbus("guess", "--words", "0000 0912 0000 0906", "--first", "holding:0x5B00", "--value", "231.0", "--json")
    )
    assert (first["address"], first["type"], first["order"], first["scale"]) == (0x5B02, "uint32", "ABCD", 0.1)
    done = modbus("guess", "--words", "8000 0172", "--at", "0")
    assert "invalid: 32768" in done.stdout


def test_guess_of_samples_that_rise_is_a_counter():
    done = modbus("guess", "--words", "0003 1004,0003 113B,0003 1277,0003 13AE", "--at", "0")
    assert yaml.safe_load(done.stdout.partition("\n\n")[2])["signals"]["holding_0"]["kind"] == "counter"


# --- import ----------------------------------------------------------------------------------------------------------

LIST = """\
Name;Adresse;Type;Function;Unit;Factor;Description
Voltage L1;0;FLOAT;4;V;;to "neutral" ${phase} #1
Energy: total;72;FLOAT;4;kWh;;
Status;100;UINT;3;;;off
Power;200;INT;3;W;0,1;{a, b}: c
"""


@pytest.mark.parametrize("what", [(), ("--machine", "meter-01", "--connection", "panel", "-u", "4")])
def test_what_is_imported_loads_as_it_is(tmp_path, what):
    (tmp_path / "list.csv").write_text(LIST)
    out = tmp_path / "out.yaml"
    done = modbus("import", "list.csv", *what, "-o", str(out), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    connection = "connections: {panel: {protocol: modbus-tcp, host: h}}\n"
    if what:
        found = loaded(out.read_text(), tmp_path, connection).machines["meter-01"]
        assert found.unit_id == 4
    else:
        (tmp_path / "profiles").mkdir()
        out.rename(tmp_path / "profiles" / "meter.yaml")
        found = loaded("machines: {m: {connection: panel, profile: meter}}\n", tmp_path, connection).machines["m"]
    signals = found.signals
    assert list(signals) == ["voltage_l1", "energy_total", "status", "power"]
    assert signals["voltage_l1"].description == 'to "neutral" ${phase} #1'
    assert (signals["status"].description, signals["power"].description) == ("off", "{a, b}: c")
    assert (signals["power"].scale, signals["energy_total"].unit) == (0.1, "kW.h")


def test_nothing_is_written_where_something_is_wrong(tmp_path):
    (tmp_path / "list.csv").write_text(LIST.replace("UINT", "INT23"))
    done = modbus("import", "list.csv", "-o", "out.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("list.csv:4: column 'Type': 'INT23' is not known; did you mean 'int32'?")
    assert [file.name for file in tmp_path.iterdir()] == ["list.csv"]
    (tmp_path / "list.csv").write_text(LIST)
    (tmp_path / "out.yaml").write_text("mine\n")
    assert modbus("import", "list.csv", "-o", "out.yaml", cwd=tmp_path).returncode == 2
    assert (tmp_path / "out.yaml").read_text() == "mine\n"
    assert modbus("import", "list.csv", "-o", "out.yaml", "--force", cwd=tmp_path).returncode == 0
    nowhere = modbus("import", "list.csv", "-o", "no/out.yaml", cwd=tmp_path)
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "there is no folder no to write out.yaml into" in nowhere.stderr


def test_excel_without_openpyxl_says_what_to_install(tmp_path):
    import openpyxl

    openpyxl.Workbook().save(tmp_path / "list.xlsx")
    (tmp_path / "openpyxl.py").write_text("raise ImportError('not here')\n")
    done = gateway("modbus", "import", "list.xlsx", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "pip install 'shopfloor-gateway[excel]'" in done.stderr
