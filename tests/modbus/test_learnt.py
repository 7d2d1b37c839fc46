"""What was learnt of devices: kept from start to start, and never a reason not to start."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.modbus.learnt import Learnt, file_of, forget, load, save
from modbus.hostile import Server
from modbus.test_explore import adapter, named, one

FULL = Learnt(7, {("holding", 13, 1): 2, ("coil", 4, 1): 1}, {("input", 6, 2)}, 10, 64)


def content(**other: Any) -> dict[str, Any]:
    machine = {
        "unit_id": 1, "refused": [["holding", 13, 1, 2]], "holes": [["input", 6, 2]],
        "max_registers": 10, "max_bits": None,
    }  # fmt: skip
    return {"v": 1, "machines": {"m": {**machine, **other}}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = file_of(tmp_path, "bus.1")
    assert path == tmp_path / "modbus" / "bus.1.json"
    assert load(path) == {}
    save(path, {"m": FULL, "nothing": Learnt(3)})
    assert load(path) == {"m": FULL}
    assert [each.name for each in path.parent.iterdir()] == ["bus.1.json"]
    assert not Learnt(3)
    assert FULL


places = st.tuples(
    st.sampled_from(["coil", "discrete", "input", "holding"]), st.integers(0, 65000), st.integers(1, 500)
)
machines = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.builds(
        Learnt, st.integers(0, 255), st.dictionaries(places, st.sampled_from([1, 2, 3])), st.sets(places),
        st.none() | st.integers(1, 125), st.none() | st.integers(1, 2000),
    ),
    max_size=3,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(machines)
def test_anything_learnt_survives(tmp_path_factory: pytest.TempPathFactory, learnt: dict[str, Learnt]) -> None:
    path = tmp_path_factory.mktemp("learnt") / "c.json"
    save(path, learnt)
    assert load(path) == {name: of for name, of in learnt.items() if of}


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "cut": json.dumps(content()).encode()[:-20],
    "zeros after a power cut": bytes(300),
    "not text": b"\xff\xfe\x00" * 10,
    "a list": b"[]",
    "a number": b"7",
    "nothing in it": b"{}",
    "machines are a list": b'{"machines": []}',
    "a machine is text": b'{"machines": {"m": "x"}}',
    "deep": b"[" * 5000,
    "a row too short": json.dumps(content(refused=[["holding", 13, 1]])).encode(),
    "an empty row": json.dumps(content(refused=[[]])).encode(),
    "a row too long": json.dumps(content(holes=[["input", 6, 2, 3, 4]])).encode(),
    "a row of text": json.dumps(content(refused=["holding 13"])).encode(),
    "an unknown table": json.dumps(content(holes=[["register", 6, 2]])).encode(),
    "a table that is none": json.dumps(content(holes=[[["input"], 6, 2]])).encode(),
    "beyond the end": json.dumps(content(holes=[["input", 65535, 2]])).encode(),
    "below the beginning": json.dumps(content(holes=[["input", -1, 2]])).encode(),
    "of no length": json.dumps(content(holes=[["input", 6, 0]])).encode(),
    "infinite": b'{"machines": {"m": {"unit_id": 1, "refused": [["holding", 1e999, 1, 2]], "holes": []}}}',
    "a huge number": json.dumps(content(max_registers=10**18)).encode(),
    "no limit": json.dumps(content(max_registers=0)).encode(),
    "a limit of text": json.dumps(content(max_bits="many")).encode(),
    "no code": json.dumps(content(refused=[["holding", 13, 1, None]])).encode(),
    "huge": b" " * (4 * 2**20 + 1),
    "of another program": b"<?xml version='1.0'?><config/>",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_makes_no_sense_is_put_aside(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(BROKEN[what])
    assert load(path) == {}
    [record] = caplog.records
    assert "found out again" in record.getMessage()
    assert [each.name for each in tmp_path.iterdir()] == ["c.broken"]
    assert load(path) == {}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == {}
    assert load(tmp_path / "c.json") == {}  # and is out of the way now


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_change_to_the_file_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A value anywhere in it is replaced by anything."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    )
    whole = content()
    machine = whole["machines"]["m"]
    where = data.draw(st.sampled_from([machine, machine["refused"], machine["refused"][0], machine["holes"][0], whole]))
    key = data.draw(st.sampled_from(sorted(where))) if isinstance(where, dict) else 0
    if isinstance(where, list):
        key = data.draw(st.integers(0, len(where) - 1))
    where[key] = data.draw(anything)
    path = tmp_path_factory.mktemp("learnt") / "c.json"
    path.write_text(json.dumps(whole))
    logging.disable(logging.WARNING)
    try:
        for of in load(path).values():
            assert all(0 <= first < first + count <= 65536 for _, first, count in (*of.refused, *of.holes))
            assert all(isinstance(code, int) for code in of.refused.values())
            of.lines()
    finally:
        logging.disable(logging.NOTSET)


def test_a_folder_that_takes_no_file_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "modbus").write_text("a file where the folder should be")
    save(file_of(tmp_path, "c"), {"m": FULL})
    assert "cannot be kept" in caplog.text
    assert load(file_of(tmp_path, "c")) == {}


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "c.json").mkdir()
    assert load(tmp_path / "c.json") == {}
    save(tmp_path / "c.json", {"m": FULL})
    assert load(tmp_path / "c.json") == {"m": FULL}


def test_one_machine_or_all_can_be_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save(path, {"m": FULL, "n": FULL})
    assert forget(path, "x") == []
    assert forget(path, "m") == ["m"]
    assert load(path) == {"n": FULL}
    assert forget(path, None) == ["n"]
    assert load(path) == {}
    assert forget(path, None) == []


def test_a_limit_only_falls() -> None:
    learnt = Learnt(1)
    for most in (20, 10, 15):
        learnt.limit("holding", most)
        learnt.limit("coil", 10 * most)
    assert (learnt.max_registers, learnt.max_bits) == (10, 100)


def test_it_is_said_in_words() -> None:
    assert FULL.lines() == [
        "refuses coil 4 (exception 1)",
        "refuses holding 13 (exception 2)",
        "answers nothing across input 6–7",
        "answers 10 registers at once at most",
        "answers 64 bits at once at most",
    ]


@pytest.mark.parametrize("what", ["cut", "a row too short", "infinite", "huge"])
async def test_a_gateway_starts_whatever_is_in_the_file(server: Server, tmp_path: Path, what: str) -> None:
    path = file_of(tmp_path, "c")
    path.parent.mkdir()
    path.write_bytes(BROKEN[what])
    it = adapter(server.port, tmp_path, named([(0, 1), (1, 1)]))
    await it.connect()
    assert await one(it) == {"s0_1": 0, "s1_1": 1}
    await it.close()


async def test_what_belongs_to_another_unit_or_machine_does_not_count(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, "c")
    refused = {("holding", 0, 1): 2, ("holding", 1, 1): 2}
    save(path, {"m": Learnt(9, refused), "gone": Learnt(1, refused)})
    it = adapter(server.port, tmp_path, named([(0, 1), (1, 1)]))
    await it.connect()
    assert await one(it) == {"s0_1": 0, "s1_1": 1}
    await it.close()
