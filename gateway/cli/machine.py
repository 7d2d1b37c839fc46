"""gateway read | watch | plan: one machine, without broker or store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import (
    ConfigArgument,
    ConfigOption,
    Json,
    UnknownNameError,
    context_of,
    load_config,
    print_json,
    run,
    split_signal,
)

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.adapter import Adapter, Forecast, LatePoll
    from gateway.config import Configuration
    from gateway.model import Batch, Header
    from gateway.web.snapshot import Latest

MachineName = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name, or machine/signal.", show_default=False)]
SignalName = Annotated[str | None, typer.Argument(metavar="[SIGNAL]", help="Only this one.", show_default=False)]

SILENT = ("bad:no-communication", "bad:not-connected")
FIRST_READING = 10.0  # seconds to wait for the signals that did not come with the first batch


def read(machine: MachineName, signal: SignalName = None, config: ConfigOption = None, json: Json = False) -> None:
    """Read a machine once, and print its signals with names and units."""
    configuration, name, signals = _chosen(config, machine, signal)
    run(_read_once(configuration, name, signals, json))


def watch(machine: MachineName, signal: SignalName = None, config: ConfigOption = None, json: Json = False) -> None:
    """Read a machine for ever: a live table in a terminal, a line per reading elsewhere. Ctrl-C ends it."""
    configuration, name, signals = _chosen(config, machine, signal)
    run(_watch(configuration, name, signals, json))


def plan(
    config: ConfigArgument = None,
    machine: Annotated[
        str | None, typer.Argument(metavar="[MACHINE]", help="Only this one.", show_default=False)
    ] = None,
    option: ConfigOption = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Drop what was learnt of the machine, or of all, and find it out again.")
    ] = False,
    json: Json = False,
) -> None:
    """Show every request that will be made, how long it takes, and what was learnt, before anything is read."""
    from gateway.runtime.registry import plugins

    if config is not None and not config.exists() and machine is None:
        config, machine = None, str(config)  # `gateway plan press-07`
    configuration = load_config(config, option)
    if machine is not None:
        machine, _ = split_signal(configuration, machine)
    forecasts: dict[str, Forecast] = {}
    for connection, settings in configuration.connections.items():
        plugin, context = plugins()[settings.protocol], context_of(configuration, connection)
        if machine is not None and machine not in configuration.machines_of(connection):
            continue
        if forget:
            for name in plugin.forget(context, machine):
                print(f"{name}: forgotten what was learnt; a gateway that runs has to be started anew", file=sys.stderr)
        forecasts[connection] = plugin.plan(context)
    (_print_forecasts_json if json else _print_forecasts)(forecasts, machine)


def _print_forecasts_json(forecasts: dict[str, Forecast], machine: str | None) -> None:
    from dataclasses import asdict

    for connection, forecast in forecasts.items():
        for request in forecast.requests:
            if machine in (None, request.machine):
                print_json({"kind": "request", "connection": connection, **asdict(request)})
        print_json({"kind": "connection", "connection": connection, "busy": forecast.busy, "assumed": forecast.assumed})
        for late in forecast.late:
            if machine in (None, late.machine):
                print_json({"kind": "late", "connection": connection, **asdict(late)})
        for name, text in forecast.learnt:
            if machine in (None, name):
                print_json({"kind": "learnt", "connection": connection, "machine": name, "text": text})


def _print_forecasts(forecasts: dict[str, Forecast], machine: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("machine", "request", box=None, pad_edge=False)
    for column in ("every", "signals", "registers", "bits", "unused", "bytes", "takes"):
        table.add_column(column, justify="right")
    for forecast in forecasts.values():
        for r in forecast.requests:
            if machine in (None, r.machine):
                every = f"{r.period:g} s" if r.period else "on change"
                sizes = ("", str(r.size)) if r.bits else (str(r.size), "")
                takes = f"{r.seconds * 1000:.1f} ms" if r.seconds else ""
                table.add_row(
                    r.machine, r.what, every, str(r.signals), *sizes, str(r.unused), str(r.bytes or ""), takes
                )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for connection, forecast in forecasts.items():
        print(_summary(connection, forecast))
        for late in forecast.late:
            if machine in (None, late.machine):
                print(f"  {_late(late)}")
        for name, text in forecast.learnt:
            if machine in (None, name):
                print(f"  learnt: {name} {text}")


def _summary(connection: str, forecast: Forecast) -> str:
    """Of one link, whose machines share its time."""
    polled = [r for r in forecast.requests if r.period]
    text = f"{connection}: {len(forecast.requests)} request{'s' * (len(forecast.requests) != 1)}"
    if polled:
        rate = sum(1 / r.period for r in polled)
        load = sum(r.bytes / r.period for r in polled)
        registers = sum(r.size for r in polled if not r.bits)
        wasted = sum(r.unused for r in polled if not r.bits)
        text += f", {rate:.1f} a second, {registers} registers of which {wasted} unused, {load / 1000:.1f} kB/s"
    if forecast.busy:
        cycle = sum(r.seconds for r in polled)
        text += f"; all of them take {cycle * 1000:.0f} ms, the link is busy {forecast.busy:.0%} of the time"
        text += f" ({forecast.assumed} assumed)"
    return text


def _late(late: LatePoll) -> str:
    shown = ", ".join(late.signals[:6]) + (f" and {len(late.signals) - 6} more" if len(late.signals) > 6 else "")
    asked, reached = f"{late.period:g} s", f"{late.reached:.2g} s"
    return f"too fast: {late.machine} is asked every {asked} and will be read every {reached}: {shown}; raise `poll`"


# --- reading ---------------------------------------------------------------------------------------------------------


def _chosen(config: Any, machine: str, signal: str | None) -> tuple[Configuration, str, set[str]]:
    """The configuration, the machine, and the signals that are meant."""
    from gateway.config.explain import did_you_mean
    from gateway.config.references import kpi_name, signals_of

    configuration = load_config(config)
    name, of_name = split_signal(configuration, machine)
    machine_settings = configuration.machines[name]
    known = set(signals_of(machine_settings))
    wanted = signal or of_name
    if wanted is not None and wanted not in known and not kpi_name(machine_settings.kpi, wanted):
        raise UnknownNameError(f"{name} has no signal '{wanted}'; {did_you_mean(wanted, known)}")
    return configuration, name, {wanted} if wanted else known


@asynccontextmanager
async def _adapter_of(configuration: Configuration, machine: str) -> AsyncIterator[Adapter]:
    """The adapter of one machine, alone on its connection. Raises NotConnectedError, PartMissingError."""
    from gateway.runtime.registry import plugins

    connection = configuration.machines[machine].connection
    plugin = plugins()[configuration.connections[connection].protocol]
    adapter = plugin.build(context_of(configuration, connection, [machine]))
    try:
        await adapter.connect()
        yield adapter
    finally:
        await adapter.close()


async def _batches(adapter: Adapter, configuration: Configuration, machine: str) -> AsyncIterator[list[Batch]]:
    """Normalized batches, each reading of them, with what is worked out from them; of other machines nothing is known."""
    import time

    from gateway.model import Gap
    from gateway.normalizer import Plan
    from gateway.production.calendar import calendar_of
    from gateway.production.derived import Derived

    settings = {
        name: s.model_copy(update={"report": "all"}) for name, s in configuration.machines[machine].signals.items()
    }
    plans: dict[Header, Plan] = {}
    derived: dict[Header, Derived] = {}
    calendar = calendar_of(configuration, machine)
    while True:
        for batch in await adapter.read():
            if isinstance(batch, Gap) or batch.historical:
                continue  # what is true now is asked for
            if batch.header not in plans:
                plan = plans[batch.header] = Plan(batch.header, settings)
                if configuration.machines[machine].derived:
                    derived[batch.header] = Derived(
                        plan.header.path, configuration.machines, calendar, {machine: plan.header}
                    )
            plan, now, now_ns = plans[batch.header], time.monotonic(), time.time_ns()
            normalized = plan.apply(batch, now, now_ns)
            found = [] if normalized is None else [normalized]
            if plan.seen is not None and (more := derived.get(batch.header)) is not None:
                found += [seen for _, seen in more.take(plan.seen, now, now_ns) + more.tick(now, now_ns)]
            if found:
                yield found


async def _read_once(configuration: Configuration, machine: str, signals: set[str], json: bool) -> None:
    import time

    from gateway.errors import NotConnectedError
    from gateway.model import WAITING_FOR_DATA, quality_text
    from gateway.web.snapshot import Latest

    latest: dict[Header, Latest] = {}  # of the machine first, then of what is worked out
    events: set[str] = set()  # come when they happen: nobody waits for one
    waiting = quality_text(WAITING_FOR_DATA)
    async with _adapter_of(configuration, machine) as adapter:
        try:
            async with asyncio.timeout(FIRST_READING):
                async for batches in _batches(adapter, configuration, machine):
                    for batch in batches:
                        latest.setdefault(batch.header, Latest(batch.header, time.time_ns())).update(batch)
                        events |= {signal.name for signal in batch.header.signals if signal.kind == "event"}
                    # What is worked out may need other machines, which are not read: only what is read is waited for.
                    own = signals & configuration.machines[machine].signals.keys()
                    wanted = own - events or own or signals
                    heard = {r["name"] for each in latest.values() for r in each.snapshot(0) if r["quality"] != waiting}
                    if wanted <= heard:
                        break
        except TimeoutError:
            print(f"{machine}: not everything arrived within {FIRST_READING:g} s", file=sys.stderr)
    if not latest:
        return
    passing = events | (signals - configuration.machines[machine].signals.keys() if len(signals) > 1 else set())
    rows = [r for r in _rows(latest, machine, signals) if r["signal"] not in passing or r["quality"] != waiting]
    _print(rows, json)
    if not rows:
        print(f"{machine}: no event has happened meanwhile", file=sys.stderr)
    elif all(row["quality"] in SILENT for row in rows):
        raise NotConnectedError(f"{machine} does not answer", fault="no-communication")


def _rows(latest: Mapping[Header, Latest], machine: str, signals: set[str]) -> list[dict[str, Any]]:
    import time

    rows = [row for each in latest.values() for row in each.snapshot(time.time_ns()) if row["name"] in signals]
    return [{"machine": machine, "signal": row.pop("name"), **row} for row in rows]


def _print(rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        for row in rows:
            print_json({key: row[key] for key in ("t", "machine", "signal", "value", "unit", "quality")})
        return
    from rich.console import Console

    Console().print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("signal", box=None, pad_edge=False)
    table.add_column("value", justify="right")
    for column in ("unit", "quality", "time"):
        table.add_column(column)
    for row in rows:
        style = "" if row["quality"] == "good" else "bold red" if row["value"] is None else "yellow"
        at = datetime.fromtimestamp(row["t"] / 1000).strftime("%H:%M:%S.%f")[:-3] if row["t"] else ""
        table.add_row(row["signal"], Text(row["text"] or "–", style), row["unit"], Text(row["quality"], style), at)
    return table


async def _watch(configuration: Configuration, machine: str, signals: set[str], json: bool) -> None:
    from gateway.errors import NotConnectedError
    from gateway.schedule import Backoff

    backoff = Backoff()
    show = _live if sys.stdout.isatty() and not json else _lines
    while True:
        try:
            async with _adapter_of(configuration, machine) as adapter:
                backoff.reset()
                await show(_batches(adapter, configuration, machine), machine, signals, json)
        except NotConnectedError as exc:
            print(exc, file=sys.stderr)
            await asyncio.sleep(backoff.pause())


async def _live(groups: AsyncIterator[list[Batch]], machine: str, signals: set[str], _json: bool) -> None:
    import time

    from rich.live import Live

    from gateway.web.snapshot import Latest

    latest: dict[Header, Latest] = {}
    with Live(auto_refresh=False) as live:
        async for several in groups:
            for batch in several:
                latest.setdefault(batch.header, Latest(batch.header, time.time_ns())).update(batch)
            live.update(_table(_rows(latest, machine, signals)), refresh=True)


async def _lines(groups: AsyncIterator[list[Batch]], machine: str, signals: set[str], json: bool) -> None:
    async for several in groups:
        for batch in several:
            _print_lines(batch, machine, signals, json)


def _print_lines(batch: Batch, machine: str, signals: set[str], json: bool) -> None:
    from itertools import repeat

    from gateway.model import GOOD, quality_text
    from gateway.mqtt.payload import milliseconds
    from gateway.web.snapshot import json_value, text_of

    for i, t, value, q in zip(batch.signal, batch.time, batch.value, batch.quality or repeat(GOOD), strict=False):
        signal = batch.header.signals[i]
        if signal.name not in signals:
            continue
        if json:
            row = {"t": milliseconds(t), "machine": machine, "signal": signal.name, "value": json_value(value)}
            print_json({**row, "unit": signal.unit, "quality": quality_text(q)})
        else:
            at = datetime.fromtimestamp(t / 1e9).strftime("%H:%M:%S.%f")[:-3]
            print(
                f"{at} {signal.name} {text_of(value) or '–'} {signal.unit} {quality_text(q)}".replace("  ", " "),
                flush=True,
            )
