"""A link was lost, and later a server tells what its counters had counted meanwhile. The counts are worked out by hand."""

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SignalSettings
from gateway.model import (
    COUNTER_AMBIGUOUS,
    COUNTER_RESET,
    COUNTER_UNSETTLED,
    GOOD,
    INVALID_DATA,
    NOT_CONNECTED,
    Batch,
    Header,
    MachinePath,
    Signal,
)
from gateway.normalizer import Plan

T = 1_763_789_123_000_000_000
SECOND = 10**9
UINT16 = 2**16


class Machine:
    """One signal, a counter of 16 bits."""

    def __init__(
        self, wraps_at: float | None = UINT16, saved: Mapping[str, object] | None = None, **more: object
    ) -> None:
        self.raw = Header(MachinePath("m"), (Signal("x", "int", wraps_at=wraps_at),))
        self.plan = Plan(self.raw, {"x": SignalSettings.model_validate({"kind": "counter", **more})})
        if saved:
            assert self.plan.load(json.loads(json.dumps(saved))) == []

    def read(self, second: float, value: int) -> tuple[object, int]:
        time = T + round(second * SECOND)
        self.plan.apply(Batch(self.raw, self.raw.order, (time,), (value,), None), float(second), time)
        sent = self.plan.seen
        return sent.value[0], sent.quality[0] if sent.quality else GOOD

    def lose(self, second: float) -> None:
        self.plan.lost(NOT_CONNECTED, float(second), T + round(second * SECOND))

    def told(self, *readings: tuple[float, int]) -> list[tuple[object, int]]:
        time, values = [T + round(s * SECOND) for s, _ in readings], [value for _, value in readings]
        past = self.plan.past(Batch(self.raw, [0] * len(readings), time, values, None, historical=True))
        assert past.historical
        return list(zip(past.value, past.quality or [GOOD] * len(readings), strict=True))


def good(*totals: int) -> list[tuple[object, int]]:
    return [(total, GOOD) for total in totals]


def test_a_count_that_went_round_meanwhile():
    """From 65520 on: 10 to 65530, then 6 to the end and 4, then 60, then 400."""
    machine = Machine(max_rate=20)
    assert [machine.read(t, raw) for t, raw in enumerate([65_500, 65_510, 65_520])] == good(65_500, 65_510, 65_520)
    machine.lose(3)
    assert machine.read(100, 964) == (66_500, GOOD)
    assert machine.told((3, 65_530), (4, 4), (10, 64), (50, 464)) == good(65_530, 65_540, 65_600, 66_000)
    assert machine.read(101, 974) == (66_510, GOOD)


def test_a_page_that_comes_before_live_readings_is_where_they_go_on():
    machine = Machine(max_rate=20)
    machine.read(0, 65_520)
    machine.lose(1)
    assert machine.told((3, 65_530), (4, 4), (10, 64)) == good(65_530, 65_540, 65_600)
    assert machine.told((50, 464)) == good(66_000)
    assert machine.read(100, 964) == (66_500, GOOD)


def test_a_reset_meanwhile_that_is_told_first_is_counted_whole():
    """60 up to the reset and 59 after it: live readings alone would know of 60 + 1."""
    machine = Machine()
    for t in range(30):
        machine.read(10 * t, 1000 + t)
    machine.lose(300)
    assert machine.told((310, 1031), (890, 1089), (900, 0), (910, 1), (1490, 59)) == [
        (1031, GOOD), (1089, GOOD), (1089, COUNTER_UNSETTLED), (1090, COUNTER_RESET), (1148, GOOD)
    ]  # fmt: skip
    assert machine.read(1500, 60) == (1149, GOOD)
    assert machine.read(1510, 61) == (1150, GOOD)


def test_a_reset_meanwhile_that_is_told_afterwards_ends_where_live_readings_began():
    """Live: 1029, then 60, taken as 60 since a reset: 1089. What was counted before the reset is told too late."""
    machine = Machine()
    for t in range(30):
        machine.read(10 * t, 1000 + t)
    machine.lose(300)
    assert machine.read(1500, 60) == (1029, COUNTER_UNSETTLED)
    assert machine.read(1510, 61) == (1090, COUNTER_RESET)
    assert machine.told((310, 1031), (890, 1089), (900, 0), (910, 1), (1490, 59)) == [
        (1031, GOOD), (1089, GOOD), (1089, COUNTER_UNSETTLED), (1090, COUNTER_RESET), (1090, COUNTER_AMBIGUOUS)
    ]  # fmt: skip
    assert machine.read(1520, 62) == (1091, GOOD), "a total that left is not taken back, nor raised"


def test_a_page_that_comes_again_is_the_same():
    machine = Machine(max_rate=20)
    machine.read(0, 65_520)
    machine.lose(1)
    machine.read(100, 964)
    for _ in range(2):
        assert machine.told((3, 65_530), (4, 4)) == good(65_530, 65_540)
        assert machine.told((10, 64), (50, 464)) == good(65_600, 66_000)


def test_each_of_several_gaps_has_its_own_count():
    machine = Machine(max_rate=20)
    machine.read(0, 65_520)
    machine.lose(1)
    machine.read(10, 84)  # 65,620
    machine.read(11, 94)
    machine.lose(12)
    machine.lose(13)  # said again: nothing was read meanwhile
    machine.read(20, 184)
    assert machine.told((15, 134)) == good(65_670)
    assert machine.told((5, 34)) == good(65_570)


def test_what_was_live_is_told_as_it_was():
    machine = Machine()
    for t, raw in enumerate([410, 412, 413]):
        machine.read(t, raw)
    machine.lose(3)
    machine.read(10, 420)
    assert machine.told((1, 412), (2, 413)) == good(412, 413)


def test_a_restart_is_a_gap_too():
    machine = Machine(max_rate=20)
    machine.read(0, 65_510)
    machine.read(1, 65_520)
    again = Machine(max_rate=20, saved=machine.plan.dump())
    again.plan.catch_up("x", 65_525, T + 2 * SECOND)  # the last that left
    assert again.read(100, 964) == (66_500, GOOD)
    assert again.told((3, 65_530), (4, 4), (10, 64)) == good(65_530, 65_540, 65_600)


def test_a_changed_configuration_keeps_what_can_still_be_told():
    machine, other = Machine(max_rate=20), Machine(max_rate=20, precision=1)
    machine.read(0, 65_520)
    machine.lose(1)
    machine.read(100, 964)
    other.plan.take_over(machine.plan)
    assert other.told((3, 65_530), (4, 4)) == good(65_530, 65_540)
    assert other.read(101, 974) == (66_510, GOOD)


def test_what_is_no_count_has_no_value_in_the_past_either():
    machine = Machine(wraps_at=None)
    machine.read(0, 5)
    machine.lose(1)
    assert machine.told((2, -7), (3, 6)) == [(None, INVALID_DATA), (6, GOOD)]


@given(
    before=st.lists(st.integers(0, 40), min_size=2, max_size=8),
    away=st.lists(st.integers(0, 40), min_size=1, max_size=40),
    start=st.integers(0, UINT16 - 1),
    first=st.booleans(),
    page=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_a_count_that_only_goes_round_is_told_as_it_was(
    before: Sequence[int], away: Sequence[int], start: int, first: bool, page: int
):
    """In pages of any size, before live readings or after them: 0 alone may be another beginning."""
    machine, true, told = Machine(max_rate=40), start, []
    assert machine.read(0, true) == (true, GOOD)
    for t, step in enumerate(before, 1):
        true += step + (true + step == UINT16)
        machine.read(t, true % UINT16)
    machine.lose(len(before) + 0.5)
    for t, step in enumerate(away, len(before) + 1):
        true += step + ((true + step) % UINT16 == 0)
        told.append((t, true % UINT16, true))
    last = len(before) + len(away) + 1
    true += 1 + (true + 1 == UINT16)
    if not first:
        assert machine.read(last, true % UINT16) == (true, GOOD)
    pages = [told[i : i + page] for i in range(0, len(told), page)]
    for readings in pages:
        assert machine.told(*((t, raw) for t, raw, _ in readings)) == good(*(total for *_, total in readings))
    assert machine.read(last + 1, (true + 1) % UINT16)[0] in (true, true + 1)
    assert machine.read(last + 2, (true + 2) % UINT16)[0] == true + 2


anything = st.one_of(st.integers(0, 300), st.integers(-UINT16, UINT16), st.just(0))


@pytest.mark.parametrize("max_rate", [None, 20])
@given(
    before=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    live=st.lists(anything, max_size=5),
    page=st.lists(anything, min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_what_is_told_lies_between_and_never_falls(max_rate, before, live, page):
    """Whatever a server says: from the total that left last to the one that live readings began with."""
    more = {"max_rate": max_rate} if max_rate else {}
    machine, left = Machine(**more), []
    for t, raw in enumerate(before):
        left.append(machine.read(t, raw)[0])
    machine.lose(10)
    began = None
    for t, raw in enumerate(live, 1000):
        total, quality = machine.read(t, raw)
        if total is not None and quality != COUNTER_UNSETTLED and began is None:
            began = total
    told = [total for total, _ in machine.told(*enumerate(page, 20)) if total is not None]
    assert told == sorted(told)
    assert all(total >= left[-1] for total in told)
    if began is not None:
        assert all(total <= began for total in told)
    for t, raw in enumerate([301, 302, 303], 1100):
        total, _ = machine.read(t, raw)
        if not live:
            assert total >= told[-1] if told else True
