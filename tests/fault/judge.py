"""The judge of all fault tests: what the machines say they served, against what the store says it has. Pure.

    ledger ─── served, in order ──┐
    historian ─ stored, in order ─┼─▶ judge ─▶ Verdict: lost, duplicated, wrong, undeclared
               ranges, losses ────┘
    the test ── when nobody was there

Each value of a signal has to be served once only, or nothing could be said about duplicates: give the machines ramps.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.model import GOOD, Value
from gateway.mqtt.payload import Ranges, merge_ranges
from gateway.store.contract import Columns, Lost, Origin
from gateway.store.historian import Historian
from simulators.ledger import Column, columns, read_ledger

MS = 1_000_000
UNACCEPTED = 100 * MS  # an answer served so shortly before a kill may not have been written yet
SLOW = 2000 * MS  # nor one that came so shortly before, where the disk was slow: a second is what it may take
LATE = 10 * MS  # how far behind the moment of the next answer a stamp may lie: two clocks, and rounding
ROUNDED = 1000  # ns: stamps are whole microseconds

Signal = tuple[str, str]  # machine and signal


@dataclass(frozen=True, slots=True)
class Absence:
    """From just before a gateway was killed, or a machine was ended, until one was started again; ns since 1970."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A reading that is not as it should be."""

    signal: Signal
    value: Value
    time: int  # ns since 1970: when it was served, or its stamp where it never was
    what: str = ""

    def __str__(self) -> str:
        return f"{'/'.join(self.signal)} = {self.value!r} at {self.time}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What was found. Findings are readings; of `undeclared` each is an origin and a stretch of seqs."""

    served: int = 0
    stored: int = 0
    lost: list[Finding] = field(default_factory=list)
    duplicated: list[Finding] = field(default_factory=list)
    wrong: list[Finding] = field(default_factory=list)
    undeclared: list[tuple[Origin, int, int]] = field(default_factory=list)
    unaccepted: int = 0  # served into an absence: not lost, as nobody had taken them over
    oldest: int = 0  # ns: how long before its absence the oldest of these was served
    late: set[int] = field(default_factory=set)  # beginnings of absences before which one was older than UNACCEPTED
    declared: int = 0  # messages that loss records declare
    contradicted: int = 0  # of these, those that are stored: what was declared too much
    epochs: int = 0

    @property
    def sound(self) -> bool:
        """Nothing to complain of."""
        return not (self.lost or self.duplicated or self.wrong or self.undeclared)

    def __str__(self) -> str:
        return (
            f"{self.served} readings served, {self.stored} stored in {self.epochs} epochs; {len(self.lost)} lost, "
            f"{len(self.duplicated)} duplicated, {len(self.wrong)} wrong, {len(self.undeclared)} undeclared gaps; "
            f"{self.unaccepted} never accepted, the oldest {self.oldest / MS:.0f} ms before its kill "
            f"({len(self.late)} kills with more than {UNACCEPTED // MS} ms); "
            f"{self.declared} messages declared lost, {self.contradicted} of them stored"
        )

    @property
    def findings(self) -> str:
        """The first of each kind, for whoever has to look into it."""
        kinds = {"lost": self.lost, "duplicated": self.duplicated, "wrong": self.wrong, "undeclared": self.undeclared}
        return "\n".join(f"{kind}: {each}" for kind, found in kinds.items() for each in found[:10])


def judge(
    served: Mapping[Signal, Column],
    stored: Mapping[Signal, Columns],
    *,
    ranges: Mapping[Origin, Ranges],
    losses: Sequence[Lost] = (),
    pending: Mapping[Origin, Ranges] | None = None,
    absences: Iterable[Absence] = (),
    unaccepted: int = UNACCEPTED,
) -> Verdict:
    """All of it. `pending`: what a buffer still keeps. `unaccepted`: ns before an absence; see UNACCEPTED."""
    absences = sorted(absences, key=lambda each: each.begin)
    verdict = Verdict()
    for signal in sorted(served.keys() | stored.keys()):
        said, found = served.get(signal, Column()), _good(stored.get(signal, Columns()))
        verdict.served += len(said.value)
        verdict.stored += len(found)
        _look_for_lost(verdict, signal, said, {value for _, value in found}, absences, unaccepted)
        _look_for_wrong(verdict, signal, said, found)
    _look_for_gaps(verdict, ranges, losses, pending or {})
    return verdict


def judge_files(
    ledger: Path, historian: Path, absences: Iterable[Absence] = (), unaccepted: int = UNACCEPTED
) -> Verdict:
    """The same for a ledger and a historian's file, when no buffer has anything left to send."""
    now = time.time_ns()
    reader = Historian.open_read_only(historian)
    try:
        stored = {
            (info.machine.machine, info.signal): reader.query(info.machine.machine, info.signal, 0, now + 10**12)
            for info in reader.signals()
        }
        verdict = judge(
            columns(read_ledger(ledger)), stored, ranges=reader.stored(), losses=reader.losses(0, now + 10**12),
            absences=absences, unaccepted=unaccepted,
        )  # fmt: skip
        # A message stored twice shows up here even where both of its readings fell on one time.
        counted = sum(stretch.readings or 0 for stretch in reader.stretches())
        if hidden := counted - sum(map(len, stored.values())):
            verdict.duplicated.append(Finding(("", ""), hidden, now, "more readings in messages than can be asked for"))
        return verdict
    finally:
        reader.close()


def _good(column: Columns) -> list[tuple[int, Value]]:
    return [(t, v) for t, v, q in zip(column.time, column.value, column.quality, strict=True) if q == GOOD]


def _look_for_lost(
    verdict: Verdict, signal: Signal, said: Column, found: set[Value], absences: Sequence[Absence], unaccepted: int
) -> None:
    """What is missing at the end of what was served to a gateway that was killed was never accepted by it.

    Only there: a reading is taken over after those before it, so one that is missing before one that is stored is lost.
    """
    missing = [i for i, value in enumerate(said.value) if value not in found]
    excused: set[int] = set()
    for absence in absences if missing else ():
        i = bisect_right(said.time, absence.end) - 1
        while i >= 0 and said.value[i] not in found and said.time[i] >= absence.begin - unaccepted:
            excused.add(i)
            verdict.oldest = max(verdict.oldest, absence.begin - said.time[i])
            if absence.begin - said.time[i] > UNACCEPTED:
                verdict.late.add(absence.begin)
            i -= 1
    verdict.unaccepted += len(excused)
    for i in missing:
        if i not in excused:
            ends = [absence.begin - said.time[i] for absence in absences if absence.end >= said.time[i]]
            what = (
                f"served and not stored, {ends[0] / MS:.0f} ms before the next kill" if ends else "served, not stored"
            )
            verdict.lost.append(Finding(signal, said.value[i], said.time[i], what))


def _look_for_wrong(verdict: Verdict, signal: Signal, said: Column, found: Sequence[tuple[int, Value]]) -> None:
    places = {value: i for i, value in enumerate(said.value)}
    if len(places) < len(said.value):
        raise ValueError(
            f"{'/'.join(signal)} was served with the same value twice: nothing can be said about duplicates"
        )
    seen: set[Value] = set()
    furthest = -1
    for t, value in found:
        place = places.get(value)
        if place is None or type(said.value[place]) is not type(value):
            verdict.wrong.append(Finding(signal, value, t, "stored and never served"))
            continue
        if value in seen:
            verdict.duplicated.append(Finding(signal, value, t, "stored twice"))
            continue
        seen.add(value)
        behind = said.time[place + 1] + LATE if place + 1 < len(said.time) else None
        if t < said.time[place] - ROUNDED or (behind is not None and t > behind):
            late = (t - said.time[place]) / MS
            verdict.wrong.append(Finding(signal, value, t, f"its stamp is {late:+.3f} ms from when it was served"))
        elif place < furthest:
            verdict.wrong.append(Finding(signal, value, t, "its stamp is behind that of a value served after it"))
        furthest = max(furthest, place)


def _look_for_gaps(
    verdict: Verdict, ranges: Mapping[Origin, Ranges], losses: Sequence[Lost], pending: Mapping[Origin, Ranges]
) -> None:
    """Seqs count from 1 in each epoch: whatever is missing below one that is stored was declared, or is on its way."""
    verdict.epochs = len(ranges)
    verdict.declared = sum(lost.loss.last - lost.loss.first + 1 for lost in losses if lost.loss.last)
    for origin, there in ranges.items():
        gateway, epoch = origin
        declared = [
            (lost.loss.first, lost.loss.last)
            for lost in losses
            if (lost.gateway, lost.loss.epoch) == (gateway, epoch) and lost.loss.last
        ]
        verdict.contradicted += sum(
            max(0, min(last, end) - max(first, begin) + 1)
            for first, last in there
            for begin, end in merge_ranges(declared)
        )
        newest = max((last for _, last in there), default=0)
        following = 1
        for first, last in merge_ranges([*there, *declared, *pending.get(origin, ())]):
            if first > newest:
                break
            if first > following:
                verdict.undeclared.append((origin, following, first - 1))
            following = last + 1
