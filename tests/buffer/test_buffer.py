"""What every buffer has to do, with a disk and without."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.material import Clock, T, fill, losses, opened, seqs
from gateway.buffer import SegmentLog
from gateway.mqtt.payload import Loss, decode_loss, merge_ranges


def test_seq_counts_from_one_without_gaps(make):
    buffer = make()
    assert [buffer.append("t", lambda _: b"a", 1, T, T), buffer.append("t", lambda _: b"b", 1, T, T)] == [1, 2]
    assert seqs(buffer) == [1, 2]
    assert seqs(buffer, after=1) == [2]
    assert seqs(buffer, limit=1) == [1]


def test_the_stored_mark_moves_as_far_as_there_is_no_gap(make):
    buffer = make()
    fill(buffer, 10)
    buffer.mark_stored(buffer.epoch, [(1, 3), (6, 7)], buffer.last)
    assert buffer.stored == 3
    assert seqs(buffer) == [4, 5, 8, 9, 10]
    buffer.mark_stored(buffer.epoch, [(4, 5)], buffer.last)
    assert buffer.stored == 7
    assert buffer.usage.records == 3


def test_a_store_that_remembers_more_than_exists_frees_no_future(make):
    buffer = make()
    fill(buffer, 2)
    buffer.mark_stored(buffer.epoch, [(1, 500)], buffer.last)
    assert buffer.stored == 2
    fill(buffer, 1)
    assert seqs(buffer) == [3]


def test_rewinding(make):
    buffer = make()
    fill(buffer, 5)
    buffer.mark_sent(5)
    buffer.mark_stored(buffer.epoch, [(1, 2)], buffer.last)
    buffer.mark_sent(0)
    assert buffer.sent == 2  # what is stored is never sent again


@pytest.mark.parametrize("count", [100, 15_000])
def test_a_full_buffer_drops_the_oldest_and_declares_every_reading(make, count):
    """However often it overflows: loss records that are dropped themselves are declared by the next ones."""
    buffer = make(max_bytes=40_000)
    fill(buffer, count, size=1000)
    kept = [r for r in buffer.read(0, 1000) if not r.is_loss]
    assert buffer.usage.bytes <= 40_000
    assert {loss.cause for loss in losses(buffer)} == {"buffer-full"}
    assert sum(r.readings for r in kept) + sum(loss.count for loss in losses(buffer)) == count * 3
    first = min(loss.first for loss in losses(buffer))
    declared = {s for loss in losses(buffer) for s in range(loss.first, loss.last + 1)}
    assert first == 1
    assert declared | {r.seq for r in buffer.read(0, 1000)} == set(range(1, buffer.last + 1))
    assert {r.seq for r in kept}.isdisjoint(declared)


def test_what_is_declared_once_more_is_known_as_such(make, monkeypatch):
    """A buffer that drops its own loss records: whoever adds up what is new in them has every reading once."""
    new, told, before = list[int](), list[int](), SegmentLog._put_loss

    def count(self: SegmentLog, loss: Loss) -> int:
        new.append(loss.new)
        told.append(loss.count)
        return before(self, loss)

    monkeypatch.setattr(SegmentLog, "_put_loss", count)
    buffer = make(max_bytes=40_000)
    fill(buffer, 15_000, size=1000)
    kept = [r for r in buffer.read(0, 1000) if not r.is_loss]
    assert sum(new) == 3 * (15_000 - len(kept))
    assert sum(told) > 2 * sum(new), "the control: loss records were dropped"
    assert min(new) >= 0


def test_a_payload_has_the_seq_of_its_record_also_when_something_is_dropped_for_it(make):
    buffer = make(max_bytes=20_000)
    fill(buffer, 300, size=1000)
    for record in buffer.read(0, 1000):
        seq = decode_loss(record.payload)[1] if record.is_loss else int(record.payload.split()[0])
        assert seq == record.seq


def test_what_a_machine_lost_is_declared_and_not_forgotten_when_that_is_dropped(make):
    buffer = make(max_bytes=3000)
    gap = Loss(buffer.epoch, 0, 0, 12, T - 5000, T - 1000, "server-queue-overflow", "press", "speed")
    seq = buffer.declare(gap)
    (record,) = buffer.read(seq - 1, 1)
    assert decode_loss(record.payload)[2] == gap
    assert record.readings == 0
    fill(buffer, 30)
    declared = [decode_loss(r.payload)[2] for r in buffer.read(0, 1000) if r.is_loss]
    assert sum(loss.count for loss in declared) >= 12
    assert min(loss.start for loss in declared if loss.count) == gap.start


def test_giving_one_record_up(make):
    buffer = make()
    fill(buffer, 3)
    buffer.give_up(2, "too-large")
    assert seqs(buffer) == [1, 3, 4]
    (loss,) = losses(buffer)
    assert (loss.first, loss.last, loss.count, loss.cause) == (2, 2, 3, "too-large")


def test_a_buffer_whose_end_of_a_segment_is_stored_goes_on(make):
    """Stored to the last record, just when the next one needs a new segment: it has to be freed all the same."""
    for stored in range(1, 12):
        buffer = make(max_bytes=40_000)
        fill(buffer, stored, size=1000)
        buffer.mark_stored(buffer.epoch, [(1, stored)], buffer.last)
        fill(buffer, 200, size=1000)
        assert buffer.usage.bytes <= 40_000
        assert losses(buffer)


def test_what_the_store_has_already_is_not_declared_lost(make):
    buffer = make(max_bytes=20_000)
    fill(buffer, 10, size=1000)
    buffer.mark_stored(buffer.epoch, [(2, 10)], buffer.last)
    fill(buffer, 8, size=1000)
    assert [(loss.first, loss.last, loss.count) for loss in losses(buffer)] == [(1, 1, 3)]


def test_old_records_expire_by_the_time_they_have_waited(make):
    clock = Clock()
    buffer = make(max_age=60.0, clock=clock)
    fill(buffer, 2)
    clock.wait(61)
    fill(buffer, 1)
    (loss,) = losses(buffer)
    assert (loss.first, loss.last, loss.cause) == (1, 2, "too-old")


def test_a_clock_that_is_set_and_machines_with_a_wrong_one_expire_nothing(make):
    clock = Clock()
    buffer = make(max_age=60.0, clock=clock)
    fill(buffer, 2)
    clock.now_ns += 10**18
    buffer.append("t", lambda _: b"", 1, 0, 0)
    fill(buffer, 1)
    assert seqs(buffer) == [1, 2, 3, 4]
    assert not losses(buffer)


@given(st.lists(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), max_size=5), max_size=20))
def test_any_order_of_acknowledgements_frees_exactly_what_is_stored(steps):
    buffer = opened(None)
    fill(buffer, 50)
    stored: set[int] = set()
    for ranges in steps:
        buffer.mark_stored(buffer.epoch, [(first, first + more) for first, more in ranges], buffer.last)
        stored |= {s for first, more in ranges for s in range(first, first + more + 1) if s <= 50}
        assert set(seqs(buffer)) == set(range(1, 51)) - stored
        mark = next((s for s in range(1, 52) if s not in stored), 51) - 1
        assert buffer.stored == mark


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10))))
def test_merging_ranges(given_ranges):
    ranges = [(first, first + more) for first, more in given_ranges]
    merged = merge_ranges(ranges)
    assert {n for a, b in merged for n in range(a, b + 1)} == {n for a, b in ranges for n in range(a, b + 1)}
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(merged))


def test_stop_polling_is_said_before_anything_has_to_be_dropped(make):
    """With a margin between stopping and going on, or it would change with every segment."""
    buffer = make(max_bytes=16 * 4096, when_full="stop-polling")
    assert not buffer.full
    while not buffer.full:
        fill(buffer, 1, size=1000)
    assert not losses(buffer)
    stored = 0
    while buffer.full:
        stored += 1
        buffer.mark_stored(buffer.epoch, [(1, stored)], buffer.last)
    assert stored > 3  # more than one segment
    fill(buffer, 1, size=1000)
    assert not buffer.full
    # Subscriptions may bring more all the same: the oldest go, and that is declared.
    fill(buffer, 200, size=1000)
    assert losses(buffer)


def test_the_other_ways_stop_no_polling(make):
    buffer = make(max_bytes=16 * 4096)
    fill(buffer, 200, size=1000)
    assert not buffer.full
