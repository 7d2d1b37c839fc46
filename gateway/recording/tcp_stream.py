"""One direction of a TCP connection, put together from what a capture has of it. Pure.

    segments, in any order, several times, or never ─▶ pieces in order, each byte once, holes named

What a network loses is sent again, and comes at the time it was sent again. What only the capture lost is a hole: its
receiver acknowledges what we never saw. Then it goes on behind the hole, with pieces at the times they came.
"""

from __future__ import annotations

from typing import NamedTuple

_MODULUS = 1 << 32  # of sequence numbers: RFC 9293, 3.4
_MOST_WAITING = 64  # segments behind a hole
_MOST_BYTES = 16 << 10  # the same; requests and answers of Modbus have less than 600 bytes
# Seconds, in ns, until a hole is believed: where its receiver acknowledged it, since packets are also captured in the wrong
# order; where nothing is seen of its receiver; where it is, and TCP sends again until then.
_ACKNOWLEDGED, _ONE_SIDED, _PATIENCE = 200_000_000, 4_000_000_000, 60_000_000_000


class Piece(NamedTuple):
    """What came next."""

    at: int  # ns
    missing: int  # bytes before it that were not captured
    data: bytes
    ends: bool  # its sender sends no more


class Direction:
    """Takes segments; `ready` hands out what is in order."""

    def __init__(self, number: int | None = None) -> None:
        """`number`: the sequence number of the first byte; None: whichever comes first."""
        self._next: int | None = number  # not wrapped
        self._at = 0  # of the last piece
        self._seen = 0  # up to where the receiver acknowledged
        self._waiting: dict[int, tuple[int, bytes, bool]] = {}
        self.answered = False  # whether its receiver was heard

    def begin(self, number: int) -> None:
        """Where it starts, unless that is known."""
        if self._next is None:
            self._next = number

    def take(self, at: int, number: int, data: bytes, ends: bool) -> None:
        """One segment. `ends`: with a FIN behind it."""
        self.begin(number)
        place = self._place(number)
        if place + len(data) + ends <= self._expected:
            return  # it was here already
        before = self._waiting.get(place)
        if before is None or len(before[1]) + before[2] < len(data) + ends:
            self._waiting[place] = at, data, ends

    def acknowledge(self, number: int) -> None:
        """The receiver waits for this byte."""
        self.answered = True
        if self._next is not None:
            self._seen = max(self._seen, self._place(number))

    @property
    def waits(self) -> bool:
        """Whether something lies behind a hole."""
        return bool(self._waiting)

    def ready(self, now: int, all: bool = False) -> list[Piece]:
        """What is in order, or behind a hole that nothing will fill; `all`: nothing more will come."""
        pieces = []
        while self._waiting:
            place = min(self._waiting)
            hole = max(0, place - self._expected)
            if hole and not (all or self._given_up(now, place)):
                break
            at, data, ends = self._waiting.pop(place)
            end = place + len(data) + ends
            if end > self._expected:
                self._at = max(self._at, at)  # what waited for others came when they came
                pieces.append(Piece(self._at, hole, data[max(0, self._expected - place) :], ends))
                self._next = end
        return pieces

    def _given_up(self, now: int, place: int) -> bool:
        waited = now - min(at for at, _, _ in self._waiting.values())
        patience = _ACKNOWLEDGED if self._seen >= place else _PATIENCE if self.answered else _ONE_SIDED
        return (
            waited >= patience
            or len(self._waiting) > _MOST_WAITING
            or sum(len(data) for _, data, _ in self._waiting.values()) > _MOST_BYTES
        )

    @property
    def _expected(self) -> int:
        assert self._next is not None
        return self._next

    def _place(self, number: int) -> int:
        """The number without its wraps: of all that it may be, the one nearest to what is expected."""
        half = _MODULUS // 2
        return self._expected + (number - self._expected + half) % _MODULUS - half
