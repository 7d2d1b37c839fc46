"""`$(name)` in a profile: what differs from machine to machine, put into its values. Pure.

    "m:Axis_$(axis)/m:Position"   text with a value in it
    $(unit_id)                    nothing else around it: the value as it is, a number stays a number
    $(base + 20*(axis - 1))       whole numbers: sums, differences, products, brackets
    $$(                           a plain $(

The brackets are round, so that `${VAR}` stays what it was, and so that nothing has to be quoted within {…}.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from gateway.config.explain import did_you_mean
from gateway.config.fields import mistake

Value = str | int | float | bool

MAX_LENGTH = 200  # of one formula, in characters: numbers cannot grow without end
MAX_DEPTH = 20  # brackets within brackets

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TOKEN = re.compile(rf"\s*([0-9]{{1,18}}(?![A-Za-z0-9_])|{_NAME.pattern}(?![A-Za-z0-9_])|[-+*()])")
_PLACE = re.compile(r"\$?\$\(")
_HINT = "a name, or whole numbers and names with + - * and brackets, for example $(base + 20*axis)"


class FormulaError(Exception):
    """A `$(…)` that cannot be filled in: what is wrong, and what to do."""

    def __init__(self, message: str, hint: str = _HINT) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def fill(text: str, values: Mapping[str, Value]) -> Value:
    """`text` with every `$(…)` filled in; of the type of the value where nothing else stands beside it. Raises FormulaError."""

    def value_of(name: str) -> Value:
        if name not in values:
            raise FormulaError(
                f"there is no parameter '{name}'", did_you_mean(name, values) or "add it to `parameters:`"
            )
        return values[name]

    parts = _parts(text, value_of)
    if len(parts) == 1 and not text.startswith("$$("):
        return parts[0]
    return "".join(_written(part) for part in parts)


def names_in(text: str) -> set[str]:
    """The parameters a text asks for; of one that is not understood those up to there."""
    found: set[str] = set()

    def note(name: str) -> Value:
        found.add(name)
        return 0

    with contextlib.suppress(FormulaError):
        _parts(text, note)
    return found


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parts(text: str, value_of: Callable[[str], Value]) -> list[Value]:
    """The pieces of a text: what stands there, and the values of its formulas."""
    parts: list[Value] = []
    at = 0
    while match := _PLACE.search(text, at):
        if match.start() > at:
            parts.append(text[at : match.start()])
        if match[0] == "$$(":
            parts.append("$(")
            at = match.end()
            continue
        formula = _Formula(text, match.start(), match.end(), value_of)
        parts.append(formula.value())
        at = formula.at
    if at < len(text) or not parts:
        parts.append(text[at:])
    return parts


@dataclass(slots=True)
class _Formula:
    """One `$(…)`, read by descent: sum = product ± product …, product = factor * factor …"""

    text: str
    start: int  # of the $
    at: int  # what comes next
    value_of: Callable[[str], Value]

    def value(self) -> Value:
        found = self._sum(0)
        if self._next() != ")":
            raise self._wrong()
        return found

    def _sum(self, depth: int) -> Value:
        left = self._product(depth)
        while (sign := self._peek()) in ("+", "-"):
            self._next()
            right = self._number(self._product(depth))
            left = self._number(left) + (right if sign == "+" else -right)
        return left

    def _product(self, depth: int) -> Value:
        left = self._factor(depth)
        while self._peek() == "*":
            self._next()
            left = self._number(left) * self._number(self._factor(depth))
        return left

    def _factor(self, depth: int) -> Value:
        piece = self._next()
        if depth > MAX_DEPTH:
            raise self._wrong()
        if piece.isdecimal():
            return int(piece)
        if piece == "-":
            return -self._number(self._factor(depth + 1))
        if piece == "(":
            inner = self._sum(depth + 1)
            if self._next() != ")":
                raise self._wrong()
            return inner
        if _NAME.fullmatch(piece):
            return self.value_of(piece)
        raise self._wrong()

    def _peek(self) -> str:
        match = _TOKEN.match(self.text, self.at)
        return match[1] if match else ""

    def _next(self) -> str:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.end() - self.start > MAX_LENGTH:
            raise self._wrong()
        self.at = match.end()
        return match[1]

    def _number(self, value: Value) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise FormulaError(f"{value!r} cannot be calculated with", "sums and products are of whole numbers")
        return value

    def _wrong(self) -> FormulaError:
        end = self.text.find(")", self.start)
        shown = self.text[self.start : end + 1 if end >= 0 else len(self.text)]
        return FormulaError(f"'{shown[:60]}' is not understood")


def _scalar(value: Any) -> Any:
    if isinstance(value, (str, int, float)):  # a bool is an int
        return value
    raise mistake("a parameter is text, a number, true or false", "for example axis: 2")


def _parameter_name(value: Any) -> Any:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise mistake(
            f"'{value}' cannot be the name of a parameter", "letters, digits and '_', not beginning with a digit"
        )
    return value


Scalar = Annotated[
    Value, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]  # fmt: skip
"""The value of a parameter."""
ParameterName = Annotated[
    str, BeforeValidator(_parameter_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})
]
"""It stands in formulas, so a hyphen would be a minus."""
