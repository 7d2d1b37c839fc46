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

import pytest

from flow.plants import modbus_machine
from gateway.config import load
from gateway.model import GOOD
from gateway.runtime.registry import protocols
from gateway.store.historian import Historian
from parts.gateway import Gateway, Simulated
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from simulators.ledger import Column, columns, read_ledger

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


@pytest.fixture(scope="module")
def ran() -> Iterator[tuple[dict[tuple[str, str], Column], Historian, str]]:
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
            yield columns(read_ledger(machines.ledger)), reader, gateway.log
            reader.close()
            assert flow["lost"] == flow["bad"] == 0


def stored(ran, machine: str, signal: str) -> Column:
    return ran[1].query(machine, signal, 0, time.time_ns())


MODBUS = [(m, f"s{i:03}") for m, n in (("fast", 20), ("slow", 200)) for i in range(n)]


def good(column) -> list[tuple[int, object]]:
    return [(t, v) for t, v, q in zip(column.time, column.value, column.quality, strict=True) if q == GOOD]


def test_every_polled_value_served_is_stored_and_nothing_else(ran):
    """All 220 Modbus signals, in order. The first and the last answer may have been on their way when it ended."""
    late: list[float] = []
    for machine, signal in MODBUS:
        served, found = ran[0][machine, signal], good(stored(ran, machine, signal))
        values = list(served.value)
        assert len(values) - len(found) in (0, 1), (machine, signal)
        assert [v for _, v in found] == values[: len(found)], (machine, signal)
        assert {type(v) for _, v in found} == {type(v) for v in values}, (machine, signal)
        late += [(t - s) / 1e6 for (t, _), s in zip(found, served.time, strict=False)]
    # The stamp is the arrival of the block: never before it was served, and within a millisecond of it but for moments
    # in which this machine does not let one of the two processes run.
    assert min(late) >= -0.001
    assert median(late) < 1.0
    assert sorted(late)[int(len(late) * 0.95)] < 5.0


def test_every_polled_value_lies_before_the_next_one_was_served(ran):
    for machine, signal in MODBUS[::20]:
        served, found = list(ran[0][machine, signal].time), good(stored(ran, machine, signal))
        assert all(t < following for (t, _), following in zip(found, served[1:], strict=False))


@pytest.mark.parametrize("signal", ["spindle_speed", "part_count", "door", "program"])
def test_every_value_of_the_server_is_stored_with_its_time(ran, signal):
    """A subscription reports changes: what was served, without repetitions, at the server's own time."""
    served = ran[0]["lathe", signal]
    changes: list[tuple[int, object]] = []
    for t, v in zip(served.time, served.value, strict=True):
        if not changes or v != changes[-1][1]:
            changes.append((t // 1000, v))
    found = [(t // 1000, v) for t, v in good(stored(ran, "lathe", signal))]
    assert found
    # From the first value on that the subscription saw; the last changes may not have been published any more.
    start = next(i for i, (_, v) in enumerate(changes) if v == found[0][1])
    expected = changes[start:]
    assert [v for _, v in found] == [v for _, v in expected[: len(found)]]
    assert len(expected) - len(found) <= 10
    # OPC UA counts in units of 100 ns, the payload in microseconds.
    assert all(abs(a - b) <= 1 for (a, _), (b, _) in list(zip(found, expected, strict=False))[1:])


def test_times_of_a_signal_only_rise(ran):
    for machine, signal in [*MODBUS[::10], ("lathe", "spindle_speed")]:
        assert all(a < b for a, b in pairwise(stored(ran, machine, signal).time))


def test_units_and_types_are_known_to_the_store(ran, tmp_path):
    (tmp_path / "gateway.yaml").write_text(plant(1, 2))
    configured = load(tmp_path / "gateway.yaml", protocols())
    known = {(s.machine.machine, s.signal): s for s in ran[1].signals()}
    assert set(known) == {(m, s) for m, settings in configured.machines.items() for s in settings.signals}
    assert known["lathe", "spindle_speed"].unit == "1/min"
    assert {known["fast", f"s{i:03}"].type for i in range(5)} == {"float", "int", "string"}
