"""What a plan does to readings; expected values worked out by hand."""

import math

import pytest

from gateway.config import SignalSettings
from gateway.model import (
    GOOD,
    NO_COMMUNICATION,
    NOT_A_NUMBER,
    NOT_AVAILABLE,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    STALE,
    UNKNOWN_STATE,
    WAITING_FOR_DATA,
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
    value = plan.apply(batch(header, raw), 1.0, T + 10**9).value[0]
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
    out = plan.apply(batch(header, -0.1, 400.1, 400.0), 1.0, T + 10**9)
    assert out.value == [-0.1, 400.1, 400.0]
    assert out.quality == [OUT_OF_RANGE, OUT_OF_RANGE, GOOD]


def test_the_range_is_that_of_the_scaled_value():
    plan, header = plan_of(s=("int", {"scale": 0.1, "range": [0, 40]}))
    assert plan.apply(batch(header, 399), 1.0, T + 10**9).quality is None
    assert plan.apply(batch(header, 401), 2.0, T + 10**9).quality == [OUT_OF_RANGE]


def told(settings: dict[str, object]) -> Signal:
    """A signal of which the machine itself tells the range of its raw values: 0 to 27648."""
    raw = Header(MachinePath("m"), (Signal("s", "int", low=0.0, high=27648.0), Signal("f", "int")))
    plan = Plan(raw, {"s": SignalSettings(**settings), "f": SignalSettings()})
    return plan.header.signals[0]


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({}, 0.0, 27648.0),
        ({"scale": 0.1, "offset": -40}, -40.0, 2724.8),
        ({"scale": -0.5}, -13824.0, 0.0),
        ({"scale": 0.1, "range": [0, 400]}, 0.0, 400.0),
        ({"scale_from": "f"}, None, None),
    ],
)
def test_a_range_that_the_machine_tells_is_that_of_its_raw_values(settings, low, high):
    signal = told(settings)
    assert (signal.low, signal.high) == (low, high)


def test_a_deadband_in_percent_is_a_part_of_the_range():
    raw = Header(MachinePath("m"), (Signal("s", "float", low=0.0, high=200.0),))
    for more in ({"range": [0, 200]}, {"unit": "from-server"}):
        plan = Plan(raw, {"s": SignalSettings(report="change", deadband="1%", **more)})
        sent = [plan.apply(batch(raw, value), 1.0, T) for value in (10.0, 11.9, 12.1, 10.2, 10.0)]
        assert [None if each is None else each.value[0] for each in sent] == [10.0, None, 12.1, None, 10.0]


def test_what_was_changes_nothing_that_is():
    plan, raw = plan_of(s=("int", {"report": "change", "scale": 0.1}))
    assert plan.apply(batch(raw, 10), 1.0, T).value == [1.0]
    past = plan.past(Batch(raw, [0, 0], [T - 2000, T - 1000], [50, 60], None, historical=True))
    assert (past.value, past.historical) == ([5.0, 6.0], True)
    assert plan.apply(batch(raw, 10), 2.0, T + 1) is None, "it is what was said last"
    plan.lost(0x808A0000, 3.0, T + 2)
    plan.past(Batch(raw, [0], [T - 3000], [70], None, historical=True))
    assert plan.bad, "a reading of the past does not bring a signal back"


def test_an_event_is_not_bad_when_the_link_is():
    raw = Header(MachinePath("m"), (Signal("speed", "float"), Signal("alarm_message", "string", kind="event")))
    plan = Plan(raw, {"speed": SignalSettings(), "alarm_message": SignalSettings()})
    marks = plan.lost(0x808A0000, 1.0, T)
    assert list(marks.signal) == [0]
    assert plan.lasting == 1


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_quality_and_its_neighbours_stay(broken):
    plan, header = plan_of(a=("float", {}), b=("float", {"scale": 2}), c=("int", {}))
    out = plan.apply(batch(header, broken, 1.5, 7), 1.0, T + 10**9)
    assert out.value == [None, 3.0, 7]
    assert out.quality == [NOT_A_NUMBER, GOOD, GOOD]


def test_an_overflowing_sum_of_good_values_is_no_broken_value():
    plan, header = plan_of(a=("float", {}), b=("float", {}))
    out = plan.apply(batch(header, 1.7e308, 1.7e308), 1.0, T + 10**9)
    assert out.value == [1.7e308, 1.7e308]
    assert out.quality is None


def test_enum():
    plan, header = plan_of(
        mode=("int", {"enum": {0: "off", 3: "auto"}}), lamp=("bool", {"enum": {0: "dark", 1: "lit"}})
    )
    assert plan.apply(batch(header, 3, True), 1.0, T + 10**9).value == ["auto", "lit"]
    out = plan.apply(batch(header, 9, False), 2.0, T + 10**9)
    assert out.value == ["9", "dark"]
    assert out.quality == [UNKNOWN_STATE, GOOD]


def test_a_bad_reading_is_sent_once_and_has_no_value():
    plan, header = plan_of(a=("float", {"scale": 2}), b=("float", {}))
    bad = batch(header, None, 1.0, quality=[NO_COMMUNICATION, GOOD])
    first, again, back = (
        plan.apply(bad, 1.0, T + 10**9),
        plan.apply(bad, 2.0, T + 10**9),
        plan.apply(batch(header, 4.0, 1.0), 3.0, T + 10**9),
    )
    assert (first.value, first.quality) == ([None, 1.0], [NO_COMMUNICATION, GOOD])
    assert (list(again.signal), list(again.value)) == ([1], [1.0])
    assert (back.value, back.quality) == ([8.0, 1.0], None)
    assert plan.bad == {}


def test_report_change_sends_what_changed_beyond_the_deadband():
    change = {"report": "change", "heartbeat": "60s"}
    plan, header = plan_of(a=("float", {**change, "deadband": 0.5}), b=("int", change), c=("float", {}))
    sent = [
        plan.apply(batch(header, *values), float(i), T + 10**9)
        for i, values in enumerate([(10.0, 1, 0.0), (10.5, 1, 0.0), (10.6, 2, 0.0)])
    ]
    assert [list(out.signal) for out in sent] == [[0, 1, 2], [2], [0, 1, 2]]
    # Measured from the last value sent (10.0), not from the last one read: slow drift is seen.
    assert sent[2].value == [10.6, 2, 0.0]


def test_report_change_sends_everything_at_the_heartbeat_and_after_forgetting():
    plan, header = plan_of(a=("int", {"report": "change", "heartbeat": "60s"}))
    assert plan.apply(batch(header, 5), 0.0, T + 10**9) is not None
    assert plan.apply(batch(header, 5), 59.0, T + 10**9) is None
    assert plan.apply(batch(header, 5), 60.0, T + 10**9) is not None
    assert plan.apply(batch(header, 5), 61.0, T + 10**9) is None
    plan.forget()
    assert plan.apply(batch(header, 5), 62.0, T + 10**9) is not None


def test_nan_that_stays_is_no_change():
    plan, header = plan_of(a=("float", {"report": "change"}))
    assert plan.apply(batch(header, math.nan), 0.0, T + 10**9).quality == [NOT_A_NUMBER]
    assert plan.apply(batch(header, math.nan), 1.0, T + 10**9) is None


def test_stale_without_a_sign_of_life_but_not_with_one():
    plan, header = plan_of(quick=("int", {"stale_after": "10s"}), slow=("int", {"stale_after": "10s", "poll": "60s"}))
    assert plan.stale(100.0, T) is None  # never read: not connected says more
    plan.apply(batch(header, 1, 1), 100.0, T + 10**9)
    assert plan.stale(109.0, T) is None
    plan.alive(109.0)
    assert plan.stale(118.0, T) is None
    out = plan.stale(119.5, T)
    # One that is polled once a minute has missed nothing yet.
    assert (list(out.signal), out.value, out.quality, out.time) == ([0], [None], [STALE], [T])
    assert plan.stale(120.0, T) is None
    assert plan.apply(batch(header, 1, 1), 121.0, T + 10**9).quality is None


def test_part_of_the_signals():
    plan, header = plan_of(a=("int", {}), b=("int", {"scale": 0.5}), c=("int", {"enum": {1: "on"}}))
    out = plan.apply(Batch(header, (1, 2), (T, T), (3, 1), None), 1.0, T)
    assert (list(out.signal), out.value) == ([1, 2], [1.5, "on"])


def test_an_unscaled_batch_of_all_signals_keeps_the_order_by_identity():
    plan, header = plan_of(a=("int", {}))
    assert plan.apply(batch(header, 1), 1.0, T + 10**9).signal is plan.header.order


def test_what_the_server_says_is_kept():
    raw = Header(MachinePath("m"), (Signal("s", "float", unit="bar", low=0.0, high=9.0),))
    plan = Plan(raw, {"s": SignalSettings(unit="from-server")})
    assert (plan.header.signals[0].unit, plan.header.signals[0].high) == ("bar", 9.0)


def test_what_overflows_by_scaling_is_no_number():
    plan, header = plan_of(s=("float", {"scale": 1000}), t=("int", {"scale": 2}))
    out = plan.apply(batch(header, 1e307, 3), 1.0, T)
    assert (out.value, out.quality) == ([None, 6.0], [NOT_A_NUMBER, GOOD])


def test_a_lost_link_ends_with_the_first_reading_even_if_its_stamp_is_older():
    """A server repeats an unchanged value with its old stamp: in the store it has to come after the mark."""
    plan, header = plan_of(a=("int", {}), b=("int", {}))
    plan.apply(batch(header, 5, 6), 1.0, T)
    mark = plan.lost(NOT_CONNECTED, 2.0, T + 10**9)
    assert (mark.quality, mark.time) == ([NOT_CONNECTED] * 2, [T + 10**9] * 2)
    assert plan.lost(NOT_CONNECTED, 3.0, T + 2 * 10**9) is None
    back = plan.apply(Batch(header, header.order, (T, T + 3 * 10**9), (5, 6), None), 4.0, T + 4 * 10**9)
    assert (list(back.time), back.quality) == ([T + 4 * 10**9, T + 3 * 10**9], None)
    assert list(plan.apply(batch(header, 5, 6), 5.0, T + 5 * 10**9).time) == [T, T]


def test_bad_readings_come_again_at_the_heartbeat_of_report_change():
    plan, header = plan_of(a=("int", {"report": "change", "heartbeat": "60s"}))
    bad = batch(header, None, quality=[NO_COMMUNICATION])
    assert [plan.apply(bad, now, T) is not None for now in (0.0, 30.0, 60.0, 90.0)] == [True, False, True, False]


def test_a_signal_that_stays_bad_is_left_out_and_comes_back():
    plan, header = plan_of(a=("int", {}), b=("int", {}), c=("int", {"range": [0, 5]}))

    def sent(*values: object, quality: list[int] | None = None) -> tuple[list[int], list[object], object] | None:
        out = plan.apply(batch(header, *values, quality=quality), 1.0, T)
        return (
            None
            if out is None
            else (list(out.signal), list(out.value), None if out.quality is None else list(out.quality))
        )

    bad = [NO_COMMUNICATION, GOOD, GOOD]
    assert sent(None, 1, 2, quality=bad) == ([0, 1, 2], [None, 1, 2], bad)
    for value in (3, 4):
        assert sent(None, value, 2, quality=bad) == ([1, 2], [value, 2], [GOOD, GOOD])
    assert sent(None, 4, 9, quality=bad) == ([1, 2], [4, 9], [GOOD, OUT_OF_RANGE])
    assert sent(7, 4, 2) == ([0, 1, 2], [7, 4, 2], None)
    assert sent(None, None, None, quality=[NO_COMMUNICATION] * 3)[0] == [0, 1, 2]
    for _ in range(3):
        assert sent(None, None, None, quality=[NO_COMMUNICATION] * 3) is None
    assert sent(7, None, None, quality=[GOOD, NO_COMMUNICATION, NO_COMMUNICATION]) == ([0], [7], [GOOD])


def test_a_header_made_anew_changes_nothing():
    plan, header = plan_of(a=("int", {"report": "change"}))
    plan.apply(batch(header, 5), 0.0, T)
    again = Header(header.path, header.signals)
    assert plan.follow(again)
    assert plan.apply(batch(again, 5), 1.0, T) is None
    assert plan.apply(batch(again, 6), 2.0, T).signal is plan.header.order
    assert not plan.follow(Header(header.path, (Signal("a", "float"),)))


# --- scale factors in another signal ---------------------------------------------------------------------------------


def sunspec(**more):
    """SunSpec: the value is a whole number times ten to the power of another register."""
    return plan_of(a=("int", {"scale_from": "a_sf", **more}), a_sf=("int", {}))


def test_a_power_of_ten_from_another_signal():
    plan, header = sunspec()
    assert [s.type for s in plan.header.signals] == ["float", "int"]
    for raw, power, value in ((2304, -1, 230.4), (2304, 0, 2304.0), (23, 2, 2300.0), (-7, -3, -0.007)):
        assert plan.apply(batch(header, raw, power), 1.0, T).value == [value, power]


@pytest.mark.parametrize(
    ("power", "quality", "reason"), [(None, [GOOD, NOT_AVAILABLE], NOT_AVAILABLE), (99, None, NOT_AVAILABLE)]
)
def test_without_a_power_of_ten_there_is_no_value(power, quality, reason):
    plan, header = sunspec()
    out = plan.apply(batch(header, 2304, power, quality=quality), 1.0, T)
    assert out.value[0] is None
    assert out.quality[0] == reason
    assert plan.apply(batch(header, 2304, -1), 2.0, T).value == [230.4, -1]


def test_a_power_of_ten_may_be_read_at_another_rate():
    plan, header = sunspec()
    value, factor = (0,), (1,)
    assert plan.apply(Batch(header, value, (T,), (2304,), None), 1.0, T).quality == [WAITING_FOR_DATA]
    plan.apply(Batch(header, factor, (T,), (-1,), None), 1.0, T)
    raw = (2304,)
    assert plan.apply(Batch(header, value, (T,), raw, None), 2.0, T).value == [230.4]
    plan.apply(Batch(header, factor, (T,), (-2,), None), 3.0, T)
    # The very same columns as before, and yet another value.
    assert plan.apply(Batch(header, value, (T,), raw, None), 4.0, T).value == [23.04]


def test_scale_and_offset_come_after_the_power_of_ten():
    plan, header = sunspec(scale=0.5, offset=1)
    assert plan.apply(batch(header, 2304, -1), 1.0, T).value == [116.2, -1]


# --- the same values again -------------------------------------------------------------------------------------------


def test_the_same_values_are_not_worked_out_again_and_yet_sent_when_due():
    plan, header = plan_of(
        a=("int", {"scale": 0.1, "report": "change", "deadband": 0.5, "heartbeat": "60s"}),
        b=("int", {"report": "change", "heartbeat": "30s"}),
    )
    values = (100, 1)
    every = Batch(header, header.order, (T, T), values, None)
    sent = [plan.apply(every, now, T + 10**9) for now in (0.0, 1.0, 29.9, 30.0, 31.0, 60.0, 61.0)]
    assert [out and [*zip(out.signal, out.value, strict=True)] for out in sent] == [
        [(0, 10.0), (1, 1)], None, None, [(1, 1)], None, [(0, 10.0), (1, 1)], None,
    ]  # fmt: skip
    assert plan.seen.value == [10.0, 1]
    plan.lost(NO_COMMUNICATION, 62.0, T)
    assert plan.apply(every, 63.0, T + 10**9).value == [10.0, 1]
