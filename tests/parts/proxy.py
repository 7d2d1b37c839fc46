"""A TCP proxy that breaks the line on demand.

client ── accept ──▶ pump ──▶ target         Each connection has two pumps, one per direction, in threads.
       ◀── pump ◀─────────── connect         A frozen pump holds what it has read, and a closing too.
"""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from .ports import free_port


class Proxy:
    """Stands before a port of this machine; `accepted` counts the connections it has taken."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.accepted = 0
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
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    _shut(client)
                    continue
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=ends, name="proxy pump", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        self._flowing.wait()
        with self._lock:
            self._sockets -= {source, sink}
        _shut(source)
        _shut(sink)


def _shut(each: socket.socket) -> None:
    """Close a socket in which another thread may be waiting: only a shutdown wakes it."""
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
