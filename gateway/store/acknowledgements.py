"""What is stored, told to the gateways: a message with the ranges of one epoch for each of them.

    commit ─▶ note: which epoch is current ─▶ stored: its ranges ─▶ due ─▶ broker, no more at a time than it takes

A gateway has an epoch for every start after a power cut, and may send the records of many at once. The one with the
newest readings is its current one, and is retained; those before are told to whoever listens, and would only take its
place. So a gateway that comes back is told all of them when it says that it is there.

Writers that share the work put in what the others have stored: each alone would have a gap for every message of the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.clock import Clock
from gateway.errors import NotConnectedError, PayloadError
from gateway.faults import Reason
from gateway.mqtt.link import Link, Message
from gateway.mqtt.payload import Ranges, Stored, decode_stored, encode_stored
from gateway.mqtt.topics import Topics
from gateway.store.contract import Lost, Origin, Readings
from gateway.store.identities import Identities

MAX_EPOCHS = 1000  # of one gateway in memory; what a store remembers of those before is asked when they come again
TOLD = 64  # epochs a gateway is told when it or we come back; of those before it learns when it sends them


@dataclass(slots=True)
class _Epoch:
    ours: Identities = field(default_factory=Identities)
    others: dict[str, Ranges] = field(default_factory=dict)  # by writer
    newest: int = 0  # ns: its newest reading, as far as we have seen
    recalled: bool = False  # `ours` has what the store remembers


@dataclass(slots=True)
class _Gateway:
    epochs: dict[str, _Epoch] = field(default_factory=dict)  # the one that was written last at the end
    current: str = ""


class Acknowledgements:
    """One writer's."""

    def __init__(self, link: Link, topics: Topics, name: str, clock: Clock, *, shared: bool) -> None:
        self._link, self._topics, self._name, self._clock, self._shared = link, topics, name, clock, shared
        self._prefix = topics.stored("", "")[:-1]
        self._remembers = False
        self.settles = 0.0  # seconds by which this lags behind what was written
        self._gateways: dict[str, _Gateway] = {}
        self._due: dict[Origin, None] = {}  # to be told, in this order
        self._sent: dict[int, Origin] = {}  # by message id: told, not yet answered

    def begin(self, stored: Mapping[Origin, Ranges], remembers: bool) -> None:
        """With what the store knows from before; if it does not remember, our retained message tells."""
        self._remembers = remembers
        self.recall(stored, stored)
        for gateway, epoch in stored:
            self._gateways[gateway].current = epoch

    def missing(self, origins: Iterable[Origin]) -> list[Origin]:
        """Epochs of which the store may remember more than we do: new ones, and those of long ago."""
        if not self._remembers:
            return []
        return [(gateway, epoch) for gateway, epoch in origins if not self._of(gateway, epoch).recalled]

    def recall(self, stored: Mapping[Origin, Ranges], origins: Iterable[Origin]) -> None:
        """What the store remembers of these."""
        for origin in origins:
            epoch = self._of(*origin)
            epoch.ours.update(stored.get(origin, ()))
            epoch.recalled = True

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
                self._of(gateway, stored.epoch).others[writer] = stored.ranges
                self._trim(gateway)
        elif message.retained and not self._remembers:
            self._of(gateway, stored.epoch).ours.update(stored.ranges)
            known = self._gateways[gateway]
            known.current = known.current or stored.epoch

    def note(self, entries: Iterable[Readings | Lost]) -> None:
        """These were written: the epoch with the newest readings is the current one of its gateway."""
        now = self._clock.now()
        newest: dict[Origin, int] = {}
        for entry in entries:
            times = [frame.time for frame in entry.data.frames] if isinstance(entry, Readings) else ()
            newest[entry.origin] = max(newest.get(entry.origin, 0), *times, 0)
        for (gateway, name), time in newest.items():
            epoch, known = self._of(gateway, name), self._gateways[gateway]
            known.epochs[name] = known.epochs.pop(name)
            epoch.newest = max(epoch.newest, min(time, now))  # a clock that is ahead must not decide for years
            current = known.epochs.get(known.current)
            if current is None or (time and epoch.newest >= current.newest):
                known.current = name

    def stored(self, identities: Mapping[Origin, Ranges]) -> None:
        """These are safe: tell their gateways."""
        for origin, ranges in identities.items():
            self._of(*origin).ours.update(ranges)
        for gateway in dict.fromkeys(gateway for gateway, _ in identities):
            self._owe(gateway, [epoch for of, epoch in identities if of == gateway])
        self._tell()
        for gateway in {gateway for gateway, _ in identities}:
            self._trim(gateway)

    def publish_all(self) -> None:
        """To a broker that may have forgotten."""
        for gateway in self._gateways:
            self._owe(gateway, self._recent(gateway))
        self._tell()

    def publish(self, gateway: str) -> None:
        """To a gateway that has just connected: of epochs before the current one nothing is retained."""
        if gateway in self._gateways:
            self._owe(gateway, self._recent(gateway))
            self._tell()

    def published(self, mid: int, reason_code: int) -> str:
        """The broker's answer; returns what to do if it refused."""
        origin = self._sent.pop(mid, None)
        if origin is None:
            return ""
        self._tell()
        if reason_code < 0x80:
            return ""
        topic = self._topics.stored(self._name, origin[0])
        return Reason(
            f"the broker refuses {topic} (reason code {reason_code}): let the store publish there in the broker's ACL, "
            "or no gateway learns what is stored",
            "broker-refuses-topic",
        )

    def forget_sent(self) -> None:
        """The connection is gone, and with it the answers."""
        self._due |= dict.fromkeys(self._sent.values())
        self._sent.clear()

    # --- telling -----------------------------------------------------------------------------------------------------

    def _recent(self, gateway: str) -> list[str]:
        known = self._gateways[gateway]
        return list(known.epochs)[-TOLD:] + [known.current] * bool(known.current)

    def _owe(self, gateway: str, epochs: Sequence[str]) -> None:
        """The newest of them last, so that it has the last word even with who keeps only one."""
        known = self._gateways[gateway]
        for epoch in sorted(dict.fromkeys(epochs), key=lambda each: (each == known.current, known.epochs[each].newest)):
            self._due.pop((gateway, epoch), None)
            self._due[gateway, epoch] = None

    def _tell(self) -> None:
        with suppress(NotConnectedError):  # else the next connection does it
            while self._due and len(self._sent) < self._link.receive_maximum:
                origin = next(iter(self._due))
                self._publish(origin)
                del self._due[origin]

    def _publish(self, origin: Origin) -> None:
        gateway, name = origin
        epoch, known = self._of(gateway, name), self._gateways[gateway]
        for ranges in epoch.others.values():
            epoch.ours.update(ranges)
        if not epoch.ours.ranges():
            return
        payload = encode_stored(Stored(gateway, name, epoch.ours.ranges(), self.settles), self._clock.now())
        topic = self._topics.stored(self._name, gateway)
        self._sent[self._link.publish(topic, payload, retain=name == known.current)] = origin

    def _of(self, gateway: str, epoch: str) -> _Epoch:
        known = self._gateways.get(gateway)
        if known is None:
            known = self._gateways[gateway] = _Gateway()
        found = known.epochs.get(epoch)
        if found is None:
            found = known.epochs[epoch] = _Epoch()
        return found

    def _trim(self, gateway: str) -> None:
        """Forget epochs of long ago that have been told."""
        known = self._gateways[gateway]
        for epoch in list(known.epochs)[: max(0, len(known.epochs) - MAX_EPOCHS)]:
            if epoch != known.current and (gateway, epoch) not in self._due:
                del known.epochs[epoch]
