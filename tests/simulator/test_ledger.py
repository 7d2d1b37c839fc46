"""What goes into a ledger comes out of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gateway.model import NO_COMMUNICATION
from simulators.ledger import Ledger, Served, columns, read_ledger

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


def test_without_a_path_nothing_is_kept_and_after_closing_nothing_is_taken(tmp_path: Path) -> None:
    Ledger().served("m", 1, {"x": 1})
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.close()
    ledger.close()
    with pytest.raises(AssertionError, match="the ledger is closed"):
        ledger.served("m", 1, {"x": 1})
