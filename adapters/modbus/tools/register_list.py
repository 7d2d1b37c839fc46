"""From a manufacturer's register list to signals, or to every mistake in it at its line. Pure.

    rows ─ find the heading ─▶ columns by what they hold ─ each row ─▶ a signal, left out with a word, or a mistake

What a list says is never guessed at where a wrong guess would give wrong values: which table a register is in, how long an
"INT" is where lengths are given, whether 40001 is an address. Where it cannot be told, the mistake names the option that says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import ValidationError

from adapters.modbus.signals import ADDRESSES, BIT_TABLES, REGISTERS, ModbusSignal, Table, order_of
from adapters.modbus.tools import vocabulary
from adapters.modbus.tools.table_file import Row, Sheet
from adapters.modbus.tools.vocabulary import plain
from gateway.config.explain import did_you_mean
from gateway.errors import GatewayError

Numbering = Literal["auto", "wire", "one-based", "40001"]
NUMBERINGS: tuple[Numbering, ...] = get_args(Numbering)
_HEADING_WITHIN = 60  # rows
_MOST_MISTAKES = 50


class RegisterListError(GatewayError):
    """All mistakes of a list, in the order of its lines."""

    exit_code = 3

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(mistakes)
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        shown, more = self.mistakes[:_MOST_MISTAKES], len(self.mistakes) - _MOST_MISTAKES
        count = len(self.mistakes)
        end = f"{count} mistake{'s' if count > 1 else ''}; nothing was written"
        return "\n".join([*shown, *([f"… and {more} more"] if more > 0 else []), end])


@dataclass(frozen=True, slots=True)
class RegisterList:
    """What a list says, ready to be written as YAML."""

    source: str
    signals: Mapping[str, dict[str, Any]]
    order: str | None  # of all values of several registers, where it is one and not ABCD
    notes: tuple[str, ...]  # what was left out or taken for granted, for people


@dataclass(frozen=True, slots=True)
class Options:
    """What the list does not say."""

    table: Table | None = None
    type: str | None = None
    order: str | None = None
    numbering: Numbering = "auto"


def register_list(sheets: Sequence[Sheet], options: Options | None = None) -> RegisterList:
    """The signals of the first table that is a register list. Raises RegisterListError."""
    for sheet in sheets:
        for index, row in enumerate(sheet.rows[:_HEADING_WITHIN]):
            columns = _columns_of(row)
            if columns is not None:
                return _Reader(sheet, index, columns, options or Options()).read()
    name = sheets[0].name if sheets else "the file"
    raise RegisterListError(
        [
            f"{name}: no row with the names of columns was found; needed are an address and a name, a type or a "
            "description, for example: name,address,type,unit,scale"
        ]
    )


# --- the heading -----------------------------------------------------------------------------------------------------

_ROLES = {
    name: (role, rank)
    for rank, (role, names) in enumerate(vocabulary.COLUMNS.items())
    for name in reversed(names)
}  # fmt: skip


def _columns_of(row: Row) -> dict[str, int] | None:
    """What each column holds, if this row is a heading."""
    found: dict[str, tuple[tuple[int, ...], int]] = {}
    for index, cell in enumerate(row.cells):
        if len(cell) > 60:
            continue
        role, fit = _role(cell)
        if role == "ignored" or not role:
            continue
        preference = (fit, -("hex" in plain(cell).split()), -index)
        if role not in found or preference > found[role][0]:
            found[role] = preference, index
    columns = {role: index for role, (_, index) in found.items()}
    return columns if "address" in columns and {"name", "type", "description"} & set(columns) else None


def _role(cell: str) -> tuple[str, int]:
    """What a column of this name holds, and how well the name fits: 2 as it is, 1 by a part of it."""
    whole = plain(cell)
    bare = plain(re.sub(r"[(\[].*?[)\]]", " ", cell))
    for text in (whole, bare):
        if text in _ROLES:
            return _ROLES[text][0], 2
    best = ("", 0)
    for name, (role, _) in _ROLES.items():
        if len(name) > max(best[1], 3) and re.search(rf"(^| ){re.escape(name)}( |$)", bare or whole):
            best = role, len(name)
    return best[0], 1 if best[0] else 0


# --- the rows --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Address:
    number: int
    digit: str = ""  # of 4x0001
    last: int | None = None
    bit: int | None = None
    decimal: str = ""  # as it was written, where it may be of the 40001 style


class _Wrong(Exception):
    """A cell that is not understood."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


@dataclass(slots=True)
class _Reader:
    sheet: Sheet
    heading: int
    columns: Mapping[str, int]
    options: Options
    mistakes: list[tuple[int, str]] = field(default_factory=list)  # with their lines
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    unknown_units: dict[str, int] = field(default_factory=dict)

    def read(self) -> RegisterList:
        self._table_in_the_column_of_types()
        rows = [row for row in self.sheet.rows[self.heading + 1 :] if self._is_of_a_signal(row)]
        addresses = {row.line: address for row in rows if (address := self._address(row))}
        modicon = self._is_modicon(rows, addresses)
        if modicon and self.options.numbering == "auto":
            self.notes.append(
                "addresses were taken as numbers of the 40001 style (40001 is holding: 0); "
                "--numbering wire if they are meant as they stand"
            )
        self._needs_a_table(addresses, modicon)
        self._needs_a_type(addresses)
        signals: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row.line not in addresses:
                continue
            try:
                signal = self._signal(row, addresses[row.line], modicon)
            except _Wrong as wrong:
                self._mistake(row, wrong.role, str(wrong))
                continue
            if signal is not None:
                signals[self._free_name(row, signal, signals)] = signal
        if not signals and not self.mistakes:
            self._mistake_of_all("no register is listed below this line")
        if self.mistakes:
            raise RegisterListError([text for _, text in sorted(self.mistakes, key=lambda mistake: mistake[0])])
        order = _common_order(signals)
        return RegisterList(self.sheet.name, signals, order, (*self.notes, *self._words_about_the_rest()))

    # --- cells -------------------------------------------------------------------------------------------------------

    def _cell(self, row: Row, role: str) -> str:
        index = self.columns.get(role)
        return row.cells[index].strip() if index is not None and index < len(row.cells) else ""

    def _title(self, role: str) -> str:
        index = self.columns.get(role)
        heading = self.sheet.rows[self.heading].cells
        return " ".join(heading[index].split()) if index is not None and index < len(heading) else role

    def _mistake(self, row: Row, role: str, message: str) -> None:
        self.mistakes.append((row.line, f"{self.sheet.name}:{row.line}: column '{self._title(role)}': {message}"))

    def _mistake_of_all(self, message: str) -> None:
        line = self.sheet.rows[self.heading].line
        self.mistakes.append((line, f"{self.sheet.name}:{line}: {message}"))

    def _skip(self, row: Row, why: str) -> None:
        self.left_out.setdefault(why, []).append(row.line)

    def _words_about_the_rest(self) -> Iterator[str]:
        for why, lines in self.left_out.items():
            shown = ", ".join(map(str, lines[:8])) + (", …" if len(lines) > 8 else "")
            yield f"left out, {why}: line{'s' if len(lines) > 1 else ''} {shown}"
        for unit, line in self.unknown_units.items():
            yield f"line {line}: the unit '{unit}' has no UCUM code that is known here; written as it is"

    # --- which rows --------------------------------------------------------------------------------------------------

    def _is_of_a_signal(self, row: Row) -> bool:
        filled = [cell for cell in row.cells if cell]
        if len(filled) < 2 or _columns_of(row) is not None:
            return False  # empty, a headline, or the heading once more on the next page
        if re.fullmatch(r"(?i)reserved?|spare|not used|unused|n/?a|-+|dự phòng", self._cell(row, "name") or "x"):
            self._skip(row, "reserved")
            return False
        if self._is_write_only(row):
            self._skip(row, "can only be written")
            return False
        if not self._cell(row, "address"):
            if self._cell(row, "type"):
                self._mistake(row, "address", "is empty")
            return False
        return True

    def _is_write_only(self, row: Row) -> bool:
        access = plain(self._cell(row, "access"))
        if access in ("w", "wo", "write", "write only", "ghi", "chi ghi", "command"):
            return True
        functions = _functions(self._cell(row, "table"))
        return bool(functions) and not any(f in vocabulary.READS for f in functions) and access in ("", "w")

    def _table_in_the_column_of_types(self) -> None:
        """`Type: holding` is no type of data."""
        if "table" in self.columns or "type" not in self.columns:
            return
        cells = {plain(self._cell(row, "type")) for row in self.sheet.rows[self.heading + 1 :]} - {""}
        if cells and all(cell in vocabulary.TABLES for cell in cells):
            self.columns = {("table" if role == "type" else role): at for role, at in self.columns.items()}

    # --- addresses ---------------------------------------------------------------------------------------------------

    def _address(self, row: Row) -> _Address | None:
        hexadecimal = "hex" in plain(self._title("address")).split()
        try:
            return parse_address(self._cell(row, "address"), hexadecimal)
        except ValueError as exc:
            self._mistake(row, "address", str(exc))
            return None

    def _is_modicon(self, rows: Sequence[Row], addresses: Mapping[int, _Address]) -> bool:
        """Whether all addresses are numbers of the 40001 style: said, or all of them are."""
        if self.options.numbering != "auto":
            return self.options.numbering == "40001"
        if not addresses or any(address.digit for address in addresses.values()):
            return False
        if re.search(r"4x{3,}|40001|400001|modicon", self._title("address").lower()):
            return True
        for row in rows:
            address = addresses.get(row.line)
            if address is None:
                continue
            try:
                table = self._table_said(row)
            except _Wrong:
                table = None  # told later, with the row
            match = re.fullmatch(r"([0134])(\d{4}|\d{5})", address.decimal)
            if not match or int(match[2]) == 0 or (table is not None and vocabulary.DIGITS[match[1]] != table):
                return False
        return True

    def _table_said(self, row: Row) -> Table | None:
        cell = self._cell(row, "table")
        if not cell:
            return None
        words = plain(cell)
        if words in vocabulary.TABLES:
            return vocabulary.TABLES[words]
        functions = _functions(cell)
        tables = [vocabulary.FUNCTIONS[f] for f in functions if f in vocabulary.FUNCTIONS]
        reads = [vocabulary.FUNCTIONS[f] for f in functions if f in vocabulary.READS]
        if reads or tables:
            return (reads or tables)[0]
        for name in sorted(vocabulary.TABLES, key=len, reverse=True):
            if len(name) > 2 and re.search(rf"(^| ){re.escape(name)}( |$)", words):
                return vocabulary.TABLES[name]
        raise _Wrong("table", f"'{cell}' is no table; {did_you_mean(words, vocabulary.TABLES)}")

    def _needs_a_table(self, addresses: Mapping[int, _Address], modicon: bool) -> None:
        if "table" in self.columns or self.options.table or modicon or self.mistakes:
            return
        if any(not address.digit for address in addresses.values()):
            self._mistake_of_all(
                "no column says which table the registers are in; "
                "add one (function code 1, 2, 3 or 4), or say --table holding or --table input"
            )

    def _needs_a_type(self, addresses: Mapping[int, _Address]) -> None:
        if "type" in self.columns or self.options.type or self.options.table in BIT_TABLES or self.mistakes:
            return
        if "table" in self.columns or any(address.digit in "34" for address in addresses.values()):
            self._mistake_of_all("no column says what type the values have; add one, or say --type uint16")

    # --- one signal --------------------------------------------------------------------------------------------------

    def _signal(self, row: Row, address: _Address, modicon: bool) -> dict[str, Any] | None:
        table, number = self._place(row, address, modicon)
        signal: dict[str, Any] = {table: number}
        if table not in BIT_TABLES:
            size = self._size(row, address)
            bit = self._bit(row, address)
            self._add_type(signal, row, size, bit)
        self._add_numbers(signal, row)
        description = " ".join(self._cell(row, "description").split())[:500]
        if description and description != self._cell(row, "name"):
            signal["description"] = description
        try:
            ModbusSignal.model_validate(signal)
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            context = error.get("ctx", {})
            role = {"length": "size", table: "address"}.get(str((error["loc"] or (context.get("key"),))[0]), "type")
            message = context.get("message", error["msg"])
            hint = f"; {context['hint']}" if context.get("hint") else ""
            raise _Wrong(role if role in self.columns else "address", f"{message}{hint}") from exc
        return signal

    def _place(self, row: Row, address: _Address, modicon: bool) -> tuple[Table, int]:
        said = self._table_said(row)
        digit, number = address.digit, address.number
        if modicon and not digit:
            match = re.fullmatch(r"([0134])(\d{4}|\d{5})", address.decimal)
            if match is None:
                raise _Wrong("address", f"'{self._cell(row, 'address')}' is not a number of the 40001 style")
            digit, number = match[1], int(match[2])
        if digit:
            table = vocabulary.DIGITS[digit]
            if said is not None and said != table:
                raise _Wrong("address", f"says {table}, but column '{self._title('table')}' says {said}")
            if number == 0:
                raise _Wrong("address", f"'{self._cell(row, 'address')}': numbers of the 40001 style count from 1")
            return table, number - 1
        table_given = said or self.options.table
        if table_given is None:
            raise _Wrong("table", "is empty; which table is it in?")
        if number >= ADDRESSES:
            style = vocabulary.DIGITS.get(str(number)[0]) if len(str(number)) == 6 else None
            hint = f"; {style}: {number % 100_000 - 1}? then say --numbering 40001" if style else ""
            raise _Wrong("address", f"{number} is too large: addresses end at 65535{hint}")
        if self.options.numbering == "one-based":
            if number == 0:
                raise _Wrong("address", "with --numbering one-based the first one is 1")
            number -= 1
        return table_given, number

    def _size(self, row: Row, address: _Address) -> int | None:
        """Registers, from their own column or from the range of addresses."""
        cell = self._cell(row, "size")
        if cell:
            match = re.fullmatch(r"(\d{1,4})(?:\.0)?\s*([a-z]*)\.?", plain(cell).replace(" ", ""))
            if match is None or int(match[1]) == 0:
                raise _Wrong("size", f"'{cell}' is not a number of registers")
            number, unit = int(match[1]), match[2] or " ".join(plain(self._title("size")).split())
            if "byte" in unit:
                return (number + 1) // 2
            if "bit" in unit or (number in (16, 32, 48, 64) and "char" not in unit and self._lengths_are_bits()):
                return max(1, number // 16)
            return number
        return None if address.last is None else address.last - address.number + 1

    def _lengths_are_bits(self) -> bool:
        cells = {self._cell(row, "size") for row in self.sheet.rows[self.heading + 1 :]} - {""}
        return (
            bool(cells)
            and cells <= {"1", "8", "16", "32", "48", "64"}
            and bool(cells & {"16", "32", "64"})
            and not cells & {"2", "4"}
        )

    def _bit(self, row: Row, address: _Address) -> int | None:
        cell = self._cell(row, "bit")
        if not cell:
            return address.bit
        match = re.fullmatch(r"(?i)(?:bit|b)?\s*(\d{1,2})", cell)
        if match is None or int(match[1]) > 15:
            if re.fullmatch(r"(?i)\d+\s*[-~…]+\s*\d+|all|-+|n/?a", cell):
                return None  # the whole register, or several bits of it
            raise _Wrong("bit", f"'{cell}' is not a bit from 0 to 15")
        return int(match[1])

    def _add_type(self, signal: dict[str, Any], row: Row, size: int | None, bit: int | None) -> None:
        cell = self._cell(row, "type") or self.options.type or ""
        if bit is not None:
            signal["bit"] = bit
            return
        if not cell:
            raise _Wrong("type", "is empty; for example uint16")
        known = parse_type(cell, size)
        if known is None:
            hint = did_you_mean(plain(cell).replace(" ", ""), _KNOWN_TYPES)
            raise _Wrong("type", f"'{cell}' is not known; {hint}")
        signal["type"] = known.type
        if known.type == "string":
            if known.length is None:
                raise _Wrong(
                    "size" if "size" in self.columns else "type", f"'{cell}' needs a length: how many registers?"
                )
            signal["length"] = known.length
        registers = REGISTERS.get(known.type, 1)
        if size is not None and known.type not in ("string", "bool") and size != registers:
            if registers == 1 and size > 1 and known.type in ("uint16", "int16"):
                signal["count"] = size
            else:
                raise _Wrong(
                    "size" if "size" in self.columns else "address",
                    f"{known.type} takes {registers} registers, not {size}",
                )
        self._add_order(signal, row, known.order, registers)

    def _add_order(self, signal: dict[str, Any], row: Row, in_type: str | None, registers: int) -> None:
        cell = self._cell(row, "order")
        order = parse_order(cell) if cell else in_type or self.options.order
        if cell and order is None:
            raise _Wrong("order", f"'{cell}' is no order of bytes; for example ABCD, CDAB, big endian, LSW first")
        if order is None:
            return
        if signal["type"] == "string":
            order = order_of(order, 1)
            if order != "AB":
                signal["order"] = order
        elif registers > 1:
            if len(order) == 2:
                return
            wire = order_of(order, registers)
            signal["order"] = order if len(order) <= 4 else wire
        elif order_of(order, 1) == "BA" and len(order) == 2:
            signal["order"] = "BA"

    def _add_numbers(self, signal: dict[str, Any], row: Row) -> None:
        unit, of_unit = _split_unit(self._cell(row, "unit"))
        scale = 1.0
        for role in ("scale", "divisor", "decimals"):
            cell = self._cell(row, role)
            if not cell or re.fullmatch(r"[-–—/]+|(?i:n/?a|none)", cell):
                continue
            number, rest = self._number(cell, role)
            if number == 0 and role != "decimals":
                if role == "scale":
                    continue  # 0 stands for "none" in some lists
                raise _Wrong(role, "is 0")
            if role == "decimals":
                if number != int(number) or not 0 <= number <= 9:
                    raise _Wrong(role, f"'{cell}' is not a number of decimals")
                scale *= 10.0 ** -int(number)
            else:
                scale = scale / number if role == "divisor" else scale * number
            unit = unit or rest
        if (
            scale == 1.0
            and of_unit is not None
            and not any(self._cell(row, r) for r in ("scale", "divisor", "decimals"))
        ):
            scale = of_unit
        numeric = signal.get("type", "bool") not in ("bool", "string")
        if numeric and scale != 1.0:
            signal["scale"] = float(f"{scale:.12g}")
        offset = self._cell(row, "offset")
        if numeric and offset and not re.fullmatch(r"[-–—/]+|(?i:n/?a|none)", offset):
            number, _ = self._number(offset, "offset")
            if number:
                signal["offset"] = number
        if unit and numeric:
            code, known = vocabulary.ucum(unit)
            if not known:
                self.unknown_units.setdefault(code, row.line)
            if code:
                signal["unit"] = code[:64]

    def _number(self, cell: str, role: str) -> tuple[float, str]:
        try:
            return parse_number(cell, self.sheet.decimal_comma)
        except ValueError as exc:
            raise _Wrong(role, str(exc)) from exc

    def _free_name(self, row: Row, signal: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
        place = next(iter(signal))
        name = name_of(self._cell(row, "name") or self._cell(row, "description")) or f"{place}_{signal[place]}"
        if name not in taken:
            return name
        other = f"{name}_{signal[place]}" + (f"_{signal['bit']}" if "bit" in signal else "")
        while other in taken:
            other += "_b"
        self.notes.append(f"line {row.line}: '{name}' is there already; this one is called {other}")
        return other


def _functions(cell: str) -> list[int]:
    """The function codes in a cell: `03`, `FC3`, `0x04`, `03/06/16`, `3 (read holding registers)`."""
    bare = re.sub(r"\(.*?\)", " ", cell)
    if not re.fullmatch(r"(?i)[\s,;/&+|.rwfcx0-9h-]*", bare):
        match = re.match(r"(?i)\s*(?:fc|f)?\s*0?x?0?(\d{1,2})\b", bare)
        return [int(match[1])] if match else []
    found = [int(code, 16 if prefix else 10) for prefix, code in re.findall(r"(?i)(0x)?([0-9]{1,2})(?!x)", bare)]
    return [code for code in found if code in vocabulary.FUNCTIONS]


def _common_order(signals: Mapping[str, dict[str, Any]]) -> str | None:
    """The order all values of several registers have, taken out of them; None if they differ or need none."""
    long = [s for s in signals.values() if REGISTERS.get(s.get("type", "bool"), 1) > 1]
    orders = {s.get("order", "ABCD") for s in long}
    if len(orders) != 1:
        return None
    (order,) = orders
    rest = [s for s in signals.values() if s not in long and s.get("type") == "string" and "order" not in s]
    if order_of(order, 1) == "BA" and (rest or len(long) != len(signals)):
        return None  # it would swap the bytes of single registers and texts as well
    for signal in long:
        signal.pop("order", None)
    return None if order == "ABCD" else str(order)


# --- what stands in a cell -------------------------------------------------------------------------------------------


def parse_address(text: str, hexadecimal: bool = False) -> _Address:
    """`3027`, `0x0BD3`, `0BD3h`, `40001`, `4x0001`, `40001-40002`, `40001.3`, `%MW100`. Raises ValueError."""
    bare = re.sub(r"(?<=\d) (?=\d{3}\b)", "", text.strip())
    parts = re.split(r"\s*(?:[-–…~]+|\.\.+|\bto\b|/)\s*", bare, maxsplit=1)
    first = _one_address(parts[0], text, hexadecimal)
    if len(parts) == 1:
        return first
    last = _one_address(parts[1], text, hexadecimal or parts[0].lower().startswith("0x"))
    number = last.number
    if number < first.number and len(parts[1]) < len(parts[0]) and parts[1].isdigit() and first.decimal:
        number = int(parts[0][: -len(parts[1])] + parts[1])  # 40001-02
    if not first.number <= number < first.number + 125:
        raise ValueError(f"'{text}' is no range of registers")
    return _Address(first.number, first.digit, number, first.bit, first.decimal)


def _one_address(text: str, whole: str, hexadecimal: bool) -> _Address:
    bare = text.strip().strip("'\"").upper()
    bit = None
    if match := re.fullmatch(r"(.+?)[.:](?:B(?:IT)?)?(\d{1,2})", bare):
        bare, bit = match[1], int(match[2])
        if bit > 15:
            raise ValueError(f"'{whole}' is not an address: there is no bit {bit}")
    if match := re.fullmatch(r"([134])X{1,5}\s*[-:]?\s*(\d{1,5})", bare):
        return _Address(int(match[2]), match[1], bit=bit)
    if match := re.fullmatch(r"%?MW(\d{1,5})", bare):
        return _Address(int(match[1]), bit=bit)
    if match := re.fullmatch(r"(?:0X|\$|&H|16#|H')([0-9A-F]{1,4})H?", bare) or re.fullmatch(r"([0-9A-F]{1,5})H", bare):
        return _Address(int(match[1], 16), bit=bit)
    if hexadecimal and re.fullmatch(r"[0-9A-F]{1,4}", bare):
        return _Address(int(bare, 16), bit=bit)
    if re.fullmatch(r"\d{1,6}", bare):
        return _Address(int(bare), bit=bit, decimal=bare)
    if re.fullmatch(r"[0-9A-F]{1,4}", bare):
        raise ValueError(f"'{whole}' looks hexadecimal: write 0x{bare}, or 'hex' into the name of the column")
    raise ValueError(f"'{whole}' is not an address, for example 3027, 0x0BD3 or 40001")


@dataclass(frozen=True, slots=True)
class _Type:
    type: str
    order: str | None = None
    length: int | None = None


_KNOWN_TYPES = sorted({*REGISTERS, "string", *(word for word in vocabulary.TYPES if len(word) > 2)})


def parse_type(text: str, registers: int | None = None) -> _Type | None:
    """A type as manuals write it, with its registers where a list gives them. None: not known."""
    if text.strip().lower() in REGISTERS:
        return _Type(text.strip().lower())
    if "(" in text and (known := parse_type(re.sub(r"\(.*?\)", " ", text), registers)) and known.type != "string":
        return _Type(known.type, known.order or _order_within(plain(text))[0])
    order, words = _order_within(plain(re.sub(r"(?i)ieee\W*754", "ieee", text)))
    numbers = re.findall(r"\d+", words)
    if numbers:  # "16 bit" alone says nothing about the sign
        words = re.sub(r"\bbits?\b|(?<=\d)bits?\b", " ", words)
    letters = re.sub(r"[\d ]+", "", words)
    letters = letters if letters in vocabulary.TYPES else letters.removesuffix("t")  # uint16_t
    if letters not in vocabulary.TYPES:
        return None
    family, bits = vocabulary.TYPES[letters]
    if family == "string":
        length = int(numbers[0]) if numbers and letters != "utf" else 2 * registers if registers else None
        return _Type("string", order, length)
    if family == "bool":
        return _Type("bool") if registers in (None, 1) else None
    if family == "modulo10k_u":
        return _Type(f"modulo10k_u{16 * (registers or 2)}", order) if (registers or 2) in (2, 3, 4) else None
    if numbers:
        given = int(numbers[0]) if len(numbers) == 1 else -1
        bits = given if not bits or letters in ("sint", "usint") or given == bits else -1
    elif not bits:
        default = 32 if family == "float" else 16
        bits = 16 * registers if registers in (1, 2, 4) and not (family == "float" and registers == 1) else default
    name = f"{family}{bits}"
    return _Type(name, order) if name in REGISTERS else None


def _order_within(words: str) -> tuple[str | None, str]:
    """An order named inside a type, and the rest."""
    if match := re.search(r"(^| )([a-h]{4}|[a-h]{8})( |$)", words):
        order = parse_order(match[2])
        if order:
            return order, " ".join(words.replace(match[2], " ").split())
    for name in sorted(vocabulary.ORDERS, key=len, reverse=True):
        if len(name) > 3 and re.search(rf"(^| ){name}( |$)", words):
            return vocabulary.ORDERS[name], " ".join(re.sub(rf"(^| ){name}( |$)", " ", words).split())
    return None, words


def parse_order(text: str) -> str | None:
    """`ABCD`, `CD AB`, `3412`, `big endian`, `LSW first`. None: not known."""
    words = plain(text)
    letters = words.replace(" ", "").upper()
    if re.fullmatch(r"[1-8]+", letters):
        letters = letters.translate(str.maketrans("12345678", "ABCDEFGH"))
    try:
        order_of(letters, 1)
    except StopIteration:
        return vocabulary.ORDERS.get(words)
    return letters


def parse_number(text: str, decimal_comma: bool = False) -> tuple[float, str]:
    """`0.1`, `0,1`, `x0.1`, `*10`, `/10`, `1/10`, `10^-1`, `1E-1`, `0.1 V`: the factor, and what follows it. Raises ValueError."""
    bare = text.strip().replace("−", "-").replace("×", "x").replace("÷", "/")
    number = r"[-+]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][-+]?\d{1,2})?"
    if match := re.fullmatch(r"[x*]?\s*10\s*(?:\^|\*\*|e)\s*\(?([-+]?\d{1,2})\)?", bare):
        return 10.0 ** int(match[1]), ""
    if match := re.fullmatch(rf"(?:({number})\s*)?/\s*({number})", bare):
        top, below = _decimal(match[1] or "1", decimal_comma), _decimal(match[2], decimal_comma)
        if below == 0:
            raise ValueError(f"'{text}' divides by 0")
        return top / below, ""
    if match := re.fullmatch(rf"[x*=]?\s*({number})\s*(?:[x*])?\s*([^\d\s.,].{{0,30}})?", bare):
        return _decimal(match[1], decimal_comma), (match[2] or "").strip()
    raise ValueError(f"'{text}' is not a number, for example 0.1")


def _decimal(text: str, decimal_comma: bool) -> float:
    """A number, whichever of point and comma is the decimal one. Raises ValueError where it cannot be told."""
    points, commas = text.count("."), text.count(",")
    if points and commas:
        last = max(text.rfind("."), text.rfind(","))
        text = re.sub(r"[.,]", "", text[:last]) + "." + text[last + 1 :]
    elif commas == 1:
        if re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text) and not decimal_comma:
            plain_, point = text.replace(",", ""), text.replace(",", ".")
            raise ValueError(f"'{text}' can be read in two ways: write {plain_} or {point}")
        text = text.replace(",", ".")
    elif commas > 1 or points > 1:
        text = text.replace(",", "").replace(".", "")
    return float(text)


def _split_unit(text: str) -> tuple[str, float | None]:
    """A unit column that holds the scale as well: `0.1 V`, `x0.01A`, `V x 0.1`."""
    if match := re.fullmatch(r"(?:[x×*]\s*)?(\d*[.,]?\d+)\s*([^\d\s].*)", text):
        try:
            return match[2].strip(), _decimal(match[1], True)
        except ValueError:
            return text, None
    if match := re.fullmatch(r"(.*?[^\d\s])\s*[x×*]\s*(\d*[.,]?\d+)", text):
        return match[1].strip(), _decimal(match[2], True)
    return text, None


def name_of(text: str) -> str:
    """A name for a signal: letters, digits and underscores; `Điện áp L1-N (V)` is `dien_ap_l1_n`."""
    bare = re.sub(r"\((?:[^)]{1,12})\)\s*$|\[(?:[^\]]{1,12})\]\s*$", "", text) or text
    return re.sub(r"[^a-z0-9]+", "_", plain(bare)).strip("_")[:64].strip("_")
