"""The types that signals have had, and the versions of what `meta` says: kept over restarts.

A store cannot take a number where it has text, so a type that has once left is locked: a whole number is sent as the float it
was, anything else that changed is bad (config-error) until a person accepts the new type (`gateway config types`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.model import Signal, ValueType
from gateway.mqtt.payload import describe

log = logging.getLogger(__name__)

FILE = "schema.json"
_TYPES = ("float", "int", "bool", "string")


class Schema:
    """Of all machines of a gateway; machines by their levels, joined by /."""

    def __init__(self, folder: Path) -> None:
        """What cannot be read is begun anew, with a warning: nothing here is worth not starting."""
        self._path = folder / FILE
        self._machines: dict[str, dict[str, Any]] = {}
        self.trouble = ""
        try:
            self._machines = _read(self._path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as exc:
            log.warning("%s cannot be used (%s): the types of signals are learnt anew", self._path, exc)

    def types(self, machine: str) -> Mapping[str, ValueType]:
        """The types that have left, by signal."""
        types: Mapping[str, ValueType] = self._machines.get(machine, {}).get("types", {})
        return types

    def lock(self, machine: str, signals: Iterable[Signal]) -> None:
        """Readings of these signals leave now."""
        known = self._machines.setdefault(machine, {"version": 0, "signals": {}, "types": {}})
        new = {s.name: s.type for s in signals if s.name not in known["types"]}
        if new:
            known["types"] |= new
            self._write()

    def version(self, machine: str, signals: Sequence[Signal]) -> int:
        """The number of this description: one more than before where it is another one.

        While something is only guessed, as its server has not been reached yet, the number stays.
        """
        known = self._machines.setdefault(machine, {"version": 0, "signals": {}, "types": {}})
        if any(s.guessed for s in signals):
            return int(known["version"])
        described = orjson.loads(orjson.dumps({s.name: describe(s) for s in signals}))
        before: Mapping[str, Any] = known["signals"]
        if described != before:
            known["version"] += 1
            known["signals"] = described
            if before:
                _say(machine, known["version"], before, known["signals"])
            self._write()
        return int(known["version"])

    def accept(self, machine: str, signal: str | None = None) -> list[str]:
        """Forget the types of a signal, or of all of a machine: the next ones count. Raises OSError."""
        types = self._machines.get(machine, {}).get("types", {})
        names = [name for name in types if signal in (None, name)]
        for name in names:
            del types[name]
            self._machines[machine].get("wanted", {}).pop(name, None)
        if names:
            self._write(quiet=False)
        return names

    def conflicts(self) -> list[tuple[str, str, str, str]]:
        """Machine, signal, the type it has had, and the one that its configuration gives it now."""
        return [
            (machine, signal, str(before), str(now))
            for machine, known in self._machines.items()
            for signal, now in known.get("wanted", {}).items()
            if (before := known["types"].get(signal)) is not None
        ]

    def want(self, machine: str, types: Mapping[str, ValueType]) -> None:
        """The types that signals would have if they were not locked: those that are others and cannot be sent."""
        known = self._machines.setdefault(machine, {"version": 0, "signals": {}, "types": {}})
        if known.get("wanted", {}) != types:
            known["wanted"] = dict(types)
            self._write()
            for signal, now in types.items():
                log.warning(
                    "%s/%s: is %s now and was %s in the store: bad until it is accepted (gateway config types)",
                    machine, signal, now, known["types"].get(signal),
                )  # fmt: skip

    def _write(self, *, quiet: bool = True) -> None:
        new = self._path.with_name(FILE + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                file.write(orjson.dumps({"v": 1, "machines": self._machines}))
                file.flush()
                os.fdatasync(file.fileno())
            new.replace(self._path)
            self.trouble = ""
        except OSError as exc:  # a full disk: the lock holds as long as this process does
            with suppress(OSError):
                new.unlink()
            if not quiet:
                raise
            if not self.trouble:
                log.warning("%s cannot be written: %s", self._path, exc.strerror)
            self.trouble = str(exc)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Raises OSError, ValueError."""
    data = orjson.loads(path.read_bytes())
    if not isinstance(data, dict) or data.get("v") != 1 or not isinstance(data.get("machines"), dict):
        raise ValueError("not of this format")
    machines: dict[str, dict[str, Any]] = {}
    for name, known in data["machines"].items():
        if not isinstance(known, dict) or type(known.get("version")) is not int or known["version"] < 0:
            raise ValueError(f"what it says of {name} is broken")
        signals, types = known.get("signals"), known.get("types")
        if not isinstance(signals, dict) or not isinstance(types, dict) or not set(types.values()) <= set(_TYPES):
            raise ValueError(f"what it says of {name} is broken")
        wanted = known.get("wanted", {})
        machines[name] = {"version": known["version"], "signals": signals, "types": types}
        if isinstance(wanted, dict):
            machines[name]["wanted"] = wanted
    return machines


def _say(machine: str, version: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    new, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    changed = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("new", new), ("gone", gone), ("changed", changed))
        if names
    ]
    log.info("%s: its signals are another version now, %d: %s", machine, version, "; ".join(parts))
