"""What is behind the refusal of a block: divide it until the culprit stands alone. Talks through `ask` only.

    refused [a b .. c d e]            a device has a reason to refuse a block:
            [a b] ok   [c d e] ?      - an address that a signal needs       -> that signal alone is bad
                  [c] ok  [d e] ok    - an address in a gap, which none needs -> a hole, not to be read along again
                                      - it is too long                        -> the most that it answers
                                      - it reaches across two parts of it     -> not to be read across them again

When both parts of a refused block are answered, the gap between them is asked for. If that is there, the longest answer
from the beginning of the block is looked for. What ends it is the length, unless something as long was answered elsewhere.
A refusal that does not come twice teaches nothing: some devices refuse everything while they start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from adapters.modbus.learnt import Place
from adapters.modbus.link import Answer
from adapters.modbus.plan import Block, split
from adapters.modbus.signals import Table

ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3

Ask = Callable[[Table, int, int], Awaitable[Answer]]
"""One request: table, address, number."""


@dataclass(slots=True)
class Findings:
    """What came of it. `parts` are in the order of the block's signals."""

    parts: list[tuple[Block, Answer]] = field(default_factory=list)  # each answered, or a single signal refused
    holes: list[Place] = field(default_factory=list)  # no request is to hold one as a whole
    most: int | None = None  # registers or bits answered at once, where the length was the reason
    longest: int = 0  # that was answered
    complete: bool = True  # False: interrupted; what was not asked is missing in `parts`


async def explore(ask: Ask, block: Block, code: int, longest: int = 0) -> Findings:
    """`block` was refused with this exception code. `longest`: as many were answered at once elsewhere in its table."""
    return await _Exploration(ask, block.table, longest).run(block, code)


class _InterruptedError(Exception):
    """The device does not answer any more."""


class _Exploration:
    def __init__(self, ask: Ask, table: Table, longest: int) -> None:
        self._send, self._table = ask, table
        self._findings = Findings(longest=longest)
        self._stops: list[tuple[int, int, int]] = []  # address, how many from there on were answered and were not

    async def run(self, block: Block, code: int) -> Findings:
        findings = self._findings
        try:
            await self._divide(block, Answer(code=code))
        except _InterruptedError:
            findings.complete = False
        for address, answered, refused in self._stops:
            if findings.longest >= refused:
                findings.holes.append((self._table, address + answered - 1, 2))
            else:
                findings.most = min(findings.most or refused, max(answered, findings.longest))
        return findings

    async def _ask(self, address: int, count: int) -> Answer:
        answer = await self._send(self._table, address, count)
        if answer.lost:
            raise _InterruptedError
        if answer.data is not None:
            self._findings.longest = max(self._findings.longest, count)
        return answer

    async def _divide(self, block: Block, refusal: Answer) -> None:
        if block.single:
            self._findings.parts.append((block, refusal))
            return
        halves, answers = split(block), []
        for half in halves:
            answer = await self._ask(half.address, half.count)
            answers.append(answer)
            if _refused(answer):
                await self._divide(half, answer)
            else:
                self._findings.parts.append((half, answer))
        if all(answer.data is not None for answer in answers):
            await self._find_reason(block, halves)

    async def _find_reason(self, block: Block, halves: tuple[Block, Block]) -> None:
        """Both halves are answered, the whole is not: the gap between them, the length, or a border within."""
        if any(refused <= block.count for _, _, refused in self._stops):
            return
        first, second = halves
        end = first.address + first.count
        if (gap := second.address - end) > 0:
            answer = await self._ask(end, gap)
            if _refused(answer):
                self._findings.holes.append((self._table, end, gap))
            if answer.data is None:
                return
        await self._find_end(block, first.count)

    async def _find_end(self, block: Block, answered: int) -> None:
        """By bisection over the ends of signals, since some devices do not let a value be split."""
        ends = {signal.address + signal.size - block.address for signal in block.signals}
        sizes = sorted(size for size in ends if size > answered)
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high) // 2
            answer = await self._ask(block.address, sizes[middle])
            if answer.data is not None:
                low, answered = middle + 1, sizes[middle]
            elif _refused(answer):
                high = middle
            else:
                return  # it has other troubles now
        if low < len(sizes):
            self._stops.append((block.address, answered, sizes[low]))


def _refused(answer: Answer) -> bool:
    return answer.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE)
