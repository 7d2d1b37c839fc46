"""The types that signals have had, and the versions of what `meta` says: kept over restarts.

A store cannot take a number where it has text, so a type that has once left is locked: a whole number is sent as the float it
was, anything else that changed is bad (config-error) until a person accepts the new type (`gateway config types`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gateway.model import Signal, ValueType
from gateway.mqtt.payload import describe

log = logging.getLogger(__name__)

PART = "schema"  # of what is remembered, see memory.py
_TYPES = ("float", "int", "bool", "string")


class Schema:
    """Of all machines of a gateway; machines by their levels, joined by /. Pure: `changes` says when to write `dump` down."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        """`saved`: what `dump` gave. What cannot be used is begun anew, with a warning: it is not worth not starting."""
        self._machines: dict[str, dict[str, Any]] = {}
        self.changes = 0
        try:
            self._machines = _checked(saved or {})
        except ValueError as exc:
            log.warning("the types that signals have had cannot be used (%s): they are learnt anew", exc)

    def dump(self) -> Mapping[str, Any]:
        """For orjson."""
        return {name: {**known, "signals": orjson.Fragment(known["signals"])} for name, known in self._machines.items()}

    def types(self, machine: str) -> Mapping[str, ValueType]:
        """The types that have left, by signal."""
        types: Mapping[str, ValueType] = self._machines.get(machine, {}).get("types", {})
        return types

    def lock(self, machine: str, signals: Iterable[Signal]) -> None:
        """Readings of these signals leave now."""
        known = self._machines.setdefault(machine, _nothing())
        new = {s.name: s.type for s in signals if s.name not in known["types"] and not s.guessed}
        if new:
            known["types"] |= new
            self.changes += 1

    def version(self, machine: str, signals: Sequence[Signal], rules: str = "") -> int:
        """The number of this description: one more than before where it is another one.

        What is only guessed, as its server has not been reached yet, counts as it was known before. `rules`: a digest of what
        is done to their readings; the first one of a machine that is known already is no news.
        """
        known = self._machines.setdefault(machine, _nothing())
        before = known["signals"]
        guessed = {s.name for s in signals if s.guessed}
        kept = {name: said for name, said in orjson.loads(before).items() if name in guessed} if guessed else {}
        described = _text({s.name: kept.get(s.name) or describe(s) for s in signals})
        if described != before or known["rules"] not in ("", rules):
            known["version"] += 1
            if before != _NOTHING:
                _say(machine, known["version"], orjson.loads(before), orjson.loads(described))
        if (described, rules) != (before, known["rules"]):
            known["signals"], known["rules"] = described, rules
            self.changes += 1
        return int(known["version"])

    def accept(self, machine: str, signal: str | None = None) -> list[str]:
        """Forget the types of a signal, or of all of a machine: the next ones count."""
        types = self._machines.get(machine, {}).get("types", {})
        names = [name for name in types if signal in (None, name)]
        for name in names:
            del types[name]
            self._machines[machine].get("wanted", {}).pop(name, None)
        if names:
            self.changes += 1
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
        known = self._machines.setdefault(machine, _nothing())
        if known.get("wanted", {}) != types:
            known["wanted"] = dict(types)
            self.changes += 1
            for signal, now in types.items():
                log.warning(
                    "%s/%s: is %s now and was %s in the store: bad until it is accepted (gateway config types)",
                    machine, signal, now, known["types"].get(signal),
                )  # fmt: skip


def _text(signals: Mapping[str, Any]) -> str:
    """What is said of signals. As dicts they would take 500 bytes each; machines of one profile share the text."""
    return sys.intern(orjson.dumps(signals, option=orjson.OPT_SORT_KEYS).decode())


_NOTHING = _text({})


def _nothing() -> dict[str, Any]:
    """What is known of a new machine; `signals` is a text."""
    return {"version": 0, "signals": _NOTHING, "rules": "", "types": {}, "wanted": {}}


def _checked(saved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Raises ValueError."""
    machines: dict[str, dict[str, Any]] = {}
    for name, known in saved.items():
        if not isinstance(known, dict) or type(known.get("version")) is not int or known["version"] < 0:
            raise ValueError(f"what it says of {name} is broken")
        signals, types, wanted = known.get("signals"), known.get("types"), known.get("wanted", {})
        if not isinstance(signals, dict) or not isinstance(types, dict) or not isinstance(wanted, dict):
            raise ValueError(f"what it says of {name} is broken")
        if not set(types.values()) <= set(_TYPES):
            raise ValueError(f"a type of {name} is not known")
        types = {sys.intern(signal): type_ for signal, type_ in types.items()}
        rules = known.get("rules", "")  # earlier versions had none
        machines[name] = {
            "version": known["version"], "signals": _text(signals), "types": types, "wanted": wanted,
            "rules": rules if isinstance(rules, str) else "",
        }  # fmt: skip
    return machines


def _say(machine: str, version: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    new, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    changed = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("new", new), ("gone", gone), ("changed", changed))
        if names
    ]
    what = "; ".join(parts) or "what is done to their readings has changed"
    log.info("%s: its signals are another version now, %d: %s", machine, version, what)
