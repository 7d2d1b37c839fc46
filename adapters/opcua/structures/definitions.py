"""What servers say of their data types, and structures read by it. Pure.

    DataTypeDefinition ─ definition_of ─▶ Structure, Enumeration ─┐
    binary dictionary ── `dictionary` ──▶ the same                ├─▶ Definitions ── decode(Body) ──▶ Record
    the standard's own ── `standard` ─────────────────────────────┘   of one session

A definition holds for one session: a PLC download changes types and namespace indexes. The first body of a kind has its
definition compiled: a row of numbers is one `unpack`, everything else a call per field. A body that its definition does
not consume to the last byte is refused: nothing in it would be sure. Raises UndefinedError and MisfitError only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from struct import Struct, error
from typing import Any, NamedTuple

from adapters.opcua.nodes import NodeId
from adapters.opcua.structures import standard
from adapters.opcua.wire import (
    ARRAY,
    BODY,
    LEAST,
    NUMBERS,
    VARIANT,
    Body,
    GarbledError,
    Reader,
    node_text,
    shaped,
)

# --- definitions -----------------------------------------------------------------------------------------------------


_ALWAYS = 40_000  # what a body may cost besides its bytes (see wire): 10,000 structures that have none


class UndefinedError(ValueError):
    """Nothing is known of a data type, or nothing that can be used."""


class MisfitError(ValueError):
    """A body that does not fit its definition."""


class Form(IntEnum):
    """How the fields of a structure are put together: Part 3, 8.49, StructureType."""

    PLAIN = 0
    OPTIONAL = 1
    UNION = 2
    SUBTYPED = 3
    UNION_SUBTYPED = 4
    DICTIONARY = 5  # not the standard's: fields with conditions, lengths and bits, from a binary dictionary


class Field(NamedTuple):
    """A field of a structure (Part 3, 8.51)."""

    name: str
    type: NodeId  # of its data type
    rank: int = -1
    optional: bool = False  # or, in the SUBTYPED forms: may be of a subtype
    # Of binary dictionaries only:
    bits: int = 0
    length: str = ""  # the field before it that holds the length of this array
    switch: str = ""  # the field before it that says whether it is there: if it has this value, or is not 0
    switch_value: int | None = None


class Structure(NamedTuple):
    """A data type that is a structure, with the fields of its supertypes (Part 3, 8.48)."""

    name: str
    form: Form
    fields: tuple[Field, ...]
    encoding: NodeId | None = None


class Enumeration(NamedTuple):
    """An enumeration or option set: its numbers, and what they mean (Part 3, 8.50)."""

    texts: Mapping[int, str]
    code: int = 6  # the built-in type it is encoded as; an option set is an unsigned number


class Simple(NamedTuple):
    """A built-in type under another name."""

    code: int


Definition = Structure | Enumeration | Simple

_STRUCTURE, _ENUM = NodeId(0, "i", 122), NodeId(0, "i", 123)  # encodings of StructureDefinition, EnumDefinition


def definition_of(value: object, name: str = "") -> Structure | Enumeration | None:
    """The DataTypeDefinition of a data type; None where the value is none. Raises MisfitError."""
    if not isinstance(value, Body) or value.data is None or value.xml:
        return None
    reader = Reader(value.data)
    try:
        if value.encoding == _STRUCTURE:
            encoding, _ = reader.node(), reader.node()  # the supertype, whose fields are here as well
            form = Form(reader.number("i"))
            fields = tuple(_field(reader) for _ in range(reader.count(20)))
            null = encoding.kind == "i" and encoding.identifier == 0
            return Structure(name, form, fields, None if null else encoding)
        if value.encoding == _ENUM:
            return Enumeration(dict(_enum_field(reader) for _ in range(reader.count(14))))
    except (error, IndexError, ValueError) as exc:
        raise MisfitError(f"a definition of {name or 'a data type'} that cannot be read: {exc}") from exc
    return None


def _field(reader: Reader) -> Field:
    name, _, type, rank = reader.text(), reader.scalar(21), reader.node(), reader.number("i")
    reader.array(7)  # dimensions, and
    reader.number("I")  # the longest text
    return Field(name or "", type, rank, bool(reader.number("?")))


def _enum_field(reader: Reader) -> tuple[int, str]:
    value, shown, _, name = reader.number("q"), reader.scalar(21), reader.scalar(21), reader.text()
    return value, shown or name or str(value)


# --- structures ------------------------------------------------------------------------------------------------------


class _Absent:
    """Stands for a field that is not in a structure this time."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()

Read = Callable[[Reader], Any]


class Layout:
    """How the body of one data type is read."""

    __slots__ = ("codes", "fields", "name", "names", "places", "read", "type")

    def __init__(self, type: NodeId, structure: Structure) -> None:
        self.type, self.name = type, structure.name
        self.fields = structure.fields
        self.names = tuple(field.name for field in structure.fields)
        self.places = {name: at for at, name in enumerate(self.names)}
        self.codes: list[int] = []  # built-in type of each field, with ARRAY
        self.read: Callable[[Reader], list[Any]] = _unread


class Record(NamedTuple):
    """A structure that was read: one value per field."""

    layout: Layout
    values: Sequence[Any]


def _unread(_: Reader) -> list[Any]:
    raise AssertionError("a layout is compiled before it is used")


class Definitions:
    """All that is known of the data types of a server, for one session."""

    def __init__(self) -> None:
        self.unknown: set[NodeId] = set()  # encodings that were met and of which nothing is known yet
        self.refused: dict[NodeId, str] = {}  # encodings and data types of which nothing can be known, and why
        self._types: dict[NodeId, Definition] = {}
        self._of_encoding: dict[NodeId, NodeId] = {}
        self._layouts: dict[NodeId, Layout] = {}
        for row in standard.structures():
            fields = (Field(name, NodeId(0, "i", id), 1 if many else -1) for name, id, many in row.fields)
            encoding = NodeId(0, "i", row.encoding)
            self.define(NodeId(0, "i", row.id), Structure(row.name, Form.PLAIN, tuple(fields), encoding))
        for id in standard.ENUMERATIONS.values():
            self.define(NodeId(0, "i", id), Enumeration({}))
        for id, code in standard.SIMPLE.items():
            self.define(NodeId(0, "i", id), Simple(code))

    # --- what is known -----------------------------------------------------------------------------------------------

    def define(self, type: NodeId, definition: Definition) -> None:
        """This is what a data type is."""
        self._types[type] = definition
        self._layouts.clear()
        if isinstance(definition, Structure) and definition.encoding:
            self.encoded(definition.encoding, type)

    def encoded(self, encoding: NodeId, type: NodeId) -> None:
        """Bodies with this encoding are of this data type."""
        self._of_encoding[encoding] = type
        self.unknown.discard(encoding)

    def type_of(self, encoding: NodeId) -> NodeId | None:
        return self._of_encoding.get(encoding)

    def knows(self, type: NodeId) -> bool:
        """Whether nothing has to be asked about a data type."""
        return type in self._types or _built_in(type) is not None

    def definition(self, type: NodeId) -> Definition | None:
        """What a data type is."""
        code = _built_in(type)
        return self._types.get(type) or (Simple(code) if code is not None else None)

    def texts(self, type: NodeId) -> Mapping[int, str]:
        """What the numbers of an enumeration mean; nothing where a data type is none, or a set of options."""
        definition = self._types.get(type)
        return definition.texts if isinstance(definition, Enumeration) and definition.code == 6 else {}

    # --- reading -----------------------------------------------------------------------------------------------------

    def decode(self, body: Body) -> Record:
        """Read a body that has data. Raises UndefinedError, MisfitError."""
        if body.xml:
            raise UndefinedError("it comes as XML, not in the binary encoding")
        type = self._of_encoding.get(body.encoding)
        if type is None:
            if body.encoding not in self.refused:
                self.unknown.add(body.encoding)
            why = self.refused.get(body.encoding, "the server does not say what it consists of")
            raise UndefinedError(f"{why} (encoding {node_text(body.encoding)})")
        layout = self.layout(type)
        reader = Reader(body.data or b"")
        reader.left = min(reader.left, _ALWAYS + 8 * len(reader.data))
        try:
            values = layout.read(reader)
        except (error, IndexError, GarbledError, RecursionError) as exc:
            raise MisfitError(f"{layout.name} ends too early, or is none: {exc}") from exc
        if reader.at != len(reader.data):
            raise MisfitError(f"{layout.name} has {len(reader.data)} bytes, and its definition {reader.at} of them")
        return Record(layout, values)

    def layout(self, type: NodeId) -> Layout:
        """How a data type is read. Raises UndefinedError."""
        layout = self._layouts.get(type)
        if layout is None:
            definition = self._types.get(type)
            if not isinstance(definition, Structure):
                raise UndefinedError(self.refused.get(type) or f"the server does not define {node_text(type)}")
            layout = self._layouts[type] = Layout(type, definition)  # before its fields: a structure can hold itself
            try:
                elements = [self._element(definition, field) for field in definition.fields]
            except (UndefinedError, RecursionError) as exc:
                self._layouts.clear()  # others may hold this one
                if isinstance(exc, RecursionError):
                    raise UndefinedError("structures in structures without an end") from exc
                raise
            layout.codes = [code for code, _ in elements]
            layout.read = _FORMS[definition.form](definition, elements)
        return layout

    def _element(self, structure: Structure, field: Field) -> tuple[int, Read]:
        """The built-in type of a field, with ARRAY, and how it is read. Raises UndefinedError."""
        code, read, size = self._scalar(structure, field)
        if structure.form == Form.DICTIONARY:
            return (code | ARRAY if field.length else code), read
        if field.rank < 0:
            return code, read
        if field.rank > 1:
            return code | ARRAY, _matrix(code, read, size)
        return code | ARRAY, _vector(code, read, size)

    def _scalar(self, structure: Structure, field: Field) -> tuple[int, Read, int]:
        """The same of one element, and the fewest bytes it takes."""
        definition = self.definition(field.type)
        if definition is None:
            why = self.refused.get(field.type) or f"the server does not define the data type {node_text(field.type)}"
            raise UndefinedError(f"{structure.name}.{field.name}: {why}")
        subtyped = structure.form in (Form.SUBTYPED, Form.UNION_SUBTYPED) and field.optional
        if isinstance(definition, Structure):
            if subtyped:  # Part 6, 5.2.6: an extension object, or else a Variant
                return BODY, Reader.body, LEAST[BODY]
            return BODY, self._nested(field.type), 1
        code = VARIANT if subtyped and definition.code != BODY else definition.code
        return code, lambda reader: reader.scalar(code), LEAST.get(code, 1)

    def _nested(self, type: NodeId) -> Read:
        """A structure in a structure has neither type nor length (Part 6, 5.2.6)."""
        layout = self.layout(type)

        def read(reader: Reader) -> Record:
            reader.deeper()
            reader.pay()  # a structure may have no bytes at all, and thousands of them
            record = Record(layout, layout.read(reader))
            reader.depth -= 1
            return record

        return read


def _built_in(type: NodeId) -> int | None:
    """The built-in type of a data type that needs no definition (Part 6, 5.1.2 and 5.2.6)."""
    if type.namespace or type.kind != "i" or not isinstance(type.identifier, int) or not 0 < type.identifier < 30:
        return None
    # Of Number, Integer, UInteger any subtype can come, so a Variant does; an Enumeration is an Int32.
    return {26: VARIANT, 27: VARIANT, 28: VARIANT, 29: 6}.get(type.identifier, type.identifier)


# --- the forms of structures -----------------------------------------------------------------------------------------


def _vector(code: int, read: Read, size: int) -> Read:
    if code in NUMBERS:
        return lambda reader: reader.array(code)

    def array(reader: Reader) -> list[Any] | None:
        count = reader.count(size)
        return None if count < 0 else [read(reader) for _ in range(count)]

    return array


def _matrix(code: int, read: Read, size: int) -> Read:
    """The lengths of all dimensions, then the values without a length (Part 6, 5.2.5)."""

    def matrix(reader: Reader) -> Any:
        dimensions = reader.array(6)
        if not dimensions:
            return None
        count = 1
        for length in dimensions:
            count *= length
            if not 0 <= count * size <= len(reader.data) - reader.at:
                raise GarbledError(f"an array of {'x'.join(map(str, dimensions[:16]))} values")
        values = reader.elements(code, count) if code in NUMBERS else [read(reader) for _ in range(count)]
        return shaped(values, dimensions)

    return matrix


_Elements = Sequence[tuple[int, Read]]


def _plain(_: Structure, elements: _Elements) -> Callable[[Reader], list[Any]]:
    steps = _steps(elements)

    def read(reader: Reader) -> list[Any]:
        values: list[Any] = []
        for layout, one in steps:
            if layout is None:
                values.append(one(reader))
            else:
                values += layout.unpack_from(reader.data, reader.at)
                reader.at += layout.size
        return values

    return read


def _steps(elements: _Elements) -> list[tuple[Struct | None, Read]]:
    """Numbers that stand side by side are read at once."""
    steps: list[tuple[Struct | None, Read]] = []
    row = ""
    for code, read in (*elements, (0, None)):
        if code in NUMBERS:
            row += NUMBERS[code]
            continue
        if row:
            steps.append((Struct(f"<{row}"), _no_read))
            row = ""
        if read:
            steps.append((None, read))
    return steps


def _no_read(_: Reader) -> None:
    """Stands where a whole row is read."""


def _optional(structure: Structure, elements: _Elements) -> Callable[[Reader], list[Any]]:
    """A bit for each optional field, then those that are there (Part 6, 5.2.7)."""
    bits, steps = 0, []
    for field, (_, read) in zip(structure.fields, elements, strict=True):
        steps.append((1 << bits if field.optional else 0, read))
        bits += field.optional
    if bits > 32:
        raise UndefinedError(f"{structure.name} has {bits} optional fields, and there can be 32")

    def read_all(reader: Reader) -> list[Any]:
        there = reader.number("I")
        return [read(reader) if not bit or there & bit else ABSENT for bit, read in steps]

    return read_all


def _union(structure: Structure, elements: _Elements) -> Callable[[Reader], list[Any]]:
    """The number of the field that is there, from 1; 0: none (Part 6, 5.2.8)."""

    def read(reader: Reader) -> list[Any]:
        values: list[Any] = [ABSENT] * len(elements)
        if there := reader.number("I"):
            if there > len(elements):
                raise GarbledError(f"field {there} of the {len(elements)} of the union {structure.name}")
            values[there - 1] = elements[there - 1][1](reader)
        return values

    return read


def _from_dictionary(structure: Structure, elements: _Elements) -> Callable[[Reader], list[Any]]:
    """Fields that say of those behind them whether they are there and how long they are (Part 5, annex D)."""
    places = {field.name: at for at, field in enumerate(structure.fields)}
    for at, field in enumerate(structure.fields):
        for other in filter(None, (field.length, field.switch)):
            if places.get(other, at) >= at:
                raise UndefinedError(f"{structure.name}.{field.name} depends on {other}, which is not before it")

    def read(reader: Reader) -> list[Any]:
        values: list[Any] = []
        bit = 0
        for field, (code, one) in zip(structure.fields, elements, strict=True):
            if field.switch and not _there(values[places[field.switch]], field.switch_value):
                values.append(ABSENT)
            elif field.bits:
                number = int.from_bytes(reader.data[reader.at : reader.at + (bit + field.bits + 7) // 8], "little")
                number = number >> bit & (1 << field.bits) - 1
                bit += field.bits
                reader.take(bit // 8)
                bit %= 8
                values.append(bool(number) if code == 1 else number)
            elif bit:
                raise GarbledError(f"{field.name} begins within a byte")
            elif field.length:
                count = values[places[field.length]]
                if not isinstance(count, int) or count > len(reader.data) - reader.at:
                    raise GarbledError(f"{count} elements of {field.name}")
                values.append([one(reader) for _ in range(count)] if count >= 0 else None)
            else:
                values.append(one(reader))
        if bit:
            reader.take(1)
        return values

    return read


def _there(switch: object, wanted: int | None) -> bool:
    return bool(switch) and switch is not ABSENT if wanted is None else switch == wanted


_FORMS: Mapping[Form, Callable[[Structure, _Elements], Callable[[Reader], list[Any]]]] = {
    Form.PLAIN: _plain,
    Form.OPTIONAL: _optional,
    Form.UNION: _union,
    Form.SUBTYPED: _plain,
    Form.UNION_SUBTYPED: _union,
    Form.DICTIONARY: _from_dictionary,
}
