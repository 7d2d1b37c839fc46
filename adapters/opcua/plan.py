"""What would be asked for, worked out without a network; and how a machine is subscribed to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adapters.opcua.config import OpcuaConnection, OpcuaMachine, OpcuaSignal
from gateway.adapter import Context, PlannedRequest

_RESPONSE, _ITEM = 120, 34  # bytes: a publish request and its empty response; a Double with status and both stamps


def planned_requests(context: Context) -> Sequence[PlannedRequest]:
    """One row per machine: its subscription. The size is that of a notification in which every signal has changed."""
    rows = []
    for path, machine in context.machines.items():
        assert isinstance(machine, OpcuaMachine)
        count = len(machine.signals)
        what = f"subscription, published every {publishing(context, machine) * 1000:g} ms"
        rows.append(PlannedRequest(path.machine, 0.0, what, count, count, 0, _RESPONSE + count * _ITEM))
    return rows


def publishing(context: Context, machine: OpcuaMachine) -> float:
    """Seconds between two notifications of a machine."""
    connection = context.connection
    assert isinstance(connection, OpcuaConnection)
    return machine.publishing or connection.publishing


def sampling(signal: OpcuaSignal, publishing: float) -> float:
    """Seconds between two looks of the server at a signal: never 0, which some servers take for never."""
    return signal.sampling or publishing


def queue(signal: OpcuaSignal, publishing: float) -> int:
    """How many values the server keeps until the next notification: twice what it should need."""
    return signal.queue or max(2, 2 * math.ceil(publishing / sampling(signal, publishing)))
