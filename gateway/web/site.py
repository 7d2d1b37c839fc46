"""The routes: the page and its files, the JSON API, streams.

GET /, /machines/…, /flow, /kpi, /config, /events, /login   the page: one document     /static/…    its files, kept in memory
GET, POST /api/v1/…, /healthz, /readyz, /metrics            see openapi.py, which is the table of all of them
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import PartMissingError
from gateway.web.access.doors import Doors
from gateway.web.answers import NEVER_KEEP, Refused, answer, encode, text, unknown
from gateway.web.api import Api
from gateway.web.guard import Guard
from gateway.web.openapi import BY_GUARD, ENDPOINTS
from gateway.web.sources import Sources

log = logging.getLogger(__name__)

PAGES = Path(__file__).with_name("pages")
METRICS = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format
PATHS = (
    "/",
    "/machines/{name}",
    "/flow",
    "/kpi",
    "/config",
    "/events",
    "/login",
    "/static/{name}",
)  # of the page and its files
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

MAX_STREAMS = 20  # pages that may be open at a time
SHARE = 50  # making a snapshot may take one part in so many of the time: a very large board is shown less often
PATIENCE = 20.0  # seconds until a browser that does not take what we send is given up


class File:
    """A file of the page, packed once: what is sent over and over need not be packed each time."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        tag = hashlib.sha256(content).hexdigest()[:16]
        self._type = TYPES[path.suffix]
        # The same bytes on every gateway (mtime=0), so that a tag is one file.
        self._ways = {"": (content, f'"{tag}"'), "gzip": (gzip.compress(content, mtime=0), f'"{tag}-gzip"')}

    def answer(self, request: Request) -> Response:
        """As the browser takes it; 304 where it has it."""
        way = "gzip" if takes_gzip(request.headers.get("accept-encoding", "")) else ""
        content, tag = self._ways[way]
        # Asked for anew each time, but sent only when it has changed: an update shows at once.
        headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        if way:
            headers["Content-Encoding"] = way
        return Response(content, media_type=self._type, headers=headers)


def takes_gzip(accepted: str) -> bool:
    """Whether a browser that says this (RFC 9110, 12.5.3) takes gzip; a weight of 0 refuses it."""
    for each in accepted.lower().split(","):
        name, _, weight = each.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Feed:
    """One view that is streamed: made once, however many look on."""

    made: Callable[[], dict[str, Any]]
    event: bytes = b""
    due: float = 0.0  # monotonic: when the next event is to be made
    lookers: int = 0


class Site:
    """What the routes answer from."""

    def __init__(self, sources: Sources, interval: float) -> None:
        self._sources, self._interval = sources, interval
        self._board, self._clock = sources.board, sources.clock
        self._files = {path.name: File(path) for path in PAGES.iterdir() if path.suffix in TYPES}
        self._api = Api(sources)
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._streams = 0
        self._places: Counter[str] = Counter()  # streams, by whose they are
        self._stopping = asyncio.Event()

    def app(self, doors: Doors) -> ASGIApp:
        """The application, for those whom the doors let in."""
        routes = [Route(path, self.page) for path in PATHS]
        routes += [
            Route(each.path, self._handler(each.name), methods=[each.method])
            for each in ENDPOINTS
            if each.name not in BY_GUARD
        ]
        application = Starlette(routes=routes, exception_handlers={Refused: _refused, 404: _nothing})
        application.router.redirect_slashes = False  # each address is one thing, and nobody is sent elsewhere
        return Guard(application, doors)

    def _handler(self, name: str) -> Handler:
        handler: Handler = getattr(self, name, None) or getattr(self._api, name)
        return handler

    def stop(self) -> None:
        """End the streams."""
        self._stopping.set()

    async def page(self, request: Request) -> Response:
        asked = request.scope["path"].startswith("/static/")
        name = request.path_params["name"] if asked else "index.html"
        file = self._files.get(name)
        return PlainTextResponse("There is no such page.\n", 404) if file is None else file.answer(request)

    async def status(self, _request: Request) -> Response:
        return answer(encode(self._status()))

    async def stream(self, request: Request) -> Response:
        view, machine = text(request, "view"), text(request, "machine")
        key, made = (view, machine), self._api.view(view, machine) if view else None
        if self._streams >= MAX_STREAMS:
            raise Refused(503, f"{MAX_STREAMS} pages are open already", "close one", {"Retry-After": "5"})
        place, most = request.scope.get("place", ("", MAX_STREAMS))
        if self._places[place] >= most:
            raise Refused(503, f"{most} of your pages are open already", "close one", {"Retry-After": "5"})
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(made or self._status)
        self._streams += 1
        self._places[place] += 1
        feed.lookers += 1

        def gone() -> None:
            self._streams -= 1
            self._places[place] -= 1
            if not self._places[place]:
                del self._places[place]
            feed.lookers -= 1
            if not feed.lookers:
                self._feeds.pop(key, None)  # nothing is made while nobody looks

        return Events(self._events(feed), gone)

    async def health(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=NEVER_KEEP)

    async def ready(self, _request: Request) -> Response:
        reasons = self._board.troubles()
        return answer(encode({"ready": not reasons, "reasons": reasons}), 503 if reasons else 200)

    async def metrics(self, _request: Request) -> Response:
        if self._sources.metrics is None:
            raise Refused(404, "there are no metrics in this process", "pip install 'shopfloor-gateway[web]'")
        try:
            content = self._sources.metrics()
        except PartMissingError as exc:
            what, _, how = str(exc).partition(": ")
            raise Refused(501, what, how) from exc
        return Response(content, headers=NEVER_KEEP, media_type=METRICS)

    def _status(self) -> dict[str, Any]:
        return self._board.snapshot(self._clock.now(), self._clock.monotonic())

    async def _events(self, feed: Feed | None = None) -> AsyncIterator[bytes]:
        """A view, made once however many look on. One who is slow misses some, and the others do not wait."""
        feed = feed or self._feeds.setdefault(("", ""), Feed(self._status))
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            if now >= feed.due:
                try:
                    content = encode(feed.made())
                except Refused as exc:  # the machine is gone: it was taken out of the configuration
                    yield b"event: gone\ndata: %b\n\n" % encode({"error": exc.error, "hint": exc.hint})
                    return
                pause = max(self._interval, SHARE * (self._clock.monotonic() - now))
                feed.event = b"event: pause\ndata: %d\n\ndata: %b\n\n" % (pause * 1000, content)
                feed.due = now + pause
            yield feed.event
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(0.01, feed.due - self._clock.monotonic()))


async def _nothing(request: Request, _exc: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return unknown("address", request.url.path, (each.path for each in ENDPOINTS)).answer()
    return PlainTextResponse("There is no such page.\n", 404)


async def _refused(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refused)
    return exc.answer()


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
