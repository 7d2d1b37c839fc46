"""Modbus: reads the coils and registers of machines. The whole registration of this adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapters.modbus.config import ModbusConnection, ModbusMachine
from adapters.modbus.plan import planned_requests
from gateway.adapter import Adapter, Context, PlannedRequest
from gateway.config import Protocol

PROTOCOLS = (Protocol("modbus-tcp", ModbusConnection, ModbusMachine, Path(__file__).parent / "profiles"),)


def build(context: Context) -> Adapter:
    """The adapter of one connection. pymodbus is imported here and not before."""
    from adapters.modbus.adapter import ModbusAdapter

    return ModbusAdapter(context)


def plan(context: Context) -> Sequence[PlannedRequest]:
    """What would be asked for, without asking."""
    return planned_requests(context)
