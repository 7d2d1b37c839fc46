"""The swinging door: the line through what is sent passes every reading at no more than the deadband."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.normalizer.door import Door


def sent_of(width: float, readings: list[tuple[int, float]]) -> list[tuple[int, float]]:
    door = Door(width)
    sent = [point for time, value in readings for point in door.offer(time, value)]
    if (last := door.end()) is not None:
        sent.append(last)
    return sent


def test_a_straight_line_needs_its_ends():
    assert sent_of(0.0, [(t, 2.0 * t) for t in range(100)]) == [(0, 0.0), (99, 198.0)]


def test_a_corner_is_sent():
    readings = [(t, 0.0) for t in range(10)] + [(t, float(t - 9)) for t in range(10, 20)]
    assert sent_of(0.1, readings) == [(0, 0.0), (9, 0.0), (19, 10.0)]


def test_noise_within_the_deadband_is_not_sent():
    readings = [(t, 20.0 + 0.4 * (-1) ** t) for t in range(1000)]
    assert len(sent_of(1.0, readings)) == 2
    assert len(sent_of(0.1, readings)) == 1000  # and with a narrow door all of it


def test_a_step_keeps_both_sides():
    readings = [(t, 0.0 if t < 50 else 10.0) for t in range(100)]
    assert sent_of(0.5, readings) == [(0, 0.0), (49, 0.0), (50, 10.0), (99, 10.0)]


def test_two_values_at_one_moment_are_both_sent():
    assert sent_of(5.0, [(0, 1.0), (1, 2.0), (1, 3.0), (2, 3.0)])[1:3] == [(1, 2.0), (1, 3.0)]


numbers = st.one_of(st.floats(-1000, 1000), st.integers(-50, 50), st.sampled_from([0.0, 0.1, 0.2, 5.0]))


@given(
    values=st.lists(numbers, min_size=1, max_size=80),
    gaps=st.lists(st.integers(1, 5_000_000_000), min_size=80, max_size=80),
    width=st.sampled_from([0.0, 0.1, 0.5, 3.0, 100.0]),
)
@settings(max_examples=300)
def test_the_bound_holds(values, gaps, width):
    time, readings = 1_763_789_123_123_456_000, []
    for value, gap in zip(values, gaps, strict=False):
        time += gap
        readings.append((time, value))
    sent = sent_of(width, readings)
    assert (sent[0], sent[-1]) == (readings[0], readings[-1])
    assert all(before[0] < after[0] for before, after in pairwise(sent))
    at = 0
    for t, value in readings:
        while at + 1 < len(sent) and sent[at + 1][0] < t:
            at += 1
        (t0, v0), (t1, v1) = sent[at], sent[min(at + 1, len(sent) - 1)]
        line = v0 if t1 == t0 else v0 + (v1 - v0) * ((t - t0) / (t1 - t0))
        assert abs(line - value) <= width + 1e-6  # floats of nanoseconds


def restarted(width: float, readings: list[tuple[int, float]], at: int) -> list[tuple[int, float]]:
    """As with a heartbeat: one reading in the middle is sent whatever the door says."""
    door, sent = Door(width), []
    for i, (time, value) in enumerate(readings):
        sent += door.restart(time, value) if i == at else door.offer(time, value)
    return sent + [point for point in [door.end()] if point is not None]


@given(values=st.lists(st.integers(-20, 20), min_size=2, max_size=40), at=st.integers(0, 39))
@settings(max_examples=200)
def test_the_bound_holds_with_a_heartbeat_between(values, at):
    readings = [(i * 10, float(v)) for i, v in enumerate(values)]
    sent = dict(restarted(2.0, readings, at))
    times = sorted(sent)
    for t, value in readings:
        before, after = max(x for x in times if x <= t), min(x for x in times if x >= t)
        share = 0.0 if after == before else (t - before) / (after - before)
        assert abs(sent[before] + (sent[after] - sent[before]) * share - value) <= 2.0 + 1e-9
