"""What is to be done on the disk: gathered on the event loop, done in a thread, and reported back.

    SegmentLog.prepare() ─▶ Work.run(), in a thread of its own ─▶ SegmentLog.finish(work)

A disk may take seconds, and on a bad card it does; the loop goes on reading machines meanwhile.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.buffer.disk import BufferInUseError, Disk
from gateway.buffer.marks import SIZE as MARKS_SIZE
from gateway.buffer.segment import Segment
from gateway.faults import Reason, fault_of_disk

MARKS = "marks"
SPARES = 2  # one to go on with at once, and one as ballast, for a full disk


@dataclass(slots=True)
class Write:
    """A stretch of a segment that its file does not have yet."""

    segment: Segment
    start: int
    end: int
    upto: int  # the last position in it
    total: int  # readings up to there


@dataclass(slots=True)
class Work:
    """In this order: records, so that no killed gateway forgets them; marks, files for new segments, and theirs; fdatasync."""

    disk: Disk
    marks: tuple[int, bytes] | None = None  # offset and slot
    place: Sequence[tuple[Segment, str]] = ()  # segments without a file, and names for new ones
    writes: Sequence[Write] = ()
    sync: bool = False
    freed: Sequence[tuple[str, int]] = ()  # files of segments that are stored, and their sizes
    spares: list[str] = field(default_factory=list)  # files that can be used again, of the usual size
    size: int = 0  # the usual size
    reserve: int = 0  # bytes of the disk that are not ours

    marked: bool = False
    placed: list[tuple[Segment, str]] = field(default_factory=list)
    done: list[Write] = field(default_factory=list)
    synced: list[Segment] = field(default_factory=list)
    failed: dict[Segment, OSError] = field(default_factory=dict)
    trouble: OSError | None = None  # the first thing that went wrong
    full: bool = False  # no room for a new file
    seconds: float = 0.0  # the longest fdatasync

    @property
    def empty(self) -> bool:
        """Nothing to do."""
        return not (self.marks or self.place or self.writes or self.freed)

    def run(self) -> Work:
        """Whatever goes wrong is noted, and costs no more than itself."""
        try:
            self.disk.take()
        except (OSError, BufferInUseError) as exc:
            self.trouble = exc if isinstance(exc, OSError) else OSError(0, str(exc))
            return self
        first = [write for write in self.writes if write.segment.name is not None]
        for write in first:
            self._write(write)
        self._mark()
        self._recycle()
        for segment, name in self.place:
            self._place(segment, name)
        for write in self.writes:
            if write not in first:
                self._write(write)
        if self.sync:
            self._sync()
        return self

    def _mark(self) -> None:
        if self.marks is None:
            return
        try:
            try:
                self.disk.write(MARKS, *self.marks)
            except FileNotFoundError:
                self.disk.create(MARKS, MARKS_SIZE)
                self.disk.write(MARKS, *self.marks)
            self.disk.sync(MARKS)
            self.marked = True
        except OSError as exc:
            self._note(exc)

    def _recycle(self) -> None:
        """Only once the marks say that what they held is stored: else it would be missed."""
        if not self.marked:
            return
        removed = False
        for name, size in self.freed:
            if size == self.size and len(self.spares) < SPARES:
                self.spares.append(name)
            else:
                try:
                    self.disk.remove(name)
                    removed = True
                except OSError as exc:
                    self._note(exc)
        if removed:
            try:
                self.disk.sync_folder()  # or it comes back after a power cut
            except OSError as exc:
                self._note(exc)

    def _place(self, segment: Segment, name: str) -> None:
        if segment.size == self.size and len(self.spares) >= SPARES:
            name = self.spares.pop()
        else:
            try:
                create(self.disk, name, segment.size, self.reserve)
            except OSError as exc:
                self._note(exc)
                self.full = self.full or is_full(exc)
                if segment.size != self.size or not self.spares:
                    return
                name = self.spares.pop()  # the ballast is there for this
        self.placed.append((segment, name))

    def _write(self, write: Write) -> bool:
        segment = write.segment
        name = segment.name or next((name for each, name in self.placed if each is segment), None)
        if name is None or segment in self.failed:
            return False
        try:
            assert segment.view is not None
            if write.start == 0:  # a new one: its head goes with its first records
                head = segment.head()
                segment.view[: len(head)] = head
            self.disk.write(name, write.start, segment.view[write.start : write.end])
        except OSError as exc:
            self.failed[segment] = exc
            self._note(exc)
            return False
        self.done.append(write)
        return True

    def _sync(self) -> None:
        for segment in dict.fromkeys(write.segment for write in self.writes):
            name = segment.name or next((name for each, name in self.placed if each is segment), None)
            if name is None or segment in self.failed:
                continue
            began = time.monotonic()
            try:
                self.disk.sync(name)
            except OSError as exc:
                # What the kernel did with the pages is not known: never asked again, written anew elsewhere.
                self.failed[segment] = exc
                self._note(exc)
                continue
            self.seconds = max(self.seconds, time.monotonic() - began)
            self.synced.append(segment)

    def _note(self, exc: OSError) -> None:
        self.trouble = self.trouble or exc


@dataclass(slots=True)
class Spare:
    """A file that is made ahead, so that nobody has to wait for it."""

    disk: Disk
    name: str
    size: int
    reserve: int
    trouble: OSError | None = None

    def run(self) -> Spare:
        try:
            create(self.disk, self.name, self.size, self.reserve)
        except OSError as exc:
            self.trouble = exc
        return self


def create(disk: Disk, name: str, size: int, reserve: int) -> None:
    """A new file, if that leaves enough of the disk. Raises OSError."""
    if disk.free() < size + reserve:
        raise OSError(errno.ENOSPC, f"less than {reserve // 2**20} MiB would be left free on this disk")
    disk.create(name, size)


def is_full(exc: OSError) -> bool:
    """No room, of blocks, inodes or quota."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT)


def said(exc: OSError) -> Reason:
    """What the system says, in words."""
    return Reason(exc.strerror or os.strerror(exc.errno or 0), fault_of_disk(exc))
