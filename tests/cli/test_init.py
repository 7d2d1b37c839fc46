"""gateway init: in a real terminal, from a file, and never half done."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gateway.cli import init_files
from gateway.cli.init import _profiles
from gateway.cli.init_questions import SAID, is_host, is_level, is_name, is_url, is_zone, questions
from gateway.config import load
from gateway.errors import UsageError
from gateway.runtime.registry import protocols
from parts.gateway import COMMAND, gateway
from parts.libmodbus import Libmodbus
from parts.ports import free_port
from parts.process import Part, wait_until
from parts.terminal import Terminal

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
        "  gateway modbus dump machine-01 holding:0-9",
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


class Served(Part):
    """The machine of a configuration, where that says it is."""

    def command(self) -> list[str]:
        return [COMMAND, "simulate", str(self.folder / "my plant")]

    def ready(self) -> bool:
        return "127.0.0.1:" in self.log


@pytest.mark.parametrize(
    ("answers", "look"),
    [
        ("{{host: 127.0.0.1, port: {port}}}", "gateway modbus dump machine-01 holding:0-9 -c 'my plant'"),
        ("{{host: 127.0.0.1, port: {port}, profile: eastron-sdm72-v2}}", "gateway read machine-01 -c 'my plant'"),
        ('{{protocol: opcua, url: "opc.tcp://127.0.0.1:{port}"}}', "gateway opcua browse machine-01 -c 'my plant'"),
    ],
)
def test_each_next_command_runs_as_it_is_printed(answers, look):
    """Also that in a comment: from a shell, against a simulated machine."""
    served = Served()
    folder = served.folder / "my plant"
    (served.folder / "a.yaml").write_text(answers.format(port=free_port()))
    said = gateway("init", "my plant", "--answers", "a.yaml", cwd=served.folder)
    assert said.returncode == 0, said.stderr
    check, second, run = (line.strip() for line in said.stdout.splitlines()[-3:])
    assert second == look
    file = folder / "gateway.yaml"
    file.write_text(
        file.read_text().replace("8080", str(free_port())).replace("127.0.0.1:1883", f"127.0.0.1:{free_port()}")
    )
    if "opcua" in answers:
        file.write_text(
            file.read_text().replace(", url:", ", security: None, url:")
        )  # the simulator has no certificate of ours
    machine = folder / "machines" / "machine-01.yaml"
    if "opcua" in answers:  # with something else than what every server has
        more = '  speed: {node: "m:s=Speed", type: float}\nnamespaces: {m: "urn:shop:cnc"}\n'
        machine.write_text(machine.read_text() + more)
    in_comments = re.findall(r"#   (gateway .*?)(?:      |$)", machine.read_text(), re.M)
    assert len(in_comments) == ("profile" not in answers)
    with served:
        for command, place in (
            (check, served.folder),
            (second, served.folder),
            *((each, folder) for each in in_comments),
        ):
            done = shell(command, place)
            assert (done.returncode, bool(done.stdout)) == (0, True), (command, done.stderr)
        assert run == "gateway run 'my plant'"
        with subprocess.Popen(
            ["sh", "-c", f"exec {Path(COMMAND).parent}/{run}"], cwd=served.folder, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until(lambda: "machine-01" in gateway("status", "-c", str(folder)).stdout, 30, "the gateway")
                wait_until(
                    lambda: " 1 of 1 machines" not in gateway("status", "-c", str(folder)).stdout, 30, "the machine"
                )
            finally:
                process.terminate()
                assert process.wait(20) == 0


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As somebody types it."""
    env = {**os.environ, "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "file is a file: name a folder"),
        ("file/below", "file is a file: name a folder"),
        ("/proc/foo", "nothing can be written to /proc/foo (No such file or directory): name another folder"),
        ("/proc", "nothing can be written to /proc"),
    ],
)
def test_where_no_folder_can_be(tmp_path, place, said):
    """Said before anybody is asked anything: there is no terminal here, and that is not what it complains of."""
    (tmp_path / "file").write_text("mine")
    for more in ((), ("--yes",)):
        done = gateway("init", place, *more, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "gateway init FOLDER" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_machines_that_are_there_do_not_become_a_part_of_it(tmp_path):
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "other.yaml").write_text("connection: nowhere\n")
    done = gateway("init", "--yes", cwd=tmp_path)
    assert done.returncode == 2
    assert "machines/other.yaml is there already: name another folder" in done.stderr
    assert not (tmp_path / "gateway.yaml").exists()


@pytest.mark.parametrize("key", ["machine", "gateway"])
def test_a_name_that_reads_like_an_option_is_refused(tmp_path, key):
    (tmp_path / "a.yaml").write_text(f"{key}: --json\n")
    done = gateway("init", "plant", "--answers", "a.yaml", cwd=tmp_path)
    assert (done.returncode, f"{key}: '--json' cannot be used" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    "answers", ["{}", "{broker: none, store: none}", "{protocol: opcua, store: influx}", "{profile: eastron-sdm72-v2}"]
)
def test_comments_in_vietnamese(tmp_path, answers):
    """Nothing of them is left in English, and the configuration is the same."""
    (tmp_path / "a.yaml").write_text(answers)
    texts = {}
    for language in ("en", "vi"):
        done = gateway("init", language, "--answers", "a.yaml", "--language", language, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        texts[language] = "".join(file.read_text() for file in sorted((tmp_path / language).rglob("*.yaml")))
    parts = {language: [line.partition("# ") for line in text.splitlines()] for language, text in texts.items()}
    assert [each[0].rstrip() for each in parts["vi"] if each[0].strip()] == [
        each[0].rstrip() for each in parts["en"] if each[0].strip()
    ]
    comments = [each[2] for each in parts["vi"] if each[2] and not each[2].strip().startswith(("gateway ", "mqtt:"))]
    assert len(comments) >= 5
    for comment in comments:
        assert comment not in texts["en"]
        assert re.search("[à-ỹđ]", comment), comment


@pytest.mark.parametrize(
    ("typed", "meant"), [("rollback", "config rollback"), ("versions", "config versions"), ("diff", "config diff")]
)
def test_a_command_of_a_group_is_found(tmp_path, typed, meant):
    done = gateway(typed, "3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"did you mean `gateway {meant}`?" in done.stderr
    assert "did you mean" not in gateway("nonsense", cwd=tmp_path).stderr.lower()


def test_where_to_begin_is_named(tmp_path):
    assert "gateway init" in gateway("--help").stdout.partition("Options")[0]
    assert "`gateway init`" in gateway("config", "check", cwd=tmp_path, env={**os.environ, "GATEWAY_CONFIG": ""}).stderr


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
    assert "gateway modbus dump press-07 holding:0-9 -c plant" in terminal.text
    found = load(tmp_path / "plant", protocols())
    assert (found.settings.gateway.id, found.settings.site.timezone) == ("edge-07", "Asia/Ho_Chi_Minh")
    assert list(found.machines) == ["press-07"]


def test_in_vietnamese(tmp_path):
    terminal = Terminal(tmp_path, "init", env={"LANG": "vi_VN.UTF-8", "LC_ALL": "", "PYTHONUTF8": "1"})
    question = r"Tên của gateway này[^\n]*: $"
    terminal.until(question)
    terminal.press("có dấu\n")
    terminal.until("chỉ dùng chữ không dấu.*" + question)
    assert terminal.leave("\x03") == 130
    assert "Không ghi gì cả." in terminal.text
    terminal = Terminal(tmp_path, "init", "--language", "vi", env={"LANG": "C.UTF-8"})
    terminal.until(question)
    assert terminal.leave("\x04") == 130  # Ctrl-D


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_ctrl_c_leaves_nothing(tmp_path, after):
    terminal = Terminal(tmp_path, "init", "plant", env={"LANG": "C.UTF-8", "LC_ALL": ""})
    for _ in range(after):
        terminal.until(r"(\]:|N) $")
        terminal.press("\n")
    terminal.until(r"(\]:|N) $")
    assert terminal.leave("\x03") == 130
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
        (is_name, ["edge-01", "A.b_c"], ["", "a b", "é", "../x", ".x", "-x", "a/b", "x" * 65]),
        (is_level, ["", "acme"], ["a/b", "a+", "#", " a", "a\n", "Hà Nội"]),
        (is_zone, ["UTC", "Asia/Ho_Chi_Minh"], ["", "Hanoi", "../etc/passwd", "/etc/localtime"]),
        (is_url("mqtt", "mqtts"), ["mqtt://h", "mqtts://h:8883"], ["h", "http://h", "mqtt://", "mqtt://h:99999", "mqtt://u:p@h", "mqtt://h:0"]),
    ],
)  # fmt: skip
def test_answers_are_checked(check, good, bad):
    assert all(map(check, good))
    assert not any(map(check, bad))
