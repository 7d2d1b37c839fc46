"""A plant for some minutes: what it costs, whether memory stays flat, and that nothing is lost or doubled.

simulated machines ─▶ gateway run ─▶ Mosquitto ─▶ gateway store ─▶ historian      each a process of its own
    └─▶ ledger ──────────────────────── compared ─────────────────────┘

PYTHONPATH=tests .venv/bin/python tests/bench/plant.py --seconds 600
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import psutil

from flow.plants import modbus_plant
from gateway.store.historian import Historian
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import Part, wait_until
from simulators.ledger import columns, read_ledger

WARM_UP = 10.0  # seconds before anything is measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--poll", default="1s")
    parser.add_argument("--seconds", type=float, default=60)
    run(parser.parse_args())


def run(chosen: argparse.Namespace) -> None:
    text = modbus_plant([free_port() for _ in range(chosen.machines)], chosen.signals, chosen.poll)
    with Mosquitto(conf=["max_queued_messages 10000"]) as broker, Simulated(text) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") == chosen.machines, 30, "the machines")
        text += f'gateway: {{id: bench, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: store}}\n'
        with StoreProcess(text + "store: {kind: historian}\n") as store, Gateway(text) as gateway:
            watched = {"gateway run": gateway, "gateway store": store, "mosquitto": broker, "machines": machines}
            time.sleep(WARM_UP)
            before, read = {name: _cpu(part) for name, part in watched.items()}, _read(gateway)
            memory: dict[str, list[float]] = {name: [] for name in watched}
            end = time.monotonic() + chosen.seconds
            while time.monotonic() < end:
                time.sleep(min(5.0, max(0.1, end - time.monotonic())))
                for name, part in watched.items():
                    memory[name].append(psutil.Process(part.pid).memory_info().rss / 2**20)
            read = _read(gateway) - read
            used = {name: _cpu(part) - before[name] for name, part in watched.items()}
            machines.stop()
            wait_until(
                lambda: all(m["state"] == "offline" for m in gateway.status()["machines"]),
                30,
                "the machines to be gone",
            )
            gateway.catch_up(60)
            status = gateway.status()
            overruns = sum(m["counters"]["overruns"] for m in status["machines"])
            gateway.stop()
            store.stop()
            print(
                f"{chosen.machines} machines x {chosen.signals} signals every {chosen.poll} for {chosen.seconds:g} s: {read} readings"
            )
            print(f"{'':<16}{'CPU s':>8}{'s per million':>16}{'MiB at first':>14}{'at last':>9}{'most':>7}")
            for name in watched:
                m = memory[name]
                print(
                    f"{name:<16}{used[name]:>8.2f}{used[name] / read * 1e6:>16.2f}{m[0]:>14.1f}{m[-1]:>9.1f}{max(m):>7.1f}"
                )
            file = store.folder / "data" / "historian.sqlite"
            served, kept, wrong, late = compare(machines.ledger, file)
            size = sum(f.stat().st_size for f in file.parent.glob("historian.sqlite*"))
            print(
                f"served {served}, stored {kept}, signals with a difference {wrong}, declared lost {status['flow']['lost']}, polls skipped {overruns}"
            )
            print(
                f"stamp after the moment it was served, ms: median {late[len(late) // 2]:.2f}, 99 % {late[len(late) * 99 // 100]:.2f}"
            )
            print(f"historian: {size / 2**20:.1f} MiB, {size / max(1, kept):.1f} bytes a reading")


def _cpu(part: Part) -> float:
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


def _read(gateway: Gateway) -> int:
    return int(gateway.status()["flow"]["read"])


def compare(ledger: Path, historian: Path) -> tuple[int, int, int, list[float]]:
    """Readings served, readings stored, signals of which these are not the same values in the same order, and by how
    many ms the stamps lie behind the ledger's, ascending.

    The last answer of a machine that ends may not have been received.
    """
    reader = Historian.open_read_only(historian)
    served = kept = wrong = 0
    late: list[float] = []
    for (machine, signal), column in columns(read_ledger(ledger)).items():
        found = reader.query(machine, signal, 0, time.time_ns())
        values = [v for v, q in zip(found.value, found.quality, strict=True) if q < 0x80000000]
        expected = list(column.value)
        served += len(expected)
        kept += len(values)
        wrong += values not in (expected, expected[:-1])
        times = [t for t, q in zip(found.time, found.quality, strict=True) if q < 0x80000000]
        late += [(t - s) / 1e6 for t, s in zip(times, column.time, strict=False)]
    reader.close()
    return served, kept, wrong, sorted(late)


if __name__ == "__main__":
    main()
