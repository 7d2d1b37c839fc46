"""A meter made of a power: the energy is what the power was, for as long as it was known. Pure.

    power   ──────╮      (bad)      ╭──────▶ now
    energy  ／／／／ ─ ─ nobody knows ─ ─ ／／／／       neither counted nor taken for 0: told as missing

A reading is in force until the next one, good or bad.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_NS = 1_000_000_000
_BREAKS = 64  # that are remembered, for what comes late


class Counted(NamedTuple):
    """What the meter shows at a time."""

    time: int
    kwh: float
    unknown: bool  # whether nobody knows what was consumed since it was shown before


class Break(NamedTuple):
    """A time in which the power was unknown."""

    begin: int
    power: float  # until then
    end: int | None  # None: it still is


class PowerMeter:
    """The energy of one machine from its power. `factor`: kWh of a power of 1 in one second."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._power: float | None = None  # in force
        self._since = 0
        self._sum = 0.0
        self._lost = 0.0  # what rounding took from the sum (Kahan): small steps onto a large total are not lost
        self.breaks: deque[Break] = deque(maxlen=_BREAKS)

    @property
    def known(self) -> bool:
        """Whether there is a power in force."""
        return self._power is not None

    def step(self, power: float | None, time: int) -> Iterator[Counted]:
        """The power from this time on; None: nobody knows. A time before the last one counts as that."""
        before, time = self._power, max(time, self._since)
        if before is not None:
            self._count(before * ((time - self._since) / _NS) * self.factor)
        self._power, self._since = power, time
        if before is not None and power is None:
            self.breaks.append(Break(time, before, None))
        elif before is None and power is not None and self.breaks:
            self.breaks[-1] = self.breaks[-1]._replace(end=time)
        if before is not None or power is not None:
            yield Counted(time, self._sum, before is None)

    def rewind(self, time: int) -> None:
        """The clock was set back: what has been in force is so from then on."""
        self._since = min(self._since, time)

    def _count(self, kwh: float) -> None:
        more = kwh - self._lost
        together = self._sum + more
        if math.isfinite(together):
            self._lost = (together - self._sum) - more
            self._sum = together

    def dump(self) -> list[float]:
        """What must outlive a restart, for JSON. The power does not: until the next reading nobody knows."""
        return [self._sum, self._lost]

    def load(self, state: Sequence[Any]) -> None:
        """The way back; also from an integral in the unit of the power, as it was kept before. Raises ValueError, TypeError."""
        if len(state) == 2:
            kwh, lost = float(state[0]), float(state[1])
        else:
            *_, [[_, _, kwh, lost]] = state
            kwh, lost = float(kwh) * self.factor, float(lost) * self.factor
        if not math.isfinite(kwh + lost):
            raise ValueError(f"{state!r:.60} is not what a meter shows")
        self._sum, self._lost = kwh, lost


def refilled(
    begin: int, end: int, power: float | None, readings: Sequence[tuple[int, float | None]], factor: float
) -> tuple[list[tuple[int, float]], list[tuple[int, int]]]:
    """What was consumed in [begin, end] by readings that came late: (when, kWh since `begin`) up to `end`, and what stays unknown.

    `power`: what is in force at `begin`, `readings`: in their order, those that lie outside are left out; None: bad.
    """
    kwh, at = 0.0, begin
    counted: list[tuple[int, float]] = []
    unknown: list[tuple[int, int]] = []
    for time, reading in [*((t, p) for t, p in readings if begin < t < end), (end, None)]:
        if power is None:
            unknown.append((at, time))
        else:
            kwh += max(0.0, power * ((time - at) / _NS) * factor)
        counted.append((time, kwh))
        at, power = time, reading
    return counted, unknown
