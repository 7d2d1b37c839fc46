"""Columns, identities and down-sampling: pure."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.columns import (
    pack,
    pack_quality,
    pack_times,
    unpack,
    unpack_quality,
    unpack_times,
)
from gateway.store.contract import Columns
from gateway.store.downsample import down_sample
from gateway.store.identities import MAX_STRETCHES, Identities

floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(
    st.lists(floats),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.lists(st.integers(-(2**63), 2**64 - 1)),
    st.lists(st.booleans()),
    st.lists(st.text()),
    st.lists(st.one_of(st.none(), floats, st.booleans(), st.text(), st.integers(0, 100))),
)


@given(values)
def test_a_column_comes_back_with_its_types(column: list[Any]) -> None:
    back = unpack(pack(column))
    assert back == column
    assert [type(v) for v in back] == [type(v) for v in column]


@pytest.mark.parametrize(
    ("column", "form"),
    [
        ([230.41, 5.0, 230.43], b"j"),
        ([230.39999389648438, 229.6999969482422, 1.0], b"f"),  # float32 from two registers
        ([math.pi, math.e, math.sqrt(2)], b"d"),
        ([1e300, math.pi * 1e299, math.e * 1e298], b"d"),  # beyond float32
        ([2**64 - 1, 2**63, 2**53 + 1], b"j"),
    ],
)
def test_each_kind_of_column_has_its_form(column: list[Any], form: bytes) -> None:
    assert pack(column)[:1] == form
    assert unpack(pack(column)) == column


@given(st.lists(st.integers(1, 2**62), min_size=1, unique=True))
def test_times_come_back(times: list[int]) -> None:
    assert unpack_times(pack_times(sorted(times))) == sorted(times)


@given(st.lists(st.sampled_from([0, 0, 0, 0x80310000, 0x8FF0ABCD, 0x40940000])))
def test_quality_comes_back(quality: list[int]) -> None:
    assert unpack_quality(pack_quality(quality), len(quality)) == quality


def test_good_quality_takes_no_room() -> None:
    assert pack_quality([0] * 600) is None


@given(st.lists(st.integers(1, 60)))
def test_identities_are_a_set(seqs: list[int]) -> None:
    identities, plain = Identities(), set[int]()
    for seq in seqs:
        assert identities.add(seq) == (seq not in plain)
        plain.add(seq)
    assert {n for a, b in identities.ranges() for n in range(a, b + 1)} == plain
    assert all(seq in identities for seq in plain)
    assert not any(seq in identities for seq in range(1, 62) if seq not in plain)
    assert all(b + 1 < c for (_, b), (c, _) in zip(identities.ranges(), identities.ranges()[1:], strict=False))


def test_identities_forget_the_oldest_stretches_rather_than_grow() -> None:
    identities = Identities()
    for seq in range(2, 4 * MAX_STRETCHES, 2):
        identities.add(seq)
    assert len(identities.ranges()) == MAX_STRETCHES
    assert 4 * MAX_STRETCHES - 2 in identities
    assert 2 not in identities


numbers = st.lists(st.one_of(st.none(), st.integers(-100, 100), st.floats(-100, 100)), min_size=1, max_size=200)


@given(numbers, st.integers(1, 60), st.integers(1, 50))
def test_down_sampling_keeps_peaks_and_outages_and_invents_nothing(column: list[Any], points: int, size: int) -> None:
    times = list(range(1000, 1000 + 7 * len(column), 7))
    quality = [0x80000000 if v is None else 0 for v in column]
    parts = [
        Columns(times[i : i + size], column[i : i + size], quality[i : i + size]) for i in range(0, len(column), size)
    ]
    few = down_sample(parts, 1000, times[-1], points)
    stored = set(zip(times, column, quality, strict=True))
    assert len(few) <= points
    assert few.time == sorted(set(few.time))
    assert set(zip(few.time, few.value, few.quality, strict=True)) <= stored
    if len(column) <= points:
        assert few.time == times
    if points >= 4:
        good = [v for v in column if v is not None]
        if good:
            assert max(good) in few.value
            assert min(good) in few.value
        assert (None in few.value) == (None in column)


def test_of_states_the_changes_are_kept() -> None:
    states = ["auto"] * 500 + ["setup"] + ["auto"] * 499
    few = down_sample([Columns(list(range(1000)), states, [0] * 1000)], 0, 999, 10)
    assert list(zip(few.time, few.value, strict=True)) == [(0, "auto"), (500, "setup"), (501, "auto")]
    flutter = Columns(list(range(1000)), [bool(i % 2) for i in range(1000)], [0] * 1000)
    assert len(down_sample([flutter], 0, 999, 10)) == 10
