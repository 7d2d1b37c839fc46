"""A broker inside one process, for a demo on a machine without one: topics, retained messages, QoS 1 in order.

It keeps nothing on disk and ends with the process, so no claim of ours rests on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count

from gateway.errors import NotConnectedError
from gateway.mqtt.link import Listener, Message


class LocalBroker:
    """What the links of one process meet at."""

    def __init__(self) -> None:
        self._links: list[LocalLink] = []
        self._retained: dict[str, bytes] = {}

    def link(self) -> LocalLink:
        """A new link to this broker."""
        return LocalLink(self)

    def _publish(self, topic: str, payload: bytes, retain: bool) -> int:
        """Hand a message to all who subscribed to it; the reason code of the PUBACK."""
        if retain:
            self._retained[topic] = payload
            if not payload:
                del self._retained[topic]
        receivers = [link for link in self._links if link._wants(topic)]
        for link in receivers:
            link._deliver(Message(topic, payload, retained=False))
        return 0x00 if receivers else 0x10

    def _matching(self, topic_filter: str) -> Iterator[Message]:
        for topic, payload in self._retained.items():
            if matches(topic_filter, topic):
                yield Message(topic, payload, retained=True)


class LocalLink:
    """A link to a LocalBroker; see gateway/mqtt/link.py for the contract."""

    proves_refusal = True
    receive_maximum = 100

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker
        self._listener: Listener | None = None
        self._filters: list[str] = []
        self._mids = count(1)
        self.connected = False

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._broker._links.append(self)
        self.connected = True
        self._loop.call_soon(listener.on_connected)

    async def stop(self) -> None:
        if self.connected:
            self.connected = False
            self._broker._links.remove(self)

    def try_now(self) -> None:
        """It always is connected."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        if not self.connected or self._listener is None:
            raise NotConnectedError("the in-process broker: not connected", fault="not-connected")
        mid = next(self._mids)
        code = self._broker._publish(topic, payload, retain)
        self._loop.call_soon(self._listener.on_published, mid, code)
        return mid

    def subscribe(self, filters: Sequence[str]) -> None:
        for each in filters:
            shared = each.startswith("$share/")
            plain = each.split("/", 2)[2] if shared else each
            self._filters.append(plain)
            if not shared:  # MQTT 5.0, 4.8.2: no retained messages for shared subscriptions
                for message in self._broker._matching(plain):
                    self._deliver(message)

    def ack(self, messages: Sequence[Message]) -> None:
        """Nothing is sent twice here."""

    def _wants(self, topic: str) -> bool:
        return any(matches(each, topic) for each in self._filters)

    def _deliver(self, message: Message) -> None:
        if self.connected and self._listener is not None:
            self._loop.call_soon(self._listener.on_message, message)


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5.0, 4.7.1: `+` is one level, `#` all that follow."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(given) or level not in ("+", given[i]):
            return False
    return len(wanted) == len(given)
