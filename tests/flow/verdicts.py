"""The judge in tests: what machines served against what the store has, once all of it has arrived."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.verify import verdict_of
from gateway.config import load
from gateway.runtime.registry import protocols
from simulators.judge.judging import MS, Bounds
from simulators.judge.verdict import Verdict
from simulators.ledger import read_ledger


def verdict_at_the_end(ledger: Path, historian: Path, config: Path | None = None, under_way: float = 0.005) -> Verdict:
    """Only what was served in the last moments (seconds) may have been under way when all of it ended.

    Without `config` every reading has to be stored as it was served.
    """
    last = max(entry.time_ns for entry in read_ledger(ledger))
    configuration = load(config, protocols()) if config else None
    bounds = Bounds(settled=last - round(under_way * 1000) * MS)
    return verdict_of(ledger, historian, configuration, bounds)[0]
