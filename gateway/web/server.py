"""The page over HTTP and HTTPS; uvicorn is known nowhere else.

    sock_accept ─▶ so many at most, in all and of one address ─▶ TLS within 10 s ─▶ a request within 10 s ─▶ guard ─▶ site

Whoever may reach the port can open connections, before anybody knows who it is; the machines need files and memory, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.errors import GatewayError, PartMissingError
from gateway.web.sources import Sources

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from gateway.web.access.certificate import Renewal, common_name
    from gateway.web.access.opening import Opening, local_doors
    from gateway.web.access.opening import open_doors as open_doors
    from gateway.web.guard import MAX_HEAD
    from gateway.web.site import Site
except ImportError as exc:
    raise PartMissingError(
        "the status page needs Starlette and uvicorn: pip install 'shopfloor-gateway[web]', "
        "or remove the section `web:` from the configuration"
    ) from exc

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 120  # of which 100 get an answer, and the others are told that there are too many
MAX_OF_ONE_ADDRESS = 40  # other than this machine
HANDSHAKE_PATIENCE = 10.0  # seconds
LOOK_AGAIN = 30.0  # seconds between two looks at the files of the certificate
HEAD_PATIENCE = 10.0  # seconds until all of the head of a request is here


class Connection(H11Protocol):
    """One connection; it ends when a request does not come, or comes in drops, and knows whose certificate was shown."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (name := common_name(tls.getpeercert())):
            self.app_state = {**self.app_state, "certificate": name}
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(transport)  # type: ignore[arg-type]
        self._expect()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._unexpect()
        elif before is None or before.response_complete:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unexpect()
        super().connection_lost(exc)
        self.lost()

    def lost(self) -> None:
        """Told by the server whom to tell."""

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_PATIENCE, self._too_slow)

    def _unexpect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn as a guest in our event loop; connections are accepted by us, who count them."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None, renewal: Renewal | None) -> None:
        super().__init__(config)
        self._tls, self._renewal = tls, renewal
        self._looked = asyncio.get_running_loop().time()
        self._of: Counter[str] = Counter()
        self._opening: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM is for the runtime, which stops us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        for listener in sockets or []:
            listener.setblocking(False)
            self._accepting = asyncio.create_task(self._accept(listener), name="web accept")
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in (self._accepting, *self._opening):
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, (self._accepting, *self._opening)), return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                opened, peer = await loop.sock_accept(listener)
            except OSError as exc:
                if exc.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                    return
                # No more files, or no memory: waiting is all that can be done. Else somebody has gone again already.
                await asyncio.sleep(0.01 if exc.errno == errno.ECONNABORTED else 1)
                continue
            address = str(peer[0])
            too_many = self._of[address] >= MAX_OF_ONE_ADDRESS and not _is_here(address)
            if too_many or self._of.total() >= MAX_CONNECTIONS:
                opened.close()
                continue
            self._of[address] += 1
            task = asyncio.create_task(self._open(opened, address), name="web connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, opened: socket.socket, address: str) -> None:
        made: list[Connection] = []

        def lost() -> None:
            self._of[address] -= 1
            if self._of[address] <= 0:
                del self._of[address]

        def protocol() -> Connection:
            connection = Connection(self.config, self.server_state, self.lifespan.state)
            connection.lost = lost  # type: ignore[method-assign]
            made.append(connection)
            return connection

        patience: dict[str, Any] = {}
        if self._tls is not None:
            patience = {"ssl_handshake_timeout": HANDSHAKE_PATIENCE, "ssl_shutdown_timeout": 2.0}
        loop = asyncio.get_running_loop()
        try:
            if self._renewal is not None and loop.time() - self._looked >= LOOK_AGAIN:
                self._looked = loop.time()
                self._tls = await asyncio.to_thread(self._renewal.context) or self._tls
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(protocol, opened, ssl=self._tls, **patience)
        except (OSError, ConnectionError, asyncio.CancelledError) as exc:
            if not made or made[0].transport is None:  # else it is told when it is lost
                lost()
                opened.close()
            if isinstance(exc, asyncio.CancelledError):
                raise
            log.debug("%s did not come to an understanding about TLS: %s", address, exc)


def _is_here(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


class WebServer:
    """A page that is served. `stop` ends it."""

    def __init__(self, site: Site, server: Server, listener: socket.socket, opening: Opening) -> None:
        host, self.port = listener.getsockname()[:2]
        if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
            host = socket.gethostname()
        scheme = "https" if opening.tls is not None else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"
        self.doors = opening.doors
        self._site, self._server = site, server
        self._task = asyncio.create_task(server.serve([listener]), name=f"web[{self.port}]")

    async def stop(self) -> None:
        """End all connections and close the port. Safe to call twice."""
        self._site.stop()
        self._server.should_exit = True
        await self._task
        if self.doors.audit is not None:
            await self.doors.audit.close()


async def serve(
    sources: Sources, host: str, port: int, *, interval: float = 1.0, opening: Opening | None = None
) -> WebServer:
    """Serve the page of a gateway; it answers when this returns. Port 0 takes a free one. Raises GatewayError.

    `opening` says who may come in (`access.opening.open_doors`); without one the page is for this machine only.
    """
    listener = listen(host, port, everywhere=opening is not None and opening.tls is not None)
    opening = opening or Opening(local_doors(sources.clock, host, sources.events))
    site = Site(sources, interval)
    config = uvicorn.Config(
        site.app(opening.doors),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom a proxy asks for is believed in `doors`, or not
        limit_concurrency=100,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=2,
    )
    config.load()
    # What strangers send is no news; it would fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return WebServer(site, Server(config, opening.tls, opening.renewal), listener, opening)


def listen(host: str, port: int, *, everywhere: bool = False) -> socket.socket:
    """A listening socket, of this machine only unless it is to be `everywhere`; or an error that says what to do."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        here = ipaddress.ip_address(address)
    except ValueError as exc:
        raise GatewayError(f"the status page cannot listen on {host}: not an address; use 127.0.0.1") from exc
    if not here.is_loopback and not everywhere:
        raise GatewayError(f"the status page cannot listen on {host} without TLS and a login; use 127.0.0.1")
    try:
        family = socket.AF_INET6 if here.version == 6 else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as exc:
        why = {
            errno.EADDRINUSE: "another program uses this port. End it",
            errno.EACCES: "a port below 1024 needs more rights",
            errno.EADDRNOTAVAIL: "this machine has no such address. Look with `ip address`",
        }.get(exc.errno or 0, f"{exc.strerror or exc}. Check the address")
        raise GatewayError(
            f'the status page cannot listen on {host}:{port}: {why}, or choose another: web: {{listen: "127.0.0.1:8081"}}',
            fault="port-taken" if exc.errno == errno.EADDRINUSE else "",
        ) from exc
