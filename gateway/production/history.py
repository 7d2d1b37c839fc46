"""What a machine did in the last days: its states, and the totals it counts, in bounded memory.

    states   running │ waiting │ running      │ fault: jam │ running            changes only
    totals   good  ·  ··      ··       ·      ··           ··     ·             a few readings: see totals.py
             energy ·  ··     ··       ·      ··           ··     ·
                         ▲         ▲               ▲
             cuts: boundaries of the calendar, of the grid (a quarter of an hour), changes of state

What happened is told in its order by `state` and `total`. What is learnt later (a machine or a server that remembers)
goes through `replace`, which says from when to when figures have to be calculated again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any, NamedTuple

from gateway.config.production import WORDS
from gateway.production.calendar import NS, WorkCalendar
from gateway.production.stretches import differences
from gateway.production.totals import Amount, Total

NAMES = ("good", "reject", "total", "energy")  # what figures ask for
DAYS_KEPT = 8
# More changes than one in seven seconds, for eight days: the oldest are forgotten earlier, not the memory of the box.
MAX_CHANGES = 100_000
_INDEX: Mapping[str, int] = {word: i for i, word in enumerate(WORDS)}
_UNKNOWN = _INDEX["unknown"]
_HOUR = 3600 * NS
_NEVER = 2**63 - 1
_MAX_REASON = 200  # characters


class Piece(NamedTuple):
    """A stretch of one state."""

    start_ns: int
    end_ns: int
    word: str
    reason: str


class History:
    """States and totals of one machine.

    `totals`: which there are. `every`: grids in seconds; an interval of demand is one. `gap`: readings of a total further
    apart than this, in seconds, have a gap between them. `keep`: seconds.
    """

    def __init__(
        self,
        totals: Iterable[str] = NAMES,
        *,
        calendar: WorkCalendar | None = None,
        every: Iterable[float] = (900.0,),
        gap: float = 120.0,
        keep: float = DAYS_KEPT * 86400.0,
    ) -> None:
        self._calendar = calendar
        self._grids = [round(step * NS) for step in every]
        self.gap_ns, self._keep_ns = round(gap * NS), round(keep * NS)
        self._totals = {name: Total(self.gap_ns) for name in totals}
        self._time, self._word, self._reason = array("q"), bytearray(), array("I")
        self._reasons = [""]  # each text once
        self._reason_index = {"": 0}
        self._planned = (0, 0)  # no boundary of calendar or grid between these two
        self._forget_at: int | None = None

    # --- what happens ------------------------------------------------------------------------------------------------

    def state(self, t_ns: int, word: str, reason: str = "") -> bool:
        """From t on the machine is in this state.

        False for a change before the newest one, which is left out: what is learnt late goes through `replace`. Raises
        ValueError for a word that is no state.
        """
        state = self._state_of(word, reason)
        time = self._time
        if time and t_ns < time[-1]:
            return False
        if time and t_ns == time[-1]:
            self._cut_off(len(time) - 1)
        if self._at(len(time) - 1) != state:
            time.append(t_ns)
            self._word.append(state[0])
            self._reason.append(state[1])
        self._age(t_ns)
        return True

    def total(self, name: str, t_ns: int, value: float, *, unknown: bool = False) -> bool:
        """A reading of a total: it never falls. `unknown`: nobody knows what there was since the one before.

        False for a reading older than the newest one, and for what is no number: they are left out. Raises KeyError for a
        total there is not.
        """
        taken = isfinite(value) and self._totals[name].add(t_ns, value, self._cut_between, unknown)
        self._age(t_ns)
        return taken

    def replace(
        self,
        start_ns: int,
        end_ns: int,
        states: Iterable[tuple[int, str, str]] = (),
        totals: Mapping[str, Iterable[tuple[int, float]]] | None = None,
        unsure: Mapping[str, Collection[int]] | None = None,
    ) -> tuple[int, int]:
        """What is known now of [start, end): states as (from when on, word, reason), readings of totals as (when, value).

        `end` is not after now. Before the first of the states, and from `end` on, what was known stays; without states all
        of them stay. Readings of totals are put between those that are there; one that does not fit between its neighbours
        is left out, and amounts of that time are doubtful from then on. What lies outside [start, end) is ignored. `unsure`: when
        readings of totals are uncertain themselves.

        Returns (start, end) of what may have changed; it reaches to the neighbouring readings of a total. Raises ValueError
        for a word that is no state, KeyError for a total there is not.
        """
        told = sorted(states, key=lambda state: state[0])  # of several at one moment the last one that is told counts
        new = [(t, *self._state_of(word, reason)) for t, word, reason in told if start_ns <= t < end_ns]
        late = {name: [(t, v) for t, v in each if start_ns <= t < end_ns] for name, each in (totals or {}).items()}
        series = {name: self._totals[name] for name in late}
        if new:
            self._replace_states(start_ns, end_ns, new)
        touched = [(start_ns, end_ns)]
        for name, each in late.items():
            found = series[name].insert(each, self._cut_between, (unsure or {}).get(name, ()))
            touched += [found] if found is not None else []
        return min(t for t, _ in touched), max(t for _, t in touched)

    def reshape(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        counted: Sequence[tuple[int, float]],
        unknown: Iterable[tuple[int, int]],
    ) -> tuple[int, int]:
        """What a total counted in [start, end], where it was unknown: (when, how much since `start`) up to `end`; `unknown`: still.

        What it shows later moves along. Returns (start, end) of what may have changed, as `replace`.
        """
        self._totals[name].reshape(start_ns, end_ns, counted, unknown, self._cut_between)
        return start_ns, end_ns

    def _replace_states(self, start_ns: int, end_ns: int, new: list[tuple[int, int, int]]) -> None:
        before, after = self._state_at(start_ns), self._state_at(end_ns)
        i, k = bisect_left(self._time, start_ns), bisect_right(self._time, end_ns)
        changes = [(start_ns, *before), *new, (end_ns, *after)]
        by_time = {t: (word, reason) for t, word, reason in changes}  # of several at one moment the last one counts
        last = self._at(i - 1)
        kept: list[tuple[int, int, int]] = []
        for t, state in by_time.items():
            if state != last:
                kept.append((t, *state))
                last = state
        self._time[i:k] = array("q", [t for t, _, _ in kept])
        self._word[i:k] = bytes(word for _, word, _ in kept)
        self._reason[i:k] = array("I", [reason for _, _, reason in kept])

    def forget(self, before_ns: int) -> None:
        """What was before is not known any more."""
        i = bisect_right(self._time, before_ns) - 1
        if i >= 0:
            del self._time[:i], self._word[:i], self._reason[:i]
            self._time[0] = before_ns
            used = sorted(set(self._reason) | {0})
            self._reasons = [self._reasons[old] for old in used]
            self._reason_index = {text: at for at, text in enumerate(self._reasons)}
            at = {old: new for new, old in enumerate(used)}
            self._reason = array("I", [at[old] for old in self._reason])
        for total in self._totals.values():
            total.forget(before_ns)

    def _age(self, now_ns: int) -> None:
        """Forget what is older than what is kept, from time to time."""
        if len(self._time) > MAX_CHANGES:
            self.forget(self._time[MAX_CHANGES // 10])
        if self._forget_at is None or now_ns >= self._forget_at:
            self._forget_at = now_ns + _HOUR
            too_much = (total.remembers_too_much for total in self._totals.values())
            self.forget(max([now_ns - self._keep_ns, *(before for before in too_much if before is not None)]))

    # --- what is known -----------------------------------------------------------------------------------------------

    @property
    def current(self) -> Piece | None:
        """The state it is in, which has no end yet (`end_ns` is `start_ns`). None before the first that is known."""
        if not self._time:
            return None
        return Piece(self._time[-1], self._time[-1], WORDS[self._word[-1]], self._reasons[self._reason[-1]])

    @property
    def first_ns(self) -> int | None:
        """From when on anything is known, a state or a total, or was forgotten. None before the first of them.

        A total that is read a moment before the first state: what it counts until its next reading is not cut in two.
        """
        times = [column[0] for column in (self._time, *(t.time for t in self._totals.values())) if column]
        return min(times, default=None)

    @property
    def newest_ns(self) -> int | None:
        """The time of the newest of all that is known."""
        times = [column[-1] for column in (self._time, *(t.time for t in self._totals.values())) if column]
        return max(times, default=None)

    @property
    def read_ns(self) -> int | None:
        """Up to where every total that was ever read has been read: amounts up to there will only change by late data."""
        return min((t.time[-1] for t in self._totals.values() if t.time), default=None)

    def pieces(self, start_ns: int, end_ns: int) -> list[Piece]:
        """[start, end) without a gap, one piece for each state. What is before the first state is unknown."""
        if end_ns <= start_ns:
            return []
        time, words, texts = self._time, WORDS, self._reasons
        i, k = bisect_right(time, start_ns), bisect_left(time, end_ns)
        edges = [start_ns, *time[i:k], end_ns]
        if i:
            states = zip(self._word[i - 1 : k], self._reason[i - 1 : k], strict=True)
        else:
            states = zip([_UNKNOWN, *self._word[:k]], [0, *self._reason[:k]], strict=True)
        return [
            Piece(begin, end, words[word], texts[reason])
            for (begin, end), (word, reason) in zip(pairwise(edges), states, strict=True)
        ]

    def since(self, t_ns: int, words: Sequence[str]) -> int:
        """From when on it was in one of these states without a break, if it was at t; else t."""
        i = bisect_right(self._time, t_ns) - 1
        wanted = {_INDEX[word] for word in words}
        while i >= 0 and self._word[i] in wanted:
            t_ns = self._time[i]
            i -= 1
        return t_ns

    def amount(self, name: str, stretches: Iterable[tuple[int, int]], *, whole: bool = False) -> Amount | None:
        """What a total counted in stretches of time; None where nothing is known of it, or there is no such total."""
        return self._totals[name].amount(stretches, whole) if name in self._totals else None

    def readings(self, name: str) -> Total | None:
        """The kept readings of a total; None where there are none."""
        found = self._totals.get(name)
        return found if found is not None and found.time else None

    # --- keeping -----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "v": 1,
            "words": list(WORDS),
            "reasons": self._reasons,
            "states": {"t": differences(self._time), "word": list(self._word), "reason": list(self._reason)},
            "totals": {name: total.dump() for name, total in self._totals.items()},
        }

    def load(self, data: Any) -> None:
        """Take what `dump` gave, instead of what is here; totals that there are not here are left out.

        Raises ValueError for what is no dump, and changes nothing then.
        """
        try:
            if data["v"] != 1:
                raise ValueError(f"version {data['v']!r}")
            words, reasons, states = data["words"], [str(text) for text in data["reasons"]], data["states"]
            time, reason = array("q", accumulate(states["t"])), array("I", states["reason"])
            word = bytearray(_INDEX.get(words[i], _UNKNOWN) for i in states["word"])
            if not len(time) == len(word) == len(reason) or any(b <= a for a, b in pairwise(time)):
                raise ValueError("states are not in order")
            if "" not in reasons[:1] or max(reason, default=0) >= len(reasons):
                raise ValueError("reasons are not complete")
            totals = {
                name: Total.loaded(data["totals"][name], self.gap_ns) if name in data["totals"] else Total(self.gap_ns)
                for name in self._totals
            }
        except (TypeError, KeyError, IndexError, OverflowError, ValueError) as exc:
            raise ValueError(f"this is not the history of a machine: {exc}") from exc
        self._time, self._word, self._reason, self._totals = time, word, reason, totals
        self._reasons = reasons
        self._reason_index = {text: at for at, text in enumerate(reasons)}
        self._planned, self._forget_at = (0, 0), None

    def newer(self, than_ns: int) -> dict[str, Any]:
        """What came after an instant, as JSON: much shorter than a dump, to be written down often."""
        i = bisect_right(self._time, than_ns)
        states = zip(self._time[i:], self._word[i:], self._reason[i:], strict=True)
        return {
            "states": [[t, WORDS[word], self._reasons[reason]] for t, word, reason in states],
            "totals": {name: total.newer(than_ns) for name, total in self._totals.items()},
        }

    def append(self, data: Any) -> None:
        """The way back of `newer`, behind what is here. Raises ValueError for what is none, and changes nothing then."""
        try:
            states = [(int(t), str(word), str(reason)) for t, word, reason in data["states"]]
            for _, word, _ in states:
                if word not in _INDEX:
                    raise ValueError(f"{word!r} is not a state")
            totals = {
                name: Total.loaded(each, self.gap_ns) for name, each in data["totals"].items() if name in self._totals
            }
        except (TypeError, KeyError, IndexError, OverflowError, ValueError, AttributeError) as exc:
            raise ValueError(f"this is not what came to the history of a machine: {exc}") from exc
        for t, word, reason in states:
            if not self._time or t > self._time[-1]:
                self.state(t, word, reason)
        for name, each in totals.items():
            self._totals[name].append(each)

    def cut(self, after_ns: int) -> None:
        """What was after an instant never was: a clock was set back."""
        self._cut_off(bisect_right(self._time, after_ns))
        for total in self._totals.values():
            total.cut(after_ns)
        self._planned, self._forget_at = (0, 0), None

    # --- inside ------------------------------------------------------------------------------------------------------

    def _state_of(self, word: str, reason: str) -> tuple[int, int]:
        if word not in _INDEX:
            raise ValueError(f"{word!r} is not a state of a machine: {', '.join(WORDS)}")
        reason = reason[:_MAX_REASON]
        if (at := self._reason_index.get(reason)) is None:
            at = self._reason_index[reason] = len(self._reasons)
            self._reasons.append(reason)
        return _INDEX[word], at

    def _at(self, i: int) -> tuple[int, int]:
        return (self._word[i], self._reason[i]) if i >= 0 else (_UNKNOWN, 0)

    def _state_at(self, t_ns: int) -> tuple[int, int]:
        return self._at(bisect_right(self._time, t_ns) - 1)

    def _cut_off(self, length: int) -> None:
        del self._time[length:], self._word[length:], self._reason[length:]

    def _cut_between(self, after_ns: int, before_ns: int) -> bool:
        """Whether a state, the plan or the grid changes between two instants, both outside."""
        if bisect_right(self._time, after_ns) < bisect_left(self._time, before_ns):
            return True
        low, high = self._planned
        if not low <= after_ns < high:
            boundaries = [(after_ns // step + 1) * step for step in self._grids]
            if self._calendar is not None:
                boundaries.append(self._calendar.next_boundary(after_ns))
            low, high = self._planned = after_ns, min(boundaries, default=_NEVER)
        return high < before_ns
