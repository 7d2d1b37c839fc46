"""What one signal shows: its wave as a raw value of its type, and what that means to the gateway. Pure.

21.34 Cel, type: int, scale: 0.1 ── raw ──▶ 213 ── meant ──▶ 21.3: what the server carried, as the ledger has it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import cast

from adapters.opcua.config import OpcuaSignal
from gateway.model import Value, ValueType
from simulators.behaviour.waves import Wave
from simulators.machine import NOTHING_TOLD, Told
from simulators.opcua.places import Path

_TYPES: dict[type, ValueType] = {bool: "bool", int: "int", float: "float", str: "string"}
_INT64 = 2**63
_LARGEST_POWER = 24  # of ten: a scale factor beyond it is none
_LOOKS = 200  # at a wave of whole numbers, for a broken one among them
_APART = 7.3  # seconds

CAST: Mapping[ValueType, Callable[[Value], Value]] = {
    "float": lambda v: float(cast("float", v)),
    "int": lambda v: whole(v, -_INT64, _INT64 - 1),
    "bool": bool,
    "string": str,
}


class Point:
    """One signal. `None` of its wave is no value: the status of its variable is bad then."""

    def __init__(
        self, machine: str, signal: str, settings: OpcuaSignal, waves: Mapping[str, Wave], told: Told = NOTHING_TOLD
    ) -> None:
        """`waves`: of all signals of the machine."""
        self.machine, self.signal, self.settings, self.told = machine, signal, settings, told
        self._wave = wave = waves[signal]
        self._power = waves[settings.scale_from] if settings.scale_from else None
        self._scale, offset = settings.linear
        self._offset = offset or 0
        self._factor, self._added = settings.conversion  # to the unit in which it leaves the gateway
        parts = round(1 / self._scale) if self._scale else 0  # dividing by 10 is exact where times 0.1 is not
        self._parts = parts if parts > 1 and self._scale == 1 / parts else 0
        self.texts: Sequence[str] = told.states if settings.texts_from_server else ()  # that the server has to tell
        self.name_states(settings.enum or dict(enumerate(self.texts)))
        self.type: ValueType = settings.type or ("int" if self._states else _type_of(wave))

    @property
    def place(self) -> Path:
        """Where in the value of its variable it stands."""
        return self.settings.place

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.machine}/{self.signal}"

    def name_states(self, states: Mapping[int, str]) -> None:
        """What its numbers mean."""
        self._states = states
        self._numbers = {text: number for number, text in states.items()}

    def raw(self, t: float) -> Value:
        """What the variable holds `t` seconds after the start."""
        value = self._wave(t)
        if isinstance(value, str):
            value = self._numbers.get(value, value)
        elif value is not None and self.rescaled:
            number = value - self._offset
            number = number * self._parts if self._parts else number / (self._scale or 1)
            value = _times_power(number, -_as_carried(self._power(t))) if self._power else number
        return cast_to(self.type, value)

    def meant(self, raw: Value, t: float) -> Value:
        """What the signal is for this raw value: with scale, offset and states."""
        if raw is None or isinstance(raw, str):
            return raw
        if self._states:
            return self._states.get(int(raw), raw)
        if self.rescaled:
            number = _times_power(raw, _as_carried(self._power(t))) if self._power else raw
            raw = (number / self._parts if self._parts else number * (self._scale or 1)) + self._offset
        return raw if self._factor == 1.0 and not self._added else raw * self._factor + self._added

    def raw_range(self) -> tuple[float, float] | None:
        """Its range, as the variable has it."""
        span = self.settings.range or self.told.range
        if span is None or self.type not in ("int", "float") or self._states or self._power:
            return None
        low, high = sorted((edge - self._offset) / (self._scale or 1) for edge in span)
        return low, high

    @property
    def rescaled(self) -> bool:
        """Whether the numbers of the variable are not those of the signal."""
        return bool(self._scale or self._offset or self._power)


def cast_to(type: ValueType, value: Value) -> Value:
    """The value as this type; None where there is none."""
    if value is None or (type == "int" and isinstance(value, float) and not isfinite(value)):
        return None
    return CAST[type](value)


def whole(value: Value, lowest: int, highest: int) -> int:
    """The nearest whole number that there is room for."""
    return min(max(round(cast("float", value)), lowest), highest)


def _type_of(wave: Wave) -> ValueType:
    """As far as a look at it can tell."""
    first = type(wave(0.0))
    if first is int and any(isinstance(wave(i * _APART), float) for i in range(_LOOKS)):
        return "float"
    return _TYPES.get(first, "float")


def _as_carried(power: Value) -> int:
    """A scale factor as its variable holds it: a whole number."""
    return whole(power or 0, -_LARGEST_POWER, _LARGEST_POWER)


def _times_power(value: float, power: int) -> float:
    """Dividing by 10 is exact where times 0.1 is not."""
    return value / 10**-power if power < 0 else float(value * 10**power)
