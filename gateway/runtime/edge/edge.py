"""The edge: from the machines to the broker.

pollers ─ Batch ─▶ Edge ─ payload ─▶ buffer ─▶ publisher ─▶ broker
                    └──▶ board (what the status page shows)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from gateway.config.difference import Difference
from gateway.config.meaning import rules_of, sending
from gateway.counters import FlowCounters
from gateway.errors import PayloadError
from gateway.events import Events
from gateway.faults import Reason, fault_of, tagged
from gateway.model import Batch, Gap, Header, MachinePath, ValueType
from gateway.mqtt.link import Link, Will
from gateway.mqtt.payload import DataEncoder, Frame, Loss, State, decode_data, encode_loss, encode_meta, encode_status
from gateway.mqtt.topics import Topics
from gateway.normalizer import Plan
from gateway.publisher import Content, Publisher
from gateway.runtime.edge.deriving import Deriving
from gateway.runtime.edge.memory import Memory
from gateway.runtime.edge.poller import CONNECTING, NOT_READ, Poller
from gateway.runtime.edge.retained import Retained
from gateway.runtime.edge.schema import PART as SCHEMA
from gateway.runtime.edge.schema import Schema
from gateway.runtime.happenings import Happenings
from gateway.runtime.registry import plugins
from gateway.web.snapshot import STARTING, Board
from gateway.web.views.trail import Trail

log = logging.getLogger(__name__)

TICK = 0.5  # seconds
DRAIN = 5.0  # seconds, when stopping
FAREWELL = 2.0  # seconds a broker that is left may take to hear of it
CONNECTING_DRAIN = 1.0  # seconds of that for a broker that is not connected
_RANKS = {"low": 0, "normal": 1, "high": 2}
ONCE = 30.0  # seconds for reading everything once
_LEFT = "left"  # of what is remembered: what brokers retain of machines, those that are gone as well


class Edge:
    """Reads every connection of a configuration and publishes what it brings. Also the sink of its pollers."""

    def __init__(
        self,
        configuration: Configuration,
        link: Link,
        clock: Clock,
        counters: FlowCounters,
        store_reason: Callable[[], str | None] = lambda: None,
        events: Events | None = None,
    ) -> None:
        """`store_reason`: what the store writer of this process says, None where there is none. `events`: told of changes."""
        settings = configuration.settings
        self._store_reason = store_reason
        self._configuration, self._link, self._clock, self._counters = configuration, link, clock, counters
        self._gateway = settings.gateway.id
        self._topics = Topics(settings.mqtt.root)
        self._started = clock.now()
        self.happenings = Happenings(events if events is not None else Events(), clock)
        self.trail = Trail()  # how the buffer grew, for the page
        self._slowest = 1.0  # seconds between two polls of what is polled least often, of
        self._paced: Sequence[Poller] = ()
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
        self._data_topics: dict[Header, str] = {}  # of the headers in force
        self._refused: dict[MachinePath, dict[str, Mapping[str, ValueType]]] = {}  # by part
        self._paths: dict[str, MachinePath] = {}  # by topic of their data
        self._parts: dict[MachinePath, dict[str, Header]] = {}  # the same: the signals of a machine, and those derived
        self.publisher = Publisher(
            link, self.buffer, self._topics, self._gateway, clock, counters,
            delivery=settings.delivery, window=settings.mqtt.window, births=self._births,
            latest=self._newest, rate=settings.mqtt.backlog_rate, hold=settings.mqtt.hold_unheard,
            on_retained=lambda topic: self.retained.confirmed(topic), writer=store_reason,
            on_word=lambda topic, payload: self.retained.heard(topic, payload),
        )  # fmt: skip
        self.buffer.on_found = self.publisher.include
        self._noted = [0]  # how many times a count began anew
        self.memory = Memory(configuration.resolve(settings.gateway.data_dir), clock)
        self.schema = Schema(self.memory.saved(SCHEMA))
        self.memory.keep(SCHEMA, self.schema.dump, lambda: self.schema.changes, every=float("inf"))
        self.deriving = Deriving(configuration, self, clock, counters, self.memory, self._noted)
        self.retained = Retained(
            self._topics, self._gateway, clock, self.buffer, self.publisher.retain, self.publisher.ask,
            self.memory.saved(_LEFT),
        )  # fmt: skip
        self.memory.keep(_LEFT, self.retained.dump, lambda: self.retained.changes, every=float("inf"))
        # Counts as they were when they were last known, by machine and signal: those that are not there may return.
        self._counted: dict[str, Mapping[str, Any]] = {
            name: counts for name, counts in self.memory.saved("counters").items() if isinstance(counts, dict)
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by connection
        self.before_end: Callable[[], Awaitable[None]] | None = None  # whoever changes something has to stop first
        self._failed: asyncio.Future[None] | None = None  # done when a task ends that should not
        self.pollers = [
            self._poller(configuration, name) for name in configuration.connections if configuration.machines_of(name)
        ]

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
        self.retained.begin()
        await self._link.start(self.publisher)
        self.committer.start()
        self._failed = asyncio.get_running_loop().create_future()
        self._begin(self.pollers)
        watch = asyncio.create_task(self._watch(), name="watch")
        watch.add_done_callback(self._note_end)
        self.running.set()
        try:
            await self._failed  # none of them ends by itself
        finally:
            if self.before_end is not None:
                await self.before_end()
            await _end([*self._tasks.values(), watch])
            self.deriving.flush()
            deadline = self._clock.monotonic() + DRAIN
            await self._drain(deadline)
            self.retained.tick()
            self._say_good_bye()
            await self._drain(deadline + 0.5)
            await self._link.stop()
            self.committer.before = partial(self.memory.due, all_of_it=True)
            await self.committer.close()
            self.happenings.tell_losses(at_the_end=True)
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
        others = [
            self.deriving.tick, self.publisher.tick, self._note_links, self._note_clock, self._note_changes,
            self.retained.tick,
        ]  # fmt: skip
        while True:
            for step in [*(poller.watch for poller in self.pollers), *others]:
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
                text = f"has not acknowledged anything for {silent:.0f} s: is `gateway store` running?"
                reason = Reason(text, "store-silent")
            if not publisher.connected:
                self.board.store.set("offline", now, "out of reach without the broker", fault_of(publisher.reason))
            elif reason:
                self.board.store.set("offline", now, reason)
            elif self.buffer.stored or self._store_reason() is not None:
                self.board.store.set("online", now)

    def _note_changes(self) -> None:
        """For the page: what has changed, and how far the buffer has come."""
        self.happenings.look(self.board)
        self.trail.note(self._clock.monotonic(), self.buffer.last, self.buffer.usage.records)
        if self._paced is not self.pollers:  # after a start or a reload
            self._paced = self.pollers
            plans = [machine for poller in self.pollers for machine in poller.settings.values()]
            self._slowest = max((each.poll for plan in plans for each in plan.signals.values()), default=1.0)
        self.board.note(self._clock.monotonic(), self._slowest)

    def _note_clock(self) -> None:
        """A clock that somebody set leaves a trace: stamps before and after it are not of one scale."""
        for step in self._clock.steps() if isinstance(self._clock, TrackedClock) else ():
            start, end = sorted((step.before, step.after))
            log.warning("clock: %s (%+.3f s)", step.cause, (step.after - step.before) / 1e9)
            self.happenings.step(step)
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
            machine = self._configuration.machines.get(header.path.machine)  # asked in a thread: it may be gone by now
            return _RANKS[machine.priority if machine is not None else "normal"]
        return _RANKS["normal"]

    def _at(self, topic: str) -> list[Header]:
        """The headers in force at a topic of data."""
        path = self._paths.get(topic)
        return [] if path is None else list(self._parts.get(path, {}).values())

    def _poller(self, configuration: Configuration, name: str) -> Poller:
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
            name, build, machines, self, self._clock, self._counters,
            remembered={name: self._counted[name] for name in machines if name in self._counted}, noted=self._noted,
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
            self._keep_counts()
        if self.deriving.used:
            self.deriving.remember(self.memory)
        self.committer.before = self.memory.due

    def _catch_up(self, machine: str, plan: Plan, frame: Frame) -> None:
        for signal, value in frame.values.items():
            if isinstance(value, int | float):
                plan.catch_up(signal, value, frame.time)
        self.deriving.catch_up(machine, frame)

    def _keep_counts(self) -> None:
        # At once: the segment that was just read may be gone with the next acknowledgement.
        self.memory.keep("counters", self._counts, lambda: (self.buffer.rotations, self._noted[0]), now=True)

    def _counts(self) -> dict[str, Any]:
        plans = {name: plan for poller in self.pollers for name, plan in poller.plans.items() if plan.counts}
        return self._counted | {name: {**self._counted.get(name, {}), **plan.dump()} for name, plan in plans.items()}

    # --- another configuration ---------------------------------------------------------------------------------------

    def build(self, wanted: Configuration, names: Collection[str]) -> list[Poller]:
        """Pollers of these connections, with their adapters made and nothing started. Raises whatever making them raises."""
        pollers = [
            self._poller(wanted, name) for name in wanted.connections if name in names and wanted.machines_of(name)
        ]
        for poller in pollers:
            poller.make()
        return pollers

    async def change_machines(self, wanted: Configuration, difference: Difference, pollers: Sequence[Poller]) -> None:
        """Take over machines and connections: those in `difference` end, and `pollers` go on. No other one is touched.

        Raises what went wrong; the machines are then read as before.
        """
        before = self._configuration
        ended = [poller for poller in self.pollers if poller.name in difference.connections]
        await _end([self._tasks[poller.name] for poller in ended])
        for poller in ended:
            del self._tasks[poller.name]
        kept = [poller for poller in self.pollers if poller.name not in difference.connections]
        moved = [name for name in difference.changed if before.path_of(name) != wanted.path_of(name)]
        gone = [before.path_of(name) for name in (*difference.removed, *moved)]
        try:
            self._configuration = wanted
            self.deriving.change(wanted, difference.derived, difference.removed)
            for poller in pollers:
                poller.inherit(ended)
                poller.prepare()
            self.deriving.settle()
            for path in gone:  # only now: what was held back has left
                self._forget(path)
        except Exception:
            log.exception("the machines cannot be taken over: they are read as before")
            self._put_back(before, wanted, difference, ended, moved)
            self._begin(ended)
            raise
        for poller in ended:
            for name, plan in poller.plans.items():
                if plan.counts:
                    self._counted[name] = {**self._counted.get(name, {}), **plan.dump()}
        self.pollers = [*kept, *pollers]
        if any(plan.counts for poller in pollers for plan in poller.plans.values()):
            self._keep_counts()
        self._begin(pollers)

    def _put_back(
        self,
        before: Configuration,
        wanted: Configuration,
        difference: Difference,
        ended: Sequence[Poller],
        moved: Sequence[str],
    ) -> None:
        """The machines as they were before a change that failed. Raises nothing: they have to be read again."""
        self._configuration = before
        try:
            self.deriving.change(before, difference.derived | difference.removed, difference.added)
            for poller in ended:
                for name, plan in poller.plans.items():
                    self.announce(plan.header)
                    condition = self.board.machines[name].condition
                    self.state(plan.header.path, poller.state_of(name), condition.since, poller.reason_of(name))
            self.deriving.settle()
            for name in (*difference.added, *moved):
                if wanted.path_of(name) in self._parts:
                    self._forget(wanted.path_of(name))
        except Exception:
            log.exception("what is worked out, or retained, may not be what it was")

    async def change_link(self, wanted: Configuration, link: Link) -> None:
        """Another link to the broker; what is read meanwhile waits in the buffer. The broker that is left is told so."""
        mqtt, old = wanted.settings.mqtt, self._configuration.settings.mqtt
        if (mqtt.host, mqtt.port) != (old.host, old.port) and self._link.connected:
            self._say_good_bye("the gateway uses another broker")
            deadline = self._clock.monotonic() + FAREWELL
            while self.publisher.saying and self._clock.monotonic() < deadline:
                self.publisher.wake()
                await asyncio.sleep(0.02)
        await self._link.stop()
        delivery = self.board.delivery = wanted.settings.delivery
        self.publisher.use(
            link, delivery=delivery, window=mqtt.window, rate=mqtt.backlog_rate, hold=mqtt.hold_unheard
        )  # fmt: skip
        self._link = link
        store = self.board.store
        if delivery == "broker":
            store.set("unused", self._clock.now())
        elif store.state == "unused":
            store.set("offline", self._clock.now(), STARTING)
        await link.start(self.publisher)

    def change_settings(self, wanted: Configuration) -> None:
        """All else: what the buffer may take, and what is only looked up when it is needed."""
        self._configuration = wanted
        self.buffer.resize(self._limits())
        self.committer.wake()

    def _begin(self, pollers: Iterable[Poller]) -> None:
        if self._failed is None or self._failed.done():
            return  # it ends
        for poller in pollers:
            task = self._tasks[poller.name] = asyncio.create_task(poller.run(), name=f"poll[{poller.name}]")
            task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Those that are told to end are cancelled; none ends by itself."""
        if self._failed is None or self._failed.done() or task.cancelled():
            return
        if (exc := task.exception()) is not None:
            self._failed.set_exception(exc)
        else:
            self._failed.set_result(None)

    def _forget(self, path: MachinePath) -> None:
        """A machine is gone, or stands in another place now. What brokers retain of it follows."""
        for header in self._parts.pop(path, {}).values():
            self._let_go(header)
        self._refused.pop(path, None)
        if all(other.machine != path.machine for other in self._parts):
            self.board.machines.pop(path.machine, None)
            self.happenings.forget(path.machine)
        data = self._topics.data(path)
        if self._paths.get(data) != path:  # never announced; or an area became a line, and the topics are the same
            return
        del self._paths[data]
        self.retained.leave(path)

    def _let_go(self, header: Header) -> None:
        """Nothing leaves with it any more."""
        self._data_topics.pop(header, None)
        self._locked.discard(header)
        self._encode.forget(header)

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

    def withdraw_derived(self, path: MachinePath) -> None:
        """Nothing is worked out for a machine any more."""
        if (header := self._parts[path].pop("derived", None)) is not None:
            self._let_go(header)
        self.refuse(path, {}, "derived")
        machine = self.board.machines[path.machine]
        machine.derived, machine.shown = None, ()
        self._tell_meta(path)

    def _announce(self, header: Header, part: str) -> None:
        parts = self._parts.setdefault(header.path, {})
        if (old := parts.get(part)) is not None:
            self._let_go(old)
        parts[part] = header
        topic = self._data_topics[header] = self._topics.data(header.path)
        self._paths[topic] = header.path
        self.board.add(header, self._clock.now(), part)
        if part == "derived" or not self.deriving.outdated(header.path.machine):  # else it is told with what follows
            self._tell_meta(header.path)

    def _tell_meta(self, path: MachinePath) -> None:
        signals = [signal for header in self._parts[path].values() for signal in header.signals]
        machine = self._configuration.machines[path.machine]
        rules = rules_of(self._configuration.settings, machine)
        version = self.schema.version("/".join(path.levels()), signals, rules)
        how = partial(sending, machine=machine)
        self.retained.meta(path, partial(encode_meta, path, signals, self._gateway, version, rules, how))

    def _lock(self, header: Header) -> None:
        """Its readings leave: from now on its signals have these types, for good."""
        self._locked.add(header)
        self.schema.lock("/".join(header.path.levels()), header.signals)

    def state(self, path: MachinePath, state: State, since: int, reason: str) -> None:
        if (
            reason != NOT_READ or self.board.machines[path.machine].condition.reason != STARTING
        ):  # that would be no news
            log.info(
                "%s: %s%s", path.machine, state, f": {tagged(reason)}" if reason else "",
                extra={"machine": path.machine, "fault": fault_of(reason)},
            )  # fmt: skip
        self.board.machines[path.machine].condition.set(state, since, reason)
        self.happenings.state("machine", state, since, reason, machine=path.machine)
        self.retained.status(path, encode_status(state, since, reason, gateway=self._gateway))

    # --- what is said of the gateway itself --------------------------------------------------------------------------

    def _births(self) -> Iterator[tuple[str, Content]]:
        yield self._own_status("online", "")
        yield from self.retained.births()

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

    def _say_good_bye(self, reason: str = "the gateway was stopped") -> None:
        self.retained.say_good_bye(reason)
        self.publisher.retain(*self._own_status("offline", reason))

    def _declare(self, loss: Loss, seq: int) -> tuple[str, bytes]:
        self.board.lost(loss, self._clock.now())
        self.happenings.lost(loss)
        if loss.last:  # others never had a message
            self._counters.note_loss(loss.cause, loss.new)
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
