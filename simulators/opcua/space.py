"""The address space: the namespaces, variables, objects and data types that a plan needs, on asyncua's server.

Objects ─┬─ machine ─┬─ variables that the configuration names by node
         │           └─ objects that raise events, by node
         ├─ CNC1 ─ Spindle ─ Speed: made along the browse paths that lead to them
         └─ Server …: the server's own, which stay as they are

Data types of structures and enumerations stand below those of the standard, with their DataTypeDefinition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncua.ua
from asyncua.common.manage_nodes import create_data_type, create_encoding
from asyncua.common.structures104 import new_enum, new_struct_field
from asyncua.server.server import Server

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from simulators.machine import SimulatedMachine
from simulators.opcua.cells import Cell
from simulators.opcua.copies import Pattern
from simulators.opcua.events import Stream
from simulators.opcua.places import NodeId, Place, steps_text
from simulators.opcua.shapes import Array, Plain, Shape
from simulators.opcua.units import NAMESPACE, unit_of
from simulators.opcua.variables import Plan, Variable, plan
from simulators.opcua.variants import type_of, variant

ua: Any = asyncua.ua  # the types it declares are not those it takes

_MOST_IN_A_FOLDER = 200
_SERVER = ua.NodeId(ua.ObjectIds.Server)


class Placed(NamedTuple):
    """A variable with its node."""

    variable: Variable
    node: Any
    cell: Cell


class Space:
    """What was built."""

    def __init__(self, server: Server) -> None:
        self.variables: list[Placed] = []
        self.streams: list[tuple[Stream, Any]] = []  # with the node of their object
        self.left_out: dict[str, str] = {}
        self.reads_server = False  # somebody wants nodes of the server's own
        self._server = server
        self._folders: dict[str, list[Any]] = {}  # by machine
        self._inside: Counter[str] = Counter()  # nodes in them
        self._named: set[Any] = set()  # node ids that the configuration gives out
        self._known: dict[Any, Any] = {}  # what stands at a place, or on the way to it -> node
        self._patterns: dict[Any, Pattern] = {}  # of single values, by folder and type
        self._taken: dict[Any, str] = {}  # nodes that were made -> for what

    async def build(
        self, connection: OpcuaConnection, machines: Sequence[SimulatedMachine], before: Sequence[str]
    ) -> None:
        """`before`: namespaces that come before those of the configuration, and so move their indexes."""
        for uri in before:
            await self._server.register_namespace(uri)
        await self._register(machines)
        planned = plan(connection, machines, await self._server.get_namespace_array())
        self.left_out = planned.left_out
        self._named = {_node_id(place) for place in (*planned.variables, *planned.streams) if isinstance(place, NodeId)}
        for place in sorted([*planned.variables, *planned.streams], key=_depth):  # from the outside in
            variable = planned.variables.get(place)
            if variable is not None:
                await self._add_variable(variable)
            else:
                await self._add_stream(place, planned)

    # --- namespaces ------------------------------------------------------------------------------------------------

    async def _register(self, machines: Sequence[SimulatedMachine]) -> None:
        """All that are named; an index that is not there yet gets what comes along."""
        for machine in machines:
            assert isinstance(machine.settings, OpcuaMachine)
            for name in machine.settings.signals:
                for namespace in machine.settings.address_of(name).namespaces:
                    if isinstance(namespace, str):
                        await self._server.register_namespace(namespace)
                        continue
                    while len(known := await self._server.get_namespace_array()) <= namespace:
                        await self._server.register_namespace(f"urn:shopfloor-gateway:simulator:{len(known)}")

    # --- nodes -----------------------------------------------------------------------------------------------------

    async def _add_variable(self, variable: Variable) -> None:
        found = await self._stand(variable.place, [point.name for point in variable.points])
        if found is None:
            return
        parent, id, name = found
        name = name or ua.QualifiedName(variable.first.signal, id.NamespaceIndex)
        encodings: dict[int, Any] = {}  # node ids of its structures, by the id() of their records
        type = await self._data_type(variable.shape, name, name.Name, encodings)
        node = await self._make(variable.shape, type, parent, id, name, encodings)
        self._known[variable.place] = node
        self._taken[node.nodeid] = variable.first.name
        await self._add_properties(variable, node)
        attribute = self._server.iserver.aspace[node.nodeid].attributes[ua.AttributeIds.Value]
        self.variables.append(Placed(variable, node.nodeid, Cell(attribute, variable.shape, encodings)))

    async def _make(self, shape: Shape, type: Any, parent: Any, id: Any, name: Any, encodings: dict[int, Any]) -> Any:
        nodes = self._server.iserver.aspace
        alike = parent.nodeid, type, isinstance(shape, Plain) and shape.type
        pattern = self._patterns.get(alike)
        if pattern is not None and id not in nodes:
            pattern.again(id, name)
            return self._server.get_node(id)
        node = await parent.add_variable(id, name, variant(shape, {}, encodings), datatype=type)
        if isinstance(shape, Plain):
            self._patterns[alike] = Pattern(nodes, parent.nodeid, id)
        return node

    async def _add_stream(self, place: Place, planned: Plan) -> None:
        stream = planned.streams[place]
        signals = [f"{listener.machine}/{listener.signal}" for listener in stream.listeners]
        if (isinstance(place, NodeId) and _node_id(place) == _SERVER) or place == ((0, "Server"),):
            self.streams.append((stream, _SERVER))
            return
        node = self._known.get(place)
        if node is None:
            found = await self._stand(place, signals, stream.listeners[0].machine)
            if found is None:
                return
            parent, id, name = found
            node = await parent.add_object(id, name or ua.QualifiedName(stream.name, id.NamespaceIndex))
        self._known[place] = node
        self._taken[node.nodeid] = signals[0]
        await node.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
        self.streams.append((stream, node.nodeid))

    async def _stand(self, place: Place, signals: Sequence[str], machine: str = "") -> tuple[Any, Any, Any] | None:
        """Parent, node id and browse name of what is to stand there; None where nothing is to be made."""
        if isinstance(place, NodeId):
            id = _node_id(place)
            if id.NamespaceIndex == 0:
                self._leave(id, signals)
                return None
            return await self._folder(machine or signals[0].partition("/")[0]), id, None
        parent = self._server.nodes.objects
        for depth, step in enumerate(place):
            name = ua.QualifiedName(step[1], step[0])
            there = self._known.get(place[: depth + 1]) or await _child(parent, name)
            if depth == len(place) - 1:
                break
            if there is None:
                there = await parent.add_object(self._fresh(name, steps_text(place[: depth + 1])), name)
            parent = self._known[place[: depth + 1]] = there
        if there is None:
            return parent, self._fresh(name, steps_text(place)), name
        self._leave(there.nodeid, signals)
        return None

    def _leave(self, id: Any, signals: Sequence[str]) -> None:
        """The server's own nodes show what they show; where there is none, or one of another signal, that is told."""
        if id.NamespaceIndex == 0 and id in self._server.iserver.aspace:
            self.reads_server = True
            return
        why = (
            f"its path leads to a node of {self._taken.get(id, 'a machine')}"
            if id.NamespaceIndex
            else f"{id.to_string()} is a node of the standard that the simulated server does not have"
        )
        self.left_out.update(dict.fromkeys(signals, why))

    async def _folder(self, machine: str) -> Any:
        """Of a machine with many variables there are several, as asyncua looks at all in a folder for each one added."""
        folders = self._folders.setdefault(machine, [])
        self._inside[machine] += 1
        if self._inside[machine] > _MOST_IN_A_FOLDER * len(folders):
            text = f"{machine} {len(folders) + 1}" if folders else machine
            name = ua.QualifiedName(text, 1)
            folders.append(await self._server.nodes.objects.add_folder(self._fresh(name, text), name))
        return folders[-1]

    async def _add_properties(self, variable: Variable, node: Any) -> None:
        """What people and gateways are to know of its values: Part 8, 5.3."""
        for text, value in _properties(variable).items():
            id = self._fresh(node.nodeid, f"{node.nodeid.Identifier}/{text}")
            await node.add_property(id, ua.QualifiedName(text, 0), value)

    def _fresh(self, namespace: Any, text: str) -> Any:
        """A node id for what the configuration does not name, in the namespace of this name or id."""
        id = ua.NodeId(text, namespace.NamespaceIndex or 1)
        while id in self._named or id in self._server.iserver.aspace:
            text += "'"
            id = ua.NodeId(text, id.NamespaceIndex)
        return id

    # --- data types ------------------------------------------------------------------------------------------------

    async def _data_type(self, shape: Shape, name: Any, text: str, encodings: dict[int, Any]) -> Any:
        """The data type of a variable with this browse name; structures are made from the inside out."""
        if isinstance(shape, Array):
            return await self._data_type(shape.element, name, text, encodings)
        if isinstance(shape, Plain):
            return ua.NodeId(type_of(shape).value, 0)
        definition = ua.StructureDefinition()
        definition.StructureType = ua.StructureType.Structure
        definition.BaseDataType = self._server.nodes.base_structure_type.nodeid
        for field, inside in shape.fields.items():
            path = f"{text}.{field}"
            if isinstance(inside, Plain) and inside.texts:
                enum = ua.QualifiedName(f"{field}Type", name.NamespaceIndex or 1)
                node = await new_enum(self._server, self._fresh(enum, f"{path}Type"), enum, list(inside.texts))
                said = new_struct_field(field, node.nodeid)
            else:
                said = new_struct_field(field, await self._data_type(inside, name, path, encodings))
            if isinstance(inside, Array):
                said.ValueRank, said.ArrayDimensions = len(inside.lengths), list(inside.lengths)
            definition.Fields.append(said)
        type = ua.QualifiedName(f"{text.rpartition('.')[2]}Type", name.NamespaceIndex or 1)
        base = self._server.nodes.base_structure_type
        node = await create_data_type(base, self._fresh(type, f"{text}Type"), type)
        binary = self._fresh(type, f"{text}Type/Default Binary")
        encoding = await create_encoding(node, binary, ua.QualifiedName("Default Binary", 0))
        definition.DefaultEncodingId = encodings[id(shape)] = encoding.nodeid
        await node.write_data_type_definition(definition)
        return node.nodeid


def _depth(place: Place) -> int:
    return 0 if isinstance(place, NodeId) else len(place)


def _node_id(place: NodeId) -> Any:
    return ua.NodeId(place.identifier, place.namespace)


async def _child(parent: Any, name: Any) -> Any:
    """What a browse name leads to; None where it leads nowhere."""
    try:
        return await parent.get_child(name)
    except ua.UaStatusCodeError:
        return None


def _properties(variable: Variable) -> dict[str, Any]:
    """Texts of its states, or unit and range: what the configuration says of them, and what it leaves to the server."""
    if texts := variable.texts:
        if variable.shape == Plain("bool", texts):
            return dict(zip(("FalseState", "TrueState"), map(ua.LocalizedText, texts), strict=False))
        return {"EnumStrings": [ua.LocalizedText(text) for text in texts]}
    found: dict[str, Any] = {}
    told, settings = variable.first.told, variable.first.settings
    if not isinstance(variable.shape, Plain):
        return found
    if known := unit_of(told.unit or ("" if variable.first.rescaled else settings.unit)):
        found["EngineeringUnits"] = ua.EUInformation(NAMESPACE, known[0], ua.LocalizedText(known[1]))
    if span := variable.first.raw_range():
        found["EURange"] = ua.Range(*span)
    return found
