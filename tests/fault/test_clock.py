"""A clock that starts in 1970 or is set while the gateway runs: nothing lost, nothing overwritten, stamps that only rise.

The gateway runs under libfaketime: it sees a wall that a test moves, while what runs since boot goes on.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from fault.test_faults import HISTORIAN, mqtt, simulated
from gateway.model import GOOD
from gateway.store.historian import Historian
from parts.gateway import Gateway
from parts.mosquitto import Mosquitto
from parts.process import wait_until
from simulators.ledger import columns, read_ledger

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR = 3600 * 10**9


class Displaced(Gateway):
    """A gateway with a wall of its own; at the end, the stamps of one signal, and what was recorded of the clock."""

    stamps: list[int]
    steps: list[str]
    ends = 1  # answers that may be lost on their way

    def command(self) -> list[str]:
        assert LIBRARY is not None, "libfaketime is missing: bash tests/parts/setup.sh"
        return [
            "env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self.folder / 'wall'}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", *super().command(),
        ]  # fmt: skip

    def set_wall(self, offset: str) -> None:
        """`+0`, `-1h`, `+10y`: the distance to the real time."""
        new = self.folder / "wall.new"
        new.write_text(offset + "\n")
        new.rename(self.folder / "wall")

    def polls(self) -> int:
        return int(self.machine("m00")["counters"]["polls"])

    def read_on(self, count: int = 20) -> None:
        """Until so many more polls were made."""
        before = self.polls()
        wait_until(lambda: self.polls() >= before + count, 30, f"{count} more polls")


@contextmanager
def displaced(offset: str) -> Iterator[Displaced]:
    with Mosquitto() as broker, simulated() as (machines, text):
        gateway = Displaced(text + mqtt(broker) + HISTORIAN)
        gateway.set_wall(offset)
        with gateway:
            yield gateway
            gateway.catch_up(60)
            gateway.stop()
            machines.stop()
            served = list(columns(read_ledger(machines.ledger))["m00", "s002"].value)
            reader = Historian.open_read_only(gateway.folder / "data" / "historian.sqlite")
            found = reader.query("m00", "s002", 0, 2**62)
            gateway.stamps = list(found.time)
            causes = [lost.loss.cause for lost in reader.losses(0, 2**62)]
            reader.close()
            gateway.steps = [cause for cause in causes if cause.startswith("clock: ")]
            assert all(a < b for a, b in pairwise(gateway.stamps)), "a stamp that does not rise"
            # All of it, in the order in which it was served, but for the answer that was on its way at an end.
            good = [value for value, quality in zip(found.value, found.quality, strict=True) if quality == GOOD]
            rest = iter(served)
            assert all(value in rest for value in good), "wrong, or twice"
            assert len(served) - len(good) <= gateway.ends


def within(gateway: Displaced, began: int, slack: int = 60 * 10**9) -> bool:
    """All stamps are of this test."""
    return began - slack <= gateway.stamps[0] and gateway.stamps[-1] <= time.time_ns() + slack


def test_a_box_that_starts_in_1970():
    """What is read before the time is known is held, and arrives with its real time when it is."""
    began = time.time_ns()
    with displaced("-56y") as gateway:
        wait_until(lambda: gateway.status()["broker"]["state"] == "online", 20, "the broker")
        gateway.read_on(30)
        assert gateway.status()["flow"]["sent"] == 0
        assert gateway.status()["buffer"]["records"] >= 30
        gateway.set_wall("+0")
        wait_until(lambda: gateway.status()["flow"]["stored"] >= 30, 20, "what was held")
        gateway.read_on()
    assert within(gateway, began)
    assert len(gateway.stamps) >= 50
    assert max(b - a for a, b in pairwise(gateway.stamps)) < 3 * 10**9, "no gap where the time was learnt"


def test_a_box_that_is_started_again_before_it_knows_the_time():
    began = time.time_ns()
    with displaced("-56y") as gateway:
        gateway.read_on(20)
        gateway.kill()
        gateway.ends += 1
        gateway.start()
        gateway.read_on(20)
        gateway.set_wall("+0")
        wait_until(lambda: gateway.status()["flow"]["stored"] >= 35, 20, "what was held")
    assert within(gateway, began)
    assert len(gateway.stamps) >= 40


@pytest.mark.parametrize("jump", ["+10y", "-10y", "-56y", "+2d", "-1h", "+1h"])
def test_a_wall_that_jumps_and_comes_back(jump):
    """What is more than a day off is not believed; what is less is followed forwards, and waited for backwards."""
    began = time.time_ns()
    with displaced("+0") as gateway:
        gateway.read_on()
        gateway.set_wall(jump)
        gateway.read_on()
        gateway.set_wall("+0")
        gateway.read_on()
    assert within(gateway, began, HOUR + HOUR // 10)
    assert len(gateway.stamps) >= 60
    assert gateway.steps, "it is recorded"


def test_control_without_a_jump_no_step_is_recorded():
    began = time.time_ns()
    with displaced("+0") as gateway:
        gateway.read_on(40)
    assert within(gateway, began)
    assert len(gateway.stamps) >= 40
    assert gateway.steps == []
