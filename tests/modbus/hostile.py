"""Servers that answer whatever a test tells them to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from modbus.standard import framed


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


# Answers to a request for holding 10 and 11 of unit 7, or two others; each is wrong in one way.
WRONG: dict[str, tuple[Callable[[Request], bytes], str, bool]] = {
    # what is sent, a word of the complaint, whether pymodbus alone takes it
    "transaction 0": (lambda r: r.answer(transaction=0), "transaction id 0; if it never", True),
    "transaction of another": (
        lambda r: r.answer(transaction=r.transaction + 1),
        "transaction id of another|comes twice",
        False,
    ),
    "another unit": (lambda r: r.answer(unit=8), "unit id 8 instead of 7", False),
    "another protocol": (lambda r: r.answer(protocol=1), "is not Modbus", False),
    "another function": (lambda r: r.answer(function=4), "function code 4 instead of 3", True),
    "a function nobody knows": (lambda r: r.answer(function=77), "function code 77", False),
    "refusal of another function": (lambda r: r.frame(b"\x84\x02"), "function code", False),
    "refusal for another": (lambda r: r.refusal(2, transaction=9), "transaction id of another|comes twice", False),
    "one register": (lambda r: r.answer(b"\0\x0a"), "byte count 2 instead of 4", True),
    "three registers": (lambda r: r.answer(b"\0\x0a\0\x0b\0\x0c"), "byte count 6", True),
    "a wrong byte count": (lambda r: r.answer(b"\0\x0a\0\x0b", bytes=2), "byte count", True),
    "a length too short": (lambda r: r.answer(length=5), "length", False),
    "two answers at once": (lambda r: r.answer(b"\0\1\0\2") + r.answer(), "twice", True),
    "an answer of a write": (lambda r: r.frame(bytes.fromhex("06000a0001")), "function code 6", False),
    "noise": (lambda r: bytes(range(1, 60)), "is not Modbus", False),
    "a page": (lambda r: b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Modbus", False),
}


@dataclass
class Server:
    """Modbus TCP. `answer` makes of each request what is sent: None for silence, b"" to close the connection."""

    answer: Answer = Request.answer
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """On a free port of this machine."""
        listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            listener.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await self.received(reader)
                self.requests.append(request)
                answer = self.answer(request)
                if isinstance(answer, Awaitable):
                    answer = await answer
                if answer == b"":
                    break
                writer.write(self.framed(answer) if answer else b"")
                await writer.drain()
        writer.close()

    async def received(self, reader: asyncio.StreamReader) -> Request:
        """The next request."""
        transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", await reader.readexactly(12))
        return Request(transaction, unit, function, address, count)

    def framed(self, answer: bytes) -> bytes:
        """An answer, as it goes over the wire."""
        return answer

    def cut(self) -> None:
        """Close all connections."""
        for writer in self.writers:
            writer.close()
        self.writers.clear()


class RtuServer(Server):
    """RTU through TCP."""

    async def received(self, reader: asyncio.StreamReader) -> Request:
        unit, function, address, count = struct.unpack(">BBHH", (await reader.readexactly(8))[:6])
        return Request(0, unit, function, address, count)

    def framed(self, answer: bytes) -> bytes:
        return framed("rtu", answer[6:])
