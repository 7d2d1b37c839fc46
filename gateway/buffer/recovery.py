"""What a folder holds: the one way in, for the gateway that starts and for those who only look. Reads, never writes.

Only the heads are read, and the newest segment: a million waiting records do not hold up a start. Whatever is damaged in
between is found when it is read. Nothing here refuses a start; what cannot be understood is left where it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.buffer.disk import Disk, number
from gateway.buffer.marks import SIZE as MARKS_SIZE
from gateway.buffer.marks import Epoch, Marks, decode_marks
from gateway.buffer.record import (
    SEGMENT_HEAD,
    Found,
    Hole,
    SegmentHead,
    decode_head,
    get,
    of_another_version,
    scan,
)  # fmt: skip
from gateway.buffer.segment import Segment
from gateway.buffer.work import MARKS

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recovered:
    """What there is."""

    marks: Marks
    segments: list[Segment] = field(default_factory=list)  # with records that may not be stored, oldest first
    spares: list[tuple[str, int]] = field(default_factory=list)  # files without any, and their sizes
    foreign: list[str] = field(default_factory=list)  # of another version: not touched
    newest: tuple[bytes, Found] | None = None  # the last of the segments, as it was read
    holes: list[Hole] = field(default_factory=list)
    last: int = 0  # the newest position there ever was, as far as is known
    total: int = 0  # readings up to there
    marked: bool = False  # the marks could be read
    epochs: list[Epoch] = field(default_factory=list)
    names: int = 0  # the highest number of a file
    unreadable: int = 0  # files of which nothing can be read at the moment


def recover(disk: Disk) -> Recovered:
    """Raises OSError if the folder cannot be read, or none of its files."""
    marks = _marks(disk)
    found = Recovered(marks or Marks(), marked=marks is not None)
    ordered: list[tuple[SegmentHead, str, int]] = []
    names = disk.segments()
    found.names = max(map(number, names), default=0)
    for name in names:
        try:
            size = disk.size(name)
            data = disk.read(name, 0, SEGMENT_HEAD)
            head = decode_head(data)
            if head is None and not of_another_version(data):
                head = _guessed(disk.read(name, 0, size))
        except OSError as exc:
            log.error("buffer: %s cannot be read (%s)", disk.folder / name, exc.strerror)
            found.unreadable += 1
            if found.unreadable == len(names):
                raise
            continue
        if head is None and of_another_version(data):
            found.foreign.append(name)
            continue
        if head is not None and head.level and found.marked and number(name) > found.marks.reduced:
            found.spares.append((name, size))  # what it leaves out is not declared yet, so what it was made of is there
            continue
        if head is None:
            found.spares.append((name, size))
            continue
        ordered.append((head, name, size))
    # Of two with the same beginning the reduced one is the newer; it was whole before it got its name.
    ordered.sort(key=lambda each: (each[0].first, -each[0].level))
    stored = max([found.marks.stored, *(head.stored for head, _, _ in ordered)])
    found.marks = replace(found.marks, stored=stored)
    covered = 0
    kept: list[tuple[SegmentHead, str, int]] = []
    for head, name, size in ordered:
        if head.first <= covered:  # reduced meanwhile, or there twice
            found.spares.append((name, size))
            continue
        if kept and kept[-1][0].first == head.first:  # one was given up, and came back: the fuller one counts
            other = kept[-1]
            if head.level == other[0].level and _reach(disk, name, size, head) > _reach(
                disk, other[1], other[2], other[0]
            ):
                kept[-1], (head, name, size) = (head, name, size), other
            found.spares.append((name, size))
            continue
        covered = max(covered, head.last)
        kept.append((head, name, size))
    for i, (head, name, size) in enumerate(kept):
        segment = Segment(head.first, head.total, head.stored, size, level=head.level)
        segment.whole_end = head.original_end
        segment.name = name
        segment.written = segment.end = size
        following = kept[i + 1][0] if i + 1 < len(kept) else None
        if following is not None:
            segment.last, segment.total_end = following.first - 1, following.total
            if head.level:  # it knows how far it reached; what is missing behind it is missing
                segment.last, segment.total_end = head.last, head.end
                if head.last < following.first - 1:
                    count = max(0, following.total - head.original_end)
                    found.holes.append(Hole(head.last + 1, following.first - 1, count, 0, 0))
            segment.synced_to = segment.last
            if segment.last <= stored:
                found.spares.append((name, size))
                continue
        else:
            try:
                data = disk.read(name, 0, size)
            except OSError as exc:
                log.error("buffer: %s cannot be read (%s)", disk.folder / name, exc.strerror)
                found.unreadable += 1
                if not found.segments:
                    raise
                before = found.segments[-1]
                found.last, found.total = before.last, before.original_end
                continue
            there = scan(data, head.first, head.total, reduced=head.level > 0)
            segment.last, segment.total_end = there.next - 1, there.total
            total = head.original_end if head.level else there.total
            segment.synced_to, segment.end = segment.last, there.end
            found.newest, found.last, found.total = (data, there), segment.last, total
            found.holes += there.holes
        found.segments.append(segment)
    _ends(found)
    found.epochs = _epochs(disk, found)
    return found


def _reach(disk: Disk, name: str, size: int, head: SegmentHead) -> int:
    """The position behind the last record of a segment."""
    try:
        return scan(disk.read(name, 0, size), head.first, head.total, reduced=head.level > 0).next
    except OSError:
        return 0


def known_time(folder: Path) -> int:
    """ns: the newest time a gateway with this buffer has known; 0 where there is none. Needs no lock."""
    try:
        marks = decode_marks((folder / MARKS).read_bytes()[:MARKS_SIZE])
    except OSError:
        return 0
    return marks.known if marks else 0


def _ends(found: Recovered) -> None:
    """What is missing before the first and behind the last segment."""
    marks = found.marks
    if found.segments and found.segments[0].first > marks.stored + 1:
        position, readings = marks.counted
        count = found.segments[0].total - readings if position == marks.stored else 0  # else it is not known
        found.holes.insert(0, Hole(marks.stored + 1, found.segments[0].first - 1, max(0, count), 0, 0))
    if found.marked and marks.last > found.last:
        first = max(found.last, marks.stored) + 1
        if first <= marks.last:
            known = found.total if found.segments else marks.counted[1]
            found.holes.append(Hole(first, marks.last, max(0, marks.total - known), 0, 0))
        found.last, found.total = marks.last, max(found.total, marks.total)
    found.last = max([found.last, marks.stored, *(last for _, last in marks.beyond)])


def _marks(disk: Disk) -> Marks | None:
    try:
        return decode_marks(disk.read(MARKS, 0, MARKS_SIZE))
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.error("buffer: the marks cannot be read (%s): what is stored already will be sent once more", exc)
        return None


def _guessed(data: bytes) -> SegmentHead | None:
    """The head of a segment whose own is damaged, from its records; None where it has none."""
    found = scan(data, 0, 0)
    if not found.positions:
        return None
    first = get(data, found.offsets[0])
    return SegmentHead(first.position, first.total, 0)


def _epochs(disk: Disk, there: Recovered) -> list[Epoch]:
    """Those the marks name, or what the records say where there are no marks."""
    if not there.marked:
        return epochs_of(disk, there.segments)
    known = {each.name for each in there.marks.epochs}
    newest = [each for each in epochs_of(disk, there.segments[-1:]) if each.name not in known]
    return sorted([*there.marks.epochs, *newest], key=lambda each: each.base)


def epochs_of(disk: Disk, segments: list[Segment]) -> list[Epoch]:
    """Where epochs begin, from the records themselves: slow, and only needed when the marks are gone."""
    epochs: dict[str, Epoch] = {}
    for segment in segments:
        assert segment.name is not None
        data = disk.read(segment.name, 0, segment.size)
        for at in scan(data, segment.first, segment.total, reduced=segment.level > 0).offsets:
            entry = get(data, at)
            name = f"{entry.epoch:08x}"
            if name not in epochs:
                epochs[name] = Epoch(name, entry.position - entry.seq)
    return sorted(epochs.values(), key=lambda each: each.base)
