"""The programs of the OPC UA benchmarks as parts: servers, asyncua's handler, subscriber; and the gateway that reads them."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol
from urllib.request import urlopen

from bench.peers.programs import Subscriber
from parts.gateway import Gateway
from parts.mosquitto import Mosquitto
from parts.node import NodePart
from parts.process import ROOT, Part, wait_until

HERE = Path(__file__).parent
SERVERS = ("node-opcua", "asyncua")


class Many(NodePart):
    """Doubles that all change at every tick; on node-opcua or asyncua."""

    script = ROOT / "tests" / "parts" / "node_opcua" / "many.mjs"
    patience = 300.0

    def __init__(self, kind: str, count: int, *, period: float = 1.0, stamps: str = "tick") -> None:
        """`period` in seconds. `stamps`: one source time for all values of a tick, or each its `own`."""
        super().__init__()
        self.kind, self.count, self.period, self.stamps = kind, count, period, stamps
        self.url = f"opc.tcp://127.0.0.1:{self.port}"

    def options(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "folder": str(self.folder),
            "count": self.count,
            "tick_ms": 1e3 * self.period,
            "stamps": self.stamps,
        }

    def command(self) -> list[str]:
        if self.kind == "asyncua":
            return [sys.executable, str(HERE / "opcua_server.py"), json.dumps(self.options())]
        return super().command()

    def go(self) -> None:
        """Let the ticks begin."""
        self.ask("go")

    def hold(self) -> int:
        """No more of them; how many there were."""
        self.ask("hold")
        return self.ticks

    @property
    def ticks(self) -> int:
        return int(self.ask("ticks"))


class Served(Protocol):
    """A server with the Doubles v0, v1 … of urn:bench."""

    @property
    def url(self) -> str: ...

    @property
    def count(self) -> int: ...


class Handler(Part):
    """opcua_handler.py on all variables of a server."""

    patience = 300.0

    def __init__(self, server: Served, publishing: float) -> None:
        """`publishing` in seconds."""
        super().__init__()
        self._arguments = [server.url, str(server.count), str(1e3 * publishing)]
        self._taken = 0

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "opcua_handler.py"), *self._arguments]

    def ready(self) -> bool:
        return bool(self._read(self.patience)["ready"])

    def take(self) -> int:
        """How many values it got since the last time."""
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        before, self._taken = self._taken, int(self._read(30)["result"])
        return self._taken - before

    def _read(self, timeout: float) -> dict[str, Any]:
        assert self.process
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError("asyncua's handler does not answer")
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )


class Reader(Handler):
    """opcua_reader.py."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.opcua_reader", *self._arguments]

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self.command(), cwd=ROOT / "tests", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )


class Checked(Subscriber):
    """opcua_subscriber.py."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.opcua_subscriber", *self._arguments]

    def _launch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(), cwd=ROOT / "tests", stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class OpcuaPlant(Gateway):
    """`gateway run` on all variables of a server."""

    patience = 300.0

    def __init__(self, server: Served, broker: Mosquitto, *, publishing: float = 0.5, profile: str = "") -> None:
        """`profile`: a file for what cProfile finds."""
        signals = "".join(f'      s{i}: {{node: "m:s=v{i}"}}\n' for i in range(server.count))
        super().__init__(
            "version: 1\n"
            "gateway: {id: bench, data_dir: data}\n"
            f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: broker}}\n'
            f'connections:\n  c: {{protocol: opcua, url: "{server.url}", security: None, timeout: 30s, publishing: {1e3 * publishing:g}ms}}\n'
            f'machines:\n  m:\n    connection: c\n    namespaces: {{m: "urn:bench"}}\n    signals:\n{signals}'
        )
        self._profile = profile

    def command(self) -> list[str]:
        command = super().command()
        return [sys.executable, "-m", "cProfile", "-o", self._profile, *command] if self._profile else command

    def online(self) -> bool:
        """Whether the machine is read. The whole status of so many signals would cost what is to be measured."""
        with urlopen(f"{self.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)

    def wait(self) -> None:
        wait_until(self.online, 600, "the machine to be read")
