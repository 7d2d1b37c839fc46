"""The profiles that come along: found right, called by common names, and read from a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.config import CheckedProfile, check_profile
from gateway.config.profiles import Identity, Parameter
from gateway.runtime.registry import protocols
from parts.gateway import gateway
from parts.libmodbus import Libmodbus

FOLDER = Path(__file__).parents[2] / "config" / "profiles"
README = (FOLDER / "README.md").read_text()
PROFILES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
KINDS = [
    "energy-meter", "drive", "compressor", "temperature-controller", "inverter", "controller", "injection-moulding-machine",
    "machine-tool", "packaging-unit",
]  # fmt: skip


def checked(name: str) -> CheckedProfile:
    return check_profile(FOLDER / f"{name}.yaml", protocols(), env={})


@pytest.mark.parametrize("name", PROFILES)
def test_it_is_right(name):
    found = checked(name)
    assert found.machine.signals
    assert found.warnings == ()


@pytest.mark.parametrize("name", [name for name in PROFILES if not name.startswith("sunspec")])
def test_it_says_what_it_is(name):
    found = checked(name)
    identity = found.profile.identity
    assert found.profile.description
    assert identity.source
    assert identity.version
    if name == "oven":  # the plant's own
        return
    assert identity.kind in KINDS
    assert identity.tested_with
    of_any_make = {"compressor-generic", "plant-plc-recorded", "euromap77-imm", "machinetool-40501", "packml-unit"}
    assert bool(identity.manufacturer) is (name not in of_any_make)


def test_every_adapter_brings_its_own_and_no_others():
    folders = {protocol.family: protocol.profiles for protocol in protocols().values()}
    assert {file.stem for file in folders["opcua"].glob("*.yaml")} == {
        name for name in PROFILES if checked(name).profile.identity.protocol == "opcua"
    }
    for folder in folders.values():
        for file in folder.glob("*.yaml"):
            assert file.resolve().parent == FOLDER
            assert not any(
                part.is_absolute() for part in (folder, file) if part.is_symlink() for part in [part.readlink()]
            )


# --- two that extend others ------------------------------------------------------------------------------------------

# volkszaehler/mbmd, meters/rs485/sdm72v2.go: input registers, 32-bit floats.
SDM72 = {
    "voltage_l1": 0x00, "voltage_l2": 0x02, "voltage_l3": 0x04, "current_l1": 0x06, "current_l2": 0x08, "current_l3": 0x0A,
    "active_power_l1": 0x0C, "active_power_l2": 0x0E, "active_power_l3": 0x10, "apparent_power_l1": 0x12,
    "apparent_power_l2": 0x14, "apparent_power_l3": 0x16, "reactive_power_l1": 0x18, "reactive_power_l2": 0x1A,
    "reactive_power_l3": 0x1C, "power_factor_l1": 0x1E, "power_factor_l2": 0x20, "power_factor_l3": 0x22,
    "active_power_total": 0x34, "apparent_power_total": 0x38, "reactive_power_total": 0x3C, "power_factor_total": 0x3E,
    "frequency": 0x46, "energy_import": 0x48, "energy_export": 0x4A, "energy_total": 0x156, "reactive_energy_total": 0x158,
}  # fmt: skip
# volkszaehler/mbmd, meters/rs485/inepro.go: holding registers, 32-bit floats; powers in thousands.
PRO380 = {
    "voltage_avg": 0x5000, "voltage_l1": 0x5002, "voltage_l2": 0x5004, "voltage_l3": 0x5006, "frequency": 0x5008,
    "current_total": 0x500A, "current_l1": 0x500C, "current_l2": 0x500E, "current_l3": 0x5010, "active_power_total": 0x5012,
    "active_power_l1": 0x5014, "active_power_l2": 0x5016, "active_power_l3": 0x5018, "reactive_power_total": 0x501A,
    "reactive_power_l1": 0x501C, "reactive_power_l2": 0x501E, "reactive_power_l3": 0x5020, "apparent_power_total": 0x5022,
    "apparent_power_l1": 0x5024, "apparent_power_l2": 0x5026, "apparent_power_l3": 0x5028, "power_factor_total": 0x502A,
    "power_factor_l1": 0x502C, "power_factor_l2": 0x502E, "power_factor_l3": 0x5030, "energy_total": 0x6000,
    "energy_total_l1": 0x6006, "energy_total_l2": 0x6008, "energy_total_l3": 0x600A, "energy_import": 0x600C,
    "energy_import_tariff_1": 0x600E, "energy_import_tariff_2": 0x6010, "energy_import_l1": 0x6012,
    "energy_import_l2": 0x6014, "energy_import_l3": 0x6016, "energy_export": 0x6018, "energy_export_l1": 0x601E,
    "energy_export_l2": 0x6020, "energy_export_l3": 0x6022, "reactive_energy_total": 0x6024,
    "reactive_energy_import": 0x6030, "reactive_energy_export": 0x603C,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "table", "addresses", "base"),
    [("eastron-sdm72-v2", "input", SDM72, "eastron-sdm630"), ("inepro-pro380", "holding", PRO380, "wago-879-3000")],
)
def test_a_variant_has_the_registers_of_its_source(name, table, addresses, base):
    found = checked(name)
    signals = found.machine.signals
    assert found.profile.extends == (base,)
    assert {each: getattr(signal, table) for each, signal in signals.items()} == addresses
    for each, signal in signals.items():
        assert signal.type == "float32", each
        assert (signal.kind == "counter") is ("energy" in each), each
        assert signal.scale == (1000 if table == "holding" and "_power_" in each else None), each


# --- a compressor by its contacts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "raw", "pressure"),
    [
        ("", 13824, 8.0),  # half of 27648, of 16 bar
        ("pressure_at_20ma: 10", 27648, 10.0),
        # A module that makes 0 to 27648 of 0 to 20 mA: 4 mA are 5530 (5529.6), and the middle is 12 mA.
        ("pressure_at_20ma: 10, raw_at_4ma: 5530", 16589, 5.0),
    ],
)
def test_a_compressor_through_an_io_module(tmp_path, parameters, raw, pressure):
    with Libmodbus({(1, "discrete", 8): [1, 0, 0], (1, "input", 2): [raw]}) as module:
        said = ", ".join(filter(None, ("contacts: 8, analog: 2", parameters)))
        (tmp_path / "gateway.yaml").write_text(
            f"connections: {{io: {{protocol: modbus-tcp, host: 127.0.0.1, port: {module.port}}}}}\n"
            f"machines: {{m: {{connection: io, profile: compressor-generic, parameters: {{{said}}}}}}}\n"
        )
        done = gateway("read", "m", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert [rows[name]["value"] for name in ("running", "loaded", "fault")] == [True, False, False]
    assert rows["high_pressure"]["value"] == pytest.approx(pressure, abs=1e-9)
    assert rows["high_pressure"]["unit"] == "bar"


# --- common names ----------------------------------------------------------------------------------------------------


def tables() -> dict[str, dict[str, str]]:
    """Common names and their units, by kind, as the README has them."""
    found: dict[str, dict[str, str]] = {}
    for heading, body in re.findall(r"^### (.+?)\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL):
        for names, unit in re.findall(r"^\| (`.+?) \| ([^|]*?) ?\|", body, re.MULTILINE):
            for kind in heading.split(", "):
                found.setdefault(kind, {}).update(dict.fromkeys(re.findall(r"`(\w+)`", names), unit.strip()))
    return found


def test_common_names_are_common():
    """Each is the name of a signal of a profile of that kind, and has the same unit in all of them."""
    of_kind: dict[str, list[CheckedProfile]] = {}
    for name in PROFILES:
        found = checked(name)
        of_kind.setdefault(found.profile.identity.kind or "", []).append(found)
    assert {"energy-meter", "drive", "compressor", "injection-moulding-machine"} <= tables().keys()
    assert len(tables()["energy-meter"]) > 30
    together = {
        name
        for each in ("injection-moulding-machine", "machine-tool", "packaging-unit")
        for p in of_kind[each]
        for name in p.machine.signals
    }
    for kind, names in tables().items():
        used = {name for profile in of_kind[kind] for name in profile.machine.signals}
        assert names.keys() <= used | (together if "mode" in names else set()), kind
        for profile in of_kind[kind]:
            for name, signal in profile.machine.signals.items():
                if names.get(name):
                    assert signal.unit == names[name], (profile.profile.name, name)


def test_meters_of_one_kind_show_on_one_dashboard():
    """What a plant's energy page needs, every meter has."""
    for name in PROFILES:
        found = checked(name)
        if found.profile.identity.kind == "energy-meter":
            assert {"voltage_l1", "current_l1", "active_power_total", "energy_import", "frequency"} <= set(
                found.machine.signals
            )


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_readme_names_every_key_and_kind():
    for key in [*Identity.model_fields, *Parameter.model_fields]:
        assert f"`{key}`" in README, key
    for kind in KINDS:
        assert f"`{kind}`" in README, kind
    for name in PROFILES:
        if checked(name).profile.identity.protocol == "opcua":
            assert f"`{name}`" in README, name


def test_the_examples_of_the_readme_are_right(tmp_path):
    examples = re.findall(r"<!-- profile: (\S+) -->\n```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "profiles").mkdir()
    for name, text in examples:
        (tmp_path / "profiles" / f"{name}.yaml").write_text(text)
    assert [name for name, _ in examples] == ["acme-feeder", "acme-feeder-mini"]
    [machine] = re.findall(r"```yaml\n(machines:.*?)```", README, re.DOTALL)
    panel = "connections: {panel: {protocol: modbus-tcp, host: 10.0.0.1}}\n"
    (tmp_path / "gateway.yaml").write_text(panel + machine)
    done = gateway("config", "check", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    feeder = check_profile(tmp_path / "profiles" / "acme-feeder.yaml", protocols()).machine.signals
    mini = check_profile(tmp_path / "profiles" / "acme-feeder-mini.yaml", protocols()).machine.signals
    # The first screw begins at 100, the second 20 registers later.
    assert [each["throughput"].input for each in (feeder, mini)] == [100, 120]
    assert set(feeder) - set(mini) == {"screw_speed"}
    assert (feeder["throughput"].unit, mini["throughput"].unit) == ("kg/h", "g/h")
    assert feeder["throughput"].description == "PA6 from screw 1"
