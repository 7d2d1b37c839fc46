"""What registers may hold: every reading of them that makes sense, by its probability. Pure.

    words ─ cut into values in every way ─ weigh each way ─ keep what shows the displayed value ─▶ ranked readings

A way to cut a range into values of certain types is weighed by how well it explains all of its words, as a hidden
semi-Markov model: the probability of the types one after the other, times that of their words.

- **Types.** Each has a share (`_KINDS`): 16-bit integers and float32 are common, BCD is rare. A value is often followed by
  one of the same type (`_SAME`): so a block of float32 at every second address supports each float in it.
- **Orders.** A device has one order for all its values of several registers. The four orders are weighed against each other
  over the whole range, beginning with `_ORDERS`: ABCD, then CDAB, DCBA, BADC.
- **Words.** A number n has a probability of about 1/n: small ones are usual, and the high word of a number of two
  registers is mostly 0. A float has a magnitude known from machines, and often few binary or decimal digits.
  A sentinel (0x8000, 0xFFFF, NaN) is "not available". Words that nothing explains cost 16 bits each.
- **Samples.** From one sample to the next a value moves a little: by n steps with a probability of about 1/n.
- **The displayed value.** A reading shows it with a scale (`_SCALES`), exactly or nearly (`_NEARNESS`): displays round,
  and the machine went on between a look at it and the answer.

Signed and unsigned are one type until the number itself has the sign bit: with the bit clear nothing can tell them apart,
and the unsigned one is given, by convention.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from math import exp, inf, isfinite, isnan, log, log1p, log10

from adapters.modbus.signals import REGISTERS, Type, order_of

Words = Mapping[int, int]  # address: word; what could not be read is not in it

# --- what is taken for granted ---------------------------------------------------------------------------------------

_ORDERS = {"ABCD": 0.60, "CDAB": 0.29, "DCBA": 0.06, "BADC": 0.05}
_SECOND = {"ABCD": "EFGHABCD", "CDAB": "CDABGHEF", "DCBA": "DCBAHGFE", "BADC": "FEHGBADC"}  # 64 bits as two of 32
_SAME = 0.75  # the next value has the type of this one
_SAME_BEHIND_GAP = 0.4
_CUT = 0.25  # that a few registers with nothing readable around them are more than one value
_FEW = 4

# What may begin at an address: its share, and those of its types. Types in one row support each other.
_KINDS: tuple[tuple[float, Mapping[Type, float]], ...] = (
    (0.46, {"uint16": 0.65, "int16": 0.35}),
    (0.22, {"float32": 1}),
    (0.16, {"uint32": 0.65, "int32": 0.35}),
    (0.03, {"uint64": 0.65, "int64": 0.35}),
    (0.03, {"float64": 1}),
    (0.012, {"bcd16": 1}),
    (0.006, {"bcd32": 1}),
    (0.001, {"bcd64": 1}),
    (0.002, {"float16": 1}),
    (0.003, {"modulo10k_u32": 1}),
    (0.001, {"modulo10k_u48": 1}),
    (0.001, {"modulo10k_u64": 1}),
)
_UNKNOWN = 0.05  # a register that means nothing to us
_TEXT = 0.002  # a text begins

_SCALES = {
    "int": {1.0: 0.40, 0.1: 0.27, 0.01: 0.15, 0.001: 0.10, 10.0: 0.03, 100.0: 0.015, 1000.0: 0.01, 0.0001: 0.01},
    # A float needs no scale, unless the display has another prefix: kW for W.
    "float": {1.0: 0.94, 1000.0: 0.02, 0.001: 0.02, 0.01: 0.005, 100.0: 0.005, 0.1: 0.003, 10.0: 0.003},
}  # fmt: skip
# How far a value is from the one displayed: not at all; half a step of its last digit; the same without its trailing
# zeros; a part of it.
_NEARNESS: Mapping[str | float, float] = {"exact": 0.40, "digit": 0.30, "digits": 0.15, 0.005: 0.12, 0.03: 0.03}

_SENTINELS: Mapping[str, tuple[int, ...]] = {
    "uint16": (0xFFFF,), "int16": (0x8000, 0x7FFF), "uint32": (0xFFFFFFFF,), "int32": (0x80000000, 0x7FFFFFFF),
    "uint64": (0xFFFFFFFFFFFFFFFF,), "int64": (0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
    "float32": (0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800000, 0xFF800000),
    "float64": (0x7FF8000000000000, 0xFFF8000000000000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF),
    "float16": (0x7E00, 0xFE00),
}  # fmt: skip
_SENTINEL = 0.015
_ZERO = 0.10
_ANY = 0.06  # of the numbers of a type, large as often as small
_NEGATIVE = 0.2


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a value out of the registers."""

    address: int
    type: Type
    order: str  # the letters of all its bytes
    scale: float
    value: float | int | None  # scaled; None: the device says that it has none
    raw: float | int | str  # as the registers hold it; a sentinel in hexadecimal
    probability: float = 0.0
    rising: bool = False  # from sample to sample

    @property
    def size(self) -> int:
        """Its registers."""
        return REGISTERS[self.type]

    @property
    def sign_is_open(self) -> bool:
        """That it is unsigned by convention only."""
        return self.type.startswith("uint") and isinstance(self.raw, int) and self.raw < 1 << 16 * self.size - 1


@dataclass(frozen=True, slots=True)
class Displayed:
    """A value as it was read from a display, with what its digits say about its accuracy."""

    value: float
    step: float  # of its last digit
    coarse: float  # of its last digit that is not 0
    tolerance: float | None = None

    @classmethod
    def of(cls, text: str, tolerance: float | None = None) -> Displayed:
        """`230.4`, `230,4`, `18500`, `1.85e4`. Raises ValueError."""
        plain = text.strip().replace(",", ".").replace("−", "-")
        value = float(plain)
        if not isfinite(value):
            raise ValueError(text)
        mantissa, _, exponent = plain.lower().partition("e")
        whole, _, decimals = mantissa.lstrip("+-").partition(".")
        step = 10.0 ** (int(exponent or 0) - len(decimals))
        zeros = len(whole) - len(whole.rstrip("0")) if value and not decimals else 0
        return cls(value, step, step * 10.0**zeros, tolerance)

    def likelihood(self, value: float) -> float:
        """How probable it is that this is displayed for a machine's `value`, against all that could be displayed."""
        off = abs(value - self.value)
        if not isfinite(off):
            return 0.0
        slack = 1 + 1e-6  # float32 has seven digits
        if self.tolerance is not None:
            return min(1.0, self.step / (2 * self.tolerance or self.step)) if off <= self.tolerance * slack else 0.0
        found = 0.0
        for near, share in _NEARNESS.items():
            if isinstance(near, float):
                width = max(near * abs(self.value), self.step / 2)
            else:
                width = {"exact": 0.0, "digit": self.step / 2, "digits": self.coarse / 2}[near]
            if off <= width * slack + 1e-7 * abs(value):
                found += share * min(1.0, self.step / max(2 * width, self.step))
        return found


# --- the answers -----------------------------------------------------------------------------------------------------


def readings(
    samples: Sequence[Words], displayed: Displayed | None = None, *, at: int | None = None, limit: int = 1000
) -> list[Reading]:
    """All that may stand in these registers, the most probable reading first.

    With a displayed value: what shows it, anywhere, or at the address `at`. Without: what begins at `at`, or everywhere.
    Probabilities add up to 1: over the whole answer with a displayed value, else for each address.
    """
    found: dict[tuple[int, Type, str, float], Reading] = {}
    for segment in _weighed(samples):
        if at is not None and segment.address != at:
            continue
        for reading in _shown(segment, displayed):
            key = (reading.address, reading.type, reading.order, reading.scale)
            known = found.get(key)
            found[key] = replace(reading, probability=reading.probability + (known.probability if known else 0.0))
    ranked = sorted(found.values(), key=lambda r: (-r.probability, r.address, abs(log10(r.scale))))
    if displayed is not None:
        total = sum(r.probability for r in ranked)
        return [replace(r, probability=r.probability / total) for r in ranked[:limit] if total]
    return [r for r in ranked[:limit] if r.probability > 1e-9]


def layout(samples: Sequence[Words]) -> list[Reading | tuple[int, str]]:
    """The likeliest reading of a whole range: its values, and texts as (address, text), without overlaps."""
    candidates: dict[int, list[Reading]] = {}
    for reading in readings(samples, limit=1_000_000):
        candidates.setdefault(reading.address, []).append(reading)
    first, result, at = samples[0], list[Reading | tuple[int, str]](), min(samples[0], default=0)
    texts = dict(_texts(first))
    while at <= max(first, default=-1):
        best = max(candidates.get(at, ()), key=lambda r: r.probability, default=None)
        if at in texts and (best is None or best.probability < 0.5):
            result.append((at, text_of(first, at, texts[at])))
            at = texts[at]
        elif best is not None and best.probability >= 0.2:
            result.append(best)
            at += best.size
        else:
            at += 1
    return result


def text_of(words: Words, start: int, end: int) -> str:
    """Registers as text, unprintable characters as dots; the first character in the high byte."""
    data = b"".join(words[at].to_bytes(2, "big") for at in range(start, end))
    return "".join(chr(byte) if 32 <= byte < 127 else "" if byte == 0 else "·" for byte in data)


def _texts(words: Words) -> Iterator[tuple[int, int]]:
    """Runs of registers with at least four characters and nothing else, but for a NUL at the end."""
    at, last = min(words, default=0), max(words, default=-1)
    while at <= last:
        end = at
        while end in words and all(32 <= b < 127 for b in words[end].to_bytes(2, "big")):
            end += 1
        if end in words and min(words[end].to_bytes(2, "big")) == 0 and 32 <= max(words[end].to_bytes(2, "big")) < 127:
            end += 1
        if end - at >= 2 and any(chr(b).isalpha() for w in range(at, end) for b in words[w].to_bytes(2, "big")):
            yield at, end
        at = max(end, at + 1)


# --- weighing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """What may begin at an address, in a device of a certain order."""

    share: float
    types: Mapping[Type, float]  # empty: something unknown, or text
    order: str
    size: int
    text: bool = False


@dataclass(frozen=True, slots=True)
class _Segment:
    """One value in all the ways to cut the range that have it there, and their probability together."""

    address: int
    kind: _Kind
    bits: tuple[int, ...]  # of each sample, most significant byte first
    probability: float


@cache
def _kinds(order: str) -> tuple[_Kind, ...]:
    """All that may be in a device that has this order."""
    kinds = [_Kind(_UNKNOWN, {}, "", 1), _Kind(_TEXT, {}, "", 1, text=True)]
    for share, types in _KINDS:
        size = REGISTERS[next(iter(types))]
        if size == 1:
            # Where the bytes of a pair are swapped, those of a single register may be as well.
            swapped = order_of(order, 1) == "BA"
            kinds.append(_Kind(share * (0.4 if swapped else 1.0), types, "AB", 1))
            if swapped:
                kinds.append(_Kind(share * 0.6, types, "BA", 1))
        elif size == 4:
            kinds.append(_Kind(share * 0.85, types, order_of(order, 4), 4))
            kinds.append(_Kind(share * 0.15, types, _SECOND[order], 4))
        else:
            kinds.append(_Kind(share, types, order_of(order, size), size))
    return tuple(kinds)


def _weighed(samples: Sequence[Words]) -> Iterator[_Segment]:
    """Every value that may stand anywhere, with its probability. Texts and unknown registers are left out."""
    worlds = [(log(share), *_passes(samples, _kinds(order))) for order, share in _ORDERS.items()]
    total = _sum([share + whole for share, whole, _ in worlds])
    for share, _, segments in worlds:
        for address, kind, bits, weight in segments:
            yield _Segment(address, kind, bits, exp(share + weight - total))


_Weighed = list[tuple[int, _Kind, tuple[int, ...], float]]


def _passes(samples: Sequence[Words], kinds: Sequence[_Kind]) -> tuple[float, _Weighed]:
    """Forward and backward through the range: the logarithm of the weight of all ways, and of those with each value."""
    first, last = min(samples[0]), max(samples[0]) + 1
    readable = [address in samples[0] for address in range(first, last)]
    count, shares = len(readable), [log(kind.share) for kind in kinds]
    fits: dict[tuple[int, int], tuple[tuple[int, ...], float]] = {}
    for i in range(count):
        for k, kind in enumerate(kinds):
            if all(readable[i : i + kind.size]) and i + kind.size <= count:
                bits = tuple(_bits(words, first + i, kind) for words in samples)
                if (weight := _explained(kind, bits)) > -inf:
                    fits[i, k] = bits, weight

    cuts = _cuts(readable)

    def same(i: int) -> float:
        return _SAME_BEHIND_GAP if i and not readable[i - 1] else _SAME

    # forward[i][k]: all ways to cut what is before i that end with kind k; entry[i][k]: and go on with kind k at i
    forward = [[-inf] * len(kinds) for _ in range(count + 1)]
    entry = [[-inf] * len(kinds) for _ in range(count + 1)]
    for i in range(count):
        before = _sum(forward[i]) if i else 0.0
        if not readable[i]:
            for k in range(len(kinds)):
                forward[i + 1][k] = _sum((forward[i + 1][k], forward[i][k] if i else shares[k]))
            continue
        stay, change = log(same(i)) + cuts[i], log1p(-same(i)) + cuts[i]
        for k, kind in enumerate(kinds):
            entry[i][k] = _sum((forward[i][k] + stay, before + change + shares[k])) if i else shares[k]
            if (i, k) in fits:
                end = i + kind.size
                forward[end][k] = _sum((forward[end][k], entry[i][k] + fits[i, k][1]))
    # backward[i][k]: all ways to cut what is from i on, behind a value of kind k
    backward = [[-inf] * len(kinds) for _ in range(count)] + [[0.0] * len(kinds)]
    for i in range(count - 1, 0, -1):
        if not readable[i]:
            backward[i] = backward[i + 1]
            continue
        stay, change = log(same(i)) + cuts[i], log1p(-same(i)) + cuts[i]
        on = [fits[i, k][1] + backward[i + kind.size][k] if (i, k) in fits else -inf for k, kind in enumerate(kinds)]
        anything = _sum([shares[k] + on[k] for k in range(len(kinds))])
        backward[i] = [_sum((stay + on[k], change + anything)) for k in range(len(kinds))]
    weights: _Weighed = [
        (first + i, kinds[k], bits, entry[i][k] + weight + backward[i + kinds[k].size][k])
        for (i, k), (bits, weight) in fits.items()
        if kinds[k].types
    ]
    return _sum(forward[count]), weights


def _cuts(readable: Sequence[bool]) -> list[float]:
    """What it costs that a value begins here: something within a few registers that stand alone."""
    costs, start = [0.0] * len(readable), 0
    for i in range(len(readable) + 1):
        if i == len(readable) or not readable[i]:
            if i - start <= _FEW:
                costs[start + 1 : i] = [log(_CUT)] * max(0, i - start - 1)
            start = i + 1
    return costs


def _sum(logarithms: Sequence[float]) -> float:
    """The logarithm of the sum of what these are the logarithms of."""
    top = max(logarithms)
    return top if top == -inf else top + log(sum(exp(each - top) for each in logarithms))


def _bits(words: Words, address: int, kind: _Kind) -> int:
    """The registers as one number, most significant byte first."""
    wire = b"".join(words[at].to_bytes(2, "big") for at in range(address, address + kind.size))
    return int.from_bytes(
        wire if not kind.order else bytes(wire[kind.order.index(x)] for x in sorted(kind.order)), "big"
    )


# --- how probable words are ------------------------------------------------------------------------------------------


def _explained(kind: _Kind, bits: Sequence[int]) -> float:
    """The logarithm of the probability of these samples, if that is what stands there."""
    if not kind.types:
        chance = _text_chance(bits[0]) if kind.text else (0.35 if bits[0] == 0 else 0.65 / 65536)
        changes = sum(before != after for before, after in pairwise(bits))
        return log(chance) + (len(bits) - 1) * log(0.5) - changes * log(65536) if chance else -inf
    chance = sum(share * _chance(type_, bits) for type_, share in kind.types.items())
    return log(chance) if chance > 0 else -inf


@cache
def _text_chance(word: int) -> float:
    chance = 1.0
    for byte in word.to_bytes(2, "big"):
        letter = chr(byte)
        chance *= (
            1 / 45
            if letter.isalnum() and byte < 127
            else 1 / 30
            if byte in (0, 32)
            else 1 / 300
            if 32 < byte < 127
            else 0.0
        )
    return chance


def _chance(type_: Type, bits: Sequence[int]) -> float:
    """The probability of these samples of a type."""
    size = REGISTERS[type_]
    chance = _chance_of(type_, bits[0])
    for before, after in pairwise(bits):
        if before == after:
            chance *= 0.5**size
        elif chance:
            steps = abs(_rank(type_, after) - _rank(type_, before)) if _chance_of(type_, after) else 1 << 16 * size
            chance *= (1 - 0.5**size) / ((steps + 1) * 16 * size * log(2))
    return chance


@cache
def _chance_of(type_: Type, bits: int) -> float:
    width = 16 * REGISTERS[type_]
    sentinels = _SENTINELS.get(type_, ())
    if bits in sentinels:
        return _SENTINEL / len(sentinels)
    if type_.startswith("float"):
        return _float_chance(type_, bits)
    number = decoded(type_, bits)
    if number is None:
        return 0.0
    largest = float(1 << width)
    if type_.startswith("bcd"):
        largest = 10.0 ** (width // 4)
    elif type_.startswith("modulo"):
        largest = 10_000.0 ** (width // 16)
    elif type_.startswith("int"):
        largest /= 2
        return (_NEGATIVE if number < 0 else 1 - _NEGATIVE) * _whole_chance(abs(number), largest)
    return _whole_chance(number, largest)


def _whole_chance(number: float, largest: float) -> float:
    """Of a whole number: 0 is frequent, small ones are more frequent than large ones."""
    if number == 0:
        return _ZERO
    return (1 - _ZERO - _ANY - _SENTINEL) / (number * log(largest)) + _ANY / largest


_FLOATS = {"float16": (10, ">e"), "float32": (23, ">f"), "float64": (52, ">d")}  # bits of the mantissa


def _float_chance(type_: Type, bits: int) -> float:
    mantissa_bits, _ = _FLOATS[type_]
    value = decoded(type_, bits)
    if value is None or not isfinite(value):
        return 0.0
    if value == 0:
        return _ZERO if bits == 0 else 0.0
    width = 16 * REGISTERS[type_]
    exponent_bits = width - 1 - mantissa_bits
    exponent = (bits >> mantissa_bits & (1 << exponent_bits) - 1) - ((1 << exponent_bits - 1) - 1)
    sign = _NEGATIVE if value < 0 else 1 - _NEGATIVE
    return (
        (1 - _ZERO - _SENTINEL)
        * sign
        * _magnitude_chance(exponent)
        * _digits_chance(abs(value), exponent, mantissa_bits)
    )


def _magnitude_chance(exponent: int) -> float:
    """Of 2^exponent: machines speak of 0.001 to 1,000,000, and seldom of anything beyond."""
    low, high, beyond = -10, 20, 0.6
    away = max(low - exponent, exponent - high, 0)
    return beyond**away / (high - low + 1 + 2 * beyond / (1 - beyond))


def _digits_chance(value: float, exponent: int, mantissa_bits: int) -> float:
    """Of the digits of a float: any, or those of a whole number, or few decimal ones."""
    chance = 0.6 * 0.5**mantissa_bits
    for parts, share in ((1, 0.16), (8, 0.04)):  # whole numbers, and eighths: as many as there are of that exponent
        if value * parts >= 1 and (value * parts).is_integer():
            chance += share * max(0.5 ** (exponent + parts.bit_length() - 1), 0.5**mantissa_bits)
    digits = 3 + mantissa_bits // 12
    exact = float(f"{value:.{digits}g}")
    nearest = abs(exact - value) <= 2.0 ** (exponent - mantissa_bits - 1)
    return chance + (0.2 / 10.0**digits if nearest else 0.0)


def decoded(type_: Type, bits: int) -> float | int | None:
    """The value of the bits of a type; None where they are no value of it."""
    width = 16 * REGISTERS[type_]
    if type_ in _FLOATS:
        value: float = struct.unpack(_FLOATS[type_][1], bits.to_bytes(width // 8, "big"))[0]
        return value
    if type_.startswith("bcd"):
        digits = f"{bits:0{width // 4}x}"
        return int(digits) if digits.isdecimal() else None
    if type_.startswith("modulo"):
        number = 0
        for part in struct.unpack(f">{width // 16}H", bits.to_bytes(width // 8, "big")):
            if part > 9999:
                return None
            number = number * 10_000 + part
        return number
    return bits - (1 << width) if type_.startswith("int") and bits >> width - 1 else bits


def _rank(type_: Type, bits: int) -> int:
    """The place of a value among all of its type, in rising order."""
    if type_ in _FLOATS:
        sign = 1 << 16 * REGISTERS[type_] - 1
        return -(bits - sign) if bits & sign else bits
    return int(decoded(type_, bits) or 0)


# --- what a value shows ----------------------------------------------------------------------------------------------


def _shown(segment: _Segment, displayed: Displayed | None) -> Iterator[Reading]:
    """The readings of a value: each of its types, each scale that shows what is displayed."""
    kind, bits = segment.kind, segment.bits
    whole = sum(share * _chance(type_, bits) for type_, share in kind.types.items())
    for type_, share in kind.types.items():
        chance = share * _chance(type_, bits) / whole
        raw = decoded(type_, bits[-1])
        if not chance or raw is None:
            continue
        if type_.startswith("int") and not any(b >> 16 * kind.size - 1 for b in bits):
            chance *= 0.5  # the unsigned one is the same, and goes before it
        is_none = bits[-1] in _SENTINELS.get(type_, ()) or isnan(raw)
        if displayed is None:
            value = None if is_none else raw
            shown: float | int | str = f"0x{bits[-1]:0{4 * kind.size}X}" if is_none else raw
            rising = _rises(type_, bits)
            yield Reading(
                segment.address, type_, kind.order, 1.0, value, shown, segment.probability * chance, rising=rising
            )
        elif not is_none:
            for scale, usual in _SCALES["float" if type_ in _FLOATS else "int"].items():
                value = scaled(raw, scale)
                likelihood = displayed.likelihood(value)
                if likelihood:
                    weight = segment.probability * chance * usual * likelihood
                    yield Reading(
                        segment.address, type_, kind.order, scale, value, raw, weight, rising=_rises(type_, bits)
                    )


def scaled(raw: float | int, scale: float) -> float | int:
    """Without the noise of a binary 0.1."""
    if scale == 1:
        return raw
    return raw / round(1 / scale) if scale < 1 else raw * round(scale)


def _rises(type_: Type, bits: Sequence[int]) -> bool:
    """Whether it never fell and rose at least three times: a counter, most likely."""
    ranks = [_rank(type_, each) for each in bits]
    steps = [after - before for before, after in pairwise(ranks)]
    return min(steps, default=-1) >= 0 and sum(step > 0 for step in steps) >= 3
