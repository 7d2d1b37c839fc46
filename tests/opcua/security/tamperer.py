"""A proxy that reads and changes what is not protected."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from asyncua import ua as _ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

ua: Any = _ua
_GET_ENDPOINTS = b"\x01\x00\xaf\x01"  # i=431, GetEndpointsResponse_Encoding_DefaultBinary
_HEAD = 24  # bytes before the body of a message in an open channel: Part 6, 6.7.2

Change = Callable[[Sequence[Any]], Sequence[Any]]


class Tamperer:
    """A proxy that changes the answers to GetEndpoints where it can read them, and nothing else."""

    def __init__(self, target: int) -> None:
        self.change: Change = lambda endpoints: endpoints
        self.changed = 0  # answers
        self.lines = 0
        self.heard = b""  # all that went over the line
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server
        return f"opc.tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/UA/cnc"

    async def __aenter__(self) -> Tamperer:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink in ((reader, to_server), (from_server, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await source.readexactly(8)
                body = await source.readexactly(struct.unpack("<I", head[4:])[0] - 8)
                sink.write(self._seen(head + body))
                await sink.drain()
        sink.close()

    def _seen(self, message: bytes) -> bytes:
        self.heard += message
        if message[:3] != b"MSG" or message[_HEAD : _HEAD + 4] != _GET_ENDPOINTS:
            return message
        response = struct_from_binary(ua.GetEndpointsResponse, Buffer(message[_HEAD:]))
        response.Endpoints = list(self.change(response.Endpoints))
        body = struct_to_binary(response)
        self.changed += 1
        return message[:4] + struct.pack("<I", _HEAD + len(body)) + message[8:_HEAD] + body
