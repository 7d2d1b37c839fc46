"""What the machines say they served is what the store returns: names, values, types, quality and time.

    gateway simulate ─ Modbus, OPC UA ─▶ gateway run ─▶ Mosquitto ─▶ historian
        └─▶ ledger ──────────────────────────── compared ────────────────┘

Each in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import pytest

from flow.plants import modbus_machine
from flow.verdicts import verdict_at_the_end
from gateway.config import load
from gateway.model import GOOD
from gateway.runtime.registry import protocols
from gateway.store.historian import Historian
from gateway.store.reader import HistorianReader
from parts.gateway import Gateway, Simulated
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from simulators.judge.verdict import Verdict
from simulators.ledger import Column, columns, read_ledger

PUBLISHING = 3.0  # seconds: the server waits half a second until it reports, and a busy computer longer

LATHE = """\
  lathe:
    connection: cnc
    namespaces: {m: "urn:shop:cnc"}
    signals:
      spindle_speed: {node: "m:s=Spindle", sampling: 100ms, range: [0, 6000], unit: 1/min}
      part_count: {node: "m:s=Parts", kind: counter, sampling: 100ms}
      door: {node: "m:s=Door", type: bool, sampling: 100ms}
      program: {node: "m:s=Program", type: string, sampling: 100ms}
"""


def plant(modbus: int, opcua: int) -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme, site: hanoi}}
connections:
  line: {{protocol: modbus-tcp, host: 127.0.0.1, port: {modbus}}}
  cnc: {{protocol: opcua, url: "opc.tcp://127.0.0.1:{opcua}", security: None}}
machines:
{modbus_machine("fast", "line", 1, 20, poll="100ms")}
{modbus_machine("slow", "line", 2, 200, poll="1s")}
{LATHE}"""


class Ran(NamedTuple):
    served: dict[tuple[str, str], Column]
    reader: HistorianReader
    verdict: Verdict


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    """Some seconds of a plant; then what was served, and the store."""
    text = plant(free_port(), free_port())
    with Mosquitto(conf=["max_queued_messages 10000"]) as broker, Simulated(text) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") == 2, 20, "the machines")
        more = f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\nstore: {{kind: historian}}\n'
        with Gateway(text + more) as gateway:
            wait_until(lambda: gateway.status()["flow"]["stored"] > 150, 60, "150 messages to be stored")
            flow = gateway.status()["flow"]
            gateway.stop()
            machines.stop()
            reader = Historian.open_read_only(gateway.folder / "data" / "historian.sqlite")
            verdict = verdict_at_the_end(
                machines.ledger, gateway.folder / "data" / "historian.sqlite", gateway.file, under_way=PUBLISHING
            )
            yield Ran(columns(read_ledger(machines.ledger)), reader, verdict)
            reader.close()
            assert flow["lost"] == flow["bad"] == 0


def stored(ran, machine: str, signal: str) -> Column:
    return ran.reader.query(machine, signal, 0, time.time_ns())


MODBUS = [(m, f"s{i:03}") for m, n in (("fast", 20), ("slow", 200)) for i in range(n)]


def good(column) -> list[tuple[int, object]]:
    return [(t, v) for t, v, q in zip(column.time, column.value, column.quality, strict=True) if q == GOOD]


def test_every_value_served_is_stored_and_nothing_else(ran):
    """All 220 Modbus signals, and those of the server. Those of the last moments may have been on their way when it ended."""
    assert ran.verdict.sound, ran.verdict
    assert ran.verdict.judged == len(MODBUS) + 4
    assert [ran.verdict.total(what) for what in ("late", "declared", "own", "outside", "marked")] == [0] * 5
    for each in ran.verdict.signals:
        assert each.stored > 0, each.name
        assert each.machine == "lathe" or each.unread == 0, each.name


def test_a_polled_value_is_stored_with_its_type_within_a_millisecond(ran):
    late: list[float] = []
    for machine, signal in MODBUS:
        served, found = ran.served[machine, signal], good(stored(ran, machine, signal))
        assert {type(v) for _, v in found} == {type(v) for v in served.value}, (machine, signal)
        late += [(t - s) / 1e6 for (t, _), s in zip(found, served.time, strict=False)]
    # The stamp is the arrival of the block: never before it was served, and within a millisecond of it but for moments
    # in which this machine does not let one of the two processes run.
    assert min(late) >= -0.001
    assert median(late) < 1.0
    assert sorted(late)[int(len(late) * 0.95)] < 5.0


def test_every_polled_value_lies_before_the_next_one_was_served(ran):
    for machine, signal in MODBUS[::20]:
        served, found = list(ran.served[machine, signal].time), good(stored(ran, machine, signal))
        assert all(t < following for (t, _), following in zip(found, served[1:], strict=False))


def test_times_of_a_signal_only_rise(ran):
    for machine, signal in [*MODBUS[::10], ("lathe", "spindle_speed")]:
        assert all(a < b for a, b in pairwise(stored(ran, machine, signal).time))


def test_units_and_types_are_known_to_the_store(ran, tmp_path):
    (tmp_path / "gateway.yaml").write_text(plant(1, 2))
    configured = load(tmp_path / "gateway.yaml", protocols())
    known = {(s.machine.machine, s.signal): s for s in ran.reader.signals()}
    assert set(known) == {(m, s) for m, settings in configured.machines.items() for s in settings.signals}
    assert known["lathe", "spindle_speed"].unit == "1/min"
    assert {known["fast", f"s{i:03}"].type for i in range(5)} == {"float", "int", "string"}
