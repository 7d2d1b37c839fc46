"""What a simulated machine is: something that knows the value of each of its signals at any time.

    YAML ─▶ SimulatedMachine ─ value_at(signal, t) ─▶ simulators/<protocol>: encoded by the protocol's own library
                                                            └─▶ Ledger: what was served, and when

A folder in `simulators/` is the server side of the adapter of the same name: its `__init__.py` has
`async def serve(context: Context) -> Server`, and imports its heavy library inside. What plays a recording back is
`async def serve_recording(replaying: Replaying) -> Server` there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from gateway.clock import Clock
from gateway.config import Configuration, ConnectionSettings, MachineSettings
from gateway.errors import GatewayError
from gateway.model import MachinePath, Value
from gateway.recording import Entry, Head
from simulators.behaviour.waves import Wave
from simulators.ledger import Ledger

if TYPE_CHECKING:  # what stands there is made from what stands here
    from simulators.behaviour.happenings import Happenings


# What listens on all addresses, and one of them; asyncio takes "::" for those of IPv6 alone.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def reached_at(host: str) -> str:
    """Where a client on this computer reaches a server that listens on `host`."""
    return _ANY.get(host, host)


def netloc(host: str, port: int) -> str:
    """As it stands in a URL: RFC 3986, 3.2.2."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


@dataclass(slots=True)
class Pace:
    """The time that waves, programmes and faults go by. Stamps, the ledger and answers go by the clock alone."""

    start: int | None  # ns since 1970; None: not begun yet
    speed: float = 1.0  # seconds of it in a second
    ahead: float = 0.0  # what it is at the start

    def seconds(self, now: int) -> float:
        """Its time, when the clock shows this. Before it has begun it stands: building servers takes a while."""
        return self.ahead if self.start is None else (now - self.start) / 1e9 * self.speed + self.ahead


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
    happenings: Happenings | None = None  # what goes wrong there
    time: Pace | None = None  # of all servers of the plant; None: from `start` on, as fast as the clock

    @property
    def pace(self) -> Pace:
        return self.time or Pace(self.start)


@dataclass(frozen=True, slots=True)
class Replaying:
    """What a server is made from that says once more what a machine said: a recording of one connection."""

    name: str  # of the server, for people
    head: Head
    entries: Iterable[Entry]  # in the order of their times; can be gone through more than once
    ledger: Ledger
    clock: Clock
    start: int  # ns since 1970, when the replay began
    configuration: Configuration | None = None  # what the machine's signals are, where that is known
    machines: Sequence[str] = ()  # those of the configuration that are behind the recorded connection
    host: str = "127.0.0.1"
    port: int | None = None  # None: where the recorded connection leads to; 0: any free one
    protocol: str | None = None  # instead of the recorded one
    speed: float = 1.0  # seconds of the recording in one of the replay
    loop: bool = False  # it begins again at its end; else the last values stay
    begin: float = 0.0  # seconds into the recording
    end: float | None = None  # the same; what lies behind it is not played; None: all of it
    ideal: bool = False  # without delays, and without what went wrong
    tls: TlsFiles | None = None  # as in Context
    keep: Path | None = None  # as in Context
    left_out: dict[str, str] = field(default_factory=dict)  # as in Context
    stamps: Literal["moved", "recorded"] = (
        "moved"  # time stamps of the machine's own: so that it runs now, or as they were
    )

    def at(self, now: int) -> int:
        """ns into the recording at this time (ns since 1970), counted on through all rounds of a loop."""
        return round((now - self.start) * self.speed) + round(self.begin * 1e9)


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
