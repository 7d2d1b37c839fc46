"""What goes wrong at one server, and when. Pure but for what it counts: the time is handed in.

    at, every, for ─▶ Moments ─┐
    request: n                 ├─ Fault ─▶ Happenings ── judge: this request ─▶ the fault that it meets
    chance: 1 %, from a seed ──┘                      └─ away, cut, active: by the time alone

Everything is asked for, nothing has to be switched on in time: a request at any moment meets what is due then. Who has
something to do without being asked (cut connections, begin anew) sleeps until `next_change`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from simulators.behaviour.fault_settings import FaultSettings

S = TypeVar("S", bound=FaultSettings)


@dataclass(frozen=True, slots=True)
class Moments:
    """When something is the case: once, or every so often."""

    at: float  # seconds since the start
    lasting: float = math.inf
    every: float = math.inf

    def latest(self, t: float) -> int:
        """The number of the last one that has begun by then, from 0; -1 before the first."""
        if t < self.at:
            return -1
        if not math.isfinite(self.every):
            return 0
        number = math.floor((t - self.at) / self.every)
        # Division and multiplication do not always agree about the moment itself.
        return number + (self.began(number + 1) <= t) - (self.began(number) > t)

    def began(self, number: int) -> float:
        """When one of them begins."""
        return self.at + (number * self.every if number else 0.0)

    def active(self, t: float) -> bool:
        """Whether it is the case."""
        return (number := self.latest(t)) >= 0 and t < self.began(number) + self.lasting

    def last_end(self, t: float) -> float | None:
        """When the last one that is over ended; None before."""
        number = self.latest(t - self.lasting) if math.isfinite(self.lasting) else -1
        return None if number < 0 else self.began(number) + self.lasting

    def next_change(self, t: float) -> float:
        """When the next one begins, or the one that is ends; infinite where nothing changes any more."""
        number = self.latest(t)
        if number >= 0 and t < (end := self.began(number) + self.lasting):
            return min(end, self.began(number + 1) if math.isfinite(self.every) else math.inf)
        return self.began(number + 1) if number < 0 or math.isfinite(self.every) else math.inf


@dataclass(slots=True, eq=False)
class Fault:
    """One entry of a scenario at one server."""

    settings: FaultSettings
    moments: Moments | None  # None: at any time
    machines: frozenset[str] | None  # behind this server; None: all of it
    random: Random
    asked: int = 0  # requests that it could have met
    noticed: int = -1  # the last of the moments that was counted

    @property
    def kind(self) -> str:
        return self.settings.fault

    def of(self, machines: Collection[str]) -> bool:
        """Whether one of these is meant."""
        return self.machines is None or not self.machines.isdisjoint(machines)

    def meets(self, t: float) -> bool:
        """Whether it meets the request that has just come: each is asked about once."""
        self.asked += 1
        if self.settings.request is not None:
            return self.asked == self.settings.request
        if self.moments is not None and not self.moments.active(t):
            return False
        return self.settings.chance is None or self.random.random() < self.settings.chance


@dataclass(slots=True)
class Happenings:
    """All faults of one server."""

    name: str
    faults: Sequence[Fault]
    happened: Counter[str] = field(default_factory=Counter)  # by kind; shared by all servers of a plant
    report: Callable[[str, str], None] = lambda *_: None  # is told the connection and the kind
    _said: set[str] = field(default_factory=set)

    def begin(self, t: float) -> None:
        """The server begins at this time: what is over by then has not happened there."""
        for fault, moments in self._by_itself():
            if not moments.active(t):
                fault.noticed = moments.latest(t)

    def judge(self, machines: Collection[str], t: float) -> Fault | None:
        """The fault that a request to these machines meets: the first that is written. It is counted by who does it."""
        found = None
        for fault in self.faults:
            if fault.settings.with_requests and not fault.settings.by_itself and fault.of(machines) and fault.meets(t):
                found = found or fault
        return found

    def away(self, t: float) -> Fault | None:
        """What keeps the whole server from being reached."""
        return self._away(t, lambda fault: fault.machines is None)

    def absent(self, machines: Collection[str], t: float) -> Fault | None:
        """What keeps one of several machines behind a server from answering."""
        return self._away(t, lambda fault: fault.machines is not None and fault.of(machines))

    def cut(self, opened: float, t: float) -> Fault | None:
        """What has become of a connection that was opened then: the fault that has taken it since."""
        for fault, moments in self._by_itself():
            if fault.settings.cuts and not (fault.settings.away and fault.machines is not None):
                number = moments.latest(t)
                if number >= 0 and opened < moments.began(number):
                    return fault
        return None

    def active(self, kind: type[S], t: float) -> list[tuple[Fault, S]]:
        """The faults of this kind that are the case."""
        return [
            (fault, fault.settings)
            for fault, moments in self._by_itself()
            if isinstance(fault.settings, kind) and moments.active(t)
        ]

    def begun(self, kind: type[S], t: float) -> list[tuple[int, S]]:
        """How often each fault of this kind has begun."""
        return [
            (moments.latest(t) + 1, fault.settings)
            for fault, moments in self._by_itself()
            if isinstance(fault.settings, kind)
        ]

    def next_change(self, t: float) -> float:
        """When something begins or ends by itself."""
        return min((moments.next_change(t) for _, moments in self._by_itself()), default=math.inf)

    def count(self, fault: Fault, t: float | None = None) -> None:
        """It has happened. `t`: one of its moments, which counts once however often it is noticed."""
        if t is not None and fault.moments is not None:
            number = fault.moments.latest(t)
            if number <= fault.noticed:
                return
            fault.noticed = number
        self.happened[fault.kind] += 1
        if t is not None or fault.kind not in self._said:
            self._said.add(fault.kind)
            self.report(self.name, fault.kind)

    def count_all(self, t: float) -> None:
        """Everything that has come by itself, by then."""
        for fault, moments in self._by_itself():
            if moments.latest(t) >= 0:
                self.count(fault, t)

    def _away(self, t: float, meant: Callable[[Fault], bool]) -> Fault | None:
        for fault, moments in self._by_itself():
            if fault.settings.away and meant(fault) and moments.active(t):
                return fault
        return None

    def _by_itself(self) -> Iterator[tuple[Fault, Moments]]:
        return ((f, f.moments) for f in self.faults if f.moments is not None and f.settings.by_itself)
