"""All parts of one process, started from the store back to the machines, and stopped the other way round.

gateway run                 edge + page, and the store writer where the configuration has a `store:`
gateway store               the store writer alone, next to the data base
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from gateway.buffer import known_time
from gateway.clock import Clock, SystemClock
from gateway.config import Configuration
from gateway.counters import FlowCounters
from gateway.errors import BrokerError, NotConnectedError, StoreError
from gateway.mqtt.link import Link, Will
from gateway.mqtt.topics import Topics
from gateway.runtime.edge import Edge, buffer_folder
from gateway.runtime.service import Notifier, Progress, keep_fed
from gateway.store.writer import StoreWriter

log = logging.getLogger(__name__)

STUCK = 90.0  # seconds without any attempt, after which a part is stuck: the longest pause between two, and some more

MakeLink = Callable[[str, bool, Will | None], Link]
"""Makes a link from client id, persistent, and will."""


def system_clock(configuration: Configuration) -> SystemClock:
    """The clock of this box, which has to be later than what was recorded before to be believed."""
    settings = configuration.settings.gateway
    known = known_time(buffer_folder(configuration))
    return SystemClock(policy=settings.clock, last_known=known)


def paho_links(configuration: Configuration, clock: Clock) -> MakeLink:
    """Links to the broker of a configuration. Raises BrokerError for certificate files that cannot be used."""
    from gateway.mqtt.client import Endpoint, PahoLink

    mqtt = configuration.settings.mqtt
    files = {name: configuration.resolve(path) for name in ("ca", "cert", "key") if (path := getattr(mqtt, name))}

    def make(client_id: str, persistent: bool, will: Will | None) -> Link:
        endpoint = Endpoint(
            mqtt.host, mqtt.port, client_id, tls=mqtt.tls, user=mqtt.user,
            password=mqtt.password.value if mqtt.password else None,
            keepalive=mqtt.keepalive, persistent=persistent, **files,
        )  # fmt: skip
        if mqtt.tls:
            endpoint.ssl_context()
        return PahoLink(endpoint, will=will, clock=clock)

    return make


def _always() -> bool:
    return True


@dataclass(slots=True)
class App:
    """One process of the gateway."""

    configuration: Configuration
    links: MakeLink
    clock: Clock
    counters: FlowCounters = field(default_factory=FlowCounters)
    page: str = ""  # the address of the status page, once it is served
    edge: Edge | None = None
    writer: StoreWriter | None = None

    async def run(self, *, edge: bool = True, store: bool = True, once: bool = False) -> None:
        """Until cancelled; with `once`, until every machine was read and everything is delivered.

        Raises GatewayError for what cannot even be started.
        """
        async with AsyncExitStack() as stack:
            if store and self.configuration.settings.store is not None:
                await self._start_store(stack, alone=not edge)
            if edge:
                await self._run_edge(stack, once)
                return
            notifier = Notifier()
            notifier.ready()
            stack.callback(notifier.stopping)
            progress = Progress(self.clock)
            self._watch_store(progress)
            await keep_fed(notifier, progress, lambda: self._store_reason() or "storing")

    async def _start_store(self, stack: AsyncExitStack, alone: bool) -> None:
        from gateway.store.open import open_store

        configuration = self.configuration
        settings = configuration.settings
        assert settings.store is not None
        data_dir = configuration.resolve(settings.gateway.data_dir)
        made = await asyncio.to_thread(open_store, settings.store, data_dir, self.clock)
        stack.callback(made.close)
        name = settings.store.writer or (socket.gethostname() if alone else settings.gateway.id)
        link = self.links(f"store-{name}", True, None)
        self.writer = StoreWriter(link, Topics(settings.mqtt.root), made, name, settings.store.share, self.clock)
        await self.writer.start()
        stack.push_async_callback(self.writer.stop)

    async def _run_edge(self, stack: AsyncExitStack, once: bool) -> None:
        configuration = self.configuration
        gateway = configuration.settings.gateway.id
        link = self.links(f"gateway-{gateway}", False, Edge.will(configuration, self.clock))
        edge = self.edge = Edge(configuration, link, self.clock, self.counters, self._store_reason)
        if (web := configuration.settings.web) is not None and not once:
            from gateway.web.server import serve
            from gateway.web.sources import Sources

            server = await serve(Sources(edge.board, self.clock), web.host, web.port)
            stack.push_async_callback(server.stop)
            self.page = server.url
            log.info("status page: %s", self.page)
        if once:
            await self._once(edge)
            return
        telling = asyncio.create_task(self._tell(edge), name="service manager")
        try:
            await edge.run()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, edge: Edge) -> None:
        """The service manager: that it runs, how it is, and that all of its parts move on."""
        notifier, progress = Notifier(), Progress(self.clock)
        buffer = edge.buffer
        try:
            await edge.running.wait()
            progress.stage("commit", lambda: buffer.accepted < buffer.last, lambda: edge.committer.turns, STUCK)
            self._watch_store(progress)
            progress.stage("publish", _always, lambda: edge.publisher.turns, STUCK)
            for poller in edge.pollers:
                polls = [signal.poll for machine in poller.settings.values() for signal in machine.signals.values()]
                patience = STUCK + 2 * min(polls, default=0.0)
                progress.stage(f"poll[{poller.name}]", _always, partial(getattr, poller, "turns"), patience)
            notifier.ready()
            await keep_fed(notifier, progress, lambda: edge.in_a_line)
        finally:
            notifier.stopping()

    async def _once(self, edge: Edge) -> None:
        task = asyncio.create_task(edge.run(), name="edge")
        try:
            await edge.read_once(task)
        finally:
            away = [
                f"{n}: {m.condition.reason}" for n, m in edge.board.machines.items() if m.condition.state == "offline"
            ]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if task.done() and not task.cancelled():
            task.result()  # what ended it
        if edge.publisher.reason:
            raise BrokerError(edge.publisher.reason)
        if edge.publisher.busy:
            raise StoreError(self._store_reason() or edge.publisher.alarm or "not everything was stored in time")
        if away:
            raise NotConnectedError("\n".join(away))

    def _watch_store(self, progress: Progress) -> None:
        if self.writer is not None:
            progress.stage("store", _always, partial(getattr, self.writer, "turns"), STUCK)

    def _store_reason(self) -> str | None:
        """Why the writer of this process does not write; empty while it does; None where there is none."""
        return None if self.writer is None else self.writer.status.reason
