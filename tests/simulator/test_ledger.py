"""What goes into a ledger comes out of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.model import NO_COMMUNICATION
from simulators.ledger import Happened, Ledger, LedgerError, Served, columns, read_events, read_ledger

VALUES = {"f": 230.39999389648438, "i": 2**64 - 1, "b": True, "s": "Ä\n", "n": None}


def test_entries_come_back_as_they_were_served(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.served("m1", 1763789123123456789, VALUES)
        ledger.served("m2", 2, {"x": 1}, {"x": NO_COMMUNICATION})
    assert list(read_ledger(path)) == [
        Served(1763789123123456789, "m1", VALUES),
        Served(2, "m2", {"x": 1}, {"x": NO_COMMUNICATION}),
    ]


def test_the_file_is_one_json_object_per_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.served("m1", 5, {"x": 1.5, "y": math.nan}, {"y": 2150694912})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t": 5, "machine": "m1", "values": {"x": 1.5, "y": None}, "quality": {"y": 2150694912}}
    ]


def test_columns_hold_each_signal_in_the_order_it_was_served() -> None:
    ledger = Ledger.memory()
    ledger.served("m1", 1, {"x": 1, "y": "a"})
    ledger.served("m2", 1, {"x": 10})
    ledger.served("m1", 2, {"x": 2}, {"x": 0x80310000})
    ledger.close()
    found = columns(ledger.entries())
    assert set(found) == {("m1", "x"), ("m1", "y"), ("m2", "x")}
    x = found["m1", "x"]
    assert (list(x.time), x.value, list(x.quality)) == ([1, 2], [1, 2], [0, 0x80310000])


def test_a_flushed_entry_can_be_read_while_the_ledger_is_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.served("m", 1, {"x": 1})
        assert path.stat().st_size == 0
        ledger.flush()
        assert len(list(read_ledger(path))) == 1


def test_a_line_cut_off_is_left_out_and_the_ledger_goes_on_behind_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    whole = b'{"t":1,"machine":"m","values":{"x":1}}\n'
    path.write_bytes(whole + whole[:20])
    assert len(list(read_ledger(path))) == 1
    with Ledger(path) as ledger:
        ledger.served("m", 2, {"x": 2})
    assert [entry.time_ns for entry in read_ledger(path)] == [1, 2]


@pytest.mark.parametrize(
    "holds",
    [
        b"SFREC\x01\x00\x00 no newline at all, as in a recording",
        b"a note\nof two lines, the second without an end",
        b'{"name": "press", "version": 1}\n{"more": 2',
        b'{"t": 5}\n',
        b'{"some": "document without a newline"}',
        b'[{"t":1,"machine":"m","values":{"x":1}}]',
        b"\n\nrest",
        b"x" * (1 << 20) + b"\nrest",
    ],
)
def test_a_file_that_is_no_ledger_is_left_as_it_is(tmp_path: Path, holds: bytes) -> None:
    path = tmp_path / "press.rec"
    path.write_bytes(holds)
    with pytest.raises(UsageError, match=r"press\.rec is there already, and is no ledger: .*Name another file"):
        Ledger(path)
    assert path.read_bytes() == holds


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 20, 38, 39])
def test_a_ledger_is_gone_on_with_wherever_its_first_line_was_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"t":1,"machine":"m","values":{"x":1}}\n'[:size])
    with Ledger(path) as ledger:
        ledger.served("m", 2, {"x": 2})
    assert [entry.time_ns for entry in read_ledger(path)] == ([1, 2] if size == 39 else [2])


def test_a_ledger_that_begins_with_an_event_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for t in (1, 2):
        with Ledger(path) as ledger:
            ledger.happened(t, "fault", kind="silence")
    assert [event.time_ns for event in read_events(path)] == [1, 2]


def test_without_a_path_nothing_is_kept_and_after_closing_nothing_is_taken(tmp_path: Path) -> None:
    Ledger().served("m", 1, {"x": 1})
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.close()
    ledger.close()
    with pytest.raises(AssertionError, match="the ledger is closed"):
        ledger.served("m", 1, {"x": 1})


def test_how_long_an_answer_took_is_kept_where_it_took_any(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.served("m", 1, {"x": 1}, took=0.009)
        ledger.served("m", 2, {"x": 2}, took=2.5)
    assert [entry.took for entry in read_ledger(path)] == [0.0, 2.5]
    assert b"took" not in path.read_bytes().splitlines()[0]
    assert columns(read_ledger(path))["m", "x"].took == {1: 2.5}


def test_events_stand_beside_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.served("m", 1, {"x": 1})
        ledger.happened(2, "fault", machine="m", kind="silence", place=Path("/dev/ttyUSB0"))
    assert list(read_ledger(path)) == [Served(1, "m", {"x": 1})]
    about = {"machine": "m", "kind": "silence", "place": "/dev/ttyUSB0"}
    assert list(read_events(path)) == [Happened(2, "fault", about)]
    ledger = Ledger.memory()
    ledger.happened(3, "end")
    assert (list(ledger.events()), list(ledger.entries())) == ([Happened(3, "end", {})], [])
    Ledger().happened(1, "fault")


def test_lines_of_a_kind_that_is_not_known_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"v": 2, "plant": "acme"}\n{"t": 1, "machine": "m", "values": {"x": 1}, "more": 5}\n')
    assert list(read_ledger(path)) == [Served(1, "m", {"x": 1})]
    assert list(read_events(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[1, 2]",
        "17",
        '{"t": 1.5, "machine": "m", "values": {}}',
        '{"t": 1, "values": {}}',
        '{"t": 1, "machine": "m", "values": [1]}',
        '{"t": 1, "machine": "m", "values": {}, "took": "long"}',
        '{"event": "fault"}',
        '{"t": 1, "machine": [], "values": {"a": 1}}',
        '{"t": 1, "machine": "m", "values": {"a": 1}, "quality": {"a": -1}}',
        '{"t": 1, "machine": "m", "values": {"a": 1}, "quality": {"a": 4294967296}}',
        '{"t": 1, "machine": "m", "values": {"a": 1}, "quality": {"a": "x"}}',
        '{"t": 1, "machine": "m", "values": {"a": 1}, "quality": {"a": true}}',
        '{"t": 1, "machine": "m", "values": {"a": [1]}}',
        '{"t": 1, "machine": "m", "values": {"a": {}}}',
        '{"t": 1, "machine": "m", "values": {}, "took": -1}',
        '{"t": 9223372036854775808, "machine": "m", "values": {"a": 1}}',
        '{"t": 1, "event": ["fault"]}',
    ],
)
def test_a_line_that_no_ledger_has_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"t": 1, "machine": "m", "values": {{}}}}\n{line}\n')
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: is no line of a ledger"):
        columns(read_ledger(path))


def test_a_ledger_that_was_cut_anywhere_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    with Ledger(whole) as ledger:
        for i in range(3):
            ledger.served("m", i, {"x": i, "name": "ü"}, {"x": 5}, took=1.0)
    data = whole.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        assert [entry.time_ns for entry in read_ledger(path)] == list(range(data[:size].count(b"\n")))


def test_where_no_ledger_can_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ledger can be written there: No such file or directory"):
        Ledger(tmp_path / "none" / "served.jsonl")
