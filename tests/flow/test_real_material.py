"""Real machines: their registers in, their engineering values out of the store.

The register images of thirteen device models are facts and belong to the project. The recording of a plant's PLC and a
steel works' meter stay beside the checkout; their tests are left out, and counted, where they are not there.
"""

from __future__ import annotations

import csv
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.yaml_file import parse_yaml
from gateway.store.historian import Historian
from parts.gateway import Gateway
from parts.libmodbus import Image, Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import wait_until

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
TABLES = {"1": "coil", "2": "discrete", "3": "holding", "4": "input"}
shared = pytest.mark.shared


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as each:
        yield each


def config(port: int, broker: Mosquitto, machines: str) -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines:
{machines}
mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}
store: {{kind: historian}}
"""


def same(value: object, expected: object) -> bool:
    if isinstance(expected, float) and isinstance(value, float):
        return math.isclose(value, expected, rel_tol=2e-7, abs_tol=1e-12)
    return type(value) is type(expected) and value == expected


# --- the meters, drives and controllers that profiles come along for ---------------------------------------------------

with (ROOT / "tests" / "modbus" / "devices.csv").open(newline="") as lines:
    POINTS = list(csv.DictReader(lines))
PROFILES = sorted({point["profile"] for point in POINTS})


def profile_of(name: str) -> dict:
    return parse_yaml((ROOT / "adapters" / "modbus" / "profiles" / f"{name}.yaml").read_bytes(), name).plain()


def filled(image: dict[tuple[int, str, int], list[int]]) -> Image:
    """With something in the gaps, as real devices have it: what nobody asked for must not matter."""
    cells = {(unit, table, at + i) for (unit, table, at), words in image.items() for i in range(len(words))}
    for unit, table, at in sorted(cells):
        for gap in range(at + 1, at + 17):
            if (unit, table, gap) not in cells:
                image[unit, table, gap] = [1 if table in ("coil", "discrete") else 0xA5A5]
    return image


@pytest.fixture(scope="module")
def devices(broker) -> Iterator[dict[str, list[dict]]]:
    """All devices behind one address, each with a unit id of its own; what the store has of each signal."""
    image: dict[tuple[int, str, int], list[int]] = {}
    for point in POINTS:
        unit = PROFILES.index(point["profile"]) + 1
        image[unit, point["table"], int(point["address"])] = [int(word, 16) for word in point["words"].split()]
    machines = "\n".join(f"  {p}: {{connection: panel, unit_id: {i}, profile: {p}}}" for i, p in enumerate(PROFILES, 1))
    with Libmodbus(filled(image)) as server, Gateway(config(server.port, broker, machines)) as gateway:
        wait_until(
            lambda: all(gateway.machine(p)["counters"]["polls"] > 1 for p in PROFILES), 40, "all devices to be read"
        )
        gateway.catch_up()
        found = {f"{p['profile']}/{p['signal']}": [] for p in POINTS}
        gateway.stop()
        reader = Historian.open_read_only(gateway.folder / "data" / "historian.sqlite")
        for name in found:
            machine, _, signal = name.partition("/")
            column = reader.query(machine, signal, 0, 2**62)
            found[name] = list(zip(column.value, column.quality, strict=True))
        reader.close()
        yield found


@pytest.mark.parametrize("profile", PROFILES)
def test_device(devices, profile):
    signals = profile_of(profile)["signals"]
    states = {name: s.get("enum", {}) for name, s in signals.items()}
    for point in (p for p in POINTS if p["profile"] == profile):
        value, quality = devices[f"{profile}/{point['signal']}"][-1]
        if signals[point["signal"]].get("type") == "string":
            assert value == point["value"], point
        elif point["value"] in ("", "NaN"):
            assert value is None, point
            assert quality >= 0x80000000, point
        elif point["value"] in ("true", "false"):
            assert value is (point["value"] == "true"), point
        elif isinstance(value, str):
            assert value == states[point["signal"]].get(point["value"], point["value"]), point
        else:
            assert math.isclose(value, float(point["value"]), rel_tol=2e-7, abs_tol=1e-12), (point, value)


# --- a recorded PLC ----------------------------------------------------------------------------------------------------


def plc_machine(poll: str) -> str:
    lines = []
    with (SHARED / "register_maps" / "plant_plc_recorded.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            keys = [f"{TABLES[row['function_code']]}: {row['address']}"]
            if row["type"] == "string":
                keys.append(f"type: string, length: {int(row['registers']) * 2}, order: {row['byte_order']}")
            elif row["type"] != "bool":
                order = f", order: {row['byte_order']}" if row["byte_order"] == "CDAB" else ""
                scale = f", scale: {row['scale']}" if row["scale"] not in ("", "1") else ""
                keys.append(f"type: {row['type']}{order}{scale}")
            lines.append(f"    {row['name']}: {{{', '.join(keys)}}}")
    return "\n".join(
        [
            f"  plc:\n    connection: panel\n    unit_id: 255\n    poll: {poll}\n    signals:",
            *("  " + each for each in lines),
        ]
    )


def image_of(recorded: dict) -> Image:
    return {
        (255, TABLES[table], int(address)): [value]
        for table, cells in recorded["tables"].items()
        for address, value in cells.items()
    }


@shared
def test_a_recorded_plc_in_engineering_values(broker):
    recorded = json.loads((SHARED / "register_maps" / "images" / "plant_plc_recorded.image.json").read_text())
    with Libmodbus(image_of(recorded)) as server, Gateway(config(server.port, broker, plc_machine("200ms"))) as gateway:
        wait_until(lambda: gateway.machine("plc")["counters"]["polls"] > 2, 20, "the PLC to be read")
        gateway.catch_up()
        wrong = {}
        for signal, expected in recorded["expected"].items():
            row = gateway.query(f"plc/{signal}")[-1]
            if row["quality"] != "good" or not same(row["value"], expected):
                wrong[signal] = (row, expected)
        assert not wrong


def recorded_states(most: int) -> list[dict[tuple[int, int], int]]:
    """The tables of the PLC after each answer in which something changed, from the recorded traffic."""
    cells: dict[tuple[int, int], int] = {}
    states = []
    with (SHARED / "traces" / "modbus" / "plant_plcs.jsonl").open() as lines:
        for line in map(json.loads, lines):
            answer = bytes.fromhex(line["resp"] or "")
            if line["server"] != 0 or line["fc"] not in (1, 2, 4) or answer[:1] != bytes([line["fc"]]):
                continue
            changed = False
            for i in range(line["count"]):
                key = (line["fc"], line["addr"] + i)
                value = (
                    int.from_bytes(answer[2 + 2 * i : 4 + 2 * i], "big")
                    if line["fc"] == 4
                    else answer[2 + i // 8] >> (i % 8) & 1
                )
                changed |= key in cells and cells[key] != value
                cells[key] = value
            if changed:
                states.append(dict(cells))
    return states[:most]


@shared
def test_recorded_traffic_comes_out_as_it_went_by(broker):
    """Every state of the recorded conversation is put on, in its order; the store has the same changes in the same order."""
    states = recorded_states(20)
    assert len(states) == 20
    whole = {key: 0 for state in states for key in state} | states[0]
    with Libmodbus({(255, TABLES[str(fc)], at): [v] for (fc, at), v in whole.items()}) as server:
        machine = (
            "  plc: {connection: panel, unit_id: 255, poll: 30ms, signals: {coil_0: {coil: 0}, di_0: {discrete: 0}}}"
        )
        with Gateway(config(server.port, broker, machine)) as gateway:
            for state in states:
                for fc, name in ((1, "coil"), (2, "discrete")):
                    server.set(255, name, 0, state[fc, 0])
                polls = gateway.machine("plc")["counters"]["polls"]
                wait_until(
                    lambda polls=polls: gateway.machine("plc")["counters"]["polls"] > polls + 2, 10, "two more polls"
                )
            gateway.catch_up()
            for fc, signal in ((1, "coil_0"), (2, "di_0")):
                found = [row["value"] for row in gateway.query(f"plc/{signal}") if row["quality"] == "good"]
                assert changes(found) == changes([bool(state[fc, 0]) for state in states])


def changes(values: list) -> list:
    return [v for i, v in enumerate(values) if i == 0 or v != values[i - 1]]


# --- a recorded meter ----------------------------------------------------------------------------------------------------


@shared
def test_the_meter_of_a_steel_works(broker):
    """Forty quarters of an hour of a recorded meter, in the registers of an Eastron SDM630: 32-bit floats at 72 and 76.

    The energy of each quarter, which falls as well, and so it is no counter here.
    """
    with (SHARED / "traces" / "machines" / "steel_plant_energy_2018Q1.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))[30:70]
    series = [(float(r["active_energy_kWh"]), float(r["lagging_reactive_kVArh"])) for r in rows]

    def words(value: float) -> tuple[int, int]:
        return struct.unpack(">2H", struct.pack(">f", value))

    def shows(signals: dict[str, Any], expected: dict[str, float]) -> bool:
        values = {name: signals[name]["value"] for name in expected}
        return None not in values.values() and all(
            math.isclose(values[name], value, rel_tol=2e-7) for name, value in expected.items()
        )

    machine = """\
  meter:
    connection: panel
    poll: 30ms
    profile: eastron-sdm630
    signals: {""" + ", ".join(
        f"{name}: null" for name in (p["signal"] for p in POINTS if p["profile"] == "eastron-sdm630")
        if name not in ("energy_import", "reactive_energy_import")
    ) + ", energy_import: {kind: gauge}, reactive_energy_import: {kind: gauge}}"  # fmt: skip
    with (
        Libmodbus({(1, "input", 72): [*words(0.0)] * 3}) as server,
        Gateway(config(server.port, broker, machine)) as gateway,
    ):
        none = {"energy_import": 0.0, "reactive_energy_import": 0.0}
        wait_until(lambda: shows(gateway.machine("meter")["signals"], none), 10, "the first values")
        for active, reactive in series:
            server.set(1, "input", 72, *words(active), 0, 0, *words(reactive))
            new = {"energy_import": active, "reactive_energy_import": reactive}
            wait_until(lambda new=new: shows(gateway.machine("meter")["signals"], new), 10, "the new values")
        gateway.catch_up()
        for column, signal in enumerate(("energy_import", "reactive_energy_import")):
            found = changes([row["value"] for row in gateway.query(f"meter/{signal}") if row["quality"] == "good"])
            expected = changes([0.0, *(values[column] for values in series)])
            assert len(found) == len(expected)
            assert all(math.isclose(a, b, rel_tol=2e-7) for a, b in zip(found, expected, strict=True))
