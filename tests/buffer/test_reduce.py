"""Keeping less of what is oldest: thinning, and leaving out what matters least."""

import json
from pathlib import Path

import pytest

from buffer.material import Clock, T, losses, opened
from gateway.buffer import Disk, SegmentLog
from gateway.buffer.reduce import Step, shed, thin
from gateway.counters import FlowCounters
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.mqtt.payload import DataEncoder, Loss, decode_data

HEADER = Header(
    MachinePath("press"),
    (
        Signal("temperature", "float"),
        Signal("count", "int", kind="counter"),
        Signal("mode", "string", states={0: "off", 1: "auto"}),
        Signal("door", "bool"),
        Signal("speed", "int"),
        *(Signal(f"zone_{i}", "float") for i in range(12)),
    ),
)
SECOND = 10**9
SIZE = 16 * 4096 * 4  # bytes; segments of 16 KiB


def kept(topic: str, signal: str) -> bool:
    return signal == "count"


def put(buffer: SegmentLog, n: int, topic: str = "press") -> None:
    """One message: the n-th second."""
    t = T + n * SECOND
    quality = [0, 0, 0, 0, 0x40940000, *[0] * 12] if n % 50 == 0 else None
    values = [n + 0.5, n, "auto", n % 2 == 0, n * 2, *(n / 10 + zone for zone in range(12))]
    batch = Batch(HEADER, HEADER.order, [t] * len(values), values, quality)
    encode = DataEncoder("edge", buffer.epoch)
    buffer.append(topic, lambda seq: encode(batch, seq), len(batch), t, t)


def run(buffer: SegmentLog, clock: Clock) -> int:
    """All that can be reduced now; how many pieces that was."""
    pieces = 0
    clock.wait(100)  # nobody has read it for a while
    while (piece := buffer.piece()) is not None:
        buffer.take_over(piece.run())
        buffer.commit()
        pieces += 1
    return pieces


def filled(
    folder: Path, *steps: Step, topics: tuple[str, ...] = ("press",), part: float = 0.95
) -> tuple[SegmentLog, Clock, int]:
    clock = Clock()
    buffer = opened(Disk(folder), max_bytes=SIZE, clock=clock, steps=steps)
    n = 0
    while buffer.usage.bytes < SIZE * part:
        put(buffer, n, topics[n % len(topics)])
        n += 1
        if n % 20 == 0:
            buffer.commit()
    buffer.commit()
    clock.wait(100)
    return buffer, clock, n


def readings(buffer: SegmentLog) -> dict[str, list[tuple[int, object]]]:
    found: dict[str, list[tuple[int, object]]] = {}
    for record in buffer.read(0, 10**6):
        if record.is_loss:
            continue
        count = 0
        for frame in decode_data(record.payload).frames:
            for name, value in frame.values.items():
                found.setdefault(name, []).append((round((frame.time - T) / SECOND), value))
                count += 1
        assert count == record.readings
    return found


def test_thinning_keeps_one_value_in_a_minute_and_every_count_and_state(tmp_path):
    buffer, clock, n = filled(tmp_path / "b", thin(60.0, kept))
    before, usage = readings(buffer), buffer.usage.bytes
    assert run(buffer, clock) > 3
    after = readings(buffer)
    assert buffer.usage.bytes < usage * 0.8
    assert after["count"] == before["count"]
    assert after["mode"] == before["mode"]
    assert after["door"] == before["door"]
    assert len(after["temperature"]) < n * 0.5
    minutes = [{(T // SECOND + t) // 60 for t, _ in each["temperature"]} for each in (before, after)]
    assert minutes[0] == minutes[1]
    assert all(each in before["temperature"] for each in after["temperature"])
    assert {each for each in after["speed"] if each[0] % 50 == 0} == {
        each for each in before["speed"] if each[0] % 50 == 0
    }
    declared = [loss for loss in losses(buffer) if loss.cause == "thinned: one value in 60 s"]
    assert sum(loss.count for loss in declared) == sum(map(len, before.values())) - sum(map(len, after.values()))
    assert declared[0].start >= T
    assert declared[-1].end <= T + n * SECOND


@pytest.mark.parametrize(
    ("step", "lost", "thinned"), [(thin(60.0, kept), False, True), (shed(lambda topic: int(topic[1]), 5), True, False)]
)
def test_what_is_taken_out_is_counted_once(tmp_path, monkeypatch, step, lost, thinned):
    """Ten machines in turn: the messages of one reach over those of all the others, and few of them are gone."""
    counters, before = FlowCounters(), SegmentLog._put_loss

    def count(self: SegmentLog, loss: Loss) -> int:
        counters.note_loss(loss.cause, loss.new)
        return before(self, loss)

    monkeypatch.setattr(SegmentLog, "_put_loss", count)
    topics = tuple(f"m{i}" for i in range(10))
    buffer, clock, n = filled(tmp_path / "b", step, topics=topics)
    whole = sum(map(len, readings(buffer).values()))
    run(buffer, clock)
    taken = whole - sum(map(len, readings(buffer).values()))
    assert 0 < taken < whole == 17 * n
    assert (counters.lost, counters.thinned) == (taken * lost, taken * thinned)
    assert sum(counters.causes.values()) == counters.lost
    assert set(counters.causes) <= {"buffer-full"}


def test_what_was_reduced_is_read_again_after_a_restart(tmp_path):
    buffer, clock, _ = filled(tmp_path / "b", thin(60.0, kept))
    run(buffer, clock)
    before, told = readings(buffer), losses(buffer)
    buffer.close()
    again = opened(Disk(tmp_path / "b"), max_bytes=SIZE, clock=clock)
    assert readings(again) == before
    assert losses(again) == told
    assert again.epoch == buffer.epoch
    # All of it can be delivered: nothing holds the stored mark up.
    again.mark_stored(again.epoch, [(r.seq, r.seq) for r in again.read(0, 10**6)], again.last)
    assert again.stored == again.last


def test_an_interrupted_reduction_costs_nothing(tmp_path):
    """Both files are there: the new one and those it was made of."""
    buffer, clock, _ = filled(tmp_path / "b", thin(60.0, kept))
    piece = buffer.piece()
    assert piece is not None
    before = {(r.epoch, r.seq) for r in buffer.read(0, 10**6)}
    piece.run()
    assert piece.output is not None
    assert buffer._disk is not None
    buffer._disk.close()  # killed here
    again = opened(Disk(tmp_path / "b"), max_bytes=SIZE, clock=clock)
    there = {(r.epoch, r.seq) for r in again.read(0, 10**6) if not r.is_loss}
    declared = {(loss.epoch, seq) for loss in losses(again) for seq in range(loss.first, loss.last + 1)}
    assert there | declared >= before


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_segment_that_is_missing_behind_a_reduced_one_is_declared(tmp_path, missing):
    buffer, clock, _ = filled(tmp_path / "b", thin(60.0, kept))
    for _ in range(4):
        piece = buffer.piece()
        assert piece is not None
        buffer.take_over(piece.run())
        buffer.commit()
    assert buffer._segments[0].level == 1
    gone = buffer._segments[1 + missing]
    lost = {r.seq for r in buffer.read(gone.first - 1, 10**6) if r.position <= gone.last}
    buffer.close()
    (tmp_path / "b" / str(gone.name)).unlink()
    again = opened(Disk(tmp_path / "b"), max_bytes=SIZE, clock=clock)
    list(again.read(0, 10**6))
    damaged = [loss for loss in losses(again) if loss.cause == "damaged"]
    assert lost <= {seq for loss in damaged for seq in range(loss.first, loss.last + 1)}


def test_machines_of_low_priority_go_first(tmp_path):
    rank = {"a": 0, "b": 1, "c": 2}.__getitem__
    buffer, clock, n = filled(tmp_path / "b", shed(rank, 1), shed(rank, 2), topics=("a", "b", "c"))
    run(buffer, clock)
    topics = [r.topic for r in buffer.read(0, 10**6) if not r.is_loss]
    assert topics.count("a") < n / 3 - 50
    assert topics.count("b") in (n // 3, n // 3 + 1)
    assert topics.count("c") == n // 3
    put(buffer, n, "c")
    while buffer.usage.dropped < n and topics.count("b"):
        for _ in range(60):
            n += 1
            put(buffer, n, "c")
        buffer.commit()
        run(buffer, clock)
        topics = [r.topic for r in buffer.read(0, 10**6) if not r.is_loss]
    assert topics.count("b") == 0
    assert topics.count("a") == 0
    there = {r.seq for r in buffer.read(0, 10**6)}
    told = {seq for loss in losses(buffer) for seq in range(loss.first, loss.last + 1)}
    assert there | told == set(range(1, buffer.last + 1))


def test_what_somebody_reads_is_left_alone(tmp_path):
    buffer, clock, _ = filled(tmp_path / "b", thin(60.0, kept))
    buffer.read(0, 10**6)
    assert buffer.piece() is None
    clock.wait(61)
    assert buffer.piece() is not None


def test_messages_that_are_not_understood_are_kept(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE, clock=(clock := Clock()), steps=[thin(60.0, kept)])
    n = 0
    while buffer.usage.bytes < SIZE * 0.9:
        n += 1
        buffer.append("x", lambda _: b"not json at all" * 20, 1, T, T)
    buffer.commit()
    clock.wait(100)
    run(buffer, clock)
    assert len(buffer.read(0, 10**6)) == n
    assert json.dumps(losses(buffer)) == "[]"


def test_control_without_steps_the_oldest_are_dropped(tmp_path):
    buffer, clock, _ = filled(tmp_path / "b")
    assert run(buffer, clock) == 0
    n = 100_000
    for _ in range(400):
        n += 1
        put(buffer, n)
    assert {loss.cause for loss in losses(buffer)} == {"buffer-full"}
