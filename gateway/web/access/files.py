"""Small files that are of nobody else's business: 0600, whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = "web"  # in data_dir


def folder_of(data_dir: Path) -> Path:
    """Where users, certificate and audit are."""
    return data_dir / FOLDER


def write_private(file: Path, content: bytes) -> None:
    """Atomically, and on the disk when this returns; a command that root types leaves it to whom the folder belongs."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, path = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # 0600
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(content)
            made.flush()
            os.fsync(made.fileno())
        give_to_owner_of(file.parent, Path(path))
        Path(path).replace(file)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One writer at a time, of whatever process."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = folder / f".{name}.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner_of(folder, lock)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def give_to_owner_of(folder: Path, file: Path) -> None:
    """What root makes in the folder of the service has to be readable by the service. A new folder goes with it."""
    if os.geteuid() != 0:
        return
    for made, like in ((folder, folder.parent), (file, folder)):
        there, mine = like.stat(), made.stat()
        if mine.st_uid == 0 and there.st_uid != 0:
            os.chown(made, there.st_uid, there.st_gid)


def sync_folder(folder: Path) -> None:
    """Make the names in it durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_to_others(file: Path) -> str:
    """Why a private file may not be believed, and what to do; empty where it may."""
    mode = stat.S_IMODE(file.stat().st_mode)
    return f"{file} is open to other users of this machine (mode {mode:04o}): chmod 600 {file}" if mode & 0o077 else ""
