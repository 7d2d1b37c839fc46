"""The signals that are looked at, from whatever machine, and the expressions that look at them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.config.derived import StateSettings
from gateway.config.references import Place
from gateway.expressions import Expression
from gateway.model import WAITING_FOR_DATA, Value, ValueType, is_bad
from gateway.production.states import OTHERWISE, UNKNOWN


@dataclass(slots=True)
class Inputs:
    """The newest readings of the signals that are looked at, from whatever machine."""

    slots: dict[Place, int] = field(default_factory=dict)
    value: list[Value] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)

    def slot(self, place: Place) -> int:
        """Where a signal is kept, from now on."""
        if place not in self.slots:
            self.slots[place] = len(self.value)
            self.value.append(None)
            self.quality.append(WAITING_FOR_DATA)
        return self.slots[place]

    def copied(self, value: list[Value], quality: list[int]) -> Inputs:
        """The same places with other readings."""
        return Inputs(self.slots, list(value), list(quality))

    def put(self, slot: int, value: Value, quality: int) -> None:
        self.value[slot], self.quality[slot] = value, quality


class Looking:
    """An expression at its inputs."""

    def __init__(self, expression: Expression, machine: str, inputs: Inputs) -> None:
        self._expression, self._inputs = expression, inputs
        self._slots = [inputs.slot((r.machine or machine, r.signal)) for r in expression.references]
        self.program = expression.program()

    @property
    def places(self) -> frozenset[int]:
        return frozenset(self._slots)

    def run(self, now_ns: int) -> tuple[Value, int]:
        value, quality = self._inputs.value, self._inputs.quality
        return self.program.run([value[i] for i in self._slots], [quality[i] for i in self._slots], now_ns)

    def again(self, inputs: Inputs) -> Looking:
        """The same over other inputs, with no memory of what was."""
        other = Looking.__new__(Looking)
        other._expression, other._inputs, other._slots = self._expression, inputs, self._slots
        other.program = self._expression.program()
        return other


class Rules:
    """The rules of `state`, at their inputs."""

    def __init__(
        self, settings: StateSettings, machine: str, inputs: Inputs, checked: Callable[[str], Expression]
    ) -> None:
        """`checked`: reads an expression for the signals there are."""
        self._settings, self._inputs, self.doubtful = settings, inputs, False
        self.when = [Looking(checked(rule.when), machine, inputs) for rule in settings.rules]
        self.reasons = [
            None if rule.reason_from is None else inputs.slot((machine, rule.reason_from)) for rule in settings.rules
        ]

    @property
    def heard(self) -> bool:
        """Whether there has been a reading, good or bad, of any of its inputs."""
        places = frozenset().union(*(looking.places for looking in self.when))
        return not places or any(self._inputs.quality[slot] != WAITING_FOR_DATA for slot in places)

    def outcome(self, now_ns: int) -> tuple[int, str]:
        """The first rule that holds, and why.

        A rule that cannot be told does not hold: one bad register must not cost the state. If none of those that can be
        told holds, it is unknown. `doubtful` is set where one that counts more could not be told.
        """
        found, untold, self.doubtful = OTHERWISE, False, False
        for i, looking in enumerate(self.when):  # all of them are run: they may have a memory
            value, quality = looking.run(now_ns)
            if is_bad(quality):
                untold, self.doubtful = True, self.doubtful or found == OTHERWISE
            elif value and found == OTHERWISE:
                found = i
        if found == OTHERWISE:
            return (UNKNOWN if untold else OTHERWISE), ""
        slot = self.reasons[found]
        reason = self._settings.rules[found].reason
        return found, reason if slot is None else _text(self._inputs.value[slot])

    def again(self, inputs: Inputs) -> Rules:
        """The same over other inputs, with no memory of what was."""
        other = Rules.__new__(Rules)
        other._settings, other._inputs, other.reasons = self._settings, inputs, self.reasons
        other.doubtful = False
        other.when = [looking.again(inputs) for looking in self.when]
        return other


@dataclass(slots=True)
class Computed:
    """A computed signal: where it leaves, and from what it is made."""

    at: int  # among the signals that are worked out
    type: ValueType
    looking: Looking
    slot: int  # where others look at it
    poll: float  # seconds: what changes by time alone is worked out this often
    factor: tuple[float, float] | None  # to the unit in which it was asked for
    text: str
    ran: float = 0.0  # monotonic

    def converted(self, value: Value) -> Value:
        """What its expression yields, as it leaves: in its unit, and a float where it is one."""
        if value is not None and self.factor is not None and isinstance(value, int | float):
            value = value * self.factor[0] + self.factor[1]
        return float(value) if self.type == "float" and type(value) is int else value


def _text(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
