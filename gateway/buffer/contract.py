"""The contract of a buffer.

    append ─▶ 1 2 3 4 5 6 7 8 9   the next one gets 10
                ▲   ▲     ▲   ▲
           stored  sent accepted last

A record has two numbers. Its *position* counts in this buffer, for ever, and orders what is kept. Its identity for the
rest of the world is (epoch, seq): the epoch is new whenever records may have been forgotten, and seq counts from 1 in
it, without gaps. Records up to `stored` are given up. What has to be dropped before is declared by a loss record, which
is appended like any other; and if that has to be dropped too, by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.mqtt.payload import Loss, Ranges

Encode = Callable[[int], bytes]
"""Makes a payload, which contains its own seq."""

Declare = Callable[[Loss, int], tuple[str, bytes]]
"""Makes topic and payload of a loss record, which gets the given seq."""


class NotReadableError(GatewayError):
    """There are records, and the disk does not give them out at the moment."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message on its way."""

    position: int  # in this buffer
    epoch: str
    seq: int  # in its epoch
    topic: str
    payload: bytes
    readings: int  # how many it holds, for the loss record should it be dropped
    first: int  # ns since 1970: its oldest reading
    last: int  # ns since 1970: its newest reading
    is_loss: bool = False  # a loss record itself


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a buffer is, and how it stands with its disk."""

    records: int
    bytes: int
    max_bytes: int
    dropped: int  # records, since start-up; each declared as lost
    unsafe: int = 0  # records that are in memory only
    trouble: str = ""  # why nothing can be written at the moment; empty while all is well


class Buffer(Protocol):
    """Keeps records in order until they are stored."""

    @property
    def epoch(self) -> str:
        """Of what is appended now."""

    @property
    def last(self) -> int:
        """The newest position."""

    @property
    def accepted(self) -> int:
        """Everything up to this position outlives a power cut: an fdatasync covers it.

        Younger records may be sent, too: after a crash the epoch is a new one, so no identity is used twice.
        """

    @property
    def firm(self) -> int:
        """Up to here a record may wait while younger ones are sent.

        What is not accepted yet must not: after a crash the store would have those, and nobody would know of this one.
        It is all of it where no disk could make a difference: there is none, or it cannot be written.
        """

    @property
    def ready(self) -> int:
        """Everything up to this position may be sent: what has no time yet waits for it."""

    @property
    def sent(self) -> int:
        """Everything up to this position was acknowledged by the broker."""

    @property
    def stored(self) -> int:
        """Everything up to this position was acknowledged by the store, or declared lost."""

    def gaps(self, upto: int) -> Sequence[tuple[int, int]]:
        """Those up to this position that are not stored, in stretches."""

    @property
    def dealt_with(self) -> int:
        """How many were acknowledged by the store, or declared lost; also those behind a gap."""

    @property
    def full(self) -> bool:
        """No machine should be read for it: set with `when_full: stop-polling` only."""

    @property
    def usage(self) -> Usage: ...

    def append(self, topic: str, encode: Encode, readings: int, first: int, last: int) -> int:
        """Take a record over and return its seq. Never refuses: when full, it drops the oldest and declares it."""

    def declare(self, loss: Loss) -> int:
        """Take over a loss record about readings that never came this far, such as what a machine dropped. Its seq."""

    def read(self, after: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records with a position above `after`, in order, without those known as stored.

        Raises NotReadableError where there are some and the first of them cannot be read now.
        """

    def missing(self, upto: int) -> int:
        """How many up to this position are not stored."""

    def mark_sent(self, position: int) -> None:
        """The broker has everything up to there. A lower one than before rewinds: read and send again from there."""

    def mark_stored(self, epoch: str, ranges: Ranges, upto: int) -> None:
        """The store has these seqs, as far as they are not behind the position `upto`, the last that was ever sent.

        The stored mark moves as far as they reach without a gap, and frees records.
        """

    def mark_delivered(self, position: int) -> None:
        """This one is where it belongs, although no store has said so."""

    def give_up(self, position: int, cause: str) -> None:
        """Drop this one record, which nobody will ever take, and declare it."""
