"""What browsing and looking at nodes brings: the standard's structures as our own, so that asyncua's stay in client.py.

Names are those of Part 4 (BrowseResult, ReferenceDescription) and Part 3 (attributes, StructureDefinition).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from adapters.opcua.nodes import NodeId

OBJECT, VARIABLE, METHOD, OBJECT_TYPE, VARIABLE_TYPE, REFERENCE_TYPE, DATA_TYPE, VIEW = (1 << bit for bit in range(8))
CLASSES = {
    OBJECT: "object", VARIABLE: "variable", METHOD: "method", OBJECT_TYPE: "object type", VARIABLE_TYPE: "variable type",
    REFERENCE_TYPE: "reference type", DATA_TYPE: "data type", VIEW: "view",
}  # fmt: skip


class Attributes:
    """Attribute ids (Part 6, A.1)."""

    NODE_CLASS, BROWSE_NAME, DISPLAY_NAME, DESCRIPTION, EVENT_NOTIFIER = 2, 3, 4, 5, 12
    VALUE, DATA_TYPE, VALUE_RANK, ARRAY_DIMENSIONS, ACCESS_LEVEL, USER_ACCESS_LEVEL = 13, 14, 15, 16, 17, 18
    DATA_TYPE_DEFINITION = 23


# References that are followed or told apart (Part 5, 11).
HIERARCHICAL = NodeId(0, "i", 33)
HAS_EVENT_SOURCE, HAS_NOTIFIER = NodeId(0, "i", 36), NodeId(0, "i", 48)
HAS_SUBTYPE, HAS_PROPERTY = NodeId(0, "i", 45), NodeId(0, "i", 46)
ROOT, OBJECTS, SERVER = NodeId(0, "i", 84), NodeId(0, "i", 85), NodeId(0, "i", 2253)


class QualifiedName(NamedTuple):
    """A browse name."""

    namespace: int
    name: str


class Reference(NamedTuple):
    """One thing that a node leads to."""

    kind: NodeId
    target: NodeId | None  # None: it is on another server
    name: QualifiedName
    display: str
    node_class: int
    type: NodeId | None  # its type definition; of objects and variables


class Browsed(NamedTuple):
    """What one node leads to, or a part of it."""

    status: int
    references: Sequence[Reference]
    rest: bytes | None = None  # continuation point: there is more


class Attribute(NamedTuple):
    """An attribute of a node, as it was read. Times are ns since 1970; None where the server gave none."""

    status: int
    value: Any = None  # plain Python and the classes below; sequences for arrays
    type: int = 0  # built-in type; 0: null
    array: bool = False
    source_time: int | None = None
    server_time: int | None = None

    @property
    def good(self) -> bool:
        """Whether there is a value to go by: good or uncertain."""
        return self.status < 0x80000000


class Text(NamedTuple):
    """A LocalizedText."""

    text: str
    locale: str


class Range(NamedTuple):
    """Part 8, 5.6.3."""

    low: float
    high: float


class EngineeringUnit(NamedTuple):
    """An EUInformation (Part 8, 5.6.4.3)."""

    namespace: str
    id: int
    display: str
    description: str


class EnumValue(NamedTuple):
    """An EnumValueType or EnumField (Part 3, 8.39 and 8.52)."""

    value: int
    text: str


class EnumDefinition(NamedTuple):
    """Of an enumeration or option set."""

    values: Sequence[EnumValue]


class Field(NamedTuple):
    """Of a structure (Part 3, 8.51)."""

    name: str
    data_type: NodeId
    rank: int
    dimensions: Sequence[int]
    optional: bool
    description: str = ""


class StructureDefinition(NamedTuple):
    """Part 3, 8.48. `kind`: 0 structure, 1 with optional fields, 2 union; 3 and 4 the first two, with subtypes in them."""

    kind: int
    encoding: NodeId | None
    base: NodeId | None
    fields: Sequence[Field]


class Structure(NamedTuple):
    """An ExtensionObject nobody has decoded yet."""

    encoding: NodeId
    body: bytes | None
