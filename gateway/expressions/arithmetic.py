"""Operations that Python does not have in the way people expect them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from gateway.expressions.flaws import NUMBERS


def linear(factor: float, offset: float) -> Callable[[float], float]:
    """Dividing by 1000 is closer than multiplying by 0.001."""
    divisor = float(round(1 / factor)) if factor < 1 else 0.0
    if divisor and 1 / divisor == factor:
        return lambda x: x / divisor + offset
    return lambda x: x * factor + offset


def equal_if_alike(x: Any, y: Any) -> bool:
    """For values whose types nobody knows: 1 is not true, and a number not text."""
    if x.__class__ is not y.__class__ and not (x.__class__ in NUMBERS and y.__class__ in NUMBERS):
        raise TypeError
    return bool(x == y)


def unequal_if_alike(x: Any, y: Any) -> bool:
    return not equal_if_alike(x, y)


def between(x: Any, low: Any, high: Any) -> Any:
    return (low <= x) & (x <= high)


def clamped(x: Any, low: Any, high: Any) -> Any:
    if low > high:
        raise ValueError
    return max(low, min(x, high))


def rounding(digits: int) -> Callable[[Any], float]:
    """As on paper: halves away from zero, of the number as it is shown. 2.675 is 2.68, though the float is a little less."""
    scale, place = 10.0**digits, Decimal(1).scaleb(-digits)

    def rounded(x: Any) -> float:
        beyond = abs(x) * scale % 1.0
        if not 0.499999 < beyond < 0.500001 or abs(x) > 1e15:
            return round(float(x), digits) + 0.0  # no -0.0
        return float(Decimal(repr(x)).quantize(place, ROUND_HALF_UP)) + 0.0

    return rounded


_to_whole = rounding(0)


def whole_number(x: Any) -> int:
    return x if x.__class__ is int else int(_to_whole(x))


WHOLE: Mapping[str, Callable[[Any], int]] = {"round": whole_number, "floor": math.floor, "ceil": math.ceil}
