"""What comes later of the past: readings of a machine that was out of reach, and what they say it was doing then. Pure.

    live    running │ unknown ·  ·  ·  ·  ·  · │ running        told while nobody knew
    late            │ running │ fault │ running│                told again, at the same times: one truth in the store

They come in pages, by signals. What was unknown is judged once no more of them come, and again when more come after all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter
from typing import NamedTuple

from gateway.model import WAITING_FOR_DATA, Value, is_bad
from gateway.production.doing import Doing
from gateway.production.inputs import Computed, Inputs
from gateway.production.live import LiveFigures, power_of
from gateway.production.states import State, StateMachine
from gateway.production.stretches import Stretches

_PAUSE = 2.0  # seconds without another page, after which what has come is judged
_END = 60.0  # seconds after which what comes is something else
_MOST = 200_000  # readings that are kept until then
_BREAKS = 16  # that are remembered
_TOLD = 20_000  # times at which a state was told while it was unknown: two weeks of repetitions

Known = tuple[int, list[Value], list[int]]
"""A time, and what was known of all inputs then: values and qualities."""
Past = tuple[int, list[tuple[int, Value, int]]]
"""A time, and readings of it by the index of the signal of a state."""


class Reading(NamedTuple):
    """One that came late."""

    time: int
    slot: int
    value: Value
    quality: int
    own: bool  # of the machine itself: only these say what it was doing


class Late:
    """Of one machine."""

    def __init__(self, doing: Doing, figures: LiveFigures, computed: Sequence[Computed], inputs: Inputs) -> None:
        self._doing, self._figures, self._computed, self._inputs = doing, figures, computed, inputs
        self._readings: list[Reading] = []
        self._judged = 0  # how many of them were there when it was judged last
        self._found = Stretches()  # what was unknown before they came, and is not any more
        self._since: dict[int, int] = {}  # since when it was, by the beginnings of these stretches
        self._unmeasured: list[tuple[int, int | None]] | None = None  # the same of the power
        self._changes: set[int] = set()  # when the states began that were told of these spans
        self._told: list[int] = []  # when a state was told while it was unknown
        self._at = 0.0  # monotonic: when the last of them came
        self._breaks: deque[Known] = deque(maxlen=_BREAKS)  # of its link, and pauses of the gateway

    def add(self, readings: Sequence[Reading], now: float) -> None:
        """Readings of the past."""
        self._readings += readings
        self._at = now

    def note_break(self, time: int, value: Sequence[Value], quality: Sequence[int]) -> None:
        """Nothing is heard of the machine from then on: what was known. What comes of that time later begins with it."""
        self._breaks.append((time, list(value), list(quality)))

    def note_told(self, times: Sequence[int]) -> None:
        """A state was told at these times, and it was unknown."""
        for time in times:
            insort(self._told, time)
        del self._told[:-_TOLD]

    def take_over(self, before: Late) -> None:
        """Go on where another one ends, with the same rules; its inputs are others."""
        self._told = before._told  # what was known at breaks is not: their inputs stand in other places

    def tick(self, now: float, now_ns: int) -> list[Past]:
        """To be called about twice a second. What has to be told of the past, in the order of its times."""
        past: list[Past] = []
        full = len(self._readings) > _MOST
        if len(self._readings) > self._judged and (now - self._at >= _PAUSE or full):
            past = self._correct(now_ns)
        if self._readings and (now - self._at >= _END or full):
            self._readings, self._judged = [], 0
            self._found, self._unmeasured = Stretches(), None
            self._changes.clear()
            self._since.clear()
        return past

    def _correct(self, now_ns: int) -> list[Past]:
        """What was not known of the past, from what has come of it; the figures follow."""
        readings, self._judged = sorted(self._readings, key=attrgetter("time")), len(self._readings)
        n, figures = len(self._inputs.value), self._figures
        again = _Retrospect(self._doing, self._computed, self._inputs.copied([None] * n, [WAITING_FOR_DATA] * n))
        times = [reading.time for reading in readings if reading.own]
        breaks = self._breaks_of(times)
        begin = min([readings[0].time, *(time for time, _, _ in breaks)])
        judged = not breaks
        totals: dict[str, list[tuple[int, float]]] = {}
        unsure: dict[str, set[int]] = {}
        powers: list[tuple[int, float | None]] = []
        computed = figures.power in {each.slot for each in self._computed}
        for time, of_one_time in groupby(readings, key=attrgetter("time")):
            while breaks and breaks[0][0] <= time:
                again.know(*breaks.popleft())
                judged = True
            own = False
            for _, slot, reading, q, mine in of_one_time:
                if mine:
                    own = True
                    again.inputs.put(slot, reading, q)
                if slot == figures.power:
                    powers.append((time, power_of(reading, q)))
                if not is_bad(q) and isinstance(reading, int | float):
                    for name in figures.slots.get(slot, ()):
                        totals.setdefault(name, []).append((time, figures.converted(name, reading)))
                        unsure.setdefault(name, set()).update([time] if q else [])
            if judged and own:
                again.judge(time)
                if computed and figures.power is not None:
                    at = figures.power
                    powers.append((time, power_of(again.inputs.value[at], again.inputs.quality[at])))
        if self._unmeasured is None:
            self._unmeasured = figures.unmeasured(readings[0].time, now_ns)
        spans: list[Span] = []
        if times:
            while breaks:
                again.know(*breaks.popleft())
            unknown = _told_of(self._unknown(begin, now_ns), times)
            spans = [
                found for each in unknown if (found := _known_in(each, again.states, times[-1], now_ns)) is not None
            ]
            for span in spans:
                self._found.add(span.begin, span.end)
        figures.correct([(span.begin, span.end, span.states) for span in spans], totals, unsure)
        figures.refill(self._unmeasured or [], powers)
        return sorted((past for span in spans for past in self._past_of(span)), key=itemgetter(0))

    def _unknown(self, begin: int, now_ns: int) -> list[tuple[int, int, int]]:
        """What was unknown before they came, as far as that is over by now: since when, from, to."""
        spans = Stretches()
        for found in self._found:
            spans.add(*found)
        for since, start, end in self._figures.unknown(begin, now_ns):
            self._since.setdefault(start, since)
            spans.add(start, end)
        return [(self._since.get(start, start), start, end) for start, end in spans]

    def _breaks_of(self, times: Sequence[int]) -> deque[Known]:
        """Those that readings of the machine may be of: from the last one before all of them on."""
        if not times:
            return deque()
        first = bisect_right([time for time, _, _ in self._breaks], times[0]) - 1
        return deque(list(self._breaks)[max(first, 0) :])

    def _past_of(self, span: Span) -> Iterator[Past]:
        """What is told of a span: each state that began or ended in it, and what had been told as unknown."""
        doing, (unknown, begin, end, states) = self._doing, span
        begins = [state.since for state in states]
        if unknown < begin:
            yield begin, doing.ended_readings(State("unknown", unknown), begin)
        # A state that was told by an earlier look and is not one any more is told as two parts of the one that was.
        edges = sorted({begin, *(t for t in self._changes if begin < t < end), *begins, end})
        self._changes.update(edges)
        told = self._told[bisect_left(self._told, begin) : bisect_left(self._told, end)]
        for t in sorted({*edges[:-1], *told}):
            yield t, doing.readings_of(states[bisect_right(begins, t) - 1])
        for since, t in pairwise(edges):
            ended = states[bisect_right(begins, since) - 1]
            yield t, doing.ended_readings(State(ended.word, since, ended.reason), t)
        doing.known_until(end)


class Span(NamedTuple):
    """What is known now of a time that was unknown."""

    unknown: int  # since when it was
    begin: int  # from here on it is not any more
    end: int
    states: Sequence[State]  # the first of them begins with it


def _known_in(span: tuple[int, int, int], states: Sequence[State], last: int, now_ns: int) -> Span | None:
    """What goes on is known up to the last reading."""
    unknown, start, end = span
    end = end if end < now_ns else min(now_ns, last + 1)
    before = [replace(state, since=start) for state in states if state.since <= start][-1:]
    within = before + [state for state in states if start < state.since < end]
    return Span(unknown, within[0].since, end, within) if within and start < end else None


def _told_of(spans: Sequence[tuple[int, int, int]], times: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The spans of which something has come, in its order: what came of one says nothing of the next one."""
    before = 0
    for span in spans:
        if bisect_right(times, before) < bisect_right(times, span[2]):
            yield span
        before = span[2]


class _Retrospect:
    """What a machine was doing in the past, by the same rules over what is known now of that time."""

    def __init__(self, doing: Doing, computed: Sequence[Computed], inputs: Inputs) -> None:
        self.inputs = inputs
        self.states: list[State] = []  # in their order
        self._machine, self._rules = StateMachine(doing.settings), doing.rules.again(inputs)
        self._computed = [(each, each.looking.again(inputs)) for each in computed]

    def know(self, time: int, value: Sequence[Value], quality: Sequence[int]) -> None:
        """What was known of all inputs when a link broke."""
        self.inputs.value[:], self.inputs.quality[:] = value, quality
        self.judge(time)

    def judge(self, time: int) -> None:
        """Its inputs are those of this time now: never before the one that was judged last."""
        for each, looking in self._computed:
            value, quality = looking.run(time)
            self.inputs.put(each.slot, each.converted(value), quality)
        before = self._machine.state
        self._machine.step(*self._rules.outcome(time), time)
        state = self._machine.state
        if state is not None and state is not before:
            self.states.append(state)
