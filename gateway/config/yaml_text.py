"""YAML as a person would write it: one signal in a line, ready to paste. Pure: what the tools print, never what is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_°µ/][A-Za-z0-9_./°µ^-]*(?: [A-Za-z0-9_./°µ^()-]+)*")
_NOT_TEXT = re.compile(r"(?i)(true|false|null|yes|no|on|off|y|n|~|[-+]?\.?(inf|nan))")


def scalar(value: Any) -> str:
    """A value as YAML, also within {…}: quoted where it would be taken for something else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(scalar, value)) + "]"
    text = str(value).replace("${", "$${")  # the configuration fills in ${VAR}
    if _PLAIN.fullmatch(text) and not _NOT_TEXT.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(
            c if c.isprintable() else f"\\u{ord(c):04x}" if c < "\U00010000" else f"\\U{ord(c):08x}" for c in text
        )
        + '"'
    )


def signals_text(
    signals: Mapping[str, Mapping[str, Any]], indent: int = 2, comments: Mapping[str, str] | None = None
) -> str:
    """Signals by name, one in a line."""
    width = max((len(scalar(name)) for name in signals), default=0) + 2
    lines = []
    for name, signal in signals.items():
        line = " " * indent + f"{scalar(name) + ':':<{width}}" + scalar(signal)
        if comments and name in comments:
            line += f"  # {comments[name]}"
        lines.append(line.rstrip() + "\n")
    return "".join(lines)


def section(values: Mapping[str, Any], indent: int = 0) -> str:
    """Keys with simple values, one in a line."""
    return "".join(f"{' ' * indent}{scalar(key)}: {scalar(value)}\n" for key, value in values.items())


def comment(lines: Iterable[str]) -> str:
    """Lines of a comment; nothing in them can end it."""
    return "".join("# " + "".join(c if c.isprintable() else " " for c in line) + "\n" for line in lines)
