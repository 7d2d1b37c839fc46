"""The page over HTTP, on this machine only; uvicorn is known nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import Iterator

from gateway.errors import GatewayError, PartMissingError
from gateway.web.sources import Sources

try:
    import uvicorn

    from gateway.web.site import Site
except ImportError as exc:
    raise PartMissingError(
        "the status page needs Starlette and uvicorn: pip install 'shopfloor-gateway[web]', "
        "or remove the section `web:` from the configuration"
    ) from exc


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


async def serve(sources: Sources, host: str, port: int, *, interval: float = 1.0) -> WebServer:
    """Serve the page of a gateway; it answers when this returns. Port 0 takes a free one. Raises GatewayError."""
    listener = listen(host, port)
    site = Site(sources, interval)
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
