"""How far the data has come, out of a real buffer, and how many dead letters there are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.buffer import Limits, SegmentLog
from gateway.config import load
from gateway.mqtt.payload import Loss
from gateway.runtime.asked.way import WayOfData
from gateway.runtime.registry import protocols
from gateway.store import dead_letters
from gateway.store.dead_letters import DeadLetters, LetterCount
from gateway.web.views.trail import Trail
from web.plant import NOW, ManualClock, S


def declare(_: Loss, seq: int) -> tuple[str, bytes]:
    return "loss", b"%d" % seq


@pytest.fixture
def buffer() -> SegmentLog:
    return SegmentLog(None, Limits(2**24, 3600.0), declare, ManualClock())


def put(buffer: SegmentLog, *ago: int, size: int = 1000) -> None:
    for each in ago:
        time = NOW - each * S
        buffer.append("t", lambda _: b"x" * size, 1, time, time)


def test_the_oldest_that_waits(buffer: SegmentLog) -> None:
    assert buffer.oldest_ns is None
    assert buffer.record_bytes is None
    put(buffer, 30, 20, 10)
    assert buffer.oldest_ns == NOW - 10 * S  # none in its segment is newer
    buffer.mark_stored(buffer.epoch, [(1, 3)], buffer.last)
    assert buffer.oldest_ns is None


def test_what_a_record_takes(buffer: SegmentLog) -> None:
    put(buffer, *range(50, 0, -1))
    assert buffer.record_bytes == pytest.approx(1000, rel=0.15)  # the payload, and its head


def test_the_way_of_a_gateway(buffer: SegmentLog, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "gateway: {data_dir: data}\nconnections: {c: {protocol: modbus-tcp, host: a}}\n"
        "machines: {m: {connection: c, signals: {s: {coil: 0}}}}\n"
        'store: {kind: influx, url: "http://127.0.0.1:8086", bucket: b}\n'
    )
    configuration = load(tmp_path / "gateway.yaml", protocols())
    put(buffer, 3, 2, 1)
    writes = True
    edge: Any = SimpleNamespace(buffer=buffer, trail=Trail())
    way = WayOfData(edge, lambda: configuration, lambda: writes)
    file = tmp_path / "data" / "store" / "dead-letters.jsonl"
    assert way().dead_letters == (0, str(file))
    DeadLetters(file).add([{"a": 1}, {"a": 2}])
    assert way().dead_letters == (2, str(file))
    assert (way().accepted, way().sent, way().stored) == (buffer.accepted, buffer.sent, buffer.stored)
    writes = False  # `gateway store` is another process
    assert way().dead_letters is None


def test_a_historian_refuses_nothing(buffer: SegmentLog, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "connections: {c: {protocol: modbus-tcp, host: a}}\nmachines: {m: {connection: c, signals: {s: {coil: 0}}}}\n"
        "store: {kind: historian}\n"
    )
    configuration = load(tmp_path / "gateway.yaml", protocols())
    edge: Any = SimpleNamespace(buffer=buffer, trail=Trail())
    assert WayOfData(edge, lambda: configuration, lambda: True)().dead_letters == (0, "")


def test_letters_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters.jsonl"
    count, letters = LetterCount(path), DeadLetters(path, max_bytes=1000)
    assert count() == 0
    letters.add([{"n": i} for i in range(10)])
    assert count() == 10
    (tmp_path / "x").write_bytes(path.read_bytes())
    letters.add([{"n": i} for i in range(10)])
    assert (count(), count()) == (20, 20)
    letters.add([{"n": "x" * 700}])
    letters.add([{"n": "x" * 700}])  # the file is full: it becomes the older one
    letters.add([{"n": 1}])
    assert count() == sum(file.read_bytes().count(b"\n") for file in tmp_path.glob("dead-letters.jsonl*"))
    path.unlink()
    path.with_name(path.name + ".1").unlink()
    assert count() == 0


def test_many_letters_are_counted_a_piece_at_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted on the event loop: 16 MiB on a slow card would hold up every machine."""
    path, letters = tmp_path / "dead-letters.jsonl", b'{"n": 1}\n' * 1000
    path.write_bytes(letters)
    monkeypatch.setattr(dead_letters, "PIECE", len(letters) // 4)
    count = LetterCount(path)
    assert [count() for _ in range(5)] == [250, 500, 750, 1000, 1000]
