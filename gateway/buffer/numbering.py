"""Positions and identities: which epoch a position belongs to, and the way back. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from gateway.buffer.marks import Epoch
from gateway.mqtt.payload import Ranges


class Numbering:
    """Epochs in the order they began; in each, seqs count from 1."""

    def __init__(self, epochs: Sequence[Epoch] = ()) -> None:
        self.epochs = list(epochs)

    def begin(self, name: str, base: int) -> None:
        """What comes behind the position `base` has this epoch."""
        while self.epochs and self.epochs[-1].base >= base:  # nothing was ever appended in it
            del self.epochs[-1]
        self.epochs.append(Epoch(name, base))

    def learn(self, name: str, base: int) -> None:
        """What a record says of its epoch."""
        if all(each.name != name for each in self.epochs):
            self.epochs = sorted([*self.epochs, Epoch(name, base)], key=lambda each: each.base)

    def seq(self, position: int) -> int:
        """Of a position that is about to be appended."""
        return position - self.epochs[-1].base

    def identity(self, position: int) -> tuple[str, int]:
        """Epoch and seq."""
        epoch = self.epochs[self._index(position)]
        return epoch.name, position - epoch.base

    def positions(self, name: str, ranges: Ranges, newest: int) -> list[tuple[int, int]]:
        """Where the seqs of an epoch are; nothing for those that were never given out."""
        for i, epoch in enumerate(self.epochs):
            if epoch.name == name:
                base, end = epoch.base, min(newest, self._end(i, newest))
                return [(first + base, min(last + base, end)) for first, last in ranges if first + base <= end]
        return []

    def parts(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The same stretch, cut where an epoch ends."""
        while first <= last:
            end = min(last, self._end(self._index(first), last))
            yield first, end
            first = end + 1

    def forget(self, stored: int) -> None:
        """Epochs of which nothing is kept."""
        while len(self.epochs) > 1 and self.epochs[1].base <= stored:
            del self.epochs[0]

    def _index(self, position: int) -> int:
        return max(0, bisect_right(self.epochs, position - 1, key=lambda each: each.base) - 1)

    def _end(self, index: int, newest: int) -> int:
        return self.epochs[index + 1].base if index + 1 < len(self.epochs) else newest
