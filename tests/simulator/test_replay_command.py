"""`gateway replay`, as anybody would call it: from a recording to a gateway that reads the recorded machine."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.replay import _about
from gateway.config import load
from gateway.recording import Entry, Head, Kind, Recorder
from gateway.runtime.registry import protocols
from parts.gateway import COMMAND, Simulated, gateway
from parts.mbpoll import mbpoll
from parts.ports import free_port
from parts.process import Part, wait_until
from recording.captures import mbap
from recording.test_file import headed
from simulators.ledger import columns, read_ledger
from simulators.replay import Recorded

S = 1_000_000_000
CONFIG = """version: 1
gateway: {{id: edge-01, data_dir: data}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}, timeout: 500ms}}}}
machines:
  meter:
    connection: panel
    poll: 200ms
    signals: {{count: {{holding: 0, type: uint32, kind: counter}}, temp: {{holding: 10, type: int16, scale: 0.1, unit: Cel}}}}
"""


class Replayed(Part):
    """`gateway replay`, until it is ended."""

    def __init__(self, source: Path, *arguments: str, ready: str = "127.0.0.1:") -> None:
        super().__init__()
        self.source, self.arguments, self.sign = source, arguments, ready

    def command(self) -> list[str]:
        return [COMMAND, "replay", str(self.source), *self.arguments]

    def ready(self) -> bool:
        return self.sign in self.log


def recording(file: Path, seconds: int = 10, **head: Any) -> Path:
    """Holding register 0 of unit 1 holds 0, 1, 2 … at 0, 1, 2 … s, and register 1 an exception of each."""
    with Recorder(
        file, Head(1_700_000_000 * S, **{"protocol": "modbus-tcp", "connection": "panel", **head})
    ) as recorder:
        for i in range(seconds):
            for number, request, answer in ((1, "03 0000 0001", f"03 02 {i:04x}"), (2, "03 0001 0001", "83 04")):
                for at, kind, data in ((0, Kind.SENT, request), (2_000_000, Kind.RECEIVED, answer)):
                    recorder.put_at(Entry(i * S + at, kind, 0, 0, mbap(2 * i + number, 1, data)))
        recorder.put_at(Entry(seconds * S, Kind.CLOSED, 0, 0, b""))
    return file


def test_from_a_machine_to_its_recording_to_a_gateway_that_reads_the_replay(tmp_path: Path) -> None:
    """gateway simulate ─▶ gateway record ─▶ gateway replay --write-config --ledger ─▶ gateway read."""
    port, replayed = free_port(), free_port()
    file, written, ledger = tmp_path / "meter.rec", tmp_path / "replay.yaml", tmp_path / "served.jsonl"
    with Simulated(CONFIG.format(port=port)) as machines:
        config = str(machines.folder / "gateway.yaml")
        done = gateway("record", "meter", "-o", str(file), "--for", "1500ms", "-c", config)
        assert done.returncode == 0, done.stderr
    arguments = ["--port-base", str(replayed), "--write-config", str(written), "--ledger", str(ledger), "--loop"]
    with Replayed(file, *arguments) as replay:
        wait_until(written.exists)
        done = gateway("read", "meter", "--json", "-c", str(written))
        assert done.returncode == 0, done.stderr
        assert f"panel: 127.0.0.1:{replayed} (meter)" in replay.log
        assert "by adapter: " in replay.log
        assert f"{written}: for `gateway run -c {written}`" in replay.log
    found = {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["quality"] for name, row in found.items()} == {"count": "good", "temp": "good"}
    served = columns(read_ledger(ledger))
    assert {name: served["meter", name].value[-1] for name in found} == {
        name: row["value"] for name, row in found.items()
    }


def values(port: int, address: int = 0) -> int:
    return mbpoll(port, "holding", address)[address]


def test_listen_from_and_ideal(tmp_path: Path) -> None:
    file, port = recording(tmp_path / "m.rec", 100), free_port()
    with Replayed(file, "--listen", f"127.0.0.1:{port}", "--from", "1min") as replay:
        assert 60 <= values(port) <= 75
        assert f"panel: 127.0.0.1:{port}" in replay.log
        assert "modbus-tcp, recorded 2023-11-1" in replay.log
        assert "for 2 min by adapter: 200 exchanges with unit 1" in replay.log
        with pytest.raises(RuntimeError, match="Slave device or server failure"):
            values(port, 1)
    with Replayed(file, "--listen", f"127.0.0.1:{port}", "--ideal") as replay:
        assert values(port) <= 15  # the control: not from the first minute on
        with pytest.raises(RuntimeError, match="Slave device or server failure"):
            values(port, 1)  # it never said anything else
        with pytest.raises(RuntimeError, match="Illegal data address"):
            values(port, 2)
        wait_until(lambda: "panel: somebody asks for addresses that were never read" in replay.log)


def test_speed_and_loop(tmp_path: Path) -> None:
    file, port = recording(tmp_path / "m.rec"), free_port()
    with Replayed(file, "--listen", f"127.0.0.1:{port}", "--speed", "1000"):
        wait_until(lambda: values(port) == 9)  # over in 10 ms, and there it stays
        assert values(port) == 9
    with Replayed(file, "--listen", f"127.0.0.1:{port}", "--speed", "10", "--loop"):
        wait_until(lambda: values(port) > 5)
        wait_until(lambda: values(port) < 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "5020"], "--listen 5020: host and port, for example 127.0.0.1:5020"),
        (["--listen", "h:1", "--port-base", "0"], "two ways to say the same"),
        (["--listen", "h:1", "--protocol", "modbus-rtu"], "modbus-rtu is a serial line"),
        (["--protocol", "modbus-tpc"], "did you mean 'modbus-tcp'?"),
        (["--speed", "0"], "--speed 0: more than 0"),
        (["--stamps", "new"], "--stamps new: moved or recorded"),
        (["--from", "soon"], "--from: 'soon'"),
        (["--machine", "meter"], "machine 'meter' is one of a configuration"),
        (["--port-base", "0", "--write-config", "new.yaml"], "the recording has no configuration"),
        (["--for", "1h", "--until", "2h"], "two ways to say the same"),
        (["--from", "2h", "--until", "1h"], "--until 1h is not behind --from 2h"),
        (["--write-config", "m.rec"], "m.rec is there already; --force replaces it"),
        (["--port-base", "0", "--from", "2h"], "--from is beyond the end of the recording, which is 10 s long"),
        (["--port-base", "0", "--protocol", "opcua"], "m.rec: there is nothing to serve"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_served(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    recording(tmp_path / "m.rec")
    done = gateway("replay", "m.rec", *arguments, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert ("127.0.0.1:" in done.stdout) is ("beyond the end" in message), "it is known when it was read"


def test_a_part_is_played_as_if_it_were_all(tmp_path: Path) -> None:
    """From 60 s to 65 s, twenty times as fast, round and round: of 0 to 99 only 60 to 64 are said, and 59, which held when it began."""
    file, port = recording(tmp_path / "m.rec", 100), free_port()
    part = ["--from", "1min", "--for", "5s", "--speed", "20", "--loop"]
    with Replayed(file, "--listen", f"127.0.0.1:{port}", *part) as replay:
        seen: set[int] = set()
        wait_until(lambda: seen.add(values(port)) or {60, 64} <= seen, 20, "both ends")
        assert seen <= {59, 60, 61, 62, 63, 64}
        assert "for 4 s by adapter: 12 exchanges with unit 1" in replay.log  # two of them from before, as it was then
    done = gateway("replay", "m.rec", "--port-base", "0", "--from", "2h", "--for", "1h", cwd=tmp_path)
    assert (done.returncode, "it ends before 7200 s" in done.stderr) == (1, True), done.stderr


def test_a_recording_in_which_nothing_is_said(tmp_path: Path) -> None:
    with Recorder(tmp_path / "m.rec", Head(1_700_000_000 * S, "modbus-tcp")) as recorder:
        recorder.put_at(Entry(S, Kind.OPENED, 0, 0, b""))
        recorder.put_at(Entry(2 * S, Kind.CLOSED, 0, 0, b""))
    done = gateway("replay", "m.rec", "--port-base", "0", cwd=tmp_path)
    assert (done.returncode, "there is no whole exchange in it" in done.stderr) == (1, True), done.stderr
    with Recorder(tmp_path / "o.rec", Head(1_700_000_000 * S, "opcua")) as recorder:
        recorder.put_at(Entry(S, Kind.OPENED, 0, 0, b""))
    done = gateway("replay", "o.rec", "--port-base", "0", cwd=tmp_path)
    assert (done.returncode, "there is no answer in it" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("started", "told"),
    [(0, ""), (1_700_000_000 * S, ", recorded 2023-11-1"), (10**30, ""), (-(10**30), ""), (9 * 10**20, "")],
)
def test_when_it_was_recorded(started: int, told: str) -> None:
    """A packet capture may say anything."""
    about = _about(Recorded(Head(started, "modbus-tcp", source="pcap"), (), (), "2 exchanges", 3.0))
    assert about.startswith(f"modbus-tcp{told or ', recorded for 3 s'}")


@pytest.mark.parametrize(
    "head", [{"started": 10**30}, {"machines": [1, 2]}, {"protocol": "plant"}, {"connection": "\ud800"}]
)
def test_a_recording_that_cannot_be_is_refused_without_a_traceback(tmp_path: Path, head: dict[str, Any]) -> None:
    (tmp_path / "m.rec").write_bytes(headed(**head))
    done = gateway("replay", "m.rec", "--port-base", "0", cwd=tmp_path)
    assert (done.returncode, "m.rec is a recording" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_replay_is_written_where_it_listens(tmp_path: Path) -> None:
    port, written = free_port(), tmp_path / "replay.yaml"
    file = recording(tmp_path / "m.rec", configuration=CONFIG.format(port=port))
    with Replayed(file, "--listen", f"127.0.0.2:{port}", "--write-config", str(written), ready="127.0.0.2:"):
        wait_until(written.exists)
        done = gateway("read", "meter", "--json", "-c", str(written))
    assert done.returncode == 0, done.stderr
    assert "host: 127.0.0.2" in written.read_text()
    loaded = load(written, protocols())
    assert loaded.settings.gateway.id == "replay", "nobody takes its readings for those of the machine"
    assert loaded.resolve(loaded.settings.gateway.data_dir) == tmp_path / "replay-data"
    assert loaded.settings.mqtt.root == "replay"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing\n")
    done = gateway("replay", "notes.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert "notes.txt: cannot be replayed: it is neither" in done.stderr


def test_ctrl_c_ends_it_and_the_ledger_is_whole(tmp_path: Path) -> None:
    file, port, config = recording(tmp_path / "m.rec"), free_port(), tmp_path / "gateway.yaml"
    config.write_text(CONFIG.format(port=port).replace("type: uint32", "type: uint16"))
    command = [COMMAND, "replay", str(file), "-c", str(config), "--machine", "meter", "--ledger", str(tmp_path / "l")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"panel: 127.0.0.1:{port} (meter)\n"
        values(port)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode == 0
    assert len(list(read_ledger(tmp_path / "l"))) == 1
