"""Figures worked out by hand. The arithmetic stands beside each of them."""

import json
from dataclasses import asdict
from time import process_time

import pytest

from gateway.config.production import KpiSettings
from gateway.production import FORMULAS, INPUTS, History, figures
from gateway.production.times import micro_stops
from production.material import BERLIN, HOUR, MINUTE, NS, THREE, at, calendar, count, one_shift, told

T = at("2026-03-02 06:00")
SHIFT = one_shift("06:00", "14:00")


def settings(**keys):
    return KpiSettings.model_validate(keys)


def of_shift(history, plan=SHIFT, start=T, end=T + 8 * HOUR, **keys):
    return figures(history, start, end, plan, settings(**keys))


def test_the_textbook():
    """The example most introductions to OEE use (Vorne, "The Fast Guide to OEE"):

    shift 8 h = 480 min; two breaks of 15 min, a meal of 30 min: planned 480 - 60 = 420 min
    downtime 47 min: 420 - 47 = 373 min      A = 373 / 420                    = 88.81 %
    60 parts a minute, 19,271 made           P = 19271 / (373 × 60)           = 86.11 %
    423 rejects                              Q = (19271 - 423) / 19271        = 97.80 %
                                             OEE = 0.8881 × 0.8611 × 0.9780   = 74.79 %
    """
    plan = one_shift("06:00", "14:00", ("08:00", "08:15"), ("10:00", "10:30"), ("12:00", "12:15"))
    breaks = [(T + m * MINUTE, T + n * MINUTE) for m, n in ((120, 135), (240, 270), (360, 375))]
    states = [(T, "running"), (T + 30 * MINUTE, "fault", "jam"), (T + 77 * MINUTE, "running")]
    for begin, end in breaks:
        states += [(begin, "idle"), (end, "running")]
    history = told(states, plan)
    count(
        history,
        "total",
        (T, 0),
        (T + 30 * MINUTE, 3000),
        (T + 77 * MINUTE, 3000),
        (breaks[0][0], 5000),
        (breaks[0][1], 5000),
    )
    count(history, "total", (breaks[1][0], 10000), (breaks[1][1], 10000), (breaks[2][0], 15000), (breaks[2][1], 15000))
    count(history, "total", (T + 8 * HOUR, 19271))
    count(history, "reject", (T, 7), (breaks[0][0], 100), (breaks[0][1], 100), (breaks[1][0], 200), (breaks[1][1], 200))
    count(history, "reject", (breaks[2][0], 300), (breaks[2][1], 300), (T + 8 * HOUR, 430))
    found = of_shift(history, plan, total="t", reject="r", ideal_cycle="1s")
    assert found.inputs["planned_busy_time"] == 420 * 60
    assert found.inputs["production_time"] == 373 * 60
    assert found.inputs["delay_time"] == found.inputs["failure_time"] == 47 * 60
    assert (found.inputs["produced"], found.inputs["good"], found.inputs["reject"]) == (19271, 18848, 423)
    rounded = {
        name: round(100 * value, 2) for name, value in found.kpis.items() if name in ("availability", "quality", "oee")
    }
    assert rounded == {"availability": 88.81, "quality": 97.80, "oee": 74.79}
    assert round(100 * found.kpis["performance"], 2) == 86.11
    assert found.kpis["scrap_ratio"] == 423 / 19271
    assert found.uncertain == ""


def test_every_time_of_a_shift():
    """06:00 to 14:00, break 09:00 to 09:15 (minutes 180 to 195): POT = 480 - 15 = 465 min.

    maintenance, which is planned       PDOT = 30          PBT = 465 - 30 = 435
    running                             APT  = 60 + 60 + 20 + 80 + 80 = 300
    setup                               AUST = 30          AUPT = 300 + 30 = 330
    waiting 10, fault 30, held 10, stopped 10              ADET = 60, AUBT = 330 + 60 = 390
    idle 20 (and 15 in the break), off 10                  ADOT = 30
    unknown                             15                 435 = 300 + 30 + 60 + 30 + 15
    """
    plan = one_shift("06:00", "14:00", ("09:00", "09:15"))
    minutes = [
        (0, "running"), (60, "setup"), (90, "running"), (150, "waiting"), (160, "running"), (180, "idle"), (195, "fault"),
        (225, "running"), (305, "maintenance"), (335, "idle"), (355, "off"), (365, "held"), (375, "stopped"), (385, "unknown"),
        (400, "running"),
    ]  # fmt: skip
    found = of_shift(told([(T + m * MINUTE, word) for m, word in minutes], plan), plan)
    expected = {
        "calendar_time": 480, "off_shift_time": 0, "break_time": 15, "planned_operation_time": 465, "planned_downtime": 30,
        "planned_busy_time": 435, "production_time": 300, "setup_time": 30, "processing_time": 330, "delay_time": 60,
        "busy_time": 390, "down_time": 30, "unknown_time": 15, "failure_time": 30, "running_outside_time": 0,
    }  # fmt: skip
    assert {name: found.inputs[name] / 60 for name in expected} == expected
    assert found.inputs["downtime_by_state"] == {
        "setup": 1800, "waiting": 600, "fault": 1800, "idle": 1200, "off": 600, "held": 600, "stopped": 600,
    }  # fmt: skip
    assert found.inputs["time_by_state"]["idle"] == (15 + 20) * 60
    assert found.kpis["availability"] == pytest.approx(300 / 435)
    assert found.kpis["allocation_efficiency"] == pytest.approx(390 / 435)
    assert found.kpis["utilization_efficiency"] == pytest.approx(300 / 390)
    assert found.kpis["technical_efficiency"] == pytest.approx(300 / 360)
    assert found.kpis["setup_rate"] == pytest.approx(30 / 330)
    assert found.kpis["mtbf"] == 330 * 60  # one failure
    assert found.kpis["mttr"] == 30 * 60
    assert {n for n, v in found.kpis.items() if v is None} == {
        "performance", "quality", "oee", "nee", "scrap_ratio", "throughput",
    }  # fmt: skip


def test_planned_setup_is_no_part_of_the_planned_busy_time():
    """480 min, 40 of them setup, the rest running: A = 440 / 480, or 440 / 440 where setup is planned."""
    history = told([(T, "setup"), (T + 40 * MINUTE, "running")])
    assert of_shift(history).kpis["availability"] == pytest.approx(440 / 480)
    planned = of_shift(history, planned=["setup"])
    assert planned.kpis["availability"] == 1.0
    assert (planned.inputs["planned_downtime"], planned.inputs["setup_time"]) == (2400, 0)


def test_net_equipment_effectiveness():
    """400 min running, 80 min setup; 1 s for a part, 18,000 made, 16,200 of them good:

    E = 18000 / 24000 = 0.75, Q = 0.9, NEE = 480 / 480 × 0.75 × 0.9 = 0.675; OEE = 400 / 480 × 0.675 = 0.5625
    """
    history = told([(T, "setup"), (T + 80 * MINUTE, "running")])
    for name, value in (("total", 18000), ("good", 16200)):
        count(history, name, (T, 0), (T + 8 * HOUR, value))
    found = of_shift(history, total="t", good="g", ideal_cycle="1s")
    assert found.kpis["nee"] == pytest.approx(0.675)
    assert found.kpis["oee"] == pytest.approx(0.5625)
    assert found.kpis["throughput"] == pytest.approx(18000 / 8)


# --- calendars -------------------------------------------------------------------------------------------------------


def test_a_night_shift():
    """22:00 to 06:00 with a break from 01:00 to 01:30: PBT 450 min; a fault from 23:30 to 00:30: A = 390 / 450."""
    night = {"from": "22:00", "to": "06:00", "breaks": [{"from": "01:00", "to": "01:30"}]}
    plan = calendar("Asia/Ho_Chi_Minh", shifts={"night": night})
    start = at("2026-03-02 22:00+07:00")
    history = told([(start, "running"), (start + 90 * MINUTE, "fault"), (start + 150 * MINUTE, "running")], plan)
    found = of_shift(history, plan, start, start + 8 * HOUR)
    assert found.kpis["availability"] == pytest.approx(390 / 450)
    # The two local days share it: until midnight 90 of 120 min, after it 300 of 330 (and nothing before the night of 1 March).
    midnight = at("2026-03-03 00:00+07:00")
    before = of_shift(history, plan, start, midnight)
    after = of_shift(history, plan, midnight, start + 8 * HOUR)
    assert (before.kpis["availability"], after.kpis["availability"]) == (90 / 120, pytest.approx(300 / 330))
    # The failure counts where it began, its time where it was.
    assert (before.inputs["failures"], before.inputs["failure_time"]) == (1, 1800)
    assert (after.inputs["failures"], after.inputs["failure_time"], after.kpis["mttr"]) == (0, 1800, None)


def test_a_holiday_has_no_figures_but_says_what_was_done():
    plan = one_shift("06:00", "14:00", holidays=["2026-03-02"])
    history = told([(T, "running")])
    count(history, "total", (T, 0), (T + 8 * HOUR, 480))
    found = of_shift(history, plan, total="t", ideal_cycle="30s")
    assert set(found.kpis.values()) == {None}
    assert found.inputs["planned_operation_time"] == 0
    assert found.inputs["running_outside_time"] == 8 * 3600
    assert (found.inputs["produced"], found.inputs["produced_outside"]) == (None, 480)
    assert found.uncertain == ""


@pytest.mark.parametrize(("evening", "hours"), [("2026-03-28 22:00", 7), ("2026-10-24 22:00", 9)])
def test_the_night_in_which_the_clock_is_put(evening, hours):
    """One hour of fault in a night of 7 or 9 hours."""
    plan = calendar(BERLIN, shifts=THREE)
    start = at(evening, BERLIN)
    (night,) = [s for s in plan.shifts(start, start + HOUR) if s.name == "night"]
    history = told([(start, "running"), (start + 3 * HOUR, "fault"), (start + 4 * HOUR, "running")], plan)
    found = of_shift(history, plan, night.start_ns, night.end_ns)
    assert found.inputs["planned_busy_time"] == hours * 3600
    assert found.kpis["availability"] == pytest.approx((hours - 1) / hours)


def test_what_is_made_in_a_break_is_told_apart():
    """Break 09:00 to 09:30, worked through; 1 part a minute all the time: 450 planned, 30 outside."""
    plan = one_shift("06:00", "14:00", ("09:00", "09:30"))
    history = told([(T, "running")], plan)
    for minute in range(481):
        count(history, "good", (T + minute * MINUTE, minute))
    found = of_shift(history, plan, good="g", reject=None, ideal_cycle="1min")
    assert found.inputs["good"] == 450
    assert found.inputs["running_outside_time"] == 1800
    assert found.inputs["break_time"] == 1800
    assert (found.kpis["availability"], found.kpis["oee"]) == (1.0, 1.0)


# --- micro-stops -----------------------------------------------------------------------------------------------------


def test_micro_stops_are_a_loss_of_speed():
    """Standstills of 60 s and 120 s, and one of 121 s: with micro_stop 120 s only the last one is downtime.

    PBT 28800 s; APT = 28800 - 121 = 28679 s, 180 s of it in two micro-stops.
    """
    states = [(T, "running")]
    for minute, word, seconds in ((10, "waiting", 60), (20, "fault", 120), (30, "idle", 121)):
        begin = T + minute * MINUTE
        states += [(begin, word), (begin + seconds * NS, "running")]
    found = of_shift(told(states), micro_stop="2min")
    assert (found.inputs["micro_stops"], found.inputs["micro_stop_time"]) == (2, 180)
    assert found.inputs["production_time"] == 28679
    assert found.inputs["downtime_by_state"] == {"idle": 121}
    assert found.inputs["failures"] == 0
    off = of_shift(told(states))
    assert (off.inputs["micro_stops"], off.inputs["production_time"], off.inputs["failures"]) == (0, 28800 - 301, 1)


def test_a_micro_stop_across_the_end_of_a_shift():
    """13:59:20 to 14:00:20, 60 s: 40 s of it in the early shift, 20 s in the late one; it counts in the first."""
    plan, noon = calendar(shifts=THREE), at("2026-03-02 14:00")
    history = told([(T, "running"), (noon - 40 * NS, "waiting"), (noon + 20 * NS, "running")], plan)
    early = of_shift(history, plan, T, noon, micro_stop="60s")
    late = of_shift(history, plan, noon, noon + 8 * HOUR, micro_stop="60s")
    assert (early.inputs["micro_stops"], early.inputs["micro_stop_time"]) == (1, 40)
    assert (late.inputs["micro_stops"], late.inputs["micro_stop_time"]) == (0, 20)
    assert (early.kpis["availability"], late.kpis["availability"]) == (1.0, 1.0)
    # A second longer as a whole, and it is downtime in both.
    early = of_shift(history, plan, T, noon, micro_stop="59s")
    late = of_shift(history, plan, noon, noon + 8 * HOUR, micro_stop="59s")
    assert (early.inputs["delay_time"], late.inputs["delay_time"]) == (40, 20)


def test_a_standstill_of_several_states_counts_as_a_whole():
    """waiting 40 s, held 30 s: 70 s between two `running`."""
    history = told(
        [(T, "running"), (T + HOUR, "waiting"), (T + HOUR + 40 * NS, "held"), (T + HOUR + 70 * NS, "running")]
    )
    assert of_shift(history, micro_stop="69s").inputs["micro_stops"] == 0
    assert of_shift(history, micro_stop="70s").inputs["micro_stops"] == 1


@pytest.mark.parametrize("word", ["setup", "maintenance", "off", "unknown"])
def test_what_somebody_decides_on_or_nobody_knows_is_no_micro_stop(word):
    history = told([(T, "running"), (T + HOUR, word), (T + HOUR + 10 * NS, "running")])
    assert of_shift(history, micro_stop="2min").inputs["micro_stops"] == 0


def test_what_is_planned_is_no_micro_stop():
    """10 s waiting, then 10 s of a planned state: the standstill as a whole is none."""
    seconds = [(0, "running"), (3600, "waiting"), (3610, "idle"), (3620, "running")]
    history = told([(T + s * NS, word) for s, word in seconds])
    assert of_shift(history, micro_stop="20s").inputs["micro_stop_time"] == 20
    found = of_shift(history, micro_stop="20s", planned=["idle"])
    assert (found.inputs["micro_stops"], found.inputs["planned_downtime"], found.inputs["delay_time"]) == (0, 10, 10)


def test_micro_stops_of_a_window_are_those_with_a_part_in_it():
    """Standstills of 10 s at minutes 1, 2 and 3; a change of reason between two `running` is none."""
    states = [(T, "running", "a"), (T + 30 * NS, "running", "b")]
    for minute in (1, 2, 3):
        states += [(T + minute * MINUTE, "waiting"), (T + minute * MINUTE + 10 * NS, "running")]
    history = told(states)

    def found(start, end):
        stops = micro_stops(history, T + start * NS, T + end * NS, 60 * NS)
        assert all(end - begin == 10 * NS for begin, end in stops)
        return [(begin - T) // MINUTE for begin, _ in stops]

    assert found(0, 300) == [1, 2, 3]
    assert found(70, 120) == []
    assert found(69, 121) == [1, 2]
    assert found(125, 126) == [2]


def test_a_standstill_that_is_not_over_is_downtime_until_it_is():
    history = told([(T, "running"), (T + HOUR, "waiting")])
    assert of_shift(history, end=T + HOUR + 30 * NS, micro_stop="1min").inputs["delay_time"] == 30
    history.state(T + HOUR + 50 * NS, "running")
    found = of_shift(history, end=T + HOUR + 30 * NS, micro_stop="1min")
    assert (found.inputs["delay_time"], found.inputs["micro_stop_time"]) == (0, 30)


# --- failures and reasons --------------------------------------------------------------------------------------------


def test_failures_that_change_their_reason_or_last_over_a_break_count_once():
    """09:00 to 09:15 break. Faults: 08:50 to 09:20 with two reasons, 10:00 to 10:06: FE = 2.

    TTR within PBT = 10 + 5 + 6 = 21 min, MTTR = 10.5 min; AUPT = 465 - 21 = 444 min, MTBF = 222 min
    """
    plan = one_shift("06:00", "14:00", ("09:00", "09:15"))
    minutes = [(0, "running", ""), (170, "fault", "a"), (175, "fault", "b"), (200, "running", ""), (240, "fault", "a")]
    history = told([*((T + m * MINUTE, w, r) for m, w, r in minutes), (T + 246 * MINUTE, "running")], plan)
    found = of_shift(history, plan)
    assert (found.inputs["failures"], found.inputs["failure_time"]) == (2, 21 * 60)
    assert found.kpis["mttr"] == pytest.approx(10.5 * 60)
    assert found.kpis["mtbf"] == pytest.approx(222 * 60)
    assert found.inputs["downtime_by_reason"] == {"fault: a": 11 * 60, "fault: b": 10 * 60}


def test_a_failure_that_begins_before_the_shift_counts_when_its_first_planned_time_is():
    plan, failed = one_shift("06:00", "14:00"), T - HOUR
    history = told([(T - 20 * HOUR, "running"), (failed, "fault"), (T + 10 * MINUTE, "running")], plan)
    assert of_shift(history, plan, T - 10 * HOUR, T).inputs["failures"] == 0  # at night nobody missed it
    assert of_shift(history, plan).inputs["failures"] == 1
    assert of_shift(history, plan, T + 5 * MINUTE).inputs["failures"] == 0  # it has counted


def test_the_longest_reasons_and_the_rest():
    """12 stops of 1 to 12 min: the ten longest by name, the two shortest (1 and 2 min) as others."""
    states = [(T, "running")]
    for n in range(1, 13):
        begin = T + n * 20 * MINUTE
        states += [(begin, "stopped", f"reason {n}"), (begin + n * MINUTE, "running")]
    by_reason = of_shift(told(states)).inputs["downtime_by_reason"]
    assert list(by_reason)[:2] == ["stopped: reason 12", "stopped: reason 11"]
    assert by_reason["(others)"] == 3 * 60
    assert sum(by_reason.values()) == sum(range(1, 13)) * 60
    assert len(by_reason) == 11


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counters", "produced", "good", "reject"),
    [
        ({"good": 90, "reject": 10}, 100, 90, 10),
        ({"total": 100, "reject": 10}, 100, 90, 10),
        ({"total": 100, "good": 90}, 100, 90, 10),
        ({"total": 100, "good": 90, "reject": 10}, 100, 90, 10),
        ({"total": 100}, 100, None, None),
        ({"good": 90}, None, 90, None),
    ],
)
def test_two_counters_give_the_third(counters, produced, good, reject):
    history = told([(T, "running")])
    for name, value in counters.items():
        count(history, name, (T, 1000), (T + 8 * HOUR, 1000 + value))
    found = of_shift(history, ideal_cycle="288s", **{name: name for name in counters})
    assert (found.inputs["produced"], found.inputs["good"], found.inputs["reject"]) == (produced, good, reject)
    # 100 × 288 s = 28800 s
    assert found.kpis["performance"] == (None if produced is None else 1.0)
    assert found.kpis["quality"] == (0.9 if good and produced else None)
    assert found.kpis["oee"] == (None if good is None else pytest.approx(0.9))
    assert found.uncertain == ""


def test_a_machine_that_stood_still_all_the_time():
    """Nothing was made and nothing ran: OEE is 0; performance and quality would be divided by zero."""
    history = told([(T, "fault")])
    count(history, "good", (T, 50), (T + 8 * HOUR, 50))
    count(history, "reject", (T, 5), (T + 8 * HOUR, 5))
    found = of_shift(history, good="g", reject="r", ideal_cycle="10s")
    assert (found.kpis["availability"], found.kpis["oee"], found.kpis["throughput"]) == (0.0, 0.0, 0.0)
    assert found.kpis["performance"] is found.kpis["quality"] is found.kpis["nee"] is found.kpis["scrap_ratio"] is None


def test_a_window_without_length():
    found = of_shift(History(), start=T, end=T, good="g", ideal_cycle="10s")
    assert set(found.kpis.values()) == {None}
    assert found.uncertain == ""


# --- late data and doubts --------------------------------------------------------------------------------------------


def test_late_data_turns_unknown_into_running():
    """480 min; no line from 10:00 to 11:00: A = 420 / 480, uncertain (60 / 480 = 12.5 %). Late: running, but for 6 min."""
    history, ten = told([(T, "running")]), at("2026-03-02 10:00")
    history.state(ten, "unknown")
    history.state(ten + HOUR, "running")
    found = of_shift(history)
    assert found.kpis["availability"] == pytest.approx(420 / 480)
    assert found.inputs["unknown_time"] == 3600
    assert found.uncertain == "the state is unknown for 12% of the planned busy time"
    late = [(ten, "running", ""), (ten + 20 * MINUTE, "fault", "jam"), (ten + 26 * MINUTE, "running", "")]
    start, end = history.replace(ten, ten + HOUR, late)
    assert (start, end) == (ten, ten + HOUR)
    found = of_shift(history)
    assert found.kpis["availability"] == pytest.approx(474 / 480)
    assert (found.inputs["unknown_time"], found.uncertain) == (0, "")


@pytest.mark.parametrize(("minutes", "uncertain"), [(24, False), (25, True)])  # of 480: 5 %, 5.2 %
def test_a_little_that_is_unknown_is_no_doubt(minutes, uncertain):
    history = told([(T, "running"), (T + HOUR, "unknown"), (T + HOUR + minutes * MINUTE, "running")])
    assert bool(of_shift(history).uncertain) is uncertain


def test_a_performance_above_1_is_shown_and_doubted():
    """4,000 parts × 8 s = 32,000 s in 28,800 s: 111.1 %."""
    history = told([(T, "running")])
    count(history, "good", (T, 0), (T + 8 * HOUR, 4000))
    count(history, "total", (T, 0), (T + 8 * HOUR, 4000))
    found = of_shift(history, good="g", total="t", ideal_cycle="8s")
    assert found.kpis["performance"] == pytest.approx(32000 / 28800)
    assert found.uncertain == "performance is 111.1%: `ideal_cycle` may be too long"


@pytest.mark.parametrize(
    ("good", "reject", "total", "doubt"),
    [
        (110, None, 100, "more good parts than parts"),
        (90, 20, 100, "'good' and 'reject' are 110, 'total' is 100"),
        (90, 14, 100, ""),  # 4 of 100: parts that are counted at two places are not counted at the same moment
    ],
)
def test_counters_that_contradict_each_other(good, reject, total, doubt):
    history, names = told([(T, "running")]), {}
    for name, value in (("good", good), ("reject", reject), ("total", total)):
        if value is not None:
            names[name] = name
            count(history, name, (T, 0), (T + 8 * HOUR, value))
    assert of_shift(history, **names).uncertain == doubt


def test_parts_without_running():
    history = told([(T, "idle")])
    count(history, "total", (T, 0), (T + 8 * HOUR, 10))
    assert of_shift(history, total="t").uncertain == "parts were counted, but the machine was never running"


def test_counters_without_readings():
    """None at all; only for the last two of eight hours; spread over a gap that reaches beyond the shift."""
    history = told([(T, "running")])
    assert of_shift(history, total="t").uncertain == "no readings of 'total'"
    count(history, "total", (T + 6 * HOUR, 0), (T + 8 * HOUR, 100))
    assert of_shift(history, total="t").uncertain == "'total' was not read for 75% of the planned time"
    # A gap from 13:00 (400 parts) to 15:00 (600): 100 of the 500 parts of the shift are estimated, 20 %.
    history = told([(T, "running")])
    count(history, "total", (T, 0), (T + 7 * HOUR, 400), (T + 9 * HOUR, 600))
    found = of_shift(history, total="t")
    assert (found.inputs["produced"], found.inputs["estimated_share"]) == (500, pytest.approx(0.2))
    assert found.uncertain == "20% of 'total' are spread evenly over a time without readings"


def test_the_newest_reading_of_a_running_shift_may_be_a_moment_old():
    history = told([(T, "running")])
    count(history, "total", (T, 0), (T + 55 * NS, 5))
    assert of_shift(history, end=T + MINUTE, total="t").uncertain == ""


# --- what goes with the figures --------------------------------------------------------------------------------------


def test_every_figure_says_how_it_is_calculated_and_from_what():
    found = of_shift(told([(T, "running")]), good="g", reject="r", ideal_cycle="1s")
    assert list(found.kpis) == list(FORMULAS)
    assert set(found.inputs) == set(INPUTS)
    for formula in FORMULAS.values():
        assert set(formula.inputs) <= set(INPUTS)
        assert formula.text
        assert formula.reference
    json.dumps(asdict(found))


def test_a_shift_with_2000_changes_takes_less_than_20_ms():
    history = told([(T, "running")])
    for i in range(1, 2001):
        t = T + i * 14 * NS
        history.state(t, ("running", "waiting", "running", "fault", "idle")[i % 5], f"reason {i % 40}")
        count(history, "total", (t, i))
        count(history, "good", (t, i))
    configured = settings(good="g", total="t", ideal_cycle="10s", micro_stop="30s")
    took = []
    for _ in range(5):
        begin = process_time()
        figures(history, T, T + 8 * HOUR, SHIFT, configured)
        took.append(process_time() - begin)
    assert min(took) < 0.020
