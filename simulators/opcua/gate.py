"""The way into an OPC UA server: closed and opened, cut, and spoilt request by request.

listener ─ connection ─ secure channel ─▶ request ─ Happenings ─▶ asyncua's processor, or silence, a cut, a pause
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import asyncua.ua
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.server.server import Server
from asyncua.ua.ua_binary import uatcp_to_binary

from simulators.behaviour.fault_settings import Late
from simulators.behaviour.happenings import Happenings
from simulators.opcua.line import Line, listen, stop_listening

ua: Any = asyncua.ua


class Gate:
    """Of one server that was started, and of its connections."""

    def __init__(
        self, server: Server, happenings: Happenings, machines: Collection[str], seconds: Callable[[], float]
    ) -> None:
        self.happenings, self.machines, self.seconds = happenings, machines, seconds
        assert server.bserver is not None
        self._bserver: BinaryServer = server.bserver

    async def open(self) -> None:
        """Take connections, at the port where it was started. Raises OSError where somebody else has it by now."""
        await listen(self._bserver, self._line)

    def close(self) -> None:
        """Refuse new connections, and cut those there are."""
        stop_listening(self._bserver)
        self.cut()

    def cut(self) -> None:
        """Cut the connections; new ones are welcome."""
        for client in list(self._bserver.clients):
            if client.transport is not None:
                client.transport.abort()

    def hush(self) -> None:
        """Nothing comes through the connections there are any more."""
        for client in self._bserver.clients:
            if isinstance(client, _Connection):
                client.hush()

    def _line(self) -> _Connection:
        line = _Connection.of(self._bserver)
        line.gate = self
        return line


class _Connection(Line):
    gate: Gate
    _dead = False

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        try:
            return await super()._process_one_msg(header, buf)
        except Exception:
            if header.MessageType != ua.MessageType.SecureOpen or self.transport is None:
                raise
            # Encrypted for a certificate that is not there any more, for example: Part 4, 5.5.2; Part 6, 7.1.5.
            error = ua.ErrorMessage(ua.StatusCode(ua.StatusCodes.BadSecurityChecksFailed), "")
            self.transport.write(uatcp_to_binary(ua.MessageType.Error, error))
            self.transport.close()
            return False

    def hush(self) -> None:
        """It stays open, and is dead."""
        self._dead = True
        processor: Any = self.processor
        if processor is not None:
            processor._transport = _Nowhere()

    async def meet(self, process: Any, sequence: Any, body: Any) -> Any:
        happenings = self.gate.happenings
        fault = happenings.judge(self.gate.machines, self.gate.seconds())
        if fault is not None and not self._dead:
            happenings.count(fault)
            if fault.kind == "drop":
                if self.transport is not None:
                    self.transport.abort()
                return False
            if fault.kind == "half-open":
                self.hush()
            if isinstance(fault.settings, Late):
                await asyncio.sleep(fault.settings.by)
            if fault.kind == "silence":
                return True
        return True if self._dead else await process(sequence, body)


class _Nowhere:
    """A transport of which nothing comes out."""

    def write(self, _: bytes) -> None: ...

    def close(self) -> None: ...
