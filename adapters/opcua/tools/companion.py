"""Machines in an address space, and what of them matters: by the type definitions of companion specifications.

    types of all objects, with what they are derived from ─▶ machines: the folder Machines (OPC 40001-1), MachineTool,
                                                             PackML, Robotics, Pumps … and below them what is measured
A specification is known by its namespace and the browse names of its types, so that every version of it is recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from adapters.opcua.browsing import HAS_PROPERTY, HAS_SUBTYPE, OBJECT, OBJECTS, VARIABLE, Attributes, QualifiedName
from adapters.opcua.nodes import NodeId
from adapters.opcua.tools.crawl import Tree
from adapters.opcua.tools.explorer import Explorer

_UA = "http://opcfoundation.org/UA/"
MACHINERY, DI, MACHINE_TOOL, PACKML = f"{_UA}Machinery/", f"{_UA}DI/", f"{_UA}MachineTool/", f"{_UA}PackML/"

TypeName = tuple[str, str]
"""Namespace URI and browse name."""


class Specification(NamedTuple):
    """A companion specification, by the type of its machines."""

    title: str
    type: TypeName


# Whoever stands first names the machine.
SPECIFICATIONS = (
    Specification("MachineTool (OPC 40501-1)", (MACHINE_TOOL, "MachineToolType")),
    Specification("Pumps (OPC 40223)", (f"{_UA}Pumps/", "PumpType")),
    Specification("Robotics (OPC 40010-1)", (f"{_UA}Robotics/", "MotionDeviceSystemType")),
    Specification("PackML (OPC 30050)", (PACKML, "PackMLBaseObjectType")),
    Specification("CNC (OPC 40502)", (f"{_UA}CNC", "CncInterfaceType")),
    Specification("EUROMAP 77 (OPC 40077)", (f"{_UA}PlasticsRubber/IMM2MES/", "IMM_MES_InterfaceType")),
    Specification("Scales (OPC 40200)", (f"{_UA}Scales/V2/", "ScaleDeviceType")),
    Specification("Weihenstephan", (f"{_UA}Weihenstephan/", "WSMachineType")),
    Specification("Flat glass (OPC 40301)", (f"{_UA}Glass/Flat/", "GlassMachineType")),
    Specification("Joining (OPC 40450)", (f"{_UA}IJT/Base/", "JoiningSystemType")),
    Specification("LADS (OPC 30500)", (f"{_UA}LADS/", "LADSDeviceType")),
    Specification("IO-Link master (OPC 30120)", (f"{_UA}IOLink/", "IOLinkMasterType")),
)  # fmt: skip
# Parts of a machine: the object above them is the machine, where nothing else says so.
PARTS = (
    Specification("ISA-95 job control (OPC 10031-4)", (f"{_UA}ISA95-JOBCONTROL_V2/", "ISA95JobOrderReceiverObjectType")),
    Specification("ISA-95 job control (OPC 10031-4)", (f"{_UA}ISA95-JOBCONTROL/", "ISA95JobOrderReceiverObjectType")),
    Specification("Machinery states (OPC 40001-1)", (MACHINERY, "MachineryItemState_StateMachineType")),
    Specification("Machinery job management (OPC 40001-3)", (f"{_UA}Machinery/Jobs/", "JobManagementType")),
)  # fmt: skip
_MACHINES = (MACHINERY, "Machines")
_DEVICE_SET = (DI, "DeviceSet")
_DEVICE = (DI, "DeviceType")

# Properties that are measured, though most are not: browse names below the machine, of any namespace.
_MEASURED = (
    ("Monitoring",), ("Production",), ("OperationCounters",), ("LifetimeCounters",), ("ProcessValues",), ("Status",),
    ("Admin",), ("Operational",), ("Measurements",),
)  # fmt: skip
# What says who a machine is and how it was set up: it does not change.
_WRITTEN_DOWN = ("Identification", "Documentation", "Configuration", "SupportedTypes", "MachineInformation")
# What comes and goes with jobs, tools and messages: its nodes are others tomorrow.
_COMES_AND_GOES = (
    "ProductionPlan",
    "Messages",
    "Prognoses",
    "Tools",
    "JobOrderList",
    "JobResponses",
    "ResultManagement",
)

# Types of the standard whose parts are no values of a machine (Part 5, Part 9, Part 16).
_CONDITION, _STATE_MACHINE, _STATE, _TRANSITION, _FILE = (NodeId(0, "i", i) for i in (2782, 2299, 2307, 2310, 11575))
_CURRENT_STATE = (NodeId(0, "i", 2755), NodeId(0, "i", 2760))  # StateVariableType, FiniteStateVariableType

# Totals that only rise, because the specification says so; by namespace and browse name.
COUNTERS = frozenset(
    {
        (DI, "OperationCycleCounter"), (DI, "OperationDuration"), (DI, "PowerOnDuration"),
        (MACHINE_TOOL, "PowerOnDuration"), (PACKML, "AccCount"),
    }
)  # fmt: skip

_IDENTITY = (
    "Manufacturer", "Model", "ProductCode", "DeviceClass", "SerialNumber", "YearOfConstruction", "Location",
    "ProductInstanceUri",
)  # fmt: skip


@dataclass(slots=True)
class Machine:
    """An object that is a machine."""

    root: int  # its place in the tree; 0: all there is
    specifications: list[str] = field(default_factory=list)  # what was recognised
    identity: dict[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """For people: `Acme TurnMaster 400, serial number SN-1001, built 2021`."""
        known = self.identity
        name = " ".join(filter(None, (known.get("Manufacturer"), known.get("Model") or known.get("ProductCode"))))
        parts = [
            name or known.get("DeviceClass", ""),
            f"serial number {known['SerialNumber']}" if known.get("SerialNumber") else "",
            f"built {known['YearOfConstruction']}" if known.get("YearOfConstruction", "0") != "0" else "",
            known.get("Location", ""),
        ]
        return ", ".join(filter(None, parts))[:500]


class Types:
    """Type definitions, each with those above it."""

    def __init__(self) -> None:
        self._ids: dict[NodeId, tuple[NodeId, ...]] = {}
        self._names: dict[NodeId, TypeName] = {}

    async def learn(self, explorer: Explorer, tree: Tree) -> None:
        """Ask about the types of all objects. Raises NotConnectedError."""
        wanted = list(dict.fromkeys(node.type for node in tree.nodes if node.type and node.node_class == OBJECT))
        above: dict[NodeId, NodeId] = {}
        left = wanted
        while left:
            names = await explorer.look([(id, Attributes.BROWSE_NAME) for id in left])
            for id, name in zip(left, names, strict=True):
                if isinstance(name.value, QualifiedName):
                    self._names[id] = (_uri(explorer.uris, name.value.namespace), name.value.name)
            async for i, browsed in explorer.browse(left, inverse=True):
                for reference in browsed.references:
                    if reference.kind == HAS_SUBTYPE and reference.target:
                        above[left[i]] = reference.target
            left = list(dict.fromkeys(up for id in left if (up := above.get(id)) and up not in self._names))
        for id in wanted:
            line = [id]
            while (up := above.get(line[-1])) and up not in line:
                line.append(up)
            self._ids[id] = tuple(line)

    def line(self, id: NodeId | None) -> tuple[NodeId, ...]:
        """A type and all that it is derived from."""
        return self._ids.get(id, (id,)) if id else ()

    def names(self, id: NodeId | None) -> list[TypeName]:
        """The same by their names."""
        return [name for each in self.line(id) if (name := self._names.get(each))]


def machines(tree: Tree, types: Types, uris: Sequence[str]) -> list[Machine]:
    """The machines that are recognised, each once, in the order of the tree."""
    found: dict[int, Machine] = {}
    places = {node.id: i for i, node in enumerate(tree.nodes)}
    beneath: dict[int, list[int]] = {}
    for i, node in enumerate(tree.nodes):
        beneath.setdefault(node.parent, []).append(i)
    for parent, id in tree.again:
        beneath.setdefault(parent, []).append(places[id])

    def add(i: int, title: str) -> None:
        machine = found.setdefault(i, Machine(i))
        if title not in machine.specifications:
            machine.specifications.append(title)

    for i, node in enumerate(tree.nodes):
        if node.node_class != OBJECT:
            continue
        name = (_uri(uris, node.name.namespace), node.name.name)
        under = [j for j in beneath.get(i, ()) if tree.nodes[j].node_class == OBJECT]
        if name == _MACHINES:
            for j in under:
                add(j, "Machinery (OPC 40001-1)")
        elif name == _DEVICE_SET:
            for j in under:
                if _DEVICE in types.names(tree.nodes[j].type):
                    add(j, "Devices (OPC 10000-100)")
        names = types.names(node.type)
        for specification in SPECIFICATIONS:
            if specification.type in names:
                add(i, specification.title)
        for part in PARTS:
            if part.type in names and node.parent > 0:
                add(_owner(tree, i), part.title)
    return _outermost(tree, found)


def _owner(tree: Tree, i: int) -> int:
    """The machine a part belongs to: what stands above its building blocks."""
    above = tree.nodes[i].parent
    while tree.nodes[above].parent > 0 and tree.nodes[above].name.name in (
        "MachineryBuildingBlocks",
        "Monitoring",
        "Status",
    ):
        above = tree.nodes[above].parent
    return above


def _outermost(tree: Tree, found: Mapping[int, Machine]) -> list[Machine]:
    """A machine in a machine is a part of it."""
    kept: dict[int, Machine] = {}
    for i, machine in sorted(found.items()):
        outer = next((at for at in tree.way(i)[:-1] if at in found), None)
        if outer is None:
            kept[i] = machine
    for i, machine in found.items():
        outer = next((at for at in tree.way(i)[:-1] if at in kept), None)
        if outer is not None:
            mine = kept[outer].specifications
            mine += [title for title in machine.specifications if title not in mine]
    for machine in kept.values():
        machine.specifications.sort(key=_rank)  # what it is, before what it is also
    return [kept[i] for i in sorted(kept)]


def _rank(title: str) -> int:
    titles = [specification.title for specification in SPECIFICATIONS]
    return titles.index(title) if title in titles else len(titles)


def identify(tree: Tree, machine: Machine, texts: Mapping[int, str]) -> None:
    """Fill in who made a machine. `texts`: the values of variables by their place in the tree."""
    for i, text in texts.items():
        node = tree.nodes[i]
        way = tree.way(i)
        if machine.root not in way or node.name.name not in _IDENTITY or not text:
            continue
        between = way[way.index(machine.root) + 1 : -1]
        if not between or [tree.nodes[at].name.name for at in between] == ["Identification"]:
            machine.identity.setdefault(node.name.name, text)


def why_not(tree: Tree, types: Types, i: int, recognised: bool) -> str:
    """Why a variable is none that a machine is watched by; empty where it is one."""
    node, way = tree.nodes[i], tree.way(i)
    above = [tree.nodes[at] for at in way[:-1]]
    for each in above:
        line = types.line(each.type)
        if _CONDITION in line:
            return "alarms and conditions"
        if _FILE in line:
            return "files"
        if _STATE in line or _TRANSITION in line:
            return "states and transitions"
    if above and _STATE_MACHINE in types.line(above[-1].type) and node.type not in _CURRENT_STATE:
        return "states and transitions"
    names = [each.name.name for each in above]
    if recognised and any(name in _COMES_AND_GOES for name in names):
        return "what comes and goes with jobs, tools and messages"
    if recognised and any(name in _WRITTEN_DOWN for name in names):
        return "identification and settings"
    if node.reference == HAS_PROPERTY and not (recognised and any(set(each) <= set(names) for each in _MEASURED)):
        return "properties"
    if node.reference == HAS_PROPERTY and above and above[-1].node_class == VARIABLE:
        return "properties"
    return ""


def counts(uris: Sequence[str], name: QualifiedName) -> bool:
    """Whether a specification says that this only rises."""
    return (_uri(uris, name.namespace), name.name) in COUNTERS


def _uri(uris: Sequence[str], index: int) -> str:
    return uris[index] if 0 < index < len(uris) else ""


def roots(tree: Tree, variables: Iterable[int]) -> list[int]:
    """Of nodes that are nobody's machine: the objects right under Objects they stand in, without folders of the standard."""
    tops = dict.fromkeys(way[0] for i in variables if (way := tree.way(i)))
    return [i for i in tops if tree.nodes[i].id != OBJECTS]
