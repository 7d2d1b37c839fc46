"""OPC UA servers made from the same YAML as the adapter reads."""

from __future__ import annotations

from collections.abc import Collection

from gateway.config import ConnectionSettings
from simulators.machine import Context, NotSimulatedError, Replaying, Server

_FAULTS = (
    "silence", "late", "drop", "half-open", "unreachable", "reboot", "clock-jump", "status", "vanish", "namespace-change",
    "limit",
)  # fmt: skip


async def serve(context: Context) -> Server:
    """One server with all machines of a connection in it. Raises OSError where the port cannot be had."""
    from simulators.opcua.scripted import ScriptedServer
    from simulators.opcua.server import OpcuaServer

    happenings = context.happenings
    server = OpcuaServer(context) if happenings is None else ScriptedServer(context, happenings)
    await server.start()
    return server


async def serve_recording(replaying: Replaying) -> Server:
    """A server that says once more what a machine said. Raises OSError where the port cannot be had."""
    if replaying.protocol not in (None, "opcua"):
        raise NotSimulatedError(f"what an OPC UA server said cannot be said over {replaying.protocol}")
    from simulators.opcua.replay.server import ReplayedServer

    server = ReplayedServer(replaying)
    await server.start()
    return server


def possible_faults(connection: ConnectionSettings) -> Collection[str]:
    """The kinds of faults of a scenario that such a connection can have."""
    # Without security a server shows no certificate.
    secured = getattr(connection, "security", "None") != "None"
    return {*_FAULTS, *(("certificate-change",) if secured else ())}
