"""What a plan remembers of its machine's signals from reading to reading: counts, and how values have moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.model import FLAT_LINE, GOOD, IMPLAUSIBLE_RATE
from gateway.normalizer.counter import Counter
from gateway.normalizer.rules import Rule


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
        self._linear = {i: rules[i] for i in self._names}
        self._index = {name: i for i, name in self._names.items()}
        self._noted = [0] if noted is None else noted
        self.counters = {i: Counter(rules[i].wraps_at, rules[i].max_count, noted=self._noted) for i in self._names}
        self.movements = {
            i: Movement(rule.max_rate, rule.flat_after)
            for i, rule in enumerate(rules)
            if rule.max_rate is not None or rule.flat_after is not None
        }

    def dump(self) -> dict[str, Any]:
        """What must outlive a restart, for JSON."""
        return {self._names[i]: counter.dump() for i, counter in self.counters.items() if counter.raw is not None}

    def load(self, saved: Mapping[str, Any]) -> list[str]:
        """The way back; the counters whose state could not be used."""
        unusable = []
        for i, name in self._names.items():
            if name in saved:
                try:
                    self.counters[i].load(saved[name])
                except (ValueError, TypeError):
                    unusable.append(name)
        return unusable

    def catch_up(self, name: str, total: float, time: int) -> None:
        """A total has left after the state was saved: what the counter must have read then."""
        i = self._index.get(name)
        if i is None:
            return
        rule, counter = self._linear[i], self.counters[i]
        raw = total - rule.shift
        raw = raw * rule.divisor if rule.divisor else raw / (rule.factor or 1.0)
        if rule.precision is not None:  # what was rounded up must not look like a fall
            counter.grain = 10.0**-rule.precision * (rule.divisor or 1 / (rule.factor or 1.0))
        counter.catch_up(round(raw) if isinstance(counter.raw, int) else raw, time)
