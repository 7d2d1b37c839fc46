"""What a machine's signals ask for, worked out from the configuration: one target per node. Pure.

speed  node: m:s=Speed                     ─▶ target 0: speed                       handle = number of the signal
pos_0  node: m:s=Pos, index: 0  ─┐
pos_1  node: m:s=Pos, index: 1  ─┴────────▶ target n: pos_0 [0], pos_1 [1]          handle = number of signals and up
alarm  node: m:s=CNC1, events  ───────────▶ target n + 1: its parts
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from adapters.opcua.config import OpcuaConnection, OpcuaMachine, OpcuaSignal
from adapters.opcua.items import Deadband
from adapters.opcua.nodes import Address
from adapters.opcua.structures.field_path import Path
from gateway.config.fields import Percent

_OUTAGE = 10.0  # seconds of a lost line that a server should be able to bridge
_MOST_QUEUED = 20  # values, for that


@dataclass(slots=True)
class Target:
    """One node, and the signals that come from it."""

    handle: int
    address: Address
    signals: list[int]  # by their number; of an event, one per part
    sampling: float  # seconds
    queue: int
    discard_oldest: bool
    deadband: Deadband | None
    poll: float | None  # seconds between two readings; None: it is subscribed to
    severity: int | None = None  # of events, the lowest that is reported; None: a variable
    picks: list[tuple[int, Path]] = field(default_factory=list)  # signals, and where in the value they stand


def targets(connection: OpcuaConnection, machine: OpcuaMachine) -> list[Target]:
    """One for each node, in the order of the signals."""
    found: list[Target] = []
    shared: dict[tuple[object, ...], Target] = {}
    for i, (name, signal) in enumerate(machine.signals.items()):
        address = machine.address_of(name)
        whole = not signal.place and signal.part is None
        target = None if whole else shared.get(key := _key(address, signal))
        if target is None:
            target = _target(connection, machine, i, address, signal)
            found.append(target)
            if not whole:
                target.handle = len(machine.signals) + len(shared)
                shared[key] = target
        else:
            target.signals.append(i)
            target.sampling = min(target.sampling, signal.sampling or target.sampling)
        if signal.place:
            target.picks.append((i, signal.place))
    return found


def publishing(connection: OpcuaConnection, machine: OpcuaMachine) -> float:
    """Seconds between two notifications of a machine."""
    return machine.publishing or connection.publishing


def _key(address: Address, signal: OpcuaSignal) -> tuple[object, ...]:
    return address, signal.part is not None, signal.severity, signal.mode, signal.poll, signal.discard, signal.queue


def _target(
    connection: OpcuaConnection, machine: OpcuaMachine, i: int, address: Address, signal: OpcuaSignal
) -> Target:
    interval = publishing(connection, machine)
    sampling = signal.sampling or interval  # never 0, which some servers take for never
    enough = max(2 * math.ceil(interval / sampling), min(_MOST_QUEUED, math.ceil(_OUTAGE / sampling)))
    polled = (signal.mode or machine.mode or connection.mode) == "poll" and signal.part is None
    return Target(
        i, address, [i], sampling, signal.queue or max(2, enough), signal.discard == "oldest", _deadband(signal),
        signal.poll if polled else None, signal.severity if signal.part is not None else None,
    )  # fmt: skip


def _deadband(signal: OpcuaSignal) -> Deadband | None:
    """What the server need not report; the normalizer filters in any case."""
    if signal.report != "change" or not signal.deadband or signal.scale_from or signal.place:
        return None
    if isinstance(signal.deadband, Percent):
        if signal.range is None:
            return Deadband(signal.deadband, percent=True)
        return Deadband((signal.range[1] - signal.range[0]) * signal.deadband / 100 / signal.slope)
    return Deadband(signal.deadband / signal.slope)
