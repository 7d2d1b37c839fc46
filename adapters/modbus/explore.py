"""What is behind the refusal of a block: divide it until the culprit stands alone. Talks through `ask` only.

    refused [a b .. c d e]            a device has a reason to refuse a block:
            [a b] ok   [c d e] ?      - an address that a signal needs      -> that signal alone is bad
                  [c] ok  [d e] ok    - an address in a gap, which none needs -> a hole, not to be read along again
                                      - it is too long                        -> the most that it answers

When both parts of a refused block are answered, it was the gap between them, or the length: the first part is asked for
once more, with the gap.
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
    holes: list[Place] = field(default_factory=list)
    most: int | None = None  # registers or bits answered at once, where the length was the reason
    complete: bool = True  # False: interrupted; what was not asked is missing in `parts`


async def explore(ask: Ask, block: Block, code: int) -> Findings:
    """`block` was refused with this exception code."""
    findings = Findings()
    findings.complete = await _divide(ask, block, Answer(code=code), findings)
    return findings


async def _divide(ask: Ask, block: Block, refusal: Answer, findings: Findings) -> bool:
    """False: interrupted."""
    if len(block.signals) == 1:
        findings.parts.append((block, refusal))
        return True
    halves, answers = split(block), []
    for half in halves:
        answer = await ask(half.table, half.address, half.count)
        if answer.trouble:
            return False
        answers.append(answer)
        if answer.data is not None or answer.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
            findings.parts.append((half, answer))
        elif not await _divide(ask, half, answer, findings):
            return False
    if all(answer.data is not None for answer in answers):
        return await _find_reason(ask, block, halves, refusal.code, findings)
    return True


async def _find_reason(ask: Ask, block: Block, halves: tuple[Block, Block], code: int, findings: Findings) -> bool:
    """Both halves are answered, the whole is not: the gap between them, or the length."""
    if findings.most is not None and findings.most < block.count:
        return True
    first, second = halves
    gap = second.address - (first.address + first.count)
    if gap > 0 and code != ILLEGAL_VALUE:
        answer = await ask(block.table, block.address, second.address - block.address)
        if answer.trouble:
            return False
        if answer.data is None:
            findings.holes.append((block.table, second.address - gap, gap))
            return True
    return await _find_most(ask, block, max(first.count, second.count), findings)


async def _find_most(ask: Ask, block: Block, answered: int, findings: Findings) -> bool:
    """By bisection over the ends of signals, since some devices do not let a value be split."""
    ends = {signal.address + signal.size - block.address for signal in block.signals}
    sizes = sorted(size for size in ends if answered < size < block.count)
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        answer = await ask(block.table, block.address, sizes[middle])
        if answer.trouble:
            return False
        if answer.data is None:
            high = middle
        else:
            low, answered = middle + 1, sizes[middle]
    findings.most = answered if findings.most is None else min(findings.most, answered)
    return True
