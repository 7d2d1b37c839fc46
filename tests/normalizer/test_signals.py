"""What can be said of a signal beyond scale and range; expected values worked out by hand."""

import pytest

from adapters.modbus.signals import ModbusSignal
from gateway.config import SignalSettings
from gateway.model import (
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    FLAT_LINE,
    GOOD,
    IMPLAUSIBLE_RATE,
    INVALID_DATA,
    NO_COMMUNICATION,
    NOT_A_NUMBER,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    Batch,
    Header,
    MachinePath,
    Signal,
)
from gateway.normalizer import Plan

T = 1_763_789_123_000_000_000
SECOND = 10**9


def plan_of(type_: str = "int", **settings: object) -> tuple[Plan, Header]:
    raw = Header(MachinePath("m"), (Signal("s", type_),))
    return Plan(raw, {"s": SignalSettings(**settings)}), raw


def read(plan: Plan, raw: Header, value: object, second: float, quality: int = GOOD) -> Batch | None:
    time = T + round(second * SECOND)
    return plan.apply(Batch(raw, raw.order, (time,), (value,), [quality] if quality else None), 1000 + second, time)


def one(type_: str, raw_value: object, **settings: object) -> tuple[object, int]:
    plan, raw = plan_of(type_, **settings)
    batch = read(plan, raw, raw_value, 0)
    return batch.value[0], batch.quality[0] if batch.quality else GOOD


@pytest.mark.parametrize(
    ("raw_range", "scaled_range", "raw", "value"),
    [
        ([0, 27648], [0, 250], 13824, 125.0),  # an analogue input of a PLC
        ([0, 27648], [0, 250], 27648, 250.0),
        ([4, 20], [-50, 150], 12, 50.0),  # 4 to 20 mA
        ([4, 20], [100, 0], 8, 75.0),  # falling
        ([0, 27648], [0, 250], 30000, 271.267),  # without `clamp` the line goes on
    ],
)
def test_raw_range(raw_range, scaled_range, raw, value):
    found, quality = one("int", raw, raw_range=raw_range, scaled_range=scaled_range)
    assert found == pytest.approx(value, abs=1e-3)
    assert quality == GOOD


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(30000, (250.0, OUT_OF_RANGE)), (-5, (0.0, OUT_OF_RANGE)), (27648, (250.0, GOOD)), (0, (0.0, GOOD))],
)
def test_clamp_holds_a_value_at_the_end_and_says_so(raw, expected):
    assert one("int", raw, raw_range=[0, 27648], scaled_range=[0, 250], clamp=True) == expected


def test_the_ends_of_a_range_belong_to_it_whatever_floats_make_of_them():
    for raw in (0, 27648):
        settings = {"raw_range": [0, 27648], "scaled_range": [0.1, 0.7], "range": [0.1, 0.7]}
        assert one("int", raw, **settings)[1] == GOOD


@pytest.mark.parametrize(
    ("unit", "store_as", "scale", "raw", "value"),
    [
        ("[degF]", "Cel", None, 212, 100.0),
        ("Cel", "K", 0.1, 250, 298.15),
        ("W.h", "kW.h", None, 123_456, 123.456),
        ("[psi]", "bar", None, 100, 6.894757),
        ("bar", "MPa", 0.01, 1500, 1.5),
        ("1/min", "Hz", None, 3000, 50.0),
    ],
)
def test_store_as(unit, store_as, scale, raw, value):
    settings = {"unit": unit, "store_as": store_as} | ({} if scale is None else {"scale": scale})
    plan, header = plan_of("int", **settings)
    batch = read(plan, header, raw, 0)
    assert batch.value[0] == pytest.approx(value, rel=1e-6)
    assert (plan.header.signals[0].unit, plan.header.signals[0].type) == (store_as, "float")


def test_store_as_turns_range_deadband_and_rate():
    plan, raw = plan_of("int", unit="[degF]", store_as="Cel", range=[32, 212], report="change", deadband=9, max_rate=18)
    signal = plan.header.signals[0]
    assert (signal.low, signal.high) == pytest.approx((0.0, 100.0))
    assert read(plan, raw, 50, 0).value[0] == pytest.approx(10.0)
    assert read(plan, raw, 58, 1) is None  # 8 degF, which is 4.4 Cel: within 9 degF
    assert read(plan, raw, 61, 2).quality is None  # 11 from the last one sent, 3 in a second
    assert read(plan, raw, 213, 100).quality == [OUT_OF_RANGE]
    assert read(plan, raw, 193, 101).quality == [IMPLAUSIBLE_RATE]  # 20 degF in a second, 18 are possible


def test_precision():
    assert one("float", 21.349999, precision=1) == (21.3, GOOD)
    assert one("int", 213, scale=0.013, precision=2) == (2.77, GOOD)
    assert one("int", 1234, precision=-2) == (1200, GOOD)


def test_a_change_that_is_too_fast():
    plan, raw = plan_of("float", max_rate=5.0)
    found = [read(plan, raw, value, t) for t, value in enumerate([20.0, 24.9, 80.0, 25.0, 25.1])]
    assert [b.quality for b in found] == [None, None, [IMPLAUSIBLE_RATE], [IMPLAUSIBLE_RATE], None]
    assert found[2].value == [80.0]  # it is what the machine said


def test_a_value_that_does_not_move_at_all():
    plan, raw = plan_of("float", flat_after="30s")
    assert read(plan, raw, 20.0, 0).quality is None
    assert read(plan, raw, 20.0, 30).quality is None
    assert read(plan, raw, 20.0, 31).quality == [FLAT_LINE]
    assert read(plan, raw, 20.1, 32).quality is None


def test_a_block_that_is_the_same_object_again_goes_flat_too():
    """The adapter hands over the very same tuple while nothing changes."""
    plan, raw = plan_of("float", flat_after="30s")
    values = (20.0,)
    found = [plan.apply(Batch(raw, raw.order, (T + t * SECOND,), values, None), t, T + t * SECOND) for t in (0, 10, 40)]
    assert [b.quality for b in found] == [None, None, [FLAT_LINE]]


def test_a_counter_is_corrected_before_it_is_scaled():
    plan, raw = plan_of("int", kind="counter", scale=0.1, unit="kW.h", rollover=1000)
    found = [read(plan, raw, value, t) for t, value in enumerate([996, 998, 3, 5])]
    assert [b.value[0] for b in found] == [99.6, 99.8, 100.3, 100.5]


def test_a_reset_is_uncertain_once():
    plan, raw = plan_of("int", kind="counter")
    found = [read(plan, raw, value, t) for t, value in enumerate([50, 52, 0, 1, 1, 1])]
    assert [b.value[0] for b in found] == [50, 52, 52, 53, 53, 53]
    assert [b.quality for b in found] == [None, None, [COUNTER_UNSETTLED], [COUNTER_RESET], None, None]


def test_a_counter_of_whole_numbers_stays_one_when_it_goes_round():
    plan, raw = plan_of("int", kind="counter", rollover=10_000)
    found = [read(plan, raw, value, t).value[0] for t, value in enumerate([9998, 9999, 3])]
    assert found == [9998, 9999, 10_003]
    assert all(type(value) is int for value in found)


def test_a_count_that_is_no_number_has_no_value_and_costs_none():
    plan, raw = plan_of("float", kind="counter")
    found = [read(plan, raw, value, t) for t, value in enumerate([float("nan"), 100.0, float("inf"), 101.0])]
    assert [b.value[0] for b in found] == [None, 100.0, None, 101.0]
    assert [b.quality for b in found] == [[NOT_A_NUMBER], None, [NOT_A_NUMBER], None]


@pytest.mark.parametrize(
    ("type_", "wraps_at", "half"),
    [("int8", None, 2**7), ("int16", None, 2**15), ("int32", None, 2**31), (None, 2**15, 2**15), (None, 2**31, 2**31)],
)
def test_a_counter_of_a_type_with_a_sign_goes_on_below_0(type_, wraps_at, half):
    """Type from the configuration (Modbus), or told by the server (OPC UA). The bits of -32768 are those of 32768."""
    settings = (
        SignalSettings(kind="counter")
        if type_ is None
        else ModbusSignal.model_validate({"holding": 0, "type": type_, "kind": "counter"})
    )
    raw = Header(MachinePath("m"), (Signal("s", "int", wraps_at=wraps_at),))
    plan = Plan(raw, {"s": settings})
    found = [read(plan, raw, value, t) for t, value in enumerate([half - 4, half - 2, -half, 2 - half])]
    assert [b.value[0] for b in found] == [half - 4, half - 2, half, half + 2]
    assert [b.quality for b in found] == [None] * 4


@pytest.mark.parametrize("type_", ["uint16", "int16"])
def test_a_rollover_is_that_of_the_digits_and_not_of_the_type(type_):
    signal = ModbusSignal.model_validate({"holding": 0, "type": type_, "kind": "counter", "rollover": 10_000})
    assert (signal.wraps_at, signal.rollover) == (10_000, 10_000)
    raw = Header(MachinePath("m"), (Signal("s", "int"),))
    plan = Plan(raw, {"s": signal})
    found = [read(plan, raw, value, t).value[0] for t, value in enumerate([9996, 9998, 1, -1, 2])]
    assert found == [9996, 9998, 10_001, None, 10_002]


def test_a_total_beyond_64_bits_cannot_leave():
    plan, raw = plan_of("int", kind="counter", rollover=2**64)
    assert read(plan, raw, 2**64 - 2, 0).value == [2**64 - 2]
    assert read(plan, raw, 3, 1).quality == [INVALID_DATA]


def test_a_counter_goes_on_with_another_plan():
    plan, raw = plan_of("int", kind="counter", scale=0.1)
    for t, value in enumerate([50, 52, 0, 1]):
        read(plan, raw, value, t)
    again, raw = plan_of("int", kind="counter", scale=0.1)
    assert again.load(plan.dump()) == []
    again.catch_up("s", 5.6, T + 10 * SECOND)  # 4 in the register now
    assert read(again, raw, 7, 11).value == [5.9]


def test_a_broken_state_is_named():
    plan, _ = plan_of("int", kind="counter")
    assert plan.load({"s": ["nonsense"], "gone": []}) == ["s"]


def test_a_scale_factor_that_moves_is_no_reset():
    """SunSpec: WH is 9999 with a factor of 1, then 1000 with a factor of 2."""
    raw = Header(MachinePath("m"), (Signal("WH", "int"), Signal("WH_SF", "int")))
    plan = Plan(raw, {"WH": SignalSettings(kind="counter", scale_from="WH_SF"), "WH_SF": SignalSettings()})
    found = [
        plan.apply(Batch(raw, raw.order, (T + t * SECOND,) * 2, values, None), t, T + t * SECOND)
        for t, values in enumerate([(9998, 1), (9999, 1), (1000, 2), (1001, 2)])
    ]
    assert [b.value[0] for b in found] == [99_980.0, 99_990.0, 100_000.0, 100_100.0]
    assert [b.quality for b in found] == [None] * 4


def test_the_swinging_door_sends_corners_with_their_own_time():
    plan, raw = plan_of("float", report="swinging-door", deadband=0.5, heartbeat="1h")
    found = [read(plan, raw, value, t) for t, value in enumerate([0.0, 1.0, 2.0, 3.0, 3.0, 3.0])]
    assert [b and (list(b.time), list(b.value)) for b in found] == [
        ([T], [0.0]), None, None, None, ([T + 3 * SECOND], [3.0]), None
    ]  # fmt: skip
    held = plan.flush()
    assert (list(held.time), held.value) == ([T + 5 * SECOND], [3.0])
    assert plan.flush() is None


def test_the_swinging_door_gives_away_what_it_holds_when_quality_ends_the_line():
    plan, raw = plan_of("float", report="swinging-door", deadband=0.5, heartbeat="1h")
    read(plan, raw, 0.0, 0)
    read(plan, raw, 0.1, 1)
    bad = read(plan, raw, None, 2, NO_COMMUNICATION)
    assert (list(bad.time), bad.value) == ([T + SECOND, T + 2 * SECOND], [0.1, None])
    assert bad.quality == [GOOD, NO_COMMUNICATION]
    read(plan, raw, 0.2, 3)
    read(plan, raw, 0.3, 4)
    gone = plan.lost(NOT_CONNECTED, 1005.0, T + 5 * SECOND)
    assert (list(gone.time), gone.value, gone.quality) == (
        [T + 4 * SECOND, T + 5 * SECOND], [0.3, None], [GOOD, NOT_CONNECTED]
    )  # fmt: skip


def test_the_swinging_door_is_silent_for_a_heartbeat_at_the_most():
    plan, raw = plan_of("float", report="swinging-door", deadband=0.5, heartbeat="10s")
    sent = [t for t in range(31) if read(plan, raw, 1.0, t) is not None]
    assert sent == [0, 10, 20, 30]


def test_a_server_that_does_not_repeat_itself_is_repeated_at_the_heartbeat():
    plan, raw = plan_of("float", report="change", heartbeat="10s", stale_after="5s")
    read(plan, raw, 1.5, 0)
    beats = []
    for t in range(1, 31):
        plan.alive(1000 + t)  # keep-alives of the subscription
        if (beat := plan.beat(1000 + t, T + t * SECOND)) is not None:
            beats.append((t, list(beat.value)))
    assert beats == [(12, [1.5]), (22, [1.5])]  # a heartbeat, and two polls that might have told


def test_nothing_is_repeated_that_nobody_confirms():
    plan, raw = plan_of("float", report="change", heartbeat="10s", stale_after="5s")
    read(plan, raw, 1.5, 0)
    assert plan.beat(1020.0, T + 20 * SECOND) is None  # no sign of life
    plan.stale(1020.0, T + 20 * SECOND)
    plan.alive(1021.0)
    assert plan.beat(1040.0, T + 40 * SECOND) is None  # and it is bad since


def test_a_heartbeat_can_be_wanted_with_every_reading():
    plan, raw = plan_of("float", heartbeat="10s")
    read(plan, raw, 1.5, 0)
    plan.alive(1013.0)
    assert plan.beat(1013.0, T + 13 * SECOND).value == [1.5]
    plan, raw = plan_of("float")
    read(plan, raw, 1.5, 0)
    plan.alive(1100.0)
    assert plan.beat(1100.0, T + 100 * SECOND) is None


def test_what_is_known_of_a_signal_leaves_with_it():
    plan, _ = plan_of("int", unit="bar", precision=1, semantic="nsu=urn:x;Pressure", scale=0.1)
    signal = plan.header.signals[0]
    assert (signal.unit, signal.precision, signal.semantic) == ("bar", 1, "nsu=urn:x;Pressure")
