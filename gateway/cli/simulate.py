"""gateway simulate: the machines of a configuration, as servers."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, Json, print_json, run, seconds_of
from gateway.cli.desk import load_at_desk

if TYPE_CHECKING:
    from gateway.config import Configuration

Scenario = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="FILE|NAME",
        help="How the machines behave, and what goes wrong: a file, or one of --list-scenarios.",
        show_default=False,
    ),
]
ListScenarios = Annotated[bool, typer.Option("--list-scenarios", help="Name the scenarios that come with it.")]
Speed = Annotated[
    float,
    typer.Option(
        "--speed", metavar="N", min=0.001, max=1e6, help="The scenario runs N times as fast; stamps are real."
    ),
]
From = Annotated[
    str,
    typer.Option("--from", metavar="DURATION", help="Begin so far into the scenario.", show_default=False),
]
PortBase = Annotated[
    int | None,
    typer.Option(
        "--port-base",
        metavar="N",
        min=0,
        max=65000,
        help="Ports N, N+1, … instead of those of the configuration; 0: free ones.",
    ),
]
LedgerFile = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="Write down every value that was served; one that is there goes on.",
        show_default=False,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE", help="Certificate of devices with TLS; else a throw-away one.", show_default=False
    ),
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key.", show_default=False)]
TlsCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", metavar="FILE", help="CA that the gateway's certificate must be of.", show_default=False),
]


def simulate(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    scenario: Scenario = None,
    list_scenarios: ListScenarios = False,
    speed: Speed = 1.0,
    begin: From = "0s",
    port_base: PortBase = None,
    ledger: LedgerFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    json: Json = False,
) -> None:
    """Serve the machines of a configuration, without the machines. Ctrl-C ends it."""
    if (tls_cert is None) != (tls_key is None) or (tls_ca and not tls_cert):
        raise typer.BadParameter("--tls-cert and --tls-key belong together")
    if list_scenarios:
        list_all(json)
        return
    given = (tls_cert, tls_key, tls_ca) if tls_cert and tls_key else None
    start_at = seconds_of(begin, "--from")
    run(_simulate(load_at_desk(config, option), scenario, port_base, ledger, given, speed, start_at, json))


async def _simulate(
    configuration: Configuration,
    scenario: str | None,
    port_base: int | None,
    ledger: Path | None,
    tls: tuple[Path, Path, Path | None] | None,
    speed: float,
    start_at: float,
    json: bool,
) -> None:
    from simulators.behaviour.catalogue import scenario_of
    from simulators.ledger import Ledger
    from simulators.machine import TlsFiles
    from simulators.plant import simulate as plant_of

    behaviour = scenario_of(scenario) if scenario else None
    with Ledger(ledger) as written:
        files = TlsFiles(*tls) if tls else None
        async with plant_of(
            configuration,
            behaviour,
            written,
            port_base,
            tls=files,
            speed=speed,
            start_at=start_at,
            report=happened_json if json else happened,
        ) as plant:
            gc.freeze()  # the servers stay: to look for garbage among 20,000 variables takes a second, each time
            for connection, server in plant.servers.items():
                names = [m.path.machine for m in plant.machines[connection]]
                if json:
                    print_json(
                        {"kind": "server", "connection": connection, "place": str(server.place), "machines": names}
                    )
                else:
                    print(f"{connection}: {server.place} ({', '.join(names)})", flush=True)
            for connection, why in plant.left_out.items():
                if json:
                    print_json({"kind": "left-out", "connection": connection, "reason": str(why)})
                else:
                    print(f"{connection}: left out: {why}", flush=True)
            for line in _notes(plant.notes):
                if json:
                    print_json({"kind": "scenario", "text": line})
                else:
                    print(f"scenario: {line}", flush=True)
            try:
                await asyncio.Event().wait()
            finally:
                if json:
                    print_json({"kind": "end", "happened": {str(kind): n for kind, n in plant.happened.items()}})
                elif plant.happened:
                    print("happened: " + ", ".join(f"{kind} {count}" for kind, count in plant.happened.items()))


def _notes(notes: Mapping[str, str]) -> Iterator[str]:
    """What is to be told of a scenario; machines and signals that are not there together, as there may be many."""
    absent = [note for place, note in notes.items() if place.startswith("machines.")]
    if len(absent) > 1:
        yield f"{absent[0]}, and {len(absent) - 1} more machines and signals of it are not in this configuration"
    for place, note in notes.items():
        if len(absent) == 1 or not place.startswith("machines."):
            yield f"{place}: {note}"


def list_all(json: bool = False) -> None:
    """The scenarios that come with it."""
    from simulators.behaviour.catalogue import about, catalogue, listing

    if not json:
        print(listing())
        return
    for name, path in catalogue().items():
        print_json({"scenario": name, "description": about(path)})


def happened_json(text: str) -> None:
    """The same for --json."""
    print_json({"kind": "happened", "t": time.time_ns() // 1_000_000, "text": text})


def happened(text: str) -> None:
    """A fault of the scenario, when it comes: those of single requests only the first time."""
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)
