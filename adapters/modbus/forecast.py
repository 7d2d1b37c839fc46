"""What a connection will be asked for, how long that takes, and what cannot be read as often as asked. Pure.

    plan ─▶ requests ─ bytes, characters, pauses ─▶ seconds each ─ the schedule in virtual time ─▶ who comes too late

How long a device thinks is not known before it is asked: ANSWER is assumed, and said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.modbus import learnt as notes
from adapters.modbus import sunspec
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusAscii, ModbusConnection, ModbusRtu, ModbusRtuOverTcp, ModbusTcp
from adapters.modbus.heads import heads_after
from adapters.modbus.learnt import Learnt
from adapters.modbus.plan import Block, Limits, PollPlan, polls
from adapters.modbus.signals import BIT_TABLES
from adapters.modbus.trouble import is_serial
from gateway.adapter import Context, Forecast, LatePoll, PlannedRequest
from gateway.schedule import Ticks

ANSWER = 0.010  # seconds a device on a serial line thinks
ROUND_TRIP = 0.002  # seconds there and back over a plant's network
_CHARACTER = 11  # bits of it, where only the speed is known: start, 8 data, parity or second stop, stop
_SHOWN = 200  # polls of the slowest rate that are played through, and
_MOST = 20_000  # polls at the most


@dataclass(frozen=True, slots=True)
class _Line:
    """What a request costs on a link."""

    before: int  # bytes of request and answer besides the data
    per_byte: int  # bytes on the wire for each byte of data
    character: float  # seconds for one of them; 0: a network
    fixed: float  # seconds, whatever is asked
    in_flight: int
    bridged: int = 0  # characters that a bridge leaves away on the serial line behind it

    @classmethod
    def of(cls, settings: ModbusConnection) -> _Line:
        in_flight = settings.max_in_flight if isinstance(settings, ModbusTcp) else 1
        network = 0.0 if is_serial(settings) else ROUND_TRIP
        if is_serial(settings):
            assert isinstance(settings, (ModbusRtu, ModbusAscii))
            character = settings.character
        else:
            baud = getattr(settings, "baud", None)
            character = _CHARACTER / baud if baud and not isinstance(settings, ModbusAscii) else 0.0
        # Request and answer, each with unit id, function code and what follows: 6 and 3 bytes.
        if isinstance(settings, ModbusAscii):  # in hexadecimal, with LRC; a colon before, CR LF behind
            return cls(2 * (3 + 2 * 1) + 2 * (6 + 3), 2, character, ANSWER + network, in_flight)
        if isinstance(settings, (ModbusRtu, ModbusRtuOverTcp)):  # with a CRC
            return cls(6 + 3 + 2 * 2, 1, character, ANSWER + network, in_flight)
        # A header of 6 bytes each; behind a bridge a CRC in its place
        return cls(6 + 3 + 2 * 6, 1, character, network + (ANSWER if character else 0.0), in_flight, 2 * (6 - 2))

    def bytes(self, block: Block) -> int:
        """Of request and answer together."""
        return self.before + self.per_byte * block.payload

    def seconds(self, block: Block, pause: float) -> float:
        """How long the link is taken."""
        return (self.bytes(block) - self.bridged) * self.character + self.fixed / self.in_flight + pause


def forecast(context: Context) -> Forecast:
    """What a connection will be asked for, with what was learnt about its devices."""
    settings = context.connection
    assert isinstance(settings, ModbusConnection)
    known = notes.load(notes.file_of(context.data_dir, context.name))
    line = _Line.of(settings)
    requests: list[PlannedRequest] = []
    planned: list[tuple[str, PollPlan, float]] = []
    learnt: list[tuple[str, str]] = []
    for path, machine in context.machines.items():
        assert isinstance(machine, ModbusMachine)
        found = known.get(path.machine)
        mine = found if found is not None and found.unit_id == machine.unit_id else Learnt(machine.unit_id)
        learnt += [(path.machine, text) for text in (*mine.lines(), *_models(machine, mine))]
        limits = Limits.of(settings, machine, mine)
        for poll in polls(machine, limits):
            blocks = [b for b in poll.blocks if (b.table, b.address, b.count) not in mine.refused]
            blocks += heads_after(blocks)
            costs = [line.seconds(block, limits.pause) for block in blocks]
            requests += [_row(path.machine, poll, block, line, cost) for block, cost in zip(blocks, costs, strict=True)]
            if blocks:
                planned.append((path.machine, PollPlan(poll.period, tuple(blocks)), sum(costs)))
    return Forecast(
        requests,
        busy=sum(cost / poll.period for _, poll, cost in planned),
        late=late(planned),
        learnt=learnt,
        assumed=_assumed(line),
    )


def _models(machine: ModbusMachine, mine: Learnt) -> list[str]:
    """What is to be known about its SunSpec models."""
    if mine.chain is not None:
        return sunspec.missing(machine.signals, mine.chain)
    if any(signal.sunspec for signal in machine.signals.values()):
        assumed = sunspec.Chain(sunspec.BASES[0], sunspec.usual(machine.signals))
        return [f"nothing yet about its SunSpec models; taken for where they usually are: model {assumed}"]
    return []


def _row(machine: str, poll: PollPlan, block: Block, line: _Line, seconds: float) -> PlannedRequest:
    used = {a for _, s in block.all for a in range(s.address, s.address + s.size)}
    return PlannedRequest(
        machine=machine,
        period=poll.period,
        what=str(block),
        signals=len(block.signals),
        size=block.count,
        unused=block.count - len(used),
        bytes=line.bytes(block),
        seconds=seconds,
        bits=block.table in BIT_TABLES,
    )


def _assumed(line: _Line) -> str:
    if line.character:
        return f"devices that answer after {ANSWER * 1000:g} ms, at {1 / line.character:.0f} characters a second"
    return f"answers after {ROUND_TRIP * 1000:g} ms"


def late(planned: Sequence[tuple[str, PollPlan, float]]) -> list[LatePoll]:
    """The polls that will not be read as often as asked: the schedule, played in virtual time."""
    if sum(cost / poll.period for _, poll, cost in planned) < 0.5 and all(c <= p.period for _, p, c in planned):
        return []
    periods = [poll.period for _, poll, _ in planned]
    ticks, now, end = Ticks(periods, 0.0), 0.0, _SHOWN * max(periods, default=0.0)
    due: deque[int] = deque()
    done = [0] * len(planned)
    for _ in range(_MOST):
        due += [i for i in ticks.due(now) if i not in due]
        if due:
            i = due.popleft()
            now += planned[i][2]
            done[i] += 1
        else:
            now = ticks.next()
        if now >= end:
            break
    found = []
    for (machine, poll, cost), times in zip(planned, done, strict=True):
        reached = max(now / times if times else now, cost)
        if reached > 1.02 * poll.period:
            names = [name for block in poll.blocks for name in block.names]
            found.append(LatePoll(machine, poll.period, reached, names))
    return found
