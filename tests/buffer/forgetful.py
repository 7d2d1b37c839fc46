"""A disk in memory that forgets what was not synced, page by page, and that fails on demand."""

import errno
import random

from gateway.buffer.disk import SUFFIX, Disk

PAGE = 4096


class Platter:
    """What outlives a power cut, and what does not yet."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.cached: dict[str, bytearray] = {}
        self.dirty: dict[str, set[int]] = {}  # pages that differ
        self.removed: dict[str, bytearray] = {}  # unlinked, but not for good

    def power_cut(self, rng: random.Random) -> None:
        """Each page that was not synced is there or not; so is what was unlinked."""
        for name, pages in self.dirty.items():
            for page in pages:
                if rng.random() < 0.5:
                    self._keep(name, page)
        for name, data in self.removed.items():
            if rng.random() < 0.5:
                self.durable[name] = data
        self.cached = {name: bytearray(data) for name, data in self.durable.items()}
        self.dirty, self.removed = {}, {}

    def _keep(self, name: str, page: int) -> None:
        if name in self.durable:
            self.durable[name][page * PAGE : (page + 1) * PAGE] = self.cached[name][page * PAGE : (page + 1) * PAGE]

    def sync(self, name: str) -> None:
        for page in self.dirty.pop(name, ()):
            self._keep(name, page)


class ForgetfulDisk(Disk):
    """The same calls, on a platter."""

    def __init__(self, platter: Platter) -> None:
        self.platter = platter
        self.folder = __import__("pathlib").Path("/nowhere")
        self.room = 10**9  # bytes that may be created
        self.failing: str = ""  # write, sync, create, remove, read
        self.lies = False  # sync does nothing

    def _may(self, what: str) -> None:
        if self.failing == what:
            raise OSError(errno.EIO, "the disk is ill")

    def take(self) -> None: ...

    def close(self) -> None: ...

    def segments(self) -> list[str]:
        self._may("read")
        return sorted(name for name in self.platter.cached if name.endswith(SUFFIX))

    def remove_unfinished(self) -> None: ...

    def size(self, name: str) -> int:
        return len(self.platter.cached[name])

    def free(self) -> int:
        return self.room

    def read(self, name: str, at: int, size: int) -> bytes:
        self._may("read")
        if name not in self.platter.cached:
            raise FileNotFoundError(errno.ENOENT, name)
        return bytes(self.platter.cached[name][at : at + size])

    def ahead(self, name: str) -> None: ...

    def create(self, name: str, size: int, data: bytes | None = None) -> None:
        self._may("create")
        if self.room < size:
            raise OSError(errno.ENOSPC, "no room")
        self.room -= size
        self.platter.cached[name] = bytearray(size if data is None else data)
        self.platter.durable[name] = bytearray(size if data is None else data)
        self.platter.removed.pop(name, None)

    def write(self, name: str, at: int, data: bytes | memoryview) -> None:
        if name not in self.platter.cached:
            raise FileNotFoundError(errno.ENOENT, name)
        self._may("write")
        self.platter.cached[name][at : at + len(data)] = data
        pages = self.platter.dirty.setdefault(name, set())
        pages.update(range(at // PAGE, (at + max(1, len(data)) - 1) // PAGE + 1))

    def sync(self, name: str) -> None:
        if self.failing == "sync":
            # As Linux does: the error is told once, and the pages count as clean although they are not on the disk.
            self.platter.dirty.pop(name, None)
            raise OSError(errno.EIO, "the disk is ill")
        if not self.lies:
            self.platter.sync(name)

    def remove(self, name: str) -> None:
        self._may("remove")
        if (data := self.platter.durable.pop(name, None)) is not None:
            self.platter.removed[name] = data
            self.room += len(data)
        self.platter.cached.pop(name, None)
        self.platter.dirty.pop(name, None)

    def sync_folder(self) -> None:
        self.platter.removed = {}
