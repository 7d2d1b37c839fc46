"""History after an outage: what is asked and what is new of the answers, and the same from node-opcua."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from adapters.opcua import wire
from adapters.opcua.client import Client
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.history import Asked, Backfill, Unfilled, Wanted, gap, pages
from adapters.opcua.items import Limit
from adapters.opcua.nodes import NodeId
from adapters.opcua.wire import History, Values
from parts.node_opcua import NodeOpcua

S = 1_000_000_000
T = 1_770_091_500 * S  # 2026-02-03T04:05:00Z
_1601 = 116_444_736_000_000_000
UNSUPPORTED, NO_POINTS, POINT_INVALID = 0x80720000, 0x804B0000, 0x804A0000
NO_DATA, MORE_DATA, BOUND_NOT_FOUND = 0x00A50000, 0x00A60000, 0x80D70000


def ticks(time: int) -> int:
    return time // 100 + _1601


def node(name: str) -> NodeId:
    return NodeId(2, "s", name)


class Lost(Exception):
    """The session has ended."""


class Memory:
    """A server's history as the standard has it, and as some have it. Asked in order, by nanoseconds."""

    def __init__(self, nodes: dict[str, list[tuple[int, Any]]]) -> None:
        self.nodes = nodes  # of each what it was, and when
        self.points = True  # continuation points, else GoodMoreData or nothing
        self.says_more = False
        self.most_points = 1000
        self.largest = 10**9  # values in one answer, whatever was asked for
        self.bounds = False  # gives bounds nobody asked for, and the end as well
        self.fails_at = 0  # the n-th request; 0: never
        self.slow = 0  # requests that are not answered in time
        self.requests: list[tuple[int, list[str], bool]] = []
        self.open: dict[bytes, tuple[str, int]] = {}  # continuation point -> where it goes on
        self.made = 0

    async def history(self, start: int, end: int, most: int, nodes: Sequence[Asked]) -> list[History]:
        names = [str(each.node.identifier) for each in nodes]
        self.requests.append((most, names, nodes[0].point is not None))
        if len(self.requests) == self.fails_at:
            self.open.clear()
            raise Lost
        if self.slow:
            self.slow -= 1
            raise TimeoutError
        return [self._one(i, each, start, end, most) for i, each in enumerate(nodes)]

    def _one(self, i: int, asked: Asked, start: int, end: int, most: int) -> History:
        name = str(asked.node.identifier)
        values = Values()
        if name not in self.nodes:
            return History(UNSUPPORTED, None, values)
        begin = 0
        if asked.point is not None:
            if asked.point not in self.open:
                return History(POINT_INVALID, None, values)
            name, begin = self.open.pop(asked.point)
        inside = [(t, v) for t, v in self.nodes[name] if start <= t < end or (self.bounds and t == end)]
        page = inside[begin : begin + min(most, self.largest)]
        if self.bounds and not begin:
            values.add(i, 0, None, BOUND_NOT_FOUND, ticks(start - S))
        for t, v in page:
            values.add(i, 11, v, 0, ticks(t))
        point, status = None, 0 if inside else NO_DATA
        if begin + len(page) < len(inside):
            if not self.points:
                status = MORE_DATA if self.says_more else 0
            elif len(self.open) >= self.most_points:
                return History(NO_POINTS, None, Values())
            else:
                self.made += 1
                point = b"%d" % self.made
                self.open[point] = name, begin + len(page)
        return History(status, point, values)

    async def release_history(self, nodes: Sequence[Asked]) -> None:
        for each in nodes:
            assert each.point
            del self.open[each.point]


async def fetch(memory: Memory, backfill: Backfill) -> dict[int, list[tuple[int, Any]]]:
    """All that came, by signal: seconds since T, and value."""
    came: dict[int, list[tuple[int, Any]]] = {}
    async for values in pages(backfill, memory, Limit(100)):
        for signal, value, time in zip(values.signal, values.value, values.time, strict=True):
            came.setdefault(signal, []).append((((time - _1601) * 100 - T) // S, value))
    return came


def every_second(n: int) -> list[tuple[int, Any]]:
    return [(T + i * S, float(i)) for i in range(n)]


def numbers(first: int, last: int) -> list[tuple[int, Any]]:
    return [(i, float(i)) for i in range(first, last + 1)]


# --- gaps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "first", "longest", "expected"),
    [  # lost at 100 s, found again at 200 s
        (99, 205, 3600, (99, 205)),  # a machine whose clock is ahead
        (99, 150, 3600, (99, 200)),  # it is known what was at 150 s, not what was after that
        (99, 99, 3600, (99, 200)),  # the first value is the last one: it may have gone and come again
        (99, 0, 3600, (99, 200)),
        (99, 150, 60, (140, 200)),
        (99, 0, 60, (140, 200)),
        (99, 0, 0, None),  # `history: 0s`
        (200, 200, 3600, (200, 300)),  # a machine whose clock is 100 s ahead of the server's
        (250, 0, 3600, (250, 350)),
    ],
)
def test_the_gap_of_a_signal(last: int, first: int, longest: float, expected: tuple[int, int] | None) -> None:
    found = gap(T + last * S, T + first * S if first else 0, T + 100 * S, T + 200 * S, longest)
    assert found == (expected and (T + expected[0] * S, T + expected[1] * S))


def test_the_gap_of_a_signal_that_had_no_value_yet() -> None:
    assert gap(0, T + 150 * S, T + 100 * S, T + 200 * S, 3600) == (T + 100 * S - 1, T + 200 * S)


def test_neighbours_have_no_gap() -> None:
    assert gap(T, T + 1, T, T + 1, 3600) is None


# --- what is fetched -------------------------------------------------------------------------------------------------


async def test_what_is_known_is_not_fetched_again() -> None:
    memory = Memory({"a": every_second(20), "b": every_second(20)})
    backfill = Backfill([Wanted(3, node("a"), T + 4 * S, T + 9 * S), Wanted(5, node("b"), T - 1, T + 3 * S)])
    assert await fetch(memory, backfill) == {3: numbers(5, 8), 5: numbers(0, 2)}
    assert (backfill.done, backfill.count, backfill.unfilled()) == (True, 7, [])


SERVERS: dict[str, dict[str, Any]] = {
    "by the standard": {},
    "with one continuation point": {"most_points": 1},
    "without continuation points": {"points": False},
    "that only says that there is more": {"points": False, "says_more": True, "largest": 3},
    "with pages of its own": {"largest": 2},
    "that adds bounds": {"bounds": True},
}


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("page", [3, 4, 1000])
async def test_all_of_it_comes_once_and_in_order(kind: str, page: int) -> None:
    memory = Memory({name: every_second(23) for name in "abc"})
    vars(memory).update(SERVERS[kind])
    wanted = [Wanted(i, node(name), T + S, T + 22 * S) for i, name in enumerate("abcx")]
    backfill = Backfill(wanted, page=page, together=2)
    assert await fetch(memory, backfill) == {i: numbers(2, 21) for i in range(3)}
    assert backfill.unfilled() == [Unfilled(3, T + S, T + 22 * S, UNSUPPORTED)]
    assert memory.open == {}, "no continuation point is left behind"


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_session_ends_at_the_nth_request(kind: str) -> None:
    """For every n: what has come is not fetched again, and nothing is left out."""
    n, failed = 0, True
    while failed:
        n, failed = n + 1, False
        memory = Memory({name: [*every_second(9), (T + 8 * S, 9.0), (T + 9 * S, 10.0)] for name in "abc"})
        vars(memory).update(SERVERS[kind], fails_at=n)
        backfill = Backfill([Wanted(i, node(c), T, T + 20 * S) for i, c in enumerate("abc")], page=4, together=2)
        came: dict[int, list[Any]] = {}
        while not backfill.done:
            try:
                async for values in pages(backfill, memory, Limit(100)):
                    for signal, value in zip(values.signal, values.value, strict=True):
                        came.setdefault(signal, []).append(value)
            except Lost:
                failed = True
                backfill.lost_session()
        assert came == {i: [float(v) for v in range(1, 11)] for i in range(3)}, f"after a loss at request {n}"
    assert n > 3


async def test_what_was_seen_twice_is_left_out_by_its_time() -> None:
    """The control: a session that is lost without being told leaves points that are worth nothing."""
    memory = Memory({"a": every_second(10)})
    backfill = Backfill([Wanted(0, node("a"), T - 1, T + 20 * S)], page=4)
    source = pages(backfill, memory, Limit(100))
    assert (await anext(source)).value == [0.0, 1.0, 2.0, 3.0]
    memory.open.clear()  # the server has given it up
    assert [value async for values in source for value in values.value] == [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert [point for _, _, point in memory.requests] == [False, True, False, True]


async def test_many_values_of_one_instant() -> None:
    """A server without continuation points, and more values of one instant than go on a page: it comes to an end."""
    memory = Memory({"a": [*every_second(3), *((T + 3 * S, float(i)) for i in range(3, 9)), (T + 4 * S, 9.0)]})
    memory.points = False
    backfill = Backfill([Wanted(0, node("a"), T - 1, T + 9 * S)], page=4)
    came = [value for _, value in (await fetch(memory, backfill))[0]]
    assert came == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert backfill.unfilled() == [Unfilled(0, T + 3 * S, T + 9 * S, 0)], "and what is missing is known"


async def test_an_outage_brings_no_more_than_is_borne() -> None:
    memory = Memory({name: every_second(100) for name in "abcd"})
    wanted = [Wanted(i, node(name), T - 1, T + 100 * S) for i, name in enumerate("abcd")]
    one = Backfill(wanted[:1], page=4, of_one=10)
    assert await fetch(memory, one) == {0: numbers(0, 9)}
    assert one.unfilled() == [Unfilled(0, T + 9 * S, T + 100 * S, 0)]
    assert memory.open == {}, "the point it had is given back"
    memory.requests.clear()
    all = Backfill(wanted, page=10, together=2, in_all=25)
    came = await fetch(memory, all)
    assert sum(map(len, came.values())) == all.count == 25
    assert came[0] == numbers(0, len(came[0]) - 1), "the oldest first"
    assert [each.signal for each in all.unfilled()] == [0, 1, 2, 3]
    assert {each.status for each in all.unfilled()} == {0}
    assert memory.open == {}
    exact = Backfill([Wanted(0, node("a"), T - 1, T + 10 * S)], page=10, of_one=10)
    assert await fetch(memory, exact) == {0: numbers(0, 9)}
    assert exact.unfilled() == [], "just as much as is borne is not too much"


async def test_who_stops_listening_leaves_no_continuation_points() -> None:
    memory = Memory({"a": every_second(10), "b": every_second(10)})
    backfill = Backfill([Wanted(i, node(c), T - 1, T + 20 * S) for i, c in enumerate("ab")], page=4)
    source = pages(backfill, memory, Limit(100))
    await anext(source)
    assert len(memory.open) == 2
    await source.aclose()
    assert memory.open == {}
    assert not backfill.done
    assert await fetch(memory, backfill) == {0: numbers(4, 9), 1: numbers(4, 9)}, "and can go on later"


async def test_values_without_a_time_are_counted_and_left_out() -> None:
    memory = Memory({"a": every_second(3)})

    async def undated(start: int, end: int, most: int, nodes: Sequence[Asked]) -> list[History]:
        values = Values([0, 0, 0], [11, 11, 11], [1.0, 2.0, 3.0], [0, 0, 0], [0, ticks(T), 2**62])
        return [History(0, None, values)]

    memory.history = undated  # type: ignore[method-assign]
    backfill = Backfill([Wanted(0, node("a"), T - 1, T + S)])
    assert await fetch(memory, backfill) == {0: [(0, 2.0)]}
    assert backfill.undated == 2


async def test_a_server_that_always_has_more_and_never_anything() -> None:
    memory, asked = Memory({}), 0

    async def searching(start: int, end: int, most: int, nodes: Sequence[Asked]) -> list[History]:
        nonlocal asked
        asked += 1
        values = Values([0], [11], [2.0], [0], [ticks(T + S)]) if asked == 50 else Values()
        memory.open = {b"x": ("a", 0)}
        return [History(0, b"x", values)]

    memory.history = searching  # type: ignore[method-assign]
    backfill = Backfill([Wanted(0, node("a"), T, T + 9 * S)])
    assert await fetch(memory, backfill) == {0: [(1, 2.0)]}, "it may search for a while"
    assert backfill.unfilled() == [Unfilled(0, T + S, T + 9 * S, 0)]
    assert asked == 50 + 101
    assert memory.open == {}


async def test_a_slow_server_is_asked_for_less_and_then_left_alone() -> None:
    memory = Memory({name: every_second(30) for name in "abc"})
    wanted = [Wanted(i, node(name), T - 1, T + 30 * S) for i, name in enumerate("abc")]
    memory.slow = 2
    backfill = Backfill(wanted, page=160, together=3)
    assert await fetch(memory, backfill) == {i: numbers(0, 29) for i in range(3)}
    assert [(most, len(names)) for most, names, _ in memory.requests[:3]] == [(160, 3), (40, 1), (10, 1)]
    memory.slow = 3
    backfill = Backfill(wanted)
    assert await fetch(memory, backfill) == {}
    assert {each.status for each in backfill.unfilled()} == {0x800A0000}
    assert len(backfill.unfilled()) == 3


# --- bytes -----------------------------------------------------------------------------------------------------------


def encoded(*results: ua.HistoryReadResult) -> tuple[int, list[History]]:
    response = ua.HistoryReadResponse()
    response.Results = list(results)
    return wire.history_response(bytes(struct_to_binary(response)))


def test_a_response_is_read() -> None:
    V, at = ua.VariantType, datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    data = ua.HistoryData(
        [
            ua.DataValue(ua.Variant(1.5, V.Double), ua.StatusCode(0x40000000), at),
            ua.DataValue(ua.Variant("x", V.String), None, None, at + timedelta(seconds=1)),
        ]
    )
    modified = ua.HistoryModifiedData([ua.DataValue(ua.Variant(7, V.Int32), None, at)], [ua.ModificationInfo()])
    result, found = encoded(
        ua.HistoryReadResult(ua.StatusCode(MORE_DATA), b"\x01\x02", data),
        ua.HistoryReadResult(ua.StatusCode(UNSUPPORTED), None, None),
        ua.HistoryReadResult(ua.StatusCode(0), b"", modified),
        ua.HistoryReadResult(ua.StatusCode(NO_DATA), None, ua.HistoryData([])),
    )
    assert result == 0
    assert [(each.status, each.point) for each in found] == [
        (MORE_DATA, b"\x01\x02"), (UNSUPPORTED, None), (0, None), (NO_DATA, None),
    ]  # fmt: skip
    assert found[0].values == Values([0, 0], [11, 12], [1.5, "x"], [0x40000000, 0], [ticks(T), ticks(T + S)])
    assert found[2].values == Values([2], [6], [7], [0], [ticks(T)])
    assert found[1].values == found[3].values == Values()


def test_a_response_that_is_cut_short_is_refused_in_one_way() -> None:
    response = ua.HistoryReadResponse()
    value = ua.DataValue(ua.Variant(1.5, ua.VariantType.Double), None, datetime(2026, 2, 3))
    response.Results = [ua.HistoryReadResult(ua.StatusCode(0), b"x", ua.HistoryData([value] * 3))]
    data = bytes(struct_to_binary(response))
    assert len(wire.history_response(data)[1][0].values.signal) == 3
    for length in range(len(data) - 4):  # behind it is an empty array of the response
        with pytest.raises(wire.GarbledError):
            wire.history_response(data[:length])


# --- from node-opcua -------------------------------------------------------------------------------------------------

TORQUE, PIECES, NAME = (NodeId(2, "s", f"CNC1.{name}") for name in ("Torque", "Pieces", "Name"))


@asynccontextmanager
async def session(server: NodeOpcua, **connection: Any) -> AsyncIterator[Client]:
    settings = {"protocol": "opcua", "url": server.url, "security": "None", **connection}
    client = Client(OpcuaConnection.model_validate(settings), "test")
    await client.dial()
    await client.log_in()
    try:
        yield client
    finally:
        with suppress(ua.UaStatusCodeError):  # the server may have closed it
            await client.log_out()
        client.hang_up()


@pytest.fixture(scope="module")
def server() -> Any:
    """It remembers 100 values of two variables, one a second, and one of a third."""
    with NodeOpcua(tick_ms=0) as server:
        before = datetime.fromtimestamp(T // S - 1000, UTC)
        server.add("s=CNC1.Torque", "Double", -1, time=before)
        server.add("s=CNC1.Pieces", "UInt32", 4711, time=before)
        server.add("s=CNC1.Name", "String", "left axis", time=before)
        server.remember("s=CNC1.Torque", "s=CNC1.Pieces", "s=CNC1.Name")
        for i in range(100):
            time = datetime.fromtimestamp(T // S + i, UTC)
            server.set("s=CNC1.Torque", float(i), "UncertainLastUsableValue" if i == 50 else "Good", time)
            server.set("s=CNC1.Pieces", i, time=time)
        yield server


async def collect(client: Client, backfill: Backfill, limit: int = 100) -> dict[int, list[tuple[int, Any]]]:
    came: dict[int, list[tuple[int, Any]]] = {}
    async for values in pages(backfill, client, Limit(limit)):
        for signal, value, time in zip(values.signal, values.value, values.time, strict=True):
            came.setdefault(signal, []).append((((time - _1601) * 100 - T) // S, value))
    return came


async def test_which_nodes_have_a_history(server: NodeOpcua) -> None:
    async with session(server) as client:
        nodes = [TORQUE, NodeId(2, "s", "CNC1.Mode"), NodeId(2, "s", "CNC1.None"), PIECES]
        assert await client.keeps_history(nodes) == [True, False, False, True]


@pytest.mark.parametrize("page", [1000, 30])
@pytest.mark.parametrize("limit", [100, 1])
async def test_the_gap_is_filled_from_node_opcua(server: NodeOpcua, page: int, limit: int) -> None:
    wanted = [
        Wanted(0, TORQUE, T + 9 * S, T + 90 * S),
        Wanted(1, PIECES, T + 9 * S, T + 90 * S),
        Wanted(2, NodeId(2, "s", "CNC1.Mode"), T + 9 * S, T + 90 * S),
        Wanted(3, NodeId(2, "s", "CNC1.None"), T + 9 * S, T + 90 * S),
        Wanted(4, NAME, T + 9 * S, T + 90 * S),
    ]
    backfill = Backfill(wanted, page=page)
    async with session(server) as client:
        came = await collect(client, backfill, limit)
    assert came == {0: numbers(10, 89), 1: [(i, i) for i in range(10, 90)]}
    assert [(each.signal, each.status) for each in backfill.unfilled()] == [(2, UNSUPPORTED), (3, 0x80340000)]


async def test_quality_and_type_come_with_the_values(server: NodeOpcua) -> None:
    backfill = Backfill([Wanted(0, TORQUE, T + 48 * S, T + 52 * S)])
    async with session(server) as client:
        (values,) = [page async for page in pages(backfill, client, Limit(100))]
    assert values == Values(
        [0, 0, 0], [11, 11, 11], [49.0, 50.0, 51.0], [0, 0x40900000, 0], [ticks(T + i * S) for i in (49, 50, 51)]
    )


async def test_a_backfill_outlives_its_session(server: NodeOpcua) -> None:
    backfill = Backfill([Wanted(0, TORQUE, T - 1, T + 100 * S), Wanted(1, PIECES, T - 1, T + 100 * S)], page=30)
    async with session(server) as client:
        source = pages(backfill, client, Limit(100))
        first = await anext(source)
        server.kill_sessions()
        with pytest.raises(Exception, match=r"(?i)session|connection|closed"):
            await anext(source)
    backfill.lost_session()
    async with session(server) as client:
        came = await collect(client, backfill)
    assert [float(v) for v in first.value] == [float(i) for i in range(30)] * 2
    assert came == {0: numbers(30, 99), 1: [(i, i) for i in range(30, 100)]}


async def test_continuation_points_are_given_back(server: NodeOpcua) -> None:
    async with session(server) as client:
        source = pages(Backfill([Wanted(0, TORQUE, T - 1, T + 100 * S)], page=10), client, Limit(100))
        assert len((await anext(source)).value) == 10
        assert server.points() == 1, "the control"
        await source.aclose()
        assert server.points() == 0


async def test_more_nodes_than_continuation_points(server: NodeOpcua) -> None:
    wanted = [Wanted(i, (TORQUE, PIECES)[i % 2], T - 1, T + 100 * S) for i in range(6)]
    backfill = Backfill(wanted, page=40)
    server.misbehave(most_points=2)
    try:
        async with session(server) as client:
            came = await collect(client, backfill)
    finally:
        server.misbehave(most_points=None)
    assert {signal: len(values) for signal, values in came.items()} == dict.fromkeys(range(6), 100)
    assert backfill.unfilled() == []


@pytest.mark.parametrize("fault", ["BadServiceUnsupported", "BadHistoryOperationUnsupported", "BadUserAccessDenied"])
async def test_a_server_without_history_costs_no_connection(server: NodeOpcua, fault: str) -> None:
    backfill = Backfill([Wanted(0, TORQUE, T - 1, T + 100 * S)])
    server.misbehave(refuse={"HistoryReadRequest": fault})
    try:
        async with session(server) as client:
            assert await collect(client, backfill) == {}
            assert [each.status for each in backfill.unfilled()] == [getattr(ua.StatusCodes, fault)]
            assert (await client.values([TORQUE])).status == [0], "the connection is as good as before"
    finally:
        server.misbehave(refuse=None)


async def test_a_request_that_is_too_large_is_halved(server: NodeOpcua) -> None:
    server.misbehave(refuse_once={"HistoryReadRequest": "BadTooManyOperations"})
    limit = Limit(100)
    backfill = Backfill([Wanted(0, TORQUE, T - 1, T + 100 * S), Wanted(1, PIECES, T - 1, T + 100 * S)])
    async with session(server) as client:
        came = [values async for values in pages(backfill, client, limit)]
    assert sum(len(values.value) for values in came) == 200
    assert limit.size == 1


async def test_an_answer_that_does_not_come_in_time_costs_no_connection(server: NodeOpcua) -> None:
    server.misbehave(slow={"HistoryReadRequest": 1500})
    backfill = Backfill([Wanted(0, TORQUE, T - 1, T + 100 * S)])
    try:
        async with session(server, timeout="300ms") as client:
            assert await collect(client, backfill) == {}
            assert [each.status for each in backfill.unfilled()] == [0x800A0000]
            assert (await client.values([TORQUE])).status == [0]
    finally:
        server.misbehave(slow=None)
