"""gateway record, in a process of its own: from the adapter's connection, between a master and a machine, from a capture."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.cli import record
from gateway.errors import RecordingError
from gateway.recording import Entry, Head, Kind, Recorder, entry, read
from parts.gateway import Simulated, gateway
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll, mbpoll_serial
from parts.ports import free_port
from parts.process import wait_until
from parts.serial_pair import SerialPair
from recording.captures import Talk, mbap, merged, pcap

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
    try:
        return [entry.data for entry in read(path) if entry.kind is kind]
    except RecordingError:  # it is being begun
        return []


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
    assert [(entry.kind, entry.data) for entry in entries[-2:]] == [(Kind.CLOSED, b""), (Kind.ENDED, b"")]
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


def test_a_machine_that_is_never_there_is_no_success(tmp_path: Path) -> None:
    process = recorder(tmp_path, plant(free_port()), "fast", "--for", "1500ms")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4, err
    assert "it refuses the connection" in err
    assert "fast: nothing was recorded" in err
    assert frames(tmp_path / "m.rec", Kind.FAILED), "that is in the file"
    assert read(tmp_path / "m.rec").head.machines == ["fast"]


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
        process = recorder(tmp_path, text, "fast", "--max-size", "2KiB")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "as large as it may be" in err
    assert (tmp_path / "m.rec").stat().st_size <= 2048
    assert frames(tmp_path / "m.rec", Kind.RECEIVED)


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        (["fats"], "there is no machine or connection 'fats'; did you mean 'fast'", 2),
        ([], "which machine?", 2),
        (["fast", "--for", "soon"], "--for", 2),
        (["fast", "--max-size", "big"], "--max-size", 2),
        (["fast", "--max-size", "100B"], "may have 100 bytes, and its beginning, with the configuration, takes", 2),
        (["fast", "--port", "502"], "--port needs --from-pcap", 2),
        (["fast", "--server", "10.0.0.1"], "--server needs --from-pcap", 2),
        (["--from-pcap", "a", "--for", "5s"], "--for and --from-pcap are two things", 2),
        (["--from-pcap", "a", "--listen", "127.0.0.1:5020"], "--listen and --from-pcap are two things", 2),
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


# --- between a master and the machine --------------------------------------------------------------------------------


def test_between_another_master_and_the_machine(tmp_path: Path) -> None:
    port = free_port()
    with Libmodbus({(1, "holding", 0): [41, 42]}) as machine:
        text = plant(machine.port)
        process = recorder(tmp_path, text, "line", "--listen", f"127.0.0.1:{port}")
        wait_until(lambda: taken(port), 20, "somebody who listens")
        assert mbpoll(port, "holding", 0, 2) == {0: 41, 1: 42}
        wait_until(lambda: frames(tmp_path / "m.rec", Kind.RECEIVED), 20, "the answer")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert f"lead the master to 127.0.0.1:{port}" in err
    assert read(tmp_path / "m.rec").head.source == "proxy"
    assert [data[6:] for data in frames(tmp_path / "m.rec", Kind.SENT)] == [ask(1, 3, 0, 2)]
    assert [data[6:] for data in frames(tmp_path / "m.rec", Kind.RECEIVED)] == [b"\x01\x03\x04\x00\x29\x00\x2a"]


def test_between_two_serial_ports(tmp_path: Path) -> None:
    with (
        Libmodbus({(1, "holding", 0): [41, 42]}, rtu=True) as server,
        SerialPair(tcp=server.port) as machine,
        SerialPair() as wire,
    ):
        text = plant(1).replace(
            "protocol: modbus-tcp, host: 127.0.0.1, port: 1",
            f"protocol: modbus-rtu, port: {machine.a}, parity: none",
        )
        process = recorder(tmp_path, text, "line", "--listen", wire.b)
        wait_until(lambda: (tmp_path / "m.rec").exists() and frames(tmp_path / "m.rec", Kind.OPENED), 20, "both ports")
        assert mbpoll_serial(wire.a, "holding", 0, 2) == {0: 41, 1: 42}
        wait_until(lambda: b"".join(frames(tmp_path / "m.rec", Kind.RECEIVED)), 20, "the answer")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert b"".join(frames(tmp_path / "m.rec", Kind.SENT))[:6] == ask(1, 3, 0, 2)
    assert b"".join(frames(tmp_path / "m.rec", Kind.RECEIVED))[:7] == b"\x01\x03\x04\x00\x29\x00\x2a"


def test_the_plant_goes_on_when_the_file_is_full(tmp_path: Path) -> None:
    port = free_port()
    with Libmodbus({(1, "holding", 0): [41, 42]}) as machine:
        process = recorder(tmp_path, plant(machine.port), "line", "--listen", f"127.0.0.1:{port}", "--max-size", "2KiB")
        wait_until(lambda: taken(port), 20, "somebody who listens")
        told = read_lines(process)
        for _ in range(400):
            assert mbpoll(port, "holding", 0, 2) == {0: 41, 1: 42}
            if "nothing more is recorded" in "".join(told):
                break
        assert "m.rec is as large as it may be: nothing more is recorded; what passes is passed on" in "".join(told)
        assert mbpoll(port, "holding", 0, 2) == {0: 41, 1: 42}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (tmp_path / "m.rec").stat().st_size <= 2048


def read_lines(process: subprocess.Popen[str]) -> list[str]:
    """What it says, as it says it."""
    lines: list[str] = []

    def keep_reading() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)  # as they come

    threading.Thread(target=keep_reading, daemon=True).start()
    return lines


def test_a_machine_that_cannot_be_reached_is_told_to_who_watches(tmp_path: Path) -> None:
    port, away = free_port(), free_port()
    process = recorder(tmp_path, plant(away), "line", "--listen", f"127.0.0.1:{port}")
    told = read_lines(process)
    wait_until(lambda: taken(port), 20, "somebody who listens")
    wait_until(lambda: "cannot be reached" in "".join(told), 20, "the reason")
    assert f"a master came, but 127.0.0.1:{away} cannot be reached: " in "".join(told)
    assert taken(port)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert "".join(told).count("cannot be reached") == 1, "once, however often a master tries"


def test_a_place_that_is_taken_costs_no_file(tmp_path: Path) -> None:
    (tmp_path / "m.rec").write_text("mine")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        process = recorder(tmp_path, plant(1), "line", "--listen", place, "--force")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"cannot listen at {place}" in err
    assert (tmp_path / "m.rec").read_text() == "mine"


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("protocol", "place", "told"),
    [
        ("modbus-tcp, host: a", "here", "a host and a port of this computer, for example 0.0.0.0:5020"),
        ("modbus-tcp, host: a", "127.0.0.1:99999", "a host and a port"),
        ("modbus-udp, host: a", "127.0.0.1:5020", "what passes on a connection of modbus-udp cannot be read"),
        ("modbus-tls, host: a", "127.0.0.1:5020", "what passes on a connection of modbus-tls cannot be read"),
    ],
)
def test_where_it_cannot_listen(tmp_path: Path, protocol: str, place: str, told: str) -> None:
    text = plant(1).replace("modbus-tcp, host: 127.0.0.1", protocol)
    _, err = recorder(tmp_path, text, "fast", "--listen", place).communicate(timeout=20)
    assert told in err
    assert not (tmp_path / "m.rec").exists()


# --- from a packet capture -------------------------------------------------------------------------------------------


def captured(tmp_path: Path, *talks: Talk) -> str:
    (tmp_path / "plant.pcap").write_bytes(pcap(merged(*talks)))
    return str(tmp_path / "plant.pcap")


def talk(machine: str = "10.20.0.11", port: int = 502, value: str = "002a") -> Talk:
    exchange = Talk(machine=machine, port=port).open().wait(1).ask(mbap(7, 1, "0300000001"))
    return exchange.wait(20).answer(mbap(7, 1, "0302" + value)).wait(5).close()


def test_from_a_capture(tmp_path: Path) -> None:
    text = plant(502)
    process = recorder(tmp_path, text, "fast", "--from-pcap", captured(tmp_path, talk()))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, "10.20.0.11:502: 1 sent, 1 received" in out) == (0, True), err
    recording = read(tmp_path / "m.rec")
    assert (recording.head.started, recording.head.source) == (1_700_000_000_000_000_000, "pcap")
    assert (recording.head.machines, recording.head.connection) == (["fast"], "line")
    assert "unit_id: 1" in recording.head.configuration
    sent, received = (next(e for e in recording if e.kind is kind) for kind in (Kind.SENT, Kind.RECEIVED))
    assert (sent.data, received.data) == (mbap(7, 1, "0300000001"), mbap(7, 1, "0302002a"))
    assert received.at - sent.at == 20_000_000


def test_a_capture_of_several_machines(tmp_path: Path) -> None:
    file = captured(tmp_path, talk(), talk("10.20.0.12", value="0001"), talk("10.20.0.13", 1502, "0002"))
    _, err = recorder(tmp_path, plant(1), "--from-pcap", file).communicate(timeout=20)
    assert "choose one with --server: 10.20.0.11:502, 10.20.0.12:502" in err
    assert not (tmp_path / "m.rec").exists()
    process = recorder(tmp_path, plant(1), "--from-pcap", file, "--server", "10.20.0.12")
    process.communicate(timeout=20)
    assert [data[-2:] for data in frames(tmp_path / "m.rec", Kind.RECEIVED)] == [b"\0\1"]
    recorder(tmp_path, plant(1), "--from-pcap", file, "--port", "1502", "--force").communicate(timeout=20)
    assert [data[-2:] for data in frames(tmp_path / "m.rec", Kind.RECEIVED)] == [b"\0\2"]
    _, err = recorder(tmp_path, plant(1), "--from-pcap", file, "--port", "99", "--force").communicate(timeout=20)
    assert "port 99: nobody speaks modbus-tcp there" in err
    assert "10.20.0.11:502" in err
    assert frames(tmp_path / "m.rec", Kind.RECEIVED), "what was there is kept"


def shortened(tmp_path: Path, kept: int, *talks: Talk) -> str:
    """As `tcpdump -s KEPT` would have it."""
    (tmp_path / "plant.pcap").write_bytes(pcap(merged(*talks), kept=kept))
    return str(tmp_path / "plant.pcap")


@pytest.mark.parametrize(
    ("kept", "told", "left"),
    [
        # Ethernet, IPv4 and TCP have 54 bytes of head: the request of 12 bytes is whole, its answer of 11 + 8 is not.
        (66, "no exchange in it is whole: captured only 66 bytes of", True),
        (40, "nobody can be understood there: captured only 40 bytes of each packet; capture with tcpdump -s 0", False),
    ],
)
def test_a_capture_that_kept_only_the_beginning(tmp_path: Path, kept: int, told: str, left: bool) -> None:
    exchange = Talk().open().wait(1).ask(mbap(7, 1, "0300000004")).wait(20)
    file = shortened(tmp_path, kept, exchange.answer(mbap(7, 1, "03080001000200030004")).wait(5).close())
    _, err = (done := recorder(tmp_path, plant(1), "--from-pcap", file)).communicate(timeout=20)
    assert (done.returncode, told in err) == (1, True), err
    assert "tcpdump -s 0" in err
    assert "others that answered" not in err
    assert (tmp_path / "m.rec").exists() is left
    if kept < 54:
        replayed = gateway("replay", file, "--port-base", "0", cwd=tmp_path)
        assert (replayed.returncode, "tcpdump -s 0" in replayed.stderr) == (1, True), replayed.stderr


def test_the_part_of_a_capture_that_is_whole_is_recorded(tmp_path: Path) -> None:
    """The answer with one register has 65 bytes, and is whole; of the one with four a part is there."""
    long = Talk(41000).open().wait(1).ask(mbap(8, 1, "0300000004")).wait(20)
    long.answer(mbap(8, 1, "03080001000200030004")).wait(5).close()
    process = recorder(tmp_path, plant(1), "--from-pcap", shortened(tmp_path, 66, talk(), long))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, "2 sent, 2 received" in out) == (0, True), (out, err)
    assert "captured only 66 bytes of 1 of the " in err


def test_no_room_for_an_exchange(tmp_path: Path) -> None:
    """The beginning of the file fits, and nothing else."""
    text = plant(free_port())
    with Simulated(text) as machines:
        wait_until(lambda: "127.0.0.1:" in machines.log, 20, "the machines")
        _, err = recorder(tmp_path, text, "fast", "--max-size", "100B").communicate(timeout=60)
        least = int(err.partition("takes ")[2].partition(":")[0])
        process = recorder(tmp_path, text, "fast", "--max-size", f"{least + 1}B")
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "nothing is in it, as it may not be larger" in err) == (1, True), err


def test_more_than_a_replay_has_room_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "MOST_REPLAYED", 1)
    with Recorder(tmp_path / "m.rec", Head(0, "modbus-tcp")) as recorder:
        for i in range(2):
            assert not record._too_much(recorder, "modbus-tcp")
            recorder.put_at(Entry(i, Kind.SENT, 0, 0, mbap(i, 1, "0300000001")))
            recorder.flush()
        assert "play parts of it, with `gateway replay --from 2h --for 1h`" in record._too_much(recorder, "modbus-tcp")
        assert not record._too_much(recorder, "opcua")


def test_a_capture_is_not_replaced_by_its_recording(tmp_path: Path) -> None:
    (tmp_path / "m.rec").write_bytes(pcap(merged(talk())))
    process = recorder(tmp_path, plant(1), "--from-pcap", str(tmp_path / "m.rec"), "--force")
    _, err = process.communicate(timeout=20)
    assert (process.returncode, "is the capture itself" in err) == (2, True), err
    assert (tmp_path / "m.rec").read_bytes() == pcap(merged(talk()))


@pytest.mark.parametrize(("data", "told"), [(b"", "m.pcap"), (b"no capture at all", "m.pcap"), (None, "m.pcap")])
def test_what_is_no_capture(tmp_path: Path, data: bytes | None, told: str) -> None:
    if data is not None:
        (tmp_path / "m.pcap").write_bytes(data)
    process = recorder(tmp_path, plant(1), "--from-pcap", str(tmp_path / "m.pcap"))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1, err
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "m.rec").exists()
