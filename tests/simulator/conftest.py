"""Small configurations for the tests of the simulators.

This folder is not called `simulators`: `tests` is on the path, and it would stand in front of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from gateway.config import Configuration, Protocol, load
from gateway.model import MachinePath, Value
from simulators.behaviour.waves import Wave, constant
from simulators.machine import SimulatedMachine
from simulators.modbus.image import Image
from simulators.modbus.points import images

PROTOCOLS = {"modbus-tcp": Protocol("modbus-tcp", ModbusTcp, ModbusMachine)}


@pytest.fixture(scope="session")
def image() -> Callable[[Mapping[str, Any], Mapping[str, Wave | Value]], Image]:
    """The registers of a machine `m`, from its signals and their waves; a plain value is a constant."""

    def make(signals: Mapping[str, Any], waves: Mapping[str, Wave | Value]) -> Image:
        settings = ModbusMachine.model_validate({"connection": "c", "signals": signals})
        all_waves = {key: wave if callable(wave) else constant(wave) for key, wave in waves.items()}
        return images([SimulatedMachine(MachinePath("m"), settings, all_waves)])[settings.unit_id]

    return make


@pytest.fixture
def configuration(tmp_path: Path) -> Callable[[str], Configuration]:
    """A configuration from its text."""

    def make(text: str) -> Configuration:
        path = tmp_path / "gateway.yaml"
        path.write_text(text)
        return load(path, PROTOCOLS)

    return make
