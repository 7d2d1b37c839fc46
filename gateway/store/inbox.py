"""What a message from the broker is to a store. Anybody may write to a broker, so everything is checked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from gateway.errors import PayloadError
from gateway.model import MachinePath
from gateway.mqtt.link import Message
from gateway.mqtt.payload import Loss, Meta, decode_data, decode_identity, decode_loss, decode_meta
from gateway.mqtt.topics import MAX_LEVELS, Topics
from gateway.store.contract import Entry, Lost, Readings


class Inbox:
    """Knows where machines stand: a topic alone does not tell a line from a site."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._paths: dict[tuple[str, ...], MachinePath] = {}

    def learn(self, message: Message) -> None:
        """Take note of a machine's meta when it comes, before its data is dealt with. Raises PayloadError."""
        levels = self._topics.levels_of(message.topic)
        if levels and message.topic.endswith("/meta") and message.payload:  # an empty one: the machine is gone
            self._paths[levels] = _meta(message, levels).path

    def greets(self, message: Message) -> str:
        """The gateway that has just said how it is; empty for everything else, also for what was said before we came."""
        levels = self._topics.levels_of(message.topic)
        return levels[1] if levels and is_status(levels, message.topic) and not message.retained else ""

    def knows(self, topic: str) -> bool:
        """False for the data of a machine whose place could only be guessed."""
        levels = self._topics.levels_of(topic)
        return not levels or not topic.endswith("/data") or len(levels) == MAX_LEVELS or levels in self._paths

    def entries(self, message: Message) -> Sequence[Entry]:
        """What is to be stored of a message: one entry, or none. Raises PayloadError."""
        levels = self._topics.levels_of(message.topic)
        if not levels:
            raise PayloadError("not one of our topics")
        if levels[0] == "_store":
            return ()
        if is_status(levels, message.topic):
            return ()
        if levels[0] == "_gateway":
            gateway, seq, loss = decode_loss(message.payload)
            if levels[1:] != (gateway,):
                raise PayloadError(f"the loss record is of another gateway: {gateway!r}")
            return (Lost(gateway, seq, loss, loss.told_in),)
        if message.topic.endswith("/meta"):
            with suppress(PayloadError):  # was said when it came
                return (_meta(message, levels),)
            return ()
        return (Readings(self._paths.get(levels) or guessed(levels), decode_data(message.payload), message.payload),)

    def refused(self, message: Message, reason: str, now: int) -> Sequence[Lost]:
        """What takes the place of data that cannot be stored, or its gateway would send it for ever: a loss record.

        None for a message that does not even tell whose it is.
        """
        if not message.topic.endswith("/data"):
            return ()
        try:
            gateway, epoch, seq = decode_identity(message.payload)
        except PayloadError:
            return ()
        return (Lost(gateway, seq, Loss(epoch, seq, seq, 0, now, now, f"refused: {reason}")),)


def is_status(levels: Sequence[str], topic: str) -> bool:
    """True for what a gateway says of itself."""
    return levels[0] == "_gateway" and len(levels) == 2 and topic.endswith("/status")


def guessed(levels: Sequence[str]) -> MachinePath:
    """Where a machine that never sent a meta stands: as if only lower levels had been left out."""
    *above, machine = levels
    return MachinePath(machine, *above)


def _meta(message: Message, levels: tuple[str, ...]) -> Meta:
    meta = decode_meta(message.payload)
    if meta.path.levels() != levels:
        raise PayloadError(f"the path {'/'.join(meta.path.levels())} is not that of its topic")
    return meta
