"""Deadbands, which asyncua's server compares with the value before instead of the one it has reported last.

So a value that drifts slowly would never be reported: a filter of ours, in each subscription. Part 4, 7.22.2.
"""

from __future__ import annotations

from typing import Any

import asyncua.ua
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.server import Server
from asyncua.server.subscription_service import SubscriptionService

ua: Any = asyncua.ua

_NUMBERS = range(ua.VariantType.SByte.value, ua.VariantType.Double.value + 1)
_NOT_ALLOWED, _INVALID = ua.StatusCodes.BadFilterNotAllowed, ua.StatusCodes.BadDeadbandFilterInvalid


def install(server: Server) -> None:
    """Have all subscriptions of this server filter like this. Before it is started."""
    internal: Any = server.iserver
    internal.subscription_service = internal.isession.subscription_service = _Subscriptions(internal.aspace, internal)


class _Subscriptions(SubscriptionService):
    async def create_subscription(self, *args: Any, **more: Any) -> Any:
        result = await super().create_subscription(*args, **more)
        subscription = self.subscriptions[result.SubscriptionId]
        subscription.monitored_item_srv = _Items(subscription, self.aspace)
        return result


class _Items(MonitoredItemService):
    async def _create_data_change_monitored_item(self, params: Any) -> Any:
        asked = params.RequestedParameters.Filter
        if _is_filter(asked) and (why := self._refusal(params, asked)):
            result = ua.MonitoredItemCreateResult()
            result.StatusCode = ua.StatusCode(why)
            return result
        return await super()._create_data_change_monitored_item(params)

    def _refusal(self, params: Any, asked: Any) -> int | None:
        if asked.DeadbandType == ua.DeadbandType.None_:
            return None
        node = params.ItemToMonitor.NodeId
        value = self.aspace.read_attribute_value(node, ua.AttributeIds.DataType).Value
        type = value.Value if value else None
        if type is None or type.NamespaceIndex or type.Identifier not in _NUMBERS:
            return int(_NOT_ALLOWED)
        if asked.DeadbandType == ua.DeadbandType.Percent:
            span = self._span(node)
            if span is None or not 0 <= asked.DeadbandValue <= 100:
                return int(_INVALID)
            # Part 8, 6.2: of the range, so it is an absolute one from here on.
            asked.DeadbandType, asked.DeadbandValue = ua.DeadbandType.Absolute, asked.DeadbandValue / 100 * span
        return None

    def _span(self, node: Any) -> float | None:
        """What the property EURange spans."""
        for reference in self.aspace[node].references:
            if reference.IsForward and reference.BrowseName.Name == "EURange":
                data: Any = self.aspace.read_attribute_value(reference.NodeId, ua.AttributeIds.Value)
                return float(data.Value.Value.High - data.Value.Value.Low)
        return None

    async def datachange_callback(self, handle: int, value: Any, error: Any = None) -> None:
        item = self._monitored_items.get(self._monitored_datachange.get(handle, 0))
        if error is None and item is not None and _is_filter(item.filter):
            asked, last = item.filter, item.mvalue.get_current_datavalue()
            if asked.DeadbandType == ua.DeadbandType.Absolute:
                if last is not None and _close(last, value, asked.DeadbandValue):
                    return
                item.mvalue.current_dvalue = None  # asyncua reports what follows nothing
        await super().datachange_callback(handle, value, error)


def _is_filter(asked: Any) -> bool:
    """asyncua has two classes of this name, and an empty ExtensionObject for none."""
    return hasattr(asked, "DeadbandType")


def _close(last: Any, data: Any, deadband: float) -> bool:
    """Whether this differs too little from what was reported last. Another status always counts (Part 4, 7.22.2)."""
    same = last.StatusCode == data.StatusCode and last.Value is not None and data.Value is not None
    return same and _near(last.Value.Value, data.Value.Value, deadband)


def _near(a: Any, b: Any, deadband: float) -> bool:
    """Whether no element of the one is further than this from that of the other."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_near(x, y, deadband) for x, y in zip(a, b, strict=True))
    return isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(a - b) <= deadband
