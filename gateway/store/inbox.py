"""What a message from the broker is to a store. Anybody may write to a broker, so everything is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from gateway.config.fields import NAME_PATTERN
from gateway.errors import PayloadError
from gateway.model import MachinePath
from gateway.mqtt.link import Message
from gateway.mqtt.payload import Meta, decode_data, decode_loss, decode_meta
from gateway.mqtt.topics import MAX_LEVELS, Topics
from gateway.store.contract import Entry, Lost, Readings

_NAME = re.compile(NAME_PATTERN)


class Inbox:
    """Knows where machines stand: a topic alone does not tell a line from a site."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._paths: dict[tuple[str, ...], MachinePath] = {}

    def learn(self, message: Message) -> None:
        """Take note of a machine's meta when it comes, before its data is dealt with. Raises PayloadError."""
        levels = self._topics.levels_of(message.topic)
        if levels and message.topic.endswith("/meta"):
            self._paths[levels] = _meta(message, levels).path

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
        if levels[0] == "_gateway":
            gateway, seq, loss = decode_loss(message.payload)
            if levels[1:] != (gateway,):
                raise PayloadError(f"the loss record is of another gateway: {gateway!r}")
            return (Lost(gateway, seq, loss),)
        if message.topic.endswith("/meta"):
            with suppress(PayloadError):  # was said when it came
                return (_meta(message, levels),)
            return ()
        data = decode_data(message.payload)
        if not _NAME.fullmatch(data.gateway):  # it becomes part of a topic
            raise PayloadError(f"{data.gateway!r} is not the id of a gateway")
        return (Readings(self._paths.get(levels) or guessed(levels), data, message.payload),)


def guessed(levels: Sequence[str]) -> MachinePath:
    """Where a machine that never sent a meta stands: as if only lower levels had been left out."""
    *above, machine = levels
    return MachinePath(machine, *above)


def _meta(message: Message, levels: tuple[str, ...]) -> Meta:
    meta = decode_meta(message.payload)
    if meta.path.levels() != levels:
        raise PayloadError(f"the path {'/'.join(meta.path.levels())} is not that of its topic")
    return meta
