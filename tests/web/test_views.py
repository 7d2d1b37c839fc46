"""What the views make of a board: tiles, rows, strips, flow and figures."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config.production import EnergySettings, KpiSettings
from gateway.counters import FlowCounters
from gateway.events import KEPT, STANDING, Event, Events
from gateway.model import (
    GOOD,
    INCOMPLETE,
    NOT_AVAILABLE,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    Batch,
    Header,
    MachinePath,
    Signal,
)
from gateway.production.report import figure_signals
from gateway.runtime.registry import protocols
from gateway.web import Board
from gateway.web.sources import Sources, Way
from gateway.web.views.events import events
from gateway.web.views.flow import Flow, forecast
from gateway.web.views.kpi import kpi
from gateway.web.views.machine import machine
from gateway.web.views.plant import headline, plant
from gateway.web.views.strips import strips
from gateway.web.views.trail import Trail
from web.plant import NOW, ManualClock, S, Used, all_bad, empty_board, full, header, signal
from web.plant import plant as six_machines

MS = NOW // 1_000_000


def sources(board: Board, **more: Any) -> Sources:
    return Sources(board, ManualClock(), **more)


def derived(board: Board, name: str, *signals: Signal) -> Header:
    head = Header(board.machines[name].latest.header.path, signals)
    board.add(head, NOW, "derived")
    return head


# --- plant -----------------------------------------------------------------------------------------------------------


def test_tiles_are_sorted_by_trouble() -> None:
    tiles = plant(sources(six_machines()))["machines"]
    assert [tile["name"] for tile in tiles] == ["robot-11", "press-07", "oven-03", "lathe-02", "meter-01", "pump-04"]
    assert sorted((tile["rank"] for tile in tiles), reverse=True) == [tile["rank"] for tile in tiles]


def test_a_tile_counts_qualities() -> None:
    tiles = {tile["name"]: tile for tile in plant(sources(six_machines()))["machines"]}
    assert tiles["press-07"]["signals"] == {"good": 4, "uncertain": 0, "bad": 1}
    assert tiles["lathe-02"]["signals"] == {"good": 3, "uncertain": 1, "bad": 0}
    assert tiles["robot-11"]["signals"] == {"good": 0, "uncertain": 0, "bad": 2}
    assert tiles["meter-01"]["signals"] == {"good": 18, "uncertain": 0, "bad": 0}
    assert tiles["lathe-02"]["age_s"] == 2.2


def test_a_machine_that_is_silent_does_not_look_fresh() -> None:
    """Every poll without an answer makes bad readings of that moment; the newest value is 600 s old."""
    board = empty_board()
    head = header("m", signal("a"), signal("b"))
    board.add(head, NOW)
    board.update(full(head, [1.0, 2.0], t=NOW - 600 * S))
    for seconds in (599, 1):
        board.update(all_bad(head, NOT_CONNECTED, NOW - seconds * S))
    (tile,) = plant(sources(board))["machines"]
    assert tile["age_s"] == 600.0
    assert board.machines["m"].latest.newest_ns == NOW - 600 * S


@given(st.lists(st.sampled_from([GOOD, 0x00A20000, OUT_OF_RANGE, NOT_CONNECTED, 0xC0000000]), min_size=1, max_size=30))
@settings(max_examples=100)
def test_counts_of_any_qualities(qualities: list[int]) -> None:
    board = empty_board()
    head = header("m", *(signal(f"s{i}") for i in range(len(qualities))))
    board.add(head, NOW)
    board.update(Batch(head, head.order, [NOW] * len(qualities), [None] * len(qualities), qualities))
    # OPC UA Part 4, 7.39: severity is the two highest bits; 00 good, 01 uncertain, 10 and 11 bad.
    expected = {"good": 0, "uncertain": 0, "bad": 0}
    for quality in qualities:
        expected[("good", "uncertain", "bad", "bad")[quality >> 30]] += 1
    assert board.machines["m"].latest.counts() == expected


def test_a_machine_that_was_never_heard_is_not_fresh() -> None:
    board = empty_board()
    board.add(header("new", signal("a", unit="V")), NOW)
    (tile,) = plant(sources(board))["machines"]
    assert (tile["state"], tile["age_s"], tile["doing"], tile["oee"]) == ("offline", None, None, None)
    assert tile["headline"][0]["value"] is None
    assert tile["headline"][0]["age_s"] is None


def test_what_it_is_doing_and_its_oee() -> None:
    board = six_machines()
    head = derived(board, "press-07", signal("state", "string"), signal("state_reason", "string"), signal("shift.oee"))
    board.update(full(head, ["held", "coolant", 0.71], t=NOW - 300 * S))
    tile = plant(sources(board))["machines"][1]
    assert tile["doing"] == {"state": "held", "since_ms": MS - 300_000, "reason": "coolant"}
    assert tile["oee"] == 0.71
    board.machines["press-07"].condition.set("offline", NOW, "gone")
    tile = next(t for t in plant(sources(board))["machines"] if t["name"] == "press-07")
    assert (tile["doing"], tile["oee"]) == (None, None)


def test_an_oee_that_cannot_be_calculated_is_none() -> None:
    board = six_machines()
    head = derived(board, "press-07", signal("shift.oee"), signal("hour.oee"))
    board.update(full(head, [None, 0.5], [NOT_AVAILABLE, GOOD]))
    tile = next(t for t in plant(sources(board))["machines"] if t["name"] == "press-07")
    assert tile["oee"] == 0.5
    assert tile["doing"] is None


def test_names_among_equals_are_in_the_order_people_count_in() -> None:
    board = empty_board()
    for name in ("press-10", "press-9", "press-1", "Press-2", "²", "9" * 5000):
        board.add(header(name, signal("a")), NOW)
    names = [tile["name"] for tile in plant(sources(board))["machines"]]
    assert [n for n in names if n.lower().startswith("press")] == ["press-1", "Press-2", "press-9", "press-10"]


def test_the_headline_is_what_has_a_unit() -> None:
    head = header(
        "m", signal("mode", "string"), signal("count", "int"), signal("t1", unit="Cel"), signal("t2", unit="Cel"),
        signal("alarm", "bool"), signal("t3", unit="Cel"), signal("t4", unit="Cel"),
    )  # fmt: skip
    assert [head.signals[i].name for i in headline(head)] == ["t1", "t2", "t3"]
    few = header("m", signal("mode", "string"), signal("count", "int"))
    assert [few.signals[i].name for i in headline(few)] == ["mode", "count"]


def test_the_plant_says_how_the_gateway_is() -> None:
    board = six_machines()
    board.usage = lambda: Used(trouble="No space left on device", unsafe=7)
    view = plant(Sources(board, ManualClock(), safe_mode=lambda: ["gateway.yaml:3:1: error: x"]))
    assert view["buffer"]["trouble"] == "No space left on device"
    assert view["buffer"]["unsafe"] == 7
    assert view["safe_mode"] == {"errors": [{"text": "gateway.yaml:3:1: error: x"}]}
    assert view["clock"] == {"trusted": True, "synchronized": None, "fault": ""}
    assert plant(sources(board))["safe_mode"] is None
    assert view["gateway"]["id"] == "edge-01"


# --- one machine -----------------------------------------------------------------------------------------------------


class Extremes:
    available = True

    def extremes(self, name: str) -> dict[str, tuple[float, float]]:
        assert name == "acme/hanoi/moulding/L1/press-07"
        return {"melt_temp": (228.0, 240.5), "cycle_count": (1, 2**60)}

    async def points(self, *_: Any) -> list[Any]:
        raise NotImplementedError


def test_what_is_shown_lies_between_its_extremes() -> None:
    """The store is asked once a minute: 231.4 and 1204511 are shown before it tells of them."""
    board = six_machines()
    for known, expected in [
        ((235.0, 240.5), (231.4, 240.5)),
        ((200.0, 229.0), (200.0, 231.4)),
        ((1.0, 999.0), (1.0, 999.0)),
    ]:
        history = SimpleNamespace(available=True, extremes=lambda _, known=known: {"melt_temp": known, "alarm": known})
        rows = {row["name"]: row for row in machine(sources(board, history=history), "press-07")["signals"]}
        assert (rows["melt_temp"]["min"], rows["melt_temp"]["max"]) == expected
        assert (rows["alarm"]["min"], rows["alarm"]["max"]) == known  # on and off are no numbers
        assert rows["cycle_count"]["min"] is None  # one reading is not a day
    press = board.machines["press-07"].latest.header
    board.update(full(press, [1, float("nan"), None, "auto", False]))
    rows = {row["name"]: row for row in machine(sources(board, history=history), "press-07")["signals"]}
    assert (rows["melt_temp"]["min"], rows["melt_temp"]["max"]) == (1.0, 999.0)


ONE = "connections: {c: {protocol: modbus-tcp, host: a}}\nmachines: {m: {connection: c, signals: {s: {coil: 0}}}}\n"
SHIFTS = 'calendars: {%s: {timezone: %s, shifts: {day: {from: "06:00", to: "14:00"}}}}\n'


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("", None), ("site: {timezone: Asia/Ho_Chi_Minh}\n", "Asia/Ho_Chi_Minh"), ("site: {timezone: UTC}\n", "UTC"),
        (SHIFTS % ("a", "Asia/Ho_Chi_Minh"), "Asia/Ho_Chi_Minh"), ("site: {site: hanoi}\n", None),
    ],
)  # fmt: skip
def test_whose_time_it_is(tmp_path: Path, written: str, zone: str | None) -> None:
    (tmp_path / "gateway.yaml").write_text(ONE + written)
    configuring: Any = SimpleNamespace(configuration=load(tmp_path / "gateway.yaml", protocols()))
    seen = sources(six_machines(), configuring=configuring)
    for view in (plant(seen), kpi(seen), machine(seen, "press-07")):
        assert view["gateway"]["timezone"] == zone
    assert plant(sources(six_machines()))["gateway"]["timezone"] is None


def test_a_machine_has_rows_of_itself_alone() -> None:
    noted = Events()
    noted.add(Event(NOW, "machine", "press-07", "degraded", "", "why"))
    noted.add(Event(NOW, "machine", "pump-04", "online"))
    view = machine(sources(six_machines(), events=noted, history=Extremes()), "press-07")
    rows = {row["name"]: row for row in view["signals"]}
    assert list(rows) == ["cycle_count", "melt_temp", "hold_pressure", "mode", "alarm"]
    assert (rows["melt_temp"]["min"], rows["melt_temp"]["max"]) == (228.0, 240.5)
    assert rows["cycle_count"]["max"] == float(2**60)
    assert (rows["mode"]["min"], rows["mode"]["poll_s"], rows["mode"]["address"]) == (None, None, "")
    assert rows["hold_pressure"]["quality"] == "bad:no-communication"
    assert rows["hold_pressure"]["value"] is None
    assert rows["hold_pressure"]["fault"]
    assert rows["melt_temp"]["fault"] == ""
    assert [event["text"] for event in view["events"]] == ["why"]
    assert view["machine"]["name"] == "press-07"


def test_range_and_states_are_told() -> None:
    board = empty_board()
    head = Header(MachinePath("m"), (Signal("a", "float", low=0.0), Signal("b", "string", states={0: "off", 1: "on"})))
    board.add(head, NOW)
    rows = machine(sources(board), "m")["signals"]
    assert (rows[0]["range"], rows[1]["range"]) == ([0.0, None], None)
    assert rows[1]["states"] == {"0": "off", "1": "on"}


def test_no_machine_of_this_name() -> None:
    with pytest.raises(KeyError):
        machine(sources(six_machines()), "press-08")


# --- strips ----------------------------------------------------------------------------------------------------------


def test_a_machine_that_flaps_makes_no_other_unknown() -> None:
    noted = Events()
    noted.add(Event(NOW - 5000 * S, "machine", "of before", "online"))
    noted.add(Event(NOW - 4000 * S, "gateway", "", "started"))
    noted.add(Event(NOW - 3999 * S, "machine", "steady", "offline"))
    noted.add(Event(NOW - 3000 * S, "machine", "steady", "online"))
    for i in range(KEPT + 10):
        noted.add(Event(NOW - 2500 * S + i * S, "machine", "flaps", ("offline", "online")[i % 2]))
    made = strips(noted.changes(), ["steady", "of before"], NOW - 2000 * S, NOW)["machines"]
    assert made == {"steady": [[MS - 2_000_000, "online"]], "of before": [[MS - 2_000_000, "unknown"]]}


def test_what_is_remembered_of_machines_is_bounded() -> None:
    noted = Events()
    for i in range(STANDING + 2 * KEPT):
        noted.add(Event(NOW + i, "machine", f"m{i}", "online"))
    assert len(list(noted.changes())) == STANDING + KEPT
    assert len(noted) == KEPT


def happened(*events: tuple[int, str, str, str]) -> list[Event]:
    return [Event(NOW + at * S, kind, name, state) for at, kind, name, state in events]  # type: ignore[arg-type]


def test_a_strip_is_made_of_changes() -> None:
    told = happened(
        (-90_000, "machine", "a", "online"), (-3600, "machine", "a", "offline"), (-3000, "machine", "b", "online"),
        (-1800, "machine", "a", "online"), (-900, "gateway", "", "stopped"), (-600, "gateway", "", "started"),
        (-590, "machine", "a", "degraded"),
    )  # fmt: skip
    made = strips(told, ["a", "b", "c"], NOW - 86_400 * S, NOW)
    assert made["from_ms"] == MS - 86_400_000
    assert made["machines"] == {
        "a": [
            [MS - 86_400_000, "online"], [MS - 3_600_000, "offline"], [MS - 1_800_000, "online"], [MS - 900_000, "unknown"],
            [MS - 590_000, "degraded"],
        ],
        "b": [[MS - 86_400_000, "unknown"], [MS - 3_000_000, "online"], [MS - 900_000, "unknown"]],
        "c": [[MS - 86_400_000, "unknown"]],
    }  # fmt: skip


_EVENTS = st.lists(
    st.tuples(
        st.integers(-100_000, 1000),
        st.sampled_from(["machine", "machine", "machine", "gateway", "broker", "loss"]),
        st.sampled_from(["a", "b", "gone"]),
        st.sampled_from(["online", "degraded", "offline", "stopped", "started"]),
    ),
    max_size=30,
)


@given(_EVENTS, st.integers(1, 90_000))
@settings(max_examples=200)
def test_stretches_cover_the_window_in_order(told: list[tuple[int, str, str, str]], seconds: int) -> None:
    """Also where a clock was set back: the order of the events is that in which they happened."""
    made = strips(happened(*told), ["a", "b"], NOW - seconds * S, NOW)
    assert set(made["machines"]) == {"a", "b"}
    for strip in made["machines"].values():
        times, states = [t for t, _ in strip], [state for _, state in strip]
        assert times[0] == made["from_ms"]
        assert times == sorted(set(times))
        assert times[-1] <= made["to_ms"]
        assert all(one != other for one, other in itertools.pairwise(states))


@given(_EVENTS)
@settings(max_examples=100)
def test_a_strip_ends_with_what_is_true(told: list[tuple[int, str, str, str]]) -> None:
    ordered = sorted(told, key=lambda event: event[0])
    state = "unknown"
    for at, kind, name, new in ordered:
        if at <= 0 and kind == "machine" and name == "a":
            state = new
        elif at <= 0 and kind == "gateway" and new in ("stopped", "started"):
            state = "unknown"
    made = strips(happened(*ordered), ["a"], NOW - 1000 * S, NOW)
    assert made["machines"]["a"][-1][1] == state


# --- flow ------------------------------------------------------------------------------------------------------------


def test_stages_have_rates_and_lags() -> None:
    board, clock = six_machines(), ManualClock()
    trail = Trail()
    for second in range(20):
        trail.note(float(second), 100 * (second + 1), 0)
    # At 20 s the newest record is 2000; 1900 came at 18 s, 1600 at 15 s.
    way = Way(trail, accepted=1950, sent=1900, stored=1500, dead_letters=(3, "/x/dead-letters.jsonl"))
    flow = Flow(Sources(board, clock, way=lambda: way))
    clock.at = 20.0
    assert [stage["per_s"] for stage in flow()["stages"]] == [None] * 5
    board.counters.sent += 40
    clock.at = 22.0
    view = flow()
    stages = {stage["name"]: stage for stage in view["stages"]}
    assert list(stages) == ["read", "normalized", "accepted", "sent", "stored"]
    assert stages["sent"]["per_s"] == 20.0
    assert stages["stored"]["lag_s"] == 7.0  # record 1501 was there when the trail was noted at 15 s
    assert stages["sent"]["lag_s"] == 3.0
    assert stages["read"]["lag_s"] == 22.4  # the newest reading of the plant was 0.4 s old when the clock stood at 0
    assert view["dead_letters"] == {"count": 3, "file": "/x/dead-letters.jsonl"}


def test_without_a_buffer_in_this_process_lags_are_not_known() -> None:
    view = Flow(sources(six_machines()))()
    assert [stage["lag_s"] for stage in view["stages"][2:]] == [None, None, None]
    assert view["dead_letters"] is None
    assert view["buffer"]["oldest_ms"] is None


def test_what_waited_before_this_start() -> None:
    trail = Trail()
    trail.note(0.0, 500, 100)
    way = Way(trail, accepted=500, sent=400, stored=400, oldest_ns=NOW - 7200 * S)
    view = Flow(sources(six_machines(), way=lambda: way))()
    assert view["buffer"]["oldest_ms"] == MS - 7_200_000
    assert view["stages"][4]["lag_s"] == 7200.0


@pytest.mark.parametrize(
    ("records", "room", "size", "growth", "expected"),
    [
        (1000, 4000, 4.0, (10.0, 20.0), (100.0, None)),  # 40 bytes a second, 4000 left
        (1000, 4000, 4.0, (-10.0, 20.0), (None, 100.0)),
        (1000, 4000, 4.0, (0.0, 20.0), (None, None)),
        (1000, -5, 4.0, (10.0, 20.0), (0.0, None)),
        (1000, 4000, None, (10.0, 20.0), (None, None)),
        (1000, 4000, 4.0, None, (None, None)),
        (0, 8000, 4.0, (10.0, 20.0), (None, None)),
        (19, 8000, 4.0, (0.3, 0.3), (None, None)),  # a handful
        (900, 8000, 4.0, (-10.0, 100.0), (None, None)),  # nine seconds of what comes
        (1000, 2**60, 4.0, (0.06, 1.0), (None, None)),  # in a thousand years
    ],
)
def test_forecast(
    records: int, room: int, size: float | None, growth: tuple[float, float] | None, expected: tuple[Any, Any]
) -> None:
    assert forecast(records, room, size, growth) == expected


def test_the_trail_is_bounded_and_still_knows_when() -> None:
    trail = Trail()
    for second in range(100_000):
        trail.note(float(second), second + 1, 0)
    assert len(trail._at) <= 1500
    assert trail.since(99_999.0, 99_990) == pytest.approx(10.0, abs=1.0)
    assert trail.since(99_999.0, 50_000) == pytest.approx(50_000.0, rel=0.05)
    assert trail.since(99_999.0, 100_001) == 0.0
    assert trail.since(99_999.0, 1) is None
    trail.note(100_000.0, 5, 0)  # another buffer
    assert trail.since(100_001.0, 6) == 0.0


@given(st.lists(st.tuples(st.floats(0.5, 100), st.integers(0, 50)), min_size=2, max_size=60), st.data())
@settings(max_examples=100)
def test_a_lag_is_how_long_ago_it_came(steps: list[tuple[float, int]], data: st.DataObject) -> None:
    trail, now, last, came = Trail(), 0.0, 0, dict[int, float]()
    for pause, count in steps:
        now += pause
        came |= dict.fromkeys(range(last + 1, last + count + 1), now)
        last += count
        trail.note(now, last, 0)
    position = data.draw(st.integers(0, last + 5))
    lag = trail.since(now, position)
    if position > last:
        assert lag == 0.0
    elif position <= trail._last[0]:
        assert lag is None
    else:
        assert lag == pytest.approx(now - came[position])


def test_growth() -> None:
    trail = Trail()
    assert trail.growth(0.0) is None
    for second in range(4):
        trail.note(float(second), 1, 10 * second)
    assert trail.growth(3.0) is None
    for second in range(4, 100):
        trail.note(float(second), 2 * second, 10 * second)
    assert trail.growth(99.0) == (10.0, 2.0)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures_come_with_what_they_were_calculated_from() -> None:
    board = six_machines()
    settings = KpiSettings(good="cycle_count", energy=EnergySettings(counter="cycle_count"))
    head = derived(board, "press-07", *figure_signals(settings))
    places = {s.name: i for i, s in enumerate(head.signals)}
    told: dict[str, tuple[Any, int]] = {
        "shift.oee": (0.5, INCOMPLETE), "shift.availability": (0.8, GOOD), "shift.start": (MS - 3_600_000, GOOD),
        "shift.end": (MS + 3_600_000, GOOD), "shift.complete": (False, GOOD), "shift.name": ("early", GOOD),
        "shift.uncertain": ("why not", GOOD), "demand.power": (12.5, GOOD), "shift.production_time": (2880.0, GOOD),
        "shift.planned_busy_time": (3600.0, GOOD),
    }  # fmt: skip
    board.update(
        Batch(
            head, [places[n] for n in told], [NOW - S] * len(told), [v for v, _ in told.values()],
            [q for _, q in told.values()],
        )
    )  # fmt: skip
    (view,) = kpi(sources(board))["machines"]
    figures = {(f["interval"], f["figure"]): f for f in view["figures"]}
    oee = figures["shift", "oee"]
    assert (oee["value"], oee["quality"], oee["complete"]) == (0.5, "uncertain:incomplete", False)
    assert (oee["from_ms"], oee["to_ms"]) == (MS - 3_600_000, MS + 3_600_000)
    assert (oee["name"], oee["uncertain"], oee["age_s"]) == ("early", "why not", 1.0)
    availability = figures["shift", "availability"]
    # ISO 22400-2: availability is actual production time over planned busy time.
    assert availability["inputs"]["shift.production_time"] == {
        "value": 2880.0, "unit": "s", "quality": "good",
        "description": availability["inputs"]["shift.production_time"]["description"],
    }  # fmt: skip
    assert availability["inputs"]["shift.planned_busy_time"]["value"] == 3600.0
    assert figures["demand", "power"]["value"] == 12.5
    assert figures["demand", "power"]["to_ms"] == MS - 1000
    assert ("shift", "start") not in figures
    never = figures["shift", "performance"]
    assert (never["value"], never["t"], never["age_s"]) == (None, None, None)


def test_a_plant_without_figures_has_none() -> None:
    assert kpi(sources(six_machines()))["machines"] == []


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_of_a_boot_without_time_have_none() -> None:
    noted = Events()
    noted.add(
        Event(631_152_000 * S + 5, "gateway", "", "started")
    )  # gateway.clock.ERA: 1990, when the time is not known
    noted.add(Event(NOW, "broker", "", "offline", "connection-refused", "gone"))
    shown = events(sources(empty_board(), events=noted))["events"]
    assert [event["t"] for event in shown] == [MS, None]
    assert shown[0] == {
        "t": MS, "kind": "broker", "machine": "", "state": "offline", "fault": "connection-refused", "text": "gone",
    }  # fmt: skip


def test_bad_readings_show_the_last_value_apart() -> None:
    board = empty_board()
    head = header("m", signal("a", unit="V"))
    board.add(head, NOW)
    board.update(full(head, [230.0], t=NOW - 60 * S))
    board.update(all_bad(head, NOT_CONNECTED, NOW - 30 * S))
    (row,) = machine(sources(board), "m")["signals"]
    assert (row["value"], row["age_s"]) == (None, 30.0)
    assert row["last"]["value"] == 230.0
    assert row["last"]["t"] == MS - 60_000
    assert FlowCounters().lost == 0
