from collections.abc import Iterator

import pytest

from parts.asyncua_space import AsyncuaSpace
from parts.node_opcua_plant import NodeOpcuaPlant


@pytest.fixture(scope="session")
def space() -> Iterator[AsyncuaSpace]:
    with AsyncuaSpace() as server:
        yield server


@pytest.fixture(scope="session")
def plant() -> Iterator[NodeOpcuaPlant]:
    with NodeOpcuaPlant() as server:
        yield server


@pytest.fixture(scope="session")
def space_with_many() -> Iterator[AsyncuaSpace]:
    with AsyncuaSpace(many=1000) as server:
        yield server
