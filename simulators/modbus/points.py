"""From the machines of a configuration to the images of their units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from adapters.modbus.config import ModbusMachine, ModbusSignal
from gateway.model import Value
from simulators.behaviour.waves import Wave
from simulators.machine import SimulatedMachine
from simulators.modbus.codec import Codec, date_codec, number_codec, string_codec, whole
from simulators.modbus.image import COILS, DISCRETE, HOLDING, INPUT, Image, Point
from simulators.modbus.sunspec import Arrangement, placed

_LARGEST_POWER = 24  # of ten: a scale factor beyond it is none
FUNCTIONS = {"coil": COILS, "discrete": DISCRETE, "holding": HOLDING, "input": INPUT}

# A coil, or a bit of a register; and a register that is 0 or not.
_BIT = Codec(1, lambda value: b"\1" if value else b"\0", lambda data: data != b"\0")
_FLAG = Codec(1, lambda value: b"\0\1" if value else b"\0\0", lambda data: data != b"\0\0")


def images(
    machines: Iterable[SimulatedMachine], arrangements: Mapping[int, Arrangement] | None = None
) -> Mapping[int, Image]:
    """By unit id. Machines with the same one are parts of one device. `arrangements`: of SunSpec models, by unit id."""
    parts: dict[int, list[SimulatedMachine]] = {}
    for machine in machines:
        parts.setdefault(cast("ModbusMachine", machine.settings).unit_id, []).append(machine)
    return {unit: _image(each, (arrangements or {}).get(unit)) for unit, each in parts.items()}


def _image(machines: Iterable[SimulatedMachine], arrangement: Arrangement | None) -> Image:
    signals = [
        (machine, name, signal)
        for machine in machines
        for name, signal in cast("ModbusMachine", machine.settings).signals.items()
    ]
    models = placed([signal for _, _, signal in signals], arrangement)
    there = [each for each in signals if not each[2].sunspec or id(each[2]) in models.address]
    return Image(
        [
            point(machine.path.machine, name, signal, machine.waves, models.address.get(id(signal), signal.address))
            for machine, name, signal in there
        ],
        models.words,
    )


def point(
    machine: str, name: str, signal: ModbusSignal, waves: Mapping[str, Wave], address: int | None = None
) -> Point:
    """One signal at its address, or at another one; `waves` are those of all signals of its machine."""
    codec, wave = _codec(signal), waves[name]
    scaling = _Scaling(signal, codec.limit, waves[signal.scale_from] if signal.scale_from else None)
    mask, shift = _part(signal)
    function, address = FUNCTIONS[signal.table], signal.address if address is None else address
    return Point(
        machine, name, function, address, signal.size, wave, scaling.to_raw, scaling.from_raw, codec, mask, shift
    )


def _codec(signal: ModbusSignal) -> Codec:
    if signal.data_type == "bool":
        return _BIT if signal.bit is not None or signal.table in ("coil", "discrete") else _FLAG
    if signal.data_type == "string":
        return string_codec(signal.length or 0, signal.encoding, signal.location, signal.wire_order)
    if signal.format is not None:
        return date_codec(signal.format, signal.wire_order)
    # A single byte has no order: that of its register decides which of the two it is.
    return number_codec(signal.data_type, "" if signal.data_type in ("int8", "uint8") else signal.wire_order)


def _part(signal: ModbusSignal) -> tuple[int, int]:
    """Mask and shift of a signal that is only a part of its register; with order BA the register's bytes are swapped."""
    if signal.bit is not None:
        mask, shift = 1, signal.bit
    elif signal.data_type in ("int8", "uint8"):
        mask, shift = 0xFF, 8 if signal.byte == "high" else 0
    else:
        return 0, 0
    if signal.wire_order == "BA":
        shift = (shift + 8) % 16
    return mask << shift, shift


class _Scaling:
    """Between engineering and raw values."""

    def __init__(self, signal: ModbusSignal, limit: int, power: Wave | None) -> None:
        (self._scale, self._offset), self._power = signal.linear, power
        self._factor, self._added = signal.conversion  # to the unit in which it leaves the gateway
        # 213 tenths are 213 / 10 = 21.3; 213 * 0.1 would be 21.3 and a bit.
        parts = round(1 / self._scale) if self._scale else 0
        self._parts = parts if parts > 1 and self._scale == 1 / parts else 0
        self._states = signal.enum or {}
        self._numbers = {text: number for number, text in self._states.items()}
        self._limit = limit if signal.kind == "counter" else 0

    def to_raw(self, value: Value, t: float) -> Value:
        """What the registers should hold: not rounded, and a counter back at 0 where its type ends."""
        if isinstance(value, str):
            return self._numbers.get(value, value)
        if value is None:
            return 0
        if self._offset:
            value -= self._offset
        if self._scale:
            value = value * self._parts if self._parts else value / self._scale
        if self._power:
            value = _times_power(value, -_as_carried(self._power(t)))
        return value % self._limit if self._limit else value

    def from_raw(self, raw: Value, t: float) -> Value:
        """What the registers tell: the engineering value, or the text of a state."""
        if self._states:
            return self._states.get(cast("int", raw), raw)
        if self._power:
            raw = _times_power(cast("float", raw), _as_carried(self._power(t)))
        if self._scale:
            raw = cast("float", raw) / self._parts if self._parts else cast("float", raw) * self._scale
        if self._offset:
            raw = cast("float", raw) + self._offset
        return raw if self._factor == 1.0 and not self._added else cast("float", raw) * self._factor + self._added


def _as_carried(power: Value) -> int:
    """A scale factor as its register holds it: a whole number."""
    return whole(power, -_LARGEST_POWER, _LARGEST_POWER)


def _times_power(value: float, power: int) -> float:
    """Dividing by 10 is exact where times 0.1 is not."""
    return value / 10**-power if power < 0 else float(value * 10**power)
