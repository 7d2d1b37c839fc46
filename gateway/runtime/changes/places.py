"""Where a gateway has its files, found without loading its configuration, which may be broken."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DATA_DIR = re.compile(r"""^[^#\n]*?\bdata_dir\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"',}#]+))""", re.M)


def data_dirs_of(path: Path) -> list[Path]:
    """Where the gateway with this configuration may have its files, however broken that is; the likeliest first.

    `path`: a file or a folder, as for `load`.
    """
    folder = path if path.is_dir() else path.parent
    files = [path / "gateway.yaml", *sorted((path / "machines").glob("*.yaml"))] if path.is_dir() else [path]
    found: list[Path] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found += [folder / _expanded(next(filter(None, match.groups()))) for match in _DATA_DIR.finditer(text)]
    if state := os.environ.get("STATE_DIRECTORY"):  # systemd, see StateDirectory= in systemd.exec(5)
        found.append(Path(state.partition(":")[0]))
    found.append(folder / "data")
    return list(dict.fromkeys(found))


def main_file(path: Path) -> Path:
    """By which a configuration is known, however it was named: its gateway.yaml, absolute and without links."""
    return (path / "gateway.yaml" if path.is_dir() else path).resolve()


def _expanded(text: str) -> str:
    """`${VAR}` and `${VAR:-default}` in a path."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda match: os.environ.get(match[1]) or match[2] or "", text)
