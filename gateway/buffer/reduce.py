"""Making room by keeping less of what is oldest: a segment is read, reduced, and written anew.

    oldest segments ─▶ Piece.run(), in the buffer's thread: read ─ step, record by record ─▶ one smaller segment
                                                                        └─ what is left out ─▶ loss records

Steps are taken in turn, each over the whole log before the next begins: thin out, then leave out what matters least.
A record keeps its place and its identity; one of which nothing is left is declared lost like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from gateway.buffer.disk import Disk
from gateway.buffer.record import HEAD, LOSS, SEGMENT_HEAD, Entry, aligned, get, put, put_commit, scan
from gateway.buffer.segment import PAGE, Segment
from gateway.buffer.stored import Dealt
from gateway.mqtt.payload import Loss

WORTH = 0.9  # of its size, at the most, for a reduced segment to be worth writing


class Reduce(Protocol):
    """One pass over some segments, in order."""

    def __call__(self, topic: str, payload: bytes) -> tuple[bytes | None, int]:
        """What is left of a message, and how many readings were taken out of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A way to keep less."""

    cause: str  # for the loss records
    begin: Callable[[], Reduce]


def thin(interval: float, kept: Callable[[str, str], bool]) -> Step:
    """One value of each signal in `interval` seconds. `kept(topic, signal)` names those of which all are kept.

    Text and booleans are states, and what is not good is news: neither is taken out.
    """

    def begin() -> Reduce:
        last: dict[tuple[str, str], int] = {}

        def reduce(topic: str, payload: bytes) -> tuple[bytes | None, int]:
            message = orjson.loads(payload)
            taken, frames = 0, []
            for frame in message["frames"]:
                taken += _thin_frame(frame, topic, int(frame["t"] / 1000 // interval))
                if frame["values"] or frame.get("quality"):
                    frames.append(frame)
            if not taken:
                return payload, 0
            return (orjson.dumps({**message, "frames": frames}) if frames else None), taken

        def _thin_frame(frame: dict[str, Any], topic: str, bucket: int) -> int:
            values, odd = frame["values"], frame.get("quality", {})
            superfluous = [
                name
                for name, value in values.items()
                if type(value) in (float, int) and name not in odd and last.get((topic, name)) == bucket
                and not kept(topic, name)
            ]  # fmt: skip
            for name in values:
                last[topic, name] = bucket
            for name in superfluous:
                del values[name]
            return len(superfluous)

        return reduce

    return Step(f"thinned: one value in {interval:g} s", begin)


def shed(rank: Callable[[str], int], below: int) -> Step:
    """Everything of topics whose rank is lower than `below`."""

    def reduce(topic: str, payload: bytes) -> tuple[bytes | None, int]:
        return (None, -1) if rank(topic) < below else (payload, 0)

    return Step("buffer-full: of low priority", lambda: reduce)


def choose(
    segments: Sequence[Segment], levels: int, small: int, free: Callable[[Segment], bool]
) -> tuple[int, list[Segment]] | None:
    """The level that is next, and the oldest segment below it; before it one of that level, if that is small."""
    for level in range(1, levels + 1):
        inputs: list[Segment] = []
        for segment in segments:
            if segment.level >= level:
                inputs = [segment] if segment.level == level and segment.size < small else []
            elif segment.safe and segment.name is not None and free(segment):
                return level, [*inputs, segment]
            else:
                inputs = []
    return None


@dataclass(frozen=True, slots=True)
class Taken:
    """Readings that were taken out of a record."""

    position: int
    epoch: str
    seq: int
    topic: str
    readings: int
    first: int
    last: int
    whole: bool  # nothing is left of it


def taken_out(taken: Sequence[Taken], cause: str) -> list[Loss]:
    """One loss record for each machine and epoch. Its stretch holds messages of others, and what is left of its own."""
    groups: dict[tuple[str, str], list[Taken]] = {}
    for each in taken:
        groups.setdefault((each.topic, each.epoch), []).append(each)
    return [
        Loss(
            epoch, min(each.seq for each in group), max(each.seq for each in group), sum(each.readings for each in group),
            min(each.first for each in group), max(each.last for each in group), cause,
            (topic.split("/")[-2:-1] or [topic])[0],  # …/{machine}/data
        )
        for (topic, epoch), group in groups.items()
    ]  # fmt: skip


@dataclass(slots=True)
class Piece:
    """A few segments that follow each other, to become one."""

    disk: Disk
    step: Step
    level: int
    inputs: Sequence[Segment]  # those of this level already are copied
    dealt: Dealt  # as things stand when it is made
    topic: Callable[[bytes], str]  # as it is written, to as it is
    reserve: int
    name: str

    output: Segment | None = None  # None: it was not worth it
    taken: list[Taken] = field(default_factory=list)
    trouble: OSError | None = None

    def run(self) -> Piece:
        """Whatever goes wrong, the segments that were there stay."""
        try:
            entries = self._reduced()
            self._write(entries)
        except OSError as exc:
            self.trouble = exc
        return self

    def _reduced(self) -> list[Entry]:
        reduce, left = self.step.begin(), list[Entry]()
        for segment in self.inputs:
            assert segment.name is not None
            data = self.disk.read(segment.name, 0, segment.size)
            found = scan(data, segment.first, segment.total, reduced=segment.level > 0, last=segment.last)
            if found.holes or found.total != segment.total_end:
                raise OSError(0, f"{segment.name} is damaged")  # whoever reads it will say what is missing
            for at in found.offsets:
                entry = get(data, at)
                if entry.position in self.dealt:
                    continue
                if segment.level >= self.level or entry.flags & LOSS:
                    left.append(entry)
                elif (kept := self._apply(reduce, entry)) is not None:
                    left.append(kept)
        return left

    def _apply(self, reduce: Reduce, entry: Entry) -> Entry | None:
        try:
            payload, taken = reduce(self.topic(entry.topic), entry.payload)
        except (ValueError, KeyError, TypeError, AttributeError):
            return entry  # not a message of readings: kept as it is
        if taken == 0:
            return entry
        taken = entry.readings if taken < 0 else taken
        self.taken.append(
            Taken(
                entry.position, f"{entry.epoch:08x}", entry.seq, self.topic(entry.topic), taken, entry.first, entry.last,
                payload is None,
            )
        )  # fmt: skip
        return None if payload is None else entry.with_payload(payload, entry.readings - taken)

    def _write(self, entries: list[Entry]) -> None:
        size = SEGMENT_HEAD + sum(aligned(HEAD + len(e.topic) + len(e.payload)) for e in entries) + HEAD
        size = -(-size // PAGE) * PAGE
        before = sum(segment.size for segment in self.inputs)
        if size > before * WORTH or self.disk.free() < size + self.reserve:
            self.taken.clear()
            return
        first, last = self.inputs[0], self.inputs[-1]
        segment = Segment(first.first, first.total, first.stored, size, level=self.level)
        segment.begin()
        assert segment.view is not None
        total = segment.total
        for entry in entries:
            segment.end = put(
                segment.view, segment.end, entry.epoch, entry.readings, entry.flags, entry.seconds, entry.position,
                entry.seq, total, entry.first, entry.last, entry.topic, entry.payload,
            )  # fmt: skip
            total += entry.readings
            segment.seconds = max(segment.seconds, entry.seconds)
        segment.last, segment.total_end, segment.whole_end = last.last, total, last.original_end
        put_commit(segment.view, segment.end, last.last, segment.end + HEAD, total, segment.seconds, 0)
        segment.view[:SEGMENT_HEAD] = segment.head()
        self.disk.create(self.name, size, bytes(segment.view))
        segment.name, segment.written, segment.synced_to = self.name, size, segment.last
        segment.forget()
        self.output = segment
