"""Connections of the adapter to servers of ours, and what their batches show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.modbus.adapter import ModbusAdapter
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusRtuOverTcp, ModbusTcp
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.model import Batch, MachinePath, quality_text


def context(port: int, data_dir: Path, machines: Mapping[str, Any], **link: Any) -> Context:
    """Of a line to the loopback interface."""
    protocol = link.pop("protocol", "modbus-tcp")
    model = ModbusRtuOverTcp if protocol == "modbus-rtu-over-tcp" else ModbusTcp
    return Context(
        name="c",
        connection=model.model_validate(
            {"protocol": protocol, "host": "127.0.0.1", "port": port, "timeout": "300ms", **link}
        ),
        machines={MachinePath(name): machine(body) for name, body in machines.items()},
        clock=SystemClock(),
        counters=FlowCounters(),
        data_dir=data_dir,
        gateway_id="edge",
    )


def machine(body: Mapping[str, Any]) -> ModbusMachine:
    """Polled every 10 ms where nothing else is said."""
    signals = {name: {"poll": body.get("poll", "10ms"), **signal} for name, signal in body["signals"].items()}
    return ModbusMachine.model_validate({"connection": "c", **body, "signals": signals})


async def one(it: ModbusAdapter) -> Batch:
    """What a read brings, if it is one batch."""
    [batch] = await it.read()
    assert isinstance(batch, Batch)
    return batch


def shown(batch: Batch) -> dict[str, Any]:
    """Value or quality of each signal by name."""
    qualities = batch.quality or [0] * len(batch)
    return {
        batch.header.signals[i].name: quality_text(quality) if quality else value
        for i, value, quality in zip(batch.signal, batch.value, qualities, strict=True)
    }
