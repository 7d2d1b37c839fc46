"""How a store is, seen from outside, also beside a running gateway: reads, and writes nothing that changes anything."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.config.settings import StoreSettings
from gateway.store import database

_STEPS = 20_000  # of SQLite's machine between two looks at the time


@dataclass(frozen=True, slots=True)
class Health:
    """What the historian's file holds."""

    size: int  # bytes, with its write-ahead log
    newest: int | None  # ns since 1970, UTC, of the newest reading; None: there is none yet
    damage: str  # what SQLite says is wrong; "" for nothing
    whole: bool  # all of it was looked at; else only what could be in time


def historian(path: Path, seconds: float) -> Health:
    """Look at the file, and check it for so long. Raises StoreError."""
    with database.explained(path):
        db = database.open_for_reading(path)
        try:
            newest = db.execute("SELECT max(end) FROM stretch").fetchone()[0]
            damage, whole = _check(db, seconds)
        finally:
            db.close()
    files = [each for each in (path, path.with_name(path.name + "-wal")) if each.exists()]
    return Health(sum(each.stat().st_size for each in files), newest, damage, whole)


def _check(db: sqlite3.Connection, seconds: float) -> tuple[str, bool]:
    """PRAGMA quick_check, for so long."""
    deadline = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        rows = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return "", False
    finally:
        db.set_progress_handler(None, 0)
    return ("" if rows == ["ok"] else "; ".join(rows)), True


def influx(settings: StoreSettings, timeout: float) -> None:
    """Ask it for a sign of life, and write nothing at all, which takes the right to write. Raises StoreError,
    PartMissingError."""
    from gateway.store.open import influx_connection

    connection = influx_connection(settings, timeout=timeout)
    try:
        connection.detect()
        connection.probe()
    finally:
        connection.close()
