"""Names of signals and machines out of browse names: readable, allowed everywhere, each once, and the same the next time. Pure.

("Monitoring", "Spindle 1", "Speed")  ─▶ Monitoring.Spindle_1.Speed       ("CNC1", "CNC1.Speed") ─▶ CNC1.Speed
('"DB_Prozess"', '"Füllstand"')       ─▶ DB_Prozess.Fuellstand            longer than 64: from the end, as many as fit
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256

LONGEST = 64
_SPELT = str.maketrans(
    {
        "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "đ": "d", "Đ": "D", "ø": "o",
        "Ø": "O", "æ": "ae", "Æ": "Ae", "œ": "oe", "ł": "l", "Ł": "L", "µ": "u", "μ": "u", "°": "deg", "%": "pct",
        "Ω": "Ohm", "Δ": "Delta", "φ": "phi", "№": "No",
    }
)  # fmt: skip


def word(text: str) -> str:
    """One browse name with letters, digits, `_`, `-` and `.` only; empty where nothing of it can be written so."""
    text = unicodedata.normalize("NFKD", text.translate(_SPELT))
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"\[(\d+)\]", r"_\1", text)
    text = re.sub(r"[\"'`()\[\]{}]", "", text)
    text = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
    text = re.sub(r"_{2,}", "_", text)
    return re.sub(r"\.{2,}", ".", text).strip("_.-")


def joined(steps: Sequence[str], longest: int = LONGEST) -> str:
    """The name for a way of browse names; from its end, as much as fits."""
    words: list[str] = []
    for step in steps:
        if not (part := word(step)):
            continue
        # Servers that name a node with its whole path say everything twice.
        if words and re.match(rf"{re.escape(words[-1])}[._-]", part):
            words.pop()
        words.append(part)
    if not words:
        return ""
    name = words.pop()
    while words and len(name) + 1 + len(words[-1]) <= longest:
        name = f"{words.pop()}.{name}"
    if len(name) <= longest:
        return name
    # What is cut off tells it from its neighbours; a digest does, too, and stays the same.
    return f"{name[: longest - 7].rstrip('_.-')}_{sha256(name.encode()).hexdigest()[:6]}"


class Names:
    """Gives each name once. Who comes later is told from who came first by what stands above it, else by a number."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in taken}

    def of(self, steps: Sequence[str], parts: Sequence[str] = ("",), otherwise: str = "signal") -> str:
        """A free name for a way. `parts`: what will be added to it, each of which has to be free."""
        room = LONGEST + 32
        if steps and not word(steps[-1]):
            steps = [*steps[:-1], otherwise]
        for number in range(1, 1_000_000):
            ending = "" if number == 1 else f"_{number}"
            name = (joined(steps) or otherwise)[:room] + ending
            names = [f"{name}{part}".lower() for part in ("", *parts)]
            if not any(each in self._taken for each in names):
                self._taken.update(names)
                return name
        raise AssertionError


def machine_name(steps: Sequence[str], otherwise: str) -> str:
    """The name of a machine: it may not begin with `_`, and one of hexadecimal digits says nothing."""
    name = joined(steps[-1:], 48)
    if re.fullmatch(r"[0-9A-Fa-f-]{16,}|\d+", name):
        name = joined((otherwise, name), 48) if otherwise else name
    return name.lstrip("_") or word(otherwise) or "machine"
