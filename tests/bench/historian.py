"""What the historian costs: CPU per reading to write, fold and ask, and bytes on the disk.

    python tests/bench/historian.py [machines] [signals] [seconds]

Values are a random walk with two decimals, as in the figures this is measured against (448 ns a reading to insert,
7.8 bytes a reading, 54 ms for a day of one signal in 500 points); every seventh signal is an integer, every eleventh a
state. Only the CPU time of this process counts.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.model import Batch, Header, MachinePath, Signal, Value
from gateway.mqtt.payload import DataEncoder, decode_data
from gateway.store.contract import Readings
from gateway.store.fold import INTERVAL
from gateway.store.historian import Historian

START = 1_790_000_000 * 10**9 // INTERVAL * INTERVAL
SECOND = 10**9


def waves(signals: int, rng: random.Random) -> Callable[[], list[Value]]:
    """One poll of all signals after the other."""
    levels = [rng.uniform(10, 400) for _ in range(signals)]

    def step() -> list[Value]:
        row: list[Value] = []
        for i in range(signals):
            levels[i] += rng.gauss(0, 0.3)
            kind = i % 77
            row.append("auto" if not kind % 11 else int(levels[i]) if not kind % 7 else round(levels[i], 2))
        return row

    return step


def payloads(machines: int, signals: int, seconds: int, rng: random.Random) -> Iterator[tuple[MachinePath, bytes]]:
    """Every second a message of each machine, a little late each time."""
    headers = []
    for m in range(machines):
        path = MachinePath(f"machine-{m:02}", "acme", "hanoi", "moulding", "L1")
        headers.append(Header(path, tuple(Signal(f"signal_{i:03}", "float") for i in range(signals))))
    encode, seq = DataEncoder("edge-01", "8f2c9a4e"), 0
    steps = [waves(signals, rng) for _ in headers]
    for second in range(seconds):
        for header, step in zip(headers, steps, strict=True):
            seq += 1
            at = START + second * SECOND + rng.randrange(3000) * 1000
            batch = Batch(header, header.order, (at,) * signals, step(), None)
            yield header.path, encode(batch, seq)


def main(machines: int = 10, signals: int = 200, seconds: int = 600) -> None:
    rng = random.Random(1)
    readings = machines * signals * seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "historian.sqlite"
        historian = Historian(path)
        writing = decoding = folding = 0.0
        pending: list[tuple[MachinePath, bytes]] = []
        peak = 0
        messages = payloads(machines, signals, seconds, rng)
        for n, message in enumerate(messages, 1):
            pending.append(message)
            if len(pending) < 20 and n < machines * seconds:
                continue
            began = time.process_time()
            batch = [Readings(machine, decode_data(payload), payload) for machine, payload in pending]
            decoded = time.process_time()
            historian.write(batch)
            decoding += decoded - began
            writing += time.process_time() - decoded
            pending.clear()
            if n % (machines * 3600) == 0 or n == machines * seconds:
                peak = max(peak, path.stat().st_size)
                began = time.process_time()
                historian.fold_all()
                folding += time.process_time() - began
        historian.close()
        size = path.stat().st_size
        print(f"{readings:,} readings")
        print(f"decode {decoding / readings * 1e9:7.0f} ns CPU per reading")
        print(f"write  {writing / readings * 1e9:7.0f} ns")
        print(f"fold   {folding / readings * 1e9:7.0f} ns")
        print(
            f"file   {size / readings:9.2f} bytes per reading ({peak / 1e6:.0f} MB at its largest; what is free in it is used again)"
        )
        used = pages_in_use(path)
        print(f"used   {used / readings:9.2f} bytes per reading")
        ask(path, seconds)


def pages_in_use(path: Path) -> int:
    """Bytes of the file that are not free for new data."""
    import sqlite3

    db = sqlite3.connect(path)
    total, free, size = (
        db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
    )
    db.close()
    return int((total - free) * size)


def ask(path: Path, seconds: int) -> None:
    """All readings of one signal, and 500 points of them."""
    reader = Historian.open_read_only(path)
    end = START + seconds * SECOND
    for points in (None, 500):
        best = min(timed(lambda p=points: reader.query("machine-00", "signal_005", START, end, p)) for _ in range(5))
        print(f"query  {best * 1e3:9.1f} ms for {points or 'all'} points of {seconds:,}")
    reader.close()


def timed(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
