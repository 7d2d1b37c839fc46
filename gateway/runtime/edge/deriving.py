"""What is worked out from what the machines say: wires gateway/production to the readings that pass, and to its memory.

show(batch) ─▶ the Derived that look at this machine ─▶ readings of theirs ─▶ show, accept
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

from gateway.clock import Clock
from gateway.config import Configuration
from gateway.counters import FlowCounters
from gateway.model import Batch, Header, MachinePath, ValueType
from gateway.mqtt.payload import Frame
from gateway.production.calendar import WorkCalendar, calendar_of
from gateway.production.derived import Derived, Out
from gateway.production.pulse import Pulse
from gateway.runtime.edge.memory import Memory

log = logging.getLogger(__name__)

_TURN = 0.05  # seconds that polling may wait for it
PART = "derived-"  # of the names of what is remembered


class Sink(Protocol):
    """Where it leaves."""

    def accept(self, batch: Batch) -> None: ...
    def show(self, batch: Batch) -> None: ...
    def types(self, path: MachinePath) -> Mapping[str, ValueType]: ...
    def refuse(self, path: MachinePath, types: Mapping[str, ValueType], part: str = "machine") -> None: ...
    def announce_derived(self, header: Header) -> None: ...
    def withdraw_derived(self, path: MachinePath) -> None: ...


class Deriving:
    """Of all machines of a gateway."""

    def __init__(
        self,
        configuration: Configuration,
        sink: Sink,
        clock: Clock,
        counters: FlowCounters,
        memory: Memory,
        noted: list[int],
    ) -> None:
        """`noted`: one number, how many times a count began anew."""
        self._configuration, self._sink, self._clock, self._counters = configuration, sink, clock, counters
        self._memory, self._noted = memory, noted
        self._pulse, self._pauses = Pulse(), 0  # those that were told
        self._headers: dict[str, Header] = {}  # of the machines themselves, as they leave
        self._made: dict[str, Derived] = {}
        self._turns: deque[str] = deque()
        self._troubles: dict[str, str] = {}  # the last error of each
        self._listeners: dict[str, list[Derived]] = {}
        self._outdated: set[str] = set()
        self._ended: set[str] = set()  # machines that go on, for which nothing is worked out any more
        self._lines: list[Mapping[str, Any]] | None = None  # of the journals, once they are read
        self._machines = [name for name, machine in configuration.machines.items() if machine.derived]
        self._calendars: dict[str | None, WorkCalendar] = {}
        self._remembered: set[str] = set()  # machines that the memory asks for
        self._gone: dict[
            str, Mapping[str, Any]
        ] = {}  # of machines that are not there any more: their dump, should they return

    @property
    def used(self) -> bool:
        """Whether anything is worked out at all."""
        return bool(self._machines)

    def outdated(self, machine: str) -> bool:
        """Whether what is worked out for a machine will be announced anew, or withdrawn."""
        return machine in self._outdated or machine in self._ended

    def start(self) -> None:
        """Once the signals of all machines are known, as far as they can be without asking them."""
        self._make()
        self._lines = None

    def change(self, configuration: Configuration, anew: Collection[str], gone: Collection[str]) -> None:
        """Another configuration: these are made `anew`, and go on where they were; those that are `gone` end.

        Others are not touched. `settle` follows, once the signals of all machines are known again.
        """
        before = set(self._machines)
        self._configuration = configuration
        self._machines = [name for name, machine in configuration.machines.items() if machine.derived]
        self._calendars.clear()
        ended = before - set(self._machines)
        self._ended = (self._ended | ended) & (configuration.machines.keys() - set(self._machines))
        for name in {*gone, *ended}:
            if (derived := self._made.pop(name, None)) is not None:
                if (held := derived.flush()) is not None:
                    self._count(held, held)
                    self._sink.accept(held)
                self._gone[name] = derived.dump(self._clock.now())
            self._outdated.discard(name)
        for name in gone:
            self._headers.pop(name, None)
        self._outdated |= {name for name in self._machines if name in anew or name not in self._made}
        self._listen()

    def settle(self) -> None:
        """After `change`: what has to be made anew is, and what is not worked out any more is withdrawn."""
        while self._ended:
            self._sink.withdraw_derived(self._configuration.path_of(self._ended.pop()))
        if self._outdated:
            self._make()
            self._lines = None
        new = [name for name in self._machines if name not in self._remembered]
        if new:
            self.remember(self._memory)

    def know(self, header: Header) -> None:
        """The signals of a machine, as they leave: at the start, and when their types are learnt."""
        name = header.path.machine
        self._headers[name] = header
        if name in self._machines:
            self._outdated.add(name)
        self._outdated |= {other for other, made in self._made.items() if name in made.looks_at}

    def take(self, batch: Batch) -> None:
        """Readings that are seen, of a machine or worked out."""
        if self._outdated:
            self._make()
        for derived in self._listeners.get(batch.header.path.machine, ()):
            if batch.header is not derived.header:
                self._try(derived, partial(derived.take, batch, self._clock.monotonic(), self._clock.now()))

    def past(self, batch: Batch) -> None:
        """Readings of the past."""
        for derived in self._listeners.get(batch.header.path.machine, ()):
            if batch.header is not derived.header:
                self._try(derived, partial(derived.past, batch, self._clock.monotonic(), self._clock.now()))

    def alive(self) -> None:
        """The gateway runs: about twice a second, and before anything else then. What it was not is a pause."""
        self._pulse.note(self._clock.monotonic(), self._clock.now())
        for pause in self._pulse.since(self._pauses):
            log.warning("%s", pause)
        self._pauses = self._pulse.count

    def tick(self) -> None:
        """About twice a second."""
        self.alive()
        if self._outdated:
            self._make()
        began = self._clock.monotonic()
        for _ in range(len(self._made)):  # each in its turn: at the end of a shift all of them have much to say
            name = self._turns.popleft()
            self._turns.append(name)
            derived = self._made[name]
            self._try(derived, partial(derived.tick, self._clock.monotonic(), self._clock.now()))
            if self._clock.monotonic() - began > _TURN:
                return

    def _try(self, derived: Derived, work: Callable[[], Out | None]) -> None:
        """What goes wrong here costs neither the reading it was made from nor what other machines make of it."""
        try:
            self._leave(work() or [])
        except Exception as exc:
            machine = derived.header.path.machine
            self._counters.of(machine).faults += 1
            if self._troubles.get(machine) != repr(exc):  # it may come again with every reading
                self._troubles[machine] = repr(exc)
                log.exception("%s: unexpected error in what is worked out", machine)

    def flush(self) -> None:
        """At the end: what swinging doors hold back."""
        for derived in self._made.values():
            if (held := derived.flush()) is not None:
                self._count(held, held)
                self._sink.accept(held)

    def _leave(self, out: Out) -> None:
        for news, seen in out:
            if not seen.historical:
                self._sink.show(seen)
            self._count(news, seen)
            if news is not None:
                self._sink.accept(news)

    def _count(self, news: Batch | None, seen: Batch) -> None:
        counters = self._counters.of(seen.header.path.machine)
        counters.derived += len(seen)
        counters.suppressed += len(seen) - (0 if news is None else len(news))

    # --- making ------------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Those of which the signals they look at are known, or known better; with what was remembered."""
        while self._outdated:
            name = self._outdated.pop()  # one that cannot be made costs no other
            before = self._made.get(name)
            configuration = self._configuration
            path = configuration.path_of(name)
            derived = Derived(
                path, configuration.machines, self._calendar(name), self._headers, self._sink.types(path), self._noted,
                self._pulse,
            )  # fmt: skip
            if before is not None:
                if (held := before.flush()) is not None:
                    self._count(held, held)
                    self._sink.accept(held)
                derived.take_over(before)
            elif (dump := self._gone.pop(name, None)) is not None:
                for what in derived.load(dump):
                    log.warning("%s: what was known of it cannot be used (%s): it begins anew", name, what)
            else:
                for what in derived.load(self._memory.saved(f"{PART}{name}"), self._recent_of(name)):
                    log.warning("%s: what was remembered of it cannot be used (%s): it begins anew", name, what)
            self._sink.refuse(path, derived.refused, "derived")
            self._made[name] = derived
            self._sink.announce_derived(derived.header)
        self._listen()

    def _listen(self) -> None:
        """Who is told of which machine."""
        self._turns = deque(self._made)
        self._listeners = {}
        for derived in self._made.values():
            for machine in derived.looks_at:
                self._listeners.setdefault(machine, []).append(derived)

    def _recent_of(self, name: str) -> list[Mapping[str, Any]]:
        """What was noted of a machine after it was written down as a whole, the oldest first."""
        if self._lines is None:
            self._lines = self._memory.recent()
        whole = self._memory.saved(f"{PART}{name}").get("t", 0)
        lines = [line[name] for line in self._lines if isinstance(line.get(name), dict)]
        return [line for line in lines if isinstance(line.get("t"), int) and line["t"] > whole]

    def _calendar(self, machine: str) -> WorkCalendar:
        """One for all machines that have the same: it remembers the days it has worked out."""
        name = self._configuration.machines[machine].calendar
        if name not in self._calendars:
            self._calendars[name] = calendar_of(self._configuration, machine)
        return self._calendars[name]

    # --- over restarts -----------------------------------------------------------------------------------------------

    def remember(self, memory: Memory) -> None:
        """Have it written down: all of it from time to time, what came since once a minute."""
        new = [name for name in self._machines if name not in self._remembered]
        memory.keep_in_turn(
            {f"{PART}{name}": partial(self._dump, name) for name in new},
            {f"{PART}{name}": partial(self._corrections, name) for name in new},
        )
        if not self._remembered:
            memory.note(self._recent, lambda: self._noted[0])
        self._remembered.update(new)

    def _dump(self, name: str) -> Mapping[str, Any]:
        made = self._made.get(name)
        return self._gone.get(name, {}) if made is None else made.dump(self._clock.now())

    def _corrections(self, name: str) -> int:
        """Another number when a machine goes or comes back: then it is written down."""
        made = self._made.get(name)
        return -1 if made is None else made.corrections

    def _recent(self) -> dict[str, Any]:
        now = self._clock.now()
        return {name: derived.recent(now) for name, derived in self._made.items()}

    def catch_up(self, machine: str, frame: Frame) -> None:
        """Readings that had left after the state was saved."""
        derived = self._made.get(machine)
        if derived is None:
            return
        for name, value in frame.values.items():
            derived.catch_up(name, value, frame.time)
