"""Node ids and browse paths: as they are written, and what they mean in a session.

    "m:s=CNC1.Speed" ─ parse ─▶ NodeAddress(urn:shop:cnc, s, CNC1.Speed) ─ resolve(uris of this session) ─▶ NodeId(3, s, …)
    "m:CNC1/m:Speed" ─ parse_path ─▶ PathAddress ─ resolve_path ─▶ the same with indexes, for the server to follow

An index into the server's namespaces holds for one session only: after a restart the same index can be another machine.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast
from uuid import UUID

from gateway.config.explain import did_you_mean
from gateway.config.fields import mistake

Kind = Literal["i", "s", "g", "b"]
Identifier = int | str | UUID | bytes

_FORM = re.compile(
    r"(?:nsu=(?P<uri>.+?);|ns=(?P<index>[0-9]{1,5});|(?P<prefix>[A-Za-z0-9_.-]+):)?(?P<kind>[isgb])=(?P<id>.+)"
)
_EXAMPLES = 'for example "m:s=CNC1.Speed" with `namespaces: {m: "urn:…"}`, "nsu=urn:…;s=CNC1.Speed" or i=2258'


class NodeAddress(NamedTuple):
    """A node by namespace URI; or by index, as in `ns=2;…`, which nothing keeps from moving."""

    namespace: str | int
    kind: Kind
    identifier: Identifier

    @property
    def namespaces(self) -> Sequence[str | int]:
        return (self.namespace,)


class PathAddress(NamedTuple):
    """Browse names that lead from the folder Objects to a node, each with its namespace."""

    steps: tuple[tuple[str | int, str], ...]

    @property
    def namespaces(self) -> Sequence[str | int]:
        return [namespace for namespace, _ in self.steps]


Address = NodeAddress | PathAddress


class NodeId(NamedTuple):
    """A node of one session."""

    namespace: int
    kind: Kind
    identifier: Identifier


def parse(text: str, namespaces: Mapping[str, str]) -> NodeAddress:
    """Understand a node id as it is written. Raises a mistake (PydanticCustomError)."""
    if text != text.strip() or not text.isprintable():
        raise mistake(f"the node id {text!r} begins or ends with a blank, or has a control character in it")
    match = _FORM.fullmatch(text)
    if match is None:
        raise mistake(f"'{text}' is not a node id", _EXAMPLES)
    uri, index, prefix, kind, identifier = match.group("uri", "index", "prefix", "kind", "id")
    namespace: str | int = 0
    if uri is not None:
        namespace = uri.replace("%3B", ";").replace("%3b", ";").replace("%25", "%")  # Part 6, 5.1.13
    elif index is not None:
        namespace = int(index)
    elif prefix is not None:
        if prefix not in namespaces:
            hint = (
                did_you_mean(prefix, namespaces)
                if namespaces
                else f'add `namespaces: {{{prefix}: "urn:…"}}` to the machine'
            )
            raise mistake(f"'{prefix}' is not in `namespaces` of this machine", hint)
        namespace = namespaces[prefix]
    elif kind != "i":
        known = next(iter(namespaces), "m")
        raise mistake(f"'{text}' has no namespace", f'did you mean "{known}:{text}"?')
    return NodeAddress(namespace, cast("Kind", kind), _identifier(kind, identifier))


def _identifier(kind: str, text: str) -> Identifier:
    try:
        if kind == "i":
            if not text.isdecimal() or int(text) >= 2**32:
                raise ValueError
            return int(text)
        if kind == "g":
            return UUID(text)
        if kind == "b":
            return b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        wanted = {"i": "a number below 2^32", "g": "a GUID such as 72962b91-fa75-4ae6-8d28-b404dc7daf63", "b": "base64"}
        raise mistake(
            f"'{text}' is not {wanted[kind]}", f"i= number, s= text, g= GUID, b= base64; {_EXAMPLES}"
        ) from None
    return text


def resolve(address: NodeAddress, uris: Sequence[str]) -> NodeId | None:
    """The node in a session with these namespaces; None where the server does not have its namespace."""
    if isinstance(address.namespace, int):
        return NodeId(address.namespace, address.kind, address.identifier)
    if address.namespace not in uris:
        return None
    return NodeId(uris.index(address.namespace), address.kind, address.identifier)


# --- browse paths ----------------------------------------------------------------------------------------------------

_STEP = re.compile(r"(?:(?P<prefix>[A-Za-z0-9_.-]+):)?(?P<name>(?:&.|[^&/:])+)")  # & escapes: Part 4, A.2
_PATH_EXAMPLE = 'for example "m:CNC1/m:Spindle/m:Speed" with `namespaces: {m: "urn:…"}`'


def parse_path(text: str, namespaces: Mapping[str, str]) -> PathAddress:
    """Understand a browse path as it is written. Raises a mistake (PydanticCustomError)."""
    if text != text.strip() or not text.isprintable():
        raise mistake(f"the path {text!r} begins or ends with a blank, or has a control character in it")
    steps: list[tuple[str | int, str]] = []
    at = len(text) - len(text.removeprefix("/").removeprefix("Objects/"))
    while True:
        match = _STEP.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != "/"):
            raise mistake(
                f"'{text}' is not a browse path", f"{_PATH_EXAMPLE}; & before a / or : that belongs to a name"
            )
        prefix, name = match.group("prefix", "name")
        namespace: str | int = 0
        if prefix in namespaces:
            namespace = namespaces[prefix]
        elif prefix is not None and prefix.isdecimal():
            namespace = int(prefix)
        elif prefix is not None:
            hint = did_you_mean(prefix, namespaces) if namespaces else f'add `namespaces: {{{prefix}: "urn:…"}}`'
            raise mistake(f"'{prefix}' is not in `namespaces` of this machine", hint)
        steps.append((namespace, re.sub(r"&(.)", r"\1", name)))
        at = match.end() + 1
        if at > len(text):
            return PathAddress(tuple(steps))


def resolve_path(address: PathAddress, uris: Sequence[str]) -> tuple[tuple[int, str], ...] | None:
    """The steps with the indexes of this session; None where the server does not have one of the namespaces."""
    steps = []
    for namespace, name in address.steps:
        if isinstance(namespace, str) and namespace not in uris:
            return None
        steps.append((uris.index(namespace) if isinstance(namespace, str) else namespace, name))
    return tuple(steps)
