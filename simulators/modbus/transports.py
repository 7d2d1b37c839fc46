"""What a simulated server is reached by: TCP and TLS, UDP, a serial line. Frames are the same on whatever fits them.

A serial line is a pair of pseudo terminals, of which the server has one end; the other has a path for the client.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tty
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from simulators.machine import netloc, reached_at
from simulators.modbus.framing import MBAP, Framing

if TYPE_CHECKING:
    from simulators.modbus.server import Channel, Outlet

    Open = Callable[[Outlet], Channel]

_PEERS = 100  # over UDP, where nobody says goodbye


class TcpTransport:
    """A TCP port, for frames of any kind, with or without TLS."""

    connects = True

    def __init__(
        self,
        host: str,
        port: int,
        framing: Framing = MBAP,
        tls: ssl.SSLContext | None = None,
        client_side: Mapping[str, object] | None = None,
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`client_side`: more settings that the client needs."""
        self.framing = framing
        self._clean_up = clean_up
        self._host, self._wanted, self._tls, self._client_side = host, port, tls, client_side or {}
        self._server: asyncio.Server | None = None
        self._channel: Open | None = None  # None: not opened, or closed
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> Mapping[str, object]:
        return {"host": reached_at(self._host), "port": self._port, **self._client_side}

    @property
    def place(self) -> str:
        more = (f"{k}: {v}" for k, v in self._client_side.items() if v)
        return ", ".join([netloc(reached_at(self._host), self._port), *more])

    async def open(self, channel: Open) -> None:
        self._channel = channel
        await self.accept()

    def refuse(self) -> None:
        """Nobody listens at the port until `accept`; connections that there are stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def accept(self) -> None:
        """Somebody listens at the port, which stays the same."""
        if self._server is None and (channel := self._channel) is not None:
            loop, port = asyncio.get_running_loop(), self._port or self._wanted
            self._server = await loop.create_server(lambda: _Stream(channel), self._host, port, ssl=self._tls)
            self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        server, self._server, self._channel = self._server, None, None
        if server is not None:
            server.close()
            await server.wait_closed()
        self._clean_up()


class _Stream(asyncio.Protocol):
    def __init__(self, channel: Open) -> None:
        self._open = channel
        self._channel: Channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._channel = self._open(cast("asyncio.Transport", transport))  # uvloop has transports of its own kind

    def connection_lost(self, _: Exception | None) -> None:
        self._channel.lost()

    def data_received(self, data: bytes) -> None:
        self._channel.received(data)


class UdpTransport(asyncio.DatagramProtocol):
    """A UDP port. Each client is known by the port it sends from."""

    framing = MBAP
    connects = False

    def __init__(self, host: str, port: int) -> None:
        self._host, self._wanted, self._port = host, port, 0
        self._transport: asyncio.DatagramTransport | None = None
        self._channel: Open
        self._peers: dict[tuple[str, int], Channel] = {}

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> Mapping[str, object]:
        return {"host": reached_at(self._host), "port": self._port}

    @property
    def place(self) -> str:
        return f"{netloc(reached_at(self._host), self._port)} (UDP)"

    async def open(self, channel: Open) -> None:
        loop = asyncio.get_running_loop()
        self._channel = channel
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self._host, self._wanted))
        self._port = self._transport.get_extra_info("sockname")[1]

    def refuse(self) -> None:
        """There is nobody to be refused."""

    async def accept(self) -> None:
        """Nor to be let in again."""

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if addr not in self._peers:
            if len(self._peers) >= _PEERS:
                self._peers.pop(next(iter(self._peers))).lost()
            self._peers[addr] = self._channel(_Peer(self._transport, addr))
        self._peers[addr].received(data, whole=True)


class _Peer:
    def __init__(self, transport: asyncio.DatagramTransport, address: tuple[str, int]) -> None:
        self._transport, self._address = transport, address

    def write(self, data: bytes) -> None:
        self._transport.sendto(data, self._address)

    def abort(self) -> None:
        """There is no connection to close."""

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class SerialTransport:
    """A serial line that is not there: the client finds its end under a path of the system."""

    connects = False

    port = None

    def __init__(self, framing: Framing, wanted: Path | None = None) -> None:
        """`wanted`: where the end shall be found as well, if that can be."""
        self.framing = framing
        self.path = ""
        self._wanted = wanted
        self._ours = self._theirs = -1
        self._channel: Channel

    @property
    def address(self) -> Mapping[str, object]:
        # A pseudo terminal has eight bits and no parity, and refuses anything else.
        return {"host": None, "port": self.path, "parity": "none", "data_bits": 8}

    @property
    def place(self) -> str:
        if self._wanted is None or self.path == str(self._wanted):
            return f"{self.path} (parity: none)"
        why = "is there already" if self._wanted.exists() else "cannot be made"
        return f"{self.path} (parity: none; {self._wanted} {why})"

    async def open(self, channel: Open) -> None:
        self._ours, self._theirs = os.openpty()  # theirs stays open, so that a client may come and go
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.path = os.ttyname(self._theirs)
        self._link()
        self._channel = channel(self)
        asyncio.get_running_loop().add_reader(self._ours, self._readable)

    def refuse(self) -> None:
        """There is nobody to be refused."""

    async def accept(self) -> None:
        """Nor to be let in again."""

    async def close(self) -> None:
        if self.is_closing():
            return
        asyncio.get_running_loop().remove_reader(self._ours)
        if self._wanted and self.path == str(self._wanted):
            self._wanted.unlink(missing_ok=True)
        for end in (self._ours, self._theirs):
            os.close(end)
        self._ours = -1
        self._channel.lost()

    def write(self, data: bytes) -> None:
        with suppress(BlockingIOError):  # nobody has read for long: a line does not wait
            os.write(self._ours, data)

    def abort(self) -> None:
        """There is no connection to close."""

    def is_closing(self) -> bool:
        return self._ours < 0

    def _readable(self) -> None:
        self._channel.received(os.read(self._ours, 4096))

    def _link(self) -> None:
        if self._wanted is None:
            return
        if self._wanted.is_symlink() and not self._wanted.exists():
            self._wanted.unlink()  # left by one that was killed
        with suppress(OSError):
            self._wanted.symlink_to(self.path)
            self.path = str(self._wanted)
