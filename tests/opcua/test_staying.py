"""What a lost line, session or server costs: nothing that the server keeps, and the rest is declared."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import NotConnectedError
from gateway.model import GOOD, Gap
from opcua.helpers import Reader
from opcua.test_faults import through
from parts.node_opcua import NodeOpcua
from parts.proxy import Proxy

COUNT = {"count": {"node": "m:s=CNC1.PartCount", "sampling": "50ms"}}


@pytest.fixture(autouse=True)
def at_rest(cnc: NodeOpcua) -> None:
    """What other tests have left."""
    cnc.set("s=CNC1.PartCount", 0)
    cnc.set("s=CNC1.SpindleSpeed", 0)


async def count_from(first: int, last: int, cnc: NodeOpcua) -> None:
    """Each number as soon as another client, which samples as often, has got the one before."""
    async with Reader(cnc.url, COUNT, publishing="150ms") as it:
        for n in range(first, last + 1):
            cnc.set("s=CNC1.PartCount", n)
            await it.until(lambda n=n: it.got["count"] and it.last("count")[1] == n)


async def test_what_changed_while_the_line_was_lost_comes_after_with_its_own_time(cnc: NodeOpcua) -> None:
    with Proxy(cnc.port) as proxy:
        async with Reader(through(proxy, cnc), COUNT) as it:
            await it.read()
            proxy.freeze()
            began = time.time_ns()
            await count_from(1, 8, cnc)
            ended = time.time_ns()
            proxy.cut()
            proxy.resume()
            await it.lost()
            await it.reconnect()
            await it.until(lambda: len(it.past["count"]) >= 8)
            assert it.values("count") == [0, 8], "what is true now is not what was"
            # The last one as well: it holds now, and leaves as of when that was confirmed; here it has its own time.
            assert [value for _, value, _ in it.past["count"]] == [1, 2, 3, 4, 5, 6, 7, 8]
            times = [time for time, _, _ in it.past["count"]]
            assert times == sorted(times)
            assert all(began - 10**9 <= time <= ended for time in times)
            assert {quality for _, _, quality in it.past["count"]} == {GOOD}
            assert not it.gaps
            assert cnc.sessions() == 1


async def test_more_than_the_server_keeps_is_declared(cnc: NodeOpcua) -> None:
    with Proxy(cnc.port) as proxy:
        signal = {"count": {**COUNT["count"], "queue": 3}}
        async with Reader(through(proxy, cnc), signal) as it:
            await it.read()
            began = time.time_ns()
            proxy.freeze()
            await count_from(1, 8, cnc)
            proxy.cut()
            proxy.resume()
            await it.lost()
            await it.reconnect()
            await it.until(lambda: it.gaps)
            got = set(it.values("count")) | {value for _, value, _ in it.past["count"]}
            assert not set(range(9)) <= got
            (gap,) = it.gaps
            assert gap.cause.startswith("server-queue-overflow")
            assert gap.start <= began + 10**9
            assert gap.end >= it.past["count"][-1][0] if it.past["count"] else True


async def test_what_would_have_been_declared_later_is_said_at_the_end(cnc: NodeOpcua) -> None:
    """Overflows are put together for some seconds; the process may end before."""
    signal = {"count": {**COUNT["count"], "queue": 2}}
    async with Reader(cnc.url, signal, publishing="1s") as it:
        await it.read()
        for round in (1, 2):
            await count_from(10 * round, 10 * round + 9, cnc)
            await it.until(lambda round=round: it.last("count")[1] == 10 * round + 9)
        assert len(it.gaps) == 1
        (left,) = await it.adapter.close()
        assert isinstance(left, Gap)
        assert left.cause.startswith("server-queue-overflow")
        assert left.start >= it.gaps[0].start
        assert left.end > it.gaps[0].end
        assert await it.adapter.close() == []


async def test_subscriptions_outlive_their_session(cnc: NodeOpcua) -> None:
    """A session that has timed out leaves its subscriptions, to be transferred: Part 4, 5.14.7."""
    async with Reader(cnc.url, COUNT) as it:
        await it.read()
        subscription = it.adapter._machines[0].subscription
        cnc.time_out_sessions()
        await it.lost()
        await count_from(1, 5, cnc)
        await it.reconnect()
        assert it.adapter._machines[0].subscription == subscription
        await it.until(lambda: it.last("count")[1] == 5 and len(it.past["count"]) >= 5)
        assert [value for _, value, _ in it.past["count"]] == [1, 2, 3, 4, 5]
        assert not it.gaps
        assert (cnc.sessions(), cnc.subscriptions()) == (1, 1)


async def test_a_session_that_is_gone_leaves_a_gap(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, COUNT) as it:
        await it.read()
        before = time.time_ns()
        cnc.kill_sessions()
        await it.lost()
        await count_from(1, 3, cnc)
        after = time.time_ns()
        await it.reconnect()
        await it.until(lambda: it.last("count")[1] == 3)
        (gap,) = it.gaps
        assert gap.cause.startswith("link-lost")
        assert gap.start <= before + 10**9
        assert gap.end >= after
        assert not it.past["count"]


async def test_what_a_server_remembers_is_fetched(cnc: NodeOpcua) -> None:
    """SpindleSpeed has a history, PartCount has none."""
    async with Reader(cnc.url, {"speed": "m:s=CNC1.SpindleSpeed", **COUNT}) as it:
        await it.read()
        cnc.kill_sessions()
        await it.lost()
        now = datetime.now(UTC)
        for n in range(1, 30):
            cnc.set("s=CNC1.SpindleSpeed", n, time=now + timedelta(milliseconds=n))
        await it.reconnect()
        await it.until(lambda: it.values("speed")[-1] == 29.0 and len(it.past["speed"]) >= 28)
        assert [value for _, value, _ in it.past["speed"]][:28] == [float(n) for n in range(1, 29)]
        assert set(it.past["speed"][28:]) <= set(it.got["speed"]), "what was read is the same reading, once more"
        times = [time for time, _, _ in it.past["speed"]]
        assert times == sorted(times)
        (gap,) = it.gaps
        assert [gap.header.signals[i].name for i in gap.signal] == ["count"]


async def test_without_history_the_gap_is_that_of_all(cnc: NodeOpcua) -> None:
    """The control."""
    async with Reader(cnc.url, {"speed": "m:s=CNC1.SpindleSpeed", **COUNT}, history="0s") as it:
        await it.read()
        cnc.kill_sessions()
        await it.lost()
        cnc.set("s=CNC1.SpindleSpeed", 1)
        await it.reconnect()
        await it.until(lambda: it.values("speed")[-1] == 1.0)
        (gap,) = it.gaps
        assert not gap.signal, "any of them"
        assert not it.past["speed"]


async def test_a_restart_leaves_a_gap_and_no_session() -> None:
    with NodeOpcua(tick_ms=0) as server:
        async with Reader(server.url, COUNT) as it:
            await it.read()
            server.kill()
            await it.lost()
            await asyncio.to_thread(server.start)
            await it.reconnect()
            await it.until(lambda: it.gaps)
            assert server.sessions() == 1
        assert server.sessions() == 0


async def test_a_gap_is_not_forgotten_when_connecting_fails_half_way(
    cnc: NodeOpcua,
) -> None:
    async with Reader(cnc.url, COUNT) as it:
        await it.read()
        cnc.kill_sessions()
        await it.lost()
        refuse = {"CreateMonitoredItemsRequest": "BadInternalError"}
        with cnc.misbehaving(refuse=refuse), pytest.raises(NotConnectedError, match="BadInternalError"):
            await it.adapter.connect()
        await it.reconnect()
        await it.until(lambda: it.gaps)
        assert len(it.gaps) == 1


async def test_a_dead_line_is_found_within_five_seconds(cnc: NodeOpcua) -> None:
    """With the default settings, and whatever keep-alive the server chooses."""
    with Proxy(cnc.port) as proxy:
        async with Reader(through(proxy, cnc), COUNT, timeout="4s", publishing="500ms") as it:
            await it.read()
            await it.until(lambda: it.returns > 2)
            proxy.freeze()
            began = time.monotonic()
            assert "the line is dead" in await it.lost()
            assert time.monotonic() - began < 5.0
            proxy.cut()
            proxy.resume()


async def test_a_slow_line_is_not_taken_for_a_dead_one(cnc: NodeOpcua) -> None:
    with cnc.misbehaving(slow={"ReadRequest": 1500}):
        async with Reader(cnc.url, COUNT, timeout="10s", publishing="5s") as it:
            began = time.monotonic()
            await it.until(lambda: time.monotonic() - began > 8)
