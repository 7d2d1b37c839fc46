"""A look at a buffer from outside, also while a gateway uses it: reads, never writes, needs no lock.

What a running gateway has appended within the last moment may be missing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.buffer.disk import Disk
from gateway.buffer.numbering import Numbering
from gateway.buffer.record import LOSS, UNTIMED, Entry, Hole, get, scan
from gateway.buffer.recovery import recover
from gateway.buffer.segment import Segment
from gateway.buffer.stored import Dealt
from gateway.errors import PayloadError
from gateway.mqtt.payload import Loss, decode_loss


@dataclass(slots=True)
class Waiting:
    """Messages of one epoch that are not stored yet and follow each other."""

    epoch: str
    first: int
    last: int
    readings: int
    start: int  # ns: the oldest reading
    end: int  # ns: the newest one
    each: array[int] = field(default_factory=lambda: array("I"))  # readings of each of them

    def part(self, first: int, last: int) -> int:
        """Readings of these of them."""
        return sum(self.each[first - self.first : last - self.first + 1])


@dataclass(frozen=True, slots=True)
class Damage:
    """Messages that were here and cannot be read."""

    epoch: str
    first: int
    last: int
    readings: int


@dataclass(slots=True)
class Report:
    """What a folder holds."""

    in_use: bool
    epoch: str
    messages: int  # waiting
    readings: int  # ever appended
    lost: int  # readings ever declared lost
    bytes: int  # of all its files
    segments: int
    spares: int
    foreign: int  # files of another version
    free: int  # bytes left on this disk
    start: int = 0  # ns: the oldest reading that waits; 0: none, or not known
    end: int = 0  # ns: the newest one
    waited: int = 0  # seconds the oldest record has been here, of the time the buffer was in use
    waiting: list[Waiting] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)  # declared, and not stored yet
    checked: int = 0  # records whose checksum was verified


def glance(folder: Path) -> Report:
    """How full it is, from the heads of its files. Raises OSError where the folder cannot be read."""
    return _look(folder, all_of_it=False)


def inspect(folder: Path) -> Report:
    """Everything, each record verified. Raises OSError where the folder cannot be read."""
    return _look(folder, all_of_it=True)


def _look(folder: Path, all_of_it: bool) -> Report:
    disk = Disk(folder)
    there = recover(disk)
    numbering = Numbering(there.epochs)
    dealt = Dealt(there.marks.stored, there.marks.beyond)
    report = Report(
        in_use=in_use(folder), epoch=numbering.epochs[-1].name if numbering.epochs else "",
        messages=there.last - len(dealt), readings=there.total, lost=there.marks.lost,
        bytes=sum(disk.size(name) for name in disk.segments()),
        segments=len(there.segments), spares=len(there.spares), foreign=len(there.foreign), free=disk.free(),
    )  # fmt: skip
    segments = there.segments if all_of_it else there.segments[:1] + there.segments[1:][-1:]
    holes = [hole for hole in there.holes if there.newest is None or hole not in there.newest[1].holes]
    oldest: int | None = None
    for segment in segments:
        damaged, entries = _records(disk, segment, newest=segment is there.segments[-1])
        holes += damaged
        for entry in entries:
            report.checked += 1
            if entry.position in dealt:
                continue
            oldest = entry.seconds if oldest is None else oldest
            if entry.flags & LOSS:
                with suppress(PayloadError):
                    report.losses.append(decode_loss(entry.payload)[2])
            timed = entry.readings and not entry.flags & (LOSS | UNTIMED)
            _add(report.waiting, f"{entry.epoch:08x}", entry, (entry.first, entry.last) if timed else (0, 0))
    report.losses += [loss for position, loss in there.marks.untold if position > there.last]
    if all_of_it:
        report.damage = list(_damage(holes, dealt, numbering))
    report.start = min((each.start for each in report.waiting if each.start), default=0)
    report.end = max((each.end for each in report.waiting), default=0)
    report.waited = max(0, there.marks.seconds - oldest) if oldest is not None else 0
    return report


def _damage(holes: Sequence[Hole], dealt: Dealt, numbering: Numbering) -> Iterator[Damage]:
    for hole in holes:
        count = hole.readings
        for first, last in dealt.missing(hole.first, hole.last):
            for begin, end in numbering.parts(first, last):
                epoch, seq = numbering.identity(begin)
                yield Damage(epoch, seq, seq + end - begin, count)
                count = 0


def _records(disk: Disk, segment: Segment, *, newest: bool) -> tuple[list[Hole], Iterator[Entry]]:
    """What is missing in it, and what is there. A gateway may be writing to the newest: its end is where it is."""
    assert segment.name is not None
    data = disk.read(segment.name, 0, segment.size)
    found = scan(data, segment.first, segment.total, reduced=segment.level > 0, last=None if newest else segment.last)
    holes = list(found.holes)
    whole = segment.level and found.total == segment.total_end
    if not newest and found.next <= segment.last and not whole:
        holes.append(Hole(found.next, segment.last, max(0, segment.total_end - found.total), 0, 0))
    return holes, (get(data, at) for at in found.offsets)


def _add(waiting: list[Waiting], epoch: str, entry: Entry, times: tuple[int, int]) -> None:
    """Most follow the one before them."""
    last = waiting[-1] if waiting else None
    if last is None or last.epoch != epoch or last.last + 1 != entry.seq:
        waiting.append(Waiting(epoch, entry.seq, entry.seq, entry.readings, *times, array("I", [entry.readings])))
        return
    last.last = entry.seq
    last.each.append(entry.readings)
    last.readings += entry.readings
    if times[0]:
        last.start = min(last.start, times[0]) if last.start else times[0]
        last.end = max(last.end, times[1])


def in_use(folder: Path) -> bool:
    """Whether a gateway has it now."""
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(lock)
    return False
