"""What the OPC UA tests share: an adapter on a few signals, and waiting for what it reads."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adapters.opcua import build
from adapters.opcua.adapter import OpcuaAdapter
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import GOOD, Gap, MachinePath, Value
from parts.node_opcua import NAMESPACE

MACHINE = "lathe"


def context(
    url: str, signals: Mapping[str, Any], machine: Mapping[str, Any] | None = None, **connection: Any
) -> Context:
    """One machine; a signal is its node id below the prefix `m`, or its settings."""
    settings = OpcuaMachine.model_validate(
        {
            "connection": "cnc",
            "namespaces": {"m": NAMESPACE},
            "signals": {n: {"node": s} if isinstance(s, str) else s for n, s in signals.items()},
            **(machine or {}),
        }
    )
    link = OpcuaConnection.model_validate(
        {"protocol": "opcua", "url": url, "security": "None", "publishing": "50ms", "timeout": "2s", **connection}
    )
    counters = FlowCounters()
    data = Path(tempfile.mkdtemp(prefix="gateway-"))
    return Context("cnc", link, {MachinePath(MACHINE): settings}, SystemClock(), counters, data, "edge-01")


class Reader:
    """An adapter, and all that it has read by signal: (time, value, quality)."""

    def __init__(
        self, url: str, signals: Mapping[str, Any], machine: Mapping[str, Any] | None = None, **connection: Any
    ) -> None:
        self.context = context(url, signals, machine, **connection)
        adapter = build(self.context)
        assert isinstance(adapter, OpcuaAdapter)
        self.adapter = adapter
        (machine,) = self.context.machines.values()
        self.got: dict[str, list[tuple[int, Value, int]]] = {name: [] for name in machine.signals}
        self.past: dict[str, list[tuple[int, Value, int]]] = {name: [] for name in self.got}
        self.gaps: list[Gap] = []
        self.returns = 0

    async def __aenter__(self) -> "Reader":
        try:
            await self.adapter.connect()
        except BaseException:
            await self.adapter.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.adapter.close()

    async def read(self) -> None:
        for batch in await self.adapter.read():
            if isinstance(batch, Gap):
                self.gaps.append(batch)
                continue
            names = [signal.name for signal in batch.header.signals]
            for i, *reading in zip(
                batch.signal, batch.time, batch.value, batch.quality or [GOOD] * len(batch), strict=True
            ):
                (self.past if batch.historical else self.got)[names[i]].append(tuple(reading))
        self.returns += 1

    async def until(self, condition: Callable[[], object], timeout: float = 15) -> None:
        """Read until the condition holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                await self.read()

    async def lost(self, timeout: float = 20) -> str:
        """Read until the connection is lost, and return what is said about it."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await self.read()
                except NotConnectedError as exc:
                    return str(exc)

    async def reconnect(self, timeout: float = 30) -> None:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    return await self.adapter.connect()
                except NotConnectedError:
                    await asyncio.sleep(0.05)

    def values(self, signal: str) -> list[Value]:
        return [value for _, value, _ in self.got[signal]]

    def last(self, signal: str) -> tuple[int, Value, int]:
        return self.got[signal][-1]

    @property
    def types(self) -> dict[str, str]:
        return {s.name: s.type for header in self.adapter.headers for s in header.signals}
