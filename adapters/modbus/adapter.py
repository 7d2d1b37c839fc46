"""Reads the machines behind one Modbus connection, in turn.

    ticks ─▶ due ─▶ one poll: its blocks, one request after the other ─▶ one batch

What goes wrong stays where it is. A block that the device refuses is divided until the culprit stands alone, and only
that is bad. A unit that keeps silent is bad and left alone for a growing while, so that its timeouts do not hold up the
others behind the same address. Only when the link cannot be opened, or breaks again and again, is the connection given
up with NotConnectedError.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import chain

from adapters.modbus.client import ModbusClient, NoAnswerError
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.plan import Block, Limits, polls
from adapters.modbus.poll import NO_ANSWER, REFUSED, SILENT, Machine, Poll
from gateway.adapter import Command, Context, WriteResult
from gateway.counters import MachineCounters
from gateway.errors import NotConnectedError
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.schedule import Ticks

log = logging.getLogger(__name__)

_BREAKS = 3  # one after the other, until the link counts as down
_LONGEST_WAIT = 3600.0  # seconds


class ModbusAdapter:
    """One Modbus TCP connection with the machines behind it."""

    def __init__(self, context: Context) -> None:
        settings = context.connection
        assert isinstance(settings, ModbusTcp)
        self._clock = context.clock
        self._quirks = settings.quirks
        self._client = ModbusClient(settings.host, settings.port, settings.timeout)
        self._machines: list[Machine] = []
        self._polls: list[Poll] = []
        for path, machine in context.machines.items():
            assert isinstance(machine, ModbusMachine)
            self._add(path, machine, Limits.of(settings, machine), context.counters.of(path.machine))
        self._ticks = Ticks([], 0.0)
        self._due: deque[int] = deque()
        self._answered = 0.0  # when the last answer came
        self._breaks = 0
        self._trouble = ""  # the last one
        self._lost_by: Machine | None = None
        self._closed = True

    def _add(self, path: MachinePath, settings: ModbusMachine, limits: Limits, counters: MachineCounters) -> None:
        """The signals of a machine stand in its header in the order in which they are read."""
        planned = polls(settings, limits)
        names = [[name for block in poll.blocks for name in block.names] for poll in planned]
        signals = tuple(Signal(name, settings.signals[name].value_type) for name in chain.from_iterable(names))
        machine = Machine(Header(path, signals), settings.unit_id, limits.pause, counters)
        self._machines.append(machine)
        order, first = machine.header.order, 0
        for poll, mine in zip(planned, names, strict=True):
            signal = order if len(mine) == len(order) else order[first : first + len(mine)]
            self._polls.append(Poll(machine, poll.period, signal, poll.blocks))
            first += len(mine)

    @property
    def headers(self) -> Sequence[Header]:
        """One per machine."""
        return [machine.header for machine in self._machines]

    async def connect(self) -> None:
        """Open the link; everything is due at once. Raises NotConnectedError."""
        self._closed, self._breaks, self._lost_by = False, 0, None
        self._due.clear()
        await self._open()
        self._ticks = Ticks([poll.period for poll in self._polls], self._clock.monotonic())
        for poll in self._polls:
            poll.plan_again()
            poll.patience.reset()
        for machine in self._machines:
            machine.asleep_until = 0.0

    async def read(self) -> Sequence[Batch]:
        """The next poll that is due, when it is due. Raises NotConnectedError."""
        while not self._due:
            if (wait := self._ticks.next() - self._clock.monotonic()) > 0:
                await asyncio.sleep(min(wait, _LONGEST_WAIT))
            self._take_due()
        return [await self._read(self._polls[self._due.popleft()])]

    async def write(self, command: Command) -> WriteResult:
        """Not yet."""
        return WriteResult(False, f"{command.machine}/{command.signal}: writing is not enabled")

    async def close(self) -> None:
        """Close the link for good, until connect()."""
        self._closed = True
        self._client.close()
        await asyncio.sleep(0)  # the socket is closed by the loop

    # --- one poll ----------------------------------------------------------------------------------------------------

    def _take_due(self) -> None:
        before = list(self._ticks.missed)
        for i in self._ticks.due(self._clock.monotonic()):
            self._due.append(i)
            self._polls[i].machine.counters.overruns += self._ticks.missed[i] - before[i]

    async def _read(self, poll: Poll) -> Batch:
        """Ask for block after block. Once the unit is silent or the link broken, the rest is bad without asking."""
        machine, now = poll.machine, self._clock.monotonic()
        if poll.plan_again_at is not None and now >= poll.plan_again_at:
            poll.plan_again()
        awake = now >= machine.asleep_until
        if awake and not self._client.connected:
            await self._reopen(machine)
        todo, done = deque(poll.parts), []
        columns, times = [], []
        while todo:
            part = todo.popleft()
            answer = part.refusal or (await self._ask(machine, part.block) if awake else NO_ANSWER)
            if isinstance(answer, bytes):
                columns.append(part.layout.decode(answer))
            elif answer in REFUSED and (halves := part.halves()):
                todo.extendleft(reversed(halves))
                continue
            else:
                columns.append(part.bad(answer))
                awake = awake and answer not in SILENT
                if answer in REFUSED and not part.refusal:
                    part.refusal = answer
                    self._refused(poll, part.block, answer)
            times.append(self._clock.now())
            done.append(part)
        poll.parts = done
        if self._quirks.close_after_poll:
            self._client.close()
        return poll.batch(columns, times)

    async def _ask(self, machine: Machine, block: Block) -> bytes | int:
        """One request: the data of its answer, or an exception code; NO_ANSWER where nothing came."""
        if machine.pause and (rest := self._answered + machine.pause - self._clock.monotonic()) > 0:
            await asyncio.sleep(rest)
        machine.counters.requests += 1
        try:
            answer = await self._client.read(machine.unit, block.table, block.address, block.count)
        except NotConnectedError as exc:
            self._breaks += not isinstance(exc, NoAnswerError)
            self._lost_by = machine
            self._lose(machine, str(exc))
            return NO_ANSWER
        if machine.pause:
            self._answered = self._clock.monotonic()
        self._breaks = 0
        if answer in SILENT:
            text = f"{self._client.name}: the bridge cannot reach unit {machine.unit} (exception {answer})"
            self._lose(machine, f"{text}; check `unit_id` and the line behind the bridge")
            return answer
        if isinstance(answer, int):
            machine.counters.failures += 1
        if machine.lost:
            log.info("%s: answers again", machine.header.path.machine)
            machine.lost = False
            machine.backoff.reset()
        return answer

    async def _open(self) -> None:
        if self._closed:
            raise NotConnectedError(f"{self._client.name}: closed")
        if self._breaks >= _BREAKS:
            raise NotConnectedError(self._trouble)
        await self._client.open()
        if self._quirks.pause_after_connect:
            await asyncio.sleep(self._quirks.pause_after_connect)

    async def _reopen(self, machine: Machine) -> None:
        """Within a poll: after a timeout, a wrong answer, or when the other side hung up meanwhile."""
        await self._open()
        if not self._quirks.close_after_poll:
            (self._lost_by or machine).counters.reconnects += 1
        self._lost_by = None

    # --- trouble -----------------------------------------------------------------------------------------------------

    def _lose(self, machine: Machine, trouble: str) -> None:
        """No answer: let the machine rest, longer each time, so that it costs the others one timeout a rest at most."""
        machine.counters.failures += 1
        machine.asleep_until = self._clock.monotonic() + machine.backoff.pause()
        self._trouble = trouble
        if not machine.lost:
            log.warning("%s: %s", machine.header.path.machine, trouble)
            machine.lost = True

    def _refused(self, poll: Poll, block: Block, code: int) -> None:
        """The device has no such address, or not now: it is tried again later, less and less often."""
        if poll.plan_again_at is None:
            poll.plan_again_at = self._clock.monotonic() + poll.patience.pause()
        name, told = block.names[0], poll.machine.told
        if name in told:
            return
        told.add(name)
        text = f"the device refuses {block} (exception {code}): check address, `type` and `unit_id`"
        base = {"holding": 40001, "input": 30001}.get(block.table, 10001)
        if base <= block.address < base + 9999:
            text += f"; if its manual calls the first one {base}, write '{block.table}: {block.address - base}'"
        log.warning("%s/%s: %s", poll.machine.header.path.machine, name, text)
