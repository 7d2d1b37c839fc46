"""What a server has to have for its machines: variables and streams of events, each with its signals. Pure.

    signals ── by node or path of this server ──▶ Variable: points, shape, how often it changes
                                              └─▶ Stream: an object that raises events, and who listens to it

A signal that has no place beside those before it is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.opcua.config import OpcuaConnection, OpcuaMachine, OpcuaSignal
from gateway.model import Value
from simulators.machine import NOTHING_TOLD, SimulatedMachine
from simulators.opcua.events import PARTS, Listener, StateError, Stream
from simulators.opcua.places import Path, Place, place_of
from simulators.opcua.points import Point
from simulators.opcua.shapes import Array, Plain, Shape, ShapeError, shape_of

SAMPLING = 0.25  # seconds, where the configuration does not say


@dataclass(slots=True, eq=False)
class Variable:
    """One variable. Of several points at one place the first is the one whose wave is shown."""

    place: Place
    points: list[Point]
    shape: Shape
    sampling: float  # seconds
    placed: Sequence[tuple[Point, Path]] = ()  # all points, and where they stand
    leading: Sequence[tuple[Point, Path]] = ()  # those that are shown
    shown: object = None  # values and status that were written last

    def __post_init__(self) -> None:
        self.placed = [(point, point.place) for point in self.points]
        first = {place: point for point, place in reversed(self.placed)}
        self.leading = [(point, place) for place, point in first.items()]

    def values(self, t: float) -> dict[Path, Value] | None:
        """The raw value at each place; None where one has none, as there is one status for all of them."""
        values: dict[Path, Value] = {}
        for point, place in self.leading:
            value = point.raw(t)
            if value is None:
                return None
            values[place] = value
        return values

    @property
    def first(self) -> Point:
        return self.points[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """Of its numbers, or of those in its array."""
        inside = self.shape.element if isinstance(self.shape, Array) else self.shape
        return inside.texts if isinstance(inside, Plain) else ()


@dataclass(slots=True)
class Plan:
    """All that a server has to have."""

    variables: dict[Place, Variable]
    streams: dict[Place, Stream]
    left_out: dict[str, str]  # machine/signal -> why


def plan(connection: OpcuaConnection, machines: Sequence[SimulatedMachine], uris: Sequence[str]) -> Plan:
    """`uris`: the namespaces of the server, all that are named among them."""
    points: dict[Place, list[Point]] = {}
    periods: dict[Place, float] = {}
    planned = Plan({}, {}, {})
    for machine in machines:
        settings = machine.settings
        assert isinstance(settings, OpcuaMachine)
        for name, signal in settings.signals.items():
            place = place_of(settings, name, uris)
            if signal.part is None:
                told = machine.told.get(name, NOTHING_TOLD)
                points.setdefault(place, []).append(Point(machine.path.machine, name, signal, machine.waves, told))
                period = _sampling(connection, settings, signal)
                periods[place] = min(period, periods.get(place, period))
            elif signal.part == PARTS[0]:
                _add_stream(planned, place, machine, name.removesuffix(f"_{PARTS[0]}"), signal)
    for place, each in points.items():
        if place in planned.streams:
            planned.left_out.update((point.name, "the same node is an object with events") for point in each)
            continue
        kept, shape = _fitting(each, planned.left_out)
        if kept:
            planned.variables[place] = Variable(place, kept, shape, periods[place])
    return planned


def _add_stream(planned: Plan, place: Place, machine: SimulatedMachine, name: str, signal: OpcuaSignal) -> None:
    listener = Listener(machine.path.machine, name, signal.severity)
    if place in planned.streams:
        planned.streams[place].listeners.append(listener)
        return
    waves = {part: machine.waves[f"{name}_{part}"] for part in PARTS}
    stream = Stream(name, waves, signal.sampling or SAMPLING, [listener])
    try:
        stream.check()
        planned.streams[place] = stream
    except StateError as exc:
        planned.left_out[f"{machine.path.machine}/{name}"] = str(exc)


def _sampling(connection: OpcuaConnection, machine: OpcuaMachine, signal: OpcuaSignal) -> float:
    """Seconds between two values."""
    polled = (signal.mode or machine.mode or connection.mode) == "poll"
    return signal.sampling or (min(SAMPLING, signal.poll) if polled else SAMPLING)


def _fitting(points: Sequence[Point], left_out: dict[str, str]) -> tuple[list[Point], Shape]:
    """Those that have a place beside those before them."""
    try:
        return list(points), shape_of(points)
    except ShapeError:
        pass
    kept: list[Point] = []
    shape: Shape = Plain("float")
    for point in points:
        try:
            shape = shape_of([*kept, point])
            kept.append(point)
        except ShapeError as exc:
            left_out[point.name] = str(exc)
    return kept, shape
