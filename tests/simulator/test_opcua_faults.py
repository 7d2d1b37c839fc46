"""What the faults of a scenario are to an OPC UA client: our adapter, or asyncua's, over loopback. Each has its control."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from asyncua import Client, ua

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from gateway.config import Protocol, load
from gateway.model import GOOD
from opcua.helpers import Reader
from simulators.behaviour.scenario import read_scenario
from simulators.ledger import Ledger
from simulators.plant import Plant, simulate

CONFIG = """
gateway: {{id: test, data_dir: data}}
connections:
  cnc: {{protocol: opcua, url: "opc.tcp://127.0.0.1:4840/plant", {security}}}
machines:
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      speed: {{node: "m:s=Speed", sampling: 50ms}}
      parts: {{node: "m:s=Parts", kind: counter, sampling: 50ms}}
      program: {{node: "m:s=Program", type: string}}
"""
SCENARIO = """
machines:
  lathe:
    signals:
      speed: {wave: sine, mean: 2000, amplitude: 100, period: 5s, noise: 5, hold: 50ms}
      parts: {wave: counter, period: 100ms, first: 1000}
      program: O1042 FLANGE
"""
SIGNALS: dict[str, Any] = {
    "speed": {"node": "m:s=Speed", "sampling": "50ms"},
    "parts": {"node": "m:s=Parts", "kind": "counter", "sampling": "50ms", "queue": 100},
    "program": {"node": "m:s=Program", "type": "string"},
}
MACHINE = {"namespaces": {"m": "urn:shop:cnc"}}
Start = Callable[..., AbstractAsyncContextManager[Plant]]
Run = Callable[[Coroutine[Any, Any, None]], None]
# The command line runs on uvloop, which refuses to write to a connection that is lost where asyncio is silent.
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(*faults: str, security: str = "security: None", **more: Any) -> AsyncIterator[Plant]:
        (tmp_path / "gateway.yaml").write_text(CONFIG.format(security=security))
        listed = "".join(f"  - {{{fault}}}\n" for fault in faults)
        (tmp_path / "scenario.yaml").write_text(SCENARIO + (f"faults:\n{listed}" if faults else ""))
        plan = load(tmp_path / "gateway.yaml", {"opcua": Protocol("opcua", OpcuaConnection, OpcuaMachine)})
        scenario = read_scenario(tmp_path / "scenario.yaml")
        async with simulate(plan, scenario, Ledger.memory(), 0, **more) as plant:
            yield plant

    return started


def url(plant: Plant) -> str:
    return f"opc.tcp://127.0.0.1:{plant.ports['cnc']}/plant"


def reader(plant: Plant, **connection: Any) -> Reader:
    return Reader(url(plant), SIGNALS, MACHINE, **connection)


async def until(condition: Callable[[], object], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


async def refused(call: Awaitable[Any]) -> str:
    """The name of the status that a service answers."""
    with pytest.raises(ua.UaStatusCodeError) as caught:
        await call
    return type(caught.value).__name__


async def test_the_control_without_faults_it_goes_on(start: Start) -> None:
    async with start() as plant, reader(plant) as it:
        await it.until(lambda: len(it.got["parts"]) > 10)
        assert {quality for column in it.got.values() for _, _, quality in column} == {GOOD}
        assert not plant.happened


async def test_a_status_for_a_while(start: Start) -> None:
    bad = 0x808C0000  # BadSensorFailure: Part 6, Annex A
    async with start("fault: status, code: BadSensorFailure, signals: [speed], at: 1s, for: 1s") as plant:
        async with reader(plant) as it:
            await it.until(lambda: it.got["speed"] and it.last("speed")[1:] == (None, bad))
            await it.until(lambda: it.last("speed")[2] == GOOD)
            assert {quality for _, _, quality in it.got["parts"]} == {GOOD}
        served = [e.quality.get("speed", GOOD) for e in plant.ledger.entries() if "speed" in e.values]
        assert {GOOD, bad} == set(served)
        assert plant.happened == {"status": 1}


async def test_a_node_vanishes_and_comes_back(start: Start) -> None:
    unknown = 0x80340000  # BadNodeIdUnknown
    async with start("fault: vanish, signals: [lathe/speed], at: 1s, for: 1500ms") as plant:
        async with reader(plant) as it:
            await it.until(lambda: it.got["speed"] and it.last("speed")[1:] == (None, unknown))
            async with Client(url(plant)) as client:
                index = await client.get_namespace_index("urn:shop:cnc")
                node = client.get_node(ua.NodeId("Speed", index))
                assert await refused(node.read_value()) == "BadNodeIdUnknown"
                folder = await client.get_node(ua.NodeId("Program", index)).get_parent()
                names = [(await child.read_browse_name()).Name for child in await folder.get_children()]
                assert "speed" not in names
                # One that is subscribed to meanwhile is refused, and one that is let go does no harm.
                subscription = await client.create_subscription(100, object())
                assert await refused(subscription.subscribe_data_change(node)) == "BadNodeIdUnknown"
                await it.until(lambda: it.last("speed")[2] == GOOD)
                assert isinstance(await node.read_value(), float)
                assert "speed" in [(await child.read_browse_name()).Name for child in await folder.get_children()]
            assert {quality for _, _, quality in it.got["parts"]} == {GOOD}
        assert plant.happened == {"vanish": 1}


async def test_a_subscriber_leaves_while_the_node_is_gone(start: Start) -> None:
    async with start("fault: vanish, signals: [speed], at: 1s, for: 1s") as plant:
        async with reader(plant) as it:
            await it.until(lambda: it.got["speed"] and it.last("speed")[2] != GOOD)
        async with Client(url(plant)) as client:
            index = await client.get_namespace_index("urn:shop:cnc")
            node = client.get_node(ua.NodeId("Speed", index))
            assert await refused(node.read_value()) == "BadNodeIdUnknown"
            await until(lambda: (plant.start + 2.1e9) < time.time_ns())
            assert isinstance(await node.read_value(), float)


async def test_a_clock_that_is_an_hour_ahead_for_a_while(start: Start) -> None:
    async with start("fault: clock-jump, by: 1h, at: 3s, for: 1s") as plant, reader(plant) as it:
        await it.until(
            lambda: (
                it.got["parts"]
                and it.last("parts")[0] < plant.start + 60 * 10**9 < max(t for t, _, _ in it.got["parts"])
            )
        )
        stamps = [time for time, _, _ in it.got["parts"]]
        ahead = [time for time in stamps if time > plant.start + 3000 * 10**9]
        assert 3 < len(ahead) < len(stamps)
        assert plant.start + 3603 * 10**9 <= ahead[0] < plant.start + 3604 * 10**9
        assert stamps[-1] < plant.start + 60 * 10**9
        served = {entry.time_ns for entry in plant.ledger.entries()}
        assert set(stamps) <= served, "the ledger has the stamps that were served"
        assert plant.happened == {"clock-jump": 1}


@LOOPS
def test_connections_are_cut_at_a_time(start: Start, run: Run) -> None:
    """The session goes on, and with it the subscription: what is counted meanwhile is told afterwards."""

    async def cut() -> None:
        async with start("fault: drop, at: 3s") as plant, reader(plant) as it:
            await it.until(lambda: len(it.got["parts"]) > 3)
            await it.lost()
            # A few publishing intervals pass, for which there are requests but no connection.
            served = len(list(plant.ledger.entries()))
            await until(lambda: len(list(plant.ledger.entries())) > served + 6)
            await it.reconnect()
            await it.until(lambda: it.last("parts")[0] > plant.start + 5 * 10**9)
            assert gapless(plant, it)
            assert plant.happened == {"drop": 1}

    run(cut())


@LOOPS
def test_unreachable_and_the_session_is_still_there(start: Start, run: Run) -> None:
    async def away() -> None:
        async with start("fault: unreachable, at: 3s, for: 1s") as plant, reader(plant) as it:
            await it.until(lambda: len(it.got["parts"]) > 3)
            await it.lost()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", plant.ports["cnc"])
            await it.reconnect()
            await it.until(lambda: it.last("parts")[0] > plant.start + 5 * 10**9)
            assert gapless(plant, it), "what was queued meanwhile is there as well"
            assert plant.happened == {"unreachable": 1}

    run(away())


def gapless(plant: Plant, it: Reader) -> bool:
    """Of what was served, nothing is missing between the first part that was counted and the last."""
    told = {row[0]: row[1] for row in it.past["parts"] + it.got["parts"]}
    served = {entry.time_ns: entry.values["parts"] for entry in plant.ledger.entries() if "parts" in entry.values}
    return told == {time: value for time, value in served.items() if min(told) <= time <= max(told)}


async def test_a_reboot_forgets_sessions_and_counts(start: Start) -> None:
    faults = "fault: reboot, at: 3s, for: 1s, sets: {program: O1043 RING}"
    async with start(faults) as plant, reader(plant) as it:
        await it.until(lambda: len(it.got["parts"]) > 3)
        assert it.values("parts")[0] >= 1000  # type: ignore[operator]
        await it.lost()
        await it.reconnect()
        for column in it.got.values():
            column.clear()
        await it.until(lambda: len(it.got["parts"]) > 5)
        assert it.values("parts")[-1] < 100  # type: ignore[operator]
        assert it.last("program")[1:] == ("O1043 RING", GOOD)
        off = [e.time_ns for e in plant.ledger.entries() if 3.3e9 < e.time_ns - plant.start < 3.7e9]
        assert not off, "a machine that is off says nothing"
        assert plant.happened == {"reboot": 1}


async def test_other_namespace_indexes(start: Start) -> None:
    async def index(plant: Plant) -> int:
        async with Client(url(plant)) as client:
            return await client.get_namespace_index("urn:shop:cnc")

    async with start("fault: namespace-change, by: 2, at: 2s, for: 100ms") as plant, reader(plant) as it:
        before = await index(plant)
        await it.until(lambda: len(it.got["parts"]) > 3)
        await it.lost()
        await it.reconnect()
        for column in it.got.values():
            column.clear()
        await it.until(lambda: len(it.got["parts"]) > 5)
        assert await index(plant) == before + 2
        counted = it.values("parts")
        assert counted[0] > 1000, "the counters go on"  # type: ignore[operator]
        assert it.last("program")[1] == "O1042 FLANGE"
        assert plant.happened == {"namespace-change": 1}


async def test_another_certificate(start: Start) -> None:
    async def certificate(plant: Plant) -> bytes:
        endpoints = await Client(url(plant)).connect_and_get_server_endpoints()
        return bytes(endpoints[0].ServerCertificate)

    secure = "security: Basic256Sha256/SignAndEncrypt"
    async with start("fault: certificate-change, at: 2s", security=secure) as plant:
        first = await certificate(plant)
        assert await certificate(plant) == first, "the control"
        found = first

        async def changed() -> bytes:
            while True:
                try:
                    return await certificate(plant)
                except OSError:
                    await asyncio.sleep(0.05)

        async with asyncio.timeout(15):
            while found == first:
                found = await changed()
        assert plant.happened == {"certificate-change": 1}


async def test_limits_come_and_go(start: Start) -> None:
    limits = (
        "max_nodes_per_read: 2, max_nodes_per_browse: 1, max_nodes_per_translate: 1, max_monitored_items_per_call: 2, "
        "max_monitored_items: 1, max_subscriptions: 2, max_sessions: 1"
    )
    faults = f"fault: limit, at: 2s, for: 3s, {limits}"
    async with start(faults) as plant, Client(url(plant)) as client:
        index = await client.get_namespace_index("urn:shop:cnc")
        nodes = [client.get_node(ua.NodeId(name, index)) for name in ("Speed", "Parts", "Program")]
        browse = ua.BrowseParameters(NodesToBrowse=[ua.BrowseDescription(NodeId=node.nodeid) for node in nodes])
        subscription = await client.create_subscription(1000, object())

        async def everything() -> None:
            await client.read_values(nodes)
            await client.uaclient.browse(browse)
            await client.translate_browsepaths(client.nodes.objects.nodeid, ["0:Server", "0:Types"])
            handles = await subscription.subscribe_data_change(nodes)
            await subscription.unsubscribe(handles)

        await everything()
        await until(lambda: plant.happened)
        assert await refused(client.read_values(nodes)) == "BadTooManyOperations"
        assert len(await client.read_values(nodes[:2])) == 2
        assert await refused(client.uaclient.browse(browse)) == "BadTooManyOperations"
        asked = client.translate_browsepaths(client.nodes.objects.nodeid, ["0:Server", "0:Types"])
        assert await refused(asked) == "BadTooManyOperations"
        assert await refused(subscription.subscribe_data_change(nodes)) == "BadTooManyOperations"
        _, second = await subscription.subscribe_data_change(nodes[:2])
        assert second.name == "BadTooManyMonitoredItems"
        another = await client.create_subscription(1000, object())
        assert await refused(client.create_subscription(1000, object())) == "BadTooManySubscriptions"
        await another.delete()
        assert await refused(Client(url(plant)).connect()) == "BadTooManySessions"
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.read_values(nodes)
                    break
                except ua.UaStatusCodeError:
                    await asyncio.sleep(0.1)
        await everything()
        assert plant.happened == {"limit": 1}


@pytest.mark.parametrize("fault", ["drop", "half-open", "silence"])
async def test_a_request_is_not_answered(start: Start, fault: str) -> None:
    async with start(f"fault: {fault}, request: 12") as plant:
        answers: list[Any] = []

        async def read_on() -> None:
            async with Client(url(plant), timeout=1) as client:
                while len(answers) < 30:
                    answers.append(await client.nodes.server_state.read_value())

        with pytest.raises((ConnectionError, TimeoutError, ua.UaError)):
            await read_on()
        assert 0 < len(answers) < 12, "before it others were answered"
        assert plant.happened == {fault: 1}
        async with Client(url(plant)) as again:
            assert await again.nodes.server_state.read_value() == 0


async def test_answers_take_longer_for_a_while(start: Start) -> None:
    async with start("fault: late, by: 300ms, at: 1s, for: 2s") as plant, Client(url(plant)) as client:
        loop = asyncio.get_running_loop()

        async def took() -> float:
            began = loop.time()
            await client.nodes.server_state.read_value()
            return loop.time() - began

        assert await took() < 0.2
        async with asyncio.timeout(10):
            while await took() < 0.3:
                await asyncio.sleep(0.05)
            while await took() >= 0.3:
                await asyncio.sleep(0.05)
        assert plant.happened["late"] >= 1


async def test_a_shift_in_fast_motion_that_began_before(start: Start) -> None:
    """From 100 s on, 50 times as fast: the reboot at 50 s is over, the one at 150 s comes after a second."""
    faults = ("fault: reboot, at: 50s, for: 10s", "fault: reboot, at: 150s, for: 20s")
    reports: list[str] = []
    async with start(*faults, speed=50, start_at=100, report=reports.append) as plant, reader(plant) as it:
        # Reset at 60 s: at 100 s there were 400 more.
        await it.until(lambda: it.got["parts"])
        assert 400 <= it.values("parts")[0] < 900  # type: ignore[operator]
        await it.lost()
        await it.reconnect()
        for column in it.got.values():
            column.clear()
        await it.until(lambda: it.got["parts"])
        assert plant.happened == {"reboot": 1}
        assert reports == ["cnc: reboot"]
