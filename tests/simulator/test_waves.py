"""Waves are functions of t and nothing else, and each keeps its promise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.behaviour import waves

times = st.floats(-1e6, 1e9)
periods = st.floats(0.1, 1e4)


@given(times)
def test_noise_is_the_same_for_the_same_seed_and_time_and_stays_within_its_spread(t: float) -> None:
    wave = waves.noise(2.5, 0.5, seed=7)
    assert wave(t) == waves.noise(2.5, 0.5, seed=7)(t)
    assert -2.5 <= wave(t) <= 2.5


def test_noise_is_held_for_an_interval_and_another_one_in_the_next() -> None:
    wave = waves.noise(1.0, hold=2.0, seed=1)
    assert wave(4.0) == wave(5.999)
    seen = [wave(2.0 * i) for i in range(1000)]
    assert len(set(seen)) > 990
    assert abs(sum(seen) / 1000) < 0.1
    assert waves.noise(1.0, seed=1)(0) != waves.noise(1.0, seed=2)(0)


@given(st.lists(st.floats(0, 1e5), min_size=2, max_size=20).map(sorted), periods)
def test_energy_never_falls(ts: list[float], period: float) -> None:
    wave = waves.energy(waves.sine(100, 500, period), period, first=3.0)  # a power that is negative at times
    assert wave(0) == 3.0
    for earlier, later in pairwise(ts):
        assert wave(later) >= wave(earlier)


def test_energy_is_what_the_power_adds_up_to() -> None:
    wave = waves.energy(lambda _: 5000.0, 600.0, first=100.0)
    assert wave(3600) == pytest.approx(105.0)
    saw = waves.energy(waves.ramp(0, 7200, 3600), 3600, per=1.0)
    assert saw(1800) == pytest.approx(1800**2)
    assert saw(36_000) == pytest.approx(10 * 3600 * 3600)


@given(st.integers(0, 100_000), periods)
def test_a_counter_steps_by_one(n: int, period: float) -> None:
    wave = waves.counter(period, first=5)
    assert wave((n + 0.5) * period) == 5 + n
    assert wave((n + 1.5) * period) == 6 + n


@given(times.filter(lambda t: t >= 0))
def test_good_and_rejected_parts_are_all_parts(t: float) -> None:
    every, good, rejected = waves.counter(12), waves.counter(12, but=25), waves.counter(12, every=25)
    assert good(t) + rejected(t) == every(t)


def test_a_cycle_goes_in_straight_lines_through_its_points_and_round() -> None:
    wave = waves.cycle([(0.25, 10), (0.5, 20), (0.5, 0), (0.75, 0)], period=4)
    assert [wave(t) for t in (1, 1.5, 1.999999, 2, 3, 3.5, 0, 0.5, 5)] == pytest.approx(
        [10, 15, 20, 0, 0, 2.5, 5, 7.5, 10], abs=1e-4
    )


@given(times)
def test_a_cycle_of_one_point_is_constant(t: float) -> None:
    assert waves.cycle([(0.3, 4.0)], 2)(t) == 4.0


def test_steps_hold_each_value_until_the_next_and_the_last_over_the_end() -> None:
    wave = waves.steps([(0.1, "a"), (0.6, "b")], period=10)
    assert [wave(t) for t in (0, 0.99, 1, 5.9, 6, 9.9, 10, 11)] == ["b", "b", "a", "a", "b", "b", "b", "a"]


def test_toggle_ramp_and_sine() -> None:
    assert [waves.toggle(10, 0.3)(t) for t in (0, 2.9, 3, 9, 10)] == [True, True, False, False, True]
    assert [waves.ramp(10, 20, 4)(t) for t in (0, 1, 3, 4)] == [10, 12.5, 17.5, 10]
    assert waves.sine(10, 2, 8, phase=0.25)(0) == 12
    assert waves.sine(10, 2, 8)(2) == pytest.approx(12)


def test_a_spindle_accelerates_holds_brakes_and_stands() -> None:
    wave = waves.spindle(1000, 100, stop=0.2, accelerate=0.1, ripple=5)
    assert wave(0) == 0
    assert wave(5) == pytest.approx(500)
    assert all(995 <= wave(t) <= 1005 for t in range(10, 70))
    assert wave(75) == pytest.approx(500)
    assert [wave(t) for t in (81, 90, 99)] == [0, 0, 0]


@given(times.filter(lambda t: t >= 0))
def test_running_time_stands_while_the_machine_does(t: float) -> None:
    running = waves.running_time(every=100, lasting=20)
    assert 0 <= running(t) <= t
    assert running(t + 100) - running(t) == pytest.approx(80, abs=1e-3)
    assert running(185) == running(199) == 160


def test_waves_made_from_waves() -> None:
    assert waves.total([lambda t: t, lambda _: 2.0], 10)(1) == 30
    assert waves.product([lambda t: t, lambda _: 2.0], 0.5)(3) == 3
    assert waves.on_time(lambda t: t, math.floor)(2.7) == 2
    assert waves.constant("x")(1) == "x"
    assert waves.by_phase([(0.5, "b"), (0.1, "a"), (0.5, "c")]) == [(0.1, "a"), (0.5, "b"), (0.5, "c")]
