"""Small files that are there as a whole or not at all, and that belong to whom the folder belongs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from adapters.opcua.security.certificates import CertificateError
from gateway import files

PRIVATE = 0o700


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """With its parents. Raises CertificateError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(mode=mode if each == folder else 0o755, exist_ok=True)
            files.give_to_owner(each)
    except OSError as exc:
        raise cannot("made", folder, exc) from exc


def write(file: Path, data: bytes, mode: int = 0o644, *, replace: bool = True) -> bool:
    """False: it was there, and is left as it is (only without `replace`). Raises CertificateError."""
    make_folder(file.parent)
    try:
        if replace:
            files.write_whole(file, data, mode)
            return True
        beside = files.beside_of(file, data, mode)
        try:
            os.link(beside, file)  # fails where somebody else was first, unlike a rename
        except FileExistsError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True
    except OSError as exc:
        raise cannot("written", file, exc) from exc


def read(file: Path) -> bytes | None:
    """None where there is none. Raises CertificateError."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise cannot("read", file, exc) from exc


def read_secret(file: Path) -> bytes | None:
    """The same of a private key: refused where others can read it."""
    data = read(file)
    if data is not None and (mode := file.stat().st_mode & 0o777) & 0o077:
        raise CertificateError(f"{file} can be read by others (mode {mode:04o}): chmod 600 {file}")
    return data


def cannot(what: str, path: Path, exc: OSError) -> CertificateError:
    """Which file, why, and what to do."""
    hint = _HINTS.get(exc.errno or 0, "")
    return CertificateError(f"{path} cannot be {what}: {exc.strerror or exc}{hint}")


_ELSEWHERE = "; `gateway: {data_dir: …}` can name another folder"
_HINTS = {
    errno.EACCES: "; give it to the user that the gateway runs as",
    errno.EPERM: "; give it to the user that the gateway runs as",
    errno.ENOSPC: "; make room there",
    errno.EDQUOT: "; make room there",
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
}
