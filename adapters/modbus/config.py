"""What is configured of a machine; connections.py has its link, signals.py its signals.

Arrays (`count`) are taken apart here, so that everybody else sees single signals only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import InitErrorDetails

from adapters.modbus.signals import (
    ADDRESSES,
    MAX_BITS,
    MAX_REGISTERS,
    MODEL_LENGTHS,
    ModbusSignal,
    Models,
    Order,
    Table,
)
from gateway.config import MachineSettings
from gateway.config.fields import Duration, Name, Section, mistake

__all__ = ["MODEL_LENGTHS", "DeviceQuirks", "MachineQuirks", "ModbusMachine", "ModbusSignal"]

MAX_GAP = 16


def _address_range(value: Any) -> Any:
    """`holding:100-120` as (holding, 100, 120)."""
    match = re.fullmatch(r"(coil|discrete|input|holding): ?([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value))
    if match is None:
        raise mistake(f"'{value}' is not a range of addresses", 'for example "holding:100-120" or "coil:7"')
    first, last = int(match[2]), int(match[3] or match[2])
    if not first <= last < ADDRESSES:
        raise mistake(f"'{value}' is no range: from the lower to the higher address, up to 65535")
    return match[1], first, last


AddressRange = Annotated[tuple[Table, int, int], BeforeValidator(_address_range), WithJsonSchema({"type": "string"})]
"""Table, first and last address."""


class DeviceQuirks(Section):
    """What a device model cannot do. Stands on a machine, a profile, or for all machines on their connection."""

    max_registers: int | None = Field(
        None, ge=1, le=MAX_REGISTERS, description=f"Registers in one request, {MAX_REGISTERS} at most.", examples=[80]
    )
    max_bits: int | None = Field(
        None, ge=1, le=MAX_BITS, description=f"Coils or discrete inputs in one request, {MAX_BITS} at most."
    )
    # A request of its own costs 21 bytes, the headers of TCP and IP twice, and a round trip of 1 to 50 ms; a register
    # read in vain costs 2 bytes.
    max_gap: int | None = Field(
        None,
        ge=0,
        le=MAX_REGISTERS,
        description=f"Unused registers (16 times as many bits) read along to save a request; {MAX_GAP} if not given. "
        "0 for devices without registers in the gaps.",
        examples=[0],
    )
    pause_between_requests: Duration | None = Field(
        None,
        description="Rest between an answer and the next request; on a serial line 3.5 characters and 5 ms at least.",
        examples=["20ms"],
    )


class MachineQuirks(DeviceQuirks):
    """What belongs to one device alone."""

    forbidden: list[AddressRange] = Field(
        default_factory=list,
        description="Addresses as on the wire that must never be asked for, not even in a gap.",
        examples=['["holding:100-120", "input:7"]'],
    )


class ModbusMachine(MachineSettings):
    """A device with a unit id."""

    for_signals: ClassVar[tuple[str, ...]] = (
        *MachineSettings.for_signals,
        "order",
        "numbering",
        "sunspec",
        "occurrence",
    )

    unit_id: int = Field(1, ge=0, le=255, description="Unit id of the device behind this address.", examples=[17])
    order: Order | None = Field(
        None, description="Byte order of all its signals that do not say otherwise.", examples=["CDAB"]
    )
    numbering: Literal["zero-based", "one-based"] = Field(
        "zero-based", description="How its addresses are written: from 0 as on the wire, or from 1 as in some manuals."
    )
    sunspec: Models = Field(
        (), description="The SunSpec model of all its signals that do not say otherwise.", examples=[[103, 102, 101]]
    )
    occurrence: int = Field(
        1, ge=1, le=100, description="SunSpec: which one, where the device has several of a model.", examples=[2]
    )
    quirks: MachineQuirks = Field(default_factory=MachineQuirks, description="What this device cannot do.")
    signals: Mapping[Name, ModbusSignal] = Field(default_factory=dict, description="Its signals by name.")

    @field_validator("signals")
    @classmethod
    def _single(cls, signals: Mapping[str, ModbusSignal]) -> Mapping[str, ModbusSignal]:
        """Arrays taken apart: `name` with `count: 2` becomes name_0 and name_1."""
        single: dict[str, ModbusSignal] = {}
        for name, signal in signals.items():
            if signal.count is None:
                elements = {name: signal}
            else:
                table, first = signal.table, getattr(signal, signal.table)
                elements = {
                    f"{name}_{i}": signal.model_copy(update={table: first + i * signal.size, "count": None})
                    for i in range(signal.count)
                }
            for element in elements:
                if element in single or (element != name and element in signals):
                    raise mistake(f"two signals are named '{element}'", "one of them by `count`: rename it", name)
            single.update(elements)
        return single

    @model_validator(mode="after")
    def _allowed(self) -> ModbusMachine:
        errors = [
            InitErrorDetails(
                type=mistake(
                    f"it lies in {table}:{first}-{last}, which is forbidden",
                    "remove the signal, or change `quirks: {forbidden: …}`",
                    table,
                ),
                loc=("signals", name),
                input=name,
            )
            for table, first, last in self.quirks.forbidden
            for name, signal in self.signals.items()
            if not signal.sunspec
            and signal.table == table
            and signal.address <= last
            and first < signal.address + signal.size
        ]
        if errors:
            raise ValidationError.from_exception_data("forbidden", errors)
        return self
