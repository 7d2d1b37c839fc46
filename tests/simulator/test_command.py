"""`gateway simulate` and the gateway beside it, with one configuration between them."""

from __future__ import annotations

import json
from pathlib import Path

from parts.gateway import Simulated, gateway
from parts.ports import free_port
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
