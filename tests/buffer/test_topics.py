"""What topics begin with is written once: every record comes back with its whole topic, whatever is lost."""

from pathlib import Path

import pytest

from buffer.material import Clock, declare
from gateway.buffer import Disk, Limits, SegmentLog
from gateway.buffer.topic_names import TopicNames


def opened(folder: Path, prefix: str) -> SegmentLog:
    return SegmentLog(Disk(folder), Limits(10**6, 3600.0, reserve=0), declare, Clock(), prefix=prefix)


def put(buffer: SegmentLog, *topics: str) -> None:
    for topic in topics:
        buffer.append(topic, lambda _: b"x", 1, 1, 1)


def topics(buffer: SegmentLog) -> list[str]:
    return [record.topic for record in buffer.read(0, 100)]


def test_a_plant_that_moves(tmp_path):
    """Each record keeps the topic it was appended with, also when the beginning of topics is another one now."""
    said = []
    for site in ("hanoi", "hue", "hanoi", ""):
        buffer = opened(tmp_path / "b", f"root/{site}/" if site else "")
        put(buffer, f"root/{site}/press/data", "root/_gateway/edge/loss")
        said += [f"root/{site}/press/data", "root/_gateway/edge/loss"]
        assert topics(buffer) == said
        buffer.close()
    assert topics(opened(tmp_path / "b", "")) == said


def test_without_marks_it_is_what_topics_begin_with_now(tmp_path):
    buffer = opened(tmp_path / "b", "root/hanoi/")
    put(buffer, "root/hanoi/press/data")
    buffer.close()
    (tmp_path / "b" / "marks").unlink()
    assert topics(opened(tmp_path / "b", "root/hanoi/")) == ["root/hanoi/press/data"]


def test_it_is_shorter_on_the_disk(tmp_path):
    buffer = opened(tmp_path / "b", "root/hanoi/moulding/")
    put(buffer, "root/hanoi/moulding/press/data")
    buffer.close()
    data = b"".join(file.read_bytes() for file in (tmp_path / "b").glob("*.segment"))
    assert b"press/data" in data
    assert b"moulding" not in data


@pytest.mark.parametrize("topic", ["a/b/data", "", "ä/ö", "a/" * 300 + "data"])
def test_both_ways(topic):
    names = TopicNames("a/b/")
    names.learn(["other/"])
    assert names.text(names.name(topic)) == topic
    assert names.text(names.name("a/b/" + topic)) == "a/b/" + topic


def test_so_many_beginnings_that_there_is_no_room_for_another():
    names = TopicNames("new/")
    assert not names.learn([f"{i:0100}/" for i in range(15)])
    assert names.text(names.name("new/press/data")) == "new/press/data"
    assert names.name("new/press/data") == b"new/press/data"
