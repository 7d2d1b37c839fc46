"""A table from a file: CSV as any program writes it, or Excel. Rows of text, each with its place; bounded in size."""

from __future__ import annotations

import codecs
import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import GatewayError, PartMissingError

MAX_BYTES = 16 * 1024 * 1024
MAX_UNPACKED = 200 * 1024 * 1024  # an .xlsx is a ZIP file: this much may come out of it
MAX_ROWS = 20_000
MAX_COLUMNS = 200
MAX_CELL = 2_000  # characters; longer ones are cut


class TableError(GatewayError):
    """A file that cannot be read as a table."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line in a CSV file, its number in a sheet."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table, and whether a comma in it is a decimal one for sure."""

    name: str  # for people: the file, and the sheet where there are several
    rows: tuple[Row, ...]
    decimal_comma: bool = False


def read_tables(path: Path, sheet: str | None = None) -> list[Sheet]:
    """Every table of a file, or the one that is asked for. Raises TableError, PartMissingError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TableError(f"{path.name}: larger than {MAX_BYTES >> 20} MiB; leave out what is no register list")
        data = path.read_bytes()
    except OSError as exc:
        raise TableError(f"{path.name}: {exc.strerror or exc}") from exc
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise TableError(f"{path.name}: an old Excel file (.xls); save it as .xlsx or CSV")
    if data.startswith(b"%PDF"):
        raise TableError(f"{path.name}: a PDF; copy its table into a spreadsheet and save that as CSV")
    if data.startswith(b"PK"):
        return _excel(path, data, sheet)
    if sheet is not None:
        raise TableError(f"{path.name}: only Excel files have sheets; leave out --sheet")
    return [_csv(path, data)]


# --- CSV -------------------------------------------------------------------------------------------------------------


def _csv(path: Path, data: bytes) -> Sheet:
    text = _text(path, data)
    lines = [line for line in text.splitlines() if line.strip()][:200]
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        delimiter = max(";\t,|", key=lambda d: _columns(lines, d))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        before = 0
        for cells in reader:
            rows.append(_row(path.name, before + 1, cells))
            before = reader.line_num
            if len(rows) > MAX_ROWS:
                raise TableError(f"{path.name}: more than {MAX_ROWS} rows")
    except csv.Error as exc:
        raise TableError(f"{path.name}:{reader.line_num}: {exc}; is a quotation mark not closed?") from exc
    return Sheet(path.name, tuple(rows), decimal_comma=delimiter == ";")


def _columns(lines: list[str], delimiter: str) -> float:
    """How much a delimiter looks like the one of these lines: the more it cuts, and the more evenly, the better."""
    counts = sorted(len(row) for row in csv.reader(lines, delimiter=delimiter))
    usual = counts[len(counts) // 2] if counts else 1
    return usual * sum(count == usual for count in counts) / len(counts) if usual > 1 else 0.0


def _text(path: Path, data: bytes) -> str:
    """Decoded as what it is: a byte order mark, UTF-16 without one, UTF-8, else what Windows writes."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return _decoded(path, data, encoding)
    head = data[:2000]
    if head[1::2].count(0) > len(head) // 4:
        return _decoded(path, data, "utf-16-le")
    if head[::2].count(0) > len(head) // 4:
        return _decoded(path, data, "utf-16-be")
    if b"\0" in head:
        raise TableError(f"{path.name}: not a text file; a register list is CSV or .xlsx")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        raise TableError(f"{path.name}: not valid {encoding}: {exc.reason} at byte {exc.start}") from exc


# --- Excel -----------------------------------------------------------------------------------------------------------


def _excel(path: Path, data: bytes, wanted: str | None) -> list[Sheet]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED:
                raise TableError(f"{path.name}: unpacks to more than {MAX_UNPACKED >> 20} MiB")
    except zipfile.BadZipFile as exc:
        raise TableError(f"{path.name}: damaged: {exc}") from exc
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError as exc:
        raise PartMissingError(
            "Excel files need openpyxl: pip install 'shopfloor-gateway[excel]', or save the list as CSV"
        ) from exc
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        names = book.sheetnames
        if wanted is not None and wanted not in names:
            if not wanted.isdecimal() or not 1 <= int(wanted) <= len(names):
                raise TableError(f"{path.name}: there is no sheet '{wanted}'; it has: {', '.join(names)}")
            wanted = names[int(wanted) - 1]
        sheets = [name for name in names if wanted in (None, name) and hasattr(book[name], "iter_rows")]
        return [
            Sheet(f"{path.name}[{name}]", tuple(_sheet_rows(path, book[name].iter_rows(values_only=True))))
            for name in sheets
        ]
    except GatewayError:
        raise
    except Exception as exc:  # openpyxl meets damaged files with errors of any kind
        raise TableError(f"{path.name}: not a readable Excel file: {type(exc).__name__}: {exc}") from exc


def _sheet_rows(path: Path, rows: Iterable[tuple[object, ...]]) -> Iterator[Row]:
    for number, cells in enumerate(rows, 1):
        if number > MAX_ROWS:
            raise TableError(f"{path.name}: more than {MAX_ROWS} rows")
        yield _row(path.name, number, [_cell(cell) for cell in cells[: MAX_COLUMNS + 1]])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return str(value)


def _row(name: str, line: int, cells: list[str]) -> Row:
    while cells and not cells[-1].strip():
        cells.pop()
    if len(cells) > MAX_COLUMNS:
        raise TableError(f"{name}:{line}: more than {MAX_COLUMNS} columns")
    return Row(line, tuple(cell.strip().replace("\xa0", " ")[:MAX_CELL] for cell in cells))
