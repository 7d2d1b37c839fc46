"""What the page costs a real gateway: `page.py --real`.

gateway simulate ─┬▶ gateway run, with streams open  ┐ side by side, so that whatever else the computer does meets both;
                  └▶ gateway run, looked at by nobody ┘ then they change places
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.request import urlopen

import psutil

from flow.plants import modbus_machine
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.mqtt.payload import DataEncoder, decode_data
from gateway.store.contract import Readings
from gateway.store.historian import Historian
from parts.gateway import Gateway, Simulated
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

DAY = 86_400
WARM_UP = 15.0  # seconds
LOOKED_AT = "m007"
STREAMS = ("view=plant", f"view=machine&machine={LOOKED_AT}")


def plant(ports: list[int], signals: int) -> str:
    connections = [f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}" for i, port in enumerate(ports)]
    machines = [modbus_machine(f"m{i:03}", f"c{i}", 1, signals, "1s") for i in range(len(ports))]
    return "\n".join(["version: 1", "connections:", *connections, "machines:", *machines, ""])


def fill(gateway: Gateway, signals: int, every: int) -> int:
    """A day of one machine, up to now: how many readings."""
    path = MachinePath(LOOKED_AT)
    header = Header(path, tuple(Signal(f"s{i:03}", "float") for i in range(signals)))
    encode, rng, levels = DataEncoder("before", "8f2c9a4e"), random.Random(1), [100.0] * signals
    now, pending, seq = time.time_ns(), list[Readings](), 0
    folder = gateway.folder / "data"
    folder.mkdir()
    with closing(Historian(folder / "historian.sqlite")) as historian:
        for second in range(0, DAY, every):
            levels = [round(level + rng.gauss(0, 0.3), 2) for level in levels]
            seq += 1
            at = now - (DAY - second) * 10**9
            payload = encode(Batch(header, header.order, (at,) * signals, list(levels), None), seq)
            pending.append(Readings(path, decode_data(payload), payload))
            if len(pending) == 200:
                historian.write(pending)
                pending.clear()
                historian.tidy()
        historian.write(pending)
        historian.fold_all()
    return seq * signals


@contextmanager
def looking(gateway: Gateway) -> Iterator[list[int]]:
    """Somebody has the plant and a machine open; the sizes of what came."""
    sizes, stop = list[int](), threading.Event()

    async def read(query: str) -> None:
        incoming, outgoing = await asyncio.open_connection("127.0.0.1", gateway.port)
        outgoing.write(f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await incoming.readuntil(b"\r\n\r\n")
        while chunk := await incoming.readline():
            sizes.append(len(await incoming.readexactly(int(chunk, 16) + 2)))

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(read(query)) for query in STREAMS]
        await asyncio.to_thread(stop.wait)
        for task in tasks:
            task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    yield sizes
    stop.set()
    thread.join()


def cpu(gateway: Gateway) -> float:
    return sum(psutil.Process(gateway.pid).cpu_times()[:2])


def mib(gateway: Gateway) -> float:
    return psutil.Process(gateway.pid).memory_info().rss / 2**20


def asked(gateway: Gateway, path: str) -> tuple[float, int]:
    """Milliseconds until the whole answer is here, and its bytes."""
    began = time.perf_counter()
    with urlopen(f"{gateway.url}/api/v1/{path}", timeout=60) as answer:
        size = len(answer.read())
    return (time.perf_counter() - began) * 1000, size


def main(chosen: argparse.Namespace) -> None:
    ports = [free_port() for _ in range(chosen.machines)]
    text = plant(ports, chosen.signals)
    with Mosquitto() as broker, Simulated(text) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") >= chosen.machines, 60, "the machines")

        def made(name: str) -> Gateway:
            more = f'gateway: {{id: {name}, data_dir: data}}\nmqtt: {{url: "{broker.url}", root: {name}/v1}}\nstore: {{kind: historian}}\n'
            return Gateway(text + more)

        one, other = made("one"), made("other")
        stored = fill(one, chosen.signals, chosen.every), fill(other, chosen.signals, chosen.every)
        print(
            f"{chosen.machines} machines x {chosen.signals} signals, polled each second; a day of one: {stored[0]:,} readings"
        )
        with one, other:
            for gateway in (one, other):
                wait_until(lambda g=gateway: _online(g) == chosen.machines, 120, "the machines")
            time.sleep(WARM_UP)
            rows = []
            for seen, unseen in ((one, other), (other, one)):
                was = mib(seen), mib(unseen)
                with looking(seen) as sizes:
                    time.sleep(3.0)
                    sizes.clear()
                    before, began = (cpu(seen), cpu(unseen)), time.monotonic()
                    time.sleep(chosen.seconds)
                    took = time.monotonic() - began
                    used = [(cpu(g) - b) / took * 100 for g, b in zip((seen, unseen), before, strict=True)]
                    grown = mib(seen) - was[0], mib(unseen) - was[1]
                    rows.append((*used, *grown, sum(sizes) / took / 1024))
                assert sizes
                time.sleep(3.0)
            print(f"{'':<8}{'CPU % seen':>12}{'unseen':>9}{'more':>8}{'MiB seen':>10}{'unseen':>8}{'KiB/s':>8}")
            for name, (seen_cpu, unseen_cpu, seen_mib, unseen_mib, rate) in zip(("first", "second"), rows, strict=True):
                print(f"{name:<8}{seen_cpu:>12.2f}{unseen_cpu:>9.2f}{seen_cpu - unseen_cpu:>8.2f}{seen_mib:>+10.1f}{unseen_mib:>+8.1f}{rate:>8.1f}")  # fmt: skip
            print(f"more, both together: {sum(row[0] - row[1] for row in rows) / 2:.2f} % of a core")
            now, before = int(time.time() * 1000), cpu(one)
            first, again = asked(one, f"machines/{LOOKED_AT}"), asked(one, f"machines/{LOOKED_AT}")
            charts = [asked(one, f"history?machine={LOOKED_AT}&signal=s001&from={now - span * 1000}&to={now}&points=1000") for span in (900, DAY)]  # fmt: skip
            time.sleep(10.0)
            third = asked(one, f"machines/{LOOKED_AT}")
            row = json.loads(urlopen(f"{one.url}/api/v1/machines/{LOOKED_AT}").read())["signals"][1]
            print(f"machine page over that day: {first[0]:.0f} ms, again {again[0]:.0f} ms, with min and max {third[0]:.0f} ms ({third[1] / 1024:.0f} KiB); min/max known: {row['min'] is not None}")  # fmt: skip
            print(f"chart of 15 min / 24 h: {charts[0][0]:.0f} / {charts[1][0]:.0f} ms ({charts[1][1] / 1024:.0f} KiB); CPU of all this within 10 s: {cpu(one) - before:.2f} s")  # fmt: skip


def _online(gateway: Gateway) -> int:
    return sum(machine["state"] == "online" for machine in gateway.status()["machines"])
