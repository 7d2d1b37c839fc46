"""An OPC UA server on node-opcua with structures, enumerations and arrays: see node_opcua/types.mjs, types.xml, types.bsd."""

from pathlib import Path
from typing import Any

from .node import NodePart


class NodeOpcuaTypes(NodePart):
    """Its variables are `s=…` in `urn:shop:types`."""

    script = Path(__file__).parent / "node_opcua" / "types.mjs"
    namespace = "urn:shop:types"
    patience = 90.0

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/UA/types"

    def options(self) -> dict[str, Any]:
        files = {"nodeset": "types.xml", "dictionary": "types.bsd"}
        return {
            "port": self.port,
            "folder": str(self.folder),
            **{option: str(self.script.with_name(name)) for option, name in files.items()},
        }
