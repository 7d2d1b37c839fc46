"""What can be replayed: recordings, captures, JSON lines, registers and series; and what is said where something cannot."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import struct
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from conftest import SHARED
from gateway.config import Configuration, load
from gateway.errors import GatewayError, RecordingError, UsageError
from gateway.recording import Entry, Head, Kind, Recorder
from gateway.runtime.registry import protocols
from parts.mbpoll import mbpoll
from parts.ports import free_port
from recording.captures import Talk, mbap, merged, pcap
from simulators.ledger import Ledger
from simulators.modbus.replay import responder
from simulators.modbus.replay.registers import read_registers
from simulators.modbus.replay.server import ReplayedServer
from simulators.replay import Replay, replay

S = 1_000_000_000
CONFIG = """version: 1
connections:
  c: {protocol: modbus-tcp, host: 10.20.0.11, timeout: 2s}
  other: {protocol: modbus-rtu, port: /dev/ttyS9, quirks: {pause_between_requests: 20ms}}
machines:
  m: {connection: c, unit_id: 1, signals: {a: {holding: 0, type: uint16}, b: {holding: 1, type: int16, scale: 0.1}}}
  n: {connection: other, unit_id: 7, signals: {a: {holding: 0, type: uint16}}}
"""


def configured(folder: Path, text: str = CONFIG) -> Configuration:
    path = folder / "gateway.yaml"
    path.write_text(text)
    return load(path, protocols(), whole_tree=True)


def recording(folder: Path, **head: Any) -> Path:
    """Holding registers 0 and 1 hold 1 and 213, of unit 1, over TCP."""
    file = folder / "m.rec"
    with Recorder(file, Head(5 * S, **{"protocol": "modbus-tcp", "connection": "c", **head})) as recorder:
        for at, kind, data in (
            (0, Kind.OPENED, b""),
            (S, Kind.SENT, mbap(1, 1, "03 0000 0002")),
            (S, Kind.RECEIVED, mbap(1, 1, "03 04 0001 00d5")),
            (2 * S, Kind.CLOSED, b""),
        ):
            recorder.put_at(Entry(at, kind, 0, 0, data))
    return file


async def values(plant: Replay, name: str, table: str, address: int, count: int = 1, unit: int = 1) -> list[int]:
    found = await asyncio.to_thread(mbpoll, plant.ports[name], table, address, count, unit)
    return list(found.values())


# --- recordings ----------------------------------------------------------------------------------------------------------


async def test_a_recording_with_its_configuration(tmp_path: Path) -> None:
    """The signals come from there, and so does the place, but for the port."""
    file, ledger = recording(tmp_path, configuration=CONFIG, machines=["m"]), Ledger.memory()
    async with replay(file, port_base=0, ledger=ledger) as plant:
        assert await values(plant, "c", "holding", 0, 2) == [1, 213]
        assert plant.configuration is not None
        redirected = plant.redirect(plant.configuration).connections
        assert (redirected["c"].host, redirected["c"].port) == ("127.0.0.1", plant.ports["c"])  # type: ignore[attr-defined]
        assert redirected["other"] == plant.configuration.connections["other"]
        recorded = plant.recordings["c"]
        assert (recorded.machines, recorded.length, recorded.head.started) == (["m"], 2.0, 5 * S)
        assert recorded.about == "1 exchange with unit 1"
    assert [(entry.machine, dict(entry.values)) for entry in ledger.entries()] == [("m", {"a": 1, "b": 21.3})]


async def test_which_machine_it_is_may_be_one_of_its_own_configuration(tmp_path: Path) -> None:
    file, ledger = recording(tmp_path, configuration=CONFIG.replace("unit_id: 7", "unit_id: 1")), Ledger.memory()
    async with replay(file, port_base=0, ledger=ledger, machine="n") as plant:
        assert await values(plant, "other", "holding", 0, 2) == [1, 213]
    assert [(entry.machine, dict(entry.values)) for entry in ledger.entries()] == [("n", {"a": 1})]


async def test_a_configuration_that_is_given_counts_more(tmp_path: Path) -> None:
    ledger = Ledger.memory()
    file = recording(tmp_path, configuration=CONFIG)
    other = configured(tmp_path, CONFIG.replace("scale: 0.1", "scale: 10"))
    async with replay(file, port_base=0, ledger=ledger, configuration=other) as plant:
        await values(plant, "c", "holding", 0, 2)
    assert [dict(entry.values) for entry in ledger.entries()] == [{"a": 1, "b": 2130}]


async def test_a_configuration_that_cannot_be_read_any_more_costs_the_ledger_only(tmp_path: Path) -> None:
    file = recording(tmp_path, configuration=CONFIG.replace("modbus-tcp", "modbus-plus"))
    async with replay(file, port_base=0) as plant:
        assert await values(plant, "c", "holding", 0, 2) == [1, 213]
        assert "'modbus-plus'" in plant.left_out["ledger"]
        assert plant.configuration is None


async def test_on_a_port_that_was_chosen_or_that_is_configured(tmp_path: Path) -> None:
    port = free_port()
    async with replay(recording(tmp_path), listen=("127.0.0.1", port)) as plant:
        assert plant.ports == {"c": port}
        with pytest.raises(GatewayError, match=f"c: port {port} on 127.0.0.1 is taken; choose another with --listen"):
            async with replay(tmp_path / "m.rec", port_base=port):
                pass
    configuration = configured(tmp_path, CONFIG.replace("timeout: 2s", f"port: {port}"))
    async with replay(tmp_path / "m.rec", configuration=configuration) as plant:
        assert plant.ports == {"c": port}
        with pytest.raises(GatewayError, match=f"c: port {port} on 127.0.0.1 is taken"):
            async with replay(tmp_path / "m.rec", configuration=configuration):
                pass


async def test_a_machine_that_is_behind_a_serial_line_in_the_configuration(tmp_path: Path) -> None:
    """The recording is of Modbus TCP; the connection of the machine becomes one, without the quirks of its line."""
    configuration = configured(tmp_path)
    async with replay(recording(tmp_path), configuration=configuration, machine="n", port_base=0) as plant:
        made: Any = plant.redirect(configuration).connections["other"]
        assert (made.protocol, made.host, made.port) == ("modbus-tcp", "127.0.0.1", plant.ports["other"])
        assert made.quirks.pause_between_requests is None


async def test_what_cannot_be(tmp_path: Path) -> None:
    file = recording(tmp_path)
    opcua = configured(
        tmp_path,
        'version: 1\nconnections: {cnc: {protocol: opcua, url: "opc.tcp://h:4840", security: None}}\n'
        'machines: {o: {connection: cnc, signals: {a: {node: "i=2258"}}}}\n',
    )
    for how, message in (
        ({"machine": "m"}, "machine 'm' is one of a configuration"),
        ({"machine": "k", "configuration": configured(tmp_path)}, "there is no machine 'k'"),
        ({"speed": 0.0}, "a speed of 0 is none"),
        (
            {"machine": "o", "configuration": opcua},
            "o cannot be what was recorded: 'cnc' speaks opcua, and this is a recording",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            async with replay(file, **how):  # type: ignore[arg-type]
                pass
    file.write_bytes(file.read_bytes()[:5] + b"?")
    with pytest.raises(RecordingError, match="is neither a recording"):
        async with replay(file):
            pass


@pytest.mark.parametrize("protocol", ["profinet", "plant", "modbus.server", "modbus-plus", "modbus", "..", ""])
async def test_a_protocol_names_what_is_known_and_imports_nothing_else(tmp_path: Path, protocol: str) -> None:
    unknown = tmp_path / "x.rec"
    Recorder(unknown, Head(0, protocol)).close()
    with pytest.raises(
        RecordingError, match=f"x.rec is a recording of '{re.escape(protocol)}', which is not known; known"
    ):
        async with replay(unknown):
            pass


async def test_damage_is_told(tmp_path: Path) -> None:
    file = recording(tmp_path)
    file.write_bytes(file.read_bytes() + b"half a chunk")
    async with replay(file, port_base=0) as plant:
        assert await values(plant, "c", "holding", 0, 2) == [1, 213]
        (damage,) = plant.recordings["c"].damage
        assert damage.startswith("the last 12 bytes")


# --- captures and JSON lines -----------------------------------------------------------------------------------------------


async def test_a_capture_of_two_machines(tmp_path: Path) -> None:
    talks = []
    for number, machine in enumerate(("10.20.0.11", "10.20.0.12")):
        talk = Talk(40000 + number, machine=machine).open().wait(5)
        talk.ask(mbap(1, 1, "03 0000 0001")).wait(3).answer(mbap(1, 1, f"03 02 000{number + 1}")).wait(2000)
        talks.append(talk.close())
    file = tmp_path / "plant.pcap"
    file.write_bytes(pcap(merged(*talks)))
    async with replay(file, port_base=0) as plant:
        assert list(plant.servers) == ["10.20.0.11:502", "10.20.0.12:502"]
        assert [await values(plant, name, "holding", 0) for name in plant.servers] == [[1], [2]]
    # A configuration tells which machines they are.
    ledger, configuration = Ledger.memory(), configured(tmp_path)
    async with replay(file, port_base=0, configuration=configuration, ledger=ledger) as plant:
        assert {name: each.machines for name, each in plant.recordings.items()} == {"c": ["m"], "10.20.0.12:502": ()}
        await values(plant, "c", "holding", 0)
    assert [(entry.machine, dict(entry.values)) for entry in ledger.entries()] == [("m", {"a": 1})]


async def test_a_capture_of_a_machine_at_another_port(tmp_path: Path) -> None:
    talk = Talk(port=1502).open().ask(mbap(1, 1, "03 0000 0001")).wait(3).answer(mbap(1, 1, "03 02 0007"))
    file = tmp_path / "plant.pcap"
    file.write_bytes(pcap(merged(talk)))
    async with replay(file, port_base=0) as plant:
        assert await values(plant, "10.20.0.11:1502", "holding", 0) == [7]


async def test_a_capture_without_a_machine(tmp_path: Path) -> None:
    file = tmp_path / "plant.pcap"
    file.write_bytes(pcap([]))
    with pytest.raises(RecordingError, match="nobody speaks Modbus TCP in the 0 packets of this capture"):
        async with replay(file):
            pass


async def test_json_lines_of_two_machines_on_consecutive_ports(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    lines = [{"t": 0, "server": s, "req": "0300000001", "resp": f"03020{s}0{s}"} for s in (0, 1)]
    file.write_text("\n".join(map(json.dumps, [*lines, {"t": 5, "req": "0300000001", "resp": "03020000"}])))
    base = free_port()
    async with replay(file, port_base=base) as plant:
        assert plant.ports == {"talk-0": base, "talk-1": base + 1}
        assert await values(plant, "talk-1", "holding", 0) == [0x101]


# --- registers -------------------------------------------------------------------------------------------------------------

IMAGE = """table,address,value,unit
holding,0,4660,
holding,1,0xFFFF,
holding,2,-2,
input,7,5,3
coil,19,1,
coil,21,1,
coil,20,0,
"""
DUMP = """table,address,hex_address,word,uint16,int16,float32_abcd,float32_cdab,text,error,value
holding,0,0x0000,1234,4660,4660,,,·4,,
holding,1,0x0001,,,,,,,2 illegal address,
coil,3,0x0003,,,,,,,,1
"""


async def test_registers_written_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "image.csv"
    file.write_text(IMAGE)
    async with replay(file, port_base=0) as plant:
        assert await values(plant, "image", "holding", 0, 3) == [4660, 65535, 65534]
        assert await values(plant, "image", "holding", 1) == [65535]
        assert await values(plant, "image", "input", 7, unit=3) == [5]
        assert await values(plant, "image", "coil", 19, 3) == [1, 0, 1]
        with pytest.raises(RuntimeError, match="Illegal data address"):
            await values(plant, "image", "holding", 3)
        server = plant.servers["image"]
        assert isinstance(server, ReplayedServer)
        assert server.unexpected == {"composed": 1, "address": 1}
        assert plant.recordings["image"].about == "registers of units 1, 3"


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_registers_as_gateway_modbus_dump_writes_them(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"dump.{form}"
    rows = [dict(zip(DUMP.split("\n")[0].split(","), line.split(","), strict=True)) for line in DUMP.splitlines()[1:]]
    objects = [{key: int(v) if v.isdigit() else v for key, v in row.items() if v} for row in rows]
    file.write_text(DUMP if form == "csv" else "\n".join(map(json.dumps, objects)))
    async with replay(file, port_base=0, configuration=configured(tmp_path), machine="n") as plant:
        assert await values(plant, "other", "holding", 0, unit=7) == [4660]
        assert await values(plant, "other", "coil", 3, unit=7) == [1]
        with pytest.raises(RuntimeError, match="Illegal data address"):
            await values(plant, "other", "holding", 1, unit=7)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("holdings,0,1,", ":2: 'holdings' is not a table"),
        ("holding,,1,", ":2: there is no 'address'"),
        ("holding,0,,", ":2: there is no 'value'"),
        ("holding,70000,1,", ":2: address 70000 is not within 0 to 65535"),
        ("holding,0,65536,", ":2: value 65536 is not within -32768 to 65535"),
        ("holding,0,1.5,", ":2: '1.5' is not a whole number"),
        ("coil,0,2,", ":2: value 2 is not within 0 to 1"),
        ("holding,0,1,256", ":2: unit 256 is not within 0 to 255"),
        ("", ": no row has a value"),
    ],
)
def test_registers_with_a_mistake(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "image.csv"
    file.write_text(f"table,address,value,unit\n{row}\n")
    with pytest.raises(RecordingError) as caught:
        read_registers(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"table": "holding", "address": 0, "uint16": ' + "[" * 10**5, "is not JSON"),
        ('{"table": ' + "[" * 500 + "]" * 500 + "}", "table: a list or an object is no cell"),
        ('{"table": "holding", "address": {}, "uint16": 1}', "address: a list or an object is no cell"),
    ],
)
def test_registers_with_brackets_in_brackets(tmp_path: Path, row: str, told: str) -> None:
    file = tmp_path / "image.json"
    file.write_text('{"table": "holding", "address": 0, "uint16": 1}\n' + row)
    with pytest.raises(RecordingError) as caught:
        read_registers(file)
    assert str(caught.value).startswith(f"{file}:2: {told}")


def test_as_many_registers_as_there_are(tmp_path: Path) -> None:
    """In requests of 125, as many as one may ask for (Application Protocol V1.1b3, 6.3)."""
    file = tmp_path / "image.csv"
    file.write_text("table,address,value\n" + "".join(f"holding,{i},{i}\n" for i in range(0x10000)))
    entries = list(read_registers(file))
    assert len(entries) == 2 * 525
    assert max(len(entry.data) for entry in entries) == 7 + 2 + 250


# --- series ----------------------------------------------------------------------------------------------------------------

SERIES = "time,a,unknown,b\n2026-01-01 00:00:00,5,1,1.5\n2026-01-01 00:00:10,6,2,2.5\n"


async def test_a_series_of_values(tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text(SERIES)
    for start, expected in ((0.0, [5, 15]), (10.0, [6, 25])):
        async with replay(file, configuration=configured(tmp_path), machine="m", port_base=0, start=start) as plant:
            assert list(plant.servers) == ["c"]
            assert not plant.notes
            assert await values(plant, "c", "holding", 0, 2) == expected


async def test_signals_that_are_not_in_the_series(tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text(SERIES.replace(",a,", ",c,"))
    async with replay(file, configuration=configured(tmp_path), machine="m", port_base=0) as plant:
        assert plant.notes == {str(file): "has no column for a of m: they get likely values"}


async def test_a_series_with_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text(SERIES)
    with pytest.raises(UsageError, match="is a series of values: say whose, with -c CONFIG and --machine NAME"):
        async with replay(file):
            pass
    for text, message in (
        ("time,x\n2026-01-01 00:00:00,5\n", ":1: no column is named like a signal of m; it has a, b"),
        ("time,a\n2026-01-01 00:00:00,5\n2026-01-01 00:00:10,five\n", "series.csv:3"),
    ):
        file.write_text(text)
        with pytest.raises(GatewayError) as caught:
            async with replay(file, configuration=configured(tmp_path), machine="m", port_base=0):
                pass
        assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"nothing\n", b"\x00\x01\x02,\x03", b"# Notes\n"])
async def test_what_is_none_of_these(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(RecordingError, match="cannot be replayed: it is neither a recording of `gateway record`"):
        async with replay(file):
            pass
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        async with replay(tmp_path / "missing"):
            pass
    with pytest.raises(RecordingError, match="cannot be read: Is a directory"):
        async with replay(tmp_path):
            pass


async def test_a_recording_of_others_reads_nothing_of_this_computer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret of this computer")
    text = "connections: {c: {protocol: modbus-tcp, host: a}}\nmachines: {m: {connection: c, description: '${MY_TOKEN}'}}\n"
    path = tmp_path / "foreign.rec"
    with Recorder(path, Head(1, "modbus-tcp", "c", ["m"], text)) as recorder:
        recorder.put_at(Entry(0, Kind.SENT, 0, 0, bytes.fromhex("000100000006010300000001")))
        recorder.put_at(Entry(9, Kind.RECEIVED, 0, 0, bytes.fromhex("000100000005010302002a")))
    async with replay(path, port_base=0) as plant:
        assert plant.configuration is None
        assert "MY_TOKEN is not set" in plant.left_out["ledger"]


async def test_more_than_can_be_kept_is_told_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "MOST_REPLAYED", 0)
    with pytest.raises(RecordingError, match=r"m\.rec: more than 0 exchanges: play parts of it"):
        async with replay(recording(tmp_path), port_base=0):
            pass


@pytest.mark.parametrize("protocol", ["modbus-tcp", "opcua"])
@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::1", "::1", marks=pytest.mark.ipv6),
        pytest.param("::", "::1", marks=pytest.mark.ipv6),
        ("localhost", "localhost"),
    ],
)
async def test_it_is_where_it_listens(tmp_path: Path, protocol: str, host: str, reached: str) -> None:
    """On all addresses: on one of this computer. asyncio takes :: for those of IPv6 alone."""
    file = tmp_path / "m.rec"
    Recorder(file, Head(5 * S, protocol, "c")).close()
    async with replay(file, listen=(host, 0)) as plant:
        server = plant.servers["c"]
        assert server.place == f"[{reached}]:{server.port}" if ":" in reached else f"{reached}:{server.port}"
        told: Any = server.address
        url = urlsplit(told["url"] if protocol == "opcua" else f"//{server.place}")
        assert (url.hostname, url.port) == (reached, server.port)
        assert told.get("host", reached) == reached
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.close()


async def test_a_capture_of_a_whole_town_is_not_served(tmp_path: Path) -> None:
    talks = [
        Talk(machine=f"10.20.{n // 200}.{n % 200 + 1}")
        .open()
        .ask(mbap(1, 1, "0300000001"))
        .answer(mbap(1, 1, "03020001"))
        for n in range(251)
    ]
    (tmp_path / "town.pcap").write_bytes(pcap(merged(*talks)))
    with pytest.raises(RecordingError, match=r"town\.pcap has 251 machines, and each would need a port"):
        async with replay(tmp_path / "town.pcap", port_base=0):
            pass


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "column", "row"),
    [
        ("nab_machine_temperature", "temperature", 500),
        ("skab_pump_anomaly_free", "motor_current_A", 3000),
        ("skab_pump_cavitation_13", "flow_l_min", 500),
        ("skab_pump_valve1_0", "pressure_bar", 700),
        ("steel_plant_energy_2018Q1", "active_energy_kWh", 70),
    ],
)
async def test_recorded_series_of_real_machines(tmp_path: Path, name: str, column: str, row: int) -> None:
    """At the moment of a row, its value; read by mbpoll from two registers, as the configuration has it: ABCD."""
    file = SHARED / "traces" / "machines" / f"{name}.csv"
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    (tmp_path / "gateway.yaml").write_text(f"""
connections: {{c: {{protocol: modbus-tcp, host: 10.0.0.1}}}}
machines: {{m: {{connection: c, signals: {{{column}: {{holding: 0, type: float32}}}}}}}}
""")
    configuration = load(tmp_path / "gateway.yaml", protocols())
    begins = datetime.fromisoformat(rows[0]["timestamp"])
    for number in (0, row):
        into = (datetime.fromisoformat(rows[number]["timestamp"]) - begins).total_seconds()
        async with replay(
            file, configuration=configuration, machine="m", port_base=0, speed=0.001, start=into
        ) as plant:
            words = await values(plant, "c", "holding", 0, 2)
        (value,) = struct.unpack(">f", struct.pack(">HH", *words))
        assert value == pytest.approx(float(rows[number][column]), rel=1e-6)
