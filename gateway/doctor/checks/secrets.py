"""Whether others on this box can read what is secret: password files, private keys, a configuration with passwords."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

if TYPE_CHECKING:
    from gateway.config import Configuration

NAME = "secrets"
MOST = 500  # files
_KEYS = ("key", "user_key")  # keys of settings that name a private key
_PRIVATE = (".key",)
_PASSWORDS = ("password", "token", "metrics_token")


def look(case: Case) -> Iterator[Finding]:
    configuration, data_dir = case.configuration, case.data_dir
    assert configuration is not None
    assert data_dir is not None
    case.check_rights()
    files = dict.fromkeys([*_secret_files(configuration), *_keys(configuration), *islice(_kept(data_dir), MOST)])
    faults = False
    for file in files:
        if (finding := judge(file)) is not None:
            faults = True
            yield finding
    if written_out := sorted(set(_written_out(configuration))):
        for file in _files_of(configuration):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o044:
                faults = True
                what = ", ".join(written_out)
                text = f"{file}: others may read it (mode {mode:04o}), and it has passwords in it: {what}"
                hint = f"write {{secret: name}} instead, or: chmod 600 {file}"
                yield Finding(NAME, "warning", text, "secret-readable", hint)
    if not faults:
        yield Finding(
            NAME, "ok", f"{len(files)} files, none of which others can read" if files else "none is in a file"
        )


def judge(file: Path) -> Finding | None:
    """None where only its owner may read it, or it is not there."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    text = f"{file}: others may read or write it (mode {mode:04o})"
    return Finding(NAME, "wrong", text, "secret-readable", f"chmod 600 {file}")


def _secret_files(configuration: Configuration) -> Iterator[Path]:
    folder = configuration.folder / "secrets"
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        yield from (file for file in sorted(folder.iterdir()) if file.is_file())


def _keys(configuration: Configuration) -> Iterator[Path]:
    settings = configuration.settings
    for section in (settings.mqtt, settings.web, *configuration.connections.values()):
        for key in _KEYS:
            if isinstance(path := getattr(section, key, None), Path):
                yield configuration.resolve(path)


def _kept(data_dir: Path) -> Iterator[Path]:
    for folder in ("opcua", "web"):
        if (data_dir / folder).is_dir():
            for file in sorted((data_dir / folder).rglob("*")):
                if file.is_file() and (file.suffix in _PRIVATE or "private" in file.parts or "users" in file.stem):
                    yield file


def _written_out(configuration: Configuration) -> Iterator[str]:
    """Keys whose secret stands in the file itself."""
    from gateway.config.fields import Secret

    settings = configuration.settings
    sections = {"mqtt": settings.mqtt, "store": settings.store, "web": settings.web, **configuration.connections}
    for name, section in sections.items():
        for key in _PASSWORDS:
            secret = getattr(section, key, None)
            if isinstance(secret, Secret) and not secret.name:
                yield f"{name}.{key}"


def _files_of(configuration: Configuration) -> list[Path]:
    path = configuration.path
    return [path / "gateway.yaml"] if path.is_dir() else [path]
