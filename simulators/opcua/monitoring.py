"""Monitored items that cost little: what is to be told of a value is bytes from the moment it is written.

    Cell.put ─ bytes of a DataValue ─▶ Item: filter, client handle before it ─▶ queue of the subscription
    asyncua's write of an attribute ─▶ Item, which encodes it ───────────────▶ queue
                                                      publishing interval ──▶ one DataChangeNotification: all of them joined

Sessions, Publish requests, acknowledgements, keep-alives, events and the wire are asyncua's, which takes the notification
as an ExtensionObject that is encoded already. Filters are ours (filters.py).
"""

from __future__ import annotations

import logging
from itertools import chain
from struct import Struct
from typing import Any, Protocol

import asyncua.ua
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemData, MonitoredItemService
from asyncua.server.server import Server
from asyncua.server.subscription_service import SubscriptionService
from asyncua.ua.ua_binary import struct_to_binary, variant_to_binary

from simulators.opcua.filters import NUMBERS, Filter, filter_of, is_filter

ua: Any = asyncua.ua

_NOTIFICATION = ua.NodeId(ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary)
_LENGTH, _HANDLE = Struct("<i"), Struct("<I")
# Part 6, 5.2.2.17: bits of the mask a DataValue begins with, and bytes of what follows the status.
_HAS_STATUS, _BEHIND_STATUS = 0x02, ((0x04, 8), (0x08, 8), (0x10, 2), (0x20, 2))
_STATUS = Struct("<I")
_OVERFLOW = 0x0480  # InfoType DataValue, Overflow: Part 4, 7.39.1
_NO_DIAGNOSTICS = _LENGTH.pack(0)
_EVERY = Filter()
_NOT_ALLOWED, _INVALID = ua.StatusCodes.BadFilterNotAllowed, ua.StatusCodes.BadDeadbandFilterInvalid
_UNKNOWN = ua.StatusCodes.BadMonitoredItemIdInvalid

_log = logging.getLogger(__name__)


def install(server: Server) -> None:
    """Have all subscriptions of this server work like this. Before it is started."""
    internal: Any = server.iserver
    internal.subscription_service = internal.isession.subscription_service = _Subscriptions(internal.aspace, internal)


class Change(Protocol):
    """What was written into a variable."""

    @property
    def encoded(self) -> bytes:
        """As a DataValue: Part 6, 5.2.2.17."""

    @property
    def status(self) -> int: ...

    @property
    def value(self) -> Any:
        """As in its Variant."""


class Item(MonitoredItemData):
    """One variable that a subscription monitors. It is called as asyncua calls what listens to an attribute."""

    def __init__(self, subscription: _Subscription, id: int, asked: Any, queue_size: int) -> None:
        super().__init__()
        self.subscription = subscription
        self.id = self.monitored_item_id = id
        self.queue_size = queue_size
        self.mode, self.read_value_id = asked.MonitoringMode, asked.ItemToMonitor
        self.client_handle = asked.RequestedParameters.ClientHandle
        self._prefix = _HANDLE.pack(self.client_handle)
        self._filter = _EVERY
        self._reported: tuple[int, Any] | None = None  # status and value; only kept where a filter asks for it
        self._written: object = None  # by asyncua, at last

    def limit(self, asked: Any, queue_size: int) -> None:
        """Filter and queue that a client asks for."""
        found = filter_of(asked)
        self._filter, self._reported, self.queue_size = _EVERY if found == _EVERY else found, None, queue_size

    def forget(self) -> None:
        """Whatever comes next is reported."""
        self._reported = self._written = None

    def take(self, change: Change) -> bool:
        """Queue it, if it is to be reported. Whether it has to be published at once."""
        if not self.mode:  # it is disabled
            return False
        self._written = None
        if self._filter is not _EVERY:
            now = change.status, change.value
            if self._reported is not None and not self._filter.passes(self._reported, now):
                return False
            self._reported = now
        waiting = self.subscription._triggered_datachanges
        queue = waiting.get(self.id)
        if queue is None:
            waiting[self.id] = [self._prefix + change.encoded]
            return self.subscription.at_once
        queue.append(self._prefix + change.encoded)
        if len(queue) > self.queue_size > 0:
            del queue[0]
            if self.queue_size > 1:  # Part 4, 5.13.1.5: nobody expects all of them from a queue of one
                queue[0] = _overflowed(queue[0])
        return False

    async def publish(self) -> None:
        """What waits, in a subscription without a publishing interval."""
        await self.subscription._trigger_publish()

    async def __call__(self, handle: int, data: Any, error: Any = None) -> None:
        """asyncua's server has written into the attribute, or read its first value."""
        del handle
        if error is not None:
            await self.subscription.enqueue_statuschange(error)
            return
        change = _Written(data)
        written = change.compared(self._filter.stamps)
        if self.mode and written != self._written:
            publish = self.take(change)
            self._written = written
            if publish:
                await self.publish()


def _overflowed(entry: bytes) -> bytes:
    """The same, and that values before it are missing."""
    mask = entry[_HANDLE.size]
    behind = sum(size for bit, size in _BEHIND_STATUS if mask & bit)  # bytes
    if mask & _HAS_STATUS:
        at = len(entry) - behind - _STATUS.size
        status: int = _STATUS.unpack_from(entry, at)[0]
        return entry[:at] + _STATUS.pack(status | _OVERFLOW) + entry[at + _STATUS.size :]
    at = len(entry) - behind
    begins = entry[: _HANDLE.size] + bytes((mask | _HAS_STATUS,)) + entry[_HANDLE.size + 1 : at]
    return begins + _STATUS.pack(_OVERFLOW) + entry[at:]


class _Written:
    """A DataValue of asyncua's."""

    def __init__(self, data: Any) -> None:
        self.status = data.StatusCode.value if data.StatusCode else 0
        self.value = data.Value.Value if data.Value else None
        self.encoded = struct_to_binary(data)
        self._data = data

    def compared(self, stamps: bool) -> object:
        """What has to differ from the one before; bytes, as asyncua's own lists are changed in place."""
        value = variant_to_binary(self._data.Value) if self._data.Value else b""
        return self.status, value, self._data.SourceTimestamp if stamps else None


class _Subscription(InternalSubscription):
    """Its queues hold MonitoredItemNotifications as bytes."""

    _triggered_datachanges: dict[int, list[bytes]]  # type: ignore[assignment]

    @property
    def at_once(self) -> bool:
        """Whether there is no publishing interval to wait for."""
        return self._task is None

    async def publish_results(self, requestdata: Any = None) -> bool:
        """asyncua's loop is over with the first answer that cannot be sent, and with it the subscription.

        Requests of a connection that is lost are there until they are used. asyncio lets answers to them go nowhere, and the
        client asks for those again in its next one; uvloop raises.
        """
        while True:
            try:
                return await super().publish_results(requestdata)
            except (RuntimeError, OSError) as exc:
                _log.debug("subscription %s: %s", self.data.SubscriptionId, exc)
                if requestdata is not None:  # it is used
                    return True

    def _pop_triggered_datachanges(self, result: Any) -> None:
        if self._triggered_datachanges:
            entries = list(chain.from_iterable(self._triggered_datachanges.values()))
            self._triggered_datachanges = {}
            body = _LENGTH.pack(len(entries)) + b"".join(entries) + _NO_DIAGNOSTICS
            result.NotificationMessage.NotificationData.append(ua.ExtensionObject(_NOTIFICATION, body))


class _Subscriptions(SubscriptionService):
    async def create_subscription(self, *args: Any, **more: Any) -> Any:
        result = await super().create_subscription(*args, **more)
        subscription = self.subscriptions[result.SubscriptionId]
        # Made by asyncua, which has no place to say of what class; it has not begun to publish yet.
        subscription.__class__ = _Subscription
        subscription.monitored_item_srv = _Items(subscription, self.aspace)
        return result


class _Items(MonitoredItemService):
    isub: Any

    async def _create_data_change_monitored_item(self, params: Any) -> Any:
        result = ua.MonitoredItemCreateResult()
        asked, target = params.RequestedParameters, params.ItemToMonitor
        if why := self._refusal(target.NodeId, asked.Filter):
            result.StatusCode = ua.StatusCode(why)
            return result
        self._monitored_item_counter += 1
        result.MonitoredItemId = self._monitored_item_counter
        result.RevisedSamplingInterval = self.isub.data.RevisedPublishingInterval
        result.RevisedQueueSize = self._revise_queue_size(asked.QueueSize)
        item = Item(self.isub, result.MonitoredItemId, params, result.RevisedQueueSize)
        item.limit(asked.Filter, result.RevisedQueueSize)
        result.StatusCode, handle = self.aspace.add_datachange_callback(target.NodeId, target.AttributeId, item)
        if result.StatusCode.is_good():
            item.callback_handle = handle
            self._monitored_items[result.MonitoredItemId] = item
            self._monitored_datachange[handle] = result.MonitoredItemId
            if item.mode:
                await self.trigger_datachange(handle, target.NodeId, target.AttributeId)
        return result

    def _modify_monitored_item(self, params: Any) -> Any:
        result, item = ua.MonitoredItemModifyResult(), self._monitored_items.get(params.MonitoredItemId)
        if item is None:
            result.StatusCode = ua.StatusCode(_UNKNOWN)
            return result
        if not isinstance(item, Item):
            return super()._modify_monitored_item(params)
        asked = params.RequestedParameters
        if item.read_value_id and (why := self._refusal(item.read_value_id.NodeId, asked.Filter)):
            result.StatusCode = ua.StatusCode(why)
            return result
        result.RevisedSamplingInterval = self.isub.data.RevisedPublishingInterval
        result.RevisedQueueSize = self._revise_queue_size(asked.QueueSize)
        item.limit(asked.Filter, result.RevisedQueueSize)
        return result

    async def _set_monitoring_mode(self, mode: Any, mid: int) -> Any:
        item = self._monitored_items.get(mid)
        if isinstance(item, Item) and not item.mode:
            item.forget()
        return await super()._set_monitoring_mode(mode, mid)

    def _delete_monitored_items(self, mid: int) -> Any:
        item = self._monitored_items.get(mid)
        if not isinstance(item, Item) or item.callback_handle is None:
            return super()._delete_monitored_items(mid)
        self.aspace.delete_datachange_callback(item.callback_handle)
        del self._monitored_datachange[item.callback_handle], self._monitored_items[mid]
        return ua.StatusCode()

    async def datachange_callback(self, handle: int, value: Any, error: Any = None) -> None:
        item: Any = self._monitored_items[self._monitored_datachange[handle]]
        await item(handle, value, error)

    def _refusal(self, node: Any, asked: Any) -> int | None:
        """Why a variable cannot have this filter; percent are made absolute."""
        if not is_filter(asked) or asked.DeadbandType == ua.DeadbandType.None_:
            return None
        data_type = self.aspace.read_attribute_value(node, ua.AttributeIds.DataType).Value
        type = data_type.Value if data_type else None
        if type is None or type.NamespaceIndex or type.Identifier not in NUMBERS:
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
