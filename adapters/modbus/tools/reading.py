"""Reads from a device nobody knows, slowly. The only file of the tools that talks to a link, beside scan.py.

A block that is refused is divided until each address that cannot be read stands alone; what can be read is kept
from the first answer on, so that it can be shown whenever the reading is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adapters.modbus.link import GONE, Answer, Link, Request
from adapters.modbus.signals import BIT_TABLES
from adapters.modbus.tools.spans import Span, largest
from adapters.modbus.trouble import OF_EXCEPTION
from gateway.errors import NotConnectedError

_EXCEPTIONS = {
    1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 5: "acknowledge", 6: "busy",
    8: "memory parity error", 10: "no path behind the bridge", 11: "no answer behind the bridge",
}  # fmt: skip
NO_FUNCTION, BUSY = 1, 6
# Blocks in a row without a right answer, before the device is taken for gone. Some keep silent about addresses they do not
# have, and to divide a block of 125 down to one of them takes seven.
_WITHOUT_AT_MOST = 8
_WITHOUT_AT_FIRST = 4
_BUSY_AT_MOST = 10


def exception_text(code: int) -> str:
    """`exception 2 (illegal address)`."""
    return f"exception {code}" + (f" ({_EXCEPTIONS[code]})" if code in _EXCEPTIONS else "")


@dataclass(slots=True)
class Found:
    """What one table holds, as far as it was read."""

    words: dict[int, int] = field(default_factory=dict)  # by address; 0 or 1 for a bit
    refused: dict[int, str] = field(default_factory=dict)  # by address: why not


class Pace:
    """Leaves a rest between an answer and the next request."""

    def __init__(self, pause: float, on_request: Callable[[], None] = lambda: None) -> None:
        self._pause, self._on_request = pause, on_request
        self._free_at = 0.0
        self.begun = False

    async def ask(self, link: Link, request: Request) -> Answer:
        """One request; the link is opened if it has to be. Raises NotConnectedError."""
        await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
        if not link.connected:
            await link.open()
        self.begun = True
        self._on_request()
        (answer,) = await link.exchange([request])
        self._free_at = time.monotonic() + self._pause
        return answer

    async def rest(self, seconds: float) -> None:
        """Leave the device alone for a while."""
        await asyncio.sleep(seconds)


class Reader:
    """One unit behind a link."""

    def __init__(self, link: Link, unit: int, pace: Pace, max_registers: int) -> None:
        self._link, self._unit, self._pace, self._most = link, unit, pace, max_registers
        self._heard = False
        self._without = 0

    async def read(self, span: Span, found: Found) -> None:
        """Fill `found`. Raises NotConnectedError when the device does not answer (any more)."""
        blocks = list(span.blocks(largest(span.table, self._most)))[::-1]
        busy = 0
        while blocks:
            block = blocks.pop()
            answer = await self._pace.ask(self._link, Request(self._unit, block.table, block.first, block.size))
            if answer.data is not None:
                self._heard, self._without = True, 0
                found.words |= zip(range(block.first, block.last + 1), words_of(block, answer.data), strict=True)
                continue
            if answer.code == BUSY and (busy := busy + 1) <= _BUSY_AT_MOST:
                blocks.append(block)
                continue
            if answer.code in GONE:
                raise NotConnectedError(
                    f"{self._link.name}: unit {self._unit}: {exception_text(answer.code)}; check `--unit`",
                    fault=OF_EXCEPTION[answer.code],
                )
            why = exception_text(answer.code) if answer.code else "no answer" if answer.silent else "no right answer"
            if answer.code:
                self._heard, self._without = True, 0
            else:
                self._without += 1
                most = _WITHOUT_AT_MOST if self._heard else _WITHOUT_AT_FIRST
                if self._without >= most or (block.size == 1 and not self._heard):
                    raise NotConnectedError(answer.trouble)
            if answer.code == NO_FUNCTION:
                for left in (block, *blocks):
                    found.refused |= dict.fromkeys(range(left.first, left.last + 1), why)
                return
            if block.size == 1:
                found.refused[block.first] = why
                continue
            middle = (block.first + block.last) // 2
            blocks += [Span(block.table, middle + 1, block.last), Span(block.table, block.first, middle)]


def words_of(block: Span, data: bytes) -> Sequence[int]:
    """The registers, or bits, of an answer."""
    if block.table in BIT_TABLES:
        return [data[i // 8] >> i % 8 & 1 for i in range(block.size)]
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def requests_for(spans: Sequence[Span], max_registers: int) -> int:
    """How many requests it takes if nothing is refused."""
    return sum(-(-span.size // largest(span.table, max_registers)) for span in spans)
