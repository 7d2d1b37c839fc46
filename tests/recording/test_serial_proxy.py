"""The proxy between two serial lines: pairs of pseudo terminals, which know no parity and no speed.

master ── a pair b ── proxy ── a pair b ── machine
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.errors import NotConnectedError
from gateway.recording.serial_proxy import SerialPort, SerialProxy, serial_proxy
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll_serial
from parts.modbus_serial import ModbusSerial
from parts.serial_pair import SerialPair
from recording.test_proxy import Breaks, Notes, until

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return lambda work: request.param(asyncio.wait_for(work, 60))


def port(path: str) -> SerialPort:
    return SerialPort(path, baud=19200, parity="none")


@contextmanager
def pairs() -> Iterator[tuple[SerialPair, SerialPair]]:
    with SerialPair() as left, SerialPair() as right:
        yield left, right


@asynccontextmanager
async def joined(left: SerialPair, right: SerialPair, notes: Notes) -> AsyncIterator[SerialProxy]:
    async with serial_proxy(port(left.b), port(right.a), lambda: notes, retry=0.05) as between:
        yield between


class End:
    """The other end of a pair, in a test's hands."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.number)

    async def say(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.number, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)

    async def hears(self, size: int) -> bytes:
        heard = b""
        async with asyncio.timeout(20):
            while len(heard) < size:
                try:
                    heard += os.read(self.number, size - len(heard))
                except BlockingIOError:
                    await asyncio.sleep(0.001)
        return heard

    def close(self) -> None:
        os.close(self.number)


@asynccontextmanager
async def ends(left: SerialPair, right: SerialPair) -> AsyncIterator[tuple[End, End]]:
    master, machine = End(left.a), End(right.b)
    try:
        yield master, machine
    finally:
        master.close()
        machine.close()


# "Read holding registers 10 to 12 of unit 1" and its answer; CRCs by Modbus over Serial Line V1.02, 6.2.2, bit by bit.
ASKED = "01 03 000A 0003"
TOLD = "01 03 06 4188 0000 FFFF"


def with_crc(frame: str) -> bytes:
    data, crc = bytes.fromhex(frame), 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return data + crc.to_bytes(2, "little")


IMAGE = {(1, "holding", 10): [0x4188, 0, 0xFFFF]}


def test_mbpoll_and_modbus_serial(run: Run) -> None:
    notes = Notes()

    async def scenario() -> None:
        async with joined(left, right, notes):
            read = await asyncio.to_thread(mbpoll_serial, left.a, "holding", 10, 3)
            assert read == {10: 0x4188, 11: 0, 12: 0xFFFF}

    with pairs() as (left, right), ModbusSerial(IMAGE, right.b):
        run(scenario())
    assert (notes.all("sent"), notes.all("received")) == (with_crc(ASKED), with_crc(TOLD))
    assert (notes.told[0], notes.told[-1]) == (("opened", ""), ("closed", ""))


def test_mbpoll_and_libmodbus(run: Run) -> None:
    notes = Notes()

    async def scenario() -> None:
        async with joined(left, right, notes):
            for _ in range(3):
                read = await asyncio.to_thread(mbpoll_serial, left.a, "holding", 10, 3)
                assert read == {10: 0x4188, 11: 0, 12: 0xFFFF}

    with SerialPair() as left, Libmodbus(IMAGE, rtu=True) as server, SerialPair(tcp=server.port) as right:
        run(scenario())
    assert (notes.all("sent"), notes.all("received")) == (with_crc(ASKED) * 3, with_crc(TOLD) * 3)


def test_every_byte_both_ways(run: Run) -> None:
    """100 kB each way at once, in pieces of any size: both ends' logs, and the tap's."""
    chance = random.Random(5)
    asked, told = chance.randbytes(100_000), chance.randbytes(100_000)

    async def says(end: End, data: bytes, seed: int) -> None:
        pieces = random.Random(seed)
        while data:
            size = pieces.choice([1, 8, 256, 5000])
            await end.say(data[:size])
            data = data[size:]

    async def scenario() -> None:
        async with joined(left, right, notes), ends(left, right) as (master, machine):
            heard = await asyncio.gather(
                machine.hears(len(asked)), master.hears(len(told)), says(master, asked, 1), says(machine, told, 2)
            )
            assert heard[:2] == [asked, told]

    notes = Notes()
    with pairs() as (left, right):
        run(scenario())
    assert (notes.all("sent"), notes.all("received")) == (asked, told)


def test_each_byte_passes_when_it_comes(run: Run) -> None:
    """The next one is said only when the one before was heard: nothing waits for a frame to be whole."""
    notes = Notes()

    async def scenario() -> None:
        async with joined(left, right, notes), ends(left, right) as (master, machine):
            for byte in with_crc(ASKED):
                await master.say(bytes((byte,)))
                assert await machine.hears(1) == bytes((byte,))

    with pairs() as (left, right):
        run(scenario())
    assert notes.told[1:-1] == [("sent", bytes((byte,))) for byte in with_crc(ASKED)]


def test_a_machine_that_does_not_read_for_long(run: Run) -> None:
    """Its line fills up, and so does the master's; nothing is lost, and little waits in between."""
    data = random.Random(6).randbytes(200_000)
    notes = Notes()

    async def scenario() -> None:
        async with joined(left, right, notes), ends(left, right) as (master, machine):
            saying = asyncio.create_task(master.say(data))
            before = -1
            while len(notes.all("sent")) != before:
                before = len(notes.all("sent"))
                await asyncio.sleep(0.2)
            assert not saying.done()
            # What the proxy holds, a piece more, and what stands in the pseudo terminals and in socat.
            assert 0 < before < 100_000
            assert await machine.hears(len(data)) == data
            await saying

    with pairs() as (left, right):
        run(scenario())
    assert notes.all("sent") == data


@pytest.mark.parametrize(("side", "why"), [(0, ""), (1, "the port of the machine was lost: ")])
def test_a_port_that_is_unplugged_and_comes_back(run: Run, side: int, why: str) -> None:
    notes = Notes()

    async def scenario() -> None:
        both = left, right
        async with joined(left, right, notes) as between:
            async with ends(left, right) as (master, machine):
                await master.say(b"one")
                assert await machine.hears(3) == b"one"
                await asyncio.to_thread(both[side].kill)
                await until(lambda: not between.connected)
                if side:
                    await master.say(b"into the void")
            for end in ("a", "b"):
                Path(getattr(both[side], end)).unlink(missing_ok=True)
            await asyncio.to_thread(both[side].start)
            await until(lambda: between.connected)
            async with ends(left, right) as (master, machine):
                await machine.say(b"two")
                assert await master.hears(3) == b"two"

    with pairs() as (left, right):
        run(scenario())
    assert notes.kinds == ["opened", "sent", "closed", "opened", "received", "closed"]
    closed = [str(told) for kind, told in notes.told if kind == "closed"]
    assert closed[0].startswith(why)
    assert bool(closed[0]) == bool(why)
    assert (notes.all("sent"), notes.all("received")) == (b"one", b"two")


def test_converters_that_echo(run: Run) -> None:
    """Both ends send back all they hear, as RS-485 converters do that listen to themselves; nothing goes round."""
    notes = Notes()

    async def scenario() -> None:
        ports = [SerialPort(path, parity="none", local_echo=True) for path in (left.b, right.a)]
        async with serial_proxy(*ports, lambda: notes), ends(left, right) as (master, machine):
            for _ in range(3):
                await master.say(with_crc(ASKED))
                assert await machine.hears(8) == with_crc(ASKED)
                await machine.say(with_crc(ASKED)[:5])  # the echo, in two pieces
                await machine.say(with_crc(ASKED)[5:] + with_crc(TOLD))
                assert await master.hears(11) == with_crc(TOLD)
                await master.say(with_crc(TOLD))
            await master.say(b"the end")
            assert await machine.hears(7) == b"the end"

    with pairs() as (left, right):
        run(scenario())
    assert notes.all("sent") == with_crc(ASKED) * 3 + b"the end"
    assert notes.all("received") == with_crc(TOLD) * 3


def test_an_echo_that_is_lost_costs_no_answer(run: Run) -> None:
    """The same request again, and an answer that begins like it: unit 1, function 3."""
    notes = Notes()

    async def scenario() -> None:
        ports = SerialPort(left.b, parity="none"), SerialPort(right.a, parity="none", local_echo=True)
        async with serial_proxy(*ports, lambda: notes), ends(left, right) as (master, machine):
            await master.say(with_crc(ASKED))
            assert await machine.hears(8) == with_crc(ASKED)  # and nothing comes back
            await asyncio.sleep(0.2)  # as a master waits for an answer
            await master.say(with_crc(ASKED))
            assert await machine.hears(8) == with_crc(ASKED)
            await machine.say(with_crc(ASKED))  # the echo of this one
            await machine.say(with_crc(TOLD)[:2])
            await machine.say(with_crc(TOLD)[2:])
            assert await master.hears(len(with_crc(TOLD))) == with_crc(TOLD)

    with pairs() as (left, right):
        run(scenario())


@pytest.mark.parametrize("n", range(4))
def test_a_tap_that_fails_stops_nothing(run: Run, n: int) -> None:
    async def scenario() -> None:
        async with joined(left, right, Breaks(n)), ends(left, right) as (master, machine):
            for data in (b"one", b"two"):
                await master.say(data)
                assert await machine.hears(3) == data
                await machine.say(data)
                assert await master.hears(3) == data

    with pairs() as (left, right):
        run(scenario())


def test_a_port_that_is_not_there(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        for master, machine in ((str(tmp_path / "none"), left.a), (left.a, str(tmp_path / "none"))):
            with pytest.raises(NotConnectedError, match=f"{tmp_path}/none: it cannot be opened: "):
                async with serial_proxy(port(master), port(machine), Notes):
                    pass
        async with serial_proxy(port(left.a), port(left.b), Notes):  # the first one was let go
            with pytest.raises(NotConnectedError, match="cannot be opened"):
                async with serial_proxy(port(left.a), port(left.b), Notes):  # and has one owner
                    pass

    with SerialPair() as left:
        run(scenario())
