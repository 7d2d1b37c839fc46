"""Shifts as instants. Clocks of Europe/Berlin: 2026-03-29 02:00+01:00 becomes 03:00+02:00 (01:00 UTC);
2026-10-25 03:00+02:00 becomes 02:00+01:00 (01:00 UTC)."""

from datetime import date

import pytest

from gateway.production import intervals_of
from gateway.production.calendar import instant
from production.material import BERLIN, HOUR, MINUTE, THREE, at, calendar, one_shift


def shown(spans, zero):
    """Spans as minutes after an instant."""
    return [((s.start_ns - zero) / MINUTE, (s.end_ns - zero) / MINUTE, s.kind) for s in spans]


def test_spans_of_a_day():
    plan = one_shift("06:00", "14:00", ("09:00", "09:15"), ("11:30", "12:00"))
    zero = at("2026-03-02 00:00")
    assert shown(plan.spans(zero, zero + 24 * HOUR), zero) == [
        (0, 360, "off"),
        (360, 540, "work"),
        (540, 555, "break"),
        (555, 690, "work"),
        (690, 720, "break"),
        (720, 840, "work"),
        (840, 1440, "off"),
    ]
    assert shown(plan.spans(zero + 545 * MINUTE, zero + 550 * MINUTE), zero) == [(545, 550, "break")]
    assert shown(plan.spans(zero + 545 * MINUTE, zero + 560 * MINUTE), zero) == [
        (545, 555, "break"),
        (555, 560, "work"),
    ]


def test_a_night_shift_belongs_to_the_day_it_begins():
    plan = calendar("Asia/Ho_Chi_Minh", shifts=THREE)
    start = at("2026-03-02 22:00", "Asia/Ho_Chi_Minh")
    (night,) = [s for s in plan.shifts(start, start + HOUR) if s.name == "night"]
    assert (night.day, night.start_ns, night.end_ns) == ("2026-03-02", start, start + 8 * HOUR)
    # Asked for in the early morning of the day after, it is still that shift.
    (interval,) = intervals_of("shift", plan, start + 7 * HOUR, start + 8 * HOUR)
    assert interval == ("shift", "night", start, start + 8 * HOUR, "2026-03-02")


def test_no_shift_begins_on_a_holiday_but_the_night_before_ends_on_it():
    plan = calendar(shifts=THREE, holidays=["2026-09-02"])
    begin, end = at("2026-09-02 00:00"), at("2026-09-03 00:00")
    assert [(s.name, s.day) for s in plan.shifts(begin, end)] == [("night", "2026-09-01")]
    assert shown(plan.spans(begin, end), begin) == [(0, 360, "work"), (360, 1440, "off")]


def test_without_shifts_every_day_is_one():
    plan = calendar(BERLIN)
    begin = at("2026-10-25 00:00", BERLIN)
    assert plan.spans(begin, begin + 25 * HOUR) == [(begin, begin + 25 * HOUR, "work")]
    (day,) = intervals_of("shift", plan, begin, begin + 25 * HOUR)
    assert (day.name, day.end_ns - day.start_ns, day.day) == ("day", 25 * HOUR, "2026-10-25")


@pytest.mark.parametrize(
    ("evening", "hours"),
    [("2026-03-27", 8), ("2026-03-28", 7), ("2026-03-29", 8), ("2026-10-23", 8), ("2026-10-24", 9), ("2026-10-25", 8)],
)
def test_a_night_in_which_the_clock_is_put_is_shorter_or_longer(evening, hours):
    plan = calendar(BERLIN, shifts=THREE)
    (night,) = [s for s in plan.shifts_of(date.fromisoformat(evening)) if s.name == "night"]
    assert night.end_ns - night.start_ns == hours * HOUR


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-03-29 01:59", "2026-03-29 00:59"),
        ("2026-03-29 02:00", "2026-03-29 01:00"),  # does not exist: the moment at which the clock is put forward
        ("2026-03-29 02:30", "2026-03-29 01:00"),
        ("2026-03-29 02:59", "2026-03-29 01:00"),
        ("2026-03-29 03:00", "2026-03-29 01:00"),
        ("2026-03-29 03:01", "2026-03-29 01:01"),
        ("2026-10-25 01:59", "2026-10-24 23:59"),
        ("2026-10-25 02:00", "2026-10-25 00:00"),  # comes twice: the first time
        ("2026-10-25 02:30", "2026-10-25 00:30"),
        ("2026-10-25 02:59", "2026-10-25 00:59"),
        ("2026-10-25 03:00", "2026-10-25 02:00"),
    ],
)
def test_local_times_that_do_not_exist_or_come_twice(local, utc):
    plan = calendar(BERLIN)
    day, clock = local.split()
    hours, minutes = map(int, clock.split(":"))
    assert instant(plan.zone, date.fromisoformat(day), hours * 60 + minutes) == at(utc)


def test_shifts_that_change_in_the_hour_that_is_left_out_or_comes_twice():
    plan = calendar(
        BERLIN,
        shifts={
            "a": {"from": "22:00", "to": "02:15", "breaks": [{"from": "02:00", "to": "02:15"}]},
            "b": {"from": "02:15", "to": "02:45"},
            "c": {"from": "02:45", "to": "06:00"},
        },
    )
    # 22:00 to 02:00 is four hours; b and the break of a fall into the hour that is left out; c is 03:00 to 06:00.
    zero = at("2026-03-28 22:00", BERLIN)
    assert [(s.name, (s.end_ns - s.start_ns) / HOUR, len(s.breaks)) for s in plan.shifts(zero, zero + 7 * HOUR)] == [
        ("a", 4, 0),
        ("c", 3, 0),
    ]
    # In autumn b is over at the first 02:45, and c has the hour that comes twice: 02:45+02:00 to 06:00+01:00.
    zero = at("2026-10-24 22:00", BERLIN)
    assert [(s.name, (s.end_ns - s.start_ns) / HOUR) for s in plan.shifts(zero, zero + 9 * HOUR)] == [
        ("a", 4.25),
        ("b", 0.5),
        ("c", 4.25),
    ]


def test_hours_of_a_day_with_two_of_them():
    plan = calendar(BERLIN)
    begin = at("2026-10-25 00:00", BERLIN)
    hours = intervals_of("hour", plan, begin, begin + 25 * HOUR)
    assert len(hours) == 25
    assert [h.name for h in hours[:5]] == ["00:00", "01:00", "02:00", "02:00+01:00", "03:00"]
    assert {h.day for h in hours} == {"2026-10-25"}
    assert all(h.end_ns - h.start_ns == HOUR for h in hours)
    begin = at("2026-03-29 00:00", BERLIN)
    hours = intervals_of("hour", plan, begin, begin + 23 * HOUR)
    assert [h.name for h in hours[:4]] == ["00:00", "01:00", "03:00", "04:00"]
    assert (len(hours), hours[-1].name) == (23, "23:00")


def test_intervals_are_whole():
    plan = one_shift("06:00", "14:00")
    inside = at("2026-03-02 06:40")
    assert intervals_of("hour", plan, inside, inside + 1) == [
        ("hour", "06:00", at("2026-03-02 06:00"), at("2026-03-02 07:00"), "2026-03-02")
    ]
    assert intervals_of("quarter", plan, inside, inside + 10 * MINUTE) == [
        ("quarter", "06:30", at("2026-03-02 06:30"), at("2026-03-02 06:45"), "2026-03-02"),
        ("quarter", "06:45", at("2026-03-02 06:45"), at("2026-03-02 07:00"), "2026-03-02"),
    ]
    assert intervals_of("shift", plan, inside, inside + 1) == [
        ("shift", "early", at("2026-03-02 06:00"), at("2026-03-02 14:00"), "2026-03-02")
    ]
    assert intervals_of("shift", plan, at("2026-03-02 14:00"), at("2026-03-03 06:00")) == []
    assert intervals_of("day", plan, inside, inside + 24 * HOUR) == [
        ("day", "day", at("2026-03-02 00:00"), at("2026-03-03 00:00"), "2026-03-02"),
        ("day", "day", at("2026-03-03 00:00"), at("2026-03-04 00:00"), "2026-03-03"),
    ]


def test_hours_where_the_offset_is_not_a_whole_hour():
    plan = calendar("Asia/Kathmandu")  # UTC+05:45
    begin = at("2026-03-02 10:00+05:45")
    assert intervals_of("hour", plan, begin + MINUTE, begin + 2 * MINUTE)[0] == (
        "hour", "10:00", begin, begin + HOUR, "2026-03-02",
    )  # fmt: skip


def test_a_clock_that_is_put_by_half_an_hour():
    plan = calendar("Australia/Lord_Howe")  # 2026-04-05 02:00+11:00 becomes 01:30+10:30
    begin = at("2026-04-05 01:00+11:00")
    expected = [("01:00", 0, 60), ("01:30+10:30", 60, 90), ("02:00", 90, 150)]
    hours = intervals_of("hour", plan, begin, begin + 100 * MINUTE)
    assert [(h.name, (h.start_ns - begin) / MINUTE, (h.end_ns - begin) / MINUTE) for h in hours] == expected
    # The same, asked for from the middle of any of them.
    for minute, hour in ((30, 0), (75, 1), (100, 2)):
        (found,) = intervals_of("hour", plan, begin + minute * MINUTE, begin + minute * MINUTE + 1)
        assert found == hours[hour]


def test_midnights_that_do_not_exist_or_come_late():
    # Chile 2026-09-06: 00:00-04:00 becomes 01:00-03:00. The day begins at that moment and has 23 hours.
    plan = calendar("America/Santiago")
    (day,) = intervals_of("day", plan, at("2026-09-06 12:00-03:00"), at("2026-09-06 12:01-03:00"))
    assert (day.start_ns, day.end_ns) == (at("2026-09-06 04:00"), at("2026-09-07 03:00"))
    # Cuba 2026-11-01: 01:00-04:00 becomes 00:00-05:00. The day begins at the first midnight and has 25 hours.
    plan = calendar("America/Havana")
    for inside in ("2026-11-01 00:30-04:00", "2026-11-01 00:30-05:00"):
        (day,) = intervals_of("day", plan, at(inside), at(inside) + 1)
        assert (day.start_ns, day.end_ns) == (at("2026-11-01 04:00"), at("2026-11-02 05:00"))
    # Newfoundland 2006-10-29: 00:01-02:30 became 23:01-03:30 of the day before. Only one of the two midnights counts.
    plan = calendar("America/St_Johns")
    begin = at("2006-10-29 00:00-02:30")
    assert plan.day_of(begin - 1) == date(2006, 10, 28)
    assert plan.day_of(begin) == plan.day_of(begin + 30 * MINUTE) == plan.day_of(begin + 2 * HOUR) == date(2006, 10, 29)
    assert plan.next_boundary(begin + 30 * MINUTE) == at("2006-10-30 00:00-03:30")


def test_a_day_that_did_not_exist():
    plan = calendar("Pacific/Apia")  # 2011-12-29 24:00-10:00 became 2011-12-31 00:00+14:00
    days = intervals_of("day", plan, at("2011-12-29 12:00-10:00"), at("2011-12-31 12:00+14:00"))
    assert [(d.day, (d.end_ns - d.start_ns) / HOUR) for d in days] == [("2011-12-29", 24), ("2011-12-31", 24)]


def test_boundaries():
    plan = one_shift("06:00", "14:00", ("09:00", "09:15"))
    t, found = at("2026-03-02 00:00"), []
    while t < at("2026-03-03 06:00"):
        t = plan.next_boundary(t)
        found.append(t)
    clocks = ("02 06:00", "02 09:00", "02 09:15", "02 14:00", "03 00:00", "03 06:00")
    assert found == [at(f"2026-03-{clock}") for clock in clocks]
    assert plan.next_boundary(at("2026-03-02 08:59")) == at("2026-03-02 09:00")
