"""A gateway is found and asked while its configuration is broken, or names another data_dir than the one it runs with."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.buffer import Usage
from gateway.buffer.work import said
from gateway.cli import running
from gateway.runtime.asked.answers import faults
from gateway.web.snapshot import Condition
from parts.gateway import COMMAND, Gateway, StoreProcess, gateway
from parts.ports import free_port
from parts.process import wait_until
from parts.terminal import Terminal

PLANT = """\
gateway: {{id: edge-01, data_dir: {data}}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines: {{press: {{connection: panel, unit_id: 1, signals: {{temp: {{holding: 0, type: int16}}}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{port}"}}
store: {{kind: historian}}
"""
BROKEN = "no_such_key: 1\n"
UNREADABLE = "broken: [\n"


def plant(data: str = "data") -> str:
    return PLANT.format(port=free_port(), data=data)


@pytest.fixture(scope="module")
def edge() -> Iterator[Gateway]:
    with Gateway(plant()) as made:
        wait_until(lambda: made.machine("press")["state"] == "offline", 20, "the machine to be tried")
        versions = made.folder / "data" / "versions"
        wait_until(lambda: versions.is_dir() and any(versions.glob("*.json")), 20, "the first version")
        yield made


@pytest.mark.parametrize(
    ("command", "code", "answer", "mistake"),
    [
        (("status",), 1, "edge-01  trouble:", UNREADABLE),
        (("status", "--json"), 1, '"running":true', BROKEN),
        (("top", "--interval", "0.1s"), 0, "press", UNREADABLE),
        (("events", "--machine", "press"), 0, "offline", BROKEN),
        (("metrics",), 0, "gateway_", UNREADABLE),
        (("web", "user", "list"), 0, "", UNREADABLE),
    ],
)
def test_a_broken_file_hides_nothing_of_what_runs(edge, command, code, answer, mistake):
    good = edge.file.read_text()
    edge.file.write_text(good + mistake)
    try:
        done = gateway(*command, "-c", str(edge.file))
    finally:
        edge.file.write_text(good)
    assert (done.returncode, answer in done.stdout) == (code, True), done.stderr
    assert "gateway.yaml:" in done.stderr.splitlines()[0], "the mistake is named above it"
    assert "the gateway runs on without it" in done.stderr


def test_audits_too(edge):
    """Neither has been written yet; what counts is that the broken file is no reason to refuse."""
    good = edge.file.read_text()
    edge.file.write_text(good + BROKEN)
    try:
        of_page = gateway("web", "audit", "-c", str(edge.file))
        of_readings = gateway("audit", "-c", str(edge.file))
    finally:
        edge.file.write_text(good)
    assert of_page.returncode == 0, of_page.stderr
    assert of_readings.returncode != 3
    assert "no_such_key" in of_readings.stderr


@pytest.mark.parametrize(
    "command", [("status",), ("top",), ("events",), ("metrics",), ("audit",), ("web", "audit"), ("web", "user", "list")]
)
def test_where_none_runs_a_broken_file_is_a_mistake(tmp_path, command):
    (tmp_path / "gateway.yaml").write_text(plant() + BROKEN)
    done = gateway(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no_such_key" in done.stderr


class Waiting(Gateway):
    """A service that has nothing to run with."""

    def command(self) -> list[str]:
        super().command()
        self.file.write_text(self.file.read_text() + BROKEN)
        return [COMMAND, "run", str(self.file), "--safe-mode", "--log-format", "text"]


def test_one_that_waits_for_right_files_answers():
    with Waiting(plant()) as waiting:
        for command in (("status",), ("metrics",), ("events",), ("web", "user", "list"), ("web", "audit")):
            done = gateway(*command, "-c", str(waiting.file))
            assert done.returncode == (1 if command == ("status",) else 0), (command, done.stderr)
            assert "no_such_key" in done.stderr


def test_a_store_writer_alone_is_asked_too():
    with StoreProcess(plant()) as made:
        done = gateway("status", "-c", str(made.file))
        assert (done.returncode, done.stdout.splitlines()[0].startswith("edge-01  trouble: ")) == (1, True), done.stderr
        assert "0 messages with 0 readings stored" in done.stdout
        row = json.loads(gateway("status", "--json", "-c", str(made.file)).stdout)
        assert (row["kind"], row["ok"], row["id"]) == ("store", False, "edge-01")
        top = gateway("top", "-c", str(made.file))
        assert (top.returncode, "gateway status" in top.stderr) == (1, True)


def test_one_with_another_data_dir_is_found_and_said_to_wait_for_a_restart():
    text = plant("first")
    with Gateway(text) as made:
        made.file.write_text(made.file.read_text().replace("data_dir: first", "data_dir: second"))
        for command in (("status",), ("events",), ("reload",), ("status",)):
            done = gateway(*command, "-c", str(made.file))
            assert "no gateway runs" not in done.stderr
            assert f"runs with data_dir {made.folder / 'first'}" in done.stderr
            assert "restart it" in done.stderr
        assert "only a restart takes over: gateway.data_dir" in done.stdout, "status says what waits"
        rows = [
            json.loads(row)
            for row in gateway("doctor", "--json", "--no-network", "-c", str(made.file)).stdout.splitlines()
        ]
        assert [row["state"] for row in rows if "only a restart takes over: gateway.data_dir" in row["text"]] == [
            "warning"
        ]
        other = made.folder / "other"
        other.mkdir()
        (other / "gateway.yaml").write_text(text)
        assert gateway("status", "-c", str(other)).returncode == 1, "a gateway of another configuration is none of ours"
        assert "no gateway runs" in gateway("status", "-c", str(other)).stderr


def test_sockets_out_of_the_table_of_the_kernel():
    """The layout of proc(5): /proc/net/unix."""
    table = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 16163 /run/dbus/system_bus_socket\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 16164 /srv/my plant/data/control.sock\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 16165 /proc/self/fd/9/control.sock.old\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 16166\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 16167 data/control.sock\n"
    )
    assert list(running.sockets_of(table)) == [Path("/srv/my plant/data/control.sock")]


def test_nobody_else_answers_for_it(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "control.sock"))
        server.listen()
        with pytest.raises(PermissionError):
            running._answer(tmp_path / "control.sock", b"{}\n", 1.0, trusted={os.geteuid() + 1})


def test_without_a_gateway_status_is_an_object_too(tmp_path):
    (tmp_path / "gateway.yaml").write_text(plant())
    done = gateway("status", "--json", cwd=tmp_path)
    assert done.returncode == 1
    row = json.loads(done.stdout)
    assert row["running"] is False
    assert "gateway run" in row["error"]


def test_a_disk_that_is_full_is_a_fault_of_its_own():
    """What `faults` answers; see docs of ENOSPC in errno(3)."""
    board = SimpleNamespace(
        broker=Condition("online", 0), store=Condition("online", 0), machines={},
        usage=lambda: Usage(1, 1, 1, 0, trouble=said(OSError(errno.ENOSPC, "No space left on device"))),
    )  # fmt: skip
    app = SimpleNamespace(edge=SimpleNamespace(board=board), page_condition=Condition("online", 0))
    [row] = faults(app)  # type: ignore[arg-type]
    assert (row["kind"], row["fault"]) == ("buffer", "disk-full")


def test_the_rule_for_a_password_is_said_before_it_is_asked_for(tmp_path):
    (tmp_path / "gateway.yaml").write_text(plant())
    terminal = Terminal(tmp_path, "web", "user", "add", "anna")
    terminal.until("10 characters at least.*Password for anna: $")
    terminal.press("\x03")
    assert terminal.end() == 130


def test_one_that_hangs_is_said_to_hang_within_seconds(edge):
    """SIGSTOP: the kernel takes the connection and the question, and nobody reads it."""
    edge.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = gateway("status", "-c", str(edge.file))
        took = time.monotonic() - began
        assert done.returncode == 1
        assert "a gateway runs, but does not answer within 5 s: it hangs, is stopped" in done.stderr
        assert took < 15, "5 s, and a busy computer"
        with subprocess.Popen(
            [COMMAND, "reload", "-c", str(edge.file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as patient:
            assert patient.stderr is not None
            assert "it is waited for, 60 s at the most" in patient.stderr.readline()
            edge.process.send_signal(signal.SIGCONT)
            assert patient.communicate(timeout=30)[0].strip() == "nothing has changed"
            assert patient.returncode == 0
    finally:
        edge.process.send_signal(signal.SIGCONT)
