"""The status page over HTTP, on this machine only; Starlette and uvicorn are known nowhere else.

GET /                 the page                    /static/…         its files, kept in memory
GET /api/v1/status    the board as JSON           /api/v1/stream    the same every second, as server-sent events
GET /healthz          the process is alive        /readyz           200: all is connected; 503: what is not

Whoever can open a page in a browser on this machine can make that browser ask us: the name in `Host` has to be one of
ours (against DNS rebinding), nothing is allowed across origins, and no script or style runs that is not a file of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import ipaddress
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson

from gateway.clock import Clock, SystemClock
from gateway.errors import GatewayError, PartMissingError
from gateway.web.snapshot import Board

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as exc:
    raise PartMissingError(
        "the status page needs Starlette and uvicorn: pip install 'shopfloor-gateway[web]', "
        "or remove the section `web:` from the configuration"
    ) from exc

log = logging.getLogger(__name__)

PAGES = Path(__file__).with_name("pages")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

MAX_STREAMS = 20  # pages that may be open at a time
SHARE = 50  # making a snapshot may take one part in so many of the time: a very large board is shown less often
PATIENCE = 20.0  # seconds until a browser that does not take what we send is given up

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Site:
    """What the routes answer from."""

    def __init__(self, board: Board, clock: Clock, interval: float) -> None:
        self._board, self._clock, self._interval = board, clock, interval
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


class Guard:
    """Answers only to our own names, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        named = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if len(named) == 1 and host_of(named[0]) in self._hosts:
            await self._app(scope, receive, guarded)
        else:
            text = f"This gateway answers to {', '.join(sorted(self._hosts))} only.\n"
            await PlainTextResponse(text, 421)(scope, receive, guarded)


def host_of(header: str) -> str:
    """The name in a `Host` header, without its port: behind an SSH tunnel that is another one."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdigit() else header).lower()


class Server(uvicorn.Server):
    """uvicorn as a guest in our event loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM is for the runtime, which stops us."""
        yield


class WebServer:
    """A page that is served. `stop` ends it."""

    def __init__(self, site: Site, server: Server, listener: socket.socket) -> None:
        host, self.port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"
        self._site, self._server = site, server
        self._task = asyncio.create_task(server.serve([listener]), name=f"web[{self.port}]")

    async def stop(self) -> None:
        """End all connections and close the port. Safe to call twice."""
        self._site.stop()
        self._server.should_exit = True
        await self._task


async def serve(board: Board, host: str, port: int, *, clock: Clock | None = None, interval: float = 1.0) -> WebServer:
    """Serve the page of a board; it answers when this returns. Port 0 takes a free one. Raises GatewayError."""
    listener = listen(host, port)
    site = Site(board, clock or SystemClock(), interval)
    name = f"[{host}]" if ":" in host else host.lower()
    config = uvicorn.Config(
        site.app(frozenset({"localhost", "127.0.0.1", "[::1]", name})),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        limit_concurrency=100,
        timeout_graceful_shutdown=2,
    )
    config.load()
    return WebServer(site, Server(config), listener)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket of this machine only, or an error that says what to do."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        here = ipaddress.ip_address(address)
    except ValueError as exc:
        raise GatewayError(f"the status page cannot listen on {host}: not a loopback address; use 127.0.0.1") from exc
    if not here.is_loopback:
        raise GatewayError(f"the status page has no login yet, so it cannot listen on {host}; use 127.0.0.1")
    try:
        return socket.create_server((address, port), family=socket.AF_INET6 if here.version == 6 else socket.AF_INET)
    except OSError as exc:
        why = {
            errno.EADDRINUSE: "another program uses this port. End it",
            errno.EACCES: "a port below 1024 needs more rights",
        }.get(exc.errno or 0, f"{exc.strerror or exc}. Check the address")
        raise GatewayError(
            f'the status page cannot listen on {host}:{port}: {why}, or choose another: web: {{listen: "127.0.0.1:8081"}}'
        ) from exc
