"""A folder that cannot be read when the gateway starts: what is in it is not forgotten, and comes first when it can."""

import pytest

from buffer.forgetful import ForgetfulDisk, Platter
from buffer.material import Clock, fill, losses, opened, seqs
from gateway.buffer import SegmentLog

SIZE = 16 * 4096 * 4


def left(platter: Platter, clock: Clock, *, clean: bool) -> SegmentLog:
    """A buffer with a hundred messages, forty of them stored, that has ended."""
    buffer = opened(ForgetfulDisk(platter), max_bytes=SIZE, clock=clock)
    fill(buffer, 100, 200)
    buffer.mark_stored(buffer.epoch, [(1, 30), (41, 50)], buffer.last)
    buffer.commit()
    if clean:
        buffer.close()
    return buffer


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("appended", [0, 1, 200])
def test_it_is_taken_over_later(clean, appended):
    platter, clock = Platter(), Clock()
    before = left(platter, clock, clean=clean)
    disk = ForgetfulDisk(platter)
    disk.failing = "read"
    buffer = opened(disk, max_bytes=SIZE, clock=clock)
    told: list[int] = []
    buffer.on_found = lambda: told.append(buffer.sent)
    assert buffer.unopened
    assert buffer.trouble
    assert buffer.epoch != before.epoch
    fill(buffer, appended, 50)
    buffer.commit()
    assert buffer.usage.records == appended
    assert len(buffer.read(0, 1000)) == appended, "it goes on in memory"
    buffer.mark_stored(buffer.epoch, [(1, appended // 2)], buffer.last)
    clock.wait(1)
    disk.failing = ""
    buffer.commit()
    assert buffer.unopened, "not before its time"
    clock.wait(6)
    buffer.commit()
    assert not buffer.unopened
    assert buffer.trouble == ""
    assert told == [30]
    found = [(r.epoch, r.seq) for r in buffer.read(0, 1000)]
    old = [(before.epoch, seq) for seq in [*range(31, 41), *range(51, 101)]]
    new = [(buffer.epoch, seq) for seq in range(appended // 2 + 1, appended + 1)]
    assert found == [*old, *new]
    assert losses(buffer) == []
    # And it is all there after the next start.
    buffer.commit()
    buffer.close()
    again = opened(ForgetfulDisk(platter), max_bytes=SIZE, clock=clock)
    assert [(r.epoch, r.seq) for r in again.read(0, 1000)] == [*old, *new]
    assert losses(again) == []
    again.mark_stored(before.epoch, [(1, 100)], again.last)
    again.mark_stored(buffer.epoch, [(1, appended)], again.last)
    assert again.stored == again.last


def test_it_stays_untouched_as_long_as_nobody_knows_what_is_in_it():
    platter, clock = Platter(), Clock()
    left(platter, clock, clean=True)
    kept = {name: bytes(data) for name, data in platter.durable.items()}
    disk = ForgetfulDisk(platter)
    disk.failing = "read"
    buffer = opened(disk, max_bytes=SIZE, clock=clock)
    for _ in range(10):
        fill(buffer, 100, 200)
        clock.wait(3)
        buffer.commit()
    buffer.close()
    assert {name: bytes(data) for name, data in platter.durable.items()} == kept


def test_one_file_that_cannot_be_read_costs_what_is_in_it():
    platter, clock = Platter(), Clock()
    before = left(platter, clock, clean=True)
    disk = ForgetfulDisk(platter)
    bad = sorted(name for name, data in platter.durable.items() if name.endswith(".segment") and any(data[64:]))[1]
    read = disk.read

    def partly(name: str, at: int, size: int) -> bytes:
        if name == bad:
            raise OSError(5, "Input/output error")
        return read(name, at, size)

    disk.read = partly  # type: ignore[method-assign]
    buffer = opened(disk, max_bytes=SIZE, clock=clock)
    there = seqs(buffer)
    declared = {
        seq for loss in losses(buffer) if loss.epoch == before.epoch for seq in range(loss.first, loss.last + 1)
    }
    expected = {*range(31, 41), *range(51, 101)}
    old = {r.seq for r in buffer.read(0, 1000) if r.epoch == before.epoch and not r.is_loss}
    assert old | declared == expected
    assert declared
    assert len(declared) < 60
    assert there
