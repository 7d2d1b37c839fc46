"""OPC UA servers that are recorded by the real adapter, played back, and read by it again, and by clients of others."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml
from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_to_binary

from adapters.opcua import build
from adapters.opcua.adapter import OpcuaAdapter
from gateway.clock import SystemClock
from gateway.config import Configuration, load
from gateway.errors import NotConnectedError
from gateway.model import GOOD, NODE_UNKNOWN, SENSOR_FAILURE, Value
from gateway.recording import Head, Kind, Recorder, Recording, read
from gateway.runtime.registry import protocols
from opcua.helpers import MACHINE, Reader
from opcua.test_recording_plan import Conversation, node
from parts.asyncua_server import AsyncuaServer
from parts.cnc import NAMESPACE, PASSWORD, USER, Cnc
from parts.node import PACKAGES
from parts.node_opcua import NodeOpcua
from parts.node_opcua_types import NodeOpcuaTypes
from parts.open62541 import Open62541
from parts.process import program
from parts.proxy import Proxy
from simulators.ledger import Ledger, columns
from simulators.machine import Replaying
from simulators.opcua import serve_recording
from simulators.opcua.replay.server import ReplayedServer
from simulators.opcua.replay.services import VALUE, Services
from simulators.opcua.replay.services import Value as Told
from simulators.replay import replay

PEERS: dict[str, type[Cnc]] = {"node-opcua": NodeOpcua, "asyncua": AsyncuaServer, "open62541": Open62541}
S = 1_000_000_000
SPEED: Mapping[str, Any] = {"speed": "m:s=CNC1.SpindleSpeed"}
ALL: Mapping[str, Any] = {
    **SPEED,
    "parts": "m:s=CNC1.PartCount",
    "program": "m:s=CNC1.Program",
    "broken": "m:s=CNC1.Broken",
    "doubtful": "m:s=CNC1.Doubtful",
    "serial": "m:s=CNC1.SerialNumber",
    "service": "m:s=CNC1.LastService",
    "most": "m:s=CNC1.UInt64Max",
    "axis": {"node": "m:s=CNC1.AxisPositions", "index": 1},
    "nobody": {"node": "m:s=CNC1.Nobody", "type": "float"},
}
Reading = tuple[int, Value, int]


# --- recording and playing back --------------------------------------------------------------------------------------


def text_of(url: str, signals: Mapping[str, Any], machine: Mapping[str, Any], **connection: Any) -> str:
    """The configuration, as it stands in the head of a recording."""
    link = {"protocol": "opcua", "url": url, "security": "None", **connection}
    settings = {
        "connection": "cnc",
        "namespaces": {"m": NAMESPACE},
        "signals": {name: {"node": each} if isinstance(each, str) else each for name, each in signals.items()},
        **machine,
    }
    return yaml.safe_dump({"version": 1, "connections": {"cnc": link}, "machines": {MACHINE: settings}})


@asynccontextmanager
async def recorded(
    path: Path, url: str, signals: Mapping[str, Any], machine: Mapping[str, Any] | None = None, **connection: Any
) -> AsyncIterator[Reader]:
    """An adapter that is overheard."""
    shown = {key: value for key, value in connection.items() if key != "password"}
    text = text_of(url, signals, machine or {}, **shown)
    with Recorder(path, Head(time.time_ns(), "opcua", "cnc", [MACHINE], text)) as recorder:
        it = Reader(url, signals, machine, **connection)
        it.context = replace(it.context, tap=recorder.tap())
        adapter = build(it.context)
        assert isinstance(adapter, OpcuaAdapter)
        it.adapter = adapter
        async with it:
            yield it


def known(recording: Recording, tmp_path: Path) -> Configuration:
    file = tmp_path / "gateway.yaml"
    file.write_text(recording.head.configuration)
    return load(file, protocols())


@asynccontextmanager
async def played(path: Path, tmp_path: Path, **options: Any) -> AsyncIterator[ReplayedServer]:
    """The same as `replay`, with all that a server can be told."""
    recording = read(path)
    options = {"ledger": Ledger.memory(), **options}
    if "configuration" not in options:
        options["configuration"] = known(recording, tmp_path)
    clock = SystemClock()
    server = await serve_recording(
        Replaying(
            "cnc", recording.head, recording, clock=clock, start=clock.now(), machines=[MACHINE], port=0, **options
        )
    )
    assert isinstance(server, ReplayedServer)
    try:
        yield server
    finally:
        await server.stop()


def url_of(server: ReplayedServer) -> str:
    return f"opc.tcp://127.0.0.1:{server.port}"


async def ticking(it: Reader, server: Cnc, count: int, pause: float = 0.05) -> None:
    """Let the spindle turn, and read meanwhile."""
    for _ in range(count):
        server.tick()
        until = time.monotonic() + pause
        last = it.values("speed")[-1:]
        await it.until(lambda: time.monotonic() > until or it.values("speed")[-1:] != last)  # noqa: B023


async def to_the_end(it: Reader, server: ReplayedServer, timeout: float = 30) -> None:
    """Whatever comes, and new lines where one is lost."""
    reading = asyncio.create_task(_keep_reading(it))
    async with asyncio.timeout(timeout):
        while not server.over and not reading.done():
            await asyncio.wait([reading], timeout=0.05)
        returns = -1
        while returns != it.returns and not reading.done():
            returns = it.returns
            await asyncio.wait([reading], timeout=0.5)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def _keep_reading(it: Reader) -> None:
    while True:
        try:
            await it.read()
        except NotConnectedError:
            await it.reconnect()


def news(rows: list[Reading]) -> list[Reading]:
    """Without what came twice, one after the other."""
    return [row for i, row in enumerate(rows) if not i or rows[i - 1] != row]


def news_of(values: list[Value]) -> list[Value]:
    return list(dict.fromkeys(values))


def seconds(time: Value) -> float:
    """Of an ISO time, since 1970."""
    return datetime.fromisoformat(str(time)).timestamp()


def is_end_of(got: list[Reading], whole: list[Reading]) -> bool:
    return bool(got) and got == whole[-len(got) :]


@pytest.fixture(
    scope="module", params=["node-opcua", "asyncua", pytest.param("open62541", marks=pytest.mark.open62541)]
)
def peer(request: pytest.FixtureRequest) -> Iterator[Cnc]:
    with PEERS[request.param](tick_ms=0) as server:
        yield server


@pytest.fixture(scope="module")
def cnc() -> Iterator[NodeOpcua]:
    with NodeOpcua(tick_ms=0) as server:
        yield server


# --- the same readings -----------------------------------------------------------------------------------------------


async def test_the_same_readings_in_the_same_order(peer: Cnc, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, peer.url, ALL) as it:
        await it.read()
        await ticking(it, peer, 20)
    for signal in ("speed", "parts"):
        assert len(it.got[signal]) > 2
    assert it.got["broken"][0][1:] == (None, SENSOR_FAILURE)
    assert it.got["nobody"][0][1:] == (None, NODE_UNKNOWN)
    ledger = Ledger.memory()
    async with (
        played(path, tmp_path, stamps="recorded", ledger=ledger) as server,
        Reader(url_of(server) + peer.path, ALL) as again,
    ):
        assert again.types == it.types
        await to_the_end(again, server)
    served = columns(ledger.entries())
    for signal in ALL.keys() - {"nobody"}:
        assert is_end_of(news(again.got[signal]), news(it.got[signal])), signal
        column = served[MACHINE, signal]
        assert list(zip(column.time, column.value, column.quality, strict=True)) == news(it.got[signal]), signal
    assert len(again.got["speed"]) > 10
    assert {row[1:] for row in again.got["nobody"]} == {(None, NODE_UNKNOWN)}
    assert (MACHINE, "nobody") not in served
    assert server._replaying.left_out == {f"{MACHINE}/nobody": "the server did not have its node"}


@pytest.mark.parametrize("wrong", ["a value is left out", "two change places", "a stamp is a microsecond off"])
async def test_the_comparison_notices(
    cnc: NodeOpcua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
        await ticking(it, cnc, 20)
    put = ReplayedServer._put
    seen: list[Told] = []

    async def spoilt(self: ReplayedServer, value: Told) -> None:
        if value.node.Identifier == "CNC1.SpindleSpeed" and value.reported:
            seen.append(value)
            if len(seen) == 15:
                if wrong.startswith("a stamp"):
                    value = value._replace(told=value.told._replace(source=(value.told.source or 0) + 10))
                    await put(self, value)
                return
            if len(seen) == 16 and wrong.startswith("two"):
                await put(self, value)
                value = seen[-2]
        await put(self, value)

    monkeypatch.setattr(ReplayedServer, "_put", spoilt)
    async with played(path, tmp_path, stamps="recorded") as server, Reader(url_of(server), SPEED) as again:
        await to_the_end(again, server)
    assert len(seen) > 16
    assert not is_end_of(news(again.got["speed"]), news(it.got["speed"]))


async def test_not_a_byte_of_a_value_is_another_one(cnc: NodeOpcua, tmp_path: Path) -> None:
    """What was recorded of a machine, and of its replay: each DataValue with its time stamps to 100 ns."""
    first, second = tmp_path / "first", tmp_path / "second"
    async with recorded(first, cnc.url, ALL) as it:
        await it.read()
        await ticking(it, cnc, 20)
    async with (
        played(first, tmp_path, stamps="recorded") as server,
        recorded(second, url_of(server), ALL) as again,
    ):
        await to_the_end(again, server)

    def told(path: Path, name: str) -> list[Any]:
        found = [h for h in Services().happenings(read(path)) if isinstance(h, Told) and h.reported]
        return [h.told for h in found if h.node.Identifier == f"CNC1.{name}" and h.attribute == VALUE]

    for name in ("SpindleSpeed", "PartCount", "Broken", "AxisPositions"):
        before, after = told(first, name), told(second, name)
        assert after
        assert after[1:] == before[len(before) - len(after) + 1 :], name
        # What was read before, and is reported once more, has another server time.
        assert after[0][:3] == before[len(before) - len(after)][:3], name


async def test_the_machine_runs_now(cnc: NodeOpcua, tmp_path: Path) -> None:
    """All stamps are moved by the same time: that between the recording and the replay. Old ones stay as old."""
    path = tmp_path / "cnc.recording"
    cnc.set("s=CNC1.SerialNumber", "SN-4711", time=datetime(2004, 5, 6, 7, 8, 9, 125000, UTC))
    async with recorded(path, cnc.url, ALL) as it:
        await it.read()
        await ticking(it, cnc, 10)
    began = time.time_ns()
    async with played(path, tmp_path) as server, Reader(url_of(server), ALL) as again:
        await to_the_end(again, server)
    rows, moved = news(it.got["speed"]), news(again.got["speed"])
    assert [row[1] for row in moved] == [row[1] for row in rows[-len(moved) :]]
    apart = {b[0] - a[0] for a, b in zip(rows[-len(moved) :], moved, strict=True)}
    assert len(apart) == 1
    (by,) = apart
    assert began - it.context.clock.now() < by
    assert 0 <= by - (began - read(path).head.started) < 5 * S, "the beginning is the beginning"
    assert again.got["serial"][0][0] - it.got["serial"][0][0] == by


async def test_ten_times_as_fast(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
        await ticking(it, cnc, 20, 0.1)
    async with (
        played(path, tmp_path, speed=10.0) as server,
        Reader(url_of(server), SPEED, publishing="20ms") as again,
    ):
        await to_the_end(again, server)
    rows, moved = news(it.got["speed"]), news(again.got["speed"])
    rows = rows[-len(moved) :]
    assert [row[1] for row in moved] == [row[1] for row in rows]
    for a, b, c, d in zip(rows[1:], rows[2:], moved[1:], moved[2:], strict=False):
        assert abs((b[0] - a[0]) / 10 - (d[0] - c[0])) < 1000, "ns: a tenth of the time, to the resolution of a stamp"


async def test_from_the_middle_and_round_and_round(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
        for i in range(1, 6):
            cnc.set("s=CNC1.SpindleSpeed", 1000 + i)
            await it.until(lambda i=i: it.values("speed")[-1] == 1000 + i)
            await asyncio.sleep(0.15)
    started = read(path).head.started
    third = (it.got["speed"][-3][0] - started) / S
    async with (
        played(path, tmp_path, begin=third + 0.1, loop=True) as server,
        Reader(url_of(server), SPEED) as again,
    ):
        await again.read()
        assert again.values("speed")[0] == 1003, "how it was then"
        await again.until(lambda: again.values("speed").count(1005.0) == 2, 20)
    values = [row[1] for row in news(again.got["speed"])]
    assert values[:3] == [1003, 1004, 1005]
    whole = [row[1] for row in news(it.got["speed"])]
    assert values[3 : 3 + len(whole)] == whole, "and then all of it"
    times = [row[0] for row in again.got["speed"]]
    assert times == sorted(times), "the second round is later than the first"
    assert abs(times[-1] - time.time_ns()) < 10 * S


async def test_what_is_polled_is_played_back_as_well(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    polled = {"speed": {"node": "m:s=CNC1.SpindleSpeed", "mode": "poll", "poll": "50ms"}}
    cnc.set("s=CNC1.SpindleSpeed", 2000)
    async with recorded(path, cnc.url, polled) as it:
        for i in range(5):
            cnc.set("s=CNC1.SpindleSpeed", 2000 + i)
            await it.until(lambda i=i: it.values("speed")[-1:] == [2000 + i])
    async with played(path, tmp_path) as server, Reader(url_of(server), SPEED) as again:
        await to_the_end(again, server)
    values = again.values("speed")
    assert values
    assert values == [2000.0, 2001.0, 2002.0, 2003.0, 2004.0][-len(values) :]
    assert len(values) > 1


# --- events, structures, history -------------------------------------------------------------------------------------


async def test_events_and_alarms(tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    signals: Mapping[str, Any] = {**SPEED, "happened": {"node": "m:s=CNC1", "events": True}}
    with NodeOpcua(tick_ms=0) as cnc:
        async with recorded(path, cnc.url, signals) as it:
            await it.read()
            await asyncio.sleep(0.4)  # until the replay's client is there
            cnc.raise_event(300, "door was opened")
            await it.until(lambda: len(it.got["happened_message"]) == 1)
            cnc.set("s=CNC1.SpindleSpeed", 999)  # beyond its alarm's highest limit
            await it.until(lambda: any("active" in str(state) for state in it.values("happened_state")))
            cnc.set("s=CNC1.SpindleSpeed", 10)
            await it.until(lambda: any("inactive" in str(state) for state in it.values("happened_state")))
    ledger = Ledger.memory()
    async with (
        played(path, tmp_path, stamps="recorded", ledger=ledger) as server,
        Reader(url_of(server), signals) as again,
    ):
        await to_the_end(again, server)
    served = columns(ledger.entries())
    for part in ("severity", "source", "message", "state"):
        name = f"happened_{part}"
        assert again.got[name] == it.got[name], part
        column = served[MACHINE, name]
        assert column.value == it.values(name), part
    # An alarm of node-opcua names its source with the namespace.
    assert again.values("happened_source")[:2] == ["CNC1", "2:CNC1/OverSpeed"]


async def test_who_comes_late_hears_of_alarms_that_are_still_there(tmp_path: Path) -> None:
    """ConditionRefresh: Part 9, 5.5.7. A plain event is over, and its message not heard again."""
    path = tmp_path / "cnc.recording"
    signals: Mapping[str, Any] = {**SPEED, "happened": {"node": "m:s=CNC1", "events": True}}
    with NodeOpcua(tick_ms=0) as cnc:
        async with recorded(path, cnc.url, signals) as it:
            await it.read()
            cnc.raise_event(300, "door was opened")
            await it.until(lambda: "door was opened" in it.values("happened_message"))
            cnc.set("s=CNC1.SpindleSpeed", 999)
            await it.until(lambda: any(str(state).startswith("active") for state in it.values("happened_state")))
    async with played(path, tmp_path, speed=10.0) as server:
        while not server.over:
            await asyncio.sleep(0.01)
        for raising in ("m:s=CNC1", "i=2253"):
            late: Mapping[str, Any] = {"happened": {"node": raising, "events": True}}
            async with Reader(url_of(server), late) as again:
                await again.until(lambda: again.values("happened_state"))
            assert [str(state).partition(",")[0] for state in again.values("happened_state")] == ["active"]


async def test_structures_as_they_came(tmp_path: Path) -> None:
    path = tmp_path / "types.recording"
    signals: Mapping[str, Any] = {
        "best": {"node": "m:s=Station", "field": "Best.Position"},
        "second": {"node": "m:s=Axes", "field": "[1].Position"},
        "life": {"node": "m:s=Station", "field": "Tool&.Life"},
        "number": {"node": "m:s=Matrix", "field": "[1][2]"},
        "mode": {"node": "m:s=Mode", "enum": "from-server"},
        "lamp": {"node": "m:s=Lamp", "enum": "from-server"},
    }
    with NodeOpcuaTypes() as types:
        machine = {"namespaces": {"m": types.namespace}}
        async with recorded(path, types.url, signals, machine) as it:
            await it.read()
            await asyncio.sleep(0.4)
            for value in (1.5, 2.5, -7.25):
                types.ask("position", value=value)
                await it.until(lambda value=value: it.values("best")[-1] == value)
    ledger = Ledger.memory()
    async with (
        played(path, tmp_path, stamps="recorded", ledger=ledger) as server,
        Reader(url_of(server), signals, machine) as again,
    ):
        assert again.types == it.types
        await to_the_end(again, server)
        texts = {s.name: dict(s.states) for s in again.adapter.headers[0].signals}
    for signal in signals:
        assert is_end_of(news(again.got[signal]), news(it.got[signal])), signal
    assert again.values("best")[-3:] == [1.5, 2.5, -7.25]
    served = columns(ledger.entries())
    for signal in ("best", "second", "life", "number"):
        assert dict.fromkeys(served[MACHINE, signal].value) == dict.fromkeys(it.values(signal)), signal
    assert served[MACHINE, "mode"].value == ["Automatik"]
    assert served[MACHINE, "lamp"].value == ["red"]
    assert texts["lamp"] == {0: "dark", 1: "green", 2: "red"}
    assert texts == {s.name: dict(s.states) for s in it.adapter.headers[0].signals}


async def test_what_the_server_remembered(tmp_path: Path) -> None:
    """The line is away; what the server has kept meanwhile is fetched, and once more from the replay."""
    path = tmp_path / "cnc.recording"
    with NodeOpcua(tick_ms=0) as cnc, Proxy(cnc.port) as proxy:
        url = cnc.url.replace(str(cnc.port), str(proxy.port))
        async with recorded(path, url, SPEED) as it:
            await it.read()
            await asyncio.sleep(0.5)
            proxy.refuse()
            proxy.cut()
            await it.lost()
            cnc.kill_sessions()
            missed = []
            for i in range(5):
                cnc.set("s=CNC1.SpindleSpeed", 500 + i)
                missed.append(500.0 + i)
                await asyncio.sleep(0.05)
            proxy.resume()
            await it.reconnect()
            await it.until(lambda: set(missed[:-1]) <= {row[1] for row in it.past["speed"]})
    async with played(path, tmp_path) as server, Reader(url_of(server), SPEED) as again:
        await to_the_end(again, server)
    assert set(missed[:-1]) <= {row[1] for row in again.past["speed"]}
    assert again.values("speed")[-1] == missed[-1]


# --- what went wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])  # the command line has the second
def test_it_is_away_when_it_was_away(
    cnc: NodeOpcua, tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    run(_is_away_when_it_was_away(cnc, tmp_path))


async def _is_away_when_it_was_away(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    with Proxy(cnc.port) as proxy:
        url = cnc.url.replace(str(cnc.port), str(proxy.port))
        async with recorded(path, url, SPEED) as it:
            await it.read()
            await ticking(it, cnc, 8)
            proxy.refuse()
            proxy.cut()
            await it.lost()
            away = time.monotonic()
            with pytest.raises(NotConnectedError):
                await it.adapter.connect()
            await asyncio.sleep(1.0)
            cnc.set("s=CNC1.SpindleSpeed", 77)
            proxy.resume()
            await it.reconnect()
            away = time.monotonic() - away
            await it.until(lambda: it.values("speed")[-1] == 77)
            await ticking(it, cnc, 8)
    async with played(path, tmp_path) as server, Reader(url_of(server), SPEED) as again:
        assert "1 outages" in server.about
        await again.lost()
        begin = time.monotonic()
        with pytest.raises(NotConnectedError, match="refused"):
            await again.adapter.connect()
        await again.reconnect()
        assert 0.6 * away < time.monotonic() - begin < away + 1
        await again.until(lambda: again.values("speed")[-1] == 77)
        await to_the_end(again, server)
    assert again.values("speed")[-1] == it.values("speed")[-1]
    async with played(path, tmp_path, ideal=True) as server, Reader(url_of(server), SPEED) as undisturbed:
        while not server.over:
            await undisturbed.read()  # raises what is lost
    assert 77 in undisturbed.values("speed")


async def test_a_restart_with_other_namespaces(tmp_path: Path) -> None:
    """The index of the machine's namespace moves, and somebody else has its old node ids: a speed of -1."""
    path = tmp_path / "cnc.recording"
    with NodeOpcua(tick_ms=0) as cnc:
        async with recorded(path, cnc.url, SPEED) as it:
            await it.read()
            await ticking(it, cnc, 5)
            before = list(it.adapter._session.uris)  # type: ignore[union-attr]
            cnc.stop()
            await it.lost()
            cnc.namespaces = ["urn:other:machine"]
            cnc.start()
            cnc.set("s=CNC1.SpindleSpeed", 55)
            await it.reconnect(60)
            after = list(it.adapter._session.uris)  # type: ignore[union-attr]
            await it.until(lambda: it.values("speed")[-1] == 55)
            await ticking(it, cnc, 30, 0.1)
    assert before != after
    async with played(path, tmp_path) as server, Reader(url_of(server), SPEED) as again:
        assert "1 restarts" in server.about
        assert again.adapter._session is not None
        assert list(again.adapter._session.uris) == before
        async with asyncio.timeout(30):
            while list(again.adapter._session.uris) == before:
                await again.lost()  # an answer that never came may cost a connection before the server is gone
                await again.reconnect()
        assert list(again.adapter._session.uris) == after
        await to_the_end(again, server)
    assert -1 not in again.values("speed")
    assert again.values("speed")[-3:] == it.values("speed")[-3:]
    async with (
        played(path, tmp_path, ideal=True, speed=5.0) as server,
        Reader(url_of(server), SPEED) as undisturbed,
    ):
        while not server.over:
            await undisturbed.read()
        await undisturbed.until(lambda: undisturbed.values("speed")[-1] == it.values("speed")[-1])
    assert -1 not in undisturbed.values("speed")


async def test_a_node_that_was_not_there_at_first(
    cnc: NodeOpcua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.opcua.adapter.LOOK_AGAIN", 0.3)
    path = tmp_path / "cnc.recording"
    signals: Mapping[str, Any] = {**SPEED, "late": {"node": "m:s=CNC1.Late", "type": "int"}}
    async with recorded(path, cnc.url, signals) as it:
        await it.read()
        await asyncio.sleep(0.5)
        cnc.add("s=CNC1.Late", "Int32", 5)
        await it.until(lambda: it.values("late")[-1] == 5)
        await asyncio.sleep(1.0)  # so that the replay's client, which looks every 0.3 s, sees it as well
        cnc.remove("s=CNC1.Late")
        await it.until(lambda: it.last("late")[1:] == (None, NODE_UNKNOWN))
    async with played(path, tmp_path) as server, Reader(url_of(server), signals) as again:
        assert again.got["late"] == [] or again.values("late") == [None]
        await again.until(lambda: again.got["late"])
        assert again.got["late"][0][1:] == (None, NODE_UNKNOWN)
        await again.until(lambda: again.values("late")[-1] == 5)
        await again.until(lambda: again.last("late")[1:] == (None, NODE_UNKNOWN))
        await again.adapter.close()
        assert server._life is not None
        assert not server._life._internal.subscription_service.subscriptions, "nothing was in the way of closing"


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
async def test_a_recording_that_was_cut_off(cnc: NodeOpcua, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
        await ticking(it, cnc, 10, 0.01)
    whole = path.read_bytes()
    head = len(whole) - len(whole.partition(b"\xabREC")[2].partition(b"\xabREC")[2])
    path.write_bytes(whole[: head + int((len(whole) - head) * share)])
    async with played(path, tmp_path, speed=10.0) as server, Client(url_of(server)) as client:
        assert "variables" in server.about
        state = await client.get_node(ua.ObjectIds.Server_ServerStatus_State).read_value()
        assert state == 0


# --- who else comes --------------------------------------------------------------------------------------------------


def look(url: str, seconds: float, **options: Any) -> Any:
    """What a client on node-opcua finds."""
    script = Path(__file__).parents[1] / "parts" / "node_opcua" / "look.mjs"
    given = json.dumps({"url": url, "uri": NAMESPACE, "seconds": seconds, **options})
    command = [program("node"), "--input-type=module", "--eval", script.read_text(), given]
    done = subprocess.run(command, cwd=PACKAGES, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_a_client_of_others_browses_and_listens(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    signals: Mapping[str, Any] = {
        **ALL,
        "door": {"path": "m:CNC1/m:DoorOpen"},
        "coolant": {"node": "m:s=CNC1.CoolantTemperature", "unit": "from-server"},
        "happened": {"node": "m:s=CNC1", "events": True},
    }
    async with recorded(path, cnc.url, signals) as it:
        await it.read()
        for i in range(6):
            await asyncio.sleep(0.4)
            cnc.set("s=CNC1.SpindleSpeed", 100 + i)
            cnc.raise_event(200 + i, f"event {i}")
            await it.until(lambda i=i: f"event {i}" in it.values("happened_message"))
    async with replay(path, listen=("127.0.0.1", 0), loop=True) as plant:
        (server,) = plant.servers.values()
        seen = await asyncio.to_thread(look, f"opc.tcp://127.0.0.1:{server.port}", 4.0, events=f"{MACHINE}/CNC1")
    found = {place.rpartition("/")[2]: (place, each) for place, each in seen["found"].items()}
    assert found["DoorOpen"][0] == "CNC1/DoorOpen", "where a browse path has led to"
    place, speed = found["SpindleSpeed"]
    assert place == f"{MACHINE}/SpindleSpeed", "nobody has said where it is"
    assert speed["type"] == "Double"
    told = [value for value, _, _ in speed["told"]]
    recorded_values = [row[1] for row in news(it.got["speed"])]
    assert len(told) > 3
    assert (
        any(told[:4] == recorded_values[i : i + 4] for i in range(len(recorded_values))) or told[0] in recorded_values
    )
    assert set(told) <= set(recorded_values)
    assert all(status == "Good" for _, status, _ in speed["told"])
    assert all(abs(stamp / 1000 - time.time()) < 60 for _, _, stamp in speed["told"]), "it runs now"
    assert found["Broken"][1]["status"] == "BadSensorFailure"
    assert found["Doubtful"][1]["status"] == "UncertainLastUsableValue"
    assert found["Doubtful"][1]["value"] == 17.5
    assert found["Program"][1]["value"] == 'O1234 "façade" №5'
    assert found["AxisPositions"][1]["value"] == [1.5, -2.25, 300]
    assert found["CoolantTemperature/EURange".rpartition("/")[2]][1]["value"]["low"] == -20
    assert "Nobody" not in found
    raised = [each for each in seen["raised"] if each[2].startswith("event")]
    assert raised
    assert all(each == ["CNC1", 200 + int(each[2][-1]), each[2]] for each in raised)
    assert seen["missing"] == "BadNodeIdUnknown"
    assert seen["write"].startswith("Bad"), "nobody writes into a recording"


async def test_it_says_that_it_is_what_it_was(peer: Cnc, tmp_path: Path) -> None:
    """The adapter finds the same kind of server, with the same limits."""
    path = tmp_path / "cnc.recording"

    def of(it: Reader) -> Any:
        session = it.adapter._session
        assert session
        return session.profile.name, {name: limit.size for name, limit in session._limits.items()}, list(session.uris)

    async with recorded(path, peer.url, SPEED) as it:
        before = of(it)
    async with played(path, tmp_path) as server, Reader(url_of(server), SPEED) as again:
        assert of(again) == before


async def test_a_status_stays_what_it_is(tmp_path: Path) -> None:
    """Of a node that may not be monitored, one that may not be read, and one that is not there; and what has no value yet."""
    denied, waiting = 0x801F0000, 0x80320000  # Bad_UserAccessDenied, Bad_WaitingForInitialData: Part 6, A.2
    said = Conversation()
    said.line(Kind.OPENED)
    said.namespaces("http://opcfoundation.org/UA/", "urn:server", NAMESPACE)
    bad = {name: ua.DataValue(StatusCode=ua.StatusCode(code)) for name, code in (("b", denied), ("d", waiting))}
    said.read({node("a"): 1.0, node("b"): bad["b"], node("d"): bad["d"], node("e"): 2.0})
    said.read({node("c"): ua.DataValue(StatusCode=ua.StatusCode(NODE_UNKNOWN))})
    said.read({node("e"): ua.NodeId(290), node("a"): ua.DataValue(StatusCode=ua.StatusCode(denied))}, 14)
    said.subscribe(7)
    said.monitor(7, {1: node("b")}, status=denied)
    said.monitor(7, {2: node("a"), 3: node("e")})
    path = tmp_path / "recording"
    with Recorder(path, Head(0, "opcua", "cnc", [MACHINE])) as recorder:
        for entry in said.entries:
            recorder.put_at(entry)
    async with played(path, tmp_path, configuration=None) as server, Client(url_of(server)) as client:
        nodes = {name: client.get_node(node(name)) for name in "abcde"}

        async def status_of(name: str, attribute: ua.AttributeIds = ua.AttributeIds.Value) -> int:
            data = await nodes[name].read_attribute(attribute, raise_on_bad_status=False)
            return int(data.StatusCode.value)

        assert [await status_of(name) for name in "abcde"] == [GOOD, denied, NODE_UNKNOWN, waiting, GOOD]
        assert await status_of("a", ua.AttributeIds.DataType) == denied
        assert await nodes["e"].read_data_type() == ua.NodeId(290)
        assert (await nodes["e"].read_browse_name()) == ua.QualifiedName("e", 2)

        class Nobody:
            def datachange_notification(self, *_: object) -> None: ...

        subscription = await client.create_subscription(100, Nobody())
        made = [await subscription.subscribe_data_change([nodes[name]]) for name in ("a", "b", "c", "e")]
        statuses = [each[0].value if isinstance(each[0], ua.StatusCode) else GOOD for each in made]
        assert statuses == [GOOD, denied, NODE_UNKNOWN, GOOD]


def refusing(path: Path) -> None:
    """Read twice a second for 6 s: at 2 s it is too much for the server, at 3 s it does not answer. The line stays."""
    said = Conversation()
    said.line(Kind.OPENED)
    said.namespaces("http://opcfoundation.org/UA/", "urn:server", NAMESPACE)
    for i in range(12):
        if i in (4, 6):
            before = len(said.entries)
        said.read({node("a"): float(i)})
        if i == 4:
            fault = ua.ServiceFault()
            fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
            said.entries[before + 1] = said.entries[before + 1]._replace(data=struct_to_binary(fault))
        if i == 6:
            said.entries[before + 1] = said.entries[before + 1]._replace(data=b"")
        said.wait(0.5)
    with Recorder(path, Head(0, "opcua", "cnc", [MACHINE])) as recorder:
        for entry in said.entries:
            recorder.put_at(entry)


async def test_what_was_refused_or_not_answered_on_a_line_that_stayed(tmp_path: Path) -> None:
    refusing(path := tmp_path / "recording")
    came = await _told_of(path, tmp_path)
    assert came.count("BadTooManyOperations") == 1
    assert came.count("nothing") == 1
    values = [each for each in came if isinstance(each, float)]
    assert values == sorted(values)
    assert values[-1] == 11.0
    assert came.index("BadTooManyOperations") < came.index("nothing")
    assert {*await _told_of(path, tmp_path, ideal=True)} <= set(map(float, range(12))), "without what went wrong"


async def _told_of(path: Path, tmp_path: Path, **options: Any) -> list[float | str]:
    """What a client of another is told that reads ten times a second."""
    came: list[float | str] = []
    async with (
        played(path, tmp_path, configuration=None, **options) as server,
        Client(url_of(server), timeout=0.7, watchdog_intervall=60) as client,  # which reads by itself, too
    ):
        assert ("2 services refused or not answered" in server.about) is not bool(options)
        asked = client.get_node(node("a"))
        async with asyncio.timeout(30):
            while came[-1:] != [11.0]:
                try:
                    came.append(await asked.read_value())
                except ua.UaStatusCodeError as exc:
                    came.append(type(exc).__name__)
                except TimeoutError:
                    came.append("nothing")
                await asyncio.sleep(0.1)
    return came


async def test_our_own_adapter_is_refused_as_it_was(tmp_path: Path) -> None:
    """It goes on after both, and has the last value."""
    refusing(path := tmp_path / "recording")
    polled = {"a": {"node": "m:s=a", "mode": "poll", "poll": "100ms"}}
    async with played(path, tmp_path, configuration=None) as server, Reader(url_of(server), polled, timeout="1s") as it:
        async with asyncio.timeout(60):
            while 11.0 not in it.values("a"):
                try:
                    await it.read()
                except NotConnectedError:
                    await it.reconnect()
        assert server._refusals.told == 2


async def test_its_clock_goes(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    signals: Mapping[str, Any] = {**SPEED, "clock": {"node": "i=2258", "sampling": "100ms"}}
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
    async with played(path, tmp_path) as server, Client(url_of(server)) as client:
        clock = client.get_node(ua.ObjectIds.Server_ServerStatus_CurrentTime)
        status = client.get_node(ua.ObjectIds.Server_ServerStatus)
        for _ in range(2):
            now = datetime.now(UTC)
            for told in (await clock.read_value(), (await status.read_value()).CurrentTime):
                assert abs((told.replace(tzinfo=UTC) - now).total_seconds()) < 1
    async with recorded(path.with_suffix(".2"), cnc.url, signals) as it:
        await it.until(lambda: len(it.got["clock"]) > 3)
    async with played(path.with_suffix(".2"), tmp_path) as server, Reader(url_of(server), signals) as again:
        await to_the_end(again, server)
        by = (server._start - read(path.with_suffix(".2")).head.started) / S
    told, moved = ([seconds(value) for value in news_of(each.values("clock"))] for each in (it, again))
    # The last one may have come when nobody read any more.
    assert all(any(abs(a - b - by) < 0.001 for b in told) for a in moved[:-1])
    assert len(moved) > 1


async def test_who_may_log_in(tmp_path: Path) -> None:
    """As the connection says; with any password, as the one there was is in no recording."""
    path = tmp_path / "cnc.recording"
    login: Mapping[str, Any] = {"security": "auto", "trust": "pinned", "allow": ["wrong-host"], "user": USER}
    with NodeOpcua(tick_ms=0, anonymous=False) as cnc:
        async with recorded(path, cnc.url, SPEED, password=PASSWORD, **login) as it:
            await it.read()
    async with played(path, tmp_path, keep=tmp_path / "kept") as server:
        for password in (PASSWORD, "another one"):
            async with Reader(url_of(server), SPEED, password=password, **login) as again:
                await again.until(lambda: again.values("speed"))
        for wrong in ({**login, "user": "somebody"}, {"security": "auto", "trust": "pinned", "allow": ["wrong-host"]}):
            with pytest.raises(NotConnectedError):
                async with Reader(url_of(server), SPEED, **wrong):
                    pass
        with pytest.raises(NotConnectedError):
            async with Reader(url_of(server), SPEED):
                pass


async def test_without_its_configuration_it_is_open_to_all(cnc: NodeOpcua, tmp_path: Path) -> None:
    path = tmp_path / "cnc.recording"
    async with recorded(path, cnc.url, SPEED) as it:
        await it.read()
    async with played(path, tmp_path, configuration=None) as server, Client(url_of(server)) as client:
        (index,) = [await client.get_namespace_index(NAMESPACE)]
        data = await client.get_node(ua.NodeId("CNC1.SpindleSpeed", index)).read_data_value()
        assert data.StatusCode.value == GOOD
        assert data.Value.Value == it.values("speed")[0]
        folder = client.get_node(ua.ObjectIds.ObjectsFolder)
        assert MACHINE in [(await each.read_browse_name()).Name for each in await folder.get_children()]
