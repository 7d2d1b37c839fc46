"""The file of a recording: small, only ever appended to, and readable up to wherever it was cut off.

    magic, version ─ chunk: head ─ chunk ─ chunk ─ chunk ─ …
                                   └ mark ─ CRC-32 ─ length ─ form ─ deflated entries

A chunk holds what came in a second, or 64 KiB of it, and is believed only as a whole. Its entries go on with the
dictionary of the chunk before, which is what makes a poll a few bytes; every minute one begins anew, so what follows a
damaged place is found again from there. The bytes are described in README.md.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

from gateway.errors import RecordingError, UsageError
from gateway.recording.entry import MOST_DATA, MOST_NUMBER, BrokenError, Entry, Head, Kind, decode, encode

MAGIC = b"SFGWREC"
VERSION = 1
MOST_SIZE = 1 << 30  # bytes of a file, unless somebody wants another bound
MOST_RATE = 4 << 20  # bytes a second that are kept in the long run

_CHUNK = Struct("<4sIIB")  # mark, CRC-32 of all behind it, bytes deflated, form
_MARK = b"\xabREC"
_HEAD, _ANEW, _ON = 1, 2, 3  # forms: the head; entries that begin anew; entries that go on with the chunk before
_FULL = 64 << 10  # bytes of entries that end a chunk
_MOST_WAITING = 32 << 20  # bytes that wait for a disk that takes its time
_RESTART = 512 << 10  # bytes of entries after which one begins anew
_RESTART_AFTER = 60 * 10**9  # ns after which one does, however little there was
_MOST_CHUNK = MOST_DATA + (1 << 20)  # bytes, inflated; the same deflated
_MOST_HEAD = 16 << 20
_TAIL = b"\x00\x00\xff\xff"  # what Z_SYNC_FLUSH ends with (RFC 1951, 3.2.4: an empty stored block)


class Recorder:
    """Writes a recording. What a `Tap` of it is told is on the disk `flush()` later."""

    def __init__(
        self,
        path: Path,
        head: Head,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        replace: bool = False,
        most_size: int = MOST_SIZE,
        most_rate: int = MOST_RATE,
    ) -> None:
        """`monotonic`: seconds. Raises RecordingError where it cannot be written, or is there and not to be replaced.

        Raises UsageError where `most_size` is too little for anything.
        """
        self.path = path
        self.entries = 0  # in the file
        self.left_out = 0  # over the bound on the rate
        self.sent = self.received = 0  # of those
        self.full = False  # the file is as large as it may be
        self.trouble = ""  # what the disk says that takes no more
        self._monotonic, self._most_size, self._most_rate = monotonic, most_size, most_rate
        self._start = monotonic()
        self._links = 0
        self._waiting: list[Entry] = []
        self._waiting_size = 0
        self._missing: dict[int, tuple[int, int, int]] = {}  # by link: since when, entries, bytes
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._allowance = float(most_rate)
        self._allowed_at = self._start
        self._deflate: Any = None
        self._since_restart = 0
        self._restarted_at = 0  # ns
        self._before = 0  # time of the last entry in the file
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        begins = deflate.compress(json.dumps(asdict(head)).encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
        needed = len(MAGIC) + 1 + _CHUNK.size + len(begins.removesuffix(_TAIL))
        if needed > most_size:
            what = f"{path} may have {most_size} bytes, and its beginning, with the configuration, takes {needed}"
            raise UsageError(f"{what}: give it more with --max-size, for example 1MiB")
        try:
            self._file: BinaryIO | None = _alone(path, replace)
            self.size = self._file.write(MAGIC + bytes((VERSION,)))
            self._write(_HEAD, begins)
            self._file.flush()
            os.fsync(self._file.fileno())
        except FileExistsError as exc:
            raise RecordingError(f"{path} is there already") from exc
        except OSError as exc:
            raise RecordingError(f"{path} cannot be written: {exc.strerror}") from exc

    @property
    def over(self) -> bool:
        """Nothing more is written: the file is full, or the disk takes no more."""
        return self.full or bool(self.trouble) or self._file is None

    def tap(self) -> LinkTap:
        """Of one more way to the machine."""
        self._links += 1
        return LinkTap(self, self._links - 1)

    def put(self, kind: Kind, link: int, ref: int, data: bytes) -> None:
        """Now; it is written by the next `flush`. Never fails and never waits: what cannot be kept is counted."""
        if self.over:
            return
        now = self._monotonic()
        at = max(0, round((now - self._start) * 1e9))
        with self._lock:
            within = self._within_rate(len(data), now) and self._waiting_size < _MOST_WAITING
            if len(data) > MOST_DATA or not within:
                self.left_out += 1
                first, entries, size = self._missing.get(link, (at, 0, 0))
                self._missing[link] = first, entries + 1, size + len(data)
                return
            if self._missing:
                self._say_missing()
            self._keep(Entry(at, kind, link, ref, data))

    def end(self) -> None:
        """Nobody listens any more, from now on."""
        self.put(Kind.ENDED, 0, 0, b"")

    def put_at(self, entry: Entry) -> None:
        """What has a time already, as from another recording: without a bound on the rate, and written from time to time."""
        if not self.over:
            self._keep(entry)
            if self._waiting_size >= _FULL:
                self.flush()

    def flush(self) -> None:
        """Hand what came since to the operating system. May be called in a thread of its own, while there comes more."""
        with self._writing:
            with self._lock:
                if self._missing:
                    self._say_missing()
                waiting, self._waiting, self._waiting_size = self._waiting, [], 0
            if self._file is None or self.over:
                return
            try:
                for chunk in _chunked(waiting):
                    if not self.full:
                        self._write_chunk(chunk)
                self._file.flush()
            except OSError as exc:
                self.trouble = self._refusal(exc)

    def sync(self) -> None:
        """Wait until the disk has what was flushed. May be called in a thread of its own."""
        if self._file is not None and not self.trouble:
            try:
                os.fsync(self._file.fileno())
            except OSError as exc:
                self.trouble = self._refusal(exc)

    def close(self) -> None:
        """Safe to call twice."""
        self.flush()
        self.sync()
        with self._writing:
            if self._file is not None:
                try:
                    self._file.close()
                except OSError as exc:
                    self.trouble = self.trouble or self._refusal(exc)
                self._file = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _within_rate(self, size: int, now: float) -> bool:
        self._allowance += (now - self._allowed_at) * self._most_rate
        self._allowance = min(self._allowance, 2.0 * max(self._most_rate, size))
        self._allowed_at = now
        if self._allowance < size:
            return False
        self._allowance -= size
        return True

    def _say_missing(self) -> None:
        missing, self._missing = self._missing, {}
        for link, (at, entries, size) in missing.items():
            self._keep(Entry(at, Kind.LEFT_OUT, link, 0, json.dumps({"entries": entries, "bytes": size}).encode()))

    def _keep(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._waiting_size += _cost(entry)

    def _refusal(self, exc: OSError) -> str:
        return f"{self.path} cannot be written any more: {exc.strerror}"

    def _write_chunk(self, entries: list[Entry]) -> None:
        aged = entries[0].at - self._restarted_at >= _RESTART_AFTER
        anew = self._deflate is None or self._since_restart >= _RESTART or aged
        if anew:
            self._deflate, self._since_restart = zlib.compressobj(9, zlib.DEFLATED, -15), 0
            self._restarted_at = entries[0].at
        data = encode(entries, 0 if anew else self._before)
        deflated = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        if self.size + _CHUNK.size + len(deflated) > self._most_size:
            self.full = True
            return
        self._before = max(0 if anew else self._before, entries[-1].at)
        self._since_restart += len(data)
        self.entries += len(entries)
        self.sent += sum(entry.kind is Kind.SENT for entry in entries)
        self.received += sum(entry.kind is Kind.RECEIVED for entry in entries)
        self._write(_ANEW if anew else _ON, deflated)

    def _write(self, form: int, deflated: bytes) -> None:
        assert self._file is not None
        deflated = deflated.removesuffix(_TAIL)
        rest = _CHUNK.pack(_MARK, 0, len(deflated), form)[8:] + deflated
        self.size += self._file.write(_MARK + zlib.crc32(rest).to_bytes(4, "little") + rest)


def _alone(path: Path, replace: bool) -> BinaryIO:
    """A file that nobody else writes; it is emptied only once that is sure. Raises OSError, RecordingError."""
    file = path.open("ab" if replace else "xb")
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if file.tell():
            file.truncate(0)
    except OSError as exc:
        file.close()
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise RecordingError(f"{path} is being written by another recorder") from exc
        raise
    return file


def _cost(entry: Entry) -> int:
    return len(entry.data) + 8


def _chunked(entries: list[Entry]) -> Iterator[list[Entry]]:
    """As many in one as fill it."""
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        chunk.append(entry)
        size += _cost(entry)
        if size >= _FULL:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class LinkTap:
    """Fulfils `gateway.adapter.Tap`."""

    def __init__(self, recorder: Recorder, link: int) -> None:
        self._recorder, self._link = recorder, link
        self._open = False

    def opened(self) -> None:
        self._open = True
        self._recorder.put(Kind.OPENED, self._link, 0, b"")

    def failed(self, why: str) -> None:
        self._recorder.put(Kind.FAILED, self._link, 0, why.encode())

    def closed(self, why: str = "") -> None:
        if self._open:
            self._open = False
            self._recorder.put(Kind.CLOSED, self._link, 0, why.encode())

    def sent(self, data: bytes, ref: int = 0) -> None:
        self._recorder.put(Kind.SENT, self._link, ref, data)

    def received(self, data: bytes, ref: int = 0) -> None:
        self._recorder.put(Kind.RECEIVED, self._link, ref, data)


# --- reading ---------------------------------------------------------------------------------------------------------


class Recording:
    """A file that was read up to its head. Each iteration reads the entries from the disk."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path, self.head = path, head
        self.damage: list[str] = []  # what the last iteration could not read, for people

    def __iter__(self) -> Iterator[Entry]:
        """In the order of their times. What is damaged is left out, and said in `damage`."""
        self.damage = []
        with self.path.open("rb") as file:
            yield from _entries(file, self.damage)


def is_recording(path: Path) -> bool:
    """Whether it begins like one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> Recording:
    """Raises RecordingError for what is no recording, or one whose head cannot be read."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(MAGIC) + 1)
            if begins[:-1] != MAGIC:
                raise RecordingError(f"{path} is no recording")
            if begins[-1] != VERSION:
                raise RecordingError(f"{path} is a recording of version {begins[-1]}; this program reads {VERSION}")
            _, form, deflated = next(_chunks(file, []), (0, 0, b""))
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror}") from exc
    if form != _HEAD:
        raise RecordingError(f"{path} is a recording whose beginning is damaged or cut off")
    try:
        told = json.loads(_inflate(zlib.decompressobj(-15), deflated, _MOST_HEAD))
        head = Head(**{each.name: told[each.name] for each in fields(Head) if each.name in told})
        _check(head)
    except (ValueError, TypeError, RecursionError) as exc:
        raise RecordingError(f"{path} is a recording whose beginning cannot be understood: {exc}") from exc
    return Recording(path, head)


_TYPES = {"int": int, "str": str, "list[str]": list}


def _check(head: Head) -> None:
    """Raises TypeError, ValueError for what a head cannot say."""
    for each in fields(Head):
        value = getattr(head, each.name)
        if not isinstance(value, _TYPES[str(each.type)]) or isinstance(value, bool):
            raise TypeError(f"{each.name} is of another type")
        if isinstance(value, int) and not 0 <= value <= MOST_NUMBER:
            raise ValueError(f"{each.name} is no time since 1970 in ns")
        for text in value if isinstance(value, list) else [value] if isinstance(value, str) else []:
            if not isinstance(text, str):
                raise TypeError(f"{each.name} is of another type")
            text.encode()  # half a surrogate is a str, and no text
            if each.name != "configuration" and not text.isprintable():  # names are shown on terminals
                raise ValueError(f"{each.name} has characters that cannot be shown")


def _entries(file: BinaryIO, damage: list[str]) -> Iterator[Entry]:
    inflate: Any = None  # None: what follows was written for something that is missing
    file.seek(len(MAGIC) + 1)
    before, latest, end, lost = 0, 0, file.tell(), False
    for at, form, deflated in _chunks(file, damage):
        if at != end:
            inflate = None
        end = file.tell()
        if form == _ANEW:
            inflate, before = zlib.decompressobj(-15), 0
        if form == _HEAD:
            continue
        if inflate is None:
            if not lost:
                damage.append(
                    f"what stands from byte {at} on cannot be read without what stood before it, for a minute"
                )
            lost = True
            continue
        lost = False
        try:
            for entry in decode(_inflate(inflate, deflated, _MOST_CHUNK), before):
                before = entry.at
                latest = max(latest, before)
                yield entry if before == latest else entry._replace(at=latest)  # what begins anew may say less
        except BrokenError as exc:
            inflate = None
            damage.append(f"at byte {at}: {exc}")


def _inflate(inflate: Any, deflated: bytes, most: int) -> bytes:
    """Raises BrokenError."""
    try:
        data: bytes = inflate.decompress(deflated + _TAIL, most)
    except zlib.error as exc:
        raise BrokenError(str(exc)) from exc
    if inflate.unconsumed_tail or inflate.eof:
        raise BrokenError(f"more than {most} bytes, or less than was announced")
    return data


def _chunks(file: BinaryIO, damage: list[str]) -> Iterator[tuple[int, int, bytes]]:
    """Where each sound chunk begins, its form, and what it holds. The file stands behind it meanwhile."""
    while True:
        at = file.tell()
        begins = file.read(_CHUNK.size)
        if not begins:
            return
        if len(begins) == _CHUNK.size:
            mark, crc, length, form = _CHUNK.unpack(begins)
            if mark == _MARK and length <= _MOST_CHUNK:
                deflated = file.read(length)
                if len(deflated) == length and zlib.crc32(begins[8:] + deflated) == crc:
                    yield at, form, deflated
                    continue
        found = _next_mark(file, at + 1)
        rest = file.seek(0, os.SEEK_END) - at
        if found is None:
            damage.append(f"the last {rest} bytes, from byte {at} on, are no whole chunk: it was cut off there")
            return
        damage.append(f"{found - at} bytes from byte {at} on are damaged")
        file.seek(found)


def _next_mark(file: BinaryIO, at: int) -> int | None:
    """Where a chunk may begin, at this byte or later."""
    file.seek(at)
    rest = b""
    while block := file.read(1 << 20):
        data = rest + block
        if (found := data.find(_MARK)) >= 0:
            return at - len(rest) + found
        at += len(block)
        rest = data[-len(_MARK) + 1 :]
    return None
