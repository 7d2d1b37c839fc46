"""Single values for people: read once with both time stamps, or reported whenever they change."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.opcua.browsing import Attribute, Attributes, QualifiedName, Structure
from adapters.opcua.config import FROM_SERVER, OpcuaSignal
from adapters.opcua.items import Item
from adapters.opcua.nodes import Address, NodeAddress, NodeId, resolve, resolve_path
from adapters.opcua.structures.definitions import Record
from adapters.opcua.tools.crawl import Node
from adapters.opcua.tools.describe import BUILT_IN, STRUCTURE, DataTypes, Description, describe
from adapters.opcua.tools.explorer import Explorer
from adapters.opcua.tools.locate import nodes_of
from adapters.opcua.tools.opened import Structures
from adapters.opcua.tools.show import plain, value_text
from adapters.opcua.tools.written import Written
from adapters.opcua.wire import Body
from gateway.model import NODE_UNKNOWN, NOT_AVAILABLE, quality_text

NO_NODE = (NODE_UNKNOWN, 0x80330000, 0x80350000)  # BadNodeIdUnknown, BadNodeIdInvalid, BadAttributeIdInvalid
_1601 = 11_644_473_600 * 10**9  # ns from there to 1970


@dataclass(slots=True)
class Asked:
    """What was asked for: as it was typed, or a signal of the configuration."""

    text: str
    address: Address | None = None
    signal: OpcuaSignal | None = None


@dataclass(slots=True)
class Reading:
    """One value, and what is known about it."""

    name: str
    id: NodeId | None
    node: str
    value: Attribute
    type: str = ""
    unit: str = ""
    text: str = ""  # of a state
    part: Sequence[str | int] = ()  # of an array or structure, what the signal takes
    written: Written | None = None


async def read(explorer: Explorer, asked: Sequence[Asked], namespaces: Mapping[str, str]) -> list[Reading]:
    """The values now. Raises UsageError, NotConnectedError."""
    readings, known = await _found(explorer, asked, namespaces)
    for reading, d in zip(readings, known, strict=True):
        if d is not None:
            reading.value = d.value
            reading.text = _state(reading, d.value, d)
    return readings


async def watch(
    explorer: Explorer, asked: Sequence[Asked], namespaces: Mapping[str, str], publishing: float
) -> AsyncIterator[Reading]:
    """Every change, for ever. Raises UsageError, NotConnectedError."""
    readings, known = await _found(explorer, asked, namespaces)
    there = [i for i, reading in enumerate(readings) if reading.id is not None]
    for reading in readings:
        if reading.id is None:
            yield reading
    subscription = await explorer.subscribe(publishing)
    items = []
    for i in there:
        id, signal = readings[i].id, asked[i].signal if len(asked) == len(readings) else None
        assert id is not None
        sampling = (signal.sampling if signal else None) or publishing
        items.append(Item(i, id, sampling, max(2, 2 * math.ceil(publishing / sampling))))
    await explorer.monitor(subscription, items)
    for item in items:
        if item.status >= 0x80000000:
            yield _with(readings[item.handle], Attribute(item.status), known[item.handle])
    structures = Structures(explorer)
    while True:
        for notification in await explorer.notifications(60.0):
            values = notification.values
            if values is None:
                continue
            columns = zip(values.signal, values.type, values.value, values.status, values.time, strict=True)
            for i, type, value, status, time in columns:
                at = time * 100 - _1601 if time else notification.arrival
                attribute = Attribute(status, _of_wire(value), type & 0x3F, bool(type & 0x80), at if at > 0 else None)
                if attribute.type == STRUCTURE:
                    (attribute,) = await structures.open([attribute], ())
                yield _with(readings[i], attribute, known[i])


def _of_wire(value: Any) -> Any:
    """A value out of a notification as `look` would have brought it."""
    if isinstance(value, list):
        return [_of_wire(each) for each in value]
    return Structure(value.encoding, value.data) if isinstance(value, Body) else value


def _with(reading: Reading, value: Attribute, d: Description | None) -> Reading:
    return Reading(
        reading.name, reading.id, reading.node, value, reading.type, reading.unit,
        _state(reading, value, d), reading.part, reading.written,
    )  # fmt: skip


def _state(reading: Reading, value: Attribute, d: Description | None) -> str:
    picked = picked_from(value.value, reading.part)
    return d.states.get(int(picked), "") if d is not None and isinstance(picked, int) else ""


async def _found(
    explorer: Explorer, asked: Sequence[Asked], namespaces: Mapping[str, str]
) -> tuple[list[Reading], list[Description | None]]:
    """The nodes that are meant, and what they are; without a description where a node is not there."""
    written = Written(explorer.uris, namespaces)
    readings: list[Reading] = []
    for each in asked:
        if each.address is None:
            for id, name in await nodes_of(explorer, each.text, written):
                readings.append(
                    Reading(name, id, written.node(id) or written.by_uri(id), Attribute(0), written=written)
                )
            continue
        found = await _resolved(explorer, each.address)
        node = written.node(found) if found else None
        reading = Reading(each.text, found, node or "", Attribute(NODE_UNKNOWN), written=written)
        if each.signal is not None:
            reading.unit = "" if each.signal.unit == FROM_SERVER else each.signal.unit
            reading.part = each.signal.place
        readings.append(reading)
    there = [reading for reading in readings if reading.id is not None]
    descriptions = iter(await described(explorer, [reading.id for reading in there if reading.id]))
    known = [next(descriptions) if reading.id is not None else None for reading in readings]
    for reading, d in zip(readings, known, strict=True):
        if d is not None:
            reading.type = d.shape if d.type else BUILT_IN.get(d.value.type, "")
            reading.unit = reading.unit or d.unit
    return readings, known


async def _resolved(explorer: Explorer, address: Address) -> NodeId | None:
    if isinstance(address, NodeAddress):
        return resolve(address, explorer.uris)
    steps = resolve_path(address, explorer.uris)
    return (await explorer.follow([steps]))[0] if steps is not None else None


async def described(explorer: Explorer, ids: Sequence[NodeId]) -> list[Description]:
    """What nodes are of which only the id is known."""
    classes = await explorer.look([(id, Attributes.NODE_CLASS) for id in ids])
    nodes = [
        Node(id, QualifiedName(0, ""), "", c.value if c.good else 2, None, id, -1, 0, True)
        for id, c in zip(ids, classes, strict=True)
    ]
    async for i, browsed in explorer.browse(ids):
        about = [(r.name.name, r.target) for r in browsed.references if r.name.namespace == 0 and r.target]
        nodes[i].about += tuple(
            (name, id) for name, id in about if name in ("EngineeringUnits", "EnumStrings", "EnumValues")
        )
    descriptions = await describe(explorer, DataTypes(explorer), nodes)
    for d, c, node in zip(descriptions, classes, nodes, strict=True):
        if not c.good:
            d.value = Attribute(c.status)
        elif node.node_class != 2:
            d.value = Attribute(0x80350000)  # BadAttributeIdInvalid: an object has no value
    return descriptions


def picked_from(value: Any, part: Sequence[str | int]) -> Any:
    """What a signal takes of an array or structure; None where it is not there."""
    for step in part:
        if isinstance(value, Record):
            value = dict(zip(value.layout.names, value.values, strict=True))
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


# --- what is shown ---------------------------------------------------------------------------------------------------


_NO_VARIABLE = 0x80350000  # BadAttributeIdInvalid: what an object says that is asked for its value


def _status(reading: Reading) -> int:
    """Of what is taken of the value: an element or a field may not be there, although the value is good."""
    value = reading.value
    there = not value.good or value.value is None or picked_from(value.value, reading.part) is not None
    return value.status if there else NOT_AVAILABLE


def object_of(reading: Reading) -> dict[str, Any]:
    """A reading as an object of `--json`. Times are ms since 1970."""
    value = reading.value
    found: dict[str, Any] = {"name": reading.name, "node": reading.node}
    found["value"] = plain(picked_from(value.value, reading.part), reading.written) if value.good else None
    found |= {"type": reading.type, "unit": reading.unit, "quality": quality_text(_status(reading))}
    found["status"] = f"0x{value.status:08X}"
    if reading.text:
        found["text"] = reading.text
    for key, time in (("t", value.source_time), ("server_t", value.server_time)):
        found[key] = None if time is None else time // 1000 / 1000
    return found


def columns(reading: Reading) -> tuple[str, ...]:
    """Name, value, unit, type, quality, source time, server time."""
    shown = reading.value._replace(value=picked_from(reading.value.value, reading.part))
    text = value_text(shown._replace(status=0), 80) if shown.good else "–"
    quality = quality_text(_status(reading)) + (" (no variable)" if shown.status == _NO_VARIABLE else "")
    return (
        reading.name, f"{reading.text} ({text})" if reading.text else text, reading.unit, reading.type,
        quality, _clock(shown.source_time), _clock(shown.server_time),
    )  # fmt: skip


def line_of(reading: Reading) -> str:
    """A change in a line."""
    name, value, unit, _, quality, at, _ = columns(reading)
    return " ".join(filter(None, (at, name, value, unit, quality)))


def _clock(time: int | None) -> str:
    if time is None:
        return ""
    at = datetime.fromtimestamp(time / 1e9)
    today = at.date() == datetime.now().date()
    return at.strftime("%H:%M:%S.%f" if today else "%Y-%m-%d %H:%M:%S.%f")[:-3]
