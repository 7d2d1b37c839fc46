"""Which sequence numbers are there: stretches, ascending and not touching. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

from gateway.mqtt.payload import Ranges, merge_ranges
from gateway.store.contract import Entry, Lost, Origin, Readings

MAX_STRETCHES = 1000  # more gaps than this are of no use to anybody; those long past are forgotten


class Identities:
    """A set of sequence numbers that mostly come in order."""

    def __init__(self, ranges: Ranges = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self.update(ranges)

    def __contains__(self, seq: int) -> bool:
        i = bisect_right(self._first, seq)
        return i > 0 and seq <= self._last[i - 1]

    def add(self, seq: int) -> bool:
        """Put it in; False if it was there."""
        i = bisect_right(self._first, seq)
        if i and seq <= self._last[i - 1]:
            return False
        after = i < len(self._first) and self._first[i] == seq + 1
        if i and self._last[i - 1] == seq - 1:
            self._last[i - 1] = self._last.pop(i) if after else seq
            if after:
                del self._first[i]
        elif after:
            self._first[i] = seq
        else:
            self._first.insert(i, seq)
            self._last.insert(i, seq)
            if len(self._first) > MAX_STRETCHES:  # never the one that was just put in: it has to be told
                oldest = 0 if i else 1
                del self._first[oldest], self._last[oldest]
        return True

    def update(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Put all of these in; if there are too many stretches, others that are long past are forgotten."""
        new = merge_ranges(list(ranges))
        merged = merge_ranges([*self.ranges(), *new])
        if (excess := len(merged) - MAX_STRETCHES) > 0:
            firsts = [first for first, _ in new]
            told = [bisect_right(firsts, last) > bisect_left(firsts, first) for first, last in merged]
            old = [i for i, is_new in enumerate(told) if not is_new][:excess]
            merged = [each for i, each in enumerate(merged) if i not in set(old)][-MAX_STRETCHES:]
        self._first = [first for first, _ in merged]
        self._last = [last for _, last in merged]

    def ranges(self) -> list[tuple[int, int]]:
        """First and last of each stretch."""
        return list(zip(self._first, self._last, strict=True))


def identities_of(entries: Iterable[Entry]) -> Mapping[Origin, Ranges]:
    """Those of messages, in the order in which their epochs come."""
    found: dict[Origin, Identities] = {}
    for entry in entries:
        if isinstance(entry, Readings):
            found.setdefault(entry.origin, Identities()).add(entry.data.seq)
        elif isinstance(entry, Lost):
            found.setdefault(entry.origin, Identities()).add(entry.seq)
    return {origin: identities.ranges() for origin, identities in found.items()}
