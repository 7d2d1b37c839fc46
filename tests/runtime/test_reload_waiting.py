"""Safe mode without any version: what it answers while there is nothing to run with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.asked.control import ControlSocket
from gateway.runtime.changes import safe_mode
from gateway.runtime.changes.safe_mode import Waiting
from gateway.runtime.changes.watch import stamps_of

BROKEN = "version: 1\nmachines: {m: 1}\n"


def waiting(folder: Path) -> Waiting:
    (folder / "gateway.yaml").write_text(BROKEN)
    return Waiting(folder, ["gateway.yaml:2: it is broken"], stamps_of(folder))


async def ask(waits: Waiting, do: str, **more: Any) -> Any:
    import json

    answer = json.loads(await ControlSocket(Path(), waits._answers()).answer(json.dumps({"do": do, **more}).encode()))
    assert answer["ok"], answer
    return answer["result"]


async def test_events_and_metrics_are_answered(tmp_path: Path):
    waits = waiting(tmp_path)
    waits._tell()
    (event,) = await ask(waits, "events", limit=10)
    assert (event["kind"], event["state"], event["fault"]) == ("config", "safe mode", "config-refused")
    assert "it is broken" in event["text"]
    assert "gateway_safe_mode 1.0" in await ask(waits, "metrics")
    assert await ask(waits, "versions") == []


async def test_it_looks_at_the_files_for_one_at_a_time_and_is_ready_again_whatever_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said: list[str] = []
    looking = most = 0

    class Notifier:
        def reloading(self) -> None:
            nonlocal looking, most
            looking += 1
            most = max(most, looking)
            said.append("reloading")

        def ready(self) -> None:
            nonlocal looking
            looking -= 1
            said.append("ready")

    waits = waiting(tmp_path)
    waits._notifier = Notifier()  # type: ignore[assignment]
    answers = await asyncio.gather(*(waits._reload(f"test {i}") for i in range(3)))
    assert all(answer["errors"] for answer in answers)
    assert said == ["reloading", "ready"] * 3
    assert most == 1

    def broken(_: Path, _store_only: bool) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(safe_mode, "_checked", broken)
    with pytest.raises(ZeroDivisionError):
        await waits._reload("test")
    assert said[-2:] == ["reloading", "ready"]
