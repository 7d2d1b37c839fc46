"""Ports for servers on the loopback interface."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free_port() -> int:
    """A free TCP port, never the same one twice.

    It lies below the ports that the kernel gives to outgoing connections: above, a client that knocks at a stopped
    server long enough ends up connected to itself.
    """
    top = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    for port in random.sample(range(top // 2, top), 1000):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
