"""Plants of any size for tests and benchmarks, as text."""

from collections.abc import Sequence

KINDS = (
    "type: uint16, scale: 0.1, unit: Cel, range: [0, 400]",
    "type: float32, order: CDAB, unit: kW",
    "type: uint32, order: CDAB, kind: counter",
    "type: int16, unit: bar",
    'type: uint16, enum: {0: "off", 1: setup, 2: manual, 3: auto}',
)

# Ports of a Modbus and an OPC UA server are to be filled in; broker and store to be added.
EVERY_SETTING = """\
version: 1
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme, site: hanoi}}
connections:
  panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {modbus}, timeout: 500ms}}
  cnc: {{protocol: opcua, url: "opc.tcp://127.0.0.1:{opcua}", security: None, publishing: 200ms}}
machines:
  press:
    connection: panel
    poll: 100ms
    signals:
      temp: {{holding: 0, type: int16, scale: 0.1, unit: Cel}}
      warm: {{holding: 1, type: int16, scale: 0.1, unit: Cel, store_as: "[degF]", precision: 1}}
      strokes: {{holding: 2, type: uint16, kind: counter}}
      bag: {{holding: 3, type: uint8, byte: low, kind: counter, max_rate: 100, delta: true}}
      mode: {{holding: 4, type: uint16, enum: {{0: "off", 1: auto}}}}
      ramp: {{holding: 5, type: uint16, report: change, deadband: 4}}
      door: {{holding: 6, type: uint16, report: swinging-door, deadband: 4}}
      high: {{holding: 7, type: int16, range: [0, 50]}}
      fill: {{holding: 8, type: uint16, raw_range: [0, 1000], scaled_range: [0, 50], clamp: true}}
      power: {{holding: 10, type: int16, scale_from: power_sf, unit: W}}
      power_sf: {{holding: 11, type: int16}}
      name: {{holding: 12, type: string, length: 12}}
      alarm: {{discrete: 0, report: change}}
      flow: {{input: 0, type: float32, unit: L/min}}
    computed:
      twice: {{value: "2 * temp"}}
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      speed: {{node: "m:s=Speed", type: float, sampling: 100ms}}
      load: {{node: "m:s=Load", type: float, sampling: 100ms, report: change, deadband: 3}}
      parts: {{node: "m:s=Parts", kind: counter, sampling: 100ms}}
      open: {{node: "m:s=Door", type: bool, sampling: 100ms}}
      axes: {{node: "m:s=Axes", type: float, count: 3, sampling: 100ms}}
      polled: {{node: "m:s=Polled", type: float, mode: poll, poll: 300ms}}
"""
MOVING = """\
machines:
  press:
    cycle: 2s
    signals:
      temp: {wave: sine, mean: 210, amplitude: 4, period: 7s}
      warm: {wave: sine, mean: 20, amplitude: 14, period: 5s}
      bag: {wave: counter, first: 240, period: 250ms}
      ramp: {wave: ramp, between: [0, 100], period: 10s}
      door: {wave: ramp, between: [0, 100], period: 6s}
      high: {wave: ramp, between: [-20, 70], period: 4s}
      fill: {wave: ramp, between: [0, 60], period: 4s}
  lathe:
    signals:
      speed: {wave: sine, mean: 900, amplitude: 800, period: 9s}
      load: {wave: sine, mean: 50, amplitude: 40, period: 9s}
      parts: {wave: counter, first: 17, period: 400ms}
"""


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
