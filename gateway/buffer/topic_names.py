"""Topics as they stand in records: what most of them begin with is written once, in the marks. Pure.

    shopfloor/v1/acme/hanoi/L1/press-07/data  ─▶  \\x01 0 L1/press-07/data

A topic is most of what a small message costs beside its values; without its beginning, what a plant says in a second fits
into one page of the disk. No topic begins with \\x01: MQTT 5.0, 1.5.4 advises against control characters.
"""

from __future__ import annotations

from collections.abc import Sequence

_MARK = 0x01
_MOST, _ROOM = 255, 1500  # of them, and characters: they share a page with the rest of the marks
_LONGEST = 0xFFFF


class TopicNames:
    """Both ways. As long as nobody knows which beginnings were used before, topics are written as they are."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._index: int | None = None  # of our own beginning among all
        self._names: dict[str, bytes] = {}
        self.prefixes: list[str] = []  # all that were ever used; a record names one by its place

    def learn(self, prefixes: Sequence[str]) -> bool:
        """Those of before. True if ours is a new one: it has to be written down before a record names it."""
        self.prefixes = list(prefixes)
        self._names.clear()
        if not self._prefix:
            return False
        new = self._prefix not in self.prefixes
        if new and (len(self.prefixes) >= _MOST or sum(map(len, [*self.prefixes, self._prefix])) > _ROOM):
            return False
        if new:
            self.prefixes.append(self._prefix)
        self._index = self.prefixes.index(self._prefix)
        return new

    def name(self, topic: str) -> bytes:
        """As it is written."""
        name = self._names.get(topic)
        if name is None:
            if self._index is not None and topic.startswith(self._prefix):
                name = bytes((_MARK, self._index)) + topic[len(self._prefix) :].encode()
            else:
                name = topic.encode()
            name = self._names[topic] = name[:_LONGEST]
        return name

    def text(self, name: bytes) -> str:
        """As it is. Where the marks were lost, what it began with is what topics begin with now."""
        if len(name) < 2 or name[0] != _MARK:
            return name.decode(errors="replace")
        prefix = self.prefixes[name[1]] if name[1] < len(self.prefixes) else self._prefix
        return prefix + name[2:].decode(errors="replace")
