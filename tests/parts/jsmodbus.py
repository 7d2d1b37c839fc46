"""jsmodbus, a Modbus TCP server with a flaw: past the end of a table its replies are too short."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .node import NodePart


class Jsmodbus(NodePart):
    """Serves {table: values from address 0 on} for every unit."""

    script = Path(__file__).with_suffix(".mjs")

    def __init__(self, image: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.image = image

    def options(self) -> dict[str, Any]:
        return {"port": self.port, "image": {table: list(values) for table, values in self.image.items()}}

    def set(self, table: str, address: int, *values: int) -> None:
        """Change values within a table, until the next start."""
        self.ask("set", table=table, address=address, values=values)
