"""What a reload costs: how long it takes, and how late polls of machines are that it does not concern.

python tests/bench/reload.py [connections] [signals] [reloads]

One machine of many is changed, over and over, in a `gateway run` of its own; its neighbours' polls are taken from the ledger.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from flow.plants import modbus_machine
from gateway.cli import running
from parts.gateway import Gateway, Simulated
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

POLL = 0.5


def plant(ports: list[int], signals: int, first: int) -> str:
    connections = [f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}" for i, port in enumerate(ports)]
    machines = [modbus_machine(f"m{i:03}", f"c{i}", 1, signals if i else first, "500ms") for i in range(len(ports))]
    return "\n".join(["version: 1", "connections:", *connections, "machines:", *machines, ""])


def pauses(ledger: Path, since: int, until: int) -> list[float]:
    """Seconds between two polls of each machine but the first, in a stretch of time."""
    times: dict[str, list[int]] = defaultdict(list)
    for line in ledger.read_bytes().splitlines():
        entry = json.loads(line)
        if "values" in entry and entry["machine"] != "m000" and since <= entry["t"] <= until:
            times[entry["machine"]].append(entry["t"])
    return sorted((b - a) / 1e9 for each in times.values() for a, b in pairwise(each))


def main(connections: int = 50, signals: int = 20, reloads: int = 10) -> None:
    ports = [free_port() for _ in range(connections)]
    with Mosquitto() as broker, Simulated(plant(ports, signals, signals + 1)) as machines:
        more = f'gateway: {{id: e, data_dir: data}}\nmqtt: {{url: "{broker.url}"}}\nstore: {{kind: historian}}\n'
        with Gateway(plant(ports, signals, signals) + more, page=False) as gateway:
            wait_until(lambda: _online(gateway.file) == connections, 120, "the machines")
            quiet = time.time_ns()
            time.sleep(reloads * 1.0)
            began = time.time_ns()
            took = []
            for i in range(reloads):
                gateway.file.write_text(plant(ports, signals, signals + (i + 1) % 2) + more)
                start = time.monotonic()
                answer = running.ask_at(gateway.file, "reload", who="bench")
                took.append(time.monotonic() - start)
                assert answer["touched"] == ["connections.c0"], answer
                time.sleep(max(0.0, 1.0 - took[-1]))
            ended = time.time_ns()
            time.sleep(1.0)
            machines.stop()
            print(f"{connections} connections, {signals} signals each; {reloads} reloads of one machine")
            print(f"a reload takes {median(took) * 1000:.0f} ms, {max(took) * 1000:.0f} ms at the most")
            for what, found in (
                ("without", pauses(machines.ledger, quiet, began)), ("with", pauses(machines.ledger, began, ended)),
            ):  # fmt: skip
                at = found[int(len(found) * 0.99)]
                print(f"between polls of the others, {what}: 99 % within {at:.3f} s, {found[-1]:.3f} s at the most")


def _online(file: Path) -> int:
    try:
        return [machine["state"] for machine in running.ask_at(file, "status")["machines"]].count("online")
    except running.NotRunningError:  # not yet
        return 0


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
