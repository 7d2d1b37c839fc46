"""The way into an OPC UA server: closed and opened, cut, and spoilt request by request.

    listener ─ connection ─ secure channel ─▶ request ─ Happenings ─▶ asyncua's processor, or silence, a cut, a pause

What a message says is looked at behind its secure channel, as the numbers of its chunks have to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import asyncua.ua
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.server import Server
from asyncua.ua.ua_binary import uatcp_to_binary

from simulators.behaviour.fault_settings import Late
from simulators.behaviour.happenings import Happenings

ua: Any = asyncua.ua

_TRIES, _PAUSE = 50, 0.02  # to have a port again that was just given back


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
        bserver = self._bserver
        self._stop_listening()
        for attempt in range(1, _TRIES + 1):
            try:
                bserver._server = await asyncio.get_running_loop().create_server(
                    self._protocol, bserver.hostname, bserver.port
                )
            except OSError:
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                return

    def close(self) -> None:
        """Refuse new connections, and cut those there are."""
        self._stop_listening()
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

    def _stop_listening(self) -> None:
        if self._bserver._server is not None:
            self._bserver._server.close()

    def _protocol(self) -> _Connection:
        server = self._bserver
        return _Connection(self, server.iserver, server._policies, server.clients, server.closing_tasks, server.limits)


class _Connection(OPCUAProtocol):
    def __init__(self, gate: Gate, *of_asyncua: Any) -> None:
        super().__init__(*of_asyncua)
        self._gate = gate
        self._dead = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        processor: Any = self.processor
        if processor is not None:
            process = processor.process_message
            processor.process_message = lambda sequence, body: self._meet(process, sequence, body)

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

    async def _meet(self, process: Any, sequence: Any, body: Any) -> Any:
        """A request. Nothing is answered but what is passed on."""
        happenings = self._gate.happenings
        fault = happenings.judge(self._gate.machines, self._gate.seconds())
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
