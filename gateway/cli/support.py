"""gateway support-bundle: one file for who helps from far away."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, Force, Json, check_output, moment, print_json
from gateway.errors import GatewayError, UsageError


def support_bundle(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.zip", help="Write it there.", show_default=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="From when on: 1d ago, or 2026-11-22T06:00.")] = "1d",
    no_network: Annotated[bool, typer.Option("--no-network", help="Ask nothing outside of this box.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put all that helps to understand this gateway into one zip, without secrets; bounded to 20 MiB."""
    from gateway.doctor.bundle import collect
    from gateway.doctor.case import take

    if config is not None and option is not None:
        raise UsageError(f"{config} and -c {option} are two configurations: one of them")
    if output is not None and output.suffix.lower() != ".zip":
        raise UsageError(f"-o {output}: it is a zip file: {output.with_suffix('.zip').name}")
    start = moment(since, time.time_ns())
    check_output(output, force)
    case = take(config or option, network=not no_network)
    name = case.configuration.settings.gateway.id if case.configuration is not None else "gateway"
    file = output or Path(f"support-{name}-{datetime.now():%Y%m%d-%H%M%S}.zip")
    bundle = collect(case, start)
    _write(file, bundle.zipped())
    if json:
        members = {name: len(data) for name, data in bundle.members.items()}
        print_json({"file": str(file), "bytes": file.stat().st_size, "members": members, "manifest": bundle.manifest()})
        return
    print(bundle.manifest(), end="")
    print(f"\n{file}: {file.stat().st_size:,} bytes. Nobody but you can read it; look through it, then send it.")


def _write(file: Path, data: bytes) -> None:
    """All of it or nothing, for its owner only."""
    from gateway import files

    try:
        files.write_whole(file, data)
    except OSError as exc:
        raise GatewayError(f"{file} cannot be written: {exc.strerror or exc}") from exc
