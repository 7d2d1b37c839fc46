"""What of a configuration goes into a recording: all that tells what a machine is, and nothing that is secret."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.shown import text_of_machines, without_secrets
from gateway.runtime.registry import protocols

PLANT = """\
version: 1
gateway: {id: edge-01}
site: {enterprise: acme, timezone: Asia/Ho_Chi_Minh}
connections:
  panel: {protocol: modbus-tcp, host: 10.0.0.5}
  cnc: {protocol: opcua, url: "opc.tcp://10.0.0.6:4840", user: gateway, password: CANARY1}
  robot: {protocol: opcua, url: "opc.tcp://10.0.0.7:4840", user: gateway, password: {secret: CANARY2}}
machines:
  meter: {connection: panel, profile: mine, unit_id: 3}
  line:
    connection: panel
    signals: {a: {holding: 0, type: int16, unit: W}}
    computed: {both: {value: "a + [meter/power]"}}
  lathe: {connection: cnc, signals: {speed: {node: "ns=2;s=Speed", type: float}}}
  arm: {connection: robot, signals: {speed: {node: "ns=2;s=Speed", type: float}}}
mqtt: {url: "mqtt://127.0.0.1:1883", user: me, password: CANARY3}
"""
MINE = "protocol: modbus\nsignals:\n  power: {holding: 7, type: float32, unit: W}\n"


@pytest.fixture
def plant(tmp_path: Path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(MINE)
    (tmp_path / "gateway.yaml").write_text(PLANT)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "CANARY2").write_text("CANARY4")
    (tmp_path / "secrets" / "CANARY2").chmod(0o600)
    return load(tmp_path / "gateway.yaml", protocols(), whole_tree=True)


@pytest.mark.parametrize(
    ("connection", "machines"),
    [("panel", ["meter"]), ("panel", ["meter", "line"]), ("cnc", ["lathe"]), ("robot", ["arm"])],
)
def test_it_can_be_loaded_by_itself_elsewhere(plant, tmp_path_factory, connection: str, machines: list[str]) -> None:
    text = text_of_machines(plant, connection, machines, protocols())
    assert "CANARY" not in text
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "gateway.yaml"
    elsewhere.write_text(text)
    loaded = load(elsewhere, protocols())
    assert list(loaded.machines) == machines
    assert list(loaded.connections) == [connection]
    for name in machines:
        assert loaded.machines[name].signals == plant.machines[name].signals
        assert loaded.path_of(name) == plant.path_of(name)


def test_a_machine_that_needs_another_one_brings_all_of_them(plant, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "gateway.yaml"
    elsewhere.write_text(text := text_of_machines(plant, "panel", ["line"], protocols()))
    assert set(load(elsewhere, protocols()).machines) == {"meter", "line", "lathe", "arm"}
    assert "CANARY" not in text


def test_what_looks_like_a_secret_or_a_variable_and_is_none(tmp_path: Path, tmp_path_factory) -> None:
    """A signal may be called token, and a text may have `${` in it: both are as they were where it is loaded again."""
    (tmp_path / "gateway.yaml").write_text("""
connections: {c: {protocol: modbus-tcp, host: a}, other: {protocol: opcua, url: "opc.tcp://b", user: bob, security: auto}}
machines:
  m: {connection: c, description: "costs $${HOME}, $${NOPE}", signals: {token: {holding: 1, type: int16}, password: {coil: 0}}}
  lathe: {connection: other, signals: {speed: {node: "ns=2;s=Speed", type: float}}}
""")
    text = text_of_machines(load(tmp_path / "gateway.yaml", protocols(), whole_tree=True), "c", ["m"], protocols())
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "gateway.yaml"
    elsewhere.write_text(text)
    loaded = load(elsewhere, protocols(), env={})
    assert list(loaded.machines["m"].signals) == ["token", "password"]
    assert loaded.machines["m"].description == "costs ${HOME}, ${NOPE}"
    assert "bob" not in text, "of others there is nothing"


def test_secrets_are_hidden_and_their_names_where_nobody_else_has_them() -> None:
    data = {
        "password": "x", "token": {"secret": "n"}, "list": [{"token": 5}], "user": "u",
    }  # fmt: skip
    assert without_secrets(data) == {
        "password": "***", "token": {"secret": "n"}, "list": [{"token": "***"}], "user": "u",
    }  # fmt: skip
    assert without_secrets(data, names=False)["token"] == "***"
    assert data["password"] == "x", "the configuration in force keeps it"
