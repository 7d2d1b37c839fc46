"""The events of an object, from the waves of their parts: one whenever one of these changes. Pure.

severity ‾‾‾|___|‾‾‾      state: event              ─▶ a BaseEventType event
message  a   b    a       state: active, unack…     ─▶ one of an AlarmConditionType: Part 9, 5.8.2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.model import Value
from simulators.behaviour.waves import Wave
from simulators.opcua.points import whole

PARTS = ("severity", "source", "message", "state")
PLAIN = "event"  # the state of what is no alarm

# The words of a state, one of each row at most and in this order, and the fields of an alarm that say so
# (Part 9, 5.5.2, 5.7.2, 5.8.2).
_WORDS: Sequence[Mapping[str, Mapping[str, bool]]] = (
    {
        "disabled": {"EnabledState/Id": False},
        "active": {"ActiveState/Id": True},
        "inactive": {"ActiveState/Id": False},
        "enabled": {},
    },
    {
        "unacknowledged": {"AckedState/Id": False},
        "unconfirmed": {"AckedState/Id": True, "ConfirmedState/Id": False},
        "acknowledged": {"AckedState/Id": True},
    },
    {"suppressed": {"SuppressedOrShelved": True}},
)
_LOOKS, _APART = 200, 1.7  # at a wave of states, seconds


class StateError(ValueError):
    """A state that no event can be in; the text says which there are."""


class Happening(NamedTuple):
    """One event, in the words of the gateway."""

    severity: int
    source: str
    message: str
    state: str


class Listener(NamedTuple):
    """A signal that gets the events of an object."""

    machine: str
    signal: str
    severity: int  # the lowest it wants

    def readings(self, happening: Happening) -> dict[str, Value] | None:
        """What its four signals become; None where the event is not severe enough."""
        if happening.severity < self.severity:
            return None
        return {f"{self.signal}_{part}": value for part, value in happening._asdict().items()}


@dataclass(slots=True, eq=False)
class Stream:
    """The events of one object."""

    name: str
    waves: Mapping[str, Wave]  # by part
    sampling: float
    listeners: list[Listener] = field(default_factory=list)
    last: Happening | None = None

    def check(self) -> None:
        """Raises StateError, as far as a look at the wave can tell."""
        for i in range(_LOOKS):
            state_of(_text(self.waves["state"](i * _APART)))

    def news(self, t: float) -> Happening | None:
        """What has happened since it was last asked; nothing at the first time, when there is no change to tell."""
        severity, source, message, state = (self.waves[part](t) for part in PARTS)
        words = state_of(_text(state))
        now = Happening(_severity(severity), _text(source), _text(message), ", ".join(words) or PLAIN)
        before, self.last = self.last, now
        return now if before is not None and before != now else None


def _severity(value: Value) -> int:
    """1 to 1000: Part 5, 6.4.2."""
    return 1 if value is None or isinstance(value, str) else whole(value, 1, 1000)


def _text(value: Value) -> str:
    return "" if value is None else str(value)


def state_of(text: str) -> tuple[str, ...]:
    """The words of a state, nothing for a plain event. Raises StateError."""
    said = [word.strip() for word in text.split(",")]
    if said in ([PLAIN], [""]):
        return ()
    known = [word for row in _WORDS for word in row]
    if unknown := [word for word in said if word not in known]:
        raise StateError(f"no event is in the state '{unknown[0]}': {', '.join([PLAIN, *known])}")
    words = [next((word for word in row if word in said), "") for row in _WORDS]
    words[0] = words[0] or "enabled"
    return tuple(filter(None, words[: 1 if words[0] == "disabled" else None]))


def alarm_fields(happening: Happening) -> dict[str, Any] | None:
    """The fields that an alarm has beyond those of any event, by browse path; None where it is none."""
    words = state_of(happening.state)
    if not words:
        return None
    found: dict[str, Any] = {"EnabledState/Id": True, "ConditionName": happening.source.rpartition("/")[2]}
    for word, row in ((word, row) for word in words for row in _WORDS if word in row):
        found |= row[word]
    # Whether it is worth a look: Part 9, 5.5.2.
    found["Retain"] = bool(found.get("ActiveState/Id")) or not found.get("AckedState/Id", True)
    return found
