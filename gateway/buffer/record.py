"""Records as bytes, and how they are found again in a file of which parts are damaged. Pure.

    segment ─ header ─ record ─ record ─ commit ─ … ─ record ─ commit ─ zeros, or what stood here before

A record begins at a multiple of eight bytes. Its CRC32C covers everything behind it: the length, the epoch, the
position, topic and payload. `total` counts the readings before it, so the record behind a damaged stretch tells how
many readings were in that. A commit closes what one fdatasync covers; it says where the next record begins, and how
far the records before it reached, so damage to the very last record is noticed as well.

Segments are used again without being wiped: what stood there before has lower positions, and ends the search.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from struct import Struct

from crc32c import crc32c

# crc, length, epoch, readings, kind, flags, bytes of topic, seconds, position, seq, total, first, last
_RECORD = Struct("<IIIIBBHIQQQqq")
_CRC = Struct("<I")
HEAD = _RECORD.size
DATA, COMMIT = 0xD1, 0xC3
LOSS, UNTIMED = 0x01, 0x02  # flags: a loss record; its times are of a clock that was not set
LONGEST_TOPIC = 0xFFFF
_PAGE = 4096

# magic with the version of the format, crc, level, position of the first record, readings before it, stored, last, end,
# original end
_SEGMENT = Struct("<8sIIQQQQQQ")
MAGIC = b"SFGWBUF\x01"
SEGMENT_HEAD = _SEGMENT.size


def aligned(size: int) -> int:
    """The next multiple of eight."""
    return (size + 7) & ~7


# --- one record ------------------------------------------------------------------------------------------------------


def put(
    view: memoryview, at: int, epoch: int, readings: int, flags: int, seconds: int,
    position: int, seq: int, total: int, first: int, last: int, topic: bytes, payload: bytes,
) -> int:  # fmt: skip
    """Write a record at this offset; there must be room. Returns the offset behind it."""
    length = HEAD + len(topic) + len(payload)
    _RECORD.pack_into(
        view, at, 0, length, epoch, readings, DATA, flags, len(topic), seconds, position, seq, total, first, last
    )
    view[at + HEAD : at + length] = topic + payload
    _CRC.pack_into(view, at, crc32c(view[at + 4 : at + length]))
    return at + aligned(length)


def put_commit(view: memoryview, at: int, position: int, behind: int, total: int, seconds: int, now: int) -> None:
    """Write a commit: records up to `position` came before it, the next one begins at the offset `behind`."""
    _RECORD.pack_into(view, at, 0, HEAD, 0, 0, COMMIT, 0, 0, seconds, position, behind, total, now, now)
    _CRC.pack_into(view, at, crc32c(view[at + 4 : at + HEAD]))


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it stands in its segment."""

    position: int
    epoch: int
    seq: int
    flags: int
    readings: int
    seconds: int  # the buffer's own running time when it was appended
    total: int
    first: int
    last: int
    topic: bytes
    payload: bytes

    def with_payload(self, payload: bytes, readings: int) -> Entry:
        """The same record, with less in it."""
        return replace(self, payload=payload, readings=readings)


def get(data: bytes | bytearray | memoryview, at: int) -> Entry:
    """The record at an offset where `scan` found one, or `put` wrote one."""
    _, length, epoch, readings, _, flags, topic, seconds, position, seq, total, first, last = _RECORD.unpack_from(
        data, at
    )
    body = at + HEAD
    return Entry(
        position, epoch, seq, flags, readings, seconds, total, first, last,
        bytes(data[body : body + topic]), bytes(data[body + topic : at + length]),
    )  # fmt: skip


# --- the head of a segment -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """What a segment says of itself. `last` and `end` are known of those that were written in one go."""

    first: int  # position of its first record
    total: int  # readings before it
    stored: int  # the stored mark when it was begun: what is missing below is not lost
    level: int = 0  # how often it was reduced: then not every position is there, and that is declared
    last: int = 0
    end: int = 0  # readings up to its end, counted like `total`
    original_end: int = 0  # the same, had it not been reduced


def encode_head(head: SegmentHead) -> bytes:
    """The first SEGMENT_HEAD bytes of a segment."""
    packed = bytearray(SEGMENT_HEAD)
    _SEGMENT.pack_into(
        packed, 0, MAGIC, 0, head.level, head.first, head.total, head.stored, head.last, head.end, head.original_end
    )
    _CRC.pack_into(packed, 8, crc32c(bytes(packed[12:])))
    return bytes(packed)


def decode_head(data: bytes) -> SegmentHead | None:
    """None where there is none, or it is damaged, or of a version that is not known."""
    if len(data) < SEGMENT_HEAD or data[:8] != MAGIC:
        return None
    _, crc, level, first, total, stored, last, end, original_end = _SEGMENT.unpack_from(data)
    if crc != crc32c(bytes(data[12:SEGMENT_HEAD])):
        return None
    return SegmentHead(first, total, stored, level, last, end, original_end)


def of_another_version(data: bytes) -> bool:
    """A segment of this buffer, but in a format this version does not know: not to be touched."""
    return data[:7] == MAGIC[:7] and data[:8] != MAGIC


# --- finding them again ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hole:
    """Positions that are not there any more."""

    first: int
    last: int
    readings: int
    start: int  # ns: the newest reading known before it
    end: int  # ns: the oldest one known after it


@dataclass(slots=True)
class Found:
    """What a segment holds."""

    offsets: array[int] = field(default_factory=lambda: array("I"))
    positions: array[int] = field(default_factory=lambda: array("Q"))
    holes: list[Hole] = field(default_factory=list)
    end: int = SEGMENT_HEAD  # where the next record belongs
    next: int = 0  # its position
    total: int = 0  # readings up to here
    newest: int = 0  # ns: the newest reading seen
    seconds: int = 0  # the newest running time seen
    committed: bool = False  # the last thing there is a commit


def scan(data: bytes | bytearray, first: int, total: int, *, reduced: bool = False, last: int | None = None) -> Found:
    """All records of a segment, from the one with position `first` on; `total`: readings before it.

    What is damaged is stepped over, and becomes a hole as far as what follows tells its extent. What lies beyond `last`
    was written anew elsewhere.
    """
    found = Found(next=first, total=total)
    for at, kind, position, record in _records(data, first):
        if last is not None and position > last:
            continue
        if kind == COMMIT:
            if position >= found.next and reduced and record[10] == found.total:
                found.next = position + 1
            elif position >= found.next:
                found.holes.append(Hole(found.next, position, record[10] - found.total, found.newest, record[11]))
                found.next, found.total = position + 1, record[10]
            if position < found.next - 1:
                continue  # of an earlier life of this file
            behind = record[9]
            found.end = behind if at + HEAD <= behind <= len(data) else at + HEAD
            found.committed = True
        else:
            if position < found.next:
                continue
            before = record[10]
            if position > found.next and (not reduced or before != found.total):
                found.holes.append(
                    Hole(found.next, position - 1, max(0, before - found.total), found.newest, record[11])
                )
            found.offsets.append(at)
            found.positions.append(position)
            found.next, found.total = position + 1, before + record[3]
            found.newest = max(found.newest, record[12])
            found.end, found.committed = at + aligned(record[1]), False
        found.seconds = max(found.seconds, record[7])
    return found


def _records(data: bytes | bytearray, first: int) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """Offset, kind, position and fields of everything whole, in the order of the file; commits may move the place."""
    view, size, at = memoryview(data), len(data), SEGMENT_HEAD
    expected = first
    while at + HEAD <= size:
        record = _RECORD.unpack_from(data, at)
        length, kind = record[1], record[4]
        whole = (
            kind in (DATA, COMMIT)
            and HEAD + record[6] <= length <= size - at
            and record[8] >= expected - 1
            and record[0] == crc32c(view[at + 4 : at + length])
        )
        if not whole:
            at = _next_candidate(data, at + 8)
            continue
        yield at, kind, record[8], record
        expected = max(expected, record[8] + 1)
        if kind == COMMIT:
            at = record[9] if at < record[9] <= size and not record[9] % 8 else at + HEAD
        else:
            at += aligned(length)


_ZEROS = bytes(_PAGE)


def _next_candidate(data: bytes | bytearray, at: int) -> int:
    """Where to look next: pages of zeros are stepped over at once."""
    while not data[at : at + 1].strip(b"\0") and data[at : at + _PAGE] == _ZEROS:
        at += _PAGE
    return at
