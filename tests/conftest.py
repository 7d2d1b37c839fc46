"""What all tests share: what may be missing here, and the word about it where it is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parts import block_device, systemd

SHARED = Path(__file__).parents[2] / "shared"
OPEN62541 = Path(__file__).parents[1] / ".parts" / "bin" / "uaserver"


def _lacks_volumes() -> str:
    return block_device.missing() and f"on a disk of their own: {block_device.missing()}"


def _lacks_systemd() -> str:
    return systemd.missing() and f"on a box with systemd, {systemd.missing()}"


def _lacks(path: Path, what: str) -> Callable[[], str]:
    return lambda: "" if path.exists() else what


def _lacks_ipv6() -> str:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "over IPv6, which this computer has not"
    return ""


_OPTIONAL: dict[str, Callable[[], str]] = {  # marker: what is missing for it here; empty where nothing is
    "shared": _lacks(SHARED, "of recorded material, which is not beside this checkout"),
    "open62541": _lacks(OPEN62541, "against open62541, which tests/parts/setup.sh could not have"),
    "block_device": _lacks_volumes,
    "systemd": _lacks_systemd,
    "ipv6": _lacks_ipv6,
    "root": lambda: "" if os.geteuid() == 0 else "that only root can do",
    "debian": lambda: "" if shutil.which("dpkg-deb") else "of the package, which only a Debian builds",
}
_left_out: dict[str, tuple[int, str]] = {}


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it runs in the background deaf to Ctrl-C, and so would be all that we start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers",
        "block_device: needs root and loop devices; left out, and counted in the summary, where it has neither",
    )
    config.addinivalue_line(
        "markers",
        "systemd: needs root, namespaces and a Debian from setup.sh; left out, and counted in the summary, where they are not",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests out that need what is not there: they are counted, not skipped one by one."""
    for marker, lacks in _OPTIONAL.items():
        wanted = [item for item in items if marker in item.keywords]
        if wanted and (what := lacks()):
            _left_out[marker] = len(wanted), what
            config.hook.pytest_deselected(items=wanted)
            items[:] = [item for item in items if item not in wanted]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes share the tests, each tells the one that prints the summary."""
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["left_out"] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for count, what in _left_out.values():
        terminalreporter.write_line(f"left out: {count} tests {what}")
