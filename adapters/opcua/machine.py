"""One machine behind a connection: what is known of its signals, and its subscription in the current session.

What was learnt from the server (types, units) stays for the life of the process: a signal never changes its type. What
belongs to a session (node ids, monitored items) is made anew in each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from adapters.opcua import decode, nodes
from adapters.opcua.config import FROM_SERVER, OpcuaMachine, OpcuaSignal
from adapters.opcua.items import Item, Notification
from adapters.opcua.plan import queue, sampling
from adapters.opcua.session import Session
from adapters.opcua.units import Unit
from adapters.opcua.wire import ARRAY, KINDS, Values
from gateway.counters import MachineCounters
from gateway.errors import NotConnectedError
from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    NODE_UNKNOWN,
    WRONG_TYPE,
    Batch,
    Header,
    MachinePath,
    Signal,
    Value,
    ValueType,
    quality_text,
)

_log = logging.getLogger(__name__)

# Number; Integer, UInteger, Enumeration.
_ABSTRACT: dict[int, ValueType] = {26: "float", **dict.fromkeys((27, 28, 29), "int")}
_NO_NODE = (NODE_UNKNOWN, 0x80330000)  # BadNodeIdUnknown, BadNodeIdInvalid
_EXPLAINED = {
    NODE_UNKNOWN: "the server does not have this node; it is tried again",
    CONFIG_ERROR: "{what}, which cannot be carried yet",
    WRONG_TYPE: "not of the type {type} it has had since start-up",
}


class Machine:
    """The state of one machine. Its header is replaced when a type or unit is learnt, else it stays the same object."""

    def __init__(self, path: MachinePath, settings: OpcuaMachine, publishing: float, counters: MachineCounters) -> None:
        self.subscription = 0  # its id in the current session
        self._path, self._settings, self._publishing, self._counters = path, settings, publishing, counters
        self._signals = list(settings.signals.values())
        self._addresses = [settings.address_of(name) for name in settings.signals]
        self._learnt: list[ValueType | None] = [s.type for s in self._signals]
        self._units: list[Unit | None] = [None if s.unit == FROM_SERVER else Unit(s.unit) for s in self._signals]
        self._items: dict[int, int] = {}  # signal -> monitored item
        self._missing: set[int] = set()  # signals without a node or monitored item
        self._first: dict[int, list[Value]] = {}  # what was read, to be recognised when it is also reported
        self._told: dict[int, int] = {}  # signal -> trouble that was logged
        self._compared = False  # what the server revised was logged
        self.header = self._make_header()

    @property
    def incomplete(self) -> bool:
        """Whether there are nodes to be looked for again."""
        return bool(self._missing)

    # --- set-up ----------------------------------------------------------------------------------------------------

    async def start(self, session: Session, now: int) -> Batch:
        """Begin a session: learn what is not known yet, subscribe. All values as they are now."""
        self._items.clear()
        self._first.clear()
        values = await self._look(session, range(len(self._signals)))
        self.subscription = await session.subscribe(self._publishing)
        await self._monitor(session, values)
        return self._remembered(self._decode(values, now))

    async def look_again(self, session: Session, now: int) -> Batch | None:
        """Look for the nodes that are missing, in the same session. The values of those that are there now."""
        values = await self._look(session, sorted(self._missing), keep=True)
        await self._monitor(session, values)
        found = [row for row, i in enumerate(values.signal) if i not in self._missing]
        return self._remembered(self._decode(values.only(found), now)) if found else None

    def _remembered(self, batch: Batch) -> Batch:
        quality = batch.quality or [GOOD] * len(batch)
        for i, *reading in zip(batch.signal, batch.time, batch.value, quality, strict=True):
            if i not in self._missing:
                self._first[i] = reading
        return batch

    async def _look(self, session: Session, signals: Sequence[int], keep: bool = False) -> Values:
        """The values of these signals. With `keep` the header must not change: another session may learn."""
        self._resolved = {i: node for i in signals if (node := nodes.resolve(self._addresses[i], session.uris))}
        values = await session.values(list(self._resolved.values()))
        values.signal = list(self._resolved)
        self._counters.requests += 1
        await self._learn(session, values)
        header = self._make_header()
        if header.signals != self.header.signals:
            if keep:
                raise NotConnectedError(
                    f"{self._path.machine}: a missing node is there now: connecting again to learn its type"
                )
            self.header = header
        for i in signals:
            if i not in self._resolved:
                values.add(i, 0, None, NODE_UNKNOWN, 0)
        return values

    async def _learn(self, session: Session, values: Values) -> None:
        """Types and units that are not known yet, of the nodes that are there."""
        there = {
            i: (self._resolved[i], code)
            for i, code, status in zip(values.signal, values.type, values.status, strict=True)
            if status not in _NO_NODE
        }
        if untyped := [i for i in there if self._learnt[i] is None]:
            for i, declared in zip(untyped, await session.data_types([there[i][0] for i in untyped]), strict=True):
                self._learnt[i] = _ABSTRACT.get(declared) or KINDS[there[i][1] & ~ARRAY] or KINDS[declared]
        if without_unit := [i for i in there if self._units[i] is None]:
            for i, unit in zip(without_unit, await session.units([there[i][0] for i in without_unit]), strict=True):
                self._units[i] = unit or Unit("")

    async def _monitor(self, session: Session, values: Values) -> None:
        """Have the signals reported whose nodes are there. What the server refuses is put into `values`."""
        rows = {
            i: row
            for row, (i, status) in enumerate(zip(values.signal, values.status, strict=True))
            if status not in _NO_NODE
        }
        self._missing.update(set(values.signal) - set(rows))
        if old := [id for i in rows if (id := self._items.pop(i, 0))]:
            await session.forget(self.subscription, old)
        items = [self._item(i) for i in rows]
        await session.monitor(self.subscription, items)
        for item in items:
            if item.status >= 0x80000000:
                self._missing.add(item.handle)
                values.type[rows[item.handle]], values.value[rows[item.handle]] = 0, None
                values.status[rows[item.handle]] = item.status
            else:
                self._missing.discard(item.handle)
                self._items[item.handle] = item.id
        self._compare(items)

    def _item(self, signal: int) -> Item:
        settings = self._signals[signal]
        return Item(
            signal, self._resolved[signal], sampling(settings, self._publishing), queue(settings, self._publishing)
        )

    def _compare(self, items: Iterable[Item]) -> None:
        """Say where the server samples slower or keeps less than it should: values between will be missing."""
        short = [i for i in items if i.id and (0 < i.revised_queue < i.queue or i.revised_sampling > 1.01 * i.sampling)]
        if short and not self._compared:
            self._compared = True
            item = short[0]
            _log.info(
                "%s: the server samples %d signals more slowly or keeps fewer values than asked for, e.g. %s: "
                "%g ms instead of %g ms, %d values instead of %d",
                self._path.machine, len(short), self._name(item.handle), item.revised_sampling * 1000, item.sampling * 1000,
                item.revised_queue, item.queue,
            )  # fmt: skip

    def _make_header(self) -> Header:
        columns = zip(self._settings.signals, self._signals, self._learnt, self._units, strict=True)
        signals = tuple(_signal(name, settings, type, unit or Unit("")) for name, settings, type, unit in columns)
        self._types = [signal.type for signal in signals]
        return Header(self._path, signals)

    # --- running ---------------------------------------------------------------------------------------------------

    def batch(self, notification: Notification) -> Batch | None:
        """The readings of a notification; None if it only kept the subscription alive."""
        self._counters.requests += 1
        values = notification.values
        if values is None:
            return None
        if notification.missing:
            self._counters.overflows += notification.missing
            _log.warning("%s: %d notifications never came", self._path.machine, notification.missing)
        if any(values.status):
            self._counters.overflows += decode.overflows(values)
        batch = self._decode(values, notification.arrival)
        return self._without_known(batch) if self._first else batch

    def _decode(self, values: Values, arrival: int) -> Batch:
        batch = decode.batch(self.header, self._types, values, arrival)
        if batch.quality is not None or not self._told.keys().isdisjoint(batch.signal):
            self._note(batch, values.type)
        return batch

    def _without_known(self, batch: Batch) -> Batch:
        """Leave out what reading at the start of the session already brought."""
        quality = batch.quality or [GOOD] * len(batch)
        rows = [
            row
            for row, (i, *reading) in enumerate(zip(batch.signal, batch.time, batch.value, quality, strict=True))
            if self._first.pop(i, None) != reading
        ]
        if len(rows) == len(batch):
            return batch
        columns = [[column[row] for row in rows] for column in (batch.signal, batch.time, batch.value, quality)]
        return Batch(self.header, *columns)  # type: ignore[arg-type]  # the columns of a batch, in their order

    def _note(self, batch: Batch, codes: Sequence[int]) -> None:
        """Log once what is wrong with a signal until somebody changes something; and note nodes that have gone."""
        for i, code, quality in zip(batch.signal, codes, batch.quality or [GOOD] * len(batch), strict=True):
            if quality in _NO_NODE:
                self._missing.add(i)
            lasting = i in self._missing or quality == WRONG_TYPE or (quality == CONFIG_ERROR and code)
            trouble = quality if lasting else GOOD
            if trouble != self._told.get(i, GOOD):
                self._tell(i, trouble, code)

    def _tell(self, signal: int, trouble: int, code: int) -> None:
        name = self._name(signal)
        if not trouble:
            del self._told[signal]
            _log.info("%s: is there again", name)
            return
        self._told[signal] = trouble
        why = _EXPLAINED.get(trouble, "the server will not report it").format(
            what=decode.unsupported(code), type=self._types[signal]
        )
        _log.warning("%s (%s): %s (%s)", name, self._signals[signal].node, why, quality_text(trouble))

    def _name(self, signal: int) -> str:
        return f"{self._path.machine}/{self.header.signals[signal].name}"


def _signal(name: str, s: OpcuaSignal, type: ValueType | None, unit: Unit) -> Signal:
    low, high = s.range or (unit.low, unit.high)
    return Signal(name, type or "float", unit.code, s.description, s.kind, low, high, s.enum or {})
