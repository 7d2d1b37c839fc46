"""What a recording of an OPC UA server tells: from requests and their answers to what was said of which node. Pure.

    SENT 17: Read s=Speed, s=Mode ┐
    RECEIVED 17: 12.5, Good; 3    ┴─▶ Value(s=Speed), Value(s=Mode)
    RECEIVED 18: handle 4 is 12.6 ──▶ Value(s=Speed): which node a handle means was said when it was monitored

Entries that cannot be read, and answers to nothing, are counted and left out. Node ids have the namespace indexes of the
server at that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncua.ua

from gateway.recording import Entry, Kind
from simulators.opcua.replay.wire import BrokenError, Name, Reader, Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

VALUE, EVENTS = int(ua.AttributeIds.Value), int(ua.AttributeIds.EventNotifier)
NAMESPACES = ua.NodeId(ua.ObjectIds.Server_NamespaceArray)
_HIERARCHY = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
_MOST_WAITING = 10_000  # requests without an answer that are remembered


class Field(NamedTuple):
    """A SimpleAttributeOperand, without the type that has it: Part 4, 7.7.4.5."""

    path: str  # browse names, with / between them
    attribute: int


class Reference(NamedTuple):
    """One of a node's: Part 4, 7.30."""

    type: Any
    forward: bool
    target: Any
    name: Name | None = None  # None: nothing was said, as in the following
    shown: Any = None  # LocalizedText
    node_class: int = 0
    type_definition: Any = None


class Step(NamedTuple):
    """Of a browse path."""

    type: Any
    forward: bool
    name: Name


class Opened(NamedTuple):
    """A client has a session."""

    at: int


class Lost(NamedTuple):
    """It has none any more, or could not have one."""

    at: int
    why: str  # empty: it went by itself


class Subscribed(NamedTuple):
    """A subscription was made: what there was of an earlier session is gone."""

    at: int


class Value(NamedTuple):
    """An attribute of a node."""

    at: int
    node: Any
    attribute: int
    told: Told
    reported: bool = False  # it came by itself, and was not asked for


class Monitored(NamedTuple):
    """What became of a wish to monitor a node."""

    at: int
    node: Any
    attribute: int
    status: int


class Linked(NamedTuple):
    """A node has a reference."""

    at: int
    node: Any
    reference: Reference


class Reached(NamedTuple):
    """Where a browse path leads to."""

    at: int
    start: Any
    steps: Sequence[Step]
    target: Any


class Event(NamedTuple):
    """A node has raised an event."""

    at: int
    node: Any
    fields: Mapping[Field, bytes]  # as Variants


class Past(NamedTuple):
    """Values that were."""

    at: int
    node: Any
    values: Sequence[Told]


class Called(NamedTuple):
    """What became of a call of a method."""

    at: int
    method: Any
    status: int


class Refused(NamedTuple):
    """A service that was refused, or not answered though the line was there."""

    at: int  # when it was asked for
    service: str
    status: int | None  # None: no answer


Happening = Refused | Opened | Lost | Subscribed | Value | Monitored | Linked | Reached | Event | Past | Called


class _Item(NamedTuple):
    node: Any
    attribute: int
    fields: Sequence[Field]  # of events


class _ReadId(NamedTuple):
    node: Any
    attribute: int
    range: str | None


class _Browse(NamedTuple):
    node: Any
    direction: int
    type: Any
    mask: int


class _Wanted(NamedTuple):
    """An item to be monitored."""

    what: _ReadId
    handle: int
    fields: Sequence[Field]


_Request = tuple[str, Any, int]


class Services:
    """Makes sense of the entries of a recording, one after the other."""

    def __init__(self) -> None:
        self.uris: list[str] = []  # the namespaces of the server, as it said at last
        self.unreadable = 0  # entries
        self.left_out = 0  # stretches that a bound on the rate has left out
        self._waiting: dict[tuple[int, int], _Request] = {}  # by link and ref
        self._items: dict[tuple[int, int], dict[int, _Item]] = {}  # by link and subscription: by handle
        self._alias: dict[int, dict[Any, Any]] = {}  # by link: a registered id -> the node
        self._points: dict[tuple[int, bytes], _Browse] = {}  # continuation points

    def happenings(self, entries: Iterable[Entry]) -> Iterator[Happening]:
        """Of all of them."""
        for entry in entries:
            yield from self.take(entry)

    def take(self, entry: Entry) -> Sequence[Happening]:
        """What one entry tells."""
        try:
            match entry.kind:
                case Kind.SENT:
                    self._ask(entry)
                case Kind.RECEIVED:
                    return self._answer(entry)
                case Kind.OPENED:
                    return [Opened(entry.at)]
                case Kind.CLOSED | Kind.FAILED:
                    return [Lost(entry.at, entry.data.decode("utf-8", "replace"))]
                case Kind.LEFT_OUT:
                    self.left_out += 1
        except BrokenError:
            self.unreadable += 1
        return ()

    # --- requests ------------------------------------------------------------------------------------------------------

    def _ask(self, entry: Entry) -> None:
        reader = Reader(entry.data)
        service, read = _REQUESTS.get(reader.u32(), ("", lambda _: None))
        if len(self._waiting) >= _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[entry.link, entry.ref] = service, read(reader), entry.at

    def _answer(self, entry: Entry) -> Sequence[Happening]:
        if not entry.data:  # there was none
            request = self._waiting.pop((entry.link, entry.ref), None)
            return [Refused(request[2], request[0], None)] if request and request[0] else ()
        reader = Reader(entry.data)
        kind, result = reader.response()
        if (request := self._waiting.pop((entry.link, entry.ref), None)) is None:
            raise BrokenError("an answer to nothing")
        service, asked, at = request
        if result >> 31 and service:
            return [Refused(at, service, result)]
        if result >> 31 or kind != _RESPONSES.get(service):
            return ()
        return list(_ANSWERS[service](self, entry, asked, reader))

    # --- answers -------------------------------------------------------------------------------------------------------

    def _read(self, entry: Entry, asked: Sequence[_ReadId], reader: Reader) -> Iterator[Happening]:
        for what, told in zip(asked, reader.array(reader.data_value), strict=False):
            if what.range:
                continue  # a part of a value
            node = self._node(entry.link, what.node)
            if node == NAMESPACES and what.attribute == VALUE and not told.code >> 31:
                self.uris = texts_of(told.variant) or self.uris
            yield Value(entry.at, node, what.attribute, told)

    def _browse(self, entry: Entry, asked: Sequence[_Browse], reader: Reader) -> Iterator[Happening]:
        for wanted in asked[: reader.count()]:
            status, point = reader.u32(), reader.octets()
            node = self._node(entry.link, wanted.node)
            for reference in reader.array(lambda: self._reference(wanted, reader), 8):  # noqa: B023  # at once
                if reference is not None:
                    yield Linked(entry.at, node, reference)
            if status >> 31:
                yield Value(entry.at, node, int(ua.AttributeIds.NodeId), Told(status=status))
            if point:
                self._points[entry.link, point] = wanted

    def _browse_next(self, entry: Entry, asked: Sequence[bytes], reader: Reader) -> Iterator[Happening]:
        nothing = _Browse(None, 0, None, 0)
        before = [self._points.pop((entry.link, point or b""), nothing) for point in asked]
        found = self._browse(entry, before, reader)
        return (each for each in found if isinstance(each, Linked) and each.node is not None)

    def _reference(self, wanted: _Browse, reader: Reader) -> Reference | None:
        type, forward = reader.node_id(), bool(reader.byte())
        target, name, shown = reader.expanded(self.uris), reader.qualified_name(), reader.localized_text()
        node_class, definition = reader.i32(), reader.expanded(self.uris)
        # What was not asked for is not there: Part 4, 5.8.2.2.
        if not wanted.mask & 0x01:
            type = wanted.type
        if not wanted.mask & 0x02:
            forward = wanted.direction == 0
        if target is None or type is None:
            return None
        known = name if wanted.mask & 0x08 and name.text else None
        return Reference(type, forward, target, known, shown if wanted.mask & 0x10 else None, node_class, definition)

    def _translate(
        self, entry: Entry, asked: Sequence[tuple[Any, Sequence[Step]]], reader: Reader
    ) -> Iterator[Reached]:
        for start, steps in asked[: reader.count()]:
            status = reader.u32()
            for target, rest in reader.array(lambda: (reader.expanded(self.uris), reader.u32()), 6):
                if not status >> 31 and target is not None and rest == 2**32 - 1:
                    yield Reached(entry.at, self._node(entry.link, start), steps, target)

    def _register(self, entry: Entry, asked: Sequence[Any], reader: Reader) -> Iterator[Happening]:
        alias = self._alias.setdefault(entry.link, {})
        for node, id in zip(asked, reader.array(reader.node_id, 2), strict=False):
            if id != node:
                alias[id] = node
        return iter(())

    def _subscribe(self, entry: Entry, _: Any, reader: Reader) -> Iterator[Happening]:
        self._items[entry.link, reader.u32()] = {}
        yield Subscribed(entry.at)

    def _monitor(self, entry: Entry, asked: tuple[int, Sequence[_Wanted]], reader: Reader) -> Iterator[Happening]:
        subscription, wanted = asked
        items = self._items.setdefault((entry.link, subscription), {})
        for each, status in zip(wanted, reader.array(lambda: _monitored(reader), 19), strict=False):
            what = each.what
            node = self._node(entry.link, what.node)
            if not status >> 31 and not what.range:
                items[each.handle] = _Item(node, what.attribute, each.fields)
            yield Monitored(entry.at, node, what.attribute, status)

    def _publish(self, entry: Entry, _: Any, reader: Reader) -> Iterator[Happening]:
        subscription = reader.u32()
        reader.array(reader.u32, 4)
        reader.byte()
        return self._notification(entry, subscription, reader)

    def _notification(self, entry: Entry, subscription: int, reader: Reader) -> Iterator[Happening]:
        items = self._items.get((entry.link, subscription), {})
        reader.skip(12)  # number and time
        for kind, body in reader.array(reader.extension_object, 3):
            inside = Reader(body or b"")
            if kind == _DATA_CHANGE:
                for handle, told in inside.array(lambda: (inside.u32(), inside.data_value()), 5):  # noqa: B023  # at once
                    if (item := items.get(handle)) is not None:
                        yield Value(entry.at, item.node, item.attribute, told, reported=True)
            elif kind == _EVENTS:
                for handle, fields in inside.array(lambda: (inside.u32(), inside.array(inside.variant)), 8):  # noqa: B023
                    if (item := items.get(handle)) is not None:
                        yield Event(entry.at, item.node, dict(zip(item.fields, fields, strict=False)))

    def _history(self, entry: Entry, asked: Sequence[Any], reader: Reader) -> Iterator[Happening]:
        for node in asked[: reader.count()]:
            reader.u32()
            reader.octets()
            kind, body = reader.extension_object()
            if kind == _HISTORY and body:
                inside = Reader(body)
                if values := inside.array(inside.data_value):
                    yield Past(entry.at, self._node(entry.link, node), values)

    def _call(self, entry: Entry, asked: Sequence[Any], reader: Reader) -> Iterator[Happening]:
        for method in asked[: reader.count()]:
            yield Called(entry.at, method, reader.u32())
            reader.array(reader.u32, 4)
            reader.array(reader.diagnostic)
            reader.array(reader.variant)

    def _node(self, link: int, node: Any) -> Any:
        """The node of an id, which may be one that was registered: Part 4, 5.8.5."""
        return self._alias.get(link, {}).get(node, node)


# --- what was asked for ----------------------------------------------------------------------------------------------


def _read_ids(reader: Reader) -> list[_ReadId]:
    reader.skip(12)  # MaxAge, TimestampsToReturn
    return reader.array(lambda: _read_id(reader), 14)


def _read_id(reader: Reader) -> _ReadId:
    found = _ReadId(reader.node_id(), reader.u32(), reader.text())
    reader.qualified_name()
    return found


def _browses(reader: Reader) -> list[_Browse]:
    reader.node_id()
    reader.skip(16)  # the rest of the view, RequestedMaxReferencesPerNode
    return reader.array(lambda: _browsed(reader), 17)


def _browsed(reader: Reader) -> _Browse:
    node, direction, type = reader.node_id(), reader.i32(), reader.node_id()
    reader.skip(5)  # IncludeSubtypes, NodeClassMask
    return _Browse(node, direction, _HIERARCHY if type.is_null() else type, reader.u32())


def _points(reader: Reader) -> list[bytes | None]:
    reader.byte()
    return reader.array(reader.octets, 4)


def _paths(reader: Reader) -> list[tuple[Any, list[Step]]]:
    return reader.array(lambda: (reader.node_id(), reader.array(lambda: _step(reader), 10)), 6)


def _step(reader: Reader) -> Step:
    type, inverse = reader.node_id(), reader.byte()
    reader.byte()
    return Step(type, not inverse, reader.qualified_name())


def _wanted(reader: Reader) -> tuple[int, list[_Wanted]]:
    subscription = reader.u32()
    reader.i32()
    return subscription, reader.array(lambda: _item(reader), 40)


def _item(reader: Reader) -> _Wanted:
    what = _read_id(reader)
    reader.i32()
    handle = reader.u32()
    reader.skip(8)
    kind, body = reader.extension_object()
    reader.skip(5)
    return _Wanted(what, handle, _selected(Reader(body)) if kind == _EVENT_FILTER and body else ())


def _selected(reader: Reader) -> list[Field]:
    """The SelectClauses of an EventFilter."""
    return reader.array(lambda: _field(reader), 14)


def _field(reader: Reader) -> Field:
    reader.node_id()
    path = "/".join(name.text for name in reader.array(reader.qualified_name, 6))
    attribute = reader.u32()
    reader.text()
    return Field(path, attribute)


def _monitored(reader: Reader) -> int:
    status = reader.u32()
    reader.skip(16)
    reader.extension_object()
    return status


def _asked_history(reader: Reader) -> list[Any]:
    reader.extension_object()
    reader.skip(5)
    return reader.array(lambda: _history_id(reader), 16)


def _history_id(reader: Reader) -> Any:
    node = _read_id_without_attribute(reader)
    reader.octets()
    return node


def _read_id_without_attribute(reader: Reader) -> Any:
    node = reader.node_id()
    reader.text()
    reader.qualified_name()
    return node


def _calls(reader: Reader) -> list[Any]:
    return reader.array(lambda: _called(reader), 8)


def _called(reader: Reader) -> Any:
    reader.node_id()
    method = reader.node_id()
    reader.array(reader.variant)
    return method


def texts_of(variant: bytes | None) -> list[str]:
    """An array of String; nothing for anything else."""
    if not variant or variant[0] & 0xBF != 0x80 | ua.VariantType.String.value:
        return []
    reader = Reader(variant, 1)
    return [text or "" for text in reader.array(reader.text, 4)]


def _id(name: str) -> Any:
    return ua.NodeId(getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary"))


_DATA_CHANGE, _EVENTS = _id("DataChangeNotification"), _id("EventNotificationList")
_HISTORY, _EVENT_FILTER = _id("HistoryData"), _id("EventFilter")

_READERS: Mapping[str, Callable[[Reader], Any]] = {
    "Read": _read_ids,
    "Browse": _browses,
    "BrowseNext": _points,
    "TranslateBrowsePathsToNodeIds": _paths,
    "RegisterNodes": lambda reader: reader.array(reader.node_id, 2),
    "CreateSubscription": lambda _: None,
    "CreateMonitoredItems": _wanted,
    "Publish": lambda _: None,
    "Republish": Reader.u32,
    "HistoryRead": _asked_history,
    "Call": _calls,
}
_ANSWERS: Mapping[str, Callable[[Services, Entry, Any, Reader], Iterator[Happening]]] = {
    "Read": Services._read,
    "Browse": Services._browse,
    "BrowseNext": Services._browse_next,
    "TranslateBrowsePathsToNodeIds": Services._translate,
    "RegisterNodes": Services._register,
    "CreateSubscription": Services._subscribe,
    "CreateMonitoredItems": Services._monitor,
    "Publish": Services._publish,
    "Republish": Services._notification,
    "HistoryRead": Services._history,
    "Call": Services._call,
}
_REQUESTS = {_id(f"{name}Request").Identifier: (name, read) for name, read in _READERS.items()}


def service_of(id: Any) -> str:
    """The service of a request, by the id of its binary encoding; empty for one that is not recorded."""
    return _REQUESTS.get(id.Identifier, ("", None))[0] if not id.NamespaceIndex else ""


_RESPONSES = {name: _id(f"{name}Response") for name in _READERS}
