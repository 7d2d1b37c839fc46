"""What leaves the gateway means the same whatever machine it came from: counts, states, figures, and what `meta` says.

libmodbus (C) ─▶ gateway ─▶ Mosquitto ─▶ historian
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from parts.gateway import Gateway, gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import program, wait_until

SIGNALS = """
      good: {holding: 0, type: uint16, kind: counter, delta: true}
      reject: {holding: 1, type: uint16, kind: counter}
      energy: {holding: 2, type: uint32, unit: W.h, store_as: kW.h, kind: counter}
      temp: {holding: 4, type: int16, raw_range: [0, 27648], scaled_range: [0, 500], clamp: true, unit: Cel, precision: 1, semantic: "nsu=urn:x;Melt"}
      mode: {holding: 5, type: uint16, enum: {0: "off", 1: auto, 2: setup}}
      alarm: {discrete: 0}
      speed: {holding: 4, type: int16, scale: 0.1, unit: 1/min, report: swinging-door, deadband: 0.5, heartbeat: 5s}
"""
DERIVED = """
    computed:
      specific_energy: {value: energy / good, unit: kW.h}
    state:
      - {when: alarm, state: fault, reason: jam}
      - {when: "mode == 'setup'", state: setup}
      - {when: "mode == 'auto'", state: running}
    kpi: {good: good, reject: reject, ideal_cycle: 1s, update: 1s, energy: {counter: energy, co2e: 0.5}}
"""
IMAGE = {(1, "holding", 0): [100, 5, 0, 8000, 13824, 1], (1, "discrete", 0): [0]}


def config(port: int, broker: int, more: str = DERIVED, signals: str = SIGNALS) -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme}}
connections: {{c: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines:
  press:
    connection: c
    poll: 50ms
    signals:{signals}{more}
mqtt: {{url: "mqtt://127.0.0.1:{broker}"}}
store: {{kind: historian, retention: 30d}}
buffer: {{commit_interval: 100ms}}
"""


@pytest.fixture
def machine() -> Iterator[Libmodbus]:
    with Libmodbus(IMAGE) as server:
        yield server


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as server:
        yield server


def retained(broker: Mosquitto, topic: str) -> dict[str, Any]:
    """What the broker keeps there, as any client sees it."""
    command = [program("mosquitto_sub"), "-p", str(broker.port), "-t", topic, "-C", "1", "-W", "5"]
    done = subprocess.run(command, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stored(plant: Gateway, signal: str) -> list[dict[str, Any]]:
    plant.catch_up()
    return plant.query(f"press/{signal}")


def shows(plant: Gateway, signal: str, value: object) -> None:
    wait_until(
        lambda: plant.machine("press")["signals"].get(signal, {}).get("value") == value, 20, f"{signal} = {value}"
    )


def test_a_total_goes_on_when_power_fails_for_machine_and_gateway_alike(machine, broker):
    """The gateway is killed with the newest count only in its log, and the machine begins at 0 again meanwhile."""
    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "good", 100)
        for count in (103, 110, 117):
            machine.set(1, "holding", 0, count)
            shows(plant, "good", count)
        plant.catch_up()
        plant.kill()
        machine.set(1, "holding", 0, 2)
        plant.start()
        shows(plant, "good", 117 + 2)
        machine.set(1, "holding", 0, 6)
        shows(plant, "good", 117 + 6)
        good = [reading for reading in stored(plant, "good") if reading["value"] is not None]
        totals = [reading["value"] for reading in good]
        assert totals == sorted(totals)
        assert totals[-1] == 123
        assert "uncertain:counter-reset" in {reading["quality"] for reading in good}
        # Nothing twice: what was added, added up, is what the total has risen by.
        deltas = [reading["value"] for reading in stored(plant, "good_delta") if reading["value"] is not None]
        assert sum(deltas) == totals[-1] - totals[0] == 23


def test_without_what_it_remembers_a_total_would_fall(machine, broker):
    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "good", 100)
        plant.catch_up()
        plant.kill()
        machine.set(1, "holding", 0, 2)
        for part in ("memory", "buffer"):  # the newest counts are in both
            shutil.rmtree(plant.folder / "data" / part)
        plant.start()
        shows(plant, "good", 2)
        totals = [reading["value"] for reading in stored(plant, "good") if reading["value"] is not None]
        assert totals != sorted(totals)


def test_a_counter_that_goes_round_and_is_killed_every_time(machine, broker):
    """Sixteen bits, 12,000 at a step, and a kill after each: the total is what was counted."""
    with Gateway(config(machine.port, broker.port, "")) as plant:
        shows(plant, "good", 100)
        total = 100
        for _ in range(12):
            total += 12_000
            machine.set(1, "holding", 0, total % 65_536)
            wait_until(lambda total=total: plant.machine("press")["signals"]["good"]["value"] == total, 20, str(total))
            # What is read within a few milliseconds of the kill may be stored and not written down. Of a jump by a
            # fifth of all that the counter has, two make one that could be anything; so: one more reading of each.
            seen = plant.machine("press")["counters"]["polls"]
            wait_until(lambda seen=seen: plant.machine("press")["counters"]["polls"] > seen + 1, 20, "another poll")
            plant.catch_up()
            plant.kill()
            plant.start()
        totals = [reading["value"] for reading in plant.query("press/good") if reading["value"] is not None]
        assert totals == sorted(totals)
        assert totals[-1] == 144_100


def test_states_and_figures_leave_beside_the_signals(machine, broker):
    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "state", "running")
        shows(plant, "specific_energy", 0.08)
        machine.set(1, "discrete", 0, 1)
        shows(plant, "state", "fault")
        machine.set(1, "discrete", 0, 0)
        shows(plant, "state", "running")
        machine.set(1, "holding", 0, 140)
        machine.set(1, "holding", 2, 0, 9500)
        wait_until(lambda: plant.machine("press")["signals"].get("shift.good", {}).get("value") == 40, 20, "40 parts")
        wait_until(lambda: plant.machine("press")["signals"]["shift.energy"]["value"] == 1.5, 20, "1.5 kWh")
        states = [(r["value"]) for r in stored(plant, "state")]
        changes = [a for a, b in pairwise([*states, None]) if a != b]
        assert changes == ["running", "fault", "running"]
        assert [r["value"] for r in stored(plant, "ended_state")] == ["running", "fault"]
        assert all(r["value"] > 0 for r in stored(plant, "ended_state_duration"))
        assert [r["value"] for r in stored(plant, "state_reason")][1] == "jam"
        assert stored(plant, "packml_state")[-1]["value"] == "Execute"
        counters = plant.machine("press")["counters"]
        assert (
            counters["read"] + counters["marks"] + counters["derived"] == counters["suppressed"] + counters["accepted"]
        )


def test_what_is_worked_out_goes_on_after_a_clean_restart(machine, broker):
    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "good", 100)
        machine.set(1, "holding", 0, 130)
        wait_until(lambda: plant.machine("press")["signals"].get("shift.good", {}).get("value") == 30, 20, "30 parts")
        plant.stop()
        machine.set(1, "holding", 0, 150)
        plant.start()
        wait_until(lambda: plant.machine("press")["signals"].get("shift.good", {}).get("value") == 50, 20, "50 parts")


def test_meta_is_all_a_consumer_needs(machine, broker):
    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "good", 100)
        wait_until(lambda: "state" in retained(broker, "shopfloor/v1/acme/press/meta")["signals"], 10, "all signals")
        meta = retained(broker, "shopfloor/v1/acme/press/meta")
        signals = meta["signals"]
        assert signals["temp"] == {
            "type": "float", "kind": "gauge", "unit": "Cel", "precision": 1, "semantic": "nsu=urn:x;Melt", "poll": 0.05,
        }  # fmt: skip
        assert signals["energy"]["unit"] == "kW.h"
        assert signals["packml_state"]["states"]["6"] == "Execute"
        assert signals["specific_energy"] == {
            "type": "float", "kind": "gauge", "unit": "kW.h", "formula": "energy / good", "inputs": ["energy", "good"],
        }  # fmt: skip
        assert set(signals["shift.oee"]["inputs"]) <= signals.keys()
        assert "ISO 22400" in signals["shift.oee"]["semantic"]
        # Whether a line may be drawn between two readings, and how long nothing may come.
        assert signals["good"] == {"type": "int", "kind": "counter", "rollover": 65536, "poll": 0.05}
        assert signals["speed"] == {
            "type": "float", "kind": "gauge", "unit": "1/min", "report": "swinging-door", "deadband": 0.5,
            "max_silence": 5.05, "poll": 0.05,
        }  # fmt: skip
        assert (signals["state"]["report"], signals["state"]["max_silence"]) == ("change", 62.0)
        assert "report" not in signals["ended_state"]
        version, rules = meta["version"], meta["rules"]
        plant.stop()
        plant.start()
        wait_until(lambda: "state" in retained(broker, "shopfloor/v1/acme/press/meta")["signals"], 10, "all signals")
        again = retained(broker, "shopfloor/v1/acme/press/meta")
        assert (again["version"], again["rules"]) == (version, rules)
        plant.stop()
        plant.config = config(machine.port, broker.port, signals=SIGNALS.replace("precision: 1", "precision: 2"))
        plant.start()
        wait_until(
            lambda: retained(broker, "shopfloor/v1/acme/press/meta")["version"] == version + 1, 10, "a new version"
        )
        assert "its signals are another version now" in plant.log


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale: 0.1", "scale: 0.01"),
        ("deadband: 0.5", "deadband: 2"),
        ("when: alarm", "when: not alarm"),
        ("ideal_cycle: 1s", "ideal_cycle: 9s"),
    ],
)
def test_a_reading_that_means_something_else_has_another_version(machine, broker, old, new):
    """Type, unit and range stay: by `version` and `rules` a consumer knows that what came before is not comparable."""

    def meta() -> dict[str, Any]:
        wait_until(lambda: "state" in retained(broker, "shopfloor/v1/acme/press/meta")["signals"], 10, "all signals")
        return retained(broker, "shopfloor/v1/acme/press/meta")

    with Gateway(config(machine.port, broker.port)) as plant:
        shows(plant, "good", 100)
        before = meta()
        plant.file.write_text(config(machine.port, broker.port, DERIVED.replace(old, new), SIGNALS.replace(old, new)))
        done = gateway("reload", "-c", str(plant.file))
        assert done.returncode == 0, done.stderr
        wait_until(lambda: meta()["version"] == before["version"] + 1, 10, "a new version")
        assert meta()["rules"] != before["rules"]


def test_a_type_never_changes_under_a_store(machine, broker):
    """A float that becomes a whole number stays a float; a number that becomes text is refused, until it is accepted."""
    with Gateway(config(machine.port, broker.port, "")) as plant:
        shows(plant, "temp", 250.0)
        plant.catch_up()
        plant.stop()
        other = SIGNALS.replace(
            "raw_range: [0, 27648], scaled_range: [0, 500], clamp: true, unit: Cel, precision: 1, ", ""
        ).replace("mode: {holding: 5, type: uint16, enum", "was_mode: {holding: 5, type: uint16, enum")
        other += "      mode: {holding: 5, type: uint16}\n      alarm2: {discrete: 0}\n"
        plant.config = config(machine.port, broker.port, "", other)
        plant.start()
        shows(plant, "temp", 13824.0)
        shows(plant, "alarm2", False)
        signals = plant.machine("press")["signals"]
        assert signals["mode"]["quality"] == "bad:config-error"
        assert signals["temp"]["type"] == "float"
        listed = gateway("config", "types", "-c", str(plant.file), "--json")
        conflicts = [json.loads(line) for line in listed.stdout.splitlines()]
        assert {"machine": "press", "signal": "mode", "type": "string", "now": "int"} in conflicts
        plant.stop()
        done = gateway("config", "types", "--accept", "press/mode", "-c", str(plant.file))
        assert done.returncode == 0, done.stderr
        plant.start()
        shows(plant, "mode", 1)


def test_reading_a_machine_shows_what_is_worked_out_too(machine, tmp_path):
    """Before anything runs: rules and expressions can be tried."""
    file = tmp_path / "gateway.yaml"
    file.write_text(config(machine.port, 1), encoding="utf-8")
    done = gateway("read", "press", "-c", str(file), "--json")
    found = {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert (found["state"]["value"], found["packml_state"]["value"]) == ("running", "Execute")
    assert (found["specific_energy"]["value"], found["specific_energy"]["unit"]) == (0.08, "kW.h")
    assert found["energy"]["value"] == 8.0
    assert "did you mean 'state'?" in gateway("read", "press/sate", "-c", str(file)).stderr
