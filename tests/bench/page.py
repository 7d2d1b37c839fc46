"""What the page costs while somebody looks: a board of 40 machines with 50 signals each, all new every second.

without     the board alone, no page            plant      one reader of /api/v1/stream?view=plant
idle        a page that nobody looks at         machine    one reader of /api/v1/stream?view=machine
                                                both, status, flow

PYTHONPATH=tests .venv/bin/python tests/bench/page.py --seconds 20
PYTHONPATH=tests .venv/bin/python tests/bench/page.py --real --seconds 60     a real `gateway run`, see page_gateway.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence

import psutil

from gateway.counters import FlowCounters
from gateway.events import Event, Events
from gateway.model import NO_COMMUNICATION, Batch, Header, MachinePath, Signal
from gateway.web.snapshot import Board

STREAMS = {
    "without": (),
    "idle": (),
    "plant": ("view=plant",),
    "machine": ("view=machine&machine=machine-7",),
    "both": ("view=plant", "view=machine&machine=machine-7"),
    "flow": ("view=flow",),
    "status": ("",),
}
WARM_UP = 4.0  # seconds


class Usage:
    records, bytes, max_bytes, dropped, unsafe, trouble = 12, 41_000_000, 2**31, 0, 0, ""


def board_of(machines: int, signals: int) -> tuple[Board, list[Header]]:
    """A plant like one: numbers with units, states, what is worked out."""
    now = time.time_ns()
    board = Board("bench", "0", "store", FlowCounters(), Usage, now, time.monotonic())
    headers = []
    names = ["state", "state_reason", "shift.oee", "shift.availability"]
    types = {"state": "string", "state_reason": "string"}
    for i in range(machines):
        path = MachinePath(f"machine-{i}", "acme", "hanoi", "moulding", "L1")
        own = tuple(Signal(f"signal_{k}", "float", "Cel", "What it is", low=0.0, high=400.0) for k in range(signals))
        made = tuple(Signal(name, types.get(name, "float")) for name in names)  # type: ignore[arg-type]
        header, derived = Header(path, own), Header(path, made)
        board.add(header, now).condition.set("online", now)
        board.add(derived, now, "derived")
        board.update(Batch(derived, derived.order, [now] * 4, ["running", "", 0.7, 0.8], None))
        headers.append(header)
    return board, headers


async def child(mode: str, machines: int, signals: int) -> None:
    import gateway.mqtt.client
    import gateway.runtime.app  # noqa: F401  what a gateway has loaded without a page, too

    board, headers = board_of(machines, signals)
    port = 0
    if mode != "without":
        from gateway.web.server import serve
        from gateway.web.sources import Sources

        noted = Events()
        for i in range(500):
            noted.add(Event(time.time_ns(), "machine", f"machine-{i % machines}", "online"))
        port = (await serve(Sources(board, events=noted), "127.0.0.1", 0)).port
    print(port, flush=True)
    while True:  # each machine in its own moment, as pollers do it
        for i, header in enumerate(headers):
            now = time.time_ns()
            values = [200 + 20 * math.sin(now / 1e10 + k) for k in range(signals)]
            quality = [0] * signals if i % 8 == 0 else None
            if quality is not None:
                quality[3], values[3] = NO_COMMUNICATION, None  # type: ignore[call-overload]
            board.update(Batch(header, header.order, [now] * signals, values, quality))
            await asyncio.sleep(1 / len(headers))


async def reader(port: int, query: str, sizes: list[int]) -> None:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", port)
    outgoing.write(f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await incoming.readuntil(b"\r\n\r\n")
    while chunk := await incoming.readline():
        sizes.append(len(await incoming.readexactly(int(chunk, 16) + 2)))


async def measure(mode: str, chosen: argparse.Namespace) -> tuple[float, float, float]:
    """CPU in percent of one core, RSS in MiB, and bytes per second."""
    arguments = [__file__, "--child", mode, "--machines", str(chosen.machines), "--signals", str(chosen.signals)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    port, sizes = int(await process.stdout.readline()), list[int]()
    readers = [asyncio.create_task(reader(port, query, sizes)) for query in STREAMS[mode]]
    watched = psutil.Process(process.pid)
    await asyncio.sleep(WARM_UP)
    sizes.clear()
    before, began = sum(watched.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(chosen.seconds)
    took = time.monotonic() - began
    result = (sum(watched.cpu_times()[:2]) - before) / took * 100, watched.memory_info().rss / 2**20, sum(sizes) / took
    for task in readers:
        task.cancel()
    process.kill()
    await process.wait()
    return result


def costs(machines: int, signals: int) -> Sequence[tuple[str, float]]:
    """Milliseconds for making each view once, JSON included."""
    from gateway.web.answers import encode
    from gateway.web.api import Api
    from gateway.web.sources import Sources

    board, headers = board_of(machines, signals)
    for header in headers:
        board.update(Batch(header, header.order, [time.time_ns()] * signals, [1.5] * signals, None))
    made, found = Api(Sources(board)), []
    views = {name: made.view(name, "machine-7") for name in ("plant", "machine", "flow", "kpi", "events")}
    for name, view in {**views, "status": lambda: board.snapshot(time.time_ns(), time.monotonic())}.items():
        began, times = time.process_time(), 0
        while time.process_time() - began < 0.3:
            encode(view())
            times += 1
        found.append((name, (time.process_time() - began) / times * 1000))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=40)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--modes", nargs="*", default=list(STREAMS), choices=list(STREAMS))
    parser.add_argument("--real", action="store_true", help="a real gateway with simulated machines and a historian")
    parser.add_argument(
        "--every", type=int, default=5, help="with --real: seconds between two readings of the day that is stored"
    )
    parser.add_argument("--child", choices=list(STREAMS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        asyncio.run(child(chosen.child, chosen.machines, chosen.signals))
        return
    if chosen.real:
        import page_gateway

        page_gateway.main(chosen)
        return
    print(f"{chosen.machines} machines x {chosen.signals} signals, new every second, {chosen.seconds:g} s each")
    print(f"{'':<10}{'CPU %':>8}{'more':>8}{'MiB':>8}{'more':>8}{'KiB/s':>8}")
    base: tuple[float, float, float] | None = None
    for mode in chosen.modes:
        cpu, memory, rate = asyncio.run(measure(mode, chosen))
        base = base or (cpu, memory, rate)
        print(
            f"{mode:<10}{cpu:>8.2f}{cpu - base[0]:>8.2f}{memory:>8.1f}{memory - base[1]:>8.1f}{rate / 1024:>8.1f}",
            flush=True,
        )
    print(json.dumps({name: round(ms, 3) for name, ms in costs(chosen.machines, chosen.signals)}), "ms per view")


if __name__ == "__main__":
    main()
