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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml

from gateway.errors import ConfigError, ConfigErrors

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


MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 40
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
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its name as a person would write it, and its lines."""

    name: str
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. Lines and columns count from 1."""

    source: Source
    line: int = 0
    column: int = 0
    width: int = 1

    def error(self, message: str, hint: str = "", field: str = "") -> ConfigError:
        """A mistake at this place."""
        lines = self.source.lines
        text = lines[self.line - 1] if 0 < self.line <= len(lines) else ""
        return ConfigError(self.source.name, self.line, self.column, field, message, hint, text, self.width)

    def within(self, text: str, start: int, end: int) -> Mark:
        """The place of a part of the text that stands here; here itself where it is written in another way there."""
        line = self.source.lines[self.line - 1] if 0 < self.line <= len(self.source.lines) else ""
        for column in (self.column, self.column + 1):  # behind a quotation mark
            if line[column - 1 :].startswith(text):
                return replace(self, column=column + start, width=max(1, end - start))
        return self

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source.name, self.line, self.column) if part)


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
    text: str = yaml.safe_dump(_escaped(data), sort_keys=False, allow_unicode=True, width=120)
    return text


def blanked(text: str, is_secret: Callable[[str], bool], hidden: str) -> str:
    """The same text without the values of the keys that are secret; its lines stay where they are. Raises ConfigErrors.

    Values are texts and numbers, or lists of them, also those that stand elsewhere with an anchor.
    """
    spans: list[tuple[int, int]] = []
    anchors: dict[str, tuple[int, int]] = {}
    stack: list[tuple[bool, str | None, bool]] = []  # mapping?, the key whose value comes next, secret?
    try:
        for event in _events(text):
            is_key = bool(stack) and stack[-1][0] and stack[-1][1] is None
            secret = bool(stack) and stack[-1][2]
            span = event.start_mark.index, event.end_mark.index
            if isinstance(event, yaml.ScalarEvent):
                if is_key:
                    stack[-1] = True, event.value, is_secret(event.value)
                    continue
                if event.anchor is not None:
                    anchors[event.anchor] = span
                if secret and event.value:
                    spans.append(span)
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
    for start, end in sorted(set(spans), reverse=True):
        text = text[:start] + hidden + "\n" * text.count("\n", start, end) + text[end:]
    return text


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
    # Only what YAML calls a line break counts as one, or the line numbers of the marks would drift.
    source = Source(name, re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
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
        self._errors: list[ConfigError] = []
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the number of nodes inside
        self._count = 0

    def build(self, text: str) -> Node:
        try:
            root = self._tree(_events(text))
        except yaml.YAMLError as exc:
            self._errors.append(self._syntax_error(exc))
        except ConfigError as exc:
            self._errors.append(exc)
        if self._errors:
            raise ConfigErrors(self._errors)
        return root if root is not None else mapping(Mark(self._source, 1, 1))

    def _tree(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        stack: list[_Open] = []
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
            self._errors.append(mark.error(f"{key!r} stands twice in this mapping", f"first in line {first.line}"))
        parent.keys[key] = mark
        parent.key = key
        self._tick(mark)

    def _scalar(self, event: Any) -> Node:
        mark = self._mark(event)
        self._check_tag(event, mark)
        self._tick(mark)
        text = event.value
        if "${" in text:
            return Node(self._substitute(text, mark), mark)
        return Node(_resolve(text) if event.implicit[0] else text, mark)

    def _substitute(self, text: str, mark: Mark) -> str:
        """`${VAR}` and `${VAR:-default}` become text; `$${` stands for `${`."""

        def value(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            parts = _VARIABLE_NAME.fullmatch(match[1])
            if parts is None:
                self._errors.append(
                    mark.error(
                        f"'{match[0]}' is not a variable", "write ${NAME} or ${NAME:-default}; $${ for a plain ${"
                    )
                )
                return ""
            name, default = parts[1], parts[2]
            if name not in self._env and default is None:
                hint = f"set it, or write a default: ${{{name}:-value}}"
                self._errors.append(mark.error(f"the environment variable {name} is not set", hint))
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
            self._errors.append(
                mark.error(f"tags like '{event.tag}' are not used here", "remove it; quotes make text of a number")
            )

    def _mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Mark(self._source, start.line + 1, start.column + 1, max(1, width))

    def _syntax_error(self, exc: yaml.YAMLError) -> ConfigError:
        problem = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or "this is not YAML")
        context = str(getattr(exc, "context", None) or "")
        noticed, began = getattr(exc, "problem_mark", None), getattr(exc, "context_mark", None)
        if noticed is None and began is None:
            hint = "remove control characters; save the file as plain UTF-8 text"
            return Mark(self._source, 1, 1).error(problem, hint)
        if (expression := self._unquoted(noticed or began)) is not None:
            return expression.error(
                "an expression with brackets or commas has to be quoted", 'for example value: "mean(a, 5min)"'
            )
        for where, needle, at_start, message, hint in _SYNTAX_HINTS:
            mark = self._place(began if (at_start and began) or not noticed else noticed)
            line = mark.error("").source
            text = {"problem": problem, "context": context, "line": line, "character": line[mark.column - 1 :][:1]}[
                where
            ]
            if needle in text:
                return mark.error(message, hint)
        return self._place(noticed or began).error(f"{problem} ({context})" if context else problem)

    def _unquoted(self, mark: Any) -> Mark | None:
        """Where an expression begins that stands without quotes in a line that cannot be read."""
        line = self._source.lines[mark.line] if mark.line < len(self._source.lines) else ""
        found = _EXPRESSION.search(line)
        return None if found is None else Mark(self._source, mark.line + 1, found.start(1) + 1, len(found[1]))

    def _place(self, mark: Any) -> Mark:
        return Mark(self._source, mark.line + 1, mark.column + 1)


_EXPRESSION = re.compile(r"\b(?:value|when): *((?:[A-Za-z_]+\(|\[)[^}]*)")

# The mistakes people make, and how to mend them: where to look and for what; whether the place is where it began rather
# than where it was noticed; what to say; what to do.
_SYNTAX_HINTS = (
    ("line", "${", False, "a ${VAR} inside {…} or […] has to be quoted", 'write "${VAR}"'),
    ("character", "\t", False, "a tab cannot indent", "use blanks"),
    ("problem", "found character that cannot start any token", False, "a value cannot start with this character", "put text that starts with @ ` or % into quotes"),
    ("context", "while scanning a quoted scalar", True, "this quote is never closed", "add the closing quote"),
    ("problem", "mapping values are not allowed", False, "a second ':' in this line", "put text with ': ' in it into quotes, or check the indentation"),
    ("problem", "could not find expected ':'", True, "a ':' is missing after this key", "write 'key: value', with a blank after the colon"),
    ("problem", "did not find expected key", False, "this line does not fit the lines above", "check the indentation: keys of one mapping start in the same column"),
    ("problem", "did not find expected '-' indicator", False, "this line does not fit the list above", "start it with '- ', in the same column"),
    ("problem", "did not find expected ',' or '}'", True, "this {…} is not closed, or a ',' is missing in it", "add the missing ',' or '}'"),
    ("problem", "did not find expected ',' or ']'", True, "this […] is not closed, or a ',' is missing in it", "add the missing ',' or ']'"),
)  # fmt: skip


def _events(text: str) -> Iterator[Any]:
    parser = _Parser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


def _resolve(text: str) -> Any:
    """What a plain scalar means by the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
