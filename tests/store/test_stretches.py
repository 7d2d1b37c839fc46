"""What the historian says it has stored: stretches of messages with their readings, from when to when."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StoreError
from gateway.mqtt.payload import Loss
from gateway.store import stretches as stretches_module
from gateway.store.contract import Lost, Readings, Stretch
from gateway.store.fold import INTERVAL
from gateway.store.historian import Historian
from gateway.store.stretches import BLOCK
from store.material import SECOND, T0, HandClock, readings, simple

EVER = 2**62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "historian.sqlite"


def stretches(path: Path, since: int | None = None) -> list[Stretch]:
    with closing(Historian.open_read_only(path)) as reader:
        return reader.stretches(since)


def rows(path: Path) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT first, last, readings FROM stretch ORDER BY epoch, first").fetchall()


def stretch(first: int, last: int, readings: int | None = None, epoch: str = "e1", **times: int) -> Stretch:
    """Of `simple` messages, one reading each."""
    count = last - first + 1 if readings is None else readings
    return Stretch(
        "edge-01",
        epoch,
        first,
        last,
        count,
        times.get("start", T0 + first * SECOND),
        times.get("end", T0 + last * SECOND),
    )


def loss(seq: int, first: int = 0, last: int = 0, **more: Any) -> Lost:
    at = more.pop("at", T0)
    return Lost("edge-01", seq, Loss(more.pop("epoch", "e1"), first, last, 7, at, at, "queue overflow", **more))


# --- counting --------------------------------------------------------------------------------------------------------


def test_messages_side_by_side_are_one_stretch_and_two_that_meet_become_one(path: Path) -> None:
    with closing(Historian(path)) as historian:
        for seqs, expected in (
            ([1, 2, 3], [(1, 3)]),
            ([7, 8], [(1, 3), (7, 8)]),
            ([6], [(1, 3), (6, 8)]),
            ([4, 10], [(1, 4), (6, 8), (10, 10)]),
            ([5], [(1, 8), (10, 10)]),
            ([5, 1, 8], [(1, 8), (10, 10)]),  # twice
            ([9], [(1, 10)]),
        ):
            historian.write([simple(seq) for seq in seqs])
            assert stretches(path) == [stretch(*each) for each in expected]
            assert len(rows(path)) == len(expected)


numbers = st.one_of(st.integers(1, 40), st.integers(BLOCK - 6, BLOCK + 6), st.just(3 * BLOCK))
steps = st.lists(
    st.one_of(st.lists(st.tuples(numbers, st.sampled_from(["e1", "e2"]), st.booleans()), min_size=1, max_size=12),
              st.sampled_from(["restart", "fold", "fail"])),
    max_size=15,
)  # fmt: skip


def entry(seq: int, epoch: str, is_loss: bool) -> Readings | Lost:
    if is_loss:
        return loss(seq, epoch=epoch)
    values: dict[str, Any] = {f"s{i}": 1.5 for i in range(seq % 4)}
    return readings(seq, [(T0 + (seq * 7919 % 1000) * SECOND, values, {})], epoch=epoch)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_the_sum_is_right_whatever_comes_in_whatever_order(steps: list[Any]) -> None:
    """Against the simplest bookkeeping there is: one line for each identity, the first of its kind."""
    book: dict[tuple[str, int], Readings | Lost] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "historian.sqlite"
        historian = Historian(path, clock=HandClock())
        for step in steps:
            if step == "restart":
                historian.close()
                historian = Historian(path, clock=HandClock())
            elif step == "fold":
                historian.fold_all()
            elif step == "fail":
                with pytest.raises(OverflowError):
                    historian.write([simple(39), simple(41), loss(42, last=2**70)])
            else:
                historian.write([entry(*each) for each in step])
                for seq, epoch, is_loss in step:
                    book.setdefault((epoch, seq), entry(seq, epoch, is_loss))
        found = stretches(path)
        assert {(s.epoch, seq) for s in found for seq in range(s.first, s.last + 1)} == book.keys()
        assert sum(s.last - s.first + 1 for s in found) == len(book)
        assert not any((s.epoch, s.last + 1) in book for s in found)  # as long as can be
        for s in found:
            inside = [book[s.epoch, seq] for seq in range(s.first, s.last + 1)]
            counted = [e for e in inside if isinstance(e, Readings) and e.count]
            assert s.readings == sum(e.count for e in counted)
            if counted:
                times = [e.data.frames[0].time for e in counted]
                assert (s.start, s.end) == (min(times), max(times))
        historian.close()
        assert all(first // BLOCK == last // BLOCK for first, last, _ in rows(path))


def test_readings_are_counted_as_they_are_read(path: Path) -> None:
    with closing(Historian(path)) as historian:
        frames: list[Any] = [
            (T0 + SECOND, {"a": 1.0, "b": 2}, {"b": 0x40000000, "c": 0x80000000}),  # three: b is uncertain, c is bad
            (T0, {"a": 2.0}, {}),
        ]
        historian.write([readings(1, frames)])
        assert stretches(path) == [stretch(1, 1, 4, start=T0, end=T0 + SECOND)]


def test_rows_stay_few_and_since_cuts_at_them(path: Path) -> None:
    with closing(Historian(path)) as historian:
        for begin in range(1, 3 * BLOCK, 512):
            historian.write([simple(seq) for seq in range(begin, min(begin + 512, 3 * BLOCK))])
        assert rows(path) == [(1, 4095, 4095), (4096, 8191, 4096), (8192, 12287, 4096)]
        assert stretches(path) == [stretch(1, 12287)]
        assert stretches(path, since=T0 + 8191 * SECOND) == [stretch(4096, 12287)]
        assert stretches(path, since=T0 + 12287 * SECOND) == [stretch(8192, 12287)]
        assert stretches(path, since=T0 + 12288 * SECOND) == []


def test_epochs_come_in_the_order_in_which_they_were_first_seen(path: Path) -> None:
    with closing(Historian(path)) as historian:
        for epoch, seqs in (("z", [5]), ("a", [1]), ("m", [1]), ("z", [1, 2]), ("a", [2])):
            historian.write([simple(seq, epoch=epoch) for seq in seqs])
        assert [(s.epoch, s.first, s.last) for s in stretches(path)] == [
            ("z", 1, 2),
            ("z", 5, 5),
            ("a", 1, 2),
            ("m", 1, 1),
        ]


def test_more_gaps_than_are_told_to_anybody_are_still_counted_once(path: Path) -> None:
    """Of ranges only the newest thousand are kept; a message from before them that comes again is known all the same."""
    with closing(Historian(path)) as historian:
        batch = [simple(seq) for seq in range(1, 2401, 2)]
        for _ in range(2):
            historian.write(batch)
            assert len(historian.stored()["edge-01", "e1"]) == 1000
            assert sum(s.readings or 0 for s in stretches(path)) == len(stretches(path)) == 1200
        assert historian._db.execute("SELECT count(*) FROM message").fetchone() == (1200,)


# --- losses ----------------------------------------------------------------------------------------------------------


def test_a_loss_record_is_a_message_without_readings(path: Path) -> None:
    clock = HandClock(T0 + 500 * SECOND)
    with closing(Historian(path, clock=clock)) as historian:
        historian.write([simple(1), loss(2, at=T0 - 10**6 * SECOND), simple(3), loss(9)])
        alone = stretch(9, 9, 0, start=clock.time, end=clock.time)  # it has no reading: when it was stored
        assert stretches(path) == [stretch(1, 3, 2), alone]
        historian.write([simple(10)])
        assert stretches(path) == [stretch(1, 3, 2), stretch(9, 10, 1, start=T0 + 10 * SECOND)]


def test_losses_of_what_never_had_a_message_are_kept_each_and_once(path: Path) -> None:
    several = [
        loss(2, machine="press-07", signal="temp"),
        loss(3, machine="press-07", signal="temp"),  # the same words, another record
        loss(4, machine="press-07"),
        loss(2, epoch="e2", machine="press-07", signal="temp"),  # the same seq of another epoch
        Lost("edge-02", 2, Loss("e1", 0, 0, 7, T0, T0, "queue overflow")),
    ]
    with closing(Historian(path)) as historian:
        for _ in range(2):
            historian.write(several)
        historian.write([several[0], several[0]])
        with closing(Historian.open_read_only(path)) as reader:
            found = reader.losses(0, EVER)
            assert sorted(found, key=repr) == sorted(several, key=repr)
            assert sum(lost.loss.count for lost in found) == 5 * 7
        assert [(s.gateway, s.epoch, s.first, s.last, s.readings) for s in stretches(path)] == [
            ("edge-01", "e1", 2, 4, 0), ("edge-01", "e2", 2, 2, 0), ("edge-02", "e1", 2, 2, 0),
        ]  # fmt: skip


def test_a_loss_record_may_be_about_an_epoch_before_its_own(path: Path) -> None:
    about_old = Lost("edge-01", 3, Loss("e1", 3, 8, 60, T0, T0, "buffer full"), epoch="e2")
    with closing(Historian(path)) as historian:
        historian.write([simple(1), simple(2), about_old, about_old])
        assert historian.stored() == {("edge-01", "e1"): [(1, 2)], ("edge-01", "e2"): [(3, 3)]}
        historian.write([simple(3)])  # not mistaken for the record
        assert [(s.epoch, s.first, s.last, s.readings) for s in stretches(path)] == [("e1", 1, 3, 3), ("e2", 3, 3, 0)]
        with closing(Historian.open_read_only(path)) as reader:
            assert reader.losses(0, EVER) == [about_old]


# --- retention -------------------------------------------------------------------------------------------------------


def test_retention_forgets_stretches_but_not_what_is_stored(path: Path) -> None:
    clock = HandClock(T0)
    day = 86400 * SECOND
    with closing(Historian(path, retention=86400, clock=clock)) as historian:
        historian.write([simple(seq) for seq in (1, 2, 3)])
        historian.write([simple(4096, at=T0 + day), simple(5, at=T0 + day)])
        historian.fold_all()
        clock.time = T0 + day + 2 * INTERVAL
        while historian.tidy():
            pass
        left = [stretch(5, 5, start=T0 + day, end=T0 + day), stretch(4096, 4096, start=T0 + day, end=T0 + day)]
        assert stretches(path) == left
        assert historian.stored() == {("edge-01", "e1"): [(1, 3), (5, 5), (4096, 4096)]}
        historian.write([simple(2)])  # comes again, and is not new
        assert stretches(path) == left
        historian.write([simple(4, at=T0 + day)])
        assert stretches(path) == [stretch(4, 5, start=T0 + day, end=T0 + day), left[1]]


# --- a file of before ------------------------------------------------------------------------------------------------


BACK_TO_1 = "DROP TABLE stretch; ALTER TABLE loss DROP COLUMN of; PRAGMA user_version=1;"


def of_version_1(path: Path) -> None:
    """A file as it was before stretches were counted: two epochs, folded and not."""
    with closing(Historian(path)) as historian:
        for begin in range(1, 9001, 500):
            historian.write([simple(seq) for seq in range(begin, begin + 500)])
        historian.fold_all()
        historian.write([simple(9005), simple(3, epoch="e2"), loss(4, epoch="e2")])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BACK_TO_1)


START, END = T0, T0 + 9005 * SECOND  # of what it has: folded readings are known to their interval
BEFORE = [
    Stretch("edge-01", "e1", 1, 9000, None, START, END),
    Stretch("edge-01", "e1", 9005, 9005, None, START, END),
    Stretch("edge-01", "e2", 3, 4, None, START, END),
]


def bounded(found: list[Stretch]) -> list[Stretch]:
    """All of them within the same times, not far beyond those of the readings."""
    (times,) = {(s.start, s.end) for s in found}
    assert START - INTERVAL <= times[0] <= START
    assert END <= times[1] <= END + INTERVAL
    return [Stretch(s.gateway, s.epoch, s.first, s.last, s.readings, START, END) for s in found]


def test_a_file_of_version_1_is_read_as_it_is(path: Path) -> None:
    of_version_1(path)
    assert bounded(stretches(path)) == BEFORE
    assert bounded(stretches(path, since=END)) == BEFORE
    assert stretches(path, since=END + INTERVAL) == []
    with closing(Historian.open_read_only(path)) as reader:
        assert len(reader.query("press-07", "temp", 0, EVER)) == 9001
        assert len(reader.losses(0, EVER)) == 1
        Historian(path).close()  # migrates it while it is being read
        assert bounded(reader.stretches()) == BEFORE


def test_a_file_of_version_1_is_migrated_by_the_writer(path: Path) -> None:
    of_version_1(path)
    with closing(Historian(path)) as historian:
        assert historian._db.execute("PRAGMA user_version").fetchone() == (2,)
        assert bounded(stretches(path)) == BEFORE
        assert all(first // BLOCK == last // BLOCK for first, last, _ in rows(path))
        historian.write([simple(seq) for seq in (9000, 9001, 9005, 9006)])
    Historian(path).close()
    found = stretches(path)
    # What is counted stands beside what is not; nothing is guessed.
    assert [(s.first, s.last, s.readings) for s in found] == [
        (1, 9000, None), (9001, 9001, 1), (9005, 9005, None), (9006, 9006, 1), (3, 4, None),
    ]  # fmt: skip


def test_an_empty_file_of_version_1(path: Path) -> None:
    Historian(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BACK_TO_1)
    assert stretches(path) == []
    Historian(path).close()
    assert stretches(path) == []


def test_a_migration_that_fails_changes_nothing_and_is_done_later(path: Path, monkeypatch: Any) -> None:
    of_version_1(path)
    before = path.read_bytes()
    real, calls = stretches_module._cut, Counter[str]()

    def failing(first: int, last: int) -> Any:
        for piece in real(first, last):
            calls["n"] += 1
            if calls["n"] == 3:
                raise sqlite3.OperationalError("disk I/O error")
            yield piece

    monkeypatch.setattr(stretches_module, "_cut", failing)
    with pytest.raises(StoreError, match="disk I/O error"):
        Historian(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert bounded(stretches(path)) == BEFORE  # still of version 1
    Historian(path).close()
    assert bounded(stretches(path)) == BEFORE
    assert len(rows(path)) == 5


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from gateway.store import stretches
from gateway.store.historian import Historian

real, calls = stretches._cut, 0
def dying(first, last):
    global calls
    for piece in real(first, last):
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield piece
stretches._cut = dying
Historian(Path(sys.argv[1]))
"""


def test_a_process_killed_while_it_migrates(path: Path) -> None:
    of_version_1(path)
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), *folders], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert bounded(stretches(path)) == BEFORE
    with closing(Historian(path)) as historian:
        assert historian._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert bounded(stretches(path)) == BEFORE
        historian.write([simple(9001)])
    assert (9001, 9001, 1) in rows(path)
    assert len(rows(path)) == 6
