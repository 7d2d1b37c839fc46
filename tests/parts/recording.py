"""A server that answers as a recorded one did: request by request, in turn, after as long a time, or never."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.clock import SystemClock
from simulators.ledger import Ledger
from simulators.modbus import ModbusServer
from simulators.modbus.faults import Failure
from simulators.modbus.framing import MBAP, Framing
from simulators.modbus.server import Reply
from simulators.modbus.transports import TcpTransport

Question = tuple[int, int, int, int]  # unit, function code, address, number of registers or bits


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that went by."""

    question: Question
    answer: bytes | None  # its PDU; None: there was none
    took: float  # seconds

    @classmethod
    def all(cls, path: Path, server: int = 0) -> list[Recorded]:
        """The reads of one server in a file of ../shared/traces/modbus, in their order."""
        found = []
        with path.open() as lines:
            for line in map(json.loads, lines):
                if line["server"] == server and line["fc"] <= 4:
                    question = line["unit"], line["fc"], line["addr"], line["count"]
                    answer = line["resp"] and bytes.fromhex(line["resp"])
                    found.append(cls(question, answer, (line["rtt_ms"] or 0.0) / 1000 if answer else 0.0))
        return found


class Recording(ModbusServer):
    """What was not asked for then is answered from the registers and bits that were seen last."""

    def __init__(self, recorded: list[Recorded], speed: float, framing: Framing) -> None:
        super().__init__({}, Ledger(), SystemClock(), 0, TcpTransport("127.0.0.1", 0, framing))
        self.unexpected = 0  # requests that were not recorded, or not so often
        self._speed = speed
        self._turns: dict[Question, deque[Recorded]] = defaultdict(deque)
        for each in recorded:
            self._turns[each.question].append(each)
        self._seen: dict[tuple[int, int, int], bytes] = {}

    def answer(self, unit: int, pdu: bytes, failure: Failure | None = None) -> Reply | None:
        function, address, count = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        turns = self._turns.get((unit, function, address, count))
        self.faults.delay = 0.0
        if not turns:
            self.unexpected += 1
            return Reply(self._from_what_was_seen(unit, function, address, count), 0, ())
        this = turns.popleft()
        if this.answer is None:
            return None
        self.faults.delay = this.took / self._speed
        for i in range(count if function > 2 else 0):
            self._seen[unit, function, address + i] = this.answer[2 + 2 * i : 4 + 2 * i]
        return Reply(this.answer, 0, ())

    def _from_what_was_seen(self, unit: int, function: int, address: int, count: int) -> bytes:
        if function <= 2:
            data = bytes((count + 7) // 8)
        else:
            data = b"".join(self._seen.get((unit, function, address + i), b"\0\0") for i in range(count))
        return bytes((function, len(data))) + data


@asynccontextmanager
async def replayed(recorded: list[Recorded], speed: float = 1.0, framing: Framing = MBAP) -> AsyncIterator[Recording]:
    """The server, on a port of this machine; `speed` times as fast as it was."""
    server = Recording(recorded, speed, framing)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop()
