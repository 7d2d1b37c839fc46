"""gateway record: what a machine says on the wire, into a file that `gateway replay` makes a machine of."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gateway.cli.common import (
    ConfigOption,
    Force,
    UnknownNameError,
    check_output,
    context_of,
    load_config,
    run,
    seconds_of,
    size_text,
)
from gateway.errors import RecordingError, UsageError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.recording import Head, Recorder

FLUSH_INTERVAL = 1.0  # seconds of a recording that are lost with its process
SYNC_INTERVAL = 5.0  # seconds that are lost with the power, at the most
QUIET_INTERVAL = 60.0  # between two lines of progress where there is no terminal

MachineName = Annotated[
    str | None,
    typer.Argument(
        metavar="MACHINE",
        help="Its name in the configuration, or that of a connection: all machines behind it.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The recording.", show_default=False)]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="So long, for example 8h; else until Ctrl-C.", show_default=False),
]
MaxSize = Annotated[str, typer.Option("--max-size", metavar="SIZE", help="It ends when the file is as large as this.")]
MaxRate = Annotated[
    str,
    typer.Option("--max-rate", metavar="SIZE", help="Bytes a second on the wire; what is more is left out, and said."),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="PLACE",
        help="Do not ask the machine: pass on what another master asks who connects here (HOST:PORT, or a serial port).",
        show_default=False,
    ),
]
FromPcap = Annotated[
    Path | None,
    typer.Option("--from-pcap", metavar="FILE", help="From a packet capture of Modbus TCP.", show_default=False),
]
Ports = Annotated[
    list[int] | None,
    typer.Option(
        "--port", metavar="N", help="With --from-pcap: the port of the machine, if not 502.", show_default=False
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST[:PORT]",
        help="With --from-pcap: which machine, if it has several.",
        show_default=False,
    ),
]


class _Chosen(NamedTuple):
    """What is to be recorded."""

    configuration: Configuration
    connection: str
    machines: list[str]


def record(
    machine: MachineName = None,
    output: Output = ...,  # type: ignore[assignment]
    config: ConfigOption = None,
    duration: For = None,
    max_size: MaxSize = "1GiB",
    max_rate: MaxRate = "4MiB",
    listen: Listen = None,
    from_pcap: FromPcap = None,
    ports: Ports = None,
    server: Server = None,
    force: Force = False,
) -> None:
    """Record what a machine says: every request and answer with its time. Play it back with `gateway replay`.

    Nothing is written to the machine. A serial port has one owner: stop the gateway that reads it meanwhile, or record
    between a master and the machine with --listen.
    """
    check_output(output, force)
    seconds = seconds_of(duration, "--for") if duration else None
    bounds = _size(max_size, "--max-size"), _size(max_rate, "--max-rate")
    if from_pcap is not None:
        raise UsageError("not yet")
    if machine is None:
        raise UsageError("which machine? `gateway record MACHINE -o FILE`")
    chosen = _choose(load_config(None, config, whole_tree=True), machine)
    run(_record(chosen, output, seconds, bounds, force))


def _choose(configuration: Configuration, name: str) -> _Chosen:
    """The machine of that name, or all of a connection. Raises UnknownNameError."""
    from gateway.config.explain import did_you_mean

    if (machine := configuration.machines.get(name)) is not None:
        return _Chosen(configuration, machine.connection, [name])
    if name in configuration.connections:
        return _Chosen(configuration, name, list(configuration.machines_of(name)))
    known = [*configuration.machines, *configuration.connections]
    raise UnknownNameError(f"there is no machine or connection '{name}'; {did_you_mean(name, known)}")


def _size(text: str, option: str) -> int:
    from pydantic_core import PydanticCustomError

    from gateway.config.fields import parse_size

    try:
        return parse_size(text)
    except PydanticCustomError as exc:
        hint = (exc.context or {}).get("hint", "")
        raise UsageError(f"{option}: {exc.message()}; {hint}") from exc


def _head(chosen: _Chosen, source: str) -> Head:
    from gateway import __version__
    from gateway.config.shown import text_of_machines
    from gateway.recording import Head
    from gateway.runtime.registry import protocols

    protocol = chosen.configuration.connections[chosen.connection].protocol
    text = text_of_machines(chosen.configuration, chosen.connection, chosen.machines, protocols())
    return Head(time.time_ns(), protocol, chosen.connection, chosen.machines, text, source, __version__)


# --- from the machine ------------------------------------------------------------------------------------------------


async def _record(chosen: _Chosen, output: Path, seconds: float | None, bounds: tuple[int, int], force: bool) -> None:
    from gateway.recording import Recorder

    size, rate = bounds
    with Recorder(output, _head(chosen, "adapter"), replace=force, most_size=size, most_rate=rate) as recorder:
        print(f"{', '.join(chosen.machines)} into {output}; Ctrl-C ends it", file=sys.stderr)
        await _until(seconds, recorder, lambda say: _keep_asking(chosen, recorder, say))


async def _keep_asking(chosen: _Chosen, recorder: Recorder, say: Callable[[str], None]) -> None:
    """Read the machines as the gateway would, and forget what they say: the tap hears it."""
    from gateway.errors import NotConnectedError
    from gateway.runtime.registry import plugins
    from gateway.schedule import Backoff

    plugin = plugins()[chosen.configuration.connections[chosen.connection].protocol]
    adapter = plugin.build(context_of(chosen.configuration, chosen.connection, chosen.machines, recorder.tap()))
    backoff, before = Backoff(), ""
    try:
        while True:
            try:
                await adapter.connect()
                while True:
                    await adapter.read()
                    backoff.reset()
                    before = ""
            except NotConnectedError as exc:
                if str(exc) != before:
                    say(str(exc))
                before = str(exc)
                await asyncio.sleep(backoff.pause())
    finally:
        await adapter.close()


async def _until(
    seconds: float | None, recorder: Recorder, work: Callable[[Callable[[str], None]], Awaitable[None]]
) -> None:
    """Do that for so long, and keep the file up to date, until it is full. Raises RecordingError where it cannot go on."""
    progress = _Progress(recorder)
    working = asyncio.ensure_future(work(progress.say))
    keeping = asyncio.create_task(_keep(recorder, progress), name="record")
    try:
        await asyncio.wait((working, keeping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, keeping):
            if task.done():
                task.result()
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)
        recorder.close()
        progress.end()
    if recorder.trouble:
        raise RecordingError(recorder.trouble)


async def _keep(recorder: Recorder, progress: _Progress) -> None:
    synced = time.monotonic()
    while not recorder.over:
        await asyncio.sleep(FLUSH_INTERVAL)
        recorder.flush()
        if time.monotonic() - synced >= SYNC_INTERVAL:
            await asyncio.to_thread(recorder.sync)
            synced = time.monotonic()
        progress.show()


class _Progress:
    """How far it is: one line that is written again on a terminal, one a minute elsewhere."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._begun, self._shown = recorder, time.monotonic(), time.monotonic()
        self._again = sys.stderr.isatty()

    def show(self) -> None:
        if self._again:
            print(f"\r{self._text()} \x1b[K", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._shown >= QUIET_INTERVAL:
            self._shown = time.monotonic()
            print(self._text(), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Something happened."""
        print(f"\r\x1b[K{text}" if self._again else text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """The last line."""
        self.say(self._text() + (": as large as it may be" if self._recorder.full else ""))

    def _text(self) -> str:
        recorder = self._recorder
        passed = round(time.monotonic() - self._begun)
        text = f"{passed // 3600}:{passed // 60 % 60:02}:{passed % 60:02}"
        text += f" {recorder.sent:,} sent, {recorder.received:,} received, {size_text(recorder.size)}"
        return text + (f", {recorder.left_out:,} left out: too fast" if recorder.left_out else "")
