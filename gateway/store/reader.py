"""The historian's reading side: beside the writer, in any process.

    chunks of the interval ─┐
    messages not yet folded ┴─ merged, interval by interval ─▶ all of it, or down-sampled on the way

Every answer is one snapshot, and ends before it is returned: an open one would keep the writer's journal growing.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import merge as merge_sorted
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from gateway.errors import PayloadError, StoreError
from gateway.model import MachinePath, Value
from gateway.mqtt.payload import Loss, Ranges, decode_data
from gateway.store import database
from gateway.store.columns import unpack, unpack_quality, unpack_times
from gateway.store.contract import Columns, Lost, Origin, Stretch
from gateway.store.downsample import down_sample
from gateway.store.fold import INTERVAL, merge
from gateway.store.frames import separate
from gateway.store.stretches import stored, stretches, stretches_of_before

_CHUNKS = 2**database.CHUNK_BITS - 1  # of a chunk's id: which signal it is of
_NUMBERS = {float, int}
_Part = tuple[int, Columns]  # interval, readings
_Reading = tuple[int, Value, int]  # time, value, quality


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """A signal the historian knows, with its newest reading."""

    machine: MachinePath
    signal: str
    type: str
    unit: str
    time: int | None  # None: described, never read
    value: Value
    quality: int


@dataclass(frozen=True, slots=True)
class Changes:
    """How far a file had come when somebody looked: see `HistorianReader.changed`."""

    message: int = 0
    segment: int = 0


class NotStoredError(StoreError):
    """Nothing of such a machine or signal was ever stored."""


class HistorianReader:
    """Answers questions about one file; open it as often as you like."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = database.open_for_reading(path)

    def close(self) -> None:
        self._db.close()

    def query(self, machine: str, signal: str, start: int, end: int, points: int | None = None) -> Columns:
        """The readings from `start` to `end` (ns, both included); see gateway/store/contract.py."""
        with self._snapshot():
            machine_id, signal_id = self._find(machine, signal)
            parts = self._parts(machine_id, signal_id, signal, start, end)
            if points is not None:
                return down_sample(parts, start, end, points)
            result = Columns()
            for part in parts:
                result.time += part.time
                result.value += part.value
                result.quality += part.quality
            return result

    def extremes(self, machine: str, start: int, end: int) -> dict[str, tuple[float, float]]:
        """The smallest and the largest number of every signal of a machine from `start` to `end` (ns, both included).

        All signals at once, as that reads each piece of the file once. `machine` is a name or a path, as for `query`.
        """
        found: dict[str, tuple[float, float]] = {}

        def add(name: str, values: list[Any]) -> None:
            if not set(map(type, values)) <= _NUMBERS:
                values = [v for v in values if type(v) in _NUMBERS]
            if values:
                low, high = min(values), max(values)
                before = found.get(name, (low, high))
                found[name] = min(low, before[0]), max(high, before[1])

        with self._snapshot():
            machine_id = self._machine(machine)
            names = dict(self._db.execute("SELECT id, name FROM signal WHERE machine = ?", (machine_id,)))
            rows = self._db.execute(
                "SELECT interval, segment.time, chunk.id & ?, value FROM segment JOIN chunk ON chunk.id BETWEEN segment.id << ? AND"
                " (segment.id << ?) | ? WHERE machine = ? AND interval BETWEEN ? AND ? ORDER BY segment.id",
                (
                    _CHUNKS, database.CHUNK_BITS, database.CHUNK_BITS, _CHUNKS, machine_id, start // INTERVAL,
                    end // INTERVAL,
                ),
            )  # fmt: skip
            for interval, packed, signal, value in rows:
                values = unpack(value)
                if interval * INTERVAL < start or (interval + 1) * INTERVAL > end + 1:  # not all of it
                    times = unpack_times(packed)
                    values = values[bisect_left(times, start) : bisect_right(times, end)]
                add(names.get(signal, ""), values)
            for (payload,) in self._db.execute(
                "SELECT payload FROM message WHERE machine = ? AND last >= ? AND first <= ?", (machine_id, start, end)
            ):
                for frame in decode_data(payload).frames:
                    if start <= frame.time <= end:
                        for name, each in frame.values.items():
                            add(name, [each])
        found.pop("", None)
        return found

    def changed(self, machine: str, since: Changes | None) -> tuple[set[int], Changes]:
        """Intervals (fold.INTERVAL) of which readings of a machine were stored since another look, and this look for the next one.

        None, or one at another file: none. What was only folded meanwhile may be among them.
        """
        with self._snapshot():
            sequence = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence"))  # no id is used again
            now = Changes(sequence.get("message", 0), sequence.get("segment", 0))
            found = set[int]()
            if since is not None:
                machine_id = self._machine(machine)
                for first, last in self._db.execute(
                    "SELECT first, last FROM message WHERE machine = ? AND id > ?", (machine_id, since.message)
                ):
                    found.update(range(first // INTERVAL, last // INTERVAL + 1))
                found |= {
                    interval
                    for (interval,) in self._db.execute(
                        "SELECT interval FROM segment WHERE +machine = ? AND id > ?", (machine_id, since.segment)
                    )
                }
            return found, now

    def interrupt(self) -> None:
        """From another thread: what is being asked ends with a StoreError."""
        self._db.interrupt()

    def signals(self) -> list[SignalInfo]:
        """Every signal with type, unit and newest reading."""
        with self._snapshot():
            return [
                SignalInfo(path, name, type_, unit, *_latest(time, value, quality, recent.get(name)))
                for machine, path in self._machines()
                for recent in [self._newest_unfolded(machine)]
                for name, type_, unit, time, value, quality in self._db.execute(
                    "SELECT name, type, unit, time, value, quality FROM signal WHERE machine = ? ORDER BY id",
                    (machine,),
                )
            ]

    def latest(self) -> Mapping[tuple[MachinePath, str], tuple[int, Value, int]]:
        """The newest reading (time, value, quality) of every signal that has one."""
        return {(s.machine, s.signal): (s.time, s.value, s.quality) for s in self.signals() if s.time is not None}

    def stored(self) -> Mapping[Origin, Ranges]:
        """Which messages of which gateway and epoch it has; the newest epoch last."""
        with self._snapshot():
            return stored(self._db)

    def stretches(self, since: int | None = None) -> list[Stretch]:
        """What was stored in stretches as long as can be, of each epoch in turn, the one first seen first.

        With `since` (ns) those that reach beyond it; they may begin up to 4096 messages before.
        """
        with self._snapshot():
            # A writer may migrate the file while we have it open.
            if database.version_of(self._db) == database.WITHOUT_STRETCHES:
                return stretches_of_before(self._db, since)
            return stretches(self._db, since)

    def losses(self, start: int, end: int) -> list[Lost]:
        """What never arrived between `start` and `end`, oldest first."""
        with self._snapshot():
            column = "''" if database.version_of(self._db) == database.WITHOUT_STRETCHES else "of"
            sql = (
                f"SELECT {column}, gateway, epoch, seq, first, last, count, start, end, cause, machine, signal FROM loss"  # noqa: S608
                " WHERE end >= ? AND start <= ? ORDER BY start"
            )
            return [
                Lost(gateway, seq, Loss(of or epoch, *loss), epoch if of else "")
                for of, gateway, epoch, seq, *loss in self._db.execute(sql, (start, end))
            ]

    # --- inside a snapshot -------------------------------------------------------------------------------------------

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with database.explained(self._path):
            self._db.execute("BEGIN")
            try:
                yield
            except (zlib.error, ValueError, PayloadError) as exc:
                raise StoreError(f"{self._path}: {database.damaged(exc)}", fault="store-damaged") from exc
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _machines(self) -> list[tuple[int, MachinePath]]:
        rows = self._db.execute("SELECT id, machine, enterprise, site, area, line FROM machine ORDER BY levels")
        return [(id_, MachinePath(*path)) for id_, *path in rows]

    def _find(self, machine: str, signal: str) -> tuple[int, int]:
        id_ = self._machine(machine)
        signals = dict(self._db.execute("SELECT name, id FROM signal WHERE machine = ?", (id_,)))
        if signal not in signals:
            raise NotStoredError(_unknown(f"signal of {machine}", signal, signals, self._path))
        return id_, signals[signal]

    def _machine(self, machine: str) -> int:
        machines = self._machines()
        named = {
            "/".join(path.levels()): id_ for id_, path in machines if machine in (path.machine, "/".join(path.levels()))
        }
        if not named:
            raise NotStoredError(_unknown("machine", machine, {path.machine for _, path in machines}, self._path))
        if len(named) > 1:
            raise StoreError(f"there are several machines '{machine}': say {' or '.join(sorted(named))}")
        return next(iter(named.values()))

    def _parts(self, machine: int, signal_id: int, signal: str, start: int, end: int) -> Iterator[Columns]:
        """The readings in time order, one piece per interval."""
        folded = self._folded(machine, signal_id, start, end)
        recent = self._unfolded(machine, signal, start, end)
        for _, parts in groupby(merge_sorted(folded, recent, key=itemgetter(0)), key=itemgetter(0)):
            piece = merge(part for _, part in parts)
            i, j = bisect_left(piece.time, start), bisect_right(piece.time, end)
            if i < j:
                yield Columns(piece.time[i:j], piece.value[i:j], piece.quality[i:j])

    def _folded(self, machine: int, signal: int, start: int, end: int) -> Iterator[_Part]:
        rows = self._db.execute(
            "SELECT interval, segment.time, value, quality FROM segment CROSS JOIN chunk ON chunk.id = (segment.id << ?) | ?"
            " WHERE machine = ? AND interval BETWEEN ? AND ? ORDER BY interval, segment.id",
            (database.CHUNK_BITS, signal, machine, start // INTERVAL, end // INTERVAL),
        )
        for interval, time, value, quality in rows:
            values = unpack(value)
            yield interval, Columns(unpack_times(time), values, unpack_quality(quality, len(values)))

    def _unfolded(self, machine: int, signal: str, start: int, end: int) -> list[_Part]:
        rows = self._db.execute(
            "SELECT payload FROM message WHERE machine = ? AND last >= ? AND first <= ? ORDER BY id",
            (machine, start - 1000, end),  # a reading may have moved on by some ns, see frames.py
        )
        intervals: dict[int, Columns] = {}
        for (payload,) in rows:
            for time, frame in separate(decode_data(payload).frames):
                if signal in frame.values or signal in frame.quality:
                    columns = intervals.setdefault(time // INTERVAL, Columns())
                    columns.time.append(time)
                    columns.value.append(frame.values.get(signal))
                    columns.quality.append(frame.quality.get(signal, 0))
        return sorted(intervals.items(), key=itemgetter(0))

    def _newest_unfolded(self, machine: int) -> dict[str, _Reading]:
        newest: dict[str, _Reading] = {}
        for (payload,) in self._db.execute("SELECT payload FROM message WHERE machine = ? ORDER BY id", (machine,)):
            for time, frame in separate(decode_data(payload).frames):
                for name in frame.values.keys() | frame.quality.keys():
                    if name not in newest or newest[name][0] <= time:
                        newest[name] = time, frame.values.get(name), frame.quality.get(name, 0)
        return newest


def _latest(time: int | None, value: bytes, quality: int, recent: _Reading | None) -> tuple[int | None, Value, int]:
    """The newer one of what is folded and what is not."""
    if recent and (time is None or time <= recent[0]):
        return recent
    return (None, None, 0) if time is None else (time, unpack(value)[0], quality)


def _unknown(what: str, name: str, known: Iterable[str], path: Path) -> str:
    close = get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(sorted(known)[:10]) or 'none yet'}"
    return f"{path}: no {what} is called '{name}': {hint}"
