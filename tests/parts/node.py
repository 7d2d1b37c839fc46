"""What the parts written in JavaScript share: they take commands as JSON lines, and answer each with one."""

import json
import os
import select
import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import Any

from .ports import free_port
from .process import INSTALLED, Part, program

PACKAGES = INSTALLED / "node"


class NodePart(Part):
    """A script with its options as its last argument; its first line tells that it is ready."""

    script: Path

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What the script gets at every start."""

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have a command carried out and return its answer."""
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        answer = self._read(10)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {command}: {answer['error']}")
        return answer.get("result")

    def command(self) -> list[str]:
        if not (PACKAGES / "node_modules").is_dir():
            raise RuntimeError("the node packages are not installed: run tests/parts/setup.sh")
        # Handed over as text, a script finds its packages from the working directory.
        source = self.script.read_text()
        return [program("node"), "--input-type=module", "--eval", source, json.dumps(self.options())]

    def ready(self) -> bool:
        return bool(self._read(self.patience))

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                bufsize=0,
                cwd=PACKAGES,
                env=os.environ | {"NODE_NO_WARNINGS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def _bury(self) -> None:
        super()._bury()
        if self.process and self.process.stdin and self.process.stdout:
            self.process.stdin.close()
            self.process.stdout.close()

    def _read(self, timeout: float) -> dict[str, Any]:
        assert self.process
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError(f"{self.name} does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
