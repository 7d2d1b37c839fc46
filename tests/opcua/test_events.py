"""Events: from bytes to readings, and from node-opcua and asyncua. Bytes are written by asyncua's encoder."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import Client as AsyncuaClient
from asyncua import Server, ua
from asyncua.ua.ua_binary import struct_to_binary

from adapters.opcua import events, wire
from adapters.opcua.client import Client
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.events import BASIC, FIELDS, Stream, Taken
from adapters.opcua.items import Item
from adapters.opcua.nodes import NodeId
from gateway.model import GOOD, NOT_AVAILABLE
from parts.node_opcua import NodeOpcua
from parts.ports import free_port

ARRIVAL = 1_800_000_000_000_000_000
TICKS = 134_145_651_067_891_230  # 2026-02-03T04:05:06.789123Z, in 100 ns since 1601
NS = 1_770_091_506_789_123_000  # the same
SIGNALS = (4, 5, 6, 7)
PLAIN = {
    "EventId": (15, "01"), "EventType": (17, "i=2041"), "SourceNode": (17, "ns=2;s=CNC1"), "SourceName": (12, "CNC1"),
    "Time": (13, TICKS), "ReceiveTime": (13, TICKS + 10_000), "Message": (21, "door open"), "Severity": (5, 300),
}  # fmt: skip
ALARM = {
    **PLAIN, "EventType": (17, "i=2915"), "ConditionId": (17, "ns=2;i=7"), "ConditionName": (12, "OverSpeed"),
    "BranchId": (17, "i=0"), "Retain": (1, True), "EnabledState": (21, "Enabled"), "EnabledState/Id": (1, True),
    "AckedState/Id": (1, False), "ActiveState": (21, "Active"), "ActiveState/Id": (1, True),
    "SuppressedOrShelved": (1, False),
}  # fmt: skip


def event(said: dict[str, Any], handle: int = 1, fields: tuple[events.Field, ...] = FIELDS) -> wire.Event:
    """An event with what is said; what is left out is null, as of a server that does not know the field."""
    return wire.Event(handle, [said.get(field.name, (0, None)) for field in fields])


def taken(*said: dict[str, Any], severity: int = 1) -> Taken:
    return Stream(SIGNALS, severity).take([event(each) for each in said], ARRIVAL)


# --- from bytes ------------------------------------------------------------------------------------------------------


def published(*notifications: Any) -> wire.Published:
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 77
    response.Parameters.NotificationMessage.SequenceNumber = 5
    response.Parameters.NotificationMessage.NotificationData = list(notifications)
    return wire.publish_response(struct_to_binary(response))


def test_data_and_events_of_one_response_are_both_read() -> None:
    V = ua.VariantType
    stamp = datetime(2026, 2, 3, 4, 5, 6, 789_123, tzinfo=UTC)
    data = ua.DataChangeNotification(
        MonitoredItems=[ua.MonitoredItemNotification(9, ua.DataValue(ua.Variant(1.5, V.Double)))]
    )
    first = ua.EventFieldList(3, [ua.Variant(b"\x01\xff", V.ByteString), ua.Variant(stamp, V.DateTime)])
    second = ua.EventFieldList(
        4, [ua.Variant(), ua.Variant(ua.LocalizedText("door open", "en"), V.LocalizedText), ua.Variant(True, V.Boolean)]
    )
    third = ua.EventFieldList(3, [ua.Variant(ua.NodeId(3035), V.NodeId), ua.Variant([1, 2], V.UInt16)])
    got = published(data, ua.EventNotificationList([first, second]), data, ua.EventNotificationList([third]))
    assert got.values
    assert (got.sequence, got.values.signal, got.values.value) == (5, [9, 9], [1.5, 1.5])
    assert got.events == [
        (3, [(15, "01ff"), (13, TICKS)]),
        (4, [(0, None), (21, "door open"), (1, True)]),
        (3, [(17, "i=3035"), (5 | wire.ARRAY, [1, 2])]),
    ]


def test_a_response_without_events_has_none() -> None:
    assert published().events is None
    assert published(ua.EventNotificationList([])).events == []


def test_events_that_are_cut_short_are_refused_in_one_way() -> None:
    response = ua.PublishResponse()
    fields = [ua.Variant("CNC1", ua.VariantType.String), ua.Variant(datetime(2026, 2, 3), ua.VariantType.DateTime)]
    response.Parameters.NotificationMessage.NotificationData = [
        ua.EventNotificationList([ua.EventFieldList(3, fields)])
    ]
    data = bytes(struct_to_binary(response))
    assert wire.publish_response(data).events
    for length in range(len(data) - 8):  # behind it are two empty arrays of the response
        with pytest.raises(wire.GarbledError):
            wire.publish_response(data[:length])


# --- to readings -----------------------------------------------------------------------------------------------------


def test_one_event_is_four_readings_of_one_time() -> None:
    got = taken(PLAIN)
    assert got.signal == [4, 5, 6, 7]
    assert got.time == [NS] * 4
    assert got.value == [300, "CNC1", "door open", "event"]
    assert (got.quality, got.overflows, got.refresh) == (None, 0, False)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, "active, unacknowledged"),
        ({"AckedState/Id": (1, True)}, "active, acknowledged"),
        ({"ActiveState/Id": (1, False)}, "inactive, unacknowledged"),
        ({"ActiveState/Id": (1, False), "AckedState/Id": (1, True)}, "inactive, acknowledged"),
        ({"AckedState/Id": (1, True), "ConfirmedState/Id": (1, False)}, "active, unconfirmed"),
        ({"AckedState/Id": (1, True), "ConfirmedState/Id": (1, True)}, "active, acknowledged"),
        ({"AckedState/Id": (1, False), "ConfirmedState/Id": (1, False)}, "active, unacknowledged"),
        ({"AckedState/Id": (0, None)}, "active"),  # an alarm nobody has to acknowledge
        ({"ActiveState/Id": (0, None), "ActiveState": (0, None)}, "enabled, unacknowledged"),  # no alarm
        ({"ActiveState/Id": (0, None), "ActiveState": (21, "Inactive")}, "inactive, unacknowledged"),  # no Id
        ({"EnabledState/Id": (1, False)}, "disabled"),
        ({"EnabledState/Id": (0, None), "EnabledState": (21, "Disabled")}, "disabled"),
        ({"EnabledState/Id": (0, None), "EnabledState": (0, None)}, "active, unacknowledged"),
        ({"SuppressedOrShelved": (1, True)}, "active, unacknowledged, suppressed"),
        ({"BranchId": (17, "ns=2;i=12")}, "active, unacknowledged, branch"),
        ({"BranchId": (0, None)}, "active, unacknowledged"),
    ],
)
def test_the_state_of_a_condition(said: dict[str, Any], state: str) -> None:
    assert taken({**ALARM, **said}).value == [300, "CNC1/OverSpeed", "door open", state]


def test_a_condition_of_which_only_the_name_is_known() -> None:
    assert taken({**PLAIN, "ConditionName": (12, "OverSpeed")}).value[3] == "enabled"
    assert taken({**PLAIN, "ConditionName": (12, "CNC1")}).value[1] == "CNC1", "the same name is not said twice"


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ({"Time": (0, None)}, NS + 1_000_000),  # ReceiveTime
        ({"Time": (13, 0)}, NS + 1_000_000),  # 1601
        ({"Time": (13, 2**63 - 1)}, NS + 1_000_000),
        ({"Time": (13, 0), "ReceiveTime": (13, -1)}, ARRIVAL),
        ({"Time": (12, "2026"), "ReceiveTime": (0, None)}, ARRIVAL),
        ({"Time": (13, TICKS + 7)}, NS + 700),
    ],
)
def test_the_time_of_an_event(said: dict[str, Any], time: int) -> None:
    assert taken({**PLAIN, **said}).time == [time] * 4


def test_fields_that_are_missing() -> None:
    got = taken({"Time": (13, TICKS)})
    assert got.value == [None, "", "", "event"]
    assert got.quality == [NOT_AVAILABLE, GOOD, GOOD, GOOD]
    assert taken({**PLAIN, "SourceName": (0, None)}).value[1] == "ns=2;s=CNC1"
    mixed = taken(PLAIN, {**PLAIN, "EventId": (15, "02"), "Severity": (0, None)}, {**PLAIN, "EventId": (15, "03")})
    assert mixed.quality == [GOOD] * 4 + [NOT_AVAILABLE, GOOD, GOOD, GOOD] + [GOOD] * 4
    assert Stream(SIGNALS, 1).take([wire.Event(1, [])], ARRIVAL).time == [ARRIVAL] * 4
    assert Stream(SIGNALS, 1).take([event(PLAIN, fields=BASIC)], ARRIVAL).value == [300, "CNC1", "door open", "event"]


def test_no_two_events_have_one_microsecond() -> None:
    """A payload groups by time: the second would take the place of the first."""
    stream = Stream(SIGNALS, 1)

    def times(*ids: str, ticks: int = TICKS) -> list[int]:
        found = stream.take([event({**PLAIN, "EventId": (15, id), "Time": (13, ticks)}) for id in ids], ARRIVAL)
        return found.time[::4]

    assert times("01", "02", "03") == [NS, NS + 1000, NS + 2000]
    assert times("04") == [NS + 3000], "in the next notification as well"
    assert times("05", ticks=TICKS + 20) == [NS + 4000], "NS + 2000 was given away"
    assert times("06", ticks=TICKS + 100) == [NS + 10_000]
    assert times("07", ticks=TICKS + 106) == [NS + 11_000], "600 ns later is the same microsecond"
    many = times(*(f"{n:04x}" for n in range(256, 1256)))
    assert len(set(many)) == 1000
    assert not {NS + 1000 * n for n in range(5)} & set(many)


def test_an_event_that_comes_again_is_not_handed_on_again() -> None:
    """As after a refresh: the condition is what it was. The control: another state of it is told."""
    stream = Stream(SIGNALS, 1)
    assert len(stream.take([event(ALARM), event(ALARM)], ARRIVAL).value) == 4
    assert stream.take([event(ALARM)], ARRIVAL + 1).value == []
    acknowledged = {**ALARM, "EventId": (15, "02"), "AckedState/Id": (1, True)}
    assert stream.take([event(acknowledged)], ARRIVAL).value[3] == "active, acknowledged"


def test_what_is_remembered_has_an_end() -> None:
    stream = Stream(SIGNALS, 1)
    for n in range(3 * events.KEPT):
        stream.take([event({**PLAIN, "EventId": (15, f"{n:08x}"), "Time": (13, TICKS + n * 10)})], ARRIVAL)
    assert len(stream._known) == events.KEPT
    assert len(stream._next) <= 2 * events.KEPT


def test_what_the_server_says_of_itself_is_no_event_of_the_machine() -> None:
    def told(type: str) -> dict[str, Any]:
        return {**PLAIN, "EventType": (17, type)}

    got = taken(told("i=3035"), told("i=2787"), PLAIN, told("i=2788"), told("i=3035"))
    assert (len(got.value), got.overflows, got.refresh) == (4, 2, False)
    assert taken(told("i=2789")).refresh


def test_a_server_that_does_not_choose_by_severity() -> None:
    low, high = {**PLAIN, "Severity": (5, 499)}, {**PLAIN, "Severity": (5, 500), "EventId": (15, "02")}
    assert taken(low, high, severity=500).value[0::4] == [500]
    unknown = {**PLAIN, "Severity": (0, None)}
    assert taken(unknown, severity=500).value[0::4] == [None], "not known is not low"
    assert taken({**PLAIN, "Severity": (5, 0)}).value[0::4] == [0], "as node-opcua says that all is normal again"


# --- from servers ----------------------------------------------------------------------------------------------------


class Listener:
    """A client with one subscription, and what came of events."""

    def __init__(self, client: Client, subscription: int) -> None:
        self.client, self.subscription = client, subscription
        self.came: list[wire.Event] = []

    async def monitor(self, node: NodeId, severity: int = 1, handle: int = 1, queue: int = 100) -> Item:
        item = Item(handle, node, 0, queue)
        await self.client.monitor_events(self.subscription, item, severity)
        return item

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                self.came += (await self.client.published([])).events or []

    def values(self, stream: Stream) -> list[Any]:
        return stream.take(self.came, ARRIVAL).value

    def messages(self) -> list[Any]:
        return [event.fields[6][1] for event in self.came]


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    client = Client(OpcuaConnection.model_validate({"protocol": "opcua", "url": url, "security": "None"}), "test")
    await client.dial()
    await client.log_in()
    try:
        subscription, _ = await client.subscribe(0.05, 20, 1000)
        yield Listener(client, subscription)
    finally:
        await client.log_out()
        client.hang_up()


MACHINE = NodeId(2, "s", "CNC1")


async def test_events_and_alarms_of_a_machine(cnc: NodeOpcua) -> None:
    stream = Stream(SIGNALS, 1)
    async with listening(cnc.url) as it:
        item = await it.monitor(MACHINE)
        assert (item.status, item.revised_queue) == (0, 100)
        assert item.id
        time = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
        cnc.raise_event(300, "door open", time)
        cnc.raise_event(301, "door shut", time)
        cnc.set("s=CNC1.SpindleSpeed", 950)  # above the limit of 900
        await it.until(lambda: len(it.came) == 3)
        cnc.set("s=CNC1.SpindleSpeed", 0)
        await it.until(lambda: len(it.came) == 5)
        got = stream.take(it.came, ARRIVAL)
        assert got.value[:8] == [300, "CNC1", "door open", "event", 301, "CNC1", "door shut", "event"]
        assert got.time[0:8:4] == [NS - 123_000, NS - 122_000]
        assert [text.rpartition("/")[2] for text in got.value[9::4]] == ["OverSpeed"] * 3
        # What nobody has acknowledged lives on as a branch, with the time at which it began.
        states = ["active, unacknowledged", "active, unacknowledged, branch", "inactive, acknowledged"]
        assert got.value[11::4] == states
        assert got.time[12] == got.time[8] + 1000
        assert (got.quality, got.overflows) == (None, 0)


async def test_a_refresh_brings_the_conditions_that_still_hold(cnc: NodeOpcua) -> None:
    stream = Stream(SIGNALS, 1)
    cnc.set("s=CNC1.SpindleSpeed", 950)
    try:
        async with listening(cnc.url) as it:
            await it.monitor(MACHINE)
            cnc.raise_event(1, "nothing but this comes without a refresh")
            await it.until(lambda: it.came)
            assert len(it.came) == 1
            it.came.clear()
            assert await it.client.refresh_conditions(it.subscription)
            await it.until(lambda: any(event.fields[9][1] for event in it.came))
            first = stream.take(it.came, ARRIVAL)
            assert first.value[3] == "active, unacknowledged"
            assert len(first.value) == 4, "that the refresh begins and ends is not handed on"
        it_again = len(first.value)
        async with listening(cnc.url) as it:  # another session, the same stream
            await it.monitor(MACHINE)
            assert await it.client.refresh_conditions(it.subscription)
            await it.until(lambda: any(event.fields[9][1] for event in it.came))
            assert stream.take(it.came, ARRIVAL).value == []
            assert len(Stream(SIGNALS, 1).take(it.came, ARRIVAL).value) == it_again, "the control: it did come again"
    finally:
        cnc.set("s=CNC1.SpindleSpeed", 0)


async def test_the_server_chooses_by_severity(cnc: NodeOpcua) -> None:
    async with listening(cnc.url) as it:
        await it.monitor(MACHINE, severity=500, handle=1)
        for severity in (499, 500, 501):
            cnc.raise_event(severity, str(severity))
        await it.until(lambda: len(it.came) >= 2)
        assert it.messages() == ["500", "501"]


async def test_a_server_that_does_not_know_conditions_is_asked_for_less() -> None:
    with NodeOpcua(tick_ms=0, quirks={"most_clauses": 8}) as server:
        async with listening(server.url) as it:
            item = await it.monitor(MACHINE, severity=300)
            assert (item.status, bool(item.id)) == (0, True)
            server.raise_event(299, "too low")
            server.raise_event(300, "door open")
            await it.until(lambda: it.came)
            assert it.messages() == ["door open"], "the server still chooses"
            assert [len(event.fields) for event in it.came] == [len(BASIC)]
            assert it.values(Stream(SIGNALS, 300)) == [300, "CNC1", "door open", "event"]
        server.misbehave(no_where=True)
        async with listening(server.url) as it:
            assert (await it.monitor(MACHINE, severity=300)).status == 0
            server.raise_event(299, "too low")
            server.raise_event(300, "door open")
            await it.until(lambda: len(it.came) == 2)
            assert it.values(Stream(SIGNALS, 300)) == [300, "CNC1", "door open", "event"], "now we choose"
        server.misbehave(most_clauses=7)
        async with listening(server.url) as it:
            item = await it.monitor(MACHINE, severity=300)
            assert (item.status, item.id) == (ua.StatusCodes.BadEventFilterInvalid, 0), "nothing helps here"
        server.misbehave(most_clauses=None, no_where=None)
        async with listening(server.url) as it:
            await it.monitor(MACHINE)
            server.raise_event(300, "door open")
            await it.until(lambda: it.came)
            assert [len(event.fields) for event in it.came] == [len(FIELDS)], "the control"


async def test_a_node_that_is_not_there(cnc: NodeOpcua) -> None:
    async with listening(cnc.url) as it:
        item = await it.monitor(NodeId(2, "s", "CNC1.None"))
        assert (item.status, item.id) == (ua.StatusCodes.BadNodeIdUnknown, 0)


async def test_events_of_a_server_on_asyncua() -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{free_port()}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    machine = await server.nodes.objects.add_object(await server.register_namespace("urn:shop:cnc"), "CNC1")
    generator = await server.get_event_generator(emitting_node=machine)
    async with server, listening(server.endpoint.geturl()) as it:
        assert (await it.monitor(NodeId(0, "i", 2253), severity=200)).status == 0
        assert (await it.monitor(_ours(machine), handle=2)).status == 0
        generator.event.Severity = 300
        await generator.trigger(message="door open")
        await it.until(lambda: any(event.signal == 2 for event in it.came))
        mine = [event for event in it.came if event.signal == 2]
        value = Stream(SIGNALS, 1).take(mine, ARRIVAL).value
        assert (value[0], value[2], value[3]) == (300, "door open", "event")
        assert not await it.client.refresh_conditions(it.subscription), "this server has no conditions"


def _ours(node: Any) -> NodeId:
    return NodeId(node.nodeid.NamespaceIndex, "i", node.nodeid.Identifier)


async def test_an_alarm_that_is_acknowledged(cnc: NodeOpcua) -> None:
    async with listening(cnc.url) as it, AsyncuaClient(cnc.url) as person:
        await it.monitor(MACHINE)
        cnc.set("s=CNC1.SpindleSpeed", 950)
        await it.until(lambda: it.came)
        said = dict(zip((field.name for field in FIELDS), it.came[-1].fields, strict=True))
        condition, id = person.get_node(said["ConditionId"][1]), bytes.fromhex(said["EventId"][1])
        await condition.call_method(
            "0:Acknowledge", ua.Variant(id, ua.VariantType.ByteString), ua.LocalizedText("seen", "en")
        )
        await it.until(lambda: len(it.came) >= 2)
        assert it.values(Stream(SIGNALS, 1))[3::4][-1] == "active, acknowledged"
        cnc.set("s=CNC1.SpindleSpeed", 0)
