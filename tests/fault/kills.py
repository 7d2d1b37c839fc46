"""A plant whose gateway, broker and writer are killed at random moments, while its machines go on.

    machines ─▶ gateway ─▶ broker ─▶ writer ─▶ historian        every one of the three in a process of its own
    (stay up)      ✕          ✕         ✕

Nothing is waited for between the kills: a program may be killed while it starts, or while those it needs are away.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fault.judge import SLOW, Absence, Verdict, judge_files
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import Part, wait_until

FORGETFUL = Path(__file__).with_name("forgetful.py")
PROGRAMS = ("broker", "writer", "gateway")
MACHINES = {"press": "50ms", "oven": "100ms"}  # and how often they are read
# Each value is served once only: ramps, with more than a step between two answers.
SIGNALS = {
    "travel": ("type: float64", [0, 1e6], "10000s"),
    "cycles": ("type: uint32", [0, 4e9], "40000s"),
    "strokes": ("type: uint64", [0, 1e12], "100000s"),
    "turns": ("type: int64", [-1e12, 1e12], "100000s"),
    "energy": ("type: int32, order: CDAB", [-2e9, 2e9], "40000s"),
}
EARLY = 1.5  # seconds after a start in which a program may be killed while it starts
LATER = 5.0  # seconds until a kill of one that has been running for a while
PAUSE = 0.3  # seconds until it is started again; at times OUTAGE
OUTAGE = 2.0
PATIENCE = 180.0  # seconds to catch up


def configuration(machines: Mapping[str, str] = MACHINES, copies: int = 1) -> str:
    """Machines behind one port, each with the signals above, several times."""
    lines = ["version: 1", "connections:"]
    lines += [f"  line: {{protocol: modbus-tcp, host: 127.0.0.1, port: {free_port()}, timeout: 20s}}", "machines:"]
    for unit, (name, poll) in enumerate(machines.items(), 1):
        lines += [f"  {name}:", f"    {{connection: line, unit_id: {unit}, poll: {poll}, signals: {{"]
        lines += [
            f"      {signal}: {{holding: {i * 4}, {SIGNALS[signal.partition('_')[0]][0]}}},"
            for i, signal in enumerate(_names(copies))
        ]
        lines += ["    }}"]
    return "\n".join([*lines, ""])


def scenario(machines: Mapping[str, str] = MACHINES, copies: int = 1) -> str:
    """The waves of these."""
    lines = ["machines:"]
    for name in machines:
        lines += [f"  {name}:", "    signals:"]
        for signal in _names(copies):
            _, between, period = SIGNALS[signal.partition("_")[0]]
            lines.append(f"      {signal}: {{wave: ramp, between: {between}, period: {period}}}")
    return "\n".join([*lines, ""])


def _names(copies: int) -> list[str]:
    return [f"{signal}_{i}" for i in range(copies) for signal in SIGNALS]


# --- parts that nobody waits for -------------------------------------------------------------------------------------


class _Broker(Mosquitto):
    def ready(self) -> bool:
        return True


class _Writer(StoreProcess):
    def ready(self) -> bool:
        return True


class _Edge(Gateway):
    forgetful = False
    before: Sequence[str] = ()  # a program that runs it, with its arguments

    def ready(self) -> bool:
        return True

    def command(self) -> list[str]:
        command = super().command()
        return [*self.before, *([sys.executable, str(FORGETFUL), *command[1:]] if self.forgetful else command)]


@dataclass(slots=True)
class Plant:
    """All of it, and what was done to it."""

    machines: Simulated
    broker: _Broker
    writer: _Writer
    gateway: _Edge
    absences: list[Absence] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    early: int = 0  # kills while it was starting
    together: int = 0  # moments in which several were killed
    started: dict[str, float] = field(default_factory=dict)  # monotonic

    @property
    def victims(self) -> dict[str, Part]:
        return {"gateway": self.gateway, "broker": self.broker, "writer": self.writer}

    def start(self, name: str) -> None:
        """Without waiting until it answers."""
        self.victims[name].start()
        self.started[name] = time.monotonic()

    def kill(self, names: Sequence[str]) -> int:
        """All at once. Returns when the first was killed, in ns since 1970."""
        for name in names:
            part = self.victims[name]
            if not part.running:
                raise AssertionError(f"{name} ended by itself:\n{part.log[-3000:]}")
        now, at = time.monotonic(), time.time_ns()
        for name in names:
            process = self.victims[name].process
            assert process is not None
            process.kill()
        for name in names:
            self.victims[name].kill()  # until it is gone
            self.early += now - self.started[name] < EARLY
        self.kills.update(names)
        self.together += len(names) > 1
        return at

    @property
    def buffered(self) -> int:
        """Messages the gateway still keeps."""
        return int(self.gateway.status()["buffer"]["records"])


@contextmanager
def plant(
    *,
    persistence: bool,
    forgetful: bool = False,
    machines: Mapping[str, str] = MACHINES,
    copies: int = 1,
    settings: str = "",
    started: Sequence[str] = PROGRAMS,
) -> Iterator[Plant]:
    """Running, as far as anybody can say who does not wait. `settings` are more of the configuration."""
    text = configuration(machines, copies)
    broker = _Broker(persistence=persistence, conf=["autosave_interval 1"] if persistence else [])
    common = (
        f'{text}gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "{broker.url}", delivery: store}}\n{settings}'
    )
    gateway, writer = _Edge(common), _Writer(common + "store: {kind: historian}\n")
    gateway.forgetful = forgetful
    with ExitStack() as stack:
        simulated = stack.enter_context(Simulated(text, scenario(machines, copies)))
        running = Plant(simulated, broker, writer, gateway)
        for part in running.victims.values():
            stack.callback(part.close)
        for name in started:
            running.start(name)
        yield running


def torment(plant: Plant, kills: int, rng: random.Random) -> None:
    """So many kills, one at a time or several at once; afterwards everything runs."""
    fresh: list[str] = []
    while plant.kills.total() < kills:
        victims = _choose(rng, fresh)
        time.sleep(rng.uniform(0, EARLY if set(victims) & set(fresh) else LATER))  # this is what is tested: any moment
        at = plant.kill(victims)
        rng.shuffle(victims)
        for name in victims:
            time.sleep(rng.uniform(0, OUTAGE if rng.random() < 0.1 else PAUSE))  # the same
            if name == "gateway":
                plant.absences.append(Absence(at, time.time_ns()))
            plant.start(name)
        fresh = victims


def outages(plant: Plant, count: int, rng: random.Random) -> None:
    """The broker goes first, and the gateway some seconds later: what it has read since is in its buffer only."""
    for _ in range(count):
        wait_until(lambda: plant.gateway.status()["flow"]["read"] > 0, PATIENCE, "the machines to be read")
        plant.kill(["broker"])
        time.sleep(rng.uniform(3, 4))  # so long is the outage, and there is nothing else to wait for
        at = plant.kill(["gateway"])
        plant.absences.append(Absence(at, time.time_ns()))
        plant.start("gateway")
        plant.start("broker")


def _choose(rng: random.Random, fresh: Sequence[str]) -> list[str]:
    """Mostly one, and the gateway more often than the others; a third of them among those that have just been started."""
    names = ["gateway", "broker", "writer"]
    count = rng.choices((1, 2, 3), (70, 20, 10))[0]
    first = rng.choice(fresh) if fresh and rng.random() < 0.35 else rng.choices(names, (2, 1, 1))[0]
    names.remove(first)
    return [first, *rng.sample(names, count - 1)]


def settle(plant: Plant) -> Verdict:
    """Everything runs: end the machines, let what was read arrive, and judge."""
    wait_until(lambda: plant.gateway.status()["broker"]["state"] == "online", PATIENCE, "the gateway at the broker")
    wait_until(_all(plant, "online"), PATIENCE, "the machines to be read")
    begin = time.time_ns()
    plant.machines.stop()
    plant.absences.append(Absence(begin, time.time_ns()))
    wait_until(_all(plant, "offline"), PATIENCE, "the machines to be missed")
    wait_until(lambda: plant.buffered == 0, PATIENCE, "everything to be stored")
    plant.gateway.stop()
    plant.writer.stop()
    return judge_files(plant.machines.ledger, plant.writer.folder / "data" / "historian.sqlite", plant.absences, SLOW)


def _all(plant: Plant, state: str) -> Callable[[], bool]:
    return lambda: all(machine["state"] == state for machine in plant.gateway.status()["machines"])
