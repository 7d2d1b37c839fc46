"""What the buffer costs: CPU, bytes on the disk, the age of what is accepted, starting with a backlog, memory.

PYTHONPATH=tests .venv/bin/python tests/bench/buffer.py                      # about five minutes; needs root for `bytes`
PYTHONPATH=tests .venv/bin/python tests/bench/buffer.py --only bytes --seconds 600

Data are those of 10 machines with 10 signals each second: 100 readings a second, as JSON. One line a figure, with its
target; figures of real time are of real time, backlogs are made with a clock that is moved by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.historian import waves
from gateway.buffer import Disk, Limits, SegmentLog
from gateway.buffer.committer import Committer
from gateway.clock import SystemClock
from gateway.model import Batch, Header, MachinePath, Signal, Value
from gateway.mqtt.payload import DataEncoder, Loss, encode_loss
from gateway.mqtt.topics import Topics
from parts.block_device import Volume, missing
from parts.gateway import COMMAND
from parts.ports import free_port

GATEWAY = "edge-01"
MACHINES, SIGNALS = 10, 10
READINGS = MACHINES * SIGNALS  # a second
SECOND = 10**9
DAY = 86_400
SIZE = 2 * 2**30  # of the buffer, as it is by default


# --- the plant -------------------------------------------------------------------------------------------------------


class HandMovedClock:
    """A clock of which three days pass in a minute."""

    def __init__(self, now: int) -> None:
        self._now, self._running = now, 1000.0

    def move(self, seconds: float) -> None:
        self._now += round(seconds * SECOND)
        self._running += seconds

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._running

    def trusted(self) -> bool:
        return True


PREFIX = "shopfloor/v1/acme/hanoi/moulding/L1/"  # what `gateway run` finds that all their topics begin with


class Plant:
    """Ten machines; what they say in the n-th second is the same in every run."""

    def __init__(self, epoch: str, seed: int = 1) -> None:
        self.encode = DataEncoder(GATEWAY, epoch)
        rng = random.Random(seed)
        paths = [MachinePath(f"press-{i:02}", "acme", "hanoi", "moulding", "L1") for i in range(MACHINES)]
        self.headers = [
            Header(path, tuple(Signal(f"signal_{i:03}", "float") for i in range(SIGNALS))) for path in paths
        ]
        self.topics = [Topics().data(path) for path in paths]
        self._steps = [waves(SIGNALS, rng) for _ in paths]

    def values(self) -> list[list[Value]]:
        """Of the next second, machine by machine."""
        return [step() for step in self._steps]

    def append(self, buffer: SegmentLog, machine: int, now: int, values: list[Value]) -> None:
        """One poll of one machine."""
        header, microsecond = self.headers[machine], now // 1000 * 1000
        batch = Batch(header, header.order, (microsecond,) * SIGNALS, values, None)
        buffer.append(self.topics[machine], lambda seq: self.encode(batch, seq), SIGNALS, now, now)

    def second(self, buffer: SegmentLog, now: int) -> None:
        """One poll of each machine."""
        for machine, values in enumerate(self.values()):
            self.append(buffer, machine, now + machine, values)


def declare(loss: Loss, seq: int) -> tuple[str, bytes]:
    return Topics().loss(GATEWAY), encode_loss(loss, GATEWAY, seq)


class Hasty(Disk):
    """Does not wait for the disk: what a backlog is made with."""

    def sync(self, name: str) -> None:
        """Not now."""


def make_backlog(folder: Path, seconds: int, end: int) -> tuple[int, int]:
    """What `gateway run` leaves behind after so long without a broker, up to the time `end`. Messages and bytes."""
    clock = HandMovedClock(end - seconds * SECOND)
    buffer = SegmentLog(Hasty(folder), Limits(SIZE, 14 * DAY, reserve=0), declare, clock)
    plant = Plant(buffer.epoch)
    for _ in range(seconds):
        plant.second(buffer, clock.now())
        buffer.commit()
        clock.move(1)
    usage = buffer.usage
    assert not usage.dropped
    assert not usage.trouble
    buffer.close()
    for file in folder.iterdir():  # else whoever syncs anything on this disk next waits for all of it
        with file.open("rb") as there:
            os.fsync(there.fileno())
    return usage.records, usage.bytes


def say(what: str, figure: float, unit: str, target: float | None = None, *, at_least: bool = False) -> None:
    """One line."""
    aim = ""
    if target is not None:
        met = figure >= target if at_least else figure <= target
        aim = f"   target {'>=' if at_least else '<='} {target:g}{'' if met else '   MISSED'}"
    print(f"{what:<84}{figure:>10.3g} {unit:<10}{aim}", flush=True)


# --- CPU -------------------------------------------------------------------------------------------------------------


def cpu(_: argparse.Namespace) -> None:
    """Batches of 100 readings; commits as rare as at 100,000, 10,000 and 1,000 readings a second."""
    with tempfile.TemporaryDirectory(prefix="buffer-") as folder:
        buffer = SegmentLog(Disk(Path(folder)), Limits(256 * 2**20, 14 * DAY), declare, SystemClock())
        header = Header(MachinePath("press-00", "acme", "hanoi", "moulding", "L1"), tuple(
            Signal(f"signal_{i:03}", "float") for i in range(100)
        ))  # fmt: skip
        now = time.time_ns()
        batch = Batch(header, header.order, (now,) * 100, waves(100, random.Random(1))(), None)
        encode = DataEncoder(GATEWAY, buffer.epoch)
        payload, topic = encode(batch, 1), Topics().data(header.path)
        began = time.process_time()
        for seq in range(1000):
            encode(batch, seq)
        encoding = (time.process_time() - began) / 1000 / 100 * 1e6
        for every in (1000, 100, 10):
            best = 1e9
            for _ in range(5):
                began = time.process_time()
                for n in range(2000):
                    buffer.append(topic, lambda _: payload, 100, now, now)
                    if n % every == every - 1:
                        buffer.commit()
                best = min(best, (time.process_time() - began) / 2000 / 100 * 1e6)
                buffer.mark_stored(buffer.epoch, [(1, buffer.last)], buffer.last)
                buffer.commit()
            aim = 0.1 if every > 10 else None
            say(
                f"append and commit, batches of 100, a commit every {every * 100:,} readings, CPU",
                best,
                "µs/reading",
                aim,
            )
        say("the payload itself, CPU", encoding, "µs/reading")
        buffer.close()


# --- bytes, and ages -------------------------------------------------------------------------------------------------


class Lane:
    """One buffer on a volume of its own, fed in real time."""

    def __init__(self, volume: Volume, limits: Limits, keep: int | None) -> None:
        """`keep`: messages that wait before they are stored; None: nothing is ever stored."""
        self._clock = SystemClock()
        self.volume, self.keep = volume, keep
        self.buffer = SegmentLog(Disk(volume.path / "buffer"), limits, declare, self._clock, prefix=PREFIX)
        self.committer = Committer(self.buffer, self._clock)
        self.plant = Plant(self.buffer.epoch)
        self.ages: list[float] = []
        self._waiting: list[float] = []

    async def watch(self) -> None:
        """See what is accepted, a few milliseconds later at the most."""
        while True:
            self._note_accepted()
            await asyncio.sleep(0.004)

    def _note_accepted(self) -> None:
        now = time.monotonic()
        count = len(self._waiting) - (self.buffer.last - self.buffer.accepted)
        self.ages += [now - began for began in self._waiting[:count]]
        del self._waiting[:count]
        if self.keep is not None and (upto := self.buffer.accepted - self.keep) > 0:
            self.buffer.mark_sent(upto)
            self.buffer.mark_stored(self.buffer.epoch, [(1, upto)], upto)

    async def feed(self, seconds: float) -> None:
        """The machines are polled one after the other, evenly over a second."""
        began = time.monotonic()
        turn = 0
        while (at := began + turn / MACHINES) < began + seconds:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            if turn % MACHINES == 0:
                values = self.plant.values()
            self._waiting.append(time.monotonic())
            self.plant.append(self.buffer, turn % MACHINES, self._clock.now(), values[turn % MACHINES])
            self.committer.wake()
            turn += 1


async def measure(lane: Lane, seconds: float, warm_up: float) -> float:
    """Bytes written to the device for each reading."""
    lane.committer.start()
    watching = asyncio.create_task(lane.watch())
    await lane.feed(warm_up)
    before, last = lane.volume.written, lane.buffer.last
    lane.ages.clear()
    await lane.feed(seconds)
    figure = (lane.volume.written - before) / (lane.buffer.last - last) / SIGNALS
    watching.cancel()
    await lane.committer.close()
    return figure


def real_time(chosen: argparse.Namespace) -> None:
    """Three buffers beside each other; a segment of the usual size outlasts them, see `segments` for that."""
    if why := missing():
        print(f"bytes and ages: not measured, {why}")
        return

    async def both() -> None:
        usual, small = (Limits(size, 14 * DAY, reserve=0) for size in (SIZE, 2**20))
        with Volume(256) as emptied, Volume(256) as growing, Volume(256) as tiny:
            lanes = [Lane(emptied, usual, keep=400), Lane(growing, usual, keep=None), Lane(tiny, small, keep=400)]
            figures = await asyncio.gather(*(measure(lane, chosen.seconds, warm_up=15) for lane in lanes))
            what = f"{READINGS} readings/s for {chosen.seconds:g} s"
            say(f"{what}, emptied all the time, to the device", figures[0], "B/reading", 90)
            say(f"{what}, a growing backlog, to the device", figures[1], "B/reading", 90)
            say(f"{what}, max_size 1MiB: another segment every 8 s", figures[2], "B/reading")
            ages = sorted(age for lane in lanes for age in lane.ages)
            say("age of a reading when accepted, commit_interval 1 s, p50", ages[len(ages) // 2], "s")
            say("age of a reading when accepted, commit_interval 1 s, p99", ages[len(ages) * 99 // 100], "s", 1.0)
            say("age of a reading when accepted, commit_interval 1 s, most", ages[-1], "s")

    asyncio.run(both())


def whole_segments(chosen: argparse.Namespace) -> None:
    """Segments of the usual size, some hours in some seconds: all that the buffer itself writes, in full measure."""
    if why := missing():
        print(f"bytes of whole segments: not measured, {why}")
        return
    for name, keep in (("used again", 20_000), ("a growing backlog", None)):
        with Volume(512) as volume:
            clock = HandMovedClock(time.time_ns() - DAY * SECOND)
            buffer = SegmentLog(
                Disk(volume.path / "buffer"), Limits(SIZE, 14 * DAY, reserve=0), declare, clock, prefix=PREFIX
            )
            plant = Plant(buffer.epoch)
            before = readings = 0
            for second in range(chosen.hours * 3600):
                if second == 3600:
                    before, readings = volume.written, buffer.last * SIGNALS
                plant.second(buffer, clock.now())
                buffer.commit()
                if (spare := buffer.spare()) is not None:
                    buffer.take_spare(spare.run())
                clock.move(1)
                if keep is not None and (upto := buffer.accepted - keep) > 0:
                    buffer.mark_sent(upto)
                    buffer.mark_stored(buffer.epoch, [(1, upto)], upto)
            figure = (volume.written - before) / (buffer.last * SIGNALS - readings)
            used = buffer.usage.bytes / (buffer.usage.records * SIGNALS)
            say(
                f"{chosen.hours - 1} h by a clock moved by hand, segments of 4 MiB, {name}, to the device",
                figure,
                "B/reading",
                90,
            )
            if keep is None:
                say("a backlog on the disk", used, "B/reading")
            buffer.close()


# --- starting with a backlog -----------------------------------------------------------------------------------------


@contextmanager
def notified(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """A service manager: where it listens, and its next message."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        yield str(path), lambda: manager.recv(4096).decode()


def configuration(folder: Path, broker_port: int, more: str = "") -> Path:
    """A gateway with one machine, which is not there."""
    file = folder / "gateway.yaml"
    file.write_text(
        f"gateway: {{id: {GATEWAY}, data_dir: data}}\n"
        f'mqtt: {{url: "mqtt://127.0.0.1:{broker_port}", delivery: store}}\n'
        f"connections: {{c: {{protocol: modbus-tcp, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "machines: {m: {connection: c, signals: {a: {holding: 0, type: int16}}}}\n" + more
    )
    return file


@contextmanager
def started(folder: Path) -> Iterator[tuple[psutil.Process, float]]:
    """`gateway run` in this folder, once it says that it is ready, and the seconds that took."""
    file = configuration(folder, free_port())
    with notified(folder) as (address, receive), (folder / "log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [COMMAND, "run", str(file)], cwd=folder, env={"NOTIFY_SOCKET": address, "PATH": "/usr/bin"},
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            while "READY=1" not in receive():
                assert process.poll() is None, (folder / "log").read_text()
            yield psutil.Process(process.pid), time.monotonic() - began
        finally:
            process.terminate()
            process.wait(30)


def start_up(chosen: argparse.Namespace) -> None:
    """After a clean end, and after a kill: then it syncs what it finds, and begins a new epoch."""
    seconds = 1_000_000 // READINGS
    with tempfile.TemporaryDirectory(prefix="buffer-") as temporary:
        folder = Path(temporary)
        with started(folder) as (_, took):
            say("start-up, from exec to READY=1, nothing pending", took, "s")
        (folder / "data").rename(folder / "empty")
        make_backlog(folder / "data" / "buffer", seconds, time.time_ns() - 60 * SECOND)
        for what in ("after a clean end", "once more, after a kill", "and again"):
            with started(folder) as (process, took):
                say(f"start-up with 1,000,000 readings pending, {what}", took, "s", 2.0)
                if what == "after a clean end":
                    process.kill()


def memory(chosen: argparse.Namespace) -> None:
    """With a backlog of 72 h that cannot be sent, as it is opened and after a minute."""
    seconds = chosen.backlog * 3600
    with tempfile.TemporaryDirectory(prefix="buffer-") as temporary:
        folder = Path(temporary)
        began = time.monotonic()
        messages, size = make_backlog(folder / "data" / "buffer", seconds, time.time_ns() - 60 * SECOND)
        say(f"making a backlog of {chosen.backlog} h, {messages * SIGNALS:,} readings", time.monotonic() - began, "s")
        say("it takes", size / 2**20, "MiB")
        with started(folder) as (process, took):
            say(f"start-up with a backlog of {chosen.backlog} h", took, "s", 2.0)
            say("resident memory of `gateway run` when it is ready", process.memory_info().rss / 2**20, "MiB", 120)
            before = process.memory_info().rss
            time.sleep(60)
            say("growth in a minute after that", (process.memory_info().rss - before) / 2**20, "MiB", 5)


PARTS = {"cpu": cpu, "bytes": real_time, "segments": whole_segments, "start": start_up, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--seconds", type=float, default=64, help="of real time, for `bytes`")
    parser.add_argument("--hours", type=int, default=6, help="for `segments`")
    parser.add_argument("--backlog", type=int, default=72, help="hours, for `memory`")
    chosen = parser.parse_args()
    for name in chosen.only or PARTS:
        PARTS[name](chosen)


if __name__ == "__main__":
    main()
