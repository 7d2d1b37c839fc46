"""A Modbus server for machines that do not exist, on any transport.

    transport ─ bytes ─▶ Channel ─ frames ─▶ Faults ─▶ Image of the unit ─▶ answer + what it carried ─▶ Ledger
              ◀─────────────────────────────────────── WireFaults ◀────────┘

Our own, on asyncio.Protocol: it has to serve a hall of machines from one process, and to break on demand.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from gateway.clock import Clock
from simulators.ledger import Ledger
from simulators.machine import Pace
from simulators.modbus.faults import Failure, Faults, Request
from simulators.modbus.framing import Frame, Framing, NotModbusError
from simulators.modbus.image import Served
from simulators.modbus.script import NOTHING, Met, Script
from simulators.modbus.wire_faults import KINDS, Packet, WireFaults

log = logging.getLogger(__name__)

_READ = struct.Struct(">BHH")

# MODBUS Application Protocol V1.1b3, 7
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_FAILED = 1, 2, 3, 11
# 6.1 to 6.4: how many bits or registers one request may ask for
_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}
_TRY_INTERVAL = 0.5  # seconds between two tries to have a port again
_TICK = 1e-6  # seconds between two packets: at one time they could change places
_SILENCE = 3.5  # characters between two frames: MODBUS over Serial Line V1.02, 2.5.1.1


class Unit(Protocol):
    """The tables of a device."""

    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, Served] | None:
        """The data of the answer and what it carries; None where there are no such addresses."""


class Outlet(Protocol):
    """The way back to a client."""

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...


class Transport(Protocol):
    """What a server is reached by."""

    framing: Framing
    connects: bool  # clients connect, and can be refused

    @property
    def address(self) -> Mapping[str, object]:
        """The settings of a connection that lead here."""

    @property
    def place(self) -> str:
        """The same for people."""

    @property
    def port(self) -> int | None:
        """Where it has a number."""

    async def open(self, channel: Callable[[Outlet], Channel]) -> None:
        """Raises OSError."""

    def refuse(self) -> None:
        """Nobody connects until `accept`; connections that there are stay. Only where clients connect."""

    async def accept(self) -> None:
        """Clients may connect, at the same place as before."""

    async def close(self) -> None:
        """Safe to call twice."""


class Reply(NamedTuple):
    """An answer before it is put into a frame."""

    pdu: bytes
    time: int  # that its values are of
    served: Served  # what it carries of which machine


@dataclass(slots=True)
class _Conversation:
    """What goes on between a server and one client, or on one serial line."""

    before: bytes = b""  # the answer before, as it was sent
    newest: int = 0  # transaction id of the newest request
    held: list[Packet] = field(default_factory=list)  # back until the next request
    dead: float = 0  # so many requests more will not be answered
    busy: dict[int, float] = field(default_factory=dict)  # units with a late answer, until when; 0 on a network: all


class ModbusServer:
    """One place, with the machines behind it by unit id."""

    def __init__(
        self,
        units: Mapping[int, Unit],
        ledger: Ledger,
        clock: Clock,
        start: int,
        transport: Transport,
        pace: Pace | None = None,
    ) -> None:
        self.faults = Faults()
        self.wire = WireFaults()
        self.script: Script | None = None  # the faults of the scenario
        self.baud = 0  # answers take as long as request and answer at this speed; 0: no time at all
        self.channels: list[Channel] = []
        self.transport = transport
        self._units, self._ledger, self._clock, self._pace = units, ledger, clock, pace or Pace(start)
        self._acting: asyncio.Task[None] | None = None
        self._line = _Conversation()  # of all channels together on a serial line

    async def listen(self) -> None:
        """Raises OSError."""
        await self.transport.open(lambda outlet: Channel(self, outlet))
        if self.script is not None:
            self._acting = asyncio.create_task(self._act(self.script), name=f"faults[{self.place}]")

    @property
    def port(self) -> int | None:
        return self.transport.port

    @property
    def address(self) -> Mapping[str, object]:
        return self.transport.address

    @property
    def place(self) -> str:
        return self.transport.place

    @property
    def injected(self) -> Counter[str]:
        """What went wrong on the wire, by kind."""
        return self.wire.injected

    @property
    def units(self) -> Sequence[int]:
        """The unit ids that answer."""
        return list(self._units)

    def replace(self, unit: int, tables: Unit) -> None:
        """Other tables from now on, as after an update of its firmware."""
        self._units = {**self._units, unit: tables}

    def conversation(self) -> _Conversation:
        """Of a new channel."""
        return self._line if self.transport.framing.serial else _Conversation()

    def drop(self) -> None:
        """Close all connections; new ones are welcome."""
        for channel in list(self.channels):
            channel.abort()

    async def stop(self) -> None:
        """Close everything. Safe to call twice."""
        acting, self._acting = self._acting, None
        if acting is not None:
            acting.cancel()
            with suppress(asyncio.CancelledError):
                await acting
        self.drop()
        await self.transport.close()

    async def _act(self, script: Script) -> None:
        """Cut what the scenario cuts, also where nobody asks for anything."""
        t, reached = script.seconds(), True
        while (due := script.happenings.next_change(t)) < inf or not reached:
            wait = max(0.0, due - script.seconds()) / self._pace.speed
            await asyncio.sleep(wait if reached else min(wait, _TRY_INTERVAL))
            now = script.seconds()
            if now < due and reached:
                continue
            if self.transport.connects:
                reached = await self._be_reached(not script.happenings.away(now), told=not reached)
            if now < due:
                continue
            for channel in list(self.channels):
                channel.check()
            script.happenings.count_all(now)
            t = now

    async def _be_reached(self, wanted: bool, told: bool) -> bool:
        """Let clients in or not; False where that has failed, which is a warning unless it was `told`."""
        if not wanted:
            self.transport.refuse()
            return True
        try:
            await self.transport.accept()
        except OSError as exc:  # somebody else has taken the port meanwhile
            if not told:
                log.warning("%s: it should be reached again: %s", self.place, exc)
            return False
        return True

    def answer(self, unit: int, pdu: bytes, failure: Failure | None = None) -> Reply | None:
        """None for the silence of a serial line on which there is no such unit."""
        now = self._clock.now()
        if unit not in self._units and self.transport.framing.serial:
            return None
        code = failure if isinstance(failure, int) else self._objection(unit, pdu)
        if not code:
            function, address, count = _READ.unpack(pdu)
            found = self._units[unit].read(function, address, count, self._pace.seconds(now))
            if found is not None:
                body, served = found
                return Reply(bytes((function, len(body))) + body, now, served)
            code = ILLEGAL_ADDRESS
        return Reply(bytes((pdu[0] | 0x80, code)), now, ())

    def _objection(self, unit: int, pdu: bytes) -> int:
        """The exception code a request deserves by its form; 0 if it is in order."""
        if unit not in self._units:
            return TARGET_FAILED  # as a gateway answers that finds no device of this number on its line
        if pdu[0] not in _MOST:
            return ILLEGAL_FUNCTION
        if len(pdu) != _READ.size or not 1 <= _READ.unpack(pdu)[2] <= _MOST[pdu[0]]:
            return ILLEGAL_VALUE
        return 0

    def write_down(self, reply: Reply) -> None:
        """Into the ledger, just before the answer leaves."""
        for machine, values in reply.served:
            self._ledger.served(machine, reply.time, values, took=(self._clock.now() - reply.time) / 1e9)


class Channel:
    """One client. Requests may come in pieces or several at once; answers leave in their order."""

    def __init__(self, server: ModbusServer, outlet: Outlet) -> None:
        self._server, self._outlet = server, outlet
        self._framing = server.transport.framing
        self._conversation = server.conversation()
        self._rest = b""
        self._waiting = 0  # packets that have not left yet
        self._free_at = 0.0  # when the last of them will leave
        self._opened = server.script.seconds() if server.script else 0.0
        if server.faults.refuse or (server.script is not None and server.script.refuses()):
            outlet.abort()
        server.channels.append(self)

    def lost(self) -> None:
        """The connection is closed."""
        if self in self._server.channels:
            self._server.channels.remove(self)

    def abort(self) -> None:
        self._outlet.abort()

    def check(self) -> None:
        """Close it where the scenario has cut it."""
        lost = self._server.script and self._server.script.lost(self._opened)
        if lost and lost.kind != "half-open":
            self.abort()

    def received(self, data: bytes, whole: bool = False) -> None:
        """`whole`: nothing that belongs to it will follow."""
        data, self._rest = self._rest + data, b""
        at = 0
        while not self._outlet.is_closing():
            try:
                request, at = self._framing.request(data, at)
            except NotModbusError:
                self.abort()
                return
            if request is None:
                break
            self._request(request)
        if not whole:
            self._rest = data[at:]

    def _request(self, request: Frame) -> None:
        server, talk = self._server, self._conversation
        talk.newest = request.transaction
        address, size = _READ.unpack(request.pdu)[1:] if len(request.pdu) == _READ.size else (0, 0)
        met = server.script.meets(self._opened, request.unit) if server.script is not None else NOTHING
        failure = server.faults.judge(Request(request.unit, request.pdu[0], address, size)) or met.failure
        if failure == "drop":
            self.abort()
        elif failure != "silence" and (reply := server.answer(request.unit, request.pdu, failure)):
            self._answer(request, reply, met)

    def _answer(self, request: Frame, reply: Reply, met: Met) -> None:
        server, talk = self._server, self._conversation
        if talk.dead:
            talk.dead -= 1
            return
        frame = Frame(request.transaction, request.unit, reply.pdu)
        right = self._framing.encode(frame)
        delay = server.faults.delay + met.delay
        if server.baud:
            length = len(self._framing.encode(request)) + len(right) + 2 * _SILENCE
            delay += length * self._framing.bits / server.baud
        who = request.unit if self._framing.serial else 0
        if (busy := talk.busy.get(who, 0.0) + _TICK) > (loop := asyncio.get_running_loop()).time():
            talk.busy[who] = busy  # a device answers in the order it is asked
            loop.call_at(busy, self._send_late, Packet(right))
            return
        held, talk.held = talk.held, []
        for packet in held:
            if packet.when == "next":  # of a fault that shows only now
                server.injected["twice-later"] += 1
                self._send(packet.data, 0.0)
        # No other fault beside one that reaches into this exchange: each has to be noticed by itself.
        name = None if held else server.wire.draw() or met.kind
        if not name or not self._spoil(name, request, frame, reply, delay, met):
            self._send(right, delay, reply)
        talk.before = right
        for packet in held:
            if packet.when == "after-next":
                self._send(packet.data, 0.0)

    def _spoil(self, name: str, request: Frame, answer: Frame, reply: Reply, delay: float, met: Met) -> bool:
        """Send what comes of the answer instead; False if that fault is not possible here."""
        server, talk, kind = self._server, self._conversation, KINDS[name]

        def other(unit: int, pdu: bytes) -> bytes:
            found = server.answer(unit, pdu)
            return found.pdu if found else b""

        plan = kind.plan(server.wire.exchange(self._framing, request, answer, talk.before, other, server.units))
        if plan is None:
            return False
        if name != "twice-later":
            server.injected[name] += 1
        if met.fault is not None and name == met.kind and server.script is not None:
            server.script.happenings.count(met.fault)
        if name == "half-open":
            talk.dead = server.wire.spell if self._framing.serial else float("inf")
        written = None if not kind.served else reply
        for packet in plan:
            if packet.when == "now":
                self._send(packet.data, delay + packet.pause, written)
                delay, written = 0.0, None
            elif packet.when == "late":
                loop = asyncio.get_running_loop()
                at = loop.time() + delay + (server.wire.late if met.late is None else met.late)
                loop.call_at(at, self._send_late, packet)
                if self._framing.serial and not kind.overtaken:
                    talk.busy[request.unit] = at
                elif name == "stalled":  # nothing gets in between
                    talk.busy[0] = at
            else:
                talk.held.append(packet)
        return True

    def _send(self, data: bytes, delay: float, reply: Reply | None = None) -> None:
        """A device works at one request after the other: a delayed answer delays those behind it."""
        if not delay and not self._waiting:
            self._write(data, reply)
            return
        loop = asyncio.get_running_loop()
        self._waiting += 1
        self._free_at = max(self._free_at, loop.time()) + max(delay, _TICK)
        loop.call_at(self._free_at, self._send_delayed, data, reply)

    def _send_delayed(self, data: bytes, reply: Reply | None) -> None:
        self._waiting -= 1
        self._write(data, reply)

    def _send_late(self, packet: Packet) -> None:
        data = packet.data
        if packet.newest:
            data = self._conversation.newest.to_bytes(2, "big") + data[2:]
        channel = self
        if self._outlet.is_closing() and self._framing.serial and self._server.channels:
            channel = self._server.channels[-1]  # a converter passes on what comes on its line, to whoever is there
        channel._write(data, None)

    def _write(self, data: bytes, reply: Reply | None) -> None:
        if not self._outlet.is_closing():
            if reply:
                self._server.write_down(reply)
            self._outlet.write(data)
