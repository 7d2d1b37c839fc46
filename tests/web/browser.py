"""A browser as far as the page's doors are concerned: cookies, the token of the page, TLS; and all that it gets wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.body)


def trusting() -> ssl.SSLContext:
    """A client that asks no certificate for its name: these tests are about who comes in."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@dataclass
class Browser:
    port: int
    tls: ssl.SSLContext | None = None
    host: str = ""
    address: str = "127.0.0.1"
    source: str = ""  # the address it comes from
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    def __post_init__(self) -> None:
        self.host = self.host or f"localhost:{self.port}"

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    async def raw(self, content: bytes, whole: bool = True) -> Answer:
        """Send these bytes, and read the answer; with `whole` its body too."""
        source = (self.source, 0) if self.source else None
        reader, writer = await asyncio.open_connection(self.address, self.port, ssl=self.tls, local_addr=source)
        try:
            async with asyncio.timeout(20):
                writer.write(content)
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
                headers = [(k.lower(), v) for k, v in (line.split(": ", 1) for line in lines)]
                stream = any(v.startswith("text/event-stream") for k, v in headers if k == "content-type")
                body = await reader.read() if whole and not stream else b""
        finally:
            writer.close()
        return Answer(int(first.split()[1]), dict(headers), [v for k, v in headers if k == "set-cookie"], body)

    def request(self, method: str, path: str, body: bytes | None, changes: dict[str, str | None]) -> bytes:
        """As a page of ours would ask; `changes` are headers that differ, None for those that are not there."""
        headers: dict[str, str | None] = {"Host": self.host, "Connection": "close", "Sec-Fetch-Site": "same-origin"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method not in ("GET", "HEAD"):
            headers |= {"Origin": self.origin, "Content-Type": "application/json", "X-CSRF-Token": self.csrf}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        headers |= changes
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items() if v is not None)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    async def ask(self, method: str, path: str, data: Any = None, **changes: str | None) -> Answer:
        body = None if method in ("GET", "HEAD") else json.dumps({} if data is None else data).encode()
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        answer = await self.raw(self.request(method, path, body, named))
        for cookie in answer.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        if path in ("/api/v1/session", "/api/v1/login", "/api/v1/logout", "/api/v1/password") and answer.status == 200:
            self.csrf = answer.data["csrf"]
        return answer

    async def get(self, path: str, **changes: str | None) -> Answer:
        return await self.ask("GET", path, **changes)

    async def post(self, path: str, data: Any = None, **changes: str | None) -> Answer:
        return await self.ask("POST", path, data, **changes)

    async def open(self) -> dict[str, Any]:
        """Open the page: what /api/v1/session says."""
        return (await self.get("/api/v1/session")).data

    async def login(self, user: str, password: str, **changes: str | None) -> Answer:
        if not self.csrf:
            await self.open()
        return await self.post("/api/v1/login", {"user": user, "password": password}, **changes)
