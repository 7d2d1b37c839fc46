"""Keeps a buffer in a folder as a gateway does, and says on its stdout what it has done. For test_syscalls.py.

    scribe.py FOLDER [lie]

    A position epoch seq sum readings    this record was appended; of a loss record the same with L
    S position                           everything up to there is about to be marked as stored
    C position                           everything up to there is accepted

The same calls in the same order each time: it fills up, overflows at times, is emptied, closed and opened again, for
ever. With `lie` it says that a record is accepted before it was written: the control.
"""

from __future__ import annotations

import sys
from pathlib import Path
from zlib import crc32

from gateway.buffer import Disk, Limits, SegmentLog
from gateway.mqtt.payload import Loss, encode_loss, merge_ranges

SIZE = 128 * 1024  # 16 segments of 8 KiB
READINGS = 3
T = 1_763_789_123_000_000_000
GATEWAY = "edge-01"


class StillClock:
    """The wall stands still; the other one runs, a millisecond for each look."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> int:
        return T

    def monotonic(self) -> float:
        self._looks += 1
        return 1000.0 + self._looks / 1000

    def trusted(self) -> bool:
        return True


def open_buffer(folder: Path, declare: object) -> SegmentLog:
    """The same for the scribe and for who looks after it."""
    return SegmentLog(Disk(folder), Limits(SIZE, 10**6, reserve=0), declare, StillClock())  # type: ignore[arg-type]


def encode(number: int, epoch: str, seq: int) -> bytes:
    """A payload that tells which it is; not all are of the same size."""
    return b"%d %s %d " % (number, epoch.encode(), seq) + b"x" * (1000 + number * 97 % 900)


class Scribe:
    """One process of it."""

    def __init__(self, folder: Path, *, lies: bool) -> None:
        self._folder, self._lies = folder, lies
        self._number = 0
        self._accepted = 0
        self._buffer: SegmentLog | None = None
        self._early: list[tuple[Loss, int]] = []  # loss records that are made while the buffer is being opened
        self._open()

    def _open(self) -> None:
        self._buffer = None
        buffer = open_buffer(self._folder, self._declare)
        self._buffer = buffer
        for record in buffer.read(0, 10**9) if self._early else ():
            if record.is_loss and record.epoch == buffer.epoch:
                _say("L", record.position, record.epoch, record.seq, crc32(record.payload), 0)
        self._early.clear()
        self._note_accepted()

    def _declare(self, loss: Loss, seq: int) -> tuple[str, bytes]:
        payload = encode_loss(loss, GATEWAY, seq)
        if self._buffer is None:
            self._early.append((loss, seq))
        else:
            _say("L", self._buffer.last + 1, self._buffer.epoch, seq, crc32(payload), 0)
        return "loss", payload

    def run(self) -> None:
        """Until it is killed."""
        turn = 0
        while True:
            for fill in (4, 45, 15, 100):  # of about 70 that there is room for
                for _ in range(fill):
                    self._append()
                    turn += 1
                    if turn % 3 == 0:
                        self._work(sync=turn % 9 == 0)
                self._mark_stored(0.5)
                self._work(sync=True)
                self._append()
                self._mark_stored(1.0)
                self._work(sync=False)
            assert self._buffer is not None
            self._append()
            sys.stdout.flush()
            self._buffer.close()
            self._note_accepted()
            self._open()

    def _append(self) -> None:
        buffer = self._buffer
        assert buffer is not None
        self._number += 1
        position, epoch = buffer.last + 1, buffer.epoch
        made = bytearray()

        def encoded(seq: int) -> bytes:
            payload = encode(self._number, epoch, seq)
            _say("A", position, epoch, seq, crc32(payload), READINGS)
            made.extend(payload)
            return payload

        buffer.append("data", encoded, READINGS, T, T)
        assert made
        if self._lies:
            _say("C", position)

    def _work(self, *, sync: bool) -> None:
        buffer = self._buffer
        assert buffer is not None
        work = buffer.prepare(sync=sync)
        sys.stdout.flush()  # whatever was said is out before it can be killed
        if not work.empty:
            work.run()
        buffer.finish(work)
        self._note_accepted()

    def _note_accepted(self) -> None:
        assert self._buffer is not None
        if self._buffer.accepted != self._accepted:
            self._accepted = self._buffer.accepted
            _say("C", self._accepted)
            sys.stdout.flush()

    def _mark_stored(self, share: float) -> None:
        """The older part of what waits, as a store does it: epoch by epoch."""
        buffer = self._buffer
        assert buffer is not None
        upto = buffer.stored + round((buffer.last - buffer.stored) * share)
        _say("S", upto)
        buffer.mark_sent(buffer.last)
        seqs: dict[str, list[tuple[int, int]]] = {}
        for record in buffer.read(0, upto - buffer.stored):
            if record.position <= upto:
                seqs.setdefault(record.epoch, []).append((record.seq, record.seq))
        for epoch, each in seqs.items():
            buffer.mark_stored(epoch, merge_ranges(each), buffer.last)


def _say(*words: object) -> None:
    print(*words)


if __name__ == "__main__":
    Scribe(Path(sys.argv[1]), lies="lie" in sys.argv[2:]).run()
