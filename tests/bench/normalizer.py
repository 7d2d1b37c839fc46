"""What the normalizer costs for each reading, beside the bare decoding of the same registers.

All values change at every poll. CPU time, the best of several runs; ratios are steadier than the figures themselves.
"""

from __future__ import annotations

import gc
import random
import struct
import time
from collections.abc import Callable, Sequence

from gateway.config import SignalSettings
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.normalizer import Plan

SIGNALS, POLLS, RUNS = 700, 50, 12
T = 1_763_789_123_000_000_000
SECOND = 10**9

KINDS: dict[str, dict[str, object]] = {
    "as they are": {},
    "scale": {"scale": 0.1},
    "scale, range": {"scale": 0.1, "range": [0, 7000]},
    "scale, range, deadband": {"scale": 0.1, "range": [0, 7000], "report": "change", "deadband": 0.5},
    "raw_range, clamp, store_as": {
        "raw_range": [0, 65535], "scaled_range": [0, 250], "clamp": True, "unit": "bar", "store_as": "MPa",
    },
    "precision": {"scale": 0.013, "precision": 2},
    "max_rate, flat_after": {"max_rate": 1e6, "flat_after": "1h"},
    "swinging-door": {"scale": 0.1, "report": "swinging-door", "deadband": 0.5},
    "counter": {"kind": "counter"},
}  # fmt: skip
MIXED = "a tenth enum, the rest scale, range and deadband"


def plan_of(kind: str) -> tuple[Plan, Header]:
    signals, settings = [], {}
    for i in range(SIGNALS):
        name = f"s{i}"
        if kind == MIXED:
            given = KINDS["scale, range, deadband"]
            if i % 10 == 9:
                given = {"enum": {n: str(n) for n in range(8)}, "report": "change"}
        else:
            given = KINDS[kind]
        signals.append(Signal(name, "int"))
        settings[name] = SignalSettings.model_validate(given)
    header = Header(MachinePath("m"), tuple(signals))
    return Plan(header, settings), header


def batches_of(header: Header, kind: str) -> list[Batch]:
    chosen = random.Random(1)
    found, counts = [], [0] * SIGNALS
    for poll in range(POLLS):
        if kind == "counter":
            counts = [count + chosen.randrange(1, 50) for count in counts]
            values: Sequence[int] = counts
        else:
            values = [
                chosen.randrange(8) if kind == MIXED and i % 10 == 9 else chosen.randrange(65_536)
                for i in range(SIGNALS)
            ]
        found.append(Batch(header, header.order, (T + poll * SECOND,) * SIGNALS, tuple(values), None))
    return found


def best(work: Callable[[], None]) -> float:
    """CPU seconds."""
    gc.collect()
    found = []
    for _ in range(RUNS):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def decoding() -> float:
    """Nanoseconds for one register of 16 bits: what any gateway has to do at the least."""
    unpack = struct.Struct(f">{SIGNALS}H").unpack
    blocks = [random.Random(poll).randbytes(2 * SIGNALS) for poll in range(POLLS)]

    def work() -> None:
        for block in blocks:
            unpack(block)

    return best(work) / POLLS / SIGNALS * 1e9


if __name__ == "__main__":
    bare = decoding()
    print(f"{'bare decoding':50} {bare:6.1f} ns a reading")
    for kind in (*KINDS, MIXED):
        plan, header = plan_of(kind)
        batches = batches_of(header, kind)
        shift = [0]

        def work(plan: Plan = plan, batches: list[Batch] = batches, shift: list[int] = shift) -> None:
            for batch in batches:
                shift[0] += 1
                plan.apply(batch, float(shift[0]), T + shift[0] * SECOND)

        print(f"{kind:50} {best(work) / POLLS / SIGNALS * 1e9:6.1f} ns a reading")
