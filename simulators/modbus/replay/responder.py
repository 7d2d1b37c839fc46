"""What a recorded machine says to a request at a time: what it said then, else what is known of it, else no. Pure.

    asked like that in the recording     in turn while the client keeps its pace, else the last one by then
    a read of known addresses            composed from what was last said of each
    anything else                        an exception, as a device answers that has no such thing

Times are ns into the recording, counted on through all rounds of a loop.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from simulators.modbus.replay.conversation import Away, Came, Cut, End, Exchange, Item, expected

# MODBUS Application Protocol V1.1b3, 7
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_FAILED = 1, 2, 3, 11
_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}  # bits or registers of one request: 6.1 to 6.4
_WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})
_ENOUGH = 1000  # of which a median is taken
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
    odd: dict[int, Exchange] = field(default_factory=dict)  # by place, where it is not an answer and nothing else
    good: array[int] = field(default_factory=lambda: array("q"))  # places of those that were answered, and not refused
    good_at: array[int] = field(default_factory=lambda: array("q"))
    turn: int = _NEVER  # whose it is, counted through all rounds
    usual: int = 0  # ns from one to the next, whatever came of them
    seen: array[int] = field(default_factory=lambda: array("q"))  # the first times it was asked

    def see(self, at: int) -> None:
        if len(self.seen) < _ENOUGH:
            self.seen.append(at)

    def add(self, exchange: Exchange, pdu: bytes | None) -> None:
        if _is_good(pdu):
            self.good.append(len(self.at))
            self.good_at.append(exchange.at)
        if pdu is None or len(exchange.came) != 1 or exchange.came[0].raw or exchange.cut is not None:
            self.odd[len(self.at)] = exchange
        self.delay.append(next((came.delay for came in exchange.came if came.pdu), 0))
        self.at.append(exchange.at)
        self.answer.append(pdu)
        self.transaction.append(exchange.transaction)


class Responder:
    """Made from a conversation; then asked."""

    def __init__(self, items: Iterable[Item], *, loop: bool = False, ideal: bool = False) -> None:
        """`loop`: after its end it begins anew. `ideal`: nothing goes wrong, and takes no time."""
        self.length = 0  # ns
        self.composed = 0
        self._ideal = ideal
        self._away: list[Away] = []
        self._cuts: list[int] = []
        exchanges: list[Exchange] = []
        for item in items:
            match item:
                case Exchange():
                    exchanges.append(item)
                case Away():
                    self._away.append(item)
                case Cut():
                    self._cuts.append(item.at)
                case End():
                    self.length = item.at
        exchanges.sort(key=lambda each: each.at)
        self._away.sort(key=lambda each: each.since)
        self._cuts.sort()
        self.exchanges = len(exchanges)
        self._loop = loop and self.length > 0
        self._questions = _questions(exchanges, self.length, ideal)
        self._functions = {(unit, pdu[0]) for unit, pdu in self._questions}
        self.units = sorted({unit for unit, _ in self._functions})
        self._delays = {unit: self._usual_delay(unit) for unit in self.units}
        self._tables: dict[tuple[int, int], list[tuple[int, int, _Question]]] = {}  # unit, function: first, end, of it
        for (unit, pdu), question in self._questions.items():
            if expected(pdu) and question.good:
                first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
                self._tables.setdefault((unit, pdu[0]), []).append((first, first + count, question))

    def over(self, time: int) -> bool:
        """Whether the recording is over, and does not begin again: what it said last stays."""
        return not self._loop and time > self.length

    def away(self, time: int) -> bool:
        """Whether the machine cannot be reached."""
        if self._ideal or self.over(time):
            return False
        _, time = self._place(time)
        return any(each.since <= time and (each.until is None or time < each.until) for each in self._away)

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
            return Said(odd.came, "", odd.transaction, odd.cut)
        answer = question.answer[place]
        assert answer is not None
        return Said((Came(question.delay[place], answer),), "", question.transaction[place])

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

    def _usual_delay(self, unit: int) -> int:
        """ns, of an answer of this unit."""
        delays = [delay for delay in self._delays_of(unit) if delay]
        return round(median(delays)) if delays else 0

    def _delays_of(self, unit: int) -> Iterator[int]:
        for (other, _), question in self._questions.items():
            if other == unit:
                yield from question.delay[:_ENOUGH]


def _questions(exchanges: Sequence[Exchange], length: int, ideal: bool) -> dict[tuple[int, bytes], _Question]:
    """By unit and PDU. `exchanges` in the order of their times, `length` of the recording in ns."""
    found: dict[tuple[int, bytes], _Question] = {}
    for each in exchanges:
        found.setdefault((each.unit, each.request), _Question()).see(each.at)
    kept: dict[bytes, bytes] = {}  # equal answers are one object
    for each in _at_their_best(exchanges) if ideal else exchanges:
        pdu = each.answer
        found[each.unit, each.request].add(each, pdu if pdu is None else kept.setdefault(pdu, pdu))
    for question in found.values():
        steps = [b - a for a, b in pairwise(question.seen)]
        question.usual = round(median(steps)) if steps else length
    return found


def _is_good(pdu: bytes | None) -> bool:
    return pdu is not None and not pdu[0] & 0x80


def _at_their_best(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Answers at once, without what else came; of what was ever answered, the answers alone."""
    answered = {(each.unit, each.request) for each in exchanges if _is_good(each.answer)}
    return [
        each._replace(came=(Came(0, answer),) if (answer := each.answer) else (), cut=None)
        for each in exchanges
        if _is_good(each.answer) or (each.unit, each.request) not in answered
    ]


def _bits(data: bytes, count: int) -> bytes:
    """A byte 0 or 1 for each bit: the first one is the lowest of the first byte (6.1)."""
    return bytes(data[i >> 3] >> (i & 7) & 1 for i in range(count))


def _packed(cells: bytes) -> bytes:
    """The other way."""
    packed = bytearray((len(cells) + 7) // 8)
    for i, bit in enumerate(cells):
        packed[i >> 3] |= bit << (i & 7)
    return bytes(packed)
