"""The embedded historian: what is written comes back, whatever happens in between."""

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StoreError
from gateway.model import BAD, NO_COMMUNICATION, OUT_OF_RANGE, MachinePath
from gateway.mqtt.payload import Loss, Meta
from gateway.store import historian as historian_module
from gateway.store.contract import Columns, Lost, Readings
from gateway.store.fold import INTERVAL
from gateway.store.historian import Historian
from store.material import PRESS, SECOND, T0, HandClock, Reading, readings, simple

TEMP, COUNT, ALARM, MODE = "temp", "count", "alarm", "mode"
EVER = 2**62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "historian.sqlite"


def ask(path: Path, signal_name: str, machine: str = "press-07", **more: Any) -> Columns:
    reader = Historian.open_read_only(path)
    try:
        return reader.query(machine, signal_name, more.pop("start", 0), more.pop("end", EVER), **more)
    finally:
        reader.close()


def rows(columns: Columns) -> list[Reading]:
    return list(zip(columns.time, columns.value, columns.quality, strict=True))


# --- any order, late, twice, folded or not, restarted ----------------------------------------------------------------

good = st.fixed_dictionaries(
    {},
    optional={
        TEMP: st.floats(allow_nan=False, allow_infinity=False),
        COUNT: st.integers(-(2**63), 2**64 - 1),
        ALARM: st.booleans(),
        MODE: st.text(max_size=5),
    },
)
quality = st.dictionaries(
    st.sampled_from([TEMP, COUNT, ALARM, MODE]),
    st.sampled_from([NO_COMMUNICATION, OUT_OF_RANGE, 0x80AB0000]),
    max_size=2,
)
# Few moments on both sides of an interval's edge, so that many readings meet.
moment = st.sampled_from([0, 1, 2, 599, 600, 601, 1800]).map(lambda s: T0 + s * SECOND)
message = st.lists(st.tuples(moment, good, quality), min_size=1, max_size=4, unique_by=lambda frame: frame[0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(message, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["fold", "restart", "again"]), st.none()),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_what_is_written_comes_back_exactly(steps: list[tuple[str, Any]]) -> None:
    expected: dict[str, dict[int, Reading]] = {}
    written: list[Readings] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "historian.sqlite"
        historian = Historian(path)
        for step, messages in steps:
            if step == "write":
                batch = [readings(len(written) + i, without_bad_values(m)) for i, m in enumerate(messages, 1)]
                historian.write(batch)
                written += batch
                for entry in batch:
                    for frame in entry.data.frames:
                        for name in {*frame.values, *frame.quality}:
                            reading = frame.time, frame.values.get(name), frame.quality.get(name, 0)
                            expected.setdefault(name, {})[frame.time] = reading
            elif step == "fold":
                historian.fold_all()
            elif step == "again" and written:
                historian.write(random.Random(1).sample(written, len(written)))
            elif step == "restart":
                historian.close()
                historian = Historian(path)
        for name, by_time in expected.items():
            found = rows(ask(path, name))
            assert found == [by_time[time] for time in sorted(by_time)]
            assert [type(v) for _, v, _ in found] == [type(by_time[t][1]) for t in sorted(by_time)]
        historian.close()


def without_bad_values(frames: Any) -> Any:
    """What is bad has no value."""
    return [
        (
            at,
            {name: v for name, v in values.items() if quality.get(name, 0) < BAD},
            {n: q for n, q in quality.items() if n in values or q >= BAD},
        )
        for at, values, quality in frames
    ]


def test_two_readings_of_one_time_in_a_message_are_both_kept(path: Path) -> None:
    entry = readings(1, [(T0, {TEMP: 1.0}, {}), (T0 + 1000, {TEMP: 2.0}, {}), (T0, {TEMP: 3.0}, {})])
    historian = Historian(path)
    historian.write([entry])
    expected = [(T0, 1.0, 0), (T0 + 1, 3.0, 0), (T0 + 1000, 2.0, 0)]
    assert rows(ask(path, TEMP)) == expected
    historian.fold_all()
    assert rows(ask(path, TEMP)) == expected
    historian.close()


def test_of_readings_with_one_time_the_last_one_counts_whatever_came_with_it(path: Path) -> None:
    historian = Historian(path)
    historian.write([readings(1, [(T0, {TEMP: 0.0}, {}), (T0 + SECOND, {TEMP: 1.0}, {})])])
    historian.fold_all()
    historian.write([readings(2, [(T0, {TEMP: 10.0}, {})])])
    historian.write(
        [readings(3, [(T0 + SECOND, {TEMP: 2.0, COUNT: 1}, {})]), readings(4, [(T0 + SECOND, {TEMP: 3.0}, {})])]
    )
    for _ in range(2):
        assert rows(ask(path, TEMP)) == [(T0, 10.0, 0), (T0 + SECOND, 3.0, 0)]
        historian.fold_all()
    historian.close()


def test_a_range_has_both_its_ends(path: Path) -> None:
    historian = Historian(path)
    historian.write([readings(1, [(T0, {TEMP: 1.0}, {}), (T0 - 1000, {COUNT: 2}, {}), (T0, {TEMP: 3.0}, {})])])
    for _ in range(2):
        assert rows(ask(path, TEMP, start=T0, end=T0)) == [(T0, 1.0, 0)]
        assert rows(ask(path, TEMP, start=T0 + 1, end=T0 + 1)) == [(T0 + 1, 3.0, 0)]
        assert rows(ask(path, COUNT, start=0, end=T0 - 1000)) == [(T0 - 1000, 2, 0)]
        assert rows(ask(path, COUNT, start=0, end=T0 - 1001)) == []
        historian.fold_all()
    historian.close()


def test_a_batch_that_cannot_be_written_leaves_nothing_behind(path: Path) -> None:
    historian = Historian(path)
    too_large = Lost("edge-01", 2, Loss("e1", 1, 1, 2**70, T0, T0, "made up"))
    with pytest.raises(OverflowError):
        historian.write([simple(1), too_large])
    assert historian.stored() == {}
    historian.write([simple(1)])
    assert len(ask(path, TEMP)) == 1
    assert historian.stored() == {("edge-01", "e1"): [(1, 1)]}
    historian.close()


def test_without_identities_a_message_is_kept_twice_but_a_reading_is_not(path: Path, monkeypatch: Any) -> None:
    """Negative control of "written twice changes nothing": the rows do double."""
    with_identities, without = [], []
    for rows_found, protected in ((with_identities, True), (without, False)):
        target = path.with_name(f"{protected}.sqlite")
        historian = Historian(target)
        if not protected:
            monkeypatch.setattr(historian, "_is_new", lambda *_: True)
        for _ in range(2):
            historian.write([simple(1)])
        historian.close()
        db = sqlite3.connect(target)
        rows_found.append(db.execute("SELECT count(*) FROM message").fetchone()[0])
        db.close()
        assert len(ask(target, TEMP)) == 1
    assert (with_identities, without) == ([1], [2])


# --- folding, retention ----------------------------------------------------------------------------------------------


def count(path: Path, table: str) -> int:
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        db.close()


def test_messages_are_folded_when_their_interval_is_over(path: Path) -> None:
    clock = HandClock()
    historian = Historian(path, clock=clock)
    historian.write([simple(seq) for seq in range(1, 101)])
    clock.time = T0 + INTERVAL + 10 * SECOND
    assert not historian.tidy()
    assert (count(path, "message"), count(path, "segment")) == (100, 0)  # a grace for what is late
    clock.time = T0 + INTERVAL + 31 * SECOND
    historian.write([simple(700)])  # belongs to the interval that runs
    while historian.tidy():
        pass
    assert (count(path, "message"), count(path, "segment"), count(path, "chunk")) == (1, 1, 1)
    assert len(ask(path, TEMP)) == 101
    historian.close()


def test_what_comes_from_the_future_is_folded_an_interval_later(path: Path) -> None:
    clock = HandClock()
    historian = Historian(path, clock=clock)
    historian.write([simple(1, at=T0 + 365 * 86400 * SECOND)])
    for _ in range(2):
        clock.time += INTERVAL + 31 * SECOND
        while historian.tidy():
            pass
    assert (count(path, "message"), count(path, "chunk")) == (0, 1)
    historian.close()


def test_a_backlog_is_folded_before_its_interval_is_over(path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(historian_module, "BACKLOG", 2000)
    monkeypatch.setattr(historian_module, "PIECE", 1000)
    historian = Historian(path, clock=HandClock())
    historian.write([simple(seq) for seq in range(1, 101)])
    pieces = 0
    while historian.tidy():
        pieces += 1
    assert pieces > 5  # each of bounded size
    assert count(path, "message") == 0
    assert len(ask(path, TEMP)) == 100
    historian.close()


def test_what_is_older_than_the_retention_is_forgotten(path: Path) -> None:
    clock = HandClock()
    historian = Historian(path, retention=86400, clock=clock)
    loss = Loss("e1", 5, 6, 10, T0, T0 + SECOND, "buffer full")
    gap = Loss("e1", 0, 0, 10, T0, T0 + SECOND, "link-lost")
    historian.write([simple(1), simple(2, at=T0 + 86400 * SECOND), Lost("edge-01", 3, loss), Lost("edge-01", 4, gap)])
    historian.fold_all()
    clock.time = T0 + 86400 * SECOND + 2 * INTERVAL
    while historian.tidy():
        pass
    assert ask(path, TEMP).time == [T0 + 86400 * SECOND]
    # What explains a gap in the messages stays: that gap is remembered, too.
    assert (count(path, "chunk"), count(path, "loss")) == (1, 1)
    historian.close()


# --- what it knows ---------------------------------------------------------------------------------------------------


def test_signals_have_type_unit_and_newest_reading(path: Path) -> None:
    other = MachinePath("press-07", "acme", "hue")
    historian = Historian(path)
    historian.write(
        [
            Meta(PRESS, {TEMP: "float", MODE: "string", "never": "int"}, {TEMP: "Cel"}),
            readings(1, [(T0, {TEMP: 5.0, MODE: "auto"}, {})]),
            readings(2, [(T0 + SECOND, {COUNT: 7}, {TEMP: NO_COMMUNICATION})]),
            readings(3, [(T0, {TEMP: 1}, {})], path=other),
        ]
    )
    expected = {
        (PRESS, TEMP): ("float", "Cel", T0 + SECOND, None, NO_COMMUNICATION),
        (PRESS, MODE): ("string", "", T0, "auto", 0),
        (PRESS, "never"): ("int", "", None, None, 0),
        (PRESS, COUNT): ("int", "", T0 + SECOND, 7, 0),
        (other, TEMP): ("int", "", T0, 1, 0),
    }
    for _ in range(2):
        reader = Historian.open_read_only(path)
        found = {(s.machine, s.signal): (s.type, s.unit, s.time, s.value, s.quality) for s in reader.signals()}
        assert found == expected
        assert (PRESS, "never") not in reader.latest()
        with pytest.raises(StoreError, match="acme/hanoi/moulding/L1/press-07 or acme/hue/press-07"):
            reader.query("press-07", TEMP, 0, EVER)
        assert reader.query("acme/hue/press-07", TEMP, 0, EVER).value == [1]
        with pytest.raises(StoreError, match="did you mean temp"):
            reader.query("acme/hue/press-07", "tmp", 0, EVER)
        reader.close()
        historian.fold_all()
    historian.close()


def test_losses_are_kept_once_each(path: Path) -> None:
    lost = Lost("edge-01", 9, Loss("e1", 5, 8, 40, T0, T0 + SECOND, "buffer full", "press-07"))
    historian = Historian(path)
    historian.write([lost])
    historian.write([lost])
    historian.close()
    reader = Historian.open_read_only(path)
    assert reader.losses(T0, EVER) == [lost]
    assert reader.losses(0, T0 - 1) == []
    reader.close()


def test_it_remembers_what_is_stored(path: Path) -> None:
    historian = Historian(path)
    historian.write([simple(seq) for seq in (1, 2, 3, 7, 5)])
    historian.write([simple(1, epoch="e2")])
    historian.close()
    historian = Historian(path)
    assert list(historian.stored().items()) == [
        (("edge-01", "e1"), [(1, 3), (5, 5), (7, 7)]),
        (("edge-01", "e2"), [(1, 1)]),
    ]
    historian.close()


def test_a_place_guessed_from_the_topic_is_put_right_by_the_meta(path: Path) -> None:
    guessed, right = MachinePath("m", "acme", "L1"), MachinePath("m", enterprise="acme", line="L1")
    historian = Historian(path)
    historian.write([readings(1, [(T0, {TEMP: 1.0}, {})], path=guessed)])
    historian.write([Meta(right, {TEMP: "float"}, {})])
    historian.write([readings(2, [(T0 + 1000, {TEMP: 2.0}, {})], path=right)])
    historian.close()
    reader = Historian.open_read_only(path)
    assert [s.machine for s in reader.signals()] == [right]
    assert reader.query("m", TEMP, 0, EVER).value == [1.0, 2.0]
    reader.close()


# --- the file --------------------------------------------------------------------------------------------------------


def test_only_its_owner_can_read_it(path: Path) -> None:
    historian = Historian(path)
    historian.write([simple(1)])
    assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == dict.fromkeys(
        ["historian.sqlite", "historian.sqlite-shm", "historian.sqlite-wal", "historian.sqlite.lock"], 0o600
    )
    historian.close()


def test_a_second_writer_is_refused(path: Path) -> None:
    historian = Historian(path)
    with pytest.raises(StoreError, match="another gateway writes to this historian"):
        Historian(path)
    historian.close()
    Historian(path).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello, this is no data base at all" * 300, "damaged or no historian"),
        ("foreign", "belongs to another program"),
        ("newer", "written by another version"),
    ],
)
def test_a_foreign_or_broken_file_is_left_alone(path: Path, content: Any, words: str) -> None:
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if content == "newer":
            Historian(path).close()
        db = sqlite3.connect(path)
        db.executescript("CREATE TABLE t (a)" if content == "foreign" else "PRAGMA user_version=99")
        db.close()
    before = path.read_bytes()
    for open_it in (Historian, Historian.open_read_only):
        with pytest.raises(StoreError, match=words):
            open_it(path)
    assert path.read_bytes() == before


def test_damage_found_later_says_what_to_do(path: Path) -> None:
    historian = Historian(path)
    historian.write([simple(seq, value=float(seq)) for seq in range(1, 3000)])
    historian.close()
    with path.open("r+b") as file:
        file.seek(5 * 8192)
        file.write(b"\xa5" * 8192 * 20)
    with pytest.raises(StoreError, match="move it away"):
        ask(path, TEMP)


def test_a_damaged_message_becomes_a_loss_and_does_not_hold_up_folding(path: Path) -> None:
    historian = Historian(path)
    historian.write([simple(1), simple(2), simple(3)])
    historian._db.execute("UPDATE message SET payload = x'7b00' WHERE id = 2")
    with pytest.raises(StoreError, match="damaged"):
        ask(path, TEMP)
    historian.fold_all()
    assert ask(path, TEMP).time == [T0 + SECOND, T0 + 3 * SECOND]
    reader = Historian.open_read_only(path)
    (lost,) = reader.losses(0, EVER)
    assert (lost.loss.start, lost.loss.cause[:33]) == (T0 + 2 * SECOND, "damaged in the historian's file: ")
    assert reader.stored() == {("edge-01", "e1"): [(1, 3)]}
    reader.close()
    historian.close()


def test_no_historian_yet(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no historian yet"):
        Historian.open_read_only(path)


def test_asking_while_writing_and_folding(path: Path) -> None:
    historian = Historian(path)
    reader = Historian.open_read_only(path) if historian.write([simple(1)]) == () else None
    assert reader is not None
    for seq in range(2, 200):
        historian.write([simple(seq)])
        if seq % 20 == 0:
            historian.fold_all()
        assert len(reader.query("press-07", TEMP, 0, EVER)) == seq
    reader.close()
    historian.close()


# --- power cut, full disk --------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from store.material import simple
from gateway.store.historian import Historian

historian = Historian(Path(sys.argv[1]))
if "--memory" in sys.argv:
    historian._db.execute("BEGIN")  # nothing is ever committed
    historian._transaction = __import__("contextlib").nullcontext
for seq in range(1, 10**6):
    historian.write([simple(seq)])
    if seq % 30 == 0 and "--memory" not in sys.argv:
        historian.fold_all()
    print(seq, flush=True)
"""


def killed(path: Path, *more: str) -> int:
    """Write in a process that is killed on the way; the last seq it said to have stored."""
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), *folders, *more], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) == 200:
            writer.send_signal(signal.SIGKILL)
            break
    last = [200, *map(int, writer.stdout.read().split())][-1]
    writer.wait()
    return last


def test_a_killed_process_loses_nothing_it_had_stored(path: Path) -> None:
    last = killed(path)
    historian = Historian(path)
    (_, end), *rest = historian.stored()["edge-01", "e1"]
    assert end >= last
    assert not rest
    assert ask(path, TEMP).time == [T0 + seq * SECOND for seq in range(1, end + 1)]
    historian.close()


def test_a_killed_process_that_did_not_commit_loses_all(path: Path) -> None:
    """Negative control: the test above would see it."""
    killed(path, "--memory")
    historian = Historian(path)
    assert historian.stored() == {}
    historian.close()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 300 kB: a full disk, as far as SQLite can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(path: Path, small_files: None) -> None:
    historian = Historian(path, reserve=0)
    text = "x" * 2000
    stored, refused = [], 0
    for seq in range(1, 400):
        try:
            historian.write([simple(seq, value=text)])
        except StoreError as exc:
            assert "free some space" in str(exc)
            refused = seq
            break
        stored.append(seq)
    assert refused
    assert historian.stored()["edge-01", "e1"] == [(1, stored[-1])]
    assert len(ask(path, TEMP)) == len(stored)  # nothing half written, and it can be asked
    with pytest.raises(StoreError):
        historian.write([simple(refused, value=text)])

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    historian.write([simple(refused, value=text)])
    assert historian.stored()["edge-01", "e1"] == [(1, refused)]
    assert len(ask(path, TEMP)) == refused
    historian.close()


def test_it_stops_while_there_is_still_room_to_delete(path: Path) -> None:
    historian = Historian(path, reserve=10**18)
    with pytest.raises(StoreError, match=r"are left on this disk: free some, or shorten store\.retention"):
        historian.write([simple(1)])
    historian.close()
    historian = Historian(path)
    historian.write([simple(1)])
    historian.close()
