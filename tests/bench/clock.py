"""What it costs to ask for the time: ns per now(), in each state of the clock.

python tests/bench/clock.py [calls]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from gateway.clock import SystemClock, kernel_synchronized

HOUR = 3600 * 10**9


def cost(call: Callable[[], object], calls: int) -> float:
    """CPU ns of the best of five rounds."""
    rounds = []
    for _ in range(5):
        begin = time.process_time_ns()
        for _ in range(calls):
            call()
        rounds.append((time.process_time_ns() - begin) / calls)
    return min(rounds)


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    moved = 0

    def wall() -> int:
        return time.time_ns() + moved

    print(f"{'time.time_ns()':44}{cost(time.time_ns, calls):8.0f} ns")
    print(f"{'now(), in step with the wall':44}{cost(SystemClock().now, calls):8.0f} ns")
    clock = SystemClock(wall)
    clock.now()
    print(f"{'the same, with the wall of this program':44}{cost(clock.now, calls):8.0f} ns")
    moved = -HOUR
    print(f"{'… running slower after a step back':44}{cost(clock.now, calls):8.0f} ns")
    moved = 24 * 365 * HOUR
    print(f"{'… while a jump is not believed':44}{cost(clock.now, calls // 10):8.0f} ns")
    moved = -time.time_ns()
    print(f"{'… not trusted, 1970':44}{cost(SystemClock(wall).now, calls):8.0f} ns")
    print(
        f"{'… not trusted, waiting for the kernel':44}{cost(SystemClock(policy='synchronized').now, calls // 10):8.0f} ns"
    )
    print(f"{'kernel_synchronized()':44}{cost(kernel_synchronized, calls // 10):8.0f} ns")


if __name__ == "__main__":
    main()
