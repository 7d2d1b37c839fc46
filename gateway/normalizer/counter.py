"""A count that never falls and counts nothing twice, from one that goes round, is reset, and sits in a device that is replaced.

    total = raw + offset        a reading that continues the one before only moves `raw`
                                one that does not is held back until the next reading says what it was:

    … 997 998 │ 3 4 5 …         went round (it ends at 1000)   5 added
    … 412 413 │ 0 1 2 …         reset                          what it counted since, as uncertain: counter-reset
    … 412 413 │ 8861 8862 …     another meter                  nothing, as uncertain: counter-replaced
    … 412 413 │ 0 │ 414 …       a glitch                       1 added: nothing is counted twice
    … 412 413 │ 0 0 0 │ 415 …   the same, after all            2 added

What is possible in the time between two readings decides: `max_rate` where it is configured, else the fastest pace that
was seen, with a margin. A leap beyond it is another meter, too; and so is one from the very first 0, as many devices say 0
while they start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any

from gateway.model import COUNTER_AMBIGUOUS, COUNTER_REPLACED, COUNTER_RESET, COUNTER_UNSETTLED, GOOD

Count = int | float

_RISE = 100.0  # times the fastest pace seen is believed without waiting for the next reading: machines have slow days
_FALL = 4.0  # times that pace, where a count has fallen: what it can have counted since it began anew
_FIRST = 1000.0  # a second: what is believed after a first 0, before any pace is known
_SHORT = 60.0  # seconds for which the former holds; beyond it is the latter
_LEAST = 1.0  # seconds: two readings are never closer, whatever their stamps say
_TINY = 1e-6  # of a float: a meter that repeats itself may differ in its last digits


@dataclass(slots=True)
class Counter:
    """The correction of one counter."""

    wraps_at: Count | None  # the first number that it does not have; None where that is not known
    max_rate: float | None  # in a second, in raw numbers; None where that is not configured
    raw: Count | None = None  # the last reading that was believed
    time: int = 0  # of it, ns
    offset: Count = 0
    pace: float = 0.0  # the fastest seen, per second
    held: Count | None = None  # a reading that did not fit
    held_time: int = 0
    gone: tuple[Count, Count, int] | None = None  # the count before it fell: its raw number, its offset, and when
    grain: Count = 0  # how far a total that left may lie beside the one that was meant: it was rounded
    before: tuple[int, Count] = (0, 0)  # when the offset changed last, and what it was until then
    noted: list[int] = field(default_factory=lambda: [0])  # one number: how many times a count began anew
    digits: Count | None = None  # as `wraps_at`, before the power of ten of a `scale_from`

    _believed: float = inf  # the pace up to which a rise is believed at once

    def __post_init__(self) -> None:
        self.digits = self.wraps_at
        self._believed = inf if self.max_rate is None else self.max_rate

    @property
    def total(self) -> Count:
        """What leaves now; 0 before the first reading."""
        return 0 if self.raw is None else self.raw + self.offset

    def step(self, raw: Count, time: int) -> tuple[Count, int]:
        """Take a reading; the total and its quality. `time` is ns since 1970."""
        last = self.raw
        if last is None:
            self.raw, self.time = raw, time
            if raw == 0 and self.max_rate is None:
                self._believed = _FIRST
            return raw + self.offset, GOOD
        if raw >= last and self.held is None and not (self.gone and self._is_back(raw, time)):  # as nearly always
            elapsed = (time - self.time) / 1e9
            pace = (raw - last) / (elapsed if elapsed > _LEAST else _LEAST)
            if pace <= self._believed and (elapsed < _SHORT or self._is_next(raw, time)):
                if pace > self.pace and elapsed > 0:
                    self._learn(pace)
                self.raw, self.time = raw, time
                return raw + self.offset, GOOD
        if self.held is None and self._is_next(raw, time) and not (self.gone and self._is_back(raw, time)):
            quality = self._settle(raw, time)
            return self.total, quality
        return self._out_of_line(raw, time)

    def at(self, raw: Count, time: int) -> Count:
        """The total that belonged to a reading of the past, without taking it."""
        changed, offset = self.before
        return raw + (offset if time < changed else self.offset)

    # --- what is in line ---------------------------------------------------------------------------------------------

    def _is_next(self, raw: Count, time: int) -> bool:
        """Whether a reading continues the last one that was believed."""
        last = self.raw
        assert last is not None
        if raw >= last:
            return raw - last <= self._most(time - self.time, _RISE)
        # 0 is what many devices say while they start: whether it went round is seen with the next reading.
        return self._jitters(raw) or (raw != 0 and self._laps(raw, time))

    def _jitters(self, raw: Count) -> bool:
        """Whether it only differs in its last digits, which is no count."""
        fall = 0 if self.raw is None else self.raw - raw
        return fall > 0 and (fall <= self.grain or (isinstance(self.raw, float) and fall <= _TINY * self.raw))

    def _laps(self, raw: Count, time: int) -> bool:
        """Whether it may have gone round since: where the pace is not known, near the end and then near the start."""
        if self.wraps_at is None or self.raw is None or not raw < self.raw < self.wraps_at:
            return False
        step = self.wraps_at - self.raw + raw
        if self.max_rate is None and not self.pace:
            return step <= self.wraps_at / 4
        return step <= self._most(time - self.time, _FALL) and step <= self.wraps_at / 2

    def _most(self, elapsed: int, times: float) -> float:
        """What it can have counted in so many ns: at so many times the fastest pace, if nothing is configured."""
        seconds = max(elapsed / 1e9, _LEAST)
        if self.max_rate is not None:
            return self.max_rate * seconds
        if not self.pace:
            return inf if self.raw else _FIRST * seconds
        # A margin for what comes at once is none for what comes in hours.
        return self.pace * (_FALL * seconds + (times - _FALL) * min(seconds, _SHORT))

    def _go_on(self, raw: Count, time: int, step: Count) -> None:
        if step and time > self.time and (pace := step / max((time - self.time) / 1e9, _LEAST)) > self.pace:
            self._learn(pace)
        self.raw, self.time = raw, time

    def _learn(self, pace: float) -> None:
        self.pace = pace
        if self.max_rate is None:
            self._believed = pace * _RISE

    # --- what is not -------------------------------------------------------------------------------------------------

    def _out_of_line(self, raw: Count, time: int) -> tuple[Count, int]:
        """A reading that did not fit is believed when the next one continues it, and forgotten if that fits without it."""
        quality = COUNTER_UNSETTLED
        if self._is_back(raw, time):
            quality = GOOD
            self._go_back(raw, time)
        elif self._is_next(raw, time):
            self.held = None
            quality = self._settle(raw, time)
        elif self.held is not None and self._continues(raw, time):
            quality = self._settle(self.held, self.held_time)
            self.held = None
            assert self.raw is not None
            self._go_on(raw, time, raw - self.raw)
        else:
            self.held, self.held_time = raw, time
        return self.total, quality

    def _continues(self, raw: Count, time: int) -> bool:
        """Whether a reading goes on from the one that is held. It may be fast: a machine can wake up from a slow night."""
        assert self.held is not None
        if raw < self.held:
            return False
        return self.max_rate is None or raw - self.held <= self.max_rate * max((time - self.held_time) / 1e9, _LEAST)

    def _settle(self, raw: Count, time: int) -> int:
        """Believe a reading, whatever it is: the quality of what follows from it."""
        last, elapsed = self.raw, time - self.time
        assert last is not None
        quality = GOOD
        if raw >= last:
            step = raw - last
            if step > self._most(elapsed, _RISE):
                self._begin(raw, time, 0)
                return COUNTER_REPLACED
            self._go_on(raw, time, step)
            return quality
        if self._jitters(raw):
            return GOOD
        if self._laps(raw, time):
            assert self.wraps_at is not None
            step = self.wraps_at - last + raw
            # After a long silence it may have gone round more than once, or have been reset.
            long = elapsed > _SHORT * 1e9 and self.max_rate is None
            if long or (self.max_rate and self._most(elapsed, 1.0) >= self.wraps_at):
                quality = COUNTER_AMBIGUOUS
            self._begin(raw, time, step)
            return quality
        self.gone = (last, self.offset, self.time)
        known = self.max_rate is not None or self.pace > 0
        if raw == 0 or (known and raw <= self._most(elapsed, _FALL)):
            self._begin(raw, time, raw)
            return COUNTER_RESET
        self._begin(raw, time, 0)
        return COUNTER_REPLACED

    def _is_back(self, raw: Count, time: int) -> bool:
        """Whether a reading continues the count that seemed to have ended, and not the one that is believed now."""
        if self.gone is None or self.raw is None or raw < self.gone[0]:
            return False
        last, _, seen = self.gone
        if self.max_rate is None and not self.pace:
            return True
        return raw - last <= self._most(time - seen, _FALL) and raw - self.raw > self._most(time - self.time, _FALL)

    def _go_back(self, raw: Count, time: int) -> None:
        """The count had not ended: what was added since must not be taken away again."""
        assert self.gone is not None
        total, offset = self.total, self.gone[1]
        self.noted[0] += 1
        self.before = time, self.offset
        self.offset = max(offset, total - raw)
        self.raw, self.time, self.held, self.gone = raw, time, None, None

    def _begin(self, raw: Count, time: int, step: Count) -> None:
        """Another count begins: the total goes on from where it was, by `step`."""
        self.noted[0] += 1
        total = self.total + step
        self.before = time, self.offset
        self.offset = total - raw
        if raw + self.offset < total:  # by the last digit of a float
            self.offset = nextafter(self.offset, inf)
        self.raw, self.time = raw, time

    def scale(self, power: int | None) -> None:
        """The power of ten its raw numbers were multiplied by (`scale_from`): where it goes round moves with it."""
        if power is not None and self.digits is not None:
            self.wraps_at = self.digits * 10.0**power

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self) -> list[Any]:
        """What has to be remembered, for JSON."""
        return [self.raw, self.time, self.offset, self.pace, self.held, self.held_time, *self.before]

    def load(self, state: Sequence[Any]) -> None:
        """The way back. Raises ValueError for what `dump` does not make."""
        if len(state) != 8 or not all(
            isinstance(n, int | float) and not isinstance(n, bool) for n in state if n is not None
        ):
            raise ValueError(f"{state!r} is not the state of a counter")
        raw, time, offset, pace, held, held_time, changed, was = state
        if None in (time, offset, pace, held_time, changed, was):
            raise ValueError(f"{state!r} is not the state of a counter")
        self.raw, self.time, self.offset = raw, int(time), offset
        if pace > 0:
            self._learn(float(pace))
        self.held, self.held_time, self.before = held, int(held_time), (int(changed), was)

    def catch_up(self, total: Count, time: int) -> None:
        """This total has left after the state was saved. Several come in their order, which tells the pace, too."""
        raw = max(total - self.offset, 0)
        if self.raw is None:
            self.raw, self.time = raw, time
        elif time > self.time:
            self._go_on(raw, time, max(raw - self.raw, 0))
            self.held = None
