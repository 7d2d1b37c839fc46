"""Whatever goes wrong between machines, gateway and broker: each reading is stored as it was served, or the store says why not.

With the fixtures that users have: a plant of every setting, a gateway in its own process, Mosquitto, and the judge.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from flow.plants import EVERY_SETTING, MOVING
from gateway.store.historian import Historian
from parts.process import wait_until
from simulators.rig import Broker, Machine, Stored

# Registered by its entry point where the package is installed with it, and must not be twice.
pytest_plugins = [] if entry_points(group="pytest11", name="shopfloor") else ["simulators.pytest_plugin"]

ON_THE_WIRE = """\
faults:
  - {fault: corrupted, chance: 4%}
  - {fault: truncated, chance: 2%}
  - {fault: noise-before, chance: 2%}
  - {fault: twice, chance: 2%}
  - {fault: swapped, chance: 2%}
  - {fault: exception, code: 4, chance: 3%}
  - {fault: late, by: 700ms, chance: 1%}
"""
OF_MACHINES = """\
faults:
  - {fault: reboot, at: 6s, for: 2s, resets: [press/strokes]}
  - {fault: status, at: 10s, for: 1s, machine: lathe, signals: [speed], code: UncertainSensorNotAccurate}
  - {fault: clock-jump, by: 1h, at: 12s, for: 1s}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "plant.yaml"
    path.write_text(EVERY_SETTING.format(modbus=502, opcua=4840))
    return path


def go_on(stored: Stored, readings: int = 10) -> None:
    """Until the machines have been read so many times more."""
    for signal in ("press/temp", "lathe/speed"):
        before = len(stored.values(signal))
        wait_until(lambda signal=signal, before=before: len(stored.values(signal)) >= before + readings, 40, signal)


@pytest.mark.parametrize(("faults", "kinds"), [(ON_THE_WIRE, 5), (OF_MACHINES, 3)], ids=["on the wire", "of machines"])
def test_machines_that_break(
    config: Path, simulated_machine: Callable[..., Machine], store: Callable[..., Stored], faults: str, kinds: int
):
    plant = simulated_machine(config, MOVING + faults)
    stored = store(plant)
    happened = plant.plant.happened
    wait_until(lambda: len(happened) >= kinds and sum(happened.values()) >= 2 * kinds - 2, 60, "the faults")
    go_on(stored, 20)
    stored.stop()
    verdict = stored.verify(settle=1)
    assert verdict.judged == 22
    assert verdict.total("marked") + verdict.total("declared") < verdict.total("stored") / 2


def test_a_broker_that_was_away(
    config: Path, simulated_machine: Callable[..., Machine], broker: Broker, store: Callable[..., Stored]
):
    plant = simulated_machine(config, MOVING)
    stored = store(plant)
    go_on(stored)
    broker.stop()
    before = len(plant.served())
    wait_until(lambda: len(plant.served()) > before + 60, 20, "readings that wait for the broker")
    broker.start()
    assert stored.verify(timeout=30).judged == 22


def test_control_marks_that_are_taken_out_leave_something_missing(
    config: Path, simulated_machine: Callable[..., Machine], store: Callable[..., Stored]
):
    """The store said that nothing came; without that word, what was served then is missing."""
    plant = simulated_machine(config, MOVING + ON_THE_WIRE)
    stored = store(plant)
    go_on(stored)
    wait_until(lambda: plant.plant.happened["twice"] + plant.plant.happened["noise-before"] >= 3, 60, "the faults")
    go_on(stored, 20)
    stored.stop()
    assert stored.verify(settle=1).total("marked") > 0
    with sqlite3.connect(stored.historian) as db:
        db.execute(
            "UPDATE message SET payload = replace(CAST(payload AS TEXT), 'bad:no-communication', 'bad:not-available')"
        )
    Historian.open_read_only(stored.historian).close()
    with pytest.raises(AssertionError, match=r"Not sound: of \d+ readings served, \d+ missing"):
        stored.verify(settle=1)
