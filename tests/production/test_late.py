"""What comes later of the past, live: counters with all that happens to them, energy, other machines, and the states themselves.

The press makes a part every 10 s, runs all the time and takes 36 kW, 10 Wh a second, but where a test says something else. Its link
is away from 300 to 1500 s; at 1520 a page of that time arrives. The hour of the first reading ends after 2800 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.config.production import WORDS
from gateway.model import NOT_CONNECTED, Batch, Header, Signal, Value
from gateway.normalizer import Plan
from production.test_derived import SECOND, Machine, T

RULES = """
    state:
      - {when: alarm, state: fault, reason: jam}
      - {when: "mode == 'auto'", state: running}
"""
GONE, BACK, PAGE = 300, 1500, 1520
TEN_WH = 36.0  # kW


def kpi(**keys: str) -> str:
    return f"    kpi: {{good: good, ideal_cycle: 10s, intervals: [hour], {', '.join(f'{k}: {v}' for k, v in keys.items())}}}\n"


Says = Callable[[int], dict[str, Value]]


def says(second: int) -> dict[str, Value]:
    """What the registers show."""
    return {"good": 1000 + second // 10, "mode": 1, "power": 360, "energy": 10 * second}


def told(
    folder: Path,
    text: str,
    machine: Says = says,
    late: Says | None = says,
    until: int = 2900,
    gone: int = GONE,
    back: int = BACK,
) -> Machine:
    """`late`: what the page says; None: none comes."""
    press = Machine(folder, text)
    for second in range(0, until, 10):
        if second == gone:
            press.lose(gone)
        elif not gone < second < back:
            press.read(second, **machine(second))
        press.tick(second)
        if second == back + 20 and late is not None:
            at = range(gone, back, 10)
            page = [late(t) for t in at]
            press.past(second, at, **{name: [row[name] for row in page] for name in page[0]})
    return press


# --- counters --------------------------------------------------------------------------------------------------------


def hasty(second: int) -> int:
    """One part in ten seconds, but for the time from 2000 s on: all 160 that are due by 3600 s are made by 2400 s already."""
    return min(second // 10 + 3 * max(0, second - 2000) // 10, 360) if second < 3600 else second // 10


@pytest.mark.parametrize("first", [1000, 65_336], ids=["plain", "goes round at 2000 s"])
def test_what_was_counted_meanwhile_is_where_it_belongs(tmp_path: Path, first: int):
    """An outage from 1990 to 3600 s, over the end of the hour: 360 parts in it, 280 in the next one, which ends at 6400 s.

    `reject` has 16 bits; here it counts all parts. Without the page 161 of them are spread over 1620 s: 80 or so until 2800 s.
    """

    def counts(t: int) -> dict[str, Value]:
        return says(t) | {"reject": (first + hasty(t)) % 65_536}

    text = RULES + kpi(total="reject").replace("good: good, ", "")
    press = told(tmp_path, text, counts, counts, until=6500, gone=1990, back=3600)
    assert [press.hour("produced", end=end)["produced"][0] for end in (2800.0, 6400.0)] == [360.0, 280.0]
    without = told(tmp_path, text, counts, None, until=6500, gone=1990, back=3600).hour("produced", "estimated_share")
    assert without["produced"] == (pytest.approx(280, abs=2), "uncertain:incomplete")
    assert without["estimated_share"][0] == pytest.approx(80 / 280, abs=0.01)


def reset(second: int) -> dict[str, Value]:
    return says(second) | {"good": 1000 + second // 10 if second < 900 else (second - 900) // 10}


def test_a_reset_within_the_outage_is_told(tmp_path: Path):
    """1000 … 1089 until 900 s, then 0 … 59. Live, 1029 and then 60 are 60 more, which is 60 too few; what was between does not fit."""
    press = told(tmp_path, RULES + kpi(), reset, reset)
    found = press.hour("good", "oee", "produced", "uncertain")
    assert found["good"][1] == found["oee"][1] == "uncertain:incomplete"
    assert 219 <= float(str(found["good"][0])) <= 280
    assert "readings of 'good' that came late do not fit: it may have been more" in str(found["uncertain"][0])
    # The control: the same outage and page, and no reset.
    assert "do not fit" not in str(told(tmp_path, RULES + kpi()).hour("uncertain")["uncertain"][0])


def test_the_next_hour_is_not_doubted(tmp_path: Path):
    press = told(tmp_path, RULES + kpi(), reset, reset, until=6500)
    assert press.hour("good", "uncertain", end=6400.0) == {"good": (360.0, "good"), "uncertain": ("", "good")}


def test_a_page_that_repeats_what_is_known_raises_no_doubt(tmp_path: Path):
    """Also with stamps of a clock that is two seconds behind: readings close by know better, and nothing is missing."""
    press = Machine(tmp_path, RULES + kpi())
    for second in range(0, 2900, 10):
        press.read(second, **says(second))
        press.tick(second)
        if second == PAGE:
            at = range(302, BACK, 10)
            press.past(second, at, good=[1000 + (t + 8) // 10 for t in at])
    assert press.hour("good") == {"good": (280.0, "good")}


# --- energy ----------------------------------------------------------------------------------------------------------


def uneven(second: int) -> dict[str, Value]:
    """10 Wh a second to 600 s, nothing to 1200 s, twice as much to 1800 s, then as before: 6 + 0 + 12 + 10 kWh in the hour."""
    wh = 10 * min(second, 600) + 20 * max(0, min(second, 1800) - 1200) + 10 * max(0, second - 1800)
    power = 360 if second < 600 or second >= 1800 else 0 if second < 1200 else 720
    return says(second) | {"energy": wh, "power": power}


# The quarters end at 14:30, 14:45 and 15:00: 1000, 1900 and 2800 s. The first began 900 s before, 100 s after the first reading.
# 100 to 1000: 5 kWh, 20 kW. 1000 to 1900: 600 s of 20 Wh, 100 s of 10 Wh: 13 kWh, 52 kW. 1900 to 2800: 9 kWh, 36 kW.
BARS = {1000.0: 20.0, 1900.0: 52.0, 2800.0: 36.0}


def bars(press: Machine) -> dict[float, tuple[Value, str]]:
    """The load profile as it stands."""
    return {t: (round(float(str(value)), 6), quality) for t, _, value, quality in press.told("demand.power")}


METER = """
  meter:
    connection: c
    unit_id: 2
    signals:
      import: {holding: 0, type: uint32, unit: W.h, kind: counter}
      draw: {holding: 2, type: uint32, unit: W}
"""


def beside(folder: Path, source: str, *, late: bool = True, own: bool = True) -> Machine:
    """The energy is measured by another machine, whose link breaks, too."""
    press = Machine(folder, RULES + kpi(energy=f"{{{source}, co2e: 0.5}}"), others=METER)
    raw = Header(press.configuration.path_of("meter"), (Signal("import", "int"), Signal("draw", "int")))
    plan = Plan(raw, press.configuration.machines["meter"].signals)

    def shows(t: int) -> tuple[int, int]:
        return int(str(uneven(t)["energy"])), int(str(uneven(t)["power"])) * 100

    for second in range(0, 2900, 10):
        now = T + second * SECOND
        meter: Batch | None = None
        if second == GONE:
            press.lose(second)
            meter = plan.lost(NOT_CONNECTED, second, now)
        elif not GONE < second < BACK:
            press.read(second, **uneven(second))
            plan.apply(Batch(raw, raw.order, (now,) * 2, list(shows(second)), None), second, now)
            meter = plan.seen
        if meter is not None:
            press._note(press.derived.take(meter, second, now))
        press.tick(second)
        if second == PAGE:
            at = range(GONE, BACK, 10)
            if own:
                press.past(second, at, mode=[1] * len(at))
            if late:
                times, values = [T + t * SECOND for t in at for _ in (0, 1)], [v for t in at for v in shows(t)]
                page = Batch(raw, [0, 1] * len(at), times, values, None, historical=True)
                press.derived.past(plan.past(page), second, now)
    return press


@pytest.mark.parametrize("source", ["counter: energy", "power: power"])
def test_energy_of_an_outage_is_where_it_was_consumed(tmp_path: Path, source: str):
    press = told(tmp_path, RULES + kpi(energy=f"{{{source}, co2e: 0.5}}"), uneven, uneven)
    found = press.hour("energy", "peak_demand", "co2e", "energy_missing_time", "energy_producing", "uncertain")
    assert {name: round(float(str(value)), 6) for name, (value, _) in found.items() if name != "uncertain"} == {
        "energy": 28.0, "peak_demand": 52.0, "co2e": 14.0, "energy_missing_time": 0.0, "energy_producing": 28.0
    }  # fmt: skip
    assert found["uncertain"][0] == "begins with the first reading, 13 min late"
    assert bars(press) == {end: (kw, "good") for end, kw in BARS.items()}


@pytest.mark.parametrize("source", ["counter: meter/import", "power: meter/draw"])
def test_energy_that_another_machine_measures(tmp_path: Path, source: str):
    press = beside(tmp_path, source)
    assert bars(press) == {end: (kw, "good") for end, kw in BARS.items()}
    found = press.hour("energy", "peak_demand")
    assert [round(float(str(value)), 6) for value, _ in found.values()] == [28.0, 52.0]


def test_what_another_machine_remembers_says_nothing_of_the_state(tmp_path: Path):
    press = beside(tmp_path, "counter: meter/import", own=False)
    assert press.hour("unknown_time")["unknown_time"][0] == 1200.0
    assert bars(press) == {end: (kw, "good") for end, kw in BARS.items()}


def test_without_a_page_of_it_energy_is_estimated_or_missing(tmp_path: Path):
    """The control. A counter shows 12 kWh more after 1210 s: 0.36 kW·h a minute of them, evenly; a power shows nothing of it."""
    counted = beside(tmp_path, "counter: meter/import", late=False)
    assert bars(counted)[1900.0] == (43.041322, "uncertain:incomplete")
    assert counted.hour("energy")["energy"][0] == pytest.approx(28.0)
    summed = beside(tmp_path, "power: meter/draw", late=False)
    assert summed.hour("energy", "energy_missing_time") == {
        "energy": (pytest.approx(28 - 9), "uncertain:incomplete"), "energy_missing_time": (1200.0, "good")
    }  # fmt: skip  # 3 + 0 + 6 kWh of the outage are missing
    assert {end: quality for end, (_, quality) in bars(summed).items()} == {
        1000.0: "uncertain:incomplete", 1900.0: "uncertain:incomplete", 2800.0: "good"
    }  # fmt: skip
    assert "'energy' was not read for 43% of the time" in str(summed.hour("uncertain")["uncertain"][0])


def test_a_power_that_comes_in_two_pages_is_counted_once(tmp_path: Path):
    """The first page ends at 700 s: what it says last is taken to hold. The second one, a few seconds later, knows better."""
    press = Machine(tmp_path, RULES + kpi(energy="{power: power}"))
    for second in range(0, 2900, 10):
        if second == GONE:
            press.lose(second)
        elif not GONE < second < BACK:
            press.read(second, **uneven(second))
        press.tick(second)
        for arrives, at in ((1520, range(GONE, 700, 10)), (1540, range(700, BACK, 10))):
            if second == arrives:
                press.past(second, at, power=[uneven(t)["power"] for t in at])
    assert press.hour("energy")["energy"][0] == pytest.approx(28.0)
    assert bars(press) == {end: (kw, "good") for end, kw in BARS.items()}


def test_a_power_that_was_bad_in_the_outage_stays_missing_there(tmp_path: Path):
    """From 600 to 1200 s the page has no values: 3 kWh before, 6 after; nothing is made up of the time between."""
    press = Machine(tmp_path, RULES + kpi(energy="{power: power}"))
    for second in range(0, 2900, 10):
        if second == GONE:
            press.lose(second)
        elif not GONE < second < BACK:
            press.read(second, **uneven(second))
        press.tick(second)
        if second == PAGE:
            at = list(range(GONE, BACK, 10))
            values = [None if 600 <= t < 1200 else uneven(t)["power"] for t in at]
            quality = [NOT_CONNECTED if value is None else 0 for value in values]
            page = Batch(press.raw, [2] * len(at), [T + t * SECOND for t in at], values, quality, historical=True)
            press.derived.past(press.plan.past(page), second, T + second * SECOND)
    assert press.hour("energy", "energy_missing_time") == {
        "energy": (pytest.approx(28.0), "uncertain:incomplete"), "energy_missing_time": (600.0, "good")
    }  # fmt: skip


# --- states ----------------------------------------------------------------------------------------------------------


def in_the_store(press: Machine, *names: str) -> dict[float, tuple[Value, ...]]:
    """What a store has in the end: of readings of one signal and time the last one counts."""
    columns = {name: {t: value for t, of, value, _ in press.sent if of == name} for name in names}
    return {t: tuple(column.get(t) for column in columns.values()) for t in sorted(columns[names[0]])}


def stopped(second: int) -> dict[str, Value]:
    """A jam from 700 to 900 s."""
    return says(second) | {"alarm": 700 <= second < 900}


def test_states_that_are_found_out_later_are_told_later(tmp_path: Path):
    press = told(tmp_path, RULES + kpi(), stopped, stopped)
    states = in_the_store(press, "state")
    assert {word for (word,) in states.values()} == {"running", "fault"}
    changes = [(t, after) for (_, before), (t, after) in pairwise(states.items()) if before != after]
    assert changes == [(700.0, ("fault",)), (900.0, ("running",))]
    assert in_the_store(press, "state", "packml_state", "item_state")[700.0] == ("fault", "Aborted", "OutOfService")
    # Live, the end of running at 300 s was told, and unknown, which ended at 1500 s. All that ended adds up to the time until then.
    ended = in_the_store(press, "ended_state", "ended_state_reason", "ended_state_duration")
    assert ended == {
        300.0: ("running", "", 300.0), 700.0: ("running", "", 400.0), 900.0: ("fault", "jam", 200.0),
        1500.0: ("running", "", 600.0),
    }  # fmt: skip
    found = press.hour("time_by_state.running", "time_by_state.fault", "unknown_time", "failures")
    assert found == {
        "unknown_time": (0.0, "good"), "failures": (1, "good"), "time_by_state.running": (2600.0, "good"),
        "time_by_state.fault": (200.0, "good"),
    }  # fmt: skip


def test_without_a_page_it_stays_unknown(tmp_path: Path):
    press = told(tmp_path, RULES + kpi(), stopped, None)
    assert in_the_store(press, "ended_state", "ended_state_duration") == {
        300.0: ("running", 300.0), 1500.0: ("unknown", 1200.0)
    }  # fmt: skip
    assert in_the_store(press, "state")[1450.0] == ("unknown",)


def page_by_page(folder: Path, pages: Sequence[tuple[int, range, str]]) -> Machine:
    press = Machine(folder, RULES + kpi())
    for second in range(0, 2900, 10):
        if second == GONE:
            press.lose(second)
        elif not GONE < second < BACK:
            press.read(second, **stopped(second))
        press.tick(second)
        for arrives, at, name in pages:
            if second == arrives:
                press.past(second, at, **{name: [stopped(t)[name] for t in at]})
    return press


def test_a_later_page_changes_what_an_earlier_one_told(tmp_path: Path):
    """First the mode alone, so that all was running; then the alarm."""
    at = range(GONE, BACK, 10)
    press = page_by_page(tmp_path, [(1520, at, "mode"), (1540, at, "alarm")])
    ended = in_the_store(press, "ended_state", "ended_state_duration")
    assert ended == {300.0: ("running", 300.0), 700.0: ("running", 400.0), 900.0: ("fault", 200.0), 1500.0: ("running", 600.0)}  # fmt: skip
    assert {word for (word,) in in_the_store(press, "state").values()} == {"running", "fault"}
    assert press.hour("time_by_state.fault")["time_by_state.fault"][0] == 200.0


def test_what_comes_while_the_link_is_away_counts_up_to_its_last_reading(tmp_path: Path):
    """A page to 600 s arrives at 1000 s, by another way. From then to 1500 s it is still unknown, and that ends with 899.999999999 s."""
    press = page_by_page(tmp_path, [(1000, range(GONE, 601, 10), "mode")])
    ended = in_the_store(press, "ended_state", "ended_state_duration")
    assert [(round(t, 6), word, round(float(str(lasted)), 6)) for t, (word, lasted) in ended.items()] == [
        (300.0, "running", 300.0), (600.0, "running", 300.0), (1500.0, "unknown", 900.0)
    ]  # fmt: skip
    assert press.hour("unknown_time")["unknown_time"][0] == pytest.approx(900.0)


def test_a_change_that_a_later_page_takes_back_leaves_two_parts_of_one_state(tmp_path: Path):
    """The mode says idle from 700 to 900 s; then the alarm says fault from 600 to 1000 s. What was told of 700 and 900 s is told anew."""
    press = Machine(tmp_path, RULES + kpi())
    for second in range(0, 2900, 10):
        if second == GONE:
            press.lose(second)
        elif not GONE < second < BACK:
            press.read(second, **says(second))
        press.tick(second)
        if second == 1520:
            press.past(second, [300, 700, 900], mode=[1, 0, 1])
        if second == 1540:
            press.past(second, [600, 1000], alarm=[True, False])
    assert in_the_store(press, "ended_state", "ended_state_duration") == {
        300.0: ("running", 300.0), 600.0: ("running", 300.0), 700.0: ("fault", 100.0), 900.0: ("fault", 200.0),
        1000.0: ("fault", 100.0), 1500.0: ("running", 500.0),
    }  # fmt: skip
    found = {t: word for t, (word,) in in_the_store(press, "state").items()}
    assert [found[t] for t in (300.0, 600.0, 700.0, 900.0, 1000.0)] == ["running", "fault", "fault", "fault", "running"]


def test_a_power_that_comes_while_the_link_is_away_counts_up_to_its_last_reading(tmp_path: Path):
    """A page to 600 s arrives at 1000 s; the 6 kWh from 1200 to 1500 s are missing, with 900 s."""
    press = Machine(tmp_path, RULES + kpi(energy="{power: power}"))
    for second in range(0, 2900, 10):
        if second == GONE:
            press.lose(second)
        elif not GONE < second < BACK:
            press.read(second, **uneven(second))
        press.tick(second)
        if second == 1000:
            at = range(GONE, 601, 10)
            press.past(second, at, power=[uneven(t)["power"] for t in at])
    found = press.hour("energy", "energy_missing_time")
    assert found == {"energy": (pytest.approx(22.0), "uncertain:incomplete"), "energy_missing_time": (900.0, "good")}


def test_a_computed_signal_of_the_past_is_in_its_unit(tmp_path: Path):
    """The rule looks at watts made of kilowatts: 36 kW are 36,000 W."""
    text = (
        '    computed: {watts: {value: power, unit: W}}\n    state: [{when: "watts > 5000", state: running}]\n' + kpi()
    )
    press = told(tmp_path, text)
    assert press.hour("unknown_time", "time_by_state.running") == {
        "unknown_time": (0.0, "good"), "time_by_state.running": (2800.0, "good")
    }  # fmt: skip


def test_what_comes_of_one_outage_says_nothing_of_the_next(tmp_path: Path):
    """Two of them; a page of the first alone. Power and state of the second stay unknown."""
    press = Machine(tmp_path, RULES + kpi(energy="{power: power}"))
    for second in range(0, 2900, 10):
        if second in (300, 700):
            press.lose(second)
        elif not (300 < second < 500 or 700 < second < 900):
            press.read(second, **says(second))
        press.tick(second)
        if second == 920:
            at = range(300, 500, 10)
            press.past(second, at, power=[360] * len(at), mode=[1] * len(at))
    found = press.hour("unknown_time", "energy_missing_time", "energy")
    assert found["energy_missing_time"][0] == 200.0
    assert found["energy"][0] == pytest.approx(26.0)
    assert found["unknown_time"][0] == 200.0


# --- whatever happens ------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["auto", "off", "alarm", "clear", "lose", "pause", "nothing", "page"]),
        st.integers(1, 30).map(lambda n: 5 * n),
    ),
    max_size=15,
)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # each takes 0.1 s
@given(STEPS)
def test_times_add_up_and_the_store_shows_one_truth(steps):
    """Links that break, pauses, pages of the past, in any order: the states of the hour fill it, and the events of states that ended
    follow one another without a gap from the first state on."""
    with TemporaryDirectory() as folder:
        press = Machine(Path(folder), RULES + kpi(energy="{power: power}"))
    second, linked, since = 5, True, 5
    press.read(0, mode=0, power=100)
    for what, length in [("off", 5), *steps, ("auto", 10)]:
        if what == "lose" and linked:
            press.lose(second)
            linked, since = False, second
        elif what == "page":
            at = range(since, second, 15)
            press.past(
                second, at, mode=[t // 15 % 2 for t in at], alarm=[t // 45 % 2 == 1 for t in at], power=[50] * len(at)
            )
        elif what in ("auto", "off", "alarm", "clear"):
            changed: dict[str, Value] = (
                {"mode": int(what == "auto")} if what in ("auto", "off") else {"alarm": what == "alarm"}
            )
            press.read(second, **changed)
            linked = True
        if what == "pause":
            since, second = (second if linked else since), second + 20 + length
        begin, second = second, second + length
        for t in range(begin, second + 5, 5):
            press.tick(t)
    for t in range(second, 2905, 5):
        press.tick(t)
    names = [f"time_by_state.{word}" for word in WORDS]
    found = press.hour("calendar_time", "unknown_time", *names)
    assert sum(float(str(found[name][0])) for name in names) == pytest.approx(2800.0)
    ends = in_the_store(press, "ended_state", "ended_state_duration")
    begin, lasted = 0.0, dict.fromkeys(WORDS, 0.0)
    for t, (word, duration) in ends.items():
        assert t - float(str(duration)) == pytest.approx(begin, abs=1e-6)
        begin = t
        lasted[str(word)] += float(str(duration))
    lasted[str(press.now["state"])] += 2800.0 - begin
    assert lasted == {
        word: pytest.approx(float(str(found[name][0])), abs=1e-5) for word, name in zip(WORDS, names, strict=True)
    }
