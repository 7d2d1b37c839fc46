"""What a store refused for good, as JSON lines in a file that cannot grow without end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import StoreError
from gateway.faults import fault_of_disk

MAX_BYTES = 8 * 2**20
PIECE = 2**20  # bytes of each file that are read at one look


class DeadLetters:
    """Two files, the newest first: when one is full it replaces the other."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes

    def add(self, letters: Sequence[Mapping[str, Any]]) -> None:
        """Keep these, safe from a power cut. Raises StoreError."""
        text = b"".join(orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE) for letter in letters)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size + len(text) > self._max_bytes:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _append(file, text)
            finally:
                os.close(file)
        except OSError as exc:
            raise StoreError(
                f"{self.path}: what the store refuses cannot be kept ({exc.strerror or exc}), so nothing is written: "
                "free some space on this disk, or see to the folder's permissions",
                fault=fault_of_disk(exc),
            ) from exc


class LetterCount:
    """How many letters there are, in both files; what was counted is not read again.

    Of what was not, so much is read at a time that nobody waits for it: behind large files the next looks go on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[int, tuple[int, int]] = {}  # by inode: bytes that were read, and letters in them

    def __call__(self) -> int:
        """0 where there is no file, or it cannot be read."""
        seen, self._seen = self._seen, {}
        for path in (self._path.with_name(self._path.name + ".1"), self._path):
            with suppress(OSError), path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                size, count = seen.get(inode, (0, 0))
                file.seek(size)
                part = file.read(PIECE)
                size, count = size + len(part), count + part.count(b"\n")
                self._seen[inode] = size, count
        return sum(count for _, count in self._seen.values())


def _append(file: int, text: bytes) -> None:
    """All of it or nothing: half a line would spoil the one behind it."""
    size = os.fstat(file).st_size
    try:
        while text:
            text = text[os.write(file, text) :]
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise
