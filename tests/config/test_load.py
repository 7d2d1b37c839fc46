"""How files, profiles and defaults become one configuration."""

from pathlib import Path

import pytest

from gateway.config import find_config, load
from gateway.config.schema import json_schema, reference
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


PANEL = "connections: {panel: {protocol: modbus-tcp, host: 10.20.0.11}}\n"


def test_five_lines_are_a_machine(tmp_path):
    write(
        tmp_path, gateway=PANEL + "machines:\n  press: {connection: panel, signals: {a: {holding: 0, type: uint16}}}\n"
    )
    loaded = load(tmp_path / "gateway.yaml", protocols())
    machine = loaded.machines["press"]
    assert (machine.unit_id, machine.poll, machine.signals["a"].holding) == (1, 1.0, 0)
    assert loaded.path_of("press").levels() == ("press",)
    assert loaded.settings.delivery == "broker"


def test_a_folder_is_joined_and_a_file_may_be_one_machine(tmp_path):
    write(
        tmp_path,
        gateway=PANEL + "site: {enterprise: acme, line: L1}\nstore: {kind: historian}\n",
        machines__press="connection: panel\nline: L2\nsignals: {a: {holding: 0, type: uint16}}\n",
        machines__others="machines:\n  lathe: {connection: panel, signals: {b: {coil: 1}}}\n",
    )
    loaded = load(tmp_path, protocols())
    assert loaded.path_of("press").levels() == ("acme", "L2", "press")
    assert loaded.path_of("lathe").levels() == ("acme", "L1", "lathe")
    assert loaded.settings.delivery == "store"


def test_a_machine_in_two_files_is_a_mistake_that_names_both(tmp_path, monkeypatch):
    body = "machines: {press: {connection: panel, signals: {a: {coil: 1}}}}\n"
    write(tmp_path, gateway=PANEL, machines__a=body, machines__b=body)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigErrors,
        match=r"machines/b\.yaml:1:12: .*'press' is defined twice\n(.*\n)*.*first at machines/a\.yaml:1:12",
    ):
        load(Path(), protocols())


def test_nearest_value_wins_defaults_profile_machine_signal(tmp_path):
    write(
        tmp_path,
        gateway=PANEL + "defaults: {poll: 10s, stale_after: 33s, timeout: 3s}\n"
        "machines:\n"
        "  one: {connection: panel, profile: meter}\n"
        "  two: {connection: panel, profile: meter, poll: 2s, signals: {a: {poll: 1s, unit: W}, gone: null}}\n",
        profiles__meter="protocol: modbus\nsource: the manual\npoll: 5s\nsignals:\n"
        "  a: {input: 0, type: uint16, unit: V}\n  b: {input: 1, type: uint16}\n  gone: {input: 9, type: uint16}\n",
    )
    loaded = load(tmp_path, protocols())
    one, two = loaded.machines["one"], loaded.machines["two"]
    assert [one.signals[s].poll for s in ("a", "b")] == [5.0, 5.0]
    assert [two.signals[s].poll for s in ("a", "b")] == [1.0, 2.0]
    assert (two.signals["a"].unit, two.signals["a"].input) == ("W", 0)
    assert set(two.signals) == {"a", "b"}
    assert two.signals["b"].stale_after == 33.0
    assert loaded.connections["panel"].timeout == 3.0


def test_a_mistake_in_a_profile_is_shown_in_the_profile(tmp_path, monkeypatch):
    write(
        tmp_path,
        gateway=PANEL
        + "machines: {one: {connection: panel, profile: meter}, two: {connection: panel, profile: meter}}\n",
        profiles__meter="signals:\n  a: {input: 0, type: uint17}\n",
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors) as raised:
        load(Path(), protocols())
    (error,) = raised.value.errors
    assert (error.file, error.line, error.column) == ("profiles/meter.yaml", 2, 23)


def test_a_deadband_without_report_change_is_a_warning(tmp_path):
    text = PANEL + "machines: {p: {connection: panel, signals: {a: {holding: 0, type: uint16, deadband: 2}}}}\n"
    write(tmp_path, gateway=text)
    (warning,) = load(tmp_path / "gateway.yaml", protocols()).warnings
    assert "gateway.yaml:2:75: warning: machines.p.signals.a.deadband works with `report: change`" in warning


def test_where_the_configuration_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors, match="no configuration found"):
        find_config(env={})
    write(tmp_path / "config", gateway=PANEL)
    assert find_config(env={}) == Path("config")
    write(tmp_path, gateway=PANEL)
    assert find_config(env={}) == Path("gateway.yaml")
    assert find_config(env={"GATEWAY_CONFIG": str(tmp_path / "config")}) == tmp_path / "config"
    assert find_config(Path("gateway.yaml"), env={"GATEWAY_CONFIG": "elsewhere"}) == Path("gateway.yaml")
    with pytest.raises(ConfigErrors, match=r"there is no such file or folder \(from GATEWAY_CONFIG\)"):
        find_config(env={"GATEWAY_CONFIG": "elsewhere"})


def test_secrets_come_from_three_places(tmp_path):
    write(tmp_path, gateway="mqtt: {user: u, password: {secret: pw}}\n")

    def found(**env: str) -> str:
        return load(tmp_path / "gateway.yaml", protocols(), env=env).settings.mqtt.password.value

    assert found(GATEWAY_SECRET_PW="from the environment") == "from the environment"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("from the file\n")
    (tmp_path / "secrets" / "pw").chmod(0o600)
    assert found(GATEWAY_SECRET_PW="from the environment") == "from the file"
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "pw").write_text("from systemd")
    assert found(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")) == "from systemd"


def test_every_key_has_a_description():
    assert [key.path for key in reference(protocols()) if not key.description] == []


def test_the_schema_knows_every_protocol_and_forbids_unknown_keys():
    schema = json_schema(protocols())
    machines = schema["properties"]["machines"]["additionalProperties"]["anyOf"]
    assert len(machines) == len({p.machine for p in protocols().values()})
    assert all(m["additionalProperties"] is False for m in machines)


def test_states_may_have_hexadecimal_numbers(tmp_path):
    text = (
        PANEL
        + "machines: {p: {connection: panel, signals: {a: {holding: 0, type: uint16, enum: {0x10: auto, 1: off}}}}}\n"
    )
    write(tmp_path, gateway=text)
    assert load(tmp_path / "gateway.yaml", protocols()).machines["p"].signals["a"].enum == {16: "auto", 1: "off"}


def test_the_same_link_twice_is_one_connection(tmp_path):
    text = """
connections:
  a: {protocol: modbus-tcp, host: 10.0.0.1}
  b: {protocol: modbus-tcp, host: 10.0.0.1, port: 502}
machines:
  m: {connection: a, signals: {x: {coil: 0}}}
  n: {connection: b, unit_id: 2, signals: {x: {coil: 0}}}
"""
    (tmp_path / "gateway.yaml").write_text(text)
    configuration = load(tmp_path / "gateway.yaml", protocols(), env={})
    assert list(configuration.connections) == ["a"]
    assert list(configuration.machines_of("a")) == ["m", "n"]
    [warning] = configuration.warnings
    assert "gateway.yaml:4:3: warning: connections.b is the same link as 'a'" in warning


def test_files_of_the_store_are_where_they_were_written(tmp_path, monkeypatch):
    """Not where the command was typed: a service begins in /."""
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "gateway.yaml").write_text("store: {kind: historian, path: kept/all.sqlite}\n")
    monkeypatch.chdir(tmp_path)
    store = load(Path("plant"), {}).store
    assert store is not None
    assert store.path == Path("plant/kept/all.sqlite")
    (tmp_path / "plant" / "gateway.yaml").write_text('store: {kind: historian, path: "/srv/all.sqlite"}\n')
    store = load(Path("plant"), {}).store
    assert store is not None
    assert store.path == Path("/srv/all.sqlite")


def test_what_is_loaded_holds_no_machine_twice(tmp_path):
    """The settings of the whole say which machines there are; what they are is in `machines`, once."""
    text = "connections: {c: {protocol: modbus-tcp, host: h}}\nmachines:\n  m:\n    connection: c\n"
    text += (
        "    signals: {a: {holding: 0, type: uint16, kind: counter, delta: true}}\n    computed: {b: {value: a * 2}}\n"
    )
    (tmp_path / "gateway.yaml").write_text(text)
    loaded = load(tmp_path / "gateway.yaml", protocols())
    assert loaded.settings.machines == {"m": {}}
    assert loaded.settings.connections == {"c": {}}
    assert loaded.machines["m"].signals["a"].delta
    (tmp_path / "gateway.yaml").write_text(text.replace("{b:", "{a_delta:"))
    with pytest.raises(ConfigErrors) as raised:  # its place is known, though its signals are not kept until then
        load(tmp_path / "gateway.yaml", protocols())
    assert [(e.line, e.column, e.field) for e in raised.value.errors] == [(6, 16, "machines.m.computed.a_delta")]


def test_a_machine_that_is_no_mapping_is_still_a_mistake_at_its_line(tmp_path):
    (tmp_path / "gateway.yaml").write_text("connections: {c: 7}\nmachines: {press: [1], _m: {connection: c}}\n")
    with pytest.raises(ConfigErrors) as raised:
        load(tmp_path / "gateway.yaml", protocols())
    assert [(e.line, e.column, e.field) for e in raised.value.errors] == [
        (1, 18, "connections.c"), (2, 19, "machines.press"), (2, 24, "machines._m"),
    ]  # fmt: skip
