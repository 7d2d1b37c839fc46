"""Look at an unknown Modbus device, and write its YAML."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli.common import (
    ConfigOption,
    Force,
    Json,
    OutputOption,
    check_output,
    load_config,
    print_json,
    seconds_of,
    tell_yaml,
)
from gateway.cli.progress import STOPPED, Progress

if TYPE_CHECKING:
    from adapters.modbus.connections import ModbusConnection
    from adapters.modbus.link import Link
    from adapters.modbus.tools.guess import Displayed, Reading
    from adapters.modbus.tools.reading import Pace
    from adapters.modbus.tools.register_list import RegisterList
    from adapters.modbus.tools.spans import Span

T = TypeVar("T", bound=str)

app = typer.Typer(
    help="Look at an unknown Modbus device, and write its YAML. Only reads, and takes its time.", no_args_is_help=True
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", show_default=False,
        help="A connection or machine of the configuration, or an address: HOST[:PORT], rtu-over-tcp://HOST:PORT, "
        "udp://HOST, tls://HOST, /dev/ttyUSB0, ascii:///dev/ttyUSB0.",
    ),
]  # fmt: skip
UnitId = Annotated[
    int | None, typer.Option("--unit", "-u", min=0, max=255, help="Unit id.  [default: 1]", show_default=False)
]
Timeout = Annotated[
    str | None,
    typer.Option(help="How long an answer may take.  [default: 1s, 300ms on a serial port]", show_default=False),
]
Pause = Annotated[
    str | None,
    typer.Option(
        help="Rest between an answer and the next request.  [default: 20ms, 50ms on a serial port]", show_default=False
    ),
]
Baud = Annotated[str | None, typer.Option(help="Serial ports: 9600, or several to try.", show_default=False)]
Parity = Annotated[
    str | None, typer.Option(help="Serial ports: none, even, odd, or several to try.", show_default=False)
]
StopBits = Annotated[str | None, typer.Option(help="Serial ports: 1 or 2, or both to try.", show_default=False)]
MaxRegisters = Annotated[int, typer.Option(min=1, max=125, help="Registers in one request.")]

# --- scan ------------------------------------------------------------------------------------------------------------


@app.command()
def scan(
    target: Target,
    units: Annotated[str, typer.Option(help="Unit ids to ask.")] = "1-247",
    probe: Annotated[
        str, typer.Option(help="What each unit is asked for; an exception is an answer, too.")
    ] = "holding:0",
    baud: Baud = None,
    parity: Parity = None,
    stop_bits: StopBits = None,
    timeout: Timeout = None,
    pause: Pause = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Find the units that answer, and print the YAML for them. A serial line is tried with several settings."""
    from adapters.modbus.tools import scan as tool
    from adapters.modbus.tools.spans import parse_numbers, parse_span
    from gateway.errors import NotConnectedError

    where = _Where(target, config, timeout, pause)
    numbers, asked = parse_numbers(units, 0, 255, "unit ids"), parse_span(probe)
    as_configured = where.known and not (baud or parity or stop_bits)
    tried = [{}] if as_configured else _lines(where.serial, baud, parity, stop_bits)
    lines = [where.connection(**line) for line in tried]
    seconds = tool.seconds_at_most(len(numbers), len(lines), lines[0].timeout, where.pause)
    progress = Progress(
        f"{len(numbers) * len(lines)} requests, {_span_of(seconds)} if nothing answers", len(numbers) * len(lines)
    )
    survey = tool.Survey(lines[0])

    async def search() -> None:
        failed: list[NotConnectedError] = []
        for connection in lines:
            survey.connection, survey.asked = connection, 0
            try:
                async with _opened(connection, where.folder) as link:
                    async for unit in tool.scan(link, _pace(progress, where.pause), numbers, asked, survey):
                        progress.clear()
                        _print_unit(tool.row_of(unit, connection), json)
            except NotConnectedError as exc:  # a converter that does not know this speed, for example
                failed.append(exc)
            if survey.units:
                break  # all devices of a line have the same settings
        if failed and (survey.units or len(failed) == len(lines)):
            raise failed[-1]

    with progress.to_the_end(search):
        if survey.units and not json:
            print(f"\n{tool.yaml_of(survey, where.name, where.known, asked)}", end="")
    if not survey.units:
        raise NotConnectedError(f"{where.name}: {tool.no_answer(survey, len(lines))}", fault="modbus-no-answer")


def _print_unit(row: dict[str, Any], json: bool) -> None:
    if json:
        print_json(row)
        return
    line = "".join(f"  {row[key]}" for key in ("baud", "parity", "stop_bits") if key in row)
    said = ", ".join(f"{table}: {said}" for table, said in row["tables"].items())
    print(f"unit {row['unit']:>3}{line}  {1000 * row['seconds']:.0f} ms  {said}", flush=True)


def _lines(serial: bool, baud: str | None, parity: str | None, stop_bits: str | None) -> list[dict[str, Any]]:
    """The settings of a serial line to try one after the other."""
    from adapters.modbus.tools.spans import parse_numbers
    from gateway.errors import UsageError

    if not serial:
        if baud or parity or stop_bits:
            raise UsageError("--baud, --parity and --stop-bits are for serial ports")
        return [{}]
    parities = [each.strip() for each in (parity or "even,none").split(",")]
    if wrong := set(parities) - {"none", "even", "odd"}:
        raise UsageError(f"'{wrong.pop()}' is no parity: none, even or odd")
    return [
        {"baud": speed, "parity": each, "stop_bits": bits}
        for speed in parse_numbers(baud or "9600,19200", 300, 4_000_000, "baud rates")
        for each in parities
        for bits in parse_numbers(stop_bits or "1", 1, 2, "stop bits")
    ]


# --- dump ------------------------------------------------------------------------------------------------------------


@app.command()
def dump(
    target: Target,
    spans: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE:FIRST-LAST...", help="For example holding:0-99 input:0x10-0x1F.", show_default=False
        ),
    ],
    unit: UnitId = None,
    max_registers: MaxRegisters = 125,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write it as CSV.", show_default=False)
    ] = None,
    baud: Baud = None,
    parity: Parity = None,
    stop_bits: StopBits = None,
    timeout: Timeout = None,
    pause: Pause = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Print registers as hex, integers, floats and text. What cannot be read is found out address by address."""
    from adapters.modbus.tools import dump as tool
    from adapters.modbus.tools.reading import Found, Reader, requests_for
    from adapters.modbus.tools.spans import parse_span

    wanted = [parse_span(text) for text in spans]
    where = _Where(target, config, timeout, pause)
    connection = where.connection(**_line(where.serial, baud, parity, stop_bits))
    found = {span: Found() for span in wanted}
    count = requests_for(wanted, max_registers)
    progress = Progress(f"{count} request{'s' if count > 1 else ''}, more where addresses cannot be read", count)

    async def read() -> None:
        async with _opened(connection, where.folder) as link:
            reader = Reader(link, where.unit(unit), _pace(progress, where.pause), max_registers)
            for span in found:
                await reader.read(span, found[span])

    with progress.to_the_end(read):
        rows = [row for span in found for row in tool.rows(span, found[span])]
        if csv is not None:
            _write_csv(csv, rows)
        elif json:
            for row in rows:
                print_json({key: value for key, value in row.items() if key != "hex_address"})
        else:
            for span in found:
                if found[span].words or found[span].refused:
                    print("\n".join(tool.lines(span, found[span])))


def _write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    import csv

    from adapters.modbus.tools.dump import COLUMNS

    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, [*COLUMNS, "value"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{file}: {len(rows)} rows", file=sys.stderr)


# --- guess -----------------------------------------------------------------------------------------------------------


@app.command()
def guess(
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="As in scan; none with --words.", show_default=False)
    ] = None,
    span: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE:FIRST-LAST]", help="Where to look, for example holding:0-19.", show_default=False
        ),
    ] = None,
    value: Annotated[
        str | None, typer.Option(help="What the machine displays, as it is written there: 230.4", show_default=False)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The value begins here; the rest of the range tells how the device counts.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="How far the registers may be from the value.", show_default=False)
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            metavar='"4366 3333 …"',
            help="These registers, in hexadecimal, instead of a device; one or more samples, divided by commas.",
            show_default=False,
        ),
    ] = None,
    first: Annotated[
        str, typer.Option(metavar="TABLE:ADDRESS", help="With --words: where the first one stands.")
    ] = "holding:0",
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="Read so many times: what moves a little is a value, what only rises a counter."
        ),
    ] = 1,
    every: Annotated[str, typer.Option(help="Time between two samples.")] = "1s",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Readings to show.")] = 8,
    unit: UnitId = None,
    max_registers: MaxRegisters = 125,
    baud: Baud = None,
    parity: Parity = None,
    stop_bits: StopBits = None,
    timeout: Timeout = None,
    pause: Pause = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Find out type, order and scale of values: all that make sense, the most probable first, as YAML."""
    from adapters.modbus.tools import guess as tool
    from adapters.modbus.tools.spans import parse_span
    from gateway.errors import UsageError

    displayed = _displayed(value, tolerance)
    if words is not None:
        if target is not None:
            raise UsageError("either a TARGET or --words")
        start = parse_span(first)
        taken = _typed_words(words, start.first)
        wanted = parse_span(f"{start.table}:{min(taken[0])}-{max(taken[0])}")
        stopped = False
    else:
        if target is None or span is None:
            raise UsageError('a TARGET and a range such as holding:0-19, or --words "4366 3333"')
        wanted = parse_span(span)
        where = _Where(target, config, timeout, pause)
        connection = where.connection(**_line(where.serial, baud, parity, stop_bits))
        taken, stopped = _sampled(
            where, connection, where.unit(unit), wanted, max_registers, samples, seconds_of(every, "--every")
        )
    begins = _at(at, wanted)
    if not taken or not taken[0]:
        raise UsageError(f"none of {wanted} can be read")
    if begins is not None and begins not in taken[0]:
        raise UsageError(f"address {begins} cannot be read, or is not in {wanted}")
    if displayed is None and begins is None:
        _print_layout(tool.layout(taken), wanted, json)
    else:
        found = tool.readings(taken, displayed, at=begins, limit=limit)
        _print_readings(found, wanted, value, json)
    if stopped:
        raise typer.Exit(STOPPED)


def _displayed(value: str | None, tolerance: float | None) -> Displayed | None:
    from adapters.modbus.tools.guess import Displayed
    from gateway.errors import UsageError

    if value is None:
        if tolerance is not None:
            raise UsageError("--tolerance goes with --value")
        return None
    try:
        return Displayed.of(value, tolerance)
    except ValueError as exc:
        raise UsageError(f"'{value}' is no number, for example 230.4") from exc


def _at(at: str | None, span: Span) -> int | None:
    from adapters.modbus.tools.spans import parse_span
    from gateway.errors import UsageError

    if at is None:
        return None
    try:
        return parse_span(at if ":" in at else f"{span.table}:{at}").first
    except UsageError as exc:
        raise UsageError(f"--at {exc}") from exc


def _typed_words(text: str, first: int) -> list[dict[int, int]]:
    """`4366 3333`, `0x4366 0x3333`, `43663333`; samples divided by commas; `-` for a register that cannot be read."""
    import re

    from gateway.errors import UsageError

    samples = []
    for sample in text.split(","):
        parts = re.sub(r"0[xX]", "", sample).split()
        if len(parts) == 1 and len(parts[0]) > 4 and len(parts[0]) % 4 == 0:
            parts = re.findall(".{4}", parts[0])
        if not parts or len(parts) > 1000 or not all(re.fullmatch(r"[0-9a-fA-F]{1,4}|-+", part) for part in parts):
            raise UsageError(
                f"'{sample.strip()[:60]}': words are four hexadecimal digits each, for example \"4366 3333\""
            )
        samples.append({first + i: int(part, 16) for i, part in enumerate(parts) if part.strip("-")})
    if any(sample.keys() != samples[0].keys() for sample in samples):
        raise UsageError("all samples need the same registers")
    return samples


def _sampled(
    where: _Where, connection: ModbusConnection, unit: int, span: Span, most: int, samples: int, every: float
) -> tuple[list[dict[int, int]], bool]:
    """The registers of a span, read several times; and whether it was ended before its time."""
    import asyncio

    from adapters.modbus.signals import BIT_TABLES
    from adapters.modbus.tools.reading import Found, Reader, requests_for
    from gateway.errors import UsageError

    if span.table in BIT_TABLES:
        raise UsageError(f"{span}: a bit is a bool; nothing to guess there")
    if span.size > 1000:
        raise UsageError(f"{span}: at most 1000 registers; --at and 40 of them around a value are enough")
    count = samples * requests_for([span], most)
    progress = Progress(f"{count} request{'s' if count > 1 else ''}, more where addresses cannot be read", count)
    taken: list[dict[int, int]] = []

    async def read() -> None:
        async with _opened(connection, where.folder) as link:
            reader = Reader(link, unit, _pace(progress, where.pause), most)
            for number in range(samples):
                found = Found()
                if number:
                    await asyncio.sleep(every)
                await reader.read(span, found)
                taken.append(found.words)

    with progress.to_the_end(read, leave=False):
        pass
    both = set(taken[0]).intersection(*taken) if taken else set()
    return [{address: sample[address] for address in sorted(both)} for sample in taken], progress.stopped


def _print_readings(found: list[Reading], span: Span, value: str | None, json: bool) -> None:
    from gateway.errors import UsageError

    if not found:
        raise UsageError(
            f"nothing in {span} shows {value}; is it the right table and unit, and was it displayed at that moment? "
            "--tolerance allows for more"
        )
    if json:
        for reading in found:
            print_json(_row(reading, span))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(span.table, box=None, pad_edge=False)
    for column in ("type", "order"):
        table.add_column(column)
    for column in ("scale", "value", "probability"):
        table.add_column(column, justify="right")
    table.add_column("")
    for r in found:
        shown = "not available" if r.value is None else f"{r.value:.8g}"
        table.add_row(str(r.address), r.type, r.order, f"{r.scale:g}", shown, _percent(r.probability), _remark(r))
    Console(soft_wrap=True).print(table)
    print(f"\n{_yaml(found[:1], span)}", end="")


def _print_layout(found: list[Any], span: Span, json: bool) -> None:
    from adapters.modbus.tools.guess import Reading

    readings = [each for each in found if isinstance(each, Reading)]
    if json:
        for each in found:
            print_json(
                _row(each, span)
                if isinstance(each, Reading)
                else {"table": span.table, "address": each[0], "type": "string", "value": each[1]}
            )
        return
    print(_yaml(found, span), end="")
    if readings:
        print("# Scales do not show in the registers: --value with what the machine displays finds them.")


def _yaml(found: list[Any], span: Span) -> str:
    """Signals ready to paste, with what was read beside them."""
    from adapters.modbus.signals import REGISTERS
    from adapters.modbus.tools.guess import Reading
    from gateway.config.yaml_text import signals_text

    signals: dict[str, dict[str, Any]] = {}
    comments = {}
    for each in found:
        if isinstance(each, Reading):
            name = f"{span.table}_{each.address}"
            signal: dict[str, Any] = {span.table: each.address, "type": each.type}
            if REGISTERS[each.type] > 1 or each.order == "BA":
                signal["order"] = each.order
            if each.scale != 1:
                signal["scale"] = each.scale
            if each.value is None:
                signal["invalid"] = int(str(each.raw), 16)
            if each.rising and "int" in each.type:
                signal["kind"] = "counter"
            value = "not available" if each.value is None else f"{each.value:.8g}"
            comments[name] = ", ".join(filter(None, (value, _percent(each.probability), _remark(each))))
        else:
            name, text = f"{span.table}_{each[0]}", each[1]
            signal = {span.table: each[0], "type": "string", "length": 2 * ((len(text) + 1) // 2)}
            comments[name] = f"'{text}'"
        signals[name] = signal
    return "signals:\n" + signals_text(signals, comments=comments) if signals else "signals: {}\n"


def _remark(reading: Reading) -> str:
    signed = f"{reading.type[1:]} if it can be negative" if reading.sign_is_open and reading.value is not None else ""
    return ", ".join(filter(None, ("rises" if reading.rising else "", signed)))


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "< 1 %"


def _row(reading: Reading, span: Span) -> dict[str, Any]:
    from dataclasses import asdict

    return {"table": span.table, **asdict(reading), "probability": round(reading.probability, 6)}


# --- import ----------------------------------------------------------------------------------------------------------


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A register list: CSV or .xlsx.", show_default=False)],
    sheet: Annotated[
        str | None,
        typer.Option(
            help="Excel: name or number of the sheet.  [default: the first with a register list]", show_default=False
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write a profile, for profiles/NAME.yaml.  [default]", show_default=False),
    ] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write a machine instead.", show_default=False)
    ] = None,
    connection: Annotated[
        str | None, typer.Option(metavar="NAME", help="The connection of that machine.", show_default=False)
    ] = None,
    unit: UnitId = None,
    table: Annotated[
        str | None,
        typer.Option(help="Where the list does not say: holding, input, coil or discrete.", show_default=False),
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Where the list does not say: uint16, float32 …", show_default=False)
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Where the list does not say: ABCD, CDAB …", show_default=False)
    ] = None,
    numbering: Annotated[
        str, typer.Option(help="What addresses mean: wire (the first is 0), one-based, 40001, or auto.")
    ] = "auto",
    output: OutputOption = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make YAML of a manufacturer's register list. Every mistake in it is told at its line, and nothing written then."""
    from adapters.modbus.signals import TABLES
    from adapters.modbus.tools.register_list import NUMBERINGS, Options, parse_order, register_list
    from adapters.modbus.tools.table_file import read_tables
    from gateway.errors import UsageError

    options = Options(
        None if table is None else _one_of(TABLES, table, "--table"),
        type_,
        order,
        _one_of(NUMBERINGS, numbering, "--numbering"),
    )
    if order is not None and parse_order(order) is None:
        raise UsageError(f"--order {order}: for example ABCD or CDAB")
    if (machine is None) != (connection is None) or (machine and profile):
        raise UsageError("a machine needs both --machine and --connection; a profile --profile alone")
    for given in (profile, machine, connection):
        if given is not None and not _is_name(given):
            raise UsageError(f"'{given}' cannot be a name: letters, digits, '_', '-' and '.'")
    check_output(output, force)
    found = register_list(read_tables(file, sheet), options)
    text = (
        _profile_text(found, profile) if machine is None else _machine_text(found, machine, connection or "", unit or 1)
    )
    for note in found.notes:
        print(f"{found.source}: {note}", file=sys.stderr)
    tell_yaml(text, output, json, signals=len(found.signals))


def _is_name(text: str) -> bool:
    import re

    return re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", text) is not None


def _profile_text(found: RegisterList, name: str | None) -> str:
    from gateway.config.yaml_text import section, signals_text

    head = {"description": name or found.source, "protocol": "modbus", "source": found.source}
    if found.order:
        head["order"] = found.order
    return section(head) + "signals:\n" + signals_text(found.signals)


def _machine_text(found: RegisterList, machine: str, connection: str, unit: int) -> str:
    from gateway.config.yaml_text import comment, scalar, section, signals_text

    head: dict[str, Any] = {"connection": connection, "unit_id": unit}
    if found.order:
        head["order"] = found.order
    text = comment([f"made from {found.source}"]) + f"machines:\n  {scalar(machine)}:\n{section(head, 4)}"
    return text + "    signals:\n" + signals_text(found.signals, 6)


# --- what they share -------------------------------------------------------------------------------------------------


class _Where:
    """What a TARGET means."""

    def __init__(self, target: str, config: Path | None, timeout: str | None, pause: str | None) -> None:
        from adapters.modbus.tools.target import connection_of, is_address
        from adapters.modbus.trouble import is_serial

        self._target, self._unit = target, 1
        self._timeout = seconds_of(timeout, "--timeout") if timeout else None
        self.folder, self.known = Path(), not is_address(target)
        self._found = self._configured(config) if self.known else connection_of(target)
        self.serial = is_serial(self._found)
        self.name = target if self.known else "line" if self.serial else "device"
        rest = 0.05 if self.serial else 0.02
        quirk = self._found.quirks.pause_between_requests or 0.0
        self.pause = seconds_of(pause, "--pause") if pause else max(rest, quirk)

    def _configured(self, config: Path | None) -> ModbusConnection:
        """The connection, or that of the machine, with this name. Raises UsageError, ConfigErrors."""
        from adapters.modbus.connections import ModbusConnection
        from gateway.config.explain import did_you_mean
        from gateway.errors import UsageError

        configuration = load_config(config)
        name = self._target
        if machine := configuration.machines.get(name):
            self._unit = getattr(machine, "unit_id", 1)
            name = self._target = machine.connection
        found = configuration.connections.get(name)
        if found is None:
            names = [*configuration.connections, *configuration.machines]
            raise UsageError(
                f"there is no connection or machine '{name}'; {did_you_mean(name, names)} An address: tcp://{name}"
            )
        if not isinstance(found, ModbusConnection):
            raise UsageError(f"{name} speaks {found.protocol}, not Modbus")
        self.folder = configuration.folder
        return found

    def connection(self, **line: Any) -> ModbusConnection:
        """The connection, with other settings of its line where they are given."""
        from adapters.modbus.tools.target import connection_of

        if not self.known:
            return connection_of(self._target, timeout=_text(self._timeout or (0.3 if self.serial else 1.0)), **line)
        changed = {key: value for key, value in line.items() if key in type(self._found).model_fields}
        if self._timeout:
            changed["timeout"] = self._timeout
        return self._found.model_copy(update=changed)

    def unit(self, given: int | None) -> int:
        """The unit id."""
        return self._unit if given is None else given


def _line(serial: bool, baud: str | None, parity: str | None, stop_bits: str | None) -> dict[str, Any]:
    """The settings of a serial line, one of each."""
    from gateway.errors import UsageError

    given = {"baud": baud, "parity": parity, "stop_bits": stop_bits}
    written = {key: value for key, value in given.items() if value is not None}
    if written and len(lines := _lines(serial, baud, parity, stop_bits)) == 1:
        return {key: lines[0][key] for key in written}
    if any("," in value for value in written.values()):
        raise UsageError("one setting of --baud, --parity and --stop-bits; `gateway modbus scan` tries several")
    return {key: _lines(serial, baud, parity, stop_bits)[0][key] for key in written}


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def _one_of(known: Sequence[T], given: str, option: str) -> T:
    from gateway.errors import UsageError

    for each in known:
        if each == given:
            return each
    raise UsageError(f"{option} {given}: one of {', '.join(known)}")


def _span_of(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _pace(progress: Progress, pause: float) -> Pace:
    from adapters.modbus.tools.reading import Pace

    return Pace(pause, progress.step)


@asynccontextmanager
async def _opened(connection: ModbusConnection, folder: Path) -> AsyncIterator[Link]:
    """A link that is closed at the end. Raises NotConnectedError."""
    from adapters.modbus.links import link_of

    link = link_of(connection, folder)
    try:
        await link.open()
        yield link
    finally:
        link.close()
