"""The SunSpec models of a simulated device: where they stand, and the registers that say so.

    base  "SunS"  1, 66, …  103, 50, …  0xFFFF, 0

Made from the signals with `sunspec`, so a device has what is asked of it, unless an arrangement says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.modbus.config import MODEL_LENGTHS, ModbusSignal

_HEAD = 2  # registers: ID and length
_MARKER = (0x5375, 0x6E53)  # "SunS"
_END = (0xFFFF, 0)
_COMMON = 1


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a device has put its models. Not all have to be there, and there may be more."""

    base: int = 40000
    models: Sequence[tuple[int, int]] | None = None  # ID and length, in their order; None: the common one, then by ID
    marker: Sequence[int] = _MARKER
    end: Sequence[int] = _END


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of it."""

    address: Mapping[int, int] = field(default_factory=dict)  # of a signal, by its id(); those of no model are missing
    words: Mapping[int, int] = field(default_factory=dict)  # the registers that no signal can change


def placed(signals: Sequence[ModbusSignal], arrangement: Arrangement | None = None) -> Placed:
    """The signals of one device that are in models, and what else stands there. Nothing where none is."""
    if not any(signal.sunspec for signal in signals):
        return Placed()
    arrangement = arrangement or Arrangement()
    words = dict(enumerate(arrangement.marker, arrangement.base))
    at, places = arrangement.base + len(arrangement.marker), []
    for number, length in arrangement.models or _needed(signals):
        words |= {at: number, at + 1: length}
        places.append((number, at, length))
        at += _HEAD + length
    words |= dict(enumerate(arrangement.end, at))
    address = {}
    for signal in signals:
        alike = [(start, length) for number, start, length in places if number in signal.sunspec]
        if len(alike) >= signal.occurrence:
            start, length = alike[signal.occurrence - 1]
            if signal.address + signal.size <= _HEAD + length:
                address[id(signal)] = start + signal.address
    return Placed(address, words)


def _needed(signals: Iterable[ModbusSignal]) -> Sequence[tuple[int, int]]:
    """The first of alternatives; as long as the definition of the model says, else as its signals need."""
    lengths = {(_COMMON, 1): 1}
    for signal in signals:
        for nth in range(1, signal.occurrence + 1) if signal.sunspec else ():
            which = signal.sunspec[0], nth
            lengths[which] = max(lengths.get(which, 1), signal.address + signal.size - _HEAD)
    return [(number, MODEL_LENGTHS.get(number, least)) for (number, _), least in sorted(lengths.items())]
