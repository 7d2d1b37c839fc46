"""What outlives a restart: files written as a whole, and a journal whose last line may be torn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.edge.memory import ROUND, Memory


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> int:
        return 1_790_000_000_000_000_000 + round(self.seconds * 1e9)


def written(memory: Memory, **how: Any) -> bool:
    work = memory.due(**how)
    if work is not None:
        work()
    return work is not None


@pytest.fixture
def clock() -> Watch:
    return Watch()


def test_a_part_is_written_when_it_changes_and_once_a_minute(tmp_path: Path, clock: Watch):
    memory, version = Memory(tmp_path, clock), [0]
    memory.keep("counters", lambda: {"m": [clock.seconds]}, lambda: version[0])
    assert not written(memory)
    version[0] += 1
    assert written(memory)
    assert not written(memory)
    assert Memory(tmp_path, clock).saved("counters") == {"m": [1000.0]}
    clock.seconds += 60
    assert written(memory)
    assert Memory(tmp_path, clock).saved("counters") == {"m": [1060.0]}


def test_everything_is_written_at_the_end(tmp_path: Path, clock: Watch):
    memory = Memory(tmp_path, clock)
    memory.keep("counters", lambda: {"m": 1}, lambda: 0)
    assert written(memory, all_of_it=True)
    assert Memory(tmp_path, clock).saved("counters") == {"m": 1}


def test_long_parts_are_written_each_at_another_time(tmp_path: Path, clock: Watch):
    memory, order = Memory(tmp_path, clock), []
    parts = {name: (lambda name=name: order.append(name) or {}) for name in "abcd"}
    memory.keep_in_turn(parts, {name: lambda: 0 for name in parts})
    moments = []
    for _ in range(round(ROUND / 60)):
        clock.seconds += 60
        before = len(order)
        written(memory)
        moments.append(len(order) - before)
    assert sorted(order) == ["a", "b", "c", "d"]
    assert max(moments) == 1


def test_a_journal_is_read_in_order_over_its_rounds_and_the_oldest_goes(tmp_path: Path, clock: Watch):
    memory, count = Memory(tmp_path, clock), [0]

    def recent() -> dict[str, int]:
        count[0] += 1
        return {"n": count[0]}

    memory.note(recent, lambda: 0)
    for _ in range(3):
        clock.seconds += ROUND + 60
        assert written(memory)
        clock.seconds += 60
        assert written(memory)
    found = [line["n"] for line in Memory(tmp_path, clock).recent()]
    assert found == sorted(found)
    assert found[-1] == 6
    assert len(list((tmp_path / "memory").glob("*.journal"))) == 2


@pytest.mark.parametrize("end", [b'{"v":1,"of":{"n"', b"\xff\xfe", b"null\n", b'{"v":2,"of":{}}\n'])
def test_a_torn_line_costs_only_itself(tmp_path: Path, clock: Watch, end: bytes):
    memory = Memory(tmp_path, clock)
    memory.note(lambda: {"n": 1}, lambda: clock.seconds)
    for _ in range(2):
        clock.seconds += 1
        written(memory)
    [journal] = (tmp_path / "memory").glob("*.journal")
    journal.write_bytes(journal.read_bytes() + end)  # a full disk, which has room again later
    clock.seconds += 1
    written(memory)
    assert Memory(tmp_path, clock).recent() == [{"n": 1}] * 3


def test_journals_go_once_all_they_hold_is_written_as_a_whole(tmp_path: Path, clock: Watch):
    """Lives that are short, and each ends with a kill: their journals do not pile up."""
    for life in range(5):
        memory = Memory(tmp_path, clock)
        memory.keep_in_turn({"derived-a": dict, "derived-b": dict}, {"derived-a": int, "derived-b": int})
        memory.note(lambda life=life: {"life": life}, lambda: clock.seconds // 60)
        for _ in range(16):
            clock.seconds += 60
            written(memory)
        assert {line["life"] for line in Memory(tmp_path, clock).recent()} == {life}


def test_a_clean_end_leaves_no_journal(tmp_path: Path, clock: Watch):
    memory = Memory(tmp_path, clock)
    memory.keep_in_turn({"derived-a": lambda: {"t": 1}}, {"derived-a": int})
    memory.note(dict, lambda: clock.seconds)
    clock.seconds += 1
    written(memory)
    assert Memory(tmp_path, clock).recent() == [{}]
    written(memory, all_of_it=True)
    assert Memory(tmp_path, clock).recent() == []
    assert Memory(tmp_path, clock).saved("derived-a") == {"t": 1}


def test_a_part_that_cannot_be_written_down_costs_no_other(tmp_path: Path, clock: Watch, caplog):
    memory = Memory(tmp_path, clock)
    memory.keep("counters", lambda: {"m": 2**70}, lambda: clock.seconds)
    memory.keep("schema", lambda: {"s": 1}, lambda: clock.seconds)
    for _ in range(2):
        clock.seconds += 1
        written(memory)
    assert Memory(tmp_path, clock).saved("schema") == {"s": 1}
    assert caplog.text.count("counters cannot be written down") == 1


def test_it_is_told_again_when_it_cannot_be_written_down_again(tmp_path: Path, clock: Watch, caplog):
    memory = Memory(tmp_path, clock)
    counters: dict[str, int] = {}
    memory.keep("counters", lambda: counters, lambda: clock.seconds)
    for counters["m"] in (2**70, 1, 2**70):
        clock.seconds += 1
        written(memory)
    assert Memory(tmp_path, clock).saved("counters") == {"m": 1}
    assert caplog.text.count("counters cannot be written down") == 2


def test_another_life_begins_another_journal(tmp_path: Path, clock: Watch):
    """Behind a torn line nothing would be found."""
    for life in range(2):
        memory = Memory(tmp_path, clock)
        memory.note(lambda life=life: {"life": life}, lambda: clock.seconds)
        clock.seconds += 1
        written(memory)
    assert Memory(tmp_path, clock).recent() == [{"life": 0}, {"life": 1}]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"v":1}', b'{"v":1,"of":[]}', b"\xff"])
def test_a_file_that_cannot_be_used_is_no_reason_not_to_start(tmp_path: Path, clock: Watch, text: bytes, caplog):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "counters.json").write_bytes(text)
    assert Memory(tmp_path, clock).saved("counters") == {}
    assert "cannot be used" in caplog.text


def test_a_disk_that_cannot_be_written_is_told_once_and_tried_again(tmp_path: Path, clock: Watch, caplog):
    (tmp_path / "memory").write_text("in the way")
    memory = Memory(tmp_path, clock)
    memory.keep("counters", lambda: {"m": 1}, lambda: clock.seconds)
    for _ in range(3):
        clock.seconds += 1
        assert written(memory)
    assert memory.trouble
    assert caplog.text.count("cannot be written") == 1
    (tmp_path / "memory").unlink()
    clock.seconds += 1
    written(memory)
    assert not memory.trouble
    assert Memory(tmp_path, clock).saved("counters") == {"m": 1}
