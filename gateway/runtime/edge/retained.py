"""What brokers retain of the machines of this gateway, and how it is taken back once a machine is gone.

    announced ─▶ meta, status: said at once, and again at each new connection
    gone ─▶ whose is it by now? ─ ours, or nobody's ─▶ "offline: not in the configuration" ─ all of it is stored ─▶ cleared
                     └─ another gateway's ─▶ left alone

A machine may move to another gateway: what that one says must not be overwritten, whichever of the two was changed first.
So the broker is asked, by a subscription. Where an ACL forbids it no word comes, and what stands there counts as ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.buffer import Buffer
from gateway.clock import Clock
from gateway.errors import NotConnectedError
from gateway.model import MachinePath
from gateway.mqtt.payload import encode_status, gateway_of
from gateway.mqtt.topics import Topics
from gateway.publisher import Content

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds without a word, after which nobody has said anything there
_STATUS = "/status"


@dataclass(slots=True)
class _Leaving:
    """A topic of a machine that is gone."""

    upto: int  # the position up to which all has to be stored before it is cleared
    content: Content | None  # what should be there until then; None: whatever is
    said: bool = False


class Retained:
    """Of one gateway. `tick` is to be called about twice a second."""

    def __init__(
        self,
        topics: Topics,
        gateway: str,
        clock: Clock,
        buffer: Buffer,
        say: Callable[[str, Content], None],
        ask: Callable[[Sequence[str]], None],
        saved: Mapping[str, Any],
    ) -> None:
        """`say` publishes something retained. `ask` subscribes to topics, whose word comes to `heard`; it raises
        NotConnectedError. `saved`: what `dump` gave in an earlier life."""
        self._topics, self._gateway, self._clock, self._buffer = topics, gateway, clock, buffer
        self._say, self._ask = say, ask
        self._meta: dict[str, Content] = {}  # by topic, as all that follows
        self._status: dict[str, Content] = {}
        self._leaving: dict[str, _Leaving] = {}
        self._clearing: set[str] = set()  # taken back, and the broker has not said that it knows
        self._asked: dict[str, float] = {}  # over this connection: monotonic
        self._ours: set[str] = set()  # of these, where our own word stands
        self._before: set[str] = set()  # said in an earlier life: is the machine still there?
        self.changes = 0  # times that `dump` became another
        for topic, upto in saved.items():
            if not topic.startswith(f"{topics.root}/"):
                continue
            if isinstance(upto, int):
                self._leaving[topic] = _Leaving(min(upto, buffer.last), self._farewell(topic))
            else:
                self._before.add(topic)

    # --- machines that are here --------------------------------------------------------------------------------------

    def meta(self, path: MachinePath, content: Content) -> None:
        """What its signals are."""
        self._put(self._meta, self._topics.meta(path), content)

    def status(self, path: MachinePath, content: Content) -> None:
        """How it is."""
        self._put(self._status, self._topics.status(path), content)

    def _put(self, kind: dict[str, Content], topic: str, content: Content) -> None:
        if topic not in kind or topic in self._leaving or topic in self._clearing:
            self.changes += 1
            self._drop(topic)
        kind[topic] = content
        self._say(topic, content)

    def births(self) -> Iterator[tuple[str, Content]]:
        """What is said over a new connection. Of what is leaving nothing is known there yet."""
        self._asked.clear()
        self._ours.clear()
        for topic in self._clearing:
            self._leaving[topic] = _Leaving(0, None)
        self._clearing.clear()
        for leaving in self._leaving.values():
            leaving.said = False
        yield from self._meta.items()
        yield from self._status.items()

    def say_good_bye(self, reason: str) -> None:
        """All of them are not read any more."""
        for topic in self._status:
            self._say(topic, self._offline(reason))

    # --- machines that are gone --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """All machines are announced: those of an earlier life that are not among them were taken out meanwhile."""
        for topic in sorted(self._before - self._meta.keys() - self._status.keys() - self._leaving.keys()):
            self._leaving[topic] = _Leaving(self._buffer.last, self._farewell(topic))
            self.changes += 1
        self._before.clear()

    def leave(self, path: MachinePath) -> None:
        """It is gone, or stands in another place now. Until all of it is stored, a store that starts has to learn where it stood."""
        meta, status = self._topics.meta(path), self._topics.status(path)
        for topic, content in ((meta, self._meta.pop(meta, None)), (status, self._farewell(status))):
            self._leaving[topic] = _Leaving(self._buffer.last, content)
        self._status.pop(status, None)
        self.changes += 1
        self.tick()

    def tick(self) -> None:
        """Ask whose it is by now, and take back what is ours, once all that came of it is stored."""
        if not self._leaving:
            return
        now = self._clock.monotonic()
        with suppress(NotConnectedError):
            if new := [topic for topic in self._leaving if topic not in self._asked]:
                self._ask(new)
                self._asked |= dict.fromkeys(new, now)
            for topic in [topic for topic, at in self._asked.items() if topic in self._ours or now - at > PATIENCE]:
                self._take_back(topic)

    def _take_back(self, topic: str) -> None:
        if (leaving := self._leaving.get(topic)) is None:
            return
        if self._buffer.stored >= leaving.upto:
            del self._leaving[topic]
            self._clearing.add(topic)
            self._say(topic, b"")
        elif not leaving.said and leaving.content is not None:
            leaving.said = True
            self._say(topic, leaving.content)

    def heard(self, topic: str, payload: bytes) -> None:
        """What stands at a topic that was asked for, or is said there now."""
        leaving = self._leaving.get(topic)
        if not payload or (leaving is None and topic not in self._clearing):
            return
        if gateway_of(payload) == self._gateway:
            self._ours.add(topic)
            if leaving is not None and leaving.content is not None:
                content = leaving.content
                leaving.said = payload == (content if isinstance(content, bytes) else content())
        else:
            log.info("%s is not ours by now: it stays", topic)
            self._drop(topic)
            self.changes += 1

    def confirmed(self, topic: str) -> None:
        """The broker has what was said last. Cleared once more, it might be what another gateway says there by now."""
        if topic in self._clearing:
            self._drop(topic)
            self.changes += 1

    def _drop(self, topic: str) -> None:
        self._leaving.pop(topic, None)
        self._clearing.discard(topic)
        self._asked.pop(topic, None)
        self._ours.discard(topic)

    def dump(self) -> dict[str, int | None]:
        """What must outlive a restart: topics, and up to where all has to be stored before they go; None: they do not."""
        here = dict.fromkeys((*self._meta, *self._status, *self._before))
        leaving = {topic: leaving.upto for topic, leaving in self._leaving.items()}
        return here | leaving | dict.fromkeys(self._clearing, 0)

    @property
    def leaving(self) -> frozenset[str]:
        """Topics that are still to be taken back."""
        return frozenset(self._leaving) | self._clearing

    def _farewell(self, topic: str) -> bytes | None:
        return self._offline("not in the configuration any more") if topic.endswith(_STATUS) else None

    def _offline(self, reason: str) -> bytes:
        return encode_status("offline", self._clock.now(), reason, gateway=self._gateway)
