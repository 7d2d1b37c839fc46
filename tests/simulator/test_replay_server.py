"""A recorded Modbus machine on the wire: the same answers, delays, silences, garbage and closed doors, to any client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusAscii, ModbusRtu, ModbusRtuOverTcp, ModbusTcp, ModbusTls, ModbusUdp
from adapters.modbus.link import Request
from adapters.modbus.links import link_of
from gateway.config import Configuration, Protocol, load
from gateway.recording import Entry, Head, Kind
from parts.mbpoll import mbpoll, mbpoll_serial
from parts.modbus_serial_client import modbus_serial
from simulators.ledger import Ledger
from simulators.machine import NotSimulatedError, Replaying
from simulators.modbus import serve_recording
from simulators.modbus.framing import MBAP, RTU, Frame, Framing
from simulators.modbus.replay.conversation import Exchange, conversation
from simulators.modbus.replay.server import ReplayedServer, renumbered
from simulators.modbus.transports import TcpTransport

S = 1_000_000_000
MS = 1_000_000
START = 1_790_000_000 * S
READ = bytes.fromhex("03 0000 0002")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.wall = START

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.wall / 1e9

    def trusted(self) -> bool:
        return True

    def move(self, seconds: float) -> None:
        """So far into the replay."""
        self.wall = START + round(seconds * S)


def answer(*values: int, function: int = 3) -> bytes:
    return bytes((function, 2 * len(values))) + b"".join(value.to_bytes(2, "big") for value in values)


def recorded(
    *lines: tuple[float, bytes | None], framing: Framing = MBAP, delay: float = 0.0, unit: int = 1
) -> list[Entry]:
    """READ at each time, and its answer: a PDU, or nothing. A minute later it ends."""
    entries = [Entry(0, Kind.OPENED, 0, 0, b"")]
    for number, (at, pdu) in enumerate(lines, 100):
        entries.append(Entry(round(at * S), Kind.SENT, 0, 0, framing.encode(Frame(number, unit, READ))))
        if pdu is not None:
            entries.append(
                Entry(round((at + delay) * S), Kind.RECEIVED, 0, 0, framing.encode(Frame(number, unit, pdu)))
            )
    return [*entries, Entry(entries[-1].at + 60 * S, Kind.CLOSED, 0, 0, b"")]


Serve = Callable[..., Any]


@asynccontextmanager
async def served(
    entries: list[Entry], spoken: str = "modbus-tcp", **how: Any
) -> AsyncIterator[tuple[ReplayedServer, Hand]]:
    hand = Hand()
    options: dict[str, Any] = {"port": 0, "ledger": Ledger.memory(), "clock": hand, **how}
    ledger, clock = options.pop("ledger"), options.pop("clock")
    server = await serve_recording(Replaying("m", Head(0, spoken), entries, ledger, clock, START, **options))
    try:
        yield server, hand
    finally:
        await server.stop()


class Client:
    """Sends and receives bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing = MBAP) -> None:
        self.reader, self.writer, self.framing, self.number = reader, writer, framing, 0

    async def ask(self, pdu: bytes = READ, unit: int = 1, timeout: float = 5.0) -> bytes | None:
        """The PDU of the answer; None after a silence. Raises IncompleteReadError where the connection ends."""
        self.send(pdu, unit)
        return await self.answer(timeout)

    def send(self, pdu: bytes = READ, unit: int = 1) -> None:
        self.number += 1
        self.writer.write(self.framing.encode(Frame(self.number, unit, pdu)))

    async def answer(self, timeout: float = 5.0) -> bytes | None:
        try:
            async with asyncio.timeout(timeout):
                data = b""
                while True:
                    data += await self.reader.readexactly(1)
                    frame, _ = self.framing.request(data, 0) if self.framing is MBAP else _sound(data)
                    if frame is not None:
                        assert self.framing is not MBAP or frame.transaction == self.number
                        return frame.pdu
        except TimeoutError:
            return None


def _sound(data: bytes) -> tuple[Frame | None, int]:
    """An RTU frame that is as long as its byte count says."""
    if len(data) >= 5 and len(data) == (5 if data[1] & 0x80 else 5 + data[2]):
        return Frame(0, data[0], data[1:-2]), len(data)
    return None, 0


@asynccontextmanager
async def client_of(server: ReplayedServer, framing: Framing = MBAP) -> AsyncIterator[Client]:
    assert server.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Client(reader, writer, framing)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def words(pdu: bytes | None) -> list[int] | None:
    return None if pdu is None else [int.from_bytes(pdu[i : i + 2], "big") for i in range(2, len(pdu), 2)]


# --- answers ---------------------------------------------------------------------------------------------------------


SHIFT = ((0.0, answer(1, 0)), (1.0, answer(2, 0)), (2.0, b"\x83\x06"), (3.0, None), (4.0, answer(3, 0)))


async def test_by_the_clock_it_says_what_it_said() -> None:
    async with served(recorded(*SHIFT)) as (server, hand), client_of(server) as client:
        found = []
        for second in range(5):
            hand.move(second + 0.02)
            found.append(await client.ask(timeout=0.2 if second == 3 else 5))
        assert found == [answer(1, 0), answer(2, 0), b"\x83\x06", None, answer(3, 0)]
        assert not server.unexpected


async def test_what_was_not_asked_then_is_composed_or_refused_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with served(recorded(*SHIFT)) as (server, _), client_of(server) as client:
        assert await client.ask(bytes.fromhex("03 0001 0001")) == answer(0)
        assert await client.ask(bytes.fromhex("03 0001 0002")) == b"\x83\x02"
        assert await client.ask(bytes.fromhex("03 0001 0002")) == b"\x83\x02"
        assert await client.ask(bytes.fromhex("06 0000 0063")) == b"\x86\x01"
        assert await client.ask(unit=9) == b"\x83\x0b"
        assert server.unexpected == {"composed": 1, "address": 2, "write": 1, "unit": 1}
    assert [text.partition(": somebody asks for ")[2].partition(":")[0] for text in caplog.messages] == [
        "addresses that were never read", "a write that was not recorded", "a unit that was never asked for",
    ]  # fmt: skip


async def test_begin_speed_and_loop() -> None:
    items = [*recorded(*((float(i), answer(i, 0)) for i in range(10)))[:-1], Entry(10 * S, Kind.CLOSED, 0, 0, b"")]
    for how, expected in (
        ({}, [0, 2, 4, 9]),
        ({"begin": 3.0}, [3, 5, 7, 9]),
        ({"speed": 2.0}, [0, 4, 8, 9]),
        ({"loop": True}, [0, 2, 4, 1]),
        ({"loop": True, "speed": 2.0, "begin": 1.0}, [1, 5, 9, 3]),
    ):
        async with served(items, **how) as (server, hand), client_of(server) as client:
            found = []
            for second in (0.01, 2.01, 4.01, 11.01):
                hand.move(second)
                found.append(words(await client.ask()))
            assert found == [[each, 0] for each in expected], how


async def test_the_end_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with served(recorded((0.0, answer(1, 0)), (1.0, None))) as (server, hand), client_of(server) as client:
        for second in (100, 200):
            hand.move(second)
            assert await client.ask() == answer(1, 0)
    assert caplog.messages == ["m: the recording is over: what it said last stays"]


@pytest.mark.parametrize(
    ("how", "low", "high"), [({}, 1.0, 10), ({"speed": 10.0}, 0.1, 0.9), ({"ideal": True}, 0.0, 0.9)]
)
async def test_answers_take_as_long_as_they_took(how: dict[str, Any], low: float, high: float) -> None:
    async with served(recorded((0.0, answer(1, 0)), delay=1.0), **how) as (server, _), client_of(server) as client:
        begun = time.monotonic()
        assert await client.ask(timeout=10) == answer(1, 0)
        assert low <= time.monotonic() - begun < high


async def test_each_answer_takes_its_own_time_whatever_else_is_on_its_way() -> None:
    """Two requests at a time, of 300 and 50 ms: the second answer is there first, and the first not later than it was."""
    other = bytes.fromhex("04 0000 0001")
    sent = MBAP.encode(Frame(1, 1, READ)) + MBAP.encode(Frame(2, 1, other))
    entries = [
        Entry(0, Kind.SENT, 0, 0, sent),
        Entry(50 * MS, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(2, 1, answer(7, function=4)))),
        Entry(300 * MS, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(1, 1, answer(1, 0)))),
        Entry(9 * S, Kind.CLOSED, 0, 0, b""),
    ]
    async with served(entries) as (server, _), client_of(server) as client:
        client.send()
        client.send(other)
        begun = time.monotonic()
        assert await client.answer() == answer(7, function=4)
        client.number = 1
        assert await client.answer() == answer(1, 0)
        assert 0.25 <= time.monotonic() - begun < 2


# --- what went wrong ---------------------------------------------------------------------------------------------------


async def test_garbage_comes_again_with_the_number_of_the_request() -> None:
    """The recorded request had the number 100 (0x64), that of the test has 1."""
    raw = bytes.fromhex("0064 0000 0003 01 83 04")
    entries = recorded((0.0, answer(1, 0)))
    entries.insert(3, Entry(0, Kind.RECEIVED, 0, 0, raw))
    async with served(entries) as (server, _), client_of(server) as client:
        assert await client.ask() == answer(1, 0)
        assert await client.reader.readexactly(len(raw)) == bytes.fromhex("0001 0000 0003 01 83 04")
    async with served(entries, ideal=True) as (server, _), client_of(server) as client:
        assert await client.ask() == answer(1, 0)
        assert await client.ask() == answer(1, 0)  # nothing in between


@pytest.mark.parametrize(
    ("raw", "now"),
    [
        ("0064 0000 0003 01 83 04", "0007 0000 0003 01 83 04"),
        ("ffff 0064 0000 0003 01 83 04", "ffff 0007 0000 0003 01 83 04"),
        ("0065 0000 0003 01 83 04", "0065 0000 0003 01 83 04"),  # of another number
        ("0064 0000 00", "0007 0000 00"),  # cut off
        ("0064 00", "0007 00"),
        ("0064 0000 00ff 01", "0064 0000 00ff 01"),  # no frame is so long
        ("0064 0000 0003 01 83 04 0064 0000 0003 01 83 04", "0007 0000 0003 01 83 04 0007 0000 0003 01 83 04"),
        ("0000 0000 0000 0003 01 83 04", "0000 0000 0000 0003 01 83 04"),
        ("", ""),
    ],
)
def test_numbers_in_garbage(raw: str, now: str) -> None:
    assert renumbered(bytes.fromhex(raw), {0x64: 7}) == bytes.fromhex(now)


async def test_over_another_framing_garbage_is_left_out_and_the_answers_stay() -> None:
    entries = recorded((0.0, answer(1, 0)), (1.0, answer(2, 0)), framing=RTU)
    entries.insert(2, Entry(0, Kind.RECEIVED, 0, 0, b"\xff\xfe"))
    async with (
        served(entries, "modbus-rtu", protocol="modbus-rtu-over-tcp") as (server, _),
        client_of(server, RTU) as client,
    ):
        client.send()
        assert await client.reader.readexactly(2) == b"\xff\xfe"
        assert await client.answer() == answer(1, 0)
    async with served(entries, "modbus-rtu", protocol="modbus-tcp") as (server, _), client_of(server) as client:
        assert await client.ask() == answer(1, 0)


async def test_a_unit_that_was_never_there_is_silent_on_a_line() -> None:
    entries = recorded((0.0, answer(1, 0)), framing=RTU)
    async with served(entries, "modbus-rtu-over-tcp") as (server, _), client_of(server, RTU) as client:
        assert await client.ask(unit=5, timeout=0.2) is None
        assert await client.ask() == answer(1, 0)
        assert server.unexpected == {"unit": 1}


async def closed(client: Client) -> bool:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        return await client.ask() is None
    return True


async def test_it_closes_where_it_closed() -> None:
    """Once instead of answering, once between two requests; in the end the client did it."""
    frames = [MBAP.encode(Frame(i, 1, READ)) for i in range(3)]
    entries = [
        Entry(0, Kind.OPENED, 0, 0, b""), Entry(0, Kind.SENT, 0, 0, frames[0]), Entry(0, Kind.CLOSED, 0, 0, b"by the machine"),
        Entry(1 * S, Kind.OPENED, 0, 0, b""), Entry(1 * S, Kind.SENT, 0, 0, frames[1]),
        Entry(1 * S, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(1, 1, answer(1, 0)))), Entry(2 * S, Kind.CLOSED, 0, 0, b"by the machine"),
        Entry(3 * S, Kind.OPENED, 0, 0, b""), Entry(3 * S, Kind.SENT, 0, 0, frames[2]),
        Entry(3 * S, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(2, 1, answer(2, 0)))), Entry(9 * S, Kind.CLOSED, 0, 0, b""),
    ]  # fmt: skip
    async with served(entries) as (server, hand):
        async with client_of(server) as client:
            assert await closed(client)
        hand.move(1)
        async with client_of(server) as client:
            assert await client.ask() == answer(1, 0)
            hand.move(2.5)
            assert await closed(client)
        hand.move(3)
        async with client_of(server) as client:
            assert await client.ask() == answer(2, 0)
            hand.move(8)
            assert await client.ask() == answer(2, 0)
        async with client_of(server) as client:  # also where nobody asks for anything
            hand.move(1.5)
            await server.look()
            hand.move(2.5)
            async with asyncio.timeout(5):
                assert await client.reader.read() == b""
    async with served(entries, ideal=True) as (server, hand), client_of(server) as client:
        for second in (0, 1, 2.5, 3):
            hand.move(second)
            assert not await closed(client)


AWAY = [
    *recorded((0.0, answer(1, 0)))[:-1],
    Entry(1 * S, Kind.CLOSED, 0, 0, b"reset by the machine"), Entry(2 * S, Kind.FAILED, 0, 0, b"refused"),
    Entry(4 * S, Kind.OPENED, 0, 0, b""), Entry(9 * S, Kind.CLOSED, 0, 0, b""),
]  # fmt: skip


async def test_where_it_could_not_be_reached_connections_are_cut_and_refused() -> None:
    """It closed at 1 s, refused at 2 s and was back at 4 s: gone from 1 s to 3 s."""
    async with served(AWAY) as (server, hand):
        port = server.port
        assert port
        async with client_of(server) as client:
            assert await client.ask() == answer(1, 0)
            hand.move(1.5)
            await server.look()
            assert await closed(client)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        hand.move(3.5)
        await server.look()
        assert server.port == port
        async with client_of(server) as client:
            assert await client.ask() == answer(1, 0)


async def test_it_looks_by_itself_and_refuses_also_before_it_has_looked() -> None:
    async with served(AWAY) as (server, hand):
        hand.move(1.5)
        async with client_of(server) as client:  # at the port of a machine that is away for a moment already
            assert await closed(client)
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                except ConnectionRefusedError:
                    break
                writer.close()
                await asyncio.sleep(0.01)
        hand.move(3.5)
        async with asyncio.timeout(5):
            while True:
                with suppress(ConnectionRefusedError):
                    async with client_of(server) as client:
                        assert await client.ask() == answer(1, 0)
                        break
                await asyncio.sleep(0.01)
    async with served(AWAY, ideal=True) as (server, hand), client_of(server) as client:
        hand.move(1.5)
        await server.look()
        assert await client.ask() == answer(1, 0)


async def test_faults_come_on_top() -> None:
    async with served(recorded((0.0, answer(1, 0)))) as (server, _), client_of(server) as client:
        server.faults.fail(1, 6)
        server.faults.fail(2, "silence")
        server.faults.fail(4)
        assert [await client.ask(timeout=0.2) for _ in range(3)] == [b"\x83\x06", None, answer(1, 0)]
        assert await closed(client)


# --- recorded once more ------------------------------------------------------------------------------------------------------


async def test_a_replay_that_is_recorded_is_the_same_conversation() -> None:
    """With exceptions, silence, two answers, garbage and a connection that is closed."""
    entries = recorded(*SHIFT)[:-1]
    for number, (at, more) in enumerate(
        [(5, [answer(4, 0), answer(4, 0)]), (6, [answer(5, 0, 1)]), (7, [answer(6, 0)])], start=200
    ):
        entries.append(Entry(at * S, Kind.SENT, 0, 0, MBAP.encode(Frame(number, 1, READ))))
        entries += [Entry(at * S, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(number, 1, pdu))) for pdu in more]
    entries += [
        Entry(8 * S, Kind.SENT, 0, 0, MBAP.encode(Frame(300, 1, READ))),
        Entry(8 * S, Kind.CLOSED, 0, 0, b"it did"),
    ]
    once = exchanges(entries)
    again = [Entry(0, Kind.OPENED, 0, 0, b"")]
    async with served(entries) as (server, hand), client_of(server) as client:
        for each in once:
            hand.move(each.at / S)
            again.append(Entry(each.at, Kind.SENT, 0, 0, MBAP.encode(Frame(each.transaction, 1, each.request))))
            client.writer.write(again[-1].data)
            size = sum(len(came.raw) or 7 + len(came.pdu) for came in each.came)
            data = b""
            async with asyncio.timeout(5):
                while server.faults.requests < once.index(each) + 1:
                    await asyncio.sleep(0.001)
                while len(data) < size:
                    data += await client.reader.read(size - len(data))
            if size:
                again.append(Entry(each.at, Kind.RECEIVED, 0, 0, data))
        assert await client.reader.read() == b""
        again.append(Entry(8 * S, Kind.CLOSED, 0, 0, b"it did"))
    assert exchanges(again) == once
    assert len(once) == 9


def exchanges(entries: list[Entry]) -> list[Exchange]:
    found = [each for each in conversation(entries, "modbus-tcp") if isinstance(each, Exchange)]
    return sorted(found, key=lambda each: each.at)


# --- independent clients, and every transport --------------------------------------------------------------------------------


async def test_mbpoll_and_modbus_serial_read_it() -> None:
    coils = Frame(1, 1, bytes.fromhex("01 0013 0013")), Frame(1, 1, bytes.fromhex("01 03 cd6b05"))  # V1.1b3, 6.1
    entries = [
        Entry(0, kind, 1, 0, MBAP.encode(frame)) for kind, frame in zip((Kind.SENT, Kind.RECEIVED), coils, strict=True)
    ]
    entries += recorded((0.0, answer(0x1234, 65535)))
    async with served(entries) as (server, _):
        port = server.port
        assert port
        for values in (
            await asyncio.to_thread(mbpoll, port, "holding", 0, 2),
            dict(enumerate(await asyncio.to_thread(modbus_serial, port, "holding", 0, 2))),
        ):
            assert values == {0: 0x1234, 1: 65535}
        assert await asyncio.to_thread(modbus_serial, port, "coil", 19, 8) == [1, 0, 1, 1, 0, 0, 1, 1]
        with pytest.raises(RuntimeError, match="modbus-serial: 2"):
            await asyncio.to_thread(modbus_serial, port, "holding", 5)
        with pytest.raises(RuntimeError, match="Illegal data address"):
            await asyncio.to_thread(mbpoll, port, "holding", 5)


async def test_mbpoll_reads_it_on_a_serial_line() -> None:
    entries = recorded((0.0, answer(0x1234, 65535)), framing=RTU)
    async with served(entries, "modbus-rtu", port=None) as (server, _):
        assert server.port is None
        path = str(server.address["port"])
        assert await asyncio.to_thread(mbpoll_serial, path, "holding", 0, 2) == {0: 0x1234, 1: 65535}
        with pytest.raises(RuntimeError, match="timed out"):
            await asyncio.to_thread(mbpoll_serial, path, "holding", 0, 2, 5)


PROTOCOLS = {
    model.model_fields["protocol"].annotation.__args__[0]: Protocol(name, model, ModbusMachine)  # type: ignore[union-attr]
    for name, model in (
        ("modbus-tcp", ModbusTcp), ("modbus-rtu", ModbusRtu), ("modbus-rtu-over-tcp", ModbusRtuOverTcp),
        ("modbus-ascii", ModbusAscii), ("modbus-udp", ModbusUdp), ("modbus-tls", ModbusTls),
    )
}  # fmt: skip


def configured(
    folder: Path,
    connection: str,
    signals: str = "a: {holding: 0, type: uint16}, b: {holding: 1, type: int16, scale: 0.1}",
) -> Configuration:
    path = folder / "gateway.yaml"
    path.write_text(
        f"version: 1\nconnections: {{c: {{{connection}}}}}\nmachines: {{m: {{connection: c, signals: {{{signals}}}}}}}\n"
    )
    return load(path, PROTOCOLS)


@pytest.mark.parametrize(
    ("recorded_as", "connection", "how", "address"),
    [
        ("modbus-rtu", "protocol: modbus-rtu, port: {folder}/ttyS9", {"port": None}, "{folder}/ttyS9"),
        ("modbus-rtu", "protocol: modbus-rtu, port: {folder}/ttyS9", {"port": 0}, "/dev/pts/"),
        (
            "modbus-rtu",
            "protocol: modbus-rtu, port: {folder}/ttyS9",
            {"port": 0, "protocol": "modbus-tcp"},
            "modbus-tcp",
        ),
        ("modbus-ascii", "protocol: modbus-ascii, port: {folder}/ttyS9", {"port": None}, "{folder}/ttyS9"),
        ("modbus-ascii", "protocol: modbus-ascii, host: h, port: 4001", {"port": 0}, "modbus-ascii"),
        ("modbus-ascii", "protocol: modbus-ascii, port: /x", {"port": 0, "protocol": "modbus-ascii"}, "modbus-ascii"),
        ("modbus-tcp", "protocol: modbus-tcp, host: h", {"port": 0, "protocol": "modbus-rtu"}, "/dev/pts/"),
        ("modbus-udp", "protocol: modbus-udp, host: h", {"port": 0}, "modbus-udp"),
        ("modbus-tls", "protocol: modbus-tls, host: h", {"port": 0}, "modbus-tls"),
    ],
)
async def test_where_it_is_reached(
    tmp_path: Path, recorded_as: str, connection: str, how: dict[str, Any], address: str
) -> None:
    configuration = configured(tmp_path, connection.format(folder=tmp_path))
    more = {"configuration": configuration, "machines": ["m"], **how}
    async with served(recorded((0.0, answer(1, 0))), recorded_as, **more) as (server, _):
        found = server.address
        if address.startswith("modbus"):
            assert found["protocol"] == address
            assert found["port"] == server.port != 0
        else:
            assert str(found["port"]).startswith(address.format(folder=tmp_path))
            assert os.path.exists(str(found["port"]))  # noqa: PTH110


@pytest.mark.parametrize(("spoken", "model"), [("modbus-udp", ModbusUdp), ("modbus-tls", ModbusTls)])
async def test_over_udp_and_tls(tmp_path: Path, spoken: str, model: type[Any]) -> None:
    configuration = configured(tmp_path, f"protocol: {spoken}, host: localhost")
    more = {"configuration": configuration, "machines": ["m"]}
    async with served(recorded((0.0, answer(1, 0))), spoken, **more) as (server, _):
        known = model.model_fields
        link = link_of(model(**{key: value for key, value in server.address.items() if key in known}))
        await link.open()
        (found,) = await link.exchange([Request(1, "holding", 0, 2)])
        link.close()
        assert found.data == answer(1, 0)[2:]


async def test_a_protocol_that_is_none() -> None:
    with pytest.raises(NotSimulatedError, match="modbus-plus cannot be simulated"):
        async with served(recorded((0.0, answer(1, 0))), protocol="modbus-plus"):
            pass


async def test_the_echo_of_a_line_is_not_asked_for(tmp_path: Path) -> None:
    connection = "protocol: modbus-rtu, port: /x, quirks: {local_echo: true, pause_between_requests: 20ms}"
    more = {"configuration": configured(tmp_path, connection), "machines": ["m"]}
    async with served(recorded((0.0, answer(1, 0)), framing=RTU), "modbus-rtu", **more) as (server, _):
        quirks: Any = server.address["quirks"]
        assert (quirks.local_echo, quirks.pause_between_requests) == (False, 0.02)


async def test_a_port_that_refuses_and_takes_connections_again_is_the_same() -> None:
    transport = TcpTransport("127.0.0.1", 0)
    await transport.open(lambda outlet: _Deaf(outlet))  # type: ignore[arg-type,return-value]
    port = transport.port
    for _ in range(3):
        transport.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await transport.accept()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    await transport.close()
    await transport.accept()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


class _Deaf:
    def __init__(self, outlet: Any) -> None:
        pass

    def lost(self) -> None:
        pass


# --- the ledger ----------------------------------------------------------------------------------------------------------------


async def test_the_ledger_has_what_the_answers_carried(tmp_path: Path) -> None:
    ledger = Ledger.memory()
    configuration = configured(tmp_path, "protocol: modbus-tcp, host: h, timeout: 1s")
    more = {"configuration": configuration, "machines": ["m"], "ledger": ledger}
    async with served(recorded(*SHIFT[:4]), **more) as (server, hand), client_of(server) as client:
        for second in range(4):
            hand.move(second)
            await client.ask(timeout=0.2 if second == 3 else 5)
        await client.ask(bytes.fromhex("03 0001 0001"))
    served_values = [(each.time_ns, each.machine, dict(each.values)) for each in ledger.entries()]
    assert served_values == [
        (START, "m", {"a": 1, "b": 0.0}),
        (START + S, "m", {"a": 2, "b": 0.0}),
        (START + 3 * S, "m", {"b": 0.0}),
    ]


async def test_an_answer_that_was_too_late_was_not_served(tmp_path: Path) -> None:
    ledger = Ledger.memory()
    configuration = configured(tmp_path, "protocol: modbus-tcp, host: h, timeout: 100ms")
    more = {"configuration": configuration, "machines": ["m"], "ledger": ledger}
    async with served(recorded((0.0, answer(1, 0)), delay=0.2), **more) as (server, _), client_of(server) as client:
        assert await client.ask() == answer(1, 0)
        assert list(ledger.entries()) == []


async def test_a_scale_factor_is_what_the_machine_said_of_it(tmp_path: Path) -> None:
    """The power of ten is 1 at first, then -1 (65535 as int16)."""
    ledger = Ledger.memory()
    signals = "v: {holding: 0, type: int16, scale_from: power}, power: {holding: 1, type: int16}"
    configuration = configured(tmp_path, "protocol: modbus-tcp, host: h", signals)
    more = {"configuration": configuration, "machines": ["m"], "ledger": ledger}
    async with (
        served(recorded((0.0, answer(21, 1)), (1.0, answer(215, 65535))), **more) as (server, hand),
        client_of(server) as c,
    ):
        await c.ask()
        hand.move(1.0)
        await c.ask(bytes.fromhex("03 0000 0001"))
    assert [dict(each.values) for each in ledger.entries()] == [{"v": 210.0, "power": 1}, {"v": 21.5}]


async def test_a_scale_factor_that_the_device_does_not_have(tmp_path: Path) -> None:
    ledger = Ledger.memory()
    signals = "v: {holding: 0, type: int16, scale_from: power}, power: {sunspec: 103, holding: 5, type: int16}"
    configuration = configured(tmp_path, "protocol: modbus-tcp, host: h", signals)
    more = {"configuration": configuration, "machines": ["m"], "ledger": ledger}
    entries = recorded((0.0, answer(21, 1)))
    chain = mbap_read(0x9C40, 0x5375, 0x6E53, 64999, 1, 0, 0xFFFF, 0)
    async with served([*chain, *entries], **more) as (server, _), client_of(server) as client:
        await client.ask()
    assert [dict(each.values) for each in ledger.entries()] == [{"v": 21.0}]


def mbap_read(address: int, *values: int) -> list[Entry]:
    """Holding registers that were read at the beginning."""
    request = b"\x03" + address.to_bytes(2, "big") + len(values).to_bytes(2, "big")
    frames = ((Kind.SENT, Frame(1, 1, request)), (Kind.RECEIVED, Frame(1, 1, answer(*values))))
    return [Entry(0, kind, 0, 0, MBAP.encode(frame)) for kind, frame in frames]


async def test_sunspec_models_are_where_the_device_said(tmp_path: Path) -> None:
    """SunSpec Information Model Specification: "SunS", then ID and length of each model. Here 64999 of 3, then 103 of 50."""
    ledger = Ledger.memory()
    signals = "volts: {sunspec: 103, holding: 10, type: uint16}"
    configuration = configured(tmp_path, "protocol: modbus-tcp, host: h", signals)
    chain = [0x5375, 0x6E53, 64999, 3, 0, 0, 0, 103, 50, *range(100, 150), 0xFFFF, 0]
    request = bytes.fromhex("03 9c40") + len(chain).to_bytes(2, "big")
    entries = [
        Entry(0, Kind.SENT, 0, 0, MBAP.encode(Frame(1, 1, request))),
        Entry(0, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(1, 1, answer(*chain)))),
    ]
    more = {"configuration": configuration, "machines": ["m"], "ledger": ledger}
    async with served(entries, **more) as (server, _), client_of(server) as client:
        await client.ask(request)
    # Its eleventh register, counted with ID and length; the model begins at the eighth of the chain.
    assert [dict(each.values) for each in ledger.entries()] == [{"volts": chain[7 + 10]}]
