"""What a recording consists of: a head, and entries in the order of their times. Pure.

    OPENED ─ SENT ─ RECEIVED ─ SENT ─ RECEIVED ─ RECEIVED ─ CLOSED ─ FAILED ─ OPENED ─ …

Modbus is kept as it stood on the wire, in the pieces in which it came. OPC UA is kept as the services of a session, since
nobody could read its encrypted lines: see README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

MOST_DATA = 32 << 20  # bytes of one entry: the largest message of an OPC UA server that a client takes
MOST_REPLAYED = 5_000_000  # exchanges of Modbus that are played back at once: two months of one a second
MOST_NUMBER = (1 << 63) - 1  # of anything; of times, in ns, it is the year 2262


class Kind(IntEnum):
    """What happened."""

    OPENED = 1  # the client reached the machine
    FAILED = 2  # it could not; data: why, for people
    CLOSED = 3  # data: why, for people; empty where the client did it
    SENT = 4  # from the client to the machine
    RECEIVED = 5  # from the machine to the client
    LEFT_OUT = 6  # something of this link is missing here; data: JSON {"entries": n, "bytes": n}
    ENDED = 7  # nobody listened any more; where it is missing, the recording was cut off


class Entry(NamedTuple):
    """One thing that happened."""

    at: int  # ns since the recording began, on a clock that does not jump
    kind: Kind
    link: int  # one way from a client to the machine: 0, 1 …
    ref: int  # what belongs together where the bytes do not tell: request and answer of OPC UA; else 0
    data: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What there is to know before the first entry."""

    started: int  # ns since 1970, UTC
    protocol: str  # as in the configuration: modbus-tcp, opcua …
    connection: str = ""  # its name in the configuration
    machines: list[str] = field(default_factory=list)
    configuration: str = ""  # YAML that was in force, without secrets
    source: str = "adapter"  # or proxy, pcap, json: who listened
    gateway: str = ""  # the version that wrote it


class BrokenError(ValueError):
    """Bytes that are no entries."""


def encode(entries: list[Entry], before: int) -> bytes:
    """Entries after one at the time `before`. Times do not fall."""
    out = bytearray()
    for at, kind, link, ref, data in entries:
        out.append(kind)
        for number in (max(0, at - before), link, ref, len(data)):
            while number > 0x7F:
                out.append(number & 0x7F | 0x80)
                number >>= 7
            out.append(number)
        out += data
        before = max(before, at)
    return bytes(out)


def decode(data: bytes, before: int) -> Iterator[Entry]:
    """The entries that were encoded. Raises BrokenError for anything else."""
    at = 0
    while at < len(data):
        try:
            kind = Kind(data[at])
            passed, at = _number(data, at + 1)
            link, at = _number(data, at)
            ref, at = _number(data, at)
            size, at = _number(data, at)
        except (ValueError, IndexError) as exc:
            raise BrokenError(f"no entry begins at byte {at}") from exc
        if size > MOST_DATA or at + size > len(data):
            raise BrokenError(f"an entry of {size} bytes at byte {at} of {len(data)}")
        before += passed
        if before > MOST_NUMBER:
            raise BrokenError(f"a time of {before} ns at byte {at} is later than there can be")
        yield Entry(before, kind, link, ref, data[at : at + size])
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; and where the rest begins."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if shift > 63:  # more than MOST_NUMBER
            raise ValueError("a number without an end")
        if byte < 0x80:
            return number, at
