"""The last hours of each machine as stretches of one state, out of the events. Pure.

What is before the first event of a machine that is known (`Events.changes`) is unknown, and so is all the time in which
the gateway did not run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.clock import artificial
from gateway.events import Event

UNKNOWN = "unknown"


def strips(events: Iterable[Event], machines: Iterable[str], from_ns: int, to_ns: int) -> dict[str, Any]:
    """Of these machines, between two moments; each stretch lasts until the next one, the last one to the end.

    The first begins at `from_ns`, times rise, and no two neighbours are of one state. A clock that was set back does not
    make a stretch end before it begins: what follows counts from there.
    """
    now = dict.fromkeys(machines, UNKNOWN)
    made: dict[str, list[list[Any]]] = {name: [] for name in now}
    latest = 0
    begun = False

    def note(name: str, at: int) -> None:
        of = made[name]
        if of and of[-1][0] == at // 1_000_000:
            of.pop()
        if not of or of[-1][1] != now[name]:
            of.append([at // 1_000_000, now[name]])

    def begin() -> None:
        for name in now:
            note(name, from_ns)

    for event in events:
        if artificial(event.time) or event.kind not in ("machine", "gateway"):
            continue
        at = latest = max(event.time, latest)
        if at > to_ns:
            break
        if not begun and at > from_ns:
            begun = True
            begin()
        if event.kind == "machine":
            touched = [event.machine] if event.machine in now else []
        else:
            touched = list(now) if event.state in ("started", "stopped") else []
        for name in touched:
            now[name] = event.state if event.kind == "machine" else UNKNOWN
            if begun:
                note(name, at)
    if not begun:
        begin()
    return {"from_ms": from_ns // 1_000_000, "to_ms": to_ns // 1_000_000, "machines": made}
