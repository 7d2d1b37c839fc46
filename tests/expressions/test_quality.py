"""What becomes of values that are not good. B: bad, U: uncertain; b and u mark a second one of the same severity."""

import math
from typing import Any

import pytest

from expressions.material import KINDS, Running, worked_out
from gateway.expressions import ExpressionError, parse
from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    NO_COMMUNICATION,
    NOT_A_NUMBER,
    OUT_OF_RANGE,
    SENSOR_FAILURE,
    UNKNOWN_STATE,
    WAITING_FOR_DATA,
    WRONG_TYPE,
)

B, b = NO_COMMUNICATION, SENSOR_FAILURE
U, u = OUT_OF_RANGE, UNKNOWN_STATE
BAD, bad = (None, B), (None, b)

ROWS: list[tuple[str, dict[str, Any], Any, int]] = [
    # operations: the worst counts, of equal ones the first
    ("x", {"x": BAD}, None, B),
    ("x", {"x": (5.0, U)}, 5.0, U),
    ("x + 1", {"x": BAD}, None, B),
    ("-x", {"x": BAD}, None, B),
    ("-x", {"x": (5.0, U)}, -5.0, U),
    ("x + y", {"x": (5.0, U), "y": BAD}, None, B),
    ("x + y", {"x": BAD, "y": bad}, None, B),
    ("y + x", {"x": BAD, "y": bad}, None, b),
    ("x + y", {"x": (5.0, U), "y": (1.0, u)}, 6.0, U),
    ("y + x", {"x": (5.0, U), "y": (1.0, u)}, 6.0, u),
    ("x > y", {"x": (5.0, U), "y": 1.0}, True, U),
    ("x == y", {"x": BAD, "y": 1.0}, None, B),
    ("y != x", {"x": BAD, "y": 1.0}, None, B),
    ("mode == 'auto'", {"mode": ("17", u)}, False, u),
    ("'auto' == mode", {"mode": BAD}, None, B),
    ("max(x, y, 9)", {"x": BAD, "y": 1.0}, None, B),
    ("max(9, y, x)", {"x": (2.0, U), "y": 1.0}, 9.0, U),
    ("between(x, 7, y)", {"x": 5.0, "y": BAD}, None, B),
    ("clamp(x, 0, y)", {"x": -5.0, "y": BAD}, None, B),
    ("round(x, 1)", {"x": (2.25, U)}, 2.3, U),
    ("bit(n, 0)", {"n": (5, U)}, True, U),
    ("abs(x) + sqrt(y)", {"x": (-1.0, U), "y": BAD}, None, B),
    # a good quality with a sub code (0x00960000: local override) is good
    ("x + 1", {"x": (5.0, 0x00960000)}, 6.0, GOOD),
    # and, or: what decides
    ("off and on", {"off": False, "on": BAD}, False, GOOD),
    ("on and off", {"off": False, "on": BAD}, False, GOOD),
    ("off and on", {"off": True, "on": BAD}, None, B),
    ("on and off", {"off": True, "on": (True, U)}, True, U),
    ("on and off", {"off": False, "on": (True, U)}, False, GOOD),
    ("on and off", {"off": True, "on": (False, U)}, False, U),
    ("on and off", {"off": BAD, "on": (False, U)}, False, U),
    ("on and off", {"off": BAD, "on": (True, U)}, None, B),
    ("off and on", {"off": BAD, "on": bad}, None, B),
    ("off or on", {"off": True, "on": BAD}, True, GOOD),
    ("on or off", {"off": True, "on": BAD}, True, GOOD),
    ("on or off", {"off": False, "on": BAD}, None, B),
    ("on or off", {"off": False, "on": (False, U)}, False, U),
    ("on or off", {"off": (False, u), "on": (True, U)}, True, U),
    ("on or off or x > 1", {"off": False, "on": BAD, "x": 5.0}, True, GOOD),
    ("not on", {"on": BAD}, None, B),
    ("not on", {"on": (True, U)}, False, U),
    # if: the condition and the chosen branch
    ("if(on, x, y)", {"on": True, "x": 1.0, "y": BAD}, 1.0, GOOD),
    ("if(on, x, y)", {"on": False, "x": 1.0, "y": BAD}, None, B),
    ("if(on, x, y)", {"on": BAD, "x": 1.0, "y": 2.0}, None, B),
    ("if(on, x, y)", {"on": (False, U), "x": 1.0, "y": 2.0}, 2.0, U),
    ("if(on, x, y)", {"on": (True, U), "x": (1.0, u), "y": 2.0}, 1.0, U),
    ("if(on, x, y)", {"on": (True, U), "x": BAD, "y": 2.0}, None, B),
    # quality itself
    ("good(x)", {"x": BAD}, False, GOOD),
    ("good(x)", {"x": (1.0, U)}, False, GOOD),
    ("good(x + 1)", {"x": 1.0}, True, GOOD),
    ("known(x)", {"x": BAD}, False, GOOD),
    ("known(x)", {"x": (1.0, U)}, True, GOOD),
    ("known(1 / x)", {"x": 0.0}, False, GOOD),
    ("default(x, 3)", {"x": BAD}, 3.0, GOOD),
    ("default(x, 3)", {"x": (1.0, U)}, 1.0, U),
    ("default(x, y)", {"x": BAD, "y": bad}, None, b),
    ("default(x, y)", {"x": BAD, "y": (2.0, U)}, 2.0, U),
    # what is no number
    ("x / y", {"x": 1.0, "y": 0.0}, None, NOT_A_NUMBER),
    ("x % y", {"x": 1.0, "y": 0.0}, None, NOT_A_NUMBER),
    ("n / i", {"n": 1, "i": 0}, None, NOT_A_NUMBER),
    ("x / y", {"x": (1.0, U), "y": 0.0}, None, NOT_A_NUMBER),
    ("x / y", {"x": BAD, "y": 0.0}, None, B),
    ("sqrt(x)", {"x": -1.0}, None, NOT_A_NUMBER),
    ("x * 10", {"x": 1e308}, None, NOT_A_NUMBER),
    ("1 / (x * 10)", {"x": 1e308}, None, NOT_A_NUMBER),
    ("x * 10 > 5", {"x": 1e308}, None, NOT_A_NUMBER),
    ("min(x * 10, 5)", {"x": 1e308}, None, NOT_A_NUMBER),
    ("x ** 9", {"x": 1e300}, None, NOT_A_NUMBER),
    ("x ** y", {"x": -8.0, "y": 0.5}, None, NOT_A_NUMBER),
    ("x ** -1", {"x": 0.0}, None, NOT_A_NUMBER),
    ("x ** y", {"x": 1e300, "y": 1e300}, None, NOT_A_NUMBER),
    ("n ** i", {"n": 2**63 - 1, "i": 2**63 - 1}, None, NOT_A_NUMBER),
    ("n ** 9", {"n": 2**63 - 1}, None, NOT_A_NUMBER),
    ("n * n", {"n": 2**62}, None, NOT_A_NUMBER),
    ("n * 2 + 1", {"n": 2**63 - 1}, 2**64 - 1, GOOD),
    ("round(x)", {"x": 1e300}, None, NOT_A_NUMBER),
    ("floor(x)", {"x": -1e19}, None, NOT_A_NUMBER),
    ("clamp(x, y, 5)", {"x": 1.0, "y": 6.0}, None, NOT_A_NUMBER),
    ("x", {"x": math.nan}, None, NOT_A_NUMBER),
    ("x > 5", {"x": math.inf}, None, NOT_A_NUMBER),
    ("x + 1", {"x": (math.nan, U)}, None, NOT_A_NUMBER),
    ("any == other", {"any": math.nan, "other": 1.0}, None, NOT_A_NUMBER),
    # a value of another type than the signal has
    ("x + 1", {"x": "12"}, None, WRONG_TYPE),
    ("x + 1", {"x": True}, None, WRONG_TYPE),
    ("x + 1", {"x": ("12", U)}, None, WRONG_TYPE),
    ("n + 1", {"n": 1.0}, None, WRONG_TYPE),
    ("x + 1", {"x": 3}, 4.0, GOOD),
    ("on and off", {"on": 1, "off": True}, None, WRONG_TYPE),
    ("not on", {"on": "true"}, None, WRONG_TYPE),
    ("mode == 'auto'", {"mode": 3}, None, WRONG_TYPE),
    ("x", {"x": "a"}, None, WRONG_TYPE),
    # a type nobody knew
    ("any + 1", {"any": "a"}, None, WRONG_TYPE),
    ("any + other", {"any": "a", "other": "b"}, None, WRONG_TYPE),
    ("any * other", {"any": "a", "other": 10**12}, None, WRONG_TYPE),
    ("any % other", {"any": "%1000000000d", "other": 5}, None, WRONG_TYPE),
    ("any == 3", {"any": "3"}, None, WRONG_TYPE),
    ("any == other", {"any": "3", "other": 3}, None, WRONG_TYPE),
    ("any != other", {"any": True, "other": 1}, None, WRONG_TYPE),
    ("any == other", {"any": 3.0, "other": 3}, True, GOOD),
    ("any != other", {"any": "a", "other": "b"}, True, GOOD),
    ("any > other", {"any": "b", "other": "a"}, None, WRONG_TYPE),
    ("any and other", {"any": True, "other": 1}, None, WRONG_TYPE),
    ("if(any, 1, 2)", {"any": "yes"}, None, WRONG_TYPE),
    ("if(on, any, 2)", {"on": True, "any": "yes"}, None, WRONG_TYPE),
    ("mean(any, 5min)", {"any": "yes"}, None, WRONG_TYPE),
    ("bit(any, 1)", {"any": 2.0}, None, WRONG_TYPE),
    ("bit(any, 1)", {"any": 2}, True, GOOD),
    # no value, though nobody says why
    ("x + 1", {"x": None}, None, WAITING_FOR_DATA),
    ("x + 1", {"x": (None, U)}, None, WAITING_FOR_DATA),
    ("any == other", {"any": None, "other": 1}, None, WAITING_FOR_DATA),
    ("default(x, 1)", {"x": None}, 1.0, GOOD),
    # a bad value that is there nevertheless is none
    ("x + 1", {"x": (5.0, B)}, None, B),
    ("known(x)", {"x": (5.0, 0xC0000000)}, False, GOOD),
]  # fmt: skip


@pytest.mark.parametrize(("text", "signals", "value", "quality"), ROWS)
def test_quality(text, signals, value, quality):
    found = worked_out(text, **signals)
    assert found == (value, quality)
    assert type(found[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "first", "then", "expected"),
    [
        # `off` rises at the second step, where nobody looks at it; at the third it is no news any more
        ("on and rising(off)", {"on": False, "off": True}, {"on": True, "off": True}, False),
        ("on or rising(off)", {"on": True, "off": True}, {"on": False, "off": True}, False),
        ("if(on, rising(off), false)", {"on": False, "off": True}, {"on": True, "off": True}, False),
        ("if(on, false, rising(off))", {"on": True, "off": True}, {"on": False, "off": True}, False),
        ("default(on, rising(off))", {"on": True, "off": True}, {"on": BAD, "off": True}, False),
    ],
)
def test_what_remembers_runs_along_where_its_result_is_not_needed(text, first, then, expected):
    run = Running(text)
    run(0, **(then | {"off": False}))
    run(1, **first)
    assert run(2, **then) == (expected, GOOD)


def test_after_a_check_that_failed_there_is_no_value():
    """A server says at run time that a unit is another one: comparing them as they are would be false."""
    expression = parse("kw > kg")
    with pytest.raises(ExpressionError):
        expression.check(lambda r: KINDS[str(r)])
    assert expression.program().run([1.0, 2.0], [GOOD, GOOD], 0) == (None, CONFIG_ERROR)


def test_an_expression_nobody_checked_takes_values_as_they_come():
    program = parse("x > y or z").program()
    assert program.run([5, 3.0, False], [GOOD] * 3, 0) == (True, GOOD)
    assert program.run(["a", 3.0, False], [GOOD] * 3, 0) == (None, WRONG_TYPE)
    with pytest.raises(ExpressionError, match="'a' is text"):
        parse("x + 'a'").program()


def test_a_float_stays_one():
    assert worked_out("if(on, 1, 2.5)", on=True) == (1.0, GOOD)
    assert type(worked_out("if(on, 1, 2.5)", on=True)[0]) is float
    value, quality = worked_out("if(on, n, 2.5)", on=True, n=(3, U))
    assert (value, type(value), quality) == (3.0, float, U)
