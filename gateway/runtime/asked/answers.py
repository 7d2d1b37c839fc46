"""What a process answers on its control socket."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.clock import Clock, synchronization
from gateway.events import Event, Events
from gateway.faults import fault_of
from gateway.runtime.asked.control import Answer
from gateway.runtime.changes.places import main_file
from gateway.web.access.audit import Audit

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.runtime.app import App

MOST = 2000  # events in one answer


def answers_of(app: App) -> Mapping[str, Answer]:
    """By what is to be done."""
    answers: dict[str, Answer] = {
        "status": lambda signals=True: status(app, bool(signals)),
        "where": lambda: where(app.configuration),
        "faults": lambda: faults(app),
        "metrics": lambda: app.scrape().decode(),
        "events": partial(events, app.events),
    }
    if (control := app.control) is not None:
        answers |= {
            "reload": lambda who="": noted(app, "reload", _at_the_box(who), control.reload(_name(who))),
            "rollback": lambda version, who="": noted(
                app, "rollback", _at_the_box(who), control.rollback(int(version), _name(who)), version=int(version)
            ),
            "versions": control.versions,
            "difference": lambda path=None: control.difference(path),
        }
    return answers


async def noted(app: App, what: str, who: str, change: Awaitable[dict[str, Any]], **about: Any) -> dict[str, Any]:
    """A change by somebody at the box, a signal or a file that changed, in the audit beside those by the page."""
    configuration, outcome = app.configuration, "failed"
    audit = Audit(configuration.resolve(configuration.settings.gateway.data_dir), app.clock)
    try:
        answer = await change
        outcome = "refused" if answer["errors"] else "done"
        return answer
    finally:
        audit.note(who, what, outcome=outcome, **about)
        await audit.close()


def where(configuration: Configuration) -> dict[str, str]:
    """By which a command knows that this is the gateway it looks for, and where that has its files."""
    data_dir = configuration.resolve(configuration.settings.gateway.data_dir)
    return {"configuration": str(main_file(configuration.path)), "data_dir": str(data_dir.absolute())}


def status(app: App, signals: bool = True) -> dict[str, Any]:
    """The board, with or without a row for each signal; of a store writer alone, what there is to tell."""
    safe_mode = list(app.safe_mode) or None
    waits = list(app.control.restart) if app.control is not None else []
    more = {
        "safe_mode": safe_mode, "restart": waits, "page": app.page, "page_state": app.page_condition.snapshot(),
        "clock": clock(app.clock),
    }  # fmt: skip
    if app.edge is not None:
        return {**app.edge.board.snapshot(app.clock.now(), app.clock.monotonic(), signals), **more}
    writer = None if app.writer is None else asdict(app.writer.status)
    gateway = {"id": app.configuration.settings.gateway.id, "version": __version__}
    return {"v": 1, "t": app.clock.now() / 1e6, "gateway": gateway, "writer": writer, "machines": [], **more}


def clock(of: Clock) -> dict[str, bool | None]:
    """Whether the time can be right, and whether something on this box answers for it: two questions. None: not to be known here."""
    return {"trusted": of.trusted(), "synchronized": synchronization()}


def faults(app: App) -> list[dict[str, Any]]:
    """What is not well just now: machines, broker, store, disk."""
    if app.edge is None:
        reason = app.store_reason() or ""
        since = 0 if app.writer is None else app.writer.status.since // 1_000_000
        return [_row("store", "", "offline", since, reason, fault_of(reason))] if reason else []
    board = app.edge.board
    of = [("broker", "", board.broker), ("store", "", board.store), ("page", "", app.page_condition)]
    of += [("machine", name, machine.condition) for name, machine in board.machines.items()]
    rows = [
        _row(kind, machine, each.state, each.since // 1_000_000, each.reason, each.fault)
        for kind, machine, each in of
        if each.state in ("offline", "degraded")
    ]
    if trouble := board.usage().trouble:
        rows.append(_row("buffer", "", "degraded", 0, trouble, fault_of(trouble)))
    return rows


def events(known: Events, limit: int = 100, machine: str = "", before: int | None = None) -> list[dict[str, Any]]:
    """Newest first. `before`: ms since 1970."""
    found = known.newest(
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


def _at_the_box(who: object) -> str:
    """The same for the audit, in which those who are logged in at the page are, too."""
    return f"{_name(who)}, at the box"
