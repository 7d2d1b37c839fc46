"""Figures of production: what was calculated for each machine and interval, and what from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gateway.model import Header, is_bad, quality_text
from gateway.web.snapshot import Latest, json_value
from gateway.web.sources import Sources
from gateway.web.views.plant import gateway, places

INTERVALS = ("shift", "hour", "day")
DEMAND = "demand"  # each bar of the load profile is an interval that ends with its time


def kpi(sources: Sources) -> dict[str, Any]:
    """Of every machine that has figures. Those of an interval that runs are up to date to their own time `t`."""
    now_ns = sources.clock.now()
    machines = []
    for name, machine in sources.board.machines.items():
        if machine.derived is not None and (chosen := _figures(machine.derived.header)):
            figures = [_figure(machine.derived, i, interval, now_ns) for i, interval in chosen]
            machines.append({"name": name, "state": machine.condition.state, "figures": figures})
    return {"t": now_ns / 1e6, "gateway": gateway(sources), "machines": machines}


@lru_cache(maxsize=2048)
def _figures(header: Header) -> tuple[tuple[int, str], ...]:
    """The signals that are figures, with the interval they are of."""
    found = []
    for i, signal in enumerate(header.signals):
        interval, dot, _ = signal.name.partition(".")
        if dot and ((interval in INTERVALS and signal.formula) or interval == DEMAND):
            found.append((i, interval))
    return tuple(found)


def _figure(latest: Latest, i: int, interval: str, now_ns: int) -> dict[str, Any]:
    signal = latest.header.signals[i]
    time, value, quality = latest.reading(i)
    of = {
        name: _plain(latest, f"{interval}.{name}") for name in ("name", "day", "start", "end", "complete", "uncertain")
    }
    return {
        "interval": interval,
        "figure": signal.name.partition(".")[2],
        "value": json_value(value),
        "unit": signal.unit,
        "quality": quality_text(quality),
        "t": time / 1e6 if time else None,
        "age_s": round((now_ns - time) / 1e9, 3) if time else None,
        "from_ms": of["start"],
        "to_ms": of["end"] if interval != DEMAND else (time // 1_000_000 if time else None),
        "complete": bool(of["complete"]),
        "name": of["name"] or "",
        "day": of["day"] or "",
        "uncertain": of["uncertain"] or "",
        "formula": signal.formula,
        "reference": signal.semantic,
        "inputs": {name: _input(latest, name) for name in signal.made_of},
    }


def _input(latest: Latest, name: str) -> dict[str, Any]:
    """What a figure was calculated from; a signal of the machine itself, or of another one, is only named."""
    i = places(latest.header).get(name)
    if i is None:
        return {"value": None, "unit": "", "quality": "", "description": ""}
    signal, (_, value, quality) = latest.header.signals[i], latest.reading(i)
    return {
        "value": json_value(value),
        "unit": signal.unit,
        "quality": quality_text(quality),
        "description": signal.description,
    }


def _plain(latest: Latest, name: str) -> Any:
    i = places(latest.header).get(name)
    if i is None:
        return None
    _, value, quality = latest.reading(i)
    return None if is_bad(quality) else value
