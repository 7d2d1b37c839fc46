"""No fewer requests are possible: plans against all other ways to group the signals, with obstacles and overlaps."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.learnt import Learnt
from adapters.modbus.plan import Block, Limits, Obstacle, make_blocks, polls, split
from modbus.grouping import Place, allowed, fewest, signals


def planned(places: list[Place], limit: int, gap: int, obstacles: list[Obstacle]) -> list[Block]:
    return make_blocks(signals(*places), limit, gap, obstacles)


place = st.tuples(st.integers(0, 20), st.integers(1, 4))
obstacle = st.builds(lambda at, size: (at, at + size - 1), st.integers(0, 22), st.integers(1, 4))


@settings(max_examples=250, deadline=None)
@given(
    st.lists(place, min_size=1, max_size=6), st.integers(4, 10), st.integers(0, 5), st.lists(obstacle, max_size=3)
)  # fmt: skip
@example([(10, 4), (11, 1)], 10, 0, [(10, 13)])  # the value that is refused lies over one that is there
@example([(10, 2), (10, 1)], 10, 0, [(10, 11)])
@example([(0, 1), (2, 1), (4, 1)], 10, 5, [(1, 1)])
def test_no_plan_has_fewer_requests(places: list[Place], limit: int, gap: int, obstacles: list[Obstacle]) -> None:
    blocks = planned(places, limit, gap, obstacles)
    parts = [[places[int(name[1:])] for name in block.names] for block in blocks]
    assert sorted(each for part in parts for each in part) == sorted(places)
    for part, block in zip(parts, blocks, strict=True):
        assert allowed(part, limit, gap, obstacles)
        assert (block.address, block.count) == (
            min(at for at, _ in part),
            max(at + size for at, size in part) - min(at for at, _ in part),
        )
    assert len(blocks) == fewest(places, limit, gap, obstacles)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=1, max_size=20),
    st.integers(1, 3),
)
def test_a_value_larger_than_the_limit_is_read_whole(places: list[Place], limit: int) -> None:
    for block in planned(places, limit, 16, []):
        assert block.count <= max(limit, *(each.size for each in block.signals))


# --- whole machines ---------------------------------------------------------------------------------------------------


def machine(signals: dict[str, Any], **quirks: Any) -> ModbusMachine:
    return ModbusMachine.model_validate({"connection": "c", "signals": signals, "quirks": quirks})


def asked(device: ModbusMachine, learnt: Learnt | None = None) -> list[tuple[str, int, int]]:
    link = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "10.0.0.1"})
    limits = Limits.of(link, device, learnt)
    return [(b.table, b.address, b.count) for poll in polls(device, limits) for b in poll.blocks]


TABLE_TYPES = {"coil": {}, "discrete": {}, "input": {"type": "uint16"}, "holding": {"type": "uint32"}}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(TABLE_TYPES)), st.integers(0, 400)), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(sorted(TABLE_TYPES)), st.integers(0, 400), st.integers(0, 30)), max_size=6),
    st.integers(1, 200),
)
def test_nothing_forbidden_is_ever_asked_for(
    places: list[tuple[str, int]], ranges: list[tuple[str, int, int]], max_bits: int
) -> None:
    never = {(table, at) for table, first, more in ranges for at in range(first, first + more + 1)}
    signals = {
        f"{table}{at}": {table: at, **TABLE_TYPES[table]}
        for table, at in places
        if (table, at) not in never and (table, at + (table == "holding")) not in never
    }
    device = machine(signals, forbidden=[f"{t}:{first}-{first + more}" for t, first, more in ranges], max_bits=max_bits)
    requests = asked(device)
    for table, first, count in requests:
        assert not any((table, at) in never for at in range(first, first + count))
        assert table not in ("coil", "discrete") or count <= max_bits
    needed = {(s.table, a) for s in device.signals.values() for a in range(s.address, s.address + s.size)}
    assert needed <= {(table, a) for table, first, count in requests for a in range(first, first + count)}
    for s in device.signals.values():  # a value is never split
        assert any(t == s.table and f <= s.address and s.address + s.size <= f + n for t, f, n in requests)


def test_what_was_learnt_is_an_obstacle() -> None:
    device = machine({f"s{i}": {"holding": i, "type": "uint16"} for i in (0, 1, 2, 3, 6, 7, 8)})
    assert asked(device) == [("holding", 0, 9)]
    assert asked(device, Learnt(1, refused={("holding", 2, 1): 2})) == [
        ("holding", 0, 2), ("holding", 2, 1), ("holding", 3, 6)
    ]  # fmt: skip
    assert asked(device, Learnt(1, holes={("holding", 4, 2)})) == [("holding", 0, 4), ("holding", 6, 3)]
    assert asked(device, Learnt(1, refused={("input", 2, 1): 2})) == [("holding", 0, 9)]
    assert asked(device, Learnt(1, max_registers=4)) == [("holding", 0, 4), ("holding", 6, 3)]
    assert asked(device, Learnt(1, max_bits=4)) == [("holding", 0, 9)]


def test_bits_have_a_limit_of_their_own() -> None:
    device = machine({f"s{i}": {"coil": i} for i in range(40)}, max_bits=16, max_registers=3)
    assert asked(device) == [("coil", 0, 16), ("coil", 16, 16), ("coil", 32, 8)]
    assert asked(device, Learnt(1, max_bits=10)) == [("coil", at, 10) for at in range(0, 40, 10)]


@settings(max_examples=200, deadline=None)
@given(st.lists(place, min_size=2, max_size=9))
def test_the_halves_of_a_refused_block_stay_within_it(places: list[Place]) -> None:
    for block in planned(places, 125, 24, []):
        if len(block.signals) > 1:
            for half in split(block):
                assert block.address <= half.address
                assert half.address + half.count <= block.address + block.count
                assert len(half.signals) < len(block.signals)


def test_a_plan_around_many_obstacles_takes_no_time() -> None:
    device = machine(
        {f"s{i}": {"holding": 2 * i, "type": "uint16"} for i in range(500)}, forbidden=["holding:1000-65535"], max_gap=0
    )
    start = time.perf_counter()
    assert len(asked(device)) == 500
    assert time.perf_counter() - start < 0.5
