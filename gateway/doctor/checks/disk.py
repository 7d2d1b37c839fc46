"""Whether the disk takes what it has to: room, files, rights, and how long it needs to make something safe."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding, State
from gateway.faults import fault_of_disk

NAME = "disk"
SLOW = 1.0  # seconds for the fsync of 64 KiB: a reading may wait so long for the disk by default
MOST_USED = 0.97  # of the inodes
ROOM = 50 * 2**20  # bytes of a small disk that should be left in any case
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs", "fuse.glusterfs")
MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Seen:
    """One folder, and the file system it is on."""

    folder: Path
    exists: bool
    kind: str = ""  # ext4, nfs …
    read_only: bool = False
    free: int = 0  # bytes
    inodes: int = 0  # 0: it has no fixed number
    inodes_free: int = 0
    wanted: int = 0  # bytes that what is kept there may still grow by
    reserve: int = 0  # bytes that are to be left for others
    seconds: float = 0.0  # of the fsync
    trouble: OSError | None = None  # why nothing can be written


def look(case: Case) -> Iterator[Finding]:
    configuration, data_dir = case.configuration, case.data_dir
    assert configuration is not None
    assert data_dir is not None
    case.check_rights()
    buffer = configuration.settings.buffer
    waiting = sum(file.stat().st_size for file in _files(data_dir / "buffer"))
    folders = {data_dir: max(0, buffer.max_size - waiting)}
    if (store := configuration.settings.store) is not None and store.kind == "historian" and store.path:
        folders.setdefault(configuration.resolve(store.path).parent, 0)
    for folder, wanted in folders.items():
        yield from judge(measure(folder, wanted, buffer.min_free))


def measure(folder: Path, wanted: int = 0, reserve: int = 0) -> Seen:
    """Look at a folder, or where it would be made; writes a small file and removes it."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    exists = there == folder
    fs = os.statvfs(there)
    seconds, trouble = 0.0, None
    try:
        if exists:
            seconds = _write(folder)
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(13, f"{there} belongs to somebody else")
    except OSError as exc:
        trouble = exc
    return Seen(
        folder, exists, kind_of(there, Path("/proc/self/mountinfo").read_text("utf-8", "replace")),
        bool(fs.f_flag & os.ST_RDONLY), fs.f_bavail * fs.f_frsize, fs.f_files, fs.f_favail, wanted, reserve, seconds, trouble,
    )  # fmt: skip


def _write(folder: Path) -> float:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".doctor-")
    try:
        os.write(handle, bytes(65536))
        began = time.monotonic()
        os.fsync(handle)
        return time.monotonic() - began
    finally:
        os.close(handle)
        Path(name).unlink()


def _files(folder: Path) -> list[Path]:
    try:
        return [file for file in folder.iterdir() if file.is_file()]
    except OSError:
        return []


def kind_of(path: Path, mountinfo: str) -> str:
    """The kind of file system a path is on, by /proc/self/mountinfo, see proc(5): the last mount that is above it."""
    found, length, real = "", -1, path.resolve()
    for line in mountinfo.splitlines():
        before, _, behind = line.partition(" - ")
        place = before.split()[4].encode().decode("unicode_escape")  # a blank is \040
        if len(place) >= length and real.is_relative_to(place):
            found, length = behind.split()[0], len(place)
    return found


def judge(seen: Seen) -> Iterator[Finding]:
    """All that is wrong with it; else one finding that it is well."""
    faults = list(_faults(seen))
    yield from faults
    if not faults:
        size = f"{seen.free / 2**30:.1f} GiB free"
        if seen.exists:
            yield Finding(NAME, "ok", f"{seen.folder}: {seen.kind}, {size}, safe within {seen.seconds * 1000:.0f} ms")
        else:
            yield Finding(NAME, "ok", f"{seen.folder}: is made at the first start; {seen.kind}, {size}")


def _faults(seen: Seen) -> Iterator[Finding]:
    name = str(seen.folder)
    if seen.read_only:
        yield Finding(NAME, "wrong", f"{name}: its file system is mounted read-only", "disk-read-only")
    elif seen.trouble is not None:
        text = f"{name}: nothing can be written: {seen.trouble.strerror or seen.trouble}"
        yield Finding(NAME, "wrong", text, fault_of_disk(seen.trouble))
    if seen.inodes and seen.inodes_free < (1 - MOST_USED) * seen.inodes:
        state: State = "wrong" if not seen.inodes_free else "warning"
        text = f"{name}: {seen.inodes_free} more files can be made, of {seen.inodes} (inodes)"
        yield Finding(NAME, state, text, "disk-full" if state == "wrong" else "disk-nearly-full")
    mebibytes = f"{seen.free / 2**20:,.0f} MiB"
    if seen.free < max(seen.reserve, 2**20):
        yield Finding(NAME, "wrong", f"{name}: only {mebibytes} are free", "disk-full")
    elif seen.free < seen.reserve + seen.wanted or seen.free < ROOM:
        text = f"{name}: {mebibytes} are free; the buffer may still grow by {seen.wanted / 2**20:,.0f} MiB"
        yield Finding(NAME, "warning", text, "disk-nearly-full", "set a smaller buffer.max_size, or make room")
    if seen.kind in NETWORK:
        text = f"{name}: is on a network drive ({seen.kind}): the buffer is to outlive the network"
        yield Finding(NAME, "warning", text, "disk-slow", "set gateway.data_dir to a disk of this box")
    elif seen.kind in MEMORY:
        text = f"{name}: is in memory ({seen.kind}): what waits there is gone after a restart"
        yield Finding(NAME, "warning", text, hint="set gateway.data_dir to a disk of this box")
    if seen.seconds > SLOW:
        yield Finding(NAME, "warning", f"{name}: takes {seen.seconds:.1f} s to make 64 KiB safe", "disk-slow")
