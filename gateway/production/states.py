"""What a machine is doing: one word from rules over its signals, and what the standards call it.

    rules ─ the first that holds ─▶ candidate ─ debounce, hold ─▶ State ─▶ item_state, operation_mode, packml_state

A state begins when its condition began to hold, though that is known only after the debounce. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from gateway.config.derived import ItemState, OperationMode, PackmlState, StateSettings
from gateway.config.production import WORDS, StateWord

ITEM_STATES: Mapping[str, int] = {name: number for number, name in enumerate(get_args(ItemState))}
"""OPC 40001-1, 13.2: MachineryItemState_StateMachineType, its StateNumbers."""
OPERATION_MODES: Mapping[str, int] = {name: number for number, name in enumerate(get_args(OperationMode))}
"""OPC 40001-1, 13.4: MachineryOperationModeStateMachineType, its StateNumbers."""
PACKML_STATES: Mapping[str, int] = {name: number for number, name in enumerate(get_args(PackmlState))}
"""ISA-TR88.00.02, PackTags: StateCurrent."""
# OPC 40001-1 has no word for "nobody knows"; PackML's is Undefined.
STANDARD: Mapping[StateWord, tuple[ItemState | None, OperationMode | None, PackmlState]] = {
    "running": ("Executing", "Processing", "Execute"),
    "idle": ("NotExecuting", "Processing", "Idle"),
    "waiting": ("NotExecuting", "Processing", "Suspended"),
    "held": ("NotExecuting", "Processing", "Held"),
    "stopped": ("NotExecuting", "None", "Stopped"),
    "fault": ("OutOfService", "None", "Aborted"),
    "setup": ("NotExecuting", "Setup", "Stopped"),
    "maintenance": ("OutOfService", "Maintenance", "Stopped"),
    "off": ("NotAvailable", "None", "Undefined"),
    "unknown": (None, None, "Undefined"),
}
NUMBERS: Mapping[str, int] = {word: number for number, word in enumerate(WORDS)}

UNKNOWN = -1  # no rule can be told
OTHERWISE = -2  # none holds


@dataclass(frozen=True, slots=True)
class State:
    """What a machine is doing, since when, and why."""

    word: StateWord
    since: int  # ns since 1970
    reason: str = ""
    rule: int = UNKNOWN  # index of the rule that says so, or one of the two above


class StateMachine:
    """The states of one machine, one after the other."""

    def __init__(self, settings: StateSettings) -> None:
        self._settings = settings
        self.state: State | None = None
        self._candidate: tuple[int, int, str] | None = None  # rule, since, reason

    def step(self, outcome: int, reason: str, now: int) -> State | None:
        """Which rule holds now (or UNKNOWN, OTHERWISE), and why: the state that ends by it, where one does."""
        state = self.state
        if state is None:
            self.state = State(self._word(outcome), now, reason, outcome)
            return None
        if outcome == state.rule or self._word(outcome) == state.word == "unknown":
            self._candidate = None
            if reason == state.reason or not reason:
                return None
            return self._begin(outcome, reason, max(now, state.since))  # the same state, for another reason
        since, why, word = now, reason, self._word(outcome)
        if (waits := self._candidate) is not None and (
            # Another rule of the state that is about to begin: two of them that alternate would never count else.
            waits[0] == outcome or self._word(waits[0]) == word != state.word
        ):
            since, why = waits[1], reason or waits[2]
        self._candidate = outcome, since, why
        if now - since < self._debounce(outcome) or now < state.since + self._hold(state.rule):
            return None
        return self._begin(outcome, why, max(since, state.since + self._hold(state.rule)))

    def restart(self, now: int) -> None:
        """The state goes on, but since when it has lasted is not known: from now on."""
        if self.state is not None:
            self.state = replace(self.state, since=now)
        self.interrupt()

    def interrupt(self) -> None:
        """Nobody looked for a while: what was about to begin has to hold anew."""
        self._candidate = None

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may end this state."""
        return self._candidate is not None

    def standard(self) -> tuple[str | None, str | None, str]:
        """What OPC 40001-1 calls its state and its mode, and PackML its state."""
        return standard(self.state, self._settings)

    def _begin(self, outcome: int, reason: str, since: int) -> State | None:
        before, self._candidate = self.state, None
        self.state = State(self._word(outcome), since, reason, outcome)
        return before

    def _word(self, outcome: int) -> StateWord:
        if outcome >= 0:
            return self._settings.rules[outcome].state
        return "unknown" if outcome == UNKNOWN else self._settings.otherwise

    def _debounce(self, outcome: int) -> int:
        given = self._settings.rules[outcome].debounce if outcome >= 0 else None
        return round((self._settings.debounce if given is None else given) * 1e9)

    def _hold(self, outcome: int) -> int:
        return round((self._settings.rules[outcome].hold or 0.0) * 1e9) if outcome >= 0 else 0


def standard(state: State | None, settings: StateSettings) -> tuple[str | None, str | None, str]:
    """What OPC 40001-1 calls a state and the mode, and PackML the state; a rule may say another word than its state has."""
    if state is None:
        return STANDARD["unknown"]
    item, mode, packml = STANDARD[state.word]
    if state.rule < 0:
        return item, mode, packml
    rule = settings.rules[state.rule]
    return rule.item_state or item, rule.operation_mode or mode, rule.packml_state or packml
