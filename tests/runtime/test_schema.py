"""Versions of what `meta` says, and types that stay what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model import Signal
from gateway.runtime.schema import FILE, Schema

TEMP, MODE = Signal("temp", "float", "Cel", made_of=("a", "b")), Signal("mode", "string", states={0: "off"})


def test_a_version_counts_what_changes_and_nothing_else(tmp_path: Path):
    schema = Schema(tmp_path)
    assert [schema.version("acme/press", [TEMP, MODE]) for _ in range(2)] == [1, 1]
    assert Schema(tmp_path).version("acme/press", [TEMP, MODE]) == 1
    other = Signal("temp", "float", "K", made_of=("a", "b"))
    assert Schema(tmp_path).version("acme/press", [other, MODE]) == 2
    assert Schema(tmp_path).version("acme/oven", [TEMP]) == 1


def test_a_new_version_is_announced_with_what_is_new_about_it(tmp_path: Path, caplog):
    caplog.set_level("INFO")
    schema = Schema(tmp_path)
    schema.version("press", [TEMP, MODE])
    assert not caplog.text
    schema.version("press", [Signal("temp", "float", "K"), Signal("speed", "int")])
    assert "version now, 2: 1 new (speed); 1 gone (mode); 1 changed (temp)" in caplog.text


def test_a_guess_is_no_version(tmp_path: Path):
    """A server that could not be asked yet: the types are those of the last time, as far as anybody knows."""
    schema = Schema(tmp_path)
    schema.version("press", [TEMP])
    assert schema.version("press", [Signal("temp", "float", guessed=True)]) == 1
    assert schema.version("press", [TEMP]) == 1


def test_a_type_is_locked_when_it_leaves_and_kept_over_restarts(tmp_path: Path):
    schema = Schema(tmp_path)
    schema.version("press", [TEMP, MODE])
    assert schema.types("press") == {}
    schema.lock("press", [TEMP])
    schema.lock("press", [Signal("temp", "string")])  # too late
    assert Schema(tmp_path).types("press") == {"temp": "float"}


def test_another_type_is_a_conflict_until_it_is_accepted(tmp_path: Path, caplog):
    schema = Schema(tmp_path)
    schema.lock("press", [TEMP, MODE])
    schema.want("press", {"mode": "int"})
    schema.want("press", {"mode": "int"})
    assert caplog.text.count("press/mode: is int now and was string in the store") == 1
    again = Schema(tmp_path)
    assert again.conflicts() == [("press", "mode", "string", "int")]
    assert again.accept("press", "mode") == ["mode"]
    assert again.accept("press", "speed") == []
    assert Schema(tmp_path).conflicts() == []
    assert Schema(tmp_path).types("press") == {"temp": "float"}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b'{"v":2,"machines":{}}', b'{"v":1,"machines":[]}', b'{"v":1,"machines":{"m":{}}}',
        b'{"v":1,"machines":{"m":{"version":1,"signals":{},"types":{"a":"complex"}}}}',
        b'{"v":1,"machines":{"m":{"version":true,"signals":{},"types":{}}}}',
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_no_reason_not_to_start(tmp_path: Path, text: bytes, caplog):
    (tmp_path / FILE).write_bytes(text)
    assert Schema(tmp_path).version("press", [TEMP]) == 1
    assert "cannot be used" in caplog.text


def test_a_disk_that_cannot_be_written_locks_for_this_life(tmp_path: Path, caplog):
    (tmp_path / "file").write_text("in the way")
    schema = Schema(tmp_path / "file")
    schema.lock("press", [TEMP])
    assert schema.types("press") == {"temp": "float"}
    assert "cannot be written" in caplog.text
    with pytest.raises(FileExistsError):
        schema.accept("press")
