"""The profiles that come along, against register images of the devices; and every YAML that is shown to a user."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.config import MachineQuirks, ModbusMachine, ModbusSignal
from adapters.modbus.connections import (
    ModbusAscii,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusTls,
    ModbusUdp,
    SerialQuirks,
    TcpQuirks,
)
from adapters.modbus.decode import Layout
from adapters.modbus.plan import Limits, polls
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import Configuration, MachineSettings, SignalSettings, load
from gateway.counters import FlowCounters
from gateway.model import GOOD, NOT_A_NUMBER, NOT_AVAILABLE, OUT_OF_RANGE, Batch
from gateway.normalizer.plan import Plan

HERE = Path(modbus.__file__).parent
CONFIG = HERE.parents[1] / "config"
MAPS = HERE.parents[2] / "shared" / "register_maps"
PROTOCOLS = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
# One of the plant in config/, one for any make, and two that extend others: tests/profiles has them.
WITHOUT_IMAGE = {"oven", "sunspec-inverter", "compressor-generic", "eastron-sdm72-v2", "inepro-pro380"}
OF_MODBUS = {f.stem for f in (HERE / "profiles").glob("*.yaml") if "\nprotocol: modbus\n" in f.read_text()}
PROFILES = sorted(OF_MODBUS - WITHOUT_IMAGE)
README = (HERE / "README.md").read_text()

LINK = ModbusTcp.model_validate({"protocol": "modbus-tcp", "host": "h"})
TABLES = {"1": "coil", "2": "discrete", "3": "holding", "4": "input"}
Row = Mapping[str, str]
Image = Mapping[tuple[str, int], int]  # words, or bits, by table and address
Reading = tuple[Any, int]  # value and quality

# What the registers of each device hold (hex; 0 or 1 for a bit), and the value that means: empty where there is none.
DEVICES: dict[str, list[Row]] = defaultdict(list)
with Path(__file__).with_name("devices.csv").open(newline="") as lines:
    for line in csv.DictReader(lines):
        DEVICES[line["profile"]].append(line)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """A machine of each profile, in one line each, behind one connection."""
    file = tmp_path_factory.mktemp("plant") / "gateway.yaml"
    machines = (f"  {name}: {{connection: c, unit_id: {i}, profile: {name}}}" for i, name in enumerate(PROFILES, 1))
    file.write_text("\n".join(["connections: {c: {protocol: modbus-tcp, host: h}}", "machines:", *machines, ""]))
    return load(file, PROTOCOLS)


def machine_of(plant: Configuration, profile: str) -> ModbusMachine:
    machine = plant.machines[profile]
    assert isinstance(machine, ModbusMachine)
    return machine


def image_of(profile: str) -> dict[tuple[str, int], int]:
    image = {}
    for row in DEVICES[profile]:
        for i, word in enumerate(row["words"].split()):
            image[row["table"], int(row["address"]) + i] = int(word, 16)
    return image


def readings(plant: Configuration, profile: str, image: Image) -> dict[str, Reading]:
    """The way of the data, from the plan to what leaves. Addresses not in the image hold what must not matter."""
    machine = machine_of(plant, profile)
    context = Context("c", LINK, {plant.path_of(profile): machine}, SystemClock(), FlowCounters(), Path(), "edge")
    [header] = modbus.build(context).headers
    place = {signal.name: i for i, signal in enumerate(header.signals)}
    normalizer = Plan(header, machine.signals)
    found: dict[str, Reading] = {}
    for poll in polls(machine, Limits.of(LINK, machine)):
        signal: list[int] = []
        values: list[Any] = []
        quality: list[int] = []
        for block in poll.blocks:
            words = [image.get((block.table, at), 0xA5A5) for at in range(block.address, block.address + block.count)]
            data = b"".join(word.to_bytes(2, "big") for word in words)
            if block.table in ("coil", "discrete"):
                bits = sum((word & 1) << i for i, word in enumerate(words))
                data = bits.to_bytes(block.payload, "little")
            column, qualities = Layout(block).decode(data)
            signal += [place[name] for name in block.names]
            values += column
            quality += qualities or (GOOD,) * len(column)
        sent = normalizer.apply(Batch(header, tuple(signal), [1] * len(signal), values, quality), 0.0, 1)
        assert sent is not None
        for at, i in enumerate(sent.signal):
            name = sent.header.signals[i].name
            found[name] = sent.value[at], (sent.quality[at] if sent.quality else GOOD)
    return found


def check(signal: ModbusSignal, reading: Reading, expected: Any) -> None:
    """A value as the device shows it: None where it has none, NaN as the text, a state by its number."""
    value, quality = reading
    if expected is None or expected == "NaN":
        assert reading == (None, NOT_AVAILABLE if expected is None else NOT_A_NUMBER)
        return
    assert quality == GOOD
    if signal.enum is not None:
        assert value == signal.enum[expected]
    elif isinstance(expected, (bool, str)):
        assert value == expected
        assert type(value) is type(expected)
    else:
        assert value == pytest.approx(expected, rel=1e-9)


def expected_of(row: Row, signal: ModbusSignal) -> Any:
    text = row["value"]
    if signal.value_type == "string" or text == "NaN":
        return text
    return {"": None, "true": True, "false": False}[text] if text in ("", "true", "false") else float(text)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_device_reads_as_it_should(plant: Configuration, profile: str) -> None:
    signals = machine_of(plant, profile).signals
    found = readings(plant, profile, image_of(profile))
    assert sorted(found) == sorted(signals) == sorted(row["signal"] for row in DEVICES[profile])
    for row in DEVICES[profile]:
        signal = signals[row["signal"]]
        expected = expected_of(row, signal)
        check(signal, found[row["signal"]], bool(expected) if signal.value_type == "bool" else expected)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_where_it_is_from(profile: str) -> None:
    text = (HERE / "profiles" / f"{profile}.yaml").read_text()
    for key in ("description: ", "protocol: modbus\n", "source: ", "signals:\n"):
        assert text.startswith(key) or f"\n{key}" in text


def test_there_is_one_copy_of_each_profile() -> None:
    assert (HERE / "profiles").resolve() == CONFIG / "profiles"
    assert not (HERE / "profiles").readlink().is_absolute()


def test_without_a_scale_factor_there_is_no_value(plant: Configuration) -> None:
    image = image_of("sunspec-inverter-103")
    found = readings(plant, "sunspec-inverter-103", image | {("holding", 40084): 0x8000, ("holding", 40075): 3})
    assert found["W_SF"] == found["W"] == (None, NOT_AVAILABLE)
    assert found["A"] == (1_246_000.0, GOOD)
    assert found["Hz"] == (50.77, GOOD)


def test_another_model_at_that_address_shows(plant: Configuration) -> None:
    found = readings(plant, "sunspec-inverter-103", image_of("sunspec-inverter-103") | {("holding", 40069): 50})
    assert found["ID"] == (50, OUT_OF_RANGE)


# --- the whole maps, which lie beside the checkout -----------------------------------------------------------------------

DEVICE_OF = {
    "abb-b23": "abb_b23", "carel-ir33": "carel_ir33_controller", "carlo-gavazzi-em24": "carlo_gavazzi_em24",
    "cryomech-cpa": "cryomech_cpa_compressor", "danfoss-fc51": "danfoss_fc51_vfd", "eastron-sdm630": "eastron_sdm630",
    "eliwell-idplus": "eliwell_idplus_temp", "plant-plc-recorded": "plant_plc_recorded",
    "schneider-iem3155": "schneider_iem3155", "siemens-pac2200": "siemens_pac2200",
    "sunspec-inverter-103": "sunspec_inverter_103", "vacon-10": "vacon10_vfd", "wago-879-3000": "wago_879_3000",
}  # fmt: skip
UCUM = {"degC": "Cel", "VA": "V.A", "Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h", "kvarh": "kvar.h", "rpm": "1/min"}
TYPES = {"bit": "bool", "uint8l": "uint8"}  # `byte: low` is the default


def rows_of(device: str) -> list[Row]:
    with (MAPS / f"{device}.csv").open(newline="") as rows:
        return list(csv.DictReader(rows))


@pytest.mark.shared
def test_every_device_has_a_profile() -> None:
    assert {file.stem for file in MAPS.glob("*.csv")} == set(DEVICE_OF.values())
    assert set(DEVICE_OF) == set(PROFILES)


@pytest.mark.shared
@pytest.mark.parametrize("profile", PROFILES)
def test_the_image_of_a_device(plant: Configuration, profile: str) -> None:
    signals = machine_of(plant, profile).signals
    recorded = json.loads((MAPS / "images" / f"{DEVICE_OF[profile]}.image.json").read_text())
    image = {
        (TABLES[table], int(address)): word
        for table, words in recorded["tables"].items()
        for address, word in words.items()
    }
    found = readings(plant, profile, image)
    assert found.keys() == recorded["expected"].keys()
    for name, expected in recorded["expected"].items():
        signal = signals[name]
        check(signal, found[name], bool(expected) if signal.value_type == "bool" else expected)


@pytest.mark.shared
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_what_the_map_says(plant: Configuration, profile: str) -> None:
    signals = machine_of(plant, profile).signals
    rows = rows_of(DEVICE_OF[profile])
    assert sorted(row["name"] for row in rows) == sorted(signals)
    for row in rows:
        name, signal = row["name"], signals[row["name"]]
        assert (signal.table, signal.address) == (TABLES[row["function_code"]], int(row["address"])), name
        assert signal.size == int(row["registers"]), name
        assert signal.byte == "low", name
        assert signal.bit == (int(row["bit"]) if row["bit"] else None), name
        if (profile, name) != ("cryomech-cpa", "running"):  # 0 or 1: a bool is what it is
            assert signal.data_type == TYPES.get(row["type"], row["type"]), name
        if row["byte_order"]:
            assert signal.wire_order == row["byte_order"], name
        if row["scale"] in signals:
            assert (signal.scale_from, signal.scale) == (row["scale"], None), name
        else:
            assert (signal.scale_from, signal.scale or 1.0) == (None, float(row["scale"])), name
        assert signal.offset is None, name
        assert not row["offset"], name
        if row["na"]:
            assert int(row["na"], 16) in signal.invalid, name
        if (profile, row["unit"]) not in {("cryomech-cpa", "degC"), ("cryomech-cpa", "bar")}:  # another register tells
            assert signal.unit == UCUM.get(row["unit"], row["unit"]), name


@pytest.mark.parametrize("profile", PROFILES)
def test_what_adds_up_is_a_counter(plant: Configuration, profile: str) -> None:
    for name, signal in machine_of(plant, profile).signals.items():
        total = signal.unit.endswith(".h") or name in ("operating_hours", "running_hours", "hours", "fault_counter")
        assert (signal.kind == "counter") is total, name


# --- requests --------------------------------------------------------------------------------------------------------

# With the limits of its profile: what our plan needs, and what it needs to go through the signals by address and read
# each along with those before it while the gap and the length allow it.
REQUESTS = {
    "abb-b23": (3, 3), "carel-ir33": (4, 4), "carlo-gavazzi-em24": (7, 7), "cryomech-cpa": (1, 1),
    "danfoss-fc51": (18, 18), "eastron-sdm630": (3, 3), "eliwell-idplus": (5, 5), "plant-plc-recorded": (4, 4),
    "schneider-iem3155": (4, 4), "siemens-pac2200": (2, 2), "sunspec-inverter-103": (1, 1), "vacon-10": (4, 4),
    "wago-879-3000": (2, 2),
}  # fmt: skip


def greedy(signals: Iterable[ModbusSignal], limits: Limits) -> int:
    number, table, first, end = 0, "", 0, 0
    for signal in sorted(signals, key=lambda each: (each.table, each.address, each.size)):
        bits = signal.table in ("coil", "discrete")
        gap = limits.max_gap * (16 if bits else 1)
        length = limits.max_bits if bits else limits.max_registers
        last = max(end, signal.address + signal.size)
        if signal.table != table or signal.address > end + gap or last - first > length:
            number, table, first, last = number + 1, signal.table, signal.address, signal.address + signal.size
        end = last
    return number


def test_no_more_requests_than_need_be(plant: Configuration) -> None:
    found = {}
    for profile in PROFILES:
        machine = machine_of(plant, profile)
        limits = Limits.of(LINK, machine)
        blocks = [block for poll in polls(machine, limits) for block in poll.blocks]
        for block in blocks:
            assert block.count <= (limits.max_bits if block.table in ("coil", "discrete") else limits.max_registers)
        found[profile] = len(blocks), greedy(machine.signals.values(), limits)
    print("\n".join(f"{profile:<22} {ours:>3} {simple:>3}" for profile, (ours, simple) in found.items()))
    assert all(ours <= simple for ours, simple in found.values())
    assert found == REQUESTS


def test_quirks_are_those_of_the_device(plant: Configuration) -> None:
    def quirks(profile: str) -> dict[str, Any]:
        return machine_of(plant, profile).quirks.model_dump(exclude_defaults=True)

    assert {profile: said for profile in PROFILES if (said := quirks(profile))} == {
        "carlo-gavazzi-em24": {"max_registers": 11},
        "danfoss-fc51": {"max_gap": 0, "pause_between_requests": 0.005},
        "eastron-sdm630": {"max_registers": 80},
        "eliwell-idplus": {"max_registers": 15},
        "plant-plc-recorded": {"max_gap": 30},
    }


# --- what is shown to users ------------------------------------------------------------------------------------------


def test_the_example_loads_and_can_be_planned(tmp_path: Path) -> None:
    configuration = load(HERE / "example.yaml", PROTOCOLS)
    assert not configuration.warnings
    for name, connection in configuration.connections.items():
        machines = {configuration.path_of(m): s for m, s in configuration.machines_of(name).items()}
        context = Context(name, connection, machines, SystemClock(), FlowCounters(), tmp_path, "edge")
        requests = modbus.plan(context).requests
        assert {request.machine for request in requests} == {path.machine for path in machines}
        adapter = modbus.build(context)
        assert {signal.name for header in adapter.headers for signal in header.signals} == {
            name for machine in machines.values() for name in machine.signals
        }


def test_the_readme_shows_the_example_and_every_key_and_profile() -> None:
    assert f"```yaml\n{(HERE / 'example.yaml').read_text()}```" in README
    own = set(ModbusTcp.model_fields) | set(ModbusMachine.model_fields) | set(ModbusSignal.model_fields)
    # What every protocol has is in config/SIGNALS.md, and a test of its own.
    common = {"protocol", *MachineSettings.model_fields, *SignalSettings.model_fields}
    links = (ModbusTcp, ModbusRtu, ModbusAscii, ModbusRtuOverTcp, ModbusUdp, ModbusTls)
    own |= {key for link in links for key in link.model_fields}
    own |= {key for quirks in (TcpQuirks, SerialQuirks, MachineQuirks) for key in quirks.model_fields}
    for key in own - common:
        assert f"`{key}`" in README or f"`{key}:" in README, key
    for profile in OF_MODBUS - {"oven"}:
        assert f"`{profile}`" in README, profile
