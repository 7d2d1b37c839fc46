"""What is remembered goes on after a restart, and what does not fit is refused."""

import contextlib
import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expressions.material import KINDS, SECOND, Running, checked
from gateway.expressions import Kind, parse
from gateway.model import GOOD, NO_COMMUNICATION
from gateway.units import parse as unit

TEXTS = [
    "mean(x, 20s)", "min(x, 20s)", "max(x, 20s)", "delta(x, 20s)", "rate(x, 20s)", "count(x > 5, 20s)", "share(x > 5, 20s)",
    "rising(x > 5)", "falling(x > 5)", "changed(x)", "previous(x)", "duration(x > 5)", "total(x)",
    "previous(mode)", "changed(mode)", "mean(max(x, 5s), 10s) + delta(total(x), 8s)",
    "if(rising(x > 5), mean(x, 3s), default(previous(x), total(x)))",
]  # fmt: skip


def steps(count: int = 300) -> list[tuple[float, dict[str, Any]]]:
    rng, now, found = random.Random(3), 0.0, []
    for _ in range(count):
        now += rng.choice([0.02, 0.1, 1.0, 3.0])
        x = (
            (None, NO_COMMUNICATION)
            if rng.random() < 0.1
            else (rng.randrange(10) / 2, rng.choice([GOOD, GOOD, GOOD, 0x40940000]))
        )
        found.append((now, {"x": x, "mode": rng.choice(["auto", "off"])}))
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_a_program_that_goes_on_elsewhere(text):
    """At each step another program takes over, through JSON: it makes no difference."""
    one, expression = Running(text), checked(text)
    other = Running(text)
    for now, signals in steps():
        expected = one(now, **signals)
        state = json.loads(json.dumps(other.program.dump(), allow_nan=False))
        other.program = expression.program()
        other.program.load(state, stopped=False)
        found = other(now, **signals)
        assert found[1] == expected[1]
        assert type(found[0]) is type(expected[0])
        assert found[0] == (pytest.approx(expected[0], rel=1e-9) if isinstance(expected[0], float) else expected[0])


def restarted(run: Running) -> Running:
    other = Running(run.expression.text)
    other.program.load(json.loads(json.dumps(run.program.dump())))
    return other


def test_time_in_which_nothing_ran_counts_as_without_a_value():
    total, mean, duration = Running("total(x)"), Running("mean(x, 60s)"), Running("duration(on)")
    for now in (0, 10):
        total(now, x=100.0)
        mean(now, x=100.0)
        duration(now, on=True)
    total, mean, duration = restarted(total), restarted(mean), restarted(duration)
    assert total(50, x=40.0) == (1000.0, GOOD)  # 100 for 10 s, and nothing of the 40 s that nobody knows of
    assert total(60, x=40.0) == (1400.0, GOOD)
    assert mean(50, x=40.0) == (100.0, GOOD)
    assert mean(60, x=40.0) == (70.0, GOOD)  # 100 for 10 s, 40 for 10 s
    assert mean(70, x=40.0) == (40.0, GOOD)
    assert duration(50, on=True) == (10.0, GOOD)
    assert duration(60, on=True) == (20.0, GOOD)


def test_an_edge_is_seen_over_a_restart():
    run = Running("rising(on)")
    run(0, on=False)
    assert restarted(run)(100, on=True) == (True, GOOD)
    assert restarted(run)(100, on=False) == (False, GOOD)


def test_a_clock_that_starts_in_the_past_after_a_restart():
    """A box without a battery: time goes on from where it was, and is counted."""
    run = Running("total(x)")
    run(1000, x=1.0)
    run(1010, x=1.0)
    run = restarted(run)
    assert run(5, x=1.0) == (10.0, GOOD)
    assert run(8, x=1.0) == (13.0, GOOD)
    run = restarted(run)
    assert run(2, x=1.0) == (13.0, GOOD)
    assert run(4, x=1.0) == (15.0, GOOD)


def test_before_anything_was_run():
    for text in TEXTS:
        restarted(Running(text))(5, x=1.0, mode="auto")


def test_what_remembers_nothing():
    run = Running("x + 1")
    assert run.program.dump()[4] == []
    assert restarted(run)(0, x=1.0) == (2.0, GOOD)


def test_the_state_of_another_text_or_in_other_units_is_refused():
    run = Running("mean(kw, 60s)")
    run(0, kw=5.0)
    state = run.program.dump()
    for text, kind in (
        ("mean(kw, 61s)", KINDS["kw"]),
        ("mean(kw, 60s)", Kind("float", unit("W"))),
        ("mean(kw, 60s)", Kind("float")),
    ):
        expression = parse(text)
        expression.check(lambda r, kind=kind: kind)
        with pytest.raises(ValueError, match="this is not the state of"):
            expression.program().load(state)


def test_what_was_refused_changes_nothing():
    run = Running("total(x) + mean(x, 60s)")
    run(0, x=1.0)
    run(10, x=1.0)
    state = run.program.dump()
    broken = copy.deepcopy(state)
    broken[4][1] = [1]
    for wrong in (None, 5, "state", [], {}, [1], broken, [2, *state[1:]], [*state, 1], [*state[:3], None, state[4]]):
        with pytest.raises(ValueError, match="this is not the state of"):
            run.program.load(wrong)
    assert run(20, x=1.0) == (21.0, GOOD)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_a_damaged_state_is_refused_or_harmless(text, data):
    """Whatever became of a file: load takes it or raises ValueError, and what runs afterwards never raises."""
    run = Running(text)
    for now, signals in steps(40):
        run(now, **signals)
    state = json.loads(json.dumps(run.program.dump()))
    for _ in range(data.draw(st.integers(1, 3))):
        where = state
        while isinstance(where, list) and where:
            at = data.draw(st.integers(0, len(where) - 1))
            if not isinstance(where[at], list) or data.draw(st.booleans()):
                where[at] = data.draw(JUNK)
                break
            where = where[at]
    other = Running(text)
    with contextlib.suppress(ValueError):
        other.program.load(state)
    for now in (0, 50, 100, 101, 10**6):
        value, quality = other.program.run(
            [{"x": 4.5, "mode": "auto"}[r.signal] for r in other.expression.references],
            [GOOD] * len(other.expression.references),
            now * SECOND,
        )
        assert (value is None) == (quality >= 0x80000000)
