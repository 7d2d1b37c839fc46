"""10,000 signals: how long it takes to load and compile their configuration, and in how much memory.

Machines of one profile; machines that say everything themselves, with seven keys a signal and with twelve; the latter with
counters, computed signals, rules and figures in each. Each in a process of its own; CPU time, and the memory above that of the
imported modules.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MACHINES, SIGNALS = 100, 100
OWN = "      s{i}: {{holding: {a}, type: int16, scale: 0.{s}, unit: Cel, range: [0, {r}], report: change, deadband: 0.{s}}}\n"
TWELVE = (
    OWN.removesuffix("}}\n")
    + ", store_as: K, precision: 2, max_rate: {a}, flat_after: 30min, description: Zone {i} of machine number {r}}}\n"
)
MORE = """    computed:
      parts: {value: c0 + c1, kind: counter}
      share: {value: "c1 / (c0 + c1)"}
      warm: {value: "mean(s3, 5min)", unit: Cel}
    state:
      - {when: "s2 > 300", state: fault}
      - {when: "delta(c0, 1min) > 0", state: running}
    kpi: {good: c0, reject: c1, ideal_cycle: 12s}
"""


def plant(kind: str) -> str:
    lines = ["connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\n", "machines:\n"]
    for m in range(MACHINES):
        lines.append(f"  m{m}:\n    connection: c\n    unit_id: {m + 1}\n")
        if kind == "profile":
            lines.append("    profile: many\n")
            continue
        lines.append("    signals:\n")
        for i in range(SIGNALS):
            if kind == "figures" and i < 2:
                lines.append(f"      c{i}: {{holding: {i * 2}, type: uint32, kind: counter}}\n")
            else:
                lines.append((OWN if kind == "seven" else TWELVE).format(i=i, a=10 + i, s=1 + (i + m) % 9, r=300 + m))
        if kind == "figures":
            lines.append(MORE)
    return "".join(lines)


def profile() -> str:
    signals = "".join(OWN.format(i=i, a=10 + i, s=1 + i % 9, r=300) for i in range(SIGNALS))
    return "protocol: modbus\nsignals:\n" + signals.replace("      s", "  s")


def measure(path: str) -> None:
    """In a process of its own."""
    from adapters.modbus import build
    from gateway.adapter import Context
    from gateway.clock import SystemClock
    from gateway.config import load
    from gateway.counters import FlowCounters
    from gateway.normalizer import Plan
    from gateway.production.calendar import WorkCalendar
    from gateway.production.derived import Derived
    from gateway.runtime.registry import protocols

    known = protocols()
    before, began = _resident(), time.process_time()
    configuration = load(Path(path), known)
    loaded = time.process_time()
    context = Context(
        "c",
        configuration.connections["c"],
        {configuration.path_of(name): machine for name, machine in configuration.machines.items()},
        SystemClock(),
        FlowCounters(),
        Path(path).parent,
        "edge",
    )
    adapter = build(context)
    headers = {header.path.machine: header for header in adapter.headers}
    plans = {name: Plan(header, configuration.machines[name].signals) for name, header in headers.items()}
    leaving = {name: plan.header for name, plan in plans.items()}
    derived = [
        Derived(plan.header.path, configuration.machines, WorkCalendar(), leaving)
        for name, plan in plans.items()
        if configuration.machines[name].derived
    ]
    done = time.process_time()
    found = {
        "signals": sum(len(header.signals) for header in leaving.values()),
        "derived": sum(len(each.header.signals) for each in derived),
        "load": loaded - began,
        "compile": done - loaded,
        "kept": _resident() - before,
        "most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
    }
    print(json.dumps(found))


def _resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(sys.argv[1])
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "profiles").mkdir()
        (Path(folder) / "profiles" / "many.yaml").write_text(profile())
        for kind in ("profile", "seven", "twelve", "figures"):
            file = Path(folder) / f"{kind}.yaml"
            file.write_text(plant(kind))
            done = subprocess.run(
                [sys.executable, __file__, str(file)], capture_output=True, text=True, check=True, timeout=120
            )
            found = json.loads(done.stdout)
            print(
                f"{kind:8} {found['signals']} signals, {found['derived']} worked out: load {found['load']:.2f} s, compile "
                f"{found['compile']:.2f} s CPU; memory {found['kept']:.0f} MiB kept, {found['most']:.0f} at the most"
            )
