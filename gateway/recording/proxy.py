"""Between a master and a machine: passes bytes both ways as they come, and tells a tap of each piece before it goes on.

    master ── accepts ──▶ ┌──── link ────┐ ── connects ──▶ machine      each connection of a master is a link: it has a
           ◀───────────── │ no reading,  │ ◀────────────              tap, and a connection to the machine, of its own
                          │ no changing  │
                          └──────┬───────┘
                                 ▼ opened, failed, sent, received, closed (by whom)
                                tap

A link is as fast as its slower end: what one side does not take is not read from the other, so that little waits in here.
Either half may end before the other; a reset is passed on as one. Nothing that happens in a tap stops a link.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

from gateway.errors import UsageError
from gateway.recording.careful import CarefulTap, Listener

_MOST_WAITING = 64 << 10  # bytes in one direction, and what is read at once
_CONNECT_TIMEOUT = 10.0  # seconds; masters give up earlier
_HALF_TIMEOUT = 60.0  # seconds without a byte that a link lives on half; Linux waits as long for an orphan's other half
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a RST
# Who vanishes without a word (no power, no cable) is missed at the other end through a proxy too. Seconds, seconds, times.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}


class Proxy:
    """One that runs."""

    def __init__(self, machine: tuple[str, int], next_tap: Callable[[], Listener], connect_timeout: float) -> None:
        self.port = 0  # where it listens
        self.accepted = 0  # connections of masters
        self._machine, self._next_tap, self._timeout = machine, next_tap, connect_timeout
        self._links: set[_Link] = set()
        self._closed = False

    @property
    def open(self) -> int:
        """Masters that are connected."""
        return len(self._links)

    def accept(self) -> asyncio.Protocol:
        """For the next master."""
        self.accepted += 1
        link = _Link(self._machine, CarefulTap(self._next_tap), self._timeout, self._links.discard)
        self._links.add(link)
        if self._closed:  # asyncio had accepted it before
            link.abort()
        return link.master

    async def close(self) -> None:
        """Disconnect all of them."""
        self._closed = True
        links = list(self._links)
        for link in links:
            link.abort()
        await asyncio.gather(*(link.over.wait() for link in links))


@asynccontextmanager
async def proxy(
    listen: tuple[str, int],
    connect: tuple[str, int],
    tap_of_next_link: Callable[[], Listener],
    *,
    connect_timeout: float = _CONNECT_TIMEOUT,
) -> AsyncIterator[Proxy]:
    """Takes masters at one host and port (0: any free one) to the machine at another, until its end.

    A master whose machine cannot be reached within `connect_timeout` seconds is disconnected.
    Raises UsageError where it cannot listen.
    """
    running = Proxy(connect, tap_of_next_link, connect_timeout)
    try:
        server = await asyncio.get_running_loop().create_server(running.accept, *listen)
    except (OSError, UnicodeError, OverflowError) as exc:
        raise _cannot_listen(listen, exc) from exc
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await running.close()
        await server.wait_closed()


def check_place(place: tuple[str, int]) -> None:
    """Raises UsageError where nobody could listen there now."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except (OSError, UnicodeError, OverflowError) as exc:
        raise _cannot_listen(place, exc) from exc


def _cannot_listen(place: tuple[str, int], exc: Exception) -> UsageError:
    return UsageError(f"cannot listen at {place[0]}:{place[1]}: {_why(exc)}; {_hint(exc)}")


def _hint(exc: Exception) -> str:
    if isinstance(exc, PermissionError):
        return "ports below 1024 are for root: take another one, and lead the master to it"
    return "it has to be an address of this computer, and a port that no other program has"


# --- one link --------------------------------------------------------------------------------------------------------


class _Link:
    """A master and its own connection to the machine."""

    def __init__(
        self, address: tuple[str, int], tap: CarefulTap, timeout: float, over: Callable[[_Link], None]
    ) -> None:
        self.over = asyncio.Event()
        self._address, self._tap, self._timeout, self._forget = address, tap, timeout, over
        self.master, self._machine = _Side(self, tap.sent), _Side(self, tap.received)
        self.master.other, self._machine.other = self._machine, self.master
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False  # and told
        self._aborted = False

    def made(self, side: _Side) -> None:
        """A side is connected: first the master, which is not listened to until the machine is."""
        if self._aborted:
            side.abort()
        elif side is self.master:
            self._connecting = asyncio.create_task(self._connect(), name="proxy to {}:{}".format(*self._address))
        elif self.master.gone:
            side.abort()
        else:
            self._tap.opened()
            self.master.go_on()

    def ended(self, side: _Side) -> None:
        """A side sends no more. The machine's end closes the link, whoever was first; the master may await answers."""
        if side is self._machine:
            self._close("" if self.master.ended else "the machine closed the connection")
        if side.other.ended:
            for each in (side, side.other):
                each.close()
        side.other.end()
        self.watch()

    def lost(self, side: _Side, exc: Exception | None) -> None:
        """A side is gone; the other gets what is on its way to it, and goes too."""
        by_machine = side is self._machine and exc is not None and not self.master.ended
        self._close(_lost(exc) if by_machine else "")
        if self._connecting is not None:
            self._connecting.cancel()
        if not side.other.open:
            self._end()
        elif exc is not None:
            side.other.reset()
            self.watch()
        else:
            side.other.close()
            self.watch()

    def watch(self) -> None:
        """From when a half has ended, and after each byte since: a link that lives on half has to live."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.over.is_set():
            self._timer = asyncio.get_running_loop().call_later(_HALF_TIMEOUT, self.abort)

    def abort(self) -> None:
        """The end, now."""
        self._aborted = True  # also for a side that is just being connected
        self._close("")
        for side in (self._machine, self.master):
            side.abort()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.get_running_loop().create_connection(lambda: self._machine, *self._address)
        except TimeoutError:
            self._fail(f"no answer within {self._timeout:g} s")
        except (OSError, UnicodeError, OverflowError) as exc:
            self._fail(_why(exc))

    def _fail(self, why: str) -> None:
        self._tap.failed(why)
        self.master.abort()

    def _close(self, why: str) -> None:
        if not self._closed and self._machine.made:
            self._closed = True
            self._tap.closed(why)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.over.set()
        self._forget(self)


class _Side(asyncio.Protocol):
    """One end of a link. What comes from it is told, and goes to the other."""

    other: _Side

    def __init__(self, link: _Link, tell: Callable[[bytes], None]) -> None:
        self.ended = False  # it sends no more
        self.gone = False
        self._link, self._tell = link, tell
        self._transport: asyncio.Transport | None = None
        self._held = b""  # while there is nobody to pass it on to

    @property
    def made(self) -> bool:
        return self._transport is not None

    @property
    def open(self) -> bool:
        return self.made and not self.gone

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has transports of its own kind
        self._transport.set_write_buffer_limits(high=_MOST_WAITING)
        with suppress(OSError):  # it may be gone already
            _tune(transport.get_extra_info("socket"))
        if not self.other.made:
            self._transport.pause_reading()
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        if not self.other.made:
            self._held += data  # uvloop reads once after it was told to pause
            self._pause()
        else:
            self._pass_on(data)

    def eof_received(self) -> bool:
        if not self.ended:
            self.ended = True
            if self.other.made:
                self._link.ended(self)
        return True  # it may still be written to

    def pause_writing(self) -> None:
        self.other._pause()

    def resume_writing(self) -> None:
        self.other._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._link.lost(self, exc)

    # --- what the link calls

    def go_on(self) -> None:
        """There is another side now."""
        if self._held:
            self._pass_on(self._held)
            self._held = b""
        if self.ended:
            self._link.ended(self)
        self._resume()

    def end(self) -> None:
        """The other side sends no more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """When what waits has been taken."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """At once."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """As the other side was; what still waits is not thrown away for it."""
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size():
            self._transport.close()
            return
        with suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _pass_on(self, data: bytes) -> None:
        self._tell(data)
        assert self.other._transport is not None
        self.other._transport.write(data)
        if self.other.ended:
            self._link.watch()

    def _pause(self) -> None:
        if self._transport is not None and not self.ended and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self.ended and not self._transport.is_closing():
            self._transport.resume_reading()


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _lost(exc: Exception | None) -> str:
    reset = isinstance(exc, ConnectionResetError | BrokenPipeError)
    return "the machine reset the connection" if reset else f"the machine was lost: {_why(exc)}"


def _why(exc: Exception | None) -> str:
    """Without what the loop adds to it."""
    number = getattr(exc, "errno", None) or 0
    return os.strerror(number) if number > 0 else getattr(exc, "strerror", None) or str(exc)
