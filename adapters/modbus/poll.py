"""What is read together: blocks, how each is read, and how their answers become one batch. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import is_

from adapters.modbus.decode import Columns, Layout
from adapters.modbus.plan import Block, split
from gateway.counters import MachineCounters
from gateway.model import (
    CONFIG_ERROR,
    DEVICE_FAILURE,
    GOOD,
    ILLEGAL_ADDRESS,
    NO_COMMUNICATION,
    Batch,
    Header,
    Value,
)
from gateway.schedule import Backoff

# Exception codes: Modbus Application Protocol V1.1b3, 7.
_QUALITIES: Mapping[int, int] = {
    1: CONFIG_ERROR,  # illegal function: it has no such table at all
    2: ILLEGAL_ADDRESS,
    3: CONFIG_ERROR,  # illegal value: of a read, the number of registers; see `max_registers`
    4: DEVICE_FAILURE,
    5: NO_COMMUNICATION,  # acknowledge: it needs longer, and has no value now
    6: NO_COMMUNICATION,  # busy
    8: DEVICE_FAILURE,  # memory parity error
    10: NO_COMMUNICATION,  # bridge: no path to the unit
    11: NO_COMMUNICATION,  # bridge: the unit does not answer
}
REFUSED = (2, 3)  # which a part of the block may not be
SILENT = (10, 11)  # a bridge waited for the unit in vain: as costly as a timeout
NO_ANSWER = 11  # what our own timeout amounts to


@dataclass(slots=True)
class Machine:
    """A unit behind the link."""

    header: Header
    unit: int
    pause: float  # seconds between an answer and the next request
    counters: MachineCounters
    backoff: Backoff = field(default_factory=Backoff)
    asleep_until: float = 0.0  # it did not answer, and is left alone until then
    lost: bool = False
    told: set[str] = field(default_factory=set)  # signals whose refusal was logged


@dataclass(slots=True)
class Part:
    """A block and how it is read. Once the device has refused it, with an exception code, it is not asked for."""

    block: Block
    layout: Layout
    refusal: int = 0

    @classmethod
    def of(cls, block: Block) -> Part:
        return cls(block, Layout(block))

    def halves(self) -> tuple[Part, ...]:
        """In place of a part that was refused; empty where it cannot be divided."""
        return tuple(map(Part.of, split(self.block))) if len(self.block.signals) > 1 else ()

    def bad(self, code: int) -> Columns:
        """What stands for the values after an exception code."""
        n = len(self.block.signals)
        return (None,) * n, (_QUALITIES.get(code, DEVICE_FAILURE),) * n


@dataclass(slots=True)
class Poll:
    """The blocks of one machine at one rate."""

    machine: Machine
    period: float
    signal: tuple[int, ...]  # header.order itself where it is all signals of the machine
    planned: tuple[Block, ...]
    parts: list[Part] = field(default_factory=list)
    plan_again_at: float | None = None  # when what the device refused is tried once more
    patience: Backoff = field(default_factory=lambda: Backoff(10.0, 600.0))
    last: list[tuple[Value, ...]] = field(default_factory=list)  # values per part
    values: tuple[Value, ...] = ()  # of all parts together

    def plan_again(self) -> None:
        """Forget what the device refused."""
        self.parts = [Part.of(block) for block in self.planned]
        self.plan_again_at = None

    def batch(self, columns: Sequence[Columns], times: Sequence[int]) -> Batch:
        """One batch of all parts. Where nothing has changed, the values are the same tuple as last time."""
        values = [column for column, _ in columns]
        if len(values) != len(self.last) or not all(map(is_, values, self.last)):
            self.last = values
            self.values = values[0] if len(values) == 1 else tuple(chain.from_iterable(values))
        counts = [len(column) for column in values]
        time = tuple(chain.from_iterable((at,) * n for at, n in zip(times, counts, strict=True)))
        quality = None
        if any(q is not None for _, q in columns):
            quality = tuple(chain.from_iterable(q or (GOOD,) * n for (_, q), n in zip(columns, counts, strict=True)))
        return Batch(self.machine.header, self.signal, time, self.values, quality)
