"""From the buffer to the broker: a window of unacknowledged messages, and two marks.

    buffer ─ read(after position) ─▶ window ─▶ broker ─ PUBACK ─▶ sent mark
       ▲                               ▲  │                          store ─ ranges ─▶ stored mark: records are freed
       │                               │  └ refused ─▶ its topic waits, and is tried again; the others go on
       └──── position goes back to the stored mark when that stands still ◀────┘

A PUBACK proves that the broker has a message in its memory, no more. So with `delivery: store` records stay until the
store says that it has them, and whatever it does not get is sent again.
"""

from __future__ import annotations

import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from gateway.buffer import Buffer
from gateway.buffer.contract import Record
from gateway.clock import Clock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError, PayloadError
from gateway.mqtt.link import Link, Message
from gateway.mqtt.payload import decode_stored
from gateway.mqtt.topics import Topics
from gateway.schedule import Backoff

log = logging.getLogger(__name__)

# Reason codes of a PUBACK: MQTT 5.0, 3.4.2.1.
NO_SUBSCRIBERS = 0x10
FAILURE = 0x80
FOR_GOOD = {0x90: "topic-refused", 0x95: "too-large", 0x99: "payload-refused"}  # no use to try again
STALL = 30.0  # seconds without progress of the stored mark, after which records are sent again
STALL_AFTER_CONNECT = 5.0  # the same after a new connection: the broker may have forgotten what it acknowledged
LONGEST_STALL = 600.0
HOLD = 5.0  # seconds at the most between two attempts with a topic that the broker refuses
PATIENCE = 3  # refusals in a row before it is worth a word: a store that starts beside us subscribes in a moment

Content = bytes | Callable[[], bytes]  # of a retained message; a large one is made when it is sent
Retained = Iterable[tuple[str, Content]]


@dataclass(slots=True)
class _Topic:
    """A topic the broker does not take at the moment, and what waits for it."""

    waiting: deque[int] = field(default_factory=deque)  # seqs, ascending
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.2, cap=HOLD))
    until: float = 0.0
    trying: bool = False  # one message is under way, to find out
    open: bool = False  # it went through, the others follow


class Publisher:
    """Listens to the link of the edge. `tick` is to be called about twice a second, `wake` after an append."""

    def __init__(
        self,
        link: Link,
        buffer: Buffer,
        topics: Topics,
        gateway: str,
        clock: Clock,
        counters: FlowCounters,
        *,
        delivery: Literal["store", "broker"],
        window: int,
        births: Callable[[], Retained],
    ) -> None:
        """`births` gives the retained messages of a new connection: meta and status of all machines, and our own."""
        self._link, self._buffer, self._topics = link, buffer, topics
        self._gateway, self._clock, self._counters = gateway, clock, counters
        self._delivery, self._window, self._births = delivery, window, births
        self._position = 0  # the last seq that was handed to the link, or waits for its topic
        self._furthest = 0  # the highest position there ever was: no store can have what lies beyond
        self._in_flight: dict[int, tuple[int, str]] = {}  # message id -> seq and topic, ascending
        self._refused: dict[str, _Topic] = {}
        self._retained: dict[str, Content] = {}  # to be published before data: the newest of each topic
        self._owed: dict[int, str] = {}  # message id -> topic of retained messages under way
        self._forgotten: set[int] = set()  # message ids under way that no longer matter, but fill the window
        self._progress = clock.monotonic()  # when the stored mark last moved
        self._moved = self._progress  # the same, but not for another attempt
        self._stall = STALL
        self._probed = False
        self.reason = "not connected yet"  # why nothing flows; empty while all is well
        self.alarm = ""  # what somebody should look at although messages flow

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def busy(self) -> bool:
        """Something is still on its way to where it belongs."""
        return self._buffer.stored < self._buffer.accepted or bool(self._retained or self._owed)

    @property
    def unanswered(self) -> float:
        """Seconds the store has said nothing about what the broker took; 0 while it keeps up."""
        if self._delivery == "broker" or self._buffer.stored >= self._buffer.sent:
            return 0.0
        return self._clock.monotonic() - self._moved

    def retain(self, topic: str, payload: Content) -> None:
        """Publish a retained message: now, or as part of the births of the next connection."""
        if self._link.connected:
            self._retained[topic] = payload
            self.wake()

    # --- the link ----------------------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        log.info("broker: connected")
        self.reason = ""
        self._start_over()
        self._forgotten.clear()
        self._progress, self._stall = self._clock.monotonic(), STALL_AFTER_CONNECT
        self._retained = dict(self._births())
        if self._delivery == "store":
            self._link.subscribe([self._topics.stored("+", self._gateway)])
        self.wake()

    def on_disconnected(self, reason: str) -> None:
        if reason != self.reason:
            log.warning("broker: %s", reason)
        self.reason = reason
        self._start_over()
        self._forgotten.clear()

    def on_published(self, mid: int, reason_code: int) -> None:
        if mid in self._forgotten:
            self._forgotten.discard(mid)
        elif (retained := self._owed.pop(mid, None)) is not None:
            if reason_code >= FAILURE:
                self._say(self._why(retained, reason_code))
        elif (found := self._in_flight.pop(mid, None)) is not None:
            seq, topic = found
            if reason_code >= FAILURE or reason_code == NO_SUBSCRIBERS:
                self._hold(topic, seq, reason_code)
            else:
                self._counters.sent += 1
                self._taken(topic)
            self._move_sent()
        self.wake()

    def on_message(self, message: Message) -> None:
        self._link.ack([message])
        try:
            stored = decode_stored(message.payload)
        except PayloadError as exc:
            self._alarm(f"{message.topic}: a store's acknowledgement cannot be read: {exc}")
            return
        if (stored.gateway, stored.epoch) != (self._gateway, self._buffer.epoch):
            return  # of another gateway, or of our life before
        # Nobody can have stored what was never sent.
        self._mark_stored(
            (first, min(last, self._furthest)) for first, last in stored.ranges if first <= self._furthest
        )

    # --- sending -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Fill the window: what is retained first, then topics that were refused, then what is new."""
        if not self._link.connected:
            return
        try:
            while self._retained and self._room() > 0:
                topic = next(iter(self._retained))
                content = self._retained.pop(topic)
                payload = content if isinstance(content, bytes) else content()
                self._owed[self._link.publish(topic, payload, retain=True)] = topic
            if self._refused:
                self._try_again()
            while (room := self._room()) > 0 and self._position < self._buffer.accepted:
                records = self._buffer.read(self._position, room)
                for record in records:
                    if record.seq > self._buffer.accepted:
                        return
                    self._position = record.seq
                    held = self._refused.get(record.topic)
                    if held is not None:
                        held.waiting.append(record.seq)
                    else:
                        self._send(record)
                if not records:
                    self._position = self._buffer.accepted
        except NotConnectedError:
            return  # on_disconnected follows, and everything is sent again

    def tick(self) -> None:
        """What time brings: another attempt with what was refused, and a stored mark that stands still."""
        buffer, now = self._buffer, self._clock.monotonic()
        if self._delivery == "store" and self._link.connected:
            if buffer.stored >= buffer.sent:
                self._progress = self._moved = now
            elif now - self._progress > self._stall:
                self._send_again(now)
        self.wake()

    def _room(self) -> int:
        under_way = len(self._in_flight) + len(self._owed) + len(self._forgotten)
        return min(self._window, self._link.receive_maximum) - under_way

    def _send(self, record: Record) -> None:
        self._in_flight[self._link.publish(record.topic, record.payload)] = (record.seq, record.topic)
        self._furthest = max(self._furthest, record.seq)

    def _send_again(self, now: float) -> None:
        """The store does not acknowledge what the broker has: ask with one record, and rewind once it answers."""
        buffer = self._buffer
        waiting = buffer.sent - buffer.stored
        self._progress = now
        if self._probed:
            self._stall = min(LONGEST_STALL, self._stall * 2)
            self._alarm(
                f"the store has not acknowledged {waiting} messages the broker took: is `gateway store` running?"
            )
            for record in buffer.read(buffer.stored, 1):
                try:
                    self._forgotten.add(self._link.publish(record.topic, record.payload))
                except NotConnectedError:
                    return
        else:
            log.info("%d messages did not arrive in the store: sending them again", waiting)
            self._counters.rewinds += 1
            self._rewind(buffer.stored)
        self._probed = True

    # --- what the broker refuses ---------------------------------------------------------------------------------------

    def _hold(self, topic: str, seq: int, code: int) -> None:
        """The broker answered, and did not take it: this topic waits and is tried again, the others go on."""
        if code in FOR_GOOD:
            self._counters.refused += 1
            self._buffer.give_up(seq, FOR_GOOD[code])
            self._taken(topic)
            return
        held = self._refused.setdefault(topic, _Topic())
        insort(held.waiting, seq)
        if held.trying or held.open or not held.backoff.attempts:
            held.until = self._clock.monotonic() + held.backoff.pause()
            held.trying = held.open = False
        if held.backoff.attempts >= PATIENCE:
            self._counters.refused += 1
            self._say(self._why(topic, code))

    def _try_again(self) -> None:
        """One message of each topic whose time has come; when it is taken, all the others."""
        now = self._clock.monotonic()
        for topic, held in list(self._refused.items()):
            while held.waiting and held.waiting[0] <= self._buffer.stored:
                held.waiting.popleft()
            if not held.waiting and not held.trying:
                del self._refused[topic]
            while held.waiting and not held.trying and now >= held.until and self._room() > 0:
                seq = held.waiting.popleft()
                for record in self._buffer.read(seq - 1, 1):
                    if record.seq == seq:  # and not stored meanwhile
                        held.trying = not held.open
                        self._send(record)

    def _taken(self, topic: str) -> None:
        """A message of this topic went through: whatever waits for it follows at once."""
        held = self._refused.get(topic)
        if held is not None:
            held.trying, held.open, held.until = False, True, 0.0
            held.backoff.reset()
        if not any(each.backoff.attempts >= PATIENCE for each in self._refused.values()):
            self.reason = ""

    def _why(self, topic: str, code: int) -> str:
        if code == NO_SUBSCRIBERS:
            who = "is `gateway store` running" if self._delivery == "store" else "does anybody subscribe to it"
            return f"the broker has nobody to give '{topic}' to: {who}?"
        return f"the broker refuses '{topic}' (reason code {code}): check the broker's ACL for this gateway"

    # --- marks -------------------------------------------------------------------------------------------------------

    def _move_sent(self) -> None:
        # Records go out in order, so everything below the lowest one under way or waiting was acknowledged or is stored.
        lowest = self._position + 1
        if self._refused:
            waiting = [held.waiting[0] for held in self._refused.values() if held.waiting]
            lowest = min([lowest, *waiting, *(seq for seq, _ in self._in_flight.values())])
        elif self._in_flight:
            lowest = next(iter(self._in_flight.values()))[0]
        if lowest - 1 > self._buffer.sent:
            self._buffer.mark_sent(lowest - 1)
            if self._delivery == "broker":
                self._mark_stored([(1, lowest - 1)])

    def _mark_stored(self, ranges: Iterable[tuple[int, int]]) -> None:
        before = self._buffer.stored
        self._buffer.mark_stored(list(ranges))
        moved = self._buffer.stored - before
        if moved > 0:
            self._counters.stored += moved
            self._progress = self._moved = self._clock.monotonic()
            self._stall = STALL_AFTER_CONNECT if self._probed else STALL  # what is missing besides shall not wait long
            self._probed = False
            if self.alarm:
                log.info("store: acknowledges again")
                self.alarm = ""
        self._position = max(self._position, self._buffer.stored)
        self.wake()

    def _rewind(self, to: int) -> None:
        """Within a connection: what is under way still fills the window, but its answers do not matter."""
        self._forgotten |= self._in_flight.keys()
        self._in_flight.clear()
        self._refused.clear()
        self._buffer.mark_sent(min(to, self._buffer.sent))
        self._position = self._buffer.sent

    def _start_over(self) -> None:
        """Of another connection nothing is under way."""
        self._owed.clear()
        self._rewind(self._buffer.sent)

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            log.warning("broker: %s", reason)
        self.reason = reason

    def _alarm(self, text: str) -> None:
        if text != self.alarm:
            log.warning("store: %s", text)
        self.alarm = text
