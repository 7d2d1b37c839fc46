"""The configurations that were in force, kept as they were written, and the way back to one of them.

    {data_dir}/versions/00000012.json     all files of one configuration: text, time, who, checksum; the last 20

    put back ─▶ .gateway.yaml.rollback, … beside ─▶ .rollback.json ─▶ rename, rename, … ─▶ .rollback.json is removed
                                                      └ from here on it is decided: whoever starts next finishes it

Secrets that stand in files of their own are not kept; what stands in the configuration itself is, so only the user of the gateway
can read a version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from gateway.config import Configuration, load
from gateway.errors import ConfigErrors, GatewayError
from gateway.files import give_to_owner, put, sync_folder, write_whole
from gateway.runtime.changes.loading import load_aside
from gateway.runtime.changes.watch import Stamps, stamps_of
from gateway.runtime.registry import protocols

log = logging.getLogger(__name__)

KEPT = 20
TRIES = 3  # to read files that change while they are read
FOLDER = "versions"
INTENT = ".rollback.json"
STAGED = ".rollback"  # behind the name of a file that waits to take its place
_FOLDERS = ("machines", "profiles")  # beside gateway.yaml: what a configuration is read from


def files_of(path: Path) -> dict[str, bytes]:
    """All files of a configuration that are there, by their names inside its folder. Those that cannot be read are left out."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, bytes], list[OSError]]:
    """Those that can be read, and why others cannot that are there."""
    folder = path if path.is_dir() else path.parent
    found = [folder / "gateway.yaml" if path.is_dir() else path]
    files: dict[str, bytes] = {}
    refused: list[OSError] = []
    for name in _FOLDERS if path.is_dir() else ("profiles",):
        try:
            os.scandir(folder / name).close()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            refused.append(exc)
        else:
            found += sorted((folder / name).glob("*.yaml"))
    for file in found:
        try:
            files[file.relative_to(folder).as_posix()] = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as exc:
            refused.append(exc)
    return files, refused


@dataclass(frozen=True, slots=True)
class AsRead:
    """What a configuration was loaded from."""

    files: Mapping[str, bytes]
    stamps: Stamps  # of the files before they were read: whatever is saved from then on is seen as a change


def read_whole(path: Path, load: Callable[[Mapping[str, bytes]], Configuration]) -> tuple[Configuration, AsRead]:
    """Load files that may be changed while they are read, and what they were. Raises what `load` raises."""
    for _ in range(TRIES):
        stamps = stamps_of(path)
        files = files_of(path)
        found = load(files)
        if files_of(path) == files:
            break
    return found, AsRead(files, stamps)


def checksum_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Version:
    """One configuration. `in_force`: a gateway has run with it; else it was only kept before others took its place."""

    number: int
    time: int  # ms since 1970
    who: str
    summary: str
    checksum: str
    in_force: bool
    files: Mapping[str, str]

    @property
    def data(self) -> dict[str, bytes]:
        """The files as bytes."""
        return {name: text.encode("utf-8", "surrogateescape") for name, text in self.files.items()}


class Versions:
    """In `data_dir/versions`. What cannot be written is logged: a gateway runs without, too."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER

    def all(self) -> list[Version]:
        """Newest first; those that cannot be read are left out."""
        return [version for number in self._numbers() if (version := self._read(number)) is not None]

    def newest(self) -> Version | None:
        """The last one, whatever it was kept for."""
        return next(iter(self.all()), None)

    def good(self) -> list[Version]:
        """Those that a gateway has run with, newest first."""
        return [version for version in self.all() if version.in_force]

    def get(self, number: int) -> Version:
        """One of them. Raises GatewayError."""
        version = self._read(number)
        if version is None:
            there = ", ".join(str(each) for each in self._numbers())
            raise GatewayError(
                f"there is no version {number}; " + (f"kept are {there}" if there else "none is kept yet: run it first")
            )
        return version

    def keep(self, files: Mapping[str, bytes], who: str, summary: str, now_ns: int, *, in_force: bool) -> int | None:
        """Keep a configuration, unless it is the newest already. Its number; None where it cannot be written."""
        checksum = checksum_of(files)
        newest = self.newest()
        if newest is not None and newest.checksum == checksum and (newest.in_force or not in_force):
            return newest.number
        number = next(iter(self._numbers()), 0) + 1
        try:
            # What an editor has written in another encoding is kept as it is, byte for byte.
            texts = {name: data.decode("utf-8", "surrogateescape") for name, data in files.items()}
            made = {"v": 1, "version": number, "t": now_ns // 1_000_000, "who": who, "summary": summary}
            made |= {"checksum": checksum, "in_force": in_force, "files": texts}
            self._make_folder()
            # `backslashreplace` writes just what JSON does for a character that is none: \udcff.
            write_whole(self._file(number), json.dumps(made, ensure_ascii=False).encode("utf-8", "backslashreplace"))
            for old in self._numbers()[KEPT:]:
                self._file(old).unlink(missing_ok=True)
        except (OSError, ValueError) as exc:
            log.warning("%s: this version of the configuration cannot be kept: %s", self.folder, exc)
            return None
        return number

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            give_to_owner(self.folder)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:08}.json"

    def _numbers(self) -> list[int]:
        """Newest first."""
        try:
            names = [path.stem for path in self.folder.glob("*.json")]
        except OSError:
            return []
        return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)

    def _read(self, number: int) -> Version | None:
        try:
            return _checked(json.loads(self._file(number).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("%s cannot be used: %s", self._file(number), exc)
            return None


def load_files(path: Path, files: Mapping[str, bytes], *, whole_tree: bool = False) -> Configuration:
    """A configuration as it would be if its files were these; secrets and all else are where they are. Raises ConfigErrors."""
    folder = path if path.is_dir() else path.parent
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        made = Path(name)
        for file, data in files.items():
            target = made / _relative(path, file)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        if (folder / "secrets").is_dir():
            (made / "secrets").symlink_to((folder / "secrets").resolve())
        try:
            at = made if path.is_dir() else made / path.name
            found = (
                load(at, protocols(), whole_tree=True) if whole_tree else load_aside(at, sum(map(len, files.values())))
            )
        except ConfigErrors as exc:
            for error in exc.errors:
                error.file = error.file.replace(name, str(folder))
            raise
    warnings = tuple(warning.replace(name, str(folder)) for warning in found.warnings)
    return replace(found, path=path, warnings=warnings)


def row_of(version: Version, current: bool) -> dict[str, Any]:
    """For the page and for `gateway config versions`."""
    return {
        "version": version.number,
        "t": version.time,
        "who": version.who,
        "summary": version.summary,
        "current": current,
        "checksum": version.checksum[:12],
        "in_force": version.in_force,
    }


def rows_of(versions: Iterable[Version], checksum: str) -> list[dict[str, Any]]:
    """All of them; the newest with this checksum is the current one."""
    rows, seen = [], False
    for version in versions:
        current = version.checksum == checksum and not seen
        seen = seen or current
        rows.append(row_of(version, current))
    return rows


# --- the way back ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WayBack:
    """A version that is in the files again, and what was there before."""

    path: Path
    files: Mapping[str, bytes]
    former: Mapping[str, bytes]
    changed: Sequence[str]  # names of the files

    def undo(self) -> None:
        """It does not come into force: what was there is put back, unless somebody has written there since.

        Raises GatewayError where that is not possible.
        """
        if files_of(self.path) == self.files:
            put_back(self.path, self.former)


def roll_back(
    path: Path, stored: Versions, number: int, who: str, now_ns: int, check: Callable[[Configuration], None]
) -> WayBack:
    """Put a version into the files; what is there is kept first. For `gateway config rollback` and for the page alike.

    Raises GatewayError, also where it could not be kept: then nothing has changed. Raises ConfigErrors for a version that
    cannot be loaded any more, or that `check` refuses.
    """
    version = stored.get(number)
    check(load_files(path, version.data))
    command = f"sudo gateway config rollback {number} -c {path.absolute()}"
    former, refused = _read(path)
    if refused:
        raise GatewayError(
            f"{refused[0].filename} cannot be read ({refused[0].strerror}), and so it cannot be kept: nothing was changed; "
            f"do it as the user who may: {command}"
        )
    if stored.keep(former, who, f"before the way back to version {number}", now_ns, in_force=False) is None:
        raise GatewayError(
            f"what is in the files now cannot be kept in {stored.folder}: nothing was changed; "
            "make room there, or have it belong to the user of the gateway, and try again"
        )
    return WayBack(path, version.data, former, put_back(path, version.data, command))


def put_back(path: Path, files: Mapping[str, bytes], command: str = "sudo gateway config rollback N") -> list[str]:
    """Make the files of a configuration those of a version: all of them, or none. The names of those that changed.

    What has come since is removed. A crash on the way leaves old files, or what `finish` needs to make them all new.
    Raises GatewayError where they cannot be written: then nothing has changed. `command`: what does it for who may.
    """
    finish(path)
    folder = path if path.is_dir() else path.parent
    there = files_of(path)
    changed = [name for name, data in files.items() if there.get(name) != data]
    removed = [name for name in there if name not in files]
    if not changed and not removed:
        return []
    staged: list[Path] = []
    try:
        for name in changed:
            target = _target(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.append(_staged(target))
            _stage(target, files[name], folder)
        for each in dict.fromkeys(file.parent for file in staged):
            sync_folder(each)
        intent = {"v": 1, "replace": changed, "remove": removed}
        write_whole(folder / INTENT, json.dumps(intent).encode())
    except OSError as exc:
        for file in staged:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        raise GatewayError(
            f"{exc.filename or folder} cannot be written ({exc.strerror or exc}): nothing was changed; "
            f"do it as the user who may: {command}"
        ) from exc
    finish(path)
    return changed + removed


def finish(path: Path) -> bool:
    """Finish what `put_back` had decided when the power failed; whether there was anything. To be called before loading."""
    folder = path if path.is_dir() else path.parent
    try:
        intent = json.loads((folder / INTENT).read_bytes())
        new = [_target(path, str(name)) for name in intent["replace"]]
        gone = [_target(path, str(name)) for name in intent["remove"]]
    except FileNotFoundError:
        _tidy(folder)
        return False
    except (OSError, ValueError, KeyError, TypeError, GatewayError) as exc:
        log.warning("%s cannot be used, and is left alone: %s", folder / INTENT, exc)
        return False
    try:
        for target in new:
            with suppress(FileNotFoundError):  # it took its place before
                _staged(target).replace(target)
        for target in gone:
            target.unlink(missing_ok=True)
        for each in {file.parent for file in (*new, *gone)}:
            sync_folder(each)
        (folder / INTENT).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as exc:
        raise GatewayError(
            f"{folder}: an earlier version was to be put back, and {exc.filename} cannot be written ({exc.strerror}): "
            "run `gateway config versions` as the user who may"
        ) from exc
    return True


def _tidy(folder: Path) -> None:
    """What was staged and never decided."""
    for begun in folder.glob(f".{INTENT}.*"):
        with suppress(OSError):
            begun.unlink()
    for each in (folder, *(folder / name for name in _FOLDERS)):
        with suppress(OSError):
            for file in each.glob(f".*.yaml{STAGED}"):
                file.unlink()


def _target(path: Path, name: str) -> Path:
    """Where a file of a version belongs; what is a link stays one."""
    folder = path if path.is_dir() else path.parent
    return (folder / _relative(path, name)).resolve()


def _relative(path: Path, name: str) -> PurePosixPath:
    """Only what a configuration is read from: a version that somebody has written puts nothing else there."""
    main = "gateway.yaml" if path.is_dir() else path.name
    folder, _, file = name.rpartition("/")
    known = file.endswith(".yaml") and folder in (_FOLDERS if path.is_dir() else ("profiles",))
    if name != main and not known:
        raise GatewayError(f"{name!r} is no file of a configuration")
    return PurePosixPath(name)


def _staged(target: Path) -> Path:
    return target.with_name(f".{target.name}{STAGED}")


def _stage(target: Path, data: bytes, folder: Path) -> None:
    """Beside its place, with the rights of what is there, or of gateway.yaml."""
    like: os.stat_result | None = None
    for each in (target, folder / "gateway.yaml", folder):
        with suppress(OSError):
            like = each.stat()
            break
    mode = stat.S_IMODE(like.st_mode) if like is not None and stat.S_ISREG(like.st_mode) else 0o640
    staged = _staged(target)
    put(staged, data, mode)
    if like is not None:
        with suppress(OSError):
            os.chown(staged, like.st_uid, like.st_gid, follow_symlinks=False)
    staged.chmod(mode)


def _checked(data: Any) -> Version:
    """Raises ValueError, KeyError, TypeError."""
    files = data["files"]
    if data["v"] != 1 or not isinstance(files, dict):
        raise ValueError("not of this format")
    version = Version(
        int(data["version"]), int(data["t"]), str(data["who"]), str(data["summary"]), str(data["checksum"]),
        bool(data["in_force"]), {str(name): str(text) for name, text in files.items()},
    )  # fmt: skip
    if checksum_of(version.data) != version.checksum:
        raise ValueError("its checksum is wrong")
    return version
