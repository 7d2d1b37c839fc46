"""What a recording tells of data types: what stands where in a structure, and what the numbers of states mean. Pure.

Only for the ledger: clients get structures as they came, and read the same definitions that were recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncua.ua

from simulators.opcua.places import Path
from simulators.opcua.replay.plan import Life
from simulators.opcua.replay.values import variant_of
from simulators.opcua.replay.wire import BrokenError, Reader, Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_TYPE, _DEFINITION = int(ua.AttributeIds.DataType), int(ua.AttributeIds.DataTypeDefinition)
_STRUCTURE = ua.NodeId(ua.ObjectIds.StructureDefinition_Encoding_DefaultBinary)
_ENUMERATION = ua.NodeId(ua.ObjectIds.EnumDefinition_Encoding_DefaultBinary)
_SUBTYPE, _ENCODING = ua.NodeId(ua.ObjectIds.HasSubtype), ua.NodeId(ua.ObjectIds.HasEncoding)
_INT32, _VARIANT = 6, 24  # built-in types: Part 6, 5.1.2
_OPTIONAL_FIELDS, _UNION = 1, 2  # of StructureType: Part 3, 8.49
_EXTENSION_OBJECT = 22
_MOST_DEEP = 20

# Data types of the standard that are others with another name, by their i=: Part 3, 8; Part 5, 12.
_BUILT_IN = {
    26: _VARIANT, 27: _VARIANT, 28: _VARIANT, 29: _INT32, 288: 7, 289: 7, 290: 11, 294: 13, 295: 12, 30: 15, 11737: 3,
    12755: 22, 23751: 12,
}  # fmt: skip


class _Field(NamedTuple):
    name: str
    type: Any
    rank: int
    optional: bool


class _Structure(NamedTuple):
    kind: int
    fields: Sequence[_Field]


class Types:
    """Of one life of a server."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._structures: dict[Any, _Structure] = {}  # by data type, and by encoding
        self._states: dict[Any, Mapping[int, str]] = {}  # by data type
        self._ways: dict[Any, list[tuple[str, Any]]] = {}  # where single browse names lead to, from each node
        for (start, steps), targets in life.paths.items():
            if len(steps) == 1:
                self._ways.setdefault(start, []).extend((steps[0].name.text, target) for target in targets)
        for id, node in life.nodes.items():
            told = node.attributes.get(_DEFINITION)
            if (
                told
                and not told.code >> 31
                and told.variant
                and told.variant[0] == ua.VariantType.ExtensionObject.value
            ):
                try:
                    self._learn(id, *Reader(told.variant, 1).extension_object())
                except BrokenError:
                    continue

    def _learn(self, id: Any, kind: Any, body: bytes | None) -> None:
        reader = Reader(body or b"")
        if kind == _ENUMERATION:
            self._states[id] = dict(reader.array(lambda: _state(reader, named=True), 13))
        elif kind == _STRUCTURE:
            encoding = reader.node_id()
            reader.node_id()
            found = _Structure(reader.i32(), reader.array(lambda: _field(reader), 21))
            for each in (id, encoding, *self._ends(id, _ENCODING, forward=True)):
                self._structures[each] = found

    def _ends(self, id: Any, type: Any, *, forward: bool) -> list[Any]:
        return [end for kind, way, end in self._life.references.get(id, ()) if kind == type and way == forward]

    # --- what stands where -----------------------------------------------------------------------------------------------

    def inside(self, value: Any, path: Path) -> Any:
        """What stands at a place in a value of asyncua's; None where it cannot be looked into."""
        for step in path:
            if isinstance(step, int):
                value = value[step] if isinstance(value, list) and step < len(value) else None
            else:
                value = self._fields_of(value).get(step)
        return value

    def _fields_of(self, value: Any) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        if isinstance(value, ua.ExtensionObject) and (known := self._structures.get(value.TypeId)) and value.Body:
            try:
                return self._decode(Reader(value.Body), known, 0)
            except BrokenError:
                return {}
        return {}

    def _decode(self, reader: Reader, structure: _Structure, depth: int) -> dict[str, Any]:
        """Part 6, 5.2.6 to 5.2.8."""
        if depth > _MOST_DEEP:
            raise BrokenError("structures in structures")
        mask = reader.u32() if structure.kind in (_OPTIONAL_FIELDS, _UNION) else 0
        found: dict[str, Any] = {}
        bit = 1
        for number, field in enumerate(structure.fields, 1):
            if structure.kind == _UNION:
                there = mask == number
            elif structure.kind == _OPTIONAL_FIELDS and field.optional:
                there, bit = bool(mask & bit), bit << 1
            else:
                there = True
            if there:
                found[field.name] = self._field(reader, field, depth)
        return found

    def _field(self, reader: Reader, field: _Field, depth: int) -> Any:
        one = self._reader_of(reader, field.type, depth)
        if field.rank < 0:
            return one()
        if field.rank <= 1:
            return reader.array(one)
        lengths = reader.array(reader.i32, 4)
        return _nested(lengths, one, len(reader.data))

    def _reader_of(self, reader: Reader, type: Any, depth: int) -> Callable[[], Any]:
        if (known := self._structures.get(type)) is not None:
            return lambda: self._decode(reader, known, depth + 1)
        code = self._built_in(type)
        return lambda: _single(reader, code)

    def _built_in(self, type: Any) -> int:
        """Raises BrokenError for a type that nobody has told."""
        for _ in range(_MOST_DEEP):
            if type.NamespaceIndex == 0 and isinstance(type.Identifier, int):
                if 0 < type.Identifier <= 25:
                    return int(type.Identifier)
                if type.Identifier in _BUILT_IN:
                    return _BUILT_IN[type.Identifier]
            if type in self._states:
                return _INT32
            above = self._ends(type, _SUBTYPE, forward=False)
            if not above:
                break
            type = above[0]
        raise BrokenError(f"a field of type {type}")

    # --- what numbers mean -----------------------------------------------------------------------------------------------

    def states(self, id: Any, path: Path) -> Mapping[int, str]:
        """The texts of the numbers at a place in a variable; nothing where none were told."""
        if not path and (own := self._told_of(id)):
            return own
        type = self._declared(id)
        for step in path:
            if isinstance(step, str):
                fields = self._structures.get(type, _Structure(0, ())).fields
                type = next((field.type for field in fields if field.name == step), None)
        return {} if type is None else self._told_of(type) or self._states.get(type, {})

    def _declared(self, id: Any) -> Any:
        node = self._life.nodes.get(id)
        told = node.attributes.get(_TYPE) if node else None
        if told and not told.code >> 31 and told.variant and told.variant[0] == ua.VariantType.NodeId.value:
            return Reader(told.variant, 1).node_id()
        return None

    def _told_of(self, id: Any) -> Mapping[int, str]:
        """By the properties of a variable or a data type: Part 3, 5.8.3; Part 8, 5.3.3."""
        try:
            if told := self._property(id, "EnumStrings"):
                texts = variant_of(told.variant).Value
                return {i: text.Text or "" for i, text in enumerate(texts or ()) if isinstance(text, ua.LocalizedText)}
            if told := self._property(id, "EnumValues"):
                values = variant_of(told.variant).Value or ()
                readers = [Reader(each.Body or b"") for each in values if isinstance(each, ua.ExtensionObject)]
                return dict(_state(reader, named=False) for reader in readers)
            two = [self._property(id, name) for name in ("FalseState", "TrueState")]
            found = [variant_of(told.variant).Value for told in two if told]
        except BrokenError:
            return {}
        return {i: text.Text or "" for i, text in enumerate(found) if isinstance(text, ua.LocalizedText)}

    def _property(self, id: Any, name: str) -> Told | None:
        """The value of a property, if it was told."""
        ends = [target for named, target in self._ways.get(id, ()) if named == name]
        ends += [
            each.target for each in self._life.references.get(id, {}).values() if each.name and each.name.text == name
        ]
        told = [node.first for end in ends if (node := self._life.nodes.get(end)) and node.first]
        return next((each for each in told if not each.code >> 31), None)


def _state(reader: Reader, *, named: bool) -> tuple[int, str]:
    """An EnumValueType, or an EnumField, which has a name besides."""
    value, shown = reader.i64(), reader.localized_text()
    reader.localized_text()
    name = (reader.text() or "") if named else ""
    return value, shown.Text or name


def _field(reader: Reader) -> _Field:
    """A StructureField: Part 3, 8.51."""
    name = reader.text() or ""
    reader.localized_text()
    type, rank = reader.node_id(), reader.i32()
    reader.array(reader.u32, 4)
    reader.skip(4)
    return _Field(name, type, rank, bool(reader.byte()))


def _single(reader: Reader, code: int) -> Any:
    """One value of a built-in type."""
    begins = reader.at
    if code == _VARIANT:
        return variant_of(reader.variant()).Value
    reader._value(code)
    return variant_of(bytes((code,)) + reader.data[begins : reader.at]).Value


def _nested(lengths: Sequence[int], one: Callable[[], Any], most: int) -> Any:
    """An array of several dimensions; the last index is the fastest."""
    if not lengths:
        return one()
    if not 0 <= lengths[0] <= most:
        raise BrokenError(f"{lengths[0]} elements announced")
    return [_nested(lengths[1:], one, most) for _ in range(lengths[0])]
