"""From the broker into the store, and the proof of it back.

    broker ─▶ on_message ─▶ pending ─▶ store.write, in a thread ─▶ committed ─▶ PUBACK to the broker
                                            │                          └──────▶ retained ranges to the gateways
                                            └─ StoreError: nothing is acknowledged, the same again after a pause

A store that may lose what it took (`settles`) is asked every second what has become safe: gateways learn no more.
Nothing is kept here beyond what the broker sends before it wants an answer; while the store is down it holds the rest.
A connection that breaks brings everything again that was not acknowledged: a store takes it twice without harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from gateway.clock import Clock, SystemClock
from gateway.errors import NotConnectedError, PayloadError, StoreError
from gateway.faults import Reason, fault_of, tagged
from gateway.mqtt.link import Link, Message
from gateway.mqtt.topics import Topics
from gateway.schedule import Backoff
from gateway.store.acknowledgements import Acknowledgements
from gateway.store.contract import Entry, Lost, Readings, Store
from gateway.store.identities import identities_of
from gateway.store.inbox import Inbox

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BATCH = 200  # messages in one commit
EAGER = 16  # messages not worth waiting for more: brokers send about 20 before they want an answer
LINGER = 0.2  # seconds to wait for more than that
IDLE = 5.0  # seconds between two looks at the house-keeping when nothing comes
DESCRIBED_WITHIN = 1.0  # seconds after connecting in which a machine's meta may still be on its way
LOOK = 1.0  # seconds between two looks at what has settled
MAX_COMPLAINTS = 1000  # topics and reasons that are logged once


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the writer is, for the status page. Counts are since start-up."""

    ok: bool
    reason: str  # a sentence for people; empty while all is well
    since: int  # ns: when it became so
    messages: int  # stored
    readings: int  # in them
    losses: int  # loss records stored
    refused: int  # readings the store will never take: recorded as lost, kept as dead letters
    rejected: int  # messages that are not of our format
    lag: float | None  # seconds from the newest reading of the last commit to that commit
    last: int | None  # ns: the last commit


class StoreWriter:
    """A listener of its link. Whoever made link and store closes the store after `stop`."""

    def __init__(
        self,
        link: Link,
        topics: Topics,
        store: Store,
        name: str,
        share: str | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`name` is this writer's in topics; writers with the same `share` divide the messages among them."""
        self._link, self._topics, self._store, self._share = link, topics, store, share
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self.turns = 0  # for the watchdog: a store that is away is tried again and again
        self._acks = Acknowledgements(link, topics, name, self._clock, shared=share is not None)
        self._inbox = Inbox(topics)
        self._pending: list[Message] = []
        self._generation = 0
        self._described_by = self._look = 0.0
        self._woken = asyncio.Event()
        self._stopping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store-{name}")
        self._task: asyncio.Task[None] | None = None
        self._complaints: set[tuple[str, str]] = set()
        self._troubles: dict[str, str] = {"broker": "not connected yet"}  # by where they are
        self._told: set[str] = set()  # where those are that were logged: at first not being connected is no news
        self.on_reached: Callable[[], None] = _nothing  # called when the broker is there
        self._since = self._clock.now()
        self._messages = self._readings = self._losses = self._refused = self._rejected = 0
        self._lag: float | None = None
        self._last: int | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin, for ever, in the background. Raises StoreError when the store cannot say what it has."""
        self._acks.begin(await self._in_thread(self._store.stored), self._store.remembers)
        self._task = asyncio.create_task(self._run(), name="store writer")
        await self._link.start(self)

    async def stop(self) -> None:
        """Finish the write in progress and end; what is not acknowledged stays with the broker. Safe to call twice."""
        self._stopping = True
        self._woken.set()
        task, self._task = self._task, None
        if task is not None:
            await task
        await self._link.stop()
        self._thread.shutdown()

    @property
    def status(self) -> StoreStatus:
        """For the status page."""
        reasons = list(dict.fromkeys(self._troubles.values()))
        return StoreStatus(
            not reasons, Reason("; ".join(reasons), fault_of(reasons[0]) if reasons else ""), self._since, self._messages, self._readings,
            self._losses, self._refused, self._rejected, self._lag, self._last,
        )  # fmt: skip

    def try_now(self) -> None:
        """The broker is there, as somebody else has found out."""
        self._link.try_now()

    # --- what the link calls -------------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self._described_by = asyncio.get_running_loop().time() + DESCRIBED_WITHIN
        divided = [*self._topics.every("data"), self._topics.loss("+")]
        if self._share is not None:
            divided = [f"$share/{self._share}/{each}" for each in divided]
        with suppress(NotConnectedError):
            # What machines are, and what is stored, comes first: the broker sends what it retains in this order.
            known = [*self._topics.every("meta"), self._topics.stored("+", "+"), self._topics.gateway_status("+")]
            self._link.subscribe(known)
            self._link.subscribe(divided)
        self._acks.publish_all()
        self._well("broker")
        self.on_reached()

    def on_disconnected(self, reason: str) -> None:
        self._generation += 1
        self._pending.clear()  # comes again
        self._acks.forget_sent()
        self._trouble("broker", reason)
        self._woken.set()

    def on_published(self, mid: int, reason_code: int) -> None:
        refused = self._acks.published(mid, reason_code)
        if refused:
            self._trouble("acknowledgement", refused)

    def on_message(self, message: Message) -> None:
        try:
            if self._acks.concerns(message):
                self._acks.heard(message)
            elif gateway := self._inbox.greets(message):
                self._acks.publish(gateway)
            else:
                self._inbox.learn(message)
        except PayloadError as exc:
            self._reject(message, str(exc))
        self._pending.append(message)  # all of them: PUBACKs go out in the order of the messages (MQTT 5.0, 4.6)
        self._woken.set()

    # --- the way into the store ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        more = False
        while not self._stopping:
            self.turns += 1
            try:
                more = await self._turn(more)
            except Exception as exc:
                log.exception("unexpected error in the store writer; it goes on")
                self._trouble("writer", Reason(repr(exc), "unexpected-error"))
                await self._until(lambda: False, self._backoff.pause())

    async def _turn(self, more: bool) -> bool:
        batch = await self._collect(0 if more else LOOK if self._store.settles else IDLE)
        if batch:
            await self._deal_with(batch)
        await self._settle()
        return await self._tidy()

    async def _collect(self, patience: float) -> list[Message]:
        await self._until(lambda: bool(self._pending), patience)
        if self._pending:
            await self._until(lambda: len(self._pending) >= EAGER, LINGER)
            await self._until(self._described, self._described_by - asyncio.get_running_loop().time())
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        return batch

    async def _deal_with(self, batch: list[Message]) -> None:
        """Store a batch and say so, or give it back to the broker by not acknowledging it."""
        generation = self._generation
        while not self._stopping and generation == self._generation:
            try:
                entries, rejects, refused = await self._in_thread(self._write, batch)
            except StoreError as exc:
                self._trouble("store", Reason(str(exc), exc.fault))
                await self._until(lambda: generation != self._generation, self._backoff.pause())
            except Exception as exc:
                log.exception("unexpected error while storing %d messages", len(batch))
                if len(batch) > 1:  # only what causes it shall suffer
                    for message in batch:
                        await self._deal_with([message])
                    return
                if await self._give_up(batch[0], f"cannot be stored: {exc!r}"):
                    return
            else:
                for message, reason in rejects:
                    self._reject(message, reason)
                await self._stored(entries, refused)
                self._link.ack(batch)
                return

    def _write(self, batch: Sequence[Message]) -> tuple[list[Entry], list[tuple[Message, str]], Sequence[Lost]]:
        """In the thread: what was written, what is not of our format, and what the store refused."""
        entries: list[Entry] = []
        rejects: list[tuple[Message, str]] = []
        for message in batch:
            try:
                entries += self._inbox.entries(message)
            except PayloadError as exc:
                rejects.append((message, str(exc)))
                entries += self._inbox.refused(message, str(exc), self._clock.now())
        return entries, rejects, self._store.write(entries) if entries else ()

    async def _give_up(self, message: Message, reason: str) -> bool:
        """One message breaks the store: it is recorded as lost, or its gateway would send it for ever.

        False when the store is away just now: without the record, the message must not be acknowledged either.
        """
        lost = self._inbox.refused(message, reason, self._clock.now())
        try:
            if lost:
                await self._in_thread(self._store.write, lost)
        except StoreError as exc:
            self._trouble("store", Reason(str(exc), exc.fault))
            generation = self._generation
            await self._until(lambda: generation != self._generation, self._backoff.pause())
            return False
        except Exception:
            log.exception("not even the loss of a message can be stored")
        else:
            await self._stored(lost, ())
        self._reject(message, reason)
        self._link.ack([message])
        return True

    async def _stored(self, entries: Sequence[Entry], refused: Sequence[Lost]) -> None:
        self._backoff.reset()
        self._well("store")
        self._well("acknowledgement")
        readings = [entry for entry in entries if isinstance(entry, Readings)]
        losses = [entry for entry in entries if isinstance(entry, Lost)]
        self._last = self._clock.now()
        self._messages += len(readings)
        self._readings += sum(entry.count for entry in readings)
        self._losses += len(losses)
        for lost in refused:
            self._refused += lost.loss.count
            self._complain(f"{lost.gateway}/{lost.loss.machine}", lost.loss.cause)
        newest = max((frame.time for entry in readings for frame in entry.data.frames), default=None)
        if newest is not None:
            self._lag = (self._last - newest) / 1e9
        identities = identities_of(entries)
        if missing := self._acks.missing(identities):
            self._acks.recall(await self._in_thread(self._store.stored), missing)
        self._acks.note([*readings, *losses])
        self._acks.settles = self._store.settles
        if not self._store.settles:
            self._acks.stored(identities)

    async def _settle(self) -> None:
        """Tell what the store has had for long enough."""
        now = asyncio.get_running_loop().time()
        if not self._store.settles or now < self._look:
            return
        self._look = now + LOOK
        try:
            settled = await self._in_thread(self._store.settled)
        except StoreError as exc:
            self._trouble("settling", Reason(str(exc), exc.fault))
            return
        self._well("settling")
        self._acks.stored(settled)

    async def _tidy(self) -> bool:
        try:
            more = await self._in_thread(self._store.tidy)
        except StoreError as exc:
            self._trouble("house-keeping", Reason(str(exc), exc.fault))
            return False
        except Exception as exc:
            log.exception("unexpected error while tidying up the store")
            self._trouble("house-keeping", Reason(repr(exc), "unexpected-error"))
            return False
        self._well("house-keeping")
        return more

    # --- small things --------------------------------------------------------------------------------------------------

    def _described(self) -> bool:
        """True when no message waits whose machine's place can only be guessed."""
        return all(map(self._inbox.knows, {message.topic for message in self._pending}))

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait for a condition, the timeout or the end, whichever comes first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not self._stopping and not condition() and (left := deadline - loop.time()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()

    async def _in_thread(self, do: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do, *args)

    def _reject(self, message: Message, reason: str) -> None:
        self._rejected += 1
        self._complain(message.topic, reason)

    def _complain(self, topic: str, reason: str) -> None:
        """Log it, once for each topic and reason."""
        if (topic, reason) not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.add((topic, reason))
            log.warning("not stored, from %s: %s", topic, reason)

    def _trouble(self, where: str, reason: str) -> None:
        if not self._troubles:
            self._since = self._clock.now()
        if where not in self._told:
            self._told.add(where)
            log.warning("storing is held up: %s", tagged(reason), extra={"fault": fault_of(reason)})
        self._troubles[where] = reason

    def _well(self, where: str) -> None:
        if self._troubles.pop(where, None) and not self._troubles:
            self._since = self._clock.now()
            if self._told:
                log.info("storing again")
                self._told.clear()
