"""A machine that was recorded, as a server: what it said, when it said it, and what went wrong.

recording, .jsonl, .pcap, register image ─▶ Head and entries ─▶ simulators/<protocol> serve_recording ─▶ a server each
series of values ─▶ a scenario of a machine of the configuration ─▶ simulate
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import adapters
from gateway import config
from gateway.clock import Clock, SystemClock
from gateway.config import Configuration, ConnectionSettings, load
from gateway.config.explain import did_you_mean
from gateway.errors import ConfigErrors, RecordingError, UsageError
from gateway.recording import Head
from simulators.behaviour.scenario import read_scenario
from simulators.behaviour.series import read_table
from simulators.ledger import Ledger
from simulators.machine import NotSimulatedError, Replaying, Server, TlsFiles
from simulators.plant import Plant, asked_for, family_of, flushed, simulate
from simulators.replay_sources import recorded_in

_NOTHING: Sequence[str] = ()
_MOST_MACHINES = 250  # of one source


@dataclass(slots=True)
class Replay(Plant):
    """A plant that says once more what it said."""

    configuration: Configuration | None = None  # what its machines are, where that is known
    recordings: dict[str, Recorded] = field(default_factory=dict)  # by connection

    def redirect(self, configuration: Configuration) -> Configuration:
        """The same configuration, with each connection leading to this plant; over TCP now, if it is reached like that."""
        connections = dict(configuration.connections)
        for name, server in self.servers.items():
            if name in connections:
                connections[name] = _redirected(connections[name], server.address)
        return replace(configuration, connections=connections)


class Recorded(NamedTuple):
    """What is to be known of a recording."""

    head: Head
    damage: Sequence[str]  # what of it could not be read
    machines: Sequence[str]  # of the configuration
    about: str = ""  # what is in it
    length: float = 0.0  # seconds
    empty: str = ""  # why there is nothing to play back


@asynccontextmanager
async def replay(
    source: Path,
    *,
    configuration: Configuration | None = None,
    machine: str | None = None,
    listen: tuple[str, int] | None = None,
    port_base: int | None = None,
    protocol: str | None = None,
    speed: float = 1.0,
    loop: bool = False,
    start: float = 0.0,
    end: float | None = None,
    ideal: bool = False,
    stamps: Literal["moved", "recorded"] = "moved",
    ledger: Ledger | None = None,
    clock: Clock | None = None,
    tls: TlsFiles | None = None,
    keep: Path | None = None,
    check: Callable[[Configuration | None, Sequence[str]], object] | None = None,
) -> AsyncIterator[Replay]:
    """Start a server for each recorded machine, and stop them at the end. The ledger stays open.

    `source`: a recording, a packet capture, JSON lines, registers or a series of values as CSV (see README.md). `configuration`:
    what its machines are; else the recording's own. `machine`: which of them it is. `listen`: on TCP at this host and port, and
    those behind it. `port_base` and `clock`: as in `simulate`. `protocol`: how it is spoken, instead of as it was. `start`: seconds
    into the recording. `end`: the same; what lies behind it is not played, and what lies before `start` is not kept in memory.
    `ideal`: without delays, and without what went wrong. `stamps`: of a machine that stamps its values itself,
    moved so that it runs now, or as they were. `keep`: where what should be the same at the next start is kept, such as a
    certificate. `check`: is told the configuration and the names of the servers, before there is one. Raises RecordingError, ConfigErrors, UsageError;
    GatewayError for a port that cannot be had.
    """
    if not 0 < speed < float("inf"):
        raise UsageError(f"a speed of {speed:g} is none")
    clock, ledger = clock or SystemClock(), ledger or Ledger()
    sources = recorded_in(source, partial(_unit, configuration, machine))
    if sources is None:
        if end is not None:
            raise UsageError(f"{source} is a series of values: it has no part that ends before it; cut the file")
        text, notes = _scenario_of_series(source, configuration, machine, loop)
        if check is not None and configuration is not None and machine is not None:
            check(configuration, [configuration.machines[machine].connection])
        async with _simulated(
            text, configuration, machine, listen, port_base, speed, start, ledger, clock, tls
        ) as plant:
            plant.notes = {**plant.notes, **notes}
            yield plant
        return
    if len(sources) > _MOST_MACHINES:
        what = f"{source} has {len(sources)} machines, and each would need a port"
        raise RecordingError(f"{what}; `gateway record --from-pcap` takes one of them out")
    if keep is None and configuration is not None:
        keep = configuration.resolve(configuration.settings.gateway.data_dir) / "simulator"
    plant = Replay(clock.now(), ledger, {}, configuration=configuration)
    how = Replaying(
        name="",
        head=Head(0, ""),
        entries=(),
        ledger=ledger,
        clock=clock,
        start=plant.start,
        host=listen[0] if listen else "127.0.0.1",
        protocol=protocol,
        speed=speed,
        loop=loop,
        begin=start,
        end=end,
        ideal=ideal,
        tls=tls,
        # That of a recording's own configuration is one of the computer on which it was recorded.
        keep=keep,
        left_out=plant.left_out,
        stamps=stamps,
    )
    wanted: list[Replaying] = []
    for number, each in enumerate(sources):
        _check_protocol(each.head, source)
        port = _counted(listen[1] if listen else port_base, number)
        replaying = _meant(
            replace(how, entries=each, head=each.head, port=port),
            plant,
            machine,
            source.stem,
            len(sources),
            [one.name for one in wanted],
        )
        if listen and protocol is None and each.head.protocol.startswith("modbus"):
            replaying = replace(replaying, protocol="modbus-tcp")
        wanted.append(replaying)
    if check is not None:
        check(plant.configuration, [each.name for each in wanted])
    async with AsyncExitStack() as stack:
        for each, replaying in zip(sources, wanted, strict=True):
            try:
                server = await _serve(replaying)
            except NotSimulatedError as exc:
                plant.left_out[replaying.name] = str(exc)
                continue
            except RecordingError as exc:
                raise RecordingError(f"{source}: {exc}") from exc
            stack.push_async_callback(server.stop)
            plant.servers[replaying.name] = server
            about, length = getattr(server, "about", ""), getattr(server, "length", 0.0)
            plant.recordings[replaying.name] = Recorded(
                each.head, tuple(each.damage), replaying.machines, about, length, getattr(server, "empty", "")
            )
        async with flushed(ledger):
            yield plant


def _check_protocol(head: Head, source: Path) -> None:
    """A protocol names a module that is imported: only those that are known. Raises RecordingError."""
    if head.protocol not in _protocols():
        known = ", ".join(_protocols())
        raise RecordingError(
            f"{source} is a recording of '{head.protocol[:50]}', which is not known; known are {known}"
        )


def _meant(
    replaying: Replaying, plant: Replay, machine: str | None, stem: str, count: int, taken: Sequence[str]
) -> Replaying:
    """With its name, and what is known of its machines. Raises UsageError."""
    known = plant.configuration or _configuration_of(replaying.head, plant.left_out)
    plant.configuration = known
    if known is None and machine is not None:
        raise UsageError(f"machine '{machine}' is one of a configuration: name that too")
    name, machines = _place(replaying.head, known, machine, stem, count == 1)
    spoken, family = replaying.head.protocol, replaying.head.protocol.partition("-")[0]
    if known is not None and machines and known.connections[name].protocol.partition("-")[0] != family:
        what = f"'{name}' speaks {known.connections[name].protocol}, and this is a recording of {spoken}"
        raise UsageError(f"{', '.join(machines)} cannot be what was recorded: {what}")
    if name in taken:
        name = f"{name}-{len(taken)}"
    return replace(replaying, name=name, configuration=known, machines=machines)


def _counted(base: int | None, number: int) -> int | None:
    return None if base is None else base and base + number


async def _serve(replaying: Replaying) -> Server:
    connections = replaying.configuration.connections if replaying.configuration else {}
    port = replaying.port or getattr(connections.get(replaying.name), "port", None)
    with asked_for(replaying.name, replaying.host, port, "choose another with --listen or --port-base"):
        server: Server = await family_of(replaying.head.protocol).serve_recording(replaying)
        return server


# --- whose recording it is ---------------------------------------------------------------------------------------------


@cache
def _protocols() -> Mapping[str, config.Protocol]:
    """The settings of every protocol, as the folders of adapters have them."""
    modules = [importlib.import_module(f"adapters.{each.name}") for each in pkgutil.iter_modules(adapters.__path__)]
    return {protocol.name: protocol for module in modules for protocol in module.PROTOCOLS}


def _configuration_of(head: Head, left_out: dict[str, str]) -> Configuration | None:
    """What was in force when it was recorded; None where that is not known, or cannot be read any more."""
    if not head.configuration:
        return None
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_text(head.configuration, encoding="utf-8")
        try:
            return load(file, _protocols(), env={}, whole_tree=True)
        except ConfigErrors as exc:
            first = exc.errors[0]
            left_out["ledger"] = (
                f"the configuration in the recording cannot be used any more: {first.message} ({first.field})"
            )
            return None


def _place(
    head: Head, configuration: Configuration | None, machine: str | None, name: str, alone: bool
) -> tuple[str, Sequence[str]]:
    """The connection that was recorded, and the machines behind it that are known."""
    name = head.connection or name
    if configuration is None:
        return name, _NOTHING
    if machine is not None:
        return configuration.machines[_known(configuration, machine)].connection, [machine]
    if name not in configuration.connections:
        name = next((each for each, known in configuration.connections.items() if _endpoint(known) == name), name)
    if name in configuration.connections:
        return name, [each for each in configuration.machines_of(name) if not head.machines or each in head.machines]
    if alone and len(configuration.connections) == 1:
        (name,) = configuration.connections
        return name, list(configuration.machines_of(name))
    return name, _NOTHING


def _endpoint(connection: ConnectionSettings) -> str:
    """As a packet capture names it."""
    return f"{getattr(connection, 'host', '')}:{getattr(connection, 'port', '')}"


def _known(configuration: Configuration, machine: str) -> str:
    if machine not in configuration.machines:
        raise UsageError(f"there is no machine '{machine}'; {did_you_mean(machine, configuration.machines)}")
    return machine


def _unit(configuration: Configuration | None, machine: str | None) -> int:
    """Of the machine, where it has one."""
    if configuration is None:
        return 1
    names = [_known(configuration, machine)] if machine else list(configuration.machines)
    return int(getattr(configuration.machines[names[0]], "unit_id", 1)) if len(names) == 1 else 1


def _redirected(connection: ConnectionSettings, address: Mapping[str, object]) -> ConnectionSettings:
    """A connection that leads to this server instead; of another protocol, if that is how it is reached now."""
    protocol = str(address.get("protocol", connection.protocol))
    if protocol == connection.protocol:
        known = type(connection).model_fields
        return connection.model_copy(update={key: value for key, value in address.items() if key in known})
    model = _protocols()[protocol].connection
    made = model.model_validate({key: value for key, value in address.items() if key in model.model_fields})
    # What both have, but for what belongs to the link.
    same = (connection.model_fields_set & set(model.model_fields)) - made.model_fields_set - {"quirks"}
    return made.model_copy(update={key: getattr(connection, key) for key in same})


def as_protocol(settings: Mapping[str, object], address: Mapping[str, object]) -> dict[str, object]:
    """The settings of a connection, as far as those of the protocol in `address` have them, and that address."""
    protocol = str(address.get("protocol", settings["protocol"]))
    known = _protocols()[protocol].connection.model_fields
    kept = {key: value for key, value in settings.items() if key in known}
    if protocol != settings["protocol"]:
        kept.pop("quirks", None)  # they are those of another link
    leading = {key: value for key, value in address.items() if key in known and key != "quirks"}
    if "quirks" in address and isinstance(quirks := kept.get("quirks"), dict):
        kept["quirks"] = quirks | {"local_echo": False}
    return {key: value for key, value in (kept | {"protocol": protocol} | leading).items() if value is not None}


# --- series of values --------------------------------------------------------------------------------------------------


def _scenario_of_series(
    path: Path, configuration: Configuration | None, machine: str | None, loop: bool
) -> tuple[str, dict[str, str]]:
    """As JSON, which is YAML; and what is to be told of it. Raises UsageError, ConfigError."""
    if configuration is None or machine is None:
        raise UsageError(f"{path} is a series of values: say whose, with -c CONFIG and --machine NAME")
    signals = configuration.machines[_known(configuration, machine)].signals
    header = read_table(path).header
    waves = {
        name: {"wave": "series", "file": str(path.resolve()), "column": name, "repeat": loop}
        for name in signals
        if name in header
    }
    if not waves:
        names = ", ".join(signals)
        raise RecordingError(f"{path}:1: no column is named like a signal of {machine}; it has {names}")
    others = ", ".join(name for name in signals if name not in waves)
    notes = {str(path): f"has no column for {others} of {machine}: they get likely values"} if others else {}
    return json.dumps({"machines": {machine: {"signals": waves}}}), notes


@asynccontextmanager
async def _simulated(
    scenario: str,
    configuration: Configuration | None,
    machine: str | None,
    listen: tuple[str, int] | None,
    port_base: int | None,
    speed: float,
    start: float,
    ledger: Ledger,
    clock: Clock,
    tls: TlsFiles | None,
) -> AsyncIterator[Replay]:
    assert configuration is not None
    assert machine is not None
    settings = configuration.machines[machine]
    alone = replace(
        configuration,
        connections={settings.connection: configuration.connections[settings.connection]},
        machines={machine: settings},
    )
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        file = Path(folder) / "series.yaml"
        file.write_text(scenario, encoding="utf-8")
        behaviour = read_scenario(file)
    host, base = listen or ("127.0.0.1", port_base)
    running = simulate(alone, behaviour, ledger, base, host=host, clock=clock, tls=tls, speed=speed, start_at=start)
    async with running as plant:
        yield Replay(
            plant.start, plant.ledger, plant.machines, plant.servers, plant.left_out, plant.happened, plant.notes, alone
        )
