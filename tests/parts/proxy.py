"""A TCP proxy that breaks the line on demand.

client ── accept ──▶ pump ──▶ target         Each connection has two pumps, one per direction, in threads.
       ◀── pump ◀─────────── connect         A frozen pump holds what it has read, and a closing too.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from .ports import free_port

Direction = Literal["client", "target"]  # where it goes to
Change = Callable[[bytes], bytes]

_HARD = struct.pack("ii", 1, 0)  # closing such a socket sends a RST


class Proxy:
    """Stands before a port of this machine; `accepted` counts the connections it has taken."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.accepted = 0
        self.times: list[float] = []  # monotonic: when each of them came
        self.delay = 0.0  # seconds that every piece is late, in both directions
        self.trickle = 0  # bytes at a time, with a hundredth of a second between; 0: as it comes
        self._spoil: dict[Direction, tuple[Change, bool]] = {}
        self._flowing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    @property
    def open(self) -> int:
        """How many connections there are now."""
        with self._lock:
            return len(self._sockets) // 2

    def cut(self) -> None:
        """Close all connections; new ones are taken."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _shut(each)

    def reset(self) -> None:
        """Close all connections the hard way, with a RST, as a machine does that has forgotten them."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD)
                each.shutdown(socket.SHUT_RD)  # wakes its pump, which closes it

    def spoil(self, change: Change, toward: Direction = "client", *, cut: bool = False) -> None:
        """Change the next piece that passes in a direction, once; with `cut` close its connection after it."""
        with self._lock:
            self._spoil[toward] = change, cut

    def refuse(self) -> None:
        """Take no new connections; those that there are stay."""
        listener, self._listener = self._listener, None
        if listener:
            _shut(listener)

    def freeze(self) -> None:
        """Let nothing through and close nothing, as after a pulled cable."""
        self._flowing.clear()

    def resume(self) -> None:
        """Take connections and let everything through, also what was held back."""
        self._flowing.set()
        if not self._listener:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()

    def close(self) -> None:
        """End all of it."""
        self.refuse()
        self.cut()
        self._flowing.set()

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                self.times.append(time.monotonic())
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    _shut(client)
                    continue
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {client, server}
                for ends in ((client, server, "target"), (server, client, "client")):
                    threading.Thread(target=self._pump, args=ends, name="proxy pump", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, toward: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if self.delay:
                    time.sleep(self.delay)
                with self._lock:
                    change, cut = self._spoil.pop(toward, (_as_it_is, False))
                self._pass_on(sink, change(data))
                if cut:
                    break
        self._flowing.wait()
        with self._lock:
            self._sockets -= {source, sink}
        _shut(source)
        _shut(sink)

    def _pass_on(self, sink: socket.socket, data: bytes) -> None:
        while self.trickle and len(data) > self.trickle:
            sink.sendall(data[: self.trickle])
            data = data[self.trickle :]
            time.sleep(0.01)
        sink.sendall(data)


def _as_it_is(data: bytes) -> bytes:
    return data


def _shut(each: socket.socket) -> None:
    """Close a socket in which another thread may be waiting: only a shutdown wakes it."""
    with contextlib.suppress(OSError):
        if each.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_HARD)) != _HARD:
            each.shutdown(socket.SHUT_RDWR)
    each.close()
