"""What a store should have of each signal, by its settings: what the judge goes by. Pure.

Worked out from the configuration alone and never by the gateway's normalizer, whose mistakes would cancel themselves out. The
ledger has engineering values, in the unit in which they leave: what is left to say is when a reading is not sent, and how far
rounding may go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.config import Configuration, MachineSettings, SignalSettings
from gateway.config.fields import Percent
from gateway.model import (
    CLOCK_NOT_SET,
    COUNTER_AMBIGUOUS,
    COUNTER_REPLACED,
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    FLAT_LINE,
    IMPLAUSIBLE_RATE,
    OUT_OF_RANGE,
    UNKNOWN_STATE,
)

Signal = tuple[str, str]
"""Machine and signal."""

ROUNDING = 1e-9  # of a value: the same arithmetic in another order
COUNTS_IN_DOUBT = frozenset((COUNTER_AMBIGUOUS, COUNTER_REPLACED, COUNTER_RESET, COUNTER_UNSETTLED))


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one signal. As it stands: every reading is stored as it was served. Times are seconds."""

    stamps: Literal["arrival", "source"] = "arrival"  # when the answer came, or the time that the server gives
    report: Literal["all", "change", "swinging-door"] = "all"
    deadband: float = 0.0  # in the unit in which it leaves
    heartbeat: float = 60.0
    poll: float = 1.0
    repeats: bool = False  # a value that holds on may be stored again at another time
    every: bool = False  # each serving is news, though it be equal to the one before: events
    sampled: bool = False  # what changed between two looks was never seen
    timeout: float = float("inf")  # after which the gateway does not wait for an answer any more
    near: float = 0.0  # how far a number may be from what was served: rounding, in the unit in which it leaves
    range: tuple[float, float] | None = None  # beyond: uncertain
    ends: tuple[float, float] | None = None  # beyond: at the end, and uncertain
    invalid: tuple[float, ...] = ()  # served numbers that stand for no value
    texts: bool = False  # numbers without a text leave as their digits
    counter: bool = False
    wraps_at: float | None = None  # of a counter: where it begins at 0 again
    max_rate: float | None = None  # of a counter, a second
    doubts: frozenset[int] = frozenset((CLOCK_NOT_SET,))  # uncertain qualities that the gateway may give by itself
    not_judged: str = ""  # why nothing is said of it


def rules_of(configuration: Configuration) -> dict[Signal, Rule]:
    """By machine and signal, those that are worked out too: they are not judged, and say so."""
    return {
        (name, signal): rule
        for name, machine in configuration.machines.items()
        for signal, rule in _of_machine(configuration.connections[machine.connection], machine)
    }


def _of_machine(connection: Any, machine: MachineSettings) -> Iterator[tuple[str, Rule]]:
    for name, signal in machine.signals.items():
        yield name, rule_of(signal, connection, machine)
        if signal.delta:
            yield f"{name}_delta", Rule(not_judged="it is worked out from a count")
    for name in machine.computed:
        yield name, Rule(not_judged="it is computed")


def rule_of(signal: SignalSettings, connection: Any, machine: Any = None) -> Rule:
    """Of a signal behind a connection; the settings of their adapters have more keys than are declared here."""
    source = connection.protocol == "opcua"
    polled = source and (getattr(signal, "mode", 0) or getattr(machine, "mode", 0) or connection.mode) == "poll"
    (scale, offset), (multiply, add) = signal.linear, signal.conversion
    slope = abs((scale or 1.0) * multiply)
    ends = _turned(signal.range, multiply, add)
    counter = signal.kind == "counter"
    shifts = abs((offset or 0.0) * multiply) + abs(add)
    event = getattr(signal, "part", None) is not None
    invalid: Sequence[float] = getattr(signal, "invalid", ())
    wraps_at = signal.wraps_at
    return Rule(
        stamps="source" if source else "arrival",
        report=signal.report,
        deadband=_deadband(signal, ends, multiply),
        heartbeat=signal.heartbeat,
        poll=signal.poll,
        repeats=source and (polled or signal.report != "all" or "heartbeat" in signal.model_fields_set),
        every=event,
        sampled=polled,
        timeout=float("inf") if source and not polled else connection.timeout,
        near=1e-12 * shifts + (0.0 if signal.precision is None else 0.5000001 * 10.0**-signal.precision),
        range=ends,
        ends=_turned(signal.scaled_range, multiply, add) if signal.clamp else None,
        invalid=tuple((raw * (scale or 1.0) + (offset or 0.0)) * multiply + add for raw in invalid),
        texts=signal.enum is not None,
        counter=counter,
        wraps_at=wraps_at * slope if counter and wraps_at else None,
        max_rate=signal.max_rate * abs(multiply) if counter and signal.max_rate else None,
        doubts=_doubts(signal),
        not_judged=_not_judged(signal, ends),
    )


def _not_judged(signal: SignalSettings, ends: tuple[float, float] | None) -> str:
    if signal.scale_from and getattr(signal, "invalid", []):
        return "what its `invalid` numbers are depends on the factor of `scale_from`"
    if signal.report != "all" and isinstance(signal.deadband, Percent) and ends is None:
        return "its deadband is a part of a range that only the server knows"
    return ""


def _turned(ends: tuple[float, float] | None, multiply: float, add: float) -> tuple[float, float] | None:
    """A range as it leaves, the lower end first."""
    if ends is None:
        return None
    low, high = sorted(end * multiply + add for end in ends)
    return low, high


def _deadband(signal: SignalSettings, ends: tuple[float, float] | None, multiply: float) -> float:
    """In the unit in which it leaves."""
    if isinstance(signal.deadband, Percent):
        return (ends[1] - ends[0]) * signal.deadband / 100 if ends else 0.0
    return (signal.deadband or 0.0) * abs(multiply)


def _doubts(signal: SignalSettings) -> frozenset[int]:
    given: Mapping[int, object] = {
        CLOCK_NOT_SET: True,
        FLAT_LINE: signal.flat_after,
        IMPLAUSIBLE_RATE: signal.max_rate,
        UNKNOWN_STATE: signal.enum is not None,
        OUT_OF_RANGE: signal.range or signal.clamp,
    }
    found = frozenset(code for code, possible in given.items() if possible)
    return found | COUNTS_IN_DOUBT if signal.kind == "counter" else found
