"""gateway replay: a machine that was recorded, as a server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import Force, Json, check_output, print_json, run, seconds_of, write_file
from gateway.cli.desk import load_at_desk
from gateway.cli.simulate import LedgerFile, PortBase
from gateway.errors import RecordingError, UsageError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from simulators.replay import Recorded, Replay

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="Recording, packet capture, JSON lines, or CSV with registers or with a series of values.",
        show_default=False,
    ),
]
Listen = Annotated[
    str | None,
    typer.Option("--listen", metavar="HOST:PORT", help="On TCP there, whatever was recorded.", show_default=False),
]
Speed = Annotated[float, typer.Option("--speed", metavar="N", help="So many times as fast as it was.")]
Loop = Annotated[bool, typer.Option("--loop", help="Begin again at the end; else what it said last stays.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Begin so far into the recording: 2h.", show_default=False),
]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="Only so long from there on: 1h.", show_default=False),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Only up to so far into the recording: 3h.", show_default=False),
]
Ideal = Annotated[bool, typer.Option("--ideal", help="Without delays, and without what went wrong.")]
Stamps = Annotated[
    str,
    typer.Option(
        "--stamps",
        metavar="moved|recorded",
        help="Time stamps of the machine's own (OPC UA): as if it ran now, or as they were.",
    ),
]
SpokenAs = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="P",
        help="How it is spoken, for example modbus-tcp or modbus-rtu; else as it was, with --listen modbus-tcp.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="PATH", show_default=False,
        help="Configuration that has the machine; else that in the recording.",
    ),
]  # fmt: skip
Machine = Annotated[
    str | None,
    typer.Option("--machine", metavar="M", help="Which machine of the configuration it is.", show_default=False),
]
WriteConfig = Annotated[
    Path | None,
    typer.Option(
        "--write-config",
        metavar="FILE",
        help="Write a configuration that reads it, for `gateway run -c`.",
        show_default=False,
    ),
]


def replay(
    source: Source,
    listen: Listen = None,
    port_base: PortBase = None,
    speed: Speed = 1.0,
    loop: Loop = False,
    start: From = None,
    duration: For = None,
    until: Until = None,
    ideal: Ideal = False,
    stamps: Stamps = "moved",
    protocol: SpokenAs = None,
    config: Config = None,
    machine: Machine = None,
    ledger: LedgerFile = None,
    written: WriteConfig = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Serve a machine that was recorded: its answers at their times, and what went wrong. Ctrl-C ends it.

    With a configuration, or one in the recording, --ledger writes down what the machine's signals were served as.
    """
    from gateway.logs import set_up

    check_output(written, force)
    if listen and port_base is not None:
        raise UsageError("--listen and --port-base are two ways to say the same: one of them")
    if not 0 < speed <= 1e6:
        raise UsageError(f"--speed {speed:g}: more than 0, up to 1000000")
    if stamps not in ("moved", "recorded"):
        raise UsageError(f"--stamps {stamps}: moved or recorded")
    if duration and until:
        raise UsageError("--for and --until are two ways to say the same: one of them")
    begin = seconds_of(start, "--from") if start else 0.0
    end = begin + seconds_of(duration, "--for") if duration else seconds_of(until, "--until") if until else None
    if end is not None and end <= begin:
        raise UsageError(f"--until {until} is not behind --from {start or '0s'}: nothing lies between them")
    set_up("text", quiet=True)
    how: dict[str, Any] = {
        "listen": _host_and_port(listen) if listen else None,
        "port_base": port_base,
        "protocol": _checked(protocol, bool(listen)),
        "speed": speed,
        "loop": loop,
        "start": begin,
        "end": end,
        "ideal": ideal,
        "stamps": stamps,
        "configuration": load_at_desk(None, config, whole_tree=True) if config else None,
        "machine": machine,
        "keep": written.parent / f"{written.stem}-data" / "simulator" if written is not None else None,
    }
    run(_replay(source, ledger, written, how, json))


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text}: host and port, for example 127.0.0.1:5020")
    return host, int(port)


def _checked(protocol: str | None, listening: bool) -> str | None:
    from gateway.config.explain import did_you_mean
    from gateway.runtime.registry import protocols

    if protocol is not None and protocol not in protocols():
        raise UsageError(f"--protocol {protocol}: there is none of that name; {did_you_mean(protocol, protocols())}")
    if protocol == "modbus-rtu" and listening:
        raise UsageError("--protocol modbus-rtu is a serial line: leave out --listen, or take modbus-rtu-over-tcp")
    return protocol


async def _replay(source: Path, ledger: Path | None, written: Path | None, how: dict[str, Any], json: bool) -> None:
    from simulators.ledger import Ledger
    from simulators.replay import replay as machines_of

    with Ledger(ledger) as book:
        check = partial(check_served, machine=how["machine"]) if written is not None else None
        async with machines_of(source, ledger=book, check=check, **how) as plant:
            empty = [each.empty for each in plant.recordings.values()]
            if empty and all(empty):
                raise RecordingError(f"{source}: {empty[0]}")
            for name, server in plant.servers.items():
                recorded = plant.recordings.get(name)
                if json:
                    print_json(_row(plant, name, str(server.place), recorded))
                    continue
                print(
                    f"{name}: {server.place}{f' ({_machines(plant, name)})' if _machines(plant, name) else ''}",
                    flush=True,
                )
                if recorded is not None:
                    print(f"  {_about(recorded)}", flush=True)
                    for each in recorded.damage:
                        print(f"  damaged: {each}", flush=True)
            for what, why in plant.left_out.items():
                if json:
                    print_json({"kind": "left-out", "what": what, "reason": str(why)})
                else:
                    print(f"{what}: left out: {why}", flush=True)
            if not plant.servers:
                raise UsageError(f"{source}: there is nothing to serve")
            length = max((each.length for each in plant.recordings.values()), default=0.0)
            if plant.recordings and how["end"] is None and not how["loop"] and how["start"] > length:
                raise UsageError(f"--from is beyond the end of the recording, which is {_duration(length)} long")
            for what, note in plant.notes.items():
                if json:
                    print_json({"kind": "note", "what": what, "text": str(note)})
                else:
                    print(f"{what}: {note}", flush=True)
            if (
                ledger is not None
                and not any(each.machines for each in plant.recordings.values())
                and not plant.machines
            ):
                print(
                    "the ledger stays empty: name the signals with -c CONFIG --machine NAME",
                    file=sys.stderr,
                    flush=True,
                )
            if written is not None:
                write_file(written, configuration_text(plant, written.stem))
                if json:
                    print_json({"kind": "configuration", "file": str(written)})
                else:
                    print(f"{written}: for `gateway run -c {written}`", flush=True)
            await asyncio.Event().wait()


def _row(plant: Replay, name: str, place: str, recorded: Recorded | None) -> dict[str, Any]:
    """A server for JSON."""
    machines = _machines(plant, name)
    row: dict[str, Any] = {
        "kind": "server", "connection": name, "place": place, "machines": machines.split(", ") if machines else [],
    }  # fmt: skip
    if recorded is not None:
        head, damage = recorded.head, [str(each) for each in recorded.damage]
        row |= {"protocol": head.protocol, "source": head.source, "length_s": recorded.length, "damage": damage}
    return row


def _machines(plant: Replay, name: str) -> str:
    """Those behind a connection, as far as their names are known."""
    if (recorded := plant.recordings.get(name)) is not None:
        return ", ".join(recorded.machines or recorded.head.machines)
    return ", ".join(machine.path.machine for machine in plant.machines.get(name, ()))


def _about(recorded: Recorded) -> str:
    """`modbus-tcp, recorded 2026-03-04 05:06 for 8h 2min by adapter: 28,801 exchanges with unit 1`."""
    head = recorded.head
    when = _when(head.started)
    lasting = f" for {_duration(recorded.length)}" if recorded.length else ""
    about = f": {recorded.about}" if recorded.about else ""
    if head.source == "registers":
        return f"{head.protocol}{about}"
    return f"{head.protocol}, recorded{when}{lasting} by {head.source}{about}"


def _when(started: int) -> str:
    """ns since 1970; nothing where it is not known, or no time: a packet capture may say anything."""
    try:
        return f" {datetime.fromtimestamp(started / 1e9, UTC).astimezone():%Y-%m-%d %H:%M}" if started else ""
    except (OverflowError, ValueError, OSError):
        return ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def check_served(configuration: Configuration | None, names: Sequence[str], machine: str | None = None) -> list[str]:
    """Those of the servers that a configuration can lead to. Raises UsageError where there are none."""
    if configuration is None:
        raise UsageError("--write-config: the recording has no configuration; name one with -c CONFIG --machine NAME")
    served = [name for name in names if name in configuration.connections]
    if not served and machine is None:
        raise UsageError(
            "--write-config: no connection of the configuration is replayed; name the machine with --machine"
        )
    return served


def configuration_text(plant: Replay, name_of_file: str) -> str:
    """YAML of what was recorded, with the connections leading to the replay, that can be run. Raises UsageError.

    Gateway, data and topics have names of their own: nothing of a replay gets among the readings of the real machine.
    """
    from gateway.config.shown import text_of_machines
    from gateway.config.yaml_file import parse_yaml, write_yaml
    from gateway.runtime.registry import protocols
    from simulators.replay import as_protocol

    configuration, served = plant.configuration, check_served(plant.configuration, list(plant.servers))
    assert configuration is not None
    data: dict[str, Any] = {}
    for name in served:
        text = text_of_machines(configuration, name, list(configuration.machines_of(name)), protocols())
        part: dict[str, Any] = parse_yaml(text.encode(), name, env={}).plain()
        for section in ("connections", "machines"):
            part[section] = data.get(section, {}) | part[section]
        data = part
    for name in served:
        settings = as_protocol(data["connections"][name], plant.servers[name].address)
        data["connections"][name] = {key: str(v) if isinstance(v, Path) else v for key, v in settings.items()}
    data["gateway"] = {"id": "replay", "data_dir": f"{name_of_file}-data"}
    data["mqtt"] = {"root": "replay"}
    return write_yaml(data)
