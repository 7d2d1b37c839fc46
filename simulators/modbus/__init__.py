"""Modbus TCP servers made from the same YAML as the adapter reads."""

from __future__ import annotations

from simulators.machine import Context, NotSimulatedError
from simulators.modbus.faults import Broken, Faults, Request
from simulators.modbus.server import ModbusServer

__all__ = ["Broken", "Faults", "ModbusServer", "Request", "serve"]


async def serve(context: Context) -> ModbusServer:
    """One server with all machines of a connection behind it. Raises OSError where the port cannot be had."""
    from adapters.modbus.connections import ModbusTcp
    from simulators.modbus.points import images

    connection = context.connection
    if not isinstance(connection, ModbusTcp):
        raise NotSimulatedError(f"{connection.protocol} cannot be simulated yet, only modbus-tcp")
    server = ModbusServer(images(context.machines), context.ledger, context.clock, context.start)
    await server.listen(context.host, connection.port if context.port is None else context.port)
    return server
