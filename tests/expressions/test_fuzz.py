"""Whatever the text and whatever the values: a tree or an ExpressionError, a value or a quality."""

import json
import math
import operator
import random
import re
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from expressions.material import KINDS, SECOND
from gateway.expressions import ExpressionError, Kind, parse
from gateway.expressions.functions import FUNCTIONS
from gateway.model import BAD, GOOD

WORDS = [
    *"()+-*/%<>,.[]='\"!&|", "**", "==", "!=", "<=", ">=", "and", "or", "not", "true", "false", "if", "5min", "0s", "1h", "0", "1", "2.5",
    "1e308", "0x1F", "-1", "'auto'", "'kW'", "[m/x]", "[a-b]", *KINDS, *FUNCTIONS, *(f"{name}(" for name in FUNCTIONS),
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from("()[]'\"+-*/%<>=!.,0123456789eExsminhd_ \n"), max_size=60))
def test_any_text(text):
    read(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25), st.sampled_from(["", " "]))
def test_any_words(words, between):
    read(between.join(words))


def read(text: str) -> None:
    try:
        expression = parse(text)
        expression.check(lambda r: KINDS.get(str(r)), list(KINDS))
    except ExpressionError as error:
        assert 0 <= error.start <= error.end <= max(len(text), 1000)
        assert error.message
        return
    for reference in expression.references:
        assert 0 <= reference.start < reference.end <= len(text)
    expression.program().run([1.0] * len(expression.references), [GOOD] * len(expression.references), 0)


# --- trees -----------------------------------------------------------------------------------------------------------

NUMBERS = ["x", "n", "any", "0", "1", "-3", "2.5", "1e308", "9223372036854775807", "63", "0.5", "kw", "cel", "degf"]
CONDITIONS = ["on", "other", "true", "false", "mode == 'auto'", "text != 'a'", "any == other", "any", "changed(mode)"]
# N: a number, C: a condition, W: a window, I: a small whole number
FORMS = {
    "N": [
        *(f"(N {sign} N)" for sign in ("+", "-", "*", "/", "%", "**")), "N ** I", "-N",
        *(f"{name}(N)" for name in ("abs", "sqrt", "round", "floor", "ceil", "total", "previous")),
        *(f"{name}(N, N)" for name in ("min", "max", "default")),
        *(f"{name}(N, W)" for name in ("mean", "min", "max", "delta", "rate")),
        "count(C, W)", "share(C, W)", "duration(C)", "round(N, I)", "clamp(N, N, N)", "clamp(N, -3, 63)", "if(C, N, N)", "max(N, N, N)",
        "convert(N, 'kW')",
    ],
    "C": [
        *(f"N {sign} N" for sign in ("==", "!=", "<", "<=", ">", ">=")), "(C and C)", "(C or C or C)", "(C and C and C)", "(C) == (C)",
        *(f"{name}(C)" for name in ("not ", "rising", "falling", "changed", "good", "known", "previous")),
        "changed(N)", "good(N)", "known(N)", "between(N, N, N)", "bit(N, 3)", "default(C, C)", "if(C, C, C)",
    ],
}  # fmt: skip


def tree(rng: random.Random, form: str, depth: int) -> str:
    """A text of this form, each letter of it replaced by another."""
    small = {"N": NUMBERS, "C": CONDITIONS, "W": ["1s", "5s", "1min"], "I": [str(i) for i in range(-9, 10)]}

    def instead(match: re.Match[str]) -> str:
        kind = match[0]
        if kind in FORMS and depth and rng.random() < 0.8:
            return tree(rng, rng.choice(FORMS[kind]), depth - 1)
        return rng.choice(small[kind])

    return re.sub(r"\b[NCWI]\b", instead, form)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.floats(-10, 10), st.integers(-3, 3),
    st.sampled_from(["auto", "", "5", "%9999999d"]),
)  # fmt: skip
QUALITIES = st.sampled_from([GOOD] * 6 + [0x00960000, 0x40940000, 0x4FF00000, 0x80310000, 0xC0000000, 0x808C0000])
LIKELY = {
    "x": 5.5,
    "n": 3,
    "any": 2,
    "on": True,
    "other": False,
    "mode": "auto",
    "text": "a",
    "kw": 40.0,
    "cel": 20.0,
    "degf": 70.0,
}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from("NC"), st.integers(2, 6), st.booleans(), st.data())
def test_a_tree_over_any_values(seed, form, depth, types_are_known, data):
    """Never an exception, always of the type that was told; and what is remembered can be written down."""
    text = tree(random.Random(seed), form, depth)
    kinds: Any = KINDS if types_are_known else dict.fromkeys(KINDS, Kind())
    try:
        expression = parse(text)
        kind = expression.check(lambda r: kinds[str(r)])
    except ExpressionError:
        return
    program, now = expression.program(), 0
    for _ in range(5):
        now += data.draw(st.sampled_from([0, 1, SECOND, 10 * SECOND, 10**15, -SECOND]))
        values = [LIKELY[str(r)] if data.draw(st.booleans()) else data.draw(VALUES) for r in expression.references]
        quality = [data.draw(QUALITIES) for _ in values]
        value, found = program.run(values, quality, now)
        assert (value is None) == (found >= BAD)
        if value is not None and kind.type is not None:
            assert type(value) is {"float": float, "int": int, "bool": bool, "string": str}[kind.type]
        if isinstance(value, float):
            assert math.isfinite(value)
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**64
        state = json.loads(json.dumps(program.dump(), allow_nan=False))
        program = expression.program()
        program.load(state, stopped=data.draw(st.booleans()))


# --- arithmetic ------------------------------------------------------------------------------------------------------

OPERATIONS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
LEAVES = st.integers(0, 9).map(lambda i: (str(i), i)) | st.sampled_from(
    [("x", 5.5), ("n", 3), ("0.1", 0.1), ("2.5", 2.5)]
)


def operation(left: Any, sign: str, right: Any) -> tuple[str, Any]:
    try:
        value = None if left[1] is None or right[1] is None else OPERATIONS[sign](left[1], right[1])
    except ZeroDivisionError:
        value = None
    return f"({left[0]}{sign}{right[0]})", value


SUMS = st.recursive(LEAVES, lambda inner: st.builds(operation, inner, st.sampled_from("+-*/%"), inner), max_leaves=20)


@settings(max_examples=200, deadline=None)
@given(st.builds(operation, SUMS, st.sampled_from([*OPERATIONS]), SUMS))
def test_arithmetic_is_that_of_python(made):
    text, expected = made
    assume(expected is not None)
    expression = parse(text)
    expression.check(lambda r: KINDS[str(r)])
    value, quality = expression.program().run(
        [LIKELY[str(r)] for r in expression.references], [GOOD] * len(expression.references), 0
    )
    assert quality == GOOD
    assert (value, type(value)) == (expected, type(expected))
