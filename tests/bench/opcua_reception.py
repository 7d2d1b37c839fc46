"""CPU time per value for reception over a subscription, and its parts: python tests/bench/opcua_reception.py

The process measured is the gateway's: the server, node-opcua, is another one. Compared with asyncua's own way.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from adapters.opcua import decode, wire
from opcua.helpers import Reader
from parts.node_opcua import NodeOpcua

VALUES = 1000
ROUNDS = 50


def response() -> bytes:
    """A notification of many values, mixed, with both stamps."""
    now = ua.uatypes.datetime.now(ua.uatypes.timezone.utc)
    kinds = [
        (1.5, ua.VariantType.Double),
        (7, ua.VariantType.Int32),
        (2.5, ua.VariantType.Float),
        (True, ua.VariantType.Boolean),
    ]
    items = [
        ua.MonitoredItemNotification(
            i, ua.DataValue(ua.Variant(*kinds[i % 4]), SourceTimestamp=now, ServerTimestamp=now)
        )
        for i in range(VALUES)
    ]
    made = ua.PublishResponse()
    made.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification(MonitoredItems=items)]
    return struct_to_binary(made)


def decoding() -> None:
    data = response()
    signals = {f"s{i}": "m:i=1" for i in range(VALUES)}
    (header,) = Reader("opc.tcp://127.0.0.1", signals).adapter.headers
    types = [("float", "int", "float", "bool")[i % 4] for i in range(VALUES)]
    values = wire.publish_response(data).values
    for name, run in (
        ("bytes -> columns", lambda: wire.publish_response(data)),
        ("columns -> batch", lambda: decode.batch(header, types, values, 1)),
        ("asyncua's decoder", lambda: struct_from_binary(ua.PublishResponse, ua.ua_binary.Buffer(data))),
    ):
        best = min(_timed(run) for _ in range(20))
        print(f"{name:20} {best / VALUES * 1e6:6.2f} µs/value")


def _timed(run: object) -> float:
    start = time.process_time()
    run()  # type: ignore[operator]
    return time.process_time() - start


async def reception() -> None:
    with NodeOpcua(tick_ms=0) as server:
        signals = {f"s{i}": {"node": f"m:s=Bench{i}"} for i in range(VALUES)}
        for i in range(VALUES):
            server.add(f"s=Bench{i}", "Double", 0)
        async with Reader(server.url, signals, publishing="100ms", timeout="10s") as it:
            await it.read()
            await it.read()
            wall, cpu, count, notifications = time.monotonic(), 0.0, 0, 0
            for n in range(ROUNDS):
                for i in range(VALUES):
                    server.set(f"s=Bench{i}", n + 1)  # in the server's process; ours is not measured meanwhile
                start, goal = time.process_time(), count + VALUES
                while count < goal:
                    count += sum(map(len, await it.adapter.read()))
                    notifications += 1
                cpu += time.process_time() - start
            print(
                f"received             {cpu / count * 1e6:6.2f} µs/value ({count} values in {notifications} notifications, {time.monotonic() - wall:.0f} s)"
            )


if __name__ == "__main__":
    decoding()
    asyncio.run(reception())
