"""What the parts share that take commands as lines: each is answered with one line of JSON."""

import json
import os
import select
import subprocess
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .ports import free_port
from .process import Part


class LinePart(Part):
    """A server at a port of its own; its first line tells that it is ready."""

    folder_of_work: Path | None = None  # where it is started; its own folder if not told
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What it gets at every start."""

    def line(self, command: str, arguments: Mapping[str, Any]) -> str:
        """How a command is written."""
        return json.dumps({"command": command, **arguments})

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have a command carried out and return its answer."""
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(self.line(command, arguments).encode() + b"\n")
        answer = self._read(10)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {command}: {answer['error']}")
        return answer.get("result")

    def ready(self) -> bool:
        return bool(self._read(self.patience))

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                bufsize=0,
                cwd=self.folder_of_work or self.folder,
                env=os.environ | self.environment,
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
