"""What a server takes at most: OperationLimits and ServerCapabilities, Part 5, 6.3.11 and 6.3.2; what it answers beyond, Part 4.

asyncua's server has no such limits but those of subscriptions and connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncua.ua
from asyncua.common.utils import ServiceError
from asyncua.server.server import Server

ua: Any = asyncua.ua


class Limits:
    """Of one server. None to begin with; `now` has the names of a fault `limit`."""

    def __init__(self, server: Server) -> None:
        self.now: Mapping[str, int] = {}
        inside: Any = server.iserver
        services: Any = inside.subscription_service
        read, browse = inside.attribute_service.read, inside.view_service.browse
        translate, sessions = inside.view_service.translate_browsepaths_to_nodeids, inside.create_session
        subscriptions, items = services.create_subscription, services.create_monitored_items

        inside.attribute_service.read = self._counted("max_nodes_per_read", lambda p: p.NodesToRead, read)
        inside.view_service.browse = self._counted("max_nodes_per_browse", lambda p: p.NodesToBrowse, browse)
        inside.view_service.translate_browsepaths_to_nodeids = self._counted(
            "max_nodes_per_translate", lambda paths: paths, translate
        )

        def session(*args: Any, external: bool = False, **more: Any) -> Any:
            if external:
                self._check("max_sessions", len(inside._external_sessions) + 1, ua.StatusCodes.BadTooManySessions)
            return sessions(*args, external=external, **more)

        async def subscription(*args: Any, **more: Any) -> Any:
            wanted = len(services.subscriptions) + 1
            self._check("max_subscriptions", wanted, ua.StatusCodes.BadTooManySubscriptions)
            return await subscriptions(*args, **more)

        async def monitored(params: Any) -> Any:
            self._check("max_monitored_items_per_call", len(params.ItemsToCreate), ua.StatusCodes.BadTooManyOperations)
            return await self._monitor(services, params, items)

        inside.create_session = session
        services.create_subscription, services.create_monitored_items = subscription, monitored

    def _counted(self, name: str, things: Callable[[Any], Any], call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A service that does not take more than so many of these."""

        def limited(params: Any) -> Any:
            self._check(name, len(things(params)), ua.StatusCodes.BadTooManyOperations)
            return call(params)

        return limited

    def _check(self, name: str, wanted: int, code: int) -> None:
        """Raises ServiceError, which becomes a service fault."""
        most = self.now.get(name)
        if most is not None and wanted > most:
            raise ServiceError(code)

    async def _monitor(self, services: Any, params: Any, create: Callable[[Any], Awaitable[Any]]) -> Any:
        """As many as there is room for; the others are refused one by one: Part 4, 5.12.2.4."""
        subscription = services.subscriptions.get(params.SubscriptionId)
        most = self.now.get("max_monitored_items")
        if most is None or subscription is None:
            return await create(params)
        asked = params.ItemsToCreate
        room = max(0, most - len(subscription.monitored_item_srv._monitored_items))
        params.ItemsToCreate = asked[:room]
        results = list(await create(params)) if room else []
        for _ in asked[room:]:
            refused = ua.MonitoredItemCreateResult()
            refused.StatusCode = ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems)
            results.append(refused)
        return results
