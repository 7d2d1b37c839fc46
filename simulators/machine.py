"""What a simulated machine is: something that knows the value of each of its signals at any time.

    YAML ─▶ SimulatedMachine ─ value_at(signal, t) ─▶ simulators/<protocol>: encoded by the protocol's own library
                                                            └─▶ Ledger: what was served, and when

A folder in `simulators/` is the server side of the adapter of the same name: its `__init__.py` has
`async def serve(context: Context) -> Server`, and imports its heavy library inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.clock import Clock
from gateway.config import ConnectionSettings, MachineSettings
from gateway.errors import GatewayError
from gateway.model import MachinePath, Value
from simulators.ledger import Ledger
from simulators.waves import Wave


class NotSimulatedError(GatewayError):
    """There is no simulator for this connection; the text says why."""


class Told(NamedTuple):
    """What a machine itself says about a signal, where the configuration leaves that to it (`from-server`)."""

    unit: str = ""  # UCUM
    range: tuple[float, float] | None = None
    states: tuple[str, ...] = ()  # the texts of 0, 1, 2 …


NOTHING_TOLD = Told()


@dataclass(frozen=True, slots=True)
class SimulatedMachine:
    """A machine of the configuration, with a wave for each of its signals."""

    path: MachinePath
    settings: MachineSettings
    waves: Mapping[str, Wave]
    told: Mapping[str, Told] = field(default_factory=dict)  # by signal

    def value_at(self, signal: str, t: float) -> Value:
        """The engineering value `t` seconds after the start: before it is rounded to what the wire can carry."""
        return self.waves[signal](t)


class TlsFiles(NamedTuple):
    """What servers with TLS show their clients. With a CA, clients have to show a certificate of it."""

    cert: Path
    key: Path
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a server is made from: one connection of the configuration and the machines behind it."""

    name: str  # of the connection
    connection: ConnectionSettings
    machines: Sequence[SimulatedMachine]
    ledger: Ledger
    clock: Clock
    start: int  # ns since 1970: t = 0 of the waves
    host: str = "127.0.0.1"
    port: int | None = None  # instead of the port of the configuration; 0: any free one
    tls: TlsFiles | None = None  # None: a throw-away certificate
    keep: Path | None = None  # where what should be the same at the next start is kept; None: nowhere
    left_out: dict[str, str] = field(default_factory=dict)  # machine/signal -> why it is not served; filled by `serve`


class Server(Protocol):
    """A running server. It was started by `serve` and answers until it is stopped."""

    @property
    def port(self) -> int | None:
        """None where it is reached by something else."""

    @property
    def address(self) -> Mapping[str, object]:
        """The settings of a connection that lead here; those a connection does not have are of no use to it."""

    @property
    def place(self) -> str:
        """The same for people."""

    async def stop(self) -> None:
        """Close everything. Safe to call twice."""
