"""gateway status: what a person wants to know first, of the gateway that runs with a configuration.

asked over the control socket ─▶ Overview ─▶ lines, trouble first
                                    └──────▶ --json
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from gateway.cli.common import ConfigOption, Json, print_json, size_text
from gateway.errors import GatewayError

RANK = {"offline": 3, "degraded": 2, "unused": 0, "online": 0}  # what is not known is between
LOOK_AGAIN = 1.0  # seconds between two looks that tell how fast a buffer fills
WAITING = 50  # messages that are on their way at any moment; more of them wait
_CODE = re.compile(r"(\x1b\[[0-9;]*m)")
_COLOURS = {"offline": "31;1", "degraded": "33", "online": "32"}


def status(config: ConfigOption = None, json: Json = False) -> None:
    """Say how the running gateway is: buffer, broker, store, and its machines, those with trouble first.

    Exit code 0: all is online. 1: something is not, or no gateway runs.
    """
    try:
        overview = _looked(config)
    except GatewayError as exc:
        if not json:
            raise
        print_json({"running": False, "error": str(exc)})
        raise typer.Exit(exc.exit_code) from exc
    if json:
        for row in overview.rows():
            print_json(row)
    else:
        width = os.get_terminal_size().columns if sys.stdout.isatty() else 0
        for line in overview.lines(coloured(), width):
            print(line)
    if not overview.well:
        raise typer.Exit(1)


def _looked(config: Path | None) -> Overview | WriterAlone:
    """Twice, where something waits. Raises GatewayError where none runs."""
    from gateway.cli.running import line_to

    line = line_to(config)
    before = line.ask("status", signals=False)  # what is said here is worked out there
    if "buffer" not in before:
        return WriterAlone(before)
    after = None
    if before["buffer"]["records"] > WAITING:
        time.sleep(LOOK_AGAIN)
        after = line.ask("status", signals=False)
    return Overview(after or before, before if after else None)


def coloured() -> bool:
    """Whether escape codes are welcome: in a terminal that knows them, and where nobody asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")


@dataclass(frozen=True, slots=True)
class Overview:
    """Of one or two looks at a gateway (`Board.snapshot()`, with its signals or without), the newer first. Pure."""

    now: Mapping[str, Any]
    before: Mapping[str, Any] | None = None

    @property
    def machines(self) -> list[Mapping[str, Any]]:
        """Those with trouble first, and of them what broke last; then by name."""
        return sorted(self.now["machines"], key=lambda m: (-rank_of(m), -m["since_ms"] if rank_of(m) else 0, m["name"]))

    @property
    def safe_mode(self) -> list[str]:
        """The mistakes for which it runs with an earlier configuration, or with none."""
        return mistakes(self.now)

    @property
    def troubles(self) -> list[str]:
        """In a word each; empty when all is well."""
        found = ["safe mode"] if self.safe_mode else []
        found += [name for name in ("broker", "store") if RANK.get(self.now[name]["state"], 1)]
        if self.now["buffer"]["trouble"]:
            found.append("buffer")
        if self.page["state"] == "offline":
            found.append("page")
        away = sum(1 for machine in self.now["machines"] if rank_of(machine))
        if away:
            found.append(f"{away} of {len(self.now['machines'])} machines")
        return found

    @property
    def page(self) -> Mapping[str, Any]:
        """How the page is."""
        found: Mapping[str, Any] = self.now.get("page_state") or {"state": "unused"}
        return found

    @property
    def well(self) -> bool:
        return not self.troubles

    @property
    def outlook(self) -> tuple[str, float] | None:
        """`fills` or `drains`, and in how many seconds, if it goes on as it does. None: nobody can tell."""
        if self.before is None:
            return None
        now, before = self.now["buffer"], self.before["buffer"]
        seconds = (self.now["t"] - self.before["t"]) / 1000
        grown = now["records"] - before["records"]
        if seconds <= 0 or not grown or not now["records"] or not now["bytes"]:
            return None
        if grown < 0:
            return "drains", now["records"] * seconds / -grown
        room = max(0, now["max_bytes"] - now["bytes"]) * now["records"] / now["bytes"]  # in messages as they are
        return "fills", room * seconds / grown

    def rows(self) -> list[dict[str, Any]]:
        """For --json: the gateway first, then machine by machine."""
        now = self.now
        outlook = self.outlook or ("", 0.0)
        first = {
            "kind": "gateway", "running": True, "t": now["t"], "ok": self.well, "troubles": self.troubles, **now["gateway"],
            "flow": now["flow"], "broker": now["broker"], "store": now["store"],
            "buffer": {
                **now["buffer"],
                "fills_in_s": round(outlook[1]) if outlook[0] == "fills" else None,
                "drains_in_s": round(outlook[1]) if outlook[0] == "drains" else None,
            },
            "safe_mode": self.safe_mode or None, "restart": list(now.get("restart") or ()), "page": now.get("page") or None,
            "page_state": dict(self.page), "clock": dict(now.get("clock") or {}),
        }  # fmt: skip
        return [first, *map(machine_row, self.machines)]

    def lines(self, colour: bool = False, width: int = 0) -> list[str]:
        """For people; `width` 0: as long as they are."""
        now = self.now
        gateway, flow, buffer = now["gateway"], now["flow"], now["buffer"]
        verdict = "all online" if self.well else "trouble: " + ", ".join(self.troubles)
        started = now["t"] / 1000 - gateway["uptime_s"]
        rate = flow["readings_per_s"]
        told = [
            f"{gateway['id']}  {paint(verdict, 'online' if self.well else 'offline', colour)}",
            f"gateway  version {gateway['version']}, since {_at(started, now['t'] / 1000)} ({span(gateway['uptime_s'])})",
            f"flow     {f'{rate:,.0f} readings/s, ' if rate is not None else ''}{flow['read']:,} read, "
            f"{flow['stored' if gateway['delivery'] == 'store' else 'sent']:,} messages "
            f"{'stored' if gateway['delivery'] == 'store' else 'taken by the broker'}, {flow['lost']:,} readings lost",
            f"buffer   {buffer['records']:,} messages, {size_text(buffer['bytes'])} of {size_text(buffer['max_bytes'])}"
            + self._outlook_text()
            + (f": {paint(printable(buffer['trouble']), 'offline', colour)}" if buffer["trouble"] else ""),
        ]
        for name in ("broker", "store"):
            told.append(f"{name:<8} {self._condition(now[name], colour)}")
        if page := now.get("page"):
            told.append(f"page     {page}")
        elif self.page["state"] == "offline":
            told.append(f"page     {self._condition(self.page, colour)}")
        told += [paint(f"safe mode: {printable(error)}", "offline", colour) for error in self.safe_mode]
        if waiting := now.get("restart"):
            told.append(
                paint(f"restart  only a restart takes over: {printable('; '.join(waiting))}", "degraded", colour)
            )
        if now["machines"]:
            told += ["", *table(self.machines, now["t"] / 1000, colour)]
        return [cut(line, width) for line in told]

    def _outlook_text(self) -> str:
        outlook = self.outlook
        if outlook is None:
            return ""
        return f", full in {span(outlook[1])}" if outlook[0] == "fills" else f", empty in {span(outlook[1])}"

    def _condition(self, of: Mapping[str, Any], colour: bool) -> str:
        if of["state"] == "unused":
            return "none in this configuration; what the broker has counts as delivered"
        since = f" since {_at(of['since_ms'] / 1000, self.now['t'] / 1000)}"
        return paint(of["state"], of["state"], colour) + since + _why(of)


@dataclass(frozen=True, slots=True)
class WriterAlone:
    """`gateway store`, which reads no machine. Pure."""

    now: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """Why nothing is stored; empty while it is."""
        writer = self.now["writer"]
        return "the store is not open" if writer is None else str(writer["reason"])

    @property
    def safe_mode(self) -> list[str]:
        """The mistakes for which it runs with an earlier configuration."""
        return mistakes(self.now)

    @property
    def well(self) -> bool:
        return not self.reason and not self.safe_mode

    def rows(self) -> list[dict[str, Any]]:
        """For --json."""
        now = self.now
        return [
            {
                "kind": "store", "running": True, "t": now["t"], "ok": self.well, **now["gateway"], "writer": now["writer"],
                "safe_mode": self.safe_mode or None, "restart": list(now.get("restart") or ()),
            }
        ]  # fmt: skip

    def lines(self, colour: bool = False, width: int = 0) -> list[str]:
        """For people."""
        gateway, writer = self.now["gateway"], self.now["writer"] or {"messages": 0, "readings": 0, "refused": 0}
        verdict = "storing" if self.well else f"trouble: {printable(self.reason) or 'safe mode'}"
        told = [
            f"{gateway['id']}  {paint(verdict, 'online' if self.well else 'offline', colour)}",
            f"store    version {gateway['version']}, {writer['messages']:,} messages with {writer['readings']:,} readings stored, "
            f"{writer['refused']:,} refused",
            *(paint(f"safe mode: {printable(error)}", "offline", colour) for error in self.safe_mode),
        ]
        if waiting := self.now.get("restart"):
            told.append(f"restart  only a restart takes over: {printable('; '.join(waiting))}")
        return [cut(line, width) for line in told]


def mistakes(status: Mapping[str, Any]) -> list[str]:
    """For which the configuration in the files is not in force."""
    found = status.get("safe_mode") or ()
    return [str(error) for error in (found.get("errors", ()) if isinstance(found, Mapping) else found)]


def rank_of(machine: Mapping[str, Any]) -> int:
    """How much trouble it has."""
    return RANK.get(machine["state"], 1)


def machine_row(machine: Mapping[str, Any]) -> dict[str, Any]:
    """One machine for --json."""
    return {
        "kind": "machine", "name": machine["name"], "state": machine["state"], "since_ms": machine["since_ms"],
        "age_s": age_of(machine), "signals": counts(machine), "reason": machine["reason"], "fault": machine.get("fault", ""),
    }  # fmt: skip


def age_of(machine: Mapping[str, Any]) -> float | None:
    """Of its newest reading, in seconds."""
    if "age_s" in machine:
        age: float | None = machine["age_s"]
        return age
    return min((signal["age_s"] for signal in machine.get("signals", ()) if signal["age_s"] is not None), default=None)


def counts(machine: Mapping[str, Any]) -> dict[str, int]:
    """Its signals by quality."""
    if "counts" in machine:
        return dict(machine["counts"])
    found = {"good": 0, "uncertain": 0, "bad": 0}
    for signal in machine.get("signals", ()):
        found[signal["quality"].partition(":")[0]] += 1
    return found


def table(machines: Sequence[Mapping[str, Any]], now: float, colour: bool) -> list[str]:
    """As wide as what stands in it."""
    rows = [("machine", "state", "since", "age", "good", "why")]
    for machine in machines:
        count, age = counts(machine), age_of(machine)
        rows.append(
            (
                machine["name"], machine["state"], _at(machine["since_ms"] / 1000, now), "–" if age is None else span(age),
                f"{count['good']}/{sum(count.values())}", _why(machine).removeprefix(": "),
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        cells[1] = paint(cells[1], row[1], colour)
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def paint(text: str, state: str, colour: bool) -> str:
    """In the colour of a state."""
    code = _COLOURS.get(state)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text


def cut(line: str, width: int) -> str:
    """To the width of a terminal, escape codes not counted. 0: not at all."""
    if not width or len(_CODE.sub("", line)) <= width:
        return line
    left, out = width - 1, []
    for part in _CODE.split(line):
        if part.startswith("\x1b"):
            out.append(part)
        elif left >= 0:
            out.append(part if len(part) <= left else part[:left] + "…")
            left -= len(part) if len(part) <= left else left + 1
    return "".join(out)


def span(seconds: float) -> str:
    """A time as people say it: its two largest units at the most."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 48:
        return f"{hours} h"
    days = round(seconds / 86400)
    return f"{days} days" if days < 1000 else "years"


def printable(text: str) -> str:
    """Without what would move the cursor: machines and servers say what they like."""
    return "".join(c if c.isprintable() else " " for c in text)


def _why(of: Mapping[str, Any]) -> str:
    reason, fault = printable(of["reason"]), of.get("fault", "")
    return (f": {reason}" if reason else "") + (f" [{fault}]" if fault else "")


def _at(seconds: float, now: float) -> str:
    """Local time; the day where it is another one."""
    moment = datetime.fromtimestamp(seconds)
    same = moment.date() == datetime.fromtimestamp(now).date()
    return moment.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M")
