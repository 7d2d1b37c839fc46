"""Looking at a buffer from outside, beside a gateway that uses it."""

import os

import pytest

from buffer.material import fill, opened
from gateway.buffer import Disk
from gateway.buffer.disk import BufferInUseError
from gateway.buffer.inspect import glance, inspect

SIZE = 16 * 4096 * 4


def test_what_waits(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE)
    fill(buffer, 300, 200)
    buffer.mark_stored(buffer.epoch, [(1, 100), (120, 130)], buffer.last)
    buffer.commit()
    for look in (glance, inspect):
        report = look(tmp_path / "b")
        assert report.in_use
        assert (report.epoch, report.messages, report.readings, report.lost) == (buffer.epoch, 189, 900, 0)
    assert [(w.first, w.last, w.readings) for w in report.waiting] == [(101, 119, 57), (131, 300, 510)]
    assert report.damage == []
    assert report.checked > 189
    buffer.close()
    assert not glance(tmp_path / "b").in_use


def test_looking_changes_nothing(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE)
    fill(buffer, 100, 200)
    buffer.close()
    (tmp_path / "b" / "00000009.segment.new").write_bytes(b"x")
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "b").iterdir()}
    inspect(tmp_path / "b")
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in (tmp_path / "b").iterdir()}


def test_damage_is_named(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE)
    fill(buffer, 300, 200)
    epoch = buffer.epoch
    second, third = buffer._segments[1], buffer._segments[2]
    offset, position = 0, second.first + 3
    buffer.close()
    with (tmp_path / "b" / str(second.name)).open("r+b") as file:
        data = file.read()
        offset = data.index(b"%d xxx" % position)
        file.seek(offset)
        file.write(b"?")
    (tmp_path / "b" / str(third.name)).unlink()
    damage = inspect(tmp_path / "b").damage
    assert sorted((d.epoch, d.first, d.last, d.readings) for d in damage) == [
        (epoch, position, position, 3),
        (epoch, third.first, third.last, third.records * 3),
    ]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        glance(tmp_path / "b")


def test_an_empty_one(tmp_path):
    opened(Disk(tmp_path / "b")).close()
    report = inspect(tmp_path / "b")
    assert (report.messages, report.waiting, report.damage) == (0, [], [])


def test_nobody_else_can_read_it(tmp_path):
    """Readings are the owner's: folder 0700, files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE)
        fill(buffer, 300, 200)
        buffer.close()
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "b").iterdir()} == {0o600}


def test_two_gateways_in_one_folder(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SIZE)
    with pytest.raises(BufferInUseError, match=r"another gateway keeps its readings here: .*gateway\.data_dir"):
        opened(Disk(tmp_path / "b"), max_bytes=SIZE)
    buffer.close()
    opened(Disk(tmp_path / "b"), max_bytes=SIZE).close()
