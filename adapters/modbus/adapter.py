"""Reads the machines behind one Modbus connection, in turn.

    ticks ─▶ due ─▶ one poll: its blocks, one request after the other ─▶ one batch

What goes wrong stays where it is. A block that the device refuses is divided until the culprit stands alone; only that
is bad, and what was found is remembered. A unit that keeps silent is bad and left alone for a growing while; it is tried
again when everybody else has been read, so that its timeouts do not hold up the others. Only when the link cannot be
opened, or breaks again and again, is the connection given up with NotConnectedError.

SunSpec models are looked for before the first poll of a machine, and again when what is read of one does not come with
its ID and length any more; such a poll is made once more (sunspec.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from zlib import crc32

from adapters.modbus import learnt as notes
from adapters.modbus import sunspec
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusConnection
from adapters.modbus.explore import ILLEGAL_ADDRESS, ILLEGAL_VALUE, explore
from adapters.modbus.heads import doubts, judged
from adapters.modbus.learnt import Learnt
from adapters.modbus.link import Answer, Request
from adapters.modbus.links import link_of
from adapters.modbus.plan import Block, Limits, PollPlan, polls
from adapters.modbus.poll import DIVIDED, NO_ANSWER, NO_SUCH, REFUSED, Machine, Part, Poll, parts_of
from adapters.modbus.signals import Table
from adapters.modbus.sunspec import HEAD, Model, PlacedSignal
from adapters.modbus.trouble import OF_EXCEPTION
from gateway.adapter import Command, Context, WriteResult
from gateway.errors import NotConnectedError
from gateway.faults import Reason, fault_of, tagged
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.schedule import Ticks
from gateway.shared import once_per_object

log = logging.getLogger(__name__)

_BREAKS = 3  # one after the other, until the link counts as down
_LONGEST_WAIT = 3600.0  # seconds
_PATIENCE = 3  # tries in vain, until a silent unit is asked for less
_SURE = 2  # times in a row that it is silent to the same question, and answers another
# Who is read in the same moment shares what it costs to wake up (half of it, with a hundred devices), and waits for the
# others: this many moments in a period are worth both.
_PHASES = 4
# Where a try at a silent unit costs others a poll, one of d seconds is followed by 29 d without one: a thirtieth of the
# time at the most is spent on who does not answer.
_SPARE = 29.0


class ModbusAdapter:
    """One Modbus link with the machines behind it."""

    def __init__(self, context: Context) -> None:
        settings = context.connection
        assert isinstance(settings, ModbusConnection)
        self._clock = context.clock
        self._settings, self._quirks = settings, settings.quirks
        self._link = link_of(settings, context.folder, context.clock.now, self._allowed, context.tap)
        self._file = notes.file_of(context.data_dir, context.name)
        self._unsaved = False
        self._phase = crc32(context.name.encode()) % _PHASES / _PHASES
        self._machines: list[Machine] = []
        self._polls: list[Poll] = []
        self._machine_settings: dict[str, ModbusMachine] = {}
        known = notes.load(self._file)
        for path, machine in context.machines.items():
            assert isinstance(machine, ModbusMachine)
            before = known.get(path.machine)
            mine = before if before and before.unit_id == machine.unit_id else Learnt(machine.unit_id)
            self._add(path, machine, mine, context)
        self._ticks = Ticks([], 0.0)
        self._due: deque[int] = deque()
        self._due_since: list[float] = []
        self._breaks = 0
        self._trouble = ""  # the last one
        self._lost_by: Machine | None = None
        self._closed = True
        self._no_try_until = 0.0

    def _add(self, path: MachinePath, settings: ModbusMachine, mine: Learnt, context: Context) -> None:
        """The signals of a machine stand in its header in the order in which they are read, if it has them all."""
        planned = polls(settings, Limits.of(self._settings, settings))
        signals, places = _signals(planned)
        limits = Limits.of(self._settings, settings, mine)
        machine = Machine(Header(path, signals), mine, limits, context.counters.of(path.machine), places)
        machine.has_models = any(signal.sunspec for signal in settings.signals.values())
        machine.astray = machine.has_models and mine.chain is None
        self._machines.append(machine)
        self._machine_settings[path.machine] = settings
        self._polls += [Poll(machine, poll.period) for poll in planned]
        self._plan(machine)

    def _plan(self, machine: Machine) -> None:
        """Anew, with what was learnt."""
        machine.plan_again = False
        settings = self._machine_settings[machine.header.path.machine]
        machine.limits = Limits.of(self._settings, settings, machine.learnt)
        if machine.has_models and machine.learnt.chain is None:
            machine.limits = replace(machine.limits, models=())  # where they usually are is nothing to read from
        mine, found = [poll for poll in self._polls if poll.machine is machine], polls(settings, machine.limits)
        for poll, planned in zip(mine, found, strict=True):
            poll.set_parts(parts_of(machine, planned))
        machine.lacks_models = any(planned.absent for planned in found)

    def _allowed(self, request: Request) -> bool:
        """Whether nothing of it is forbidden."""
        first, end = request.address, request.address + request.size
        mine = [machine for machine in self._machine_settings.values() if machine.unit_id == request.unit]
        ranges = [each for machine in mine for each in machine.quirks.forbidden]
        return not any(table == request.table and a < end and first <= b for table, a, b in ranges)

    @property
    def headers(self) -> Sequence[Header]:
        """One per machine."""
        return [machine.header for machine in self._machines]

    async def connect(self) -> None:
        """Open the link; everything is due at once. Raises NotConnectedError."""
        self._closed, self._breaks, self._lost_by = False, 0, None
        self._due.clear()
        await self._open()
        now = self._clock.monotonic()
        # Connections that were opened together do not all go on at the same moments.
        periods = [poll.period for poll in self._polls]
        self._due_since = [now] * len(periods)
        self._ticks = Ticks(periods, now - self._phase * min(periods, default=0.0))
        for machine in self._machines:
            machine.asleep_until = 0.0
            if machine.learnt.refused and machine.again_at is None:
                machine.again_at = now + machine.patience.pause()
            if machine.lacks_models and not machine.astray:
                machine.astray, machine.look_at = True, now + machine.patience.pause()

    async def read(self) -> Sequence[Batch]:
        """The next poll that is due, when it is due. Raises NotConnectedError."""
        while True:
            self._take_due()
            if (poll := self._next()) is not None:
                batch = await self._read(poll)
                if poll.machine.astray:
                    with suppress(NotConnectedError):  # which the next poll raises; what was read is read
                        if await self._look_for_models(poll):
                            batch = await self._read(poll)
                return [batch]
            if (wait := self._ticks.next() - self._clock.monotonic()) > 0:
                await asyncio.sleep(min(wait, _LONGEST_WAIT))

    async def write(self, command: Command) -> WriteResult:
        """Not yet."""
        return WriteResult(False, f"{command.machine}/{command.signal}: writing is not enabled")

    async def close(self) -> Sequence[Batch]:
        """Close the link for good, until connect()."""
        self._closed = True
        self._link.close()
        await asyncio.sleep(0)  # the socket is closed by the loop
        return ()

    # --- what is next ------------------------------------------------------------------------------------------------

    def _take_due(self) -> None:
        now = self._clock.monotonic()
        if self._ticks.next() > now:
            return
        before = list(self._ticks.missed)
        for i in self._ticks.due(now):
            machine, missed = self._polls[i].machine, self._ticks.missed[i] - before[i]
            machine.counters.overruns += missed
            if i in self._due:
                machine.counters.overruns += 1
            else:
                self._due.append(i)
                self._due_since[i] = now

    def _next(self) -> Poll | None:
        """Who costs a timeout comes last; but comes, on a line that is never idle, and has its part of the time."""
        if not self._due:
            return None
        now, long = self._clock.monotonic(), _SPARE * self._settings.timeout
        for i in self._due:
            machine = self._polls[i].machine
            awake = now - max(machine.asleep_until, self._due_since[i], self._no_try_until)
            if not machine.lost or machine.lived or now < machine.asleep_until or awake > long:
                self._due.remove(i)
                return self._polls[i]
        poll = self._polls[self._due.popleft()]
        if now < self._no_try_until:
            poll.machine.asleep_until = self._no_try_until
        return poll

    # --- one poll ----------------------------------------------------------------------------------------------------

    async def _read(self, poll: Poll) -> Batch:
        """Ask for block after block. Once the unit is silent or the link broken, the rest is bad without asking."""
        machine, now = poll.machine, self._clock.monotonic()
        again = machine.again_at is not None and now >= machine.again_at
        parts = poll.parts
        asked = [part for part in parts if not part.refusal or (again and part.block.count)]
        answers: Sequence[Answer] = ()
        little = None
        if now >= machine.asleep_until:
            if not self._link.connected:
                await self._reopen(machine)
            if machine.lost and machine.backoff.attempts >= _PATIENCE:
                if machine.has_models and not machine.backoff.attempts % 2:  # they may stand elsewhere by now
                    machine.astray, machine.look_at, asked = True, now, []
                else:
                    little = await self._answers_little(machine, asked)
            if self._link.connected:
                asked, answers = await self._ask_in_turn(poll, asked)
                if machine.has_models:
                    answers = await self._in_place(machine, [part.block for part in asked], answers)
        arrived = self._clock.now()
        done, shown = dict(zip(map(id, asked), answers, strict=False)), list[Part]()
        for part in parts:
            answer = done.get(id(part))
            if answer is None:
                part.take(Answer(code=part.refusal), arrived)
            elif answer.code in DIVIDED and not part.block.single:
                if not any(each.trouble for each in answers):
                    _measure(machine.longest, asked, answers)
                    shown += await self._explore(machine, part.block, answer.code)
                    machine.plan_again = True
                    continue
                part.take(Answer(code=NO_ANSWER), arrived)  # why, is asked when all is answered again
            elif little is not None and answer.unheard:
                shown += await self._explore(machine, part.block, ILLEGAL_VALUE, little=little)
                machine.plan_again = True
                continue
            else:
                part.take(answer, arrived)
                if answer.code in REFUSED or part.refusal:
                    self._note(machine, part, answer)
            shown.append(part)
        if again:
            machine.again_at = now + machine.patience.pause() if machine.learnt.refused else None
        if self._quirks.close_after_poll:
            self._link.close()
        poll.took = self._clock.monotonic() - now
        if machine.plan_again:
            poll.set_parts(shown)
        batch = poll.batch()
        if machine.plan_again:
            self._plan(machine)
        if self._unsaved:
            await self._save()
        return batch

    async def _ask_in_turn(self, poll: Poll, parts: list[Part]) -> tuple[list[Part], Sequence[Answer]]:
        """The parts in the order they were asked for, and their answers.

        One that is lost on a poor line costs itself alone: the others are asked all the same, once more in a poll. Next
        time it comes first: nobody is always the one behind.
        """
        machine, start = poll.machine, poll.start % max(1, len(parts))
        order = parts[start:] + parts[:start]
        answers = list(await self._ask(machine, [part.request for part in order]))
        lost = next((i for i, answer in enumerate(answers) if answer.lost), None)
        poll.start = 0 if lost is None else start + lost
        if not machine.lost and lost is not None and (rest := order[len(answers) :]):
            if not self._link.connected:
                await self._reopen(machine)
            answers += await self._ask(machine, [part.request for part in rest], lives=True)
        return order, answers

    async def _ask(self, machine: Machine, requests: Sequence[Request], lives: bool = False) -> Sequence[Answer]:
        """As many answers as came before trouble. `lives`: the unit has answered in this poll."""
        if not requests:
            return ()
        begin = self._clock.monotonic()
        answers = await self._link.exchange(requests, machine.limits.pause)
        counters = machine.counters
        counters.requests += len(answers)
        counters.failures += sum(answer.data is None for answer in answers)
        trouble = next((each for each in answers if each.lost), None)
        if any(not each.lost for each in answers):
            lives, machine.lived, self._breaks = True, True, 0
            if machine.lost:
                log.info("%s: answers again", machine.header.path.machine)
                machine.lost = False
                machine.asleep_until = 0.0
                machine.backoff.reset()
        if trouble is not None:
            if trouble.trouble:
                self._breaks += not trouble.silent
                self._lost_by, self._trouble = machine, trouble.trouble
            if not lives:
                self._lose(machine, trouble, begin)
        return answers

    async def _answers_little(self, machine: Machine, parts: Sequence[Part]) -> Request | None:
        """A single signal that a silent unit answers for, another one each time: some are silent where they should refuse."""
        singles = [single for part in parts for single in _singles(part.block)]
        if len(singles) < 2:
            return None
        one = Request(machine.learnt.unit_id, *singles[machine.backoff.attempts % len(singles)])
        return one if await self._answered(machine, one) else None

    async def _answered(self, machine: Machine, request: Request) -> bool:
        if not self._link.connected:
            await self._reopen(machine)
        [answer] = await self._ask(machine, [request])
        return not answer.lost

    async def _ask_surely(
        self, machine: Machine, request: Request, little: Request | None, lives: bool = False
    ) -> Answer:
        """Where a unit answers to `little` all the while, its silence counts as a refusal."""
        for _ in range(_SURE if little else 1):
            if not self._link.connected:
                await self._reopen(machine)
            [answer] = await self._ask(machine, [request], lives)
            if little is None or not answer.unheard or not await self._answered(machine, little):
                return answer
        return Answer(code=ILLEGAL_VALUE)

    async def _explore(self, machine: Machine, block: Block, code: int, little: Request | None = None) -> list[Part]:
        """What is wrong with a refused block: its signals in parts, with what they brought.

        `little`: the unit says nothing instead of refusing, so silence counts as refusal while it answers to this. Once
        more, since an answer may be lost.
        """

        async def ask(table: Table, address: int, size: int) -> Answer:
            return await self._ask_surely(machine, Request(machine.learnt.unit_id, table, address, size), little)

        if little is not None and block.single:
            code = (await ask(block.table, block.address, block.count)).code
        findings = await explore(ask, block, code, machine.longest.get(block.table, 0))
        machine.longest[block.table] = findings.longest
        found_out = findings.parts
        if machine.has_models:
            blocks = [found for found, _ in found_out if found.names]
            answers = [answer for found, answer in found_out if found.names]
            found_out = list(zip(blocks, await self._in_place(machine, blocks, answers), strict=True))
        learnt, arrived = machine.learnt, self._clock.now()
        parts = []
        for found, answer in found_out:
            if little and len(found.signals) == 1 and answer.code == ILLEGAL_VALUE:
                answer = Answer(code=ILLEGAL_ADDRESS)
            part = Part.of(learnt.unit_id, found)
            part.take(answer, arrived)
            parts.append(part)
            if answer.code in REFUSED and len(found.signals) == 1:
                self._note(machine, part, answer)
        if not findings.complete:
            seen = {name for part in parts for name in part.block.names}
            for name, signal in zip(block.names, block.signals, strict=True):
                if name not in seen:
                    rest = Part.of(learnt.unit_id, Block(block.table, signal.address, signal.size, (name,), (signal,)))
                    rest.take(Answer(code=NO_ANSWER), arrived)
                    parts.append(rest)
        if findings.holes or findings.most:
            learnt.holes.update(findings.holes)
            if findings.most:
                learnt.limit(block.table, findings.most)
            self._unsaved = True
            name = machine.header.path.machine
            log.info("%s: %s; it is read accordingly from now on", name, "; ".join(learnt.lines()))
        return parts

    # --- SunSpec -----------------------------------------------------------------------------------------------------

    async def _look_for_models(self, poll: Poll) -> bool:
        """Where the models of a machine stand, if it is time to look; whether the poll has to be made again."""
        machine, learnt, lost = poll.machine, poll.machine.learnt, poll.machine.lost
        if self._clock.monotonic() < max(machine.look_at, machine.asleep_until):
            return False
        heard = None if lost else next((part.request for part in poll.parts if not part.refusal), None)

        async def ask(address: int, size: int) -> Answer:
            nonlocal heard
            request = Request(learnt.unit_id, "holding", address, size)
            if not self._allowed(request):
                return Answer(code=NO_SUCH)
            answer = await self._ask_surely(machine, request, heard, lives=heard is not None)
            heard = heard if answer.lost else request
            return answer

        chain = await sunspec.find(ask, machine.backoff.attempts // 2 % len(sunspec.BASES))
        now, moved, new = self._clock.monotonic(), machine.moved, chain != learnt.chain
        if chain is None:
            machine.look_at = now + machine.search.pause()
            return False
        if new:
            before = learnt.marked
            learnt.moved(chain)
            self._unsaved |= learnt.marked != before
            machine.patience.reset()
            machine.search.reset()
            machine.told.clear()
            self._plan(machine)
        self._tell_models(machine, new)
        machine.moved, machine.astray = False, machine.lacks_models
        machine.vain_until = now + machine.search.pause() if moved and not new else 0.0
        if machine.lacks_models:
            machine.look_at = now + machine.patience.pause()
        return new or moved or lost

    def _tell_models(self, machine: Machine, new: bool) -> None:
        """What was found, and once what was not."""
        name, chain = machine.header.path.machine, machine.learnt.chain
        assert chain is not None
        if new and chain.base is not None:
            log.info("%s: SunSpec from holding %d on: model %s", name, chain.base, chain)
        texts = sunspec.missing(self._machine_settings[name].signals, chain)
        if machine.moved and not new:
            texts.append(f"SunSpec is found from holding {chain.base} on, but its models are not read in their places")
        for text in texts:
            if text not in machine.told:
                machine.told.add(text)
                log.warning("%s: %s", name, text)

    async def _in_place(self, machine: Machine, blocks: Sequence[Block], answers: Sequence[Answer]) -> Sequence[Answer]:
        """The answers that are from where they should be: of models that have moved there are none."""
        moved, open_ = doubts(blocks, answers)
        unsure: set[Model] = set()
        for model in open_:
            head = await self._head(machine, model)
            if head.data != model.head:
                (moved if head.data is not None or head.code in REFUSED else unsure).add(model)
        if moved and not machine.moved:
            machine.astray = machine.moved = True
            machine.look_at = machine.vain_until
        return judged(blocks, answers, moved, unsure) if moved or unsure else answers

    async def _head(self, machine: Machine, model: Model) -> Answer:
        """What stands where a model has its ID and length."""
        if not self._link.connected:
            return Answer(code=NO_ANSWER)
        request = Request(machine.learnt.unit_id, "holding", model.address, HEAD)
        return (await self._ask(machine, [request], lives=True))[0]

    # --- what was learnt ---------------------------------------------------------------------------------------------

    def _note(self, machine: Machine, part: Part, answer: Answer) -> None:
        """A part that is refused, or that was and is no longer."""
        refused, before = machine.learnt.refused, part.refusal
        if answer.code in REFUSED:
            part.refusal = answer.code
            if before:
                return
            for single in _singles(part.block):
                refused[single] = answer.code
            if machine.again_at is None:
                machine.again_at = self._clock.monotonic() + machine.patience.pause()
            self._tell(machine, part.block, answer.code)
        elif answer.data is not None:
            for single in _singles(part.block):
                refused.pop(single, None)
            part.refusal = 0
            machine.told.difference_update(part.block.names)
            log.info("%s/%s: is there now", machine.header.path.machine, part.block.names[0])
            machine.plan_again = True
        else:
            return
        self._unsaved = True

    async def _save(self) -> None:
        """In a thread: a disk takes its time."""
        self._unsaved = False
        learnt = {machine.header.path.machine: machine.learnt for machine in self._machines}
        await asyncio.to_thread(notes.save, self._file, learnt)

    def _tell(self, machine: Machine, block: Block, code: int) -> None:
        """Once for each signal."""
        name, told = block.names[0], machine.told
        if name in told:
            return
        told.add(name)
        signal, text = block.signals[0], f"the device refuses {block} (exception {code})"
        machine_name, fault = machine.header.path.machine, OF_EXCEPTION.get(code, "")
        more = {"machine": machine_name, "fault": fault}
        if isinstance(signal, PlacedSignal):
            text += f", which is in its SunSpec model {signal.within.id}"
            log.warning("%s/%s: %s", machine_name, name, tagged(text, fault), extra=more)
            return
        text += ": check address, `type` and `unit_id`"
        base = {"holding": 40001, "input": 30001}.get(block.table, 10001)
        if base <= block.address < base + 9999:
            text += f"; if its manual calls the first one {base}, write '{block.table}: {block.address - base}'"
        log.warning("%s/%s: %s", machine_name, name, tagged(text, fault), extra=more)

    # --- the link ----------------------------------------------------------------------------------------------------

    def _lose(self, machine: Machine, answer: Answer, begin: float) -> None:
        """No answer: let the machine rest, longer each time, so that it costs the others one timeout a rest at most."""
        now, unit = self._clock.monotonic(), machine.learnt.unit_id
        trouble = answer.trouble
        if not trouble:
            text = f"{self._link.name}: the bridge cannot reach unit {unit} (exception {answer.code})"
            trouble = Reason(f"{text}; check `unit_id` and the line behind the bridge", OF_EXCEPTION[answer.code])
        machine.asleep_until = now + machine.backoff.pause()
        self._trouble = trouble
        machine.lived &= not machine.lost
        # A try begins when the others have been read. They are read again when it has ended, and lose a poll if the one
        # after is due by then.
        others = [poll for poll in self._polls if poll.machine is not machine and not poll.machine.lost]
        cost, round_of_others = now - begin, sum(poll.took for poll in others)
        if others and not machine.lived and cost + 2 * round_of_others > 2 * min(poll.period for poll in others):
            self._no_try_until = now + _SPARE * cost
        if not machine.lost:
            name = machine.header.path.machine
            log.warning("%s: %s", name, tagged(trouble), extra={"machine": name, "fault": fault_of(trouble)})
            machine.lost = True

    async def _open(self) -> None:
        if self._closed:
            raise NotConnectedError(f"{self._link.name}: closed", fault="not-connected")
        if self._breaks >= _BREAKS:
            raise NotConnectedError(self._trouble)
        await self._link.open()
        if self._quirks.pause_after_connect:
            await asyncio.sleep(self._quirks.pause_after_connect)

    async def _reopen(self, machine: Machine) -> None:
        """Within a poll: after a timeout, a wrong answer, or when the other side hung up meanwhile."""
        await self._open()
        if not self._quirks.close_after_poll:
            (self._lost_by or machine).counters.reconnects += 1
        self._lost_by = None


@once_per_object
def _signals(planned: list[PollPlan]) -> tuple[tuple[Signal, ...], Mapping[str, int]]:
    """The signals of a plan, and the place of each by name."""
    read = [each for poll in planned for block in poll.blocks for each in zip(block.names, block.signals, strict=True)]
    absent = [each for poll in planned for each in poll.absent]
    signals = [Signal(name, signal.value_type) for name, signal in (*read, *absent)]
    return tuple(signals), {signal.name: at for at, signal in enumerate(signals)}


def _singles(block: Block) -> list[tuple[Table, int, int]]:
    """Where its signals are, each by itself."""
    return [(block.table, signal.address, signal.size) for signal in block.signals]


def _measure(longest: dict[Table, int], asked: Sequence[Part], answers: Sequence[Answer]) -> None:
    """The most that was answered at once, by table."""
    for part, answer in zip(asked, answers, strict=False):
        if answer.data is not None:
            longest[part.block.table] = max(longest.get(part.block.table, 0), part.block.count)
