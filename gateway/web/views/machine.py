"""One machine: its tile, its link, a row for each of its signals. Rows are made of this machine alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gateway.config import Configuration, MachineSettings
from gateway.faults import fault_of_quality
from gateway.model import Value
from gateway.web.snapshot import SAFE, Board, Latest, Machine
from gateway.web.sources import Sources
from gateway.web.views.events import event_rows
from gateway.web.views.plant import gateway, tile

EVENTS = 50  # the newest ones that are shown
_USERINFO = re.compile(r"(//)[^/@\s]*@")  # in front of the host of an address


def machine(sources: Sources, name: str) -> dict[str, Any]:
    """Raises KeyError where there is no such machine."""
    board, now_ns = sources.board, sources.clock.now()
    shown, configuration = board.machines[name], sources.configuration
    settings = None if configuration is None else configuration.machines.get(name)
    path = "/".join(shown.latest.header.path.levels())
    extremes = {} if sources.history is None else sources.history.extremes(path)
    return {
        "t": now_ns / 1e6,
        "gateway": gateway(sources),
        "machine": tile(shown, sources, now_ns),
        "connection": connection(configuration, settings, board, name),
        "signals": rows(shown, settings, extremes, now_ns),
        "events": event_rows(sources.events.newest(EVENTS, machine=name)),
    }


def connection(
    configuration: Configuration | None, settings: MachineSettings | None, board: Board, name: str
) -> dict[str, Any]:
    """The link it is read through, as far as it is known here."""
    link = None if configuration is None or settings is None else configuration.connections.get(settings.connection)
    address = "" if link is None else getattr(link, "url", None) or link.endpoint or ""
    return {
        "name": "" if settings is None else settings.connection,
        "protocol": "" if link is None else link.protocol,
        "endpoint": _USERINFO.sub(r"\1", str(address)),
        "counters": asdict(board.counters.of(name)),
    }


def rows(
    shown: Machine, settings: MachineSettings | None, extremes: Mapping[str, tuple[float, float]], now_ns: int
) -> list[dict[str, Any]]:
    """All its signals, and what is worked out of them that people ask for."""
    own, derived = shown.latest, shown.derived
    made = [own.row(i, now_ns) | _about(own, i, settings, extremes) for i in own.header.order]
    if derived is not None:
        found = [(i, derived.row(i, now_ns)) for i in derived.header.order if i in shown.shown]
        made += [row | _about(derived, i, settings, extremes) for i, row in found if row["value"] is not None]
    for i, row in enumerate(made):
        row["fault"] = fault_of_quality(row["quality"])
        row["worked_out"] = i >= len(own.header.order)
    return made


def _about(
    latest: Latest, i: int, settings: MachineSettings | None, extremes: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """What is known of a signal beside its reading."""
    signal = latest.header.signals[i]
    low, high = _widened(extremes.get(signal.name), latest.reading(i)[1])
    configured = None if settings is None else settings.signals.get(signal.name)
    return {
        "description": signal.description,
        "range": None if signal.low is None and signal.high is None else [signal.low, signal.high],
        "states": {str(number): text for number, text in signal.states.items()},
        "fault": "",
        "address": signal.formula if configured is None else configured.address_text,
        "min": _number(low),
        "max": _number(high),
        "poll_s": None if configured is None else configured.poll,
    }


def _widened(known: tuple[float, float] | None, now: Value) -> tuple[float | None, float | None]:
    """With what is shown now: it is looked for in the store once a minute only."""
    if known is None:
        return None, None
    low, high = known
    if isinstance(now, bool | str | None) or not math.isfinite(now):
        return low, high
    return min(low, now), max(high, now)


def _number(value: float | None) -> float | None:
    """As a number a browser can hold: of 2^60 the nearest one there is."""
    return float(value) if isinstance(value, int) and abs(value) > SAFE else value
