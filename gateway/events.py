"""What happened, in order: machines that went and came, losses, what somebody changed. One entry for each change of state.

    events.add(Event(now, "machine", "press-07", "offline", "not-connected", "panel: connection refused"))
    events.newest(100)             the page, `gateway status`
    events.listeners.append(…)     the file that keeps them over a restart

Nobody waits for an event: adding one is an append to a ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["gateway", "machine", "broker", "store", "buffer", "clock", "config", "loss", "access"]

KEPT = 2000  # in memory


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `time` is ns since 1970, UTC."""

    time: int
    kind: Kind
    machine: str = ""  # the machine or, for `access`, the user; "" where it is of the gateway as a whole
    state: str = ""  # what it is now: online, degraded, offline; started, stopped; reloaded, refused …
    fault: str = ""  # code in the catalogue of faults (gateway/faults), "" where nothing is wrong or none fits
    text: str = ""  # in English, as it stands in the log


@dataclass(slots=True)
class Events:
    """The newest events, oldest first."""

    listeners: list[Callable[[Event], None]] = field(default_factory=list)
    _ring: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, event: Event) -> None:
        """Note one, and tell who listens. A listener must be quick and must not raise."""
        self._ring.append(event)
        for listener in self.listeners:
            listener(event)

    def recall(self, events: Iterable[Event]) -> None:
        """Those of the time before this start, which come first; nobody is told."""
        now = list(self._ring)
        self._ring.clear()
        self._ring.extend([*events, *now])

    def newest(self, limit: int, *, machine: str = "", before: int | None = None) -> list[Event]:
        """At most `limit`, newest first: of one machine, and older than `before` (ns), where that is asked for."""
        found: list[Event] = []
        for event in reversed(self._ring):
            if len(found) >= limit:
                break
            if (not machine or event.machine == machine) and (before is None or event.time < before):
                found.append(event)
        return found

    def __iter__(self) -> Iterator[Event]:
        return iter(self._ring)

    def __len__(self) -> int:
        return len(self._ring)
