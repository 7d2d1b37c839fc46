"""Where the line, a request or a machine fails while something else was already in hand: nothing of that is lost."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.opcua import adapter as adapter_module
from adapters.opcua import build
from adapters.opcua.adapter import OpcuaAdapter
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.session import Session
from gateway.adapter import Context
from gateway.errors import NotConnectedError
from gateway.model import GOOD, NODE_UNKNOWN, Gap, MachinePath, Value, is_bad
from opcua.helpers import context
from opcua.test_faults import through
from opcua.test_staying import count_from
from parts.cnc import NAMESPACE
from parts.node_opcua import NodeOpcua
from parts.proxy import Proxy

COUNT = {"node": "m:s=CNC1.PartCount", "sampling": "50ms"}
SPEED = {"node": "m:s=CNC1.SpindleSpeed", "sampling": "50ms"}
DOOR = {"node": "m:s=CNC1.DoorOpen", "sampling": "50ms"}
LATE = {"node": "m:s=Late", "type": "int"}


@pytest.fixture(autouse=True)
def at_rest(cnc: NodeOpcua) -> None:
    cnc.set("s=CNC1.PartCount", 0)
    cnc.set("s=CNC1.SpindleSpeed", 0)


class Plant:
    """An adapter of several machines, and all it has brought: by machine and signal (time, value, quality)."""

    def __init__(self, url: str, machines: Mapping[str, Mapping[str, Any]], **connection: Any) -> None:
        one: Context = context(url, {}, **connection)
        settings = {
            MachinePath(name): OpcuaMachine.model_validate(
                {"connection": "cnc", "namespaces": {"m": NAMESPACE}, "signals": signals}
            )
            for name, signals in machines.items()
        }
        link = one.connection
        assert isinstance(link, OpcuaConnection)
        self.context = Context(
            one.name, link, settings, one.clock, one.counters, one.data_dir, one.gateway_id, one.folder
        )
        adapter = build(self.context)
        assert isinstance(adapter, OpcuaAdapter)
        self.adapter = adapter
        self.now: dict[str, list[tuple[int, Value, int]]] = {}
        self.past: dict[str, list[tuple[int, Value, int]]] = {}
        self.gaps: list[Gap] = []

    async def __aenter__(self) -> "Plant":
        try:
            await self.adapter.connect()
        except BaseException:
            await self.adapter.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.adapter.close()

    @property
    def session(self) -> Session:
        assert self.adapter._session
        return self.adapter._session

    async def read(self) -> None:
        for batch in await self.adapter.read():
            if isinstance(batch, Gap):
                self.gaps.append(batch)
                continue
            for i, *reading in zip(
                batch.signal, batch.time, batch.value, batch.quality or [GOOD] * len(batch), strict=True
            ):
                name = f"{batch.header.path.machine}/{batch.header.signals[i].name}"
                (self.past if batch.historical else self.now).setdefault(name, []).append(tuple(reading))

    async def until(self, condition: Any, timeout: float = 15) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await self.read()

    async def first_reported(self) -> None:
        """What was read at the start was also reported, so that what comes next is news."""
        await self.until(lambda: not any(machine._now for machine in self.adapter._machines))

    async def lost(self, timeout: float = 15) -> None:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await self.read()
                except NotConnectedError:
                    return

    async def reconnect(self, timeout: float = 20) -> None:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    return await self.adapter.connect()
                except NotConnectedError:
                    await asyncio.sleep(0.05)

    def values(self, name: str) -> list[Value]:
        """What was brought, now or afterwards. A reading that is told again as one of the past is the same one."""
        both = {*self.past.get(name, []), *self.now.get(name, [])}
        return [value for _, value, _ in sorted(both, key=lambda reading: reading[0])]


class FailsAt:
    """Reading of values fails from the n-th time on, as it does on a line that breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
        original = Session.values
        self.left = n

        async def values(session: Session, nodes: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise NotConnectedError("the line breaks")
            return await original(session, nodes)

        monkeypatch.setattr(Session, "values", values)


# --- what is in hand when something else fails -----------------------------------------------------------------------


async def test_news_are_not_lost_with_the_line_that_breaks_behind_them(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something was to be read anew after them."""
    async with Plant(cnc.url, {"a": {"count": COUNT}}) as it:
        await it.first_reported()
        it.adapter._machines[0].outdated = True
        FailsAt(monkeypatch, 1)
        cnc.set("s=CNC1.PartCount", 5)
        await it.lost()
        cnc.set("s=CNC1.PartCount", 6)
        await it.reconnect()
        await it.until(lambda: it.values("a/count")[-1] == 6)
        assert it.values("a/count") == [0, 5, 6]


async def test_what_one_machine_was_polled_for_is_not_lost_with_the_other(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled = {**COUNT, "mode": "poll", "poll": "300ms"}
    async with Plant(cnc.url, {"a": {"count": polled}, "b": {"door": {**DOOR, "mode": "poll", "poll": "300ms"}}}) as it:
        await it.until(lambda: it.values("a/count") == [0])
        FailsAt(monkeypatch, 2)
        cnc.set("s=CNC1.PartCount", 5)
        await it.lost()
        cnc.set("s=CNC1.PartCount", 6)
        await it.reconnect()
        await it.until(lambda: it.values("a/count")[-1] == 6)
        assert 5 in it.values("a/count")


async def test_what_was_read_before_connecting_failed_half_way_is_not_taken_for_known(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine's values are read, the second one's not; then they change, and the next try succeeds."""
    with Proxy(cnc.port) as proxy:
        async with Plant(through(proxy, cnc), {"a": {"count": COUNT}, "b": {"door": DOOR}}) as it:
            await it.until(lambda: it.values("a/count") == [0])
            proxy.cut()
            await it.lost()
            await count_from(1, 5, cnc)  # more than there were requests for: the rest waits in the queue of the item
            FailsAt(monkeypatch, 2)
            with pytest.raises(NotConnectedError):
                await it.adapter.connect()
            cnc.set("s=CNC1.PartCount", 6)
            await it.reconnect()
            await it.until(lambda: it.values("a/count")[-1] == 6)
            cnc.set("s=CNC1.PartCount", 7)
            await it.until(lambda: it.values("a/count")[-1] == 7)
            assert list(dict.fromkeys(it.values("a/count"))) == [0, 1, 2, 3, 4, 5, 6, 7]
            assert not it.gaps


async def test_page_of_history_that_fails_costs_no_news(cnc: NodeOpcua) -> None:
    async with Plant(cnc.url, {"a": {"count": COUNT}}) as it:
        await it.first_reported()

        async def fails() -> None:
            raise NotConnectedError("the line breaks")

        async def nothing() -> Any:
            yield None

        it.adapter._page = asyncio.create_task(fails())  # type: ignore[assignment]
        it.adapter._looking_back = it.adapter._machines[0], nothing()
        cnc.set("s=CNC1.PartCount", 5)
        it.session._publishing.ask()
        await asyncio.wait(it.session._publishing.asked, return_when=asyncio.FIRST_COMPLETED)
        await it.lost()
        cnc.set("s=CNC1.PartCount", 6)
        await it.reconnect()
        await it.until(lambda: it.values("a/count")[-1] == 6)
        assert it.values("a/count") == [0, 5, 6]


# --- what must not wait for something else ---------------------------------------------------------------------------


async def test_polls_that_take_longer_than_their_period_leave_room_for_the_rest(cnc: NodeOpcua) -> None:
    polled = {**DOOR, "mode": "poll", "poll": "50ms"}
    async with Plant(cnc.url, {"a": {"count": COUNT, "door": polled}}) as it:
        with cnc.misbehaving(slow={"ReadRequest": 120}):
            for n in range(1, 6):
                cnc.set("s=CNC1.PartCount", n)
                await it.until(lambda n=n: it.values("a/count")[-1:] == [n], timeout=5)  # type: ignore[misc]


async def test_a_slow_poll_is_kept_while_nodes_are_looked_for(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    polled = {**COUNT, "mode": "poll", "poll": "1s"}
    async with Plant(cnc.url, {"a": {"count": polled, "late": LATE}}) as it:
        await it.until(lambda: len(it.now.get("a/count", ())) >= 3, timeout=8)


async def test_a_subscription_outlives_the_slow_start_of_the_other_machines(cnc: NodeOpcua) -> None:
    """A server deletes a subscription for which nobody asks: Part 4, 5.14.1.1, lifetime counter."""
    machines = {name: {"count": COUNT} for name in "abcde"}
    with cnc.misbehaving(slow={"ReadRequest": 1500}):
        async with Plant(cnc.url, machines, session_timeout="10s", timeout="10s", publishing="500ms") as it:
            cnc.misbehave(slow=None)
            for n in (1, 2):
                cnc.set("s=CNC1.PartCount", n)
                await it.until(lambda n=n: all(it.values(f"{name}/count")[-1:] == [n] for name in machines))  # type: ignore[misc]
            assert cnc.subscriptions() == len(machines)


async def test_a_server_that_publishes_seldom_is_alive_meanwhile(cnc: NodeOpcua) -> None:
    """Or all its signals would go stale between two notifications, and come back."""
    async with Plant(cnc.url, {"a": {"count": COUNT}}, publishing="30s") as it:
        await it.read()
        async with asyncio.timeout(10):
            for _ in range(3):
                assert list(await it.adapter.read()) == []


# --- sessions that are taken over ------------------------------------------------------------------------------------


async def test_what_is_polled_is_still_polled_in_the_session_that_inherits(cnc: NodeOpcua) -> None:
    """Ids that were registered hold in one session only: Part 4, 5.8.5."""
    polled = {**DOOR, "mode": "poll", "poll": "200ms"}
    async with Plant(cnc.url, {"a": {"count": COUNT, "door": polled}}) as it:
        await it.until(lambda: len(it.now.get("a/door", ())) > 2)
        before = it.adapter._machines[0].subscription
        cnc.time_out_sessions()
        await it.lost()
        await it.reconnect()
        assert it.adapter._machines[0].subscription == before
        it.now.clear()
        await it.until(lambda: len(it.now.get("a/door", ())) > 3)
        assert not any(is_bad(quality) for _, _, quality in it.now["a/door"])


async def test_subscriptions_that_were_transferred_for_nothing_do_not_stay(cnc: NodeOpcua) -> None:
    async with Plant(cnc.url, {"a": {"count": COUNT}, "b": {"door": DOOR}}) as it:
        await it.until(lambda: it.values("b/door"))
        cnc.delete_subscription()
        cnc.time_out_sessions()
        await it.lost()
        await it.reconnect()
        await it.until(lambda: len(it.gaps) == 2)
        assert cnc.subscriptions() == 2
        cnc.set("s=CNC1.PartCount", 3)
        await it.until(lambda: it.values("a/count")[-1] == 3)


@pytest.mark.parametrize("fault", ["BadServiceUnsupported", "BadNotImplemented"])
async def test_a_session_is_taken_over_where_nothing_is_sent_again(cnc: NodeOpcua, fault: str) -> None:
    with Proxy(cnc.port) as proxy, cnc.misbehaving(refuse={"RepublishRequest": fault}):
        async with Plant(through(proxy, cnc), {"a": {"count": COUNT}}) as it:
            await it.until(lambda: it.values("a/count"))
            before = it.adapter._machines[0].subscription
            proxy.cut()
            cnc.set("s=CNC1.PartCount", 3)
            await it.lost()
            await it.reconnect()
            assert it.adapter._machines[0].subscription == before
            await it.until(lambda: it.values("a/count")[-1] == 3)
            assert not it.gaps
            assert (cnc.sessions(), cnc.subscriptions()) == (1, 1)


async def test_a_session_that_was_half_begun_is_closed(cnc: NodeOpcua) -> None:
    with Proxy(cnc.port) as proxy:
        it = Plant(through(proxy, cnc), {"a": {"count": COUNT}})
        with cnc.misbehaving(slow={"CreateMonitoredItemsRequest": 1500}):
            connecting = asyncio.create_task(it.adapter.connect())
            while not cnc.subscriptions():
                await asyncio.sleep(0.02)
            proxy.cut()
            with pytest.raises(NotConnectedError):
                await connecting
        async with it:
            await it.until(lambda: it.values("a/count"))
            assert (cnc.sessions(), cnc.subscriptions()) == (1, 1)
    assert cnc.sessions() == 0


async def test_what_a_queue_of_one_has_lost_is_declared(cnc: NodeOpcua) -> None:
    """It has no overflow bit: Part 4, 5.13.1.5. The control is the other machine: it loses nothing."""
    with Proxy(cnc.port) as proxy:
        machines = {"a": {"count": {**COUNT, "queue": 1}}, "b": {"count": COUNT}}
        async with Plant(through(proxy, cnc), machines) as it:
            await it.first_reported()
            began = time.time_ns()
            proxy.freeze()
            await count_from(1, 8, cnc)
            ended = time.time_ns()
            proxy.cut()
            proxy.resume()
            await it.lost()
            await it.reconnect()
            for name in machines:
                await it.until(lambda name=name: it.values(f"{name}/count")[-1] == 8)
            await it.until(lambda: len(it.values("b/count")) >= 9)
            assert len(set(it.values("a/count"))) < 9
            (gap,) = it.gaps
            assert gap.header.path.machine == "a"
            assert gap.cause.startswith("link-lost")
            assert gap.start <= began
            assert gap.end >= ended


@pytest.mark.parametrize("waits", [False, True])
async def test_what_the_server_kept_is_declared_by_who_stops_before_it_comes(cnc: NodeOpcua, waits: bool) -> None:
    """The control waits for it."""
    with Proxy(cnc.port) as proxy:
        async with Plant(through(proxy, cnc), {"a": {"count": COUNT}}, publishing="1s") as it:
            await it.first_reported()
            began = time.time_ns()
            proxy.freeze()
            await count_from(1, 8, cnc)
            proxy.cut()
            proxy.resume()
            await it.lost()
            await it.reconnect()
            if waits:
                await it.until(lambda: len(it.values("a/count")) >= 9)
                await it.first_reported()
            left = await it.adapter.close()
            gaps = [part for part in left if isinstance(part, Gap)]
            assert len(gaps) == (0 if waits else 1)
            for gap in gaps:
                assert gap.header.path.machine == "a"
                assert gap.cause == "link-lost: the gateway stopped before what the server had kept came"
                assert gap.start <= began
                assert gap.end <= time.time_ns()


# --- missing nodes ---------------------------------------------------------------------------------------------------


async def test_a_node_of_a_new_type_costs_the_others_nothing(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type is announced when the connection is made anew; the session goes on."""
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    async with Plant(cnc.url, {"a": {"late": {"node": "m:s=Late"}}, "b": {"count": COUNT}}) as it:
        await it.until(lambda: it.values("b/count") == [0])
        try:
            cnc.add("s=Late", "String", "here")
            await it.lost()
            cnc.set("s=CNC1.PartCount", 1)
            await it.reconnect()
            await it.until(lambda: it.values("a/late")[-1] == "here" and it.values("b/count")[-1] == 1)
            assert not it.gaps
            assert it.adapter.headers[0].signals[0].type == "string"
            assert (cnc.sessions(), cnc.subscriptions()) == (1, 2)
        finally:
            cnc.remove("s=Late")


async def test_a_missing_node_is_told_where_first_values_are_bad_by_nature(cnc: NodeOpcua) -> None:
    async with Plant(cnc.url, {"a": {"count": COUNT, "late": LATE}}, server="kepware") as it:
        await it.until(lambda: it.values("a/count"))
        assert [quality for _, _, quality in it.now.get("a/late", [])] == [NODE_UNKNOWN]


async def test_a_server_that_refuses_events_costs_no_values(cnc: NodeOpcua) -> None:
    events = {"node": "m:s=CNC1", "events": True}
    polled = {**COUNT, "mode": "poll", "poll": "200ms"}
    with cnc.misbehaving(refuse={"CreateMonitoredItemsRequest": "BadEventFilterInvalid"}):
        async with Plant(cnc.url, {"a": {"count": polled, "alarm": events}}) as it:
            await it.until(lambda: len(it.values("a/count")) > 3)
            assert it.adapter._machines[0].incomplete, "they are tried again"


async def test_a_node_that_has_gone_is_told_once(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.2)
    cnc.add("s=Late", "Int32", 1)
    async with Plant(cnc.url, {"a": {"late": {**LATE, "sampling": "50ms"}}}) as it:
        await it.until(lambda: it.values("a/late") == [1])
        cnc.remove("s=Late")
        await it.until(lambda: it.adapter._machines[0].incomplete)
        it.now.clear()
        it.adapter._look_again = 0.0
        for _ in range(5):
            await it.adapter._look(it.session)
        if it.adapter._ready:
            await it.read()
        qualities = [quality for _, _, quality in it.now.get("a/late", [])]
        assert qualities in ([], [NODE_UNKNOWN]), "another word of the server for the same at most"


async def test_news_that_came_when_the_gateway_stopped_are_handed_on(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something else was to be read."""
    plant = Plant(cnc.url, {"a": {"count": COUNT}})
    await plant.adapter.connect()
    await plant.first_reported()
    reading = asyncio.Event()

    async def for_ever(_: Session, __: Any) -> Any:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Session, "values", for_ever)
    plant.adapter._machines[0].outdated = True
    cnc.set("s=CNC1.PartCount", 5)
    task = asyncio.create_task(plant.adapter.read())
    await asyncio.wait_for(reading.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    left = await plant.adapter.close()
    assert [list(part.value) for part in left if not isinstance(part, Gap)] == [[5]]
    assert all(part.historical for part in left if not isinstance(part, Gap)), "nobody says that it is still so"
