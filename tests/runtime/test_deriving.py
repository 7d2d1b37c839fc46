"""An error in what is worked out: it is told once and counted, and costs no reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.compressed import compressed, configured, held
from gateway.model import Batch
from gateway.production.derived import Derived

NS = 10**9
T = 1_790_000_000 * NS
PLANT = """
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press:
    connection: c
    poll: 1s
    signals: {power: {holding: 0, type: uint16, unit: kW}}
    computed: {twice: {value: power * 2, unit: kW}}
"""


def broken(*_: object) -> None:
    raise ZeroDivisionError("a mistake of ours")


@pytest.mark.parametrize("what", [None, "take", "past"])
async def test_it_costs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, what: str | None):
    """Such a mistake cannot be had otherwise; all around it is real. The control: None, the figures are there."""
    if what is not None:
        monkeypatch.setattr(Derived, what, broken)
    registers = {"power": 5}
    async with compressed(configured(tmp_path, PLANT), T, {"press": held(registers)}) as gateway:
        for second in (1, 2):
            registers["power"] += 1
            await gateway.step(T + second * NS)
        [poller] = gateway.edge.pollers
        header = poller.plans["press"].header
        for value in (70.0, 80.0):
            time = T - round(value) * NS
            gateway.edge.accept(Batch(header, [0], [time], [value], None, historical=True))
        reader = await gateway.stored()
        powers, twice = (reader.query("press", name, 0, 2**62).value for name in ("power", "twice"))
        reader.close()
        assert list(powers) == [80, 70, 6, 7]
        assert list(twice) == ([] if what == "take" else [12, 14])
        assert gateway.counters.of("press").faults == (0 if what is None else 2)
        assert caplog.text.count("press: unexpected error in what is worked out") == (0 if what is None else 1)


PRESS = """
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press:
    connection: c
    poll: 1s
    signals:
      parts: {holding: 0, type: uint16, kind: counter}
      runs: {holding: 1, type: uint16}
    state: [{when: "runs == 1", state: running}]
    kpi: {good: parts, intervals: [hour], update: 10s}
"""


async def test_a_gateway_that_stands_still_says_so_and_takes_the_time_for_unknown(tmp_path: Path, caplog):
    """Stopped for 52 s, as by SIGSTOP: it says so once. What was read before is stale then, so 53 s go by until the next reading."""
    registers = {"parts": 5, "runs": 1}
    async with compressed(configured(tmp_path, PRESS), T, {"press": held(registers)}) as gateway:
        for second in range(1, 60):
            await gateway.step(T + second * NS)
        gateway.pause(T + 111 * NS)
        for second in range(112, 140):
            await gateway.step(T + second * NS)
        reader = await gateway.stored()
        states = reader.query("press", "state", 0, 2**62)
        unknown = reader.query("press", "hour.unknown_time", 0, 2**62).value[-1]
        running = reader.query("press", "hour.production_time", 0, 2**62)
        reader.close()
    changes = {t: word for t, word in zip(states.time, states.value, strict=True) if t in (T + 59 * NS, T + 112 * NS)}
    assert changes == {T + 59 * NS: "unknown", T + 112 * NS: "running"}
    assert unknown == 53.0
    assert running.value[-1] == pytest.approx((running.time[-1] - T) / NS - 1 - 53, abs=1e-3)
    assert caplog.text.count("the gateway stood still for 52.0 s") == 1
