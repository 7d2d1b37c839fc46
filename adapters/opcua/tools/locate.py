"""From what a person typed to a node of this session: a node id in any form, or a browse path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from adapters.opcua.browsing import HIERARCHICAL, OBJECT, OBJECTS, ROOT, Attributes, QualifiedName
from adapters.opcua.nodes import NodeId, parse, resolve
from adapters.opcua.tools.crawl import Node, Tree, crawl, objects
from adapters.opcua.tools.explorer import Explorer
from adapters.opcua.tools.pattern import Pattern
from adapters.opcua.tools.written import Written
from gateway.errors import UsageError

_NODE_ID = re.compile(r"(nsu=.+?;|ns=\d+;|[A-Za-z0-9_.-]+:)?[isgb]=.+", re.S)
_DEEPEST = 100


class Located(NamedTuple):
    """A node, and the nodes above it, the folder Objects left out."""

    node: Sequence[Node]  # just the one, as the beginning of a tree
    way: Sequence[Node]


def is_node_id(text: str) -> bool:
    """Whether this is no path."""
    return _NODE_ID.fullmatch(text) is not None


def node_id(text: str, namespaces: Mapping[str, str], uris: Sequence[str]) -> NodeId:
    """The node that is meant, there or not. Raises UsageError."""
    try:
        address = parse(text, namespaces)
    except PydanticCustomError as exc:
        hint = (exc.context or {}).get("hint", "")
        raise UsageError(f"{exc.message()}; {hint}".rstrip("; ")) from exc
    found = resolve(address, uris)
    if found is None:
        raise UsageError(f"'{text}': the server has no namespace {address.namespace}")
    return found


def nothing_called(server: str, text: str) -> str:
    """For people, who forget what a shell does with a semicolon."""
    cut = (
        "; the shell ends a command at a ;, so put node ids into quotes"
        if re.fullmatch(r"(ns|nsu)=[^;]+", text)
        else ""
    )
    return f"{server} has nothing that is called {text}{cut}"


async def located(explorer: Explorer, text: str, written: Written) -> Located:
    """The node with this id, and a way to it. Raises UsageError, NotConnectedError."""
    id = node_id(text, written.prefixes, explorer.uris)
    name, display, node_class = await explorer.look(
        [(id, a) for a in (Attributes.BROWSE_NAME, Attributes.DISPLAY_NAME, Attributes.NODE_CLASS)]
    )
    if not node_class.good:
        raise UsageError(f"the server has no node {text}")
    node = Node(
        id, name.value or QualifiedName(0, ""), display.value.text if display.value else "",
        int(node_class.value), None, HIERARCHICAL, -1, 0, True,
    )  # fmt: skip
    return Located([node], [*await _above(explorer, id), *([] if id == OBJECTS else [node])])


async def _above(explorer: Explorer, id: NodeId) -> list[Node]:
    """The nodes between Objects and this one; as far up as there is a way."""
    way: list[Node] = []
    seen = {id, OBJECTS, ROOT}
    for _ in range(_DEEPEST):
        up = None
        async for _, browsed in explorer.browse([id], inverse=True):
            for reference in browsed.references:
                if reference.target == OBJECTS:
                    return way[::-1]
                if up is None and reference.target and reference.target not in seen:
                    up = reference
        if up is None or up.target is None:
            break
        id = up.target
        seen.add(id)
        way.append(Node(id, up.name, up.display, OBJECT, None, up.kind, -1, 0, False))
    return way[::-1]


async def nodes_of(explorer: Explorer, text: str, written: Written) -> list[tuple[NodeId, str]]:
    """The nodes that an id, a path or a pattern means, each as it is written. Raises UsageError, NotConnectedError."""
    if is_node_id(text):
        return [(node_id(text, written.prefixes, explorer.uris), text)]
    pattern, tree = Pattern(text, written.in_patterns), Tree()
    await crawl(explorer, tree, pattern)
    found = [i for i in tree.order() if tree.nodes[i].meant]
    if pattern.wild:
        found = [i for i in found if tree.nodes[i].node_class == 2]
    if not found and text in ("", "Objects"):
        return [(objects().id, text)]
    if not found:
        raise UsageError(nothing_called("the server", text))
    return [(tree.nodes[i].id, written.shown([tree.nodes[at].name for at in tree.way(i)])) for i in found]
