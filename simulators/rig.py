"""A test rig for projects of users: machines, a broker and a gateway with its store, made in a test and gone after it.

    configuration ─ copy in a folder of the test, leading to ─▶ Machine: simulated or recorded, in a thread of its own
         └─ copy that leads there, too ─▶ Stored: `gateway run` in a process ─▶ Broker ─▶ historian ─▶ judge

Nothing of the configuration is asked for that may be real: machines are replaced, and what it says of broker, store and page
is left out. Failures are AssertionErrors that say what came instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, closing, suppress
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from gateway.cli.desk import DeskEnvironment
from gateway.cli.verify import verdict_of
from gateway.config import Configuration, ConnectionSettings, load
from gateway.config.explain import did_you_mean
from gateway.config.yaml_file import read_yaml
from gateway.errors import StoreError, UsageError
from gateway.model import Value, quality_text
from gateway.recording import is_recording, read
from gateway.runtime.registry import protocols
from gateway.store.historian import Historian
from simulators.behaviour.scenario import read_scenario
from simulators.judge.judging import Bounds
from simulators.judge.verdict import Verdict
from simulators.ledger import Ledger, Served, read_ledger
from simulators.machine import Server
from simulators.plant import Plant, simulate
from simulators.replay import replay

T = TypeVar("T")
ANY = object()
PATIENCE = 20.0  # seconds for a program to start, or to end
_LOOK = 0.05  # seconds between two looks into the store
_OURS = ("mqtt", "store", "web")  # sections of which only what leads nowhere is kept
_KEPT = ("format", "root", "template", "window")
_FOLDERS = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
NO_MOSQUITTO = "mosquitto is not installed: apt-get install mosquitto, or brew install mosquitto, or see https://mosquitto.org/download"


class NotInstalledError(AssertionError):
    """A program that the rig needs is not there; the text says how to get it."""


class Reading(NamedTuple):
    """As the store has it."""

    time: int  # ns since 1970
    value: Value
    quality: str  # good, bad:no-communication …


# --- copies of configurations ------------------------------------------------------------------------------------------


def copied(config: Path, folder: Path, more: Mapping[str, object] | None = None) -> Path:
    """A copy with its data in `folder`, without broker, store and page but for `more`; the files beside it are linked."""
    folder.mkdir(parents=True)
    given = config.resolve()
    beside, main = (given, given / "gateway.yaml") if given.is_dir() else (given.parent, given)
    written = {"gateway.yaml", "machines", "data"} if given.is_dir() else {"gateway.yaml", given.name, "data"}
    for other in beside.iterdir():
        if other.name not in written and not other.name.startswith(".") and not folder.is_relative_to(other):
            (folder / other.name).symlink_to(other)
    tree: dict[str, Any] = read_yaml(main).plain() or {}
    own = {key: value for key, value in (tree.get("mqtt") or {}).items() if key in _KEPT}
    kept = {key: value for key, value in tree.items() if key not in _OURS}
    kept["gateway"] = {**(tree.get("gateway") or {}), "data_dir": str(folder / "data")}
    for section, value in (more or {}).items():
        kept[section] = {**own, **value} if section == "mqtt" and isinstance(value, Mapping) else value
    (folder / "gateway.yaml").write_text(as_yaml(kept), encoding="utf-8")
    if given.is_dir() and (given / "machines").is_dir():
        shutil.copytree(given / "machines", folder / "machines")
        return folder
    return folder / "gateway.yaml"


def led_to(path: Path, before: Configuration, after: Configuration) -> None:
    """Write into a copy how its connections are reached now."""
    files = [path] if path.is_file() else [path / "gateway.yaml", *sorted((path / "machines").glob("*.yaml"))]
    for file in files:
        tree = read_yaml(file).plain()
        connections = tree.get("connections") or {}
        for name in connections.keys() & after.connections.keys():
            changes = _changes(before.connections[name], after.connections[name])
            if changes is not None:
                connections[name] = {
                    key: value for key, value in {**connections[name], **changes}.items() if value is not None
                }
        if connections:
            file.write_text(as_yaml(tree), encoding="utf-8")


def _changes(before: ConnectionSettings, after: ConnectionSettings) -> dict[str, Any] | None:
    """What is written otherwise; None where that is nothing."""
    if before is after:
        return None
    new = {key: getattr(after, key) for key in type(after).model_fields}
    old = {key: getattr(before, key) for key in type(before).model_fields}
    gone = dict.fromkeys(old.keys() - new.keys())
    changed = {
        key: value for key, value in new.items() if key in after.model_fields_set | old.keys() and old.get(key) != value
    }
    return gone | {key: str(value) if isinstance(value, Path) else value for key, value in changed.items()}


def as_yaml(tree: Mapping[str, Any]) -> str:
    """Sections and names a line each, what they say as JSON, which is YAML."""
    lines = []
    for section, value in tree.items():
        if isinstance(value, Mapping) and value and all(isinstance(each, Mapping) for each in value.values()):
            lines.append(f"{_text(section)}:")
            lines += [f"  {_text(name)}: {_text(each)}" for name, each in value.items()]
        else:
            lines.append(f"{_text(section)}: {_text(value)}")
    return "\n".join([*lines, ""])


def _text(value: Any) -> str:
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_text(str(key))}: {_text(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_text, value)) + "]"
        case float() if not isfinite(value):
            return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False)


# --- machines --------------------------------------------------------------------------------------------------------


class Machine:
    """Simulated or recorded machines that run, in a thread with an event loop of its own.

    `configuration_path` is a configuration that leads to them, `ports` those of its connections, `ledger` the file with what
    they served. `servers`: to break them (`servers["panel"].faults.fail(3)`); what touches connections goes through `call`.
    """

    def __init__(self, path: Path, folder: Path, make: Callable[[Configuration, Ledger], Any]) -> None:
        """`make`: a plant of the configuration at `path`."""
        self.configuration_path, self.folder = path, folder
        self.ledger = folder / "ledger.jsonl"
        self.plant: Plant
        self._make = make
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._serving: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"machine[{folder.name}]", daemon=True)

    @property
    def ports(self) -> Mapping[str, int]:
        """By connection."""
        return self.plant.ports

    @property
    def servers(self) -> Mapping[str, Server]:
        """By connection."""
        return self.plant.servers

    def call(self, function: Callable[..., T | Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Call it in the thread of the machines, and wait for it: `machine.call(server.drop)`."""

        async def called() -> T:
            found = function(*arguments)
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(PATIENCE)

    def served(self) -> list[Served]:
        """All answers up to now."""
        self.flush()
        return list(read_ledger(self.ledger))

    def flush(self) -> None:
        """Put everything that was served into the file."""
        if self._thread.is_alive():
            self.call(self.plant.ledger.flush)

    def leads(self, path: Path) -> None:
        """Let the connections of a copy lead here, those that have the same names."""
        configuration = load(path, protocols(), env=DeskEnvironment())
        led_to(path, configuration, self.plant.redirect(configuration))

    def stop(self) -> None:
        """Nobody answers any more. Safe to call twice."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it ends by itself at this moment
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join(PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            if not self._ready.wait(PATIENCE):
                raise AssertionError(f"the machines of {self.configuration_path} were not ready within {PATIENCE:g} s")
            if self._failure is not None:
                raise self._failure
            self.leads(self.configuration_path)
        except BaseException:
            self.stop()  # nobody else does: there is no __exit__ for what was not entered
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self) -> None:
        self._ended.set()
        if not self._ready.is_set() and self._serving is not None:
            self._serving.cancel()  # they may never be ready

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as exc:  # it is raised where the machines are asked for
                self._failure = exc
            finally:
                self._ready.set()

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        with Ledger(self.ledger) as ledger:
            running: AbstractAsyncContextManager[Plant] = self._make(
                load(self.configuration_path, protocols(), env=DeskEnvironment()), ledger
            )
            async with running as self.plant:
                self._ready.set()
                await self._ended.wait()


def simulated(config: Path, scenario: Path | str | None, folder: Path, **more: Any) -> Machine:
    """The machines of a configuration. `scenario`: a file, or the text of one; `more` goes to `simulate`."""
    if isinstance(scenario, str) and _is_text(scenario):
        (file := folder.with_suffix(".scenario.yaml")).write_text(scenario, encoding="utf-8")
        scenario = file
    behaviour = read_scenario(Path(scenario)) if scenario is not None else None

    def make(configuration: Configuration, ledger: Ledger) -> Any:
        return simulate(configuration, behaviour, ledger, 0, **more)

    return Machine(copied(Path(config), folder), folder, make)


def _is_text(scenario: str) -> bool:
    """Whether it is a scenario itself, and not where one is: no name of a file has a key in it."""
    return "\n" in scenario or (": " in scenario and not Path(scenario).exists())


def recorded(recording: Path, config: Path | None, folder: Path, **more: Any) -> Machine:
    """A machine that was recorded. Without `config`, what was in force then counts; `more` goes to `replay`."""
    if config is None:
        text = read(recording).head.configuration if is_recording(recording) else ""
        if not text:
            raise UsageError(f"{recording} does not say how it was configured: name the configuration, config=PATH")
        file = folder.with_suffix(".recorded.yaml")
        file.write_text(text, encoding="utf-8")
        config = file

    def make(configuration: Configuration, ledger: Ledger) -> Any:
        return replay(recording, configuration=configuration, ledger=ledger, port_base=0, **more)

    return Machine(copied(Path(config), folder), folder, make)


# --- programs --------------------------------------------------------------------------------------------------------


class Program:
    """A program in a child process, with a log of its own."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self.command, self.folder = name, command, folder
        self.variables: Mapping[str, str] = {}  # that are added to those of this process
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has written."""
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Does not wait for it to be ready."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own programs
                self.command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.variables},
            )

    def stop(self) -> None:
        """Ask it to end, and end it if it does not. Safe to call twice."""
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for whoever reads why a test failed."""
        said = self.log.splitlines()[-lines:]
        return "\n".join([f"---- the log of {self.name} ends with", *said]) if said else f"{self.name} has said nothing"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Broker(Program):
    """Mosquitto on a free port of this computer. `url` is what goes into a configuration."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_FOLDERS)
        if program is None:
            raise NotInstalledError(NO_MOSQUITTO)
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__("mosquitto", [program, "-c", str(folder / "mosquitto.conf")], folder)
        self.port = 0

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Ready when it returns."""
        for _ in range(3):  # somebody else may take the port meanwhile
            self.port = self.port or _free_port()
            lines = ["allow_anonymous true", "persistence false", f"listener {self.port} 127.0.0.1"]
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                lines.insert(0, "user root")  # else it steps down to a user who may not read this folder
            (self.folder / "mosquitto.conf").write_text("\n".join([*lines, ""]))
            super().start()
            deadline = time.monotonic() + PATIENCE
            while self.running and time.monotonic() < deadline:
                if _accepts(self.port):
                    return
                time.sleep(_LOOK)
            self.stop()
            self.port = 0
        raise AssertionError(f"mosquitto does not start\n{self.last_words()}")


class Stored(Program):
    """A gateway that reads machines and keeps what it reads in a historian."""

    def __init__(self, machine: Machine, config: Path | None, broker: Broker, folder: Path) -> None:
        more = {"mqtt": {"url": broker.url}, "store": {"kind": "historian"}}
        path = copied(config or machine.configuration_path, folder, more)
        machine.leads(path)
        super().__init__("gateway", [sys.executable, "-m", "gateway", "run", str(path)], folder)
        self.configuration_path, self.machine = path, machine
        desk = DeskEnvironment()
        self.configuration = load(path, protocols(), env=desk)
        # Those that nobody has here: the machines take any.
        self.variables = {name: desk[name] for name in desk.missing}

    @property
    def historian(self) -> Path:
        """The file of the store."""
        return self.folder / "data" / "historian.sqlite"

    def wait(self, signal: str, value: object = ANY, *, timeout: float = 10.0) -> Reading:
        """Until a good reading of `machine/signal` is stored: with this value, or one that a function of it is true of.

        Raises AssertionError that says what came instead.
        """
        deadline = time.monotonic() + timeout
        while True:
            ended = not self.running
            seen = self.readings(signal)
            for reading in reversed(seen):
                if reading.quality == "good" and _is(reading.value, value):
                    return reading
            if ended or time.monotonic() > deadline:
                wanted = "" if value is ANY else " that fits" if callable(value) else f" that is {value!r}"
                what = "the gateway has ended" if ended else f"not within {timeout:g} s"
                raise AssertionError(self._why_not(signal, f"good reading{wanted}", seen, what))
            time.sleep(_LOOK)

    def wait_bad(self, signal: str, quality: str = "bad", *, timeout: float = 15.0) -> Reading:
        """Until the newest reading of `machine/signal` has a quality that begins like this. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while True:
            seen = self.readings(signal)
            if seen and seen[-1].quality.startswith(quality):
                return seen[-1]
            if not self.running or time.monotonic() > deadline:
                what = f"not within {timeout:g} s" if self.running else "the gateway has ended"
                raise AssertionError(self._why_not(signal, f"{quality} reading", seen, what))
            time.sleep(_LOOK)

    def readings(self, signal: str) -> list[Reading]:
        """All that is stored of `machine/signal`, the oldest first, bad ones too."""
        machine, name = self._checked(signal)
        if not self.historian.exists():
            return []
        try:
            with closing(Historian.open_read_only(self.historian)) as reader:
                found = reader.query(machine, name, 0, 2**62)
        except StoreError:  # it has nothing of this machine or signal yet
            return []
        columns = zip(found.time, found.value, found.quality, strict=True)
        return [Reading(t, value, quality_text(quality)) for t, value, quality in columns]

    def values(self, signal: str) -> list[Value]:
        """Those of all readings that are not bad, the oldest first."""
        return [each.value for each in self.readings(signal) if not each.quality.startswith("bad")]

    def last(self, signal: str) -> Reading:
        """The newest reading. Raises AssertionError where there is none."""
        found = self.readings(signal)
        assert found, f"nothing is stored of {signal}\n{self.last_words()}"
        return found[-1]

    def verify(self, *, late: float = 1.0, settle: float = 2.0, timeout: float = 10.0) -> Verdict:
        """What the machines served against what is stored; what was served in the last `settle` seconds may be on its way.

        What is missing may still come while the gateway runs, as after an outage: for so long it is waited for.
        Raises AssertionError with a table of what is missing, wrong or duplicated.
        """
        bounds = Bounds(late=round(late * 1e9), settle=round(settle * 1e9))
        deadline = time.monotonic() + timeout
        while True:
            self.machine.flush()
            running = self.running
            try:
                verdict, notes = verdict_of(self.machine.ledger, self.historian, self.configuration, bounds)
            except (StoreError, UsageError) as exc:
                if not running or time.monotonic() > deadline:
                    raise AssertionError(f"{exc}\n{self.last_words()}") from exc
            else:
                if verdict.sound and verdict.judged:
                    return verdict
                final = verdict.total("wrong") or verdict.total("duplicated") or not running
                if final or time.monotonic() > deadline:
                    raise AssertionError("\n".join([str(verdict), *notes, self.last_words()]))
            time.sleep(10 * _LOOK)

    def _checked(self, signal: str) -> tuple[str, str]:
        machine, _, name = signal.partition("/")
        known = self.configuration.machines
        if machine not in known:
            raise AssertionError(f"there is no machine '{machine}'; {did_you_mean(machine, known)}")
        settings = known[machine]
        names = [*settings.signals, *settings.computed]
        if not settings.derived and name not in names:
            raise AssertionError(f"{machine} has no signal '{name}'; {did_you_mean(name, names)}")
        return machine, name

    def _why_not(self, signal: str, wanted: str, seen: list[Reading], what: str) -> str:
        said = [f"{signal}: no {wanted} is stored: {what}"]
        if seen:
            newest = seen[-1]
            said.append(f"{len(seen)} readings are stored, the newest: {newest.value!r}, {newest.quality}")
        else:
            said.append("nothing at all is stored of it")
        return "\n".join([*said, self.last_words()])


def _is(value: Value, wanted: object) -> bool:
    if wanted is ANY:
        return True
    return bool(wanted(value)) if callable(wanted) else value == wanted


def _free_port() -> int:
    """Below those that the system gives to outgoing connections: a client that knocks there would meet itself."""
    for port in random.sample(range(16384, 32768), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port was found")


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def folders(base: Path, name: str) -> Iterator[Path]:
    """Folders that are not there yet: name-1, name-2 …"""
    number = 0
    while True:
        number += 1
        yield base / f"{name}-{number}"
