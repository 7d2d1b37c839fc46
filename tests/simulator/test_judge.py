"""The judge finds what there is to be found, as often as it is there, and nothing where there is nothing.

Each test makes what a store would have by hand from what was served; the controls are the same without the fault.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.model import (
    COUNTER_AMBIGUOUS,
    COUNTER_UNSETTLED,
    NO_COMMUNICATION,
    NODE_UNKNOWN,
    NOT_A_NUMBER,
    NOT_AVAILABLE,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    UNKNOWN_STATE,
    Value,
)
from gateway.runtime.registry import protocols
from simulators.judge.judging import Bounds, judge
from simulators.judge.rules import Rule, rules_of
from simulators.judge.verdict import Declared, SignalVerdict, Verdict
from simulators.ledger import Column

MS, S = 1_000_000, 1_000_000_000
T = 1_763_789_123_000_000_000  # a whole number of microseconds, as all of OPC UA's here
SIGNAL = "press", "x"
OTHER = "press", "pacemaker"  # goes on when the signal under test does not, so that nothing is still on its way
ARRIVAL, SOURCE = Rule(), Rule(stamps="source")
SERVER_BAD = 0x80AB0000  # BadInvalidArgument: no reason of the gateway's own


@dataclass
class Stored:
    time: list[int] = field(default_factory=list)
    value: list[Value] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)

    def put(self, time: int, value: Value, quality: int = 0) -> None:
        """In its place."""
        at = next((i for i, t in enumerate(self.time) if t > time), len(self.time))
        self.time.insert(at, time)
        self.value.insert(at, value)
        self.quality.insert(at, quality)

    def take(self, value: Value) -> int:
        """Away with it; its time."""
        at = self.value.index(value)
        del self.value[at], self.quality[at]
        return self.time.pop(at)


def served(values: Sequence[Value], step: int = S, quality: Sequence[int] | None = None) -> Column:
    times = array("q", [T + i * step for i in range(len(values))])
    return Column(times, list(values), array("I", quality or [0] * len(values)))


def stored(said: Column, rule: Rule = ARRIVAL) -> Stored:
    """All of it: at the server's own time, or half a millisecond after it was served."""
    after = 0 if rule.stamps == "source" else MS // 2
    return Stored([t + after for t in said.time], list(said.value), list(said.quality))


def judged(said: Column, has: Stored, rule: Rule | None = ARRIVAL, losses=(), **bounds: Any) -> SignalVerdict:
    return whole(said, has, rule, losses, **bounds)[0]


def whole(
    said: Column, has: Stored, rule: Rule | None = ARRIVAL, losses=(), **bounds: Any
) -> tuple[SignalVerdict, Verdict]:
    pace = served(list(range(len(said.time) + 60)))
    rules = None if rule is None else {SIGNAL: rule, OTHER: ARRIVAL}
    verdict = judge({SIGNAL: said, OTHER: pace}, {SIGNAL: has, OTHER: stored(pace)}, rules, losses, Bounds(**bounds))
    return next(each for each in verdict.signals if each.signal == "x"), verdict


def faults(verdict: SignalVerdict) -> tuple[int, int, int, int]:
    return verdict.missing, verdict.wrong, verdict.late, verdict.duplicated


# --- k of each, and no other -----------------------------------------------------------------------------------------


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[Rule, list[Value], dict[str, list[int]]]:
    """Numbers that never come back within the reach of the judge, and places for each kind of fault, well apart."""
    rule = draw(st.sampled_from([ARRIVAL, SOURCE]))
    count = draw(st.integers(40, 120))
    steps = draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    kind = draw(st.sampled_from(["int", "float", "text"]))
    total, values = 0, []
    for step in steps:
        total += step
        values.append({"int": total, "float": total / 8, "text": f"part {total}"}[kind])
    places = draw(st.permutations(range(1, count - 4, 4)))
    found, at = {}, 0
    for fault in ("drop", "alter", "duplicate", "delay"):
        k = draw(st.integers(0, len(places) // 4))
        found[fault] = list(places[at : at + k])
        at += k
    return rule, values, found


@settings(max_examples=200, deadline=None)
@given(spoilt())
def test_exactly_what_was_spoilt_is_found(case):
    rule, values, places = case
    said = served(values)
    has = stored(said, rule)
    for i in places["drop"]:
        has.take(values[i])
    for i in places["alter"]:
        time = has.take(values[i])
        has.put(time, values[i] + "?" if isinstance(values[i], str) else -1 - values[i])
    for i in places["duplicate"]:
        has.put(said.time[i] + 700 * MS, values[i])
    for i in places["delay"]:
        has.put(has.take(values[i]) + 1700 * MS, values[i])
    verdict = judged(said, has, rule)
    assert faults(verdict) == tuple(len(places[kind]) for kind in ("drop", "alter", "delay", "duplicate"))
    assert verdict.served == len(values)
    assert verdict.sound == (not (places["drop"] or places["alter"] or places["duplicate"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0, 1]), min_size=20, max_size=60), st.data())
def test_equal_values_do_not_hide_what_is_missing(values, data):
    """A bit that toggles: which of two equal ones is missing cannot be seen, that one is can."""
    said = served(values)
    has = stored(said)
    gone = data.draw(st.sets(st.integers(0, len(values) - 1), max_size=5))
    for i in sorted(gone, reverse=True):
        del has.time[i], has.value[i], has.quality[i]
    assert faults(judged(said, has)) == (len(gone), 0, 0, 0)


@pytest.mark.parametrize("rule", [ARRIVAL, SOURCE, None])
def test_control_nothing_is_found_where_all_is_well(rule):
    said = served([1, 2.5, "a", True, 2**63, 7])
    verdict = judged(said, stored(said, rule or ARRIVAL), rule)
    assert faults(verdict) == (0, 0, 0, 0)
    assert (verdict.served, verdict.stored, verdict.unread, verdict.coming, verdict.own) == (6, 6, 0, 0, 0)


# --- wrong -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "instead"),
    [(5, 6), (5, "5"), (1, True), (2**60, 2**60 + 1), ("auto", "Auto"), (5.0, None), (0.0, 1e-300)],
)
def test_a_value_that_was_not_served_is_wrong(value, instead):
    said = served([value] * 9)
    has = stored(said)
    has.value[4] = instead
    has.quality[4] = SERVER_BAD if instead is None else 0
    verdict = judged(said, has)
    assert faults(verdict) == (0, 1, 0, 0)
    assert verdict.faulty[0].time == has.time[4]
    assert "nothing of the kind was served" in verdict.faulty[0].what


def test_the_last_digit_of_a_float_is_rounding():
    said = served([0.1 + 0.2, 5])
    has = Stored([T + MS, T + S + MS], [0.3, 5.0], [0, 0])
    assert faults(judged(said, has)) == (0, 0, 0, 0)


@pytest.mark.parametrize("rule", [ARRIVAL, SOURCE])
def test_a_stamp_before_it_was_served_is_wrong(rule):
    said = served(list(range(10)))
    has = stored(said, rule)
    has.put(has.take(5) - 30 * MS, 5)
    verdict = judged(said, has, rule)
    assert faults(verdict) == (0, 1, 0, 0)
    assert "before it was served" in verdict.faulty[0].what


def test_two_values_that_changed_places_are_not_as_they_were_served():
    said = served(list(range(10)))
    has = stored(said)
    has.value[3], has.value[4] = has.value[4], has.value[3]
    verdict = judged(said, has)
    assert verdict.wrong
    assert not verdict.sound


def test_a_value_of_long_ago_is_wrong():
    said = served(list(range(40)))
    has = stored(said)
    has.value[30] = 5
    assert faults(judged(said, has)) == (0, 1, 0, 0)


def test_a_doubt_that_nobody_had_and_one_that_was_lost():
    said = served([1, 2, 3, 4], quality=[0, 0x408F0000, 0, 0])  # UncertainInitialValue
    assert judged(said, stored(said)).sound
    has = stored(said)
    has.quality[1], has.quality[2] = 0, 0x408F0000
    verdict = judged(said, has)
    assert faults(verdict) == (0, 2, 0, 0)
    assert "stored as good, and it was uncertain" in verdict.faulty[0].what


# --- late ------------------------------------------------------------------------------------------------------------


def test_the_bound_for_late_readings():
    said = served(list(range(10)))
    has = stored(said)
    has.put(has.take(5) + 800 * MS, 5)
    assert faults(judged(said, has)) == (0, 0, 0, 0)
    assert faults(judged(said, has, late=500 * MS)) == (0, 0, 1, 0)


def test_what_the_machine_needed_to_answer_is_not_lateness():
    said = served(list(range(10)))
    has = stored(said)
    has.put(has.take(5) + 1500 * MS, 5)
    assert faults(judged(said, has)) == (0, 0, 1, 0)
    said.took[5] = 1.5
    assert faults(judged(said, has)) == (0, 0, 0, 0)


# --- what need not be there ------------------------------------------------------------------------------------------


def test_an_answer_after_the_timeout_is_unread():
    said = served(list(range(10)))
    has = stored(said)
    has.take(5)
    said.took[5] = 0.9
    assert faults(judged(said, has, replace(ARRIVAL, timeout=1.0))) == (1, 0, 0, 0)
    said.took[5] = 1.2
    verdict = judged(said, has, replace(ARRIVAL, timeout=1.0))
    assert (*faults(verdict), verdict.unread) == (0, 0, 0, 0, 1)


def test_what_is_newer_than_the_store_is_on_its_way():
    said = served(list(range(10)))
    has = stored(said)
    for value in (6, 7, 8, 9):
        has.take(value)
    verdict = judge({SIGNAL: said}, {SIGNAL: has}, {SIGNAL: ARRIVAL})
    assert (verdict.total("coming"), verdict.total("missing")) == (4, 0)
    assert "4 readings of the last 6 s were on their way" in verdict.sentence()
    assert judge({SIGNAL: said}, {SIGNAL: has}, {SIGNAL: ARRIVAL}, (), Bounds(settled=T + 8 * S)).total("missing") == 3
    assert judged(said, has).missing == 4  # the store has gone on with other signals


def test_a_store_that_has_nothing_is_missing_all():
    assert judge({SIGNAL: served(list(range(10)))}, {}, {SIGNAL: ARRIVAL}).total("missing") == 10


def test_a_declared_loss():
    said = served(list(range(20)))
    has = stored(said)
    for value in (5, 6, 7, 12):
        has.take(value)
    verdict = judged(said, has, losses=[Declared(said.time[5], said.time[6], *SIGNAL)])
    assert (verdict.declared, verdict.missing) == (2, 2)
    for other in (Declared(T, T + 20 * S, "lathe"), Declared(T, T + 20 * S, "press", "y")):
        assert judged(said, has, losses=[other]).missing == 4
    assert judged(said, has, losses=[Declared(T, T + 20 * S)]).declared == 4


def test_an_absence():
    said = served(list(range(20)))
    has = stored(said)
    has.take(5)
    has.take(12)
    verdict = judged(said, has, absences=((T + 4 * S, T + 6 * S),))
    assert (verdict.unread, verdict.missing) == (1, 1)


def test_marks_of_the_gateway_are_no_values():
    said = served(list(range(10)))
    has = stored(said)
    has.put(T + 4 * S + 500 * MS, None, NO_COMMUNICATION)
    verdict = judged(said, has)
    assert (*faults(verdict), verdict.own) == (0, 0, 0, 0, 1)


def test_what_the_store_says_did_not_come_is_not_lost_silently():
    """A mark is stored once, when it begins, and holds until the next reading; timeout and way before it are its own."""
    said = served(list(range(10)))
    has = stored(said)
    for value in (3, 4, 5, 7):
        has.take(value)
    assert judged(said, has).missing == 4
    has.put(said.time[3] + 400 * MS, None, NO_COMMUNICATION)
    verdict = judged(said, has, replace(ARRIVAL, timeout=0.5))
    assert (verdict.marked, verdict.missing, verdict.own) == (3, 1, 1)
    assert judged(said, has, replace(ARRIVAL, timeout=0.3)).missing == 2  # it was noticed later than that
    has.quality[has.value.index(None)] = NOT_AVAILABLE  # that is what a machine says
    assert judged(said, has, replace(ARRIVAL, timeout=0.5)).missing == 4


def test_a_mark_does_not_excuse_a_machine_that_answers_all_the_time():
    """Three polls, three timeouts or five seconds after it a machine that answers in time is heard again."""
    said = served(list(range(1000)))
    has = Stored([T + MS], [0], [0])
    has.put(said.time[1] + 100 * MS, None, NO_COMMUNICATION)
    verdict = judged(said, has)
    assert (verdict.marked, verdict.missing) == (6, 993)  # from 1 to 6; the mark is 1.1 s after the beginning
    assert judged(said, has, replace(ARRIVAL, timeout=10.0)).missing == 999 - 31
    assert judged(said, has, replace(ARRIVAL, poll=5.0)).missing == 999 - 16


def test_a_mark_excuses_what_comes_after_each_pause():
    """Away for an hour, and tried again every half a minute, in vain: what the gateway got then it could not use."""
    said = served(list(range(100)), 30 * S)
    has = Stored([T + MS], [0], [0])
    has.put(T + 31 * S, None, NO_COMMUNICATION)
    pace = served(list(range(3100)))
    verdict = judge({SIGNAL: said, OTHER: pace}, {SIGNAL: has, OTHER: stored(pace)}, {SIGNAL: ARRIVAL, OTHER: ARRIVAL})
    assert (verdict.total("marked"), verdict.total("missing")) == (99, 0)


def test_a_mark_excuses_a_machine_that_answers_too_late_all_the_time():
    said = served(list(range(1000)))
    said.took.update(dict.fromkeys(range(1, 1000), 1.5))
    has = Stored([T + MS], [0], [0])
    has.put(said.time[1] + 100 * MS, None, NO_COMMUNICATION)
    assert judged(said, has, replace(ARRIVAL, timeout=1.0)).unread == 999


def test_a_server_that_has_not_come_back_is_marked_and_one_that_has_must_be_explained():
    said = served(list(range(10)))
    has = stored(said, SOURCE)
    for value in (6, 7, 8, 9):
        has.take(value)
    has.put(said.time[6] + 300 * MS, None, NO_COMMUNICATION)
    assert (judged(said, has, SOURCE).marked, judged(said, has, SOURCE).missing) == (4, 0)
    has.put(said.time[9], 9)
    assert (judged(said, has, SOURCE).marked, judged(said, has, SOURCE).missing) == (0, 3)
    gap = Declared(said.time[6], said.time[8], *SIGNAL)
    assert judged(said, has, SOURCE, [gap]).declared == 3


def test_what_a_subscription_began_with():
    """What was served before the first reading of a subscription was not asked for; one that brought nothing is missing."""
    said = served(list(range(10)))
    has = stored(said, SOURCE)
    for value in (0, 1, 2):
        has.take(value)
    assert (judged(said, has, SOURCE).unread, judged(said, has, SOURCE).missing) == (3, 0)
    assert judged(said, Stored(), SOURCE).missing == 10


def by_machine(has: dict[str, Stored], said: dict[str, Column], rule: Rule = SOURCE) -> dict[str, SignalVerdict]:
    served_ = {("press", name): column for name, column in said.items()}
    verdict = judge(served_, {("press", name): each for name, each in has.items()}, dict.fromkeys(served_, rule))
    return {each.signal: each for each in verdict.signals}


def test_a_machine_that_was_listened_to_excuses_no_signal_of_it():
    """Only the last of a thousand is stored, and one is on its way. The first holds until 1 s; 5 s more are for subscribing."""
    said = served(list(range(1000)))
    late = Stored([said.time[999]], [999], [0])
    found = by_machine({"a": late, "b": stored(said, SOURCE)}, {"a": said, "b": said})
    assert (found["a"].unread, found["a"].missing, found["a"].coming) == (5, 993, 1)
    assert found["b"].sound
    found = by_machine({"a": late}, {"a": said})
    assert (found["a"].unread, found["a"].missing) == (998, 0)  # the gateway may have been started then


def test_a_set_point_of_long_ago_does_not_tell_since_when_a_machine_was_listened_to():
    """It is stored as it was served before anybody asked; the one that changes every second begins when it is asked for."""
    said, set_point = served(list(range(100))), served([7])
    has = stored(said, SOURCE)
    for value in range(60):
        has.take(value)
    found = by_machine({"a": has, "b": stored(set_point, SOURCE)}, {"a": said, "b": set_point})
    assert (found["a"].unread, found["a"].missing) == (60, 0)


def test_a_signal_that_was_not_there_when_its_machine_was_listened_to():
    """The store says so; a mark from before the machine was there says nothing of the kind."""
    said = served(list(range(100)))
    late = Stored([said.time[90]], [90], [0])
    late.put(T + 10 * S, None, NODE_UNKNOWN)
    seen = stored(said, SOURCE)
    for value in range(10):
        seen.take(value)
    found = by_machine({"a": late, "b": seen}, {"a": said, "b": said})
    assert (found["a"].unread, found["a"].missing) == (90, 9 - 2)  # the last two are on their way
    late.quality[0] = NOT_CONNECTED
    found = by_machine({"a": late, "b": seen}, {"a": said, "b": said})
    # The other began before 11 s; 5 s are for subscribing; what was served at 15 s did not hold any more.
    assert (found["a"].unread, found["a"].missing) == (15, 90 - 15 + 9 - 2)


def test_clocks_that_are_set_back_before_anybody_listens():
    """The second signal is stored from when its clock was an hour behind; what was served before is no reading after that."""
    times = [T + i * S for i in range(50)] + [T + i * S - 3600 * S for i in range(50, 100)]
    said = Column(array("q", times), list(range(100)), array("I", [0] * 100))
    has = {name: Stored() for name in "ab"}
    for i in range(60, 100):
        has["b"].put(times[i], i)
        has["a"].put(times[i], i)
    found = by_machine(has, {"a": said, "b": said})
    assert all((each.unread, each.missing) == (60, 0) for each in found.values())


def test_a_machine_of_which_nothing_is_stored_is_missing_where_the_store_has_others():
    said = served(list(range(100)))
    lathe = "lathe", "speed"
    verdict = judge({SIGNAL: said, lathe: said}, {SIGNAL: stored(said, SOURCE)}, {SIGNAL: SOURCE, lathe: SOURCE})
    assert verdict.total("missing") == 100 - 2  # the last two are on their way


def test_a_value_confirmed_after_a_mark_of_the_gateway():
    said = served([1, 2, 3, 4])
    has = stored(said, SOURCE)
    has.put(T + S + 200 * MS, None, NO_COMMUNICATION)
    has.put(T + S + 600 * MS, 2)
    assert (*faults(judged(said, has, SOURCE)), judged(said, has, SOURCE).own) == (0, 0, 0, 0, 2)
    has.take(None)
    assert faults(judged(said, has, SOURCE)) == (0, 0, 0, 1)
    assert faults(judged(said, has, replace(SOURCE, repeats=True))) == (0, 0, 0, 0)


def test_a_server_does_not_report_what_has_not_changed_but_every_event():
    said = served(["a", "a", "b", "b", "c"])
    has = Stored([T, T + 2 * S, T + 4 * S], ["a", "b", "c"], [0] * 3)
    verdict = judged(said, has, SOURCE)
    assert (verdict.missing, verdict.unchanged) == (0, 2)
    assert judged(said, has, replace(SOURCE, every=True)).missing == 2
    assert judged(said, Stored([T, T + 4 * S], ["a", "c"], [0] * 2), SOURCE).missing == 1


POLLED = replace(SOURCE, sampled=True, repeats=True)  # every second


def test_a_polled_server_is_judged_by_what_it_had_when_it_was_looked_at():
    """Between two looks only the last value is seen: 2, 7, and the last one, which holds on."""
    said = served(list(range(10)), 100 * MS)
    has = Stored([T + 200 * MS, T + 700 * MS, T + 900 * MS], [2, 7, 9], [0, 0, 0])
    assert (judged(said, has, POLLED).unread, judged(said, has, POLLED).missing) == (7, 0)
    has.value[1] = 70
    assert judged(said, has, POLLED).wrong == 1
    has.value[1] = 7
    has.take(9)
    # For a minute every look would have found the 9. That nobody saw the 8 cannot be known then.
    assert (judged(said, has, POLLED).unread, judged(said, has, POLLED).missing) == (6, 2)


def test_a_polled_signal_of_which_nothing_is_stored_is_missing():
    said = served(list(range(100)))
    verdict, every = whole(said, Stored(), POLLED)
    assert (verdict.missing, every.sound) == (100, False)


def test_a_polled_signal_that_stops_coming_is_missing():
    """Every look finds something new. One in two is enough, as a look may take its time; twenty without one are not."""
    said = served(list(range(100)))
    has = stored(said, SOURCE)
    for value in (*range(11, 40, 2), *range(60, 80)):
        has.take(value)
    verdict = judged(said, has, POLLED)
    # A reading is stored at 80, 2 s (two polls) and 1 s (the bound for lateness) after 77.
    assert (verdict.unread, verdict.missing) == (15 + 3, 17)


def test_a_polled_server_that_was_away_is_marked():
    """What it had meanwhile is not fetched; before the mark there are a timeout and two polls in which nobody noticed."""
    said = served(list(range(100)))
    has = stored(said, SOURCE)
    for value in range(50, 80):
        has.take(value)
    assert judged(said, has, POLLED).missing == 27
    has.put(said.time[52] + 300 * MS, None, NO_COMMUNICATION)
    assert (judged(said, has, POLLED).missing, judged(said, has, POLLED).marked) == (0, 30)


def test_a_polled_value_that_came_back_between_two_looks_says_nothing_new():
    """1, unseen 2, 1 again: the same as what was sent last."""
    rule = replace(POLLED, report="change")
    said = served([1, 1, 1, 1, 2, 1, 1, 1, 3], 500 * MS)
    has = Stored([T, said.time[8]], [1, 3], [0, 0])
    verdict = judged(said, has, rule)
    assert (verdict.missing, verdict.unread, verdict.unchanged) == (0, 1, 6)
    held = served([1, 2, 1], 10 * S)  # the 2 holds for ten looks
    assert judged(held, Stored([T], [1], [0]), rule).missing == 1


# --- bad readings ----------------------------------------------------------------------------------------------------


def test_a_bad_status_has_to_be_stored_once():
    said = served([1, None, None, None, 5], quality=[0, SERVER_BAD, SERVER_BAD, SERVER_BAD, 0])
    has = Stored([t + MS for t in said.time], list(said.value), list(said.quality))
    del has.time[2:4], has.value[2:4], has.quality[2:4]  # bad is said when it begins
    verdict = judged(said, has)
    assert (*faults(verdict), verdict.unchanged) == (0, 0, 0, 0, 2)
    has.take(None)
    assert faults(judged(said, has)) == (1, 0, 0, 0)
    has.put(said.time[1] + MS, None, 0x80AC0000)
    assert faults(judged(said, has)) == (0, 1, 0, 0)


def test_not_a_number_and_numbers_that_stand_for_none():
    said = served([1.0, None, 3.0, -3276.8, 5.0])
    has = Stored([t + MS for t in said.time], [1.0, None, 3.0, None, 5.0], [0, NOT_A_NUMBER, 0, NOT_AVAILABLE, 0])
    assert faults(judged(said, has, replace(ARRIVAL, invalid=(-3276.8,)))) == (0, 0, 0, 0)
    assert faults(judged(said, has)) == (1, 0, 0, 0)
    has.value[3], has.quality[3] = -3276.8, 0
    assert faults(judged(said, has, replace(ARRIVAL, invalid=(-3276.8,)))) == (0, 1, 0, 0)


# --- by the settings -------------------------------------------------------------------------------------------------


def test_report_change_with_a_deadband():
    rule = replace(ARRIVAL, report="change", deadband=0.5)
    said = served([10.0, 10.3, 10.5, 10.6, 10.7, 12.0, 12.0, 11.0])
    has = Stored([said.time[i] + MS for i in (0, 3, 5, 7)], [10.0, 10.6, 12.0, 11.0], [0] * 4)
    verdict = judged(said, has, rule)
    assert (*faults(verdict), verdict.unchanged) == (0, 0, 0, 0, 4)
    has.take(10.6)
    assert faults(judged(said, has, rule)) == (1, 0, 0, 0)
    assert faults(judged(said, has)) == (5, 0, 0, 0)


def test_report_change_is_silent_no_longer_than_the_heartbeat():
    rule = replace(ARRIVAL, report="change", heartbeat=10.0)
    said = served([1] * 40)
    beats = Stored([said.time[i] + MS for i in (0, 10, 20, 30)], [1] * 4, [0] * 4)
    assert faults(judged(said, beats, rule)) == (0, 0, 0, 0)
    del beats.time[1:3], beats.value[1:3], beats.quality[1:3]
    assert judged(said, beats, rule).missing > 0


def test_a_swinging_door_is_judged_by_the_line():
    rule = replace(ARRIVAL, report="swinging-door", deadband=0.5)
    said = served([0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0])
    corners = Stored([said.time[i] + MS for i in (0, 4, 6)], [0.0, 4.0, 2.0], [0] * 3)
    verdict = judged(said, corners, rule)
    assert (*faults(verdict), verdict.unchanged) == (0, 0, 0, 0, 4)
    corners.take(4.0)
    assert judged(said, corners, rule).missing == 5  # 1, 2, 3, 4 and 3 are not on the line from 0 to 2: 0.33, 0.67, 1 …


def test_texts_of_states():
    rule = replace(ARRIVAL, texts=True, doubts=frozenset({UNKNOWN_STATE}))
    said = served(["off", "auto", 17])
    has = Stored([t + MS for t in said.time], ["off", "auto", "17"], [0, 0, UNKNOWN_STATE])
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    has.value[1] = "off"
    assert judged(said, has, rule).wrong == 1


def test_a_range_is_doubted_outside_only():
    rule = replace(ARRIVAL, range=(0.0, 100.0), doubts=frozenset({OUT_OF_RANGE}))
    said = served([50.0, 150.0, 60.0])
    has = Stored([t + MS for t in said.time], [50.0, 150.0, 60.0], [0, OUT_OF_RANGE, 0])
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    assert judged(said, replace_quality(has, 1, 0), rule).wrong == 1
    assert judged(said, replace_quality(has, 2, OUT_OF_RANGE), rule).wrong == 1


def test_without_a_configuration_any_doubt_of_the_gateway_may_be_right():
    said = served([50.0, 150.0, 60.0])
    has = Stored([t + MS for t in said.time], [50.0, 150.0, 60.0], [0, OUT_OF_RANGE, 0])
    assert (judged(said, has, None).wrong, judged(said, has, ARRIVAL).wrong) == (0, 1)
    assert judged(said, replace_quality(has, 1, 0x408F0000), None).wrong == 1  # that would be a server's


def replace_quality(has: Stored, i: int, quality: int) -> Stored:
    found = Stored(list(has.time), list(has.value), list(has.quality))
    found.quality[i] = quality
    return found


def test_a_clamped_value_is_at_its_end():
    rule = replace(ARRIVAL, ends=(0.0, 250.0), doubts=frozenset({OUT_OF_RANGE}))
    said = served([100.0, 260.5, -3.0])
    has = Stored([t + MS for t in said.time], [100.0, 250.0, 0.0], [0, OUT_OF_RANGE, OUT_OF_RANGE])
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    has.value[1] = 260.5
    assert judged(said, has, rule).wrong == 1


def test_decimals_that_mean_something():
    said = served([1.2345, 2.3456])
    has = Stored([t + MS for t in said.time], [1.23, 2.35], [0, 0])
    assert judged(said, has).wrong == 2
    assert faults(judged(said, has, replace(ARRIVAL, near=0.0050001))) == (0, 0, 0, 0)


COUNTER = Rule(counter=True, wraps_at=1000.0)


@pytest.mark.parametrize(
    ("counts", "totals"),
    [
        ([995, 996, 997, 998, 3, 4, 5, 6], [995, 996, 997, 998, 1003, 1004, 1005, 1006]),  # round at 1000: 5 more
        ([410, 411, 412, 413, 0, 1, 2, 3], [410, 411, 412, 413, 413, 414, 415, 416]),  # reset
        ([410, 411, 412, 413, 861, 862, 863, 864], [410, 411, 412, 413, 413, 414, 415, 416]),  # another meter
        ([410, 411, 412, 413, 0, 415, 416, 417], [410, 411, 412, 413, 413, 415, 416, 417]),  # a glitch
    ],
)
def test_a_count_that_begins_anew(counts, totals):
    said = served(counts)
    has = Stored([t + MS for t in said.time], list(totals), [0] * 8)
    has = replace_quality(has, 4, COUNTER_UNSETTLED)
    rule = replace(COUNTER, doubts=frozenset({COUNTER_UNSETTLED}))
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    assert judged(said, has, rule).anew == len([b for a, b in pairwise(counts) if b != a + 1])
    assert "judged by what it can have added" in judged(said, has, rule).note
    has.value[6] += 1  # counted twice
    assert judged(said, has, rule).wrong == 1
    has.value[6] -= 1
    has.value[4:] = [value + 77 for value in totals[4:]]  # and out of nothing
    assert judged(said, has, rule).wrong >= 3
    del has.time[6], has.value[6], has.quality[6]
    has.value[4:] = [*totals[4:6], *totals[7:]]
    assert judged(said, has, rule).missing == 1


@pytest.mark.parametrize("report", ["all", "change"])
@pytest.mark.parametrize("more", [5, 6, 1000])
def test_a_count_that_leaps_has_counted(more, report):
    """The machine says so and much more from reading 60 on; the store, as good, goes on as if nothing had been."""
    counts = [i + (more if i >= 60 else 0) for i in range(120)]
    said, rule = served(counts), replace(COUNTER, wraps_at=None, report=report)
    assert faults(judged(said, stored(said), rule)) == (0, 0, 0, 0), "the control"
    has = Stored([t + MS for t in said.time], list(range(120)), [0] * 120)
    verdict = judged(said, has, rule)
    assert (verdict.sound, verdict.wrong > 0, verdict.anew) == (False, True, 0)
    # With a doubt it may be another meter, of which nothing was counted: but not half of it.
    has = replace_quality(has, 60, COUNTER_UNSETTLED)
    has.value[60:] = [59, *range(60, 119)]
    rule = replace(rule, doubts=frozenset({COUNTER_UNSETTLED}))
    verdict = judged(said, has, rule)
    assert (verdict.sound, verdict.anew) == (True, 1)
    has.value[60:] = [62, *range(63, 122)]
    assert not judged(said, has, rule).sound


def test_a_leap_within_the_possible_pace_is_none():
    """`max_rate` of 10 a second: 30 more at once is another meter only where the store has a doubt."""
    rule = replace(COUNTER, max_rate=10.0, doubts=frozenset({COUNTER_UNSETTLED}))
    said = served([*range(20), *range(50, 70)])
    has = Stored([t + MS for t in said.time], [*range(20), 19, *range(20, 39)], [0] * 40)
    assert judged(said, has, rule).wrong == 20
    assert faults(judged(said, replace_quality(has, 20, COUNTER_UNSETTLED), rule)) == (0, 0, 0, 0)


def test_a_total_that_waits_for_its_count_says_so():
    """90 too many once, believed as 1090; then it stands, as uncertain, until 1090 is passed."""
    counts = [1000, 1001, 1002, 1003, 1090, *range(1004, 1100)]
    totals = [1000, 1001, 1002, 1003, 1090, *[1090] * 87, *range(1091, 1100)]
    said = served(counts)
    rule = replace(COUNTER, wraps_at=None, doubts=frozenset({COUNTER_AMBIGUOUS}))
    doubts = [COUNTER_AMBIGUOUS if count < total else 0 for count, total in zip(counts, totals, strict=True)]
    has = Stored([t + MS for t in said.time], list(totals), doubts)
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    assert judged(said, has, rule).anew == 1
    assert judged(said, replace_quality(has, 40, 0), rule).wrong == 1, "as good it is none"
    has.value[40] = 1089
    assert judged(said, has, rule).wrong == 1, "a total never falls"


def test_a_type_with_a_sign_goes_round_where_its_bits_end():
    """int16: -32768 goes on from 32767, and 0 from -1."""
    said = served([32765, 32766, 32767, -32768, -32767, -2, -1, 0, 1])
    totals = [32765, 32766, 32767, 32768, 32769, 65534, 65535, 65536, 65537]
    has = Stored([t + MS for t in said.time], list(totals), [0] * 9)
    rule = replace(COUNTER, wraps_at=32768.0)
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    assert faults(judged(said, replace(has, value=[*totals[:3], *[0] * 6]), rule))[1] == 6


def test_a_count_whose_last_reading_went_down_with_the_machine():
    """It had 413 in its queue when it was switched off: the total goes on from 412, and nothing was counted twice."""
    said = served([410, 411, 412, 413, 1, 2, 3, 4])
    rule = replace(COUNTER, doubts=frozenset({COUNTER_UNSETTLED}))
    times = [t + MS for t in said.time]
    del times[3]
    has = replace_quality(Stored(times, [410, 411, 412, 412, 414, 415, 416], [0] * 7), 3, COUNTER_UNSETTLED)
    verdict = judged(said, has, rule)
    assert (verdict.missing, verdict.wrong, verdict.duplicated) == (1, 0, 0)
    has.value[3] = 411  # a total that fell
    assert judged(said, has, rule).wrong == 1


def test_one_part_more_or_less_shows_in_a_wide_counter():
    """uint32, and a count of six digits: reset, and the first part of the new count is counted."""
    said = served([182549, 182550, 1, 1, 2, 3, 4])
    rule = replace(COUNTER, wraps_at=2.0**32, doubts=frozenset({COUNTER_UNSETTLED}))
    totals = [182549, 182550, 182550, 182551, 182552, 182553, 182554]
    has = replace_quality(Stored([t + MS for t in said.time], totals, [0] * 7), 2, COUNTER_UNSETTLED)
    assert faults(judged(said, has, rule)) == (0, 0, 0, 0)
    has.value[5] += 1
    assert judged(said, has, rule).wrong == 1


def test_a_total_goes_on_from_before_and_that_is_said():
    said = served([5, 6, 7, 8, 9])
    has = Stored([t + MS for t in said.time], [105, 106, 107, 108, 109], [0] * 5)
    verdict = judged(said, has, COUNTER)
    assert faults(verdict) == (0, 0, 0, 0)
    assert verdict.note == "totals are 100 above the count"
    has.value[3] = 107  # counted late
    assert judged(said, has, COUNTER).wrong == 1
    assert judged(said, stored(said), COUNTER).note == ""


# --- which of them ---------------------------------------------------------------------------------------------------


def test_only_what_was_asked_for():
    said = served(list(range(20)))
    has = stored(said)
    has.take(3)
    has.take(12)
    verdict = judged(said, has, since=T + 10 * S, until=T + 15 * S)
    assert (verdict.served, verdict.missing, verdict.missed[0].value) == (6, 1, 12)


def test_a_server_whose_clock_is_set():
    """An hour ahead for five readings; the store has them by time, and the newest of them is not what it has come to."""
    times = [T + i * S + (3600 * S if 5 <= i < 10 else 0) for i in range(20)]
    said = Column(array("q", times), list(range(20)), array("I", [0] * 20))
    has = Stored()
    for t, value in zip(times, range(18), strict=False):
        has.put(t, value)
    verdict = judge({SIGNAL: said}, {SIGNAL: has}, {SIGNAL: SOURCE}, (), Bounds(settle=S // 2))
    assert (verdict.sound, verdict.total("coming")) == (True, 2)
    has.take(7)
    has.take(12)
    assert judge({SIGNAL: said}, {SIGNAL: has}, {SIGNAL: SOURCE}).total("missing") == 2


def test_what_the_ledger_does_not_tell_of():
    """The store has what was read before the simulator began, and what the ledger had not written down yet."""
    said = served(list(range(5)))
    has = stored(said)
    has.put(T - 5 * S, 77)
    has.put(T + 300 * S, 4)
    verdict = judge({SIGNAL: said}, {SIGNAL: has}, {SIGNAL: ARRIVAL})
    assert verdict.sound
    assert verdict.total("outside") == 2


def test_what_cannot_be_judged_says_so():
    said = served([1, 2])
    no = judge(
        {SIGNAL: said, ("gone", "a"): said},
        {("press", "oee"): stored(said)},
        {SIGNAL: Rule(not_judged="it is computed")},
    )
    assert {(each.name, each.not_judged) for each in no.signals} == {
        ("press/x", "it is computed"),
        ("gone/a", "the configuration has no such signal"),
        ("press/oee", "nothing of it was served"),
    }
    assert no.judged == 0
    assert "not judged, it is computed: press/x" in no.table().splitlines()
    assert no.sentence() == "Nothing could be judged; 3 signals not judged."


def test_a_table_that_can_be_read():
    said = served(list(range(10)))
    has = stored(said)
    has.take(4)
    has.value[6] = 77
    _, verdict = whole(said, has)
    lines = str(verdict).splitlines()
    assert lines[0].split() == ["signal", "served", "stored", "missing", "wrong", "late", "duplicated"]
    assert lines[1].split() == ["press/x", "10", "9", "1", "1", "0", "0"]  # the worst first
    assert lines[3].split() == ["all", "of", "them", "80", "79", "1", "1", "0", "0"]
    assert "press/x" in lines[4]
    assert "77: stored, and nothing of the kind was served around that time: it was 7, " in lines[4]
    assert "4: served, and not stored" in lines[5]
    assert lines[6] == "Not sound: of 80 readings served, 1 missing, 1 wrong."


CONFIGURATION = """\
version: 1
connections:
  panel: {protocol: modbus-tcp, host: 127.0.0.1, port: 1502, timeout: 700ms}
  cnc: {protocol: opcua, url: "opc.tcp://127.0.0.1:1840", security: None, timeout: 3s}
machines:
  press:
    connection: panel
    signals:
      temp: {holding: 0, type: int16, scale: 0.1, unit: Cel, store_as: "[degF]", range: [0, 100], deadband: 1%, report: change}
      fill: {holding: 1, type: uint16, raw_range: [0, 1000], scaled_range: [0, 50], clamp: true, precision: 1}
      mode: {holding: 2, type: uint16, enum: {0: "off"}}
      level: {holding: 3, type: int16, scale: 0.1, invalid: -32768}
      parts: {holding: 4, type: uint16, kind: counter, scale: 10, delta: true}
      power: {holding: 6, type: int16, scale_from: power_sf, invalid: -1}
      power_sf: {holding: 7, type: int16}
    computed:
      twice: {value: "2 * temp"}
  lathe:
    connection: cnc
    namespaces: {m: "urn:m"}
    signals:
      speed: {node: "m:s=a", type: float}
      load: {node: "m:s=b", type: float, mode: poll}
      torque: {node: "m:s=c", type: float, report: change, unit: from-server, deadband: 1%}
"""


def test_rules_follow_from_the_configuration(tmp_path: Path):
    """Worked out by hand: 0 to 100 Cel are 32 to 212 degF; 1 % of that are 1.8; 65536 tens are 655,360."""
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    rules = rules_of(load(tmp_path / "gateway.yaml", protocols()))
    temp, fill, parts = (rules["press", name] for name in ("temp", "fill", "parts"))
    assert temp.range == pytest.approx((32, 212))
    assert (temp.deadband, temp.report, temp.timeout) == (pytest.approx(1.8), "change", pytest.approx(0.7))
    assert fill.ends == (0, 50)
    assert fill.near == pytest.approx(0.05, rel=1e-3)
    assert rules["press", "mode"].texts
    assert rules["press", "level"].invalid == pytest.approx((-3276.8,))
    assert (parts.counter, parts.wraps_at) == (True, 655360)
    assert (rules["lathe", "speed"].stamps, rules["lathe", "speed"].repeats) == ("source", False)
    assert (rules["lathe", "load"].sampled, rules["lathe", "load"].repeats) == (True, True)
    assert (rules["lathe", "load"].timeout, rules["lathe", "speed"].timeout) == (3.0, float("inf"))
    assert {name for (_, name), rule in rules.items() if rule.not_judged} == {"power", "parts_delta", "twice", "torque"}


@pytest.mark.parametrize(("seconds", "sound"), [(20, True), (40, False)])
def test_a_store_that_ends_long_before_the_ledger_is_not_sound(seconds: int, sound: bool) -> None:
    """A gateway that has died in the middle: what was served since is not on its way for ever."""
    said = Column()
    for i in range(100):
        said.time.append(T + i * S)
        said.value.append(float(i))
        said.quality.append(0)
    has = Column()
    for i in range(100 - seconds):
        has.time.append(T + i * S + MS)
        has.value.append(float(i))
        has.quality.append(0)
    verdict = judge({("m", "a"): said}, {("m", "a"): has}, {("m", "a"): Rule()})
    assert verdict.sound is sound
    assert verdict.total("missing") == 0
    assert ("the store ends" in verdict.sentence()) is not sound
