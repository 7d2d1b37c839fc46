"""Small files that are of nobody else's business: 0600, whole or not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.files import give_to_owner, write_whole

FOLDER = "web"  # in data_dir


def folder_of(data_dir: Path) -> Path:
    """Where users, certificate and audit are."""
    return data_dir / FOLDER


def write_private(file: Path, content: bytes) -> None:
    """Atomically, and on the disk when this returns; a command that root types leaves it to whom the folder belongs."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    give_to_owner(file.parent)
    write_whole(file, content)


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One writer at a time, of whatever process."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = folder / f".{name}.lock"
    handle = open_own(lock, os.O_RDWR | os.O_CREAT)
    try:
        give_to_owner(folder)
        give_to_owner(lock)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_own(file: Path, flags: int) -> int:
    """Open a file of just this name. Raises OSError for a link or a pipe; to write, for a file with other names, too.

    Who may write into the folder could put one there, and have us (or root, who types a command) write elsewhere.
    """
    why = f"{file} is a link or no plain file: look who put it there, and remove it: rm {file}"
    try:
        handle = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise OSError(exc.errno, why) from exc
        raise
    about = os.fstat(handle)
    to_write = flags & os.O_ACCMODE != os.O_RDONLY
    if not stat.S_ISREG(about.st_mode) or (to_write and about.st_nlink != 1):
        os.close(handle)
        raise OSError(errno.EMLINK, why)
    return handle


def open_to_others(file: Path) -> str:
    """Why a private file may not be believed, and what to do; empty where it may."""
    mode = stat.S_IMODE(file.stat().st_mode)
    return f"{file} is open to other users of this machine (mode {mode:04o}): chmod 600 {file}" if mode & 0o077 else ""
