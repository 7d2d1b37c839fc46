"""What the OPC UA servers have in common that look like the control of a CNC machine, on whatever library they stand.

Their variables are `s=CNC1.…` in `urn:shop:cnc`, and the same in all; see node_opcua/server.mjs for names and values.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .lines import LinePart

NAMESPACE = "urn:shop:cnc"
USER, PASSWORD = "operator", "op-secret"
RUN = 1_000_000  # numbers of Count between two starts


class Cnc(LinePart):
    """A server that can be told what to say, and writes down what it counted.

    `namespaces` come before ours at the next start, each with a SpindleSpeed of -1 under the same identifier.
    """

    path = ""  # of its URL

    def __init__(
        self,
        *,
        anonymous: bool = True,
        namespaces: Sequence[str] = (),
        tick_ms: int = 100,
        count_ms: int = 0,
        sampling_ms: int = 0,
    ) -> None:
        """With `count_ms` there is a variable Count, one more every so often. `sampling_ms`: the shortest it offers."""
        super().__init__()
        self.anonymous = anonymous
        self.namespaces = list(namespaces)
        self.tick_ms = tick_ms
        self.count_ms = count_ms
        self.sampling_ms = sampling_ms
        self.ledger = self.folder / "ledger"

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}{self.path}"

    def options(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "folder": str(self.folder),
            "anonymous": self.anonymous,
            "namespaces": self.namespaces,
            "tick_ms": self.tick_ms,
            "count_ms": self.count_ms,
            "count_from": self._next_run(),
            "ledger": str(self.ledger),
            "sampling_ms": self.sampling_ms,
        }

    def counted(self) -> dict[int, int]:
        """Every number that Count has had, and when: ns since 1970."""
        if not self.ledger.exists():
            return {}
        lines = (line.split() for line in self.ledger.read_text().splitlines())
        return {int(line[0]): int(line[1]) for line in lines if len(line) == 2}

    def _next_run(self) -> int:
        """Another million for every start: so a number is never used twice."""
        return (max(self.counted(), default=-RUN) // RUN + 1) * RUN + 1

    def set(self, node: str, value: Any = None, status: str = "Good", time: datetime | None = None) -> None:
        """Give a variable another value (None keeps it), status and source time (now, if not told)."""
        self.ask("set", **told(id=node, value=value, status=status, time=time))

    def add(self, node: str, type: str, value: Any, status: str = "Good", time: datetime | None = None) -> None:
        """Add a variable of an OPC UA type to the machine."""
        self.ask("add", **told(id=node, type=type, value=value, status=status, time=time))

    def add_named(self, name: str, node: str, type: str, value: Any) -> None:
        """Add a variable whose browse name is not made from its node id."""
        self.ask("add", **told(id=node, type=type, value=value, status="Good", name=name))

    def remove(self, node: str) -> None:
        """Take a variable away."""
        self.ask("remove", id=node)

    def tick(self) -> None:
        """Let the spindle go on by one step, for a server with tick_ms=0."""
        self.ask("tick")

    def sessions(self) -> int:
        """How many sessions are open."""
        return int(self.ask("sessions"))

    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return int(self.ask("subscriptions"))

    def kill_sessions(self) -> None:
        """Close all sessions from the server's side."""
        self.ask("kill_sessions")


def told(**arguments: Any) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in arguments.items() if value is not None}


def _as_json(value: Any) -> Any:
    """What JSON or JavaScript cannot hold becomes text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return value
