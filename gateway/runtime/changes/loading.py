"""Loads a configuration without the event loop noticing: a large one in a process of its own.

    reload, in a thread ─▶ python -m gateway.runtime.changes.loading PATH ─▶ checked, as bytes ─▶ Configuration

A thread is not enough. Checking 20,000 signals takes more than a second of the interpreter, and each time the loop has waited for
a socket it waits for the interpreter as well: polls were late by seconds. To take over what is checked is 5 ms.
"""

from __future__ import annotations

import copyreg
import gc
import importlib
import logging
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.config import Configuration, load
from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.registry import protocols

log = logging.getLogger(__name__)

LARGE = 64 * 1024  # bytes of all files: below, a thread is done sooner than a process is there
PATIENCE = 600.0  # seconds
SWITCH = 0.0001  # seconds the event loop waits for the interpreter, while a thread works hard


def load_aside(path: Path, size: int) -> Configuration:
    """As `load`, to be called in a thread. `size`: bytes of its files. Raises ConfigErrors."""
    if size >= LARGE:
        try:
            return _received(elsewhere("gateway.runtime.changes.loading", str(path)))
        except (OSError, subprocess.SubprocessError, pickle.PickleError, EOFError) as exc:
            log.warning("the configuration cannot be checked in a process of its own, polls may be late: %r", exc)
    with _politely:
        return load(path, protocols())


def elsewhere(module: str, *arguments: str) -> bytes:
    """What another process says that runs one of our modules. Raises OSError, SubprocessError."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)  # noqa: S603
    return done.stdout


def _received(answer: bytes) -> Configuration:
    """Raises ConfigErrors."""
    found = pickle.loads(answer)  # noqa: S301 of our own process, over a pipe
    if isinstance(found, Configuration):
        return found
    raise ConfigErrors([ConfigError(**error) for error in found])


class _Politely:
    """Work in threads, of which the loop notices as little as can be: the interpreter is given back at once, and no garbage is
    looked for among what is all in use. Both are of the whole process: the last one who leaves puts them back."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._interval, self._collecting = sys.getswitchinterval(), gc.isenabled()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._interval, self._collecting = sys.getswitchinterval(), gc.isenabled()
                sys.setswitchinterval(SWITCH)
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                sys.setswitchinterval(self._interval)
                if self._collecting:
                    gc.enable()


_politely = _Politely()


def _proxy(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """A mapping nobody can change, which pickle does not know by itself."""
    return MappingProxyType(items)


def _named() -> Any:
    """`_proxy` as another process finds it: here it belongs to __main__."""
    return importlib.import_module("gateway.runtime.changes.loading")._proxy


def stand_back() -> None:
    """In a process of its own: the machines that are read come first."""
    with suppress(OSError):
        os.nice(5)
    gc.disable()


def tell(found: object) -> None:
    """What `elsewhere` gives to who asked, for pickle."""
    copyreg.pickle(MappingProxyType, lambda proxy: (_named(), (dict(proxy),)))
    sys.stdout.buffer.write(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
    sys.stdout.flush()


def main(path: Path) -> None:
    """In the process of its own."""
    stand_back()
    try:
        found: object = load(path, protocols())
    except ConfigErrors as exc:
        found = [asdict(error) for error in exc.errors]
    tell(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
