"""One Modbus link over any transport, one request at a time. The only place that knows pymodbus.

pymodbus matches an answer to a request by little more than its order, and takes what is wrong in unit, function, length
or number. So it carries bytes here, and keeps time; which bytes are the answer is judged by frames.py and shapes.py:

    request ─ pymodbus: frame, send ─▶ device ─▶ pymodbus: receive ─ every byte ─▶ judge ─┬ the answer: pymodbus is told
                                                                                         ├ late or twice: dropped
                                                                                         └ anything else: link closed

Whatever shows that request and answer are out of step closes the link, and what was on its way is lost with it. The
same goes for silence, after which an answer may still come. Every such fault is counted.
"""

from __future__ import annotations

import asyncio
import logging
import termios
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient, AsyncModbusTlsClient, AsyncModbusUdpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from adapters.modbus.connections import (
    ModbusAscii,
    ModbusConnection,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusTls,
    ModbusUdp,
)
from adapters.modbus.frames import (
    REFUSAL,
    Frame,
    Shape,
    Split,
    Wrong,
    mismatch,
    split_ascii,
    split_mbap,
    split_rtu,
    wrong_transaction,
)
from adapters.modbus.link import Answer, Request
from adapters.modbus.shapes import LATEST, Shapes
from adapters.modbus.signals import ADDRESSES, MAX_BITS, MAX_REGISTERS
from adapters.modbus.trouble import name_of, of_kind, sent_back, told, unanswered, why_closed, why_not_open
from gateway.adapter import Tap
from gateway.errors import NotConnectedError

# It logs each frame it does not like, with the last twenty; what is wrong is told by the errors raised here.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_REQUESTS = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
_PARITY = {"none": "N", "even": "E", "odd": "O"}
_PREPARED = 1000  # requests that are kept as pymodbus wants them
_NOISE = 500  # packets in a row that nobody asked for, until a link is closed
_BUFFER = 2048  # bytes; pymodbus would drop what is more than one answer
_DOUBTS = 3  # refusals that may be those of earlier requests, until one is believed
_WARY = 50  # answers that have to come once only, at the beginning and after each fault, until a line is trusted


class _Prepared(NamedTuple):
    """What does not change from one time a request is made to the next."""

    pdu: ModbusPDU
    shape: Shape
    head: bytes  # how its answer begins after the transaction id, where there is one
    whole: int  # bytes of that answer


class PymodbusLink:
    """A link that can be opened again after it was closed. See link.Link."""

    def __init__(
        self,
        settings: ModbusConnection,
        folder: Path,
        now: Callable[[], int] = time.time_ns,
        allowed: Callable[[Request], bool] = lambda _: True,
        tap: Tap | None = None,
    ) -> None:
        """See links.link_of."""
        self.name = name_of(settings)
        self._tap = tap
        self.faults: Counter[str] = Counter()
        self._settings, self._folder, self._now, self._allowed = settings, folder, now, allowed
        self._timeout = settings.timeout
        self._split = _splitter(settings)
        self._mbap = self._split is split_mbap
        numbered = self._mbap and getattr(settings.quirks, "transaction_ids", "") != "ignored"
        self._shapes = None if numbered else Shapes(self._timeout)
        self._prepared: dict[Request, _Prepared] = {}
        self._client: Any = None
        self._trouble = ""
        # The request under way:
        self._asked: _Prepared | None = None
        self._good = b""  # how its answer begins
        self._sent = b""  # as it stands on the wire
        self._transaction = 0
        self._heard = False  # whether anything came
        self._doubt = 0  # a refusal that came, and may be that of an earlier request
        self._data: bytes | int = b""  # of its answer, or the exception code
        self._time = 0
        self._reply = SimpleNamespace(dev_id=0, transaction_id=0, retries=0)  # what pymodbus is told
        # On lines without transaction ids:
        self._slowest = 0.005  # seconds an answer takes, of late
        self._noise = 0  # packets of it since the last answer
        self._noise_at = 0.0  # when something came that nobody had asked for
        self._answered_at = 0.0
        self._faults_seen, self._wary = 0, _WARY
        self._probing = False
        self._doubts: Counter[int] = Counter()  # refusals in a row that were not believed, by unit

    @property
    def connected(self) -> bool:
        """Whether a request can be sent. False after anything went wrong."""
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        """Connect. Raises NotConnectedError, with the reason and what to check."""
        self.close()
        try:
            client = _client_of(
                self._settings, self._folder, trace_packet=self._passing, trace_connect=self._on_connection
            )
            client.ctx.max_buffer_size = _BUFFER
            if self._tap is not None:
                _listen_in(client.ctx, self._tap)
            self._client, self._trouble = client, ""
            # What client.connect() does, but for the reason of a failure, which it keeps to itself.
            transport, _ = await asyncio.wait_for(client.ctx.call_create(), self._timeout)
        except (OSError, UnicodeError, ValueError, termios.error) as exc:
            self.close()
            traceback.clear_frames(exc.__traceback__)  # they hold a port that was opened and locked, before it failed
            why = why_not_open(self._settings, exc)
            if self._tap is not None:
                self._tap.failed(why)
            raise NotConnectedError(told(f"{self.name}: ", why)) from exc
        client.ctx.transport = transport
        if self._tap is not None:
            self._tap.opened()
        await asyncio.sleep(0)  # a serial port is set up by the loop
        if (port := getattr(transport, "sync_serial", None)) is not None:
            with suppress(OSError, ValueError, AttributeError, NotImplementedError):
                port.set_low_latency_mode(True)  # USB converters collect for 16 ms otherwise

    def close(self) -> None:
        """Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            if self._tap is not None:
                self._tap.closed()

    async def exchange(self, requests: Sequence[Request], pause: float = 0.0) -> list[Answer]:
        """One answer per request; fewer after trouble. See link.Link."""
        answers = []
        for request in requests:
            if pause or self._noise_at:
                await self._rest(pause)
            shapes = self._shapes
            answer = await (self._ask(request) if shapes is None else self._ask_by_shape(request, shapes, pause))
            answers.append(answer)
            if answer.lost:
                break
        return answers

    # --- one request -------------------------------------------------------------------------------------------------

    async def _rest(self, pause: float) -> None:
        """Since the last answer, and until what nobody asked for has ended; without an end the link is closed."""
        end = time.monotonic() + self._timeout + pause
        while (rest := max(self._answered_at, self._noise_at) + pause - time.monotonic()) > 0:
            if time.monotonic() > end:
                self._fail("unasked", "it sends without end what nobody asked for")
                break
            await asyncio.sleep(rest)
        self._noise_at = 0.0

    async def _ask(self, request: Request) -> Answer:
        if not self.connected:
            return Answer(trouble=told(f"{self.name}: ", self._trouble or "not connected"))
        asked = self._prepared.get(request) or self._prepare(request)
        self._reply.dev_id = request.unit
        self._asked, self._heard, self._trouble, self._doubt = asked, False, "", 0
        try:
            await self._client.execute(False, asked.pdu)
        except ModbusException:
            return self._doubtful(asked) if self._doubt and not self._trouble else self._broken(asked)
        finally:
            self._asked = None
        if self._trouble:
            return self._broken(asked)
        self._answered_at = time.monotonic()
        data = self._data
        return (
            Answer(data, 0, "", False, self._time) if isinstance(data, bytes) else Answer(None, data, time=self._time)
        )

    async def _ask_by_shape(self, request: Request, shapes: Shapes, pause: float) -> Answer:
        """On a line where only its shape tells an answer."""
        shape = Shape.of(request)
        if not shapes.free(shape, time.monotonic()):
            answer = await self._probe(request, shapes)
            if answer.trouble:
                return answer
            await self._rest(pause)
        begin = time.monotonic()
        faults = self.faults.total() - self.faults["no answer"]  # a unit that is silent says nothing twice
        if faults != self._faults_seen:
            self._faults_seen, self._wary = faults, _WARY
        again = self._wary > 0 and shapes.since(shape, begin) < LATEST * self._timeout
        answer = await self._ask(request)
        if answer.trouble:
            return answer
        self._slowest = max(0.99 * self._slowest, time.monotonic() - begin)
        if again:
            # Twice the same question in a row: what came could be the first answer once more, before the second one.
            self._noise_at = 0.0
            await asyncio.sleep(min(2 * self._slowest, self._timeout / 2))
            self._wary = max(0, self._wary - 1)
            if self._noise_at:
                shapes.missed(shape, time.monotonic())
                self.close()
                return Answer(
                    trouble=f"{self.name}: unit {request.unit}: it answers twice, and no telling which is right"
                )
        return answer

    async def _probe(self, request: Request, shapes: Shapes) -> Answer:
        """Ask for something of another shape, to know that all earlier answers have come; the values are not used."""
        most = MAX_BITS if request.table in ("coil", "discrete") else MAX_REGISTERS
        step = 8 if most == MAX_BITS else 1
        smaller = [request._replace(size=size) for size in range(request.size - step, 0, -step)]
        others = [each for each in self._prepared if each.unit == request.unit]
        larger = request._replace(size=request.size + step)
        if larger.size <= most and larger.address + larger.size <= ADDRESSES and self._allowed(larger):
            others.append(larger)
        now = time.monotonic()
        for other in (*smaller, *others):
            if shapes.free(Shape.of(other), now):
                self._probing = True
                answer = await self._ask(other)
                self._probing = False
                if answer.code:  # of this request or of one before: then the answer to this one is still to come
                    shapes.missed(Shape.of(other), time.monotonic())
                return answer
        wait = shapes.free_at(request.unit) - now
        text = f"its answers are late; it is not asked for another {wait:.1f} s"
        return Answer(trouble=told(f"{self.name}: unit {request.unit}: ", of_kind("late", text)), silent=True)

    def _prepare(self, request: Request) -> _Prepared:
        if len(self._prepared) >= _PREPARED:
            self._prepared.clear()
        shape = Shape.of(request)
        pdu = _REQUESTS[request.table](address=request.address, count=request.size, dev_id=request.unit)
        prepared = self._prepared[request] = _Prepared(pdu, shape, shape.mbap_head, 9 + shape.size)
        return prepared

    def _doubtful(self, asked: _Prepared) -> Answer:
        """Nothing came after a refusal that may be that of an earlier request. Thrice in a row it is believed."""
        unit = asked.shape.unit
        self._doubts[unit] += 1
        if self._doubts[unit] < _DOUBTS or not self.connected:
            self._trouble = of_kind("doubtful refusal", "its refusal may be that of an earlier request")
            return self._broken(asked)._replace(silent=True)
        if self._shapes is not None:
            self._shapes.missed(asked.shape, time.monotonic())
        self._answered_at = time.monotonic()
        return Answer(None, self._doubt, time=self._now())

    def _broken(self, asked: _Prepared) -> Answer:
        """Out of step, or silence: the link is closed."""
        self.close()
        if self._shapes is not None:
            self._shapes.missed(asked.shape, time.monotonic())
        unit = asked.shape.unit
        if self._trouble:
            return Answer(trouble=told(f"{self.name}: unit {unit}: ", self._trouble))
        self.faults["half an answer" if self._heard else "no answer"] += 1
        return Answer(trouble=told(f"{self.name}: unit {unit} ", unanswered(self._settings, self._heard)), silent=True)

    # --- what pymodbus calls -----------------------------------------------------------------------------------------

    def _passing(self, sending: bool, data: bytes) -> bytes:
        """Every packet passes here; of what is received, pymodbus gets nothing. `data`: all that has come so far."""
        asked = self._asked
        if sending:
            self._sent = data
            if self._mbap and asked is not None:
                self._transaction = int.from_bytes(data[:2], "big")
                self._good = data[:2] + asked.head
            return data
        if asked is None:
            self._unasked(data)
        elif self._client is None:
            pass  # closed, and something was still on its way
        elif self._mbap and len(data) == asked.whole and data.startswith(self._good):
            self._resolve(data[9:])
        else:
            self._heard = True
            try:
                self._judge(asked, data)
            except Wrong as exc:
                echo = data.startswith(self._sent) or self._sent.startswith(data)
                self._fail("echo" if echo else exc.kind, sent_back(self._settings) if echo else str(exc))
        return b""

    def _judge(self, asked: _Prepared, data: bytes) -> None:
        """Find the answer in what has come so far. Raises Wrong."""
        while data and (frame := self._split(data)) is not None:
            rest = data[frame.length :]
            wrong = self._wrong(asked, frame)
            if wrong is None and self._in_doubt(asked, frame):
                self._doubt = frame.body[2]
                self.faults["doubtful refusal"] += 1
                data = self._client.ctx.recv_buffer = rest
                continue
            if wrong is None:
                if rest and not (self._shapes is not None and data.startswith(rest)):
                    raise Wrong("duplicate", f"{len(data)} bytes arrived at once: it answers twice")
                if rest:
                    self.faults["duplicate"] += 1
                body = frame.body
                self._resolve(body[2] if body[1] & REFUSAL else body[3:])
                return
            if self._shapes is None or (kind := self._shapes.kind(_shape_of(frame))) is None:
                raise wrong
            self.faults[kind] += 1
            data = self._client.ctx.recv_buffer = rest

    def _wrong(self, asked: _Prepared, frame: Frame) -> Wrong | None:
        if self._shapes is None and frame.transaction != self._transaction:
            return Wrong("wrong transaction", wrong_transaction(frame.transaction))
        return mismatch(asked.shape, frame.body)

    def _in_doubt(self, asked: _Prepared, frame: Frame) -> bool:
        """Whether a refusal may be that of an earlier request: then ours is still to come."""
        shapes, shape = self._shapes, asked.shape
        if shapes is None or not frame.body[1] & REFUSAL or not shapes.in_doubt(shape):
            return False
        shapes.settled(shape.unit)
        return not self._probing

    def _unasked(self, data: bytes) -> None:
        if self._shapes is None:
            self._fail("unasked", "it sends what nobody asked for")
            return
        self._noise_at = time.monotonic()
        self._noise += 1
        if self._noise > _NOISE:
            self._fail("unasked", "it sends without end what nobody asked for")
            return
        kind = None
        with suppress(Wrong):
            frame = self._split(data)
            if frame is None and len(data) < _BUFFER // 4:
                return  # it may become a whole one
            kind = frame and self._shapes.kind(_shape_of(frame))
        self.faults[kind or "unasked"] += 1
        if self._client is not None:
            self._client.ctx.recv_buffer = b""

    def _resolve(self, data: bytes | int) -> None:
        self._noise = 0
        if self._doubts and self._asked is not None and not self._probing:
            del self._doubts[self._asked.shape.unit]
        if self._shapes is not None and self._asked is not None:
            self._shapes.answered(self._asked.shape, time.monotonic(), isinstance(data, int))
        waiting = self._client.ctx.response_future
        if not waiting.done():
            self._data, self._time = data, self._now()
            waiting.set_result(self._reply)
        self._client.ctx.recv_buffer = b""

    def _on_connection(self, connected: bool) -> None:
        if not connected and self._client is not None:
            if self._tap is not None:
                self._tap.closed(why_closed(self._settings))
            self._fail("closed", why_closed(self._settings))

    def _fail(self, kind: str, trouble: str) -> None:
        """Wake the request under way; the link is not to be used again."""
        self.faults[kind] += 1
        self._trouble = self._trouble or of_kind(kind, trouble)
        if self._client is None:
            return
        if self._asked is None:
            self.close()
        elif not (waiting := self._client.ctx.response_future).done():
            waiting.set_exception(ModbusException(trouble))


def _listen_in(channel: Any, tap: Tap) -> None:
    """Tell of every byte: what pymodbus sends, and what comes, before it is put together."""
    send, receive = channel.low_level_send, channel.datagram_received

    def sending(data: bytes, *more: Any, **names: Any) -> None:
        tap.sent(data)
        send(data, *more, **names)

    def receiving(data: bytes, *more: Any) -> None:
        tap.received(data)
        receive(data, *more)

    channel.low_level_send, channel.datagram_received = sending, receiving


def _shape_of(frame: Frame) -> Shape:
    unit, function, size = frame.body[:3]
    return Shape(unit, function, 0 if function & REFUSAL else size)


def _splitter(settings: ModbusConnection) -> Split:
    if isinstance(settings, (ModbusRtu, ModbusRtuOverTcp)):
        return split_rtu
    return split_ascii if isinstance(settings, ModbusAscii) else split_mbap


def _client_of(settings: ModbusConnection, folder: Path, **traces: Any) -> Any:
    """The client of pymodbus for a transport. Raises OSError for certificates that cannot be read."""
    common = {"timeout": settings.timeout, "retries": 0, "reconnect_delay": 0, **traces}
    match settings:
        case ModbusTcp():
            return AsyncModbusTcpClient(settings.host, port=settings.port, **common)
        case ModbusRtuOverTcp():
            return AsyncModbusTcpClient(settings.host, port=settings.port, framer=FramerType.RTU, **common)
        case ModbusAscii(host=str(host), port=int(port)):
            return AsyncModbusTcpClient(host, port=port, framer=FramerType.ASCII, **common)
        case ModbusUdp():
            return AsyncModbusUdpClient(settings.host, port=settings.port, **common)
        case ModbusTls():
            return _tls_client(settings, folder, common)
        case ModbusRtu() | ModbusAscii():
            ascii = isinstance(settings, ModbusAscii)
            return AsyncModbusSerialClient(
                str(settings.port),
                framer=FramerType.ASCII if ascii else FramerType.RTU,
                baudrate=settings.baud,
                bytesize=settings.data_bits if isinstance(settings, ModbusAscii) else 8,
                parity=_PARITY[settings.parity],
                stopbits=settings.stop_bits,
                handle_local_echo=settings.quirks.local_echo,
                **common,
            )
    raise TypeError(type(settings).__name__)


def _tls_client(settings: ModbusTls, folder: Path, common: dict[str, Any]) -> Any:
    """MODBUS/TCP Security V36: TLS 1.2 at least, both sides show a certificate."""
    import ssl

    context = ssl.create_default_context(cafile=folder / settings.ca if settings.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert and settings.key:
        # Nobody is there to be asked for the password of a key.
        context.load_cert_chain(folder / settings.cert, folder / settings.key, password=lambda: b"")
    client = AsyncModbusTlsClient(settings.host, port=settings.port, sslctx=context, **common)
    # pymodbus has no way to say which name the certificate should have.
    client.ctx.call_create = partial(
        client.ctx.loop.create_connection,
        client.ctx.handle_new_connection,
        settings.host,
        settings.port,
        ssl=context,
        server_hostname=settings.server_name or settings.host,
    )
    return client
