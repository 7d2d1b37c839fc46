"""What is learnt of a machine's signals from the server, for the life of the process: types, units, ranges.

A signal never changes its type; so what was learnt once is not asked for again, and the header stays the same object
until something more is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.opcua.config import FROM_SERVER, OpcuaMachine, OpcuaSignal
from adapters.opcua.nodes import NodeId
from adapters.opcua.session import Session
from adapters.opcua.targets import Target
from adapters.opcua.units import Unit
from adapters.opcua.wire import ARRAY, KINDS, Values
from gateway.model import Header, MachinePath, Signal, ValueType

# Number; Integer, UInteger, Enumeration.
_ABSTRACT: dict[int, ValueType] = {26: "float", **dict.fromkeys((27, 28, 29), "int")}
_OF_PART: Mapping[str | None, ValueType] = {
    "severity": "int",
    "source": "string",
    "message": "string",
    "state": "string",
}


class Knowledge:
    """Of one machine."""

    def __init__(self, path: MachinePath, settings: OpcuaMachine) -> None:
        self.handle_of: list[int] = list(range(len(settings.signals)))  # the target of each signal
        self._path, self._settings = path, settings
        signals = settings.signals.values()
        self._types: list[ValueType | None] = [signal.type or _OF_PART.get(signal.part) for signal in signals]
        self._units: list[Unit | None] = [None if s.unit == FROM_SERVER else Unit(s.unit) for s in signals]
        self.header = self._make_header()
        self.types = [signal.type for signal in self.header.signals]

    async def learn(
        self, session: Session, there: Mapping[int, NodeId], targets: Mapping[int, Target], values: Values
    ) -> None:
        """Types and units that are not known yet, of the nodes that are there (by handle)."""
        codes = dict(zip(values.signal, values.type, strict=True))
        by_signal = {i: handle for handle in there for i in targets[handle].signals}
        if untyped := [i for i in by_signal if self._types[i] is None]:
            declared = await session.data_types([there[by_signal[i]] for i in untyped])
            for i, type in zip(untyped, declared, strict=True):
                self._types[i] = _ABSTRACT.get(type) or KINDS[codes[by_signal[i]] & ~ARRAY] or KINDS[type]
        if without_unit := [i for i in by_signal if self._units[i] is None]:
            units = await session.units([there[by_signal[i]] for i in without_unit])
            for i, unit in zip(without_unit, units, strict=True):
                self._units[i] = unit or Unit("")
        header = self._make_header()
        if header.signals != self.header.signals:
            self.header = header
            self.types = [signal.type for signal in header.signals]

    def expand(self, values: Values) -> Values:
        """One row per signal."""
        return values

    def _make_header(self) -> Header:
        columns = zip(self._settings.signals.items(), self._types, self._units, strict=True)
        return Header(
            self._path,
            tuple(_signal(name, settings, type, unit or Unit("")) for (name, settings), type, unit in columns),
        )


def _signal(name: str, s: OpcuaSignal, type: ValueType | None, unit: Unit) -> Signal:
    low, high = s.range or (unit.low, unit.high)
    kind = "event" if s.part else s.kind
    return Signal(name, type or "float", unit.code, s.description, kind, low, high, s.enum or {})
