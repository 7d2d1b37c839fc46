"""Which registers are meant: `holding:0-99`, `input:0x5B00-0x5B13`, `coil:8`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.modbus.signals import ADDRESSES, BIT_TABLES, MAX_BITS, MAX_REGISTERS, TABLES, Table
from gateway.config.explain import did_you_mean
from gateway.errors import UsageError


@dataclass(frozen=True, slots=True)
class Span:
    """Registers or bits of a table, `last` among them."""

    table: Table
    first: int
    last: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.table}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")

    def blocks(self, most: int) -> Iterator[Span]:
        """The requests for it, of at most so many each."""
        for first in range(self.first, self.last + 1, most):
            yield Span(self.table, first, min(first + most - 1, self.last))


def largest(table: Table, max_registers: int) -> int:
    """How many of a table are asked for at once."""
    return min(MAX_BITS, 16 * max_registers) if table in BIT_TABLES else min(MAX_REGISTERS, max_registers)


def parse_span(text: str) -> Span:
    """Raises UsageError, with what was probably meant."""
    table, colon, numbers = text.strip().partition(":")
    if not colon and (match := re.fullmatch(r"([134])(\d{4,5})(?:-\d+)?", table)):
        meant = {"1": "discrete", "3": "input", "4": "holding"}[match[1]]
        raise UsageError(
            f"'{text}': write the table and the address on the wire; did you mean '{meant}:{int(match[2]) - 1}'?"
        )
    if table not in TABLES:
        raise UsageError(f"'{text}': '{table}' is no table; {did_you_mean(table, TABLES)}, for example holding:0-99")
    match = re.fullmatch(
        r"(0[xX][0-9a-fA-F]{1,4}|\d{1,6})(?:(?:-|\.\.)(0[xX][0-9a-fA-F]{1,4}|\d{1,6}))?", numbers.strip()
    )
    if match is None:
        raise UsageError(f"'{text}' is no range; for example {table}:0-99 or {table}:0x5B00-0x5B13")
    first = int(match[1], 0 if match[1][:2] in ("0x", "0X") else 10)
    last = int(match[2], 0 if match[2][:2] in ("0x", "0X") else 10) if match[2] else first
    if last >= ADDRESSES:
        raise UsageError(f"'{text}': addresses end at 65535; the first one is 0, also where a manual says 40001")
    if last < first:
        raise UsageError(f"'{text}' ends before it begins; did you mean '{table}:{last}-{first}'?")
    return Span(table, first, last)


def parse_numbers(text: str, low: int, high: int, what: str) -> list[int]:
    """`1-247`, `1,3,7-9` in the order they were written. Raises UsageError."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*", part)
        if match is None:
            raise UsageError(
                f"'{text}' is no list of {what}; for example {low}-{min(high, low + 9)} or {low},{low + 2}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not low <= first <= last <= high:
            raise UsageError(f"'{part.strip()}': {what} go from {low} to {high}")
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)
