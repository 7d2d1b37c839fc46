"""What the Modbus tests share."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from modbus.hostile import Answer, Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port of this machine."""
    it = Server()
    listener = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.port = listener.sockets[0].getsockname()[1]
    yield it
    it.cut()
    listener.close()


@pytest.fixture(params=[0, 11], ids=["silence", "a bridge says so"])
def unheard(request: pytest.FixtureRequest) -> Answer:
    """What comes instead of an answer when a unit says nothing."""
    return lambda r: r.refusal(request.param) if request.param else None
