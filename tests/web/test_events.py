"""What becomes an event, and the file that keeps events over a restart."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Step
from gateway.events import KEPT, Event, Events
from gateway.faults import Reason
from gateway.mqtt.payload import Loss
from gateway.runtime import happenings
from gateway.runtime.happenings import EventFile, Happenings, kept, read_events
from gateway.web.views.strips import strips
from web.plant import NOW, ManualClock, S, Used, empty_board


def told(events: Events) -> list[tuple[str, str, str, str]]:
    return [(e.kind, e.machine, e.state, e.fault) for e in events]


# --- what becomes an event -------------------------------------------------------------------------------------------


def test_one_event_for_each_change_of_state() -> None:
    noted, clock = Events(), ManualClock()
    happen = Happenings(noted, clock)
    for state, reason in [
        ("offline", "connecting"), ("offline", Reason("refused", "connection-refused")), ("offline", "no route"),
        ("online", ""), ("online", ""), ("degraded", "1 of 5"), ("degraded", "2 of 5"), ("online", ""),
    ]:  # fmt: skip
        happen.state("machine", state, NOW, reason, machine="press-07")
    happen.state("machine", "online", NOW, "", machine="pump-04")
    assert told(noted) == [
        ("machine", "press-07", "offline", "connection-refused"), ("machine", "press-07", "online", ""),
        ("machine", "press-07", "degraded", ""), ("machine", "press-07", "online", ""), ("machine", "pump-04", "online", ""),
    ]  # fmt: skip


def test_the_time_is_that_since_when_it_is_so() -> None:
    noted = Events()
    Happenings(noted, ManualClock()).state("machine", "online", NOW - 5 * S, "", machine="m")
    assert next(iter(noted)).time == NOW - 5 * S


def test_broker_store_and_disk_are_told_once_a_change() -> None:
    noted, board, used = Events(), empty_board(), Used()
    board.usage = lambda: used
    happen = Happenings(noted, ManualClock())
    for _ in range(100):
        happen.look(board)
    assert told(noted) == []
    board.broker.set("online", NOW)
    board.store.set("offline", NOW, Reason("silent for 12 s", "store-silent"))
    used.trouble = "No space left on device"
    for second in range(100):
        board.store.set("offline", NOW, Reason(f"silent for {second} s", "store-silent"))
        happen.look(board)
    used.trouble = ""
    board.broker.set("offline", NOW, "gone")
    for _ in range(100):
        happen.look(board)
    assert [(kind, state, fault) for kind, _, state, fault in told(noted)] == [
        ("broker", "online", ""), ("store", "offline", "store-silent"), ("buffer", "trouble", ""),
        ("broker", "offline", ""), ("buffer", "well", ""),
    ]  # fmt: skip


def test_losses_of_a_kind_are_one_event_a_minute() -> None:
    noted, clock = Events(), ManualClock()
    happen = Happenings(noted, clock)
    for second in range(121):
        clock.at = float(second)
        happen.lost(Loss("e", 1, 1, 5, NOW, NOW, "buffer-full", "press-07"))
    happen.lost(Loss("e", 0, 0, 0, NOW, NOW, "machine: overflow", "pump-04", "flow"))
    happen.lost(Loss("e", 0, 0, 0, NOW, NOW, "clock: set back"))  # an event of its own, from the clock
    assert [(e.machine, e.text) for e in noted] == [
        ("press-07", "5 readings lost: buffer-full"), ("press-07", "300 readings lost: buffer-full"),
        ("press-07", "300 readings lost: buffer-full"),
        ("pump-04", "flow: an unknown number of readings lost: machine: overflow".replace("flow", "pump-04/flow", 1)),
    ]  # fmt: skip
    assert all(e.fault for e in noted)


def lose(happen: Happenings, machine: str, count: int, signal: str = "", cause: str = "buffer-full") -> None:
    happen.lost(Loss("e", 1, 1, count, NOW, NOW, cause, machine, signal))


def test_what_has_added_up_is_told_though_no_more_is_lost() -> None:
    noted, clock = Events(), ManualClock()
    happen = Happenings(noted, clock)
    for second, count in ((0.0, 5), (10.0, 7), (20.0, 11)):
        clock.at = second
        lose(happen, "press-07", count)
    lose(happen, "pump-04", 1, "flow")
    for second in (30.0, 59.0, 60.0, 61.0, 119.0, 121.0, 500.0):
        clock.at = second
        happen.look(empty_board())
    assert [(e.time, e.text) for e in noted] == [
        (NOW, "5 readings lost: buffer-full"), (NOW + 20 * S, "pump-04/flow: 1 readings lost: buffer-full"),
        (NOW + 60 * S, "18 readings lost: buffer-full"),
    ]  # fmt: skip
    assert happen._losses == {}
    lose(happen, "press-07", 2)
    lose(happen, "press-07", 3, "melt_temp")
    lose(happen, "press-07", 4, "pressure")
    happen.tell_losses(at_the_end=True)
    assert [e.text for e in noted][3:] == ["2 readings lost: buffer-full", "7 readings lost: buffer-full"]


def test_one_event_a_minute_also_after_a_pause() -> None:
    noted, clock = Events(), ManualClock()
    happen = Happenings(noted, clock)
    for second in range(1200):
        clock.at = second / 10
        if second % 7 == 0:
            lose(happen, "press-07", 1)
        happen.look(empty_board())
    # One at once, then what has added up at 60 s: 1/0.7 s, the first apart.
    assert [e.text.split()[0] for e in noted] == ["1", str(len(range(7, 601, 7)))]


def test_no_count_is_forgotten_however_many_machines_lose() -> None:
    noted = list[Event]()
    happen = Happenings(Events([noted.append]), ManualClock())
    for i in range(happenings.LOSING + 500):
        lose(happen, f"m{i}", 1)
        lose(happen, f"m{i}", 2)
    assert len(happen._losses) <= happenings.LOSING
    happen.tell_losses(at_the_end=True)
    told = dict.fromkeys((e.machine for e in noted), 0)
    for each in noted:
        told[each.machine] += int(each.text.split()[0])
    assert set(told.values()) == {3}
    assert len(told) == happenings.LOSING + 500


def test_what_a_dropped_loss_record_had_told_is_not_told_twice() -> None:
    noted, clock = Events(), ManualClock()
    happen = Happenings(noted, clock)
    lose(happen, "press-07", 100)
    clock.at = 61.0
    happen.lost(Loss("e", 1, 3, 105, NOW, NOW, "buffer-full", "press-07", again=100))
    assert [e.text.split()[0] for e in noted] == ["100", "5"]


def test_a_step_of_the_clock() -> None:
    noted = Events()
    Happenings(noted, ManualClock()).step(Step(NOW, NOW - 3600 * S, "the clock was set back by 3600.0 s"))
    (event,) = noted
    assert (event.kind, event.state) == ("clock", "set")
    assert event.text.endswith("(-3600.000 s)")


def test_a_machine_that_is_forgotten_begins_anew() -> None:
    noted = Events()
    happen = Happenings(noted, ManualClock())
    happen.state("machine", "online", NOW, "", machine="m")
    happen.forget("m")
    happen.state("machine", "online", NOW, "", machine="m")
    assert len(noted) == 2


def test_logins_push_out_no_machine() -> None:
    noted = Events()
    for i in range(5):
        noted.add(Event(i, "machine", f"m{i}", "offline"))
        noted.add(Event(i, "access", f"u{i}", "logged-in"))
    assert [e.machine for e in noted] == ["m0", "u0", "m1", "u1", "m2", "u2", "m3", "u3", "m4", "u4"]  # as they came
    assert [e.machine for e in noted.newest(3)] == ["u4", "m4", "u3"]
    for i in range(5 * KEPT):
        noted.add(Event(i, "access", "victor", "logged-in"))
    assert [e.machine for e in noted if e.kind == "machine"] == ["m0", "m1", "m2", "m3", "m4"]
    assert len(noted) <= KEPT
    noted.recall([Event(0, "machine", "before", "online"), *[Event(0, "access", "u", "")] * 5000])
    assert next(iter(noted)).machine == "before"
    assert noted.newest(1)[0].machine == "victor"


async def test_logins_push_out_no_machine_of_the_file(tmp_path: Path) -> None:
    """Neither at once nor over restarts: they have a quarter of it."""
    path = tmp_path / "events.jsonl"
    for start in range(3):
        noted = Events()
        file = EventFile(path, noted, max_bytes=40_000)
        file.recall()
        file.start()
        noted.add(Event(NOW, "machine", f"press-{start}", "offline"))
        for _ in range(400):
            noted.add(Event(NOW, "access", "victor", "logged-in", text="victor logged in"))
        await file.stop()
    kept_now = list(read_events(path))
    assert [e.machine for e in kept_now if e.kind == "machine"] == ["press-0", "press-1", "press-2"]
    assert sum(e.kind == "access" for e in kept_now) > 50
    assert path.stat().st_size < 20_000


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happenings, "PAUSE", 0.01)


def event(i: int, text: str = "") -> Event:
    return Event(NOW + i, "machine", f"m{i}", "online", "", text)


async def test_events_outlive_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "data" / "events.jsonl", ManualClock()
    first = Events()
    async with kept(path, first, clock, "1.2.3"):
        first.add(event(1, "máy ép\n\0\u202e"))
        first.add(event(2, "half a pair: \ud800"))
    second = Events()
    async with kept(path, second, clock, "1.2.4"):
        second.add(event(3))
    assert [(e.kind, e.machine, e.state, e.text) for e in second] == [
        ("gateway", "", "started", "version 1.2.3"), ("machine", "m1", "online", "máy ép\n\0\u202e"),
        ("machine", "m2", "online", "half a pair: ?"), ("gateway", "", "stopped", "the gateway was stopped"),
        ("gateway", "", "started", "version 1.2.4"), ("machine", "m3", "online", ""),
        ("gateway", "", "stopped", "the gateway was stopped"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600


async def test_after_a_power_cut_it_ended_with_the_last_sign_of_life(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events()
    file = EventFile(path, events)
    file.start()
    events.add(event(1))
    await file.stop()
    again = Events()
    EventFile(path, again).recall(NOW + 60 * S)
    assert [(e.kind, e.state, e.time) for e in again] == [
        ("machine", "online", NOW + 1), ("gateway", "stopped", NOW + 60 * S),
    ]  # fmt: skip
    EventFile(path, late := Events()).recall(0)
    assert [e.time for e in late] == [NOW + 1, NOW + 1]
    async with kept(path, Events(), ManualClock(), "1", NOW + 60 * S):
        pass
    assert [e.state for e in read_events(path)] == ["online", "stopped", "started", "stopped"]


async def test_what_happens_is_in_the_file_soon(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    file = EventFile(path, events)
    file.start()
    for i in range(50):
        events.add(event(i))
    async with asyncio.timeout(10):
        while len(list(read_events(path))) < 50:
            await asyncio.sleep(0.01)
    await file.stop()
    await file.stop()
    assert events.listeners == []


@pytest.mark.parametrize(
    "line",
    [
        b"", b"nonsense", b"{", b"[]", b"null", b"1", b'"text"', b"\xff\xfe", b"\0" * 100,
        b'{"t":1,"kind":"machine","machine":"m","state":"online","fault":"","text":""}',  # 1970
        b'{"t":"1790000000000000000","kind":"machine","machine":"m","state":"online","fault":"","text":""}',
        b'{"t":1.79e18,"kind":"machine","machine":"m","state":"online","fault":"","text":""}',
        b'{"t":true,"kind":"machine","machine":"m","state":"online","fault":"","text":""}',
        b'{"t":1790000000000000000,"kind":"other","machine":"m","state":"online","fault":"","text":""}',
        b'{"t":1790000000000000000,"kind":["machine"],"machine":"m","state":"online","fault":"","text":""}',
        b'{"t":1790000000000000000,"kind":"machine","machine":1,"state":"online","fault":"","text":""}',
        b'{"t":1790000000000000000,"kind":"machine","machine":"m","state":"online","fault":""}',
        b'{"t":1790000000000000000,"kind":"machine","machine":"m","state":"online","fault":"","text":"' + b"x" * 9000 + b'"}',
        b'{"t":179000000000000000000000000,"kind":"machine","machine":"m","state":"online","fault":"","text":""}',
        b"[" * 3000,
    ],
)  # fmt: skip
async def test_a_damaged_line_is_skipped(tmp_path: Path, line: bytes) -> None:
    path, good = tmp_path / "events.jsonl", happenings._line(event(1))
    path.write_bytes(good + line + b"\n" + good)
    assert [e.machine for e in read_events(path)] == ["m1", "m1"]


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=150)
def test_whatever_the_file_holds(garbage: bytes, cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        whole = b"".join(happenings._line(event(i)) for i in range(3))
        path.write_bytes(whole[:cut] + garbage)
        for found in read_events(path):
            assert found.kind


async def test_half_a_line_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    path.write_bytes(happenings._line(event(1)) + b'{"t": 17900000')
    file = EventFile(path, events)
    file.start()
    events.add(event(2))
    await file.stop()
    assert [e.machine for e in read_events(path)] == ["m1", "m2"]


async def test_it_is_bounded(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    file = EventFile(path, events, max_bytes=20_000)
    file.start()
    for i in range(40):
        for j in range(10):
            events.add(event(10 * i + j, "x" * 100))
        await file._flush()
    await file.stop()
    sizes = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    assert set(sizes) == {"events.jsonl", "events.jsonl.1"}
    assert all(size <= 20_000 for size in sizes.values())
    found = [e.machine for e in read_events(path)]
    assert found[-1] == "m399"
    assert found == [f"m{i}" for i in range(400 - len(found), 400)]  # the newest, without a gap


async def test_a_machine_that_flaps_does_not_push_the_others_out_of_the_file(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    file = EventFile(path, events, max_bytes=20_000)
    file.start()
    events.add(Event(NOW - S, "gateway", "", "started"))
    for i in range(20):
        events.add(Event(NOW + i, "machine", f"steady-{i}", "online"))
    for i in range(1000):
        events.add(Event(NOW + S + i, "machine", "flaps", ("offline", "online")[i % 2], "", "x" * 50))
        if i % 10 == 0:
            await file._flush()
    await file.stop()
    assert all(each.stat().st_size <= 20_000 for each in tmp_path.iterdir())
    found = list(read_events(path))
    assert not [e for e in found if e.kind == "gateway"]  # it has left
    assert [e.machine for e in found if e.machine != "flaps"] == [f"steady-{i}" for i in range(20)]
    assert [e.time for e in found] == sorted({e.time for e in found}), "in order, and none twice"
    EventFile(path, again := Events()).recall(NOW + 2 * S)
    made = strips(again.changes(), ["steady-7", "flaps"], NOW + S // 2, NOW + 3 * S)["machines"]
    assert [state for _, state in made["steady-7"]] == ["online", "unknown"]  # until it ended


async def test_how_machines_stood_does_not_outlive_an_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = EventFile(path, Events(), max_bytes=20_000)
    first = [Event(NOW, "machine", "gone", "online"), Event(NOW + 1, "gateway", "", "stopped")]
    for events in (first, *([event(2 + j, "x" * 100) for j in range(50)] for _ in range(20))):
        assert not file._write(events)
    assert "gone" not in {e.machine for e in read_events(path)}


async def test_an_error_nobody_thought_of_does_not_end_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    file, real = EventFile(path, events), EventFile._write

    def write(self: EventFile, those: list[Event]) -> str:
        if any(each.machine == "m1" for each in those):
            raise RuntimeError("nobody thought of this")
        return real(self, those)

    monkeypatch.setattr(EventFile, "_write", write)
    file.start()
    events.add(event(1))
    async with asyncio.timeout(10):
        while not file.trouble:
            await asyncio.sleep(0.01)
        events.add(event(2))
        while file.trouble:
            await asyncio.sleep(0.01)
    await file.stop()
    assert [e.machine for e in read_events(path)] == ["m2"]
    assert "nobody thought of this" in caplog.text


async def test_more_than_memory_keeps_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(happenings._line(event(i)) for i in range(KEPT + 500)))
    EventFile(path, events := Events()).recall()
    assert len(events) == KEPT


async def test_a_very_long_text_is_cut(tmp_path: Path) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    file = EventFile(path, events)
    file.start()
    events.add(event(1, "é" * 100_000))
    events.add(event(2, "\0" * 100_000))
    await file.stop()
    assert all(len(line) <= happenings.MAX_LINE for line in path.read_bytes().split(b"\n"))
    assert [e.machine for e in read_events(path)] == ["m1", "m2"]


async def test_a_disk_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "events.jsonl", Events()
    real, full = os.write, True

    def write(file: int, data: bytes) -> int:
        if full and Path(f"/proc/self/fd/{file}").readlink().is_relative_to(tmp_path):
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    file = EventFile(path, events)
    file.start()
    with caplog.at_level(logging.INFO):
        for i in range(5):
            events.add(event(i))
            await file._flush()
        assert file.trouble == "No space left on device"
        full = False
        events.add(event(9))
        await file.stop()
    assert file.trouble == ""
    said = [record.getMessage() for record in caplog.records if "events" in record.getMessage()]
    assert said == [
        f"{path}: events are not kept over a restart: No space left on device", f"{path}: events are kept again",
    ]  # fmt: skip
    assert [e.machine for e in read_events(path)] == ["m9"]
    assert len(events) == 6  # nothing was lost but the file


@pytest.mark.parametrize("what", ["folder", "fifo", "link", "no folder"])
async def test_what_is_no_file_is_neither_read_nor_written(tmp_path: Path, what: str) -> None:
    path = tmp_path / "events.jsonl"
    secret = tmp_path / "secret"
    secret.write_bytes(happenings._line(event(7)))
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "link":
        path.symlink_to(secret)
    else:
        (tmp_path / "flat").write_text("")
        path = tmp_path / "flat" / "events.jsonl"
    before = secret.read_bytes()
    async with asyncio.timeout(10), kept(path, events := Events(), ManualClock(), "1"):
        events.add(event(1))
    assert [e.machine for e in events if e.kind == "machine"] == ["m1"]
    assert secret.read_bytes() == before


def test_a_line_is_json_of_its_own() -> None:
    line = happenings._line(event(1, "a\nb"))
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["text"] == "a\nb"
