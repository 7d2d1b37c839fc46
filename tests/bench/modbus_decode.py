"""What it costs to decode a block, and to bring one.

    PYTHONPATH=tests python tests/bench/modbus_decode.py

66 signals of 7 types in 125 registers, a third of them with swapped words; best of many runs. A transaction is one
request for 125 registers to a Modbus server in C (libmodbus), loopback, CPU time of this process alone.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from adapters.modbus import build
from adapters.modbus.client import PymodbusLink
from adapters.modbus.config import ModbusMachine, ModbusSignal
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.decode import Layout
from adapters.modbus.link import Request
from adapters.modbus.plan import make_blocks
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.model import MachinePath
from parts.libmodbus import Libmodbus

MIXED = ["uint16", "int16", "float32", "uint32", "int32", "uint16", "int16", "float64", "uint16", "int16", "uint64"]


def layout(types: list[str], order: str | None, **keys: Any) -> tuple[Layout, int]:
    """A block full of these types in turn, every third signal in `order`."""
    signals, at = [], 0
    for i, name in enumerate(itertools.cycle(types)):
        signal = ModbusSignal(holding=at, type=name, order=order if i % 3 == 0 else None, **keys)  # type: ignore[arg-type]
        if at + signal.size > 125:
            break
        signals.append((f"s{i}", signal))
        at += signal.size
    [block] = make_blocks(signals, 125, 0)
    return Layout(block), len(signals)


def best(work: Callable[[], object], times: int = 2000, runs: int = 15) -> float:
    """Seconds for one call, the least of many runs."""
    found = []
    for _ in range(runs):
        start = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - start) / times)
    return min(found)


def decoding() -> None:
    """Nanoseconds per signal, with the payload changed each time, and with the same one again."""
    cases = {
        "mixed, a third swapped": (MIXED, "GHEFCDAB", {}),
        "uint16": (["uint16"], None, {}),
        "float32": (["float32"], None, {}),
        "float32, swapped": (["float32"], "CDAB", {}),
        "bits": (["bool"], None, {"bit": 3}),
        "uint16 with `invalid`": (["uint16"], None, {"invalid": 65535}),
        "bcd32": (["bcd32"], None, {}),
    }
    for name, (types, order, keys) in cases.items():
        plan, count = layout(types, order, **keys)
        one, other = bytes(range(250)), bytes(range(1, 251))
        if "bcd" in name:
            one, other = b"\x12" * 250, b"\x34" * 250

        def changed(plan: Layout = plan, one: bytes = one, other: bytes = other) -> None:
            plan.decode(one)
            plan.decode(other)

        same = best(lambda plan=plan, one=one: plan.decode(one))  # type: ignore[misc]
        print(
            f"{name:24} {count:4} signals {1e9 * best(changed) / 2 / count:7.1f} ns {1e9 * same / count:6.2f} ns unchanged"
        )


async def transactions(port: int, number: int = 3000) -> None:
    """Microseconds of CPU per request."""
    settings = ModbusTcp(protocol="modbus-tcp", host="127.0.0.1", port=port, timeout="5s")  # type: ignore[arg-type]
    client = PymodbusLink(settings, Path())
    await client.open()
    request = Request(1, "holding", 0, 125)
    found = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(number):
            await client.exchange([request])
        found.append((time.process_time() - start) / number)
    client.close()
    print(f"{asyncio.get_running_loop().__class__.__module__:24} {1e6 * min(found):6.1f} µs CPU per transaction")


async def polling(port: int, units: int = 20, signals: int = 1000, polls: int = 10) -> None:
    """Microseconds of CPU per value, from the tick to the batch: every unit `polls` times, as fast as it goes."""
    points = {f"s{i}": ModbusSignal(holding=i, type="uint16", poll="10ms") for i in range(signals)}  # type: ignore[arg-type]
    machine = ModbusMachine(connection="c", signals=points)
    link = ModbusTcp(protocol="modbus-tcp", host="127.0.0.1", port=port, timeout="5s")  # type: ignore[arg-type]
    machines = {MachinePath(f"m{i}"): machine for i in range(units)}
    adapter = build(Context("c", link, machines, SystemClock(), FlowCounters(), Path(), "edge"))
    await adapter.connect()
    start = time.process_time()
    for _ in range(units * polls):
        [batch] = await adapter.read()
        assert batch.quality is None
    spent = time.process_time() - start
    await adapter.close()
    print(f"{units} units x {signals} registers{'':3} {1e6 * spent / (units * polls * signals):6.2f} µs CPU per value")


if __name__ == "__main__":
    decoding()
    with Libmodbus({(1, "holding", 0): range(125)}) as server:
        asyncio.run(transactions(server.port))
        uvloop.run(transactions(server.port))
    with Libmodbus({(1, "holding", 0): range(1000)}) as server:
        uvloop.run(polling(server.port))
