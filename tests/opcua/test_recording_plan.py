"""What is made of the entries of an OPC UA recording, without a server: also of those that nobody should believe."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.recording import Entry, Kind
from simulators.opcua.replay.plan import SETTLING, Outage, Plan, plan
from simulators.opcua.replay.services import Event, Field, Past, Services, Value
from simulators.opcua.replay.values import Stamp, Times, data_value, variant_of
from simulators.opcua.replay.wire import BrokenError, Reader, Told

S = 10**9
OPEN = Entry(0, Kind.OPENED, 0, 0, b"")
UNKNOWN = 0x80340000  # Bad_NodeIdUnknown: Part 6, A.2
URIS = ["http://opcfoundation.org/UA/", "urn:server", "urn:shop:cnc"]


def node(name: str, namespace: int = 2) -> Any:
    return ua.NodeId(name, namespace)


def ticks(seconds: float) -> int:
    """A DateTime this long after 2026-02-03T04:05:00Z: 1,770,091,500 s since 1970, that is 11,644,473,600 s since 1601."""
    return (1_770_091_500 + 11_644_473_600) * 10**7 + round(seconds * 10**7)


class Conversation:
    """Requests and answers, encoded by asyncua."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.at, self._ref = 0, 0

    def wait(self, seconds: float) -> None:
        self.at += round(seconds * S)

    def line(self, kind: Kind, why: str = "") -> None:
        self.entries.append(Entry(self.at, kind, 0, 0, why.encode()))

    def ask(self, request: Any, response: Any) -> None:
        self._ref += 1
        sent = struct.pack("<I", request.TypeId.Identifier) + struct_to_binary(request.Parameters)
        self.entries.append(Entry(self.at, Kind.SENT, 0, self._ref, sent))
        self.at += 1000
        self.entries.append(Entry(self.at, Kind.RECEIVED, 0, self._ref, struct_to_binary(response)))

    def read(self, values: dict[Any, Any], attribute: int = 13) -> None:
        request, response = ua.ReadRequest(), ua.ReadResponse()
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=id, AttributeId=attribute) for id in values]
        response.Results = [each if isinstance(each, ua.DataValue) else ua.DataValue(each) for each in values.values()]
        self.ask(request, response)

    def namespaces(self, *uris: str) -> None:
        self.read({ua.NodeId(2255): list(uris)})

    def subscribe(self, id: int) -> None:
        response = ua.CreateSubscriptionResponse()
        response.Parameters.SubscriptionId = id
        self.ask(ua.CreateSubscriptionRequest(), response)

    def monitor(self, subscription: int, items: dict[int, Any], status: int = 0, filter: Any = None) -> None:
        request, response = ua.CreateMonitoredItemsRequest(), ua.CreateMonitoredItemsResponse()
        request.Parameters.SubscriptionId = subscription
        attribute = 13 if filter is None else 12
        request.Parameters.ItemsToCreate = [
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=ua.ReadValueId(NodeId=id, AttributeId=attribute),
                RequestedParameters=ua.MonitoringParameters(ClientHandle=handle, Filter=filter),
            )
            for handle, id in items.items()
        ]
        response.Results = [ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(status)) for _ in items]
        self.ask(request, response)

    def publish(self, subscription: int, notification: Any) -> None:
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = subscription
        response.Parameters.NotificationMessage.NotificationData = [notification]
        self.ask(ua.PublishRequest(), response)

    def report(self, subscription: int, values: dict[int, Any]) -> None:
        self.publish(
            subscription,
            ua.DataChangeNotification(
                [ua.MonitoredItemNotification(handle, ua.DataValue(value)) for handle, value in values.items()]
            ),
        )

    @property
    def happenings(self) -> list[Any]:
        services = Services()
        found = list(services.happenings(self.entries))
        assert not services.unreadable
        return found

    def plan(self, **options: Any) -> Plan:
        return plan(self.entries, **options)


@pytest.fixture
def said() -> Conversation:
    conversation = Conversation()
    conversation.line(Kind.OPENED)
    conversation.namespaces(*URIS)
    return conversation


# --- values ----------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_value_stay_what_they_are() -> None:
    """Part 6, 5.2.2.17: value 12.5 (Double), status, source time, its picoseconds, server time, all there are."""
    variant = b"\x0b" + struct.pack("<d", 12.5)
    data = (
        b"\x1f" + variant + struct.pack("<I", 0x40900000) + struct.pack("<q", 134_000_000_000_000_001) + struct.pack("<H", 7)
        + struct.pack("<q", 134_000_000_000_000_009)
    )  # fmt: skip
    reader = Reader(data)
    told = reader.data_value()
    assert reader.at == len(data)
    assert told == Told(variant, 0x40900000, 134_000_000_000_000_001, 7, 134_000_000_000_000_009)
    assert told.encoded() == data
    plain = told._replace(source_picoseconds=None, server_picoseconds=7)
    assert struct_to_binary(data_value(plain)) == plain.encoded(), "as asyncua sends it, to its 100 ns"
    sent = Reader(struct_to_binary(data_value(told))).data_value()
    assert sent == told._replace(source_picoseconds=None), "which it would put in the place of the server's time"
    assert Told().encoded() == b"\x00"


@pytest.mark.parametrize(
    "value",
    [
        ua.Variant(None), ua.Variant(True), ua.Variant(-5, ua.VariantType.SByte), ua.Variant(2**63, ua.VariantType.UInt64),
        ua.Variant("ü№"), ua.Variant([1.5, float("inf")]), ua.Variant([], ua.VariantType.Int32, is_array=True),
        ua.Variant([[1, 2], [3, 4]], ua.VariantType.Int32, [2, 2]), ua.Variant(node("x")), ua.Variant(ua.NodeId(7)),
        ua.Variant(ua.LocalizedText("a", "de")), ua.Variant(ua.QualifiedName("q", 3)), ua.Variant(ua.Range(1, 2)),
        ua.Variant([ua.ExtensionObject(node("s"), b"abc")], ua.VariantType.ExtensionObject),
        ua.Variant(ua.DataValue(5)), ua.Variant([ua.Variant(1), ua.Variant("b")], ua.VariantType.Variant),
        ua.Variant(ua.StatusCode(UNKNOWN)), ua.Variant(b"\x00\xff"), ua.Variant(["a", None], ua.VariantType.String),
    ],
)  # fmt: skip
def test_where_a_value_ends(value: Any) -> None:
    """asyncua's own encoding, with something behind it."""
    data = ua.ua_binary.variant_to_binary(value)
    reader = Reader(data + b"behind")
    assert reader.variant() == data
    assert ua.ua_binary.variant_to_binary(variant_of(data)) == data
    for cut in range(len(data)):
        with pytest.raises(BrokenError):
            Reader(data[:cut]).variant()


def test_a_stamp_has_all_of_its_time() -> None:
    stamp = Stamp.of(134_000_000_000_000_003)
    assert ua.datetime_to_win_epoch(stamp) == 134_000_000_000_000_003
    assert stamp.isoformat().startswith("2025-08-18T14:13:20"), "a time of Python's as well"


def test_times_are_moved_and_old_ones_keep_their_distance() -> None:
    times = Times(1_000 * S, 5_000 * S, 2.0)
    assert times.of(1_000 * S) == 5_000 * S
    assert times.of(1_010 * S) == 5_005 * S, "twice as fast"
    assert times.of(900 * S) == 4_900 * S, "before it began a second is a second"
    assert times._replace(again=True).of(900 * S) == 5_000 * S
    assert times.ticks(0) == 0
    assert times.ticks(None) is None
    assert times.ticks(2**63 - 1) == 2**63 - 1, "stands for no time: Part 6, 5.2.2.5"
    assert times._replace(kept=True).ticks(134_000_000_000_000_003) == 134_000_000_000_000_003


# --- who is meant ----------------------------------------------------------------------------------------------------


def values(happenings: Sequence[Any], id: Any) -> list[tuple[Any, bool]]:
    found = [each for each in happenings if isinstance(each, Value) and each.node == id and each.attribute == 13]
    return [(variant_of(each.told.variant).Value, each.reported) for each in found]


def test_handles_mean_what_they_were_given_out_for(said: Conversation) -> None:
    said.read({node("a"): 1.0, node("b"): "x"})
    said.subscribe(7)
    said.subscribe(8)
    said.monitor(7, {1: node("a")})
    said.monitor(8, {1: node("b")})
    said.report(7, {1: 2.0})
    said.report(8, {1: "y", 99: "nobody knows whose"})
    said.subscribe(7)  # another one with the same id
    said.report(7, {1: 3.0})
    assert values(said.happenings, node("a")) == [(1.0, False), (2.0, True)]
    assert values(said.happenings, node("b")) == [("x", False), ("y", True)]


def test_registered_ids_mean_their_nodes(said: Conversation) -> None:
    request, response = ua.RegisterNodesRequest(), ua.RegisterNodesResponse()
    request.Parameters.NodesToRegister = [node("a"), node("b")]
    response.Parameters.RegisteredNodeIds = [ua.NodeId(1, 99), node("b")]
    said.ask(request, response)
    said.read({ua.NodeId(1, 99): 5, node("b"): 6})
    assert values(said.happenings, node("a")) == [(5, False)]
    assert values(said.happenings, node("b")) == [(6, False)]
    assert ua.NodeId(1, 99) not in said.plan().lives[0].nodes


def test_a_part_of_a_value_is_not_the_value(said: Conversation) -> None:
    request, response = ua.ReadRequest(), ua.ReadResponse()
    request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node("a"), AttributeId=13, IndexRange="0:1")]
    response.Results = [ua.DataValue([1, 2])]
    said.ask(request, response)
    assert values(said.happenings, node("a")) == []


def test_fields_of_events_have_the_names_that_were_asked_for(said: Conversation) -> None:
    wanted = [["Severity"], ["ActiveState", "Id"]]
    clauses = [
        ua.SimpleAttributeOperand(ua.NodeId(2041), [ua.QualifiedName(name) for name in path], ua.AttributeIds.Value)
        for path in wanted
    ]
    said.subscribe(7)
    said.monitor(7, {1: node("m")}, filter=ua.EventFilter(SelectClauses=clauses))
    said.publish(
        7, ua.EventNotificationList([ua.EventFieldList(1, [ua.Variant(500, ua.VariantType.UInt16), ua.Variant(True)])])
    )
    (event,) = [each for each in said.happenings if isinstance(each, Event)]
    assert event.node == node("m")
    assert event.fields == {Field("Severity", 13): b"\x05\xf4\x01", Field("ActiveState/Id", 13): b"\x01\x01"}
    assert said.plan().lives[0].nodes[node("m")].raises


def test_the_past(said: Conversation) -> None:
    request, response = ua.HistoryReadRequest(), ua.HistoryReadResponse()
    request.Parameters.HistoryReadDetails = ua.ReadRawModifiedDetails()
    request.Parameters.NodesToRead = [ua.HistoryReadValueId(NodeId=node("a"))]
    result = ua.HistoryReadResult()
    result.HistoryData = ua.HistoryData([ua.DataValue(i, SourceTimestamp=Stamp.of(ticks(i))) for i in range(3)])
    response.Results = [result]
    said.ask(request, response)
    (past,) = [each for each in said.happenings if isinstance(each, Past)]
    assert [each.source for each in past.values] == [ticks(0), ticks(1), ticks(2)]
    assert sorted(said.plan().lives[0].nodes[node("a")].past) == [ticks(0), ticks(1), ticks(2)]


def test_where_nodes_are(said: Conversation) -> None:
    request, response = ua.TranslateBrowsePathsToNodeIdsRequest(), ua.TranslateBrowsePathsToNodeIdsResponse()
    steps = [
        ua.RelativePathElement(ua.NodeId(33), False, True, ua.QualifiedName(name, 2)) for name in ("CNC1", "Speed")
    ]
    request.Parameters.BrowsePaths = [ua.BrowsePath(ua.NodeId(85), ua.RelativePath(steps))] * 2
    found = ua.BrowsePathResult(Targets=[ua.BrowsePathTarget(node("a"), 2**32 - 1)])
    response.Results = [found, ua.BrowsePathResult(StatusCode=ua.StatusCode(0x806F0000))]  # Bad_NoMatch
    said.ask(request, response)
    ((start, walked), targets), *none = said.plan().lives[0].paths.items()
    assert not none
    assert start == ua.NodeId(85)
    assert [step.name for step in walked] == [(2, "CNC1"), (2, "Speed")]
    assert targets == [node("a")]


@pytest.mark.parametrize("mask", [63, 8])
def test_references_as_far_as_they_were_asked_for(said: Conversation, mask: int) -> None:
    """What the ResultMask leaves out is empty in the answer (Part 4, 5.8.2.2), and follows from the question."""
    request, response = ua.BrowseRequest(), ua.BrowseResponse()
    request.Parameters.NodesToBrowse = [
        ua.BrowseDescription(node("t"), ua.BrowseDirection.Inverse, ua.NodeId(45), False, 0, mask)
    ]
    reference = ua.ReferenceDescription(BrowseName=ua.QualifiedName("Parent", 2))
    reference.NodeId = node("p")
    if mask == 63:
        reference.ReferenceTypeId, reference.IsForward, reference.NodeClass = (
            ua.NodeId(45),
            False,
            ua.NodeClass.DataType,
        )
    response.Results = [ua.BrowseResult(References=[reference])]
    said.ask(request, response)
    ((key, found),) = said.plan().lives[0].references[node("t")].items()
    assert key == (ua.NodeId(45), False, node("p"))
    assert found.name == (2, "Parent")
    assert found.node_class == (64 if mask == 63 else 0)


# --- lives and outages -----------------------------------------------------------------------------------------------


def test_what_was_refused_is_not_there(said: Conversation) -> None:
    gone = ua.DataValue(StatusCode=ua.StatusCode(UNKNOWN))
    said.read({node("a"): 1.0, node("b"): gone, node("c"): gone})
    said.subscribe(7)
    said.monitor(7, {1: node("d")}, status=0x801F0000)  # Bad_UserAccessDenied
    said.monitor(7, {2: node("c")}, status=UNKNOWN)
    said.wait(20)
    said.read({node("b"): 5.0})
    nodes = said.plan().lives[0].nodes
    assert (nodes[node("a")].there, nodes[node("b")].there, nodes[node("c")].there) == (True, True, False)
    first = nodes[node("b")].first
    assert first is not None
    assert first.code == UNKNOWN, "not yet"
    assert nodes[node("d")].refused == 0x801F0000


def test_an_outage_lasts_until_there_are_values_again(said: Conversation) -> None:
    said.read({node("a"): 1, node("b"): 1})
    said.wait(5)
    said.line(Kind.CLOSED, "the connection is lost")
    lost = said.at
    said.wait(1)
    said.line(Kind.FAILED, "refused")
    said.wait(1)
    said.line(Kind.OPENED)
    said.namespaces(*URIS)
    said.wait(0.5)
    said.read({node("a"): 2})
    said.wait(0.5)
    said.read({node("b"): 2})
    settled = said.at
    said.wait(3)
    said.read({node("a"): 3})
    assert said.plan().outages == [Outage(lost, settled)]
    said.subscribe(9)
    assert said.plan().outages == [Outage(lost, settled, forgotten=True)], "it had to begin anew"
    assert said.plan(ideal=True).outages == []
    nodes = said.plan().lives[0].nodes
    begin = [variant_of(each.value.variant).Value for each in (nodes[node("a")], nodes[node("b")]) if each.value]
    assert begin == [1, 1], "the first values, and not those after the outage"


def test_a_client_that_goes_is_no_outage(said: Conversation) -> None:
    said.read({node("a"): 1})
    said.line(Kind.CLOSED)
    said.wait(5)
    said.line(Kind.OPENED)
    said.read({node("a"): 2})
    assert said.plan().outages == []
    said.line(Kind.FAILED, "refused")
    assert said.plan().outages == [Outage(said.at)], "this one has no end"


def test_it_begins_where_it_is_told_to(said: Conversation) -> None:
    at = []
    for i in range(4):
        said.read({node("a"): i})
        at.append(said.at)
        said.wait(20)
    for i in range(4):
        known = said.plan(begin=at[i]).lives[0].nodes[node("a")]
        assert known.value is not None
        assert known.first is not None
        assert variant_of(known.value.variant).Value == i
        assert variant_of(known.first.variant).Value == 0


def test_other_namespaces_are_another_life(said: Conversation) -> None:
    said.read({node("a"): 1})
    said.namespaces(*URIS, "urn:more")  # it runs, and has got another one
    said.wait(5)
    said.line(Kind.CLOSED, "lost")
    lost = said.at
    said.wait(1)
    said.line(Kind.OPENED)
    opened = said.at
    said.namespaces(*URIS[:2], "urn:other", URIS[2])
    said.read({node("a", 3): 2, node("a", 2): -1})
    settled = said.at
    said.wait(SETTLING / S + 1)
    said.read({node("a", 3): 3})
    planned = said.plan()
    assert [life.uris for life in planned.lives] == [[*URIS, "urn:more"], [*URIS[:2], "urn:other", URIS[2]]]
    assert planned.lives[1].begin == opened
    assert planned.outages == [Outage(lost, settled, life=1, forgotten=True)]
    assert (planned.life_at(lost), planned.life_at(settled)) == (0, 1)
    (one,) = said.plan(ideal=True).lives
    assert one.uris == [*URIS, "urn:more", "urn:other"], "new ones come behind"
    assert node("a") in one.nodes
    assert node("a", 3) not in one.nodes
    assert node("a", 4) in one.nodes, "what was at index 2 is another machine's"


# --- whatever there may be -------------------------------------------------------------------------------------------


def long_conversation() -> list[Entry]:
    said = Conversation()
    said.line(Kind.OPENED)
    said.namespaces(*URIS)
    said.read({node("a"): 1.0, node("b"): [ua.ExtensionObject(node("s"), b"abc")], ua.NodeId(2259): 0})
    said.subscribe(7)
    said.monitor(7, {1: node("a")})
    said.report(7, {1: 2.0})
    said.line(Kind.CLOSED, "lost")
    said.line(Kind.OPENED)
    said.namespaces(URIS[0])
    said.read({node("a"): 1.0})
    return said.entries


LONG = long_conversation()
SOUND = {entry.data[:4] for entry in LONG if entry.kind is Kind.SENT}


def broken() -> Iterator[st.SearchStrategy[list[Entry]]]:
    kinds = st.sampled_from(list(Kind))
    anything = st.builds(
        lambda at, kind, ref, data: Entry(at, kind, 0, ref, data),
        st.integers(0, 2**50), kinds, st.integers(0, 12), st.binary(max_size=80),
    )  # fmt: skip
    begun = st.builds(
        lambda at, ref, id, data: Entry(at, Kind.SENT, 0, ref, id + data),
        st.integers(0, 2**50), st.integers(0, 12), st.sampled_from(sorted(SOUND)), st.binary(max_size=60),
    )  # fmt: skip
    yield st.lists(st.one_of(anything, begun), max_size=30)
    yield st.lists(st.sampled_from(LONG), max_size=40)
    yield st.builds(
        lambda which, where, byte: [
            entry._replace(data=entry.data[: where % (len(entry.data) + 1)] + bytes((byte,)) + entry.data[where % (len(entry.data) + 1) + 1 :])
            if i == which % len(LONG) else entry
            for i, entry in enumerate(LONG)
        ],
        st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 255),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(*broken()))
def test_a_plan_can_be_made_of_anything(entries: list[Entry]) -> None:
    planned = plan(entries)
    assert planned.lives
    assert planned.unreadable <= len(entries)
    assert plan(entries, ideal=True).lives[1:] == []
    for life in planned.lives:
        for known in life.nodes.values():
            if known.value is not None:
                assert Reader(known.value.encoded()).data_value() == known.value
                data_value(known.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_value(data: bytes) -> None:
    try:
        variant = Reader(data).variant()
    except BrokenError:
        return
    assert data.startswith(variant)
    try:
        found = variant_of(variant)
    except BrokenError:
        return
    assert isinstance(found, ua.Variant)
