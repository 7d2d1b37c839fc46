"""Frames of a serial line in a stream that grows, told by nothing but their checksum. Pure.

No place is looked at twice, however small the pieces are in which the stream comes: a frame that may begin at one is looked at
when its last byte is there. So a stream in pieces of a byte takes as long as the whole of it at once.
"""

from __future__ import annotations

from binascii import a2b_hex
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from simulators.modbus.framing import Frame, crc

OPEN = -1  # nothing tells how long it is: it ends with a piece
_LONGEST = 256  # bytes of an RTU frame: MODBUS over Serial Line V1.02, 2.5.1.1
_MOST_OPEN = 8  # places at which a frame of unknown length may begin

# Of the RTU frame that begins at a place in the stream, at least its size in bytes; 0 where none can begin; OPEN.
Size = Callable[[bytearray, int], int]


class Found(NamedTuple):
    """A frame, and where it stands in the stream."""

    start: int
    end: int
    frame: Frame


class Search(Protocol):
    """Looks through one stream. Places are counted from the first byte that is still there."""

    stream: bytearray  # appended to from outside

    def find(self) -> Found | None:
        """The first frame that is complete and wanted."""

    def drop(self, count: int) -> None:
        """Forget so many bytes at the beginning."""


class RtuSearch:
    """Fulfils `Search`."""

    def __init__(self, size: Size, wanted: Callable[[Frame], bool], least: int) -> None:
        """`least`: bytes of the shortest frame."""
        self.stream = bytearray()
        self._size, self._wanted, self._least = size, wanted, least
        # All of these are places since the search began.
        self._begin = 0  # of the stream
        self._looked = 0  # up to where it is known what may begin
        self._due: list[tuple[int, int]] = []  # end and start of what may be a frame, a heap
        self._open: list[list[int]] = []  # start; up to where there is a checksum; that

    def find(self) -> Found | None:
        end = self._begin + len(self.stream)
        open_ones = {start for start, _, rest in self._checked(end) if not rest}
        due = []
        while self._due and self._due[0][0] <= end:
            due.append(heappop(self._due)[1])
        for start in sorted({*due, *open_ones}):
            found = self._frame(start, end) if start in open_ones else self._look(start)
            if found is not None:
                return found
        while self._looked <= end - self._least:
            self._looked += 1
            if (found := self._look(self._looked - 1)) is not None:
                return found
        return None

    def drop(self, count: int) -> None:
        del self.stream[:count]
        self._begin += count
        self._looked = max(self._looked, self._begin)
        self._open = [each for each in self._open if each[0] >= self._begin]

    def _look(self, start: int) -> Found | None:
        """The frame that begins there, if it is complete; else it is looked for again when it may be."""
        if start < self._begin:
            return None
        end = self._begin + len(self.stream)
        size = self._size(self.stream, start - self._begin)
        if size == OPEN:
            if len(self._open) < _MOST_OPEN:
                self._open.append([start, end, crc(self.stream[start - self._begin :])])
                return None if self._open[-1][2] else self._frame(start, end)
        elif size >= self._least:
            if start + size <= end:
                sound = not crc(self.stream[start - self._begin : start - self._begin + size])
                return self._frame(start, start + size) if sound else None
            heappush(self._due, (start + size, start))
        return None

    def _frame(self, start: int, end: int) -> Found | None:
        start, end = start - self._begin, end - self._begin
        frame = Frame(0, self.stream[start], bytes(self.stream[start + 1 : end - 2]))
        return Found(start, end, frame) if self._wanted(frame) else None

    def _checked(self, end: int) -> list[list[int]]:
        """Those of unknown length, with the checksum of all that there is."""
        self._open = [each for each in self._open if end - each[0] <= _LONGEST]
        for each in self._open:
            each[2] = crc(self.stream[each[1] - self._begin :], each[2])
            each[1] = end
        return self._open


class AsciiSearch:
    """Fulfils `Search`."""

    def __init__(self, wanted: Callable[[Frame], bool]) -> None:
        self.stream = bytearray()
        self._wanted = wanted
        self._at = 0  # up to where lines were looked at

    def find(self) -> Found | None:
        while (end := self.stream.find(b"\r\n", self._at)) >= 0:
            start, self._at = self.stream.rfind(b":", self._at, end), end + 2
            try:
                body = a2b_hex(self.stream[start + 1 : end]) if start >= 0 else b""
            except ValueError:
                continue
            if len(body) >= 3 and not sum(body) & 0xFF:  # the LRC makes the sum 0: over Serial Line V1.02, 6.2.1
                frame = Frame(0, body[0], body[1:-1])
                if self._wanted(frame):
                    return Found(start, end + 2, frame)
        return None

    def drop(self, count: int) -> None:
        del self.stream[:count]
        self._at = max(0, self._at - count)
