"""The routes: the page and its files, the JSON API, streams.

GET /                 the page                    /static/…         its files, kept in memory
GET /api/v1/status    the board as JSON           /api/v1/stream    the same every second, as server-sent events
GET /healthz          the process is alive        /readyz           200: all is connected; 503: what is not
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.guard import Guard
from gateway.web.sources import Sources

log = logging.getLogger(__name__)

PAGES = Path(__file__).with_name("pages")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

MAX_STREAMS = 20  # pages that may be open at a time
SHARE = 50  # making a snapshot may take one part in so many of the time: a very large board is shown less often
PATIENCE = 20.0  # seconds until a browser that does not take what we send is given up


class Site:
    """What the routes answer from."""

    def __init__(self, sources: Sources, interval: float) -> None:
        self._sources, self._interval = sources, interval
        self._board, self._clock = sources.board, sources.clock
        self._files = {path.name: path.read_bytes() for path in PAGES.iterdir() if path.suffix in TYPES}
        self._event = b""
        self._due = 0.0  # monotonic: when the next event is to be made
        self._streams = 0
        self._stopping = asyncio.Event()

    def app(self, hosts: frozenset[str]) -> ASGIApp:
        """The application; `hosts` are the names it answers to."""
        routes = [
            Route("/", self.page),
            Route("/static/{name}", self.page),
            Route("/api/v1/status", self.status),
            Route("/api/v1/stream", self.stream),
            Route("/healthz", self.health),
            Route("/readyz", self.ready),
        ]
        return Guard(Starlette(routes=routes), hosts)

    def stop(self) -> None:
        """End the streams."""
        self._stopping.set()

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        content = self._files.get(name)
        if content is None:
            return PlainTextResponse("There is no such page.\n", 404)
        # Asked for anew each time, but sent only when it has changed: an update shows at once.
        headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)

    async def status(self, _request: Request) -> Response:
        return answer(self._snapshot())

    async def stream(self, _request: Request) -> Response:
        if self._streams >= MAX_STREAMS:
            return PlainTextResponse(
                f"{MAX_STREAMS} pages are open already; close one.\n", 503, {"Retry-After": "5", **NEVER_KEEP}
            )
        self._streams += 1
        return Events(self._events(), self._gone)

    def _gone(self) -> None:
        self._streams -= 1

    async def health(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=NEVER_KEEP)

    async def ready(self, _request: Request) -> Response:
        reasons = self._board.troubles()
        return answer(encode({"ready": not reasons, "reasons": reasons}), 503 if reasons else 200)

    def _snapshot(self) -> bytes:
        return encode(self._board.snapshot(self._clock.now(), self._clock.monotonic()))

    async def _events(self) -> AsyncIterator[bytes]:
        """Snapshots, made once however many look on. One who is slow misses some, and the others do not wait."""
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            if now >= self._due:
                snapshot = self._snapshot()
                pause = max(self._interval, SHARE * (self._clock.monotonic() - now))
                self._event = b"event: pause\ndata: %d\n\ndata: %b\n\n" % (pause * 1000, snapshot)
                self._due = now + pause
            yield self._event
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(0.01, self._due - self._clock.monotonic()))


NEVER_KEEP = {"Cache-Control": "no-store"}


def answer(content: bytes, status: int = 200) -> Response:
    return Response(content, status, NEVER_KEEP, "application/json")


def encode(content: object) -> bytes:
    """As JSON. What orjson refuses, such as half a surrogate pair in a text from a machine, is escaped instead."""
    try:
        return orjson.dumps(content)
    except TypeError:
        return json.dumps(content, separators=(",", ":")).encode()


class Events(StreamingResponse):
    """A stream to a browser that may stop reading without a word, and must not keep its place for ever."""

    def __init__(self, events: AsyncIterator[bytes], gone: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=NEVER_KEEP)
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patient(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        try:
            await super().__call__(scope, receive, patient)
        except TimeoutError:
            log.info("a browser stopped reading the status page")
        finally:
            self._gone()
