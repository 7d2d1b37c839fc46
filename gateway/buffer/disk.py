"""The files of the buffer: every system call it makes is here."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from gateway.errors import GatewayError

SUFFIX = ".segment"
_LOCK = "lock"
_CHUNK = bytes(256 * 1024)
_MOST_OPEN = 8


class Disk:
    """One folder, of one process at a time. Every method but the constructor raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, int] = {}  # name -> descriptor, the least recently used first
        self._lock = -1

    def take(self) -> None:
        """Make the folder if need be, and keep others out. Raises BufferInUseError."""
        if self._lock >= 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        lock = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BufferInUseError(
                    f"{self.folder}: another gateway keeps its readings here: end it, or give this one its own gateway.data_dir"
                ) from None
            raise
        self._lock = lock

    def there(self) -> bool:
        """Whether the folder is there, or only what its disk was mounted on."""
        return (self.folder / _LOCK).exists()

    def segments(self) -> list[str]:
        """The names of all segments. What has such a name and is no file is none of ours."""
        with os.scandir(self.folder) as entries:
            return sorted(
                entry.name for entry in entries if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
            )

    def remove_unfinished(self) -> None:
        """What was being made when the power failed."""
        for path in self.folder.glob("*.new"):
            with suppress(OSError):  # no reason to leave alone what can be read
                path.unlink()

    def size(self, name: str) -> int:
        return (self.folder / name).stat().st_size

    def free(self) -> int:
        """Bytes that we could still write."""
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def read(self, name: str, at: int, size: int) -> bytes:
        """May be shorter at the end of the file."""
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while size > 0 and (part := os.pread(descriptor, size, at)):
                parts.append(part)
                at += len(part)
                size -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(descriptor)

    def ahead(self, name: str) -> None:
        """It will be read soon: the system may fetch it meanwhile."""
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)

    def create(self, name: str, size: int, data: bytes | None = None) -> None:
        """A file with this content, or full of zeros; there for good, or not at all.

        Zeros are really written: where blocks are only promised, each fdatasync has to write down that they are in use.
        """
        path = self.folder / name
        new = path.with_name(name + ".new")
        descriptor = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            try:
                with suppress(OSError):  # not every file system can promise; writing tells as well
                    os.posix_fallocate(descriptor, 0, size)
                left = size
                while left > 0:
                    part = _CHUNK[:left] if data is None else data[size - left : size - left + len(_CHUNK)]
                    left -= os.write(descriptor, part)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            new.rename(path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
        self.sync_folder()

    def write(self, name: str, at: int, data: bytes | memoryview) -> None:
        descriptor = self._descriptor(name)
        left = memoryview(data)
        while left:
            written = os.pwrite(descriptor, left, at)
            left, at = left[written:], at + written

    def sync(self, name: str) -> None:
        os.fdatasync(self._descriptor(name))

    def remove(self, name: str) -> None:
        """Safe where it is gone already."""
        self._close(name)
        (self.folder / name).unlink(missing_ok=True)

    def sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Safe to call twice."""
        for name in list(self._open):
            self._close(name)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _descriptor(self, name: str) -> int:
        descriptor = self._open.pop(name, None)
        if descriptor is None:
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
            if len(self._open) >= _MOST_OPEN:
                self._close(next(iter(self._open)))
        self._open[name] = descriptor
        return descriptor

    def _close(self, name: str) -> None:
        if (descriptor := self._open.pop(name, None)) is not None:
            with suppress(OSError):
                os.close(descriptor)


def number(name: str) -> int:
    """Of a segment's file; 0 where it has the name of something else."""
    digits = name.removesuffix(SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0


class BufferInUseError(GatewayError):
    """Two gateways in one folder would each overwrite what the other keeps."""

    fault = "buffer-in-use"
