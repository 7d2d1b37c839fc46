"""Values of a shape as asyncua takes them: scalars, arrays, structures as bytes in an ExtensionObject. Nothing is sent.

The bytes are put together here from asyncua's own encoders of single values (Part 6, 5.2.6: the fields one after the
other), so that a field can have any name: asyncua's way needs a Python class, whose attributes cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from struct import Struct
from typing import Any

import asyncua.ua
from asyncua.ua import ua_binary

from gateway.model import Value, ValueType
from simulators.opcua.places import Path
from simulators.opcua.shapes import Array, Plain, Record, Shape

ua: Any = asyncua.ua  # the types it declares are not those it takes

_TYPES: Mapping[ValueType | None, Any] = {
    "float": ua.VariantType.Double,
    "int": ua.VariantType.Int64,
    "bool": ua.VariantType.Boolean,
    "string": ua.VariantType.String,
    None: ua.VariantType.Variant,
}
_NOTHING: Mapping[ValueType | None, Any] = {"float": 0.0, "int": 0, "bool": False, "string": "", None: ua.Variant()}

Values = Mapping[Path, Value]


def type_of(plain: Plain, in_field: bool = False) -> Any:
    """The built-in type of a single value. Numbers with texts are UInt32 (Part 8, 5.3.3), and Int32 as enumerations."""
    if plain.type == "int" and plain.texts:
        return ua.VariantType.Int32 if in_field else ua.VariantType.UInt32
    return _TYPES[plain.type]


def variant(shape: Shape, values: Values, encodings: Mapping[int, Any]) -> Any:
    """The value of a variable. `encodings`: node ids by the id() of the records of its shape."""
    if isinstance(shape, Plain):
        value = _single(shape, values, ())
        return value if shape.type is None else ua.Variant(value, type_of(shape))
    if isinstance(shape, Record):
        return ua.Variant(_object(shape, values, (), encodings), ua.VariantType.ExtensionObject)
    element = shape.element
    if isinstance(element, Record):
        flat = [_object(element, values, place, encodings) for place in _places(shape, ())]
        kind = ua.VariantType.ExtensionObject
    else:
        flat = [_single(element, values, place) for place in _places(shape, ())]
        kind = type_of(element)
    if len(shape.lengths) == 1:
        return ua.Variant(flat, kind)
    return ua.Variant(_nested(flat, shape.lengths), kind, list(shape.lengths))


def encoder(shape: Shape, encodings: Mapping[int, Any]) -> Callable[[Values], bytes]:
    """What makes the bytes of a variant of these values: Part 6, 5.2.2.16. Single values, as most are, are made quickly."""
    if isinstance(shape, Plain) and (quick := _BINARY.get(type_of(shape))):
        return lambda values: quick(values[()])
    return lambda values: ua_binary.variant_to_binary(variant(shape, values, encodings))


def _number(type: Any, code: str) -> Callable[[Any], bytes]:
    pack, first = Struct(f"<B{code}").pack, type.value
    return lambda value: pack(first, value)


def _text(value: Any) -> bytes:
    data: bytes = value.encode("utf-8", "surrogateescape")
    return _TEXT.pack(ua.VariantType.String, len(data)) + data


_TEXT = Struct("<Bi")
_CODES = {"Boolean": "?", "Int32": "i", "UInt32": "I", "Int64": "q", "Double": "d"}
_BINARY: Mapping[Any, Callable[[Any], bytes]] = {
    **{ua.VariantType[name]: _number(ua.VariantType[name], code) for name, code in _CODES.items()},
    ua.VariantType.String: _text,
}


def _places(shape: Array, prefix: Path) -> Iterator[Path]:
    """Of its elements; the last index is the fastest (Part 6, 5.2.2.16)."""
    return ((*prefix, *indexes) for indexes in product(*map(range, shape.lengths)))


def _nested(flat: Sequence[Any], lengths: Sequence[int]) -> list[Any]:
    if len(lengths) == 1:
        return list(flat)
    size = len(flat) // lengths[0]
    return [_nested(flat[i * size : (i + 1) * size], lengths[1:]) for i in range(lengths[0])]


def _single(plain: Plain, values: Values, place: Path) -> Any:
    value = values.get(place)
    if value is None:
        return _NOTHING[plain.type]
    if plain.type is None:
        return ua.Variant(value, _TYPES[_KINDS[type(value)]])
    return value


_KINDS: Mapping[type, ValueType] = {bool: "bool", int: "int", float: "float", str: "string"}


def _object(record: Record, values: Values, place: Path, encodings: Mapping[int, Any]) -> Any:
    return ua.ExtensionObject(encodings[id(record)], _body(record, values, place))


def _body(record: Record, values: Values, place: Path) -> bytes:
    return b"".join(_field(field, values, (*place, name)) for name, field in record.fields.items())


def _field(shape: Shape, values: Values, place: Path) -> bytes:
    if isinstance(shape, Array):
        # One dimension has its length before it, more of them all their lengths: Part 6, 5.2.5.
        lengths = shape.lengths
        before = (
            ua_binary.pack_uatype(ua.VariantType.Int32, lengths[0])
            if len(lengths) == 1
            else ua_binary.pack_uatype_array(ua.VariantType.Int32, list(lengths))
        )
        return before + b"".join(_field(shape.element, values, each) for each in _places(shape, place))
    if isinstance(shape, Record):
        return _body(shape, values, place)
    return ua_binary.pack_uatype(type_of(shape, in_field=True), _single(shape, values, place))
