"""The configuration for the page: its files, what is in force and where each value was written, and a check of a text.

    files ─ in a thread ─▶ texts without secrets, effective YAML, origins
    text  ─ in a thread ─▶ mistakes at their line, and what would change

Nobody is shown a secret: neither one that stands in a file, nor one that a text asks for. So a text that is checked gets
no environment and no secrets, and of what depends on them it is not said whether it is right.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gateway.config import Configuration, load
from gateway.config.difference import difference
from gateway.config.fields import Section
from gateway.config.load import load_text
from gateway.config.schema import as_written, defaults
from gateway.config.shown import HIDDEN, without_secrets
from gateway.config.yaml_file import Node, blanked, parse_yaml, write_yaml
from gateway.errors import ConfigError, ConfigErrors, GatewayError
from gateway.runtime.registry import protocols
from gateway.runtime.versions import files_of

T = TypeVar("T")

MAX_ORIGINS = 5000
MAX_ERRORS = 200  # that are told at once
MAX_LINES = 1000  # of a difference
MAX_SHOWN = 4 * 2**20  # characters of all files
MAX_VALUE = 200  # characters of one value
TIMEOUT = 15.0  # seconds for one answer
NEW = Path("machines") / "new.yaml"  # the name of a text that replaces no file

_SECRET = re.compile(r"pass|pasw|pwd|token", re.I)
_IN_COMMENT = re.compile(r"(\w*(?:pass|pasw|pwd|token)\w*['\"]?\s*[:=]\s*)(\S.*)", re.I)
_IN_ADDRESS = re.compile(r"(//[^/@:\s'\"]*:)([^/@\s'\"]+)(?=@)")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.M)
_STANDS_FOR = "env-{}-is-not-shown"  # a variable of the environment: what may be a host, a name, a part of an address
_DEPENDS = re.compile(r"env-[A-Za-z_]\w*-is-not-shown", re.I)


class ConfigFiles:
    """Keeps gateway/web/sources.py's contract of Configuring."""

    def __init__(self, in_force: Callable[[], Configuration], env: Mapping[str, str] = os.environ) -> None:
        self._in_force, self._env = in_force, env
        self._busy: asyncio.Future[Any] | None = None

    @property
    def configuration(self) -> Configuration:
        return self._in_force()

    async def view(self, machine: str) -> dict[str, Any]:
        """Raises GatewayError where it takes too long."""
        return await self._in_thread(lambda: view(self.configuration, machine, self._env))

    async def check(self, text: str, name: str) -> dict[str, Any]:
        """Raises GatewayError where it takes too long."""
        return await self._in_thread(lambda: check(self.configuration, text, name, self._env))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """One at a time; one that does not end keeps the others out, and not us."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while self._busy is not None and not self._busy.done():
                    await asyncio.wait([self._busy])
                self._busy = asyncio.ensure_future(asyncio.to_thread(work))
                self._busy.add_done_callback(_heard)
                return await asyncio.shield(self._busy)
        except TimeoutError:
            raise GatewayError(f"this takes longer than {TIMEOUT:g} s") from None


def view(configuration: Configuration, machine: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The files as they are now, and what follows from them; `machine`: whose signals are among the origins."""
    errors: tuple[ConfigError, ...] = ()
    try:
        now = load(configuration.path, protocols(), env=env, whole_tree=True)
    except ConfigErrors as exc:
        now, errors = configuration, exc.errors
    tree = now.tree
    written, left_out = _written(tree, machine)
    found = [*written, *_defaults_of(now, tree, machine)]
    whole = configuration is not now
    effective = write_yaml(without_secrets(tree.plain()))
    return {
        "in_force": whole and not difference(configuration, now),
        "files": _files(configuration.path),
        "effective": _unaddressed(effective)[:MAX_SHOWN],
        "origins": found[:MAX_ORIGINS],
        "origins_left_out": left_out + max(0, len(found) - MAX_ORIGINS),
        "warnings": [_unaddressed(text) for text in now.warnings],
        "errors": [mistake(error) for error in errors[:MAX_ERRORS]],
    }


def check(configuration: Configuration, text: str, name: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What would be wrong, or different, if a file of the configuration had this text."""
    data, path = text.encode("utf-8", "replace"), configuration.path
    known = files_of(path)
    if name and name not in known:
        problem = f"there is no file '{name[:MAX_VALUE]}' in this configuration: {', '.join(list(known)[:20])}"
        return {"ok": False, "errors": [_error(problem)], "warnings": [], "difference": []}
    file = configuration.folder / (name or _meant(data, path, known))
    try:
        wanted = load_text(path, {file: data}, protocols(), env=env, env_of_texts=_Hidden(env), secret=lambda _: HIDDEN)
    except ConfigErrors as exc:
        told = [error for error in exc.errors if not _DEPENDS.search(error.message)]
        warnings = ["what depends on the environment was not checked"] if len(told) < len(exc.errors) else []
        return {
            "ok": not told,
            "errors": [mistake(error) for error in told[:MAX_ERRORS]],
            "warnings": warnings,
            "difference": [],
        }
    # A secret is not looked up here, so of none is known whether it is another one.
    changes = [each for each in difference(configuration, wanted).changes if (each.old, each.new) != (HIDDEN, HIDDEN)]
    lines = [_unaddressed(str(change)) for change in changes[:MAX_LINES]]
    return {
        "ok": True,
        "errors": [],
        "warnings": [_unaddressed(each) for each in wanted.warnings],
        "difference": [line for line in lines if not _DEPENDS.search(line)],
    }


class _Hidden(dict[str, str]):
    """The environment as far as it may be told: which variables there are. Each has its own name for a value."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__({name: _STANDS_FOR.format(name) for name in env})

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The default that is written beside it, where there is one."""
        return default or super().get(name, default)


def _written(tree: Node, machine: str) -> tuple[list[dict[str, Any]], int]:
    """Every value that was written, with its place, but for the signals of other machines; and how many those are."""
    found, left_out = [], 0
    for path, node in _walk(tree, ()):
        if path[0] == "machines" and len(path) > 3 and path[1] != machine:
            left_out += 1
        else:
            found.append(_origin(path, node))
    return found, left_out


def _defaults_of(configuration: Configuration, tree: Node, machine: str) -> Iterator[dict[str, Any]]:
    """What nobody wrote: of the sections, of the connections, of the signals of one machine."""
    settings = configuration.settings
    for section in ("gateway", "site", "defaults", "mqtt", "buffer", "store", "web"):
        if (given := getattr(settings, section)) is not None:
            yield from _defaults((section,), given, tree)
    for name, connection in configuration.connections.items():
        yield from _defaults(("connections", name), connection, tree)
    if machine in configuration.machines:
        for name, signal in configuration.machines[machine].signals.items():
            yield from _defaults(("machines", machine, "signals", name), signal, tree)


def mistake(error: ConfigError) -> dict[str, Any]:
    """For JSON, without secrets."""
    return {
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "field": error.field,
        "message": _unaddressed(error.message),
        "hint": _unaddressed(error.hint),
        "text": _unaddressed(str(error)),
    }


def _error(text: str) -> dict[str, Any]:
    return mistake(ConfigError("", 0, 0, "", text))


# --- files -----------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[dict[str, str]]:
    """Their texts without secrets, as far as they are not too long."""
    shown, left = [], MAX_SHOWN
    for name, data in files_of(path).items():
        text = without_secret_values(data.decode("utf-8-sig", "replace"))
        if len(text) > left:
            text = "# too long to be shown here\n"
        left -= len(text)
        shown.append({"name": name, "text": text})
    return shown


def without_secret_values(text: str) -> str:
    """A file as others may see it, line for line; nothing of one that is not YAML, as nobody knows what is what in it."""
    try:
        text = blanked(text, lambda key: bool(_SECRET.search(key)), HIDDEN)
    except ConfigErrors:
        return "# this file is not YAML, so it is not known what in it is a secret: it is not shown\n"
    text = _COMMENT.sub(lambda comment: _IN_COMMENT.sub(rf"\1{HIDDEN}", comment[0]), text)
    return _unaddressed(text)


def _unaddressed(text: str) -> str:
    """Without a password in front of a host."""
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}", text)


def _meant(data: bytes, path: Path, known: Mapping[str, bytes]) -> str:
    """Which file a text replaces: of a folder the one that has most of its names, else it is a new one."""
    if not path.is_dir():
        return path.name
    names = _names(data, "")
    if names is None:  # of the whole, or no YAML
        return "gateway.yaml"
    files = [file for file in known if file.startswith("machines/")]
    counts = {file: len(names & (_names(known[file], Path(file).stem) or set())) for file in files}
    best = max(files, key=counts.__getitem__, default="")
    return best if best and counts[best] else NEW.as_posix()


def _names(data: bytes, name: str) -> set[str] | None:
    """The machines and connections of a file that has nothing else; None for any other. `name`: of one that is a machine."""
    with suppress(ConfigErrors):
        tree = parse_yaml(data, "", env=_Anything())
        if tree.is_mapping and "connection" in tree.keys:
            return {name}
        if tree.is_mapping and tree.keys and tree.keys.keys() <= {"machines", "connections"}:
            parts = [part.value for part in tree.value.values() if part.is_mapping]
            return {each for part in parts for each in part}
    return None


class _Anything(dict[str, str]):
    def __contains__(self, _name: object) -> bool:
        return True


# --- origins ---------------------------------------------------------------------------------------------------------


def _walk(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if isinstance(node.value, dict) and node.value:
        for key, child in node.value.items():
            yield from _walk(child, (*path, key))
    elif path:
        yield path, node


def _origin(path: tuple[str, ...], node: Node) -> dict[str, Any]:
    mark = node.mark
    lines = mark.source.lines
    line = lines[mark.line - 1] if 0 < mark.line <= len(lines) else ""
    plain = without_secrets({path[-1]: node.plain()})[path[-1]]
    value = as_written(plain)
    written = "profile" if Path(mark.source.name).parent.name == "profiles" else "file"
    if "${" in line[mark.column - 1 : mark.column - 1 + mark.width]:
        written = "environment"
    return {
        "path": ".".join(path),
        "value": _unaddressed(value if len(value) <= MAX_VALUE else f"{value[:MAX_VALUE]}…"),
        "file": mark.source.name,
        "line": mark.line,
        "from": written,
    }


def _defaults(path: tuple[str, ...], settings: Section, tree: Node) -> Iterator[dict[str, Any]]:
    node: Node | None = tree
    for step in path:
        node = None if node is None else node.get(step)
    if node is None and len(path) > 2:
        return  # a signal that stands for others: `count`
    written = node.value if node is not None and node.is_mapping else {}
    for key, value in defaults(type(settings)).items():
        if key not in written:
            yield {"path": ".".join((*path, key)), "value": value, "file": "", "line": 0, "from": "default"}


def _heard(done: asyncio.Future[Any]) -> None:
    """Its error may come when nobody waits any more."""
    if not done.cancelled():
        done.exception()
