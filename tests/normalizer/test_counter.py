"""Counters: what they have counted is known here, as the machine that counts is simulated beside the gateway's view of it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import COUNTER_AMBIGUOUS, COUNTER_REPLACED, COUNTER_RESET, COUNTER_UNSETTLED, GOOD
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


def test_a_reading_of_the_past_belongs_to_the_count_of_its_time():
    counter = Counter(UINT32, None)
    run(counter, 410, 412, 413, 0, 2, 4)
    assert counter.at(411, SECOND // 2) == 411
    assert counter.at(5, 9 * SECOND) == counter.total + 1


steps = st.lists(st.integers(0, 40), min_size=3, max_size=60)


@given(steps=steps, start=st.integers(0, UINT16 - 1))
@settings(max_examples=200)
def test_a_counter_that_only_goes_round_loses_and_invents_nothing(steps, start):
    """Whatever the pace, up to 40 a second in 16 bits: the total is what was really counted."""
    counter, true = Counter(UINT16, max_rate=40.0), start
    counter.step(start, 0)
    for i, step in enumerate(steps, 1):
        true += step
        counter.step(true % UINT16, i * SECOND)
    for k in (1, 2, 3):  # what was held back is settled by what goes on
        true += 1
        total, _ = counter.step(true % UINT16, (len(steps) + k) * SECOND)
    assert total == true


@given(
    readings=st.lists(st.one_of(st.integers(0, 200), st.integers(0, UINT16 - 1), st.just(0)), max_size=60),
    max_rate=st.sampled_from([None, 5.0, 1000.0]),
)
@settings(max_examples=300)
def test_whatever_a_device_says_a_total_never_falls(readings, max_rate):
    counter = Counter(UINT16, max_rate)
    found = totals(counter, *readings)
    assert found == sorted(found)


@given(readings=st.lists(st.floats(0, 1e9), max_size=40))
@settings(max_examples=200)
def test_nor_does_one_of_floats(readings):
    found = totals(Counter(None, None), *readings)
    assert found == sorted(found)


@given(steps=steps, at=st.integers(1, 50), since=st.integers(0, 30))
@settings(max_examples=200)
def test_a_reset_never_counts_more_than_there_was(steps, at, since):
    """What was counted between the last reading and the reset is lost for everybody; all else is there, once."""
    counter, true, raw = Counter(UINT32, max_rate=40.0), 1000, 1000
    counter.step(raw, 0)
    for i, step in enumerate(steps, 1):
        if i == at:
            raw = min(since, 40)
            true += raw
        else:
            raw += step
            true += step
        counter.step(raw, i * SECOND)
    for k in (1, 2):
        raw, true = raw + 1, true + 1
        counter.step(raw, (len(steps) + k) * SECOND)
    assert counter.total <= true
