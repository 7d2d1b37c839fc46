"""What must outlive a restart beside the readings: counts, and what is worked out over time.

    committer ─ before it writes ─▶ due? ─ state on the event loop, as bytes ─▶ files, in the committer's thread

    schema.json             versions of what meta says, types that are locked    when they change
    counters.json           raw counts and what is added to them       when one begins anew, at each segment and start, once a minute
    left.json               what brokers retain, of whom it goes      when there are others
    derived-MACHINE.json    all that is worked out for a machine       every six hours, each at another time
    derived-N.journal       what came since, a line a minute for all   begun anew every six hours; the one before is kept

Counters are written down before the log writes what follows from a reset. What left after that is in the newest segment, and
`catch_up` reads it there: so a total goes on after a power cut where it was. But for the newest readings: what was sent and
not written yet (milliseconds for a gateway that is killed, a commit interval when the power fails) may be stored and is not
known here. A count that begins anew in just that time goes on from the reading before it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway import files
from gateway.clock import Clock

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds
_LOOK = 1.0  # seconds
SOON = 600.0
ROUND = 6 * 3600.0  # seconds in which all that is long is written once
_JOURNAL = "derived-{}.journal"
_NOTHING = object()  # what nothing is equal to


@dataclass(slots=True)
class _Part:
    """A file that is written as a whole. `last`: what `changed` gave when it was written."""

    dump: Callable[[], Any]
    changed: Callable[[], object]
    every: float
    last: object
    written: float  # monotonic


@dataclass(slots=True)
class _Due:
    """What has to be written now."""

    files: dict[str, bytes] = field(default_factory=dict)
    line: bytes = b""  # for the journal
    journal: int = 0
    obsolete: int | None = None  # a journal that is not needed any more


class Memory:
    """In `data_dir/memory`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder / "memory", clock
        self._parts: dict[str, _Part] = {}
        self._long: dict[str, _Part] = {}  # looked at once a second only
        self._look_at = 0.0
        self._recent: _Part | None = None
        self._first = self._journal = max(self._journals(), default=0) + 1
        self._pending: set[str] = set()  # long parts that were not written in this life
        self._broken: set[str] = set()  # parts of which it was told that they cannot be written down
        self._round = clock.monotonic()
        self.trouble = ""

    def saved(self, name: str) -> Mapping[str, Any]:
        """What was written down of a part; nothing where there is nothing that can be used."""
        path = self._folder / f"{name}.json"
        try:
            return _checked(orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            log.warning("%s cannot be used (%s): it begins anew", path, exc)
            return {}

    def recent(self) -> list[Mapping[str, Any]]:
        """The lines of the journals, the oldest first; those that are torn are left out."""
        found: list[Mapping[str, Any]] = []
        for number in sorted(self._journals()):
            with suppress(OSError):
                for line in (self._folder / _JOURNAL.format(number)).read_bytes().split(b"\n"):
                    with suppress(ValueError):  # the power failed, or the disk was full, while it was written
                        found.append(_checked(orjson.loads(line)))
        return found

    def keep(
        self,
        name: str,
        dump: Callable[[], Any],
        changed: Callable[[], object],
        every: float = EVERY,
        *,
        now: bool = False,
    ) -> None:
        """Write a part when `changed` gives something else than at first, and every so many seconds. `now`: at once, too."""
        last = _NOTHING if now else changed()
        self._parts[name] = _Part(dump, changed, every, last, self._clock.monotonic())

    def keep_in_turn(self, parts: Mapping[str, Callable[[], Any]], changed: Mapping[str, Callable[[], object]]) -> None:
        """Parts that are long: each once in a ROUND, each at another time."""
        now = self._clock.monotonic()
        for i, (name, dump) in enumerate(parts.items()):
            # The first time soon after the start, so that the journals of earlier lives can go.
            part = _Part(dump, changed[name], ROUND, changed[name](), now - ROUND + SOON * (i + 1) / len(parts))
            self._long[name] = part
        self._pending |= set(parts)

    def note(self, recent: Callable[[], Any], changed: Callable[[], object]) -> None:
        """Write a line into the journal when `changed` gives something else, and once a minute."""
        self._recent = _Part(recent, changed, EVERY, changed(), self._clock.monotonic())

    def due(self, *, all_of_it: bool = False) -> Callable[[], None] | None:
        """What has to be written now, to be run in a thread; nothing as a rule."""
        now, due = self._clock.monotonic(), _Due()
        parts: Mapping[str, _Part] = self._parts
        if all_of_it or now >= self._look_at:
            parts = {**self._parts, **self._long}
            self._look_at = now + _LOOK
        for name, part in parts.items():
            if (all_of_it or self._is_due(part, now)) and (data := self._dumped(name, part)) is not None:
                due.files[f"{name}.json"] = data
                if name in self._pending:
                    self._pending.discard(name)
                    due.obsolete = None if self._pending else self._first - 1
        if all_of_it:
            due.obsolete = self._journal  # all that is in them is in the files
        elif self._recent is not None and self._is_due(self._recent, now):
            if now - self._round >= ROUND:
                self._round, self._journal = now, self._journal + 1
                due.obsolete = self._journal - 2
            # A line that was torn ends before this one.
            if (line := self._dumped("a note", self._recent)) is not None:
                due.line, due.journal = b"\n" + line + b"\n", self._journal
        return (lambda: self._write(due)) if due.files or due.line else None

    def _dumped(self, name: str, part: _Part) -> bytes | None:
        """As bytes; what goes wrong with one part costs no other."""
        try:
            data = orjson.dumps({"v": 1, "of": part.dump()})
        except Exception:
            if name not in self._broken:
                self._broken.add(name)
                log.exception("%s cannot be written down", name)
            return None
        self._broken.discard(name)
        return data

    @staticmethod
    def _is_due(part: _Part, now: float) -> bool:
        changed = part.changed()
        if changed == part.last and now - part.written < part.every:
            return False
        part.last, part.written = changed, now
        return True

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _write(self, due: _Due) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, data in due.files.items():
                new = self._folder / f"{name}.new"
                files.put(new, data)
                new.replace(self._folder / name)
            if due.files:
                files.sync_folder(self._folder)
            if due.line:
                files.put(self._folder / _JOURNAL.format(due.journal), due.line, how=os.O_APPEND)
            if due.obsolete is not None:
                for number in self._journals():
                    if number <= due.obsolete:
                        (self._folder / _JOURNAL.format(number)).unlink(missing_ok=True)
            self.trouble = ""
        except OSError as exc:  # readings go on; after a restart counts may begin with what the machines show
            with suppress(OSError):
                for name in due.files:
                    (self._folder / f"{name}.new").unlink(missing_ok=True)
            if not self.trouble:
                log.warning("%s cannot be written: %s", self._folder, exc.strerror)
            self.trouble = str(exc)

    def _journals(self) -> Iterator[int]:
        """The numbers of those there are."""
        head, tail = _JOURNAL.split("{}")
        with suppress(OSError):
            for path in self._folder.glob(f"{head}*{tail}"):
                number = path.name[len(head) : -len(tail)]
                if number.isascii() and number.isdigit() and len(number) < 18:
                    yield int(number)


def _checked(data: Any) -> Mapping[str, Any]:
    """Raises ValueError."""
    if not isinstance(data, dict) or data.get("v") != 1 or not isinstance(data.get("of"), dict):
        raise ValueError("not of this format")
    of: Mapping[str, Any] = data["of"]
    return of
