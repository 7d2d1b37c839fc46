"""modbus-serial, a Modbus server written in JavaScript, on TCP or a serial line (RTU)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .node import NodePart

# {(unit, table, first address): values}, where table is coil, discrete, input or holding.
Image = Mapping[tuple[int, str, int], Sequence[int]]


class ModbusSerial(NodePart):
    """Serves the image: exception 2 outside of it, exception 11 for other units.

    On a serial port with one unit it is silent for others. It takes what comes before 30 ms of silence for a request,
    and does not look at its checksum.
    """

    script = Path(__file__).with_suffix(".mjs")

    def __init__(self, image: Image, path: str | None = None) -> None:
        """`path`: of a serial port, instead of TCP."""
        super().__init__()
        self.path = path
        self._image: dict[int, dict[str, dict[int, int]]] = {}
        for (unit, table, address), values in image.items():
            cells = self._image.setdefault(unit, {}).setdefault(table, {})
            cells.update(enumerate(values, address))

    def options(self) -> dict[str, Any]:
        return {"port": self.port, "path": self.path, "image": self._image}

    def set(self, unit: int, table: str, address: int, *values: int) -> None:
        """Change or add values, until the next start."""
        self.ask("set", unit=unit, table=table, address=address, values=values)
