"""What a variable has to be for its signals to have a place in it. Pure.

x: [0], y: [2]                              ─▶ Array((3,), Plain)
x: [1][2]                                   ─▶ Array((2, 3), Plain)
x: Axes[1].Position, y: Axes[0].Name        ─▶ Record(Axes: Array((2,), Record(Position: Plain, Name: Plain)))
x: nothing                                  ─▶ Plain
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from gateway.model import ValueType
from simulators.opcua.places import Path, path_text
from simulators.opcua.points import Point

MOST = 100_000  # elements of an array: more than any machine has


@dataclass(frozen=True, slots=True)
class Plain:
    """A single value."""

    type: ValueType | None  # None: each element has one of its own
    texts: tuple[str, ...] = ()  # of its numbers, which the server tells


@dataclass(frozen=True, slots=True)
class Array:
    """Of one dimension or more."""

    lengths: tuple[int, ...]
    element: Plain | Record


@dataclass(frozen=True, slots=True)
class Record:
    """A structure."""

    fields: Mapping[str, Shape]


Shape = Plain | Array | Record


class ShapeError(ValueError):
    """There is no value in which a signal has its place; the text says why."""


def shape_of(points: Sequence[Point]) -> Shape:
    """The shape of a variable with these points. Raises ShapeError. The points then have the types of their places."""
    return _shape(points, 0)


def _shape(points: Sequence[Point], depth: int) -> Shape:
    here = path_text(points[0].place[:depth]) or "the value"
    kinds = {type(point.place[depth]) if len(point.place) > depth else None for point in points}
    if len(kinds) > 1:
        said = {None: "a single value", int: "an array", str: "a structure"}
        raise ShapeError(f"{here} would be {' and '.join(sorted(said[kind] for kind in kinds))}")
    if kinds == {None}:
        return _plain(points, in_field=any(isinstance(step, str) for step in points[0].place))
    if kinds == {int}:
        return _array(points, depth, here)
    fields: dict[str, list[Point]] = {}
    for point in points:
        fields.setdefault(str(point.place[depth]), []).append(point)
    return Record({name: _shape(each, depth + 1) for name, each in fields.items()})


def _array(points: Sequence[Point], depth: int, here: str) -> Array:
    ranks = {_rank(point.place[depth:]) for point in points}
    if len(ranks) > 1:
        raise ShapeError(f"{here} would be an array of {' and '.join(map(str, sorted(ranks)))} dimensions")
    (rank,) = ranks
    lengths = tuple(max(int(point.place[depth + i]) for point in points) + 1 for i in range(rank))
    if prod(lengths) > MOST:
        raise ShapeError(f"{here} would have {prod(lengths)} elements, and {MOST} is the most that is simulated")
    element = _shape(points, depth + rank)
    assert not isinstance(element, Array)
    return Array(lengths, element)


def _rank(path: Path) -> int:
    return next((i for i, step in enumerate(path) if isinstance(step, str)), len(path))


def _plain(points: Sequence[Point], in_field: bool) -> Plain:
    """One type for all of them: what the configuration says, else what has room for them all."""
    pinned = {point.settings.type for point in points if point.settings.type}
    types = pinned or {point.type for point in points}
    type: ValueType | None = next(iter(types)) if len(types) == 1 else None
    if type is None and not pinned:
        type = "string" if "string" in types else "float"
    for point in points:
        if type is not None:
            point.type = type
    texts = tuple(dict.fromkeys(text for point in points for text in point.texts))
    for point in points:
        if point.texts:
            point.name_states(dict(enumerate(texts)))
    if type not in ("int", "bool") or (type == "bool" and (in_field or len(texts) > 2)):
        texts = ()  # there is no place to tell them
    return Plain(type, texts)
