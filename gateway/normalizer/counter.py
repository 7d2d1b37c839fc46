"""A count that never falls and counts nothing twice, from one that goes round, is reset, and sits in a device that is replaced.

    total = raw + offset        a reading that continues the one before only moves `raw`
                                one that does not is held back until the next reading says what it was:

    … 997 998 │ 3 4 5 …         went round (it ends at 1000)   5 added
    … 412 413 │ 0 1 2 …         reset                          what it counted since, as uncertain: counter-reset
    … 412 413 │ 8861 8862 …     another meter                  nothing, as uncertain: counter-replaced
    … 412 413 │ 0 │ 414 …       a glitch                       1 added: nothing is counted twice
    … 412 413 │ 0 0 0 │ 415 …   the same, after all            2 added
    … 412 490 │ 413 414 …       it had leapt                   nothing until 490 is passed, as uncertain: counter-ambiguous

What is possible in the time between two readings decides: `max_rate` where it is configured, else the fastest pace that
was seen, with a margin. A leap beyond it is another meter, too; and so is one from the very first 0, as many devices say 0
while they start.

A type with a sign goes round half way as long as it shows no number below 0. The first one that goes on from the largest
positive one (32767, -32768) shows that the sign is a digit like the others; from then on it goes round where its bits end.
Any other number below 0 is no count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import astuple, dataclass, field
from itertools import chain
from math import inf, isfinite, nextafter
from typing import Any

from gateway.model import (
    COUNTER_AMBIGUOUS,
    COUNTER_REPLACED,
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    GOOD,
    INVALID_DATA,
    NOT_A_NUMBER,
)
from gateway.normalizer.gap import Gap

Count = int | float

_RISE = 100.0  # times the fastest pace seen is believed without waiting for the next reading: machines have slow days
_FALL = 4.0  # times that pace, where a count has fallen: what it can have counted since it began anew
_FIRST = 1000.0  # a second: what is believed at once before any pace is known
_SHORT = 60.0  # seconds for which the former holds; beyond it is the latter
_LEAST = 1.0  # seconds: two readings are never closer, whatever their stamps say
_TINY = 1e-6  # of a float: a meter that repeats itself may differ in its last digits
_HUGE = 1e290  # no count is
_LEAPT = 2  # readings after a leap, until it is believed for good
_GAPS = 4  # that are remembered


@dataclass(slots=True)
class _Leap:
    """A rise that was faster than all before: it may turn out to be none."""

    raw: Count  # before it
    time: int  # of that
    known: float  # the fastest pace until then
    pace: float  # its own
    left: int = _LEAPT


@dataclass(slots=True)
class Counter:
    """The correction of one counter."""

    wraps_at: Count | None  # the first number that it does not have; None where that is not known
    max_rate: float | None  # in a second, in raw numbers; None where that is not configured
    sign: Count | None = None  # of a type with one: how many numbers it has, which is added to those below 0
    raw: Count | None = None  # the last reading that was believed
    time: int = 0  # of it, ns
    offset: Count = 0
    pace: float = 0.0  # the fastest seen, per second
    held: Count | None = None  # a reading that did not fit
    held_time: int = 0
    gone: tuple[Count, Count, int] | None = None  # the count before it fell: its raw number, its offset, and when
    leap: _Leap | None = None
    ahead: Count | None = None  # a total that has left, which the count has yet to reach
    wide: bool = False  # its sign is a digit
    grain: Count = 0  # how far a total that left may lie beside the one that was meant: it was rounded
    before: tuple[int, Count] = (0, 0)  # when the offset changed last, and what it was until then
    noted: list[int] = field(default_factory=lambda: [0])  # one number: how many times a count began anew
    gaps: list[Gap] = field(default_factory=list)  # the newest last
    digits: tuple[Count | None, Count | None] = (None, None)  # `wraps_at`, `sign` before the power of a `scale_from`

    _believed: float = _FIRST  # the pace up to which a rise is believed at once
    _calm: bool = False  # nothing is open: a reading that continues the last one is all there is to it
    _away: bool = False  # no reading came since it was lost
    _recounted: bool = False  # what was written down of it does not hold any more

    def __post_init__(self) -> None:
        self.digits = self.wraps_at, self.sign
        self._rest()

    @property
    def total(self) -> Count:
        """What leaves now; 0 before the first reading."""
        if self.raw is None:
            return 0
        return self.raw + self.offset if self.ahead is None else self.ahead

    def step(self, raw: Count, time: int) -> tuple[Count | None, int]:
        """Take a reading; the total and its quality, None where it is no count at all. `time` is ns since 1970."""
        last: Count = self.raw  # type: ignore[assignment]  # a calm one has one
        if self._calm and raw >= last:  # as nearly always
            elapsed = (time - self.time) / 1e9
            pace = (raw - last) / (elapsed if elapsed > _LEAST else _LEAST)
            if pace <= self._believed and (elapsed < _SHORT or self._fits(raw, time)):
                if pace > self.pace:
                    self._hurry(pace, time)
                self.raw, self.time = raw, time
                return raw + self.offset, GOOD
        return self._look(raw, time)

    def at(self, raw: Count, time: int) -> tuple[Count | None, int]:
        """The total that belonged to a reading of the past, and its quality. What is true now does not change by it."""
        if self._away and self.raw is not None and time > self.time:
            return self._open_gap().place(raw, time)
        for gap in reversed(self.gaps):
            if gap.holds(time):
                return gap.place(raw, time)
        count, quality = self._count(raw)
        if count is None or self.raw is None:
            return count, quality
        changed, offset = self.before
        total = count + (offset if time < changed else self.offset)
        if (total > self.total) if time < self.time else (total < self.total):
            return self.total, COUNTER_AMBIGUOUS
        return total, GOOD

    def lose(self) -> None:
        """No readings from now on, for a while: what comes of that time later is counted from here."""
        self._away = self.raw is not None
        self._rest()

    def twin(self) -> Counter:
        """Another one that goes on by itself."""
        other = copy(self)
        other.noted, other.gaps, other._away = [0], [], False
        other.leap = copy(self.leap)
        other._rest()
        return other

    # --- what is in line ---------------------------------------------------------------------------------------------

    def _fits(self, raw: Count, time: int) -> bool:
        """Whether a reading continues the count that is believed, and not rather one that seemed to have ended."""
        return self._is_next(raw, time) and not self._is_back(raw, time)

    def _is_next(self, raw: Count, time: int) -> bool:
        """Whether a reading continues the last one that was believed."""
        last = self.raw
        assert last is not None
        if raw >= last:
            return raw - last <= self._most(time - self.time, _RISE) and not self._crosses(raw)
        # 0 is what many devices say while they start: whether it went round is seen with the next reading.
        return self._jitters(raw) or (raw != 0 and self._laps(raw, time))

    def _jitters(self, raw: Count) -> bool:
        """Whether it only differs in its last digits, which is no count."""
        fall = 0 if self.raw is None else self.raw - raw
        return fall > 0 and (fall <= self.grain or (isinstance(self.raw, float) and fall <= _TINY * self.raw))

    def _laps(self, raw: Count, time: int) -> bool:
        """Whether it may have gone round since: where the pace is not known, near the end and then near the start.

        More than half of its numbers at once are believed where `max_rate` leaves room for one round, and no second one.
        """
        if self.wraps_at is None or self.raw is None or not raw < self.raw < self.wraps_at:
            return False
        step, elapsed = self.wraps_at - self.raw + raw, time - self.time
        if self.max_rate is not None:
            most = self._most(elapsed, _FALL)
            return step <= most and (step <= self.wraps_at / 2 or step + self.wraps_at > most)
        # A leap that may be none tells no pace.
        pace = (self.leap and self.leap.known) or self.pace
        return step <= (min(self._most(elapsed, _FALL, pace), self.wraps_at / 2) if pace else self.wraps_at / 4)

    def _most(self, elapsed: int, times: float, pace: float | None = None) -> float:
        """What it can have counted in so many ns: at so many times the fastest pace, if nothing is configured."""
        seconds, pace = max(elapsed / 1e9, _LEAST), self.pace if pace is None else pace
        if self.max_rate is not None:
            return self.max_rate * seconds
        if not pace:
            return _FIRST * seconds
        # A margin for what comes at once is none for what comes in hours.
        return pace * (_FALL * seconds + (times - _FALL) * min(seconds, _SHORT))

    def _usual(self, elapsed: int) -> float:
        """What it can have counted in so many ns, if it was not much faster than ever."""
        most = self._most(elapsed, _FALL)
        return min(most, _FALL * self.pace * max(elapsed / 1e9, _LEAST)) if self.pace else most

    def _go_on(self, raw: Count, time: int, step: Count) -> None:
        if (pace := _pace(step, time - self.time)) > self.pace:
            self._hurry(pace, time)
        else:
            self._pass_leap()
        self.raw, self.time = raw, time

    def _hurry(self, pace: float, time: int) -> None:
        """Faster than ever: believed, and watched for a while."""
        assert self.raw is not None
        self.leap, self._calm = _Leap(self.raw, self.time, self.pace, pace), False
        if time > self.time:
            self._learn(pace)

    def _pass_leap(self) -> None:
        if self.leap is not None:
            self.leap.left -= 1
            if not self.leap.left:
                self.leap = None

    def _learn(self, pace: float) -> None:
        self.pace = pace
        self._set_believed()

    def _set_believed(self) -> None:
        """As long as the count before may come back, faster ones are looked at."""
        if self.gone is not None:
            self._believed = min(self.pace * _FALL, _HUGE if self.max_rate is None else self.max_rate)
        elif self.max_rate is not None:
            self._believed = self.max_rate
        else:
            self._believed = min(self.pace * _RISE, _HUGE) if self.pace else _FIRST

    # --- what is not -------------------------------------------------------------------------------------------------

    def _look(self, raw: Count, time: int) -> tuple[Count | None, int]:
        """A reading that has to be looked at: it did not fit, or something else is open."""
        count: Count | None = raw
        if not 0 <= raw < _HUGE:
            count, quality = self._count(raw)
            if count is None:
                return None, quality
        assert count is not None
        if self.raw is None:
            return self._first(count, time, below=raw < 0)
        if self._away and (gap := self._open_gap()).is_told and self.time < gap.now.time < time:
            self._adopt(gap.now)
        if self.gone is not None and self.raw >= self.gone[0]:  # passed without a leap: that count is over
            self.gone = None
            self._set_believed()
        before = self.raw + self.offset if self.ahead is None else self.ahead
        if self.held is None and self._fits(count, time):
            quality = self._settle(count, time)
        else:
            quality = self._out_of_line(count, time)
        reached = self.raw + self.offset
        self.ahead = before if reached < before else None  # a total never falls
        if self.ahead is not None and quality == GOOD:
            quality = COUNTER_AMBIGUOUS
        total = reached if self.ahead is None else self.ahead
        if self._away and self.held is None:
            self._come_back(total, time)
        self._calm = self.held is None and self.leap is None and self.ahead is None and not self._away
        return total, quality

    def _come_back(self, total: Count, time: int) -> None:
        """Readings are believed again."""
        gap = self.gaps[-1]
        gap.until, gap.most, self._away = time, total, False
        if self._recounted:
            self._recounted = False
            self.noted[0] += 1

    def _rest(self) -> None:
        """After a change from outside."""
        is_open = not (self.held is None and self.leap is None and self.ahead is None)
        self._calm = not (is_open or self._away or self.raw is None)
        self._set_believed()

    def _count(self, raw: Count) -> tuple[Count | None, int]:
        """What a raw number counts, None where it can be no count; what is the matter then."""
        if not isfinite(raw):
            return None, NOT_A_NUMBER
        if 0 <= raw < _HUGE:
            return raw, GOOD
        if self.sign is None or not -self.sign <= 2 * raw < 0:
            return None, INVALID_DATA
        count = raw + self.sign
        possible = self.wraps_at is None or count < self.wraps_at or self._is_half
        return (count, GOOD) if possible else (None, INVALID_DATA)

    @property
    def _is_half(self) -> bool:
        """Whether it is only thought to go round half way, as it has shown no number below 0."""
        return self.sign is not None and self.wraps_at is not None and 2 * self.wraps_at == self.sign

    def _crosses(self, count: Count) -> bool:
        """Whether a number below 0 came from anywhere, and not as the next one: -1 is what many devices say for none."""
        if self.wide or self.sign is None or self.raw is None or 2 * count < self.sign:
            return False
        return count - self.raw > self.sign / (4 if self.max_rate is None else 2)

    def _widen(self, count: Count) -> None:
        if self.sign is not None and not self.wide and 2 * count >= self.sign:
            self.wide = True
            self.wraps_at = self.sign if self._is_half else self.wraps_at
            if self.digits[0] is not None and self.digits[1] == 2 * self.digits[0]:
                self.digits = self.digits[1], self.digits[1]

    def _first(self, count: Count, time: int, *, below: bool) -> tuple[Count | None, int]:
        """A number below 0 is believed when it counts on."""
        if below and (self.held is None or not self.held < count):
            self.held, self.held_time = count, time
            return None, INVALID_DATA
        self.raw, self.time, self.held = count, time, None
        self._widen(count)
        self._rest()
        return self.total, GOOD

    def _out_of_line(self, raw: Count, time: int) -> int:
        """A reading that did not fit is believed when the next one continues it, and forgotten if that fits without it."""
        quality = COUNTER_UNSETTLED
        if self._is_back(raw, time):
            quality = GOOD
            self._go_back(raw, time)
        elif self._is_next(raw, time):
            self.held = None
            quality = self._settle(raw, time)
        elif self.held is not None and self._continues(raw, time):
            quality = self._settle(self.held, self.held_time, (raw, time))
            self.held = None
            assert self.raw is not None
            if raw >= self.raw:
                self._go_on(raw, time, raw - self.raw)
        else:
            self.held, self.held_time = raw, time
        return quality

    def _continues(self, raw: Count, time: int) -> bool:
        """Whether a reading goes on from the one that is held. It may be fast: a machine can wake up from a slow night."""
        assert self.held is not None
        if raw < self.held or (raw == self.held and self._crosses(raw)):
            return False
        return self.max_rate is None or raw - self.held <= self._most(time - self.held_time, 1.0)

    def _settle(self, raw: Count, time: int, after: tuple[Count, int] | None = None) -> int:
        """Believe a reading, whatever it is: the quality of what follows from it. `after`: the one that told."""
        assert self.raw is not None
        if raw >= self.raw:
            return self._rise(raw, time, after)
        if self._jitters(raw):
            return GOOD
        if self._laps(raw, time):
            return self._go_round(raw, time)
        leap, elapsed = self.leap, time - self.time
        if after is not None and leap is not None and self._had_leapt(leap, raw, time, *after):
            self.leap = None
            self._learn(leap.known)
            self.raw, self.time = raw, time
            return COUNTER_AMBIGUOUS
        known = self.max_rate is not None or self.pace > 0
        usual = raw == 0 or (self.pace > 0 and raw <= self._usual(elapsed))
        if not usual and self.pace and self.raw - raw <= self._most(elapsed, _RISE):
            # Hardly counted since it began anew, and near: what stood too high, or stands too low, is no count.
            self.leap = None
            self.raw, self.time = raw, time
            return COUNTER_AMBIGUOUS
        reset = usual or (known and raw <= self._most(elapsed, _FALL))
        self.gone = (self.raw, self.offset, self.time)
        self._set_believed()
        self._begin(raw, time, raw if reset else 0)
        return COUNTER_RESET if reset else COUNTER_REPLACED

    def _rise(self, raw: Count, time: int, after: tuple[Count, int] | None) -> int:
        assert self.raw is not None
        step, elapsed = raw - self.raw, time - self.time
        too_fast = step > self._most(elapsed, _RISE)
        if too_fast and after is not None and self.max_rate is None and not self.pace:
            # The very first step: from 0 a device that was starting leaps, where the next one is not like it.
            too_fast = self.raw == 0 and _pace(step, elapsed) > _FALL * _pace(after[0] - raw, after[1] - time)
        if too_fast or self._crosses(raw):
            self._begin(raw, time, 0)
            self._widen(raw)
            return COUNTER_REPLACED
        self._go_on(raw, time, step)
        self._widen(raw)
        return GOOD

    def _go_round(self, raw: Count, time: int) -> int:
        assert self.wraps_at is not None
        assert self.raw is not None
        step, elapsed = self.wraps_at - self.raw + raw, time - self.time
        if self.max_rate is None:
            # After a long silence it may have gone round more than once, or have been reset.
            open_ = elapsed > _SHORT * 1e9
        else:
            most = self._most(elapsed, 1.0)
            open_ = step + self.wraps_at <= most or (step > self.wraps_at / 2 and raw <= most)
        self._begin(raw, time, step)
        return COUNTER_AMBIGUOUS if open_ else GOOD

    def _had_leapt(self, leap: _Leap, raw: Count, time: int, after: Count, after_time: int) -> bool:
        """Whether two readings continue what was before a leap, so that it was none: and not a count that began anew."""
        if (
            raw < leap.raw
            or raw == 0
            or (leap.known and raw - leap.raw > self._most(time - leap.time, _RISE, leap.known))
        ):
            return False
        usual = max(leap.known, _pace(raw - leap.raw, time - leap.time), _pace(after - raw, after_time - time))
        if leap.pace > _FALL * usual:
            return True
        # As fast as others were: believed, if it can have counted that much anew at the pace that was known.
        return bool(leap.known) and raw > _FALL * leap.known * max((time - self.time) / 1e9, _LEAST)

    def _is_back(self, raw: Count, time: int) -> bool:
        """Whether a reading continues the count that seemed to have ended, and not the one that is believed now."""
        if self.gone is None or self.raw is None or raw < self.gone[0]:
            return False
        last, _, seen = self.gone
        if self.max_rate is None and not self.pace:
            return True
        return raw - last <= self._most(time - seen, _FALL) and raw - self.raw > self._usual(time - self.time)

    def _go_back(self, raw: Count, time: int) -> None:
        """The count had not ended. What was added since is not taken away: it is ahead until that is counted."""
        assert self.gone is not None
        self.noted[0] += 1
        self.before = time, self.offset
        self.offset = self.gone[1]
        self.raw, self.time, self.held, self.gone, self.leap = raw, time, None, None, None
        self._set_believed()

    def _begin(self, raw: Count, time: int, step: Count) -> None:
        """Another count begins: the total goes on from where it was, by `step`."""
        self.noted[0] += 1
        total = self.total + step
        self.before = time, self.offset
        self.raw, self.time, self.leap, self.ahead = raw, time, None, None
        self.rebase(total)

    def rebase(self, total: Count) -> None:
        """What it shows now belongs to this total."""
        assert self.raw is not None
        self.offset = total - self.raw
        if self.raw + self.offset < total:  # by the last digit of a float
            self.offset = nextafter(self.offset, inf)

    def scale(self, power: int | None) -> None:
        """The power of ten its raw numbers were multiplied by (`scale_from`): where it goes round moves with it."""
        if power is not None:
            wraps_at, sign = self.digits
            self.wraps_at = None if wraps_at is None else wraps_at * 10.0**power
            self.sign = None if sign is None else sign * 10.0**power

    # --- what is told later ------------------------------------------------------------------------------------------

    def _open_gap(self) -> Gap:
        if not self.gaps or self.gaps[-1].until is not None:
            self.gaps.append(Gap(self.twin(), self.twin()))
            del self.gaps[:-_GAPS]
        return self.gaps[-1]

    def _adopt(self, told: Counter) -> None:
        """What was told before live readings began again is known: they go on from there."""
        self.noted[0] += 1
        self.raw, self.time, self.offset, self.pace = told.raw, told.time, told.offset, told.pace
        self.gone, self.leap, self.ahead, self.before = told.gone, copy(told.leap), told.ahead, told.before
        if told.wide and told.raw is not None:
            self._widen(told.raw)
        if self.held is None and told.held is not None:
            self.held, self.held_time = told.held, told.held_time
        self._set_believed()

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self) -> list[Any]:
        """What has to be remembered, for JSON."""
        more = {
            "gone": None if self.gone is None else list(self.gone),
            "leap": None if self.leap is None else list(astuple(self.leap)),
            "ahead": self.ahead,
            "wide": self.wide or None,
        }
        return [
            self.raw, self.time, self.offset, self.pace, self.held, self.held_time, *self.before,
            {key: value for key, value in more.items() if value is not None},
        ]  # fmt: skip

    def load(self, state: Sequence[Any]) -> None:
        """The way back, also from the eight numbers of before. Raises ValueError for what `dump` does not make."""
        numbers, more = list(state[:8]), state[8] if len(state) == 9 else {}
        gone: Any
        leap: Any
        ahead: Any
        gone, leap, ahead = (more.get(key) for key in ("gone", "leap", "ahead")) if isinstance(more, dict) else "???"
        may_lack = [numbers[0:1], numbers[4:5], [ahead]]
        needed = [*numbers[1:4], *numbers[5:], *(gone or ()), *(leap or ())]
        lengths = len(numbers), len(state) <= 9, len(gone or "012"), len(leap or "01234")
        given = [n for n in chain(*may_lack) if n is not None]
        if lengths != (8, True, 3, 5) or not all(map(_is_number, (*needed, *given))):
            raise ValueError(f"{state!r} is not the state of a counter")
        raw, time, offset, pace, held, held_time, changed, was = numbers
        if raw is not None and raw < 0:  # what is written now has none below 0
            raw, offset = (raw + self.sign, offset - self.sign) if self.sign else (0, raw + offset)
        self.raw, self.time, self.offset, self.pace = raw, int(time), offset, max(float(pace), 0.0)
        self.held, self.held_time, self.before = held, int(held_time), (int(changed), was)
        self.gone = None if gone is None else (gone[0], gone[1], int(gone[2]))
        self.leap = None if leap is None else _Leap(leap[0], int(leap[1]), leap[2], leap[3], int(leap[4]))
        self.ahead = ahead
        if self.sign is not None and (more.get("wide") or (raw is not None and 2 * raw >= self.sign)):
            self._widen(self.sign)
        self._rest()

    def recount(self, turned: Callable[[Count], Count]) -> None:
        """Its totals are other numbers from now on, as those that leave are to go on: `turned` gives the new ones."""
        if self.raw is None:
            return
        reached = self.raw + self.offset
        self.before = self.before[0], turned(self.raw + self.before[1]) - self.raw
        self.ahead = None if self.ahead is None else turned(self.ahead)
        self.rebase(turned(reached))
        if self.gone is not None:
            raw, was, time = self.gone
            self.gone = raw, turned(raw + was) - raw, time
        self.gaps, self._recounted = [], True

    def catch_up(self, total: Count, time: int) -> None:
        """This total has left after the state was saved. Several come in their order, which tells the pace, too."""
        raw = max(total - self.offset, 0)
        if self.raw is None:
            self.raw, self.time = raw, time
        elif time > self.time:
            if self.ahead is not None and total <= self.ahead:
                self.time = time  # it stood still meanwhile, wherever the count was
            else:
                step = max(raw - self.raw, 0)
                if (pace := _pace(step, time - self.time)) > self.pace:
                    self._learn(pace)
                self.raw, self.time, self.ahead = raw, time, None
            self.held = self.leap = None
        self._rest()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _pace(step: Count, elapsed: int) -> float:
    """In a second."""
    return step / max(elapsed / 1e9, _LEAST)
