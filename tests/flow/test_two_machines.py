"""The first flow, between parts that are not ours: libmodbus and node-opcua on one side, the stores on the other.

libmodbus (C) ──┐                         ┌─▶ historian
                ├─▶ gateway ─▶ Mosquitto ─┼─▶ VictoriaMetrics, InfluxDB v2 API
node-opcua ─────┘                         └─▶ InfluxDB 1.6, v1 API
"""

import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from parts.gateway import Gateway, StoreProcess
from parts.influxdb1 import InfluxDB1
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll
from parts.mosquitto import Mosquitto
from parts.node_opcua import NodeOpcua
from parts.process import wait_until
from parts.victoria_metrics import VictoriaMetrics

# What a press would hold, written by hand. Floats as IEEE 754 with the words swapped (CDAB).
MELT = struct.unpack(">2H", struct.pack(">f", 233.25))
IMAGE = {
    (7, "holding", 0): [0x5678, 0x1234],  # CDAB: 0x12345678
    (7, "holding", 10): [2135],  # x 0.1
    (7, "holding", 11): [MELT[1], MELT[0]],
    (7, "holding", 13): [0xFFFE],  # int16: -2
    (7, "holding", 20): [3],
    (7, "input", 0): [0x4142, 0x4320],  # "ABC "
    (7, "coil", 3): [1],
    (7, "discrete", 4): [0],
}
EXPECTED = {
    "cycle_count": 0x12345678,
    "melt_temp": 213.5,
    "melt_real": 233.25,
    "offset": -2,
    "mode": "auto",
    "program": "ABC",
    "lamp": True,
    "alarm": False,
}


def config(press: int, cnc: int, broker: int, more: str = "") -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme, site: hanoi, area: moulding}}
connections:
  panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {press}}}
  cnc: {{protocol: opcua, url: "opc.tcp://127.0.0.1:{cnc}{{path}}", security: None}}
machines:
  press-07:
    connection: panel
    unit_id: 7
    line: L1
    poll: 200ms
    signals:
      cycle_count: {{holding: 0, type: uint32, order: CDAB, kind: counter}}
      melt_temp: {{holding: 10, type: int16, scale: 0.1, unit: Cel, range: [0, 400]}}
      melt_real: {{holding: 11, type: float32, order: CDAB, unit: Cel}}
      offset: {{holding: 13, type: int16}}
      mode: {{holding: 20, type: uint16, enum: {{0: "off", 1: setup, 2: manual, 3: auto}}}}
      program: {{input: 0, type: string, length: 4}}
      lamp: {{coil: 3}}
      alarm: {{discrete: 4}}
      nowhere: {{holding: 500, type: uint16}}
  lathe-02:
    connection: cnc
    line: L2
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      spindle_speed: {{node: "m:s=CNC1.SpindleSpeed", sampling: 100ms, unit: 1/min}}
      part_count: {{node: "m:s=CNC1.PartCount", kind: counter}}
      program: {{node: "m:s=CNC1.Program"}}
      door_open: {{node: "m:s=CNC1.DoorOpen"}}
      smallest: {{node: "m:s=CNC1.Int64Min"}}
      largest: {{node: "m:s=CNC1.UInt64Max"}}
      broken: {{node: "m:s=CNC1.Broken"}}
      doubtful: {{node: "m:s=CNC1.Doubtful"}}
      serial: {{node: "m:s=CNC1.SerialNumber"}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", delivery: store}}
{more}"""


@pytest.fixture(scope="module")
def plant() -> Iterator[tuple[Libmodbus, NodeOpcua, Mosquitto]]:
    with Libmodbus(IMAGE) as press, NodeOpcua() as cnc, Mosquitto(conf=["max_queued_messages 10000"]) as broker:
        yield press, cnc, broker


@pytest.fixture(scope="module")
def text(plant) -> str:
    press, cnc, broker = plant
    path = cnc.url.partition(f":{cnc.port}")[2]
    return config(press.port, cnc.port, broker.port).replace("{path}", path)


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[VictoriaMetrics, InfluxDB1]]:
    with VictoriaMetrics(token="gw-token") as metrics, InfluxDB1(user="writer", password="pw") as influx:
        influx.query("CREATE DATABASE shop")
        yield metrics, influx


@pytest.fixture(scope="module")
def flow(text, stores) -> Iterator[tuple[Gateway, dict[str, StoreProcess]]]:
    """The edge, and three writers of the same readings, each into a store of its own."""
    metrics, influx = stores
    sections = {
        "historian": "{kind: historian, writer: w-historian}",
        "v2": f'{{kind: influx, url: "{metrics.auth_url}", org: o, bucket: b, token: gw-token, writer: w-v2}}',
        "v1": f'{{kind: influx, api: v1, url: "{influx.url}", database: shop, user: writer, password: pw, writer: w-v1}}',
    }
    writers = {name: StoreProcess(f"{text}store: {section}\n") for name, section in sections.items()}
    for writer in writers.values():
        writer.start()
    with Gateway(text) as gateway:
        wait_until(lambda: gateway.machine("press-07")["state"] == "degraded", 20, "the press to be read")
        wait_until(
            lambda: gateway.machine("lathe-02")["signals"]["largest"]["quality"] == "good", 30, "the lathe to be read"
        )
        before = gateway.status()["flow"]["stored"]
        wait_until(lambda: gateway.status()["flow"]["stored"] > before + 20, 20, "readings to be stored")
        yield gateway, writers
    for writer in writers.values():
        writer.close()


def last_good(rows: list[dict]) -> dict:
    return [row for row in rows if row["quality"] == "good"][-1]


def test_mbpoll_reads_the_same_registers(plant):
    press, _, _ = plant
    assert mbpoll(press.port, "holding", 0, 2, unit=7) == {0: 0x5678, 1: 0x1234}
    assert mbpoll(press.port, "holding", 10, 4, unit=7)[10] == 2135


@pytest.mark.parametrize(("signal", "value"), EXPECTED.items())
def test_the_press_in_the_historian(flow, signal, value):
    row = last_good(flow[1]["historian"].query(f"press-07/{signal}"))
    assert row["value"] == value
    assert type(row["value"]) is type(value)


def test_a_register_that_does_not_exist_costs_only_its_signal(flow):
    rows = flow[1]["historian"].query("press-07/nowhere")
    assert {(row["value"], row["quality"]) for row in rows} == {(None, "bad:illegal-address")}
    assert flow[0].machine("press-07")["state"] == "degraded"


def test_the_lathe_in_the_historian(flow):
    historian = flow[1]["historian"]

    def rows(signal: str) -> list[dict]:
        return historian.query(f"lathe-02/{signal}", since="2000-01-01")

    assert rows("smallest")[-1]["value"] == -(2**63)
    assert rows("largest")[-1]["value"] == 2**64 - 1
    assert isinstance(rows("program")[-1]["value"], str)
    assert rows("door_open")[-1]["value"] in (True, False)
    assert rows("broken")[-1]["quality"] == "bad:sensor-failure"
    assert rows("broken")[-1]["value"] is None
    assert rows("doubtful")[-1]["quality"].startswith("uncertain")
    assert rows("doubtful")[-1]["value"] is not None
    assert rows("serial")[-1]["t"] < 1_104_537_600_000  # the server's own time stamp, of the year 2004


def test_every_change_of_the_spindle_arrived_with_the_servers_time(flow):
    """The server steps by a quarter every 100 ms; its stamps are what is stored."""
    rows = flow[1]["historian"].query("lathe-02/spindle_speed")
    steps = [(b["value"] - a["value"]) % 1000 for a, b in pairwise(rows)]
    assert len(rows) > 20
    assert set(steps) <= {0.25, 0.5}  # the server may see two of its ticks as one sample, and must never go back
    gaps = [b["t"] - a["t"] for a, b in pairwise(rows)]
    assert all(gap > 0 for gap in gaps)


def test_the_v2_api(flow, stores):
    metrics, _ = stores

    def latest(field: str) -> float | None:
        found = metrics.export(f'machine_{field}{{machine="press-07"}}')
        return found[0][1][-1][1] if found else None

    wait_until(lambda: latest("melt_temp") == 213.5, 30, "the series to be readable")
    assert latest("cycle_count") == 0x12345678
    assert latest("melt_real") == 233.25
    assert latest("mode_code") == 3  # this store turns text into 0, so the number goes along
    labels, points = metrics.export('machine_offset{machine="press-07"}')[0]
    assert {k: labels[k] for k in ("enterprise", "site", "area", "line")} == {
        "enterprise": "acme", "site": "hanoi", "area": "moulding", "line": "L1",
    }  # fmt: skip
    assert {value for _, value in points} == {-2}


def test_the_v1_api(flow, stores):
    _, influx = stores
    (row,) = influx.query("SELECT last(*) FROM machine WHERE machine = 'press-07'", db="shop")
    assert {name: row[f"last_{name}"] for name in EXPECTED} == EXPECTED
    rows = flow[1]["v1"].query("press-07/melt_temp")
    assert {(row["value"], row["quality"]) for row in rows} == {(213.5, "good")}


def test_all_stores_have_the_same(flow, stores):
    """The same readings of the press, in the historian and over both Influx APIs, to the microsecond."""
    gateway, writers = flow
    metrics, _ = stores
    cut = gateway.status()["t"] - 3000
    wait_until(
        lambda: metrics.export('machine_cycle_count{machine="press-07"}')[0][1][-1][0] > cut, 30, "the newest points"
    )
    times = {
        name: [r["t"] for r in writers[name].query("press-07/cycle_count") if r["t"] < cut]
        for name in ("historian", "v1")
    }
    assert times["historian"] == times["v1"]
    points = [t for t, _ in metrics.export('machine_cycle_count{machine="press-07"}')[0][1] if t < cut]
    assert points == [int(t) for t in times["historian"] if t < cut][: len(points)]
    assert len(points) > 10


def test_a_changed_register_arrives(flow, plant):
    press, _, _ = plant
    press.set(7, "holding", 10, 2200)
    historian = flow[1]["historian"]
    wait_until(lambda: historian.query("press-07/melt_temp")[-1]["value"] == 220.0, 10, "the new value")
