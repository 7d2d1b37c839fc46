"""Where every message is: stored, waiting, declared lost; and what nobody has an explanation for. Pure.

    store: stretches, losses ─┐
                              ├─▶ rows, in the order of their epochs ─▶ what no row covers is lost without a word
    buffer: what waits ───────┘

Within an epoch seqs count from 1, without gaps. So what lies below the highest that is known anywhere has to be known,
too. It exists to show that there is nothing left over.

Each message counts once. A buffer hears a moment later that a message is stored, and what it gave up may have arrived
all the same: stored is stored, and what waits is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.buffer.inspect import Waiting
from gateway.buffer.losses import without
from gateway.mqtt.payload import Loss, Ranges, merge_ranges
from gateway.store.contract import Lost, Origin, Stretch

Kind = Literal["stored", "pending", "loss", "silent"]


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of messages. Where first and last are 0, what was lost never had a message."""

    kind: Kind
    gateway: str
    epoch: str
    first: int
    last: int
    count: int | None  # readings; None: not known
    start: int  # ns; 0: not known
    end: int
    cause: str = ""

    @property
    def messages(self) -> int:
        return self.last - self.first + 1 if self.first else 0


def audit(
    stored: Mapping[Origin, Ranges], stretches: Sequence[Stretch], losses: Sequence[Lost], waiting: Iterable[Waiting],
    gateway: str, declared: Iterable[Loss] = (),
) -> list[Row]:  # fmt: skip
    """All rows. `stored`: every message there is, also those whose stretches have expired; `gateway`: whose buffer it is.

    `declared`: losses whose records still wait in that buffer.
    """
    rows = [Row("stored", s.gateway, s.epoch, s.first, s.last, s.readings, s.start, s.end) for s in stretches]
    there: dict[Origin, list[tuple[int, int]]] = {}  # what is stored, or waits
    for s in stretches:
        there.setdefault((s.gateway, s.epoch), []).append((s.first, s.last))
    for w in waiting:
        origin = gateway, w.epoch
        for first, last in without([(w.first, w.last)], [*there.get(origin, ()), *stored.get(origin, ())]):
            rows.append(Row("pending", gateway, w.epoch, first, last, w.part(first, last), w.start, w.end))
        there.setdefault(origin, []).append((w.first, w.last))
    told = {(lost.gateway, lost.loss.epoch, lost.loss.first, lost.loss.last, lost.loss.cause) for lost in losses}
    fresh = [loss for loss in declared if (gateway, loss.epoch, loss.first, loss.last, loss.cause) not in told]
    for name, loss in [*((lost.gateway, lost.loss) for lost in losses), *((gateway, loss) for loss in fresh)]:
        whole = (loss.first, loss.last)
        for part in without([whole], merge_ranges(there.get((name, loss.epoch), ()))) if loss.first else [whole]:
            count = loss.count if part == whole else None
            rows.append(Row("loss", name, loss.epoch, *part, count, loss.start, loss.end, loss.cause))
            there.setdefault((name, loss.epoch), []).append(part)
    known: dict[Origin, list[tuple[int, int]]] = {origin: list(ranges) for origin, ranges in stored.items()}
    for row in rows:
        if row.first:
            known.setdefault((row.gateway, row.epoch), []).append((row.first, row.last))
    for (name, epoch), ranges in known.items():
        merged = merge_ranges(ranges)
        for first, last in without([(1, merged[-1][1])], merged) if merged else ():
            rows.append(Row("silent", name, epoch, first, last, None, *_around(rows, name, epoch, first, last)))
    order = {epoch: i for i, epoch in enumerate(dict.fromkeys(row.epoch for row in rows))}
    return sorted(rows, key=lambda row: (row.gateway, order[row.epoch], row.first or row.last, row.kind))


def _around(rows: Sequence[Row], gateway: str, epoch: str, first: int, last: int) -> tuple[int, int]:
    """When it must have been: after what comes before it, and before what comes behind it."""
    same = [row for row in rows if (row.gateway, row.epoch) == (gateway, epoch) and row.first]
    before = max((row.end for row in same if row.last < first), default=0)
    return before, min((row.start for row in same if row.first > last), default=before)
