"""What an expression yields, and the rules of units: what can be added, and what a product is in."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import ValueType
from gateway.units import Unit, UnitError, parse


@dataclass(frozen=True, slots=True)
class Kind:
    """What a signal is, or what an expression yields. None stands for what is not known."""

    type: ValueType | None = None  # None: not known before connecting
    unit: Unit | None = None  # None: not known, or not given
    states: frozenset[str] | None = None  # the texts it can have


SECOND, ONE = parse("s"), parse("1")


def times(left: Unit | None, right: Unit | None) -> Unit | None:
    """The unit of a product. Not known if one of both is not, or is a point on a scale: twice 20 Cel is no temperature."""
    if left is None or right is None or left.scale != "ratio" or right.scale != "ratio":
        return None
    if _is_one(left) or _is_one(right):
        return right if _is_one(left) else left
    try:
        return left * right
    except UnitError:  # too long to be written
        return None


def over(left: Unit | None, right: Unit | None) -> Unit | None:
    """The unit of a quotient, as `times`."""
    if left is None or right is None or left.scale != "ratio" or right.scale != "ratio":
        return None
    try:
        return left if _is_one(right) else left / right
    except UnitError:
        return None


def raised(unit: Unit | None, exponent: int) -> Unit | None:
    """The unit of a power."""
    if unit is None or unit.scale != "ratio" or _is_one(unit):
        return unit if unit is not None and _is_one(unit) else None
    try:
        return unit**exponent if exponent else ONE
    except UnitError:
        return None


def difference(unit: Unit | None) -> Unit | None:
    """The unit of the difference of two values: K for Cel."""
    try:
        return None if unit is None else unit.difference()
    except UnitError:  # of logarithms
        return None


def _is_one(unit: Unit) -> bool:
    return unit.code in ("", "1")
