"""Keeps a segment log on its disk: what is new is written at once and synced in time, in a thread of its own.

    append ─▶ wake ─ 10 ms ─▶ write ─────▶ outlives a killed gateway
                      └─ commit_interval ─▶ fdatasync ─▶ accepted: outlives a power cut

Files that are made ahead, and segments of which less is kept, take long; they have another thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.buffer.segment_log import SegmentLog
from gateway.buffer.work import Work
from gateway.clock import Clock

log = logging.getLogger(__name__)

WRITE_DELAY = 0.01  # seconds in which what arrives together is written together
CHORES = 1.0  # seconds between two looks at what could be done ahead
PAUSE = 1.0  # seconds after something that nobody expected


def _nothing() -> None:
    """Nothing comes before it."""


class Committer:
    """The only one who has work done on the disk, from `start` until `close`."""

    def __init__(self, buffer: SegmentLog, clock: Clock) -> None:
        self._buffer, self._clock = buffer, clock
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="buffer")
        self._files = ThreadPoolExecutor(1, thread_name_prefix="buffer-files")
        self._tasks: list[asyncio.Task[None]] = []
        self._work: Work | None = None
        # Asked before each write: what has to be on the disk before it, to be run in the same thread.
        self.before: Callable[[], Callable[[], None] | None] = _nothing
        self.turns = 0  # for the watchdog: a disk that fails is tried again and again, one that hangs is not

    def wake(self) -> None:
        """Something was appended."""
        self._woken.set()

    def start(self) -> None:
        """In the background, for ever."""
        steps = {"commit": self._turn, "files": self._chores}
        self._tasks = [asyncio.create_task(self._keep(step), name=name) for name, step in steps.items()]

    async def close(self) -> None:
        """Write what is left, and say that this was a clean end. After the last append; safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._woken.set()
        for task in self._tasks:
            await task
        if (first := self.before()) is not None:
            await self._in(self._commits, first)
        await self._in(self._commits, self._buffer.close)
        self._commits.shutdown()
        self._files.shutdown()

    async def _keep(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await step()
            except Exception:
                log.exception("unexpected error in the buffer; it goes on")
                if step == self._turn:
                    self._buffer.abandon(self._work)
                await asyncio.sleep(PAUSE)

    async def _turn(self) -> None:
        if await self._due():
            await asyncio.sleep(WRITE_DELAY)
        if self._stopping.is_set():
            return
        self._woken.clear()
        if self._buffer.unopened:
            await self._look()
        due = self._buffer.due(self._clock.monotonic())
        work = self._work = self._buffer.prepare(sync=due is not None and due <= 0)
        if (first := self.before()) is not None:
            await self._in(self._commits, first)
        if not work.empty:
            await self._in(self._commits, work.run)
        self._buffer.finish(work)
        self.turns += 1

    async def _look(self) -> None:
        """A folder that could not be read at the start: what is in it belongs before what is here."""
        due = self._buffer.due(self._clock.monotonic())
        if due is None or due > 0:
            return
        there = await asyncio.get_running_loop().run_in_executor(self._commits, self._buffer.look)
        self._buffer.adopt(there)

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

    async def _chores(self) -> None:
        if (spare := self._buffer.spare()) is not None:
            await self._in(self._files, spare.run)
            self._buffer.take_spare(spare)
        elif (piece := self._buffer.piece()) is not None:
            await self._in(self._files, piece.run)
            self._buffer.take_over(piece)
        else:
            try:
                async with asyncio.timeout(CHORES):
                    await self._stopping.wait()
            except TimeoutError:
                return

    @staticmethod
    async def _in(thread: ThreadPoolExecutor, do: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(thread, do)
