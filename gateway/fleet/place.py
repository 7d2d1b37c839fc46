"""Where configurations are kept on this box, and how one takes the place of another.

    FOLDER/versions/20261130T183000Z-<id of commit or tag>/   written whole, never changed
    FOLDER/current ─▶ versions/…                              renamed over: there is always exactly one
    FOLDER/reloaded                                           the one that a running gateway was last told of
    FOLDER/sums/…                                             of its files as they were signed: somebody may change them here

Only its owner can look into any of it: addresses, users and what somebody wrote in clear are nobody else's.
What is written is on the disk before it gets its name, and the name before `current` points to it. So whenever the power
fails, `current` leads to a whole configuration: the old one or the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.files import PRIVATE, give_to_owner, put, sync_folder, write_whole
from gateway.fleet.errors import FleetError

_NAME = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9a-f]{40}|[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Version:
    """What stands in the name of a folder."""

    time: int  # seconds since 1970: when it was signed
    id: str

    @property
    def name(self) -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.time)) + f"-{self.id}"

    @classmethod
    def of(cls, name: str) -> Version | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return cls(_seconds(match[1]), match[2])


class Place:
    """One folder; nobody else changes it while it is held."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.versions = folder, folder / "versions"
        self._sums = folder / "sums"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone with it. What was begun and not finished goes, now or the next time. Raises FleetError."""
        try:
            self.versions.mkdir(parents=True, exist_ok=True)
            self.versions.chmod(0o700)  # also where an earlier release made it
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            for ours in (self.versions, self.folder / "lock"):
                give_to_owner(ours)
        except OSError as exc:
            raise FleetError("place", f"{self.folder}: {exc.strerror}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            raise FleetError("place", f"{self.folder}: another `gateway fleet pull` is at work") from exc
        try:
            self._tidy()
            yield
        finally:
            self._tidy()
            os.close(lock)

    def _tidy(self) -> None:
        for left in (*self.folder.glob(".*-*"), *self.versions.glob(".*")):
            _remove(left)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for a while."""
        folder = self.folder / f".fetch-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(folder)

    @property
    def current(self) -> Version | None:
        """What is in place. None: nothing yet. Raises FleetError where it is none of ours."""
        link = self.folder / "current"
        if not os.path.lexists(link):
            return None
        found = Version.of(link.readlink().name) if link.is_symlink() else None
        if found is None or not (self.versions / found.name).is_dir():
            raise FleetError("place", f"{link} is not what `gateway fleet pull` made: move it away")
        return found

    def write(self, files: Mapping[str, bytes], beside: Path | None = None) -> Path:
        """All files into a folder without a name yet, down to the disk. `beside`: what `secrets` shall lead to."""
        made = self.versions / f".new-{secrets.token_hex(6)}"
        made.mkdir(mode=0o700)
        for path, content in files.items():
            file = made / path
            for folder in reversed(list(file.relative_to(made).parents)[:-1]):
                (made / folder).mkdir(mode=0o700, exist_ok=True)
            put(file, content, PRIVATE, os.O_EXCL)
        if beside is not None:
            (made / "secrets").symlink_to(beside)
        for each in (made, *sorted(made.rglob("*"))):  # what root fetches is still the gateway's
            give_to_owner(each)
        for folder in (made, *(each for each in made.rglob("*") if each.is_dir() and not each.is_symlink())):
            sync_folder(folder)
        return made

    def take(self, made: Path, version: Version) -> None:
        """What was written gets its name."""
        place = self.versions / version.name
        self._sums.mkdir(mode=0o700, exist_ok=True)
        give_to_owner(self._sums)
        write_whole(self._sums / version.name, json.dumps(_sums_of(made)).encode(), PRIVATE)
        if place.exists():  # it was in place before, and may have been changed since
            _remove(place)
        made.rename(place)
        sync_folder(self.versions)

    def point(self, version: Version) -> None:
        """From now on this one is in force."""
        link = self.folder / f".current-{secrets.token_hex(6)}"
        link.symlink_to(Path("versions") / version.name)
        link.rename(self.folder / "current")
        sync_folder(self.folder)

    def changed(self) -> list[str]:
        """Files of what is in place that are no longer as they were signed; none where that is not known."""
        current = self.current
        if current is None:
            return []
        try:
            signed: dict[str, str] = json.loads((self._sums / current.name).read_bytes())
            found = _sums_of(self.versions / current.name)
        except (OSError, ValueError):
            return []
        return sorted(path for path in signed.keys() | found.keys() if signed.get(path) != found.get(path))

    def unpoint(self) -> None:
        """There was none before."""
        (self.folder / "current").unlink(missing_ok=True)
        sync_folder(self.folder)

    @property
    def reloaded(self) -> str:
        """The name of the version that the gateway was last told of."""
        try:
            return (self.folder / "reloaded").read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def note_reloaded(self, version: Version) -> None:
        """The gateway knows of this one."""
        write_whole(self.folder / "reloaded", f"{version.name}\n".encode("ascii"), 0o644)

    def prune(self, keep: int) -> None:
        """Forget the oldest, never the one in force."""
        current = self.current
        known = [version for each in self.versions.iterdir() if (version := Version.of(each.name)) is not None]
        for version in sorted(known, key=lambda each: each.time, reverse=True)[keep:]:
            if version != current:
                _remove(self.versions / version.name)
                _remove(self._sums / version.name)


def _seconds(text: str) -> int:
    from calendar import timegm

    return timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))


def _sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, by its path within. Raises OSError."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    }


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
