"""The historian's file: opening it, its tables, and what SQLite's errors mean to people.

    message   as it came, until the next fold                 machine, signal   names, units, the newest folded reading
    segment   machine, interval, times of its chunks          stored            identities (gateway, epoch): ranges
    chunk     id = segment * 2^20 + signal: values, quality   stretch           the same with readings and times
                                                              loss              what never arrived, and why

A chunk's id puts it behind the others of its segment, so a fold writes in one place, and needs no index.

`user_version` is the version of the tables. Version 1 had no `stretch`; opened for writing, it gets one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import StoreError
from gateway.faults import fault_of_disk
from gateway.store import stretches

APPLICATION_ID = 0x53464757  # "SFGW"
SCHEMA = 2
WITHOUT_STRETCHES = 1
CHUNK_BITS = 20
PAGE = 8192  # a message of 200 signals fits into one; with 4096, folding writes twice as many bytes
BUSY_TIMEOUT = 10.0  # seconds; a reader never blocks the writer, two writers are refused before

# `of` is the epoch of what was lost, where that is not the one the record itself is counted in.
_VERSION_2 = """
CREATE TABLE stretch (gateway TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    readings INTEGER, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (gateway, epoch, first)) WITHOUT ROWID;
ALTER TABLE loss ADD COLUMN of TEXT NOT NULL DEFAULT '';
"""
_TABLES = """
CREATE TABLE machine (id INTEGER PRIMARY KEY, levels TEXT NOT NULL UNIQUE, enterprise TEXT NOT NULL,
    site TEXT NOT NULL, area TEXT NOT NULL, line TEXT NOT NULL, machine TEXT NOT NULL);
CREATE TABLE signal (id INTEGER PRIMARY KEY, machine INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    unit TEXT NOT NULL DEFAULT '', time INTEGER, value BLOB, quality INTEGER, UNIQUE (machine, name));
CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, machine INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX message_of_machine ON message (machine);
CREATE TABLE segment (id INTEGER PRIMARY KEY AUTOINCREMENT, machine INTEGER NOT NULL, interval INTEGER NOT NULL,
    time BLOB NOT NULL);
CREATE INDEX segment_of_machine ON segment (machine, interval);
CREATE TABLE chunk (id INTEGER PRIMARY KEY, value BLOB NOT NULL, quality BLOB);
CREATE TABLE stored (gateway TEXT NOT NULL, epoch TEXT NOT NULL, ranges TEXT NOT NULL, UNIQUE (gateway, epoch));
CREATE TABLE loss (gateway TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, count INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    machine TEXT NOT NULL, signal TEXT NOT NULL, cause TEXT NOT NULL, UNIQUE (gateway, epoch, seq));
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The file, made if need be, readable by its owner only. Raises StoreError."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            if not db.execute("PRAGMA schema_version").fetchone()[0]:
                db.executescript(
                    f"PRAGMA page_size={PAGE}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA};"
                )
                db.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_VERSION_2} COMMIT;")
            _check(db, path)
            db.execute("PRAGMA journal_mode=WAL")
            # NORMAL would lose what was acknowledged when the power fails.
            db.execute("PRAGMA synchronous=FULL")
            if version_of(db) == WITHOUT_STRETCHES:
                _migrate(db, path)
        except BaseException:
            db.close()
            raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The file, which must be there; a writer may be at work, and migrate it. Raises StoreError."""
    if not path.exists():
        raise StoreError(
            f"{path}: there is no historian yet: start `gateway run` or `gateway store`, or check store.path",
            fault="store-database-missing",
        )
    with explained(path):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            _check(db, path)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All or nothing. Raises StoreError; then nothing was changed."""
    with explained(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has ended the transaction already
                db.execute("ROLLBACK")
            raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        text, fault = _meaning(exc)
        raise StoreError(f"{path}: {text}", fault=fault) from exc
    except OSError as exc:
        text = f"{path}: {exc.strerror or exc}: check gateway.data_dir or store.path, and its permissions"
        raise StoreError(text, fault=fault_of_disk(exc)) from exc


def version_of(db: sqlite3.Connection) -> int:
    """Of the tables."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def damaged(exc: Exception) -> str:
    """What to do about a file that cannot be understood."""
    return (
        f"the file is damaged or no historian ({exc}): move it away and a new one is begun; "
        "`sqlite3 FILE .recover` saves what can be read"
    )


def _check(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        text = f"{path} belongs to another program: set store.path to a file of the historian's own"
        raise StoreError(text, fault="store-damaged")
    version = version_of(db)
    if version not in (WITHOUT_STRETCHES, SCHEMA):
        raise StoreError(
            f"{path} was written by another version (format {version}, this one knows {SCHEMA}): move it away",
            fault="store-damaged",
        )


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """All of it or nothing: interrupted, it begins anew when the file is opened again."""
    with transaction(db, path):
        for statement in _VERSION_2.split(";"):
            db.execute(statement)
        stretches.migrate(db)
        db.execute(f"PRAGMA user_version={SCHEMA}")


def _meaning(exc: sqlite3.Error) -> tuple[str, str]:
    """In words, and as a code."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(exc), "store-damaged"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        fault = "disk-full" if code == sqlite3.SQLITE_FULL else "disk-broken"
        return f"nothing can be written ({exc}): free some space on this disk, or shorten store.retention", fault
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another program holds the file ({exc}): end it", "store-in-use"
    fault = "disk-no-rights" if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) else "store-damaged"
    return f"{exc}: check gateway.data_dir or store.path, and its permissions", fault
