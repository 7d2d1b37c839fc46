"""gateway config rollback: what becomes of the files when the running gateway takes them over, and when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.cli import config, running
from gateway.errors import GatewayError
from gateway.runtime.changes import versions
from gateway.runtime.changes.versions import Versions

FIRST = """\
gateway: {id: edge-01, data_dir: data}
connections: {panel: {protocol: modbus-tcp, host: 10.0.0.1}}
machines:
  press-07: {connection: panel, signals: {temp: {holding: 0, type: int16}}}
"""
BROKEN = b"machines: {press-07: \xff"  # not even text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gateway.yaml"
    made.write_text(FIRST)
    Versions(tmp_path / "data").keep({"gateway.yaml": FIRST.encode()}, "anna", "", 1, in_force=True)
    made.write_bytes(BROKEN)
    return made


def answering(monkeypatch: pytest.MonkeyPatch, file: Path, *errors: str) -> list[bytes]:
    """A gateway that answers so; what was in the file when it was asked."""
    seen: list[bytes] = []

    def ask(_: Path, do: str, **more: Any) -> dict[str, Any]:
        assert do == "reload"
        seen.append(file.read_bytes())
        return {"changed": not errors, "difference": ["x"], "touched": [], "errors": list(errors), "restart": []}

    monkeypatch.setattr(running, "ask_at", ask)
    return seen


def test_what_is_taken_over_stays(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    seen = answering(monkeypatch, file)
    config.rollback(None, file, json=False)
    assert seen == [FIRST.encode()]
    assert file.read_text() == FIRST
    assert "version 1 is in the files: gateway.yaml" in capsys.readouterr().out
    newest = Versions(file.parent / "data").newest()
    assert newest is not None
    assert newest.data == {"gateway.yaml": BROKEN}


def test_what_is_not_taken_over_is_undone(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen = answering(monkeypatch, file, "it could not be taken over")
    with pytest.raises(typer.Exit) as ended:
        config.rollback(1, file, json=False)
    assert ended.value.exit_code == 3
    assert seen == [FIRST.encode()]
    assert file.read_bytes() == BROKEN
    told = capsys.readouterr()
    assert "it could not be taken over" in told.err
    assert "is in the files" not in told.out


def test_what_is_not_taken_over_and_cannot_be_undone_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    answering(monkeypatch, file, "it could not be taken over")

    def undo(_: object) -> None:
        raise GatewayError("read-only by now")

    monkeypatch.setattr(versions.WayBack, "undo", undo)
    with pytest.raises(typer.Exit):
        config.rollback(1, file, json=False)
    assert "the files are version 1, which is not in force: read-only by now" in capsys.readouterr().err


def test_what_cannot_be_kept_is_not_replaced(file: Path, monkeypatch: pytest.MonkeyPatch):
    seen = answering(monkeypatch, file)

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(versions, "write_whole", full)
    with pytest.raises(GatewayError, match=r"cannot be kept in .*: nothing was changed"):
        config.rollback(1, file, json=False)
    assert file.read_bytes() == BROKEN
    assert seen == []
