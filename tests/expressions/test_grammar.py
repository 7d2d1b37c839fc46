"""How texts are read: precedence, literals, names. Expected values are worked out by hand."""

import math

import pytest

from expressions.material import KINDS, checked, worked_out
from gateway.expressions import Reference, parse
from gateway.model import GOOD

X = {"x": 7.0, "y": 2.0, "n": 7, "i": 2, "on": True, "off": False, "mode": "auto"}

ROWS = [
    # numbers
    ("1", 1), ("0.5", 0.5), (".5", 0.5), ("1e3", 1000.0), ("1E-3", 0.001), ("2.5e+2", 250.0), ("0x10", 16), ("0XfF", 255),
    ("007", 7), ("9223372036854775807", 2**63 - 1), ("0x7FFFFFFFFFFFFFFF", 2**63 - 1),
    # durations, in seconds
    ("500ms", 0.5), ("2s", 2.0), ("5min", 300.0), ("1h", 3600.0), ("1d", 86400.0), ("1.5h", 5400.0), ("1h + 30min", 5400.0),
    ("1e3ms", 1.0),
    # text, true and false
    ("'a b'", "a b"), ('"it\'s"', "it's"), ("''", ""), ("true", True), ("false", False), ("'größer'", "größer"),
    # strength of operators
    ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("10 - 4 - 3", 3), ("16 / 4 / 2", 2.0), ("2 * 7 % 4", 2), ("7 % 4 * 2", 6),
    ("2 ** 3 ** 2", 512), ("-2 ** 2", -4), ("(-2) ** 2", 4), ("2 ** -1", 0.5), ("2 * -3", -6), ("- -3", 3), ("--3", 3),
    ("-x + 1", -6.0), ("1 - -1", 2), ("1--1", 2), ("2 - 3 * 4 ** 2 / 8", -4.0),
    ("true or false and false", True), ("(true or false) and false", False), ("not false and false", False),
    ("not (false and false)", True), ("not not true", True), ("not 1 == 2", True), ("not x < 5", True),
    ("1 + 1 == 2", True), ("x > 5 and y > 5 or x > y", True), ("(1 < 2) == (3 < 4)", True),
    ("on == not off", True), ("1 != 2 and 2 != 2", False), ("x >= 7 and x <= 7", True), ("n == x", True),
    # types
    ("n + i", 9), ("n - i", 5), ("n * i", 14), ("n / i", 3.5), ("n % i", 1), ("n ** 2", 49), ("n ** -2", 1 / 49),
    ("n ** i", 49.0), ("n ** 10", 282475249.0), ("n + y", 9.0), ("n * 1.0", 7.0), ("-n", -7), ("-7 % 3", 2), ("7 % -3", -2), ("7.5 % 2", 1.5),
    # functions
    ("if(on, n, i)", 7), ("if(off, n, y)", 2.0), ("if(on, n, y)", 7.0), ("if(off, 'a', 'b')", "b"), ("if(on, off, on)", False),
    ("min(n, i)", 2), ("max(n, i)", 7), ("min(n, 3, y)", 2.0), ("max(1, 2, 3, 4, 5)", 5), ("min(5min, x)", 7.0),
    ("abs(-n)", 7), ("abs(-2.5)", 2.5), ("sqrt(16)", 4.0), ("sqrt(y)", math.sqrt(2)),
    ("floor(2.7)", 2), ("floor(-2.1)", -3), ("ceil(2.1)", 3), ("ceil(-2.7)", -2), ("floor(n)", 7),
    ("round(2.4)", 2), ("round(2.5)", 3), ("round(3.5)", 4), ("round(-2.5)", -3), ("round(-0.4)", 0), ("round(n)", 7),
    ("round(0.49999999999999994)", 0), ("round(2.345, 2)", 2.35), ("round(-2.345, 2)", -2.35), ("round(1.005, 2)", 1.01),
    ("round(2.344, 2)", 2.34), ("round(1250, -2)", 1300.0), ("round(1e300, 2)", 1e300), ("round(x, 0)", 7.0),
    ("clamp(x, 0, 5)", 5.0), ("clamp(n, 0, 5)", 5), ("clamp(n, 8, 9)", 8), ("clamp(n, 0, 9)", 7),
    ("between(x, 7, 9)", True), ("between(x, 1, 7)", True), ("between(x, 7.1, 9)", False),
    ("bit(5, 0)", True), ("bit(5, 1)", False), ("bit(n, 2)", True), ("bit(-1, 63)", True), ("bit(0x7FFFFFFFFFFFFFFF, 63)", False),
    ("good(x)", True), ("known(x)", True), ("default(x, 1)", 7.0), ("convert(1, 'kW')", 1),
    # blanks and lines
    ("  1\n +\t2 ", 3), ("max\n(1,2)", 2), ("x>5 and y<3", True), ("1\xa0+ 1", 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_a_text_is_worked_out(text, expected):
    value, quality = worked_out(text, **X)
    assert quality == GOOD
    assert type(value) is type(expected)
    assert value == pytest.approx(expected, rel=1e-15) if isinstance(expected, float) else value == expected


TYPES = [
    ("1", "int"), ("1.0", "float"), ("5min", "float"), ("'a'", "string"), ("true", "bool"), ("n + i", "int"), ("n + x", "float"),
    ("n / i", "float"), ("n ** 2", "int"), ("n ** -2", "float"), ("any + 1", None), ("any + 1.5", "float"), ("any / 2", "float"),
    ("any", None), ("any == other", "bool"), ("any > 3", "bool"), ("if(any, n, i)", "int"), ("if(on, any, 'a')", "string"),
    ("if(on, any, 1.5)", "float"), ("min(n, any)", None), ("round(any)", "int"), ("round(n, 1)", "float"), ("mean(n, 1s)", "float"),
    ("min(n, 1s)", "int"), ("delta(n, 1s)", "int"), ("rate(n, 1s)", "float"), ("count(on, 1s)", "int"), ("share(on, 1s)", "float"),
    ("rising(on)", "bool"), ("changed(any)", "bool"), ("previous(mode)", "string"), ("previous(any)", None), ("duration(on)", "float"),
    ("total(n)", "float"), ("good(any)", "bool"), ("default(any, true)", "bool"), ("default(n, 1.5)", "float"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TYPES)
def test_what_it_yields_is_known_beforehand(text, expected):
    assert parse(text).check(lambda r: KINDS[str(r)]).type == expected


def test_the_texts_it_can_yield_are_known():
    kind = parse("if(on, mode, 'fault')").check(lambda r: KINDS[str(r)])
    assert kind.states == {"off", "setup", "auto", "fault"}
    assert parse("if(on, text, 'fault')").check(lambda r: KINDS[str(r)]).states is None
    assert parse("previous(mode)").check(lambda r: KINDS[str(r)]).states == {"off", "setup", "auto"}


def test_references_are_distinct_and_in_order():
    text = "b.c + [a-1] * b.c - [press-07/melt temp ] / [ b.c ] + _x"
    assert parse(text).references == (
        Reference("", "b.c", 0, 3),
        Reference("", "a-1", 6, 11),
        Reference("press-07", "melt temp", 20, 41),
        Reference("", "_x", 54, 56),
    )
    assert [str(r) for r in parse(text).references] == ["b.c", "a-1", "press-07/melt temp", "_x"]


def test_names_of_functions_are_names_of_signals_too():
    assert [r.signal for r in parse("min + max(rate, mean) + [true] + [if]").references] == [
        "min",
        "rate",
        "mean",
        "true",
        "if",
    ]


def test_two_arguments_of_which_the_second_is_a_duration_are_a_window():
    assert checked("min(x, 5min)").program().timed
    assert not checked("min(5min, x)").program().timed
    assert not checked("min(x, 5min, y)").program().timed
    assert not checked("min(x, (1min + 4min))").program().timed


@pytest.mark.parametrize(
    ("text", "timed"),
    [
        ("x", False), ("x > 5", False), ("previous(x)", False), ("previous(mean(x, 1s))", True), ("1 + mean(x, 1s)", True),
        ("rising(on)", True), ("changed(x)", True), ("duration(on) > 5s", True), ("total(x)", True), ("default(x, rate(y, 1s))", True),
        ("if(on, 1, count(off, 1h))", True), ("on or falling(off)", True), ("not rising(on)", True),
    ],
)  # fmt: skip
def test_what_changes_by_itself_is_timed(text, timed):
    assert checked(text).program().timed is timed


def test_a_long_sum_and_a_long_condition():
    assert worked_out("+".join(["n"] * 250), n=2) == (500, GOOD)
    assert worked_out("+".join(["x", "n"] * 125), n=2, x=1.0) == (375.0, GOOD)
    assert worked_out(" or ".join(f"x=={i}" for i in range(100)), x=99.0) == (True, GOOD)
    assert worked_out(" and ".join(["on"] * 122) + " and off", on=True, off=False) == (False, GOOD)


@pytest.mark.parametrize("opening", ["(", "-", "not ", "abs(", "2**", "if(on,1,"])
def test_as_deep_as_allowed(opening):
    closing = ")" * opening.count("(")
    inner = "on" if opening == "not " else "1"
    deepest = opening * 49 + inner + closing * 49
    if opening != "2**":  # overflows, of course
        assert worked_out(deepest, on=True)[1] == GOOD
    assert parse(deepest)
