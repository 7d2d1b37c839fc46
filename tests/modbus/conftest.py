"""What the Modbus tests share."""

from collections.abc import AsyncIterator

import pytest

from modbus.hostile import Answer, RtuServer, Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().listening() as it:
        yield it


@pytest.fixture
async def rtu_server() -> AsyncIterator[RtuServer]:
    async with RtuServer().listening() as it:
        yield it


@pytest.fixture(params=[0, 11], ids=["silence", "a bridge says so"])
def unheard(request: pytest.FixtureRequest) -> Answer:
    """What comes instead of an answer when a unit says nothing."""
    return lambda r: r.refusal(request.param) if request.param else None
