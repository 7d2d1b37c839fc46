"""From bytes to readings. The bytes are written by asyncua's encoder, or by hand where that is wrong."""

import random
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from adapters.opcua import decode, wire
from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    NOT_AVAILABLE,
    WRONG_TYPE,
    Batch,
    Header,
    MachinePath,
    Signal,
    Value,
    ValueType,
)

ARRIVAL = 1_800_000_000_000_000_000
STAMP = datetime(2026, 2, 3, 4, 5, 6, 789_123, tzinfo=UTC)
STAMP_NS = 1_770_091_506_789_123_000
ZERO = datetime(1601, 1, 1, tzinfo=UTC)


def published(*values: ua.DataValue, extra: list[Any] | None = None) -> wire.Published:
    """What is read from a publish response that asyncua has encoded; the client handle counts from 0."""
    items = [ua.MonitoredItemNotification(i, value) for i, value in enumerate(values)]
    response = ua.PublishResponse()
    response.ResponseHeader.StringTable = ["a", None]
    response.ResponseHeader.ServiceDiagnostics = ua.DiagnosticInfo(SymbolicId=1, AdditionalInfo=b"x")
    response.Parameters.SubscriptionId = 77
    response.Parameters.AvailableSequenceNumbers = [4, 5]
    response.Parameters.NotificationMessage.SequenceNumber = 5
    response.Parameters.NotificationMessage.NotificationData = [
        *(extra or []),
        *([ua.DataChangeNotification(MonitoredItems=items)] if items else []),
    ]
    return wire.publish_response(struct_to_binary(response))


def readings(types: list[ValueType], *values: ua.DataValue) -> Batch:
    header = Header(MachinePath("m"), tuple(Signal(f"s{i}", t) for i, t in enumerate(types)))
    found = published(*values).values
    assert found
    return decode.batch(header, types, found, ARRIVAL)


def data(value: Any, kind: ua.VariantType, status: int = 0, source: Any = STAMP, server: Any = None) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), source, server)


V = ua.VariantType


@pytest.mark.parametrize(
    ("kind", "value", "type", "expected"),
    [
        (V.Boolean, True, "bool", True),
        (V.SByte, -128, "int", -128),
        (V.Byte, 255, "int", 255),
        (V.Int16, -32768, "int", -32768),
        (V.UInt16, 65535, "int", 65535),
        (V.Int32, -(2**31), "int", -(2**31)),
        (V.UInt32, 2**32 - 1, "int", 2**32 - 1),
        (V.Int64, -(2**63), "int", -(2**63)),
        (V.Int64, 2**63 - 1, "int", 2**63 - 1),
        (V.UInt64, 2**64 - 1, "int", 2**64 - 1),
        (V.Float, 21.5, "float", 21.5),
        (V.Double, 0.1, "float", 0.1),
        (V.String, "façade №5", "string", "façade №5"),
        (V.String, "", "string", ""),
        (V.DateTime, datetime(2024, 2, 29, 6, 30, 0, 250_000, tzinfo=UTC), "string", "2024-02-29T06:30:00.250000Z"),
        (V.ByteString, b"\x01\xfe", "string", "01fe"),
        (V.StatusCode, ua.StatusCode(0x808C0000), "int", 0x808C0000),
        (V.LocalizedText, ua.LocalizedText("läuft", "de"), "string", "läuft"),
        (V.LocalizedText, ua.LocalizedText("runs"), "string", "runs"),
        (V.QualifiedName, ua.QualifiedName("Name", 3), "string", "Name"),
        (V.NodeId, ua.NodeId("a", 3), "string", "ns=3;s=a"),
        (V.NodeId, ua.NodeId(2258, 0), "string", "i=2258"),
    ],
)
def test_a_value_is_what_it_was(kind: ua.VariantType, value: Any, type: ValueType, expected: Value) -> None:
    for stamps in ({"source": STAMP}, {"source": STAMP, "server": ZERO}, {"source": None, "server": STAMP}):
        batch = readings([type, "int"], data(value, kind, **stamps), data(7, V.Int16))
        assert (batch.value[0], batch.time[0], batch.quality) == (expected, STAMP_NS, None)
        assert batch.value[1] == 7, "the next value is read from its own place"


@pytest.mark.parametrize(
    "value",
    [
        ua.Variant([1.5, 2.5], V.Double),
        ua.Variant(["a", None, "b"], V.String),
        ua.Variant([[1, 2], [3, 4]], V.Int32),
        ua.Variant(ua.EUInformation("urn:x", 1, ua.LocalizedText("mm"), ua.LocalizedText("x")), V.ExtensionObject),
        ua.Variant([ua.Range(0, 1), ua.Range(2, 3)], V.ExtensionObject),
        ua.Variant([ua.Variant(3, V.Byte), ua.Variant("x", V.String)], V.Variant),
    ],
)
def test_what_cannot_be_carried_is_bad_and_disturbs_nobody(value: ua.Variant) -> None:
    batch = readings(["float", "float"], ua.DataValue(value, SourceTimestamp=STAMP), data(7.5, V.Double))
    assert batch.value == [None, 7.5]
    assert batch.quality == [CONFIG_ERROR, GOOD]


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (0x00960000, 3.5),  # good, local override
        (0x000000C0, 3.5),  # 0xC0 is good in older protocols, and a flag here
        (0x40900000, 3.5),  # uncertain
        (0x00000480, 3.5),  # good, and something before it was dropped
        (0x808C0000, None),  # a bad one has no value, whatever is sent along
        (0x80320000, None),
    ],
)
def test_a_status_code_is_kept_whole(status: int, value: float | None) -> None:
    batch = readings(["float"], data(3.5, V.Double, status))
    assert (list(batch.value), batch.quality) == ([value], [status])


def test_an_overflow_is_counted() -> None:
    found = published(
        data(1, V.Byte, 0x480), data(1, V.Byte), data(1, V.Byte, 0x40900480), data(1, V.Byte, 0x80)
    ).values
    assert found
    assert decode.overflowed(found) == [0, 2]


@pytest.mark.parametrize(
    "source", [None, ZERO, datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_a_stamp_that_means_none_is_the_arrival(source: datetime | None) -> None:
    assert readings(["int"], data(1, V.Byte, source=source)).time == [ARRIVAL]
    assert readings(["string"], data("a", V.String, source=source)).time == [ARRIVAL]


@pytest.mark.parametrize(
    ("kind", "sent", "type", "expected"),
    [
        (V.Int32, 7, "float", 7.0),
        (V.Int64, 2**53 + 1, "float", None),
        (V.Double, 7.0, "int", 7),
        (V.Double, 7.5, "int", None),
        (V.Double, float("nan"), "int", None),
        (V.Boolean, True, "int", 1),
        (V.Byte, 1, "bool", True),
        (V.Byte, 2, "bool", None),
        (V.String, "7", "int", None),
        (V.Int32, 7, "string", None),
    ],
)
def test_a_type_never_changes(kind: ua.VariantType, sent: Any, type: ValueType, expected: Value) -> None:
    batch = readings([type], data(sent, kind))
    assert list(batch.value) == [expected]
    assert expected is None or isinstance(batch.value[0], {"float": float, "int": int, "bool": bool}[type])
    assert batch.quality == ([WRONG_TYPE] if expected is None else None)


def test_null_is_not_a_value() -> None:
    batch = readings(
        ["int", "string", "float"], ua.DataValue(), data(None, V.String), ua.DataValue(Value=None, StatusCode=None)
    )
    assert list(batch.value) == [None] * 3
    assert batch.quality == [NOT_AVAILABLE] * 3


def test_nan_is_left_to_the_normalizer() -> None:
    batch = readings(["float"], data(float("nan"), V.Double))
    assert str(batch.value[0]) == "nan"
    assert batch.quality is None


def test_picoseconds_stand_behind_their_own_stamp() -> None:
    """Part 6, 5.2.2.17: source, its picoseconds, server, its picoseconds. asyncua writes them in another order."""
    ticks = STAMP_NS // 100 + 116_444_736_000_000_000
    for source, server, expected in ((True, True, STAMP_NS), (False, True, STAMP_NS), (True, False, STAMP_NS)):
        mask = 1 | 4 * source | 8 * server | 16 * source | 32 * server
        body = struct.pack("<B", mask) + struct.pack("<Bd", 11, 2.5)
        body += struct.pack("<qH", ticks, 5000) * source
        body += struct.pack("<qH", ticks if not source else 5, 9) * server
        for handle, read in ((b"", "data_value"), (struct.pack("<iI", 1, 3), "monitored_items")):
            reader, values = wire.Reader(handle + body + b"\0" * 8), wire.Values()
            if read == "data_value":
                values.add(3, *reader.data_value())
            else:
                reader.monitored_items(values)
            assert reader.at == len(handle + body)
            assert (values.value, values.signal) == ([2.5], [3])
            assert (values.time[0] - 116_444_736_000_000_000) * 100 == expected


def test_a_publish_response_says_whose_it_is() -> None:
    assert replace(published(), time=0) == wire.Published(0, 77, 5)
    ended = published(extra=[ua.StatusChangeNotification(Status=ua.StatusCode(0x800A0000))])
    assert (ended.ended, ended.values) == (0x800A0000, None)
    events = published(
        data(3, V.Byte), extra=[ua.EventNotificationList(Events=[ua.EventFieldList(1, [ua.Variant("x")])])]
    )
    assert events.values
    assert events.values.value == [3]


def test_several_values_of_one_signal_stay_in_their_order() -> None:
    items = [ua.MonitoredItemNotification(0, data(n, V.Int32)) for n in (3, 1, 2)]
    found = published(extra=[ua.DataChangeNotification(MonitoredItems=items)]).values
    assert found
    assert (found.signal, found.value) == ([0, 0, 0], [3, 1, 2])


def test_bytes_that_are_no_answer_are_refused_in_one_way() -> None:
    whole = struct_to_binary(
        ua.ReadResponse(Results=[data(1.5, V.Double), data("text", V.String), data([1, 2], V.Int32), ua.DataValue()])
    )
    assert wire.read_response(whole)[1].value == [1.5, "text", [1, 2], None]
    rng = random.Random(1)
    for cut in range(len(whole) - 4):
        with pytest.raises(wire.GarbledError, match=r"ends too early|unknown"):
            wire.read_response(whole[:cut])
    for _ in range(2000):
        broken = bytearray(whole)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        for read in (wire.read_response, wire.publish_response):
            with suppress(ValueError):
                read(bytes(broken))
