"""Keeps one connection read: connect, read, normalize, hand on; and says how its machines are.

connect ──▶ read ─▶ plan ─▶ sink
   ▲          │
   └─ pause ◀─┴ NotConnectedError: every signal bad, once; any other error: logged, counted, built anew
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.adapter import Adapter
from gateway.clock import Clock
from gateway.config import MachineSettings
from gateway.counters import FlowCounters, MachineCounters
from gateway.errors import NotConnectedError
from gateway.faults import Reason, fault_of, fault_of_quality, tagged
from gateway.model import NOT_CONNECTED, Batch, Gap, Header, MachinePath, ValueType, quality_text
from gateway.mqtt.payload import State
from gateway.normalizer import Plan
from gateway.schedule import Backoff

log = logging.getLogger(__name__)

CONNECTING = "connecting"
NOT_READ = "not read yet"
LASTING = 5.0  # seconds after which a connection counts as a success
FULL = 0.5  # seconds between two looks whether there is room again
CLOSING = 5.0  # seconds an adapter may take to say good-bye


class Sink(Protocol):
    """Where a poller hands things on to."""

    @property
    def full(self) -> bool:
        """Nothing more is wanted for the moment: machines are left alone."""

    def accept(self, batch: Batch) -> None:
        """Readings, as they leave."""

    def lost(self, gap: Gap) -> None:
        """Readings that a machine had, and that never came this far."""

    def show(self, batch: Batch) -> None:
        """Readings, also those that say nothing new."""

    def types(self, path: MachinePath) -> Mapping[str, ValueType]:
        """The types that the signals of a machine have had when they left."""

    def refuse(self, path: MachinePath, types: Mapping[str, ValueType]) -> None:
        """Signals that have another type now and cannot be sent: none, as a rule."""

    def announce(self, header: Header) -> None:
        """The signals of a machine: once before its first readings, and again if their types were learnt."""

    def state(self, path: MachinePath, state: State, since: int, reason: str) -> None:
        """A machine changed its state."""


@dataclass(slots=True)
class _Machine:
    """One machine behind the connection."""

    settings: MachineSettings
    raw: Header  # as the adapter made it
    plan: Plan
    state: State = "offline"
    since: int = 0
    reason: str = NOT_READ


@dataclass(slots=True)
class Poller:
    """Reads one connection for ever. `build` makes a new adapter, at the start and after an error nobody expected."""

    name: str
    build: Callable[[], Adapter]
    settings: Mapping[str, MachineSettings]
    sink: Sink
    clock: Clock
    counters: FlowCounters
    backoff: Backoff = field(default_factory=Backoff)
    reason: str = CONNECTING  # why it does not deliver; empty while it does
    remembered: Mapping[str, Any] = field(default_factory=dict)  # of the plan of each machine, from an earlier life
    noted: list[int] = field(default_factory=lambda: [0])  # one number: how many times a count began anew
    turns: int = 0  # attempts to connect, and reads that came to an end: it is not stuck while they go on
    _adapter: Adapter | None = None
    _connected_at: float = 0.0  # monotonic: its first answer; 0: none yet
    _machines: dict[Header, _Machine] = field(default_factory=dict)
    _by_name: dict[str, _Machine] = field(default_factory=dict)
    _unexpected: str = ""  # the last error nobody expected
    _inherited: Mapping[str, _Machine] = field(default_factory=dict)  # machines of pollers that ended for this one

    def make(self) -> None:
        """Make the adapter, and nothing else yet. Raises PartMissingError, and whatever an adapter refuses to be made with."""
        self._adapter = self.build()

    def inherit(self, ended: Iterable[Poller]) -> None:
        """Go on where these ended: their machines are known here, whatever their settings are now. Before prepare()."""
        self._inherited = {name: machine for poller in ended for name, machine in poller._by_name.items()}

    def prepare(self) -> None:
        """Make the adapter and show its machines, before anything is connected. Raises PartMissingError."""
        if self._adapter is None:
            self.make()
        assert self._adapter is not None
        self._learn(self._adapter.headers)
        self._inherited = {}

    async def run(self) -> None:
        """For ever, after prepare(). Whatever goes wrong here stays here."""
        while True:
            try:
                if self._adapter is None:
                    self.prepare()
                assert self._adapter is not None
                await self._keep_reading(self._adapter)
            except Exception as exc:
                # With its way here once: it may come again with every try.
                again, self._unexpected = repr(exc) == self._unexpected, repr(exc)
                log.error(
                    "%s: unexpected error; the connection is built anew: %s",
                    self.name, type(exc).__name__, exc_info=None if again else exc,
                )  # fmt: skip
                self._try(self._lost, Reason("an unexpected error, see the log", "unexpected-error"))
            finally:
                self._flush()
                adapter, self._adapter = self._adapter, None
                if adapter is not None:
                    await self._close(adapter)
            await asyncio.sleep(self.backoff.pause())

    def watch(self) -> None:
        """To be called about twice a second: what has gone stale."""
        now, now_ns = self.clock.monotonic(), self.clock.now()
        for machine in self._by_name.values():
            self._mark(machine, machine.plan.stale(now, now_ns))
            self._mark(machine, machine.plan.beat(now, now_ns))

    async def _keep_reading(self, adapter: Adapter) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                self.turns += 1
                await adapter.connect()
                self._learn(adapter.headers)
                self._connected_at = 0.0
                while True:
                    if self.sink.full:
                        await self._wait_for_room()
                    self.turns += 1
                    self._take(await adapter.read())
                    if task.cancelling():  # swallowed on the way: wait_for on 3.11, when an answer comes at that moment
                        raise asyncio.CancelledError
            except NotConnectedError as exc:
                self._lost(Reason(str(exc), exc.fault or "not-connected"))
                await asyncio.sleep(self.backoff.pause())

    async def _wait_for_room(self) -> None:
        """Machines are not read while there is no room for what they say; what they say meanwhile is a gap."""
        log.warning("%s: not read any more: the buffer is full", self.name)
        start = self.clock.now()
        try:
            while self.sink.full:
                self.turns += 1
                await asyncio.sleep(FULL)
            log.warning("%s: read again", self.name)
        finally:
            for machine in self._by_name.values():
                self.sink.lost(Gap(machine.plan.header, (), start, self.clock.now(), 0, "buffer-full: not read"))

    async def _close(self, adapter: Adapter) -> None:
        """To be told once more to stop is no reason to leave without a good-bye: a session would stay at the machine."""
        closing = asyncio.create_task(self._say_good_bye(adapter), name=f"close[{self.name}]")
        while not closing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([closing])
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError

    async def _say_good_bye(self, adapter: Adapter) -> None:
        try:
            async with asyncio.timeout(CLOSING):
                left = await adapter.close()
            for part in left or ():
                if isinstance(part, Gap):
                    self.sink.lost(part)
                elif part.historical and len(part):
                    self._remember(part)
        except Exception:
            log.exception("%s: error while closing", self.name)

    def _try(self, step: Callable[[str], None], reason: str) -> None:
        try:
            step(reason)
        except Exception:
            log.exception("%s: nor can it be handed on that the connection is lost", self.name)

    # --- what arrives ------------------------------------------------------------------------------------------------

    def _learn(self, headers: Sequence[Header]) -> None:
        """A plan for every header; those that did not change keep theirs, and with it what was sent last."""
        for header in headers:
            if header in self._machines:
                continue
            name = header.path.machine
            before = self._by_name.get(name)
            if before is not None:
                del self._machines[before.raw]
                if before.plan.follow(header):
                    before.raw = header
                    self._machines[header] = before
                    continue
            settings = self.settings[name]
            machine = _Machine(
                settings, header, Plan(header, settings.signals, self.sink.types(header.path), self.noted)
            )
            ended = self._inherited.get(name)
            # Also beside a former plan: a count that it had not may have been there before.
            self._load(machine.plan, name, self.remembered.get(name, {}))
            if (former := before or ended) is not None:
                if before is not None:
                    self._flush_plan(before.plan)
                machine.plan.take_over(former.plan)
                machine.state, machine.since, machine.reason = former.state, former.since, former.reason
            self._machines[header] = self._by_name[name] = machine
            self.sink.refuse(header.path, machine.plan.refused)
            self.sink.announce(machine.plan.header)
            if former is None:
                self._set_state(machine, "offline", machine.reason)
            elif former is ended:  # its status is on the board and at the broker, unless it stands in another place now
                self.sink.state(header.path, machine.state, machine.since, machine.reason)

    def _load(self, plan: Plan, name: str, saved: Mapping[str, Any]) -> None:
        for signal in plan.load(saved):
            log.warning(
                "%s/%s: what was remembered of it cannot be used: it begins with what the machine shows", name, signal
            )

    def state_of(self, machine: str) -> State:
        """How one of its machines is."""
        return self._by_name[machine].state

    def reason_of(self, machine: str) -> str:
        """Why it is not online."""
        return self._by_name[machine].reason

    @property
    def plans(self) -> Mapping[str, Plan]:
        """Those in force, by machine."""
        return {name: machine.plan for name, machine in self._by_name.items()}

    def _take(self, arrived: Sequence[Batch | Gap]) -> None:
        now, now_ns = self.clock.monotonic(), self.clock.now()
        if not self._connected_at:
            self._connected_at = now
        elif self.backoff.attempts and now - self._connected_at > LASTING:
            # One that answers once and goes away again must not be hammered: only what lasts starts afresh.
            self.backoff.reset()
        if self.reason:
            log.info("%s: connected", self.name)
            self.reason = ""
            for machine in self._by_name.values():
                machine.plan.forget()
                if not machine.plan.lasting:  # events hold for no time, so that nothing else tells that it is there
                    self._set_state(machine, "online", "")
        if not arrived:  # a subscription that only keeps alive: nothing is stale
            for machine in self._by_name.values():
                machine.plan.alive(now)
        for batch in arrived:
            if isinstance(batch, Gap):
                self.sink.lost(batch)
                continue
            if not len(batch):
                continue
            if batch.historical:
                self._remember(batch)
                continue
            machine = self._machines[batch.header]
            counters = self._count(batch)
            news = machine.plan.apply(batch, now, now_ns)
            if machine.plan.seen is not None:
                self.sink.show(machine.plan.seen)
            counters.suppressed += len(batch) - (0 if news is None else len(news))
            if news is not None:
                self._hand_on(machine, news)

    def _remember(self, batch: Batch) -> None:
        """What was: it changes nothing that is."""
        self._count(batch)
        self.sink.accept(self._machines[batch.header].plan.past(batch))

    def _count(self, batch: Batch) -> MachineCounters:
        counters = self.counters.of(batch.header.path.machine)
        counters.polls += 1
        counters.read += len(batch)
        if batch.quality is not None:
            counters.bad += batch.value.count(None)
        return counters

    def _lost(self, reason: str) -> None:
        """The link is gone: said once in the log, and once in every signal."""
        if reason != self.reason:
            log.warning("%s: %s", self.name, tagged(reason), extra={"connection": self.name, "fault": fault_of(reason)})
        if not self.reason:
            for name in self._by_name:
                self.counters.of(name).reconnects += 1
        self.reason = reason
        now, now_ns = self.clock.monotonic(), self.clock.now()
        for machine in self._by_name.values():
            self._mark(machine, machine.plan.lost(NOT_CONNECTED, now, now_ns))
            self._set_state(machine, "offline", reason)

    def _mark(self, machine: _Machine, batch: Batch | None) -> None:
        """Readings that the gateway made itself."""
        if batch is not None:
            counters, seen = self.counters.of(machine.raw.path.machine), machine.plan.seen
            assert seen is not None
            counters.marks += len(seen)
            counters.suppressed -= len(batch) - len(seen)  # held back by swinging doors until now
            self.sink.show(seen)
            self._hand_on(machine, batch)

    def _flush(self) -> None:
        """At the end: what swinging doors hold back."""
        for machine in self._by_name.values():
            self._flush_plan(machine.plan)

    def _flush_plan(self, plan: Plan) -> None:
        if (held := plan.flush()) is not None:
            self.counters.of(plan.header.path.machine).suppressed -= len(held)
            self.sink.accept(held)

    def _hand_on(self, machine: _Machine, batch: Batch) -> None:
        self.sink.accept(batch)
        bad = machine.plan.bad
        if not bad:
            self._set_state(machine, "online", "")
            return
        (quality, count), total = Counter(bad.values()).most_common(1)[0], machine.plan.lasting
        text = quality_text(quality)
        fault = fault_of_quality(text)
        if len(bad) == total:
            self._set_state(machine, "offline", self.reason or Reason(f"every signal is {text}", fault))
        else:
            self._set_state(
                machine, "degraded", Reason(f"{len(bad)} of {total} signals are bad, {count} {text}", fault)
            )

    def _set_state(self, machine: _Machine, state: State, reason: str) -> None:
        if machine.since and (state, reason) == (machine.state, machine.reason):
            return
        if state != machine.state or not machine.since:
            machine.since = self.clock.now()
        machine.state, machine.reason = state, reason
        self.sink.state(machine.raw.path, state, machine.since, reason)
