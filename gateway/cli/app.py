"""All commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import config, demo, machine, query, run, simulate

app = typer.Typer(
    help="Brings the readings of old and new machines safely into a time-series store. Begin with: gateway demo",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 machine not reachable, 5 broker or store not reachable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(run.run)
app.command()(run.store)
app.command()(machine.read)
app.command()(machine.watch)
app.command()(machine.plan)
app.command()(simulate.simulate)
app.command()(query.query)
app.add_typer(config.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def _gateway(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...
