"""Columns of readings as bytes, without loss: a float stays a float, an integer exact. Pure.

A column is JSON behind zlib, which is shorter than typed arrays for what machines say: few decimals, slow changes.
Floats with a full mantissa are the exception. Those that are really 32 bits wide, and the rest, become arrays with all
first bytes, then all second bytes … of the numbers, because the first bytes are alike.

    'j' JSON     'f' float32, bytes by place     'd' float64, bytes by place     then zlib, level 1
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import orjson

from gateway.model import Value

_WORDY = 12  # bytes of JSON per value from which on an array is shorter


def pack(values: Sequence[Value]) -> bytes:
    """Values of any types, in order."""
    text = orjson.dumps(values)
    form = b"j"
    if len(text) > _WORDY * len(values) and all(type(v) is float for v in values):
        numbers = cast("Sequence[float]", values)
        narrow = _narrow(numbers)
        form, text = (b"f", _by_place(narrow)) if narrow else (b"d", _by_place(array("d", numbers)))
    return form + zlib.compress(text, 1)


def unpack(blob: bytes) -> list[Any]:
    """The way back."""
    form, data = blob[:1], zlib.decompress(blob[1:])
    return orjson.loads(data) if form == b"j" else _in_order(form.decode(), data)


def pack_times(times: Sequence[int]) -> bytes:
    """Ascending times: the first, and the steps."""
    return pack([times[0], *(b - a for a, b in pairwise(times))])


def unpack_times(blob: bytes) -> list[int]:
    """The way back."""
    return list(accumulate(unpack(blob)))


def pack_quality(quality: Sequence[int] | None) -> bytes | None:
    """Runs of [how many, code]; nothing where all are good."""
    if not quality or not any(quality):
        return None
    runs: list[list[int]] = []
    for code in quality:
        if runs and runs[-1][1] == code:
            runs[-1][0] += 1
        else:
            runs.append([1, code])
    return orjson.dumps(runs)


def unpack_quality(blob: bytes | None, count: int) -> list[int]:
    """The way back."""
    if blob is None:
        return [0] * count
    return [code for times, code in orjson.loads(blob) for _ in range(times)]


def _narrow(values: Sequence[float]) -> array[float] | None:
    """The same numbers as float32, if they are."""
    try:
        narrow: array[float] = array("f", values)
    except OverflowError:
        return None
    return narrow if narrow.tolist() == list(values) else None


def _by_place(numbers: array[float]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    data, size = numbers.tobytes(), numbers.itemsize
    return b"".join(data[place::size] for place in range(size))


def _in_order(form: str, data: bytes) -> list[float]:
    numbers: array[float] = array(form)
    size = numbers.itemsize
    count = len(data) // size
    mixed = bytearray(len(data))
    for place in range(size):
        mixed[place::size] = data[place * count : (place + 1) * count]
    numbers.frombytes(bytes(mixed))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
