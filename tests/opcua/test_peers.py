"""The same things at servers on three libraries: node-opcua (JavaScript), asyncua (Python), open62541 (C)."""

import asyncio
import math
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from adapters.opcua import adapter as adapter_module
from gateway.errors import NotConnectedError
from gateway.model import BAD, GOOD, NODE_UNKNOWN, SENSOR_FAILURE
from opcua.helpers import Reader
from parts.asyncua_server import AsyncuaServer
from parts.cnc import Cnc
from parts.node_opcua import NodeOpcua
from parts.open62541 import Open62541
from parts.process import wait_until

PEERS: dict[str, type[Cnc]] = {"node-opcua": NodeOpcua, "asyncua": AsyncuaServer, "open62541": Open62541}
ALL = {
    name: f"m:s=CNC1.{name}"
    for name in (
        "SpindleSpeed", "CoolantTemperature", "PartCount", "Program", "DoorOpen", "Mode", "Int64Min", "Int64Max",
        "UInt64Max", "Broken", "Doubtful", "LastService", "SerialNumber",
    )
}  # fmt: skip
SPEED = {"speed": "m:s=CNC1.SpindleSpeed"}


@pytest.fixture(
    scope="module", params=["node-opcua", "asyncua", pytest.param("open62541", marks=pytest.mark.open62541)]
)
def peer(request: pytest.FixtureRequest) -> Iterator[Cnc]:
    """Ticks when it is told. A test leaves it as it was, though it may have been restarted."""
    with PEERS[request.param](tick_ms=0) as server:
        yield server


async def test_values_types_and_times(peer: Cnc) -> None:
    async with Reader(peer.url, ALL) as it:
        await it.read()
        assert {name: it.values(name) for name in ALL} == {
            "SpindleSpeed": [0.0],
            "CoolantTemperature": [21.5],
            "PartCount": [0],
            "Program": ['O1234 "façade" №5'],
            "DoorOpen": [False],
            "Mode": [3],
            "Int64Min": [-(2**63)],
            "Int64Max": [2**63 - 1],
            "UInt64Max": [2**64 - 1],
            "Broken": [None],
            "Doubtful": [17.5],
            "LastService": ["2024-02-29T06:30:00.250000Z"],
            "SerialNumber": ["SN-4711"],
        }
        assert it.types == {
            **dict.fromkeys(("SpindleSpeed", "CoolantTemperature", "Broken", "Doubtful"), "float"),
            **dict.fromkeys(("PartCount", "Mode", "Int64Min", "Int64Max", "UInt64Max"), "int"),
            **dict.fromkeys(("Program", "LastService", "SerialNumber"), "string"),
            "DoorOpen": "bool",
        }
        assert it.last("Broken")[2] == SENSOR_FAILURE
        assert it.last("Doubtful")[2] == 0x40900000
        made = datetime(2004, 5, 6, 7, 8, 9, 125_000, tzinfo=UTC)
        assert it.last("SerialNumber")[0] == int(made.timestamp() * 1000) * 1_000_000
        assert peer.sessions() == 1
    wait_until(lambda: (peer.sessions(), peer.subscriptions()) == (0, 0))


async def test_unit_and_range_from_the_server(peer: Cnc) -> None:
    signals = {
        "speed": {"node": "m:s=CNC1.SpindleSpeed", "unit": "from-server"},
        "temp": {"node": "m:s=CNC1.CoolantTemperature", "unit": "from-server"},
    }
    async with Reader(peer.url, signals) as it:
        (header,) = it.adapter.headers
        assert [(s.unit, s.low, s.high) for s in header.signals] == [("/min", 0.0, 12000.0), ("Cel", -20.0, 120.0)]


async def test_changes_come_once_in_order_and_exact(peer: Cnc) -> None:
    signals = {"doubt": "m:s=CNC1.Doubtful", "big": "m:s=CNC1.UInt64Max"}
    async with Reader(peer.url, signals) as it:
        await it.read()
        for n in range(6):
            peer.set("s=CNC1.Doubtful", n + 0.25)
            await it.until(lambda n=n: it.last("doubt")[1] == n + 0.25)
        peer.set("s=CNC1.UInt64Max", 2**63 + 1)
        await it.until(lambda: it.last("big")[1] == 2**63 + 1)
        assert it.values("doubt") == [17.5, *(n + 0.25 for n in range(6))]
        assert it.values("big") == [2**64 - 1, 2**63 + 1]
        peer.set("s=CNC1.Doubtful", 17.5, status="UncertainLastUsableValue")
        peer.set("s=CNC1.UInt64Max", 2**64 - 1)


async def test_bad_comes_on_the_change_and_without_a_value(peer: Cnc) -> None:
    async with Reader(peer.url, {"door": "m:s=CNC1.DoorOpen"}) as it:
        await it.read()
        peer.set("s=CNC1.DoorOpen", status="BadNoCommunication")
        await it.until(lambda: it.last("door")[2] >= BAD)
        peer.set("s=CNC1.DoorOpen", False)
        await it.until(lambda: it.last("door")[2] == GOOD)
        assert [(v, q) for _, v, q in it.got["door"]] == [(False, GOOD), (None, 0x80310000), (False, GOOD)]


async def test_a_missing_node_comes_and_goes_and_the_rest_goes_on(peer: Cnc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    signals = {"speed": "m:s=CNC1.SpindleSpeed", "late": {"node": 'm:s="DB1"."Temp 0"', "type": "float"}}
    async with Reader(peer.url, signals) as it:
        await it.read()
        assert it.last("late")[1:] == (None, NODE_UNKNOWN)
        peer.add('s="DB1"."Temp 0"', "Double", 1.5)
        await it.until(lambda: it.last("late")[1] == 1.5)
        peer.set('s="DB1"."Temp 0"', 2.5)
        await it.until(lambda: it.last("late")[1] == 2.5)
        peer.remove('s="DB1"."Temp 0"')
        before = len(it.got["speed"])
        peer.tick()
        await it.until(lambda: len(it.got["speed"]) > before)
        assert math.isfinite(it.last("speed")[1])  # type: ignore[arg-type]


async def test_a_session_that_is_killed(peer: Cnc) -> None:
    async with Reader(peer.url, SPEED) as it:
        await it.read()
        peer.kill_sessions()
        assert "cnc 127.0.0.1" in await it.lost()
        await it.reconnect()
        seen = len(it.got["speed"])
        peer.tick()
        await it.until(lambda: len(it.got["speed"]) > seen)
        wait_until(lambda: peer.sessions() == 1)


async def test_a_restart_in_the_middle(peer: Cnc) -> None:
    """It says good-bye, or does not; comes back with other indexes; and the right node is read."""
    async with Reader(peer.url, SPEED) as it:
        await it.read()
        for stop in (peer.stop, peer.kill):
            await asyncio.to_thread(stop)
            assert "cnc 127.0.0.1" in await it.lost()
            with pytest.raises(NotConnectedError, match="refused"):
                await it.adapter.connect()
            peer.namespaces = ["urn:shop:robot"] if stop == peer.kill else []
            await asyncio.to_thread(peer.start)
            await it.reconnect()
            await it.until(lambda: it.last("speed")[1] == 0.0)
            peer.tick()
            await it.until(lambda: it.last("speed")[1] == 0.25)
            assert -1.0 not in it.values("speed")
            assert peer.sessions() == 1
    wait_until(lambda: peer.sessions() == 0)
