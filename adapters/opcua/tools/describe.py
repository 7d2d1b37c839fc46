"""What nodes are: data type, dimensions, access, unit, range, states, description, and the value at the moment.

Everything is asked for in columns of a few hundred nodes, and thrown away by whoever has printed it. Data types are learnt
once: their name, the built-in type under them (Part 3, 5.8.3), the texts of an enumeration, the fields of a structure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.opcua.browsing import (
    HAS_PROPERTY,
    HAS_SUBTYPE,
    OBJECT,
    VARIABLE,
    Attribute,
    Attributes,
    EngineeringUnit,
    EnumDefinition,
    EnumValue,
    Range,
    StructureDefinition,
    Text,
)
from adapters.opcua.nodes import NodeId
from adapters.opcua.tools.crawl import Node
from adapters.opcua.tools.explorer import Explorer
from adapters.opcua.tools.opened import Structures
from adapters.opcua.units import ucum

READABLE, WRITABLE, HISTORY = 1, 2, 4  # Part 3, 8.57

# Part 6, table 1, and the abstract types of Part 3, 8.
BUILT_IN = {
    1: "Boolean", 2: "SByte", 3: "Byte", 4: "Int16", 5: "UInt16", 6: "Int32", 7: "UInt32", 8: "Int64", 9: "UInt64",
    10: "Float", 11: "Double", 12: "String", 13: "DateTime", 14: "Guid", 15: "ByteString", 16: "XmlElement",
    17: "NodeId", 18: "ExpandedNodeId", 19: "StatusCode", 20: "QualifiedName", 21: "LocalizedText", 22: "Structure",
    23: "DataValue", 24: "BaseDataType", 25: "DiagnosticInfo", 26: "Number", 27: "Integer", 28: "UInteger",
    29: "Enumeration",
}  # fmt: skip
STRUCTURE, ENUMERATION = 22, 29
DURATION = NodeId(0, "i", 290)  # milliseconds: Part 3, 8.13
_DEEPEST = 20  # types above a type


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type as far as it matters here."""

    name: str
    built_in: int  # 1 to 29: itself, or the nearest one above it; 0: not known
    states: Mapping[int, str] = field(default_factory=dict)  # of an enumeration
    structure: StructureDefinition | None = None
    ancestors: tuple[NodeId, ...] = ()  # itself first


_NOTHING = Attribute(0)


@dataclass(slots=True)
class Description:
    """One node of an address space."""

    text: str = ""
    notifier: bool = False  # an object: it has events
    # --- of variables
    data_type: NodeId | None = None
    type: DataType | None = None
    rank: int = -1  # Part 3, 5.6.2: -1 scalar, 1 one dimension, 0 one or more, -2 any, -3 scalar or one dimension
    dimensions: Sequence[int] = ()
    access: int = 0
    value: Attribute = _NOTHING
    unit: str = ""  # UCUM, or what the server shows
    shown_unit: str = ""
    range: Range | None = None
    instrument_range: Range | None = None
    states: Mapping[int, str] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """`Double[3]`, `Int32`, `CncMode`."""
        name = self.type.name if self.type else "?"
        if self.value.array and isinstance(self.value.value, list):
            sizes: list[str] = []
            inner: Any = self.value.value
            while isinstance(inner, list):
                sizes.append(str(len(inner)))
                inner = inner[0] if inner else None
            return f"{name}[{','.join(sizes)}]"
        if self.rank >= 1:
            known = [str(size) if size else "" for size in self.dimensions] or [""] * self.rank
            return f"{name}[{','.join(known)}]"
        return name

    @property
    def state(self) -> str:
        """The text of a value that is a number of a state."""
        value = self.value.value
        return self.states.get(int(value), "") if isinstance(value, int) else ""


class DataTypes:
    """What was learnt of the data types of one server."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer, self.structures = explorer, Structures(explorer)
        self._known: dict[NodeId, DataType] = {
            NodeId(0, "i", id): DataType(name, id, ancestors=(NodeId(0, "i", id),)) for id, name in BUILT_IN.items()
        }

    def __getitem__(self, id: NodeId) -> DataType:
        return self._known.get(id) or DataType(f"{id.kind}={id.identifier!s}", 0)

    async def learn(self, wanted: Iterable[NodeId]) -> None:
        """Learn types, the types above them, and those of the fields of structures."""
        left = {id for id in wanted if id not in self._known}
        while left:
            await self._learn(sorted(left, key=str))
            fields = [f.data_type for id in left if (d := self._known[id].structure) for f in d.fields]
            left = {id for id in fields if id not in self._known}

    async def _learn(self, new: Sequence[NodeId]) -> None:
        above: dict[NodeId, NodeId] = {}
        texts: dict[NodeId, NodeId] = {}
        left = list(new)
        for _ in range(_DEEPEST):
            if not left:
                break
            async for i, browsed in self._explorer.browse(left, inverse=True):
                for reference in browsed.references:
                    if reference.kind == HAS_SUBTYPE and reference.target and left[i] not in above:
                        above[left[i]] = reference.target
            left = [up for id in left if (up := above.get(id)) and up not in self._known and up not in above]
        types = list(dict.fromkeys((*new, *(up for up in above.values() if up not in self._known))))
        async for i, browsed in self._explorer.browse(types):
            for reference in browsed.references:
                if reference.kind == HAS_PROPERTY and reference.name.name in ("EnumStrings", "EnumValues"):
                    texts[types[i]] = reference.target or types[i]
        asked = [(id, a) for id in types for a in (Attributes.BROWSE_NAME, Attributes.DATA_TYPE_DEFINITION)]
        told = iter(await self._explorer.look(asked))
        of_texts = dict(
            zip(texts, await self._explorer.look([(id, Attributes.VALUE) for id in texts.values()]), strict=True)
        )
        found = {id: (next(told), next(told)) for id in types}
        for id, (name, definition) in found.items():
            line = [id]
            while (up := above.get(line[-1])) is not None and up not in line:
                line.append(up)
            if line[-1] in self._known:
                line += self._known[line[-1]].ancestors[1:]
            built_in = next((int(up.identifier) for up in line if up.namespace == 0 and up.identifier in BUILT_IN), 0)
            states = {}
            if isinstance(definition.value, EnumDefinition) and built_in == ENUMERATION:
                states = states_of(definition.value.values)
            if not states and id in of_texts:
                states = states_of(of_texts[id].value)
            self._known[id] = DataType(
                name.value.name if name.good and name.value else f"{id.kind}={id.identifier!s}",
                built_in,
                states,
                definition.value if isinstance(definition.value, StructureDefinition) else None,
                tuple(line),
            )


def states_of(value: Any) -> dict[int, str]:
    """The texts of EnumStrings or EnumValues, by number. One without a text is left out."""
    if not isinstance(value, (list, tuple)):
        return {}
    if all(isinstance(each, EnumValue) for each in value):
        return {each.value: each.text for each in value if each.text}
    return {i: each.text for i, each in enumerate(value) if isinstance(each, Text) and each.text}


_OF_VARIABLES = (
    Attributes.DESCRIPTION, Attributes.DATA_TYPE, Attributes.VALUE_RANK, Attributes.ARRAY_DIMENSIONS,
    Attributes.USER_ACCESS_LEVEL, Attributes.ACCESS_LEVEL,
)  # fmt: skip


async def describe(explorer: Explorer, types: DataTypes, nodes: Sequence[Node]) -> list[Description]:
    """What these nodes are, in their order. Raises NotConnectedError."""
    descriptions = [Description() for _ in nodes]
    variables = [(n, d) for n, d in zip(nodes, descriptions, strict=True) if n.node_class == VARIABLE]
    others = [(n, d) for n, d in zip(nodes, descriptions, strict=True) if n.node_class != VARIABLE]
    asked = [(n.id, a) for n, _ in variables for a in _OF_VARIABLES]
    asked += [(n.id, a) for n, _ in others for a in _of_others(n)]
    told = iter(await explorer.look(asked))
    for _, d in variables:
        text, data_type, rank, dimensions, access, access_of_all = (next(told) for _ in _OF_VARIABLES)
        d.text = _text(text)
        d.data_type = data_type.value if data_type.good and isinstance(data_type.value, NodeId) else None
        d.rank = rank.value if rank.good and isinstance(rank.value, int) else -2
        d.dimensions = dimensions.value if dimensions.good and isinstance(dimensions.value, list) else ()
        # The user's own, where the server tells; servers without users tell 0 or nothing at all.
        levels = [a.value for a in (access, access_of_all) if a.good and isinstance(a.value, int)]
        d.access = levels[0] if levels else READABLE
    for n, d in others:
        for attribute, a in zip(_of_others(n), told, strict=False):
            if attribute == Attributes.DESCRIPTION:
                d.text = _text(a)
            else:
                d.notifier = isinstance(a.value, int) and bool(a.value & 1)  # SubscribeToEvents: Part 3, 8.59
    await types.learn(d.data_type for _, d in variables if d.data_type)
    await _values(explorer, types, variables)
    return descriptions


def _of_others(node: Node) -> tuple[int, ...]:
    if node.node_class == OBJECT:
        return Attributes.DESCRIPTION, Attributes.EVENT_NOTIFIER
    return (Attributes.DESCRIPTION,)


async def _values(explorer: Explorer, types: DataTypes, variables: Sequence[tuple[Node, Description]]) -> None:
    """The values of variables and of what stands about them."""
    asked = [(n.id, Attributes.VALUE) for n, d in variables if d.access & READABLE]
    asked += [(id, Attributes.VALUE) for n, _ in variables for _, id in n.about]
    told = iter(await explorer.look(asked))
    for _, d in variables:
        d.value = next(told) if d.access & READABLE else Attribute(0x803A0000)  # BadNotReadable
    structured = [d for _, d in variables if d.value.type == STRUCTURE]
    of_types = [d.data_type for d in structured if d.data_type and d.data_type.namespace]
    opened = await types.structures.open([d.value for d in structured], of_types)
    for d, value in zip(structured, opened, strict=True):
        d.value = value
    for n, d in variables:
        d.type = types[d.data_type] if d.data_type else None
        d.states = d.type.states if d.type else {}
        for name, _ in n.about:
            _about(d, name, next(told).value)
        if d.type and DURATION in d.type.ancestors and not d.unit:
            d.unit = d.shown_unit = "ms"


def _about(d: Description, name: str, value: Any) -> None:
    match value:
        case EngineeringUnit():
            d.unit, d.shown_unit = ucum(value.namespace, value.id, value.display), value.display
        case Range() if name == "EURange":
            d.range = value
        case Range():
            d.instrument_range = value
        case Text() if name in ("TrueState", "FalseState") and value.text:
            d.states = {**d.states, int(name == "TrueState"): value.text}
        case list() if states := states_of(value):
            d.states = states


def _text(attribute: Attribute) -> str:
    value = attribute.value
    return " ".join(value.text.split()) if attribute.good and isinstance(value, Text) else ""
