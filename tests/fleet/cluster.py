"""Several gateways, two brokers with a bridge, several writers in one share, one store.

machines a ─▶ gateway a ─▶ broker of the line ══ bridge ══▶ broker of the plant ─┬─▶ writer 1 ─┐
machines b ─▶ gateway b ──────────────────────────────────▶        "             ├─▶ writer 2 ─┼─▶ InfluxDB
└─▶ ledger ── judged against what is stored                                      └─▶ writer 3 ─┘
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from flow.plants import modbus_machine
from gateway.cli.verify import verdict_of
from gateway.config import load
from gateway.runtime.registry import protocols
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.influxdb1 import InfluxDB1
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from simulators.judge.judging import MS, Bounds
from simulators.judge.verdict import Verdict
from simulators.ledger import read_ledger

WRITERS = 3
QUEUES = ["max_queued_messages 100000", "max_inflight_messages 20"]


def bridge(plant: Mosquitto) -> list[str]:
    """Lines of a broker that hands everything to another one, and gets from there what was stored."""
    return [
        *QUEUES,
        "connection up",
        f"address 127.0.0.1:{plant.port}",
        "bridge_protocol_version mqttv50",
        "cleansession false",
        "notifications false",
        "restart_timeout 1 1",
        "topic shopfloor/v1/# out 1",
        "topic shopfloor/v1/_store/# in 1",
    ]


@dataclass
class Cluster:
    """All of it, running."""

    line: Mosquitto
    plant: Mosquitto
    store: InfluxDB1
    machines: dict[str, Simulated]
    gateways: dict[str, Gateway]
    writers: list[StoreProcess]
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> dict[str, int]:
        """Messages that each gateway knows to be stored."""
        return {name: each.status()["flow"]["stored"] for name, each in self.gateways.items()}

    @property
    def sent(self) -> dict[str, int]:
        """Messages that each gateway's broker has acknowledged."""
        return {name: each.status()["flow"]["sent"] for name, each in self.gateways.items()}

    def moves_on(self, timeout: float) -> float:
        """Until both gateways have heard of more that is stored; seconds."""
        before, begin = self.stored, time.monotonic()
        wait_until(lambda: all(n > before[name] + 20 for name, n in self.stored.items()), timeout, "more to be stored")
        return time.monotonic() - begin

    def all_stored(self, timeout: float) -> float:
        """Until all that has been read up to now is stored, while more comes; seconds."""
        begin = time.monotonic()
        for gateway in self.gateways.values():
            gateway.catch_up(timeout)
        return time.monotonic() - begin

    def waiting(self) -> int:
        """Messages in the buffers."""
        return sum(each.status()["buffer"]["records"] for each in self.gateways.values())

    def finish(self, timeout: float = 120) -> dict[str, Verdict]:
        """Stop the machines, wait until all that was read is stored, and judge it."""
        for each in self.machines.values():
            each.stop()
        for gateway in self.gateways.values():
            # Counts do not tell: what is missing in the middle is sent again long after the rest is stored.
            wait_until(lambda each=gateway: _is_done(each.status()), timeout, "nothing to wait any more")
        return {name: self.judged(name) for name in self.gateways}

    def judged(self, name: str) -> Verdict:
        gateway, machines = self.gateways[name], self.machines[name]
        file = gateway.folder / "judged.yaml"
        file.write_text(self.texts[name] + store_section(self.store, "judge"))
        # Machines end one after the other; the last answers of each may not have been taken any more.
        last: dict[str, int] = {}
        for entry in read_ledger(machines.ledger):
            last[entry.machine] = max(last.get(entry.machine, 0), entry.time_ns)
        bounds = Bounds(settled=min(last.values()) - 250 * MS)
        return verdict_of(machines.ledger, None, load(file, protocols()), bounds)[0]


def _is_done(status: dict[str, Any]) -> bool:
    """Whether all machines are known to be away, and all that came of them is stored."""
    away = all(machine["state"] == "offline" for machine in status["machines"])
    return away and not status["buffer"]["records"]


def store_section(store: InfluxDB1, writer: str, share: bool = True) -> str:
    shared = ", share: plant" if share else ""
    return f'store: {{kind: influx, api: v1, url: "{store.url}", database: shop, writer: {writer}{shared}}}\n'


@contextmanager
def cluster(machines: int = 4, signals: int = 10, poll: str = "100ms", delivery: str = "store") -> Iterator[Cluster]:
    """Started from the store back to the machines. `delivery`: whose word frees the buffers."""
    with ExitStack() as stack:
        store = stack.enter_context(InfluxDB1())
        store.query("CREATE DATABASE shop")
        plant = stack.enter_context(Mosquitto(conf=QUEUES))
        line = stack.enter_context(Mosquitto(conf=bridge(plant)))
        to_plant = f'mqtt: {{url: "mqtt://127.0.0.1:{plant.port}", delivery: store}}\n'
        writers = [
            stack.enter_context(StoreProcess(to_plant + store_section(store, f"w{i + 1}"))) for i in range(WRITERS)
        ]
        found = Cluster(line, plant, store, {}, {}, writers)
        for name, broker in (("a", line), ("b", plant)):
            ports = [free_port() for _ in range(machines)]
            text = "\n".join(
                [
                    "version: 1",
                    f"gateway: {{id: edge-{name}, data_dir: data}}",
                    f"site: {{enterprise: acme, line: {name}}}",
                    f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: {delivery}}}',
                    "connections:",
                    *(
                        f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}"
                        for i, port in enumerate(ports)
                    ),
                    "machines:",
                    *(modbus_machine(f"{name}{i}", f"c{i}", 1, signals, poll) for i in range(machines)),
                    "",
                ]
            )
            found.texts[name] = text
            found.machines[name] = stack.enter_context(Simulated(text))
            found.gateways[name] = stack.enter_context(Gateway(text))
        wait_until(lambda: all(n > 20 for n in found.sent.values()), 60, "the flow")
        yield found
