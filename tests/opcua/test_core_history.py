"""Whatever a server answers to the question for its past: the connection goes on, and what stays missing is declared."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from adapters.opcua import client as client_module
from adapters.opcua.wire import GarbledError
from opcua.helpers import Reader
from parts.node_opcua import NodeOpcua

SPEED = {"speed": {"node": "m:s=CNC1.SpindleSpeed", "sampling": "50ms"}}
FAULTS = ["BadResponseTooLarge", "BadTooManyOperations", "BadOutOfMemory", "BadResourceUnavailable", "BadTimeout"]


async def missed(it: Reader, cnc: NodeOpcua) -> None:
    """A session that is gone, and something that changed meanwhile."""
    await it.read()
    cnc.kill_sessions()
    await it.lost()
    now = datetime.now(UTC)
    for n in (3, 4):
        cnc.set("s=CNC1.SpindleSpeed", n, time=now + timedelta(milliseconds=n))
    await it.reconnect()


async def lives(it: Reader, cnc: NodeOpcua) -> None:
    """Without another connect()."""
    assert [each for gap in it.gaps for each in gap.signal] == [0]
    assert "history" in it.gaps[0].cause
    cnc.set("s=CNC1.SpindleSpeed", 5)
    await it.until(lambda: it.values("speed")[-1] == 5.0)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_over_history_costs_no_connection(cnc: NodeOpcua, fault: str) -> None:
    with cnc.misbehaving(refuse={"HistoryReadRequest": fault}):
        async with Reader(cnc.url, SPEED) as it:
            await missed(it, cnc)
            await it.until(lambda: it.gaps)
            await lives(it, cnc)


async def test_a_history_that_cannot_be_read_costs_no_connection(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbled(_: bytes) -> None:
        raise GarbledError("a history that ends too early")

    monkeypatch.setattr(client_module.wire, "history_response", garbled)
    async with Reader(cnc.url, SPEED) as it:
        await missed(it, cnc)
        await it.until(lambda: it.gaps)
        await lives(it, cnc)


async def test_a_session_that_is_lost_over_its_history_is_begun_anew(cnc: NodeOpcua) -> None:
    """The control: that is about the session."""
    async with Reader(cnc.url, SPEED) as it:
        with cnc.misbehaving(refuse={"HistoryReadRequest": "BadSessionClosed"}):
            await missed(it, cnc)
            await asyncio.wait_for(it.lost(), 10)
        await it.reconnect()
        await it.until(lambda: 3.0 in [value for _, value, _ in it.past["speed"]])
