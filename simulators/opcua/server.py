"""A simulated OPC UA server on asyncua's: what the machines' YAML names, and what becomes of it with time.

    plan (variables.py) ─▶ nodes (space.py) ─▶ values (variants.py), events (events.py), every sampling interval
                                                 └─▶ Ledger: every value that was written, every event that was raised

Each variable gets the values of its waves, with the clock's time as source time stamp; what is still the same is not
written again, as no subscription would report it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.common.event_objects import BaseEvent
from asyncua.server.server import Server

from adapters.opcua.config import OpcuaConnection
from gateway.model import GOOD, Value
from gateway.schedule import Ticks
from simulators.machine import Context, netloc, reached_at
from simulators.opcua.cells import Moment
from simulators.opcua.events import Happening, Stream, alarm_fields
from simulators.opcua.monitoring import install
from simulators.opcua.offer import Offer
from simulators.opcua.places import Path as Place
from simulators.opcua.space import Placed, Space
from simulators.opcua.variables import Variable

ua: Any = asyncua.ua  # the types it declares are not those it takes

_AT_ONCE = 1000  # variables that are written without a break
NO_VALUE = 0x80310000  # BadNoCommunication: the status where a wave has no value

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_SERVER = ua.NodeId(ua.ObjectIds.Server)
_ALARM = ua.NodeId(ua.ObjectIds.AlarmConditionType)

_log = logging.getLogger(__name__)
_chatty = logging.getLogger("asyncua")
if _chatty.level == logging.NOTSET:
    _chatty.setLevel(logging.CRITICAL + 1)


class OpcuaServer:
    """Fulfils `simulators.machine.Server`."""

    def __init__(self, context: Context, before: Sequence[str] = (), certificate: int = 0) -> None:
        """`before`: namespaces that come before those of the configuration, and so move their indexes.

        `certificate`: 0 for the one that is kept, anything else for another one.
        """
        assert isinstance(context.connection, OpcuaConnection)
        self.status: dict[tuple[str, str], int] = {}  # machine and signal -> status code to show instead of good
        self.paused = False  # nothing is written
        self.hidden: Collection[Any] = ()  # nodes that are not there at the moment
        self.shift: Callable[[str, float], int] = lambda *_: 0  # ns by which the clock of a machine is wrong
        self._context, self._connection, self._before = context, context.connection, before
        self._offer = Offer(self._connection, context.name, None if certificate else context.keep)
        self._server = Server()
        self._space = Space(self._server)
        self._groups: dict[float, _Group] = {}  # by sampling interval
        self._writing: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> Mapping[str, object]:
        return {"url": urlsplit(self._connection.url)._replace(netloc=self.place).geturl()}

    @property
    def place(self) -> str:
        return netloc(reached_at(self._context.host), self._port)

    @property
    def server(self) -> Server:
        """The library's."""
        return self._server

    @property
    def variables(self) -> Sequence[Placed]:
        return self._space.variables

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError where the port cannot be had."""
        await self.build()
        await self.listen()

    async def build(self, in_background: bool = False) -> None:
        """The address space, with the first values. `in_background`: a second in which other servers go on answering."""
        with _growing():
            await self._build(in_background)

    async def _build(self, in_background: bool) -> None:
        server, context = self._server, self._context
        await (asyncio.to_thread(lambda: asyncio.run(server.init())) if in_background else server.init())
        await self._offer.protect(server, context.host)
        install(server)
        wanted = self._connection.port if context.port is None else context.port
        server.set_endpoint(urlsplit(self._connection.url)._replace(netloc=netloc(context.host, wanted)).geturl())
        server.socket_address = (context.host, wanted)
        await self._space.build(self._connection, context.machines, self._before)
        context.left_out.update(self._space.left_out)
        server.disable_clock(not self._space.reads_server)
        for placed in self._space.variables:
            self._groups.setdefault(placed.variable.sampling, _Group()).variables.append(placed)
        for stream in self._space.streams:
            self._groups.setdefault(stream[0].sampling, _Group()).streams.append(stream)
        for group in self._groups.values():
            await self._write(group)

    async def listen(self) -> None:
        """Raises OSError where the port cannot be had."""
        await self._server.start()
        self._port, context = _port(self._server), self._context
        self._writing = asyncio.create_task(self._keep_writing(), name=f"opcua simulator[{context.name}]")

    async def stop(self) -> None:
        self._offer.close()
        writing, self._writing = self._writing, None
        if writing is None:
            return
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await self._server.stop()

    # --- building --------------------------------------------------------------------------------------------------

    # --- running ---------------------------------------------------------------------------------------------------

    async def _keep_writing(self) -> None:
        clock, groups = self._context.clock, list(self._groups.values())
        ticks = Ticks(list(self._groups), clock.monotonic())
        try:
            while True:
                await asyncio.sleep(max(0.0, ticks.next() - clock.monotonic()))
                for i in ticks.due(clock.monotonic()):
                    await self._write(groups[i])
        except Exception:
            _log.exception("%s: the simulated values stand still from now on", self._context.name)
            raise

    async def _write(self, group: _Group) -> None:
        """Write what has changed, raise what has happened, and write it down."""
        if self.paused:
            return
        now = self._context.clock.now() // 1000 * 1000  # what asyncua can put into a time stamp
        t = self._context.pace.seconds(now)
        there = group.variables
        if self.hidden:
            there = [placed for placed in there if placed.node not in self.hidden]
        news = [(placed, *found) for placed in there if (found := self._news(placed.variable, t))]
        happened = [(stream, node, event) for stream, node in group.streams if (event := stream.news(t))]
        self._write_down([(placed.variable, values, status) for placed, values, status in news], now, t)
        moments: dict[int, Moment] = {}  # by what the clock is wrong
        for written, (placed, values, status) in enumerate(news, 1):
            if written % _AT_ONCE == 0:
                await asyncio.sleep(0)  # clients want an answer meanwhile
            shift = self.shift(placed.variable.first.machine, t)
            moment = moments.get(shift) or moments.setdefault(shift, Moment(now + shift))
            await placed.cell.put(values, status, moment)
        for i, (stream, node, happening) in enumerate(happened):
            shift = self.shift(stream.listeners[0].machine, t)
            await self._raise(stream, node, happening, now + shift + i * 1000)  # no two at one time

    def _news(self, variable: Variable, t: float) -> tuple[dict[Place, Value] | None, int] | None:
        """Values and status of a variable, where they are others than before."""
        values = variable.values(t)
        status = NO_VALUE if values is None else GOOD
        if self.status:
            given = (self.status.get((point.machine, point.signal), GOOD) for point in variable.points)
            status = next(filter(None, given), status)
        if variable.shown == (values, status):
            return None
        variable.shown = values, status
        return values, status

    def _write_down(
        self, news: Sequence[tuple[Variable, Mapping[Place, Value] | None, int]], now: int, t: float
    ) -> None:
        columns: dict[str, dict[str, Value]] = defaultdict(dict)
        quality: dict[str, dict[str, int]] = defaultdict(dict)
        for variable, values, status in news:
            good = values if status < 0x80000000 else None
            for point, place in variable.placed:
                columns[point.machine][point.signal] = None if good is None else point.meant(good[place], t)
                if status:
                    quality[point.machine][point.signal] = status
        for machine, column in columns.items():
            self._context.ledger.served(machine, now + self.shift(machine, t), column, quality[machine])

    # --- events ----------------------------------------------------------------------------------------------------

    async def _raise(self, stream: Stream, node: Any, happening: Happening, now: int) -> None:
        """At its object, and at the object Server, where all of them can be had (Part 3, 5.2.2)."""
        root = [each for each, where in self._space.streams if where == _SERVER and each is not stream]
        for listener in [listener for each in (stream, *root) for listener in each.listeners]:
            if readings := listener.readings(happening):
                self._context.ledger.served(listener.machine, now, readings)
        event = _event(node, happening, _1970 + timedelta(microseconds=now // 1000))
        for emitting in dict.fromkeys((node, _SERVER)):
            event.emitting_node = emitting
            await self._server.iserver.subscription_service.trigger_event(event)


@dataclass(slots=True)
class _Group:
    """What is looked at in one interval."""

    variables: list[Placed] = field(default_factory=list)
    streams: list[tuple[Stream, Any]] = field(default_factory=list)


@contextmanager
def _growing() -> Iterator[None]:
    """While very many objects are made that stay: looking for garbage among them would take longer than making them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _event(node: Any, happening: Happening, time: datetime) -> Any:
    event: Any = BaseEvent(node, happening.message, happening.severity)  # type: ignore[no-untyped-call]
    event.EventId, event.Time, event.ReceiveTime = uuid.uuid4().bytes, time, time
    alarm = alarm_fields(happening)
    event.SourceName = happening.source.rpartition("/")[0] or happening.source if alarm else happening.source
    if alarm:
        event.EventType = _ALARM
        for name, value in alarm.items():
            kind = ua.VariantType.String if isinstance(value, str) else ua.VariantType.Boolean
            event.add_property(name, value, kind)
    return event


def _port(server: Server) -> int:
    listener: Any = server.bserver and server.bserver._server
    return int(listener.sockets[0].getsockname()[1])
