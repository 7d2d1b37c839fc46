"""What the simulated Modbus server costs: CPU µs per request of 100 registers, and for 500 machines at 1 s each.

python tests/bench/simulator.py [machines]
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from gateway.clock import SystemClock
from gateway.config import Protocol, load
from simulators.ledger import Ledger
from simulators.plant import Plant, simulate

SECONDS = 5
MIXES = {
    "100 uint16": "count: {holding: 0, type: uint16, scale: 0.1, count: 100}",
    "50 float32": "value: {holding: 0, type: float32, order: CDAB, unit: V, count: 50}",
    "66 mixed": """
      word: {holding: 0, type: uint16, scale: 0.1, unit: Cel, count: 40}
      real: {holding: 40, type: float32, order: CDAB, unit: V, count: 22}
      total: {holding: 84, type: uint64, kind: counter, count: 4}""",
}
REQUEST = struct.Struct(">HHHBBHH")


def configuration(folder: Path, machines: int, signals: str) -> Path:
    """`machines` machines with 100 registers each, 100 behind a port."""
    lines = ["connections:"]
    lines += [
        f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {20000 + i}}}" for i in range(-(-machines // 100))
    ]
    lines.append("machines:")
    for i in range(machines):
        lines.append(f"  m{i}:\n    connection: c{i // 100}\n    unit_id: {i % 100}\n    signals:")
        lines.append(f"      {signals}")
    path = folder / "gateway.yaml"
    path.write_text("\n".join(lines))
    return path


class Poller(threading.Thread):
    """Asks every machine once a second, from a thread of its own whose CPU time is taken off."""

    def __init__(self, ports: list[tuple[int, int]], rounds: int, period: float) -> None:
        super().__init__()
        self.ports, self.rounds, self.period = ports, rounds, period
        self.requests, self.cpu = 0, 0.0

    def run(self) -> None:
        links = {}
        for port in {port for port, _ in self.ports}:
            link = links[port] = socket.create_connection(("127.0.0.1", port))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.monotonic()
        for turn in range(self.rounds):
            for port, unit in self.ports:
                links[port].sendall(REQUEST.pack(turn, 0, 6, unit, 3, 0, 100))
                answer = links[port].recv(512)
                assert len(answer) == 209, answer
                self.requests += 1
            time.sleep(max(0.0, start + (turn + 1) * self.period - time.monotonic()))
        for link in links.values():
            link.close()
        self.cpu = time.thread_time()


async def measure(path: Path, ledger: Ledger, rounds: int, period: float) -> tuple[float, float, int]:
    """CPU seconds of the server alone, wall seconds, requests."""
    protocol = Protocol("modbus-tcp", ModbusTcp, ModbusMachine)
    async with simulate(load(path, {"modbus-tcp": protocol}), None, ledger, 0, clock=SystemClock()) as plant:
        poller = Poller(_units(plant), rounds, period)
        before, began = _cpu(), time.monotonic()
        poller.start()
        await asyncio.to_thread(poller.join)
        return _cpu() - before - poller.cpu, time.monotonic() - began, poller.requests


def _units(plant: Plant) -> list[tuple[int, int]]:
    return [
        (plant.ports[connection], machine.settings.unit_id)  # type: ignore[attr-defined]
        for connection, machines in plant.machines.items()
        for machine in machines
    ]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    machines = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for mix, signals in MIXES.items():
            path = configuration(folder, 1, signals)
            for ledger in (Ledger(), Ledger(folder / "ledger.jsonl")):
                cpu, _, requests = asyncio.run(measure(path, ledger, 3000, 0.0))
                kept = "no ledger" if ledger.path is None else "ledger"
                print(f"{mix:>12}, {kept:>9}: {cpu / requests * 1e6:6.0f} µs per request")
                ledger.close()
        path = configuration(folder, machines, MIXES["66 mixed"])
        with Ledger(folder / "ledger.jsonl") as ledger:
            cpu, wall, requests = asyncio.run(measure(path, ledger, SECONDS, 1.0))
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{machines} machines x 100 registers x 1 s, ledger: {cpu / wall:.0%} of a core, {requests / wall:.0f}/s, {rss:.0f} MiB"
        )


if __name__ == "__main__":
    main()
