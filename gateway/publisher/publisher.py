"""From the buffer to the broker: a window of unacknowledged messages, and two marks.

    buffer ─ read(after position) ─▶ window ─▶ broker ─ PUBACK ─▶ sent mark
       ▲                                                            store ─ ranges ─▶ stored mark: records are freed
       └──────────── position goes back to the stored mark when that stands still ◀────┘

A PUBACK proves that the broker has a message in its memory, no more. So with `delivery: store` records stay until the
store says that it has them, and whatever it does not get is sent again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

from gateway.buffer import Buffer
from gateway.clock import Clock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError, PayloadError
from gateway.mqtt.link import Link, Message
from gateway.mqtt.payload import decode_stored
from gateway.mqtt.topics import Topics
from gateway.schedule import Backoff

log = logging.getLogger(__name__)

NO_SUBSCRIBERS = 0x10  # MQTT 5.0, 3.4.2.1
FAILURE = 0x80
STALL = 30.0  # seconds without progress of the stored mark, after which records are sent again
STALL_AFTER_CONNECT = 5.0  # the same after a new connection: the broker may have forgotten what it acknowledged
LONGEST_STALL = 600.0
HOLD = 5.0  # seconds at the most between two attempts after the broker refused a message
PATIENCE = 3  # refusals in a row before it is worth a word: a store that starts beside us subscribes in a moment

Retained = Iterable[tuple[str, bytes]]


class Publisher:
    """Listens to the link of the edge. `tick` is to be called about once a second, `wake` after an append."""

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
        self._position = 0  # the last seq handed to the link
        self._in_flight: dict[int, int] = {}  # message id -> seq, ascending
        self._retained: deque[tuple[str, bytes]] = deque()  # to be published, before data
        self._owed: dict[int, str] = {}  # message id -> topic of retained messages under way
        self._hold = Backoff(first=0.2, cap=HOLD)
        self._hold_until = 0.0
        self._progress = clock.monotonic()  # when the stored mark last moved
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

    def retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained message: now, or as part of the births of the next connection."""
        if self._link.connected:
            self._retained.append((topic, payload))
            self.wake()

    # --- the link ----------------------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        log.info("broker: connected")
        self.reason = ""
        self._forget_in_flight()
        self._position = self._buffer.sent
        self._progress, self._stall, self._probed = self._clock.monotonic(), STALL_AFTER_CONNECT, False
        self._retained = deque(self._births())
        if self._delivery == "store":
            self._link.subscribe([self._topics.stored("+", self._gateway)])
        self.wake()

    def on_disconnected(self, reason: str) -> None:
        if reason != self.reason:
            log.warning("broker: %s", reason)
        self.reason = reason
        self._forget_in_flight()

    def on_published(self, mid: int, reason_code: int) -> None:
        topic = self._owed.pop(mid, None)
        if topic is not None:
            if reason_code >= FAILURE:
                self._refused(topic, reason_code)
        elif seq := self._in_flight.pop(mid, 0):
            if reason_code >= FAILURE or reason_code == NO_SUBSCRIBERS:
                self._counters.refused += 1
                self._refused("data", reason_code)
                self._rewind(seq - 1)
                return
            self._counters.sent += 1
            self._hold.reset()
            self.reason = ""
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
        self._mark_stored(stored.ranges)

    # --- sending -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Fill the window."""
        link = self._link
        if not link.connected:
            return
        try:
            room = min(self._window, link.receive_maximum) - len(self._in_flight) - len(self._owed)
            while room > 0 and self._retained:
                topic, payload = self._retained.popleft()
                self._owed[link.publish(topic, payload, retain=True)] = topic
                room -= 1
            if room <= 0 or self._position >= self._buffer.accepted or self._clock.monotonic() < self._hold_until:
                return
            for record in self._buffer.read(self._position, room):
                if record.seq > self._buffer.accepted:
                    break
                self._in_flight[link.publish(record.topic, record.payload)] = record.seq
                self._position = record.seq
        except NotConnectedError:
            return  # on_disconnected follows, and everything is sent again

    def tick(self) -> None:
        """What time brings: the end of a hold, and a stored mark that stands still."""
        buffer, now = self._buffer, self._clock.monotonic()
        if self._delivery == "store" and self._link.connected:
            if buffer.stored >= buffer.sent:
                self._progress = now
            elif now - self._progress > self._stall:
                self._send_again(now)
        self.wake()

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
                self._link.publish(
                    record.topic, record.payload
                )  # nobody waits for this PUBACK: the mark is what counts
        else:
            log.info("%d messages did not arrive in the store: sending them again", waiting)
            self._counters.rewinds += 1
            self._rewind(buffer.stored)
        self._probed = True

    # --- marks -------------------------------------------------------------------------------------------------------

    def _move_sent(self) -> None:
        # Records go out in order, so everything below the lowest one under way was acknowledged, or is stored already.
        reached = next(iter(self._in_flight.values())) - 1 if self._in_flight else self._position
        if reached > self._buffer.sent:
            self._buffer.mark_sent(reached)
            if self._delivery == "broker":
                self._mark_stored([(1, reached)])

    def _mark_stored(self, ranges: Iterable[tuple[int, int]]) -> None:
        before = self._buffer.stored
        self._buffer.mark_stored(list(ranges))
        moved = self._buffer.stored - before
        if moved > 0:
            self._counters.stored += moved
            self._progress, self._stall, self._probed = self._clock.monotonic(), STALL, False
            if self.alarm:
                log.info("store: acknowledges again")
                self.alarm = ""
        self._position = max(self._position, self._buffer.stored)
        self.wake()

    def _rewind(self, to: int) -> None:
        self._forget_in_flight()
        self._buffer.mark_sent(min(to, self._buffer.sent))
        self._position = self._buffer.sent

    def _forget_in_flight(self) -> None:
        self._in_flight.clear()
        self._owed.clear()

    def _refused(self, topic: str, code: int) -> None:
        """The broker answered, and did not take it: wait, then try again from there."""
        self._hold_until = self._clock.monotonic() + self._hold.pause()
        if self._hold.attempts < PATIENCE:
            return
        if code == NO_SUBSCRIBERS:
            reason = "the broker has nobody to give the readings to: is `gateway store` running, or a subscriber there?"
        else:
            reason = f"the broker refuses '{topic}' (reason code {code}): check the broker's ACL for this gateway"
        if reason != self.reason:
            log.warning("broker: %s", reason)
        self.reason = reason

    def _alarm(self, text: str) -> None:
        if text != self.alarm:
            log.warning("store: %s", text)
        self.alarm = text
