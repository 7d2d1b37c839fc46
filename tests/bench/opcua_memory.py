"""What a monitored item costs in memory, and a start with very many of them; beside asyncua's own Subscription.

    node-opcua ─▶ gateway run ─▶ Mosquitto                        each a process of its own
               └▶ opcua_handler.py

Resident memory with 100,000 items less that with 1,000, divided by the 99,000 between them, when every value has changed a
few times. `configuration` is the part of it that is there before anything is connected: what 100,000 signals take that are
written out one by one.

PYTHONPATH=tests .venv/bin/python tests/bench/opcua_memory.py --count 100000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.peers.opcua import Checked, Handler, Many, OpcuaPlant
from bench.peers.programs import cpu
from parts.mosquitto import Mosquitto
from parts.process import Part

FEW = 1000
MORE = 1.5  # kB for an item at the most, above asyncua's own
PUBLISHING = 10.0  # seconds: so seldom, because the server looks at every value so often and does nothing else at 1 s
SETTLE = 25.0  # in which every value arrives
PERIOD = 10.0
_LOAD = """
import sys
from pathlib import Path
import psutil
from gateway.config import load
from gateway.runtime.registry import protocols
configuration = load(Path(sys.argv[1]), protocols())
print(psutil.Process().memory_info().rss)
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a client took until it had everything, and what it holds."""

    rss: int
    most: int
    seconds: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    chosen = parser.parse_args()
    few, many = clients(FEW), clients(chosen.count)
    print(f"{'':<16}{'kB/item':>9}{'MiB':>7}{'peak MiB':>10}{'start s':>9}{'CPU s':>7}")
    between = chosen.count - FEW
    for name, taken in many.items():
        start = f"{taken.seconds:>9.1f}{taken.cpu:>7.1f}" if taken.seconds else ""
        each = (taken.rss - few[name].rss) / between / 1e3
        print(f"{name:<16}{each:>9.2f}{taken.rss / 2**20:>7.0f}{taken.most / 2**20:>10.0f}{start}")
    more = (many["gateway run"].rss - few["gateway run"].rss - many["handler"].rss + few["handler"].rss) / between / 1e3
    print(f"gateway run takes {more:+.2f} kB for an item beside asyncua's own; {MORE} at the most")


def clients(count: int) -> dict[str, Taken]:
    found = {}
    with (
        Mosquitto(conf=["max_queued_messages 100000"]) as broker,
        Many("node-opcua", count, period=PERIOD) as server,
        Checked(broker.port) as subscriber,
    ):
        handler = Handler(server, PUBLISHING)
        found["handler"] = taken(handler, server, lambda: None)
        plant = OpcuaPlant(server, broker, publishing=PUBLISHING)
        plant.command()
        loaded = subprocess.run(
            [sys.executable, "-c", _LOAD, str(plant.file)], capture_output=True, text=True, check=True
        )
        found["configuration"] = Taken(int(loaded.stdout), 0, 0, 0)
        found["gateway run"] = taken(plant, server, plant.wait)
        if subscriber.take()["seen"] < count:
            print(f"{count} signals, but not all of them arrived")
    return found


def taken(client: Part, server: Many, wait: Callable[[], None]) -> Taken:
    start = time.monotonic()
    with client:
        wait()
        seconds, spent = time.monotonic() - start, cpu(client)
        server.go()
        time.sleep(SETTLE)
        server.hold()
        memory = psutil.Process(client.pid).memory_info().rss
        status = Path(f"/proc/{client.pid}/status").read_text(encoding="ascii")
        return Taken(memory, int(status.partition("VmHWM:")[2].split()[0]) * 1024, seconds, spent)


if __name__ == "__main__":
    main()
