"""`$(…)` in the values of a profile, by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.parameters import FormulaError, fill, names_in

VALUES = {"axis": 3, "base": 100, "name": "left", "ratio": 0.5, "on": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(axis)", 3),
        ("$(ratio)", 0.5),
        ("$(on)", True),
        ("$(name)", "left"),
        ("$( axis )", 3),
        ("$(base + 20*(axis - 1))", 140),  # 100 + 20 * 2
        ("$(base - 3*axis)", 91),
        ("$(-axis)", -3),
        ("$(2 - 3 - 4)", -5),  # from left to right
        ("$(2*-axis + 7)", 1),
        ("$((axis))", 3),
        ("m:Axis_$(axis)/m:$(name)", "m:Axis_3/m:left"),
        ("is $(on)", "is true"),  # as YAML writes it
        ("$$(axis)", "$(axis)"),
        ("$$($(axis))", "$(3)"),
        ("${axis} $ (axis) {axis}", "${axis} $ (axis) {axis}"),
        ("", ""),
    ],
)
def test_it_is_filled_in(text, expected):
    found = fill(text, VALUES)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$(axes)", "there is no parameter 'axes'"),
        ("$(name + 1)", "'left' cannot be calculated with"),
        ("$(ratio * 2)", "0.5 cannot be calculated with"),
        ("$(on + 1)", "True cannot be calculated with"),
        ("$(-name)", "'left' cannot be calculated with"),
        ("$(axis", "'$(axis' is not understood"),
        ("$()", "'$()' is not understood"),
        ("$(axis / 2)", "'$(axis / 2)' is not understood"),
        ("$(axis axis)", "'$(axis axis)' is not understood"),
        ("$(2axis)", "'$(2axis)' is not understood"),
        ("$(axis.real)", "'$(axis.real)' is not understood"),
        ("$(axis**9)", "'$(axis**9)' is not understood"),
        ("$(__import__('os'))", "there is no parameter '__import__'"),
        ("$(" + "(" * 30 + "1" + ")" * 30 + ")", "is not understood"),  # deeper than anybody writes
        ("$(" + "9*" * 150 + "9)", "is not understood"),  # longer than anybody writes
    ],
)
def test_or_it_is_said_why_not(text, message):
    with pytest.raises(FormulaError) as raised:
        fill(text, VALUES)
    assert message in raised.value.message
    assert raised.value.hint


def test_the_near_name_is_offered():
    with pytest.raises(FormulaError) as raised:
        fill("$(axes)", VALUES)
    assert raised.value.hint == "did you mean 'axis'?"


def test_a_value_is_not_looked_into():
    assert fill("<$(a)>", {"a": "$(b)", "b": "no"}) == "<$(b)>"


def test_the_names_that_are_asked_for():
    assert names_in("$(a + 2*b) and $(c), $$(d), $(e") == {"a", "b", "c", "e"}


# A formula and its value, worked out beside it by Python itself.
formulas = st.recursive(
    st.integers(0, 10**6).map(lambda n: (str(n), n)) | st.sampled_from([("axis", 3), ("base", 100)]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda t: (
            f"({t[0][0]} {t[1]} {t[2][0]})",
            {"+": t[0][1] + t[2][1], "-": t[0][1] - t[2][1], "*": t[0][1] * t[2][1]}[t[1]],
        )
    ),
    max_leaves=8,
)


@given(formulas)
@settings(max_examples=200)
def test_it_calculates_as_anybody_would(formula):
    text, value = formula
    assert fill(f"$({text})", VALUES) == value


@given(st.text(alphabet="$(){}+-*0123456789 axisbe/\n\0é", max_size=60))
@settings(max_examples=200)
def test_whatever_stands_there_the_answer_is_a_value_or_a_word(text):
    names_in(text)
    try:
        fill(text, VALUES)
    except FormulaError as exc:
        assert exc.message
