"""A register image: what each register and bit holds, from a file. It becomes a recording of one moment.

table,address,value[,unit]                  CSV, by hand; value decimal or 0x…
table,address,hex_address,word,uint16,…     CSV of `gateway modbus dump --csv`
{"table": …, "address": …, "uint16": …}     of `gateway modbus dump --json`
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.errors import RecordingError
from gateway.recording import Entry, Head, Kind
from simulators.modbus.framing import MBAP, Frame
from simulators.modbus.image import COILS, DISCRETE, HOLDING, INPUT

_FUNCTIONS = {"coil": COILS, "discrete": DISCRETE, "holding": HOLDING, "input": INPUT}
_MOST = {
    COILS: 2000,
    DISCRETE: 2000,
    HOLDING: 125,
    INPUT: 125,
}  # of one request: Application Protocol V1.1b3, 6.1 to 6.4
_VALUE = ("value", "uint16")  # the keys that have it
_SHOWN = 50  # characters of a cell that are shown
_Cells = dict[tuple[int, int], dict[int, int]]  # by unit and function, address -> value


@dataclass(frozen=True, slots=True)
class Registers:
    """Registers that somebody has read, one request after the other, at one moment."""

    head: Head
    cells: _Cells
    damage: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Entry]:
        number = 0
        for (unit, function), cells in self.cells.items():
            for _, run in groupby(enumerate(sorted(cells)), key=lambda each: each[1] - each[0]):
                addresses = [address for _, address in run]
                for i in range(0, len(addresses), _MOST[function]):
                    part = addresses[i : i + _MOST[function]]
                    number = number % 0xFFFF + 1
                    request = bytes((function,)) + part[0].to_bytes(2, "big") + len(part).to_bytes(2, "big")
                    data = _data(function, [cells[address] for address in part])
                    answer = bytes((function, len(data))) + data
                    yield Entry(0, Kind.SENT, 0, 0, MBAP.encode(Frame(number, unit, request)))
                    yield Entry(0, Kind.RECEIVED, 0, 0, MBAP.encode(Frame(number, unit, answer)))


def read_registers(path: Path, unit: int = 1) -> Registers:
    """`unit`: of rows that do not say theirs. Raises RecordingError, with the line."""
    cells: _Cells = {}
    try:
        for line, row in _rows(path):
            try:
                _take(cells, row, unit)
            except (KeyError, ValueError) as exc:
                what = f"there is no {exc}" if isinstance(exc, KeyError) else str(exc)
                raise RecordingError(f"{path}:{line}: {what}: table, address and value are needed") from exc
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror}") from exc
    if not any(cells.values()):
        raise RecordingError(f"{path}: no row has a value")
    return Registers(Head(0, "modbus-tcp", source="registers", gateway=__version__), cells)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """With the number of their line."""
    with path.open(newline="", encoding="utf-8-sig") as lines:
        try:
            if lines.read(1) == "{":
                lines.seek(0)
                for number, text in enumerate(lines, 1):
                    if text.strip():
                        yield number, _object(text, f"{path}:{number}")
                return
            lines.seek(0)
            separator = max(",;\t", key=lines.readline().count)
            lines.seek(0)
            reader = csv.reader(lines, delimiter=separator)
            header = [name.strip().lower() for name in next(reader, [])]
            for cells in reader:
                if cells:
                    filled = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}
                    yield reader.line_num, filled
        except (UnicodeDecodeError, csv.Error) as exc:
            raise RecordingError(f"{path} is no table: {exc}") from exc


def _object(text: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RecordingError(f"{where}: is not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise RecordingError(f"{where}: is not a JSON object")
    return row


def _take(cells: _Cells, row: Mapping[str, Any], unit: int) -> None:
    """One row. Raises KeyError for what it lacks, ValueError for what cannot be."""
    if row.get("error"):
        return  # what could not be read has no value
    table = _text(row["table"], "table")
    if table not in _FUNCTIONS:
        raise ValueError(f"'{table[:_SHOWN]}' is not a table ({', '.join(_FUNCTIONS)})")
    function = _FUNCTIONS[table]
    value = next((row[key] for key in _VALUE if row.get(key) is not None), None)
    if value is None:
        raise KeyError("value")
    number = _number(value, "value", -0x8000 if function > DISCRETE else 0, 0xFFFF if function > DISCRETE else 1)
    where = _number(row.get("unit", unit), "unit", 0, 255), function
    cells.setdefault(where, {})[_number(row["address"], "address", 0, 0xFFFF)] = number & 0xFFFF


def _number(value: object, what: str, low: int, high: int) -> int:
    """Decimal, or 0x…"""
    text = _text(value, what)
    try:
        number = int(text, 0) if text.lower().lstrip("-").startswith("0x") else int(text)
    except ValueError as exc:
        raise ValueError(f"'{text[:_SHOWN]}' is not a whole number ({what})") from exc
    if not low <= number <= high:
        raise ValueError(f"{what} {text[:_SHOWN]} is not within {low} to {high}")
    return number


def _text(value: object, what: str) -> str:
    """Of a cell. Brackets in brackets could be too deep to be shown."""
    if isinstance(value, (dict, list)):
        raise ValueError(f"{what}: a list or an object is no cell")
    return str(value)


def _data(function: int, values: list[int]) -> bytes:
    if function in (HOLDING, INPUT):
        return b"".join(value.to_bytes(2, "big") for value in values)
    packed = bytearray((len(values) + 7) // 8)
    for i, bit in enumerate(values):
        packed[i >> 3] |= bit << (i & 7)
    return bytes(packed)
