"""The power fails at any moment: what was accepted before is there afterwards, and the buffer opens by itself.

    writer, a process ── append, commit ──▶ SegmentLog on the volume of a disk that forgets what was not flushed
        └─ accepted 1234 ─▶ this test ── a moment later ──▶ cut ──▶ the copy is mounted, and opened

CUTS is how often in each kind of work: 20 unless the environment says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import pytest

from gateway.buffer import Disk, Limits, Record, SegmentLog
from gateway.buffer.committer import Committer
from gateway.clock import SystemClock
from gateway.mqtt.payload import Loss, decode_loss, encode_loss
from parts import block_device
from parts.process import wait_until

pytestmark = [pytest.mark.block_device, pytest.mark.timeout(900)]

CUTS = int(os.environ.get("CUTS", "20"))
TOPIC = "shopfloor/v1/acme/hanoi/moulding/L1/press-07/data"
READINGS = 10
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
COMMIT_INTERVAL = 0.04  # seconds: many commits, many chances to be cut


@dataclass(frozen=True, slots=True)
class Kind:
    """What the writer does besides appending."""

    max_bytes: int
    stores: bool = False  # what is accepted is stored some time later, in leaps
    drops: bool = False  # it is too small for what comes
    keep: int = 0  # bytes of a folder in which the next writer may go on


KINDS = {
    "the buffer grows": Kind(48 * 2**20, keep=16 * 2**20),
    "segments are made, used again and removed": Kind(3 * 2**20, stores=True, keep=48 * 2**20),
    "the oldest is dropped": Kind(2**20, drops=True),
}


def payload(position: int, number: int) -> bytes:
    """What stands at a position, the n-th of this writer: of any length, some of them longer than a page."""
    digest = blake2b(position.to_bytes(8, "big")).hexdigest().encode()
    return b"%d %d " % (number, position) + digest * (1 + digest[0] % 5) + digest * (40 if position % 97 == 0 else 0)


def number_of(record: Record) -> int:
    return int(record.payload.split(maxsplit=1)[0])


def declare(loss: Loss, seq: int) -> tuple[str, bytes]:
    return "loss", encode_loss(loss, "edge-01", seq)


def opened(folder: Path, max_bytes: int) -> SegmentLog:
    limits = Limits(max_bytes, 1e9, commit_interval=COMMIT_INTERVAL, reserve=0)
    return SegmentLog(Disk(folder), limits, declare, SystemClock())


# --- the writer ------------------------------------------------------------------------------------------------------


def nothing(disk: Disk, name: str) -> None:
    """Instead of an fdatasync."""


async def write(folder: Path, kind: Kind, seed: int, *, sync: bool) -> None:
    """Append as the gateway does, for ever, and tell what is accepted, and what is about to be stored."""
    rng = random.Random(seed)
    if not sync:
        Disk.sync = nothing  # type: ignore[method-assign]
    clock = SystemClock()
    buffer = opened(folder, kind.max_bytes)
    committer = Committer(buffer, clock)
    committer.start()
    leap = number = accepted = 0
    while True:
        if buffer.accepted > accepted:
            accepted = buffer.accepted
            print("accepted", accepted, flush=True)
        for _ in range(rng.randrange(1, 40)):
            now, number = clock.now(), number + 1
            content = payload(buffer.last + 1, number)
            buffer.append(TOPIC, lambda _, content=content: content, READINGS, now, now)
        committer.wake()
        if kind.stores and buffer.accepted - buffer.stored > leap:
            upto = buffer.accepted - rng.randrange(10)
            leap = rng.choice([50, 300, 1500])
            print("storing", upto, flush=True)
            buffer.mark_sent(upto)
            newest = {each.epoch: each.seq for each in buffer.read(buffer.stored, 10_000) if each.position <= upto}
            for epoch, seq in newest.items():
                buffer.mark_stored(epoch, [(1, seq)], upto)
        await asyncio.sleep(rng.random() * 0.01)


class Writer:
    """The process, and what it has said so far."""

    def __init__(self, folder: Path, name: str, seed: int, *, sync: bool = True) -> None:
        command = [sys.executable, __file__, str(folder), name, str(seed), "sync" if sync else "no sync"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.accepted = self.storing = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            word, number = line.split()
            setattr(self, word, int(number))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()

    @property
    def running(self) -> bool:
        return self._process.poll() is None


# --- the cuts --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What is wrong after a cut; nothing, it should be."""

    cuts: int = 0
    accepted: int = 0  # positions at the last cut
    lost: list[str] = field(default_factory=list)


@contextmanager
def writing(folder: Path, name: str, seed: int, *, sync: bool = True) -> Iterator[Writer]:
    writer = Writer(folder, name, seed, sync=sync)
    try:
        wait_until(lambda: writer.accepted or not writer.running, 30, "something to be accepted")
        assert writer.running
        yield writer
    finally:
        writer.kill()


def cut_the_power(name: str, cuts: int, *, sync: bool = True) -> Findings:
    """At random moments; every few cuts the writer is killed, and another one goes on."""
    rng, found = random.Random(), Findings()
    with block_device.Disk(96) as disk:
        folder = disk.volume.path / "buffer"
        while found.cuts < cuts:
            seed = rng.randrange(2**32)
            with writing(folder, name, seed, sync=sync) as writer:
                for _ in range(min(5, cuts - found.cuts)):
                    time.sleep(rng.random() * 0.4)  # this is what is tested: any moment
                    assert writer.running, "the writer ended by itself"
                    accepted = writer.accepted
                    with disk.cut() as left:
                        wait_until(lambda accepted=accepted: writer.accepted > accepted, 30, "the writer to go on")
                        found.cuts += 1
                        found.accepted = accepted
                        found.lost += what_is_lost(left / "buffer", KINDS[name], accepted, writer)
            # A writer that is killed leaves other traces than a cut. Now and then all begins with nothing.
            if sum(file.stat().st_size for file in folder.iterdir()) > KINDS[name].keep:
                for file in folder.iterdir():
                    file.unlink()
    return found


def what_is_lost(folder: Path, kind: Kind, accepted: int, writer: Writer) -> list[str]:
    """Accepted positions that are neither there, nor stored, nor declared for a reason of their own; and what else."""
    buffer = opened(folder, kind.max_bytes)
    before = buffer.accepted
    data, losses = contents(buffer)
    wrong = [f"opened with trouble: {buffer.trouble}"] if buffer.trouble else []
    wrong += [
        f"{each.position}: another content" for each in data if each.payload != payload(each.position, number_of(each))
    ]
    if kind.drops:
        wrong += miscounted(data, losses)
    elif buffer.stored > writer.storing:
        wrong.append(f"stored up to {buffer.stored}, the store has {writer.storing}")
    there = {record.position for record in (*data, *losses)}
    if gone := sorted(set(range(buffer.stored + 1, accepted + 1)) - there):
        wrong.append(f"{len(gone)} of {accepted} accepted ones, from {gone[0]} to {gone[-1]}")
    return wrong + goes_on(buffer, before) + opens_again(folder, kind, there)


def miscounted(data: list[Record], losses: list[Record]) -> list[str]:
    """What is there has no gaps, and what is not there before is declared, reading for reading."""
    numbers = [number_of(record) for record in data]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return ["there are gaps in what is left"]
    told = sum(
        loss.count for _, _, loss in map(decode_loss, (each.payload for each in losses)) if loss.cause == "buffer-full"
    )
    dropped = (numbers[0] - 1) * READINGS
    return [f"{dropped} readings were dropped, {told} are declared"] if told != dropped else []


def contents(buffer: SegmentLog) -> tuple[list[Record], list[Record]]:
    """Data, and loss records."""
    records: list[Record] = []
    while more := buffer.read(records[-1].position if records else buffer.stored, 500):
        records += more
    return [each for each in records if not each.is_loss], [each for each in records if each.is_loss]


def goes_on(buffer: SegmentLog, before: int) -> list[str]:
    """What is opened after a cut can be written to at once."""
    for _ in range(50):
        now = time.time_ns()
        buffer.append(TOPIC, lambda seq: b"%d" % seq, READINGS, now, now)
    buffer.commit()
    wrong = [] if buffer.accepted == buffer.last > before else ["nothing is accepted any more"]
    buffer.close()
    return wrong


def opens_again(folder: Path, kind: Kind, expected: set[int]) -> list[str]:
    """Opening and closing it has changed nothing that was there, but for what had to make room."""
    buffer = opened(folder, kind.max_bytes)
    data, losses = contents(buffer)
    buffer.close()
    gone = {each for each in expected if each > buffer.stored} - {each.position for each in (*data, *losses)}
    return [f"{len(gone)} were there after the cut, and are gone after a clean end"] if gone else []


@pytest.mark.parametrize("name", KINDS)
def test_nothing_accepted_is_lost(name):
    found = cut_the_power(name, CUTS)
    assert found.cuts == CUTS
    assert found.lost == []


def test_control_without_fdatasync_accepted_records_are_lost():
    assert cut_the_power("the buffer grows", 3, sync=False).lost


if __name__ == "__main__":
    place, what, number, how = sys.argv[1:]
    asyncio.run(write(Path(place), KINDS[what], int(number), sync=how == "sync"))
