"""The functions of the language: how each is written, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MANY = 100


@dataclass(frozen=True, slots=True)
class Function:
    """`least` to `most` arguments; with a window the last of them is a duration."""

    usage: str
    least: int
    most: int
    window: bool = False


FUNCTIONS: Mapping[str, Function] = {
    "if": Function("if(condition, a, b)", 3, 3),
    "min": Function("min(a, b, …) or min(x, 5min)", 2, MANY),
    "max": Function("max(a, b, …) or max(x, 5min)", 2, MANY),
    "abs": Function("abs(x)", 1, 1),
    "round": Function("round(x) or round(x, digits)", 1, 2),
    "floor": Function("floor(x)", 1, 1),
    "ceil": Function("ceil(x)", 1, 1),
    "sqrt": Function("sqrt(x)", 1, 1),
    "clamp": Function("clamp(x, low, high)", 3, 3),
    "between": Function("between(x, low, high)", 3, 3),
    "bit": Function("bit(x, n)", 2, 2),
    "convert": Function("convert(x, 'unit')", 2, 2),
    "good": Function("good(x)", 1, 1),
    "known": Function("known(x)", 1, 1),
    "default": Function("default(x, y)", 2, 2),
    "mean": Function("mean(x, 5min)", 2, 2, window=True),
    "delta": Function("delta(x, 5min)", 2, 2, window=True),
    "rate": Function("rate(x, 5min)", 2, 2, window=True),
    "count": Function("count(condition, 1h)", 2, 2, window=True),
    "share": Function("share(condition, 1h)", 2, 2, window=True),
    "rising": Function("rising(condition)", 1, 1),
    "falling": Function("falling(condition)", 1, 1),
    "changed": Function("changed(x)", 1, 1),
    "previous": Function("previous(x)", 1, 1),
    "duration": Function("duration(condition)", 1, 1),
    "total": Function("total(x)", 1, 1),
}

# These two are also functions of several values, so a window is told by the duration.
WINDOW_BY_DURATION = frozenset({"min", "max"})

# What other languages call them.
ALSO_KNOWN_AS: Mapping[str, str] = {
    "avg": "mean(x, 5min)", "average": "mean(x, 5min)", "minimum": "min(a, b, …)", "maximum": "max(a, b, …)",
    "iif": "if(condition, a, b)", "pow": "x ** y", "mod": "x % y", "sum": "a + b", "integral": "total(x)",
    "derivative": "rate(x, 1min)", "limit": "clamp(x, low, high)", "coalesce": "default(x, y)", "ifnull": "default(x, y)",
    "int": "round(x), floor(x) or ceil(x)", "trunc": "floor(x)", "edge": "rising(condition)", "timer": "duration(condition)",
    "last": "previous(x)", "prev": "previous(x)", "diff": "delta(x, 5min)", "isgood": "good(x)", "increase": "delta(x, 5min)",
}  # fmt: skip
