"""tcpdump on the loopback interface: what others write of a conversation."""

import os

from .process import Part, program


class Tcpdump(Part):
    """Captures what passes at a port, into `path`. It takes root, or sudo that does not ask."""

    def __init__(self, port: int, *options: str) -> None:
        super().__init__()
        self.port, self.more = port, options
        self.path = self.folder / "capture"

    def command(self) -> list[str]:
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        what = ["-i", "lo", "-Z", "root", "-U", "--immediate-mode", "-w", str(self.path), *self.more]
        return [*root, program("tcpdump"), *what, f"port {self.port}"]

    def ready(self) -> bool:
        return "listening on" in self.log
