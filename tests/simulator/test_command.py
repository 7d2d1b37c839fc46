"""`gateway simulate` and the gateway beside it, with one configuration between them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from parts.gateway import Simulated, gateway
from parts.ports import free_port
from parts.process import wait_until
from parts.tls import Authority

MACHINE = "signals: {count: {holding: 0, type: uint32, kind: counter}, lamp: {coil: 3}}"


def test_every_transport_is_read_where_the_configuration_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    device, client = authority.issue("device"), authority.issue("client")
    connections = {
        "tcp": f"protocol: modbus-tcp, host: 127.0.0.1, port: {free_port()}",
        "rtu": f"protocol: modbus-rtu, port: {tmp_path}/ttyUSB0, parity: none",
        "bridge": f"protocol: modbus-rtu-over-tcp, host: 127.0.0.1, port: {free_port()}",
        "ascii": f"protocol: modbus-ascii, port: {tmp_path}/ttyUSB1, parity: none, data_bits: 8",
        "ascii-bridge": f"protocol: modbus-ascii, host: 127.0.0.1, port: {free_port()}",
        "udp": f"protocol: modbus-udp, host: 127.0.0.1, port: {free_port()}",
        "tls": f"protocol: modbus-tls, host: 127.0.0.1, port: {free_port()}, "
        f"ca: {authority.ca_path}, cert: {client[0]}, key: {client[1]}",
    }
    lines = ["connections:", *(f"  {name}: {{{settings}}}" for name, settings in connections.items()), "machines:"]
    lines += [f"  m-{name}: {{connection: {name}, {MACHINE}}}" for name in connections]
    given = ["--tls-cert", str(device[0]), "--tls-key", str(device[1]), "--tls-ca", str(authority.ca_path)]
    with Simulated("\n".join(lines) + "\n", arguments=given) as machines:
        for name in connections:
            done = gateway("read", f"m-{name}/count", "--json", "-c", str(machines.folder / "gateway.yaml"))
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["quality"] == "good"
        assert f"rtu: {tmp_path}/ttyUSB0 (parity: none) (m-rtu)" in machines.log
    assert not (tmp_path / "ttyUSB0").is_symlink()


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"connections: {{c: {{protocol: modbus-udp, host: h}}}}\nmachines: {{m: {{connection: c, {MACHINE}}}}}\n"
    )
    done = gateway("simulate", str(path), "--tls-cert", "cert.pem")
    assert done.returncode == 2
    assert "--tls-cert and --tls-key belong together" in done.stderr


CONFIG = "connections: {{c: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}\nmachines: {{saw: {{connection: c, {machine}}}}}\n"


def test_a_scenario_by_name_in_fast_motion_tells_what_happens_and_what_it_leaves_out(tmp_path: Path) -> None:
    """The power cut comes ten minutes into it: after half a second, from 9 min 45 s on and 30 times as fast."""
    text = CONFIG.format(port=free_port(), machine=MACHINE)
    arguments = ["--scenario", "plc-download", "--speed", "30", "--from", "585s"]
    with Simulated(text, arguments=arguments) as machines:
        wait_until(lambda: "c: reboot" in machines.log, 10, "the reboot")
        machines.stop()
        assert "scenario: the configuration has no machine 'meter-01', and 2 more machines and signals" in machines.log
        assert "scenario: faults.2: the configuration has no machine 'lathe-02'" in machines.log
        assert machines.log.splitlines()[-1] == "happened: reboot 1"


def test_scenarios_are_named_where_there_is_no_such_one(tmp_path: Path) -> None:
    listed = gateway("simulate", "--list-scenarios")
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert {"quiet-day", "bad-line", "flaky-bridge", "power-cut", "plc-download"} <= set(names)
    assert gateway("demo", "--list-scenarios").stdout == listed.stdout
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(port=free_port(), machine=MACHINE))
    done = gateway("simulate", str(path), "--scenario", "bad-lin", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'bad-line'?" in done.stderr
    assert listed.stdout.strip() in done.stderr
    done = gateway("simulate", str(path), "--from", "4")
    assert done.returncode == 2
    assert "--from: '4' has no unit" in done.stderr


def test_the_demo_plays_a_scenario() -> None:
    done = gateway(
        "demo", "--in-process", "--port", "0", "--seconds", "4", "--scenario", "flaky-bridge", "--speed", "200"
    )
    assert done.returncode == 0, done.stderr
    assert "press: drop" in done.stdout
    assert "Traceback" not in done.stderr


SECRETS = """\
version: 1
gateway: {{id: edge-01, data_dir: data}}
connections:
  cnc: {{protocol: opcua, url: "opc.tcp://127.0.0.1:{port}", security: Basic256Sha256/SignAndEncrypt, user: op, password: {{secret: cnc_password}}}}
machines: {{lathe: {{connection: cnc, signals: {{speed: {{node: "nsu=urn:x;s=Speed"}}}}}}}}
mqtt: {{url: "mqtts://broker.plant.lan", user: edge, password: {{secret: mqtt_password}}}}
store: {{kind: historian}}
"""


def test_nobody_at_a_desk_needs_the_secrets_of_a_plant(tmp_path: Path) -> None:
    """A machine that asks for a password takes any; what would connect to something still needs it."""
    with Simulated(SECRETS.format(port=free_port())) as machines:
        config = machines.folder / "gateway.yaml"
        assert "cnc: 127.0.0.1:" in machines.log
        refused = gateway("read", "lathe", "-c", str(config))
        assert (refused.returncode, "the secret 'cnc_password' is nowhere" in refused.stderr) == (3, True)
        env = {**os.environ, "GATEWAY_SECRET_CNC_PASSWORD": "anything", "GATEWAY_SECRET_MQTT_PASSWORD": "-"}
        (certificate,) = (machines.folder / "data" / "simulator").rglob("*.der")
        trusted = gateway("opcua", "trust", "--add", str(certificate), "-c", str(config), env=env)
        assert trusted.returncode == 0, trusted.stderr
        done = gateway("read", "lathe", "--json", "-c", str(config), env=env)
        assert (done.returncode, json.loads(done.stdout)["quality"]) == (0, "good"), done.stderr
        machines.stop()
        judged = gateway("verify-flow", str(machines.ledger), "--store", str(config))
        assert "secret" not in judged.stderr
