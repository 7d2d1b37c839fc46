"""What is learnt of a machine's signals from the server: types, units, ranges, the texts of states, what structures mean.

A signal never changes its type: what was learnt of it is kept for the life of the process, and the header stays the same
object until something more is learnt. What data types consist of is learnt in each session: a download may change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from adapters.opcua.config import FROM_SERVER, OpcuaMachine, OpcuaSignal
from adapters.opcua.nodes import NodeId
from adapters.opcua.session import Session
from adapters.opcua.structures import learning
from adapters.opcua.structures.definitions import Definitions
from adapters.opcua.structures.field_path import Path
from adapters.opcua.structures.picking import declared, declared_code, picked
from adapters.opcua.targets import Target
from adapters.opcua.units import Unit
from adapters.opcua.wire import ARRAY, KINDS, Body, Values
from gateway.model import Header, MachinePath, Signal, ValueType

# Number; Integer, UInteger, Enumeration.
_ABSTRACT: dict[int, ValueType] = {26: "float", **dict.fromkeys((27, 28, 29), "int")}
_OF_PART: Mapping[str | None, ValueType] = {
    "severity": "int",
    "source": "string",
    "message": "string",
    "state": "string",
}
_DATA_TYPE = 14  # attribute
# Where a counter of each whole type begins at 0 again: SByte, Byte, Int16, UInt16, Int32, UInt32, Int64, UInt64.
_WRAPS: Mapping[int, int] = {
    2: 1 << 7,
    3: 1 << 8,
    4: 1 << 15,
    5: 1 << 16,
    6: 1 << 31,
    7: 1 << 32,
    8: 1 << 63,
    9: 1 << 64,
}


class Knowledge:
    """Of one machine."""

    def __init__(self, path: MachinePath, settings: OpcuaMachine, targets: Mapping[int, Target]) -> None:
        self._path, self._settings, self._targets = path, settings, targets
        signals = list(settings.signals.values())
        self.handle_of = {i: handle for handle, target in targets.items() for i in target.signals}
        self._picks = {handle: target.picks for handle, target in targets.items() if target.picks}
        self._places: dict[int, Path] = {i: place for picks in self._picks.values() for i, place in picks}
        self._definitions = Definitions()
        self._types: list[ValueType | None] = [signal.type or _OF_PART.get(signal.part) for signal in signals]
        self._units: list[Unit | None] = [None if s.unit == FROM_SERVER else Unit(s.unit) for s in signals]
        self._wraps: dict[int, int] = {}  # of counters
        self._texts: list[Mapping[int, str] | None] = [None if s.texts_from_server else s.enum or {} for s in signals]
        self.header = self._make_header()
        self.types = [signal.type for signal in self.header.signals]

    def forget_session(self) -> None:
        """Another one begins."""
        self._definitions = Definitions()
        self._take(self._make_header())

    async def learn(self, session: Session, there: Mapping[int, NodeId], values: Values) -> None:
        """What is not known yet of the nodes that are there (by handle), of which these are the values."""
        nodes = {i: there[handle] for i, handle in self.handle_of.items() if handle in there}
        await self._learn_parts(session, there, nodes, values)
        await self._learn_types(session, nodes, values)
        self._learn_widths(nodes, values)
        if without_unit := [i for i in nodes if self._units[i] is None]:
            units = await session.units([nodes[i] for i in without_unit])
            for i, unit in zip(without_unit, units, strict=True):
                self._units[i] = unit or Unit("")
        header = self._make_header()
        if any(
            replace(new, guessed=old.guessed) != old  # a right guess changes nothing before the next session
            for new, old in zip(header.signals, self.header.signals, strict=True)
        ):
            self._take(header)

    def _take(self, header: Header) -> None:
        if header.signals != self.header.signals:
            self.header = header
            self.types = [signal.type for signal in header.signals]

    async def _learn_types(self, session: Session, nodes: Mapping[int, NodeId], values: Values) -> None:
        untyped = [i for i in nodes if self._types[i] is None and i not in self._places]
        if not untyped:
            return
        codes = dict(zip(values.signal, values.type, strict=True))
        for i, type in zip(untyped, await session.data_types([nodes[i] for i in untyped]), strict=True):
            self._types[i] = _ABSTRACT.get(type) or KINDS[codes[self.handle_of[i]] & ~ARRAY] or KINDS[type]

    def _learn_widths(self, nodes: Mapping[int, NodeId], values: Values) -> None:
        """Of counters: kept from the first value on, as a type is."""
        codes = dict(zip(values.signal, values.type, strict=True))
        settings = list(self._settings.signals.values())
        for i in nodes:
            code = codes.get(self.handle_of[i], 0)
            if settings[i].kind == "counter" and i not in self._places and code in _WRAPS:
                self._wraps.setdefault(i, _WRAPS[code])

    async def _learn_parts(
        self, session: Session, there: Mapping[int, NodeId], nodes: Mapping[int, NodeId], values: Values
    ) -> None:
        """What arrays and structures consist of, and what the numbers of states mean."""
        without_texts = [i for i in nodes if self._texts[i] is None]
        handles = list(
            dict.fromkeys([h for h in there if h in self._picks] + [self.handle_of[i] for i in without_texts])
        )
        if not handles:
            return
        declared_types = await session.attribute(_DATA_TYPE, [there[handle] for handle in handles])
        types = {h: type for h, type in zip(handles, declared_types, strict=True) if isinstance(type, NodeId)}
        bodies = [body.encoding for value in values.value for body in _bodies(value)]
        await learning.learn(session, self._definitions, types.values(), bodies)
        rows, _ = picked(values, self._picks, self._definitions)
        codes = dict(zip(rows.signal, rows.type, strict=True))
        for i in nodes:
            if self._types[i] is None and (place := self._places.get(i)):
                type = types.get(self.handle_of[i])
                part = declared(type, place, self._definitions) if type else None
                self._types[i] = KINDS[declared_code(part, self._definitions)] if part else None
                self._types[i] = self._types[i] or KINDS[codes.get(i, 0) & ~ARRAY]
        if without_texts:
            wanted = [(nodes[i], types.get(self.handle_of[i]), self._places.get(i, ())) for i in without_texts]
            for i, texts in zip(without_texts, await learning.texts(session, self._definitions, wanted), strict=True):
                self._texts[i] = texts

    @property
    def curious(self) -> bool:
        """Whether structures have come whose type is not known yet: a variable may change the type of its value."""
        return bool(self._definitions.unknown)

    async def learn_more(self, session: Session) -> None:
        """What they are."""
        if self._definitions.unknown:
            await learning.learn(session, self._definitions, (), list(self._definitions.unknown))

    def rows(self, values: Values) -> tuple[Values, Mapping[int, str]]:
        """One row per signal; and of parts that cannot be had why, by signal."""
        if not self._picks or self._picks.keys().isdisjoint(values.signal):
            return values, {}
        return picked(values, self._picks, self._definitions)

    def _make_header(self) -> Header:
        columns = zip(self._settings.signals.items(), self._types, self._units, self._texts, strict=True)
        signals = (
            replace(
                _signal(*named, type, unit or Unit(""), texts or {}),
                guessed=type is None or unit is None or texts is None,
            )
            for named, type, unit, texts in columns
        )
        return Header(
            self._path,
            tuple(
                replace(signal, wraps_at=self._wraps[i]) if i in self._wraps else signal
                for i, signal in enumerate(signals)
            ),
        )


def _bodies(value: object) -> Sequence[Body]:
    """The structures in a value."""
    if isinstance(value, Body):
        return [value]
    return [body for each in value for body in _bodies(each)] if isinstance(value, list) else []


def _signal(name: str, s: OpcuaSignal, type: ValueType | None, unit: Unit, texts: Mapping[int, str]) -> Signal:
    low, high = s.range or (unit.low, unit.high)
    kind = "event" if s.part else s.kind
    return Signal(name, type or "float", unit.code, s.description, kind, low, high, texts)
