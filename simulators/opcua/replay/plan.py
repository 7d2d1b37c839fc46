"""What a server has to be to say once more what a recording tells: its lives, what is in them, when it is away. Pure.

    happenings ─┬─ namespaces that are others than before ─▶ Life: nodes, references, paths, values to begin with
                └─ lost … opened … first values ───────────▶ Outage: nobody is let in

A server that comes back with other namespaces is another server: its node ids mean something else. Whoever was recorded
had no values before his session had read them, so an outage lasts until then; nobody is shown an old value meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncua.ua

from gateway.recording import Entry
from simulators.opcua.replay.services import (
    EVENTS,
    NAMESPACES,
    VALUE,
    Called,
    Event,
    Happening,
    Linked,
    Lost,
    Monitored,
    Opened,
    Past,
    Reached,
    Reference,
    Refused,
    Services,
    Step,
    Subscribed,
    Value,
    texts_of,
)
from simulators.opcua.replay.wire import Name, Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_GIVEN_UP = 500_000_000  # ns before a line is lost in which requests are given up for it
SETTLING = 10 * 10**9  # ns after which a session is believed to have read all its values
# Statuses that say that there is no such node: Part 4, 7.38.2.
NO_NODE = frozenset((int(ua.StatusCodes.BadNodeIdUnknown), int(ua.StatusCodes.BadNodeIdInvalid)))


@dataclass(slots=True)
class Node:
    """All that is known of one."""

    attributes: dict[int, Told] = field(default_factory=dict)  # but for its value
    first: Told | None = None  # value to begin with
    value: Told | None = None  # the same where the replay begins
    there: bool = False  # something was said of it, and not only that it is not there
    raises: bool = False  # events
    refused: int = 0  # the status with which nobody may monitor it
    past: dict[int, Told] = field(default_factory=dict)  # by time


@dataclass(slots=True)
class Life:
    """Of a server, from its start to the next one."""

    begin: int  # ns into the recording
    uris: list[str] = field(default_factory=list)
    nodes: dict[Any, Node] = field(default_factory=dict)
    references: dict[Any, dict[tuple[Any, bool, Any], Reference]] = field(default_factory=dict)
    paths: dict[tuple[Any, tuple[Step, ...]], list[Any]] = field(default_factory=dict)
    calls: dict[Any, int] = field(default_factory=dict)  # methods that were called, and the status that came of it

    def node(self, id: Any) -> Node:
        return self.nodes.setdefault(id, Node())


@dataclass(slots=True)
class Outage:
    """A stretch in which nobody reaches the server."""

    begin: int  # ns into the recording
    end: int | None = None  # None: it never comes back
    life: int = 0  # in which it comes back
    forgotten: bool = False  # its sessions are gone then


@dataclass(slots=True)
class Plan:
    """Of a whole recording."""

    lives: list[Life]
    outages: list[Outage]
    end: int = 0  # ns, of the last entry
    unreadable: int = 0  # entries
    left_out: int = 0  # stretches that a bound on the rate has left out
    refused: list[Refused] = field(default_factory=list)  # services, while the line was there

    def life_at(self, at: int) -> int:
        """Which one it is in at this time."""
        return max((i for i, life in enumerate(self.lives) if life.begin <= at), default=0)


def plan(entries: Iterable[Entry], begin: int = 0, *, ideal: bool = False) -> Plan:
    """`begin`: ns into the recording, where the replay begins. `ideal`: one life, and no outages."""
    services, planning = Services(), _Planning(begin)
    last = 0

    def counted() -> Iterator[Entry]:
        nonlocal last
        for entry in entries:
            last = max(last, entry.at)
            planning.entry(last)
            yield entry

    happenings = services.happenings(counted())
    for happening in one_life(happenings, services) if ideal else happenings:
        planning.take(happening, services.uris)
    planned = planning.finish()
    planned.end, planned.unreadable, planned.left_out = last, services.unreadable, services.left_out
    if ideal:
        planned.outages.clear()
        planned.refused.clear()
    return planned


class _Planning:
    """Goes through what happened."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._plan = Plan([Life(0)], [])
        self._outage: Outage | None = None  # that has not ended yet
        self._opened: int | None = None  # when the session there is began; None: there is none, or it was long ago
        self._settled = 0  # when it had its last first value
        self._settling = False
        self._begins = True  # nothing of this life is settled yet
        self._told: set[Any] = set()
        self._refused: list[tuple[int, Refused]] = []  # with when that was known
        self._last = 0  # entry

    def take(self, happening: Happening, uris: Sequence[str]) -> None:
        life = self._plan.lives[-1]
        match happening:
            case Opened(at):
                self._end_settling()
                self._opened = self._settled = at
                self._settling = True
                self._told.clear()
            case Refused():
                self._refused.append((self._last, happening))
            case Lost(at, why):
                self._end_settling()
                # What was given up as the line was lost is a part of that.
                self._refused = [
                    each for each in self._refused if each[1].status is not None or each[0] < at - _GIVEN_UP
                ]
                self._opened = None
                if why and self._outage is None:
                    self._outage = Outage(at)
                    self._plan.outages.append(self._outage)
            case Subscribed(at):
                if self._plan.outages and self._opened is not None and at <= self._opened + SETTLING:
                    last = self._plan.outages[-1]
                    last.forgotten |= last is self._outage or (last.end or 0) >= self._opened
            case Value(at, node, attribute, told, reported):
                if node == NAMESPACES and attribute == VALUE:
                    self._know(at, uris)
                elif attribute == VALUE:
                    self._value(life, at, node, told)
                else:
                    _attribute(life.node(node), attribute, told)
                if reported:
                    life.node(node).there = True
            case Monitored(_, node, attribute, status):
                _monitored(life.node(node), attribute, status)
            case Linked(_, node, reference):
                life.node(node).there = life.node(reference.target).there = True
                key = reference.type, reference.forward, reference.target
                there = life.references.setdefault(node, {})
                there[key] = _better(there.get(key), reference)
            case Reached(_, start, steps, target):
                life.node(target).there = True
                targets = life.paths.setdefault((start, tuple(steps)), [])
                if target not in targets:
                    targets.append(target)
            case Event(_, node, _):
                life.node(node).there = life.node(node).raises = True
            case Called(_, method, status):
                life.calls[method] = status
            case Past(_, node, values):
                known = life.node(node)
                known.there = True
                known.past.update((when, told) for told in values if (when := told.source or told.server))

    def entry(self, at: int) -> None:
        """What is taken next was told then."""
        self._last = at

    def finish(self) -> Plan:
        self._end_settling()
        self._plan.refused = [each for _, each in self._refused if each.service != "Publish" or each.status is not None]
        return self._plan

    def _value(self, life: Life, at: int, node: Any, told: Told) -> None:
        if self._settling and node.NamespaceIndex:
            if node in self._told or (self._opened or 0) + SETTLING < at:
                self._end_settling()
            else:
                self._told.add(node)
                self._settled = at
        known = life.node(node)
        known.there |= told.code not in NO_NODE
        settling = self._settling and self._begins
        if known.first is None or settling:
            known.first = told
        if known.value is None or settling or at <= self._begin:
            known.value = told

    def _end_settling(self) -> None:
        if self._settling and self._outage is not None:
            self._outage.end, self._outage.life = self._settled, len(self._plan.lives) - 1
            self._outage = None
        self._begins &= not self._settling
        self._settling = False

    def _know(self, at: int, uris: Sequence[str]) -> None:
        """The namespaces. A server that runs may get more of them."""
        life = self._plan.lives[-1]
        known = min(len(life.uris), len(uris))
        if life.uris[:known] == list(uris)[:known]:
            life.uris = list(uris) if len(uris) > known else life.uris
            return
        begin = at if self._opened is None else self._opened
        self._plan.lives.append(Life(begin, list(uris)))
        self._begins = True
        if self._outage is None:  # nobody has seen it go
            self._outage = Outage(begin)
            self._plan.outages.append(self._outage)
            self._settling, self._settled = True, at
        self._outage.life, self._outage.forgotten = len(self._plan.lives) - 1, True


def _attribute(node: Node, attribute: int, told: Told) -> None:
    """What was good stays: later it may be refused for another reason."""
    if told.code >> 31 and not (node.attributes.get(attribute) or told).code >> 31:
        return
    node.attributes[attribute] = told
    node.there |= told.code not in NO_NODE


def _monitored(node: Node, attribute: int, status: int) -> None:
    if status in NO_NODE:
        if attribute == VALUE and node.value is None:
            node.first = node.value = Told(status=status)
        return
    node.there = True
    node.raises |= attribute == EVENTS and not status >> 31
    # Whoever was let in at last may come in: it was a filter that was refused before, perhaps.
    node.refused = status if status >> 31 else 0


def _better(known: Reference | None, new: Reference) -> Reference:
    """What both say together."""
    if known is None:
        return new
    return Reference(*(a or b for a, b in zip(new, known, strict=True)))


# --- one life out of several -----------------------------------------------------------------------------------------


def one_life(happenings: Iterable[Happening], services: Services) -> Iterator[Happening]:
    """As if the namespaces had never moved: nodes by the indexes of the first array, with those that came later behind."""
    uris: list[str] = []
    index: list[int] = []
    for happening in happenings:
        if isinstance(happening, Value) and happening.node == NAMESPACES and (now := texts_of(happening.told.variant)):
            uris += [uri for uri in now if uri not in uris]
            index = [uris.index(uri) for uri in now]
            services.uris = list(uris)
        yield happening if index == list(range(len(index))) else _moved(happening, index)


def _moved(happening: Happening, index: Sequence[int]) -> Happening:
    def moved(id: Any) -> Any:
        if id is None or not 0 < id.NamespaceIndex < len(index):
            return id
        return ua.NodeId(id.Identifier, index[id.NamespaceIndex], id.NodeIdType)

    def named(name: Name) -> Name:
        return Name(index[name.namespace], name.text) if 0 < name.namespace < len(index) else name

    match happening:
        case Linked(at, node, reference):
            type, forward, target, name, shown, node_class, definition = reference
            return Linked(
                at,
                moved(node),
                Reference(
                    moved(type), forward, moved(target), name and named(name), shown, node_class, moved(definition)
                ),
            )
        case Reached(at, start, steps, target):
            walked = [Step(moved(step.type), step.forward, named(step.name)) for step in steps]
            return Reached(at, moved(start), walked, moved(target))
        case Value() | Monitored() | Event() | Past():
            return happening._replace(node=moved(happening.node))
    return happening
