"""What a plan does to readings; expected values worked out by hand."""

import math

import pytest

from gateway.config import SignalSettings
from gateway.model import (
    GOOD,
    NO_COMMUNICATION,
    NOT_A_NUMBER,
    OUT_OF_RANGE,
    STALE,
    UNKNOWN_STATE,
    Batch,
    Header,
    MachinePath,
    Signal,
)
from gateway.normalizer import Plan

T = 1_763_789_123_123_456_000


def plan_of(**signals: tuple[str, dict[str, object]]) -> tuple[Plan, Header]:
    """A plan and the adapter's header, from name=(raw type, settings)."""
    raw = Header(MachinePath("m"), tuple(Signal(name, kind) for name, (kind, _) in signals.items()))
    return Plan(raw, {name: SignalSettings(**settings) for name, (_, settings) in signals.items()}), raw


def batch(raw: Header, *values: object, quality: list[int] | None = None) -> Batch:
    return Batch(raw, raw.order, (T,) * len(values), list(values), quality)


@pytest.mark.parametrize(
    ("settings", "raw", "expected"),
    [
        ({"scale": 0.1}, 213, 21.3),  # and not 21.300000000000001
        ({"scale": 0.001}, 230_456, 230.456),
        ({"scale": 10}, 213, 2130.0),
        ({"scale": 0.1, "offset": -40}, 612, 61.2 - 40),
        ({"offset": 0.5}, 2, 2.5),
        ({"scale": 0.25}, 7, 1.75),
        ({"scale": 0.3}, 10, 3.0),
        ({"scale": -0.1}, 55, -5.5),
        ({}, 2**63 + 1, 2**63 + 1),  # an integer that no double holds leaves exactly
    ],
)
def test_scale_and_offset(settings, raw, expected):
    plan, header = plan_of(s=("int", settings))
    value = plan.apply(batch(header, raw), 1.0).value[0]
    assert value == expected
    assert type(value) is type(expected)


def test_types_as_they_leave():
    plan, _ = plan_of(
        plain=("int", {}), scaled=("int", {"scale": 0.1}), state=("int", {"enum": {0: "off"}}), flag=("bool", {})
    )
    assert [s.type for s in plan.header.signals] == ["int", "float", "string", "bool"]


def test_values_outside_the_range_keep_their_value_and_are_uncertain():
    plan, header = plan_of(
        low=("float", {"range": [0, 400]}), high=("float", {"range": [0, 400]}), ok=("float", {"range": [0, 400]})
    )
    out = plan.apply(batch(header, -0.1, 400.1, 400.0), 1.0)
    assert out.value == [-0.1, 400.1, 400.0]
    assert out.quality == [OUT_OF_RANGE, OUT_OF_RANGE, GOOD]


def test_the_range_is_that_of_the_scaled_value():
    plan, header = plan_of(s=("int", {"scale": 0.1, "range": [0, 40]}))
    assert plan.apply(batch(header, 399), 1.0).quality is None
    assert plan.apply(batch(header, 401), 2.0).quality == [OUT_OF_RANGE]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_quality_and_its_neighbours_stay(broken):
    plan, header = plan_of(a=("float", {}), b=("float", {"scale": 2}), c=("int", {}))
    out = plan.apply(batch(header, broken, 1.5, 7), 1.0)
    assert out.value == [None, 3.0, 7]
    assert out.quality == [NOT_A_NUMBER, GOOD, GOOD]


def test_an_overflowing_sum_of_good_values_is_no_broken_value():
    plan, header = plan_of(a=("float", {}), b=("float", {}))
    out = plan.apply(batch(header, 1.7e308, 1.7e308), 1.0)
    assert out.value == [1.7e308, 1.7e308]
    assert out.quality is None


def test_enum():
    plan, header = plan_of(
        mode=("int", {"enum": {0: "off", 3: "auto"}}), lamp=("bool", {"enum": {0: "dark", 1: "lit"}})
    )
    assert plan.apply(batch(header, 3, True), 1.0).value == ["auto", "lit"]
    out = plan.apply(batch(header, 9, False), 2.0)
    assert out.value == ["9", "dark"]
    assert out.quality == [UNKNOWN_STATE, GOOD]


def test_a_bad_reading_is_sent_once_and_has_no_value():
    plan, header = plan_of(a=("float", {"scale": 2}), b=("float", {}))
    bad = batch(header, None, 1.0, quality=[NO_COMMUNICATION, GOOD])
    first, again, back = plan.apply(bad, 1.0), plan.apply(bad, 2.0), plan.apply(batch(header, 4.0, 1.0), 3.0)
    assert (first.value, first.quality) == ([None, 1.0], [NO_COMMUNICATION, GOOD])
    assert (again.signal, again.value) == ([1], [1.0])
    assert (back.value, back.quality) == ([8.0, 1.0], None)
    assert plan.bad == {}


def test_report_change_sends_what_changed_beyond_the_deadband():
    change = {"report": "change", "heartbeat": "60s"}
    plan, header = plan_of(a=("float", {**change, "deadband": 0.5}), b=("int", change), c=("float", {}))
    sent = [
        plan.apply(batch(header, *values), float(i))
        for i, values in enumerate([(10.0, 1, 0.0), (10.5, 1, 0.0), (10.6, 2, 0.0)])
    ]
    assert [list(out.signal) for out in sent] == [[0, 1, 2], [2], [0, 1, 2]]
    # Measured from the last value sent (10.0), not from the last one read: slow drift is seen.
    assert sent[2].value == [10.6, 2, 0.0]


def test_report_change_sends_everything_at_the_heartbeat_and_after_forgetting():
    plan, header = plan_of(a=("int", {"report": "change", "heartbeat": "60s"}))
    assert plan.apply(batch(header, 5), 0.0) is not None
    assert plan.apply(batch(header, 5), 59.0) is None
    assert plan.apply(batch(header, 5), 60.0) is not None
    assert plan.apply(batch(header, 5), 61.0) is None
    plan.forget()
    assert plan.apply(batch(header, 5), 62.0) is not None


def test_nan_that_stays_is_no_change():
    plan, header = plan_of(a=("float", {"report": "change"}))
    assert plan.apply(batch(header, math.nan), 0.0).quality == [NOT_A_NUMBER]
    assert plan.apply(batch(header, math.nan), 1.0) is None


def test_stale_without_a_sign_of_life_but_not_with_one():
    plan, header = plan_of(quick=("int", {"stale_after": "10s"}), slow=("int", {"stale_after": "10s", "poll": "60s"}))
    assert plan.stale(100.0, T) is None  # never read: not connected says more
    plan.apply(batch(header, 1, 1), 100.0)
    assert plan.stale(109.0, T) is None
    plan.alive(109.0)
    assert plan.stale(118.0, T) is None
    out = plan.stale(119.5, T)
    # One that is polled once a minute has missed nothing yet.
    assert (list(out.signal), out.value, out.quality, out.time) == ([0], [None], [STALE], [T])
    assert plan.stale(120.0, T) is None
    assert plan.apply(batch(header, 1, 1), 121.0).quality is None


def test_part_of_the_signals():
    plan, header = plan_of(a=("int", {}), b=("int", {"scale": 0.5}), c=("int", {"enum": {1: "on"}}))
    out = plan.apply(Batch(header, (1, 2), (T, T), (3, 1), None), 1.0)
    assert (list(out.signal), out.value) == ([1, 2], [1.5, "on"])


def test_an_unscaled_batch_of_all_signals_keeps_the_order_by_identity():
    plan, header = plan_of(a=("int", {}))
    assert plan.apply(batch(header, 1), 1.0).signal is plan.header.order


def test_what_the_server_says_is_kept():
    raw = Header(MachinePath("m"), (Signal("s", "float", unit="bar", low=0.0, high=9.0),))
    plan = Plan(raw, {"s": SignalSettings(unit="from-server")})
    assert (plan.header.signals[0].unit, plan.header.signals[0].high) == ("bar", 9.0)
