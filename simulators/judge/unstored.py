"""What was served and is not stored, and why: what is missing is what nobody explains. Pure.

A serving need not be stored if it says nothing new, if the store says that it was lost or did not come, if nobody had asked
or waited for it any more, or if it is on its way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import TypeGuard

from gateway.model import DEVICE_FAILURE, NO_COMMUNICATION, NOT_CONNECTED, STALE, Value
from simulators.judge.matching import CODE, FREE, MS, SAME, SECOND, Matching
from simulators.judge.rules import ROUNDING
from simulators.judge.verdict import SHOWN, Declared, Finding

PATIENCE = 1.0  # seconds until it is marked that nothing came, where no timeout is known
WAY = 0.02  # seconds that a request may be under way
GAP = MS  # ns around a declared loss: its ends are stamps, a little after the servings

_NOTHING_CAME = frozenset((NO_COMMUNICATION, NOT_CONNECTED, DEVICE_FAILURE, STALE))


class Unstored:
    """Of one signal, after its matching."""

    def __init__(
        self, found: Matching, sequence: Sequence[int], gaps: Sequence[Declared], settled: int, begun: int
    ) -> None:
        """`sequence`: the places in the order in which they were served. What was served after `settled` may be on its way,
        what was before `begun` was not asked for, of a server that reports.
        """
        self.found, self.sequence, self.gaps, self.settled = found, sequence, gaps, settled
        self.verdict, self.rule, self.said, self.bounds = found.verdict, found.rule, found.said, found.bounds
        self.owner, self.expected, self.bad = found.owner, found.expected, found.bad
        self.time, self.quality = found.time, found.quality
        self.unasked = self._before_all(begun)

    def count(self) -> None:
        """How many are missing, and how many are explained by what."""
        said, owner = self.said, self.owner
        since, until = self.bounds.since, self.bounds.until
        whole = since is None and until is None
        self.verdict.served = len(said.time) if whole else sum(map(self.found.within, said.time))
        if FREE not in owner:
            return
        silent, coming = self._needless(), self._coming()
        for i, j in enumerate(owner):
            if j != FREE or not self.found.within(said.time[i]):
                continue
            why = ("coming" if i in coming else self._excuse(i)) or ("unchanged" if i in silent else "missing")
            setattr(self.verdict, why, getattr(self.verdict, why) + 1)
            if why == "missing" and len(self.verdict.missed) < SHOWN:
                self.verdict.missed.append(Finding(said.time[i], self.expected[i], "served, and not stored"))

    def _before_all(self, begun: int) -> frozenset[int]:
        """What was served before the first that is stored: by the order of serving, as clocks are set back."""
        if not self.time:
            first = self.said.time[max(0, bisect_right(self.said.time, begun + SAME) - 1)]
            return frozenset(i for i, t in enumerate(self.said.time) if t < first)
        # A subscription begins with the value that holds then.
        return frozenset(takewhile(lambda i: self.owner[i] < 0, self.sequence))

    def _coming(self) -> set[int]:
        """What was served last, after what the store has come to. A clock that was ahead for a while is no excuse."""
        found = set()
        for i in reversed(self.sequence):
            if self.said.time[i] + self.found.took(i) <= self.settled:
                break
            found.add(i)
        return found

    def _excuse(self, i: int) -> str:
        """Why a serving is not stored, apart from what it says."""
        t = self.said.time[i]
        if any(gap.start - GAP - self.found.took(i) <= t <= gap.end + GAP for gap in self.gaps):
            return "declared"
        # The client has waited since before the request came.
        late = self.found.took(i) > (self.rule.timeout - WAY) * SECOND
        if late or self.rule.sampled or any(begin <= t <= end for begin, end in self.bounds.absences):
            return "unread"
        if self.rule.stamps == "source" and i in self.unasked:
            return "unread"  # nobody had subscribed
        return "marked" if self._is_marked(i) else ""

    def _is_marked(self, i: int) -> bool:
        """Whether the store says that nothing came then: bad for a reason of the gateway's, said once when it begins."""
        t = self.said.time[i]
        following = bisect_right(self.time, t)
        last = len(self.time) - 1
        if self.rule.stamps == "source" and (last < 0 or following < last or not self._says_nothing_came(last)):
            return False  # what a server had meanwhile is fetched or declared once it is back
        if following and self._says_nothing_came(following - 1):
            return True
        patience = (min(self.rule.timeout, PATIENCE) + WAY) * SECOND + self.found.took(i)
        return (
            following < len(self.time) and self._says_nothing_came(following) and self.time[following] - t <= patience
        )

    def _says_nothing_came(self, j: int) -> bool:
        return self.quality[j] & CODE in _NOTHING_CAME

    def _needless(self) -> set[int]:
        """Servings that need not be sent, as they say nothing new."""
        rule = self.rule
        if rule.report == "swinging-door":
            return self._on_the_line() | self._repeated()
        if rule.report == "change":
            return self._within_deadband() | self._repeated()
        return self._repeated()

    def _repeated(self) -> set[int]:
        """Bad for the same reason as before; of a server, all that is as it was before."""
        said, source = self.said, self.rule.stamps == "source" and not self.rule.every
        found = set()
        for before, i in pairwise(self.sequence):
            if self.owner[i] != FREE or said.quality[i] != said.quality[before]:
                continue
            was, now = said.value[before], said.value[i]
            if (i in self.bad and before in self.bad) or (source and was == now and type(was) is type(now)):
                found.add(i)
        return found

    def _within_deadband(self) -> set[int]:
        """What does not differ from what was sent last; what is missing counts as sent, as it was for the gateway."""
        rule, said, found = self.rule, self.said, set()
        patience = (rule.heartbeat + 2 * rule.poll) * SECOND + self.bounds.late
        last: Value = None
        sent_at, quality = 0, -1
        for i in self.sequence:
            j, value = self.owner[i], self.expected[i]
            soon = rule.stamps == "source" or said.time[i] - sent_at <= patience
            if j == FREE and soon and said.quality[i] == quality and self._is_small(value, last):
                found.add(i)
                continue
            last, sent_at, quality = value, said.time[i], said.quality[i]
        return found

    def _is_small(self, value: Value, last: Value) -> bool:
        if value is None or isinstance(value, str | bool) or last is None or isinstance(last, str | bool):
            return value == last
        # A server compares with what it reported last, the gateway with what it sent last: not always the same reading.
        often = 2 if self.rule.stamps == "source" else 1
        return abs(value - last) <= often * self.rule.deadband + self._slack(value)

    def _slack(self, value: float) -> float:
        return self.rule.near + ROUNDING * abs(value)

    def _on_the_line(self) -> set[int]:
        """What the straight line between two stored readings passes within the deadband, whatever was chosen to draw it."""
        said, rule, found = self.said, self.rule, set()
        stored = [i for i, j in enumerate(self.owner) if j >= 0]
        for a, b in pairwise(stored):
            (t0, v0), (t1, v1) = ((self.time[self.owner[i]], self.expected[i]) for i in (a, b))
            for i in range(a + 1, b):
                value = self.expected[i]
                if not (_is_number(v0) and _is_number(v1) and _is_number(value)) or t1 <= t0:
                    continue
                slope = (v1 - v0) / (t1 - t0)
                line = v0 + slope * (said.time[i] + self.found.took(i) - t0)
                # The line goes through stamps, a little after the servings.
                if abs(value - line) <= rule.deadband + self._slack(line) + abs(slope) * 10 * MS:
                    found.add(i)
        if stored:  # what is held back until the next one is
            last = said.time[stored[-1]]
            found |= {
                i for i in range(stored[-1] + 1, len(said.time)) if said.time[i] - last <= rule.heartbeat * SECOND
            }
        return found


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
