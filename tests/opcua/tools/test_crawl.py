"""Browsing servers that can bear little, or mean harm: scripted, by the rules of Part 4, 5.8.

The same against real servers stands in test_spaces.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.opcua.browsing import METHOD, OBJECT, OBJECTS, VARIABLE, Attribute, Browsed, QualifiedName, Reference
from adapters.opcua.nodes import NodeId
from adapters.opcua.security.secure import Security
from adapters.opcua.tools.crawl import Tree, crawl, matching
from adapters.opcua.tools.explorer import CONTINUATION_POINT_INVALID, NO_CONTINUATION_POINTS, Explorer
from adapters.opcua.tools.pattern import Pattern
from adapters.opcua.tools.target import connection_of
from gateway.clock import SystemClock
from gateway.errors import NotConnectedError

HAS_COMPONENT, HAS_PROPERTY, ORGANIZES, HAS_NOTIFIER = (NodeId(0, "i", i) for i in (47, 46, 35, 48))


class BadTooManyOperations(Exception):
    pass


class Script:
    """An address space and its server: `client` of an Explorer."""

    connected = True

    def __init__(
        self,
        most_nodes: int = 10_000,  # refused beyond
        answers: int = 10_000,  # of one request; the rest is left out without a word
        references: int = 10_000,  # of one node in one answer
        points: int = 10_000,  # continuation points at a time
        drops: bool = False,  # forgets the point of one request at the next one
    ) -> None:
        self.children: dict[NodeId, list[Reference]] = {}
        self.garbled: set[NodeId] = set()
        self.most_nodes, self.answers, self.references, self.points, self.drops = (
            most_nodes,
            answers,
            references,
            points,
            drops,
        )
        self.open: dict[bytes, Sequence[Reference]] = {}
        self.sizes: list[int] = []
        self.most_open = self.given = 0

    def add(
        self, parent: NodeId, id: NodeId | None, name: str, node_class: int = OBJECT, kind: NodeId = HAS_COMPONENT
    ) -> NodeId | None:
        self.children.setdefault(parent, []).append(Reference(kind, id, QualifiedName(1, name), name, node_class, None))
        return id

    async def browse(self, nodes: Sequence[NodeId], most: int, uris: object, inverse: bool) -> list[Browsed]:
        self.sizes.append(len(nodes))
        if self.drops:
            self.open.clear()
        if len(nodes) > self.most_nodes:
            raise BadTooManyOperations
        if self.garbled & set(nodes):
            raise ValueError("a string that is none")
        return [self._browsed(self.children.get(node, []), most) for node in nodes[: self.answers]]

    async def browse_next(self, points: Sequence[bytes], uris: object, release: bool) -> list[Browsed]:
        if len(points) > self.most_nodes:
            raise BadTooManyOperations
        found = []
        for point in points:
            rest = self.open.pop(point, None)
            if rest is None:
                found.append(Browsed(CONTINUATION_POINT_INVALID, ()))
            else:
                found.append(Browsed(0, ()) if release else self._browsed(rest, 0))
        return found

    def _browsed(self, all_of_them: Sequence[Reference], most: int) -> Browsed:
        most = min(most or 10**9, self.references)
        if len(all_of_them) <= most:
            return Browsed(0, all_of_them)
        if len(self.open) >= self.points:
            return Browsed(NO_CONTINUATION_POINTS, ())
        self.given += 1
        point = f"point {self.given}".encode()
        self.open[point] = all_of_them[most:]
        self.most_open = max(self.most_open, len(self.open))
        return Browsed(0, all_of_them[:most], point)

    async def look(self, wanted: Sequence[tuple[NodeId, int]]) -> list[Attribute]:
        self.sizes.append(len(wanted))
        if len(wanted) > self.most_nodes:
            raise BadTooManyOperations
        if self.garbled & {node for node, _ in wanted}:
            raise ValueError("a date that is none")
        return [Attribute(0, node.identifier) for node, _ in wanted[: self.answers]]


async def explorer_of(script: Script, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    connection, clock = connection_of("opc.tcp://127.0.0.1:4840", security="None"), SystemClock()
    security = Security(connection, "script", Path("/nonexistent"), "test", clock, Path())
    explorer = Explorer(connection, "script", "test", clock, security)
    explorer._client = script  # type: ignore[assignment]
    explorer.begin()
    monkeypatch.setattr("adapters.opcua.tools.explorer.MOST_REST", 0.0)
    return explorer


def number(i: int) -> NodeId:
    return NodeId(1, "i", i)


def wide(script: Script, folders: int, each: int) -> set[NodeId]:
    """Folders with variables in each."""
    ids = set()
    for f in range(folders):
        folder = number(f + 1)
        script.add(OBJECTS, folder, f"Folder{f}")
        ids.add(folder)
        for v in range(each):
            ids.add(number(1000 * (f + 1) + v))
            script.add(folder, number(1000 * (f + 1) + v), f"Value{v}", VARIABLE)
    return ids


async def found(script: Script, monkeypatch: pytest.MonkeyPatch, pattern: str = "**", **more: object) -> Tree:
    explorer, tree = await explorer_of(script, monkeypatch), Tree()
    await crawl(explorer, tree, Pattern(pattern, {}), **more)  # type: ignore[arg-type]
    return tree


LIMITED = {
    "no limits": {},
    "100 references an answer": {"references": 100},
    "one reference an answer": {"references": 1},
    "one continuation point": {"references": 100, "points": 1},
    "three continuation points": {"references": 7, "points": 3},
    "points that are dropped": {"references": 100, "drops": True, "points": 2},
    "seven nodes a request": {"most_nodes": 7},
    "one node a request": {"most_nodes": 1, "references": 100, "points": 1},
    "answers about five nodes": {"answers": 5},
}


@pytest.mark.parametrize("limits", LIMITED.values(), ids=LIMITED.keys())
async def test_everything_is_found_once_whatever_the_server_can_bear(limits, monkeypatch):
    script = Script(**limits)
    expected = wide(script, 12, 250)
    tree = await found(script, monkeypatch)
    assert [node.trouble for node in tree.nodes if node.trouble] == []
    ids = [node.id for node in tree.nodes if node.meant]
    assert len(ids) == len(set(ids))
    assert set(ids) == expected
    assert script.open == {}, "no continuation point is left at the server"
    assert script.most_open <= limits.get("points", 10**9)


@pytest.mark.parametrize("limits", [{"references": 100, "points": 1}, {"references": 100, "drops": True, "points": 2}])
async def test_without_asking_again_nodes_would_be_missing(limits, monkeypatch):
    """The control: the same servers, and nobody minds that a continuation point is refused or dropped."""
    for name in ("NO_CONTINUATION_POINTS", "CONTINUATION_POINT_INVALID"):
        monkeypatch.setattr(f"adapters.opcua.tools.explorer.{name}", -1)
    script = Script(**limits)
    expected = wide(script, 12, 250)
    tree = await found(script, monkeypatch)
    assert {node.id for node in tree.nodes if node.meant} < expected


async def test_a_server_without_any_continuation_point_is_asked_for_all_at_once(monkeypatch):
    script = Script(points=0)
    expected = wide(script, 3, 2500)  # more than we ask for at a time
    tree = await found(script, monkeypatch)
    assert {node.id for node in tree.nodes if node.meant} == expected


async def test_where_even_that_is_refused_the_node_says_so_and_the_others_are_found(monkeypatch):
    script = Script(references=5, points=0)
    wide(script, 3, 10)
    script.add(OBJECTS, number(9), "Small")
    script.add(number(9), number(99), "Value", VARIABLE)
    tree = await found(script, monkeypatch)
    by_name = {node.name.name: node for node in tree.nodes}
    assert by_name["Folder0"].trouble == NO_CONTINUATION_POINTS
    assert "Value" in by_name
    assert by_name["Small"].trouble == 0


async def test_batches_stay_small_once_they_were_refused(monkeypatch):
    script = Script(most_nodes=30)
    wide(script, 2, 500)
    await found(script, monkeypatch)
    refused = [size for size in script.sizes if size > 30]
    assert refused == [100, 50], "halved twice, and remembered"


async def test_cycles_end(monkeypatch):
    script = Script()
    a, b, c = number(1), number(2), number(3)
    script.add(OBJECTS, a, "a")
    script.add(a, b, "b")
    script.add(b, c, "c")
    script.add(c, a, "a again")
    script.add(c, c, "itself")
    script.add(c, OBJECTS, "Objects again")
    tree = await found(script, monkeypatch)
    assert [node.name.name for node in tree.nodes] == ["Objects", "a", "b", "c"]
    assert len(tree.again) == 3


async def test_a_second_way_is_taken_where_only_it_matches(monkeypatch):
    script = Script()
    shared = number(7)
    script.add(OBJECTS, number(1), "First")
    script.add(number(1), shared, "Shared")
    script.add(OBJECTS, number(2), "Second")
    script.add(number(2), shared, "Shared")
    script.add(shared, number(8), "Value", VARIABLE)
    tree = await found(script, monkeypatch, "Second/*/Value")
    (value,) = [i for i, node in enumerate(tree.nodes) if node.meant]
    assert [tree.nodes[i].name.name for i in tree.way(value)] == ["Second", "Shared", "Value"]


async def test_cycles_end_with_patterns_too(monkeypatch):
    script = Script()
    script.add(OBJECTS, number(1), "a")
    script.add(number(1), number(2), "b")
    script.add(number(2), number(1), "a")
    tree = await found(script, monkeypatch, "**/a/**/b")
    assert [node.name.name for node in tree.nodes if node.meant] == ["b"]


async def test_a_pattern_browses_nothing_it_does_not_need(monkeypatch):
    script = Script()
    wide(script, 50, 100)
    await found(script, monkeypatch, "Folder7/Value1")
    assert sum(script.sizes) == 3, "Objects, the folder, and the variable for its properties"


async def test_depth(monkeypatch):
    script = Script()
    above = OBJECTS
    for i in range(1, 200):
        script.add(above, number(i), f"level {i}")
        above = number(i)
    assert (await found(script, monkeypatch, depth=3)).meant == 3
    assert (await found(script, monkeypatch)).meant == 199


async def test_more_than_wanted_is_left_and_the_continuation_points_given_back(monkeypatch):
    script = Script(references=100, points=5)
    wide(script, 4, 1000)
    tree = await found(script, monkeypatch, limit=600)
    assert not tree.complete
    assert len(tree.nodes) == 601
    assert script.open == {}


async def test_nodes_of_other_servers_are_counted_and_not_followed(monkeypatch):
    script = Script()
    script.add(OBJECTS, None, "elsewhere")
    tree = await found(script, monkeypatch)
    assert (tree.remote, tree.meant) == (1, 0)


async def test_an_answer_that_cannot_be_decoded_costs_its_node_only(monkeypatch):
    script = Script()
    expected = wide(script, 30, 2)
    script.garbled = {number(13)}
    tree = await found(script, monkeypatch)
    (bad,) = [node for node in tree.nodes if node.trouble]
    assert bad.id == number(13)
    under_it = {reference.target for reference in script.children[number(13)]}
    assert {node.id for node in tree.nodes if node.meant} == expected - under_it


async def test_attributes_of_a_node_that_cannot_be_decoded_cost_no_other(monkeypatch):
    script = Script(most_nodes=60, answers=17)
    script.garbled = {number(31), number(77)}
    explorer = await explorer_of(script, monkeypatch)
    values = await explorer.look([(number(i), 13) for i in range(100)])
    assert [i for i, value in enumerate(values) if not value.good] == [31, 77]
    assert [value.value for value in values if value.good] == [i for i in range(100) if i not in (31, 77)]


async def test_a_slow_server_is_asked_for_less(monkeypatch):
    class Slow(Script):
        async def browse(self, nodes, most, uris, inverse):
            if len(nodes) > 20:
                self.sizes.append(len(nodes))
                raise TimeoutError
            return await super().browse(nodes, most, uris, inverse)

    script = Slow()
    expected = wide(script, 1, 300)
    tree = await found(script, monkeypatch)
    assert {node.id for node in tree.nodes if node.meant} == expected
    assert [size for size in script.sizes if size > 20] == [100, 50, 25]


async def test_one_that_never_answers_is_not_connected(monkeypatch):
    class Dead(Script):
        async def browse(self, nodes, most, uris, inverse):
            raise TimeoutError

    with pytest.raises(NotConnectedError, match="no answer in time"):
        await found(Dead(), monkeypatch)


async def test_what_was_found_stays_when_it_is_ended(monkeypatch):
    class Hanging(Script):
        async def browse(self, nodes, most, uris, inverse):
            if nodes[0] != OBJECTS:
                await asyncio.Event().wait()
            return await super().browse(nodes, most, uris, inverse)

    script = Hanging()
    wide(script, 3, 3)
    explorer, tree = await explorer_of(script, monkeypatch), Tree()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await crawl(explorer, tree, Pattern("**", {}))
    assert [node.name.name for node in tree.nodes if node.meant] == ["Folder0", "Folder1", "Folder2"]


async def test_other_ways_come_last(monkeypatch):
    script = Script()
    script.add(OBJECTS, number(1), "Server-like", kind=ORGANIZES)
    script.add(number(1), number(2), "Machine", kind=HAS_NOTIFIER)
    script.add(OBJECTS, number(3), "Folder")
    script.add(number(3), number(2), "Machine")
    tree = await found(script, monkeypatch)
    (machine,) = [i for i, node in enumerate(tree.nodes) if node.id == number(2)]
    assert [tree.nodes[i].name.name for i in tree.way(machine)] == ["Folder", "Machine"]


async def test_properties_about_a_variable_stand_with_it(monkeypatch):
    script = Script()
    script.add(OBJECTS, number(1), "Speed", VARIABLE)
    for i, name in enumerate(("EngineeringUnits", "EURange", "ValuePrecision")):
        reference = Reference(HAS_PROPERTY, number(10 + i), QualifiedName(0, name), name, VARIABLE, None)
        script.children.setdefault(number(1), []).append(reference)
    script.add(number(1), number(20), "EURange", VARIABLE, HAS_PROPERTY)  # of another namespace: the manufacturer's own
    script.add(OBJECTS, number(2), "Start", METHOD)
    script.add(number(2), number(30), "never asked", VARIABLE)
    tree = await found(script, monkeypatch)
    assert [node.id for node in tree.nodes if node.meant] == [number(1), number(2), number(20)]
    assert tree.nodes[1].about == (("EngineeringUnits", number(10)), ("EURange", number(11)))
    assert len((await found(script, monkeypatch, everything=True)).nodes) == 7


async def test_matching_in_a_tree_is_what_browsing_finds(monkeypatch):
    script = Script()
    wide(script, 3, 3)
    tree = await found(script, monkeypatch)
    for pattern in ("Folder1", "*/Value2", "**/Value*", "Folder?", "nothing"):
        names = {tree.nodes[i].id for i in matching(tree, Pattern(pattern, {}), ())}
        assert names == {node.id for node in (await found(script, monkeypatch, pattern)).nodes if node.meant}


def test_a_hundred_thousand_nodes_take_little_memory(monkeypatch):
    import tracemalloc

    script = Script()
    wide(script, 100, 999)

    async def measured() -> int:
        tracemalloc.start()
        tree = await found(script, monkeypatch)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert tree.meant == 100 * 1000
        return size

    assert asyncio.run(measured()) < 50_000_000
