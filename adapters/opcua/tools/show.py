"""Nodes for a screen and for programs: a row of `--json`, a line of a tree or list. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adapters.opcua.browsing import CLASSES, VARIABLE, Attribute, QualifiedName, Structure
from adapters.opcua.nodes import NodeId
from adapters.opcua.structures.definitions import ABSENT, Record
from adapters.opcua.tools.crawl import Node, Tree
from adapters.opcua.tools.describe import HISTORY, READABLE, WRITABLE, Description
from adapters.opcua.tools.written import Written
from gateway.model import quality_text

_LONGEST_VALUE, _LONGEST_TEXT = 40, 60
_MOST_ELEMENTS = 8


@dataclass(slots=True)
class Row:
    """A node with everything that is known about it."""

    node: Node
    way: Sequence[QualifiedName]
    description: Description | None = None  # None: there was no time to ask


def row_of(tree: Tree, i: int, description: Description | None, before: Sequence[QualifiedName] = ()) -> Row:
    """`before`: the way to where the tree begins."""
    return Row(tree.nodes[i], [*before, *(tree.nodes[at].name for at in tree.way(i))], description)


def object_of(row: Row, written: Written) -> dict[str, Any]:
    """A node as an object of `--json`. What it does not have is left out."""
    node, d = row.node, row.description
    found: dict[str, Any] = {
        "path": written.path(row.way) or written.shown(row.way),
        "node": written.node(node.id) or written.by_uri(node.id),
        "nsu": written.by_uri(node.id),
        "class": CLASSES.get(node.node_class, str(node.node_class)),
        "name": node.name.name,
    }
    if node.display != node.name.name:
        found["display_name"] = node.display
    if node.trouble:
        found["trouble"] = quality_text(node.trouble)
    if d is None:
        return found
    if d.text and d.text != node.name.name:
        found["description"] = d.text
    if d.notifier:
        found["events"] = True
    if node.node_class == VARIABLE:
        found |= {"type": d.type.name if d.type else None, "shape": d.shape, "access": access_text(d.access)}
        found |= value_object(d.value, written)
        if d.state:
            found["text"] = d.state
        if d.unit:
            found["unit"] = d.unit
        if d.shown_unit and d.shown_unit != d.unit:
            found["unit_of_server"] = d.shown_unit
        if d.range:
            found["range"] = list(d.range)
        if d.states:
            found["enum"] = {str(number): text for number, text in d.states.items()}
    return found


def value_object(value: Attribute, written: Written) -> dict[str, Any]:
    """Value, status and time stamps (ms since 1970) for `--json`."""
    found: dict[str, Any] = {"value": plain(value.value, written) if value.good else None}
    found["quality"] = quality_text(value.status)
    for key, time in (("t", value.source_time), ("server_t", value.server_time)):
        if time is not None:
            found[key] = time // 1000 / 1000
    return found


def plain(value: Any, written: Written | None = None) -> Any:
    """A value as JSON has it; what is no number or text becomes text."""
    if isinstance(value, NodeId):
        return (written.node(value) if written else None) or f"ns={value.namespace};{value.kind}={value.identifier!s}"
    if isinstance(value, Structure):
        return f"structure, {len(value.body or b'')} bytes"
    if isinstance(value, Record):
        return {n: plain(v, written) for n, v in zip(value.layout.names, value.values, strict=True) if v is not ABSENT}
    if isinstance(value, Mapping):
        return {str(key): plain(each, written) for key, each in value.items()}
    if isinstance(value, QualifiedName):
        return f"{value.namespace}:{value.name}"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        fields = value._asdict()
        return fields["text"] if "text" in fields and "locale" in fields else plain(fields, written)
    if isinstance(value, (list, tuple)):
        return [plain(each, written) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")) and isinstance(value, float):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def value_text(value: Attribute, longest: int = _LONGEST_VALUE) -> str:
    """A value in a few characters; of a bad one its status."""
    if not value.good:
        return quality_text(value.status)
    text = _text(plain(value.value))
    text = "".join(c if c.isprintable() else " " for c in text)
    if value.status:
        text += f" ({quality_text(value.status)})"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        shown = ", ".join(map(_text, value[:_MOST_ELEMENTS]))
        return f"[{shown}{', …' if len(value) > _MOST_ELEMENTS else ''}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)


def access_text(access: int) -> str:
    """`r`, `rw`, `rwh`: read, written, with history."""
    letters = "".join(letter for bit, letter in ((READABLE, "r"), (WRITABLE, "w"), (HISTORY, "h")) if access & bit)
    return letters or "-"


def name_of(row: Row, written: Written, indent: int | None) -> str:
    """The first column of a line."""
    if indent is None:
        return written.shown(row.way)
    return "  " * indent + (written.shown(row.way[-1:]) if row.way else "Objects")


def line_of(row: Row, written: Written, width: int, indent: int | None) -> str:
    """A node in a line; `indent`: its level in a tree, None in a list."""
    node, d = row.node, row.description
    columns = [name_of(row, written, indent).ljust(width)]
    if node.node_class == VARIABLE and d is not None:
        columns += [f"{d.shape:<14}", f"{access_text(d.access):<3}"]
        value = value_text(d.value)
        columns.append(f"{d.state} ({value})" if d.state and d.value.good else " ".join(filter(None, (value, d.unit))))
        if d.range:
            columns.append(f"[{d.range.low:g} … {d.range.high:g}]")
    else:
        columns.append(CLASSES.get(node.node_class, "?"))
        if d is not None and d.notifier:
            columns.append("events")
    if node.trouble:
        columns.append(f"not browsed: {quality_text(node.trouble)}")
    columns.append(written.node(node.id) or written.by_uri(node.id))
    if d is not None and d.text and d.text != node.name.name:
        columns.append(f"# {d.text if len(d.text) <= _LONGEST_TEXT else d.text[: _LONGEST_TEXT - 1] + '…'}")
    text = "  ".join(columns)
    return "".join(c if c.isprintable() else " " for c in text)
