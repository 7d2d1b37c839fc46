"""aedes, an MQTT broker of version 3.1.1 that refuses MQTT 5."""

from pathlib import Path
from typing import Any

from .node import NodePart


class Aedes(NodePart):
    """A broker that knows no sessions beyond its process, no users and no shared subscriptions."""

    script = Path(__file__).with_suffix(".mjs")

    def options(self) -> dict[str, Any]:
        return {"port": self.port}

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"
