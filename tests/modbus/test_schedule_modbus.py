"""When it is asked: every rate without drift, no queues, and who is dead costs the living next to nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.modbus.adapter import ModbusAdapter
from adapters.modbus.connections import ModbusTcp
from gateway.errors import NotConnectedError
from gateway.model import Batch
from gateway.schedule import Backoff, Ticks
from modbus.hostile import Request, RtuServer, Server
from modbus.test_explore import shown
from modbus.test_transports import adapter, rtu_over_tcp
from parts.libmodbus import Libmodbus
from parts.proxy import Proxy

ONE = {"a": {"holding": 3, "type": "uint16"}}
THREE = {name: {"holding": at, "type": "uint16"} for name, at in (("a", 0), ("b", 200), ("c", 400))}  # three blocks


def tcp(port: int, **keys: Any) -> ModbusTcp:
    return ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "127.0.0.1", "port": port, **keys})


def polled(poll: str, signals: dict[str, Any] = ONE, **keys: Any) -> dict[str, Any]:
    return {"signals": {name: {**signal, "poll": poll} for name, signal in signals.items()}, **keys}


# --- ticks, in virtual time -------------------------------------------------------------------------------------------

rates = st.lists(st.sampled_from([0.01, 0.1, 0.3, 1 / 3, 1.0, 7.0, 60.0]), min_size=1, max_size=4)


@given(rates, st.floats(0, 1e7), st.lists(st.floats(0, 200), max_size=30))
def test_each_tick_is_kept_or_counted(rates: list[float], start: float, pauses: list[float]) -> None:
    """However late somebody comes: what was due, is due once, and all before it is counted as missed."""
    ticks, now = Ticks(rates, start), start
    kept = [0] * len(rates)
    for pause in [0.0, *pauses]:
        now += pause
        for i in ticks.due(now):
            kept[i] += 1
        assert not ticks.due(now)
        assert ticks.next() > now
        for i, rate in enumerate(rates):
            passed = (now - start) / rate
            assert abs(kept[i] + ticks.missed[i] - (int(passed + 1e-6) + 1)) <= 1e-6 * passed + (passed % 1 > 1 - 1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.1, 1 / 3, 0.7, 1.0])
def test_a_hundred_thousand_polls_do_not_drift(rate: float) -> None:
    """Each a little late, as it is in life."""
    ticks, now = Ticks([rate], 1000.0), 1000.0
    for k in range(100_000):
        now = ticks.next()
        assert abs(now - (1000.0 + k * rate)) < 1e-6
        assert ticks.due(now + 0.3 * rate) == [0]
    assert ticks.missed == [0]


@given(st.integers(0, 100), st.floats(0.01, 10), st.floats(10, 100))
def test_pauses_grow_to_their_cap(attempts: int, first: float, cap: float) -> None:
    backoff = Backoff(first, cap)
    for k in range(attempts):
        step = min(cap, first * 2.0**k)
        assert step / 2 <= backoff.pause() <= step
    backoff.reset()
    assert backoff.pause() <= first


# --- the adapter, in real time ----------------------------------------------------------------------------------------


async def watched(it: ModbusAdapter, seconds: float) -> list[tuple[float, Batch]]:
    """All batches of so many seconds, with the time each was there."""
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end:
        [batch] = await it.read()
        found.append((time.monotonic(), batch))
    return found


async def test_polls_do_not_drift(server: Server) -> None:
    """Each answer takes 12 ms, and still the twentieth poll is at 20 periods."""

    async def slow(request: Request) -> bytes:
        await asyncio.sleep(0.012)
        return request.answer()

    server.answer = slow
    it = adapter(tcp(server.port), m=polled("30ms"))
    await it.connect()
    times = [at for at, _ in await watched(it, 1.0)][1:]
    periods = [(at - times[0]) / 0.03 for at in times]
    assert all(abs(each - round(each)) < 0.34 for each in periods[:-1])
    assert abs(len(times) + it._machines[0].counters.overruns - 1.0 / 0.03) < 3
    await it.close()


async def test_what_comes_too_late_is_left_out_and_counted(server: Server) -> None:
    """A device that needs 50 ms is asked every 20 ms: never a second question before the first answer."""
    waiting = 0

    async def slow(request: Request) -> bytes:
        nonlocal waiting
        waiting += 1
        assert waiting == 1
        await asyncio.sleep(0.05)
        waiting -= 1
        return request.answer()

    server.answer = slow
    it = adapter(tcp(server.port), m=polled("20ms"))
    await it.connect()
    begin = time.monotonic()
    batches = await watched(it, 0.8)
    elapsed = time.monotonic() - begin
    assert len(batches) == len(server.requests)
    assert abs(len(batches) + it._machines[0].counters.overruns - elapsed / 0.02) <= 3
    server.answer = Request.answer
    before = len(server.requests)
    await watched(it, 0.2)
    assert len(server.requests) - before <= 13, "what was left out is not made up for"
    await it.close()


@pytest.mark.parametrize("line", ["tcp", "rtu over tcp"])
@pytest.mark.parametrize("dead", [1, 3])
async def test_the_living_keep_their_rate(line: str, dead: int) -> None:
    """Ten units on a line, with a timeout smaller than, equal to and larger than the poll period of 100 ms."""
    silent = range(11 - dead, 11)
    lasts, period = 3.0, 0.1

    async def run(timeout: str) -> None:
        peer = Server() if line == "tcp" else RtuServer()
        peer.answer = lambda r: None if r.unit in silent else r.answer()
        async with peer.listening():
            link = (tcp if line == "tcp" else rtu_over_tcp)(peer.port, timeout=timeout)
            it = adapter(link, **{f"u{unit}": polled("100ms", unit_id=unit) for unit in range(1, 11)})
            for each in it._machines:
                each.backoff = Backoff()
            await it.connect()
            # The first detection; and a line without transaction ids is slower until it is trusted.
            while sum(each.lost for each in it._machines) < dead or (line != "tcp" and it._link._wary):  # type: ignore[attr-defined]
                await it.read()
            for _ in range(3):  # a machine that is busy with other things cannot keep a rate either
                before = Counter(r.unit for r in peer.requests)
                good: Counter[int] = Counter()
                for _, batch in await watched(it, lasts):
                    unit = int(batch.header.path.machine[1:])
                    assert unit not in silent or batch.quality
                    good[unit] += shown(batch) == {"a": 3}
                tries = Counter(r.unit for r in peer.requests) - before
                if all(good[unit] >= 0.95 * lasts / period for unit in range(1, 11 - dead)):
                    break
            await it.close()
        for unit in range(1, 11 - dead):
            assert good[unit] >= 0.95 * lasts / period, (timeout, unit, good)
        assert all(tries[unit] <= 4 for unit in silent)  # with pauses of 0.25 to 0.5 s, 0.5 to 1 s, 1 to 2 s

    async with asyncio.timeout(40):
        await asyncio.gather(*map(run, ("80ms", "100ms", "300ms")))


async def test_one_lost_answer_is_no_death(server: Server) -> None:
    """Beside dead units, whose tries are rationed, a unit that has lived until now is asked again soon."""
    drop = False
    server.answer = lambda r: None if r.unit > 4 or (drop and r.unit == 1) else r.answer()
    it = adapter(tcp(server.port, timeout="100ms"), **{f"u{i}": polled("50ms", unit_id=i) for i in range(1, 7)})
    for each in it._machines:
        each.backoff = Backoff()
    await it.connect()
    await watched(it, 0.5)
    drop = True
    async with asyncio.timeout(2):
        while not it._machines[0].lost:
            await it.read()
    drop = False
    begin = time.monotonic()
    while it._machines[0].lost:
        await it.read()
    assert time.monotonic() - begin < 0.9  # a first pause is 0.5 s at most; rationed it would be 2.9 s
    await it.close()


async def test_dead_units_on_a_line_that_is_never_idle(server: Server) -> None:
    """They are tried, and all together get no more than a tenth of the time; one that is well again comes back."""
    alive: set[int] = {1}

    async def answer(request: Request) -> bytes | None:
        await asyncio.sleep(0.004)
        return request.answer() if request.unit in alive else None

    server.answer = answer
    machines = {f"u{unit}": polled("10ms", THREE, unit_id=unit) for unit in range(1, 7)}
    it = adapter(tcp(server.port, timeout="10ms"), **machines)
    for each in it._machines:
        each.backoff = Backoff()
    await it.connect()
    await watched(it, 0.3)
    before = Counter(r.unit for r in server.requests)
    await watched(it, 2.5)
    tries = Counter(r.unit for r in server.requests) - before
    assert sum(tries[unit] for unit in range(2, 7)) * 0.010 <= 0.25 + 0.01
    assert sum(tries[unit] for unit in range(2, 7)) >= 3
    alive.add(4)
    async with asyncio.timeout(10):
        while (batch := (await it.read())[0]).header.path.machine != "u4" or batch.quality:
            pass
    await it.close()


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_a_half_open_link_is_noticed_within_two_timeouts(in_flight: int) -> None:
    with Libmodbus({(1, "holding", 3): [7]}) as peer, Proxy(peer.port) as proxy:
        it = adapter(tcp(proxy.port, timeout="200ms", max_in_flight=in_flight), m=polled("50ms"))
        await it.connect()
        for _ in range(3):
            assert shown((await it.read())[0]) == {"a": 7}
        proxy.freeze()
        begin = time.monotonic()
        while shown((await it.read())[0]) == {"a": 7}:
            pass
        assert time.monotonic() - begin < 2 * 0.2 + 0.05
        proxy.resume()
        async with asyncio.timeout(5):
            while shown((await it.read())[0]) != {"a": 7}:
                pass
        await it.close()


# --- pauses, as the device sees them ----------------------------------------------------------------------------------


class Timed:
    """When each request came, and when its answer left."""

    def __init__(self, work: float = 0.0) -> None:
        self.came: list[float] = []
        self.left: list[float] = []
        self.work = work

    async def __call__(self, request: Request) -> bytes:
        self.came.append(time.monotonic())
        await asyncio.sleep(self.work)
        self.left.append(time.monotonic())
        return request.answer()

    @property
    def rests(self) -> list[float]:
        return [came - left for came, left in zip(self.came[1:], self.left, strict=False)]


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_the_pause_between_requests_is_kept_between_polls_and_units_too(server: Server, in_flight: int) -> None:
    timed = server.answer = Timed(0.003)
    quirks = {"pause_between_requests": "25ms"}
    it = adapter(
        tcp(server.port, quirks=quirks, max_in_flight=in_flight), m=polled("10ms", THREE), n=polled("10ms", unit_id=2)
    )
    await it.connect()
    await watched(it, 0.5)
    assert len(timed.rests) >= 8
    assert min(timed.rests) >= 0.024
    await it.close()


async def test_the_pause_of_a_unit_is_its_own(server: Server) -> None:
    timed = server.answer = Timed()
    it = adapter(
        tcp(server.port),
        m=polled("40ms", THREE, quirks={"pause_between_requests": "10ms"}),
        n=polled("40ms", THREE, unit_id=2),
    )
    await it.connect()
    await watched(it, 0.4)
    for before, after, rest in zip(server.requests, server.requests[1:], timed.rests, strict=False):
        if after.unit == 1:
            assert rest >= 0.009
        elif before.unit == 2 and after.address:
            assert rest < 0.009
    await it.close()


async def test_a_serial_line_rests_for_three_and_a_half_characters(rtu_server: RtuServer) -> None:
    """At least: no setting makes it less. Measured through TCP, where nobody asks for it by itself."""
    from adapters.modbus.connections import ModbusRtu
    from adapters.modbus.plan import Limits

    slow = ModbusRtu.model_validate({"protocol": "modbus-rtu", "port": "/dev/ttyS0", "baud": 1200})
    assert Limits.of(slow, _machine()).pause == pytest.approx(3.5 * 11 / 1200)
    fast = ModbusRtu.model_validate({"protocol": "modbus-rtu", "port": "/dev/ttyS0", "baud": 115200})
    assert Limits.of(fast, _machine()).pause == 0.005
    for quirk in ("0s", "1ms"):
        assert Limits.of(slow, _machine(pause_between_requests=quirk)).pause == pytest.approx(3.5 * 11 / 1200)
    assert Limits.of(slow, _machine(pause_between_requests="50ms")).pause == 0.05


def _machine(**quirks: Any) -> Any:
    from adapters.modbus.config import ModbusMachine

    return ModbusMachine.model_validate({"connection": "c", "signals": ONE, "quirks": quirks})


async def test_the_pause_after_connecting_is_kept_each_time(server: Server) -> None:
    timed = server.answer = Timed()
    connected: list[float] = []
    serve = server.serve

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(time.monotonic())
        await serve(reader, writer)

    listener = await asyncio.start_server(noted, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    it = adapter(tcp(port, quirks={"pause_after_connect": "40ms", "close_after_poll": True}), m=polled("10ms", THREE))
    await it.connect()
    await watched(it, 0.4)
    assert len(connected) >= 4
    first = [came for came, request in zip(timed.came, server.requests, strict=True) if request.address == 0]
    for opened, asked in zip(connected, first, strict=False):
        assert asked - opened >= 0.039
    assert abs(len(connected) - len(first)) <= 1, "one connection for each poll"
    await it.close()
    listener.close()


async def test_closed_after_each_poll_nothing_stays_open(server: Server) -> None:
    it = adapter(
        tcp(server.port, quirks={"close_after_poll": True}), m=polled("20ms", THREE), n=polled("20ms", unit_id=2)
    )
    await it.connect()
    for _ in range(6):
        [batch] = await it.read()
        assert not batch.quality
        await asyncio.sleep(0.005)
        assert all(writer.transport.is_closing() or not writer for writer in server.writers[:-1])
        assert not it._link.connected
    assert server.connections == 6
    assert all(each.counters.reconnects == 0 for each in it._machines)
    await it.close()


async def test_a_link_that_cannot_be_opened_is_not_knocked_at_by_every_unit(server: Server) -> None:
    """The connection is given up at the first unit, and the runtime waits before it tries again."""
    it = adapter(tcp(server.port, timeout="100ms"), **{f"u{i}": polled("10ms", unit_id=i) for i in range(1, 6)})
    await it.connect()
    await it.read()
    server.answer = lambda r: b""
    with pytest.raises(NotConnectedError):
        await watched(it, 5)
    assert server.connections <= 4
    await it.close()
