"""What it costs to work an expression out, beside the same thing written as a Python function.

    PYTHONPATH=tests python tests/bench/expressions.py

CPU ns of this process, the least of many runs. The Python function does no more than the arithmetic: it knows neither bad values nor
overflow, and where something is remembered there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from gateway.expressions import Kind, parse
from gateway.model import GOOD, Value
from gateway.units import parse as unit

SIGNALS = {
    "power": (Kind("float", unit("kW")), 41.5),
    "flow": (Kind("float", unit("m3/h")), 12.25),
    "melt_temp": (Kind("float", unit("Cel")), 231.4),
    "ambient": (Kind("float", unit("[degF]")), 72.5),
    "mode": (Kind("string", None, frozenset({"off", "setup", "auto"})), "auto"),
    "running": (Kind("bool"), True),
    "alarms": (Kind("int"), 0x0400),
}

Plain = Callable[..., Any]
CASES: Sequence[tuple[str, Plain | None]] = (
    ("power / flow * 100", lambda power, flow: power / flow * 100),
    ("melt_temp > 200 and mode == 'auto'", lambda melt_temp, mode: melt_temp > 200 and mode == "auto"),
    ("if(running, power, 0)", lambda running, power: power if running else 0),
    ("melt_temp - ambient > 180", lambda melt_temp, ambient: melt_temp - (ambient * 5 / 9 - 17.777777777777779) > 180),
    ("bit(alarms, 10) or not between(melt_temp, 180, 260)", lambda alarms, t: bool(alarms & 1024) or not 180 <= t <= 260),
    ("clamp(round(power, 1), 0, 100) ** 2", lambda power: max(0, min(round(power, 1), 100)) ** 2),
    ("mean(power, 5min)", None),
    ("duration(running) > 5min", None),
)  # fmt: skip


def best(work: Callable[[], object], times: int = 20_000, runs: int = 15) -> float:
    """CPU ns of one call, the least of many runs."""
    found = []
    for _ in range(runs):
        begin = time.process_time_ns()
        for _ in range(times):
            work()
        found.append((time.process_time_ns() - begin) / times)
    return min(found)


def cost(text: str, *, bad: bool = False) -> tuple[float, list[Value]]:
    """ns of one run, a second after the one before, nothing changing; and the values."""
    expression = parse(text)
    expression.check(lambda reference: SIGNALS[reference.signal][0])
    program = expression.program()
    values: list[Value] = [SIGNALS[reference.signal][1] for reference in expression.references]
    quality = [GOOD] * len(values)
    if bad:
        quality[0] = 0x80310000
    now = 0

    def run() -> None:
        nonlocal now
        now += 1_000_000_000
        program.run(values, quality, now)

    def only_time() -> None:
        nonlocal now
        now += 1_000_000_000

    return best(run) - best(only_time), values


def changing(text: str) -> float:
    """ns of one run with another value each time: what a window has most to do with."""
    expression = parse(text)
    expression.check(lambda reference: SIGNALS[reference.signal][0])
    program, values, now = expression.program(), [0.0], 0

    def run() -> None:
        nonlocal now
        now += 1_000_000_000
        values[0] = float(now % 7)
        program.run(values, (GOOD,), now)

    return best(run)


def main() -> None:
    print(f"{'':54}{'good':>8}{'one bad':>9}{'Python':>8}   ns")
    for text, plain in CASES:
        good, values = cost(text)
        bad, _ = cost(text, bad=True)
        python = "" if plain is None else f"{best(lambda plain=plain, values=values: plain(*values)):8.0f}"  # type: ignore[misc]
        print(f"{text:54}{good:8.0f}{bad:9.0f}{python}")
    text = "mean(power, 5min)"
    print(f"{text + ', another value every second':54}{changing(text):8.0f}")


if __name__ == "__main__":
    main()
