"""gateway reload: have the running gateway take over its files."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, Json, one_of, print_json


def reload(config: ConfigArgument = None, option: ConfigOption = None, json: Json = False) -> None:
    """Have the running gateway take over its configuration; only what changed is touched. Exit code 3: it is broken."""
    from gateway.cli import running
    from gateway.config import find_config

    answer = running.ask_at(find_config(one_of(config, option)), "reload", who=whoami())
    tell(answer, json)


def tell(answer: dict[str, Any], json: bool) -> None:
    """What became of it. Raises typer.Exit with 3 where nothing changed because of mistakes."""
    if json:
        print_json(answer)
    elif answer["errors"]:
        for error in answer["errors"]:
            typer.echo(error, err=True)
        typer.echo("not taken over: the gateway goes on with the configuration it has", err=True)
    else:
        for line in answer["difference"]:
            typer.echo(line)
        for warning in answer.get("warnings", ()):
            typer.echo(f"warning: {warning}" if "warning:" not in warning else warning, err=True)
        if answer["restart"]:
            typer.echo("only a restart takes over: " + "; ".join(answer["restart"]), err=True)
        if not answer["difference"]:
            typer.echo("nothing has changed")
        elif answer["changed"]:
            touched = ", ".join(answer["touched"])
            typer.echo(f"taken over: {touched}" if touched else "taken over")
    if answer["errors"]:
        raise typer.Exit(3)


def whoami() -> str:
    """Who types, for the log."""
    import getpass
    import os

    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"gateway reload by {name}"
