"""What a plan remembers of its machine's signals from reading to reading: counts, and how values have moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from gateway.model import FLAT_LINE, GOOD, IMPLAUSIBLE_RATE
from gateway.normalizer.counter import Counter
from gateway.normalizer.rules import Rule, Scaling, scaling_of
from gateway.units import UnitError, conversion
from gateway.units import parse as unit_of


@dataclass(slots=True)
class Movement:
    """How the value of a signal has moved: too fast, or not at all."""

    max_rate: float | None  # per second
    flat_after: float | None  # seconds
    value: Any = None
    time: int = 0  # of the last reading, ns
    since: int = 0  # when it took its value, ns

    def look(self, value: Any, time: int) -> int:
        """Take a reading; its quality as far as this tells."""
        before, elapsed = self.value, time - self.time
        if value != before:
            self.since = time
        self.value, self.time = value, time
        if before is None:
            return GOOD
        if self.max_rate is not None and elapsed > 0 and abs(value - before) > self.max_rate * elapsed / 1e9:
            return IMPLAUSIBLE_RATE
        if self.flat_after is not None and time - self.since > self.flat_after * 1e9:
            return FLAT_LINE
        return GOOD


class Memory:
    """Of one machine."""

    def __init__(self, rules: Sequence[Rule], noted: list[int] | None = None) -> None:
        """`noted`: one number, that of several machines where they share it: how many times a count began anew."""
        self._names = {i: rule.signal.name for i, rule in enumerate(rules) if rule.counts}
        self._scaling = {i: scaling_of(rules[i]) for i in self._names}
        self._former: dict[int, Scaling] = {}  # with which totals had left that may still be caught up with
        self._index = {name: i for i, name in self._names.items()}
        self._noted = [0] if noted is None else noted
        self.counters = {
            i: Counter(rules[i].wraps_at, rules[i].max_count, rules[i].sign, noted=self._noted) for i in self._names
        }
        self.movements = {
            i: Movement(rule.max_rate, rule.flat_after)
            for i, rule in enumerate(rules)
            if rule.max_rate is not None or rule.flat_after is not None
        }

    def lose(self) -> None:
        """No readings from now on: what a server tells of this time later is counted from here."""
        for counter in self.counters.values():
            counter.lose()

    def dump(self) -> dict[str, Any]:
        """What must outlive a restart, for JSON."""
        return {
            self._names[i]: [*state[:8], {**state[8], "scaling": list(astuple(self._scaling[i]))}]
            for i, counter in self.counters.items()
            if counter.raw is not None and (state := counter.dump())
        }

    def load(self, saved: Mapping[str, Any]) -> list[str]:
        """The way back; the counters whose state could not be used."""
        unusable = []
        for i, name in self._names.items():
            if name in saved:
                try:
                    self._load(i, saved[name])
                except (ValueError, TypeError):
                    unusable.append(name)
        return unusable

    def _load(self, i: int, state: Sequence[Any]) -> None:
        """Where it left with another scale before, its total goes on from the number it was."""
        counter, scaling = self.counters[i], self._scaling[i]
        counter.load(state)
        counter.lose()
        former = _scaling(state[8].get("scaling")) if len(state) > 8 else None
        if former is None or former == scaling:
            self._former.pop(i, None)
            return
        self._former[i] = former
        counter.recount(lambda total: self._goes_on(former, scaling, total))

    @staticmethod
    def _goes_on(former: Scaling, scaling: Scaling, total: float) -> float:
        least = left = former.leaving(total)
        if former.precision is not None:  # it may have been rounded up
            least = round(left, former.precision)
            left = max(left, least)
        factor = _converted(former.unit, scaling.unit)
        left, least = left * factor, least * factor
        if scaling.precision is not None and (rounded := round(left, scaling.precision)) < least:
            left = rounded + 10.0**-scaling.precision
        return scaling.raw_of_at_least(left)

    def take_over(self, before: Memory) -> None:
        """Go on where another one ends, that has readings up to now."""
        self.load(before.dump())
        for i, name in self._names.items():
            old = before._index.get(name)
            if old is not None and i not in self._former:
                self.counters[i].gaps = before.counters[old].gaps

    def catch_up(self, name: str, total: float, time: int) -> None:
        """A total has left after the state was saved: what the counter must have read then."""
        i = self._index.get(name)
        if i is None:
            return
        scaling, counter, former = self._scaling[i], self.counters[i], self._former.get(i)
        if former is not None and counter.raw is not None:
            if time > counter.time:
                # Counted in steps of the former scale; from here it goes on in those of this one.
                factor = _converted(former.unit, scaling.unit)
                step = max(former.raw(total) - former.raw(scaling.leaving(counter.total) / factor), 0)
                before = counter.total
                counter.catch_up(before + (round(step) if isinstance(counter.raw, int) else step), time)
                counter.rebase(max(scaling.raw_of_at_least(total * factor), before))
            return
        raw = scaling.raw(total)
        if scaling.precision is not None:  # what was rounded up must not look like a fall
            counter.grain = 10.0**-scaling.precision * (scaling.divisor or 1 / (scaling.factor or 1.0))
        counter.catch_up(
            round(raw) if isinstance(counter.raw, int) and counter.offset == int(counter.offset) else raw, time
        )


def _converted(before: str, now: str) -> float:
    """By what a total is multiplied that leaves in another unit; 1.0 where it is not the same quantity, or nobody knows."""
    if before == now or not before or not now:
        return 1.0
    try:
        factor, shift = conversion(unit_of(before), unit_of(now))
    except UnitError:
        return 1.0
    return factor if not shift else 1.0


def _scaling(saved: Any) -> Scaling | None:
    """None where it is not known. Raises ValueError for what `dump` does not make."""
    if saved is None:
        return None
    numbers, unit = (saved[:4], saved[4:]) if isinstance(saved, list) else ([], [])
    numeric = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers if n is not None)
    if len(numbers) != 4 or not numeric or numbers[2] is None or not all(isinstance(each, str) for each in unit[:1]):
        raise ValueError(f"{saved!r} is not how a counter was scaled")
    return Scaling(*numbers, *unit[:1])
