"""A recorded series of values from a CSV file: a step function of the time since its first stamp.

    file ─ separator guessed ─▶ rows ─ stamps read, those that do not rise evened ─▶ Series ─▶ wave

Recordings have their faults: gaps, in which the value stands; a stamp twice; midnight with the date of the day that ends.
As few stamps as can be are moved, and how many is told.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from gateway.config.explain import did_you_mean
from gateway.config.yaml_file import display_name
from gateway.errors import ConfigError
from gateway.model import Value
from simulators.behaviour.waves import Wave

_SEPARATORS = ",;\t|"
_MOST_BYTES = 256 * 1024 * 1024
_NO_VALUE = ("", "nan", "null", "none", "na", "n/a", "-")


class NoColumnError(Exception):
    """There is no column of this name; the text and the hint say what there is."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key, self.message, self.hint = key, message, hint


@dataclass(frozen=True, slots=True)
class Table:
    """A file that was read."""

    name: str
    header: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]  # with the number of their line

    def cells(self, column: str, key: str) -> list[tuple[int, str]]:
        """One column, each cell with its line. Raises NoColumnError; `key`: of the setting that names it."""
        if column not in self.header:
            raise NoColumnError(key, f"{self.name} has no column '{column}'", did_you_mean(column, self.header))
        at = self.header.index(column)
        return [(line, row[at].strip()) for line, row in self.rows]

    def error(self, line: int, message: str, hint: str = "") -> ConfigError:
        """A mistake in this line."""
        return ConfigError(self.name, line, 0, "", message, hint)


@dataclass(frozen=True, slots=True)
class Series:
    """Values, each from its time on until the next."""

    times: Sequence[float]  # seconds since the first one, rising
    values: Sequence[Value]
    evened: int = 0  # stamps that did not rise and were put between their neighbours

    @property
    def length(self) -> float:
        """Seconds until it begins anew, where it repeats: the last value stands for a usual step."""
        return self.times[-1] + _usual_step(self.times)

    def wave(self, repeat: bool = False) -> Wave:
        """After its end the last value stands, or it begins anew."""
        times, values, length = self.times, self.values, self.length

        def at(t: float) -> Value:
            return values[max(bisect_right(times, t % length if repeat else t) - 1, 0)]

        return at


def read_table(path: Path) -> Table:
    """Raises ConfigError with the file, and its line."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as exc:
        raise ConfigError(display_name(path), 0, 0, "", f"cannot be read: {exc.strerror}") from exc


@lru_cache(maxsize=8)  # several signals are columns of one file
def _read(path: Path, _: int) -> Table:
    name = display_name(path)
    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(name, 0, 0, "", f"is too long; {_MOST_BYTES} bytes are the most")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError(name, line, 0, "", "is not UTF-8", "save the file as UTF-8") from exc
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise ConfigError(name, 1, 0, "", "has no header", "the first line names the columns")
    separator = max(_SEPARATORS, key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    rows: list[tuple[int, Sequence[str]]] = []
    try:
        header = [cell.strip() for cell in next(reader)]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                message = f"has {len(row)} columns, and the header has {len(header)}"
                raise ConfigError(name, reader.line_num, 0, "", message, f"they are separated by {separator!r}")
            rows.append((reader.line_num, row))
    except csv.Error as exc:
        raise ConfigError(name, reader.line_num, 0, "", str(exc)) from exc
    if not rows:
        raise ConfigError(name, 1, 0, "", "has no row below its header")
    return Table(name, header, rows)


def series(table: Table, column: str, time: str | None = None, every: float | None = None) -> Series:
    """One column over time. `time`: the column with the stamps, else the first that has some; `every`: instead of stamps.

    Raises NoColumnError, and ConfigError with the line of the file.
    """
    cells = table.cells(column, "column")
    if every is not None:
        times, evened = [i * every for i in range(len(cells))], 0
    else:
        times, evened = rising(_stamps(table, time))
    values = _values(table, cells)
    return Series([t - times[0] for t in times], values, evened)


# --- stamps ------------------------------------------------------------------------------------------------------------


def _iso(text: str) -> float:
    return _seconds(datetime.fromisoformat(text))


def _number(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def _formatted(form: str, text: str) -> float:
    return _seconds(datetime.strptime(text, form))


def _seconds(moment: datetime) -> float:
    """Without a zone any will do: only differences count."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# A number is seconds, since whatever.
_FORMS: Sequence[Callable[[str], float]] = (
    _number,
    _iso,
    *(
        partial(_formatted, f"{date} {time}")
        for date in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d")
        for time in ("%H:%M:%S", "%H:%M")
    ),
)


def _stamps(table: Table, column: str | None) -> list[float]:
    if column is None:
        column = next((name for name in table.header if _first_form(table.cells(name, "time"))), None)
        if column is None:
            hint = "name it with `time`, or the time from row to row with `every`"
            raise NoColumnError("file", f"no column of {table.name} has times", hint)
    cells = table.cells(column, "time")
    furthest = 0
    for form in _FORMS:
        stamps: list[float] = []
        try:
            for _, text in cells:
                stamps.append(form(text))
        except ValueError:
            furthest = max(furthest, len(stamps))
            continue
        return stamps
    line, text = cells[furthest]
    form_text = "for example 2018-01-31 06:15:00 or 31/01/2018 06:15" if not furthest else "as those above it"
    raise table.error(line, f"'{text}' in column {column} is no time", form_text)


def _first_form(cells: Sequence[tuple[int, str]]) -> bool:
    """Whether a column begins with a stamp; a mere number is none, as any value is one."""
    for form in _FORMS[1:]:
        try:
            form(cells[0][1])
        except ValueError:
            continue
        return True
    return False


def rising(stamps: Sequence[float]) -> tuple[list[float], int]:
    """The stamps with those that do not rise put evenly between the risen ones beside them; and how many these were.

    As many as possible stay: the longest rising part, so that one stamp from the future does not drag all after it along.
    """
    kept = _longest_rising(stamps)
    if len(kept) == len(stamps):
        return [*stamps], 0
    step = _usual_step([stamps[i] for i in kept])
    times = [*stamps]
    for i in range(kept[0]):
        times[i] = stamps[kept[0]] - (kept[0] - i) * step
    for i in range(kept[-1] + 1, len(times)):
        times[i] = stamps[kept[-1]] + (i - kept[-1]) * step
    for left, right in pairwise(kept):
        for i in range(left + 1, right):
            times[i] = stamps[left] + (stamps[right] - stamps[left]) * (i - left) / (right - left)
    return times, len(stamps) - len(kept)


def _longest_rising(stamps: Sequence[float]) -> list[int]:
    """The indexes of a longest rising part. Patience sorting: the lowest end of a part of each length, so far."""
    ends: list[float] = []
    at: list[int] = []  # where each of these ends is
    before: list[int] = []
    for i, stamp in enumerate(stamps):
        length = bisect_left(ends, stamp)
        before.append(at[length - 1] if length else -1)
        if length == len(ends):
            ends.append(stamp)
            at.append(i)
        elif stamp < ends[length]:  # of two equal ones the first stays
            ends[length], at[length] = stamp, i
    found: list[int] = []
    i = at[-1]
    while i >= 0:
        found.append(i)
        i = before[i]
    return found[::-1]


def _usual_step(times: Sequence[float]) -> float:
    return median(b - a for a, b in pairwise(times)) if len(times) > 1 else 1.0


# --- values ------------------------------------------------------------------------------------------------------------


def _values(table: Table, cells: Sequence[tuple[int, str]]) -> list[Value]:
    """Numbers if the first one is, else texts; where there is none, the one before stands."""
    said = [(line, text) for line, text in cells if text.lower() not in _NO_VALUE]
    if not said:
        raise table.error(cells[0][0], "this column has no value")
    is_number = _as_number(said[0][1]) is not None
    current: Value = _as_number(said[0][1]) if is_number else said[0][1]
    values: list[Value] = []
    for line, text in cells:
        if text.lower() not in _NO_VALUE:
            current = _as_number(text) if is_number else text
            if current is None:
                raise table.error(line, f"'{text}' is no number, as those above it are", "leave out what is not known")
        values.append(current)
    return values


def _as_number(text: str) -> int | float | None:
    """None where it is none; with a decimal comma too, as files with semicolons have it."""
    text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(text) if text.lstrip("+-").isdigit() else number
