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


async def test_what_changed_between_the_first_values_and_the_items_is_fetched(cnc: NodeOpcua) -> None:
    """Both take their time where there are many: whoever listens does so from the end of it."""
    async with Reader(cnc.url, SPEED) as it:
        await it.read()
        cnc.kill_sessions()
        await it.lost()
        cnc.set("s=CNC1.SpindleSpeed", 9)
        with cnc.misbehaving(slow={"CreateMonitoredItemsRequest": 1000}):
            connecting = asyncio.create_task(it.reconnect())
            before = cnc.seen()["CreateMonitoredItemsRequest"]
            while cnc.seen()["CreateMonitoredItemsRequest"] == before:
                await asyncio.sleep(0.01)
            now = datetime.now(UTC)
            for n in range(10, 15):
                cnc.set("s=CNC1.SpindleSpeed", n, time=now + timedelta(milliseconds=n))
            await connecting
        await it.until(lambda: 14.0 in it.values("speed"))
        await it.until(lambda: len(it.past["speed"]) >= 4)
        assert it.values("speed")[-1] == 14.0
        assert {10.0, 11.0, 12.0, 13.0} <= {value for _, value, _ in it.past["speed"]}
        assert not it.gaps
