"""Servers that are broken, or wicked: what they send is refused in time, with a reason, and costs neither memory nor others.

Each test has its control: the same server, once it behaves, is read.
"""

import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary, unpack_uatype_array

from adapters.opcua.framing import Frames
from adapters.opcua.wire import GarbledError
from gateway.errors import NotConnectedError
from opcua.helpers import Reader
from parts.gateway import Gateway
from parts.hostile import HELLO, OPENED, Evil, Hostile, Line, double, ua
from parts.mosquitto import Mosquitto
from parts.node_opcua import NodeOpcua
from parts.process import wait_until

MANY = 2**31 - 1
READ, OPEN, PUBLISH = 634, 449, 829  # encodings of responses: OPC UA NodeIds.csv


@pytest.fixture
def server() -> Iterator[Hostile]:
    with Hostile() as made:
        yield made


def header(encoding: int) -> bytes:
    """The type of a response, and a header that says good."""
    return struct.pack("<BBH", 1, 0, encoding) + struct.pack("<qIIBi", 0, 0, 0, 0, -1) + b"\0\0\0"


def reads(body: bytes) -> dict[str, Evil]:
    return {"ReadRequest": lambda line, _: line.body(body)}


def published(*notifications: bytes, tail: bytes = b"") -> bytes:
    """A publish response of the subscription 77 with data change notifications, each with the length it announces."""
    head = header(PUBLISH) + struct.pack("<IiBIq", 77, 0, 0, 1, 133_000_000_000_000_000)
    return head + struct.pack("<i", len(notifications)) + b"".join(notifications) + tail + struct.pack("<ii", -1, -1)


def notification(count: int, items: bytes, length: int | None = None) -> bytes:
    body = struct.pack("<i", count) + items
    return struct.pack("<BBHBi", 1, 0, 811, 1, len(body) if length is None else length) + body


def publishes(body: bytes) -> dict[str, Evil]:
    return {"PublishRequest": lambda line, _: line.body(body)}


# --- chunks ------------------------------------------------------------------------------------------------------------


def chunk(size: int, kind: bytes = b"MSGF") -> bytes:
    return kind + struct.pack("<I", size) + bytes(size - 8)


@pytest.mark.parametrize("step", [1, 2, 7, 9, 100, 1000])
def test_chunks_are_whole_however_they_arrive(step: int) -> None:
    sent = chunk(20, b"ACKF") + chunk(132) + chunk(40, b"MSGC") + chunk(33, b"MSGA") + chunk(8, b"ERRF")
    frames, got = Frames(), b""
    for at in range(0, len(sent), step):
        whole = frames.feed(sent[at : at + step])
        assert not whole or whole[:3] in (b"ACK", b"MSG", b"ERR")
        got += whole
    assert got == sent


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP, not OPC UA"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH, not OPC UA"),
        (b"\x15\x03\x01\x00\x02\x02F", "TLS, not OPC UA"),
        (b"\x00\x01", "something else, not OPC UA"),
        (b"MSGF\x00\x00\x00\x00", "a chunk of 0 bytes"),
        (b"MSGX\x20\x00\x00\x00", "a chunk of 32 bytes"),
        (b"MSGF\xff\xff\xff\x7f", "more than 1 MB"),
        (chunk(600_000, b"MSGC") + chunk(600_000, b"MSGC"), "more than 1 MB"),
        (chunk(24, b"MSGC") * 200, "more than 128 chunks"),
        (chunk(20, b"ACKF") + b"HTTP", "none of OPC UA"),
    ],
)
def test_what_is_no_chunk(sent: bytes, said: str) -> None:
    with pytest.raises(GarbledError, match=said):
        Frames().feed(sent)


def test_many_messages_are_not_one() -> None:
    frames = Frames()
    for _ in range(20):
        assert frames.feed(chunk(600_000))
    for _ in range(1000):
        assert frames.feed(chunk(24))


# --- answers that nobody can read ----------------------------------------------------------------------------------------


def _for_ever(line: Line, data: bytes) -> None:
    while True:
        line.raw(data)


def _endless(line: Line, _: Any) -> None:
    while True:
        line.chunk(bytes(60_000), last=b"C")


def _huge(line: Line, _: Any) -> None:
    line.raw(b"MSGF" + struct.pack("<II", MANY, line.channel))
    _for_ever(line, bytes(65536))


NULLS = header(READ) + struct.pack("<i", 1) + b"\x01\x80" + struct.pack("<ii", MANY, -1)
STRINGS = struct.pack("<BBH", 1, 0, READ) + struct.pack("<qIIBi", 0, 0, 0, 0, MANY) + struct.pack("<i", -4)
OPENING = struct.pack("<BBH", 1, 0, OPEN) + struct.pack("<qIIBi", 0, 0, 0, 0, MANY) + struct.pack("<i", -4)

REFUSED: dict[str, tuple[dict[str, Evil], str]] = {
    "another protocol": ({HELLO: lambda line, _: line.raw(b"HTTP/1.1 400 \r\n\r\n")}, "this is HTTP, not OPC UA"),
    "a huge hello": ({HELLO: _huge}, "more than 1 MB"),
    "no room for us": (
        {HELLO: lambda line, _: line.raw(b"ACKF" + struct.pack("<6I", 28, 0, 0, 0, 0, 0))},
        "0 bytes at",
    ),
    "a huge answer": ({"ReadRequest": _huge}, "more than 32 MB"),
    "an answer without end": ({"ReadRequest": _endless}, "more than 32 MB"),
    "chunks of nothing": (
        {"ReadRequest": lambda line, _: _for_ever(line, b"MSGC\x00\x00\x00\x00")},
        "a chunk of 0 bytes",
    ),
    "another request": ({"ReadRequest": lambda line, _: line.chunk(bytes(50_000), 4711)}, "request 4711"),
    "another channel": ({"ReadRequest": lambda line, _: line.chunk(b"", channel=9)}, "Wrong channel id 9"),
    "backwards": ({"ReadRequest": lambda line, _: line.chunk(b"", sequence=1)}, "wrong sequence"),
    "nothing": ({"ReadRequest": lambda line, _: line.chunk(b"")}, "cannot be read"),
    "another type": (
        {"ReadRequest": lambda line, _: line.answer(ua.BrowseResponse())},
        "of another type to a ReadRequest",
    ),
    "too many": (
        reads(header(READ) + struct.pack("<i", 3_000_000) + bytes(3_000_000)),
        "more nodes than were asked for",
    ),
    "two billion nulls in 40 bytes": (reads(NULLS), "2147483647 values without a type"),
    "two billion strings in 28 bytes": (reads(STRINGS), "2147483647 elements announced"),
    "a channel of two billion strings": (
        {OPENED: lambda line, _: line.chunk(OPENING, kind=b"OPN")},
        "cannot be read|lost",
    ),
    "values within values": (
        reads(header(READ) + struct.pack("<i", 1) + b"\x01" + b"\x98\x01\0\0\0" * 99_999),
        "Recursion",
    ),
    "no channel": ({OPENED: lambda line, _: line.fault(0x80010000)}, "BadUnexpectedError|lost|cannot be read"),
    "no session": ({"CreateSessionRequest": lambda line, _: line.body(header(464))}, "cannot be read"),
    "no items": (
        {"CreateMonitoredItemsRequest": lambda line, _: line.answer(ua.CreateMonitoredItemsResponse())},
        "no answer about",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_read_is_refused_in_time_and_explained(server: Hostile, name: str) -> None:
    evil, said = REFUSED[name]
    server.on = dict(evil)
    reader = Reader(server.url, {"a": "m:s=A"})
    began = time.monotonic()
    with pytest.raises(NotConnectedError, match=said) as caught:
        await reader.adapter.connect()
    assert str(caught.value).startswith("cnc 127.0.0.1:")
    assert len(str(caught.value)) < 500
    await reader.adapter.close()
    assert time.monotonic() - began < 6
    server.on = {}  # the control
    async with reader:
        await reader.until(lambda: 2.5 in reader.values("a"))


def test_the_library_alone_believes_it() -> None:
    """The control of the two billion: asyncua makes as many strings of eight bytes as they say."""
    few = struct.pack("<ii", 100_000, -4)
    assert len(unpack_uatype_array(ua.VariantType.String, Buffer(few)) or ()) == 100_000


async def test_a_server_that_sends_byte_by_byte(server: Hostile) -> None:
    def slowly(line: Line, _: Any) -> None:
        for byte in line.chunked(header(READ), line.request_id):
            line.raw(bytes((byte,)))
            time.sleep(0.2)

    server.on = {"ReadRequest": slowly}
    reader = Reader(server.url, {"a": "m:s=A"})
    began = time.monotonic()
    with pytest.raises(NotConnectedError, match="no answer in time"):
        await reader.adapter.connect()
    await reader.adapter.close()
    assert time.monotonic() - began < 8


# --- notifications -----------------------------------------------------------------------------------------------------


ITEM = struct.pack("<IBBd", 0, 1, 11, 6.66)
LOST: dict[str, tuple[bytes, str]] = {
    "more items than bytes": (published(notification(500_000, ITEM * 3)), "500000 (elements|items) announced"),
    "one in the other": (
        published(*[notification(500_000, b"", 4)] * 50_000, tail=bytes(2_500_000)), "items announced|bytes announced"
    ),
    "too many items": (published(notification(3_000_000, ITEM[:4] + b"\0" + bytes(5 * 2_999_999))), "more values than"),
    "variants of one byte": (
        published(notification(1, struct.pack("<IBBi", 0, 1, 0x98, 4_000_000) + bytes(4_000_000))), "more values than"
    ),
    "another answer": (struct_to_binary(ua.ReadResponse(Results=[double(6.66)] * 3)), "of another type to a Publish"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
async def test_notifications_that_cannot_be_read_end_the_line_and_nothing_of_them_arrives(
    server: Hostile, name: str
) -> None:
    evil, said = LOST[name]
    async with Reader(server.url, {"a": "m:s=A"}) as reader:
        await reader.until(lambda: 2.5 in reader.values("a"))
        server.on = publishes(evil)
        began = time.monotonic()
        assert said_by(await reader.lost(), said)
        assert time.monotonic() - began < 5
        assert 6.66 not in reader.values("a")
        server.on = {}
        before = len(reader.values("a"))
        await reader.reconnect()
        await reader.until(lambda: len(reader.values("a")) > before + 2)


def said_by(text: str, pattern: str) -> bool:
    assert re.search(pattern, text), text
    return True


async def test_values_of_nodes_that_nobody_monitors_are_left_out(server: Hostile, caplog: Any) -> None:
    def strangers(line: Line, _: Any) -> None:
        line.waiting.append(line.request_id)
        time.sleep(0.05)
        line.notify([(handle, double(6.66)) for handle in (1, 5000, 2**32 - 1)] + [(0, double(7.5))])

    server.on = {"PublishRequest": strangers}
    async with Reader(server.url, {"a": "m:s=A"}) as reader:
        await reader.until(lambda: reader.values("a").count(7.5) > 20)
        assert 6.66 not in reader.values("a")
    assert caplog.text.count("not monitored") == 1


async def test_times_at_the_extremes(server: Hostile) -> None:
    ticks = [0, 1, -1, 2**63 - 1, -(2**63), 2_650_467_744_000_000_000, 116_444_736_000_000_000]

    def extremes(line: Line, _: Any) -> None:
        line.waiting.append(line.request_id)
        time.sleep(0.02)
        for tick in ticks[: len(line.waiting)]:
            n = next(line.published)
            item = struct.pack("<IBBdq", 0, 5, 11, float(n), ticks[n % len(ticks)])
            head = header(PUBLISH) + struct.pack("<IiBIq", 77, 0, 0, n, tick) + struct.pack("<i", 1)
            line.body(
                head + notification(1, item + struct.pack("<i", 0)) + struct.pack("<ii", 0, 0), line.waiting.pop(0)
            )

    server.on = {"PublishRequest": extremes}
    now = datetime.now(UTC)
    async with Reader(server.url, {"a": "m:s=A"}) as reader:
        await reader.until(lambda: len(reader.got["a"]) > 20)
        for at, _, _ in reader.got["a"]:
            # Where the stamp can be none: when it arrived. 1970 itself can be one, and is kept out of what stores take.
            assert abs(datetime.fromtimestamp(at / 1e9, UTC) - now) < timedelta(minutes=1)


# --- structures --------------------------------------------------------------------------------------------------------

TYPE, ENCODING = ua.NodeId(3001, 1), ua.NodeId(5001, 1)


def structured(fields: Callable[[int], list[int]], body: bytes) -> dict[str, Evil]:
    """A node of the type 3001, whose fields have the types that `fields` tells, and so on."""

    def definition(number: int) -> Any:
        made = [
            ua.StructureField(
                Name=f"f{i}", DataType=ua.NodeId(id, 1 if id > 100 else 0), ValueRank=-1, ArrayDimensions=[],
                MaxStringLength=0, IsOptional=False, Description=ua.LocalizedText(),
            )
            for i, id in enumerate(fields(number))
        ]  # fmt: skip
        return ua.StructureDefinition(
            DefaultEncodingId=ua.NodeId(number + 2000, 1), BaseDataType=ua.NodeId(22),
            StructureType=ua.StructureType.Structure, Fields=made,
        )  # fmt: skip

    value = ua.DataValue(ua.Variant(ua.ExtensionObject(ENCODING, body), ua.VariantType.ExtensionObject))

    def read(line: Line, request: Any) -> None:
        results = []
        for wanted in request.Parameters.NodesToRead:
            node, attribute = wanted.NodeId, wanted.AttributeId
            if node.Identifier == "A" and attribute == ua.AttributeIds.DataType:
                results.append(ua.DataValue(ua.Variant(TYPE, ua.VariantType.NodeId)))
            elif node.Identifier == "A" and attribute == ua.AttributeIds.Value:
                results.append(value)
            elif node.NamespaceIndex == 1 and attribute == ua.AttributeIds.DataTypeDefinition:
                results.append(ua.DataValue(ua.Variant(definition(node.Identifier), ua.VariantType.ExtensionObject)))
            else:
                results.append(line.value(wanted))
        line.answer(ua.ReadResponse(Results=results))

    def browse(line: Line, request: Any) -> None:
        """Every encoding belongs to a type."""
        results = []
        for each in request.Parameters.NodesToBrowse:
            type = ua.ExpandedNodeId(each.NodeId.Identifier - 2000, 1, ua.NodeIdType.Numeric)
            found = ua.ReferenceDescription(ReferenceTypeId=ua.NodeId(38), NodeId=type)
            results.append(ua.BrowseResult(References=[found]))
        line.answer(ua.BrowseResponse(Results=results))

    def publish(line: Line, _: Any) -> None:
        line.waiting.append(line.request_id)
        time.sleep(0.05)
        line.notify([(handle, value) for handle in line.handles])

    return {"ReadRequest": read, "BrowseRequest": browse, "PublishRequest": publish}


STRUCTURES: dict[str, tuple[Callable[[int], list[int]], bytes]] = {
    "of itself": (lambda _: [3001, 11], bytes(8000)),
    "without end": (lambda number: [number + 1] * 3, bytes(8000)),
    "of structures without a byte": (lambda number: [number + 1] * 30 if number < 3010 else [], b""),
}


@pytest.mark.parametrize("name", STRUCTURES)
async def test_structures_that_never_end(server: Hostile, name: str) -> None:
    server.on = structured(*STRUCTURES[name])
    began = time.monotonic()
    async with Reader(server.url, {"a": {"node": "m:s=A", "field": "f0.f0"}, "b": "m:s=B"}) as reader:
        await reader.until(lambda: len(reader.got["a"]) > 5)
        assert all(value is None and quality >= 0x80000000 for _, value, quality in reader.got["a"])
        assert reader.values("b")[0] == 1.5
    assert time.monotonic() - began < 8


async def test_a_structure_that_ends_is_read(server: Hostile) -> None:
    """The control."""
    server.on = structured(lambda number: [number + 1, 11] if number < 3005 else [11], struct.pack("<5d", *range(5)))
    async with Reader(server.url, {"a": {"node": "m:s=A", "field": "f1"}}) as reader:
        await reader.until(lambda: len(reader.got["a"]) > 1)
        assert set(reader.values("a")) == {4.0}


# --- a gateway with others to care for ---------------------------------------------------------------------------------


def config(good: str, bad: Mapping[str, Hostile], broker: str) -> str:
    servers = {"good": good, **{name: server.url for name, server in bad.items()}}
    links = [
        f'  {n}: {{protocol: opcua, url: "{url}", security: None, publishing: 100ms, timeout: 2s}}'
        for n, url in servers.items()
    ]
    names = {"good": "m:s=CNC1.SpindleSpeed", **dict.fromkeys(bad, "m:s=A")}
    machines = [
        f'  {n}: {{connection: {n}, namespaces: {{m: "urn:shop:cnc"}}, signals: {{a: {{node: "{node}"}}}}}}'
        for n, node in names.items()
    ]
    return "\n".join(
        ["version: 1", "gateway: {id: edge-01, data_dir: data}", "connections:", *links, "machines:", *machines,
         f'mqtt: {{url: "{broker}"}}', "store: {kind: historian}", ""]
    )  # fmt: skip


def memory(pid: int) -> float:
    """The most it has ever had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def test_the_gateway_lives_and_reads_the_others() -> None:
    wicked: list[dict[str, Evil]] = [
        *(REFUSED[name][0] for name in ("a huge answer", "an answer without end", "too many", "values within values")),
        *(publishes(body) for body, _ in LOST.values()),
        structured(*STRUCTURES["of structures without a byte"]),
    ]
    with ExitStack() as stack:
        bad = {f"bad-{i}": stack.enter_context(Hostile()) for i in range(len(wicked))}
        broker, good = stack.enter_context(Mosquitto()), stack.enter_context(NodeOpcua(tick_ms=50))
        gateway = stack.enter_context(Gateway(config(good.url, bad, broker.url)))

        def online() -> set[str]:
            return {machine["name"] for machine in gateway.status()["machines"] if machine["state"] == "online"}

        wait_until(lambda: online() == {"good", *bad}, 30, "all to be read")
        quiet, longest, values = memory(gateway.pid), 0.0, set[object]()
        for server, evil in zip(bad.values(), wicked, strict=True):
            server.on = dict(evil)
            server.drop()
        until = time.monotonic() + 12
        while time.monotonic() < until:
            began = time.monotonic()
            values.add(gateway.machine("good")["signals"]["a"]["value"])
            longest = max(longest, time.monotonic() - began)
        assert len(values) > 20
        assert online() == {"good"}
        assert longest < 3  # the page is served by the loop that reads
        assert memory(gateway.pid) < quiet + 400
        assert "Traceback" not in gateway.log
        assert len(gateway.log.splitlines()) < 30 * len(bad)
        for server in bad.values():
            server.on = {}
            server.drop()
        wait_until(lambda: online() == {"good", *bad}, 60, "all to be read again")
        gateway.catch_up()
        assert 6.66 not in {row["value"] for name in bad for row in gateway.query(f"{name}/a")}
