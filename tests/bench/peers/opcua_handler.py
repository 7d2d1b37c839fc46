"""asyncua's documented way to subscribe: a handler object, which does nothing with the values but count them.

    python opcua_handler.py URL COUNT PUBLISHING_MS

It writes a line when it has subscribed to everything, and for each line it reads the values it got until then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from asyncua import Client, ua

logging.disable(logging.WARNING)
PART = 1000  # nodes in one request


class Handler:
    """Called for each value."""

    values = 0

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values += 1


async def main(url: str, count: int, publishing: float) -> None:
    handler = Handler()
    async with Client(url, timeout=60, watchdog_intervall=60) as client:  # it hangs up on a busy server
        index = await client.get_namespace_index("urn:bench")
        nodes = [client.get_node(ua.NodeId(f"v{i}", index)) for i in range(count)]
        subscription = await client.create_subscription(publishing, handler)
        for at in range(0, count, PART):
            await subscription.subscribe_data_change(nodes[at : at + PART])
        print(json.dumps({"ready": True}), flush=True)
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while await lines.readline():
            print(json.dumps({"result": handler.values}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
