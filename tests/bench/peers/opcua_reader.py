"""Our adapter by itself, which does nothing with the values but count them; used as opcua_handler.py is.

python -m bench.peers.opcua_reader URL COUNT PUBLISHING_MS
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from adapters import opcua
from gateway.adapter import Adapter, Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.counters import FlowCounters
from gateway.model import Batch
from gateway.runtime.registry import protocols


class Count:
    """Values that arrived."""

    values = 0


async def main(url: str, count: int, publishing: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "gateway.yaml"
        signals = "".join(f'      s{i}: {{node: "m:s=v{i}", type: float}}\n' for i in range(count))
        file.write_text(
            "connections:\n"
            f'  c: {{protocol: opcua, url: "{url}", security: None, timeout: 30s, publishing: {publishing:g}ms}}\n'
            f'machines:\n  m:\n    connection: c\n    namespaces: {{m: "urn:bench"}}\n    signals:\n{signals}'
        )
        configuration = load(file, protocols())
        machines = {configuration.path_of(name): machine for name, machine in configuration.machines.items()}
        link = configuration.connections["c"]
        adapter = opcua.build(Context("c", link, machines, SystemClock(), FlowCounters(), Path(name), "bench"))
        try:
            await adapter.connect()
            found = Count()
            reading = asyncio.create_task(read(adapter, found), name="reader")
            print(json.dumps({"ready": True}), flush=True)
            await answer(found)
            reading.cancel()
        finally:
            await adapter.close()


async def read(adapter: Adapter, found: Count) -> None:
    while True:
        for batch in await adapter.read():
            if isinstance(batch, Batch):
                found.values += len(batch.value)


async def answer(found: Count) -> None:
    """A line for each line, until nobody asks any more."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(json.dumps({"result": found.values}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
