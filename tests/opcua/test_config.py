"""Mistakes in an OPC UA configuration, at their line; and the plan."""

import subprocess
import sys
from pathlib import Path

import pytest

from adapters import opcua
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import Configuration, load
from gateway.counters import FlowCounters
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols

EXAMPLE = Path(opcua.__file__).parent / "example.yaml"

GOOD = """
connections:
  cnc: {protocol: opcua, url: "opc.tcp://10.0.0.1", security: None}
machines:
  lathe:
    connection: cnc
    namespaces: {m: "urn:shop:cnc"}
    sampling: 100ms
    signals:
      speed: {node: "m:s=Speed"}
      count: {node: "m:s=Count", sampling: 1s}
"""


def loaded(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    return load(file, protocols(), env={})


def test_the_example_loads() -> None:
    machine = load(EXAMPLE, protocols()).machines["lathe-02"]
    assert list(machine.signals) == [
        "spindle_speed", "coolant_temp", "part_count", "mode", "door_open", "program", "feed", "power",
        "axis_0", "axis_1", "axis_2", "tool", "operation", "firmware",
        "alarm_severity", "alarm_source", "alarm_message", "alarm_state",
    ]  # fmt: skip


def test_the_readme_shows_the_example() -> None:
    assert f"```yaml\n{EXAMPLE.read_text()}```" in EXAMPLE.with_name("README.md").read_text()


def test_port_and_sampling_have_sensible_defaults(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, GOOD)
    assert (configuration.connections["cnc"].host, configuration.connections["cnc"].port) == ("10.0.0.1", 4840)
    signals = configuration.machines["lathe"].signals
    assert (signals["speed"].sampling, signals["count"].sampling) == (0.1, 1.0)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (
            "opc.tcp://10.0.0.1",
            "10.0.0.1:4840",
            ["'10.0.0.1:4840' is not the address of an OPC UA server", "opc.tcp://"],
        ),
        ("opc.tcp://10.0.0.1", "opc.tcp://a:b@10.0.0.1", ["no user or password in an address"]),
        ("opc.tcp://10.0.0.1", "opc.tcp://10.0.0.1:0", ["has no valid port"]),
        ("security: None", "security: none", ["'none' is not known", "security: None"]),
        ("security: None", "security: null", ["'null' is not known"]),
        (
            "security: None",
            "security: Basic256Sha256/signed",
            ["write Basic256Sha256/Sign or Basic256Sha256/SignAndEncrypt"],
        ),
        ("security: None", "security: None, user: x, password: y", ["over an unprotected line", "security: auto"]),
        ("security: None", "user_key: x.pem", ["a key without its certificate"]),
        ("security: None", "security: None, password: x", ["a password without a user"]),
        ('"m:s=Speed"', '"n:s=Speed"', ["signals.speed.node", "'n' is not in `namespaces`", ":10:21:"]),
        ('"m:s=Count"', '"s=Count"', ["signals.count.node", "has no namespace"]),
        ("sampling: 1s", "sampling: 0s", ["10ms at least"]),
        ("sampling: 1s", "type: int32", ["did you mean 'int'?"]),
        ('"urn:shop:cnc"', '""', ["is not a namespace URI"]),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, right: str, wrong: str, says: list[str]) -> None:
    assert right in GOOD
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, GOOD.replace(right, wrong))
    for text in says:
        assert text in str(caught.value)


def test_what_is_let_pass_is_warned_of(tmp_path: Path) -> None:
    doubtful = "security: Basic256/Sign, allow: [expired, wrong-host]"
    said = loaded(tmp_path, GOOD.replace("security: None", doubtful)).warnings
    assert [text.partition("warning: ")[2].partition(":")[0] for text in said] == [
        "connections.cnc.allow lets pass what is wrong with the server's certificate",
        "connections.cnc.allow lets pass what is wrong with the server's certificate",
        "connections.cnc.security is outdated, and can be broken",
    ]
    assert all("gateway.yaml:3:" in text for text in said)
    assert "expired" in said[0]
    assert "another host" in said[1]
    assert not loaded(tmp_path, GOOD.replace("security: None", "security: auto")).warnings


def test_all_wrong_nodes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, GOOD.replace("m:s=", "n:s="))
    assert [error.field for error in caught.value.errors] == [
        "machines.lathe.signals.speed.node",
        "machines.lathe.signals.count.node",
    ]


def test_the_plan_has_a_row_for_each_machine(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, GOOD)
    machines = {configuration.path_of(name): machine for name, machine in configuration.machines.items()}
    context = Context(
        "cnc", configuration.connections["cnc"], machines, SystemClock(), FlowCounters(), tmp_path, "edge-01"
    )
    (row,) = opcua.plan(context).requests
    assert (row.machine, row.period, row.signals, row.size, row.unused) == ("lathe", 0.0, 2, 2, 0)
    assert "500 ms" in row.what


@pytest.mark.parametrize("package", ["adapters.opcua", "simulators.opcua"])
def test_importing_it_costs_no_asyncua(package: str) -> None:
    program = f"import sys, {package}; sys.exit('asyncua' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_asyncua_it_says_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['asyncua'] = None\n"
        "import adapters.opcua as it, types\n"
        "from gateway.errors import PartMissingError\n"
        "try: it.build(types.SimpleNamespace(name='cnc'))\n"
        "except PartMissingError as exc: print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "pip install 'shopfloor-gateway[opcua]'" in done.stdout
