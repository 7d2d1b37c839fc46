"""One session with a server: opened once, listened to, and ended for good. Every error is a NotConnectedError.

open ─▶ values, data_types, units ─▶ subscribe, monitor ─▶ notifications, over and over ─▶ end
                                                                                └ the line was dead: bury

Notifications are asked for only while somebody waits for them. So the server keeps what we are too slow for, and its
overflow bit says so when it had to drop something; nothing piles up here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters.opcua.client import Client, unit_of
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.explain import explain
from adapters.opcua.items import Item, Notification, in_batches
from adapters.opcua.nodes import NodeId
from adapters.opcua.units import Unit
from adapters.opcua.wire import Published, Values
from gateway.clock import Clock
from gateway.errors import NotConnectedError

KEEP_ALIVE = 2.0  # seconds of silence after which a subscription says that it lives
BATCH = 200  # nodes in one request at most: more is much slower on small servers
REQUESTS = 8  # publish requests that wait at the server at most: some allow only 10

_NAMESPACES = NodeId(0, "i", 2255)
_MAX_READ, _MAX_MONITOR, _MAX_TRANSLATE = (NodeId(0, "i", i) for i in (11705, 11714, 11712))

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Subscription:
    patience: float  # seconds without a sign of life
    seen: float  # monotonic
    sequence: int = 0


class Session:
    """Namespaces, values and notifications of one server, as long as one session lasts."""

    def __init__(self, connection: OpcuaConnection, label: str, application: str, clock: Clock) -> None:
        """`label` begins every message."""
        self.uris: Sequence[str] = ()  # the namespaces of the server, in the order of their indexes
        self._connection, self._label, self._clock = connection, label, clock
        self._client = Client(connection, application)
        self._limits = {_MAX_READ: BATCH, _MAX_MONITOR: BATCH, _MAX_TRANSLATE: BATCH}
        self._subscriptions: dict[int, _Subscription] = {}
        self._asked: list[asyncio.Task[Published]] = []
        self._requests = REQUESTS
        self._seen: list[tuple[int, int]] = []  # notifications to be acknowledged
        self._renewal: asyncio.Task[None] | None = None
        self._dead = False  # nothing more goes over this line
        self._left = 0.0  # when we last stopped listening

    # --- opening and closing ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Log in, and learn the namespaces and limits. Leaves nothing open where that fails."""
        try:
            with self._told():
                if self._connection.security == "auto":
                    await self._refuse_to_choose()
                await self._client.dial()
                await self._client.log_in()
                self._renewal = asyncio.create_task(self._renew(), name=f"renew channel[{self._label}]")
                await self.read_namespaces()
                for limit in self._limits:
                    (most,) = await self._client.python_values([limit])
                    self._limits[limit] = min(most or BATCH, BATCH) if isinstance(most, int) else BATCH
        except BaseException:
            await self.end()
            raise

    async def end(self) -> bool:
        """Close the session, and with it its subscriptions. False: the line was dead, and the server still has it."""
        tasks = [*self._asked, *([self._renewal] if self._renewal else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asked.clear()
        had_session = self._client.has_session
        try:
            if self._client.connected and not self._dead:
                await self._client.log_out()
                return True
        except Exception as exc:
            _log.debug("%s: closing: %s", self._label, explain(exc))
        finally:
            self._client.hang_up()
        return not had_session

    async def bury(self) -> None:
        """Take the session over on a new line and close it: small servers have few, and keep the dead for long.

        Raises NotConnectedError where there is no line; that the server has forgotten the session is fine.
        """
        try:
            with self._told():
                await self._client.dial()
            with suppress(Exception):
                await self._client.take_over()
                await self._client.log_out()
        finally:
            self._client.hang_up()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(0.75 * self._client.channel_lifetime)  # Part 4, 5.6.2.1
            await self._client.renew_channel()

    async def _refuse_to_choose(self) -> None:
        raise NotConnectedError(
            "`security: auto` wants encryption, which this version does not have; the server offers "
            f"{', '.join(await self._client.offers())}. Write `security: None` to read without encryption"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever is raised, as NotConnectedError with address and cause."""
        try:
            yield
        except NotConnectedError as exc:
            raise exc if str(exc).startswith(self._label) else NotConnectedError(f"{self._label}: {exc}") from exc
        except Exception as exc:
            raise NotConnectedError(f"{self._label}: {explain(exc)}") from exc

    # --- reading ---------------------------------------------------------------------------------------------------

    async def read_namespaces(self) -> None:
        """Into `uris`."""
        with self._told():
            (array,) = await self._client.python_values([_NAMESPACES])
        self.uris = array or ()

    async def values(self, nodes: Sequence[NodeId]) -> Values:
        """The values as they are now, in the order of the nodes."""
        found = Values()

        async def read(part: Sequence[NodeId]) -> Sequence[int]:
            values = await self._client.values(part)
            found.extend(values)
            return values.signal

        with self._told():
            await in_batches(nodes, self._limits[_MAX_READ], read)
        found.signal = list(range(len(nodes)))
        return found

    async def data_types(self, nodes: Sequence[NodeId]) -> list[int]:
        """The type each variable is declared with: i=1 to i=29, 0 where there is none."""
        with self._told():
            return await in_batches(nodes, self._limits[_MAX_READ], self._client.data_types)

    async def units(self, nodes: Sequence[NodeId]) -> list[Unit | None]:
        """Unit and range of each variable, where the server has them (Part 8, 5.3.2)."""
        with self._told():
            units = await self._properties(nodes, "EngineeringUnits")
            ranges = await self._properties(nodes, "EURange")
        return [unit_of(unit, span) for unit, span in zip(units, ranges, strict=True)]

    async def _properties(self, nodes: Sequence[NodeId], name: str) -> list[Any]:
        """The value of one property of each node; None where it has none."""
        translate = partial(self._client.properties, name)
        properties = await in_batches(nodes, self._limits[_MAX_TRANSLATE], translate)
        there = [node for node in properties if node]
        values = iter(await in_batches(there, self._limits[_MAX_READ], self._client.python_values))
        return [next(values) if node else None for node in properties]

    # --- subscribing -----------------------------------------------------------------------------------------------

    async def subscribe(self, publishing: float) -> int:
        """Make an empty subscription that is published every `publishing` seconds. Its id."""
        keep_alive = max(1, round(KEEP_ALIVE / publishing))
        lifetime = max(3 * keep_alive, round(self._connection.session_timeout / publishing))
        with self._told():
            id, silence = await self._client.subscribe(publishing, keep_alive, lifetime)
        self._left = self._clock.monotonic()
        self._subscriptions[id] = _Subscription(max(1.0, 3 * silence), self._left)
        return id

    async def monitor(self, subscription: int, items: Sequence[Item]) -> None:
        """Have the values of nodes reported. What became of each stands in the item."""
        with self._told():
            await in_batches(items, self._limits[_MAX_MONITOR], partial(self._client.monitor, subscription))

    async def forget(self, subscription: int, ids: Sequence[int]) -> None:
        """Take monitored items away."""
        with self._told():
            await self._client.forget(subscription, ids)

    async def notifications(self, timeout: float) -> list[Notification]:
        """What has arrived, at most one of each subscription; nothing if nothing came for `timeout` seconds.

        Raises NotConnectedError when the session is over, or a subscription has not even kept itself alive.
        """
        with self._told():
            now = self._clock.monotonic()
            for subscription in self._subscriptions.values():
                subscription.seen += now - self._left  # while we did not listen we could not hear
            self._ask()
            patience = min((s.seen + s.patience - now for s in self._subscriptions.values()), default=timeout)
            tasks = [*self._asked, *([self._renewal] if self._renewal else [])]
            await asyncio.wait(tasks, timeout=max(0.0, min(timeout, patience)), return_when=asyncio.FIRST_COMPLETED)
            self._left = self._clock.monotonic()
            if self._renewal and self._renewal.done():
                self._renewal.result()
            arrived = self._take(self._clock.now())
            self._look_for_the_dead(arrived)
            return arrived

    def _ask(self) -> None:
        """Have as many requests wait at the server as there are subscriptions, and one more."""
        while len(self._asked) < min(self._requests, len(self._subscriptions) + 1):
            seen, self._seen = self._seen, []
            self._asked.append(asyncio.create_task(self._client.published(seen), name=f"publish[{self._label}]"))

    def _take(self, arrival: int) -> list[Notification]:
        arrived: dict[int, Notification] = {}
        for task in [task for task in self._asked if task.done()]:
            if (error := task.exception()) is not None:
                self._asked.remove(task)
                self._bear(error)
                continue
            published = task.result()
            if published.subscription in arrived:
                break  # that one is for the next time
            self._asked.remove(task)
            if published.ended:
                raise NotConnectedError(f"the server has ended the subscription (0x{published.ended:08X})")
            if published.subscription in self._subscriptions:
                arrived[published.subscription] = self._notification(published, arrival)
        return list(arrived.values())

    def _notification(self, published: Published, arrival: int) -> Notification:
        subscription = self._subscriptions[published.subscription]
        subscription.seen, missing = self._left, 0
        if published.values is not None:
            if subscription.sequence:  # 2^32 - 1 is followed by 1: Part 4, 5.14.1.1
                missing = max(0, published.sequence - subscription.sequence - 1)
            subscription.sequence = published.sequence
            self._seen.append((published.subscription, published.sequence))
        return Notification(published.subscription, arrival, published.values, missing)

    def _bear(self, error: BaseException) -> None:
        """A request that failed. Raises it, unless it is about the request itself."""
        name = type(error).__name__
        if name == "BadTooManyPublishRequests" and self._requests > 1:
            self._requests -= 1
        elif name not in ("BadTimeout", "BadRequestTimeout"):
            raise error

    def _look_for_the_dead(self, arrived: Sequence[Notification]) -> None:
        for subscription in self._subscriptions.values():
            if self._left > subscription.seen + subscription.patience:
                self._dead = not arrived
                raise NotConnectedError(
                    f"no sign of life of a subscription for {subscription.patience:.0f} s: "
                    "the line is dead, or the server has deleted it"
                )
