"""The way to a part of an array or structure, as `field` and `index` write it. Pure.

field: "Axes[1].Position"                ─▶ ("Axes", 1, "Position")
field: "Position", index: 1              ─▶ (1, "Position"): the node is an array of structures
field: "Axes[].Position", count: 2       ─▶ ("Axes", 0, "Position"), ("Axes", 1, "Position")
field: "[1][2]" or "[1, 2]"              ─▶ (1, 2): the node is an array of two dimensions
field: "Motor&.1.Speed"                  ─▶ ("Motor.1", "Speed"): & before what belongs to a name, as in browse paths
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.config.fields import mistake

Path = tuple[str | int, ...]
"""Names of fields and numbers of elements, from the outside in."""

_STEP = re.compile(r"\[(?P<index>[0-9, ]*)\]|\.?(?P<name>(?:&.|[^&.\[\]])+)")
_EXAMPLE = 'for example "Axes[1].Position"; & before a . or [ that belongs to a name'
HERE = -1  # stands for `[]`: where `index` or `count` goes


@lru_cache(4096)
def parse_field(text: str) -> Path:
    """Understand `Axes[1].Position`. Raises a mistake (PydanticCustomError)."""
    if text != text.strip() or not text.isprintable():
        raise mistake(f"the field {text!r} begins or ends with a blank, or has a control character in it", key="field")
    path: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (not path and text[at] == ".") or (path and text[at] not in ".["):
            raise mistake(f"'{text}' is not the path of a field", _EXAMPLE, "field")
        at = match.end()
        index, name = match.group("index", "name")
        if name is not None:
            path.append(re.sub(r"&(.)", r"\1", name))
        elif not index.strip():
            path.append(HERE)
        else:
            path += [_number(text, number.strip()) for number in index.split(",")]
    if path.count(HERE) > 1:
        raise mistake(f"'{text}' has [] twice", "`index` or `count` fills one of them", "field")
    return tuple(path)


def _number(text: str, number: str) -> int:
    if not number.isdecimal() or int(number) >= 2**31:
        raise mistake(f"'{number}' in '{text}' is not the number of an element", "the first one is 0", "field")
    return int(number)


def path_of(field: str | None, index: int | None) -> Path:
    """What `field` and `index` pick together. Raises a mistake (PydanticCustomError)."""
    path = parse_field(field) if field else ()
    if HERE not in path:
        return path if index is None else (index, *path)
    if index is None:
        raise mistake(
            f"which element of '{field}'?", "`index` or `count` says it; or write the number into []", "field"
        )
    return tuple(index if step == HERE else step for step in path)


def path_text(path: Path) -> str:
    """As it is written."""
    steps = [f"[{step}]" if isinstance(step, int) else "." + re.sub(r"([&.\[\]])", r"&\1", step) for step in path]
    return "".join(steps).removeprefix(".")
