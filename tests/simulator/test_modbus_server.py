"""The server on the wire: frames in every shape, exceptions, faults; and what mbpoll and pymodbus read from it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from pymodbus.client import AsyncModbusTcpClient

from gateway.config import Configuration
from parts.mbpoll import mbpoll
from simulators.behaviour.scenario import read_scenario
from simulators.ledger import Ledger, Served
from simulators.modbus import Broken, ModbusServer
from simulators.plant import Plant, simulate

CONFIG = """
connections: {panel: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press:
    connection: panel
    unit_id: 7
    signals:
      count: {holding: 100, type: uint32, order: CDAB, kind: counter}
      temp: {holding: 104, type: int16, scale: 0.1}
      volt: {input: 0, type: float32}
      lamp: {coil: 3}
      door: {discrete: 12}
  other: {connection: panel, unit_id: 8, signals: {x: {holding: 0, type: uint16}}}
"""
SCENARIO = "machines: {press: {signals: {count: 70000, temp: 21.34, volt: 230.4, lamp: true, door: true}}}"


class World:
    """A plant with the machines above, and a client that knows nothing but bytes."""

    def __init__(self, plant: Plant, ledger: Ledger) -> None:
        server = plant.servers["panel"]
        assert isinstance(server, ModbusServer)
        self.server, self.ledger, self.port = server, ledger, server.port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, frame: str) -> str:
        """The frame of the answer, both in hex."""
        self.writer.write(bytes.fromhex(frame))
        return await self.answer()

    async def answer(self) -> str:
        head = await self.reader.readexactly(6)
        return (head + await self.reader.readexactly(struct.unpack(">H", head[4:])[0])).hex(" ")

    async def is_closed(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@pytest.fixture
async def world(configuration: Callable[[str], Configuration], tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    ledger = Ledger.memory()
    async with simulate(configuration(CONFIG), read_scenario(path), ledger, 0) as plant:
        world = World(plant, ledger)
        await world.connect()
        yield world
        world.writer.close()


# --- answers -----------------------------------------------------------------------------------------------------------


async def test_registers_and_bits_written_by_hand(world: World) -> None:
    assert (
        await world.ask("00 01 00 00 00 06 07 03 00 64 00 05")
        == "00 01 00 00 00 0d 07 03 0a 11 70 00 01 00 00 00 00 00 d5"
    )
    assert await world.ask("00 02 00 00 00 06 07 04 00 00 00 02") == "00 02 00 00 00 07 07 04 04 43 66 66 66"
    assert await world.ask("00 03 00 00 00 06 07 01 00 00 00 04") == "00 03 00 00 00 04 07 01 01 08"
    assert await world.ask("ff ff 00 00 00 06 07 02 00 00 00 0d") == "ff ff 00 00 00 05 07 02 02 00 10"


async def test_the_ledger_has_what_lay_completely_in_the_answer(world: World) -> None:
    await world.ask("00 01 00 00 00 06 07 03 00 65 00 04")  # the second register of count, and temp
    await world.ask("00 02 00 00 00 06 07 04 00 00 00 02")
    await world.ask("00 03 00 00 00 06 07 03 03 00 00 01")  # refused
    served = list(world.ledger.entries())
    assert [(entry.machine, entry.values) for entry in served] == [
        ("press", {"temp": 21.3}),
        ("press", {"volt": 230.39999389648438}),
    ]
    assert served[0].time_ns < served[1].time_ns


async def test_part_of_a_value_is_answered_as_it_lies(world: World) -> None:
    assert (await world.ask("00 01 00 00 00 06 07 03 00 65 00 01")).endswith("02 00 01")


EXCEPTIONS = [
    ("unknown unit", "09 03 00 00 00 01", "83 0b"),
    ("write", "07 06 00 64 00 01", "86 01"),
    ("unknown function", "07 64", "e4 01"),
    ("no count", "07 03 00 64 00 00", "83 03"),
    ("126 registers", "07 03 00 64 00 7e", "83 03"),
    ("2001 bits", "07 01 00 00 07 d1", "81 03"),
    ("one byte short", "07 03 00 64 00", "83 03"),
    ("one byte long", "07 03 00 64 00 01 00", "83 03"),
    ("far below", "07 03 00 00 00 01", "83 02"),
    ("far above", "07 03 01 00 00 01", "83 02"),
    ("beyond the last address", "07 03 ff ff 00 02", "83 02"),
    ("a table without signals", "08 02 00 00 00 01", "82 02"),
]


@pytest.mark.parametrize(("pdu", "answer"), [row[1:] for row in EXCEPTIONS], ids=[row[0] for row in EXCEPTIONS])
async def test_exceptions(world: World, pdu: str, answer: str) -> None:
    unit, length = pdu[:2], len(bytes.fromhex(pdu))
    assert await world.ask(f"00 09 00 00 00 {length:02x} {pdu}") == f"00 09 00 00 00 03 {unit} {answer}"


# --- frames ------------------------------------------------------------------------------------------------------------

REQUEST = "00 01 00 00 00 06 07 04 00 00 00 02"
ANSWER = "00 01 00 00 00 07 07 04 04 43 66 66 66"


async def test_a_request_in_single_bytes(world: World) -> None:
    for byte in bytes.fromhex(REQUEST):
        world.writer.write(bytes((byte,)))
        await world.writer.drain()
        await asyncio.sleep(0)
    assert await world.answer() == ANSWER


async def test_requests_one_behind_the_other_are_answered_in_order(world: World) -> None:
    frames = b"".join(i.to_bytes(2, "big") + bytes.fromhex(REQUEST)[2:] for i in range(500))
    for start in range(0, len(frames), 101):  # cut anywhere
        world.writer.write(frames[start : start + 101])
    answers = [await world.answer() for _ in range(500)]
    assert [int(answer[:5].replace(" ", ""), 16) for answer in answers] == list(range(500))


@pytest.mark.parametrize(
    "garbage",
    [
        "47 45 54 20 2f 20 48 54 54 50",  # GET / HTTP
        "00 01 00 01 00 06 07 04 00 00 00 02",  # another protocol
        "00 01 00 00 00 01 07",  # too short to hold a function code
        "00 01 00 00 00 ff 07 04 00 00",  # longer than Modbus allows
        "00 01 00 00 ff ff 07 04 00 00",
    ],
)
async def test_what_is_not_modbus_ends_the_connection_and_nothing_else(world: World, garbage: str) -> None:
    world.writer.write(bytes.fromhex(garbage))
    assert await world.is_closed()
    await world.connect()
    assert await world.ask(REQUEST) == ANSWER


async def test_a_request_cut_off_by_its_client_leaves_no_trace(world: World) -> None:
    world.writer.write(bytes.fromhex(REQUEST)[:9])
    world.writer.close()
    await world.writer.wait_closed()
    await world.connect()
    assert await world.ask(REQUEST) == ANSWER
    assert len(list(world.ledger.entries())) == 1


# --- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
async def test_the_nth_request_drops_the_connection(world: World, n: int) -> None:
    await world.ask(REQUEST)
    world.server.faults.fail(n)
    for _ in range(n - 1):
        assert await world.ask(REQUEST) == ANSWER
    world.writer.write(bytes.fromhex(REQUEST))
    assert await world.is_closed()
    assert len(list(world.ledger.entries())) == n  # what was not answered was not served
    await world.connect()
    assert await world.ask(REQUEST) == ANSWER


async def test_one_request_is_answered_with_an_exception_or_not_at_all(world: World) -> None:
    world.server.faults.fail(1, 6)
    world.server.faults.fail(2, "silence")
    assert await world.ask(REQUEST) == "00 01 00 00 00 03 07 84 06"
    world.writer.write(bytes.fromhex(REQUEST))
    assert await world.ask("00 02" + REQUEST[5:]) == "00 02" + ANSWER[5:]


async def test_a_broken_address_range_and_a_silent_unit(world: World) -> None:
    faults = world.server.faults
    faults.broken.append(Broken(4, 1, 1, 4))
    faults.silent.add(8)
    assert await world.ask(REQUEST) == "00 01 00 00 00 03 07 84 04"
    assert (await world.ask("00 01 00 00 00 06 07 04 00 00 00 01")).endswith("43 66")
    world.writer.write(bytes.fromhex("00 05 00 00 00 06 08 03 00 00 00 01"))  # no answer comes
    assert (await world.ask("00 06 00 00 00 06 07 04 00 00 00 01")).startswith("00 06")
    faults.clear()
    assert await world.ask(REQUEST) == ANSWER


async def test_delayed_answers_keep_their_order_and_their_time(world: World) -> None:
    loop = asyncio.get_running_loop()
    world.server.faults.delay = 0.05
    began = loop.time()
    world.writer.write(bytes.fromhex(REQUEST) + bytes.fromhex("00 02" + REQUEST[5:]))
    assert (await world.answer(), await world.answer()) == (ANSWER, "00 02" + ANSWER[5:])
    assert loop.time() - began >= 0.1
    first, second = world.ledger.entries()
    assert second.time_ns - first.time_ns < 50_000_000  # the values are of the moment of the request
    assert (first.took >= 0.05, second.took >= 0.1) == (True, True)


async def test_dropped_and_refused_connections(world: World) -> None:
    world.server.drop()
    assert await world.is_closed()
    world.server.faults.refuse = True
    await world.connect()
    assert await world.is_closed()
    world.server.faults.clear()
    await world.connect()
    assert await world.ask(REQUEST) == ANSWER


async def test_a_delayed_answer_is_not_served_to_a_client_that_left(world: World) -> None:
    world.server.faults.delay = 0.02
    world.writer.write(bytes.fromhex(REQUEST))
    await world.writer.drain()
    while not world.server.faults.requests:
        await asyncio.sleep(0)
    world.server.drop()
    await world.connect()
    assert await world.ask("00 02" + REQUEST[5:]) == "00 02" + ANSWER[5:]
    assert len(list(world.ledger.entries())) == 1


# --- a second opinion --------------------------------------------------------------------------------------------------


async def test_mbpoll_reads_the_same(world: World) -> None:
    def read(*what: object) -> dict[int, int]:
        return mbpoll(world.port, *what)  # type: ignore[arg-type]

    assert await asyncio.to_thread(read, "holding", 100, 5, 7) == {100: 0x1170, 101: 1, 102: 0, 103: 0, 104: 213}
    assert await asyncio.to_thread(read, "input", 0, 2, 7) == {0: 0x4366, 1: 0x6666}
    assert await asyncio.to_thread(read, "coil", 2, 2, 7) == {2: 0, 3: 1}
    assert await asyncio.to_thread(read, "discrete", 12, 1, 7) == {12: 1}
    with pytest.raises(RuntimeError, match="Illegal data address"):
        await asyncio.to_thread(read, "holding", 5000, 1, 7)
    with pytest.raises(RuntimeError, match="Target device failed to respond"):
        await asyncio.to_thread(read, "holding", 0, 1, 99)


async def test_pymodbus_reads_and_converts_the_same(world: World) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=world.port)
    assert await client.connect()
    count = await client.read_holding_registers(100, count=2, device_id=7)
    volt = await client.read_input_registers(0, count=2, device_id=7)
    door = await client.read_discrete_inputs(0, count=13, device_id=7)
    client.close()
    assert client.convert_from_registers(count.registers, client.DATATYPE.UINT32, "little") == 70_000
    assert client.convert_from_registers(volt.registers, client.DATATYPE.FLOAT32) == 230.39999389648438
    assert [i for i, bit in enumerate(door.bits) if bit] == [12]
    values = [entry.values for entry in world.ledger.entries()]
    assert values == [{"count": 70_000}, {"volt": 230.39999389648438}, {"door": True}]


async def test_machines_of_one_unit_are_parts_of_one_device(configuration: Callable[[str], Configuration]) -> None:
    config = configuration("""
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  a: {connection: c, signals: {x: {holding: 0, type: uint16, kind: counter}}}
  b: {connection: c, signals: {x: {holding: 1, type: uint16, kind: counter}}}
""")
    ledger = Ledger.memory()
    async with simulate(config, None, ledger, 0) as plant:
        read = await asyncio.to_thread(mbpoll, plant.ports["c"], "holding", 0, 2)
    a, b = ledger.entries()
    assert (a, b) == (Served(a.time_ns, "a", {"x": read[0]}), Served(a.time_ns, "b", {"x": read[1]}))


def test_the_server_runs_on_uvloop_too(configuration: Callable[[str], Configuration]) -> None:
    async def read() -> dict[int, int]:
        async with simulate(configuration(CONFIG), port_base=0) as plant:
            return await asyncio.to_thread(mbpoll, plant.ports["panel"], "holding", 102, 1, 7)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read()) == {102: 0}
