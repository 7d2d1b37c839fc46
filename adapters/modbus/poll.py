"""What is read together: blocks, how each is read, and how their answers become one batch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import is_

from adapters.modbus.decode import Columns, Layout
from adapters.modbus.learnt import Learnt
from adapters.modbus.link import Answer, Request
from adapters.modbus.plan import Block, Limits, PollPlan
from adapters.modbus.signals import Table
from gateway.counters import MachineCounters
from gateway.model import (
    CONFIG_ERROR,
    DEVICE_FAILURE,
    GOOD,
    ILLEGAL_ADDRESS,
    INVALID_DATA,
    NO_COMMUNICATION,
    Batch,
    Header,
    Value,
)
from gateway.schedule import Backoff

MOVED = 0x100  # no exception code, of which none is that large: what was read is no longer the model it was

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
    MOVED: INVALID_DATA,
}
NO_SUCH = 2
REFUSED = (1, 2, 3)  # for good, as far as one can tell
DIVIDED = (2, 3)  # which a part of the block may not be
NO_ANSWER = 11  # what our own timeout amounts to


@dataclass(slots=True)
class Machine:
    """A unit behind the link."""

    header: Header
    learnt: Learnt
    limits: Limits
    counters: MachineCounters
    place: Mapping[str, int]  # of a signal in the header
    backoff: Backoff = field(default_factory=Backoff)
    asleep_until: float = 0.0  # it did not answer, and is left alone until then
    lost: bool = False
    lived: bool = False  # it has answered since it was last tried in vain: a lost answer is no sign of death
    told: set[str] = field(default_factory=set)  # signals whose refusal was logged
    plan_again: bool = False  # something was learnt
    longest: dict[Table, int] = field(default_factory=dict)  # answered at once, as far as it was looked at
    # What it refuses is asked for again on a slow clock:
    patience: Backoff = field(default_factory=lambda: Backoff(10.0, 3600.0))
    again_at: float | None = None
    # Of SunSpec:
    has_models: bool = False  # signals of it are in models
    lacks_models: bool = False  # and the device has not all of those
    astray: bool = False  # its models have to be looked for
    look_at: float = 0.0  # not before then
    moved: bool = False  # what was read of one did not come with its ID and length
    vain_until: float = 0.0  # for which looking was in vain; not again before then
    search: Backoff = field(default_factory=Backoff)


@dataclass(slots=True)
class Part:
    """A block, how it is read, and what it brought last."""

    block: Block
    request: Request
    layout: Layout
    refusal: int = 0  # the exception code by which the device refuses it; then it is not asked for
    columns: Columns = ((), None)
    time: int = 0

    @classmethod
    def of(cls, unit: int, block: Block, refusal: int = 0) -> Part:
        return cls(block, Request(unit, block.table, block.address, block.count), Layout(block), refusal)

    def take(self, answer: Answer, now: int) -> None:
        """What was answered; `now` where nothing was."""
        self.time = answer.time or now
        if answer.data is not None:
            self.columns = self.layout.decode(answer.data)
        else:
            self.fail(answer.code or NO_ANSWER)

    def fail(self, code: int) -> None:
        """What stands for the values after an exception code."""
        n = len(self.block.signals)
        self.columns = (None,) * n, (_QUALITIES.get(code, DEVICE_FAILURE),) * n


@dataclass(slots=True)
class Poll:
    """The blocks of one machine at one rate."""

    machine: Machine
    period: float
    parts: list[Part] = field(default_factory=list)
    start: int = 0  # the part that is asked for first
    took: float = 0.0  # seconds, the last time
    signal: tuple[int, ...] = ()  # header.order itself where it is all signals of the machine
    _last: list[tuple[Value, ...]] = field(default_factory=list)  # values per part
    _values: tuple[Value, ...] = ()  # of all parts together

    def set_parts(self, parts: Iterable[Part]) -> None:
        """Other blocks for the same signals."""
        self.parts = list(parts)
        places, order = self.machine.place, self.machine.header.order
        signal = tuple(places[name] for part in self.parts for name in part.block.names)
        if signal != self.signal:
            self.signal = order if signal == order else signal

    def batch(self) -> Batch:
        """One batch of all parts. Where nothing has changed, the values are the same tuple as last time."""
        columns = [part.columns for part in self.parts]
        values = [column for column, _ in columns]
        if len(values) != len(self._last) or not all(map(is_, values, self._last)):
            self._last = values
            self._values = values[0] if len(values) == 1 else tuple(chain.from_iterable(values))
        counts = [len(column) for column in values]
        time = tuple(chain.from_iterable([(part.time,) * n for part, n in zip(self.parts, counts, strict=True)]))
        quality = None
        if any(q is not None for _, q in columns):
            quality = tuple(chain.from_iterable(q or (GOOD,) * n for (_, q), n in zip(columns, counts, strict=True)))
        return Batch(self.machine.header, self.signal, time, self._values, quality)


def parts_of(machine: Machine, planned: PollPlan) -> list[Part]:
    """One part per block, those that are known to be refused marked; and one for what cannot be asked for."""
    unit, refused = machine.learnt.unit_id, machine.learnt.refused
    parts = [
        Part.of(unit, block, refused.get((block.table, block.address, block.count), 0)) for block in planned.blocks
    ]
    if planned.absent:
        names, signals = zip(*planned.absent, strict=True)
        why = NO_SUCH if machine.learnt.chain else NO_ANSWER
        parts.append(Part.of(unit, Block("holding", 0, 0, names, signals), why))
    return parts
