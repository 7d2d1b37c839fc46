"""Keeps a segment log on its disk: what is new is written at once and synced in time, in a thread of its own.

append ─▶ wake ─ 10 ms ─▶ write ─────▶ outlives a killed gateway
                  └─ commit_interval ─▶ fdatasync ─▶ accepted: outlives a power cut
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.buffer.segment_log import SegmentLog
from gateway.clock import Clock

log = logging.getLogger(__name__)

WRITE_DELAY = 0.01  # seconds in which what arrives together is written together
PAUSE = 1.0  # seconds after something that nobody expected


def _nothing() -> None: ...


class Committer:
    """The only one who has work done on the disk, from `start` until `close`."""

    def __init__(self, buffer: SegmentLog, clock: Clock) -> None:
        self._buffer, self._clock = buffer, clock
        self._woken = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="buffer")
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.turns = 0  # for the watchdog: a disk that fails is tried again and again, one that hangs is not
        self.on_accepted: Callable[[], None] = _nothing  # called when more is accepted

    def wake(self) -> None:
        """Something was appended."""
        self._woken.set()

    def start(self) -> None:
        """In the background, for ever."""
        self._task = asyncio.create_task(self._run(), name="commit")

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._turn()
            except Exception:
                log.exception("unexpected error in the buffer; it goes on")
                self._buffer.abandon()
                await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Write what is left, and say that this was a clean end. After the last append; safe to call twice."""
        self._stopping = True
        self._woken.set()
        if self._task is not None:
            await self._task
            self._task = None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._buffer.close)
        self._thread.shutdown()

    async def _turn(self) -> None:
        if await self._due():
            await asyncio.sleep(WRITE_DELAY)
        if self._stopping:
            return
        self._woken.clear()
        due = self._buffer.due(self._clock.monotonic())
        work = self._buffer.prepare(sync=due is not None and due <= 0)
        if not work.empty:
            await asyncio.get_running_loop().run_in_executor(self._thread, work.run)
        accepted = self._buffer.accepted
        self._buffer.finish(work)
        self.turns += 1
        if self._buffer.accepted != accepted:
            self.on_accepted()
        if (piece := self._buffer.piece()) is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, piece.run)
            self._buffer.take_over(piece)

    async def _due(self) -> bool:
        """Wait for something to write, or for the time of a commit. True for the former."""
        due = self._buffer.due(self._clock.monotonic())
        if due is not None and due <= 0:
            return False
        try:
            async with asyncio.timeout(due):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True
