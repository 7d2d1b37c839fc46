"""What is worked out beside what is read: 100 machines of 100 signals, each with three computed signals, a state and figures.

CPU time of the derived part alone: for each poll of a machine, and for each of the two looks a second.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from adapters.modbus import build
from bench.configuration import MORE, plant
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.counters import FlowCounters
from gateway.model import Batch
from gateway.normalizer import Plan
from gateway.production.calendar import WorkCalendar
from gateway.production.derived import Derived
from gateway.runtime.registry import protocols

SECOND = 10**9
T = 1_790_000_000 * SECOND
SECONDS = 120


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_text(plant("figures"))
        configuration = load(file, protocols())
        machines = {configuration.path_of(name): machine for name, machine in configuration.machines.items()}
        context = Context(
            "c", configuration.connections["c"], machines, SystemClock(), FlowCounters(), Path(folder), "edge"
        )
        raw = {header.path.machine: header for header in build(context).headers}
    plans = {name: Plan(header, configuration.machines[name].signals) for name, header in raw.items()}
    leaving = {name: plan.header for name, plan in plans.items()}
    derived = {
        name: Derived(plan.header.path, configuration.machines, WorkCalendar(), leaving) for name, plan in plans.items()
    }
    chosen, takes, ticks = random.Random(1), 0.0, 0.0
    for second in range(SECONDS):
        now = T + second * SECOND
        for name, plan in plans.items():
            values = (second * 3, second // 10, *(chosen.randrange(3000) for _ in range(98)))
            plan.apply(Batch(raw[name], raw[name].order, (now,) * 100, values, None), float(second), now)
            assert plan.seen is not None
            began = time.process_time()
            derived[name].take(plan.seen, float(second), now)
            takes += time.process_time() - began
        for half in (0, 1):
            began = time.process_time()
            for each in derived.values():
                each.tick(second + half / 2, now + half * SECOND // 2)
            ticks += time.process_time() - began
    polls = SECONDS * len(plans)
    print(MORE)
    print(f"{takes / polls * 1e6:.0f} µs a poll, {ticks / polls / 2 * 1e6:.0f} µs a look, figures included")


if __name__ == "__main__":
    main()
