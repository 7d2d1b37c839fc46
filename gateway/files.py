"""Small files on a disk that may lose its power at any moment: as a whole or not at all, and readable to whom they concern.

Whoever calls explains the OSError: only there it is known what the file was for.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE = 0o600


def write_whole(file: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file beside its place, then rename it. On the disk when this returns; nothing is left when it fails."""
    beside = beside_of(file, data, mode)
    try:
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def beside_of(file: Path, data: bytes, mode: int = PRIVATE) -> Path:
    """A new file in the same folder, with this content, that can be put into the place of `file`."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # 0600 from the first byte on
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(data)
            made.flush()
            os.fsync(made.fileno())
        beside.chmod(mode)
        give_to_owner(beside)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def put(path: Path, data: bytes, mode: int = PRIVATE, how: int = os.O_TRUNC) -> None:
    """Write into a file of just this name, which is no link: all of it, or with `how` O_APPEND behind what there is."""
    descriptor = os.open(path, os.O_CREAT | how | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """What was made, renamed or removed in it is so after a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_owner(path: Path) -> None:
    """What root makes with a command must not lock out the service whose folder it is."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
