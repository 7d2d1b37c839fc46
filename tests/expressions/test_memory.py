"""Functions over time, against series worked out by hand."""

import math
import random
from typing import Any

import pytest

from expressions.material import SECOND, Running
from gateway.model import GOOD, NO_COMMUNICATION, NOT_A_NUMBER, OUT_OF_RANGE, SENSOR_FAILURE, WAITING_FOR_DATA

B, b, U = NO_COMMUNICATION, SENSOR_FAILURE, OUT_OF_RANGE
BAD, bad = (None, B), (None, b)

# second, input, expected: a value (good), or a pair of value and quality
SERIES: dict[str, tuple[str, list[tuple[float, Any, Any]]]] = {
    "mean, weighted by time": (
        "mean(x, 30s)",
        [
            (0, 10.0, 10.0),
            (10, 20.0, 10.0),  # 10 for 10 s; 20 has lasted no time yet
            (20, 40.0, 15.0),
            (30, 40.0, 70 / 3),  # (100 + 200 + 400) / 30
            (35, 40.0, 850 / 30),  # 10 for 5 s of it, 20 for 10 s, 40 for 15 s
            (40, 40.0, 1000 / 30),
            (41, 0.0, (20 * 9 + 40 * 21) / 30),
            (100, 0.0, 0.0),
        ],
    ),
    "mean, with time without a value": (
        "mean(x, 30s)",
        [
            (0, 10.0, 10.0),
            (10, BAD, 10.0),
            (20, 40.0, 10.0),
            (30, 40.0, 25.0),  # 10 for 10 s, 40 for 10 s
            (35, bad, 650 / 20),  # 10 for 5 s, 40 for 15 s
            (64, bad, 40.0),  # 40 for the last of its seconds
            (65, bad, (None, b)),
            (66, BAD, (None, B)),
            (70, 5.0, 5.0),
        ],
    ),
    "mean of nothing": ("mean(x, 30s)", [(0, BAD, (None, B)), (10, bad, (None, b)), (20, 1.0, 1.0)]),
    "mean, uncertain as long as an uncertain value lies in the window": (
        "mean(x, 30s)",
        [
            (0, 10.0, 10.0),
            (10, (20.0, U), (10.0, U)),
            (20, 30.0, (15.0, U)),
            (49, 30.0, ((20 + 30 * 29) / 30, U)),
            (50, 30.0, 30.0),
        ],
    ),
    "mean of a number that cannot be written in binary": ("mean(x, 7s)", [(t / 10, 0.1, 0.1) for t in range(100)]),
    "least": (
        "min(x, 30s)",
        [(0, 5.0, 5.0), (10, 3.0, 3.0), (20, 8.0, 3.0), (49, 8.0, 3.0), (50, 8.0, 8.0), (51, BAD, 8.0), (81, BAD, (None, B))],
    ),
    "greatest": (
        "max(n, 30s)",
        [(0, 5, 5), (10, 9, 9), (20, 8, 9), (30, 7, 9), (49, 6, 9), (50, 6, 8), (59, 6, 8), (60, 6, 7), (79, 6, 6)],
    ),
    "least, while there is a gap": ("min(x, 30s)", [(0, 5.0, 5.0), (10, BAD, 5.0), (20, 7.0, 5.0), (40, 7.0, 7.0)]),
    "delta": (
        "delta(n, 60s)",
        [
            (0, 100, 0),
            (30, 104, 4),
            (60, 110, 10),
            (61, 110, 10),
            (89, 115, 15),  # in force a minute ago: 100
            (90, 115, 11),  # 104
            (200, 115, 0),
        ],
    ),
    "delta, with gaps": (
        "delta(n, 60s)",
        [
            (0, BAD, (None, B)),
            (10, 100, 0),
            (20, 107, 7),
            (30, BAD, 7),  # the last known less the first known
            (40, 110, 10),
            (75, 110, 10),  # 15 s: 100
            (85, 112, 5),  # 25 s: 107
            (95, 112, 2),  # 35 s: nothing was known; the first after it is 110
            (200, BAD, 0),
            (260, BAD, (None, B)),
        ],
    ),
    "delta, uncertain": ("delta(x, 60s)", [(0, 1.0, 0.0), (10, (2.0, U), (1.0, U)), (20, 4.0, (3.0, U)), (80, 4.0, 0.0)]),
    "delta beyond 64 bits": ("delta(n, 60s)", [(0, 2**63, 0), (10, -(2**63), (None, NOT_A_NUMBER)), (80, 0, 2**63)]),
    "rate": (
        "rate(n, 60s)",
        [
            (0, 100, (None, WAITING_FOR_DATA)),
            (10, 105, 0.5),
            (60, 130, 0.5),
            (90, 130, 25 / 60),  # 105 at second 30
            (150, 130, 0.0),
            (160, BAD, 0.0),
            (170, 160, 30 / 60),
        ],
    ),
    "count": (
        "count(on, 60s)",
        [
            (0, True, 0),  # nobody saw it rise
            (5, False, 0),
            (10, True, 1),
            (15, True, 1),
            (20, False, 1),
            (25, True, 2),
            (69.9, True, 2),
            (70, True, 1),  # the one of second 10 is a minute ago
            (85, True, 0),
        ],
    ),
    "count, with gaps": (
        "count(on, 60s)",
        [
            (0, BAD, (None, B)),
            (1, False, 0),
            (10, BAD, 0),
            (20, True, 1),  # it rose while nobody looked
            (30, BAD, 1),
            (40, True, 1),  # nothing tells that it fell
            (50, BAD, 1),
            (109, BAD, 0),
            (110, BAD, (None, B)),
        ],
    ),
    "share": (
        "share(on, 40s)",
        [(0, False, 0.0), (10, True, 0.0), (20, False, 0.5), (30, BAD, 1 / 3), (40, True, 1 / 3), (50, True, 20 / 30), (60, True, 20 / 30), (61, False, 21 / 30), (101, False, 0.0)],
    ),
    "rising": (
        "rising(on)",
        [(0, True, False), (1, False, False), (2, True, True), (3, True, False), (4, BAD, (None, B)), (5, True, False), (6, False, False), (7, BAD, (None, B)), (8, (True, U), (True, U))],
    ),
    "falling": ("falling(on)", [(0, False, False), (1, True, False), (2, False, True), (3, False, False)]),
    "changed": (
        "changed(mode)",
        [(0, "auto", False), (1, "auto", False), (2, "off", True), (3, BAD, (None, B)), (4, "off", False), (5, BAD, (None, B)), (6, "auto", True)],
    ),
    "previous": (
        "previous(mode)",
        [(0, "auto", (None, WAITING_FOR_DATA)), (1, "off", "auto"), (2, "off", "auto"), (3, BAD, (None, B)), (4, "setup", "off"), (5, ("setup", U), ("off", U))],
    ),
    "duration": (
        "duration(on)",
        [
            (0, False, 0.0),
            (1, True, 0.0),
            (4, True, 3.0),
            (11, BAD, (None, B)),  # ten seconds so far
            (20, BAD, (None, B)),
            (30, True, 10.0),
            (31, (True, U), (11.0, U)),
            (32, False, 0.0),
            (33, True, 0.0),
            (34, True, 1.0),
        ],
    ),
    "duration in tenths of a second, which have no end in binary": (
        "duration(on) >= 1s",
        [(t / 10, True, t >= 10) for t in range(20)],
    ),
    "total": (
        "total(x)",
        [
            (0, 2.0, 0.0),
            (10, 3.0, 20.0),
            (20, -1.0, 50.0),
            (30, BAD, (None, B)),  # 40
            (40, BAD, (None, B)),
            (50, 4.0, 40.0),
            (60, (4.0, U), (80.0, U)),
            (60, 1.0, 80.0),
            (70, 1.0, 90.0),
        ],
    ),
    "time that stands still, and one that goes back": (
        "total(x)",
        [(100, 2.0, 0.0), (100, 5.0, 0.0), (101, 5.0, 5.0), (50, 7.0, 5.0), (100.5, 7.0, 5.0), (102, 7.0, 12.0)],
    ),
    "a value that is replaced at once has been in force for no time": (
        "max(x, 30s)",
        [(0, 5.0, 5.0), (10, 100.0, 100.0), (10, 6.0, 6.0), (20, 1.0, 6.0)],
    ),
    "one over another": (
        "max(mean(x, 10s), 1min)",
        [(0, 0.0, 0.0), (10, 10.0, 0.0), (20, 10.0, 10.0), (30, 0.0, 10.0), (79, 0.0, 10.0), (100, 0.0, 10.0), (139, 0.0, 0.0)],
    ),
    "a day nobody knows of": (
        # A clock that starts in 1990 and learns the time: those years have not passed.
        "total(x)",
        [(0, 5.0, 0.0), (10, 5.0, 50.0), (1e9, 5.0, 50.0), (1e9 + 10, 5.0, 100.0), (1e9 + 86410, 5.0, 432100.0)],
    ),
    "the same for a duration": (
        "duration(on)",
        [(0, True, 0.0), (10, True, 10.0), (1e9, True, 10.0), (1e9 + 10, True, 20.0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_a_series(name):
    text, rows = SERIES[name]
    run = Running(text)
    (reference,) = run.expression.references
    for at, given, expected in rows:
        value, quality = expected if isinstance(expected, tuple) else (expected, GOOD)
        found = run(at, **{reference.signal: given})
        assert found[1] == quality, f"second {at}"
        assert type(found[0]) is type(value), f"second {at}"
        if isinstance(value, float) and name != "mean of a number that cannot be written in binary":
            value = pytest.approx(value, rel=1e-12)
        assert found[0] == value, f"second {at}"


def brute_force(points: list[tuple[int, float]], begin: int, now: int) -> tuple[float, float, float]:
    """Mean, least and greatest of what was in force from begin to now; the last point is that of now."""
    ends = [at for at, _ in points[1:]] + [now]
    parts = [
        (min(end, now) - max(at, begin), value) for (at, value), end in zip(points, ends, strict=True) if end > begin
    ]
    values = [value for _, value in parts]
    return sum(w * v for w, v in parts) / sum(w for w, _ in parts), min(values), max(values)


@pytest.mark.parametrize("step", ["even", "uneven"])
def test_a_window_is_bounded_and_as_sharp_as_promised(step):
    """20,000 values in an hour: a fiftieth of them is kept, and the far end is blurred by a five-hundredth of the window at most."""
    rng = random.Random(7)
    mean, least, greatest, delta = (
        Running(text) for text in ("mean(x, 1h)", "min(x, 1h)", "max(x, 1h)", "delta(x, 1h)")
    )
    now, window = 0, 3600 * SECOND
    blur = window // 490
    points: list[tuple[int, float]] = []
    for i in range(20_000):
        now += round((0.36 if step == "even" else rng.expovariate(1 / 0.36)) * SECOND)
        value = 50 + 40 * math.sin(i / 900) + rng.random() * 10
        points.append((now, value))
        found = [run.program.run([value], [GOOD], now)[0] for run in (mean, least, greatest, delta)]
        if i % 997 or i < 3:
            continue
        begin = now - window
        of_mean, low, high = brute_force(points, begin, now)
        assert found[0] == pytest.approx(of_mean, abs=100 / 490)
        _, wider_low, wider_high = brute_force(points, begin - blur, now)
        assert wider_low <= found[1] <= low
        assert high <= found[2] <= wider_high
        starts = [v for at, v in points if begin - 2 * blur <= at <= begin + blur] or [points[0][1]]
        assert value - max(starts) <= found[3] <= value - min(starts)
    for run in (mean, least, greatest, delta):
        assert 400 < len(run.program.dump()[4][0]) <= 1000


def test_a_count_is_bounded_and_loses_nothing():
    run = Running("count(on, 1h)")
    for i in range(40_000):  # a rise every 20 ms
        found = run(i / 100, on=bool(i % 2))
    assert found == (20_000, GOOD)
    assert len(run.program.dump()[4][0]) <= 1000
    assert run(3600 + 200, on=True)[0] == pytest.approx(10_000, abs=50 * 3600 / 490)
    assert run(3600 + 500, on=True) == (0, GOOD)


def test_what_was_huge_leaves_no_trace():
    """Sums are not subtracted from: 1e300 less 1e300 would leave the rounding of 1e300 for good."""
    run = Running("mean(x, 10s)")
    for at, value in [(0, 0.1), (1, 1e300), (2, 0.1), (3, 0.3)]:
        run(at, x=value)
    assert run(11.5, x=0.3)[0] > 1e298
    assert run(12, x=0.3)[0] == pytest.approx((0.1 + 0.3 * 9) / 10, rel=1e-15)


def test_what_is_too_large_to_be_added_up_does_not_stay():
    run = Running("mean(x, 10s)")
    run(0, x=1e308)
    assert run(5, x=1e308)[0] in (None, 1e308)
    run(6, x=1.0)
    assert run(20, x=1.0) == (1.0, GOOD)
    total = Running("total(x)")
    total(0, x=1e308)
    assert total(100, x=1.0)[1] in (GOOD, NOT_A_NUMBER)
    assert math.isfinite(total(101, x=1.0)[0])  # type: ignore[arg-type]


def test_small_steps_onto_a_large_total_are_not_lost():
    """0.0001 onto 1e12, whose neighbours are 0.00012 apart."""
    run = Running("total(x)")
    run(0, x=1e12)
    run(1, x=0.0001)
    for i in range(2, 20_003):
        value, _ = run(i, x=0.0001)
    assert value == pytest.approx(1e12 + 2.0001, abs=0.0002)


@pytest.mark.parametrize(
    ("text", "value", "after", "later"),
    [("duration(on)", True, 10.0, 15.0), ("total(x)", 2.0, 20.0, 30.0), ("max(x, 1h)", 2.0, 2.0, 2.0)],
)
def test_a_pause_is_no_time_that_passed(text: str, value: Any, after: float, later: float):
    """From 0 on, run last at 7 s, seen to run until 10 s, again at 100 s: 10 s then, and at 105 s 5 more."""
    run = Running(text)
    name = next(iter(run.expression.references)).signal
    for second in (0, 7):
        run(second, **{name: value})
    run.program.pause(10 * SECOND)
    assert run(100, **{name: value}) == (after, GOOD)
    assert run(105, **{name: value}) == (later, GOOD)


def test_an_edge_across_a_pause_is_one():
    """As after a restart: what was known last is compared with what comes next."""
    run = Running("rising(on)")
    run(0, on=False)
    run.program.pause(10 * SECOND)
    assert run(100, on=True) == (True, GOOD)


def test_a_program_that_was_never_run_can_be_paused():
    run = Running("duration(on)")
    run.program.pause(10 * SECOND)
    assert run(20, on=True) == (0.0, GOOD)
