"""What is wrong with a text: where, what, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(eq=False)
class ExpressionError(ValueError):
    """One mistake in an expression. Characters `start` to `end` of the text are meant, counted from 0, the end outside."""

    message: str
    start: int
    end: int
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} (at character {self.start + 1})" + (f": {self.hint}" if self.hint else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'mean'?`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like it, whatever its capitals; empty where none is."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1)
    return by_lower[near[0]] if near else ""
