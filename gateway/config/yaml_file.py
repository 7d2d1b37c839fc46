"""YAML 1.2 with positions: a file becomes a tree of nodes that know where they stand.

    bytes ─ UTF-8 ─▶ libyaml events ─▶ Node tree ─▶ plain data for pydantic
                                          └──────▶ file:line:column of any key, for the errors

Strict on purpose: `off`, `NO`, `12:30` and `0123x` are text, duplicate keys and tags are refused, and whatever the
file holds, the answer is a tree or ConfigErrors. The tree is built from events on a stack of our own, so that no
nesting can exhaust the interpreter's.
"""

from __future__ import annotations

import os
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, overload

import yaml

from gateway.config.yaml_shown import Part, shown_lines
from gateway.errors import ConfigError, ConfigErrors
from gateway.hiding import HIDDEN, is_name, speaks_of_secrets, starred_lines, unquoted, unsaid, without_defaults

try:
    from yaml.cyaml import CParser as _Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML built without libyaml: the same events, ten times slower
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser):  # type: ignore[no-redef]
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 40
_SHORT = 32  # characters of a text that is likely to be the value of many keys: a type, a unit
MAX_NODES = 2_000_000  # counted with aliases followed: an alias bomb ends here

# YAML 1.2.2, 10.3.2 (core schema). Longer numbers than any machine has stay text.
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,24}|0x[0-9a-fA-F]{1,32}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    "-.inf": float("-inf"),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_COMMENT = re.compile(r"(?:^|(?<=[ \t\n\r]))#[^\n\r]*", re.M)
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class _Lines(Sequence[str]):
    """The lines of a text, which is taken apart once somebody asks: of 10,000 of them the list is larger than the text.

    Only what YAML calls a line break counts as one, or the line numbers of the marks would drift.
    """

    __slots__ = ("_lines", "_text")

    def __init__(self, text: str) -> None:
        self._text, self._lines = text, list[str]()

    def _split(self) -> list[str]:
        if not self._lines:
            self._lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", self._text)
        return self._lines

    def __len__(self) -> int:
        return len(self._split())

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        return self._split()[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._split())


@dataclass(slots=True)
class Source:
    """A file that was read: its name as a person would write it, and its lines."""

    name: str
    lines: Sequence[str] = ()
    parsed: bool = field(default=False, compare=False)  # YAML could make sense of all of it
    _shown: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def line(self, number: int) -> str:
        """As it is written; empty where there is none. Counts from 1."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def shown(self, number: int) -> str:
        """As it may be shown: the same, as long, with stars in place of secrets."""
        if not self._shown:
            self._shown = shown_lines(self.lines, _parts(self.lines)) if self.parsed else starred_lines(self.lines)
        return self._shown[number - 1] if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. Lines and columns count from 1."""

    source: Source
    line: int = 0
    column: int = 0
    width: int = 1

    def error(self, message: str, hint: str = "", field: str = "", *, ours: bool = False) -> ConfigError:
        """A mistake at this place. Of a secret the texts quote nothing, unless every word in them is `ours`."""
        text, raw = self.source.shown(self.line), self.source.line(self.line)
        here = slice(self.column - 1, self.column - 1 + self.width)
        if not ours and text[here] != raw[here]:
            message, hint = unquoted(message), unquoted(hint)
            secret = "".join(was if was != now else "\n" for was, now in zip(raw, text, strict=False))
            field = ".".join(HIDDEN if part and part in secret else part for part in field.split("."))
        error = ConfigError(self.source.name, self.line, self.column, field, message, hint, width=self.width)
        error.source = text  # it knows more than one line by itself tells
        return error

    def within(self, text: str, start: int, end: int) -> Mark:
        """The place of a part of the text that stands here; here itself where it is written in another way there."""
        line = self.source.line(self.line)
        for column in (self.column, self.column + 1):  # behind a quotation mark
            if line[column - 1 :].startswith(text):
                return replace(self, column=column + start, width=max(1, end - start))
        return self

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source.name, self.line, self.column) if part)


@dataclass(frozen=True, slots=True)
class Filled(Mark):
    """The place of a text with something of the environment in it, which is nothing that a mistake may tell."""

    written: str = ""
    text: str = ""  # with what was put in

    def error(self, message: str, hint: str = "", field: str = "", *, ours: bool = False) -> ConfigError:
        """A mistake at this place, which tells what is written there."""
        return Mark.error(self, self.said(message), self.said(hint), field, ours=ours)

    def said(self, message: str) -> str:
        """The same with what is written."""
        written = without_defaults(self.written)
        for text in dict.fromkeys((self.text, self.text[:60])):  # how much of a value a message quotes
            if text:
                message = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", lambda _: written, message)
        return message


_NO_KEYS: Mapping[str, Mark] = MappingProxyType({})  # of everything but mappings


@dataclass(slots=True)
class Node:
    """A value and its place: a scalar, a list of nodes, or a mapping from text to nodes. Keys have places too."""

    value: Any
    mark: Mark
    keys: Mapping[str, Mark] = field(default_factory=lambda: _NO_KEYS)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    def plain(self) -> Any:
        """The data alone, as pydantic takes it."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        """The value of a key, where this is a mapping that has it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def put(self, key: str, mark: Mark, child: Node) -> None:
        """Add an entry to a mapping."""
        self.value[key] = child
        cast("dict[str, Mark]", self.keys)[key] = mark

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Mark:
        """The place of what `path` leads to, or of the last thing on the way that exists.

        `key`: the place of the key itself rather than of its value. Steps that lead nowhere are passed over: pydantic
        names the branch of a union in its paths.
        """
        node, mark = self, self.mark
        for step in path:
            child = None
            if isinstance(node.value, dict):
                child = node.value.get(str(step))
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                child = node.value[step]
            if child is not None:
                mark = node.keys[str(step)] if key and str(step) in node.keys else child.mark
                node = child
        return mark


def mapping(mark: Mark, entries: Mapping[str, tuple[Mark, Node]] | None = None) -> Node:
    """A mapping node made of keys and values that may stand in different files."""
    entries = entries or {}
    return Node({k: child for k, (_, child) in entries.items()}, mark, {k: at for k, (at, _) in entries.items()})


def overlay(below: Node, above: Node) -> Node:
    """`above` laid over `below`: mappings are joined key by key, anything else replaces. Both stay as they are."""
    if not (below.is_mapping and above.is_mapping):
        return above
    values, keys = dict(below.value), dict(below.keys)
    for key, child in above.value.items():
        values[key] = overlay(values[key], child) if key in values else child
        keys[key] = above.keys[key]
    return Node(values, above.mark, keys)


def _escaped(data: Any) -> Any:
    """`${` is where something would be put in."""
    if isinstance(data, str):
        return data.replace("${", "$${")
    if isinstance(data, dict):
        return {key: _escaped(value) for key, value in data.items()}
    return [_escaped(each) for each in data] if isinstance(data, list) else data


def write_yaml(data: Any) -> str:
    """Plain data as YAML that read_yaml reads again, keys in their order."""
    return write_filled(_escaped(data))


def write_filled(data: Any) -> str:
    """The same of data in which `${` is where something is put in."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def as_written(node: Node, change: Callable[[str], str] = lambda text: text) -> Any:
    """The data alone, for `write_filled`: with `${VAR}` as it is written; `change`: what happens to other texts."""
    if isinstance(node.value, dict):
        return {key: as_written(child, change) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [as_written(child, change) for child in node.value]
    if isinstance(node.mark, Filled):
        return unsaid(node.mark.written)
    return unsaid(change(_escaped(node.value))) if isinstance(node.value, str) else node.value


def blanked(text: str, is_secret: Callable[[str], bool], hidden: str) -> str:
    """The same text without the values of the keys that are secret; its lines stay where they are. Raises ConfigErrors.

    Values are texts and numbers, or lists of them, also those that stand elsewhere with an anchor; and of `secret` what is no
    name. Comments in their lines are hidden, and those that speak of such things, with the comments right below them.
    """
    spans: list[tuple[int, int]] = []
    scalars: list[tuple[int, int]] = []  # in which # begins no comment
    lines: set[int] = set()  # with a secret; they count from 0
    anchors: dict[str, tuple[int, int]] = {}
    stack: list[tuple[bool, str | None, bool]] = []  # mapping?, the key whose value comes next, secret?
    try:
        for event in _events(text):
            is_key = bool(stack) and stack[-1][0] and stack[-1][1] is None
            secret = bool(stack) and stack[-1][2]
            begin, end = event.start_mark, event.end_mark
            span = begin.index, end.index
            if isinstance(event, yaml.ScalarEvent):
                # Behind | and > a comment may stand in the first line.
                head = len(text[slice(*span)].partition("\n")[0]) if event.style in ("|", ">") else 0
                scalars.append((span[0] + head, span[1]))
                if is_key:
                    stack[-1] = True, event.value, is_secret(event.value)
                    if stack[-1][2]:
                        lines.update(range(begin.line, end.line + 1))
                    continue
                if event.anchor is not None:
                    anchors[event.anchor] = span
                named = stack and stack[-1][1] == "secret" and not is_name(event.value)
                across = "\n" in text[slice(*span)] and "//" in event.value and "@" in event.value  # of an address
                if event.value and (secret or named or across):
                    spans.append(span)
                    lines.update(range(begin.line, end.line + 1))
            elif isinstance(event, yaml.AliasEvent):
                if secret and event.anchor in anchors:
                    spans.append(anchors[event.anchor])
            elif isinstance(event, yaml.MappingStartEvent):
                stack.append((True, None, False))
                continue
            elif isinstance(event, yaml.SequenceStartEvent):
                stack.append((False, None, secret))
                continue
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
            if stack and stack[-1][0]:
                stack[-1] = True, None, False
    except yaml.YAMLError as exc:
        raise ConfigErrors([Mark(Source("")).error("this is not YAML")]) from exc
    spans += _comments(text, scalars, lines)
    parts, at = list[str](), 0
    for start, stop in sorted(set(spans)):
        if start >= at:
            parts += [text[at:start], hidden, "\n" * text.count("\n", start, stop)]
            at = stop
    return "".join((*parts, text[at:]))


def _comments(text: str, scalars: Sequence[tuple[int, int]], lines: Container[int]) -> Iterator[tuple[int, int]]:
    """What is said in comments that nobody should read."""
    begins = [start for start, _ in scalars]
    speaks, line, counted, at = -2, 0, 0, 0  # the last line of which such a comment goes on
    while (found := _COMMENT.search(text, at)) is not None:
        begin, at = found.span()
        i = bisect_right(begins, begin) - 1
        if i >= 0 and begin < scalars[i][1]:
            at = scalars[i][1]
            continue
        line, counted = line + text.count("\n", counted, begin), begin
        alone = not text[text.rfind("\n", 0, begin) + 1 : begin].strip()
        if line in lines or speaks_of_secrets(found[0]) or (alone and speaks == line - 1):
            speaks = line
            if found[0].strip("# \t"):
                yield begin + 1 + (found[0][1:2] == " "), at


def read_yaml(path: Path, *, env: Mapping[str, str] | None = None) -> Node:
    """Read one file. Raises ConfigErrors with all that is wrong with its form."""
    name = display_name(path)
    try:
        if not path.is_file() and path.exists():
            raise ConfigErrors([Mark(Source(name)).error("is not a file")])
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            error = Mark(Source(name)).error(f"is too long; a configuration has at most {MAX_BYTES} bytes")
            raise ConfigErrors([error])
    except OSError as exc:
        raise ConfigErrors([Mark(Source(name)).error(f"cannot be read: {exc.strerror}")]) from exc
    return parse_yaml(data, name, env=env)


def display_name(path: Path) -> str:
    """A path as the user would write it: relative where it lies below the current folder."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def parse_yaml(data: bytes, name: str, *, env: Mapping[str, str] | None = None) -> Node:
    """Parse the bytes of one file; an empty one is an empty mapping. `env` answers `${VAR}`: os.environ by default.

    Raises ConfigErrors.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        good = data[: exc.start].decode("utf-8-sig")
        line, column = good.count("\n") + 1, len(good) - good.rfind("\n")
        source = Source(name, data.decode("utf-8-sig", "replace").splitlines())
        error = Mark(source, line, column).error(f"byte 0x{data[exc.start]:02X} is not UTF-8", "save the file as UTF-8")
        raise ConfigErrors([error]) from exc
    source = Source(name, _Lines(text))
    return _Builder(source, os.environ if env is None else env).build(text)


@dataclass(slots=True)
class _Open:
    """A list or mapping that is not closed yet."""

    node: Node
    keys: dict[str, Mark]  # those of the node, while it grows
    key: str | None = None  # the key whose value comes next
    anchor: str | None = None
    since: int = 0  # how many nodes had been counted when it was opened


class _Builder:
    """Events in, one tree out."""

    def __init__(self, source: Source, env: Mapping[str, str]) -> None:
        self._source, self._env = source, env
        self._mistakes: list[
            tuple[Mark, str, str]
        ] = []  # told at the end, when it is known what is secret in their lines
        self._stack: list[_Open] = []  # what is open where it is read
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the number of nodes inside
        self._count = 0
        self._line = 0  # of the last mark

    def build(self, text: str) -> Node:
        fatal, root = [], None
        try:
            root = self._tree(_events(text))
            self._source.parsed = True
        except yaml.YAMLError as exc:
            fatal.append(self._syntax_error(exc))
        except ConfigError as exc:
            fatal.append(exc)
        if self._mistakes or fatal:
            raise ConfigErrors([mark.error(message, hint) for mark, message, hint in self._mistakes] + fatal)
        return root if root is not None else mapping(Mark(self._source, 1, 1))

    def _tree(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        stack = self._stack
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                if stack and stack[-1].node.is_mapping and stack[-1].key is None:
                    self._key(stack[-1], event)
                    continue
                node = self._scalar(event)
                self._remember(event.anchor, node, 1)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                mark = self._mark(event)
                self._check_tag(event, mark)
                if stack and stack[-1].node.is_mapping and stack[-1].key is None:
                    raise mark.error("a list or mapping cannot be a key", "is a quote missing around {…} or […]?")
                if len(stack) >= MAX_DEPTH:
                    raise mark.error(f"nested deeper than {MAX_DEPTH} levels")
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                keys: dict[str, Mark] = {}
                node = Node({}, mark, keys) if is_mapping else Node([], mark)
                stack.append(_Open(node, keys, anchor=event.anchor, since=self._count))
                self._tick(mark)
                continue
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                done = stack.pop()
                node = done.node
                self._remember(done.anchor, node, self._count - done.since)
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self._mark(event).error(
                    "a second document starts here", "a configuration file holds one: remove ---"
                )
            else:
                continue
            if not stack:
                root = node
            elif isinstance(stack[-1].node.value, list):
                stack[-1].node.value.append(node)
            elif stack[-1].key is not None:
                stack[-1].node.value[stack[-1].key] = node
                stack[-1].key = None
            else:
                raise self._mark(event).error("an alias cannot be a key")
        return root

    def _key(self, parent: _Open, event: Any) -> None:
        """A key is the text as written; a duplicate is a mistake, and never silently the last one wins."""
        mark = self._mark(event)
        key = sys.intern(event.value)  # a thousand signals share the names of their keys
        if key == "<<" and event.implicit[0]:
            raise mark.error("merge keys (<<) are not YAML 1.2", "use a profile, or `defaults:`")
        if key in parent.keys:
            first = parent.keys[key]
            self._mistakes.append((mark, f"{key!r} stands twice in this mapping", f"first in line {first.line}"))
        parent.keys[key] = mark
        parent.key = key
        self._tick(mark)

    def _scalar(self, event: Any) -> Node:
        mark = self._mark(event)
        self._check_tag(event, mark)
        self._tick(mark)
        text = event.value
        if "${" in text:
            value = self._substitute(text, mark)
            return Node(value, Filled(mark.source, mark.line, mark.column, mark.width, text, value))
        value = _resolve(text) if event.implicit[0] else text
        return Node(sys.intern(value) if isinstance(value, str) and len(value) <= _SHORT else value, mark)

    def _substitute(self, text: str, mark: Mark) -> str:
        """`${VAR}` and `${VAR:-default}` become text; `$${` stands for `${`."""

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            parts = _VARIABLE_NAME.fullmatch(match[1])
            if parts is None:
                message = f"'{match[0] if re.fullmatch('[^ ]*', match[0]) else '${…}'}' is not a variable"
                self._mistakes.append((mark, message, "write ${NAME} or ${NAME:-default}; $${ for a plain ${"))
                return ""
            name, default = parts[1], parts[2]
            if name not in self._env and default is None:
                hint = f"set it, or write a default: ${{{name}:-value}}"
                self._mistakes.append((mark, f"the environment variable {name} is not set", hint))
            return self._env.get(name, default or "")

        return _VARIABLE.sub(value, text)

    def _alias(self, event: Any) -> Node:
        mark = self._mark(event)
        if event.anchor not in self._anchors:
            raise mark.error(f"no anchor '&{event.anchor}' stands before this alias")
        node, size = self._anchors[event.anchor]
        self._count += size
        self._tick(mark)
        return node

    def _remember(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)

    def _tick(self, mark: Mark) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise mark.error(f"more than {MAX_NODES} values, aliases followed")

    def _check_tag(self, event: Any, mark: Mark) -> None:
        if event.tag not in (None, "!"):
            hint = "remove it; quotes make text of a number"
            self._mistakes.append((mark, f"tags like '{event.tag}' are not used here", hint))

    def _mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        if start.line != self._line - 1:
            self._line = start.line + 1  # one number for all that stands in it: of 10,000 signals it is 10 MB less
        return Mark(self._source, self._line, start.column + 1, max(1, width))

    def _syntax_error(self, exc: yaml.YAMLError) -> ConfigError:
        problem = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or "this is not YAML")
        context = str(getattr(exc, "context", None) or "")
        noticed, began = getattr(exc, "problem_mark", None), getattr(exc, "context_mark", None)
        if noticed is None and began is None:
            hint = "remove control characters; save the file as plain UTF-8 text"
            return self._unreadable().error(problem, hint, ours=True)
        if (expression := self._unquoted(noticed or began)) is not None:
            return expression.error(
                "an expression with brackets or commas has to be quoted",
                'for example value: "mean(a, 5min)"',
                ours=True,
            )
        for where, needle, at_start, message, hint in _SYNTAX_HINTS:
            mark = self._place(began if (at_start and began) or not noticed else noticed)
            line = self._source.line(mark.line)
            before, behind = line[: mark.column - 1].rstrip(), line[mark.column - 1 :]
            text = {
                "problem": problem, "context": context, "line": line, "character": behind[:1], "before": before[-1:],
            }[where]  # fmt: skip
            if text and re.search(needle, text):
                return mark.error(message, hint, ours=True)
        if (bracket := self._bracket()) is not None:
            kind = "{…}" if bracket.source.line(bracket.line)[bracket.column - 1] == "{" else "[…]"
            text = f"this {kind} is not closed, or something is missing in it"
            return bracket.error(text, "add the closing bracket, and what stands behind the last ',' or ':'", ours=True)
        text = f"{problem} ({context})" if context else problem
        hint = "check quotes, brackets and indentation here and in the line above; put text with special characters into quotes"
        return self._place(noticed or began).error(text, hint)

    def _unreadable(self) -> Mark:
        """Where the first character is that YAML does not allow (YAML 1.2.2, 5.1)."""
        for number, line in enumerate(self._source.lines, 1):
            if (found := _NOT_ALLOWED.search(line)) is not None:
                return Mark(self._source, number, found.start() + 1)
        return Mark(self._source, 1, 1)

    def _bracket(self) -> Mark | None:
        """The innermost { or [ that is open where it ended."""
        for each in reversed(self._stack):
            mark = each.node.mark
            if mark.source.line(mark.line)[mark.column - 1 :][:1] in ("{", "["):
                return mark
        return None

    def _unquoted(self, mark: Any) -> Mark | None:
        """Where an expression begins that stands without quotes in a line that cannot be read."""
        line = self._source.lines[mark.line] if mark.line < len(self._source.lines) else ""
        found = _EXPRESSION.search(line)
        return None if found is None else Mark(self._source, mark.line + 1, found.start(1) + 1, len(found[1]))

    def _place(self, mark: Any) -> Mark:
        """Where something was noticed; the end of the last line that says something where that was at the end."""
        lines, line = self._source.lines, mark.line
        if line < len(lines) and (lines[line].strip() or any(each.strip() for each in lines[line:])):
            return Mark(self._source, line + 1, mark.column + 1)
        last = max((i for i, each in enumerate(lines[:line]) if each.strip()), default=0)
        return Mark(self._source, last + 1, len(lines[last].rstrip()) + 1) if lines else Mark(self._source, 1, 1)


_EXPRESSION = re.compile(r"\b(?:value|when): *((?:[A-Za-z_]+\(|\[)[^}]*)")

_NOT_ALLOWED = re.compile("[^\t\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The mistakes people make, and how to mend them: where to look and for what; whether the place is where it began rather
# than where it was noticed; what to say; what to do.
_SYNTAX_HINTS = (
    ("line", r"\$\{", False, "a ${VAR} inside {…} or […] has to be quoted", 'write "${VAR}"'),
    ("character", r"\t", False, "a tab cannot indent", "use blanks"),
    ("problem", "found character that cannot start any token", False, "a value cannot start with this character", "put text that starts with @ ` or % into quotes"),
    ("context", "while scanning an? (alias|anchor)", True, "* and & have a meaning of their own here", "put text that starts with * or & into quotes"),
    ("context", "while scanning a tag", True, "tags, which begin with !, are not used here", "put text that starts with ! into quotes"),
    ("context", "while scanning a block scalar", True, "text that begins with | or > starts in the next line", "put text that starts with | or > into quotes"),
    ("context", "while scanning a directive", True, "directives, which begin with %, are not used here", "remove this line"),
    ("problem", "incompatible YAML document", False, "directives, which begin with %, are not used here", "remove this line"),
    ("problem", r"unknown escape|did not find expected hexdecimal", False, r"\ begins an escape within double quotes", "use single quotes, or write \\\\"),
    ("context", "while scanning a quoted scalar", True, "this quote is never closed", "add the closing quote"),
    ("problem", "mapping values are not allowed", False, "a second ':' in this line", "put text with ': ' in it into quotes, or check the indentation"),
    ("problem", "could not find expected ':'", True, "a ':' is missing after this key", "write 'key: value', with a blank after the colon"),
    ("problem", "did not find expected ',' or '}'", True, "this {…} is not closed, or a ',' is missing in it", "add the missing ',' or '}'"),
    ("problem", "did not find expected ',' or ']'", True, "this […] is not closed, or a ',' is missing in it", "add the missing ',' or ']'"),
    ("character", r"[]}]", False, "this bracket closes nothing", "remove it, or add the one that opens"),
    ("before", r"""["']""", False, "something stands behind a closing quote", "put all of the text into one pair of quotes; a quote within '…' is written twice"),
    ("problem", "did not find expected key", False, "this line does not fit the lines above", "check the indentation: keys of one mapping start in the same column"),
    ("problem", "did not find expected '-' indicator", False, "this line does not fit the list above", "start it with '- ', in the same column"),
    ("problem", "expected <document start>", False, "'...' ends the file, and something follows", "remove the line with '...'"),
)  # fmt: skip


def _events(text: str) -> Iterator[Any]:
    parser = _Parser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


def _parts(lines: Sequence[str]) -> Iterator[Part]:
    """What is found in a file that has been parsed once already."""
    for event in _events("\n".join(lines)):
        begin, end = event.start_mark, event.end_mark
        span = (begin.line, begin.column), (end.line, end.column)
        if isinstance(event, yaml.ScalarEvent):
            yield Part("text", *span, event.value, event.anchor, plain=not event.style)
        elif isinstance(event, yaml.AliasEvent):
            yield Part("alias", *span, str(event.anchor))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            kind: Literal["mapping", "list"] = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
            yield Part(kind, *span, anchor=event.anchor, flow=bool(event.flow_style))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            yield Part("end", *span)


def _resolve(text: str) -> Any:
    """What a plain scalar means by the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
