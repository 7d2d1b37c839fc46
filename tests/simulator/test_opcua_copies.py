"""Variables that were made from another one, read by asyncua's client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.client.client import Client

from gateway.config import load
from gateway.runtime.registry import protocols
from simulators.plant import simulate

ua: Any = asyncua.ua

CONFIGURATION = """
connections:
  cnc: {protocol: opcua, url: "opc.tcp://127.0.0.1:4840", security: None}
machines:
  m:
    connection: cnc
    namespaces: {m: "urn:m"}
    signals:
      first: {node: "m:s=a", type: float}
      count: {node: "m:i=7", type: int}
      second: {node: "m:s=b", type: float, unit: Cel, range: [0, 250]}
      third: {node: "m:s=c", type: float}
"""
# Part 3, 5.6.2; Part 6, A: the numbers of the standard's nodes.
DOUBLE, DATA_VARIABLE, HAS_COMPONENT, HAS_TYPE, HAS_PROPERTY = 11, 63, 47, 40, 46
READABLE, SCALAR = 1, -1


async def test_a_copy_has_all_that_a_variable_has(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    async with (
        simulate(load(tmp_path / "gateway.yaml", protocols()), None, None, 0) as plant,
        Client(f"opc.tcp://127.0.0.1:{plant.ports['cnc']}") as client,
    ):
        parents = set()
        for name, text in (("first", "a"), ("second", "b"), ("third", "c")):
            node: Any = client.get_node(ua.NodeId(text, 2))
            assert await node.read_node_class() == ua.NodeClass.Variable
            assert await node.read_browse_name() == ua.QualifiedName(name, 2)
            assert (await node.read_display_name()).Text == name
            assert (await node.read_description()).Text == name
            assert await node.read_data_type() == ua.NodeId(DOUBLE)
            assert await node.read_value_rank() == SCALAR
            assert await node.get_access_level() == await node.get_user_access_level() == {ua.AccessLevel(READABLE - 1)}
            assert (await node.read_attribute(ua.AttributeIds.NodeId)).Value.Value == node.nodeid
            found = {(r.ReferenceTypeId.Identifier, r.IsForward): r.NodeId for r in await node.get_references()}
            assert found.pop((HAS_TYPE, True)) == ua.NodeId(DATA_VARIABLE)
            parents.add(found.pop((HAS_COMPONENT, False)))
            assert {kind for kind, _ in found} == ({HAS_PROPERTY} if name == "second" else set())
        (folder,) = parents
        there: Any = await client.get_node(folder).get_children_descriptions(HAS_COMPONENT)
        assert [(r.NodeId, r.BrowseName.Name, r.DisplayName.Text, r.NodeClass, r.TypeDefinition) for r in there] == [
            (ua.NodeId(id, 2), name, name, ua.NodeClass.Variable, ua.NodeId(DATA_VARIABLE))
            for id, name in (("a", "first"), (7, "count"), ("b", "second"), ("c", "third"))
        ]
        assert await client.get_node(folder).get_child("2:third") == client.get_node(ua.NodeId("c", 2))
        properties = await client.get_node(ua.NodeId("b", 2)).get_properties()
        assert {(await each.read_browse_name()).Name for each in properties} == {"EngineeringUnits", "EURange"}
        span: Any = await client.get_node(ua.NodeId("b", 2)).get_child("0:EURange")
        assert (await span.read_value()).High == 250


async def test_copies_have_values_and_listeners_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    async with simulate(load(tmp_path / "gateway.yaml", protocols()), None, None, 0) as plant:
        nodes = plant.servers["cnc"].server.iserver.aspace  # type: ignore[attr-defined]
        made = [nodes[ua.NodeId(id, 2)].attributes for id in ("a", "b", "c")]
        for attribute in made[0]:
            assert len({id(each[attribute]) for each in made}) == 3, attribute
            assert len({id(each[attribute].datachange_callbacks) for each in made}) == 3, attribute
        assert len({each[ua.AttributeIds.Value].value_callback.__self__ for each in made}) == 3
