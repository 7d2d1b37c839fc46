"""Devices that miss registers, or take short requests only: what is there is read, and what is not is asked for once."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from dataclasses import dataclass, field
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters import modbus
from adapters.modbus.adapter import ModbusAdapter
from adapters.modbus.plan import make_blocks
from gateway.schedule import Backoff
from modbus import helpers
from modbus.grouping import SIZED, Place
from modbus.helpers import context, shown
from modbus.hostile import Answer, Request, Server

ILLEGAL = ("bad:illegal-address", "bad:config-error")
NONE: frozenset[int] = frozenset()


@dataclass
class Device:
    """Has all registers but some, each with its own address in it, and answers so many at once."""

    missing: frozenset[int] = NONE
    most: int = 125
    too_long: int = 3  # the exception code for too many
    no_such: int = 2  # and for a register that is missing
    borders: frozenset[int] = NONE  # the first register behind each; no request may reach across
    asked: list[Place] = field(default_factory=list)
    refused: list[Place] = field(default_factory=list)

    def answer(self, request: Request) -> bytes | None:
        at = range(request.address, request.address + request.count)
        self.asked.append((request.address, request.count))
        if request.count > self.most:
            code = self.too_long
        elif not self.missing.isdisjoint(at) or not self.borders.isdisjoint(at[1:]):
            code = self.no_such
        else:
            return request.answer()
        self.refused.append((request.address, request.count))
        return request.refusal(code)

    def has(self, at: int, size: int) -> bool:
        inside = self.borders.isdisjoint(range(at + 1, at + size))
        return size <= self.most and self.missing.isdisjoint(range(at, at + size)) and inside

    def forget(self) -> None:
        self.asked.clear()
        self.refused.clear()


def value(at: int, size: int) -> int:
    base = 10_000 if size == 3 else 65_536
    number = 0
    for word in range(at, at + size):
        number = number * base + word
    return number


def adapter(port: int, data_dir: Path, signals: dict[str, Any], **link: Any) -> ModbusAdapter:
    made = modbus.build(context(port, data_dir, {"m": {"signals": signals}}, **{"timeout": "2s", **link}))
    assert isinstance(made, ModbusAdapter)
    for each in made._machines:
        each.backoff = Backoff(0.01, 0.02, random.Random(1))
    return made


async def one(it: ModbusAdapter) -> dict[str, Any]:
    return shown(await helpers.one(it))


def named(places: list[Place]) -> dict[str, Any]:
    return {f"s{at}_{size}": {"holding": at, "type": SIZED[size]} for at, size in places}


async def judged(device: Device, places: list[Place], data_dir: Path) -> None:
    """Poll it until it refuses nothing any more, and after a restart."""
    places = sorted(set(places))

    def check(values: dict[str, Any]) -> None:
        assert len(values) == len(places)
        for at, size in places:
            found = values[f"s{at}_{size}"]
            assert found == value(at, size) if device.has(at, size) else found in ILLEGAL, (at, size, found)

    async with Server(device.answer).listening() as server:
        it = adapter(server.port, data_dir, named(places))
        await it.connect()
        exploring = polls = 0
        while True:  # what is left of a refused block may be refused once more, when it is read in another way
            device.forget()
            check(await one(it))
            if not device.refused:
                break
            polls += 1
            exploring += len(device.asked)
            assert polls < 6 + len(device.borders), "it comes to an end"
        device.forget()
        check(await one(it))
        assert not device.refused, "nor are the polls that follow"
        per_poll = len(device.asked)
        signals = it._machine_settings["m"].signals
        await it.close()
        device.forget()
        it = adapter(server.port, data_dir, named(places))
        await it.connect()
        check(await one(it))
        assert not device.refused, "after a restart neither"
        assert len(device.asked) == per_poll
        await it.close()
    there = [(name, each) for name, each in signals.items() if device.has(each.address, each.size)]
    obstacles = [(at, at) for at in device.missing] + [(at - 1, at) for at in device.borders]
    fewest = len(make_blocks(there, device.most, 16, obstacles))
    assert per_poll <= 2 * fewest
    reasons = per_poll + len(places) - len(there)
    assert exploring <= 6 + (3 if device.borders else 2) * reasons * (1 + ceil(log2(len(places) + 1)))


place = st.tuples(st.integers(0, 60), st.sampled_from([1, 1, 1, 2, 4]))
places_of = st.lists(place, min_size=1, max_size=40) | st.builds(
    lambda first, n, step: [(first + step * i, 1) for i in range(n)],
    st.integers(0, 20), st.integers(2, 60), st.integers(1, 3),
)  # fmt: skip
devices = st.builds(
    Device,
    st.frozensets(st.integers(0, 64), max_size=5),
    st.sampled_from([125, 125, 60, 30, 16, 10, 7, 4, 2, 1]),
    st.sampled_from([2, 3]),
    st.sampled_from([2, 2, 3]),
    st.just(NONE) | st.frozensets(st.integers(1, 64), max_size=3),
)
FORTY, SIXTY = [(i, 1) for i in range(40)], [(i, 1) for i in range(60)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(devices, places_of)
@example(Device(frozenset({13})), FORTY)  # a register is missing
@example(Device(frozenset({6, 7})), [(i, 1) for i in (0, 1, 4, 5, 9, 10)])  # one that nobody needs
@example(Device(most=10, too_long=2), FORTY)  # short requests only
@example(Device(most=10, too_long=3), FORTY)
@example(Device(frozenset({2, 3}), no_such=3), [(i, 1) for i in (0, 1, *range(4, 60))])  # a gap that looks too long
@example(Device(frozenset({2, 3}), most=8), [(i, 1) for i in (0, 1, *range(4, 60))])
@example(Device(borders=frozenset({10})), SIXTY)  # a border that looks like a length
@example(Device(borders=frozenset({10, 20, 30, 40}), most=16), SIXTY)
@example(Device(frozenset({13}), most=7), FORTY)
@example(Device(frozenset({13, 30}), most=16, too_long=2), [(2 * i, 1) for i in range(20)])
@example(Device(frozenset({12}), most=16), [(10, 4), (10, 1), (11, 1), (12, 1), (13, 1)])
def test_what_is_there_is_read_and_what_is_not_is_asked_for_once(device: Device, places: list[Place]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(judged(device, places, Path(folder)))


def test_bits_are_divided_as_registers_are(tmp_path: Path) -> None:
    """Coil 50 is missing, and no more than 64 are answered at once."""
    refused: list[Request] = []

    def answer(request: Request) -> bytes:
        if request.count > 64 or 50 in range(request.address, request.address + request.count):
            refused.append(request)
            return request.refusal(2)
        return request.answer()

    async def run() -> None:
        async with Server(answer).listening() as server:
            it = adapter(server.port, tmp_path, {f"c{i}": {"coil": i} for i in range(200)})
            await it.connect()
            for _ in range(6):
                refused.clear()
                assert await one(it) == {f"c{i}": True for i in range(200)} | {"c50": "bad:illegal-address"}
            assert not refused
            assert it._machines[0].learnt.max_bits == 64
            assert it._machines[0].learnt.max_registers is None
            await it.close()

    asyncio.run(run())


async def test_a_device_that_has_no_such_table_is_asked_once_for_each_block(server: Server, tmp_path: Path) -> None:
    server.answer = lambda r: r.refusal(1)
    it = adapter(server.port, tmp_path, named(FORTY) | {"c": {"coil": 3}})
    await it.connect()
    for _ in range(3):
        assert set((await one(it)).values()) == {"bad:config-error"}
    assert [(r.function, r.address, r.count) for r in server.requests] == [(1, 3, 1), (3, 0, 40)]
    await it.close()
    it = adapter(server.port, tmp_path, named(FORTY) | {"c": {"coil": 3}})
    await it.connect()
    assert set((await one(it)).values()) == {"bad:config-error"}
    assert len(server.requests) == 2
    await it.close()


# --- what must not be learnt ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [2, 3])
async def test_a_refusal_before_silence_costs_only_one_poll(server: Server, tmp_path: Path, code: int) -> None:
    """The first block is refused, and the second is not answered: that is no time for conclusions."""
    signals = named([(0, 1), (1, 1), (2, 1)]) | {"far": {"holding": 300, "type": "uint16"}}
    device = Device(frozenset({1}), no_such=code)
    server.answer = lambda r: None if r.address == 300 else device.answer(r)
    it = adapter(server.port, tmp_path, signals, timeout="60ms")
    await it.connect()
    first = await one(it)
    assert first["far"] == "bad:no-communication"
    assert not it._machines[0].learnt
    assert not list(tmp_path.rglob("*.json"))
    server.answer = device.answer
    async with asyncio.timeout(5):
        while (values := await one(it))["far"] != 300 or values["s0_1"] != 0:
            assert values["s0_1"] in (0, "bad:no-communication")
    assert values == {"s0_1": 0, "s1_1": ILLEGAL[code == 3], "s2_1": 2, "far": 300}
    await it.close()


@pytest.mark.parametrize("trouble", ["silence", "hang up", "wrong", "gone", "busy"])
@pytest.mark.parametrize("step", range(1, 9))
async def test_trouble_at_any_step_of_the_search_teaches_nothing_false(
    server: Server, tmp_path: Path, trouble: str, step: int
) -> None:
    """A gap of a device that takes ten registers at once; from the n-th request on something else is the matter."""
    device = Device(frozenset({6}), most=10)
    places = [(i, 1) for i in (0, 1, 2, 3, 4, 9, 10, 11, *range(12, 30))]
    broken = {
        "silence": lambda r: None,
        "hang up": lambda r: b"",
        "wrong": lambda r: r.answer(unit=9),
        "gone": lambda r: r.refusal(11),
        "busy": lambda r: r.refusal(6),
    }[trouble]
    server.answer = lambda r: device.answer(r) if len(server.requests) <= step else broken(r)
    it = adapter(server.port, tmp_path, named(places), timeout="40ms")
    await it.connect()
    first = await one(it)
    assert all(found in (at, "bad:no-communication") for (at, _), found in zip(places, first.values(), strict=True))
    learnt = it._machines[0].learnt
    assert not learnt.refused
    assert learnt.holes <= {("holding", 5, 4)}
    assert learnt.max_registers in (None, 10)
    if trouble == "gone":
        assert len(server.requests) <= step + 1, "each such answer costs a timeout of the bridge"
    server.answer = device.answer
    async with asyncio.timeout(5):
        while list((await one(it)).values()) != [at for at, _ in places]:
            pass
    await it.close()


@pytest.mark.parametrize("code", [2, 3])
async def test_a_device_that_refuses_once_is_not_believed(server: Server, tmp_path: Path, code: int) -> None:
    """Some refuse everything while they start."""
    server.answer = lambda r: r.refusal(code) if len(server.requests) == 1 else r.answer()
    it = adapter(server.port, tmp_path, named(FORTY))
    await it.connect()
    for _ in range(3):
        assert await one(it) == {f"s{i}_1": i for i in range(40)}
    assert not it._machines[0].learnt
    assert (server.requests[-1].address, server.requests[-1].count) == (0, 40)
    await it.close()


async def test_what_was_learnt_is_written_once_a_poll(server: Server, tmp_path: Path) -> None:
    """A file is made safe on the disk in 5 to 50 ms: not for each of a hundred signals."""
    device = Device(frozenset(range(1, 200, 2)))
    written: set[int] = set()  # each time it is another file that takes the name

    def answer(request: Request) -> bytes | None:
        written.update(file.stat().st_ino for file in tmp_path.rglob("*.json"))
        return device.answer(request)

    server.answer = answer
    it = adapter(server.port, tmp_path, named([(i, 1) for i in range(200)]))
    await it.connect()
    await one(it)
    assert len(device.refused) > 100
    assert len(it._machines[0].learnt.refused) == 100
    assert not written, "before all was asked"
    await one(it)
    [file] = tmp_path.rglob("*.json")
    assert written == {file.stat().st_ino}, "again, without news"
    await it.close()


# --- a device that is mended later ------------------------------------------------------------------------------------


async def test_a_mended_device_is_found_on_a_slow_clock(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    device = Device(frozenset({3, 30}))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, named(FORTY))
    it._machines[0].patience = Backoff(0.04, 0.04)
    await it.connect()
    await one(it)
    device.missing = frozenset({30})
    async with asyncio.timeout(5):
        while (await one(it))["s3_1"] != 3:
            pass
    assert "m/s3_1: is there now" in caplog.text
    device.forget()
    async with asyncio.timeout(5):
        while (30, 1) not in device.refused:
            assert (await one(it))["s30_1"] == "bad:illegal-address"
    assert set(device.refused) == {(30, 1)}, "what is still missing is asked for by itself"
    await it.close()
    device.forget()
    it = adapter(server.port, tmp_path, named(FORTY))
    await it.connect()
    assert (await one(it))["s3_1"] == 3
    assert device.asked == [(0, 30), (31, 9)]
    it._machines[0].again_at = 0.0
    device.missing = NONE
    assert (await one(it))["s30_1"] == 30
    assert (await one(it)) == {f"s{i}_1": i for i in range(40)}
    assert device.asked[-1] == (0, 40)
    assert not it._machines[0].learnt
    await it.close()


# --- devices that are silent where they should refuse -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "missing"),
    [
        (FORTY, {0}),  # the first one
        (FORTY, {39}),
        ([(0, 1), (200, 1), (400, 1)], {200}),  # each a block by itself, one of which is missing
        ([(0, 1), (200, 1), (400, 1)], {0}),
        ([(0, 1), (1, 1), (200, 1), (400, 1), (401, 1)], {200, 401}),
    ],
)
async def test_silence_costs_only_the_signal_that_is_missing(
    server: Server, unheard: Answer, tmp_path: Path, places: list[Place], missing: set[int]
) -> None:
    server.answer = lambda r: r.answer() if missing.isdisjoint(range(r.address, r.address + r.count)) else unheard(r)
    it = adapter(server.port, tmp_path, named(places), timeout="20ms")
    await it.connect()
    expected = {f"s{at}_1": "bad:illegal-address" if at in missing else at for at, _ in places}
    async with asyncio.timeout(10):
        while await one(it) != expected:
            pass
    before = it._machines[0].counters.failures
    for _ in range(3):
        assert await one(it) == expected
    assert it._machines[0].counters.failures == before
    await it.close()


async def test_a_unit_that_is_silent_to_everything_has_nothing_missing(
    server: Server, unheard: Answer, tmp_path: Path
) -> None:
    server.answer = unheard
    it = adapter(server.port, tmp_path, named(FORTY), timeout="20ms")
    await it.connect()
    async with asyncio.timeout(10):
        while len(server.requests) < 15:
            assert set((await one(it)).values()) == {"bad:no-communication"}
    assert not it._machines[0].learnt
    server.answer = Request.answer
    async with asyncio.timeout(10):
        while await one(it) != {f"s{i}_1": i for i in range(40)}:
            pass
    await it.close()


async def test_a_line_that_loses_answers_is_not_taken_for_a_device_without_registers(
    server: Server, unheard: Answer, tmp_path: Path
) -> None:
    """Of three blocks at a time every fifth answer is lost, so half of the polls fail."""
    lost = random.Random(5)
    server.answer = lambda r: unheard(r) if lost.random() < 0.2 else r.answer()
    places = [(i, 1) for i in (*range(10), *range(200, 210), *range(400, 410))]
    it = adapter(server.port, tmp_path, named(places), timeout="10ms")
    await it.connect()
    bad = whole = 0
    for _ in range(150):
        values = await one(it)
        bad += "bad:illegal-address" in values.values()
        whole += list(values.values()) == [at for at, _ in places]
    assert whole > 10
    assert bad == 0
    await it.close()
