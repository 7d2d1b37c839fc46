"""Where the page gets what it shows, and whom it asks to do something; the runtime hands it in.

Only the board is always there. What is None is not there in this process, and the page says so instead of failing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.clock import Clock, SystemClock, synchronization
from gateway.config import Configuration
from gateway.events import Events
from gateway.model import Value
from gateway.web.snapshot import Board
from gateway.web.views.trail import Trail


class Control(Protocol):
    """The configuration in force, and the one who may change it: `gateway.runtime.changes.reload`."""

    @property
    def configuration(self) -> Configuration: ...

    async def reload(self, who: str) -> dict[str, Any]:
        """Take over the files as they are now.

        Returns {"changed": bool, "difference": [line, …], "touched": [connection or section, …],
        "errors": [as `gateway config check` prints them, …], "restart": [what only a restart takes over, …],
        "warnings": [what to think about, and signals that cannot be sent as their type is another one now, …]}.
        With errors nothing was taken over; they say so where what was before is not all back. Raises nothing.
        """

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        """Put an earlier version into the files and take it over; the same answer. Raises GatewayError."""

    def versions(self) -> list[dict[str, Any]]:
        """Newest first: {"version": int, "t": ms since 1970, "who": str, "summary": str, "current": bool}."""


class History(Protocol):
    """What is stored: a reader of the historian, opened for each question, in a thread."""

    @property
    def available(self) -> bool:
        """Whether there is a historian at all."""

    async def points(
        self, machine: str, signal: str, start: int, end: int, points: int
    ) -> list[tuple[int, Value, int]]:
        """At most about so many readings (time in ns, value, quality), oldest first; none of a signal that never left.

        `machine` is the path, its levels divided by `/`. Raises StoreError, also where it takes too long.
        """

    def extremes(self, machine: str) -> Mapping[str, tuple[float, float]]:
        """The smallest and the largest value of the last 24 hours of each signal of a machine, as far as it is known.

        At once: asking is what makes it find out, so that a later call knows.
        """


class Configuring(Protocol):
    """The files of the configuration, and what is in force: `gateway.runtime.asked.configuring`."""

    @property
    def configuration(self) -> Configuration:
        """The one in force."""

    async def view(self, machine: str) -> dict[str, Any]:
        """Files, effective text, origins (of one machine where one is named), warnings; without secrets."""

    async def check(self, text: str, name: str) -> dict[str, Any]:
        """What is wrong with a file of this text. Raises GatewayError where it takes too long."""


@dataclass(frozen=True, slots=True)
class Way:
    """How far each stage has come, as positions in the buffer (gateway/buffer/contract.py)."""

    trail: Trail
    accepted: int
    sent: int
    stored: int
    oldest_ns: int | None = None  # about when the oldest record that waits was made, where the trail does not know
    record_bytes: float | None = None  # what a record of now takes
    dead_letters: tuple[int, str] | None = (
        None  # how many there are, and in which file, "" for none; None: the store is elsewhere
    )


@dataclass(slots=True)
class Sources:
    """All of it."""

    board: Board
    clock: Clock = field(default_factory=SystemClock)
    events: Events = field(default_factory=Events)
    control: Control | None = None
    history: History | None = None
    metrics: Callable[[], bytes] | None = None  # GET /metrics, in Prometheus' text format
    configuring: Configuring | None = None
    way: Callable[[], Way] | None = None
    safe_mode: Callable[[], Sequence[str]] = tuple  # the mistakes because of which an earlier configuration runs
    answers_for_time: Callable[[], bool | None] = (
        synchronization  # whether something does: NTP, PTP; None: not to be known
    )

    @property
    def synchronized(self) -> bool | None:
        """The word of the kernel, where it is its clock that is shown; None where it may not be asked."""
        return self.answers_for_time() if isinstance(self.clock, SystemClock) else None

    @property
    def configuration(self) -> Configuration | None:
        """The one in force, where there is one."""
        if self.configuring is not None:
            return self.configuring.configuration
        return None if self.control is None else self.control.configuration
