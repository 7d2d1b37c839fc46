"""An OPC UA server on node-opcua that looks like the control of a CNC machine."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from .cnc import NAMESPACE, PASSWORD, USER, Cnc, told
from .node import NodePart

__all__ = ["NAMESPACE", "PASSWORD", "USER", "NodeOpcua"]


class NodeOpcua(NodePart, Cnc):
    """See server.mjs for its variables and their values, and quirks.mjs for what it can do wrong.

    `options` are node-opcua's own, such as {"serverCapabilities": {"maxSessions": 2}}.
    """

    script = Path(__file__).parent / "node_opcua" / "server.mjs"
    path = "/UA/cnc"
    patience = 90.0

    def __init__(
        self,
        *,
        trusting: bool = True,
        nodesets: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        quirks: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.trusting = trusting
        self.nodesets = list(nodesets)
        self.extra = dict(options or {})
        self.quirks = dict(quirks or {})

    def options(self) -> dict[str, Any]:
        return {
            **super().options(),
            "trusting": self.trusting,
            "nodesets": self.nodesets,
            "server": self.extra,
            "quirks": self.quirks,
        }

    def source(self) -> str:
        return self.script.read_text() + self.script.with_name("quirks.mjs").read_text()

    def remember(self, *nodes: str) -> None:
        """Keep the history of these variables as well; that of SpindleSpeed is kept anyway."""
        self.ask("remember", ids=nodes)

    def points(self) -> int:
        """How many continuation points it keeps."""
        return int(self.ask("points"))

    def raise_event(self, severity: int, message: str, time: datetime | None = None) -> None:
        """Have the machine raise an event that is no condition."""
        self.ask("raise", **told(severity=severity, message=message, time=time))

    def misbehave(self, **quirks: Any) -> None:
        """Change quirks while it runs; None takes one away."""
        self.ask("quirks", **quirks)

    @contextmanager
    def misbehaving(self, **quirks: Any) -> Iterator[None]:
        """Quirks for a while."""
        self.misbehave(**quirks)
        try:
            yield
        finally:
            self.misbehave(**dict.fromkeys(quirks))

    def session_timeouts(self) -> list[float]:
        """Of every session, in seconds."""
        return [milliseconds / 1000 for milliseconds in self.ask("session_timeouts")]

    def seen(self) -> dict[str, int]:
        """How many requests of each kind have come, such as ReadRequest."""
        found: dict[str, int] = self.ask("seen")
        return found

    def largest(self) -> dict[str, int]:
        """The most nodes or items that one request of a kind has had."""
        found: dict[str, int] = self.ask("largest")
        return found

    def time_out_sessions(self) -> None:
        """End all sessions as if their clients had been silent for too long: their subscriptions live on for a while."""
        self.ask("kill_sessions", subscriptions=False)

    def delete_subscriptions(self) -> None:
        """Delete all subscriptions from the server's side; the sessions stay."""
        self.ask("delete_subscriptions")

    def delete_subscription(self) -> None:
        """Delete the oldest subscription without a word."""
        self.ask("delete_subscription")

    def close_sockets(self) -> None:
        """Close all lines; the sessions stay."""
        self.ask("close_sockets")

    def forget_certificate(self) -> None:
        """Let the next start make a new certificate."""
        shutil.rmtree(self.folder / "pki" / "own")
