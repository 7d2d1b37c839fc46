"""Dates and times in registers, worked out by hand."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.modbus.config import ModbusSignal
from adapters.modbus.decode import Layout
from adapters.modbus.plan import make_blocks
from adapters.modbus.signals import DATE_REGISTERS
from gateway.model import GOOD, INVALID_DATA

BAD = (None, INVALID_DATA)


def decoded(data: str | bytes, form: str, **keys: Any) -> tuple[Any, int]:
    signal = ModbusSignal.model_validate({"holding": 0, "type": "datetime", "format": form, **keys})
    [block] = make_blocks([("t", signal)], 125, 0)
    raw = bytes.fromhex(data) if isinstance(data, str) else data
    assert len(raw) == 2 * block.count == 2 * DATE_REGISTERS[form]  # type: ignore[index]
    values, qualities = Layout(block).decode(raw)
    return values[0], qualities[0] if qualities else GOOD


@pytest.mark.parametrize(
    ("data", "form", "expected"),
    [
        # Seconds since 1970-01-01T00:00:00Z. 1 000 000 000 s were over on 2001-09-09T01:46:40Z.
        ("0000 0000", "unix32", "1970-01-01T00:00:00Z"),
        ("3b9a ca00", "unix32", "2001-09-09T01:46:40Z"),
        ("7fff ffff", "unix32", "2038-01-19T03:14:07Z"),
        ("ffff ffff", "unix32", "2106-02-07T06:28:15Z"),
        # Milliseconds: 1 234 567 890 123 is 2009-02-13T23:31:30.123Z.
        ("0000 0000 0000 0000", "unix64ms", "1970-01-01T00:00:00Z"),
        ("0000 011f 71fb 04cb", "unix64ms", "2009-02-13T23:31:30.123Z"),
        ("0000 0000 0000 03e8", "unix64ms", "1970-01-01T00:00:01Z"),
        # CP56Time2a in registers: 0, year | month, weekday and day | hour, minute | milliseconds within the minute.
        # 2013-11-04 (a Monday: 1 << 5) 17:09:35.250; 35 250 is 0x89b2.
        ("000d 0b24 1109 89b2", "cp56", "2013-11-04T17:09:35.250"),
        ("007f 0c1f 173b ea5f", "cp56", "2127-12-31T23:59:59.999"),  # 59 999
        ("0000 0101 0000 0000", "cp56", "2000-01-01T00:00:00"),
        ("000d 0b04 9109 89b2", "cp56", "2013-11-04T17:09:35.250"),  # the summer time bit above the hour
        ("008d 0b04 1149 89b2", "cp56", "2013-11-04T17:09:35.250"),  # reserved bits
        # A register each
        ("07e8 0002 001d 0017 003b 003b", "words", "2024-02-29T23:59:59"),
        ("0018 0002 001d 0000 0000 0000", "words", "2024-02-29T00:00:00"),
        # A byte each
        ("1802 1d17 3b3b", "bytes", "2024-02-29T23:59:59"),
        ("6301 0100 0000", "bytes", "2099-01-01T00:00:00"),
        # Two decimal digits in a byte
        ("2402 2923 5959", "bcd", "2024-02-29T23:59:59"),
        ("9912 3109 0807", "bcd", "2099-12-31T09:08:07"),
    ],
)
def test_dates(data: str, form: str, expected: str) -> None:
    assert decoded(data, form) == (expected, GOOD)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ("ffff ffff ffff ffff", "unix64ms"),
        ("0001 0000 0000 0000", "unix64ms"),  # the year 10889
        ("000d 0b24 1189 89b2", "cp56"),  # its bit for invalid is set
        ("000d 0d24 1109 89b2", "cp56"),  # month 13
        ("000d 0b20 1109 89b2", "cp56"),  # day 0
        ("000d 0b24 1909 89b2", "cp56"),  # hour 25
        ("000d 0b24 113c 89b2", "cp56"),  # minute 60
        ("000d 0b24 1109 ea60", "cp56"),  # 60 000 ms
        ("07e7 0002 001d 0000 0000 0000", "words"),  # 2023 has no such day
        ("0000 0000 0000 0000 0000 0000", "words"),
        ("ffff ffff ffff ffff ffff ffff", "words"),
        ("07e8 0002 001d 0018 0000 0000", "words"),
        ("0000 0000 0000", "bytes"),
        ("1802 1d17 3b3c", "bytes"),  # second 60
        ("7c02 1d17 3b3b", "bytes"),  # year 124: of 1900, or none
        ("ff02 1d17 3b3b", "bytes"),
        ("2a02 2923 5959", "bcd"),  # no decimal digit
        ("2413 2923 5959", "bcd"),
        ("0064 0001 0001 0000 0000 0000", "words"),  # year 100
        ("270f 000d 0001 0000 0000 0000", "words"),
    ],
)
def test_what_is_no_date(data: str, form: str) -> None:
    assert decoded(data, form) == BAD


@pytest.mark.parametrize(
    ("data", "form", "order", "expected"),
    [
        ("ca00 3b9a", "unix32", "CDAB", "2001-09-09T01:46:40Z"),
        ("00ca 9a3b", "unix32", "DCBA", "2001-09-09T01:46:40Z"),
        ("9a3b 00ca", "unix32", "BADC", "2001-09-09T01:46:40Z"),
        ("04cb 71fb 011f 0000", "unix64ms", "GHEFCDAB", "2009-02-13T23:31:30.123Z"),
        ("04cb 71fb 011f 0000", "unix64ms", "CDAB", "2009-02-13T23:31:30.123Z"),
        ("0218 171d 3b3b", "bytes", "BA", "2024-02-29T23:59:59"),
        ("e807 0200 1d00 1700 3b00 3b00", "words", "BA", "2024-02-29T23:59:59"),
        ("0d00 240b 0911 b289", "cp56", "BA", "2013-11-04T17:09:35.250"),
        (
            "000d 0b24 1109 89b2",
            "cp56",
            "CDAB",
            "2013-11-04T17:09:35.250",
        ),  # not one number: its registers keep their order
    ],
)
def test_orders(data: str, form: str, order: str, expected: str) -> None:
    assert decoded(data, form, order=order) == (expected, GOOD)


@pytest.mark.parametrize("form", DATE_REGISTERS)
@given(data=st.data())
def test_any_bytes_are_a_date_or_bad(form: str, data: st.DataObject) -> None:
    size = 2 * DATE_REGISTERS[form]  # type: ignore[index]
    value, quality = decoded(data.draw(st.binary(min_size=size, max_size=size)), form)
    if quality == GOOD:
        assert re.fullmatch(r"(19[0-9]{2}|[2-9][0-9]{3})-[01]\d-[0-3]\d" r"T[0-2]\d:[0-5]\d:[0-5]\d(\.\d{3})?Z?", value)
        assert value.endswith("Z") == form.startswith("unix")
    else:
        assert (value, quality) == BAD


@given(st.integers(0, 2**32 - 1))
def test_seconds_are_those_of_the_calendar(seconds: int) -> None:
    """Counted from 1970 by the rules of the Gregorian calendar."""
    days, rest = divmod(seconds, 86400)
    year = 1970
    while days >= (length := 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365):
        days, year = days - length, year + 1
    months = [31, 29 if length == 366 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    month = 0
    while days >= months[month]:
        days, month = days - months[month], month + 1
    expected = f"{year}-{month + 1:02}-{days + 1:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"
    assert decoded(struct.pack(">I", seconds), "unix32") == (expected, GOOD)
