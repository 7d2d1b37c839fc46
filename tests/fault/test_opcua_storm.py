"""Many clients, few sessions, a restart: politely. And from end to end: what a killed server took with it is in the store."""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asyncua import Client as Asyncua

from adapters.opcua import build
from fault.opcua_ledger import SLACK
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.model import GOOD, Batch, Gap, Header, MachinePath, ValueType
from gateway.mqtt.payload import State
from gateway.runtime.edge.poller import Poller
from gateway.schedule import Backoff
from gateway.store.historian import Historian
from opcua.helpers import MACHINE, Reader, context
from parts.gateway import Gateway
from parts.mosquitto import Mosquitto
from parts.node_opcua import NodeOpcua
from parts.process import wait_until
from parts.proxy import Proxy

SPEED = {"speed": "m:s=CNC1.SpindleSpeed"}
CLIENTS = 20


class Nowhere:
    """A sink that only counts."""

    full = False

    def __init__(self) -> None:
        self.readings = 0
        self.gaps: list[Gap] = []

    def accept(self, batch: Batch) -> None:
        self.readings += len(batch) - batch.value.count(None)  # not the marks of the runtime

    def lost(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def types(self, path: MachinePath) -> Mapping[str, ValueType]:
        return {}

    def refuse(self, path: MachinePath, types: Mapping[str, ValueType]) -> None: ...

    def show(self, batch: Batch) -> None:
        pass

    def announce(self, header: Header) -> None:
        pass

    def state(self, path: MachinePath, state: State, since: int, reason: str) -> None:
        pass


@asynccontextmanager
async def polled(
    url: str, count: int, backoff: Callable[[], Backoff] = Backoff
) -> AsyncIterator[tuple[list[Poller], list[Nowhere]]]:
    """As many connections as the runtime would have them."""
    pollers, sinks = [], []
    for _ in range(count):
        made = context(url, SPEED)
        (settings,) = made.machines.values()
        sinks.append(Nowhere())
        pollers.append(
            Poller(
                "cnc", lambda made=made: build(made), {MACHINE: settings}, sinks[-1], SystemClock(), FlowCounters(),
                backoff(),
            )
        )  # fmt: skip
        pollers[-1].prepare()
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    try:
        yield pollers, sinks
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


def most_within(times: Sequence[float], window: float) -> int:
    """The most of these moments that lie in one such window."""
    return max((bisect_left(times, t + window) - i for i, t in enumerate(times)), default=0)


# --- a server that restarts -------------------------------------------------------------------------------------------


async def storm(backoff: Callable[[], Backoff]) -> tuple[list[float], float]:
    """Twenty connections, and the server away for ten seconds: when they knock, and how long until all are back."""
    with (
        NodeOpcua(options={"maxConnectionsPerEndpoint": 60, "serverCapabilities": {"maxSessions": 50}}) as server,
        Proxy(server.port) as proxy,
    ):
        async with polled(server.url.replace(str(server.port), str(proxy.port)), CLIENTS, backoff) as (_, sinks):
            await until(lambda: all(sink.readings for sink in sinks), 30)
            assert server.sessions() == CLIENTS
            server.kill()
            start = time.monotonic()
            knocked = len(proxy.times)
            await asyncio.sleep(10)  # this is what is tested: how often they knock meanwhile
            times = [t - start for t in proxy.times[knocked:]]
            await asyncio.to_thread(server.start)
            before, began = [sink.readings for sink in sinks], time.monotonic()
            await until(lambda: all(s.readings > n for s, n in zip(sinks, before, strict=True)), 60)
            back = time.monotonic() - began
            assert server.sessions() == CLIENTS
        wait_until(lambda: server.sessions() == 0)
    return times, back


@pytest.mark.timeout(180)
async def test_a_restarting_server_sees_no_storm() -> None:
    times, back = await storm(Backoff)
    print(f"{len(times)} attempts in 10 s, at most {most_within(times, 1)} in a second; all back after {back:.1f} s")
    assert most_within(times, 1) <= 3 * CLIENTS
    assert len([t for t in times if t > 5]) <= 2 * CLIENTS, "the longer it is away, the rarer"
    assert most_within(sorted(times), 0.05) < CLIENTS, "not all at one moment"


@pytest.mark.timeout(180)
async def test_control_without_growing_pauses_there_is_one() -> None:
    times, _ = await storm(lambda: Backoff(0.1, 0.1))
    assert len(times) > 5 * CLIENTS, "each of them more than five times in ten seconds"
    assert len([t for t in times if t > 5]) > 2 * CLIENTS


async def test_a_server_whose_sessions_are_taken_is_not_hammered() -> None:
    with (
        NodeOpcua(tick_ms=50, options={"serverCapabilities": {"maxSessions": 1}}) as server,
        Proxy(server.port) as proxy,
    ):
        async with (
            Asyncua(server.url) as other,
            polled(server.url.replace(str(server.port), str(proxy.port)), 1) as ((poller,), (sink,)),
        ):
            await until(lambda: "all its sessions are taken" in poller.reason)
            tried, start = server.seen()["CreateSessionRequest"], time.monotonic()
            await asyncio.sleep(6)  # this is what is tested: how often it tries
            attempts = server.seen()["CreateSessionRequest"] - tried
            assert 1 <= attempts <= 6, attempts
            gaps = [b - a for a, b in zip(proxy.times, proxy.times[1:], strict=False)]
            assert gaps[-1] > gaps[0], f"pauses of {gaps} s do not grow"
            assert sink.readings == 0
            assert proxy.open <= 1, "a line is closed after each try"
            await other.disconnect()
            await until(lambda: sink.readings > 0, 60)
            assert server.sessions() == 1
            assert time.monotonic() - start < 40


# --- a line that is dead and not closed -------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
async def test_a_half_open_line_is_found_within_five_seconds(busy: bool) -> None:
    """With the settings nobody has touched, on a machine that changes and on one that does not."""
    found = []
    with NodeOpcua(tick_ms=100 if busy else 0) as server, Proxy(server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        async with Reader(url, SPEED, timeout="4s", publishing="500ms") as it:
            for _ in range(3):
                await it.read()
                await it.read()
                proxy.freeze()
                start = time.monotonic()
                await it.lost()
                found.append(time.monotonic() - start)
                proxy.cut()
                proxy.resume()
                await it.reconnect()
        wait_until(lambda: server.sessions() == 0)
    print(f"found after {', '.join(f'{t:.2f}' for t in found)} s")
    assert max(found) <= 5


# --- the service ------------------------------------------------------------------------------------------------------


def plant(url: str, broker: Mosquitto, more: str = "") -> str:
    return f"""\
gateway: {{id: edge-01, data_dir: data}}
mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}
store: {{kind: historian}}
connections:
  cnc: {{protocol: opcua, url: "{url}", security: None, publishing: 100ms}}
machines:
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      count: {{node: "m:s=CNC1.Count", type: int, sampling: 10ms, queue: 2000}}
"""


@pytest.mark.timeout(180)
def test_no_session_is_left_after_sigterm() -> None:
    """At any moment: while it connects, while it reads, while the line is away."""
    dice = random.Random(4840)
    with Mosquitto() as broker, NodeOpcua(count_ms=50, sampling_ms=10) as server, Proxy(server.port) as proxy:
        text = plant(server.url.replace(str(server.port), str(proxy.port)), broker)
        with Gateway(text) as gateway:
            wait_until(lambda: gateway.machine("lathe")["state"] == "online", 30, "the machine to be online")
            assert (server.sessions(), server.subscriptions()) == (1, 1)
            gateway.stop()
            assert (server.sessions(), server.subscriptions()) == (0, 0)
            for _ in range(3):
                before = server.seen().get("CreateSessionRequest", 0)
                gateway.start()
                wait_until(lambda before=before: server.seen()["CreateSessionRequest"] > before, 30, "a session")
                time.sleep(dice.uniform(0, 0.2))  # this is what is tested: any moment
                gateway.stop()
                wait_until(lambda: (server.sessions(), server.subscriptions()) == (0, 0), 5, "no session")
            gateway.start()
            wait_until(lambda: gateway.machine("lathe")["state"] == "online", 30, "the machine to be online")
            proxy.cut()
            gateway.stop()
            wait_until(lambda: server.sessions() == 0, 5, "no session, though the line was lost")
            assert "Traceback" not in gateway.log


@pytest.mark.timeout(180)
def test_what_a_killed_server_took_with_it_is_a_loss_in_the_store() -> None:
    """Every number the server has had is in the historian, or there is a loss record about its time."""

    def newer(number: int) -> None:
        def there() -> bool:
            return int(gateway.machine("lathe")["signals"]["count"]["value"] or 0) >= number

        wait_until(there, 60, f"number {number}")

    with (
        Mosquitto() as broker,
        NodeOpcua(count_ms=50, sampling_ms=10) as server,
        Proxy(server.port) as proxy,
        Gateway(plant(server.url.replace(str(server.port), str(proxy.port)), broker)) as gateway,
    ):
        newer(1)
        newer(max(server.counted()) + 20)
        server.kill()
        server.start()
        newer(max(server.counted()) + 20)
        proxy.cut()
        newer(max(server.counted()) + 20)
        server.kill_sessions()
        newer(max(server.counted()) + 20)
        last = int(gateway.machine("lathe")["signals"]["count"]["value"])
        gateway.catch_up(30)
        gateway.stop()
        seen, losses = stored(gateway.folder / "data")
        first = sorted(seen)[1]  # the very first number was read just before the subscription began
        ledger = {n: t for n, t in server.counted().items() if first <= n <= last}
    assert {n: t for n, t in seen.items() if n in ledger} == {n: t for n, t in ledger.items() if n in seen}
    missing = [n for n in ledger if n not in seen]
    assert missing, "the killed server had numbers that nobody was given"
    assert [n for n in missing if not any(a - SLACK <= ledger[n] <= b + SLACK for a, b in losses)] == []


def stored(data: Path) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """The numbers in the historian with their times, and the stretches of its loss records."""
    reader = Historian.open_read_only(data / "historian.sqlite")
    try:
        found = reader.query("lathe", "count", 0, time.time_ns())
        rows = zip(found.time, found.value, found.quality, strict=True)
        seen = {int(v): t for t, v, q in rows if q == GOOD and v is not None}
        return seen, [(lost.loss.start, lost.loss.end) for lost in reader.losses(0, time.time_ns())]
    finally:
        reader.close()
