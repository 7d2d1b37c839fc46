"""Notices when files of the configuration change: by time, size and inode, which editors that replace a file change, too."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds between two looks
SETTLED = 1.0  # seconds without another change, before a file counts as written

Stamps = Mapping[str, tuple[int, int, int]]


def stamps_of(path: Path) -> Stamps:
    """What tells whether anything was written: of each file of a configuration, those for secrets included."""
    folder = path if path.is_dir() else path.parent
    found = [folder / "gateway.yaml" if path.is_dir() else path]
    for pattern in ("machines/*.yaml", "machines/*.yml", "profiles/*.yaml", "secrets/*"):
        with suppress(OSError):
            found += folder.glob(pattern)
    stamps: dict[str, tuple[int, int, int]] = {}
    for file in found:
        with suppress(OSError):
            about = file.stat()
            stamps[str(file)] = about.st_mtime_ns, about.st_size, about.st_ino
    return stamps


def contents_of(files: Mapping[str, Path]) -> dict[str, str]:
    """What tells whether other content is in files that a configuration names: certificates and keys. "" of one that is not there."""
    found = dict.fromkeys(files, "")
    for where, file in files.items():
        with suppress(OSError):
            if file.is_file():
                found[where] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


async def watch(
    look: Callable[[], Stamps],
    known: Callable[[], Stamps],
    wanted: Callable[[], bool],
    changed: Callable[[], Awaitable[object]],
    *,
    pause: float = LOOK,
    settled: float = SETTLED,
) -> None:
    """For ever: call `changed` when what `look` sees is not what was `known` when the files were last read, and has settled."""
    while True:
        await asyncio.sleep(pause)
        if not wanted():
            continue
        try:
            seen = await asyncio.to_thread(look)
            while seen != known():
                await asyncio.sleep(settled)
                if seen == (seen := await asyncio.to_thread(look)):
                    await changed()
                    break
        except Exception:  # whatever it is, the files are looked at again
            log.exception("the files of the configuration cannot be watched")
