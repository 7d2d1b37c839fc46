"""A client that keeps every number it is given, and the account of what is missing, declared, or wrong.

server ── counts, and writes every number down with its time ──▶ ledger ─┐
   └──▶ proxy with faults ──▶ adapter ──▶ numbers, gaps ─────────────────┴▶ Account: missing, undeclared, wrong
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters.opcua import build
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from gateway.adapter import Adapter, Context
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import GOOD, Batch, Gap, MachinePath, is_bad
from gateway.schedule import Backoff
from parts.cnc import NAMESPACE

SLACK = 20_000_000  # ns that the clocks of two processes may look at one moment apart
LASTING = 2.0  # seconds after which a connection counts as a success


@dataclass
class Numbers:
    """What one machine has brought."""

    seen: dict[int, int] = field(default_factory=dict)  # number -> its time
    twice: int = 0  # brought again, with the same time
    wrong: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    historical: int = 0

    def take(self, batch: Batch) -> None:
        quality = batch.quality or [GOOD] * len(batch)
        for time_ns, value, code in zip(batch.time, batch.value, quality, strict=True):
            if is_bad(code) or not isinstance(value, int):
                if value is not None:
                    self.wrong.append(f"{value!r} with quality 0x{code:08X}")
                continue
            self.historical += batch.historical
            if value not in self.seen:
                self.seen[value] = time_ns
            elif self.seen[value] == time_ns:
                self.twice += 1
            else:
                self.wrong.append(f"{value} at {self.seen[value]} and at {time_ns}")


@dataclass
class Account:
    """What became of the numbers that a server has had."""

    missing: list[int]
    undeclared: list[int]  # missing, and no gap says so
    wrong: list[str]
    overdeclared: int  # in a gap, and brought all the same

    @property
    def clean(self) -> bool:
        return not self.undeclared and not self.wrong


def account(
    ledger: Mapping[int, int], numbers: Numbers, gaps: Sequence[Gap] | None = None, until: int | None = None
) -> Account:
    """Compare, up to the number `until`. `gaps` instead of those that were declared: none at all, for a control."""
    gaps = numbers.gaps if gaps is None else gaps
    wrong = list(numbers.wrong)
    for number, time_ns in numbers.seen.items():
        if until is not None and number > until:
            continue
        if number not in ledger:
            wrong.append(f"{number}: the server has never had it")
        elif abs(ledger[number] - time_ns) >= 1_000:
            wrong.append(f"{number}: at {time_ns} instead of {ledger[number]}")
    # The very first number was read just before the subscription began.
    first, last = min(sorted(numbers.seen)[1:], default=0), max(numbers.seen, default=0)
    missing = [n for n in ledger if first <= n <= last and n not in numbers.seen]
    undeclared = [n for n in missing if not any(g.start - SLACK <= ledger[n] <= g.end + SLACK for g in gaps)]
    over = sum(any(g.start + SLACK < t < g.end - SLACK for g in gaps) for t in numbers.seen.values())
    return Account(missing, undeclared, wrong, over)


def stretches(numbers: Iterable[int]) -> str:
    """1, 2, 3, 7 as `1–3, 7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


class Client:
    """An adapter with two machines that both read Count, kept connected as the runtime keeps it."""

    def __init__(
        self, url: str, machines: Sequence[str] = ("a", "b"), *, queue: int = 2000, **connection: object
    ) -> None:
        signals = {"count": {"node": "m:s=CNC1.Count", "type": "int", "sampling": "10ms", "queue": queue}}
        settings = OpcuaMachine.model_validate(
            {"connection": "cnc", "namespaces": {"m": NAMESPACE}, "signals": signals}
        )
        link = OpcuaConnection.model_validate(
            {"protocol": "opcua", "url": url, "security": "None", "publishing": "100ms", "timeout": "2s", **connection}
        )
        self.context = Context(
            "cnc", link, {MachinePath(name): settings for name in machines}, SystemClock(), FlowCounters(),
            Path("data"), "edge-01",
        )  # fmt: skip
        self.adapter: Adapter = build(self.context)
        self.numbers = {name: Numbers() for name in machines}
        self.connects = 0
        self.losses: list[str] = []

    async def run(self) -> None:
        """As gateway.runtime.edge.poller does it: connect, read, and again after a pause. Anything else is a mistake."""
        backoff = Backoff(0.1, 1.0)
        while True:
            try:
                await self.adapter.connect()
                self.connects += 1
                since = time.monotonic()
                while True:
                    for part in await self.adapter.read():
                        numbers = self.numbers[part.header.path.machine]
                        if isinstance(part, Gap):
                            numbers.gaps.append(part)
                        else:
                            numbers.take(part)
                    if time.monotonic() - since > LASTING:
                        backoff.reset()
            except NotConnectedError as exc:
                self.losses.append(str(exc))
                await asyncio.sleep(backoff.pause())

    def newest(self) -> int:
        """The highest number that every machine has reached."""
        return min(max(numbers.seen, default=0) for numbers in self.numbers.values())
