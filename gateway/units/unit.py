"""A unit: what it measures and how large it is, and what products, quotients and powers of units are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

MAX_LENGTH = 64  # characters of a code
MAX_EXPONENT = 99
# Beyond this many binary digits nothing is measured, and a float holds a quarter of it: what a text can cost is bounded here.
_MAX_BITS = 4096

# The base units of UCUM (§28). A dimension is their exponents, in this order.
BASE = ("m", "s", "g", "rad", "K", "C", "cd")
NO_DIMENSION = (0,) * len(BASE)

# ratio: zero means nothing of it. interval: zero is somewhere else (Cel). nonlinear: logarithms and the like (dB, [pH]).
Scale = Literal["ratio", "interval", "nonlinear"]


class UnitError(ValueError):
    """A text that is no unit, or units that do not fit each other."""

    def __init__(self, message: str, position: int = 0, hint: str = "") -> None:
        super().__init__(message, position, hint)
        self.message = message
        self.position = position  # in the code, from 0
        self.hint = hint  # "did you mean 'Cel'?", or empty

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Unit:
    """A value in this unit is `value * factor + offset` in base units.

    All numbers are exact; for pi UCUM's 64 digits are taken. Two units with the same meaning and other codes are not equal:
    `conversion()` between them is (1, 0).
    """

    code: str  # as written, "" for none
    dimension: tuple[int, ...]  # exponents over BASE
    factor: Fraction
    offset: Fraction = Fraction(0)  # in base units: 273.15 of Cel
    own: tuple[
        tuple[str, int], ...
    ] = ()  # exponents of units that convert only to themselves, by code: var, [iU], B[V]
    scale: Scale = "ratio"

    @property
    def is_dimensionless(self) -> bool:
        """A plain number or a share of something: `1`, `%`, `{pcs}`. An angle is not: rad is a base unit of UCUM."""
        return self.scale == "ratio" and self.dimension == NO_DIMENSION and not self.own

    def fits(self, other: Unit) -> bool:
        """Whether values can be converted from one to the other."""
        return (self.dimension, self.own) == (other.dimension, other.own)

    def difference(self) -> Unit:
        """The unit of the difference of two values: K for Cel, [degR] for [degF], else the unit itself. Raises UnitError."""
        if self.scale == "nonlinear":
            raise UnitError(f"the difference of two values in {self.code} is not in {self.code}")
        if self.scale == "ratio":
            return self
        up, down = self.factor.as_integer_ratio()
        code = (
            "[degR]" if (up, down) == (5, 9) else (f"{up}." if up > 1 else "") + "K" + (f"/{down}" if down > 1 else "")
        )
        return replace(self, code=code, offset=Fraction(0), scale="ratio")

    def __mul__(self, other: Unit) -> Unit:
        """Raises UnitError for units on scales that cannot be multiplied (UCUM §22): these only take a number."""
        return _named(times(self, other), _product(self.code, other.code))

    def __truediv__(self, other: Unit) -> Unit:
        """Raises UnitError, as multiplication does."""
        return _named(times(self, power(other, -1)), _quotient(self.code, other.code))

    def __pow__(self, exponent: int) -> Unit:
        """Exponents from -99 to 99. Raises UnitError for others, and for units on scales that have no powers."""
        return _named(power(self, exponent), _power(self.code, exponent))

    def _no_algebra(self) -> UnitError:
        if self.scale == "interval":
            return UnitError(
                f"{self.code} is a point on a scale with a zero of its own: it has no products, quotients or powers",
                hint=f"for differences of temperature write {self.difference().code}",
            )
        return UnitError(f"{self.code} is not on a linear scale: it has no products, quotients or powers")


ONE = Unit("", NO_DIMENSION, Fraction(1))

# --- sizes -----------------------------------------------------------------------------------------------------------


def times(a: Unit, b: Unit) -> Unit:
    """The product of two units, without a code of its own."""
    if a.scale != "ratio" or b.scale != "ratio":
        # §22.5: what is special may be scaled by a number, which leaves its zero where it is.
        special, number = (b, a) if a.is_dimensionless else (a, b)
        if not number.is_dimensionless:
            raise (special if special.scale != "ratio" else number)._no_algebra()
        return replace(special, factor=_bounded(special.factor * number.factor))
    dimension = tuple(x + y for x, y in zip(a.dimension, b.dimension, strict=True))
    return Unit("", dimension, _bounded(a.factor * b.factor), own=_sum(a.own, b.own))


def power(unit: Unit, exponent: int) -> Unit:
    """A power of a unit, without a code of its own."""
    if exponent == 1:
        return unit
    if unit.scale != "ratio":
        raise unit._no_algebra()
    if abs(exponent) > MAX_EXPONENT:
        raise UnitError(f"the exponent {exponent} is too large: at most {MAX_EXPONENT}")
    # Looked at before it is worked out: this is where numbers grow.
    if _bits(unit.factor) * abs(exponent) > _MAX_BITS:
        raise _beyond_measure()
    own = tuple((code, exponent * each) for code, each in unit.own) if exponent else ()
    return Unit("", tuple(exponent * each for each in unit.dimension), unit.factor**exponent, own=own)


def _bounded(factor: Fraction) -> Fraction:
    if _bits(factor) > _MAX_BITS:
        raise _beyond_measure()
    return factor


def _bits(factor: Fraction) -> int:
    """Of the longer of both numbers, to within one; 0 for 1."""
    return max(factor.numerator.bit_length(), factor.denominator.bit_length()) - 1


def _beyond_measure() -> UnitError:
    return UnitError("this unit is larger or smaller than anything that is measured")


def _sum(a: tuple[tuple[str, int], ...], b: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if not a or not b:
        return a or b
    exponents = dict(a)
    for code, exponent in b:
        exponents[code] = exponents.get(code, 0) + exponent
    return tuple(sorted((code, exponent) for code, exponent in exponents.items() if exponent))


# --- codes -----------------------------------------------------------------------------------------------------------

HIDDEN = re.compile(r"\[[^]]*\]|\{[^}]*\}")  # where '.' and '/' are no operators
_ANNOTATION = re.compile(r"\{[^}]*\}")
_ANNOTATION_ALONE = re.compile(r"(?<![^./(])\{[^}]*\}")
_SYMBOL = re.compile(r"(?:\[[^]]*\]|[A-Za-z_%'])+")  # what an exponent can be added to


def in_base_units(unit: Unit) -> str:
    """The code of its dimension, whatever its size: "m.s-2"; "1" without any."""
    exponents = (*zip(BASE, unit.dimension, strict=True), *unit.own)
    return ".".join(base + (str(n) if n != 1 else "") for base, n in exponents if n) or "1"


def _named(unit: Unit, code: str) -> Unit:
    """With a code that can be written: the given one; where that grew too long, without annotations, or in base units."""
    if len(code) > MAX_LENGTH:
        code = _ANNOTATION.sub("", _ANNOTATION_ALONE.sub("1", code))
    if len(code) > MAX_LENGTH and unit.scale == "ratio":
        up, down = unit.factor.as_integer_ratio()
        code = (f"{up}." if up > 1 else "") + in_base_units(unit) + (f"/{down}" if down > 1 else "")
    if len(code) > MAX_LENGTH:
        raise UnitError(f"the code of this unit would take more than {MAX_LENGTH} characters")
    return replace(unit, code=code)


def _product(a: str, b: str) -> str:
    if not a or not b:
        return a or b
    # Left to right (§7.4): a.(b/c) and a.b/c are the same.
    return f"{a}.{'1' + b if b.startswith('/') else b}"


def _quotient(a: str, b: str) -> str:
    if not b:
        return a
    if b.startswith("/"):
        b = "1" + b
    return f"{a}/({b})" if re.search(r"[./]", HIDDEN.sub("", b)) else f"{a}/{b}"


def _power(code: str, exponent: int) -> str:
    if exponent == 0 or not code:
        return ""
    if _SYMBOL.fullmatch(code):
        return code + (str(exponent) if exponent != 1 else "")
    whole = code
    for _ in range(abs(exponent) - 1):
        whole = _product(whole, code)
    return whole if exponent > 0 else _quotient("", whole)
