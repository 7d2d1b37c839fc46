"""One session with a server: opened, listened to, taken over on a new line, ended. Every error is a NotConnectedError.

open ─▶ values, data_types, units ─▶ subscribe, monitor ─▶ notifications, over and over ─▶ end
                                          ▲                      │ the line is lost        └ the line was dead: bury
                                          └─────── resume ◀──────┘
                        the server still has the session: nothing is lost that it could keep
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from adapters.opcua import servers
from adapters.opcua.client import Client, Path, unit_of
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.explain import explain, fault_of_error
from adapters.opcua.history import Backfill, pages
from adapters.opcua.items import Item, Limit, Notification, in_batches
from adapters.opcua.nodes import NodeId
from adapters.opcua.overheard import Overheard
from adapters.opcua.publishing import Publishing, SilentError
from adapters.opcua.security.secure import Security
from adapters.opcua.units import Unit
from adapters.opcua.wire import Values
from gateway.clock import Clock
from gateway.errors import NotConnectedError

KEEP_ALIVE = 2.0  # seconds of silence after which a subscription says that it lives
QUIET = 2.0  # seconds of silence on the line after which the server is asked whether it lives

_IN_VAIN = 5  # times that a session is taken over without getting there, until another one is begun
_NAMESPACES = NodeId(0, "i", 2255)

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)


class Session:
    """Namespaces, values and notifications of one server, as long as one session lasts."""

    def __init__(
        self,
        connection: OpcuaConnection,
        label: str,
        application: str,
        clock: Clock,
        security: Security,
        sizes: dict[str, int] | None = None,
        overheard: Overheard | None = None,
    ) -> None:
        """`label` begins every message. `sizes`: of requests that the server was found to take, kept for the next one.

        `overheard` is told when there is a session, and of what is said in it; that it has ended, the caller tells.
        """
        self.uris: Sequence[str] = ()  # the namespaces of the server, in the order of their indexes
        self._connection, self._label, self._clock = connection, label, clock
        self._client, self._security = Client(connection, application, overheard), security
        self._overheard = overheard
        self.profile = servers.GENERIC  # what kind of server it is
        self._sizes = {} if sizes is None else sizes
        self._limits: dict[str, Limit] = {}  # by kind of request, as in servers.Limits
        self._publishing = Publishing(self._client, label, clock)
        self._renewal: asyncio.Task[None] | None = None
        self._ping: asyncio.Task[None] | None = None
        self._heard = 0.0  # monotonic: when the server last answered anything
        self._left = 0.0  # when we last stopped listening
        self.pinged = False  # it has just shown that it lives, without anything else to say
        self._dead = False  # nothing more goes over this line
        self._over = False  # the server has ended it, or what we subscribed to
        self.left_behind = False  # we are done with it, and the server still has it, as far as we know
        self._resumed_in_vain = 0  # times, one after the other

    # --- opening and closing ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Log in, and learn the namespaces and limits. Leaves nothing open where that fails."""
        try:
            with self._told():
                await self._security.secure(self._client)
                await self._client.dial()
                await self._client.log_in()
                if self._overheard is not None:
                    self._overheard.opened()
                self._start()
                self.uris = await self._namespaces()
                await self._learn_limits()
        except BaseException:
            await self.end()
            raise

    async def _learn_limits(self) -> None:
        """What kind of server it is, and what it bears."""
        nodes = [NodeId(0, "i", i) for i in (*servers.TOLD.values(), *servers.IDENTITY)]
        values = await in_batches(nodes, Limit(len(nodes)), self._client.python_values)
        told = dict(zip(servers.TOLD, values, strict=False))
        applications, *says = values[len(told) :]
        self.profile = servers.profile_of(self._connection.server, [*says, *(applications or ())], self.uris)
        limits = servers.combine(told, self.profile, self._connection.max_nodes)
        self._publishing.requests = limits.publish_requests
        for name in ("read", "browse", "translate", "register", "monitor", "history"):
            size = getattr(limits, name)
            self._limits[name] = Limit(min(size, self._sizes.get(name, size)))

    def monotonic(self) -> float:
        """The time, for what belongs to this session."""
        return self._clock.monotonic()

    @property
    def resumable(self) -> bool:
        """Whether the server may still have this session, and all there is of it."""
        return self._client.has_session and not self._over

    async def resume(self) -> list[Notification] | None:
        """Go on with this session over a new line (Part 4, 5.6.3): what was published meanwhile.

        None: the server does not have it any more, or is not what it was. Raises NotConnectedError where there is no line.
        """
        await self._stop()
        self._client.hang_up()
        with self._told():
            await self._client.redial()
        try:
            await self._client.take_over()
            if self._overheard is not None:
                self._overheard.opened()
            if not self.uris or list(await self._namespaces()) != list(self.uris):
                return None
            self._start()
            missed = await self._publishing.catch_up(self._clock.now())
        except Exception as exc:
            self._resumed_in_vain += 1
            # What has no status code is no answer: the line is lost again, and the server may still have all of it.
            if not _answer(exc) and self._resumed_in_vain < _IN_VAIN:
                with self._told():
                    raise
            _log.info("%s: the session cannot be taken over on the new line: %s", self._label, explain(exc))
            return None
        self._resumed_in_vain = 0
        return missed

    async def inherit(self, other: Session) -> list[Notification] | None:
        """Take over the subscriptions of a session that the server has ended (Part 4, 5.14.7). None: it cannot be done."""
        ids = other._publishing.ids
        if not ids or list(self.uris) != list(other.uris):
            return None
        with self._told():
            ours = await self._client.transferred(ids)
            if len(ours) < len(ids):
                if ours:  # all are made anew, and these would report for ever to nobody
                    await self._client.unsubscribe(ours)
                return None
            self._publishing.adopt(other._publishing)
            return await self._publishing.catch_up(self._clock.now())

    async def end(self) -> bool:
        """Close the session, and with it its subscriptions. False: it is left behind."""
        await self._stop()
        had_session, answered = self._client.has_session, False
        try:
            if self._client.connected and not self._dead:
                await self._client.log_out()
                answered = True
        except Exception as exc:
            answered = _answer(exc)  # it does not know this session
            _log.debug("%s: closing: %s", self._label, explain(exc))
        finally:
            self._client.hang_up()
            self.left_behind = (self.left_behind or had_session) and not answered
        return not self.left_behind

    async def bury(self) -> None:
        """Take the session over on a new line and close it: small servers have few, and keep the dead for long.

        Raises NotConnectedError where there is no line; that the server has forgotten the session is fine.
        """
        try:
            with self._told():
                await self._client.redial()
            self.left_behind = False
            with suppress(Exception):
                await self._client.take_over()
                await self._client.log_out()
        finally:
            self._client.hang_up()

    def _start(self) -> None:
        self._dead = self._over = False
        self._heard = self._left = self._clock.monotonic()
        self._renewal = asyncio.create_task(self._renew(), name=f"renew channel[{self._label}]")

    async def _stop(self) -> None:
        tasks = [task for task in (self._renewal, self._ping) if task]
        self._renewal = self._ping = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._publishing.stop()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(0.75 * self._client.channel_lifetime)  # Part 4, 5.6.2.1
            await self._client.renew_channel()
            # The server keeps to the old token until it has had a message with the new one: Part 4, 5.6.2.1.
            await self._client.ping(self._connection.timeout)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever is raised, as NotConnectedError with address and cause."""
        try:
            yield
        except NotConnectedError as exc:
            if str(exc).startswith(self._label):
                raise
            raise NotConnectedError(f"{self._label}: {exc}", fault=exc.fault) from exc
        except Exception as exc:
            raise NotConnectedError(f"{self._label}: {explain(exc)}", fault=fault_of_error(exc)) from exc

    # --- reading ---------------------------------------------------------------------------------------------------

    async def read_namespaces(self) -> None:
        """Into `uris`, anew."""
        with self._told():
            self.uris = await self._namespaces()

    async def _namespaces(self) -> Sequence[str]:
        (array,) = await self._client.python_values([_NAMESPACES])
        return array or ()

    async def values(self, nodes: Sequence[NodeId]) -> Values:
        """The values as they are now, in the order of the nodes."""
        found = Values()

        async def read(part: Sequence[NodeId]) -> Sequence[int]:
            values = await self._client.values(part)
            found.extend(values)
            return values.signal

        await self._batched(nodes, "read", read)
        found.signal = list(range(len(nodes)))
        return found

    async def data_types(self, nodes: Sequence[NodeId]) -> list[int]:
        """The type each variable is declared with: i=1 to i=29, 0 where there is none."""
        return await self._batched(nodes, "read", self._client.data_types)

    async def units(self, nodes: Sequence[NodeId]) -> list[Unit | None]:
        """Unit and range of each variable, where the server has them (Part 8, 5.3.2)."""
        units = await self._property_values(nodes, "EngineeringUnits")
        ranges = await self._property_values(nodes, "EURange")
        return [unit_of(unit, span) for unit, span in zip(units, ranges, strict=True)]

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        """One property of each node (Part 3, 4.4.2); None where it has none."""
        return await self._batched(nodes, "translate", partial(self._client.properties, name))

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        """One attribute of each node, as `wire` decodes it; None where it has none."""
        return await self._batched(nodes, "read", partial(self._client.attribute, attribute))

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        """Where references of exactly this type of the standard lead, with the browse name there."""
        return await self._batched(nodes, "browse", partial(self._client.references, type, inverse))

    async def _property_values(self, nodes: Sequence[NodeId], name: str) -> list[Any]:
        """The value of one property of each node; None where it has none."""
        properties = await self.properties(name, nodes)
        there = [node for node in properties if node]
        values = iter(await self._batched(there, "read", self._client.python_values))
        return [next(values) if node else None for node in properties]

    async def follow(self, paths: Sequence[Path]) -> list[NodeId | None]:
        """Where browse names lead to from the folder Objects; None where they lead nowhere."""
        return await self._batched(paths, "translate", self._client.follow)

    async def registered(self, nodes: Sequence[NodeId]) -> Sequence[NodeId]:
        """Ids for the same nodes that are cheaper to read by; the same where the server does not do that."""
        try:
            return await self._batched(nodes, "register", self._client.registered)
        except NotConnectedError as exc:
            if not self._client.connected:
                raise
            _log.debug("%s: nodes cannot be registered: %s", self._label, exc)
            return nodes

    async def _batched(
        self, things: Sequence[T], kind: str, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
    ) -> list[R]:
        limit = self._limits[kind]
        size = limit.size

        async def answers(part: Sequence[T]) -> Sequence[R]:
            found = await call(part)
            await self._keep_subscriptions()
            return found

        with self._told():
            results = await in_batches(things, limit, answers)
        self._heard = self._clock.monotonic()
        if limit.size < size:
            self._sizes[kind] = limit.size
            _log.info("%s: the server takes %d nodes in one request (%s), not %d", self._label, limit.size, kind, size)
        return results

    # --- subscribing -----------------------------------------------------------------------------------------------

    async def subscribe(self, publishing: float) -> int:
        """Make an empty subscription that is published every `publishing` seconds. Its id."""
        keep_alive = max(1, round(KEEP_ALIVE / publishing))
        lifetime = max(3 * keep_alive, round(self._connection.session_timeout / publishing))
        with self._told():
            id, silence = await self._client.subscribe(publishing, keep_alive, lifetime)
        self._publishing.add(id, silence)
        return id

    async def monitor(self, subscription: int, items: Sequence[Item]) -> None:
        """Have the values of nodes reported. What became of each stands in the item."""
        await self._batched(items, "monitor", partial(self._client.monitor, subscription))

    async def monitor_events(self, subscription: int, item: Item, severity: int) -> None:
        """Have the events of an object reported. What became of it stands in the item."""
        with self._told():
            await self._client.monitor_events(subscription, item, severity)

    async def refresh_conditions(self, subscription: int) -> None:
        """Have the conditions that are retained reported once more, where the server does that."""
        with self._told():
            await self._client.refresh_conditions(subscription)

    async def keeps_history(self, nodes: Sequence[NodeId]) -> list[bool]:
        """Whether the past of each node can be read."""
        return await self._batched(nodes, "read", self._client.keeps_history)

    async def history(self, backfill: Backfill) -> AsyncGenerator[Values]:
        """What was missed, as it comes in."""
        with self._told():
            async for values in pages(backfill, self._client, self._limits["history"]):
                yield values

    async def forget(self, subscription: int, ids: Sequence[int]) -> None:
        """Take monitored items away."""
        with self._told():
            await self._client.forget(subscription, ids)

    async def notifications(self, timeout: float, also: asyncio.Task[Any] | None = None) -> list[Notification]:
        """What has arrived; nothing if nothing came for `timeout` seconds, or `also` is done.

        Raises NotConnectedError when the line or the session is lost, or a subscription says nothing any more.
        """
        with self._told():
            try:
                return await self._listen(timeout, also)
            except SilentError:
                self._over = True
                raise

    async def _listen(self, timeout: float, also: asyncio.Task[Any] | None) -> list[Notification]:
        publishing, now = self._publishing, self._clock.monotonic()
        self.pinged = False
        publishing.excuse(now - self._left)
        self._heard = max(self._heard, now - QUIET)
        publishing.ask()
        # Where a subscription is silent, whether the line is dead or the subscription alone is seen by asking.
        doubtful = min(self._heard + QUIET, publishing.due or math.inf)
        if self._ping is None and now >= doubtful:
            self._ping = asyncio.create_task(self._client.ping(self._patience), name=f"ping[{self._label}]")
        until = timeout if self._ping else min(timeout, doubtful - now)
        until = 0.0 if publishing.held else until
        tasks = [*publishing.asked, *(task for task in (self._renewal, self._ping, also) if task)]
        await asyncio.wait(tasks, timeout=until, return_when=asyncio.FIRST_COMPLETED)
        self._left = self._clock.monotonic()
        if self._renewal and self._renewal.done():
            self._renewal.result()
        if any(task.done() for task in publishing.asked):
            self._heard = self._left
        if self._ping and self._ping.done():
            ping, self._ping = self._ping, None
            self._pinged(ping)
        publishing.check(self._heard)
        return await publishing.take(self._clock.now())

    async def _keep_subscriptions(self) -> None:
        """Ask for notifications at times although nobody listens: a server ends what nobody asks for (Part 4, 5.14.1.1)."""
        now = self._clock.monotonic()
        if now - self._left > self._connection.session_timeout / 10:
            self._publishing.excuse(now - self._left)
            self._left = now
            await self._publishing.hold(self._clock.now())

    @property
    def _patience(self) -> float:
        """Seconds for a sign of life: with `timeout: 4s`, a line is found dead before 5 s are over."""
        return 0.6 * self._connection.timeout

    def _pinged(self, ping: asyncio.Task[None]) -> None:
        error = ping.exception()
        if error is None:
            self._heard, self.pinged = self._left, True
        elif isinstance(error, TimeoutError):
            if self._heard < self._left - self._patience:
                self._dead = True
                raise NotConnectedError(
                    f"no sign of life for {self._left - self._heard:.1f} s: the line is dead; allow more with `timeout:`",
                    fault="connection-lost",
                )
        else:
            raise error


def _answer(exc: Exception) -> bool:
    """Whether it is what the server says, and not that it cannot be heard."""
    return isinstance(getattr(exc, "code", None), int)
