"""Questions to a real historian, from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import StoreError
from gateway.model import MachinePath, Value
from gateway.mqtt.payload import decode_data
from gateway.runtime.asked import history as room
from gateway.runtime.asked.history import DAY, History
from gateway.store.contract import Readings
from gateway.store.fold import INTERVAL
from gateway.store.historian import Historian
from gateway.store.reader import HistorianReader
from web.plant import NOW, ManualClock, S

MACHINE = "acme/press-07"
AGO = NOW - NOW % INTERVAL  # the beginning of a stretch of the historian


class Plant:
    """A historian with readings of one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Historian(path)
        self.seq = 0

    def write(self, *frames: tuple[int, dict[str, Value]], tidy: bool = True) -> None:
        self.seq += 1
        content = [
            {"t": t / 1e6, "values": {k: v for k, v in values.items() if v is not None}}
            | {"quality": {k: "bad:not-connected" for k, v in values.items() if v is None}}
            for t, values in frames
        ]
        payload = orjson.dumps({"v": 1, "gateway": "g", "epoch": "8f2c9a4e", "seq": self.seq, "frames": content})
        self.store.write([Readings(MachinePath("press-07", "acme"), decode_data(payload), payload)])
        while tidy and self.store.tidy():
            pass


@pytest.fixture
def plant(tmp_path: Path) -> Any:
    made = Plant(tmp_path / "historian.sqlite")
    yield made
    made.store.close()


@pytest.fixture
async def history(plant: Plant) -> AsyncIterator[History]:
    made = History(lambda: plant.path, ManualClock())
    yield made
    made.close()


async def known(history: History) -> dict[str, tuple[float, float]]:
    """The extremes, once somebody has found them out."""
    async with asyncio.timeout(20):
        history.extremes(MACHINE)
        while history._days[MACHINE].task is not None:
            await asyncio.sleep(0.005)
        return dict(history.extremes(MACHINE))


# --- points ----------------------------------------------------------------------------------------------------------


async def test_points_are_readings_that_were_made(plant: Plant, history: History) -> None:
    plant.write(*((NOW - (100 - i) * S, {"melt_temp": float(i), "mode": "auto"}) for i in range(100)))
    plant.write((NOW, {"melt_temp": None}))
    all_of_it = await history.points(MACHINE, "melt_temp", NOW - 200 * S, NOW, 1000)
    assert len(all_of_it) == 101
    assert all_of_it[0] == (NOW - 100 * S, 0.0, 0)
    assert all_of_it[-1][:2] == (NOW, None)
    assert all_of_it[-1][2] >= 0x80000000
    few = await history.points(MACHINE, "melt_temp", NOW - 200 * S, NOW, 10)
    assert 2 <= len(few) <= 10
    assert {value for _, value, _ in few} >= {0.0, 99.0, None}  # neither a peak nor an outage disappears


async def test_what_was_never_stored_has_no_points(plant: Plant, history: History) -> None:
    plant.write((NOW, {"a": 1.0}))
    assert await history.points(MACHINE, "b", 0, NOW, 10) == []
    assert await history.points("acme/other", "a", 0, NOW, 10) == []


async def test_a_historian_that_is_not_there_yet(tmp_path: Path) -> None:
    history = History(lambda: tmp_path / "none.sqlite", ManualClock())
    with pytest.raises(StoreError, match="there is no historian yet"):
        await history.points(MACHINE, "a", 0, NOW, 10)
    assert history.extremes(MACHINE) == {}
    history.close()
    gone = History(lambda: None, ManualClock())
    assert not gone.available
    with pytest.raises(StoreError):
        await gone.points(MACHINE, "a", 0, NOW, 10)
    gone.close()


async def test_two_at_once_and_none_for_ever(plant: Plant, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.write((NOW, {"a": 1.0}))
    running, most, go = 0, 0, threading.Event()
    lock = threading.Lock()
    real = HistorianReader.query

    def query(self: HistorianReader, *question: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(20)
        with lock:
            running -= 1
        return real(self, *question)

    monkeypatch.setattr(HistorianReader, "query", query)
    monkeypatch.setattr(room, "TIMEOUT", 0.2)
    asked = [asyncio.create_task(history.points(MACHINE, "a", 0, NOW, 10)) for _ in range(6)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["the historian has not answered within 0.2 s"] * 6
    go.set()
    monkeypatch.setattr(room, "TIMEOUT", 20.0)
    assert await history.points(MACHINE, "a", 0, NOW, 10) == [(NOW, 1.0, 0)]
    assert most == 2


async def test_a_question_that_takes_too_long_is_ended(
    plant: Plant, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is free again: SQLite stops in the middle of it."""
    ended = threading.Event()

    def query(self: HistorianReader, *_: Any) -> Any:
        forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        try:
            self._db.execute(forever).fetchone()
        finally:
            ended.set()

    monkeypatch.setattr(HistorianReader, "query", query)
    monkeypatch.setattr(room, "TIMEOUT", 0.2)
    with pytest.raises(StoreError, match="not answered within"):
        await history.points(MACHINE, "a", 0, NOW, 10)
    assert await asyncio.to_thread(ended.wait, 20)


# --- extremes --------------------------------------------------------------------------------------------------------


async def test_the_smallest_and_the_largest_of_a_day(plant: Plant, history: History) -> None:
    plant.write((AGO - DAY - INTERVAL, {"a": -1e9}))  # before it
    plant.write((AGO - DAY + 3 * INTERVAL, {"a": -5.0, "count": 2**60, "mode": "auto", "on": True}))
    plant.write((AGO - 3 * INTERVAL, {"a": 7.5, "count": 3}))
    plant.write((AGO - 1, {"a": 3.0}), (NOW, {"a": None}), tidy=False)  # not folded yet
    assert await known(history) == {"a": (-5.0, 7.5), "count": (3, 2**60)}


async def test_nothing_is_said_before_all_of_the_day_is_known(plant: Plant, history: History) -> None:
    plant.write((NOW - S, {"a": 1.0}))
    assert history.extremes(MACHINE) == {}
    assert await known(history) == {"a": (1.0, 1.0)}


async def test_it_asks_once_a_minute_and_then_only_for_what_is_new(
    plant: Plant, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = history._clock
    assert isinstance(clock, ManualClock)
    asked: list[tuple[int, int]] = []
    real = HistorianReader.extremes

    def extremes(self: HistorianReader, machine: str, start: int, end: int) -> Any:
        asked.append((start, end))
        return real(self, machine, start, end)

    monkeypatch.setattr(HistorianReader, "extremes", extremes)
    plant.write((NOW - S, {"a": 1.0}))
    await known(history)
    first = len(asked)
    assert first >= DAY // INTERVAL
    clock.at = 30.0
    await known(history)
    assert len(asked) == first
    plant.write((NOW + 59 * S, {"a": 5.0}))
    clock.at = 61.0
    assert await known(history) == {"a": (1.0, 5.0)}
    assert len(asked) == first + 1


@pytest.mark.parametrize("folded", [True, False])
async def test_readings_that_come_late_count(plant: Plant, history: History, folded: bool) -> None:
    """A backlog drains, or a machine brings what it remembers, hours after their stretches were read."""
    clock = history._clock
    assert isinstance(clock, ManualClock)
    plant.write((AGO - 30 * INTERVAL, {"a": 5.0}), (NOW - S, {"a": 6.0}))
    assert await known(history) == {"a": (5.0, 6.0)}
    plant.write((AGO - 30 * INTERVAL + S, {"a": 9.0}), (AGO - 20 * INTERVAL, {"a": -9.0}))
    if folded:
        plant.store.fold_all()
    clock.at = 61.0
    assert await known(history) == {"a": (-9.0, 9.0)}
    plant.write((AGO - 20 * INTERVAL + S, {"a": -10.0}))
    if folded:
        plant.store.fold_all()
    clock.at = 122.0
    assert await known(history) == {"a": (-10.0, 9.0)}


async def test_only_what_came_late_is_read_again(
    plant: Plant, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = history._clock
    assert isinstance(clock, ManualClock)
    plant.write(*((AGO - i * INTERVAL, {"a": float(i)}) for i in range(100, 0, -1)))
    await known(history)
    asked: list[int] = []
    real = HistorianReader.extremes

    def extremes(self: HistorianReader, machine: str, start: int, end: int) -> Any:
        asked.append((AGO - start) // INTERVAL)
        return real(self, machine, start, end)

    monkeypatch.setattr(HistorianReader, "extremes", extremes)
    plant.write((AGO - 50 * INTERVAL + S, {"a": 1e6}))
    clock.at = 61.0
    assert await known(history) == {"a": (1.0, 1e6)}
    assert asked == [50, 1]  # and the end of the day, as ever


async def test_another_historian_is_read_from_its_beginning(plant: Plant, tmp_path: Path) -> None:
    other = Plant(tmp_path / "other.sqlite")
    paths, clock = [other.path, plant.path], ManualClock()
    history = History(lambda: paths[-1], clock)
    try:
        plant.write((AGO - 30 * INTERVAL, {"a": 5.0}))
        other.write((AGO - 40 * INTERVAL, {"a": 50.0}))
        assert await known(history) == {"a": (5.0, 5.0)}
        paths.pop()
        clock.at = 61.0
        assert await known(history) == {"a": (50.0, 50.0)}
    finally:
        history.close()
        other.store.close()


async def test_what_is_older_than_a_day_is_forgotten(plant: Plant, history: History) -> None:
    clock = history._clock
    assert isinstance(clock, ManualClock)
    plant.write((NOW - S, {"a": 100.0}))
    assert await known(history) == {"a": (100.0, 100.0)}
    clock.at = 90_000.0
    plant.write((NOW + 89_999 * S, {"a": 1.0}))
    assert await known(history) == {"a": (1.0, 1.0)}


async def test_nothing_is_asked_while_nobody_looks(plant: Plant, history: History) -> None:
    clock = history._clock
    assert isinstance(clock, ManualClock)
    plant.write((NOW - S, {"a": 1.0}))
    await known(history)
    clock.at = 3600.0
    await asyncio.sleep(0)
    assert history._days[MACHINE].task is None
    history.extremes("acme/other")
    assert MACHINE not in history._days  # nobody has looked for long


async def test_the_extremes_are_those_of_the_points(plant: Plant, history: History) -> None:
    """Of readings that lie anywhere, folded and not, late ones too: the same as by asking for all of them."""
    values = [((i * 7919) % 86_000, float((i * 104_729) % 1000) - 500.0) for i in range(400)]
    for i in range(0, 400, 40):
        plant.write(
            *((NOW - ago * S, {"a": value}) for ago, value in sorted(values[i : i + 40], reverse=True)), tidy=i < 320
        )
    points = await history.points(MACHINE, "a", NOW - DAY, NOW, 5000)
    assert len(points) == len({ago for ago, _ in values})
    lows = [value for _, value in values]
    assert await known(history) == {"a": (min(lows), max(lows))}
