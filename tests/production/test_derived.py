"""What is worked out for a machine, live: readings go in as a poller brings them; expected values are worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.config import Configuration, load
from gateway.model import (
    GOOD,
    NO_COMMUNICATION,
    NOT_AVAILABLE,
    NOT_CONNECTED,
    Batch,
    Header,
    Value,
    quality_text,
)
from gateway.normalizer import Plan
from gateway.production.calendar import WorkCalendar
from gateway.production.derived import Derived
from gateway.runtime.registry import protocols

SECOND = 10**9
T = 1_790_000_000 * SECOND  # Monday, 21 September 2026, 14:13:20 UTC

PRESS = """
    connection: c
    signals:
      good: {holding: 0, type: uint32, kind: counter, delta: true}
      reject: {holding: 2, type: uint16, kind: counter}
      power: {holding: 3, type: uint16, unit: kW, scale: 0.1}
      energy: {holding: 4, type: uint32, unit: W.h, kind: counter}
      mode: {holding: 6, type: uint16, enum: {0: "off", 1: auto, 2: setup}}
      alarm: {discrete: 0}
      alarm_code: {holding: 7, type: uint16}
"""
NAMES = ("good", "reject", "power", "energy", "mode", "alarm", "alarm_code")


class Machine:
    """One press, and what is worked out for it; time moves as it is told. Longer than `BOUND` without a word is a pause."""

    def __init__(self, folder: Path, more: str, *, others: str = "", saved: dict[str, object] | None = None) -> None:
        path = folder / "gateway.yaml"
        path.write_text(
            "connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\nmachines:\n  press:" + PRESS + more + others
        )
        self.configuration: Configuration = load(path, protocols())
        from adapters.modbus.config import ModbusMachine

        settings = self.configuration.machines["press"]
        assert isinstance(settings, ModbusMachine)
        from gateway.model import Signal

        raw = Header(
            self.configuration.path_of("press"), tuple(Signal(n, s.value_type) for n, s in settings.signals.items())
        )
        self.raw, self.plan = raw, Plan(raw, settings.signals)
        calendar = WorkCalendar(None, "UTC")
        self.derived = Derived(raw.path, self.configuration.machines, calendar, {"press": self.plan.header})
        if saved is not None:
            assert self.derived.load(saved) == []
        self.second = 0.0
        self.sent: list[tuple[float, str, Value, str]] = []
        self.now: dict[str, Value] = {}
        self.values: dict[str, Value] = dict.fromkeys(NAMES, 0) | {"alarm": False}

    def _note(self, out: list[tuple[Batch | None, Batch]]) -> None:
        for news, seen in out:
            for batch, of in ((news, self.sent), (seen, None)):
                if batch is None:
                    continue
                quality = batch.quality or [GOOD] * len(batch)
                for i, t, value, q in zip(batch.signal, batch.time, batch.value, quality, strict=True):
                    name = batch.header.signals[i].name
                    if of is not None:
                        of.append(((t - T) / SECOND, name, value, quality_text(q)))
                    else:
                        self.now[name] = value

    def read(self, second: float, **changed: Value) -> None:
        """A poll, in which some registers have changed."""
        self.values |= changed
        self._apply(second, [self.values[name] for name in NAMES], None)

    def _apply(self, second: float, values: list[Value], quality: list[int] | None) -> None:
        self.second = second
        time = T + round(second * SECOND)
        self.plan.apply(Batch(self.raw, self.raw.order, (time,) * len(NAMES), values, quality), second, time)
        assert self.plan.seen is not None
        self._note(self.derived.take(self.plan.seen, second, time))

    def fail(self, second: float, **quality: int) -> None:
        """A poll in which some registers have no value."""
        values = [None if name in quality else self.values[name] for name in NAMES]
        self._apply(second, values, [quality.get(name, GOOD) for name in NAMES])

    def lose(self, second: float) -> None:
        """The link breaks."""
        time = T + round(second * SECOND)
        batch = self.plan.lost(NOT_CONNECTED, second, time)
        assert batch is not None
        self._note(self.derived.take(batch, second, time))

    def past(self, second: float, at: Sequence[float], **values: Sequence[Value]) -> None:
        """A page of readings of the past arrives."""
        for name, column in values.items():
            times = [T + round(each * SECOND) for each in at]
            batch = Batch(self.raw, [NAMES.index(name)] * len(times), times, list(column), None, historical=True)
            self.derived.past(self.plan.past(batch), second, T + round(second * SECOND))

    def hour(self, *names: str, end: float = 2800.0) -> dict[str, tuple[Value, str]]:
        """What was told last of the hour that ends then, the first one as a rule."""
        return {name: (v, q) for t, of, v, q in self.sent if t == end and (name := of.removeprefix("hour.")) in names}

    def tick(self, second: float) -> None:
        self._note(self.derived.tick(second, T + round(second * SECOND)))

    def wait(self, second: float) -> None:
        """The gateway runs until then, and nothing is read."""
        begun = self.derived._pulse._last is not None
        for at in range(math.ceil(self.second), math.ceil(second) if begun else 0, 5):
            self.derived._pulse.note(at, T + at * SECOND)

    def told(self, *names: str) -> list[tuple[float, str, Value, str]]:
        """What was sent of these signals."""
        return [each for each in self.sent if each[1] in names]

    def values_of(self, name: str) -> list[Value]:
        return [value for _, of, value, _ in self.sent if of == name]


class Watched(Machine):
    """The gateway runs between all that is told."""

    def _apply(self, second: float, values: list[Value], quality: list[int] | None) -> None:
        self.wait(second)
        super()._apply(second, values, quality)

    def lose(self, second: float) -> None:
        self.wait(second)
        super().lose(second)

    def tick(self, second: float) -> None:
        self.wait(second)
        super().tick(second)
        self.second = second

    def past(self, second: float, at: Sequence[float], **values: Sequence[Value]) -> None:
        self.wait(second)
        super().past(second, at, **values)


STATE = """
    state:
      - {when: alarm, state: fault, reason_from: alarm_code}
      - {when: "mode == 'setup'", state: setup}
      - {when: "mode == 'auto'", state: running, debounce: 2s}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_delta_is_what_was_added_since_the_reading_before(folder):
    press = Watched(folder, "")
    for second, good in enumerate([100, 100, 103, 110]):
        press.read(second, good=good)
    assert press.values_of("good_delta") == [0, 3, 7]
    assert [s.unit for s in press.derived.header.signals] == [""]


def test_deltas_add_up_over_a_reset_and_a_restart(folder):
    press = Watched(folder, "")
    for second, good in enumerate([100, 103, 0, 1, 5]):
        press.read(second, good=good)
    total = press.plan.seen.value[0]
    again = Watched(folder, "", saved=json.loads(json.dumps(press.derived.dump(T + 5 * SECOND))))
    assert again.plan.load(press.plan.dump()) == []
    again.read(10, good=9)
    assert sum(press.values_of("good_delta") + again.values_of("good_delta")) == (total - 100) + 4 == 3 + 1 + 4 + 4


def test_computed_signals_follow_their_inputs(folder):
    press = Watched(
        folder,
        """
    computed:
      parts: {value: good + reject, kind: counter}
      share: {value: "reject / parts", precision: 3}
      power_w: {value: power, unit: W}
""",
    )
    press.read(0, good=90, reject=10, power=55)
    assert press.now == {"parts": 100, "share": 0.1, "power_w": 5500.0}
    press.read(1, good=91)
    assert press.told("parts", "share")[-2:] == [(1.0, "parts", 101, "good"), (1.0, "share", 0.099, "good")]
    signals = {s.name: s for s in press.derived.header.signals}
    assert (signals["share"].type, signals["parts"].type, signals["parts"].kind) == ("float", "int", "counter")
    assert (signals["share"].formula, signals["share"].made_of) == ("reject / parts", ("reject", "parts"))
    assert signals["power_w"].unit == "W"


def test_a_bad_input_is_a_bad_result_with_its_reason_and_never_a_number(folder):
    press = Watched(folder, '    computed: {share: {value: "reject / (good + reject)"}}')
    press.read(0, good=0, reject=0)  # divided by zero
    press.fail(1, reject=NO_COMMUNICATION)
    press.read(2, good=3, reject=1)
    assert press.told("share") == [
        (0.0, "share", None, "bad:not-a-number"),
        (1.0, "share", None, "bad:no-communication"),
        (2.0, "share", 0.25, "good"),
    ]


def test_states_by_the_first_rule_that_holds(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=0)
    press.read(10, mode=2)
    press.read(20, mode=2, alarm=True, alarm_code=17)
    press.read(30, alarm=False)
    assert press.told("state") == [
        (0.0, "state", "idle", "good"), (10.0, "state", "setup", "good"), (20.0, "state", "fault", "good"),
        (30.0, "state", "setup", "good"),
    ]  # fmt: skip
    assert press.told("state_reason") == [
        (0.0, "state_reason", "", "good"),
        (20.0, "state_reason", "17", "good"),
        (30.0, "state_reason", "", "good"),
    ]
    assert press.values_of("item_state") == ["NotExecuting", "OutOfService", "NotExecuting"]
    assert press.values_of("operation_mode") == ["Processing", "Setup", "None", "Setup"]
    assert press.values_of("packml_state") == ["Idle", "Stopped", "Aborted", "Stopped"]


def test_a_state_that_ends_is_an_event_with_its_duration(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=2)
    press.read(12.5, alarm=True, alarm_code=3)
    press.read(14, alarm=False)
    ended = press.told("ended_state", "ended_state_reason", "ended_state_duration")
    assert ended == [
        (12.5, "ended_state", "setup", "good"), (12.5, "ended_state_reason", "", "good"),
        (12.5, "ended_state_duration", 12.5, "good"), (14.0, "ended_state", "fault", "good"),
        (14.0, "ended_state_reason", "3", "good"), (14.0, "ended_state_duration", 1.5, "good"),
    ]  # fmt: skip


def test_a_state_counts_from_the_beginning_of_its_condition(folder):
    """`debounce: 2s`: it is known two seconds later that the press runs since 10."""
    press = Watched(folder, STATE)
    press.read(0, mode=0)
    press.read(10, mode=1)
    press.tick(11)
    press.tick(12)
    assert press.told("state")[-1] == (10.0, "state", "running", "good")
    assert press.told("ended_state_duration") == [(10.0, "ended_state_duration", 10.0, "good")]


def test_what_is_shorter_than_the_debounce_never_was(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=0)
    press.read(10, mode=1)
    press.read(11, mode=0)
    press.tick(20)
    assert press.values_of("state") == ["idle"]


def test_a_broken_link_makes_the_state_unknown_and_one_bad_register_does_not(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=2)
    press.fail(1, alarm=NO_COMMUNICATION)
    assert press.now["state"] == "setup"
    press.lose(2)
    assert press.now["state"] == "unknown"
    assert press.told("item_state")[-1] == (2.0, "item_state", None, "bad:no-communication")
    press.read(5, mode=2)
    assert press.told("state")[-1] == (5.0, "state", "setup", "good")


KPI = (
    STATE
    + "    kpi: {good: good, reject: reject, ideal_cycle: 2s, intervals: [hour], energy: {counter: energy, co2e: 0.5}}\n"
)


def test_figures_of_an_hour_with_all_they_were_calculated_from(folder):
    """From 14:13:20 to 15:00 the hour has 2800 s; the press runs from 0 to 2000 s and is in a fault for 400, then idle.

    It makes a part every 2.5 s, every tenth is bad; it takes 10 Wh a part and nothing else.
    """
    press = Watched(folder, KPI)
    parts = 0
    for second in range(0, 2801, 2):
        parts = min(second, 2000) * 10 // 25
        state: dict[str, Value] = {"mode": 1 if second < 2000 else 0, "alarm": 2000 <= second < 2400}
        press.read(second, good=parts - parts // 10, reject=parts // 10, energy=10 * parts, **state)
        press.tick(second)
    press.tick(2801)
    last = {name: (value, quality) for t, name, value, quality in press.sent if t == 2800.0}
    assert last["hour.complete"] == (True, "good")
    assert last["hour.name"] == ("14:00", "good")
    assert last["hour.good"][0] == 720
    assert last["hour.reject"][0] == 80
    # The first 800 s of the hour were before the first reading: nobody's loss, but the figures say so.
    assert last["hour.unknown_time"][0] == 0.0
    assert last["hour.calendar_time"][0] == 2800.0
    assert last["hour.time_by_state.running"][0] == 2000.0
    assert last["hour.time_by_state.fault"][0] == 400.0
    assert last["hour.time_by_state.idle"][0] == 400.0
    assert last["hour.availability"] == (pytest.approx(2000 / 2800), "uncertain:incomplete")
    assert last["hour.performance"][0] == pytest.approx(2.0 * 800 / 2000)  # 80 %
    assert last["hour.quality"][0] == pytest.approx(0.9)
    assert last["hour.oee"][0] == pytest.approx(2000 / 2800 * 0.8 * 0.9)
    assert last["hour.energy"][0] == pytest.approx(8.0)  # kW.h, from W.h
    assert last["hour.energy_per_part"][0] == pytest.approx(0.01)
    assert last["hour.co2e"][0] == pytest.approx(4.0)
    assert last["hour.uncertain"][0].startswith("begins with the first reading, 13 min late")
    signals = {s.name: s for s in press.derived.header.signals}
    assert set(signals["hour.oee"].made_of) <= signals.keys()
    # One quarter of an hour is whole: from 14:15 to 14:45, two of them; and the one to 15:00.
    assert [t for t, name, _, _ in press.sent if name == "demand.power"] == [1000.0, 1900.0, 2800.0]


def test_what_cannot_be_calculated_has_no_value(folder):
    press = Watched(folder, KPI)
    press.read(0, mode=0)
    press.tick(60)
    assert press.now["hour.quality"] is None
    assert ("hour.mttr", None, "bad:not-available") in [each[1:] for each in press.sent]
    assert quality_text(NOT_AVAILABLE) == "bad:not-available"


def test_late_data_turns_what_was_unknown_into_what_was(folder):
    """The link is away from 100 to 400; the server remembers that the press went on until 200, and made 40 parts."""
    press = Watched(folder, KPI.replace(", debounce: 2s", ""))
    press.read(0, mode=1)
    press.tick(0)
    press.read(90, good=36)
    press.lose(100)
    press.read(400, good=80, mode=2)
    press.tick(2801)
    assert not [each for each in press.sent if each[0] == 2800.0]  # nothing was read up to the end: it waits a minute
    press.tick(2861)
    before = {name: value for t, name, value, _ in press.sent if t == 2800.0}
    assert before["hour.time_by_state.running"] == 100.0
    assert before["hour.unknown_time"] == 300.0
    press.sent.clear()
    at = [T + s * SECOND for s in (150, 200, 200)]
    mode, good = NAMES.index("mode"), NAMES.index("good")
    past = press.plan.past(Batch(press.raw, [good, mode, good], at, [60, 2, 80], None, historical=True))
    press.wait(2900)
    press.derived.past(past, 2900.0, T + 2900 * SECOND)
    press.tick(2901)
    assert not press.sent  # more of it may come
    press.tick(2902)
    after = {name: value for t, name, value, _ in press.sent if t == 2800.0}
    assert after["hour.time_by_state.running"] == 200.0
    assert after["hour.time_by_state.setup"] == 2800.0 - 200.0
    assert after["hour.unknown_time"] == 0.0


def test_figures_go_on_after_a_restart_and_the_time_between_is_unknown(folder):
    press = Watched(folder, KPI.replace(", debounce: 2s", ""))
    press.read(0, mode=1)
    press.tick(0)
    press.read(100, good=40)
    saved = json.loads(json.dumps(press.derived.dump(T + 100 * SECOND)))
    again = Watched(folder, KPI.replace(", debounce: 2s", ""), saved=saved)
    again.plan.load(press.plan.dump())
    again.read(200, good=40, mode=1)
    again.tick(201)
    again.read(300, good=80)
    again.read(2800, good=80)
    again.tick(2801)
    last = {name: value for t, name, value, _ in again.sent if t == 2800.0}
    assert last["hour.time_by_state.running"] == 2800.0 - 100.0
    assert last["hour.unknown_time"] == 100.0
    assert last["hour.good"] == 80


def test_a_state_that_cannot_be_used_is_begun_anew(folder):
    press = Watched(folder, KPI)
    saved = press.derived.dump(T) | {"figures": {"history": "?"}, "counters": {"parts": []}}
    assert press.derived.load(saved) == ["figures"]


def test_signals_of_another_machine(folder):
    others = """
  meter:
    connection: c
    unit_id: 2
    signals: {import: {holding: 0, type: uint32, unit: kW.h, kind: counter}}
    computed: {per_part: {value: "import / [press/good]"}}
"""
    press = Watched(folder, "", others=others)
    from gateway.model import Signal

    meter = Header(press.configuration.path_of("meter"), (Signal("import", "int", "kW.h"),))
    derived = Derived(
        meter.path,
        press.configuration.machines,
        WorkCalendar(None, "UTC"),
        {"press": press.plan.header, "meter": meter},
    )
    assert derived.looks_at == {"press", "meter"}
    derived.take(Batch(meter, meter.order, (T,), (500,), None), 0.0, T)
    press.read(1, good=250)
    out = derived.take(press.plan.seen, 1.0, T + SECOND)
    assert [list(news.value) for news, _ in out] == [[2.0]]


def test_what_is_written_down_often_brings_everything_back(folder):
    """A dump, then two short notes, then a power cut: as if there had been none, but for the time it was away."""
    press = Watched(folder, KPI.replace(", debounce: 2s", ""))
    press.read(0, mode=1)
    press.tick(0)
    press.read(100, good=40)
    whole = press.derived.dump(T + 100 * SECOND)
    press.read(150, good=60)
    press.read(200, mode=2)
    one = press.derived.recent(T + 200 * SECOND)
    press.read(300, mode=1, good=61)
    two = press.derived.recent(T + 300 * SECOND)
    assert len(json.dumps(one)) < len(json.dumps(whole)) + 400
    again = Watched(folder, KPI.replace(", debounce: 2s", ""))
    assert again.derived.load(*json.loads(json.dumps([whole, [one, two]]))) == []
    again.plan.load(press.plan.dump())
    again.read(400, good=70, mode=1)
    again.read(2800, good=90)
    again.tick(2801)
    last = {name: value for t, name, value, _ in again.sent if t == 2800.0}
    assert last["hour.time_by_state.running"] == 200.0 + 2400.0
    assert last["hour.time_by_state.setup"] == 100.0
    assert last["hour.unknown_time"] == 100.0
    assert last["hour.good"] == 90
    assert sum(press.values_of("good_delta") + again.values_of("good_delta")) == 90


@pytest.mark.parametrize("broken", [{"figures": {"history": {}}}, {"figures": 7}, {"counters": {"x": 1}}, {}])
def test_a_note_that_cannot_be_used_costs_only_itself(folder, broken):
    press = Watched(folder, KPI)
    press.read(0, mode=1)
    press.tick(10)
    whole = press.derived.dump(T + 10 * SECOND)
    again = Watched(folder, KPI)
    found = again.derived.load(whole, [{"t": T + 20 * SECOND, **broken}])
    assert found == (["figures"] if "figures" in broken else [])
    again.read(30, mode=1)
    again.tick(32)
    assert again.told("state")[-1] == (30.0, "state", "running", "good")


# --- what a reviewer would try --------------------------------------------------------------------------------------


def test_each_reading_of_a_batch_counts(folder):
    """Three pulses of an alarm in one notification of a subscription."""
    press = Watched(folder, '    computed: {alarms: {value: "count(alarm, 1h)"}}')
    press.read(0)
    alarm = NAMES.index("alarm")
    times = [T + (10 + i) * SECOND for i in range(6)]
    batch = Batch(press.plan.header, [alarm] * 6, times, [True, False] * 3, None)
    press._note(press.derived.take(batch, 16.0, T + 16 * SECOND))
    assert press.now["alarms"] == 3


def test_what_is_made_of_a_delta_is_bad_with_its_counter(folder):
    press = Watched(folder, '    computed: {twice: {value: "good_delta * 2"}}')
    press.read(0, good=5)
    press.read(1, good=8)
    press.fail(2, good=NO_COMMUNICATION)
    press.read(3, good=10)
    assert press.told("twice")[-3:] == [
        (1.0, "twice", 6, "good"), (2.0, "twice", None, "bad:no-communication"), (3.0, "twice", 4, "good")
    ]  # fmt: skip


def test_a_computed_signal_may_look_at_the_state_of_its_own_machine(folder):
    press = Watched(folder, STATE + "    computed: {runs: {value: \"if(state == 'setup', 1, 0)\"}}\n")
    press.read(0, mode=2)
    assert press.now["runs"] == 1
    press.read(10, mode=0)
    assert press.now["runs"] == 0


def test_a_clock_that_is_set_back_by_a_year_stops_nothing(folder):
    press = Watched(folder, KPI.replace(", debounce: 2s", ""))
    year = 365 * 86_400
    press.read(year, mode=1)
    press.tick(year + 1)
    press.sent.clear()
    press.read(0, mode=1, good=5)
    press.tick(1)
    press.read(100, alarm=True, good=10)
    press.tick(160)
    assert press.now["state"] == "fault"
    assert press.now["hour.good"] == 5
    assert all(-1 <= t <= 161 for t, *_ in press.sent)


def test_it_goes_on_when_it_is_made_anew(folder):
    """As when the types of another machine are learnt: nothing has been missed."""
    press = Watched(
        folder, KPI.replace(", debounce: 2s", "") + "    computed: {d: {value: \"duration(mode == 'auto')\"}}\n"
    )
    press.read(0, mode=1, good=4)
    press.read(100, good=44)
    again = Watched(
        folder, KPI.replace(", debounce: 2s", "") + "    computed: {d: {value: \"duration(mode == 'auto')\"}}\n"
    )
    again.derived.take_over(press.derived)
    again.plan.take_over(press.plan)
    again.values = press.values
    again.read(200, good=84)
    assert again.now["d"] == 200.0
    assert again.values_of("good_delta") == [40]
    again.read(300, alarm=True)
    assert again.told("ended_state_duration")[-1][2] == 300.0


def test_history_that_comes_in_pages_is_judged_as_a_whole(folder):
    press = Watched(folder, KPI.replace(", debounce: 2s", ""))
    press.read(0, mode=1)
    press.tick(0)
    press.lose(100)
    press.read(1000, mode=1)
    alarm, good = NAMES.index("alarm"), NAMES.index("good")
    for later, (signal, at, values) in enumerate(
        [(alarm, (200,), (True,)), (good, (300, 500), (10, 12)), (alarm, (900,), (False,))]
    ):
        times = [T + second * SECOND for second in at]
        batch = Batch(press.raw, [signal] * len(at), times, list(values), None, historical=True)
        press.derived.past(press.plan.past(batch), 1001.0 + 3 * later, T + (1001 + 3 * later) * SECOND)
        press.tick(1003.5 + 3 * later)
    press.read(2800)
    press.tick(2870)
    last = {name: value for t, name, value, _ in press.sent if t == 2800.0}
    assert last["hour.time_by_state.fault"] == 700.0
    assert last["hour.time_by_state.running"] == 2100.0
    assert last["hour.unknown_time"] == 0.0


def test_two_kills_leave_both_absences_unknown(folder):
    text = KPI.replace(", debounce: 2s", "")
    lines, press = [], Watched(folder, text)
    for start, end in [(0, 600), (1000, 1300), (1500, 1600)]:
        if start:
            press = Watched(folder, text)
            assert press.derived.load({}, json.loads(json.dumps(lines))) == []
        for second in range(start, end + 1, 20):
            press.read(second, mode=1)
            press.tick(second)
            if second % 60 == 0:
                lines.append(press.derived.recent(T + second * SECOND))
    press.read(2800, mode=1)
    press.tick(2801)
    last = {name: value for t, name, value, _ in press.sent if t == 2800.0}
    assert last["hour.unknown_time"] == 400.0 + 240.0  # 600 to 1000; 1260, the last line, to 1500


def test_a_rule_that_cannot_be_told_makes_those_below_it_uncertain(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=2)
    press.fail(1, alarm=NO_COMMUNICATION)
    press.read(2, mode=2)
    assert press.told("state") == [
        (0.0, "state", "setup", "good"), (1.0, "state", "setup", "uncertain:incomplete"), (2.0, "state", "setup", "good")
    ]  # fmt: skip


def test_while_the_gateway_is_away_the_state_is_unknown_in_the_store_too(folder):
    press = Watched(folder, STATE)
    press.read(0, mode=2)
    saved = json.loads(json.dumps(press.derived.dump(T + 100 * SECOND)))
    again = Watched(folder, STATE, saved=saved)
    again.read(500, mode=2)
    again.tick(501)
    assert again.told("state") == [(100.0, "state", "unknown", "good"), (500.0, "state", "setup", "good")]
    assert again.told("ended_state", "ended_state_duration") == [
        (100.0, "ended_state", "setup", "good"), (100.0, "ended_state_duration", 100.0, "good"),
        (500.0, "ended_state", "unknown", "good"), (500.0, "ended_state_duration", 400.0, "good"),
    ]  # fmt: skip


def test_every_figure_names_what_it_is_made_of(folder):
    press = Watched(folder, KPI)
    signals = {signal.name: signal for signal in press.derived.header.signals}
    everything = signals.keys() | {signal.name for signal in press.plan.header.signals}
    for signal in signals.values():
        assert set(signal.made_of) <= everything - {signal.name}, signal.name
    assert signals["hour.good"].made_of == ("good",)
    assert signals["hour.energy"].made_of == ("energy",)
    assert signals["hour.peak_demand"].made_of == ("hour.energy", "hour.peak_start")
    assert len(signals) == len(press.derived.header.signals)


def test_parts_of_the_first_moment_belong_to_the_first_interval(folder):
    """The reading 100 is stamped 12 ms before the first state is known, 130 as much after it: 30 parts, not 29."""
    press = Watched(folder, KPI)
    first, later = T + SECOND, T + SECOND + 24_000_000
    for now, good in ((first, 100), (later, 130)):
        press.values |= {"good": good, "mode": 1}
        row = [press.values[name] for name in NAMES]
        press.plan.apply(Batch(press.raw, press.raw.order, (now,) * len(NAMES), row, None), 1.0, now)
        press._note(press.derived.take(press.plan.seen, 1.0, now + 12_000_000))
    press.tick(61)
    assert press.now["hour.good"] == 30


def test_a_bar_that_was_silent_is_told_when_the_meter_is_read_again(folder):
    """36 kW; no meter from 1500 to 3000 s: the bars that end at 1900 and 2800 s are told then, as what they are."""
    press = Watched(folder, KPI)
    for second in range(0, 4000, 10):
        press.values |= {"mode": 1, "energy": 10 * second}
        if 1500 < second < 3000:
            press.fail(second, energy=NO_COMMUNICATION)
        else:
            press.read(second)
        press.tick(second)
    assert [(t, round(value, 3), quality) for t, _, value, quality in press.told("demand.power")] == [
        (1000.0, 36.0, "good"), (1900.0, 36.0, "uncertain:incomplete"), (2800.0, 36.0, "uncertain:incomplete"),
        (3700.0, 36.0, "uncertain:incomplete"),
    ]  # fmt: skip
