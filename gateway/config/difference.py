"""What is different between two configurations, and what each difference needs to come into force. Pure.

    difference(in_force, wanted) ─▶ Difference ─▶ str(change)       "machines.press-07.poll: 500ms → 1s"
                                             ├─▶ connections        to be built anew; no other one is touched
                                             └─▶ restart            what only a new start takes over

It compares what is in force, not how it is written: a line that moved from a profile into the machine is no difference. A
secret is compared, and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, WithJsonSchema

from gateway.config.fields import Secret, with_unit
from gateway.config.load import Configuration
from gateway.config.schema import as_written
from gateway.config.settings import Settings
from gateway.hiding import HIDDEN

Kind = Literal["added", "removed", "changed"]
Need = Literal["nothing", "signals", "connection", "link", "writer", "page", "restart"]
"""What it takes: nothing but a new value; what is worked out of a machine made anew; a connection built anew; a new link to
the broker; the store writer started anew; the page moved; the whole gateway started anew."""

SHOWN = 120  # characters of a value
MOST = 1000  # lines

# Keys of a machine that are not read from it; all others need its connection.
_OF_MACHINE: Mapping[str, Need] = {
    "description": "nothing",
    "priority": "nothing",
    "profile": "nothing",  # what it brings is compared itself
    "parameters": "nothing",
    "computed": "signals",
    "state": "signals",
    "kpi": "signals",
    "calendar": "signals",
}
_OF_SECTION: Mapping[str, Need] = {
    "version": "nothing",
    "gateway": "restart",
    "site": "signals",  # a place that moved shows at its machines
    "defaults": "nothing",  # what inherits them is compared itself
    "calendars": "signals",
    "mqtt": "link",
    "buffer": "nothing",
    "store": "writer",
    "web": "page",
}
_OF_KEY: Mapping[str, Need] = {"gateway.watch": "nothing", "mqtt.root": "restart"}
_SIGNALS = ("signals",)
# The page looks at its certificate by itself, and needs no other start for a new one.
_OF_CONTENT: Mapping[str, Need] = {"mqtt": "link", "store": "writer", "web": "nothing"}


_EMPTY = '""'


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `old` and `new` as one would write them; "" where there is none, `***` for a secret."""

    where: str
    kind: Kind
    needs: Need
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        if self.kind != "changed":
            return f"{self.where}: {self.kind}"
        if HIDDEN in (self.old, self.new):
            return f"{self.where}: changed"
        return f"{self.where}: {self.old or _EMPTY} → {self.new or _EMPTY}"


@dataclass(frozen=True, slots=True)
class Difference:
    """All of them."""

    changes: tuple[Change, ...] = ()
    connections: frozenset[str] = frozenset()  # that are new, gone, or to be built anew
    added: frozenset[str] = frozenset()  # machines
    removed: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()  # machines in both, in any of their keys or in their place
    derived: frozenset[str] = frozenset()  # machines of which what is worked out is made anew

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def needs(self) -> frozenset[Need]:
        """What all of it takes."""
        return frozenset(change.needs for change in self.changes)

    @property
    def sections(self) -> frozenset[str]:
        """The sections in which something changed, machines and connections aside."""
        return frozenset(change.where.partition(".")[0] for change in self.changes) - {"machines", "connections"}

    @property
    def restart(self) -> tuple[str, ...]:
        """What only a restart takes over, in words."""
        return tuple(str(change) for change in self.changes if change.needs == "restart")

    @property
    def alive(self) -> bool:
        """Whether there is anything that can be taken over without a restart."""
        return any(change.needs != "restart" for change in self.changes)

    @property
    def touched(self) -> list[str]:
        """The connections that are built anew and the sections that are taken over: what a person will see."""
        sections = sorted({c.where.partition(".")[0] for c in self.changes if c.needs != "restart"})
        connections = [f"connections.{name}" for name in sorted(self.connections)]
        return connections + [each for each in sections if each not in ("connections", "machines")]

    def lines(self) -> list[str]:
        """For people; what is very much is cut."""
        lines = [str(change) for change in self.changes[:MOST]]
        return lines if len(self.changes) <= MOST else [*lines, f"… and {len(self.changes) - MOST} more"]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "changes": [
                {"where": c.where, "kind": c.kind, "old": c.old, "new": c.new, "needs": c.needs}
                for c in self.changes[:MOST]
            ],
            "touched": self.touched,
            "restart": list(self.restart),
        }


def difference(old: Configuration, new: Configuration) -> Difference:
    """What it takes to get from one configuration to another."""
    changes = [*_sections(old, new), *_connections(old, new)]
    machines, connections, changed, derived = _machines(old, new)
    connections |= {
        change.where.split(".", 1)[1] for change in changes if change.kind != "changed" and _is_link(change)
    }
    connections |= {name for name in old.connections.keys() & new.connections.keys() if old.connections[name] != new.connections[name]}  # fmt: skip
    if old.settings.calendars != new.settings.calendars or old.settings.site != new.settings.site:
        derived |= {name for name, machine in new.machines.items() if machine.derived and name in old.machines}
    if old.settings.delivery != new.settings.delivery and not any(change.needs == "link" for change in changes):
        changes.append(Change("mqtt.delivery", "changed", "link", old.settings.delivery, new.settings.delivery))
    return Difference(
        (*changes, *machines),
        # One without machines is read by nobody.
        frozenset(name for name in connections if old.machines_of(name) or new.machines_of(name)),
        frozenset(new.machines.keys() - old.machines.keys()),
        frozenset(old.machines.keys() - new.machines.keys()),
        frozenset(changed),
        frozenset(derived),
    )


def named_files(configuration: Configuration) -> dict[str, Path]:
    """Certificates and keys that a configuration names, by where it does: `mqtt.ca`, `connections.line-1.user_key`."""
    settings = configuration.settings
    parts: dict[str, BaseModel | None] = {"mqtt": settings.mqtt, "store": settings.store, "web": settings.web}
    parts |= {f"connections.{name}": connection for name, connection in configuration.connections.items()}
    return {
        f"{at}.{key}": configuration.resolve(value)
        for at, part in parts.items()
        if part is not None
        for key, value in part
        if isinstance(value, Path) and f"{at}.{key}" != "store.path"
    }


def with_contents(found: Difference, new: Configuration, others: Mapping[str, Path]) -> Difference:
    """The same, and that these files that `new` names have another content, though it names them as before."""
    told = {change.where for change in found.changes}
    fresh = [(where, where.rpartition(".")[0], file) for where, file in others.items() if where not in told]
    changes = [
        Change(
            where,
            "changed",
            _OF_CONTENT.get(at.partition(".")[0], "connection"),
            file.name,
            f"{file.name} (other content)",
        )
        for where, at, file in fresh
    ]
    connections = {at.partition(".")[2] for _, at, _ in fresh if at.startswith("connections.")}
    used = {name for name in connections if new.machines_of(name)}
    return replace(found, changes=(*found.changes, *changes), connections=found.connections | used)


def in_force(old: Configuration, new: Configuration) -> Configuration:
    """The new configuration but for what only a restart takes over: that stays as it is."""
    was, now = old.settings, new.settings
    gateway = was.gateway.model_copy(update={"watch": now.gateway.watch})
    settings = now.model_copy(update={"gateway": gateway, "mqtt": now.mqtt.model_copy(update={"root": was.mqtt.root})})
    return replace(new, settings=settings)


def _is_link(change: Change) -> bool:
    return change.where.startswith("connections.")


def _sections(old: Configuration, new: Configuration) -> Iterator[Change]:
    for section in Settings.model_fields:
        if section in ("connections", "machines"):
            continue
        was, now = getattr(old.settings, section), getattr(new.settings, section)
        for change in _compare(section, was, now, "", _OF_SECTION.get(section, "restart")):
            yield replace(change, needs=_OF_KEY.get(change.where, change.needs))


def _connections(old: Configuration, new: Configuration) -> Iterator[Change]:
    for name in _names(old.connections, new.connections):
        at = f"connections.{name}"
        if name not in new.connections:
            yield Change(at, "removed", "connection")
        elif name not in old.connections:
            yield Change(at, "added", "connection")
        else:
            yield from _without(
                _compare(at, old.connections[name], new.connections[name], "", "connection"), _inherited(old, new), at
            )


def _machines(old: Configuration, new: Configuration) -> tuple[list[Change], set[str], set[str], set[str]]:
    changes: list[Change] = []
    connections: set[str] = set()
    changed: set[str] = set()
    derived: set[str] = set()
    inherited = _inherited(old, new)
    for name in _names(old.machines, new.machines):
        at, was, now = f"machines.{name}", old.machines.get(name), new.machines.get(name)
        if was is None or now is None:
            changes.append(Change(at, "added" if was is None else "removed", "connection"))
            connections |= {machine.connection for machine in (was, now) if machine is not None}
            continue
        moved = old.path_of(name) != new.path_of(name)
        if was is now or (was == now and type(was) is type(now) and not moved):
            continue
        found = list(_machine(at, was, now))
        changed.add(name)
        if moved and not any(change.where in (f"{at}.area", f"{at}.line") for change in found):
            places = ("/".join(each.path_of(name).levels()) for each in (old, new))
            found.append(Change(f"{at} (its place)", "changed", "connection", *places))
        if moved or any(change.needs == "connection" for change in found):
            connections |= {was.connection, now.connection}
        if moved or any(change.needs == "signals" for change in found):
            derived.add(name)
        changes += _without(found, inherited, at)
    return changes, connections, changed, derived


def _machine(at: str, was: BaseModel, now: BaseModel) -> Iterator[Change]:
    """Of what a machine says for all its signals, the signals do not say it once more."""
    said: dict[str, tuple[str, str]] = {}
    for key in dict.fromkeys([*type(was).model_fields, *type(now).model_fields]):
        old, new = getattr(was, key, None), getattr(now, key, None)
        for change in _compare(f"{at}.{key}", old, new, _quantity(type(now), key), _OF_MACHINE.get(key, "connection")):
            last = change.where.rpartition(".")[2]
            if change.where == f"{at}.{key}":
                said[key] = change.old, change.new
            elif key in _SIGNALS and said.get(last) == (change.old, change.new):
                continue
            yield change


def _inherited(old: Configuration, new: Configuration) -> dict[str, tuple[str, str]]:
    """What changed in `defaults`: those that have it from there do not say it once more."""
    found = _compare("defaults", old.settings.defaults, new.settings.defaults, "", "nothing")
    return {change.where.rpartition(".")[2]: (change.old, change.new) for change in found}


def _without(
    changes: Iterator[Change] | list[Change], inherited: Mapping[str, tuple[str, str]], at: str
) -> list[Change]:
    return [
        change
        for change in changes
        if change.where.rpartition(".")[0] != at
        or inherited.get(change.where.rpartition(".")[2]) != (change.old, change.new)
    ]


def _compare(at: str, old: Any, new: Any, quantity: str, needs: Need) -> Iterator[Change]:
    """Key by key, as deep as both have the same shape."""
    if old is new:
        return
    if isinstance(old, BaseModel) and type(old) is type(new):
        if old != new:
            for key in type(old).model_fields:
                yield from _compare(
                    f"{at}.{key}", getattr(old, key), getattr(new, key), _quantity(type(old), key), needs
                )
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in _names(old, new):
            if key not in new:
                yield Change(f"{at}.{key}", "removed", needs)
            elif key not in old:
                yield Change(f"{at}.{key}", "added", needs)
            else:
                yield from _compare(f"{at}.{key}", old[key], new[key], quantity, needs)
    elif old is None and isinstance(new, BaseModel):
        yield Change(at, "added", needs)
    elif new is None and isinstance(old, BaseModel):
        yield Change(at, "removed", needs)
    elif type(old) is not type(new) or old != new:
        yield Change(at, "changed", needs, _text(old, quantity), _text(new, quantity))


def _names(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> list[Any]:
    """The keys of both, in the order of the new one, what is gone at the end."""
    return list(dict.fromkeys([*new, *old]))


def _text(value: Any, quantity: str) -> str:
    """As one would write it."""
    if _is_secret(value):
        return HIDDEN
    if quantity and isinstance(value, int | float) and not isinstance(value, bool):
        text = with_unit(value, quantity)
    elif value is None:
        text = "none"
    else:
        text = as_written(_plain(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _is_secret(value: Any) -> bool:
    """Also one that is somewhere inside."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, BaseModel):
        return any(map(_is_secret, dict(value).values()))
    if isinstance(value, Mapping):
        return any(map(_is_secret, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_secret, value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {key: _plain(each) for key, each in dict(value).items() if key in value.model_fields_set}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@cache
def _quantity(model: type[BaseModel], key: str) -> str:
    """`duration` or `size` where the key is one: it is kept as a number, and nobody writes it so."""
    field = model.model_fields.get(key)
    if field is None:
        return ""
    return next(filter(None, map(_comment, [*field.metadata, *_inner(field.annotation)])), "")


def _inner(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for each in get_args(annotation):
        yield from _inner(each)


def _comment(part: Any) -> str:
    schema = part.json_schema if isinstance(part, WithJsonSchema) else None
    comment = (schema or {}).get("$comment", "")
    return comment if comment in ("duration", "size") else ""
