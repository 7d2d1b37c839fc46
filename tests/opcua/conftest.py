"""The control of a CNC machine, started once: it ticks when it is told."""

from collections.abc import Iterator

import pytest

from parts.node_opcua import NodeOpcua


@pytest.fixture(scope="session")
def cnc() -> Iterator[NodeOpcua]:
    with NodeOpcua(tick_ms=0) as server:
        yield server
