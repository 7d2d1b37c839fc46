"""The control socket: how commands on this box ask a running gateway, whether it has a page or not.

    gateway reload ─▶ {data_dir}/control.sock ─▶ {"do": "reload", "who": "anna"}\n
                                             ◀─ {"ok": true, "result": …}\n or {"ok": false, "error": …, "hint": …}\n

A request is a line, and so is its answer; a connection may ask as often as it likes. Only the user the gateway runs as, and
root, can open it: the mode of the file is all there is to guard it, as for every service with a socket of this kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import GatewayError

log = logging.getLogger(__name__)

NAME = "control.sock"
MAX_REQUEST = 64 * 1024  # bytes of a line
MAX_CLIENTS = 16
IDLE = 60.0  # seconds a connection may be silent
MAX_PATH = 100  # bytes of the address of a unix socket; there is room for 108, see unix(7)

Answer = Callable[..., Any | Awaitable[Any]]
"""What answers one `do`: called with the other keys of the request. Raises GatewayError for what cannot be done."""


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """What a unix socket is bound or connected to: the path, or where that is too long, the same by way of its folder."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlSocket:
    """Answers on `data_dir/control.sock` from `start` until `stop`. Without it the gateway runs all the same."""

    def __init__(self, data_dir: Path, answers: Mapping[str, Answer]) -> None:
        self.path = data_dir.absolute() / NAME  # as it is found again in /proc/net/unix
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer. What prevents it is logged: nobody is the worse for it but those who ask."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            listener = self._listen()
        except (OSError, GatewayError) as exc:
            log.warning(
                "%s: no control socket, so `gateway status` and `gateway reload` cannot ask: %s", self.path, exc
            )
            return
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_REQUEST)

    async def stop(self) -> None:
        """End. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        clients = list(self._clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:  # and not that of one who came after us
                self.path.unlink()

    def _listen(self) -> socket.socket:
        with address_of(self.path) as address:
            if _answers(address):
                raise GatewayError("another process with this data_dir answers there already")
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()  # left behind by one that was killed
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                os.fchmod(listener.fileno(), 0o600)  # what bind() makes gets this mode: never open for a moment
                listener.bind(address)
                self.path.chmod(0o600)
                self._inode = self.path.lstat().st_ino
                listener.listen(MAX_CLIENTS)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > MAX_CLIENTS:
                writer.write(_failed("too many ask at the same time", "try again"))
                await writer.drain()
                return
            await self._converse(reader, writer)
        except (ConnectionError, TimeoutError):
            return
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                writer.write(_failed(f"a request has at most {MAX_REQUEST} bytes"))
                await writer.drain()
                return
            writer.write(await self.answer(line))
            async with asyncio.timeout(IDLE):  # one that does not take its answer keeps no place
                await writer.drain()

    async def answer(self, line: bytes) -> bytes:
        """One request, one answer; whatever goes wrong is an answer, too."""
        try:
            request = orjson.loads(line)
        except ValueError:
            return _failed("a request is one line of JSON", 'for example {"do": "status"}')
        if not isinstance(request, dict) or not isinstance(do := request.pop("do", None), str):
            return _failed("a request says what to do", 'for example {"do": "status"}')
        answer = self._answers.get(do)
        if answer is None:
            return _failed(f"'{do}' is nothing this gateway can do", f"it knows {', '.join(sorted(self._answers))}")
        try:
            inspect.signature(answer).bind(**request)
        except TypeError as exc:
            return _failed(f"{do}: {exc}")
        try:
            result = answer(**request)
            if inspect.isawaitable(result):
                result = await result
            return _line({"ok": True, "result": result})
        except GatewayError as exc:
            return _failed(str(exc))
        except Exception as exc:
            log.exception("control socket: unexpected error in %s", do)
            return _failed(f"{do}: {type(exc).__name__}", "the log of the gateway says more")


def _answers(address: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True  # it is slow, or we may not ask
        return True


def _failed(error: str, hint: str = "") -> bytes:
    return _line({"ok": False, "error": error, "hint": hint})


def _line(content: object) -> bytes:
    try:
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE, default=_plain)
    except TypeError:  # half a surrogate pair in a text from a machine
        return json.dumps(content, separators=(",", ":"), default=str).encode() + b"\n"


def _plain(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
