"""The lines of a file that YAML could make sense of, as they may be shown: stars stand where a secret is, and nowhere else. Pure.

    by the words of each line     mqtt: {user: u, password: ***********   `gateway.hiding`, for files that cannot be parsed
    once it is parsed             mqtt: {user: u, password: *, keep: 3}   the rest of that line can be read again

It begins with the former, and shows again only what is certainly something else: the key or value that YAML found there. What
looks like the rest of a password with a comma or a line end in it stays hidden, and so do comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.hiding import is_name, is_secret_key, starred_lines, without_defaults, without_users

Place = tuple[int, int]  # line and column; both count from 0
Span = tuple[Place, Place]

_BETWEEN = " \t,:{}[]-?\"'"  # what may stand between two texts, and tells nothing


@dataclass(frozen=True, slots=True)
class Part:
    """What a parser finds: a text, an alias, or where a list or mapping begins and ends."""

    kind: Literal["text", "alias", "mapping", "list", "end"]
    start: Place
    end: Place
    text: str = ""  # of an alias its name
    anchor: str | None = None
    flow: bool = False  # of a list or mapping: within brackets
    plain: bool = False  # of a text: without quotes


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not closed yet."""

    mapping: bool
    start: Place
    flow: bool
    hidden: bool  # it is the value of a secret, or part of one
    anchor: str | None = None
    key: Part | None = None  # whose value comes next
    looked_up: bool = True  # it is no more than {secret: name}
    behind: bool = False  # a secret stands before what comes next


class _Finder:
    """Walks once over what was found."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._open: list[_Open] = []
        self._anchors: dict[str, Span] = {}
        self.hidden: list[Span] = []
        self.clear: list[Span] = []  # texts that are none, unless something hidden covers them
        self.doubtful: set[int] = set()  # lines in which a password may end that YAML takes for something else

    def walk(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if part.kind in ("mapping", "list"):
                self._begin(part)
            elif part.kind == "end":
                self._end(part)
            else:
                self._single(part)

    def _begin(self, part: Part) -> None:
        hidden = self._secret()
        self._open.append(_Open(part.kind == "mapping", part.start, part.flow, hidden, part.anchor))

    def _end(self, part: Part) -> None:
        done = self._open.pop()
        if done.anchor is not None:
            self._anchors[done.anchor] = done.start, part.end
        around = self._open[-1] if self._open else None
        if done.hidden and not (done.mapping and done.looked_up):
            self.hidden.append((done.start, part.end))
        if around is not None and around.flow and not around.mapping:
            braces = self._lines[done.start[0]][done.start[1] :].startswith("{")
            around.behind = around.behind or (done.behind and not braces)  # [password: a, b]: a pair is a mapping, too
        self._value_done(done.hidden)

    def _single(self, part: Part) -> None:
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.mapping and frame.key is None:
            frame.key = part
            if frame.flow and frame.behind and not self._has_colon(part):
                self._doubt(part)
            else:
                self.clear.append((part.start, part.end))
            return
        if part.anchor is not None:
            self._anchors[part.anchor] = part.start, part.end
        key = None if frame is None or frame.key is None else frame.key.text
        named = key == "secret" and part.kind == "text" and is_name(part.text)
        hidden = self._secret() and not named
        if frame is not None and (key != "secret" or not named):
            frame.looked_up = False
        if hidden:
            self.hidden.append((part.start, part.end))
            if part.kind == "alias" and part.text in self._anchors:
                self.hidden.append(self._anchors[part.text])
            if part.plain and part.end[0] != part.start[0] and any(each.flow for each in self._open):
                self.doubtful.add(part.end[0])
        elif frame is not None and frame.flow and not frame.mapping and frame.behind:
            self._doubt(part)
        else:
            self.clear.append((part.start, part.end))
        self._value_done(hidden)

    def _secret(self) -> bool:
        """Whether what comes now is one, or part of one."""
        if not self._open:
            return False
        frame = self._open[-1]
        return frame.hidden or (frame.key is not None and is_secret_key(frame.key.text))

    def _value_done(self, hidden: bool) -> None:
        if self._open:
            frame = self._open[-1]
            frame.behind = frame.behind or (hidden and frame.flow)
            frame.key = None

    def _has_colon(self, key: Part) -> bool:
        line, column = key.end
        return self._lines[line][column:].lstrip().startswith(":")

    def _doubt(self, part: Part) -> None:
        self.hidden.append((part.start, part.end))
        self.doubtful.update((part.start[0], part.end[0]))


def shown_lines(lines: Sequence[str], parts: Iterable[Part]) -> list[str]:
    """The same lines, each as long, with stars in place of secrets. `parts`: what a parser found in them, in order."""
    by_words = starred_lines(lines)
    touched = {i for i, (was, now) in enumerate(zip(lines, by_words, strict=True)) if was != now}
    if not touched:
        return by_words
    found = _Finder(lines)
    found.walk(parts)
    shown: dict[int, list[str]] = {i: list(by_words[i].ljust(len(lines[i]))) for i in touched}
    again: dict[int, list[str]] = {}  # what may be shown where nothing is hidden: addresses and defaults never
    certain: dict[int, set[int]] = {}
    for i in touched - found.doubtful:
        line = without_defaults(without_users(lines[i], as_long=True), as_long=True)
        again[i], certain[i] = list(line), set()
    for start, end in found.clear:
        if any(i in again for i in range(start[0], end[0] + 1)):
            pieces = list(_pieces(lines, start, end))
            told = starred_lines([lines[i][a:b] for i, a, b in pieces])  # `password = x` is a text for YAML
            for (i, a, b), text in zip(pieces, told, strict=True):
                if i in again:
                    certain[i].update(range(a, b))
                    for at, (now, was) in enumerate(zip(text.ljust(b - a), lines[i][a:b], strict=True), a):
                        if now != was:
                            again[i][at] = "*"
    covered: dict[int, set[int]] = {i: set(places) for i, places in certain.items()}
    secret: dict[int, set[int]] = {}
    for start, end in found.hidden:
        for i, a, b in _pieces(lines, start, end):
            secret.setdefault(i, set()).update(range(a, b))
            if i in covered:
                covered[i].update(range(a, b))
    for i, readable in again.items():
        for at, char in enumerate(lines[i]):
            if at not in covered[i] and char == "#":
                break  # a comment: as the words of the line say
            if at in certain[i] or (at not in covered[i] and char in _BETWEEN):
                shown[i][at] = readable[at]
    texts = list(by_words)
    for i in touched | set(secret):
        row = shown.get(i) or list(lines[i])
        for at in secret.get(i, ()):
            if not lines[i][at].isspace() or _inside(secret[i], at):
                row[at] = "*"
        texts[i] = "".join(row).rstrip() if i in touched else "".join(row)
    return texts


def _inside(places: set[int], at: int) -> bool:
    return at - 1 in places and at + 1 in places


def _pieces(lines: Sequence[str], start: Place, end: Place) -> Iterable[tuple[int, int, int]]:
    """What of each line lies between two places: line, first column, column behind the last."""
    for i in range(start[0], min(end[0] + 1, len(lines))):
        first = start[1] if i == start[0] else len(lines[i]) - len(lines[i].lstrip())
        last = end[1] if i == end[0] else len(lines[i].rstrip())
        if first < last:
            yield i, first, min(last, len(lines[i]))
