"""An OPC UA server on node-opcua that looks like the control of a CNC machine."""

import math
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .node import NodePart

NAMESPACE = "urn:shop:cnc"
USER, PASSWORD = "operator", "op-secret"


class NodeOpcua(NodePart):
    """Its variables are `s=CNC1.…` in `urn:shop:cnc`; see server.mjs for their names and values.

    `namespaces` come before ours at the next start, each with a SpindleSpeed of -1 under the same identifier;
    `options` are node-opcua's own, such as {"serverCapabilities": {"maxSessions": 2}}.
    """

    script = Path(__file__).parent / "node_opcua" / "server.mjs"
    patience = 90.0

    def __init__(
        self,
        *,
        anonymous: bool = True,
        trusting: bool = True,
        namespaces: Sequence[str] = (),
        nodesets: Sequence[str] = (),
        tick_ms: int = 100,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.anonymous = anonymous
        self.trusting = trusting
        self.namespaces = list(namespaces)
        self.nodesets = list(nodesets)
        self.tick_ms = tick_ms
        self.extra = dict(options or {})
        self.url = f"opc.tcp://127.0.0.1:{self.port}/UA/cnc"

    def options(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "folder": str(self.folder),
            "anonymous": self.anonymous,
            "trusting": self.trusting,
            "namespaces": self.namespaces,
            "nodesets": self.nodesets,
            "tick_ms": self.tick_ms,
            "server": self.extra,
        }

    def set(self, node: str, value: Any = None, status: str = "Good", time: datetime | None = None) -> None:
        """Give a variable another value (None keeps it), status and source time (now, if not told)."""
        self.ask("set", **_told(id=node, value=value, status=status, time=time))

    def add(self, node: str, type: str, value: Any, status: str = "Good", time: datetime | None = None) -> None:
        """Add a variable of an OPC UA type to the machine."""
        self.ask("add", **_told(id=node, type=type, value=value, status=status, time=time))

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

    def delete_subscriptions(self) -> None:
        """Delete all subscriptions from the server's side; the sessions stay."""
        self.ask("delete_subscriptions")

    def forget_certificate(self) -> None:
        """Let the next start make a new certificate."""
        shutil.rmtree(self.folder / "pki" / "own")


def _told(**arguments: Any) -> dict[str, Any]:
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
