"""How profiles extend one another, and what a machine says to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Configuration, check_profile, load
from gateway.config.profiles import MAX_EXTENDS
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols

HEAD = "connections: {c: {protocol: modbus-tcp, host: 10.0.0.1}, u: {protocol: opcua, url: 'opc.tcp://h', security: None}}\n"


def plant(folder: Path, machines: str, **profiles: str) -> Configuration:
    (folder / "profiles").mkdir(exist_ok=True)
    for name, text in profiles.items():
        (folder / "profiles" / f"{name}.yaml").write_text(text)
    (folder / "gateway.yaml").write_text(HEAD + "machines:\n" + machines)
    return load(folder, protocols(), env={})


def of(configuration: Configuration, machine: str = "m") -> Any:
    return configuration.machines[machine]


BASE = """
protocol: modbus
description: the larger one
order: CDAB
quirks: {max_registers: 80, max_gap: 0}
signals:
  a: {input: 0, type: float32, unit: V, range: [0, 300]}
  b: {input: 2, type: float32, unit: A}
  c: {input: 4, type: float32}
"""


def test_what_stands_nearer_counts_and_null_takes_out(tmp_path):
    derived = "extends: base\nquirks: {max_gap: 4}\nsignals: {a: {unit: kV, range: null}, b: null, d: {coil: 7}}\n"
    machine = "  m: {connection: c, profile: derived, signals: {c: null, a: {range: [0, 9]}}}\n  n: {connection: c, profile: derived}\n"
    found = plant(tmp_path, machine, base=BASE, derived=derived)
    m, n = of(found), of(found, "n")
    assert (set(m.signals), set(n.signals)) == ({"a", "d"}, {"a", "c", "d"})
    assert (n.signals["a"].unit, n.signals["a"].range, n.signals["a"].order) == ("kV", None, "CDAB")
    assert m.signals["a"].range == (0, 9)
    assert (m.quirks.max_registers, m.quirks.max_gap) == (80, 4)
    assert m.description == "the larger one"


def chain(length: int) -> dict[str, str]:
    """p0 extends p1 extends … `length` times; each says one thing more, and what the last one says is overridden."""
    found = {f"p{i}": f"extends: p{i + 1}\nsignals: {{s{i}: {{coil: {i}}}}}\n" for i in range(length)}
    return found | {f"p{length}": "protocol: modbus\nsignals: {s0: {coil: 99}, last: {coil: 100}}\n"}


def test_a_line_of_eight(tmp_path):
    found = of(plant(tmp_path, "  m: {connection: c, profile: p0}", **chain(MAX_EXTENDS)))
    assert MAX_EXTENDS == 8
    assert {name: signal.coil for name, signal in found.signals.items()} == {
        **{f"s{i}": i for i in range(8)}, "last": 100,
    }  # fmt: skip
    checked = check_profile(tmp_path / "profiles" / "p0.yaml", protocols())
    assert checked.profile.extends == tuple(f"p{i}" for i in range(1, 9))


@pytest.mark.parametrize("first", ["p0", "p5"])  # whichever of them was read before
def test_nine_are_too_many(tmp_path, first):
    machines = f"  k: {{connection: c, profile: {first}}}\n  m: {{connection: c, profile: p0}}\n"
    with pytest.raises(ConfigErrors, match="more than 8 profiles extend one another"):
        plant(tmp_path, machines, **chain(MAX_EXTENDS + 1))


def test_a_copy_only_of_what_it_changes(tmp_path):
    """A profile of one's own extends the one of the same name that comes along."""
    own = "extends: eastron-sdm630\npoll: 5s\nsignals: {voltage_l1: {deadband: 0.5}}\n"
    found = of(plant(tmp_path, "  m: {connection: c, profile: eastron-sdm630}", **{"eastron-sdm630": own}))
    assert len(found.signals) == 39  # as many as register_maps/README.md counts
    assert (found.signals["voltage_l1"].deadband, found.signals["voltage_l1"].input) == (0.5, 0)
    assert {signal.poll for signal in found.signals.values()} == {5.0}


def test_who_made_it_is_not_handed_down(tmp_path):
    base = "manufacturer: Acme\nmodel: X\nsource: a manual\ntested_with: [a bench]\nversion: '2'\nkind: drive\n" + BASE
    plant(tmp_path, "  m: {connection: c, profile: derived}", base=base, derived="extends: base\n")
    identity = check_profile(tmp_path / "profiles" / "derived.yaml", protocols()).profile.identity
    assert (identity.manufacturer, identity.model, identity.source, identity.version) == ("", "", "", "")
    assert identity.tested_with == []
    assert (identity.protocol, identity.kind) == ("modbus", "drive")


def test_a_profile_may_extend_one_that_comes_along_with_its_protocol(tmp_path):
    own = "extends: packml-unit\nkpi: null\nsignals: {speed_design: null}\n"
    parameters = "{namespace: 'urn:x', machine: 'packml:PackMLObjects/own:U'}"
    found = of(plant(tmp_path, f"  m: {{connection: u, profile: mine, parameters: {parameters}}}", mine=own))
    assert len(found.signals) == 11
    assert found.kpi is None
    assert found.signals["mode"].path == "packml:PackMLObjects/own:U/packml:Status/packml:UnitModeCurrent"
    assert found.namespaces["own"] == "urn:x"


# --- parameters ------------------------------------------------------------------------------------------------------

DRIVE = """
protocol: modbus
parameters:
  axis: {description: which of its axes, default: 1}
  scale: {default: 0.5}
  name: {example: X}
unit_id: $(axis)
signals:
  speed:    {holding: $(100 + 20*(axis - 1)), type: int16, scale: $(scale), description: speed of $(name)}
  position: {holding: "$(102 + 20*(axis - 1))", type: int32, range: [$(-axis), $(axis)]}
"""


def test_a_machine_says_what_is_left_open(tmp_path):
    machines = """
  one: {connection: c, profile: drive, parameters: {name: A}}
  two: {connection: c, profile: drive, parameters: {name: B, axis: 3, scale: 2}}
"""
    found = plant(tmp_path, machines, drive=DRIVE)
    one, two = of(found, "one"), of(found, "two")
    assert (one.unit_id, two.unit_id) == (1, 3)
    assert (one.signals["speed"].holding, two.signals["speed"].holding) == (100, 140)
    assert (one.signals["position"].holding, two.signals["position"].holding) == (102, 142)
    assert (one.signals["speed"].scale, two.signals["speed"].scale) == (0.5, 2.0)
    assert (one.signals["speed"].description, two.signals["speed"].description) == ("speed of A", "speed of B")
    assert two.signals["position"].range == (-3, 3)
    assert two.parameters == {"name": "B", "axis": 3, "scale": 2}


def test_machines_with_equal_parameters_share_their_signals(tmp_path):
    machines = "".join(
        f"  m{i}: {{connection: c, profile: drive, parameters: {{name: A, axis: {i % 2}}}}}\n" for i in range(6)
    )
    found = plant(tmp_path, machines, drive=DRIVE.replace("[$(-axis), $(axis)]", "[-9, 9]"))
    assert len({id(machine.signals["speed"]) for machine in found.machines.values()}) == 2


def test_true_is_not_one(tmp_path):
    text = "protocol: modbus\nparameters: {n: {default: 1}, on: {default: true}}\nsignals: {a: {coil: $(n), description: is $(on)}}\n"
    machines = "  m: {connection: c, profile: p, parameters: {n: 1}}\n  k: {connection: c, profile: p, parameters: {n: 1, on: false}}\n"
    found = plant(tmp_path, machines, p=text)
    assert of(found).signals["a"].description == "is true"
    assert of(found, "k").signals["a"].description == "is false"


def test_a_variant_changes_a_default_and_takes_a_parameter_out(tmp_path):
    variant = "extends: drive\nparameters: {axis: {default: 4}, name: null}\nsignals: {speed: {description: fixed}}\n"
    found = of(plant(tmp_path, "  m: {connection: c, profile: variant}", drive=DRIVE, variant=variant))
    assert found.signals["speed"].holding == 160
    assert found.signals["speed"].description == "fixed"
    checked = check_profile(tmp_path / "profiles" / "variant.yaml", protocols())
    assert checked.profile.identity.parameters["axis"].description == "which of its axes"


def test_without_parameters_nothing_changes(tmp_path):
    text = "protocol: modbus\nsignals: {a: {coil: 0, description: '$(axis) and $$(axis)'}}\n"
    found = of(plant(tmp_path, "  m: {connection: c, profile: p}", p=text))
    assert found.signals["a"].description == "$(axis) and $$(axis)"


def test_what_a_machine_writes_itself_is_taken_as_it_is(tmp_path):
    machine = (
        "  m: {connection: c, profile: drive, parameters: {name: A}, signals: {own: {coil: 1, description: $(axis)}}}"
    )
    assert of(plant(tmp_path, machine, drive=DRIVE)).signals["own"].description == "$(axis)"


# --- by itself -------------------------------------------------------------------------------------------------------


def test_a_profile_is_checked_with_defaults_and_examples(tmp_path):
    plant(tmp_path, "  m: {connection: c, profile: drive, parameters: {name: A}}", drive=DRIVE)
    checked = check_profile(tmp_path / "profiles" / "drive.yaml", protocols())
    assert checked.machine.signals["speed"].description == "speed of X"
    assert set(checked.profile.identity.parameters) == {"axis", "scale", "name"}


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("signals: {a: {coil: 0}}\n", 1, "protocol", "'protocol' is missing"),
        ("protocol: modbs\nsignals: {a: {coil: 0}}\n", 1, "protocol", "'modbs' is not a family of protocols we know"),
        ("protocol: modbus\n", 1, "", "this machine has no signals"),
        ("protocol: modbus\nsignals:\n  a: {coil: 0, unit: 5}\n", 3, "signals.a.unit", "5 is not text"),
        ("protocol: modbus\npool: 1s\nsignals: {a: {coil: 0}}\n", 2, "pool", "'pool' is not a key here"),
        ("- a\n", 1, "", "a profile is a mapping (key: value)"),
        ("protocol: opcua\nsignals: {a: {coil: 0}}\n", 2, "signals.a.coil", "'coil' is not a key here"),
    ],
)
def test_what_is_wrong_is_shown_in_the_profile(tmp_path, monkeypatch, text, line, field, message):
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(text)
    with pytest.raises(ConfigErrors) as raised:
        check_profile(Path("p.yaml"), protocols())
    found = [(e.file, e.line, e.field, e.message) for e in raised.value.errors]
    assert ("p.yaml", line, field, message) in found


def test_what_is_worked_out_is_checked_too(tmp_path, monkeypatch):
    """Signals of other machines are named by parameters: whether they are there is seen in a configuration."""
    monkeypatch.chdir(tmp_path)
    text = """
protocol: modbus
parameters: {meter: {example: meter-01}}
signals: {a: {input: 0, type: uint16, kind: counter}}
computed: {energy_of_one: {value: "[$(meter)/energy_import] / a"}}
state: [{when: "[$(meter)/active_power_total] > 100 and a > 2", state: running}]
kpi: {total: a, energy: {counter: $(meter)/energy_import}}
"""
    Path("p.yaml").write_text(text)
    check_profile(Path("p.yaml"), protocols())
    Path("p.yaml").write_text(text.replace("a > 2", "b > 2").replace("total: a", "total: c"))
    with pytest.raises(ConfigErrors) as raised:
        check_profile(Path("p.yaml"), protocols())
    assert [(e.line, e.field) for e in raised.value.errors] == [(6, "state.0.when"), (7, "kpi.total")]
    with pytest.raises(ConfigErrors, match="there is no signal 'energy_import' of machine 'meter-02'"):
        plant(Path(), "  m: {connection: c, profile: p, parameters: {meter: meter-02}}", p=text)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigErrors, match=r"p\.yml: error: is not read\n.*rename it to \*\.yaml"):
        check_profile(tmp_path / "p.yml", protocols())
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        check_profile(tmp_path / "p.yaml", protocols())


def test_profiles_that_nobody_uses_are_checked_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = "protocol: modbus\nsignals: {a: {coil: -1}}\n"
    abstract = "parameters: {n: {default: 1}}\nsignals: {a: {coil: $(n)}}\n"  # its protocol is said by what extends it
    files = {"used": BASE, "broken": broken, "abstract": abstract, "whole": "extends: abstract\nprotocol: modbus\n"}
    plant(Path(), "  m: {connection: c, profile: used}", **files)
    with pytest.raises(ConfigErrors) as raised:
        load(Path(), protocols(), env={}, every_profile=True)
    assert [(e.file, e.line) for e in raised.value.errors] == [("profiles/broken.yaml", 2)]
    Path("profiles/broken.yaml").unlink()
    load(Path(), protocols(), env={}, every_profile=True)
    Path("profiles/other.yml").write_text(BASE)
    with pytest.raises(ConfigErrors, match=r"profiles/other\.yml: error: is not read"):
        load(Path(), protocols(), env={}, every_profile=True)


def test_a_machine_of_a_broken_profile_adds_no_mistakes_of_its_own(tmp_path, monkeypatch):
    """Half of what it says refers to signals that are not there now."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors) as raised:
        plant(
            Path(), "  m: {connection: c, profile: p, kpi: {good: a}}", p="protocol: modbus\nsignals: [a]\nkind: a b\n"
        )
    assert [(e.file, e.line) for e in raised.value.errors] == [("profiles/p.yaml", 3)]
