"""Registers as a table: every usual reading of each beside the other. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from math import isnan
from typing import Any

from adapters.modbus.signals import BIT_TABLES
from adapters.modbus.tools.reading import Found
from adapters.modbus.tools.spans import Span

COLUMNS = (
    "table",
    "address",
    "hex_address",
    "word",
    "uint16",
    "int16",
    "float32_abcd",
    "float32_cdab",
    "text",
    "error",
)
_PLAUSIBLE = (1e-6, 1e12)  # a float beyond is none, most likely: it is not shown


def rows(span: Span, found: Found) -> Iterator[dict[str, Any]]:
    """One row per address that was read or refused."""
    for address in range(span.first, span.last + 1):
        row: dict[str, Any] = {"table": span.table, "address": address, "hex_address": f"0x{address:04X}"}
        if address in found.refused:
            yield {**row, "error": found.refused[address]}
        elif address in found.words:
            word = found.words[address]
            yield {**row, "value": word} if span.table in BIT_TABLES else {**row, **_register(found.words, address)}


def _register(words: Mapping[int, int], address: int) -> dict[str, Any]:
    word, after = words[address], words.get(address + 1)
    row: dict[str, Any] = {"word": f"{word:04X}", "uint16": word, "int16": word - (word >> 15 << 16)}
    if after is not None:
        for name, high, low in (("float32_abcd", word, after), ("float32_cdab", after, word)):
            (value,) = struct.unpack(">f", struct.pack(">HH", high, low))
            if _PLAUSIBLE[0] <= abs(value) <= _PLAUSIBLE[1] or (value == 0 and high == low == 0):
                row[name] = float(f"{value:.7g}")
            elif isnan(value):
                row[name] = "nan"
    row["text"] = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in word.to_bytes(2, "big"))
    return row


def lines(span: Span, found: Found) -> Iterator[str]:
    """The rows for a screen, under a heading. Neighbours that are refused for the same reason share a line."""
    if span.table in BIT_TABLES:
        yield f"{span.table:<9}    hex  value"
    else:
        yield f"{span.table:<9}    hex  word  uint16   int16    float ABCD    float CDAB  text"
    first: dict[str, Any] | None = None  # of a run that is refused
    last = -1
    for row in rows(span, found):
        if first is not None and (row.get("error"), row["address"]) == (first["error"], last + 1):
            last = row["address"]
            continue
        if first is not None:
            yield _refused(first, last)
            first = None
        if "error" in row:
            first, last = row, row["address"]
        else:
            yield _line(row)
    if first is not None:
        yield _refused(first, last)


def _refused(first: Mapping[str, Any], last: int) -> str:
    where = f"{first['address']}–{last}" if last > first["address"] else str(first["address"])
    return f"{where:<9} {'' if last > first['address'] else first['hex_address']:>6}  {first['error']}"


def _line(row: Mapping[str, Any]) -> str:
    begin = f"{row['address']:<9} {row['hex_address']}"
    if "value" in row:
        return f"{begin}  {row['value']}"
    floats = [
        f"{row[name]:.6g}" if isinstance(row.get(name), float) else str(row.get(name, ""))
        for name in ("float32_abcd", "float32_cdab")
    ]
    return f"{begin}  {row['word']}  {row['uint16']:>6}  {row['int16']:>6}  {floats[0]:>12}  {floats[1]:>12}  {row['text']}"
