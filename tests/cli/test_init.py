"""gateway init: in a real terminal, from a file, and never half done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.test_status import Terminal
from gateway.cli import init_files
from gateway.cli.init import _profiles
from gateway.cli.init_questions import SAID, is_host, is_level, is_name, is_url, is_zone, questions
from gateway.config import load
from gateway.errors import UsageError
from gateway.runtime.registry import protocols
from parts.gateway import gateway
from parts.libmodbus import Libmodbus
from parts.ports import free_port

PROFILES = _profiles()


def made(folder: Path, answers: str) -> str:
    """With a file of answers; what was printed."""
    file = folder / "answers.yaml"
    file.write_text(answers)
    done = gateway("init", "plant", "--answers", str(file), cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_defaults(tmp_path):
    done = gateway("init", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "  gateway config check",
        "  gateway modbus dump machine-01",
        "  gateway run",
    ]
    assert gateway("config", "check", cwd=tmp_path).stdout == ".: ok, 1 connection, 1 machine, 1 signal\n"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "gateway.yaml", "machines", "machines/machine-01.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("{protocol: modbus-rtu, serial_port: /dev/ttyUSB7, baud: 19200, parity: none, unit_id: 17}", "baud: 19200"),
        ("{protocol: modbus-rtu-over-tcp, host: converter.lan, port: 4001}", "host: converter.lan, port: 4001"),
        ('{protocol: opcua, url: "opc.tcp://cnc:4840/UA", machine: lathe}', 'url: "opc.tcp://cnc:4840/UA"'),
        ("{broker: none, store: none}", "# mqtt:"),
        ('{broker: "mqtts://broker.acme.lan:8883"}', 'mqtt: {url: "mqtts://broker.acme.lan:8883"}'),
        ("{store: influx, store_bucket: shop, store_org: acme}", "kind: influx"),
        (
            "{enterprise: acme, site: hanoi, timezone: Asia/Ho_Chi_Minh}",
            "enterprise: acme, site: hanoi, timezone: Asia/Ho",
        ),
        ('{gateway: "on", machine: "no", enterprise: "null"}', '{id: "on"'),
        ('{gateway: "0123", machine: "1e3", enterprise: "1.5"}', '{id: "0123"'),
    ],
)
def test_what_comes_of_answers(tmp_path, answers, expected):
    said = made(tmp_path, answers)
    assert expected in (tmp_path / "plant" / "gateway.yaml").read_text()
    load(tmp_path / "plant", protocols())  # as gateway config check does
    assert "gateway run plant" in said


@pytest.mark.parametrize(("family", "name"), [(f, n) for f, names in PROFILES.items() for n in names])
def test_every_profile_that_is_offered(tmp_path, family, name):
    asked = questions(PROFILES)
    given: dict[str, str] = {}
    for question in asked:
        if question.when(given):
            given[question.name] = question.default(given)
            if question.name == "protocol":
                given["protocol"] = "opcua" if family == "opcua" else "modbus-tcp"
            if question.name == "profile":
                assert question.accepts(name, given)
                given["profile"] = name
    for path, text in init_files.files_of(given, PROFILES[family][name]).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert load(tmp_path, protocols()).machines["machine-01"].signals


def test_a_mistake_in_the_answers_is_shown_at_its_line(tmp_path):
    (tmp_path / "a.yaml").write_text("hots: x\nport: 70000\nbaud: 9600\n")
    done = gateway("init", "plant", "--answers", "a.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "a.yaml:1:1: error: hots: 'hots' is not asked" in done.stderr
    assert "a.yaml:2:7: error: port: '70000' cannot be used" in done.stderr
    assert "a.yaml:3:1: error: baud: 'baud' does not fit to the other answers" in done.stderr
    assert not (tmp_path / "plant").exists()


@pytest.mark.parametrize("path", ["gateway.yaml", "machines/machine-01.yaml"])
def test_nothing_is_overwritten(tmp_path, path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("mine")
    done = gateway("init", "--yes", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{path} is there already" in done.stderr
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == ["mine"]


def test_what_comes_in_between_is_not_overwritten_either(tmp_path):
    """Between the look and the writing; and what was written before it is taken back."""
    (tmp_path / "plant" / "machines").mkdir(parents=True)
    (tmp_path / "plant" / "machines" / "a.yaml").write_text("mine")
    with pytest.raises(UsageError, match="nothing was written"):
        init_files.write(tmp_path / "plant", {"gateway.yaml": "x", "machines/a.yaml": "y"})
    assert [p.name for p in (tmp_path / "plant").iterdir()] == ["machines"]
    assert (tmp_path / "plant" / "machines" / "a.yaml").read_text() == "mine"


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        init_files.write(tmp_path / "a" / "b", {"gateway.yaml": "x", "machines/a.yaml": "y"})
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_to_answer(tmp_path):
    done = gateway("init", cwd=tmp_path)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_in_a_terminal(tmp_path):
    """Wrong answers are asked again at once; a number picks from a list; the machine is tried if that is wanted."""
    nobody = free_port()
    with Libmodbus({(1, "holding", 0): [7]}) as press:
        terminal = Terminal(tmp_path, "init", "plant", env={"LANG": "en_GB.UTF-8", "LC_ALL": ""})
        for question, typed in (
            ("Name of this gateway", "two words"),
            ("letters, digits.*Name of this gateway", "edge-07"),
            ("Company", "acme"),
            ("Plant or site", ""),
            ("Time zone", "Hanoi"),
            ("IANA.*Time zone", "Asia/Ho_Chi_Minh"),
            ("first machine is reached", "1"),
            ("Its address", "300.1.1.1"),
            ("an address such as.*Its address", "127.0.0.1"),
            ("TCP port", "0"),
            ("1 to 65535.*TCP port", str(nobody)),
            ("Try now", "y"),
            ("does not answer.*again", "y"),
            ("Its address", ""),
            ("TCP port", str(press.port)),
            ("Try now", "y"),
            (r"It answers.*Unit id", "1"),
            ("Name of the machine", "press-07"),
            ("Device model", ""),
            ("MQTT broker", "http://x"),
            ("or none.*MQTT broker", "none"),
            ("stored", ""),
        ):
            terminal.until(question + r" ?[^\n]*[:N] $")
            terminal.press(typed + "\n")
        assert terminal.end() == 0, terminal.text
    assert "gateway modbus dump press-07 -c plant" in terminal.text
    found = load(tmp_path / "plant", protocols())
    assert (found.settings.gateway.id, found.settings.site.timezone) == ("edge-07", "Asia/Ho_Chi_Minh")
    assert list(found.machines) == ["press-07"]


def test_in_vietnamese(tmp_path):
    terminal = Terminal(tmp_path, "init", env={"LANG": "vi_VN.UTF-8", "LC_ALL": "", "PYTHONUTF8": "1"})
    question = r"Tên của gateway này[^\n]*: $"
    terminal.until(question)
    terminal.press("có dấu\n")
    terminal.until("chỉ dùng chữ không dấu.*" + question)
    terminal.press("\x03")
    assert terminal.end() == 130
    assert "Không ghi gì cả." in terminal.text
    terminal = Terminal(tmp_path, "init", "--language", "vi", env={"LANG": "C.UTF-8"})
    terminal.until(question)
    terminal.press("\x04")  # Ctrl-D
    assert terminal.end() == 130


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_ctrl_c_leaves_nothing(tmp_path, after):
    terminal = Terminal(tmp_path, "init", "plant", env={"LANG": "C.UTF-8", "LC_ALL": ""})
    for _ in range(after):
        terminal.until(r"(\]:|N) $")
        terminal.press("\n")
    terminal.until(r"(\]:|N) $")
    terminal.press("\x03")
    assert terminal.end() == 130
    assert "Nothing was written." in terminal.text
    assert list(tmp_path.iterdir()) == []


def test_every_text_is_there_in_both_languages():
    for question in questions(PROFILES):
        for text in (question.text, question.about, question.wrong):
            assert {*text} == {"en", "vi"}
            assert all(text.values())
    assert all({*text} == {"en", "vi"} for text in SAID.values())


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (is_host, ["10.0.0.1", "plc-1.acme.lan", "fe80::1"], ["", "300.1.1.1", "1.2.3", "a b", "-x", "http://x", "x;y"]),
        (is_name, ["edge-01", "A.b_c"], ["", "a b", "é", "../x", ".x", "a/b", "x" * 65]),
        (is_level, ["", "acme"], ["a/b", "a+", "#", " a", "a\n", "Hà Nội"]),
        (is_zone, ["UTC", "Asia/Ho_Chi_Minh"], ["", "Hanoi", "../etc/passwd", "/etc/localtime"]),
        (is_url("mqtt", "mqtts"), ["mqtt://h", "mqtts://h:8883"], ["h", "http://h", "mqtt://", "mqtt://h:99999", "mqtt://u:p@h", "mqtt://h:0"]),
    ],
)  # fmt: skip
def test_answers_are_checked(check, good, bad):
    assert all(map(check, good))
    assert not any(map(check, bad))
