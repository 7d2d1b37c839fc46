"""What is worked out, and with what quality: the small functions an expression is put together from.

A function takes the values of the signals and returns a plain value when it is good, and a `Flaw` when it is not. A flaw takes part in
no operation: Python's own TypeError leads to `again`, which looks at qualities one by one. So what is good, nearly always
everything, costs no look at any quality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from gateway.model import GOOD, NOT_A_NUMBER, UNCERTAIN, WAITING_FOR_DATA, WRONG_TYPE, Value, is_bad

Run = Callable[[Sequence[Any]], Any]
"""From the values of all signals to a value or a `Flaw`."""

MAX_FLOAT = 1.7976931348623157e308
MIN_INT, MAX_INT = -(2**63), 2**64 - 1  # what fits into 64 bits, with a sign or without
Bounds = tuple[float, float]
FLOATS: Bounds = (-MAX_FLOAT, MAX_FLOAT)
INTS: Bounds = (MIN_INT, MAX_INT)

NUMBERS: Collection[type] = frozenset({float, int})
TYPES: dict[str | None, Collection[type]] = {
    "float": NUMBERS,
    "int": frozenset({int}),
    "bool": frozenset({bool}),
    "string": frozenset({str}),
    None: frozenset({float, int, bool, str}),
}
_NOT_NUMBERS = frozenset({bool, str})


class Flaw:
    """A result that is not good: uncertain with its value, or bad without one."""

    __slots__ = ("quality", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Value, quality: int) -> None:
        self.value = value
        self.quality = quality

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("a flaw takes part in no operation")


NO_NUMBER = Flaw(None, NOT_A_NUMBER)
_OTHER_TYPE = Flaw(None, WRONG_TYPE)
_NOTHING_YET = Flaw(None, WAITING_FOR_DATA)
_TROUBLE = (TypeError, ValueError, ArithmeticError)


def with_quality(value: Any, quality: int) -> Any:
    """As a result: the plain value if it is good."""
    return Flaw(value, quality) if quality else value


def is_worse(quality: int, than: int) -> bool:
    """By severity alone: of equal ones the first counts."""
    return quality >= UNCERTAIN and not is_bad(than) and (is_bad(quality) or than < UNCERTAIN)


def again(operation: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """The same operation, looking at each argument: what is bad makes the result bad, what is uncertain makes it uncertain."""
    worst = GOOD
    values = []
    for argument in arguments:
        if argument.__class__ is Flaw:
            if is_worse(argument.quality, worst):
                worst = argument.quality
            argument = argument.value
        values.append(argument)
    if is_bad(worst):
        return Flaw(None, worst)
    try:
        result = operation(*values)
    except TypeError:
        return _OTHER_TYPE
    except (ValueError, ArithmeticError):
        return NO_NUMBER
    return with_quality(result, worst) if can_be_told(result) else NO_NUMBER


def can_be_told(value: Any) -> bool:
    """A finite number within 64 bits, text, true or false. (A root of a negative number is complex to Python.)"""
    if value.__class__ is float:
        return math.isfinite(value)
    return MIN_INT <= value <= MAX_INT if value.__class__ is int else value.__class__ in (bool, str)


# --- leaves ----------------------------------------------------------------------------------------------------------


def constant(value: Value) -> Run:
    return lambda _: value


def number_signal(index: int, classes: Collection[type], bounds: Bounds) -> Run:
    """The value of a signal that has to be a number."""
    low, high = bounds

    def read(values: Sequence[Any]) -> Any:
        value = values[index]
        if value.__class__ in classes and low <= value <= high:
            return value
        return _unfit(value, classes)

    return read


def signal(index: int, classes: Collection[type]) -> Run:
    """The value of a signal of these types."""

    def read(values: Sequence[Any]) -> Any:
        value = values[index]
        return value if value.__class__ in _NOT_NUMBERS and value.__class__ in classes else _unfit(value, classes)

    return read


def fitting(run: Run, classes: Collection[type]) -> Run:
    """What is of these types; for results whose type is not known beforehand."""

    def fit(values: Sequence[Any]) -> Any:
        value = run(values)
        return value if value.__class__ in classes else _unfit(value, classes)

    return fit


def _unfit(value: Any, classes: Collection[type]) -> Any:
    """A value that is flawed, of another type, or a number beyond all bounds."""
    inner = value.value if value.__class__ is Flaw else value
    if inner is None:
        return value if value.__class__ is Flaw else _NOTHING_YET
    if inner.__class__ not in classes:
        return _OTHER_TYPE
    return value if can_be_told(inner) else NO_NUMBER


# --- operations ------------------------------------------------------------------------------------------------------


def single(operation: Callable[[Any], Any], run: Run, bounds: Bounds) -> Run:
    low, high = bounds

    def work(values: Sequence[Any]) -> Any:
        x = run(values)
        try:
            result = operation(x)
            if low <= result <= high:
                return result
        except _TROUBLE:
            pass
        return again(operation, (x,))

    return work


def pair(operation: Callable[[Any, Any], Any], left: Run, right: Run, bounds: Bounds) -> Run:
    low, high = bounds

    def work(values: Sequence[Any]) -> Any:
        x, y = left(values), right(values)
        try:
            result = operation(x, y)
            if low <= result <= high:
                return result
        except _TROUBLE:
            pass
        return again(operation, (x, y))

    return work


def pair_with(operation: Callable[[Any, Any], Any], left: Run, y: Any, bounds: Bounds) -> Run:
    """A constant on the right, as nearly always: one call less."""
    low, high = bounds

    def work(values: Sequence[Any]) -> Any:
        x = left(values)
        try:
            result = operation(x, y)
            if low <= result <= high:
                return result
        except _TROUBLE:
            pass
        return again(operation, (x, y))

    return work


def comparison(operation: Callable[[Any, Any], bool], left: Run, right: Run) -> Run:
    def compare(values: Sequence[Any]) -> Any:
        x, y = left(values), right(values)
        try:
            return operation(x, y)
        except TypeError:
            return again(operation, (x, y))

    return compare


def comparison_with(operation: Callable[[Any, Any], bool], left: Run, y: Any) -> Run:
    def compare(values: Sequence[Any]) -> Any:
        x = left(values)
        try:
            return operation(x, y)
        except TypeError:
            return again(operation, (x, y))

    return compare


def several(operation: Callable[..., Any], runs: Sequence[Run], bounds: Bounds) -> Run:
    low, high = bounds

    def work(values: Sequence[Any]) -> Any:
        arguments = [run(values) for run in runs]
        try:
            result = operation(*arguments)
            if low <= result <= high:
                return result
        except _TROUBLE:
            pass
        return again(operation, arguments)

    return work


# --- what decides ----------------------------------------------------------------------------------------------------


def negation(run: Run) -> Run:
    def work(values: Sequence[Any]) -> Any:
        x = run(values)
        if x.__class__ is bool:
            return not x
        return x if x.value is None else Flaw(not x.value, x.quality)

    return work


def logic(deciding: bool, runs: Sequence[Run], all_of_them: bool) -> Run:
    """`and` (false decides) or `or` (true decides). All are worked out where some remember what was."""

    def work(values: Sequence[Any]) -> Any:
        flaws = []
        for run in runs:
            x = run(values)
            if x is deciding:
                return x
            if x.__class__ is Flaw:
                flaws.append(x)
        return _undecided(deciding, flaws) if flaws else not deciding

    def work_out_all(values: Sequence[Any]) -> Any:
        results = [run(values) for run in runs]
        if any(x is deciding for x in results):
            return deciding
        flaws = [x for x in results if x.__class__ is Flaw]
        return _undecided(deciding, flaws) if flaws else not deciding

    return work_out_all if all_of_them else work


def _undecided(deciding: bool, flaws: Sequence[Flaw]) -> Flaw:
    """Nothing good decides: what is uncertain may, else what is bad leaves it open."""
    for flaw in flaws:
        if flaw.value is deciding:
            return flaw
    worst = flaws[0]
    for flaw in flaws:
        if is_worse(flaw.quality, worst.quality):
            worst = flaw
    return worst


def choice(condition: Run, yes: Run, no: Run, both: bool) -> Run:
    """`if`. Both branches are worked out where they remember what was."""

    def choose(values: Sequence[Any]) -> Any:
        decision = condition(values)
        if both:
            a, b = yes(values), no(values)
        if decision.__class__ is bool:
            return (a if decision else b) if both else (yes if decision else no)(values)
        if decision.value is None:
            return decision
        chosen = (a if decision.value else b) if both else (yes if decision.value else no)(values)
        return _also(chosen, decision.quality)

    return choose


def _also(result: Any, quality: int) -> Any:
    """A result that depends on something uncertain."""
    if result.__class__ is Flaw:
        return result if is_worse(result.quality, quality) else Flaw(result.value, quality)
    return Flaw(result, quality)


def otherwise(run: Run, instead: Run, both: bool) -> Run:
    """`default`: what stands in while there is no value."""

    def work(values: Sequence[Any]) -> Any:
        x = run(values)
        if both:
            y = instead(values)
        if x.__class__ is not Flaw or x.value is not None:
            return x
        return y if both else instead(values)

    return work


def whether_good(run: Run) -> Run:
    return lambda values: run(values).__class__ is not Flaw


def whether_known(run: Run) -> Run:
    def work(values: Sequence[Any]) -> bool:
        x = run(values)
        return x.__class__ is not Flaw or x.value is not None

    return work


def remembered(run: Run, step: Callable[[Value, int], Any]) -> Run:
    """A function over time: each evaluation is a step of what it remembers."""

    def work(values: Sequence[Any]) -> Any:
        x = run(values)
        return step(x.value, x.quality) if x.__class__ is Flaw else step(x, GOOD)

    return work
