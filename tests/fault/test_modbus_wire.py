"""Whatever goes wrong on the wire, no wrong value: ten thousand faulty exchanges on each kind of link.

Every register holds a mixture of its unit, table, address and the number of the request it was asked by. A value of
another register, another unit or an earlier request is another value, so what a link takes for an answer is right only if
it is what the server had computed for exactly that request. And what goes wrong has to be counted by the link.

The control is pymodbus alone in the same scenario: it takes wrong values, fault by fault, where FOOLED says so.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from adapters.modbus.connections import (
    ModbusAscii,
    ModbusConnection,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusUdp,
)
from adapters.modbus.link import Answer, Link, Request
from adapters.modbus.links import link_of
from gateway.clock import SystemClock
from gateway.errors import NotConnectedError
from simulators.ledger import Ledger
from simulators.modbus import ModbusServer, kinds
from simulators.modbus import Request as Asked
from simulators.modbus.framing import ASCII, MBAP, RTU, Framing
from simulators.modbus.server import Transport
from simulators.modbus.transports import SerialTransport, TcpTransport, UdpTransport

TIMEOUT = 0.04
LATE = (1.25, 6.0)  # timeouts until a late answer
EACH, MIXED = 200, 10_000  # faults of each kind alone, and of all kinds mixed
PARALLEL = 20  # links at a time, each with a server of its own
FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
UNITS = (1, 2, 3)
END = 1000  # of each table: exception 2 beyond


# --- registers that tell who they are ---------------------------------------------------------------------------------


def truth(unit: int, function: int, address: int, size: int, number: int) -> bytes:
    """The data of the answer to request `number`."""
    seed = zlib.crc32(struct.pack(">BBI", unit, function, number))
    if function <= 2:
        size = (size + 7) // 8
        return b"".join(zlib.crc32(struct.pack(">H", address + i), seed).to_bytes(4, "big")[3:] for i in range(size))
    return b"".join(zlib.crc32(struct.pack(">H", address + i), seed).to_bytes(4, "big")[2:] for i in range(size))


@dataclass
class Device:
    """The units behind a server, and every request that came."""

    asked: list[Asked] = field(default_factory=list)

    def note(self, request: Asked) -> None:
        self.asked.append(request)

    def truth(self, number: int) -> bytes | None:
        """What the answer to that request is; None where it is exception 2."""
        unit, function, address, size = self.asked[number]
        return truth(unit, function, address, size, number) if address + size <= END else None

    def origin(self, data: bytes | None) -> str:
        """Whose answer it is, for people."""
        for number in reversed(range(len(self.asked))):
            whole = self.truth(number)
            if data and whole and (whole.startswith(data) or data.startswith(whole)):
                return f"this is the answer to {self.asked[number]}, {len(self.asked) - number - 1} requests ago"
        return "nobody's answer"


class Unit:
    def __init__(self, device: Device, number: int) -> None:
        self.device, self.number = device, number

    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, list[Any]] | None:
        if address + count > END:
            return None
        return truth(self.number, function, address, count, len(self.device.asked) - 1), []


def questions(random: Random) -> list[Request]:
    """Some requests: often all of one shape, at times beyond the end, at times as large as can be."""
    if random.random() < 0.5:
        return [Request(1, "holding", random.randrange(500), 2) for _ in range(random.randint(1, 3))]
    found = []
    for _ in range(random.randint(1, 3)):
        table = random.choice(("coil", "discrete", "holding", "input"))
        size = random.choice((1, 2, 3, 10, 125)) if table in ("holding", "input") else random.choice((16, 40, 2000))
        address = random.randrange(500) if size < 1000 else 0
        if random.random() < 0.05 or size > END:
            address, size = 5000, min(size, 10)
        found.append(Request(random.choice(UNITS), table, address, size))
    return found


def wrong(device: Device, since: int, requests: Sequence[Request], answers: Sequence[Answer]) -> list[str]:
    """The answers that are not what the device had for those requests, which it was asked from `since` on."""
    found, at = [], since
    for request, answer in zip(requests, answers, strict=False):
        if answer.trouble:
            break
        what = Asked(request.unit, FUNCTIONS[request.table], request.address, request.size)
        data = answer.data
        for number in range(at, len(device.asked)):
            if device.asked[number] == what and device.truth(number) == data and answer.code == (0 if data else 2):
                at = number + 1
                break
        else:
            found.append(f"{request}: {answer}\n  {device.origin(data)}\n  asked for since: {device.asked[since:]}")
    return found


# --- links ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A transport: the server's side and the connection to it."""

    framing: Framing
    transport: Callable[[], Transport]
    connection: Callable[..., ModbusConnection]
    more: dict[str, Any] = field(default_factory=dict)

    def settings(self, server: ModbusServer) -> ModbusConnection:
        fields = self.connection.model_fields  # type: ignore[attr-defined]
        address = {key: value for key, value in server.address.items() if key in fields}
        return self.connection(
            protocol=fields["protocol"].examples[0], timeout=f"{TIMEOUT * 1000:g}ms", **address, **self.more
        )


def tcp(framing: Framing) -> Callable[[], Transport]:
    return lambda: TcpTransport("127.0.0.1", 0, framing)


WAYS = {
    "tcp": Way(MBAP, tcp(MBAP), ModbusTcp),
    "rtu": Way(RTU, lambda: SerialTransport(RTU), ModbusRtu),
    "rtu over tcp": Way(RTU, tcp(RTU), ModbusRtuOverTcp),
    "tcp, four at a time": Way(MBAP, tcp(MBAP), ModbusTcp, {"max_in_flight": 4}),
    "ascii": Way(ASCII, lambda: SerialTransport(ASCII), ModbusAscii),
    "ascii over tcp": Way(ASCII, tcp(ASCII), ModbusAscii),
    "udp": Way(MBAP, lambda: UdpTransport("127.0.0.1", 0), ModbusUdp),
}
MAIN = ("tcp", "rtu", "rtu over tcp")


@asynccontextmanager
async def faulty(way: Way, seed: int, names: Sequence[str], share: float) -> AsyncIterator[tuple[ModbusServer, Device]]:
    """A server of which that share of the answers goes wrong."""
    device = Device()
    units = {unit: Unit(device, unit) for unit in UNITS}
    server = ModbusServer(units, Ledger(), SystemClock(), 0, way.transport())
    server.faults.hook = device.note
    server.wire.seed = seed
    server.wire.__post_init__()
    server.wire.chance(share / len(names), *names)
    await server.listen()
    try:
        yield server, device
    finally:
        await server.stop()


@dataclass
class Result:
    wrong: list[str] = field(default_factory=list)
    right: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)


async def drive(
    way: Way, seed: int, names: Sequence[str], share: float, faults: int, result: Result, pause: float
) -> None:
    """Ask until so many answers went wrong; after trouble the link is opened again."""
    random = Random(seed)
    async with faulty(way, seed, names, share) as (server, device):
        link: Link = link_of(way.settings(server), Path())
        while server.injected.total() < faults:
            server.wire.late = TIMEOUT * random.uniform(*LATE)
            server.faults.delay = random.choice((0.0, 0.002))
            if not link.connected:
                with suppress(NotConnectedError):
                    await link.open()
            requests, since = questions(random), len(device.asked)
            answers = await link.exchange(requests, pause)
            assert len(answers) == len(requests) or answers[-1].trouble
            result.wrong += [
                f"not one of data, code and trouble: {a}"
                for a in answers
                if (a.data is not None) + bool(a.code) + bool(a.trouble) != 1
            ]
            result.wrong += wrong(device, since, requests, answers)
            result.right += sum(not a.trouble for a in answers)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while link.faults.total() < noticeable(server.injected):
                    await asyncio.sleep(0.001)
        link.close()
        result.injected += server.injected
        result.noticed += link.faults


async def all_of(way: Way, names: Sequence[str], share: float, faults: int, pause: float = 0.0) -> Result:
    result = Result()
    async with asyncio.TaskGroup() as group:
        for seed in range(PARALLEL):
            group.create_task(drive(way, seed, names, share, -(-faults // PARALLEL), result, pause))
    return result


def noticeable(injected: Counter[str]) -> int:
    """A frame that comes in pieces, but in time, is in order."""
    return injected.total() - injected["trickled"]


# --- never a wrong value ------------------------------------------------------------------------------------------------

# What nothing in an answer tells, so that only the order of things could.
BEYOND = {
    "late-overtaken": "without transaction ids, that a unit does not answer in the order it was asked",
    "twice-later": "without transaction ids, that the answer before comes once more, and the right one only then",
    "truncated": "that an answer was filled up with the beginning of the next, where several are on their way",
}


def faults_of(name: str) -> list[str]:
    beyond = {"truncated"} if "four" in name else {"late-overtaken", "twice-later"}
    return [kind for kind in kinds(WAYS[name].framing) if name in ("tcp", "udp") or kind not in beyond]


IN_TURN = [(name, kind) for name in MAIN for kind in faults_of(name)]


# How a link counts them, where that is one thing only; where a busy computer sees the late answer together with the end
# of the timeout, one of two.
COUNTED_AS = {
    "tcp": {
        **dict.fromkeys(("silence", "half-open", "late", "late-newest-id", "swapped"), ("no answer",)),
        "late-id-zero": ("no answer", "wrong transaction"),
        **dict.fromkeys(("stalled", "truncated"), ("half an answer",)),
        **dict.fromkeys(("twice", "glued-old-last", "noise-after"), ("duplicate",)),
        **dict.fromkeys(("twice-later", "glued-old-first", "id-zero", "id-wrong"), ("wrong transaction",)),
        "noise-before": ("not Modbus",),
        "unit-wrong": ("wrong unit",),
        "function-wrong": ("wrong function",),
        **dict.fromkeys(("short", "long"), ("wrong size",)),
    },
    "rtu": {
        **dict.fromkeys(("silence", "half-open", "swapped"), ("no answer",)),
        "truncated": ("half an answer",),
        "twice": ("duplicate",),
    },
}


@pytest.mark.parametrize(("name", "kind"), IN_TURN, ids=[f"{kind}-{name}" for name, kind in IN_TURN])
async def test_each_fault(name: str, kind: str) -> None:
    result = await all_of(WAYS[name], [kind], 0.5, EACH)
    assert result.injected[kind] >= EACH
    assert not result.wrong, f"{len(result.wrong)} wrong, the first: {result.wrong[0]}"
    assert result.right > EACH / 4
    assert result.noticed.total() >= noticeable(result.injected)
    if counted_as := COUNTED_AS[name.partition(" ")[0]].get(kind):
        noticed = sum(result.noticed[name] for name in counted_as)
        assert noticed > 0.95 * result.injected[kind]  # random bytes may look like anything


@pytest.mark.parametrize("name", WAYS)
async def test_all_faults_mixed(name: str) -> None:
    way = WAYS[name]
    names = faults_of(name)
    result = await all_of(way, names, 0.8, (MIXED - EACH * len(names)) if name in MAIN else 1000)
    assert not result.wrong, f"{len(result.wrong)} wrong, the first: {result.wrong[0]}"
    assert set(result.injected) == set(names)
    assert result.right > result.injected.total() / 20
    if name != "tcp, four at a time":  # there one fault closes the link under all of them
        assert result.noticed.total() >= noticeable(result.injected)


@pytest.mark.parametrize(
    ("name", "kind", "share"),
    [("rtu", "late-overtaken", 0.2), ("rtu", "twice-later", 0.05), ("tcp, four at a time", "truncated", 0.03)],
)
async def test_beyond(name: str, kind: str, share: float) -> None:
    """What nothing tells for certain: the greater part of it is seen all the same."""
    result = await all_of(WAYS[name], [kind], 0.5, EACH, 0.4 * TIMEOUT if kind == "twice-later" else 0.0)
    assert result.injected[kind] >= EACH
    assert len(result.wrong) < share * result.injected[kind], f"nothing tells {BEYOND[kind]}"


# --- what pymodbus alone takes ------------------------------------------------------------------------------------------

READ = {1: "read_coils", 2: "read_discrete_inputs", 3: "read_holding_registers", 4: "read_input_registers"}


FOOLED = {
    "tcp": ("late-newest-id", "late-id-zero", "function-wrong", "short", "long"),
    "rtu": ("late", "late-overtaken", "twice-later", "glued-old-first", "function-wrong", "short", "long"),
}
FOOLED["rtu over tcp"] = FOOLED["rtu"]
CONTROLS = [(name, kind) for name, fooled in FOOLED.items() for kind in fooled]


@pytest.mark.parametrize(("name", "kind"), CONTROLS, ids=[f"{kind}-{name}" for name, kind in CONTROLS])
async def test_pymodbus_alone_takes_wrong_values(name: str, kind: str) -> None:
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    found, right = await alone(name, kind)
    assert found > 10
    assert right > 10


async def alone(name: str, kind: str) -> tuple[int, int]:
    """Wrong and right answers that pymodbus' own client hands over where that fault happens 50 times."""
    random, found, right = Random(1), 0, 0
    async with faulty(WAYS[name], 1, [kind], 0.5) as (server, device):
        address: Any = server.address
        more: dict[str, Any] = {"timeout": TIMEOUT, "retries": 0, "reconnect_delay": 0}
        client: Any = (
            AsyncModbusSerialClient(address["port"], **more)
            if name == "rtu"
            else AsyncModbusTcpClient(
                address["host"], port=address["port"],
                framer=FramerType.RTU if name == "rtu over tcp" else FramerType.SOCKET, **more,
            )
        )  # fmt: skip
        while server.injected[kind] < 50:
            server.wire.late = TIMEOUT * random.uniform(*LATE)
            server.faults.delay = random.choice((0.0, 0.002))
            if not client.connected:
                await client.connect()
            for request in questions(random):
                since, function = len(device.asked), FUNCTIONS[request.table]
                try:
                    got = await getattr(client, READ[function])(
                        request.address, count=request.size, device_id=request.unit
                    )
                except Exception:
                    continue
                if got.isError():
                    answer = Answer(code=got.exception_code)
                elif got.registers:
                    answer = Answer(struct.pack(f">{len(got.registers)}H", *got.registers))
                else:
                    bits = "".join("01"[bit] for bit in reversed(got.bits))
                    answer = Answer(int(bits or "0", 2).to_bytes(len(bits) // 8, "little"))
                found += len(wrong(device, since, [request], [answer]))
                right += 1
        client.close()
    return found, right - found
