"""A buffer in memory: it outlives the broker and the store, not the process. Each start is a new epoch."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.buffer.contract import Encode, Record, Usage
from gateway.clock import Clock
from gateway.mqtt.payload import Loss, Ranges, merge_ranges

# What a record costs beside its payload: the objects, their numbers, the place in the queue.
_OVERHEAD = 350
# Dropping makes this much room at once, so that a full buffer does not declare every record by itself.
_ROOM = 16
# Stretches of one drop that are declared one by one; more of them become one.
_MAX_STRETCHES = 8

Declare = Callable[[Loss, int], tuple[str, bytes]]
"""Makes topic and payload of a loss record, which gets the given seq."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A record, and what only the buffer needs of it."""

    record: Record
    since: float  # monotonic: when it was appended
    loss: Loss | None  # what it declares, if it is a loss record

    @property
    def size(self) -> int:
        return len(self.record.payload) + _OVERHEAD


class MemoryBuffer:
    """Keeps records in a queue; see gateway/buffer/contract.py for the contract."""

    def __init__(self, max_bytes: int, max_age: float, declare: Declare, clock: Clock) -> None:
        """`max_age` in seconds. `declare` is asked for a message when something had to be dropped."""
        self.epoch = secrets.token_hex(4)
        self.sent = 0
        self.stored = 0
        self._next_seq = 1
        self._max_bytes, self._max_age = max_bytes, max_age
        self._declare, self._clock = declare, clock
        self._kept: deque[_Kept] = deque()  # with every seq from the first to the last
        self._beyond: list[tuple[int, int]] = []  # stored, but after a gap
        self._bytes = 0
        self._dropped = 0

    @property
    def accepted(self) -> int:
        return self._next_seq - 1

    @property
    def usage(self) -> Usage:
        return Usage(len(self._kept), self._bytes, self._max_bytes, self._dropped)

    def append(self, topic: str, encode: Encode, readings: int, first: int, last: int) -> int:
        # Room first: what has to be declared for it gets a seq too, and a payload contains its own.
        self._drop_old()
        seq = self._next_seq
        self._add(Record(seq, topic, encode(seq), readings, first, last), None)
        if self._bytes > self._max_bytes:
            self._make_room()
        return seq

    def declare(self, loss: Loss) -> int:
        self._drop_old()
        seq, now = self._next_seq, self._clock.now()
        topic, payload = self._declare(loss, seq)
        self._add(Record(seq, topic, payload, 0, now, now), loss)
        if self._bytes > self._max_bytes:
            self._make_room()
        return seq

    def read(self, after: int, limit: int) -> Sequence[Record]:
        kept = self._kept
        if not kept:
            return []
        found: list[Record] = []
        first = kept[0].record.seq
        at = max(0, after + 1 - first)
        while at < len(kept) and len(found) < limit:
            if (last := self._end_of_stored(first + at)) is not None:
                at = last + 1 - first
            else:
                found.append(kept[at].record)
                at += 1
        return found

    def mark_sent(self, seq: int) -> None:
        self.sent = max(seq, self.stored)

    def mark_stored(self, ranges: Ranges) -> None:
        # A range from another time (a writer that remembers more than we do) may reach beyond what exists.
        known = [(first, min(last, self.accepted)) for first, last in ranges if first <= self.accepted]
        merged = merge_ranges([(1, self.stored), *self._beyond, *known] if self.stored else [*self._beyond, *known])
        if merged and merged[0][0] == 1:
            self._free(merged.pop(0)[1])
        self._beyond = merged

    def give_up(self, seq: int, cause: str) -> None:
        for record in self.read(seq - 1, 1):
            if record.seq == seq:
                kept = self._kept[seq - self._kept[0].record.seq]
                self.mark_stored([(seq, seq)])
                self._declare_lost([kept], cause)

    # --- the queue ---------------------------------------------------------------------------------------------------

    def _add(self, record: Record, loss: Loss | None) -> None:
        kept = _Kept(record, self._clock.monotonic(), loss)
        self._kept.append(kept)
        self._bytes += kept.size
        self._next_seq += 1

    def _pop(self) -> _Kept:
        kept = self._kept.popleft()
        self._bytes -= kept.size
        return kept

    def _free(self, stored: int) -> None:
        """Everything up to `stored` is given up."""
        self.stored = stored
        self.sent = max(self.sent, stored)
        while self._kept and self._kept[0].record.seq <= stored:
            self._pop()

    def _end_of_stored(self, seq: int) -> int | None:
        """The last seq of the stored stretch that holds `seq`; None where it is not stored."""
        i = bisect_right(self._beyond, seq, key=lambda r: r[0]) - 1
        return self._beyond[i][1] if i >= 0 and seq <= self._beyond[i][1] else None

    # --- what does not fit -------------------------------------------------------------------------------------------

    def _drop_old(self) -> None:
        # By how long it has been here, not by its stamp: clocks of machines and boxes are wrong at times.
        oldest = self._clock.monotonic() - self._max_age
        if self._kept and self._kept[0].since < oldest:
            self._drop(lambda: self._kept[0].since < oldest, "too-old")

    def _make_room(self) -> None:
        enough = self._max_bytes - self._max_bytes // _ROOM
        self._drop(lambda: self._bytes > enough and len(self._kept) > 1, "buffer-full")

    def _drop(self, more: Callable[[], bool], cause: str) -> None:
        """Give up the oldest records as long as there are `more` to go, and declare those that are not stored."""
        gone: list[_Kept] = []
        last = self.stored
        while self._kept and more():
            kept = self._pop()
            last = kept.record.seq
            if self._end_of_stored(last) is None:
                gone.append(kept)
        self.mark_stored([(1, last)] if last else [])
        self._declare_lost(gone, cause)

    def _declare_lost(self, gone: Sequence[_Kept], cause: str) -> None:
        self._dropped += sum(kept.loss is None for kept in gone)
        now = self._clock.now()
        # A buffer so full that it drops its own loss records makes one of them each time, or they would fill it.
        most = 1 if any(kept.loss for kept in gone) else _MAX_STRETCHES
        for loss in _stretches(_losses(gone, self.epoch, cause), most):
            topic, payload = self._declare(loss, self._next_seq)
            self._add(Record(self._next_seq, topic, payload, 0, now, now), loss)


def _losses(gone: Iterable[_Kept], epoch: str, cause: str) -> Iterable[Loss]:
    """What is lost with each record; with a loss record, what it would have declared."""
    for kept in gone:
        record = kept.record
        yield Loss(epoch, record.seq, record.seq, record.readings, record.first, record.last, cause)
        if kept.loss is not None:
            yield kept.loss


def _stretches(losses: Iterable[Loss], most: int) -> list[Loss]:
    """The same in as few records as there can be: one for each stretch of seqs, and no more than `most`.

    What never had a seq (0), the gap of a machine, stays by itself; of those there are no more than `most`, either.
    """
    gaps, merged = list[Loss](), list[Loss]()
    for loss in sorted(losses, key=lambda each: each.first):
        if not loss.last:
            gaps.append(loss)
        elif merged and loss.first <= merged[-1].last + 1:
            merged[-1] = _together(merged[-1], loss)
        else:
            merged.append(loss)
    for each in (gaps, merged):
        while len(each) > most:
            each[-2:] = [_together(each[-2], each[-1])]
    return [*gaps, *merged]


def _together(a: Loss, b: Loss) -> Loss:
    # A loss record by itself has no readings, and no time; a gap has a time, whether its values can be counted or not.
    real = [each for each in (a, b) if each.count or not each.last] or [a, b]
    return replace(
        a,
        last=max(a.last, b.last),
        count=a.count + b.count,
        start=min(each.start for each in real),
        end=max(each.end for each in real),
        cause=real[0].cause,
        machine=a.machine if a.machine == b.machine else "",
        signal=a.signal if (a.machine, a.signal) == (b.machine, b.signal) else "",
    )
