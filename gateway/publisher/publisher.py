"""From the buffer to the broker: a window of unacknowledged messages, and two marks.

    buffer ─ what is new ──▶ live ─────┐
       │                               ├─▶ window ─▶ broker ─ PUBACK ─▶ sent mark
       └─ what waited ─────▶ history ──┘     │                 store ─ ranges ─▶ stored mark: records are freed
              ▲        (in order, at its own pace)
              │                              └ refused ─▶ its topic waits, and is tried again; the others go on
              └──── everything above the stored mark, when that stands still

A PUBACK proves that the broker has a message in its memory, no more. So with `delivery: store` records stay until the
store says that it has them, and whatever it does not get is sent again. What has piled up meanwhile does not delay what
is new: it follows in order beside it, no faster than the store takes it (gateway/publisher/history.py).
"""

from __future__ import annotations

import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.buffer import Buffer
from gateway.buffer.contract import NotReadableError, Record
from gateway.clock import Clock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError, PayloadError
from gateway.faults import Reason, fault_of, tagged
from gateway.mqtt.link import Link, Message
from gateway.mqtt.payload import decode_stored
from gateway.mqtt.topics import Topics
from gateway.publisher.history import History
from gateway.schedule import Backoff

log = logging.getLogger(__name__)

# Reason codes of a PUBACK: MQTT 5.0, 3.4.2.1.
NO_SUBSCRIBERS = 0x10
FAILURE = 0x80
FOR_GOOD = {0x90: "topic-refused", 0x95: "too-large", 0x99: "payload-refused"}  # no use to try again
STALL = 30.0  # seconds without progress of the stored mark, after which records are sent again
STALL_AFTER_CONNECT = 5.0  # the same after a new connection: the broker may have forgotten what it acknowledged
LONGEST_STALL = 600.0
SILENCE = 10.0  # seconds after which a store that says nothing counts as away
HOLD = 5.0  # seconds at the most between two attempts with a topic that the broker refuses
BEHIND = 4  # windows that what is new may be behind, before it is left to follow
AT_ONCE = 0.05  # seconds that may be spent on what waited, before others have their turn
MOST_WAITING = 10_000  # messages of a topic that is refused, before no more of the backlog is looked at
PATIENCE = 3  # refusals in a row before it is worth a word: a store that starts beside us subscribes in a moment

Content = bytes | Callable[[], bytes]  # of a retained message; a large one is made when it is sent
Retained = Iterable[tuple[str, Content]]


def _nothing(*_: Any) -> None: ...


def _nobody() -> str | None:
    return None


@dataclass(slots=True)
class _Topic:
    """A topic the broker does not take at the moment, and what waits for it."""

    waiting: deque[int] = field(default_factory=deque)  # positions, ascending
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
        latest: Callable[[], Retained] = tuple,
        rate: float | None = None,
        hold: bool = True,
        on_retained: Callable[[str], None] = _nothing,
        on_word: Callable[[str, bytes], None] = _nothing,
        writer: Callable[[], str | None] = _nobody,
    ) -> None:
        """`births` gives the retained messages of a new connection: meta and status of all machines, and our own.

        `latest` gives what is true now, which is retained as long as older readings follow. `rate`: bytes per second
        at the most of what waited. Without `hold` a message that nobody subscribes to counts as taken. `on_retained` is
        called with a topic when the broker has the newest that was to be retained there, `on_word` with what stands at a
        topic that was asked for. `writer`: what the store writer of this process says is wrong, "" for nothing; None
        where there is none.
        """
        self._link, self._buffer, self._topics = link, buffer, topics
        self._gateway, self._clock, self._counters = gateway, clock, counters
        self._delivery, self._window, self._births = delivery, window, births
        self._hold_unheard, self._latest, self._on_retained = hold, latest, on_retained
        self._writer, self._on_word = writer, on_word
        self._answers = topics.stores  # what the topics of writers begin with
        self.on_reached: Callable[[], None] = _nothing  # called when the broker is there
        self._told: set[str] = set()  # what has been logged since all was well
        self._shown: list[str] = []  # topics of what is retained while older readings follow
        self._live = buffer.sent  # the last position that was handed on as new, or waits for its topic
        self._history = History(rate, limited=delivery == "store")  # what lies below it and is to be sent
        self._furthest = buffer.last  # the highest there ever was: no store can have what lies beyond
        self._in_flight: dict[int, tuple[int, str]] = {}  # message id -> position and topic
        self._refused: dict[str, _Topic] = {}
        self._retained: dict[str, Content] = {}  # to be published before data: the newest of each topic
        self._owed: dict[int, str] = {}  # message id -> topic of retained messages under way
        self._forgotten: set[int] = set()  # message ids under way that no longer matter, but fill the window
        self._oldest: int | None = None  # the first position the broker took, and the store has said nothing about
        self._progress = clock.monotonic()  # since when it is that one
        self._moved = self._progress  # when the store last said anything
        self._stall = STALL
        self._settles = 0.0  # seconds by which the store's acknowledgements lag
        self._probed = False
        self.turns = 0  # ticks, for the watchdog
        self.reason: str = Reason("not connected yet", "not-connected")  # why nothing flows; empty while all is well
        self.alarm: str = ""  # what somebody should look at although messages flow

    @property
    def connected(self) -> bool:
        return self._link.connected

    def try_now(self) -> None:
        """The broker is there, as somebody else has found out."""
        self._link.try_now()

    @property
    def busy(self) -> bool:
        """Something is still on its way to where it belongs."""
        return self._buffer.missing(self._buffer.ready) > 0 or bool(self._retained or self._owed)

    @property
    def backlog(self) -> int:
        """Messages that waited and are still to be sent."""
        return self._history.count

    @property
    def unanswered(self) -> float:
        """Seconds the store has said nothing about what the broker took; 0 while it keeps up."""
        if self._delivery == "broker" or self._unanswered() <= 0:
            return 0.0
        return self._clock.monotonic() - self._moved

    @property
    def _soon(self) -> float:
        """Seconds within which a store that is there acknowledges."""
        return STALL_AFTER_CONNECT + self._settles

    @property
    def silence(self) -> float:
        """Seconds after which a store that says nothing is away."""
        return SILENCE + self._settles

    def include(self) -> None:
        """There is more in the buffer than before, and older."""
        self._rewind(self._buffer.sent)
        self.wake()

    def retain(self, topic: str, payload: Content) -> None:
        """Publish a retained message: now, or as part of the births of the next connection."""
        if self._link.connected:
            self._retained[topic] = payload
            self.wake()

    def ask(self, topics: Sequence[str]) -> None:
        """Hear from now on what stands at these topics, as long as this connection. Raises NotConnectedError."""
        self._link.subscribe(topics)

    @property
    def saying(self) -> bool:
        """Something retained is still on its way."""
        return bool(self._retained or self._owed)

    def use(
        self, link: Link, *, delivery: Literal["store", "broker"], window: int, rate: float | None, hold: bool
    ) -> None:
        """Another link from now on, to be started next; the one before has been stopped. Nothing counts as sent that is not."""
        self._link, self._delivery, self._window, self._hold_unheard = link, delivery, window, hold
        self._history = History(rate, limited=delivery == "store")
        self.alarm = ""
        self.on_disconnected("connecting anew: its settings were changed")

    # --- the link ----------------------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        log.info("broker: connected")
        self._well()
        self.on_reached()
        self._start_over()
        self._forgotten.clear()
        self._oldest, self._progress, self._stall = None, self._clock.monotonic(), self._soon
        self._retained = dict(self._births())
        if self._history.count > BEHIND * self._window:
            now = dict(self._latest())
            self._retained |= now
            self._shown = list(now)
        if self._delivery == "store":
            self._link.subscribe([self._topics.stored("+", self._gateway)])
        self.wake()

    def on_disconnected(self, reason: str) -> None:
        if reason != self.reason:
            log.warning("broker: %s", tagged(reason), extra={"fault": fault_of(reason)})
        self.reason = reason
        self._told.clear()
        self._start_over()
        self._forgotten.clear()

    def on_published(self, mid: int, reason_code: int) -> None:
        if mid in self._forgotten:
            self._forgotten.discard(mid)
        elif (retained := self._owed.pop(mid, None)) is not None:
            if reason_code >= FAILURE:
                self._say(self._why(retained, reason_code))
            elif retained not in self._retained and retained not in self._owed.values():
                self._on_retained(retained)
        elif (found := self._in_flight.pop(mid, None)) is not None:
            position, topic = found
            if reason_code >= FAILURE or (reason_code == NO_SUBSCRIBERS and self._hold_unheard):
                self._hold(topic, position, reason_code)
            else:
                self._counters.sent += 1
                self._taken(topic)
                if self._delivery == "broker":
                    self._delivered(position)
                elif self._oldest is None:
                    self._note_oldest()
            self._move_sent()
        self.wake()

    def on_message(self, message: Message) -> None:
        self._link.ack([message])
        if not message.topic.startswith(self._answers):
            self._on_word(message.topic, message.payload)
            return
        try:
            stored = decode_stored(message.payload)
        except PayloadError as exc:
            self._alarm(Reason(f"{message.topic}: a store's acknowledgement cannot be read: {exc}", "store-silent"))
            return
        if stored.gateway == self._gateway:
            self._settles = stored.settles
            before = self._buffer.dealt_with
            self._buffer.mark_stored(stored.epoch, stored.ranges, self._furthest)
            self._note_stored(before)

    # --- sending -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Fill the window: what is retained first, then topics that were refused, then what is new."""
        if not self._link.connected:
            return
        try:
            while self._retained and self._room() > 0:
                topic = next(iter(self._retained))
                content = self._retained.pop(topic)
                try:
                    payload = content if isinstance(content, bytes) else content()
                except Exception:  # what is said of one machine must not hold up the readings of all
                    log.exception("%s cannot be said", topic)
                    continue
                self._owed[self._link.publish(topic, payload, retain=True)] = topic
            if self._refused:
                self._try_again()
            self._send_live()
            self._send_history()
        except (NotConnectedError, NotReadableError):
            return  # on_disconnected follows, and everything is sent again; or the disk will be well again

    def tick(self) -> None:
        """What time brings: another attempt with what was refused, and a stored mark that stands still."""
        now = self._clock.monotonic()
        self.turns += 1
        if self._delivery == "store" and self._link.connected:
            if self._is_answered():
                self._note_oldest()
            if self._oldest is None:
                self._moved = now
            elif now - self._progress > self._stall:
                if self._first_unanswered() == self._oldest:
                    self._send_again(now)
                else:  # it waits for its topic by now, or is under way once more
                    self._note_oldest()
        self.wake()

    def _send_live(self) -> None:
        buffer, ready = self._buffer, self._buffer.ready
        if self._refused:  # what follows one that has to wait must not be all that is left of both after a crash
            ready = min(ready, buffer.firm)
        behind = min(ready - self._window, buffer.firm)
        # Too slow for all of it: what is new goes on, the rest follows.
        if ready - self._live > BEHIND * self._window and behind > self._live:
            self._history.add(self._live + 1, behind)
            self._live = behind
        while (room := self._room()) > 0 and self._live < ready:
            records = [record for record in buffer.read(self._live, room) if record.position <= ready]
            for record in records:
                self._hand_on(record)
                self._live = record.position
            if not records:
                self._live = ready

    def _send_history(self) -> None:
        buffer, history = self._buffer, self._history
        began = self._clock.monotonic()
        while history.count:
            now = self._clock.monotonic()
            first, last = history.next
            window = min(self._window, self._link.receive_maximum)
            allowed = history.allowed(self._room(), window, self._unanswered() + len(self._in_flight), now)
            last = min(last, buffer.ready)
            # Those of topics that are refused take no room: there may be very many.
            if allowed <= 0 or first > last or now - began > AT_ONCE or self._most_waiting() > MOST_WAITING:
                return
            records = [record for record in buffer.read(first - 1, allowed) if record.position <= last]
            for record in records:
                self._hand_on(record)
                history.sent(record.position, len(record.payload), now)
            if not records:
                history.skip()
        if self._shown:  # what follows from here on is what is true
            self._retained |= dict.fromkeys(self._shown, b"")
            self._shown = []

    def _most_waiting(self) -> int:
        return max((len(held.waiting) for held in self._refused.values()), default=0)

    def _unanswered(self) -> int:
        """Messages that the broker took, and the store has said nothing about."""
        buffer = self._buffer
        waiting = sum(len(held.waiting) for held in self._refused.values())
        unsent = sum(buffer.missing(last) - buffer.missing(first - 1) for first, last in self._history)
        return buffer.missing(self._live) - len(self._in_flight) - waiting - unsent

    def _is_answered(self) -> bool:
        """Whether the oldest message the store owes an answer for has one, or there was none."""
        oldest = self._oldest
        return oldest is None or self._buffer.missing(oldest) == self._buffer.missing(oldest - 1)

    def _note_oldest(self) -> None:
        self._oldest, self._progress = self._first_unanswered(), self._clock.monotonic()

    def _first_unanswered(self) -> int | None:
        """The oldest of them. Others may be stored all the time: one that is missed must not wait for a quiet moment."""
        under_way = {position for position, _ in self._in_flight.values()}
        under_way.update(*(held.waiting for held in self._refused.values()))
        for first, last in self._buffer.gaps(self._live):
            position = first
            while position <= last:
                unsent = next((end for begin, end in self._history if begin <= position <= end), None)
                if unsent is not None:
                    position = unsent
                elif position not in under_way:
                    return position
                position += 1
        return None

    def _hand_on(self, record: Record) -> None:
        held = self._refused.get(record.topic)
        if held is not None:
            insort(held.waiting, record.position)
        else:
            self._send(record)

    def _room(self) -> int:
        under_way = len(self._in_flight) + len(self._owed) + len(self._forgotten)
        return min(self._window, self._link.receive_maximum) - under_way

    def _send(self, record: Record) -> None:
        self._in_flight[self._link.publish(record.topic, record.payload)] = (record.position, record.topic)
        self._furthest = max(self._furthest, record.position)

    def _send_again(self, now: float) -> None:
        """The store does not acknowledge what the broker has: ask with one record, and rewind once it answers."""
        buffer = self._buffer
        waiting = max(1, buffer.usage.records - (buffer.last - buffer.sent))
        self._progress = now
        if self._probed:
            self._stall = min(LONGEST_STALL, self._stall * 2)
            text = f"the store has not acknowledged {waiting} messages the broker took: {self._whose()}"
            self._alarm(Reason(text, "store-silent"))
            with suppress(NotConnectedError, NotReadableError):
                for record in buffer.read(buffer.stored, 1):
                    self._forgotten.add(self._link.publish(record.topic, record.payload))
        else:
            log.info("%d messages did not arrive in the store: sending them again", waiting)
            self._counters.rewinds += 1
            self._history.slow_down()
            self._rewind(buffer.stored)
        self._probed = True

    # --- what the broker refuses ---------------------------------------------------------------------------------------

    def _hold(self, topic: str, position: int, code: int) -> None:
        """The broker answered, and did not take it: this topic waits and is tried again, the others go on."""
        if code in FOR_GOOD and topic != self._topics.loss(self._gateway):  # or it would declare itself for ever
            self._counters.refused += 1
            self._buffer.give_up(position, FOR_GOOD[code])
            self._taken(topic)
            return
        held = self._refused.setdefault(topic, _Topic())
        insort(held.waiting, position)
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
                position = held.waiting.popleft()
                for record in self._buffer.read(position - 1, 1):
                    if record.position == position:  # and not stored meanwhile
                        held.trying = not held.open
                        self._send(record)

    def _taken(self, topic: str) -> None:
        """A message of this topic went through: whatever waits for it follows at once."""
        held = self._refused.get(topic)
        if held is not None:
            held.trying, held.open, held.until = False, True, 0.0
            held.backoff.reset()
        if not any(each.backoff.attempts >= PATIENCE for each in self._refused.values()):
            self._well()

    def _why(self, topic: str, code: int) -> Reason:
        if code == NO_SUBSCRIBERS:
            who = self._whose() if self._delivery == "store" else "does anybody subscribe to it?"
            return Reason(f"the broker has nobody to give '{topic}' to: {who}", "broker-no-subscriber")
        text = f"the broker refuses '{topic}' (reason code {code}): check the broker's ACL for this gateway"
        return Reason(text, "broker-refuses-topic")

    def _whose(self) -> str:
        """Who should take it, in words."""
        wrong = self._writer()
        if wrong is None:
            return "is `gateway store` running?"
        return f"the store writer of this gateway: {wrong or 'it has not subscribed yet'}"

    # --- marks -------------------------------------------------------------------------------------------------------

    def _move_sent(self) -> None:
        # Everything below the lowest one that is under way, waits or is still to be sent was acknowledged or is stored.
        lowest = min(
            [
                self._live + 1,
                *(position for position, _ in self._in_flight.values()),
                *(held.waiting[0] for held in self._refused.values() if held.waiting),
                *([self._history.next[0]] if self._history.count else ()),
            ]
        )
        if lowest - 1 > self._buffer.sent:
            self._buffer.mark_sent(lowest - 1)

    def _delivered(self, position: int) -> None:
        """The broker is the end of its way."""
        before = self._buffer.dealt_with
        self._buffer.mark_delivered(position)
        self._note_stored(before)

    def _note_stored(self, before: int) -> None:
        moved = self._buffer.dealt_with - before
        if moved > 0:
            now = self._moved = self._clock.monotonic()
            self._counters.stored += moved
            probe = self._history.probe
            if probe is not None and self._buffer.missing(probe) == self._buffer.missing(probe - 1):
                self._history.stored(now)
            if self._is_answered():
                self._note_oldest()
                # What else is missing shall not wait long.
                self._stall = self._soon if self._probed else STALL + self._settles
                self._probed = False
            if self.alarm:
                log.info("store: acknowledges again")
                self.alarm = ""
        self._live = max(self._live, self._buffer.stored)
        self.wake()

    def _rewind(self, to: int) -> None:
        """Within a connection: what is under way still fills the window, but its answers do not matter."""
        self._forgotten |= self._in_flight.keys()
        self._in_flight.clear()
        self._refused.clear()
        self._buffer.mark_sent(min(to, self._buffer.sent))
        self._live = min(self._live, max(self._buffer.sent, self._buffer.firm))  # the rest in order, as if it were new
        self._history.restart(self._buffer.sent + 1, self._live)

    def _start_over(self) -> None:
        """Of another connection nothing is under way."""
        self._owed.clear()
        self._live = max(self._live, self._buffer.ready)  # what is there now waited; what comes is new
        # A broker's word counted, if at all, when it was given: what it is not, is sent again.
        self._rewind(self._buffer.sent if self._delivery == "store" else self._buffer.stored)

    def _say(self, reason: str) -> None:
        """Once, until all is well again: with a hundred machines nobody wants to read a hundred times that no store is there."""
        fault = fault_of(reason)
        news = fault if fault == "broker-no-subscriber" else reason
        if news not in self._told:
            self._told.add(news)
            log.warning("broker: %s", tagged(reason), extra={"fault": fault})
        self.reason = reason

    def _well(self) -> None:
        self.reason = ""
        self._told.clear()

    def _alarm(self, text: str) -> None:
        if text != self.alarm:
            log.warning("store: %s", tagged(text), extra={"fault": fault_of(text)})
        self.alarm = text
