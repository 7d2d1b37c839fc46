"""What goes wrong on the way from a device to its client: each kind is a switch, and each one injected is counted.

    right answer ─ a kind, by chance or at the n-th request ─▶ packets, and when each of them leaves

Bits that flip inside a PDU are in no kind for frames without a checksum: nobody can tell them from data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

from simulators.modbus.framing import ASCII, MBAP, Frame, Framing

When = Literal["now", "late", "next", "after-next"]
"""At its time; after the client has given up; just before the answer to the next request; just after it."""


class Packet(NamedTuple):
    """Bytes that leave at once."""

    data: bytes
    when: When = "now"
    pause: float = 0.0  # seconds before it
    newest: bool = False  # stamped with the transaction id of the newest request, as bad bridges do


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its right answer, and what a fault can make use of."""

    framing: Framing
    request: Frame
    answer: Frame
    before: bytes  # the answer before this one, as it was sent; empty at first
    other: Callable[[int, bytes], bytes]  # what the server would answer to this unit and PDU
    units: Sequence[int]  # that there are
    random: Random
    pause: float

    @property
    def right(self) -> bytes:
        return self.framing.encode(self.answer)

    def falsified(self, *, transaction: int | None = None, unit: int | None = None, pdu: bytes | None = None) -> bytes:
        """The frame with something else in it, and sound."""
        right = self.answer
        return self.framing.encode(
            Frame(
                right.transaction if transaction is None else transaction,
                right.unit if unit is None else unit,
                right.pdu if pdu is None else pdu,
            )
        )

    @property
    def is_data(self) -> bool:
        """Whether the answer is one to a read request, with data in it."""
        return len(self.request.pdu) == 5 and 1 <= self.answer.pdu[0] <= 4


Plan = Sequence[Packet] | None
"""What is sent instead; None where the fault is not possible at this answer, which then goes as it is."""


def _silence(_: Exchange) -> Plan:
    return []


def _twice(x: Exchange) -> Plan:
    return [Packet(x.right + x.right)]


def _twice_later(x: Exchange) -> Plan:
    return [Packet(x.right), Packet(x.right, "next")]


def _stalled(x: Exchange) -> Plan:
    right = x.right
    cut = x.random.randrange(1, len(right))
    return [Packet(right[:cut]), Packet(right[cut:], "late")]


def _truncated(x: Exchange) -> Plan:
    right = x.right
    return [Packet(right[: x.random.randrange(1, len(right))])]


def _glued_old_first(x: Exchange) -> Plan:
    return [Packet(x.before + x.right)] if x.before else None


def _glued_old_last(x: Exchange) -> Plan:
    return [Packet(x.right + x.before)] if x.before else None


def _trickled(x: Exchange) -> Plan:
    return [Packet(bytes((byte,)), pause=x.pause) for byte in x.right]


def _corrupted(x: Exchange) -> Plan:
    """Flipped bits that the framing lets its reader see, at best: a sum byte sees one, a CRC-16 three.

    Without a checksum they are in the header, the function code or the byte count.
    """
    right, random = bytearray(x.right), x.random
    if x.framing is MBAP:
        right[random.randrange(9 if x.is_data else 8)] ^= 1 << random.randrange(8)
    elif x.framing is ASCII:
        at = random.randrange(len(right))
        # A letter in lower case is the same digit.
        right[at] ^= 1 << random.choice([bit for bit in range(7) if bit != 5 or not chr(right[at]).isalpha()])
    else:
        for bit in random.sample(range(8 * len(right)), random.randint(1, 3)):
            right[bit // 8] ^= 1 << bit % 8
    return [Packet(bytes(right))]


def _late_zero(x: Exchange) -> Plan:
    return [Packet(x.falsified(transaction=0), "late")]


def _tid_wrong(x: Exchange) -> Plan:
    return [Packet(x.falsified(transaction=(x.answer.transaction + x.random.randint(1, 0xFFFE)) % 0x10000 or 1))]


def _wrong_unit(x: Exchange) -> Plan:
    others = [unit for unit in x.units if unit != x.request.unit]
    if not others:
        return [Packet(x.falsified(unit=x.request.unit ^ 1))]
    unit = x.random.choice(others)
    return [Packet(x.falsified(unit=unit, pdu=x.other(unit, x.request.pdu)))]


def _wrong_function(x: Exchange) -> Plan:
    """What the same addresses of the other table hold: input for holding registers, discrete inputs for coils."""
    if not x.is_data:
        return None
    function = {1: 2, 2: 1, 3: 4, 4: 3}[x.request.pdu[0]]
    return [Packet(x.falsified(pdu=x.other(x.request.unit, bytes((function,)) + x.request.pdu[1:])))]


def _resized(x: Exchange, by: int) -> Plan:
    pdu = x.answer.pdu
    if not x.is_data or not 1 <= (count := pdu[1] + by) <= 250:
        return None
    data = pdu[2:] + pdu[2:][-by:] if by > 0 else pdu[2:by]
    return [Packet(x.falsified(pdu=bytes((pdu[0], count)) + data))]


def _short(x: Exchange) -> Plan:
    return _resized(x, -1 if x.request.pdu[0] < 3 else -2)


def _long(x: Exchange) -> Plan:
    return _resized(x, 1 if x.request.pdu[0] < 3 else 2)


def _noise(x: Exchange) -> bytes:
    return x.random.randbytes(x.random.randint(1, 8))


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to go wrong."""

    plan: Callable[[Exchange], Plan]
    served: bool = False  # whether the right answer leaves in time all the same
    ids: bool = False  # only where there are transaction ids
    serial: bool = False  # only on serial lines
    overtaken: bool = False  # by the answers to later requests


KINDS: dict[str, Kind] = {
    "silence": Kind(_silence),
    "half-open": Kind(_silence),  # and nothing is answered any more
    "late": Kind(lambda x: [Packet(x.right, "late")]),
    "late-overtaken": Kind(lambda x: [Packet(x.right, "late")], serial=True, overtaken=True),
    "late-newest-id": Kind(lambda x: [Packet(x.right, "late", newest=True)], ids=True),
    "late-id-zero": Kind(_late_zero, ids=True),
    "stalled": Kind(_stalled),  # the second half of it is late
    "swapped": Kind(lambda x: [Packet(x.right, "after-next")]),
    "twice": Kind(_twice, served=True),
    "twice-later": Kind(_twice_later, served=True),
    "glued-old-first": Kind(_glued_old_first, served=True),
    "glued-old-last": Kind(_glued_old_last, served=True),
    "trickled": Kind(_trickled, served=True),
    "noise-before": Kind(lambda x: [Packet(_noise(x) + x.right)], served=True),
    "noise-after": Kind(lambda x: [Packet(x.right + _noise(x))], served=True),
    "truncated": Kind(_truncated),
    "corrupted": Kind(_corrupted),
    "id-zero": Kind(lambda x: [Packet(x.falsified(transaction=0))], served=True, ids=True),
    "id-wrong": Kind(_tid_wrong, ids=True),
    "unit-wrong": Kind(_wrong_unit),
    "function-wrong": Kind(_wrong_function),
    "short": Kind(_short),
    "long": Kind(_long),
}


def kinds(framing: Framing) -> list[str]:
    """Those that there can be with this framing."""
    return [name for name, kind in KINDS.items() if not (kind.ids if framing.serial else kind.serial)]


@dataclass(slots=True)
class WireFaults:
    """None to begin with. The same seed and the same requests make the same faults."""

    seed: int = 1
    late: float = 1.0  # seconds until a late answer: more than the client waits
    pause: float = 0.001  # seconds between the bytes of a trickled answer
    spell: int = 5  # requests for which a half-open serial line is dead, as it has no connection to close
    injected: Counter[str] = field(default_factory=Counter)
    _chances: dict[str, float] = field(default_factory=dict)
    _at: dict[int, str] = field(default_factory=dict)
    _requests: int = 0
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def chance(self, probability: float, *names: str) -> None:
        """Let each of these kinds happen to this share of all answers; all shares together are 1 at most."""
        self._chances.update(dict.fromkeys(map(_known, names), probability))
        if sum(self._chances.values()) > 1 + 1e-9:
            raise ValueError("more faults than answers")

    def fail(self, n: int, name: str) -> None:
        """Let it happen at the n-th answer from now on: 1 is the next one."""
        self._at[self._requests + n] = _known(name)

    def clear(self) -> None:
        """All is well again."""
        self._chances.clear()
        self._at.clear()

    def draw(self) -> str | None:
        """What happens to the next answer."""
        self._requests += 1
        if self._at and (name := self._at.pop(self._requests, None)):
            return name
        if self._chances:
            dice = self._random.random()
            for name, probability in self._chances.items():
                dice -= probability
                if dice < 0:
                    return name
        return None

    def exchange(
        self,
        framing: Framing,
        request: Frame,
        answer: Frame,
        before: bytes,
        other: Callable[[int, bytes], bytes],
        units: Sequence[int],
    ) -> Exchange:
        """With the dice that are used here."""
        return Exchange(framing, request, answer, before, other, units, self._random, self.pause)


def _known(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"no fault is called {name!r}, only {', '.join(KINDS)}")
    return name
