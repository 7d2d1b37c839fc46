"""The disk is full, read-only, broken or full of rubbish: machines are read, the store gets all of it, the page tells.

 simulated machine ─▶ gateway run ─▶ Mosquitto ─▶ gateway store ─▶ historian, on another disk
                          └─ buffer, on a volume of its own that is made to fail

Errors of the device itself are put into the system calls of the gateway by strace: EIO and EROFS can then end as they
began, without a mount in between.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flow.plants import modbus_plant
from gateway.model import GOOD
from gateway.store.historian import Historian
from parts.block_device import MIB, Volume
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import program, wait_until
from simulators.ledger import columns, read_ledger

pytestmark = [pytest.mark.block_device, pytest.mark.timeout(180)]

SIGNALS = 10
POLLS = 20  # a second
BACK = 10.0  # seconds after a fault in which the disk has to be in use again
WRITES = "pwrite64,fdatasync,fallocate,rename,mkdir"  # what only the buffer calls


@dataclass
class Plant:
    """The parts, and the questions all tests ask."""

    broker: Mosquitto
    machines: Simulated
    store: StoreProcess
    gateway: Gateway

    @property
    def trouble(self) -> str:
        return str(self.gateway.status()["buffer"]["trouble"])

    @property
    def accepts(self) -> bool:
        """What was appended more than a commit ago is on the disk."""
        buffer = self.gateway.status()["buffer"]
        return not buffer["trouble"] and buffer["unsafe"] < 3 * POLLS

    def moves(self, *, stored: bool) -> None:
        """The machine is read as often as before, the page answers, and with `stored` what is read arrives."""
        before = self.gateway.status()
        polls = before["machines"][0]["counters"]["polls"]
        wait_until(lambda: self.gateway.machine("m00")["counters"]["polls"] >= polls + 2 * POLLS, 8, "polls to go on")
        if stored:
            wanted = before["flow"]["stored"] + POLLS
            wait_until(lambda: self.gateway.status()["flow"]["stored"] >= wanted, 40, "readings to arrive in the store")

    def end(self) -> None:
        """Everything that was read is in the store, and the gateway ends well."""
        self.machines.stop()
        wait_until(lambda: self.gateway.machine("m00")["state"] == "offline", 30, "the machine to be gone")
        wait_until(lambda: self.gateway.status()["buffer"]["records"] == 0, 60, "everything to be stored")
        self.gateway.stop()
        assert self.gateway.process is not None
        assert self.gateway.process.returncode == 0
        assert "Traceback" not in self.gateway.log
        self.store.stop()

    def lost_silently(self) -> int:
        """Readings that were served, and are neither stored nor declared lost; the last poll may not have arrived."""
        reader = Historian.open_read_only(self.store.folder / "data" / "historian.sqlite")
        lacking = 0
        for (machine, signal), served in columns(read_ledger(self.machines.ledger)).items():
            found = reader.query(machine, signal, 0, time.time_ns())
            values = [v for v, q in zip(found.value, found.quality, strict=True) if q == GOOD]
            rest = iter(served.value)
            assert all(value in rest for value in values), f"{signal}: not in the order in which it was served"
            lacking += len(served.value) - len(values)
        declared = sum(each.loss.count for each in reader.losses(0, 2**62) if each.loss.last)
        reader.close()
        return max(0, lacking - declared - SIGNALS)


@contextmanager
def plant(data_dir: Path) -> Iterator[Plant]:
    """All of it, but for the gateway, which is made and not started."""
    text = modbus_plant([free_port()], SIGNALS, f"{1000 // POLLS}ms")
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(conf=["max_queued_messages 10000"]))
        machines = stack.enter_context(Simulated(text))
        mqtt = f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: store}}\n'
        theirs = text + mqtt + "gateway: {id: edge-01, data_dir: data}\nstore: {kind: historian}\n"
        store = stack.enter_context(StoreProcess(theirs))
        # Segments of 64 KiB: another one every few seconds.
        buffer = "buffer: {max_size: 1MiB, min_free: 1MiB}\n"
        gateway = Gateway(text + mqtt + f"gateway: {{id: edge-01, data_dir: {data_dir}}}\n" + buffer)
        stack.callback(gateway.close)
        yield Plant(broker, machines, store, gateway)


@contextmanager
def running(volume: Volume) -> Iterator[Plant]:
    """A plant that has run well for a while."""
    with plant(volume.path / "data") as parts, parts.gateway:
        wait_until(lambda: parts.gateway.status()["flow"]["stored"] > POLLS, 30, "the flow")
        wait_until(lambda: parts.accepts, 10, "readings to be accepted")
        yield parts


def survive(parts: Plant, end_of_fault: Callable[[], object]) -> None:
    """A fault has begun: first the store gets everything, then the broker is away, then all is well again."""
    parts.moves(stored=True)
    parts.broker.stop()
    # So much that the buffer needs another segment, or wants to.
    wait_until(lambda: parts.gateway.status()["buffer"]["records"] > 8 * POLLS, 30, "readings to pile up")
    wait_until(lambda: parts.trouble, 30, "the trouble to be told")
    assert parts.trouble in parts.gateway.log
    parts.moves(stored=False)
    parts.broker.start()
    parts.moves(stored=True)
    end_of_fault()
    wait_until(lambda: parts.accepts, BACK, "the disk to be in use again")
    assert "the disk can be written again" in parts.gateway.log
    parts.moves(stored=True)
    parts.end()
    assert parts.lost_silently() == 0


@contextmanager
def failing(pid: int, error: str, calls: str = WRITES) -> Iterator[Callable[[], None]]:
    """These system calls of a process fail, until this is called or left."""
    command = [
        program("strace"),
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}",
    ]
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)

    def stop() -> None:
        if tracer.poll() is None:
            tracer.terminate()
            tracer.wait(10)

    try:
        wait_until(lambda: all(traced(task) for task in Path(f"/proc/{pid}/task").iterdir()), 10, "strace")
        yield stop
    finally:
        stop()


def traced(task: Path) -> bool:
    (line,) = (each for each in (task / "status").read_text().splitlines() if each.startswith("TracerPid"))
    return int(line.split()[1]) > 0


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_a_full_disk():
    with Volume(32) as volume, running(volume) as parts:
        filler = volume.fill()
        survive(parts, filler.unlink)


def test_no_inode_left():
    with Volume(32, inodes=64) as volume, running(volume) as parts:
        many = volume.use_up_inodes()
        survive(parts, lambda: shutil.rmtree(many))


@pytest.mark.parametrize("error", ["EIO", "EROFS"])
def test_a_disk_that_fails_for_a_time(error):
    with Volume(32) as volume, running(volume) as parts, failing(parts.gateway.pid, error) as stop:
        survive(parts, stop)


def test_fdatasync_that_fails_now_and_then():
    """What the kernel did with the pages is not known after that: all of it is written again elsewhere."""
    with Volume(32) as volume, running(volume) as parts:
        with failing(parts.gateway.pid, "EIO:when=5..10+4", "fdatasync"):
            wait_until(lambda: parts.trouble, 30, "the trouble to be told")
            parts.moves(stored=True)
        wait_until(lambda: parts.accepts, BACK, "the disk to be in use again")
        # What was accepted in spite of it is there after a kill, too.
        parts.broker.stop()
        wait_until(lambda: parts.gateway.status()["buffer"]["records"] > 4 * POLLS, 30, "readings to pile up")
        parts.gateway.stop()
        parts.broker.start()
        parts.gateway.start()
        parts.moves(stored=True)
        parts.end()
        assert parts.lost_silently() <= 2 * POLLS * SIGNALS  # nobody read while it was started


def test_a_disk_that_is_gone_for_good():
    """The file system gives up, as it does after an error in its journal. With the broker there nothing is missing."""
    with Volume(32) as volume, running(volume) as parts:
        volume.give_up()
        wait_until(lambda: parts.trouble, 30, "the trouble to be told")
        for _ in range(3):
            parts.moves(stored=True)
        parts.end()
        assert parts.lost_silently() == 0


def test_control_what_is_in_memory_only_does_not_outlive_the_gateway():
    with Volume(32) as volume, running(volume) as parts:
        with failing(parts.gateway.pid, "EIO"):
            parts.broker.stop()
            wait_until(lambda: parts.gateway.status()["buffer"]["unsafe"] > 8 * POLLS, 30, "readings to pile up")
            parts.gateway.kill()
        parts.broker.start()
        parts.gateway.start()
        parts.moves(stored=True)
        parts.end()
        assert parts.lost_silently() > 4 * POLLS * SIGNALS


# --- at the start ----------------------------------------------------------------------------------------------------


def start(parts: Plant, end_of_fault: Callable[[], object]) -> None:
    """It starts, works, and takes the disk into use once that is possible."""
    with parts.gateway:
        parts.moves(stored=True)
        wait_until(lambda: parts.trouble, 15, "the trouble to be told")
        end_of_fault()
        wait_until(lambda: parts.accepts, BACK, "the disk to be in use")
        parts.moves(stored=True)
        parts.end()
        assert parts.lost_silently() <= POLLS * SIGNALS  # served before anybody asked for it


def test_a_disk_that_is_full_at_the_start():
    with Volume(32) as volume, plant(volume.path / "data") as parts:
        filler = volume.fill()
        start(parts, filler.unlink)


def test_a_disk_that_is_read_only_at_the_start():
    with Volume(32) as volume, plant(volume.path / "data") as parts:
        volume.read_only(True)
        start(parts, lambda: volume.read_only(False))


def test_a_file_where_the_folder_should_be():
    with Volume(32) as volume, plant(volume.path / "data") as parts:
        file = volume.path / "data"
        file.write_text("not a folder")
        start(parts, file.unlink)


def rubbish(folder: Path) -> None:
    """Everything that a folder can hold, under the names the buffer uses itself; the marks are overwritten."""
    rng = random.Random(7)
    (folder / "marks").write_bytes(rng.randbytes(8192))
    (folder / "00000101.segment").write_bytes(rng.randbytes(64 * 1024))
    (folder / "00000102.segment").write_bytes(b"")
    (folder / "00000103.segment").mkdir()
    (folder / "00000104.segment").symlink_to("nowhere")
    os.mkfifo(folder / "00000105.segment")
    (folder / "00000106.segment").write_bytes(b"SFGWBUF\x63" + rng.randbytes(1000))
    (folder / "00000107 (copy).segment").write_bytes(bytes(4096))
    (folder / "²²²²²²²².segment").write_bytes(bytes(4096))
    (folder / "99999999.segment").write_bytes(bytes(MIB))
    (folder / "00000108.segment.new").mkdir()
    (folder / "notes.txt").write_text("do not delete")
    (folder / os.fsdecode(b"\xff\xfe.segment")).write_bytes(bytes(100))


def test_a_folder_full_of_rubbish_beside_what_waits():
    with Volume(32) as volume, running(volume) as parts:
        parts.broker.stop()
        wait_until(lambda: parts.gateway.status()["buffer"]["records"] > 4 * POLLS, 30, "readings to pile up")
        parts.gateway.stop()
        rubbish(volume.path / "data" / "buffer")
        parts.gateway.start()
        parts.moves(stored=False)
        wait_until(lambda: parts.accepts, BACK, "the disk to be in use")
        assert not parts.trouble
        parts.broker.start()
        parts.moves(stored=True)
        parts.end()
        assert parts.lost_silently() == 0
        assert (volume.path / "data" / "buffer" / "notes.txt").read_text() == "do not delete"
