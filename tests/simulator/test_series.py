"""Recorded values as waves: stamps as machines and people write them, what does not rise, gaps; and what is no series."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Configuration
from gateway.errors import ConfigError, ConfigErrors
from simulators.behaviour.scenario import Scenario, make_machines, read_scenario
from simulators.behaviour.series import NoColumnError, Series, read_table, rising, series

TRACES = Path(__file__).parents[3] / "shared" / "traces" / "machines"


def read(tmp_path: Path, text: str, column: str = "x", **how: str | float) -> Series:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return series(read_table(path), column, **how)  # type: ignore[arg-type]


# --- stamps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamps",
    [
        ("2024-02-28 23:59:30", "2024-02-29 00:00:00", "2024-02-29 00:01:00"),
        ("2024-02-28T23:59:30Z", "2024-02-29T01:00:00+01:00", "2024-02-29T00:01:00Z"),
        ("28/02/2024 23:59:30", "29/02/2024 00:00:00", "29/02/2024 00:01:00"),
        ("28.02.2024 23:59:30", "29.02.2024 00:00:00", "29.02.2024 00:01:00"),
        ("02/28/2024 23:59:30", "02/29/2024 00:00:00", "02/29/2024 00:01:00"),
    ],
    ids=["iso", "zones", "day first", "dots", "month first"],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_stamps_as_they_are_written(tmp_path: Path, stamps: tuple[str, ...], separator: str) -> None:
    rows = [separator.join((stamp, str(i))) for i, stamp in enumerate(stamps)]
    found = read(tmp_path, "\n".join([f"when{separator}x", *rows]))
    assert (list(found.times), list(found.values), found.evened) == ([0, 30, 90], [0, 1, 2], 0)


def test_seconds_are_times_too_where_the_column_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, "s,x\n1700000000.5,1\n1700000001,2\n", time="s")
    assert list(found.times) == [0, 0.5]


def test_rows_without_times(tmp_path: Path) -> None:
    assert list(read(tmp_path, "x\n1\n2\n4\n", every=900.0).times) == [0, 900, 1800]


@pytest.mark.parametrize(
    ("stamps", "expected", "evened"),
    [
        ([0, 10, 20], [0, 10, 20], 0),
        ([0, 10, 10, 20], [0, 10, 15, 20], 1),  # one stamp twice
        ([100, 110, 20, 130], [100, 110, 120, 130], 1),  # midnight with the date of the day before
        ([0, 10, 10, 10, 40], [0, 10, 20, 30, 40], 2),
        ([0, 10, 9_999_999, 30, 40], [0, 10, 20, 30, 40], 1),  # a stamp from the future does not drag the rest along
        ([5, 10, 20, 30, 0], [5, 10, 20, 30, 40], 1),  # the last one, in the usual step (10, the middle of 5, 10, 10)
        ([50, 10, 20, 30], [0, 10, 20, 30], 1),  # the first one
    ],
)
def test_what_does_not_rise_is_put_between_its_neighbours(
    stamps: list[float], expected: list[float], evened: int
) -> None:
    assert rising(stamps) == (expected, evened)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_whatever_the_stamps_are_they_rise_afterwards(stamps: list[int]) -> None:
    times, evened = rising(stamps)
    assert all(a < b for a, b in pairwise(times))
    assert sum(a != b for a, b in zip(times, stamps, strict=True)) <= evened < len(stamps)


# --- values ------------------------------------------------------------------------------------------------------------


def test_a_value_stands_until_the_next(tmp_path: Path) -> None:
    found = read(tmp_path, "t,x\n2024-01-01 00:00,1\n2024-01-01 00:01,2\n2024-01-01 01:00,\n2024-01-01 01:01,4.5\n")
    once, again = found.wave(), found.wave(repeat=True)
    assert [once(t) for t in (-5, 0, 59, 60, 3599, 3600, 3660, 1e9)] == [1, 1, 1, 2, 2, 2, 4.5, 4.5]
    # It is 61 minutes long, and the last value stands for a usual step, a minute.
    assert [again(t) for t in (3660, 3719, 3720, 3780, 3720 * 1000 + 61)] == [4.5, 4.5, 1, 2, 2]


def test_decimal_commas_and_texts(tmp_path: Path) -> None:
    text = "t;x;state\n2024-01-01 00:00;3,17;on\n2024-01-01 00:15;-0,5;\n2024-01-01 00:30;1e3;off\n"
    assert list(read(tmp_path, text).values) == [3.17, -0.5, 1000.0]
    assert list(read(tmp_path, text, "state").values) == ["on", "on", "off"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t,x\n2024-01-01,1\n2024-01-02,2,3\n", "trace.csv:3: error: has 3 columns, and the header has 2"),
        ("t,x\n2024-01-01,1\nyesterday,2\n", "trace.csv:3: error: 'yesterday' in column t is no time"),
        ("t,x\n2024-01-01,1\n\n2024-01-02,much\n", "trace.csv:4: error: 'much' is no number, as those above it are"),
        ("t,x\n2024-01-01,\n", "trace.csv:2: error: this column has no value"),
        ("", "trace.csv:1: error: has no header"),
        ("t,x\n", "trace.csv:1: error: has no row below its header"),
        ('t,x\n2024-01-01,"1\n', "trace.csv:2: error: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_series_is_shown_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(expected)


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"t,x\n2024-01-01,1\n2024-01-02,\xb0C\n")
    with pytest.raises(ConfigError, match=r"trace\.csv:3: error: is not UTF-8"):
        read_table(path)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoColumnError) as caught:
        read(tmp_path, "t,temperature\n2024-01-01,1\n", "temperatur")
    assert (caught.value.key, caught.value.hint) == ("column", "did you mean 'temperature'?")


# --- in a scenario -----------------------------------------------------------------------------------------------------

CONFIG = """
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  oven:
    connection: c
    signals:
      temp: {holding: 0, type: float32, unit: Cel}
      load: {holding: 2, type: uint16, enum: {0: Light_Load, 1: Medium_Load, 2: Maximum_Load}}
"""
Read = Callable[[str, str], Scenario]


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def make(signals: str, trace: str) -> Scenario:
        (tmp_path / "trace.csv").write_text(trace)
        path = tmp_path / "scenario.yaml"
        path.write_text(f"machines:\n  oven:\n    signals:\n      {signals}\n")
        return read_scenario(path)

    return make


TRACE = "t,x,load\n2024-01-01 00:00,32,Light_Load\n2024-01-01 00:01,212,Medium_Load\n2024-01-01 00:01,50,Medium_Load\n"


def test_a_signal_follows_a_file_beside_the_scenario(
    configuration: Callable[[str], Configuration], scenario: Read
) -> None:
    given = scenario(
        'temp: {wave: series, file: trace.csv, column: x, unit: "[degF]"}\n'
        "      load: {wave: series, file: trace.csv, column: load}",
        TRACE,
    )
    oven = make_machines(configuration(CONFIG), given)["c"][0]
    # 32, 212, 50 °F; the third stamp is the second one again, so it comes a usual step later.
    assert [oven.value_at("temp", t) for t in (0, 60, 120)] == pytest.approx([0, 100, 10])
    assert [oven.value_at("load", t) for t in (0, 60)] == ["Light_Load", "Medium_Load"]
    told = "trace.csv: 1 time stamp does not rise, and is put between its neighbours"
    assert given.notes == {"oven/temp": told, "oven/load": told}


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        (
            "temp: {wave: series, file: trace.csv, column: y}",
            "scenario.yaml:4:53: error: machines.oven.signals.temp.column: trace.csv has no column 'y'",
        ),
        (
            "temp: {wave: series, file: gone.csv, column: x}",
            "scenario.yaml:4:34: error: machines.oven.signals.temp.file: there is no file 'gone.csv' beside this one",
        ),
        (
            "temp: {wave: series, file: trace.csv, column: load}",
            "scenario.yaml:4:53: error: machines.oven.signals.temp.column: "
            "'Light_Load' is text, and this signal is of type float",
        ),
        (
            "temp: {wave: series, file: trace.csv, column: x, unit: bar}",
            "scenario.yaml:4:62: error: machines.oven.signals.temp.unit: ",
        ),
    ],
)
def test_what_does_not_fit_is_shown_at_its_place(
    configuration: Callable[[str], Configuration], scenario: Read, signals: str, expected: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        make_machines(configuration(CONFIG), scenario(signals, TRACE))
    assert str(caught.value.errors[0]).startswith(expected)


# --- recordings of real machines, beside the checkout --------------------------------------------------------------------


@pytest.mark.shared
def test_a_steel_works_of_which_every_midnight_has_the_wrong_date() -> None:
    table = read_table(TRACES / "steel_plant_energy_2018Q1.csv")
    energy = series(table, "active_energy_kWh")
    # 8760 rows, a quarter of an hour from each to the next; 91 of them are midnights (its SOURCE.md).
    assert (len(energy.times), energy.evened) == (8760, 91)
    assert list(energy.times) == [900.0 * i for i in range(8760)]
    wave = energy.wave()
    assert (wave(0), wave(900), wave(1799)) == (3.17, 4, 4)
    load = series(table, "load_type").wave()
    assert {load(t) for t in range(0, 3 * 86_400, 900)} == {"Light_Load", "Medium_Load", "Maximum_Load"}


@pytest.mark.shared
def test_a_machine_of_which_an_hour_was_recorded_twice() -> None:
    found = series(read_table(TRACES / "nab_machine_temperature.csv"), "temperature")
    # 2014-01-07 02:00 to 02:55 stand there twice, every five minutes; all others rise.
    assert (len(found.times), found.evened) == (22_695, 12)
    assert found.wave()(0) == 73.96732207


@pytest.mark.shared
def test_a_pump_that_was_not_recorded_in_some_seconds() -> None:
    found = series(read_table(TRACES / "skab_pump_cavitation_13.csv"), "motor_current_A")
    gaps = [(a, b) for a, b in pairwise(found.times) if b - a > 1.5]
    assert (len(gaps), found.evened) == (88, 0)  # counted in its SOURCE.md
    before, after = max(gaps, key=lambda gap: gap[1] - gap[0])
    assert after - before == 33
    wave = found.wave()
    assert wave(after - 0.5) == wave(before), "the value stands over a gap"
