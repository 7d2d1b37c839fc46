"""What a scrape costs: a plant of 40 machines with 50 signals each, some of them bad, and figures for every machine.

PYTHONPATH=tests .venv/bin/python tests/bench/metrics.py
"""

from __future__ import annotations

import statistics
import time

from gateway.config.production import EnergySettings, KpiSettings
from gateway.metrics.exposition import Exposition
from gateway.model import GOOD, NO_COMMUNICATION, Batch
from gateway.production.report import figure_signals
from gateway.web import Board
from web.plant import NOW, ManualClock, all_bad, empty_board, full, header, signal

MACHINES, SIGNALS = 40, 50
SCRAPES = 200


def plant() -> Board:
    board = empty_board()
    figures = figure_signals(
        KpiSettings(good="s0", ideal_cycle="12s", intervals=("shift", "hour"), energy=EnergySettings(counter="s1"))
    )
    for number in range(MACHINES):
        head = header(f"machine-{number:02}", *(signal(f"s{i}") for i in range(SIGNALS)))
        board.add(head, NOW).condition.set("online", NOW)
        qualities = [NO_COMMUNICATION if i == number else GOOD for i in range(SIGNALS)] if number % 2 else None
        board.update(full(head, [float(i) for i in range(SIGNALS)], qualities))
        derived = header(head.path.machine, *figures)
        board.add(derived, NOW, "derived")
        board.update(Batch(derived, derived.order, [NOW] * len(figures), [0.85] * len(figures), None))
        board.counters.of(head.path.machine).read = 10_000_000 + number
    board.update(all_bad(board.machines["machine-00"].latest.header, NO_COMMUNICATION, NOW))
    return board


def main() -> None:
    board = plant()
    scrape = Exposition(clock=ManualClock(), board=lambda: board)
    text = scrape()
    took = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        scrape()
        took.append(1000 * (time.perf_counter() - began))
    series = sum(not line.startswith("#") for line in text.decode().splitlines())
    print(f"{MACHINES} machines, {MACHINES * SIGNALS} signals: {series} series, {len(text) / 1024:.0f} KiB")
    print(f"a scrape: median {statistics.median(took):.2f} ms, the slowest of {SCRAPES} {max(took):.2f} ms")
    print(f"every 15 s: {statistics.median(took) / 15_000:.3%} of a core")


if __name__ == "__main__":
    main()
