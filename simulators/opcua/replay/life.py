"""One life of a server that was recorded: asyncua's, from its start until it is stopped, with lines that can be cut."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.server.server import Server

from simulators.machine import netloc
from simulators.opcua.monitoring import install
from simulators.opcua.offer import Offer
from simulators.opcua.places import NodeId, steps_text
from simulators.opcua.replay.events import REFRESH, Raised, refresh
from simulators.opcua.replay.history import Past
from simulators.opcua.replay.plan import Life
from simulators.opcua.replay.refusals import Refusals, look_through
from simulators.opcua.replay.services import Event, Value, texts_of
from simulators.opcua.replay.signals import Signals
from simulators.opcua.replay.space import Space
from simulators.opcua.replay.types import Types
from simulators.opcua.replay.values import Cell, Times
from simulators.opcua.replay.wire import Told

ua: Any = asyncua.ua  # the types it declares are not those it takes

_MOST_EVENTS = 2000  # that are remembered, as one may come to several clients
_SERVER, _SERVERS = ua.NodeId(ua.ObjectIds.Server), ua.NodeId(ua.ObjectIds.Server_ServerArray)
_NAMESPACES = ua.NodeId(ua.ObjectIds.Server_NamespaceArray)
_REFRESH = ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh)


class ReplayedLife:
    """A server with what one life of it is known to have."""

    def __init__(self, life: Life, signals: Signals, machine: str, now: Callable[[], int]) -> None:
        """`machine`: the folder of nodes without a place. `now`: ns since 1970."""
        self.signals = signals
        self._life, self._now = life, now
        self._server = Server()
        self._internal: Any = self._server.iserver
        self._space = Space(self._server, life, machine, signals.named(), now)
        self._raised: OrderedDict[tuple[Any, bytes], None] = OrderedDict()
        self._retained: dict[tuple[Any, Any, Any], tuple[Event, Times, int]] = {}  # by node, condition and branch
        self._listening = False

    @property
    def port(self) -> int:
        return int(self._server.bserver.port) if self._server.bserver else 0

    @property
    def cells(self) -> dict[Any, Cell]:
        """The values, by node."""
        return self._space.cells

    async def build(self, offer: Offer, place: tuple[str, int], times: Times, *, background: bool = False) -> None:
        """Everything but the listening. `background`: in a second in which others answer."""
        server = self._server
        await (asyncio.to_thread(asyncio.run, server.init()) if background else server.init())
        uris = texts_of(value.variant) if (value := self._value(_SERVERS)) else []
        await offer.protect(server, place[0], uris[0] if uris else "")
        server.set_endpoint(urlsplit(offer.connection.url)._replace(netloc=netloc(*place)).geturl())
        server.socket_address = place
        server.disable_clock(True)
        install(server)
        self._refuse()
        if self._life.uris:
            self._life.node(_NAMESPACES).value = Told(_strings(self._life.uris))
            self._life.node(_NAMESPACES).there = True
        if not self._life.calls.get(_REFRESH, 0) >> 31:
            self._internal.isession.add_method_callback(_REFRESH, self._refresh)
        self._space.build(times)
        self.signals.settle(self._space.follow, Types(self._life))

    def remember(self, times: Callable[[], Times], heard: Callable[..., None]) -> None:
        """Answer questions about the past; `heard` is told what goes out."""
        self._internal.history_manager.read_history = Past(self._life.nodes, times, self._now, heard).read

    def _value(self, id: Any) -> Told | None:
        node = self._life.nodes.get(id)
        return node.value if node else None

    def _refuse(self) -> None:
        """What nobody could monitor, nobody can."""
        refused = {id: node.refused for id, node in self._life.nodes.items() if node.refused}
        service = self._internal.subscription_service
        create = service.create_monitored_items

        async def create_but_for_refused(params: Any) -> list[Any]:
            asked = params.ItemsToCreate
            params.ItemsToCreate = [each for each in asked if each.ItemToMonitor.NodeId not in refused]
            results = iter(await create(params) if params.ItemsToCreate else ())
            return [
                ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(why))
                if (why := refused.get(each.ItemToMonitor.NodeId))
                else next(results)
                for each in asked
            ]

        if refused:
            service.create_monitored_items = create_but_for_refused

    # --- lines -----------------------------------------------------------------------------------------------------------

    async def listen(self, refusals: Refusals | None = None) -> None:
        """From now on, or again. `refusals`: what requests meet. Raises OSError where the port cannot be had."""
        if self._listening:
            return
        if self._server.bserver is None:
            await self._server.start()
            if refusals and self._server.bserver is not None:
                await look_through(self._server.bserver, refusals)
        else:
            await self._server.bserver.start()
        self._listening = True

    async def cut(self, *, forget: bool) -> None:
        """Drop all lines, and let nobody in. `forget`: the sessions as well."""
        if self._listening and self._server.bserver is not None:
            self._listening = False
            await self._server.bserver.stop()
        if forget:
            for session in list(self._internal._external_sessions.values()):
                await session.close_session(True)

    async def stop(self) -> None:
        """For good."""
        self._listening = False
        if self._server.bserver is not None:
            await self._server.stop()

    # --- what happens ----------------------------------------------------------------------------------------------------

    async def put(self, value: Value, times: Times) -> Cell | None:
        """Another value; the cell, if it was another one."""
        if not await self._space.put(value.node, value.told, times, value.reported):
            return None
        return self.cells[value.node]

    async def raise_event(self, event: Event, times: Times, round: int) -> dict[Any, Raised]:
        """At its node, and at the object Server, where all of them can be had (Part 3, 5.2.2); where it is news."""
        raised = self.retain(event, times, round)
        if raised.refreshing:  # somebody else has asked for it
            return {}
        found: dict[Any, Raised] = {}
        id = raised.value("EventId")
        for node in dict.fromkeys((event.node, event.node if raised.to_a_client else _SERVER)):
            if not isinstance(id, bytes) or self._is_news(node, id):
                raised.emitting_node = node
                found[node] = raised
                await self._internal.subscription_service.trigger_event(raised)
        return found

    def retain(self, event: Event, times: Times, round: int) -> Raised:
        """Keep it, if it is of a condition that is worth a look (Part 9, 5.5.2)."""
        raised = Raised(event.node, event.fields, times, round)
        if condition := raised.condition:
            self._retained.pop((event.node, *condition), None)
            if raised.value("Retain"):
                self._retained[event.node, *condition] = event, times, round
        return raised

    async def _refresh(self, parent: Any, subscription: Any = None, *_: Any) -> Any:
        """ConditionRefresh: Part 9, 5.5.7."""
        del parent
        service, id = self._internal.subscription_service, subscription.Value if subscription else 0
        if id not in service.subscriptions:
            return ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid)
        nodes = dict.fromkeys([_SERVER, *(node for node, _, _ in self._retained)])
        begins, ends = ([refresh(node, kind, self._now()) for node in nodes] for kind in REFRESH)
        retained = [Raised(event.node, event.fields, times, round) for event, times, round in self._retained.values()]
        everywhere = [Raised(_SERVER, event.fields, times, round) for event, times, round in self._retained.values()]
        for raised in (*begins, *retained, *everywhere, *ends):
            await service.trigger_event(raised, id)
        return ua.StatusCode()

    def _is_news(self, node: Any, id: bytes) -> bool:
        if (node, id) in self._raised:
            return False
        self._raised[node, id] = None
        if len(self._raised) > _MOST_EVENTS:
            self._raised.popitem(last=False)
        return True

    def unserved(self) -> dict[str, str]:
        """Signals that the recording says nothing of."""
        why: dict[str, str] = {}
        for place, names in self.signals.places.items():
            if isinstance(place, NodeId):
                node = self._life.nodes.get(ua.NodeId(place.identifier, place.namespace))
                if node is None:
                    why.update(dict.fromkeys(names, "the recording says nothing of its node"))
                elif not node.there:
                    why.update(dict.fromkeys(names, "the server did not have its node"))
            elif self._space.follow(place) is None:
                why.update(dict.fromkeys(names, f"the recording does not say where {steps_text(place)} leads to"))
        return why


def _strings(texts: Sequence[str]) -> bytes:
    """An array of String, as a Variant."""
    parts = [len(data).to_bytes(4, "little") + data for data in (text.encode() for text in texts)]
    return bytes((0x80 | ua.VariantType.String.value,)) + len(parts).to_bytes(4, "little") + b"".join(parts)
