"""Fixtures for projects that use the gateway: their configuration against simulated or recorded machines, in a test.

def test_the_press_is_read(simulated_machine, store):
    press = simulated_machine("config/gateway.yaml", "shift.yaml")
    stored = store(press)
    stored.wait("press-07/melt_temp", lambda value: value > 180)
    stored.verify()

Installed with the gateway (entry point `shopfloor`). Nothing is imported before a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulators.rig import Broker, Machine, Stored


@pytest.fixture
def simulated_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """simulated_machine(config, scenario=None, **more): the machines of a configuration, as servers on free ports.

    `scenario` is a file, or the text of one; `more` goes to `simulators.plant.simulate`.
    """
    from simulators.rig import folders, simulated

    names = folders(tmp_path, "simulated")
    with ExitStack() as stack:

        def make(config: Path | str, scenario: Path | str | None = None, **more: Any) -> Machine:
            return stack.enter_context(simulated(Path(config), scenario, next(names), **more))

        yield make


@pytest.fixture
def recorded_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """recorded_machine(recording, config=None, speed=1.0, ideal=False, **more): what `gateway record` wrote, as a server.

    Without `config` that of the recording counts; `more` goes to `simulators.replay.replay`.
    """
    from simulators.rig import folders, recorded

    names = folders(tmp_path, "recorded")
    with ExitStack() as stack:

        def make(recording: Path | str, config: Path | str | None = None, **more: Any) -> Machine:
            given = None if config is None else Path(config)
            return stack.enter_context(recorded(Path(recording), given, next(names), **more))

        yield make


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real Mosquitto on a free port of this computer: `.url`, `.port`, `.log`, `.stop()`, `.start()`."""
    from simulators.rig import Broker, NotInstalledError

    try:
        made = Broker(tmp_path / "broker")
    except NotInstalledError as exc:
        pytest.fail(str(exc), pytrace=False)
    with made:
        yield made


@pytest.fixture
def store(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., Stored]]:
    """store(machine, config=None): a gateway that reads the machine and stores what it reads.

    `config`: another configuration than the machine's, of which the connections of the same names lead to it.
    """
    from simulators.rig import Stored, folders

    names = folders(tmp_path, "gateway")
    with ExitStack() as stack:

        def make(machine: Machine, config: Path | str | None = None) -> Stored:
            given = None if config is None else Path(config)
            return stack.enter_context(Stored(machine, given, broker, next(names)))

        yield make
