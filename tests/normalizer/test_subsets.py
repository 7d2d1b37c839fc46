"""A subscription brings any signals in any order. A plan that remembers what came before says the same as one that does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SignalSettings
from gateway.model import GOOD, NO_COMMUNICATION, OUT_OF_RANGE, Batch, Header, MachinePath, Signal
from gateway.normalizer import Plan
from gateway.normalizer import plan as module

T = 1_763_789_123_123_456_000
SIGNALS: dict[str, tuple[Any, dict[str, object]]] = {
    "plain": ("float", {}),
    "counted": ("int", {}),
    "scaled": ("int", {"scale": 0.1, "offset": 1}),
    "ranged": ("float", {"range": [-1, 1]}),
    "named": ("int", {"enum": {0: "off", 1: "on"}}),
    "power": ("int", {}),
    "by_power": ("int", {"scale_from": "power"}),
    "changing": ("float", {"report": "change", "deadband": 0.5, "heartbeat": "5s"}),
    "text": ("string", {"report": "change"}),
}
NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.sampled_from([0.0, 0.25, 1.0, 3.0, float("nan")]),
    "int": st.integers(-2, 2),
    "string": st.sampled_from(["a", "b"]),
}
KINDS = [kind for kind, _ in SIGNALS.values()]
Reading = tuple[int, Any, int]


@st.composite
def readings(draw: st.DrawFn) -> list[Reading]:
    found = []
    for i in draw(st.lists(st.integers(0, len(SIGNALS) - 1), min_size=1, max_size=4)):
        quality = draw(st.sampled_from([GOOD, GOOD, GOOD, OUT_OF_RANGE, NO_COMMUNICATION]))
        found.append((i, None if quality == NO_COMMUNICATION else draw(NUMBERS[KINDS[i]]), quality))
    return found


def plan_of() -> tuple[Plan, Header]:
    raw = Header(MachinePath("m"), tuple(Signal(name, kind) for name, (kind, _) in SIGNALS.items()))
    return Plan(raw, {name: SignalSettings.model_validate(settings) for name, (_, settings) in SIGNALS.items()}), raw


def said(batches: list[list[Reading]], again: list[int]) -> list[Any]:
    """What a plan says of these batches, each of which comes again."""
    plan, raw = plan_of()
    heard = []
    for now, which in enumerate([*range(len(batches)), *again]):
        signals, values, qualities = zip(*batches[which % len(batches)], strict=True)
        quality = list(qualities) if any(qualities) else None
        sent = plan.apply(Batch(raw, list(signals), [T + now] * len(signals), list(values), quality), float(now), T)
        columns = (sent.signal, sent.time, sent.value, sent.quality or [GOOD] * len(sent)) if sent else ()
        heard.append([list(map(str, column)) for column in columns])
    return heard


@given(st.lists(readings(), min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=12))
def test_what_came_before_changes_nothing(batches: list[list[Reading]], again: list[int]) -> None:
    found = said(batches, again)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "_remember", lambda *_: None)
        assert found == said(batches, again)


def test_a_list_that_comes_again_is_remembered_and_others_take_its_place() -> None:
    plan, raw = plan_of()
    for first in range(200):  # of 3 signals each: more lists than are kept
        for _ in range(3):
            batch = Batch(raw, [first % 9, 1 + first % 7, first % 5], [T] * 3, [1, 1, 1], None)
            plan.apply(batch, 1.0, T)
    assert 0 < plan._listed <= module._MAX_LISTS * len(SIGNALS)
    assert plan._listed == sum(map(len, plan._lists))


def test_bad_and_good_again_in_one_batch_is_said_each_time() -> None:
    plan, raw = plan_of()
    for now in range(4):
        sent = plan.apply(Batch(raw, [0, 0], [T, T + 1], [None, 1.5], [NO_COMMUNICATION, GOOD]), float(now), T)
        assert sent is not None
        assert list(sent.value) == [None, 1.5]
