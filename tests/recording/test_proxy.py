"""The proxy against real masters and machines, and peers that keep logs of their own; on both event loops."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from gateway.errors import UsageError
from gateway.recording import Entry, Head, Kind, Recorder, read
from gateway.recording.proxy import proxy
from modbus.helpers import context, one, shown
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll
from parts.ports import free_port

HOST = "127.0.0.1"
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """The gateway runs on uvloop where there is one."""
    return lambda work: request.param(asyncio.wait_for(work, 60))


class Notes:
    """A tap that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes | str]] = []
        self.is_open = False

    def opened(self) -> None:
        self.is_open = True
        self.told.append(("opened", ""))

    def failed(self, why: str) -> None:
        self.told.append(("failed", why))

    def closed(self, why: str = "") -> None:
        if self.is_open:
            self.is_open = False
            self.told.append(("closed", why))

    def sent(self, data: bytes, ref: int = 0) -> None:
        self.told.append(("sent", data))

    def received(self, data: bytes, ref: int = 0) -> None:
        self.told.append(("received", data))

    def all(self, what: str) -> bytes:
        return b"".join(data for kind, data in self.told if kind == what and isinstance(data, bytes))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


class Taps(list[Notes]):
    """One for each link."""

    def __call__(self) -> Notes:
        self.append(Notes())
        return self[-1]


class Peer:
    """The end of a connection in a test's hands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def socket(self) -> socket.socket:
        return self.writer.get_extra_info("socket")

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def hears_the_end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 10)

    async def hears_the_end_somehow(self) -> bytes:
        """A reset is as good."""
        try:
            return await self.hears_the_end()
        except ConnectionResetError:
            return b""

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Machine:
    """A server whose connections a test takes one by one."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self.port = 0

    async def next(self) -> Peer:
        return await asyncio.wait_for(self.accepted.get(), 10)


@asynccontextmanager
async def a_machine() -> AsyncIterator[Machine]:
    machine = Machine()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine.accepted.put_nowait(Peer(reader, writer))

    server = await asyncio.start_server(accept, HOST, 0)
    machine.port = server.sockets[0].getsockname()[1]
    try:
        yield machine
    finally:
        server.close()


async def a_master(port: int) -> Peer:
    return Peer(*await asyncio.open_connection(HOST, port))


@asynccontextmanager
async def a_link(taps: Any) -> AsyncIterator[tuple[Peer, Peer]]:
    """A master and the machine's side of it, with the proxy between."""
    async with a_machine() as machine, proxy((HOST, 0), (HOST, machine.port), taps) as between:
        master = await a_master(between.port)
        yield master, await machine.next()


@contextmanager
def a_full_queue() -> Iterator[socket.socket]:
    """A listener that has as many connections waiting as it takes: Linux answers no SYN then."""
    with ExitStack() as open:
        listener = open.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        listener.settimeout(10)
        open.enter_context(socket.create_connection(listener.getsockname()))
        yield listener


async def until(condition: Callable[[], object], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


# --- what passes -----------------------------------------------------------------------------------------------------


async def talk(peer: Peer, chance: random.Random, size: int) -> bytes:
    """Say so many bytes in pieces of any size; what was said."""
    said = bytearray()
    while len(said) < size:
        piece = chance.randbytes(chance.choice([1, 3, 12, 260, 5000, 70_000]))
        await peer.say(piece)
        said += piece
        if not chance.randrange(4):
            await asyncio.sleep(0)
    peer.writer.write_eof()
    return bytes(said)


def test_what_passes_is_what_was_told_byte_for_byte(run: Run, tmp_path: Path) -> None:
    """Five masters at once, 2 MB each way on each; both peers' own logs, the tap's, and a recording's are the same."""
    links = 5
    path = tmp_path / "plant.rec"
    said: list[tuple[bytes, bytes]] = []

    async def scenario() -> None:
        recorder = Recorder(path, Head(0, "modbus-tcp", source="proxy"), most_rate=1 << 40)
        with recorder:
            async with (
                a_machine() as machine,
                proxy((HOST, 0), (HOST, machine.port), recorder.tap) as between,
            ):
                for number in range(links):
                    pairs.append((await a_master(between.port), await machine.next()))
                    chances.append((random.Random(number), random.Random(100 + number)))
                assert (between.accepted, between.open) == (links, links)
                talks = [
                    asyncio.gather(
                        talk(master, ours, 2_000_000),
                        talk(device, theirs, 2_000_000),
                        master.hears_the_end(),
                        device.hears_the_end(),
                    )
                    for (master, device), (ours, theirs) in zip(pairs, chances, strict=True)
                ]
                for asked, told, heard_by_master, heard_by_machine in await asyncio.gather(*talks):
                    assert heard_by_machine == asked
                    assert heard_by_master == told
                    said.append((asked, told))
                await until(lambda: between.open == 0)

    pairs: list[tuple[Peer, Peer]] = []
    chances: list[tuple[random.Random, random.Random]] = []
    run(scenario())
    recorded = read(path)
    entries = list(recorded)
    assert recorded.damage == []
    for link, (asked, told) in enumerate(said):
        ours = [entry for entry in entries if entry.link == link]
        assert b"".join(entry.data for entry in ours if entry.kind == Kind.SENT) == asked
        assert b"".join(entry.data for entry in ours if entry.kind == Kind.RECEIVED) == told
        assert (ours[0].kind, [entry.kind for entry in ours].count(Kind.CLOSED)) == (Kind.OPENED, 1)


IMAGE = {(1, "holding", 10): [0x4188, 0, 0xFFFF], (1, "input", 0): [7]}


def test_mbpoll_and_libmodbus(run: Run) -> None:
    """The frames are those of the standard; transaction ids are mbpoll's own."""
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), (HOST, server.port), taps) as between:
            read = await asyncio.to_thread(mbpoll, between.port, "holding", 10, 3)
            assert read == {10: 0x4188, 11: 0, 12: 0xFFFF}
            await until(lambda: between.open == 0)

    with Libmodbus(IMAGE) as server:
        run(scenario())
    (notes,) = taps
    assert notes.kinds == ["opened", "sent", "received", "closed"]
    assert notes.all("sent")[2:] == bytes.fromhex("0000 0006 01 03 000A 0003")
    assert notes.all("received") == notes.all("sent")[:2] + bytes.fromhex("0000 0009 01 03 06 4188 0000 FFFF")
    assert notes.told[-1] == ("closed", "")


def test_our_adapter_and_a_machine_that_is_killed_and_comes_back(run: Run, tmp_path: Path) -> None:
    """The master reads on as if there were no proxy: bad while the machine is away, good after."""
    taps = Taps()

    async def scenario() -> None:
        from adapters.modbus.adapter import ModbusAdapter
        from gateway.errors import NotConnectedError

        async with proxy((HOST, 0), (HOST, server.port), taps) as between:
            signals = {"temperature": {"holding": 10, "type": "float32"}}
            it = ModbusAdapter(context(between.port, tmp_path, {"oven": {"unit_id": 1, "signals": signals}}))

            async def reads() -> object:
                try:
                    await it.connect()
                    return shown(await one(it))["temperature"]
                except NotConnectedError as exc:
                    return exc

            assert await reads() == 17.0
            await asyncio.to_thread(server.kill)
            assert await reads() != 17.0
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(10):
                while await reads() != 17.0:
                    await asyncio.sleep(0.02)
            await it.close()
            await until(lambda: between.open == 0)

    with Libmodbus(IMAGE) as server:
        run(scenario())
    assert taps[0].kinds[:3] == ["opened", "sent", "received"]
    assert taps[0].told[-1][1] in ("the machine closed the connection", "the machine reset the connection")
    assert taps[-1].kinds[0] == "opened"
    assert taps[-1].told[-1] == ("closed", "")
    asked = taps[0].all("sent")
    assert asked[2:] == bytes.fromhex("0000 0006 01 03 000A 0002")


# --- how links begin and end -----------------------------------------------------------------------------------------


def test_a_machine_that_is_not_there(run: Run) -> None:
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), (HOST, free_port()), taps) as between:
            for _ in range(2):
                master = await a_master(between.port)
                await master.say(b"anybody there?")
                assert await master.hears_the_end_somehow() == b""
            await until(lambda: between.open == 0)

    run(scenario())
    assert [notes.told for notes in taps] == [[("failed", "Connection refused")]] * 2


def test_a_name_that_nobody_has(run: Run) -> None:
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), ("no-such-machine.invalid", 502), taps) as between:
            assert await (await a_master(between.port)).hears_the_end() == b""

    run(scenario())
    assert taps[0].kinds == ["failed"]
    assert taps[0].told[0][1]


def test_a_machine_that_does_not_answer(run: Run) -> None:
    """The master is let go after the timeout."""
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), (HOST, port), taps, connect_timeout=0.2) as between:
            master = await a_master(between.port)
            assert await master.hears_the_end() == b""

    with a_full_queue() as listener:
        port = listener.getsockname()[1]
        run(scenario())
    assert taps[0].told == [("failed", "no answer within 0.2 s")]


def test_a_master_that_gives_up_while_the_machine_is_not_reached_yet(run: Run) -> None:
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), (HOST, port), taps, connect_timeout=0.5) as between:
            master = await a_master(between.port)
            await master.say(b"a question")
            master.writer.close()
            await until(lambda: between.accepted == 1)
            await until(lambda: between.open == 0)

    with a_full_queue() as listener:
        port = listener.getsockname()[1]
        run(scenario())
    assert taps[0].told in ([("failed", "no answer within 0.5 s")], [])


def test_what_a_master_says_before_the_machine_is_reached_is_kept(run: Run) -> None:
    """Its half that it ends, too. The machine takes the connection only at the second SYN, a second later."""
    taps = Taps()

    async def scenario() -> None:
        async with proxy((HOST, 0), (HOST, port), taps) as between:
            master = await a_master(between.port)
            await master.say(b"a question")
            master.writer.write_eof()
            await until(lambda: between.accepted == 1)
            listener.accept()[0].close()
            machine = Peer(*await asyncio.open_connection(sock=(await asyncio.to_thread(listener.accept))[0]))
            assert await machine.hears_the_end() == b"a question"
            await machine.say(b"an answer")
            machine.writer.close()
            assert await master.hears_the_end() == b"an answer"
            await until(lambda: between.open == 0)

    with a_full_queue() as listener:
        port = listener.getsockname()[1]
        run(scenario())
    assert taps[0].told == [("opened", ""), ("sent", b"a question"), ("received", b"an answer"), ("closed", "")]


def test_the_machine_closes_and_the_master_still_talks(run: Run) -> None:
    """The machine ends its half; what the master says then reaches it, and is told after `closed`."""
    taps = Taps()

    async def scenario() -> None:
        async with a_link(taps) as (master, machine):
            await machine.say(b"bye")
            machine.writer.write_eof()
            assert await master.hears_the_end() == b"bye"
            await master.say(b"wait")
            assert await machine.hears(4) == b"wait"
            master.writer.close()
            assert await machine.hears_the_end() == b""

    run(scenario())
    why = "the machine closed the connection"
    assert taps[0].told[:4] == [("opened", ""), ("received", b"bye"), ("closed", why), ("sent", b"wait")]


def test_resets_are_passed_on(run: Run) -> None:
    taps = Taps()

    async def scenario() -> None:
        async with a_machine() as machine, proxy((HOST, 0), (HOST, machine.port), taps) as between:
            for resets in (0, 1):
                ends = [await a_master(between.port), await machine.next()]
                await ends[0].say(b"?")
                assert await ends[1].hears(1) == b"?"
                ends[resets].reset()
                with pytest.raises(ConnectionResetError):
                    await ends[1 - resets].hears_the_end()
                await until(lambda: between.open == 0)

    run(scenario())
    assert taps[0].told[-1] == ("closed", "")
    assert taps[1].told[-1] == ("closed", "the machine reset the connection")


def test_its_end_ends_its_links(run: Run) -> None:
    taps = Taps()

    async def scenario() -> None:
        async with a_link(taps) as (master, machine):
            await master.say(b"?")
            assert await machine.hears(1) == b"?"
        assert await master.hears_the_end() == b""
        assert await machine.hears_the_end() == b""

    run(scenario())
    assert taps[0].told == [("opened", ""), ("sent", b"?"), ("closed", "")]


def test_where_it_cannot_listen(run: Run) -> None:
    async def scenario() -> None:
        for address, why in ((taken, "Address already in use"), (("192.0.2.1", 0), "Cannot assign requested address")):
            with pytest.raises(UsageError, match=f"cannot listen at {address[0]}:{address[1]}: .*{why}"):
                async with proxy(address, (HOST, 502), Taps()):
                    pass

    with socket.create_server((HOST, 0)) as server:
        taken = server.getsockname()
        run(scenario())


# --- slow ends, and taps that break ----------------------------------------------------------------------------------


def test_what_one_end_does_not_take_is_not_read_from_the_other(run: Run) -> None:
    """A machine that stops reading stops its master, after no more than what the sockets in between hold."""
    taps = Taps()
    whole = 64 << 20

    async def scenario() -> None:
        async with a_link(taps) as (master, machine):
            machine.writer.transport.pause_reading()
            data = random.Random(1).randbytes(1 << 20)
            saying = asyncio.create_task(master.say(data * (whole >> 20)))
            before = -1
            while len(taps[0].all("sent")) != before:  # until nothing moves any more
                before = len(taps[0].all("sent"))
                await asyncio.sleep(0.2)
            assert not saying.done()
            assert 0 < before < 16 << 20
            machine.writer.transport.resume_reading()
            taken = 0
            while taken < whole:
                taken += len(await asyncio.wait_for(machine.reader.read(1 << 20), 10))
            await saying

    run(scenario())
    assert len(taps[0].all("sent")) == whole


class Breaks(Notes):
    """Fails at the n-th thing it is told."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._left = count(n, -1)

    def __getattribute__(self, name: str) -> Any:
        if name in ("opened", "failed", "closed", "sent", "received") and next(self._left) == 0:
            raise OSError(28, "No space left on device")
        return super().__getattribute__(name)


@pytest.mark.parametrize("n", range(-1, 6))
def test_a_tap_that_fails_stops_nothing(run: Run, n: int) -> None:
    """At each thing it is told, and when it is made (-1)."""

    def next_tap() -> Notes:
        if n < 0:
            raise OSError(28, "No space left on device")
        return Breaks(n)

    async def scenario() -> None:
        async with a_link(next_tap) as (master, machine):
            for number in range(3):
                await master.say(bytes((number,)))
                assert await machine.hears(1) == bytes((number,))
                await machine.say(bytes((100 + number,)))
                assert await master.hears(1) == bytes((100 + number,))
            master.writer.close()
            assert await machine.hears_the_end() == b""

    run(scenario())


def test_a_recording_that_is_full_stops_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "full.rec"

    async def scenario() -> None:
        with Recorder(path, Head(0, "modbus-tcp"), most_size=300_000, most_rate=1 << 40) as recorder:
            async with a_link(recorder.tap) as (master, machine):
                for number in range(100):
                    piece = random.Random(number).randbytes(5_000)
                    await asyncio.gather(master.say(piece), machine.say(piece))
                    assert await asyncio.gather(master.hears(5_000), machine.hears(5_000)) == [piece, piece]
                    recorder.flush()
            assert recorder.full

    run(scenario())
    assert 200_000 < path.stat().st_size <= 300_000
    kept: list[Entry] = list(read(path))
    assert kept[0].kind == Kind.OPENED
    assert len(b"".join(entry.data for entry in kept)) > 200_000


def test_dead_ends_are_looked_for(run: Run) -> None:
    """A master without power is noticed by the machine, as without a proxy: both connections are kept alive."""

    async def scenario() -> None:
        async with a_link(Taps()) as (master, machine):
            await master.say(b"?")
            assert await machine.hears(1) == b"?"
            ours = {sock for sock in psutil.Process().net_connections("tcp") if sock.status == "ESTABLISHED"}
            tuned = 0
            for each in ours:
                with socket.socket(fileno=os.dup(each.fd)) as sock:
                    alive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    prompt = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    tuned += bool(alive and prompt and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60)
            assert tuned == 2

    run(scenario())


def test_it_ends_while_a_master_comes(run: Run) -> None:
    """At any moment after it was accepted; nothing is left open on either side."""

    async def scenario() -> None:
        async with a_machine() as machine:
            for turns in range(12):
                async with proxy((HOST, 0), (HOST, machine.port), Taps()) as between:
                    master = await a_master(between.port)
                    while not between.accepted:
                        await asyncio.sleep(0)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                assert between.open == 0
                assert await master.hears_the_end_somehow() == b""
            while not machine.accepted.empty():
                assert await machine.accepted.get_nowait().hears_the_end_somehow() == b""

    run(scenario())
