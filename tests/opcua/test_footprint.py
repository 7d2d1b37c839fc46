"""What a gateway loads: asyncua takes 40 MiB and half a second, which only those pay who have an OPC UA machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from parts.ports import free_port

RUN = """
import sys
from gateway.cli import main
sys.argv = ["gateway", "run", sys.argv[1], "--once"]
try:
    main()
finally:
    print("loaded:", sorted({"asyncua", "cryptography", "pymodbus"} & set(sys.modules)))
"""
MACHINES = {
    "modbus-tcp": ("host: 127.0.0.1, port: {port}", "unit_id: 1, signals: {{a: {{holding: 0, type: int16}}}}"),
    "opcua": ('url: "opc.tcp://127.0.0.1:{port}", security: None', 'signals: {{a: {{node: "i=2258"}}}}'),
}


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        (["modbus-tcp"], ["pymodbus"]),
        (["modbus-tcp", "opcua"], ["asyncua", "cryptography", "pymodbus"]),  # or this test would see nothing
    ],
)
def test_asyncua_is_loaded_for_opcua_machines_only(protocols: list[str], expected: list[str], tmp_path: Path) -> None:
    port = free_port()  # where nobody listens: the adapter is made all the same
    links = "".join(f"  c{i}: {{{{protocol: {p}, {MACHINES[p][0]}}}}}\n" for i, p in enumerate(protocols))
    machines = "".join(f"  m{i}: {{{{connection: c{i}, {MACHINES[p][1]}}}}}\n" for i, p in enumerate(protocols))
    config = f'mqtt: {{{{url: "mqtt://127.0.0.1:{port}"}}}}\nconnections:\n{links}machines:\n{machines}'
    (tmp_path / "gateway.yaml").write_text(config.format(port=port))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "gateway.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"loaded: {expected}" in done.stdout, done.stderr
