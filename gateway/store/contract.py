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
    def origin(self) -> Origin:
        """Where its seq counts."""
        return self.data.gateway, self.data.epoch

    @property
    def count(self) -> int:
        """How many readings it holds."""
        count = 0
        for frame in self.data.frames:
            count += len(frame.values)
            if frame.quality:
                count += len(frame.quality.keys() - frame.values.keys())
        return count


@dataclass(frozen=True, slots=True)
class Lost:
    """A loss record, which is a message with an identity (gateway, epoch, seq) of its own."""

    gateway: str
    seq: int
    loss: Loss
    epoch: str = ""  # in which `seq` counts, if that is not the epoch of what was lost

    @property
    def origin(self) -> Origin:
        """Where its seq counts."""
        return self.gateway, self.epoch or self.loss.epoch


Entry = Readings | Lost | Meta


@dataclass(frozen=True, slots=True)
class Stretch:
    """Messages of one epoch without a gap between them, as a store has them."""

    gateway: str
    epoch: str
    first: int
    last: int
    readings: int | None  # None: not known, from before they were counted; the times then only bound it
    start: int  # ns since 1970: its oldest reading; without any, when it was stored
    end: int  # ns since 1970: its newest reading


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

    @property
    def settles(self) -> float:
        """Seconds for which it may lose what `write` took, if it is killed; 0: nothing that returned can be lost.

        If not 0, gateways learn what `settled` gives, no more. Known after the first `write`.
        """

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        """Take all of it before returning, safe from a power cut or as safe as `settles` says; twice is once.

        Returns what it will never take: kept in its dead-letter file and recorded as lost, so that it counts as dealt
        with. Raises StoreError when it cannot take the batch now; the writer comes again with the same or more.
        """

    def stored(self) -> Mapping[Origin, Ranges]:
        """What it knows to have, safely, in the order in which the epochs were first seen."""

    def settled(self) -> Mapping[Origin, Ranges]:
        """What has become safe since this was last asked; asked about every second where `settles` is not 0.

        What an interruption has taken away was written again, and its time starts anew. Raises StoreError while that
        cannot be found out. What is never told here has to come again from its gateway.
        """

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
