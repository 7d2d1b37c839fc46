"""The ledger: what the machines said, so that it can be compared with what arrived in the store.

One JSON object per answer, one per line:

    {"t": 1763789123123456789, "machine": "meter-01", "values": {"voltage_l1": 230.1}, "quality": {"thd": 2150694912}, "took": 2.5}
    {"t": 1763789130000000000, "event": "fault", "machine": "meter-01", "kind": "silence"}

`t` is ns since 1970 UTC, the moment the values were taken; `quality` has what is not good; NaN and infinity are null. `took`
is how many seconds later the answer left, where that is worth telling. A line with `event` says what was done to the plant.
Lines of other kinds are left out by those who do not know them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from gateway.errors import GatewayError, UsageError
from gateway.model import GOOD, Value

AT_ONCE = 0.01  # seconds: an answer that took less is not said to have taken any time
_LONGEST = 1 << 20  # bytes: no line is longer
_BEGIN = b'{"t":'  # as every line is written
_VALUES = frozenset((float, int, bool, str, type(None)))
_CODES = range(1 << 32)
_TIMES = range(-(1 << 63), 1 << 63)


class LedgerError(GatewayError):
    """A line that no ledger has; the text says where."""


class Served(NamedTuple):
    """One entry: what one answer of one machine carried."""

    time_ns: int
    machine: str
    values: Mapping[str, Value]
    quality: Mapping[str, int] = {}
    took: float = 0.0  # seconds from `time_ns` until it left


class Happened(NamedTuple):
    """What was done to the plant, and whatever else is to be known of it."""

    time_ns: int
    event: str
    about: Mapping[str, Any]


@dataclass(slots=True)
class Column:
    """All that one signal was served as, in the order it was served."""

    time: array[int] = field(default_factory=lambda: array("q"))
    value: list[Value] = field(default_factory=list)
    quality: array[int] = field(default_factory=lambda: array("I"))
    took: dict[int, float] = field(default_factory=dict)  # seconds by place in the column, where it took any


class Ledger:
    """Written by the servers, entry by entry. Without a path it keeps nothing."""

    def __init__(self, path: Path | None = None) -> None:
        """Goes on with a ledger that is there. Raises UsageError for a file that is something else, OSError."""
        self.path = path
        self._file: BinaryIO | None = _open(path) if path else None

    @classmethod
    def memory(cls) -> Ledger:
        """One that lives in memory, for `entries()`."""
        ledger = cls()
        ledger._file = BytesIO()
        return ledger

    def served(
        self,
        machine: str,
        time_ns: int,
        values: Mapping[str, Value],
        quality: Mapping[str, int] | None = None,
        took: float = 0.0,
    ) -> None:
        """Write down what an answer carries. To be called just before the answer leaves, `took` seconds after `time_ns`."""
        if self._file is None:
            assert self.path is None, "the ledger is closed"
            return
        entry: dict[str, object] = {"t": time_ns, "machine": machine, "values": values}
        if quality:
            entry["quality"] = quality
        if took >= AT_ONCE:
            entry["took"] = round(took, 6)
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))

    def happened(self, time_ns: int, event: str, **about: object) -> None:
        """Write down what was done to the plant: a fault that began, a step of a scenario."""
        if self._file is None:
            assert self.path is None, "the ledger is closed"
            return
        entry = {"t": time_ns, "event": event, **about}
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE, default=str))

    def entries(self) -> Iterator[Served]:
        """All answers that a ledger in memory holds."""
        return (entry for entry in self._lines() if isinstance(entry, Served))

    def events(self) -> Iterator[Happened]:
        """All that was done to the plant, of a ledger in memory."""
        return (entry for entry in self._lines() if isinstance(entry, Happened))

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

    def _lines(self) -> Iterator[Served | Happened]:
        assert isinstance(self._file, BytesIO), "only a ledger in memory can be read like this; see read_ledger"
        return _parse(self._file.getvalue().splitlines(keepends=True), "the ledger in memory")


def read_ledger(path: Path) -> Iterator[Served]:
    """The answers of a file, one at a time. A last line that was cut off with its process is left out.

    Raises LedgerError for a line that is none, OSError.
    """
    with path.open("rb") as file:
        yield from (entry for entry in _parse(file, str(path)) if isinstance(entry, Served))


def read_events(path: Path) -> Iterator[Happened]:
    """What was done to the plant, of a file. Raises as `read_ledger`."""
    with path.open("rb") as file:
        yield from (entry for entry in _parse(file, str(path)) if isinstance(entry, Happened))


def columns(entries: Iterable[Served]) -> dict[tuple[str, str], Column]:
    """The entries by machine and signal."""
    found: dict[tuple[str, str], Column] = {}
    machines: dict[str, dict[str, Column]] = {}
    for time_ns, machine, values, quality, took in entries:
        mine = machines.setdefault(machine, {})
        for signal, value in values.items():
            column = mine.get(signal)
            if column is None:
                column = mine[signal] = found[machine, signal] = Column()
            if took:
                column.took[len(column.value)] = took
            column.time.append(time_ns)
            column.value.append(value)
            column.quality.append(quality.get(signal, GOOD) if quality else GOOD)
    return found


def _open(path: Path) -> BinaryIO:
    """Open a file to go on with it, behind its last whole line; one that is no ledger is left as it is."""
    try:
        file = path.open("ab+", buffering=1 << 18)
    except OSError as exc:
        raise UsageError(f"{path}: no ledger can be written there: {exc.strerror}") from exc
    end = file.tell()
    file.seek(0)
    if end and not _begins_a_ledger(file.readline(_LONGEST)):
        file.close()
        what = "is there already, and is no ledger: what it holds would be cut"
        raise UsageError(f"{path} {what}. Name another file for the ledger, or move this one away")
    file.seek(max(0, end - _LONGEST))
    tail = file.read()
    if rest := len(tail) - (tail.rfind(b"\n") + 1):
        file.truncate(end - rest)
    return file


def _begins_a_ledger(line: bytes) -> bool:
    """Whether it is an entry, or what is left of one that was cut off with its process."""
    try:
        entries = list(_parse([line.rstrip(b"\n") + b"\n"], ""))
    except LedgerError:
        return not line.endswith(b"\n") and len(line) < _LONGEST and line[: len(_BEGIN)] == _BEGIN[: len(line)]
    return bool(entries)


def _parse(lines: Iterable[bytes], name: str) -> Iterator[Served | Happened]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            entry = orjson.loads(line)
            if not isinstance(entry, dict):
                raise TypeError("it is no object")
            if "values" in entry:
                yield Served(_time(entry), _text(entry, "machine"), *_answer(entry))
            elif "event" in entry:
                yield Happened(_time(entry), _text(entry, "event"), _about(entry))
        except (ValueError, TypeError, KeyError) as exc:
            text = f"{name}:{number}: is no line of a ledger ({_reason(exc)}): is it one, as `gateway simulate --ledger` writes it?"
            raise LedgerError(text) from exc


def _time(entry: Mapping[str, Any]) -> int:
    if type(entry["t"]) is not int or entry["t"] not in _TIMES:
        raise TypeError("`t` is not a whole number of ns")
    return entry["t"]


def _text(entry: Mapping[str, Any], key: str) -> str:
    found = entry[key]
    if not isinstance(found, str):
        raise TypeError(f"`{key}` is not a text")
    return found


def _answer(entry: Mapping[str, Any]) -> tuple[Mapping[str, Value], Mapping[str, int], float]:
    values, quality, took = entry["values"], entry.get("quality", {}), entry.get("took", 0.0)
    if not (isinstance(values, dict) and isinstance(quality, dict)):
        raise TypeError("`values` and `quality` are mappings")
    if not _VALUES.issuperset(map(type, values.values())):
        raise TypeError("a value is a number, true, false, a text or null")
    if quality and not all(type(code) is int and code in _CODES for code in quality.values()):
        raise TypeError("a quality is a status code, from 0 to 4294967295")
    if type(took) not in (int, float) or not 0 <= took < 1e9:
        raise TypeError("`took` is a number of seconds")
    return values, quality, took


def _about(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("t", "event")}


def _reason(exc: Exception) -> str:
    return f"there is no {exc}" if isinstance(exc, KeyError) else str(exc)
