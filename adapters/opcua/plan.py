"""What would be asked for, worked out without a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.targets import publishing, targets
from gateway.adapter import Context, PlannedRequest

_PUBLISH, _ITEM = 120, 34  # bytes: a publish request and its empty response; a Double with status and both stamps
_READ, _NODE = 150, 20  # bytes: a read request and its empty response; a node id in it


def planned_requests(context: Context) -> Sequence[PlannedRequest]:
    """A row per subscription and per period of polling. The size is that of an answer in which everything has changed."""
    assert isinstance(context.connection, OpcuaConnection)
    rows = []
    for path, machine in context.machines.items():
        assert isinstance(machine, OpcuaMachine)
        signals: dict[float | None, int] = defaultdict(int)
        nodes: dict[float | None, int] = defaultdict(int)
        for target in targets(context.connection, machine):
            signals[target.poll] += len(target.signals)
            nodes[target.poll] += 1
        for period, count in nodes.items():
            if period is None:
                what = f"subscription, published every {publishing(context.connection, machine) * 1000:g} ms"
                size = _PUBLISH + count * _ITEM
            else:
                what, size = "read", _READ + count * (_NODE + _ITEM)
            rows.append(PlannedRequest(path.machine, period or 0.0, what, signals[period], count, 0, size))
    return rows
