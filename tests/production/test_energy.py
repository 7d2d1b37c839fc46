"""Energy worked out by hand: for what, when, and for each part."""

import json
from dataclasses import asdict

import pytest

from gateway.config.production import EnergySettings
from gateway.production import ENERGY_FORMULAS, ENERGY_INPUTS, History, energy
from gateway.production.power import PowerMeter
from production.material import HOUR, MINUTE, NS, at, calendar, count, one_shift, rising, told

T = at("2026-03-02 06:00")
PLAN = one_shift("06:00", "14:00", ("09:00", "09:30"))


def settings(**keys):
    return EnergySettings.model_validate({"counter": "energy_import", **keys})


def test_a_day_of_a_machine():
    """A shift from 06:00 to 14:00, meter in kWh, 0.5 kg CO2e for each:

    06:00 running   100 kW × 3 h   = 300        09:00 to 09:30 break, idle: 20 kW × 0.5 h = 10
    09:30 running   100 kW × 2 h   = 200        11:30 fault            30 kW × 1 h        = 30
    12:30 running   120 kW × 1.5 h = 180        14:00 off shift: off    4 kW × 10 h       = 40
                                                24:00
    producing 680, idle 10 + 30 = 40, off shift 40: 760 kWh; CO2e 380 kg
    1,000 parts, 950 of them good: 0.76 kWh for each, 0.8 for each good one; idle share 40 / 760
    """
    history = told(
        [(T, "running"), (T + 3 * HOUR, "idle"), (T + 210 * MINUTE, "running"), (T + 330 * MINUTE, "fault", "jam"),
         (T + 390 * MINUTE, "running"), (T + 8 * HOUR, "off")],
        PLAN,
    )  # fmt: skip
    level, begin = 0.0, T
    for until, kw in ((180, 100), (210, 20), (330, 100), (390, 30), (480, 120), (1080, 4)):
        end = T + until * MINUTE
        rising(history, "energy", begin, end, kw, first=level)
        level, begin = level + kw * (end - begin) / HOUR, end
    count(history, "good", (T, 0), (T + 18 * HOUR, 950))
    count(history, "total", (T, 0), (T + 18 * HOUR, 1000))
    found = energy(history, T, T + 18 * HOUR, PLAN, settings(co2e=0.5))
    assert found.inputs["energy"] == pytest.approx(760)
    assert found.inputs["energy_producing"] == pytest.approx(680)
    assert found.inputs["energy_idle"] == pytest.approx(40)
    assert found.inputs["energy_off_shift"] == pytest.approx(40)
    assert found.inputs["energy_other"] == found.inputs["energy_unknown"] == 0
    assert found.inputs["energy_by_state"] == pytest.approx({"running": 680, "idle": 10, "fault": 30, "off": 40})
    assert found.kpis["energy_per_part"] == pytest.approx(0.76)
    assert found.kpis["energy_per_good_part"] == pytest.approx(0.8)
    assert found.kpis["idle_energy_share"] == pytest.approx(40 / 760)
    assert found.kpis["co2e"] == pytest.approx(380)
    assert found.uncertain == ""
    # 120 kW from 12:30 on: the first of the six quarters with it.
    assert found.kpis["peak_demand"] == pytest.approx(120)
    assert found.inputs["peak_start_ns"] == T + 390 * MINUTE
    assert len(found.profile) == 18 * 4
    assert [round(load.kw) for load in found.profile[11:15]] == [100, 20, 20, 100]
    assert sum(load.kwh for load in found.profile) == pytest.approx(760)


def test_what_counts_as_idle_is_configured():
    history = told([(T, "running"), (T + HOUR, "setup"), (T + 2 * HOUR, "fault"), (T + 150 * MINUTE, "unknown")], PLAN)
    rising(history, "energy", T, T + 3 * HOUR, per_hour=10.0)
    found = energy(history, T, T + 3 * HOUR, PLAN, settings(idle=["idle", "fault"]))
    assert {
        n: round(found.inputs[n], 6) for n in ENERGY_INPUTS if n.startswith("energy_") and n != "energy_by_state"
    } == {
        "energy_producing": 10,
        "energy_idle": 5,
        "energy_other": 10,
        "energy_unknown": 5,
        "energy_off_shift": 0,
    }


def test_the_peak_is_of_a_whole_interval():
    """06:05 to 07:00: 200 kW for the ten minutes that are left of the first quarter, then 100, 60, 60 kW."""
    history = History(("energy",), calendar=PLAN)
    begin = T + 5 * MINUTE
    rising(history, "energy", begin, T + 15 * MINUTE, 200.0)
    rising(history, "energy", T + 15 * MINUTE, T + 30 * MINUTE, 100.0, first=200 / 6)
    rising(history, "energy", T + 30 * MINUTE, T + HOUR, 60.0, first=200 / 6 + 25)
    found = energy(history, T, T + HOUR, PLAN, settings())
    assert [(load.start_ns - T) / MINUTE for load in found.profile] == [5, 15, 30, 45]
    assert [load.kwh for load in found.profile] == pytest.approx([200 / 6, 25, 15, 15])
    assert [load.kw for load in found.profile] == pytest.approx([200, 100, 60, 60])
    assert (found.kpis["peak_demand"], found.inputs["peak_start_ns"]) == (pytest.approx(100), T + 15 * MINUTE)
    # Within half an hour there is no whole interval of 30 min.
    found = energy(history, T, T + 30 * MINUTE, PLAN, settings(interval="30min"))
    assert (found.kpis["peak_demand"], found.inputs["peak_start_ns"]) == (None, None)


def test_intervals_of_demand_other_than_a_quarter_are_a_grid_of_the_history():
    """Two kW for the first ten minutes of an hour, then none; a reading every ten seconds, at 5, 15, 25 … s."""
    history = History(("energy",), every=(900, 600))
    for second in range(5, 3600, 10):
        history.total("energy", T + second * NS, min(second, 600) * 2 / 3600)
    found = energy(history, T, T + HOUR, calendar(), settings(interval="10min"))
    assert found.profile[1].kwh == pytest.approx(0, abs=5 * 2 / 3600)  # part of what came between two readings
    assert found.profile[2].kwh == 0
    # The meter was not read before 06:00:05, so the first ten minutes are no whole interval.
    assert found.profile[0].start_ns == T + 5 * NS


def test_local_intervals_where_the_offset_is_not_a_whole_hour():
    plan = calendar("Asia/Kathmandu")  # UTC+05:45: local hours begin at a quarter past
    history = History(("energy",), calendar=plan)
    begin = at("2026-03-02 10:00+05:45")
    rising(history, "energy", begin, begin + 2 * HOUR, 5.0)
    found = energy(history, begin, begin + 2 * HOUR, plan, settings(interval="60min"))
    assert [(load.start_ns, load.kwh) for load in found.profile] == [(begin, 5.0), (begin + HOUR, 5.0)]


def test_what_cannot_be_said():
    found = energy(History(), T, T + HOUR, PLAN, settings(co2e=0.5))
    assert set(found.kpis.values()) == {None}
    assert (found.profile, found.uncertain) == ([], "no readings of 'energy'")
    # No parts, no factor: what is for a part, and CO2e, stay open.
    history = told([(T, "running")], PLAN)
    rising(history, "energy", T, T + HOUR, 10.0)
    count(history, "good", (T, 5), (T + HOUR, 5))
    found = energy(history, T, T + HOUR, PLAN, settings())
    assert {name for name, value in found.kpis.items() if value is None} == {
        "energy_per_part",
        "energy_per_good_part",
        "co2e",
    }
    # Nothing was consumed: what share of it was idle cannot be said.
    history = told([(T, "off")], PLAN)
    rising(history, "energy", T, T + HOUR, 0.0)
    found = energy(history, T, T + HOUR, PLAN, settings())
    assert (found.kpis["energy"], found.kpis["idle_energy_share"]) == (0.0, None)


def test_doubts():
    """A gap from 06:50 to 07:10 with 20 kWh: half of it, 10 of 60 kWh, is estimated for the hour from six."""
    history = told([(T, "running")], PLAN)
    count(history, "energy", (T, 0.0), (T + 50 * MINUTE, 50.0), (T + 70 * MINUTE, 70.0))
    found = energy(history, T, T + HOUR, PLAN, settings())
    assert found.inputs["estimated_share"] == pytest.approx(10 / 60)
    # From 06:45 to 07:00 it may have been all of it: 5 + 20 kWh in a quarter, 100 kW.
    assert found.uncertain == (
        "17% of the energy are spread evenly over a time without readings; the peak may have been in a time without readings"
    )
    found = energy(history, T, T + 4 * HOUR, PLAN, settings())
    assert found.uncertain.startswith("'energy' was not read for 71% of the time; ")  # 170 of 240 min
    assert found.inputs["missing_time"] == 170 * 60


def test_every_figure_says_how_it_is_calculated_and_from_what():
    history = told([(T, "running")], PLAN)
    rising(history, "energy", T, T + HOUR, 10.0)
    found = energy(history, T, T + HOUR, PLAN, settings())
    assert list(found.kpis) == list(ENERGY_FORMULAS)
    assert set(found.inputs) == set(ENERGY_INPUTS)
    for formula in ENERGY_FORMULAS.values():
        assert set(formula.inputs) <= set(ENERGY_INPUTS)
        assert formula.text
        assert formula.reference
    json.dumps(asdict(found))


# --- what a meter cannot tell ----------------------------------------------------------------------------------------


def shuttle(hours: int, length: int = 100) -> History:
    """Running and idle, `length` seconds each."""
    words = ("running", "idle")
    return told([(T + s * NS, words[s // length % 2]) for s in range(0, hours * 3600, length)])


def test_a_coarse_meter_divides_its_steps_and_says_so():
    """3.6 kW all the time, whole kWh, read every 10 s: it rises at 1000, 2000 and 3000 s, always just as a state begins.

    By the reading it came with all of it would be idle. It was consumed in 500 s of each.
    """
    history = shuttle(1)
    for second in range(0, 3601, 10):
        history.total("energy", T + second * NS, float((second - 5) // 1000 if second else 0))
    found = energy(history, T, T + HOUR, calendar(), settings())
    assert found.inputs["energy"] == 3.0
    assert found.inputs["energy_producing"] == pytest.approx(1.5, abs=0.02)
    assert found.inputs["energy_idle"] == pytest.approx(1.5, abs=0.02)
    assert found.uncertain.startswith("for 100% of the energy it is not known in which state it was")
    assert {"energy_producing", "energy_idle", "energy_by_state", "idle_energy_share"} <= {*found.doubtful}
    assert not {"energy", "co2e", "energy_per_part", "peak_demand"} & {*found.doubtful}


def test_the_resolution_is_known_from_the_register():
    """The same machine with a register of Wh. Idle takes nothing: what it rises by after standing still is no step of 100 Wh."""
    history, value = shuttle(1), 0.0
    for second in range(0, 3601, 10):
        value += 0.1 if second and (second - 1) // 100 % 2 == 0 else 0.0
        history.total("energy", T + second * NS, value)
    found = energy(history, T, T + HOUR, calendar(), settings(), resolution=0.001)
    assert found.uncertain == ""
    assert found.doubtful == ()
    assert found.inputs["energy_producing"] == pytest.approx(18.0)  # 18 times ten readings
    assert found.inputs["energy_idle"] == 0.0


def test_a_coarse_meter_in_one_state_says_enough():
    history = told([(T, "running"), (T + 3000 * NS, "idle")])
    for second in range(0, 3601, 10):
        history.total("energy", T + second * NS, float(second // 100 if second <= 3000 else 30))
    found = energy(history, T, T + HOUR, calendar(), settings())
    assert (found.inputs["energy_producing"], found.inputs["energy_idle"], found.uncertain) == (30.0, 0.0, "")


def test_a_meter_that_is_read_less_often_than_states_change():
    """A reading a minute; 20 s of running, 20 s of idle, by turns: half of each step belongs to either, and that is a guess."""
    history = shuttle(1, length=20)
    for second in range(0, 3601, 60):
        history.total("energy", T + second * NS, second / 60)
    found = energy(history, T, T + HOUR, calendar(), settings())
    assert found.inputs["energy_producing"] == pytest.approx(30.0)
    assert "it is not known in which state it was" in found.uncertain


def test_a_bar_that_a_gap_cuts_is_no_certain_one():
    """10 Wh a second to 4000 s, then nothing; silent from 3000 to 5500 s. 10 kWh over 2500 s would be 14.4 kW, and are not."""
    history = told([(T, "running")])
    for second in [*range(0, 3001, 10), *range(5500, 7201, 10)]:
        history.total("energy", T + second * NS, 0.01 * min(second, 4000))
    found = energy(history, T, T + 2 * HOUR, calendar(), settings())
    # The fourth has 3 kWh of its own and 600 s of the gap, the seventh 100 s of it; the gap has 4 Wh a second.
    assert [(round(load.kw, 1), load.certain) for load in found.profile] == [
        (36.0, True), (36.0, True), (36.0, True), (21.6, False), (14.4, False), (14.4, False), (1.6, False), (0.0, True)
    ]  # fmt: skip
    # The gap is within the window: how much it was is certain. Its peak may have been anywhere in the gap.
    assert found.inputs["energy"] == pytest.approx(40.0)
    assert found.doubtful == ("peak_demand", "peak_start_ns")
    assert found.uncertain == "the peak may have been in a time without readings"


def test_a_gap_in_which_nothing_was_consumed_is_certain():
    history = told([(T, "off")])
    for second in [*range(0, 1000, 10), *range(5500, 7201, 10)]:
        history.total("energy", T + second * NS, 5.0)
    found = energy(history, T, T + 2 * HOUR, calendar(), settings())
    assert all(load.certain for load in found.profile)
    assert found.uncertain == ""


# --- a power that is not known ---------------------------------------------------------------------------------------


def measured(*readings: tuple[int, float | None]) -> History:
    """What a power (kW, None: bad) in seconds after T makes of a history."""
    history, meter = told([(T, "running")], totals=("energy",)), PowerMeter(1 / 3600)
    for second, kw in readings:
        for t, kwh, unknown in meter.step(kw, T + second * NS):
            assert history.total("energy", t, kwh, unknown=unknown)
    return history


def test_time_in_which_the_power_was_not_known_is_missing():
    """36 kW, the register bad from 600 to 2400 s: 6 + 12 kWh, and 1800 s of which nobody knows."""
    history = measured(*((s, 36) for s in range(0, 600, 60)), (600, None), *((s, 36) for s in range(2400, 3601, 60)))
    found = energy(history, T, T + HOUR, calendar(), settings(co2e=0.5))
    assert found.inputs["energy"] == pytest.approx(18.0)
    assert found.inputs["missing_time"] == 1800.0
    assert found.uncertain.startswith("'energy' was not read for 50% of the time")
    assert {"energy", "co2e", "energy_producing"} <= {*found.doubtful}
    assert [load.unknown_ns / NS for load in found.profile] == [300.0, 900.0, 600.0, 0.0]
    # Half an hour of which all is known is certain, though another half is not.
    known = energy(history, T + 2400 * NS, T + HOUR, calendar(), settings())
    assert (known.inputs["missing_time"], known.uncertain) == (0.0, "")


def test_a_short_window_is_doubted_as_soon_as_a_twentieth_is_missing():
    history = measured((0, 36), (100, None), (140, 36), (600, 36))
    found = energy(history, T, T + 10 * MINUTE, calendar(), settings())  # 40 of 600 s
    assert found.uncertain == "'energy' was not read for 7% of the time"


def test_unknown_time_is_kept_and_forgotten():
    history = measured((0, 36), (600, None), (2400, 36), (3600, 36))
    again = History(("energy",))
    again.load(json.loads(json.dumps(history.dump())))
    assert energy(again, T, T + HOUR, calendar(), settings()).inputs["missing_time"] == 1800.0
    noted = History(("energy",))
    noted.append(json.loads(json.dumps(history.newer(T + 300 * NS))))
    assert noted.readings("energy").unknown.length(T, T + HOUR) == 1800 * NS
    again.forget(T + 1200 * NS)
    assert again.readings("energy").unknown.length(T, T + HOUR) == 1200 * NS
    again.cut(T + 1800 * NS)
    assert again.readings("energy").unknown.length(T, T + HOUR) == 600 * NS


def test_a_meter_goes_on_after_a_restart_also_from_what_an_earlier_version_kept():
    """There it was the integral in the unit of the power times seconds: 7200 W·s are 2 Wh."""
    meter = PowerMeter(1 / 3.6e6)
    meter.load([1, "total([m/p])", ["W"], T, [[36.0, T, 7200.0, 0.0]]])
    assert [counted.kwh for counted in meter.step(36.0, T)] == [pytest.approx(0.002)]
    again = PowerMeter(1 / 3.6e6)
    again.load(json.loads(json.dumps(meter.dump())))
    assert not again.known
    assert [(counted.kwh, counted.unknown) for counted in again.step(0.0, T + NS)] == [(pytest.approx(0.002), True)]
    for nonsense in (None, [], [1.0], ["x", "y"], [float("nan"), 0.0], {"v": 1}):
        with pytest.raises((ValueError, TypeError)):
            again.load(nonsense)
