"""Messages become columns: one per signal and interval; signals that were read together share their times. Pure.

message  t1 {a, b}   ─┐             segment  times [t1, t2, t3]   a [ , , ]   b [ , , ]
message  t2 {a, b}    ├─ fold ─▶
message  t3 {a, b, c} ┘             segment  times [t3]           c [ ]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat

from gateway.model import Value
from gateway.mqtt.payload import Data
from gateway.store.contract import Columns
from gateway.store.frames import separate

INTERVAL = 600 * 10**9  # ns; a segment never reaches over the edge of one


@dataclass(frozen=True, slots=True)
class Column:
    """One signal's readings in a segment."""

    name: str
    value: Sequence[Value]
    quality: Sequence[int] | None  # None: all good


@dataclass(frozen=True, slots=True)
class Segment:
    """Signals of one machine that have the same times within one interval."""

    interval: int
    time: Sequence[int]
    columns: list[Column]


@dataclass(slots=True)
class _Group:
    """Frames with the same names in the same order: a table to be turned on its side."""

    time: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)  # which frame of all it was
    values: list[Iterable[Value]] = field(default_factory=list)
    quality: list[Iterable[int]] = field(default_factory=list)
    ascending: bool = True


@dataclass(frozen=True, slots=True)
class _Part:
    """A column of a group."""

    group: _Group
    column: Column


def fold(messages: Iterable[Data]) -> list[Segment]:
    """The readings of one machine as segments. Of readings with the same signal and time the last one counts."""
    parts: dict[tuple[int, str], list[_Part]] = {}
    for interval, part in _turned(messages):
        parts.setdefault((interval, part.column.name), []).append(part)
    segments: dict[tuple[int, tuple[int, ...] | int], Segment] = {}
    for (interval, name), several in parts.items():
        group, column = several[0].group, several[0].column
        if len(several) == 1 and group.ascending:  # as nearly always: what was read together has one list of times
            segment = segments.setdefault((interval, id(group)), Segment(interval, group.time, []))
        else:
            merged = _merged(several)
            column = Column(name, merged.value, merged.quality)
            segment = segments.setdefault((interval, tuple(merged.time)), Segment(interval, merged.time, []))
        segment.columns.append(column)
    return list(segments.values())


def merge(parts: Iterable[Columns]) -> Columns:
    """Columns of one signal as one: in time order, of equal times the last one."""
    merged = Columns()
    for part in parts:
        merged.time += part.time
        merged.value += part.value
        merged.quality += part.quality
    if ascending(merged.time):
        return merged
    at = {time: i for i, time in enumerate(merged.time)}
    order = [at[time] for time in sorted(at)]
    return Columns(
        [merged.time[i] for i in order], [merged.value[i] for i in order], [merged.quality[i] for i in order]
    )


def ascending(time: Sequence[int]) -> bool:
    """No two alike, the earliest first."""
    return all(a < b for a, b in pairwise(time))


def _turned(messages: Iterable[Data]) -> Iterator[tuple[int, _Part]]:
    groups: dict[tuple[int, tuple[str, ...], tuple[str, ...]], _Group] = {}
    order = 0
    for data in messages:
        for time, frame in separate(data.frames):
            key = time // INTERVAL, tuple(frame.values), tuple(frame.quality)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group()
            group.time.append(time)
            group.order.append(order := order + 1)
            group.values.append(frame.values.values())
            group.quality.append(frame.quality.values())
    for (interval, names, odd), group in groups.items():
        group.ascending = ascending(group.time)
        quality = dict(zip(odd, zip(*group.quality, strict=True), strict=True))
        for name, values in zip(names, zip(*group.values, strict=True), strict=True):
            yield interval, _Part(group, Column(name, values, quality.pop(name, None)))
        for name, codes in quality.items():
            yield interval, _Part(group, Column(name, (None,) * len(codes), codes))


def _merged(parts: list[_Part]) -> Columns:
    """The columns of one signal in the order in which they came, then as `merge` does it."""
    rows = sorted(
        row
        for part in parts
        for row in zip(
            part.group.order, part.group.time, range(len(part.group.time)), repeat(part.column), strict=False
        )
    )
    return merge(
        [
            Columns(
                [time for _, time, _, _ in rows],
                [column.value[i] for _, _, i, column in rows],
                [column.quality[i] if column.quality else 0 for _, _, i, column in rows],
            )
        ]
    )
