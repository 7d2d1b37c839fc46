"""gateway profiles list, show, check and new, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parts.gateway import gateway

DRIVE = """\
description: Acme D2, frequency converter
manufacturer: Acme
model: D2
kind: drive
protocol: modbus
source: Acme D2 manual, page 12
parameters:
  axis: {description: which of its axes, default: 1}
  name: {example: feeder}
order: CDAB
signals:
  speed: {holding: $(100 + 20*axis), type: int16, unit: 1/min, description: of $(name), semantic: acme;Speed}
  state_word: {holding: 7, bit: 3, enum: {0: "off", 1: ready}}
"""


@pytest.fixture
def plant(tmp_path) -> Path:
    (tmp_path / "gateway.yaml").write_text(
        "connections: {c: {protocol: modbus-tcp, host: 10.0.0.1}}\n"
        "machines: {m: {connection: c, profile: acme-d2, parameters: {name: A}}}\n"
    )
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "acme-d2.yaml").write_text(DRIVE)
    return tmp_path


def rows(*arguments: str, cwd: Path) -> dict[str, dict[str, object]]:
    done = gateway("profiles", *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_list(plant, tmp_path_factory):
    found = rows("list", cwd=plant)
    assert found["acme-d2"] == {
        "name": "acme-d2", "protocol": "modbus", "kind": "drive", "manufacturer": "Acme", "model": "D2", "signals": 2,
        "description": "Acme D2, frequency converter", "file": "profiles/acme-d2.yaml",
    }  # fmt: skip
    assert found["eastron-sdm630"]["signals"] == 39
    assert found["packml-unit"]["protocol"] == "opcua"
    elsewhere = tmp_path_factory.mktemp("empty")
    assert rows("list", cwd=elsewhere).keys() == found.keys() - {"acme-d2"}
    assert rows("list", "-c", str(plant), cwd=elsewhere).keys() == found.keys()
    lines = gateway("profiles", "list", cwd=plant).stdout.splitlines()
    assert lines[0].split() == ["name", "protocol", "kind", "manufacturer", "model", "signals"]
    assert lines[1].split()[:3] == ["abb-b23", "modbus", "energy-meter"]


def test_list_goes_on_behind_a_broken_one(plant):
    (plant / "profiles" / "broken.yaml").write_text("protocol: modbus\nsignals: {a: {coil: x}}\n")
    done = gateway("profiles", "list", cwd=plant)
    assert done.returncode == 0
    assert "profiles/broken.yaml:2:21: error: signals.a.coil: 'x' is not a whole number" in done.stderr
    assert "acme-d2" in done.stdout
    assert "1 of them cannot be used" in done.stderr


def test_show(plant):
    shown = gateway("profiles", "show", "acme-d2", cwd=plant).stdout
    for line in (
        "  manufacturer  Acme",
        "  source        Acme D2 manual, page 12",
        "  order         CDAB",
        "  $(axis) = 1  which of its axes",
        "  $(name) needed, for example feeder",
        "name        address                    type   unit   meaning         semantic",
        "speed       holding: $(100 + 20*axis)  int16  1/min  of $(name)      acme;Speed",
        "state_word  holding: 7, bit: 3                       0 off, 1 ready",
    ):
        assert f"\n{line}\n" in shown, line
    (row,) = rows("show", "acme-d2", cwd=plant).values()
    assert row["parameters"] == {
        "axis": {"description": "which of its axes", "default": 1}, "name": {"description": "", "example": "feeder"},
    }  # fmt: skip
    assert row["signals"][0] == {
        "name": "speed", "address": "holding: $(100 + 20*axis)", "type": "int16", "unit": "1/min", "meaning": "of $(name)",
        "semantic": "acme;Speed",
    }  # fmt: skip


def test_show_says_what_it_extends_and_what_is_gone(plant):
    text = "extends: acme-d2\nserial: {baud: 9600, parity: none}\nsignals: {state_word: null}\n"
    (plant / "profiles" / "mini.yaml").write_text(text)
    shown = gateway("profiles", "show", "mini", cwd=plant).stdout
    assert "  extends       acme-d2\n" in shown
    assert "  serial line   baud: 9600, parity: none\n" in shown
    assert "state_word" not in shown
    assert "Acme\n" not in shown  # who made the other one is not said of this one


def test_show_of_one_that_is_not_there(plant):
    done = gateway("profiles", "show", "acme-d3", cwd=plant)
    assert (done.returncode, done.stderr) == (2, "there is no profile 'acme-d3'; did you mean 'acme-d2'?\n")


def test_check(plant):
    done = gateway("profiles", "check", "profiles/acme-d2.yaml", "eastron-sdm630", cwd=plant)
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first == "profiles/acme-d2.yaml: ok, 2 signals"
    assert second.endswith("eastron-sdm630.yaml: ok, 39 signals")
    everything = gateway("profiles", "check", cwd=plant)
    assert everything.returncode == 0
    assert len(everything.stdout.splitlines()) == len(rows("list", cwd=plant))


def test_check_tells_all_mistakes_of_all_files(plant):
    (plant / "a.yaml").write_text("protocol: modbus\nsignals:\n  x: {coil: -1}\n  y: {holding: 1, type: int17}\n")
    (plant / "b.yaml").write_text("extends: a\n")
    done = gateway("profiles", "check", "b.yaml", "a.yaml", "profiles/acme-d2.yaml", cwd=plant)
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if "error:" in line] == [
        "a.yaml:3:13: error: signals.x.coil: -1 is too small: at least 0",
        "a.yaml:4:25: error: signals.y.type: 'int17' is not known",
    ]
    assert "2 errors" in done.stderr
    done = gateway("profiles", "check", "a.yaml", "--json", cwd=plant)
    assert done.returncode == 3
    assert [json.loads(line)["line"] for line in done.stdout.splitlines()] == [3, 4]
    assert gateway("profiles", "check", "gone.yaml", cwd=plant).returncode == 3


def test_config_check_knows_the_profiles_nobody_uses(plant):
    assert gateway("config", "check", cwd=plant).returncode == 0
    (plant / "profiles" / "spare.yaml").write_text("protocol: modbus\nsignals: {a: {coil: 70000}}\n")
    done = gateway("config", "check", cwd=plant)
    assert done.returncode == 3
    assert "profiles/spare.yaml:2:21: error: signals.a.coil: 70000 is too large" in done.stderr
    done = gateway("plan", cwd=plant)
    assert done.returncode == 0, "a machine is not held up by them"


# --- new -------------------------------------------------------------------------------------------------------------

LIST = """\
Name;Address;Type;Unit;Scale;Description
Output frequency;3000;UINT16;Hz;0,01;
Motor current;3001;UINT16;A;0,1;RMS
Energy;3010;UINT32;kWh;;
"""


def test_new_of_a_list(plant):
    (plant / "list.csv").write_text(LIST)
    options = ("--from-csv", "list.csv", "--table", "holding", "--kind", "drive", "--manufacturer", "Acme")
    done = gateway("profiles", "new", "acme-d9", *options, "-o", "profiles/acme-d9.yaml", cwd=plant)
    assert done.returncode == 0, done.stderr
    text = (plant / "profiles" / "acme-d9.yaml").read_text()
    for line in (
        "description: acme-d9",
        "manufacturer: Acme",
        "kind: drive",
        "protocol: modbus",
        "source: list.csv",
        "  output_frequency: {holding: 3000, type: uint16, scale: 0.01, unit: Hz}",
        "  motor_current:    {holding: 3001, type: uint16, scale: 0.1, unit: A, description: RMS}",
        "  energy:           {holding: 3010, type: uint32, unit: kW.h}",
    ):
        assert line in text.splitlines(), text
    assert gateway("profiles", "check", "acme-d9", cwd=plant).returncode == 0
    again = gateway("profiles", "new", "acme-d9", *options, "-o", "profiles/acme-d9.yaml", cwd=plant)
    assert again.returncode == 2
    assert "--force replaces it" in again.stderr
    assert gateway("profiles", "new", "acme-d9", *options, cwd=plant).stdout == text


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--table", "holdings"], 2, "--table holdings: one of"),
        (["--table", "holding", "--order", "ABBA"], 2, "--order ABBA: for example"),
        (["--table", "holding", "--numbering", "two-based"], 2, "--numbering two-based: one of"),
        (["--protocol", "opcua"], 2, "there are no tables for opcua"),
        (["--protocol", "modbs"], 2, "did you mean 'modbus'?"),
        ([], 3, "--table"),  # the list does not say which one
        (["--table", "holding", "--kind", "a b"], 3, "'a b' cannot be a name"),
        (["--table", "holding", "-o", "gone/x.yaml"], 2, "there is no folder gone"),
        (["--table", "holding", "-o", "x.yml"], 2, "profiles are found as *.yaml"),
    ],
)
def test_new_that_cannot_be(plant, options, code, said):
    (plant / "list.csv").write_text(LIST)
    done = gateway("profiles", "new", "x", "--from-csv", "list.csv", *options, cwd=plant)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (plant / "x.yaml").exists()


def test_a_name_is_no_path(plant):
    (plant / "list.csv").write_text(LIST)
    done = gateway("profiles", "new", "../x", "--from-csv", "list.csv", "--table", "holding", cwd=plant)
    assert done.returncode == 2
    assert "'../x' cannot be a name" in done.stderr
