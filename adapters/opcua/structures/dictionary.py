"""Binary type dictionaries: how servers described structures before they had a DataTypeDefinition (Part 5, annex D). Pure.

A dictionary is XML from a machine: entities and document types are refused, and there is an end to its size. Types are
named in it, not numbered: a field's data type is here `NodeId(-1, "s", "urn:shop:cnc#Axis")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat

from adapters.opcua.nodes import NodeId
from adapters.opcua.structures.definitions import (
    Definition,
    Enumeration,
    Field,
    Form,
    Simple,
    Structure,
    UndefinedError,
)
from adapters.opcua.structures.standard import BUILT_IN, structures

_MOST = 16 * 2**20  # bytes
_BSD = "http://opcfoundation.org/BinarySchema/"
_UA = "http://opcfoundation.org/UA/"
_BITS = 1024  # of one field: reserved ones can be many

# Of the schema itself, where it has other names than the built-in types.
_PRIMITIVES = {"Bit": 1, "Char": 3, "CharArray": 12, "WideChar": 5}
_UNSUPPORTED = ("WideString", "WideCharArray")


def named(uri: str, name: str) -> NodeId:
    """Stands for a type that is known by name only."""
    return NodeId(-1, "s", f"{uri}#{name}")


def parse_dictionary(text: bytes) -> tuple[str, Mapping[str, Definition]]:
    """The namespace of a dictionary, and its types by name. Raises UndefinedError."""
    if len(text) > _MOST:
        raise UndefinedError(f"its dictionary has {len(text)} bytes, and {_MOST} are the most that is read")
    reader = _Dictionary()
    try:
        reader.parser.Parse(text.rstrip(b"\0"), True)
    except expat.ExpatError as exc:
        raise UndefinedError(f"its dictionary is no XML: {exc}") from None
    return reader.uri, reader.types


class _Dictionary:
    """Goes through the elements of a dictionary."""

    def __init__(self) -> None:
        self.uri = ""
        self.types: dict[str, Definition] = {}
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartNamespaceDeclHandler = self._prefix
        self._prefixes: dict[str, str] = {}
        self._name = ""
        self._fields: list[Field] = []
        self._texts: dict[int, str] = {}
        self._code = 0  # built-in type of an enumeration

    def _refuse(self, *_: object) -> None:
        raise UndefinedError("its dictionary has a document type or entities, which are not read")

    def _prefix(self, prefix: str | None, uri: str | None) -> None:
        self._prefixes[prefix or ""] = uri or ""

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        match tag.rpartition(" ")[2]:
            case "TypeDictionary":
                self.uri = attributes.get("TargetNamespace", "")
                if attributes.get("DefaultByteOrder", "LittleEndian") != "LittleEndian":
                    raise UndefinedError("its dictionary is big-endian")
            case "StructuredType":
                self._name, self._fields = attributes.get("Name", ""), []
            case "EnumeratedType":
                self._name, self._texts = attributes.get("Name", ""), {}
                bits = _number(attributes, "LengthInBits", 32)
                self._code = {8: 3, 16: 5, 32: 7, 64: 9}.get(bits, 0)
                if bits == 32 and attributes.get("IsOptionSet", "false") not in ("true", "1"):
                    self._code = 6
            case "EnumeratedValue":
                self._texts[_number(attributes, "Value", 0)] = attributes.get("Name", "")
            case "OpaqueType":
                self.types[attributes.get("Name", "")] = Simple(15)
            case "Field":
                self._fields.append(self._field(attributes))

    def _end(self, tag: str) -> None:
        match tag.rpartition(" ")[2]:
            case "StructuredType":
                self.types[self._name] = Structure(self._name, Form.DICTIONARY, tuple(self._fields))
            case "EnumeratedType":
                if self._code:
                    self.types[self._name] = Enumeration(self._texts, self._code)

    def _field(self, attributes: dict[str, str]) -> Field:
        name = attributes.get("Name", "")
        prefix, _, local = attributes.get("TypeName", "").rpartition(":")
        uri = self._prefixes.get(prefix, "")
        length, bits = attributes.get("LengthField", ""), 0
        for key in ("Terminator", "IsLengthInBytes"):
            if attributes.get(key, "false") not in ("false", "0"):
                raise UndefinedError(f"{self._name}.{name}: {key} is not read")
        if uri == _BSD and local in _UNSUPPORTED:
            raise UndefinedError(f"{self._name}.{name}: {local} is not read")
        if uri == _BSD and local == "Bit":
            bits = _number(attributes, "Length", 1)
            if not 0 < bits <= _BITS:
                raise UndefinedError(f"{self._name}.{name} has {bits} bits")
            type = NodeId(0, "i", 1 if bits == 1 else 9)
        elif "Length" in attributes and _number(attributes, "Length", 1) != 1:
            raise UndefinedError(f"{self._name}.{name}: an array of fixed length is not read")
        else:
            type = self._type(uri, local)
        switch, value = attributes.get("SwitchField", ""), None
        if switch and attributes.get("SwitchOperand", "Equals") != "Equals":
            raise UndefinedError(f"{self._name}.{name}: SwitchOperand is not read")
        if switch and "SwitchValue" in attributes:
            value = _number(attributes, "SwitchValue", 1)
        return Field(name, type, bits=bits, length=length, switch=switch, switch_value=value)

    def _type(self, uri: str, local: str) -> NodeId:
        if uri == _BSD and local in _PRIMITIVES:
            return NodeId(0, "i", _PRIMITIVES[local])
        if uri in (_BSD, _UA):
            known = BUILT_IN.get(local) or next((row.id for row in structures() if row.name == local), 0)
            return NodeId(0, "i", known) if known else named(_UA, local)
        return named(uri or self.uri, local)


def _number(attributes: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(attributes.get(key, default))
    except ValueError:
        raise UndefinedError(f"its dictionary has a {key} of {attributes[key]!r}") from None
