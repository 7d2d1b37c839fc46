"""What a store refused for good, as JSON lines in a file that cannot grow without end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import StoreError

MAX_BYTES = 8 * 2**20


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
                "free some space on this disk, or see to the folder's permissions"
            ) from exc


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
