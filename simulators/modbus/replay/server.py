"""A Modbus machine that was recorded, as a server.

recording ─▶ conversation ─▶ Responder ─ what comes of a request at this time ─▶ Channel ─▶ bytes, each after its delay
                                            └─ read with the machine's signals ─▶ Ledger
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any

from gateway.config import ConnectionSettings
from gateway.errors import RecordingError
from gateway.recording import Entry
from simulators.machine import Replaying
from simulators.modbus.faults import Failure, Request
from simulators.modbus.framing import MBAP, Frame
from simulators.modbus.replay.carried import Carried
from simulators.modbus.replay.conversation import FRAMINGS, Came, conversation
from simulators.modbus.replay.responder import Responder, Said
from simulators.modbus.server import Channel, ModbusServer, Outlet, Reply, Transport

log = logging.getLogger(__name__)

_LOOK_INTERVAL = 0.02  # seconds between two looks whether the machine is to be reached
_NUMBERS = 64  # requests after which nothing comes of one any more
_SPAN = struct.Struct(">HH")

_REFUSED = {
    "unit": "a unit that was never asked for",
    "address": "addresses that were never read",
    "function": "a function that was never used",
    "write": "a write that was not recorded",
    "value": "no request that could be answered",
}


class ReplayedServer(ModbusServer):
    """Answers as the recorded machine did. `faults` come on top of what is recorded."""

    def __init__(self, replaying: Replaying, responder: Responder, transport: Transport) -> None:
        if replaying.end is not None:  # the part is a recording of its own
            replaying = replace(replaying, begin=0.0)
        super().__init__({}, replaying.ledger, replaying.clock, replaying.start, transport)
        self.replaying, self.responder = replaying, responder
        # Requests that the recording does not have, by kind: "composed" of what it has, or why they were refused.
        self.unexpected: Counter[str] = Counter()
        self.as_it_was = FRAMINGS[replaying.head.protocol] is transport.framing
        connection = connection_of(replaying)
        self.patience = connection.timeout if connection is not None else float("inf")  # seconds its client waits
        self._carried = Carried(replaying, responder)
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Lock()
        self._fixed = replaying.head.source == "registers"
        self._told_end = self._fixed  # they have none

    @property
    def units(self) -> Sequence[int]:
        return self.responder.units

    @property
    def address(self) -> Mapping[str, object]:
        address = dict(super().address)
        address["protocol"] = self.replaying.protocol or self.replaying.head.protocol
        quirks: Any = getattr(connection_of(self.replaying), "quirks", None)
        if getattr(quirks, "local_echo", False):
            # The echo of a line is no part of what the machine said.
            address["quirks"] = quirks.model_copy(update={"local_echo": False})
        return address

    @property
    def about(self) -> str:
        """What it replays, for people."""
        count, units = self.responder.exchanges, self.units
        what = "registers of" if self._fixed else f"{count:,} exchange{'s' if count != 1 else ''} with"
        return f"{what} unit{'s' if len(units) != 1 else ''} {', '.join(map(str, units)) or 'unknown'}"

    @property
    def empty(self) -> str:
        """Why there is nothing to play back; empty where there is."""
        if self.responder.exchanges or self.responder.leaves:
            return ""
        part = "it" if self.replaying.end is None else "this part of it"
        return f"there is no whole exchange in {part}, so there is nothing to play back"

    @property
    def length(self) -> float:
        """Seconds that the recording takes."""
        return self.responder.length / 1e9

    def time(self) -> int:
        """ns into the recording."""
        return max(0, self.replaying.at(self.replaying.clock.now()))

    async def listen(self) -> None:
        await self.transport.open(lambda outlet: _Channel(self, outlet))
        await self.look()
        if self.responder.leaves and self.transport.connects:
            self._looking = asyncio.create_task(self._keep_looking(), name=f"replay[{self.replaying.name}]")

    async def look(self) -> None:
        """Be reached, or not, as the machine was at this time. Happens by itself, but later than a clock is moved by hand."""
        if not self.transport.connects:
            return
        async with self._look:
            for channel in list(self.channels):
                channel.check()
            if self.responder.away(self.time()):
                self.transport.refuse()
            else:
                await self.transport.accept()

    async def stop(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        await super().stop()

    def answer(self, unit: int, pdu: bytes, failure: Failure | None = None) -> Reply | None:
        """What the machine says, whenever it said it; with `failure`, that exception."""
        if isinstance(failure, int):
            return Reply(bytes((pdu[0] | 0x80, failure)), self._clock.now(), ())
        said = self.say(Frame(0, unit, pdu))
        answer = next((came.pdu for came in said.came if came.pdu), None)
        return None if answer is None else self.reply(Frame(0, unit, pdu), answer)

    def say(self, request: Frame) -> Said:
        """What comes of it. Counted where the recording does not have it, and told the first time."""
        time = self.time()
        if self.responder.over(time) and not self._told_end:
            self._told_end = True
            log.warning("%s: the recording is over: what it said last stays", self.replaying.name)
        said = self.responder.answer(request.unit, request.pdu, time)
        if said.kind:
            self.unexpected[said.kind] += 1
            if self.unexpected[said.kind] == 1 and said.kind in _REFUSED:
                asked = f"unit {request.unit}, {request.pdu[:8].hex(' ')}{' …' if len(request.pdu) > 8 else ''}"
                log.warning("%s: somebody asks for %s: %s", self.replaying.name, _REFUSED[said.kind], asked)
        return said

    def reply(self, request: Frame, answer: bytes) -> Reply:
        """With what it carries of the machines that are known."""
        now = self.replaying.clock.now()
        return Reply(answer, now, self._carried.by(request.unit, request.pdu, answer, now))

    async def _keep_looking(self) -> None:
        trouble = ""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            try:
                await self.look()
                trouble = ""
            except OSError as exc:  # somebody else has taken the port meanwhile
                if str(exc) != trouble:
                    log.warning("%s: it should be reached again: %s", self.replaying.name, exc)
                trouble = str(exc)


class _Channel(Channel):
    """One client of a replayed machine: what comes, comes at its own time, whatever else is on its way."""

    _server: ReplayedServer

    def __init__(self, server: ReplayedServer, outlet: Outlet) -> None:
        super().__init__(server, outlet)
        self._gone = False  # what is asked now meets nobody
        self._numbers: dict[int, int] = {}  # recorded transaction ids, and those of this client for the same requests
        self._seen = server.time()  # up to here nothing has cut it
        if server.responder.away(self._seen):
            self.abort()

    def check(self) -> None:
        """Close it where the machine closed it, or could not be reached any more."""
        responder = self._server.responder
        before, self._seen = self._seen, self._server.time()
        self._gone = responder.away(self._seen) or responder.cut(before, self._seen)
        if self._gone:
            self.abort()

    def _request(self, request: Frame) -> None:
        server = self._server
        address, size = _SPAN.unpack_from(request.pdu, 1) if len(request.pdu) == 5 else (0, 0)
        failure = server.faults.judge(Request(request.unit, request.pdu[0], address, size))
        self.check()
        if self._gone:
            return
        if failure == "drop":
            self.abort()
        elif isinstance(failure, int) and (reply := server.answer(request.unit, request.pdu, failure)):
            self._write(self._framing.encode(request._replace(pdu=reply.pdu)), None)
        elif failure is None:
            self._say(request, server.say(request))

    def _say(self, request: Frame, said: Said) -> None:
        server, speed = self._server, self._server.replaying.speed
        if said.kind == "unit" and self._framing.serial:
            return
        if not said.kind:
            self._numbers.pop(said.transaction, None)
            self._numbers[said.transaction] = request.transaction
            if len(self._numbers) > _NUMBERS:
                del self._numbers[next(iter(self._numbers))]
        for came in said.came:
            wait = server.faults.delay + came.delay / 1e9 / speed
            # An answer that is too late, or has a wrong number, is none for its client.
            counts = came.pdu and wait < server.patience and not (came.raw and server.as_it_was)
            reply = server.reply(request, came.pdu) if counts else None
            if data := self._bytes(request, came):
                self._at(wait, self._write, data, reply)
        if said.cut is not None:
            self._at(said.cut / 1e9 / speed, self.abort)

    def _bytes(self, request: Frame, came: Came) -> bytes:
        """As they stand on the wire; none where they cannot."""
        if came.raw and self._server.as_it_was:
            return renumbered(came.raw, self._numbers) if self._framing is MBAP else came.raw
        return self._framing.encode(request._replace(pdu=came.pdu)) if came.pdu else b""

    def _at(self, wait: float, do: Callable[..., None], *arguments: object) -> None:
        if wait <= 0:
            do(*arguments)
        else:
            asyncio.get_running_loop().call_later(wait, do, *arguments)


def renumbered(raw: bytes, numbers: Mapping[int, int]) -> bytes:
    """Bytes with MBAP frames among them: transaction ids that `numbers` has are replaced."""
    out, at = bytearray(raw), 0
    while at < len(raw):
        head = raw[at : at + 6]
        begins = not any(head[2:5]) and (len(head) < 6 or 2 <= head[5] <= 254)
        # What was cut off may be less than a head, and then be all that there is.
        begins = begins and (len(head) >= 5 or at == 0)
        if begins and (number := numbers.get(int.from_bytes(head[:2], "big"))) is not None:
            out[at : at + 2] = number.to_bytes(2, "big")[: len(head)]
            at += len(head)
        else:
            at += 1
    return bytes(out)


def connection_of(replaying: Replaying) -> ConnectionSettings | None:
    """The recorded connection, where a configuration tells of it."""
    if replaying.configuration is None:
        return None
    names = {replaying.configuration.machines[machine].connection for machine in replaying.machines}
    return replaying.configuration.connections[names.pop()] if len(names) == 1 else None


def until(entries: Iterable[Entry], end: float) -> Iterator[Entry]:
    """Up to there; seconds into the recording."""
    return takewhile(lambda entry: entry.at < end * 1e9, entries)


def responder_of(replaying: Replaying) -> Responder:
    """Reads the recording, or the part of it that is to be played. Raises RecordingError where nothing is in it."""
    echo = bool(getattr(getattr(connection_of(replaying), "quirks", None), "local_echo", False))
    end = replaying.end
    entries = replaying.entries if end is None else until(replaying.entries, end)
    items = conversation(entries, replaying.head.protocol, echo)
    begin = None if end is None else round(replaying.begin * 1e9)
    responder = Responder(items, loop=replaying.loop, ideal=replaying.ideal, begin=begin)
    if begin and not responder.length:
        raise RecordingError(f"it ends before {replaying.begin:g} s, where the part begins that is to be played")
    return responder
