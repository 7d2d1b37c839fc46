"""What it costs to record a machine, and to play it back.

PYTHONPATH=tests python tests/bench/recording.py

A Modbus link with and without a tap, turn by turn; the file; the proxy beside the way without one; a replay.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import struct
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from adapters.modbus.connections import ModbusTcp
from adapters.modbus.link import Request
from adapters.modbus.links import link_of
from gateway.recording import Entry, Head, Kind, Recorder, read
from gateway.recording.proxy import proxy
from simulators.modbus.replay.conversation import conversation
from simulators.modbus.replay.responder import Responder

ROUNDS, REQUESTS, REGISTERS = 6, 3000, 100
HEAD = Head(0, "modbus-tcp")


def serve(port: Connection) -> None:
    """Answers whatever it is asked with as many zeros, in a process of its own."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            head, size = data[:4], 2 * int.from_bytes(data[10:12], "big")
            self.transport.write(head + struct.pack(">HBBB", size + 3, data[6], data[7], size) + bytes(size))

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def asked(port: int, recorder: Recorder | None) -> tuple[float, list[float]]:
    """CPU µs of this process for a request, and the µs that each took."""
    settings = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "127.0.0.1", "port": port})
    link = link_of(settings, tap=recorder.tap() if recorder else None)
    await link.open()
    took, began = [], time.process_time()
    for i in range(REQUESTS):
        start = time.perf_counter()
        (answer,) = await link.exchange([Request(1, "holding", 0, REGISTERS)])
        took.append((time.perf_counter() - start) * 1e6)
        assert answer.data is not None
        if recorder and i % 500 == 0:
            recorder.flush()
    cpu = time.process_time() - began
    link.close()
    return cpu / REQUESTS * 1e6, took


async def links(port: int, folder: Path) -> None:
    plain, tapped, direct, between = [], [], [], []
    async with proxy(("127.0.0.1", 0), ("127.0.0.1", port), Recorder(folder / "proxy.rec", HEAD).tap) as running:
        for n in range(ROUNDS):
            cpu, took = await asked(port, None)
            plain.append(cpu)
            direct += took
            with Recorder(folder / f"{n}.rec", HEAD) as recorder:
                tapped.append((await asked(port, recorder))[0])
            between += (await asked(running.port, None))[1]
    print(f"link, CPU of a request of {REGISTERS} registers: {median(plain):.1f} µs, recorded {median(tapped):.1f} µs")
    print(f"round trip: {median(direct):.0f} µs, through the proxy in the same process {median(between):.0f} µs")


def polls(count: int) -> list[Entry]:
    """Once a second 100 registers, of which 15 move a little."""
    dice, registers, found = random.Random(1), [1000] * REGISTERS, []
    for i in range(count):
        for each in range(0, REGISTERS, 7):
            registers[each] = (registers[each] + dice.randrange(3)) & 0xFFFF
        answer = struct.pack(">HHHBBB100H", i & 0xFFFF, 0, 203, 1, 3, 200, *registers)
        found.append(Entry(i * 10**9, Kind.SENT, 0, 0, struct.pack(">HHHBBHH", i & 0xFFFF, 0, 6, 1, 3, 0, REGISTERS)))
        found.append(Entry(i * 10**9 + 3_000_000, Kind.RECEIVED, 0, 0, answer))
    return found


def file(folder: Path) -> None:
    entries, began = polls(86_400), time.process_time()
    with Recorder(folder / "day.rec", HEAD) as recorder:
        for n, entry in enumerate(entries):
            recorder.put_at(entry)
            if n % 2:
                recorder.flush()  # as if a second had passed
    print(f"a day of one poll a second: {recorder.size / 86_400:.0f} bytes each; {cpu_of(began, 86_400)} to write")
    began = time.process_time()
    assert sum(1 for _ in read(folder / "day.rec")) == len(entries)
    print(f"  {cpu_of(began, 86_400)} to read")
    began = time.process_time()
    responder = Responder(conversation(read(folder / "day.rec"), "modbus-tcp"))
    print(f"  {cpu_of(began, 86_400)} to prepare a replay")
    request, began = bytes((3, 0, 0, 0, REGISTERS)), time.process_time()
    for i in range(86_400):
        assert responder.answer(1, request, i * 10**9 + 500_000_000) is not None
    print(f"  {cpu_of(began, 86_400)} to answer, before it goes onto the wire")


def cpu_of(began: float, count: int) -> str:
    return f"{(time.process_time() - began) / count * 1e6:.1f} µs of CPU"


def main() -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    process.start()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(links(here.recv(), Path(folder)))
        file(Path(folder))
    process.terminate()


if __name__ == "__main__":
    main()
