"""One machine behind a connection: what is known of its signals, and what it has in the current session.

    start ─▶ nodes ─▶ values, once ─▶ types, units ─▶ subscription, monitored items ─▶ batches of each notification
                         │                              └ what the server has no room for is polled, as with `mode: poll`
                         └ known: what is also reported is left out, what is older is historical

What was learnt from the server (types, units) stays for the life of the process: a signal never changes its type. What
belongs to a session (node ids, monitored items) is made anew in each.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from adapters.opcua import decode, nodes
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.events import Stream
from adapters.opcua.history import Backfill
from adapters.opcua.items import Item, Notification
from adapters.opcua.knowledge import Knowledge
from adapters.opcua.missed import Missed
from adapters.opcua.nodes import NodeId, PathAddress
from adapters.opcua.session import Session
from adapters.opcua.targets import Target, publishing, targets
from adapters.opcua.wire import Event, Values
from gateway.clock import Clock
from gateway.counters import MachineCounters
from gateway.errors import NotConnectedError
from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    INVALID_DATA,
    NODE_UNKNOWN,
    WRONG_TYPE,
    Batch,
    Gap,
    Header,
    MachinePath,
    Value,
    is_bad,
    quality_text,
)

_log = logging.getLogger(__name__)

_NO_NODE = (NODE_UNKNOWN, 0x80330000)  # BadNodeIdUnknown, BadNodeIdInvalid
_NO_FILTER = (0x80430000, 0x80440000, 0x80450000, 0x808E0000)  # BadMonitoredItemFilterInvalid, …Unsupported,
# BadFilterNotAllowed, BadDeadbandFilterInvalid
_NO_ROOM = (0x80DB0000, 0x80030000, 0x800A0000)  # BadTooManyMonitoredItems, BadOutOfMemory, BadTimeout of one item
_NO_SUBSCRIPTION = ("BadTooManySubscriptions", "BadServiceUnsupported")
_CATCHING_UP = 10_000_000_000  # ns for which a server may still send what it kept while the line was lost
_UNREADABLE = (CONFIG_ERROR, INVALID_DATA)
_NOT_SUPPORTED = 0x803D0000  # BadNotSupported

_EXPLAINED = {
    NODE_UNKNOWN: "the server does not have this node; it is tried again",
    CONFIG_ERROR: "{what}",
    INVALID_DATA: "{what}",
    WRONG_TYPE: "not of the type {type} it has had since start-up",
}

Arrived = Sequence[Batch | Gap]


class Machine:
    """The state of one machine. Its header is replaced when a type or unit is learnt, else it stays the same object."""

    def __init__(
        self, path: MachinePath, settings: OpcuaMachine, connection: OpcuaConnection, counters: MachineCounters
    ) -> None:
        self.subscription = 0  # its id in the current session; 0: none
        self.polls: Mapping[float, Sequence[int]] = {}  # period in seconds -> handles that are read
        self.outdated = False  # notifications were lost: the values have to be read anew
        self._path, self._connection, self._counters = path, connection, counters
        self._publishing = publishing(connection, settings)
        self._missed = Missed(connection.history)
        self._settings = list(settings.signals.values())
        self._targets = {target.handle: target for target in targets(connection, settings)}
        self._known = Knowledge(path, settings, self._targets)
        self._nodes: dict[int, NodeId] = {}  # by handle, in this session
        self._items: dict[int, int] = {}  # handle -> monitored item
        self._missing: set[int] = set()  # handles without a node or monitored item
        self._now: dict[int, list[Value]] = {}  # signal -> what was read, to be recognised when it is also reported
        self._then: dict[int, list[Value]] = {}  # the same before the line was lost
        self._catching_up = 0  # ns: until then what is older than `_now` was missed; 0: nothing was
        self._polled_at: dict[int, int] = {}  # handle -> time stamp of its last value
        self._streams = {
            target.handle: Stream(target.signals, target.severity)
            for target in self._targets.values()
            if target.severity is not None
        }
        self._told: dict[int, int] = {}  # signal -> trouble that was logged
        self._compared = False  # what the server revised was logged

    @property
    def header(self) -> Header:
        return self._known.header

    @property
    def incomplete(self) -> bool:
        """Whether there are nodes to be looked for again."""
        return bool(self._missing)

    # --- set-up ----------------------------------------------------------------------------------------------------

    async def start(self, session: Session, clock: Clock) -> Arrived:
        """Begin a session: learn what is not known yet, subscribe. All values as they are now."""
        self._forget_session()
        now = clock.now()
        variables = [handle for handle in self._targets if handle not in self._streams]
        values = await self._look(session, variables)
        subscribed = [handle for handle in variables if self._targets[handle].poll is None]
        if subscribed or self._streams:
            await self._subscribe(session)
        await self._monitor(session, values, subscribed)
        await self._monitor_events(session, self._streams)
        if session.profile.first_read_is_bad and self.subscription:
            values = values.only([row for row, status in enumerate(values.status) if not is_bad(status)])
        current = self._current(values, now)
        listening = clock.now()  # what changed after the values were read, and before, nobody was told
        gaps = await self._look_back(session, current, listening)
        if self.subscription:
            self._missed.heard(listening, listening)
        return (*current, *gaps)

    async def _look_back(self, session: Session, current: Sequence[Batch], now: int) -> list[Gap]:
        """What is missing since the last session; what the server remembers of it is fetched."""
        nodes = {handle: self._nodes[handle] for handle in self._items if handle < len(self._settings)}
        remembering = {}
        if nodes and self._connection.history:
            keeps = await session.keeps_history(list(nodes.values()))
            remembering = {i: node for (i, node), kept in zip(nodes.items(), keeps, strict=True) if kept}
        first = dict(pair for batch in current for pair in zip(batch.signal, batch.time, strict=True))
        signals = [i for handle in self._items for i in self._targets[handle].signals]
        gaps = self._missed.outage(self.header, now, sorted(signals), remembering, first)
        self._missed.delivered(first.keys(), first.values())
        return gaps

    async def resumed(self, session: Session, now: int) -> Arrived:
        """All values as they are now, in a session of which something was missed; what the server kept comes after."""
        self.outdated = False
        values = await self._read(session, [handle for handle in self._nodes if handle not in self._streams])
        self._then, self._catching_up = {**self._then, **self._now}, now + _CATCHING_UP
        if self._streams:
            await session.refresh_conditions(self.subscription)
        return self._current(values, now)

    async def look_again(self, session: Session, now: int) -> Arrived:
        """Look for the nodes that are missing, in the same session. The values of those that are there now."""
        events = [handle for handle in self._missing if handle in self._streams]
        handles = sorted(self._missing - set(events))
        values = await self._look(session, handles)
        await self._monitor(session, values, [handle for handle in handles if self._targets[handle].poll is None])
        await self._monitor_events(session, events)
        found = [row for row, handle in enumerate(values.signal) if handle not in self._missing]
        return self._current(values.only(found), now) if found else ()

    def _forget_session(self) -> None:
        self.subscription = self._catching_up = 0
        self._known.forget_session()
        for column in (self._nodes, self._items, self._missing, self._now, self._then, self._polled_at):
            column.clear()

    async def _look(self, session: Session, handles: Sequence[int]) -> Values:
        """The values of these targets, and what is not known of them yet."""
        found = await self._resolve(session, handles)
        self._nodes.update(found)
        values = await self._read(session, list(found))
        there = [h for h, status in zip(values.signal, values.status, strict=True) if status not in _NO_NODE]
        await self._known.learn(session, {h: found[h] for h in there}, values)
        for handle in handles:
            if handle not in found:
                values.add(handle, 0, None, NODE_UNKNOWN, 0)
        self._missing.update(set(handles) - set(there))
        self._missing.difference_update(there)
        return values

    async def _resolve(self, session: Session, handles: Iterable[int]) -> dict[int, NodeId]:
        """The nodes of this session, by handle, as far as they are there."""
        found: dict[int, NodeId | None] = {}
        paths: dict[int, tuple[tuple[int, str], ...]] = {}
        for handle in handles:
            address = self._targets[handle].address
            if not isinstance(address, PathAddress):
                found[handle] = nodes.resolve(address, session.uris)
            elif path := nodes.resolve_path(address, session.uris):
                paths[handle] = path
        if paths:
            found.update(zip(paths, await session.follow(list(paths.values())), strict=True))
        return {handle: node for handle, node in found.items() if node is not None}

    async def _read(self, session: Session, handles: Sequence[int]) -> Values:
        values = await session.values([self._nodes[handle] for handle in handles])
        values.signal = list(handles)
        self._counters.requests += 1
        return values

    async def _subscribe(self, session: Session) -> None:
        """Have a subscription; without one, where the server has none left, everything is polled."""
        try:
            self.subscription = await session.subscribe(self._publishing)
        except NotConnectedError as exc:
            if type(exc.__cause__).__name__ not in _NO_SUBSCRIPTION:
                raise
            _log.warning("%s: no subscription can be had, its signals are polled: %s", self._path.machine, exc)

    async def _monitor(self, session: Session, values: Values, handles: Sequence[int]) -> None:
        """Have the targets reported whose nodes are there. What the server refuses is put into `values`, or polled."""
        row_of = {handle: row for row, handle in enumerate(values.signal)}
        wanted = [handle for handle in handles if handle not in self._missing]
        if old := [id for handle in wanted if (id := self._items.pop(handle, 0))]:
            await session.forget(self.subscription, old)
        polled = [handle for handle in values.signal if self._targets[handle].poll is not None]
        items = [self._item(self._targets[handle]) for handle in wanted] if self.subscription else []
        polled += [] if self.subscription else wanted
        await session.monitor(self.subscription, items)
        if without := [item for item in items if item.deadband and item.status in _NO_FILTER]:
            _log.info("%s: the server has no deadband for %s; ours remains", self._path.machine, self._names(without))
            for item in without:
                item.deadband = None
            await session.monitor(self.subscription, without)
        crowded = [item for item in items if item.status in _NO_ROOM]
        if crowded:
            _log.warning(
                "%s: the server has no room for %d more monitored items, which are polled: %s",
                self._path.machine, len(crowded), self._names(crowded),
            )  # fmt: skip
        for item in items:
            if item.status in _NO_ROOM:
                polled.append(item.handle)
            elif is_bad(item.status):
                self._missing.add(item.handle)
                row = row_of[item.handle]
                values.type[row], values.value[row], values.status[row] = 0, None, item.status
            else:
                self._items[item.handle] = item.id
        self._polled_at.update((handle, values.time[row_of[handle]]) for handle in polled)
        await self._plan_polls(session, polled)
        self._compare(items)

    async def _monitor_events(self, session: Session, handles: Iterable[int]) -> None:
        """Have the events of these objects reported, and the conditions that hold now."""
        found = await self._resolve(session, handles)
        self._nodes.update(found)
        for handle, node in found.items():
            target = self._targets[handle]
            item = Item(handle, node, 0.0, target.queue)
            if self.subscription:
                await session.monitor_events(self.subscription, item, target.severity or 1)
            if item.id and not is_bad(item.status):
                self._items[handle] = item.id
            elif target.signals[0] not in self._told:
                self._tell(target.signals[0], item.status or _NOT_SUPPORTED, "")
        self._missing.update(handle for handle in handles if handle not in self._items)
        self._missing.difference_update(self._items)
        if found and self.subscription:
            await session.refresh_conditions(self.subscription)

    async def _plan_polls(self, session: Session, handles: Sequence[int]) -> None:
        """Have these read in turn, from now on, by ids that are cheap for the server."""
        there = [handle for handle in handles if handle in self._nodes and handle not in self._missing]
        if not there:
            return
        registered = await session.registered([self._nodes[handle] for handle in there])
        self._nodes.update(zip(there, registered, strict=True))
        periods: dict[float, list[int]] = defaultdict(list, {p: list(handles) for p, handles in self.polls.items()})
        for handle in there:
            target = self._targets[handle]
            periods[target.poll or max(target.sampling, 1.0)].append(handle)
        self.polls = periods

    def _item(self, target: Target) -> Item:
        return Item(
            target.handle, self._nodes[target.handle], target.sampling, target.queue, target.discard_oldest,
            target.deadband,
        )  # fmt: skip

    def _compare(self, items: Iterable[Item]) -> None:
        """Say where the server samples slower or keeps less than it should: values between will be missing."""
        short = [i for i in items if i.id and (0 < i.revised_queue < i.queue or i.revised_sampling > 1.01 * i.sampling)]
        if short and not self._compared:
            self._compared = True
            item = short[0]
            _log.info(
                "%s: the server samples %d signals more slowly or keeps fewer values than asked for, e.g. %s: "
                "%g ms instead of %g ms, %d values instead of %d",
                self._path.machine, len(short), self._names([item]), item.revised_sampling * 1000, item.sampling * 1000,
                item.revised_queue, item.queue,
            )  # fmt: skip

    # --- running ---------------------------------------------------------------------------------------------------

    async def poll(self, session: Session, handles: Sequence[int], clock: Clock) -> Arrived:
        """Read these targets."""
        values = await self._read(session, handles)
        now = clock.now()
        for row, (handle, time) in enumerate(zip(handles, values.time, strict=True)):
            # An unchanged value keeps its source time stamp; that it is still so was seen now.
            if time and self._polled_at.get(handle) == time:
                values.time[row] = 0
            self._polled_at[handle] = time
        return (self._decode(values, now),)

    def arrived(self, notification: Notification) -> Arrived:
        """What is in a notification; nothing if it only kept the subscription alive."""
        self._counters.requests += 1
        missed, arrival = self._missed, notification.arrival
        before = missed.alive
        missed.heard(arrival, notification.time)
        found: list[Batch | Gap] = []
        if notification.missing:
            self.outdated = True
            cause = f"notifications-lost: {notification.missing} never came, and the server does not keep them"
            found.append(Gap(self.header, (), before, arrival, 0, cause))
        if notification.values is not None:
            values = notification.values
            if any(values.status) and (handles := decode.overflowed(values)):
                self._counters.overflows += len(handles)
                missed.overflowed((i for handle in handles for i in self._targets[handle].signals), before, arrival)
            batch = self._decode(values, arrival)
            missed.delivered(batch.signal, batch.time)
            found += self._without_known(batch) if self._now else (batch,)
        if notification.events is not None:
            found += self._events(notification.events, before, arrival)
        if notification.again:  # it was sent while the line was lost: how it was, not how it is
            found = [replace(each, historical=True) if isinstance(each, Batch) else each for each in found]
        return found + missed.overflows(self.header, arrival)

    def _events(self, events: Sequence[Event], before: int, arrival: int) -> list[Batch]:
        found = []
        for handle, stream in self._streams.items():
            taken = stream.take([event for event in events if event.signal == handle], arrival)
            if taken.overflows:
                self._counters.overflows += taken.overflows
                self._missed.overflowed(self._targets[handle].signals, before, arrival)
            if taken.refresh:
                self.outdated = True
            if taken.signal:
                found.append(Batch(self.header, taken.signal, taken.time, taken.value, taken.quality))
        return found

    # --- history -----------------------------------------------------------------------------------------------------

    @property
    def backfill(self) -> Backfill | None:
        """What is being fetched from the history of the server."""
        return self._missed.backfill

    def remembered(self, values: Values, now: int) -> Batch:
        """A page of it."""
        return replace(decode.batch(self.header, self._known.types, values, now), historical=True)

    def filled(self) -> Arrived:
        """It is all there is."""
        return self._missed.filled(self.header)

    # --- from values to readings -------------------------------------------------------------------------------------

    def _current(self, values: Values, now: int) -> Sequence[Batch]:
        """Values that were read, as the ones that are true now."""
        batch = self._decode(values, now)
        quality = batch.quality or [GOOD] * len(batch)
        for i, *reading in zip(batch.signal, batch.time, batch.value, quality, strict=True):
            if self.subscription:
                self._now[i] = reading
        return (batch,) if len(batch) else ()

    def _decode(self, values: Values, arrival: int) -> Batch:
        values, troubles = self._known.rows(values)
        batch = decode.batch(self.header, self._known.types, values, arrival)
        if batch.quality is not None or not self._told.keys().isdisjoint(batch.signal):
            self._note(batch, values.type, troubles)
        return decode.one_after_the_other(batch)

    def _without_known(self, batch: Batch) -> list[Batch]:
        """Leave out what reading at the start of the session already brought; what was missed before it is history."""
        missed = self._missed.alive < self._catching_up
        quality = batch.quality or [GOOD] * len(batch)
        past, news = [], []
        for row, (i, *reading) in enumerate(zip(batch.signal, batch.time, batch.value, quality, strict=True)):
            known = self._now.get(i)
            if missed and known is not None and reading[0] < known[0]:  # type: ignore[operator]  # times
                if self._then.pop(i, None) != reading:
                    past.append(row)
                continue
            self._now.pop(i, None)
            if reading != known:
                news.append(row)
        if len(news) == len(batch):
            return [batch]
        return [*_rows(batch, past, historical=True), *_rows(batch, news, historical=False)]

    def _note(self, batch: Batch, codes: Sequence[int], troubles: Mapping[int, str]) -> None:
        """Log once what is wrong with a signal until somebody changes something; and note nodes that have gone."""
        for i, code, quality in zip(batch.signal, codes, batch.quality or [GOOD] * len(batch), strict=True):
            handle = self._known.handle_of[i]
            if quality in _NO_NODE:
                self._missing.add(handle)
            lasting = (
                handle in self._missing or quality == WRONG_TYPE or (quality in _UNREADABLE and (code or i in troubles))
            )
            trouble = quality if lasting else GOOD
            if trouble != self._told.get(i, GOOD):
                self._tell(i, trouble, troubles.get(i) or decode.unsupported(code))

    def _tell(self, signal: int, trouble: int, what: str) -> None:
        name = f"{self._path.machine}/{self.header.signals[signal].name}"
        if not trouble:
            del self._told[signal]
            _log.info("%s: is there again", name)
            return
        self._told[signal] = trouble
        why = _EXPLAINED.get(trouble, "the server will not report it").format(what=what, type=self._known.types[signal])
        settings = self._settings[signal]
        _log.warning("%s (%s): %s (%s)", name, settings.node or settings.path, why, quality_text(trouble))

    def _names(self, items: Sequence[Item]) -> str:
        """For people: the first one of them by name."""
        first = self.header.signals[self._targets[items[0].handle].signals[0]].name
        return f"{self._path.machine}/{first}" + (f" and {len(items) - 1} more" if len(items) > 1 else "")


def _rows(batch: Batch, rows: Sequence[int], historical: bool) -> list[Batch]:
    """These rows of a batch, where there are any."""
    if not rows:
        return []
    quality = batch.quality
    return [
        Batch(
            batch.header,
            [batch.signal[row] for row in rows],
            [batch.time[row] for row in rows],
            [batch.value[row] for row in rows],
            None if quality is None else [quality[row] for row in rows],
            historical,
        )
    ]
