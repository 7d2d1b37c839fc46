"""The configuration for the page: its files, what is in force and where each value was written, and a check of a text.

    files ─ in a thread ─▶ texts without secrets, effective YAML, origins
    text  ─ in a thread ─▶ mistakes at their line, and what would change

Nobody is shown a secret: neither one that stands in a file, nor one that a text asks for, nor what the environment says. So a text that is checked gets
no environment and no secrets, and of what depends on them it is not said whether it is right.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from gateway.config import Configuration, load
from gateway.config.difference import difference
from gateway.config.fields import Section
from gateway.config.load import load_text
from gateway.config.schema import as_written as shown_value
from gateway.config.schema import defaults
from gateway.config.yaml_file import Filled, Node, as_written, blanked, parse_yaml, write_filled
from gateway.errors import ConfigError, ConfigErrors, GatewayError
from gateway.hiding import HIDDEN, is_secret_key, unsaid
from gateway.runtime.changes.checks import check_work, doubts
from gateway.runtime.changes.loading import LARGE, elsewhere, stand_back, tell
from gateway.runtime.changes.versions import Versions, files_of
from gateway.runtime.changes.watch import Stamps, stamps_of
from gateway.runtime.registry import protocols

T = TypeVar("T")

MAX_ORIGINS = 5000
MAX_ERRORS = 200  # that are told at once
MAX_LINES = 1000  # of a difference
MAX_SHOWN = 4 * 2**20  # characters of all files
MAX_VALUE = 200  # characters of one value
KEPT = 8  # views: each has the text of all files
TIMEOUT = 15.0  # seconds for one answer
NEW = Path("machines") / "new.yaml"  # the name of a text that replaces no file

_STANDS_FOR = "env-{}-is-not-shown"  # a variable of the environment: what may be a host, a name, a part of an address
_DEPENDS = re.compile(r"env-([A-Za-z_]\w*)-is-not-shown", re.I)


class ConfigFiles:
    """Keeps gateway/web/sources.py's contract of Configuring."""

    def __init__(
        self, in_force: Callable[[], Configuration], env: Mapping[str, str] = os.environ, *, fixed: bool = False
    ) -> None:
        """`fixed`: what runs does not stand in the files as it is, and nothing is taken over from them."""
        self._in_force, self._env, self._fixed = in_force, env, fixed
        self._busy: asyncio.Future[Any] | None = None
        self._seen: tuple[Configuration, Stamps] | None = None
        self._views: dict[str, dict[str, Any]] = {}  # of the machines that were asked for

    @property
    def configuration(self) -> Configuration:
        return self._in_force()

    async def view(self, machine: str) -> dict[str, Any]:
        """Raises GatewayError where it takes too long."""
        return await self._in_thread(lambda: self._view(machine))

    def _view(self, machine: str) -> dict[str, Any]:
        """Made once, as long as neither the files change nor what is in force."""
        configuration = self.configuration
        stamps = stamps_of(configuration.path)
        if (
            self._seen is None
            or self._seen[0] is not configuration
            or self._seen[1] != stamps
            or len(self._views) >= KEPT
        ):
            self._seen, self._views = (configuration, stamps), {}
        if machine not in self._views:
            self._views[machine] = view(configuration, machine, self._env, fixed=self._fixed)
        return self._views[machine]

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


def view(configuration: Configuration, machine: str, env: Mapping[str, str], *, fixed: bool = False) -> dict[str, Any]:
    """The files as they are now, and what follows from them; `machine`: whose signals are among the origins.

    Of large ones it is worked out in a process of its own: polls would be late else.
    """
    path = configuration.path
    size = sum(map(len, files_of(path).values()))
    errors: tuple[ConfigError, ...] = ()
    now, described = configuration, dict[str, Any]()
    try:
        if size < LARGE or env is not os.environ:
            now = load(path, protocols(), env=env, whole_tree=True)
        else:
            now, described = _described_aside(path, machine)
    except ConfigErrors as exc:
        errors = exc.errors
    whole = configuration is not now
    places = _Places(configuration.folder)
    described = described or {"files": _files(path)} | _described(now, machine, places)
    return {
        "fixed": fixed,
        "in_force": fixed or (whole and not difference(configuration, now)),
        **described,
        "errors": [places.of_mistake(error) for error in errors[:MAX_ERRORS]],
    }


def _described(now: Configuration, machine: str, places: _Places) -> dict[str, Any]:
    """What follows from the files."""
    tree, hiding = now.tree, _Filled(now.tree)
    written, left_out = _written(tree, machine, places, hiding)
    found = [*written, *_defaults_of(now, tree, machine)]
    return {
        "effective": write_filled(_unsecret(hiding.data()))[:MAX_SHOWN],
        "origins": found[:MAX_ORIGINS],
        "origins_left_out": left_out + max(0, len(found) - MAX_ORIGINS),
        "warnings": [places.within(unsaid(hiding.everywhere(text))) for text in now.warnings],
    }


def _described_aside(path: Path, machine: str) -> tuple[Configuration, dict[str, Any]]:
    """The configuration, without its tree, and what follows from it. Raises ConfigErrors; GatewayError without such a process."""
    try:
        found = pickle.loads(elsewhere("gateway.runtime.asked.configuring", str(path), machine))  # noqa: S301 of our own process
    except (OSError, subprocess.SubprocessError, pickle.PickleError, EOFError) as exc:
        raise GatewayError(f"the configuration cannot be described in a process of its own: {exc}") from exc
    if isinstance(found, tuple):
        return found
    raise ConfigErrors([ConfigError(**error) for error in found])


def main(path: Path, machine: str) -> None:
    """In the process of its own."""
    stand_back()
    found: object
    try:
        now = load(path, protocols(), whole_tree=True)
        described = {"files": _files(path)} | _described(now, machine, _Places(now.folder))
        found = replace(now, tree=Node({}, now.tree.mark)), described
    except ConfigErrors as exc:
        found = [asdict(error) for error in exc.errors]
    tell(found)


class _Filled:
    """A tree of settings as it was written: nobody is told what the environment has put into it.

    Below a profile a text may have come from a parameter; so within a machine it is known by what it is.
    """

    def __init__(self, tree: Node) -> None:
        self._tree = tree
        self._machines: dict[str, dict[str, str]] = {}
        for name, node in (tree.get("machines") or Node({}, tree.mark)).value.items():
            if (given := node.get("parameters")) is not None and (found := dict(_fillings(given))):
                self._machines[name] = found
        self._all = dict(_fillings(tree)) | {k: v for each in self._machines.values() for k, v in each.items()}

    def data(self) -> Any:
        """All of it, for `write_filled`."""
        data = {key: self.of((key,), node) for key, node in self._tree.value.items() if key != "machines"}
        machines = self._tree.get("machines")
        if machines is not None:
            data["machines"] = {name: self.of(("machines", name), node) for name, node in machines.value.items()}
        return {key: data[key] for key in self._tree.value}

    def of(self, path: tuple[str, ...], node: Node) -> Any:
        """What is written at a place."""
        known = self._machines.get(path[1]) if path[0] == "machines" and len(path) > 1 else None
        return as_written(node, lambda text: _replaced(text, known)) if known else as_written(node)

    def everywhere(self, text: str) -> str:
        """A text of ours that may name any of them."""
        return _replaced(text, self._all)


def _fillings(node: Node) -> Iterator[tuple[str, str]]:
    """What was put in, and how it is written."""
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from _fillings(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _fillings(child)
    elif isinstance(node.mark, Filled) and node.value:
        yield str(node.value), node.mark.written


def _replaced(text: str, known: Mapping[str, str]) -> str:
    for value, written in known.items():
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _, written=written: written, text)  # type: ignore[misc]
    return text


def _unsecret(data: Any) -> Any:
    """Without the values of keys that are secret; as those of a parameter are not known by their model, by their names."""
    if isinstance(data, list):
        return [_unsecret(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        key: HIDDEN
        if _hides(key) and isinstance(value, (str, int, float)) and not isinstance(value, bool)
        else _unsecret(value)
        for key, value in data.items()
    }


def _hides(key: str) -> bool:
    """`secret` names one, see `blanked`."""
    return key != "secret" and is_secret_key(key)


def check(configuration: Configuration, text: str, name: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What would be wrong, or different, if a file of the configuration had this text."""
    data, path, places = text.encode("utf-8", "replace"), configuration.path, _Places(configuration.folder)
    known = files_of(path)
    if name and name not in known:
        problem = f"there is no file '{name[:MAX_VALUE]}' in this configuration: {', '.join(list(known)[:20])}"
        return {"ok": False, "errors": [_error(problem)], "warnings": [], "difference": []}
    name = name or _meant(data, path, known)
    file = configuration.folder / name

    def loaded(text: bytes) -> Configuration:
        """With this text in the file, without what the environment and the secrets say."""
        return load_text(path, {file: text}, protocols(), env=env, env_of_texts=_Hidden(env), secret=lambda _: HIDDEN)

    try:
        wanted = loaded(data)
        check_work(wanted)
    except ConfigErrors as exc:
        told = [error for error in exc.errors if not _DEPENDS.search(error.message)]
        warnings = ["what depends on the environment was not checked"] if len(told) < len(exc.errors) else []
        return {
            "ok": not told,
            "errors": [places.of_mistake(error) for error in told[:MAX_ERRORS]],
            "warnings": warnings,
            "difference": [],
        }
    missing = [
        each for each in doubts(wanted, configuration) if not _DEPENDS.search(each)
    ]  # where a file is, the environment may say
    before, comparable = configuration, False
    with suppress(ConfigErrors):
        before, comparable = loaded(_text_in_force(configuration, known).get(name, b"")), True
    lines = []
    for change in difference(before, wanted).changes:
        if not comparable:  # what runs was loaded with the environment: of nothing is told what it was
            change = replace(change, old=HIDDEN) if change.kind == "changed" else change
            if _DEPENDS.search(change.new):
                continue
        lines.append(unsaid(_DEPENDS.sub(r"${\1}", str(change))))
    return {
        "ok": True,
        "errors": [],
        "warnings": [places.within(unsaid(_DEPENDS.sub(r"${\1}", each))) for each in (*wanted.warnings, *missing)],
        "difference": lines[:MAX_LINES],
    }


def _text_in_force(configuration: Configuration, known: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files that what runs was loaded from; where they were not kept, as they are now."""
    kept = Versions(configuration.resolve(configuration.settings.gateway.data_dir)).good()
    return kept[0].data if kept else known


class _Hidden(dict[str, str]):
    """The environment as far as it may be told: which variables there are. Each has its own name for a value."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__({name: _STANDS_FOR.format(name) for name in env})

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The default that is written beside it, where there is one."""
        return default or super().get(name, default)


class _Places:
    """Files as somebody knows them who sees the folder of the configuration, and not this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._shipped = [each.profiles.resolve() for each in protocols().values() if each.profiles is not None]
        self._known: dict[str, tuple[str, bool]] = {}

    def of(self, name: str) -> tuple[str, bool]:
        """The name of a file, below the folder if it is there; and whether it comes with the gateway."""
        if name not in self._known:
            path = Path(name).resolve()
            if path.is_relative_to(self._folder):
                self._known[name] = path.relative_to(self._folder).as_posix(), False
            else:
                shipped = any(path.is_relative_to(folder) for folder in self._shipped)
                self._known[name] = path.name if shipped else name, shipped
        return self._known[name]

    def within(self, text: str) -> str:
        """A text that begins with the name of a file, and its line."""
        name, colon, rest = text.partition(":")
        return f"{self.of(name)[0]}:{rest}" if colon and name.endswith((".yaml", ".yml")) else text

    def of_mistake(self, error: ConfigError) -> dict[str, Any]:
        """For JSON."""
        told = mistake(error)
        return told | {"file": self.of(error.file)[0] if error.file else "", "text": self.within(told["text"])}


def _written(tree: Node, machine: str, places: _Places, hiding: _Filled) -> tuple[list[dict[str, Any]], int]:
    """Every value that was written, with its place, but for the signals of other machines; and how many those are."""
    found, left_out = [], 0
    for path, node in _walk(tree, ()):
        if path[0] == "machines" and len(path) > 3 and path[1] != machine:
            left_out += 1
        else:
            found.append(_origin(path, node, places, hiding))
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
    """For JSON; an error has no secrets."""
    return {
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "field": error.field,
        "message": error.message,
        "hint": error.hint,
        "text": str(error),
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
        return unsaid(blanked(text, _hides, HIDDEN))
    except ConfigErrors:
        return "# this file is not YAML, so it is not known what in it is a secret: it is not shown\n"


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


def _origin(path: tuple[str, ...], node: Node, places: _Places, hiding: _Filled) -> dict[str, Any]:
    mark = node.mark
    value = shown_value(_unsecret({path[-1]: hiding.of(path, node)})[path[-1]])
    file, shipped = places.of(mark.source.name)
    written = "shipped" if shipped else "profile" if Path(file).parent.name == "profiles" else "file"
    if isinstance(mark, Filled):
        written = "environment"
    return {
        "path": ".".join(path),
        "value": value if len(value) <= MAX_VALUE else f"{value[:MAX_VALUE]}…",
        "file": file,
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
