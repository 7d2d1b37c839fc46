"""Which nodes are meant: a browse path as in `path:`, with `*`, `?`, `[ab]` within names and `**` for any number of them. Pure.

    m:CNC1/**/Spindle*     ─ Pattern ─▶ states of a small automaton: what of the pattern a node still has before it

A node is asked with the states of its parent, so that nothing is browsed that cannot lead to a match. A name without a
prefix is of any namespace; & before a character takes its meaning away, in `path:` and here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from gateway.config.explain import did_you_mean
from gateway.errors import UsageError

States = frozenset[int]

_WILD = re.compile(r"(?:&.|[^&])*?[*?]", re.S)


class _Step(NamedTuple):
    namespace: str | int | None  # None: any
    name: re.Pattern[str] | None  # None: `**`


class Pattern:
    """A path, taken apart."""

    def __init__(self, text: str, namespaces: Mapping[str, str], below: bool = False) -> None:
        """`namespaces`: URIs by prefix. With `below` everything under a match is meant as well. Raises UsageError."""
        for head in ("/", "Objects/"):
            text = text.removeprefix(head)
        parts = [] if text in ("", "Objects") else _split(text)
        self._steps = [_step(part, namespaces) for part in parts]
        self.wild = any(step.name is None or _is_wild(part) for step, part in zip(self._steps, parts, strict=True))
        self.first = (
            re.sub(r"^[\w.-]+:(?=.)|&(?=.)", "", parts[0]) if parts and not _is_wild(parts[0]) else ""
        )  # its name
        self.length = self._end = len(self._steps)
        self._below = below
        self._match = cache(self._match_name)

    @property
    def start(self) -> States:
        """The states of the folder Objects."""
        return self._reach({0})

    def matches(self, states: States) -> bool:
        """Whether a node in these states is meant."""
        return self._end in states

    def after(self, states: States, uri: str | int, name: str) -> States:
        """The states of what stands below; empty where nothing can match any more."""
        reached = set()
        for at in states:
            if at == self._end:
                if self._below:
                    reached.add(at)
            elif self._steps[at].name is None:
                reached.add(at)  # `**` takes one more
            elif self._match(at, uri, name):
                reached.add(at + 1)
        return self._reach(reached)

    def _match_name(self, at: int, uri: str | int, name: str) -> bool:
        step = self._steps[at]
        return step.namespace in (None, uri) and step.name is not None and step.name.fullmatch(name) is not None

    def _reach(self, states: set[int]) -> States:
        """With those that are reached without a name: `**` can stand for none."""
        reached = set(states)
        for at in sorted(states):
            while at < self._end and self._steps[at].name is None:
                at += 1
                reached.add(at)
        return frozenset(reached)


def _split(text: str) -> list[str]:
    """At each / that has no & before it."""
    return re.findall(r"(?:&.|[^&/])+", text, re.S)


def _is_wild(part: str) -> bool:
    return _WILD.match(part) is not None


def _step(part: str, namespaces: Mapping[str, str]) -> _Step:
    if part == "**":
        return _Step(None, None)
    match = re.match(r"([A-Za-z0-9_.-]+):(?=.)", part)
    namespace: str | int | None = None
    if match:
        prefix, part = match[1], part[match.end() :]
        if prefix in namespaces:
            namespace = namespaces[prefix]
        elif prefix.isdecimal():
            namespace = 0 if prefix == "0" else int(prefix)
        else:
            known = did_you_mean(prefix, namespaces) if namespaces else "the server has no namespace but its own"
            raise UsageError(f"'{prefix}' is no namespace here; {known}. & before a : that belongs to a name")
    # Brackets and stars can also stand in a name, as in a path that was copied.
    literal = re.escape(re.sub(r"&(.)", r"\1", part))
    return _Step(namespace, re.compile(f"{_expression(part)}|{literal}", re.S))


def _expression(part: str) -> str:
    """`Spindle*[12]` as a regular expression."""
    made, at = "", 0
    while at < len(part):
        c = part[at]
        if c == "&" and at + 1 < len(part):
            at += 1
            made += re.escape(part[at])
        elif c == "*":
            made += ".*"
        elif c == "?":
            made += "."
        elif c == "[" and (end := part.find("]", at + 2)) > 0:
            inside = part[at + 1 : end]
            inverse = inside[0] in "!^" and len(inside) > 1
            listed = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if inverse else inside)
            made += f"[{'^' if inverse else ''}{listed}]"
            at = end
        else:
            made += re.escape(c)
        at += 1
    return made


def escaped(name: str, wild: bool = False) -> str:
    """A browse name as a step of a path; with `wild`, of a pattern."""
    return re.sub(r"([&/:*?\[])" if wild else r"([&/:])", r"&\1", name)


def path_text(steps: Sequence[tuple[str | None, str]]) -> str:
    """Prefixes and names as in `path:`."""
    text = "/".join(f"{prefix}:{escaped(name)}" if prefix is not None else escaped(name) for prefix, name in steps)
    return f"Objects/{text}" if text.startswith("Objects/") else text
