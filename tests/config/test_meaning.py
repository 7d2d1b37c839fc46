"""The digest of what is done to readings, and how they follow one another, as `meta` says it."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config import Configuration, MachineSettings, SignalSettings, load
from gateway.config.meaning import rules_of, sending
from gateway.model import Signal
from gateway.runtime.registry import protocols

PLANT = """\
version: 1
site: {timezone: Europe/Berlin, calendar: two}
calendars:
  two: {shifts: {early: {from: "06:00", to: "14:00"}, late: {from: "14:00", to: "22:00"}}}
  one: {shifts: {day: {from: "08:00", to: "16:00"}}}
connections: {c: {protocol: modbus-tcp, host: 10.0.0.1}}
machines:
  press:
    connection: c
    unit_id: 1
    signals:
      good: {holding: 0, type: uint16, kind: counter}
      temp: {holding: 4, type: int16, scale: 0.1, unit: Cel, report: swinging-door, deadband: 0.5}
      mode: {holding: 5, type: uint16, enum: {0: "off", 1: auto}}
    computed:
      warm: {value: "temp > 50"}
    state:
      - {when: "mode == 'auto'", state: running}
    kpi: {good: good, ideal_cycle: 1s}
"""


def plant(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, protocols(), env={})


def digest(tmp_path: Path, text: str, machine: str = "press") -> str:
    found = plant(tmp_path, text)
    return rules_of(found.settings, found.machines[machine])


def hashed(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale: 0.1", "scale: 0.01"),
        ("scale: 0.1", "scale: 0.1, offset: -40"),
        ("type: int16", "type: uint16"),
        ("holding: 4", "holding: 6"),
        ("unit: Cel", "unit: Cel, range: [0, 90]"),
        ("unit: Cel", "unit: Cel, stale_after: 1h"),
        ("swinging-door", "change"),
        ("deadband: 0.5", "deadband: 1"),
        ("deadband: 0.5", "deadband: 0.5, heartbeat: 30s"),
        ("kind: counter", "kind: counter, max_rate: 3"),
        ('0: "off", 1: auto', '0: auto, 1: "off"'),
        ("temp > 50", "temp > 60"),
        ("mode == 'auto'", "mode != 'auto'"),
        ("state: running", "state: running, debounce: 2s"),
        ("ideal_cycle: 1s", "ideal_cycle: 9s"),
        ("kpi: {good: good, ideal_cycle: 1s}", "kpi: {good: good}"),
        ("calendar: two", "calendar: one"),
        ('from: "06:00"', 'from: "05:00"'),
        ("Europe/Berlin", "Asia/Ho_Chi_Minh"),
    ],
)
def test_what_changes_what_a_reading_means_is_another_digest(old: str, new: str, tmp_path):
    changed = PLANT.replace(old, new, 1)
    assert changed != PLANT
    assert digest(tmp_path, changed) != digest(tmp_path, PLANT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("connection: c", "connection: c\n    poll: 250ms"),
        ("holding: 4", "holding: 4, poll: 5s"),
        ("host: 10.0.0.1", "host: 10.0.0.2, port: 1502"),
        ("unit_id: 1", "unit_id: 7"),
        ("unit_id: 1", "description: the left one\n    priority: high"),
        ("unit: Cel", "unit: Cel, description: of the barrel"),
        ("signals:", "signals:  # of the controller"),
        ("scale: 0.1, unit: Cel", "unit: Cel, scale: 0.10"),
        ("kind: counter", "kind: counter, delta: false, clamp: false"),
        ("holding: 4, type: int16", "holding: 4, type: int16, invalid: []"),
        ("deadband: 0.5", "deadband: 0.50, heartbeat: 60s"),
        ("ideal_cycle: 1s", "update: 5s, ideal_cycle: 1000ms"),
        ("version: 1\n", "version: 1\ndefaults: {stale_after: 10s, timeout: 2s}\n"),
        ("      good: {holding: 0, type: uint16, kind: counter}\n", ""),  # and written at the end
    ],
)
def test_all_else_is_not(old: str, new: str, tmp_path):
    changed = PLANT.replace(old, new, 1)
    if not new:
        changed = changed.replace("    computed:", f"{old}    computed:", 1)
    assert digest(tmp_path, changed) == digest(tmp_path, PLANT)


def test_a_digest_stays_what_it_was_with_the_next_gateway(tmp_path):
    """What was announced once is announced again: the text that is hashed is written out here, key by key, in their order."""
    signals = (
        '{"good":{"holding":0,"kind":"counter","type":"uint16"},'
        '"mode":{"enum":{"0":"off","1":"auto"},"holding":5,"type":"uint16"},'
        '"temp":{"deadband":0.5,"heartbeat":60.0,"holding":4,"report":"swinging-door","scale":0.1,"type":"int16","unit":"Cel"}}'
    )
    shifts = '{"early":{"begin":360,"to":840},"late":{"begin":840,"to":1320}}'  # minutes of the day
    whole = (
        f'{{"calendar":{{"shifts":{shifts}}},"computed":{{"warm":{{"value":"temp > 50"}}}},'
        f'"kpi":{{"good":"good","ideal_cycle":1.0}},"signals":"{hashed(signals)}",'
        """"state":{"rules":[{"state":"running","when":"mode == 'auto'"}]},"timezone":"Europe/Berlin"}"""
    )
    assert digest(tmp_path, PLANT) == hashed(whole)


def test_a_profile_and_its_lines_written_out_are_the_same(tmp_path):
    (tmp_path / "profiles").mkdir()
    head, body = PLANT.split("    signals:\n", 1)
    (tmp_path / "profiles" / "p.yaml").write_text(
        "protocol: modbus\n" + re.sub("^    ", "", f"    signals:\n{body}", flags=re.M), encoding="utf-8"
    )
    assert digest(tmp_path, head + "    profile: p\n") == digest(tmp_path, PLANT)


def test_calendars_are_rules_of_figures_only(tmp_path):
    alone = PLANT.replace("    kpi: {good: good, ideal_cycle: 1s}\n", "")
    assert digest(tmp_path, alone) == digest(tmp_path, alone.replace("calendar: two", "calendar: one"))


def said(tmp_path: Path, text: str, signal: Signal) -> dict[str, Any]:
    head = "version: 1\nconnections: {c: {protocol: modbus-tcp, host: 10.0.0.1}}\nmachines:\n  m:\n    connection: c\n"
    return sending(signal, plant(tmp_path, f"{head}{text}").machines["m"])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("type: int16", {}),
        ("type: int16, report: all, heartbeat: 5s", {}),  # it is read each second anyway
        # A heartbeat is met by the poll after it: 60 s, seen at the 61st where the 60th came a moment too early.
        ("type: int16, report: change", {"report": "change", "max_silence": 61.0}),
        ("type: int16, report: change, heartbeat: 10s, poll: 7s",
         {"report": "change", "max_silence": 14.0, "poll": 7.0}),
        ("type: int16, report: change, heartbeat: 300ms, poll: 100ms",
         {"report": "change", "max_silence": 0.4, "poll": 0.1}),
        ("type: int16, poll: 1h", {"poll": 3600.0}),
        ("type: int16, report: swinging-door, deadband: 0.5, heartbeat: 10s",
         {"report": "swinging-door", "deadband": 0.5, "max_silence": 11.0}),
        # 1 degree Fahrenheit is 5/9 of a kelvin.
        ("type: int16, report: change, unit: '[degF]', store_as: Cel, deadband: 1.8, heartbeat: 10s",
         {"report": "change", "deadband": 1.0, "max_silence": 11.0}),
        ("type: uint16, kind: counter", {"rollover": 65536}),
        ("type: uint16, kind: counter, rollover: 10000", {"rollover": 10000.0}),
        ("type: int64, kind: counter", {"rollover": 2.0**63}),
        ("type: uint64, kind: counter", {"rollover": 2.0**64}),
        ("type: uint16, enum: {0: a}, report: change, heartbeat: 10s", {"report": "change", "max_silence": 11.0}),
    ],
)  # fmt: skip
def test_how_its_readings_follow_one_another(keys: str, expected: dict[str, Any], tmp_path):
    found = said(tmp_path, f"    signals: {{x: {{holding: 0, {keys}}}}}\n", Signal("x", "float"))
    assert found == pytest.approx(expected) if "store_as" in keys else found == expected
    assert orjson.loads(orjson.dumps(found)) == found, "it fits into a message"


def test_a_deadband_in_percent_is_said_in_the_unit(tmp_path):
    """2 % of a range of 250: 5. The range may be one that a server has told."""
    text = (
        "    signals: {x: {holding: 0, type: int16, report: change, deadband: 2%, range: [0, 250], heartbeat: 10s}}\n"
    )
    assert said(tmp_path, text, Signal("x", "float", low=0, high=250))["deadband"] == 5.0


def test_what_is_worked_out_has_its_heartbeat_without_a_poll(tmp_path):
    """A value that does not come again is told again two polls after the heartbeat; states are sent on a change."""
    text = """\
    signals: {x: {holding: 0, type: int16}}
    computed: {y: {value: x * 2, report: change, heartbeat: 30s}, z: {value: x * 3}}
    state: [{when: x > 3, state: running}]
"""
    assert said(tmp_path, text, Signal("y", "float")) == {"report": "change", "max_silence": 32.0}
    assert said(tmp_path, text, Signal("z", "float")) == {}
    assert said(tmp_path, text, Signal("state", "string")) == {"report": "change", "max_silence": 62.0}
    assert said(tmp_path, text, Signal("ended_state", "string", kind="event")) == {}
    assert said(tmp_path, text, Signal("shift.oee", "float")) == {}


def test_a_subscription_says_its_heartbeat_where_there_is_one(tmp_path):
    head = (
        "version: 1\nconnections: {c: {protocol: opcua, url: 'opc.tcp://10.0.0.1', security: None}}\nmachines:\n  m:\n"
    )
    lines = {
        "plain": "{node: i=2258}", "beats": "{node: i=2258, heartbeat: 60s}", "read": "{node: i=2258, mode: poll, poll: 5s}",
    }  # fmt: skip
    signals = "".join(f"      {name}: {text}\n" for name, text in lines.items())
    machine = plant(tmp_path, f"{head}    connection: c\n    signals:\n{signals}").machines["m"]
    found = {name: sending(Signal(name, "float"), machine) for name in lines}
    assert found == {"plain": {}, "beats": {"max_silence": 62.0}, "read": {"poll": 5.0}}


def test_a_key_that_a_later_gateway_has_changes_nothing_until_it_is_used(tmp_path):
    class Later(SignalSettings):
        smoothing: float = 0.0

    settings = plant(tmp_path, PLANT).settings

    def of(signal: SignalSettings) -> str:
        return rules_of(settings, MachineSettings(connection="c", signals={"x": signal}))

    assert of(Later(scale=0.1)) == of(Later(scale=0.1, smoothing=0)) == of(SignalSettings(scale=0.1))
    assert of(Later(scale=0.1, smoothing=2)) != of(SignalSettings(scale=0.1))
