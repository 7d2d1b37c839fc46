"""Messages to store, made as a gateway makes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.model import Batch, Header, MachinePath, Signal, Value, ValueType
from gateway.mqtt.payload import Data, DataEncoder, Frame, decode_data
from gateway.store.contract import Readings
from gateway.store.influx import InfluxConnection
from gateway.store.influx_store import InfluxStore

PRESS = MachinePath("press-07", "acme", "hanoi", "moulding", "L1")
T0 = 1_790_000_400_000_000_000  # the start of an interval of ten minutes
SECOND = 10**9

Reading = tuple[int, Value, int]  # time, value, quality


def readings(
    seq: int,
    frames: Sequence[tuple[int, Mapping[str, Value], Mapping[str, int]]],
    path: MachinePath = PRESS,
    epoch: str = "e1",
    gateway: str = "edge-01",
) -> Readings:
    """A message with these frames (time, values, quality), through the JSON of the wire."""
    payload = encoded(gateway, epoch, seq, frames, path)
    return Readings(path, decode_data(payload), payload)


def simple(seq: int, value: Value = 1.5, at: int | None = None, **where: str) -> Readings:
    """One reading of `temp`, a second after the one before."""
    return readings(seq, [(T0 + seq * SECOND if at is None else at, {"temp": value}, {})], **where)


def encoded(
    gateway: str,
    epoch: str,
    seq: int,
    frames: Sequence[tuple[int, Mapping[str, Value], Mapping[str, int]]],
    path: MachinePath = PRESS,
) -> bytes:
    """What the gateway's own encoder makes of them."""
    names = sorted({name for _, values, quality in frames for name in (*values, *quality)})
    header = Header(path, tuple(Signal(name, _type(frames, name)) for name in names))
    columns = [
        (names.index(name), at, values.get(name), quality.get(name, 0))
        for at, values, quality in frames
        for name in sorted({*values, *quality})
    ]
    signal, times, values, quality = ([row[i] for row in columns] for i in range(4))
    return DataEncoder(gateway, epoch)(Batch(header, signal, times, values, quality), seq)


def _type(frames: Sequence[tuple[int, Mapping[str, Value], Mapping[str, int]]], name: str) -> ValueType:
    kinds: dict[type, ValueType] = {float: "float", int: "int", bool: "bool", str: "string"}
    return next((kinds[type(v[name])] for _, v, _ in frames if v.get(name) is not None), "float")


def data(*frames: Frame, seq: int = 1) -> Data:
    """A decoded message."""
    return Data("edge-01", "e1", seq, frames)


async def eventually(condition: Callable[[], bool], what: str, patience: float = 20.0) -> None:
    """Wait for something that will be true soon."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)


def influx_store(
    url: str,
    folder: Path,
    measurement: str = "machine",
    resend_after_outage: float | None = None,
    clock: Clock | None = None,
    **connection: Any,
) -> InfluxStore:
    """A store over a connection with these settings."""
    return InfluxStore(
        InfluxConnection(url, **connection), folder, measurement=measurement, resend_after_outage=resend_after_outage,
        clock=clock,
    )  # fmt: skip


class HandClock:
    """A clock that only moves when it is told to."""

    def __init__(self, now: int = T0) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1e9

    def trusted(self) -> bool:
        return True
