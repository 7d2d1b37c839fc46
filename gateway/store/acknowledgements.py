"""What is stored, told to the gateways: one retained message for each of them, with its epoch's ranges.

A message holds one epoch. After every commit that of the newest readings comes last, so that it is the one retained; a
late message of an epoch before is acknowledged too, and overwritten by the next of the new one. Writers that share the
work put in what the others have stored: each alone would have a gap for every message of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from gateway.clock import Clock
from gateway.errors import NotConnectedError, PayloadError
from gateway.mqtt.link import Link, Message
from gateway.mqtt.payload import Ranges, Stored, decode_stored, encode_stored
from gateway.mqtt.topics import Topics
from gateway.store.contract import Lost, Origin, Readings
from gateway.store.identities import Identities

MAX_EPOCHS = 8  # of one gateway; of those before, nothing will come any more


class Acknowledgements:
    """One writer's."""

    def __init__(self, link: Link, topics: Topics, name: str, clock: Clock, *, shared: bool) -> None:
        self._link, self._topics, self._name, self._clock, self._shared = link, topics, name, clock, shared
        self._prefix = topics.stored("", "")[:-1]
        self._remembers = False
        self._ranges: dict[Origin, Identities] = {}
        self._others: dict[Origin, dict[str, Ranges]] = {}
        self._current: dict[str, str] = {}  # gateway -> epoch
        self._sent: dict[int, str] = {}  # message id -> topic

    def begin(self, stored: Mapping[Origin, Ranges], remembers: bool) -> None:
        """With what the store knows from before; if it does not remember, our retained message tells."""
        self._remembers = remembers
        for (gateway, epoch), ranges in stored.items():
            self._of(gateway, epoch).update(ranges)
            self._current[gateway] = epoch

    def concerns(self, message: Message) -> bool:
        """True for an acknowledgement."""
        return message.topic.startswith(self._prefix)

    def heard(self, message: Message) -> None:
        """An acknowledgement from the broker: another writer's, or our own from before. Raises PayloadError."""
        writer, _, gateway = message.topic.removeprefix(self._prefix).partition("/")
        stored = decode_stored(message.payload)
        if stored.gateway != gateway:
            raise PayloadError(f"the acknowledgement is for another gateway: {stored.gateway!r}")
        if writer != self._name:
            if self._shared:
                self._others.setdefault((gateway, stored.epoch), {})[writer] = stored.ranges
        elif message.retained and not self._remembers:
            self._of(gateway, stored.epoch).update(stored.ranges)
            self._current.setdefault(gateway, stored.epoch)

    def stored(self, readings: Sequence[Readings], losses: Sequence[Lost]) -> None:
        """These are committed."""
        newest: dict[Origin, int] = {}
        for lost in losses:
            origin = lost.gateway, lost.loss.epoch
            newest.setdefault(origin, 0)
            self._of(*origin).add(lost.seq)
        for entry in readings:
            origin = entry.data.gateway, entry.data.epoch
            newest[origin] = max(newest.get(origin, 0), *(frame.time for frame in entry.data.frames), 0)
            self._of(*origin).add(entry.data.seq)
        for gateway, epoch in sorted(newest, key=newest.__getitem__):
            self._current[gateway] = epoch
            self._publish(gateway, epoch)

    def publish_all(self) -> None:
        """To a broker that may have forgotten."""
        for gateway, epoch in self._current.items():
            self._publish(gateway, epoch)

    def published(self, mid: int, reason_code: int) -> str:
        """The broker's answer; returns what to do if it refused."""
        topic = self._sent.pop(mid, None)
        if topic is None or reason_code < 0x80:
            return ""
        return (
            f"the broker refuses {topic} (reason code {reason_code}): let the store publish there in the broker's ACL, "
            "or no gateway learns what is stored"
        )

    def forget_sent(self) -> None:
        """The connection is gone, and with it the answers."""
        self._sent.clear()

    def _publish(self, gateway: str, epoch: str) -> None:
        identities = self._of(gateway, epoch)
        for ranges in self._others.get((gateway, epoch), {}).values():
            identities.update(ranges)
        if not identities.ranges():
            return
        topic = self._topics.stored(self._name, gateway)
        stored = Stored(gateway, epoch, identities.ranges())
        with suppress(NotConnectedError):  # else `publish_all` does it on the next connection
            self._sent[self._link.publish(topic, encode_stored(stored, self._clock.now()), retain=True)] = topic

    def _of(self, gateway: str, epoch: str) -> Identities:
        origin = gateway, epoch
        if origin not in self._ranges:
            self._ranges[origin] = Identities()
            epochs = [known for known in self._ranges if known[0] == gateway]
            for old in epochs[:-MAX_EPOCHS]:
                del self._ranges[old]
                self._others.pop(old, None)
        return self._ranges[origin]
