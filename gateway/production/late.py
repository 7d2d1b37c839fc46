"""What comes later of the past: readings of a machine that was out of reach, and what they say it was doing then. Pure.

They come in pages, by signals. What was unknown is judged once no more of them come, and again when more come after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from gateway.model import WAITING_FOR_DATA, Value, is_bad
from gateway.production.doing import Doing
from gateway.production.inputs import Computed, Inputs
from gateway.production.live import LiveFigures
from gateway.production.states import StateMachine

_PAUSE = 2.0  # seconds without another page, after which what has come is judged
_END = 60.0  # seconds after which what comes is something else
_MOST = 200_000  # readings that are kept until then

Known = tuple[int, list[Value], list[int]]
"""A time, and what was known of all inputs then: values and qualities."""


class Late:
    """Of one machine."""

    def __init__(self, doing: Doing, figures: LiveFigures, computed: Sequence[Computed], inputs: Inputs) -> None:
        self._doing, self._figures, self._computed, self._inputs = doing, figures, computed, inputs
        self._readings: list[tuple[int, int, Value, int]] = []  # time, slot, value, quality
        self._judged = 0  # how many of them were there when it was judged last
        self._spans: list[tuple[int, int]] = []  # what was unknown before they came
        self._at = 0.0  # monotonic: when the last of them came
        self.broke: Known | None = None  # when its link broke last

    def add(self, readings: Sequence[tuple[int, int, Value, int]], now: float, now_ns: int) -> None:
        """Readings of the past: time, slot, value, quality."""
        self._readings += readings
        self._at = now
        if len(self._readings) > _MOST:
            self._correct(now_ns)
            self._forget()

    def tick(self, now: float, now_ns: int) -> None:
        """To be called about twice a second."""
        if len(self._readings) > self._judged and now - self._at >= _PAUSE:
            self._correct(now_ns)
        elif self._readings and now - self._at >= _END:
            self._forget()

    def _forget(self) -> None:
        self._readings, self._judged, self._spans = [], 0, []

    def _correct(self, now_ns: int) -> None:
        """What was not known of the past, from what has come of it; the figures follow."""
        readings, self._judged = sorted(self._readings, key=itemgetter(0)), len(self._readings)
        n = len(self._inputs.value)
        broke, value, quality = self.broke or (0, [None] * n, [WAITING_FOR_DATA] * n)
        again = _Retrospect(self._doing, self._computed, self._inputs.copied(value, quality))
        totals: dict[str, list[tuple[int, float]]] = {}
        judged = not broke
        for time, of_one_time in groupby(readings, key=itemgetter(0)):
            if not judged and time > broke:  # what came until then was there already when the break was noticed
                again.judge(broke)
                judged = True
            for _, slot, reading, q in of_one_time:
                again.inputs.put(slot, reading, q)
                if not is_bad(q) and isinstance(reading, int | float):
                    _count(totals, self._figures, slot, time, reading)
            if judged:
                again.judge(time)
        if not judged:
            again.judge(broke)
        self._spans = self._spans or self._figures.unknown(min(broke or now_ns, readings[0][0]), now_ns)
        self._figures.correct(self._spans, again.changes, totals, now_ns)


class _Retrospect:
    """What a machine was doing in the past, by the same rules over what is known now of that time."""

    def __init__(self, doing: Doing, computed: Sequence[Computed], inputs: Inputs) -> None:
        self.inputs = inputs
        self.changes: list[tuple[int, str, str]] = []  # from when on, state, reason
        self._states, self._rules = StateMachine(doing.settings), doing.rules.again(inputs)
        self._computed = [(each.slot, each.looking.again(inputs)) for each in computed]

    def judge(self, time: int) -> None:
        """Its inputs are those of this time now: never before the one that was judged last."""
        for slot, looking in self._computed:
            self.inputs.put(slot, *looking.run(time))
        before = self._states.state
        self._states.step(*self._rules.outcome(time), time)
        state = self._states.state
        if state is not None and state is not before:
            self.changes.append((state.since, state.word, state.reason))


def _count(
    totals: dict[str, list[tuple[int, float]]], figures: LiveFigures, slot: int, time: int, reading: float
) -> None:
    for name in figures.slots.get(slot, ()):
        totals.setdefault(name, []).append((time, figures.converted(name, reading)))
