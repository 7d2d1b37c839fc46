"""An OPC UA server on node-opcua with machines of several companion specifications; see plant.mjs for what they hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .node import NodePart


class NodeOpcuaPlant(NodePart):
    """`options` are node-opcua's own, such as {"serverCapabilities": {"maxBrowseContinuationPoints": 1}}.

    `wide`: so many folders with 1,100 variables each, Wide0 and so on; `nodesets`: more of them, as files.
    """

    script = Path(__file__).parent / "node_opcua" / "plant.mjs"
    patience = 120.0

    def __init__(self, options: Mapping[str, Any] | None = None, wide: int = 0, nodesets: Sequence[Path] = ()) -> None:
        super().__init__()
        self.wide = wide
        self.nodesets = list(map(str, nodesets))
        self.extra = dict(options or {})
        self.url = f"opc.tcp://127.0.0.1:{self.port}/UA/plant"

    def options(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "folder": str(self.folder),
            "server": self.extra,
            "wide": self.wide,
            "nodesets": self.nodesets,
        }
