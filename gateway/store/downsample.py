"""Fewer readings that look the same on a screen. Pure.

Every reading returned is one that was stored: of numbers the smallest and the largest of each stretch of time and the
first bad one, so that neither a peak nor an outage disappears; of states and texts the changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from gateway.model import Value
from gateway.store.contract import Columns

Reading = tuple[int, Value, int]
_NUMBERS = {float, int, type(None)}


def down_sample(parts: Iterable[Columns], start: int, end: int, points: int) -> Columns:
    """At most `points` readings of what comes in time order between `start` and `end`; all, if they are not more."""
    few = Columns()
    extremes: dict[int, list[Reading]] = {}  # by stretch of time
    changes: list[Reading] = []
    count = 0
    for part in parts:
        count += len(part)
        if count <= points:
            few.time += part.time
            few.value += part.value
            few.quality += part.quality
        if set(map(type, part.value)) <= _NUMBERS:
            for stretch, piece in _cut(part, start, end, max(1, points // 2)):
                extremes.setdefault(stretch, []).extend(_extremes(piece))
        else:
            changes += _changes(part, changes[-1] if changes else None)
    if count <= points:
        return few
    share = points // 2 if extremes and changes else points
    return _columns(sorted(_fewer_extremes(extremes, share) + _fewer_changes(changes, start, end, share), key=_time))


def _cut(part: Columns, start: int, end: int, stretches: int) -> Iterator[tuple[int, Columns]]:
    span, i = end - start + 1, 0
    while i < len(part):
        stretch = (part.time[i] - start) * stretches // span
        edge = start - (stretch + 1) * span // -stretches  # rounded up
        j = bisect_left(part.time, edge, i)
        yield stretch, Columns(part.time[i:j], part.value[i:j], part.quality[i:j])
        i = j


def _extremes(piece: Columns) -> list[Reading]:
    good = [v for v in piece.value if v is not None] if None in piece.value else piece.value
    wanted = {piece.value.index(min(good)), piece.value.index(max(good))} if good else set()  # type: ignore[type-var]
    if len(good) < len(piece):
        wanted.add(piece.value.index(None))
    return [(piece.time[i], piece.value[i], piece.quality[i]) for i in sorted(wanted)]


def _fewer_extremes(extremes: dict[int, list[Reading]], points: int) -> list[Reading]:
    """Two stretches become one as long as they hold too many: the extremes of extremes are the extremes of all."""
    while True:
        extremes = {stretch: _extremes(_columns(readings)) for stretch, readings in extremes.items()}
        if sum(map(len, extremes.values())) <= points or len(extremes) <= 1:
            return [reading for readings in extremes.values() for reading in readings][:points]
        halved: dict[int, list[Reading]] = {}
        for stretch, readings in extremes.items():
            halved.setdefault(stretch // 2, []).extend(readings)
        extremes = halved


def _changes(part: Columns, last: Reading | None) -> Iterator[Reading]:
    state = last and last[1:]
    for reading in zip(part.time, part.value, part.quality, strict=True):
        if reading[1:] != state:
            state = reading[1:]
            yield reading


def _fewer_changes(changes: list[Reading], start: int, end: int, points: int) -> list[Reading]:
    if len(changes) <= points:
        return changes
    first: dict[int, Reading] = {}
    for reading in changes:
        first.setdefault((reading[0] - start) * points // (end - start + 1), reading)
    return list(first.values())


def _columns(readings: Sequence[Reading]) -> Columns:
    return Columns([r[0] for r in readings], [r[1] for r in readings], [r[2] for r in readings])


def _time(reading: Reading) -> int:
    return reading[0]
