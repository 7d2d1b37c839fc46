"""gateway fleet pull | show: the configuration of this gateway out of a signed git repository."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    while True:
        code = _pull(read_settings(settings), allow_older, try_only, json)
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
            }
        )  # fmt: skip
        return
    print(f"{found.gateway}: from {found.url} {found.ref}")
    if current is None:
        print("nothing is in place yet: gateway fleet pull")
        return
    print(f"in place: {current.id[:12]}, signed {_shown(current.time)}: {found.folder / 'current'}")
    if not known:
        print("the gateway was not told yet: gateway fleet pull")


def _pull(settings: FleetSettings, allow_older: bool, try_only: bool, json: bool) -> int:
    from dataclasses import asdict

    from gateway.errors import ConfigErrors
    from gateway.fleet import FleetError, pull
    from gateway.runtime.registry import protocols

    try:
        outcome = pull(settings, protocols(), _reload, allow_older=allow_older, try_only=try_only)
    except FleetError as exc:
        if json:
            print_json({"what": "refused", "step": exc.step, "error": str(exc)})
        else:
            print(f"{exc}\nNothing has changed.", file=sys.stderr)
        return exc.exit_code
    except ConfigErrors as exc:
        if json:
            print_json({"what": "refused", "step": "check", "errors": [asdict(error) for error in exc.errors]})
        else:
            print(f"{exc}\nNothing has changed.", file=sys.stderr)
        return exc.exit_code
    if json:
        print_json(asdict(outcome))
    else:
        _print(outcome, settings)
    return 0


def _print(outcome: Outcome, settings: FleetSettings) -> None:
    for warning in outcome.warnings:
        print(warning, file=sys.stderr)
    if outcome.what == "unchanged":
        told = f"; {outcome.reload}" if outcome.reload else ""
        print(f"nothing new: {outcome.id[:12]}, signed {_shown(outcome.time)}, is in place{told}")
        return
    verb = "in place" if outcome.what == "placed" else "could be put into place"
    print(f"{verb}: {outcome.id[:12]}, signed {_shown(outcome.time)} by {outcome.signer} ({outcome.key})")
    print(f"{outcome.files} files in {settings.folder / 'current'}")
    if outcome.what == "placed":
        print(outcome.reload or "no gateway runs with it yet; it will start with it")


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
