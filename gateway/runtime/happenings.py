"""What becomes an event, and the file that keeps events over a restart.

    Edge.state, conditions of the board ─▶ Happenings ─▶ Events ─▶ the page, `gateway events`
    losses, steps of the clock            one a change     └─────▶ EventFile ─ in a thread, once a second ─▶ events.jsonl

What is told here is a change, not a state: a machine that stays away is away once. The file is for people, not for proof
(that is what loss records are for): it is not fsynced, and where it cannot be written nothing else suffers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import orjson

from gateway.clock import Clock, Step, artificial
from gateway.config import Configuration
from gateway.events import KEPT, Event, Events, Kind, stand
from gateway.faults import fault_of, fault_of_loss
from gateway.files import write_whole
from gateway.model import EARLIEST, LATEST
from gateway.mqtt.payload import Loss
from gateway.web.snapshot import STARTING, Board

log = logging.getLogger(__name__)

FILE = "events.jsonl"
MAX_BYTES = 2**20  # of the file; the one before it is kept beside it
MAX_LINE = 8192  # bytes of one event
MAX_TEXT = 2000  # characters of one text: what a server says may be long
ACCESS = 4  # a part in so many of the file is for `access`: logins push out nothing else. The audit has them all
PAUSE = 1.0  # seconds between two writes
SAME_LOSS = 60.0  # seconds in which losses of one kind are one event
LOSING = 1000  # machines and causes of which losses are added up
BEFORE = 4  # a part in so many of the file is for how machines stood before what is in it
_KINDS = frozenset(get_args(Kind))
# Reasons of the state in which everything begins, which is no change.
_FIRST = ("connecting", "not read yet", STARTING, "not connected yet", "out of reach without the broker")


@dataclass(slots=True)
class _Losing:
    """What was lost of one machine for one cause since somebody was told."""

    told: float = float("-inf")  # monotonic
    signal: str | None = None  # "" where it is not the same one in all of them
    count: int = 0  # readings

    def add(self, loss: Loss) -> None:
        self.signal = loss.signal if self.signal in (None, loss.signal) else ""
        self.count += loss.new


class Happenings:
    """Makes events of what the parts of a gateway say of themselves, over and over."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events, self._clock = events, clock
        self._states: dict[tuple[Kind, str], str] = {}  # what was told last, by kind and machine
        self._losses: dict[tuple[str, str], _Losing] = {}  # by machine and cause; what was told longest ago comes first

    def started(self, version: str) -> None:
        """To be called before anything else."""
        self._events.add(Event(self._clock.now(), "gateway", "", "started", "", f"version {version}"))

    def stopped(self) -> None:
        """The end, with a word."""
        self._events.add(Event(self._clock.now(), "gateway", "", "stopped", "", "the gateway was stopped"))

    def state(self, kind: Kind, state: str, since: int, reason: str, *, machine: str = "", fault: str = "") -> None:
        """How something stands, since when (ns). Told again it costs a look, and nothing is noted."""
        key = (kind, machine)
        before = self._states.get(key)
        if before == state or (before is None and state in ("offline", "unused") and reason in _FIRST):
            return
        self._states[key] = state
        if before is None and state == "well":  # as it should be, from the beginning
            return
        text = reason[:MAX_TEXT]
        self._events.add(Event(since, kind, machine, state, fault or fault_of(reason), text))

    def look(self, board: Board) -> None:
        """Broker, store and disk, as they are, and what has been lost meanwhile: about twice a second."""
        for kind, condition in (("broker", board.broker), ("store", board.store)):
            self.state(kind, condition.state, condition.since, condition.reason, fault=condition.fault)  # type: ignore[arg-type]
        trouble = board.usage().trouble
        self.state("buffer", "trouble" if trouble else "well", self._clock.now(), trouble)
        self.tell_losses()

    def forget(self, machine: str) -> None:
        """It is gone from the configuration."""
        self._states.pop(("machine", machine), None)

    def step(self, step: Step) -> None:
        """The clock was set."""
        text = f"{step.cause} ({(step.after - step.before) / 1e9:+.3f} s)"
        self._events.add(Event(self._clock.now(), "clock", "", "set", "clock-wrong", text))

    def lost(self, loss: Loss) -> None:
        """A loss record. While they come one after another, one event a minute says how many there were."""
        if loss.cause.startswith("clock:"):
            return  # that is an event of its own
        key = loss.machine, loss.cause
        losing = self._losses.get(key)
        if losing is None:
            while len(self._losses) >= LOSING:
                oldest = next(iter(self._losses))
                self._tell_lost(oldest, self._losses.pop(oldest))
            losing = self._losses[key] = _Losing()
        losing.add(loss)
        if self._clock.monotonic() - losing.told >= SAME_LOSS:
            self._tell_lost(key, self._losses.pop(key), unknown=True)
            self._losses[key] = _Losing(self._clock.monotonic())

    def tell_losses(self, *, at_the_end: bool = False) -> None:
        """What has added up within a minute: if no more is lost, nothing else would tell of it."""
        now = self._clock.monotonic()
        for key, losing in list(self._losses.items()):
            if now - losing.told < SAME_LOSS and not at_the_end:
                return  # those behind it were told later
            self._tell_lost(key, self._losses.pop(key))
            if losing.count:
                self._losses[key] = _Losing(now)

    def _tell_lost(self, key: tuple[str, str], losing: _Losing, *, unknown: bool = False) -> None:
        """`unknown`: also where nobody knows how many they were."""
        if not losing.count and not unknown:
            return
        machine, cause = key
        what = f"{machine}/{losing.signal}: " if losing.signal else ""
        number = f"{losing.count} readings" if losing.count else "an unknown number of readings"
        text = f"{what}{number} lost: {cause}"[:MAX_TEXT]
        self._events.add(Event(self._clock.now(), "loss", machine, "lost", fault_of_loss(cause), text))


class EventFile:
    """Keeps events in a file, which cannot grow without end."""

    def __init__(self, path: Path, events: Events, *, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._events, self._max_bytes = path, events, max_bytes
        self._waiting: deque[Event] = deque(maxlen=KEPT)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._access = 0  # bytes of `access` in the file
        self.trouble = ""  # why it cannot be written; empty while it can

    def recall(self, ended_ns: int = 0) -> None:
        """Read what there is, before the first event of this start. Raises nothing.

        `ended_ns`: the last sign of life of the process before, where it may have ended without a word.
        """
        found = list(read_events(self.path))
        self._access = sum(len(_line(each)) for each in _events_of(self.path) if each.kind == "access")
        if found and not (found[-1].kind == "gateway" and found[-1].state == "stopped"):
            end = max(found[-1].time, ended_ns)
            stopped = Event(end, "gateway", "", "stopped", "", "ended without a word: killed, or a power cut")
            found.append(stopped)
            self._waiting.append(stopped)
        self._waiting.extend(self._events)  # of this start: what was found to be lost
        self._events.recall(found)

    def start(self) -> None:
        """Write from now on, in the running event loop."""
        self._events.listeners.append(self._note)
        if self._waiting:
            self._woken.set()
        self._task = asyncio.create_task(self._run(), name="event file")

    async def stop(self) -> None:
        """Write what is left. Safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        self._events.listeners.remove(self._note)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._flush()

    def _note(self, event: Event) -> None:
        self._waiting.append(event)
        self._woken.set()

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            await asyncio.sleep(PAUSE)  # what happens together is written together
            await self._flush()

    async def _flush(self) -> None:
        events = list(self._waiting)
        self._waiting.clear()
        if not events:
            return
        # Shielded: a write that is under way when we are told to stop would be done twice.
        try:
            trouble = await asyncio.shield(asyncio.to_thread(self._write, events))
        except Exception as exc:  # whatever it is: the next ones are written again
            log.exception("%s: %d events are not kept over a restart", self.path, len(events))
            trouble = repr(exc)
        if trouble and not self.trouble:
            log.warning("%s: events are not kept over a restart: %s", self.path, trouble)
        elif self.trouble and not trouble:
            log.info("%s: events are kept again", self.path)
        self.trouble = trouble

    def _write(self, events: Iterable[Event]) -> str:
        """Append them; why not, where that fails: half a line at the end is skipped by whoever reads it."""
        lines = [(event.kind == "access", _line(event)) for event in events]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                room = self._max_bytes - self._max_bytes // BEFORE
                if self.path.stat().st_size + sum(len(line) for _, line in lines) > room:
                    self._put_aside()
            data = self._bounded(lines)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(self.path, flags, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return "it is no file"
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    data = b"\n" + data  # behind what a full disk or a power cut has left
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as exc:
            return exc.strerror or str(exc)
        return ""

    def _put_aside(self) -> None:
        """It becomes the one before it. How machines stood before that is put in front: one that flaps hides no other."""
        standing: dict[str, Event] = {}
        for event in _events_of(_older(self.path)):
            stand(standing, event)
        before, room = list[bytes](), self._max_bytes // BEFORE
        for line in map(_line, reversed(standing.values())):
            room -= len(line)
            if room < 0:
                break
            before.append(line)
        if before:
            write_whole(self.path, b"".join(reversed(before)) + _tail(self.path))
        self.path.replace(_older(self.path))
        self._access = 0

    def _bounded(self, lines: Iterable[tuple[bool, bytes]]) -> bytes:
        """Without those of `access` that are more than their part of the file."""
        data = []
        for access, line in lines:
            if access and self._access + len(line) > self._max_bytes // ACCESS:
                continue
            self._access += len(line) if access else 0
            data.append(line)
        return b"".join(data)


@asynccontextmanager
async def kept(path: Path, events: Events, clock: Clock, version: str, known_ns: int = 0) -> AsyncIterator[None]:
    """Events of before come first, and those of this process are kept, from its start to its end.

    `known_ns`: the newest stamp that an earlier process has left anywhere.
    """
    file, happenings = EventFile(path, events), Happenings(events, clock)
    await asyncio.to_thread(file.recall, known_ns)
    file.start()
    happenings.started(version)
    try:
        yield
    finally:
        happenings.stopped()
        await file.stop()


def event_file(configuration: Configuration) -> Path:
    """Where the events of a configuration are kept."""
    return configuration.resolve(configuration.settings.gateway.data_dir) / FILE


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file and of the one before it, oldest first. What is damaged is skipped. Raises nothing."""
    for file in (_older(path), path):
        yield from _events_of(file)


def _events_of(file: Path) -> Iterator[Event]:
    for line in _tail(file).split(b"\n"):
        if line and len(line) <= MAX_LINE and (event := _event(line)) is not None:
            yield event


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _tail(path: Path) -> bytes:
    """The end of a file, as far as it may be long."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                return b""
            return os.pread(file, MAX_BYTES, max(0, about.st_size - MAX_BYTES))
        finally:
            os.close(file)
    except OSError:
        return b""


def _line(event: Event) -> bytes:
    entry = {"t": event.time, "kind": event.kind, "machine": event.machine, "state": event.state}
    entry |= {"fault": event.fault, "text": event.text[:MAX_TEXT]}
    try:
        line = orjson.dumps(entry)
    except TypeError:  # half a surrogate pair, in a text from a machine
        line = orjson.dumps({key: _sound(value) for key, value in entry.items()})
    return line + b"\n" if len(line) < MAX_LINE else orjson.dumps(entry | {"text": ""}) + b"\n"


def _sound(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _event(line: bytes) -> Event | None:
    try:
        entry = orjson.loads(line)
        time, kind = entry["t"], entry["kind"]
        texts = [entry[key] for key in ("machine", "state", "fault", "text")]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if type(time) is not int or not all(isinstance(each, str) for each in (kind, *texts)) or kind not in _KINDS:
        return None
    return Event(time, kind, *texts) if EARLIEST <= time < LATEST or artificial(time) else None
