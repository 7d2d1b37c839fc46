"""What each fault puts on the wire instead of the right answer, in bytes written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.clock import SystemClock
from simulators.ledger import Ledger
from simulators.modbus import KINDS, ModbusServer, kinds
from simulators.modbus.framing import ASCII, MBAP, RTU, Frame, Framing, crc
from simulators.modbus.transports import TcpTransport
from simulators.modbus.wire_faults import WireFaults

LATE = 0.05
REQUEST = "00 05 00 00 00 06 07 03 00 02 00 02"
RIGHT = "00 05 00 00 00 07 07 03 04 73 02 73 03"
BEFORE = "00 04 00 00 00 07 07 03 04 73 00 73 01"


class Registers:
    """A unit whose registers hold unit, table and address: unit 7, holding 2 is 73 02."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, list[tuple[str, dict[str, int]]]]:
        words = b"".join(bytes((self.unit * 16 + function, a & 0xFF)) for a in range(address, address + count))
        return words, [("m", {"x": address})]


class Wire:
    """A server with units 7 and 8, and a client that has had one answer."""

    def __init__(self, framing: Framing) -> None:
        self.ledger = Ledger.memory()
        units = {unit: Registers(unit) for unit in (7, 8)}
        self.server = ModbusServer(units, self.ledger, SystemClock(), 0, TcpTransport("127.0.0.1", 0, framing))
        self.server.wire.late = LATE

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)

    async def ask(self, request: str, answer_bytes: int) -> str:
        self.writer.write(bytes.fromhex(request))
        return await self.got(answer_bytes)

    async def got(self, count: int) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readexactly(count)).hex(" ")


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire(MBAP)
    await wire.server.listen()
    await wire.connect()
    assert await wire.ask("00 04 00 00 00 06 07 03 00 00 00 02", 13) == BEFORE
    yield wire
    wire.writer.close()
    await wire.server.stop()


AT_ONCE = {
    "twice": RIGHT + " " + RIGHT,
    "glued-old-first": BEFORE + " " + RIGHT,
    "glued-old-last": RIGHT + " " + BEFORE,
    "trickled": RIGHT,
    "id-zero": "00 00" + RIGHT[5:],
    "unit-wrong": "00 05 00 00 00 07 08 03 04 83 02 83 03",
    "function-wrong": "00 05 00 00 00 07 07 04 04 74 02 74 03",
    "short": "00 05 00 00 00 05 07 03 02 73 02",
    "long": "00 05 00 00 00 09 07 03 06 73 02 73 03 73 03",
    "late": RIGHT,
    "late-id-zero": "00 00" + RIGHT[5:],
}


@pytest.mark.parametrize("kind", AT_ONCE)
async def test_what_is_sent_instead(wire: Wire, kind: str) -> None:
    wire.server.wire.fail(1, kind)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await wire.ask(REQUEST, len(bytes.fromhex(AT_ONCE[kind]))) == AT_ONCE[kind]
    assert (loop.time() - began >= LATE) == kind.startswith("late")
    assert wire.server.injected == {kind: 1}
    assert await wire.ask("00 06" + REQUEST[5:], 13) == "00 06" + RIGHT[5:]


async def test_noise_before_and_after(wire: Wire) -> None:
    wire.server.wire.fail(1, "noise-before")
    wire.server.wire.fail(2, "noise-after")
    for place in (slice(-13, None), slice(0, 13)):
        wire.writer.write(bytes.fromhex(REQUEST))
        data = await wire.reader.read(100)
        assert data[place].hex(" ") == RIGHT
        assert 14 <= len(data) <= 21


async def test_half_a_frame_and_the_other_half_late(wire: Wire) -> None:
    wire.server.wire.fail(1, "truncated")
    wire.writer.write(bytes.fromhex(REQUEST))
    half = await wire.reader.read(100)
    assert bytes.fromhex(RIGHT).startswith(half)
    assert 1 <= len(half) <= 12
    wire.server.wire.fail(1, "stalled")
    wire.writer.write(bytes.fromhex(REQUEST))
    half = await wire.reader.read(100)
    assert (half + await wire.reader.read(100)).hex(" ") == RIGHT


async def test_flipped_bits_are_where_they_can_be_seen(wire: Wire) -> None:
    seen = set()
    for _ in range(300):
        wire.server.wire.fail(1, "corrupted")
        data = bytes.fromhex(await wire.ask(REQUEST, 13))
        flipped = [i for i, (a, b) in enumerate(zip(data, bytes.fromhex(RIGHT), strict=True)) if a != b]
        assert len(flipped) == 1
        seen.update(flipped)
    assert seen == set(range(9))


async def test_a_wrong_transaction_id_is_neither_right_nor_zero(wire: Wire) -> None:
    for _ in range(300):
        wire.server.wire.fail(1, "id-wrong")
        answer = await wire.ask(REQUEST, 13)
        assert answer[5:] == RIGHT[5:]
        assert answer[:5] not in ("00 05", "00 00")


async def test_a_late_answer_with_the_newest_id(wire: Wire) -> None:
    wire.server.wire.fail(1, "late-newest-id")
    wire.writer.write(bytes.fromhex(REQUEST))
    assert await wire.ask("00 09 00 00 00 06 08 04 00 07 00 01", 11) == "00 09 00 00 00 05 08 04 02 84 07"
    assert await wire.got(13) == "00 09" + RIGHT[5:]


async def test_a_second_answer_before_that_to_the_next_request(wire: Wire) -> None:
    wire.server.wire.fail(1, "twice-later")
    wire.server.wire.fail(2, "silence")  # each fault has to be noticed by itself
    assert await wire.ask(REQUEST, 13) == RIGHT
    assert wire.server.injected == {}
    assert await wire.ask("00 06" + REQUEST[5:], 26) == RIGHT + " 00 06" + RIGHT[5:]
    assert wire.server.injected == {"twice-later": 1}


async def test_the_answers_of_two_requests_change_places(wire: Wire) -> None:
    wire.server.wire.fail(1, "swapped")
    wire.writer.write(bytes.fromhex(REQUEST))
    assert await wire.ask("00 06" + REQUEST[5:], 26) == "00 06" + RIGHT[5:] + " " + RIGHT


async def test_a_connection_that_never_answers_again(wire: Wire) -> None:
    wire.server.wire.fail(1, "half-open")
    for _ in range(9):
        wire.writer.write(bytes.fromhex(REQUEST))
    while wire.server.faults.requests < 10:
        await asyncio.sleep(0)
    await wire.connect()
    assert await wire.ask(REQUEST, 13) == RIGHT
    assert wire.server.injected == {"half-open": 1}


async def test_silence(wire: Wire) -> None:
    wire.server.wire.fail(1, "silence")
    wire.writer.write(bytes.fromhex(REQUEST))
    assert await wire.ask("00 06" + REQUEST[5:], 13) == "00 06" + RIGHT[5:]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_ledger_has_what_could_be_taken(wire: Wire, kind: str) -> None:
    def served() -> list[object]:
        return [entry.values["x"] for entry in wire.ledger.entries()]

    wire.server.wire.fail(1, kind)
    wire.writer.write(bytes.fromhex(REQUEST))
    async with asyncio.timeout(5):
        while wire.server.faults.requests < 2 or (KINDS[kind].served and len(served()) < 2):
            await asyncio.sleep(0)
    await wire.connect()
    await wire.ask("00 06 00 00 00 06 07 03 00 09 00 02", 13)
    assert served() == ([0, 2, 9] if KINDS[kind].served else [0, 9])


def test_all_chances_together_are_one_at_most() -> None:
    faults = WireFaults()
    faults.chance(0.5, "late", "twice")
    with pytest.raises(ValueError, match="more faults than answers"):
        faults.chance(0.1, "silence")
    with pytest.raises(ValueError, match="no fault is called 'lost', only silence, half-open"):
        faults.chance(0.1, "lost")
    with pytest.raises(ValueError, match="no fault is called"):
        faults.fail(1, "lost")


def test_the_same_seed_draws_the_same_faults() -> None:
    def drawn(seed: int) -> list[str | None]:
        faults = WireFaults(seed)
        faults.chance(0.2, "late", "twice", "short")
        return [faults.draw() for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 350 < drawn(1).count(None) < 450


def test_kinds_without_transaction_ids() -> None:
    assert set(kinds(MBAP)) - set(kinds(RTU)) == {"late-newest-id", "late-id-zero", "id-zero", "id-wrong"}
    assert set(kinds(RTU)) - set(kinds(MBAP)) == {"late-overtaken"}
    assert kinds(RTU) == kinds(ASCII)


# --- serial lines ------------------------------------------------------------------------------------------------------


def rtu(text: str) -> str:
    body = bytes.fromhex(text)
    return (body + crc(body).to_bytes(2, "little")).hex(" ")


@pytest.fixture
async def line() -> AsyncIterator[Wire]:
    line = Wire(RTU)
    await line.server.listen()
    await line.connect()
    yield line
    line.writer.close()
    await line.server.stop()


async def test_a_late_answer_reaches_whoever_is_connected_by_then(line: Wire) -> None:
    """A converter passes on what comes on its line."""
    line.server.wire.fail(1, "late")
    line.writer.write(bytes.fromhex(rtu("07 03 00 02 00 02")))
    while not line.server.faults.requests:
        await asyncio.sleep(0)
    line.writer.close()
    await line.writer.wait_closed()
    await line.connect()
    assert await line.got(9) == rtu("07 03 04 73 02 73 03")


@pytest.mark.parametrize("kind", ["late", "late-overtaken"])
async def test_a_device_answers_in_the_order_it_is_asked_and_another_does_not_wait(line: Wire, kind: str) -> None:
    line.server.wire.fail(1, kind)
    for request in ("07 03 00 02 00 01", "07 04 00 02 00 01", "08 03 00 02 00 01"):
        line.writer.write(bytes.fromhex(rtu(request)))
        await line.writer.drain()
    first, second, third = (rtu(text) for text in ("07 03 02 73 02", "07 04 02 74 02", "08 03 02 83 02"))
    expected = [third, first, second] if kind == "late" else [second, third, first]
    assert [await line.got(7) for _ in range(3)] == expected


async def test_a_serial_line_is_dead_for_a_while(line: Wire) -> None:
    line.server.wire.fail(1, "half-open")
    line.server.wire.spell = 2
    for _ in range(3):
        line.writer.write(bytes.fromhex(rtu("07 03 00 02 00 02")))
        await line.writer.drain()
    assert await line.ask(rtu("08 03 00 02 00 01"), 7) == rtu("08 03 02 83 02")


@pytest.mark.parametrize("framing", [RTU, ASCII], ids=["rtu", "ascii"])
async def test_flipped_bits_on_a_serial_line_are_seen_by_its_checksum(framing: Framing) -> None:
    wire = Wire(framing)
    await wire.server.listen()
    await wire.connect()
    request = framing.encode(Frame(0, 7, bytes.fromhex("03 0002 0002")))
    right = framing.encode(Frame(0, 7, bytes.fromhex("03 04 7302 7303")))
    for _ in range(300):
        wire.server.wire.fail(1, "corrupted")
        data = bytes.fromhex(await wire.ask(request.hex(), len(right)))
        assert framing is RTU or data.upper() != right.upper()
        assert sum((a ^ b).bit_count() for a, b in zip(data, right, strict=True)) in (1, 2, 3)
    wire.writer.close()
    await wire.server.stop()
