"""Modbus: reads the coils and registers of machines. The whole registration of this adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusAscii, ModbusRtu, ModbusRtuOverTcp, ModbusTcp, ModbusTls, ModbusUdp
from adapters.modbus.forecast import forecast
from adapters.modbus.learnt import file_of
from adapters.modbus.learnt import forget as forget_learnt
from gateway.adapter import Adapter, Context, Forecast
from gateway.config import Protocol
from gateway.errors import UsageError

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


def profile_from_table(
    file: Path, sheet: str | None, said: Mapping[str, str]
) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]], Sequence[str]]:
    """A manufacturer's register list as keys of a machine, its signals, and words about what was left out.

    `said`: what the list does not say: table, type, order, numbering. Raises UsageError, and what is wrong with the list.
    """
    from adapters.modbus.signals import TABLES
    from adapters.modbus.tools.register_list import NUMBERINGS, Options, parse_order, register_list
    from adapters.modbus.tools.table_file import read_tables

    table = next((each for each in TABLES if each == said.get("table")), None)
    numbering = next((each for each in NUMBERINGS if each == said.get("numbering", "auto")), None)
    if "table" in said and table is None:
        raise UsageError(f"--table {said['table']}: one of {', '.join(TABLES)}")
    if numbering is None:
        raise UsageError(f"--numbering {said['numbering']}: one of {', '.join(NUMBERINGS)}")
    if "order" in said and parse_order(said["order"]) is None:
        raise UsageError(f"--order {said['order']}: for example ABCD or CDAB")
    found = register_list(read_tables(file, sheet), Options(table, said.get("type"), said.get("order"), numbering))
    return {"order": found.order} if found.order else {}, found.signals, found.notes
