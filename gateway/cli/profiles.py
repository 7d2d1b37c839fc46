"""gateway profiles list | show | check | new"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import (
    ConfigOption,
    Force,
    Json,
    OutputOption,
    UnknownNameError,
    check_output,
    print_json,
    tell_yaml,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config import CheckedProfile
    from gateway.errors import ConfigError

app = typer.Typer(
    help="Device models that are described already, and how to describe one more. Exit code 3: there are mistakes.",
    no_args_is_help=True,
)

_IDENTITY = ("description", "manufacturer", "model", "kind", "protocol", "version", "source")
_SHOWN = ("description", "signals")  # of the keys of a machine: each in a place of its own


@app.command("list")
def list_(config: ConfigOption = None, json: Json = False) -> None:
    """List the profiles there are: those beside the configuration, and those that come along."""
    from gateway.errors import ConfigErrors

    rows: list[dict[str, Any]] = []
    broken = 0
    for name, file in sorted(_available(config).items()):
        try:
            checked = _checked(file)
        except ConfigErrors as exc:
            broken += 1
            rows.append({"name": name, "file": _shown(file), "error": str(exc.errors[0]).partition("\n")[0]})
            continue
        identity = checked.profile.identity
        rows.append(
            {
                "name": name,
                "protocol": identity.protocol,
                "kind": identity.kind,
                "manufacturer": identity.manufacturer,
                "model": identity.model,
                "signals": len(checked.machine.signals),
                "description": checked.profile.description,
                "file": _shown(file),
            }
        )
    if json:
        for row in rows:
            print_json(row)
        return
    columns = ("name", "protocol", "kind", "manufacturer", "model", "signals")
    _print_table(columns, [[str(row.get(column) or "") for column in columns] for row in rows])
    for row in rows:
        if "error" in row:
            print(row["error"], file=sys.stderr)
    if broken:
        print(f"{broken} of them cannot be used: gateway profiles check", file=sys.stderr)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile, or its file.", show_default=False)],
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Show what a profile is for, what it leaves open, and its signals."""
    checked = _checked(_file_of(name, config))
    profile, identity = checked.profile, checked.profile.identity
    about = {key: text for key in _IDENTITY if (text := getattr(identity, key, None) or _machine_text(checked, key))}
    signals = list(_signals(checked))
    if json:
        parameters = {key: each.model_dump(exclude_none=True) for key, each in identity.parameters.items()}
        row = {"name": profile.name, "file": _shown(profile.file), **about, "extends": profile.extends}
        row |= {"tested_with": identity.tested_with, "serial": identity.serial, "parameters": parameters}
        print_json({**row, "signals": signals})
        return
    from gateway.config.schema import as_written

    about |= {"extends": ", ".join(profile.extends), "tested with": "; ".join(identity.tested_with)}
    about |= {"serial line": as_written(identity.serial)[1:-1], "file": _shown(profile.file)}
    about |= {key: as_written(node.plain()) for key, node in profile.body.value.items() if key not in _SHOWN}
    print(profile.name)
    for key, text in about.items():
        if text:
            print(f"  {key:<13} {text}")
    for key, parameter in identity.parameters.items():
        usual = (
            f"= {parameter.default}" if parameter.default is not None else f"needed, for example {parameter.example}"
        )
        print(f"  $({key}) {usual}" + (f"  {parameter.description}" if parameter.description else ""))
    columns = ["name", "address", "type", "unit", "meaning"]
    columns += ["semantic"] * any(row["semantic"] for row in signals)
    print()
    _print_table(columns, [[row[column] for column in columns] for row in signals])


@app.command()
def check(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Profiles; all there are where none is named.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Say what is wrong with profiles, at file:line:column, without a machine of them."""
    from dataclasses import asdict

    from gateway.errors import ConfigErrors

    chosen = [_file_of(file, config) for file in files] if files else list(_available(config).values())
    errors: dict[tuple[str, int, int, str], ConfigError] = {}
    for file in chosen:
        try:
            checked = _checked(file)
        except ConfigErrors as exc:  # what is wrong in one that several extend is said once
            errors |= {(each.file, each.line, each.column, each.message): each for each in exc.errors}
            continue
        for warning in checked.warnings:
            print(warning, file=sys.stderr)
        counts = {"signals": len(checked.machine.signals), "parameters": len(checked.profile.identity.parameters)}
        if json:
            print_json({"ok": True, "file": _shown(file), **counts, "warnings": list(checked.warnings)})
        else:
            print(f"{_shown(file)}: ok, {counts['signals']} signal{'s' * (counts['signals'] != 1)}")
    if errors and json:
        for error in errors.values():
            print_json(asdict(error))
        raise typer.Exit(ConfigErrors.exit_code)
    if errors:
        raise ConfigErrors(sorted(errors.values(), key=lambda each: (each.file, each.line, each.column)))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called.", show_default=False)],
    table_file: Annotated[
        Path,
        typer.Option("--from-csv", metavar="FILE", help="The manufacturer's list: CSV or .xlsx.", show_default=False),
    ],
    protocol: Annotated[str, typer.Option(help="For whose machines.")] = "modbus",
    description: Annotated[str, typer.Option(help="What the device is, for people.", show_default=False)] = "",
    manufacturer: Annotated[str, typer.Option(help="Who makes it.", show_default=False)] = "",
    model: Annotated[str, typer.Option(help="Its model or series.", show_default=False)] = "",
    kind: Annotated[str, typer.Option(help="energy-meter, drive …", show_default=False)] = "",
    source: Annotated[str, typer.Option(help="Document and page.  [default: the file]", show_default=False)] = "",
    sheet: Annotated[str, typer.Option(help="Excel: name or number of the sheet.", show_default=False)] = "",
    table: Annotated[str, typer.Option(help="Where the list does not say: holding …", show_default=False)] = "",
    type_: Annotated[str, typer.Option("--type", help="Likewise: uint16, float32 …", show_default=False)] = "",
    order: Annotated[str, typer.Option(help="Likewise: ABCD, CDAB …", show_default=False)] = "",
    numbering: Annotated[str, typer.Option(help="Likewise: wire, one-based, 40001.", show_default=False)] = "",
    output: OutputOption = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a profile of a table with columns such as name, address, type, unit, scale."""
    import re

    from gateway.config.fields import NAME_PATTERN
    from gateway.config.yaml_text import section, signals_text
    from gateway.errors import UsageError

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"'{name}' cannot be a name: letters, digits, '_', '-' and '.'")
    if output is not None and output.suffix != ".yaml":
        raise UsageError(f"-o {output}: profiles are found as *.yaml")
    check_output(output, force)
    said = {"table": table, "type": type_, "order": order, "numbering": numbering}
    keys, signals, notes = _reader_of_tables(protocol)(table_file, sheet or None, {k: v for k, v in said.items() if v})
    about = {"description": description or name, "manufacturer": manufacturer, "model": model, "kind": kind}
    about |= {"protocol": protocol, "source": source or table_file.name}
    text = section({key: value for key, value in about.items() if value} | keys) + "signals:\n" + signals_text(signals)
    _check_text(name, text)
    for note in notes:
        print(f"{table_file.name}: {note}", file=sys.stderr)
    hint = "; check one value of each type against the display"
    tell_yaml(text, output, json, hint, signals=len(signals))


# --- what they share -------------------------------------------------------------------------------------------------


def _available(option: Path | None) -> dict[str, Path]:
    """Every profile by its name; without a configuration those in ./profiles. Raises ConfigErrors."""
    import os

    from gateway.config import find_config
    from gateway.config.profiles import Profiles
    from gateway.errors import ConfigErrors
    from gateway.runtime.registry import protocols

    folder = Path()
    try:
        found = find_config(option)
        folder = found if found.is_dir() else found.parent
    except ConfigErrors:
        if option is not None or os.environ.get("GATEWAY_CONFIG"):
            raise
    return Profiles(folder / "profiles", protocols(), os.environ, []).available()


def _file_of(name: str, option: Path | None) -> Path:
    """A profile by its file or its name. Raises UnknownNameError."""
    from gateway.config.explain import did_you_mean

    if "/" in name or Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
        return Path(name)
    available = _available(option)
    if name not in available:
        raise UnknownNameError(f"there is no profile '{name}'; {did_you_mean(name, available)}")
    return available[name]


def _checked(file: Path) -> CheckedProfile:
    from gateway.config import check_profile
    from gateway.runtime.registry import protocols

    return check_profile(file, protocols())


def _shown(file: Path) -> str:
    from gateway.config.yaml_file import display_name

    return display_name(file)


def _machine_text(checked: CheckedProfile, key: str) -> str:
    return checked.profile.description if key == "description" else ""


def _signals(checked: CheckedProfile) -> Iterator[dict[str, str]]:
    """The signals as they are written. An address is what only its protocol has a word for."""
    from gateway.config import SignalSettings
    from gateway.config.schema import as_written

    signals = checked.profile.body.get("signals")
    assert signals is not None
    common = SignalSettings.model_fields.keys() | {"type", "semantic"}
    for name, node in signals.value.items():
        if not isinstance(written := node.plain(), dict):
            continue  # taken out
        texts = written.get("enum")
        states = ", ".join(f"{key} {text}" for key, text in texts.items()) if isinstance(texts, dict) else ""
        meaning = "; ".join(filter(None, (str(written.get("description", "")), states)))
        address = ", ".join(f"{key}: {as_written(value)}" for key, value in written.items() if key not in common)
        row = {key: str(written.get(key, "")) for key in ("type", "unit", "semantic")}
        yield {"name": name, "address": address, **row, "meaning": meaning}


def _reader_of_tables(protocol: str) -> Any:
    """What its adapter makes profiles of tables with. Raises UsageError."""
    from gateway.config.explain import did_you_mean
    from gateway.errors import UsageError
    from gateway.runtime.registry import plugins, protocols

    families = {each.family: plugins()[each.name] for each in protocols().values()}
    if protocol not in families:
        raise UsageError(f"--protocol {protocol}: {did_you_mean(protocol, families)}")
    reader = getattr(families[protocol], "profile_from_table", None)
    if reader is None:
        raise UsageError(f"there are no tables for {protocol}: gateway {protocol} --help")
    return reader


def _check_text(name: str, text: str) -> None:
    """Nothing is written that could not be used. Raises ConfigErrors."""
    import tempfile

    from gateway.errors import ConfigErrors

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{name}.yaml")
        file.write_text(text, encoding="utf-8")
        try:
            _checked(file)
        except ConfigErrors as exc:
            for error in exc.errors:
                error.file = file.name  # which is not there, but its lines are shown
            raise


def _print_table(columns: Sequence[str], rows: list[list[str]]) -> None:
    """In a terminal as wide as that is; elsewhere a signal is one line, however long."""
    if not sys.stdout.isatty():
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(table)
