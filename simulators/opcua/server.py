"""A simulated OPC UA server on asyncua's: what the machines' YAML names, and what becomes of it with time.

    plan (variables.py) ─▶ nodes (space.py) ─▶ values (variants.py), events (events.py), every sampling interval
                                                 └─▶ Ledger: every value that was written, every event that was raised

Each variable gets the values of its waves, with the clock's time as source time stamp; what is still the same is not
written again, as no subscription would report it.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.common.event_objects import BaseEvent
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from adapters.opcua.config import OpcuaConnection
from gateway.model import GOOD, Value
from gateway.schedule import Ticks
from simulators.machine import Context
from simulators.opcua.certificate import kept
from simulators.opcua.events import Happening, Stream, alarm_fields
from simulators.opcua.filters import install
from simulators.opcua.places import Path as Place
from simulators.opcua.space import Placed, Space
from simulators.opcua.variables import Variable
from simulators.opcua.variants import variant

ua: Any = asyncua.ua  # the types it declares are not those it takes

_AT_ONCE = 100  # variables that are written without a break
NO_VALUE = 0x80310000  # BadNoCommunication: the status where a wave has no value

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_SERVER = ua.NodeId(ua.ObjectIds.Server)
_ALARM = ua.NodeId(ua.ObjectIds.AlarmConditionType)

_POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
_MODES = ("Sign", "SignAndEncrypt")
_SECURITY: dict[str, Any] = {
    f"{policy}/{mode}": ua.SecurityPolicyType[f"{policy.replace('_', '')}_{mode}"]
    for policy in (*_POLICIES, "Basic128Rsa15", "Basic256")
    for mode in _MODES
}

_log = logging.getLogger(__name__)
_chatty = logging.getLogger("asyncua")
if _chatty.level == logging.NOTSET:
    _chatty.setLevel(logging.CRITICAL + 1)


class OpcuaServer:
    """Fulfils `simulators.machine.Server`."""

    def __init__(self, context: Context, before: Sequence[str] = ()) -> None:
        """`before`: namespaces that come before those of the configuration, and so move their indexes."""
        assert isinstance(context.connection, OpcuaConnection)
        self.status: dict[tuple[str, str], int] = {}  # machine and signal -> status code to show instead of good
        self._context, self._connection, self._before = context, context.connection, before
        self._server = Server(user_manager=_Users(self._connection))
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
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError where the port cannot be had."""
        server, context = self._server, self._context
        await server.init()
        await server.set_application_uri(f"urn:shopfloor-gateway:simulator:{context.name}")
        install(server)
        wanted = self._connection.port if context.port is None else context.port
        server.set_endpoint(urlsplit(self._connection.url)._replace(netloc=f"{context.host}:{wanted}").geturl())
        server.socket_address = (context.host, wanted)
        await self._protect()
        await self._space.build(self._connection, context.machines, self._before)
        context.left_out.update(self._space.left_out)
        server.disable_clock(not self._space.reads_server)
        for placed in self._space.variables:
            self._groups.setdefault(placed.variable.sampling, _Group()).variables.append(placed)
        for stream in self._space.streams:
            self._groups.setdefault(stream[0].sampling, _Group()).streams.append(stream)
        for group in self._groups.values():
            await self._write(group)
        await server.start()
        self._port = _port(server)
        self._writing = asyncio.create_task(self._keep_writing(), name=f"opcua simulator[{context.name}]")

    async def stop(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await self._server.stop()

    # --- building --------------------------------------------------------------------------------------------------

    async def _protect(self) -> None:
        """What the connection asks for, and nothing else: its policy, all of them for `auto`, and its way to log in.

        Any user certificate may log in, and any client's certificate is taken.
        """
        link, server, host = self._connection, self._server, self._context.host
        token = ua.AnonymousIdentityToken
        if link.user:
            token = ua.UserNameIdentityToken
        elif link.user_certificate:
            token = ua.X509IdentityToken
        server.set_identity_tokens([token])
        if link.security == "None":
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        with tempfile.TemporaryDirectory() as thrown_away:
            folder = self._context.keep or Path(thrown_away)
            hosts = [] if host in ("0.0.0.0", "::") else [host]  # noqa: S104  # compared, not listened on
            files = kept(folder / "opcua", self._context.name, server.get_application_uri(), [*hosts, link.host])
            await server.load_certificate(files.certificate)
            await server.load_private_key(files.key)
        server.set_security_policy(
            [_SECURITY[f"{policy}/{mode}"] for policy in _POLICIES for mode in _MODES]
            if link.security == "auto"
            else [_SECURITY[link.security]]
        )

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
        now = self._context.clock.now() // 1000 * 1000  # what asyncua can put into a time stamp
        t = (now - self._context.start) / 1e9
        news = [(placed, *found) for placed in group.variables if (found := self._news(placed.variable, t))]
        happened = [(stream, node, event) for stream, node in group.streams if (event := stream.news(t))]
        self._write_down([(placed.variable, values, status) for placed, values, status in news], now, t)
        stamp = _1970 + timedelta(microseconds=now // 1000)
        for written, (placed, values, status) in enumerate(news, 1):
            if written % _AT_ONCE == 0:
                await asyncio.sleep(0)  # clients want an answer meanwhile
            value = variant(placed.variable.shape, values, placed.encodings) if values is not None else None
            await self._server.write_attribute_value(
                placed.node, ua.DataValue(value, ua.StatusCode(status), stamp, stamp)
            )
        for i, (stream, node, happening) in enumerate(happened):
            await self._raise(stream, node, happening, now + i * 1000)  # no two at one time

    def _news(self, variable: Variable, t: float) -> tuple[dict[Place, Value] | None, int] | None:
        """Values and status of a variable, where they are others than before."""
        values = variable.values(t)
        given = (self.status.get((point.machine, point.signal), GOOD) for point in variable.points)
        status = next(filter(None, given), NO_VALUE if values is None else GOOD)
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
            for point in variable.points:
                columns[point.machine][point.signal] = variable.meant(point, good, t)
                if status:
                    quality[point.machine][point.signal] = status
        for machine, column in columns.items():
            self._context.ledger.served(machine, now, column, quality[machine])

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


class _Users(UserManager):
    def __init__(self, connection: OpcuaConnection) -> None:
        self._user = connection.user
        self._password = connection.password.value if connection.password else ""

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        del iserver, certificate
        known = self._user is None or (username == self._user and (password or "") == self._password)
        return User(role=UserRole.User) if known else None


def _port(server: Server) -> int:
    listener: Any = server.bserver and server.bserver._server
    return int(listener.sockets[0].getsockname()[1])
