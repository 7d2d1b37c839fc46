"""Asking a served page over real HTTP, without a library that would mend what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}


async def ask(port: int, method: str, path: str, *headers: str, body: bytes = b"") -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    async with asyncio.timeout(30):
        status, answered = await _head(reader)
        content = await reader.read()
    writer.close()
    if answered.get("transfer-encoding") == "chunked":
        whole, rest = b"", content
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole, rest = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        content = whole
    return Answer(status, answered, content)


async def get(port: int, path: str, *headers: str) -> Answer:
    return await ask(port, "GET", path, *headers)


async def post(port: int, path: str, content: Any, *headers: str) -> Answer:
    """With the token and the cookie that /api/v1/session gives."""
    session = await get(port, "/api/v1/session")
    cookie = session.headers.get("set-cookie", "").partition(";")[0]
    own = [f"X-CSRF-Token: {session.json['csrf']}", f"Cookie: {cookie}", "Content-Type: application/json"]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await ask(port, "POST", path, *own, *headers, body=body)


async def stream(port: int, path: str) -> AsyncIterator[tuple[str, Any]]:
    """The events of a stream: name and data."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    try:
        status, _ = await _head(reader)
        assert status == 200
        while (chunk := await reader.readline()) and (size := int(chunk, 16)):
            text = (await reader.readexactly(size + 2))[:-2].decode()
            for event in filter(None, text.split("\n\n")):
                fields = dict(line.split(": ", 1) for line in event.split("\n"))
                yield fields.get("event", "message"), json.loads(fields["data"])
    finally:
        writer.close()
