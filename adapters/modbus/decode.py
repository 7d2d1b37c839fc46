"""From the bytes of an answer to one value per signal. Pure; everything is worked out when the block is compiled.

    payload ─ translate ─▶ the bytes of each signal, most significant first ─ one Struct ─▶ values ─ steps ─▶ values

A payload has at most 250 bytes, so it can be the *table* of `bytes.translate`, through which a list of byte positions
is sent: one call in C brings the bytes of all signals into order, whatever their orders, gaps and overlaps. A step
follows only for the few types that struct does not know.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate, chain
from math import isfinite
from operator import itemgetter

from adapters.modbus.plan import Block
from adapters.modbus.signals import BIT_TABLES, ModbusSignal
from gateway.model import GOOD, INVALID_DATA, NOT_AVAILABLE, Value
from gateway.shared import once_per_object

Columns = tuple[tuple[Value, ...], tuple[int, ...] | None]  # values, and qualities where not all are good

_CODES = {
    "bool": "H", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q",
    "uint64": "Q", "float16": "e", "float32": "f", "float64": "d", "bcd16": "2s", "bcd32": "4s", "bcd64": "8s",
    "modulo10k_u32": "4s", "modulo10k_u48": "6s", "modulo10k_u64": "8s",
}  # fmt: skip
_TABLE = 256  # bytes.translate wants exactly as many
_FLAGS = tuple(tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256))


class Layout:
    """How one block is read. Remembers the last answer: the same bytes give the same columns, without decoding."""

    def __init__(self, block: Block) -> None:
        self._decode = _compiled(block)
        self._payload: bytes | None = None
        self._columns: Columns = ((), None)

    def decode(self, payload: bytes) -> Columns:
        """One value per signal of the block, in its order. The very same object as last time if nothing changed."""
        if payload != self._payload:
            self._columns = self._decode(payload)
            self._payload = payload
        return self._columns


@once_per_object
def _compiled(block: Block) -> Callable[[bytes], Columns]:
    if not block.count:
        return lambda _: ((), None)  # a block that is never asked for
    return _bits(block) if block.table in BIT_TABLES else _registers(block)


def _bits(block: Block) -> Callable[[bytes], Columns]:
    """Coils and discrete inputs: bit 0 of byte 0 is the first one."""
    places = [signal.address - block.address for signal in block.signals]
    pick = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))

    def decode(payload: bytes) -> Columns:
        return pick(tuple(chain.from_iterable(map(_FLAGS.__getitem__, payload)))), None

    return decode


def _registers(block: Block) -> Callable[[bytes], Columns]:
    """Registers: an order of bytes, a Struct, a step for some values (ValueError: these bytes are none), "no value"."""
    places = [_places(signal, 2 * (signal.address - block.address)) for signal in block.signals]
    order = bytes(chain.from_iterable(places))
    unpack = struct.Struct(">" + "".join(_code(signal) for signal in block.signals)).unpack
    steps = [(at, step) for at, signal in enumerate(block.signals) if (step := _step(signal))]
    ends = [*accumulate(map(len, places))]
    invalid = [
        (at, ends[at] - len(places[at]), ends[at], frozenset(_images(signal)))
        for at, signal in enumerate(block.signals)
        if signal.invalid
    ]
    count = len(places)

    def decode(payload: bytes) -> Columns:
        raw = order.translate(payload.ljust(_TABLE, b"\0"))
        values = unpack(raw)
        if not steps and not invalid:
            return values, None
        column = list(values)
        bad: dict[int, int] = {}
        for at, step in steps:
            try:
                column[at] = step(column[at])
            except ValueError:
                bad[at] = INVALID_DATA
        for at, first, end, images in invalid:
            if raw[first:end] in images:
                bad[at] = NOT_AVAILABLE
        if not bad:
            return tuple(column), None
        for at in bad:
            column[at] = None
        return tuple(column), tuple(bad.get(at, GOOD) for at in range(count))

    return decode


def _places(signal: ModbusSignal, start: int) -> list[int]:
    """Where in the payload the bytes of a signal are, most significant first."""
    order = signal.wire_order
    if signal.data_type == "string":
        assert signal.length
        swap = order == "BA"
        parts = {"both": (swap, not swap), "high": (swap,), "low": (not swap,)}[signal.location]
        return [start + 2 * register + part for register in range(signal.size) for part in parts][: signal.length]
    if signal.data_type == "datetime" and len(order) == 2:
        pair = (order == "BA", order != "BA")
        return [start + 2 * register + part for register in range(signal.size) for part in pair]
    wire = [start + order.index(letter) for letter in sorted(order)]
    if signal.bit is not None:
        return [wire[0 if signal.bit > 7 else 1]]
    if signal.data_type in ("int8", "uint8"):
        return [wire[0 if signal.byte == "high" else 1]]
    return wire


def _code(signal: ModbusSignal) -> str:
    if signal.bit is not None:
        return "B"
    if signal.data_type == "datetime":
        return f"{2 * signal.size}s"
    return f"{signal.length}s" if signal.data_type == "string" else _CODES[signal.data_type]


# --- steps: what struct does not know --------------------------------------------------------------------------------


def _step(signal: ModbusSignal) -> Callable[..., Value] | None:
    if signal.bit is not None:
        return tuple(flags[signal.bit % 8] for flags in _FLAGS).__getitem__
    if signal.data_type == "string":
        return partial(_text, signal.encoding)
    if signal.format is not None:
        return _DATES[signal.format]
    if signal.data_type.startswith("bcd"):
        return _bcd
    if signal.data_type.startswith("modulo10k"):
        return _modulo_10000
    return bool if signal.data_type == "bool" else None


def _text(encoding: str, raw: bytes) -> str:
    """Ends at the first NUL; trailing blanks are cut. Raises ValueError for what is no text."""
    text = raw.partition(b"\0")[0].decode(encoding).rstrip()
    if not text.isascii():
        text.encode()  # half of a surrogate pair can be in no message
    return text


def _bcd(raw: bytes) -> int:
    """A decimal digit in each half byte."""
    return int(raw.hex())


def _modulo_10000(raw: bytes) -> int:
    """Four decimal digits in each register."""
    value = 0
    for (part,) in struct.iter_unpack(">H", raw):
        if part > 9999:
            raise ValueError(part)
        value = value * 10_000 + part
    return value


# --- dates and times: ISO 8601 text, with Z where the format counts from 1970 in UTC, else in the device's own time ----


def _seconds_since_1970(raw: bytes) -> str:
    return _date_text(datetime.fromtimestamp(int.from_bytes(raw, "big"), UTC))


def _milliseconds_since_1970(raw: bytes) -> str:
    try:
        return _date_text(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int.from_bytes(raw, "big")))
    except OverflowError as exc:
        raise ValueError("beyond the year 9999") from exc


def _cp56(raw: bytes) -> str:
    """IEC 60870-5-4 in four registers: year, month and day, hour and minute, milliseconds (Schneider TI081)."""
    year, month, day, hour, minute = raw[1] & 0x7F, raw[2] & 0x0F, raw[3] & 0x1F, raw[4] & 0x1F, raw[5]
    if minute & 0x80:
        raise ValueError("the device says that its time is invalid")
    milliseconds = int.from_bytes(raw[6:], "big")
    moment = datetime(2000 + year, month, day, hour, minute & 0x3F, milliseconds // 1000, milliseconds % 1000 * 1000)
    return _date_text(moment)


def _date_words(raw: bytes) -> str:
    return _date_of(struct.unpack(">6H", raw))


def _date_bytes(raw: bytes) -> str:
    return _date_of(tuple(raw))


def _date_bcd(raw: bytes) -> str:
    return _date_of(tuple(int(f"{byte:x}") for byte in raw))


def _date_of(parts: tuple[int, ...]) -> str:
    year, month, day, hour, minute, second = parts
    if 100 <= year < 1900:
        raise ValueError("no year of a machine")
    return _date_text(datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second))


def _date_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


_DATES: dict[str, Callable[[bytes], str]] = {
    "unix32": _seconds_since_1970,
    "unix64ms": _milliseconds_since_1970,
    "cp56": _cp56,
    "words": _date_words,
    "bytes": _date_bytes,
    "bcd": _date_bcd,
}


def _images(signal: ModbusSignal) -> Iterator[bytes]:
    """The bytes that mean "no value". For a float, 0x7FC00000 is the image and -9999 the number: both are looked for."""
    size = len(_places(signal, 0))
    for value in signal.invalid:
        if signal.value_type == "float":
            yield struct.pack(">" + _code(signal), value)
        if isfinite(value) and value == int(value) and -(1 << 8 * size - 1) <= value < 1 << 8 * size:
            yield (int(value) % (1 << 8 * size)).to_bytes(size, "big")
