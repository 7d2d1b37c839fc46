"""OPC UA servers made from the same YAML as the adapter reads."""

from __future__ import annotations

from simulators.machine import Context, Server


async def serve(context: Context) -> Server:
    """One server with all machines of a connection in it. Raises OSError where the port cannot be had."""
    from simulators.opcua.server import OpcuaServer

    server = OpcuaServer(context)
    await server.start()
    return server
