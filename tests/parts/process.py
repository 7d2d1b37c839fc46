"""What all parts share: a program with a folder and a log of its own, waited for, and ended by its process id."""

import atexit
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".parts"


def wait_until(condition: Callable[[], object], timeout: float = 10, what: str = "the condition") -> None:
    """Ask again and again until the condition holds; an OSError means not yet."""
    deadline = time.monotonic() + timeout
    while not _holds(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Whether somebody takes connections at this port."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def program(name: str) -> str:
    """The path of an installed program, in the system's folders or in our own."""
    found = shutil.which(name) or shutil.which(name, path=f"/usr/sbin:/usr/local/sbin:{INSTALLED / 'bin'}")
    if not found:
        raise RuntimeError(f"{name} is not installed: run tests/parts/setup.sh")
    return found


class Part(ABC):
    """A real program in a child process: `with` starts it, ends it and removes its folder."""

    patience = 30.0  # seconds until it has to answer

    def __init__(self) -> None:
        self.name = type(self).__name__
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name.lower()}-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; called at every start, so that changed settings take effect."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers; an OSError means not yet."""

    def start(self) -> Self:
        """Start it and wait until it answers."""
        if not self.running:
            self.process = self._launch()
            atexit.register(self.kill)
            try:
                wait_until(self._answers, self.patience, f"{self.name} to be ready")
            except BaseException as error:
                self.kill()
                error.add_note(self._last_words())
                raise
        return self

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.process and self.running:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._bury()

    def kill(self) -> None:
        """End it on the spot, as a power cut would."""
        if self.process and self.running:
            self.process.kill()
        self._bury()

    def restart(self) -> None:
        """Stop it and start it again with the same folder and port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        self._temporary.cleanup()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it has written since it was made."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error:
            error.add_note(self._last_words())
        self.close()

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.name} ended while starting")
        return self.ready()

    def _bury(self) -> None:
        if self.process:
            self.process.wait()
        atexit.unregister(self.kill)

    @property
    def _log_path(self) -> Path:
        return self.folder / "log"

    def _last_words(self) -> str:
        return f"---- the log of {self.name} ends with\n" + "\n".join(self.log.splitlines()[-40:])
