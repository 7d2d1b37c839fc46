"""Our own programs as parts: the gateway, the store writer and the simulator, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from .ports import free_port
from .process import Part, wait_until

COMMAND = str(Path(sys.executable).with_name("gateway"))


class Gateway(Part):
    """`gateway run`, with a status page at `url`."""

    def __init__(self, config: str, *, page: bool = True) -> None:
        """`config` is the text of its gateway.yaml, without `web:`."""
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.page = page
        self.config = config

    @property
    def file(self) -> Path:
        return self.folder / "gateway.yaml"

    def command(self) -> list[str]:
        page = f'web: {{listen: "127.0.0.1:{self.port}"}}\n' if self.page else ""
        self.file.write_text(self.config + page, encoding="utf-8")
        return [COMMAND, "run", str(self.file), "--log-format", "text"]

    def ready(self) -> bool:
        if not self.page:
            return True
        with urlopen(f"{self.url}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)

    def status(self) -> dict[str, Any]:
        """What the status page shows."""
        with urlopen(f"{self.url}/api/v1/status", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def machine(self, name: str) -> dict[str, Any]:
        """The tile of one machine, with its signals by name."""
        (found,) = (m for m in self.status()["machines"] if m["name"] == name)
        return {**found, "signals": {s["name"]: s for s in found["signals"]}}

    def catch_up(self, timeout: float = 30) -> None:
        """Wait until all that has been read up to now is stored."""
        messages = self.status()["flow"]["messages"]
        assert messages, "nothing was read"
        wait_until(lambda: self.status()["flow"]["stored"] >= messages, timeout, "everything to be stored")

    def query(self, signal: str, since: str = "1h") -> list[dict[str, Any]]:
        """`gateway query`, as anybody would ask."""
        return query(self.file, signal, since)


class StoreProcess(Gateway):
    """`gateway store`: the writer alone."""

    def __init__(self, config: str) -> None:
        super().__init__(config, page=False)

    def command(self) -> list[str]:
        super().command()
        return [COMMAND, "store", "-v", str(self.file)]

    def ready(self) -> bool:
        return "storing" in self.log


class Simulated(Part):
    """`gateway simulate`: the machines of a configuration, and a ledger of what they served."""

    def __init__(self, config: str, scenario: str = "", arguments: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.scenario, self.arguments = config, scenario, arguments
        self.ledger = self.folder / "ledger.jsonl"

    def command(self) -> list[str]:
        (self.folder / "gateway.yaml").write_text(self.config, encoding="utf-8")
        more = [*self.arguments]
        if self.scenario:
            (self.folder / "scenario.yaml").write_text(self.scenario, encoding="utf-8")
            more += ["--scenario", str(self.folder / "scenario.yaml")]
        return [COMMAND, "simulate", str(self.folder / "gateway.yaml"), "--ledger", str(self.ledger), *more]

    def ready(self) -> bool:
        return "127.0.0.1:" in self.log


def query(config: Path, signal: str, since: str = "1h") -> list[dict[str, Any]]:
    """`gateway query SIGNAL --json`."""
    done = gateway("query", signal, "--since", since, "--json", "-c", str(config))
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def gateway(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """One call of the command line, to its end."""
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=env, cwd=cwd, check=False
    )
