"""Which units answer on a link, and with which of their tables. One request per unit, four more for each that is there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.modbus.connections import ModbusConnection
from adapters.modbus.link import Answer, Link, Request
from adapters.modbus.signals import BIT_TABLES, TABLES, Table
from adapters.modbus.tools.reading import Pace, exception_text
from adapters.modbus.tools.spans import Span
from adapters.modbus.tools.target import stanza_of
from gateway.config.yaml_text import comment, scalar
from gateway.errors import NotConnectedError

_OPENED_AT_MOST = 5  # times in a row that a device may refuse to be connected to again


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that answers."""

    unit: int
    seconds: float  # until its first answer
    tables: Mapping[Table, str]  # what each table said: `data`, `exception 2 (illegal address)`, `silent`
    data: bytes | None = None  # of its first answer

    @property
    def readable(self) -> list[Table]:
        """Tables of which something can be read."""
        return [table for table, said in self.tables.items() if said == "data"]

    @property
    def supported(self) -> list[Table]:
        """Tables it knows, though not at the address that was asked for."""
        return [t for t, said in self.tables.items() if said != "silent" and not said.startswith("exception 1 ")]


@dataclass(slots=True)
class Survey:
    """What is known so far; filled while the scan goes on."""

    connection: ModbusConnection
    units: list[Unit] = field(default_factory=list)
    asked: int = 0

    @property
    def one_for_all(self) -> bool:
        """Whether a single device seems to answer to any unit id."""
        same = {(unit.data, tuple(unit.tables.items())) for unit in self.units}
        return self.asked == len(self.units) >= 5 and len(same) == 1


async def scan(link: Link, pace: Pace, units: Sequence[int], probe: Span, survey: Survey) -> AsyncIterator[Unit]:
    """Every unit that answers, as it is found. An exception is an answer; one of a bridge for a unit that is not there is none.

    Raises NotConnectedError.
    """
    for number in units:
        began = time.monotonic()
        answer = await _ask(link, pace, Request(number, probe.table, probe.first, probe.size))
        seconds = time.monotonic() - began
        survey.asked += 1
        if answer.lost:
            continue
        tables: dict[Table, str] = {}
        for table in TABLES:
            if table == probe.table:
                tables[table] = _said(answer)
            else:
                tables[table] = _said(await _ask(link, pace, Request(number, table, probe.first, 1)))
        unit = Unit(number, seconds, tables, answer.data)
        survey.units.append(unit)
        yield unit


async def _ask(link: Link, pace: Pace, request: Request) -> Answer:
    """Small devices need a moment before they can be connected to again."""
    for attempt in range(1, _OPENED_AT_MOST + 1):
        try:
            return await pace.ask(link, request)
        except NotConnectedError:
            if attempt == _OPENED_AT_MOST or not pace.begun:  # it never was open
                raise
            await pace.rest(0.2 * attempt)
    raise AssertionError


def _said(answer: Answer) -> str:
    if answer.data is not None:
        return "data"
    return exception_text(answer.code) if answer.code else "silent"


def seconds_at_most(units: int, lines: int, timeout: float, pause: float) -> float:
    """How long it takes if nobody answers."""
    return units * lines * (timeout + pause)


# --- what is shown ---------------------------------------------------------------------------------------------------


def row_of(unit: Unit, connection: ModbusConnection) -> dict[str, Any]:
    """A unit as an object of `--json`."""
    stanza = stanza_of(connection)
    line: dict[str, Any] = {key: stanza[key] for key in ("baud", "parity", "stop_bits") if key in stanza}
    return {"unit": unit.unit, "seconds": round(unit.seconds, 4), "tables": dict(unit.tables), **line}


def yaml_of(survey: Survey, name: str, known: bool, probe: Span) -> str:
    """Connection and machines, ready to paste; `known`: the connection is in the configuration already."""
    units = survey.units[:1] if survey.one_for_all else survey.units
    text = "" if known else f"connections:\n  {scalar(name)}: {scalar(stanza_of(survey.connection))}\n"
    text += "machines:\n"
    for unit in units:
        table = (unit.readable or unit.supported or [probe.table])[0]
        signal: dict[str, Any] = {table: probe.first}
        if table not in BIT_TABLES:
            signal["type"] = "uint16"
        text += f"  unit-{unit.unit:02}:\n    connection: {scalar(name)}\n    unit_id: {unit.unit}\n    signals:\n"
        text += f"      {table}_{probe.first}: {scalar(signal)}\n"
    if survey.one_for_all:
        text = comment(["It answers to every unit id alike: one device, most likely."]) + text
    return text


def no_answer(survey: Survey, lines: int) -> str:
    """What it means that nobody answers."""
    if lines > 1:
        return "no unit answers, whatever the baud rate and parity; check the wires A and B, the bus terminator and the unit ids"
    if "baud" in stanza_of(survey.connection):
        return "no unit answers; try other --baud, --parity and --stop-bits, and check the wires A and B"
    return "no unit answers; behind a bridge it may take a longer --timeout; check --units, and the line behind it"
