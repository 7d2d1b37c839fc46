"""What pydantic found, said as a person would say it: at its place, with what was probably meant."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.config.fields import with_unit
from gateway.config.yaml_file import Node
from gateway.errors import ConfigError

Path = tuple[str | int, ...]


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`did you mean 'int32'?`, or what there is to choose from; empty where there is nothing."""
    known = list(options)
    if word in known:
        return f"write {word} without quotes"
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    if close:
        # 'float' is as near to float32 as to float64: say both rather than guess.
        ratio = [difflib.SequenceMatcher(None, word.lower(), each).ratio() for each in close]
        best = [lower[each] for each, r in zip(close, ratio, strict=True) if r > ratio[0] - 0.01]
        return f"did you mean {' or '.join(map(repr, sorted(best)))}?"
    if not known:
        return ""
    shown = ", ".join(sorted(known)[:30])
    return f"known: {shown}" + (", …" if len(known) > 30 else "")


def explain(exc: ValidationError, model: type[BaseModel], node: Node, where: Path) -> list[ConfigError]:
    """Every mistake pydantic found in `node`, which stands at `where` and was checked against `model`."""
    return [_explain(error, model, node, where) for error in exc.errors(include_url=False)]


def _explain(error: ErrorDetails, model: type[BaseModel], node: Node, where: Path) -> ConfigError:
    path, of_key = _path(error["loc"], node)
    if error["type"] in _LIMITS and isinstance(written := _written(node, path), str):
        error = {**error, "input": written}  # `30s`, which is the number 30.0 by the time it is compared
    message, hint, key = _message(error, path, model)
    if key:
        path = (*path, key)
    mark = node.find(path[:-1], key=True) if error["type"] == "missing" else None
    if mark is None:
        points_at_key = of_key or error["type"] == "extra_forbidden" or bool(key)
        mark = node.find(path, key=points_at_key)
    if (span := error.get("ctx", {}).get("span")) is not None:
        mark = mark.within(str(error["input"]), *span)
    return mark.error(message, hint, ".".join(map(str, (*where, *path))))


def _written(node: Node, path: Path) -> Any:
    """What stands at a place, as it was written; None where nothing does."""
    at: Any = node
    for step in path:
        value = at.value
        if isinstance(value, dict):
            at = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            at = value[step]
        else:
            return None
        if at is None:
            return None
    return at.value


def _path(loc: tuple[int | str, ...], node: Node) -> tuple[Path, bool]:
    """pydantic's path without the steps that are not in the file; and whether a key is meant, not its value."""
    steps: list[int | str] = []
    at: Node | None = node
    for i, step in enumerate(loc):
        if step == "[key]":
            return tuple(steps), True
        child = None
        if at is not None and isinstance(at.value, dict):
            child = at.value.get(str(step))
        elif at is not None and isinstance(at.value, list) and isinstance(step, int) and step < len(at.value):
            child = at.value[step]
        if child is None and i < len(loc) - 1:
            continue  # the name of a branch of a union
        steps.append(step)
        at = child
    return tuple(steps), False


def _message(error: ErrorDetails, path: Path, model: type[BaseModel]) -> tuple[str, str, str]:
    """What is wrong, what to do, and the key below this place that is meant, if it is not the place itself."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    last = str(path[-1]) if path else ""
    said = shown(value)
    if kind == "mistake":
        return context["message"], context["hint"], context["key"]
    if kind == "missing":
        return f"'{last}' is missing", _example(model, path), ""
    if kind == "extra_forbidden":
        section = _model_at(model, path[:-1])
        return f"'{last}' is not a key here", did_you_mean(last, _keys(section) if section else ()), ""
    if kind in ("literal_error", "enum"):
        options = [part.strip(" '") for part in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"{said} is not known", did_you_mean(str(value), options), ""
    if kind in _LIMITS:
        text, name = _LIMITS[kind]
        return f"{said} is {text.format(_bound(context[name], value))}", "", ""
    if kind in _TYPES:
        hint = (
            f'put it into quotes: "{value}"'
            if kind == "string_type" and isinstance(value, (int, float, bool))
            else 'put it into quotes: "{…}"'
            if kind == "string_type" and isinstance(value, dict)
            else _example(model, path)
        )
        return (
            f"{said} is not {_TYPES[kind]}"
            if value is not None
            else f"'{last}' has no value; {_TYPES[kind]} is needed",
            hint,
            "",
        )
    return error["msg"][:1].lower() + error["msg"][1:], _example(model, path), ""


_TYPES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a mapping (key: value)"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "string_type": "text",
    "path_type": "a path",
}
_LIMITS = {
    "greater_than_equal": ("too small: at least {}", "ge"),
    "greater_than": ("too small: more than {}", "gt"),
    "less_than_equal": ("too large: at most {}", "le"),
    "less_than": ("too large: less than {}", "lt"),
    "string_too_long": ("too long: at most {} characters", "max_length"),
    "string_too_short": ("too short: at least {} characters", "min_length"),
    "too_long": ("too long: at most {} entries", "max_length"),
    "too_short": ("too short: at least {} entries", "min_length"),
}


def _bound(bound: Any, value: Any) -> Any:
    """A limit as one would write it beside this value: `1h` beside `0s`."""
    if not isinstance(value, str) or not value.strip()[-1:].isalpha():
        return bound
    return with_unit(bound, "size" if value.strip().endswith("B") else "duration")


def shown(value: Any) -> str:
    """A value as an error names it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if isinstance(value, (int, float)) and len(text) <= 60:
        return text
    return f"'{text[:60]}…'" if len(text) > 60 else f"'{text}'"


def _example(model: type[BaseModel], path: Path) -> str:
    """The description and an example of the key at `path`."""
    section = _model_at(model, path[:-1]) if path else None
    field = _keys(section).get(str(path[-1])) if section else None
    if field is None:
        return ""
    examples = ", for example " + " or ".join(f"{path[-1]}: {e}" for e in field.examples[:2]) if field.examples else ""
    return f"{(field.description or str(path[-1])).rstrip('.')}{examples}"


def _keys(section: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of a section as they are written: `from` is no name in Python."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that describes the mapping at `path`, where there is one."""
    at: Any = model
    for step in path:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = _keys(at).get(str(step))
            if field is None:
                return None
            at = _bare(field.annotation)
        else:
            arguments = get_args(at)
            if not arguments:
                return None
            at = _bare(arguments[-1])  # the values of a mapping, the entries of a list
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """Without Annotated and Optional."""
    while True:
        arguments = [a for a in get_args(annotation) if a is not type(None)]
        is_union = get_origin(annotation) in (Union, types.UnionType)
        if hasattr(annotation, "__metadata__") or (is_union and len(arguments) == 1):
            annotation = arguments[0]
        else:
            return annotation
