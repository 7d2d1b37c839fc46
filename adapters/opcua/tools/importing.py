"""From an address space to YAML that runs as it is. Pure.

    tree, descriptions ─▶ machines ─▶ per variable: left out, with the reason ─┐
                                                    its signals ───────────────┴─▶ connections, machines, namespaces, signals
Nothing is guessed: a unit, a range, the texts of states come from the server, a counter is one where a specification says so.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.opcua.browsing import VARIABLE, QualifiedName, Structure, Text
from adapters.opcua.structures.definitions import Definitions, Record
from adapters.opcua.structures.field_path import Path, parse_field, path_text
from adapters.opcua.structures.picking import declared, declared_code
from adapters.opcua.tools import companion
from adapters.opcua.tools.companion import Machine, Types
from adapters.opcua.tools.crawl import Tree
from adapters.opcua.tools.describe import READABLE, STRUCTURE, Description
from adapters.opcua.tools.names import Names, machine_name, word
from adapters.opcua.tools.opened import leaves
from adapters.opcua.tools.written import Written
from adapters.opcua.units import ucum
from adapters.opcua.wire import KINDS
from gateway.config.yaml_text import comment, scalar, section, signals_text
from gateway.model import ValueType, quality_text

_ABSTRACT: dict[int, ValueType] = {
    26: "float",
    27: "int",
    28: "int",
    29: "int",
}  # Number, Integer, UInteger, Enumeration
_WIDEST = 1e30  # a range beyond is that of the type, not of the machine
_MOST_TEXTS = 200
# The server does not have it, or not for us: nothing that passes.
_NOT_FOR_US = frozenset((0x80340000, 0x80330000, 0x80350000, 0x803A0000, 0x801F0000, 0x80730000, 0x803D0000))
_SAYS_NOTHING = ("MachineryBuildingBlocks",)  # only holds others together
_EVENTS = ("_severity", "_source", "_message", "_state")


@dataclass(slots=True)
class Options:
    """How it is to be written."""

    connection: str  # its name
    stanza: Mapping[str, Any] | None  # what it is; None: it is in the configuration already
    source: str  # where it comes from, for the first line
    machine: str | None = None  # the name of the machine, where there is one
    roots: Sequence[int] = ()  # nodes that are machines because somebody said so
    taken: Sequence[str] = ()  # names of machines that there are
    paths: bool = False
    everything: bool = False
    events: bool = False
    max_elements: int = 64


@dataclass(slots=True)
class Imported:
    """What came out."""

    text: str = ""
    signals: int = 0
    machines: list[str] = field(default_factory=list)  # name, and what was recognised
    left_out: Counter[str] = field(default_factory=Counter)
    numeric: int = 0  # signals whose node id is a number: it may be another one after a download


@dataclass(slots=True)
class _Signal:
    way: list[str]
    settings: dict[str, Any]
    elements: int = 0  # with `count`
    events: bool = False


def imported(
    tree: Tree,
    described: Mapping[int, Description],
    types: Types,
    definitions: Definitions,
    written: Written,
    options: Options,
    before: Sequence[QualifiedName] = (),
) -> Imported:
    """The YAML of everything that is meant in a tree. `before`: the way to where the tree begins."""
    return _Import(tree, described, types, definitions, written, options, list(before)).whole()


class _Import:
    def __init__(
        self,
        tree: Tree,
        described: Mapping[int, Description],
        types: Types,
        definitions: Definitions,
        written: Written,
        options: Options,
        before: list[QualifiedName],
    ) -> None:
        self._tree, self._described, self._types, self._definitions = tree, described, types, definitions
        self._written, self._options, self._before = written, options, before
        self._found = Imported()
        self._ambiguous = _ambiguous(tree)

    def whole(self) -> Imported:
        """All machines."""
        options, found = self._options, self._found
        machines = self._machines()
        names = Names(options.taken)
        body = ""
        for machine, variables in machines:
            text = self._machine(machine, variables, names, len(machines) == 1)
            body += text
        head = [f"made from {options.source} by gateway opcua import"]
        head += [f"{machine}" for machine in found.machines]
        head += [f"left out: {count} {what}" for what, count in sorted(found.left_out.items())]
        found.text = comment(head)
        if options.stanza is not None:
            found.text += "version: 1\n\nconnections:\n"
            found.text += f"  {scalar(options.connection)}: {scalar(options.stanza)}\n\n"
        found.text += f"machines:\n{body}" if body else "machines: {}\n"
        return found

    # --- machines --------------------------------------------------------------------------------------------------

    def _machines(self) -> list[tuple[Machine, list[int]]]:
        """Each machine with its variables; last what belongs to none."""
        tree = self._tree
        known = {m.root: m for m in companion.machines(tree, self._types, self._written.uris)}
        for i in self._options.roots:
            known.setdefault(i, Machine(i))
        texts = {i: _shown(d) for i, d in self._described.items() if tree.nodes[i].node_class == VARIABLE}
        for machine in known.values():
            companion.identify(tree, machine, texts)
        of: dict[int, list[int]] = defaultdict(list)
        rest: list[int] = []
        for i in tree.order():
            if i not in self._described:
                continue
            root = next((at for at in reversed((0, *tree.way(i))) if at in known), None)
            (rest if root is None else of[root]).append(i)
        machines = [(known[root], of[root]) for root in of]
        wanted = [i for i in rest if tree.nodes[i].node_class != VARIABLE or not self._why_not(i, False)]
        if wanted:
            tops = companion.roots(tree, wanted)
            machines.append((Machine(tops[0] if len(tops) == 1 else 0), rest))
        else:
            self._count(rest)
        return machines

    def _count(self, left_out: Sequence[int]) -> None:
        for i in left_out:
            if self._tree.nodes[i].node_class == VARIABLE:
                self._found.left_out[self._why_not(i, False)] += 1

    def _machine(self, machine: Machine, variables: Sequence[int], names: Names, alone: bool) -> str:
        """The YAML of one machine; nothing where it has no signals."""
        tree, written = self._tree, self._written
        written.forget()
        signals = Names()
        made: dict[str, dict[str, Any]] = {}
        for i in variables:
            for signal in self._signals(machine, i):
                parts = (
                    [f"_{n}" for n in range(signal.elements)] if signal.elements else _EVENTS if signal.events else [""]
                )
                made[signals.of(signal.way, parts)] = signal.settings
                self._found.signals += signal.elements or (len(_EVENTS) if signal.events else 1)
        if not made:
            return ""
        steps = [tree.nodes[at].name.name for at in tree.way(machine.root)] or [step.name for step in self._before]
        identity = machine.identity
        of_identity = " ".join(filter(None, (identity.get("Model"), identity.get("SerialNumber"))))
        given = self._options.machine if alone else None
        own = given or (
            machine_name(steps, of_identity) if steps else machine_name([self._options.connection], "machine")
        )
        name = given or names.of([own], otherwise="machine")
        recognised = f": {', '.join(machine.specifications)}" if machine.specifications else ""
        self._found.machines.append(f"{name}{recognised}, {len(made)} signal{'s' * (len(made) != 1)}")
        head: dict[str, Any] = {"connection": self._options.connection}
        if machine.description:
            head["description"] = _line(machine.description, 500)
        text = f"  {scalar(name)}:\n" + section(head, 4)
        if used := written.used:
            text += "    namespaces:\n" + section(used, 6)
        return text + "    signals:\n" + signals_text(made, 6)

    # --- signals ---------------------------------------------------------------------------------------------------

    def _signals(self, machine: Machine, i: int) -> Iterator[_Signal]:
        """Of one node, as many as it takes."""
        node, d = self._tree.nodes[i], self._described[i]
        way = self._way(machine, i)
        if node.node_class != VARIABLE:
            if self._options.events and d.notifier and (where := self._where(i)):
                yield _Signal([*way, "events"] if way else ["events"], {**where, "events": True}, events=True)
            return
        why = self._why_not(i, bool(machine.specifications))
        if not why:
            where = self._where(i)
            if where is None:
                why = "with a node id that cannot be written"
            else:
                signals = list(self._of_value(i, d, where, way))
                if signals:
                    self._found.numeric += len(signals) * (
                        "node" in where and node.id.kind == "i" and node.id.namespace > 0
                    )
                    yield from signals
                    return
                why = self._no_signal(d)
        self._found.left_out[why] += 1

    def _why_not(self, i: int, recognised: bool) -> str:
        d = self._described[i]
        if not d.access & READABLE:
            return "that cannot be read"
        if d.value.status in _NOT_FOR_US:
            return f"that cannot be read: {quality_text(d.value.status)}"
        return "" if self._options.everything else companion.why_not(self._tree, self._types, i, recognised)

    def _no_signal(self, d: Description) -> str:
        value = d.value.value
        if isinstance(value, list):
            return "arrays without an element" if not value else "arrays that are too long; --max-elements"
        if isinstance(value, Structure):
            return "structures the server does not describe"
        if isinstance(value, (Record, Mapping)):
            return "structures with too many values; --max-elements"
        return "structures without a value" if value is None else "of a type that is no value"

    def _way(self, machine: Machine, i: int) -> list[str]:
        """The browse names below the machine."""
        way = self._tree.way(i)
        if machine.root in way:
            way = way[way.index(machine.root) + 1 :]
        steps = [name for at in way if (name := self._tree.nodes[at].name.name) not in _SAYS_NOTHING]
        return steps if machine.root or not self._before else [*(step.name for step in self._before[1:]), *steps]

    def _where(self, i: int) -> dict[str, Any] | None:
        """`node` or `path`."""
        tree = self._tree
        if self._options.paths and not self._ambiguous & set(tree.way(i)):
            path = self._written.path([*self._before, *(tree.nodes[at].name for at in tree.way(i))])
            if path is not None:
                return {"path": path}
        node = self._written.node(tree.nodes[i].id)
        return None if node is None else {"node": node}

    def _of_value(self, i: int, d: Description, where: dict[str, Any], way: list[str]) -> Iterator[_Signal]:
        """By the shape of the value."""
        value, most = d.value.value, self._options.max_elements
        about = self._about(i, d)
        if isinstance(value, (Record, Mapping)) or (isinstance(value, list) and _is_nested(value)):
            parts = list(leaves(value))
            if len(parts) <= most:
                units = dict(_units(value))
                of_units = {place for place, _ in units.values()}
                for path, leaf in parts:
                    signal = None if path[:-1] in of_units else self._part(d, path, leaf, where, way, about)
                    if signal is None:
                        continue
                    if (
                        path[:-1] in units
                        and units[path[:-1]][1]
                        and "enum" not in signal.settings
                        and _is_number(signal, path)
                    ):
                        signal.settings["unit"] = units[path[:-1]][1]
                    yield signal
        elif isinstance(value, list):
            kind = KINDS[d.value.type] if d.value.type else None
            if kind and 0 < len(value) <= most:
                yield _Signal(
                    way, {**where, "count": len(value), "type": kind, **self._numbers(i, d, kind), **about}, len(value)
                )
        elif kind := _kind(d):
            yield _Signal(way, {**where, "type": kind, **self._numbers(i, d, kind), **about})

    def _part(
        self, d: Description, path: Path, leaf: Any, where: dict[str, Any], way: list[str], about: dict[str, Any]
    ) -> _Signal | None:
        """One scalar in a structure or matrix."""
        kind = _kind_of(leaf)
        type = declared(d.data_type, path, self._definitions) if d.data_type else None
        texts: Mapping[int, str] = {}
        if type is not None:
            kind = kind or KINDS[declared_code(type, self._definitions)]
            texts = self._definitions.texts(type)
        text = path_text(path)
        if kind is None or parse_field(text) != path:
            return None
        settings = {**where, "field": text, "type": kind}
        if kind == "int" and texts:
            settings["enum"] = dict(list(texts.items())[:_MOST_TEXTS])
        elif d.unit and not any(isinstance(step, str) for step in path):
            settings["unit"] = d.unit
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        if name and kind in ("int", "float") and self._is_counter(d, name):
            settings["kind"] = "counter"
        return _Signal(_steps([*(way or ["value"]), *path]), {**settings, **about})

    def _is_counter(self, d: Description, name: str) -> bool:
        namespace = d.data_type.namespace if d.data_type else 0
        return companion.counts(self._written.uris, QualifiedName(namespace, name))

    def _numbers(self, i: int, d: Description, kind: ValueType) -> dict[str, Any]:
        """Unit, range, states, kind: what a number means."""
        if d.states and kind in ("int", "bool"):
            return {"enum": {n: _line(t, 100) for n, t in list(d.states.items())[:_MOST_TEXTS]}}
        if kind not in ("int", "float"):
            return {}
        found: dict[str, Any] = {"unit": _line(d.unit, 64)} if d.unit else {}
        if span := _range(d):
            found["range"] = list(span)
        if companion.counts(self._written.uris, self._tree.nodes[i].name):
            found["kind"] = "counter"
        return found

    def _about(self, i: int, d: Description) -> dict[str, Any]:
        node = self._tree.nodes[i]
        line, name = _line(d.text or node.display, 500), _line(node.name.name, 500)
        if (line == name and word(name)) or not (line or name):
            return {}
        return {"description": line or name}


def _steps(path: Sequence[str | int]) -> list[str]:
    """`("Axes", 1, "Position")` as parts of a name: Axes_1, Position."""
    steps: list[str] = []
    for step in path:
        if isinstance(step, str):
            steps.append(step)
        else:
            steps[-1] += f"_{step}"  # a name comes first
    return steps


def _units(value: Any, path: Path = ()) -> Iterator[tuple[Path, tuple[Path, str]]]:
    """Structures that hold the unit of their numbers: the way to each, to the EUInformation in it, and the unit."""
    items: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, Record):
        items = list(zip(value.layout.names, value.values, strict=True))
    elif isinstance(value, list):
        items = list(enumerate(value))
    for name, each in items:
        if isinstance(each, Record) and each.layout.name == "EUInformation":
            namespace, id, shown, _ = each.values
            yield path, ((*path, name), _line(ucum(namespace, id, shown), 64))
        else:
            yield from _units(each, (*path, name))


def _is_number(signal: _Signal, path: Path) -> bool:
    return signal.settings["type"] in ("int", "float") and str(path[-1]).lower() != "id"


def _ambiguous(tree: Tree) -> set[int]:
    """Nodes that have a sibling of the same name: a path would lead to either."""
    by_name: dict[tuple[int, QualifiedName], list[int]] = defaultdict(list)
    for i, node in enumerate(tree.nodes):
        by_name[node.parent, node.name].append(i)
    return {i for same in by_name.values() if len(same) > 1 for i in same}


def _is_nested(value: Sequence[Any]) -> bool:
    return any(isinstance(each, (Record, Mapping, list)) for each in value)


def _kind(d: Description) -> ValueType | None:
    """What the values of a scalar are, as the gateway will find them."""
    built_in = d.type.built_in if d.type else 0
    if built_in == STRUCTURE or isinstance(d.value.value, Structure):
        return None
    return _ABSTRACT.get(built_in) or (KINDS[d.value.type] if d.value.type else KINDS[built_in])


def _kind_of(leaf: Any) -> ValueType | None:
    if isinstance(leaf, bool):
        return "bool"
    for kind, type in (("int", int), ("float", float), ("string", str)):
        if isinstance(leaf, type):
            return kind  # type: ignore[return-value]  # one of ValueType
    return "string" if isinstance(leaf, (bytes, UUID, datetime, Text, QualifiedName)) else None


def _range(d: Description) -> tuple[float, float] | None:
    """What is plausible: EURange, or InstrumentRange where the value is outside of it (Part 8, 5.3.2.3: it may be)."""
    for span in (d.range, d.instrument_range):
        if span is None or not (math.isfinite(span.low) and math.isfinite(span.high)):
            continue
        if not span.low < span.high or span.high - span.low >= _WIDEST:
            continue
        values = d.value.value if isinstance(d.value.value, list) else [d.value.value]
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if all(span.low <= number <= span.high for number in numbers):
            return span.low, span.high
    return None


def _shown(d: Description) -> str:
    value = d.value.value
    text = getattr(value, "text", value)
    return _line(str(text), 100) if d.value.good and isinstance(text, (str, int)) else ""


def _line(text: str, longest: int) -> str:
    """One line that can be printed."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
