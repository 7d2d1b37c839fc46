"""A server on asyncua with many Doubles that all change at every tick; the same as tests/parts/node_opcua/many.mjs.

Its only argument are the options, as JSON. It takes commands as JSON lines, and answers each with one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import Server, ua

logging.disable(logging.WARNING)


class Many:
    """The variables, and the ticks that change them."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._ticks = 0
        self._ticking: asyncio.Task[None] | None = None
        self._server = Server()
        self._nodes: list[Any] = []

    async def run(self) -> None:
        await self._server.init()
        self._server.set_endpoint(f"opc.tcp://127.0.0.1:{self._options['port']}")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await self._server.register_namespace("urn:bench")
        folder = await self._server.nodes.objects.add_folder(index, "Bench")
        for i in range(self._options["count"]):
            node = await folder.add_variable(ua.NodeId(f"v{i}", index), f"v{i}", i / 2**20)
            self._nodes.append(node.nodeid)
        async with self._server:
            print(json.dumps({"ready": True}), flush=True)
            lines = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
            while line := await lines.readline():
                print(json.dumps({"result": self._do(json.loads(line)["command"])}), flush=True)

    def _do(self, command: str) -> int | None:
        if command == "go":
            self._ticking = asyncio.create_task(self._tick())
        elif command == "hold" and self._ticking:
            self._ticking.cancel()
        return self._ticks if command == "ticks" else None

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        start, own = loop.time(), self._options["stamps"] == "own"
        for n in range(1, sys.maxsize):
            await asyncio.sleep(start + n * self._options["tick_ms"] / 1e3 - loop.time())
            self._ticks += 1
            now = datetime.now(UTC)
            for i, node in enumerate(self._nodes):
                stamp = now - timedelta(milliseconds=i % 500) if own else now
                value = ua.DataValue(ua.Variant(self._ticks + i / 2**20, ua.VariantType.Double), SourceTimestamp=stamp)
                await self._server.write_attribute_value(node, value)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    asyncio.run(Many(json.loads(sys.argv[1])).run())
