"""The plant at a glance: a tile for each machine, in the order of their trouble, and how the gateway itself is.

Of most signals only their qualities are counted: what a tile costs does not depend on what the values are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from gateway.model import Header, is_bad
from gateway.web.snapshot import Latest, Machine, disk_row
from gateway.web.sources import Sources

HEADLINES = 3  # signals on a tile
_INTERVALS = ("shift", "day", "hour")  # whose OEE is shown, the first that is known
_TROUBLE = {"offline": 300, "degraded": 200}
_OF_DOING = {"fault": 90, "unknown": 5}  # of an online machine that says itself that something is wrong


def plant(sources: Sources) -> dict[str, Any]:
    """All machines, and what they have in common."""
    clock, board = sources.clock, sources.board
    now_ns = clock.now()
    errors = list(sources.safe_mode())
    tiles = [tile(machine, sources, now_ns) for machine in board.machines.values()]
    tiles.sort(key=_order)
    return {
        "t": now_ns / 1e6,
        "gateway": gateway(sources),
        "broker": board.broker.snapshot(),
        "store": board.store.snapshot(),
        "buffer": disk_row(board.usage()),
        "clock": clock_row(sources),
        "safe_mode": {"errors": [{"text": text} for text in errors]} if errors else None,
        "machines": tiles,
    }


def clock_row(sources: Sources) -> dict[str, Any]:
    """Whether the time can be right, and whether something on this box answers for it: two questions."""
    trusted, synchronized = sources.clock.trusted(), sources.synchronized
    fault = "clock-wrong" if not trusted else "clock-not-synchronized" if synchronized is False else ""
    return {"trusted": trusted, "synchronized": synchronized, "fault": fault}


def gateway(sources: Sources) -> dict[str, Any]:
    """Which one it is, whose time it tells, and how much it does."""
    board, monotonic = sources.board, sources.clock.monotonic()
    total = board.counters.total()
    return {
        "id": board.gateway,
        "version": board.version,
        "delivery": board.delivery,
        "uptime_s": round(monotonic - board.started, 1),
        "readings_per_s": board.rate(total.read, monotonic, board.slowest),
        "timezone": timezone(sources),
    }


def timezone(sources: Sources) -> str | None:
    """Of the plant, or the one that all of its calendars have; None where nobody has said which: its hours are UTC then."""
    if (configuration := sources.configuration) is None:
        return None
    settings = configuration.settings
    if "timezone" in settings.site.model_fields_set:
        return settings.site.timezone
    zones = {calendar.timezone for calendar in settings.calendars.values()}
    return zones.pop() if len(zones) == 1 else None


def tile(machine: Machine, sources: Sources, now_ns: int) -> dict[str, Any]:
    """One machine."""
    latest, condition = machine.latest, machine.condition
    header = latest.header
    counts, newest = latest.counts(), latest.newest_ns
    doing = _doing(machine) if condition.state != "offline" else None  # what it was doing is not what it does
    configuration = sources.configuration
    settings = None if configuration is None else configuration.machines.get(header.path.machine)
    return {
        "name": header.path.machine,
        "path": header.path.levels(),
        "description": "" if settings is None else settings.description,
        **condition.snapshot(),
        "age_s": round((now_ns - newest) / 1e9, 3) if newest else None,
        "signals": counts,
        "doing": doing,
        "headline": [latest.row(i, now_ns) for i in headline(header)],
        "oee": _oee(machine) if condition.state != "offline" else None,
        "rank": _rank(condition.state, counts, doing),
    }


@lru_cache(maxsize=2048)
def headline(header: Header) -> Sequence[int]:
    """The signals a tile shows: numbers with a unit first, then counters and other numbers, then states; as written."""

    def place(i: int) -> int:
        signal = header.signals[i]
        if signal.type in ("float", "int"):
            return 0 if signal.unit and signal.kind == "gauge" else 1
        return 2 if signal.states else 3

    return sorted(sorted(header.order, key=place)[:HEADLINES])


@lru_cache(maxsize=2048)
def places(header: Header) -> dict[str, int]:
    """Where each signal of a header is."""
    return {signal.name: i for i, signal in enumerate(header.signals)}


def _doing(machine: Machine) -> dict[str, Any] | None:
    """What its rules say that it is doing."""
    if machine.derived is None:
        return None
    state = _value(machine.derived, "state")
    if state is None:
        return None
    since, word = state
    reason = _value(machine.derived, "state_reason")
    return {"state": word, "since_ms": since // 1_000_000, "reason": "" if reason is None else reason[1]}


def _oee(machine: Machine) -> float | None:
    if machine.derived is None:
        return None
    for interval in _INTERVALS:
        if (found := _value(machine.derived, f"{interval}.oee")) is not None and isinstance(found[1], int | float):
            return float(found[1])
    return None


def _value(latest: Latest, name: str) -> tuple[int, Any] | None:
    """Time and value of a signal; None where it has none."""
    i = places(latest.header).get(name)
    if i is None:
        return None
    time, value, quality = latest.reading(i)
    return None if not time or value is None or is_bad(quality) else (time, value)


def _rank(state: str, counts: dict[str, int], doing: dict[str, Any] | None) -> int:
    """The higher, the sooner somebody should look."""
    rank = _TROUBLE.get(state, 0)
    if counts["bad"]:
        rank += 50
    elif counts["uncertain"]:
        rank += 20
    return rank + (_OF_DOING.get(doing["state"], 0) if doing is not None else 0)


def _order(tile: dict[str, Any]) -> tuple[Any, ...]:
    """By trouble; among equals by name, `press-9` before `press-10`."""
    return -tile["rank"], _natural(tile["name"]), tile["name"]


@lru_cache(maxsize=4096)
def _natural(name: str) -> list[Any]:
    """Text and numbers in turn; a number is compared by its length first, however long it is."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(len(part.lstrip("0")), part.lstrip("0")) if i % 2 else part for i, part in enumerate(parts)]
