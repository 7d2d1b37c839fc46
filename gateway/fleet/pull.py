"""One look at the repository, and what follows from it. Either all of the new configuration is in place, or the old one is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from gateway.config import Protocol, load
from gateway.errors import ConfigError, ConfigErrors, GatewayError
from gateway.fleet.errors import FleetError
from gateway.fleet.files import check_content, files_of
from gateway.fleet.git import Entry, Git, Signed
from gateway.fleet.place import Place, Version
from gateway.fleet.settings import FleetSettings

Reload = Callable[[Path], str | None]
"""Tells the gateway that runs with this configuration. Returns what it did, or None where none runs.

Raises GatewayError where it runs and refuses, with its old configuration in force.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pull came to."""

    what: Literal["placed", "unchanged", "would place"]
    id: str
    time: int  # seconds since 1970: when it was signed
    signer: str = ""
    key: str = ""
    files: int = 0
    warnings: tuple[str, ...] = ()
    reload: str = ""  # what the gateway did; empty where it was not told, or none runs
    changed: tuple[str, ...] = ()  # files that somebody has changed on this box since they were put into place


def pull(
    settings: FleetSettings,
    protocols: Mapping[str, Protocol],
    reload: Reload,
    *,
    allow_older: bool = False,
    try_only: bool = False,
    now: Callable[[], float] = time.time,
) -> Outcome:
    """Raises FleetError, or ConfigErrors for a configuration that is refused; then nothing has changed."""
    with _place(settings.folder, try_only) as place:
        before, changed = place.current, tuple(place.changed())
        with place.scratch() as scratch:
            git = Git(scratch, settings)
            if before is not None and git.newest() == before.id:
                told = "" if try_only else _tell(place, before, reload)
                return Outcome("unchanged", before.id, before.time, reload=told, changed=changed)
            found = git.fetch()
            if before is not None and found == before.id:  # it went back between two questions
                return Outcome("unchanged", before.id, before.time, changed=changed)
            signed = git.verify(found)
            _check_age(signed, before, allow_older, settings.max_ahead, now())
            entries = files_of(settings.gateway, git.tree(signed.id), settings.max_size)
            files = {path: _content(git, path, entry) for path, entry in entries.items()}
        made = place.write(files, settings.secrets)
        warnings = _check(made, entries, settings, protocols)
        version = Version(signed.time, signed.id)
        if try_only:
            done: Literal["placed", "would place"] = "would place"
            told = ""
        else:
            done = "placed"
            place.take(made, version)
            place.point(version)
            told = _tell_or_return(place, version, before, reload)
            place.prune(settings.keep)
        return Outcome(done, signed.id, signed.time, signed.signer, signed.key, len(files), warnings, told, changed)


@contextmanager
def _place(folder: Path, try_only: bool) -> Iterator[Place]:
    """Alone with it. What is only tried leaves nothing on a box that has none yet."""
    with ExitStack() as stack:
        if try_only and not folder.exists():
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="gateway-fleet-")))
        place = Place(folder)
        stack.enter_context(place.held())
        yield place


def _check_age(signed: Signed, before: Version | None, allow_older: bool, max_ahead: float, now: float) -> None:
    """Whoever answers in the place of the server may have old signatures to show, but no new ones."""
    if before is not None and signed.time <= before.time and not allow_older:
        raise FleetError(
            "age",
            f"{signed.id[:12]} was signed {_shown(signed.time)}, which is not after what is in place "
            f"({before.id[:12]}, {_shown(before.time)}): an old configuration comes back only with --allow-older",
        )
    if signed.time > now + max_ahead and not allow_older:
        raise FleetError(
            "age", f"{signed.id[:12]} was signed {_shown(signed.time)}, in the future: is the clock of this box right?"
        )


def _content(git: Git, path: str, entry: Entry) -> bytes:
    content = git.content(entry)
    check_content(path, content, entry.size)
    return content


def _check(
    made: Path, entries: Mapping[str, Entry], settings: FleetSettings, protocols: Mapping[str, Protocol]
) -> tuple[str, ...]:
    """As `gateway config check` does; mistakes are named by their files in the repository. Raises ConfigErrors."""
    try:
        configuration = load(made, protocols, every_profile=True)
    except ConfigErrors as exc:
        raise ConfigErrors([_in_the_repository(error, made, entries) for error in exc.errors]) from exc
    tree, found = configuration.tree, []
    if configuration.settings.gateway.id != settings.gateway:
        found.append(
            tree.find(["gateway", "id"]).error(
                f"this is gateway '{settings.gateway}', not '{configuration.settings.gateway.id}'",
                f"two gateways of one name would overwrite each other: gateway: {{id: {settings.gateway}}}",
                "gateway.id",
            )
        )
    if not configuration.settings.gateway.data_dir.is_absolute():
        found.append(
            tree.find(["gateway", "data_dir"]).error(
                "has to be an absolute path: every version has a folder of its own, and readings must not stay in one",
                "for example data_dir: /var/lib/gateway",
                "gateway.data_dir",
            )
        )
    if found:
        raise ConfigErrors([_in_the_repository(error, made, entries) for error in found])
    return tuple(warning.replace(f"{made}/", "") for warning in configuration.warnings)


def _in_the_repository(error: ConfigError, made: Path, entries: Mapping[str, Entry]) -> ConfigError:
    """The temporary folder means nothing to whoever has to mend it."""

    def named(text: str) -> str:
        for path, entry in entries.items():
            text = text.replace(str(made / path), entry.path.decode())
        return text.replace(f"{made}/", "")

    file = Path(error.file)
    absolute = file if file.is_absolute() else Path.cwd() / file
    name = next((e.path.decode() for path, e in entries.items() if made / path == absolute), named(error.file))
    return replace(error, file=name, message=named(error.message), hint=named(error.hint))


def _tell(place: Place, version: Version, reload: Reload) -> str:
    """It may have been put into place by a pull that was cut off before the gateway heard of it."""
    if place.reloaded == version.name:
        return ""
    said = _ask(place, reload)
    place.note_reloaded(version)
    return said or ""


def _tell_or_return(place: Place, version: Version, before: Version | None, reload: Reload) -> str:
    """Where the gateway refuses, what it goes on with has to be what stands there."""
    try:
        said = _ask(place, reload)
    except FleetError:
        if before is None:
            place.unpoint()
        else:
            place.point(before)
        raise
    place.note_reloaded(version)
    return said or ""


def _ask(place: Place, reload: Reload) -> str | None:
    try:
        return reload(place.folder / "current")
    except GatewayError as exc:
        raise FleetError(
            "reload", f"the gateway refuses the new configuration and goes on with the old one: {exc}"
        ) from exc


def _shown(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
