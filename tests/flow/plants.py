"""Plants of any size for tests and benchmarks, as text."""

from collections.abc import Sequence

KINDS = (
    "type: uint16, scale: 0.1, unit: Cel, range: [0, 400]",
    "type: float32, order: CDAB, unit: kW",
    "type: uint32, order: CDAB, kind: counter",
    "type: int16, unit: bar",
    'type: uint16, enum: {0: "off", 1: setup, 2: manual, 3: auto}',
)


def modbus_machine(name: str, connection: str, unit: int, signals: int, poll: str = "1s") -> str:
    """A machine with mixed signals, two registers apart, in its holding registers."""
    lines = [f"  {name}:", f"    {{connection: {connection}, unit_id: {unit}, poll: {poll}, signals: {{"]
    lines += [f"      s{i:03}: {{holding: {i * 2}, {KINDS[i % len(KINDS)]}}}," for i in range(signals)]
    return "\n".join([*lines, "    }}"])


def modbus_plant(ports: Sequence[int], signals: int, poll: str = "1s") -> str:
    """One machine behind each port."""
    connections = [f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}" for i, port in enumerate(ports)]
    machines = [modbus_machine(f"m{i:02}", f"c{i}", 1, signals, poll) for i in range(len(ports))]
    return "\n".join(["version: 1", "connections:", *connections, "machines:", *machines, ""])
