"""gateway buffer status | verify, gateway audit: where the readings are, and whether any is missing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigOption, Json, load_config, moment, print_json, size_text
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.buffer.inspect import Report
    from gateway.runtime.audit import Row

app = typer.Typer(help="What waits on the disk until the store has it.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def status(config: ConfigOption = None, json: Json = False) -> None:
    """How much waits, since when, and for how long there is room. Also beside a running gateway."""
    from gateway.buffer.inspect import glance
    from gateway.runtime.edge.edge import buffer_folder

    configuration = load_config(config)
    folder = buffer_folder(configuration)
    report = _looked(folder, glance)
    maximum = configuration.settings.buffer.max_size
    if json:
        told = {
            key: value for key, value in asdict(report).items() if key not in ("waiting", "damage", "losses", "checked")
        }
        print_json({"folder": str(folder), "max_bytes": maximum, **told})
        return
    print(f"{folder}: {'in use by a running gateway' if report.in_use else 'not in use'}")
    print(f"waiting   {report.messages:,} messages" + (f", {_span(report.start, report.end)}" if report.start else ""))
    print(f"size      {size_text(report.bytes)} of {size_text(maximum)}, {size_text(report.free)} free on this disk")
    print(f"readings  {report.readings:,} accepted since it was made, {report.lost:,} declared lost")
    if report.foreign:
        print(f"files     {report.foreign} of another version, left alone")


@app.command()
def verify(config: ConfigOption = None, json: Json = False) -> None:
    """Check every record that waits. Exit code 1 if one is damaged. Also beside a running gateway."""
    from gateway.buffer.inspect import inspect
    from gateway.runtime.edge.edge import buffer_folder

    folder = buffer_folder(load_config(config))
    report = _looked(folder, inspect)
    for damage in report.damage:
        if json:
            print_json({"kind": "damage", **asdict(damage)})
        else:
            print(
                f"damaged: messages {damage.first} to {damage.last} of epoch {damage.epoch}, "
                f"{damage.readings or 'an unknown number of'} readings: declared lost when the gateway comes to them"
            )
    if json:
        print_json({"kind": "verified", "records": report.checked, "segments": report.segments})
    else:
        print(f"{folder}: {report.checked:,} records in {report.segments} segments are whole")
    if report.damage:
        raise typer.Exit(1)


def audit(
    since: Annotated[str, typer.Option("--since", help="From when on: 1d ago, or 2026-11-22T06:00.")] = "1d",
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Where every message is: stored, waiting, or declared lost, and why. Exit code 1 if one is none of these."""
    from gateway.buffer.inspect import inspect
    from gateway.cli.running import configuration_of
    from gateway.runtime.audit import audit as compare
    from gateway.runtime.edge.edge import buffer_folder
    from gateway.store.historian import Historian
    from gateway.store.open import historian_path

    configuration = configuration_of(config)
    settings, now = configuration.settings, time.time_ns()
    start = max(0, moment(since, now))
    folder = buffer_folder(configuration)
    report = inspect(folder) if folder.exists() else None
    waiting, declared = (report.waiting, report.losses) if report else ([], [])
    gateway = settings.gateway.id
    if configuration.store is not None and configuration.store.kind == "historian":
        path = historian_path(configuration.store, configuration.resolve(settings.gateway.data_dir))
        reader = Historian.open_read_only(path)
        try:
            losses = reader.losses(0, 2**63 - 1)
            rows = compare(reader.stored(), reader.stretches(), losses, waiting, gateway, declared)
        finally:
            reader.close()
    else:
        where = "the store is not a historian" if configuration.store else "there is no store in this configuration"
        print(f"{where}: only what waits in the buffer is shown", file=sys.stderr)
        rows = [row for row in compare({}, [], [], waiting, gateway, declared) if row.kind != "silent"]
    silent = [row for row in rows if row.kind == "silent"]
    for row in rows:
        if row.kind == "silent" or not row.end or row.end >= start:
            _print_row(row, json)
    if not json:
        print(_summary(rows))
    if silent:
        count = sum(row.messages for row in silent)
        print(_SILENT.format(count=count, buffer=folder), file=sys.stderr)
        raise typer.Exit(1)


_SILENT = """\
silent: {count:,} messages are neither stored nor waiting, and nobody has declared them lost.
- Was {buffer} removed, or replaced by an older copy? Then what waited in it is gone: read between the times above again,
  where the machine remembers, or note the gap.
- Was the historian replaced by an older copy? Then put back the newer one, with the gateway stopped.
- Neither? Then this is a mistake of the gateway: keep data_dir as it is, and report it with gateway support-bundle."""


def _print_row(row: Row, json: bool) -> None:
    from gateway.mqtt.payload import milliseconds

    if json:
        print_json(
            {
                "kind": row.kind, "gateway": row.gateway, "epoch": row.epoch, "first": row.first, "last": row.last,
                "count": row.count, "from": milliseconds(row.start) if row.start else None,
                "to": milliseconds(row.end) if row.end else None, "cause": row.cause,
            }
        )  # fmt: skip
        return
    place = f"{row.gateway} {row.epoch} {row.first}–{row.last}" if row.first else f"{row.gateway} {row.epoch} –"
    count = "? readings" if row.count is None else f"{row.count:,} readings"
    print(f"{row.kind:<8} {place:<40} {count:>18}  {_span(row.start, row.end)}  {row.cause}".rstrip())


def _summary(rows: list[Row]) -> str:
    parts = []
    for kind, name in (("stored", "stored"), ("pending", "waiting"), ("loss", "declared lost"), ("silent", "silent")):
        of_kind = [row for row in rows if row.kind == kind]
        readings = sum(row.count or 0 for row in of_kind)
        parts.append(
            f"{name} {sum(row.messages for row in of_kind):,} messages"
            + (f" ({readings:,} readings)" if readings else "")
        )
    return "; ".join(parts)


def _span(start: int, end: int) -> str:
    if not start and not end:
        return "time not known"
    first, last = (datetime.fromtimestamp(each / 1e9).isoformat(sep=" ", timespec="seconds") for each in (start, end))
    return f"{first} to {last}"


def _looked(folder: Path, look: Callable[[Path], Report]) -> Report:
    try:
        return look(folder)
    except FileNotFoundError as exc:
        raise GatewayError(
            f"{folder}: there is no buffer yet: it is made by `gateway run`; or check gateway.data_dir"
        ) from exc
    except OSError as exc:
        raise GatewayError(f"{folder}: {exc.strerror}: it belongs to the user the gateway runs as") from exc
