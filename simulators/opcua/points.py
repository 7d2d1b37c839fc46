"""What a variable of the simulated server shows: the wave of its signal, as a raw value of its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from adapters.opcua.config import OpcuaSignal
from gateway.model import Value, ValueType
from simulators.waves import Wave

_TYPES: dict[type, ValueType] = {bool: "bool", int: "int", float: "float", str: "string"}
_CAST: dict[ValueType, Callable[[Value], Value]] = {
    "float": lambda v: float(cast("float", v)),
    "int": lambda v: round(cast("float", v)),
    "bool": bool,
    "string": str,
}


class Point:
    """One variable. `None` of its wave is no value: its status is bad then."""

    def __init__(self, machine: str, signal: str, settings: OpcuaSignal, wave: Wave) -> None:
        self.machine, self.signal, self._wave = machine, signal, wave
        self._numbers = {text: number for number, text in (settings.enum or {}).items()}
        self._states = settings.enum or {}
        self._scale, self._offset = settings.scale, settings.offset or 0
        parts = round(1 / self._scale) if self._scale else 0  # dividing by 10 is exact where times 0.1 is not
        self._parts = parts if parts > 1 and self._scale == 1 / parts else 0
        self.type: ValueType = settings.type or ("int" if self._states else _TYPES.get(type(wave(0.0)), "float"))

    def raw(self, t: float) -> Value:
        """What the variable holds `t` seconds after the start."""
        value = self._wave(t)
        if value is None:
            return None
        if self._states:
            return self._numbers[cast("str", value)]
        if self._scale or self._offset:
            value = cast("float", value) - self._offset
            value = value * self._parts if self._parts else value / (self._scale or 1)
        return _CAST[self.type](value)

    def meant(self, raw: Value) -> Value:
        """What the signal is for this raw value: with scale, offset and states."""
        if raw is None:
            return None
        if self._states:
            return self._states[cast("int", raw)]
        if self._scale or self._offset:
            number = cast("float", raw)
            return (number / self._parts if self._parts else number * (self._scale or 1)) + self._offset
        return raw
