"""The doctor's judgements: every finding has a case in which it is made, beside one in which it is not."""

import errno
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.buffer import Usage
from gateway.buffer.work import create, said
from gateway.config import load
from gateway.doctor import CHECKS, Case, Check, Finding, examine
from gateway.doctor.checks import (
    broker,
    certificates,
    clock,
    configuration,
    disk,
    machines,
    memory,
    names,
    owner,
    page,
    readings,
    secrets,
    serial_ports,
    service,
    store,
)
from gateway.doctor.checks.addresses import Address
from gateway.doctor.timing import HUNG, each_within, within
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols
from gateway.web.snapshot import disk_row
from parts.block_device import Volume
from parts.libmodbus import Libmodbus
from parts.ports import free_port
from parts.serial_pair import SerialPair
from parts.tls import Authority

NOW = 1_795_000_000_000_000_000  # 2026-11-18


def told(findings: Any) -> list[tuple[str, str]]:
    return [(finding.state, finding.fault) for finding in findings]


def case(folder: Path, text: str = "", **more: Any) -> Case:
    """A gateway with this configuration, which is made in `folder`."""
    file = folder / "gateway.yaml"
    file.write_text(f"gateway: {{id: edge, data_dir: {folder / 'data'}}}\n{text}")
    try:
        return Case(load(file, protocols()), path=file, **more)
    except ConfigErrors as exc:
        return Case(mistake=exc, path=file, **more)


# --- clock -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "findings"),
    [
        ({}, [("ok", "")]),
        ({"plausible": False, "now_ns": 0}, [("wrong", "clock-wrong")]),
        ({"synchronized": False}, [("warning", "clock-not-synchronized")]),
        ({"battery": False}, [("ok", "")]),
        ({"steps": ["clock: set back"]}, [("warning", "clock-stepped"), ("ok", "")]),
    ],
)
def test_clock(changed: dict[str, Any], findings: list[tuple[str, str]]) -> None:
    well = {"now_ns": NOW, "plausible": True, "synchronized": True, "battery": True}
    assert told(clock.judge(clock.Seen(**well | changed))) == findings


def test_a_clock_without_a_battery_is_named_where_nothing_sets_it() -> None:
    [finding] = clock.judge(clock.Seen(NOW, plausible=True, synchronized=False, battery=False))
    assert "battery" in finding.text
    [finding] = clock.judge(clock.Seen(NOW, plausible=True, synchronized=False, battery=True))
    assert "battery" not in finding.text


def test_steps_are_those_the_gateway_has_declared(tmp_path: Path) -> None:
    losses = [{"cause": "buffer-full: not read"}, {"cause": "clock: the clock was set forward by 3.0 s: followed"}]
    found = list(clock.look(case(tmp_path, status={"losses": losses})))
    assert [each.text for each in found if each.fault == "clock-stepped"] == [
        "it was set while the gateway ran: clock: the clock was set forward by 3.0 s: followed"
    ]
    assert not [each for each in clock.look(case(tmp_path, status={"losses": []})) if each.fault == "clock-stepped"]


# --- memory: the lines of proc(5) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mebibytes", "found"),
    [(400, ("ok", "")), (63, ("warning", "memory-low")), (20, ("wrong", "memory-low"))],
)
def test_memory(mebibytes: int, found: tuple[str, str]) -> None:
    lines = f"MemTotal:        948012 kB\nMemFree:  1000 kB\nMemAvailable:   {mebibytes * 1024} kB\nBuffers: 1 kB\n"
    assert told([memory.judge(lines)]) == [found]


# --- disk ------------------------------------------------------------------------------------------------------------

GIB, MIB = 2**30, 2**20
WELL = {
    "folder": Path("/data"), "exists": True, "kind": "ext4", "free": 10 * GIB, "inodes": 1000, "inodes_free": 900,
    "wanted": 2 * GIB, "reserve": 64 * MIB, "seconds": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "findings"),
    [
        ({}, [("ok", "")]),
        ({"inodes": 0, "inodes_free": 0}, [("ok", "")]),  # btrfs has no fixed number
        ({"exists": False}, [("ok", "")]),
        ({"read_only": True}, [("wrong", "disk-read-only")]),
        ({"free": 60 * MIB}, [("wrong", "disk-full")]),
        ({"free": 2 * GIB}, [("warning", "disk-nearly-full")]),
        ({"free": 49 * MIB, "reserve": 0, "wanted": 0}, [("warning", "disk-nearly-full")]),
        ({"inodes_free": 29}, [("warning", "disk-nearly-full")]),
        ({"inodes_free": 0}, [("wrong", "disk-full")]),
        ({"kind": "nfs4"}, [("warning", "disk-slow")]),
        ({"kind": "tmpfs"}, [("warning", "")]),
        ({"seconds": 1.2}, [("warning", "disk-slow")]),
        ({"trouble": OSError(errno.EACCES, "Permission denied")}, [("wrong", "disk-no-rights")]),
        ({"trouble": OSError(errno.EIO, "Input/output error")}, [("wrong", "disk-broken")]),
        ({"trouble": OSError(errno.ENOSPC, "No space left"), "free": 0}, [("wrong", "disk-full")] * 2),
    ],
)
def test_disk(changed: dict[str, Any], findings: list[tuple[str, str]]) -> None:
    assert told(disk.judge(disk.Seen(**WELL | changed))) == findings


def test_a_folder_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    seen = disk.measure(tmp_path)
    assert (seen.exists, seen.trouble, seen.read_only) == (True, None, False)
    assert seen.free > 0
    assert 0 < seen.seconds < 10
    assert list(tmp_path.iterdir()) == []
    assert not disk.measure(tmp_path / "not" / "there").exists
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /var/lib/my\\040data rw - nfs4 server:/x rw
31 30 0:26 / /var/lib/my\\040data/fast rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/other", "ext4"),
        ("/var/lib/my data/x", "nfs4"),
        ("/var/lib/my data/fast/x", "tmpfs"),
        ("/var/lib/my datax", "ext4"),
    ],
)
def test_kind_of_a_file_system(path: str, kind: str) -> None:
    assert disk.kind_of(Path(path), MOUNTS) == kind


@pytest.mark.block_device
def test_disks_that_are_full_or_read_only() -> None:
    with Volume(32) as volume:
        assert [each.fault for each in disk.judge(disk.measure(volume.path))] == ["disk-nearly-full"]  # a small one
        volume.fill()
        assert "disk-full" in [each.fault for each in disk.judge(disk.measure(volume.path))]
        volume.read_only(True)
        found = [each.fault for each in disk.judge(disk.measure(volume.path))]
        volume.read_only(False)
        assert found[0] == "disk-read-only"


# --- the data folder -------------------------------------------------------------------------------------------------


def test_owner(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert told(owner.judge(folder)) == [("skipped", "")]
    folder.mkdir(mode=0o750)
    (folder / "buffer").mkdir()
    assert told(owner.judge(folder)) == [("ok", "")]
    folder.chmod(0o777)
    assert told(owner.judge(folder)) == [("warning", "")]


def test_what_is_anothers_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the disk takes what the service writes cannot be told by anybody else."""
    (tmp_path / "data").mkdir()
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 54321)
    names = ("disk", "data folder", "secrets", "certificates", "store")
    found = examine(case(tmp_path, "store: {kind: historian}\n"), [check for check in CHECKS if check.name in names])
    assert [(each.check, each.state) for each in found] == [("rights", "wrong"), *((name, "skipped") for name in names)]
    assert (
        found[0].hint
        == f"run it as the gateway's user or with sudo: sudo gateway doctor -c {tmp_path / 'gateway.yaml'}"
    )


@pytest.mark.root
def test_what_root_has_left_there(tmp_path: Path) -> None:
    os.chown(tmp_path, 54321, 54321)
    (tmp_path / "left").touch()
    [finding] = owner.judge(tmp_path)
    assert (finding.state, finding.fault) == ("wrong", "disk-no-rights")
    assert finding.hint == f"chown -R 54321 {tmp_path}"


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_secrets(tmp_path: Path) -> None:
    key = tmp_path / "panel.key"
    key.touch(mode=0o600)
    assert secrets.judge(key) is None
    assert secrets.judge(tmp_path / "none") is None
    key.chmod(0o640)
    found = secrets.judge(key)
    assert found is not None
    assert (found.state, found.fault, found.hint) == ("wrong", "secret-readable", f"chmod 600 {key}")


def test_private_keys_in_the_data_folder(tmp_path: Path) -> None:
    private = tmp_path / "data" / "opcua" / "pki" / "own" / "gateway.key"
    private.parent.mkdir(parents=True)
    private.touch(mode=0o600)
    assert told(secrets.look(case(tmp_path))) == [("ok", "")]
    private.chmod(0o644)
    assert told(secrets.look(case(tmp_path))) == [("wrong", "secret-readable")]


def test_a_password_in_a_file_that_others_read(tmp_path: Path) -> None:
    it = case(tmp_path, "mqtt: {user: u, password: hunter2}\n")
    assert it.path is not None
    it.path.chmod(0o644)
    [finding] = secrets.look(it)
    assert (finding.state, finding.fault) == ("warning", "secret-readable")
    assert "mqtt.password" in finding.text
    assert "hunter2" not in finding.text
    it.path.chmod(0o600)
    assert told(secrets.look(it)) == [("ok", "")]


# --- certificates ----------------------------------------------------------------------------------------------------

TODAY = datetime(2026, 11, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begins", "ends", "found"),
    [
        (-10, 31, ("ok", "")),
        (-10, 29, ("warning", "certificate-expires")),
        (-10, -1, ("wrong", "certificate-expires")),
        (1, 300, ("wrong", "clock-wrong")),
    ],
)
def test_certificates(begins: int, ends: int, found: tuple[str, str]) -> None:
    seen = certificates.Seen(Path("ca.pem"), "CN=ca", TODAY + timedelta(days=begins), TODAY + timedelta(days=ends))
    assert told(certificates.judge([seen], TODAY)) == [found]


def test_certificates_that_are_configured_and_kept(tmp_path: Path) -> None:
    authority = Authority(tmp_path)  # valid for 30 days
    kept = tmp_path / "data" / "opcua" / "pki"
    for place in ("trusted/certs", "rejected/certs"):
        (kept / place).mkdir(parents=True)
    (kept / "trusted" / "certs" / "cnc.pem").write_bytes(authority.ca_path.read_bytes())
    (kept / "rejected" / "certs" / "who.pem").write_text("no certificate, and nobody cares")
    text = f"mqtt: {{url: 'mqtts://broker.lan', ca: {authority.ca_path}}}\n"
    found = list(certificates.look(case(tmp_path, text)))
    assert told(found) == [("warning", "certificate-expires")] * 2
    assert {each.text.split(" ")[0].rpartition("/")[2] for each in found} == {"ca.pem", "cnc.pem"}
    later = case(tmp_path, text, now_ns=time.time_ns() + 31 * 86400 * 10**9)
    assert told(certificates.look(later)) == [("wrong", "certificate-expires")] * 2
    authority.ca_path.write_text("no certificate")
    assert ("warning", "") in told(certificates.look(case(tmp_path, text)))
    authority.ca_path.unlink()
    assert ("wrong", "broker-certificate-files") in told(certificates.look(case(tmp_path, text)))
    assert told(certificates.look(case(tmp_path / "data"))) == [("skipped", "")]


# --- page, names, machines -------------------------------------------------------------------------------------------


def test_page(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert told([page.judge("127.0.0.1", port, runs=False)]) == [("wrong", "port-taken")]
        assert told([page.judge("127.0.0.1", port, runs=True)]) == [("ok", "")]
    assert told([page.judge("127.0.0.1", port, runs=False)]) == [("ok", "")]
    assert told([page.judge("192.0.2.1", port, runs=False)]) == [("wrong", "")]  # RFC 5737: nobody's


def test_names(tmp_path: Path) -> None:
    assert told([names.resolve("localhost")]) == [("ok", "")]
    unknown = names.resolve("no-such-host.invalid")  # RFC 6761
    assert told([unknown]) == [("wrong", "name-not-resolved")]
    assert "getent hosts no-such-host.invalid" in unknown.to_do()[0]
    assert told(names.look(case(tmp_path))) == [("skipped", "")]
    assert told(names.look(case(tmp_path, "mqtt: {url: 'mqtt://localhost'}\n"))) == [("ok", "")]


def test_a_name_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(names, "PATIENCE", 0.1)
    monkeypatch.setattr(names.socket, "getaddrinfo", lambda *_, **__: ended.wait(30) and [])
    assert told(names.look(case(tmp_path, "mqtt: {url: 'mqtt://broker.lan'}\n"))) == [("wrong", "name-not-resolved")]
    ended.set()


def test_a_slow_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SLOW", -1.0)
    assert told([names.resolve("localhost")]) == [("warning", "")]


PANEL = "connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}\n"
MACHINE = "machines: {m: {connection: panel, unit_id: 1, signals: {x: {holding: 0, type: int16}}}}\n"


def test_machines(tmp_path: Path) -> None:
    port = free_port()
    text = PANEL.format(port=port) + MACHINE
    [finding] = machines.look(case(tmp_path, text))
    assert (finding.state, finding.fault) == ("wrong", "connection-refused")
    assert f"nc -vz 127.0.0.1 {port}" in finding.to_do()[0]
    with socket.create_server(("127.0.0.1", port)) as server:
        runs = {"machines": []}
        assert told(machines.look(case(tmp_path, text, status=runs))) == [("ok", "")]
        visitor, _ = server.accept()
        assert visitor.recv(1) == b"", "closed at once, without a word"
        online = {"machines": [{"name": "m", "state": "online"}]}
        assert told(machines.look(case(tmp_path, text, status=online))) == [("ok", "")]
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()  # a gateway is connected: nobody is disturbed
        offline = {"machines": [{"name": "m", "state": "offline"}]}
        assert told(machines.look(case(tmp_path, text, status=offline))) == [("ok", "")]
        server.accept()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TimeoutError(), "connection-timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "host-unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "name-not-resolved"),
        (OSError(errno.ECONNRESET, "Connection reset by peer"), "connection-lost"),
    ],
)
def test_ways_not_to_connect(error: OSError, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(machines.socket, "create_connection", fail)
    assert machines.connect(Address("10.20.0.11", 502, "panel"), 1.0).fault == fault


def test_a_slow_machine_and_one_that_cannot_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(machines, "SLOW", -1.0)
        assert told([machines.connect(Address("127.0.0.1", port, "panel"), 1.0)]) == [("warning", "")]
    ended = threading.Event()
    monkeypatch.setattr(machines, "ALL", 0.1)
    monkeypatch.setattr(machines.socket, "create_connection", lambda *_, **__: ended.wait(30) and socket.socket())
    assert told(machines.look(case(tmp_path, PANEL.format(port=502) + MACHINE))) == [("wrong", "check-hung")]
    ended.set()


def test_udp_has_nothing_to_connect(tmp_path: Path) -> None:
    text = "connections: {panel: {protocol: modbus-udp, host: 127.0.0.1}}\n" + MACHINE
    assert told(machines.look(case(tmp_path, text, status={"machines": []}))) == [("skipped", "")]


def test_one_signal_of_each_machine_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no gateway runs. Exception codes: Modbus Application Protocol V1.1b3, 7: 2 is an illegal data address."""
    monkeypatch.setattr(machines, "SLOW", 30.0)  # a busy computer is no finding here
    with Libmodbus({(1, "holding", 0): [7, 8]}) as device:
        text = PANEL.format(port=device.port).replace("}}", ", timeout: 300ms}}") + (
            "machines:\n"
            "  good: {connection: panel, poll: 1h, signals: {x: {holding: 0, type: int16}, y: {holding: 1, type: int16}}}\n"
            "  astray: {connection: panel, signals: {x: {holding: 77, type: int16}}}\n"
            "  scaled: {connection: panel, signals: {x: {holding: 0, type: int16, scale_from: y}, y: {holding: 1, type: int16}}}\n"
        )
        found = list(machines.look(case(tmp_path, text)))
        assert told(found) == [("ok", ""), ("wrong", "modbus-illegal-address"), ("ok", "")]
        assert found[1].text.startswith("astray/x: the device refuses holding 77 (exception 2)")
        assert found[2].text == "panel: good/x and 1 more could be read"
        assert not (tmp_path / "data").exists(), "what is learnt belongs to the gateway"
        runs = {"machines": [{"name": "good", "state": "offline"}]}
        assert told(machines.look(case(tmp_path, text, status=runs))) == [("ok", "")], "left to the gateway that runs"


def test_a_wrong_unit_id_is_silence_behind_a_link_that_works(tmp_path: Path) -> None:
    """On a serial line nobody answers for a unit that is not there: Modbus over Serial Line V1.02, 2.2."""
    with Libmodbus({(1, "holding", 0): [7]}, rtu=True) as device, SerialPair(tcp=device.port) as pair:
        text = (
            f"connections: {{bus: {{protocol: modbus-rtu, port: {pair.a}, baud: 9600, parity: none, timeout: 300ms}}}}\n"
            "machines:\n  m: {connection: bus, unit_id: 1, signals: {x: {holding: 0, type: int16}}}\n"
            "  n: {connection: bus, unit_id: 9, signals: {x: {holding: 0, type: int16}}}\n"
        )
        configuration = case(tmp_path, text).configuration
        assert configuration is not None
        found = readings.read_each("serial ports", configuration, "bus")
    assert told(found) == [("wrong", "modbus-no-answer"), ("ok", "")]
    assert "`unit_id`" in found[0].text
    assert any("unit id" in cause for cause in found[0].causes())
    assert any("A và B" in cause for cause in found[0].causes("vi"))


@pytest.mark.parametrize(
    ("mqtt", "said"), [("{delivery: store}", "once a writer there has stored it"), ("{}", "once the broker has it")]
)
def test_where_the_store_is(tmp_path: Path, mqtt: str, said: str) -> None:
    [finding] = store.look(case(tmp_path, f"mqtt: {mqtt}\n"))
    assert (finding.state, finding.text.endswith(said)) == ("skipped", True)


# --- serial ports ----------------------------------------------------------------------------------------------------


def test_serial_ports(tmp_path: Path) -> None:
    assert told(serial_ports.judge("bus", tmp_path / "ttyUSB0", runs=False)) == [("wrong", "serial-port-missing")]
    (tmp_path / "file").touch()
    assert told(serial_ports.judge("bus", tmp_path / "file", runs=False)) == [("wrong", "serial-settings-refused")]
    assert told(serial_ports.judge("bus", Path("/dev/full"), runs=False)) == [("wrong", "serial-settings-refused")]
    with SerialPair() as pair:
        assert told(serial_ports.judge("bus", Path(pair.a), runs=True)) == [("ok", "")]
        assert told(serial_ports.judge("bus", Path(pair.a), runs=False)) == [("wrong", "serial-port-busy")]  # by socat


def test_a_port_that_can_be_opened() -> None:
    leader, follower = os.openpty()
    try:
        port = Path(os.ttyname(follower))
        os.close(follower)
        assert told(serial_ports.judge("bus", port, runs=False)) == [("ok", "")]
    finally:
        os.close(leader)


def test_a_port_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    monkeypatch.setattr(serial_ports.os, "access", lambda *_: False)  # root may use all
    port = Path(os.ttyname(follower))
    assert told(serial_ports.judge("bus", port, runs=False)) == [("wrong", "serial-no-rights")]
    os.close(leader)
    os.close(follower)


def test_the_name_that_stays(tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    port = tmp_path / "ttyUSB0"
    port.touch()
    assert serial_ports.better_name(port, by_id) is None
    (by_id / "usb-FTDI_RS485-if00").symlink_to(port)
    assert serial_ports.better_name(port, by_id) == by_id / "usb-FTDI_RS485-if00"
    assert serial_ports.better_name(by_id / "usb-FTDI_RS485-if00", by_id) is None
    (tmp_path / "ttyS0").touch()
    assert serial_ports.better_name(tmp_path / "ttyS0", by_id) is None


def test_who_holds_a_port(tmp_path: Path) -> None:
    port, proc = tmp_path / "ttyUSB0", tmp_path / "proc"
    port.touch()
    for number, file in (("17", tmp_path / "other"), ("18", port), ("self", port)):
        (proc / number / "fd").mkdir(parents=True)
        (proc / number / "fd" / "3").symlink_to(file)
        (proc / number / "comm").write_text("mbpoll\n")
    assert serial_ports.holder_of(port, proc) == "mbpoll (process 18)"
    (proc / "18" / "fd" / "3").unlink()
    assert serial_ports.holder_of(port, proc) == ""


# --- store -----------------------------------------------------------------------------------------------------------

HISTORIAN = "store: {kind: historian}\n"


@pytest.fixture
def historian(tmp_path: Path) -> Path:
    from gateway.store.historian import Historian

    file = tmp_path / "data" / "historian.sqlite"
    Historian(file).close()
    return file


def test_a_historian(tmp_path: Path, historian: Path) -> None:
    [finding] = store.look(case(tmp_path, HISTORIAN))
    assert (finding.state, finding.text.split(", ", 1)[1]) == ("ok", "whole, no reading yet")
    with sqlite3.connect(historian) as db:
        db.execute("INSERT INTO stretch VALUES ('edge', '01', 1, 2, 10, ?, ?)", (NOW - 10**9, NOW))
    [finding] = store.look(case(tmp_path, HISTORIAN, now_ns=NOW + 7200 * 10**9))
    assert finding.text.endswith("newest reading 2026-11-18 11:06:40 UTC")
    found = store.look(case(tmp_path, HISTORIAN, now_ns=NOW + 7200 * 10**9, status={"machines": []}))
    assert told(found) == [("warning", "store-silent"), ("ok", "")]
    found = store.look(case(tmp_path, HISTORIAN, now_ns=NOW + 60 * 10**9, status={"machines": []}))
    assert told(found) == [("ok", "")]


def test_a_historian_that_is_damaged(tmp_path: Path, historian: Path) -> None:
    with sqlite3.connect(historian) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 5000,)] * 50)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(historian.read_bytes())
    for at in range(12 * 8192, len(data), 8192):
        data[at : at + 200] = b"\xff" * 200
    historian.write_bytes(data)
    assert told(store.look(case(tmp_path, HISTORIAN))) == [("wrong", "store-damaged")]
    historian.write_bytes(b"not a data base at all" * 1000)
    assert told(store.look(case(tmp_path, HISTORIAN))) == [("wrong", "store-damaged")]


def test_a_check_that_takes_too_long_says_so(tmp_path: Path, historian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.store import health

    monkeypatch.setattr(health, "_STEPS", 1)
    monkeypatch.setattr(store, "PATIENCE", -1.0)
    with sqlite3.connect(historian) as db:
        db.execute("INSERT INTO stretch VALUES ('edge', '01', 1, 2, 10, ?, ?)", (NOW - 10**9, NOW))
    db.close()
    [finding] = store.look(case(tmp_path, HISTORIAN, now_ns=NOW))
    assert finding.state == "ok"
    assert "as far as could be checked" in finding.text


def test_stores_that_are_not_there(tmp_path: Path) -> None:
    assert told(store.look(case(tmp_path))) == [("skipped", "")]
    assert told(store.look(case(tmp_path, HISTORIAN))) == [("skipped", "")]
    [finding] = store.look(case(tmp_path, HISTORIAN, status={"machines": []}))
    assert (finding.state, finding.fault) == ("wrong", "store-database-missing")
    influx = f"store: {{kind: influx, url: 'http://127.0.0.1:{free_port()}', database: shop}}\n"
    assert told(store.look(case(tmp_path, influx))) == [("wrong", "store-unreachable")]
    assert told(store.look(case(tmp_path, influx, network=False))) == [("skipped", "")]


# --- configuration, service ------------------------------------------------------------------------------------------


def test_configuration(tmp_path: Path) -> None:
    assert told(configuration.look(case(tmp_path, PANEL.format(port=502) + MACHINE))) == [("ok", "")]
    assert told(configuration.look(case(tmp_path))) == [("warning", "")]
    [finding] = configuration.look(case(tmp_path, "mqtt: {window: 1000}\n"))
    assert (finding.state, finding.fault) == ("wrong", "config-refused")
    assert finding.text.startswith(f"{tmp_path / 'gateway.yaml'}:2:16: mqtt.window: ")


def test_warnings_of_a_configuration(tmp_path: Path) -> None:
    text = PANEL.format(port=502) + MACHINE.replace("type: int16", "type: int16, deadband: 1, report: all")
    it = case(tmp_path, text)
    assert it.configuration is not None
    assert it.configuration.warnings, "a deadband that thins nothing"
    assert [state for state, _ in told(configuration.look(it))] == ["warning"] * len(it.configuration.warnings) + ["ok"]


def status(**more: Any) -> dict[str, Any]:
    machine = {"name": "m", "state": "online", "reason": "", "fault": ""}
    well = {
        "gateway": {"uptime_s": 300},
        "machines": [machine],
        "broker": {"state": "online", "reason": "", "fault": ""},
        "store": {"state": "unused", "reason": "", "fault": ""},
        "buffer": {"bytes": 1, "max_bytes": 100, "trouble": ""},
    }
    return well | more


@pytest.mark.parametrize(
    ("changed", "findings"),
    [
        ({}, []),
        ({"machines": [{"name": "m", "state": "offline", "reason": "x", "fault": "modbus-no-answer"}]}, [("wrong", "modbus-no-answer")]),
        ({"machines": [{"name": "m", "state": "degraded", "reason": "x", "fault": "value-stale"}]}, [("warning", "value-stale")]),
        ({"broker": {"state": "offline", "reason": "x", "fault": "broker-tls"}}, [("wrong", "broker-tls")]),
        ({"store": {"state": "offline", "reason": "x", "fault": "store-silent"}}, [("wrong", "store-silent")]),
        ({"buffer": {"bytes": 1, "max_bytes": 100, "trouble": "No space left", "fault": "disk-full"}}, [("wrong", "disk-full")]),
        ({"buffer": {"bytes": 1, "max_bytes": 100, "trouble": "what nobody knows"}}, [("wrong", "")]),
        ({"restart": ["gateway.id: a → b"]}, [("warning", "")]),
        ({"buffer": {"bytes": 95, "max_bytes": 100, "trouble": ""}}, [("warning", "buffer-full")]),
        ({"safe_mode": {"errors": ["gateway.yaml:1:1: error"]}}, [("wrong", "config-refused")]),
        ({"safe_mode": ["gateway.yaml:1:1: error"]}, [("wrong", "config-refused")]),  # as the control socket has it
    ],
)  # fmt: skip
def test_service(changed: dict[str, Any], findings: list[tuple[str, str]]) -> None:
    assert told(service.judge(status(**changed))) == [*findings, ("ok", "")]


class FullDisk:
    """One with 1 MiB left."""

    def free(self) -> int:
        return MIB

    def create(self, name: str, size: int) -> None:
        raise AssertionError(f"{name}: {size} bytes were made of what is to be left for others")


def test_a_disk_with_too_little_left_is_full_and_not_broken() -> None:
    """All the way from the buffer: what is to be left (buffer.min_free) is no reason to replace the card."""
    with pytest.raises(OSError, match="64 MiB would be left free") as failed:
        create(FullDisk(), "00000001.segment", 4 * MIB, 64 * MIB)  # type: ignore[arg-type]
    row = disk_row(Usage(1, 1, 100, 0, trouble=said(failed.value)))
    [finding, _] = service.judge(status(buffer=row))
    assert (finding.state, finding.fault) == ("wrong", "disk-full")


def test_no_service_and_one_that_is_silent(tmp_path: Path) -> None:
    assert told(service.look(case(tmp_path))) == [("warning", "gateway-not-running")]
    assert told(service.look(case(tmp_path, silent="it does not answer"))) == [("wrong", "check-hung")]


def test_many_machines_that_are_away_are_summed_up() -> None:
    away = [{"name": f"m{i}", "state": "offline", "reason": "x", "fault": ""} for i in range(30)]
    found = list(service.judge(status(machines=away)))
    assert len(found) == 22
    assert found[-2].text == "and 10 more machines are not online"


# --- all of them -----------------------------------------------------------------------------------------------------


def test_what_hangs_is_a_finding_and_what_it_found_before_counts() -> None:
    ended = threading.Event()

    def hang(_: Case) -> Iterator[Finding]:
        yield Finding("slow", "ok", "so far")
        ended.wait(30)

    def well(_: Case) -> Iterator[Finding]:
        yield Finding("well", "ok", "well")

    def fail(_: Case) -> Iterator[Finding]:
        raise RuntimeError("a mistake of ours")
        yield

    checks = [
        Check("slow", hang, limit=0.2, configured=False), Check("well", well, configured=False),
        Check("broken", fail, configured=False), Check("other", well), Check("far", well, configured=False, network=True),
    ]  # fmt: skip
    began = time.monotonic()
    found = examine(Case(network=False), checks)
    assert time.monotonic() - began < 2
    assert [(each.check, each.state, each.fault) for each in found] == [
        ("slow", "ok", ""), ("slow", "wrong", "check-hung"), ("well", "ok", ""), ("broken", "wrong", "unexpected-error"),
        ("other", "skipped", ""), ("far", "skipped", ""),
    ]  # fmt: skip
    ended.set()


def test_all_at_once_take_no_longer_than_the_slowest() -> None:
    def slow(_: Case) -> Iterator[Finding]:
        time.sleep(0.3)
        yield Finding("x", "ok", "")

    began = time.monotonic()
    assert len(examine(Case(), [Check("x", slow, configured=False)] * 10)) == 10
    assert time.monotonic() - began < 1.5


def test_within() -> None:
    ended = threading.Event()
    assert within(5, lambda: 7) == 7
    assert within(0.05, lambda: ended.wait(30)) is HUNG
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    jobs = [lambda: 1, lambda: ended.wait(30), lambda: 3]
    assert dict(each_within(0.3, jobs)) == {0: 1, 1: HUNG, 2: 3}
    assert list(each_within(1, [])) == []
    ended.set()


def test_the_checks_name_themselves_as_in_the_table() -> None:
    from gateway.doctor import CHECKS

    modules = (
        configuration,
        service,
        clock,
        memory,
        disk,
        owner,
        secrets,
        certificates,
        page,
        serial_ports,
        names,
        machines,
        broker,
        store,
    )
    assert [check.name for check in CHECKS] == [module.NAME for module in modules]
    assert all(check.limit < 30 for check in CHECKS)


def test_advice() -> None:
    finding = Finding("machines", "wrong", "x", "connection-refused", "do this", {"host": "10.20.0.11", "port": 502})
    assert finding.to_do()[:2] == ["do this", "Try the port from the gateway: nc -vz 10.20.0.11 502"]
    assert finding.to_do("vi")[1] == "Thử cổng ngay từ gateway: nc -vz 10.20.0.11 502"
    assert Finding("machines", "ok", "x").to_do() == []
    assert finding.row()["title"] == "The machine is there, but refuses the connection"
