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

MARKS = "marks"


@dataclass(slots=True)
class Write:
    """A stretch of a segment that its file does not have yet."""

    segment: Segment
    start: int
    end: int
    upto: int  # the last position in it


@dataclass(slots=True)
class Work:
    """In this order: marks, files for new segments, records, fdatasync, files that are not needed any more."""

    disk: Disk
    marks: tuple[int, bytes] | None = None  # offset and slot
    place: Sequence[Segment] = ()
    writes: Sequence[Write] = ()
    sync: bool = False
    freed: Sequence[tuple[str, int]] = ()  # files of segments that are stored, and their sizes
    spares: list[str] = field(default_factory=list)  # files that can be used again, of the usual size
    size: int = 0  # the usual size
    keep: int = 1  # spares to have
    reserve: int = 0  # bytes of the disk that are not ours
    names: int = 0  # the number of the newest file

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
        self._mark()
        self._recycle()
        for segment in self.place:
            self._place(segment)
        touched: dict[Segment, None] = {}
        for write in self.writes:
            if self._write(write):
                touched[write.segment] = None
        if self.sync:
            self._sync(touched)
        self._keep_spares()
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
        for name, size in self.freed:
            if size == self.size and len(self.spares) < self.keep + 1:
                self.spares.append(name)
            else:
                try:
                    self.disk.remove(name)
                except OSError as exc:
                    self._note(exc)

    def _place(self, segment: Segment) -> None:
        name = ""
        if segment.size == self.size and len(self.spares) > self.keep:
            name = self.spares.pop()
        else:
            try:
                name = self._create(segment.size)
            except OSError as exc:
                self._note(exc)
                self.full = self.full or exc.errno in (errno.ENOSPC, errno.EDQUOT)
                if segment.size != self.size or not self.spares:
                    return
                name = self.spares.pop()  # the ballast is there for this
        self.placed.append((segment, name))

    def _create(self, size: int) -> str:
        if self.disk.free() < size + self.reserve:
            raise OSError(errno.ENOSPC, f"less than {self.reserve // 2**20} MiB would be left free")
        self.names += 1
        name = f"{self.names:08}.segment"
        self.disk.create(name, size)
        return name

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

    def _sync(self, touched: dict[Segment, None]) -> None:
        for segment in dict.fromkeys([*touched, *(write.segment for write in self.writes)]):
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

    def _keep_spares(self) -> None:
        """One ahead, so that nobody waits for it, and as ballast for a full disk."""
        if self.trouble is not None or len(self.spares) >= self.keep:
            return
        try:
            self.spares.append(self._create(self.size))
        except OSError as exc:
            self._note(exc)
            self.full = self.full or exc.errno in (errno.ENOSPC, errno.EDQUOT)

    def _note(self, exc: OSError) -> None:
        self.trouble = self.trouble or exc


def said(exc: OSError) -> str:
    """What the system says, in words."""
    return exc.strerror or os.strerror(exc.errno or 0)
