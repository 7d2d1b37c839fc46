"""The support bundle: what somebody far away needs to understand a gateway, in one file, without secrets.

    members ─ text ─▶ redacted ─▶ bounded ─▶ zip, with a MANIFEST of what is in it and what was left out

Every byte goes through `Bundle.add`, and so through `redact`. Files are never copied as they are.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gateway import __version__
from gateway.config.fields import Secret
from gateway.doctor.case import Case
from gateway.doctor.redact import SENSITIVE, redacted, suspected, variants
from gateway.doctor.run import examine
from gateway.doctor.timing import HUNG, within
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config import Configuration

LARGEST = 20 * 2**20  # bytes of all members together, before they are compressed
UNITS = ("shopfloor-gateway", "shopfloor-store")
_MEMBER = 2 * 2**20  # bytes of a member, where nothing else is said
_LOG = 6 * 2**20
_LOG_LINES = 50_000
_LOSSES = 5000
_EVENTS = 2000
_FOLDERS = ("PWD", "OLDPWD")  # of the environment: called like a password, and none
_PLACES = ("_DIRECTORY", "_DIR", "_FILE", "_PATH")  # of the environment: where a secret is
_PATIENCE = 10.0  # seconds for one member
_LEFT_OUT_ALWAYS = (
    ("readings of the buffer and the store", "they belong to the plant; only counts and times are here"),
    ("secrets, private keys, users of the page", "nobody needs them to help"),
)


@dataclass(slots=True)
class Bundle:
    """Members that were made so far."""

    known: list[str]  # variants of secrets, see redact
    members: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(map(len, self.members.values()))

    def add(
        self, name: str, about: str, text: str, most: int = _MEMBER, *, newest: bool = False, by_key: bool = True
    ) -> None:
        """Redact, bound, keep. `newest`: of a text that is too long the end is kept, not the beginning.

        `by_key`: see `redacted`.
        """
        data = redacted(text, self.known, by_key=by_key).encode("utf-8", "replace")
        room = min(most, LARGEST - self.size - 64 * 1024)
        if len(data) > room:
            self.left_out.append((name, f"{len(data) - max(0, room)} of {len(data)} bytes, as there is a limit"))
            data = b"" if room <= 0 else data[-room:] if newest else data[:room]
            if b"\n" in data:  # whole lines
                data = data[data.index(b"\n") + 1 :] if newest else data[: data.rindex(b"\n") + 1]
        self.members[name], self.about[name] = data, about

    def add_json(self, name: str, about: str, content: Any, most: int = _MEMBER) -> None:
        self.add(name, about, json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n", most)

    def manifest(self) -> str:
        """What a person reads before sending it."""
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines = [f"Support bundle of gateway {__version__}, made {made}", "", "In it:"]
        lines += [f"  {name:<22}{len(data):>10,} bytes  {self.about[name]}" for name, data in self.members.items()]
        left_out = [
            (name, redacted(why, self.known)) for name, why in self.left_out
        ]  # what we say ourselves is no secret
        lines += ["", "Left out:", *(f"  {name}: {why}" for name, why in (*_LEFT_OUT_ALWAYS, *left_out))]
        lines += ["", "Passwords, tokens and keys were taken out as far as a program can know them (***).",
                  "Look through it before you send it: names of machines, addresses and topics are in it."]  # fmt: skip
        return "\n".join(lines) + "\n"

    def zipped(self) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("MANIFEST.txt", self.manifest())
            for name, data in self.members.items():
                archive.writestr(name, data)
        return made.getvalue()


def collect(case: Case, since_ns: int) -> Bundle:
    """All that can be had; what cannot is left out, with the reason. Raises nothing."""
    bundle = Bundle(variants(secrets_of(case)))
    for name, about, make in _members(case, since_ns):
        try:
            made = within(40.0 if name == "doctor.json" else _PATIENCE, make)
        except Exception as exc:
            bundle.left_out.append((name, str(exc) or type(exc).__name__))
            continue
        if made is HUNG:
            bundle.left_out.append((name, "it could not be had in time"))
        elif made is None:
            bundle.left_out.append((name, "there is none"))
        elif isinstance(made, str):
            most, newest = _LOG if name == "log.txt" else _MEMBER, name in ("log.txt", "events.json")
            bundle.add(name, about, made, most, newest=newest, by_key=name != "configuration.yaml")
        else:
            bundle.add_json(name, about, made, 2 * _MEMBER if name == "status.json" else _MEMBER)
    return bundle


def _members(case: Case, since: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    yield "versions.json", "this program, Python, packages", _versions
    yield "system.json", "the box: system, memory, disks, serial ports", lambda: _system(case)
    yield "doctor.json", "what `gateway doctor` finds", lambda: _findings(case)
    what = f"version {case.version}, as the files are broken" if case.version else "the configuration in force"
    yield "configuration.yaml", f"{what}; without secrets", lambda: _configuration(case)
    if case.status is not None:
        yield "status.json", "what the running gateway says of itself", lambda: dict(case.status or {})
    yield "events.json", "what happened lately", lambda: _events(case, since)
    yield "log.txt", "the newest lines of the log", lambda: _log(since)
    if case.configuration is not None:
        yield "buffer.json", "how much waits on the disk", lambda: _buffer(case)
        yield "losses.json", "what was lost, and why", lambda: _losses(case, since)
        yield "plan.json", "the requests that are made to machines", lambda: _plan(case)


# --- secrets that are known ------------------------------------------------------------------------------------------


def secrets_of(case: Case) -> set[str]:
    """All values that are known to be secret on this box."""
    named = re.compile(SENSITIVE, re.I)
    found = {
        value
        for name, value in case.environ.items()
        if named.search(name) and name not in _FOLDERS and not name.endswith(_PLACES)
    }
    if case.configuration is not None:
        found |= set(_written(case.configuration))
    folders = [case.environ.get("CREDENTIALS_DIRECTORY", "")]
    if case.path is not None:
        folder = case.path if case.path.is_dir() else case.path.parent
        folders.append(str(folder / "secrets"))
        files = [case.path] if case.path.is_file() else [*folder.glob("*.yaml"), *folder.glob("machines/*.yaml")]
        for file in files if case.mistake is not None else ():  # else its secrets are known for certain
            with suppress(OSError):
                found |= suspected(file.read_text("utf-8", "replace")[:_MEMBER], case.environ)
    for data_dir in case.data_dirs:
        with suppress(OSError):  # whoever has it makes himself the first engineer; it stands in the log, too
            found.add((data_dir / "web" / "setup-code").read_text("utf-8", "replace")[:100])
    for name in filter(None, folders):
        with suppress(OSError):
            found |= {file.read_text("utf-8", "replace") for file in Path(name).iterdir() if file.is_file()}
    return {each for each in found if each}


def _written(configuration: Configuration) -> Iterator[str]:
    """The secrets of a configuration, wherever they stand in it."""
    waiting: list[Any] = [configuration.settings, *configuration.connections.values(), *configuration.machines.values()]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Secret):
            yield each.value
        elif isinstance(each, BaseModel):
            waiting += each.__dict__.values()
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each


# --- members ---------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, Any]:
    packages = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return {"gateway": __version__, "python": sys.version, "packages": dict(sorted(packages.items()))}


def _system(case: Case) -> dict[str, Any]:
    told: dict[str, Any] = {
        "system": platform.platform(), "machine": platform.machine(), "processors": os.cpu_count(),
        "time": datetime.now(UTC).isoformat(), "user": os.geteuid(), "since_boot_s": round(time.monotonic()),
    }  # fmt: skip
    for name, file in (("os", "/etc/os-release"), ("memory", "/proc/meminfo"), ("load", "/proc/loadavg")):
        with suppress(OSError):
            told[name] = Path(file).read_text("utf-8", "replace").splitlines()[:12]
    for folder in (Path("/dev/serial/by-id"), Path("/dev/serial/by-path")):
        with suppress(OSError):
            told[str(folder)] = {each.name: str(each.resolve()) for each in folder.iterdir()}
    if case.data_dir is not None and case.data_dir.exists():
        usage = shutil.disk_usage(case.data_dir)
        told["data_dir"] = {"path": str(case.data_dir), "total": usage.total, "free": usage.free}
        told["files"] = {
            str(file.relative_to(case.data_dir)): file.stat().st_size
            for file in sorted(case.data_dir.rglob("*"))[:2000]
            if file.is_file() and "secret" not in file.name
        }
    return told


def _findings(case: Case) -> list[dict[str, Any]]:
    rows = [finding.row() for finding in examine(case)]
    if case.mistake is not None:
        for row in rows:
            if row["check"] == "configuration":  # what stands in a broken file may be anything, a password too
                row["text"] = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|‘[^’\n]*’", "'…'", row["text"])
                row["to_do"] = [re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "'…'", each) for each in row["to_do"]]
    return rows


def _configuration(case: Case) -> str | None:
    if case.configuration is None:
        raise GatewayError("it cannot be loaded, so that secrets in it cannot be told from the rest: see doctor.json")
    from gateway.config import load
    from gateway.config.shown import without_secrets
    from gateway.config.yaml_file import write_yaml
    from gateway.runtime.changes.versions import Versions, load_files
    from gateway.runtime.registry import protocols

    if case.version:
        assert case.data_dir is not None
        files = Versions(case.data_dir).get(case.version).data
        tree = load_files(case.configuration.path, files, whole_tree=True).tree
    else:
        tree = load(case.configuration.path, protocols(), whole_tree=True).tree
    return write_yaml(without_secrets(tree.plain()))


def _events(case: Case, since: int) -> Any:
    if case.status is not None and case.path is not None:
        from gateway.cli import running

        with suppress(GatewayError):
            line = running.Line(case.path, None if case.mistake is not None else case.configuration)
            return line.ask("events", limit=_EVENTS)
    lines: list[str] | None = None
    for data_dir in case.data_dirs:
        with suppress(OSError):
            lines = (data_dir / "events.jsonl").read_text("utf-8", "replace").splitlines()
            break
    if lines is None:
        return None
    return "\n".join(line for line in lines[-_EVENTS:] if _when(line) >= since) + "\n"


def _when(line: str) -> int:
    """Of a line of the file of events: ns since 1970."""
    try:
        return int(json.loads(line)["t"])
    except (ValueError, TypeError, KeyError):
        return 0


def _log(since: int) -> str:
    program = shutil.which("journalctl")
    if program is None:
        raise GatewayError("there is no journal on this box: add the log of the gateway by hand")
    begin = f"@{since // 1_000_000_000}"
    command = [program, "--no-pager", "-o", "short-iso-precise", "-n", str(_LOG_LINES), "--since", begin]
    for unit in UNITS:
        command += ["-u", unit, "-u", f"{unit}@*"]
    done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603
    if done.returncode:
        raise GatewayError(f"journalctl: {done.stderr.decode('utf-8', 'replace').strip() or done.returncode}")
    return done.stdout.decode("utf-8", "replace")


def _buffer(case: Case) -> dict[str, Any] | None:
    from gateway.buffer.inspect import glance
    from gateway.runtime.edge.edge import buffer_folder

    assert case.configuration is not None
    folder = buffer_folder(case.configuration)
    return asdict(glance(folder)) if folder.exists() else None


def _losses(case: Case, since: int) -> list[dict[str, Any]] | None:
    from gateway.buffer.inspect import inspect
    from gateway.runtime.edge.edge import buffer_folder
    from gateway.store.historian import Historian
    from gateway.store.open import historian_path

    configuration, data_dir = case.configuration, case.data_dir
    assert configuration is not None
    assert data_dir is not None
    found: list[dict[str, Any]] = []
    folder, store = buffer_folder(configuration), configuration.store
    if folder.exists():
        found += [{"in": "buffer", **asdict(loss)} for loss in inspect(folder).losses]
    if store is not None and store.kind == "historian" and (path := historian_path(store, data_dir)).exists():
        reader = Historian.open_read_only(path)
        try:
            found += [{"in": "store", **asdict(lost)} for lost in reader.losses(since, case.now_ns)]
        finally:
            reader.close()
    return found[-_LOSSES:]


def _plan(case: Case) -> dict[str, Any]:
    from gateway.cli.common import context_of
    from gateway.runtime.registry import plugins

    configuration = case.configuration
    assert configuration is not None
    told: dict[str, Any] = {}
    for name, connection in configuration.connections.items():
        try:
            told[name] = plugins()[connection.protocol].plan(context_of(configuration, name))
        except GatewayError as exc:
            told[name] = str(exc)
    return told


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
