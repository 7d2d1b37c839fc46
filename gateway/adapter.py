"""The contract an adapter fulfils, and what the runtime promises it.

A folder in `adapters/` is a plugin: its `__init__.py` has

    PROTOCOLS: Sequence[gateway.config.Protocol]             what it speaks, and the models of its configuration
    def build(context: Context) -> Adapter                   imports its heavy library here, not before
    def plan(context: Context) -> Forecast                   what it would ask for, worked out without a network
    def forget(context: Context, machine: str | None)        drop what was learnt of a machine, or of all: their names

and, where a table of a manual can become a profile (`gateway profiles new --from-csv`),

    def profile_from_table(file, sheet, said)                its keys, its signals, and notes about what was left out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway import config
from gateway.clock import Clock
from gateway.counters import FlowCounters
from gateway.model import Batch, Gap, Header, MachinePath, Value


class Tap(Protocol):
    """What an adapter tells of all that passes on its connection, for a recording. Quick, and it never fails.

    For Modbus the bytes as they stand on the wire; for OPC UA the services of the session, see gateway/recording/README.md.
    """

    def opened(self) -> None:
        """The machine was reached."""

    def failed(self, why: str) -> None:
        """It was not."""

    def closed(self, why: str = "") -> None:
        """After `opened`; `why` is empty where the adapter closed it itself. More than once means the same as once."""

    def sent(self, data: bytes, ref: int = 0) -> None:
        """`ref` tells what belongs together where the bytes do not."""

    def received(self, data: bytes, ref: int = 0) -> None:
        """What came back."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an adapter is made from: one connection and the machines behind it."""

    name: str  # of the connection
    connection: config.ConnectionSettings
    machines: Mapping[MachinePath, config.MachineSettings]  # in the order they were written
    clock: Clock
    counters: FlowCounters
    data_dir: Path  # what it wants to remember goes into data_dir/<name of the plugin>/
    gateway_id: str
    folder: Path = Path()  # where relative paths in the configuration start
    tap: Tap | None = None  # to be told of all that passes


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request of a plan, for people."""

    machine: str
    period: float  # seconds between two of them; 0 for a subscription
    what: str  # for example "input 0–79" or "subscription"
    signals: int
    size: int  # registers, bits or monitored items asked for
    unused: int  # of those, not needed by any signal
    bytes: int  # request and answer together
    seconds: float = 0.0  # how long the link is taken by it, pause included; 0: not known
    bits: bool = False  # `size` counts bits, not registers or items


@dataclass(frozen=True, slots=True)
class LatePoll:
    """Signals that will not be read as often as asked."""

    machine: str
    period: float  # seconds, as asked
    reached: float  # seconds, as it will be
    signals: Sequence[str]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a connection will be asked for, for people."""

    requests: Sequence[PlannedRequest]
    busy: float = 0.0  # share of the time the link is taken; above 1 not all can be kept; 0: not known
    late: Sequence[LatePoll] = ()
    learnt: Sequence[tuple[str, str]] = ()  # machine, and what was found out about it
    assumed: str = ""  # what the times rest on


@dataclass(frozen=True, slots=True)
class Command:
    """A write that a person allowed."""

    machine: str
    signal: str
    value: Value


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a command: done, or why not."""

    ok: bool
    message: str = ""
    read_back: Value = None


class Adapter(Protocol):
    """One object per connection, which serves all machines behind it: a serial line has one owner.

    The runtime calls `connect`, then `read` over and over, from one task. It never cancels a request under way
    except to end the process, and then calls `close`.
    """

    @property
    def headers(self) -> Sequence[Header]:
        """One per machine, in the order of the configuration. May be replaced by connect(), when types are learnt."""

    async def connect(self) -> None:
        """Called again with growing, jittered pauses until it returns. Raises NotConnectedError."""

    async def read(self) -> Sequence[Batch | Gap]:
        """Waits until something is due or has arrived, and returns it: at most one batch per machine and poll.

        A batch that is `historical` and a gap come in addition, as they are found.
        A machine that does not answer behind a link that works is a batch of bad quality. After NotConnectedError,
        connect() is called next.
        """

    async def write(self, command: Command) -> WriteResult:
        """Only called for signals whose configuration allows it."""

    async def close(self) -> Sequence[Batch | Gap]:
        """Safe to call twice, and after a connect() that failed. Leaves nothing open on the other side.

        What was found and not returned by read() yet, of which gaps and historical batches are handed on.
        """


class Plugin(Protocol):
    """What the package of an adapter offers."""

    PROTOCOLS: Sequence[config.Protocol]

    def build(self, context: Context) -> Adapter:
        """Make the adapter of one connection. Touches no network. Raises PartMissingError."""

    def plan(self, context: Context) -> Forecast:
        """What will be asked for, without asking."""

    def forget(self, context: Context, machine: str | None) -> Sequence[str]:
        """Drop what was learnt of one machine, or of all; the names of those of which there was something."""
