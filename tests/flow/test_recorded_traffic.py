"""Recorded conversations once more: three PLCs of a plant, and a bridge to a serial line that leaves requests unanswered.

A link asks what was asked then, in the same order. It has to hand over each recorded answer and nothing else, and take
silence for silence.
"""

from __future__ import annotations

import pytest

from adapters.modbus.connections import ModbusRtuOverTcp, ModbusTcp
from adapters.modbus.link import Answer, Request
from adapters.modbus.links import link_of
from conftest import SHARED
from parts.recording import Recorded, Recording, replayed
from simulators.modbus.framing import MBAP, RTU

pytestmark = pytest.mark.shared

TRACES = SHARED / "traces" / "modbus"
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
SPEED, TIMEOUT = 50, "150ms"  # the slowest recorded answer takes 1129 ms, then 23


def question(recorded: Recorded) -> Request:
    unit, function, address, count = recorded.question
    return Request(unit, TABLES[function], address, count)


async def asked(server: Recording, recorded: list[Recorded], protocol: str) -> list[Answer]:
    """What a link makes of the server's answers to the recorded questions."""
    model = ModbusTcp if protocol == "modbus-tcp" else ModbusRtuOverTcp
    link = link_of(model(protocol=protocol, host="127.0.0.1", port=server.port, timeout=TIMEOUT))
    answers = []
    for each in recorded:
        if not link.connected:
            await link.open()
        answers += await link.exchange([question(each)])
    link.close()
    return answers


def assert_as_recorded(recorded: list[Recorded], answers: list[Answer]) -> None:
    assert len(answers) == len(recorded)
    for each, answer in zip(recorded, answers, strict=True):
        if each.answer is None:
            assert answer.silent, each
        else:
            assert answer.data == each.answer[2:], (each, answer)


@pytest.mark.parametrize("plc", [0, 1, 2])
async def test_the_plcs_of_a_plant(plc: int) -> None:
    recorded = Recorded.all(TRACES / "plant_plcs.jsonl", plc)
    async with replayed(recorded, SPEED) as server:
        assert_as_recorded(recorded, await asked(server, recorded, "modbus-tcp"))
        assert server.unexpected == 0


@pytest.mark.parametrize(("protocol", "framing"), [("modbus-tcp", MBAP), ("modbus-rtu-over-tcp", RTU)])
async def test_a_bridge_with_four_units(protocol: str, framing: object) -> None:
    recorded = Recorded.all(TRACES / "flow_gateway.jsonl")
    assert sum(each.answer is None for each in recorded) == 27
    async with replayed(recorded, SPEED, framing) as server:  # type: ignore[arg-type]
        assert_as_recorded(recorded, await asked(server, recorded, protocol))
        # Where answers have no number, the link asks for something else first after one is missing.
        assert server.unexpected == 0 if framing is MBAP else server.unexpected < 60
