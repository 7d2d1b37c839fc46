"""A simulated SunSpec device: its registers as another client sees them, and the gateway that finds its way in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.adapter import ModbusAdapter
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.counters import FlowCounters
from gateway.model import Batch, quality_text
from parts.mbpoll import mbpoll
from simulators.behaviour.scenario import make_machines
from simulators.ledger import Ledger
from simulators.modbus import Arrangement, ModbusServer
from simulators.modbus.image import HOLDING
from simulators.modbus.points import images
from simulators.plant import Plant, simulate

PROTOCOLS = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
CONFIG = """
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  inverter: {connection: c, profile: sunspec-inverter}
  meters:
    connection: c
    sunspec: 203
    poll: 10ms
    signals:
      W_1: {holding: 18, type: int16}
      W_2: {occurrence: 2, holding: 18, type: int16}
      new: {sunspec: 60123, holding: 30, type: uint32}
      own: {sunspec: [], holding: 7, type: uint16}
"""
# L as in sunspec/models; of a model that is not in there, what its signals need.
CHAIN = [(1, 66), (103, 50), (203, 105), (203, 105), (60123, 30)]


class World:
    """Two machines that are one device, and the gateway's end of the line."""

    def __init__(self, plant: Plant, adapter: ModbusAdapter) -> None:
        server = plant.servers["c"]
        assert isinstance(server, ModbusServer)
        self.plant, self.server, self.adapter = plant, server, adapter

    def rearrange(self, **how: Any) -> None:
        self.server.replace(1, images(self.plant.machines["c"], {1: Arrangement(**how)})[1])

    def words(self, at: int, count: int) -> list[int]:
        return [value % 65536 for value in mbpoll(self.server.port or 0, "holding", at, count).values()]

    async def read(self, machine: str) -> dict[str, Any]:
        """Its next poll: value or quality by signal."""
        async with asyncio.timeout(10):
            while True:
                [batch] = await self.adapter.read()
                assert isinstance(batch, Batch)
                if batch.header.path.machine == machine:
                    names = [batch.header.signals[i].name for i in batch.signal]
                    quality = batch.quality or [0] * len(batch)
                    return {
                        name: quality_text(bad) if bad else value
                        for name, value, bad in zip(names, batch.value, quality, strict=True)
                    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    configuration = load(tmp_path / "gateway.yaml", PROTOCOLS)
    async with simulate(configuration, None, Ledger.memory(), 0) as plant:
        found = plant.redirect(configuration)
        machines = {found.path_of(name): machine for name, machine in found.machines.items()}
        context = Context("c", found.connections["c"], machines, SystemClock(), FlowCounters(), tmp_path, "edge")
        adapter = modbus.build(context)
        assert isinstance(adapter, ModbusAdapter)
        await adapter.connect()
        yield World(plant, adapter)
        await adapter.close()


def heads(chain: list[tuple[int, int]], base: int) -> dict[int, list[int]]:
    """ID and length where each model begins, by hand: two registers of marker, two of each head."""
    found, at = {base: [0x5375, 0x6E53]}, base + 2
    for number, length in chain:
        found[at] = [number, length]
        at += 2 + length
    return found | {at: [0xFFFF, 0]}


async def test_the_models_that_are_asked_of_it_are_there(world: World) -> None:
    for at, words in heads(CHAIN, 40000).items():
        assert await asyncio.to_thread(world.words, at, 2) == words, at


@pytest.mark.parametrize("base", [0, 40000, 50000])
async def test_they_stand_as_one_likes(world: World, base: int) -> None:
    chain = [(203, 105), (1, 65), (120, 26), (102, 50)]
    world.rearrange(base=base, models=chain)
    for at, words in heads(chain, base).items():
        assert await asyncio.to_thread(world.words, at, 2) == words, at


async def test_no_marker_and_no_end(world: World) -> None:
    world.rearrange(marker=(1, 2), end=())
    assert await asyncio.to_thread(world.words, 40000, 4) == [1, 2, 1, 66]


def carried(world: World, machine: str) -> dict[str, Any]:
    """What the ledger has of each signal of it, the last one."""
    found: dict[str, Any] = {}
    for entry in world.plant.ledger.entries():
        if entry.machine == machine:
            found |= entry.values
    return found


async def test_the_gateway_reads_what_the_machine_says(world: World) -> None:
    meters = await world.read("meters")
    assert meters == carried(world, "meters")
    assert meters.keys() == {"W_1", "W_2", "new", "own"}
    inverter = await world.read("inverter")
    said = carried(world, "inverter")
    signals = next(m for m in world.plant.machines["c"] if m.path.machine == "inverter").settings.signals
    assert inverter.keys() == said.keys() == signals.keys()
    assert inverter["ID"] == 103
    for name, value in inverter.items():
        states, power = signals[name].enum, inverter.get(signals[name].scale_from or "")
        if isinstance(value, str):
            assert value == said[name], name
        elif states:
            assert states[value] == said[name], name
        else:
            assert value * 10.0 ** (power or 0) == pytest.approx(said[name]), name


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ({"base": 50000}, 103),
        ({"models": [(1, 65), (203, 105), (160, 48), (203, 105), (60123, 30), (101, 50)]}, 101),
        ({"base": 0, "models": [(103, 50), (203, 105), (1, 66), (203, 105), (60123, 40)]}, 103),
    ],
)
async def test_it_moves_while_it_is_read(world: World, how: Mapping[str, Any], number: int) -> None:
    before = await world.read("inverter")
    world.rearrange(**how)
    meters = await world.read("meters")
    assert meters == carried(world, "meters")
    inverter = await world.read("inverter")
    assert not [value for value in (*meters.values(), *inverter.values()) if str(value).startswith("bad")]
    still = ("Mn", "Md", "Vr", "SN", "A_SF", "W_SF", "Tmp_SF")
    assert [inverter[name] for name in still] == [before[name] for name in still]
    assert inverter["ID"] == number


async def test_a_model_it_does_not_have(world: World) -> None:
    world.rearrange(models=[(1, 66), (203, 105), (103, 50)])
    values, said = await world.read("meters"), carried(world, "meters")
    assert values == said | {"W_2": "bad:illegal-address", "new": "bad:illegal-address"}
    assert said.keys() == {"W_1", "own"}


async def test_registers_that_stand_fast_are_what_the_ledger_has(world: World) -> None:
    """Whatever wave a signal has that lies on the ID of its model."""
    [machine, _] = world.plant.machines["c"]
    found = images([machine])[1].read(HOLDING, 40070, 4, 0.0)
    assert found is not None
    assert found[0][:4] == bytes.fromhex("0067 0032")
    assert dict(found[1])["inverter"]["ID"] == 103


async def test_a_device_without_models_has_none_of_it(tmp_path: Path) -> None:
    text = "connections: {c: {protocol: modbus-tcp, host: h}}\nmachines: {m: {connection: c, signals: {x: {holding: 0, type: uint16}}}}"
    (tmp_path / "gateway.yaml").write_text(text)
    unit = images(make_machines(load(tmp_path / "gateway.yaml", PROTOCOLS))["c"])[1]
    assert unit.read(HOLDING, 40000, 2, 0.0) is None
