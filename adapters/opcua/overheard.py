"""What a recording hears of a connection: when the line was there, and the services of the session. Pure.

Sessions come and go behind one line, so all of them share one of these: what belongs together has a number that no other
request of the connection has.
"""

from __future__ import annotations

from gateway.adapter import Tap


class Overheard:
    """Between the sessions of an adapter and its tap."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._open = False
        self._asked = 0

    def opened(self) -> None:
        """There is a session, on a line."""
        self._open = True
        self._tap.opened()

    def lost(self, why: str) -> None:
        """There is none any more, or none could be had."""
        if self._open:
            self._open = False
            self._tap.closed(why)
        else:
            self._tap.failed(why)

    def closed(self) -> None:
        """We ended it."""
        if self._open:
            self._open = False
            self._tap.closed()

    def sent(self, service: int, parameters: bytes) -> int:
        """`service`: i= of the binary encoding of the request. The number under which the answer is to be told."""
        self._asked += 1
        self._tap.sent(service.to_bytes(4, "little") + parameters, self._asked)
        return self._asked

    def received(self, ref: int, body: bytes) -> None:
        """An answer from its type id on; no bytes: there came none."""
        self._tap.received(body, ref)
