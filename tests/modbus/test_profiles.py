"""The profiles that come along, against register images of the devices; and every YAML that is shown to a user."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.config import MachineQuirks, ModbusMachine, ModbusSignal
from adapters.modbus.connections import (
    ModbusAscii,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusTls,
    ModbusUdp,
    SerialQuirks,
    TcpQuirks,
)
from adapters.modbus.decode import Layout
from adapters.modbus.plan import Limits, polls
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.counters import FlowCounters

HERE = Path(modbus.__file__).parent
PROTOCOLS = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
PROFILES = sorted(file.stem for file in (HERE / "profiles").iterdir())
README = (HERE / "README.md").read_text()

# What the registers of each device hold (hex; 0 or 1 for a bit), and the value that means: empty where there is none.
DEVICES: dict[str, list[dict[str, str]]] = defaultdict(list)
with Path(__file__).with_name("devices.csv").open(newline="") as lines:
    for line in csv.DictReader(lines):
        DEVICES[line["profile"]].append(line)


def machine_of(profile: str, tmp_path: Path) -> ModbusMachine:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"connections: {{c: {{protocol: modbus-tcp, host: h}}}}\nmachines: {{m: {{connection: c, profile: {profile}}}}}"
    )
    machine = load(file, PROTOCOLS).machines["m"]
    assert isinstance(machine, ModbusMachine)
    return machine


def read(machine: ModbusMachine, image: dict[tuple[str, int], int]) -> dict[str, Any]:
    """Raw values of a device; addresses that are not in its image hold something that must not matter."""
    link = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "h"})
    found: dict[str, Any] = {}
    for poll in polls(machine, Limits.of(link, machine)):
        for block in poll.blocks:
            words = [image.get((block.table, at), 0xA5A5) for at in range(block.address, block.address + block.count)]
            data = b"".join(word.to_bytes(2, "big") for word in words)
            if block.table in ("coil", "discrete"):
                bits = sum((word & 1) << i for i, word in enumerate(words))
                data = bits.to_bytes(block.payload, "little")
            values, _ = Layout(block).decode(data)
            found |= zip(block.names, values, strict=True)
    return found


def engineering(signal: ModbusSignal, raw: Any) -> Any:
    if raw is None or isinstance(raw, bool):
        return raw
    return raw * (signal.scale or 1) + (signal.offset or 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_device_reads_as_it_should(profile: str, tmp_path: Path) -> None:
    machine = machine_of(profile, tmp_path)
    image = {}
    for row in DEVICES[profile]:
        for i, word in enumerate(row["words"].split()):
            image[row["table"], int(row["address"]) + i] = int(word, 16)
    values = read(machine, image)
    assert sorted(values) == sorted(row["signal"] for row in DEVICES[profile])
    for row in DEVICES[profile]:
        value, name = engineering(machine.signals[row["signal"]], values[row["signal"]]), row["signal"]
        if row["value"] in ("", "true", "false"):
            assert value is {"": None, "true": True, "false": False}[row["value"]], name
        else:
            assert value == pytest.approx(float(row["value"]), rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_where_it_is_from(profile: str) -> None:
    text = (HERE / "profiles" / f"{profile}.yaml").read_text()
    for key in ("description: ", "protocol: modbus\n", "source: ", "signals:\n"):
        assert text.startswith(key) or f"\n{key}" in text


@pytest.mark.parametrize(
    ("profile", "requests", "largest"),
    [
        ("eastron-sdm630", 3, 80),
        ("carlo-gavazzi-em24", 7, 11),
        ("eliwell-idplus", 5, 15),
        ("danfoss-fc51", 18, 2),
        ("vacon-10", 4, 125),
    ],
)
def test_quirks_of_a_device_are_in_its_plan(profile: str, requests: int, largest: int, tmp_path: Path) -> None:
    machine = machine_of(profile, tmp_path)
    link = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "h"})
    [poll] = polls(machine, Limits.of(link, machine))
    assert len(poll.blocks) == requests
    assert max(block.count for block in poll.blocks) <= largest


def test_the_example_loads_and_can_be_planned() -> None:
    configuration = load(HERE / "example.yaml", PROTOCOLS)
    assert not configuration.warnings
    for name, connection in configuration.connections.items():
        machines = {configuration.path_of(m): s for m, s in configuration.machines_of(name).items()}
        context = Context(name, connection, machines, SystemClock(), FlowCounters(), Path(), "edge")
        rows = modbus.plan(context)
        assert {row.machine for row in rows} == {path.machine for path in machines}
        adapter = modbus.build(context)
        assert {signal.name for header in adapter.headers for signal in header.signals} == {
            name for machine in machines.values() for name in machine.signals
        }


def test_the_readme_shows_the_example_and_every_key_and_profile() -> None:
    assert f"```yaml\n{(HERE / 'example.yaml').read_text()}```" in README
    own = set(ModbusTcp.model_fields) | set(ModbusMachine.model_fields) | set(ModbusSignal.model_fields)
    common = {"protocol", "connection", "profile", "description", "area", "line", "signals"}
    common |= {"poll", "stale_after", "report", "heartbeat", "unit", "kind", "scale", "offset", "range", "enum"}
    links = (ModbusTcp, ModbusRtu, ModbusAscii, ModbusRtuOverTcp, ModbusUdp, ModbusTls)
    own |= {key for link in links for key in link.model_fields}
    own |= {key for quirks in (TcpQuirks, SerialQuirks, MachineQuirks) for key in quirks.model_fields}
    for key in own - common - {"deadband"}:
        assert f"`{key}`" in README or f"`{key}:" in README, key
    for profile in PROFILES:
        assert f"`{profile}`" in README, profile
