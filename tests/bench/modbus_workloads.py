"""Three plants over Modbus TCP, up to an MQTT subscriber: what they cost, whether all arrives, and in time.

    server.c ─▶ gateway run ─▶ Mosquitto ─▶ subscriber.py            each a process of its own; CPU time of the gateway

    M1   10 machines x 700 signals in 1,000 registers every 1 s
    M2   100 machines x 1,000 signals every 1 s
    M3   one machine, 100 signals every 100 ms: from the change of a value to the subscriber

Delivered: values that arrived, of those there are at the ticks from the first to the last one seen; a machine that never came
counts. In time: how far the stamps of a machine lie behind its own grid.

PYTHONPATH=tests .venv/bin/python tests/bench/modbus_workloads.py --only M2 --seconds 60
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from bench.peers.machines import Register, clocks, pairs
from bench.peers.programs import CHANGING, CLOCK, Plant, Server, Subscriber, cpu
from parts.mosquitto import Mosquitto
from parts.process import wait_until

WARM_UP = 3.0
CATCH_UP = 1.0  # seconds for what is still on its way


@dataclass(frozen=True, slots=True)
class Work:
    """A plant, and what it may cost at the most."""

    machines: int
    registers: Sequence[Register]
    period: float
    seconds: float  # s of CPU time for a million values
    mib: float
    latency: tuple[float, float] | None = None  # ms: median, 99 %

    @property
    def poll(self) -> str:
        return f"{1e3 * self.period:.0f}ms"


WORK = {
    "M1": Work(10, pairs(700), 1.0, 5.0, 60),
    "M2": Work(100, pairs(1000), 1.0, 2.5, 120),
    "M3": Work(1, clocks(100), 0.1, 0, 60, (55, 105)),
}
JITTER = 50  # ms, 99 %


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--seconds", type=float, default=15, help="of each")
    parser.add_argument("--max-in-flight", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{'':<4}{'values/s':>10}{'s per million':>15}{'of':>5}{'delivered %':>13}{'of it bad':>11}", end="")
    print(f"{'jitter ms 50, 99 %':>20}{'age ms 50, 99 %':>17}{'MiB':>7}{'of':>5}")
    for name, work in WORK.items():
        if chosen.only in (None, name):
            run(name, work, chosen)


def run(name: str, work: Work, chosen: argparse.Namespace) -> None:
    with (
        Mosquitto(conf=["max_queued_messages 100000"]) as broker,
        Server(work.registers, work.machines) as server,
        Subscriber(broker.port, clock=work.latency is not None) as subscriber,
    ):
        server.serve(CLOCK if work.latency else CHANGING)
        with Plant(
            server,
            broker,
            work.machines,
            work.registers,
            poll=work.poll,
            report="all",
            max_in_flight=chosen.max_in_flight,
        ) as gateway:
            wait_until(gateway.online, 60, "the machines")
            time.sleep(WARM_UP)
            subscriber.take()
            spent, start, memory = cpu(gateway), time.monotonic(), 0.0
            while time.monotonic() < start + chosen.seconds:
                time.sleep(min(0.5, max(0.0, start + chosen.seconds - time.monotonic())))
                memory = max(memory, psutil.Process(gateway.pid).memory_info().rss / 2**20)
            spent, window = cpu(gateway) - spent, time.monotonic() - start
            found = subscriber.take()
            time.sleep(CATCH_UP)
            lost = gateway.status()["flow"]["lost"]
        report(name, work, found, spent, window, memory)
        if lost:
            print(f"{lost} messages were lost in the gateway")


def report(name: str, work: Work, found: dict[str, Any], spent: float, window: float, memory: float) -> None:
    jitter: list[float] = []
    expected = 0
    period_ms = 1e3 * work.period
    for stamps in found["stamps"].values():
        expected += round((max(stamps) - min(stamps)) / period_ms) + 1
        phases = [(stamp - stamps[0] + period_ms / 2) % period_ms for stamp in stamps]
        jitter += [phase - min(phases) for phase in phases]
    missing = work.machines - len(found["stamps"])
    expected = (expected + missing * round(window / work.period)) * len(work.registers)
    values = found["values"]
    print(
        f"{name:<4}{values / window:>10,.0f}{1e6 * spent / max(1, values):>15.2f}{work.seconds or '–':>5}"
        f"{100 * values / max(1, expected):>13.2f}{found['bad']:>11}{_two(jitter):>20}{_two(found['ages']):>17}"
        f"{memory:>7.1f}{work.mib:>5}"
    )
    if work.latency is not None:
        print(
            f"    from the change to the subscriber, ms: {_two(found['latencies'])} of {work.latency}, "
            f"most {max(found['latencies'], default=0):.0f}, {len(found['latencies'])} changes"
        )


def _two(numbers: list[float]) -> str:
    """The median and 99 %."""
    if not numbers:
        return "–"
    ordered = sorted(numbers)
    return f"{ordered[len(ordered) // 2]:.1f}, {ordered[len(ordered) * 99 // 100]:.1f}"


if __name__ == "__main__":
    main()
