"""What the simulators cost: CPU time of `gateway simulate`, which writes a ledger, with its clients in other processes.

    modbus   500 machines of 100 registers, each read once a second, behind 10 ports and behind 500; and one request by itself
    opcua    20,000 variables that are subscribed to: all of them change every second, or a tenth; for each of the clients

"of a core" is CPU time of the simulator in a second of wall time; "s per million" the same for values that left it.
Values are counted where they arrive; a client that does not get as many as changed is the bottleneck itself.

PYTHONPATH=tests .venv/bin/python tests/bench/simulator.py modbus opcua --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from bench.peers.opcua import Checked, Handler, OpcuaPlant, Reader
from bench.peers.programs import cpu
from gateway.clock import SystemClock
from gateway.config import Protocol, load
from parts.gateway import COMMAND
from parts.mosquitto import Mosquitto
from parts.process import Part
from simulators.ledger import Ledger
from simulators.plant import Plant, simulate

SETTLE = 3.0
MIXES = {
    "100 uint16": "count: {holding: 0, type: uint16, scale: 0.1, count: 100}",
    "50 float32": "value: {holding: 0, type: float32, order: CDAB, unit: V, count: 50}",
    "66 mixed": """
      word: {holding: 0, type: uint16, scale: 0.1, unit: Cel, count: 40}
      real: {holding: 40, type: float32, order: CDAB, unit: V, count: 22}
      total: {holding: 84, type: uint64, kind: counter, count: 4}""",
}
REQUEST = struct.Struct(">HHHBBHH")
REGISTERS = 100


class Simulator(Part):
    """`gateway simulate` at ports that it chooses."""

    patience = 300.0

    def __init__(self, configuration: str, scenario: str, connections: int) -> None:
        super().__init__()
        self._connections = connections
        (self.folder / "gateway.yaml").write_text(configuration)
        (self.folder / "scenario.yaml").write_text(scenario)
        self.took = self.spent = 0.0  # seconds to start, and of CPU time
        self._began = time.monotonic()

    def command(self) -> list[str]:
        self._began = time.monotonic()
        options = ["--scenario", "scenario.yaml", "--ledger", "ledger.jsonl", "--port-base", "0"]
        return [COMMAND, "simulate", "gateway.yaml", *options]

    def ready(self) -> bool:
        self.took, self.spent = time.monotonic() - self._began, cpu(self)
        return len(self.ports) == self._connections

    @property
    def started(self) -> str:
        """For people. On a busy computer the CPU time tells more."""
        return f"start {self.took:.1f} s ({self.spent:.1f} s CPU), {self.megabytes:.0f} MiB"

    @property
    def ports(self) -> Mapping[str, int]:
        """By connection."""
        return {name: int(port) for name, port in re.findall(r"^(\w+): 127\.0\.0\.1:(\d+) ", self.log, re.MULTILINE)}

    @property
    def megabytes(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run."""

    seconds: float  # of CPU time
    window: float
    values: int

    @staticmethod
    def watch(simulator: Simulator, take: Callable[[], int], seconds: float) -> Figures:
        """`take`: how many values have arrived since it was asked before."""
        time.sleep(SETTLE)
        take()
        begun, spent = time.monotonic(), cpu(simulator)
        time.sleep(seconds)
        return Figures(cpu(simulator) - spent, time.monotonic() - begun, take())

    def __str__(self) -> str:
        per = 1e6 * self.seconds / max(1, self.values)
        return f"{self.seconds / self.window:>6.1%} of a core {self.values / self.window:>10,.0f} values/s {per:>7.2f} s per million"


# --- Modbus --------------------------------------------------------------------------------------------------------------


def modbus_plant(machines: int, ports: int, signals: str) -> str:
    """A configuration with 100 registers in each machine, and as many machines behind each port."""
    behind = -(-machines // ports)
    lines = ["connections:"]
    lines += [f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {20000 + i}}}" for i in range(ports)]
    lines.append("machines:")
    for i in range(machines):
        lines.append(f"  m{i}:\n    connection: c{i // behind}\n    unit_id: {i % behind + 1}\n    signals:")
        lines.append(f"      {signals}")
    return "\n".join(lines)


class Poller(threading.Thread):
    """Asks every machine once a `period`, spread over it, one after the other, until it is told to stop."""

    def __init__(self, targets: list[tuple[int, int]], period: float, rounds: int = 1_000_000) -> None:
        """`targets`: port and unit id of each machine."""
        super().__init__()
        self.requests, self.cpu = 0, 0.0
        self.stop = False
        self._targets, self._rounds, self._period = targets, rounds, period
        self._taken = 0

    def take(self) -> int:
        """Registers since the last time."""
        before, self._taken = self._taken, self.requests
        return (self._taken - before) * REGISTERS

    def run(self) -> None:
        links = {port: socket.create_connection(("127.0.0.1", port)) for port in {port for port, _ in self._targets}}
        for link in links.values():
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start, step = time.monotonic(), self._period / len(self._targets)
        for number in range(self._rounds * len(self._targets)):
            if self.stop:
                break
            port, unit = self._targets[number % len(self._targets)]
            links[port].sendall(REQUEST.pack(number & 0xFFFF, 0, 6, unit, 3, 0, REGISTERS))
            answer = links[port].recv(512)
            assert len(answer) == 9 + 2 * REGISTERS, answer
            self.requests += 1
            if self._period:
                time.sleep(max(0.0, start + (number + 1) * step - time.monotonic()))
        for link in links.values():
            link.close()
        self.cpu = time.thread_time()


def modbus_scale(machines: int, ports: int, seconds: float) -> None:
    with Simulator(modbus_plant(machines, ports, MIXES["66 mixed"]), "machines: {}", ports) as simulator:
        behind = -(-machines // ports)
        poller = Poller([(simulator.ports[f"c{i // behind}"], i % behind + 1) for i in range(machines)], 1.0)
        poller.start()
        figures = Figures.watch(simulator, poller.take, seconds)
        poller.stop = True
        poller.join()
        print(
            f"{machines} machines, {ports:>3} connections {figures}, {simulator.started}",
            flush=True,
        )


def modbus_requests() -> None:
    """One request after the other, in this process: less the CPU time of the thread that asks."""
    for mix, signals in MIXES.items():
        for kept in (False, True):
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "gateway.yaml"
                path.write_text(modbus_plant(1, 1, signals))
                with Ledger(Path(name) / "ledger.jsonl" if kept else None) as ledger:
                    spent, requests = asyncio.run(_requests(path, ledger))
            print(f"{mix:>12}, {'ledger' if kept else 'no ledger':>9}: {spent / requests * 1e6:6.0f} µs per request")


async def _requests(path: Path, ledger: Ledger) -> tuple[float, int]:
    protocol = Protocol("modbus-tcp", ModbusTcp, ModbusMachine)
    async with simulate(load(path, {"modbus-tcp": protocol}), None, ledger, 0, clock=SystemClock()) as plant:
        poller = Poller(_units(plant), 0.0, 3000)
        before = _cpu()
        poller.start()
        await asyncio.to_thread(poller.join)
        return _cpu() - before - poller.cpu, poller.requests


def _units(plant: Plant) -> list[tuple[int, int]]:
    return [
        (plant.ports[connection], machine.settings.unit_id)  # type: ignore[attr-defined]
        for connection, machines in plant.machines.items()
        for machine in machines
    ]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# --- OPC UA --------------------------------------------------------------------------------------------------------------

IN_A_MACHINE = 1000


class OpcuaSimulator(Simulator):
    """Doubles with the nodes of the other benchmarks: v0, v1 …"""

    def __init__(self, count: int, changing: float) -> None:
        """`changing`: the share of them that has another value every second."""
        self.count = count
        configuration = [
            "connections:",
            '  c0: {protocol: opcua, url: "opc.tcp://127.0.0.1:4840", security: None}',
            "machines:",
        ]
        scenario = ["machines:"]
        for start in range(0, count, IN_A_MACHINE):
            name = f"m{start // IN_A_MACHINE}"
            configuration.append(f'  {name}:\n    connection: c0\n    namespaces: {{m: "urn:bench"}}\n    signals:')
            scenario.append(f"  {name}:\n    signals:")
            for i in range(start, min(count, start + IN_A_MACHINE)):
                wave = f"{{wave: sine, mean: {i}, amplitude: 4, period: 90s, noise: 0.3}}"
                configuration.append(f'      s{i}: {{node: "m:s=v{i}", type: float, sampling: 1s}}')
                scenario.append(f"      s{i}: {wave if i % 10 < 10 * changing else i}")
        super().__init__("\n".join(configuration), "\n".join(scenario), 1)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.ports['c0']}"


def opcua_scale(count: int, changing: float, client: str, publishing: float, seconds: float) -> None:
    with OpcuaSimulator(count, changing) as simulator, ExitStack() as stack:
        if client == "gateway":
            broker = stack.enter_context(Mosquitto(conf=["max_queued_messages 100000"]))
            subscriber = stack.enter_context(Checked(broker.port))
            stack.enter_context(OpcuaPlant(simulator, broker, publishing=publishing)).wait()
            take: Callable[[], int] = lambda: int(subscriber.take()["values"])  # noqa: E731
        else:
            kind = Handler if client == "asyncua" else Reader
            take = stack.enter_context(kind(simulator, publishing)).take
        figures = Figures.watch(simulator, take, seconds)
        print(
            f"{count} variables, {changing:>4.0%} change, {client:<8}{figures}, {simulator.started}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="*", choices=("modbus", "requests", "opcua"), default=("requests", "modbus", "opcua")
    )
    parser.add_argument("--machines", type=int, default=500)
    parser.add_argument("--ports", type=int, nargs="+", default=(10, 500))
    parser.add_argument("--variables", type=int, default=20_000)
    parser.add_argument("--changing", type=float, nargs="+", default=(1.0, 0.1), help="shares of the variables")
    parser.add_argument(
        "--clients", nargs="+", choices=("adapter", "gateway", "asyncua"), default=("adapter", "asyncua")
    )
    parser.add_argument("--publishing", type=float, default=0.5, help="seconds")
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    if "requests" in chosen.what:
        modbus_requests()
    if "modbus" in chosen.what:
        for ports in chosen.ports:
            modbus_scale(chosen.machines, ports, chosen.seconds)
    if "opcua" in chosen.what:
        for changing in chosen.changing:
            for client in chosen.clients:
                opcua_scale(chosen.variables, changing, client, chosen.publishing, chosen.seconds)


if __name__ == "__main__":
    main()
