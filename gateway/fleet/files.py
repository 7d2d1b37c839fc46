"""Which files of a repository are this gateway's: gateways/NAME over common. Pure.

    common/profiles/oven.yaml          ─▶ profiles/oven.yaml
    common/gateway.yaml                ─┐
    gateways/edge-01/gateway.yaml      ─┴▶ gateway.yaml            that of the gateway wins
    gateways/edge-01/machines/a.yaml   ─▶ machines/a.yaml
    gateways/edge-02/…, README.md      not ours

The signature says who wrote it, not that it is harmless: what could reach out of the folder is refused all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.fleet.errors import FleetError
from gateway.fleet.git import Entry

MAX_FILES = 5000
MAX_FILE = 4 * 2**20  # bytes: a configuration of 100,000 signals has about 10 MB in a hundred files
MAX_DEPTH = 8
COMMON = "common"
_KINDS = {"120000": "a symbolic link", "160000": "a submodule"}
_POINTER = b"version https://git-lfs.github.com/spec/"


def files_of(gateway: str, entries: Iterable[Entry], max_size: int) -> dict[str, Entry]:
    """By the path within the configuration. Raises FleetError for the first that cannot be taken."""
    layers: dict[str, dict[str, Entry]] = {COMMON: {}, gateway: {}}
    for entry in entries:
        shown = entry.path.decode("utf-8", "replace")
        parts = shown.split("/")
        if parts[0] == COMMON:
            layer, parts = COMMON, parts[1:]
        elif parts[0] == "gateways" and len(parts) > 1 and parts[1] == gateway:
            layer, parts = gateway, parts[2:]
        else:
            continue
        if trouble := _trouble(entry, shown, parts):
            raise FleetError("files", f"{_printable(shown)}: {trouble}")
        layers[layer]["/".join(parts)] = entry
    if not layers[gateway]:
        raise FleetError("files", f"the repository has nothing below gateways/{gateway}/: is `gateway` the right name?")
    taken = layers[COMMON] | layers[gateway]
    if len(taken) > MAX_FILES:
        raise FleetError("files", f"{len(taken):,} files; {MAX_FILES:,} are allowed")
    if (total := sum(entry.size for entry in taken.values())) > max_size:
        raise FleetError("files", f"{total:,} bytes in all; max_size allows {max_size:,}")
    for path in taken:
        for above in _folders_above(path):
            if above in taken:
                raise FleetError("files", f"{_printable(above)} is a file here and a folder there")
    folded: dict[str, str] = {}
    for path in taken:
        if (other := folded.setdefault(path.casefold(), path)) != path:
            raise FleetError("files", f"{_printable(path)} and {_printable(other)} differ in capital letters only")
    return taken


def check_content(path: str, content: bytes, size: int) -> None:
    """Raises FleetError for what is not what it was said to be."""
    if len(content) != size:
        raise FleetError("files", f"{path}: has {len(content):,} bytes and not {size:,}")
    if content.startswith(_POINTER):
        raise FleetError("files", f"{path}: only points to a large file (git LFS), which is never fetched")


def _trouble(entry: Entry, shown: str, parts: list[str]) -> str:
    """Why a file cannot be taken; empty where it can."""
    if entry.mode not in ("100644", "100755"):
        return f"is {_KINDS.get(entry.mode, f'of mode {entry.mode}')}; only files are taken"
    if "\ufffd" in shown or not shown.isprintable() or "\\" in shown:
        return "has a name that cannot be read"
    if not parts or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        return "leads out of its folder"
    if any(part.startswith(".") for part in parts):
        return "begins with a dot: hidden files are no part of a configuration"
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > 200 for part in parts):
        return "has a name that is too long"
    if parts[0] == "secrets":
        return "secrets do not belong into a repository: take them out, change them, and use `secrets` in fleet.yaml"
    if not 0 <= entry.size <= MAX_FILE:
        return f"has {entry.size:,} bytes; {MAX_FILE:,} are allowed"
    return ""


def _folders_above(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:i]) for i in range(1, len(parts)))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
