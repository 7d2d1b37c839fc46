"""What the historian has stored, in stretches that can be audited: which messages, how many readings, from when to when.

A stretch grows with the messages beside it, and two that meet become one. It never reaches over a multiple of 4096, so
that a question about a day is not answered with the whole life of an epoch, and a change only concerns few rows.
Messages from before this was counted are in stretches of their own, whose readings are not known.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.mqtt.payload import Ranges
from gateway.store.contract import Origin, Stretch
from gateway.store.fold import INTERVAL

BLOCK = 4096  # seqs
KEPT = 256  # blocks in memory

_Row = list[int]  # first, last, readings (UNKNOWN if not known), start, end
_FIRST, _LAST, _READINGS, _START, _END = range(5)
UNKNOWN = -1


@dataclass(slots=True)
class _Block:
    """The stretches of 4096 seqs, ascending, and what the file does not know of them yet."""

    rows: list[_Row]
    changed: dict[int, _Row] = field(default_factory=dict)  # by first
    gone: set[int] = field(default_factory=set)  # firsts


class Stretches:
    """In memory what was touched last. After a transaction that failed, make a new one."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._blocks: dict[tuple[str, str, int], _Block] = {}
        self._dirty: dict[tuple[str, str, int], _Block] = {}

    def add(self, gateway: str, epoch: str, seq: int, readings: int, start: int, end: int) -> bool:
        """Count a message in; False if it was there."""
        key = gateway, epoch, seq // BLOCK
        block = self._blocks.get(key) or self._load(key)
        rows = block.rows
        i = bisect_right(rows, seq, key=_first) if rows and seq <= rows[-1][_LAST] else len(rows)
        before = rows[i - 1] if i else None
        if before and seq <= before[_LAST]:
            return False
        row = [seq, seq, readings, start, end]
        if before and before[_LAST] == seq - 1 and before[_READINGS] != UNKNOWN:
            _join(before, row)
            row = before
        else:
            rows.insert(i, row)
            i += 1
        after = rows[i] if i < len(rows) else None
        if after and after[_FIRST] == seq + 1 and after[_READINGS] != UNKNOWN:
            block.gone.add(after[_FIRST])
            block.changed.pop(after[_FIRST], None)
            _join(row, after)
            del rows[i]
        block.changed[row[_FIRST]] = row
        self._dirty[key] = block
        return True

    def save(self) -> None:
        """Write what has changed, in the transaction that is open."""
        for (gateway, epoch, _), block in self._dirty.items():
            gone = block.gone - block.changed.keys()
            if gone:
                self._db.executemany(
                    "DELETE FROM stretch WHERE gateway = ? AND epoch = ? AND first = ?",
                    [(gateway, epoch, first) for first in gone],
                )
            self._db.executemany(
                "INSERT OR REPLACE INTO stretch VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(gateway, epoch, *row) for row in block.changed.values()],
            )
            block.gone.clear()
            block.changed.clear()
        self._dirty.clear()
        while len(self._blocks) > KEPT:
            del self._blocks[next(iter(self._blocks))]

    def forget(self, limit: int) -> None:
        """Delete what ended before this time, in the transaction that is open."""
        if self._db.execute("DELETE FROM stretch WHERE end < ?", (limit,)).rowcount:
            self._blocks.clear()

    def _load(self, key: tuple[str, str, int]) -> _Block:
        gateway, epoch, number = key
        rows = self._db.execute(
            "SELECT first, last, ifnull(readings, ?), start, end FROM stretch"
            " WHERE gateway = ? AND epoch = ? AND first BETWEEN ? AND ? ORDER BY first",
            (UNKNOWN, gateway, epoch, number * BLOCK, number * BLOCK + BLOCK - 1),
        )
        block = self._blocks[key] = _Block([list(row) for row in rows])
        return block


def migrate(db: sqlite3.Connection) -> None:
    """Fill the table of a file of version 1, in the transaction that is open."""
    start, end = _bounds(db)
    db.executemany(
        "INSERT INTO stretch VALUES (?, ?, ?, ?, NULL, ?, ?)",
        (
            (gateway, epoch, *piece, start, end)
            for (gateway, epoch), ranges in stored(db).items()
            for first, last in ranges
            for piece in _cut(first, last)
        ),
    )


def stretches(db: sqlite3.Connection, since: int | None) -> list[Stretch]:
    """Those that end at `since` or later, as long as they can be; epochs in the order in which they were first seen."""
    found = db.execute(
        "SELECT gateway, epoch, first, last, readings, start, end FROM stretch JOIN stored USING (gateway, epoch)"
        " WHERE end >= ? ORDER BY stored.rowid, first",
        (since if since is not None else -(2**63),),
    )
    return list(_longest(Stretch(*row) for row in found))


def stretches_of_before(db: sqlite3.Connection, since: int | None) -> list[Stretch]:
    """The same of a file of version 1, which has no stretches."""
    start, end = _bounds(db)
    if since is not None and end < since:
        return []
    return [
        Stretch(gateway, epoch, first, last, None, start, end)
        for (gateway, epoch), ranges in stored(db).items()
        for first, last in ranges
    ]


def stored(db: sqlite3.Connection) -> Mapping[Origin, Ranges]:
    """The identities a file has, the epoch that was seen last at the end."""
    rows = db.execute("SELECT gateway, epoch, ranges FROM stored ORDER BY rowid")
    return {(gateway, epoch): [(a, b) for a, b in orjson.loads(ranges)] for gateway, epoch, ranges in rows}


def _bounds(db: sqlite3.Connection) -> tuple[int, int]:
    """The oldest and the newest time in the file: all that is known of stretches that were not counted."""
    (start, end) = db.execute(
        "SELECT min(a), max(b) FROM (SELECT min(first) AS a, max(last) AS b FROM message"
        " UNION ALL SELECT min(interval) * ?, (max(interval) + 1) * ? - 1 FROM segment)",
        (INTERVAL, INTERVAL),
    ).fetchone()
    return start or 0, end or 0


def _cut(first: int, last: int) -> Iterator[tuple[int, int]]:
    while first <= last:
        edge = min(last, first // BLOCK * BLOCK + BLOCK - 1)
        yield first, edge
        first = edge + 1


def _longest(pieces: Iterable[Stretch]) -> Iterator[Stretch]:
    whole: Stretch | None = None
    for piece in pieces:
        if whole is not None and _touch(whole, piece):
            whole = _together(whole, piece)
        else:
            if whole is not None:
                yield whole
            whole = piece
    if whole is not None:
        yield whole


def _touch(a: Stretch, b: Stretch) -> bool:
    same = (a.gateway, a.epoch, a.readings is None) == (b.gateway, b.epoch, b.readings is None)
    return same and b.first == a.last + 1


def _together(a: Stretch, b: Stretch) -> Stretch:
    row = [a.first, a.last, _count(a), a.start, a.end]
    _join(row, [b.first, b.last, _count(b), b.start, b.end])
    first, last, readings, start, end = row
    return Stretch(a.gateway, a.epoch, first, last, None if a.readings is None else readings, start, end)


def _count(stretch: Stretch) -> int:
    return stretch.readings or 0


def _join(row: _Row, after: _Row) -> None:
    """Let a row reach over the one behind it. Where only one of them has readings, the times are its own."""
    row[_LAST] = after[_LAST]
    if not row[_READINGS] and after[_READINGS]:
        row[_START:] = after[_START:]
    elif after[_READINGS] or not row[_READINGS]:
        if after[_START] < row[_START]:
            row[_START] = after[_START]
        if after[_END] > row[_END]:
            row[_END] = after[_END]
    row[_READINGS] += after[_READINGS]


def _first(row: _Row) -> int:
    return row[_FIRST]
