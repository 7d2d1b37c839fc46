"""What is stored, for the page: questions to the historian in threads of their own, so that nobody else waits for them.

    points(…)    ─▶ a reader, opened for the question ─▶ closed again; two at once, and none for ever
    extremes(…)  ─▶ what is known, at once            ─▶ once a minute somebody finds out what is new

The smallest and largest values of a day are kept by the stretches the historian keeps its readings in: once the day has
been read, only its end is read again, and what readings have come late for: a backlog that drains, a machine that remembers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from gateway.clock import Clock
from gateway.config import Configuration
from gateway.errors import StoreError
from gateway.model import Value
from gateway.store.contract import Columns
from gateway.store.fold import INTERVAL
from gateway.store.open import historian_path
from gateway.store.reader import Changes, HistorianReader, NotStoredError

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 2  # questions
TIMEOUT = 10.0  # seconds a question may take, waiting for its turn included
DAY = 86_400 * 10**9
EVERY = 60.0  # seconds between two looks at what is new of a machine
KEPT = 600.0  # seconds after which what nobody looks at is forgotten
SLICE = 6  # stretches that are read at a time, before others have their turn

_Extremes = Mapping[str, tuple[float, float]]


def path_of(configuration: Configuration) -> Path | None:
    """The file of the historian of a configuration; None where it has none."""
    settings = configuration.settings
    if configuration.store is None or configuration.store.kind != "historian":
        return None
    return historian_path(configuration.store, configuration.resolve(settings.gateway.data_dir))


@dataclass(slots=True)
class _Day:
    """The last 24 hours of one machine."""

    wanted: float  # monotonic: when somebody last asked
    looked: float = float("-inf")  # monotonic: when its end was last read
    over: dict[int, _Extremes] = field(default_factory=dict)  # by stretch that is over
    running: _Extremes = field(default_factory=dict)  # of the one or two that are not
    known: _Extremes = field(default_factory=dict)  # of all of it, once all of it was read
    path: Path | None = None  # of the file that was read
    seen: Changes | None = None  # how far it had come before
    task: asyncio.Task[None] | None = None


class History:
    """Answers questions about the historian there is: a reload may change which one."""

    def __init__(self, where: Callable[[], Path | None], clock: Clock) -> None:
        """`where`: its file, None where there is none."""
        self._where, self._clock = where, clock
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="history")
        self._days: dict[str, _Day] = {}

    @property
    def available(self) -> bool:
        """Whether there is one."""
        return self._where() is not None

    def close(self) -> None:
        """Questions that are being answered end by themselves. Safe to call twice."""
        for day in self._days.values():
            if day.task is not None:
                day.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def points(
        self, machine: str, signal: str, start: int, end: int, points: int
    ) -> list[tuple[int, Value, int]]:
        """At most so many readings (time in ns, value, quality), oldest first. Raises StoreError."""

        def ask(reader: HistorianReader) -> Columns:
            return reader.query(machine, signal, start, end, points)

        try:
            found = await self._ask(ask)
        except NotStoredError:  # it is known here, and nothing of it has arrived there yet
            return []
        return list(zip(found.time, found.value, found.quality, strict=True))

    def extremes(self, machine: str) -> _Extremes:
        """Of each signal, as far as the whole of the last day is known; that is found out meanwhile."""
        now = self._clock.monotonic()
        day = self._days.get(machine)
        if day is None:
            for name in [name for name, each in self._days.items() if now - each.wanted > KEPT and each.task is None]:
                del self._days[name]
            day = self._days[machine] = _Day(now)
        day.wanted = now
        if day.task is None and now - day.looked >= EVERY:
            day.looked = now
            day.task = asyncio.create_task(self._look(machine, day), name=f"extremes[{machine}]")
        return day.known

    async def _look(self, machine: str, day: _Day) -> None:
        """Read what is not known yet of the last day, a piece at a time."""
        try:
            now = self._clock.now()
            first, running = (now - DAY) // INTERVAL, now // INTERVAL - 1  # late readings come within one stretch
            day.over = {interval: found for interval, found in day.over.items() if interval >= first}
            await self._forget_late(machine, day)
            missing = [interval for interval in range(first, running) if interval not in day.over]
            while missing:
                # The newest first: what somebody looks at is now.
                piece = missing[-SLICE:]
                del missing[-SLICE:]
                began = self._clock.monotonic()
                day.over |= await self._ask(lambda reader, piece=piece: _each(reader, machine, piece))  # type: ignore[misc]
                await asyncio.sleep(self._clock.monotonic() - began)  # half of the time is for others
            begin = running * INTERVAL
            day.running = await self._ask(lambda reader: reader.extremes(machine, begin, now))
            day.known = _joined([*day.over.values(), day.running])
        except NotStoredError:
            day.known = {}
        except StoreError as exc:
            log.debug("%s: the extremes of the last day: %s", machine, exc)
        finally:
            day.task = None

    async def _forget_late(self, machine: str, day: _Day) -> None:
        """Stretches that were read before all of their readings had come are read once more."""
        path = self._where()
        if path != day.path:
            day.path, day.seen, day.over = path, None, {}
        late, day.seen = await self._ask(lambda reader: reader.changed(machine, day.seen))
        for interval in late:
            day.over.pop(interval, None)

    async def _ask(self, question: Callable[[HistorianReader], T]) -> T:
        """In a thread, with a reader of its own. Raises StoreError, also where it takes too long."""
        path = self._where()
        if path is None:
            raise StoreError("there is no historian any more")
        asked = _Asked(path, question)
        answered = asyncio.get_running_loop().run_in_executor(self._threads, asked.run)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(answered)
        except TimeoutError:
            asked.give_up()
            answered.add_done_callback(_unheard)
            raise StoreError(f"the historian has not answered within {TIMEOUT:g} s") from None
        except asyncio.CancelledError:
            asked.give_up()
            answered.add_done_callback(_unheard)
            raise


class _Asked(Generic[T]):
    """One question, which may be given up from outside."""

    def __init__(self, path: Path, question: Callable[[HistorianReader], T]) -> None:
        self._path, self._question = path, question
        self._lock = threading.Lock()
        self._reader: HistorianReader | None = None
        self._given_up = False

    def run(self) -> T:
        reader = HistorianReader(self._path)
        try:
            with self._lock:
                if self._given_up:
                    raise StoreError("nobody waits for it any more")
                self._reader = reader
            return self._question(reader)
        finally:
            with self._lock:
                self._reader = None
            reader.close()

    def give_up(self) -> None:
        """End it, from another thread."""
        with self._lock:
            self._given_up = True
            if self._reader is not None:
                self._reader.interrupt()


def _each(reader: HistorianReader, machine: str, intervals: list[int]) -> dict[int, _Extremes]:
    return {each: reader.extremes(machine, each * INTERVAL, (each + 1) * INTERVAL - 1) for each in intervals}


def _joined(parts: list[_Extremes]) -> _Extremes:
    found: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (low, high) in part.items():
            before = found.get(name, (low, high))
            found[name] = min(low, before[0]), max(high, before[1])
    return found


def _unheard(answered: asyncio.Future[T]) -> None:
    """Its answer comes when nobody waits for it; neither does its error."""
    if not answered.cancelled():
        answered.exception()
