"""A counter goes on when its scale changes, over a reload and over a restart: from the number that left, and not below it."""

import json
from math import ulp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SignalSettings
from gateway.model import COUNTER_RESET, Batch, Header, MachinePath, Signal
from gateway.normalizer import Plan

T = 1_763_789_123_000_000_000
SECOND = 10**9
RAW = Header(MachinePath("m"), (Signal("s", "int", wraps_at=2**32),))


def plan_of(**more: object) -> Plan:
    return Plan(RAW, {"s": SignalSettings.model_validate({"kind": "counter", **more})})


def read(plan: Plan, value: float, second: int) -> float:
    time = T + second * SECOND
    return plan.apply(Batch(RAW, RAW.order, (time,), (value,), None), 1000.0 + second, time).value[0]


def reloaded(before: Plan, **more: object) -> Plan:
    after = plan_of(**more)
    after.take_over(before)
    return after


def restarted(before: Plan, **more: object) -> Plan:
    after = plan_of(**more)
    assert after.load(json.loads(json.dumps(before.dump()))) == []
    return after


@pytest.mark.parametrize("again", [reloaded, restarted])
@pytest.mark.parametrize(
    ("before", "after", "left", "totals"),
    [
        # The register goes on from 5000 to 5001 and 5003.
        ({"scale": 0.1}, {"scale": 0.01}, 500.0, [500.01, 500.03]),
        ({"scale": 0.01}, {"scale": 0.1}, 50.0, [50.1, 50.3]),
        ({"scale": 0.1}, {}, 500.0, [501, 503]),
        ({}, {"scale": 0.1}, 5000, [5000.1, 5000.3]),
        ({"scale": 2}, {"scale": 1000}, 10_000.0, [11_000.0, 13_000.0]),
        ({"unit": "W.h"}, {"unit": "W.h", "store_as": "kW.h"}, 5000, [5.001, 5.003]),  # the same energy
        ({"unit": "kW.h"}, {"unit": "W.h"}, 5000, [5_000_001, 5_000_003]),
        ({"unit": "1"}, {"unit": "kW.h"}, 5000, [5001, 5003]),  # not the same quantity: nobody knows
        ({"scale": 0.1, "offset": 7}, {"scale": 0.1, "offset": -7}, 507.0, [507.1, 507.3]),
        ({"scale": 0.1}, {"scale": 0.1}, 500.0, [500.1, 500.3]),
        ({"scale": 0.1}, {"scale": 1e-6, "offset": 499.9999999999}, 500.0, [500.000001, 500.000003]),
    ],
)
def test_the_total_goes_on_from_the_number_that_left(again, before, after, left, totals):
    plan = plan_of(**before)
    read(plan, 4998, 0)
    assert read(plan, 5000, 1) == pytest.approx(left, abs=1e-9)
    plan = again(plan, **after)
    assert [read(plan, 5001, 2), read(plan, 5003, 3)] == pytest.approx(totals, abs=1e-9)
    assert plan.seen.quality is None


@pytest.mark.parametrize("again", [reloaded, restarted])
def test_all_that_is_remembered_moves_with_it(again):
    """Begun anew at 5002: 5002 + 1 left as 500.3. Then the old count comes back, and another scale with it."""
    plan = plan_of(scale=0.1)
    for t, raw in enumerate([4998, 5000, 5002, 0, 0]):
        read(plan, raw, t)
    plan = again(plan, scale=0.01)
    assert read(plan, 5004, 5) == pytest.approx(500.22)  # 500.2, and two more of a hundredth
    assert read(plan, 5005, 6) == pytest.approx(500.23)


def test_what_was_rounded_up_does_not_fall():
    """4996 are 49.96, which left as 50.0."""
    plan = plan_of(scale=0.01, precision=1)
    assert read(plan, 4996, 0) == 50.0
    assert read(restarted(plan, scale=0.01, precision=2), 4996, 1) == 50.0
    assert read(reloaded(plan, scale=0.001, precision=3), 4997, 1) == 50.001


def test_what_left_after_the_state_was_saved_was_counted_in_the_scale_of_then():
    """Saved at 5000 as 500.0; 503.0 left, of which the register knows 5030. Now it is 5031, and counts in hundredths."""
    plan = plan_of(scale=0.1)
    read(plan, 4990, 0)
    read(plan, 5000, 1)
    after = restarted(plan, scale=0.01)
    after.catch_up("s", 501.0, T + 2 * SECOND)
    after.catch_up("s", 503.0, T + 4 * SECOND)
    assert read(after, 5031, 5) == pytest.approx(503.01)
    assert after.seen.quality is None


def test_what_left_in_another_unit_after_the_state_was_saved():
    """Saved at 5000 W.h; 5030 left. The register is at 5031, and leaves in kW.h now."""
    plan = plan_of(unit="W.h")
    read(plan, 4990, 0)
    read(plan, 5000, 1)
    after = restarted(plan, unit="W.h", store_as="kW.h")
    after.catch_up("s", 5010, T + 2 * SECOND)
    after.catch_up("s", 5030, T + 4 * SECOND)
    assert read(after, 5031, 5) == pytest.approx(5.031)


def test_a_restart_soon_after_a_change_of_scale_counts_once():
    """The state is written down again with the first reading after it: that is noted."""
    plan = plan_of(scale=0.1)
    read(plan, 5000, 1)
    noted = [0]
    after = Plan(RAW, {"s": SignalSettings(kind="counter", scale=0.01)}, noted=noted)
    after.load(plan.dump())
    assert noted == [0]
    read(after, 5001, 2)
    assert noted == [1]
    read(after, 5002, 3)
    assert noted == [1]


def test_a_state_of_before_has_the_scale_it_has_now():
    plan = plan_of(scale=0.1)
    assert plan.load({"s": [5000, T, 0, 2.0, None, 0, 0, 0]}) == []
    assert read(plan, 5002, 2) == 500.2
    assert read(plan, 0, 3) == 500.2
    assert read(plan, 1, 4) == 500.3
    assert plan.seen.quality == [COUNTER_RESET]


@pytest.mark.parametrize("scaling", ["x", [1, 2], [None, None, None, None], [True, None, 0.0, None], {}])
def test_a_scale_that_cannot_be_used_is_named(scaling):
    state = [5000, T, 0, 2.0, None, 0, 0, 0, {"scaling": scaling}]
    assert plan_of().load({"s": state}) == ["s"]


scales = st.one_of(st.just(None), st.sampled_from([0.1, 0.01, 1e-3, 10, 1000, 0.3, 1 / 3, 7.7]), st.floats(1e-6, 1e6))


@given(
    changes=st.lists(st.tuples(scales, st.integers(0, 4), st.booleans()), min_size=1, max_size=6),
    start=st.integers(1, 10**9),
)
@settings(max_examples=200, deadline=None)
def test_it_never_falls_and_counts_what_comes(changes, start):
    """Whatever scale comes after whatever other one."""
    plan, raw, second = plan_of(), start, 0
    last, coarsest = read(plan, raw, second), 0.0
    assert last == start
    for scale, precision, reload in changes:
        more = {} if scale is None else {"scale": scale, "precision": precision}
        plan = (reloaded if reload else restarted)(plan, **more)
        held_to = read(plan, raw, second + 1)
        assert held_to >= last
        step = 1.0 if scale is None else 10.0**-precision
        coarsest = max(coarsest, step)
        assert held_to - last <= 2.01 * coarsest + 2 * ulp(raw) * (scale or 1)
        for count in (1, 2, 5):
            raw, second = raw + count, second + 10
            now = read(plan, raw, second)
            assert now - held_to == pytest.approx(count * (scale or 1), abs=step + 1e-9 * now)
            assert now >= held_to
            held_to = now
        last = now
