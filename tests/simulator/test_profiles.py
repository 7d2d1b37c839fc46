"""The machines of the ready profiles, simulated: what their registers say, read by the gateway, is what the ledger has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.decode import Layout
from adapters.modbus.plan import Limits, polls
from gateway.config import load
from gateway.model import GOOD, Batch, Header, Signal
from gateway.normalizer.plan import Plan
from simulators.behaviour.scenario import make_machines
from simulators.machine import SimulatedMachine
from simulators.modbus.image import Image
from simulators.modbus.points import FUNCTIONS, images

CONFIG = Path(modbus.__file__).parents[2] / "config"
PROFILES = sorted(
    file.stem for file in (CONFIG / "profiles").glob("*.yaml") if "\nprotocol: modbus\n" in file.read_text()
)
PROTOCOLS = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
LINK = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "h"})

MOMENTS = """
connections: {c: {protocol: modbus-tcp, host: h}}
machines:
  m:
    connection: c
    signals:
      a: {holding: 0, type: datetime, format: unix32}
      b: {holding: 2, type: datetime, format: unix64ms, order: CDAB}
      c: {holding: 6, type: datetime, format: cp56}
      d: {holding: 10, type: datetime, format: words}
      e: {holding: 16, type: datetime, format: bytes}
      f: {holding: 19, type: datetime, format: bcd, order: BA}
"""


def simulated(tmp_path: Path, text: str) -> SimulatedMachine:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    [machine] = make_machines(load(file, PROTOCOLS))["c"]
    return machine


def read(machine: SimulatedMachine, unit: Image, plan: Plan, t: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """What leaves the gateway, and what the ledger has. Every reading has to be good."""
    assert isinstance(machine.settings, ModbusMachine)
    places = {signal.name: i for i, signal in enumerate(plan.header.signals)}
    found: dict[str, Any] = {}
    ledger: dict[str, Any] = {}
    [poll] = polls(machine.settings, Limits.of(LINK, machine.settings))
    signal, values = [], []
    for block in poll.blocks:
        answer = unit.read(FUNCTIONS[block.table], block.address, block.count, t)
        assert answer is not None
        column, quality = Layout(block).decode(answer[0])
        assert quality is None or set(quality) == {GOOD}, (block.names, quality)
        signal += [places[name] for name in block.names]
        values += column
        for _, served in answer[1]:
            ledger |= served
    # A count that is faster than any before is believed with the reading after it.
    for now in (1, 2):
        assert plan.apply(Batch(plan.header, tuple(signal), [now] * len(signal), values, None), t, now) is not None
    sent = plan.seen
    assert sent is not None
    assert sent.quality is None or set(sent.quality) == {GOOD}
    found = {sent.header.signals[i].name: value for i, value in zip(sent.signal, sent.value, strict=True)}
    return found, ledger


def plan_of(machine: SimulatedMachine) -> Plan:
    settings = machine.settings
    assert isinstance(settings, ModbusMachine)
    signals = tuple(Signal(name, signal.value_type) for name, signal in settings.signals.items())
    return Plan(Header(machine.path, signals), settings.signals)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_simulated_machine_of_each_profile(tmp_path: Path, profile: str) -> None:
    machine = simulated(
        tmp_path,
        f"connections: {{c: {{protocol: modbus-tcp, host: h}}}}\nmachines: {{m: {{connection: c, profile: {profile}}}}}",
    )
    [unit] = images([machine]).values()
    plan = plan_of(machine)
    for t in (0.0, 7.5, 86_400.0):
        found, ledger = read(machine, unit, plan, t)
        assert found == ledger
        assert found.keys() == machine.settings.signals.keys()
        for name, value in found.items():
            if isinstance(value, float):  # it was not cut: its registers have room for it
                assert value == pytest.approx(machine.value_at(name, t), rel=0.01, abs=1.0), name


def test_scale_factors_are_small_and_stay(tmp_path: Path) -> None:
    profile = "sunspec-inverter-103"
    machine = simulated(
        tmp_path,
        f"connections: {{c: {{protocol: modbus-tcp, host: h}}}}\nmachines: {{m: {{connection: c, profile: {profile}}}}}",
    )
    factors = {name: {machine.value_at(name, t) for t in (0.0, 10.0, 1e6)} for name in machine.waves if "_SF" in name}
    # Powers around 5 kW in tenths of a watt would not fit into 16 bits.
    assert factors == {
        "A_SF": {-1}, "V_SF": {-1}, "W_SF": {0}, "Hz_SF": {-1}, "VA_SF": {0}, "VAr_SF": {-1}, "PF_SF": {-1},
        "WH_SF": {-1}, "DCA_SF": {-1}, "DCV_SF": {-1}, "DCW_SF": {0}, "Tmp_SF": {-1},
    }  # fmt: skip


def test_dates_and_times(tmp_path: Path) -> None:
    machine = simulated(tmp_path, MOMENTS)
    [unit] = images([machine]).values()
    found, ledger = read(machine, unit, plan_of(machine), 3.0)
    text = "2026-03-04T05:06:07"
    assert found == ledger == {"a": f"{text}Z", "b": f"{text}Z", "c": text, "d": text, "e": text, "f": text}
