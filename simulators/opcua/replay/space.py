"""The address space of a server that was recorded, on asyncua's: what was told of it, in the places that were told.

Objects ─┬─ CNC1 ─ Speed: along the references and browse paths of the recording
         ├─ machine ─ what nobody said the place of
         └─ Server …: the server's own, with the values that were told, and without what it said it does not have
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncua.ua
from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.server.server import Server

from simulators.opcua.replay.plan import NO_NODE, Life, Node
from simulators.opcua.replay.services import Reference, Step
from simulators.opcua.replay.values import Cell, Times, data_value
from simulators.opcua.replay.wire import Name, Reader, Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_ID, _CLASS, _NAME, _SHOWN = (int(ua.AttributeIds[n]) for n in ("NodeId", "NodeClass", "BrowseName", "DisplayName"))
_TYPE, _RANK = int(ua.AttributeIds.DataType), int(ua.AttributeIds.ValueRank)
_DEFINITION, _NOTIFIER = int(ua.AttributeIds.DataTypeDefinition), int(ua.AttributeIds.EventNotifier)
_VALUE = int(ua.AttributeIds.Value)
_LEVELS = (int(ua.AttributeIds.AccessLevel), int(ua.AttributeIds.UserAccessLevel))
_READ, _READ_HISTORY = 0x01, 0x04  # of an access level: Part 3, 8.57

_OBJECT, _VARIABLE, _DATA_TYPE = (int(ua.NodeClass[name]) for name in ("Object", "Variable", "DataType"))


def _standard(name: str) -> Any:
    return ua.NodeId(getattr(ua.ObjectIds, name))


_OBJECTS, _COMPONENT, _ORGANIZES = map(_standard, ("ObjectsFolder", "HasComponent", "Organizes"))
_PROPERTY, _DEFINED, _SUBTYPE = map(_standard, ("HasProperty", "HasTypeDefinition", "HasSubtype"))
_HIERARCHY = _standard("HierarchicalReferences")
_FOLDER, _PROPERTY_TYPE = _standard("FolderType"), _standard("PropertyType")
_DEFINITIONS = {_OBJECT: _standard("BaseObjectType"), _VARIABLE: _standard("BaseDataVariableType")}
# What nothing can be linked by: Part 3, 7.3.
_ABSTRACT = {_standard(n) for n in ("References", "HierarchicalReferences", "HasChild", "Aggregates")}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS, _CLOCK = _standard("Server_ServerStatus"), _standard("Server_ServerStatus_CurrentTime")


class Space:
    """What was built."""

    def __init__(
        self, server: Server, life: Life, machine: str, named: Mapping[Any, str], now: Callable[[], int]
    ) -> None:
        """`machine`: the folder of what has no place. `named`: machine/signal of nodes, which have their own. `now`: ns since 1970."""
        internal: Any = server.iserver
        self.cells: dict[Any, Cell] = {}
        self._nodes, self._views = internal.aspace, internal.view_service
        self._life, self._machine, self._named, self._now = life, machine, named, now
        self._called: dict[Any, Name] = {}
        self._classes: dict[Any, int] = {}
        self._children: dict[Any, dict[tuple[bool, int, str], Any]] = {}  # of nodes that were looked into
        self._hierarchical: dict[Any, bool] = {}  # types of references
        self._linked: set[tuple[Any, Any, bool, Any]] = set()
        self._data: dict[Any, NodeData] = {}  # ours, also of those that are not there at the moment
        self._forget: Callable[[int], None] = self._nodes.delete_datachange_callback
        self._nodes.delete_datachange_callback = self._forget_listener

    def build(self, times: Times) -> None:
        """All of it."""
        life = self._life
        self._look()
        for id, node in life.nodes.items():
            if id not in self._nodes and node.there:
                self._add(id, node)
        for id, node in life.nodes.items():
            if node.value is not None and id != _STATUS:
                self._serve(id, node.value, times)
        self._run_clock()
        for source, references in life.references.items():
            for reference in references.values():
                self._link(source, reference)
        for (start, steps), targets in life.paths.items():
            for target in targets:
                self._walk(start, steps, target)
        self._place()
        for id, cell in self.cells.items():
            self._appear(id, cell.told)

    async def put(self, id: Any, told: Told, times: Times, reported: bool) -> bool:
        """Another value of a node; whether it was another one."""
        cell = self.cells.get(id)
        if cell is None:
            return False
        self._appear(id, told)
        return await cell.put(told, times, reported)

    def _forget_listener(self, handle: int) -> None:
        """Also of a node that is not there at the moment, where asyncua would look in vain."""
        id, attribute = self._nodes._handle_to_attribute_map.get(handle, (None, None))
        if id is None or id in self._nodes:
            self._forget(handle)
            return
        del self._nodes._handle_to_attribute_map[handle]
        self._data[id].attributes[attribute].datachange_callbacks.pop(handle, None)

    def follow(self, steps: Iterable[tuple[int, str]]) -> Any:
        """Where browse names lead to from the folder Objects; None where they lead nowhere."""
        id = _OBJECTS
        for namespace, name in steps:
            if (id := self._child(id, Name(namespace, name))) is None:
                return None
        return id

    def raises(self, id: Any) -> bool:
        """Whether clients can listen to the events of a node."""
        return id in self._nodes and _NOTIFIER in self._nodes[id].attributes

    # --- what is known of all of them ------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Names and classes, from wherever they were told."""
        life = self._life
        for references in life.references.values():
            for each in references.values():
                if each.name:
                    self._called.setdefault(each.target, each.name)
                if each.node_class:
                    self._classes.setdefault(each.target, each.node_class)
                if each.type == _SUBTYPE:
                    self._classes.setdefault(each.target, 0)
        for (_, steps), targets in life.paths.items():
            for target in targets:
                self._called.setdefault(target, steps[-1].name)
        for id, node in life.nodes.items():
            said = node.attributes.get(_NAME)
            if said and not said.code >> 31 and said.variant and said.variant[0] == ua.VariantType.QualifiedName.value:
                self._called[id] = Reader(said.variant, 1).qualified_name()
            said = node.attributes.get(_TYPE)
            if said and not said.code >> 31 and said.variant and said.variant[0] == ua.VariantType.NodeId.value:
                self._classes[Reader(said.variant, 1).node_id()] = _DATA_TYPE

    def _class_of(self, id: Any, node: Node) -> int:
        said = node.attributes.get(_CLASS)
        if said and not said.code >> 31 and said.variant and said.variant[0] == ua.VariantType.Int32.value:
            return Reader(said.variant, 1).i32()
        if known := self._classes.get(id):
            return known
        if (told := node.attributes.get(_DEFINITION)) and not told.code >> 31:
            return _DATA_TYPE
        return _VARIABLE if node.value is not None or node.past else _OBJECT

    def _name_of(self, id: Any) -> Name:
        if known := self._called.get(id):
            return known
        text = id.Identifier
        if not isinstance(text, str):
            return Name(id.NamespaceIndex, self._named.get(id, "").partition("/")[2] or str(text))
        return Name(id.NamespaceIndex, re.split(r"[./|]", text.rstrip("./|"))[-1] or text)

    # --- nodes -----------------------------------------------------------------------------------------------------------

    def _add(self, id: Any, node: Node) -> NodeData:
        data = NodeData(id)
        kind, name = self._class_of(id, node), self._name_of(id)
        found: dict[int, Any] = {
            _ID: _good(id, "NodeId"),
            _CLASS: _good(kind, "Int32"),
            _NAME: _good(ua.QualifiedName(name.text, name.namespace), "QualifiedName"),
            _SHOWN: _good(ua.LocalizedText(name.text), "LocalizedText"),
        }
        if kind == _VARIABLE:
            level = _READ | (_READ_HISTORY if node.past else 0)
            found |= {attribute: _good(level, "Byte") for attribute in _LEVELS} | _shape(node.value)
        elif kind == _OBJECT:
            found[_NOTIFIER] = _good(int(node.raises), "Byte")
        for attribute, told in node.attributes.items():
            if told.code not in NO_NODE and told.code != ua.StatusCodes.BadAttributeIdInvalid:
                found[attribute] = data_value(told)
        data.attributes = {ua.AttributeIds(attribute): AttributeValue(value) for attribute, value in found.items()}
        self._nodes[id] = self._data[id] = data
        definition = _DEFINITIONS.get(kind)
        if definition is not None:
            self._define(data, definition)
        return data

    def _serve(self, id: Any, told: Told, times: Times) -> None:
        """Its value. Of nodes that asyncua's server has as well, that takes the place of its own."""
        data = self._nodes.get(id)
        if data is None:
            if told.code in NO_NODE and id not in self._life.nodes:
                return
            if not self._life.nodes[id].there:
                return  # nobody has ever seen it
            data = self._add(id, self._life.nodes[id])
        self._data.setdefault(id, data)
        attribute = data.attributes.setdefault(ua.AttributeIds.Value, AttributeValue(ua.DataValue()))
        self.cells[id] = Cell(attribute, told, times, is_clock=id == _CLOCK)

    def _run_clock(self) -> None:
        """Who asks for the time gets it, unless the machine has told it."""
        status, clock = self._nodes[_STATUS], self._nodes.get(_CLOCK)
        attribute: Any = status.attributes[ua.AttributeIds.Value]
        known = attribute.value.Value.Value or ua.ServerStatusDataType()
        running = ua.ServerState.Running
        attribute.value_callback = lambda *_: self._at_once(lambda now: replace(known, State=running, CurrentTime=now))
        attribute.value_setter = lambda *_: None
        if clock is not None and _CLOCK not in self.cells:
            attribute = clock.attributes[ua.AttributeIds.Value]
            attribute.value_callback = lambda *_: self._at_once(lambda now: now)
            attribute.value_setter = lambda *_: None

    def _appear(self, id: Any, told: Told) -> None:
        """Whether there is such a node goes by what is said of its value."""
        if told.code not in NO_NODE:
            if id not in self._nodes:
                self._nodes[id] = self._data[id]
        elif id in self._nodes:
            del self._nodes[id]

    def _at_once(self, value: Callable[[datetime], Any]) -> Any:
        now = _1970 + timedelta(microseconds=self._now() // 1000)
        return ua.DataValue(ua.Variant(value(now)), SourceTimestamp=now, ServerTimestamp=now)

    # --- references ------------------------------------------------------------------------------------------------------

    def _link(self, source: Any, reference: Reference) -> None:
        """Both ways."""
        target, forward = reference.target, reference.forward
        here, there = self._nodes.get(source), self._nodes.get(target)
        if here is None or there is None:
            return
        if reference.type_definition is not None:
            self._define(there, reference.type_definition)
        if reference.type == _DEFINED and forward:
            self._define(here, target)
            return
        if reference.type == _PROPERTY:
            self._define(there if forward else here, _PROPERTY_TYPE)
        self._refer(here, reference.type, forward, there, reference.name)
        self._refer(there, reference.type, not forward, here, None)

    def _refer(self, source: NodeData, type: Any, forward: bool, target: NodeData, name: Name | None) -> None:
        """One way, once."""
        key = source.nodeid, type, forward, target.nodeid
        if key in self._linked:
            return
        self._linked.add(key)
        if (
            source.nodeid not in self._data
            and target.nodeid not in self._data
            and _refers(source, type, forward, target)
        ):
            return  # asyncua's server knows that
        description = ua.ReferenceDescription()
        description.ReferenceTypeId, description.IsForward, description.NodeId = type, forward, target.nodeid
        of: Any = target.attributes
        called = of[ua.AttributeIds.BrowseName].value.Value.Value
        description.BrowseName = ua.QualifiedName(name.text, name.namespace) if name else called
        description.DisplayName = of[ua.AttributeIds.DisplayName].value.Value.Value
        description.NodeClass = ua.NodeClass(of[ua.AttributeIds.NodeClass].value.Value.Value)
        description.TypeDefinition = next(
            (each.NodeId for each in target.references if each.ReferenceTypeId == _DEFINED and each.IsForward),
            ua.NodeId(),
        )
        source.references.append(description)
        if (children := self._children.get(source.nodeid)) is not None:
            children.setdefault(_step(description), target.nodeid)

    def _define(self, data: NodeData, definition: Any) -> None:
        """Its type definition, instead of one that was guessed."""
        there = self._nodes.get(definition)
        if there is None or data.nodeid not in self._data:
            return
        data.references = [each for each in data.references if each.ReferenceTypeId != _DEFINED]
        self._linked.discard((data.nodeid, _DEFINED, True, definition))
        self._refer(data, _DEFINED, True, there, None)

    def _walk(self, start: Any, steps: tuple[Step, ...], target: Any) -> None:
        """A browse path leads there: what stands on the way to it is made where nobody has named it."""
        if start not in self._nodes:
            self._add(start, self._life.node(start))
        current = start
        for depth, step in enumerate(steps):
            last = depth == len(steps) - 1
            there = self._child(current, step.name, step.forward)
            if last and target in self._nodes and there != target:
                self._link(current, Reference(_concrete(step.type), step.forward, target, step.name))
            elif not last and there is None:
                text = "/".join(each.name.text for each in steps[: depth + 1])
                there = self._fresh(text, step.name)
                self._add(there, Node(there=True))
                self._link(current, Reference(_concrete(step.type), step.forward, there, step.name))
            current = there

    def _child(self, id: Any, name: Name, forward: bool = True) -> Any:
        if (children := self._children.get(id)) is None:
            data = self._nodes.get(id)
            references = data.references if data else ()
            children = self._children[id] = {}
            for each in references:
                children.setdefault(_step(each), each.NodeId)
        return children.get((forward, name.namespace, name.text))

    def _fresh(self, text: str, name: Name) -> Any:
        """An id for what nobody has named."""
        while (id := ua.NodeId(text, name.namespace or 1)) in self._nodes or id in self._life.nodes:
            text += "'"
        self._called[id] = name
        return id

    # --- places ----------------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Whatever cannot be reached from Objects is put into the folder of the machine, with all that is below it."""
        reached: set[Any] = set()
        self._reach(_OBJECTS, reached)
        folders: dict[str, Any] = {}
        for id in list(self._data):
            data = self._nodes.get(id)
            if data is None or id in reached or not id.NamespaceIndex or self._kind(data) not in (_OBJECT, _VARIABLE):
                continue
            top = self._top(id)
            if top not in self._data or self._kind(self._nodes[top]) not in (_OBJECT, _VARIABLE):
                continue  # a part of a type
            machine = self._named.get(id, "").partition("/")[0] or self._machine
            if machine not in folders:
                folder = folders[machine] = self._fresh(machine, Name(1, machine))
                self._define(self._add(folder, Node(there=True)), _FOLDER)
                self._link(_OBJECTS, Reference(_ORGANIZES, True, folder, Name(1, machine)))
            self._link(folders[machine], Reference(_ORGANIZES, True, top, self._name_of(top)))
            self._reach(top, reached)

    def _reach(self, id: Any, reached: set[Any]) -> None:
        waiting = [id]
        while waiting:
            id = waiting.pop()
            if id not in reached and (data := self._nodes.get(id)) is not None:
                reached.add(id)
                waiting += [each.NodeId for each in data.references if each.IsForward and self._leads(each)]

    def _top(self, id: Any) -> Any:
        """The outermost node it is in."""
        seen = {id}
        while True:
            data = self._nodes[id]
            above = [each.NodeId for each in data.references if not each.IsForward and self._leads(each)]
            there = next((each for each in above if each in self._nodes and each not in seen), None)
            if there is None:
                return id
            seen.add(there)
            id = there

    def _leads(self, reference: Any) -> bool:
        type = reference.ReferenceTypeId
        if type not in self._hierarchical:
            self._hierarchical[type] = bool(self._views._suitable_reftype(_HIERARCHY, type, True))
        return self._hierarchical[type]

    def _kind(self, data: NodeData) -> int:
        told: Any = data.attributes[ua.AttributeIds.NodeClass].value
        return int(told.Value.Value)


def _good(value: Any, type: str) -> Any:
    return ua.DataValue(ua.Variant(value, ua.VariantType[type]))


def _shape(told: Told | None) -> dict[int, Any]:
    """Type and rank of a variable, by the look of a value; whatever its server has said of them counts more."""
    if told is None or not told.variant:
        return {_TYPE: _good(_standard("BaseDataType"), "NodeId"), _RANK: _good(-2, "Int32")}
    kind, array, matrix = told.variant[0] & 0x3F, told.variant[0] & 0x80, told.variant[0] & 0x40
    type = ua.NodeId(kind if 0 < kind <= 25 else 24)
    return {_TYPE: _good(type, "NodeId"), _RANK: _good(0 if matrix else 1 if array else -1, "Int32")}


def _step(reference: Any) -> tuple[bool, int, str]:
    """How a browse path goes along it."""
    return reference.IsForward, reference.BrowseName.NamespaceIndex, reference.BrowseName.Name


def _concrete(type: Any) -> Any:
    return _COMPONENT if type in _ABSTRACT or type.is_null() else type


def _refers(source: NodeData, type: Any, forward: bool, target: NodeData) -> bool:
    """Whether it has such a reference."""
    id = target.nodeid
    return any(r.NodeId == id and r.ReferenceTypeId == type and r.IsForward == forward for r in source.references)
