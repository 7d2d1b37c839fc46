"""What must outlive a restart beside the readings: counts, and what is worked out over time.

    committer ─ before it writes ─▶ due? ─ state on the event loop, as bytes ─▶ file, in the committer's thread

Counters are written down before the log writes what follows from a reset, when a new segment begins, and once a minute. What
left after that is in the newest segment: `catch_up` reads it there. So a total goes on after a power cut where it was.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.clock import Clock

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds


class Memory:
    """Parts by name, each in a file of its own in `data_dir/memory`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder / "memory", clock
        self._parts: dict[str, _Part] = {}
        self.trouble = ""

    def saved(self, name: str) -> Mapping[str, Any]:
        """What was written down of a part; nothing where there is nothing that can be used."""
        path = self._folder / f"{name}.json"
        try:
            data = orjson.loads(path.read_bytes())
            if not isinstance(data, dict) or data.get("v") != 1 or not isinstance(data.get("of"), dict):
                raise ValueError("not of this format")
            of: Mapping[str, Any] = data["of"]
            return of
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            log.warning("%s cannot be used (%s): counts begin with what the machines show", path, exc)
            return {}

    def keep(self, name: str, dump: Callable[[], Any], changed: Callable[[], object], every: float = EVERY) -> None:
        """Write down a part when `changed` gives something else, and every so many seconds."""
        self._parts[name] = _Part(dump, changed, every, changed(), self._clock.monotonic())

    def due(self, *, all_of_it: bool = False) -> Callable[[], None] | None:
        """What has to be written now, to be run in a thread; nothing as a rule."""
        now, files = self._clock.monotonic(), {}
        for name, part in self._parts.items():
            changed = part.changed()
            if all_of_it or changed != part.last or now - part.written >= part.every:
                part.last, part.written = changed, now
                files[f"{name}.json"] = orjson.dumps({"v": 1, "of": part.dump()})
        return None if not files else lambda: self._write(files)

    def _write(self, files: Mapping[str, bytes]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, data in files.items():
                new = self._folder / f"{name}.new"
                descriptor = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                try:
                    left = memoryview(data)
                    while left:
                        left = left[os.write(descriptor, left) :]
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
                new.replace(self._folder / name)
            self.trouble = ""
        except OSError as exc:  # readings go on; after a restart counts may begin with what the machines show
            with suppress(OSError):
                for name in files:
                    (self._folder / f"{name}.new").unlink(missing_ok=True)
            if not self.trouble:
                log.warning("%s cannot be written: %s", self._folder, exc.strerror)
            self.trouble = str(exc)


class _Part:
    """One of them. `last`: what `changed` gave when it was written."""

    def __init__(
        self, dump: Callable[[], Any], changed: Callable[[], object], every: float, last: object, written: float
    ) -> None:
        self.dump, self.changed, self.every, self.last, self.written = dump, changed, every, last, written
