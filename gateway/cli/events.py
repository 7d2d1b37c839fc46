"""gateway events: what happened, of the gateway that runs, or out of the file it left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigOption, Json, moment, print_json

if TYPE_CHECKING:
    from gateway.cli.running import Line
    from gateway.config import Configuration

MOST = 2000  # a gateway keeps no more
USUAL = 50
PAUSE = 1.0  # seconds between two looks with -f
KEYS = ("t", "kind", "machine", "state", "fault", "text")


def events(
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME", help="Only of this machine.", show_default=False)
    ] = "",
    since: Annotated[
        str | None,
        typer.Option("--since", help="From when on: 1h ago, or 2026-11-22T06:00.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            max=MOST,
            metavar="N",
            show_default=False,
            help=f"Only the newest.  [default: {USUAL}; with --since all of them]",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C.")] = False,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Print what happened, oldest first: machines that went and came, losses, changes of the configuration.

    Where no gateway runs it is what the last one wrote down.
    """
    from gateway.cli.running import line_to

    line = line_to(config)
    if machine and line.configuration is not None:
        _check(line.configuration, machine)
    start = None if since is None else max(0, moment(since, time.time_ns())) // 1_000_000
    most = limit or (USUAL if start is None else MOST)
    found = _chosen(_newest(line, machine, most), machine, start)[-most:]
    for row in found:
        _print(row, json)
    if follow:
        for row in _following(line, machine, found[-1:] or [{"t": time.time() * 1000}]):
            _print(row, json)


def _check(configuration: Configuration, machine: str) -> None:
    """A machine that is gone may still have events; a name that never was is probably a slip."""
    from gateway.config.explain import did_you_mean

    if machine not in configuration.machines:
        print(f"there is no machine '{machine}' now; {did_you_mean(machine, configuration.machines)}", file=sys.stderr)


def _newest(line: Line, machine: str, limit: int) -> list[dict[str, Any]]:
    """Oldest first. Raises GatewayError."""
    from gateway.cli import running

    try:
        answer = line.ask("events", limit=limit, machine=machine)
    except running.NotRunningError:
        if line.configuration is None:
            raise
        print("no gateway runs with this configuration: this is what the last one wrote down", file=sys.stderr)
        return _written(line.configuration)
    rows = answer["events"] if isinstance(answer, dict) else answer
    return sorted(rows, key=lambda row: float(row["t"]))


def _written(configuration: Configuration) -> list[dict[str, Any]]:
    from gateway.runtime.happenings import event_file, read_events

    try:
        return [
            {
                "t": event.time / 1e6, "kind": event.kind, "machine": event.machine, "state": event.state,
                "fault": event.fault, "text": event.text,
            }
            for event in read_events(event_file(configuration))
        ]  # fmt: skip
    except FileNotFoundError:
        return []


def _chosen(rows: Sequence[dict[str, Any]], machine: str, start: float | None) -> list[dict[str, Any]]:
    return [row for row in rows if (not machine or row["machine"] == machine) and (start is None or row["t"] >= start)]


def _following(line: Line, machine: str, last: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that come after. A gateway that is started anew goes on; while none runs there is nothing to tell."""
    from gateway.cli import running

    newest, known = float(last[-1]["t"]), [_key(row) for row in last]
    while True:
        time.sleep(PAUSE)
        try:
            answer = line.ask("events", limit=MOST, machine=machine)
        except running.NotRunningError:
            continue
        rows = answer["events"] if isinstance(answer, dict) else answer
        for row in sorted(rows, key=lambda each: float(each["t"])):
            if row["t"] > newest or (row["t"] == newest and _key(row) not in known):
                known = [*(known if row["t"] == newest else []), _key(row)]
                newest = float(row["t"])
                yield row


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in KEYS)


def _print(row: dict[str, Any], json: bool) -> None:
    from gateway.cli.status import coloured, paint, printable

    if json:
        print_json({key: row[key] for key in KEYS})
        return
    at = datetime.fromtimestamp(row["t"] / 1000).strftime("%Y-%m-%d %H:%M:%S")
    who = row["machine"] or row["kind"]
    fault = f" [{row['fault']}]" if row["fault"] else ""
    state = paint(f"{row['state']:<9}", row["state"], coloured())
    print(f"{at}  {who:<16} {state} {printable(row['text'])}{fault}".rstrip(), flush=True)
