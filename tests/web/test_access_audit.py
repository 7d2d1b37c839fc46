"""The chain of what was done: whatever is done to it afterwards is found, at its line."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.web.access import audit as module
from gateway.web.access.audit import Audit, append, read_head, verify
from web.plant import ManualClock

FOLDER = "web"


def written(tmp_path: Path, count: int) -> Path:
    folder = tmp_path / FOLDER
    append(folder, [{"t": 1000 + i, "who": "anna", "what": "login", "address": f"10.0.0.{i}"} for i in range(count)])
    return folder


def lines(folder: Path) -> list[bytes]:
    return (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)


def put(folder: Path, content: list[bytes]) -> None:
    (folder / "audit.jsonl").write_bytes(b"".join(content))


def test_untouched(tmp_path: Path) -> None:
    folder = written(tmp_path, 5)
    verdict = verify(folder)
    assert verdict.problems == ()
    assert [entry["n"] for entry in verdict.entries] == [1, 2, 3, 4, 5]
    assert verdict.last == read_head(folder).hash
    assert (folder / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_first_line_follows_nothing_and_each_the_one_before(tmp_path: Path) -> None:
    """SHA-256 of nothing is FIPS 180-4's; `sha256sum` of the first line is what the second one says."""
    folder = written(tmp_path, 2)
    first, second = map(json.loads, lines(folder))
    assert first["prev"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    told = os.popen(f"head -1 {folder}/audit.jsonl | tr -d '\\n' | sha256sum").read().split()[0]
    assert second["prev"] == told


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_that_is_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = written(tmp_path_factory.mktemp("a"), 4)
    content = bytearray((folder / "audit.jsonl").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    line = content[:at].count(b"\n") + 1 if content[:at] else 1
    (folder / "audit.jsonl").write_bytes(content)
    problems = verify(folder).problems
    assert problems
    assert problems[0].file == "audit.jsonl"
    assert problems[0].line == line  # the end of a line that is gone makes one line of two


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 6), data=st.data())
def test_lines_removed_or_swapped(tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject) -> None:
    folder = written(tmp_path_factory.mktemp("a"), count)
    all_lines = lines(folder)
    order = data.draw(
        st.lists(st.integers(0, count - 1), max_size=count + 1).filter(lambda order: order != list(range(count)))
    )
    put(folder, [all_lines[i] for i in order])
    assert verify(folder).problems


@pytest.mark.parametrize(
    ("name", "change", "line", "says"),
    [
        ("removed", lambda L: [*L[:2], *L[3:]], 3, "1 line is missing before this one (after 2 comes 4)"),
        ("two removed", lambda L: [*L[:1], *L[3:]], 2, "2 lines are missing"),
        ("swapped", lambda L: [L[0], L[2], L[1], *L[3:]], 2, "1 line is missing before this one (after 1 comes 3)"),
        ("twice", lambda L: [*L[:2], L[1], *L[2:]], 3, "in the wrong place, or twice"),
        ("cut", lambda L: L[:3], 4, "cut off here: 2 lines are missing at the end"),
        ("cut in a line", lambda L: [*L[:4], L[4][:20]], 5, "cannot be read"),
        ("all gone", lambda L: [], 1, "cut off here: 5 lines are missing"),
        ("first gone", lambda L: L[1:], 1, "1 line is missing before this one (after 0 comes 2)"),
        ("last changed", lambda L: [*L[:4], L[4].replace(b"anna", b"otto")], 5, "not the one that was written"),
        ("changed", lambda L: [*L[:2], L[2].replace(b"anna", b"otto"), *L[3:]], 3, "this line was changed"),
    ],
)
def test_the_place_is_named(
    tmp_path: Path, name: str, change: Callable[[list[bytes]], list[bytes]], line: int, says: str
) -> None:
    folder = written(tmp_path, 5)
    put(folder, change(lines(folder)))
    first = verify(folder).problems[0]
    assert (first.file, first.line) == ("audit.jsonl", line)
    assert says in first.text


def test_a_head_that_is_gone_or_changed(tmp_path: Path) -> None:
    folder = written(tmp_path, 3)
    head = folder / "audit.head"
    whole = head.read_bytes()
    head.write_bytes(whole.replace(b'"n": 3', b'"n": 2'))
    assert verify(folder).problems
    head.unlink()
    assert "a cut at the end would not be seen" in str(verify(folder).problems[0])


def test_who_removes_the_head_with_what_he_did_is_not_forgotten(tmp_path: Path) -> None:
    """The chain goes on, and says so at the place: exit code 1 of `gateway web audit` for ever."""
    folder = written(tmp_path, 5)
    put(folder, lines(folder)[:3])
    (folder / "audit.head").unlink()
    append(folder, [{"t": 1, "who": "otto", "what": "login"}])
    append(folder, [{"t": 2, "who": "otto", "what": "logout"}])
    verdict = verify(folder)
    assert [(entry["who"], entry["what"]) for entry in verdict.entries[3:]] == [
        ("gateway", "the head of the chain was gone"), ("otto", "login"), ("otto", "logout"),
    ]  # fmt: skip
    (problem,) = verdict.problems
    assert (problem.file, problem.line) == ("audit.jsonl", 4)
    assert "what was cut off before it is not known" in problem.text


@pytest.mark.parametrize("what", ["the files", "the folder"])
def test_who_removes_all_of_it_is_not_forgotten(tmp_path: Path, what: str) -> None:
    folder = written(tmp_path, 5)
    shutil.rmtree(folder)
    if what == "the files":
        folder.mkdir()
    assert "all of the audit was gone" in str(verify(folder).problems[0])
    append(folder, [{"t": 1, "who": "otto", "what": "login"}])
    assert [problem.line for problem in verify(folder).problems] == [1]
    assert verify(folder).entries[0]["what"] == "all of the audit was gone"


def test_lines_removed_and_the_head_left(tmp_path: Path) -> None:
    folder = written(tmp_path, 5)
    (folder / "audit.jsonl").unlink()
    append(folder, [{"t": 1, "who": "otto", "what": "login"}])
    assert "5 lines are missing" in str(verify(folder).problems[0])


def test_the_first_note_of_all_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    assert verify(tmp_path / FOLDER).problems == ()
    assert verify(written(tmp_path, 1)).problems == ()


@pytest.mark.parametrize("name", ["audit.jsonl", ".audit.lock"])
@pytest.mark.parametrize("how", ["symlink", "hard link", "pipe"])
def test_a_file_that_somebody_put_there(tmp_path: Path, name: str, how: str) -> None:
    """Whoever may write into the folder makes nobody, root least of all, write into another file."""
    folder, victim = tmp_path / FOLDER, tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"root:x:0:0\n")
    victim.chmod(0o644)
    {
        "symlink": lambda: (folder / name).symlink_to(victim),
        "hard link": lambda: (folder / name).hardlink_to(victim),
        "pipe": lambda: os.mkfifo(folder / name),
    }[how]()
    with pytest.raises(OSError, match="is a link or no plain file: look who put it there, and remove it: rm"):
        append(folder, [{"t": 1, "who": "anna", "what": "login"}])
    assert victim.read_bytes() == b"root:x:0:0\n"


def test_a_link_is_put_there_for_what_is_torn(tmp_path: Path) -> None:
    """A line without an end is cut off, in the file itself and nowhere else."""
    folder, victim = written(tmp_path, 3), tmp_path / "victim"
    victim.write_bytes((folder / "audit.jsonl").read_bytes() + b"no line")
    (folder / "audit.jsonl").unlink()
    (folder / "audit.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="is a link"):
        append(folder, [{"t": 1, "who": "anna", "what": "login"}])
    assert victim.read_bytes().endswith(b"no line")


def test_a_cut_is_not_mended_by_going_on(tmp_path: Path) -> None:
    folder = written(tmp_path, 5)
    put(folder, lines(folder)[:3])
    append(folder, [{"t": 1, "who": "otto", "what": "login"}])
    problem = verify(folder).problems[0]
    assert (problem.line, problem.text) == (4, "2 lines are missing before this one (after 3 comes 6)")


def test_killed_between_line_and_head(tmp_path: Path) -> None:
    folder = written(tmp_path, 3)
    head = (folder / "audit.head").read_bytes()
    append(folder, [{"t": 1, "who": "anna", "what": "logout"}])
    (folder / "audit.head").write_bytes(head)
    assert verify(folder).problems == ()
    append(folder, [{"t": 1, "who": "anna", "what": "login"}])
    verdict = verify(folder)
    assert (verdict.problems, len(verdict.entries)) == ((), 5)


def test_killed_in_the_middle_of_a_line(tmp_path: Path) -> None:
    folder = written(tmp_path, 3)
    with (folder / "audit.jsonl").open("ab") as opened:
        opened.write(b'{"n":4,"t":1,"who":"an')
    append(folder, [{"t": 1, "who": "anna", "what": "login"}])
    verdict = verify(folder)
    assert (verdict.problems, len(verdict.entries)) == ((), 4)


def test_the_chain_goes_on_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIZE", 400)
    monkeypatch.setattr(module, "MAX_FILES", 3)
    folder = tmp_path / FOLDER
    for i in range(20):
        append(folder, [{"t": i, "who": "anna", "what": "login"}])
    files = sorted(each.name for each in folder.glob("audit*.jsonl"))
    assert len(files) == 3
    verdict = verify(folder)
    assert verdict.problems == ()
    assert verdict.entries[-1]["n"] == 20
    assert verdict.entries[0]["n"] > 1
    (folder / files[0]).unlink()
    assert "missing before this one" in str(verify(folder).problems[0])


def test_a_line_in_an_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIZE", 400)
    folder = tmp_path / FOLDER
    for i in range(10):
        append(folder, [{"t": i, "who": "anna", "what": "login"}])
    oldest = min(folder.glob("audit.0*.jsonl"))
    content = oldest.read_bytes()
    oldest.write_bytes(content.replace(b"anna", b"otto", 1))
    problem = verify(folder).problems[0]
    assert (problem.file, problem.line) == (oldest.name, 1)


async def test_notes_are_written_in_order_off_the_loop(tmp_path: Path) -> None:
    audit = Audit(tmp_path, ManualClock())
    for i in range(50):
        audit.note("anna", "reload", count=i, text="x" * 2000)
        await asyncio.sleep(0)
    await audit.close()
    verdict = verify(tmp_path / FOLDER)
    assert verdict.problems == ()
    assert [entry["count"] for entry in verdict.entries] == list(range(50))
    assert len(verdict.entries[0]["text"]) == 501


async def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    one, other = Audit(tmp_path, ManualClock()), Audit(tmp_path, ManualClock())
    for i in range(30):
        (one if i % 2 else other).note("anna", "login", count=i)
        await asyncio.sleep(0)
    await one.close()
    await other.close()
    verdict = verify(tmp_path / FOLDER)
    assert (verdict.problems, len(verdict.entries)) == ((), 30)


def test_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Audit(tmp_path, ManualClock())
    real = module.append

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append", full)
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    for _ in range(5):
        audit.note("anna", "login")
        assert not audit.write()
    assert caplog.text.count("No space left on device") == 1
    monkeypatch.setattr(module, "append", real)
    assert audit.write()
    entries = verify(tmp_path / FOLDER).entries
    assert [entry["what"] for entry in entries] == ["login"] * 3 + ["notes lost"]
    assert entries[-1]["count"] == 2
