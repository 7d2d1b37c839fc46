"""Modbus TCP with several requests on their way, for devices that take more than one at a time.

pymodbus has one request under way at most, so this is a small client of our own behind the same interface, and only for
connections with `max_in_flight`. What it believes is what client.py believes: transaction id, protocol id, length, unit
id, function code and byte count of an answer all have to be right, or the link is closed.

    requests ─▶ the first `window` in one write ─▶ device
    answers  ◀─ by transaction id; each makes room for the next request
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from adapters.modbus.connections import ModbusTcp
from adapters.modbus.frames import REFUSAL, Shape, Wrong, mismatch, split_mbap, wrong_transaction
from adapters.modbus.link import GONE, Answer, Request
from adapters.modbus.trouble import name_of, of_kind, told, unanswered, why_closed, why_not_open
from gateway.adapter import Tap
from gateway.errors import NotConnectedError

_PREPARED = 1000  # requests that are kept as they go over the wire
_BUFFER = 1 << 16


class _Prepared(NamedTuple):
    """A request and its answer, without their transaction ids."""

    request: bytes
    shape: Shape
    good: bytes  # how the answer begins after the transaction id
    size: int  # bytes of data in it


class PipelinedLink(asyncio.BufferedProtocol):
    """A link that can be opened again after it was closed. See link.Link."""

    def __init__(self, settings: ModbusTcp, now: Callable[[], int] = time.time_ns, tap: Tap | None = None) -> None:
        """See links.link_of."""
        self.name = name_of(settings)
        self._tap = tap
        self.faults: Counter[str] = Counter()
        self._settings, self._now = settings, now
        self._window = settings.max_in_flight
        self._transport: asyncio.Transport | None = None
        self._prepared: dict[Request, _Prepared] = {}
        self._buffer = memoryview(bytearray(_BUFFER))
        self._begun = b""  # of an answer that has not come completely
        self._transaction = 0
        self._answered_at = 0.0
        # The exchange under way:
        self._todo: list[_Prepared] = []
        self._next = 0  # of those, the first that was not sent
        self._sent: dict[int, tuple[int, _Prepared]] = {}  # by transaction id: its place, and what was asked
        self._answers: list[Answer | None] = []
        self._done: asyncio.Future[None] | None = None
        self._trouble = ""
        self._silent = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether requests can be sent. False after anything went wrong."""
        return self._transport is not None

    async def open(self) -> None:
        """Connect. Raises NotConnectedError, with the reason and what to check."""
        self.close()
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await asyncio.wait_for(
                loop.create_connection(lambda: self, self._settings.host, self._settings.port), self._settings.timeout
            )
        except (OSError, UnicodeError) as exc:
            why = why_not_open(self._settings, exc)
            if self._tap is not None:
                self._tap.failed(why)
            raise NotConnectedError(told(f"{self.name}: ", why)) from exc
        self._transport, self._begun, self._trouble = transport, b"", ""
        if self._tap is not None:
            self._tap.opened()

    def close(self) -> None:
        """Safe to call twice."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            if self._tap is not None:
                self._tap.closed()

    async def exchange(self, requests: Sequence[Request], pause: float = 0.0) -> list[Answer]:
        """One answer per request. See link.Link. With a pause only one is on its way at a time."""
        if not pause:
            return await self._exchange(requests)
        answers: list[Answer] = []
        for request in requests:
            if (rest := self._answered_at + pause - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            answers += await self._exchange([request])
            if answers[-1].lost:
                break
        return answers

    async def _exchange(self, requests: Sequence[Request]) -> list[Answer]:
        if not requests:
            return []
        if self._transport is None:
            return [Answer(trouble=self._trouble or f"{self.name}: not connected")]
        loop = asyncio.get_running_loop()
        self._todo = [self._prepared.get(request) or self._prepare(request) for request in requests]
        self._answers = [None] * len(requests)
        self._next, self._trouble, self._silent = 0, "", False
        self._sent.clear()
        self._done = loop.create_future()
        self._answered_at = time.monotonic()
        self._timer = loop.call_later(self._settings.timeout, self._look)
        try:
            self._send()
            await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._done = None
            self._todo = []
        if self._trouble:
            none = Answer(trouble=self._trouble, silent=self._silent)
            # What came before silence is right. Before anything else it is not trusted: which of two answers was ours,
            # and was one filled up with the beginning of the next?
            return [(answer if self._silent and not self._begun else None) or none for answer in self._answers]
        if None in self._answers:  # nothing more was asked for after an exception of GONE
            return [answer for answer in self._answers if answer is not None]
        return cast("list[Answer]", self._answers)

    def _prepare(self, request: Request) -> _Prepared:
        if len(self._prepared) >= _PREPARED:
            self._prepared.clear()
        shape = Shape.of(request)
        head = bytes((0, 0, 0, 6, shape.unit, shape.function))
        body = request.address.to_bytes(2, "big") + request.size.to_bytes(2, "big")
        prepared = self._prepared[request] = _Prepared(head + body, shape, shape.mbap_head, shape.size)
        return prepared

    def _send(self) -> None:
        """As many as there is room for."""
        frames = []
        while self._next < len(self._todo) and len(self._sent) < self._window:
            self._transaction = self._transaction % 0xFFFF + 1
            asked = self._todo[self._next]
            self._sent[self._transaction] = self._next, asked
            frames.append(self._transaction.to_bytes(2, "big") + asked.request)
            self._next += 1
        if frames and self._transport is not None:
            if self._tap is not None:
                self._tap.sent(b"".join(frames))
            try:
                self._transport.write(b"".join(frames))
            except RuntimeError:  # uvloop's, for a transport that has just been closed by the other side
                self._fail("closed", why_closed(self._settings))

    def _look(self) -> None:
        """Once per timeout: has anything come since? One timer for all that is on its way."""
        if self._done is None or self._done.done():
            return
        loop, timeout = asyncio.get_running_loop(), self._settings.timeout
        if (rest := self._answered_at + timeout - time.monotonic()) > 0:
            self._timer = loop.call_later(rest, self._look)
            return
        self._silent = True
        text = unanswered(self._settings, bool(self._begun))
        self._fail("half an answer" if self._begun else "no answer", text, " ")

    # --- what the transport calls ------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where to put what arrives."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """It arrived."""
        data = bytes(self._buffer[:nbytes])
        if self._tap is not None:
            self._tap.received(data)
        if self._begun:
            data = self._begun + data
        if self._done is None or self._done.done():
            self._fail("unasked", "it sends what nobody asked for")
            return
        try:
            at = self._take(data)
        except Wrong as exc:
            self._fail(exc.kind, str(exc))
            return
        self._begun = data[at:]
        if at:  # a byte now and then is no answer
            self._answered_at = time.monotonic()
        if self._next < len(self._todo):
            self._send()
        elif not self._sent:
            if self._begun:
                self._fail("duplicate", "it answers twice")
            else:
                self._done.set_result(None)

    def _take(self, data: bytes) -> int:
        """All whole answers of `data`; where the rest begins. Raises Wrong."""
        at, now, sent, answers = 0, self._now(), self._sent, self._answers
        while len(data) - at >= 9:
            found = sent.get(data[at] << 8 | data[at + 1])
            if found is not None and data.startswith(found[1].good, at + 2):
                end = at + 9 + found[1].size
                if end > len(data):
                    break
                answers[found[0]] = Answer(data[at + 9 : end], 0, "", False, now)
            else:
                frame = split_mbap(data[at:])
                if frame is None:
                    break
                if found is None:
                    raise Wrong("wrong transaction", wrong_transaction(frame.transaction))
                if (wrong := mismatch(found[1].shape, frame.body)) is not None:
                    raise wrong
                assert frame.body[1] & REFUSAL
                answers[found[0]] = Answer(None, frame.body[2], time=now)
                if frame.body[2] in GONE:
                    self._next = len(self._todo)  # those behind it would cost as much
                end = at + frame.length
            del sent[data[at] << 8 | data[at + 1]]
            at = end
        return at

    def eof_received(self) -> None:
        """The other side has closed its end."""

    def connection_lost(self, _: Exception | None) -> None:
        """The transport is gone."""
        if self._transport is not None:
            if self._tap is not None:
                self._tap.closed(why_closed(self._settings))
            self._fail("closed", why_closed(self._settings))

    def _fail(self, kind: str, trouble: str, colon: str = ": ") -> None:
        """Wake the exchange under way; the link is not to be used again."""
        self.faults[kind] += 1
        oldest = next((asked for _, asked in self._sent.values()), next(iter(self._todo), None))
        prefix = f"{self.name}: unit {oldest.shape.unit}{colon}" if oldest else f"{self.name}: "
        self._trouble = told(prefix, of_kind(kind, trouble))
        self.close()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
