"""gateway top: how fast every machine is read, live. q ends, s sorts by the next column, / filters by name.

Out of a terminal it is one table, or with --json one object for every interval.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from gateway.cli.common import ConfigOption, Json, print_json, seconds_of, size_text
from gateway.cli.status import Overview, age_of, coloured, counts, rank_of, span
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from gateway.cli.running import Line

Sort = Literal["trouble", "name", "readings", "failures", "age"]
SORTS: tuple[Sort, ...] = get_args(Sort)
COLUMNS = ("machine", "state", "readings/s", "polls/s", "failed", "skipped", "bad", "age")
WINDOW = 10.0  # seconds that a rate is of
AROUND = 5  # lines that are not machines
_STYLES = {"offline": "bold red", "degraded": "yellow", "online": "green"}


def top(
    config: ConfigOption = None,
    interval: Annotated[str, typer.Option("--interval", metavar="TIME", help="Between two looks.")] = "1s",
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = "trouble",
    only: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="Machines with this in their name.", show_default=False)
    ] = "",
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="End after so many.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what each machine brings, live: keys q (end), s (sort), / (filter). Plain where it is not a terminal."""
    from gateway.cli.running import line_to

    pause = max(0.1, seconds_of(interval, "--interval"))
    view = View(sort, only)
    looks = _looks(line_to(config))
    view.take(next(looks))
    if json:
        _objects(view, looks, pause, count)
    elif sys.stdout.isatty() and sys.stdin.isatty():
        _live(view, looks, pause, count)
    else:
        time.sleep(pause)
        view.take(next(looks))
        for line in view.plain():
            print(line)


@dataclass(slots=True)
class View:
    """What is shown: the newest look and one before it, how they are sorted, and whose machines. Pure.

    What is read comes in lumps, one for each poll: rates are those of the last ten seconds, and not of the last one.
    """

    sort: Sort = "trouble"
    only: str = ""
    typing: bool = False  # a filter is being typed
    now: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    earlier: deque[Mapping[str, Any]] = field(default_factory=deque)  # looks, oldest first

    def take(self, look: Mapping[str, Any]) -> None:
        """A newer one. One of a gateway that was started anew has nothing before it."""
        if self.now and look["gateway"]["uptime_s"] >= self.now["gateway"]["uptime_s"]:
            self.earlier.append(self.now)
        else:
            self.earlier.clear()
        while len(self.earlier) > 1 and look["t"] - self.earlier[1]["t"] >= WINDOW * 1000:
            self.earlier.popleft()
        self.before, self.now = (self.earlier[0] if self.earlier else None), look

    def press(self, key: str) -> bool:
        """What a key does; False: it ends."""
        if self.typing:
            if key in ("\r", "\n"):
                self.typing = False
            elif key == "\x1b":
                self.typing, self.only = False, ""
            elif key in ("\x7f", "\b"):
                self.only = self.only[:-1]
            elif key.isprintable():
                self.only += key
            return True
        if key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "/":
            self.typing, self.only = True, ""
        elif key == "\x1b":
            self.only = ""
        return key not in ("q", "Q", "\x03", "\x04")

    def rows(self) -> list[dict[str, Any]]:
        """One for each machine, sorted; rates are per second, None where there was no earlier look."""
        seconds = (self.now["t"] - self.before["t"]) / 1000 if self.before else 0.0
        earlier = {machine["name"]: machine["counters"] for machine in self.before["machines"]} if self.before else {}
        found = []
        for machine in self.now["machines"]:
            if self.only.lower() not in machine["name"].lower():
                continue
            counted, was = machine["counters"], earlier.get(machine["name"])

            def rate(what: str, counted: Any = counted, was: Any = was) -> float | None:
                return None if was is None or seconds <= 0 else round((counted[what] - was[what]) / seconds, 1)

            found.append(
                {
                    "name": machine["name"], "state": machine["state"], "rank": rank_of(machine),
                    "readings_per_s": rate("read"), "polls_per_s": rate("polls"), "failures": counted["failures"],
                    "overruns": counted["overruns"], "bad": counts(machine)["bad"], "age_s": age_of(machine),
                }
            )  # fmt: skip
        keys: dict[str, Any] = {
            "trouble": lambda r: (-r["rank"], r["name"]),
            "name": lambda r: r["name"],
            "readings": lambda r: (-(r["readings_per_s"] or 0), r["name"]),
            "failures": lambda r: (-r["failures"], r["name"]),
            "age": lambda r: (-(r["age_s"] or 0), r["name"]),
        }
        return sorted(found, key=keys[self.sort])

    def head(self) -> list[str]:
        """Two lines about the gateway as a whole."""
        overview = Overview(self.now, self.before)
        flow, buffer = self.now["flow"], self.now["buffer"]
        read = flow["readings_per_s"]
        outlook = overview.outlook
        room = "" if outlook is None else f", {'full' if outlook[0] == 'fills' else 'empty'} in {span(outlook[1])}"
        return [
            f"{self.now['gateway']['id']}  up {span(self.now['gateway']['uptime_s'])}  {'–' if read is None else f'{read:,.0f}'} readings/s  "
            f"{'all online' if overview.well else 'trouble: ' + ', '.join(overview.troubles)}",
            f"buffer {buffer['records']:,} messages, {size_text(buffer['bytes'])} of {size_text(buffer['max_bytes'])}{room}"
            f"  lost {flow['lost']:,}",
        ]

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        def of(number: float | None) -> str:
            return "–" if number is None else f"{number:,.1f}"

        age = "–" if row["age_s"] is None else span(row["age_s"])
        return [
            row["name"], row["state"], of(row["readings_per_s"]), of(row["polls_per_s"]), f"{row['failures']:,}",
            f"{row['overruns']:,}", str(row["bad"]), age,
        ]  # fmt: skip

    def plain(self) -> list[str]:
        """All of it, as text."""
        rows = [list(COLUMNS), *map(self.cells, self.rows())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
        lines = [
            "  ".join(f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]
        return [*self.head(), "", *(line.rstrip() for line in lines)]

    def footer(self, hidden: int) -> str:
        """The keys, and what is not shown."""
        more = f"{hidden} more machines · " if hidden > 0 else ""
        if self.typing:
            return f"{more}filter: {self.only}_   Enter: keep  Esc: all"
        only = f" · filter: {self.only}" if self.only else ""
        return f"{more}q end  s sort ({self.sort})  / filter{only}"


def _looks(line: Line) -> Iterator[Mapping[str, Any]]:
    """What a gateway says, as often as it is asked. Raises GatewayError when it ends."""
    while True:
        look = line.ask("status", signals=False)
        if "buffer" not in look:
            raise GatewayError("this is a store writer alone, which reads no machines: gateway status")
        yield look


def _objects(view: View, looks: Iterator[Mapping[str, Any]], pause: float, count: int | None) -> None:
    made = 0
    while count is None or made < count:
        time.sleep(pause)
        view.take(next(looks))
        made += 1
        now = view.now
        machines = [{key: value for key, value in row.items() if key != "rank"} for row in view.rows()]
        print_json(
            {"t": now["t"], "gateway": now["gateway"]["id"], "flow": now["flow"], "buffer": now["buffer"], "machines": machines}
        )  # fmt: skip


def _live(view: View, looks: Iterator[Mapping[str, Any]], pause: float, count: int | None) -> None:
    """Until a key ends it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not coloured(), highlight=False)
    made, due = 0, time.monotonic() + pause
    with _keys() as keys_within, Live(console=console, screen=True, auto_refresh=False) as live:
        while count is None or made < count:
            live.update(_shown(view, console), refresh=True)
            if keys := keys_within(max(0.0, due - time.monotonic())):
                if not all(map(view.press, keys)):
                    return
                continue
            view.take(next(looks))
            made, due = made + 1, time.monotonic() + pause


def _shown(view: View, console: Console) -> Group:
    from rich.console import Group
    from rich.text import Text

    rows = view.rows()
    room = max(1, console.height - AROUND)
    parts: list[Text | Table] = [Text(line, no_wrap=True, overflow="ellipsis") for line in view.head()]
    parts.append(_table(view, rows[:room]))
    parts.append(Text(view.footer(len(rows) - room), style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _table(view: View, rows: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if i < 2 else "right", no_wrap=True, overflow="ellipsis", min_width=4)
    for row in rows:
        cells = view.cells(row)
        table.add_row(Text(cells[0]), Text(cells[1], _STYLES.get(cells[1], "")), *cells[2:])
    return table


@contextmanager
def _keys() -> Iterator[Any]:
    """Keys as they are pressed, without Enter and without being shown; the terminal is put back whatever happens."""
    import os
    import select
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def keys_within(seconds: float) -> str:
        ready, _, _ = select.select([handle], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(handle, 64).decode("utf-8", "replace")
        return "" if len(pressed) > 1 and pressed[0] == "\x1b" else pressed or "q"  # arrows are no keys of ours

    try:
        tty.setcbreak(handle)
        yield keys_within
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
