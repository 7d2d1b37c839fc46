"""One machine behind a connection: what is known of its signals, and what it has in the current session.

    Session ─ values, notifications ─▶ Machine ─▶ batches and gaps
                                         ├ Watch      what is reported, polled or missing in this session
                                         ├ Knowledge  types, units, texts: how values are read
                                         └ Missed     what never came

All values are read when a session begins or is taken over. What is also reported then is left out; what is older than
that, and was missed, is historical.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from adapters.opcua import decode
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.events import Stream
from adapters.opcua.history import Backfill
from adapters.opcua.items import Notification
from adapters.opcua.knowledge import Knowledge
from adapters.opcua.missed import Missed
from adapters.opcua.session import Session
from adapters.opcua.targets import publishing, targets
from adapters.opcua.watch import NO_NODE, Watch
from adapters.opcua.wire import Event, Values
from gateway.clock import Clock
from gateway.counters import MachineCounters
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

_CATCHING_UP = 10_000_000_000  # ns for which a server may still send what was read already, or was before that
_UNREADABLE = (CONFIG_ERROR, INVALID_DATA)

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
        self.outdated = False  # the values have to be read anew: notifications were lost, or could not be understood
        self._path, self._connection, self._counters = path, connection, counters
        self._missed = Missed(connection.history)
        self._settings = list(settings.signals.values())
        self._targets = {target.handle: target for target in targets(connection, settings)}
        self._known = Knowledge(path, settings, self._targets)
        self._watch = Watch(path.machine, self._targets, publishing(connection, settings))
        self._now: dict[int, list[Value]] = {}  # signal -> what was read, to be recognised when it is also reported
        self._then: dict[int, list[Value]] = {}  # the same before the line was lost
        self._behind = False  # what is older than `_now` was missed
        self._resumed_at = 0  # ns: when the session was taken over last
        self._known_until = 0  # ns: after that `_now` and `_then` are of no use
        self._polled_at: dict[int, int] = {}  # handle -> time stamp of its last value
        self._streams = {
            target.handle: Stream(target.signals, target.severity)
            for target in self._targets.values()
            if target.severity is not None
        }
        self._stamps = decode.Stamps()
        self._told: dict[int, int] = {}  # signal -> trouble that was logged

    @property
    def header(self) -> Header:
        return self._known.header

    @property
    def subscription(self) -> int:
        """Its id in the current session; 0: there is none."""
        return self._watch.subscription

    @property
    def polls(self) -> Mapping[float, Sequence[int]]:
        """What is polled: the period in seconds, and the handles that are read together."""
        return self._watch.polls

    @property
    def incomplete(self) -> bool:
        """Whether there are nodes to be looked for again."""
        return bool(self._watch.missing)

    # --- set-up ----------------------------------------------------------------------------------------------------

    async def start(self, session: Session, clock: Clock) -> Arrived:
        """Begin a session: learn what is not known yet, subscribe. All values as they are now."""
        self._watch = self._watch.anew()
        self._known.forget_session()
        for column in (self._now, self._then, self._polled_at):
            column.clear()
        self._behind, self._resumed_at = False, 0
        values = await self._look(session, [handle for handle in self._targets if handle not in self._streams])
        await self._watch.events(session, self._streams)
        if session.profile.first_read_is_bad:  # what is reported will tell
            rows = enumerate(zip(values.signal, values.status, strict=True))
            values = values.only([row for row, (h, status) in rows if not (is_bad(status) and h in self._watch.items)])
        current = self._current(values, clock.now())
        listening = clock.now()  # what changed after the values were read, and before, nobody was told
        gaps = await self._look_back(session, current, listening)
        if self.subscription:
            self._missed.began(listening)
        return (*current, *gaps)

    async def _look_back(self, session: Session, current: Sequence[Batch], now: int) -> list[Gap]:
        """What is missing since the last session; what the server remembers of it is fetched."""
        items = self._watch.items
        nodes = {handle: self._watch.nodes[handle] for handle in items if handle < len(self._settings)}
        remembering = {}
        if nodes and self._connection.history:
            keeps = await session.keeps_history(list(nodes.values()))
            remembering = {i: node for (i, node), kept in zip(nodes.items(), keeps, strict=True) if kept}
        first = dict(pair for batch in current for pair in zip(batch.signal, batch.time, strict=True))
        signals = [i for handle in items for i in self._targets[handle].signals]
        gaps = self._missed.outage(self.header, now, sorted(signals), remembering, first)
        self._missed.delivered(first.keys(), first.values())
        return gaps

    async def taken_over(self, session: Session, clock: Clock, anew: bool) -> Arrived:
        """Go on over another line, or (`anew`) in another session with the same subscriptions."""
        if anew:
            await self._watch.register(session, list(self._watch.polled))
        self._watch.excuse(session)
        current = await self.resumed(session, clock)
        self._resumed_at = clock.now()
        kept = [i for handle in self._watch.single for i in self._targets[handle].signals]
        return (*current, *self._missed.overwritten(self.header, sorted(kept), clock.now()))

    async def resumed(self, session: Session, clock: Clock) -> Arrived:
        """All values as they are now, in a session of which something was missed; what the server kept comes after."""
        await self._known.learn_more(session)
        self.outdated = False
        values = await self._watch.read(session, [h for h in self._watch.nodes if h not in self._streams])
        self._counters.requests += 1
        self._then, self._behind = {**self._then, **self._now}, True
        if self._streams:
            await session.refresh_conditions(self.subscription)
        return self._current(values, clock.now())

    async def look_again(self, session: Session, clock: Clock) -> Arrived:
        """Look for the nodes that are missing, in the same session. The values of those that are there now, and news of others."""
        missing = self._watch.missing
        events, handles = (sorted(missing & self._streams.keys()), sorted(missing - self._streams.keys()))
        values = await self._look(session, handles)
        await self._watch.events(session, events)
        news = [
            row
            for row, (handle, status) in enumerate(zip(values.signal, values.status, strict=True))
            if handle not in self._watch.missing or self._told.get(self._targets[handle].signals[0]) != status
        ]
        return self._current(values.only(news), clock.now()) if news else ()

    async def _look(self, session: Session, handles: Sequence[int]) -> Values:
        """The values of these targets; what is not known of them yet is learnt, and they are watched from now on."""
        watch = self._watch
        there, values = await watch.look(session, handles)
        self._counters.requests += 1
        await self._known.learn(session, there, values)
        found = set(values.signal)
        for handle in handles:
            if handle not in found:
                values.add(handle, 0, None, NODE_UNKNOWN, 0)
        await watch.monitor(session, values, handles)
        times = dict(zip(values.signal, values.time, strict=True))
        self._polled_at.update((handle, times[handle]) for handle in handles if handle in watch.polled)
        return values

    # --- running ---------------------------------------------------------------------------------------------------

    async def poll(self, session: Session, handles: Sequence[int], clock: Clock) -> Arrived:
        """Read these targets."""
        values = await self._watch.read(session, handles)
        self._counters.requests += 1
        now = clock.now()
        for row, (handle, time) in enumerate(zip(handles, values.time, strict=True)):
            # An unchanged value keeps its source time stamp; that it is still so was seen now.
            if time and self._polled_at.get(handle) == time:
                values.time[row] = 0
            self._polled_at[handle] = time
        return (self._decode(values, now),)

    async def give_up(self, session: Session) -> bool:
        """Poll what the server was to report and never does. Whether there was any."""
        return await self._watch.give_up(session)

    def arrived(self, notification: Notification) -> Arrived:
        """What is in a notification; nothing if it only kept the subscription alive."""
        self._counters.requests += 1
        missed, arrival = self._missed, notification.arrival
        before = missed.alive
        if not notification.again:  # else what was sent after it may still be to come
            missed.heard(arrival, notification.time)
        found: list[Batch | Gap] = []
        if notification.missing:
            self.outdated = True
            cause = f"notifications-lost: {notification.missing} never came, and the server does not keep them"
            found.append(Gap(self.header, (), before, arrival, 0, cause))
        if notification.values is not None:
            values = notification.values
            self._watch.heard(values.signal)
            if any(values.status) and (handles := decode.overflowed(values)):
                self._counters.overflows += len(handles)
                missed.overflowed((i for handle in handles for i in self._targets[handle].signals), before, arrival)
            if len(batch := self._decode(values, arrival)):
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

    def last_words(self, now: int) -> list[Gap]:
        """What was to be declared later; and what the server has kept since the line was lost, if it is not waited for."""
        gaps, alive = self._missed.overflows(self.header, self._missed.alive, last=True), self._missed.alive
        if self.subscription and 0 < alive < self._resumed_at:
            cause = "link-lost: the gateway stopped before what the server had kept came"
            gaps.append(Gap(self.header, (), alive, now, 0, cause))
        return gaps

    # --- history -----------------------------------------------------------------------------------------------------

    @property
    def backfill(self) -> Backfill | None:
        """What is being fetched from the history of the server."""
        return self._missed.backfill

    def remembered(self, values: Values, now: int) -> Batch:
        """A page of it."""
        batch = decode.batch(self.header, self._known.types, values, now)
        return replace(decode.Stamps().apart(batch), historical=True)

    def filled(self) -> Arrived:
        """It is all there is."""
        return self._missed.filled(self.header)

    # --- from values to readings -------------------------------------------------------------------------------------

    def _current(self, values: Values, now: int) -> Sequence[Batch]:
        """Values that were read, as the ones that are true now."""
        batch = self._decode(values, now)
        quality = batch.quality or [GOOD] * len(batch)
        for i, *reading in zip(batch.signal, batch.time, batch.value, quality, strict=True):
            if self._known.handle_of[i] in self._watch.items:
                self._now[i] = reading
        self._known_until = now + _CATCHING_UP
        return (batch,) if len(batch) else ()

    def _decode(self, values: Values, arrival: int) -> Batch:
        values, troubles = self._known.rows(values)
        if troubles and self._known.curious:
            self.outdated = True
        batch = decode.batch(self.header, self._known.types, values, arrival)
        if batch.quality is not None or not self._told.keys().isdisjoint(batch.signal):
            self._note(batch, values.type, troubles)
        return self._stamps.apart(batch)

    def _without_known(self, batch: Batch) -> list[Batch]:
        """Leave out what reading at the start of the session already brought; what was missed before it is history."""
        if self._missed.alive >= self._known_until:
            self._now.clear()
            self._then.clear()
        quality = batch.quality or [GOOD] * len(batch)
        past, news = [], []
        for row, (i, *reading) in enumerate(zip(batch.signal, batch.time, batch.value, quality, strict=True)):
            known = self._now.get(i)
            if self._behind and known is not None and reading[0] < known[0]:  # type: ignore[operator]  # times
                if self._then.pop(i, None) != reading:
                    past.append(row)
                continue
            self._now.pop(i, None)
            if reading != known:
                news.append(row)
            elif self._behind and self._then.pop(i, None) != reading:
                # A change just before the loss of the line was noticed: it left as what holds since then, not as of its time.
                past.append(row)
        if len(news) == len(batch):
            return [batch]
        return [*_rows(batch, past, historical=True), *_rows(batch, news, historical=False)]

    def _note(self, batch: Batch, codes: Sequence[int], troubles: Mapping[int, str]) -> None:
        """Log once what is wrong with a signal until somebody changes something; and note nodes that have gone."""
        for i, code, quality in zip(batch.signal, codes, batch.quality or [GOOD] * len(batch), strict=True):
            handle = self._known.handle_of[i]
            if quality in NO_NODE:
                self._watch.missing.add(handle)
            lasting = (
                handle in self._watch.missing
                or quality == WRONG_TYPE
                or (quality in _UNREADABLE and (code or i in troubles))
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
