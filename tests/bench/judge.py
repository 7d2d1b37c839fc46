"""How long the judge takes, and what it takes to read a ledger: 5 million readings, 100 signals.

python tests/bench/judge.py
"""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from simulators.judge.judging import judge
from simulators.judge.rules import Rule
from simulators.judge.verdict import Verdict
from simulators.ledger import Ledger, columns, read_ledger

SIGNALS, ANSWERS = 100, 50_000
T, SECOND = 1_763_789_123_000_000_000, 1_000_000_000


@dataclass
class Stored:
    time: list[int]
    value: list[float]
    quality: list[int]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        with Ledger(path) as ledger:
            for i in range(ANSWERS):
                ledger.served("m", T + i * SECOND, {f"s{n:03}": i * 0.5 + n for n in range(SIGNALS)})
        began = time.process_time()
        served = columns(read_ledger(path))
        told("read the ledger", began)
    stored = {
        key: Stored([t + 500_000 for t in said.time], list(said.value), [0] * ANSWERS) for key, said in served.items()
    }
    found: Verdict
    for rule in (Rule(), Rule(report="change", deadband=0.1), Rule(counter=True), Rule(range=(0.0, 1e9))):
        began = time.process_time()
        found = judge(served, stored, dict.fromkeys(served, rule))
        told(f"judge, all sound, {rule.report}{', counters' * rule.counter}{', range' * bool(rule.range)}", began)
        assert found.sound
    for has in stored.values():
        del has.time[::10], has.value[::10], has.quality[::10]
    began = time.process_time()
    found = judge(served, stored, dict.fromkeys(served, Rule()))
    told(f"judge, {found.total('missing')} missing", began)
    for has in stored.values():
        has.value = [value + 0.25 for value in has.value]
    began = time.process_time()
    found = judge(served, stored, dict.fromkeys(served, Rule()))
    told(f"judge, {found.total('wrong')} wrong", began)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most")


def told(what: str, began: float) -> None:
    seconds = time.process_time() - began
    print(f"{what:40} {seconds:6.2f} s  {seconds / SIGNALS / ANSWERS * 1e6:5.2f} µs a reading", flush=True)


if __name__ == "__main__":
    main()
