r"""What a machine does through a shift, from nothing but the time: set-up, production, a break …

    does      set-up |  production   | break |   production   | set-up …
    runs      ________/‾‾‾‾‾‾‾\_/‾‾‾‾\_______/‾‾‾‾‾\_/‾‾‾‾‾‾‾‾\______      within production, but for its micro-stops
    counter   _______________/‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾/‾‾‾‾‾‾‾‾‾‾‾‾‾/‾‾‾‾‾

Asking is as quick after a year as after a minute: what lies between is counted in whole repetitions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from simulators.behaviour import waves
from simulators.behaviour.waves import Number, Wave

STOP = "stop"  # the activity of a machine in a micro-stop


class Stretch(NamedTuple):
    """Something it does for a while."""

    doing: str
    lasting: float  # seconds; infinite: for good


class Programme:
    """Stretches one after the other; then anew, or the last of them for good."""

    def __init__(self, stretches: Sequence[Stretch], repeat: bool = False) -> None:
        """`repeat`: only where each of them ends."""
        *rest, last = stretches
        self._stretches = [*stretches] if repeat else [*rest, last._replace(lasting=math.inf)]
        self._ends = [*accumulate(each.lasting for each in self._stretches)]
        self._period = self._ends[-1] if repeat else math.inf

    @property
    def words(self) -> list[str]:
        """All that it does, in the order of their first time."""
        return list(dict.fromkeys(each.doing for each in self._stretches))

    def doing(self, t: float) -> str:
        """What it does at this time; before the start, what it does first."""
        _, rest = self._split(t)
        return self._stretches[min(bisect_right(self._ends, rest), len(self._ends) - 1)].doing

    def spent(self, word: str) -> Number:
        """The seconds it has done this, by then."""
        # How much of it there was before each stretch, and after the last.
        before = [0.0, *accumulate(each.lasting if each.doing == word else 0.0 for each in self._stretches)]
        begins = [0.0, *self._ends]

        def wave(t: float) -> float:
            rounds, rest = self._split(t)
            i = min(bisect_right(self._ends, rest), len(self._ends) - 1)
            here = rest - begins[i] if self._stretches[i].doing == word else 0.0
            return (rounds * before[-1] if rounds else 0.0) + before[i] + here

        return wave

    def moment(self, word: str) -> Number:
        """The other way round: when it has done this for so many seconds. After the last of it, that last moment."""
        begins = [0.0, *self._ends]
        found = [(begins[i], each.lasting) for i, each in enumerate(self._stretches) if each.doing == word]
        sums = [*accumulate(lasting for _, lasting in found)]

        def wave(seconds: float) -> float:
            rounds = math.floor(seconds / sums[-1]) if math.isfinite(self._period) else 0
            rest = seconds - rounds * sums[-1] if rounds else seconds
            i = min(bisect_right(sums, rest), len(sums) - 1)
            began, lasting = found[i]
            into = min(rest - (sums[i - 1] if i else 0.0), lasting)
            return (rounds * self._period if rounds else 0.0) + began + into

        return wave

    def in_all(self, word: str) -> float:
        """How long it does this, ever; infinite where it comes again and again."""
        if math.isfinite(self._period):
            return math.inf if word in self.words else 0.0
        return sum(each.lasting for each in self._stretches if each.doing == word)

    def _split(self, t: float) -> tuple[int, float]:
        """Whole repetitions, and what has gone by of the one that runs."""
        if not math.isfinite(self._period):
            return 0, max(t, 0.0)
        rounds = math.floor(t / self._period)
        return rounds, min(max(t - rounds * self._period, 0.0), math.nextafter(self._period, 0.0))


class Doings(NamedTuple):
    """What the waves of a machine go by."""

    activity: Callable[[float], str]
    running: Number | None  # the seconds it has run; None: it always runs
    stopped: Wave  # whether it stands
    programme: Programme | None
    words: Sequence[str]  # all that it does, but for its micro-stops
    runs_in: str  # what it does while it runs


def doings(programme: Programme | None, runs_in: str, every: float = 0.0, lasting: float = 0.0) -> Doings:
    """`runs_in`: what it does while it runs; within that it stands for `lasting` at the end of every `every` seconds."""
    produced = programme.spent(runs_in) if programme else _always
    micro = waves.standing(every, lasting) if every else waves.constant(False)
    running = waves.running_time(every, lasting) if every else None

    def activity(t: float) -> str:
        word = programme.doing(t) if programme else runs_in
        return STOP if word == runs_in and micro(produced(t)) else word

    if programme is None:
        return Doings(activity, running, micro, None, [runs_in], runs_in)
    into = running or _always
    return Doings(
        activity, lambda t: into(produced(t)), lambda t: activity(t) != runs_in, programme, programme.words, runs_in
    )


def _always(t: float) -> float:
    return t
