"""The words of a text, each with its place.

melt_temp > 200 and [press-07/mode] == 'auto'
name      op num op  signal        op  text
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from gateway.expressions.mistakes import ExpressionError

MAX_LENGTH = 1000  # characters of a text

SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""The units a duration can be written in."""

BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")  # a signal that needs no brackets
_WORDS = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>0[xX][0-9A-Za-z_]*|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<unit>[A-Za-z_µ][A-Za-z0-9_]*)?
    |(?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    |\[(?P<signal>[^\[\]\n]*)\]
    |(?P<text>'[^'\n]*'|"[^"\n]*")
    |(?P<operator>==|!=|<=|>=|\*\*|<(?!>)|[-+*/%>(),])""",
    re.VERBOSE,
)
_OPERATORS = {"and", "or", "not"}
_CONSTANTS = {"true": True, "false": False}
_MAX_INT = 2**63 - 1

# Signs of other languages and of word processors: what they are here. Longer ones first.
_FOREIGN = {
    "&&": "write and", "||": "write or", "<>": "write !=", "=<": "write <=", "=>": "write >=", "=": "to compare, write ==", "!": "write not", "^": "write **",
    "&": "write and; for single bits there is bit(x, n)", "|": "write or", "?": "write if(condition, a, b)",
    "≤": "write <=", "≥": "write >=", "≠": "write !=", "×": "write *", "·": "write *", "÷": "write /", "−": "write -",
    "–": "write -", "²": "write ** 2", "³": "write ** 3", "“": "write '", "”": "write '", "„": "write '", "‘": "write '",
    "’": "write '", "`": "write '", ".": "a number has digits on both sides of its point: 5.0",
}  # fmt: skip

TokenKind = Literal["number", "duration", "text", "bool", "name", "signal", "operator", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """A word. `value`: of a number, in seconds of a duration, what stands between the quotes or the brackets."""

    kind: TokenKind
    text: str
    start: int
    value: float | int | bool | str = ""

    @property
    def end(self) -> int:
        """The first character behind it."""
        return self.start + len(self.text)


def tokens(text: str) -> list[Token]:
    """The words of a text; the last one is its end. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters", MAX_LENGTH, len(text), _SPLIT)
    found, at = [], 0
    while at < len(text):
        match = _WORDS.match(text, at)
        if match is None:
            raise _unknown(text, at)
        if match.lastgroup != "blank":
            found.append(_token(match))
        at = match.end()
    return [*found, Token("end", "", len(text))]


_SPLIT = "make a signal of its own of a part of it"


def _token(match: re.Match[str]) -> Token:
    word, start = match[0], match.start()
    if match["number"]:
        return _number(match)
    if match["text"]:
        return Token("text", word, start, word[1:-1])
    if match["signal"] is not None:
        return Token("signal", word, start, match["signal"])
    if match["operator"] or word in _OPERATORS:
        return Token("operator", word, start)
    if word in _CONSTANTS:
        return Token("bool", word, start, _CONSTANTS[word])
    if (lower := word.lower()) in _OPERATORS or lower in _CONSTANTS:
        hint = f"write {lower}; a signal of that name: [{word}]"
        raise ExpressionError(f"'{word}' is written in small letters", start, match.end(), hint)
    return Token("name", word, start)


def _number(match: re.Match[str]) -> Token:
    digits, unit, start, end = match["number"], match["unit"], match.start(), match.end()
    if digits[:2] in ("0x", "0X"):
        if not re.fullmatch(r"0[xX][0-9A-Fa-f]+", digits):
            raise ExpressionError(f"'{match[0]}' is not a number", start, end, "hexadecimal numbers are written 0x1F")
        value: float | int = int(digits, 16)
    else:
        value = int(digits) if digits.isdigit() else float(digits)
    if not math.isfinite(value) or (isinstance(value, int) and value > _MAX_INT):
        raise ExpressionError(f"{digits[:20]} is too large for a number", start, end)
    if not unit:
        return Token("number", match[0], start, value)
    if unit not in SECONDS:
        raise ExpressionError(f"'{unit}' is not a unit of time", match.start("unit"), end, _unit_hint(digits, unit))
    if not math.isfinite(seconds := value * SECONDS[unit]):
        raise ExpressionError(f"{match[0][:20]} is too large for a number", start, end)
    return Token("duration", match[0], start, seconds)


def _unit_hint(digits: str, unit: str) -> str:
    if unit in _OPERATORS:
        return "put a blank before it"
    if unit.startswith("_"):
        return "digits are not grouped: 1000, not 1_000"
    if len(unit) > 3 and digits.isdigit():
        return f"a name that begins with a digit is written in brackets: [{digits}{unit}]"
    guess = {"m": "min", "sec": "s", "S": "s", "H": "h", "D": "d", "MIN": "min", "hr": "h"}.get(unit)
    also = f"did you mean {digits}{guess}? " if guess else ""
    return f"{also}durations are written in {', '.join(SECONDS)}; other numbers take the unit of what they stand beside"


def _unknown(text: str, at: int) -> ExpressionError:
    """There is no word at this place."""
    rest = text[at:]
    if rest[0] in "'\"":
        end = (rest + "\n").index("\n")
        return ExpressionError("this text is not closed", at, at + end, f"put {rest[0]} at its end")
    if rest[0] == "[":
        return ExpressionError("'[' is not closed", at, at + 1, "write [name] or [machine/name]")
    if rest[0] == "]":
        return ExpressionError("']' closes nothing", at, at + 1, "write [name] or [machine/name]")
    for sign, hint in _FOREIGN.items():
        if rest.startswith(sign):
            return ExpressionError(f"'{sign}' is not known here", at, at + len(sign), hint)
    shown = rest[0] if rest[0].isprintable() else f"U+{ord(rest[0]):04X}"
    hint = "letters are a to z" if rest[0].isalpha() else ""
    return ExpressionError(f"'{shown}' is not known here", at, at + 1, hint)
