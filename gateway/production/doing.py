"""What a machine is doing, live: rules at their inputs, the state that follows, and the signals it leaves as. Pure.

state, state_reason                            our word, and why
item_state, operation_mode, packml_state       what the standards call it
ended_state, …_reason, …_duration              an event each time a state ends
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from gateway.clock import artificial
from gateway.config.derived import StateSettings
from gateway.config.production import WORDS
from gateway.config.references import STATE_SIGNALS
from gateway.expressions import Expression
from gateway.model import GOOD, INCOMPLETE, NO_COMMUNICATION, Signal, Value
from gateway.production.inputs import Inputs, Rules
from gateway.production.states import (
    ITEM_STATES,
    NUMBERS,
    OPERATION_MODES,
    PACKML_STATES,
    UNKNOWN,
    State,
    StateMachine,
    standard,
)

_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "state": NUMBERS, "item_state": ITEM_STATES, "operation_mode": OPERATION_MODES, "packml_state": PACKML_STATES,
    "ended_state": NUMBERS,
}  # fmt: skip
_TEXTS: Mapping[str, str] = {
    "state": "What the machine is doing",
    "state_reason": "Why",
    "item_state": "The same, as OPC 40001-1 calls it: MachineryItemState",
    "operation_mode": "Its mode, as OPC 40001-1 calls it: MachineryOperationMode",
    "packml_state": "The same, as PackML (ISA-TR88.00.02) calls it: StateCurrent",
    "ended_state": "The state that has just ended",
    "ended_state_reason": "Why it was in that state",
    "ended_state_duration": "How long it was in that state",
}
_SEMANTICS: Mapping[str, str] = {
    "item_state": "nsu=http://opcfoundation.org/UA/Machinery/;MachineryItemState",
    "operation_mode": "nsu=http://opcfoundation.org/UA/Machinery/;MachineryOperationMode",
    "packml_state": "nsu=http://opcfoundation.org/UA/PackML/;CurrentState",
}


NOW = sum(not name.startswith("ended_") for name in STATE_SIGNALS)
"""How many of the signals say what is now; events of what has ended come behind them."""


class Told(NamedTuple):
    """What has to be said: a time, readings by the index of the signal, and the state that began, if one did."""

    time: int
    readings: list[tuple[int, Value, int]]
    began: State | None


@cache
def state_signals() -> Sequence[Signal]:
    """Those that `state` makes, in the order of STATE_SIGNALS."""
    signals = []
    for name, kind in STATE_SIGNALS.items():
        assert kind.type is not None
        signals.append(
            Signal(
                name, kind.type, kind.unit.code if kind.unit else "", _TEXTS[name],
                "event" if name.startswith("ended_") else "gauge",
                states={number: text for text, number in _NUMBERS.get(name, {}).items()},
                semantic=_SEMANTICS.get(name, ""),
            )
        )  # fmt: skip
    return tuple(signals)


class Doing:
    """Of one machine."""

    def __init__(
        self, settings: StateSettings, machine: str, inputs: Inputs, checked: Callable[[str], Expression]
    ) -> None:
        """`checked`: reads an expression for the signals there are."""
        self.settings, self.rules = settings, Rules(settings, machine, inputs, checked)
        self._states = StateMachine(settings)
        self._doubtful = False  # it may be in another state: a rule that counts more could not be told
        self._absent = 0  # ns: when an earlier life ended, until that is told

    @property
    def state(self) -> State | None:
        """None until something is known."""
        return self._states.state

    @property
    def waits(self) -> bool:
        """Whether it may turn out to have ended before now."""
        return self._states.waits

    def step(self, now_ns: int) -> Iterator[Told]:
        """What follows from its inputs as they are now."""
        states = self._states
        if self._absent and (told := self._leave_absence(now_ns)) is not None:
            yield told
        before = states.state
        if before is None and not self.rules.heard:
            return  # nothing has been read yet
        if before is not None and artificial(before.since) and not artificial(now_ns):
            self.restart(now_ns)  # the time has become known: how long it has been so is not
            before = states.state
        ended = states.step(*self.rules.outcome(now_ns), now_ns)
        state = states.state
        assert state is not None
        doubtful, self._doubtful = self._doubtful, self.rules.doubtful and state.rule != UNKNOWN
        if state is not before:
            yield Told(state.since, self._readings(state, ended), state)
        elif doubtful is not self._doubtful:  # the same, but now it may be another one, or no longer so
            yield Told(max(state.since, now_ns), self._readings(state, None), None)

    def _leave_absence(self, now_ns: int) -> Told | None:
        """After a restart: the state ended when the gateway did, as nobody knows what was until now."""
        ended, at, self._absent = self._states.state, self._absent, 0
        if ended is None or ended.word == "unknown" or not ended.since <= at <= now_ns or artificial(at):
            self._states.state = None
            return None
        self._states.state = State("unknown", at)
        return Told(at, self._readings(self._states.state, ended), None)

    def _readings(self, state: State, ended: State | None) -> list[tuple[int, Value, int]]:
        readings = self.readings_of(state, INCOMPLETE if self._doubtful else GOOD)
        return readings if ended is None else readings + self.ended_readings(ended, state.since)

    def readings_of(self, state: State, quality: int = GOOD) -> list[tuple[int, Value, int]]:
        """What is told of a state: readings by the index of the signal."""
        now: list[Value] = [state.word, state.reason, *standard(state, self.settings)]
        return [(i, value, NO_COMMUNICATION if value is None else quality) for i, value in enumerate(now)]

    def ended_readings(self, ended: State, at_ns: int) -> list[tuple[int, Value, int]]:
        """What is told when a state has ended."""
        over: list[Value] = [ended.word, ended.reason, (at_ns - ended.since) / 1e9]
        return [(NOW + i, value, GOOD) for i, value in enumerate(over)]

    def restart(self, now_ns: int) -> None:
        """The state goes on, but since when is not known: from now on."""
        self._states.restart(now_ns)

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self) -> list[Any] | None:
        """What must outlive a restart, for JSON."""
        state = self._states.state
        return None if state is None else [state.word, state.since, state.reason]

    def load(self, saved: Any) -> None:
        """The way back. Raises ValueError, TypeError."""
        word, since, reason = saved
        if word not in WORDS or type(since) is not int or not isinstance(reason, str):
            raise ValueError(f"{saved!r} is not a state")
        self._states.state = State(word, since, reason)

    def ended(self, at_ns: int) -> None:
        """The gateway ended then: what the machine did since is not known."""
        self._absent = at_ns

    def paused(self, at_ns: int) -> None:
        """The gateway stood still from then on: as if it had ended, but that what was unknown goes on to be."""
        self._states.interrupt()
        if self._states.state is not None and self._states.state.word != "unknown" and not self._absent:
            self.ended(at_ns)

    def known_until(self, t_ns: int) -> None:
        """What it did up to then was found out later: if nobody knows now, that began then."""
        state = self._states.state
        if state is not None and state.word == "unknown" and state.since < t_ns:
            self._states.state = replace(state, since=t_ns)

    def take_over(self, before: Doing) -> None:
        """Go on where another one ends, with the same rules."""
        self._states, self._doubtful, self._absent = before._states, before._doubtful, before._absent
