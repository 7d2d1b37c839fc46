"""Doubles that all change every second, by subscription up to an MQTT subscriber: what it costs, and whether all arrives.

    node-opcua ─▶ gateway run ─▶ Mosquitto ─▶ opcua_subscriber.py            each a process of its own; CPU time of the gateway

    O1   1,000 variables        O2   10,000 variables

Every value says what it is, so the subscriber knows of each that is missing, comes twice or is wrong. Delivered: of all
that the server had until it was told to hold. As `gateway run` comes: `publishing: 500ms`, `report: all`.

PYTHONPATH=tests .venv/bin/python tests/bench/opcua_workloads.py --only O2 --seconds 60
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import psutil

from bench.peers.opcua import SERVERS, Checked, Many, OpcuaPlant
from bench.peers.programs import cpu
from parts.mosquitto import Mosquitto

WARM_UP = 4.0
CATCH_UP = 3.0  # seconds for what is still on its way


@dataclass(frozen=True, slots=True)
class Work:
    """A server, and what reading it may cost at the most."""

    count: int
    seconds: float  # s of CPU time for a million values


WORK = {"O1": Work(1000, 15), "O2": Work(10_000, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--server", choices=SERVERS, nargs="+", default=SERVERS)
    parser.add_argument("--stamps", choices=("tick", "own"), nargs="+", default=["tick", "own"])
    parser.add_argument("--seconds", type=float, default=15, help="of each")
    parser.add_argument("--publishing", type=float, default=0.5, help="seconds")
    parser.add_argument("--profile", default="", help="a file for what cProfile finds in the gateway")
    chosen = parser.parse_args()
    print(
        f"{'':<3}{'server':<11}{'stamps':<7}{'values/s':>9}{'s per million':>14}{'of':>4}{'delivered %':>12}{'wrong':>6}"
        f"{'twice':>6}{'bad':>5}{'age ms 50, 99 %':>17}{'B/value':>9}{'messages/s':>11}{'MiB':>6}{'server CPU %':>13}"
    )
    for name, work in WORK.items():
        if chosen.only in (None, name):
            for server in chosen.server:
                for stamps in chosen.stamps:
                    run(name, work, server, stamps, chosen)


def run(name: str, work: Work, kind: str, stamps: str, chosen: argparse.Namespace) -> None:
    with (
        Mosquitto(conf=["max_queued_messages 100000"]) as broker,
        Many(kind, work.count, stamps=stamps) as server,
        Checked(broker.port) as subscriber,
        OpcuaPlant(server, broker, publishing=chosen.publishing, profile=chosen.profile) as gateway,
    ):
        gateway.wait()
        server.go()
        time.sleep(WARM_UP)
        before = subscriber.take()
        spent, others, start, memory = cpu(gateway), cpu(server), time.monotonic(), 0.0
        while time.monotonic() < start + chosen.seconds:
            time.sleep(min(0.5, max(0.0, start + chosen.seconds - time.monotonic())))
            memory = max(memory, psutil.Process(gateway.pid).memory_info().rss / 2**20)
        spent, others, window = cpu(gateway) - spent, cpu(server) - others, time.monotonic() - start
        found = subscriber.take()
        served = server.hold() * work.count
        time.sleep(CATCH_UP)
        last = subscriber.take()
        log = gateway.log
    arrived = found["values"] + last["values"]
    report(name, kind, stamps, work, found, arrived / (served - before["behind"]), spent, window, memory, others)
    if last["behind"] != served or last["wrong"] or last["missing"]:
        print(f"    served {served}, and the last that arrived make {last['behind']}; missing {last['missing']}")
        print(log)


def report(
    name: str,
    kind: str,
    stamps: str,
    work: Work,
    found: dict[str, Any],
    delivered: float,
    spent: float,
    window: float,
    memory: float,
    others: float,
) -> None:
    values = found["values"]
    print(
        f"{name:<3}{kind:<11}{stamps:<7}{values / window:>9,.0f}{1e6 * spent / max(1, values):>14.2f}{work.seconds:>4.0f}"
        f"{100 * delivered:>12.2f}{found['wrong']:>6}{found['repeated']:>6}{found['bad']:>5}{_two(found['ages']):>17}"
        f"{found['bytes'] / max(1, values):>9.1f}{found['messages'] / window:>11.1f}{memory:>6.0f}{100 * others / window:>13.0f}",
        flush=True,
    )


def _two(numbers: list[float]) -> str:
    """The median and 99 %."""
    if not numbers:
        return "–"
    ordered = sorted(numbers)
    return f"{ordered[len(ordered) // 2]:.0f}, {ordered[len(ordered) * 99 // 100]:.0f}"


if __name__ == "__main__":
    main()
