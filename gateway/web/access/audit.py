"""Who did what, in a file that shows when somebody has changed it: {data_dir}/web/audit.jsonl.

    {"n": 41, "t": ms, "who": "anna", "what": "login", "address": "10.20.0.7", "prev": SHA-256 of line 40}
    {"n": 42, "t": ms, "who": "anna", "what": "reload", …,                     "prev": SHA-256 of line 41}
    audit.head: {"n": 42, "hash": SHA-256 of line 42, "before": …}   so that a cut at the end is seen, too
    {data_dir}/audit.begun                                            there was a chain, even if all of it is gone

A change of any byte, a line that is gone, added between or moved breaks the chain at that line. Without its head the chain
goes on, with an entry that says so: what was cut off before that entry is not known, and `verify` reports it for ever.
Who may write all of these files and works the chain out anew, or removes all of them, leaves no trace in them: copy
audit.head elsewhere (the log has its hash at each start) to prove that such a thing has not happened.

The gateway and the commands write to the same chain, under a lock, off the event loop, and fsync it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from gateway.clock import Clock
from gateway.files import give_to_owner
from gateway.web.access.files import folder_of, locked, open_own, write_private

log = logging.getLogger(__name__)

NAME = "audit"
MAX_SIZE = 1024 * 1024  # of one file
MAX_FILES = 20
MAX_WAITING = 1000  # entries the disk has not taken
MAX_TEXT = 500  # characters of one value
BEGUN = "audit.begun"
HEAD_GONE = "the head of the chain was gone"
ALL_GONE = "all of the audit was gone"
BEGINNING = hashlib.sha256(b"").hexdigest()

_NUMBERED = re.compile(rf"{NAME}\.([0-9]+)\.jsonl")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain is: the number and hash of its last line, and what the oldest line that is kept follows."""

    n: int = 0
    hash: str = BEGINNING
    before: int = 0  # lines before the oldest file
    before_hash: str = BEGINNING
    size: int = 0  # bytes of the newest file


@dataclass(frozen=True, slots=True)
class Problem:
    """Where the chain is broken."""

    file: str
    line: int  # from 1; 0 for the file as a whole
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: the entries that can be read, and where the chain is broken, in the order of the files."""

    entries: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    last: str  # hash of the last line


class Audit:
    """Takes notes, and writes them down in a thread. A disk that takes nothing costs the notes, with a word in the log."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self.folder = folder_of(data_dir)
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque()
        self._missed = 0
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def note(self, who: str, what: str, **about: Any) -> None:
        """One entry: `anna`, `reload`, and what there is to say of it; texts and numbers only. Returns at once."""
        if len(self._waiting) >= MAX_WAITING:
            self._missed += 1
            return
        told = {key: _short(value) for key, value in about.items() if value not in (None, "")}
        self._waiting.append({"t": self._clock.now() // 1_000_000, "who": _short(who), "what": what, **told})
        with contextlib.suppress(RuntimeError):  # outside of an event loop, `write` is called
            loop = asyncio.get_running_loop()
            if self._task is None or self._task.done():
                self._task = loop.create_task(self._keep_writing(), name="audit")

    async def _keep_writing(self) -> None:
        while self._waiting:
            if not await asyncio.to_thread(self.write):
                return  # the next note tries again

    async def close(self) -> None:
        """Write what waits."""
        while self._task is not None and not self._task.done():
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self.write)

    def write(self) -> bool:
        """Write what waits, and fsync it. False where the disk does not take it; it is kept for the next time."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return True
        if self._missed:
            taken.append({"t": taken[-1]["t"], "who": "gateway", "what": "notes lost", "count": self._missed})
        try:
            append(self.folder, taken)
        except OSError as exc:
            trouble = f"{self.folder / NAME}.jsonl: {exc.strerror or exc}"
            if trouble != self._trouble:
                log.error("what is done on the page cannot be noted: %s", trouble)
            self._trouble = trouble
            if self._missed:
                taken.pop()
            self._waiting.extendleft(reversed(taken))
            return False
        self._missed, self._trouble = 0, ""
        return True


def append(folder: Path, entries: list[dict[str, Any]]) -> Head:
    """Add them to the chain. Raises OSError; then none of them is in it, or they are and the head does not know yet."""
    with locked(folder, NAME):
        file = folder / f"{NAME}.jsonl"
        if gone := _what_is_gone(folder, file):
            log.warning("%s: %s; it goes on with a note of that", folder / NAME, gone)
            entries = [{"t": entries[0].get("t", 0), "who": "gateway", "what": gone}, *entries]
        head = _catch_up(folder, file)
        if head.size >= MAX_SIZE:
            head = _rotate(folder, file, head)
        with _opened(file) as opened:
            n, last, size = head.n, head.hash, head.size
            lines = []
            for entry in entries:
                n += 1
                line = _line({"n": n, **entry, "prev": last})
                last = hash_of(line)
                lines.append(line + b"\n")
            whole = b"".join(lines)
            opened.write(whole)
            opened.flush()
            os.fsync(opened.fileno())
            size += len(whole)
        give_to_owner(file)
        head = Head(n, last, head.before, head.before_hash, size)
        _write_head(folder, head)
        if not os.path.lexists(begun := _begun(folder)):
            os.close(open_own(begun, os.O_WRONLY | os.O_CREAT))
            give_to_owner(begun)
        return head


def _begun(folder: Path) -> Path:
    """Outside of the folder: who empties that has not thought of this."""
    return folder.parent / BEGUN


def _what_is_gone(folder: Path, file: Path) -> str:
    """What somebody has removed; empty where the chain is as we left it, or where there never was one."""
    if read_head(folder) is not None:
        return ""  # where its lines are not, they are missing between the last ones and the next
    if file.exists() or _older(folder):
        return HEAD_GONE
    return ALL_GONE if os.path.lexists(_begun(folder)) else ""


def read_head(folder: Path) -> Head | None:
    """Where the chain is said to be; None where that cannot be read."""
    try:
        data = json.loads((folder / f"{NAME}.head").read_bytes()[:4096])
        n, last, before, before_hash, size = (data[key] for key in ("n", "hash", "before", "before_hash", "size"))
        if not all(type(number) is int and number >= 0 for number in (n, before, size)):
            return None
        if not all(isinstance(each, str) and re.fullmatch(r"[0-9a-f]{64}", each) for each in (last, before_hash)):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Head(n, last, before, before_hash, size)


def verify(folder: Path) -> Verdict:
    """Read all files and follow the chain. Raises OSError; FileNotFoundError where nothing was ever written."""
    if not folder.exists() and os.path.lexists(_begun(folder)):
        return Verdict((), (Problem(f"{NAME}.jsonl", 0, ALL_GONE),), BEGINNING)
    head = read_head(folder)
    files = [*_older(folder), folder / f"{NAME}.jsonl"]
    known = head or Head()
    rows = [_Row(file.name, number, line, _entry_of(line)) for file in files for number, line in _lines_of(file)]
    problems: list[Problem] = []
    n, last = known.before, known.before_hash
    head_seen = (n, last) == (known.n, known.hash)
    for i, row in enumerate(rows):
        if row.entry is None:
            problems.append(Problem(row.file, row.number, "this line was changed or cut: it cannot be read"))
        elif row.entry["n"] != n + 1:
            problems.append(Problem(row.file, row.number, _gap(n, row.entry["n"])))
        elif row.entry["prev"] != last:
            # Either this line or the one before is not as it was; which one, tells what was noted of this one later.
            later = rows[i + 1].entry if i + 1 < len(rows) else {"prev": known.hash}
            whole = later is not None and later["prev"] == row.hash
            wrong = rows[i - 1] if whole and i and rows[i - 1].entry is not None else row
            problems.append(Problem(wrong.file, wrong.number, "this line was changed"))
        if (
            row.entry is not None
            and row.entry.get("who") == "gateway"
            and row.entry.get("what") in (HEAD_GONE, ALL_GONE)
        ):
            text = f"{row.entry['what']} when this line was written: what was cut off before it is not known"
            problems.append(Problem(row.file, row.number, text))
        n = row.entry["n"] if row.entry is not None else n + 1
        last = row.hash
        head_seen = head_seen or (n, last) == (known.n, known.hash)
    file, number = (rows[-1].file, rows[-1].number) if rows else (files[-1].name, 0)
    if head is None:
        if rows:
            text = "is not there or was changed: a cut at the end would not be seen"
            problems.append(Problem(f"{NAME}.head", 0, text))
        elif os.path.lexists(_begun(folder)):
            problems.append(Problem(file, 0, ALL_GONE))
    elif n < head.n:
        count = head.n - n
        text = f"cut off here: {count} line{'s are' if count > 1 else ' is'} missing at the end"
        problems.append(Problem(file, number + 1, text))
    elif not head_seen:
        problems.append(Problem(file, number, f"line {head.n} of the chain is not the one that was written"))
    return Verdict(tuple(row.entry for row in rows if row.entry is not None), tuple(dict.fromkeys(problems)), last)


@dataclass(frozen=True, slots=True)
class _Row:
    file: str
    number: int
    line: bytes
    entry: dict[str, Any] | None

    @property
    def hash(self) -> str:
        return hash_of(self.line)


def hash_of(line: bytes) -> str:
    """Of a line as it stands in the file, without its end."""
    return hashlib.sha256(line).hexdigest()


def _gap(n: int, found: int) -> str:
    if found > n + 1:
        count = found - n - 1
        return f"{count} line{'s are' if count > 1 else ' is'} missing before this one (after {n} comes {found})"
    return f"this line stands in the wrong place, or twice (after {n} comes {found})"


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii")


def _short(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _entry_of(line: bytes) -> dict[str, Any] | None:
    """An entry, exactly as we write one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    right = isinstance(entry, dict) and type(entry.get("n")) is int and isinstance(entry.get("prev"), str)
    return entry if right else None


def _older(folder: Path) -> list[Path]:
    """The files that are full, oldest first."""
    found = [(int(m[1]), each) for each in folder.iterdir() if (m := _NUMBERED.fullmatch(each.name))]
    return [each for _, each in sorted(found)]


def _lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        opened = os.fdopen(open_own(file, os.O_RDONLY), "rb")
    except FileNotFoundError:
        return
    with opened:
        for number, line in enumerate(opened, 1):
            yield number, line.removesuffix(b"\n") if line.endswith(b"\n") else line + b" (without an end)"


def _catch_up(folder: Path, file: Path) -> Head:
    """The head, and what was written after it by somebody who was killed before he could note it.

    What does not fit is not mended: the chain goes on behind the head, and `verify` shows the place for ever.
    """
    head = read_head(folder)
    if head is None:
        if not file.exists() and not _older(folder):
            return Head()
        head = _from_files(folder, file)
    there = file.stat().st_size if file.exists() else 0
    if there <= head.size:
        return replace(head, size=there)
    with os.fdopen(open_own(file, os.O_RDWR), "rb+") as opened:
        opened.seek(head.size)
        n, last, size = head.n, head.hash, head.size
        for line in opened:
            entry = _entry_of(line.removesuffix(b"\n"))
            if not line.endswith(b"\n"):
                opened.truncate(size)  # torn by a power cut; nobody was told that it is noted
                break
            if entry is None or entry["n"] != n + 1 or entry["prev"] != last:
                break
            n, last, size = n + 1, hash_of(line[:-1]), size + len(line)
    return Head(n, last, head.before, head.before_hash, file.stat().st_size)


def _from_files(folder: Path, file: Path) -> Head:
    """Without a head: behind the last line that can be read. That there was none is told by an entry, see `append`."""
    n, last = 0, BEGINNING
    first: tuple[int, str] | None = None
    for each in [*_older(folder), file]:
        for _, line in _lines_of(each):
            entry = _entry_of(line)
            if entry is not None:
                first = first or (entry["n"] - 1, entry["prev"])
                n, last = entry["n"], hash_of(line)
    size = file.stat().st_size if file.exists() else 0
    return Head(n, last, *(first or (0, BEGINNING)), size)


def _rotate(folder: Path, file: Path, head: Head) -> Head:
    """The file is full: it gets the number of its last line, and the oldest goes."""
    file.rename(folder / f"{NAME}.{head.n:09d}.jsonl")
    before, before_hash = head.before, head.before_hash
    older = _older(folder)
    gone = older[: -(MAX_FILES - 1)]
    for each in gone:
        for _, line in _lines_of(each):
            if (entry := _entry_of(line)) is not None:
                before, before_hash = entry["n"], hash_of(line)
    head = Head(head.n, head.hash, before, before_hash, 0)
    _write_head(folder, head)
    for each in gone:
        each.unlink()
    return head


def _write_head(folder: Path, head: Head) -> None:
    data = {
        "n": head.n, "hash": head.hash, "before": head.before, "before_hash": head.before_hash, "size": head.size
    }  # fmt: skip
    write_private(folder / f"{NAME}.head", json.dumps(data).encode() + b"\n")


def _opened(file: Path) -> BinaryIO:
    return os.fdopen(open_own(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
