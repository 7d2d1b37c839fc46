"""What happened on one connection of a capture, from its segments: opened, sent, received, closed and by whom. Pure.

                 SYN                 SYN ACK                      RST, or both have sent FIN
    (nothing) ─────────▶ called ─────────────────▶ opened ───────────────────────────────────▶ over
                           └─ RST, or nothing: failed ─▶ over
    (nothing) ─ data: it began before the capture ─▶ opened

Entries come with their own times, some of them late: what a capture lacks is known only when it does not come.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gateway.recording.entry import Entry, Kind
from gateway.recording.modbus_frames import begins
from gateway.recording.packets import ACK, FIN, RST, SYN, Segment
from gateway.recording.tcp_stream import Direction

_PATIENCE = 4_000_000_000  # ns for an answer to a SYN; and for the other side to end what one has ended
_FORGOTTEN = 60_000_000_000  # ns after its end in which segments of a connection may still come: twice the MSL of Linux
_MOST_TRIES = 8  # pieces behind a hole that may not look like the beginning of a frame


@dataclass
class _Gap:
    """What is missing, until something begins that can be understood."""

    at: int
    bytes: int = 0
    pieces: int = 0


class Connection:
    """One link over TCP. Each call returns what it made known."""

    def __init__(self, link: int, protocol: str) -> None:
        self._link, self._protocol = link, protocol
        self._directions = {Kind.SENT: Direction(), Kind.RECEIVED: Direction()}
        self._gaps: dict[Kind, _Gap] = {}
        self._number: int | None = None  # the client's first: another one is another connection
        self._called = 0  # ns
        self._opened = self._failed = self._closed = False  # said
        self._client_ended: int | None = None  # ns
        self._machine_ended = False
        self._over: int | None = None  # ns

    @staticmethod
    def starts(segment: Segment, from_client: bool) -> bool:
        """Whether a connection is known by this."""
        if segment.flags & SYN:
            return from_client != bool(segment.flags & ACK)
        return segment.size > 0 and not segment.flags & RST

    def replaced(self, now: int, segment: Segment, from_client: bool) -> bool:
        """Whether this is of another connection between the same ports."""
        if from_client and segment.flags & (SYN | ACK) == SYN:
            return segment.number != self._number
        return self._over is not None and now - self._over > _FORGOTTEN

    @property
    def waits(self) -> bool:
        """Whether time alone may make something known."""
        return self._over is None and (
            not (self._opened or self._failed)
            or (self._client_ended is not None and not self._closed)
            or any(direction.waits for direction in self._directions.values())
        )

    def take(self, now: int, segment: Segment, from_client: bool) -> list[Entry]:
        """One segment."""
        flags = segment.flags
        if self._over is not None:
            return []
        if flags & RST:
            return self._reset(now, from_client)
        mine, other = Kind.SENT, Kind.RECEIVED
        if not from_client:
            mine, other = other, mine
        if flags & SYN:
            return self._greet(now, segment, from_client)
        out = []
        if not self._opened and (segment.size or flags & FIN or (from_client and flags & ACK)):
            out += self._open(now)
        direction = self._directions[mine]
        if segment.size or flags & FIN:
            whole = len(segment.data) == segment.size
            if segment.data or whole:
                direction.take(now, segment.number, segment.data, whole and bool(flags & FIN))
            if not whole and flags & FIN:
                direction.take(now, segment.number + segment.size, b"", True)
        if flags & ACK:
            self._directions[other].acknowledge(segment.acknowledged)
        return out + self._deliver(now)

    def tick(self, now: int) -> list[Entry]:
        """Time has passed."""
        if self._over is not None:
            return []
        out = self._deliver(now)
        if not self._opened and not self._failed and now - self._called >= _PATIENCE:
            out += self._fail(self._called, f"no answer for {_PATIENCE // 1_000_000_000} s")
        ended = self._client_ended
        if ended is not None and now - ended >= _PATIENCE:
            out += self._close(ended, "")
        return out

    def end(self, now: int, replaced: bool = False) -> list[Entry]:
        """Nothing more of it will come. `replaced`: since its client began another one from the same port."""
        if self._over is not None:
            return []
        out = self._deliver(now, all=True)
        for kind in tuple(self._gaps):
            out += self._left_out(kind)
        if not self._opened:
            out += self._fail(self._called, "no answer")
        elif self._client_ended is not None:
            out += self._close(self._client_ended, "")
        elif replaced:
            out += self._close(now, "")
        self._over = now
        return out

    def _greet(self, now: int, segment: Segment, from_client: bool) -> list[Entry]:
        if from_client:
            if self._number is None:
                self._number, self._called = segment.number, now
                self._directions[Kind.SENT].begin(segment.number + 1)
            return []
        self._directions[Kind.RECEIVED].begin(segment.number + 1)
        self._directions[Kind.SENT].begin(segment.acknowledged)
        return self._open(now, whole=True)

    def _reset(self, now: int, from_client: bool) -> list[Entry]:
        if not self._opened:
            waited = (now - self._called) / 1e9
            why = f"no answer for {waited:.1f} s" if from_client else "the machine refused the connection"
            out = self._fail(now, why)
        else:
            out = self._deliver(now, all=True)
            by_client = from_client or self._client_ended is not None
            out += self._close(now, "" if by_client else "the machine reset the connection")
        self._over = now
        return out

    def _open(self, now: int, whole: bool = False) -> list[Entry]:
        """`whole`: its beginning was seen; else the first piece may be the middle of a frame."""
        if self._opened:
            return []
        self._opened = True
        if not whole and self._number is None:
            self._gaps = {kind: _Gap(now) for kind in self._directions}
        return [Entry(now, Kind.OPENED, self._link, 0, b"")]

    def _fail(self, at: int, why: str) -> list[Entry]:
        if self._failed:
            return []
        self._failed = True
        return [Entry(at, Kind.FAILED, self._link, 0, why.encode())]

    def _close(self, at: int, why: str) -> list[Entry]:
        if self._closed:
            return []
        self._closed = True
        return [Entry(at, Kind.CLOSED, self._link, 0, why.encode())]

    def _deliver(self, now: int, all: bool = False) -> list[Entry]:
        out = []
        for kind, direction in self._directions.items():
            for at, missing, data, ends in direction.ready(now, all):
                if missing:
                    self._gaps.setdefault(kind, _Gap(at)).bytes += missing
                if data:
                    out += self._piece(kind, at, data)
                if ends:
                    out += self._ended(kind, at)
        return out

    def _piece(self, kind: Kind, at: int, data: bytes) -> list[Entry]:
        out = []
        if (gap := self._gaps.get(kind)) is not None:
            if not begins(self._protocol, data) and gap.pieces < _MOST_TRIES:
                gap.bytes += len(data)
                gap.pieces += 1
                return []
            out = self._left_out(kind)
        return [*out, Entry(at, kind, self._link, 0, data)]

    def _left_out(self, kind: Kind) -> list[Entry]:
        gap = self._gaps.pop(kind)
        if not gap.bytes:
            return []
        missing = {"entries": max(1, gap.pieces), "bytes": gap.bytes}
        return [Entry(gap.at, Kind.LEFT_OUT, self._link, 0, json.dumps(missing).encode())]

    def _ended(self, kind: Kind, at: int) -> list[Entry]:
        """A FIN. The machine's closes the link, whoever was first; a client's alone leaves it open for what is still to come."""
        out = self._left_out(kind) if kind in self._gaps else []
        if kind == Kind.SENT:
            self._client_ended = at
        else:
            self._machine_ended = True
            out += self._close(at, "" if self._client_ended is not None else "the machine closed the connection")
        if self._client_ended is not None and self._machine_ended:
            self._over = at
        return out


class Datagrams:
    """One client over UDP, where nobody says hello or goodbye. The same calls as of a Connection."""

    waits = False

    def __init__(self, link: int, _: str) -> None:
        self._link = link
        self._opened = False

    @staticmethod
    def starts(_: Segment, __: bool) -> bool:
        return True

    def replaced(self, _: int, __: Segment, ___: bool) -> bool:
        return False

    def take(self, now: int, segment: Segment, from_client: bool) -> list[Entry]:
        kind = Kind.SENT if from_client else Kind.RECEIVED
        out = [] if self._opened else [Entry(now, Kind.OPENED, self._link, 0, b"")]
        self._opened = True
        if len(segment.data) < segment.size:
            return [
                *out,
                Entry(now, Kind.LEFT_OUT, self._link, 0, json.dumps({"entries": 1, "bytes": segment.size}).encode()),
            ]
        return [*out, Entry(now, kind, self._link, 0, segment.data)]

    def tick(self, _: int) -> list[Entry]:
        return []

    def end(self, _: int, __: bool = False) -> list[Entry]:
        return []
