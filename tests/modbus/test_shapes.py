"""A line on which nothing but its shape tells an answer: late, lost and twice, played against devices in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters.modbus.frames import Shape
from adapters.modbus.shapes import LATEST, Shapes

A, B, OTHER = Shape(1, 3, 2), Shape(1, 3, 4), Shape(2, 3, 2)
COILS = Shape(1, 1, 1)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_shape_is_free_until_its_answer_is_missing() -> None:
    line = Shapes(1.0)
    assert line.free(A, 0)
    line.missed(A, 1.0)
    assert not line.free(A, 1.0)
    assert line.free(B, 1.0)
    assert line.free(OTHER, 1.0)
    assert line.free_at(1) == 1.0 + LATEST
    assert not line.free(A, 20.9)
    assert line.free(A, 21.0)


def test_the_next_answer_of_the_unit_settles_what_was_missing() -> None:
    line = Shapes(1.0)
    line.missed(A, 1.0)
    line.missed(COILS, 1.5)
    line.answered(OTHER, 2.0)  # of another unit
    assert not line.free(A, 2.0)
    line.answered(B, 3.0)
    assert line.free(A, 3.0)
    assert line.free(COILS, 3.0)
    assert line.free_at(1) == 0.0


def test_a_refusal_is_in_doubt_while_one_of_the_same_function_is_missing() -> None:
    line = Shapes(1.0)
    assert not line.in_doubt(A)
    line.missed(COILS, 0.0)
    assert not line.in_doubt(A)
    line.missed(B, 0.0)
    assert line.in_doubt(A)
    assert not line.in_doubt(OTHER)
    line.settled(1)
    assert not line.in_doubt(A)


def test_what_a_frame_is_that_nobody_waits_for() -> None:
    line = Shapes(1.0)
    assert line.kind(A) is None
    line.missed(A, 0.0)
    assert line.kind(A) == "late answer"
    assert line.kind(B) is None
    line.answered(A, 1.0)
    assert line.kind(A) == "duplicate"
    line.answered(B, 1.0)
    assert line.kind(A) is None
    assert line.kind(B) == "duplicate"
    assert line.kind(OTHER) is None


def test_how_long_ago_the_same_was_answered() -> None:
    line = Shapes(1.0)
    assert line.since(A, 5.0) == float("inf")
    line.answered(A, 1.0)
    assert line.since(A, 1.5) == pytest.approx(0.5)
    line.answered(OTHER, 1.2)
    assert line.since(A, 1.5) == pytest.approx(0.5)
    line.answered(B, 1.4)
    assert line.since(A, 1.5) == float("inf")


# --- a model ----------------------------------------------------------------------------------------------------------

shapes = st.builds(Shape, st.sampled_from([1, 2]), st.sampled_from([3, 4]), st.sampled_from([2, 4]))


class ModelOfShapes(RuleBasedStateMachine):
    """Everything that ever happened, and what follows from it by the words of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.line = Shapes(1.0)
        self.events: list[tuple[str, Shape, float]] = []

    @rule(by=st.floats(0, 12))
    def time_passes(self, by: float) -> None:
        self.now += by

    @rule(shape=shapes)
    def missed(self, shape: Shape) -> None:
        self.line.missed(shape, self.now)
        self.events.append(("missed", shape, self.now))

    @rule(shape=shapes)
    def answered(self, shape: Shape) -> None:
        self.line.answered(shape, self.now)
        self.events.append(("answered", shape, self.now))

    def missing(self, unit: int) -> dict[Shape, float]:
        found: dict[Shape, float] = {}
        for what, shape, at in self.events:
            if shape.unit == unit:
                found = {**found, shape: at} if what == "missed" else {}
        return found

    @invariant()
    def agrees(self) -> None:
        for unit in (1, 2):
            missing = self.missing(unit)
            for function in (3, 4):
                for size in (2, 4):
                    shape = Shape(unit, function, size)
                    at = missing.get(shape)
                    assert self.line.free(shape, self.now) == (at is None or self.now >= at + LATEST)
                    assert self.line.in_doubt(shape) == any(each.function == function for each in missing)
                    if shape in missing:
                        assert self.line.kind(shape) == "late answer"
            assert self.line.free_at(unit) == min((at + LATEST for at in missing.values()), default=0.0)


TestModel = ModelOfShapes.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


# --- devices ----------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """Units that answer in the order they are asked, each answer early, late or never; and a client by the rules."""

    shapes: Shapes = field(default_factory=lambda: Shapes(1.0))
    now: float = 0.0
    coming: list[tuple[float, int, Shape, bool, int]] = field(
        default_factory=list
    )  # when, …, refused, of which question
    busy: dict[int, float] = field(default_factory=dict)
    asked: int = 0

    def ask(self, shape: Shape, delay: float | None, refused: bool) -> tuple[bool, int] | None:
        """Whether it was refused and of which question the answer is; None for trouble. What client._ask does."""
        self.asked += 1
        number, begin = self.asked, self.now
        if delay is not None:
            at = max(begin + delay, self.busy.get(shape.unit, 0.0))
            if at < begin + LATEST:  # what comes later than that, never comes
                self.coming.append((at, number, shape, refused, number))
                self.busy[shape.unit] = at
        self.coming.sort()
        while self.coming and self.coming[0][0] < begin:
            self.coming.pop(0)  # between two questions: dropped
        while self.coming and self.coming[0][0] <= begin + 1.0:
            at, _, found, was_refused, of = self.coming.pop(0)
            self.now = max(self.now, at)
            if (found.unit, found.function) == (shape.unit, shape.function) and was_refused:
                if self.shapes.in_doubt(shape):
                    self.shapes.settled(shape.unit)
                    break
                self.shapes.answered(shape, self.now)
                return True, of
            if found == shape and not was_refused:
                self.shapes.answered(shape, self.now)
                return False, of
            if was_refused or self.shapes.kind(found) is None:
                break
        else:
            self.now = begin + 1.0
        self.shapes.missed(shape, self.now)
        return None


questions = st.tuples(
    shapes,
    st.none() | st.sampled_from([0.0, 0.01, 0.5, 0.99]) | st.floats(0, 25),  # timeouts until its answer
    st.booleans(),  # refused
    st.floats(0, 5),  # pause after it
)


@settings(max_examples=500, deadline=None)
@given(st.lists(questions, max_size=40))
def test_no_answer_is_taken_for_that_of_another_question(script: list[tuple[Shape, float | None, bool, float]]) -> None:
    line = Line()
    for shape, delay, refused, pause in script:
        if line.shapes.free(shape, line.now):
            answer = line.ask(shape, delay, refused)
            assert answer is None or answer == (refused, line.asked)
        line.now += pause


@settings(max_examples=200, deadline=None)
@given(st.lists(questions, max_size=10))
def test_a_line_that_is_well_again_is_soon_read_again(script: list[tuple[Shape, float | None, bool, float]]) -> None:
    line = Line()
    for shape, delay, refused, pause in script:
        if line.shapes.free(shape, line.now):
            line.ask(shape, delay, refused)
        line.now += pause
    line.now += LATEST + 1  # whatever was late has come
    for shape in (A, B, OTHER):
        assert line.shapes.free(shape, line.now)
        assert line.ask(shape, 0.01, False) == (False, line.asked)
