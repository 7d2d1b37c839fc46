"""What a value costs by subscription, beside asyncua's own handler that does nothing with it, on one server in one run.

    node-opcua or asyncua ─▶ gateway run ─▶ Mosquitto ─▶ opcua_subscriber.py      each a process of its own
                         └─▶ opcua_handler.py                                      CPU time of the two clients

10,000 Doubles that all change every second, subscribed to with `publishing: 500ms`; one client after the other, because a
server could not serve both. The gateway's figure holds more than the target asks for, which ends at the payload in the
buffer: MQTT, the status page, and what it does when nothing happens. Values are counted where they arrive, and at the server.

PYTHONPATH=tests .venv/bin/python tests/bench/opcua_speed.py --server node-opcua --rounds 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.opcua import SERVERS, Checked, Handler, Many, OpcuaPlant
from bench.peers.programs import cpu
from parts.mosquitto import Mosquitto
from parts.process import Part

TARGET, RATIO = 4.0, 6.0  # µs for a value at the most; times less than the handler at the least
SETTLE = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, nargs="+", default=SERVERS)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=1.0, help="seconds between two changes")
    parser.add_argument("--publishing", type=float, default=0.5, help="seconds")
    parser.add_argument("--stamps", choices=("tick", "own"), default="tick")
    parser.add_argument("--seconds", type=float, default=15, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    print(
        f"{'':<34}{'values/s':>10}{'of served %':>13}{'server CPU %':>14}{'µs/value':>10}{'of':>4}{'handler is x':>14}{'of':>4}"
    )
    for kind in chosen.server:
        run(kind, chosen)


@dataclass(slots=True)
class Count:
    """What a client took, and what it got."""

    seconds: float = 0.0  # of CPU time
    values: int = 0
    served: int = 0
    window: float = 0.0
    server: float = 0.0  # seconds of CPU time of the server

    @property
    def us(self) -> float:
        return 1e6 * self.seconds / max(1, self.values)


def run(kind: str, chosen: argparse.Namespace) -> None:
    gateway, handler = Count(), Count()
    with (
        Mosquitto(conf=["max_queued_messages 100000"]) as broker,
        Many(kind, chosen.count, period=chosen.period, stamps=chosen.stamps) as server,
        Checked(broker.port) as subscriber,
    ):

        def arrived() -> int:
            found = subscriber.take()
            if found["wrong"] or found["bad"]:
                print(f"{found['wrong']} values wrong, {found['bad']} bad: not to be trusted")
            return int(found["values"])

        for _ in range(chosen.rounds):
            with OpcuaPlant(server, broker, publishing=chosen.publishing) as plant:
                plant.wait()
                watch(gateway, plant, server, arrived, chosen.seconds)
            subscriber.take()
            with Handler(server, chosen.publishing) as other:
                watch(handler, other, server, other.take, chosen.seconds)
    for name, count in (("gateway run", gateway), ("asyncua, its handler", handler)):
        targets = f"{TARGET:>4.0f}{handler.us / count.us:>14.1f}{RATIO:>4.0f}" if count is gateway else ""
        print(
            f"{kind:<12}{name:<22}{count.values / count.window:>10,.0f}{100 * count.values / count.served:>13.1f}"
            f"{100 * count.server / count.window:>14.0f}{count.us:>10.2f}{targets}",
            flush=True,
        )


def watch(count: Count, client: Part, server: Many, take: Callable[[], int], seconds: float) -> None:
    """Count from one moment between two changes to another one."""
    server.go()
    time.sleep(SETTLE)
    take()
    start, ticks, spent, others = time.monotonic(), server.ticks, cpu(client), cpu(server)
    time.sleep(seconds)
    count.values += take()
    count.seconds += cpu(client) - spent
    count.server += cpu(server) - others
    count.window += time.monotonic() - start
    count.served += (server.hold() - ticks) * server.count


if __name__ == "__main__":
    main()
