"""The programs of the Modbus benchmarks as parts: server, floor, naive client, subscriber; and the gateway with its profile."""

from __future__ import annotations

import json
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from operator import add
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from bench.peers.machines import PROFILE, Register, image, plant, profile
from parts.gateway import Gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import INSTALLED, ROOT, Part

HERE = Path(__file__).parent
HOLD, CHANGING, CLOCK = range(3)  # as in server.c


@cache
def compiled(name: str, *packages: str) -> str:
    """A program in C, compiled when it is first asked for."""
    source, binary = HERE / f"{name}.c", INSTALLED / "bin" / f"bench-{name}"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        flags = _output("pkg-config", "--cflags", "--libs", *packages) if packages else ""
        _output("gcc", "-O2", "-ftree-vectorize", "-Wall", "-o", str(binary), str(source), *shlex.split(flags))
    return str(binary)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cpu(part: Part) -> float:
    """CPU seconds of a process up to now, user and system."""
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


class Server(Part):
    """server.c at as many ports as asked for; every unit has these registers."""

    def __init__(self, registers: Sequence[Register], links: int) -> None:
        super().__init__()
        self.ports = [free_port() for _ in range(links)]
        self._control, self._image = self.folder / "control", self.folder / "image"
        self._control.write_bytes(bytes(16))
        self._image.write_bytes(image(registers))

    def command(self) -> list[str]:
        return [compiled("server"), str(self._control), str(self._image), *map(str, self.ports)]

    def ready(self) -> bool:
        return "listening" in self.log

    def serve(self, mode: int) -> None:
        """HOLD, CHANGING or CLOCK, from the next request on."""
        with self._control.open("r+b") as file:
            file.seek(8)
            file.write(struct.pack("I", mode))

    @property
    def answers(self) -> int:
        """How many requests were answered: what is read can be counted without asking the gateway."""
        found: int = struct.unpack_from("Q", self._control.read_bytes())[0]
        return found


class Plant(Gateway):
    """`gateway run` with the profile of these machines."""

    patience = 120.0

    def __init__(
        self,
        server: Server,
        broker: Mosquitto,
        machines: int,
        registers: Sequence[Register],
        *,
        poll: str,
        report: str,
        max_in_flight: int,
    ) -> None:
        ports = server.ports
        super().__init__(
            plant(ports, machines, poll=poll, report=report, max_in_flight=max_in_flight, broker=broker.port)
        )
        self._profile = profile(registers, report)

    def command(self) -> list[str]:
        folder = self.folder / "profiles"
        folder.mkdir(exist_ok=True)
        (folder / f"{PROFILE}.yaml").write_text(self._profile, encoding="utf-8")
        return super().command()

    def online(self) -> bool:
        """Whether every machine is read. The whole status of so many signals would cost what is to be measured."""
        with urlopen(f"{self.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)


class Subscriber(Part):
    """subscriber.py on all data."""

    def __init__(self, port: int, *, clock: bool = False) -> None:
        super().__init__()
        self._arguments = [str(port), "shopfloor/v1/+/data", *(["clock"] if clock else [])]

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "subscriber.py"), *self._arguments]

    def ready(self) -> bool:
        return self.take()["values"] == 0

    def take(self) -> dict[str, Any]:
        """What has arrived since the last time."""
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def _launch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(), cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row of a table took."""

    readings: float
    seconds: float  # of CPU time
    window: float = 0.0  # seconds it was watched
    delivered: float = 0.0  # values that a subscriber got

    def __add__(self, other: Cost) -> Cost:
        return Cost(*map(add, astuple(self), astuple(other)))

    @property
    def us(self) -> float:
        """CPU µs for a reading."""
        return 1e6 * self.seconds / max(1.0, self.readings)


def floor(
    port: int, machines: int, registers: Sequence[Register], blocks: int, period: float, seconds: float, in_flight: int
) -> Cost:
    """floor.c, to its end."""
    command = [compiled("floor", "libmodbus"), *map(str, (port, machines, blocks, period * 1e3, seconds, in_flight))]
    requests, spent = map(float, _output(*command).split())
    return Cost(requests / blocks * len(registers), spent / 1e6, seconds)


def naive(port: int, broker: int, machines: int, blocks: int, period: float, seconds: float) -> Cost:
    """naive.py, to its end."""
    command = [sys.executable, str(HERE / "naive.py"), *map(str, (port, broker, machines, blocks, period, seconds))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    readings, spent = map(float, done.stdout.split())
    return Cost(readings, spent, seconds)
