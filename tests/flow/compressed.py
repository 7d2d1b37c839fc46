"""A gateway in compressed time: days of a plant in seconds, with everything in its place but the clock.

    waves of the test ─▶ simulated Modbus machines ─ loopback ─▶ Modbus adapter ─▶ plans ─▶ Deriving ─▶ buffer
          ▲                        ▲                                 ▲               ▲                    │
          └──────── HandClock ─────┴─────────────────────────────────┴───────────────┘      publisher, LocalBroker
                    moved by the test                                                                     │
                                                                     historian file ◀── StoreWriter ──────┘

The event loop runs in real time: the wire, its timeouts and the disk are what they are. Stamps, ticks, ages and intervals come
from the gateway's `Clock`, which the test moves. Nothing of the gateway is replaced: `Edge.run` runs, each adapter stands behind
a `Gate`, which lets it read once for each step, and what `Edge` does twice a second is done at each step, before the machines
are read (so it never knows what comes in the same moment) and after. Between two steps no time passes for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

import simulators.modbus
from gateway.adapter import Adapter, Command, Tap, WriteResult
from gateway.clock import SystemClock
from gateway.config import Configuration, load
from gateway.counters import FlowCounters
from gateway.model import Batch, Gap, Header, Value
from gateway.mqtt.local import LocalBroker
from gateway.mqtt.topics import Topics
from gateway.runtime.edge import edge as edge_module
from gateway.runtime.edge.edge import Edge
from gateway.runtime.registry import protocols
from gateway.store.open import historian_path, open_store
from gateway.store.reader import HistorianReader
from gateway.store.writer import StoreWriter
from simulators.behaviour.scenario import Scenario, make_machines
from simulators.behaviour.waves import Wave
from simulators.ledger import Ledger
from simulators.machine import Context, Server
from simulators.plant import Plant

NEVER = 1e6  # seconds of real time: what Edge does by itself twice a second is done by hand here
PATIENCE = 60.0  # seconds of real time, for an answer and for what is on its way into the store
ALIVE_NS = 8 * 10**9  # the gateway is seen to run at least so often
BEAT_NS = 10_000_000


class HandClock:
    """The clocks of a box, moved by hand: a `gateway.clock.Clock` that shows the wall as it is."""

    def __init__(self, now_ns: int) -> None:
        self._wall, self._running = now_ns, 1000 * 10**9

    def now(self) -> int:
        return self._wall

    def running(self) -> int:
        """ns since boot."""
        return self._running

    def monotonic(self) -> float:
        return self._running / 1e9

    def trusted(self) -> bool:
        return True

    def move_to(self, now_ns: int, passed_ns: int | None = None) -> None:
        """The wall shows this; `passed_ns`: what has gone by, where somebody has set the wall meanwhile."""
        self._running += now_ns - self._wall if passed_ns is None else passed_ns
        self._wall = now_ns

    def believed(self) -> SystemClock:
        """What the gateway of a box with these clocks goes by."""
        return SystemClock(self.now, self.running, lambda: True, monotonic=self.monotonic)


class Gate:
    """An adapter that reads once each time the gate is opened."""

    adapter: Adapter

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.waits = asyncio.Event()  # all that was read is handed on

    @property
    def headers(self) -> Sequence[Header]:
        return self.adapter.headers

    async def connect(self) -> None:
        await self.adapter.connect()

    async def read(self) -> Sequence[Batch | Gap]:
        self.waits.set()
        await self._open.wait()
        self._open.clear()
        return await self.adapter.read()

    async def write(self, command: Command) -> WriteResult:
        return await self.adapter.write(command)

    async def close(self) -> Sequence[Batch | Gap] | None:
        return await self.adapter.close()

    def open(self) -> None:
        """Let it read."""
        self._open.set()

    async def once(self) -> None:
        """Let it read, and wait until that is handed on."""
        self.waits.clear()
        self.open()
        async with asyncio.timeout(PATIENCE):
            await self.waits.wait()


@dataclass(slots=True)
class Compressed:
    """A gateway that runs, and its clock."""

    configuration: Configuration
    hand: HandClock
    edge: Edge
    counters: FlowCounters
    ledger: Ledger
    gates: Mapping[str, Gate]  # by connection
    servers: Mapping[str, Server]  # by connection

    async def step(self, now_ns: int, *connections: str, passed_ns: int | None = None) -> None:
        """It is `now_ns`. These connections are read, by default all; something of each of them has to be due."""
        self._pass_to(now_ns, passed_ns)
        self.watch()
        for name in connections or self.gates:
            await self.gates[name].once()
        self.watch()

    def silence(self, now_ns: int) -> None:
        """It is `now_ns`, and nothing was read."""
        self._pass_to(now_ns)
        self.watch()

    def _pass_to(self, now_ns: int, passed_ns: int | None = None) -> None:
        """The gateway runs until then: a time in which it did not would be one that nobody saw."""
        left = now_ns - self.hand.now() if passed_ns is None else passed_ns
        while self.edge.deriving.used and left > ALIVE_NS:
            self.hand.move_to(self.hand.now() + ALIVE_NS)
            self.edge.deriving.alive()
            left -= ALIVE_NS
        self.hand.move_to(now_ns, left)

    def pause(self, now_ns: int) -> None:
        """The gateway stands still until then, and is looked after again."""
        self.hand.move_to(now_ns)
        self.watch()

    def watch(self) -> None:
        """What Edge does twice a second for the machines."""
        for poller in self.edge.pollers:
            poller.watch()
        self.edge.deriving.tick()

    async def stored(self) -> HistorianReader:
        """The store, once it has everything, what swinging doors hold back included."""
        for poller in self.edge.pollers:
            for plan in poller.plans.values():
                if (held := plan.flush()) is not None:
                    self.edge.accept(held)
        self.edge.deriving.flush()
        async with asyncio.timeout(PATIENCE):
            while self.edge.publisher.busy:
                await _pass(self.hand)
                self.edge.publisher.tick()
        settings = self.configuration.settings
        assert settings.store is not None
        return HistorianReader(historian_path(settings.store, self.configuration.resolve(settings.gateway.data_dir)))


def configured(folder: Path, text: str) -> Configuration:
    """A configuration in a folder, with a historian."""
    path = folder / "gateway.yaml"
    path.write_text(text + "gateway: {id: edge-01, data_dir: data}\nstore: {kind: historian}\n")
    return load(path, protocols())


def held(registers: Mapping[str, Value]) -> dict[str, Wave]:
    """Waves that show what the test has written down of each signal by then."""
    return {name: partial(_shown, registers, name) for name in registers}


def _shown(registers: Mapping[str, Value], name: str, _: float) -> Value:
    return registers[name]


def completed(reader: HistorianReader, machine: str, kind: str, names: Sequence[str]) -> dict[int, dict[str, Value]]:
    """The figures of each interval that is over, as they stand in the end: by the time of its end, in ns."""
    complete = reader.query(machine, f"{kind}.complete", 0, 2**62)
    columns = {name: reader.query(machine, f"{kind}.{name}", 0, 2**62) for name in names}
    by_time = {name: dict(zip(column.time, column.value, strict=True)) for name, column in columns.items()}
    ends = [t for t, over in zip(complete.time, complete.value, strict=True) if over]
    return {end: {name: values.get(end) for name, values in by_time.items()} for end in ends}


@asynccontextmanager
async def compressed(
    configuration: Configuration,
    start_ns: int,
    waves: Mapping[str, Mapping[str, Wave]] | None = None,
    scenario: Scenario | None = None,
    *,
    believed: bool = False,
    tap: Callable[[HandClock], Tap] | None = None,
    plant: Callable[[HandClock], AbstractAsyncContextManager[Plant]] | None = None,
) -> AsyncIterator[Compressed]:
    """Machines, gateway and store. `waves`: by machine and signal, in seconds since `start_ns`, instead of the scenario's.

    `believed`: the gateway goes by a SystemClock over the clocks that are moved by hand. `tap`: is told what passes on every
    connection. `plant`: the machines, instead of simulated ones.
    """
    hand, counters, ledger, broker = HandClock(start_ns), FlowCounters(), Ledger.memory(), LocalBroker()
    clock = hand.believed() if believed else hand
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(edge_module, "TICK", NEVER)
        connections = dict(configuration.connections)
        servers: dict[str, Server] = {}
        if plant is not None:
            running = await stack.enter_async_context(plant(hand))
            servers.update(running.servers)
            connections.update(running.redirect(configuration).connections)
        for name, machines in (make_machines(configuration, scenario) if plant is None else {}).items():
            made = [replace(m, waves={**m.waves, **(waves or {}).get(m.path.machine, {})}) for m in machines]
            context = Context(name, connections[name], made, ledger, hand, start_ns, port=0)
            server = await simulators.modbus.serve(context)
            stack.push_async_callback(server.stop)
            servers[name] = server
            known = type(connections[name]).model_fields
            leading = {key: value for key, value in server.address.items() if key in known}
            connections[name] = connections[name].model_copy(update=leading)
        configuration = replace(configuration, connections=connections)
        settings = configuration.settings
        assert settings.store is not None
        store = open_store(settings.store, configuration.resolve(settings.gateway.data_dir), clock)
        stack.callback(store.close)
        writer = StoreWriter(broker.link(), Topics(settings.mqtt.root), store, "here", clock=clock)
        await writer.start()
        stack.push_async_callback(writer.stop)
        edge = Edge(configuration, broker.link(), clock, counters, lambda: writer.status.reason)
        gates = {poller.name: Gate() for poller in edge.pollers}
        for poller in edge.pollers:
            build = poller.build if tap is None else _tapped(poller.build, tap(hand))
            poller.build = partial(_behind, gates[poller.name], build)
        task = asyncio.create_task(edge.run(), name="edge")
        stack.push_async_callback(_end, task, hand)
        async with asyncio.timeout(PATIENCE):
            for gate in gates.values():
                await gate.waits.wait()
        yield Compressed(configuration, hand, edge, counters, ledger, gates, servers)


def _behind(gate: Gate, build: Callable[[], Adapter]) -> Gate:
    gate.adapter = build()
    return gate


def _tapped(build: Callable[[], Adapter], tap: Tap) -> Callable[[], Adapter]:
    assert isinstance(build, partial)
    return partial(build.func, replace(build.args[0], tap=tap))


async def _end(task: asyncio.Task[None], hand: HandClock) -> None:
    task.cancel()
    while not task.done():
        await _pass(hand)
    await asyncio.gather(task, return_exceptions=True)


async def _pass(hand: HandClock) -> None:
    """Time as everybody knows it: what is on its way waits for it at times."""
    hand.move_to(hand.now() + BEAT_NS)
    await asyncio.sleep(BEAT_NS / 1e9)
