"""A plant starts a server for each place its connections lead to; and the demo plant behaves like one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import simulators
from gateway.config import Configuration, ConnectionSettings, MachineSettings, Protocol, load
from gateway.errors import GatewayError
from gateway.runtime.registry import protocols
from parts.mbpoll import mbpoll
from parts.ports import free_port
from simulators.behaviour.scenario import make_machines, read_scenario
from simulators.ledger import Ledger, columns, read_ledger
from simulators.machine import SimulatedMachine
from simulators.plant import simulate

Load = Callable[[str], Configuration]

CONFIG = """
connections:
  a: {{protocol: modbus-tcp, host: 10.20.0.11, port: {port}}}
  b: {{protocol: modbus-tcp, host: 10.20.0.11, port: {port}}}
  c: {{protocol: modbus-tcp, host: 10.20.0.12, port: {other}}}
machines:
  m1: {{connection: a, unit_id: 1, signals: {{x: {{holding: 0, type: uint16}}}}}}
  m2: {{connection: b, unit_id: 2, signals: {{x: {{holding: 0, type: uint16}}}}}}
  m3: {{connection: c, unit_id: 1, signals: {{x: {{holding: 0, type: uint16}}}}}}
"""


async def test_ports_are_those_of_the_configuration_and_shared_where_it_says_so(configuration: Load) -> None:
    port, other = free_port(), free_port()
    async with simulate(configuration(CONFIG.format(port=port, other=other))) as plant:
        assert plant.ports == {"a": port, "c": other}  # b is the same link as a
        for unit, at in ((1, port), (2, port), (1, other)):
            assert 0 in await asyncio.to_thread(mbpoll, at, "holding", 0, 1, unit)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_ports_are_counted_from_a_base(configuration: Load) -> None:
    base = free_port()
    async with simulate(configuration(CONFIG.format(port=502, other=503)), port_base=base) as plant:
        assert plant.ports == {"a": base, "c": base + 1}


async def test_a_configuration_can_be_led_to_the_plant(configuration: Load) -> None:
    config = configuration(CONFIG.format(port=502, other=503))
    async with simulate(config, port_base=0) as plant:
        redirected = plant.redirect(config).connections
        places = {name: (c.host, c.port) for name, c in redirected.items()}  # type: ignore[attr-defined]
        assert places == {name: ("127.0.0.1", port) for name, port in plant.ports.items()}
        assert len(set(plant.ports.values())) == 2


async def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(configuration: Load) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        config = configuration(CONFIG.format(port=port, other=taken.getsockname()[1]))
        with pytest.raises(GatewayError) as caught:
            async with simulate(config):
                pass
        other = taken.getsockname()[1]
    assert str(caught.value) == f"connections.c: port {other} on 127.0.0.1 is taken; choose others with --port-base"
    with socket.create_server(("127.0.0.1", port)):  # the server of a and b is gone again
        pass


async def test_a_connection_without_a_simulator_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("""
connections: {c: {protocol: focas}}
machines: {m: {connection: c, signals: {x: {}}}}
""")
    config = load(path, {"focas": Protocol("focas", ConnectionSettings, MachineSettings)})
    async with simulate(config) as plant:
        assert plant.left_out == {"c": "there is no simulator for focas"}
        assert plant.ports == {}
        assert plant.redirect(config).connections == config.connections


async def test_the_ledger_of_a_plant_is_what_was_read(configuration: Load, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        async with simulate(configuration(CONFIG.format(port=502, other=503)), None, ledger, 0) as plant:
            read = [(await asyncio.to_thread(mbpoll, plant.ports["a"], "holding", 0, 1, 2))[0] for _ in range(3)]
    assert columns(read_ledger(path))["m2", "x"].value == read


# --- the demo plant ----------------------------------------------------------------------------------------------------

DEMO = Path(simulators.__file__).parent / "demo"


@pytest.fixture(scope="module")
def demo() -> dict[str, SimulatedMachine]:
    made = make_machines(load(DEMO / "gateway.yaml", protocols()), read_scenario(DEMO / "scenario.yaml"))
    return {machine.path.machine: machine for machines in made.values() for machine in machines}


def test_every_signal_of_the_demo_has_its_wave(demo: dict[str, SimulatedMachine]) -> None:
    given = read_scenario(DEMO / "scenario.yaml").settings.machines
    assert {name: set(machine.settings.signals) for name, machine in demo.items()} == {
        name: set(machine.signals) for name, machine in given.items()
    }


@pytest.mark.parametrize("t", [0.3, 100.0, 7.9 * 60, 86_400.5])
def test_the_meter_agrees_with_itself(demo: dict[str, SimulatedMachine], t: float) -> None:
    meter = {name: demo["meter-01"].value_at(name, t) for name in demo["meter-01"].waves}
    power = sum(meter[f"voltage_{p}"] * meter[f"current_{p}"] * meter[f"power_factor_{p}"] for p in ("l1", "l2", "l3"))  # type: ignore[operator]
    assert meter["active_power_total"] == pytest.approx(power)
    assert meter["energy_total"] == meter["energy_import"]


def test_energy_follows_power(demo: dict[str, SimulatedMachine]) -> None:
    meter, hour = demo["meter-01"], [float(t) for t in range(3600)]
    energy = [meter.value_at("energy_import", t) for t in hour]
    assert all(later >= earlier for earlier, later in pairwise(energy))  # type: ignore[operator]
    worked = sum(meter.value_at("active_power_total", t) for t in hour) / 3.6e6  # type: ignore[misc]
    assert energy[-1] - energy[0] == pytest.approx(worked, rel=0.05)  # type: ignore[operator]


def test_the_press_counts_what_it_makes_and_stands_while_it_does_not(demo: dict[str, SimulatedMachine]) -> None:
    press = demo["press-07"]

    def at(t: float) -> dict[str, object]:
        return {name: press.value_at(name, t) for name in press.waves}

    start, hour = at(0), at(3600)
    made = hour["cycle_count"] - start["cycle_count"]  # type: ignore[operator]
    assert made == (3600 - 7 * 36) // 12
    assert made == sum(hour[p] - start[p] for p in ("parts_good", "parts_reject"))  # type: ignore[operator, misc]
    holding, standing = at(12 * 5 + 4), at(479)
    assert (holding["phase"], holding["mode"], holding["alarm"]) == ("holding", "auto", False)
    assert holding["clamp_position"] == 0
    assert (standing["mode"], standing["alarm"], standing["door_closed"]) == ("manual", True, False)
    assert standing["cycle_count"] == at(445)["cycle_count"]


async def test_the_demo_runs(demo: dict[str, SimulatedMachine]) -> None:
    config = load(DEMO / "gateway.yaml", protocols())
    async with simulate(config, read_scenario(DEMO / "scenario.yaml"), Ledger.memory(), 0) as plant:
        assert not plant.left_out
        assert set(plant.ports) == {"panel", "press", "cnc"}
        count = await asyncio.to_thread(mbpoll, plant.ports["press"], "holding", 0, 2, 7)
        assert count[0] + (count[1] << 16) in (182504, 182505)
        served = [entry.values for entry in plant.ledger.entries() if entry.machine == "press-07"]
        assert served == [{"cycle_count": count[0] + (count[1] << 16)}]
