"""Our decoder against asyncua's, over all types: the same bytes, the same values. And bytes that no server should send.

The bytes are written by asyncua's encoder from values that hypothesis draws; ours and asyncua's decoder both have to give
them back. What a value looks like here (text for a DateTime, a Guid, a NodeId) is said in `seen`, from the standard.
"""

import base64
import math
import struct
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary, variant_from_binary, variant_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.opcua import wire
from adapters.opcua.nodes import NodeId

V = ua.VariantType

# --- what asyncua's objects are here ---------------------------------------------------------------------------------


def seen(kind: V, value: Any) -> Any:
    """A value of asyncua as ours."""
    if value is None:
        return None
    match kind:
        case V.DateTime:
            moment = value.replace(tzinfo=None)
            known = datetime(1601, 1, 1) < moment < datetime(9999, 12, 31, 23, 59, 59)  # Part 6, 5.2.2.5
            return f"{moment.isoformat()}Z" if known else None
        case V.Guid:
            return str(value)
        case V.ByteString:
            return value.hex()
        case V.NodeId | V.ExpandedNodeId:
            return node_text(value)
        case V.StatusCode:
            return value.value
        case V.QualifiedName:
            return value.Name
        case V.LocalizedText:
            return value.Text
        case V.XmlElement:
            return value.Value if isinstance(value, ua.XmlElement) else value
        case V.DiagnosticInfo:
            text = value.AdditionalInfo
            return text.decode() if isinstance(text, bytes) else text
        case V.Variant:
            return wire.Tagged(*variant_seen(value))
        case V.DataValue:
            return wire.Stamped(*data_value_seen(value))
        case V.ExtensionObject:
            body = struct_to_binary(value)
            return wire.Body(NodeId(0, "i", {ua.Range: 886, ua.EUInformation: 889}[type(value)]), body)
    return value


def node_text(node: Any) -> str:
    identifier = node.Identifier
    if node.NodeIdType.name == "ByteString":
        identifier = base64.b64encode(identifier).decode()
    letter = {"String": "s", "Guid": "g", "ByteString": "b"}.get(node.NodeIdType.name, "i")
    text = f"{letter}={identifier}"
    uri = getattr(node, "NamespaceUri", None)
    if uri:
        text = f"nsu={uri.replace('%', '%25').replace(';', '%3B')};{text}"
    elif node.NamespaceIndex:
        text = f"ns={node.NamespaceIndex};{text}"
    server = getattr(node, "ServerIndex", None)
    return f"svr={server};{text}" if server else text


def variant_seen(variant: Any) -> tuple[int, Any]:
    kind, value = variant.VariantType, variant.Value
    if not variant.is_array:
        return kind.value, seen(kind, value)
    return kind.value | wire.ARRAY, nested_seen(kind, value)


def nested_seen(kind: V, value: Any) -> Any:
    return [nested_seen(kind, each) for each in value] if isinstance(value, list) else seen(kind, value)


def data_value_seen(data: Any) -> tuple[int, Any, int, int]:
    code, value = variant_seen(data.Value) if data.Value is not None else (0, None)
    stamp = data.SourceTimestamp or data.ServerTimestamp
    return code, value, data.StatusCode.value if data.StatusCode else 0, ticks(stamp) if stamp else 0


def ticks(moment: datetime) -> int:
    return (moment.replace(tzinfo=None) - datetime(1601, 1, 1)) // timedelta(microseconds=1) * 10


# --- values ----------------------------------------------------------------------------------------------------------

texts = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
moments = st.datetimes(datetime(1601, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(lambda m: m.replace(tzinfo=UTC))
status_codes = st.integers(0, 2**32 - 1).map(ua.StatusCode)
namespaces = st.integers(0, 2**16 - 1)
node_ids = st.one_of(
    st.builds(ua.TwoByteNodeId, st.integers(0, 255)),
    st.builds(ua.FourByteNodeId, st.integers(0, 2**16 - 1), st.integers(0, 255)),
    st.builds(ua.NumericNodeId, st.integers(0, 2**32 - 1), namespaces),
    st.builds(ua.StringNodeId, st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=9), namespaces),
    st.builds(ua.GuidNodeId, st.uuids(), namespaces),
    st.builds(ua.ByteStringNodeId, st.binary(min_size=1, max_size=9), namespaces),
)


@st.composite
def expanded(draw: Any) -> Any:
    plain = draw(node_ids.filter(lambda n: n.NodeIdType.name in ("Numeric", "String", "Guid", "ByteString")))
    uri = draw(st.none() | st.sampled_from(["urn:shop", "urn:a;b", "http://x/50%"]))
    index = 0 if uri else plain.NamespaceIndex
    return ua.ExpandedNodeId(plain.Identifier, index, plain.NodeIdType, uri, draw(st.sampled_from([0, 0, 7])))


def localized(text: Any, locale: Any) -> Any:
    return ua.LocalizedText(text, locale)


# asyncua writes an inner one as an extension object: those are tested by hand.
diagnostics = st.builds(
    ua.DiagnosticInfo,
    SymbolicId=st.none() | st.integers(0, 9),
    AdditionalInfo=st.none() | st.just(b"low voltage"),
    InnerStatusCode=st.none() | status_codes,
)
structures = st.one_of(
    st.builds(ua.Range, st.floats(), st.floats()),
    st.builds(ua.EUInformation, texts, st.integers(-(2**31), 2**31 - 1), st.builds(localized, texts, texts)),
)
SCALARS: dict[V, Any] = {
    V.Boolean: st.booleans(),
    V.SByte: st.integers(-(2**7), 2**7 - 1),
    V.Byte: st.integers(0, 2**8 - 1),
    V.Int16: st.integers(-(2**15), 2**15 - 1),
    V.UInt16: st.integers(0, 2**16 - 1),
    V.Int32: st.integers(-(2**31), 2**31 - 1),
    V.UInt32: st.integers(0, 2**32 - 1),
    V.Int64: st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1]),
    V.UInt64: st.integers(0, 2**64 - 1) | st.just(2**64 - 1),
    V.Float: st.floats(width=32),
    V.Double: st.floats(),
    V.String: texts,
    V.DateTime: moments,
    V.Guid: st.uuids(),
    V.ByteString: st.none() | st.binary(max_size=12),
    V.XmlElement: st.text(st.characters(exclude_categories=("Cs",)), max_size=9).map(ua.XmlElement),
    V.NodeId: node_ids,
    V.ExpandedNodeId: expanded(),
    V.StatusCode: status_codes,
    V.QualifiedName: st.builds(ua.QualifiedName, texts.filter(bool), st.integers(0, 2**15 - 1)),  # asyncua: no more
    V.LocalizedText: st.builds(localized, texts, texts),
    V.ExtensionObject: structures,
    V.DiagnosticInfo: diagnostics,
}


def arrays(kind: V, elements: Any) -> Any:
    flat = st.lists(elements, max_size=5).map(lambda v: ua.Variant(v, kind, is_array=True))
    shape = st.lists(st.integers(1, 3), min_size=2, max_size=3)
    matrix = shape.flatmap(
        lambda sizes: st.lists(elements, min_size=math.prod(sizes), max_size=math.prod(sizes)).map(
            lambda v: ua.Variant(folded(v, sizes), kind, Dimensions=sizes, is_array=True)
        )
    )
    return flat | matrix


def folded(values: list[Any], sizes: list[int]) -> list[Any]:
    for size in reversed(sizes[1:]):
        values = [values[at : at + size] for at in range(0, len(values), size)]
    return values


def scalars(kind: V) -> Any:
    return SCALARS[kind].map(lambda value: ua.Variant(value, kind, is_array=False))


def data_values(inner: Any) -> Any:
    return st.builds(
        ua.DataValue,
        st.none() | inner,
        st.none() | status_codes,
        st.none() | moments,
        st.none() | moments,
    )


plain_variants = st.sampled_from(list(SCALARS)).flatmap(lambda kind: scalars(kind) | arrays(kind, SCALARS[kind]))
variants = st.recursive(
    plain_variants,
    lambda inner: arrays(V.Variant, inner) | data_values(inner).map(lambda d: ua.Variant(d, V.DataValue)),
    max_leaves=5,
)


# --- the same values -------------------------------------------------------------------------------------------------


def same(ours: Any, expected: Any) -> bool:
    """Equal, with NaN equal to NaN, 0.0 not to -0.0, and 1 not to True or 1.0."""
    if isinstance(ours, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(ours) == len(expected) and all(map(same, ours, expected))
    if isinstance(ours, float) and isinstance(expected, float):
        return struct.pack("d", ours) == struct.pack("d", expected) or (math.isnan(ours) and math.isnan(expected))
    return type(ours) is type(expected) and bool(ours == expected)


@settings(max_examples=400)
@given(data_values(variants))
def test_every_value_is_what_asyncua_reads(data: Any) -> None:
    bytes_ = struct_to_binary(data)
    reader = wire.Reader(bytes_)
    ours = reader.data_value()
    assert reader.at == len(bytes_)
    theirs = struct_from_binary(ua.DataValue, Buffer(bytes_))
    assert same(ours, data_value_seen(data)), "what was written"
    assert same(ours, data_value_seen(theirs)), "what asyncua reads"


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), data_values(variants)), max_size=5), st.integers(0, 2))
def test_every_notification_is_what_asyncua_reads(items: list[tuple[int, Any]], extra: int) -> None:
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = 7
    response.Parameters.NotificationMessage.SequenceNumber = 9
    response.Parameters.NotificationMessage.NotificationData = [
        *[ua.StatusChangeNotification()] * extra,
        ua.DataChangeNotification(MonitoredItems=[ua.MonitoredItemNotification(h, d) for h, d in items]),
    ]
    found = wire.publish_response(struct_to_binary(response))
    assert (found.subscription, found.sequence) == (7, 9)
    values = found.values
    assert values is not None
    assert values.signal == [handle for handle, _ in items]
    columns = zip(values.type, values.value, values.status, values.time, strict=True)
    assert same(list(columns), [data_value_seen(data) for _, data in items])


@given(plain_variants)
def test_a_value_is_the_same_through_asyncuas_own_hands(variant: Any) -> None:
    again = variant_to_binary(variant_from_binary(Buffer(variant_to_binary(variant))))
    assert same(wire.Reader(again).variant(), variant_seen(variant))


# --- by hand, from the standard --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bytes_", "expected"),
    [
        # Part 6, 5.2.2.4, figure 1 and 2: a text, and a Guid in little-endian halves.
        ("0c 06000000 e6b0b4426f79", (12, "水Boy")),
        ("0e 912b9672 75fa e64a 8d28b404dc7daf63", (14, "72962b91-fa75-4ae6-8d28-b404dc7daf63")),
        # 5.2.2.9: node ids of two and four bytes, and by text.
        ("11 00 72", (17, "i=114")),
        ("11 01 05 0104", (17, "ns=5;i=1025")),
        ("11 03 0100 06000000 486f74e6b0b4", (17, "ns=1;s=Hot水")),
        ("11 05 0200 03000000 0102ff", (17, "ns=2;b=AQL/")),
        # 5.2.2.10: an expanded one, its URI instead of the index; and on another server.
        ("12 82 0000 07000000 05000000 75726e3a61", (18, "nsu=urn:a;i=7")),
        ("12 c2 0000 07000000 05000000 75726e3b61 03000000", (18, "svr=3;nsu=urn%3Ba;i=7")),
        # 5.2.2.14: localized texts with and without parts.
        ("15 00", (21, None)),
        ("15 02 02000000 6f6b", (21, "ok")),
        ("15 03 02000000 6465 02000000 6a61", (21, "ja")),
        ("14 ffff 01000000 78", (20, "x")),
        # A DiagnosticInfo with a symbol, and the additional information of an inner one (5.2.2.12).
        ("19 41 05000000 30 02000000 6f6b 00000180", (25, "ok")),
        # Null texts and byte strings, and empty ones.
        ("0c ffffffff", (12, None)),
        ("0c 00000000", (12, "")),
        ("0f ffffffff", (15, None)),
        # Dates: 0 and before, and the end of 9999, are none (5.2.2.5).
        ("0d 0000000000000000", (13, None)),
        ("0d ffffffffffffffff", (13, None)),
        ("0d ffffffffffffff7f", (13, None)),
        ("0d 80a927d15e5ac824", (13, None)),
        ("0d 76a927d15e5ac824", (13, "9999-12-31T23:59:58.999999Z")),
        ("0d 0a00000000000000", (13, "1601-01-01T00:00:00.000001Z")),
        # Arrays: null, empty, with elements, of two dimensions with the last one changing fastest (5.2.2.16).
        ("86 ffffffff", (0x86, None)),
        ("86 00000000", (0x86, [])),
        ("86 02000000 01000000 02000000", (0x86, [1, 2])),
        ("c3 06000000 010203040506 02000000 02000000 03000000", (0x83, [[1, 2, 3], [4, 5, 6]])),
        ("c3 00000000 02000000 00000000 05000000", (0x83, [])),
        # Dimensions that are not those of the values: nothing in it would be sure, what follows can be read.
        ("c3 04000000 01020304 02000000 02000000 03000000", (0x83, wire.Unreadable("4 values in an array of 2x3"))),
        ("c3 01000000 01 02000000 ffffffff ffffffff", (0x83, wire.Unreadable("1 values in an array of -1x-1"))),
        # Unassigned types are byte strings (5.2.2.16).
        ("1a 02000000 0aff", (26, "0aff")),
        # Extension objects: without a body, in XML, binary.
        ("16 0072 00", (22, wire.Body(NodeId(0, "i", 114), None))),
        ("16 0072 02 04000000 3c612f3e", (22, wire.Body(NodeId(0, "i", 114), b"<a/>", xml=True))),
        ("16 02 0300 01000000 01 02000000 0102", (22, wire.Body(NodeId(3, "i", 1), b"\1\2"))),
        ("16 0072 01 ffffffff", (22, wire.Body(NodeId(0, "i", 114), None))),
        # Variants only in arrays; null ones too.
        ("98 02000000 00 0b 000000000000f03f", (0x98, [wire.Tagged(0, None), wire.Tagged(11, 1.0)])),
        # A DataValue in a Variant: bad, with a server time stamp of 1 s.
        ("17 0a 00000180 8096980000000000", (23, wire.Stamped(0, None, 0x80010000, 10_000_000))),
    ],
)
def test_values_of_the_standard(bytes_: str, expected: tuple[int, Any]) -> None:
    data = bytes.fromhex(bytes_)
    reader = wire.Reader(data + b"\xee")
    assert same(reader.variant(), expected)
    assert reader.at == len(data)


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, -1, 2**53 + 1])
def test_no_whole_number_is_rounded(number: int) -> None:
    assert wire.Reader(struct.pack("<Bq", 8, number)).variant() == (8, number)
    assert wire.Reader(struct.pack("<Biqq", 0x88, 2, number, 0)).variant() == (0x88, [number, 0])


def test_the_largest_whole_number_is_exact() -> None:
    assert wire.Reader(struct.pack("<BQ", 9, 2**64 - 1)).variant() == (9, 2**64 - 1)
    assert wire.Reader(struct.pack("<BiQ", 0x89, 1, 2**64 - 1)).variant() == (0x89, [2**64 - 1])


# --- what no server should send --------------------------------------------------------------------------------------


def response(data: Any) -> bytes:
    """A read response with one value."""
    return struct_to_binary(ua.ReadResponse(Results=[data]))


def notification(data: Any) -> bytes:
    """A publish response with one value."""
    response = ua.PublishResponse()
    response.Parameters.NotificationMessage.NotificationData = [
        ua.DataChangeNotification(MonitoredItems=[ua.MonitoredItemNotification(3, data)])
    ]
    return struct_to_binary(response)


def is_read_or_refused(data: bytes) -> None:
    for read in (wire.publish_response, wire.read_response, lambda data: wire.republish_response(7, data)):
        with suppress(wire.GarbledError):
            read(data)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_in_one_way(data: bytes) -> None:
    is_read_or_refused(data)
    is_read_or_refused(response(ua.DataValue())[:28] + data)


@given(data_values(variants), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_in_one_way(data: Any, flips: list[tuple[int, int]]) -> None:
    for whole in (response(data), notification(data)):
        broken = bytearray(whole)
        for at, byte in flips:
            broken[at % len(broken)] = byte
        is_read_or_refused(bytes(broken))


@given(data_values(variants), st.integers(1, 40))
def test_an_answer_that_is_cut_off_is_refused(data: Any, missing: int) -> None:
    whole = response(data)
    wire.read_response(whole)
    with pytest.raises(wire.GarbledError):
        wire.read_response(whole[: -4 - missing])  # the last 4 bytes are the count of diagnostics, which nobody reads


EMPTY = ua.DataValue(Value=None, StatusCode=None)  # two bytes, mask and type; behind it the number of diagnostics: 4


def value_of(bytes_: bytes) -> bytes:
    """A read response with a value that is written by hand."""
    empty = response(EMPTY)
    return empty[:-5] + bytes_ + empty[-4:]


@pytest.mark.parametrize("code", range(1, 32))
def test_an_array_that_is_not_there_is_not_made(code: int) -> None:
    """Two thousand million elements of it are announced, in a few bytes."""
    for announced in (2**31 - 1, 2**24):
        for bytes_ in (
            struct.pack("<Bi", code | 0x80, announced) + b"\0" * 64,
            struct.pack("<Bi", code | 0xC0, announced) + b"\0" * 64,
            struct.pack("<Bii", code | 0xC0, 0, announced) + b"\1" * 64,
        ):
            tracemalloc.start()
            try:
                with pytest.raises(wire.GarbledError, match=r"announced|unknown|ends too early"):
                    wire.read_response(value_of(bytes_))
                assert tracemalloc.get_traced_memory()[1] < 100_000
            finally:
                tracemalloc.stop()


def test_dimensions_without_elements_are_not_made() -> None:
    """2^31 - 1 rows of nothing are an empty array; so are a million dimensions, which would be a million lists deep."""
    tracemalloc.start()
    try:
        _, values = wire.read_response(value_of(struct.pack("<Biiii", 0xC3, 0, 2, 2**31 - 1, 0)))
        assert values.value == [[]]
        deep = struct.pack("<BiBi", 0xC3, 1, 7, 1_000_000) + struct.pack("<i", 1) * 1_000_000
        (value,) = wire.read_response(value_of(deep))[1].value
        assert isinstance(value, wire.Unreadable)
        large = struct.pack("<BiBi", 0xC3, 1, 7, 100_000) + struct.pack("<i", 2**31 - 1) * 100_000
        (value,) = wire.read_response(value_of(large))[1].value
        assert isinstance(value, wire.Unreadable)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def nested(depth: int, kind: str) -> bytes:
    """Variants, DataValues or DiagnosticInfos in each other."""
    if kind == "variant":
        return struct.pack("<Bi", 0x98, 1) * depth + b"\3\7"
    if kind == "data value":
        return b"\x17\1" * depth + b"\3\7"
    return b"\x19" + b"\x40" * depth + b"\0"


@pytest.mark.parametrize("kind", ["variant", "data value", "diagnostic info"])
def test_nesting_has_an_end(kind: str) -> None:
    """At least 100 levels have to be read (Part 6, 5.2.2.12 and 5.2.2.16); a hundred thousand would end our stack."""
    wire.read_response(value_of(nested(99, kind)))
    for depth in (101, 500, 100_000):
        with pytest.raises(wire.GarbledError, match="more than 100 deep"):
            wire.read_response(value_of(nested(depth, kind)))


def test_the_levels_of_one_value_are_not_counted_on_the_next() -> None:
    empty = response(EMPTY)
    for kind in ("variant", "data value", "diagnostic info"):
        value = b"\1" + nested(60, kind)
        many = empty[:-10] + struct.pack("<i", 5) + value * 5 + empty[-4:]
        assert len(wire.read_response(many)[1].value) == 5
