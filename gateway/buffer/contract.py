"""The contract of a buffer.

    append ─▶ 1 2 3 4 5 6 7 8 9   the next one gets 10
                    ▲     ▲   ▲
               stored   sent  accepted

Every record has an identity (epoch, seq). The epoch is new whenever records may have been forgotten; seq counts from 1
without gaps. Records up to `stored` are given up. What has to be dropped before is declared by a loss record, which is
appended like any other; and if that has to be dropped too, by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.mqtt.payload import Loss, Ranges

Encode = Callable[[int], bytes]
"""Makes a payload, which contains its own seq."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message on its way."""

    seq: int
    topic: str
    payload: bytes
    readings: int  # how many it holds, for the loss record should it be dropped
    first: int  # ns since 1970: its oldest reading
    last: int  # ns since 1970: its newest reading


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a buffer is."""

    records: int
    bytes: int
    max_bytes: int
    dropped: int  # records, since start-up; each declared as lost


class Buffer(Protocol):
    """Keeps records in order until they are stored."""

    @property
    def epoch(self) -> str: ...

    @property
    def accepted(self) -> int:
        """The last seq that this buffer keeps as safely as it can: on disk, the last that an fdatasync covers.

        Only these may be sent: a seq that is forgotten after it was sent would be used twice.
        """

    @property
    def sent(self) -> int:
        """Everything up to this seq was acknowledged by the broker."""

    @property
    def stored(self) -> int:
        """Everything up to this seq was acknowledged by the store, or declared lost."""

    @property
    def usage(self) -> Usage: ...

    def append(self, topic: str, encode: Encode, readings: int, first: int, last: int) -> int:
        """Take a record over and return its seq. Never refuses: when full, it drops the oldest and declares it."""

    def declare(self, loss: Loss) -> int:
        """Take over a loss record about readings that never came this far, such as what a machine dropped. Its seq."""

    def read(self, after: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records with a seq above `after`, in order, without those known as stored."""

    def mark_sent(self, seq: int) -> None:
        """The broker has everything up to `seq`. A lower one than before rewinds: read and send again from there."""

    def mark_stored(self, ranges: Ranges) -> None:
        """The store has these. The stored mark moves as far as they reach without a gap, and frees records."""

    def give_up(self, seq: int, cause: str) -> None:
        """Drop this one record, which nobody will ever take, and declare it."""
