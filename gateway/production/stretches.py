"""Stretches of time, in order: none overlaps or touches another one. As few bytes as it takes, for days of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise


class Stretches:
    """Half open: [begin, end), in ns."""

    __slots__ = ("_edges",)

    def __init__(self) -> None:
        self._edges = array("q")  # begin, end, begin, end …

    def __len__(self) -> int:
        return len(self._edges) // 2

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._edges[::2], self._edges[1::2], strict=True)

    def add(self, begin: int, end: int) -> None:
        """What overlaps it or touches it is one with it."""
        if begin < end:
            i, k = bisect_left(self._edges, begin), bisect_right(self._edges, end)
            # An odd index lies within a stretch, or at its end.
            self._edges[i:k] = array("q", ([] if i % 2 else [begin]) + ([] if k % 2 else [end]))

    def remove(self, begin: int, end: int) -> None:
        """What is left of a stretch on either side stays."""
        if begin < end:
            i, k = bisect_left(self._edges, begin), bisect_right(self._edges, end)
            self._edges[i:k] = array("q", ([begin] if i % 2 else []) + ([end] if k % 2 else []))

    def within(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Those parts of them that lie in [begin, end)."""
        if begin >= end:
            return []
        i = bisect_right(self._edges, begin) // 2 * 2
        k = (bisect_left(self._edges, end) + 1) // 2 * 2
        parts = zip(self._edges[i:k:2], self._edges[i + 1 : k : 2], strict=True)
        return [(max(a, begin), min(b, end)) for a, b in parts]

    def whole(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Those that have a part in [begin, end], not cut at its ends."""
        i, k = bisect_left(self._edges, begin) // 2 * 2, (bisect_right(self._edges, end) + 1) // 2 * 2
        return list(zip(self._edges[i:k:2], self._edges[i + 1 : k : 2], strict=True))

    def length(self, begin: int, end: int) -> int:
        """How much of [begin, end) they take, in ns."""
        return sum(b - a for a, b in self.within(begin, end))

    def dump(self) -> list[int]:
        """As JSON: the first edge, then what is added to it each time."""
        return differences(self._edges)

    def load(self, edges: Iterable[int]) -> None:
        """From `dump`. Raises ValueError or TypeError for what is none."""
        found = array("q", accumulate(edges))
        if len(found) % 2 or any(b <= a for a, b in pairwise(found)):
            raise ValueError("stretches of time that are in no order")
        self._edges = found


def differences(column: Iterable[int]) -> list[int]:
    """The first number, then what is added each time: `accumulate` is the way back."""
    found, last = [], 0
    for each in column:
        found.append(each - last)
        last = each
    return found
