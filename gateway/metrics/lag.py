"""How late the event loop is: everything waits for whoever keeps it busy."""

from __future__ import annotations

import asyncio
from collections import deque

PAUSE = 1.0  # seconds between two looks
KEPT = 60  # looks


class Lag:
    """Looks once a second, from `start` until `stop`."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def worst(self) -> float:
        """Seconds, in the last minute."""
        return max(self._late, default=0.0)

    def start(self) -> None:
        """In the running event loop."""
        self._arm(asyncio.get_running_loop())

    def stop(self) -> None:
        """Safe to call twice."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(PAUSE, self._look, loop, loop.time() + PAUSE)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._late.append(max(0.0, loop.time() - due))
        self._arm(loop)
