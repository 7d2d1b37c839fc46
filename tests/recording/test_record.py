"""gateway record: from the adapter's own connection, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.recording import Kind, read
from parts.gateway import Simulated
from parts.ports import free_port
from parts.process import wait_until

GATEWAY = [str(Path(sys.executable).with_name("gateway"))]


def plant(port: int, more: str = "") -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
connections:
  line: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}{more}}}
machines:
  fast: {{connection: line, unit_id: 1, poll: 100ms, signals: {{a: {{holding: 0, type: int16}}}}}}
  slow: {{connection: line, unit_id: 2, poll: 1s, signals: {{a: {{input: 9, type: float32}}}}}}
"""


def recorder(folder: Path, text: str, *args: str) -> subprocess.Popen[str]:
    (folder / "gateway.yaml").write_text(text)
    command = [*GATEWAY, "record", "-c", str(folder / "gateway.yaml"), "-o", str(folder / "m.rec"), *args]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def frames(path: Path, kind: Kind) -> list[bytes]:
    return [entry.data for entry in read(path) if entry.kind is kind] if path.exists() else []


def ask(unit: int, function: int, address: int, count: int) -> bytes:
    return bytes((unit, function, 0, address, 0, count))


@pytest.mark.parametrize("more", ["", ", max_in_flight: 4"])
def test_one_machine_until_ctrl_c(tmp_path: Path, more: str) -> None:
    text = plant(free_port(), more)
    with Simulated(text) as machines:
        wait_until(lambda: "127.0.0.1:" in machines.log, 20, "the machines")
        process = recorder(tmp_path, text, "fast")
        wait_until(lambda: len(frames(tmp_path / "m.rec", Kind.RECEIVED)) > 15, 20, "15 answers in the file")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, ""), err
    assert "fast into" in err
    assert "received" in err
    recording = read(tmp_path / "m.rec")
    entries = list(recording)
    assert not recording.damage
    assert (recording.head.protocol, recording.head.machines, recording.head.source) == (
        "modbus-tcp",
        ["fast"],
        "adapter",
    )
    assert abs(recording.head.started - time.time_ns()) < 60 * 10**9
    assert [entry.kind for entry in entries[:3]] == [Kind.OPENED, Kind.SENT, Kind.RECEIVED]
    assert (entries[-1].kind, entries[-1].data) == (Kind.CLOSED, b"")
    sent, received = frames(tmp_path / "m.rec", Kind.SENT), frames(tmp_path / "m.rec", Kind.RECEIVED)
    assert {data[6:] for data in sent} == {ask(1, 3, 0, 1)}, "of the other machine nothing is asked"
    assert [data[:2] for data in sent[: len(received)]] == [data[:2] for data in received]
    assert all(data[2:9] == b"\0\0\0\x05\x01\x03\x02" for data in received)
    asked = [entry.at for entry in entries if entry.kind is Kind.SENT]
    assert 0.08e9 < (asked[12] - asked[2]) / 10 < 0.13e9, "a tenth of a second apart"


def test_all_machines_of_a_connection_for_a_while(tmp_path: Path) -> None:
    text = plant(free_port())
    with Simulated(text) as machines:
        wait_until(lambda: "127.0.0.1:" in machines.log, 20, "the machines")
        process = recorder(tmp_path, text, "line", "--for", "2500ms")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert read(tmp_path / "m.rec").head.machines == ["fast", "slow"]
    assert {data[6:] for data in frames(tmp_path / "m.rec", Kind.SENT)} == {ask(1, 3, 0, 1), ask(2, 4, 9, 2)}


def test_a_machine_that_comes_and_goes(tmp_path: Path) -> None:
    text = plant(free_port())
    process = recorder(tmp_path, text, "fast")
    path = tmp_path / "m.rec"
    wait_until(lambda: frames(path, Kind.FAILED), 20, "that it could not be reached")
    with Simulated(text):
        wait_until(lambda: frames(path, Kind.RECEIVED), 40, "an answer")
    wait_until(lambda: [why for why in frames(path, Kind.CLOSED) if why], 20, "that it went away")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err.count("refuses the connection") in (1, 2), "once for each time it went away"
    kinds = [entry.kind for entry in read(path)]
    assert kinds[0] is Kind.FAILED
    assert kinds.index(Kind.FAILED) < kinds.index(Kind.OPENED) < kinds.index(Kind.CLOSED)


def test_killed_it_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    text = plant(free_port())
    with Simulated(text) as machines:
        wait_until(lambda: "127.0.0.1:" in machines.log, 20, "the machines")
        process = recorder(tmp_path, text, "fast")
        wait_until(lambda: len(frames(tmp_path / "m.rec", Kind.RECEIVED)) > 15, 20, "15 answers in the file")
        process.kill()
        process.communicate()
    assert len(frames(tmp_path / "m.rec", Kind.RECEIVED)) > 15


def test_it_ends_when_the_file_is_as_large_as_it_may_be(tmp_path: Path) -> None:
    text = plant(free_port())
    with Simulated(text) as machines:
        wait_until(lambda: "127.0.0.1:" in machines.log, 20, "the machines")
        process = recorder(tmp_path, text, "fast", "--max-size", "1KiB")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "as large as it may be" in err
    assert (tmp_path / "m.rec").stat().st_size <= 1024
    assert frames(tmp_path / "m.rec", Kind.RECEIVED)


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        (["fats"], "there is no machine or connection 'fats'; did you mean 'fast'", 2),
        ([], "which machine?", 2),
        (["fast", "--for", "soon"], "--for", 2),
        (["fast", "--max-size", "big"], "--max-size", 2),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, args: list[str], told: str, code: int) -> None:
    process = recorder(tmp_path, plant(1), *args)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, told.lower() in err.lower()) == (code, True), err
    assert not (tmp_path / "m.rec").exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "m.rec").write_text("mine")
    process = recorder(tmp_path, plant(1), "fast", "--for", "100ms")
    _, err = process.communicate(timeout=20)
    assert (process.returncode, (tmp_path / "m.rec").read_text()) == (2, "mine"), err
    process = recorder(tmp_path, plant(1), "fast", "--for", "100ms", "--force")
    process.communicate(timeout=20)
    assert read(tmp_path / "m.rec").head.machines == ["fast"]
