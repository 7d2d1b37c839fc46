"""A scenario gives its waves to the signals it names; a mistake in it is shown at its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Configuration
from gateway.errors import ConfigErrors
from simulators.behaviour.scenario import make_machines, read_scenario
from simulators.machine import SimulatedMachine

CONFIG = """
site: {enterprise: acme, site: hanoi}
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press-07:
    connection: c
    signals:
      volt: {input: 0, type: float32, unit: V}
      amp: {input: 2, type: float32, unit: A}
      watt: {input: 4, type: float32, unit: W}
      energy: {input: 6, type: float32, unit: kW.h, kind: counter}
      temp: {holding: 0, type: int16, scale: 0.1, unit: Cel, range: [100, 300]}
      cycles: {holding: 1, type: uint32, kind: counter}
      mode: {holding: 3, type: uint16, enum: {0: "off", 1: auto}}
      alarm: {discrete: 0}
      order: {holding: 10, type: string, length: 8}
      made: {holding: 20, type: datetime, format: cp56}
"""

Make = Callable[[str], SimulatedMachine]


@pytest.fixture
def make(configuration: Callable[[str], Configuration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The machine above with the signals of a scenario, which begin in line 4."""
    monkeypatch.chdir(tmp_path)

    def made(text: str) -> SimulatedMachine:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        return make_machines(configuration(CONFIG), read_scenario(path))["c"][0]

    return made


def signals(text: str) -> str:
    return f"machines:\n  press-07:\n    signals:\n      {text}\n"


def values(machine: SimulatedMachine, signal: str, *times: float) -> list[Any]:
    return [machine.value_at(signal, t) for t in times]


# --- waves -------------------------------------------------------------------------------------------------------------


def test_signals_get_the_waves_they_are_given(make: Make) -> None:
    press = make("""
machines:
  press-07:
    cycle: 10s
    stops: {every: 100s, lasting: 20s}
    signals:
      volt: {wave: cycle, points: [[0, 200], [0.5, 240]]}
      amp: 10
      watt: {wave: product, of: [volt, amp], times: 0.9}
      energy: {wave: energy, power: 3600, first: 5, period: 1min}
      temp: {wave: sine, mean: 210, amplitude: 4, period: 80s}
      cycles: {wave: counter, first: 100}
      mode: {wave: steps, points: [[0, auto], [0.5, "off"]]}
      alarm: {wave: stop}
      order: BRACKET-12
""")
    assert press.path.levels() == ("acme", "hanoi", "press-07")
    assert values(press, "volt", 0, 2.5, 5, 10) == pytest.approx([200, 220, 240, 200])
    assert values(press, "watt", 0, 5) == pytest.approx([1800, 2160])
    assert values(press, "energy", 0, 1000) == pytest.approx([5, 6])
    assert values(press, "temp", 0, 20, 60) == pytest.approx([210, 214, 206])
    assert values(press, "mode", 0, 5, 10) == ["auto", "off", "auto"]
    assert values(press, "order", 0, 1e6) == ["BRACKET-12", "BRACKET-12"]
    # It runs 80 s, stands 20 s, and its cycle goes on where it stopped; sines with a period of their own do not stand.
    assert values(press, "alarm", 79.9, 80.1, 99.9, 100.1) == [False, True, True, False]
    assert values(press, "cycles", 0, 79.9, 80.1, 99.9, 110.1) == [100, 107, 108, 108, 109]


@pytest.mark.parametrize(
    ("text", "times", "expected"),
    [
        ("temp: {wave: ramp, between: [0, 100], period: 10s}", (0, 5), [0, 50]),
        ("temp: {wave: noise, mean: 20, spread: 0}", (0, 5), [20, 20]),
        ("temp: {wave: spindle, speed: 100, period: 100s}", (4, 50, 90), [50, 100, 0]),
        ("temp: {wave: sum, of: [amp], times: 2}\n      amp: 4", (0,), [8]),
        ("temp: {wave: toggle, period: 10s, share: 0.2}", (1, 3), [True, False]),
        ("temp: {wave: sine, mean: 1, amplitude: 1, phase: 0.25}", (0, 5), [2, 0]),
    ],
)
def test_each_wave_of_the_table(make: Make, text: str, times: tuple[float, ...], expected: list[float]) -> None:
    assert values(make(signals(text)), "temp", *times) == pytest.approx(expected)


def test_noise_is_added_and_is_another_one_for_each_signal(make: Make) -> None:
    press = make(signals("volt: &v {wave: sine, mean: 10, amplitude: 0, noise: 1}\n      amp: *v"))
    volt, amp = (values(press, name, *range(50)) for name in ("volt", "amp"))
    assert all(9 <= value <= 11 for value in volt + amp)
    assert len(set(volt)) == 50
    assert volt != amp


def test_signals_without_a_wave_get_a_likely_one(make: Make) -> None:
    press, again = make("{}"), make("machines: {}")
    times = [float(t) for t in range(0, 2000, 7)]
    for name in press.waves:
        assert values(press, name, *times) == values(again, name, *times)
    assert all(200 < value < 260 for value in values(press, "volt", *times))
    assert all(100 <= value <= 300 for value in values(press, "temp", *times))
    assert set(values(press, "mode", *times)) == {"off", "auto"}
    assert set(values(press, "alarm", *times)) == {True, False}
    assert isinstance(press.value_at("order", 0), str)
    for name in ("energy", "cycles"):
        rising = values(press, name, *times)
        assert rising == sorted(rising)
        assert rising[-1] > rising[0]


# --- mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES = [
    (
        signals("temp: {wave: [sine], mean: 210}"),
        "scenario.yaml:4:20: error: machines.press-07.signals.temp.wave: a list is not the name of a wave\n"
        "    4 |       temp: {wave: [sine], mean: 210}\n"
        "      |                    ^\n"
        "      = did you mean 'sine'?",
    ),
    (
        signals("temp: {wave: sin, mean: 210, amplitude: 4}"),
        "scenario.yaml:4:20: error: machines.press-07.signals.temp.wave: the wave 'sin' is not known\n"
        "    4 |       temp: {wave: sin, mean: 210, amplitude: 4}\n"
        "      |                    ^~~\n"
        "      = did you mean 'sine'?",
    ),
    (
        signals("temp: {mean: 210}"),
        "scenario.yaml:4:7: error: machines.press-07.signals.temp.wave: 'wave' is missing\n"
        "    4 |       temp: {mean: 210}\n"
        "      |       ^~~~\n"
        "      = known: activity, constant, counter, cycle, energy, noise, product, ramp, series, sine, spindle, steps, stop, sum, toggle",
    ),
    (
        signals("temp: {wave: sine, mean: 210, amplitud: 4}"),
        "scenario.yaml:4:13: error: machines.press-07.signals.temp.amplitude: 'amplitude' is missing\n"
        "    4 |       temp: {wave: sine, mean: 210, amplitud: 4}\n"
        "      |             ^\n"
        "      = How far it goes to either side, for example amplitude: 4",
    ),
    (
        signals("temp: {wave: sine, mean: hot, amplitude: 4}"),
        "scenario.yaml:4:32: error: machines.press-07.signals.temp.mean: 'hot' is not a number\n"
        "    4 |       temp: {wave: sine, mean: hot, amplitude: 4}\n"
        "      |                                ^~~\n"
        "      = Its middle, for example mean: 210",
    ),
    (
        signals("temp: {wave: counter, period: 12}"),
        "scenario.yaml:4:37: error: machines.press-07.signals.temp.period: '12' has no unit\n"
        "    4 |       temp: {wave: counter, period: 12}\n"
        "      |                                     ^~\n"
        "      = did you mean '12s'? units: us, ms, s, min, m, h, d, w",
    ),
    (
        signals("temp: {wave: cycle, points: [[0, 1], [1.5, 2]]}"),
        "scenario.yaml:4:45: error: machines.press-07.signals.temp.points.1.0: 1.5 is too large: at most 1.0\n"
        "    4 |       temp: {wave: cycle, points: [[0, 1], [1.5, 2]]}\n"
        "      |                                             ^~~",
    ),
    (
        signals("tmp: 4"),
        "scenario.yaml:4:7: error: machines.press-07.signals.tmp: press-07 has no signal 'tmp'\n"
        "    4 |       tmp: 4\n"
        "      |       ^~~\n"
        "      = did you mean 'temp'?",
    ),
    (
        "machines:\n  press-70: {cycle: 12s}\n",
        "scenario.yaml:2:3: error: machines.press-70: the configuration has no machine 'press-70'\n"
        "    2 |   press-70: {cycle: 12s}\n"
        "      |   ^~~~~~~~\n"
        "      = did you mean 'press-07'?",
    ),
    (
        signals("watt: {wave: product, of: [volt, ampere]}"),
        "scenario.yaml:4:40: error: machines.press-07.signals.watt.of.1: press-07 has no signal 'ampere'\n"
        "    4 |       watt: {wave: product, of: [volt, ampere]}\n"
        "      |                                        ^~~~~~\n"
        "      = did you mean 'amp'?",
    ),
    (
        signals("watt: {wave: sum, of: [energy]}\n      energy: {wave: energy, of: watt}"),
        "scenario.yaml:5:34: error: machines.press-07.signals.energy.of: 'watt' would be made from itself\n"
        "    5 |       energy: {wave: energy, of: watt}\n"
        "      |                                  ^~~~\n"
        "      = watt → energy → watt",
    ),
    (
        signals("watt: {wave: sum, of: [order]}"),
        "scenario.yaml:4:30: error: machines.press-07.signals.watt.of.0: 'order' is text, not a number\n"
        "    4 |       watt: {wave: sum, of: [order]}\n"
        "      |                              ^~~~~",
    ),
    (
        signals("energy: {wave: energy}"),
        "scenario.yaml:4:15: error: machines.press-07.signals.energy: an energy needs either `of` or `power`\n"
        "    4 |       energy: {wave: energy}\n"
        "      |               ^\n"
        "      = for example of: active_power_total",
    ),
    (
        signals("mode: {wave: stop, running: auto, stopped: of}"),
        "scenario.yaml:4:50: error: machines.press-07.signals.mode.stopped: 'of' is not a state of this signal\n"
        "    4 |       mode: {wave: stop, running: auto, stopped: of}\n"
        "      |                                                  ^~\n"
        "      = did you mean 'off'?",
    ),
    (
        signals("temp: warm"),
        "scenario.yaml:4:13: error: machines.press-07.signals.temp.value: 'warm' is text, and this signal is of type int\n"
        "    4 |       temp: warm\n"
        "      |             ^~~~",
    ),
    (
        signals("made: yesterday"),
        "scenario.yaml:4:13: error: machines.press-07.signals.made.value: 'yesterday' is no date and time\n"
        "    4 |       made: yesterday\n"
        "      |             ^~~~~~~~~\n"
        "      = for example 2026-03-04T05:06:07",
    ),
    (
        signals("temp: {wave: spindle, speed: 100, stop: 0.9}"),
        "scenario.yaml:4:41: error: machines.press-07.signals.temp.stop: `stop` and twice `accelerate` are more than the whole period\n"
        "    4 |       temp: {wave: spindle, speed: 100, stop: 0.9}\n"
        "      |                                         ^~~~\n"
        "      = for example stop: 0.2",
    ),
    (
        "machines:\n  press-07:\n    stops: {every: 10s, lasting: 10s}\n",
        "scenario.yaml:3:25: error: machines.press-07.stops.lasting: it would stand all the time\n"
        "    3 |     stops: {every: 10s, lasting: 10s}\n"
        "      |                         ^~~~~~~\n"
        "      = `lasting` is less than `every`",
    ),
    (
        "machines:\n  press-07: {cycles: 12s}\n",
        "scenario.yaml:2:14: error: machines.press-07.cycles: 'cycles' is not a key here\n"
        "    2 |   press-07: {cycles: 12s}\n"
        "      |              ^~~~~~\n"
        "      = did you mean 'cycle'?",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[e.partition("\n")[0][-40:] for _, e in MISTAKES])
def test_a_mistake_is_shown_at_its_place(make: Make, text: str, expected: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        make(text)
    assert str(caught.value.errors[0]) == expected


def test_all_mistakes_are_shown_together(make: Make) -> None:
    with pytest.raises(ConfigErrors) as caught:
        make(signals("temp: {wave: sin}\n      tmp: 4\n      mode: of"))
    assert [error.line for error in caught.value.errors] == [4, 5, 6]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("temp: .nan", "nan is no number"),
        ("volt: .inf", "inf is no number"),
        ("volt: {wave: sine, mean: .inf, amplitude: 3}", "finite"),
        ("volt: {wave: noise, spread: .nan}", "finite"),
        # int16 holds -32768 to 32767, and each is a tenth.
        ("temp: 3276.8", r"3276.8 does not fit into its register\n.*\n.*\n.*it holds -3276.8 to 3276.7"),
        ("temp: {wave: steps, points: [[0, 1], [0.5, -3277]]}", "-3277 does not fit"),
        ("temp: {wave: stop, running: 1, stopped: 99999}", "99999 does not fit"),
        ("cycles: {wave: counter, first: -5}", r"-5 does not fit.*\n.*\n.*\n.*it holds 0 to 4294967295"),
        ("mode: 65536", "65536 does not fit"),
        ("volt: 1.0e+39", "does not fit"),  # float32: 3.4e38
    ],
)
def test_what_a_register_cannot_hold(make: Make, text: str, told: str) -> None:
    with pytest.raises(ConfigErrors, match=told) as caught:
        make(signals(text))
    assert [error.line for error in caught.value.errors] == [4]


@pytest.mark.parametrize(
    "text", ["temp: 3276.7", "temp: -3276.8", "cycles: {wave: counter, first: 5000000000}", "volt: 3.4e+38"]
)
def test_what_it_just_holds(make: Make, text: str) -> None:
    """A counter goes round."""
    make(signals(text))


@pytest.mark.parametrize(
    ("wave", "told"),
    [
        ("{wave: sine, mean: 3000, amplitude: 400, noise: 1}", "it goes from 2600 to 3400"),
        ("{wave: ramp, between: [-4000, 0]}", "it goes from -4000 to 0"),
        ("{wave: cycle, points: [[0, 0], [0.5, 5000]]}", "it goes from 0 to 5000"),
        ("{wave: spindle, speed: 9000, ripple: 5}", "it goes from 0 to 9000"),
        ("{wave: sine, mean: 210, amplitude: 4}", ""),
        ("{wave: sine, mean: 3270, amplitude: 5, noise: 50}", ""),
    ],
)
def test_a_wave_that_its_register_cuts_off_is_noted(
    configuration: Callable[[str], Configuration], tmp_path: Path, wave: str, told: str
) -> None:
    (tmp_path / "scenario.yaml").write_text(signals(f"temp: {wave}"))
    scenario = read_scenario(tmp_path / "scenario.yaml")
    make_machines(configuration(CONFIG), scenario)
    end = f"{told}, and is held at what its register has: -3276.8 to 3276.7"
    assert scenario.notes == ({"press-07/temp": end} if told else {})
