"""The tables of one unit: which signal lies where, and the answer to a request, made when it is asked for.

    waves at t ─ raw values ─ codecs ─▶ registers ─▶ the answer
                                            └─ what the registers carry ─▶ Ledger

What an answer carried is read back from its own registers, so quantisation, saturation and signals that lie on top of
each other are in the ledger as they were on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.model import Value
from simulators.behaviour.waves import Wave
from simulators.modbus.codec import Codec

Served = Sequence[tuple[str, dict[str, Value]]]  # machine, and its signals as the answer carried them

COILS, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4  # the function codes that read them
# Devices answer a little beyond what their manual tells of: so much is served around the signals.
_MARGIN = 16
_CELL = {COILS: 1, DISCRETE: 1, HOLDING: 2, INPUT: 2}  # bytes in the body for one address; bits are packed at the end


@dataclass(frozen=True, slots=True)
class Point:
    """A signal at its address."""

    machine: str
    signal: str
    function: int
    address: int
    size: int  # addresses it takes
    wave: Wave
    to_raw: Callable[[Value, float], Value]  # at a time, as a scale factor may change
    from_raw: Callable[[Value, float], Value]
    codec: Codec
    mask: int = 0  # of the register, where the signal is only a part of it
    shift: int = 0

    @property
    def end(self) -> int:
        return self.address + self.size

    def put(self, body: bytearray, at: int, t: float) -> None:
        """Write its value at time t."""
        data = self.codec.pack(self.to_raw(self.wave(t), t))
        if self.mask:
            word = int.from_bytes(body[at : at + 2], "big") & ~self.mask
            data = (word | int.from_bytes(data, "big") << self.shift).to_bytes(2, "big")
        body[at : at + len(data)] = data

    def take(self, body: bytes, at: int, t: float) -> Value:
        """The value that is there at time t."""
        if self.mask:
            word = int.from_bytes(body[at : at + 2], "big")
            return self.from_raw(self.codec.unpack(bytes(((word & self.mask) >> self.shift,))), t)
        width = self.size * _CELL[self.function]
        return self.from_raw(self.codec.unpack(body[at : at + width]), t)


@dataclass(frozen=True, slots=True)
class _Window:
    """What was worked out for one request, to be used again each time it comes."""

    there: bool  # whether the unit has such addresses
    size: int  # of a body that holds every signal as a whole
    answer: slice  # the part of it that was asked for
    put: Sequence[tuple[Point, int]]
    words: Sequence[tuple[int, bytes]]  # what stands fast, whatever a signal would have there
    served: Sequence[tuple[str, Sequence[tuple[Point, int]]]]  # by machine, what lies completely inside

    def carried(self, body: bytes, t: float) -> Served:
        """What is there at time t."""
        return [(machine, {p.signal: p.take(body, at, t) for p, at in inside}) for machine, inside in self.served]


class Image:
    """All that one unit answers."""

    def __init__(self, points: Sequence[Point], words: Mapping[int, int] | None = None) -> None:
        """`words`: holding registers that no signal changes, by address."""
        self._points, self._words = points, words or {}
        self._windows: dict[tuple[int, int, int], _Window] = {}

    @property
    def points(self) -> Sequence[Point]:
        """Its signals."""
        return self._points

    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, Served] | None:
        """The data of the answer and what it carries; None where the unit has no such addresses."""
        window = self._known(function, address, count)
        if not window.there:
            return None
        body = bytearray(window.size)
        for point, at in window.put:
            point.put(body, at, t)
        for at, word in window.words:
            body[at : at + 2] = word
        data = bytes(body)
        answer = data[window.answer]
        return (answer if function in (HOLDING, INPUT) else _bits(answer)), window.carried(data, t)

    def carried(self, function: int, address: int, count: int, data: bytes, t: float) -> Served:
        """What an answer with this data carries, whoever made it."""
        window = self._known(function, address, count)
        body = bytearray(window.size)
        body[window.answer] = data if function in (HOLDING, INPUT) else _cells(data, count)
        return window.carried(bytes(body), t)

    def _known(self, function: int, address: int, count: int) -> _Window:
        request = function, address, count
        if request not in self._windows:
            if len(self._windows) > 1000:  # somebody looks through all addresses
                self._windows.clear()
            self._windows[request] = self._window(function, address, address + count)
        return self._windows[request]

    def _window(self, function: int, first: int, end: int) -> _Window:
        points = [p for p in self._points if p.function == function]
        words = self._words if function == HOLDING else {}
        lowest = min((*(p.address for p in points), *words), default=0) - _MARGIN
        highest = min(max((*(p.end for p in points), *(at + 1 for at in words)), default=-_MARGIN) + _MARGIN, 0x10000)
        there = lowest <= first and end <= highest
        points = [p for p in points if p.address < end and p.end > first]
        start = min((p.address for p in points if p.address < first), default=first)
        stop = max((p.end for p in points if p.end > end), default=end)
        cell = _CELL[function]
        placed = [(p, (p.address - start) * cell) for p in points]
        inside = [(p, at) for p, at in placed if first <= p.address and p.end <= end]
        machines = dict.fromkeys(p.machine for p, _ in inside)
        return _Window(
            there,
            (stop - start) * cell,
            slice((first - start) * cell, (end - start) * cell),
            # Of two signals at one place the one written first in the configuration is the last to be put there.
            placed[::-1],
            [((at - start) * cell, word.to_bytes(2, "big")) for at, word in words.items() if start <= at < stop],
            [(machine, [(p, at) for p, at in inside if p.machine == machine]) for machine in machines],
        )


def _bits(cells: bytes) -> bytes:
    """One byte 0 or 1 for each bit, packed: the first bit is the lowest of the first byte."""
    digits = cells[::-1].hex()[1::2]
    return int(digits, 2).to_bytes((len(cells) + 7) // 8, "little")


def _cells(data: bytes, count: int) -> bytes:
    """The other way."""
    return bytes(data[i >> 3] >> (i & 7) & 1 for i in range(count))
