"""gateway query: what the store has."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from gateway.cli.common import ConfigOption, Json, UnknownNameError, load_config, moment, print_json


def query(
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="machine/signal", show_default=False)],
    since: Annotated[str, typer.Option("--since", help="From when on: 1h ago, or 2026-11-22T06:00.")] = "1h",
    until: Annotated[str, typer.Option("--until", help="To when: likewise.")] = "0s",
    points: Annotated[
        int | None,
        typer.Option(
            "--points", min=1, metavar="N", help="At most so many readings, each a real one.", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Print the readings of a signal from the store, also the bad ones."""
    from gateway.errors import ConfigErrors
    from gateway.model import quality_text
    from gateway.mqtt.payload import milliseconds
    from gateway.store.open import open_reader
    from gateway.web.snapshot import text_of

    machine, _, name = signal.rpartition("/")
    if not machine:
        raise UnknownNameError(f"'{signal}' is not a signal: write machine/signal, for example press-07/melt_temp")
    configuration = load_config(config)
    settings = configuration.settings
    if configuration.store is None:
        raise ConfigErrors(
            [configuration.tree.mark.error("there is no `store:` to ask", "for example: store: {kind: historian}")]
        )
    now = time.time_ns()
    start, end = max(0, moment(since, now)), moment(until, now)
    if start >= end:
        raise typer.BadParameter(f"--since {since} is not before --until {until}")
    reader = open_reader(configuration.store, configuration.resolve(settings.gateway.data_dir))
    try:
        found = reader.query(machine, name, start, end, points)
    finally:
        reader.close()
    if not found.time:
        print(f"{signal}: nothing in this time", file=sys.stderr)
    for t, value, quality in zip(found.time, found.value, found.quality, strict=True):
        said = quality_text(quality)
        if json:
            print_json({"t": milliseconds(t), "machine": machine, "signal": name, "value": value, "quality": said})
        else:
            at = datetime.fromtimestamp(t / 1e9).isoformat(sep=" ", timespec="milliseconds")
            print(f"{at}  {text_of(value) or '–':>14}" + ("" if said == "good" else f"  {said}"))
