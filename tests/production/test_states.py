"""States of a machine: what the standards call them, and when one ends and another begins."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.derived import StateSettings
from gateway.config.production import WORDS
from gateway.production.states import (
    ITEM_STATES,
    NUMBERS,
    OPERATION_MODES,
    OTHERWISE,
    PACKML_STATES,
    STANDARD,
    UNKNOWN,
    StateMachine,
)

S = 10**9
NODESETS = Path(__file__).parents[3] / "shared" / "nodesets"
UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"


def numbers_in(file: str, parent: str | None = None) -> Mapping[str, int]:
    """The StateNumber of every state of a state machine type in a nodeset, by the name of the state."""
    root = ElementTree.parse(NODESETS / file).getroot()
    nodes = {node.get("NodeId"): node for node in root}
    found = {}
    for node in root:
        if node.get("BrowseName") != "StateNumber" or (value := node.find(f"{UA}Value")) is None:
            continue
        state = nodes.get(node.get("ParentNodeId"))
        if state is None or (parent and state.get("ParentNodeId") not in _named(nodes, parent)):
            continue
        found[state.get("BrowseName", "").partition(":")[2]] = int(next(iter(value)).text or "")
    return found


def _named(nodes: Mapping[str | None, ElementTree.Element], name: str) -> set[str | None]:
    return {id_ for id_, node in nodes.items() if node.get("BrowseName", "").endswith(f":{name}")}


@pytest.mark.shared
def test_the_numbers_are_those_of_the_companion_models():
    assert numbers_in("20_Machinery.xml", "MachineryItemState_StateMachineType") == ITEM_STATES
    assert numbers_in("20_Machinery.xml", "MachineryOperationModeStateMachineType") == OPERATION_MODES
    packml = numbers_in("20_PackML.xml")
    # Undefined is a number of PackTags that no state of the machine has; Running and Cleared are states around others.
    ours = {name: number for name, number in PACKML_STATES.items() if name != "Undefined"}
    assert {name: packml[name] for name in ours} == ours
    assert packml.keys() - ours.keys() == {"Running", "Cleared"}
    assert PACKML_STATES["Undefined"] == 0


def test_the_numbers_as_the_standards_print_them():
    """OPC 40001-1, tables of StateNumbers; ISA-TR88.00.02, StateCurrent."""
    assert ITEM_STATES == {"NotAvailable": 0, "OutOfService": 1, "NotExecuting": 2, "Executing": 3}
    assert OPERATION_MODES == {"None": 0, "Maintenance": 1, "Setup": 2, "Processing": 3}
    assert [PACKML_STATES[name] for name in ("Clearing", "Stopped", "Idle", "Execute", "Aborted", "Held", "Complete")] == [
        1, 2, 4, 6, 9, 11, 17
    ]  # fmt: skip


def test_every_word_has_its_standard_names():
    assert STANDARD.keys() == set(WORDS) == NUMBERS.keys()
    # OPC 40001-1: only Executing is "actively performing an activity"; OutOfService is "not functional (e.g. error)".
    assert [word for word, (item, _, _) in STANDARD.items() if item == "Executing"] == ["running"]
    assert {word for word, (item, _, _) in STANDARD.items() if item == "OutOfService"} == {"fault", "maintenance"}
    for item, mode, packml in STANDARD.values():
        assert item is None or item in ITEM_STATES
        assert mode is None or mode in OPERATION_MODES
        assert packml in PACKML_STATES


RULES = StateSettings.model_validate(
    {
        "rules": [
            {"when": "a", "state": "fault", "hold": "10s"},
            {"when": "b", "state": "running", "debounce": "2s"},
            {"when": "c", "state": "running", "packml_state": "Completing", "operation_mode": "Setup"},
        ],
        "debounce": "1s",
    }
)
FAULT, RUNNING, ALSO = 0, 1, 2


def played(*steps: tuple[float, int]) -> list[tuple[float, str]]:
    """Since when in which state, from what held when."""
    machine, found = StateMachine(RULES), []
    for second, outcome in steps:
        machine.step(outcome, "", round(second * S))
        state = machine.state
        assert state is not None
        if not found or found[-1] != (state.since / S, state.word):
            found.append((state.since / S, state.word))
    return found


def test_the_first_state_counts_at_once():
    assert played((0, RUNNING)) == [(0, "running")]


def test_a_debounce_is_waited_for_and_then_counts_from_its_beginning():
    assert played((0, OTHERWISE), (5, RUNNING), (6, RUNNING), (7, RUNNING)) == [(0, "idle"), (5, "running")]


def test_what_is_interrupted_begins_to_wait_anew():
    assert played((0, OTHERWISE), (5, RUNNING), (6, OTHERWISE), (6.5, RUNNING), (8, RUNNING), (8.5, RUNNING)) == [
        (0, "idle"), (6.5, "running")
    ]  # fmt: skip


def test_a_state_is_held_for_its_time():
    assert played((0, FAULT), (1, OTHERWISE), (5, OTHERWISE), (9.9, OTHERWISE), (10, OTHERWISE)) == [
        (0, "fault"), (10, "idle")
    ]  # fmt: skip


def test_what_comes_back_within_the_hold_has_not_been_away():
    assert played((0, FAULT), (1, OTHERWISE), (5, FAULT), (12, FAULT)) == [(0, "fault")]


def test_unknown_follows_the_common_debounce():
    assert played((0, RUNNING), (3, UNKNOWN), (3.5, RUNNING), (6, UNKNOWN), (7, UNKNOWN)) == [
        (0, "running"), (6, "unknown")
    ]  # fmt: skip


def test_a_rule_may_say_another_standard_word():
    machine = StateMachine(RULES)
    machine.step(ALSO, "", 0)
    assert machine.standard() == ("Executing", "Setup", "Completing")
    assert StateMachine(RULES).standard() == (None, None, "Undefined")


def test_another_reason_is_a_state_of_its_own():
    machine = StateMachine(RULES)
    machine.step(FAULT, "jam", 0)
    ended = machine.step(FAULT, "door", 4 * S)
    assert (ended.word, ended.reason, machine.state.reason, machine.state.since) == ("fault", "jam", "door", 4 * S)


outcomes = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([FAULT, RUNNING, ALSO, OTHERWISE, UNKNOWN])), min_size=1, max_size=60
)


@given(outcomes)
@settings(max_examples=200)
def test_states_follow_one_another_without_a_gap(steps):
    """What ended began where the one before ended, and lasted until the next one began."""
    machine, second, ends = StateMachine(RULES), 0, []
    for gap, outcome in steps:
        second += gap
        ended = machine.step(outcome, "", second * S)
        if ended is not None:
            ends.append((ended.since, machine.state.since))
            assert ended.since <= machine.state.since <= second * S
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))


def test_two_rules_of_one_state_that_alternate_count_together():
    """Both are running, by turns a second each, debounce 1 and 2 s: the state began when the first of them did."""
    steps = [(5.0 + i, RUNNING if i % 2 else ALSO) for i in range(4)]
    assert played((0, OTHERWISE), *steps) == [(0, "idle"), (5, "running")]


def test_faults_that_alternate_are_a_fault():
    """Every 3 s another one, debounce 5 s: a fault from 20 s on, known 5 s later, and only one."""
    machine = StateMachine(
        StateSettings.model_validate(
            {
                "rules": [
                    {"when": "a", "state": "fault", "reason": "a"},
                    {"when": "b", "state": "fault", "reason": "b"},
                    {"when": "c", "state": "running"},
                ],
                "debounce": "5s",
            }
        )
    )
    found = []
    for second in range(300):
        outcome = 2 if second < 20 else second // 3 % 2
        if machine.step(outcome, ("a", "b", "")[outcome], second * S) is not None:
            found.append((second, machine.state.word, machine.state.since // S))
    assert found == [(25, "fault", 20)]


def test_another_state_in_between_begins_the_wait_anew():
    assert played((0, OTHERWISE), (5, RUNNING), (6, UNKNOWN), (6.5, ALSO), (7.4, RUNNING), (8.5, RUNNING)) == [
        (0, "idle"), (6.5, "running")
    ]  # fmt: skip


def test_another_rule_of_the_state_it_is_in_waits_for_itself():
    """Jam is a fault. Two other reasons by turns, none for a second: the reason stays, and so does the state."""
    settings = StateSettings.model_validate(
        {"rules": [{"when": w, "state": "fault", "reason": w} for w in "abc"], "debounce": "1s"}
    )
    machine = StateMachine(settings)
    machine.step(0, "a", 0)
    for i in range(20):
        assert machine.step(1 + i % 2, "bc"[i % 2], S + i * S // 2) is None


@given(outcomes)
@settings(max_examples=100)
def test_a_state_that_holds_for_its_longest_debounce_counts(steps):
    """Whatever was before, and by whichever of its rules: 2 s of running are running."""
    machine, second = StateMachine(RULES), 0
    for gap, outcome in steps:
        second += gap
        machine.step(outcome, "", second * S)
    second += 11  # any hold is over
    for i in range(6):
        machine.step((RUNNING, ALSO)[i % 2], "", second * S + i * S // 2)
    assert machine.state.word == "running"
