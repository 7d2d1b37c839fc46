"""The edge: from the machines to the broker.

pollers ─ Batch ─▶ Edge ─ payload ─▶ buffer ─▶ publisher ─▶ broker
                    └──▶ board (what the status page shows)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os.path import commonpath
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.adapter import Context
from gateway.buffer import Disk, Limits, SegmentLog
from gateway.buffer.committer import Committer
from gateway.buffer.reduce import Step, shed, thin
from gateway.clock import Clock, TrackedClock
from gateway.config import Configuration
from gateway.counters import FlowCounters
from gateway.errors import PayloadError
from gateway.model import Batch, Gap, Header, MachinePath, ValueType
from gateway.mqtt.link import Link, Will
from gateway.mqtt.payload import DataEncoder, Frame, Loss, State, decode_data, encode_loss, encode_meta, encode_status
from gateway.mqtt.topics import Topics
from gateway.normalizer import Plan
from gateway.publisher import Content, Publisher
from gateway.runtime.deriving import Deriving
from gateway.runtime.memory import Memory
from gateway.runtime.poller import CONNECTING, Poller
from gateway.runtime.registry import plugins
from gateway.runtime.schema import PART as SCHEMA
from gateway.runtime.schema import Schema
from gateway.web.snapshot import Board

log = logging.getLogger(__name__)

TICK = 0.5  # seconds
DRAIN = 5.0  # seconds, when stopping
CONNECTING_DRAIN = 1.0  # seconds of that for a broker that is not connected
_RANKS = {"low": 0, "normal": 1, "high": 2}
ONCE = 30.0  # seconds for reading everything once


class Edge:
    """Reads every connection of a configuration and publishes what it brings. Also the sink of its pollers."""

    def __init__(
        self,
        configuration: Configuration,
        link: Link,
        clock: Clock,
        counters: FlowCounters,
        store_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`store_reason`: what the store writer of this process says, None where there is none."""
        settings = configuration.settings
        self._store_reason = store_reason
        self._configuration, self._link, self._clock, self._counters = configuration, link, clock, counters
        self._gateway = settings.gateway.id
        self._topics = Topics(settings.mqtt.root)
        self._started = clock.now()
        self._locked: set[Header] = set()  # whose types are written down
        self.board = Board(
            gateway=self._gateway, version=__version__, delivery=settings.delivery, counters=counters,
            usage=lambda: self.buffer.usage, started_ns=self._started, started=clock.monotonic(),
        )  # fmt: skip
        self.buffer = SegmentLog(
            Disk(buffer_folder(configuration)), self._limits(), self._declare, clock, prefix=self._prefix()
        )
        self.committer = Committer(self.buffer, clock)
        self.running = asyncio.Event()  # once everything is started
        self._encode = DataEncoder(self._gateway, self.buffer.epoch)
        self._meta: dict[str, Content] = {}  # by topic, as are
        self._status: dict[str, Content] = {}
        self._data_topics: dict[Header, str] = {}  # of the headers in force
        self._refused: dict[MachinePath, dict[str, Mapping[str, ValueType]]] = {}  # by part
        self._paths: dict[str, MachinePath] = {}  # by topic of their data
        self._parts: dict[MachinePath, dict[str, Header]] = {}  # the same: the signals of a machine, and those derived
        self.publisher = Publisher(
            link, self.buffer, self._topics, self._gateway, clock, counters,
            delivery=settings.delivery, window=settings.mqtt.window, births=self._births,
            latest=self._newest, rate=settings.mqtt.backlog_rate, hold=settings.mqtt.hold_unheard,
        )  # fmt: skip
        self.buffer.on_found = self.publisher.include
        self._noted = [0]  # how many times a count began anew
        self.memory = Memory(configuration.resolve(settings.gateway.data_dir), clock)
        self.schema = Schema(self.memory.saved(SCHEMA))
        self.memory.keep(SCHEMA, self.schema.dump, lambda: self.schema.changes, every=float("inf"))
        self.deriving = Deriving(configuration, self, clock, counters, self.memory, self._noted)
        self.pollers = [self._poller(name) for name in configuration.connections if configuration.machines_of(name)]

    @staticmethod
    def will(configuration: Configuration, clock: Clock) -> Will:
        """What the broker says of this gateway when it is gone without a word."""
        gateway = configuration.settings.gateway.id
        payload = encode_status("offline", clock.now(), "the gateway is gone without a word", gateway=gateway)
        return Will(Topics(configuration.settings.mqtt.root).gateway_status(gateway), payload)

    async def run(self) -> None:
        """Until cancelled: from the broker back to the machines; and stopped from the machines forward.

        Raises PartMissingError at once where an adapter lacks its library.
        """
        for poller in self.pollers:
            poller.prepare()
        self._remember()
        await self._link.start(self.publisher)
        self.committer.start()
        tasks = [asyncio.create_task(poller.run(), name=f"poll[{poller.name}]") for poller in self.pollers]
        tasks.append(asyncio.create_task(self._watch(), name="watch"))
        self.running.set()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends by itself
        finally:
            await _end(tasks)
            self.deriving.flush()
            deadline = self._clock.monotonic() + DRAIN
            await self._drain(deadline)
            self._say_good_bye()
            await self._drain(deadline + 0.5)
            await self._link.stop()
            self.committer.before = partial(self.memory.due, all_of_it=True)
            await self.committer.close()
            self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        usage = self.buffer.usage
        if usage.records and not usage.trouble:
            log.info("%d messages are not stored yet: they are kept, and follow after the next start", usage.records)
        elif usage.records:
            log.error(
                "ended with %d messages in memory that could not be written (%s): they are lost",
                usage.unsafe, usage.trouble,
            )  # fmt: skip

    async def read_once(self, running: asyncio.Task[None]) -> None:
        """Until every machine was read, or cannot be, and everything is delivered as far as it can be."""
        deadline = self._clock.monotonic() + ONCE
        while not running.done() and self._clock.monotonic() < deadline:
            await asyncio.sleep(0.05)
            read = all(p.reason or all(self._counters.of(m).polls for m in p.settings) for p in self.pollers)
            tried = not any(p.reason == CONNECTING for p in self.pollers)
            if read and tried and (not self.publisher.busy or (self.publisher.reason and not self._link.connected)):
                return

    async def _drain(self, deadline: float) -> None:
        """Give what is on its way a moment to arrive. What does not is on the disk, and goes with the next start."""
        connecting = self._clock.monotonic() + CONNECTING_DRAIN
        while self.publisher.busy and (now := self._clock.monotonic()) < deadline:
            if not self._link.connected and now > connecting:
                return
            self.publisher.tick()
            await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        """What has gone stale, what the publisher has to do again, how broker and store are."""
        steps = [poller.watch for poller in self.pollers]
        steps += [self.deriving.tick, self.publisher.tick, self._note_links, self._note_clock]
        while True:
            for step in steps:
                try:
                    step()
                except Exception:  # one of them must not end the others
                    log.exception("unexpected error in %s", step.__qualname__)
            await asyncio.sleep(TICK)

    def _note_links(self) -> None:
        publisher, now = self.publisher, self._clock.now()
        if not publisher.connected:
            self.board.broker.set("offline", now, publisher.reason)
        else:
            self.board.broker.set("degraded" if publisher.reason else "online", now, publisher.reason)
        if self.board.delivery == "store":
            silent = publisher.unanswered
            reason = self._store_reason() or publisher.alarm
            if not reason and silent > publisher.silence:
                reason = f"has not acknowledged anything for {silent:.0f} s: is `gateway store` running?"
            if not publisher.connected:
                self.board.store.set("offline", now, "out of reach without the broker")
            elif reason:
                self.board.store.set("offline", now, reason)
            elif self.buffer.stored or self._store_reason() is not None:
                self.board.store.set("online", now)

    def _note_clock(self) -> None:
        """A clock that somebody set leaves a trace: stamps before and after it are not of one scale."""
        for step in self._clock.steps() if isinstance(self._clock, TrackedClock) else ():
            start, end = sorted((step.before, step.after))
            log.warning("clock: %s (%+.3f s)", step.cause, (step.after - step.before) / 1e9)
            self.buffer.declare(Loss(self.buffer.epoch, 0, 0, 0, start, end, f"clock: {step.cause}"))
            self.committer.wake()

    @property
    def in_a_line(self) -> str:
        """How it is, for the service manager."""
        machines = [machine.condition.state for machine in self.board.machines.values()]
        usage = self.buffer.usage
        parts = [f"{machines.count('online')} of {len(machines)} machines online", f"{usage.records} messages waiting"]
        parts += [f"broker: {self.publisher.reason}"] if self.publisher.reason else []
        parts += [f"store: {self.board.store.reason}"] if self.board.store.reason else []
        parts += [f"disk: {usage.trouble}"] if usage.trouble else []
        return "; ".join(parts)

    def _prefix(self) -> str:
        """What the topics of all machines begin with."""
        paths = [self._configuration.path_of(name) for name in self._configuration.machines]
        return commonpath([self._topics.data(path).rpartition("/")[0] for path in paths]) + "/" if paths else ""

    def _limits(self) -> Limits:
        """What the buffer may take, and how it makes room."""
        settings = self._configuration.settings.buffer
        steps: list[Step] = []
        if settings.when_full == "thin":
            steps.append(thin(settings.thin_interval, self._never_thinned))
        if settings.when_full != "stop-polling":
            ranks = {_RANKS[machine.priority] for machine in self._configuration.machines.values()}
            steps += [shed(self._rank, rank) for rank in sorted(ranks)[1:]]
        return Limits(
            settings.max_size, settings.max_age, settings.commit_interval, settings.when_full, steps, settings.min_free
        )

    def _never_thinned(self, topic: str, signal: str) -> bool:
        """Counters lose what they count; so might a signal nobody knows any more."""
        kinds = {each.name: each for header in self._at(topic) for each in header.signals}
        return signal not in kinds or kinds[signal].kind != "gauge" or bool(kinds[signal].states)

    def _rank(self, topic: str) -> int:
        for header in self._at(topic):
            return _RANKS[self._configuration.machines[header.path.machine].priority]
        return _RANKS["normal"]

    def _at(self, topic: str) -> list[Header]:
        """The headers in force at a topic of data."""
        path = self._paths.get(topic)
        return [] if path is None else list(self._parts[path].values())

    def _poller(self, name: str) -> Poller:
        configuration = self._configuration
        machines = configuration.machines_of(name)
        connection = configuration.connections[name]
        context = Context(
            name=name,
            connection=connection,
            machines={configuration.path_of(machine): settings for machine, settings in machines.items()},
            clock=self._clock,
            counters=self._counters,
            data_dir=configuration.resolve(configuration.settings.gateway.data_dir),
            gateway_id=self._gateway,
            folder=configuration.folder,
        )
        build = partial(plugins()[connection.protocol].build, context)
        return Poller(
            name, build, machines, self, self._clock, self._counters, remembered=self.memory.saved("counters"), noted=self._noted,
        )  # fmt: skip

    def _remember(self) -> None:
        """Counts go on where they were: from what was written down, and from what left after that."""
        self.deriving.start()
        plans = {name: plan for poller in self.pollers for name, plan in poller.plans.items()}
        machines = {topic: header.path.machine for header, topic in self._data_topics.items()}
        if self.deriving.used or any(plan.counts for plan in plans.values()):
            for record in self.buffer.take_newest():
                if record.is_loss or (name := machines.get(record.topic)) is None:
                    continue
                with suppress(PayloadError):
                    for frame in decode_data(record.payload).frames:
                        self._catch_up(name, plans[name], frame)
            self.memory.keep("counters", self._counts, lambda: (self.buffer.rotations, self._noted[0]))
        if self.deriving.used:
            self.deriving.remember(self.memory)
        self.committer.before = self.memory.due

    def _catch_up(self, machine: str, plan: Plan, frame: Frame) -> None:
        for signal, value in frame.values.items():
            if isinstance(value, int | float):
                plan.catch_up(signal, value, frame.time)
        self.deriving.catch_up(machine, frame)

    def _counts(self) -> dict[str, Any]:
        plans = {name: plan for poller in self.pollers for name, plan in poller.plans.items()}
        return {name: plan.dump() for name, plan in plans.items() if plan.counts}

    def accept(self, batch: Batch) -> None:
        header = batch.header
        if batch.historical:
            self.deriving.past(batch)
        if header not in self._locked:
            self._lock(header)
        encode = partial(self._encode, batch)
        self.buffer.append(self._data_topics[header], encode, len(batch), min(batch.time), max(batch.time))
        counters = self._counters.of(header.path.machine)
        counters.accepted += len(batch)
        counters.messages += 1
        self.committer.wake()
        self.publisher.wake()

    def lost(self, gap: Gap) -> None:
        names = [gap.header.signals[i].name for i in gap.signal]
        signal = names[0] if len(names) == 1 else ""
        cause = gap.cause if len(names) < 2 else f"{gap.cause}: {len(names)} signals, such as {names[0]}"
        machine = gap.header.path.machine
        what = f"{machine}/{signal}" if signal else machine
        log.warning("%s: %s values lost (%s)", what, gap.count or "an unknown number of", cause)
        self._counters.of(machine).gaps += 1
        self.buffer.declare(Loss(self.buffer.epoch, 0, 0, gap.count, gap.start, gap.end, cause, machine, signal))
        self.committer.wake()
        self.publisher.wake()

    @property
    def full(self) -> bool:
        return self.buffer.full

    def show(self, batch: Batch) -> None:
        self.board.update(batch)
        self.deriving.take(batch)

    def types(self, path: MachinePath) -> Mapping[str, ValueType]:
        return self.schema.types("/".join(path.levels()))

    def refuse(self, path: MachinePath, types: Mapping[str, ValueType], part: str = "machine") -> None:
        refused = self._refused.setdefault(path, {})
        refused[part] = types
        self.schema.want(
            "/".join(path.levels()), {name: type_ for each in refused.values() for name, type_ in each.items()}
        )

    def announce(self, header: Header) -> None:
        self.deriving.know(header)
        self._announce(header, "machine")

    def announce_derived(self, header: Header) -> None:
        """The signals that are worked out for a machine: beside its own."""
        self._announce(header, "derived")

    def _announce(self, header: Header, part: str) -> None:
        parts = self._parts.setdefault(header.path, {})
        if (old := parts.get(part)) is not None:
            del self._data_topics[old]
            self._locked.discard(old)
            self._encode.forget(old)
        parts[part] = header
        topic = self._data_topics[header] = self._topics.data(header.path)
        self._paths[topic] = header.path
        self.board.add(header, self._clock.now(), part)
        if part == "derived" or not self.deriving.outdated(header.path.machine):  # else it is told with what follows
            self._tell_meta(header.path)

    def _tell_meta(self, path: MachinePath) -> None:
        signals = [signal for header in self._parts[path].values() for signal in header.signals]
        version = self.schema.version("/".join(path.levels()), signals)
        self._retain(self._meta, self._topics.meta(path), partial(encode_meta, path, signals, self._gateway, version))

    def _lock(self, header: Header) -> None:
        """Its readings leave: from now on its signals have these types, for good."""
        self._locked.add(header)
        self.schema.lock("/".join(header.path.levels()), header.signals)

    def state(self, path: MachinePath, state: State, since: int, reason: str) -> None:
        log.info("%s: %s%s", path.machine, state, f": {reason}" if reason else "")
        self.board.machines[path.machine].condition.set(state, since, reason)
        payload = encode_status(state, since, reason, gateway=self._gateway)
        self._retain(self._status, self._topics.status(path), payload)

    # --- retained messages -------------------------------------------------------------------------------------------

    def _retain(self, kind: dict[str, Content], topic: str, payload: Content) -> None:
        kind[topic] = payload
        self.publisher.retain(topic, payload)

    def _births(self) -> Iterator[tuple[str, Content]]:
        yield self._own_status("online", "")
        yield from self._meta.items()
        yield from self._status.items()

    def _newest(self) -> Iterator[tuple[str, Content]]:
        for path in self._parts:
            newest = [each for each in self.board.machines[path.machine].newest if len(each)]
            if newest:
                yield self._topics.latest(path), self._encode.latest(newest)

    def _own_status(self, state: State, reason: str) -> tuple[str, bytes]:
        payload = encode_status(
            state, self._started if state == "online" else self._clock.now(), reason,
            gateway=self._gateway, version=__version__, epoch=self.buffer.epoch, delivery=self.board.delivery,
        )  # fmt: skip
        return self._topics.gateway_status(self._gateway), payload

    def _say_good_bye(self) -> None:
        now = self._clock.now()
        for topic in self._status:
            self.publisher.retain(
                topic, encode_status("offline", now, "the gateway was stopped", gateway=self._gateway)
            )
        self.publisher.retain(*self._own_status("offline", "the gateway was stopped"))

    def _declare(self, loss: Loss, seq: int) -> tuple[str, bytes]:
        self.board.lost(loss, self._clock.now())
        if loss.last:  # others never had a message
            self._counters.lost += loss.last - loss.first + 1
            log.error("lost: %d readings of messages %d to %d (%s)", loss.count, loss.first, loss.last, loss.cause)
        return self._topics.loss(self._gateway), encode_loss(loss, self._gateway, seq)


def buffer_folder(configuration: Configuration) -> Path:
    """Where the buffer of a configuration is."""
    return configuration.resolve(configuration.settings.gateway.data_dir) / "buffer"


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until they end: a library may swallow a cancellation (wait_for does at times, on Python 3.11)."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.3)
