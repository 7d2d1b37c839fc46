"""What is looked at beside the model: whether there is anything to do with a configuration, and whether its files are there.

check_work        a gateway, or a store writer, has something to do       mistakes: nothing starts, nothing is taken over
check_any_work    one of the two has                                      the same, where nobody knows which it is for
doubts            certificates, keys that are not there or unreadable     warnings: what is not there may come
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.config import Configuration
from gateway.config.difference import named_files
from gateway.errors import ConfigErrors

LARGEST = 2**20  # bytes of a file that are looked at
_PEM = ("mqtt", "store", "web")  # sections whose files are PEM; those of OPC UA may be DER


def check_work(configuration: Configuration, *, store_only: bool = False) -> None:
    """Whether a gateway, or a store writer, has anything to do with a configuration. Raises ConfigErrors."""
    mark, error = configuration.tree.mark, None
    if store_only and configuration.settings.store is None:
        error = mark.error("there is no `store:` to write to", "for example: store: {kind: historian}")
    if not store_only and not configuration.machines:
        error = mark.error("there are no machines to read", "add them under `machines:`")
    if error is not None:
        raise ConfigErrors([error])


def check_any_work(configuration: Configuration) -> None:
    """Whether `gateway run` or, with a `store:`, at least `gateway store` takes it. Raises ConfigErrors."""
    check_work(configuration, store_only=not configuration.machines and configuration.settings.store is not None)


def doubts(configuration: Configuration, known: Configuration | None = None) -> Iterator[str]:
    """Warnings, at their line: files that are named and are not there, or that this user cannot read. Reads them.

    `known`: of files outside of the folder only those that this configuration names, too. Whoever may have a text checked
    is not told which files there are on this box.
    """
    folder, others = configuration.folder.resolve(), set() if known is None else set(named_files(known).values())
    for where, file in named_files(configuration).items():
        if known is not None and file not in others and not file.resolve().is_relative_to(folder):
            continue
        section, key = where.partition(".")[0], where.rpartition(".")[2]
        if wrong := _wrong(file, pem=section in _PEM):
            name = where[len(section) + 1 : -len(key) - 1]  # of a connection, in which a dot may be
            at = configuration.tree.find((section, name, key) if name else (section, key))
            yield f"{at}: warning: {where}: {wrong}"


def _wrong(file: Path, *, pem: bool) -> str:
    """What is wrong with a file; "" for nothing."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST)
    except FileNotFoundError:
        return f"there is no file {file}"
    except OSError as exc:
        return f"{file} cannot be read by this user: {exc.strerror or exc}"
    if pem and b"-----BEGIN " not in data:
        return f"{file} has no certificate or key in it: a file in PEM is needed"
    return ""
