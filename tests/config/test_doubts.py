"""What a configuration may say, and will not do as it seems to: a warning at its line. And numbers that can be calculated with."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config import SignalSettings, load
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.normalizer import Plan
from gateway.runtime.registry import protocols


def warnings(tmp_path: Path, signals: str, more: str = "") -> list[str]:
    file = tmp_path / "gateway.yaml"
    head = f"version: 1\n{more}connections: {{c: {{protocol: modbus-tcp, host: 10.0.0.1}}}}\nmachines:\n  m:\n    connection: c\n"
    file.write_text(f"{head}    signals:\n      x: {{{signals}}}\n", encoding="utf-8")
    return [each.partition("gateway.yaml:")[2] for each in load(file, protocols(), env={}).warnings]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        # 7 s after a reading there is another one, and it is too early; that after 14 s is sent.
        ("report: change, poll: 7s, heartbeat: 10s",
         "7:63: warning: machines.m.signals.x.heartbeat is not met: with `poll: 7s` the longest silence is 14s"),
        ("report: change, heartbeat: 100ms, poll: 10s",
         "7:53: warning: machines.m.signals.x.heartbeat leaves `report: change` without effect: the heartbeat is 100ms and `poll` is "
         "10s, so every reading is sent, each 10s"),
        ("report: change, poll: 45s",
         "7:53: warning: machines.m.signals.x.poll does not meet the heartbeat of 1min: with `poll: 45s` the longest silence is 90s"),
        ("report: swinging-door, deadband: 1, poll: 5min",
         "7:73: warning: machines.m.signals.x.poll leaves `report: swinging-door` without effect: the heartbeat is 1min and `poll` is "
         "5min, so every reading is sent, each 5min"),
        ("report: change, poll: 7s", ""),  # 63 s instead of 60
        ("report: change, poll: 5s, heartbeat: 10s", ""),
        ("report: change, poll: 100ms, heartbeat: 300ms", ""),  # which is not three times as much in floats
        ("poll: 7s, heartbeat: 1s", ""),  # every reading is sent
    ],
)  # fmt: skip
def test_a_heartbeat_that_is_not_met(keys: str, expected: str, tmp_path):
    assert warnings(tmp_path, f"holding: 0, type: uint16, {keys}") == ([expected] if expected else [])


def test_one_that_many_inherit_is_told_once_at_its_line(tmp_path):
    found = warnings(
        tmp_path, "holding: 0, type: uint16, count: 3, report: change, poll: 7s", "defaults: {heartbeat: 10s}\n"
    )
    assert len(found) == 1
    assert found[0].startswith("2:12: warning: machines.m.signals.x_0.heartbeat is not met")


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        # Rounded to whole numbers a value is off by a half at the most, to tenths by 0.05.
        ("type: int16, scale: 0.1, deadband: 0.1, precision: 0", "rounded values are off by up to 0.5, 0.1 cannot be kept"),
        ("type: float32, deadband: 0.04, precision: 1", "rounded values are off by up to 0.05, 0.04 cannot be kept"),
        ("type: int16, deadband: 20, precision: -2", "rounded values are off by up to 50, 20 cannot be kept"),
        ("type: float32, deadband: 1%, range: [0, 10], precision: 0", "rounded values are off by up to 0.5, 0.1 cannot be kept"),
        # 1 kW.h of deadband are 3.6 MJ.
        ("type: float32, unit: kW.h, store_as: MJ, deadband: 1, precision: -1", "off by up to 5, 3.6 cannot be kept"),
        ("type: int16, scale: 0.1, deadband: 0.5, precision: 0", ""),
        ("type: float32, deadband: 0.1, precision: 1", ""),
        ("type: int16, deadband: 0.1, precision: 0", ""),  # a whole number anyway
        ("type: float32, precision: 0", ""),
    ],
)  # fmt: skip
def test_a_deadband_that_rounding_does_not_keep(keys: str, error: str, tmp_path):
    found = warnings(tmp_path, f"holding: 0, report: swinging-door, heartbeat: 10s, {keys}")
    assert len(found) == bool(error)
    if error:
        assert "machines.m.signals.x.deadband is finer than `precision:" in found[0]
        assert error in found[0]


numbers = st.floats() | st.floats(-330, 330).map(lambda e: 10.0 ** min(e, 308) if e > -324 else 5e-324)
RAW = [0, 1, -1, 65_535, 2**63, -(2**63), 2**64 - 1]


@settings(max_examples=200, deadline=None)
@given(numbers, numbers)
def test_what_is_taken_can_be_calculated_with(scale: float, offset: float):
    """Neither a factor of infinity nor one of 0, whatever stands there; and no whole number of 64 bits gets lost by it."""
    try:
        s = SignalSettings(scale=scale, offset=offset, unit="kW", store_as="W")
    except ValidationError:
        assert not (1e-280 <= abs(scale) <= 1e280 and abs(offset) <= 1e280)
        return
    header = Header(MachinePath("m"), (Signal("x", "int"),))
    sent = [Plan(header, {"x": s}).apply(Batch(header, (0,), [1], [raw], None), 1.0, 1) for raw in RAW]
    assert all(batch is not None and isfinite(batch.value[0]) for batch in sent)
