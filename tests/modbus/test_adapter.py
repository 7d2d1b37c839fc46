"""A connection with machines behind it: what comes when it is well, and what stays well when something is not."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.adapter import ModbusAdapter
from gateway.adapter import Command
from gateway.errors import NotConnectedError
from gateway.model import Batch
from gateway.schedule import Backoff
from modbus.helpers import context, one, shown
from modbus.hostile import WRONG, Answer, Request, Server
from parts.libmodbus import Libmodbus
from parts.ports import free_port
from parts.proxy import Proxy

ONE = {"a": {"holding": 3, "type": "uint16"}}
THREE = {"a": {"holding": 1, "type": "uint16"}, "b": {"input": 2, "type": "uint16"}, "c": {"coil": 5}}
FAR = {name: {"holding": at, "type": "uint16"} for name, at in (("a", 0), ("b", 200), ("c", 400))}  # three blocks


def adapter(port: int, machines: dict[str, dict[str, Any]], **link: Any) -> ModbusAdapter:
    """Machines are polled every 10 ms, and have 0.2 s to answer."""
    made = modbus.build(context(port, Path(tempfile.mkdtemp()), machines, **{"timeout": "200ms", **link}))
    assert isinstance(made, ModbusAdapter)
    for each in made._machines:
        each.backoff = Backoff(0.05, 0.2, random.Random(1))
    return made


async def until(it: ModbusAdapter, condition: Callable[[Batch], object]) -> Batch:
    """Read on until a batch fulfils the condition."""
    async with asyncio.timeout(10):
        while not condition(batch := await one(it)):
            pass
    return batch


# --- all is well -----------------------------------------------------------------------------------------------------


async def test_one_batch_per_poll_in_the_order_of_the_header(server: Server) -> None:
    it = adapter(server.port, {"m": {"unit_id": 9, "signals": THREE}})
    before = time.time_ns()
    await it.connect()
    batch = await one(it)
    [header] = it.headers
    assert batch.header is header
    assert batch.signal is header.order
    assert [(s.name, s.type) for s in header.signals] == [("c", "bool"), ("b", "int"), ("a", "int")]
    assert batch.value == (True, 2, 1)
    assert batch.quality is None
    assert before <= batch.time[0] <= batch.time[1] <= batch.time[2] <= time.time_ns()
    assert [(r.unit, r.function) for r in server.requests] == [(9, 1), (9, 4), (9, 3)]
    await it.close()


async def test_the_same_answer_gives_the_same_values(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": THREE}})
    await it.connect()
    first, second = await one(it), await one(it)
    assert first.value is second.value
    assert first.time != second.time
    await it.close()


async def test_each_rate_is_a_poll_of_its_own(server: Server) -> None:
    signals = {"slow": {"holding": 0, "type": "uint16", "poll": "60s"}, "a": {"holding": 1, "type": "uint16"}}
    it = adapter(server.port, {"m": {"signals": signals}})
    await it.connect()
    batches = [await one(it) for _ in range(4)]
    assert [shown(batch) for batch in batches] == [{"a": 1}, {"slow": 0}, {"a": 1}, {"a": 1}]
    assert batches[0].signal is batches[2].signal
    await it.close()


async def test_polls_keep_their_rate(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": ONE, "poll": "20ms"}})
    await it.connect()
    await one(it)  # at once, and then on a grid
    await one(it)
    start = time.monotonic()
    for _ in range(10):
        await one(it)
    assert 0.19 <= time.monotonic() - start < 2
    await it.close()


async def test_a_poll_that_takes_too_long_is_counted(server: Server) -> None:
    async def slow(request: Request) -> bytes:
        await asyncio.sleep(0.035)
        return request.answer()

    server.answer = slow
    it = adapter(server.port, {"m": {"signals": ONE}, "n": {"signals": ONE, "poll": "10s"}})
    await it.connect()
    for _ in range(4):
        await one(it)
    overruns = [m.counters.overruns for m in it._machines]
    assert overruns[0] >= 2
    assert overruns[1] == 0
    await it.close()


async def test_writing_is_not_enabled(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": ONE}})
    result = await it.write(Command("m", "a", 1))
    assert (result.ok, result.message) == (False, "m/a: writing is not enabled")


# --- quirks ----------------------------------------------------------------------------------------------------------


async def test_a_device_gets_its_rest_between_requests(server: Server) -> None:
    times: list[float] = []

    def clocked(request: Request) -> bytes:
        times.append(time.monotonic())
        return request.answer()

    server.answer = clocked
    it = adapter(server.port, {"m": {"signals": FAR, "quirks": {"pause_between_requests": "30ms"}}})
    await it.connect()
    await one(it)
    assert len(times) == 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 0.029
    await it.close()


async def test_a_link_gets_its_rest_after_connecting(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": ONE}}, quirks={"pause_after_connect": "50ms"})
    start = time.monotonic()
    await it.connect()
    assert time.monotonic() - start >= 0.049
    await it.close()


async def test_a_link_can_be_closed_after_each_poll(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": FAR}}, quirks={"close_after_poll": True})
    await it.connect()
    for _ in range(3):
        assert shown(await one(it)) == {"a": 0, "b": 200, "c": 400}
    assert (server.connections, len(server.requests)) == (3, 9)
    assert it._machines[0].counters.reconnects == 0
    await it.close()


async def test_limits_of_a_device_are_kept(server: Server) -> None:
    signals = {f"s{i}": {"input": i, "type": "uint16"} for i in range(20)}
    it = adapter(server.port, {"m": {"signals": signals, "quirks": {"max_registers": 8}}})
    await it.connect()
    assert shown(await one(it)) == {f"s{i}": i for i in range(20)}
    assert [(r.address, r.count) for r in server.requests] == [(0, 8), (8, 8), (16, 4)]
    await it.close()


# --- a device that refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (1, "bad:config-error"),
        (2, "bad:illegal-address"),
        (3, "bad:config-error"),
        (4, "bad:device-failure"),
        (5, "bad:no-communication"),
        (6, "bad:no-communication"),
        (8, "bad:device-failure"),
        (10, "bad:no-communication"),
        (11, "bad:no-communication"),
        (200, "bad:device-failure"),
    ],
)
async def test_a_refused_block_alone_is_bad(server: Server, code: int, quality: str) -> None:
    server.answer = lambda r: r.refusal(code) if r.function == 3 else r.answer()
    it = adapter(server.port, {"m": {"signals": THREE}})
    await it.connect()
    assert shown(await one(it)) == {"a": quality, "b": 2, "c": True}
    counters = it._machines[0].counters
    assert (counters.requests, counters.failures, server.connections) == (3, 1, 1)
    await it.close()


def without(*missing: int) -> Callable[[Request], bytes]:
    """A device that has not all registers."""

    def answer(request: Request) -> bytes:
        wanted = range(request.address, request.address + request.count)
        return request.refusal(2) if any(at in wanted for at in missing) else request.answer()

    return answer


async def test_one_missing_register_costs_only_its_signal(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = without(13)
    signals = {f"s{i}": {"holding": i, "type": "uint16"} for i in range(40)}
    it = adapter(server.port, {"m": {"signals": signals}})
    await it.connect()
    expected = {f"s{i}": i for i in range(40)} | {"s13": "bad:illegal-address"}
    first = await one(it)
    assert shown(first) == expected
    assert first.signal is it.headers[0].order
    asked = len(server.requests)
    assert asked <= 16
    assert shown(await one(it)) == expected
    later = server.requests[asked:]
    assert all(13 not in range(r.address, r.address + r.count) for r in later)
    assert len(later) <= 7
    assert [record.getMessage() for record in caplog.records] == [
        "m/s13: the device refuses holding 13 (exception 2): check address, `type` and `unit_id` [modbus-illegal-address]"
    ]
    await it.close()


async def test_a_gap_that_does_not_exist_costs_no_signal(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = without(6, 7)
    signals = {f"s{i}": {"holding": i, "type": "uint16"} for i in (0, 1, 4, 5, 9, 10)}
    it = adapter(server.port, {"m": {"signals": signals}})
    await it.connect()
    for _ in range(2):
        assert shown(await one(it)) == {f"s{i}": i for i in (0, 1, 4, 5, 9, 10)}
    assert [(r.address, r.count) for r in server.requests] == [
        *[(0, 11), (0, 6), (9, 2)],
        (6, 3),  # is it the gap, or the length?
        *[(0, 6), (9, 2)],
    ]
    assert not caplog.records
    await it.close()


async def test_a_number_from_a_manual_gets_a_hint(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda r: r.refusal(2)
    it = adapter(server.port, {"m": {"signals": {"x": {"holding": 40011, "type": "uint16"}}}})
    await it.connect()
    await one(it)
    assert "if its manual calls the first one 40001, write 'holding: 10'" in caplog.text
    await it.close()


async def test_what_was_refused_is_tried_again(server: Server) -> None:
    server.answer = without(1)
    signals = {"a": {"holding": 0, "type": "uint16"}, "b": {"holding": 1, "type": "uint16"}}
    it = adapter(server.port, {"m": {"signals": signals}})
    it._machines[0].patience = Backoff(0.05, 0.05)
    await it.connect()
    assert shown(await one(it))["b"] == "bad:illegal-address"
    server.answer = Request.answer
    await until(it, lambda batch: shown(batch) == {"a": 0, "b": 1})
    await one(it)
    assert (server.requests[-1].address, server.requests[-1].count) == (0, 2)
    await it.close()


# --- a device that is silent -----------------------------------------------------------------------------------------


async def test_a_silent_unit_does_not_hold_up_the_others(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server.answer = lambda r: None if r.unit == 2 else r.answer()
    it = adapter(server.port, {"m": {"signals": ONE}, "n": {"unit_id": 2, "signals": FAR}})
    await it.connect()
    of: dict[str, list[dict[str, Any]]] = {"m": [], "n": []}
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        batch = await one(it)
        of[batch.header.path.machine].append(shown(batch))
    assert all(values == {"a": 3} for values in of["m"])
    assert all(set(values.values()) == {"bad:no-communication"} for values in of["n"])
    # The others wait for nobody: what is left for tries is a thirtieth of the time, or 5.8 s after one of 0.2 s.
    assert sum(r.unit == 2 for r in server.requests) == 1
    assert len(of["m"]) > 15
    server.answer = Request.answer
    await until(it, lambda batch: shown(batch) == {"a": 0, "b": 200, "c": 400})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(f"n: 127.0.0.1:{server.port}: unit 2 does not answer within 0.2 s; check `unit_id`")
    assert lines[1] == "n: answers again"
    lost, silent = it._machines
    assert (lost.counters.failures, lost.counters.reconnects) == (0, 0)
    assert silent.counters.failures == silent.counters.reconnects == 1
    await it.close()


async def test_a_unit_is_tried_again_on_a_line_that_is_never_idle(server: Server) -> None:
    async def slow(request: Request) -> bytes | None:
        await asyncio.sleep(0.01)
        return None if request.unit == 2 and silent else request.answer()

    silent, server.answer = True, slow
    units = {"m": {"signals": ONE}, "n": {"unit_id": 2, "signals": ONE}, "o": {"unit_id": 3, "signals": ONE}}
    it = adapter(server.port, units, timeout="20ms")
    await it.connect()
    await until(it, lambda batch: shown(batch) == {"a": "bad:no-communication"})
    silent = False
    name = await until(it, lambda b: b.header.path.machine == "n" and shown(b) == {"a": 3})
    assert name
    await it.close()


@pytest.mark.parametrize(
    ("answers", "blocks", "lost"),
    [
        (lambda r: r.count <= 11, [(0, 11), (11, 11), (22, 8)], set()),  # too long for it
        (lambda r: not r.address <= 5 < r.address + r.count, [(0, 5), (6, 24)], {"s5"}),  # no such address
    ],
)
async def test_a_device_that_keeps_silent_instead_of_refusing(
    server: Server, unheard: Answer, answers: Callable[[Request], bool], blocks: list[tuple[int, int]], lost: set[str]
) -> None:
    server.answer = lambda r: r.answer() if answers(r) else unheard(r)
    signals = {f"s{i}": {"holding": i, "type": "uint16"} for i in range(30)}
    it = adapter(server.port, {"m": {"signals": signals}}, timeout="50ms")
    await it.connect()
    right = {f"s{i}": i for i in range(30) if f"s{i}" not in lost}
    batch = await until(it, lambda batch: right.items() <= shown(batch).items())
    assert {name for name, value in shown(batch).items() if isinstance(value, str)} == lost
    server.requests.clear()
    await one(it)
    assert [(r.address, r.count) for r in server.requests] == blocks
    await it.close()


async def test_a_unit_a_bridge_cannot_reach_keeps_the_link(server: Server) -> None:
    server.answer = lambda r: r.refusal(11) if r.unit == 2 else r.answer()
    it = adapter(server.port, {"m": {"signals": ONE}, "n": {"unit_id": 2, "signals": FAR}})
    await it.connect()
    for _ in range(8):
        batch = await one(it)
        expected = {"a": 3} if batch.header.path.machine == "m" else dict.fromkeys("abc", "bad:no-communication")
        assert shown(batch) == expected
    assert server.connections == 1
    assert sum(r.unit == 2 for r in server.requests) < 3
    await it.close()


async def test_what_came_before_the_silence_is_kept(server: Server, unheard: Answer) -> None:
    server.answer = lambda r: unheard(r) if r.address == 200 else r.answer()
    it = adapter(server.port, {"m": {"signals": FAR}})
    await it.connect()
    assert shown(await one(it)) == {"a": 0, "b": "bad:no-communication", "c": 400}
    assert [r.address for r in server.requests] == [0, 200, 400]
    await it.close()


async def test_a_poor_line_costs_what_is_lost_on_it(server: Server, unheard: Answer) -> None:
    """One request in ten is lost, of eighteen in a poll: most readings arrive, and nobody is always the one behind."""
    rng = random.Random(3)
    server.answer = lambda r: unheard(r) if rng.random() < 0.1 else r.answer()
    signals = {f"s{i}": {"holding": 200 * i, "type": "uint16"} for i in range(18)}
    it = adapter(server.port, {"m": {"signals": signals, "poll": "300ms"}}, timeout="60ms")
    await it.connect()
    good = dict.fromkeys(signals, 0)
    for _ in range(40):
        for name, value in shown(await one(it)).items():
            good[name] += value == 200 * int(name[1:])
    assert sum(good.values()) > 0.6 * 40 * 18
    assert min(good.values()) > 0.4 * 40
    await it.close()


# --- a link that breaks ----------------------------------------------------------------------------------------------


async def test_a_link_closed_between_polls_is_opened_again(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": ONE, "poll": "50ms"}})
    await it.connect()
    for _ in range(3):
        assert shown(await one(it)) == {"a": 3}
        server.cut()
    assert server.connections == 3
    assert it._machines[0].counters.reconnects == 2
    await it.close()


async def test_without_a_server_the_connection_is_given_up() -> None:
    with Libmodbus({(1, "holding", 3): [7]}) as peer, Proxy(peer.port) as proxy:
        it = adapter(proxy.port, {"m": {"signals": ONE}})
        await it.connect()
        assert shown(await one(it)) == {"a": 7}
        proxy.refuse()
        proxy.cut()
        with pytest.raises(NotConnectedError, match=r"refuses the connection"):
            await until(it, lambda _: False)
        with pytest.raises(NotConnectedError):
            await it.connect()
        proxy.resume()
        await it.connect()
        assert shown(await one(it)) == {"a": 7}
        await it.close()


async def test_a_frozen_line_is_noticed_and_comes_back() -> None:
    with Libmodbus({(1, "holding", 3): [7]}) as peer, Proxy(peer.port) as proxy:
        it = adapter(proxy.port, {"m": {"signals": ONE}})
        await it.connect()
        assert shown(await one(it)) == {"a": 7}
        proxy.freeze()
        await until(it, lambda batch: shown(batch) == {"a": "bad:no-communication"})
        peer.set(1, "holding", 3, 8)
        proxy.resume()
        await until(it, lambda batch: shown(batch) == {"a": 8})
        await it.close()


async def test_a_server_that_always_hangs_up_is_given_up(server: Server) -> None:
    server.answer = lambda r: b""
    it = adapter(server.port, {name: {"signals": ONE} for name in "klmnop"})
    await it.connect()
    with pytest.raises(NotConnectedError, match="closed the connection"):
        await until(it, lambda _: False)
    assert server.connections == 3
    await it.close()


async def test_closed_is_closed(server: Server) -> None:
    it = adapter(server.port, {"m": {"signals": ONE}})
    await it.close()
    await it.connect()
    await it.close()
    await it.close()
    with pytest.raises(NotConnectedError, match="closed"):
        await one(it)
    port = free_port()
    nowhere = adapter(port, {"m": {"signals": ONE}})
    with pytest.raises(NotConnectedError):
        await nowhere.connect()
    await nowhere.close()
    await it.connect()
    assert shown(await one(it)) == {"a": 3}
    await it.close()


# --- wrong answers at every step -------------------------------------------------------------------------------------


def at_step(n: int, send: Callable[[Request], Any], steps: Iterator[int]) -> Callable[[Request], Any]:
    return lambda request: send(request) if next(steps) == n else request.answer()


FAULTS: dict[str, Callable[[Request], bytes | Awaitable[bytes | None] | None]] = {
    **{name: send for name, (send, _, _) in WRONG.items()},
    "hang up": lambda r: b"",
    "half": lambda r: r.answer()[:5],
    "busy": lambda r: r.refusal(6),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_any_step_never_gives_a_wrong_value(server: Server, fault: str) -> None:
    signals = {name: {**signal, "type": "uint32"} for name, signal in FAR.items()}
    truth = {name: at << 16 | at + 1 for name, at in (("a", 0), ("b", 200), ("c", 400))}
    for n in range(4):
        server.answer = at_step(n, FAULTS[fault], iter(range(10**6)))
        it = adapter(server.port, {"m": {"signals": signals}})
        await it.connect()
        bad = 0
        for _ in range(3):
            values = shown(await one(it))
            wrong = {name for name, value in values.items() if value != truth[name]}
            assert all(values[name] == "bad:no-communication" for name in wrong)
            bad += len(wrong)
        assert bad
        await until(it, lambda batch: shown(batch) == truth)
        await it.close()
