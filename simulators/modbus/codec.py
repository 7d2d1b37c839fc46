"""From a raw value to the bytes of its registers as they stand on the wire, and back to what those bytes carry.

Written against the standards alone, never against our decoder: a mistake would cancel itself out. For the numeric
types it has to agree with pymodbus' converters, which a test holds; those take 3 µs a value, too much for a simulated
hall of machines.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import NamedTuple, cast

from gateway.model import Value

Pack = Callable[[Value], bytes]
Unpack = Callable[[bytes], Value]


class Codec(NamedTuple):
    """How one type lies in its registers."""

    registers: int
    pack: Pack  # what does not fit is cut to the nearest that does
    unpack: Unpack
    limit: int = 0  # a counter of this type starts again from 0 here


_INTEGERS = {
    "int8": "b", "uint8": "B",
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip
_FLOATS = {"float16": "e", "float32": "f", "float64": "d"}
_BCD = {"bcd16": 1, "bcd32": 2, "bcd64": 4}
_MODULO10K = {"modulo10k_u32": 2, "modulo10k_u48": 3, "modulo10k_u64": 4}


def number_codec(type_name: str, order: str) -> Codec:
    """Of a number. `order` are the letters of the configuration: letter k is the byte at wire position k."""
    if type_name in _INTEGERS:
        codec = _integer(_INTEGERS[type_name])
    elif type_name in _FLOATS:
        codec = _float(_FLOATS[type_name])
    elif type_name in _BCD:
        codec = _bcd(_BCD[type_name])
    else:
        codec = _modulo10k(_MODULO10K[type_name])
    return _reordered(codec, order)


def string_codec(length: int, encoding: str, location: str, order: str) -> Codec:
    """Of text: `length` bytes, two to a register, or one where `location` is high or low."""

    def pack(value: Value) -> bytes:
        text = str(value).encode(encoding, "replace")[:length].ljust(length, b"\0")
        if location == "both":
            return text + b"\0" * (length % 2)
        return b"".join(bytes((c, 0) if location == "high" else (0, c)) for c in text)

    def unpack(data: bytes) -> Value:
        text = data if location == "both" else data[location == "low" :: 2]
        return text[:length].split(b"\0")[0].decode(encoding, "replace").rstrip(" ")

    registers = (length + 1) // 2 if location == "both" else length
    swapped = Codec(registers, lambda v: swap(pack(v)), lambda data: unpack(swap(data)))
    return swapped if order == "BA" else Codec(registers, pack, unpack)


_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = {"unix32": ("uint32", 1), "unix64ms": ("uint64", 1000)}  # type, and how many in a second


def date_codec(form: str, order: str) -> Codec:
    """Of a moment, as ISO 8601 text: in UTC where the form counts from 1970, else by the clock of the device."""
    if form in _TICKS:
        name, ticks = _TICKS[form]
        number = number_codec(name, order)
        return Codec(
            number.registers,
            lambda value: number.pack((_utc(value) - _1970) * ticks // timedelta(seconds=1)),
            lambda data: _since_1970(cast("int", number.unpack(data)), ticks),
        )
    codec = {"cp56": _CP56, "words": _WORDS, "bytes": _BYTES, "bcd": _BCD_BYTES}[form]
    if order != "BA":
        return codec
    return Codec(codec.registers, lambda value: swap(codec.pack(value)), lambda data: codec.unpack(swap(data)))


def _moment(value: Value) -> datetime:
    """Of ISO 8601 text, or of a number of seconds since 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return _1970 + timedelta(seconds=cast("float", value))


def _utc(value: Value) -> datetime:
    moment = _moment(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _since_1970(number: int, ticks: int) -> Value:
    try:
        return _text(_1970 + timedelta(microseconds=number * (1_000_000 // ticks)))
    except OverflowError:  # as in _date
        return None


def _fields(value: Value) -> tuple[int, ...]:
    return _moment(value).timetuple()[:6]


def _date(year: int, month: int, day: int, hour: int, minute: int, second: int, milliseconds: int = 0) -> Value:
    """None where the registers hold no date, as another signal lies on top of them."""
    try:
        return _text(datetime(year, month, day, hour, minute, second, 1000 * milliseconds))
    except ValueError:
        return None


def _pack_cp56(value: Value) -> bytes:
    """IEC 60870-5-4, CP56Time2a, in four registers: year; month, weekday and day; hour and minute; milliseconds."""
    moment = _moment(value)
    milliseconds = 1000 * moment.second + moment.microsecond // 1000
    day = moment.isoweekday() << 5 | moment.day
    return struct.pack(">BBBBBBH", 0, moment.year % 100, moment.month, day, moment.hour, moment.minute, milliseconds)


def _unpack_cp56(data: bytes) -> Value:
    _, year, month, day, hour, minute, milliseconds = struct.unpack(">BBBBBBH", data)
    return _date(2000 + year, month, day & 0x1F, hour, minute, *divmod(milliseconds, 1000))


def _pack_bytes(value: Value) -> bytes:
    year, *rest = _fields(value)
    return bytes((year % 100, *rest))


def _unpack_bytes(data: bytes) -> Value:
    year, month, day, hour, minute, second = data
    return _date(2000 + year, month, day, hour, minute, second)


def _pack_bcd(value: Value) -> bytes:
    return bytes(16 * (part // 10) + part % 10 for part in _pack_bytes(value))


def _unpack_bcd(data: bytes) -> Value:
    return _unpack_bytes(bytes(10 * (part >> 4) + (part & 15) for part in data))


_CP56 = Codec(4, _pack_cp56, _unpack_cp56)
_WORDS = Codec(6, lambda value: struct.pack(">6H", *_fields(value)), lambda data: _date(*struct.unpack(">6H", data)))
_BYTES = Codec(3, _pack_bytes, _unpack_bytes)
_BCD_BYTES = Codec(3, _pack_bcd, _unpack_bcd)


def swap(data: bytes) -> bytes:
    """The two bytes of every register exchanged."""
    swapped = bytearray(data)
    swapped[::2], swapped[1::2] = data[1::2], data[::2]
    return bytes(swapped)


def _integer(code: str) -> Codec:
    form = struct.Struct(f">{code}")
    bits = 8 * form.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)

    def pack(value: Value) -> bytes:
        return form.pack(whole(value, low, high))

    return Codec(max(1, form.size // 2), pack, lambda data: cast("Value", form.unpack(data)[0]), high + 1)


def _float(code: str) -> Codec:
    form = struct.Struct(f">{code}")

    def pack(value: Value) -> bytes:
        number = cast("float", value)
        try:
            return form.pack(number)
        except OverflowError:  # IEEE 754, 7.4: what is too large becomes infinite
            return form.pack(math.copysign(math.inf, number))

    return Codec(form.size // 2, pack, lambda data: cast("Value", form.unpack(data)[0]))


def _bcd(registers: int) -> Codec:
    """Binary coded decimal: a digit in every four bits."""
    size = 2 * registers

    def pack(value: Value) -> bytes:
        return int(str(whole(value, 0, 10 ** (2 * size) - 1)), 16).to_bytes(size, "big")

    return Codec(registers, pack, lambda data: int(data.hex()), 10 ** (2 * size))


def _modulo10k(registers: int) -> Codec:
    """Four decimal digits in every register, as a binary number (Schneider PowerLogic)."""
    form = struct.Struct(f">{registers}H")

    def pack(value: Value) -> bytes:
        rest = whole(value, 0, 10_000**registers - 1)
        return form.pack(*(rest // 10_000**i % 10_000 for i in reversed(range(registers))))

    def unpack(data: bytes) -> int:
        return sum(word * 10_000**i for i, word in enumerate(reversed(form.unpack(data))))

    return Codec(registers, pack, unpack, 10_000**registers)


def whole(value: Value, low: int, high: int) -> int:
    """The nearest whole number that fits."""
    number = cast("float", value)
    if not isinstance(number, int):
        number = round(number) if math.isfinite(number) else 0 if math.isnan(number) else high if number > 0 else low
    return min(max(number, low), high)


def _reordered(codec: Codec, order: str) -> Codec:
    """The same with its bytes in another order: for GHEFCDAB the first byte on the wire is the value's seventh."""
    places = [ord(letter) - ord("A") for letter in order]
    if places == sorted(places):
        return codec
    # Orders exchange bytes in pairs, so the way back is the way there.
    assert all(places[place] == i for i, place in enumerate(places)), order
    pick = itemgetter(*places)
    pack, unpack = codec.pack, codec.unpack
    return codec._replace(pack=lambda value: bytes(pick(pack(value))), unpack=lambda data: unpack(bytes(pick(data))))
