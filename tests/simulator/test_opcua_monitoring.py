"""What OPC UA clients are told of simulated variables; asyncua's client decodes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncua.ua
import pytest
from asyncua.client.client import Client

from gateway.config import load
from gateway.runtime.registry import protocols
from simulators.behaviour.scenario import read_scenario
from simulators.ledger import Ledger, columns
from simulators.opcua.cells import Cell, Moment
from simulators.opcua.monitoring import _overflowed
from simulators.opcua.server import OpcuaServer
from simulators.opcua.shapes import Array, Plain, Shape
from simulators.plant import simulate

ua: Any = asyncua.ua

# Part 6, 5.2.2.5: 100 ns since 1601, which is 0x019DB1DED53E8000 at the beginning of 1970.
STAMP_1970 = "00803ed5deb19d01"


class Told:
    """Listens to an attribute as an item does."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def take(self, change: Cell) -> bool:
        self.encoded.append(change.encoded.hex())
        return False


@pytest.mark.parametrize(
    ("shape", "values", "variant"),
    [
        # Part 6, 5.2.2.16: the number of the built-in type (5.1.2), 128 more for an array, and the value, little-endian.
        (Plain("float"), {(): 1.0}, "0b 000000000000f03f"),
        (Plain("int"), {(): -2}, "08 feffffffffffffff"),
        (Plain("bool"), {(): True}, "01 01"),
        (Plain("string"), {(): "Ä"}, "0c 02000000 c384"),
        (Plain("int", ("off", "on")), {(): 1}, "07 01000000"),
        (Plain(None), {(): -2}, "08 feffffffffffffff"),
        (Array((2,), Plain("float")), {(1,): 1.0}, "8b 02000000 0000000000000000 000000000000f03f"),
    ],
)
async def test_a_data_value_as_the_standard_has_it(shape: Shape, values: dict[Any, Any], variant: str) -> None:
    told = Told()
    cell = Cell(SimpleNamespace(value=None, value_callback=None, datachange_callbacks={1: told}), shape, {})
    await cell.put(values, 0, Moment(0))
    await cell.put(values, 0x408F0000, Moment(1000))
    await cell.put(values, 0x808C0000, Moment(0))
    later = "0a" + STAMP_1970[2:]  # 1 µs = 10 times 100 ns
    # Part 6, 5.2.2.17: 0x0F, as value, status, source and server time stamp are there. Part 4, 7.11: none with a bad status.
    assert told.encoded == [
        _hex(f"0f {variant} 00000000 {STAMP_1970} {STAMP_1970}"),
        _hex(f"0f {variant} 00008f40 {later} {later}"),
        _hex(f"0f 00 00008c80 {STAMP_1970} {STAMP_1970}"),
    ]


def _hex(text: str) -> str:
    return text.replace(" ", "")


# --- with a client -------------------------------------------------------------------------------------------------------

SPEED, MODE = "s=Speed", "s=Mode"
CONFIGURATION = """
connections:
  cnc: {protocol: opcua, url: "opc.tcp://127.0.0.1:4840", security: None}
machines:
  m:
    connection: cnc
    namespaces: {m: "urn:m"}
    signals:
      speed: {node: "m:s=Speed", type: float}
      mode: {node: "m:s=Mode", type: int}
"""


class Inbox:
    """What a subscription brings."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.status: list[int] = []
        self._came = asyncio.Event()

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        del node
        self.values.append(value)
        self.status.append(data.monitored_item.Value.StatusCode.value)
        self._came.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._came.clear()
                await self._came.wait()


class Bench:
    """A server whose waves stand still, a client, and what its subscriptions have brought."""

    def __init__(self, server: OpcuaServer, client: Client) -> None:
        self.server, self.client = server, client
        self._cells = {placed.node.Identifier: placed.cell for placed in server._space.variables}
        self._time = 0

    async def put(self, *values: float, name: str = "Speed", status: int = 0) -> None:
        """One after the other, before anything is published."""
        for value in values:
            self._time += 1_000_000
            await self._cells[name].put({(): value}, status, Moment(self._time))

    async def subscription(self, interval: float, inbox: Inbox) -> Any:
        return await self.client.create_subscription(interval, inbox)

    async def monitor(self, subscription: Any, item: int, mode: Any) -> None:
        """Another mode for one item; asyncua's client has only one for all of them."""
        wanted = ua.SetMonitoringModeParameters()
        wanted.SubscriptionId, wanted.MonitoredItemIds = subscription.subscription_id, [item]
        wanted.MonitoringMode = mode
        (status,) = await self.client.uaclient.set_monitoring_mode(wanted)
        status.check()

    def node(self, name: str = "Speed") -> Any:
        return self.client.get_node(ua.NodeId(name, 2))


@asynccontextmanager
async def benched(folder: Path) -> AsyncIterator[Bench]:
    (folder / "gateway.yaml").write_text(CONFIGURATION)
    (folder / "scenario.yaml").write_text("machines: {m: {signals: {speed: 0, mode: 0}}}")
    configuration = load(folder / "gateway.yaml", protocols())
    async with simulate(configuration, read_scenario(folder / "scenario.yaml"), None, 0) as plant:
        server = plant.servers["cnc"]
        assert isinstance(server, OpcuaServer)
        async with Client(f"opc.tcp://127.0.0.1:{server.port}") as client:
            yield Bench(server, client)


async def test_what_waits_is_no_more_than_the_queue_holds(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        small, large = Inbox(), Inbox()
        for inbox, size in ((small, 2), (large, 10)):
            subscription = await it.subscription(50, inbox)
            await subscription.subscribe_data_change(it.node(), queuesize=size)
            await inbox.until(lambda inbox=inbox: inbox.values == [0.0])  # type: ignore[misc]
        await it.put(1, 2, 3, 4, 5)
        await small.until(lambda: 5 in small.values)
        await large.until(lambda: 5 in large.values)
        assert (small.values, large.values) == ([0, 4, 5], [0, 1, 2, 3, 4, 5])
        # Part 4, 5.13.1.5: the oldest that is left tells that something is missing before it (InfoType DataValue, Overflow).
        assert (small.status, large.status) == ([0, 0x480, 0], [0] * 6)


@pytest.mark.parametrize(
    ("entry", "marked"),
    [
        # client handle, mask, Int16 Variant; then status, source and server time stamp where the mask says so
        ("01000000 01 04 0700", "01000000 03 04 0700 80040000"),
        ("01000000 0f 04 0700 00000000 1111111111111111 2222222222222222",
         "01000000 0f 04 0700 80040000 1111111111111111 2222222222222222"),
        ("01000000 0d 04 0700 1111111111111111 2222222222222222",
         "01000000 0f 04 0700 80040000 1111111111111111 2222222222222222"),
        ("01000000 37 04 0700 00004080 1111111111111111 3333 4444", "01000000 37 04 0700 80044080 1111111111111111 3333 4444"),
    ],
)  # fmt: skip
def test_overflow_in_the_bytes(entry: str, marked: str) -> None:
    """By hand from Part 6, 5.2.2.17."""
    assert _overflowed(bytes.fromhex(entry)) == bytes.fromhex(marked)


async def test_a_disabled_item_is_silent_and_then_tells_what_is(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(50, inbox)
        speed = await subscription.subscribe_data_change(it.node())
        await subscription.subscribe_data_change(it.node("Mode"))
        await inbox.until(lambda: inbox.values == [0, 0])
        await it.monitor(subscription, speed, ua.MonitoringMode.Disabled)
        await it.put(1, 2)
        await it.put(7, name="Mode")
        await inbox.until(lambda: 7 in inbox.values)
        assert inbox.values == [0, 0, 7]
        await it.monitor(subscription, speed, ua.MonitoringMode.Reporting)
        await inbox.until(lambda: 2 in inbox.values)
        await it.put(3)
        await inbox.until(lambda: 3 in inbox.values)
        assert inbox.values == [0, 0, 7, 2, 3]


async def test_a_deleted_item_is_silent_and_the_others_are_not(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(50, inbox)
        speed = await subscription.subscribe_data_change(it.node())
        await inbox.until(lambda: inbox.values == [0])
        await subscription.unsubscribe(speed)
        await subscription.subscribe_data_change(it.node("Mode"))
        await it.put(1)
        await it.put(7, name="Mode")
        await inbox.until(lambda: 7 in inbox.values)
        assert 1 not in inbox.values
        wanted = ua.ModifyMonitoredItemsParameters()
        wanted.SubscriptionId, wanted.ItemsToModify = subscription.subscription_id, [ua.MonitoredItemModifyRequest()]
        wanted.ItemsToModify[0].MonitoredItemId = speed
        (result,) = await it.client.uaclient.modify_monitored_items(wanted)
        assert result.StatusCode.name == "BadMonitoredItemIdInvalid"


async def test_a_deadband_can_come_later_and_a_status_passes_it(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(50, inbox)
        speed = await subscription.subscribe_data_change(it.node())
        await inbox.until(lambda: inbox.values == [0])
        await subscription.modify_monitored_item(speed, 100, mod_filter_val=1.0)
        await it.put(10, 10.5, 11, 11.25)  # 11 is 1 away from 10, and that is not more than 1
        await it.put(11.25, status=0x40920000)
        await it.put(30)
        await inbox.until(lambda: 30 in inbox.values)
        assert inbox.values == [0, 10, 11.25, 11.25, 30]
        assert inbox.status == [0, 0, 0, 0x40920000, 0]


async def test_who_wants_the_status_alone_is_told_nothing_else(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(50, inbox)
        wanted = ua.MonitoredItemCreateRequest()
        wanted.ItemToMonitor.NodeId, wanted.ItemToMonitor.AttributeId = it.node().nodeid, ua.AttributeIds.Value
        wanted.MonitoringMode = ua.MonitoringMode.Reporting
        parameters = wanted.RequestedParameters
        parameters.ClientHandle, parameters.QueueSize = 77, 10
        parameters.Filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.Status)
        await subscription.create_monitored_items([wanted])
        await inbox.until(lambda: inbox.values == [0])
        await it.put(1, 2)
        await it.put(3, status=0x40920000)
        await it.put(4, 5, status=0x40920000)
        await it.put(6, status=0x808C0000)
        await inbox.until(lambda: 0x808C0000 in inbox.status)
        assert (inbox.values, inbox.status) == ([0, 3, None], [0, 0x40920000, 0x808C0000])


async def test_a_subscription_without_an_interval_is_told_at_once(tmp_path: Path) -> None:
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(0, inbox)
        await subscription.subscribe_data_change(it.node())
        await inbox.until(lambda: inbox.values == [0])
        for value in (1, 2, 3):
            await it.put(value)
            await inbox.until(lambda value=value: value in inbox.values)  # type: ignore[misc]
        assert inbox.values == [0, 1, 2, 3]


async def test_what_is_read_is_what_was_told(tmp_path: Path) -> None:
    """Also where somebody else wrote into the node in between."""
    async with benched(tmp_path) as it:
        inbox = Inbox()
        subscription = await it.subscription(50, inbox)
        await subscription.subscribe_data_change(it.node())
        await it.put(1.5)
        await it.server._server.write_attribute_value(it.node().nodeid, ua.DataValue(ua.Variant(2.5)))
        assert await it.node().read_value() == 2.5
        await it.put(3.5)
        data = await it.node().read_data_value()
        assert (data.Value.Value, data.SourceTimestamp.timestamp()) == (3.5, 0.002)
        await inbox.until(lambda: 3.5 in inbox.values)
        assert inbox.values[-3:] == [1.5, 2.5, 3.5]
        await it.put(4.5, status=0x808C0000)
        data = await it.node().read_data_value(raise_on_bad_status=False)
        assert (data.Value.Value, data.StatusCode.value) == (None, 0x808C0000)


# --- scale ---------------------------------------------------------------------------------------------------------------

COUNT = 2000
WAVES: Mapping[str, str] = {
    "float": "{wave: sine, mean: 100, amplitude: 50, period: 20s, noise: 1}",
    "int": "{wave: counter, period: 100ms, first: 4611686018427387904}",
    "bool": "{wave: toggle, period: 2s}",
    "string": "{wave: steps, period: 1s, points: [[0, grün], [0.3, ''], [0.7, rot]]}",
}


async def test_each_value_of_thousands_arrives_once_and_in_order(tmp_path: Path) -> None:
    kinds = list(WAVES)
    signals = [(f"s{i}", kinds[i % len(kinds)]) for i in range(COUNT)]
    lines = [f'      {name}: {{node: "m:s={name}", type: {kind}}}' for name, kind in signals]
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION.partition("      speed")[0] + "\n".join(lines))
    lines = [f"      {name}: {WAVES[kind]}" for name, kind in signals]
    (tmp_path / "scenario.yaml").write_text("machines:\n  m:\n    signals:\n" + "\n".join(lines))
    configuration = load(tmp_path / "gateway.yaml", protocols())
    got: dict[str, list[tuple[int, Any]]] = {name: [] for name, _ in signals}

    class Keeper(Inbox):
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            told = data.monitored_item.Value
            got[node.nodeid.Identifier].append((round(told.SourceTimestamp.timestamp() * 1e6) * 1000, value))
            self._came.set()

    ledger = Ledger.memory()
    async with (
        simulate(configuration, read_scenario(tmp_path / "scenario.yaml"), ledger, 0) as plant,
        Client(f"opc.tcp://127.0.0.1:{plant.ports['cnc']}", timeout=30) as client,
    ):
        inbox = Keeper()
        subscription = await client.create_subscription(100, inbox)
        nodes = [client.get_node(ua.NodeId(name, 2)) for name, _ in signals]
        await subscription.subscribe_data_change(nodes, queuesize=100)
        await inbox.until(lambda: all(len(got[f"s{i}"]) > 4 for i in range(COUNT)))
    served = columns(ledger.entries())
    assert len(served) == COUNT
    for name, _ in signals:
        column = served["m", name]
        said = list(zip(column.time, column.value, strict=True))
        start = said.index(got[name][0])
        assert got[name] == said[start : start + len(got[name])], name
