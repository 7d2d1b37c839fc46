"""gateway metrics: figures about the running gateway, where nobody can scrape its page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, Json, check_output, print_json, write_file

FilePath = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", show_default=False,
        help="Write it there, in one piece, for node_exporter's textfile collector. The figures process_* are left out: "
        "node_exporter has its own.",
    ),
]  # fmt: skip


def metrics(config: ConfigOption = None, output: FilePath = None, json: Json = False) -> None:
    """Print what the running gateway exposes at /metrics, in Prometheus' text format. It needs no page for it.

    With --json one object for each series, or with -o one that names the file.
    """
    from gateway.cli.running import line_to

    check_output(output, force=True)
    text = line_to(config).ask("metrics")
    if output is not None:
        write_file(output, for_textfile(text))
        if json:
            print_json({"file": str(output), "bytes": output.stat().st_size})
    elif json:
        from gateway.metrics.exposition import rows

        for row in rows(text):
            print_json(row)
    else:
        sys.stdout.write(text)


def for_textfile(text: str) -> str:
    """Without the families that the exporter has of itself: with one of them twice it would expose nothing at all."""
    kept = (line for line in text.splitlines(keepends=True) if not _family(line).startswith(("process_", "python_")))
    return "".join(kept)


def _family(line: str) -> str:
    """The name a line is about."""
    return line.split(" ", 3)[2] if line.startswith("#") else line
