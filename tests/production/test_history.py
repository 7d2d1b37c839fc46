"""What is remembered of a machine: states, totals by a few readings, late data, and how much memory that takes."""

import json
import sys

import pytest

from gateway.production import History
from gateway.production.totals import TAIL
from production.material import HOUR, MINUTE, NS, THREE, at, calendar, count, one_shift, rising, told

T = at("2026-03-02 06:00")


def pieces(history, start, end):
    """Pieces as minutes after T."""
    return [((p.start_ns - T) / MINUTE, (p.end_ns - T) / MINUTE, p.word, p.reason) for p in history.pieces(start, end)]


# --- states ----------------------------------------------------------------------------------------------------------


def test_states_from_their_change_to_the_next():
    history = told(
        [(T, "running"), (T + 5 * MINUTE, "running"), (T + 10 * MINUTE, "fault", "jam"), (T + 12 * MINUTE, "running")]
    )
    assert pieces(history, T - 5 * MINUTE, T + 20 * MINUTE) == [
        (-5, 0, "unknown", ""),
        (0, 10, "running", ""),
        (10, 12, "fault", "jam"),
        (12, 20, "running", ""),
    ]
    assert pieces(history, T + 11 * MINUTE, T + 12 * MINUTE) == [(11, 12, "fault", "jam")]
    assert pieces(history, T + 30 * MINUTE, T + 40 * MINUTE) == [(30, 40, "running", "")]
    assert history.current == (T + 12 * MINUTE, T + 12 * MINUTE, "running", "")


def test_nothing_is_known_at_first():
    history = History()
    assert pieces(history, T, T + MINUTE) == [(0, 1, "unknown", "")]
    assert history.current is None
    assert history.newest_ns is None
    assert history.read_ns is None


def test_of_two_words_for_one_moment_the_last_one_counts():
    history = told([(T, "running"), (T + MINUTE, "fault"), (T + MINUTE, "waiting")])
    assert pieces(history, T, T + 2 * MINUTE) == [(0, 1, "running", ""), (1, 2, "waiting", "")]
    assert history.state(T + MINUTE, "running")
    assert pieces(history, T, T + 2 * MINUTE) == [(0, 2, "running", "")]


def test_what_is_older_than_the_newest_change_is_left_out():
    history = told([(T, "running"), (T + MINUTE, "fault")])
    assert not history.state(T + MINUTE - 1, "off")
    assert pieces(history, T, T + 2 * MINUTE) == [(0, 1, "running", ""), (1, 2, "fault", "")]


def test_a_word_that_is_none():
    history = History()
    with pytest.raises(ValueError, match="'broken' is not a state of a machine"):
        history.state(T, "broken")
    with pytest.raises(ValueError, match="'broken' is not a state of a machine"):
        history.replace(T, T + 1, [(T, "broken", "")])
    with pytest.raises(KeyError):
        History(("good",)).total("energy", T, 1.0)


# --- totals ----------------------------------------------------------------------------------------------------------


def amount(history, name, start, end, **keys):
    found = history.amount(name, [(start, end)], **keys)
    return None if found is None else (found.value, found.estimated, found.missing_ns / MINUTE)


def test_amounts_between_cuts_are_exact_though_most_readings_are_dropped():
    """A meter that rises unevenly: the second part of each hour twice as fast. Cuts every quarter of an hour."""
    history = History(("energy",))
    value, kept = 0.0, {}
    for second in range(8 * 3600 + 1):
        value += 2.0 if second % 3600 > 1800 else 1.0
        history.total("energy", T + second * NS, value)
        if second % 900 == 0:
            kept[second] = value
    for start, end in ((0, 900), (900, 1800), (0, 28800), (13500, 27000)):
        assert amount(history, "energy", T + start * NS, T + end * NS) == (kept[end] - kept[start], 0, 0)
    # one in two minutes, those at the cuts, and the newest ones
    readings = history.readings("energy")
    assert readings is not None
    assert len(readings.time) < 8 * 3600 / 120 + 3 * 32 + TAIL + 2


def test_a_boundary_between_two_readings_is_interpolated():
    """Shift end at 14:00; readings at 13:59:57 (100) and 14:00:07 (110): 3 of 10 s before it."""
    plan = one_shift("06:00", "14:00")
    history, end = History(("energy",), calendar=plan), at("2026-03-02 14:00")
    count(history, "energy", (end - HOUR, 0.0), (end - 3 * NS, 100.0), (end + 7 * NS, 110.0))
    assert amount(history, "energy", end - 3 * NS, end) == (pytest.approx(3.0), 0, 0)
    assert amount(history, "energy", end, end + 7 * NS) == (pytest.approx(7.0), 0, 0)


def test_parts_are_counted_when_they_are_complete():
    """3 parts in 10 s, boundary after 5 s: 1.5, so one is complete. What is no whole number stays as it is."""
    history = History(("good", "energy"))
    for name in ("good", "energy"):
        count(history, name, (T, 10.0), (T + 10 * NS, 13.0))
    assert amount(history, "good", T, T + 5 * NS, whole=True) == (1.0, 0, 0)
    assert amount(history, "good", T + 5 * NS, T + 10 * NS, whole=True) == (2.0, 0, 0)
    assert amount(history, "energy", T, T + 5 * NS) == (1.5, 0, 0)
    count(history, "good", (T + 20 * NS, 13.5))
    assert amount(history, "good", T + 10 * NS, T + 15 * NS, whole=True) == (0.25, 0, 0)


def test_a_change_of_state_is_a_cut_also_when_it_is_found_out_later():
    history = History(("energy",))
    for second in range(100):
        history.total("energy", T + second * NS, 10.0 * min(second, 37))
    history.state(T + 37 * NS, "idle")  # 62 readings later
    for second in range(100, 600):
        history.total("energy", T + second * NS, 370.0)
    assert amount(history, "energy", T, T + 37 * NS) == (370.0, 0, 0)
    assert amount(history, "energy", T + 37 * NS, T + 600 * NS) == (0.0, 0, pytest.approx(1 / 60))


def test_a_gap_is_spread_evenly_and_declared():
    """10 parts until 10:00, nothing until 10:40, then 50: 1 a minute. The hour to 10:30 gets 30 of them, all estimated."""
    history, ten = History(("good",)), at("2026-03-02 10:00")
    count(history, "good", (ten - MINUTE, 0), (ten, 10), (ten + 40 * MINUTE, 50), (ten + 41 * MINUTE, 51))
    assert amount(history, "good", ten - MINUTE, ten + 30 * MINUTE) == (40.0, 30.0, 0)
    assert amount(history, "good", ten + 30 * MINUTE, ten + 41 * MINUTE) == (11.0, 10.0, 0)
    # A time within the gap is estimated as a whole, and one that holds the whole gap not at all.
    assert amount(history, "good", ten + 10 * MINUTE, ten + 20 * MINUTE) == (10.0, 10.0, 0)
    assert amount(history, "good", ten - MINUTE, ten + 41 * MINUTE) == (51.0, 0.0, 0)


def test_a_gap_keeps_its_ends():
    """Readings every second but for five minutes, none of them at a cut."""
    history = History(("energy",))
    for second in [*range(10, 300), *range(600, 1700)]:
        history.total("energy", T + second * NS, float(second))
    readings = history.readings("energy")
    assert readings is not None
    assert {T + 299 * NS, T + 600 * NS} <= set(readings.time)
    assert amount(history, "energy", T + 299 * NS, T + 400 * NS) == (pytest.approx(101.0), pytest.approx(101.0), 0)


def test_what_lies_outside_of_the_readings():
    history = History(("good",))
    assert amount(history, "good", T, T + MINUTE) is None
    count(history, "good", (T, 5))
    assert amount(history, "good", T - MINUTE, T + MINUTE) is None
    count(history, "good", (T + MINUTE, 8))
    assert amount(history, "good", T - 2 * MINUTE, T + 4 * MINUTE) == (3.0, 0, 5)
    assert amount(history, "good", T + MINUTE, T + 2 * MINUTE) is None
    assert amount(history, "energy", T, T + MINUTE) is None
    assert amount(History(()), "good", T, T + MINUTE) is None


def test_a_total_that_begins_anew_counts_on():
    """After a restart without a memory: 100 … 107, then 0 … 4. 7 and 4 were counted."""
    history = History(("good",))
    count(history, "good", (T, 100), (T + 10 * NS, 107), (T + 20 * NS, 0), (T + 10 * MINUTE, 4))
    assert amount(history, "good", T, T + 10 * MINUTE) == (11.0, 0, 0)
    assert amount(history, "good", T + 10 * NS, T + 20 * NS) == (0.0, 0, 0)
    # Late data of before the restart are in the numbers of that time, those of after it in the new ones.
    history.replace(T - HOUR, T, totals={"good": [(T - HOUR, 40), (T - MINUTE, 94)]})
    assert amount(history, "good", T - HOUR, T) == (60.0, 0, 0)
    history.replace(T + MINUTE, T + 10 * MINUTE, totals={"good": [(T + 5 * MINUTE, 3)]})
    assert amount(history, "good", T - HOUR, T + 5 * MINUTE) == (70.0, 0, 0)


def test_up_to_where_everything_is_known():
    history = told([(T + HOUR, "running")], totals=("good", "reject", "energy"))
    count(history, "good", (T, 1), (T + 10 * NS, 2))
    count(history, "energy", (T + 5 * NS, 1))
    assert history.read_ns == T + 5 * NS  # there never was a reading of `reject`
    assert history.newest_ns == T + HOUR


def test_readings_that_are_old_or_no_numbers_are_left_out():
    history = History(("good",))
    count(history, "good", (T, 1), (T + 10 * NS, 5))
    assert not history.total("good", T + 9 * NS, 9)
    assert not history.total("good", T + 11 * NS, float("nan"))
    assert not history.total("good", T + 11 * NS, float("inf"))
    assert history.total("good", T + 10 * NS, 6)  # the same moment once more
    assert amount(history, "good", T, T + 10 * NS) == (5.0, 0, 0)


# --- late data -------------------------------------------------------------------------------------------------------


def test_late_states_take_the_place_of_unknown():
    history = told([(T, "running"), (T + 10 * MINUTE, "unknown"), (T + 30 * MINUTE, "running", "again")])
    touched = history.replace(
        T + 10 * MINUTE,
        T + 30 * MINUTE,
        [(T + 15 * MINUTE, "fault", "jam"), (T + 12 * MINUTE, "running", ""), (T + 45 * MINUTE, "off", "")],
    )
    assert touched == (T + 10 * MINUTE, T + 30 * MINUTE)
    assert pieces(history, T, T + 40 * MINUTE) == [
        (0, 10, "running", ""),
        (10, 12, "unknown", ""),  # nothing came for it
        (12, 15, "running", ""),
        (15, 30, "fault", "jam"),
        (30, 40, "running", "again"),
    ]


def test_late_states_within_one_state_end_with_it():
    history = told([(T, "running")])
    history.replace(
        T + 5 * MINUTE, T + 10 * MINUTE, [(T + 5 * MINUTE, "fault", "jam"), (T + 8 * MINUTE, "running", "")]
    )
    assert pieces(history, T, T + 20 * MINUTE) == [
        (0, 5, "running", ""),
        (5, 8, "fault", "jam"),
        (8, 20, "running", ""),
    ]
    history.replace(T + 5 * MINUTE, T + 10 * MINUTE, [(T + 5 * MINUTE, "running", "")])
    assert pieces(history, T, T + 20 * MINUTE) == [(0, 20, "running", "")]


def test_late_states_before_all_that_is_known():
    history = told([(T, "running")])
    history.replace(T - 10 * MINUTE, T - 5 * MINUTE, [(T - 10 * MINUTE, "setup", "")])
    assert pieces(history, T - 15 * MINUTE, T + MINUTE) == [
        (-15, -10, "unknown", ""),
        (-10, -5, "setup", ""),
        (-5, 0, "unknown", ""),
        (0, 1, "running", ""),
    ]
    history = History()
    history.replace(T, T + MINUTE, [(T, "running", "")])
    assert pieces(history, T, T + 2 * MINUTE) == [(0, 1, "running", ""), (1, 2, "unknown", "")]


def test_late_readings_fill_a_gap():
    """10:00 (10) to 10:40 (50), evenly spread. Late: 50 were reached at 10:10 already."""
    history, ten = History(("good",)), at("2026-03-02 10:00")
    count(history, "good", (ten - MINUTE, 0), (ten, 10), (ten + 40 * MINUTE, 50), (ten + 41 * MINUTE, 51))
    late = [(ten + m * MINUTE, 10 + 4 * min(m, 10)) for m in range(1, 40)]
    touched = history.replace(ten + MINUTE, ten + 40 * MINUTE, totals={"good": late})
    assert touched == (ten, ten + 40 * MINUTE)  # figures of the whole gap are others now
    assert amount(history, "good", ten, ten + 10 * MINUTE) == (40.0, 0, 0)
    assert amount(history, "good", ten + 10 * MINUTE, ten + 40 * MINUTE) == (0.0, 0, 0)


def test_late_readings_that_do_not_fit_are_left_out():
    history = History(("good",))
    count(history, "good", (T, 10), (T + 40 * MINUTE, 50))
    late = [(T + 10 * MINUTE, 5), (T + 11 * MINUTE, 30), (T + 12 * MINUTE, 20), (T + 13 * MINUTE, 60)]
    history.replace(T, T + 40 * MINUTE, totals={"good": late})
    assert amount(history, "good", T, T + 11 * MINUTE)[0] == 20.0
    assert amount(history, "good", T, T + 40 * MINUTE)[0] == 40.0
    assert history.replace(T, T + HOUR, totals={"good": [(T + 10 * MINUTE, 999)]}) == (T, T + HOUR)
    assert amount(history, "good", T, T + 40 * MINUTE)[0] == 40.0


def test_late_readings_are_thinned_and_kept_at_changes_of_state():
    history = History(("energy",))
    count(history, "energy", (T, 0.0), (T + 2 * HOUR, 6000.0))
    late = [(T + s * NS, 2.0 * min(s, 3000)) for s in range(1, 7200)]  # 2 a second until 06:50
    history.replace(T, T + 2 * HOUR, [(T, "running", ""), (T + 3000 * NS, "idle", "")], {"energy": late})
    readings = history.readings("energy")
    assert readings is not None
    assert len(readings.time) < 7200 / 60 + 3 * 10
    assert amount(history, "energy", T, T + 3000 * NS) == (6000.0, 0, 0)
    assert amount(history, "energy", T + 3000 * NS, T + 2 * HOUR - NS)[0] == 0.0


def test_late_readings_before_and_behind_all_others():
    history = History(("good",))
    history.replace(T, T + MINUTE, totals={"good": [(T + 20 * NS, 2), (T + 10 * NS, 1)]})
    count(history, "good", (T + 30 * NS, 3))
    history.replace(T, T + MINUTE, totals={"good": [(T, 0)]})
    assert amount(history, "good", T, T + 30 * NS) == (3.0, 0, 0)


# --- bounds and keeping ----------------------------------------------------------------------------------------------


def test_what_is_older_than_eight_days_is_forgotten():
    history = History(("good",))
    day = 24 * HOUR
    for hour in range(10 * 24):
        history.state(T + hour * HOUR, "running" if hour % 2 else "idle", f"reason {hour}")
        history.total("good", T + hour * HOUR, hour)
    now = T + (10 * 24 - 1) * HOUR
    words = {p.word for p in history.pieces(T, now - 8 * day - HOUR)}
    assert words == {"unknown"}
    assert "unknown" not in {p.word for p in history.pieces(now - 8 * day, now)}
    assert amount(history, "good", now - 8 * day, now) == (192.0, 0, 0)
    assert len(history.dump()["reasons"]) <= 8 * 24 + 3


def test_forgetting_keeps_what_holds():
    history = told([(T, "running", "a"), (T + HOUR, "fault", "b"), (T + 2 * HOUR, "running", "c")], totals=("good",))
    count(history, "good", (T, 0), (T + HOUR, 60), (T + 2 * HOUR, 120))
    history.forget(T + 90 * MINUTE)
    assert pieces(history, T + 80 * MINUTE, T + 130 * MINUTE) == [
        (80, 90, "unknown", ""),
        (90, 120, "fault", "b"),
        (120, 130, "running", "c"),
    ]
    assert amount(history, "good", T + 90 * MINUTE, T + 2 * HOUR) == (30.0, 30.0, 0)


def test_a_machine_that_changes_its_state_all_the_time_is_remembered_for_less_time():
    history = History(())
    for i in range(120_000):
        history.state(T + i * NS, "running" if i % 2 else "waiting")
    assert len(history.dump()["states"]["t"]) <= 100_001
    assert history.pieces(T, T + NS)[0].word == "unknown"
    assert len(history.pieces(T + 60_000 * NS, T + 120_000 * NS)) == 60_000


def test_eight_days_with_a_change_every_minute_take_less_than_3_mib():
    history = History(("good", "reject", "total", "energy"), calendar=calendar(shifts=THREE))
    for minute in range(8 * 24 * 60):
        t = T + minute * MINUTE
        history.state(t, ("running", "waiting", "fault", "idle")[minute % 4], f"reason {minute % 50}")
        for offset in (5, 25, 45):
            for name in ("good", "reject", "total", "energy"):
                history.total(name, t + offset * NS, float(minute))
    columns = [history._time, history._word, history._reason]
    for name in ("good", "reject", "total", "energy"):
        readings = history.readings(name)
        assert readings is not None
        columns += [readings.time, readings.value]
    assert sum(map(sys.getsizeof, columns)) < 3 * 2**20
    assert len(history._time) == 8 * 24 * 60


def test_a_dump_is_json_and_brings_everything_back():
    plan = one_shift("06:00", "14:00")
    history = told(
        [(T, "running"), (T + HOUR, "fault", "jam"), (T + 2 * HOUR, "running")], plan, totals=("good", "energy")
    )
    rising(history, "energy", T, T + 3 * HOUR, per_hour=12.5)
    count(history, "good", (T, 100), (T + HOUR, 107), (T + 2 * HOUR, 0), (T + 3 * HOUR, 4))
    again = History(("good", "energy", "reject"), calendar=plan)
    again.load(json.loads(json.dumps(history.dump())))
    assert again.pieces(T - HOUR, T + 4 * HOUR) == history.pieces(T - HOUR, T + 4 * HOUR)
    for start, end in ((0, 3), (1, 2)):
        for name in ("good", "energy"):
            stretch = T + start * HOUR, T + end * HOUR
            assert amount(again, name, *stretch) == amount(history, name, *stretch)
    assert amount(again, "reject", T, T + HOUR) is None
    # And it goes on: the next reading of what had begun anew continues it.
    count(again, "good", (T + 4 * HOUR, 9))
    assert amount(again, "good", T, T + 4 * HOUR)[0] == 16.0
    assert again.state(T + 4 * HOUR, "fault", "jam")
    assert again.dump()["reasons"] == history.dump()["reasons"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(v=2),
        lambda d: d.pop("states"),
        lambda d: d["states"].update(t=[1]),
        lambda d: d["states"].update(t=[5, 0, 1]),
        lambda d: d["states"].update(reason=[0, 0, 9]),
        lambda d: d["states"].update(word=[0, 0, 99]),
        lambda d: d.update(reasons=[]),
        lambda d: d["totals"]["good"].update(v=[1.0]),
        lambda d: d["totals"]["good"].update(v=[2.0, 1.0]),
        lambda d: d["totals"]["good"].update(t=[2.5, 1]),
        lambda d: d["totals"].update(good=None),
    ],
)
def test_what_is_no_dump_changes_nothing(change):
    history = told([(T, "running"), (T + MINUTE, "fault", "jam"), (T + HOUR, "idle")], totals=("good",))
    count(history, "good", (T, 1), (T + HOUR, 2))
    dump = json.loads(json.dumps(history.dump()))
    change(dump)
    with pytest.raises(ValueError, match="this is not the history of a machine"):
        history.load(dump)
    assert pieces(history, T, T + MINUTE) == [(0, 1, "running", "")]
    assert amount(history, "good", T, T + HOUR)[0] == 1.0
    for nonsense in (None, [], "x", 5, {}):
        with pytest.raises(ValueError, match="this is not the history of a machine"):
            history.load(nonsense)


def test_a_word_of_a_later_version_is_unknown():
    history = told([(T, "running"), (T + MINUTE, "fault")])
    dump = history.dump()
    dump["words"] = ["dancing" if word == "fault" else word for word in dump["words"]]
    history.load(dump)
    assert pieces(history, T, T + 2 * MINUTE) == [(0, 1, "running", ""), (1, 2, "unknown", "")]


# --- what does not fit, what is unknown, where it begins ---------------------------------------------------------------


def test_what_was_left_out_makes_the_amount_doubtful():
    """A reset in an outage: 29 (06:05), then 60 (06:25). Late: up to 89 at 06:15, then 0 to 59. What is below 89 does not fit."""
    history = History(("good",))
    count(history, "good", (T, 0), (T + 5 * MINUTE, 29), (T + 25 * MINUTE, 89), (T + 26 * MINUTE, 95))
    late = [(T + 15 * MINUTE, 89), (T + 16 * MINUTE, 0), (T + 24 * MINUTE, 54)]
    history.replace(T, T + 25 * MINUTE, totals={"good": late})

    def doubtful(start: int, end: int) -> bool:
        return history.amount("good", [(T + start * MINUTE, T + end * MINUTE)]).doubtful

    assert doubtful(0, 26)
    assert doubtful(15, 25)
    assert not doubtful(0, 15)  # as far as they fit it is known
    assert not doubtful(25, 26)
    again = History(("good",))
    again.load(json.loads(json.dumps(history.dump())))
    assert again.amount("good", [(T, T + 26 * MINUTE)]).doubtful


def test_what_was_left_out_among_readings_that_are_close_says_nothing():
    history = History(("good",))
    rising(history, "good", T, T + HOUR, per_hour=360)
    history.replace(T, T + HOUR, totals={"good": [(T + 30 * MINUTE, 5), (T + 31 * MINUTE, 999)]})
    assert not history.amount("good", [(T, T + HOUR)]).doubtful


def test_a_late_reading_that_is_uncertain_makes_the_amount_doubtful():
    history = History(("good",))
    count(history, "good", (T, 0), (T + 40 * MINUTE, 40))
    at = T + 20 * MINUTE
    history.replace(T, T + HOUR, totals={"good": [(at, 20)]}, unsure={"good": {at}})
    assert amount(history, "good", T, at) == (20.0, 0, 0)
    assert history.amount("good", [(T, at)]).doubtful


def test_an_unknown_amount_that_becomes_known_moves_all_that_follows():
    """10 kWh until 06:30, unknown to 07:00, 5 more until 07:30. Late: 8 until 06:45, the rest stays unknown; then 20 in all of it."""
    history = History(("energy",))
    for minute, kwh, unknown in ((0, 0, False), (30, 10, False), (60, 10, True), (90, 15, False)):
        history.total("energy", T + minute * MINUTE, kwh, unknown=unknown)
    begin, middle, end = T + 30 * MINUTE, T + 45 * MINUTE, T + 60 * MINUTE
    assert amount(history, "energy", T, T + 90 * MINUTE) == (15.0, 0, 30)
    assert history.reshape("energy", begin, end, [(middle, 8.0), (end, 8.0)], [(middle, end)]) == (begin, end)
    assert amount(history, "energy", T, T + 90 * MINUTE) == (23.0, 0, 15)
    assert amount(history, "energy", begin, middle) == (8.0, 0, 0)
    history.reshape("energy", begin, end, [(middle, 8.0), (end, 20.0)], [])
    assert amount(history, "energy", T, T + 90 * MINUTE) == (35.0, 0, 0)
    history.total("energy", T + 100 * MINUTE, 16)  # of the meter, which knows nothing of it
    assert amount(history, "energy", T + 90 * MINUTE, T + 100 * MINUTE) == (1.0, 0, 0)


def test_it_begins_with_the_first_thing_that_is_known():
    """A counter that is read 12 ms before the first state is judged, and again 12 ms after it: its 30 parts are not cut in two."""
    early, late, ms = History(("good",)), History(("good",)), 1_000_000
    assert early.first_ns is None
    count(early, "good", (T, 100))
    assert early.first_ns == T
    early.state(T + 12 * ms, "running")
    count(early, "good", (T + 24 * ms, 130))
    assert early.first_ns == T
    assert amount(early, "good", early.first_ns, T + MINUTE, whole=True)[0] == 30.0
    late.state(T, "running")
    count(late, "good", (T + 12 * ms, 100))
    assert late.first_ns == T


def test_more_unknown_times_than_can_be_remembered_cost_the_oldest(monkeypatch):
    monkeypatch.setattr("gateway.production.totals.MAX_STRETCHES", 100)
    history = History(("energy",))
    for i in range(2000):
        history.total("energy", T + i * MINUTE, i, unknown=i % 2 == 0)
    readings = history.readings("energy")
    assert len(readings.unknown) < 200
    assert readings.unknown.length(T + 1950 * MINUTE, T + 2000 * MINUTE) == 24 * MINUTE  # 1951 to 1952 … 1997 to 1998
