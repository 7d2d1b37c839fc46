"""Stretches of time, against a set of seconds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.production.stretches import Stretches

ENDS = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), ENDS), max_size=20), ENDS)
def test_they_are_what_a_set_of_instants_would_be(steps, window):
    stretches, instants = Stretches(), set[int]()
    for added, (begin, end) in steps:
        (stretches.add if added else stretches.remove)(begin, end)
        instants = instants | {*range(begin, end)} if added else instants - {*range(begin, end)}
    assert {t for begin, end in stretches for t in range(begin, end)} == instants
    assert all(begin < end for begin, end in stretches)
    assert all(before[1] < after[0] for before, after in pairwise(stretches))
    begin, end = window
    assert stretches.length(begin, end) == len(instants & {*range(begin, end)})
    assert {t for a, b in stretches.within(begin, end) for t in range(a, b)} == instants & {*range(begin, end)}
    assert stretches.whole(begin, end) == [(a, b) for a, b in stretches if a <= end and b >= begin]
    again = Stretches()
    again.load(stretches.dump())
    assert list(again) == list(stretches)


@pytest.mark.parametrize("edges", [[1], [1, 0], [5, -1], ["x", 2], [1, 2, 0, 3], [2**70, 1]])
def test_what_is_no_dump(edges):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Stretches().load(edges)
