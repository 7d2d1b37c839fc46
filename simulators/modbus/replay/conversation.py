"""From what stood on the wire to exchanges: each request, and what came of it. Pure.

    entries ─▶ frames of each link ─▶ requests and their answers ─▶ Exchange, Exchange, Away, Exchange, …, End

Where a transaction id stands before a frame, an answer is told by that; elsewhere by standing behind its request and
fitting it. What fits nothing is kept as it came, beside the request that was the newest then: it came to a client that
waited for that one's answer. Exchanges are told when nothing can be added to them, so not always in the order of their times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from gateway.recording import Entry, Kind
from simulators.modbus.framing import ASCII, MBAP, RTU, Frame, Framing, NotModbusError, request_size
from simulators.modbus.replay.search import OPEN, AsciiSearch, RtuSearch, Search

_OPEN = 64  # requests of a link for which something may still come
_PATIENCE = 60_000_000_000  # ns; so does a request
_LINKS = 1000  # that are open at a time; more are none of ours
_STILL_WAITING = 1_000_000_000  # ns before the end of a recording: what was asked since then has no answer yet
_USED_AGAIN = 1_000_000_000  # ns; a transaction id that comes again later is another one
_MOST_RAW = 64  # pieces beside the answer of one request
_LONGEST_PIECE = 64 << 10  # bytes that are looked at of one piece; no client sends that much at once
_LONGEST_ANSWER = 1 << 10  # bytes among which an answer is looked for: twice the longest ASCII frame
_MOST_PIECES = 1 << 10  # in which an answer is looked for, behind one request: as many as these are bytes
_LONGEST = {RTU: 256, ASCII: 513}  # bytes of a frame: over Serial Line V1.02, 2.5.1.1 and 2.5.2.1

FRAMINGS: dict[str, Framing] = {
    "modbus-tcp": MBAP, "modbus-tls": MBAP, "modbus-udp": MBAP,
    "modbus-rtu": RTU, "modbus-rtu-over-tcp": RTU, "modbus-ascii": ASCII,
}  # fmt: skip


class Came(NamedTuple):
    """Something that came from the machine."""

    delay: int  # ns after the request
    pdu: bytes = b""  # the answer; empty where it is none
    raw: bytes = b""  # as it stood on the wire, where that is not the frame of the answer


class Exchange(NamedTuple):
    """A request and what came of it; nothing: silence."""

    at: int  # ns since the recording began
    link: int
    unit: int
    request: bytes  # PDU
    came: tuple[Came, ...] = ()  # in the order of times
    transaction: int = 0  # that the request had
    cut: int | None = None  # ns after the request at which the machine closed the connection instead of answering

    @property
    def answer(self) -> bytes | None:
        """The PDU of the answer."""
        return next((came.pdu for came in self.came if came.pdu), None)


class Away(NamedTuple):
    """The machine could not be reached. Times in ns since the recording began."""

    since: int
    until: int | None  # None: to the end
    why: str


class Cut(NamedTuple):
    """The machine closed a connection on which nothing was waited for."""

    at: int
    link: int


class End(NamedTuple):
    """The last entry of the recording."""

    at: int


Item = Exchange | Away | Cut | End


def conversation(entries: Iterable[Entry], protocol: str, echo: bool = False) -> Iterator[Item]:
    """All that happened; an End is last. Never raises for what the entries say.

    `protocol`: one of FRAMINGS. `echo`: the line is known to bring back what is sent.
    """
    links: dict[int, _Link] = {}
    left: list[Exchange] = []  # without an answer when their clients went away: silence, if anything comes after that
    reach, now = _Reach(), 0
    for entry in entries:
        now = max(now, entry.at)
        kind, number = entry.kind, entry.link
        if kind in (Kind.SENT, Kind.OPENED) and left:
            yield from left
            left = []
        if kind in (Kind.SENT, Kind.RECEIVED):
            link = links.get(number)
            if link is None:
                if len(links) >= _LINKS:
                    yield from links.pop(next(iter(links))).end()
                link = links[number] = _link(number, protocol, echo)
            if kind is Kind.SENT:
                link.sent(now, entry.data[-_LONGEST_PIECE:])
            else:
                link.received(now, entry.data[:_LONGEST_PIECE])
                yield from reach.reached(now)
            yield from link.done()
        elif kind is Kind.CLOSED:
            waiting = False
            if (link := links.pop(number, None)) is not None:
                waiting = bool(entry.data) and link.cut(now)
                sure, unsure = _sure(link.end())
                yield from sure
                left += unsure
            if entry.data and not waiting:
                yield Cut(now, number)
        elif kind is Kind.LEFT_OUT and number in links:
            yield from links[number].forget()
        yield from reach.entry(now, kind, entry.data)
    for link in links.values():
        sure, unsure = _sure(link.end())
        yield from sure
        yield from (each for each in unsure if now - each.at >= _STILL_WAITING)
    yield from reach.end()
    yield End(now)


def _sure(exchanges: list[Exchange]) -> tuple[list[Exchange], list[Exchange]]:
    """And those at the end that have no answer, and might have had one if it had gone on."""
    end = len(exchanges)
    while end and not exchanges[end - 1].came and exchanges[end - 1].cut is None:
        end -= 1
    return exchanges[:end], exchanges[end:]


class _Reach:
    """When the machine was there.

    It went away somewhere between the last sign of life and the first try that failed, and came back between the last of those and
    the one that did not: in the middle of each, a client that tries again in the same rhythm meets the same.
    """

    def __init__(self) -> None:
        self._alive, self._cut, self._since, self._failed, self._why = 0, -1, -1, 0, ""

    def entry(self, at: int, kind: Kind, data: bytes) -> Iterator[Away]:
        if kind is Kind.FAILED:
            if self._since < 0:
                self._since = self._cut if self._cut >= 0 else (self._alive + at) // 2
            self._failed, self._why = at, data[:200].decode("utf-8", "replace")
            return
        if kind is Kind.OPENED:
            yield from self.reached(at)
        if kind is Kind.CLOSED and data:
            self._cut = at
        elif kind is not Kind.CLOSED:
            self._cut = -1
        self._alive = at

    def reached(self, at: int) -> Iterator[Away]:
        """It answers."""
        if self._since >= 0:
            yield Away(self._since, (self._failed + at) // 2, self._why)
            self._since = -1

    def end(self) -> Iterator[Away]:
        if self._since >= 0:
            yield Away(self._since, None, self._why)


# --- links -----------------------------------------------------------------------------------------------------------


class _Asked:
    """A request for which something may still come."""

    __slots__ = ("answered", "at", "came", "cut", "frame")

    def __init__(self, at: int, frame: Frame) -> None:
        self.at, self.frame = at, frame
        self.came: list[Came] = []
        self.answered = False
        self.cut: int | None = None

    def fits(self, unit: int, pdu: bytes) -> bool:
        return not self.answered and unit == self.frame.unit and fits(self.frame.pdu, pdu)

    def answer(self, at: int, pdu: bytes, raw: bytes = b"") -> None:
        self.answered = True
        self.came.append(Came(at - self.at, pdu, raw))

    def add(self, at: int, raw: bytes) -> None:
        if len(self.came) < _MOST_RAW and raw:
            self.came.append(Came(at - self.at, raw=raw))

    def exchange(self, link: int) -> Exchange:
        transaction, unit, pdu = self.frame
        return Exchange(self.at, link, unit, pdu, tuple(self.came), transaction, self.cut)


class _Link(Protocol):
    """One client's way to the machine."""

    def sent(self, at: int, data: bytes) -> None: ...

    def received(self, at: int, data: bytes) -> None: ...

    def done(self) -> Iterator[Exchange]:
        """Those to which nothing can be added."""

    def cut(self, at: int) -> bool:
        """The machine closed the connection; whether it was to answer something."""

    def end(self) -> list[Exchange]:
        """All that are left: nothing more will come."""

    def forget(self) -> list[Exchange]:
        """The same where some of it is missing: what has no answer may have had one."""


def _link(number: int, protocol: str, echo: bool) -> _Link:
    framing = FRAMINGS[protocol]
    if framing is MBAP:
        return _Numbered(number, protocol == "modbus-udp")
    return _InTurn(number, framing, echo)


class _Numbered:
    """A link with transaction ids: several requests may be on their way, and their answers come in any order."""

    def __init__(self, number: int, datagrams: bool) -> None:
        self._number, self._datagrams = number, datagrams
        self._asked: deque[_Asked] = deque()  # those answered among them, for what comes twice
        self._sent = b""
        self._pieces: list[tuple[int, bytes]] = []  # of a frame that is not complete
        self._now = 0

    def sent(self, at: int, data: bytes) -> None:
        self._now = at
        data, self._sent, start = self._sent + data, b"", 0
        try:
            while True:
                frame, start = MBAP.request(data, start)
                if frame is None:
                    break
                self._asked.append(_Asked(at, frame))
            self._sent = b"" if self._datagrams else data[start:]
        except NotModbusError:
            pass  # what follows begins with the next piece

    def received(self, at: int, data: bytes) -> None:
        self._now = at
        if not data:
            return
        if self._pieces and self._begins(data):
            self._give_up()  # what was begun goes no further
        self._pieces.append((at, data))
        data, start = b"".join(piece for _, piece in self._pieces), 0
        try:
            while True:
                begin = start
                frame, start = MBAP.request(data, start)
                if frame is None:
                    break
                self._frame(at, frame, data[begin:start])
            self._pieces = self._rest(start)
            if self._datagrams:
                self._give_up()
        except NotModbusError:
            self._pieces = self._rest(begin)
            self._give_up()

    def done(self) -> Iterator[Exchange]:
        while len(self._asked) > _OPEN or (self._asked and self._now - self._asked[0].at > _PATIENCE):
            yield self._asked.popleft().exchange(self._number)

    def cut(self, at: int) -> bool:
        self._give_up()
        waiting = [asked for asked in self._asked if not asked.answered][-1:]
        for asked in waiting:
            asked.cut = at - asked.at
        return bool(waiting)

    def end(self) -> list[Exchange]:
        self._give_up()
        asked, self._asked = self._asked, deque()
        return [each.exchange(self._number) for each in asked]

    def forget(self) -> list[Exchange]:
        self._pieces, self._sent = [], b""
        return [each for each in self.end() if each.answer is not None]

    def _begins(self, data: bytes) -> bool:
        """Whether this is how an answer begins that is waited for."""
        if len(data) < 8 or data[2:5] != b"\0\0\0":
            return False
        transaction, unit, function = int.from_bytes(data[:2], "big"), data[6], data[7] & 0x7F
        return any(
            (transaction, unit, function) == (each.frame.transaction, each.frame.unit, each.frame.pdu[0])
            for each in self._asked
            if not each.answered
        )

    def _rest(self, start: int) -> list[tuple[int, bytes]]:
        """The pieces without their first bytes."""
        if not start:
            return self._pieces
        rest = []
        for at, piece in self._pieces:
            if start < len(piece):
                rest.append((at, piece[start:]))
            start = max(0, start - len(piece))
        return rest

    def _give_up(self) -> None:
        """What is no frame came to whoever waited then for the answer to the newest request."""
        pieces, self._pieces = self._pieces, []
        for at, piece in pieces:
            if owner := next((each for each in reversed(self._asked) if each.at <= at), None):
                owner.add(at, piece)

    def _frame(self, at: int, frame: Frame, raw: bytes) -> None:
        same = [each for each in self._asked if each.frame.transaction == frame.transaction]
        fitting = [each for each in same if each.fits(frame.unit, frame.pdu)]
        if fitting:  # an id may be used twice at a time
            next(each for each in fitting if fitting[-1].at - each.at <= _USED_AGAIN).answer(at, frame.pdu)
        elif self._asked:
            open_ones = [each for each in self._asked if not each.answered]
            if not same and len(open_ones) == 1 and open_ones[0].fits(frame.unit, frame.pdu):
                open_ones[0].answer(at, frame.pdu, raw)  # a device that does not care for numbers
            else:
                self._asked[-1].add(at, raw)


class _InTurn:
    """A link on which the answer stands behind its request: what comes belongs to the newest one."""

    def __init__(self, number: int, framing: Framing, echo: bool) -> None:
        self._number, self._framing, self._echo = number, framing, echo
        self._requests = _requests(framing)
        self._asked: _Asked | None = None
        self._answers: Search = self._requests  # to what was asked; its stream are the pieces
        self._own = b""  # what was asked, as it stood on the wire
        self._pieces: deque[tuple[int, bytes]] = deque()  # in which no answer was found yet
        self._count = 0  # of all of them that came
        self._heard = False  # its echo
        self._done: list[Exchange] = []

    def sent(self, at: int, data: bytes) -> None:
        requests = self._requests
        requests.stream += data
        while found := requests.find():
            requests.drop(found.end)
            self._finish()
            self._asked, self._own = _Asked(at, found.frame), self._framing.encode(found.frame)
            self._answers = _answers(self._framing, self._asked)
        requests.drop(max(0, len(requests.stream) - _LONGEST[self._framing] + 1))

    def received(self, at: int, data: bytes) -> None:
        asked, answers = self._asked, self._answers
        if asked is None or not data or self._count >= _MOST_PIECES:
            return
        self._count += 1
        self._pieces.append((at, data))
        answers.stream += data
        if not self._heard and self._is_echo(asked, answers.stream):
            self._heard = True
            self._drop(len(self._own))
        if not asked.answered and (found := answers.find()):
            self._take(found.start)
            asked.answer(self._drop(found.end - found.start), found.frame.pdu)
        if (size := len(answers.stream)) > _LONGEST_ANSWER:
            self._take(size - _LONGEST_ANSWER // 2)

    def done(self) -> Iterator[Exchange]:
        done, self._done = self._done, []
        yield from done

    def cut(self, at: int) -> bool:
        if self._asked is None or self._asked.answered:
            return False
        self._asked.cut = at - self._asked.at
        return True

    def end(self) -> list[Exchange]:
        self._finish()
        return list(self.done())

    def forget(self) -> list[Exchange]:
        self._requests = _requests(self._framing)
        if self._asked is not None and not self._asked.answered:
            self._asked = None
        return self.end()

    def _finish(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            for at, piece in self._pieces:
                asked.add(at, piece)
            self._done.append(asked.exchange(self._number))
        self._pieces.clear()
        self._count, self._heard = 0, False

    def _is_echo(self, asked: _Asked, stream: bytearray) -> bool:
        """The answer to a write looks the same: there the line has to be known to echo, from a read before."""
        if not stream.startswith(self._own):
            return False
        if not self._echo:
            self._echo = not fits(asked.frame.pdu, asked.frame.pdu)
        return self._echo

    def _drop(self, count: int) -> int:
        """Take so many bytes away; when the last of them came."""
        self._answers.drop(count)
        at = 0
        while count > 0:
            at, piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft((at, piece[count:]))
            count -= len(piece)
        return at

    def _take(self, count: int) -> None:
        """Keep so many bytes as no answer."""
        assert self._asked is not None
        while count > 0:
            at, piece = self._pieces[0]
            self._asked.add(at, piece[:count])
            self._drop(min(count, len(piece)))
            count -= len(piece)


# --- what is an answer -------------------------------------------------------------------------------------------------

# By function code (Application Protocol V1.1b3, 6). In an RTU frame: its bytes; or where the byte count stands and the others.
_SIZES = {5: 8, 6: 8, 7: 5, 11: 8, 15: 8, 16: 8, 22: 10}
_COUNTED = (12, 17, 20, 21, 23)
_ECHOED = {
    5: 5,
    6: 5,
    15: 5,
    16: 5,
    22: 7,
}  # by function code: so many bytes of the request are the answer (6.5, 6.6, 6.11 …)


def expected(request: bytes) -> int:
    """The bytes of data that answer a read request of function codes 1 to 4 (6.1 to 6.4); 0 where it is none."""
    if len(request) != 5 or not 1 <= request[0] <= 4:
        return 0
    count = int.from_bytes(request[3:5], "big")
    return (count + 7) // 8 if request[0] <= 2 else 2 * count


def fits(request: bytes, answer: bytes) -> bool:
    """Whether this PDU can be the answer to that one."""
    if not request or not answer:
        return False
    if answer[0] == request[0] | 0x80:
        return len(answer) == 2
    if answer[0] != request[0]:
        return False
    if size := expected(request):
        return len(answer) == 2 + size and answer[1] == size & 0xFF
    if request[0] in _ECHOED:
        return answer == request[: _ECHOED[request[0]]]
    return True


def _requests(framing: Framing) -> Search:
    """Looks for anything that is asked."""
    if framing is ASCII:
        return AsciiSearch(lambda _: True)

    def size(stream: bytearray, at: int) -> int:
        # Only at the beginning a frame may be of a function that nobody knows: elsewhere it would be noise.
        return request_size(stream, at) or (0 if at else OPEN)

    return RtuSearch(size, lambda _: True, 4)


def _answers(framing: Framing, asked: _Asked) -> Search:
    """Looks for the answer to this."""
    if framing is ASCII:
        return AsciiSearch(lambda frame: asked.fits(frame.unit, frame.pdu))
    unit, request = asked.frame.unit, asked.frame.pdu

    def size(stream: bytearray, at: int) -> int:
        begins = stream[at] == unit and stream[at + 1] & 0x7F == request[0] & 0x7F
        return _size(stream, at, request) if begins else 0

    return RtuSearch(size, lambda frame: asked.fits(frame.unit, frame.pdu), 5)


def _size(stream: bytearray, start: int, request: bytes) -> int:
    """Of the answer that begins here; 0 where none can, OPEN where nothing tells."""
    function = stream[start + 1]
    if function & 0x80:
        return 5
    if size := expected(request):
        return 5 + size if stream[start + 2] == size & 0xFF else 0
    if function in _COUNTED:
        return 5 + stream[start + 2]
    if function == 8:  # a diagnosis is sent back as long as it was
        return 3 + len(request)
    return _SIZES.get(function, OPEN)
