"""A Modbus TCP server that answers whatever a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and the right ways to answer it."""

    transaction: int
    unit: int
    function: int
    address: int
    count: int

    def frame(self, pdu: bytes, **other: int) -> bytes:
        """A frame around `pdu`; `transaction`, `protocol`, `length` and `unit` can be falsified."""
        transaction, unit = other.get("transaction", self.transaction), other.get("unit", self.unit)
        length = other.get("length", 1 + len(pdu))
        return struct.pack(">HHHB", transaction, other.get("protocol", 0), length, unit) + pdu

    def answer(self, data: bytes | None = None, **other: int) -> bytes:
        """Data, by default of the expected size: registers that hold their own address, bits that are all on."""
        if data is None:
            registers = struct.pack(f">{self.count}H", *range(self.address, self.address + self.count))
            data = registers if self.function > 2 else b"\xff" * ((self.count + 7) // 8)
        function = other.pop("function", self.function)
        return self.frame(bytes([function, other.pop("bytes", len(data))]) + data, **other)

    def refusal(self, code: int, **other: int) -> bytes:
        """An exception."""
        return self.frame(bytes([self.function | 0x80, code]), **other)


Answer = Callable[[Request], bytes | Awaitable[bytes | None] | None]


@dataclass
class Server:
    """`answer` makes of each request the bytes that are sent: None for silence, b"" to close the connection."""

    answer: Answer = Request.answer
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                transaction, _, _, unit, function, address, count = struct.unpack(
                    ">HHHBBHH", await reader.readexactly(12)
                )
                request = Request(transaction, unit, function, address, count)
                self.requests.append(request)
                answer = self.answer(request)
                if isinstance(answer, Awaitable):
                    answer = await answer
                if answer == b"":
                    break
                writer.write(answer or b"")
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Close all connections."""
        for writer in self.writers:
            writer.close()
        self.writers.clear()
