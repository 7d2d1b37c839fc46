"""What a link does, whatever it runs over: the contract between the adapter, the tools and the clients. Pure.

adapter, tools ─ Request ─▶ Link ─▶ device          client.py: pymodbus, every transport, one request at a time
               ◀─ Answer ─┘                         pipeline.py: Modbus TCP with several requests on their way
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from adapters.modbus.signals import Table


class Request(NamedTuple):
    """A question: `size` registers or bits of a table from an address on."""

    unit: int
    table: Table
    address: int
    size: int


GONE = (10, 11)  # exception codes of a bridge that waited for the unit in vain: each one costs as much as a timeout


class Answer(NamedTuple):
    """What came of it: data, the exception code of a refusal, or trouble. Exactly one of the three is set."""

    data: bytes | None = None  # two bytes for each register; bits packed, the first one lowest
    code: int = 0
    trouble: str = ""  # what happened instead, for people
    silent: bool = False  # that nothing came within the timeout, while the link itself may be fine
    time: int = 0  # ns since 1970, when it had arrived

    @property
    def lost(self) -> bool:
        """Nothing came from the unit: trouble, or a bridge that waited for it in vain."""
        return bool(self.trouble) or self.code in GONE

    @property
    def unheard(self) -> bool:
        """The unit said nothing in time, neither to us nor to a bridge."""
        return self.silent or self.code in GONE


class Link(Protocol):
    """One way to the devices behind it, which can be opened again after it was closed. Used by one task."""

    name: str  # for people, for example 10.20.0.11:502
    faults: Counter[str]  # what went wrong since the start, by kind

    @property
    def connected(self) -> bool:
        """Whether a request can be sent. False after anything that leaves request and answer out of step."""

    async def open(self) -> None:
        """Connect. Raises NotConnectedError, with the reason and what to check."""

    async def exchange(self, requests: Sequence[Request], pause: float = 0.0) -> list[Answer]:
        """One answer per request, in their order, at least `pause` seconds between an answer and the next request.

        After one that is lost nothing more is asked for, so there may be fewer answers than requests.
        Raises nothing. Only to be cancelled in order to end it all.
        """

    def close(self) -> None:
        """Safe to call twice."""
