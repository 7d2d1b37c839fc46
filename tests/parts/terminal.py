"""A command in a terminal, and somebody who types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from pathlib import Path

from parts.gateway import COMMAND


class Terminal:
    """A command in a terminal of 80 x 24, and what it wrote."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.child, self.handle = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
            os.execve(COMMAND, [COMMAND, *arguments], {**base, "TERM": "xterm-256color", **(env or {})})
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""
        self.code = -1

    def until(self, pattern: str, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text, re.S):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.text[-3000:]!r}"
            self.read(left)

    def read(self, seconds: float) -> bool:
        if not select.select([self.handle], [], [], seconds)[0]:
            return True
        try:
            some = os.read(self.handle, 65536)
        except OSError:
            some = b""
        self.text += some.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(some)

    def press(self, keys: str) -> None:
        self.text = ""
        os.write(self.handle, keys.encode())

    def leave(self, key: str) -> int:
        """Press Ctrl-C or Ctrl-D, and once more where it fell between the prompt and the reading: Python misses it there."""
        self.press(key)
        while self.more(2):
            os.write(self.handle, key.encode())
        return self.end()

    def more(self, seconds: float) -> bool:
        """Read for so long; whether the command still runs then."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self.read(left):
                return False
        return True

    def end(self) -> int:
        if self.more(30):
            os.kill(self.child, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        os.close(self.handle)
        return self.code
