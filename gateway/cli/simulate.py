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
    port_base: PortBase = None,
    ledger: LedgerFile = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
) -> None:
    """Serve the machines of a configuration, without the machines. Ctrl-C ends it."""
    if (tls_cert is None) != (tls_key is None) or (tls_ca and not tls_cert):
        raise typer.BadParameter("--tls-cert and --tls-key belong together")
    given = (tls_cert, tls_key, tls_ca) if tls_cert and tls_key else None
    run(_simulate(load_config(config, option), scenario, port_base, ledger, given))


async def _simulate(
    configuration: Configuration,
    scenario: Path | None,
    port_base: int | None,
    ledger: Path | None,
    tls: tuple[Path, Path, Path | None] | None,
) -> None:
    from simulators.ledger import Ledger
    from simulators.machine import TlsFiles
    from simulators.plant import simulate as plant_of
    from simulators.scenario import read_scenario

    behaviour = read_scenario(scenario) if scenario else None
    with Ledger(ledger) as written:
        files = TlsFiles(*tls) if tls else None
        async with plant_of(configuration, behaviour, written, port_base, tls=files) as plant:
            for connection, server in plant.servers.items():
                machines = ", ".join(m.path.machine for m in plant.machines[connection])
                print(f"{connection}: {server.place} ({machines})", flush=True)
            for connection, why in plant.left_out.items():
                print(f"{connection}: left out: {why}", flush=True)
            await asyncio.Event().wait()
