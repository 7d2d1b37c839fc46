"""Modbus servers made from the same YAML as the adapter reads, on every transport it knows."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from gateway.config import ConnectionSettings
from simulators.machine import Context, NotSimulatedError, Replaying
from simulators.modbus.faults import Broken, Faults, Request
from simulators.modbus.framing import ASCII, MBAP, RTU, Framing
from simulators.modbus.script import Script, possible
from simulators.modbus.server import ModbusServer, Transport
from simulators.modbus.sunspec import Arrangement
from simulators.modbus.transports import SerialTransport, TcpTransport, UdpTransport
from simulators.modbus.wire_faults import KINDS, WireFaults, kinds

if TYPE_CHECKING:
    from simulators.modbus.replay.server import ReplayedServer

__all__ = [
    "KINDS",
    "Arrangement",
    "Broken",
    "Faults",
    "ModbusServer",
    "Request",
    "WireFaults",
    "kinds",
    "possible_faults",
    "serve",
    "serve_recording",
]


class _Connection(Protocol):
    """What is needed of a connection's settings; not every protocol has all of it."""

    host: str | None
    port: str | int
    server_name: str | None


async def serve(context: Context) -> ModbusServer:
    """One server with all machines of a connection behind it. Raises OSError where its place cannot be had."""
    from simulators.modbus.points import images

    transport, clock, pace = _transport(context), context.clock, context.pace
    server = ModbusServer(images(context.machines), context.ledger, clock, context.start, transport, pace)
    if context.happenings is not None:
        context.happenings.begin(pace.seconds(clock.now()))
        server.script = Script(
            context.happenings,
            context.machines,
            transport.framing,
            transport.connects,
            context.connection.timeout,
            lambda: pace.seconds(clock.now()),
        )
    await server.listen()
    return server


async def serve_recording(replaying: Replaying) -> ReplayedServer:
    """A machine that says once more what it said. Raises OSError where its place cannot be had."""
    from simulators.modbus.replay.server import ReplayedServer, responder_of

    transport, responder = _transport_of_replay(replaying), responder_of(replaying)
    # To read a long recording takes a while, which would be missing at its beginning.
    replaying = replace(replaying, start=replaying.clock.now())
    server = ReplayedServer(replaying, responder, transport)
    await server.listen()
    return server


def possible_faults(connection: ConnectionSettings) -> Collection[str]:
    """The kinds of faults of a scenario that such a connection can have."""
    on_a_line = isinstance(getattr(connection, "port", None), str)
    stream = not on_a_line and connection.protocol != "modbus-udp"
    framings: dict[str, Framing] = {"modbus-rtu": RTU, "modbus-rtu-over-tcp": RTU, "modbus-ascii": ASCII}
    return possible(framings.get(connection.protocol, MBAP), stream)


def _transport(context: Context) -> Transport:
    connection = cast("_Connection", context.connection)
    protocol = context.connection.protocol
    if isinstance(connection.port, str):
        # Ports that are counted or chosen are no business of a serial line; then its path is left alone too.
        wanted = Path(connection.port) if context.port is None else None
        return SerialTransport(ASCII if protocol == "modbus-ascii" else RTU, wanted)
    port = connection.port if context.port is None else context.port
    names = [str(connection.host), connection.server_name or "localhost"] if protocol == "modbus-tls" else []
    return _on_network(context, protocol, port, names)


def _transport_of_replay(replaying: Replaying) -> Transport:
    """As it was recorded, unless something else is wanted."""
    from simulators.modbus.replay.server import connection_of

    connection = connection_of(replaying)
    protocol = replaying.protocol or replaying.head.protocol
    as_it_was = connection is not None and connection.protocol == protocol
    wanted: str | int | None = cast("_Connection", connection).port if as_it_was else None
    if protocol == "modbus-ascii" and replaying.port is None:
        serial = not isinstance(wanted, int)
    else:
        on_line = isinstance(wanted, str) and replaying.protocol is None
        serial = protocol == "modbus-rtu" or (protocol == "modbus-ascii" and on_line)
    if serial:
        path = Path(wanted) if isinstance(wanted, str) and replaying.port is None else None
        return SerialTransport(ASCII if protocol == "modbus-ascii" else RTU, path)
    port = replaying.port if replaying.port is not None else wanted if isinstance(wanted, int) else 0
    names = [name for key in ("host", "server_name") if (name := getattr(connection, key, None))]
    return _on_network(replaying, protocol, port, names)


def _on_network(context: Context | Replaying, protocol: str, port: int, names: list[str]) -> Transport:
    host = context.host
    match protocol:
        case "modbus-tcp":
            return TcpTransport(host, port)
        case "modbus-rtu-over-tcp":
            return TcpTransport(host, port, RTU)
        case "modbus-ascii":
            return TcpTransport(host, port, ASCII)
        case "modbus-udp":
            return UdpTransport(host, port)
        case "modbus-tls":
            return _tls(context, names, port)
    raise NotSimulatedError(f"{protocol} cannot be simulated")


def _tls(context: Context | Replaying, names: list[str], port: int) -> Transport:
    if files := context.tls:
        given = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
        given.load_cert_chain(files.cert, files.key)
        given.verify_mode = ssl.CERT_REQUIRED if files.ca else ssl.CERT_NONE
        return TcpTransport(context.host, port, MBAP, given)
    try:
        from simulators.modbus.authority import Authority
    except ImportError as exc:
        raise NotSimulatedError("TLS takes a certificate: give one, or install the package cryptography") from exc
    folder = tempfile.TemporaryDirectory(prefix="simulated-plant-")
    authority = Authority(Path(folder.name), [*names, context.host, "localhost", "127.0.0.1", "::1"])
    return TcpTransport(context.host, port, MBAP, authority.server_side(), authority.client_side(), folder.cleanup)
