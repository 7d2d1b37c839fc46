"""Where the page gets what it shows, and whom it asks to do something; the runtime hands it in.

Only the board is always there. What is None is not there in this process, and the page says so instead of failing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.clock import Clock, SystemClock
from gateway.config import Configuration
from gateway.events import Events
from gateway.web.snapshot import Board


class Control(Protocol):
    """The configuration in force, and the one who may change it: `gateway.runtime.reload`."""

    @property
    def configuration(self) -> Configuration: ...

    async def reload(self, who: str) -> dict[str, Any]:
        """Take over the files as they are now.

        Returns {"changed": bool, "difference": [line, …], "touched": [connection or section, …],
        "errors": [as `gateway config check` prints them, …], "restart": [what only a restart takes over, …]}.
        With errors nothing has changed. Raises nothing.
        """

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        """Put an earlier version into the files and take it over; the same answer. Raises GatewayError."""

    def versions(self) -> list[dict[str, Any]]:
        """Newest first: {"version": int, "t": ms since 1970, "who": str, "summary": str, "current": bool}."""


class History(Protocol):
    """What is stored: a reader of the historian, opened for each question, in a thread."""

    async def points(self, machine: str, signal: str, start: int, end: int, points: int) -> list[tuple[Any, ...]]:
        """At most about so many readings (time in ns, value, quality), oldest first. Raises StoreError."""


@dataclass(slots=True)
class Sources:
    """All of it."""

    board: Board
    clock: Clock = field(default_factory=SystemClock)
    events: Events = field(default_factory=Events)
    control: Control | None = None
    history: History | None = None
    metrics: Callable[[], bytes] | None = None  # GET /metrics, in Prometheus' text format
