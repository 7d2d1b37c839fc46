"""A connection to an OPC UA server of asyncua whose requests are looked at before they are dealt with.

    listener ─ Line ─ secure channel ─▶ request ─ meet ─▶ asyncua's processor, or something else

What a message says is looked at behind its secure channel, as the numbers of its chunks have to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol

_TRIES, _PAUSE = 50, 0.02  # to have a port again that was just given back


class Line(OPCUAProtocol):
    """One connection."""

    @classmethod
    def of(cls, server: BinaryServer) -> Self:
        """One more of this server."""
        return cls(server.iserver, server._policies, server.clients, server.closing_tasks, server.limits)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        processor: Any = self.processor
        if processor is not None:
            process = processor.process_message
            processor.process_message = lambda sequence, body: self.meet(process, sequence, body)

    async def meet(self, process: Any, sequence: Any, body: Any) -> Any:
        """A request. Nothing is answered but what is passed on to `process`; False ends the connection."""
        return await process(sequence, body)


async def listen(server: BinaryServer, line: Callable[[], Line]) -> None:
    """Take connections at the port where it was started, with these lines. Raises OSError where somebody else has it by now."""
    stop_listening(server)
    for attempt in range(1, _TRIES + 1):
        try:
            server._server = await asyncio.get_running_loop().create_server(line, server.hostname, server.port)
        except OSError:
            if attempt == _TRIES:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


def stop_listening(server: BinaryServer) -> None:
    """Refuse new connections; those there are stay."""
    if server._server is not None:
        server._server.close()
