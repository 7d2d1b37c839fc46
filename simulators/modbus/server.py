"""A Modbus TCP server for machines that do not exist.

    bytes ─ MBAP frames ─▶ Faults ─▶ Image of the unit ─▶ answer + what it carried ─▶ Ledger, then the wire

Our own, on asyncio.Protocol: it has to serve a hall of machines from one process, and to break on demand.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import cast

from gateway.clock import Clock
from simulators.ledger import Ledger
from simulators.modbus.faults import Failure, Faults, Request
from simulators.modbus.image import Image, Served

# MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: transaction, protocol, length, unit.
_HEAD = struct.Struct(">HHH")
_ANSWER_HEAD = struct.Struct(">HHHB")
_READ = struct.Struct(">BHH")
_LONGEST = 254  # unit id and a PDU of 253 bytes

# MODBUS Application Protocol V1.1b3, 7
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_FAILED = 1, 2, 3, 11
# 6.1 to 6.4: how many bits or registers one request may ask for
_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}


class ModbusServer:
    """One port, with the machines behind it by unit id."""

    def __init__(self, units: Mapping[int, Image], ledger: Ledger, clock: Clock, start: int) -> None:
        self.faults = Faults()
        self.connections: set[_Connection] = set()
        self._units, self._ledger, self._clock, self._start = units, ledger, clock, start
        self._server: asyncio.Server | None = None
        self._port = 0

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError. Port 0: any free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        return self._port

    def drop(self) -> None:
        """Close all connections; new ones are welcome."""
        for connection in list(self.connections):
            connection.abort()

    async def stop(self) -> None:
        """Close everything. Safe to call twice."""
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()
            self._server = None

    def answer(self, unit: int, pdu: bytes, failure: Failure | None) -> tuple[bytes, int, Served]:
        """The PDU of the answer, the time it is of, and what it carries of which machine."""
        now = self._clock.now()
        code = failure if isinstance(failure, int) else self._objection(unit, pdu)
        if not code:
            function, address, count = _READ.unpack(pdu)
            found = self._units[unit].read(function, address, count, (now - self._start) / 1e9)
            if found is not None:
                body, served = found
                return bytes((function, len(body))) + body, now, served
            code = ILLEGAL_ADDRESS
        return bytes((pdu[0] | 0x80, code)), now, ()

    def _objection(self, unit: int, pdu: bytes) -> int:
        """The exception code a request deserves by its form; 0 if it is in order."""
        if unit not in self._units:
            return TARGET_FAILED  # as a gateway answers that finds no device of this number on its line
        if pdu[0] not in _MOST:
            return ILLEGAL_FUNCTION
        if len(pdu) != _READ.size or not 1 <= _READ.unpack(pdu)[2] <= _MOST[pdu[0]]:
            return ILLEGAL_VALUE
        return 0

    def write_down(self, time_ns: int, served: Served) -> None:
        """Into the ledger, just before the answer leaves."""
        for machine, values in served:
            self._ledger.served(machine, time_ns, values)


class _Connection(asyncio.Protocol):
    """One client. Requests may come in pieces or several at once; answers leave in their order."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._rest = b""
        self._transport: asyncio.Transport
        self._waiting = 0  # delayed answers that have not left yet
        self._free_at = 0.0  # when the last of them will leave

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop has transports of its own kind
        self._transport = transport
        if self._server.faults.refuse:
            transport.abort()
        self._server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._server.connections.discard(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= _HEAD.size and not self._transport.is_closing():
            transaction, protocol, length = _HEAD.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= _LONGEST:
                self.abort()  # not Modbus: there is no telling where the next frame would start
                return
            end = at + _HEAD.size + length
            if len(data) < end:
                break
            self._request(transaction, data[at + 6], data[at + 7 : end])
            at = end
        self._rest = data[at:]

    def _request(self, transaction: int, unit: int, pdu: bytes) -> None:
        faults = self._server.faults
        address, size = _READ.unpack(pdu)[1:] if len(pdu) == _READ.size else (0, 0)
        failure = faults.judge(Request(unit, pdu[0], address, size))
        if failure == "drop":
            self.abort()
        elif failure != "silence":
            answer, time_ns, served = self._server.answer(unit, pdu, failure)
            frame = _ANSWER_HEAD.pack(transaction, 0, len(answer) + 1, unit) + answer
            if faults.delay or self._waiting:
                self._later(faults.delay, frame, time_ns, served)
            else:
                self._send(frame, time_ns, served)

    def _later(self, delay: float, frame: bytes, time_ns: int, served: Served) -> None:
        """A device works at one request after the other: a delayed answer delays those behind it."""
        loop = asyncio.get_running_loop()
        self._waiting += 1
        self._free_at = max(self._free_at, loop.time()) + max(delay, 1e-6)  # two at one time could change places
        loop.call_at(self._free_at, self._send_late, frame, time_ns, served)

    def _send_late(self, frame: bytes, time_ns: int, served: Served) -> None:
        self._waiting -= 1
        self._send(frame, time_ns, served)

    def _send(self, frame: bytes, time_ns: int, served: Served) -> None:
        if not self._transport.is_closing():
            self._server.write_down(time_ns, served)
            self._transport.write(frame)
