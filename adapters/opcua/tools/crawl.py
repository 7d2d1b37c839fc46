"""Goes through an address space, level by level, and keeps a small record of each node that is meant.

    start ─ browse a hundred nodes at a time ─▶ children ─ not seen yet, and can lead to a match ─▶ next level

A node is known by its id, so that cycles end; a second way to it is taken only where it can match more than the first. The
standard's properties of a variable (unit, range, texts of states) are noted with it instead of standing for themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from adapters.opcua.browsing import (
    HAS_EVENT_SOURCE,
    HAS_NOTIFIER,
    HAS_PROPERTY,
    METHOD,
    OBJECT,
    OBJECTS,
    SERVER,
    VARIABLE,
    QualifiedName,
    Reference,
)
from adapters.opcua.nodes import NodeId
from adapters.opcua.tools.explorer import Explorer
from adapters.opcua.tools.pattern import Pattern, States

# Properties that say something about their variable (Part 8, 5.3, and Part 5, 12.2); what a method takes says nothing here.
ABOUT = (
    "EngineeringUnits", "EURange", "InstrumentRange", "EnumStrings", "EnumValues", "TrueState", "FalseState",
)  # fmt: skip
_HIDDEN = (
    *ABOUT, "InputArguments", "OutputArguments", "ValuePrecision", "Definition", "ValueAsText", "AxisScaleType",
    "OptionSetValues", "NodeVersion", "LocalTime", "DefaultInstanceBrowseName", "Icon", "NamingRule", "AlwaysGeneratesEvent",
)  # fmt: skip
_ALIASES, _LOCATIONS = NodeId(0, "i", 23470), NodeId(0, "i", 31915)
PLUMBING = frozenset((SERVER, _ALIASES, _LOCATIONS))  # the server's own, not a machine's
_HISTORICAL = NodeId(0, "i", 56)  # HasHistoricalConfiguration: how a server keeps history, not what
_AT_ONCE = 1000  # nodes whose children are asked for before the next level


@dataclass(slots=True)
class Node:
    """One node, as the reference to it told."""

    id: NodeId
    name: QualifiedName
    display: str
    node_class: int
    type: NodeId | None
    reference: NodeId
    parent: int  # its place in the tree; -1: none
    depth: int
    meant: bool  # else it only stands on the way
    trouble: int = 0  # status code, where it could not be browsed
    about: tuple[tuple[str, NodeId], ...] = ()  # its properties of ABOUT


@dataclass(slots=True)
class Tree:
    """What was found so far. The first node is where it began."""

    nodes: list[Node] = field(default_factory=list)
    again: list[tuple[int, NodeId]] = field(default_factory=list)  # a node, and one under it that stands elsewhere
    remote: int = 0  # references to nodes of other servers, or of namespaces this one does not have
    complete: bool = True  # False: there were more than asked for
    plumbing: bool = False  # the server's own was left out

    @property
    def meant(self) -> int:
        """How many nodes were looked for and found."""
        return sum(node.meant for node in self.nodes)

    def way(self, i: int) -> list[int]:
        """From below the start to a node."""
        way = []
        while i > 0:
            way.append(i)
            i = self.nodes[i].parent
        return way[::-1]

    def order(self) -> Iterator[int]:
        """All nodes, each followed by those under it."""
        below = self.below()
        left = [0] if self.nodes else []
        while left:
            i = left.pop()
            yield i
            left += reversed(below.get(i, ()))

    def below(self) -> dict[int, list[int]]:
        """The nodes directly under each."""
        below: dict[int, list[int]] = {}
        for i, node in enumerate(self.nodes):
            if node.parent >= 0:
                below.setdefault(node.parent, []).append(i)
        return below


async def crawl(
    explorer: Explorer,
    tree: Tree,
    pattern: Pattern,
    *,
    start: Sequence[Node] = (),
    depth: int | None = None,
    limit: int = 100_000,
    everything: bool = False,
    on_found: Callable[[int], None] = lambda _: None,
) -> None:
    """Fill `tree`, from the folder Objects or below the last node of `start`, the way to it.

    `depth`: levels below the start. `limit`: nodes that are kept. `everything`: the server's own nodes and properties of
    variables, too. Raises NotConnectedError; what was found until then stays.
    """
    await _Crawl(explorer, tree, pattern, depth, limit, everything, on_found).run(start)


def objects() -> Node:
    """The folder Objects, where everything begins."""
    return Node(OBJECTS, QualifiedName(0, "Objects"), "Objects", OBJECT, None, HAS_PROPERTY, -1, 0, False)


@dataclass(slots=True)
class _Crawl:
    explorer: Explorer
    tree: Tree
    pattern: Pattern
    depth: int | None
    limit: int
    everything: bool
    on_found: Callable[[int], None]
    seen: dict[NodeId, States] = field(default_factory=dict)  # in which states
    shared: dict[object, object] = field(default_factory=dict)  # equal names and types are one object

    async def run(self, start: Sequence[Node]) -> None:
        nodes = self.tree.nodes
        nodes += start or [objects()]
        first = len(nodes) - 1
        states = self.pattern.start
        nodes[first].meant = bool(start)
        self.seen = {node.id: states for node in nodes}
        level, later = deque([(first, states)]), list[tuple[int, Reference, States]]()
        while level:
            part = [level.popleft() for _ in range(min(len(level), _AT_ONCE))]
            browsing = self.explorer.browse([nodes[i].id for i, _ in part])
            async with aclosing(browsing) as answers:
                async for number, browsed in answers:
                    i, states = part[number]
                    if browsed.status >= 0x80000000:
                        nodes[i].trouble = browsed.status
                    for reference in browsed.references:
                        if reference.kind in (HAS_EVENT_SOURCE, HAS_NOTIFIER):
                            later.append((i, reference, states))  # another way, mostly: only if there is no better one
                        else:
                            self._take(i, reference, states, level)
                    if len(nodes) > self.limit:
                        self.tree.complete = False
                        break
            if not self.tree.complete:
                await self.explorer.release()
                del nodes[self.limit + 1 :]
                return
            if not level:
                for i, reference, states in later:
                    if reference.target not in self.seen:
                        self._take(i, reference, states, level)
                later.clear()

    def _take(self, parent: int, reference: Reference, before: States, level: deque[tuple[int, States]]) -> None:
        """One reference: a new node, a property of its variable, or nothing new."""
        above, id = self.tree.nodes[parent], reference.target
        if id is None:
            self.tree.remote += 1
            return
        name = reference.name
        if reference.kind == HAS_PROPERTY and name.namespace == 0 and above.node_class in (VARIABLE, METHOD, OBJECT):
            if name.name in ABOUT and above.node_class == VARIABLE and (name.name, id) not in above.about:
                above.about += ((name.name, id),)
            if name.name in _HIDDEN and not self.everything:
                return
        if reference.kind == _HISTORICAL and not self.everything:
            return
        if id in PLUMBING and not self.everything and above.id == OBJECTS and self.pattern.first != name.name:
            self.tree.plumbing = True
            return
        if self.depth is not None and above.depth >= self.depth:
            return
        after = self.pattern.after(before, _uri(self.explorer.uris, name.namespace), name.name)
        if not after:
            return
        seen = self.seen.get(id)
        if seen is not None:
            self.tree.again.append((parent, id))
            if after <= seen:
                return
        meant = self.pattern.matches(after) and not (seen and self.pattern.matches(seen))
        self.seen[id] = after | (seen or frozenset())
        same = self.shared.setdefault
        display = name.name if reference.display == name.name else reference.display
        node = Node(
            id, same(name, name), display, reference.node_class, same(reference.type, reference.type),  # type: ignore[arg-type]
            same(reference.kind, reference.kind), parent, above.depth + 1, meant,  # type: ignore[arg-type]
        )  # fmt: skip
        self.tree.nodes.append(node)
        if meant:
            self.on_found(1)
        # Below a method there is nothing but its arguments; a variable is asked for its properties in any case.
        deepest = self.depth is not None and node.depth >= self.depth
        if node.node_class == VARIABLE or (node.node_class != METHOD and not deepest):
            level.append((len(self.tree.nodes) - 1, after))


def matching(tree: Tree, pattern: Pattern, uris: Sequence[str], before: Sequence[QualifiedName] = ()) -> list[int]:
    """The nodes of a tree that a pattern means. `before`: the way to where the tree begins."""
    found = []
    states: dict[int, States] = {}
    for i, node in enumerate(tree.nodes):
        if node.parent < 0:
            states[i] = pattern.start
            for name in before:
                states[i] = pattern.after(states[i], _uri(uris, name.namespace), name.name)
        else:
            states[i] = pattern.after(states[node.parent], _uri(uris, node.name.namespace), node.name.name)
        if pattern.matches(states[i]) and (i or before):
            found.append(i)
    return found


def _uri(uris: Sequence[str], index: int) -> str | int:
    return uris[index] if 0 < index < len(uris) else index
