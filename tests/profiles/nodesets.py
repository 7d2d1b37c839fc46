"""Companion models as they are published: what stands below a type, whoever defines it.

type ─ HasSubtype ─▶ the types above it          object, variable ─ HasTypeDefinition ─▶ its type
  └─ HasComponent, HasProperty, Organizes … ─▶ objects and variables, each found by its browse name
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

UA = "http://opcfoundation.org/UA/"
_XML = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"

Id = tuple[str, str]
"""Namespace URI and identifier, as in ("http://opcfoundation.org/UA/", "i=58")."""
Name = tuple[str, str]
"""Namespace URI and browse name."""

# Part 5 and Part 6 (NodeIds.csv): references, and the types of the standard that matter here.
HIERARCHICAL = {(UA, "i=47"), (UA, "i=46"), (UA, "i=35"), (UA, "i=49"), (UA, "i=17604")}
HAS_SUBTYPE, HAS_TYPE = (UA, "i=45"), (UA, "i=40")
ANALOG = {(UA, "i=2368"), (UA, "i=17497"), (UA, "i=17570")}  # AnalogItemType, AnalogUnitType, AnalogUnitRangeType
STATES = {(UA, "i=2307"), (UA, "i=2309")}  # StateType, InitialStateType
DURATION, ENUMERATION = (UA, "i=290"), (UA, "i=29")
TYPES = {
    "i=1": "bool", **dict.fromkeys(("i=2", "i=3", "i=4", "i=5", "i=6", "i=7", "i=8", "i=9", "i=27", "i=28"), "int"),
    "i=10": "float", "i=11": "float", "i=290": "float", "i=12": "string", "i=21": "string",
}  # fmt: skip


@dataclass(slots=True)
class Node:
    """A node of a nodeset."""

    id: Id
    kind: str  # UAObject, UAVariable, UAObjectType …
    name: Name
    data_type: Id | None
    is_array: bool
    notifies: bool  # an object with events
    references: list[tuple[Id, bool, Id]]  # type, forward, the other node
    fields: dict[str, str] = field(
        default_factory=dict
    )  # of a data type: with the value of an enumeration, or its type

    @property
    def is_placeholder(self) -> bool:
        return "<" in self.name[1]

    def may_be_called(self, name: Name) -> bool:
        """Whether an instance may have this name: of a placeholder, whatever stands for what is in <…>."""
        if not self.is_placeholder:
            return name == self.name
        pattern = "".join(
            ".+" if part.startswith("<") else re.escape(part) for part in re.split("(<[^>]*>)", self.name[1])
        )
        return re.fullmatch(pattern, name[1]) is not None


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to: the nodes on the way, and the field of a structure it ends in."""

    steps: Sequence[Node]
    field: str = ""

    @property
    def node(self) -> Node:
        return self.steps[-1]


class Nodesets:
    """All nodesets of a folder together."""

    def __init__(self, folder: Path) -> None:
        self.nodes: dict[Id, Node] = {}
        for file in sorted(folder.glob("*.xml")):
            for node in _nodes_of(file):
                self.nodes[node.id] = node

    @cached_property
    def _below(self) -> dict[Id, list[Id]]:
        found: dict[Id, dict[Id, None]] = {}
        for node in self.nodes.values():
            for kind, forward, other in node.references:
                if kind in HIERARCHICAL:
                    above, below = (node.id, other) if forward else (other, node.id)
                    found.setdefault(above, {})[below] = None
        return {above: [each for each in below if each in self.nodes] for above, below in found.items()}

    def type(self, uri: str, name: str) -> Node:
        """A type by its name."""
        [found] = [n for n in self.nodes.values() if n.name == (uri, name) and n.kind in ("UAObjectType", "UADataType")]
        return found

    def above(self, id: Id) -> Iterator[Id]:
        """A type and all that it is derived from."""
        left: Id | None = id
        while left is not None:
            yield left
            node = self.nodes.get(left)
            ups = (
                (other for kind, forward, other in node.references if kind == HAS_SUBTYPE and not forward)
                if node
                else ()
            )
            left = next(iter(ups), None)

    def subtypes(self, id: Id) -> Iterator[Id]:
        for node in self.nodes.values():
            if node.kind == "UAObjectType" and id in self.above(node.id):
                yield node.id

    def type_of(self, node: Node) -> Id | None:
        return next((other for kind, forward, other in node.references if kind == HAS_TYPE and forward), None)

    def members(self, node: Node) -> list[Node]:
        """Objects and variables below a node, its own before those of its type; a placeholder may be of any subtype."""
        types = [node.id] if node.kind == "UAObjectType" else []
        own = [] if types else [node.id]
        if not types and (definition := self.type_of(node)) is not None:
            types = [definition, *(self.subtypes(definition) if node.is_placeholder else ())]
        places = [*own, *dict.fromkeys(up for each in types for up in self.above(each))]
        found: dict[Name, Node] = {}
        for place in places:
            for id in self._below.get(place, ()):
                if self.nodes[id].kind in ("UAObject", "UAVariable"):
                    found.setdefault(self.nodes[id].name, self.nodes[id])
        return list(found.values())

    def find(self, root: Node, path: str) -> Found:
        """What browse names without namespaces lead to. Raises LookupError, naming the first that is not there."""
        at, steps, names = root, [], path.split("/")
        for i, name in enumerate(names):
            below = [member for member in self.members(at) if member.name[1] == name]
            if not below:
                if steps and i == len(names) - 1 and name in self.fields(steps[-1]):
                    return Found(steps, name)
                raise LookupError(f"{name} is not below {'/'.join(names[:i]) or root.name[1]}")
            at = below[0]
            steps.append(at)
        return Found(steps)

    def fields(self, variable: Node) -> dict[str, str]:
        """Of a structure or enumeration."""
        node = self.nodes.get(variable.data_type) if variable.data_type else None
        return node.fields if node else {}

    def value_type(self, found: Found) -> str:
        """bool, int, float, string; `enum` of an enumeration; empty for anything else."""
        if found.field:
            return {"Int32": "int", "Float": "float", "String": "string"}.get(self.fields(found.node)[found.field], "")
        for id in self.above(found.node.data_type or (UA, "")):
            if id == ENUMERATION:
                return "enum"
            if id[0] == UA and id[1] in TYPES:
                return TYPES[id[1]]
        return ""

    def states(self, machine: Node) -> set[str]:
        """Names of the states of a state machine."""
        return {member.name[1] for member in self.members(machine) if self.type_of(member) in STATES}


def _nodes_of(file: Path) -> Iterator[Node]:
    root = ET.parse(file).getroot()
    uris = [UA, *(uri.text or "" for uri in root.find(f"{_XML}NamespaceUris") or ())]
    aliases = {alias.get("Alias"): alias.text or "" for alias in root.iter(f"{_XML}Alias")}

    def id_of(text: str) -> Id:
        match = re.fullmatch(r"(?:ns=(\d+);)?(.+)", aliases.get(text, text).strip())
        assert match is not None
        return uris[int(match[1] or 0)], match[2]

    for element in root:
        if element.get("NodeId") is None:
            continue
        index, colon, name = element.get("BrowseName", "").partition(":")
        fields = {f.get("Name", ""): f.get("Value") or f.get("DataType", "") for f in element.iter(f"{_XML}Field")}
        yield Node(
            id_of(element.get("NodeId", "")),
            element.tag.removeprefix(_XML),
            (uris[int(index)], name) if colon and index.isdecimal() else (UA, element.get("BrowseName", "")),
            id_of(element.get("DataType", "")) if element.get("DataType") else None,
            int(element.get("ValueRank", "-1")) >= 1,
            element.get("EventNotifier") == "1",
            [
                (id_of(each.get("ReferenceType", "")), each.get("IsForward") != "false", id_of(each.text or ""))
                for each in element.iter(f"{_XML}Reference")
            ],
            fields,
        )
