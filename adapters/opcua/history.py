"""What was missed during an outage, from servers that remember: what to ask next, and what of an answer is new. Pure.

    wanted ─▶ Backfill ─ ask ─▶ Question ─ client.history ─▶ wire.History of each node ─ take ─▶ Values, oldest first
                 ▲                                                                                 │
                 └──────── until nothing is left to ask; then `unfilled` says what stays missing ──┘

Some nodes are asked for together, a page of each at a time. A node goes on with its continuation point; without one, or
in another session, with the time of its last value, and what is known of that instant is left out. So a Backfill
outlives a session: after `lost_session` it goes on where it was. `pages` drives it with a client.

Times are ns since 1970 by the server's clock. A gap lies between two instants that are known, and neither is in it: a
server may count them in (Part 11, 6.4.3.2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from adapters.opcua.items import TOO_MUCH, Limit, in_batches
from adapters.opcua.nodes import NodeId
from adapters.opcua.wire import History, Values
from gateway.model import EARLIEST, LATEST

PAGE = 1000  # values of a node in one answer: some 20 kB; a server may give fewer
TOGETHER = 10  # nodes in one request: so it is answered soon, and takes few continuation points
MOST_OF_ONE = 100_000  # values of a node for one outage: a day of one a second
_DAY = 86_400_000_000_000  # ns that a clock may be ahead; more is no clock
MOST_IN_ALL = 1_000_000  # for one outage: minutes of work for a server, and some 100 MB of the buffer


class Wanted(NamedTuple):
    """The gap of one signal: what the node was after one instant and before another."""

    signal: int
    node: NodeId
    after: int
    before: int


class Asked(NamedTuple):
    """A node in a request."""

    node: NodeId
    point: bytes | None  # continuation point of the answer before


class Question(NamedTuple):
    """One HistoryRead."""

    start: int
    end: int
    most: int  # values of each node
    nodes: list[Asked]


class Unfilled(NamedTuple):
    """What stays missing of a gap."""

    signal: int
    after: int
    before: int
    status: int  # of the server; 0: there was more than we take for one outage


def gap(last: int, first: int, lost: int, found: int, longest: float) -> tuple[int, int] | None:
    """After and before which instant a signal has a gap; None where it has none.

    `last`: the time of its last value before the outage, 0 where it had none; `first`: of the first one in the new
    session, 0 likewise. `lost` and `found`: when the outage began and ended, by the server's clock as far as that is
    known. `longest`: the seconds of it that are fetched. The machine's own clock may be ahead of both, or be set back.

    The first value does not end it: it was read before the server was told to report, which takes its time.
    """
    ahead = last - lost
    if (first < last and first) or ahead > _DAY:
        last = ahead = 0
    before = max(found + max(0, ahead), first if first - found < _DAY else 0)
    after = max(last or lost - 1, before - round(longest * 1e9))
    return (after, before) if longest > 0 and before - after > 1 else None


# --- statuses --------------------------------------------------------------------------------------------------------

_CODE = 0xFFFF0000
_GOOD_MORE_DATA, _NO_DATA, _TIMEOUT = 0x00A60000, 0x809B0000, 0x800A0000
_NO_POINTS, _POINT_INVALID = 0x804B0000, 0x804A0000  # BadNoContinuationPoints, BadContinuationPointInvalid
_BOUNDS = (0x80D70000, 0x80D80000, _NO_DATA)  # BadBoundNotFound, BadBoundNotSupported: no values, only their places
_1970 = 116_444_736_000_000_000  # in 100 ns since 1601
_PATIENCE = 100  # answers: a server may give nothing but another continuation point while it searches (Part 11, 6.3)


@dataclass(slots=True)
class _Node:
    wanted: Wanted
    last: int  # time of the last value that came
    start: int  # of the request it is in
    at_last: int = 0  # how many values came with just that time
    count: int = 0
    point: bytes | None = None
    crowded: int = 0  # answers in a row that had no continuation point left for it
    empty: int = 0  # answers in a row without anything new, though there is more
    done: bool = False
    cut: bool = False  # there was more
    status: int = 0  # why there is nothing


class Backfill:
    """The filling of the gaps that one outage has left."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        page: int = PAGE,
        together: int = TOGETHER,
        of_one: int = MOST_OF_ONE,
        in_all: int = MOST_IN_ALL,
    ) -> None:
        self.count = 0  # values that came
        self.undated = 0  # values without a time: nobody can say where they belong
        self._nodes = [_Node(each, each.after, each.after) for each in wanted]
        self._page, self._together, self._of_one, self._in_all = page, together, of_one, in_all
        self._slow = 0  # answers in a row that did not come in time
        self._question = Question(0, 0, 0, [])
        self._asked: list[_Node] = []
        self._spare: list[Asked] = []

    @property
    def done(self) -> bool:
        """Nothing more can be had."""
        return all(node.done for node in self._nodes)

    def ask(self) -> Question | None:
        """The next request; None when there is nothing more to ask."""
        left = [node for node in self._nodes if not node.done]
        if self.count >= self._in_all:
            for node in left:
                self._cut(node)
        if self.done:
            return None
        # Continuation points are few: what has one goes on first. All nodes of one request have the same times.
        first = next((node for node in left if node.point), left[0])
        alike = [node for node in left if _place(node) == _place(first)]
        self._asked = [first] if first.crowded else alike[: self._together]
        most = min(self._page, self._of_one, self._in_all - self.count)
        nodes = [Asked(node.wanted.node, node.point) for node in self._asked]
        self._question = Question(first.start, first.wanted.before, most, nodes)
        return self._question

    def take(self, answers: Sequence[History]) -> Values:
        """What is new of the answers, one for each node that was asked for. Of each node oldest first."""
        self._slow = 0
        values = Values()
        for node, answer in zip(self._asked, answers, strict=True):
            self._take(node, answer, values)
        return values

    def _take(self, node: _Node, answer: History, values: Values) -> None:
        went_on, node.point, code = node.point is not None, answer.point, answer.status & _CODE
        if code == _NO_POINTS and node.crowded < 3:
            node.crowded += 1  # alone, then
        elif code == _POINT_INVALID and went_on:
            pass  # the server has given it up: on with the time
        elif code >> 31:
            node.done, node.status = True, 0 if code == _NO_DATA else answer.status
        else:
            before = self.count
            self._add(node, answer.values, went_on, values)
            node.crowded, node.empty = 0, node.empty + 1 if self.count == before else 0
            # A server without points gives a full page, and more when it is asked for what comes after that.
            full = code == _GOOD_MORE_DATA or len(answer.values.signal) >= self._question.most
            if node.cut or (node.count >= self._of_one and node.point) or node.empty > _PATIENCE:
                self._cut(node)
            elif not node.point:
                node.done, node.cut = not full or self.count == before, full and self.count == before
        if not node.point:
            node.start = node.last

    def _add(self, node: _Node, found: Values, went_on: bool, values: Values) -> None:
        """What was not known yet. Without a continuation point `found` begins again with the last instant."""
        again, known = (0, 0) if went_on else (node.last, node.at_last)
        for row, ticks in enumerate(found.time):
            time = (ticks - _1970) * 100
            if not EARLIEST <= time < LATEST:
                self.undated += 1
            elif time == again and known:
                known -= 1
            elif (
                max(again, node.wanted.after + 1) <= time < node.wanted.before
                and found.status[row] & _CODE not in _BOUNDS
            ):
                if node.count >= self._of_one or self.count >= self._in_all:
                    node.cut = True
                    return
                values.add(node.wanted.signal, found.type[row], found.value[row], found.status[row], ticks)
                node.at_last = node.at_last + 1 if time == node.last else 1 if time > node.last else node.at_last
                node.last = max(node.last, time)
                node.count += 1
                self.count += 1

    def _cut(self, node: _Node) -> None:
        node.done = node.cut = True
        if node.point:
            self._spare.append(Asked(node.wanted.node, node.point))
            node.point = None

    def too_slow(self) -> None:
        """The answer did not come in time: smaller pages from now on, and after some of them no more."""
        self._slow += 1
        self._page, self._together = max(1, self._page // 4), max(1, self._together // 4)
        for node in self._asked:
            node.point, node.start = None, node.last  # the server may have gone on with it, or not
            if self._slow > 2:
                node.done, node.status = True, _TIMEOUT
        if self._slow > 2:
            for node in self._nodes:
                if not node.done:
                    node.done, node.status = True, _TIMEOUT

    def lost_session(self) -> None:
        """The session has ended, and its continuation points with it: each node goes on with the time."""
        self._spare.clear()
        for node in self._nodes:
            node.point, node.start = None, node.last

    def spare(self) -> list[Asked]:
        """Continuation points that the server keeps for nothing, each named once; when nobody asks on, all of them."""
        spare, self._spare = self._spare, []
        for node in self._nodes:
            if node.point:
                spare.append(Asked(node.wanted.node, node.point))
                node.point, node.start = None, node.last
        return spare

    def rest(self) -> list[Wanted]:
        """What is not done, to begin with anew."""
        return [node.wanted._replace(after=node.last) for node in self._nodes if not node.done]

    def unfilled(self) -> list[Unfilled]:
        """What stays missing of what is done: of nodes without history, and what was too much."""
        return [
            Unfilled(node.wanted.signal, node.last, node.wanted.before, node.status)
            for node in self._nodes
            if node.cut or node.status
        ]


def _place(node: _Node) -> tuple[int, int, bool, bool]:
    return node.start, node.wanted.before, node.point is None, node.crowded > 0


# --- with a client ---------------------------------------------------------------------------------------------------


class Client(Protocol):
    """Who reads."""

    async def history(self, start: int, end: int, most: int, nodes: Sequence[Asked]) -> list[History]: ...

    async def release_history(self, nodes: Sequence[Asked]) -> None: ...


async def pages(backfill: Backfill, client: Client, limit: Limit) -> AsyncIterator[Values]:
    """What was missed, as it comes in. Raises what the client raises; `backfill` then knows where to go on.

    `limit`: nodes in one request. That an answer does not come in time is borne: history costs no connection.
    """
    try:
        while (question := backfill.ask()) is not None:
            read = partial(client.history, question.start, question.end, question.most)
            try:
                answers = await in_batches(question.nodes, limit, read)
            except Exception as exc:  # too much at once, for its time or its messages
                if not isinstance(exc, TimeoutError) and type(exc).__name__ not in TOO_MUCH:
                    raise
                backfill.too_slow()
                continue
            if (values := backfill.take(answers)).signal:
                yield values
    finally:
        if spare := backfill.spare():
            with suppress(Exception):
                await client.release_history(spare)
