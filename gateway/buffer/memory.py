"""A buffer in memory: it outlives the broker and the store, not the process. Each start is a new epoch."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence

from gateway.buffer.contract import Record, Usage
from gateway.clock import Clock
from gateway.mqtt.payload import Loss, Ranges, merge_ranges

# What a record costs beside its payload: the object, its numbers, its place in the list.
_OVERHEAD = 250
# Dropping makes this much room at once, so that a full buffer does not declare every record by itself.
_ROOM = 16

Declare = Callable[[Loss, int], tuple[str, bytes]]
"""Makes topic and payload of a loss record, which gets the given seq."""


class MemoryBuffer:
    """Keeps records in a list; see gateway/buffer/contract.py for the contract."""

    def __init__(self, max_bytes: int, max_age: float, declare: Declare, clock: Clock) -> None:
        """`max_age` in seconds. `declare` is asked for a message when something had to be dropped."""
        self.epoch = secrets.token_hex(4)
        self.next_seq = 1
        self.sent = 0
        self.stored = 0
        self._max_bytes, self._max_age = max_bytes, round(max_age * 1e9)
        self._declare, self._clock = declare, clock
        self._records: list[Record] = []  # those above `stored`, ascending, from _start on
        self._start = 0
        self._beyond: list[tuple[int, int]] = []  # stored, but after a gap
        self._bytes = 0
        self._dropped = 0

    @property
    def accepted(self) -> int:
        return self.next_seq - 1

    @property
    def usage(self) -> Usage:
        return Usage(len(self._records) - self._start, self._bytes, self._max_bytes, self._dropped)

    def append(self, topic: str, payload: bytes, readings: int, first: int, last: int) -> int:
        self._make_room(len(payload) + _OVERHEAD)
        return self._append(topic, payload, readings, first, last)

    def _append(self, topic: str, payload: bytes, readings: int, first: int, last: int) -> int:
        seq = self.next_seq
        self._records.append(Record(seq, topic, payload, readings, first, last))
        self._bytes += len(payload) + _OVERHEAD
        self.next_seq = seq + 1
        return seq

    def read(self, after: int, limit: int) -> Sequence[Record]:
        start = bisect_right(self._records, after, lo=self._start, key=_seq)
        if not self._beyond:
            return self._records[start : start + limit]
        found: list[Record] = []
        while start < len(self._records) and len(found) < limit:
            record = self._records[start]
            if (last := self._end_of_stored(record.seq)) is not None:
                start += last + 1 - record.seq  # seq has no gaps, so the stretch is skipped at once
                continue
            found.append(record)
            start += 1
        return found

    def mark_sent(self, seq: int) -> None:
        self.sent = max(seq, self.stored)

    def mark_stored(self, ranges: Ranges) -> None:
        # A range from another time (a writer that remembers more than we do) may reach beyond what exists.
        known = [(first, min(last, self.next_seq - 1)) for first, last in ranges if first < self.next_seq]
        merged = merge_ranges([(1, self.stored), *self._beyond, *known] if self.stored else [*self._beyond, *known])
        if merged and merged[0][0] == 1:
            self._free(merged.pop(0)[1])
        self._beyond = merged

    def _free(self, stored: int) -> None:
        """Everything up to `stored` is given up."""
        self.stored = stored
        self.sent = max(self.sent, stored)
        start = self._start
        while start < len(self._records) and self._records[start].seq <= stored:
            self._bytes -= len(self._records[start].payload) + _OVERHEAD
            start += 1
        self._start = start
        if start > 1000 and start * 2 > len(self._records):
            del self._records[:start]
            self._start = 0

    def _end_of_stored(self, seq: int) -> int | None:
        """The last seq of the stored stretch that holds `seq`; None where it is not stored."""
        i = bisect_right(self._beyond, seq, key=lambda r: r[0]) - 1
        return self._beyond[i][1] if i >= 0 and seq <= self._beyond[i][1] else None

    # --- what does not fit -------------------------------------------------------------------------------------------

    def _make_room(self, size: int) -> None:
        if self._bytes + size > self._max_bytes:
            self._drop("buffer-full", lambda _: self._bytes + size > self._max_bytes - self._max_bytes // _ROOM)
        if self._start < len(self._records):
            oldest = self._clock.now() - self._max_age
            if self._records[self._start].last < oldest:
                self._drop("too-old", lambda record: record.last < oldest)

    def _drop(self, cause: str, goes: Callable[[Record], bool]) -> None:
        """Give up the oldest records as long as `goes` says so, and declare those that are not stored."""
        lost: list[Record] = []
        start = self._start
        while start < len(self._records) and goes(self._records[start]):
            record = self._records[start]
            self._bytes -= len(record.payload) + _OVERHEAD
            if self._end_of_stored(record.seq) is None:
                lost.append(record)
            start += 1
        self._start = start
        if start:
            self.mark_stored([(1, self._records[start - 1].seq)])
        for first, last in _stretches(lost):
            part = [r for r in lost if first <= r.seq <= last]
            loss = Loss(
                self.epoch, first, last, sum(r.readings for r in part),
                min(r.first for r in part), max(r.last for r in part), cause,
            )  # fmt: skip
            self._dropped += len(part)
            topic, payload = self._declare(loss, self.next_seq)
            now = self._clock.now()
            self._append(topic, payload, 0, now, now)


def _stretches(records: Sequence[Record]) -> list[tuple[int, int]]:
    return merge_ranges([(r.seq, r.seq) for r in records])


def _seq(record: Record) -> int:
    return record.seq
