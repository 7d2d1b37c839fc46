"""gateway fleet pull | show: the configuration of this gateway out of a signed git repository."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import Json, print_json, seconds_of

if TYPE_CHECKING:
    from gateway.fleet import FleetSettings, Outcome

SETTINGS = Path("/etc/gateway/fleet.yaml")

app = typer.Typer(
    help="Take the configuration from a signed git repository for many gateways.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Settings = Annotated[
    Path, typer.Option("--settings", metavar="FILE", help="Where the repository is, and who may sign.")
]


@app.command()
def pull(
    settings: Settings = SETTINGS,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end; so it is without --every.")] = False,
    every: Annotated[
        str | None,
        typer.Option(
            "--every", metavar="TIME", help="Look again and again, for boxes without systemd.", show_default=False
        ),
    ] = None,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Take it although it was signed before what is in place.")
    ] = False,
    try_only: Annotated[bool, typer.Option("--dry-run", help="Fetch, prove and check it; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Fetch what is signed for this gateway, check it, put it into place, and tell the gateway that runs.

    Exit code 1: not fetched, not signed by an allowed key, older, or refused by the gateway. 3: there are mistakes in it.
    In both cases nothing has changed.
    """
    from gateway.errors import UsageError
    from gateway.fleet import read_settings

    if once and every is not None:
        raise UsageError("--once and --every: one of them")
    pause = None if every is None else max(1.0, seconds_of(every, "--every"))
    said = None
    while True:
        code, told = _pull(read_settings(settings), allow_older, try_only)
        if json:
            print_json(told.object)
        elif told != said:  # with --every: nothing new is said once
            told.print()
        said = told
        if pause is None:
            raise typer.Exit(code)
        time.sleep(pause)


@app.command()
def show(settings: Settings = SETTINGS, json: Json = False) -> None:
    """Which configuration is in place, and whether the running gateway knows of it. Asks nobody."""
    from gateway.fleet import read_settings
    from gateway.fleet.place import Place

    found = read_settings(settings)
    place = Place(found.folder)
    current = place.current
    known = current is not None and place.reloaded == current.name
    if json:
        print_json(
            {
                "url": found.url, "ref": found.ref, "gateway": found.gateway, "folder": str(found.folder),
                "id": current and current.id, "signed_ms": current and current.time * 1000, "told": known,
                "changed": place.changed(),
            }
        )  # fmt: skip
        return
    print(f"{found.gateway}: from {found.url} {found.ref}")
    if current is None:
        print("nothing is in place yet: gateway fleet pull")
        return
    print(f"in place: {current.id[:12]}, signed {_shown(current.time)}: {found.folder / 'current'}")
    if changed := place.changed():
        print(_changed(changed))
    if not known:
        print("the gateway was not told yet: gateway fleet pull")


@dataclass(frozen=True, slots=True)
class _Told:
    """What a look came to, for people and as an object."""

    object: dict[str, Any]
    lines: Sequence[str] = ()
    errors: Sequence[str] = ()

    def print(self) -> None:
        for line in self.errors:
            print(line, file=sys.stderr)
        for line in self.lines:
            print(line, flush=True)


def _pull(settings: FleetSettings, allow_older: bool, try_only: bool) -> tuple[int, _Told]:
    from dataclasses import asdict

    from gateway.errors import ConfigErrors
    from gateway.fleet import FleetError, pull
    from gateway.runtime.registry import protocols

    try:
        outcome = pull(settings, protocols(), _reload, allow_older=allow_older, try_only=try_only)
    except FleetError as exc:
        told: dict[str, Any] = {"what": "refused", "step": exc.step, "error": str(exc)}
        return exc.exit_code, _Told(told, errors=[str(exc), "Nothing has changed."])
    except ConfigErrors as exc:
        told = {"what": "refused", "step": "check", "errors": [asdict(error) for error in exc.errors]}
        return exc.exit_code, _Told(told, errors=[str(exc), "Nothing has changed."])
    return 0, _Told(asdict(outcome), list(_lines(outcome, settings)), outcome.warnings)


def _lines(outcome: Outcome, settings: FleetSettings) -> Iterator[str]:
    if outcome.what == "unchanged":
        told = f"; {outcome.reload}" if outcome.reload else ""
        yield f"nothing new: {outcome.id[:12]}, signed {_shown(outcome.time)}, is in place{told}"
        if outcome.changed:
            yield _changed(outcome.changed)
        return
    verb = "in place" if outcome.what == "placed" else "could be put into place"
    yield f"{verb}: {outcome.id[:12]}, signed {_shown(outcome.time)} by {outcome.signer} ({outcome.key})"
    if outcome.what == "would place":
        yield f"{outcome.files} files; nothing has changed"
        return
    yield f"{outcome.files} files in {settings.folder / 'current'}"
    if outcome.changed:
        yield f"gone with what was there before: {_named(outcome.changed)}, changed on this box"
    yield outcome.reload or "no gateway runs with it yet; it will start with it"


def _changed(files: Sequence[str]) -> str:
    return f"changed on this box: {_named(files)}: this lasts until the next signed configuration"


def _named(files: Sequence[str]) -> str:
    return ", ".join(files[:10]) + (f" and {len(files) - 10} more" if len(files) > 10 else "")


def _reload(current: Path) -> str | None:
    """Tell the gateway that runs with this configuration. None: none does."""
    from gateway.cli import running
    from gateway.errors import GatewayError

    try:
        answer = running.ask_at(current, "reload", who="fleet")
    except running.NotRunningError:
        return None
    if errors := answer.get("errors"):
        raise GatewayError("; ".join(map(str, errors)))
    told = "the gateway has taken it over" if answer.get("changed") else "the gateway had nothing to change"
    if restart := answer.get("restart"):
        told += f"; only a restart takes over: {', '.join(map(str, restart))}"
    return told


def _shown(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
