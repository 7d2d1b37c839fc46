"""Killed on entry of its n-th system call, for every n: what was accepted is there, and no identity is used twice.

    strace ─ KILL at the n-th fdatasync, pwrite64, rename or unlink ─▶ scribe.py ─ what it did ─▶ this test
                                                                          └─▶ folder ─ opened again ─▶ compared

Then the same with a whole gateway. SYSCALLS is how many n of each call; all of the first 300 with SYSCALLS=300.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import psutil
import pytest

from fault.judge import Absence
from fault.kills import Plant, plant, settle
from fault.scribe import GATEWAY, READINGS, T, encode, open_buffer
from gateway.buffer import SegmentLog
from gateway.buffer.contract import Record
from gateway.mqtt.payload import Loss, decode_loss, encode_loss
from parts.process import program, wait_until

SCRIBE = Path(__file__).with_name("scribe.py")
CALLS = ("fdatasync", "pwrite64", "rename", "unlink")
MOST = 300
COUNT = int(os.environ.get("SYSCALLS", "40"))
FIRST = 10  # of them in any case
SIGKILL = -9
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # or Python itself renames files


def numbers(count: int) -> list[int]:
    """The first ten, the last, and between them as many as are left, evenly."""
    if count >= MOST:
        return list(range(1, MOST + 1))
    spread = max(1, count - FIRST)
    return sorted({*range(1, FIRST + 1), *(FIRST + round((MOST - FIRST) * (i + 1) / spread) for i in range(spread))})


def traced(call: str, number: int, trace: Path) -> list[str]:
    """Before a command: it is killed when a thread of it enters this call for the n-th time."""
    inject = f"inject={call}:signal=KILL:when={number}"
    return [program("strace"), "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-o", str(trace)]


def reached(call: str, number: int, trace: Path) -> bool:
    """Whether it was killed there: its last call was the n-th of its thread, and never returned."""
    calls = [line.split(None, 1) for line in trace.read_text().splitlines() if f" {call}(" in line]
    return (
        bool(calls)
        and [thread for thread, _ in calls].count(calls[-1][0]) == number
        and calls[-1][1].endswith(("= ?", "<unfinished ...>"))
    )


def _end_traced(strace: int) -> None:
    """What strace runs would outlive it."""
    for child in psutil.Process(strace).children(recursive=True):
        child.kill()


# --- a buffer, by itself ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Story:
    """What several lives of a scribe have said about one folder."""

    identities: dict[tuple[str, int], int] = field(default_factory=dict)  # and the sum of the payload
    accepted: dict[tuple[str, int], int] = field(default_factory=dict)  # positions of what has to be there
    complaints: list[str] = field(default_factory=list)

    def listen(self, output: str) -> None:
        """To one life."""
        new: dict[tuple[str, int], int] = {}
        for line in output.splitlines():
            what, position, *words = line.split()
            if what == "S":
                self.accepted = {each: at for each, at in self.accepted.items() if at > int(position)}
                new = {each: at for each, at in new.items() if at > int(position)}
            elif what == "C":
                self.accepted |= {each: at for each, at in new.items() if at <= int(position)}
                new = {each: at for each, at in new.items() if at > int(position)}
            else:
                epoch, seq, total = words[0], int(words[1]), int(words[2])
                self._identify(epoch, seq, total)
                new[epoch, seq] = int(position)

    def check(self, buffer: SegmentLog) -> None:
        """What it has, against all that was said; then it has to be kept."""
        there = {(record.epoch, record.seq): record for record in buffer.read(0, 10**9)}
        for record in there.values():
            self._look_at(record)
        declared = _declared(there.values())
        for identity, position in self.accepted.items():
            # A loss record that was dropped is told of by the next one, like any other.
            if identity not in there and identity not in declared:
                self.complaints.append(f"accepted, and lost: {position} {identity}")
        for identity in declared.keys() & there.keys():
            self.complaints.append(f"declared lost ({declared[identity]}), and there: {identity}")
        self.accepted |= {identity: record.position for identity, record in there.items()}

    def _look_at(self, record: Record) -> None:
        known = self.identities.get((record.epoch, record.seq))
        total = crc32(record.payload)
        if known is None and record.is_loss:  # made when it was opened
            self._identify(record.epoch, record.seq, total)
        elif known != total:
            self.complaints.append(f"wrong: {record.position} ({record.epoch} {record.seq}) is not what was appended")
        elif not record.is_loss and (record.readings, record.first, record.last) != (READINGS, T, T):
            self.complaints.append(f"wrong: {record.position} has {record.readings} readings, {record.first}")

    def _identify(self, epoch: str, seq: int, total: int) -> None:
        if self.identities.setdefault((epoch, seq), total) != total:
            self.complaints.append(f"two payloads with one identity: {epoch} {seq}")

    def go_on(self, folder: Path) -> None:
        """Open a copy of the folder, check it, append to it, close it, and check it once more."""
        copy = folder.with_name(folder.name + "-copy")
        shutil.copytree(folder, copy)
        mine = Story(dict(self.identities), dict(self.accepted), self.complaints)
        buffer = open_buffer(copy, _declare)
        try:
            mine.check(buffer)
            # But for what was made just now, in the copy.
            self.accepted |= {each: at for each, at in mine.accepted.items() if each in self.identities}
            for number in range(3):
                position, epoch = buffer.last + 1, buffer.epoch
                payload = b""

                def encoded(seq: int, number: int = -1 - number, epoch: str = epoch) -> bytes:
                    nonlocal payload
                    payload = encode(number, epoch, seq)
                    return payload

                seq = buffer.append("data", encoded, READINGS, T, T)
                mine.listen(f"A {position} {epoch} {seq} {crc32(payload)}")
            mine.listen(f"C {buffer.last}")
            epoch = buffer.epoch
            buffer.close()
            buffer = open_buffer(copy, _declare)
            mine.check(buffer)
            if buffer.epoch != epoch:
                mine.complaints.append("a clean end, and another epoch")
        finally:
            buffer.close()
            shutil.rmtree(copy)


def _declare(loss: Loss, seq: int) -> tuple[str, bytes]:
    return "loss", encode_loss(loss, GATEWAY, seq)


def _declared(records: Iterable[Record]) -> dict[tuple[str, int], str]:
    """What loss records tell of, but for damage: a file that was never cut off has none."""
    told: dict[tuple[str, int], str] = {}
    for record in records:
        if record.is_loss:
            loss = decode_loss(record.payload)[2]
            if loss.cause != "damaged":
                told |= dict.fromkeys(((loss.epoch, seq) for seq in range(loss.first, loss.last + 1)), loss.cause)
    return told


def life(folder: Path, call: str, number: int, *more: str) -> tuple[str, bool]:
    """One life of a scribe: what it said, and whether it ended where it should."""
    trace = folder.with_name(folder.name + "-trace")
    command = [*traced(call, number, trace), sys.executable, str(SCRIBE), str(folder), *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            said, errors = process.communicate(timeout=60)
        except BaseException:
            _end_traced(process.pid)
            raise
    assert process.returncode == SIGKILL, f"{call} {number}: {process.returncode}\n{errors}"
    return said, reached(call, number, trace)


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where there is one: a process that is killed takes nothing with it, so that is no less hard."""
    shared = Path("/dev/shm")
    folder = shared / f"scribe-{os.getpid()}" if os.access(shared, os.W_OK) else tmp_path / "scribe"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(60 + 8 * COUNT)
@pytest.mark.parametrize("call", CALLS)
def test_a_buffer_that_is_killed_at_any_call_keeps_what_it_accepted(call, memory, capsys):
    """Twice: the second life is killed early, while it takes over what the first has left."""
    wanted = numbers(COUNT)
    visited = again = kept = 0
    complaints: list[str] = []
    for number in wanted:
        folder = memory / str(number)
        story = Story()
        said, there = life(folder, call, number)
        visited += there
        story.listen(said)
        story.go_on(folder)
        second = CALLS[number % len(CALLS)] if number % 3 else call
        said, there = life(folder, second, 1 + number % 7)
        again += there
        story.listen(said)
        story.go_on(folder)
        kept += len(story.accepted)
        complaints += [f"{call} {number}: {each}" for each in story.complaints]
        shutil.rmtree(folder)
    with capsys.disabled():
        print(
            f"\n{call}: killed at {visited} of {len(wanted)} n up to {wanted[-1]}, and {again} times once more; "
            f"{kept} records accepted and not stored yet, {len(complaints)} complaints"
        )
    assert not complaints, "\n".join(complaints[:20])
    assert visited == again == len(wanted)


@pytest.mark.slow
def test_control_what_is_accepted_too_early_is_lost(memory):
    lost = 0
    for number in (5, 20, 50):
        story = Story()
        said, _ = life(memory / str(number), "pwrite64", number, "lie")
        story.listen(said)
        story.go_on(memory / str(number))
        lost += sum("accepted, and lost" in each for each in story.complaints)
    assert lost > 0


# --- a whole gateway -------------------------------------------------------------------------------------------------


def killed_gateway(call: str, number: int, running: Plant, folder: Path) -> bool:
    """A gateway that starts while the broker is away, so that segments pile up, and are freed when it comes."""
    gateway, trace = running.gateway, folder / "trace"
    gateway.before = traced(call, number, trace)
    gateway.start()
    assert gateway.process is not None
    began = time.monotonic()
    try:
        while gateway.process.poll() is None:
            if not running.broker.running and time.monotonic() - began > 3:
                running.start("broker")
            assert time.monotonic() - began < 60, f"{call} {number} was never reached"
            time.sleep(0.002)
    except BaseException:
        _end_traced(gateway.process.pid)
        raise
    at = time.time_ns()
    assert gateway.process.returncode == SIGKILL, gateway.log
    gateway.kill()
    if not running.broker.running:
        running.start("broker")
    running.absences.append(Absence(at, time.time_ns()))
    gateway.before = []
    gateway.start()
    return reached(call, number, trace)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("fdatasync", 1), ("fdatasync", 9), ("pwrite64", 2), ("pwrite64", 60), ("pwrite64", 150), ("rename", 1),
        ("rename", 4), ("unlink", 2),
    ],
)  # fmt: skip
def test_a_gateway_that_is_killed_at_a_call_loses_nothing(call, number, tmp_path, capsys):
    machines = {"press": "20ms", "oven": "20ms"}
    settings = "buffer: {max_size: 1MiB, min_free: 0B}\n"
    with plant(persistence=False, machines=machines, copies=8, settings=settings, started=("writer",)) as running:
        assert killed_gateway(call, number, running, tmp_path)
        wait_until(lambda: running.gateway.status()["flow"]["read"] > 0, 60, "the gateway to read again")
        verdict = settle(running)
        with capsys.disabled():
            print(f"\n{call} {number}: {verdict}")
        assert verdict.served > 0
        assert verdict.sound, verdict.findings
