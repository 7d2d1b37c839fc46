"""Signals to check and run expressions with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.expressions import Expression, Kind, Program, Reference, parse
from gateway.model import GOOD, Value
from gateway.units import parse as unit

SECOND = 1_000_000_000
MINUTE = 60 * SECOND

KINDS: Mapping[str, Kind] = {
    "kw": Kind("float", unit("kW")),
    "w": Kind("float", unit("W")),
    "kg": Kind("float", unit("kg")),
    "m": Kind("float", unit("m")),
    "s": Kind("float", unit("s")),
    "pct": Kind("float", unit("%")),
    "cel": Kind("float", unit("Cel")),
    "cel2": Kind("float", unit("Cel")),
    "degf": Kind("float", unit("[degF]")),
    "k": Kind("float", unit("K")),
    "x": Kind("float"),
    "y": Kind("float"),
    "n": Kind("int"),
    "i": Kind("int"),
    "on": Kind("bool"),
    "off": Kind("bool"),
    "mode": Kind("string", None, frozenset({"off", "setup", "auto"})),
    "text": Kind("string"),
    "any": Kind(),
    "other": Kind(),
}


def kind_of(reference: Reference) -> Kind | None:
    return KINDS.get(str(reference))


def checked(text: str, kinds: Mapping[str, Kind] = KINDS) -> Expression:
    expression = parse(text)
    expression.check(lambda reference: kinds.get(str(reference)), list(kinds))
    return expression


class Running:
    """A program with its signals by name, at a time that is set."""

    def __init__(self, text: str, kinds: Mapping[str, Kind] = KINDS) -> None:
        self.expression = checked(text, kinds)
        self.program: Program = self.expression.program()

    def __call__(self, now_s: float, **signals: Any) -> tuple[Value, int]:
        """A value, or a pair of value and quality, for each signal; at that second."""
        pairs = [signals[str(r)] if str(r) in signals else signals[r.signal] for r in self.expression.references]
        both = [each if isinstance(each, tuple) else (each, GOOD) for each in pairs]
        return self.program.run([v for v, _ in both], [q for _, q in both], round(now_s * SECOND))

    def values(self, series: Sequence[tuple[float, Any]], name: str) -> list[Value]:
        """Its value at each point of a series (second, value) of one signal."""
        return [self(at, **{name: value})[0] for at, value in series]


def worked_out(text: str, **signals: Any) -> tuple[Value, int]:
    return Running(text)(0, **signals)
