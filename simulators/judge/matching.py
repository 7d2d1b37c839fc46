"""Whose reading it is: each stored reading of a signal finds the serving it came from. Pure, and on columns.

    served   ●     ●     ●     ●     ●
    stored    ○     ○       ◌   ○  ○○         in its place; ◌ late; ○○ duplicated; what fits nowhere is wrong

A polled reading is stamped when its answer came: it belongs to the newest answer before its stamp. A reading of a server that
stamps itself belongs to the serving of that time. Where the value does not fit, an earlier serving of the same value that
nothing belongs to is looked for: then it is late. If there is none it is wrong, or duplicated where that serving is taken.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.model import BAD, OUT_OF_RANGE, REASONS, SEVERITY, UNCERTAIN, Value, quality_text
from simulators.judge.rules import COUNTS_IN_DOUBT, ROUNDING, Rule
from simulators.judge.totals import CODE, Pair, totals
from simulators.judge.verdict import SHOWN, Finding, SignalVerdict
from simulators.ledger import Column

MS, SECOND = 1_000_000, 1_000_000_000
EARLY = MS  # ns: two clocks of one computer, and stamps in whole microseconds
SAME = 1500  # ns: stamps of a server come in 100 ns, those of messages in microseconds
REACH = 10  # times the bound for lateness: so far back is looked for the serving of a late reading
MOST = 256  # servings that are looked at for it
FREE, SPOILT = -1, -2  # a serving that no reading belongs to; one that was stored as something else

_BEYOND = frozenset((OUT_OF_RANGE,))


class Readings(Protocol):
    """What a store has of one signal, ascending in time."""

    @property
    def time(self) -> Sequence[int]: ...  # ns since 1970

    @property
    def value(self) -> Sequence[Value]: ...  # None where the quality is bad

    @property
    def quality(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is judged, and how strictly; times in ns since 1970."""

    late: int = SECOND
    since: int | None = None
    until: int | None = None
    settled: int | None = None  # servings after it may be on their way; None: `settle` before the newest reading stored
    settle: int = 2 * SECOND
    absences: tuple[tuple[int, int], ...] = ()  # when nobody was there to take an answer


class Matching:
    """Of one signal: `owner` has the stored reading of each serving, `expected` what it has to be."""

    def __init__(
        self, verdict: SignalVerdict, rule: Rule, said: Column, has: Readings, bounds: Bounds, span: tuple[int, int]
    ) -> None:
        """`said`: in the order of its times. `span`: from when to when the ledger tells."""
        self.verdict, self.rule, self.said, self.bounds, self.span = verdict, rule, said, bounds, span
        self.time, self.value, self.quality = has.time, has.value, has.quality
        self.expected: Sequence[Value] = said.value
        self._between: dict[int, tuple[float, float]] = {}  # what a count may be where the store has a doubt about it
        self._held: set[int] = set()  # counts about which it has to have one
        self.bad: dict[int, int] = {}  # servings without a value, with the quality that is to be stored; 0: any bad one
        self.owner: list[int] = []
        self._unfit: list[int] = []  # servings that wrong readings stand for

    def run(self) -> None:
        """Count what is wrong, late and duplicated, and what the gateway has stored by itself."""
        self._expect()
        self._match()
        for i in self._unfit:
            if i >= 0 and self.owner[i] == FREE:
                self.owner[i] = SPOILT
        self._look_at_qualities()

    # --- what should be there ----------------------------------------------------------------------------------------

    def _expect(self) -> None:
        """What each serving has to be stored as."""
        rule, said = self.rule, self.said
        if rule.texts:
            self.expected = [v if v is None or isinstance(v, str) else str(v) for v in said.value]
        elif rule.ends:
            low, high = rule.ends
            self.expected = [v if isinstance(v, str | None) else min(max(v, low), high) for v in said.value]
        if any(said.quality):
            self.bad = {i: q for i, q in enumerate(said.quality) if q >= BAD}
        if None in said.value or rule.invalid:
            for i, value in enumerate(said.value):
                if value is None or (rule.invalid and any(self._near(value, no) for no in rule.invalid)):
                    self.bad.setdefault(i, 0)
        if self.bad:
            expected = list(self.expected)
            for i in self.bad:
                expected[i] = None
            self.expected = expected
        if rule.counter:
            found = totals(rule, said.time, self.expected, self._pairs())
            self.expected, self._between, self._held = found.expected, found.between, found.held
            self.verdict.note = found.note
            for i in found.anew:
                self._count("anew", said.time[i])

    def _pairs(self) -> Iterator[Pair]:
        """By time alone: the newest serving before each reading that is not bad."""
        for t, value, quality in zip(self.time, self.value, self.quality, strict=True):
            if value is not None and quality < BAD and t >= self.said.time[0] - EARLY:
                yield Pair(bisect_right(self.said.time, t + EARLY) - 1, value, quality)

    def _fits(self, i: int, value: Value, quality: int) -> bool:
        """Whether a stored reading may be what became of a serving."""
        if i in self.bad:
            told = self.bad[i]
            return value is None and quality >= BAD and (not told or told & CODE == quality & CODE)
        if value is None or self._near(self.expected[i], value):
            return value is not None
        if i not in self._between or quality & CODE not in COUNTS_IN_DOUBT or isinstance(value, str):
            return False
        low, high = self._between[i]
        return low <= value <= high or self._near(low, value) or self._near(high, value)

    def _near(self, a: Value, b: Value) -> bool:
        """Equal, but for rounding. True is not 1."""
        if isinstance(a, str) or isinstance(b, str):  # line protocol has no newline in a text
            return a == b or (isinstance(a, str) and isinstance(b, str) and a.replace("\n", "\\n") == b)
        if a is None or b is None or isinstance(a, bool) is not isinstance(b, bool):
            return a is b
        if a == b or (isinstance(a, int) and isinstance(b, int) and not self.rule.near):
            return a == b
        return abs(a - b) <= self.rule.near + ROUNDING * max(abs(a), abs(b))

    # --- whose is it -------------------------------------------------------------------------------------------------

    def _match(self) -> None:
        """Find the serving of each stored reading. All but a few are the next one."""
        served, expected, count = self.said.time, self.expected, len(self.said.time)
        source = self.rule.stamps == "source"
        self.owner = owner = [FREE] * count
        plain = not self.bad
        i, late = 0, self.bounds.late
        for j, (t, value, quality) in enumerate(zip(self.time, self.value, self.quality, strict=True)):
            if i < count and plain and value is not None and quality < BAD:
                known = expected[i]
                if value == known and type(value) is type(known):
                    begin = served[i]
                    if source:
                        near = -SAME <= t - begin <= SAME
                    else:
                        near = 0 <= t - begin <= late and (i + 1 == count or t < served[i + 1])
                    if near:
                        owner[i] = j
                        i += 1
                        continue
            i = self._place(j, t, value, quality, i)
        since, until = self.bounds.since, self.bounds.until
        if since is None and until is None:
            self.verdict.stored = len(self.time)
        else:
            self.verdict.stored = sum(self.within(t) for t in self.time)

    def _place(self, j: int, t: int, value: Value, quality: int, following: int) -> int:
        """The place of a reading that is not simply the next one; the serving after it."""
        newest = bisect_right(self.said.time, t + (SAME if self.rule.stamps == "source" else EARLY)) - 1
        i = self._serving(newest, t, value, quality)
        if i is not None:
            self.owner[i] = j
            return max(following, i + 1)
        if self._is_own(j, t, value, quality, newest):
            self._count("own", t)
            return following
        if not self.span[0] - EARLY <= t <= self.span[1]:
            self._count("outside", t)
            return following
        # What stands where another one should is no second copy of its neighbour.
        instead = newest >= 0 and self.owner[newest] == FREE
        if not instead and (i := self._taken(newest, t, value, quality)) is not None:
            self._count("duplicated", t)
            self._fault(t, value, f"stored once more: it was served {_ago(self.said.time[i], t)}")
        else:
            self._wrong(t, value, quality, newest)
        return following

    def _serving(self, newest: int, t: int, value: Value, quality: int) -> int | None:
        """The newest serving that fits and is free; counted as late where it is."""
        for i in self._behind(newest, t):
            if self.owner[i] == FREE and self._fits(i, value, quality):
                behind = t - self.said.time[i]
                if self.rule.stamps == "source":
                    late = behind > SAME and not self._is_confirmed(t) and not self.rule.repeats
                else:
                    late = behind > self.bounds.late + self.took(i)
                if late:
                    self._count("late", t)
                return i
        return None

    def _taken(self, newest: int, t: int, value: Value, quality: int) -> int | None:
        """The newest serving that fits, though another reading belongs to it."""
        return next((i for i in self._behind(newest, t) if self._fits(i, value, quality)), None)

    def _behind(self, newest: int, t: int) -> Iterable[int]:
        """Servings from the newest one back, as far as a reading may be late; one of a server's holds on until the next."""
        served, furthest = self.said.time, t - REACH * self.bounds.late
        for i in range(newest, max(-1, newest - MOST), -1):
            if served[i] < furthest and i < newest:
                return
            if served[i] < furthest and self.rule.stamps == "arrival":
                return
            yield i

    def _is_own(self, j: int, t: int, value: Value, quality: int, newest: int) -> bool:
        """Whether the gateway says it by itself: that there is no value, or that the last one holds on."""
        if value is None or quality >= BAD:
            return quality & CODE in REASONS
        holds = newest >= 0 and self._fits(newest, value, quality)
        return holds and self.rule.stamps == "source" and (self.rule.repeats or self._is_confirmed(t, j))

    def _is_confirmed(self, t: int, j: int | None = None) -> bool:
        """Whether a reading ends a mark of the gateway: it has the time of its arrival then."""
        at = bisect_left(self.time, t) if j is None else j
        return at > 0 and self.quality[at - 1] >= BAD

    def _wrong(self, t: int, value: Value, quality: int, newest: int) -> None:
        """Never served around that time. It stands for the serving it was made of, which is not missing as well."""
        served = self.said.time
        what = "stored, and nothing of the kind was served around that time"
        stands_for = newest
        for i in range(newest + 1, min(newest + 1 + SHOWN, len(served))):
            if served[i] - t <= self.bounds.late and self.owner[i] == FREE and self._fits(i, value, quality):
                what, stands_for = f"its stamp is {(served[i] - t) / MS:.3f} ms before it was served", i
                break
        else:
            if newest >= 0:
                what += f": it was {_shown(self.expected[newest])}, {_ago(served[newest], t)}"
        self._unfit.append(stands_for)
        self._count("wrong", t)
        self._fault(t, value, what)

    # --- qualities ---------------------------------------------------------------------------------------------------

    def _look_at_qualities(self) -> None:
        """A doubt of the machine has to be stored, and one that nobody had must not be there."""
        rule, said = self.rule, self.said
        known = rule.range or rule.ends or self._held
        if not known and not any(self.quality) and not any(said.quality):
            return
        for i, j in enumerate(self.owner):
            if j < 0 or i in self.bad:
                continue
            told, kept = said.quality[i], self.quality[j]
            doubtful = self._is_beyond(said.value[i])
            if told & SEVERITY:
                right = told & CODE == kept & CODE
            elif kept & SEVERITY == UNCERTAIN:
                right = kept & CODE in rule.doubts if doubtful is not False else kept & CODE in rule.doubts - _BEYOND
            else:
                right = doubtful is not True and i not in self._held
            if not right:
                uncertain = doubtful or i in self._held
                wanted = quality_text(told) if told & SEVERITY else "uncertain" if uncertain else "good"
                self.owner[i] = SPOILT
                self._count("wrong", self.time[j])
                self._fault(self.time[j], self.value[j], f"stored as {quality_text(kept)}, and it was {wanted}")

    def _is_beyond(self, value: Value) -> bool | None:
        """Whether it lies outside its range; None where rounding decides, or nobody knows the range."""
        known = self.rule.range or self.rule.ends or OUT_OF_RANGE not in self.rule.doubts
        found: bool | None = False if known else None
        for ends in (self.rule.range, self.rule.ends):
            if ends is None or value is None or isinstance(value, str):
                continue
            low, high = ends
            noise = 2e-9 * (high - low) + ROUNDING * abs(value)
            if value < low - noise or value > high + noise:
                return True
            if not low + noise <= value <= high - noise:
                found = None
        return found

    # --- small things ------------------------------------------------------------------------------------------------

    def took(self, i: int) -> int:
        """ns"""
        return round(self.said.took.get(i, 0.0) * SECOND) if self.said.took else 0

    def within(self, t: int) -> bool:
        since, until = self.bounds.since, self.bounds.until
        return (since is None or since <= t) and (until is None or t <= until)

    def _count(self, what: str, t: int) -> None:
        if self.within(t):
            setattr(self.verdict, what, getattr(self.verdict, what) + 1)

    def _fault(self, t: int, value: Value, what: str) -> None:
        if self.within(t) and len(self.verdict.faulty) < SHOWN:
            self.verdict.faulty.append(Finding(t, value, what))


def _ago(served: int, t: int) -> str:
    return f"{(t - served) / SECOND:.3f} s before"


def _shown(value: Value) -> str:
    return "nothing" if value is None else repr(value)
