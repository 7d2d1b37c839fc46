"""How much memory is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

NAME = "memory"
LITTLE, TOO_LITTLE = 64 * 2**20, 24 * 2**20  # bytes: less than this, a gateway with many signals gets no further


def look(_: Case) -> Iterator[Finding]:
    yield judge(Path("/proc/meminfo").read_text("ascii"))


def judge(meminfo: str) -> Finding:
    """By /proc/meminfo, see proc(5)."""
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.M)}
    free, total = sizes["MemAvailable"], sizes["MemTotal"]
    text = f"{free / 2**20:,.0f} of {total / 2**20:,.0f} MiB are available"
    if free < LITTLE:
        return Finding(NAME, "wrong" if free < TOO_LITTLE else "warning", text, "memory-low")
    return Finding(NAME, "ok", text)
