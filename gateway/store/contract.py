"""The contract of a store: what the writer hands over, and what it may rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.model import MachinePath, Value
from gateway.mqtt.payload import Data, Loss, Meta, Ranges

Origin = tuple[str, str]
"""A gateway and one of its epochs: within them, sequence numbers are unique."""


@dataclass(frozen=True, slots=True)
class Readings:
    """A `data` message of one machine, and the same as it came."""

    path: MachinePath
    data: Data
    payload: bytes

    @property
    def count(self) -> int:
        """How many readings it holds."""
        return sum(len(f.values) + len(f.quality.keys() - f.values.keys()) for f in self.data.frames)


@dataclass(frozen=True, slots=True)
class Lost:
    """A loss record, which is a message with an identity (gateway, epoch, seq) of its own."""

    gateway: str
    seq: int
    loss: Loss


Entry = Readings | Lost | Meta


@dataclass(slots=True)
class Columns:
    """Readings of one signal, ascending in time, one for each time."""

    time: list[int] = field(default_factory=list)  # ns since 1970, UTC
    value: list[Value] = field(default_factory=list)  # None where the quality is bad
    quality: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.time)


class Store(Protocol):
    """A store as the writer uses it. All calls come from one thread at a time, and not from the event loop."""

    @property
    def remembers(self) -> bool:
        """True if `stored` survives a restart; else the writer's own retained acknowledgement is all there is."""

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        """Take all of it, safe from a power cut, before returning; taking something a second time changes nothing.

        Returns what it will never take: kept in its dead-letter file and recorded as lost, so that it counts as dealt
        with. Raises StoreError when it cannot take the batch now; the writer comes again with the same or more.
        """

    def stored(self) -> Mapping[Origin, Ranges]:
        """What it knows to have from before, in the order in which the epochs were first seen."""

    def tidy(self) -> bool:
        """A bounded piece of house-keeping; True if there is more to do. Raises StoreError."""

    def close(self) -> None:
        """Safe to call twice."""


class Reader(Protocol):
    """A store as those who ask use it."""

    def query(self, machine: str, signal: str, start: int, end: int, points: int | None = None) -> Columns:
        """The readings from `start` to `end` (ns, both included), bad ones too; at most `points` real ones of them.

        `machine` is a name, or a path like acme/hanoi/L1/press-07 where the name is not unique. Raises StoreError.
        """

    def close(self) -> None:
        """Safe to call twice."""
