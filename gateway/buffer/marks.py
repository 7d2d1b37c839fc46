"""What the buffer remembers beside its records: the marks, in two slots that are written in turn. Pure.

A power cut can spoil the slot that is being written, never both. Losing them costs no reading: what is stored is then
sent once more, and a new epoch begins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from struct import Struct
from typing import Any

import orjson
from crc32c import crc32c

from gateway.mqtt.payload import Loss

_SLOT = Struct("<8sII")  # magic, crc, length
MAGIC = b"SFGWMRK\x01"
SLOT = 4096
SIZE = 2 * SLOT
_ROOM = SLOT - _SLOT.size


@dataclass(frozen=True, slots=True)
class Epoch:
    """Records from position `base` + 1 on have this epoch and the seqs 1, 2, 3 …"""

    name: str
    base: int


@dataclass(frozen=True, slots=True)
class Timeless:
    """From this position on, records were made while the clock was not set, in this boot of the machine."""

    first: int
    boot: str
    shift: int | None = None  # ns from the time they show to the real one; None: not known yet
    known: int = 0  # ns: the newest time that was known before, to guess by


@dataclass(frozen=True, slots=True)
class Marks:
    """All of it."""

    generation: int = 0
    clean: bool = False  # the buffer was closed, and `last` is its last record
    last: int = 0
    sent: int = 0
    stored: int = 0
    beyond: list[tuple[int, int]] = field(default_factory=list)  # stored, but after a gap
    epochs: list[Epoch] = field(default_factory=list)  # of records that are not stored, and the newest
    timeless: list[Timeless] = field(default_factory=list)
    seconds: int = 0  # how long the buffer has been in use
    known: int = 0  # ns: the newest time that was known
    total: int = 0  # readings up to `last`, since the buffer was made
    counted: tuple[int, int] = (0, 0)  # a position, and the readings up to there
    lost: int = 0  # readings declared lost, since then
    untold: list[tuple[int, Loss]] = field(default_factory=list)  # losses, and where their records will be
    prefixes: list[str] = field(default_factory=list)  # what topics begin with; records name them by their place
    reduced: int = 0  # number of the newest reduced segment: what those up to it leave out is declared, or `untold`


def encode_slot(marks: Marks) -> bytes:
    """A slot. Of many stretches beyond the stored mark only the first are kept: the rest is sent once more."""
    told = asdict(marks)
    while len(body := orjson.dumps(told)) > _ROOM:
        for key in ("beyond", "timeless", "epochs", "untold"):
            if len(told[key]) > 1:
                keep = len(told[key]) // 2
                told[key] = told[key][:keep] if key == "beyond" else told[key][-keep:]
                break
        else:
            break
    slot = bytearray(SLOT)
    _SLOT.pack_into(slot, 0, MAGIC, crc32c(body), len(body))
    slot[_SLOT.size : _SLOT.size + len(body)] = body
    return bytes(slot)


def place(generation: int) -> int:
    """The offset of the slot this generation goes to."""
    return (generation % 2) * SLOT


def decode_marks(data: bytes) -> Marks | None:
    """The newer of the two slots that can be read; None where neither can."""
    found = [marks for at in (0, SLOT) if (marks := _decode_slot(data[at : at + SLOT])) is not None]
    return max(found, key=lambda marks: marks.generation, default=None)


def _decode_slot(slot: bytes) -> Marks | None:
    if len(slot) < _SLOT.size:
        return None
    magic, crc, length = _SLOT.unpack_from(slot)
    body = slot[_SLOT.size : _SLOT.size + length]
    if magic != MAGIC or length > _ROOM or len(body) != length or crc32c(body) != crc:
        return None
    try:
        told: dict[str, Any] = orjson.loads(body)
        known = {each.name for each in fields(Marks)}
        told = {key: value for key, value in told.items() if key in known}  # a later version may have added some
        told["beyond"] = [(int(first), int(last)) for first, last in told["beyond"]]
        told["counted"] = tuple(told.get("counted", (0, 0)))
        told["untold"] = [(int(position), Loss(**loss)) for position, loss in told.get("untold", ())]
        told["epochs"] = [Epoch(str(each["name"]), int(each["base"])) for each in told["epochs"]]
        told["timeless"] = [Timeless(**each) for each in told["timeless"]]
        return Marks(**told)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
