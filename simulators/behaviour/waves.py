r"""Waves: the value of a signal `t` seconds after the start, from nothing but `t`.

    cycle   ‾\__/‾\__/‾   a press: closes, injects, holds, cools, opens
    counter __/‾‾|__/‾‾   one more each period, in step with the cycle
    energy  ⟋ only rises: the integral of another wave

The same `t` gives the same value, today and on any box. A machine is coherent because its waves share period and phase.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import TypeVar

from gateway.model import Value

T = TypeVar("T")
Wave = Callable[[float], Value]
Number = Callable[[float], float]  # a wave that is a number


def constant(value: Value) -> Wave:
    """Always the same."""
    return lambda _: value


def sine(mean: float, amplitude: float, period: float, phase: float = 0.0) -> Number:
    """Up and down around `mean`. `phase` is the share of a period it is ahead."""
    turn = math.tau / period
    return lambda t: mean + amplitude * math.sin(turn * t + math.tau * phase)


def noise(spread: float, hold: float = 1.0, seed: int = 0) -> Number:
    """Between -spread and +spread, another value every `hold` seconds: a hash of the seed and the interval's number."""
    scale = 2 * spread / 0xFFFFFFFF

    def wave(t: float) -> float:
        # The finaliser of MurmurHash3: neighbouring intervals get values that have nothing to do with each other.
        x = (math.floor(t / hold) * 0x9E3779B1 + seed) & 0xFFFFFFFF
        x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        return (x ^ (x >> 16)) * scale - spread

    return wave


def ramp(start: float, end: float, period: float) -> Number:
    """From start to end, then from the start again."""
    return lambda t: start + (end - start) * (t / period % 1.0)


def cycle(points: Sequence[tuple[float, float]], period: float, phase: float = 0.0) -> Number:
    """Straight lines between (phase, value) points; from the last one on to the first one of the next period."""
    first, last = points[0], points[-1]
    ring = [(last[0] - 1.0, last[1]), *points, (first[0] + 1.0, first[1])]
    at = [p for p, _ in ring]
    # Two points at one phase are a jump: the line between them is never asked for.
    lines = [(p, v, (w - v) / (q - p) if q > p else 0.0) for (p, v), (q, w) in pairwise(ring)]

    def wave(t: float) -> float:
        share = (t / period + phase) % 1.0
        p, v, slope = lines[min(bisect_right(at, share), len(lines)) - 1]
        return v + slope * (share - p)

    return wave


def steps(points: Sequence[tuple[float, Value]], period: float, phase: float = 0.0) -> Wave:
    """One value after the other: each from its phase on, the last one over into the next period."""
    at, values = [p for p, _ in points], [v for _, v in points]
    return lambda t: values[bisect_right(at, (t / period + phase) % 1.0) - 1]


def toggle(period: float, share: float = 0.5, phase: float = 0.0) -> Wave:
    """On for the first `share` of a period, then off."""
    return lambda t: (t / period + phase) % 1.0 < share


def counter(period: float, first: int = 0, every: int = 1, but: int = 0) -> Callable[[float], int]:
    """One more at the end of every `every`-th period; with `but`, each `but`-th of these is left out.

    So `every=25` counts the rejects and `but=25` the good parts of the same press: together they are its cycles.
    """

    def wave(t: float) -> int:
        n = math.floor(t / period) // every
        return first + n - (n // but if but else 0)

    return wave


def energy(power: Number, period: float, first: float = 0.0, per: float = 3.6e6) -> Number:
    """What `power` has added up to; never falls, as power below 0 counts as 0. `per`: watt seconds in a unit, kWh.

    The sum over one period is worked out once and then repeated: asking is as quick after a year as after a minute.
    """
    count = 600
    sums = [0.0, *accumulate(max(0.0, power(period * (i + 0.5) / count)) * period / count / per for i in range(count))]

    def wave(t: float) -> float:
        periods = math.floor(t / period)
        at = min((t / period - periods) * count, math.nextafter(count, 0.0))
        i = int(at)
        return first + periods * sums[-1] + sums[i] + (sums[i + 1] - sums[i]) * (at - i)

    return wave


def spindle(speed: float, period: float, stop: float = 0.2, accelerate: float = 0.08, ripple: float = 0.0) -> Number:
    """A main spindle: accelerates, holds its speed with a ripple, brakes, and stands for `stop` of the period."""
    run = cycle([(0, 0), (accelerate, speed), (1 - stop - accelerate, speed), (1 - stop, 0), (1, 0)], period)
    shake = sine(0.0, ripple, period / 37)
    return lambda t: v if (v := run(t)) < speed else v + shake(t)


def running_time(every: float, lasting: float) -> Number:
    """The seconds a machine has run, if it stops at the end of every `every` seconds for `lasting` seconds."""
    runs = every - lasting

    def wave(t: float) -> float:
        stops = math.floor(t / every)
        return stops * runs + min(t - stops * every, runs)

    return wave


def standing(every: float, lasting: float) -> Wave:
    """Whether a machine like that stands."""
    runs = every - lasting
    return lambda t: t - math.floor(t / every) * every >= runs


def total(waves: Sequence[Number], factor: float = 1.0) -> Number:
    """The sum of waves."""
    return lambda t: factor * sum(wave(t) for wave in waves)


def product(waves: Sequence[Number], factor: float = 1.0) -> Number:
    """The product of waves."""
    return lambda t: factor * math.prod(wave(t) for wave in waves)


def on_time(wave: Wave, time: Number) -> Wave:
    """A wave that runs on another time than the wall's."""
    return lambda t: wave(time(t))


def by_phase(points: Sequence[tuple[float, T]]) -> list[tuple[float, T]]:
    """In the order of their phases; two at one phase stay as they were written."""
    return sorted(points, key=itemgetter(0))
