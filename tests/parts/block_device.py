"""A file system of its own on a loop device, to be filled, to fail, and to lose its power. Needs root on Linux.

    Volume       image ─ loop ─ ext4                      what a gateway writes to
    Disk         a Volume on a disk with a cache:

        shelf    ext4, frozen for the moment of a cut: not one write gets through
          disk   = what is on the platters      ◀── a cut copies this
            ext4, whose page cache is the cache of the disk: only a flush brings down what is in it
              image of the Volume

A cut needs no luck: what was written and not flushed is lost, except for what happened to be written back, and what was
flushed is there. The copy is mounted as after a power cut, with the journals as they are.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from .process import program

MIB = 2**20
TOOLS = ("losetup", "mkfs.ext4", "mount", "umount", "strace")
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW: linux/fs.h
_SECTOR = 512  # of /sys/block/*/stat, whatever the device has


class Volume:
    """An ext4 file system in an image: `with` mounts it at `path`, unmounts it and removes the image."""

    def __init__(self, mebibytes: int, *, inodes: int = 0, image: Path | None = None) -> None:
        """`image`: where it is to be; by default in a temporary folder. One that exists is used as it is."""
        self._mebibytes, self._inodes, self._image = mebibytes, inodes, image
        self._stack = ExitStack()
        self.path = Path()
        self.device = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="volume-")))
            image = self._image or folder / "image"
            if not image.exists():
                with image.open("wb") as file:
                    file.truncate(self._mebibytes * MIB)
                more = ["-N", str(self._inodes)] if self._inodes else []
                # Blocks as on any larger disk; and without lazy initialization nothing is written that nobody asked for.
                _run(
                    "mkfs.ext4",
                    "-q",
                    "-F",
                    "-b",
                    "4096",
                    "-E",
                    "lazy_itable_init=0,lazy_journal_init=0",
                    "-m",
                    "0",
                    *more,
                    image,
                )
            self.device = _run("losetup", "--find", "--show", image)
            stack.callback(_run, "losetup", "--detach", self.device)
            self.path = folder / "mount"
            self.path.mkdir()
            _run("mount", "-o", "noatime", self.device, self.path)
            stack.callback(_unmount, self.path)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stack.close()

    @property
    def written(self) -> int:
        """Bytes that the device was asked to write, since it was made."""
        fields = (Path("/sys/block") / Path(self.device).name / "stat").read_text().split()
        return int(fields[6]) * _SECTOR

    @property
    def free(self) -> int:
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave: int = 0) -> Path:
        """Take what is free with one file, but for `leave` bytes: remove it, and there is room again."""
        file = self.path / "filler"
        with file.open("ab", buffering=0) as sink:
            while (size := min(MIB, self.free - leave)) > 0:
                try:
                    sink.write(bytes(size))
                except OSError:  # what the file system needs for itself
                    break
        return file

    def use_up_inodes(self) -> Path:
        """Take all inodes with empty files in one folder: remove it, and there are some again."""
        folder = self.path / "many"
        folder.mkdir()
        number = 0
        while True:
            try:
                (folder / str(number)).touch()
            except OSError:
                return folder
            number += 1

    def read_only(self, yes: bool) -> None:
        """Mount it anew; nobody may have a file open for writing."""
        _run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.path)

    def give_up(self) -> None:
        """The file system ends as after an error in its journal: nothing can be written any more, whoever has it open."""
        _run("mount", "-o", "remount,abort", self.path)


class Disk:
    """A volume on a disk whose power can be cut."""

    def __init__(self, mebibytes: int) -> None:
        self._mebibytes = mebibytes
        self._stack = ExitStack()
        self._shelf = self._platters = Path()
        self.volume = Volume(0)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Each level needs some more than what lies on it: journal, inodes, block maps.
            shelf = stack.enter_context(Volume(self._mebibytes * 5 // 4 + 48))
            self._shelf, self._platters = shelf.path, shelf.path / "disk"
            cached = stack.enter_context(Volume(self._mebibytes * 9 // 8 + 16, image=self._platters))
            self.volume = stack.enter_context(Volume(self._mebibytes, image=cached.path / "image"))
            self._stack = stack.pop_all()
            subprocess.run(["sync", "-f", self.volume.path, cached.path], check=True)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def cut(self) -> Iterator[Path]:
        """What a power cut at this moment leaves behind, mounted. Whoever writes goes on, and notices a short pause."""
        with tempfile.TemporaryDirectory(prefix="cut-") as folder:
            copy = Path(folder) / "disk"
            with _frozen(self._shelf):
                shutil.copyfile(self._platters, copy)
            with Volume(0, image=copy) as cached, Volume(0, image=cached.path / "image") as volume:
                yield volume.path


@contextmanager
def _frozen(folder: Path) -> Iterator[None]:
    """Nothing is written to its file system meanwhile; what is begun was finished before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, _THAW, 0)
    finally:
        os.close(descriptor)


@cache
def missing() -> str:
    """Why there can be no volumes here; empty where there can."""
    if os.geteuid() != 0:
        return "they need root"
    try:
        for tool in TOOLS:
            program(tool)
        with Volume(16) as volume:
            (volume.path / "file").write_bytes(b"content")
    except (OSError, RuntimeError, subprocess.CalledProcessError) as exc:
        return f"loop devices do not work: {getattr(exc, 'stderr', '') or exc}".strip()
    return ""


def _unmount(path: Path) -> None:
    """Also where somebody still has a file open there: it is out of sight at once, and gone with the last of them."""
    if subprocess.run([program("umount"), path], capture_output=True, check=False).returncode:
        _run("umount", "--lazy", path)


def _run(name: str, *arguments: str | Path) -> str:
    return subprocess.run([program(name), *arguments], check=True, capture_output=True, text=True).stdout.strip()
