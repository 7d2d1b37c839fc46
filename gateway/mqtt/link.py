"""The contract of a link to a broker. `client.py` keeps it over paho and TCP, `local.py` inside one process.

All callbacks run on the event loop, one after the other, and must not block. A link that broke is opened again by
itself, with growing pauses; nothing that was under way when it broke is sent again by the link: those who publish keep
what was not acknowledged, and start over at `on_connected`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """Something that was published to a topic we subscribed to."""

    topic: str
    payload: bytes
    retained: bool
    token: Any = None  # for ack(); valid as long as this connection


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone without a word."""

    topic: str
    payload: bytes


class Listener(Protocol):
    """Who hears from a link. A link has one."""

    def on_connected(self) -> None:
        """A new connection stands. Subscribe and publish from here."""

    def on_disconnected(self, reason: str) -> None:
        """It is gone; `reason` is a sentence for people, with what to check."""

    def on_published(self, mid: int, reason_code: int) -> None:
        """The broker answered a publish: done if below 0x80; 0x10 means that nobody subscribes to it."""

    def on_message(self, message: Message) -> None:
        """To be acknowledged with Link.ack when it has been dealt with, QoS 1."""


class Link(Protocol):
    """One session with a broker."""

    @property
    def connected(self) -> bool: ...

    @property
    def proves_refusal(self) -> bool:
        """False with MQTT 3.1.1: a refused publish looks like an accepted one there."""

    @property
    def receive_maximum(self) -> int:
        """How many publishes the broker takes before it has acknowledged one."""

    async def start(self, listener: Listener) -> None:
        """Begin to connect, for ever, in the background. Returns at once."""

    async def stop(self) -> None:
        """Say good-bye (no will) and end. Safe to call twice."""

    def try_now(self) -> None:
        """Somebody else has just reached this broker: a pause after it could not be reached ends here."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send with QoS 1 and return the message id that on_published will name. Raises NotConnectedError."""

    def subscribe(self, filters: Sequence[str]) -> None:
        """QoS 1. Raises NotConnectedError."""

    def ack(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these need not be sent again. Those of an earlier connection are passed over."""
