"""A gateway that does not run watches no machine: what it missed is unknown, and no time for what adds up over time.

`tick` about twice a second is what tells a pause from time that passes; here every 5 s, which is below the bound.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.clock import ERA
from gateway.model import Batch
from gateway.production.pulse import BOUND, Pulse
from production.test_derived import KPI, NAMES, SECOND, STATE, Machine, T

RUNS = KPI.replace(", debounce: 2s", "")
DURATION = (
    "    computed: {on: {value: \"duration(mode == 'auto')\"}, work: {value: \"convert(total(power), 'kW.h')\"}}\n"
)


def run(press: Machine, begin: int, end: int, **values: object) -> None:
    """A poll and a tick every 5 s; 4.5 parts a minute, 36 kW."""
    for second in range(begin, end, 5):
        press.read(second, good=second // 10, mode=1, power=360, energy=10 * second, **values)
        press.tick(second)


@pytest.mark.parametrize("way", ["take", "tick"])
def test_what_nobody_saw_is_unknown(tmp_path: Path, way: str):
    """Stopped from 1000 to 2000 s, seen last at 995: of the 2800 s of the hour 1005 are unknown, the others are running."""
    press = Machine(tmp_path, RUNS)
    run(press, 0, 1000)
    if way == "tick":  # the first thing that comes is a tick, or a reading
        press.tick(2000)
    run(press, 2000, 2900)
    found = press.hour(
        "unknown_time", "production_time", "availability", "planned_busy_time", "uncertain", "calendar_time"
    )
    assert found["unknown_time"][0] == 1005.0
    assert found["production_time"][0] == 1795.0
    assert found["calendar_time"][0] == found["planned_busy_time"][0] == 2800.0
    assert found["availability"] == (pytest.approx(1795 / 2800), "uncertain:incomplete")
    assert "the state is unknown for 36% of the planned busy time" in str(found["uncertain"][0])
    changes = [(t, word) for t, _, word, _ in press.told("state") if t in (995.0, 2000.0)]
    assert changes == [(995.0, "unknown"), (2000.0, "running")]
    assert press.told("ended_state", "ended_state_duration") == [
        (995.0, "ended_state", "running", "good"), (995.0, "ended_state_duration", 995.0, "good"),
        (2000.0, "ended_state", "unknown", "good"), (2000.0, "ended_state_duration", 1005.0, "good"),
    ]  # fmt: skip


def test_time_that_is_watched_without_readings_is_no_pause(tmp_path: Path):
    """The control: a machine that is polled every 1000 s, and a gateway that ticks on."""
    press = Machine(tmp_path, RUNS)
    run(press, 0, 1000)
    for second in range(1000, 2000, 5):
        press.tick(second)
    run(press, 2000, 2900)
    assert press.hour("unknown_time", "production_time") == {
        "unknown_time": (0.0, "good"), "production_time": (2800.0, "good")
    }  # fmt: skip


def test_conditions_and_integrals_stand_still(tmp_path: Path):
    """Before the pause 995 s, after it, at 2100 s, 100 s: 1095 s of 36 kW are 10.95 kW·h."""
    press = Machine(tmp_path, STATE + DURATION)
    run(press, 0, 1000)
    run(press, 2000, 2105)
    assert press.now["on"] == 1095.0
    assert press.now["work"] == pytest.approx(10.95)


def test_energy_of_a_power_is_missing(tmp_path: Path):
    """36 kW all the time: 17.95 kWh are known, 1005 s are missing, and no figure is good."""
    press = Machine(tmp_path, RUNS.replace("counter: energy", "power: power"))
    run(press, 0, 1000)
    run(press, 2000, 2900)
    found = press.hour("energy", "energy_missing_time", "energy_unknown", "energy_producing")
    assert found["energy"] == (pytest.approx(17.95), "uncertain:incomplete")
    assert found["energy_missing_time"][0] == 1005.0
    assert found["energy_producing"][0] == pytest.approx(17.95)
    assert found["energy_unknown"][0] == 0.0


def test_a_state_that_was_about_to_begin_has_to_hold_anew(tmp_path: Path):
    """An alarm at 990 s, debounce 20 s, a pause from 995 to 2000 s: it is known from 2020 s on that it began at 2000 s."""
    press = Machine(tmp_path, STATE.replace("reason_from: alarm_code", "debounce: 20s"))
    run(press, 0, 990)
    run(press, 990, 1000, alarm=True)
    run(press, 2000, 2050, alarm=True)
    changes = [(t, word) for t, _, word, _ in press.told("state") if t in (995.0, 2000.0)]
    assert changes == [(995.0, "unknown"), (2000.0, "fault")]
    assert "fault" not in [word for t, _, word, _ in press.told("state") if t < 995]


def test_what_was_unknown_goes_on_to_be(tmp_path: Path):
    """The link broke at 500 s, the pause makes nothing of it: one state of 1500 s."""
    press = Machine(tmp_path, RUNS)
    run(press, 0, 500)
    press.lose(500)
    for second in range(500, 1000, 5):
        press.tick(second)
    run(press, 2000, 2010)
    assert press.told("ended_state", "ended_state_duration")[2:] == [
        (2000.0, "ended_state", "unknown", "good"), (2000.0, "ended_state_duration", 1500.0, "good"),
    ]  # fmt: skip


def test_a_server_that_remembers_the_pause_fills_it(tmp_path: Path):
    """The alarm was on from 1200 to 2300 s. The link was found broken after the pause and is back at 2100 s; the page is of all of it."""
    press = Machine(tmp_path, RUNS)
    run(press, 0, 1000)
    press.lose(2000)
    for second in range(2000, 2100, 5):
        press.tick(second)
    run(press, 2100, 2120, alarm=True)
    press.past(2116, [1000, 1200], alarm=[False, True])
    run(press, 2120, 2300, alarm=True)
    run(press, 2300, 2900, alarm=False)
    assert press.hour("unknown_time", "failure_time", "failures", "production_time") == {
        "unknown_time": (0.0, "good"), "failure_time": (1100.0, "good"), "failures": (1, "good"),
        "production_time": (1700.0, "good"),
    }  # fmt: skip


# --- the clock -------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_forward_leaves_a_time_that_nobody_saw(tmp_path: Path):
    """At 1000 s by the clock that only runs, the wall goes from 1000 to 2000 s: the machine was watched all the time.

    Which hour the readings before really belong to nobody can tell, and the calendar has those 1000 s: they are unknown, as in a
    pause. But no time passed: at 1095 s a condition has lasted 1090 s.
    """
    press = Machine(tmp_path, RUNS + DURATION)
    derived, tell = press.derived, press._note
    for passed in range(0, 1900, 5):
        wall = T + (passed if passed < 1000 else passed + 1000) * SECOND
        values = press.values | {"good": passed // 10, "mode": 1, "power": 360, "energy": 10 * passed}
        row = [values[name] for name in NAMES]
        press.plan.apply(Batch(press.raw, press.raw.order, (wall,) * len(NAMES), row, None), passed, wall)
        tell(derived.take(press.plan.seen, passed, wall))
        tell(derived.tick(passed, wall))
        if passed == 1095:
            assert press.now["on"] == 1090.0  # but for the 5 s of the step itself
    found = press.hour("unknown_time", "production_time", "calendar_time")
    assert found == {
        "unknown_time": (1005.0, "good"), "production_time": (1795.0, "good"), "calendar_time": (2800.0, "good")
    }  # fmt: skip


def test_which_it_was_is_told_by_the_clock_that_only_runs():
    """The same 1000 s of the wall."""
    stood, was_set = Pulse(), Pulse()
    for pulse, now in ((stood, 1000.0), (was_set, 0.5)):
        pulse.note(0.0, T)
        pulse.note(now, T + 1000 * SECOND)
    assert "the gateway stood still for 1000.0 s" in str(*stood.since(0))
    assert "the clock was set forward by 1000.0 s" in str(*was_set.since(0))
    assert [pause.clock_was_set for pulse in (stood, was_set) for pause in pulse.since(0)] == [False, True]


@pytest.mark.parametrize(
    ("passed", "moved"),
    [
        (BOUND, BOUND),  # a box that is slow
        (0.5, BOUND),  # a small step of the clock
        (0.5, -3600),  # set back
        (0.5, 0.45),  # slowed down
        (0.0, 0.0),
    ],
)
def test_what_is_no_pause(passed: float, moved: float):
    pulse = Pulse()
    pulse.note(100.0, T)
    pulse.note(100.0 + passed, T + round(moved * SECOND))
    assert pulse.count == 0


def test_each_machine_learns_of_every_pause_when_its_turn_comes(tmp_path: Path):
    pulse = Pulse()
    for now in (0, 1, 50, 51, 100):
        pulse.note(now, T + now * SECOND)
    assert [(p.begin_ns, p.end_ns) for p in pulse.since(0)] == [
        (T + SECOND, T + 50 * SECOND), (T + 51 * SECOND, T + 100 * SECOND)
    ]  # fmt: skip
    assert [p.begin_ns for p in pulse.since(1)] == [T + 51 * SECOND]
    assert pulse.since(2) == []


def test_a_clock_that_becomes_known_is_no_pause(tmp_path: Path):
    """A box without a battery: artificial time of 1990 first. The state begins with the real time, as it did before."""
    press = Machine(tmp_path, RUNS)
    for second in (0, 5):
        press.derived.tick(second, ERA + second * SECOND)
    run(press, 10, 20)
    assert "unknown" not in press.values_of("state")
