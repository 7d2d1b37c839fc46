"""The file of a recording: what was put in comes out, whatever happens to the file behind it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import struct
import sys
import termios
import threading
import zlib
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RecordingError
from gateway.recording import Entry, Head, Kind, Recorder, is_recording, read
from gateway.recording import file as file_module
from gateway.recording.entry import BrokenError, decode, encode
from parts.process import wait_until
from simulators.modbus.replay.conversation import FRAMINGS, conversation
from simulators.modbus.replay.responder import Responder
from simulators.opcua.replay.plan import plan

HEAD = Head(1_763_789_123_000_000_000, "modbus-tcp", "panel", ["meter-01"], "version: 1\n", "adapter", "0.1")
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.integers(0, 2**62),
        st.sampled_from(Kind),
        st.integers(0, 2**40),
        st.integers(0, 2**62),
        st.binary(max_size=300),
    ),
    max_size=20,
).map(lambda entries: sorted(entries, key=lambda e: e.at))


class Time:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def polls(n: int, seed: int = 1) -> list[Entry]:
    """A client that asks once a second for 100 registers that move a little."""
    dice, registers, found = random.Random(seed), [1000] * 100, []
    for i in range(n):
        for each in range(0, 100, 7):
            registers[each] += dice.randrange(3)
        answer = struct.pack(">HHHBBB100H", i & 0xFFFF, 0, 203, 1, 3, 200, *registers)
        at = i * 10**9
        found.append(Entry(at, Kind.SENT, 0, 0, struct.pack(">HHHBBHH", i & 0xFFFF, 0, 6, 1, 3, 0, 100)))
        found.append(Entry(at + 3_000_000, Kind.RECEIVED, 0, 0, answer))
    return found


def written(path: Path, entries: list[Entry], every: int = 2) -> list[tuple[int, int]]:
    """A chunk for so many entries; and after how many bytes of the file how many entries are safe."""
    safe = []
    with Recorder(path, HEAD) as recorder:
        for n, entry in enumerate(entries, 1):
            recorder.put_at(entry)
            if n % every == 0:
                recorder.flush()
                safe.append((recorder.size, n))
    return safe


@given(ENTRIES)
@settings(max_examples=200, deadline=None)
def test_entries_as_bytes(entries: list[Entry]) -> None:
    assert list(decode(encode(entries, 0), 0)) == entries


def test_an_entry_in_its_bytes() -> None:
    """By hand, from README.md: kind, then time since the entry before, link, reference and size in sevens of bits."""
    entry = Entry(300, Kind.SENT, 1, 0, b"\x01\x03")
    assert encode([entry], 0) == bytes((4, 0b1010_1100, 0b10, 1, 0, 2, 1, 3))  # 300 = 2 * 128 + 44


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_entries(data: bytes) -> None:
    try:
        found = list(decode(data, 0))
    except BrokenError:
        return
    assert all(isinstance(entry, Entry) for entry in found)


def test_what_is_put_in_comes_out(tmp_path: Path) -> None:
    path, entries = tmp_path / "a.rec", polls(3000)  # more than one that begins anew
    written(path, entries, every=40)
    recording = read(path)
    assert is_recording(path)
    assert recording.head == HEAD
    assert list(recording) == entries
    assert list(recording) == entries, "once more"
    assert not recording.damage


def test_a_poll_costs_little(tmp_path: Path) -> None:
    """100 registers of which 15 move, flushed one by one: 227 bytes on the wire."""
    path, entries = tmp_path / "a.rec", polls(1000)
    written(path, entries)
    assert path.stat().st_size / 1000 < 100


def test_cut_at_any_byte_it_is_read_up_to_there(tmp_path: Path) -> None:
    path, entries = tmp_path / "a.rec", polls(25)
    safe = written(path, entries)
    data = path.read_bytes()
    cut = tmp_path / "cut.rec"
    head_ends = None
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        try:
            recording = read(cut)
        except RecordingError as exc:
            assert head_ends is None, "what can be read with fewer bytes can be read with more"
            assert str(cut) in str(exc)
            continue
        head_ends = head_ends or size
        whole = max((n for end, n in safe if end <= size), default=0)
        assert list(recording) == entries[:whole], size
        at_an_edge = size in (head_ends, *(end for end, _ in safe))
        assert bool(recording.damage) != at_an_edge, (size, recording.damage)
    assert head_ends is not None
    assert head_ends < safe[0][0]


@pytest.mark.parametrize("seed", range(40))
def test_damage_costs_what_it_hits_and_nothing_is_made_up(tmp_path: Path, seed: int, monkeypatch) -> None:
    monkeypatch.setattr(file_module, "_RESTART", 2000)  # a new beginning every ten polls
    path, entries = tmp_path / "a.rec", polls(200)
    written(path, entries)
    data, dice = bytearray(path.read_bytes()), random.Random(seed)
    head_ends = data.index(b"\xabREC", 10)
    at = dice.randrange(head_ends, len(data))
    size = dice.choice((1, 1, 3, 40))
    data[at : at + size] = dice.randbytes(size) if dice.random() < 0.7 else b""
    path.write_bytes(data)
    recording = read(path)
    found = list(recording)
    assert set(found) <= set(entries)
    assert found == sorted(found, key=lambda e: e.at)
    assert len(found) > len(entries) - 60, "two stretches of ten polls at the most"
    assert recording.damage or found == entries


def test_control_without_new_beginnings_damage_costs_all_that_follows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(file_module, "_RESTART", 1 << 30)
    monkeypatch.setattr(file_module, "_RESTART_AFTER", 1 << 62)
    path, entries = tmp_path / "a.rec", polls(200)
    safe = written(path, entries)
    data = bytearray(path.read_bytes())
    data[safe[2][0] + 20] ^= 0xFF
    path.write_bytes(data)
    assert list(read(path)) == entries[:6]


def test_a_damaged_place_costs_a_minute_and_is_told_once(tmp_path: Path) -> None:
    path, entries = tmp_path / "a.rec", polls(300)
    safe = written(path, entries)
    data = bytearray(path.read_bytes())
    data[safe[70][0] + 20] ^= 0xFF  # of the 72nd poll, 71 s after the beginning
    path.write_bytes(data)
    recording = read(path)
    assert list(recording) == entries[: 71 * 2] + entries[120 * 2 :]
    assert len(recording.damage) == 2, recording.damage


def test_two_recorders_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    with Recorder(path, HEAD) as recorder:
        recorder.tap().sent(b"mine")
        for replace in (True, False):
            with pytest.raises(RecordingError, match=r"is being written by another recorder|is there already"):
                Recorder(path, HEAD, replace=replace)
    assert [entry.data for entry in read(path)] == [b"mine"]
    Recorder(path, HEAD, replace=True).close()
    assert not list(read(path)), "when the first one has ended"


def test_the_end_of_a_recording_is_when_nobody_listened_any_more(tmp_path: Path) -> None:
    path, time = tmp_path / "a.rec", Time()
    with Recorder(path, HEAD, time) as recorder:
        recorder.tap().sent(b"q")
        time.now += 3600.0
        recorder.end()
    assert list(read(path))[-1] == Entry(3_600_000_000_000, Kind.ENDED, 0, 0, b"")


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_other_file_is_refused_or_read(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.rec"
    for begins in (b"", file_module.MAGIC + b"\x01", file_module.MAGIC + b"\x01\xabREC"):
        path.write_bytes(begins + data)
        with pytest.raises(RecordingError, match=r"a\.rec"):
            list(read(path))


def sealed(form: int, deflated: bytes) -> bytes:
    rest = struct.pack("<IB", len(deflated), form) + deflated
    return b"\xabREC" + zlib.crc32(rest).to_bytes(4, "little") + rest


def deflate(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def headed(*chunks: bytes, **head: Any) -> bytes:
    """A file with any JSON values in its head."""
    told = {"started": 5, "protocol": "modbus-tcp", **head}
    return b"SFGWREC\x01" + sealed(1, deflate(json.dumps(told).encode())) + b"".join(chunks)


def test_the_file_as_it_is_described(tmp_path: Path) -> None:
    """Written by hand from README.md."""
    path = tmp_path / "hand.rec"
    head = {"started": 5, "protocol": "modbus-tcp", "connection": "panel", "machines": ["a"], "a key of later": 1}
    entry = bytes((4, 10, 0, 0, 1, 0x55))
    path.write_bytes(b"SFGWREC\x01" + sealed(1, deflate(json.dumps(head).encode())) + sealed(2, deflate(entry)))
    recording = read(path)
    assert recording.head == Head(5, "modbus-tcp", "panel", ["a"])
    assert list(recording) == [Entry(10, Kind.SENT, 0, 0, b"\x55")]


def test_a_chunk_that_would_fill_the_memory_is_not_inflated(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(file_module, "_MOST_CHUNK", 100_000)
    path = tmp_path / "bomb.rec"
    written(path, polls(1))
    good = path.read_bytes()
    path.write_bytes(good + sealed(2, deflate(bytes(10**7))) + sealed(2, deflate(encode(polls(2)[2:], 0))))
    recording = read(path)
    assert list(recording) == polls(2), "the one before and the one after"
    assert "100000 bytes" in recording.damage[0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no recording"),
        (b"SFGWREC", "is no recording"),
        (b"SFGWREC\x02" + bytes(50), "of version 2; this program reads 1"),
        (b"SFGWREC\x01", "beginning is damaged or cut off"),
        (b"SFGWREC\x01" + sealed(1, deflate(b"[1]")), "cannot be understood"),
        (b"SFGWREC\x01" + sealed(1, deflate(b'{"started": "x", "protocol": "modbus-tcp"}')), "cannot be understood"),
        (b"SFGWREC\x01" + sealed(1, b"\xff\xff"), "cannot be understood"),
        (headed(started=10**30), "cannot be understood: started is no time since 1970 in ns"),
        (headed(started=-(10**30)), "cannot be understood: started is no time"),
        (headed(started=True), "cannot be understood: started is of another type"),
        (headed(machines=[1, 2]), "cannot be understood: machines is of another type"),
        (headed(machines=["\ud800"]), "cannot be understood: "),
        (headed(configuration="\ud800"), "cannot be understood: "),
        (headed(connection="\ud800"), "cannot be understood: "),
        (headed(connection="\x1b[2J"), "cannot be understood: connection has characters that cannot be shown"),
        (b"SFGWREC\x01" + sealed(1, deflate(b"[" * 10**6)), "cannot be understood: "),
    ],
)
def test_what_is_no_recording(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=told):
        read(path)


def test_a_file_that_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_text("mine")
    with pytest.raises(RecordingError, match="is there already"):
        Recorder(path, HEAD)
    assert path.read_text() == "mine"
    Recorder(path, HEAD, replace=True).close()
    assert read(path).head == HEAD
    with pytest.raises(RecordingError, match="cannot be written: No such file"):
        Recorder(tmp_path / "none" / "a.rec", HEAD)


def test_a_tap_tells_times_and_links(tmp_path: Path) -> None:
    path, time = tmp_path / "a.rec", Time()
    with Recorder(path, HEAD, time) as recorder:
        one, two = recorder.tap(), recorder.tap()
        one.failed("refused")
        time.now += 1.5
        one.opened()
        one.sent(b"q")
        time.now += 0.25
        two.closed("never opened: nothing to tell")
        one.received(b"a", 7)
        one.closed("by the machine")
        one.closed()
    assert list(read(path)) == [
        Entry(0, Kind.FAILED, 0, 0, b"refused"),
        Entry(1_500_000_000, Kind.OPENED, 0, 0, b""),
        Entry(1_500_000_000, Kind.SENT, 0, 0, b"q"),
        Entry(1_750_000_000, Kind.RECEIVED, 0, 7, b"a"),
        Entry(1_750_000_000, Kind.CLOSED, 0, 0, b"by the machine"),
    ]


def test_what_is_flushed_outlives_the_process(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.rec", HEAD)
    recorder.tap().sent(b"q")
    assert not list(read(recorder.path))
    recorder.flush()
    assert [entry.data for entry in read(recorder.path)] == [b"q"], "while it is still open"
    recorder.close()


def test_a_file_grows_no_larger_than_it_may(tmp_path: Path) -> None:
    path, dice = tmp_path / "a.rec", random.Random(1)
    with Recorder(path, HEAD, most_size=200_000) as recorder:
        tap = recorder.tap()
        while not recorder.full:
            tap.sent(dice.randbytes(1000))
            recorder.flush()
        assert recorder.over
        tap.sent(b"one more")
    kept = sum(entry.kind is Kind.SENT for entry in read(path))
    assert (recorder.sent, recorder.entries) == (kept, kept), "what is in the file is what is counted"
    assert 198_000 < path.stat().st_size <= 200_000
    recording = read(path)
    assert len(list(recording)) > 190
    assert not recording.damage


def test_more_than_the_rate_is_left_out_and_said(tmp_path: Path) -> None:
    path, time = tmp_path / "a.rec", Time()
    with Recorder(path, HEAD, time, most_rate=10_000) as recorder:
        tap = recorder.tap()
        for _ in range(300):  # 100 kB/s for 3 s
            tap.sent(bytes(1000))
            time.now += 0.01
        time.now += 10.0
        tap.sent(b"quiet again")
        assert recorder.left_out > 200
    entries = list(read(path))
    kept = sum(len(entry.data) for entry in entries if entry.kind is Kind.SENT)
    missing = [json.loads(entry.data) for entry in entries if entry.kind is Kind.LEFT_OUT]
    assert sum(each["entries"] for each in missing) == recorder.left_out
    assert kept + sum(each["bytes"] for each in missing) == 300 * 1000 + len(b"quiet again")
    assert kept <= 3 * 10_000 + 20_000
    assert entries[-1].data == b"quiet again"
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def test_what_is_missing_is_said_of_its_link(tmp_path: Path) -> None:
    path, time = tmp_path / "a.rec", Time()
    with Recorder(path, HEAD, time, most_rate=1000) as recorder:
        one, two = recorder.tap(), recorder.tap()
        one.sent(bytes(1000))
        two.sent(bytes(700))
        two.sent(bytes(800))
        time.now += 0.5
        one.sent(b"kept")
    entries = [(entry.kind, entry.link) for entry in read(path)]
    assert entries == [(Kind.SENT, 0), (Kind.LEFT_OUT, 1), (Kind.SENT, 0)]


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """A pipe that nobody reads, in place of a card that takes its time."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    dice = random.Random(1)
    recorder = Recorder(tmp_path / "a.rec", HEAD, most_rate=1 << 30)
    recorder._file = os.fdopen(writer, "wb")
    tap = recorder.tap()
    for _ in range(200):
        tap.sent(dice.randbytes(1000))
    writing = threading.Thread(target=recorder.flush, daemon=True)
    writing.start()
    wait_until(lambda: waiting_in(reader) >= 65536, 20, "what a pipe takes")
    begun = monotonic()
    for _ in range(200):
        tap.sent(dice.randbytes(1000))
    assert monotonic() - begun < 1.0
    assert writing.is_alive(), "the control: it hangs"
    while writing.is_alive():
        with suppress(BlockingIOError):
            os.read(reader, 1 << 20)
    os.close(reader)


def waiting_in(pipe: int) -> int:
    size = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return int.from_bytes(size, sys.byteorder)


def test_control_within_the_rate_nothing_is_left_out(tmp_path: Path) -> None:
    path, time = tmp_path / "a.rec", Time()
    with Recorder(path, HEAD, time, most_rate=10_000) as recorder:
        tap = recorder.tap()
        for _ in range(300):
            tap.sent(bytes(90))
            time.now += 0.01
        assert recorder.left_out == 0
    assert len(list(read(path))) == 300


def test_a_disk_that_takes_no_more_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    """A bound on files in place of a small disk: the same error from the same call."""
    dice, bounds = random.Random(1), resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(tmp_path / "a.rec", HEAD)
    tap = recorder.tap()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, bounds[1]))
        for _ in range(400):
            tap.sent(dice.randbytes(1000))
            recorder.flush()
        assert recorder.over
        assert not recorder.full
        assert "cannot be written any more: File too large" in recorder.trouble
        recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
    assert len(list(read(recorder.path))) > 150
    with pytest.raises(RecordingError, match="No space left"):
        Recorder(Path("/dev/full"), HEAD, replace=True)


# --- what is behind a right checksum ---------------------------------------------------------------------------------------


def test_the_largest_numbers_there_can_be() -> None:
    """Nine groups of seven bits; a tenth, and a time that is the sum of two such, are none."""
    most = 2**63 - 1
    entries = [Entry(most - 1, Kind.SENT, most, most, b""), Entry(most, Kind.SENT, 0, 0, b"")]
    assert list(decode(encode(entries, 0), 0)) == entries
    for data, before in ((encode([Entry(2**63, Kind.SENT, 0, 0, b"")], 0), 0), (encode(entries, 0), 2)):
        with pytest.raises(BrokenError):
            list(decode(data, before))


def test_a_time_that_cannot_be_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    first = Entry(2**62, Kind.SENT, 0, 0, b"q")
    for later in (2**65, 2**63):
        path.write_bytes(headed(sealed(2, deflate(encode([first, Entry(later, Kind.SENT, 0, 0, b"")], 0)))))
        recording = read(path)
        assert list(recording) == [first]
        assert len(recording.damage) == 1
    path.write_bytes(headed(sealed(2, deflate(encode([first], 0))), sealed(3, deflate(encode([first], 0)))))
    recording = read(path)
    assert (list(recording), len(recording.damage)) == ([first], 1)


def test_times_that_fall_stand_still(tmp_path: Path) -> None:
    """A chunk that begins anew says its times from the beginning of the recording."""
    path, entry = tmp_path / "a.rec", Entry(7, Kind.SENT, 0, 0, b"q")
    path.write_bytes(headed(*(sealed(2, deflate(encode([entry._replace(at=at)], 0))) for at in (7, 5, 9))))
    assert [each.at for each in read(path)] == [7, 7, 9]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(10**40), 10**40), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
HEADS = st.fixed_dictionaries(
    {
        "started": st.integers(0, 2**63 - 1),
        "protocol": st.sampled_from(["modbus-tcp", "modbus-rtu", "modbus-ascii", "opcua"]),
    },
    optional={
        "connection": TEXTS,
        "machines": st.lists(TEXTS, max_size=3),
        "configuration": TEXTS,
        "source": TEXTS,
        "gateway": TEXTS,
    },
)
SPOILT = st.tuples(
    HEADS, st.dictionaries(st.sampled_from([*(each.name for each in fields(Head)), "x"]), JSON, max_size=2)
)
FRAMES = st.sampled_from(
    [bytes.fromhex(each) for each in (
        "0001 0000 0006 01 03 0000 0002", "0001 0000 0007 01 03 04 0001 0002", "01 03 0000 0002 c40b", "01 83 02 c0f1", "3a", "0d0a",
    )]
)  # fmt: skip
# In bytes, so that numbers may be larger than there can be.
RAW = st.builds(
    lambda kind, at, link, ref, data: encode([Entry(at, kind, link, ref, data)], 0),
    st.sampled_from(Kind),
    st.one_of(st.integers(0, 10**10), st.integers(0, 2**70)),
    st.one_of(st.integers(0, 2), st.integers(0, 2**70)),
    st.one_of(st.integers(0, 3), st.integers(0, 2**70)),
    st.one_of(FRAMES, st.binary(max_size=30)),
)
CHUNKS = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.one_of(RAW, RAW, st.binary(max_size=9)), max_size=12).map(b"".join)),
    max_size=4,
)


@given(SPOILT, CHUNKS)
@settings(max_examples=200, deadline=2000)
def test_a_recording_with_anything_in_it_is_refused_or_played_back(tmp_path_factory, said: Any, chunks: Any) -> None:
    """Through all that reads it before a client comes."""
    head, spoilt = said
    path = tmp_path_factory.mktemp("any") / "a.rec"
    path.write_bytes(headed(*(sealed(form, deflate(data)) for form, data in chunks), **(head | spoilt)))
    try:
        recording = read(path)
    except RecordingError as exc:
        assert spoilt or any(not text.isprintable() for text in _texts(head)), "the control: nothing is wrong with it"
        assert str(path) in str(exc)
        return
    entries = list(recording)
    assert entries == sorted(entries, key=lambda each: each.at)
    assert all(max(each.at, each.link, each.ref) < 2**63 for each in entries)
    if recording.head.protocol in FRAMINGS:
        for ideal in (False, True):
            responder = Responder(conversation(recording, recording.head.protocol), ideal=ideal, loop=ideal)
            for time in (0, responder.length // 2, 2**63):
                responder.away(time)
                for unit, pdu in responder.asked:
                    responder.answer(unit, pdu, time)
    plan(recording, ideal=True)
    assert plan(recording).lives
    datetime.fromtimestamp(recording.head.started / 1e9, UTC)


def _texts(head: dict[str, Any]) -> list[str]:
    """Those that have to be text in one line; of the configuration only that it is text."""
    halves = "".join(each for each in head.get("configuration", "") if "\ud800" <= each <= "\udfff")
    return [*(head.get(key, "") for key in ("connection", "source", "gateway")), *head.get("machines", ()), halves]
