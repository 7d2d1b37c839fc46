"""From a code to a unit, after the grammar of UCUM 2.2 (Exhibit 1).

main-term   [/] term
term        component { (. | /) component }           from left to right, both operators alike
component   number | [prefix]atom[exponent] | ( term ) | nothing, each with {annotation}s behind
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

from gateway.units.atoms import (
    ATOMS,
    BINARY_PREFIXES,
    INTERVAL,
    MAY_HAVE_PREFIX,
    METRIC,
    NON_METRIC,
    NONLINEAR,
    OWN,
    PREFIXES,
    SAME,
)
from gateway.units.unit import BASE, MAX_LENGTH, NO_DIMENSION, ONE, Unit, UnitError, power, times

_MAX_DEPTH = 8
_FOREIGN = re.compile(r"[^!-~]")  # §3: ASCII without spaces
# A number, or a symbol with its exponent; brackets hide anything (§5).
_RUN = re.compile(r"(?:\[[^\[\]]*\]|[^\[\](){}./+\-\"=])+")
_SIGNED = re.compile(r"[+-][0-9]+")
_ANNOTATION = re.compile(r"\{[^{}]+\}")
_MISPLACED = {
    **dict.fromkeys("{}", "an annotation holds something between '{' and '}', and no other annotation"),
    **dict.fromkeys("[]", "square brackets stand in pairs, and not in one another"),
}


def parse(code: str) -> Unit:
    """What a code stands for; "" and "1" are plain numbers. Raises UnitError: what is wrong, where, and what was probably meant."""
    if len(code) > MAX_LENGTH:
        raise UnitError(f"a unit has at most {MAX_LENGTH} characters, this one has {len(code)}", MAX_LENGTH)
    result = _parsed(code)
    if isinstance(result, Unit):
        return result
    raise UnitError(*result)


def read(code: str) -> Unit:
    """The same without a look for what was meant, and without a memory."""
    return replace(_Reader(code).main_term(), code=code)


class _Mistake(NamedTuple):
    message: str
    position: int
    hint: str


# What a server sends a thousand times is explained once.
@lru_cache(maxsize=1024)
def _parsed(code: str) -> Unit | _Mistake:
    try:
        return read(code)
    except UnitError as exc:
        from gateway.units import hints  # not in memory where everything is right

        return _Mistake(exc.message, exc.position, hints.hint(code, exc.position) or exc.hint)


class _Reader:
    """One walk over a code, from left to right."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._at = 0
        if foreign := _FOREIGN.search(code):
            what = "a space" if foreign[0].isspace() else repr(foreign[0])
            raise UnitError(f"{what} cannot be part of a unit: codes are ASCII, without spaces", foreign.start())

    def main_term(self) -> Unit:
        if not self._code:
            return ONE
        unit = self._term(0)
        if self._at < len(self._code):
            raise self._no_operator()
        return unit

    def _term(self, depth: int) -> Unit:
        unit = ONE
        operator = "." if depth else self._take("/")
        special: int | None = None  # where a unit stands that has no products
        while True:
            start = self._at
            component = self._component(depth)
            if component.scale != "ratio" and special is None:
                special = start
            try:
                unit = times(unit, power(component, -1) if operator == "/" else component)
            except UnitError as exc:
                raise UnitError(exc.message, start if special is None else special, exc.hint) from None
            if not (operator := self._take("/") or self._take(".")):
                return unit

    def _component(self, depth: int) -> Unit:
        if self._take("("):
            unit = self._parenthesized(depth + 1)
        elif run := _RUN.match(self._code, self._at):
            unit = self._number(run[0]) if run[0].isdigit() else self._symbol(run[0])
        elif _ANNOTATION.match(self._code, self._at):
            unit = ONE
        else:
            raise self._no_unit()
        while annotation := _ANNOTATION.match(self._code, self._at):
            self._at = annotation.end()
        return unit

    def _parenthesized(self, depth: int) -> Unit:
        opened = self._at - 1
        if depth > _MAX_DEPTH:
            raise UnitError(f"parentheses may stand in one another {_MAX_DEPTH} deep", opened)
        unit = self._term(depth)
        if not self._take(")"):
            raise UnitError("this '(' is not closed", opened) if self._at == len(self._code) else self._no_operator()
        if self._code[self._at : self._at + 1] in tuple("+-0123456789"):
            raise UnitError("an exponent stands behind a unit, not behind parentheses", self._at)
        return unit

    def _number(self, digits: str) -> Unit:
        if not int(digits):
            raise UnitError("a number in a unit is larger than 0", self._at)
        self._at += len(digits)
        return Unit("", NO_DIMENSION, Fraction(int(digits)))

    def _symbol(self, run: str) -> Unit:
        start = self._at
        symbol = run.rstrip("0123456789")
        exponent = run[len(symbol) :]
        self._at += len(run)
        if not exponent and (signed := _SIGNED.match(self._code, self._at)):
            exponent = signed[0]
            self._at = signed.end()
        try:
            unit = simple(symbol)
            if not exponent:
                return unit
            if len(exponent.lstrip("+-")) > 2:
                raise UnitError("an exponent has at most two digits")
            return power(unit, int(exponent))
        except UnitError as exc:
            raise UnitError(exc.message, start + exc.position, exc.hint) from None

    def _take(self, character: str) -> str:
        if not self._code.startswith(character, self._at):
            return ""
        self._at += 1
        return character

    def _no_unit(self) -> UnitError:
        found, before = self._code[self._at : self._at + 1], self._code[: self._at][-1:]
        message = _MISPLACED.get(found, f"{found!r} cannot stand here")
        if found in ("", ".", "/", ")"):
            message = f"a unit is missing behind {before!r}" if before else f"a unit does not begin with {found!r}"
        return UnitError(message, self._at)

    def _no_operator(self) -> UnitError:
        found = self._code[self._at]
        message = _MISPLACED.get(found, f"{found!r} cannot stand here")
        if found == ")":
            message = "this ')' was never opened"
        elif _RUN.match(self._code, self._at) or found == "(":
            message = f"an operator ('.' or '/') is missing before {found!r}"
        return UnitError(message, self._at)


# --- symbols ---------------------------------------------------------------------------------------------------------


def simple(symbol: str) -> Unit:
    """An atom, or a prefix and a metric atom (§4). Raises UnitError."""
    if symbol in ATOMS:
        return _atom(symbol)
    for length in (2, 1):  # the longest prefix first
        prefix, atom = symbol[:length], symbol[length:]
        if atom in MAY_HAVE_PREFIX and (size := _prefix(prefix)):
            return replace(times(size, _atom(atom)), code=symbol)
    for length in (2, 1):
        if symbol[length:] in ATOMS and _prefix(symbol[:length]):
            raise UnitError(f"'{symbol}' is not a unit: '{symbol[length:]}' takes no prefix")
    raise UnitError(f"'{symbol}' is not a unit")


def _prefix(prefix: str) -> Unit | None:
    if prefix in PREFIXES:
        return Unit("", NO_DIMENSION, Fraction(10) ** PREFIXES[prefix])
    return Unit("", NO_DIMENSION, Fraction(2 ** BINARY_PREFIXES[prefix])) if prefix in BINARY_PREFIXES else None


@cache  # no more than there are atoms
def _atom(code: str) -> Unit:
    if code in BASE:
        return Unit(code, tuple(int(code == base) for base in BASE), Fraction(1))
    if code in OWN:
        return Unit(code, NO_DIMENSION, Fraction(1), own=((SAME.get(code, code), 1),))
    if code in NONLINEAR:
        return Unit(code, NO_DIMENSION, Fraction(1), own=((code, 1),), scale="nonlinear")
    if code in INTERVAL:
        degree, zero = map(_defined, INTERVAL[code])
        return replace(degree, code=code, offset=zero.factor, scale="interval")
    return replace(_defined(METRIC.get(code) or NON_METRIC[code]), code=code)


def _defined(definition: str) -> Unit:
    """Of "1e5 Pa", "12 [in_i]" or "N/m2"."""
    number, _, term = definition.rpartition(" ")
    return times(Unit("", NO_DIMENSION, Fraction(number or 1)), read(term))
