"""What the values of a recorded server are to the gateway: the readings of its signals, for the ledger. Pure.

node ─▶ signals at places in its value ─ meant ─▶ {machine: {signal: value}}, {machine: {signal: status}}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncua.ua

from adapters.opcua.config import OpcuaMachine
from gateway.config import Configuration
from gateway.model import Value
from simulators.opcua.events import PARTS, Listener
from simulators.opcua.places import NodeId, Place, place_of
from simulators.opcua.points import Point, cast_to
from simulators.opcua.replay.types import Types

ua: Any = asyncua.ua  # the types it declares are not those it takes

BAD = 0x80000000  # and beyond
Readings = tuple[dict[str, dict[str, Value]], dict[str, dict[str, int]]]


class Signals:
    """Of the machines behind a connection."""

    def __init__(self, configuration: Configuration | None, machines: Iterable[str], uris: Sequence[str]) -> None:
        """`uris`: the namespaces of the server; signals of others are not there."""
        self.places: dict[Place, list[str]] = {}  # machine/signal at each
        self._points: dict[Place, list[Point]] = {}
        self._listeners: dict[Place, list[Listener]] = {}
        self._raw: dict[tuple[str, str], Value] = {}  # what was served last
        self._types: Types | None = None
        self._of: dict[Any, list[Point]] = {}
        self._hearing: dict[Any, list[Listener]] = {}
        for machine in machines if configuration else ():
            assert configuration
            settings = configuration.machines[machine]
            if isinstance(settings, OpcuaMachine):
                self._add(machine, settings, uris)

    def _add(self, machine: str, settings: OpcuaMachine, uris: Sequence[str]) -> None:
        waves = {name: self._last(machine, name) for name in settings.signals}
        for name, signal in settings.signals.items():
            try:
                place = place_of(settings, name, uris)
            except ValueError:
                continue
            if signal.part == PARTS[0]:
                self._listeners.setdefault(place, []).append(
                    Listener(machine, name.removesuffix(f"_{PARTS[0]}"), signal.severity)
                )
            elif signal.part is None:
                self._points.setdefault(place, []).append(Point(machine, name, signal, waves))
            self.places.setdefault(place, []).append(f"{machine}/{name}")

    def _last(self, machine: str, signal: str) -> Callable[[float], Value]:
        return lambda _: self._raw.get((machine, signal))

    def settle(self, follow: Callable[[Iterable[tuple[int, str]]], Any], types: Types) -> None:
        """Now that there is a server: the nodes. `follow`: where browse names lead to."""
        self._types = types
        self._of, self._hearing = {}, {}
        for place, points in self._points.items():
            if (id := _id_of(place, follow)) is not None:
                self._of.setdefault(id, []).extend(points)
                for point in points:
                    if point.settings.texts_from_server:
                        point.name_states(types.states(id, point.place))
        for place, listeners in self._listeners.items():
            if (id := _id_of(place, follow)) is not None:
                self._hearing.setdefault(id, []).extend(listeners)

    def named(self) -> dict[Any, str]:
        """Of each node that a signal names: the first of them, as machine/signal."""
        return {_asyncua(place): names[0] for place, names in self.places.items() if isinstance(place, NodeId)}

    def listening(self, node: Any) -> Sequence[Listener]:
        return self._hearing.get(node, ())

    def readings(self, node: Any, value: Callable[[], Any], status: int) -> Readings | None:
        """What its signals are with this value; None where it has none. `value` is only asked where that matters."""
        points = self._of.get(node)
        if not points:
            return None
        values: dict[str, dict[str, Value]] = defaultdict(dict)
        quality: dict[str, dict[str, int]] = defaultdict(dict)
        whole = value() if status < BAD else None
        for point in points:
            raw = _plain(self._types.inside(whole, point.place) if self._types else None)
            if status < BAD and raw is None:
                continue  # a place that cannot be looked into
            if point.settings.type is not None:
                raw = _cast(point, raw)
            self._raw[point.machine, point.signal] = raw
            values[point.machine][point.signal] = None if raw is None else point.meant(raw, 0.0)
            if status:
                quality[point.machine][point.signal] = status
        return values, quality


def _cast(point: Point, raw: Value) -> Value:
    try:
        return cast_to(point.type, raw)
    except (TypeError, ValueError):
        return None


def _id_of(place: Place, follow: Callable[[Iterable[tuple[int, str]]], Any]) -> Any:
    return _asyncua(place) if isinstance(place, NodeId) else follow(place)


def _asyncua(place: NodeId) -> Any:
    return ua.NodeId(place.identifier, place.namespace)


def _plain(value: Any) -> Value:
    """As the gateway has it; None for what is no single value."""
    if value is None or isinstance(value, (bool, str)):
        return value
    convert = next((convert for kind, convert in _PLAIN.items() if isinstance(value, kind)), None)
    return convert(value) if convert else None


def _time(value: datetime) -> str:
    """ISO 8601, in UTC."""
    return value.replace(tzinfo=None).isoformat() + "Z" if value.tzinfo in (None, UTC) else value.isoformat()


_PLAIN: Mapping[type, Callable[[Any], Value]] = {
    int: int,
    float: float,
    datetime: _time,
    UUID: str,
    ua.LocalizedText: lambda text: text.Text or "",
    ua.QualifiedName: lambda name: name.Name or "",
    ua.NodeId: lambda id: id.to_string(),
    ua.StatusCode: lambda status: int(status.value),
}
