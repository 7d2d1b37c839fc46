"""What the commands share: where the configuration is, and how things are printed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from gateway.adapter import Context, Tap
    from gateway.config import Configuration

ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[CONFIG]", help="Configuration, a file or a folder.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="PATH", show_default=False,
        help="Configuration, a file or a folder. Else GATEWAY_CONFIG, ./gateway.yaml, ./config or /etc/gateway.",
    ),
]  # fmt: skip
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write it there, not to the screen.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace that file if it is there.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def one_of(argument: Path | None, option: Path | None) -> Path | None:
    """The configuration that was named, if any was. Raises UsageError where two were."""
    if argument is not None and option is not None:
        raise UsageError(f"{argument} and -c {option} are two configurations: one of them")
    return argument or option


def load_config(argument: Path | None, option: Path | None = None, *, whole_tree: bool = False) -> Configuration:
    """The configuration that is meant, checked. Warnings go to stderr. Raises ConfigErrors."""
    from gateway.config import find_config, load
    from gateway.runtime.registry import protocols

    configuration = load(find_config(one_of(argument, option)), protocols(), whole_tree=whole_tree)
    for warning in configuration.warnings:
        print(warning, file=sys.stderr)
    return configuration


def print_json(row: dict[str, Any]) -> None:
    """One line of `--json`."""
    import orjson

    try:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str)
    except TypeError:  # text of a machine that is no text
        line = orjson.dumps(_well_formed(row), option=orjson.OPT_APPEND_NEWLINE, default=str)
    sys.stdout.buffer.write(line)
    sys.stdout.flush()


def _well_formed(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_well_formed(key): _well_formed(each) for key, each in value.items()}
        case list() | tuple():
            return [_well_formed(each) for each in value]
    return value


def split_signal(configuration: Configuration, name: str) -> tuple[str, str | None]:
    """`press-07/melt_temp` or `press-07` as machine and signal. Raises GatewayError with what was probably meant."""
    from gateway.config.explain import did_you_mean

    machine, _, signal = name.partition("/")
    if machine not in configuration.machines:
        raise UnknownNameError(f"there is no machine '{machine}'; {did_you_mean(machine, configuration.machines)}")
    return machine, signal or None


def context_of(
    configuration: Configuration, connection: str, only: Collection[str] | None = None, tap: Tap | None = None
) -> Context:
    """What an adapter is made from that reads these machines of a connection, by default all; nothing else counts."""
    from gateway.adapter import Context
    from gateway.clock import SystemClock
    from gateway.counters import FlowCounters

    machines = configuration.machines_of(connection)
    return Context(
        name=connection,
        connection=configuration.connections[connection],
        machines={configuration.path_of(m): s for m, s in machines.items() if only is None or m in only},
        clock=SystemClock(),
        counters=FlowCounters(),
        data_dir=configuration.resolve(configuration.settings.gateway.data_dir),
        gateway_id=configuration.settings.gateway.id,
        folder=configuration.folder,
        tap=tap,
    )


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run until it returns, or until SIGINT or SIGTERM; then it is cancelled and may clean up. On uvloop where it is."""
    import asyncio
    import signal

    async def until_stopped() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

        def stop() -> None:
            # Once: a second Ctrl-C must not break the clean end, which takes a few seconds at the most.
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, lambda: None)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:  # uvloop would leave its own behind, and what comes after could not be stopped
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    try:
        import uvloop
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(until_stopped())


def seconds_of(text: str, option: str) -> float:
    """A duration as it is typed after an option. Raises UsageError."""
    from pydantic_core import PydanticCustomError

    from gateway.config.fields import parse_duration

    try:
        return parse_duration(text)
    except PydanticCustomError as exc:
        hint = (exc.context or {}).get("hint", "")
        raise UsageError(f"{option}: {exc.message()}; {hint}") from exc


def moment(text: str, now: int) -> int:
    """`1h` before now, or a date and time of this machine's zone; in ns since 1970. Raises BadParameter."""
    from pydantic_core import PydanticCustomError

    from gateway.config.fields import parse_duration

    try:
        return now - round(parse_duration(text) * 1e9)
    except PydanticCustomError:
        pass
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError as exc:
        raise typer.BadParameter(
            f"'{text}' is neither a duration such as 1h nor a time such as 2026-11-22T06:00"
        ) from exc


def size_text(size: int) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def check_output(file: Path | None, force: bool) -> None:
    """Before the work is done that is to be written there. Raises UsageError."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: name a file in it")
    if file is not None and file.exists() and not force:
        raise UsageError(f"{file} is there already; --force replaces it")
    if file is not None and not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent} to write {file.name} into")


def write_file(file: Path, text: str) -> None:
    """All of it, or nothing."""
    from gateway import files

    files.write_whole(file, text.encode("utf-8"), 0o644)


def tell_yaml(text: str, output: Path | None, json: bool, hint: str = "", **about: Any) -> None:
    """YAML that was made: printed, or written with a word of it; for --json one object, with what it says where it is not written.

    `about`: what of it is counted, such as signals=12. `hint`: what to do with the file.
    """
    if output is not None:
        write_file(output, text)
        counted = ", ".join(f"{count} {what}" for what, count in about.items())
        if json:
            print_json({"file": str(output), **about})
        else:
            print(f"{output}: {counted}{hint}", file=sys.stderr)
    elif json:
        from gateway.config.yaml_file import parse_yaml

        print_json({**about, "yaml": parse_yaml(text.encode(), "-", env={}).plain()})
    else:
        print(text, end="")


class UnknownNameError(GatewayError):
    """A machine or signal that the configuration does not have."""

    exit_code = 2
