"""gateway record: what a machine says on the wire, into a file that `gateway replay` makes a machine of."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gateway.cli.common import (
    ConfigOption,
    Force,
    Json,
    UnknownNameError,
    check_output,
    context_of,
    load_config,
    print_json,
    run,
    seconds_of,
    size_text,
)
from gateway.errors import RecordingError, UsageError

if TYPE_CHECKING:
    from gateway.adapter import Tap
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


_Work = Callable[["_Chosen", "Recorder", Callable[[str], None]], Awaitable[None]]


class _Chosen(NamedTuple):
    """What is to be recorded."""

    configuration: Configuration
    connection: str
    machines: list[str]


def record(
    output: Output,
    machine: MachineName = None,
    config: ConfigOption = None,
    duration: For = None,
    max_size: MaxSize = "1GiB",
    max_rate: MaxRate = "4MiB",
    listen: Listen = None,
    from_pcap: FromPcap = None,
    ports: Ports = None,
    server: Server = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Record what a machine says: every request and answer with its time. Play it back with `gateway replay`.

    Nothing is written to the machine. A serial port has one owner: stop the gateway that reads it meanwhile, or record
    between a master and the machine with --listen.
    """
    check_output(output, force)
    seconds = seconds_of(duration, "--for") if duration else None
    bounds = _size(max_size, "--max-size"), _size(max_rate, "--max-rate")
    given = {"--listen": listen, "--for": duration, "--port": ports, "--server": server}
    for option in ("--listen", "--for") if from_pcap is not None else ("--port", "--server"):
        if given[option]:
            with_capture = "are two things: one of them" if from_pcap is not None else "needs --from-pcap"
            raise UsageError(f"{option}{' and --from-pcap' * (from_pcap is not None)} {with_capture}")
    if machine is None and from_pcap is None:
        raise UsageError("which machine? `gateway record MACHINE -o FILE`")
    chosen = _choose(load_config(None, config, whole_tree=True), machine) if machine else None
    if from_pcap is not None:
        if output.exists() and from_pcap.exists() and output.samefile(from_pcap):
            raise UsageError(f"{output} is the capture itself")
        _from_pcap(from_pcap, chosen, ports or [502], server, output, bounds[0], force, json)
    elif chosen is not None:
        work = _keep_asking if listen is None else _between(chosen, listen)
        _record(chosen, work, "adapter" if listen is None else "proxy", output, seconds, bounds, force, json)


def _tell(recorder: Recorder, machines: list[str]) -> None:
    """What is in a recording that was made, for JSON."""
    print_json(
        {
            "file": str(recorder.path), "machines": machines, "sent": recorder.sent, "received": recorder.received,
            "bytes": recorder.size, "left_out": recorder.left_out, "full": recorder.full,
        }
    )  # fmt: skip


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


def _record(
    chosen: _Chosen, work: _Work, source: str, output: Path, seconds: float | None, bounds: tuple[int, int], force: bool,
    json: bool,
) -> None:  # fmt: skip
    """Raises NotConnectedError where the machine said nothing at all."""
    from gateway.errors import NotConnectedError
    from gateway.recording import Recorder

    names = ", ".join(chosen.machines)
    with Recorder(output, _head(chosen, source), replace=force, most_size=bounds[0], most_rate=bounds[1]) as recorder:
        print(f"{names} into {output}; Ctrl-C ends it", file=sys.stderr)
        run(_until(seconds, recorder, lambda say: work(chosen, recorder, say), lasting=source == "proxy"))
    if source == "adapter" and not recorder.received and not recorder.full:
        text = f"{names}: nothing was recorded, as there came nothing; `gateway read` tells more"
        raise NotConnectedError(text, fault="not-connected")
    _check_full(recorder)
    if warning := _too_much(recorder, chosen.configuration.connections[chosen.connection].protocol):
        print(warning, file=sys.stderr)
    if json:
        _tell(recorder, chosen.machines)


def _check_full(recorder: Recorder) -> None:
    """Raises RecordingError where there was no room for anything."""
    if recorder.full and not recorder.received:
        raise RecordingError(
            f"{recorder.path}: nothing is in it, as it may not be larger; give it more with --max-size"
        )


def _too_much(recorder: Recorder, protocol: str) -> str:
    """What is to be known of a recording that cannot be played back at once; empty where it can."""
    from gateway.recording.entry import MOST_REPLAYED

    # Of OPC UA a replay keeps what there is, not what was said.
    if not protocol.startswith("modbus") or recorder.sent <= MOST_REPLAYED:
        return ""
    much = f"{recorder.path}: more than {MOST_REPLAYED:,} exchanges, which is what a replay has room for"
    return f"{much}: play parts of it, with `gateway replay --from 2h --for 1h`"


# --- from the machine ------------------------------------------------------------------------------------------------


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


# --- between a master and the machine --------------------------------------------------------------------------------


def _between(chosen: _Chosen, place: str) -> _Work:
    """Passes on what a master asks who comes there. Raises UsageError where that cannot be."""
    from gateway.recording.proxy import check_place

    settings: Any = chosen.configuration.connections[chosen.connection]
    if settings.protocol not in _IN_THE_OPEN:
        raise UsageError(
            f"--listen: what passes on a connection of {settings.protocol} cannot be read in between; without --listen "
            "the machine is asked"
        )
    if isinstance(settings.port, str):
        if not Path(place).exists():
            raise UsageError(
                f"--listen {place}: there is no such serial port; it is the one that the master is wired to"
            )
        return partial(_keep_joining, place, settings)
    host, _, port = place.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {place}: a host and a port of this computer, for example 0.0.0.0:5020")
    here = host.strip("[]") or "127.0.0.1", int(port)
    check_place(here)  # before a file that is there is replaced
    return partial(_keep_passing_on, here, (settings.host, settings.port))


_IN_THE_OPEN = ("modbus-tcp", "modbus-rtu-over-tcp", "modbus-ascii", "modbus-rtu")


async def _keep_passing_on(
    listen: tuple[str, int], machine: tuple[str, int], _: _Chosen, recorder: Recorder, say: Callable[[str], None]
) -> None:
    from gateway.recording.proxy import proxy

    def tap() -> Tap:
        return _Loud(recorder.tap(), say, f"{machine[0]}:{machine[1]}", troubles)

    troubles: set[str] = set()
    async with proxy(listen, machine, tap) as running:
        say(f"lead the master to {listen[0]}:{running.port}; it is passed on to {machine[0]}:{machine[1]}")
        await asyncio.Event().wait()


class _Loud:
    """A tap that says when the machine cannot be reached, and when it is again, as a master does not know why."""

    def __init__(self, tap: Tap, say: Callable[[str], None], machine: str, troubles: set[str]) -> None:
        """`troubles`: what was said of it since it was reached; of all links together."""
        self.sent, self.received, self.closed = tap.sent, tap.received, tap.closed
        self._tap, self._say, self._machine, self._troubles = tap, say, machine, troubles

    def opened(self) -> None:
        self._tap.opened()
        if self._troubles:
            self._troubles.clear()
            self._say(f"{self._machine}: reached again")

    def failed(self, why: str) -> None:
        self._tap.failed(why)
        if why not in self._troubles:
            self._troubles.add(why)
            self._say(f"a master came, but {self._machine} cannot be reached: {why}")


async def _keep_joining(port: str, settings: Any, _: _Chosen, recorder: Recorder, say: Callable[[str], None]) -> None:
    from gateway.recording.serial_proxy import SerialPort, serial_proxy

    machine = SerialPort(
        settings.port,
        settings.baud,
        settings.parity,
        settings.stop_bits,
        getattr(settings, "data_bits", 8),
        settings.quirks.local_echo,
    )
    async with serial_proxy(replace(machine, path=port, local_echo=False), machine, recorder.tap):
        say(f"the master belongs to {port}; it is passed on to {settings.port}")
        await asyncio.Event().wait()


# --- from a packet capture -------------------------------------------------------------------------------------------


def _from_pcap(
    capture: Path, chosen: _Chosen | None, ports: list[int], server: str | None, output: Path, size: int, force: bool,
    json: bool,
) -> None:  # fmt: skip
    """One machine of it. Raises RecordingError, UsageError."""
    from gateway.recording import Kind, Recorder
    from gateway.recording.modbus_frames import body_of
    from gateway.recording.pcap import read_pcap

    protocol = chosen.configuration.connections[chosen.connection].protocol if chosen else "modbus-tcp"
    found = read_pcap(capture, ports, protocol)
    where = f"{capture}: port {', '.join(map(str, ports))}"
    if not found.machines:
        if found.short:  # what was said may be in what is missing
            raise RecordingError(f"{where}: nobody can be understood there: {found.short}")
        elsewhere = [each for each in found.others if int(each.rpartition(":")[2]) not in ports]
        others = f"; others that answered: {', '.join(elsewhere)}: `--port N` chooses" if elsewhere else ""
        raise UsageError(f"{where}: nobody speaks {protocol} there, in {found.packets:,} packets{others}")
    named = [each for each in found.machines if server in (None, each.server, each.server.rpartition(":")[0])]
    if len(named) != 1:
        raise UsageError(
            f"{where}: choose one with --server: {', '.join(each.server for each in named or found.machines)}"
        )
    (machine,) = named
    head = machine.head
    if chosen is not None:
        told = _head(chosen, "pcap")
        head = replace(head, connection=told.connection, machines=told.machines, configuration=told.configuration)
    with Recorder(output, head, replace=force, most_size=size) as recorder:
        answers = 0  # that are whole
        for entry in machine:
            answers += entry.kind is Kind.RECEIVED and body_of(protocol, entry.data) is not None
            recorder.put_at(entry)
            if recorder.over:
                break
    for each in dict.fromkeys([*found.damage, *machine.damage]):
        print(f"{capture}: {each}", file=sys.stderr)
    if recorder.trouble:
        raise RecordingError(recorder.trouble)
    if found.short and not (recorder.sent and answers):
        raise RecordingError(f"{output}: no exchange in it is whole: {found.short}")
    _check_full(recorder)
    if warning := _too_much(recorder, head.protocol):
        print(warning, file=sys.stderr)
    if json:
        _tell(recorder, list(head.machines))
        return
    full = ": as large as it may be" if recorder.full else ""
    print(f"{machine.server}: {recorder.sent:,} sent, {recorder.received:,} received, {size_text(recorder.size)}{full}")


# --- how far it is ---------------------------------------------------------------------------------------------------


async def _until(
    seconds: float | None,
    recorder: Recorder,
    work: Callable[[Callable[[str], None]], Awaitable[None]],
    lasting: bool,
) -> None:
    """Do that for so long, and keep the file up to date, until it is full; `lasting`: and go on then, as a plant hangs on it.

    Raises RecordingError where the file cannot be written any more.
    """
    progress = _Progress(recorder)
    working = asyncio.ensure_future(work(progress.say))
    keeping = asyncio.create_task(_keep(recorder, progress), name="record")
    end = None if seconds is None else time.monotonic() + seconds
    try:
        await asyncio.wait((working, keeping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if lasting and keeping.done() and not working.done():
            why = recorder.trouble or f"{recorder.path} is as large as it may be"
            progress.say(f"{why}: nothing more is recorded; what passes is passed on, until Ctrl-C")
            await asyncio.wait((working,), timeout=None if end is None else end - time.monotonic())
        for task in (working, keeping):
            if task.done():
                task.result()
    finally:
        for task in (working, keeping):
            task.cancel()
        await asyncio.gather(working, keeping, return_exceptions=True)
        recorder.end()
        recorder.close()
        progress.end()
    if recorder.trouble:
        raise RecordingError(recorder.trouble)


async def _keep(recorder: Recorder, progress: _Progress) -> None:
    synced = time.monotonic()
    while not recorder.over:
        await asyncio.sleep(FLUSH_INTERVAL)
        await asyncio.to_thread(recorder.flush)
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
