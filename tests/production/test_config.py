"""Calendars and settings of figures: what they take, and the words for what they refuse."""

import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from gateway import production
from gateway.config.production import WORDS, Calendar, KpiSettings


def refused(model, **keys):
    with pytest.raises(ValidationError) as raised:
        model.model_validate(keys)
    (error,) = raised.value.errors()
    return error


def shift(start="06:00", end="14:00", **keys):
    return {"from": start, "to": end, **keys}


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("daily", range(7)),
        ("mon-fri", range(5)),
        ("fri-mon", (0, 4, 5, 6)),
        ("mon, wed", (0, 2)),
        ("mon-tue,sat", (0, 1, 5)),
        (["mon", "wed", "fri"], (0, 2, 4)),
        (["sat-sun"], (5, 6)),
        ("sun", (6,)),
        ("mon-mon", (0,)),
    ],
)
def test_days(text, days):
    settings = Calendar.model_validate({"shifts": {"a": shift(days=text)}})
    assert settings.shifts["a"].days == tuple(days)


@pytest.mark.parametrize(
    ("text", "minutes"), [("00:00", 0), ("6:05", 365), ("06:05", 365), ("23:59", 1439), ("24:00", 1440)]
)
def test_times_of_day(text, minutes):
    assert Calendar.model_validate({"shifts": {"a": shift("00:00", text)}}).shifts["a"].to == minutes


def test_a_calendar_of_its_own():
    settings = Calendar.model_validate(
        {
            "timezone": "Europe/Berlin",
            "shifts": {
                "late": shift("14:00", "22:00", days="mon-fri"),
                "early": shift(days="mon-fri", breaks=[shift("11:30", "12:00"), shift("09:00", "09:15")]),
                "night": shift(
                    "22:00", "06:00", days="sun-thu", breaks=[shift("23:50", "00:10"), shift("02:00", "02:30")]
                ),
            },
            "holidays": ["2026-09-02", "2027-01-01..2027-01-03"],
            "extra": [{"date": "2026-09-02", "shift": "late"}, {"date": "2026-08-29", "shift": "early"}],
        }
    )
    assert settings.shifts["early"].pauses == [(540, 555), (690, 720)]
    # minutes since midnight of the day the night shift begins: 23:50 to 24:10, 26:00 to 26:30
    assert settings.shifts["night"].pauses == [(1430, 1450), (1560, 1590)]
    assert settings.shifts["night"].end == 30 * 60

    def names(year, month, day):
        return [name for name, _ in settings.shifts_of(date(year, month, day))]

    assert names(2026, 9, 1) == ["early", "late", "night"]  # Tuesday
    assert names(2026, 9, 4) == ["early", "late"]  # Friday
    assert names(2026, 9, 5) == []  # Saturday
    assert names(2026, 9, 6) == ["night"]  # Sunday
    assert names(2026, 9, 2) == ["late"]  # a holiday, with overtime
    assert names(2026, 8, 29) == ["early"]  # a Saturday, with overtime
    assert names(2026, 12, 31) == ["early", "late", "night"]
    assert [names(2027, 1, day) for day in (1, 2, 3)] == [[], [], []]
    assert names(2027, 1, 4) == ["early", "late", "night"]


def test_without_shifts_the_whole_day_is_one():
    ((name, whole),) = Calendar().shifts_of(date(2026, 3, 2))
    assert (name, whole.begin, whole.end) == ("day", 0, 1440)
    assert not list(Calendar.model_validate({"holidays": ["2026-03-02"]}).shifts_of(date(2026, 3, 2)))


@pytest.mark.parametrize(
    ("keys", "place", "message"),
    [
        ({"timezone": "Europe/Berln"}, "timezone", "'Europe/Berln' is not a time zone"),
        ({"shifts": {"a": shift("6", "14:00")}}, "shifts.a.from", "'6' is not a time of day"),
        ({"shifts": {"a": shift("06:00", "14:60")}}, "shifts.a.to", "there is no 14:60 in a day"),
        ({"shifts": {"a": shift("06:00", "24:01")}}, "shifts.a.to", "there is no 24:01 in a day"),
        ({"shifts": {"a": shift("06:00:00")}}, "shifts.a.from", "'06:00:00' is not a time of day"),
        ({"shifts": {"a": shift(6.5)}}, "shifts.a.from", "6.5 is not a time of day"),
        ({"shifts": {"a": shift("24:00", "06:00")}}, "shifts.a.from", "24:00 is the end of a day"),
        ({"shifts": {"a": {"from": "06:00"}}}, "shifts.a.to", "Field required"),
        ({"shifts": {"a": shift(days="mon-fry")}}, "shifts.a.days", "'fry' is not a day of the week"),
        ({"shifts": {"a": shift(days=[])}}, "shifts.a.days", "days are a list, or text"),
        ({"shifts": {"a": shift(days=[9])}}, "shifts.a.days", "9 is not a day of the week"),
        ({"shifts": {"a": shift(days=5)}}, "shifts.a.days", "days are a list, or text"),
        ({"shifts": {"a/b": shift()}}, "shifts.a/b.[key]", "'a/b' cannot be a name: '/' is not allowed"),
        ({"shifts": {"a": shift(brakes=[])}}, "shifts.a.brakes", "Extra inputs are not permitted"),
        (
            {"shifts": {"a": shift(breaks=[shift("05:45", "06:15")])}},
            "shifts.a",
            "the break 05:45 to 06:15 is not within 06:00 to 14:00",
        ),
        (
            {"shifts": {"a": shift(breaks=[shift("13:45", "14:15")])}},
            "shifts.a",
            "the break 13:45 to 14:15 is not within 06:00 to 14:00",
        ),
        (
            {"shifts": {"a": shift("22:00", "06:00", breaks=[shift("12:00", "12:30")])}},
            "shifts.a",
            "the break 12:00 to 12:30 is not within 22:00 to 06:00",
        ),
        (
            {"shifts": {"a": shift(breaks=[shift("09:00", "09:30"), shift("09:15", "09:45")])}},
            "shifts.a",
            "a break begins at 09:15, when another one is not over",
        ),
        (
            {"shifts": {"early": shift(), "late": shift("13:30", "22:00")}},
            "",
            "'late' begins on mon at 13:30, when 'early' is not over (14:00)",
        ),
        (  # Sunday night reaches into Monday morning
            {"shifts": {"night": shift("22:00", "06:30", days="sun"), "early": shift(days="mon")}},
            "",
            "'early' begins on mon at 06:00, when 'night' is not over (06:30)",
        ),
        (
            {"shifts": {"all": shift("06:00", "06:00"), "early": shift(days="tue")}},
            "",
            "'all' begins on tue at 06:00, when 'early' is not over (14:00)",
        ),
        ({"holidays": ["2026-02-30"]}, "holidays.0", "'2026-02-30' is not a date"),
        ({"holidays": ["2.9.2026"]}, "holidays.0", "'2.9.2026' is not a date"),
        ({"holidays": ["2027-01-03..2027-01-01"]}, "holidays.0", "'2027-01-03..2027-01-01' ends before it begins"),
        ({"holidays": ["2027-01-03.."]}, "holidays.0", "'' is not a date"),
        ({"holidays": [20260902]}, "holidays.0", "20260902 is not a date"),
        (
            {"shifts": {"a": shift()}, "extra": [{"date": "2026-10-03", "shift": "b"}]},
            "extra.0.shift",
            "this calendar has no shift 'b'",
        ),
        (
            {
                "shifts": {"a": shift(days="mon-fri"), "long": shift("06:00", "18:00", days="sat")},
                "extra": [{"date": "2026-10-03", "shift": "a"}],
            },
            "extra.0.shift",
            "on 2026-10-03 'long' begins when 'a' is not over",
        ),
    ],
)
def test_mistakes_of_a_calendar(keys, place, message):
    error = refused(Calendar, **keys)
    assert (".".join(map(str, error["loc"])), error["msg"]) == (place, message)


def test_shifts_that_touch_and_a_shift_of_a_whole_day_are_no_mistake():
    Calendar.model_validate(
        {"shifts": {"early": shift(), "late": shift("14:00", "22:00"), "night": shift("22:00", "06:00")}}
    )
    Calendar.model_validate({"shifts": {"all": shift("06:00", "06:00")}})
    Calendar.model_validate(
        {"shifts": {"a": shift(days="mon")}, "extra": [{"date": "2026-03-02", "shift": "a"}]}  # worked anyway
    )


def test_settings_of_figures():
    settings = KpiSettings.model_validate(
        {
            "good": "parts_good",
            "reject": "parts_reject",
            "ideal_cycle": "12s",
            "micro_stop": "2min",
            "planned": ["maintenance", "setup"],
            "intervals": ["shift", "hour"],
            "energy": {
                "counter": "meter-01/energy_import",
                "interval": "30min",
                "co2e": 0.6766,
                "idle": ["idle", "off"],
            },
        }
    )
    assert (settings.ideal_cycle, settings.micro_stop, settings.update) == (12.0, 120.0, 60.0)
    assert settings.energy is not None
    assert settings.energy.interval == 1800.0
    assert KpiSettings().planned == ("maintenance",)
    assert KpiSettings().intervals == ("shift",)
    energy = KpiSettings.model_validate({"energy": {"power": "power_total"}}).energy
    assert energy is not None
    assert set(energy.idle) == set(WORDS) - {"running", "unknown"}


@pytest.mark.parametrize(
    ("keys", "place", "message"),
    [
        ({"reject": "r"}, "", "a count of rejects says nothing alone"),
        ({"ideal_cycle": "12s"}, "", "`ideal_cycle` needs a count of parts"),
        ({"good": "a", "ideal_cycle": "0s"}, "", "no part takes 0 s"),
        ({"good": "a", "total": "a"}, "", "one signal cannot be two of good, reject and total"),
        ({"good": "a b"}, "good", "'a b' cannot be a name: ' ' is not allowed"),
        ({"ideal_cycle": 12}, "ideal_cycle", "'12' has no unit"),
        ({"planned": ["running"]}, "planned", "'running' is never planned downtime"),
        ({"planned": ["fault"]}, "planned", "'fault' is never planned downtime"),
        ({"intervals": []}, "intervals", "figures are calculated for intervals"),
        ({"energy": {}}, "energy", "energy needs a `counter` or a `power`"),
        ({"energy": {"counter": "a/b/c"}}, "energy.counter", "'a/b/c' is not the name of a signal"),
        ({"energy": {"counter": "e", "interval": "7min"}}, "energy.interval", "an interval of demand divides the hour"),
        ({"energy": {"counter": "e", "interval": "2h"}}, "energy.interval", "an interval of demand divides the hour"),
        ({"energy": {"counter": "e", "co2e": float("inf")}}, "energy.co2e", "has to be a finite number"),
        ({"energy": {"counter": "e", "idle": ["running"]}}, "energy.idle", "'running' is not idle"),
    ],
)
def test_mistakes_of_figures(keys, place, message):
    error = refused(KpiSettings, **keys)
    assert (".".join(map(str, error["loc"])), error["msg"]) == (place, message)


def test_a_state_that_is_none_and_an_interval_that_is_none():
    assert refused(KpiSettings, planned=["broken"])["type"] == "literal_error"
    assert refused(KpiSettings, intervals=["week"])["type"] == "literal_error"


def test_what_the_readme_shows_is_right():
    readme = Path(production.__file__).with_name("README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)[:1]
    shown = yaml.safe_load(text)
    assert len(Calendar.model_validate(shown["calendars"]["plant"]).shifts) == 3
    assert KpiSettings.model_validate(shown["kpi"]).energy is not None
    assert set(re.findall(r"^\| `(\w+)` \|.*[/×]", readme, re.MULTILINE)) == set(production.FORMULAS)
    states = re.search(r"\n\| State \|.*?\n\n", readme, re.DOTALL)
    assert states is not None
    assert set(re.findall(r"`(\w+)`", states[0])) == set(WORDS)
