"""The past of a server that was recorded: what it told of it, as far as it has happened by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncua.ua

from simulators.opcua.replay.plan import Node
from simulators.opcua.replay.values import Times, data_value
from simulators.opcua.replay.wire import Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_MOST = 10_000  # values in one answer
_NO_DATA, _NOT_THERE = ua.StatusCodes.GoodNoData, ua.StatusCodes.BadNodeIdUnknown
_UNSUPPORTED = ua.StatusCodes.BadHistoryOperationUnsupported

Heard = Callable[[Any, Sequence[Told]], None]


class Past:
    """Takes the place of asyncua's history."""

    def __init__(
        self, nodes: Mapping[Any, Node], times: Callable[[], Times], now: Callable[[], int], heard: Heard
    ) -> None:
        """`now`: ns since 1970. `heard` is told what is answered about a node, as it goes out."""
        self._values = {id: [node.past[time] for time in sorted(node.past)] for id, node in nodes.items() if node.past}
        self._nodes, self._times, self._now, self._heard = nodes, times, now, heard

    async def read(self, asked: Any) -> list[Any]:
        """HistoryRead: Part 11, 6.4.3."""
        details = asked.HistoryReadDetails
        raw = isinstance(details, ua.ReadRawModifiedDetails) and not details.IsReadModified
        return [self._read(details, each) if raw else _failed(_UNSUPPORTED) for each in asked.NodesToRead]

    def _read(self, details: Any, asked: Any) -> Any:
        if asked.NodeId not in self._nodes:
            return _failed(_NOT_THERE)
        if asked.NodeId not in self._values:
            return _failed(_UNSUPPORTED)
        begin, end = _ticks(details.StartTime), _ticks(details.EndTime)
        back = bool(end) and end < begin
        low, high = sorted((begin, end)) if begin and end else (begin, end or 2**63)
        now, times = self._now() // 100 + _TO_1970, self._times()
        told = [times.told(each) for each in self._values[asked.NodeId]]
        found = [each for each in told if low <= _when(each) <= min(high, now)]
        found = found[::-1] if back else found
        at = int.from_bytes(asked.ContinuationPoint or b"", "little")
        size = min(details.NumValuesPerNode or _MOST, _MOST)
        page = found[at : at + size]
        self._heard(asked.NodeId, page)
        result = ua.HistoryReadResult()
        result.HistoryData = ua.HistoryData([data_value(each) for each in page])
        result.StatusCode = ua.StatusCode(0 if page else _NO_DATA)
        more = at + size < len(found)
        result.ContinuationPoint = (at + size).to_bytes(8, "little") if more else None
        return result


_TO_1970 = 116_444_736_000_000_000  # in 100 ns


def _when(told: Told) -> int:
    return told.source or told.server or 0


def _ticks(time: Any) -> int:
    """A DateTime of a request; 0 for none."""
    return int(ua.datetime_to_win_epoch(time)) if time else 0


def _failed(status: int) -> Any:
    result = ua.HistoryReadResult()
    result.StatusCode = ua.StatusCode(status)
    return result
