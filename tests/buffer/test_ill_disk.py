"""Damage that comes while the buffer is in use, disks that refuse to read, files that come back."""

import errno

import pytest

from buffer.forgetful import PAGE, ForgetfulDisk, Platter
from buffer.material import Clock, fill, losses, opened, seqs
from gateway.buffer import SegmentLog
from gateway.buffer.contract import NotReadableError
from gateway.buffer.reduce import shed

MANY = 10**6


class Spotty(ForgetfulDisk):
    """Of one file nothing can be read, or nothing but its head."""

    bad = ""
    head_too = True

    def read(self, name: str, at: int, size: int) -> bytes:
        if name == self.bad and (self.head_too or size > 64):
            raise OSError(errno.EIO, "bad sector")
        return super().read(name, at, size)

    def there(self) -> bool:
        return True


def filled(disk: ForgetfulDisk, clock: Clock, rounds: int = 8) -> SegmentLog:
    """Several segments, the oldest of them not in memory any more."""
    buffer = opened(disk, clock=clock)
    for _ in range(rounds):
        fill(buffer, 300, 100)
        buffer.commit()
        clock.wait(10)
    clock.wait(100)
    assert buffer._segments[0].view is None
    return buffer


def explained(buffer: SegmentLog) -> set[int]:
    """Every seq that is there or declared lost."""
    there = {r.seq for r in buffer.read(0, MANY)}
    return there | {seq for loss in losses(buffer) for seq in range(loss.first, loss.last + 1)}


@pytest.mark.parametrize("what", ["flipped", "gone"])
def test_a_segment_of_this_process_that_is_damaged_later(what):
    """It was whole when it was written, so nobody looks at it again before it is wanted."""
    platter, clock = Platter(), Clock()
    buffer = filled(Spotty(platter), clock)
    name = str(buffer._segments[0].name)
    if what == "flipped":
        platter.cached[name][2000] ^= 1
    else:
        del platter.cached[name]
    assert explained(buffer) == set(range(1, buffer.last + 1))
    assert {loss.cause for loss in losses(buffer)} == {"damaged"}
    assert sum(loss.count for loss in losses(buffer)) == 3 * sum(loss.last - loss.first + 1 for loss in losses(buffer))
    buffer.mark_stored(buffer.epoch, [(seq, seq) for seq in seqs(buffer, 0, MANY)], buffer.last)
    assert buffer.stored == buffer.last


def test_a_segment_that_cannot_be_read_is_waited_for_a_minute_and_then_declared():
    platter, clock = Platter(), Clock()
    disk = Spotty(platter)
    buffer = filled(disk, clock)
    disk.bad = str(buffer._segments[0].name)
    with pytest.raises(NotReadableError):
        buffer.read(0, 10)
    clock.wait(50)
    disk.bad = ""
    assert seqs(buffer, 0, 3) == [1, 2, 3]
    disk = Spotty(Platter())
    buffer = filled(disk, clock)
    disk.bad = str(buffer._segments[0].name)
    with pytest.raises(NotReadableError):
        buffer.read(0, 10)
    clock.wait(61)
    buffer.read(0, 10)
    assert explained(buffer) == set(range(1, buffer.last + 1))


def test_a_full_buffer_whose_oldest_segment_cannot_be_read():
    platter, clock = Platter(), Clock()
    filled(Spotty(platter), clock, 20).close()
    disk = Spotty(platter)
    buffer = opened(disk, clock=clock)
    oldest = buffer._segments[0]
    disk.bad = str(oldest.name)
    while oldest in buffer._segments:
        fill(buffer, 300, 100)
        buffer.commit()
    disk.bad = ""
    declared = [loss for loss in losses(buffer) if loss.first]
    assert min(loss.first for loss in declared) == 1


def test_the_newest_file_has_a_bad_sector_when_the_gateway_starts():
    platter, clock = Platter(), Clock()
    buffer = filled(Spotty(platter), clock)
    newest = buffer._segments[-1]
    epoch = buffer.epoch
    buffer.close()
    disk = Spotty(platter)
    disk.bad, disk.head_too = str(newest.name), False
    again = opened(disk, clock=clock)
    (loss,) = losses(again)
    assert (loss.epoch, loss.first, loss.last, loss.count) == (epoch, newest.first, newest.last, newest.records * 3)
    assert seqs(again, 0, MANY)[: newest.first - 1] == list(range(1, newest.first))


def test_a_loss_whose_record_is_torn_by_a_power_cut_is_told_again():
    platter, clock = Platter(), Clock()
    buffer = opened(ForgetfulDisk(platter), clock=clock)
    fill(buffer, 20)
    buffer.commit()
    buffer.give_up(5, "too-large")
    told = buffer.last
    fill(buffer, 200, 100)
    work = buffer.prepare(sync=False)
    buffer.finish(work.run())
    segment = buffer._segments[-1]
    torn = segment.offsets[segment.positions.index(told)] // PAGE
    for page in platter.dirty[str(segment.name)] - {torn}:
        platter._keep(str(segment.name), page)
    platter.dirty = {}
    platter.cached = {name: bytearray(data) for name, data in platter.durable.items()}
    again = opened(ForgetfulDisk(platter), clock=clock)
    assert 5 not in {r.seq for r in again.read(0, MANY) if r.epoch == buffer.epoch}
    assert (5, "too-large") in [(loss.first, loss.cause) for loss in losses(again)]


def test_a_file_that_was_given_up_and_comes_back():
    """Its unlink was not written down; the fuller one of two with the same beginning counts."""
    platter, clock = Platter(), Clock()
    disk = ForgetfulDisk(platter)
    buffer = opened(disk, clock=clock)
    fill(buffer, 50, 100)
    for _ in range(3):
        buffer.commit()
    while len(buffer._segments) == 1:
        fill(buffer, 1, 100)
    fill(buffer, 5, 100)
    work = buffer.prepare(sync=True)
    sync = disk.sync

    def failing(name: str) -> None:
        if name == next((n for s, n in work.placed if s is buffer._segments[-1]), None):
            platter._keep(name, 0)
            platter.dirty.pop(name, None)
            raise OSError(errno.EIO, "ill")
        sync(name)

    disk.sync = failing  # type: ignore[method-assign]
    buffer.finish(work.run())
    disk.sync = sync  # type: ignore[method-assign]
    failed = work.placed[-1][1]
    kept = bytes(platter.durable[failed])
    fill(buffer, 100, 100)
    clock.wait(6)
    buffer.commit()
    clock.wait(1)
    buffer.commit()
    assert buffer.accepted == buffer.last
    expected = seqs(buffer, 0, MANY)
    platter.durable[failed] = bytearray(kept)
    platter.cached = {name: bytearray(data) for name, data in platter.durable.items()}
    again = opened(ForgetfulDisk(platter), clock=clock)
    assert seqs(again, 0, MANY) == expected
    assert losses(again) == []


def test_behind_reduced_segments_nothing_holds_the_stored_mark_up():
    """What was left out of them is declared, however little of it the marks can remember."""
    platter, clock = Platter(), Clock()
    rank = {"low": 0, "high": 1}.__getitem__
    buffer = opened(ForgetfulDisk(platter), clock=clock, steps=[shed(rank, 1)])
    while buffer.usage.bytes < 950_000:
        for topic in ("low", "high"):
            buffer.append(topic, lambda _: b"x" * 100, 1, clock.now(), clock.now())
    buffer.commit()
    clock.wait(100)
    while (piece := buffer.piece()) is not None:
        buffer.take_over(piece.run())
        buffer.commit()
    assert len(buffer._dealt.beyond) + 1 > 200
    buffer.close()
    again = opened(ForgetfulDisk(platter), clock=clock)
    again.mark_stored(again.epoch, [(r.seq, r.seq) for r in again.read(0, MANY)], again.last)
    assert again.stored == again.last


def test_more_epochs_than_the_marks_remember():
    platter, clock = Platter(), Clock()
    epochs = []
    for _ in range(150):
        buffer = opened(ForgetfulDisk(platter), clock=clock)
        fill(buffer, 20, 100)
        buffer.commit()
        epochs.append(buffer.epoch)
    buffer = opened(ForgetfulDisk(platter), clock=clock)
    assert len(buffer.read(0, MANY)) == 3000
    for epoch in epochs:
        buffer.mark_stored(epoch, [(1, 20)], buffer.last)
    assert buffer.stored == 3000


def test_what_is_taken_over_later_is_as_old_as_it_is():
    platter, clock = Platter(), Clock()
    first = opened(ForgetfulDisk(platter), clock=clock, max_age=3600.0)
    fill(first, 1)
    first.mark_stored(first.epoch, [(1, 1)], 1)
    clock.wait(4000)
    fill(first, 1)
    first.mark_stored(first.epoch, [(1, 2)], 2)
    first.close()
    disk = ForgetfulDisk(platter)
    disk.failing = "read"
    buffer = opened(disk, clock=clock, max_age=3600.0)
    fill(buffer, 5)
    clock.wait(6)
    disk.failing = ""
    buffer.commit()
    assert not buffer.unopened
    clock.wait(2)
    fill(buffer, 1)
    assert losses(buffer) == []


def test_a_large_backlog_that_is_too_old_at_once_goes_one_segment_at_a_time():
    platter, clock = Platter(), Clock()
    buffer = opened(ForgetfulDisk(platter), clock=clock, max_age=3600.0)
    fill(buffer, 3000, 100)
    buffer.commit()
    clock.wait(4000)
    first = buffer._segments[0]
    fill(buffer, 1)
    assert buffer.stored <= first.last
    for _ in range(20):
        clock.wait(1)
        fill(buffer, 1)
    assert {loss.cause for loss in losses(buffer)} == {"too-old"}
    assert sum(loss.count for loss in losses(buffer)) == 3000 * 3
