"""A simulated OPC UA server on asyncua's: the namespaces and nodes that the machines' YAML names.

Every sampling interval each variable gets the value of its wave, with the clock's time as source time stamp; what is
still the same is not written again, as no subscription would report it. The ledger has every value that was written.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from gateway.model import GOOD, Value
from gateway.schedule import Ticks
from simulators.machine import Context
from simulators.opcua.certificate import kept
from simulators.opcua.points import Point

ua: Any = asyncua.ua  # the types it declares are not those it takes

SAMPLING = 0.25  # seconds, where the configuration does not say
NO_VALUE = 0x80310000  # BadNoCommunication: the status where a wave has no value

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "float": ua.VariantType.Double,
    "int": ua.VariantType.Int64,
    "bool": ua.VariantType.Boolean,
    "string": ua.VariantType.String,
}

_POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
_MODES = ("Sign", "SignAndEncrypt")
_SECURITY: dict[str, Any] = {
    f"{policy}/{mode}": ua.SecurityPolicyType[f"{policy.replace('_', '')}_{mode}"]
    for policy in (*_POLICIES, "Basic128Rsa15", "Basic256")
    for mode in _MODES
}

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
        self._groups: list[tuple[float, list[tuple[Point, Any]]]] = []  # by sampling interval
        self._written: dict[Point, tuple[Value, int]] = {}
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
        server.disable_clock()
        wanted = self._connection.port if context.port is None else context.port
        server.set_endpoint(urlsplit(self._connection.url)._replace(netloc=f"{context.host}:{wanted}").geturl())
        server.socket_address = (context.host, wanted)
        await self._protect()
        await self._build()
        for _, points in self._groups:
            await self._write(points)
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

    async def _build(self) -> None:
        for uri in self._before:
            await self._server.register_namespace(uri)
        groups: dict[float, list[tuple[Point, Any]]] = defaultdict(list)
        variables: set[Any] = set()
        for machine in self._context.machines:
            settings = machine.settings
            assert isinstance(settings, OpcuaMachine)
            folder = await self._server.nodes.objects.add_folder(ua.NodeId(), ua.QualifiedName(machine.path.machine, 1))
            for name, signal in settings.signals.items():
                node = await self._node_id(settings, name)
                if node.NamespaceIndex == 0:
                    continue  # the server's own
                point = Point(machine.path.machine, name, signal, machine.waves[name])
                if node not in variables:
                    kind = _TYPES[point.type]
                    first = ua.get_default_value(kind)
                    await folder.add_variable(node, ua.QualifiedName(name, node.NamespaceIndex), first, kind)
                    variables.add(node)
                groups[signal.sampling or SAMPLING].append((point, node))
        self._groups = list(groups.items())

    async def _node_id(self, settings: OpcuaMachine, signal: str) -> Any:
        address = settings.address_of(signal)
        if isinstance(address.namespace, str):
            index = await self._server.register_namespace(address.namespace)
        else:
            index = address.namespace
            while len(known := await self._server.get_namespace_array()) <= index:
                await self._server.register_namespace(f"urn:shopfloor-gateway:simulator:{len(known)}")
        return ua.NodeId(address.identifier, index)

    # --- running ---------------------------------------------------------------------------------------------------

    async def _keep_writing(self) -> None:
        clock = self._context.clock
        ticks = Ticks([rate for rate, _ in self._groups], clock.monotonic())
        while True:
            await asyncio.sleep(max(0.0, ticks.next() - clock.monotonic()))
            for i in ticks.due(clock.monotonic()):
                await self._write(self._groups[i][1])

    async def _write(self, points: Sequence[tuple[Point, Any]]) -> None:
        """Write what has changed, and write it down."""
        now = self._context.clock.now() // 1000 * 1000  # what asyncua can put into a time stamp
        t = (now - self._context.start) / 1e9
        news: list[tuple[Point, Any, Value, int]] = []
        for point, node in points:
            raw = point.raw(t)
            status = self.status.get((point.machine, point.signal), NO_VALUE if raw is None else GOOD)
            if self._written.get(point) != (raw, status):
                self._written[point] = raw, status
                news.append((point, node, raw, status))
        self._write_down(news, now)
        stamp = _1970 + timedelta(microseconds=now // 1000)
        for point, node, raw, status in news:
            value = ua.Variant(raw, _TYPES[point.type]) if raw is not None else None
            code = ua.StatusCode(status)
            await self._server.write_attribute_value(node, ua.DataValue(value, code, stamp, stamp))

    def _write_down(self, news: Sequence[tuple[Point, Any, Value, int]], now: int) -> None:
        values: dict[str, dict[str, Value]] = defaultdict(dict)
        quality: dict[str, dict[str, int]] = defaultdict(dict)
        for point, _, raw, status in news:
            values[point.machine][point.signal] = point.meant(raw) if status < 0x80000000 else None
            if status:
                quality[point.machine][point.signal] = status
        for machine, column in values.items():
            self._context.ledger.served(machine, now, column, quality[machine])


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
