"""Counters: what they have counted is known here, as the machine that counts is simulated beside the gateway's view of it."""

import json
from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.model import (
    COUNTER_AMBIGUOUS,
    COUNTER_REPLACED,
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    GOOD,
    INVALID_DATA,
    NOT_A_NUMBER,
)
from gateway.normalizer.counter import Counter

SECOND = 10**9
UINT16, UINT32 = 2**16, 2**32


def run(counter: Counter, *readings: float, start: int = 0) -> list[tuple[float, int]]:
    """One reading a second."""
    return [counter.step(raw, (start + i) * SECOND) for i, raw in enumerate(readings)]


def totals(counter: Counter, *readings: float) -> list[float]:
    return [total for total, _ in run(counter, *readings)]


def test_it_begins_with_what_the_machine_shows():
    assert run(Counter(UINT32, None), 182_504, 182_505, 182_507) == [(182_504, GOOD), (182_505, GOOD), (182_507, GOOD)]


@pytest.mark.parametrize(
    ("wraps_at", "before", "after", "added"),
    [
        (UINT16, 65_534, 2, 4),  # 65535, 0, 1, 2
        (UINT32, 4_294_967_295, 1, 2),
        (10_000, 9_998, 3, 5),  # four digits in BCD
        (1_000_000, 999_999, 1, 2),  # a six-digit mechanical counter
    ],
)
def test_it_goes_round(wraps_at, before, after, added):
    counter = Counter(wraps_at, None)
    assert totals(counter, before - 3, before, after, after + 2) == [
        before - 3, before, before + added, before + added + 2
    ]  # fmt: skip


def test_going_round_exactly_to_0_is_known_with_the_next_reading():
    counter = Counter(UINT16, None)
    assert run(counter, 65_532, 65_534, 0, 2) == [
        (65_532, GOOD), (65_534, GOOD), (65_534, COUNTER_UNSETTLED), (65_538, GOOD)
    ]  # fmt: skip


def test_a_reset_adds_what_was_counted_since():
    counter = Counter(UINT32, None)
    assert run(counter, 410, 412, 413, 1, 2, 4) == [
        (410, GOOD), (412, GOOD), (413, GOOD), (413, COUNTER_UNSETTLED), (415, COUNTER_RESET), (417, GOOD)
    ]  # fmt: skip


def test_another_meter_adds_nothing():
    counter = Counter(UINT32, None)
    assert run(counter, 900_410, 900_412, 8861, 8861, 8863) == [
        (900_410, GOOD), (900_412, GOOD), (900_412, COUNTER_UNSETTLED), (900_412, COUNTER_REPLACED), (900_414, GOOD)
    ]  # fmt: skip


def test_another_meter_that_shows_more_is_told_by_the_rate_that_is_possible():
    counter = Counter(None, max_rate=10.0)
    assert run(counter, 100.0, 101.0, 5000.0, 5001.0, 5002.0) == [
        (100.0, GOOD), (101.0, GOOD), (101.0, COUNTER_UNSETTLED), (102.0, COUNTER_REPLACED), (103.0, GOOD)
    ]  # fmt: skip


@pytest.mark.parametrize("glitch", [0, 1, 77, 65_535, 2**31])
def test_a_glitch_counts_nothing_twice(glitch):
    """As a device that says 0 while it starts, or two words of which one is newer."""
    counter = Counter(UINT32, None)
    run(counter, 41_230, 41_232, 41_233)
    found = run(counter, glitch, 41_236, start=3)
    assert found[1] == (41_236, GOOD)
    assert found[0] == (41_233, COUNTER_UNSETTLED)


@pytest.mark.parametrize("zeros", [1, 2, 3, 20])
def test_a_device_that_says_0_while_it_starts_counts_nothing_twice(zeros):
    counter = Counter(UINT32, None)
    run(counter, 41_230, 41_232, 41_233)
    run(counter, *[0] * zeros, start=3)
    found = run(counter, 41_235, 41_236, start=3 + zeros)
    assert [total for total, _ in found] == [41_235, 41_236]


def test_a_shift_counter_that_is_reset_reaches_its_old_count_again():
    """It counts 50 a shift, and that it passes 50 again is no return of the old count."""
    counter, true = Counter(UINT16, None), 0
    found = []
    for shift in range(3):
        for second in range(51):
            true += second > 0
            found.append((true, counter.step(second, (shift * 60 + second) * SECOND)[0]))
    assert found[-1] == (150, 150)
    assert all(total <= true for true, total in found)


def test_a_leap_from_the_very_first_0_is_no_count():
    """The device was starting; that it stands at five million is no production."""
    counter = Counter(UINT32, None)
    assert run(counter, 0, 5_000_000, 5_000_001, 5_000_003) == [
        (0, GOOD), (0, COUNTER_UNSETTLED), (1, COUNTER_REPLACED), (3, GOOD)
    ]  # fmt: skip
    counter = Counter(UINT32, None)
    assert run(counter, 0, 0, 1, 7) == [(0, GOOD), (0, GOOD), (1, GOOD), (7, GOOD)]


def test_a_leap_beyond_all_that_was_seen_is_another_meter():
    """At one count a minute, then 41,000 more within a second. With a pace that varies that much, `max_rate` says so."""
    counter = Counter(UINT32, None)
    for minute in range(5):
        counter.step(minute + 1, minute * 60 * SECOND)
    assert run(counter, 41_000, 41_001, 41_002, start=241) == [
        (5, COUNTER_UNSETTLED), (6, COUNTER_REPLACED), (7, GOOD)
    ]  # fmt: skip
    counter = Counter(UINT32, max_rate=50_000.0)
    assert run(counter, 5, 41_000) == [(5, GOOD), (41_000, GOOD)]


def test_more_than_one_lap_is_not_known():
    """An hour without a reading, in which a counter of 16 bits at 100 a second goes round five times."""
    counter = Counter(UINT16, None)
    run(counter, 65_000, 65_100, 65_200)
    assert counter.step(400, 3600 * SECOND) == (65_536 + 400, COUNTER_AMBIGUOUS)
    assert counter.step(500, 3601 * SECOND) == (65_536 + 500, GOOD)


def test_a_float_that_jitters_in_its_last_digits_is_no_reset():
    counter = Counter(None, None)
    assert run(counter, 123_456.78, 123_456.77, 123_456.80) == [
        (123_456.78, GOOD), (123_456.78, GOOD), (123_456.80, GOOD)
    ]  # fmt: skip


def test_what_was_rounded_before_a_restart_is_no_fall():
    counter = Counter(None, None)
    counter.load([1000.0, 0, 0, 0.5, None, 0, 0, 0])
    counter.grain = 0.1
    counter.catch_up(1234.6, 10 * SECOND)  # it was 1234.56
    assert run(counter, 1234.58, 1234.7, start=11) == [(1234.6, GOOD), (1234.7, GOOD)]


def test_it_goes_on_after_a_restart():
    counter = Counter(UINT16, None)
    run(counter, 100, 102, 3, 4, 5)
    again = Counter(UINT16, None)
    again.load(json.loads(json.dumps(counter.dump())))
    assert run(again, 7, start=5) == run(counter, 7, start=5)
    assert again.total == 109


def test_what_left_after_the_state_was_saved_counts():
    counter = Counter(UINT32, None)
    run(counter, 50, 60)
    saved = counter.dump()
    again = Counter(UINT32, None)
    again.load(saved)
    again.catch_up(75, 10 * SECOND)  # it had gone on to 75; then power failed, for the machine, too
    assert run(again, 3, 4, start=11)[-1] == (79, COUNTER_RESET)


@pytest.mark.parametrize("state", [[], [1, 2], ["a"] * 8, [1, None, 0, 0.0, None, 0, 0, 0], [True] * 8])
def test_a_state_that_cannot_be_used_is_refused(state):
    with pytest.raises(ValueError, match="is not the state of a counter"):
        Counter(UINT16, None).load(state)


def test_a_device_that_says_0_while_it_starts_and_a_restart_between():
    """What had ended is remembered with it: 41235 continues 41233, and not the 0."""
    counter = Counter(UINT32, None)
    run(counter, 41_230, 41_232, 41_233, 0, 0)
    again = Counter(UINT32, None)
    again.load(json.loads(json.dumps(counter.dump())))
    assert run(again, 41_235, 41_236, start=5) == [(41_235, GOOD), (41_236, GOOD)]


def test_a_leap_that_was_none_and_a_restart_between():
    counter = Counter(UINT32, None)
    run(counter, 1001, 1002, 1003, 1090, 1004)
    for reading in range(1005, 1090):
        again = Counter(UINT32, None)
        again.load(json.loads(json.dumps(counter.dump())))
        counter = again
        assert counter.step(reading, (reading - 1000) * SECOND) == (1090, COUNTER_AMBIGUOUS)
    assert run(counter, 1090, 1091, start=90) == [(1090, GOOD), (1091, GOOD)]


def test_a_state_of_eight_numbers_is_one_of_before():
    counter = Counter(UINT32, None)
    counter.load([5, 4 * SECOND, 413, 2.0, None, 0, 3 * SECOND, 0])
    assert run(counter, 6, 8, start=5) == [(419, GOOD), (421, GOOD)]


def test_a_reading_of_the_past_belongs_to_the_count_of_its_time():
    counter = Counter(UINT32, None)
    run(counter, 410, 412, 413, 0, 2, 4)
    assert counter.at(411, SECOND // 2) == (411, GOOD)
    assert counter.at(5, 9 * SECOND) == (counter.total + 1, GOOD)
    assert counter.at(3, 9 * SECOND) == (counter.total, COUNTER_AMBIGUOUS), "what is later is not less"
    assert counter.at(nan, 1) == (None, NOT_A_NUMBER)
    assert counter.at(-1, 1) == (None, INVALID_DATA)


# --- numbers below 0 ------------------------------------------------------------------------------------------------------


def signed(bits: int, max_rate: float | None = None) -> Counter:
    """Of a type with a sign: it goes round half way, as long as it shows no number below 0."""
    return Counter(2 ** (bits - 1), max_rate, 2**bits)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("max_rate", [None, 10.0])
def test_a_count_with_a_sign_goes_on_below_0(bits, max_rate):
    """32764 32766 -32768 -32766: the bits are those of 32764 32766 32768 32770."""
    half = 2 ** (bits - 1)
    assert run(signed(bits, max_rate), half - 4, half - 2, -half, 2 - half, 4 - half) == [
        (half - 4, GOOD), (half - 2, GOOD), (half, GOOD), (half + 2, GOOD), (half + 4, GOOD)
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_then_it_goes_round_where_its_bits_end(bits):
    """-4 -2 1 3: two more to 0, one more to 1."""
    half = 2 ** (bits - 1)
    counter = signed(bits)
    counter.load([half - 2, 0, 0, 2.0, None, 0, 0, 0])
    counter.step(-half, SECOND)
    counter.load([2 * half - 4, 2 * SECOND, 0, 2.0, None, 0, 0, 0])  # as after half a round
    assert run(counter, -2, 1, 3, start=3) == [(2 * half - 2, GOOD), (2 * half + 1, GOOD), (2 * half + 3, GOOD)]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_count_with_a_sign_that_shows_no_number_below_0_goes_round_half_way(bits):
    half = 2 ** (bits - 1)
    assert run(signed(bits), half - 3, half - 1, 1, 3) == [
        (half - 3, GOOD), (half - 1, GOOD), (half + 1, GOOD), (half + 3, GOOD)
    ]  # fmt: skip


@pytest.mark.parametrize("times", [1, 2, 3, 10])
@pytest.mark.parametrize("max_rate", [None, 10.0, 50_000.0])
def test_a_device_that_says_minus_1_for_none_counts_nothing(times, max_rate):
    counter = signed(16, max_rate)
    run(counter, 100, 101, 102)
    assert run(counter, *[-1] * times, start=3) == [(102, COUNTER_UNSETTLED)] * times
    assert run(counter, 103, 104, start=3 + times) == [(103, GOOD), (104, GOOD)]


def test_a_first_number_below_0_is_a_count_when_it_counts_on():
    assert run(signed(16), -1, -1, 7, 8) == [(None, INVALID_DATA), (None, INVALID_DATA), (7, GOOD), (8, GOOD)]
    # -5 is 65531 without the sign; it then goes on to the end and round: 65533, 65537.
    assert run(signed(16), -5, -3, 1, 2) == [(None, INVALID_DATA), (65_533, GOOD), (65_537, GOOD), (65_538, GOOD)]


def test_a_count_without_a_sign_is_never_below_0():
    counter = Counter(None, None)
    assert run(counter, -500.0, 7.0, -1.0, 8.0, -inf, nan, 9.0) == [
        (None, INVALID_DATA), (7.0, GOOD), (None, INVALID_DATA), (8.0, GOOD), (None, NOT_A_NUMBER),
        (None, NOT_A_NUMBER), (9.0, GOOD),
    ]  # fmt: skip
    # With six digits in 32 bits: the sign is no digit.
    counter = Counter(1_000_000, None, UINT32)
    assert run(counter, 7, -1, 8) == [(7, GOOD), (None, INVALID_DATA), (8, GOOD)]


def test_a_number_below_0_that_was_believed_once_is_no_fall_now():
    """A state that says -32766 with a total of 2."""
    counter = signed(16)
    counter.load([-32_766, 0, 32_768, 2.0, None, 0, 0, 0])
    assert run(counter, -32_764, start=1) == [(4, GOOD)]


# --- what had leapt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_rate", [None, 100.0])
@pytest.mark.parametrize("count", [8, 30, 1003, 9000])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("long", [1, 2])
def test_a_glitch_of_any_size_that_is_believed_counts_nothing(count, max_rate, up, long):
    """One count a second, and a glitch that stands or counts on. A total that left stands until the count has come there."""
    for size in range(1, 100):
        for further in (0, 1):
            glitch = [count + size + further * k if up else count - size + further * k for k in range(long)]
            # A count that is no more than four seconds of it can also be one that began anew.
            if long == 2 and not up and glitch[0] <= 4 and (glitch[0] or max_rate is None or count < 8):
                continue
            if glitch[0] < 0:
                continue
            readings = [count - 2, count - 1, count, *glitch, *range(count + long + 1, count + long + 120)]
            found = run(Counter(UINT16, max_rate), *readings)
            highest = 0
            for raw, (total, quality) in zip(readings, found, strict=True):
                # What is good is what the machine shows; what is not is no less than what has left, and no more.
                assert total == (raw if quality == GOOD else highest) or quality in (COUNTER_REPLACED, COUNTER_RESET)
                highest = max(highest, total)
            assert found[-1] == (readings[-1], GOOD), (glitch, found)


def test_a_leap_that_was_none_is_told_by_the_readings_after_it():
    assert run(Counter(UINT32, None), 1001, 1002, 1003, 1090, 1004, 1005, 1006) == [
        (1001, GOOD), (1002, GOOD), (1003, GOOD), (1090, GOOD),
        (1090, COUNTER_UNSETTLED), (1090, COUNTER_AMBIGUOUS), (1090, COUNTER_AMBIGUOUS),
    ]  # fmt: skip
    assert totals(Counter(UINT32, None), 5, 6, 7, 8, 100, 9, 10, 11)[4:] == [100, 100, 100, 100]
    assert totals(Counter(UINT32, None), 8, 100, 9, 10, 11)[1:] == [100, 100, 100, 100]


@pytest.mark.parametrize("anew", [0, 1, 3])
def test_a_reset_after_a_leap_is_a_reset(anew):
    """87 at once were counted; then it began anew."""
    found = run(Counter(UINT32, None), 1001, 1002, 1003, 1090, anew, anew + 1, anew + 2)
    assert [total for total, _ in found[3:]] == [1090, 1090, 1090 + anew + 1, 1090 + anew + 2]
    assert [quality for _, quality in found[3:]] == [GOOD, COUNTER_UNSETTLED, COUNTER_RESET, GOOD]


def test_a_reset_of_what_is_read_seldom_is_no_leap():
    """400 parts a quarter of an hour, set to 0 meanwhile: 450 is not what 400 went on to, though it could be."""
    counter = Counter(UINT16, None)
    found = [counter.step(raw, i * 900 * SECOND) for i, raw in enumerate([400, 800, 450, 790])]
    assert found == [(400, GOOD), (800, GOOD), (800, COUNTER_UNSETTLED), (800 + 790, COUNTER_RESET)]


def test_a_first_step_that_is_fast_is_believed_with_the_next_reading():
    """Joules at 10 kW, from where the meter stands and from 0; and 12,000 parts at once."""
    assert run(Counter(None, None), 0.0, 1e4, 2e4, 3e4) == [
        (0.0, GOOD), (0.0, COUNTER_UNSETTLED), (2e4, GOOD), (3e4, GOOD)
    ]  # fmt: skip
    assert run(Counter(UINT16, None), 100, 12_100, 12_100, 12_101) == [
        (100, GOOD), (100, COUNTER_UNSETTLED), (12_100, GOOD), (12_101, GOOD)
    ]  # fmt: skip
    assert run(Counter(None, None), 5e6, 5.01e6, 5.02e6, 5.03e6) == [
        (5e6, GOOD), (5e6, COUNTER_UNSETTLED), (5.02e6, GOOD), (5.03e6, GOOD)
    ]  # fmt: skip
    assert run(Counter(UINT32, None), 1000, 90_000, 1002, 1003)[1:] == [
        (1000, COUNTER_UNSETTLED), (1002, GOOD), (1003, GOOD)
    ]  # fmt: skip


# --- rounds that are nearly whole ones ------------------------------------------------------------------------------------


def test_more_than_half_a_round_is_counted_where_max_rate_leaves_no_other():
    """50 a second at the most are 45,000 in a quarter of an hour, and 65,536 a round: it was one. Each time 40,000 more.

    That it began anew, and counted what it shows, is possible, too; hence uncertain.
    """
    counter = Counter(UINT16, max_rate=50.0)
    found = [counter.step(raw, i * 900 * SECOND) for i, raw in enumerate([100, 40_100, 14_564, 54_564, 29_028])]
    assert found == [
        (100, GOOD), (40_100, GOOD), (80_100, COUNTER_AMBIGUOUS), (120_100, GOOD), (160_100, COUNTER_AMBIGUOUS)
    ]  # fmt: skip


def test_one_round_or_two_is_uncertain():
    """100 a second at the most are 90,000 in a quarter of an hour: 5,600 more, or 71,136."""
    counter = Counter(UINT16, max_rate=100.0)
    counter.step(60_000, 0)
    assert counter.step(64, 900 * SECOND) == (65_600, COUNTER_AMBIGUOUS)
    # At 200 a second: 55,600 more, or 121,136, or begun anew with 64: the latter.
    counter = Counter(UINT16, max_rate=200.0)
    counter.step(10_000, 0)
    assert counter.step(64, 900 * SECOND) == (10_000, COUNTER_UNSETTLED)
    assert counter.step(65, 901 * SECOND) == (10_065, COUNTER_RESET)


# --- properties -----------------------------------------------------------------------------------------------------------

steps = st.lists(st.integers(0, 40), min_size=3, max_size=60)


@pytest.mark.parametrize(
    ("make", "width", "least", "most"),
    [
        (lambda: Counter(UINT16, max_rate=40.0), UINT16, 0, 40),
        (lambda: Counter(UINT16, max_rate=32_767.0), UINT16, 0, 32_767),  # nearly half of its numbers at once
        (lambda: Counter(UINT16, max_rate=65_535.0), UINT16, 0, 65_535),  # all but one
        (lambda: Counter(256, None), 256, 10, 40),  # up to four times the pace that has been seen
        (lambda: Counter(10_000, None), 10_000, 250, 1000),
        (lambda: signed(8, 40.0), 256, 0, 40),
        (lambda: signed(16, 32_767.0), UINT16, 0, 32_767),
    ],
    ids=["uint16", "half", "whole", "uint8-by-its-pace", "bcd16-by-its-pace", "int8", "int16-half"],
)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_counter_that_only_goes_round_loses_and_invents_nothing(make, width, least, most, data):
    """Whatever the steps, up to what is allowed: the total is what was really counted, whenever it is good or held."""
    counter = make()
    half = counter.sign is not None
    true = data.draw(st.integers(1, (width // 2 if half else width) - 1), label="start")
    chosen = data.draw(st.lists(st.integers(least, most), min_size=3, max_size=60), label="steps")
    assert counter.step(true, 0) == (true, GOOD)
    for i, step in enumerate(chosen, 1):
        true += step
        # What shows 0 may have begun anew: with more than half of its numbers at once nothing could tell afterwards.
        assume(most < width // 2 or true % width)
        shown = true % width
        total, quality = counter.step(shown - width if half and shown >= width // 2 else shown, i * SECOND)
        assert total == true or quality == COUNTER_UNSETTLED
    true += max(least, 1)  # what was held back is settled by what goes on
    true += true % width == 0
    shown = true % width
    shown = shown - width if half and shown >= width // 2 else shown
    assert counter.step(shown, (len(chosen) + 1) * SECOND)[0] == true


anything = st.one_of(
    st.integers(0, 200),
    st.integers(-UINT16, UINT16),
    st.just(0),
    st.floats(),
    st.floats(-1e5, 1e5),
    st.sampled_from([-32_768, 32_767, -1, 65_535, inf, nan, 2**64]),
)


@given(
    readings=st.lists(st.tuples(anything, st.integers(-2, 2000)), max_size=60),
    first=st.integers(1, 32_767),
    max_rate=st.sampled_from([None, 5.0, 1000.0, 1e6]),
    width=st.sampled_from([(UINT16, None), (UINT16 // 2, UINT16), (None, None), (10_000, UINT16)]),
    restart=st.integers(0, 60),
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_device_says_a_total_never_falls(readings, first, max_rate, width, restart):
    """And what is good is no more than what was counted since what was good before."""
    wraps_at, sign = width
    counter, time = Counter(wraps_at, max_rate, sign), 0
    found = [(first, *counter.step(first, 0))]
    assert found == [(first, first, GOOD)]
    for i, (raw, elapsed) in enumerate(readings):
        if i == restart:
            again = Counter(wraps_at, max_rate, sign)
            again.load(json.loads(json.dumps(counter.dump())))
            assert again.total == counter.total
            counter = again
        time += elapsed * SECOND // 10
        found.append((raw, *counter.step(raw, time)))
    left = [total for _, total, _ in found if total is not None]
    assert left == sorted(left)
    assert all((total is None) == (quality in (NOT_A_NUMBER, INVALID_DATA)) for _, total, quality in found)
    for (before, total, quality), (raw, later, then) in pairwise(found):
        if quality == then == GOOD and 0 <= before <= raw:
            assert later - total <= (raw - before) * (1 + 1e-9) + 1e-6 + later * 1e-15


@given(rises=st.lists(st.floats(0, 1000), min_size=1, max_size=40), start=st.floats(1, 1e9))
@settings(max_examples=200, deadline=None)
def test_one_of_floats_that_only_rises_is_what_it_shows(rises, start):
    counter, raw = Counter(None, max_rate=1000.0), start
    assert counter.step(raw, 0) == (start, GOOD)
    for i, rise in enumerate(rises, 1):
        raw = min(raw + rise, raw + 999.0)
        assert counter.step(raw, i * SECOND) == (raw, GOOD)


@pytest.mark.parametrize("max_rate", [40.0, None])
@given(steps=steps, at=st.integers(1, 50), since=st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_reset_counts_what_there_was(max_rate, steps, at, since):
    """What was counted between the last reading and the reset is lost for everybody; all else is there, once."""
    counter, true, raw = Counter(UINT32, max_rate), 1000, 1040
    counter.step(1000, 0)
    counter.step(raw, SECOND)
    true += 40
    for i, step in enumerate(steps, 1):
        if i == at:
            raw = since
            true += since
        else:
            raw += step
            true += step
        counter.step(raw, (1 + i) * SECOND)
    for k in (1, 2):
        raw, true = raw + 1, true + 1
        counter.step(raw, (1 + len(steps) + k) * SECOND)
    assert counter.total == true
