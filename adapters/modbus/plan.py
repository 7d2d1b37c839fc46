"""From signals to requests: as few as the limits of the device allow. Pure.

    address   0  1  2  3  4  5  6  7  8  9  …  40
    signal   [a---][b]      [c---]             [d]
    block    [a     b   ..   c   ]             [d]      a gap of at most `max_gap` is read along

Signals are taken by address. A block starts at the first signal that no block covers yet and takes every signal that
still ends within the limit, and before an obstacle (addresses that no block may hold: forbidden ones, and those the
device was found not to have): whatever block is to cover that first signal can start no later, and taking more never
makes the rest dearer. So the number of requests is the smallest there is. A value is never split.

Into a block with signals of a SunSpec model comes its head, too, where it is near: ID and length. Where it is not, it is
asked for by itself when the block has been read: see heads.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.modbus.config import MAX_GAP, DeviceQuirks, ModbusMachine
from adapters.modbus.connections import ModbusConnection
from adapters.modbus.learnt import Learnt
from adapters.modbus.signals import ADDRESSES, BIT_TABLES, MAX_BITS, MAX_REGISTERS, TABLES, ModbusSignal, Table
from adapters.modbus.sunspec import Model, PlacedSignal, head_of, place, usual
from gateway.shared import once_per_object

Obstacle = tuple[int, int]  # first and last address
Named = tuple[str, ModbusSignal]


@dataclass(frozen=True, slots=True)
class Block:
    """What one request brings: `count` registers or bits of a table, and the signals in them by address."""

    table: Table
    address: int
    count: int
    names: tuple[str, ...]
    signals: tuple[ModbusSignal, ...]
    heads: tuple[PlacedSignal, ...] = ()  # of SunSpec models: values that nobody gets

    def __str__(self) -> str:
        last = f"–{self.address + self.count - 1}" if self.count > 1 else ""
        return f"{self.table} {self.address}{last}"

    @property
    def all(self) -> list[Named]:
        """Names and signals, and heads without a name, by address."""
        named = [*zip(self.names, self.signals, strict=True), *(("", head) for head in self.heads)]
        return sorted(named, key=_place) if self.heads else named

    @property
    def single(self) -> bool:
        """Whether it cannot be divided."""
        return len(self.signals) + len(self.heads) < 2

    @property
    def payload(self) -> int:
        """How many bytes of data the answer has."""
        return (self.count + 7) // 8 if self.table in BIT_TABLES else 2 * self.count


@dataclass(frozen=True, slots=True)
class PollPlan:
    """The blocks of a machine that are read together, every `period` seconds."""

    period: float
    blocks: tuple[Block, ...]
    absent: tuple[Named, ...] = ()  # signals of models that the device has not, or nobody has found


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be asked of a device: the quirks of the machine, else of its connection, else of the protocol."""

    max_registers: int
    max_bits: int
    max_gap: int
    pause: float
    obstacles: tuple[tuple[Table, int, int], ...] = ()  # first and last address: none is to lie in a block as a whole
    forbidden: tuple[tuple[Table, int, int], ...] = ()
    models: tuple[Model, ...] | None = None  # of SunSpec, where they stand; None: where they usually do

    @classmethod
    def of(cls, connection: ModbusConnection, machine: ModbusMachine, learnt: Learnt | None = None) -> Limits:
        def limit(key: str, default: int) -> int:
            return next((n for quirks in both if (n := getattr(quirks, key)) is not None), default)

        both: tuple[DeviceQuirks, ...] = (machine.quirks, connection.quirks)
        pauses = (q.pause_between_requests for q in both if q.pause_between_requests is not None)
        limits = cls(
            max_registers=limit("max_registers", MAX_REGISTERS),
            max_bits=limit("max_bits", MAX_BITS),
            max_gap=limit("max_gap", MAX_GAP),
            pause=max(next(pauses, connection.gap), connection.least_gap),
            forbidden=tuple(machine.quirks.forbidden),
        )
        obstacles = {
            (table, at, at) for table, first, last in machine.quirks.forbidden for at in range(first, last + 1)
        }
        if learnt is not None:
            obstacles |= {(table, first, first + n - 1) for table, first, n in (*learnt.refused, *learnt.holes)}
            limits = replace(
                limits,
                max_registers=min(limits.max_registers, learnt.max_registers or MAX_REGISTERS),
                max_bits=min(limits.max_bits, learnt.max_bits or MAX_BITS),
                models=learnt.chain.models if learnt.chain is not None else None,
            )
        return replace(limits, obstacles=tuple(sorted(obstacles)))


def polls(machine: ModbusMachine, limits: Limits) -> list[PollPlan]:
    """All requests of a machine, by poll rate, fastest first."""
    return _polls(machine.signals, limits)


@once_per_object
def _polls(signals_by_name: Mapping[str, ModbusSignal], limits: Limits) -> list[PollPlan]:
    there, absent = _placed(signals_by_name, limits)
    groups: dict[tuple[float, Table], list[Named]] = {}
    for name, signal in there:
        groups.setdefault((signal.poll, signal.table), []).append((name, signal))
    found = []
    for period in sorted({signal.poll for _, signal in (*there, *absent)}):
        blocks: list[Block] = []
        for table in TABLES:
            signals = groups.get((period, table), [])
            obstacles = [(first, last) for of, first, last in limits.obstacles if of == table]
            if table in BIT_TABLES:
                blocks += make_blocks(signals, limits.max_bits, 16 * limits.max_gap, obstacles)
            else:
                blocks += make_blocks(signals, limits.max_registers, limits.max_gap, obstacles)
        blocks = [block for block in blocks if block.names]
        here = [each for each in absent if each[1].poll == period]
        found.append(PollPlan(period, tuple(blocks), tuple(here)))
    return found


def _placed(signals_by_name: Mapping[str, ModbusSignal], limits: Limits) -> tuple[list[Named], list[Named]]:
    """Signals at their addresses on the wire, with the heads of their models; and those the device does not have."""
    models = usual(signals_by_name) if limits.models is None else limits.models
    there: list[Named] = []
    absent: list[Named] = []
    heads: dict[tuple[Model, float], PlacedSignal] = {}
    for name, signal in signals_by_name.items():
        placed = place(signal, models) if signal.sunspec else signal
        if placed is None or (signal.sunspec and _is_forbidden(placed, limits)):
            absent.append((name, signal))
            continue
        there.append((name, placed))
        if isinstance(placed, PlacedSignal):
            heads[placed.within, signal.poll] = head_of(placed.within, signal.poll)
    return there + [("", head) for head in heads.values()], absent


def _is_forbidden(signal: ModbusSignal, limits: Limits) -> bool:
    end = signal.address + signal.size
    return any(of == signal.table and first < end and signal.address <= last for of, first, last in limits.forbidden)


def make_blocks(
    signals: Iterable[tuple[str, ModbusSignal]], limit: int, max_gap: int, obstacles: Sequence[Obstacle] = ()
) -> list[Block]:
    """The fewest blocks for signals of one table. A signal larger than `limit` gets a block of its own."""
    rest = sorted(signals, key=_place)
    begins, last_of_next = _ahead(obstacles)
    blocks = []
    while rest:
        taken, left = rest[:1], []
        start = rest[0][1].address
        end = start + rest[0][1].size
        obstacle = last_of_next[bisect_left(begins, start)]
        if obstacle < end:  # the value itself is refused: only what stands at the very same place shares its fate
            same = 1
            while same < len(rest) and (rest[same][1].address, rest[same][1].size) == (start, end - start):
                same += 1
            blocks.append(_block(rest[:same]))
            rest = rest[same:]
            continue
        most = min(start + limit, obstacle)
        for i, (name, signal) in enumerate(rest[1:], 1):
            if signal.address > end + max_gap or signal.address >= most:
                left += rest[i:]
                break
            if signal.address + signal.size <= max(most, end):
                taken.append((name, signal))
                end = max(end, signal.address + signal.size)
            else:
                left.append((name, signal))
        blocks.append(_block(taken))
        rest = left
    return blocks


def _ahead(obstacles: Sequence[Obstacle]) -> tuple[list[int], list[int]]:
    """Where obstacles begin, and for each of them the lowest last address of those that begin there or later."""
    last_of_next = [ADDRESSES]
    for _, last in sorted(obstacles, reverse=True):
        last_of_next.append(min(last, last_of_next[-1]))
    return sorted(first for first, _ in obstacles), last_of_next[::-1]


def split(block: Block) -> tuple[Block, Block]:
    """Two blocks in place of one that the device refuses: at its widest gap, where a register is most likely missing."""
    pairs = block.all
    ends = [pairs[0][1].address + pairs[0][1].size]
    for _, signal in pairs[1:]:
        ends.append(max(ends[-1], signal.address + signal.size))
    middle = len(pairs) / 2
    at = max(range(1, len(pairs)), key=lambda i: (max(0, pairs[i][1].address - ends[i - 1]), -abs(i - middle)))
    return _block(pairs[:at]), _block(pairs[at:])


def _place(each: Named) -> tuple[int, int]:
    return each[1].address, each[1].size


def _block(signals: Sequence[Named]) -> Block:
    first = signals[0][1].address
    end = max(signal.address + signal.size for _, signal in signals)
    named = [each for each in signals if each[0]]
    heads = tuple(signal for name, signal in signals if not name and isinstance(signal, PlacedSignal))
    names, settings = zip(*named, strict=True) if named else ((), ())
    return Block(signals[0][1].table, first, end - first, names, settings, heads)
