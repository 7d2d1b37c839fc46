"""What is different between two configurations, and what it takes. Expected lines and needs are written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Configuration, load
from gateway.config.difference import difference, in_force
from gateway.runtime.registry import protocols

PLANT = """\
version: 1
gateway: {id: edge-01}
site: {enterprise: acme, timezone: UTC}
defaults: {timeout: 1s}
connections:
  panel: {protocol: modbus-tcp, host: 10.0.0.1}
  bus: {protocol: modbus-tcp, host: 10.0.0.2}
  idle: {protocol: modbus-tcp, host: 10.0.0.3}
machines:
  meter: {connection: panel, poll: 500ms, signals: {power: {holding: 0, type: uint16, scale: 0.1, unit: kW}, energy: {holding: 1, type: uint32, kind: counter}}}
  press: {connection: bus, unit_id: 1, signals: {temp: {holding: 0, type: int16, unit: Cel}}, computed: {twice: {value: "2 * temp"}}}
  oven: {connection: bus, unit_id: 2, priority: low, signals: {temp: {holding: 0, type: int16, unit: Cel}}}
mqtt: {user: u, password: hidden-one}
buffer: {max_size: 2GiB}
"""


def loaded(folder: Path, text: str) -> Configuration:
    file = folder / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, protocols(), env={})


# What is replaced by what; the lines; connections built anew; what it takes besides; what only a restart takes over.
CASES = {
    "nothing": ("", "", [], set(), set()),
    "a comment": ("version: 1", "# hello\nversion: 1", [], set(), set()),
    "poll of a machine, told once": (
        "poll: 500ms", "poll: 1s", ["machines.meter.poll: 500ms → 1s"], {"panel"}, {"connection"},
    ),
    "a signal": ("scale: 0.1", "scale: 0.01", ["machines.meter.signals.power.scale: 0.1 → 0.01"], {"panel"}, {"connection"}),
    "a signal more": (
        "signals: {power:", "signals: {volt: {holding: 9, type: uint16}, power:",
        ["machines.meter.signals.volt: added"], {"panel"}, {"connection"},
    ),
    "words and ranks": ("priority: low", "priority: high, description: Oven", ['machines.oven.description: "" → Oven', "machines.oven.priority: low → high"], set(), {"nothing"}),
    "what is worked out": ("2 * temp", "3 * temp", ["machines.press.computed.twice.value: 2 * temp → 3 * temp"], set(), {"signals"}),
    "a machine more on a shared line": (
        "mqtt:", "  saw: {connection: bus, unit_id: 3, signals: {n: {holding: 0, type: uint16}}}\nmqtt:",
        ["machines.saw: added"], {"bus"}, {"connection"},
    ),
    "a machine on another line": (
        "press: {connection: bus", "press: {connection: panel", ["machines.press.connection: bus → panel"], {"bus", "panel"}, {"connection"},
    ),
    "an address": ("host: 10.0.0.2", "host: 10.0.0.9", ["connections.bus.host: 10.0.0.2 → 10.0.0.9"], {"bus"}, {"connection"}),
    "a connection nobody uses": ("host: 10.0.0.3", "host: 10.0.0.9", ["connections.idle.host: 10.0.0.3 → 10.0.0.9"], set(), {"connection"}),
    "the plant has another name": (
        "enterprise: acme", "enterprise: apex",
        ["site.enterprise: acme → apex", "machines.meter (its place): acme/meter → apex/meter",
         "machines.press (its place): acme/press → apex/press", "machines.oven (its place): acme/oven → apex/oven"],
        {"panel", "bus"}, {"connection", "signals"},
    ),
    "defaults, told once": ("timeout: 1s", "timeout: 2s", ["defaults.timeout: 1s → 2s"], {"panel", "bus"}, {"nothing"}),
    "a secret": ("hidden-one", "hidden-two", ["mqtt.password: changed"], set(), {"link"}),
    "the buffer": ("max_size: 2GiB", "max_size: 512MiB", ["buffer.max_size: 2GiB → 512MiB"], set(), {"nothing"}),
    "a store": (
        "buffer:", "store: {kind: historian}\nbuffer:", ["store: added", "mqtt.delivery: broker → store"], set(), {"writer", "link"},
    ),
    "a page": ("buffer:", "web: {}\nbuffer:", ["web: added"], set(), {"page"}),
    "watching": ("id: edge-01", "id: edge-01, watch: true", ["gateway.watch: false → true"], set(), {"nothing"}),
    "another name": ("id: edge-01", "id: edge-02", ["gateway.id: edge-01 → edge-02"], set(), {"restart"}),
    "other topics": ("user: u", "user: u, root: plant/x", ["mqtt.root: shopfloor/v1 → plant/x"], set(), {"restart"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_it_is_and_what_it_takes(case: str, tmp_path: Path):
    old, new, lines, connections, needs = CASES[case]
    assert not old or PLANT.count(old) == 1, case
    before, after = loaded(tmp_path, PLANT), loaded(tmp_path, PLANT.replace(old, new) if old else PLANT)
    found = difference(before, after)
    assert found.lines() == lines
    assert found.connections == connections
    assert found.needs == needs
    assert bool(found) == bool(lines)
    assert found.alive == bool(needs - {"restart"})
    assert (list(found.restart) == lines) == (needs <= {"restart"})
    assert "hidden" not in f"{found.as_json()}{found.lines()}{found.changes}"
    # Once it is in force, there is nothing left but what waits for a restart.
    again = difference(in_force(before, after), after)
    assert not again.alive
    assert again.restart == found.restart


def test_machines_that_come_go_and_change_are_told_apart(tmp_path: Path):
    text = PLANT.replace("  oven:", "  saw:").replace("poll: 500ms", "poll: 1s")
    found = difference(loaded(tmp_path, PLANT), loaded(tmp_path, text))
    assert (found.added, found.removed, found.changed) == ({"saw"}, {"oven"}, {"meter"})
    assert found.touched == ["connections.bus", "connections.panel"]


def test_the_calendar_makes_what_is_worked_out_anew_and_nothing_else(tmp_path: Path):
    shifts = '{early: {from: "06:00", to: "14:00", days: mon-sat}}'
    after = loaded(tmp_path, PLANT.replace("mqtt:", f"calendars: {{day: {{shifts: {shifts}}}}}\nmqtt:"))
    found = difference(loaded(tmp_path, PLANT), after)
    assert found.derived == {"press"}
    assert found.connections == set()


_names = st.sampled_from(["a", "b", "c", "d"])
_signal = st.fixed_dictionaries(
    {"holding": st.integers(0, 20), "type": st.sampled_from(["uint16", "int16"])},
    optional={"scale": st.sampled_from([0.1, 0.5]), "poll": st.sampled_from(["100ms", "2s"]), "unit": st.just("bar")},
)
_machine = st.fixed_dictionaries(
    {"connection": st.sampled_from(["p", "q"]), "unit_id": st.integers(1, 3), "signals": st.dictionaries(_names, _signal, min_size=1, max_size=3)},
    optional={"poll": st.sampled_from(["1s", "3s"]), "line": st.sampled_from(["L1", "L2"]), "description": st.just("x")},
)  # fmt: skip
_plants = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "connections": st.fixed_dictionaries(
            {name: st.fixed_dictionaries({"protocol": st.just("modbus-tcp"), "host": st.just(f"10.0.0.{i}")}, optional={"timeout": st.sampled_from(["1s", "2s"])}) for i, name in enumerate("pq")}
        ),
        "machines": st.dictionaries(_names, _machine, min_size=1, max_size=3),
    },
    optional={
        "defaults": st.fixed_dictionaries({}, optional={"poll": st.sampled_from(["1s", "5s"]), "report": st.just("change")}),
        "buffer": st.fixed_dictionaries({"max_size": st.sampled_from(["1GiB", "3GiB"])}),
        "store": st.just({"kind": "historian"}),
        "gateway": st.fixed_dictionaries({"id": st.sampled_from(["x", "y"])}),
    },
)  # fmt: skip


@given(_plants, _plants)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equal_is_nothing_and_applied_twice_is_nothing(tmp_path: Path, one: dict, other: dict):
    a, b = loaded(tmp_path, yaml.safe_dump(one)), loaded(tmp_path, yaml.safe_dump(other))
    same = loaded(tmp_path, yaml.safe_dump(one, default_flow_style=True, sort_keys=True))
    assert difference(a, same) == difference(a, a)
    assert not difference(a, same)
    there, back = difference(a, b), difference(b, a)
    assert bool(there) == bool(back)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert there.connections == back.connections
    now = in_force(a, b)
    assert not difference(now, b).alive
    assert difference(now, b).restart == there.restart
    # Whoever is not named has what he had: the same settings, and the same place.
    for name in a.machines.keys() & b.machines.keys():
        if a.machines[name].connection not in there.connections:
            assert a.path_of(name) == b.path_of(name)
            assert a.machines[name].signals == b.machines[name].signals
