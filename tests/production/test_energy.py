"""Energy worked out by hand: for what, when, and for each part."""

import json
from dataclasses import asdict

import pytest

from gateway.config.production import EnergySettings
from gateway.production import ENERGY_FORMULAS, ENERGY_INPUTS, History, energy
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
    assert found.uncertain == "17% of the energy are spread evenly over a time without readings"
    found = energy(history, T, T + 4 * HOUR, PLAN, settings())
    assert found.uncertain == "'energy' was not read for 71% of the time"  # 170 of 240 min
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
