"""Versions of a configuration, and the way back: all of its files or none, whenever the power fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigErrors, GatewayError
from gateway.runtime.changes import versions
from gateway.runtime.changes.versions import (
    INTENT,
    KEPT,
    Versions,
    checksum_of,
    files_of,
    finish,
    load_files,
    put_back,
    roll_back,
)  # fmt: skip

OLD = {"gateway.yaml": b"version: 1\n# old\n", "machines/a.yaml": b"old: a\n", "machines/gone.yaml": b"x: 1\n"}
NEW = {"gateway.yaml": b"version: 1\n# new\n", "machines/a.yaml": b"new: a\n", "profiles/p.yaml": b"new: p\n"}


def put_back_and_die(folder: Path, n: int) -> bool:
    """In a process of its own, killed before its n-th system call that changes anything; whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = [n]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **more)

            return call

        for owner, names in ((os, ("write", "fsync")), (Path, ("replace", "unlink", "mkdir", "chmod"))):
            for name in names:
                setattr(owner, name, counted(getattr(owner, name)))
        put_back(folder, NEW)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "evil.conf", "secrets/mqtt", "machines/a.txt", "../gateway.yaml", "/etc/passwd", "machines/../x.yaml", "profiles/x/y.yaml",
        "other.yaml", "", "machines/", ".gateway.yaml", "./gateway.yaml",
    ],
)  # fmt: skip
def test_a_version_that_somebody_has_written_puts_nothing_else_beside_the_configuration(tmp_path: Path, name: str):
    folder = write(tmp_path / "etc", OLD)
    with pytest.raises(GatewayError, match="is no file of a configuration"):
        put_back(folder, OLD | {name: b"x"})
    with pytest.raises(GatewayError, match="is no file of a configuration"):
        load_files(folder, {name: b"x"})
    assert files_of(folder) == OLD
    (folder / INTENT).write_text(json.dumps({"v": 1, "replace": [name], "remove": []}))
    assert finish(folder) is False


def test_of_a_single_file_its_own_name_and_profiles_are_put_back(tmp_path: Path):
    file = write(tmp_path, {"plant.yaml": b"version: 1\n"}) / "plant.yaml"
    assert put_back(file, {"plant.yaml": b"new: 1\n", "profiles/p.yaml": b"a: 1\n"}) == [
        "plant.yaml",
        "profiles/p.yaml",
    ]
    for name in ("gateway.yaml", "machines/a.yaml"):
        with pytest.raises(GatewayError, match="is no file of a configuration"):
            put_back(file, {"plant.yaml": b"x: 1\n", name: b"x"})


def test_ownership_is_never_given_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, follows = write(tmp_path / "etc", OLD), list[bool]()
    monkeypatch.setattr(os, "chown", lambda *_, follow_symlinks=True, **__: follows.append(follow_symlinks))
    put_back(folder, NEW)
    assert follows
    assert not any(follows)


def test_a_version_is_what_was_written_and_the_last_twenty_stay(tmp_path: Path):
    stored = Versions(tmp_path / "data")
    assert stored.all() == []
    files = {"gateway.yaml": "﻿version: 1\r\n# máy ép\n".encode()}
    assert stored.keep(files, "anna", "first", 5_000_000_000, in_force=True) == 1
    assert stored.keep(files, "anna", "the same", 6_000_000_000, in_force=True) == 1
    (version,) = stored.all()
    assert version.data == files
    assert (version.time, version.who, version.summary, version.in_force) == (5000, "anna", "first", True)
    for i in range(30):
        stored.keep({"gateway.yaml": b"# %d" % i}, "anna", "", i, in_force=True)
    numbers = [version.number for version in stored.all()]
    assert numbers == list(range(31, 31 - KEPT, -1))
    assert stored.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in stored.folder.iterdir()} == {0o600}
    with pytest.raises(GatewayError, match="there is no version 3"):
        stored.get(3)


def test_files_in_another_encoding_are_kept_byte_for_byte(tmp_path: Path):
    """Latin-1, and every byte there is beside text that is sound: `gateway config rollback` must not cost them."""
    files = {
        "gateway.yaml": "# Pressöl\n".encode("latin-1"),
        "machines/a.yaml": bytes(range(256)) + "máy \\udcff".encode(),
    }
    stored = Versions(tmp_path)
    assert stored.keep(files, "anna", "", 1, in_force=False) == 1
    assert stored.get(1).data == files
    assert "Press" in stored._file(1).read_text()  # and it can be read by a person all the same


def test_what_root_keeps_belongs_to_whom_the_folder_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`sudo gateway config rollback` makes a version that the service has to read."""
    given: list[str] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: given.append(Path(path).name))
    Versions(tmp_path).keep(OLD, "root", "", 1, in_force=False)
    assert given[0] == "versions"
    assert given[1].startswith(".00000001.json")  # before it takes its place


LOADED = {
    "gateway.yaml": b"version: 1\nconnections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\n",
    "machines/m.yaml": b"connection: c\nsignals: {x: {holding: 0, type: uint16}}\n",
}
LATER = {**LOADED, "machines/n.yaml": b"# not finished: \xff\n"}


def roll(folder: Path, number: int = 1) -> versions.WayBack:
    return roll_back(folder, Versions(folder / "data"), number, "anna", 2, lambda _: None)


def with_one_version(folder: Path) -> Path:
    write(folder, LOADED)
    assert Versions(folder / "data").keep(LOADED, "anna", "", 1, in_force=True) == 1
    return write(folder, LATER)


def test_the_way_back_keeps_what_is_there_first_and_can_be_undone(tmp_path: Path):
    folder = with_one_version(tmp_path)
    way = roll(folder)
    assert way.changed == ["machines/n.yaml"]
    assert files_of(folder) == LOADED
    newest = Versions(folder / "data").newest()
    assert newest is not None
    assert (newest.number, newest.data, newest.in_force) == (2, LATER, False)
    way.undo()
    assert files_of(folder) == LATER
    # What somebody has written meanwhile is not taken away by that.
    way = roll(folder)
    write(folder, {"machines/o.yaml": b"# new\n"})
    way.undo()
    assert files_of(folder) == {**LOADED, "machines/o.yaml": b"# new\n"}


@pytest.mark.parametrize("refused", ["write_whole", "read_bytes", "scandir"])
def test_what_cannot_be_kept_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str):
    """A full disk; a file, or a folder of them, that may not be read and so would be removed unseen."""
    folder = with_one_version(tmp_path)

    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def read(path: Path) -> bytes:
        if path.name == "n.yaml":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    def scan(path: Any) -> Any:
        if path == folder / "machines":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_scan(path)

    real, real_scan = Path.read_bytes, os.scandir
    with monkeypatch.context() as patch:
        if refused == "write_whole":
            patch.setattr(versions, "write_whole", full)
        elif refused == "read_bytes":
            patch.setattr(Path, "read_bytes", read)
        else:
            patch.setattr(versions.os, "scandir", scan)
        with pytest.raises(GatewayError, match="nothing was changed") as caught:
            roll(folder)
    assert ("cannot be kept" if refused == "write_whole" else "cannot be read (Permission denied)") in str(caught.value)
    assert files_of(folder) == LATER


def in_a_child_as_nobody(do: Callable[[], str]) -> str:
    """What it returns, done by a user who owns nothing."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writes, do().encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.mark.root
def test_a_service_that_may_not_write_the_folder_says_what_to_type():
    """As under systemd: /etc/gateway is for root, data_dir for the service."""
    with tempfile.TemporaryDirectory(prefix="gateway-test-") as name:
        folder = with_one_version(Path(name))
        folder.chmod(0o755)
        (folder / "machines").chmod(0o755)
        for each in (folder / "data", folder / "data" / "versions", folder / "data" / "versions" / "00000001.json"):
            os.chown(each, 65534, 65534)

        def do() -> str:
            try:
                roll(folder)
            except GatewayError as exc:
                return str(exc)
            return "it was possible"

        (folder / "machines" / "m.yaml").write_bytes(b"# another\n")  # so that something has to be written
        said = in_a_child_as_nobody(do)
        assert "cannot be written (Permission denied): nothing was changed" in said
        assert said.endswith(f"sudo gateway config rollback 1 -c {folder}")
        assert (folder / "machines" / "m.yaml").read_bytes() == b"# another\n"
        # Root does it, and what is kept by that can be read by the service.
        assert roll(folder).changed == ["machines/m.yaml", "machines/n.yaml"]
        assert in_a_child_as_nobody(lambda: str(len(Versions(folder / "data").all()))) == "2"


def test_a_version_that_is_long_is_loaded_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []

    def aside(path: Path, size: int) -> Any:
        sizes.append(size)
        return real(path, size)

    real = versions.load_aside
    monkeypatch.setattr(versions, "load_aside", aside)
    load_files(write(tmp_path, LOADED), LOADED)
    assert sizes == [sum(map(len, LOADED.values()))]


def test_a_version_that_is_torn_or_altered_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stored = Versions(tmp_path)
    for i in range(3):
        stored.keep({"gateway.yaml": b"# %d" % i}, "anna", "", i, in_force=True)
    file = stored.folder / "00000002.json"
    made = json.loads(file.read_text())
    file.write_text(json.dumps({**made, "files": {"gateway.yaml": "# another"}}))
    (stored.folder / "00000003.json").write_bytes(b'{"v": 1,')
    assert [version.number for version in stored.all()] == [1]
    assert "its checksum is wrong" in caplog.text
    assert stored.keep({"gateway.yaml": b"# 4"}, "anna", "", 4, in_force=True) == 4


def test_what_cannot_be_written_is_logged_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "data").write_text("a file where the folder should be")
    assert Versions(tmp_path / "data").keep(OLD, "anna", "", 1, in_force=True) is None
    assert "cannot be kept" in caplog.text


def test_secrets_in_files_of_their_own_are_not_kept(tmp_path: Path):
    write(tmp_path, {**OLD, "secrets/mqtt": b"hidden", "other.txt": b"x", "machines/readme.md": b"x"})
    assert files_of(tmp_path) == OLD
    assert set(files_of(tmp_path / "gateway.yaml")) == {"gateway.yaml"}


def test_files_are_put_back_with_their_rights(tmp_path: Path):
    write(tmp_path, OLD)
    (tmp_path / "gateway.yaml").chmod(0o640)
    assert sorted(put_back(tmp_path, NEW)) == [
        "gateway.yaml", "machines/a.yaml", "machines/gone.yaml", "profiles/p.yaml",
    ]  # fmt: skip
    assert files_of(tmp_path) == NEW
    assert (tmp_path / "gateway.yaml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "profiles/p.yaml").stat().st_mode & 0o777 == 0o640
    assert put_back(tmp_path, NEW) == []
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_a_file_that_is_a_link_stays_one(tmp_path: Path):
    write(tmp_path, {"elsewhere/plant.yaml": OLD["gateway.yaml"]})
    (tmp_path / "gateway.yaml").symlink_to(tmp_path / "elsewhere" / "plant.yaml")
    put_back(tmp_path, {"gateway.yaml": NEW["gateway.yaml"]})
    assert (tmp_path / "gateway.yaml").is_symlink()
    assert (tmp_path / "elsewhere" / "plant.yaml").read_bytes() == NEW["gateway.yaml"]


@pytest.mark.parametrize("name", ["../gateway.yaml", "/etc/gateway.yaml", "a/b/c.yaml", "machines/../../x.yaml"])
def test_a_version_writes_nowhere_else(tmp_path: Path, name: str):
    write(tmp_path / "here", OLD)
    with pytest.raises(GatewayError):
        put_back(tmp_path / "here", {**OLD, name: b"x"})
    with pytest.raises(GatewayError):
        load_files(tmp_path / "here", {**OLD, name: b"x"})
    assert files_of(tmp_path / "here") == OLD


def test_killed_anywhere_on_the_way_each_file_is_old_or_new_and_the_next_start_makes_it_all_of_one(tmp_path: Path):
    became: set[str] = set()
    ended, n = False, 0
    while not ended:
        n += 1
        folder = write(tmp_path / str(n), OLD)
        ended = put_back_and_die(folder, n)
        for name, data in files_of(folder).items():
            assert data in (OLD.get(name), NEW.get(name)), (n, name, data)
        decided = (folder / INTENT).exists()
        finish(folder)
        after = files_of(folder)
        assert after in (OLD, NEW), (n, sorted(after))
        assert after == NEW or not decided, n
        assert list(folder.rglob(".*")) == [], n
        became.add("new" if after == NEW else "old")
        assert n < 100, "it never came to its end"
    assert n > 12  # so many places were tried
    assert became == {"old", "new"}


def test_the_control_without_the_note_of_what_was_decided_files_are_mixed(tmp_path: Path):
    """What `finish` is for: killed between two files, with the intent taken away, old and new stay beside each other."""
    mixed, ended, n = 0, False, 0
    while not ended:
        n += 1
        folder = write(tmp_path / str(n), OLD)
        ended = put_back_and_die(folder, n)
        (folder / INTENT).unlink(missing_ok=True)
        finish(folder)
        mixed += files_of(folder) not in (OLD, NEW)
    assert mixed


def test_where_it_may_not_write_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, OLD)

    def refused(path: Path, data: bytes, mode: int) -> None:
        if path.name == ".p.yaml.rollback":  # the last of them
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        real(path, data, mode)

    real = versions.put
    monkeypatch.setattr(versions, "put", refused)
    with pytest.raises(GatewayError, match=r"cannot be written \(Read-only file system\): nothing was changed"):
        put_back(tmp_path, NEW)
    assert files_of(tmp_path) == OLD
    assert list(tmp_path.rglob(".*")) == []


def test_a_version_is_loaded_with_the_secrets_of_today_and_mistakes_are_named_by_the_place_of_the_files(tmp_path: Path):
    text = """\
version: 1
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines: {m: {connection: c, signals: {x: {holding: 0, type: uint16}}}}
mqtt: {user: u, password: {secret: broker}}
"""
    write(tmp_path, {"gateway.yaml": b"version: broken\n", "secrets/broker": b"hidden\n"})
    (tmp_path / "secrets" / "broker").chmod(0o600)
    found = load_files(tmp_path, {"gateway.yaml": text.encode()})
    assert found.settings.mqtt.password is not None
    assert found.settings.mqtt.password.value == "hidden"
    assert found.path == tmp_path
    with pytest.raises(ConfigErrors) as caught:
        load_files(tmp_path, {"gateway.yaml": text.replace("uint16", "uint17").encode()})
    assert caught.value.errors[0].file == str(tmp_path / "gateway.yaml")


def test_names_and_contents_make_the_checksum():
    assert checksum_of({"a": b"bc"}) != checksum_of({"ab": b"c"})
    assert checksum_of({"a": b"1", "b": b"2"}) == checksum_of({"b": b"2", "a": b"1"})
