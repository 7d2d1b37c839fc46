"""What a signal costs the gateway: 10 to 100,000 of them, each polled every second. Processor time and memory of its process.

libmodbus servers ─▶ gateway run ─▶ Mosquitto (nobody stores: delivery: broker)      each a process of its own

PYTHONPATH=tests .venv/bin/python tests/bench/signals.py --seconds 15
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import TypeVar

import psutil

from flow.plants import KINDS
from parts.gateway import Gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import Part, wait_until

P = TypeVar("P", bound=Part)
PER_MACHINE = 1000  # signals, of two registers each: 16 requests
PER_SERVER = 10  # machines behind one connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, nargs="*", default=[10, 100, 1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=15)
    chosen = parser.parse_args()
    print(f"{'signals':>9}{'machines':>10}{'readings/s':>12}{'CPU %':>8}{'µs a reading':>14}{'MiB':>6}{'skipped':>9}")
    for count in chosen.signals:
        print(run(count, chosen.seconds), flush=True)


def run(count: int, seconds: float) -> str:
    machines, each = max(1, count // PER_MACHINE), min(count, PER_MACHINE)
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto())
        units = range(1, min(machines, PER_SERVER) + 1)
        image = {(unit, "holding", 0): [unit + i % 50 for i in range(2 * each)] for unit in units}
        servers = [stack.enter_context(Libmodbus(image)) for _ in range(-(-machines // PER_SERVER))]
        text = "\n".join(
            [
                "version: 1",
                "gateway: {id: bench, data_dir: data}",
                f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}", hold_unheard: false}}',
                "connections:",
                *(f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {s.port}}}" for i, s in enumerate(servers)),
                "machines:",
                *(
                    f"  m{i:03}: {{connection: c{i // PER_SERVER}, unit_id: {i % PER_SERVER + 1}, profile: bench, poll: 1s}}"
                    for i in range(machines)
                ),
                "",
            ]
        )
        gateway = started(stack, Gateway(text), each)
        wait_until(lambda: _read(gateway)[0] >= 2 * count, 60, "all of them to be read twice")
        (read, skipped), used, begin = _read(gateway), _cpu(gateway), time.monotonic()
        time.sleep(seconds)
        used_ = _cpu(gateway)  # before it is asked, which costs it something as well
        (read_, skipped_), took = _read(gateway), time.monotonic() - begin
        memory = psutil.Process(gateway.pid).memory_info().rss / 2**20
    per_second, cpu = (read_ - read) / took, used_ - used
    return (
        f"{count:>9,}{machines:>10}{per_second:>12,.0f}{cpu / took * 100:>8.1f}{cpu / max(1, read_ - read) * 1e6:>14.1f}"
        f"{memory:>6.0f}{skipped_ - skipped:>9}"
    )


def started(stack: ExitStack, part: P, signals: int) -> P:
    """With the profile of all machines beside its configuration; large ones take their time."""
    (part.folder / "profiles").mkdir()
    lines = [f"  s{i:04}: {{holding: {i * 2}, {KINDS[i % len(KINDS)]}}}" for i in range(signals)]
    text = "\n".join(["description: a machine of this size", "protocol: modbus", "signals:", *lines, ""])
    (part.folder / "profiles" / "bench.yaml").write_text(text)
    part.patience = 90
    return stack.enter_context(part)


def _read(gateway: Gateway) -> tuple[int, int]:
    """Readings, and polls that were skipped because the one before took too long."""
    status = gateway.status()
    return int(status["flow"]["read"]), sum(machine["counters"]["overruns"] for machine in status["machines"])


def _cpu(part: Part) -> float:
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
