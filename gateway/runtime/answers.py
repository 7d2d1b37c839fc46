"""What a process answers on its control socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.events import Event
from gateway.runtime.control import Answer

if TYPE_CHECKING:
    from gateway.runtime.app import App

MOST = 2000  # events in one answer


def answers_of(app: App) -> Mapping[str, Answer]:
    """By what is to be done."""
    answers: dict[str, Answer] = {
        "status": lambda: status(app),
        "faults": lambda: faults(app),
        "metrics": lambda: app.scrape().decode(),
        "events": lambda limit=100, machine="", before=None: events(app, limit, machine, before),
    }
    if (control := app.control) is not None:
        answers |= {
            "reload": lambda who="": control.reload(_name(who)),
            "rollback": lambda version, who="": control.rollback(int(version), _name(who)),
            "versions": control.versions,
            "difference": lambda path=None: control.difference(path),
        }
    return answers


def status(app: App) -> dict[str, Any]:
    """The board; of a store writer alone, what there is to tell."""
    safe_mode = list(app.safe_mode) or None
    waits = list(app.control.restart) if app.control is not None else []
    more = {"safe_mode": safe_mode, "restart": waits, "page": app.page}
    if app.edge is not None:
        return {**app.edge.board.snapshot(app.clock.now(), app.clock.monotonic()), **more}
    writer = None if app.writer is None else asdict(app.writer.status)
    gateway = {"id": app.configuration.settings.gateway.id, "version": __version__}
    return {"v": 1, "t": app.clock.now() / 1e6, "gateway": gateway, "writer": writer, "machines": [], **more}


def faults(app: App) -> list[dict[str, Any]]:
    """What is not well just now: machines, broker, store, disk."""
    if app.edge is None:
        reason = "" if app.writer is None else app.writer.status.reason
        since = 0 if app.writer is None else app.writer.status.since // 1_000_000
        return [_row("store", "", "offline", since, reason, "")] if reason else []
    board = app.edge.board
    of = [("broker", "", board.broker), ("store", "", board.store)]
    of += [("machine", name, machine.condition) for name, machine in board.machines.items()]
    rows = [
        _row(kind, machine, each.state, each.since // 1_000_000, each.reason, each.fault)
        for kind, machine, each in of
        if each.state in ("offline", "degraded")
    ]
    if trouble := board.usage().trouble:
        rows.append(_row("buffer", "", "degraded", 0, trouble, ""))
    return rows


def events(app: App, limit: int, machine: str, before: int | None) -> list[dict[str, Any]]:
    """Newest first. `before`: ms since 1970."""
    found = app.events.newest(
        min(int(limit), MOST), machine=str(machine), before=None if before is None else int(before * 1_000_000)
    )
    return [_event(each) for each in found]


def _event(event: Event) -> dict[str, Any]:
    row = asdict(event)
    return {"t": row.pop("time") // 1_000_000, **row}


def _row(kind: str, machine: str, state: str, since_ms: int, reason: str, fault: str) -> dict[str, Any]:
    return {"kind": kind, "machine": machine, "state": state, "since_ms": since_ms, "reason": reason, "fault": fault}


def _name(who: object) -> str:
    """Who it was, for the log."""
    text = "".join(c for c in str(who)[:80] if c.isprintable())
    return text or "gateway reload"
