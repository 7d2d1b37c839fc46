"""An OPC UA server that says once more what a machine said, when it said it, and is away when it was away.

    recording ─ plan (plan.py) ─▶ a life (life.py): nodes, with the values they begin with
        └─ happenings (recorded.py), each at its time ─▶ values, events, lines that are cut, another life
                                                          └─▶ Ledger: what the machines of the configuration served

Time stamps are moved, so that the time of the recording is now: whoever replays a machine into a gateway wants to see it
run, and with stamps of last week it would be stale, raise no alarm, and be stored over what last week really was. They
can be kept, to compare what arrives with what was recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from adapters.opcua.config import OpcuaConnection
from gateway.recording import Entry
from simulators.machine import Replaying, netloc, reached_at
from simulators.opcua.offer import Offer
from simulators.opcua.replay.events import readings
from simulators.opcua.replay.life import ReplayedLife
from simulators.opcua.replay.plan import NO_NODE, Outage, one_life, plan
from simulators.opcua.replay.refusals import Refusals
from simulators.opcua.replay.services import NAMESPACES, VALUE, Event, Happening, Services, Value
from simulators.opcua.replay.signals import Signals
from simulators.opcua.replay.values import Cell, Times, nanoseconds, variant_of
from simulators.opcua.replay.wire import Told

_AT_ONCE = 200  # happenings without a break
_SHORTEST = 10**9  # ns of a round

_log = logging.getLogger(__name__)


class _Part:
    """Entries up to some seconds into the recording; can be gone through more than once."""

    def __init__(self, entries: Iterable[Entry], end: float) -> None:
        self._entries, self._end = entries, end * 1e9

    def __iter__(self) -> Iterator[Entry]:
        return takewhile(lambda entry: entry.at < self._end, self._entries)


class _Mark(NamedTuple):
    """Where an outage begins or ends."""

    at: int
    ends: bool
    outage: Outage


class ReplayedServer:
    """Fulfils `simulators.machine.Server`."""

    def __init__(self, replaying: Replaying) -> None:
        self._replaying = replaying
        self._connection = connection_of(replaying)
        self._offer = Offer(self._connection, replaying.name, replaying.keep)
        self._begin = round(replaying.begin * 1e9)
        self._entries: Iterable[Entry] = (
            replaying.entries if replaying.end is None else _Part(replaying.entries, replaying.end)
        )
        self._plan = plan(self._entries, self._begin, ideal=replaying.ideal)
        self._length = max(self._plan.end, _SHORTEST)
        self._refusals = Refusals(self._plan.refused, self._now)
        self._refusals.begin(self._begin)
        self._start = replaying.clock.now()  # ns since 1970
        self._round = 0
        self._life: ReplayedLife | None = None
        self._number = -1  # of the life
        self._fresh = False  # it has not listened yet
        self._port = self._connection.port if replaying.port is None else replaying.port
        self._playing: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> Mapping[str, object]:
        return {"url": urlsplit(self._connection.url)._replace(netloc=self.place).geturl()}

    @property
    def place(self) -> str:
        return netloc(reached_at(self._replaying.host), self._port)

    @property
    def about(self) -> str:
        """What is in the recording, for people."""
        variables = sum(1 for id, node in self._plan.lives[0].nodes.items() if id.NamespaceIndex and node.value)
        more = {
            "outages": len(self._plan.outages),
            "restarts with other namespaces": len(self._plan.lives) - 1,
            "services refused or not answered": len(self._plan.refused),
            "stretches left out": self._plan.left_out,
            "entries that make no sense": self._plan.unreadable,
        }
        return ", ".join([f"{variables} variables", *(f"{count} {what}" for what, count in more.items() if count)])

    @property
    def empty(self) -> str:
        """Why there is nothing to play back; empty where there is."""
        there = any(node.there for life in self._plan.lives for node in life.nodes.values())
        return "" if there else "there is no answer in it, so there is nothing to play back"

    @property
    def length(self) -> float:
        """Seconds."""
        return self._plan.end / 1e9

    @property
    def over(self) -> bool:
        """Everything was said; the last values stay."""
        return self._playing is not None and self._playing.done()

    async def start(self) -> None:
        """Build the first life and listen. Raises OSError where the port cannot be had."""
        await self._become(self._plan.life_at(self._begin))
        assert self._life
        self._start = self._replaying.clock.now()
        await self._listen()
        self._port = self._life.port
        self._replaying.left_out.update(self._life.unserved())
        if any(each.begin <= self._begin < (each.end or self._length) for each in self._plan.outages):
            await self._life.cut(forget=False)
        self._playing = asyncio.create_task(self._play(), name=f"opcua replay[{self._replaying.name}]")

    async def stop(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)  # what it has failed of was logged
        if self._life is not None:
            await self._life.stop()
            self._life = None
        self._offer.close()

    # --- time ------------------------------------------------------------------------------------------------------------

    def _wall(self, at: int) -> int:
        """When this time of the recording is, in this round; ns since 1970."""
        passed = self._round * self._length + at - self._begin
        return self._start + round(passed / self._replaying.speed)

    def _now(self) -> int:
        """ns into the recording, in this round."""
        passed = (self._replaying.clock.now() - self._start) * self._replaying.speed
        return round(passed) - self._round * self._length + self._begin

    @property
    def _times(self) -> Times:
        replaying = self._replaying
        kept = replaying.stamps == "recorded"
        return Times(replaying.head.started, self._wall(0), replaying.speed, kept, again=self._round > 0)

    async def _until(self, at: int) -> None:
        wait = (self._wall(at) - self._replaying.clock.now()) / 1e9
        if wait > 0:
            await asyncio.sleep(wait)

    # --- lives -----------------------------------------------------------------------------------------------------------

    async def _become(self, number: int) -> None:
        """Begin this life, without listening yet."""
        replaying, before = self._replaying, self._life
        if before is not None:
            await before.stop()
        life = self._plan.lives[number]
        signals = Signals(replaying.configuration, replaying.machines, life.uris)
        folder = next(iter([*replaying.machines, *replaying.head.machines]), replaying.name)
        self._life, self._number = ReplayedLife(life, signals, folder, replaying.clock.now), number
        await self._life.build(self._offer, (replaying.host, self._port), self._times, background=before is not None)
        self._life.remember(lambda: self._times, self._remembered)
        self._fresh = True

    async def _listen(self) -> None:
        """Let clients in. The values to begin with are none of later than now."""
        assert self._life
        if self._fresh:
            self._fresh = False
            self._move_stamps()
        await self._life.listen(self._refusals)

    def _move_stamps(self) -> None:
        assert self._life
        times, now = self._times, self._replaying.clock.now()
        for id, cell in self._life.cells.items():
            cell.begin(times, now)
            self._write_down(id, cell)

    # --- what happens ----------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        try:
            await self._play_round(self._begin)
            while self._replaying.loop:
                await self._until(self._length)
                self._round += 1
                await self._begin_again()
                await self._play_round(0)
        except Exception:
            _log.exception("%s: the replayed values stand still from now on", self._replaying.name)
            raise

    async def _begin_again(self) -> None:
        """The first life, as it began."""
        self._refusals.begin(0)
        first = self._plan.life_at(0)
        if self._number != first:
            await self._become(first)
        assert self._life
        for id, node in self._plan.lives[first].nodes.items():
            if node.first is not None and id != NAMESPACES:
                await self._put(Value(0, id, VALUE, node.first))
        if not any(each.begin <= 0 < (each.end or self._length) for each in self._plan.outages):
            await self._listen()

    async def _play_round(self, begin: int) -> None:
        assert self._life
        marks = deque(mark for mark in _marks(self._plan.outages) if mark.at > begin)
        passed = 0
        for happening in self._happenings():
            while marks and marks[0].at <= happening.at:
                await self._pass(marks.popleft())
            passed += 1
            if passed % _AT_ONCE == 0:
                await asyncio.sleep(0)  # clients want an answer meanwhile
            if happening.at <= begin and isinstance(happening, Event):
                self._life.retain(happening, self._times, self._round)
            if happening.at <= begin or not isinstance(happening, (Value, Event)):
                continue
            await self._until(happening.at)
            if isinstance(happening, Event):
                await self._raise(happening)
            elif happening.attribute == VALUE and happening.node != NAMESPACES:
                await self._put(happening)
        for mark in marks:
            await self._pass(mark)

    def _happenings(self) -> Iterator[Happening]:
        services = Services()
        found = services.happenings(self._entries)
        return one_life(found, services) if self._replaying.ideal else found

    async def _pass(self, mark: _Mark) -> None:
        await self._until(mark.at)
        assert self._life
        outage = mark.outage
        if mark.ends:
            await self._listen()
            return
        for machine in self._replaying.machines:
            self._replaying.ledger.happened(self._wall(mark.at), "fault", machine=machine, kind="unreachable")
        await self._life.cut(forget=outage.forgotten)
        if outage.end is not None and outage.life != self._number:
            await self._become(outage.life)

    async def _put(self, value: Value) -> None:
        assert self._life
        cell = await self._life.put(value, self._times)
        if cell is not None and not self._fresh:
            self._write_down(value.node, cell)

    async def _raise(self, event: Event) -> None:
        assert self._life
        for node, raised in (await self._life.raise_event(event, self._times, self._round)).items():
            for listener in self._life.signals.listening(node):
                if found := readings(raised, listener):
                    when = raised.time or self._replaying.clock.now()
                    self._replaying.ledger.served(listener.machine, when, found)

    # --- what is written down --------------------------------------------------------------------------------------------

    def _write_down(self, node: Any, cell: Cell) -> None:
        if cell.status not in NO_NODE:
            self._served(node, cell.shown, lambda: cell.value)

    def _remembered(self, node: Any, told: Iterable[Told]) -> None:
        for each in told:
            self._served(node, each, lambda each=each: variant_of(each.variant).Value)

    def _served(self, node: Any, told: Told, value: Any) -> None:
        assert self._life
        found = self._life.signals.readings(node, value, told.code)
        if found is None:
            return
        when = nanoseconds(told.source) or nanoseconds(told.server) or self._replaying.clock.now()
        values, quality = found
        for machine, column in values.items():
            self._replaying.ledger.served(machine, when, column, quality.get(machine))


def connection_of(replaying: Replaying) -> OpcuaConnection:
    """What the recorded server was reached by; a plain one where nobody knows."""
    if configuration := replaying.configuration:
        machines = [configuration.machines[name].connection for name in replaying.machines]
        for name in (replaying.head.connection, *machines):
            if isinstance(known := configuration.connections.get(name), OpcuaConnection):
                return known
    return OpcuaConnection.model_validate({"protocol": "opcua", "url": "opc.tcp://127.0.0.1:4840", "security": "None"})


def _marks(outages: Sequence[Outage]) -> list[_Mark]:
    begins = [_Mark(each.begin, False, each) for each in outages]
    ends = [_Mark(each.end, True, each) for each in outages if each.end is not None]
    return sorted([*begins, *ends], key=lambda mark: mark[:2])
