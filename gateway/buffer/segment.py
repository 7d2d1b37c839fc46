"""One segment in memory: where it is on the disk, and its records as long as somebody needs them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import replace

from gateway.buffer.record import (
    HEAD,
    SEGMENT_HEAD,
    Entry,
    Found,
    SegmentHead,
    aligned,
    encode_head,
    get,
    put,
    put_commit,
)

PAGE = 4096
_SPARE = PAGE // 2  # what may be left empty so that a page is written once


class Segment:
    """Compared by identity. `data` is there while it is written to, or was read for somebody."""

    __slots__ = (
        "data",
        "end",
        "first",
        "last",
        "level",
        "name",
        "newest",
        "offsets",
        "positions",
        "read_at",
        "seconds",
        "size",
        "stored",
        "synced",
        "synced_to",
        "synced_total",
        "total",
        "total_end",
        "view",
        "whole_end",
        "written",
    )  # fmt: skip

    def __init__(self, first: int, total: int, stored: int, size: int, *, level: int = 0) -> None:
        self.first = first  # position of its first record
        self.last = first - 1  # of its newest
        self.total = self.total_end = total  # readings before it, and up to its end
        self.stored = stored  # the stored mark when it was begun
        self.size, self.level = size, level
        self.whole_end = total  # of a reduced one: readings up to its end, had it not been reduced
        self.name: str | None = None  # its file; None while it has none
        self.data: bytearray | None = None
        self.view: memoryview | None = None
        self.offsets: array[int] = array("I")
        self.positions: array[int] = array("Q")
        self.end = SEGMENT_HEAD  # offset of the next record
        self.written = 0  # offset up to which the file has it
        self.synced = SEGMENT_HEAD  # offset up to which it is safe
        self.synced_to = first - 1  # the last position that is
        self.synced_total = total  # readings up to there
        self.seconds = 0  # running time of its newest record
        self.newest = 0  # ns: its newest reading
        self.read_at = float("-inf")  # monotonic: when somebody wanted a record of it

    @property
    def records(self) -> int:
        return self.last - self.first + 1

    @property
    def original_end(self) -> int:
        """Readings up to its end, as they were appended."""
        return self.whole_end if self.level else self.total_end

    @property
    def safe(self) -> bool:
        """All of it is on the disk."""
        return self.synced_to == self.last

    def begin(self) -> None:
        """Make it one to be written to."""
        self.data = bytearray(self.size)
        self.view = memoryview(self.data)

    def head(self) -> bytes:
        """The bytes before its first record."""
        if not self.level:
            return encode_head(SegmentHead(self.first, self.total, self.stored))
        return encode_head(
            SegmentHead(self.first, self.total, self.stored, self.level, self.last, self.total_end, self.whole_end)
        )

    def fill(self, data: bytes | bytearray, found: Found) -> None:
        """Take over what was read from its file."""
        self.data = data if isinstance(data, bytearray) else bytearray(data)
        self.view = memoryview(self.data)
        self.offsets, self.positions = found.offsets, found.positions
        self.newest, self.seconds = found.newest, found.seconds

    def forget(self) -> None:
        """Let go of its records; they are read again when they are needed."""
        self.data = self.view = None
        self.offsets, self.positions = array("I"), array("Q")

    def has_room(self, size: int) -> bool:
        """For a record of so many bytes, and the commit behind it."""
        return self.end + aligned(size) + HEAD <= self.size

    def close(self, seconds: int, now: int) -> None:
        """Put a commit behind what is new, if there is anything: it says that there is nothing missing before it."""
        if self.view is None or self.synced_to == self.last or self.end + HEAD > self.size:
            return
        at = self.end
        behind = at + HEAD
        if (left := -behind % PAGE) <= _SPARE and behind + left + HEAD <= self.size:
            behind += left
        put_commit(self.view, at, self.last, behind, self.total_end, seconds, now)
        self.end = behind

    def entries(self, after: int) -> range:
        """The indexes of its records above this position; they must be in memory."""
        return range(bisect_left(self.positions, after + 1), len(self.positions))

    def left_out(self) -> list[tuple[int, int]]:
        """Stretches of positions that it does not have."""
        gaps, before = [], self.first - 1
        for position in [*self.positions, self.last + 1]:
            if position > before + 1:
                gaps.append((before + 1, position - 1))
            before = position
        return gaps

    def entry(self, index: int) -> Entry:
        assert self.view is not None
        return get(self.view, self.offsets[index])

    def split(self) -> Segment:
        """End it behind what is safe, and begin another one with the rest; both are in memory."""
        assert self.view is not None
        kept = bisect_left(self.positions, self.synced_to + 1)
        entries = [self.entry(index) for index in range(kept, len(self.positions))]
        begins = entries[0].total if entries else self.total_end
        rest = Segment(entries[0].position if entries else self.last + 1, begins, self.stored, self.size)
        rest.begin()
        for entry in entries:
            rest.add(entry)
        del self.offsets[kept:], self.positions[kept:]
        self.last, self.total_end = self.synced_to, begins
        self.end = self.written = self.size  # nothing more goes there
        return rest

    def behind(self, total: int, stored: int, seconds: int) -> Segment:
        """The same records, not written anywhere yet, behind others: of so many readings, so many seconds, this stored mark."""
        moved = Segment(self.first, self.total + total, stored, self.size)
        moved.begin()
        for index in range(len(self.positions)):
            entry = self.entry(index)
            moved.add(replace(entry, total=entry.total + total, seconds=entry.seconds + seconds))
        return moved

    def add(self, entry: Entry) -> None:
        """Put a record behind the others; there must be room."""
        assert self.view is not None
        self.offsets.append(self.end)
        self.positions.append(entry.position)
        self.end = put(
            self.view, self.end, entry.epoch, entry.readings, entry.flags, entry.seconds, entry.position, entry.seq,
            entry.total, entry.first, entry.last, entry.topic, entry.payload,
        )  # fmt: skip
        self.last, self.total_end = entry.position, entry.total + entry.readings
        self.seconds, self.newest = entry.seconds, max(self.newest, entry.last)
