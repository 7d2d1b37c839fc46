"""Recorded conversations once more: three PLCs of a plant, a bridge to a serial line that leaves requests unanswered, a writer
of coils, and a sweep through the function codes.

Each file is replayed. Who asks what was asked then, at the time it was asked, gets each recorded answer and nothing else, and
silence for silence.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.modbus.connections import ModbusRtuOverTcp, ModbusTcp
from adapters.modbus.link import Answer, Request
from adapters.modbus.links import link_of
from conftest import SHARED
from flow.compressed import HandClock
from parts.mbpoll import mbpoll
from parts.modbus_serial_client import modbus_serial
from simulators.modbus.replay.server import ReplayedServer
from simulators.replay import replay

pytestmark = pytest.mark.shared

TRACES = SHARED / "traces" / "modbus"
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
SPEED, TIMEOUT = 50, "400ms"  # the slowest recorded answer takes 1129 ms, then 23
START = 1_790_000_000_000_000_000
FILES = [
    (path.name, server)
    for path in sorted(TRACES.glob("*.jsonl"))
    for server in sorted({json.loads(line)["server"] for line in path.read_text().splitlines()})
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that went by."""

    at: float  # seconds
    unit: int
    request: bytes
    answer: bytes | None  # its PDU; None: there was none

    @property
    def question(self) -> Request:
        pdu = self.request
        return Request(self.unit, TABLES[pdu[0]], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big"))


def all_of(path: Path, server: int = 0) -> list[Recorded]:
    """The requests to one server in their order, but for the last ones: whether they were answered nobody knows.

    Nor is it known in the file which of several requests with one transaction id was answered, if one was.
    """
    found = []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    answered = {(line["conn"], line["tid"]) for line in lines if line["resp"]}
    reused = {(line["conn"], line["tid"]) for line in lines if "note" in line} & answered
    for line in lines:
        if line["server"] == server and (line["conn"], line["tid"]) not in reused:
            answer = bytes.fromhex(line["resp"]) if line["resp"] else None
            found.append(Recorded(line["t"], line["unit"], bytes.fromhex(line["req"]), answer))
    found.sort(key=lambda each: each.at)
    return [each for each in found if each.answer is not None or found[-1].at - each.at >= 1]


@asynccontextmanager
async def replayed(path: Path, number: int, **how: Any) -> AsyncIterator[tuple[ReplayedServer, HandClock]]:
    hand = HandClock(START)
    async with replay(path, port_base=0, clock=hand, speed=SPEED, **how) as plant:
        server = list(plant.servers.values())[number]
        assert isinstance(server, ReplayedServer)
        yield server, hand


@pytest.mark.parametrize(("name", "number"), FILES)
async def test_every_request_gets_what_it_got(name: str, number: int) -> None:
    """Writes, diagnoses and exceptions too."""
    recorded = all_of(TRACES / name, number)
    wrong: Counter[int] = Counter()
    async with replayed(TRACES / name, number) as (server, hand):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for i, each in enumerate(recorded, 1):
            hand.move_to(START + round(each.at * 1e9 / SPEED))
            body = bytes((each.unit,)) + each.request
            writer.write(i.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body)
            async with asyncio.timeout(5):
                while server.faults.requests < i:
                    await asyncio.sleep(0)
                if each.answer is None:
                    continue
                head = await reader.readexactly(7)
                data = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
            # A silence that was none would bring the number of another request.
            assert (int.from_bytes(head[:2], "big"), head[6]) == (i, each.unit)
            wrong[i] += data != each.answer
        with pytest.raises(TimeoutError):  # nor does one behind the last of them
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.close()
        assert not server.unexpected
    # The second machine of the sweep was asked twice and kept silent; all others have said at least as much as this.
    assert len(recorded) >= 16 or (number == 1 and [each.answer for each in recorded] == [None])
    assert not +wrong


async def asked(server: ReplayedServer, hand: HandClock, recorded: list[Recorded], protocol: str) -> list[Answer]:
    """What a link makes of the server's answers to the recorded questions."""
    model = ModbusTcp if protocol == "modbus-tcp" else ModbusRtuOverTcp
    link = link_of(model(protocol=protocol, host="127.0.0.1", port=server.port, timeout=TIMEOUT))  # type: ignore[arg-type]
    answers = []
    for each in recorded:
        hand.move_to(START + round(each.at * 1e9 / SPEED))
        if not link.connected:
            await link.open()
        answers += await link.exchange([each.question])
    link.close()
    return answers


@pytest.mark.parametrize(
    ("name", "number", "protocol"),
    [
        ("plant_plcs", 0, "modbus-tcp"),
        ("plant_plcs", 1, "modbus-tcp"),
        ("plant_plcs", 2, "modbus-tcp"),
        ("flow_gateway", 0, "modbus-tcp"),
        ("flow_gateway", 0, "modbus-rtu-over-tcp"),
    ],
)
async def test_a_link_hands_over_what_was_answered(name: str, number: int, protocol: str) -> None:
    """Where answers have no number, the link asks for something else first after one is missing."""
    path = TRACES / f"{name}.jsonl"
    recorded = [each for each in all_of(path, number) if each.request[0] <= 4]
    async with replayed(path, number, protocol=protocol) as (server, hand):
        answers = await asked(server, hand, recorded, protocol)
        assert server.unexpected.total() == 0 if protocol == "modbus-tcp" else server.unexpected.total() < 60
    assert len(answers) == len(recorded)
    for each, answer in zip(recorded, answers, strict=True):
        if each.answer is None:
            assert answer.silent, each
        else:
            assert answer.data == each.answer[2:], (each, answer)
    assert sum(answer.silent for answer in answers) == {"plant_plcs": 0, "flow_gateway": 22}[name]


async def test_clients_that_are_not_ours_read_a_plc() -> None:
    """What the first PLC said of its inputs 2258 and 2259 is in the file: the last two of `resp`."""
    path = TRACES / "plant_plcs.jsonl"
    (first, *_) = (each for each in all_of(path) if each.request.hex() == "0408d20002")
    assert first.answer is not None
    values = [int.from_bytes(first.answer[i : i + 2], "big") for i in (2, 4)]
    async with replayed(path, 0) as (server, _):
        port = server.port
        assert port
        assert await asyncio.to_thread(mbpoll, port, "input", 2258, 2, 255) == dict(enumerate(values, 2258))
        assert await asyncio.to_thread(modbus_serial, port, "input", 2258, 2, 255) == values
        with pytest.raises(RuntimeError, match="modbus-serial: 11"):
            await asyncio.to_thread(modbus_serial, port, "input", 2258, 2, 9)
