"""SunSpec: models are found wherever they stand, and a value is never taken from where one stood before.

Offsets and lengths of the models are those of sunspec/models, json/model_1.json, model_103.json and model_203.json; the
marker, its three places and the end of the list those of the SunSpec Device Information Model Specification V1.1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters import modbus
from adapters.modbus import adapter as reading
from adapters.modbus.adapter import ModbusAdapter
from adapters.modbus.config import ModbusMachine, ModbusSignal
from adapters.modbus.learnt import Learnt, file_of, load, save
from adapters.modbus.link import Answer
from adapters.modbus.sunspec import Chain, Model, find, missing, place, usual
from gateway.adapter import Context, Forecast
from gateway.clock import SystemClock
from gateway.config import Configuration
from gateway.config import load as load_config
from gateway.counters import FlowCounters
from gateway.errors import ConfigErrors, NotConnectedError
from gateway.model import MachinePath
from gateway.schedule import Backoff
from modbus import helpers
from modbus.helpers import context, shown
from modbus.hostile import Request, RtuServer, Server
from parts.libmodbus import Libmodbus

HERE = Path(modbus.__file__).parent
SHARED = HERE.parents[2] / "shared" / "register_maps"
PROTOCOLS = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
README = (HERE / "README.md").read_text()

ILLEGAL, INVALID, GONE = "bad:illegal-address", "bad:invalid-data", "bad:no-communication"
Words = dict[int, int]


# --- devices -----------------------------------------------------------------------------------------------------------


def registers(base: int, *models: tuple[int, int, Mapping[int, int]], end: tuple[int, ...] = (0xFFFF, 0)) -> Words:
    """A device: "SunS", then models as ID, length and some of their registers by offset from the ID; others are 7777."""
    words = {base: 0x5375, base + 1: 0x6E53}  # S u n S
    at = base + 2
    for number, length, points in models:
        words |= dict.fromkeys(range(at, at + 2 + length), 7777)
        words |= {at: number, at + 1: length} | {at + offset: word for offset, word in points.items()}
        at += 2 + length
    return words | dict(enumerate(end, at))


def without(words: Words, *missing: int) -> Words:
    return {at: word for at, word in words.items() if at not in missing}


def text(offset: int, said: str, length: int) -> Words:
    data = said.encode().ljust(length, b"\0")
    return {offset + i: int.from_bytes(data[2 * i : 2 * i + 2], "big") for i in range(length // 2)}


COMMON = text(2, "Fabrikam", 32) | text(18, "SI 5000", 32) | text(42, "1.2.3", 16) | text(50, "0815-4711", 32)
# 230.1 V and 49.98 Hz at scale factors -1 and -2; 5230 W at 0; 123456789 Wh = 0x075BCD15; state 4
INVERTER = {10: 2301, 13: 0xFFFF, 14: 5230, 15: 0, 16: 4998, 17: 0xFFFE, 24: 0x075B, 25: 0xCD15, 26: 0, 38: 4}
SIGNALS: dict[str, Any] = {
    "maker": {"sunspec": 1, "holding": 2, "type": "string", "length": 32},
    "voltage": {"sunspec": [103, 102, 101], "holding": 10, "type": "uint16"},
    "power": {"sunspec": [103, 102, 101], "holding": 14, "type": "int16"},
    "energy": {"sunspec": [103, 102, 101], "holding": 24, "type": "uint32"},
    "state": {"sunspec": [103, 102, 101], "holding": 38, "type": "uint16"},
}
RIGHT = {"maker": "Fabrikam", "voltage": 2301, "power": 5230, "energy": 123456789, "state": 4}


class Device:
    """Answers what it has, and refuses what it has not."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.asked: list[tuple[int, int]] = []
        self.before: Callable[[Request], bytes | None] = lambda _: None  # another answer to some request

    def answer(self, request: Request) -> bytes | None:
        self.asked.append((request.address, request.count))
        if (other := self.before(request)) is not None:
            return other or None
        at = range(request.address, request.address + request.count)
        if request.function != 3 or any(each not in self.words for each in at):
            return request.refusal(2)
        return request.answer(b"".join(self.words[each].to_bytes(2, "big") for each in at))


SILENT = b""  # of `before`


# --- the adapter on it --------------------------------------------------------------------------------------------------


def adapter(
    port: int, data_dir: Path, signals: Mapping[str, Any] = SIGNALS, link: Any = None, **keys: Any
) -> ModbusAdapter:
    made = modbus.build(context(port, data_dir, {"m": {"signals": signals, **keys}}, **(link or {})))
    assert isinstance(made, ModbusAdapter)
    for each in made._machines:
        each.backoff, each.patience = Backoff(0.01, 0.02, random.Random(1)), Backoff(0.05, 0.05, random.Random(1))
        each.search = Backoff(0.02, 0.2, random.Random(1))
    return made


async def one(it: ModbusAdapter) -> dict[str, Any]:
    return shown(await helpers.one(it))


async def until(it: ModbusAdapter, expected: Mapping[str, Any], most: int = 200) -> list[dict[str, Any]]:
    """Read on until that is what comes; what came before it."""
    seen = []
    for _ in range(most):
        seen.append(await one(it))
        if seen[-1] == expected:
            return seen
    raise AssertionError(seen[-3:])


# --- where models stand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [40000, 50000, 0])
@pytest.mark.parametrize("common", [65, 66])
async def test_models_are_found_at_all_places(server: Server, tmp_path: Path, base: int, common: int) -> None:
    device = Device(registers(base, (1, common, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT, "with the very first poll"
    places = {40000: [40000], 50000: [40000, 50000], 0: [40000, 50000, 0]}[base]
    inverter = base + 2 + 2 + common
    walk = [(at, 2) for at in (*places, base + 2, inverter, inverter + 52)]
    blocks = [(base + 2, 18), (inverter, 39)]  # ID, length and manufacturer; from the ID to the state
    assert device.asked == [*walk, *blocks]
    assert await one(it) == RIGHT
    assert device.asked[len(walk) :] == 2 * blocks, "nothing else in a poll"
    await it.close()


@pytest.mark.parametrize(
    "models",
    [
        [(103, 50, INVERTER), (1, 66, COMMON)],
        [(1, 66, COMMON), (120, 26, {}), (160, 48, {}), (103, 50, INVERTER), (64001, 300, {})],
        [(1, 65, COMMON), (101, 50, INVERTER)],
        [(1, 66, COMMON), (102, 50, INVERTER), (103, 50, {14: 1})],  # of several that would do, the first in the device
        [(1, 66, COMMON), (103, 58, INVERTER)],  # longer than it should be
    ],
    ids=["inverter first", "others between", "single-phase", "two of them", "longer"],
)
async def test_models_are_found_in_any_order(server: Server, tmp_path: Path, models: Any) -> None:
    server.answer = Device(registers(40000, *models)).answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT
    await it.close()


METER = {"power": {"sunspec": 203, "holding": 18, "type": "int16"}}  # W of model 203, L = 105


async def test_which_one_of_several(server: Server, tmp_path: Path) -> None:
    """Two meters behind an inverter, each with a common model of its own."""
    meters = [m for i in (1, 2) for m in ((1, 65, text(2, f"M{i}", 32)), (203, 105, {18: 100 * i}))]
    server.answer = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER), *meters)).answer
    signals = {
        **{f"power_{i}": {**METER["power"], "occurrence": i} for i in (1, 2, 3)},
        **{f"maker_{i}": {**SIGNALS["maker"], "occurrence": i} for i in (1, 2, 3)},
    }
    it = adapter(server.port, tmp_path, signals)
    await it.connect()
    assert await one(it) == {
        "power_1": 100, "power_2": 200, "power_3": ILLEGAL, "maker_1": "Fabrikam", "maker_2": "M1", "maker_3": "M2",
    }  # fmt: skip
    await it.close()


def test_the_model_of_a_machine_is_that_of_its_signals(tmp_path: Path) -> None:
    body = """    sunspec: [103, 102, 101]
    occurrence: 2
    signals:
      W: {holding: 14, type: int16}
      SN: {sunspec: 1, occurrence: 1, holding: 50, type: string, length: 32}
      own: {sunspec: [], holding: 5, type: uint16}
      pump: {sunspec: [], coil: 5}
      strings: {sunspec: 160, holding: 12, type: uint32, count: 2}
"""
    found = loaded(tmp_path, body).machines["m"]
    assert isinstance(found, ModbusMachine)
    assert {name: (s.sunspec, s.occurrence, s.address) for name, s in found.signals.items()} == {
        "W": ((103, 102, 101), 2, 14), "SN": ((1,), 1, 50), "own": ((), 2, 5), "pump": ((), 2, 5),
        "strings_0": ((160,), 2, 12), "strings_1": ((160,), 2, 14),
    }  # fmt: skip


async def test_libmodbus_as_the_device(tmp_path: Path) -> None:
    words = registers(40000, (1, 65, COMMON), (120, 26, {}), (103, 50, INVERTER))
    with Libmodbus({(7, "holding", 40000): [words[at] for at in sorted(words)]}) as server:
        it = adapter(server.port, tmp_path, unit_id=7)
        await it.connect()
        assert await one(it) == RIGHT
        for at in words:
            server._cells.pop((7, "holding", at))
        moved = registers(50000, (1, 66, COMMON), (103, 50, INVERTER | {14: 5231}))
        server.set(7, "holding", 50000, *[moved[at] for at in sorted(moved)])
        seen = await until(it, RIGHT | {"power": 5231})
        assert all(values in (RIGHT, RIGHT | {"power": 5231}) for values in seen)
        await it.close()


# --- what is not there --------------------------------------------------------------------------------------------------


async def test_a_model_that_is_missing_costs_its_signals(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER), (120, 26, {})))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, SIGNALS | {"grid": METER["power"]})
    it._machines[0].patience = Backoff(60, 60)
    await it.connect()
    for _ in range(3):
        assert await one(it) == RIGHT | {"grid": ILLEGAL}
    assert [record.getMessage() for record in caplog.records] == [
        "m: the device has the SunSpec models 1, 103, 120; 203 is not among them"
    ]
    assert len(device.asked) == 5 + 3 * 2, "and is not looked for at every poll"
    device.words = registers(40000, (1, 65, COMMON), (103, 50, INVERTER), (120, 26, {}), (203, 105, {18: 99}))
    it._machines[0].look_at = 0.0
    assert await one(it) == RIGHT | {"grid": 99}
    assert not it._machines[0].astray
    await it.close()


async def test_a_missing_model_is_looked_for_as_missing_registers_are(server: Server, tmp_path: Path) -> None:
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, SIGNALS | {"grid": METER["power"]})
    await it.connect()
    assert await one(it) == RIGHT | {"grid": ILLEGAL}
    device.words = registers(40000, (1, 65, COMMON), (103, 50, INVERTER), (203, 105, {18: 99}))
    await until(it, RIGHT | {"grid": 99})
    await it.close()


async def test_a_model_that_was_missing_before_is_looked_for_after_the_next_start(
    server: Server, tmp_path: Path
) -> None:
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    signals = SIGNALS | {"grid": METER["power"]}
    for expected in (ILLEGAL, 99):
        it = adapter(server.port, tmp_path, signals)
        await it.connect()
        assert await one(it) == RIGHT | {"grid": ILLEGAL}
        await until(it, RIGHT | {"grid": expected})
        await it.close()
        device.words = registers(40000, (1, 65, COMMON), (103, 50, INVERTER), (203, 105, {18: 99}))


async def test_a_shorter_model_costs_what_is_behind_its_end(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The register there is one of the next model, and not what was asked for."""
    server.answer = Device(registers(40000, (1, 66, COMMON), (103, 23, INVERTER), (120, 26, {}))).answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT | {"energy": ILLEGAL, "state": ILLEGAL}
    assert "m: its SunSpec model 103 has 23 registers; behind its end: energy, state" in caplog.text
    await it.close()


async def test_without_a_marker_there_is_nothing(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = registers(40000, (1, 66, COMMON), (103, 50, INVERTER))
    device = Device({at: word for at, word in whole.items() if at > 40001} | {40000: 0, 40001: 0, 5: 55})
    server.answer = device.answer
    it = adapter(server.port, tmp_path, SIGNALS | {"own": {"holding": 5, "type": "uint16"}})
    await it.connect()
    nothing = dict.fromkeys(SIGNALS, ILLEGAL) | {"own": 55}
    assert await one(it) == nothing
    assert [record.getMessage() for record in caplog.records] == [
        'm: there is no "SunS" at holding 40000, 50000, 0; is SunSpec switched on, and `unit_id` right?'
    ]
    assert not file_of(tmp_path, "c").exists(), "that is no knowledge worth keeping"
    device.words |= whole
    await until(it, RIGHT | {"own": 55})
    await it.close()


async def test_a_register_that_is_missing_in_a_model_costs_only_its_signal(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)))
    del device.words[40070 + 14]
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    it._machines[0].patience = Backoff(60, 60)
    await it.connect()
    for _ in range(4):
        assert await one(it) == RIGHT | {"power": ILLEGAL}
    assert "m/power: the device refuses holding 40084 (exception 2), which is in its SunSpec model 103" in caplog.text
    asked = len(device.asked)
    assert await one(it) == RIGHT | {"power": ILLEGAL}
    # What is behind the hole has lost its head, which is read after it.
    assert device.asked[asked:] == [(40002, 18), (40070, 11), (40094, 15), (40070, 2)]
    await it.close()


async def test_a_model_of_which_the_only_register_is_missing(server: Server, tmp_path: Path) -> None:
    server.answer = Device(without(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)), 40084)).answer
    it = adapter(server.port, tmp_path, {"power": SIGNALS["power"]})
    await it.connect()
    assert [await one(it) for _ in range(3)] == [{"power": ILLEGAL}] * 3
    await it.close()


# --- devices that cannot be trusted -------------------------------------------------------------------------------------


def asked_of(words: Mapping[int, int], code: int = 2) -> tuple[Callable[[int, int], Any], list[int]]:
    addresses: list[int] = []

    async def ask(address: int, size: int) -> Answer:
        addresses.append(address)
        if any(at not in words for at in range(address, address + size)):
            return Answer(code=code)
        return Answer(b"".join(words[at].to_bytes(2, "big") for at in range(address, address + size)))

    return ask, addresses


ENDLESS: dict[str, tuple[Words, int]] = {  # registers, and how many models are believed
    "models without end": (registers(40000) | {40002 + i: 1 for i in range(25000)}, 100),
    "a length of 0": (registers(40000, (1, 66, {}), end=(103, 0, 103, 50)), 1),
    "a length beyond the last address": (registers(40000, (1, 66, {}), end=(103, 40000, 103, 50)), 1),
    "an ID of 0": (registers(40000, (1, 66, {}), end=(0, 50, 103, 50)), 1),
    "nothing behind the last one": (registers(40000, (1, 66, {}), end=()), 1),
    "half an end": (registers(40000, (1, 66, {}), end=(0,)), 1),
    "an end that has a length": (registers(40000, (1, 66, {}), end=(0xFFFF, 0xFFFF)), 1),
    "up to the last address": (registers(50000, (1, 15530, {}), end=(103, 50)), 1),
    "no models": (registers(0), 0),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_a_list_that_makes_no_sense_comes_to_an_end(what: str) -> None:
    words, number = ENDLESS[what]
    ask, addresses = asked_of(words)
    chain = await find(ask)
    assert chain is not None
    assert len(chain.models) == number
    assert len(addresses) <= 104
    assert max(addresses) <= 65534


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 0xFFFF), max_size=60), st.sampled_from([0, 40000, 50000]))
async def test_whatever_stands_there(noise: list[int], base: int) -> None:
    """Nothing raises, nothing is asked for beyond the last address, and no model reaches there or into another."""
    words = dict(enumerate([0x5375, 0x6E53, *noise], base))
    ask, addresses = asked_of(words | {at: words.get(at, at % 7) for at in range(base, min(base + 3000, 65536))})
    chain = await find(ask)
    assert chain is not None
    assert len(addresses) <= 104
    assert all(0 <= at <= 65534 for at in addresses)
    at = base + 2
    for model in chain.models:
        assert model.address == at
        assert 0 < model.id < 0xFFFF
        assert model.length > 0
        at += 2 + model.length
    assert at <= 65536


@pytest.mark.parametrize("code", [4, 5, 6, 10, 11])
async def test_a_device_that_is_busy_has_not_said_anything(code: int) -> None:
    ask, _ = asked_of(registers(40000, (1, 66, {}), end=()), code)
    assert await find(ask) is None


async def test_a_busy_device_is_asked_again(server: Server, tmp_path: Path) -> None:
    device = Device(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)))
    busy = iter(range(4))
    device.before = lambda request: request.refusal(6) if next(busy, None) is not None else None
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    seen = await until(it, RIGHT)
    assert len(seen) > 4
    assert seen[:-1] == [dict.fromkeys(SIGNALS, GONE)] * (len(seen) - 1)
    await it.close()


# --- models that move ---------------------------------------------------------------------------------------------------

# A model that does not fit into one request, so that some of it is far from its head: the sum over all its registers.
LONG: dict[str, Any] = {
    f"p{at}": {"sunspec": 701, "holding": at, "type": "uint16"} for at in (2, 20, 90, 130, 150, 280)
}


def long_device(offset: int) -> Words:
    """Model 701 at 40002 + `offset`, behind one of `offset` - 2 registers. Each register holds its offset, others lies."""
    points = {at: at for at in range(2, 302)}
    return registers(40000, *([(1, offset - 2, {})] if offset else []), (701, 300, points))


LONG_RIGHT = {f"p{at}": at for at in (2, 20, 90, 130, 150, 280)}


def wrong(values: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are none of its own."""
    return {name: value for name, value in values.items() if value not in (right[name], INVALID, GONE)}


async def moving(server: Server, data_dir: Path, nth: int, **link: Any) -> tuple[list[dict[str, Any]], int]:
    """What is read while the models move just before the n-th request after the search; and how many moved by then."""
    device = Device(long_device(0))
    server.answer = device.answer
    it = adapter(server.port, data_dir, LONG, link)
    await it.connect()
    assert await one(it) == LONG_RIGHT
    number, moves = count(1), 0

    def move(_: Request) -> None:
        nonlocal moves
        if next(number) == nth:
            moves += 1
            device.words = long_device(68)

    device.before = move  # type: ignore[assignment]
    seen = [await one(it) for _ in range(5)]
    await it.close()
    return seen, moves


@pytest.mark.parametrize("nth", range(1, 16))
async def test_no_wrong_value_whenever_the_models_move(server: Server, tmp_path: Path, nth: int) -> None:
    seen, moves = await moving(server, tmp_path, nth)
    assert moves == 1
    assert [wrong(values, LONG_RIGHT) for values in seen] == [{}] * 5
    assert seen[-1] == LONG_RIGHT
    assert sum(values != LONG_RIGHT for values in seen) <= 1


@pytest.mark.parametrize("nth", range(1, 12, 2))
async def test_no_wrong_value_with_several_requests_on_their_way(server: Server, tmp_path: Path, nth: int) -> None:
    seen, _ = await moving(server, tmp_path, nth, max_in_flight=8)
    assert [wrong(values, LONG_RIGHT) for values in seen] == [{}] * 5
    assert seen[-1] == LONG_RIGHT


@pytest.mark.parametrize("nth", range(1, 20))
async def test_no_wrong_value_when_they_move_while_it_is_found_out_what_is_missing(
    server: Server, tmp_path: Path, nth: int
) -> None:
    """The model lacks its register 14, so its block is divided; what comes of that has no head of its own."""
    signals = {f"p{at}": {"sunspec": 701, "holding": at, "type": "uint16"} for at in range(2, 34, 4)}
    right = {f"p{at}": at for at in range(2, 34, 4)} | {"p14": ILLEGAL}
    device = Device(without(long_device(0), 40016))
    number = count(-5)  # the search takes 5 requests

    def move(_: Request) -> None:
        if next(number) == nth:
            device.words = without(long_device(68), 40084)

    device.before = move  # type: ignore[assignment]
    server.answer = device.answer
    it = adapter(server.port, tmp_path, signals)
    await it.connect()
    seen = [await one(it) for _ in range(6)]
    assert [wrong(values, right) for values in seen] == [{}] * 6
    assert seen[-1] == right
    await it.close()


@pytest.mark.parametrize("nth", [1, 3])
async def test_without_the_check_there_are_wrong_values(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """So the tests above see what they are to see."""
    monkeypatch.setattr(reading, "doubts", lambda blocks, answers: (set(), []))
    seen, _ = await moving(server, tmp_path, nth)
    assert any(wrong(values, LONG_RIGHT) for values in seen)


@pytest.mark.parametrize("nth", [2, 3])
async def test_a_head_that_was_read_before_would_not_be_enough(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Believing the head in the first block for those that are read after it."""
    doubts = reading.doubts
    monkeypatch.setattr(reading, "doubts", lambda blocks, answers: (doubts(blocks, answers)[0], []))
    seen, _ = await moving(server, tmp_path, nth)
    assert any(wrong(values, LONG_RIGHT) for values in seen)


arrangements = st.lists(
    st.tuples(
        st.sampled_from([40000, 50000, 0]),
        st.lists(st.sampled_from([(1, 65), (1, 66), (120, 26), (701, 300), (701, 280), (701, 100)]), max_size=4),
    ),
    min_size=2,
    max_size=5,
)


def places_of_701(base: int, models: list[tuple[int, int]]) -> list[tuple[int, int]]:
    at, found = base + 2, []
    for number, length in models:
        if number == 701:
            found.append((at, length))
        at += 2 + length
    return found


@settings(max_examples=60, deadline=None)
@given(arrangements, st.lists(st.integers(1, 12), min_size=4, max_size=4), st.booleans())
def test_no_wrong_value_wherever_the_models_move(
    tmp_path_factory: pytest.TempPathFactory, places: Any, pauses: list[int], refuses: bool
) -> None:
    """From one arrangement to the next after so many requests. What is not there is refused, or holds a number as well."""
    # A model that goes and comes back to where it was between two requests is beyond what can be seen.
    all_places = [place for base, models in places for place in places_of_701(base, models)]
    assume(len(all_places) == len(set(all_places)))
    # Elsewhere stands what a register of the model never holds.
    elsewhere = {} if refuses else dict.fromkeys([*range(1500), *range(40000, 41500), *range(50000, 51500)], 8888)
    rest = [
        registers(base, *((n, length, {at: at for at in range(2, 2 + length) if n == 701}) for n, length in models))
        for base, models in places
    ]

    async def judged() -> None:
        device, waits, left = Device({}), iter(pauses), 0

        def move(_: Request) -> None:
            nonlocal left
            left -= 1
            if left < 0 and rest:
                device.words, left = elsewhere | rest.pop(0), next(waits, 0)

        device.before = move  # type: ignore[assignment]
        async with Server(device.answer).listening() as server:
            it = adapter(server.port, tmp_path_factory.mktemp("d"), LONG)
            await it.connect()
            for _ in range(12):
                values = await one(it)
                assert not {k: v for k, v in values.items() if v not in (LONG_RIGHT[k], INVALID, GONE, ILLEGAL)}
            await it.close()

    asyncio.run(judged())


async def test_a_move_costs_no_reading(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From 101–103 with integers to another option in between: the poll that finds out is made once more."""
    caplog.set_level(logging.INFO)
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT
    device.words = registers(40000, (1, 66, COMMON), (122, 44, {}), (103, 50, INVERTER | {14: 17}))
    assert await one(it) == RIGHT | {"power": 17}
    device.words = registers(50000, (1, 66, COMMON), (103, 50, INVERTER | {14: 18}))
    assert await one(it) == RIGHT | {"power": 18}
    assert [record.getMessage() for record in caplog.records] == [
        "m: SunSpec from holding 40000 on: model 1 at 40002, 103 at 40069",
        "m: SunSpec from holding 40000 on: model 1 at 40002, 122 at 40070, 103 at 40116",
        "m: SunSpec from holding 50000 on: model 1 at 50002, 103 at 50070",
    ]
    assert not it._machines[0].learnt.refused, "what stood there before is not held against the device"
    await it.close()


async def test_a_slow_poll_is_right_after_a_move_as_well(server: Server, tmp_path: Path) -> None:
    """The search that one poll begins holds for all of the machine; nothing waits an hour for its next turn."""
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    signals = {name: {**signal, "poll": "50ms" if name == "maker" else "10ms"} for name, signal in SIGNALS.items()}
    it = adapter(server.port, tmp_path, signals)
    await it.connect()
    fast, slow = {name: RIGHT[name] for name in RIGHT if name != "maker"}, {"maker": "Fabrikam"}
    assert [await one(it), await one(it)] == [fast, slow]
    device.words = registers(50000, (1, 65, COMMON), (103, 50, INVERTER))
    for _ in range(12):
        assert await one(it) in (fast, slow)
    await it.close()


async def test_a_model_that_goes_away(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The inverter speaks in floats now: 113 stands where 103 was."""
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT
    device.words = registers(40000, (1, 65, COMMON), (113, 60, {}))
    gone = dict.fromkeys(SIGNALS, ILLEGAL) | {"maker": "Fabrikam"}
    assert [await one(it) for _ in range(3)] == [gone] * 3
    assert "m: the device has the SunSpec models 1, 113; 103 or 102 or 101 is not among them" in caplog.text
    device.words = registers(40000, (1, 65, COMMON), (103, 50, INVERTER))
    seen = await until(it, RIGHT)
    assert seen[:-1] == [gone] * (len(seen) - 1)
    device.words = registers(40000, (1, 65, COMMON), (113, 60, {}))
    assert await one(it) == gone
    assert caplog.text.count("103 or 102 or 101 is not among them") == 2, "each time anew"
    await it.close()


async def test_what_was_missing_in_its_old_place_is_read_in_the_new_one(server: Server, tmp_path: Path) -> None:
    """Holding 40084 is missing, with the power in it; then the voltage stands there, 4 registers further on."""
    device = Device(without(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)), 40084))
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    it._machines[0].patience = Backoff(60, 60)
    await it.connect()
    assert await one(it) == RIGHT | {"power": ILLEGAL}
    device.words = registers(40000, (1, 70, COMMON), (103, 50, INVERTER))
    assert await one(it) == RIGHT
    await it.close()


async def test_a_search_that_is_cut_short_is_not_begun_at_every_poll(server: Server, tmp_path: Path) -> None:
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    it._machines[0].search = Backoff(60, 60)
    await it.connect()
    assert await one(it) == RIGHT
    device.words = registers(40000, (1, 66, COMMON), (103, 50, INVERTER))
    device.before = lambda request: request.refusal(6) if request.address == 40000 else None
    device.asked.clear()
    for _ in range(5):
        assert set((await one(it)).values()) == {INVALID}
    assert sum(address == 40000 for address, _ in device.asked) == 1
    await it.close()


async def test_a_device_that_starts_is_waited_for(server: Server, tmp_path: Path) -> None:
    """For a while all registers are 0."""
    whole = registers(40000, (1, 65, COMMON), (103, 50, INVERTER))
    device = Device(whole)
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT
    device.words = dict.fromkeys(whole, 0)
    assert await one(it) == dict.fromkeys(SIGNALS, ILLEGAL)
    device.words = whole
    seen = await until(it, RIGHT)
    assert seen[:-1] == [dict.fromkeys(SIGNALS, ILLEGAL)] * (len(seen) - 1)
    await it.close()


async def test_a_device_that_contradicts_itself_is_not_searched_at_every_poll(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked for the head alone it says 103, in a block 104."""
    device = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER)))
    lie = device.words | {40069: 104}

    def contradict(request: Request) -> bytes | None:
        device.words[40069] = 103 if request.count == 2 else lie[40069]
        return None

    device.before = contradict
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    it._machines[0].search = Backoff(60, 60)
    doubtful = dict.fromkeys(SIGNALS, INVALID) | {"maker": "Fabrikam"}
    for _ in range(5):
        assert await one(it) == doubtful
    assert sum(address == 40000 for address, _ in device.asked) == 2
    assert caplog.text.count("its models are not read in their places") == 1
    lie[40069] = 103
    assert await one(it) == RIGHT, "a block that is in order counts at once"
    await it.close()


async def test_half_a_poll_that_is_lost_is_lost(server: Server, tmp_path: Path) -> None:
    """The head of a far block does not come: that it would have been right is not known."""
    device = Device(long_device(0))
    device.before = lambda request: SILENT if (request.address, request.count) == (40002, 2) and quiet else None
    server.answer = device.answer
    quiet = False
    it = adapter(server.port, tmp_path, LONG)
    await it.connect()
    assert await one(it) == LONG_RIGHT
    quiet = True
    assert await one(it) == dict.fromkeys(LONG, GONE) | {"p2": 2}, "only its own block has the head"
    quiet = False
    await until(it, LONG_RIGHT)
    await it.close()


# --- what is asked ------------------------------------------------------------------------------------------------------


async def test_the_head_is_read_after_what_is_far_from_it(server: Server, tmp_path: Path) -> None:
    device = Device(long_device(0))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, {"p280": LONG["p280"]})
    await it.connect()
    assert await one(it) == {"p280": 280}
    assert device.asked[-2:] == [(40282, 1), (40002, 2)]
    await it.close()


async def test_a_device_that_takes_short_requests_only(server: Server, tmp_path: Path) -> None:
    device = Device(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)))
    device.before = lambda request: request.refusal(3) if request.count > 16 else None
    server.answer = device.answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert [await one(it) for _ in range(4)] == [RIGHT] * 4
    asked = len(device.asked)
    assert await one(it) == RIGHT
    assert all(size <= 16 for _, size in device.asked[asked:])
    assert len(device.asked) - asked <= 6
    await it.close()


async def test_forbidden_addresses_are_never_touched(server: Server, tmp_path: Path) -> None:
    device = Device(registers(50000, (1, 66, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, quirks={"forbidden": ["holding:40000-40010", "holding:50084"]})
    await it.connect()
    assert await one(it) == RIGHT | {"power": ILLEGAL}
    assert await one(it) == RIGHT | {"power": ILLEGAL}
    touched = {at for address, size in device.asked for at in range(address, address + size)}
    assert touched.isdisjoint([*range(40000, 40011), 50084])
    await it.close()


async def test_a_device_that_says_nothing_instead_of_refusing(server: Server, tmp_path: Path) -> None:
    """It is silent at 40000, has its models at 50000 and nothing behind them."""
    words = registers(50000, (1, 66, COMMON), (103, 50, INVERTER), end=()) | {5: 55}
    device = Device(words)
    device.before = lambda r: SILENT if any(at not in words for at in range(r.address, r.address + r.count)) else None
    server.answer = device.answer
    for n, signals in enumerate((SIGNALS, SIGNALS | {"own": {"holding": 5, "type": "uint16"}})):
        it = adapter(server.port, tmp_path / str(n), signals, {"timeout": "30ms"})
        await it.connect()
        seen = await until(it, RIGHT | ({"own": 55} if n else {}))
        if n:
            assert all(values["own"] == 55 for values in seen), "who answers otherwise is not lost for that"
        await it.close()


async def test_a_device_that_is_silent_where_its_models_were(server: Server, tmp_path: Path) -> None:
    old, new = (registers(base, (1, 66, COMMON), (103, 50, INVERTER)) for base in (40000, 0))
    device = Device(old)
    device.before = lambda r: SILENT if r.address not in device.words else None
    server.answer = device.answer
    it = adapter(server.port, tmp_path, link={"timeout": "30ms"})
    await it.connect()
    assert await one(it) == RIGHT
    device.words = new
    seen = await until(it, RIGHT)
    assert all(values in (RIGHT, dict.fromkeys(SIGNALS, GONE)) for values in seen)
    await it.close()


async def test_a_device_that_comes_back_is_read_at_once(server: Server, tmp_path: Path) -> None:
    """Also when it comes back at the moment in which its models are looked for."""
    device = Device(registers(40000, (1, 66, COMMON), (103, 50, INVERTER)))
    server.answer = device.answer
    it = adapter(server.port, tmp_path, link={"timeout": "20ms"})
    await it.connect()
    assert await one(it) == RIGHT
    dead = True

    def before(request: Request) -> bytes | None:
        nonlocal dead
        dead &= (request.address, request.count) != (0, 2)
        return SILENT if dead else None

    device.before = before
    while dead:
        values = await one(it)
        assert values == (dict.fromkeys(SIGNALS, GONE) if dead else RIGHT)
    await it.close()


async def test_what_was_read_counts_even_if_the_link_is_gone_then(server: Server, tmp_path: Path) -> None:
    server.answer = Device({5: 55}).answer
    signals = SIGNALS | {"own": {"holding": 5, "type": "uint16"}}
    it = adapter(server.port, tmp_path, signals, {"quirks": {"close_after_poll": True}})
    await it.connect()

    async def refuse(_: Any) -> None:
        raise NotConnectedError("it refuses the connection")

    it._reopen = refuse  # type: ignore[method-assign]
    assert await one(it) == dict.fromkeys(SIGNALS, GONE) | {"own": 55}
    with pytest.raises(NotConnectedError):
        await one(it)
    await it.close()


async def test_what_was_read_is_not_lost_over_the_search(server: Server, tmp_path: Path) -> None:
    """The device hangs up whenever it is asked at 40000."""
    device = Device({5: 55})
    server.answer = lambda r: b"" if r.address == 40000 else device.answer(r)
    it = adapter(server.port, tmp_path, SIGNALS | {"own": {"holding": 5, "type": "uint16"}})
    await it.connect()
    for _ in range(10):
        assert (await one(it))["own"] == 55
    assert sum(request.address == 40000 for request in server.requests) < 5, "less and less often"
    await it.close()


async def test_over_a_line_without_numbers(rtu_server: RtuServer, tmp_path: Path) -> None:
    rtu_server.answer = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER))).answer
    it = adapter(rtu_server.port, tmp_path, link={"protocol": "modbus-rtu-over-tcp"})
    await it.connect()
    assert [await one(it) for _ in range(3)] == [RIGHT] * 3
    await it.close()


async def test_a_link_that_is_closed_after_each_poll(server: Server, tmp_path: Path) -> None:
    server.answer = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER))).answer
    it = adapter(server.port, tmp_path, link={"quirks": {"close_after_poll": True}})
    await it.connect()
    assert [await one(it) for _ in range(3)] == [RIGHT] * 3
    assert sum(request.address == 40000 for request in server.requests) == 1
    await it.close()


# --- what is remembered and shown ---------------------------------------------------------------------------------------


def plan_of(data_dir: Path, signals: Mapping[str, Any] = SIGNALS) -> Forecast:
    return modbus.plan(context(502, data_dir, {"m": {"signals": signals}}))


async def test_the_next_start_does_not_search(server: Server, tmp_path: Path) -> None:
    device = Device(registers(50000, (1, 65, COMMON), (120, 26, {}), (103, 50, INVERTER)))
    server.answer = device.answer
    for _ in range(2):
        device.asked.clear()
        it = adapter(server.port, tmp_path)
        await it.connect()
        assert await one(it) == RIGHT
        await it.close()
    assert device.asked == [(50002, 18), (50097, 39)]
    found = plan_of(tmp_path)
    assert [(r.what, r.signals) for r in found.requests] == [
        ("holding 50002–50019", 1), ("holding 50097–50135", 4),
    ]  # fmt: skip
    assert list(found.learnt) == [
        ("m", "has SunSpec from holding 50000 on: model 1 at 50002, 120 at 50069, 103 at 50097")
    ]


@pytest.mark.parametrize("base", [40000, 50000])
async def test_models_that_moved_while_nobody_looked(server: Server, tmp_path: Path, base: int) -> None:
    server.answer = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER))).answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    await one(it)
    await it.close()
    server.answer = Device(registers(base, (1, 66, COMMON), (103, 50, INVERTER))).answer
    it = adapter(server.port, tmp_path)
    await it.connect()
    assert await one(it) == RIGHT
    await it.close()
    assert load(file_of(tmp_path, "c"))["m"].chain == Chain(base, (Model(1, base + 2, 66), Model(103, base + 70, 50)))


async def test_before_anybody_has_looked_the_plan_says_so(tmp_path: Path) -> None:
    """40000 and a marker of 2, a common model of 2 + 66, ID and length of the inverter's."""
    found = plan_of(tmp_path)
    assert [(r.what, r.signals) for r in found.requests] == [("holding 40002–40019", 1), ("holding 40070–40108", 4)]
    assert list(found.learnt) == [
        ("m", "nothing yet about its SunSpec models; taken for where they usually are: model 1 at 40002, 103 at 40070")
    ]


async def test_a_plan_shows_what_is_missing_and_forgets(server: Server, tmp_path: Path) -> None:
    server.answer = Device(registers(40000, (1, 65, COMMON), (103, 50, INVERTER))).answer
    signals = SIGNALS | {"grid": METER["power"]}
    it = adapter(server.port, tmp_path, signals)
    await it.connect()
    await one(it)
    await it.close()
    assert [text for _, text in plan_of(tmp_path, signals).learnt] == [
        "has SunSpec from holding 40000 on: model 1 at 40002, 103 at 40069",
        "the device has the SunSpec models 1, 103; 203 is not among them",
    ]
    assert list(modbus.forget(context(502, tmp_path, {"m": {"signals": signals}}), None)) == ["m"]
    assert "nothing yet" in plan_of(tmp_path, signals).learnt[0][1]


def test_what_is_known_survives(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    chain = Chain(40000, (Model(1, 40002, 65), Model(103, 40069, 50)))
    save(path, {"m": Learnt(7, chain=chain), "n": Learnt(7, chain=Chain()), "o": Learnt(7, chain=Chain(0))})
    assert load(path) == {"m": Learnt(7, chain=chain), "o": Learnt(7, chain=Chain(0))}


@pytest.mark.parametrize(
    "sunspec",
    [
        {"base": 40001, "models": []},
        {"base": None, "models": []},
        {"base": 40000},
        {"base": 40000, "models": [[1, 40003, 65]]},
        {"base": 40000, "models": [[1, 40002, 65], [103, 40070, 50]]},
        {"base": 40000, "models": [[1, 40002, 65000]]},
        {"base": 40000, "models": [[1, 40002, 0]]},
        {"base": 40000, "models": [[65535, 40002, 2]]},
        {"base": 40000, "models": [[1, 40002]]},
        {"base": 40000, "models": ["model"]},
        {"base": 40000, "models": 3},
        "40000",
        None,
    ],
)
def test_a_list_of_models_that_makes_no_sense_is_put_aside(tmp_path: Path, sunspec: Any) -> None:
    path = tmp_path / "c.json"
    body = {"unit_id": 1, "refused": [], "holes": [], "max_registers": None, "max_bits": None, "sunspec": sunspec}
    path.write_text(json.dumps({"v": 1, "machines": {"m": body}}))
    assert load(path) == {}
    assert path.with_suffix(".broken").exists()


# --- placing signals ----------------------------------------------------------------------------------------------------


def signal(**keys: Any) -> ModbusSignal:
    return ModbusSignal.model_validate({"type": "uint16", **keys})


def test_a_signal_at_its_place() -> None:
    models = [Model(1, 40002, 65), Model(103, 40069, 50), Model(160, 40121, 48), Model(160, 40171, 28)]

    def at(**keys: Any) -> int | None:
        placed = place(signal(**keys), models)
        return placed and placed.address

    assert at(sunspec=103, holding=14) == 40083
    assert at(sunspec=[101, 102, 103], holding=0) == 40069
    assert at(sunspec=103, holding=15, numbering="one-based") == 40083
    assert at(sunspec=160, holding=2, occurrence=2) == 40173
    assert at(sunspec=160, holding=2, occurrence=3) is None
    assert at(sunspec=111, holding=2) is None
    assert at(sunspec=103, holding=51) == 40120, "the last register: 2 + 50 - 1"
    assert at(sunspec=103, holding=52) is None
    assert at(sunspec=103, holding=51, type="uint32") is None


def test_where_they_usually_are() -> None:
    signals = {"a": signal(sunspec=203, holding=2, occurrence=2), "b": signal(sunspec=9999, holding=10, type="uint32")}
    assert usual(signals) == (
        Model(1, 40002, 66), Model(203, 40070, 105), Model(203, 40177, 105), Model(9999, 40284, 10)
    )  # fmt: skip


def test_what_is_missing_in_words() -> None:
    signals = {
        "a": signal(sunspec=[111, 113], holding=2),
        "b": signal(sunspec=203, holding=2, occurrence=2),
        **{f"c{i}": signal(sunspec=1, holding=70 + i) for i in range(8)},
    }
    assert missing(signals, Chain(0, (Model(1, 2, 66), Model(203, 70, 105)))) == [
        "the device has the SunSpec models 1, 203; 111 or 113, 203 for the 2. time are not among them",
        "its SunSpec model 1 has 66 registers; behind its end: c0, c1, c2, c3, c4, c5 and 2 more",
    ]
    assert missing({"x": signal(holding=1)}, Chain()) == []


# --- what can be written ------------------------------------------------------------------------------------------------

MISTAKES = [
    (
        "{sunspec: 0, holding: 2, type: int16}",
        "x.sunspec",
        "'0' is not the ID of a SunSpec model",
        "103 or [101, 102, 103]",
    ),
    ("{sunspec: 65535, holding: 2, type: int16}", "x.sunspec", "'65535' is not the ID", ""),
    ("{sunspec: inverter, holding: 2, type: int16}", "x.sunspec", "'inverter' is not the ID", ""),
    ("{sunspec: 103, input: 2, type: int16}", "x.input", "models are in the holding registers", "'sunspec: []'"),
    ("{sunspec: 103, coil: 2}", "x.coil", "models are in the holding registers", "'holding: N'"),
    (
        "{sunspec: 103, holding: 40083, type: int16}",
        "x.holding",
        "addresses count from its ID",
        "the offset in the model",
    ),
    ("{sunspec: 103, holding: 2, type: int16, occurrence: 0}", "x.occurrence", "too small", ""),
    ("{sunspec: 103, holding: 2, type: int16, scale_from: y}", "x.scale_from", "no signal 'y'", ""),
]


def loaded(folder: Path, text: str) -> Configuration:
    file = folder / "gateway.yaml"
    head = "connections: {c: {protocol: modbus-tcp, host: h}}\nmachines:\n  m:\n    connection: c\n"
    file.write_text(head + text)
    return load_config(file, PROTOCOLS)


@pytest.mark.parametrize(("text", "where", "said", "hint"), MISTAKES)
def test_a_mistake(tmp_path: Path, text: str, where: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, f"    signals:\n      x: {text}\n")
    [error] = caught.value.errors
    assert error.field == f"machines.m.signals.{where}"
    assert said in error.message
    assert hint in error.hint
    assert error.line == 6


def test_an_offset_is_not_forbidden_for_its_number(tmp_path: Path) -> None:
    body = '    quirks: {forbidden: ["holding:0-100"]}\n    signals: {x: {sunspec: 103, holding: 14, type: int16}}\n'
    assert not loaded(tmp_path, body).warnings


# --- the profile --------------------------------------------------------------------------------------------------------


@pytest.fixture
def profiled(tmp_path: Path) -> Mapping[str, ModbusSignal]:
    found = loaded(tmp_path, "    profile: sunspec-inverter\n").machines["m"]
    assert isinstance(found, ModbusMachine)
    return found.signals


def fixed_addresses(tmp_path: Path) -> Mapping[str, ModbusSignal]:
    found = loaded(tmp_path, "    profile: sunspec-inverter-103\n").machines["m"]
    assert isinstance(found, ModbusMachine)
    return found.signals


def test_the_profile_says_what_that_of_fixed_addresses_says(
    profiled: Mapping[str, ModbusSignal], tmp_path: Path
) -> None:
    """Model 103 at 40069."""
    fixed = fixed_addresses(tmp_path)
    place_of = {"holding", "sunspec", "description", "range"}
    for name in fixed.keys() - {"L"}:
        assert profiled[name].address == fixed[name].address - 40069, name
        assert profiled[name].model_dump(exclude=place_of) == fixed[name].model_dump(exclude=place_of), name
    new = {name: (s.sunspec, s.address, s.size) for name, s in profiled.items() if name not in fixed}
    common = {"Mn": ((1,), 2, 16), "Md": ((1,), 18, 16), "Vr": ((1,), 42, 8), "SN": ((1,), 50, 16)}
    assert new == common | {f"PPVph{p}": ((103, 102, 101), 7 + i, 1) for i, p in enumerate(("AB", "BC", "CA"))}


@pytest.mark.shared
async def test_the_image_of_an_inverter_through_discovery(server: Server, tmp_path: Path) -> None:
    """The image has no marker and no common model: they are put in front of it, and an end behind."""
    recorded = json.loads((SHARED / "images" / "sunspec_inverter_103.image.json").read_text())
    image = {int(at): word for at, word in recorded["tables"]["3"].items()}
    words = registers(40000, (1, 65, COMMON), (103, 50, {}))
    server.answer = Device(words | image).answer
    found = loaded(tmp_path, "    profile: sunspec-inverter\n").machines["m"]
    made = modbus.build(context(server.port, tmp_path, {}))
    assert isinstance(made, ModbusAdapter)
    assert isinstance(found, ModbusMachine)
    it = modbus.build(
        Context("c", made._settings, {MachinePath("m"): found}, SystemClock(), FlowCounters(), tmp_path, "edge")
    )
    assert isinstance(it, ModbusAdapter)
    await it.connect()
    values = await one(it)
    await it.close()
    assert (values["Mn"], values["Md"], values["Vr"], values["SN"]) == ("Fabrikam", "SI 5000", "1.2.3", "0815-4711")
    factors = {name: values[name] for name in values if name.endswith("_SF")}
    compared = 0
    for name, expected in recorded["expected"].items():
        if name == "L":
            continue
        compared += 1
        if expected is None:
            assert values[name] == "bad:not-available"
        else:
            power = factors.get(found.signals[name].scale_from or "", 0)
            assert values[name] * 10.0**power == pytest.approx(expected), name
    assert compared == 35


def test_what_the_readme_shows_can_be_read(tmp_path: Path) -> None:
    shown = README.split("\n## SunSpec\n")[1].split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "gateway.yaml"
    file.write_text("connections: {panel: {protocol: modbus-tcp, host: h}}\n" + shown)
    found = load_config(file, PROTOCOLS)
    assert not found.warnings
    assert {name: len(machine.signals) for name, machine in found.machines.items()} == {
        "inverter-01": 42, "grid-meter": 3,
    }  # fmt: skip


def test_the_readme_tells_of_it() -> None:
    assert "\n## SunSpec\n" in README
    for word in ("`sunspec`", "`occurrence`", "`sunspec-inverter`", "`SunS`"):
        assert word in README, word
