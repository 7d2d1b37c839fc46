"""Whose the data folder is: what root made in it once, the service cannot use."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

NAME = "data folder"
MOST = 5000  # files that are looked at


def look(case: Case) -> Iterator[Finding]:
    assert case.data_dir is not None
    case.check_rights()
    yield from judge(case.data_dir)


def judge(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield Finding(NAME, "skipped", f"{folder} is made at the first start")
        return
    found = folder.stat()
    faults: list[Finding] = []
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        text = f"{folder}: others may write into it (mode {stat.S_IMODE(found.st_mode):04o})"
        faults.append(Finding(NAME, "warning", text, hint=f"chmod 750 {folder}"))
    if strangers := [each for each in islice(_below(folder), MOST) if each.lstat().st_uid != found.st_uid]:
        whose = _name(strangers[0].lstat().st_uid)
        text = f"{folder}: {len(strangers)} files in it belong to somebody else, such as {strangers[0].name} to {whose}"
        hint = f"chown -R {_name(found.st_uid)} {folder}"
        faults.append(Finding(NAME, "wrong", text, "disk-no-rights", hint))
    yield from faults
    if not faults:
        yield Finding(NAME, "ok", f"{folder}: belongs to {_name(found.st_uid)}")


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=None):
        yield from (Path(place) / name for name in (*folders, *files) if (Path(place) / name).exists())


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
