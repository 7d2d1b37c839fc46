"""What was served and is not stored, and why: what is missing is what nobody explains. Pure.

A serving need not be stored if it says nothing new, if the store says that it was lost or did not come, if nobody had asked
or waited for it any more, or if it is on its way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from itertools import pairwise, takewhile, zip_longest
from typing import TypeGuard

from gateway.model import BAD, DEVICE_FAILURE, NO_COMMUNICATION, NOT_CONNECTED, STALE, Value
from simulators.judge.matching import FREE, MS, SECOND, Matching
from simulators.judge.rules import ROUNDING
from simulators.judge.totals import CODE
from simulators.judge.verdict import SHOWN, Declared, Finding

PATIENCE = 1.0  # seconds until it is marked that nothing came, where no timeout is known
WAY = 0.02  # seconds that a request may be under way
SUBSCRIBED = 5 * SECOND  # ns that a gateway may take from the first signal of a server to the last
LOOKS = 2  # polls within which what a server has is looked at once, at the least
AFTER = 3  # polls or timeouts for which a machine may answer, and is not heard, while its connection begins anew
RECOVERY = 5.0  # seconds of that, at the least
GAP = MS  # ns around a declared loss: its ends are stamps, a little after the servings

_NOTHING_CAME = frozenset((NO_COMMUNICATION, NOT_CONNECTED, DEVICE_FAILURE, STALE))


class Unstored:
    """Of one signal, after its matching."""

    def __init__(
        self, found: Matching, sequence: Sequence[int], gaps: Sequence[Declared], settled: int, begun: int | None
    ) -> None:
        """`sequence`: the places in the order in which they were served. What was served after `settled` may be on its way,
        what was before `begun` was not asked for, of a server; None: nobody knows when that was.
        """
        self.found, self.sequence, self.gaps, self.settled = found, sequence, gaps, settled
        self.verdict, self.rule, self.said, self.bounds = found.verdict, found.rule, found.said, found.bounds
        self.owner, self.expected, self.bad = found.owner, found.expected, found.bad
        self.time, self.quality = found.time, found.quality
        rule = self.rule
        self._timeout = rule.timeout if rule.timeout < float("inf") else PATIENCE
        self._looked = round(LOOKS * rule.poll * SECOND) if rule.sampled else 0  # ns until it was looked at again
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
        self._steady = self._answering()
        unseen = self._overwritten(silent, coming) if self.rule.sampled else frozenset()
        for i, j in enumerate(owner):
            if j != FREE or not self.found.within(said.time[i]):
                continue
            why = "coming" if i in coming else self._excuse(i) or ("unread" if i in unseen else "")
            why = why or ("unchanged" if i in silent else "missing")
            setattr(self.verdict, why, getattr(self.verdict, why) + 1)
            if why == "missing" and len(self.verdict.missed) < SHOWN:
                self.verdict.missed.append(Finding(said.time[i], self.expected[i], "served, and not stored"))

    def _before_all(self, begun: int | None) -> frozenset[int]:
        """What was served before the first that is stored: by the order of serving, as clocks are set back.

        That of a machine that is listened to already is not: but for moments after it began, and while the store says that
        the signal was not there to be listened to.
        """
        if self.rule.stamps != "source":
            return frozenset()
        unowned = list(takewhile(lambda i: self.owner[i] < 0, self.sequence))
        if begun is None:
            return frozenset(unowned)
        absent = self._absent_since(begun)
        if len(unowned) < len(self.sequence):
            begun += SUBSCRIBED
        found, waiting = set(), True
        # A subscription begins with the value that holds then.
        for i, following in zip_longest(unowned, self.sequence[1 : len(unowned) + 1]):
            t = self.said.time[i]
            ended = t if self.rule.every else None if following is None else self.said.time[following]
            waiting = waiting and ended is not None and ended <= begun
            if waiting or (absent is not None and t >= absent):
                found.add(i)
        return frozenset(found)

    def _absent_since(self, begun: int) -> int | None:
        """When the store has begun to say that there is no such signal, before it had any value of it."""
        first = next((self.owner[i] for i in self.sequence if self.owner[i] >= 0), len(self.time))
        for j in range(first):
            # That nobody was connected is said before it begins, too.
            may_be_said = self.time[j] > begun if self._says_nothing_came(j) else self.time[j] > begun - SUBSCRIBED
            if self.quality[j] >= BAD and may_be_said:
                return self.time[j] - SUBSCRIBED
        return None

    def _overwritten(self, silent: Set[int], coming: Set[int]) -> frozenset[int]:
        """What a server had between two looks, so that nobody has seen it: the look after it shows in the store."""
        reach = self._looked + self.bounds.late
        found, shown = set(), None
        for i in reversed(self.sequence):
            t = self.said.time[i]
            if self.owner[i] != FREE or i in silent or i in coming or self._excuse(i):
                shown = t
            elif shown is not None and shown - t <= reach:
                found.add(i)
        return frozenset(found)

    def _answering(self) -> Sequence[int]:
        """Since when a machine has answered in time and without a pause, by serving."""
        if self.rule.stamps == "source":
            return ()
        pause = round((AFTER * self.rule.poll + self._timeout) * SECOND)
        found, since, before, late = [], 0, 0, True
        for i, t in enumerate(self.said.time):
            if late or t - before > pause:
                since = t
            before, late = t, self._is_too_late(i)
            found.append(since)
        return found

    def _is_too_late(self, i: int) -> bool:
        # The client has waited since before the request came.
        return self.found.took(i) > (self.rule.timeout - WAY) * SECOND

    def _coming(self) -> set[int]:
        """What was served last, after what the store has come to. A clock that was ahead for a while is no excuse."""
        found = set()
        for i in reversed(self.sequence):
            if self.said.time[i] + self.found.took(i) + self._looked <= self.settled:
                break
            found.add(i)
        return found

    def _excuse(self, i: int) -> str:
        """Why a serving is not stored, apart from what it says."""
        t = self.said.time[i]
        if any(gap.start - GAP - self.found.took(i) <= t <= gap.end + GAP for gap in self.gaps):
            return "declared"
        if self._is_too_late(i) or any(begin <= t <= end for begin, end in self.bounds.absences):
            return "unread"
        if i in self.unasked:
            return "unread"
        return "marked" if self._is_marked(i) else ""

    def _is_marked(self, i: int) -> bool:
        """Whether the store says that nothing came then: bad for a reason of the gateway's, said once when it begins.

        It holds until a reading comes. But a machine that answers poll after poll in time is heard again after a few.
        """
        t, rule = self.said.time[i], self.rule
        source = rule.stamps == "source"
        following = bisect_right(self.time, t)
        last = len(self.time) - 1
        if source and not rule.sampled and (last < 0 or following < last or not self._says_nothing_came(last)):
            return False  # what a server had meanwhile is fetched or declared once it is back
        if following and self._says_nothing_came(following - 1):
            recovery = max(AFTER * rule.poll, AFTER * self._timeout, RECOVERY) * SECOND
            return source or t - max(self.time[following - 1], self._steady[i]) <= recovery
        waited = self._timeout if rule.sampled else min(rule.timeout, PATIENCE)
        patience = (waited + WAY) * SECOND + self.found.took(i) + self._looked
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
            if j == FREE and rule.sampled:
                continue  # who polls has not seen everything
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
