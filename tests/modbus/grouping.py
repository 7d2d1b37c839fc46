"""All the ways to read signals together, against which a plan is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

from adapters.modbus.config import ModbusSignal
from adapters.modbus.plan import Obstacle

Place = tuple[int, int]  # address and size
SIZED = {1: "uint16", 2: "uint32", 3: "modulo10k_u48", 4: "uint64"}  # a type of each size


@cache
def signal(at: int, size: int) -> ModbusSignal:
    return ModbusSignal.model_validate({"holding": at, "type": SIZED[size]})


def signals(*places: Place) -> list[tuple[str, ModbusSignal]]:
    """Their names are s0, s1 …"""
    return [(f"s{i}", signal(*place)) for i, place in enumerate(places)]


def partitions(places: list[Place]) -> Iterator[list[list[Place]]]:
    """Every way to divide them among requests."""
    if not places:
        yield []
        return
    first, *rest = places
    for parts in partitions(rest):
        yield [[first], *parts]
        for i in range(len(parts)):
            yield [*parts[:i], [first, *parts[i]], *parts[i + 1 :]]


def allowed(part: list[Place], limit: int, gap: int, obstacles: Sequence[Obstacle] = ()) -> bool:
    """Whether one request may bring them: not too long, no gap too wide, and no obstacle as a whole within it."""
    if len(set(part)) == 1:
        return True  # a value is asked for, whatever there is to say against it
    part, end = sorted(part), 0
    for (at, size), (following, _) in pairwise([*part, (part[-1][0], 0)]):
        end = max(end, at + size)
        if following - end > gap:
            return False
    first = part[0][0]
    return end - first <= limit and not any(first <= a and b < end for a, b in obstacles)


def fewest(places: list[Place], limit: int, gap: int, obstacles: Sequence[Obstacle] = ()) -> int:
    """Requests that bring them all."""
    ways = partitions(places)
    return min(len(parts) for parts in ways if all(allowed(part, limit, gap, obstacles) for part in parts))
