"""What the page shows, from batches and counters alone."""

import json
from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.buffer import Usage
from gateway.clock import ERA
from gateway.counters import FlowCounters
from gateway.faults import Reason
from gateway.model import (
    BAD,
    GOOD,
    NO_COMMUNICATION,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    STALE,
    UNCERTAIN,
    Batch,
    Value,
)
from gateway.mqtt.payload import Loss
from gateway.web import Board, Condition, Latest
from gateway.web.snapshot import LOSSES, Rate, json_value, text_of
from web.plant import NOW, S, Used, all_bad, empty_board, full, header, plant, signal

MACHINE = header("m", signal("a", unit="V"), signal("b", "int"), signal("c", "string"))


def rows(latest: Latest, now: int = NOW) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in latest.snapshot(now)}


# --- the newest readings ---------------------------------------------------------------------------------------------


def test_a_signal_without_a_first_value_waits() -> None:
    row = rows(Latest(MACHINE, NOW))["a"]
    assert (row["value"], row["text"], row["t"], row["age_s"]) == (None, None, None, None)
    assert row["quality"] == "bad:waiting-for-data"
    assert row["since_ms"] == NOW // 1_000_000


def test_a_full_batch_is_kept_not_copied() -> None:
    latest = Latest(MACHINE, NOW)
    batch = full(MACHINE, [1.5, 2, "x"])
    latest.update(batch)
    assert latest._value is batch.value
    assert latest._time is batch.time
    assert rows(latest, NOW + 3 * S)["a"] == {
        "name": "a",
        "type": "float",
        "unit": "V",
        "value": 1.5,
        "text": "1.5",
        "quality": "good",
        "t": NOW / 1e6,
        "age_s": 3.0,
    }


@pytest.mark.parametrize("columns", [list, tuple])
def test_a_part_of_the_signals_leaves_the_others_and_the_batch_before_alone(columns: type) -> None:
    latest = Latest(MACHINE, NOW)
    before = full(MACHINE, columns([1.5, 2, "x"]))
    latest.update(before)
    latest.update(Batch(MACHINE, array("i", [1]), [NOW + S], [3], None))
    latest.update(Batch(MACHINE, [2], [NOW + 2 * S], ["y"], None))
    now = rows(latest, NOW + 2 * S)
    assert {name: (row["value"], row["age_s"]) for name, row in now.items()} == {
        "a": (1.5, 2.0),
        "b": (3, 1.0),
        "c": ("y", 0.0),
    }
    assert list(before.value) == [1.5, 2, "x"]
    latest.update(full(MACHINE, [7.0, 8, "z"]))
    assert rows(latest)["b"]["value"] == 8


def test_the_last_of_several_readings_of_a_signal_counts() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(Batch(MACHINE, [1, 1, 1], [NOW, NOW + S, NOW + 2 * S], [5, 6, 7], None))
    assert rows(latest)["b"]["value"] == 7


def test_an_empty_batch_changes_nothing() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.5, 2, "x"]))
    latest.update(Batch(MACHINE, [], [], [], None))
    assert rows(latest)["b"]["value"] == 2


def test_a_bad_signal_has_no_value_but_a_quality_and_since_when() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.5, 2, "x"]))
    latest.update(all_bad(MACHINE, NO_COMMUNICATION, NOW + 5 * S))
    latest.update(all_bad(MACHINE, NO_COMMUNICATION, NOW + 6 * S))  # bad still, not bad anew
    row = rows(latest, NOW + 6 * S)["a"]
    assert (row["value"], row["text"], row["quality"]) == (None, None, "bad:no-communication")
    assert row["since_ms"] == (NOW + 5 * S) // 1_000_000
    assert row["age_s"] == 0.0


def test_a_value_that_came_with_a_bad_quality_is_not_shown() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.5, 2, "x"], [BAD, GOOD, GOOD]))
    assert rows(latest)["a"]["text"] is None


def test_since_ends_with_a_good_reading_and_begins_anew_with_another_quality() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [None, 2, "x"], [STALE, GOOD, UNCERTAIN], NOW + S))
    assert [row.get("since_ms") for row in latest.snapshot(NOW)] == [NOW // 10**6 + 1000, None, NOW // 10**6 + 1000]
    latest.update(Batch(MACHINE, [0, 2], [NOW + 2 * S] * 2, [None, "x"], [NOT_CONNECTED, GOOD]))
    assert [row.get("since_ms") for row in latest.snapshot(NOW)] == [NOW // 10**6 + 2000, None, None]
    latest.update(full(MACHINE, [1.0, 2, "x"]))
    assert not any("since_ms" in row for row in latest.snapshot(NOW))


def test_an_uncertain_reading_keeps_its_value() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [401.0, 2, "x"], array("L", [OUT_OF_RANGE, GOOD, GOOD])))
    row = rows(latest)["a"]
    assert (row["text"], row["quality"]) == ("401", "uncertain:out-of-range")
    assert "since_ms" in row


def test_a_reading_from_the_future_is_not_called_fresh() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.0, 2, "x"], t=NOW + 3600 * S))
    assert rows(latest)["a"]["age_s"] == -3600.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-12, "-12"),
        (2**64 - 1, "18446744073709551615"),
        (230.4, "230.4"),
        (1 / 3, "0.333333"),
        (100.0, "100"),
        (-0.0, "0"),
        (48_231_775.25, "48231775"),
        (999_999.5, "1000000"),
        (1e-7, "1e-07"),
        (1.5e21, "1.5e+21"),
        ("", ""),
        ("<b>auto</b>", "<b>auto</b>"),
        ("12", "12"),
    ],
)
def test_text(value: Value, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53) + 1, 1.5, True, "x", None])
def test_what_a_browser_reads_exactly_leaves_as_it_is(value: Value) -> None:
    assert json_value(value) is value


@pytest.mark.parametrize("value", [2**53, 2**60 + 1, -(2**63)])
def test_an_integer_beyond_that_leaves_as_text(value: int) -> None:
    assert json_value(value) == str(value)


# --- rates and conditions --------------------------------------------------------------------------------------------


def test_a_rate_is_of_the_last_ten_seconds() -> None:
    rate = Rate()
    assert rate(1000, 0.0) is None
    assert rate(1050, 1.0) is None
    assert [rate(1000 + 50 * s, float(s)) for s in range(2, 60)] == [50.0] * 58
    assert [rate(1000 + 50 * 59, float(s)) for s in range(60, 71)][-1] == 0.0


def test_a_rate_forgets_what_was_long_ago() -> None:
    rate = Rate()
    rate(0, 0.0)
    assert rate(20, 2.0) == 10.0
    assert rate(1_000_000, 3600.0) is None
    assert rate(1_000_040, 3602.0) == 20.0


@pytest.mark.parametrize("step", [10.0, 15.0, 20.0, 25.0, 29.9])
def test_a_rate_of_who_looks_seldom_is_over_the_time_between_two_looks(step: float) -> None:
    rate = Rate()
    assert rate(0, 0.0) is None
    assert [rate(int(7 * step * i), step * i) for i in range(1, 50)] == [pytest.approx(7.0, abs=0.1)] * 49


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 70), st.sampled_from([0.0, 0.01, 0.4, 1.0, 1.9, 10.0, 20.0, 25.0, 30.0])),
            st.integers(0, 10**6),
        ),
        max_size=60,
    ),
    st.one_of(st.floats(1, 60), st.sampled_from([1.0, 7.0, 60.0])),
)
def test_a_rate_is_never_outside_of_how_fast_it_grew(steps: list[tuple[float, int]], whole: float) -> None:
    """However long nobody looks, and however it grows in the meantime: an average lies between the least and the most."""
    rate, now, total = Rate(), 0.0, 0
    looks = [(now, total)]
    rate(total, now, whole)
    for passed, grown in steps:
        now, total = now + passed, total + grown
        found = rate(total, now, whole)
        looks.append((now, total))
        if found is not None:
            spans = [(total - was) / (now - then) for then, was in looks if now - then > 0]
            ends = [(b - was) / (at - then) for i, (then, was) in enumerate(looks) for at, b in looks[i:] if at > then]
            assert min([*spans, *ends]) - 0.06 <= found <= max([*spans, *ends]) + 0.06  # told with one decimal


@pytest.mark.parametrize("poll", [0.2, 1.0, 2.0, 7.0, 30.0])
def test_a_rate_of_lumps_is_that_of_whole_polls(poll: float) -> None:
    """Three signals of one machine, all read at once every `poll` seconds: 3 / poll a second, whenever somebody looks."""
    rate, whole = Rate(), max(1.0, poll)
    known = []
    for i in range(1, 1000):
        now = 0.5 * i + 0.013  # looked at twice a second, between two polls
        found = rate(3 * int(now / poll), now, whole)
        if now < max(2.0, poll) - 0.1:
            assert found is None
        elif now >= max(2.0, poll) + 0.5:
            known.append(found)
    assert len(known) > 800
    assert set(known) == {round(3 / poll, 1)}


def test_a_board_knows_its_rate_before_anybody_looks() -> None:
    board = plant()
    for i in range(10):
        board.counters.of("press-07").read = 3 * (i // 2)  # once a second
        board.note(0.5 * i + 0.01, 1.0)
    assert board.snapshot(NOW, 4.6)["flow"]["readings_per_s"] == 3.0


def test_a_rate_may_be_asked_for_often() -> None:
    rate = Rate()
    seen = [rate(int(100 * t), t) for t in (0.01 * i for i in range(5000))]
    assert seen[-1] == pytest.approx(100, rel=0.02)
    assert len(rate._seen) < 30


def test_since_is_when_the_state_changed_not_its_reason() -> None:
    condition = Condition("online", 1)
    condition.set("offline", 2, "no answer")
    condition.set("offline", 3, "refused")
    assert (condition.since, condition.reason) == (2, "refused")
    condition.set("online", 4)
    assert (condition.since, condition.reason) == (4, "")


# --- the board -------------------------------------------------------------------------------------------------------


def test_a_machine_is_offline_until_something_is_heard() -> None:
    board = empty_board()
    board.add(MACHINE, NOW)
    [machine] = board.snapshot(NOW, 1.0)["machines"]
    assert (machine["state"], machine["reason"], machine["since_ms"]) == ("offline", "starting", NOW // 10**6)
    assert machine["path"] == ("acme", "hanoi", "moulding", "L1", "m")


def test_new_signals_of_a_machine_keep_its_condition() -> None:
    board = empty_board()
    board.add(MACHINE, NOW).condition.set("online", NOW)
    learnt = header("m", signal("d"))
    board.update(full(learnt, [4.0]))
    [machine] = board.snapshot(NOW, 1.0)["machines"]
    assert machine["state"] == "online"
    assert [(row["name"], row["value"]) for row in machine["signals"]] == [("d", 4.0)]
    assert board.add(MACHINE, NOW).condition.state == "online"


def test_figures() -> None:
    board = plant()
    first = board.snapshot(NOW, 0.0)
    board.counters.of("pump-04").read += 500
    second = board.snapshot(NOW + 2 * S, 2.0)
    assert first["flow"]["readings_per_s"] is None
    assert second["flow"]["readings_per_s"] == 250.0
    assert second["flow"]["read"] == first["flow"]["read"] + 500
    assert (second["flow"]["sent"], second["flow"]["stored"]) == (557_988, 557_976)
    assert second["buffer"] == {
        "records": 12,
        "bytes": 41_000_000,
        "max_bytes": 134_217_728,
        "dropped": 0,
        "unsafe": 0,
        "trouble": "",
        "fault": "",
    }
    assert second["gateway"] == {"id": "edge-01", "version": "0.1.0", "delivery": "store", "uptime_s": 93_002.0}
    pump = next(machine for machine in second["machines"] if machine["name"] == "pump-04")
    assert pump["counters"]["polls"] == 93_000


def test_a_disk_that_cannot_be_written() -> None:
    board = empty_board()
    trouble = Reason("No space left on device", "disk-full")
    board.usage = lambda: Usage(12, 41_000_000, 134_217_728, 0, 7, trouble)
    buffer = board.snapshot(NOW, 0.0)["buffer"]
    assert (buffer["unsafe"], buffer["trouble"], buffer["fault"]) == (7, "No space left on device", "disk-full")


LOSS = Loss("8f2c9a4e", 11, 30, 200, NOW - 60 * S, NOW - 50 * S, "buffer-full")


def test_a_loss() -> None:
    board = empty_board()
    board.lost(LOSS, NOW)
    assert board.snapshot(NOW + 9 * S, 0.0)["losses"] == [
        {
            "t": NOW // 10**6,
            "from_ms": NOW // 10**6 - 60_000,
            "to_ms": NOW // 10**6 - 50_000,
            "count": 200,
            "messages": 20,
            "machine": "",
            "signal": "",
            "cause": "buffer-full",
        }
    ]


@pytest.mark.parametrize("cause", ["thinned: one value in 60 s", "buffer-full: of low priority"])
def test_what_was_taken_out_of_messages_is_no_number_of_messages(cause: str) -> None:
    """Between the first and the last are those of other machines: ten of 100 machines are not 991 messages."""
    board = empty_board()
    board.lost(replace(LOSS, first=1, last=991, count=1200, machine="press-07", cause=cause), NOW)
    [loss] = board.snapshot(NOW, 0.0)["losses"]
    assert (loss["count"], loss["messages"]) == (1200, 0)


def test_without_signals_it_says_how_many_they_are_and_how_old() -> None:
    whole, short = plant().snapshot(NOW, 0.0), plant().snapshot(NOW, 0.0, signals=False)
    assert whole.keys() == short.keys()
    of = {machine.pop("name"): machine for machine in short["machines"]}
    assert all("signals" not in machine for machine in of.values())
    assert of["press-07"]["counts"] == {"good": 4, "uncertain": 0, "bad": 1}
    assert of["press-07"]["age_s"] == 0.4
    assert (of["robot-11"]["counts"]["bad"], of["lathe-02"]["age_s"]) == (2, 2.2)
    others = {machine.pop("name"): machine for machine in whole["machines"]}
    for name, machine in others.items():
        del machine["signals"], of[name]["counts"], of[name]["age_s"]
    assert others == of


def test_what_never_had_a_message_was_lost_in_none() -> None:
    board = empty_board()
    board.lost(replace(LOSS, first=0, last=0, count=0, machine="lathe-02", signal="part_count"), NOW)
    [loss] = board.snapshot(NOW, 0.0)["losses"]
    assert (loss["count"], loss["messages"]) == (0, 0)
    assert (loss["machine"], loss["signal"]) == ("lathe-02", "part_count")


def test_the_newest_losses_come_first_and_the_oldest_are_forgotten() -> None:
    board = empty_board()
    assert board.snapshot(NOW, 0.0)["losses"] == []
    for n in range(LOSSES + 5):
        board.lost(replace(LOSS, count=n), NOW + n * S)
    losses = board.snapshot(NOW, 0.0)["losses"]
    assert [loss["count"] for loss in losses] == list(range(LOSSES + 4, 4, -1))
    assert [loss["t"] for loss in losses] == sorted((loss["t"] for loss in losses), reverse=True)


@pytest.mark.parametrize("unknown", [0, ERA + 90 * S])
def test_a_time_that_is_not_known_is_not_shown_as_one(unknown: int) -> None:
    board = empty_board()
    board.lost(replace(LOSS, start=unknown), unknown)
    [loss] = board.snapshot(NOW, 0.0)["losses"]
    assert (loss["t"], loss["from_ms"], loss["to_ms"]) == (None, None, NOW // 10**6 - 50_000)


def test_a_snapshot_is_ready_for_json() -> None:
    board = plant()
    board.lost(LOSS, NOW)
    text = json.dumps(board.snapshot(NOW, 0.0), allow_nan=False)
    assert str(2**60 + 1) in text


def test_troubles_name_what_is_not_connected() -> None:
    board = plant()
    assert board.troubles() == ["robot-11: offline: 10.20.0.44:502: no answer within 1 s; is the machine switched on?"]
    board.broker.set("offline", NOW, "refused")
    assert board.troubles()[0] == "broker: offline: refused"


def test_without_a_store_none_is_missed() -> None:
    board = Board("edge-01", "0.1.0", "broker", FlowCounters(), Used, NOW, 0.0)
    assert board.snapshot(NOW, 0.0)["store"]["state"] == "unused"
    assert board.troubles() == ["broker: offline: starting"]


# --- what is known apart from what is true now, and what is worked out ------------------------------------------------


def test_the_last_value_is_kept_apart_from_the_one_there_is_none_of() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.5, 2, "x"]))
    latest.update(full(MACHINE, [None, 3, "x"], [STALE, GOOD, GOOD], NOW + S))
    latest.update(full(MACHINE, [None, 4, "x"], [NOT_CONNECTED, GOOD, GOOD], NOW + 2 * S))
    row = rows(latest, NOW + 3 * S)["a"]
    assert (row["value"], row["text"], row["quality"]) == (None, None, "bad:not-connected")
    assert row["last"] == {"value": 1.5, "text": "1.5", "t": NOW / 1e6}
    latest.update(Batch(MACHINE, [0], [NOW + 4 * S], [2.5], None))
    assert "last" not in rows(latest, NOW + 5 * S)["a"]


def test_the_last_value_of_one_that_goes_bad_alone() -> None:
    latest = Latest(MACHINE, NOW)
    latest.update(full(MACHINE, [1.5, 2, "x"]))
    latest.update(Batch(MACHINE, [1], [NOW + S], [None], [NO_COMMUNICATION]))
    assert rows(latest)["b"]["last"] == {"value": 2, "text": "2", "t": NOW / 1e6}


def test_what_is_worked_out_stands_behind_what_is_read() -> None:
    board, machine = empty_board(), header("m", signal("a"))
    board.add(machine, NOW)
    derived = header(
        "m", signal("state", "string"), signal("shift.oee"), signal("shift.planned_busy_time"), signal("x")
    )
    board.add(derived, NOW, "derived")
    board.update(full(machine, [1.0]))
    board.update(full(derived, ["running", 0.8, 3600.0, None], [GOOD, GOOD, GOOD, STALE]))
    [tile] = board.snapshot(NOW, 10.0)["machines"]
    assert [row["name"] for row in tile["signals"]] == ["a", "state", "shift.oee"]
    assert [len(batch) for batch in board.machines["m"].newest] == [1, 4]
    board.add(header("m", signal("a"), signal("b")), NOW)  # learnt anew
    assert board.machines["m"].derived is not None
