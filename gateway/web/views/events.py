"""What happened, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.events import Event
from gateway.web.snapshot import known_ms
from gateway.web.sources import Sources

SHOWN = 100  # in a stream


def event_rows(events: Iterable[Event]) -> list[dict[str, Any]]:
    """As JSON. An event of a boot in which the time was not known has no `t`."""
    return [
        {
            "t": known_ms(event.time),
            "kind": event.kind,
            "machine": event.machine,
            "state": event.state,
            "fault": event.fault,
            "text": event.text,
        }
        for event in events
    ]


def events(sources: Sources, *, limit: int = SHOWN, machine: str = "", before_ns: int | None = None) -> dict[str, Any]:
    """The newest first."""
    return {
        "t": sources.clock.now() / 1e6,
        "events": event_rows(sources.events.newest(limit, machine=machine, before=before_ns)),
    }
