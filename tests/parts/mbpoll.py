"""mbpoll, a Modbus client for the command line."""

import re
import subprocess

from .process import program

TABLES = {"coil": "0", "discrete": "1", "input": "3", "holding": "4"}
LINE = re.compile(r"^\[(\d+)\]:\s+(\d+)", re.MULTILINE)


def mbpoll(port: int, table: str, address: int, count: int = 1, unit: int = 1) -> dict[int, int]:
    """Read from a server on this machine; the values by their zero-based address."""
    return _run(["-m", "tcp", "-p", str(port)], table, address, count, unit, "127.0.0.1")


def mbpoll_serial(path: str, table: str, address: int, count: int = 1, unit: int = 1) -> dict[int, int]:
    """Read through a serial port with Modbus RTU."""
    return _run(["-m", "rtu", "-b", "19200", "-P", "none"], table, address, count, unit, path)


def _run(mode: list[str], table: str, address: int, count: int, unit: int, place: str) -> dict[int, int]:
    what = ["-a", str(unit), "-0", "-t", TABLES[table], "-r", str(address), "-c", str(count), "-1"]
    done = subprocess.run([program("mbpoll"), *mode, *what, place], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"mbpoll: {done.stderr.strip() or done.stdout.strip()}")
    return {int(at): int(value) for at, value in LINE.findall(done.stdout)}
