"""Any sequence of events, power cuts and failing disks among them, on a disk that forgets what was not synced.

A model keeps what was appended, accepted, stored. Whatever happens: what was accepted is there unless it is stored or
declared lost, what is there is what was appended, and no identity ever means two things.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from buffer.forgetful import ForgetfulDisk, Platter
from buffer.material import Clock, losses, opened
from gateway.buffer import SegmentLog

SIZE = 16 * 4096 * 3  # bytes; segments of 12 KiB
Identity = tuple[str, int]


class Buffer(RuleBasedStateMachine):
    """The buffer and the model."""

    lies = False

    def __init__(self) -> None:
        super().__init__()
        self.platter, self.clock = Platter(), Clock()
        self.appended: dict[Identity, bytes] = {}
        self.accepted: set[Identity] = set()
        self.sent: set[Identity] = set()
        self.stored: set[Identity] = set()
        self.declared: set[Identity] = set()
        self.buffer: SegmentLog
        self.disk: ForgetfulDisk

    @initialize()
    def start(self) -> None:
        self.disk = ForgetfulDisk(self.platter)
        self.disk.lies = self.lies
        self.buffer = opened(self.disk, max_bytes=SIZE, max_age=1e9, clock=self.clock)

    # --- what happens ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 30), size=st.integers(0, 800))
    def append(self, count: int, size: int) -> None:
        for _ in range(count):
            made: list[bytes] = []

            def encode(seq: int, made: list[bytes] = made) -> bytes:
                made.append(f"{self.buffer.epoch} {seq} {len(self.appended)} ".encode() + b"x" * size)
                return made[0]

            seq = self.buffer.append("t", encode, 3, self.clock.now(), self.clock.now())
            identity = self.buffer.epoch, seq
            assert identity not in self.appended, "an identity was used twice"
            self.appended[identity] = made[0]
        self._look()

    @rule(sync=st.booleans(), meanwhile=st.integers(0, 5))
    def work(self, sync: bool, meanwhile: int) -> None:
        work = self.buffer.prepare(sync=sync)
        if meanwhile:
            self.append(meanwhile, 50)
        if not work.empty:
            work.run()
        self.buffer.finish(work)
        self._look()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        there = [r for r in self.buffer.read(0, 10**6) if not r.is_loss]
        if not there:
            return
        a = data.draw(st.integers(0, len(there) - 1))
        b = data.draw(st.integers(a, min(len(there) - 1, a + 60)))
        for record in there[a : b + 1]:
            self.buffer.mark_stored(record.epoch, [(record.seq, record.seq)], self.buffer.last)
            self.stored.add((record.epoch, record.seq))

    @rule()
    def store_all(self) -> None:
        for record in self.buffer.read(0, 10**6):
            self.stored.add((record.epoch, record.seq))
        for epoch in {epoch for epoch, _ in self.stored}:
            self.buffer.mark_stored(epoch, [(seq, seq) for e, seq in self.stored if e == epoch], self.buffer.last)

    @rule(what=st.sampled_from(["", "", "write", "sync", "create", "remove"]))
    def ill(self, what: str) -> None:
        self.disk.failing = what

    @rule(room=st.sampled_from([0, 20_000, 10**9]))
    def room(self, room: int) -> None:
        self.disk.room = room

    @rule(seed=st.integers(0, 2**32))
    def power_cut(self, seed: int) -> None:
        self.platter.power_cut(random.Random(seed))
        self.start()
        self._reopened()

    @rule()
    def kill(self) -> None:
        self.start()
        self._reopened()

    @precondition(lambda self: not self.disk.failing)
    @rule()
    def close(self) -> None:
        self.disk.room = 10**9
        self.clock.wait(10)
        self.buffer.commit()
        self._look()
        self.buffer.close()
        epoch, trouble = self.buffer.epoch, self.buffer.trouble
        self.start()
        self._reopened()
        if not trouble:
            assert self.buffer.epoch == epoch, "a clean end changes no epoch"

    # --- what has to hold --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """What the buffer says has been accepted, and lost."""
        for record in self.buffer.read(0, 10**6):
            if record.position <= self.buffer.accepted and not record.is_loss:
                self.accepted.add((record.epoch, record.seq))

    def _reopened(self) -> None:
        there = {(r.epoch, r.seq) for r in self.buffer.read(0, 10**6)}
        self._note_losses()
        missing = self.accepted - there - self.stored - self.declared
        assert not missing, f"accepted and gone without a word: {sorted(missing)[:5]}"

    def _note_losses(self) -> None:
        for loss in losses(self.buffer):
            self.declared |= {(loss.epoch, seq) for seq in range(loss.first, loss.last + 1)}

    @invariant()
    def only_what_was_appended(self) -> None:
        if not hasattr(self, "buffer"):
            return
        self._note_losses()
        for record in self.buffer.read(0, 10**6):
            if not record.is_loss:
                assert self.appended[record.epoch, record.seq] == record.payload
        positions = [r.position for r in self.buffer.read(0, 10**6)]
        assert positions == sorted(set(positions))


SETTINGS = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.timeout(3600)
def test_nothing_accepted_is_lost_whatever_happens():
    run_state_machine_as_test(Buffer, settings=SETTINGS)  # type: ignore[no-untyped-call]


class LyingDisk(Buffer):
    lies = True


def test_control_a_disk_that_does_not_sync_is_found_out():
    quick = settings(SETTINGS, max_examples=400, database=None, derandomize=True, report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(LyingDisk, settings=quick)  # type: ignore[no-untyped-call]
