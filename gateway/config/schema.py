"""The JSON Schema for editors, and the reference of every key: both made from the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gateway.config.fields import LEVEL_PATTERN, NAME_PATTERN, with_unit
from gateway.config.load import Protocol
from gateway.config.settings import Settings

Schema = dict[str, Any]


def json_schema(protocols: Mapping[str, Protocol]) -> Schema:
    """JSON Schema (2020-12) of a whole configuration, with the keys of every protocol. Profiles share its machines."""
    defs: dict[str, Schema] = {}
    root = _schema_of(Settings, defs)
    connections, machines = [], []
    for model in dict.fromkeys(p.connection for p in protocols.values()):
        names = sorted(p.name for p in protocols.values() if p.connection is model)
        schema = _schema_of(model, defs)
        schema["properties"]["protocol"] = {**schema["properties"]["protocol"], "enum": names}
        schema["properties"]["protocol"].pop("examples", None)
        connections.append(schema)
    for machine in dict.fromkeys(p.machine for p in protocols.values()):
        schema = _schema_of(machine, defs)
        signals = schema["properties"]["signals"]
        signals |= _named({"anyOf": [*_values(signals), {"type": "null"}]})  # null takes a signal of the profile out
        machines.append(schema)
    root["properties"]["connections"] |= _named({"anyOf": connections})
    root["properties"]["machines"] |= _named({"anyOf": machines}, LEVEL_PATTERN)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the shop-floor gateway",
        **{key: value for key, value in root.items() if key != "title"},
        "$defs": defs,
    }


def _schema_of(model: type[BaseModel], defs: dict[str, Schema]) -> Schema:
    """The schema of one model; what it refers to goes into `defs`."""
    schema = model.model_json_schema(mode="validation")
    _give_defaults_units(schema)
    defs.update(schema.pop("$defs", {}))
    return schema


def _give_defaults_units(schema: Any) -> None:
    """The models keep seconds and bytes; a person writes `10s`."""
    if isinstance(schema, dict):
        if "$comment" in schema and isinstance(schema.get("default"), (int, float)):
            schema["default"] = with_unit(schema["default"], schema["$comment"])
        for child in schema.values():
            _give_defaults_units(child)
    elif isinstance(schema, list):
        for child in schema:
            _give_defaults_units(child)


def _values(schema: Schema) -> list[Schema]:
    """The schemas of the values of a mapping with names as keys."""
    return [*schema.pop("patternProperties", {}).values()] or [schema["additionalProperties"]]


def _named(values: Schema, pattern: str = NAME_PATTERN) -> Schema:
    """A mapping from names to values."""
    return {"propertyNames": {"pattern": pattern}, "additionalProperties": values, "patternProperties": {}}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, for people."""

    path: str
    type: str
    default: str
    description: str
    examples: tuple[str, ...] = ()


def reference(protocols: Mapping[str, Protocol]) -> list[Key]:
    """Every key there is, in the order of the models."""
    defs: dict[str, Schema] = {}
    keys = list(_keys("", _schema_of(Settings, defs), defs))
    for section, attribute in (("connections", "connection"), ("machines", "machine")):
        for model in dict.fromkeys(getattr(p, attribute) for p in protocols.values()):
            families = sorted({p.family for p in protocols.values() if getattr(p, attribute) is model})
            keys += _keys(f"{section}.<{'|'.join(families)}>.", _schema_of(model, defs), defs)
    return keys


def defaults(model: type[BaseModel]) -> dict[str, str]:
    """The keys of a model that have a default worth a word, as one would write it."""
    properties = _schema_of(model, {})["properties"]
    return {name: as_written(p["default"]) for name, p in properties.items() if p.get("default") not in (None, "", [])}


def _keys(prefix: str, schema: Schema, defs: Mapping[str, Schema]) -> Iterator[Key]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        inner, path = _resolve(field, defs), prefix + name
        default = (
            "required" if name in required else "" if field.get("default") is None else as_written(field["default"])
        )
        yield Key(
            path,
            _type(inner),
            default,
            field.get("description", inner.get("description", "")),
            tuple(map(as_written, field.get("examples", ()))),
        )
        if "properties" in inner:
            yield from _keys(f"{path}.", inner, defs)
        for entry in (*inner.get("patternProperties", {}).values(), inner.get("additionalProperties")):
            if isinstance(entry, dict) and "properties" in (entry := _resolve(entry, defs)):
                yield from _keys(f"{path}.<name>.", entry, defs)
        if isinstance(entry := inner.get("items"), dict) and "properties" in (entry := _resolve(entry, defs)):
            yield from _keys(f"{path}[].", entry, defs)


def _resolve(schema: Schema, defs: Mapping[str, Schema]) -> Schema:
    """Through references and `| null`."""
    while True:
        options = [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]
        if "$ref" in schema:
            schema = defs[schema["$ref"].rpartition("/")[2]]
        elif len(options) == 1:
            schema = options[0]
        else:
            return schema


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(s) for s in schema["anyOf"]))
    if "$comment" in schema:
        return str(schema["$comment"])
    if schema.get("properties", {}).keys() == {"secret"}:
        return "{secret: name}"
    names = {
        "object": "mapping",
        "array": "list",
        "string": "text",
        "integer": "whole number",
        "boolean": "true | false",
    }
    kind = str(schema.get("type", "any"))
    return names.get(kind, kind)


def as_written(value: Any) -> str:
    """A default or an example as one would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {as_written(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(as_written, value)) + "]" if isinstance(value, (list, tuple)) else str(value)
