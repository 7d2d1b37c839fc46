"""The embedded historian: one SQLite file, cheap to write and quick to ask.

    write ─▶ message (as it came) + stored, stretch (its identity)  one commit for a batch
                │  tidy, every ten minutes, machine by machine
                ▼
             segment + chunk (a column per signal and interval)     one commit for a piece: chunks in, messages out

A reading is in one of both, never in none and never in two. Late readings make further segments, which are merged when
somebody asks. What happens here can be interrupted at any place.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from gateway.clock import Clock, SystemClock
from gateway.errors import PayloadError, StoreError
from gateway.mqtt.payload import Loss, Ranges, decode_data
from gateway.store import database
from gateway.store.catalogue import Catalogue
from gateway.store.columns import pack, pack_quality, pack_times
from gateway.store.contract import Entry, Lost, Origin, Readings
from gateway.store.fold import INTERVAL, Segment, fold
from gateway.store.identities import Identities
from gateway.store.reader import HistorianReader
from gateway.store.stretches import Stretches, stored

log = logging.getLogger(__name__)

GRACE = 30 * 10**9  # ns after the end of an interval before it is folded, for what comes a little late
PIECE = 4 * 2**20  # bytes of messages folded at once: bounds memory, and how long a write waits
BACKLOG = 64 * 2**20  # bytes of messages from which on they are folded early, as after an outage
RESERVE = 32 * 2**20  # bytes left free on the disk: a data base on a full one can neither delete nor fold
RETAINED_AT_ONCE = 200  # segments deleted in one commit


class Historian:
    """The writing side; see gateway/store/contract.py for the contract. One per file."""

    remembers = True
    settles = 0.0

    def __init__(
        self, path: Path, *, retention: float | None = None, clock: Clock | None = None, reserve: int = RESERVE
    ) -> None:
        """`retention` in seconds; None keeps everything. Raises StoreError."""
        self._path, self._retention, self._reserve = path, retention, reserve
        self._clock = clock or SystemClock()
        self._lock = _locked(path)
        try:
            self._db = database.open_for_writing(path)
            with database.explained(path):
                self._recall()
        except BaseException:
            os.close(self._lock)
            raise
        self._upto = self._settled = 0  # messages up to here: fold if of a past interval; fold whatever they are
        self._interval = self._forgotten = (self._clock.now() - GRACE) // INTERVAL

    @staticmethod
    def open_read_only(path: Path) -> HistorianReader:
        """The asking side, in any process, at any time. Raises StoreError."""
        return HistorianReader(path)

    def close(self) -> None:
        if self._lock >= 0:
            self._db.close()
            os.close(self._lock)
            self._lock = -1

    def stored(self) -> Mapping[Origin, Ranges]:
        return {origin: identities.ranges() for origin, identities in self._stored.items()}

    def settled(self) -> Mapping[Origin, Ranges]:
        return {}

    # --- writing -----------------------------------------------------------------------------------------------------

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        self._check_room()
        with self._transaction():
            touched: dict[Origin, None] = {}  # in the order in which they came
            messages = []
            now = self._clock.now()
            for entry in batch:
                if isinstance(entry, Readings):
                    data = entry.data
                    times = [frame.time for frame in data.frames] or [now]
                    start, end = min(times), max(times)
                    if self._is_new(entry.origin, data.seq, touched, entry.count, start, end):
                        messages += self._rows(entry, start, end)
                elif isinstance(entry, Lost):
                    self._is_new(entry.origin, entry.seq, touched, 0, now, now)
                    self._write_loss(entry)
                else:
                    self._catalogue.describe(entry)
            self._db.executemany("INSERT INTO message (machine, first, last, payload) VALUES (?, ?, ?, ?)", messages)
            for gateway, epoch in touched:
                ranges = orjson.dumps(self._stored[gateway, epoch].ranges()).decode()
                self._db.execute(
                    "INSERT INTO stored VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET ranges = excluded.ranges",
                    (gateway, epoch, ranges),
                )
            self._stretches.save()
        self._waiting += sum(len(row[3]) for row in messages)
        return ()

    def _is_new(
        self, origin: Origin, seq: int, touched: dict[Origin, None], readings: int, start: int, end: int
    ) -> bool:
        if not self._stored.setdefault(origin, Identities()).add(seq):
            return False
        touched[origin] = None
        # Identities forget the oldest of very many gaps; stretches do not.
        return self._stretches.add(*origin, seq, readings, start, end)

    def _rows(self, entry: Readings, start: int, end: int) -> list[tuple[int, int, int, bytes]]:
        frames = entry.data.frames
        if not frames:
            return []
        machine = self._catalogue.machine(entry.path)
        for frame in frames:
            self._catalogue.know(machine, frame)
        return [(machine, start, end, entry.payload)]

    def _write_loss(self, lost: Lost) -> None:
        loss = lost.loss
        self._db.execute(
            "INSERT OR IGNORE INTO loss VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *lost.origin, lost.seq, loss.first, loss.last, loss.count, loss.start, loss.end,
                loss.machine, loss.signal, loss.cause, loss.epoch if lost.epoch else "",
            ),
        )  # fmt: skip

    # --- house-keeping -----------------------------------------------------------------------------------------------

    def tidy(self) -> bool:
        now = self._clock.now()
        interval = (now - GRACE) // INTERVAL
        if interval != self._interval:
            # What has been here for a whole interval goes now, even if its clock says that it is from the future.
            self._interval, self._settled, self._upto = interval, self._upto, self._newest()
        if self._waiting > BACKLOG:
            self._settled = self._upto = self._newest()
        return self._fold_piece() or self._forget(now)

    def fold_all(self) -> None:
        """Fold every message there is, as before copying the file."""
        self._settled = self._upto = self._newest()
        while self._fold_piece():
            pass

    def _fold_piece(self) -> bool:
        with database.explained(self._path):
            due = "id <= ? AND (id <= ? OR last < ?)"
            limits = (self._upto, self._settled, self._interval * INTERVAL)
            first = self._db.execute(f"SELECT machine FROM message WHERE {due} ORDER BY id LIMIT 1", limits).fetchone()  # noqa: S608
            if first is None:
                return False
            machine, size = first[0], 0
            rows: list[tuple[int, bytes, int, int]] = []
            sql = f"SELECT id, payload, first, last FROM message WHERE machine = ? AND {due} ORDER BY id"  # noqa: S608
            for row in self._db.execute(sql, (machine, *limits)):
                rows.append(row)
                size += len(row[1])
                if size >= PIECE:
                    break
        messages, damaged = [], []
        for id_, payload, start, end in rows:
            try:
                messages.append(decode_data(payload))
            except PayloadError as exc:  # was whole when it was written, and SQLite has no checksums
                log.error("%s: message %d is damaged: %s", self._path, id_, exc)
                damaged.append(Lost("", id_, Loss("", 0, 0, 1, start, end, f"damaged in the historian's file: {exc}")))
        segments = fold(messages)
        with self._transaction():
            for segment in segments:
                self._write_segment(machine, segment)
            for lost in damaged:
                self._write_loss(lost)
            self._db.executemany("DELETE FROM message WHERE id = ?", [row[:1] for row in rows])
        self._waiting -= size
        return True

    def _write_segment(self, machine: int, segment: Segment) -> None:
        cursor = self._db.execute(
            "INSERT INTO segment (machine, interval, time) VALUES (?, ?, ?)",
            (machine, segment.interval, pack_times(segment.time)),
        )
        assert cursor.lastrowid is not None
        base = cursor.lastrowid << database.CHUNK_BITS
        ids = self._catalogue.signals[machine]
        self._db.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?)",
            [(base | ids[c.name], pack(c.value), pack_quality(c.quality)) for c in segment.columns],
        )
        last = segment.time[-1]
        self._db.executemany(
            "UPDATE signal SET time = ?, value = ?, quality = ? WHERE id = ? AND (time IS NULL OR time <= ?)",
            [
                (last, pack([c.value[-1]]), c.quality[-1] if c.quality else 0, ids[c.name], last)
                for c in segment.columns
            ],
        )

    def _forget(self, now: int) -> bool:
        """Delete what is older than the retention, a little at a time so that the journal stays small."""
        if self._retention is None or self._forgotten == self._interval:
            return False
        limit = now - round(self._retention * 1e9)
        with self._transaction():
            old = [
                (id_,)
                for machine in self._catalogue.machines.values()
                for (id_,) in self._db.execute(
                    "SELECT id FROM segment WHERE machine = ? AND interval < ? LIMIT ?",
                    (machine, limit // INTERVAL, RETAINED_AT_ONCE),
                )
            ][:RETAINED_AT_ONCE]
            for (id_,) in old:
                base = id_ << database.CHUNK_BITS
                self._db.execute(
                    "DELETE FROM chunk WHERE id BETWEEN ? AND ?", (base, base + 2**database.CHUNK_BITS - 1)
                )
            self._db.executemany("DELETE FROM segment WHERE id = ?", old)
            # Those about messages explain gaps in what is stored, which is remembered for ever; they are few.
            self._db.execute("DELETE FROM loss WHERE end < ? AND first = 0", (limit,))
            self._stretches.forget(limit)
        if len(old) < RETAINED_AT_ONCE:
            self._forgotten = self._interval
        return len(old) == RETAINED_AT_ONCE

    # --- state -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, in the file and in what we remember of it."""
        try:
            with database.transaction(self._db, self._path):
                yield
        except BaseException:
            with database.explained(self._path):
                self._recall()
            raise

    def _newest(self) -> int:
        with database.explained(self._path):
            return int(self._db.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()[0])

    def _recall(self) -> None:
        """Read what we keep in memory."""
        self._stored = {origin: Identities(ranges) for origin, ranges in stored(self._db).items()}
        self._stretches = Stretches(self._db)
        self._catalogue = Catalogue(self._db)
        self._waiting: int = self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM message").fetchone()[0]

    def _check_room(self) -> None:
        with database.explained(self._path):
            if shutil.disk_usage(self._path.parent).free >= self._reserve:
                return
            pages = self._db.execute("PRAGMA freelist_count").fetchone()[0]
            if pages * self._db.execute("PRAGMA page_size").fetchone()[0] < self._reserve:
                raise StoreError(
                    f"{self._path}: less than {self._reserve // 2**20} MiB are left on this disk: "
                    "free some, or shorten store.retention",
                    fault="disk-full",
                )


def _locked(path: Path) -> int:
    """Two historians on one file would each believe to know what is stored."""
    # A file beside it: closing any descriptor of the data base itself would drop SQLite's own locks on it.
    with database.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        text = f"{path}: another gateway writes to this historian: end it, or set store.path"
        raise StoreError(text, fault="store-in-use") from None
    return lock
