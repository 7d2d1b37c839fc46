"""Modbus servers made from the same YAML as the adapter reads, on every transport it knows."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Protocol, cast

from simulators.machine import Context, NotSimulatedError
from simulators.modbus.faults import Broken, Faults, Request
from simulators.modbus.framing import ASCII, MBAP, RTU
from simulators.modbus.server import ModbusServer, Transport
from simulators.modbus.sunspec import Arrangement
from simulators.modbus.transports import SerialTransport, TcpTransport, UdpTransport
from simulators.modbus.wire_faults import KINDS, WireFaults, kinds

__all__ = ["KINDS", "Arrangement", "Broken", "Faults", "ModbusServer", "Request", "WireFaults", "kinds", "serve"]


class _Connection(Protocol):
    """What is needed of a connection's settings; not every protocol has all of it."""

    host: str | None
    port: str | int
    server_name: str | None


async def serve(context: Context) -> ModbusServer:
    """One server with all machines of a connection behind it. Raises OSError where its place cannot be had."""
    from simulators.modbus.points import images

    server = ModbusServer(images(context.machines), context.ledger, context.clock, context.start, _transport(context))
    await server.listen()
    return server


def _transport(context: Context) -> Transport:
    connection = cast("_Connection", context.connection)
    protocol, host = context.connection.protocol, context.host
    if isinstance(connection.port, str):
        # Ports that are counted or chosen are no business of a serial line; then its path is left alone too.
        wanted = Path(connection.port) if context.port is None else None
        return SerialTransport(ASCII if protocol == "modbus-ascii" else RTU, wanted)
    port = connection.port if context.port is None else context.port
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
            return _tls(context, [str(connection.host), connection.server_name or "localhost"], port)
    raise NotSimulatedError(f"{protocol} cannot be simulated")


def _tls(context: Context, names: list[str], port: int) -> Transport:
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
    authority = Authority(Path(folder.name), [*names, context.host, "localhost", "127.0.0.1"])
    return TcpTransport(context.host, port, MBAP, authority.server_side(), authority.client_side(), folder.cleanup)
