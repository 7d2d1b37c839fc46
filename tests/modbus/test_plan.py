"""As few requests as the limits allow, and never a split value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.forecast import forecast
from adapters.modbus.plan import Block, Limits, make_blocks, polls, split
from gateway.adapter import Context
from gateway.counters import FlowCounters
from gateway.model import MachinePath
from modbus.grouping import Place, fewest, signals


def spans(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    return [(block.address, block.count) for block in blocks]


@pytest.mark.parametrize(
    ("places", "limit", "gap", "expected"),
    [
        ([(0, 1)], 125, 0, [(0, 1)]),
        ([(0, 2), (2, 2), (4, 1)], 125, 0, [(0, 5)]),
        ([(0, 1), (5, 1)], 125, 4, [(0, 6)]),
        ([(0, 1), (6, 1)], 125, 4, [(0, 1), (6, 1)]),
        ([(0, 4), (4, 4)], 7, 16, [(0, 4), (4, 4)]),  # the second would end beyond the limit
        ([(124, 1), (125, 1)], 125, 0, [(124, 2)]),
        ([(0, 1), (124, 2)], 125, 125, [(0, 1), (124, 2)]),
        ([(0, 1), (124, 1)], 125, 125, [(0, 125)]),
        ([(7, 1), (3, 2), (5, 2)], 125, 0, [(3, 5)]),  # in any order
        ([(0, 4), (1, 1), (2, 2)], 125, 0, [(0, 4)]),  # overlapping
        ([(0, 1), (0, 1)], 125, 0, [(0, 1)]),  # twice the same
        ([(0, 4)], 2, 0, [(0, 4)]),  # a value is larger than the device allows: better whole than never
        ([(65532, 4)], 125, 16, [(65532, 4)]),
    ],
)
def test_blocks(places: list[Place], limit: int, gap: int, expected: list[tuple[int, int]]) -> None:
    assert spans(make_blocks(signals(*places), limit, gap)) == expected


place = st.tuples(st.integers(0, 24), st.integers(1, 4))


@settings(max_examples=300, deadline=None)
@given(st.lists(place, min_size=1, max_size=7), st.integers(4, 10), st.integers(0, 5))
def test_no_plan_has_fewer_requests(places: list[Place], limit: int, gap: int) -> None:
    assert len(make_blocks(signals(*places), limit, gap)) == fewest(places, limit, gap)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 4)), min_size=1, max_size=120),
    st.integers(1, 125),
    st.integers(0, 125),
)
def test_every_plan_keeps_the_limits(places: list[Place], limit: int, gap: int) -> None:
    named = signals(*places)
    blocks = make_blocks(named, limit, gap)
    assert sorted(name for block in blocks for name in block.names) == sorted(name for name, _ in named)
    for block in blocks:
        assert block.count <= limit or len(block.signals) == 1 or block.count == max(s.size for s in block.signals)
        for signal in block.signals:
            assert block.address <= signal.address
            assert signal.address + signal.size <= block.address + block.count


def test_a_plan_of_ten_thousand_signals_takes_no_time() -> None:
    assert len(make_blocks(signals(*((6 * i, 1) for i in range(10_000))), 125, 0)) == 10_000
    assert len(make_blocks(signals(*((i, 1) for i in range(10_000))), 125, 0)) == 80


# --- a refused block -------------------------------------------------------------------------------------------------


def test_a_refused_block_is_split_at_its_widest_gap() -> None:
    [block] = make_blocks(signals((0, 1), (1, 1), (2, 1), (9, 1), (12, 1)), 125, 16)
    assert spans(split(block)) == [(0, 3), (9, 4)]


def test_without_a_gap_it_is_split_in_the_middle() -> None:
    [block] = make_blocks(signals(*((i, 1) for i in range(6))), 125, 16)
    assert spans(split(block)) == [(0, 3), (3, 3)]


@settings(deadline=None)
@given(st.lists(place, min_size=2, max_size=12))
def test_a_split_keeps_all_signals_in_their_order(places: list[Place]) -> None:
    for block in make_blocks(signals(*places), 125, 24):
        if len(block.signals) > 1:
            left, right = split(block)
            assert left.names + right.names == block.names
            assert left.count <= block.count
            assert right.count <= block.count


# --- machines --------------------------------------------------------------------------------------------------------


def machine(**keys: Any) -> ModbusMachine:
    return ModbusMachine.model_validate({"connection": "c", **keys})


def connection(**quirks: Any) -> ModbusTcp:
    return ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "10.0.0.1", "quirks": quirks})


def test_tables_and_rates_are_read_apart() -> None:
    device = machine(
        signals={
            "slow": {"holding": 0, "type": "uint16", "poll": "60s"},
            "a": {"holding": 1, "type": "uint16"},
            "b": {"input": 1, "type": "uint16"},
            "c": {"coil": 1},
            "d": {"discrete": 1},
        }
    )
    fast, slow = polls(device, Limits.of(connection(), device))
    assert (fast.period, [str(block) for block in fast.blocks]) == (1, ["coil 1", "discrete 1", "input 1", "holding 1"])
    assert (slow.period, [str(block) for block in slow.blocks]) == (60, ["holding 0"])


def test_gaps_among_bits_are_as_many_bytes_as_among_registers() -> None:
    device = machine(signals={"a": {"coil": 0}, "b": {"coil": 257}, "c": {"coil": 515}})
    [poll] = polls(device, Limits.of(connection(), device))
    assert spans(poll.blocks) == [(0, 258), (515, 1)]


def test_quirks_of_the_machine_come_before_those_of_the_connection() -> None:
    link = connection(max_registers=20, max_gap=3, pause_between_requests="5ms")
    limits = Limits.of(link, machine(quirks={"max_registers": 10, "max_bits": 16}))
    assert limits == Limits(max_registers=10, max_bits=16, max_gap=3, pause=0.005)
    assert Limits.of(connection(), machine()) == Limits(125, 2000, 16, 0.0)
    assert Limits.of(link, machine(quirks={"max_gap": 0, "pause_between_requests": "0s"})).max_gap == 0


def test_planned_requests_are_for_people() -> None:
    device = machine(signals={"a": {"holding": 0, "type": "float32"}, "b": {"holding": 4, "bit": 1}, "c": {"coil": 8}})
    context = Context(
        "c", connection(), {MachinePath("m"): device}, SimpleNamespace(), FlowCounters(), Path(), "edge"  # type: ignore[arg-type]
    )  # fmt: skip
    rows = forecast(context).requests
    assert [(r.machine, r.what, r.signals, r.size, r.unused, r.bytes) for r in rows] == [
        ("m", "coil 8", 1, 1, 0, 22),
        ("m", "holding 0–4", 2, 5, 2, 31),
    ]
