"""The serial ports: whether they are there, may be used, and are nobody else's. Opened only while no gateway runs.

Then one signal of each machine behind them is read, too.
"""

from __future__ import annotations

import os
import stat
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gateway.doctor.case import Case
from gateway.doctor.checks import readings
from gateway.doctor.checks.addresses import serial_ports
from gateway.doctor.finding import Finding

NAME = "serial ports"
BY_ID = Path("/dev/serial/by-id")


def look(case: Case) -> Iterator[Finding]:
    assert case.configuration is not None
    ports = list(serial_ports(case.configuration))
    if not ports:
        yield Finding(NAME, "skipped", "none is used")
    for connection, port in ports:
        found = list(judge(connection, Path(port), case.runs))
        yield from found
        well = not case.runs and not any(each.state == "wrong" for each in found)
        if well and readings.can_be_read(case.configuration, connection):
            yield from readings.read_each(NAME, case.configuration, connection)


def judge(connection: str, port: Path, runs: bool) -> Iterator[Finding]:
    """`runs`: whether a gateway does, which then holds the port."""
    who, facts = f"{connection}: {port}", {"path": str(port)}
    try:
        mode = port.stat().st_mode
    except FileNotFoundError:
        there = sorted(each.name for each in BY_ID.iterdir()) if BY_ID.is_dir() else []
        hint = f"there are: {', '.join(there)}" if there else ""
        yield Finding(NAME, "wrong", f"{who}: is not there", "serial-port-missing", hint, facts)
        return
    except OSError as exc:
        yield Finding(NAME, "wrong", f"{who}: {exc.strerror or exc}", "serial-port-failed", facts=facts)
        return
    if not stat.S_ISCHR(mode):
        yield Finding(
            NAME, "wrong", f"{who}: is no serial port, but a file or folder", "serial-settings-refused", facts=facts
        )
        return
    if not os.access(port, os.R_OK | os.W_OK):
        yield Finding(NAME, "wrong", f"{who}: this user may not use it", "serial-no-rights", facts=facts)
        return
    if name := better_name(port, BY_ID):
        text = f"{who}: may have another name after the next start"
        yield Finding(NAME, "warning", text, hint=f"write port: {name}")
    if runs:
        yield Finding(NAME, "ok", f"{who}: left alone, as a gateway runs")
        return
    if holder := holder_of(port, Path("/proc")):
        yield Finding(NAME, "wrong", f"{who}: is held by {holder}", "serial-port-busy", facts=facts)
        return
    yield _opened(who, port, facts)


def _opened(who: str, port: Path, facts: dict[str, str]) -> Finding:
    try:
        handle = os.open(port, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as exc:
        fault = "serial-port-busy" if exc.errno == 16 else "serial-port-failed"
        return Finding(NAME, "wrong", f"{who}: cannot be opened: {exc.strerror or exc}", fault, facts=facts)
    try:
        termios.tcgetattr(handle)
    except (termios.error, OSError):
        return Finding(NAME, "wrong", f"{who}: is no serial port", "serial-settings-refused", facts=facts)
    finally:
        os.close(handle)
    return Finding(NAME, "ok", f"{who}: can be opened")


def better_name(port: Path, by_id: Path) -> Path | None:
    """The name of a port that stays with the converter, where there is one and it is not used."""
    if not port.name.startswith(("ttyUSB", "ttyACM")) or port.is_symlink():
        return None
    with suppress(OSError):
        return next((name for name in sorted(by_id.iterdir()) if name.resolve() == port.resolve()), None)
    return None


def holder_of(port: Path, proc: Path) -> str:
    """Which other process has it open, as far as we may see; "" for none."""
    real, own = str(port.resolve()), str(os.getpid())
    for process in proc.iterdir():
        if not process.name.isdigit() or process.name == own:
            continue
        with suppress(OSError):
            if any(str(handle.readlink()) == real for handle in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""
