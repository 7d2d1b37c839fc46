"""gateway simulate: the machines of a configuration, as servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, load_config, run

if TYPE_CHECKING:
    from gateway.config import Configuration

Scenario = Annotated[
    Path | None, typer.Option("--scenario", metavar="FILE", help="How the machines behave.", show_default=False)
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
    typer.Option("--ledger", metavar="FILE", help="Write down every value that was served.", show_default=False),
]


def simulate(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    scenario: Scenario = None,
    port_base: PortBase = None,
    ledger: LedgerFile = None,
) -> None:
    """Serve the machines of a configuration, without the machines. Ctrl-C ends it."""
    run(_simulate(load_config(config, option), scenario, port_base, ledger))


async def _simulate(
    configuration: Configuration, scenario: Path | None, port_base: int | None, ledger: Path | None
) -> None:
    from simulators.ledger import Ledger
    from simulators.plant import simulate as plant_of
    from simulators.scenario import read_scenario

    behaviour = read_scenario(scenario) if scenario else None
    with Ledger(ledger) as written:
        async with plant_of(configuration, behaviour, written, port_base) as plant:
            for connection, port in plant.ports.items():
                machines = ", ".join(m.path.machine for m in plant.machines[connection])
                print(f"{connection}: 127.0.0.1:{port} ({machines})", flush=True)
            for connection, why in plant.left_out.items():
                print(f"{connection}: left out: {why}", flush=True)
            await asyncio.Event().wait()
