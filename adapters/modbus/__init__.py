"""Modbus: reads the coils and registers of machines. The whole registration of this adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusAscii, ModbusRtu, ModbusRtuOverTcp, ModbusTcp, ModbusTls, ModbusUdp
from adapters.modbus.forecast import forecast
from adapters.modbus.learnt import file_of
from adapters.modbus.learnt import forget as forget_learnt
from gateway.adapter import Adapter, Context, Forecast
from gateway.config import Protocol

_PROFILES = Path(__file__).parent / "profiles"

PROTOCOLS = (
    Protocol("modbus-tcp", ModbusTcp, ModbusMachine, _PROFILES),
    Protocol("modbus-rtu", ModbusRtu, ModbusMachine, _PROFILES),
    Protocol("modbus-rtu-over-tcp", ModbusRtuOverTcp, ModbusMachine, _PROFILES),
    Protocol("modbus-ascii", ModbusAscii, ModbusMachine, _PROFILES),
    Protocol("modbus-udp", ModbusUdp, ModbusMachine, _PROFILES),
    Protocol("modbus-tls", ModbusTls, ModbusMachine, _PROFILES),
)


def build(context: Context) -> Adapter:
    """The adapter of one connection. pymodbus is imported here and not before."""
    from adapters.modbus.adapter import ModbusAdapter

    return ModbusAdapter(context)


def plan(context: Context) -> Forecast:
    """What would be asked for, without asking."""
    return forecast(context)


def forget(context: Context, machine: str | None) -> Sequence[str]:
    """Drop what was learnt about the devices of a connection, or one of them."""
    return forget_learnt(file_of(context.data_dir, context.name), machine)
