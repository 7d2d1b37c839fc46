"""What is stored or declared lost: everything up to a mark, and stretches beyond it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from gateway.mqtt.payload import merge_ranges


class Dealt:
    """Positions that have been dealt with."""

    def __init__(self, upto: int = 0, beyond: Iterable[tuple[int, int]] = ()) -> None:
        self.upto = upto
        self.beyond = [(first, last) for first, last in beyond if last > upto]

    def add(self, stretches: Sequence[tuple[int, int]]) -> bool:
        """These, too. True if the mark moved."""
        before = self.upto
        (_, self.upto), *self.beyond = merge_ranges([(0, before), *self.beyond, *stretches])
        return self.upto > before

    def __contains__(self, position: int) -> bool:
        return self.end_of(position) is not None

    def __len__(self) -> int:
        return self.upto + sum(last - first + 1 for first, last in self.beyond)

    def end_of(self, position: int) -> int | None:
        """The last position of the stretch that holds this one; None where none does."""
        if position <= self.upto:
            return self.upto
        i = bisect_right(self.beyond, position, key=lambda r: r[0]) - 1
        return self.beyond[i][1] if i >= 0 and position <= self.beyond[i][1] else None

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of this stretch is not among them."""
        found: list[tuple[int, int]] = []
        while first <= last:
            if (end := self.end_of(first)) is not None:
                first = end + 1
                continue
            following = next((begin for begin, _ in self.beyond if begin > first), last + 1)
            found.append((first, min(last, following - 1)))
            first = following
        return found

    def count_missing(self, upto: int) -> int:
        """How many of the positions up to there are not among them."""
        return max(0, upto - self.upto) - sum(
            min(last, upto) - first + 1 for first, last in self.beyond if first <= upto
        )

    def copy(self) -> Dealt:
        """As it is now."""
        return Dealt(self.upto, self.beyond)
