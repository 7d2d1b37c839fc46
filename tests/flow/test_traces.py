"""Recorded machines through the whole gateway in compressed time, and every figure worked out once more with numpy.

    recorded series ─┬─▶ registers of simulated machines ─▶ the gateway, days in seconds (compressed.py) ─▶ historian
                     └─▶ numpy ──────────────────────── compared ────────────────────────────────────────────┘

numpy is given the series and the definitions (ISO 22400-2, the rules of `state` as the documents tell them), and nothing that the
gateway has worked out. Each test has a control that fails: another rule, a counter that is not corrected.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import simulators
from flow.compressed import completed, compressed, configured, held
from gateway.config import Configuration, load
from gateway.config.settings import StoreSettings
from gateway.model import (
    COUNTER_REPLACED,
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    FLAT_LINE,
    GOOD,
    IMPLAUSIBLE_RATE,
    OUT_OF_RANGE,
)
from gateway.normalizer.counter import Counter
from gateway.runtime.registry import protocols
from simulators.behaviour.scenario import Scenario, make_machines, read_scenario
from simulators.ledger import columns as ledger_columns

MACHINES = Path(__file__).parents[3] / "shared" / "traces" / "machines"
NS = 10**9
FIRST, LAST = 0, 2**62
shared = pytest.mark.shared


def columns(file: str, *names: str) -> list[np.ndarray]:
    """Columns of a recorded series: stamps as datetime64, all others as floats."""
    with (MACHINES / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        np.array([row[name] for row in rows], dtype="datetime64[s]" if name == "timestamp" else float) for name in names
    ]


def ns(day: date, minutes: int, zone: str) -> int:
    """A local time, as the clock on the wall shows it."""
    wall = datetime.combine(day, time.min) + timedelta(minutes=minutes)
    return round(wall.replace(tzinfo=ZoneInfo(zone)).timestamp()) * NS


# --- the mains meter of a steel works -----------------------------------------------------------------------------------

STEEL = """\
site: {timezone: Asia/Seoul, calendar: works}
connections: {mains: {protocol: modbus-tcp, host: 127.0.0.1}}
calendars:
  works:
    shifts:
      day: {from: "06:00", to: "14:00", days: mon-sat}
      swing: {from: "14:00", to: "22:00", days: mon-sat}
      night: {from: "22:00", to: "06:00", days: mon-sat}
machines:
  meter:
    connection: mains
    poll: 5min
    signals:
      energy: {holding: 0, type: uint32, unit: W.h, kind: counter, max_rate: 250}
      power: {holding: 2, type: uint32, unit: W}
    state:
      rules: [{when: "power > 20000", state: running}]
    kpi:
      intervals: [shift, day]
      update: 6h
      energy: {counter: energy, interval: 15min, co2e: 0.4}
"""
SEOUL = "Asia/Seoul"
DAYS = 16  # from Monday, 1 January 2018
QUARTER, DAY = 4, 96  # quarters of an hour, in an hour and in a day
POLLS = 3  # in a quarter
FIGURES = (
    "energy", "energy_producing", "energy_idle", "energy_off_shift", "peak_demand", "peak_start", "co2e", "availability",
    "uncertain",
)  # fmt: skip


def quarters() -> np.ndarray:
    """kWh of each quarter of an hour from midnight on; the stamp of a row is the end of its quarter."""
    stamps, kwh = columns("steel_plant_energy_2018Q1.csv", "timestamp", "active_energy_kWh")
    midnight = stamps == stamps.astype("datetime64[D]")
    stamps = stamps + midnight.astype("timedelta64[D]")  # the row of 00:00 has the date of the day that ends then
    assert (np.diff(stamps) == np.timedelta64(15, "m")).all()
    assert stamps[0] == np.datetime64("2018-01-01T00:15:00")
    return kwh[: DAYS * DAY]


class Meter:
    """An energy register of 32 bits, in Wh, that goes on evenly within a quarter. Its time is counted in polls."""

    def __init__(self, kwh: np.ndarray, reset: int, replaced: int, room: int = 12_000_000) -> None:
        """`room`: Wh until it goes round. Just after these polls it is set to 0, and another meter is put in its place."""
        wh = np.rint(np.cumsum(np.insert(kwh, 0, 0.0)) * 1000)
        self.count = np.interp(np.arange(len(kwh) * POLLS + 1) / POLLS, np.arange(len(wh)), wh)
        self.shown = 2**32 - room + self.count
        self.shown[reset + 1 :] = self.count[reset + 1 :] - self.count[reset]
        self.shown[replaced + 1 :] = 3_000_000_000 + self.count[replaced + 1 :] - self.count[replaced]
        self.register = np.floor(self.shown).astype(np.int64) % 2**32


async def read_meter(tmp_path: Path, kwh: np.ndarray, meter: Meter, offset_s: int = 0):
    """What the store has of it in the end: shifts, days, load profile."""
    begin = ns(date(2018, 1, 1), 0, SEOUL)
    registers: dict[str, int] = {"energy": 0, "power": 0}
    async with compressed(configured(tmp_path, STEEL), begin, {"meter": held(registers)}) as gateway:
        for poll, register in enumerate(meter.register.tolist()):
            quarter = min(poll // POLLS, len(kwh) - 1)
            registers |= {"energy": register, "power": round(kwh[quarter] * 4000)}
            await gateway.step(begin + (300 * poll + offset_s) * NS)
        reader = await gateway.stored()
        load = reader.query("meter", "demand.energy", FIRST, LAST)
        profile = dict(zip(load.time, load.value, strict=True))
        shifts, days = (completed(reader, "meter", kind, FIGURES) for kind in ("shift", "day"))
        qualities = set(reader.query("meter", "energy", FIRST, LAST).quality)
        reader.close()
    return shifts, days, profile, qualities


def expected_of(kwh: np.ndarray, first: int, end: int) -> dict[str, float]:
    """The figures of the quarters from `first` to before `end`."""
    part, runs = kwh[first:end], kwh[first:end] > 5.0  # 20 kW
    return {
        "energy": part.sum(), "peak_demand": part.max() * 4, "co2e": part.sum() * 0.4,
        "energy_producing": part[runs].sum(), "energy_idle": part[~runs].sum(), "availability": runs.mean(),
    }  # fmt: skip


@shared
async def test_the_energy_of_a_steel_works(tmp_path):
    """Sixteen days. The register goes round on the fourth, is set to 0 on the eighth, and is another meter's on the eleventh."""
    kwh = quarters()
    reset, replaced = (7 * DAY + 10 * QUARTER) * POLLS, (10 * DAY + 15 * QUARTER) * POLLS
    meter = Meter(kwh, reset, replaced)
    assert (np.diff(meter.register) < 0).sum() == 2  # it goes round, and it is reset
    shifts, days, profile, qualities = await read_meter(tmp_path, kwh, meter)
    # What the second meter showed when it was put in, nobody knows: the third of a quarter up to its first reading.
    known = kwh.copy()
    known[replaced // POLLS] -= kwh[replaced // POLLS] / POLLS
    resolution = 0.001  # kWh
    begin = ns(date(2018, 1, 1), 0, SEOUL)
    assert list(profile) == [begin + (i + 1) * 900 * NS for i in range(len(kwh))]
    assert np.abs(np.array(list(profile.values())) - known).max() <= resolution

    def at_peak(found: Mapping[str, float]) -> float:
        """kW of the quarter that is said to be the peak. There may be two of them."""
        return known[(found["peak_start"] * 10**6 - begin) // (900 * NS)] * 4

    assert list(days) == [begin + (i + 1) * 86400 * NS for i in range(DAYS)]
    for i, found in enumerate(days.values()):
        expected = expected_of(known, i * DAY, (i + 1) * DAY)
        for name in ("energy", "co2e"):
            assert found[name] == pytest.approx(expected[name], abs=resolution), (i, name)
        assert found["peak_demand"] == pytest.approx(expected["peak_demand"], abs=4 * resolution), i
        assert found["peak_demand"] == pytest.approx(at_peak(found), abs=4 * resolution), i
    sunday = known[6 * DAY + 6 * QUARTER : 7 * DAY + 6 * QUARTER]  # Saturday's night shift ends on it, none begins
    assert list(days.values())[6]["energy_off_shift"] == pytest.approx(sunday[: 18 * QUARTER].sum(), abs=resolution)
    assert list(days.values())[7]["energy_off_shift"] == pytest.approx(sunday[18 * QUARTER :].sum(), abs=resolution)

    # From the first shift on, Monday at 06:00: three a day, none on a Sunday.
    firsts = [day * DAY + (6 + 8 * i) * QUARTER for day in range(DAYS) if day % 7 != 6 for i in range(3)]
    whole = [first for first in firsts if first + 8 * QUARTER <= len(kwh)]
    assert list(shifts) == [begin + (first + 8 * QUARTER) * 900 * NS for first in whole]
    for first, found in zip(whole, shifts.values(), strict=True):
        expected = expected_of(known, first, first + 8 * QUARTER)
        assert found["uncertain"] == "", first
        assert found["energy_off_shift"] == 0
        assert found["availability"] == pytest.approx(expected["availability"], abs=1e-12), first
        assert found["peak_demand"] == pytest.approx(at_peak(found), abs=4 * resolution), first
        assert found["peak_demand"] == pytest.approx(expected["peak_demand"], abs=4 * resolution), first
        for name in ("energy", "co2e", "energy_producing", "energy_idle"):
            assert found[name] == pytest.approx(expected[name], abs=resolution), (first, name)
    assert qualities == {GOOD, COUNTER_UNSETTLED, COUNTER_RESET, COUNTER_REPLACED}


@shared
async def test_without_the_correction_of_counters_it_would_be_another_energy(tmp_path, monkeypatch):
    """The control: two days, with all three events on the first."""
    kwh = quarters()[: 2 * DAY]
    meter = Meter(kwh, 10 * QUARTER * POLLS, 15 * QUARTER * POLLS, room=100_000)
    monkeypatch.setattr(Counter, "step", lambda _, raw, __: (raw, GOOD))
    _, days, profile, _ = await read_meter(tmp_path, kwh, meter)
    first, second = days.values()
    assert first["energy"] - kwh[:DAY].sum() > 1_000_000
    assert second["energy"] == pytest.approx(kwh[DAY:].sum(), abs=0.001)
    wrong = np.flatnonzero(np.abs(np.array(list(profile.values())) - kwh) > 1)
    assert list(wrong) == [np.flatnonzero(np.diff(meter.register) < 0)[0] // POLLS, 10 * QUARTER, 15 * QUARTER]


async def test_readings_that_never_come_at_the_end_of_an_interval(tmp_path):
    """Two and a half minutes beside it, of a load that is always the same: straight lines between them are right."""
    kwh = np.full(2 * DAY, 9.0)
    never = len(kwh) * POLLS
    shifts, days, profile, _ = await read_meter(tmp_path, kwh, Meter(kwh, never, never), offset_s=150)
    begin = ns(date(2018, 1, 1), 0, SEOUL)
    assert list(profile) == [begin + (i + 1) * 900 * NS for i in range(1, len(kwh))]
    assert list(profile.values()) == pytest.approx([9.0] * (len(kwh) - 1))
    assert [found["energy"] for found in shifts.values()] == pytest.approx([9.0 * 8 * QUARTER] * 5)
    assert [found["energy"] for found in days.values()] == pytest.approx([9.0 * (DAY - 1 / 6), 9.0 * DAY])


# --- a pump, second by second -------------------------------------------------------------------------------------------

PUMP = """\
site: {{timezone: UTC, calendar: trial}}
connections: {{loop: {{protocol: modbus-tcp, host: 127.0.0.1}}}}
calendars: {{trial: {{shifts: {{trial: {{from: "{begin}", to: "{end}"}}}}}}}}
machines:
  pump:
    connection: loop
    poll: 1s
    stale_after: 10s
    signals:
      motor_current: {{holding: 0, type: float32, unit: A}}
      flow: {{holding: 2, type: float32, unit: L/min}}
      voltage: {{holding: 4, type: float32, unit: V}}
    computed:
      power: {{value: motor_current * voltage, unit: W}}
    state:
      rules:
        - {{when: "flow < {low}", state: fault, debounce: 5s}}
        - {{when: "motor_current > {runs}", state: running}}
      otherwise: idle
    kpi:
      energy: {{power: power}}
"""
WORDS = ("fault", "running", "idle", "unknown")
FAULT, RUNNING, IDLE, UNKNOWN = range(len(WORDS))
STALE_AFTER = 10  # seconds
GRACE = 60  # seconds that the figures of a shift wait for readings of its end


class Trial:
    """A recorded trial on a grid of seconds, from its first reading to the end of its shift."""

    def __init__(self, file: str, hours: tuple[str, str], runs: float, low: float) -> None:
        stamps, current, flow, voltage = columns(file, "timestamp", "motor_current_A", "flow_l_min", "voltage_V")
        self.hours, self.runs, self.low = hours, runs, low
        day = str(stamps[0].astype("datetime64[D]"))
        self.shift = [int(np.datetime64(f"{day}T{hour}:00", "s").astype(int)) for hour in hours]
        self.second = stamps.astype(int)
        self.registers = {"motor_current": current, "flow": flow, "voltage": voltage}
        grid = np.arange(self.second[0], self.shift[1])
        self.row = np.searchsorted(self.second, grid, side="right") - 1  # the newest reading
        self.silent = grid - self.second[self.row]

    def of(self, name: str) -> np.ndarray:
        """What the gateway has of a signal in each second, as a float of 32 bits tells it."""
        return self.registers[name].astype(np.float32).astype(float)[self.row]

    def states(self, debounce: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """From which second on it is in which state.

        The first rule that holds counts, once it has held for its debounce, and then from its beginning. Meanwhile the
        state before goes on. Without a reading for longer than ten seconds nobody knows.
        """
        holds = np.where(
            self.of("flow") < self.low, FAULT, np.where(self.of("motor_current") > self.runs, RUNNING, IDLE)
        )
        holds[self.silent > STALE_AFTER] = UNKNOWN
        begins = np.concatenate(([0], np.flatnonzero(np.diff(holds)) + 1))
        lasts = np.diff(np.append(begins, len(holds)))
        word = holds[begins]
        counts = lasts >= np.where(word == FAULT, debounce, 0)
        counts[0] = True  # a beginning is something at once
        begins, word = begins[counts], word[counts]
        other = np.concatenate(([True], word[1:] != word[:-1]))
        return begins[other], word[other]


TRIALS = {
    "normal": ("skab_pump_anomaly_free.csv", ("13:30", "16:20"), 1.5, 124.0),
    "valve": ("skab_pump_valve1_0.csv", ("10:10", "10:40"), 0.8, 32.0),
    "cavitation": ("skab_pump_cavitation_13.csv", ("18:45", "19:10"), 1.5, 125.0),
}


@shared
@pytest.mark.parametrize("name", TRIALS)
async def test_the_states_of_a_pump(tmp_path, name):
    """Seconds that the recording lacks are seconds in which nothing is read."""
    trial = Trial(*TRIALS[name])
    registers: dict[str, float] = dict.fromkeys(trial.registers, 0.0)
    text = PUMP.format(begin=trial.hours[0], end=trial.hours[1], low=trial.low, runs=trial.runs)
    rows = dict(
        zip(trial.second.tolist(), zip(*(c.tolist() for c in trial.registers.values()), strict=True), strict=True)
    )
    first, end = int(trial.second[0]), trial.shift[1]
    async with compressed(configured(tmp_path, text), first * NS, {"pump": held(registers)}) as gateway:
        for second in range(first, end + GRACE + 1):
            if second in rows:
                registers.update(zip(registers, rows[second], strict=True))
                await gateway.step(second * NS)
            else:
                gateway.silence(second * NS)
        reader = await gateway.stored()
        told, ended = (reader.query("pump", signal, FIRST, LAST) for signal in ("state", "ended_state"))
        durations = reader.query("pump", "ended_state_duration", FIRST, LAST).value
        (found,) = completed(reader, "pump", "shift", SHIFT).values()
        reader.close()

    begins, words = trial.states()
    expected = [((first + int(at)) * NS, WORDS[word]) for at, word in zip(begins, words, strict=True)]
    readings = list(zip(told.time, told.value, strict=True))
    assert [r for i, r in enumerate(readings) if i == 0 or r[1] != readings[i - 1][1]] == expected
    assert list(zip(ended.time, ended.value, strict=True)) == [
        (after[0], before[1]) for before, after in pairwise(expected)
    ]
    lasts = np.diff(np.append(begins, end - first))
    assert durations == pytest.approx(lasts[:-1])

    shift = end - first  # what was before the first reading ever is nobody's loss
    for number, word in enumerate(WORDS):
        assert found[f"time_by_state.{word}"] == pytest.approx(lasts[words == number].sum()), word
    failures = (words == FAULT).sum()
    assert found["failures"] == failures
    assert found["availability"] == pytest.approx(lasts[words == RUNNING].sum() / shift)
    assert found["mttr"] == (pytest.approx(lasts[words == FAULT].sum() / failures) if failures else None)
    # A power holds until the next reading, or until nobody knows any more. What was consumed then is missing, and no 0.
    known = trial.silent <= STALE_AFTER
    assert found["energy"] == pytest.approx(
        (trial.of("motor_current") * trial.of("voltage"))[known].sum() / 3.6e6, rel=1e-9
    )
    assert found["energy_missing_time"] == pytest.approx((~known).sum())
    assert (~known).any()
    share = (~known).mean()
    assert share > 0.06 or share < 0.03  # on one side of the twentieth from which on it is to be doubted
    assert ("'energy' was not read for" in found["uncertain"]) == (share > 0.05)
    # The control: a debounce that is a second longer or shorter would be seen.
    for other in (4, 6):
        begins, words = trial.states(other)
        assert [((first + int(at)) * NS, WORDS[word]) for at, word in zip(begins, words, strict=True)] != expected


SHIFT = (
    "availability",
    "failures",
    "mttr",
    "energy",
    "energy_missing_time",
    "uncertain",
    *(f"time_by_state.{word}" for word in WORDS),
)


async def test_a_state_begins_when_its_condition_did_whatever_is_repeated_meanwhile(tmp_path):
    """What goes on is said again every minute, a fault is found out after five seconds: at any moment between the two."""
    begin = ns(date(2026, 6, 1), 360, "UTC") // NS
    # Not at the same nanosecond as a repetition, the 62nd second: only a clock that is moved by hand has that.
    lasts = [seconds for running in range(50, 75) if running != 62 for seconds in (running, 20)]
    begins = begin + np.cumsum(lasts)  # of faults, and of their ends
    registers = {"motor_current": 2.0, "flow": 100.0, "voltage": 230.0}
    text = PUMP.format(begin="06:00", end="14:00", low=30, runs=1)
    async with compressed(configured(tmp_path, text), begin * NS, {"pump": held(registers)}) as gateway:
        for second in range(begin, int(begins[-1])):
            registers["flow"] = 0.0 if np.searchsorted(begins, second, side="right") % 2 else 100.0
            await gateway.step(second * NS)
        reader = await gateway.stored()
        told = reader.query("pump", "state", FIRST, LAST)
        reader.close()
    readings = list(zip(told.time, told.value, strict=True))
    changes = [t // NS for (_, before), (t, after) in pairwise(readings) if before != after]
    assert changes == begins[:-1].tolist()
    assert len(readings) - len(changes) > 10  # it was said again


# --- a temperature, for eleven weeks ------------------------------------------------------------------------------------

COMPONENT = """\
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  component:
    connection: c
    poll: 5min
    heartbeat: 12h
    signals:
      every: {holding: 0, type: float64, unit: "[degF]", range: [40, 105], max_rate: 0.02}
      door: {holding: 4, type: float64, unit: "[degF]", report: swinging-door, deadband: 1}
      change: {holding: 8, type: float64, unit: "[degF]", report: change, deadband: 1}
      coarse: {holding: 12, type: int16, unit: "[degF]", flat_after: 30min}
"""


def as_believed(wall: np.ndarray) -> np.ndarray:
    """The stamps of a clock that never steps back: set back by an hour, it loses a tenth of its speed until it is met.

    `wall` in seconds, 300 of which pass between two readings, whatever it shows.
    """
    (back,) = np.flatnonzero(np.diff(wall) < 0) + 1
    since = (np.arange(len(wall)) - back) * 300
    return wall + np.where(since < 0, 0, np.maximum(0, 3600 - since // 10))


@shared
async def test_a_temperature_is_thinned_and_judged(tmp_path):
    """An hour of the recording comes twice, as from a clock that was put back: no reading of it is lost.

    It is moved on by 13 years, since a clock before this software existed is not believed.
    """
    stamps, values = columns("nab_machine_temperature.csv", "timestamp", "temperature")
    wall = (stamps + np.timedelta64(4748, "D")).astype(int)
    assert len(wall) - len(np.unique(wall)) == 12
    signals = ("every", "door", "change", "coarse")
    registers: dict[str, float] = dict.fromkeys(signals, 0.0)
    begin = int(wall[0])
    async with compressed(
        configured(tmp_path, COMPONENT), begin * NS, {"component": held(registers)}, believed=True
    ) as gateway:
        for i, (second, value) in enumerate(zip(wall.tolist(), values.tolist(), strict=True)):
            registers |= dict.fromkeys(signals, value)
            await gateway.step(second * NS, passed_ns=300 * NS if i else 0)
        reader = await gateway.stored()
        stored = {signal: reader.query("component", signal, FIRST, LAST) for signal in signals}
        reader.close()

    ours = as_believed(wall) - begin
    elapsed, moved = np.diff(ours, prepend=ours[0]), np.abs(np.diff(values, prepend=values[0]))
    times = {name: np.array(column.time) / NS - begin for name, column in stored.items()}
    assert times["every"] == pytest.approx(ours, abs=1e-6)
    assert (np.diff(times["every"]) > 0).all()
    assert stored["every"].value == values.tolist()
    outside, fast = (values < 40) | (values > 105), moved > 0.02 * elapsed
    assert outside.sum() > 10
    assert fast.sum() > 10
    assert stored["every"].quality == np.where(outside, OUT_OF_RANGE, np.where(fast, IMPLAUSIBLE_RATE, GOOD)).tolist()

    whole = np.rint(values)
    begins = np.maximum.accumulate(np.where(np.diff(whole, prepend=-1) != 0, np.arange(len(whole)), 0))
    still = ours - ours[begins] > 1800
    assert still.sum() > 10
    assert stored["coarse"].value == whole.tolist()
    assert stored["coarse"].quality == np.where(still, FLAT_LINE, GOOD).tolist()

    def off(every: int) -> float:
        """How far the line through what is stored lies from the readings, at the most; with one of so many points."""
        return np.abs(np.interp(ours, times["door"][::every], np.array(stored["door"].value)[::every]) - values).max()

    assert off(1) <= 1 + 1e-9
    assert off(2) > 2  # the control: these points are needed
    last = np.searchsorted(times["change"], ours, side="right") - 1
    assert np.abs(np.array(stored["change"].value)[last] - values).max() <= 1
    for name in ("door", "change"):
        assert times[name] == pytest.approx(
            ours[np.searchsorted(ours, times[name] - 1e-3)], abs=1e-6
        )  # no time of its own
        assert np.diff(times[name]).max() <= 12 * 3600
        ratio = len(values) / len(times[name])
        print(f"{name}: {len(times[name])} of {len(values)} readings, 1 in {ratio:.2f}")
        assert ratio > 1.5


# --- the press of the demo, for a shift -----------------------------------------------------------------------------------

DEMO = Path(simulators.__file__).parent / "demo"
HO_CHI_MINH = "Asia/Ho_Chi_Minh"
HEAD, SHIFT_S = 600, 8 * 3600  # seconds before the shift, and of it
STEP, METER = 5, 10  # seconds from reading to reading, of the press and of the meter
PAUSE = (4 * 3600, 4 * 3600 + 1800)  # from 10:00 to 10:30
PRESS = (
    "availability", "performance", "quality", "oee", "good", "reject", "produced_outside", "failures", "mttr", "mtbf",
    "planned_busy_time", "production_time", "break_time", "energy", "co2e", "energy_per_part", "uncertain",
)  # fmt: skip


def demo_press(tmp_path: Path) -> tuple[Configuration, Scenario]:
    """The demo plant as it ships, without its lathe, and with its files in a folder of the test."""
    plan = load(DEMO / "gateway.yaml", protocols())
    settings = plan.settings
    settings = settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(update={"data_dir": tmp_path / "data"}),
            "store": StoreSettings(kind="historian"),
        }
    )
    machines = {name: machine for name, machine in plan.machines.items() if machine.connection != "cnc"}
    connections = {name: connection for name, connection in plan.connections.items() if name != "cnc"}
    scenario = read_scenario(DEMO / "scenario.yaml")
    says = {name: each for name, each in scenario.settings.machines.items() if name in machines}
    return (
        replace(plan, settings=settings, machines=machines, connections=connections),
        replace(scenario, settings=scenario.settings.model_copy(update={"machines": says})),
    )


async def test_a_shift_of_the_demo_press(tmp_path):
    """The morning shift with its break, in steps of five seconds: alarms of 36 s every 8 minutes, a reject in each 25 parts.

    Compared with the waves of the scenario, which are functions of time, and with the ledger of what the machines served.
    """
    configuration, scenario = demo_press(tmp_path)
    shift = ns(date(2026, 6, 1), 6 * 60, HO_CHI_MINH)
    begin = shift - HEAD * NS
    async with compressed(configuration, begin, scenario=scenario) as gateway:
        for second in range(0, HEAD + SHIFT_S + 61, STEP):
            connections = ("panel", "press") if second % METER == 0 else ("press",)
            await gateway.step(begin + second * NS, *connections)
        reader = await gateway.stored()
        found = completed(reader, "press-07", "shift", PRESS)[shift + SHIFT_S * NS]
        hours = completed(reader, "press-07", "hour", PRESS)
        load_profile = reader.query("press-07", "demand.energy", FIRST, LAST)
        reader.close()

    waves = {m.path.machine: m for each in make_machines(configuration, scenario).values() for m in each}
    t = np.arange(0, HEAD + SHIFT_S + 61, STEP)

    def wave(machine: str, signal: str) -> np.ndarray:
        return np.array([waves[machine].value_at(signal, float(at)) for at in t])

    good, reject, alarm = wave("press-07", "parts_good"), wave("press-07", "parts_reject"), wave("press-07", "alarm")
    energy, cycles = wave("meter-01", "energy_import"), wave("press-07", "cycle_count")
    # In five seconds any condition has outlasted its debounce of two: what is true at a reading is true until the next one.
    minute = 60 // STEP
    running = ~alarm & (cycles > np.concatenate((np.full(minute, cycles[0]), cycles[:-minute])))
    planned = (t >= HEAD) & (t < HEAD + SHIFT_S) & ~((t >= HEAD + PAUSE[0]) & (t < HEAD + PAUSE[1]))

    def figures(first: int, end: int) -> dict[str, float]:
        """From definitions: of the seconds from `first` to `end` of the shift."""
        window = planned & (t >= HEAD + first) & (t < HEAD + end)
        cuts = np.flatnonzero(np.diff(np.concatenate(([False], window, [False]))))  # where planned time begins and ends
        counted = {name: np.diff(c[cuts]).reshape(-1)[::2].sum() for name, c in (("good", good), ("reject", reject))}
        parts = sum(counted.values())
        pbt, apt, faults = window.sum() * STEP, (window & running).sum() * STEP, window & alarm
        fails = (faults & ~np.concatenate(([False], faults[:-1]))).sum()
        used = energy[(HEAD + end) // STEP] - energy[(HEAD + first) // STEP]
        whole = good + reject
        return {
            "planned_busy_time": pbt, "production_time": apt, "break_time": (end - first) - pbt, "failures": fails, **counted,
            "availability": apt / pbt, "performance": 11.5 * parts / apt, "quality": counted["good"] / parts,
            "oee": apt / pbt * (11.5 * parts / apt) * (counted["good"] / parts),
            "mttr": faults.sum() * STEP / fails, "mtbf": apt / fails,
            "energy": used, "co2e": used * 0.6766,
            "energy_per_part": used / (whole[(HEAD + end) // STEP] - whole[(HEAD + first) // STEP]),
        }  # fmt: skip

    expected = figures(0, SHIFT_S)
    assert found["uncertain"] == ""
    for name in ("planned_busy_time", "production_time", "break_time", "failures", "good", "reject", "mttr", "mtbf"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
    for name in ("availability", "performance", "quality", "oee"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name
    assert 0.5 < expected["oee"] < 0.95
    # The meter has floats of 32 bits, three of which are added up: 0.0002 kWh at 1800.
    for name, tolerance in (("energy", 5e-4), ("co2e", 5e-4), ("energy_per_part", 1e-6)):
        assert found[name] == pytest.approx(expected[name], abs=tolerance), name
    for i in range(SHIFT_S // 3600):
        hour, of_it = hours[shift + 3600 * (i + 1) * NS], figures(3600 * i, 3600 * (i + 1))
        for name in ("availability", "quality", "oee", "good", "failures"):
            assert hour[name] == pytest.approx(of_it[name], rel=1e-9), (i, name)
        assert hour["energy"] == pytest.approx(of_it["energy"], abs=5e-4), i
    whole = energy[HEAD // STEP :: 900 // STEP][: SHIFT_S // 900 + 1]
    bars = dict(zip(load_profile.time, load_profile.value, strict=True))
    for i, kwh in enumerate(np.diff(whole)):
        assert bars[shift + (i + 1) * 900 * NS] == pytest.approx(kwh, abs=5e-4), i

    # What the machines say they served, at the two ends of the shift.
    served = {
        key: dict(zip(c.time, c.value, strict=True)) for key, c in ledger_columns(gateway.ledger.entries()).items()
    }
    of_meter = served["meter-01", "energy_import"]
    assert found["energy"] == pytest.approx(of_meter[shift + SHIFT_S * NS] - of_meter[shift], abs=1e-9)
    made = {
        name: served["press-07", f"parts_{name}"][shift + SHIFT_S * NS] - served["press-07", f"parts_{name}"][shift]
        for name in ("good", "reject")
    }
    assert found["good"] + found["reject"] + found["produced_outside"] == sum(made.values())

    # The control: a shift without its break, or an ideal cycle of 12 s, would be seen.
    planned |= (t >= HEAD) & (t < HEAD + SHIFT_S)
    assert figures(0, SHIFT_S)["good"] != found["good"]
    assert found["performance"] != pytest.approx(expected["performance"] / 11.5 * 12, rel=1e-3)
