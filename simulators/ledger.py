"""The ledger: what the machines said, so that it can be compared with what arrived in the store.

One JSON object per answer, one per line:

    {"t": 1763789123123456789, "machine": "meter-01", "values": {"voltage_l1": 230.1}, "quality": {"thd": 2150694912}}

`t` is ns since 1970 UTC, the moment the values were taken; `quality` has what is not good. NaN and infinity are null.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from gateway.model import GOOD, Value


class Served(NamedTuple):
    """One entry: what one answer of one machine carried."""

    time_ns: int
    machine: str
    values: Mapping[str, Value]
    quality: Mapping[str, int] = {}


@dataclass(slots=True)
class Column:
    """All that one signal was served as, in the order it was served."""

    time: array[int] = field(default_factory=lambda: array("q"))
    value: list[Value] = field(default_factory=list)
    quality: array[int] = field(default_factory=lambda: array("I"))


class Ledger:
    """Written by the servers, entry by entry. Without a path it keeps nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._file: BinaryIO | None = _open(path) if path else None

    @classmethod
    def memory(cls) -> Ledger:
        """One that lives in memory, for `entries()`."""
        ledger = cls()
        ledger._file = BytesIO()
        return ledger

    def served(
        self, machine: str, time_ns: int, values: Mapping[str, Value], quality: Mapping[str, int] | None = None
    ) -> None:
        """Write down what an answer carries. To be called just before the answer leaves."""
        if self._file is None:
            assert self.path is None, "the ledger is closed"
            return
        entry = {"t": time_ns, "machine": machine, "values": values}
        if quality:
            entry["quality"] = quality
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def entries(self) -> Iterator[Served]:
        """All that a ledger in memory holds."""
        assert isinstance(self._file, BytesIO), "only a ledger in memory can be read like this; see read_ledger"
        return _parse(self._file.getvalue().splitlines(keepends=True))

    def flush(self) -> None:
        """Hand what was written to the operating system; a plant does it every second."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Safe to call twice. A ledger in memory stays readable."""
        if self._file is not None and not isinstance(self._file, BytesIO):
            self._file.close()
            self._file = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_ledger(path: Path) -> Iterator[Served]:
    """The entries of a file, one at a time. A last line that was cut off with its process is left out."""
    with path.open("rb") as file:
        yield from _parse(file)


def columns(entries: Iterable[Served]) -> dict[tuple[str, str], Column]:
    """The entries by machine and signal."""
    found: dict[tuple[str, str], Column] = {}
    for entry in entries:
        for signal, value in entry.values.items():
            column = found.setdefault((entry.machine, signal), Column())
            column.time.append(entry.time_ns)
            column.value.append(value)
            column.quality.append(entry.quality.get(signal, GOOD))
    return found


def _open(path: Path) -> BinaryIO:
    """Open a file to go on with it, behind its last whole line."""
    file = path.open("ab+", buffering=1 << 18)
    end = file.tell()
    file.seek(max(0, end - (1 << 20)))  # no line is longer
    tail = file.read()
    if rest := len(tail) - (tail.rfind(b"\n") + 1):
        file.truncate(end - rest)
    return file


def _parse(lines: Iterable[bytes]) -> Iterator[Served]:
    for line in lines:
        if line.endswith(b"\n"):
            entry = orjson.loads(line)
            yield Served(entry["t"], entry["machine"], entry["values"], entry.get("quality", {}))
