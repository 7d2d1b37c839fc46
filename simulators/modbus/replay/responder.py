"""What a recorded machine says to a request at a time: what it said then, else what is known of it, else no. Pure.

    asked like that in the recording     in turn while the client keeps its pace, else the last one by then
    a read of known addresses            composed from what was last said of each
    anything else                        an exception, as a device answers that has no such thing

Times are ns into the recording, counted on through all rounds of a loop.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from statistics import median
from typing import NamedTuple

from gateway.errors import RecordingError
from gateway.recording.entry import MOST_REPLAYED
from simulators.modbus.replay.conversation import Away, Came, Cut, End, Exchange, Item, expected

# MODBUS Application Protocol V1.1b3, 7
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_FAILED = 1, 2, 3, 11
_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}  # bits or registers of one request: 6.1 to 6.4
_WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})
_ENOUGH = 1000  # of which a median is taken
_MOST_MEMORY = 512 << 20  # bytes
# Bytes that an exchange takes, a request that was not asked before, and something that came and is not simply the answer.
_EXCHANGE, _REQUEST, _ODD = 50, 2000, 400
_NEVER = -1


class Said(NamedTuple):
    """What comes of a request; nothing: silence."""

    came: Sequence[Came]
    # What it rests on: "" the recording itself; "composed"; else why it is refused: "address", "function", "write", "value", "unit".
    kind: str = ""
    transaction: int = 0  # that the recorded request had
    cut: int | None = None  # ns after the request at which the connection is closed instead


@dataclass(slots=True)
class _Question:
    """A request, and all that was answered to it, in columns."""

    at: array[int] = field(default_factory=lambda: array("q"))
    delay: array[int] = field(default_factory=lambda: array("q"))
    answer: list[bytes | None] = field(default_factory=list)
    transaction: array[int] = field(default_factory=lambda: array("H"))
    # By place, where it is more than one answer or none: all that came, and the cut.
    odd: dict[int, tuple[Sequence[Came], int | None]] = field(default_factory=dict)
    good: array[int] = field(default_factory=lambda: array("q"))  # places of those that were answered, and not refused
    good_at: array[int] = field(default_factory=lambda: array("q"))
    turn: int = _NEVER  # whose it is, counted through all rounds
    usual: int = 0  # ns from one to the next, whatever came of them

    def add(self, at: int, transaction: int, pdu: bytes | None, came: Sequence[Came], cut: int | None) -> int:
        """`pdu`: the answer. Bytes that it takes, more or less."""
        size = _EXCHANGE
        if cut is not None or len(came) > 1 or (came and (pdu is None or came[0].raw)):
            self.odd[len(self.at)] = came, cut
            size += sum((_ODD + len(each.raw) + len(each.pdu) for each in came), _ODD)
        self.delay.append(next((each.delay for each in came if each.pdu), 0))
        self.at.append(at)
        self.answer.append(pdu)
        self.transaction.append(transaction)
        return size

    def settle(self, length: int, ideal: bool) -> None:
        """All of them are there: put them in order. `ideal`: if one has an answer, only those that have. `length`: of the recording."""
        order: Sequence[int] = range(len(self.at))
        if any(a > b for a, b in pairwise(self.at)):
            order = sorted(order, key=self.at.__getitem__)
        seen = [self.at[i] for i in order[:_ENOUGH]]
        steps = [b - a for a, b in pairwise(seen)]
        self.usual = round(median(steps)) if steps else length
        if ideal and any(map(_is_good, self.answer)):
            order = [i for i in order if _is_good(self.answer[i])]
        if order != range(len(self.at)):
            self.at, self.delay = array("q", (self.at[i] for i in order)), array("q", (self.delay[i] for i in order))
            self.transaction = array("H", (self.transaction[i] for i in order))
            self.answer = [self.answer[i] for i in order]
            self.odd = {place: self.odd[i] for place, i in enumerate(order) if i in self.odd}
        self.good = array("q", (place for place, answer in enumerate(self.answer) if _is_good(answer)))
        self.good_at = array("q", (self.at[place] for place in self.good))


def part(items: Iterable[Item], begin: int) -> Iterator[Item]:
    """From there on, where it is 0: with the last good answers of before, and whatever still holds then."""
    known: dict[tuple[int, bytes], Exchange] = {}  # before: by unit and request
    for item in items:
        match item:
            case Exchange() if item.at < begin:
                if _is_good(item.answer) or (item.unit, item.request) not in known:
                    known[item.unit, item.request] = item
            case Exchange() | Cut() | End():
                if item.at >= begin:
                    yield item._replace(at=item.at - begin)
            case Away():
                until = None if item.until is None else item.until - begin
                if until is None or until > 0:
                    yield item._replace(since=max(0, item.since - begin), until=until)
    for each in known.values():
        yield each._replace(at=0)


def _last_at(question: _Question) -> int:
    return question.at[-1] if question.at else 0


def _whole(at: int) -> str:
    """So many whole hours, minutes or seconds, as they are typed; ns."""
    seconds = max(1, at // 1_000_000_000)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class Responder:
    """Made from a conversation; then asked."""

    def __init__(
        self, items: Iterable[Item], *, loop: bool = False, ideal: bool = False, begin: int | None = None
    ) -> None:
        """`loop`: after its end it begins anew. `ideal`: nothing goes wrong, and takes no time. `begin`: ns where the part begins
        that is played, which is 0 from then on; of what was before only the last good answers are kept.

        Raises RecordingError for more than can be kept in memory.
        """
        self.length = 0  # ns
        self.exchanges = 0
        self.composed = 0
        self._ideal = ideal
        self._away: list[Away] = []
        self._cuts = array("q")
        self._questions: dict[tuple[int, bytes], _Question] = {}  # by unit and PDU
        self._take(items if begin is None else part(items, begin))
        self._away.sort(key=lambda each: each.since)
        self._ends = list(accumulate((_until(each) for each in self._away), max))
        self._cuts = array("q", sorted(self._cuts))
        self._loop = loop and self.length > 0
        for question in self._questions.values():
            question.settle(self.length, ideal)
        self._functions = {(unit, pdu[0]) for unit, pdu in self._questions}
        self.units = sorted({unit for unit, _ in self._functions})
        self._delays = self._usual_delays()
        self._tables: dict[tuple[int, int], list[tuple[int, int, _Question]]] = {}  # unit, function: first, end, of it
        for (unit, pdu), question in self._questions.items():
            if expected(pdu) and question.good:
                first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
                self._tables.setdefault((unit, pdu[0]), []).append((first, first + count, question))

    def _take(self, items: Iterable[Item]) -> None:
        """Into columns, as they come."""
        kept: dict[bytes, bytes] = {}  # equal answers are one object
        size = 0
        for item in items:
            match item:
                case Exchange(at, _, unit, request, came, transaction, cut):
                    question = self._questions.get((unit, request))
                    if question is None:
                        question = self._questions[unit, request] = _Question()
                        size += _REQUEST
                    pdu = item.answer
                    if pdu is not None and (same := kept.setdefault(pdu, pdu)) is not pdu:
                        pdu = same
                    elif pdu is not None:
                        size += _EXCHANGE + len(pdu)
                    if self._ideal:
                        came, cut = () if pdu is None else (Came(0, pdu),), None
                    size += question.add(at, transaction, pdu, came, cut)
                    self.exchanges += 1
                case Away():
                    self._away.append(item)
                    size += _ODD
                case Cut():
                    self._cuts.append(item.at)
                    size += _EXCHANGE
                case End():
                    self.length = item.at
            if self.exchanges > MOST_REPLAYED or size > _MOST_MEMORY:
                much = size > _MOST_MEMORY
                what = "too much for the memory" if much else f"more than {MOST_REPLAYED:,} exchanges"
                hours = _whole(max(map(_last_at, self._questions.values()), default=0))
                raise RecordingError(f"{what}: play parts of it, for example the first with --from 0s --for {hours}")

    @property
    def asked(self) -> Collection[tuple[int, bytes]]:
        """What was asked in the recording: unit and PDU."""
        return self._questions.keys()

    def over(self, time: int) -> bool:
        """Whether the recording is over, and does not begin again: what it said last stays."""
        return not self._loop and time > self.length

    def away(self, time: int) -> bool:
        """Whether the machine cannot be reached."""
        if self._ideal or self.over(time):
            return False
        _, time = self._place(time)
        begun = bisect_right(self._away, time, key=lambda each: each.since)
        return begun > 0 and time < self._ends[begun - 1]

    @property
    def leaves(self) -> bool:
        """Whether it ever goes away, or closes a connection by itself."""
        return bool(self._away or self._cuts) and not self._ideal

    def cut(self, since: int, until: int) -> bool:
        """Whether the machine closes its connections after the one and by the other time."""
        if self._ideal or not self._cuts or since >= until or self.over(until):
            return False
        (first, begin), (last, end) = self._place(since), self._place(until)
        before = first * len(self._cuts) + bisect_right(self._cuts, begin)
        return last * len(self._cuts) + bisect_right(self._cuts, end) > before

    def answer(self, unit: int, pdu: bytes, time: int) -> Said:
        """What it says to this."""
        question = self._questions.get((unit, pdu))
        if question is None:
            return self._unasked(unit, pdu, time)
        if self.over(time) or (self._ideal and not question.good):
            return self._at_its_best(question, unit, pdu, time)
        place = self._turn(question, time)
        if (odd := question.odd.get(place)) is not None:
            return Said(odd[0], "", question.transaction[place], odd[1])
        answer = question.answer[place]
        came = () if answer is None else (Came(question.delay[place], answer),)
        return Said(came, "", question.transaction[place])

    def read(self, unit: int, function: int, first: int, count: int, time: int) -> bytes | None:
        """The data of these registers (two bytes each) or bits (a byte each), as last told by then; None: not known."""
        cell = 1 if function <= 2 else 2
        end, told = first + count, []
        for low, high, question in self._tables.get((unit, function), ()):
            if low < end and first < high:
                at, data = self._last_good(question, time)
                # What was said later counts only where nothing was said before, and less the later it was.
                told.append(((at <= time, at if at <= time else -at), max(low, first), min(high, end), low, data))
        told.sort(key=lambda each: each[0])
        body, known = bytearray(cell * count), bytearray(count)
        for _, begin, stop, low, data in told:
            cells = data if cell == 2 else _bits(data, stop - low)
            body[cell * (begin - first) : cell * (stop - first)] = cells[cell * (begin - low) : cell * (stop - low)]
            known[begin - first : stop - first] = b"\1" * (stop - begin)
        return bytes(body) if all(known) else None

    # --- by time -----------------------------------------------------------------------------------------------------

    def _place(self, time: int) -> tuple[int, int]:
        """Round, and ns since its beginning."""
        return divmod(time, self.length) if self._loop else (0, time)

    def _time(self, ordinal: int, times: array[int]) -> int:
        turn, place = divmod(ordinal, len(times))
        return turn * self.length + times[place]

    def _last(self, times: array[int], time: int) -> int:
        """The last one by then, counted through all rounds; negative where there is none."""
        turn, time = self._place(time)
        return turn * len(times) + bisect_right(times, time) - 1

    def _turn(self, question: _Question, time: int) -> int:
        """Whose turn it is: a place. The one after that is the next."""
        times, most = question.at, len(question.at) if not self._loop else None
        if question.turn == _NEVER:
            turn, place = self._place(time - question.usual // 2)
            question.turn = max(0, turn * len(times) + bisect_left(times, place))
        turn = question.turn
        if (most is None or turn < most) and 2 * abs(self._time(turn, times) - time) <= question.usual:
            question.turn += 1
            return turn % len(times)
        last = self._last(times, time)
        question.turn = max(0, last + 1)
        return max(0, last) % len(times)

    def _last_good(self, question: _Question, time: int) -> tuple[int, bytes]:
        """When it was, and the data of that answer: the last one by then, else the first one."""
        last = max(0, self._last(question.good_at, min(time, self.length) if not self._loop else time))
        answer = question.answer[question.good[last % len(question.good)]]
        assert answer is not None
        return self._time(last, question.good_at), answer[2:]

    # --- where the recording does not say --------------------------------------------------------------------------------

    def _at_its_best(self, question: _Question, unit: int, pdu: bytes, time: int) -> Said:
        """An answer if ever there was one."""
        if question.good:
            last = max(0, self._last(question.good_at, time if self._loop else min(time, self.length)))
            place = question.good[last % len(question.good)]
            answer = question.answer[place]
            assert answer is not None
            return Said((Came(question.delay[place], answer),))
        if (composed := self._composed(unit, pdu, time)) is not None:
            return composed
        refused = next((each for each in reversed(question.answer) if each is not None), None)
        return Said(() if refused is None else (Came(0, refused),))

    def _composed(self, unit: int, pdu: bytes, time: int) -> Said | None:
        size = expected(pdu)
        if not size:
            return None
        first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if count > _MOST[pdu[0]] or first + count > 0x10000:
            return None
        data = self.read(unit, pdu[0], first, count, time)
        if data is None:
            return None
        self.composed += 1
        data = data if pdu[0] > 2 else _packed(data)
        return Said((Came(self._delays[unit], bytes((pdu[0], size)) + data),), "composed")

    def _unasked(self, unit: int, pdu: bytes, time: int) -> Said:
        if (composed := self._composed(unit, pdu, time)) is not None:
            return composed
        kind, code = self._objection(unit, pdu)
        return Said((Came(0, bytes((pdu[0] | 0x80, code))),), kind)

    def _objection(self, unit: int, pdu: bytes) -> tuple[str, int]:
        """What the client did not know, and the exception code for that."""
        if unit not in self._delays:
            return "unit", TARGET_FAILED
        if pdu[0] in _WRITES:
            return "write", ILLEGAL_FUNCTION
        if (unit, pdu[0]) not in self._functions or pdu[0] not in _MOST:
            return "function", ILLEGAL_FUNCTION
        if len(pdu) != 5 or not 1 <= int.from_bytes(pdu[3:5], "big") <= _MOST[pdu[0]]:
            return "value", ILLEGAL_VALUE
        return "address", ILLEGAL_ADDRESS

    def _usual_delays(self) -> dict[int, int]:
        """ns, of an answer of each unit."""
        delays: dict[int, list[int]] = {unit: [] for unit in self.units}
        for (unit, _), question in self._questions.items():
            delays[unit] += (delay for delay in question.delay[:_ENOUGH] if delay)
        return {unit: round(median(each)) if each else 0 for unit, each in delays.items()}


def _until(away: Away) -> float:
    return inf if away.until is None else away.until


def _is_good(pdu: bytes | None) -> bool:
    return pdu is not None and not pdu[0] & 0x80


def _bits(data: bytes, count: int) -> bytes:
    """A byte 0 or 1 for each bit: the first one is the lowest of the first byte (6.1)."""
    return bytes(data[i >> 3] >> (i & 7) & 1 for i in range(count))


def _packed(cells: bytes) -> bytes:
    """The other way."""
    packed = bytearray((len(cells) + 7) // 8)
    for i, bit in enumerate(cells):
        packed[i >> 3] |= bit << (i & 7)
    return bytes(packed)
