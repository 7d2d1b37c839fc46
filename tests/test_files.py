"""Small files: as a whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from gateway import files


def test_a_file_is_replaced_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_bytes(b"old")
    file.chmod(0o644)
    files.write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["users.json"]


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
def test_what_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "state.json"
    file.write_bytes(b"old")
    monkeypatch.setattr(os if call == "fsync" else Path, call, broken)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write into the folder must not choose another file for us."""
    other = tmp_path / "passwd"
    other.write_bytes(b"mine")
    link = tmp_path / "journal"
    link.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        files.put(link, b"line\n", how=os.O_APPEND)
    files.write_whole(link, b"ours")
    assert (other.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"mine", b"ours", False)


def test_lines_follow_one_another(tmp_path: Path) -> None:
    for line in (b"1\n", b"2\n"):
        files.put(tmp_path / "journal", line, how=os.O_APPEND)
    assert (tmp_path / "journal").read_bytes() == b"1\n2\n"
