"""All parts of one process, started from the store back to the machines, and stopped the other way round.

gateway run                 edge + page, and the store writer where the configuration has a `store:`
gateway store               the store writer alone, next to the data base
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.buffer import known_time
from gateway.buffer.disk import BufferInUseError
from gateway.buffer.inspect import in_use
from gateway.clock import Clock, SystemClock
from gateway.config import Configuration
from gateway.counters import FlowCounters
from gateway.errors import BrokerError, GatewayError, NotConnectedError, StoreError
from gateway.events import Event, Events
from gateway.faults import Reason, fault_of
from gateway.mqtt.link import Link, Will
from gateway.mqtt.topics import Topics
from gateway.runtime.asked.answers import answers_of, noted
from gateway.runtime.asked.configuring import ConfigFiles
from gateway.runtime.asked.control import NAME as SOCKET
from gateway.runtime.asked.control import ControlSocket
from gateway.runtime.asked.history import History, path_of
from gateway.runtime.asked.scrape import Scrape
from gateway.runtime.asked.way import WayOfData
from gateway.runtime.changes.checks import check_work
from gateway.runtime.changes.reload import Reload
from gateway.runtime.changes.versions import AsRead
from gateway.runtime.edge.edge import Edge, buffer_folder
from gateway.runtime.happenings import event_file, kept
from gateway.runtime.service import Notifier, Progress, keep_fed
from gateway.schedule import Backoff
from gateway.store.writer import StoreWriter
from gateway.web.snapshot import Condition
from gateway.web.sources import Sources

if TYPE_CHECKING:
    from gateway.config.settings import WebSettings
    from gateway.store.contract import Store
    from gateway.web.server import WebServer

log = logging.getLogger(__name__)

ANSWERED = 1.0  # seconds until who asked on the page for another page has his answer
STUCK = 90.0  # seconds without any attempt, after which a part is stuck: the longest pause between two, and some more

SAFE_MODE = "safe mode: the configuration is broken; "  # before how it is, for the service manager

MakeLink = Callable[[str, bool, Will | None], Link]
"""Makes a link from client id, persistent, and will."""


def system_clock(configuration: Configuration) -> SystemClock:
    """The clock of this box, which has to be later than what was recorded before to be believed."""
    settings = configuration.settings.gateway
    known = known_time(buffer_folder(configuration))
    return SystemClock(policy=settings.clock, last_known=known)


def paho_links(configuration: Configuration, clock: Clock, *, patient: bool = False) -> MakeLink:
    """Links to the broker of a configuration. Raises BrokerError for certificate files that cannot be used.

    `patient`: a link to be is no mistake. It looks at the files with each attempt anyway, and is offline until they are right.
    """
    from gateway.mqtt.client import Endpoint, PahoLink

    mqtt = configuration.settings.mqtt
    files = {name: configuration.resolve(path) for name in ("ca", "cert", "key") if (path := getattr(mqtt, name))}

    def make(client_id: str, persistent: bool, will: Will | None) -> Link:
        endpoint = Endpoint(
            mqtt.host, mqtt.port, client_id, tls=mqtt.tls, user=mqtt.user,
            password=mqtt.password.value if mqtt.password else None,
            keepalive=mqtt.keepalive, persistent=persistent, **files,
        )  # fmt: skip
        if mqtt.tls and not patient:
            endpoint.ssl_context()
        return PahoLink(endpoint, will=will, clock=clock)

    return make


async def serve_page(sources: Sources, web: WebSettings, folder: Path, data_dir: Path) -> WebServer:
    """The page as `web` says, whose paths begin in `folder`. Raises GatewayError.

    What may be missing is looked at first: the doors speak of set-up code and certificate when they are opened, and an attempt is
    made each minute.
    """
    from gateway.web.access.certificate import context
    from gateway.web.access.opening import pair_of
    from gateway.web.server import listen, open_doors, serve

    listen(web.host, web.port, everywhere=web.tls).close()
    if web.tls and web.cert is not None:
        client_ca = folder / web.client_ca if web.client_ca else None
        await asyncio.to_thread(context, pair_of(web, folder, data_dir), client_ca)
    opening = await asyncio.to_thread(open_doors, web, folder, data_dir, sources.clock, sources.events)
    return await serve(sources, web.host, web.port, opening=opening)


def check_alone(configuration: Configuration) -> None:
    """Whether no other gateway has this data_dir. Raises BufferInUseError."""
    folder = buffer_folder(configuration)
    if in_use(folder):
        text = f"a gateway already runs with data_dir {folder.parent} (control socket {folder.parent / SOCKET})"
        raise BufferInUseError(f"{text}: ask it with gateway status, end it, or give this one its own gateway.data_dir")


@contextmanager
def on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """SIGHUP asks for a reload, unless it says that the terminal is gone in which this was started."""
    loop = asyncio.get_running_loop()
    terminal = os.isatty(0)

    def hung_up() -> None:
        if terminal and not os.isatty(0):
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reload()

    try:
        loop.add_signal_handler(signal.SIGHUP, hung_up)
    except (ValueError, RuntimeError, NotImplementedError):  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


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
    page_condition: Condition = field(default_factory=lambda: Condition("unused", 0))
    edge: Edge | None = None
    writer: StoreWriter | None = None
    relink: Callable[[Configuration, Clock], MakeLink] = paho_links  # for another `mqtt:`
    notifier: Notifier = field(default_factory=Notifier)
    control: Reload | None = None
    fixed: bool = False  # its configuration does not stand in files as it is: there is nothing to be taken over
    safe_mode: Sequence[str] = ()  # the mistakes because of which an earlier configuration runs
    patient: bool = False  # a service: what cannot be opened is tried again, and nothing ends because of it
    read: AsRead | None = None  # what the configuration was read from; None: what there is when it has started
    events: Events = field(default_factory=Events)
    scrape: Scrape = field(init=False)  # figures about this process, made when they are asked for

    _alone: bool = False  # a store writer, and nothing else
    _reached: bool = False  # by a store writer alone: its broker
    _writes: bool = False  # the store, where one is configured
    _store: Store | None = None
    _store_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _store_trouble: str = ""  # why there is no writer, though there should be one
    _reopening: asyncio.Task[None] | None = None
    _sources: Sources | None = None
    _server: WebServer | None = None
    _page_again: asyncio.Task[None] | None = None  # opens the page, sooner or later
    _progress: Progress = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scrape = Scrape(self)
        self._progress = Progress(self.clock)

    async def run(self, *, edge: bool = True, store: bool = True, once: bool = False) -> None:
        """Until cancelled; with `once`, until every machine was read and everything is delivered.

        Raises GatewayError for what cannot even be started.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self.scrape.looking())
            self._alone, self._writes = not edge, store
            stack.push_async_callback(self._stop_store)
            stack.push_async_callback(self._end_tasks)
            if edge:
                await asyncio.to_thread(check_alone, self.configuration)
            if store:
                await self._begin_store(patient=self.patient or (edge and not once))
            if edge:
                await self._run_edge(stack, once)
                return
            await self._take_orders(stack)
            self.notifier.ready()
            stack.callback(self.notifier.stopping)
            self.watch_parts()
            await keep_fed(
                self.notifier,
                self._progress,
                lambda: f"{SAFE_MODE if self.safe_mode else ''}{self.store_reason() or 'storing'}",
            )

    async def _take_orders(self, stack: AsyncExitStack) -> None:
        """The control socket, SIGHUP, and files that are watched."""
        if self._alone:
            self.control = Reload(self)
        control = self.control
        data_dir = self.configuration.resolve(self.configuration.settings.gateway.data_dir)
        socket_ = ControlSocket(data_dir, answers_of(self))
        await socket_.start()
        stack.push_async_callback(socket_.stop)
        stack.push_async_callback(self._end_tasks)
        if control is None:
            return
        stack.push_async_callback(control.stop)
        if self.edge is not None:
            self.edge.before_end = control.stop
        if self.safe_mode:
            text = f"safe mode, an earlier configuration runs: {self.safe_mode[0]}"
            self.events.add(Event(self.clock.now(), "config", "", "safe mode", "config-refused", text))
        self._spawn(control.begin("safe mode" if self.safe_mode else "start", self.read), "versions")
        self._spawn(control.watch(), "watch files")
        stack.enter_context(on_hangup(self._hung_up))

    def _hung_up(self) -> None:
        self._spawn(self._reload(), "SIGHUP")

    async def _reload(self) -> None:
        assert self.control is not None
        await noted(self, "reload", "signal", self.control.reload("SIGHUP"))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("unexpected error in '%s', which has ended: %r", task.get_name(), exc, exc_info=exc)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what a reload asks for --------------------------------------------------------------------------------------

    def check(self, wanted: Configuration) -> None:
        """Whether there is anything to do with a configuration. Raises ConfigErrors."""
        check_work(wanted, store_only=self._alone)

    def edge_link(self, links: MakeLink, configuration: Configuration) -> Link:
        """The link of the edge. Raises BrokerError."""
        gateway = self.configuration.settings.gateway.id
        return links(f"gateway-{gateway}", False, Edge.will(configuration, self.clock))

    async def change_store(self, wanted: Configuration, links: MakeLink) -> None:
        """The store writer begins anew. Raises GatewayError where the store cannot be opened: then there is none."""
        async with self._store_lock:
            await self._stop_store()
            await self._open_store(wanted, links)

    async def store_again(self, before: Configuration, links: MakeLink) -> None:
        """The store there was. Raises what prevents that: from then on it is tried again and again, until one is open."""
        try:
            await self.change_store(before, links)
        except Exception as exc:
            if self._reopening is None or self._reopening.done():
                self._reopening = self._spawn(self._open_store_at_last(), "open the store")
            raise GatewayError(
                f"it cannot be opened either ({exc}), which is tried again", fault=fault_of(exc)
            ) from exc

    def store_missing(self, wanted: Configuration) -> bool:
        """Whether there should be a store writer with a configuration, and is none."""
        return self._writes and self.writer is None and wanted.settings.store is not None

    async def _open_store_at_last(self) -> None:
        """The store that is configured: until it is open, by us or by a reload."""
        backoff = Backoff()
        while self.store_missing(self.configuration):
            await asyncio.sleep(backoff.pause())
            async with self._store_lock:
                if not self.store_missing(self.configuration):
                    break
                try:
                    await self._open_store(self.configuration, self.links)
                except GatewayError as exc:
                    log.debug("the store cannot be opened yet: %s", exc)
                    continue
                except Exception:
                    log.exception("unexpected error while the store is opened; it is tried again")
                    continue
            log.info("the store is open again")
            self.watch_parts()

    async def _open_store(self, configuration: Configuration, links: MakeLink) -> None:
        """As `_start_store`, but that nothing is left of what fails, and the page says why there is no writer."""
        try:
            await self._start_store(configuration, links)
        except BaseException as exc:
            await self._stop_store()
            self._store_trouble = Reason(f"the store cannot be opened: {exc}", fault_of(exc) or "store-unreachable")
            raise
        self._store_trouble = ""

    async def open_page(self, web: WebSettings | None) -> WebServer | None:
        """The page at another address; None where it has none, or the one it has. Raises GatewayError."""
        now = self.configuration.settings.web
        if web is None or self._sources is None or (now is not None and now.listen == web.listen):
            return None
        return await self._serve(web)

    def move_page(self, opened: WebServer | None, before: WebSettings | None) -> None:
        """Use another page from now on: the old one ends in a moment, once who asked for that has his answer."""
        if self._page_again is not None:
            self._page_again.cancel()
        self._spawn(self._move_page(opened, before), "page")

    async def _move_page(self, opened: WebServer | None, before: WebSettings | None) -> None:
        try:
            await asyncio.sleep(ANSWERED)
        except asyncio.CancelledError:  # the gateway stops before anybody has looked at it
            if opened is not None:
                await opened.stop()
            raise
        old, self._server = self._server, opened
        if old is not None:
            await old.stop()
        web = self.configuration.settings.web
        if opened is not None or web is None:
            self._page_is(opened)
            return
        why: Exception | None = None
        for settings in (web, before):  # at the same address: only one of them can be open
            try:
                self._page_is(await self._serve(settings or web))
                return
            except Exception as exc:
                log.error("the page cannot be opened with its new settings: %s", exc)
                why = why or exc
        assert why is not None
        self._page_missing(why)

    def _page_is(self, server: WebServer | None) -> None:
        """It is open, or there is none."""
        self._server, was = server, self.page_condition.state
        if server is None and self._page_again is not None:
            self._page_again.cancel()
        self.page = "" if server is None else server.url
        self.page_condition.set("unused" if server is None else "online", self.clock.now())
        log.info("status page: %s", self.page or "none")
        if was == "offline":
            self.events.add(Event(self.clock.now(), "gateway", "", "online", "", f"status page: {self.page or 'none'}"))

    def _page_missing(self, why: Exception) -> None:
        """It cannot be opened. Machines are read all the same, and it is tried until it can be, by us or by a reload."""
        reason = Reason(str(why) or type(why).__name__, fault_of(why) or "page-not-open")
        was, now = self.page_condition.state, self.clock.now()
        self.page, self._server = "", None
        self.page_condition.set("offline", now, reason)
        if was != "offline":
            unexpected = None if isinstance(why, (GatewayError, OSError)) else why
            log.error(
                "there is no page: %s; machines are read all the same, and it is tried again",
                reason, extra={"fault": reason.fault}, exc_info=unexpected,
            )  # fmt: skip
            self.events.add(Event(now, "gateway", "", "degraded", reason.fault, f"there is no page: {reason}"))
        if self._page_again is None or self._page_again.done():
            self._page_again = self._spawn(self._open_page_at_last(), "open the page")

    async def _open_page_at_last(self) -> None:
        """The page that is configured, with growing pauses."""
        backoff = Backoff(first=1.0, cap=60.0)
        while True:
            await asyncio.sleep(backoff.pause())
            web = self.configuration.settings.web
            if self._server is not None or web is None:
                return
            try:
                server = await self._serve(web)
            except Exception as exc:  # whatever it is: the machines are what counts
                self._page_missing(exc)
            else:
                self._page_is(server)

    def leave_safe_mode(self) -> bool:
        """The files are right again. False where it was not in safe mode."""
        was, self.safe_mode = bool(self.safe_mode), ()
        if was:
            log.info("safe mode is over: the configuration is right")
        return was

    def watch_parts(self) -> None:
        """Have the parts watched that there are now."""
        progress, edge = self._progress, self.edge
        names = {"store"} if self.writer is not None else set()
        if self.writer is not None:
            progress.stage("store", _always, partial(getattr, self.writer, "turns"), STUCK)
        if edge is not None:
            buffer = edge.buffer
            progress.stage("commit", lambda: buffer.accepted < buffer.last, lambda: edge.committer.turns, STUCK)
            progress.stage("publish", _always, lambda: edge.publisher.turns, STUCK)
            names |= {"commit", "publish"}
            for poller in edge.pollers:
                polls = [signal.poll for machine in poller.settings.values() for signal in machine.signals.values()]
                patience = STUCK + 2 * min(polls, default=0.0)
                progress.stage(f"poll[{poller.name}]", _always, partial(getattr, poller, "turns"), patience)
                names.add(f"poll[{poller.name}]")
        progress.keep(names)

    # --- parts -------------------------------------------------------------------------------------------------------

    async def _start_store(self, configuration: Configuration, links: MakeLink) -> None:
        """The writer of a configuration that has a store."""
        settings = configuration.settings
        store = configuration.store
        if store is None:
            return
        from gateway.store.open import open_store

        data_dir = configuration.resolve(settings.gateway.data_dir)
        name = store.writer or (socket.gethostname() if self._alone else settings.gateway.id)
        # One of several leaves no session behind: a broker would keep its share for it, and not give it to the others.
        link = links(f"store-{name}", store.share is None, None)
        self._store = made = await asyncio.to_thread(open_store, store, data_dir, self.clock)
        writer = StoreWriter(link, Topics(settings.mqtt.root), made, name, store.share, self.clock)
        writer.on_reached = self._reached_by_writer
        self.writer = writer
        await writer.start()

    async def _begin_store(self, patient: bool) -> None:
        """The store writer, for the first time. What cannot be opened is no reason not to read machines: `patient`."""
        try:
            await self._open_store(self.configuration, self.links)
        except GatewayError as exc:
            if not (patient and isinstance(exc, StoreError)) and not self.patient:
                raise
            waits = "what is sent waits" if self._alone else "machines are read, what they bring waits in the buffer"
            log.error(
                "the store cannot be opened: %s; %s, and it is tried again", exc, waits, extra={"fault": fault_of(exc)},
            )  # fmt: skip
            self._reopening = self._spawn(self._open_store_at_last(), "open the store")

    def _reached_by_edge(self) -> None:
        """Both are at one broker: who has found it spares the other a pause that has grown meanwhile."""
        if self.writer is not None:
            self.writer.try_now()

    def _reached_by_writer(self) -> None:
        if self.edge is not None:
            self.edge.publisher.try_now()
        elif not self._reached:
            self._reached = True
            log.info("the broker is reached: storing")

    async def _stop_store(self) -> None:
        writer, self.writer = self.writer, None
        made, self._store = self._store, None
        if writer is not None:
            await writer.stop()
        if made is not None:
            await asyncio.to_thread(made.close)  # a historian brings its journal home

    async def _serve(self, web: WebSettings) -> WebServer:
        assert self._sources is not None
        folder, data_dir = self.configuration.folder, self.configuration.settings.gateway.data_dir
        return await serve_page(self._sources, web, folder, folder / data_dir)

    async def _stop_page(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def _run_edge(self, stack: AsyncExitStack, once: bool) -> None:
        configuration = self.configuration
        known = await asyncio.to_thread(known_time, buffer_folder(configuration))
        link = self.edge_link(self.links, configuration)
        edge = self.edge = Edge(configuration, link, self.clock, self.counters, self.store_reason, self.events)
        edge.publisher.on_reached = self._reached_by_edge
        if once:
            await self._once(edge)
            return
        # The buffer is ours from here on: the events of a gateway that runs with this data_dir are not mistaken for our own.
        await stack.enter_async_context(kept(event_file(configuration), self.events, self.clock, __version__, known))
        self.control = None if self.fixed else Reload(self)
        history = History(lambda: path_of(self.configuration), self.clock)
        stack.callback(history.close)
        self._sources = Sources(
            edge.board, self.clock, self.events, metrics=self.scrape, control=self.control,
            safe_mode=lambda: self.safe_mode, history=history, configuring=ConfigFiles(lambda: self.configuration, fixed=self.fixed),
            way=WayOfData(edge, lambda: self.configuration, lambda: self.writer is not None),
        )  # fmt: skip
        stack.push_async_callback(self._stop_page)
        if (web := configuration.settings.web) is not None:
            try:
                self._page_is(await self._serve(web))
            except Exception as exc:
                if not self.patient:
                    raise
                self._page_missing(exc)
        await self._take_orders(stack)
        telling = asyncio.create_task(self._tell(edge), name="service manager")
        try:
            await edge.run()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, edge: Edge) -> None:
        """The service manager: that it runs, how it is, and that all of its parts move on."""
        try:
            await edge.running.wait()
            self.watch_parts()
            self.notifier.ready()
            await keep_fed(self.notifier, self._progress, lambda: self._in_a_line(edge))
        finally:
            self.notifier.stopping()

    def _in_a_line(self, edge: Edge) -> str:
        """How it is, for the service manager."""
        page = "there is no page; " if self.page_condition.state == "offline" else ""
        return f"{SAFE_MODE if self.safe_mode else ''}{page}{edge.in_a_line}"

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
            raise StoreError(self.store_reason() or edge.publisher.alarm or "not everything was stored in time")
        if away:
            raise NotConnectedError("\n".join(away))

    def store_reason(self) -> str | None:
        """Why the writer of this process does not write; empty while it does; None where there is none."""
        return (self._store_trouble or None) if self.writer is None else self.writer.status.reason
