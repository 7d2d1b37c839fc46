"""A plant: all machines of a configuration, as servers.

Configuration ┐                           ┌ simulators/modbus ┐
Scenario      ┴─ machines by connection ──┤                   ├ one server for each place
                                          └ simulators/opcua  ┘
"""

from __future__ import annotations

import asyncio
import errno
import importlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlsplit

from gateway.clock import Clock, SystemClock
from gateway.config import Configuration, ConnectionSettings
from gateway.errors import GatewayError
from simulators.behaviour.faults import happenings
from simulators.behaviour.scenario import NOTHING, Scenario, make_faults, make_machines
from simulators.ledger import Ledger
from simulators.machine import Context, NotSimulatedError, Pace, Server, SimulatedMachine, TlsFiles

FLUSH_INTERVAL = 1.0


@dataclass(slots=True)
class Plant:
    """A plant that runs."""

    start: int  # ns since 1970: when waves, programmes and faults began
    ledger: Ledger
    machines: Mapping[str, Sequence[SimulatedMachine]]  # by connection
    servers: dict[str, Server] = field(default_factory=dict)  # by connection; two may share one
    left_out: dict[str, str] = field(default_factory=dict)  # connections and signals that cannot be simulated, and why
    happened: Counter[str] = field(default_factory=Counter)  # the faults of the scenario, by kind
    notes: Mapping[str, str] = field(default_factory=dict)  # what is to be told of the scenario, by its places

    @property
    def ports(self) -> dict[str, int]:
        """The port of each connection that has one."""
        return {name: server.port for name, server in self.servers.items() if server.port is not None}

    def redirect(self, configuration: Configuration) -> Configuration:
        """The same configuration, with each connection leading to this plant."""
        connections = {
            name: _redirected(connection, self.servers[name].address) if name in self.servers else connection
            for name, connection in configuration.connections.items()
        }
        return replace(configuration, connections=connections)


@asynccontextmanager
async def simulate(
    configuration: Configuration,
    scenario: Scenario | None = None,
    ledger: Ledger | None = None,
    port_base: int | None = None,
    *,
    host: str = "127.0.0.1",
    clock: Clock | None = None,
    tls: TlsFiles | None = None,
    speed: float = 1.0,
    start_at: float = 0.0,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Plant]:
    """Start a server for every connection, and stop them all at the end. The ledger stays open.

    Ports are those of the configuration, or counted from `port_base` on; 0 lets the system choose each. With a base,
    serial lines are where the system puts them; else their end is linked to the path of the configuration, if that is free.
    Waves, programmes and faults run `speed` times as fast, and begin `start_at` seconds after their start; stamps and
    answers are those of the clock. `report` is told when a fault happens, a line each.
    Raises ConfigErrors for a scenario that does not fit, GatewayError for a port that cannot be had.
    """
    clock, scenario = clock or SystemClock(), scenario or NOTHING
    machines = make_machines(configuration, scenario)
    faults = make_faults(configuration, scenario)
    plant = Plant(clock.now(), ledger or Ledger(), machines, notes=scenario.notes)
    pace = Pace(None, speed, start_at)

    def tell(connection: str, kind: str) -> None:
        plant.ledger.happened(clock.now(), "fault", connection=connection, kind=kind)
        report(f"{connection}: {kind}")

    async with AsyncExitStack() as stack:
        for number, names in enumerate(_shared(configuration)):
            port = None if port_base is None else port_base and port_base + number
            context = Context(
                names[0],
                configuration.connections[names[0]],
                [machine for name in names for machine in machines[name]],
                plant.ledger,
                clock,
                plant.start,
                host,
                port,
                tls,
                configuration.resolve(configuration.settings.gateway.data_dir) / "simulator",
                plant.left_out,
                happenings(
                    names[0],
                    faults,
                    {name: [machine.path.machine for machine in machines[name]] for name in names},
                    scenario.settings.seed,
                    plant.happened,
                    tell,
                ),
                pace,
            )
            try:
                server = await _serve(context)
            except NotSimulatedError as exc:
                plant.left_out.update(dict.fromkeys(names, str(exc)))
                continue
            stack.push_async_callback(server.stop)
            plant.servers.update(dict.fromkeys(names, server))
        plant.start = pace.start = clock.now()  # an OPC UA server takes a second or two until it is there
        async with flushed(plant.ledger):
            yield plant


def _shared(configuration: Configuration) -> list[list[str]]:
    """Connections in groups that lead to the same place, which one server has to answer for."""
    groups: dict[object, list[str]] = {}
    for name, connection in configuration.connections.items():
        endpoint = (connection.protocol, getattr(connection, "host", None), getattr(connection, "port", None))
        groups.setdefault(name if endpoint[2] is None else endpoint, []).append(name)
    return list(groups.values())


async def _serve(context: Context) -> Server:
    port = context.port if context.port is not None else _port(context.connection)
    with asked_for(f"connections.{context.name}", context.host, port, "choose others with --port-base"):
        server: Server = await family_of(context.connection.protocol).serve(context)
        return server


def family_of(protocol: str) -> Any:
    """The package that has the server side of a protocol. Raises NotSimulatedError where there is none."""
    family = protocol.partition("-")[0]
    module = f"simulators.{family}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name != module:
            raise
        raise NotSimulatedError(f"there is no simulator for {family}") from exc


@contextmanager
def asked_for(name: str, host: str, port: int | None, hint: str) -> Iterator[None]:
    """Say of a port that cannot be had why, and what to do: a GatewayError instead of the OSError."""
    try:
        yield
    except OSError as exc:
        why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is only for root"}.get(exc.errno or 0, f"fails: {exc}")
        which = f"port {port}" if port else "its port"
        raise GatewayError(f"{name}: {which} on {host} {why}; {hint}") from exc


@asynccontextmanager
async def flushed(ledger: Ledger) -> AsyncIterator[None]:
    """What it holds is handed to the operating system every second, and at the end."""

    async def keep_flushing() -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            ledger.flush()

    flushing = asyncio.create_task(keep_flushing(), name="flush[ledger]")
    try:
        yield
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        ledger.flush()


def _port(connection: ConnectionSettings) -> int | None:
    return cast("int | None", getattr(connection, "port", None) or urlsplit(getattr(connection, "url", "")).port)


def _redirected(connection: ConnectionSettings, address: Mapping[str, object]) -> ConnectionSettings:
    """A connection that leads to this machine instead."""
    known = type(connection).model_fields
    return connection.model_copy(update={key: value for key, value in address.items() if key in known})
