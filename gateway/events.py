"""What happened, in order: machines that went and came, losses, what somebody changed. One entry for each change of state.

    events.add(Event(now, "machine", "press-07", "offline", "not-connected", "panel: connection refused"))
    events.newest(100)             the page, `gateway status`
    events.listeners.append(…)     the file that keeps them over a restart

Nobody waits for an event: adding one is an append to a ring. What people do at the page (`access`) has a ring of its own:
who logs in over and over pushes out no event of a machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import count
from operator import itemgetter
from typing import Literal

Kind = Literal["gateway", "machine", "broker", "store", "buffer", "clock", "config", "loss", "access"]

KEPT = 2000  # in memory
KEPT_ACCESS = 500  # beside them
STANDING = 10_000  # machines of which the last change is known though it has left: one that flaps hides no other


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `time` is ns since 1970, UTC."""

    time: int
    kind: Kind
    machine: str = ""  # the machine or, for `access`, the user; "" where it is of the gateway as a whole
    state: str = ""  # what it is now: online, degraded, offline; started, stopped; reloaded, refused …
    fault: str = ""  # code in the catalogue of faults (gateway/faults), "" where nothing is wrong or none fits
    text: str = ""  # in English, as it stands in the log


_Numbered = tuple[int, Event]
_number = itemgetter(0)


@dataclass(slots=True)
class Events:
    """The newest events, oldest first."""

    listeners: list[Callable[[Event], None]] = field(default_factory=list)
    _rest: deque[_Numbered] = field(default_factory=lambda: deque(maxlen=KEPT))
    _access: deque[_Numbered] = field(default_factory=lambda: deque(maxlen=KEPT_ACCESS))
    _standing: dict[str, Event] = field(default_factory=dict)  # of machines: see `standing`, of those that have left
    _numbers: Iterator[int] = field(default_factory=count)  # the order in which they came: clocks are set

    def add(self, event: Event) -> None:
        """Note one, and tell who listens. A listener must be quick and must not raise."""
        self._keep(event)
        for listener in self.listeners:
            listener(event)

    def recall(self, events: Iterable[Event]) -> None:
        """Those of the time before this start, which come first; nobody is told."""
        now = list(self)
        self._rest.clear()
        self._access.clear()
        self._standing.clear()
        for event in (*events, *now):
            self._keep(event)

    def newest(self, limit: int, *, machine: str = "", before: int | None = None) -> list[Event]:
        """At most `limit`, newest first: of one machine, and older than `before` (ns), where that is asked for."""
        found: list[Event] = []
        for _, event in merge(reversed(self._rest), reversed(self._access), key=_number, reverse=True):
            if len(found) >= limit:
                break
            if (not machine or event.machine == machine) and (before is None or event.time < before):
                found.append(event)
        return found

    def changes(self) -> Iterator[Event]:
        """Of machines and of the gateway itself, oldest first: before those that are kept, how every machine stood then."""
        yield from self._standing.values()
        yield from (event for _, event in tuple(self._rest))

    def __iter__(self) -> Iterator[Event]:
        return (event for _, event in merge(tuple(self._rest), tuple(self._access), key=_number))

    def __len__(self) -> int:
        return len(self._rest) + len(self._access)

    def _keep(self, event: Event) -> None:
        if event.kind != "access" and len(self._rest) == KEPT:
            stand(self._standing, self._rest[0][1])
        (self._access if event.kind == "access" else self._rest).append((next(self._numbers), event))


def stand(standing: dict[str, Event], event: Event) -> None:
    """Note in `standing` the newest event of each machine, in the order they came; nothing is known while no gateway ran."""
    if event.kind == "machine":
        standing.pop(event.machine, None)
        standing[event.machine] = event
        if len(standing) > STANDING:
            del standing[next(iter(standing))]
    elif event.kind == "gateway" and event.state in ("started", "stopped"):
        standing.clear()
