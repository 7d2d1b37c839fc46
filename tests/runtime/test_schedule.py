"""Ticks that do not drift, and pauses that grow."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.schedule import Backoff, Ticks


@given(st.floats(0.01, 10), st.lists(st.floats(0, 0.9), min_size=1, max_size=50))
def test_ticks_do_not_drift_however_late_each_one_is(rate, delays):
    """The k-th tick is at start + k * rate, when none is so late that the next one is due."""
    ticks = Ticks([rate], 100.0)
    for k, late in enumerate(delays):
        assert abs(ticks.next() - (100.0 + k * rate)) < 1e-6
        assert ticks.due(ticks.next() + late * rate) == [0]
    assert ticks.missed == [0]


def test_ticks_that_come_too_late_are_skipped_and_counted_never_queued():
    ticks = Ticks([1.0, 0.25], 0.0)
    assert ticks.due(0.0) == [0, 1]
    assert ticks.due(3.6) == [0, 1]
    assert ticks.missed == [2, 13]
    assert ticks.next() == 3.75
    assert ticks.due(3.6) == []


@given(st.floats(0.01, 10), st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_the_next_tick_lies_always_ahead_and_none_is_counted_twice(rate, sleeps):
    ticks, now, kept = Ticks([rate], 0.0), 0.0, 0
    for sleep in sleeps:
        now += sleep
        kept += len(ticks.due(now))
        assert ticks.next() > now
    assert abs((kept + ticks.missed[0]) - now / rate) <= 1 + 1e-6 * now / rate


def test_several_rates_keep_their_own_beat():
    ticks = Ticks([1.0, 0.5], 0.0)
    seen = [(now / 10, ticks.due(now / 10)) for now in range(21)]
    assert [at for at, due in seen if 0 in due] == [0.0, 1.0, 2.0]
    assert [at for at, due in seen if 1 in due] == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_pauses_grow_to_a_cap_with_jitter_and_start_again():
    backoff = Backoff(first=1.0, cap=8.0, rng=random.Random(1))
    pauses = [backoff.pause() for _ in range(6)]
    for pause, step in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert step / 2 <= pause <= step
    assert len(set(pauses)) == 6
    backoff.reset()
    assert backoff.pause() <= 1.0
