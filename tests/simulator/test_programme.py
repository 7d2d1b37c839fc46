"""A machine goes through its shift: what it does when, and how long it has done it, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Configuration
from gateway.errors import ConfigErrors
from simulators.behaviour.programme import Programme, Stretch, doings
from simulators.behaviour.scenario import make_machines, read_scenario
from simulators.machine import SimulatedMachine

# 100 s: set-up 10, production 40, break 20, production 30.
SHIFT = [Stretch("set-up", 10), Stretch("production", 40), Stretch("break", 20), Stretch("production", 30)]


@pytest.mark.parametrize(
    ("t", "doing", "produced", "rested"),
    [
        (0, "set-up", 0, 0),
        (9.9, "set-up", 0, 0),
        (10, "production", 0, 0),
        (25, "production", 15, 0),
        (50, "break", 40, 0),
        (65, "break", 40, 15),
        (70, "production", 40, 20),
        (99, "production", 69, 20),
        (100, "set-up", 70, 20),
        (125, "production", 85, 20),
        (100 * 300_000 + 65, "break", 70 * 300_000 + 40, 20 * 300_000 + 15),  # a year later
    ],
)
def test_a_shift_that_is_repeated(t: float, doing: str, produced: float, rested: float) -> None:
    shift = Programme(SHIFT, repeat=True)
    assert shift.doing(t) == doing
    assert shift.spent("production")(t) == pytest.approx(produced)
    assert shift.spent("break")(t) == pytest.approx(rested)


@pytest.mark.parametrize(
    ("t", "doing", "produced"), [(-5, "set-up", 0), (75, "production", 45), (1e6, "production", 1e6 - 30)]
)
def test_the_last_stretch_goes_on(t: float, doing: str, produced: float) -> None:
    shift = Programme(SHIFT)
    assert shift.doing(t) == doing
    assert shift.spent("production")(t) == pytest.approx(produced)
    assert (shift.in_all("set-up"), shift.in_all("production")) == (10, math.inf)


@pytest.mark.parametrize(
    ("produced", "moment"), [(0, 10), (15, 25), (40, 70), (69, 99), (70, 110), (70 * 5 + 41, 571), (75, 115)]
)
def test_when_it_has_produced_for_so_long(produced: float, moment: float) -> None:
    assert Programme(SHIFT, repeat=True).moment("production")(produced) == pytest.approx(moment)


def test_what_comes_once_is_over_at_its_end() -> None:
    moment = Programme(SHIFT).moment("break")
    assert [moment(seconds) for seconds in (0, 5, 20, 1000)] == [50, 55, 70, 70]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 1000)), min_size=1, max_size=8),
    st.booleans(),
    st.floats(0, 1e5),
)
@settings(max_examples=200, deadline=None)
def test_all_that_it_does_adds_up_to_the_time(stretches: list[tuple[str, int]], repeat: bool, t: float) -> None:
    programme = Programme([Stretch(word, lasting) for word, lasting in stretches], repeat)
    spent = {word: programme.spent(word)(t) for word in programme.words}
    assert sum(spent.values()) == pytest.approx(t)
    doing = programme.doing(t)
    # Back again: it was done for so long at this very moment, as it is being done.
    assert programme.moment(doing)(spent[doing]) == pytest.approx(t, abs=1e-6)


def test_stops_happen_within_production() -> None:
    # 8 s of running, 2 s of standing, while it produces: 10-50 and 70-100.
    does = doings(Programme(SHIFT, repeat=True), "production", every=10, lasting=2)
    assert does.running is not None
    words = [does.activity(t) for t in (5, 10, 17.9, 18, 19.9, 20, 48, 50, 70, 78)]
    assert words == ["set-up", *["production"] * 2, "stop", "stop", "production", "stop", "break", "production", "stop"]
    assert [does.stopped(t) for t in (5, 10, 18, 50)] == [True, False, True, True]
    # Four times 8 s up to the break, and it goes on where it was.
    assert [does.running(t) for t in (10, 18, 20, 60, 70, 75)] == pytest.approx([0, 8, 8, 32, 32, 37])


# --- in a scenario -----------------------------------------------------------------------------------------------------

CONFIG = """
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press-07:
    connection: c
    signals:
      power: {input: 0, type: float32, unit: kW}
      energy: {input: 2, type: float32, unit: kW.h, kind: counter}
      shots: {holding: 1, type: uint32, kind: counter}
      guessed: {holding: 5, type: uint32, kind: counter}
      mode: {holding: 3, type: uint16, enum: {0: "off", 1: auto, 2: setup}}
      alarm: {discrete: 0}
"""
DOES = "does: [{doing: set-up, for: 10s}, {doing: production, for: 40s}, {doing: break, for: 20s}, {doing: production, for: 30s}]"
Make = Callable[[str], SimulatedMachine]


@pytest.fixture
def make(configuration: Callable[[str], Configuration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)

    def made(text: str) -> SimulatedMachine:
        (tmp_path / "scenario.yaml").write_text(text)
        return make_machines(configuration(CONFIG), read_scenario(tmp_path / "scenario.yaml"))["c"][0]

    return made


def values(machine: SimulatedMachine, signal: str, *times: float) -> list[Any]:
    return [machine.value_at(signal, t) for t in times]


def test_values_go_by_what_the_machine_does(make: Make) -> None:
    press = make(f"""
machines:
  press-07:
    cycle: 2s
    {DOES}
    repeat: true
    stops: {{every: 10s, lasting: 2s}}
    signals:
      mode: {{wave: activity, values: {{production: auto, set-up: setup}}, otherwise: "off"}}
      alarm: {{wave: activity, values: {{stop: true}}, otherwise: false}}
      shots: {{wave: counter, first: 100}}
      power:
        wave: activity
        values: {{production: {{wave: steps, points: [[0, 4], [0.5, 8]]}}, break: 0.5, set-up: 2, stop: 1}}
      energy: {{wave: energy, of: power, power_unit: kW, first: 50, period: 10s}}
""")
    assert values(press, "mode", 0, 10, 18.5, 55, 75, 155) == ["setup", "auto", "auto", "off", "auto", "off"]
    assert values(press, "alarm", 5, 17.5, 18.5, 20.5, 55) == [False, False, True, False, False]
    # A shot every 2 s of running: 8 s in each 10 s of production. None in set-up and break.
    assert values(press, "shots", 10, 18, 20, 50, 70, 100, 110) == [100, 104, 104, 116, 116, 128, 128]
    assert values(press, "power", 5, 10.5, 11.5, 18.5, 55) == [2, 4, 8, 1, 0.5]
    # 10 s set-up at 2 kW; production: 8 s at 6 kW on average and 2 s at 1 kW in each 10 s; 20 s break at 0.5 kW: 380 kW s in all.
    kws = [0, 20, 20 + 4 * 50, 20 + 4 * 50 + 10, 20 + 4 * 50 + 10 + 3 * 50, 2 * 380]
    assert values(press, "energy", 0, 10, 50, 70, 100, 200) == pytest.approx([50 + each / 3600 for each in kws])
    year = 315_360 * 100
    assert press.value_at("energy", year) == pytest.approx(50 + 315_360 * 380 / 3600)


def test_what_nobody_has_named_does_not_count_in_a_break_either(make: Make) -> None:
    press = make(f"others: {{cycle: 5s, {DOES}}}\n")
    first = press.value_at("guessed", 0)
    assert values(press, "guessed", 10, 50, 70, 75) == [first, first + 8, first + 8, first + 9]


def test_another_word_for_running(make: Make) -> None:
    press = make(
        "machines: {press-07: {cycle: 5s, running: Lauf, does: [{doing: Pause, for: 10s}, {doing: Lauf}],"
        " signals: {shots: {wave: counter}}}}\n"
    )
    assert values(press, "shots", 10, 15, 1010) == [0, 1, 200]


def test_one_value_where_it_stands(make: Make) -> None:
    press = make(f"machines: {{press-07: {{{DOES}, signals: {{alarm: {{wave: stop}}}}}}}}\n")
    assert values(press, "alarm", 5, 15, 55) == [True, False, True]


def begin(text: str) -> str:
    return f"machines:\n  press-07:\n    {DOES}\n    signals:\n      {text}\n"


MISTAKES = [
    (
        "machines:\n  press-07:\n    does: [{doing: break}, {doing: production}]\n",
        "scenario.yaml:3:5: error: machines.press-07.does: break has no end, and something comes after it\n"
        "    3 |     does: [{doing: break}, {doing: production}]\n"
        "      |     ^~~~\n"
        "      = for example for: 30min",
    ),
    (
        "machines:\n  press-07:\n    repeat: true\n    does: [{doing: production}]\n",
        "scenario.yaml:4:5: error: machines.press-07.does: production has no end, and it is repeated\n"
        "    4 |     does: [{doing: production}]\n"
        "      |     ^~~~\n"
        "      = for example for: 30min",
    ),
    (
        "machines:\n  press-07:\n    does: [{doing: Lauf}]\n",
        "scenario.yaml:3:5: error: machines.press-07.does: it never does 'production', in which it runs\n"
        "    3 |     does: [{doing: Lauf}]\n"
        "      |     ^~~~\n"
        "      = say so with running: Lauf",
    ),
    (
        begin("mode: {wave: activity, values: {prodction: auto}, otherwise: setup}"),
        "scenario.yaml:5:50: error: machines.press-07.signals.mode.values.prodction: the machine never does 'prodction'\n"
        "    5 |       mode: {wave: activity, values: {prodction: auto}, otherwise: setup}\n"
        "      |                                                  ^~~~\n"
        "      = did you mean 'production'?",
    ),
    (
        begin("mode: {wave: activity, values: {production: auto, break: setup}}"),
        "scenario.yaml:5:13: error: machines.press-07.signals.mode: there is no value for 'set-up'\n"
        "    5 |       mode: {wave: activity, values: {production: auto, break: setup}}\n"
        "      |             ^\n"
        "      = add it to `values`, or say `otherwise`",
    ),
    (
        begin("mode: {wave: activity, values: {production: automatic}, otherwise: setup}"),
        "scenario.yaml:5:51: error: machines.press-07.signals.mode.values.production.value: "
        "'automatic' is not a state of this signal\n"
        "    5 |       mode: {wave: activity, values: {production: automatic}, otherwise: setup}\n"
        "      |                                                   ^~~~~~~~~\n"
        "      = did you mean 'auto'?",
    ),
    (
        begin("power: {wave: activity, values: {production: {wave: sin, mean: 4}}, otherwise: 0}"),
        "scenario.yaml:5:59: error: machines.press-07.signals.power.values.production.wave: the wave 'sin' is not known\n"
        "    5 |       power: {wave: activity, values: {production: {wave: sin, mean: 4}}, otherwise: 0}\n"
        "      |                                                           ^~~\n"
        "      = did you mean 'sine'?",
    ),
    (
        "others: {signals: {a: 4}}\n",
        "scenario.yaml:1:1: error: others: signals belong to a machine\n"
        "    1 | others: {signals: {a: 4}}\n"
        "      | ^~~~~~\n"
        "      = name it below `machines`",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[e.partition("\n")[0][-40:] for _, e in MISTAKES])
def test_a_mistake_is_shown_at_its_place(make: Make, text: str, expected: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        make(text)
    assert str(caught.value.errors[0]) == expected
