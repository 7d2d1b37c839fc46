"""Look at an OPC UA server, trust it, and write its YAML."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Look at an OPC UA server, trust it, and write its YAML. Only reads, and takes its time.", no_args_is_help=True
)


# --- who it is: endpoints, trust, certificate ------------------------------------------------------------------------


# --- what it has: browse, read, watch, import ------------------------------------------------------------------------
