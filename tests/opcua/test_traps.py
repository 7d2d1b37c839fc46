"""What asyncua and OPC UA servers are known to do wrong, row by row, and what the adapter makes of it.

Each row of the collection has its tests in the table below, here or in another file. Where a row is about the library, a
test shows at the same server and the same moment what asyncua alone does, as its documentation says to use it.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client as Asyncua
from asyncua import ua

from adapters.opcua import adapter as adapter_module
from adapters.opcua import client as client_module
from adapters.opcua import watch as watch_module
from fault.opcua_ledger import Client as Counting
from fault.opcua_ledger import account, stretches
from gateway.errors import NotConnectedError
from gateway.model import GOOD, Batch, is_bad, is_good
from gateway.normalizer import Plan
from opcua.helpers import Reader
from parts.asyncua_server import AsyncuaServer
from parts.cnc import NAMESPACE, Cnc
from parts.node_opcua import NodeOpcua
from parts.open62541 import Open62541
from parts.process import wait_until
from parts.proxy import Proxy

TESTS = Path(__file__).parents[1]
SPEED = {"speed": "m:s=CNC1.SpindleSpeed"}
DOOR = {"door": "m:s=CNC1.DoorOpen"}

# How a row begins -> the tests that hold it; without a file: in this one.
ASYNCUA: Mapping[str, tuple[str, ...]] = {
    "certificate not validated by default": ("opcua/security::",),
    "`auto_reconnect=False` default": ("test_a_cut_line_is_not_the_silent_end_of_the_data",),
    "queue size 0/1": (
        "test_every_change_between_two_notifications_arrives",
        "test_an_overflow_is_declared_as_a_gap",
    ),
    "no ResendData when Republish cannot fill the gap": (
        "test_a_notification_that_never_comes_is_sent_again",
        "test_a_notification_that_cannot_be_sent_again_is_a_gap",
    ),
    "session time-out 1 h": (
        "test_a_session_is_kept_for_a_minute_not_for_an_hour",
        "fault/test_opcua_storm.py::test_no_session_is_left_after_sigterm",
        "fault/test_opcua_storm.py::test_a_server_whose_sessions_are_taken_is_not_hammered",
    ),
    "renew of the secure channel": ("test_a_hundred_renewals_of_the_channel_lose_nothing",),
    "plain password over None": ("opcua/test_config.py::", "opcua/security::"),
    "an untrusted client certificate ends in a bare `AssertionError`": ("opcua/security::",),
    "the certificate's URI must equal": ("opcua/security::",),
    "importing it costs": ("opcua/test_traps.py::test_nothing_imports_asyncua_that_does_not_need_it",),
    "small servers: S7-1200": ("test_a_batch_that_is_refused_is_halved", "test_requests_are_small_without_being_told"),
    "`auto_reconnect` keeps the old namespace index": (
        "test_after_the_namespaces_have_moved_asyncua_reads_another_machine",
        "opcua/test_faults.py::test_after_a_restart_the_right_node_is_read_although_its_index_has_moved",
    ),
    "`auto_reconnect` never comes back when the server has a new certificate": (
        "test_a_server_with_a_new_certificate_is_found_again",
    ),
    "a subscription that the server deleted gives no notice": (
        "test_a_subscription_that_vanishes_is_noticed",
        "test_one_of_several_subscriptions_that_vanishes_is_noticed",
    ),
    "does not split calls at the server's OperationLimits": ("test_a_batch_that_is_refused_is_halved",),
    "structures are opaque until": ("opcua/test_structures.py::",),
    "cannot import Machinery Jobs": ("opcua/tools::",),
}
FIELD: Mapping[int, tuple[str, ...]] = {
    1: ("test_a_batch_that_is_refused_is_halved",),
    2: ("test_the_items_of_all_outstanding_requests_stay_below_the_limit",),
    3: ("test_a_list_that_is_cut_is_asked_for_again",),
    4: ("test_items_that_are_made_and_never_report_are_noticed",),
    5: ("test_few_publish_requests_are_enough",),
    6: ("opcua/test_adapter.py::test_all_sessions_taken_is_named",),
    7: ("test_a_session_is_kept_for_a_minute_not_for_an_hour", "test_a_line_that_is_lost_costs_no_second_session"),
    8: ("test_after_the_namespaces_have_moved_asyncua_reads_another_machine",),
    9: ("test_node_ids_with_anything_in_them",),
    10: ("test_a_path_finds_its_node_after_a_download",),
    11: ("test_without_time_stamps_the_arrival_counts", "test_a_time_that_is_none_is_none"),
    12: ("test_good_with_a_sub_code_is_good",),
    13: ("opcua/test_peers.py::test_bad_comes_on_the_change_and_without_a_value",),
    14: ("test_good_without_a_value_is_no_value",),
    15: ("test_waiting_for_the_first_value",),
    16: ("opcua/test_peers.py::test_a_missing_node_comes_and_goes_and_the_rest_goes_on",),
    17: ("opcua/test_peers.py::test_a_missing_node_comes_and_goes_and_the_rest_goes_on",),
    18: ("test_a_subscription_that_vanishes_is_noticed", "test_a_fault_instead_of_a_notification_is_survived"),
    19: ("test_a_hundred_renewals_of_the_channel_lose_nothing", "test_a_server_that_closes_its_socket"),
    20: ("opcua/security::",),
    21: ("opcua/security::",),
    22: ("test_a_clock_that_is_wrong_is_left_alone", "opcua/security::"),
    23: ("test_an_endpoint_that_names_another_host_is_reached_all_the_same",),
    24: ("opcua/test_structures.py::",),
    25: ("opcua/test_decode.py::",),
    26: ("test_nan_and_infinity_are_qualities",),
    27: ("test_what_the_server_revises_is_said_and_what_it_loses_declared",),
    28: ("test_a_sampling_interval_of_zero_is_never_asked_for",),
    29: ("opcua/tools::",),
    30: ("test_a_slow_server_is_waited_for", "test_good_with_a_sub_code_is_good"),
}


# --- the table itself -------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_every_row_of_the_collection_is_in_the_table() -> None:
    text = (TESTS.parents[1] / "shared" / "TRAPS.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    library = [row[1] for row in rows if row[0].startswith("asyncua")]
    assert [trap for trap in library if not any(trap.startswith(begin) for begin in ASYNCUA)] == []
    assert [begin for begin in ASYNCUA if not any(trap.startswith(begin) for trap in library)] == []
    assert {int(row[0]) for row in rows if row[0].isdigit()} == set(FIELD)


def test_every_test_in_the_table_is_there() -> None:
    missing = []
    for name in sorted({name for names in (*ASYNCUA.values(), *FIELD.values()) for name in names}):
        where, _, test = name.rpartition("::")
        place = TESTS / where if where else Path(__file__)
        files = sorted(place.glob("test_*.py")) if place.is_dir() else [place] if place.exists() else []
        functions = [
            node.name
            for file in files
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        if not functions or (test and test not in functions):
            missing.append(name)
    assert missing == []


# --- peers ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counter() -> Iterator[NodeOpcua]:
    """A server that counts, every 40 ms, and writes down what it has counted."""
    with NodeOpcua(count_ms=40, sampling_ms=10, tick_ms=0) as server:
        yield server


@pytest.fixture(autouse=True)
def _nobody_else(request: pytest.FixtureRequest) -> None:
    """What asyncua left behind in the test before is no matter of this one."""
    for name in ("cnc", "counter"):
        if name in request.fixturenames:
            request.getfixturevalue(name).kill_sessions()


class Alone:
    """asyncua by itself, used as its documentation says: a handler gets the values of one variable."""

    def __init__(self, client: Asyncua) -> None:
        self.client = client
        self.values: list[Any] = []
        self.notices: list[Any] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values.append(value)

    def status_change_notification(self, status: Any) -> None:
        self.notices.append(status)


@asynccontextmanager
async def alone(url: str, name: str = "SpindleSpeed", publishing: float = 100, **options: Any) -> AsyncIterator[Alone]:
    client = Asyncua(url, timeout=2, **options)
    handler = Alone(client)
    await client.connect()
    try:
        index = await client.get_namespace_index(NAMESPACE)
        subscription = await client.create_subscription(publishing, handler)
        await subscription.subscribe_data_change(client.get_node(f"ns={index};s=CNC1.{name}"))
        async with asyncio.timeout(5):
            while not handler.values:
                await asyncio.sleep(0.01)
        yield handler
    finally:
        for step in (client.disconnect, _nothing):
            try:
                async with asyncio.timeout(5):
                    await step()
                break
            except Exception as error:
                logging.getLogger(__name__).debug("asyncua: %r", error)


async def _nothing() -> None:
    return


def through(proxy: Proxy, server: Cnc) -> str:
    return server.url.replace(str(server.port), str(proxy.port))


@asynccontextmanager
async def counting(url: str, **more: Any) -> AsyncIterator[Counting]:
    """The adapter on Count, kept connected."""
    it = Counting(url, ("a",), **more)
    running = asyncio.create_task(it.run())
    try:
        await reaches(it, running, 1)
        yield it
        assert not running.done(), running.exception()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await it.adapter.close()


async def reaches(it: Counting, running: asyncio.Task[None] | None, number: int, timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while it.newest() < number:
            if running and running.done():
                running.result()
            await asyncio.sleep(0.01)


def undeclared(server: Cnc, it: Counting, last: int) -> list[int]:
    """The numbers up to this one that are missing, and no gap says so: those of overflows are put together for a while."""
    return [n for n in account(server.counted(), it.numbers["a"]).undeclared if n <= last]


async def until(condition: Callable[[], object], timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


# --- asyncua, table one -----------------------------------------------------------------------------------------------


async def test_a_cut_line_is_not_the_silent_end_of_the_data(cnc: NodeOpcua) -> None:
    with Proxy(cnc.port) as proxy:
        async with alone(through(proxy, cnc)) as control, Reader(through(proxy, cnc), SPEED) as it:
            await it.read()
            proxy.cut()
            before = list(control.values)
            assert "connection" in await it.lost()
            await it.reconnect()
            for n in (501, 502, 503):
                cnc.set("s=CNC1.SpindleSpeed", n)
                await it.until(lambda n=n: it.last("speed")[1] == n)
            assert control.values == before


async def test_every_change_between_two_notifications_arrives(counter: NodeOpcua) -> None:
    async with alone(counter.url, "Count", publishing=500) as control, counting(counter.url, publishing="500ms") as it:
        start = it.newest() + 1
        await reaches(it, None, start + 60)
        ours, theirs = it.numbers["a"], set(control.values)
        assert set(range(start, start + 60)) <= set(ours.seen)
        assert len(set(range(start, start + 60)) - theirs) > 30, "asyncua's queue size of 0 is one value"
        assert account(counter.counted(), ours).missing == []
        assert ours.gaps == []


async def test_an_overflow_is_declared_as_a_gap(counter: NodeOpcua) -> None:
    async with counting(counter.url, publishing="1s", queue=3) as it:
        last = it.newest() + 60
        await reaches(it, None, last)
        await until(lambda: not undeclared(counter, it, last), 30)
        found = account(counter.counted(), it.numbers["a"])
        assert len([n for n in found.missing if n < last]) > 20
        assert found.wrong == []


async def test_a_notification_that_never_comes_is_sent_again(counter: NodeOpcua) -> None:
    async with counting(counter.url) as it:
        counter.misbehave(lose={"PublishRequest": 1})
        await reaches(it, None, it.newest() + 40)
        found = account(counter.counted(), it.numbers["a"])
        assert (stretches(found.missing), found.wrong) == ("", [])
        assert it.numbers["a"].gaps == []
        assert it.connects == 1
    async with alone(counter.url, "Count") as control:
        counter.misbehave(lose={"PublishRequest": 1})
        last = max(counter.counted())
        await until(lambda: max(counter.counted()) > last + 75)
        assert max(control.values) < last + 25, "asyncua waits for this one answer for ever"


async def test_a_notification_that_cannot_be_sent_again_is_a_gap(counter: NodeOpcua) -> None:
    with counter.misbehaving(refuse={"RepublishRequest": "BadMessageNotAvailable"}):
        async with counting(counter.url) as it:
            await reaches(it, None, it.newest() + 5)  # the first notification says what was read already
            counter.misbehave(lose={"PublishRequest": 1})
            await reaches(it, None, it.newest() + 40)
            found = account(counter.counted(), it.numbers["a"])
            assert found.missing
            assert (stretches(found.undeclared), found.wrong) == ("", [])
            assert found.overdeclared <= 4
            assert account(counter.counted(), it.numbers["a"], gaps=()).undeclared == found.missing


async def test_a_session_is_kept_for_a_minute_not_for_an_hour(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, DOOR):
        assert cnc.session_timeouts() == [60.0]
    async with alone(cnc.url):
        assert min(cnc.session_timeouts()) > 600


@pytest.mark.parametrize(
    "kind", [NodeOpcua, AsyncuaServer, pytest.param(Open62541, marks=pytest.mark.open62541)], ids=lambda k: k.__name__
)
async def test_a_hundred_renewals_of_the_channel_lose_nothing(kind: type[Cnc], monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is told to last a fifth of a second, with values all the time."""
    monkeypatch.setattr(client_module.Client, "channel_lifetime", 0.2)
    renewals = 0
    renew = client_module.Client.renew_channel

    async def counted(self: client_module.Client) -> None:
        nonlocal renewals
        await renew(self)
        renewals += 1

    monkeypatch.setattr(client_module.Client, "renew_channel", counted)
    with kind(count_ms=60, sampling_ms=10, tick_ms=0) as server:
        async with counting(server.url, publishing="20ms") as it:
            await until(lambda: renewals >= 100, 60)
            await reaches(it, None, max(server.counted()) + 1)
            found = account(server.counted(), it.numbers["a"])
            assert (stretches(found.missing), found.wrong, it.connects, it.losses) == ("", [], 1, [])


def test_nothing_imports_asyncua_that_does_not_need_it() -> None:
    importing = [
        file.name
        for file in (TESTS.parent / "adapters" / "opcua").rglob("*.py")
        if any(
            isinstance(node, ast.Import | ast.ImportFrom)
            and any(n.startswith("asyncua") for n in (getattr(node, "module", "") or "", *(a.name for a in node.names)))
            for node in ast.walk(ast.parse(file.read_text()))
        )
    ]
    assert importing == ["client.py"]


# --- asyncua, tables two and three ------------------------------------------------------------------------------------

LIMITS = {"maxNodesPerRead": 7, "maxMonitoredItemsPerCall": 5, "maxNodesPerTranslateBrowsePathsToNodeIds": 3}
LIMITED = {"serverCapabilities": {"operationLimits": LIMITS}}


@pytest.mark.parametrize("told", [True, False])
async def test_a_batch_that_is_refused_is_halved(told: bool) -> None:
    """Limits that the server tells, and those that it keeps to itself; the size is remembered."""
    signals = {f"s{n}": {"node": "m:s=CNC1.SpindleSpeed", "unit": "from-server"} for n in range(40)}
    with NodeOpcua(tick_ms=0, options=LIMITED, quirks={"hide_limits": not told}) as server:
        async with Asyncua(server.url) as control:
            assert (await control.get_node("i=11705").read_value()) == (7 if told else 0)
            index = await control.get_namespace_index(NAMESPACE)
            with pytest.raises(ua.uaerrors.BadTooManyOperations):
                await control.read_values([control.get_node(f"ns={index};s=CNC1.SpindleSpeed")] * 40)
        before = server.seen()["ReadRequest"]
        async with Reader(server.url, signals) as it:
            await it.read()
            assert [it.values(name) for name in signals] == [[0.0]] * 40
            assert {s.unit for s in it.adapter.headers[0].signals} == {"/min"}
            server.tick()
            await it.until(lambda: all(len(it.got[name]) == 2 for name in signals))
            first = server.seen()["ReadRequest"] - before
            server.close_sockets()
            await it.lost()
            server.kill_sessions()
            await it.reconnect()
            again = server.seen()["ReadRequest"] - before - first
        assert again <= first


async def test_requests_are_small_without_being_told() -> None:
    """Batches above 200 are much slower at small servers, also where these tell no limit."""
    signals = {f"s{n}": "m:s=CNC1.SpindleSpeed" for n in range(450)}
    with NodeOpcua(tick_ms=0) as server:
        async with Reader(server.url, signals, server="generic") as it:
            await it.read()
            largest = server.largest()
            assert 0 < largest["ReadRequest"] <= 200
            assert 0 < largest["CreateMonitoredItemsRequest"] <= 200


async def test_after_the_namespaces_have_moved_asyncua_reads_another_machine() -> None:
    with NodeOpcua(tick_ms=50) as server:
        async with alone(server.url, auto_reconnect=True) as control, Reader(server.url, SPEED) as it:
            await it.until(lambda: len(it.got["speed"]) > 3)
            server.kill()
            await it.lost()
            server.namespaces = ["urn:shop:robot"]
            await asyncio.to_thread(server.start)
            await it.reconnect()
            await asyncio.gather(
                it.until(lambda: it.got["speed"] and it.last("speed")[1] not in (None, 0.0)),
                until(lambda: -1.0 in control.values, 30),
            )
            assert -1.0 not in it.values("speed")


async def test_a_server_with_a_new_certificate_is_found_again() -> None:
    with NodeOpcua(tick_ms=50) as server:
        async with alone(server.url, auto_reconnect=True) as control, Reader(server.url, SPEED) as it:
            await it.read()
            server.kill()
            await it.lost()
            seen = len(control.values)
            server.forget_certificate()
            await asyncio.to_thread(server.start)
            await it.reconnect()
            seen_by_us = len(it.got["speed"])
            await it.until(lambda: len(it.got["speed"]) > seen_by_us + 40)
            assert len(control.values) == seen


async def test_a_subscription_that_vanishes_is_noticed(cnc: NodeOpcua) -> None:
    async with alone(cnc.url) as control, Reader(cnc.url, SPEED) as it:
        await it.read()
        seen = len(control.values)
        cnc.delete_subscriptions()
        await it.lost()
        await it.reconnect()
        for n in (601, 602):
            cnc.set("s=CNC1.SpindleSpeed", n)
            await it.until(lambda n=n: it.last("speed")[1] == n)
        assert len(control.values) == seen
        assert control.notices == []
        assert await control.client.get_node("i=2258").read_value(), "reads go on"


async def test_one_of_several_subscriptions_that_vanishes_is_noticed(
    counter: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on, so that nothing is amiss with the session."""
    it = Counting(counter.url, ("a", "b", "c"))
    running = asyncio.create_task(it.run())
    try:
        await reaches(it, running, 1)
        counter.delete_subscription()
        await reaches(it, running, max(counter.counted()) + 1, 20)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await it.adapter.close()
    for numbers in it.numbers.values():
        found = account(counter.counted(), numbers)
        assert (stretches(found.undeclared), found.wrong) == ("", [])
    assert (counter.sessions(), counter.subscriptions()) == (0, 0)


# --- the field --------------------------------------------------------------------------------------------------------


async def test_the_items_of_all_outstanding_requests_stay_below_the_limit(cnc: NodeOpcua) -> None:
    signals = {f"s{n}": "m:s=CNC1.SpindleSpeed" for n in range(60)}
    with cnc.misbehaving(outstanding=20, slow={"ReadRequest": 20}):
        async with Reader(cnc.url, signals, max_nodes=20) as it:
            await it.read()
            assert all(is_good(it.last(name)[2]) for name in signals)


async def test_a_list_that_is_cut_is_asked_for_again(cnc: NodeOpcua) -> None:
    cnc.set("s=CNC1.SpindleSpeed", 5)
    signals = {f"s{n}": "m:s=CNC1.SpindleSpeed" for n in range(12)} | DOOR
    with cnc.misbehaving(cut={"ReadRequest": 5, "CreateMonitoredItemsRequest": 4}):
        async with Reader(cnc.url, signals) as it:
            await it.read()
            assert [it.values(name) for name in signals] == [[5.0]] * 12 + [[False]]
            cnc.set("s=CNC1.SpindleSpeed", 6)
            cnc.set("s=CNC1.DoorOpen", True)
            await it.until(lambda: all(len(it.got[name]) == 2 for name in signals))
            cnc.set("s=CNC1.DoorOpen", False)
    assert cnc.sessions() == 0


async def test_items_that_are_made_and_never_report_are_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond what a server can report it makes items all the same, with status Good, and they stay silent."""
    monkeypatch.setattr(watch_module, "FIRST_REPORT", 1.0)
    signals = {f"s{n}": "m:s=CNC1.SpindleSpeed" for n in range(10)}
    with NodeOpcua(tick_ms=0, quirks={"most_items": 6}) as server:
        async with Reader(server.url, signals) as it:
            await it.read()
            server.tick()
            await it.until(lambda: it.last("s0")[1] == 0.25)
            await it.until(lambda: all(it.last(name)[1] == 0.25 for name in signals))
            assert [r.getMessage() for r in caplog.records if "it never reports" in r.getMessage()] == [
                "lathe: the server has made 4 monitored items that it never reports, which are polled, such as "
                "ns=2;s=CNC1.SpindleSpeed"
            ]


async def test_few_publish_requests_are_enough() -> None:
    """One request may wait, and there are four subscriptions."""
    with NodeOpcua(count_ms=40, sampling_ms=10, tick_ms=0, quirks={"requests": 1}) as server:
        it = Counting(server.url, ("a", "b", "c", "d"))
        running = asyncio.create_task(it.run())
        try:
            await reaches(it, running, 1)
            await reaches(it, running, it.newest() + 50)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await it.adapter.close()
        assert it.connects == 1
        assert [account(server.counted(), numbers).missing for numbers in it.numbers.values()] == [[]] * 4


async def test_a_line_that_is_lost_costs_no_second_session() -> None:
    """A server with one session: whoever leaves a dead one behind does not get in again."""
    with (
        NodeOpcua(tick_ms=0, options={"serverCapabilities": {"maxSessions": 1}}) as server,
        Proxy(server.port) as proxy,
    ):
        async with Reader(through(proxy, server), SPEED) as it:
            await it.read()
            for n, lose in enumerate((proxy.cut, proxy.reset, server.close_sockets), 1):
                lose()
                await it.lost()
                await it.reconnect()
                server.set("s=CNC1.SpindleSpeed", n)
                await it.until(lambda n=n: it.last("speed")[1] == n)
                assert server.sessions() == 1
        assert server.sessions() == 0


IDS = ('"DB 1"."Temp[0]"', "a;b=c", "ns=2;s=x", "Größe°", "%s{0}", "a,b|c/d", "'", "{a: [b]}", "null")


async def test_node_ids_with_anything_in_them(cnc: NodeOpcua) -> None:
    with pytest.raises(ValueError, match="begins or ends with a blank, or has a control character in it"):
        Reader(cnc.url, {"slip": "m:s=trailing newline\n"})  # of the YAML, not of the server
    for n, id in enumerate(IDS):
        cnc.add(f"s={id}", "Int32", n)
    try:
        async with Reader(cnc.url, {f"s{n}": f"m:s={id}" for n, id in enumerate(IDS)}) as it:
            await it.read()
            assert [it.values(f"s{n}") for n in range(len(IDS))] == [[n] for n in range(len(IDS))]
    finally:
        for id in IDS:
            cnc.remove(f"s={id}")


async def test_a_path_finds_its_node_after_a_download(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled program numbers its variables anew: the name stays, and the old number is another variable."""
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    cnc.add_named("Torque", "i=7001", "Double", 11.5)
    signals = {"path": {"path": "m:CNC1/m:Torque"}, "number": "m:i=7001"}
    try:
        async with Reader(cnc.url, signals) as it:
            await it.read()
            assert (it.last("path")[1], it.last("number")[1]) == (11.5, 11.5)
            cnc.remove("i=7001")
            cnc.add_named("Torque", "i=7002", "Double", 12.5)
            cnc.add_named("Power", "i=7001", "Double", 99.0)
            cnc.close_sockets()
            cnc.kill_sessions()
            await it.lost()
            await it.reconnect()
            await it.until(lambda: it.last("path")[1] == 12.5)
            assert it.last("number")[1] == 99.0, "the number alone is another variable now"
    finally:
        cnc.remove("i=7001")
        cnc.remove("i=7002")


@pytest.mark.parametrize("which", ["source", "server", "both"])
async def test_without_time_stamps_the_arrival_counts(cnc: NodeOpcua, which: str) -> None:
    """Without one of them the other; node-opcua gives both the time that is told it."""
    past = datetime(2020, 1, 2, tzinfo=UTC)
    with cnc.misbehaving(no_time=which):
        async with Reader(cnc.url, DOOR) as it:
            await it.read()
            cnc.set("s=CNC1.DoorOpen", True, time=past)
            await it.until(lambda: it.values("door")[-1] is True)
            now = datetime.now(UTC).timestamp() * 1e9
            expected = now if which == "both" else past.timestamp() * 1e9
            assert abs(it.last("door")[0] - expected) < 5e9
            cnc.set("s=CNC1.DoorOpen", False)


async def test_a_time_that_is_none_is_none(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, DOOR) as it:
        await it.read()
        for none in (datetime(1601, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)):
            seen = len(it.got["door"])
            cnc.set("s=CNC1.DoorOpen", not it.last("door")[1], time=none)
            await it.until(lambda seen=seen: len(it.got["door"]) > seen)
            assert abs(it.last("door")[0] - datetime.now(UTC).timestamp() * 1e9) < 5e9
        cnc.set("s=CNC1.DoorOpen", False)


async def test_good_with_a_sub_code_is_good(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"doubt": "m:s=CNC1.Doubtful"}) as it:
        await it.read()
        for n, status in enumerate(("GoodLocalOverride", "GoodClamped", "GoodOverload", "GoodCompletesAsynchronously")):
            cnc.set("s=CNC1.Doubtful", n, status=status)
            await it.until(lambda n=n: it.last("doubt")[1] == n)
            assert is_good(it.last("doubt")[2])
        cnc.set("s=CNC1.Doubtful", 17.5, status="UncertainLastUsableValue")


async def test_good_without_a_value_is_no_value(cnc: NodeOpcua) -> None:
    """GoodNoData with a null, as at the start of some servers: neither 0 nor an empty text."""
    cnc.add("s=Empty", "Double", 1.5)
    cnc.set("s=Empty", "null of any type", status="GoodNoData")
    try:
        async with Reader(cnc.url, {"empty": {"node": "m:s=Empty", "type": "float"}} | DOOR) as it:
            await it.read()
            assert it.last("empty")[1] is None
            assert is_bad(it.last("empty")[2])
            assert it.values("door") == [False]
    finally:
        cnc.remove("s=Empty")


async def test_waiting_for_the_first_value(cnc: NodeOpcua) -> None:
    cnc.add("s=Slow", "Double", 0, status="BadWaitingForInitialData")
    try:
        async with Reader(cnc.url, {"slow": "m:s=Slow"}) as it:
            await it.read()
            assert it.last("slow")[1:] == (None, 0x80320000)
            assert it.types == {"slow": "float"}
            cnc.set("s=Slow", 3.5)
            await it.until(lambda: it.last("slow")[1:] == (3.5, GOOD))
    finally:
        cnc.remove("s=Slow")


@pytest.mark.parametrize("fault", ["BadInternalError", "BadTooManyOperations", "BadServiceUnsupported", "BadTimeout"])
async def test_a_fault_instead_of_a_notification_is_survived(counter: NodeOpcua, fault: str) -> None:
    async with counting(counter.url) as it:
        counter.misbehave(refuse_once={"PublishRequest": fault})
        await reaches(it, None, it.newest() + 30, 20)
        found = account(counter.counted(), it.numbers["a"])
        assert (stretches(found.undeclared), found.wrong) == ("", [])
    assert counter.sessions() == 0


async def test_a_server_that_closes_its_socket(counter: NodeOpcua) -> None:
    async with counting(counter.url) as it:
        for _ in range(3):
            counter.close_sockets()
            await reaches(it, None, max(counter.counted()) + 5)
        last = it.newest()
        await reaches(it, None, last + 40)  # what was kept has arrived by then
        found = account(counter.counted(), it.numbers["a"], until=last)
        assert (stretches(n for n in found.missing if n <= last), found.wrong) == ("", [])
        assert counter.sessions() == 1


async def test_a_clock_that_is_wrong_is_left_alone(cnc: NodeOpcua) -> None:
    """The time of a reading is the machine's own, also where that is minutes off."""
    async with Reader(cnc.url, DOOR) as it:
        await it.read()
        for minutes in (-20, 20):
            off = datetime.fromtimestamp(datetime.now(UTC).timestamp() // 1 + minutes * 60, UTC)
            seen = len(it.got["door"])
            cnc.set("s=CNC1.DoorOpen", not it.last("door")[1], time=off)
            await it.until(lambda seen=seen: len(it.got["door"]) > seen)
            assert it.last("door")[0] == int(off.timestamp()) * 1_000_000_000
        cnc.set("s=CNC1.DoorOpen", False)


async def test_an_endpoint_that_names_another_host_is_reached_all_the_same() -> None:
    with NodeOpcua(tick_ms=0, options={"hostname": "plc.invalid"}) as server:
        async with Asyncua(server.url) as control:
            named = {str(e.EndpointUrl) for e in await control.get_endpoints()}
            assert all("plc.invalid" in name for name in named), named
        async with Reader(server.url, DOOR) as it:
            await it.read()
            assert it.values("door") == [False]


async def test_nan_and_infinity_are_qualities(cnc: NodeOpcua) -> None:
    """The adapter hands them on as they are; the normalizer, which every reading goes through, makes a quality of them."""
    async with Reader(cnc.url, {"doubt": "m:s=CNC1.Doubtful"}) as it:
        await it.read()
        (machine,) = it.context.machines.values()
        (header,) = it.adapter.headers
        plan = Plan(header, machine.signals)
        for value in (float("nan"), 0.5, float("inf"), 1.0, float("-inf"), 1.5):
            seen = len(it.got["doubt"])
            cnc.set("s=CNC1.Doubtful", value)
            await it.until(lambda seen=seen: len(it.got["doubt"]) > seen)
            time_ns, raw, quality = it.last("doubt")
            batch = plan.apply(Batch(header, [0], [time_ns], [raw], [quality]), 0.0, time_ns)
            assert batch is not None
            found = (batch.value[0], batch.quality[0] if batch.quality else GOOD)
            assert found == ((value, GOOD) if math.isfinite(value) else (None, 0x8FF30000))
        cnc.set("s=CNC1.Doubtful", 17.5, status="UncertainLastUsableValue")


async def test_what_the_server_revises_is_said_and_what_it_loses_declared(
    counter: NodeOpcua, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        counter.misbehaving(revise={"queueSize": 2, "samplingInterval": 10}),
        caplog.at_level(logging.INFO, "adapters.opcua"),
    ):
        async with counting(counter.url, publishing="500ms") as it:
            last = it.newest() + 40
            await reaches(it, None, last)
            await until(lambda: not undeclared(counter, it, last), 30)
            found = account(counter.counted(), it.numbers["a"])
            assert len(found.missing) > 10
            assert found.wrong == []
    assert any("2 values instead of 2000" in record.getMessage() for record in caplog.records)


async def test_a_sampling_interval_of_zero_is_never_asked_for(cnc: NodeOpcua) -> None:
    with cnc.misbehaving(deaf_at_zero=True):
        async with Asyncua(cnc.url) as control:
            handler = Alone(control)
            index = await control.get_namespace_index(NAMESPACE)
            subscription = await control.create_subscription(50, handler)
            node = control.get_node(f"ns={index};s=CNC1.SpindleSpeed")
            await subscription.subscribe_data_change(node, sampling_interval=0)
            async with Reader(cnc.url, SPEED) as it:
                await it.read()
                for n in (71, 72, 73):
                    cnc.set("s=CNC1.SpindleSpeed", n)
                    await it.until(lambda n=n: it.last("speed")[1] == n)
            assert handler.values == []


async def test_a_slow_server_is_waited_for(cnc: NodeOpcua) -> None:
    slow = dict.fromkeys(("ReadRequest", "CreateMonitoredItemsRequest", "CreateSessionRequest"), 700)
    with cnc.misbehaving(slow=slow):
        async with Reader(cnc.url, SPEED | DOOR) as it:
            await it.read()
            assert it.values("door") == [False]
            cnc.set("s=CNC1.SpindleSpeed", 81)
            await it.until(lambda: it.last("speed")[1] == 81)
    cnc.misbehave(slow={"ReadRequest": 4000})
    try:
        with pytest.raises(NotConnectedError, match=r"cnc 127\.0\.0\.1"):
            async with Reader(cnc.url, SPEED):
                pass
    finally:
        cnc.misbehave(slow=None)
    wait_until(lambda: cnc.sessions() == 0)
