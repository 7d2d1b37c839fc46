"""The buffer on disk: a log of segments that are used again.

    append ─▶ the newest segment, in memory ─▶ Work, in a thread: write, fdatasync ─▶ accepted
                                                  │
    read ◀── in memory, or read again from its file   mark_stored ─▶ oldest segments are free ─▶ used again

All state is changed on the event loop; only `Work.run` runs elsewhere. Records are in memory until the disk has them, so
a disk that fails costs nothing by itself: they are written again to another segment, and if there is none they wait
here, as many as memory allows, and are sent meanwhile.

The epoch goes on only after a clean end. After any other there may have been records that were sent and never written;
a new epoch makes sure that no identity is used twice.
"""

from __future__ import annotations

import logging
import secrets
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from gateway.buffer.contract import Declare, Encode, NotReadableError, Record, Usage
from gateway.buffer.disk import Disk, number
from gateway.buffer.losses import MAX_STRETCHES, stretches, without
from gateway.buffer.marks import Marks, encode_slot, place
from gateway.buffer.numbering import Numbering
from gateway.buffer.record import HEAD, LOSS, SEGMENT_HEAD, UNTIMED, Entry, Found, Hole, aligned, get, put, scan
from gateway.buffer.recovery import Recovered, recover
from gateway.buffer.reduce import Piece, Step, choose, taken_out
from gateway.buffer.segment import PAGE, Segment
from gateway.buffer.stored import Dealt
from gateway.buffer.timeless import TimelessStretches
from gateway.buffer.topic_names import TopicNames
from gateway.buffer.work import SPARES, Spare, Work, Write, said
from gateway.clock import Clock, artificial
from gateway.errors import PayloadError
from gateway.faults import Reason, fault_of
from gateway.mqtt.payload import Loss, Ranges, decode_loss, rebase

log = logging.getLogger(__name__)

SEGMENT = 4 * 2**20  # bytes of a segment
SEGMENTS = 16  # a small buffer has so many, and smaller ones
IN_MEMORY = 16 * 2**20  # bytes that wait for a disk that cannot be written
RESERVE = 64 * 2**20  # bytes of the disk that are never ours
RETRY = 5.0  # seconds until a disk that failed is tried again
MARKS_EVERY = 10.0  # seconds: marks that are older cost repetitions after a crash, no readings
CACHED = 2  # old segments in memory
STALE = 1.0  # seconds between two looks at what has become too old
KEEP_LESS = 0.8  # of the size: from here on less is kept of what is oldest, where that was asked for
PATIENCE = 60.0  # seconds that a file may be unreadable before it is a loss
UNREAD = 60.0  # seconds since somebody wanted a record of a segment, before it is reduced
WHEN_FULL = 0.9  # of the size: from here on no machine is read, with `stop-polling`

WhenFull = Literal["drop-oldest", "stop-polling", "thin"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the buffer may take."""

    max_bytes: int
    max_age: float  # seconds a record may wait
    commit_interval: float = 1.0  # seconds a record may wait for the disk
    when_full: WhenFull = "drop-oldest"
    steps: Sequence[Step] = ()  # what to keep less of, in turn, before anything is dropped
    reserve: int = RESERVE
    segment_size: int | None = None  # where there are segments already

    @property
    def segment(self) -> int:
        """Bytes of one segment."""
        return self.segment_size or max(PAGE, min(SEGMENT, self.max_bytes // SEGMENTS // PAGE * PAGE))


def _nothing() -> None: ...


class SegmentLog:
    """Keeps records in a folder; see gateway/buffer/contract.py for the contract."""

    def __init__(self, disk: Disk | None, limits: Limits, declare: Declare, clock: Clock, *, prefix: str = "") -> None:
        """Takes over what is there. Without a disk, or with one that fails, it begins in memory and tries again later.

        `prefix`: what most topics begin with; it is written down once. Raises BufferInUseError.
        """
        self._topics = TopicNames(prefix)
        self._disk, self._limits, self._declare, self._clock = disk, limits, declare, clock
        self._segments: list[Segment] = []
        self._loaded: list[Segment] = []  # old segments that were read, the newest last
        self._numbering = Numbering()
        self._timeless = TimelessStretches(clock)
        self._dealt = Dealt()  # stored, or declared lost
        self._untold: list[tuple[int, Loss]] = []  # losses whose records are not safe yet, and where those are
        self._spares: list[str] = []
        self._freed: list[tuple[str, int]] = []  # files of stored segments, until the marks say so
        self._unreadable: dict[Segment, float] = {}  # monotonic: since when
        self._epochs_seen: set[int] = set()
        self._whole: set[Segment] = set()  # of which reducing would save nothing
        self._names = self._reduced = 0
        self.last = self.accepted = self.sent = 0
        self._total = 0
        self._dropped = 0
        self._lost = 0
        self._generation = 0
        self._seconds, self._began = 0, clock.monotonic()
        self._oldest_unsafe: float | None = None  # monotonic: when the oldest unsafe record came
        self._marks_at, self._marked = self._began, (0, 0, 0)
        self._counted = self._safe = (0, 0)  # a position, and the readings up to there: of the stored, the synced mark
        self._known = 0
        self._retry_at = self._spare_at = float("-inf")
        self._stale_at = 0.0
        self._stale_from: tuple[int, int] = (0, 0)  # position and running time of the oldest record
        self._slow = 0.02  # seconds an fdatasync takes at the most, lately
        self._working = self._dropping = self._must_mark = False
        self._was_full = False
        self.trouble = ""
        self.unopened = False  # there is a folder, and nobody knows what is in it
        self.on_found: Callable[[], None] = _nothing  # called when what was in it comes before what is here
        self.rotations = 0  # times a new segment was begun
        self._found: tuple[bytes, Found] | None = None  # the newest segment as it was found at the start
        self.commits = 0
        self.lag = 0.0  # seconds the oldest record of the last commit had waited for it
        if disk is None:
            self._begin_epoch()
        else:
            self._open(disk)

    # --- opening -----------------------------------------------------------------------------------------------------

    def _open(self, disk: Disk) -> None:
        there = self.look()
        if there is None:
            # Positions that no earlier life of this folder can have used: what is in it comes before them.
            self.last = self.accepted = self.sent = max(0, self._clock.now()) >> 10
            self._dealt = Dealt(self.last)
            self._begin_epoch()
            return
        clean = there.marked and there.marks.clean and not there.holes and there.marks.last == there.last
        self._settle(there)
        self._found = there.newest
        if not clean:
            self._sync_all(disk)
        self._go_on(there)
        if clean and there.epochs and self._say_in_use():
            self.epoch = there.epochs[-1].name
        else:
            self._begin_epoch()
        self._declare_missing(there)

    def look(self) -> Recovered | None:
        """See what is in the folder; None where that is not possible now. To be handed to `adopt`; in any thread.

        Raises BufferInUseError, the first time.
        """
        assert self._disk is not None
        try:
            self._disk.take()
            self._disk.remove_unfinished()
            return recover(self._disk)
        except OSError as exc:
            self._fail(Reason(f"{self._disk.folder}: {said(exc)}", said(exc).fault))
            self._retry_at = self._clock.monotonic() + RETRY
            self.unopened = True
            return None

    def adopt(self, there: Recovered | None) -> None:
        """The folder can be read after all: what is in it comes before what has come meanwhile."""
        if there is None:
            return
        base = self._numbering.epochs[0].base
        if there.last > base:
            text = "what is in the folder does not fit to what came since the start: it waits for the next one"
            self._fail(Reason(text, "disk-broken"))
            self._retry_at = self._clock.monotonic() + RETRY
            return
        segments, total, last = self._segments, self._total, self.last
        epochs, timeless, dealt = self._numbering.epochs, self._timeless.stretches, self._dealt
        if timeless and there.marks.timeless and there.marks.timeless[-1].boot == timeless[0].boot:
            timeless = timeless[1:]  # one stretch: the same clock, not set yet
        self._settle(there)
        self._segments += [segment.behind(there.total, there.marks.stored, self._seconds) for segment in segments]
        self._total, self.last = there.total + total, last
        self._numbering = Numbering([*there.epochs, *epochs])
        self._timeless = TimelessStretches(self._clock, [*there.marks.timeless, *timeless])
        self._dealt.add([(there.last + 1, dealt.upto), *dealt.beyond])
        self.unopened, self.trouble, self._must_mark = False, "", True
        log.warning("buffer: the folder can be read again: %d messages in it follow", self.usage.records)
        assert self._disk is not None
        self._sync_all(self._disk)
        self._declare_missing(there)
        self.on_found()

    def _settle(self, there: Recovered) -> None:
        """Take over what is in the folder."""
        marks = there.marks
        self._segments, self._numbering = there.segments, Numbering(there.epochs)
        self._timeless = TimelessStretches(self._clock, marks.timeless)
        self.last, self._total = there.last, there.total
        self._dealt = Dealt(marks.stored, marks.beyond)
        self.accepted, self.sent = self.last, max(marks.sent, marks.stored)
        self._generation, self._known = marks.generation, max(self._known, marks.known)
        self._lost += marks.lost
        self._counted, self._safe = marks.counted, (self.last, self._total)
        self._reduced, self._names = marks.reduced, there.names
        self._must_mark = self._topics.learn(marks.prefixes) or self._must_mark
        self._seconds = max(marks.seconds, there.newest[1].seconds if there.newest else 0)
        self._use_spares(there.spares)
        if there.foreign:
            log.error(
                "buffer: %d files of another version are left alone: update, or move them away", len(there.foreign)
            )

    def _declare_missing(self, there: Recovered) -> None:
        untold = [loss for position, loss in there.marks.untold if not self._is_told(position)]
        for hole in there.holes:
            self._lose(hole)
        for loss in untold:
            self._tell(loss)

    def _is_told(self, position: int) -> bool:
        """Whether the loss record that belongs there is stored, or is really there: a power cut may have torn it."""
        if position in self._dealt:
            return True
        with suppress(NotReadableError):
            return any(record.position == position and record.is_loss for record in self.read(position - 1, 1))
        return False

    def _sync_all(self, disk: Disk) -> None:
        """After a kill, what was read now may still be in the memory of the system only."""
        try:
            for segment in self._segments:
                if segment.name is not None:
                    disk.sync(segment.name)
        except OSError as exc:
            self._fail(said(exc))

    def _go_on(self, there: Recovered) -> None:
        """Write on in the newest segment, where it is whole, and nothing is missing behind it."""
        newest = self._segments[-1] if self._segments else None
        if newest is None or there.newest is None:
            return
        data, found = there.newest
        whole = not found.holes and newest.last == self.last and len(data) == newest.size
        if newest.size == self._limits.segment and whole and not newest.level:
            newest.fill(bytearray(data), found)
            newest.written = newest.synced = newest.end

    def _say_in_use(self) -> bool:
        """Before anything is sent under an epoch that goes on: what follows is not a clean end yet."""
        work = self.prepare(sync=False, marks=True)
        work.run()
        self.finish(work)
        return work.marked

    def _begin_epoch(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._numbering.begin(self.epoch, self.last)
        self._must_mark = True

    def _use_spares(self, spares: Sequence[tuple[str, int]]) -> None:
        # Through the same door as what becomes free: used again only once the marks say that it is stored.
        self._freed += spares
        self._must_mark = self._must_mark or bool(spares)

    # --- the contract ------------------------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        return self._dealt.upto

    @property
    def dealt_with(self) -> int:
        return len(self._dealt)

    def gaps(self, upto: int) -> Sequence[tuple[int, int]]:
        return self._dealt.missing(self.stored + 1, upto)

    def missing(self, upto: int) -> int:
        return self._dealt.count_missing(upto)

    @property
    def firm(self) -> int:
        return self.last if self._disk is None or self.trouble else self.accepted

    @property
    def ready(self) -> int:
        self._learn_time()
        held = self._timeless.held_from
        return self.last if held is None else held - 1

    @property
    def full(self) -> bool:
        if self._limits.when_full != "stop-polling":
            return False
        # With a margin between, or polling would start and stop with every segment.
        used = self._bytes() / self._limits.max_bytes
        self._was_full = used > WHEN_FULL or (self._was_full and used > WHEN_FULL - 2 / SEGMENTS)
        return self._was_full

    @property
    def usage(self) -> Usage:
        return Usage(
            self.last - len(self._dealt), self._bytes(), self._limits.max_bytes, self._dropped,
            self.last - self.accepted, self.trouble,
        )  # fmt: skip

    def resize(self, limits: Limits) -> None:
        """Other limits from now on. Segments keep the size they have until the next start."""
        self._limits = replace(limits, segment_size=self._limits.segment)
        self._keep_within()

    @property
    def oldest_ns(self) -> int | None:
        """About when the oldest record that waits was made: none in its segment is newer. None where nothing waits."""
        segment = self._segment_of(self.stored + 1) if self.stored < self.last else None
        return segment.newest or None if segment is not None else None

    @property
    def record_bytes(self) -> float | None:
        """What a record takes, on the average of the newest ones; None where there are none in memory."""
        for segment in self._segments[:-3:-1]:
            if segment.data is not None and len(segment.offsets) > 1:
                return (segment.offsets[-1] - segment.offsets[0]) / (len(segment.offsets) - 1)
        return None

    def append(self, topic: str, encode: Encode, readings: int, first: int, last: int) -> int:
        seq = self._numbering.seq(self.last + 1)
        self._add(
            seq, topic, encode(seq), readings, first, last, UNTIMED if artificial(first) or artificial(last) else 0
        )
        return seq

    def declare(self, loss: Loss) -> int:
        self._lost += loss.count
        return self._put_loss(loss)

    def read(self, after: int, limit: int) -> Sequence[Record]:
        self._learn_time()
        found: list[Record] = []
        position = max(after, self.stored) + 1
        while position <= self.last and len(found) < limit:
            if (end := self._dealt.end_of(position)) is not None:
                position = end + 1
                continue
            segment = self._segment_of(position)
            if segment is None:
                break
            if not self._load(segment):
                if found:
                    return found
                raise NotReadableError(self.trouble)
            segment.read_at = self._clock.monotonic()
            for index in segment.entries(position - 1):
                position = segment.positions[index]
                if len(found) >= limit or self._dealt.end_of(position) is not None:
                    break
                found.append(self._record(segment.entry(index)))
                position += 1
            else:
                position = segment.last + 1
        return found

    def take_newest(self) -> Iterator[Record]:
        """The records of the newest segment as they were found at the start, stored or not; only once."""
        found, self._found = self._found, None
        if found is not None:
            data, there = found
            for at in there.offsets:
                yield self._record(get(data, at))

    def mark_sent(self, position: int) -> None:
        self.sent = max(position, self.stored)

    def mark_stored(self, epoch: str, ranges: Ranges, upto: int) -> None:
        # A range from another time (a writer that remembers more than we do) may reach beyond what exists.
        self._mark(self._numbering.positions(epoch, ranges, min(upto, self.last)))

    def mark_delivered(self, position: int) -> None:
        self._mark([(position, position)])

    def give_up(self, position: int, cause: str) -> None:
        with suppress(NotReadableError):
            for record in self.read(position - 1, 1):
                if record.position == position:
                    self._mark([(position, position)])
                    self._declare_lost([record], cause)

    # --- the disk ----------------------------------------------------------------------------------------------------

    def due(self, now: float) -> float | None:
        """Seconds until the next commit has to begin; None while there is nothing to commit."""
        if self._disk is None:
            return None
        if self.unopened or (self.trouble and now < self._retry_at):
            return max(0.0, self._retry_at - now)
        if self._oldest_unsafe is None:
            waits = self._must_mark or self._freed or self._marks_differ()
            return max(0.0, self._marks_at + MARKS_EVERY - now) if waits else None
        margin = min(self._limits.commit_interval / 2, max(0.05, 2 * self._slow))
        return max(0.0, self._oldest_unsafe + self._limits.commit_interval - margin - now)

    def prepare(self, *, sync: bool, marks: bool = False, clean: bool = False) -> Work:
        """What the disk should do now. `finish` has to follow before the next."""
        assert self._disk is not None
        assert not self._working, "one piece of work at a time"
        self._working = True
        now, now_ns = self._clock.monotonic(), self._clock.now()
        work = Work(self._disk, size=self._limits.segment, reserve=self._limits.reserve)
        work.sync, work.spares = sync, self._spares
        if self.unopened or (self.trouble and now < self._retry_at and not clean):
            return work
        for segment in self._segments:
            if segment.synced_to == segment.last and segment.written >= segment.end:
                continue
            if segment.name is None and segment.records:
                work.place = [*work.place, (segment, self._new_name())]
            if segment.view is None:
                continue
            if sync:
                segment.close(self._running(now), now_ns)
            if segment.records and (sync or segment.written < segment.end):
                work.writes = [
                    *work.writes,
                    Write(segment, segment.written, segment.end, segment.last, segment.total_end),
                ]
        if marks or clean or self._marks_due(sync, now):
            self._generation += 1
            work.marks = place(self._generation), encode_slot(self._marks(clean, now))
            work.freed, self._freed = self._freed, []
            self._must_mark = False
        return work

    def finish(self, work: Work) -> None:
        """Take note of what was done."""
        self._working = False
        now = self._clock.monotonic()
        for segment, name in work.placed:
            if segment in self._segments:
                segment.name = name
            else:  # stored meanwhile
                self._freed.append((name, segment.size))
        if work.marks is not None:
            if work.marked:
                self._marks_at, self._marked = now, (self.stored, self.sent, self._safe[0])
            else:
                self._freed = [*work.freed, *self._freed]
                self._must_mark = True
        for write in work.done:
            write.segment.written = max(write.segment.written, write.end)
            if work.sync and write.segment in work.synced:
                write.segment.synced, write.segment.synced_to = write.end, max(write.segment.synced_to, write.upto)
                write.segment.synced_total = write.total
                if write.upto > self._safe[0]:
                    self._safe = write.upto, write.total
        if work.seconds:
            self._slow = max(work.seconds, self._slow * 0.9)
        if work.placed:
            self._must_mark = True  # how far it reaches, should it be missing one day
        for segment in work.failed:
            self._give_up_segment(segment)
        self._move_accepted(now, work.sync)
        self._forget_safe()
        if work.trouble is not None:
            self._fail(said(work.trouble) if work.trouble.errno else Reason(str(work.trouble), "buffer-in-use"))
            self._retry_at = now + RETRY
            if work.full:
                self._make_way()
        elif self.trouble and not work.empty:
            log.warning("buffer: the disk can be written again")
            self.trouble = ""

    def abandon(self, work: Work | None) -> None:
        """Work that nobody finishes: the next begins where the last one that was finished ended."""
        self._working = False
        if work is not None:
            self._freed += [*work.freed, *((name, 0) for _, name in work.placed)]
        self._must_mark = True

    def commit(self) -> None:
        """All at once, for those who have no event loop: the command line, tests."""
        if self._disk is None:
            return
        if self.unopened and self._clock.monotonic() >= self._retry_at:
            self.adopt(self.look())
        work = self.prepare(sync=True)
        work.run()
        self.finish(work)
        if (spare := self.spare()) is not None:
            self.take_spare(spare.run())

    def close(self) -> None:
        """Write what is left, and say that this was a clean end. Safe to call twice."""
        if self._disk is None:
            return
        work = self.prepare(sync=True)
        work.run()
        self.finish(work)
        if self.accepted == self.last and not self.trouble and not self.unopened:
            work = self.prepare(sync=False, clean=True)
            work.run()
            self.finish(work)
        self._disk.close()
        self._disk = None

    # --- files ahead, and keeping less -------------------------------------------------------------------------------

    def spare(self) -> Spare | None:
        """A file to be made ahead: to be run, and then handed to `take_spare`."""
        wanted = self._disk is not None and not self.trouble and len(self._spares) < SPARES
        newest = self._segments[-1] if self._segments else None
        # One is enough for the first half of a segment: meanwhile another may become free, and needs not be made.
        patient = newest is not None and len(self._spares) == SPARES - 1 and newest.end < newest.size // 2
        if (
            not wanted
            or patient
            or self._clock.monotonic() < self._spare_at
            or self._bytes() + len(self._spares) * self._limits.segment >= self._limits.max_bytes
        ):
            return None
        assert self._disk is not None
        return Spare(self._disk, self._new_name(), self._limits.segment, self._limits.reserve)

    def take_spare(self, spare: Spare) -> None:
        """It is there, or could not be made."""
        if spare.trouble is None:
            self._spares.append(spare.name)
        else:  # no trouble yet: what is there can be written
            self._spare_at = self._clock.monotonic() + RETRY

    def _new_name(self) -> str:
        self._names += 1
        return f"{self._names:08}.segment"

    def piece(self) -> Piece | None:
        """What could be kept less of, when it is time for that: to be run, and then handed to `take_over`."""
        steps, disk, now = self._limits.steps, self._disk, self._clock.monotonic()
        if (
            not steps
            or disk is None
            or self.trouble
            or self._freed
            or self._bytes() < self._limits.max_bytes * KEEP_LESS
        ):
            return None

        def unread(segment: Segment) -> bool:
            # What somebody reads just now is on its way: it will be stored, or wanted again.
            return now - segment.read_at > UNREAD and segment not in self._whole

        chosen = choose(self._segments[:-1], len(steps), self._limits.segment // 2, unread)
        if chosen is None:
            return None
        level, inputs = chosen
        return Piece(
            disk,
            steps[level - 1],
            level,
            inputs,
            self._dealt.copy(),
            self._topics.text,
            self._limits.reserve,
            self._new_name(),
        )

    def take_over(self, piece: Piece) -> None:
        """The segments a piece was made of are replaced by what it made."""
        inputs, output = list(piece.inputs), piece.output
        at = self._segments.index(inputs[0]) if inputs[0] in self._segments else -1
        if piece.trouble is not None:
            self._freed.append((piece.name, 0))  # it may be there all the same
        if piece.trouble is not None or output is None:
            self._whole.update(inputs)  # not worth another try
            return
        if at < 0 or self._segments[at : at + len(inputs)] != inputs:  # stored or dropped meanwhile
            self._freed.append((str(output.name), 0))
            return
        self._segments[at : at + len(inputs)] = [output]
        for segment in inputs:
            if segment in self._loaded:
                self._loaded.remove(segment)
            self._freed.append((str(segment.name), segment.size))
        taken = [each for each in piece.taken if each.position not in self._dealt]
        self._mark([(each.position, each.position) for each in taken if each.whole])
        self._dropped += sum(each.whole for each in taken)
        self._lost += sum(each.readings for each in taken)
        for loss in taken_out(taken, piece.step.cause):
            self._tell(loss)
        self._reduced = number(piece.name)

    # --- adding ------------------------------------------------------------------------------------------------------

    def _add(self, seq: int, topic: str, payload: bytes, readings: int, first: int, last: int, flags: int) -> None:
        if flags & UNTIMED and self._timeless.note(self.last + 1, self._known):
            self._must_mark = True
        name = self._topics.name(topic)
        size = HEAD + len(name) + len(payload)
        if size + SEGMENT_HEAD + HEAD > self._limits.max_bytes // 2 and not flags & LOSS:
            self._dropped += 1
            self._lost += readings
            self._put_loss(Loss(self.epoch, seq, seq, readings, first, last, "too-large"))
            return
        segment = self._segments[-1] if self._segments else None
        now = self._clock.monotonic()
        rotated = segment is None or segment.view is None or not segment.has_room(size)
        if rotated:
            segment = self._rotate(size, now)
        assert segment is not None
        assert segment.view is not None
        position, at = self.last + 1, segment.end
        segment.seconds = self._running(now)
        segment.end = put(
            segment.view, at, int(self.epoch, 16), readings, flags, segment.seconds, position, seq, self._total,
            first, last, name, payload,
        )  # fmt: skip
        segment.offsets.append(at)
        segment.positions.append(position)
        self.last = segment.last = position
        self._total = segment.total_end = self._total + readings
        if last > segment.newest:
            segment.newest = last
        if self._oldest_unsafe is None:
            self._oldest_unsafe = now
        if rotated:
            self._keep_within()
        if now >= self._stale_at:
            self._drop_stale(now)

    def _rotate(self, size: int, now: float) -> Segment:
        if self._segments:
            self._segments[-1].close(self._running(now), self._clock.now())
        usual = self._limits.segment
        needed = SEGMENT_HEAD + aligned(size) + HEAD
        segment = Segment(
            self.last + 1, self._total, self.stored, usual if needed <= usual else -(-needed // PAGE) * PAGE
        )
        segment.begin()
        self._segments.append(segment)
        self.rotations += 1
        self._free()  # the one before may be stored as a whole, and was only kept to be written to
        return segment

    def _put_loss(self, loss: Loss) -> int:
        seq, now = self._numbering.seq(self.last + 1), self._clock.now()
        loss = replace(loss, told_in="" if loss.epoch == self.epoch else self.epoch)
        topic, payload = self._declare(loss, seq)
        timeless = artificial(now) or artificial(loss.start) or artificial(loss.end)
        self._add(seq, topic, payload, 0, now, now, LOSS | (UNTIMED if timeless else 0))
        return seq

    def _learn_time(self) -> None:
        if self._timeless.learn():
            self._must_mark = True  # sent twice, a record has to say the same

    def _record(self, entry: Entry) -> Record:
        payload, first, last = entry.payload, entry.first, entry.last
        if entry.epoch not in self._epochs_seen:  # the marks may have forgotten it
            self._epochs_seen.add(entry.epoch)
            self._numbering.learn(f"{entry.epoch:08x}", entry.position - entry.seq)
        if entry.flags & UNTIMED:
            payload = rebase(payload, *self._timeless.shift(entry.position))
            first, last = self._timeless.real(entry.position, first), self._timeless.real(entry.position, last)
        return Record(
            entry.position, f"{entry.epoch:08x}", entry.seq, self._topics.text(entry.topic), payload,
            entry.readings, first, last, bool(entry.flags & LOSS),
        )  # fmt: skip

    # --- finding -----------------------------------------------------------------------------------------------------

    def _segment_of(self, position: int) -> Segment | None:
        """The segment that holds it, or the next one."""
        i = bisect_right(self._segments, position, key=lambda each: each.first) - 1
        if i >= 0 and position <= self._segments[i].last:
            return self._segments[i]
        return self._segments[i + 1] if i + 1 < len(self._segments) else None

    def _load(self, segment: Segment) -> bool:
        """See that its records are in memory; what is found damaged is declared. False while it cannot be read."""
        if segment.view is not None:
            if segment in self._loaded:
                self._loaded.remove(segment)
                self._loaded.append(segment)
            return True
        if self._disk is None or segment.name is None:
            return False
        try:
            data = self._disk.read(segment.name, 0, segment.size)
        except OSError as exc:
            # A disk that is ill may be well again: only a file that is gone, or that stays unreadable, is a loss.
            self._fail(Reason(f"{self._disk.folder / segment.name}: {said(exc)}", said(exc).fault))
            gone = isinstance(exc, FileNotFoundError) and self._disk.there()
            if not gone and self._patience(segment):
                return False
            data = b""
        found = scan(data, segment.first, segment.total, reduced=segment.level > 0, last=segment.last)
        segment.fill(data, found)
        following = self._segment_of(segment.last + 1)
        if following is not None and following.view is None and following.name is not None:
            with suppress(OSError):  # whoever reads it will say so
                self._disk.ahead(following.name)
        self._loaded.append(segment)
        while len(self._loaded) > CACHED:
            self._loaded.pop(0).forget()
        holes = found.holes
        if found.next <= segment.last and not (segment.level and found.total == segment.total_end):
            readings = max(0, segment.total_end - found.total)
            holes = [*holes, Hole(found.next, segment.last, readings, found.newest, found.newest)]
        if segment.level:  # what was left out is declared, whatever the marks still remember of it
            self._mark(without(segment.left_out(), [(hole.first, hole.last) for hole in holes]))
        for hole in holes:
            self._lose(hole)
        return True

    def _patience(self, segment: Segment) -> bool:
        """Whether a segment that cannot be read is worth waiting for: a minute."""
        now = self._clock.monotonic()
        return now - self._unreadable.setdefault(segment, now) < PATIENCE

    # --- marks -------------------------------------------------------------------------------------------------------

    def _mark(self, positions: list[tuple[int, int]]) -> None:
        if self._dealt.add(positions):
            self.sent, self.accepted = max(self.sent, self.stored), max(self.accepted, self.stored)
            self._free()

    def _free(self) -> None:
        """Let go of the segments that are stored as a whole, but of the one that is written to."""
        while len(self._segments) > 1 and self._segments[0].last <= self.stored:
            segment = self._segments.pop(0)
            if segment in self._loaded:
                self._loaded.remove(segment)
            if segment.name is not None:
                self._freed.append((segment.name, segment.size))
                segment.name = None
        self._numbering.forget(self.stored)
        self._timeless.forget(self.stored)

    def _marks(self, clean: bool, now: float) -> Marks:
        known = self._clock.now() if self._clock.trusted() else 0
        last, total = (self.last, self._total) if clean else self._safe  # no more than what would be missed
        return Marks(
            self._generation, clean, last, self.sent, self.stored, self._dealt.beyond[:200],
            self._numbering.epochs, self._timeless.stretches,
            self._running(now), max(self._known, known), total, self._count(), self._lost, self._untold,
            self._topics.prefixes, self._reduced,
        )  # fmt: skip

    def _count(self) -> tuple[int, int]:
        """How many readings there were up to the stored mark, or another position for which that is known."""
        segment = self._segment_of(self.stored + 1)
        if segment is None:
            return self.last, self._total
        if segment.view is not None:
            for index in segment.entries(self.stored)[:1]:
                self._counted = self.stored, segment.entry(index).total
        elif segment.first > self.stored:
            self._counted = self.stored, segment.total
        return self._counted

    def _marks_due(self, sync: bool, now: float) -> bool:
        if self._must_mark or self._freed or self.trouble:
            return True
        return sync and now >= self._marks_at + MARKS_EVERY and self._marks_differ()

    def _marks_differ(self) -> bool:
        return self._marked != (self.stored, self.sent, self._safe[0])

    def _move_accepted(self, now: float, synced: bool) -> None:
        accepted = self.accepted
        for segment in self._segments:
            if segment.last <= accepted:
                continue
            accepted = segment.synced_to if segment.synced_to >= segment.first else accepted
            if not segment.safe:
                break
        if accepted > self.accepted:
            self.accepted = accepted
        self._untold = [each for each in self._untold if each[0] > self.accepted]
        if synced:
            self.commits += 1
            if self._oldest_unsafe is not None:
                self.lag = now - self._oldest_unsafe
                # What came while it was being written is as old as that, at the most.
                self._oldest_unsafe = None if self.accepted == self.last else now - min(self.lag, self._slow)

    def _forget_safe(self) -> None:
        for segment in self._segments[:-1]:
            if (
                segment.safe
                and segment.written >= segment.end
                and segment.view is not None
                and segment not in self._loaded
            ):
                self._loaded.append(segment)
        while len(self._loaded) > CACHED:
            self._loaded.pop(0).forget()

    # --- a disk that fails -------------------------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        if reason != self.trouble:
            log.error(
                "buffer: %s: readings are kept in memory and sent on, and would not outlive the gateway; tried again every %.0f s%s",
                reason, RETRY, f" [{fault_of(reason)}]", extra={"fault": fault_of(reason)},
            )  # fmt: skip
        self.trouble = reason

    def _give_up_segment(self, segment: Segment) -> None:
        """Its file failed: what is not safe in it goes to another one."""
        if segment not in self._segments or segment.view is None:
            return
        at = self._segments.index(segment)
        rest = segment.split()
        fresh = [rest] if rest.records else []
        if segment.records:
            self._segments[at + 1 : at + 1] = fresh
            if segment not in self._loaded and fresh:
                self._loaded.append(segment)
        else:
            if segment.name is not None:
                self._freed.append((segment.name, 0))  # 0: never used again
            self._segments[at : at + 1] = fresh

    def _make_way(self) -> None:
        """The disk is full: what is oldest goes, if something waits that has no place."""
        if any(segment.name is None and segment.records for segment in self._segments):
            placed = [segment for segment in self._segments[:-1] if segment.name is not None]
            if placed and not self._dropping:
                self._dropping = True
                try:
                    self._drop_oldest("disk-full")
                finally:
                    self._dropping = False

    # --- what does not fit -------------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _keep_within(self) -> None:
        """After a segment was begun: the oldest go until the rest fits."""
        if self._dropping:
            return
        self._dropping = True
        try:
            while self._bytes() > self._limits.max_bytes and len(self._segments) > 1:
                self._drop_oldest("buffer-full")
            while self._unplaced() > IN_MEMORY and len(self._segments) > 1:
                self._drop_first_unplaced()
        finally:
            self._dropping = False

    def _unplaced(self) -> int:
        if self._disk is not None and not self.trouble:
            return 0
        return sum(segment.size for segment in self._segments if segment.name is None)

    def _drop_oldest(self, cause: str) -> None:
        self._drop(self._segments[0], cause)

    def _drop_first_unplaced(self) -> None:
        segment = next(each for each in self._segments if each.name is None)
        self._drop(segment, "disk-cannot-be-written")

    def _drop(self, segment: Segment, cause: str) -> None:
        """Give up a whole segment, and declare what of it is not stored."""
        if not self._load(segment):
            self._lose(Hole(segment.first, segment.last, segment.total_end - segment.total, 0, 0))
        if segment not in self._segments:  # declared as a whole, and gone with that
            return
        gone = [
            self._record(segment.entry(index)) for index in segment.entries(self.stored)
            if segment.positions[index] not in self._dealt
        ]  # fmt: skip
        if segment is self._segments[0]:
            self._mark([(1, segment.last)])
        else:
            self._mark([(segment.first, segment.last)])
            self._segments.remove(segment)
            if segment.name is not None:
                self._freed.append((segment.name, segment.size))
        self._declare_lost(gone, cause)

    def _drop_stale(self, now: float) -> None:
        # By how long it has been here, not by its stamp: clocks of machines and boxes are wrong at times.
        self._stale_at = now + min(STALE, self._limits.max_age / 10)
        limit = self._running(now) - self._limits.max_age
        if limit < 0 or self._dropping or self._segments[0].last <= self.stored:
            return
        position, seconds = self._stale_from
        if position > self.stored and seconds >= limit:
            return
        # One segment at a time: a backlog of gigabytes may have become too old at once.
        segment = self._segment_of(self.stored + 1)
        if segment is None or not self._load(segment):
            return
        old: list[Record] = []
        gone = self.stored
        for index in segment.entries(self.stored):
            entry = segment.entry(index)
            if entry.seconds >= limit:
                self._stale_from = entry.position, entry.seconds
                break
            gone = entry.position
            if entry.position not in self._dealt:
                old.append(self._record(entry))
        else:
            gone = max(gone, segment.last)
            self._stale_at = now
        if gone > self.stored:
            self._dropping = True
            try:
                self._mark([(1, gone)])
                self._declare_lost(old, "too-old")
            finally:
                self._dropping = False

    def _declare_lost(self, records: Sequence[Record], cause: str) -> None:
        losses: list[Loss] = []
        for record in records:
            losses.append(Loss(record.epoch, record.seq, record.seq, record.readings, record.first, record.last, cause))
            self._lost += record.readings
            if record.is_loss:  # what it would have declared, and was counted then
                with suppress(PayloadError):
                    told = decode_loss(record.payload)[2]
                    losses.append(replace(told, again=told.count))
            else:
                self._dropped += 1
        # A buffer so full that it drops its own loss records makes one of them each time, or they would fill it.
        for loss in stretches(losses, 1 if any(record.is_loss for record in records) else MAX_STRETCHES):
            self._tell(loss)

    def _lose(self, hole: Hole) -> None:
        """Positions that are damaged or missing: declared, and dealt with."""
        start, end = hole.start or hole.end or self._clock.now(), hole.end or hole.start or self._clock.now()
        count = hole.readings
        missing: list[Loss] = []
        unstored = self._dealt.missing(hole.first, hole.last)
        for stretch in unstored:
            for first, last in self._numbering.parts(*stretch):
                epoch, seq = self._numbering.identity(first)
                missing.append(Loss(epoch, seq, seq + last - first, count, start, end, "damaged"))
                self._dropped += last - first + 1
                self._lost += count
                count = 0  # not known how many are in which of several parts: all are told with the first
        self._mark(unstored)
        for loss in missing:
            self._tell(loss)

    def _tell(self, loss: Loss) -> None:
        """Declare what the marks do not have any more. They tell of it until the loss record is safe.

        Else a power cut between the two would lose it without a word.
        """
        self._put_loss(loss)
        if len(self._untold) >= MAX_STRETCHES:
            self._untold = [(self.last, each) for each in stretches([each for _, each in self._untold], 1)]
        self._untold.append((self.last, loss))
        self._must_mark = True

    def _running(self, now: float) -> int:
        """Seconds this buffer has been in use: no clock that somebody can set."""
        return self._seconds + int(now - self._began)
